"""Rows of napari's layer list."""

from types import SimpleNamespace

from napari.components import LayerList
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QListView, QWidget

from napari_defectstrain.widgets.workbench.layer_list import LayerListRows


def test_a_list_that_went_before_the_dock_of_steps_is_left_alone(qtbot):
    """Qt takes a window apart in an order of its own."""
    owner, listed = QWidget(), QListView()
    qtbot.addWidget(owner)
    window = SimpleNamespace(_qt_viewer=SimpleNamespace(layers=listed))
    rows = LayerListRows(SimpleNamespace(window=window, layers=LayerList()), owner)
    assert rows.view() is listed
    listed.deleteLater()
    QCoreApplication.sendPostedEvents(None, int(QEvent.Type.DeferredDelete.value))
    assert rows.view() is None
    rows.show_everything(True)
