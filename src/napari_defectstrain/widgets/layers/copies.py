"""Copies of layers, as napari's *Duplicate layer* makes them, are layers of their own.

napari gives a copy the metadata of the original: it would be taken for the same image of a study,
for another detection of the same image, for the average that edits of windows go to.
"""

from typing import Any
from weakref import WeakValueDictionary

from napari.components import LayerList, ViewerModel
from napari.layers import Layer
from napari.utils.notifications import show_info

from .placing import PLACED
from .sites import ID, KEY, kind, layer_id, note

COPY = "copy"
"""Kind of a layer that was made by copying one of ours: nothing is read from it."""
OF_IMAGES = ("", "sum")
"""Kinds of layers whose copies can be searched like any image."""
_TIES = (ID, PLACED, "study")
_WATCHED: "WeakValueDictionary[int, LayerList]" = WeakValueDictionary()


def watch_copies(viewer: ViewerModel) -> None:
    """From now on, give copies of layers an identity of their own; those that are there get one."""
    layers = viewer.layers
    if _WATCHED.get(id(layers)) is layers:
        return
    _WATCHED[id(layers)] = layers
    present = list(layers)
    for i, layer in enumerate(present):
        _set_apart(present[:i], layer)

    def added(event: Any) -> None:
        others = [la for la in layers if la is not event.value]
        if _set_apart(others, event.value):
            layers.events.reordered(value=layers)  # others may have read what it seemed to be

    layers.events.inserted.connect(added)


def _set_apart(others: list[Layer], layer: Layer) -> bool:
    """Take from a copy what makes it the original; False where it is none."""
    about = note(layer)
    if not about or not any(_same(other, layer) for other in others):
        return False
    if kind(layer) in OF_IMAGES:
        layer.metadata[KEY] = {k: v for k, v in about.items() if k not in _TIES}
    else:
        layer.metadata[KEY] = {"kind": COPY}
        show_info(f"{layer.name}: a copy to look at; what is done to it counts nowhere")
    return True


def _same(one: Layer, other: Layer) -> bool:
    return note(one) is note(other) or layer_id(one) == layer_id(other)
