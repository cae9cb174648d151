"""What a class is made of, in the panel of averages; its parts become classes at a click."""

from dataclasses import replace

import numpy as np
import pytest
from makeup_stage import CONFIG, PASSIVATED, stacks
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_defectstrain.averages import average_stack
from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline import measure_spacings
from napari_defectstrain.widgets.average import measuring
from napari_defectstrain.widgets.average.results_panel import MEASUREMENT
from napari_defectstrain.widgets.average.widget import AverageWidget
from napari_defectstrain.widgets.layers.averages import STACK, add_averages, runs
from napari_defectstrain.widgets.layers.sites import note, provenance

pytestmark = pytest.mark.gui


@pytest.fixture(scope="module")
def measured():
    found = stacks()
    return found, measure_spacings(found, CONFIG)


@pytest.fixture
def panel(measured, qtbot, tmp_path, monkeypatch):
    """The widget with a row of measured averages; what it measures itself is known already."""
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "widgets.json"))
    monkeypatch.setattr(measuring, "measure_spacings", lambda *_: measured[1])
    viewer = ViewerModel()
    found, values = measured
    parameters = {k: CONFIG.to_dict()[k] for k in ("material", "average", "seed")}
    about = provenance(
        *("average", parameters, None),
        **{"run": "a", "images": ["image"], "image_ids": ["gone"], "planes": []},
        **{"corner_pm": [0.0, 0.0], "symmetric": False, "detection": []},
    )
    averages = {name: average_stack(stack) for name, stack in found.items()}
    for layer in add_averages(viewer, found, averages, (0.0, 0.0), about, False):
        layer.metadata[MEASUREMENT] = values[note(layer)["class"]]
    widget = AverageWidget(viewer)
    qtbot.addWidget(widget)
    yield viewer, widget
    widget.close()


def test_the_class_of_two_populations_is_shown_in_words_and_drawn(panel):
    _, widget = panel
    view = widget.results.makeup
    assert [view.class_box.itemText(i) for i in range(3)] == ["2Se", "SeTe", "SV"]
    assert view.class_box.currentText() == "SV"
    assert view.words.text().startswith("30 ± 5 % undistorted")
    assert view.split.isEnabled()
    assert len(view.canvas.figure.axes) == 4  # populations, two components, halves
    view.class_box.setCurrentText("SeTe")
    assert view.words.text().startswith("one population")
    assert not view.split.isEnabled()
    view.class_box.setCurrentText("2Se")
    assert "noise" in view.words.text()
    assert len(view.canvas.figure.axes) == 1


def test_parts_become_classes_at_a_click(panel, qtbot):
    viewer, widget = panel
    view = widget.results.makeup
    qtbot.mouseClick(view.split, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget.run_bar.running, timeout=60_000)
    found = runs(viewer)
    assert len(found) == 2
    row = {note(la)["class"]: la for la in found[next(reversed(found))]}
    assert list(row) == ["2Se", "SeTe", "SV", "SV.1", "SV.2"]
    second = row["SV.2"].metadata[STACK]
    assert set(second.site_index[second.included]) == set(range(PASSIVATED))
    assert np.allclose(row["SV.2"].data, average_stack(second).mean)
    names = [widget.table.item(i, 0).text() for i in range(widget.table.rowCount())]
    assert names == list(row)
    assert [note(la)["class"] for la in found["a"]] == ["2Se", "SeTe", "SV"]  # as they were


def test_averages_of_unknown_makeup_leave_nothing_of_others_on_the_screen(panel, measured):
    view = panel[1].results.makeup
    assert view.words.text() and len(view.canvas.figure.axes) == 4
    without = {name: replace(m, makeup=None) for name, m in measured[1].items()}
    view.show_measurements(without, WSE2)
    assert view.words.text() == "" and not view.split.isEnabled()
    assert view.class_box.count() == 0
    assert "can't be told" in view.canvas._message and not view.canvas.figure.axes
    view.show_measurements(measured[1], WSE2)
    assert len(view.canvas.figure.axes) == 4
