"""Teaching in napari: needs a study, changes nothing unasked, and is used by the next detection."""

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from widget_stage import add_region, run, use_truth

from napari_defectstrain.judge import JudgeConfig, LearntClasses
from napari_defectstrain.pipeline import RunConfig
from napari_defectstrain.teaching import (
    CLASSES,
    Course,
    Gain,
    Step,
    Verdict,
    read_taught,
    taught_names,
    write_taught,
)
from napari_defectstrain.types import DefectStrainError, no_progress
from napari_defectstrain.widgets.detect import teach_panel
from napari_defectstrain.widgets.detect.teach_panel import NO_STUDY, NOTHING_TAUGHT, OF_STUDY
from napari_defectstrain.widgets.detect.widget import FROM_FILE, DetectWidget
from napari_defectstrain.widgets.study.keeper import keeper_of

LEARNT = LearntClasses(mean=(0.7, 1.1, 1.4, 0.3, 0.0), spread=(0.02,) * 5)
GAIN = Gain(0.8, 0.9, 0.05, 0.15, 200)
HELPS = Course(
    (Step(CLASSES, Verdict(GAIN, (GAIN,) * 4, 4, 0.0, 0)),), JudgeConfig(learnt=LEARNT), None, False
)
NO_GAIN = Gain(0.9, 0.9, 0.0, 0.0, 200)
USELESS = Course(
    (Step(CLASSES, Verdict(NO_GAIN, (NO_GAIN,) * 4, 4, 1.0, 0)),), JudgeConfig(), None, False
)


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "widgets.json"))
    module = "napari_defectstrain.teaching.taught.user_data_path"
    monkeypatch.setattr(module, lambda name: tmp_path / name)


@pytest.fixture
def widget(qtbot, monkeypatch, tmp_path):
    viewer = ViewerModel()
    made, _ = add_region(viewer, size=256)
    use_truth(monkeypatch, made)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    run(qtbot, widget)
    return widget


def learn(qtbot, panel):
    with qtbot.waitSignal(panel.bar.idle, timeout=60_000):
        panel.bar.run_button.click()


def test_without_a_study_it_says_what_to_do(qtbot, widget):
    panel = widget.teach_panel
    panel.bar.run_button.click()
    assert panel.told.toPlainText() == NO_STUDY
    assert not panel.use_button.isEnabled()


def test_what_helps_is_kept_under_a_name_and_used(qtbot, monkeypatch, widget, tmp_path):
    panel = widget.teach_panel
    widget.study.save_to(tmp_path / "mine")
    panel.refresh()
    assert panel.images.count() == 1 and panel.done == []
    panel.images.item(0).setCheckState(Qt.CheckState.Checked)
    asked = []

    def taught_by(path, done, config, progress):
        asked.append((path.name, done))
        return HELPS, [], "WSe2", ["region: a note"]

    monkeypatch.setattr(teach_panel, "_taught_by", taught_by)
    learn(qtbot, panel)
    ((folder, done),) = asked
    assert folder == "mine.defectstrain" and len(done) == 1
    assert "this helps" in panel.told.toPlainText()
    assert "region: a note" in panel.told.toPlainText()
    assert widget.config().judge.learnt is None  # nothing is changed unasked
    panel.use_button.click()
    assert "got no name" in panel.bar.status.text()
    for name in ("WSe2/40 kV", "mine.taught"):
        panel.name.setText(name)
        panel.use_button.click()
        assert "without folders" in panel.bar.status.text()
    panel.name.setText("our microscope")
    panel.use_button.click()
    assert taught_names() == ["our microscope"]
    assert widget.taught.name == "our microscope"
    assert widget.config().judge.learnt == LEARNT
    widget.taught.setCurrentText(NOTHING_TAUGHT)
    assert widget.config().judge.learnt is None


def test_what_does_not_help_can_not_be_used(qtbot, monkeypatch, widget, tmp_path):
    panel = widget.teach_panel
    widget.study.save_to(tmp_path / "mine")
    monkeypatch.setattr(teach_panel, "_taught_by", lambda *_: (USELESS, [], "WSe2", []))
    learn(qtbot, panel)
    assert "doesn't help: nothing was changed" in panel.told.toPlainText()
    assert not panel.use_button.isEnabled()


def test_where_nothing_was_corrected_it_is_said(qtbot, widget, tmp_path):
    widget.study.save_to(tmp_path / "mine")
    panel = widget.teach_panel
    learn(qtbot, panel)  # nothing was corrected, nothing is ticked
    assert "got no corrections" in panel.bar.status.text()


def test_what_a_study_was_taught_stays_until_something_else_is_chosen(qtbot, widget, tmp_path):
    widget.study.save_to(tmp_path / "mine")
    study = keeper_of(widget.viewer).study
    study.set_config(study.config.replace(judge=JudgeConfig(rounds=3, learnt=LEARNT)))
    widget.take_up()
    assert widget.taught.currentText() == OF_STUDY
    assert widget.config().judge == study.config.judge
    widget.taught.setCurrentText(NOTHING_TAUGHT)
    assert widget.config().judge == JudgeConfig(rounds=3)


def test_what_a_study_was_taught_comes_with_the_network_that_it_was_learnt_from(
    qtbot, widget, tmp_path
):
    widget.study.save_to(tmp_path / "mine")
    study = keeper_of(widget.viewer).study
    detect = study.config.detect.replace(weights="tuned.safetensors")
    judge = JudgeConfig(learnt=LEARNT)
    study.set_config(study.config.replace(judge=judge, detect=detect))
    widget.take_up()
    assert widget.config().detect.weights == "tuned.safetensors"


def test_a_kept_set_may_be_called_like_the_choice_of_the_study(widget, tmp_path):
    write_taught(OF_STUDY, HELPS, "WSe2", [])
    widget.taught.refresh(OF_STUDY)
    assert widget.taught.name == OF_STUDY and not widget.taught.of_study
    assert widget.config().judge.learnt == LEARNT


def test_what_was_in_use_is_kept_with_what_was_taught(qtbot, monkeypatch, widget, tmp_path):
    weights = tmp_path / "tuned.safetensors"
    weights.write_bytes(b"weights")
    before = write_taught("before", HELPS, "WSe2", [], "", weights)
    widget.study.save_to(tmp_path / "mine")
    widget.taught.refresh("before")
    monkeypatch.setattr(teach_panel, "_taught_by", lambda *_: (HELPS, [], "WSe2", []))
    panel = widget.teach_panel
    learn(qtbot, panel)
    panel.name.setText("after")
    panel.use_button.click()
    after = read_taught("after")
    assert after.parent == "before"
    assert after.weights_sha256 == before.weights_sha256 != ""


def test_another_material_than_the_study_s_is_refused(widget, tmp_path):
    widget.study.save_to(tmp_path / "mine")
    path = keeper_of(widget.viewer).study.path
    with pytest.raises(DefectStrainError, match="got the material MoS2, expected WSe2"):
        teach_panel._taught_by(path, [], RunConfig(material="MoS2"), no_progress)


def test_other_weights_beside_what_was_taught_are_refused(qtbot):
    widget = DetectWidget(ViewerModel())
    qtbot.addWidget(widget)
    write_taught("mine", HELPS, "WSe2", [])
    widget.taught.refresh("mine")
    assert widget.config().detect.weights is None
    widget.model.setCurrentText(FROM_FILE)
    widget.weights.setText("chosen.safetensors")
    with pytest.raises(DefectStrainError, match="taught mine: got the weights chosen"):
        widget.config()
