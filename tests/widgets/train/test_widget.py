"""The train widget in a real viewer: examples, a small training, pause, stop, go on, use."""

import json

import numpy as np
import pytest
from napari.components import ViewerModel
from numpy.testing import assert_allclose
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialog,
    QLineEdit,
    QScrollArea,
)
from widget_stage import PIXEL_PM, add_region, answers, errors, finish, run

from napari_defectstrain.detect.network.config import NetworkConfig
from napari_defectstrain.detect.training.resuming import checkpoint_of, stopped_training
from napari_defectstrain.pipeline import RunConfig
from napari_defectstrain.types import Cancelled, DefectStrainError
from napari_defectstrain.widgets.base.pacing import Gate, Pace
from napari_defectstrain.widgets.detect.widget import BUNDLED, FROM_FILE, DetectWidget
from napari_defectstrain.widgets.layers.sites import KEY
from napari_defectstrain.widgets.study.opening import open_into, save_as
from napari_defectstrain.widgets.train import widget as train_module
from napari_defectstrain.widgets.train.own_weights import use_in_detect
from napari_defectstrain.widgets.train.widget import ANEW, GO_ON, PAUSE, RESUME, TrainWidget

ENDLESS = 100_000


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "settings" / "widgets.json"))


def make_small(widget, out, steps=4, epoch=2):
    """A network and windows so small that a step takes a tenth of a second."""
    widget.base = widget.base.replace(
        batch=2,
        window_px=64,
        validation_windows=2,
        calibration_windows=2,
        network=NetworkConfig(features=(4, 4, 4, 4, 4)),
    )
    widget.device.setCurrentText("cpu")
    widget.weights.setText(str(out))
    widget.steps.setValue(steps)
    widget.epoch.setValue(epoch)
    return widget


@pytest.fixture
def widget(qtbot, tmp_path):
    """A widget without an image, set to a small training."""
    made = TrainWidget(ViewerModel())
    qtbot.addWidget(made)
    yield make_small(made, tmp_path / "own.safetensors")
    made.run_bar.cancel()
    finish(qtbot, made)


