"""Where a window lies: the view goes there, and a ring marks it with what is known of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer

from ..base.pacing import Steps
from .averages import layers_of_run, look_at_box
from .sites import KEY, MARKER_PX, kind, layer_by_id, note, pixel_size_pm, provenance

AROUND = 3.0
"""How much of the image is in view, in units of the window's side."""
COLOUR = "#F0E442"
ABOVE = 0.55
"""How far above the window's centre the text stands, in units of the window's side."""


def source_of(
    viewer: ViewerModel, average: Layer, image_index: int
) -> tuple[Image | None, int | None]:
    """Layer and plane that the windows of an average with this index come from.

    The layer is None where it is gone, the plane where it is no stack.
    """
    planes = note(average).get("planes", [])
    if image_index >= len(planes):
        return None, None
    source, plane = planes[image_index]
    layer = layer_by_id(viewer, source)
    return (layer, plane) if isinstance(layer, Image) else (None, plane)


def go_to_window(
    viewer: ViewerModel,
    source: Image,
    plane: int | None,
    position_px: Sequence[float],
    side_pm: float,
    text: str,
) -> Steps[None]:
    """Centre the view on a window in its image, and mark it, one a step.

    Parameters
    ----------
    viewer : ViewerModel
    source : Image
    plane : int or None
        Of a stack; the slider goes there.
    position_px : (float, float)
        (y, x) of the window's centre [px].
    side_pm : float
        Side of the window [pm].
    text : str
        Written beside the mark.
    """
    first = (0 if plane is None else plane,) * (source.ndim - 2)
    world = np.asarray(source.data_to_world((*first, *position_px)))
    unit = source.units[-1]
    pixel = pixel_size_pm(source)
    if pixel is None:
        pm_per_unit, side = 1.0, 6.0 * MARKER_PX
    else:
        pm_per_unit = float((1 * unit).to("pm").magnitude)
        side = side_pm / pm_per_unit
    active = viewer.layers.selection.active
    _mark(viewer, source, world[-2:], side, text)
    viewer.layers.selection.active = active
    yield
    source.visible = True
    if plane is not None:
        viewer.dims.set_point(viewer.dims.ndim - source.ndim, float(world[0]))
    reach = 0.5 * AROUND * side
    look_at_box(viewer, (world[-2:] - reach) * pm_per_unit, (world[-2:] + reach) * pm_per_unit)


def _mark(viewer: ViewerModel, source: Image, place: np.ndarray, side: float, text: str) -> None:
    """The one marker of the viewer, moved; it is never removed."""
    found = [la for la in viewer.layers if kind(la) == "window marker"]
    look: dict[str, Any] = {
        "units": source.units[-2:],
        "axis_labels": source.axis_labels[-2:],
    }
    if not found:
        layer = viewer.add_points(
            place[None],
            name="chosen window",
            features={"text": [text]},
            text={
                "string": "{text}",
                "size": 10,
                "color": COLOUR,
                "anchor": "center",
                "translation": (-ABOVE * side, 0.0),
            },
            face_color="transparent",
            border_color=COLOUR,
            border_width=0.02,
            size=side,
            metadata=provenance("window marker", {}),
            **look,
        )
        layer.editable = False
        return
    layer = found[-1]
    layer.units = look["units"]
    layer.data = place[None]
    layer.size = side
    layer.text.translation = (-ABOVE * side, 0.0)
    retitle_marker(viewer, text)
    layer.visible = True


def retitle_marker(viewer: ViewerModel, text: str) -> None:
    """Write another text at the marker, where there is one."""
    for layer in viewer.layers:
        if kind(layer) == "window marker" and len(layer.data):
            layer.features = {"text": [text]}
            layer.refresh_text()


def hide_marker(viewer: ViewerModel) -> None:
    """Hide the marker, where there is one."""
    for layer in viewer.layers:
        if kind(layer) == "window marker":
            layer.visible = False


def windows_layer(viewer: ViewerModel, run: str, class_name: str) -> Image | None:
    """The layer of all windows of a class; None where there is none."""
    found = [
        la
        for la in layers_of_run(viewer, run, ("windows",))
        if la.metadata[KEY]["class"] == class_name
    ]
    return found[-1] if found else None
