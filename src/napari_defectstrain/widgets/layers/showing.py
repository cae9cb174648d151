"""Layers come into sight in steps that nobody feels, and change with one drawing.

Adding a layer makes napari slice the others anew where the world grows, make controls, and build
the picture: programs of the graphics card, letters, a thumbnail. All at once that is a stall of a
good part of a second; each alone is not. Whoever shows several layers yields between them
(`base.pacing.Steps`), and so the window can be used meanwhile.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from napari.components import ViewerModel
from napari.layers import Layer, Points

from ..base.pacing import Steps


@contextmanager
def drawn_once(layer: Points) -> Iterator[None]:
    """Change features, symbols and colours with one drawing at the end.

    napari would make the picture of all points anew after each of them.
    """
    looks = [layer.events.symbol, layer.events.border_color, layer.events.face_color]
    for part in ("_border", "_face"):  # napari's own, which its picture listens to as well
        events = getattr(getattr(layer, part, None), "events", None)
        names = ("colors", "color_properties")
        looks += [getattr(events, name) for name in names if hasattr(events, name)]
    with ExitStack() as held:
        for look in looks:
            held.enter_context(look.blocker())
        yield
    layer.events.symbol()


def added_in_steps(viewer: ViewerModel, layer: Layer, visible: bool = True) -> Steps[None]:
    """Add a hidden layer and show it: room for it first, then it, then its picture, one a step.

    It stays hidden where `visible` is false. Where the world grows, napari slices all layers anew,
    which is a stall of its own.
    """
    if len(viewer.layers):
        extent = viewer.layers.get_extent([*viewer.layers, layer])
        ranges = tuple(zip(*extent.world.tolist(), extent.step.tolist(), strict=True))
        if len(ranges) == viewer.dims.ndim and ranges != tuple(map(tuple, viewer.dims.range)):
            viewer.dims.range = ranges
            yield
    viewer.add_layer(layer)
    yield from then_shown(layer, visible)


def then_shown(layer: Layer, visible: bool = True) -> Steps[None]:
    """Show a layer that was added hidden, in a step of its own.

    Adding a layer, napari makes its picture and its controls; showing it, the programs of the
    graphics card, letters and thumbnails. Both at once is a stall that a person feels.
    """
    yield
    if visible:
        layer.visible = True
        yield
