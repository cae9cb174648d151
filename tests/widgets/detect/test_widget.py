"""The detect widget in a real viewer: what it adds, asks, says, remembers, and how it is edited."""

import itertools
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from numpy.testing import assert_allclose, assert_array_equal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit
from widget_stage import (
    PIXEL_PM,
    Found,
    add_region,
    answers,
    click,
    drag,
    errors,
    finish,
    press,
    run,
    truth_detector,
    use_truth,
)

from napari_defectstrain.crystal.regions import Regions
from napari_defectstrain.io.files import read_sites
from napari_defectstrain.judge.identity import DOUBTFUL, REFUSED, Identity, ImageVerdict
from napari_defectstrain.materials import get_material
from napari_defectstrain.types import Cancelled, DefectStrainError
from napari_defectstrain.widgets.average import widget as average_module
from napari_defectstrain.widgets.average.widget import AverageWidget
from napari_defectstrain.widgets.base import forms, saving
from napari_defectstrain.widgets.base.pacing import at_once
from napari_defectstrain.widgets.detect import edit_panel, population_files
from napari_defectstrain.widgets.detect import widget as detect_module
from napari_defectstrain.widgets.detect.calibrator import KEEP_PRESENT, USE_LATTICE, Calibrator
from napari_defectstrain.widgets.detect.widget import (
    FRAMES,
    FROM_FILE,
    IMAGES,
    NEW_LAYERS,
    REPLACE,
    DetectWidget,
)
from napari_defectstrain.widgets.layers import detected as detected_module
from napari_defectstrain.widgets.layers.regions import detection_put_in_steps
from napari_defectstrain.widgets.layers.sites import (
    calibrate,
    corrected_planes,
    material_of,
    note,
    pixel_size_pm,
    provenance,
)
from napari_defectstrain.widgets.strain.widget import StrainWidget

NAMES = ("W", "2Se", "SeTe", "2Te", "SV", "DV", "other")
SHIFT = Qt.KeyboardModifier.ShiftModifier
CONTROL = Qt.KeyboardModifier.ControlModifier


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "widgets.json"))


@pytest.fixture
def stage(qtbot, monkeypatch):
    """One detected region, without a window."""
    viewer = ViewerModel()
    made, image = add_region(viewer)
    use_truth(monkeypatch, made)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    run(qtbot, widget)
    return viewer, widget, made, image


@pytest.fixture
def three(qtbot, monkeypatch):
    """Two regions and between them an image that shows nothing; all of them chosen."""
    viewer = ViewerModel()
    first, _ = add_region(viewer, size=256, name="first")
    viewer.add_image(np.zeros((256, 256)), name="empty")
    third, _ = add_region(viewer, size=256, seed=2, name="third")
    use_truth(monkeypatch, first, third)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    widget.image.setCurrentIndex(3)
    assert widget.image.chose_everything
    return viewer, widget


def searched(viewer):
    return [la.name for la in viewer.layers if la.name.endswith("defects")]


def test_an_image_that_is_refused_costs_itself_alone_and_is_told(three, qtbot, monkeypatch):
    viewer, widget = three
    said = errors(monkeypatch)
    run(qtbot, widget)
    assert searched(viewer) == ["first · defects", "third · defects"]
    assert len(said) == 1
    text = widget.run_bar.status.text()
    assert text.startswith("1 of 3 images are left out: empty: ") and said[0] in text
    assert widget.run_bar.failure == text  # Run all stops here, and says so
    colours = viewer.add_image(np.zeros((8, 8, 3), dtype=np.uint8), name="photo", rgb=True)
    viewer.layers.move(viewer.layers.index(colours), 0)
    widget.run_on([colours, viewer.layers["third"]])
    finish(qtbot, widget)
    assert widget.run_bar.status.text().startswith("1 of 2 images are left out: photo: got a col")
    widget.run_on([colours])  # one alone: as it was said
    assert widget.run_bar.status.text() == said[-1]
    assert widget.run_bar.status.text().startswith("photo: got a colour image")


