"""One column to judge: nothing in view but its image, and a ring around it."""

from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer

from .averages import look_at_box
from .detected import Detected
from .sites import kind, pixel_size_pm, provenance

KIND = "audit marker"
RING_PM = 460.0
"""Diameter of the ring: the column and its nearest neighbours lie inside [pm]."""
AROUND_PM = 1700.0
"""From the column to the border of what is in view [pm]."""
COLOUR = "#F0E442"


class Blind:
    """Hides what would tell a column's class, and brings it back.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self._visible: dict[Layer, bool] = {}
        self._active: Layer | None = None

    @property
    def on(self) -> bool:
        """Whether things are hidden."""
        return bool(self._visible)

    def show(self, one: Detected, position_px: tuple[float, float]) -> None:
        """Fly to a column; nothing is seen but its image and a ring around it."""
        viewer = self.viewer
        if not self.on:
            self._active = viewer.layers.selection.active
            self._visible = {layer: layer.visible for layer in viewer.layers}
        first = (0 if one.plane is None else one.plane,) * (one.layer.ndim - 2)
        world = np.asarray(one.layer.data_to_world((*first, *position_px)))
        pixel = pixel_size_pm(one.layer)
        pm = (1 * one.layer.units[-1]).to("pm").magnitude if pixel is not None else 1.0
        if pixel is None:  # places are in pixels
            pm = 1.0
        size = (one.image.pixel_size_pm or 1.0) if pixel is None else 1.0
        ring, around = RING_PM / pm / size, AROUND_PM / pm / size
        mark = self._mark(one, world[-2:], ring)
        for layer in viewer.layers:
            layer.visible = layer in (one.layer, mark)
        # keys of a layer of points would move points: the image takes none
        viewer.layers.selection.active = one.layer
        if one.plane is not None:
            viewer.dims.set_point(viewer.dims.ndim - one.layer.ndim, float(world[0]))
        look_at_box(viewer, (world[-2:] - around) * pm, (world[-2:] + around) * pm)

    def _mark(self, one: Detected, place: np.ndarray, size: float) -> Layer:
        """The one ring of the viewer, moved; it is never removed."""
        look: dict[str, Any] = {
            "units": one.layer.units[-2:],
            "axis_labels": one.layer.axis_labels[-2:],
        }
        found = [layer for layer in self.viewer.layers if kind(layer) == KIND]
        if found:
            found[-1].units = look["units"]
            found[-1].data = place[None]
            found[-1].size = size
            return found[-1]
        layer = self.viewer.add_points(
            place[None],
            name="audited column",
            face_color="transparent",
            border_color=COLOUR,
            border_width=0.02,
            size=size,
            metadata=provenance(KIND, {}),
            **look,
        )
        layer.editable = False
        return layer

    def end(self) -> None:
        """Show everything again that was shown before."""
        before, self._visible = self._visible, {}
        for layer in self.viewer.layers:
            if kind(layer) == KIND:
                layer.visible = False
            elif layer in before:
                layer.visible = before[layer]
        if self._active in self.viewer.layers:
            self.viewer.layers.selection.active = self._active
        self._active = None
