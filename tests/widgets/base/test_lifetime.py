"""What Python's collector passes over while a dock is open, and what it must not."""

import gc
import weakref
from types import SimpleNamespace

import pytest
from napari.components import ViewerModel
from napari.layers import Points
from qtpy.compat import isalive
from qtpy.QtWidgets import QWidget

from napari_defectstrain.widgets.base import lifetime
from napari_defectstrain.widgets.base.lifetime import keep_smooth, settle


class Ring:
    """Something that only the collector can find to be garbage."""

    def __init__(self):
        self.itself = self


@pytest.fixture
def staying(nothing_settles, monkeypatch):
    monkeypatch.setattr(lifetime, "_staying", lifetime._Staying())


@pytest.fixture
def docked(qtbot, staying):
    viewer, widget = SimpleNamespace(layers=ViewerModel().layers, window="a window"), QWidget()
    keep_smooth(widget, viewer)
    yield viewer, widget
    if isalive(widget):
        closed(qtbot, widget)
    gc.unfreeze()


def closed(qtbot, widget):
    with qtbot.waitSignal(widget.destroyed):
        widget.deleteLater()


def test_a_collection_passes_over_what_has_settled(docked):
    stays = [[i] for i in range(1000)]
    before = gc.get_freeze_count()
    settle()
    assert gc.get_freeze_count() >= before + len(stays)
    assert not any(one is stays for one in gc.get_objects())


def test_garbage_is_collected_before_the_rest_settles(docked):
    gone = weakref.ref(Ring())
    settle()
    assert gone() is None


def test_what_goes_with_a_layer_is_collected(docked):
    viewer, _ = docked
    layer = Points(ndim=2)
    viewer.layers.append(layer)
    ring = Ring()
    settle()
    gone = weakref.ref(ring)
    del ring
    gc.collect()
    assert gone() is not None
    viewer.layers.remove(layer)
    settle()  # doesn't make it stay: nothing was looked through since
    gc.collect()
    assert gone() is None
    assert gc.get_freeze_count() > 0


def test_nothing_is_passed_over_once_the_last_dock_is_closed(docked, qtbot):
    viewer, widget = docked
    other = QWidget()
    keep_smooth(other, viewer)
    closed(qtbot, other)
    assert gc.get_freeze_count() > 0
    closed(qtbot, widget)
    assert gc.get_freeze_count() == 0
    callbacks = len(gc.callbacks)
    viewer.layers.append(Points(ndim=2))
    viewer.layers.clear()
    settle()
    assert gc.get_freeze_count() == 0 and len(gc.callbacks) == callbacks


def test_without_a_dock_in_a_window_nothing_settles(qtbot, staying):
    before = gc.get_freeze_count()
    settle()
    widget = QWidget()
    qtbot.addWidget(widget)
    keep_smooth(widget, ViewerModel())  # of a script
    settle()
    assert gc.get_freeze_count() == before