def test_what_is_cancelled_or_not_answered_takes_no_other_image(three, qtbot, monkeypatch):
    viewer, widget = three

    def stop(*_):
        raise Cancelled

    monkeypatch.setattr(detect_module, "detect_images", stop)
    run(qtbot, widget)
    assert searched(viewer) == [] and "Cancelled" in widget.run_bar.status.text()
    viewer.layers["empty"].data = np.zeros((2, 64, 64))
    answers(monkeypatch, None)
    widget.run_on([viewer.layers["empty"], viewer.layers["first"]])
    finish(qtbot, widget)
    assert searched(viewer) == [] and widget.run_bar.status.text() == "Nothing was done"


@pytest.fixture
def window(make_napari_viewer, qtbot, monkeypatch):
    """A visible viewer with one detected region."""
    viewer = make_napari_viewer(show=True)
    made, image = add_region(viewer)
    use_truth(monkeypatch, made)
    widget = DetectWidget(viewer)
    viewer.window.add_dock_widget(widget, area="right")
    run(qtbot, widget)
    return viewer, widget, made, image


def names(viewer):
    return [layer.name for layer in viewer.layers]


def test_detecting_adds_the_two_layers_with_provenance(stage):
    viewer, widget, made, image = stage
    assert names(viewer) == ["region", "region · regions", "region · sites", "region · defects"]
    defects = viewer.layers["region · defects"]
    truth = np.bincount(made.class_index, minlength=7)
    counts = defects.features["class"].value_counts()
    assert [counts[c] for c in ("SeTe", "2Te", "SV", "DV", "other")] == truth[2:].tolist()
    about = note(defects)
    assert about["weights_sha256"] == "cafe"
    assert about["parameters"]["thresholds"] == (0.5, 0.5, 0.5, 0.5)
    assert about["parameters"]["material"] == "WSe2"
    assert_allclose(defects.scale, image.scale)
    assert defects.units == image.units
    # legend and populations
    assert [int(la.text()) for la in widget.edit.count_labels[:6]] == truth[1:].tolist()
    x = (truth[2] + 2 * truth[3]) / (2 * truth[1:].sum())
    assert f"x = {x:.4f}" in widget.edit.population.text()


def test_named_classes_are_classes_like_any_other(qtbot, monkeypatch):
    viewer = ViewerModel()
    made, _ = add_region(viewer)
    named = get_material("WSe2 + SSe=0.45 + Mo=0.48@metal").all_class_names

    def with_named(images, config, progress):
        (found,) = truth_detector(made)(images, config, progress)
        true = found.sites
        index = np.where(true.class_index == 2, 7, true.class_index)  # SeTe is SSe
        index[np.flatnonzero(true.is_metal)[40:43]] = 8
        chance = np.eye(len(named))[index]
        sites = replace(true, class_index=index, class_names=named, probabilities=chance)
        return [Found(sites, warnings=("another class at 0.52",))]

    monkeypatch.setattr(detect_module, "detect_images", with_named)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    widget.show()
    widget.classes.setText("SSe = .45, Mo=0.48@metal")
    assert widget.config().material == "WSe2 + SSe=0.45 + Mo=0.48@metal"
    run(qtbot, widget)
    defects, panel = viewer.layers["region · defects"], widget.edit
    assert set(defects.features["class"]) >= {"SSe", "Mo@metal"}
    assert [label.text() for label in panel.name_labels[6:8]] == ["SSe", "Mo@metal"]
    assert panel.count_labels[6].text() == str((made.class_index == 2).sum())
    assert panel.count_labels[7].text() == "3"
    assert panel.name_labels[7].isVisible()
    assert len(panel.show_boxes) == 8
    assert {"star", "triangle_down"} <= {str(s) for s in defects.symbol}
    panel.show_boxes[6].setChecked(False)
    assert not defects.shown[(defects.features["class"] == "SSe").to_numpy()].any()
    average = AverageWidget(viewer)
    qtbot.addWidget(average)
    assert "SSe" in average.class_boxes.names()
    assert "Mo@metal" in average.class_boxes.names()
    assert average.config(material_of(defects)).material == widget.config().material
    asked = []

    def caught(_gathered, names, _config, _progress):
        asked.extend(names)
        raise DefectStrainError("got enough")

    monkeypatch.setattr(average_module, "_average", caught)
    average.run()
    qtbot.waitUntil(lambda: bool(asked) and not average.run_bar.running, timeout=60_000)
    # perfect metals come along, as what Mo is measured against
    assert {"W", "Mo@metal", "2Se", "SSe"} <= set(asked)


