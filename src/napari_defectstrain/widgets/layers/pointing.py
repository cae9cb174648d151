"""Which detection a click means where several images lie side by side: that under the pointer."""

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer, Points

from ..base.docking import whole
from .editing import editor_of
from .sites import AWAITING, kind, layer_by_id, note

MODES = ("select", "add")
"""Of points, in which a click corrects something."""


def follow_pointer(viewer: ViewerModel) -> Callable[[], None]:
    """Let every press go to the defects of the image under the pointer.

    While points of one detection are corrected, those of the images beside it could not be
    clicked, and a point that is added there would belong to the wrong image, far outside of it.
    napari asks the viewer first and then the active layer, which so is already the one meant.

    Parameters
    ----------
    viewer : ViewerModel

    Returns
    -------
    callable
        Ends it.
    """
    model = whole(viewer)

    def pressed(_viewer: ViewerModel, event: Any) -> None:
        _turn_to(model, event)

    model.mouse_drag_callbacks.append(pressed)

    def end() -> None:
        if pressed in model.mouse_drag_callbacks:
            model.mouse_drag_callbacks.remove(pressed)

    return end


def _turn_to(viewer: ViewerModel, event: Any) -> None:
    """Make the defects active that a press means, in the mode of those that were."""
    active = viewer.layers.selection.active
    if getattr(event, "button", 1) != 1 or active is None or kind(active) != "defects":
        return
    if str(active.mode) not in MODES or _lies_on(viewer, active, event.position):
        return
    meant = defects_at(viewer, event.position)
    if meant is None or meant is active:
        return
    if "Shift" not in event.modifiers:  # as napari does for points of one layer
        active.selected_data = set()
    new_class, editor = editor_of(active).new_class, editor_of(meant)
    if new_class in editor.class_names:
        editor.choose_class(new_class)
    viewer.layers.selection.active = meant
    meant.mode = active.mode


def defects_at(viewer: ViewerModel, position: Any) -> Points | None:
    """The newest defects that can be seen on the image at a place of the world.

    Parameters
    ----------
    viewer : ViewerModel
    position : sequence of float
        In the world, of as many dimensions as the viewer has.

    Returns
    -------
    Points or None
    """
    mine = [
        layer
        for layer in viewer.layers
        if kind(layer) == "defects" and layer.visible and not note(layer).get(AWAITING)
    ]
    return next((layer for layer in reversed(mine) if _lies_on(viewer, layer, position)), None)


def _lies_on(viewer: ViewerModel, defects: Layer, position: Any) -> bool:
    """Whether a place of the world lies on the image of these defects."""
    image = layer_by_id(viewer, note(defects).get("image"))
    if not isinstance(image, Image):
        return False
    data = image.data[0] if image.multiscale else image.data
    place = np.asarray(image.world_to_data(position))[-2:]
    return bool(((place >= -0.5) & (place <= np.array(data.shape[-2:]) - 0.5)).all())
