"""The series widget in a real viewer: register, tick off, follow, look, save."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Points, Tracks
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication
from widget_stage import errors, finish, run

from napari_defectstrain.frames import FrameConfig
from napari_defectstrain.pipeline import RunConfig
from napari_defectstrain.simulate import SimulationConfig, knock_on, simulate_changes
from napari_defectstrain.types import DefectStrainError
from napari_defectstrain.widgets.layers.sites import KEY, calibrate
from napari_defectstrain.widgets.series import widget as series_module
from napari_defectstrain.widgets.series.frames_table import by_hand
from napari_defectstrain.widgets.series.widget import KIND_NAMES, SeriesWidget, frames_of
from napari_defectstrain.widgets.study.opening import open_into, save_as

PIXEL_PM = 36.0


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "settings" / "widgets.json"))


@pytest.fixture(scope="module")
def made():
    config = SimulationConfig()
    scan = config.scan.replace(
        shape=(192, 192), pixel_size_pm=PIXEL_PM, dose_e_per_nm2=3e6, frames=1, jitter_px=0.3
    )
    return simulate_changes(
        config.replace(scan=scan), np.random.default_rng(3), "beam", 6, knock_on(0.02)
    )


def add_series(viewer, made):
    return viewer.add_image(
        made.image.counts,
        name="beam",
        scale=(1.0, PIXEL_PM, PIXEL_PM),
        units=("pixel", "pm", "pm"),
        axis_labels=("frame", "y", "x"),
        metadata={KEY: {"dwell_time_us": 4.0, "dose_e_per_nm2": 3e6}},
    )


@pytest.fixture
def widget(qtbot, made):
    viewer = ViewerModel()
    add_series(viewer, made)
    own = SeriesWidget(viewer)
    qtbot.addWidget(own)
    own.straighten.setChecked(False)
    yield own
    own.run_bar.cancel()


def test_ticks_become_settings_and_back():
    before = FrameConfig(exclude=(1,), include=(2,), jitter="off")
    bad = [False, True, False, True]
    assert by_hand(before, bad, [True, False, True, False]) == before
    after = by_hand(before, bad, [False, True, False, True])
    assert after.exclude == (0, 2) and after.include == (1, 3) and after.jitter == "off"


@pytest.mark.gui
def test_without_a_stack_it_says_what_to_do(qtbot, monkeypatch):
    shown = errors(monkeypatch)
    own = SeriesWidget(ViewerModel())
    qtbot.addWidget(own)
    own.viewer.add_image(np.zeros((64, 64)))
    own.run_bar.run_button.click()
    assert "Open Sample > Dose series" in shown[0]


@pytest.mark.gui
def test_what_the_file_says_of_dose_and_time_goes_along(widget):
    frames = frames_of(widget.viewer.layers["beam"])
    assert len(frames) == 6 and frames[0].pixel_size_pm == pytest.approx(PIXEL_PM)
    assert frames[0].metadata["dose_e_per_nm2"] == 3e6


@pytest.mark.gui
@pytest.mark.slow
def test_frames_are_registered_and_ticked_off(widget, qtbot):
    widget.register_button.click()
    finish(qtbot, widget)
    assert widget.frames.count() == 6 and all(widget.frames.ticks())
    assert "6 of 6 frames are summed" in widget.changed.text()
    known = widget.registered
    widget.frames.item(5).setCheckState(Qt.CheckState.Unchecked)
    assert widget.run_config().series.exclude == (5,)
    widget.kind.setCurrentText(KIND_NAMES["frames"])
    run(qtbot, widget)
    assert widget.registered is not known
    assert widget.registered.found.reason[5] == "left out by hand"
    assert widget.frames.ticks() == [True] * 5 + [False]
    total = widget.viewer.layers["beam · sum"]
    assert total.ndim == 2 and "5" in widget.changed.text()
    assert not widget.plots_button.isEnabled()


@pytest.mark.gui
@pytest.mark.parametrize("change", ["nothing", "pixel size", "data"])
def test_frames_of_another_pixel_size_or_other_pixels_are_registered_anew(
    widget, qtbot, monkeypatch, change
):
    layer = widget.viewer.layers["beam"]
    nothing = SimpleNamespace(bad=np.zeros(6, dtype=bool), reason=[""] * 6)
    stub = SimpleNamespace(found=nothing, warnings=())
    known = []

    def follow(_frames, registered, *_):
        known.append(registered)
        raise DefectStrainError("far enough")

    monkeypatch.setattr(series_module, "register_series", lambda *_: stub)
    monkeypatch.setattr(series_module, "_follow", follow)
    monkeypatch.setattr(series_module, "_changed_text", lambda _: "")
    monkeypatch.setattr(widget.drift, "show_drift", lambda _: None)
    stub.drift = pd.DataFrame({"frame": range(6)})
    widget.register_button.click()
    finish(qtbot, widget)
    if change == "pixel size":
        calibrate(widget.viewer, layer, 30.0, "hand")
    elif change == "data":
        layer.data = layer.data[:, ::-1]
    run(qtbot, widget)
    assert known == ([stub] if change == "nothing" else [None])


@pytest.mark.gui
@pytest.mark.slow
def test_defects_are_followed_shown_and_saved(widget, qtbot, made, tmp_path, monkeypatch):
    widget.register_button.click()
    finish(qtbot, widget)
    known = widget.registered
    widget.per_sum.setValue(1)
    run(qtbot, widget)
    assert widget.registered is known  # what is registered is not done again
    sums = widget.viewer.layers["beam · sums"]
    tracks = widget.viewer.layers["beam · tracks"]
    events = widget.viewer.layers["beam · events"]
    by_sum = widget.viewer.layers["beam · defects by sum"]
    assert len(by_sum.data) == len(tracks.data)
    assert sums.data.shape[0] == 6
    assert isinstance(tracks, Tracks) and isinstance(events, Points)
    for layer in (tracks, events):
        assert layer.scale == pytest.approx(sums.scale)
        assert layer.translate == pytest.approx(sums.translate)
    # a track lies on its column: dark vacancies are where the sums are darker than around
    last = tracks.data[(tracks.data[:, 1] == 5)]
    kinds = np.asarray(tracks.features["class"])[tracks.data[:, 1] == 5]
    at = np.round(last[kinds == "SV"][:, 2:]).astype(int)
    assert len(at) > 10
    shown = sums.data[5]
    assert shown[at[:, 0], at[:, 1]].mean() < shown.mean()
    assert "2Se -> SV" in widget.text.text() and "barn" in widget.text.text()
    assert len(widget.canvas.figure.axes) == 2
    monkeypatch.setattr(series_module, "ask_folder", lambda *_: tmp_path / "out")
    widget.save_button.click()
    finish(qtbot, widget)
    rates = pd.read_csv(tmp_path / "out" / "rates.csv")
    true = made.rates(3.0)["X2", "V1"]
    row = rates[(rates["from"] == "2Se") & (rates["to"] == "SV")].iloc[0]
    assert row["low_per_1e6_e_nm2"] < true < row["high_per_1e6_e_nm2"]
    for name in ("series", "drift"):  # what the figures show
        drawn = pd.read_csv(tmp_path / "out" / "figures" / f"{name}.csv")
        assert len(drawn) and drawn["y"].notna().any()
    panels = pd.read_csv(tmp_path / "out" / "figures" / "series.csv")["panel"].unique()
    assert [panel[:3] for panel in panels] == ["(a)", "(b)"]
    # another layer: what was registered is not its
    add_series(widget.viewer, made)
    widget.source.choose(widget.viewer.layers[-1])
    assert widget.registered is None and widget.frames.count() == 0


@pytest.mark.gui
def test_it_is_copied_as_command_and_python(widget):
    widget.per_sum.setValue(3)
    widget.dose.setValue(2.5)
    widget.copying.command_button.click()
    asked = "defectstrain series beam.tif --out series --per-sum 3 --dose 2500000.0"
    assert QApplication.clipboard().text() == f"{asked} --set 'series.jitter=\"off\"'"
    widget.copying.python_button.click()
    assert "analyse_series(frames, config, run, 'beam')" in QApplication.clipboard().text()


@pytest.mark.gui
def test_a_study_keeps_its_controls(qtbot, widget, tmp_path, monkeypatch):
    widget.per_sum.setValue(3)
    widget.kind.setCurrentText(KIND_NAMES["time"])
    keeper = save_as(widget.viewer, tmp_path / "mine", RunConfig())
    keeper.close()
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "others.json"))
    again = SeriesWidget(ViewerModel())
    qtbot.addWidget(again)
    assert again.per_sum.value() == 0
    other, _ = open_into(again.viewer, keeper.study.path)
    assert again.per_sum.value() == 3
    assert again.kind.currentText() == KIND_NAMES["time"]
    assert again.source.layer.name == "beam"
    other.close()


@pytest.mark.gui
@pytest.mark.slow
def test_a_study_keeps_drift_and_ticked_frames(qtbot, widget, tmp_path, monkeypatch):
    widget.register_button.click()
    finish(qtbot, widget)
    widget.frames.item(5).setCheckState(Qt.CheckState.Unchecked)
    widget.frames.item(1).setCheckState(Qt.CheckState.Unchecked)
    asked, drift = widget.frame_config(), widget.registered.drift
    assert asked.exclude == (1, 5)
    keeper = save_as(widget.viewer, tmp_path / "mine", RunConfig())
    widget.frames.item(1).setCheckState(Qt.CheckState.Checked)  # noticed after the saving, too
    assert keeper._window.isActive()
    keeper.save_window()
    keeper.close()
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "others.json"))
    again = SeriesWidget(ViewerModel())
    qtbot.addWidget(again)
    other, _ = open_into(again.viewer, keeper.study.path)
    assert again.registered is None  # the sum is made when it is asked for
    assert again.frames.ticks() == [True] * 5 + [False]
    pd.testing.assert_frame_equal(again.judged.drift, drift, check_dtype=False)
    assert not again.drift.isHidden()
    assert again.changed.text() == widget.changed.text()
    assert again.frame_config().exclude == (5,)
    again.register_button.click()
    finish(qtbot, again)
    assert again.registered.found.reason[5] == "left out by hand"
    other.close()


@pytest.mark.gui
def test_strange_notes_of_frames_are_left_out(widget):
    layer = widget.viewer.layers["beam"]
    for strange in (3, {}, {"bad": [True]}, {"config": {"exclude": "x"}}):
        layer.metadata[KEY] = {**layer.metadata[KEY], "registered": strange}
        widget.take_up()
        assert widget.judged is None and widget.changed.text() == "Not registered yet"