def test_any_number_of_further_classes_has_rows_and_symbols(qtbot, monkeypatch):
    viewer = ViewerModel()
    made, _ = add_region(viewer)
    added = [f"S{k}={0.1 + 0.02 * k:g}" for k in range(11)]
    material = get_material(" + ".join(["WSe2", *added]))
    every = material.all_class_names

    def with_all(images, config, progress):
        (found,) = truth_detector(made)(images, config, progress)
        index = np.array(found.sites.class_index)
        index[np.flatnonzero(found.sites.is_chalcogen)[:11]] = np.arange(7, 18)
        chance = np.eye(len(every))[index]
        return [
            Found(replace(found.sites, class_index=index, class_names=every, probabilities=chance))
        ]

    monkeypatch.setattr(detect_module, "detect_images", with_all)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    widget.show()
    widget.classes.setText(", ".join(added))
    assert widget.config().material == material.label
    run(qtbot, widget)
    panel, defects = widget.edit, viewer.layers["region · defects"]
    assert [label.text() for label in panel.name_labels[6:]] == [f"S{k}" for k in range(11)]
    assert all(box.isVisible() for box in panel.show_boxes)
    named = defects.features["class"].isin(every[7:]).to_numpy()
    looks = {
        (str(symbol), tuple(colour))
        for symbol, colour in zip(
            defects.symbol[named], defects.border_color[named].tolist(), strict=True
        )
    }
    assert len(looks) == named.sum() == 11
    defects.selected_data = {0}
    panel.relabel_buttons[16].click()  # the last of them: beyond the digits that are keys
    assert defects.features["class"].iloc[0] == "S10"
    average = AverageWidget(viewer)
    qtbot.addWidget(average)
    assert {f"S{k}" for k in range(11)} <= set(average.class_boxes.names())


def test_a_point_added_by_a_click_has_the_chosen_class(window):
    viewer, widget, made, _ = window
    defects = viewer.layers["region · defects"]
    perfect = _central(made, 1)
    widget.edit.new_class.button(4).click()  # DV
    widget.edit.buttons["Add"].click()
    before = len(defects.data)
    click(viewer, defects, perfect)
    assert len(defects.data) == before + 1
    last = defects.features.iloc[-1]
    assert (last["class"], last["source"], last["probability"]) == ("DV", "manual", 1.0)
    (sites,) = corrected_planes(viewer, defects)
    nearest = np.hypot(*(sites.position_px - perfect).T).argmin()
    assert sites.class_name[nearest] == "DV"
    assert len(sites) == len(made.class_index)


def test_select_relabel_undo_redo_with_the_keyboard(window, qtbot):
    viewer, widget, made, _ = window
    defects = viewer.layers["region · defects"]
    target = _central(made, 4)
    row = np.hypot(*(defects.data - target).T).argmin()
    widget.edit.buttons["Select"].click()
    click(viewer, defects, target)
    assert set(defects.selected_data) == {row}
    for digit, name in zip("612345", ("other", *NAMES[1:6]), strict=True):
        press(viewer, getattr(Qt.Key, f"Key_{digit}"), SHIFT)
        assert defects.features["class"].iloc[row] == name
        assert defects.mode == "select"  # napari's own digits change the mode, or delete
    assert defects.features["source"].iloc[row] == "manual"
    press(viewer, Qt.Key.Key_Z, CONTROL)
    assert defects.features["class"].iloc[row] == "SV"
    press(viewer, Qt.Key.Key_Z, CONTROL | SHIFT)
    assert defects.features["class"].iloc[row] == "DV"
    qtbot.waitUntil(lambda: "1 point by hand" in widget.edit.title.text(), timeout=60_000)


def test_moving_by_dragging_and_deleting_by_key(window):
    viewer, widget, made, _ = window
    defects = viewer.layers["region · defects"]
    target = _central(made, 4)
    row = np.hypot(*(defects.data - target).T).argmin()
    widget.edit.buttons["Select"].click()
    drag(viewer, defects, target, target + np.array([3.0, 0.0]))
    # a screen pixel is half an image pixel or less at this zoom
    assert_allclose(defects.data[row], target + np.array([3.0, 0.0]), atol=1.0)
    assert defects.features["source"].iloc[row] == "manual"
    before = len(defects.data)
    press(viewer, Qt.Key.Key_Delete)
    assert len(defects.data) == before - 1
    press(viewer, Qt.Key.Key_Z, CONTROL)
    press(viewer, Qt.Key.Key_Z, CONTROL)
    assert_allclose(defects.data[row], target)
    assert defects.features["source"].iloc[row] == "model"


