"""The tour goes on by what is done, forward only, and can be left."""

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from small_alloy import true_sites
from strain_stage import show_averages
from widget_stage import add_region

from napari_defectstrain.widgets.layers.editing import editor_of
from napari_defectstrain.widgets.layers.sites import add_detection, layer_id, note, provenance
from napari_defectstrain.widgets.workbench import WorkbenchWidget, state_of
from napari_defectstrain.widgets.workbench.tour import STOPS, Tour


def test_from_the_sample_to_figures():
    viewer = ViewerModel()
    tour = Tour(viewer)
    assert tour.look(state_of(viewer)) is None
    tour.start()
    assert tour.look(state_of(viewer)) is STOPS[0]
    made, layer = add_region(viewer, size=256)
    assert tour.look(state_of(viewer)) is STOPS[1]
    _, defects = add_detection(viewer, layer, [true_sites(made)], provenance("defects", {}))
    assert tour.look(state_of(viewer)) is STOPS[2]
    assert tour.where == "3/6"
    editor = editor_of(defects)
    for i in range(3):
        assert tour.look(state_of(viewer)) is STOPS[2]
        defects.selected_data = {i}
        editor.relabel("other")
    assert tour.look(state_of(viewer)) is STOPS[3]
    averages = show_averages(viewer)
    for average in averages:
        note(average)["image_ids"] = [layer_id(layer)]
    assert tour.look(state_of(viewer)) is STOPS[4]
    run = note(averages[0])["run"]
    viewer.add_vectors(np.zeros((1, 2, 2)), metadata=provenance("displacement", {}, run=run))
    assert tour.look(state_of(viewer)) is STOPS[5]
    assert tour.look(state_of(viewer, written=True)) is None
    assert tour.ended
    viewer.layers.clear()
    assert tour.look(state_of(viewer)) is None


@pytest.fixture
def bench(make_napari_viewer, qtbot, monkeypatch, tmp_path):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "settings.json"))
    widget = WorkbenchWidget(make_napari_viewer())
    qtbot.addWidget(widget)
    widget.show()
    return widget


def test_it_is_shown_in_the_strip_and_left(bench, qtbot):
    plain = bench.words.text()
    bench.start_tour()
    assert "1/6" in bench.words.text()
    assert bench.advice_buttons[0].text() == "Open the &sample"
    add_region(bench.viewer, size=256)
    qtbot.waitUntil(lambda: "2/6" in bench.words.text(), timeout=60_000)
    bench.viewer.layers.clear()
    qtbot.mouseClick(bench.leave_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bench.words.text() == plain, timeout=60_000)
    assert not bench.leave_button.isVisible()


def test_keys_of_all_widgets_are_listed(bench):
    keys = bench.show_keys()
    table = keys.table
    rows = [table.item(i, 0).text() for i in range(table.rowCount())]
    for wanted in ("Defect strain", "Alt+1", "F1", "Points of defects", "Shift+6", "Ctrl+Z"):
        assert wanted in rows
    assert rows.index("Defect strain") < rows.index("Alt+1")
    assert len([r for r in rows if r == "Ctrl+Z"]) >= 2  # of points and of windows
    keys.close()


def test_rows_of_layers_that_serve_others_are_hidden(bench, qtbot):
    viewer = bench.viewer
    made, layer = add_region(viewer, size=256)
    sites, defects = add_detection(viewer, layer, [true_sites(made)], provenance("defects", {}))
    view = viewer.window._qt_viewer.layers

    def shown():
        count = len(viewer.layers)
        return [viewer.layers[count - 1 - r] for r in range(count) if not view.isRowHidden(r)]

    viewer.layers.selection.active = defects
    qtbot.waitUntil(lambda: shown() == [defects, layer], timeout=60_000)
    viewer.layers.selection.active = sites  # what one works with is in sight
    qtbot.waitUntil(lambda: sites in shown(), timeout=60_000)
    viewer.layers.selection.active = defects
    qtbot.waitUntil(lambda: sites not in shown(), timeout=60_000)
    bench.all_layers.trigger()
    assert sites in shown()
    assert [la.name for la in viewer.layers] == ["region", "region · sites", "region · defects"]


def test_rows_are_shown_again_when_the_dock_goes(make_napari_viewer, qtbot, monkeypatch, tmp_path):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "settings.json"))
    viewer = make_napari_viewer()
    bench = WorkbenchWidget(viewer)
    made, layer = add_region(viewer, size=256)
    add_detection(viewer, layer, [true_sites(made)], provenance("defects", {}))
    viewer.layers.selection.active = layer
    view = viewer.window._qt_viewer.layers
    qtbot.waitUntil(lambda: any(view.isRowHidden(r) for r in range(3)), timeout=60_000)
    bench.deleteLater()
    qtbot.waitUntil(lambda: not any(view.isRowHidden(r) for r in range(3)), timeout=60_000)
