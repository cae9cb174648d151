"""The line of the profile: a Shapes layer over the maps that the user may move."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Shapes

from ..layers.averages import AXES, UNITS
from ..layers.sites import free_name, note
from .comparing import Line

LINE_COLOUR = "#F0E442"


def add_line(
    viewer: ViewerModel,
    reach_pm: float,
    centre: tuple[float, float],
    side_pm: float,
    metadata: dict[str, Any],
) -> Shapes:
    """Across the defect along y, from below [pm]; the layer's origin is the lattice frame's.

    Hidden, to be shown in a step of its own.
    """
    return viewer.add_shapes(
        [np.array([[reach_pm, 0.0], [-reach_pm, 0.0]])],
        shape_type="line",
        name=free_name(viewer, "profile line"),
        edge_color=LINE_COLOUR,
        edge_width=0.012 * side_pm,
        opacity=0.9,
        translate=centre,
        units=UNITS,
        axis_labels=AXES,
        visible=False,
        metadata=metadata,
    )


def line_in_frame(layer: Shapes, maps: Sequence[Image]) -> tuple[Line | None, str]:
    """The ends (x, y) of the selected line, else the newest, or what is wrong with it [pm].

    It may lie over any of the maps: it is taken relative to the one that holds its middle.
    """
    drawn = [d for d in layer.data if len(d) >= 2]
    if not drawn:
        return None, "no line: draw one on the layer 'profile line', across one of the maps"
    chosen = min(layer.selected_data, default=len(drawn) - 1)
    ends = np.array(drawn[min(chosen, len(drawn) - 1)])[[0, -1], -2:]
    ends = ends + np.array(layer.translate[-2:])
    middle = ends.mean(axis=0)
    for image in maps:
        low, high = image.extent.world[:, -2:]
        if (middle >= low).all() and (middle <= high).all():
            (y0, x0), (y1, x1) = ends - np.array(note(image)["centre_pm"])
            return ((float(x0), float(-y0)), (float(x1), float(-y1))), ""
    return None, "the line lies outside the maps: move its middle onto one of them"