def test_shift_digits_leave_other_layers_alone(window):
    viewer, _, made, image = window
    defects = viewer.layers["region · defects"]
    defects.selected_data = {0}
    was = defects.features["class"].iloc[0]
    viewer.layers.selection.active = image
    for key in (Qt.Key.Key_1, Qt.Key.Key_2, Qt.Key.Key_3):
        press(viewer, key, SHIFT)
    assert defects.features["class"].iloc[0] == was


def test_counts_follow_edits(stage, qtbot):
    viewer, widget, made, _ = stage
    defects = viewer.layers["region · defects"]
    n = (made.class_index == 4).sum()
    label = widget.edit.count_labels[3]
    defects.selected_data = set(np.flatnonzero(defects.features["class"] == "SV")[:2].tolist())
    widget.edit.buttons["Delete"].click()
    qtbot.waitUntil(lambda: label.text() == str(n - 2), timeout=60_000)
    widget.edit.buttons["Undo"].click()
    qtbot.waitUntil(lambda: label.text() == str(n), timeout=60_000)


def test_classes_are_hidden_and_shown(stage):
    viewer, widget, _, _ = stage
    defects = viewer.layers["region · defects"]
    widget.edit.show_boxes[3].setChecked(False)
    wanted = (defects.features["class"] != "SV").to_numpy()
    assert_array_equal(defects.shown, wanted)
    # napari takes no notice of `shown` in an image of two dimensions, and
    # hollow symbols without a border aren't there
    assert_array_equal(defects.border_width > 0, wanted)
    widget.edit.show_boxes[3].setChecked(True)
    assert defects.shown.all()
    assert (defects.border_width > 0).all()


def test_populations_are_exported(stage, tmp_path, monkeypatch):
    _, widget, made, _ = stage
    path = tmp_path / "populations.csv"
    monkeypatch.setattr(forms, "ask_save_path", lambda *_: str(path))
    widget.edit.export_button.click()
    table = pd.read_csv(path).query("image == 'all'").set_index("class")
    assert table.loc["SV", "columns"] == (made.class_index == 4).sum()


def test_corrected_columns_are_exported_for_the_command_line(stage, tmp_path, monkeypatch):
    viewer, widget, made, _ = stage
    defects = viewer.layers["region · defects"]
    defects.selected_data = {0}
    defects.remove_selected()
    path = tmp_path / "region.sites.csv"
    monkeypatch.setattr(forms, "ask_save_path", lambda *_: str(path))
    widget.edit.columns_button.click()
    got = read_sites(path, NAMES)
    (want,) = corrected_planes(viewer, defects)
    assert_allclose(got.position_px, want.position_px, atol=1e-3)
    assert_array_equal(got.class_index, want.class_index)
    assert (got.source == "manual").sum() == 1


def test_detecting_again_asks_before_it_touches_edits(stage, qtbot, monkeypatch):
    viewer, widget, _, _ = stage
    defects = viewer.layers["region · defects"]
    whole = len(defects.data)
    defects.selected_data = {0}
    defects.remove_selected()
    for reply, kept in ((None, whole - 1), (NEW_LAYERS, whole - 1)):
        asked = answers(monkeypatch, reply)
        run(qtbot, widget)
        assert [title for title, _, _ in asked] == ["Edited by hand"]
        assert len(defects.data) == kept
    assert "region · defects [1]" in names(viewer)
    viewer.layers.remove("region · defects [1]")
    answers(monkeypatch, REPLACE)
    run(qtbot, widget)
    assert len(defects.data) == whole
    # now it is as found: no question, and no further layer
    asked = answers(monkeypatch)
    count = len(viewer.layers)
    run(qtbot, widget)
    assert asked == []
    assert len(viewer.layers) == count


