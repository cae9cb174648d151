"""*Known displacement* and *Another signal* in the average widget."""

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QFileDialog
from widget_stage import add_region, errors, finish, run, use_truth

from napari_defectstrain.io.companions import read_companion
from napari_defectstrain.pipeline.selftest import TABLE, SelfTest
from napari_defectstrain.types import DefectStrainError
from napari_defectstrain.widgets.average import trying
from napari_defectstrain.widgets.average.widget import AverageWidget
from napari_defectstrain.widgets.detect.widget import DetectWidget
from napari_defectstrain.widgets.layers.detected import detected_with
from napari_defectstrain.widgets.layers.sites import kind, note

pytestmark = pytest.mark.gui


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "widgets.json"))


def averager(viewer, qtbot):
    """An average widget for small windows."""
    widget = AverageWidget(viewer)
    qtbot.addWidget(widget)
    widget.windows.references.setValue(40)
    widget.windows.window.setValue(2.0)
    return widget


@pytest.fixture
def stage(qtbot, monkeypatch):
    viewer = ViewerModel()
    made, _ = add_region(viewer, 1, size=448, name="region 1")
    use_truth(monkeypatch, made)
    detector = DetectWidget(viewer)
    qtbot.addWidget(detector)
    run(qtbot, detector)
    return made, averager(viewer, qtbot)


def test_a_trial_is_shown_and_saved(stage, qtbot, monkeypatch, tmp_path):
    _, widget = stage
    row = ("shifted", "known_1", 7, "spacing of the W triangle", "%", 0.0, 0.1, 0.1, 0.1, 1.0)
    asked = []

    def trial(found, config, progress):
        asked.append((len(found.images), found.config.average.window_nm, config.trials))
        return SelfTest(pd.DataFrame([row], columns=TABLE), found)

    monkeypatch.setattr(trying, "self_test", trial)
    widget.trying.known.click()
    qtbot.waitUntil(lambda: widget.trying.table.rows.rowCount() == 1, timeout=60_000)
    assert asked == [(1, 2.0, ("shifted",))]
    headers = [widget.trying.table.rows.horizontalHeaderItem(i).text() for i in range(3)]
    assert headers == ["class", "n", "quantity"]
    assert "root mean square 1.00" in widget.trying.table.text.text()
    monkeypatch.setattr(trying, "ask_path", lambda *_: tmp_path / "a.csv")
    widget.trying.table.save.click()
    assert pd.read_csv(tmp_path / "a.csv")["pull"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("words", "trials"),
    [("simulated twins", ("simulated",)), ("both", ("shifted", "simulated"))],
)
def test_simulated_twins_may_be_tried_too(stage, qtbot, monkeypatch, words, trials):
    _, widget = stage

    def trial(found, config, progress):
        rows = [(t, "SV", 7, "spacing", "%", -4.8, -4.7, 0.1, 0.1, 1.0) for t in config.trials]
        return SelfTest(pd.DataFrame(rows, columns=TABLE), found)

    monkeypatch.setattr(trying, "self_test", trial)
    widget.trying.trials.setCurrentText(words)
    widget.trying.known.click()
    rows = widget.trying.table.rows
    qtbot.waitUntil(lambda: rows.rowCount() == len(trials), timeout=60_000)
    named = rows.horizontalHeaderItem(0).text() == "trial"
    assert named == (len(trials) == 2)
    assert widget.trying.table.text.text().startswith(f"{trials[0]}: 1 pulls")


def test_a_trial_detects_as_the_images_were_detected(stage, qtbot, monkeypatch, tmp_path):
    _, widget = stage
    asked, said = [], errors(monkeypatch)

    def trial(found, config, progress):
        asked.append(found.config)
        raise DefectStrainError("far enough")

    monkeypatch.setattr(trying, "self_test", trial)
    (defects,) = [la for la in widget.viewer.layers if kind(la) == "defects"]
    about = note(defects)
    about["parameters"] = {**about["parameters"], "weights": "own", "thresholds": [0.6] * 4}
    about["judge"] = {**about["judge"], "rounds": 3}
    widget.trying.known.click()
    finish(qtbot, widget)
    assert asked[0].detect.weights == "own" and asked[0].detect.thresholds == (0.6,) * 4
    assert asked[0].judge.rounds == 3 and asked[0].average.window_nm == 2.0
    config, images = widget._settings()
    assert config.detect.weights == "own" and images == [widget.viewer.layers["region 1"]]
    other = {**about, "parameters": {**about["parameters"], "weights": None}}
    assert detected_with([about, about])["detect"].weights == "own"
    with pytest.raises(DefectStrainError, match="unlike settings"):
        detected_with([about, other])
    elsewhere = {**about, "parameters": {**about["parameters"], "device": "cpu"}}
    assert detected_with([about, elsewhere]) == detected_with([about])
    assert detected_with([]) == {} and said[-1] == "far enough"
    qtbot.waitUntil(lambda: not widget.counts.busy, timeout=60_000)


def test_another_signal_is_averaged_into_a_folder(stage, qtbot, monkeypatch, tmp_path):
    made, widget = stage
    np.save(tmp_path / "second.npy", made.counts)
    out = tmp_path / "out"
    monkeypatch.setattr(
        QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "second.npy"), "")
    )
    monkeypatch.setattr(trying, "ask_folder", lambda *_: out)
    widget.trying.companion.click()
    qtbot.waitUntil(lambda: (out / "companion.json").exists(), timeout=60000)
    data = np.asarray(read_companion(out / "companion_SV_difference.hspy").data)
    half = data.shape[0] // 2
    assert data[half, half] < 0


def test_without_a_detection_both_say_so(qtbot):
    widget = averager(ViewerModel(), qtbot)
    for button in (widget.trying.known, widget.trying.companion):
        button.click()
        assert "detect the defects" in widget.run_bar.status.text()