def click(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def step_of(widget):
    """The step that the status tells; 0 as long as it tells none."""
    words = widget.run_bar.status.text().removeprefix("Paused: ").replace(",", "").split()
    return int(words[1]) if words[:1] == ["step"] else 0


def start_endless(qtbot, widget):
    """Start a training that only a cancel ends, and wait for its third step."""
    widget.steps.setValue(ENDLESS)
    click(qtbot, widget.run_bar.run_button)
    qtbot.waitUntil(lambda: step_of(widget) >= 3, timeout=60_000)


def stop(qtbot, widget):
    click(qtbot, widget.run_bar.cancel_button)
    finish(qtbot, widget)


# -- before the training


def test_examples_are_shown_beside_the_own_image(qtbot):
    viewer = ViewerModel()
    _, layer = add_region(viewer)
    widget = TrainWidget(viewer)
    qtbot.addWidget(widget)
    click(qtbot, widget.examples.button)
    finish(qtbot, widget)
    axes = [a for a in widget.examples.canvas.figure.axes if a.images]
    assert [a.get_title() for a in axes] == ["region"] + ["simulated"] * 4
    assert len({a.images[0].get_clim() for a in axes}) == 1
    side = widget.base.window_px
    assert {a.images[0].get_array().shape for a in axes} == {(side, side)}
    # no marks on the user's image, and none on the others before they are asked for
    assert not any(a.collections for a in axes)
    widget.examples.marks.click()
    axes = [a for a in widget.examples.canvas.figure.axes if a.images]
    assert [bool(a.collections) for a in axes] == [False] + [True] * 4
    click(qtbot, widget.examples.enlarge_button)
    (window,) = widget.findChildren(QDialog)
    assert window.isVisible()
    window.close()


def test_examples_without_an_image(qtbot, widget):
    click(qtbot, widget.examples.button)
    finish(qtbot, widget)
    first = [a.images[0].get_array() for a in widget.examples.canvas.figure.axes if a.images]
    assert len(first) == 4
    click(qtbot, widget.examples.button)
    finish(qtbot, widget)
    second = [a.images[0].get_array() for a in widget.examples.canvas.figure.axes if a.images]
    assert not np.array_equal(first[0], second[0])


def test_an_image_without_a_lattice_is_not_shown_and_the_reason_is(qtbot):
    viewer = ViewerModel()
    viewer.add_image(np.random.default_rng(0).normal(size=(128, 128)), name="noise")
    widget = TrainWidget(viewer)
    qtbot.addWidget(widget)
    click(qtbot, widget.examples.button)
    finish(qtbot, widget)
    assert "noise" in widget.run_bar.status.text()
    assert "lattice of WSe2" in widget.run_bar.status.text()
    axes = [a for a in widget.examples.canvas.figure.axes if a.images]
    assert [a.get_title() for a in axes] == ["simulated"] * 4


def test_the_image_fills_the_controls(qtbot):
    viewer = ViewerModel()
    about = {"beam_energy_kev": 60.0, "semi_angle_mrad": 30.0}
    _, layer = add_region(viewer, scale=(21.5, 21.5), metadata={KEY: about})
    widget = TrainWidget(viewer)
    qtbot.addWidget(widget)
    dose = widget.conditions.ranges["dose_e_per_nm2"].value
    click(qtbot, widget.own.take_button)
    finish(qtbot, widget)
    conditions = widget.config().conditions
    # the lattice's pixel size, not the layer's; 1 % is its spread on small fields
    assert_allclose(conditions.pixel_size_pm, (0.85 * PIXEL_PM, 1.15 * PIXEL_PM), rtol=0.01)
    assert_allclose(conditions.semi_angle_mrad, (27.0, 33.0))
    assert conditions.energy_kev == (60.0,)
    assert conditions.dose_e_per_nm2 == dose
    assert "Not in its metadata: dose" in widget.own.facts.text()


def test_a_sum_of_frames_knows_what_their_file_says(qtbot):
    viewer = ViewerModel()
    _, series = add_region(viewer, name="frames", metadata={KEY: {"beam_energy_kev": 60.0}})
    add_region(viewer, name="sum", metadata={KEY: {"frames_of": str(series.unique_id)}})
    widget = TrainWidget(viewer)
    qtbot.addWidget(widget)
    widget.own.image.choose(viewer.layers["sum"])
    assert widget.own.get().metadata["beam_energy_kev"] == 60.0


def test_a_stack_shows_the_plane_in_sight(qtbot):
    viewer = ViewerModel()
    planes = np.random.default_rng(0).normal(size=(3, 64, 64))
    viewer.add_image(planes, name="three")
    widget = TrainWidget(viewer)
    qtbot.addWidget(widget)
    viewer.dims.set_current_step(0, 2)
    assert np.array_equal(widget.own.get().data, planes[2])


def test_the_part_in_the_middle_of_the_view_is_shown(qtbot):
    viewer = ViewerModel()
    add_region(viewer)
    widget = TrainWidget(viewer)
    qtbot.addWidget(widget)
    viewer.scene.camera.center = (0, 100 * PIXEL_PM, 250 * PIXEL_PM)
    assert_allclose(widget.own.middle_of_view(), (100, 250))
    viewer.scene.camera.center = (0, -100 * PIXEL_PM, 250 * PIXEL_PM)
    assert widget.own.middle_of_view() is None


def test_the_contamination_of_the_image_is_trained_with(qtbot, tmp_path):
    viewer = ViewerModel()
    for seed in (1, 2):
        add_region(viewer, seed=seed, name=f"region / {seed}")
    widget = TrainWidget(viewer)
    qtbot.addWidget(widget)
    paths = []
    for layer in viewer.layers:
        widget.own.image.choose(layer)
        click(qtbot, widget.own.contamination_button)
        finish(qtbot, widget)
        paths.append(widget.config().conditions.background)
    assert len(set(paths)) == 2
    assert all(p.startswith(str(tmp_path / "settings" / "contamination")) for p in paths)
    click(qtbot, widget.examples.button)
    finish(qtbot, widget)
    assert widget.run_bar.status.text() == ""
    widget.conditions.background.clear()
    assert widget.config().conditions.background == ""


def test_without_an_image_there_is_nothing_to_take(qtbot, monkeypatch, widget):
    shown = errors(monkeypatch)
    for button in (widget.own.take_button, widget.own.contamination_button):
        click(qtbot, button)
    assert len(shown) == 2
    assert all("got no image" in text for text in shown)


def test_controls_become_settings(widget):
    controls = widget.conditions
    controls.material.setCurrentText("MoS2")
    controls.energy.setValue(60.0)
    controls.ranges["semi_angle_mrad"].set_value((30.0, 33.0))
    controls.shares[3].setValue(0.0)
    widget.minutes.setValue(25)
    config = widget.config()
    assert config.conditions.materials == ("MoS2",)
    assert config.conditions.energy_kev == (60.0,)
    assert config.conditions.semi_angle_mrad == (30.0, 33.0)
    assert config.conditions.fractions_max[3] == 0.0
    assert (config.steps, config.minutes, config.workers) == (4, 25, 0)
    widget.minutes.setValue(0)
    assert widget.config().minutes is None
    # what the controls show comes back as it was
    controls.set(config.conditions)
    assert widget.config().conditions == config.conditions


def test_a_material_of_ones_own(qtbot, monkeypatch, widget):
    box = widget.conditions.material
    box.setCurrentText("NbSe2(S, 344.5)")
    assert widget.config().conditions.materials == ("NbSe2(S, 344.5)",)
    assert widget.conditions.share_labels[0].text() == "SeS"
    shown = errors(monkeypatch)
    box.setCurrentText("nonsense")
    click(qtbot, widget.run_bar.run_button)
    click(qtbot, widget.examples.button)
    assert len(shown) == 2
    assert all("nonsense" in text for text in shown)


def test_the_ends_of_a_range_never_cross(widget):
    box = widget.conditions.ranges["read_noise"]
    box.set_value((0.1, 0.2))
    box.low.setValue(0.3)
    assert box.value == (0.3, 0.3)
    box.high.setValue(0.05)
    assert box.value == (0.05, 0.05)
    box.set_value((0.4, 0.6))
    assert box.value == (0.4, 0.6)


def test_a_dose_can_be_typed_as_a_power_of_ten(qtbot, widget):
    box = widget.conditions.ranges["dose_e_per_nm2"].low
    box.selectAll()
    qtbot.keyClicks(box, "1.5e6")
    qtbot.keyClick(box, Qt.Key.Key_Return)
    assert box.value() == 1.5e6
    assert box.text() == "1.5e+06"
    qtbot.keyClick(box, Qt.Key.Key_Up)
    assert box.value() == 3e6
    for text in ("kg", "3"):  # letters are not taken, and 3 is below the least dose
        box.selectAll()
        qtbot.keyClicks(box, text)
        qtbot.keyClick(box, Qt.Key.Key_Return)
        assert box.value() == 3e6


def test_defaults_are_one_click_away(qtbot, widget):
    before = widget.config().conditions
    widget.conditions.ranges["jitter_px"].set_value((2.0, 3.0))
    widget.conditions.shares[0].setValue(0.4)
    click(qtbot, widget.conditions.reset_button)
    assert widget.config().conditions == before


# -- the training


def test_a_training_is_drawn_written_and_used_in_detect(qtbot, tmp_path, widget):
    detect = DetectWidget(widget.viewer)
    qtbot.addWidget(detect)
    assert detect.model.currentText() == BUNDLED
    assert not widget.use_button.isEnabled()
    run(qtbot, widget)
    out = tmp_path / "own.safetensors"
    assert widget.run_bar.status.text() == "own.safetensors is trained"
    loss, scores = widget.log.figure.axes
    assert list(loss.lines[0].get_xdata()) == [2, 4]
    # precision and recall of the seven classes
    assert len(scores.lines) == 14
    (legend,) = widget.log.figure.legends
    assert {t.get_text().split()[0] for t in legend.get_texts()} >= {"W", "SeTe", "DV", "other"}
    assert legend.get_title().get_text().endswith("step 4")
    log = (tmp_path / "own.safetensors.csv").read_text().splitlines()
    assert len(log) == 1 + 2
    assert float(log[2].split(",")[0]) == 4
    # at once where Detect is open, and where it is opened later
    click(qtbot, widget.use_button)
    late = DetectWidget(ViewerModel())
    qtbot.addWidget(late)
    for each in (detect, late):
        assert each.config().detect.weights == str(out)
        assert each.model.currentText() == FROM_FILE
        assert each.material.currentText() == "WSe2"


@pytest.mark.parametrize("material", ["MoS2", "NbSe2(S, 344.5)"])
def test_weights_of_another_material_change_that_of_detect(qtbot, tmp_path, material):
    detect = DetectWidget(ViewerModel())
    qtbot.addWidget(detect)
    assert use_in_detect(tmp_path / "own.safetensors", ["WSe2", material]) == 0  # no dock
    assert detect.material.currentText() == "WSe2"  # which they know, too
    use_in_detect(tmp_path / "own.safetensors", [material])
    assert detect.material.currentText() == material
    assert detect.config().detect.material == material


def test_pausing_holds_the_training_until_it_is_resumed(qtbot, widget):
    start_endless(qtbot, widget)
    assert "left" in widget.run_bar.status.text() or "measuring" in widget.run_bar.status.text()
    click(qtbot, widget.pause_button)
    assert widget.pause_button.text() == RESUME
    qtbot.waitUntil(lambda: widget.run_bar.status.text().startswith("Paused"), timeout=60_000)
    held = step_of(widget)
    qtbot.wait(500)
    assert step_of(widget) == held
    click(qtbot, widget.pause_button)
    assert widget.pause_button.text() == PAUSE
    qtbot.waitUntil(lambda: step_of(widget) > held, timeout=60_000)
    click(qtbot, widget.pause_button)
    qtbot.waitUntil(lambda: widget.run_bar.status.text().startswith("Paused"), timeout=60_000)
    stop(qtbot, widget)  # also while it is held
    assert widget.pause_button.text() == PAUSE
    assert not widget.pause_button.isEnabled()


def test_a_stopped_training_goes_on_where_it_was(qtbot, monkeypatch, tmp_path, widget):
    start_endless(qtbot, widget)
    stop(qtbot, widget)
    assert widget.run_bar.status.text().startswith("Stopped, with a checkpoint")
    out = tmp_path / "own.safetensors"
    stopped = stopped_training(out)
    assert stopped.step >= 3
    # going on keeps the conditions that it was begun with, and says so
    widget.conditions.energy.setValue(200.0)
    widget.steps.setValue(stopped.step + 3)
    asked = answers(monkeypatch, GO_ON)
    run(qtbot, widget)
    assert f"stopped at step {stopped.step}" in asked[0][1]
    assert "other conditions" in asked[0][1]
    assert widget.conditions.energy.value() == 80.0
    steps = [int(row["step"]) for row in widget.log.record]
    assert steps == sorted(set(steps))
    assert steps[-1] == stopped.step + 3
    # and now it is done: only a longer one can go on
    asked = answers(monkeypatch, None)
    run(qtbot, widget)
    assert "which is done" in asked[0][1]
    assert asked[0][2] == [ANEW]
    assert widget.run_bar.status.text() == "Nothing was done"


def test_nothing_is_overwritten_unasked(qtbot, monkeypatch, tmp_path, widget):
    out = tmp_path / "own.safetensors"
    out.write_bytes(b"precious")
    asked = answers(monkeypatch, None)
    run(qtbot, widget)
    assert "own.safetensors" in asked[0][1]
    assert asked[0][2] == [ANEW]
    assert out.read_bytes() == b"precious"
    answers(monkeypatch, ANEW)
    run(qtbot, widget)
    assert out.read_bytes() != b"precious"
    assert len(widget.log.record) == 2


@pytest.mark.parametrize(
    ("text", "message"), [("no/such/folder/own", "a folder that exists"), ("", "no file")]
)
def test_a_place_that_is_none_is_told(qtbot, monkeypatch, widget, text, message):
    shown = errors(monkeypatch)
    monkeypatch.setattr(train_module, "ask_weights_path", lambda *_: "")
    widget.weights.setText(text)
    run(qtbot, widget)
    assert len(shown) == 1
    assert message in shown[0]


def test_an_empty_place_is_asked_for(qtbot, monkeypatch, tmp_path, widget):
    monkeypatch.setattr(train_module, "ask_weights_path", lambda *_: str(tmp_path / "new"))
    widget.weights.clear()
    run(qtbot, widget)
    assert (tmp_path / "new.safetensors").is_file()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04broken"])
def test_a_damaged_checkpoint_is_told_and_left_alone(qtbot, monkeypatch, tmp_path, widget, content):
    out = tmp_path / "own.safetensors"
    checkpoint_of(out).write_bytes(content)
    with pytest.raises(DefectStrainError, match="no checkpoint of a training, or a damaged one"):
        stopped_training(out)
    shown = errors(monkeypatch)
    run(qtbot, widget)
    assert "damaged" in shown[0]
    assert checkpoint_of(out).read_bytes() == content


def test_a_missing_device_is_told(qtbot, monkeypatch, widget):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    shown = errors(monkeypatch)
    widget.device.setCurrentText("cuda")
    run(qtbot, widget)
    assert "this machine lacks" in shown[0]


@pytest.mark.parametrize("paused", [False, True])
def test_closing_the_dock_leaves_a_checkpoint(make_napari_viewer, qtbot, tmp_path, paused):
    viewer = make_napari_viewer(show=True)
    widget = make_small(TrainWidget(viewer), tmp_path / "own.safetensors")
    dock = viewer.window.add_dock_widget(widget, area="right")
    start_endless(qtbot, widget)
    if paused:
        click(qtbot, widget.pause_button)
        qtbot.waitUntil(lambda: widget.run_bar.status.text().startswith("Paused"), timeout=60_000)
    worker = widget.run_bar._worker
    dock.destroyOnClose()
    qtbot.waitUntil(lambda: not worker.is_running, timeout=60_000)
    assert stopped_training(tmp_path / "own.safetensors").step >= 3
    viewer.theme = "light"  # no callback into the deleted widget


def test_the_controls_fit_the_narrowest_dock(make_napari_viewer):
    viewer = make_napari_viewer()
    widget = TrainWidget(viewer)
    viewer.window.add_dock_widget(widget, area="right")
    scroll = widget.findChild(QScrollArea)
    # there is no horizontal scroll bar: what is wider would be cut off
    bar = scroll.verticalScrollBar().sizeHint().width()
    assert scroll.widget().minimumSizeHint().width() + bar <= widget.minimumWidth() - 12


def test_the_theme_is_followed(qtbot, widget):
    dark = widget.log.figure.get_facecolor()
    widget.viewer.theme = "light"
    assert widget.log.figure.get_facecolor() != dark


# -- the rest


def test_settings_are_remembered(qtbot, widget, tmp_path):
    widget.conditions.ranges["pixel_size_pm"].set_value((18.0, 22.0))
    widget.conditions.ranges["dose_e_per_nm2"].set_value((6e7, 9e7))
    widget.conditions.material.setCurrentText("WS2")
    second = TrainWidget(ViewerModel())
    qtbot.addWidget(second)
    assert second.config().conditions == widget.config().conditions
    assert second.weights.text() == str(tmp_path / "own.safetensors")
    stored = json.loads((tmp_path / "settings" / "widgets.json").read_text())
    assert stored["train"]["material"] == "WS2"


def test_every_control_has_a_tooltip(widget):
    controls = [
        child
        for cls in (QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit)
        for child in widget.findChildren(cls)
        if not isinstance(child.parent(), (QAbstractSpinBox, QComboBox, QLineEdit))
        and not child.objectName().startswith("qt_")
    ]
    assert len(controls) > 30
    assert [c for c in controls if not c.toolTip()] == []


def test_the_time_left_is_that_of_the_last_steps():
    now = [0.0]
    pace = Pace(lambda: now[0])
    for step in range(4):
        assert pace.seconds_left() is None
        now[0] = 2.0 * step
        pace.tick(step / 100)
    # two seconds a step, 97 steps to go
    assert pace.seconds_left() == pytest.approx(194.0)
    assert pace.text() == "about 3 min left"
    for step in range(4, 80):
        now[0] += 10.0
        pace.tick(step / 1000)
    assert pace.text() == "about 2.6 h left"  # 10 s a step, 921 steps
    pace.restart()
    assert pace.text() == "measuring the time it takes"


def test_a_gate_holds_and_can_be_left():
    gate = Gate()
    assert not gate.hold(lambda: None)
    gate.close()
    calls = []

    def meanwhile():
        calls.append(1)
        if len(calls) == 3:
            gate.open()

    assert gate.hold(meanwhile)
    gate.close()

    def leave():
        raise Cancelled("asked to stop")

    with pytest.raises(Cancelled, match="asked to stop"):
        gate.hold(leave)


def test_it_is_copied_as_command_and_python(widget, tmp_path):
    widget.conditions.material.setCurrentText("MoS2")
    widget.copying.command_button.click()
    text = QApplication.clipboard().text()
    assert text.startswith(f"defectstrain train --out {tmp_path / 'own.safetensors'} ")
    assert "--steps 4" in text
    assert """--set 'conditions.materials=["MoS2"]'""" in text
    assert "workers" not in text  # none within napari: a program of its own may have some
    widget.copying.python_button.click()
    assert (
        f"train(config, Path('{tmp_path / 'own.safetensors'}'))" in QApplication.clipboard().text()
    )


def test_a_study_keeps_its_controls(qtbot, widget, tmp_path, monkeypatch):
    widget.steps.setValue(1234)
    widget.conditions.material.setCurrentText("MoS2")
    add_region(widget.viewer, size=64)
    keeper = save_as(widget.viewer, tmp_path / "mine", RunConfig())
    keeper.close()
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "others.json"))
    again = TrainWidget(ViewerModel())
    qtbot.addWidget(again)
    assert again.steps.value() != 1234
    other, _ = open_into(again.viewer, keeper.study.path)
    assert again.steps.value() == 1234
    assert again.conditions.material.currentText() == "MoS2"
    other.close()