def test_edits_made_while_the_network_works_are_asked_about(stage, qtbot, monkeypatch):
    viewer, widget, _, _ = stage
    defects = viewer.layers["region · defects"]
    whole = len(defects.data)
    truth = detect_module.detect_images
    edited = threading.Event()

    def waiting(images, config, progress):
        while not edited.is_set():
            progress(0.5, "busy")
        return truth(images, config, progress)

    monkeypatch.setattr(detect_module, "detect_images", waiting)
    asked = answers(monkeypatch, None)
    widget.run()
    qtbot.waitUntil(lambda: widget.run_bar.status.text() == "busy", timeout=60_000)
    defects.selected_data = {0}
    defects.remove_selected()
    edited.set()
    finish(qtbot, widget)
    assert len(asked) == 1
    assert len(defects.data) == whole - 1


def test_without_update_results_get_numbers(stage, qtbot):
    viewer, widget, _, _ = stage
    widget.update_existing.setChecked(False)
    run(qtbot, widget)
    assert names(viewer)[-2:] == ["region · sites [1]", "region · defects [1]"]


def test_an_image_without_calibration_is_calibrated_by_its_lattice(qtbot, monkeypatch):
    viewer = ViewerModel()
    made, image = add_region(viewer, scale=(1, 1), units=("pixel", "pixel"))
    use_truth(monkeypatch, made)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    asked = answers(monkeypatch, None)
    run(qtbot, widget)
    assert "330 pm" in asked[0][1]
    assert names(viewer) == ["region"]
    assert pixel_size_pm(image) is None
    answers(monkeypatch, USE_LATTICE)
    run(qtbot, widget)
    # the simulated lattice has a = 330 pm; 1 % is the spread of such estimates on small fields
    assert pixel_size_pm(image) == pytest.approx(PIXEL_PM, rel=0.01)
    assert pixel_size_pm(viewer.layers["region · defects"]) == pixel_size_pm(image)
    assert "lattice" in widget.pixel_size.origin.text()


@pytest.mark.parametrize(("reply", "size"), [(USE_LATTICE, PIXEL_PM), (KEEP_PRESENT, 22.0)])
def test_a_calibration_that_the_lattice_contradicts_is_the_users_choice(
    qtbot, monkeypatch, reply, size
):
    viewer = ViewerModel()
    made, image = add_region(viewer, scale=(22.0, 22.0))
    use_truth(monkeypatch, made)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    asked = answers(monkeypatch, reply)
    run(qtbot, widget)
    assert "22.00 pm" in asked[0][1]
    assert pixel_size_pm(image) == pytest.approx(size, rel=0.01)
    assert "region · defects" in names(viewer)
    run(qtbot, widget)  # asked once only
    assert len(asked) == 1


def test_a_stack_of_separate_images(qtbot, tmp_path, monkeypatch):
    viewer = ViewerModel()
    made = [add_region(viewer, seed)[0] for seed in (1, 2)]
    viewer.layers.clear()
    viewer.add_image(
        np.stack([m.image.data for m in made]),
        name="two",
        scale=(1, PIXEL_PM, PIXEL_PM),
        units=("pixel", "pm", "pm"),
        axis_labels=("image", "y", "x"),
    )
    use_truth(monkeypatch, *made)
    asked = answers(monkeypatch, IMAGES)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    run(qtbot, widget)
    assert len(asked) == 1
    defects = viewer.layers["two · defects"]
    for i, sites in enumerate(corrected_planes(viewer, defects)):
        assert_array_equal(sites.class_index, made[i].class_index)
    # the dialog asks about the name that was given, which isn't that of a file
    monkeypatch.setattr(forms, "ask_save_path", lambda *_: str(tmp_path / "mine.csv"))
    (tmp_path / "mine_2.sites.csv").write_text("by hand")
    asked = answers(monkeypatch, None, saving.REPLACE)
    widget.edit.columns_button.click()
    assert len(asked) == 1 and "mine_2.sites.csv" in asked[0][1]
    assert [path.name for path in tmp_path.iterdir()] == ["mine_2.sites.csv"]
    widget.edit.columns_button.click()
    for i in range(2):
        table = read_sites(tmp_path / f"mine_{i + 1}.sites.csv", NAMES)
        assert_array_equal(table.class_index, made[i].class_index)


