"""The audit in napari: blind, one key each, taken up where it was left."""

import json

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from widget_stage import add_region, press, run, use_truth

from napari_defectstrain.evaluation.audit import UNSURE, read_audit
from napari_defectstrain.widgets.detect.widget import DetectWidget


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "widgets.json"))


def detected(qtbot, monkeypatch, viewer):
    made, layer = add_region(viewer, size=256)
    use_truth(monkeypatch, made)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    run(qtbot, widget)
    widget.audit_panel.columns.setValue(20)
    return widget, widget.audit_panel, layer


def test_columns_are_shown_blind_and_labels_are_kept_at_once(qtbot, monkeypatch, tmp_path):
    viewer = ViewerModel()
    _, panel, image = detected(qtbot, monkeypatch, viewer)
    before = {layer.name: layer.visible for layer in viewer.layers}
    active = viewer.layers.selection.active
    panel.start(tmp_path)
    count = len(panel.audit.table)
    shown = {layer.name for layer in viewer.layers if layer.visible}
    assert shown == {image.name, "audited column"}
    row = panel.audit.table.iloc[0]
    ring = viewer.layers["audited column"]
    assert ring.data[0] == pytest.approx(image.data_to_world((row["y_px"], row["x_px"])))
    assert viewer.scene.camera.center[-2:] == pytest.approx(ring.data[0] / 1.0)
    # nothing on the screen tells what it was taken for
    assert not any(name in panel.state.text() for name in panel.audit.class_names)
    assert [b.text() for b in panel.class_buttons[:6]] == [
        "1  2Se", "2  SeTe", "3  2Te", "4  SV", "5  DV", "6  other",
    ]  # fmt: skip
    panel.label_class(3)
    panel.label(UNSURE)
    assert read_audit(tmp_path).labels[:3] == ["SV", UNSURE, ""]
    panel.undo()
    assert read_audit(tmp_path).labels[:3] == ["SV", "", ""]
    assert panel.number == 2
    panel.pause()
    assert {la.name: la.visible for la in viewer.layers if la.name in before} == before
    assert viewer.layers.selection.active is active
    assert not ring.visible
    assert "1 of" in panel.state.text()
    # another panel goes on where this one was left
    panel.audit = None
    panel.start(tmp_path)
    assert panel.number == 2
    for number in range(2, count + 1):
        panel.label(panel.audit.table["found"].iloc[number - 1])
    assert panel.number is None
    values = json.loads((tmp_path / "audit.json").read_text())
    assert values["complete"]
    assert values["scores"]
    assert "precision" in panel.scores.text()
    panel.undo()
    assert panel.number == count


def test_mistakes_are_said_in_the_panel(qtbot, monkeypatch, tmp_path):
    viewer = ViewerModel()
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    widget.audit_panel.start(tmp_path)
    assert "detect the columns" in widget.audit_panel.state.text()
    _, panel, image = detected(qtbot, monkeypatch, viewer)
    panel.start(tmp_path)
    panel.pause()
    image.name = "another"
    panel.start(tmp_path)
    assert "not in this viewer" in panel.state.text()
    assert panel.number is None


@pytest.mark.gui
def test_keys_label_and_go_back(qtbot, monkeypatch, tmp_path, make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1300, 900)
    widget, panel, _ = detected(qtbot, monkeypatch, viewer)
    viewer.window.add_dock_widget(widget, area="right")
    widget.panel_buttons[1].click()
    qtbot.wait(200)
    panel.start(tmp_path)
    for key in (Qt.Key.Key_1, Qt.Key.Key_6, Qt.Key.Key_Space):
        press(viewer, key)
    names = panel.audit.class_names
    assert panel.audit.labels[:4] == [names[0], names[5], UNSURE, ""]
    press(viewer, Qt.Key.Key_Z)
    assert panel.audit.labels[:3] == [names[0], names[5], ""]
    panel.pause()
    press(viewer, Qt.Key.Key_2)
    assert panel.audit.labels[2] == ""