def test_a_stack_of_frames_is_registered_and_summed(qtbot, monkeypatch):
    viewer = ViewerModel()
    made, _ = add_region(viewer, size=256)
    viewer.layers.clear()
    half = made.image.data / 2
    apart = np.random.default_rng(8).normal(0, 1e-3 * half.std(), half.shape)
    viewer.add_image(
        np.stack([half + apart, half - apart]),  # a frame that repeats another is left out
        name="frames",
        scale=(1, PIXEL_PM, PIXEL_PM),
        units=("pixel", "pm", "pm"),
        axis_labels=("frame", "y", "x"),
    )

    def found(images, config, progress):
        y, x = np.rint(viewer.layers["frames · sum"].translate / PIXEL_PM).astype(int)
        height, width = images[0].data.shape
        assert min(height, width) > 240
        expected = made.image.data[y : y + height, x : x + width]  # their sum is the image
        assert_allclose(images[0].data, expected, rtol=1e-3, atol=1e-2 * half.max())
        same = type(images[0])(made.image.data, PIXEL_PM)
        return truth([same], config, progress)

    use_truth(monkeypatch, made)
    truth = detect_module.detect_images
    monkeypatch.setattr(detect_module, "detect_images", found)
    answers(monkeypatch, FRAMES)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    run(qtbot, widget)
    assert "frames · sum" in names(viewer)
    assert "frames · sum · defects" in names(viewer)
    assert_allclose(viewer.layers["frames · sum"].scale, (PIXEL_PM, PIXEL_PM))


def test_all_images_are_searched_in_turn(qtbot, monkeypatch):
    viewer = ViewerModel()
    made = [add_region(viewer, seed, name=f"r{seed}")[0] for seed in (1, 2)]
    use_truth(monkeypatch, *made)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    widget.image.setCurrentText("all 2 images")
    run(qtbot, widget)
    qtbot.waitUntil(lambda: "r2 · defects" in names(viewer), timeout=60_000)
    assert "r1 · defects" in names(viewer)


def detect_without_end(monkeypatch) -> list[bool]:
    """Replace detection by a job that only a cancel ends; the list fills when it was."""
    stopped = []

    def endless(images, config, progress):
        try:
            while True:
                progress(0.5, "busy")
        except Cancelled:
            stopped.append(True)
            raise

    monkeypatch.setattr(detect_module, "detect_images", endless)
    return stopped


def test_cancel_stops_the_job_and_changes_nothing(qtbot, monkeypatch):
    viewer = ViewerModel()
    add_region(viewer)
    stopped = detect_without_end(monkeypatch)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    widget.run_bar.run_button.click()
    qtbot.waitUntil(lambda: widget.run_bar.status.text() == "busy", timeout=60_000)
    assert not widget.run_bar.run_button.isEnabled()
    widget.run_bar.cancel_button.click()
    finish(qtbot, widget)
    assert stopped == [True]
    assert names(viewer) == ["region"]
    assert widget.run_bar.run_button.isEnabled()
    assert "Cancelled" in widget.run_bar.status.text()


def test_the_gui_answers_while_a_job_runs(qtbot, monkeypatch):
    viewer = ViewerModel()
    add_region(viewer)
    ticks = []

    def slow(images, config, progress):
        # ends only if the GUI's thread gets around to showing the progress
        for i in itertools.count():
            progress((i % 100) / 100, "busy")
            if len(ticks) > 2:
                raise Cancelled

    monkeypatch.setattr(detect_module, "detect_images", slow)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    widget.run_bar.bar.valueChanged.connect(ticks.append)
    widget.run_bar.run_button.click()
    finish(qtbot, widget)


BAD = {
    "colour": (np.zeros((64, 64, 3), np.uint8), {"rgb": True}, "colour"),
    "complex": (np.ones((64, 64), complex), {}, "complex"),
    "nan": (np.full((64, 64), np.nan), {"contrast_limits": (0, 1)}, "NaN|finite"),
    "constant": (np.ones((128, 128)), {}, "in every pixel"),
    "tiny": (np.arange(4.0).reshape(2, 2), {}, "2 x 2|px|shape"),
    "one pixel": (np.ones((1, 1)), {}, "1 x 1|px|shape"),
    "four dimensions": (np.ones((2, 2, 64, 64)), {}, "stack"),
    "noise": (np.random.default_rng(0).normal(size=(256, 256)), {}, "lattice"),
    "oblong pixels": (
        np.ones((64, 64)),
        {"scale": (20, 30), "units": ("pm", "pm")},
        "square",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_images_get_a_message_and_no_layer(qtbot, monkeypatch, case):
    import re

    data, options, message = BAD[case]
    viewer = ViewerModel()
    if case == "complex":
        layer = viewer.add_image(np.ones((64, 64)), name="bad")
        monkeypatch.setattr(type(layer), "data", property(lambda self: data))
    else:
        viewer.add_image(data, name="bad", **options)
    shown = errors(monkeypatch)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    run(qtbot, widget)
    assert len(shown) == 1
    assert re.search(message, shown[0]), shown
    assert widget.run_bar.status.text() == shown[0]
    assert names(viewer) == ["bad"]


def test_no_image_and_no_weights_file(qtbot, monkeypatch):
    viewer = ViewerModel()
    shown = errors(monkeypatch)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    run(qtbot, widget)
    assert "open an image" in shown[0]
    add_region(viewer)
    widget.model.setCurrentText(FROM_FILE)
    run(qtbot, widget)
    assert "no file of weights" in shown[1]
    widget.weights.setText("no/such/file.safetensors")
    run(qtbot, widget)
    assert "no/such/file.safetensors" in shown[2]


def test_another_crystal_is_refused_unless_forced(qtbot, monkeypatch):
    viewer = ViewerModel()
    made, image = add_region(viewer, size=256)
    use_truth(monkeypatch, made)
    shown = errors(monkeypatch)
    said: list[str] = []
    monkeypatch.setattr(detect_module, "show_warning", said.append)
    line = "Identity: region: a bilayer: not counted as a WSe2 monolayer"
    refused = Identity("WSe2", (ImageVerdict("region", REFUSED, line),))
    doubtful = Identity("WSe2", (ImageVerdict("region", DOUBTFUL, line),))

    def check_identity(images, material, forced, progress, learnt=None):
        if not forced:
            raise DefectStrainError(refused.lines[0])
        return doubtful

    monkeypatch.setattr(detect_module, "check_identity", check_identity)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    run(qtbot, widget)
    assert names(viewer) == ["region"]
    assert shown == [line] and line in widget.run_bar.status.text()
    widget.force.setChecked(True)
    run(qtbot, widget)
    defects = viewer.layers["region · defects"]
    assert line in said and widget.doubt.text() == line
    assert note(defects)["identity"] == DOUBTFUL
    table = population_files.populations(viewer, [defects])
    assert set(table["identity"]) == {DOUBTFUL}


def test_an_image_without_defects_says_so(qtbot, monkeypatch):
    from small_alloy import simulated

    viewer = ViewerModel()
    made = simulated(fractions=(0.0, 0.0, 0.0, 0.0), size=256)
    viewer.add_image(made.image.data, name="pure", scale=(PIXEL_PM, PIXEL_PM), units=("pm", "pm"))
    use_truth(monkeypatch, made)
    said = []
    monkeypatch.setattr(detect_module, "show_info", said.append)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    run(qtbot, widget)
    assert "no defects" in said[0]
    assert len(viewer.layers["pure · defects"].data) == 0
    # points can still be added to the empty layer
    viewer.layers["pure · defects"].add([20.0, 20.0])
    assert list(viewer.layers["pure · defects"].features["class"]) == ["SV"]


def test_keys_and_buttons_without_a_detection_only_say_what_is_missing(qtbot, monkeypatch):
    said = []
    monkeypatch.setattr(edit_panel, "show_info", said.append)
    monkeypatch.setattr(population_files, "show_warning", said.append)
    widget = DetectWidget(ViewerModel())
    qtbot.addWidget(widget)
    widget.edit.relabel(0)
    widget.edit.add()
    widget.edit.undo()
    widget.edit.delete()
    widget.edit.export()
    assert len(said) == 4


def test_settings_are_remembered(qtbot):
    viewer = ViewerModel()
    first = DetectWidget(viewer)
    qtbot.addWidget(first)
    first.thresholds[2].setValue(0.85)
    first.material.setCurrentText("MoS2")
    first.update_existing.setChecked(False)
    second = DetectWidget(viewer)
    qtbot.addWidget(second)
    assert second.thresholds[2].value() == 0.85
    assert second.material.currentText() == "MoS2"
    assert not second.update_existing.isChecked()
    assert [la.text() for la in second.threshold_labels] == ["SSe", "2Se", "SV", "DV"]


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"detect": 3}', '{"detect": {"device": 7}}'])
def test_a_damaged_settings_file_means_defaults(qtbot, tmp_path, content):
    (tmp_path / "widgets.json").write_text(content)
    widget = DetectWidget(ViewerModel())
    qtbot.addWidget(widget)
    assert widget.device.currentText() == "auto"
    widget.device.setCurrentText("cpu")


@pytest.mark.parametrize("kind", [DetectWidget, AverageWidget, StrainWidget])
def test_every_control_has_a_tooltip(qtbot, kind):
    widget = kind(ViewerModel())
    qtbot.addWidget(widget)
    controls = [
        child
        for cls in (QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit)
        for child in widget.findChildren(cls)
        if not isinstance(child.parent(), (QAbstractSpinBox, QComboBox))
        and not child.objectName().startswith("qt_")
        and type(child.parent()).__name__ not in ("QTableWidget", "QTableView")
    ]
    assert len(controls) > 5
    assert [c for c in controls if not c.toolTip()] == []


def test_closing_the_widget_stops_its_job(qtbot, monkeypatch):
    viewer = ViewerModel()
    add_region(viewer)
    stopped = detect_without_end(monkeypatch)
    widget = DetectWidget(viewer)
    widget.show()
    widget.run_bar.run_button.click()
    qtbot.waitUntil(lambda: widget.run_bar.status.text() == "busy", timeout=60_000)
    widget.deleteLater()
    qtbot.waitUntil(lambda: stopped == [True], timeout=60_000)
    viewer.add_image(np.zeros((8, 8)))  # no callback into the deleted widget


def _central(made, class_index):
    """The column of a class that is nearest to the middle of the image."""
    position = made.position_px[made.class_index == class_index]
    middle = np.array(made.image.data.shape) / 2
    return position[np.hypot(*(position - middle).T).argmin()]


def put(viewer, image, material, previous=None):
    """A detection of an image as that of a material: what is there is read off the first one."""
    first = corrected_planes(viewer, viewer.layers["region · defects"])[0]
    sites = replace(first, class_names=get_material(material).all_class_names)
    whole = [Regions(np.ones(image.data.shape, dtype=np.int16), ())]
    about = provenance("defects", {"material": material}), provenance("regions", {})
    return at_once(detection_put_in_steps(viewer, image, previous, [sites], whole, *about))


def test_the_panel_follows_another_material_in_the_same_layers(stage):
    viewer, widget, _, image = stage
    defects = viewer.layers["region · defects"]
    put(viewer, image, "MoS2", defects)
    names = get_material("MoS2").all_class_names[1:]
    assert widget.edit.class_names == names
    assert widget.edit.name_labels[1].text() == names[1]
    defects.selected_data = {0}
    widget.edit.relabel(1)
    assert str(defects.features["class"].iloc[0]) == names[1]
    widget.edit.update_counts()


def test_populations_count_an_image_once_and_materials_apart(stage):
    viewer, widget, made, image = stage
    like = detected_module.newest_by_image
    first = viewer.layers["region · defects"]
    second = put(viewer, image, "WSe2")
    assert list(like(viewer).values()) == [second]
    other = viewer.add_image(image.data, name="other", scale=(PIXEL_PM,) * 2, units=("pm",) * 2)
    put(viewer, other, "MoSe2")
    alike = population_files.detections_like(viewer, first)
    assert alike == [second]
    table = population_files.populations(viewer, alike).query("image == 'all'")
    assert table.set_index("class").loc["SV", "columns"] == (made.class_index == 4).sum()
    found = detected_module.detected_images(viewer, first)
    assert [one.layer for one in found] == [image]


def test_a_pixel_size_by_the_lattice_of_another_material_is_asked_about_again(stage, monkeypatch):
    viewer, widget, _, image = stage
    asked, gone_on = [], []
    monkeypatch.setattr(Calibrator, "_start", lambda *a: asked.append(a[3]))
    calibrator = Calibrator(widget, lambda: None)
    calibrate(viewer, image, 20.0, "lattice", get_material("WSe2").lattice_pm)
    for material in ("WSe2", "MoS2"):
        calibrator.ensure(image, [], material, lambda m=material: gone_on.append(m))
    assert (gone_on, asked) == (["WSe2"], ["MoS2"])
