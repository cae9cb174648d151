"""The average widget, and the whole way from an edited point to a strain map."""

import numpy as np
import pytest
from napari.components import ViewerModel
from numpy.testing import assert_allclose
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from small_alloy import SHARED_PROFILE
from strain_stage import settle
from widget_stage import DOUBT, add_region, click, errors, press, run, use_truth

from napari_defectstrain.materials import WSE2, get_material
from napari_defectstrain.pipeline import class_measurement
from napari_defectstrain.widgets.average import widget as average_module
from napari_defectstrain.widgets.average.widget import AverageWidget
from napari_defectstrain.widgets.detect.widget import DetectWidget
from napari_defectstrain.widgets.layers.averages import STACK, look_at, runs, world_box_pm
from napari_defectstrain.widgets.layers.sites import KEY, kind, note
from napari_defectstrain.widgets.strain.widget import StrainWidget

NAMES = ("2Se", "SeTe", "2Te", "SV", "DV")


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "widgets.json"))


def detect(viewer, qtbot, monkeypatch, *seeds):
    """Detect the truth in simulated images; returns them."""
    made = [add_region(viewer, seed, size=448, name=f"region {seed}")[0] for seed in seeds]
    use_truth(monkeypatch, *made)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    for i in range(len(made)):
        widget.image.setCurrentIndex(i)
        run(qtbot, widget)
    return made


def averages_of(qtbot, monkeypatch, *seeds):
    viewer = ViewerModel()
    detect(viewer, qtbot, monkeypatch, *seeds)
    widget = averager(viewer, qtbot)
    run(qtbot, widget)
    return viewer, widget


@pytest.fixture(scope="module")
def averaged(qapp, request, tmp_path_factory):
    """Averages of two regions, which no test changes."""
    with pytest.MonkeyPatch.context() as patch:
        settings = tmp_path_factory.mktemp("settings") / "widgets.json"
        patch.setenv("DEFECTSTRAIN_SETTINGS", str(settings))
        viewer, widget = averages_of(QtBot(request), patch, 1, 2)
    yield viewer, widget
    widget.close()


@pytest.fixture
def fresh(qtbot, monkeypatch):
    """Averages of one region, to go on with."""
    return averages_of(qtbot, monkeypatch, 1)


def averager(viewer, qtbot):
    """An average widget for small windows that measures nothing by itself."""
    widget = AverageWidget(viewer)
    qtbot.addWidget(widget)
    widget.windows.references.setValue(40)
    widget.windows.window.setValue(2.0)
    widget.with_windows.setChecked(True)
    widget.measure.setChecked(False)
    return widget


def of_kind(viewer, what):
    return [la for la in viewer.layers if kind(la) == what]


def test_averages_lie_side_by_side_in_pm(averaged):
    viewer, _ = averaged
    averages = of_kind(viewer, "average")
    assert [note(la)["class"] for la in averages] == list(NAMES)
    boxes = [world_box_pm(la) for la in averages]
    for left, right in zip(boxes, boxes[1:], strict=False):
        assert left[1, 1] < right[0, 1]
        assert_allclose(left[:, 0], right[:, 0])
    regions = [world_box_pm(viewer.layers[f"region {i}"]) for i in (1, 2)]
    assert min(b[0, 1] for b in boxes) > max(b[1, 1] for b in regions)
    for layer in averages:
        assert [str(u) for u in layer.units] == ["picometer"] * 2
        assert layer.axis_labels == ("y", "x")
        assert layer.data.shape[0] * layer.scale[0] >= 2000
        # the middle pixel is the origin of the lattice frame
        middle = np.array(layer.data.shape) // 2
        assert_allclose(layer.data_to_world(middle), note(layer)["centre_pm"], atol=1e-6)


def test_names_and_numbers_are_written_on_the_averages(averaged):
    viewer, _ = averaged
    (labels,) = of_kind(viewer, "average labels")
    averages = of_kind(viewer, "average")
    stacks = {note(la)["class"]: la.metadata[STACK] for la in averages}
    purity = {note(la)["class"]: note(la)["expected_purity"] for la in averages}
    assert list(labels.features["text"]) == [
        f"{n}  N = {stacks[n].n}\npurity {purity[n]:.3f}" for n in NAMES
    ]


def test_boxes_have_the_names_of_what_is_ticked(qtbot):
    viewer = ViewerModel()
    for material in ("WSe2", "MoS2"):
        names = list(get_material(material).all_class_names)
        about = {"class_names": names, "image": "", "sites": "", "parameters": {}}
        layer = viewer.add_points(np.zeros((0, 2)), name=material)
        layer.metadata[KEY] = {"kind": "defects", **about, "material": material}
        layer.metadata[KEY]["parameters"] = {"material": material}
    widget = averager(viewer, qtbot)
    assert widget.class_boxes.names()[0] == "2S"
    widget.images.item(1).setCheckState(Qt.CheckState.Unchecked)
    assert widget.class_boxes.names() == list(NAMES)
    widget.images.item(0).setCheckState(Qt.CheckState.Unchecked)
    assert widget.class_boxes.names()[0] == "2S"
    qtbot.waitUntil(lambda: not widget.counts.busy, timeout=60_000)


def test_expected_purity_stands_beside_the_count(averaged):
    viewer, widget = averaged
    averages = of_kind(viewer, "average")
    assert widget.table.rowCount() == len(NAMES)
    for row, layer in enumerate(averages):
        about = note(layer)
        cells = [widget.table.item(row, i).text() for i in range(3)]
        left_out = layer.metadata[STACK].included.size - about["n"]
        assert cells == [about["class"], str(about["n"]), str(left_out)]
        # the truth is certain: nothing else is expected
        assert widget.table.item(row, 3).text() == "1.000"
        whole = f"{about['class']} {about['n']} windows, expected purity 1.000"
        assert widget.table.item(row, 0).toolTip() == whole
        assert set(about["expected_contaminants"]) == {"W", *NAMES, "other"} - {about["class"]}
    assert "other" not in [box.text() for box in widget.classes]


def test_averages_share_their_contrast(fresh):
    viewer, _ = fresh
    averages = of_kind(viewer, "average")
    averages[0].contrast_limits = (0.1, 0.9)
    assert all(tuple(la.contrast_limits) == (0.1, 0.9) for la in averages)


def test_windows_are_kept_hidden_and_average_to_the_average(averaged):
    viewer, _ = averaged
    windows = {note(la)["class"]: la for la in of_kind(viewer, "windows")}
    for layer in of_kind(viewer, "average"):
        stack = windows[note(layer)["class"]]
        assert not stack.visible
        # all windows in the stack's order, also those left out
        assert len(stack.data) == len(layer.metadata[STACK].included)
        assert len(stack.data) == len(note(stack)["image_index"]) == len(note(stack)["reason"])
        included = np.array(note(stack)["included"])
        assert included.sum() == note(layer)["n"]
        assert_allclose(stack.data[included].mean(axis=0), layer.data, rtol=1e-5, atol=1e-5)


def test_averages_carry_their_provenance(averaged):
    viewer, _ = averaged
    about = note(of_kind(viewer, "average")[0])
    assert about["weights_sha256"] == "cafe"
    assert about["images"] == ["region 1", "region 2"]
    assert about["parameters"]["average"]["max_reference"] == 40
    assert about["detection"][0]["material"] == "WSe2"


def test_the_detector_is_doubted_as_in_a_run(averaged):
    viewer, _ = averaged
    for layer in of_kind(viewer, "average"):
        role = WSE2.class_names.index(note(layer)["class"])
        assert layer.metadata[STACK].overconfidence == DOUBT[role]


def test_a_second_run_gets_numbers_and_a_row_of_its_own(fresh, qtbot):
    viewer, widget = fresh
    run(qtbot, widget)
    assert "SV · average" in viewer.layers
    assert "SV · average [1]" in viewer.layers
    first, second = (world_box_pm(viewer.layers[n]) for n in ("SV · average", "SV · average [1]"))
    assert second[0, 0] > first[1, 0]
    assert len(runs(viewer)) == 2


def test_update_replaces_the_last_run_in_its_place(fresh, qtbot):
    viewer, widget = fresh
    before = world_box_pm(viewer.layers["SV · average"])
    names = [la.name for la in viewer.layers]
    widget.update_existing.setChecked(True)
    run(qtbot, widget)
    assert [la.name for la in viewer.layers] == names
    assert_allclose(world_box_pm(viewer.layers["SV · average"]), before)


def test_only_ticked_images_and_classes_count(qtbot, monkeypatch):
    viewer, widget = averages_of(qtbot, monkeypatch, 1, 2)
    both = note(viewer.layers["SV · average"])["n"]
    widget.images.item(1).setCheckState(Qt.CheckState.Unchecked)
    widget.classes[1].setChecked(False)
    widget.with_windows.setChecked(False)
    run(qtbot, widget)
    layer = viewer.layers["SV · average [1]"]
    assert note(layer)["images"] == ["region 1"]
    assert 0 < note(layer)["n"] < both
    assert "SeTe · average [1]" not in viewer.layers
    assert "SV · windows [1]" not in viewer.layers


def test_fewer_shells_give_more_windows(fresh, qtbot):
    viewer, widget = fresh
    widget.windows.shells.setCurrentIndex(0)
    run(qtbot, widget)
    more, fewer = (note(viewer.layers[n])["n"] for n in ("SV · average [1]", "SV · average"))
    assert more > fewer


def test_nothing_to_average_is_said(qtbot, monkeypatch):
    viewer = ViewerModel()
    shown = errors(monkeypatch)
    widget = AverageWidget(viewer)
    qtbot.addWidget(widget)
    run(qtbot, widget)
    assert "no detections" in shown[0]
    detect(viewer, qtbot, monkeypatch, 1)
    viewer.layers.remove("region 1 · sites")
    run(qtbot, widget)
    assert "detect again" in shown[1]


def test_classes_without_windows_are_named(qtbot, monkeypatch):
    viewer = ViewerModel()
    said = []
    monkeypatch.setattr(average_module, "show_warning", said.append)
    detect(viewer, qtbot, monkeypatch, 1)
    defects = viewer.layers["region 1 · defects"]
    classes = defects.features["class"]
    # only one DV is left, in the middle, and no 2Te
    dv = np.flatnonzero(classes == "DV")
    middle = dv[np.hypot(*(defects.data[dv] - 224).T).argmin()]
    gone = np.flatnonzero((classes == "2Te") | (classes == "DV"))
    defects.selected_data = set(gone.tolist()) - {int(middle)}
    defects.remove_selected()
    widget = averager(viewer, qtbot)
    widget.windows.references.setValue(20)
    widget.windows.shells.setCurrentIndex(0)
    run(qtbot, widget)
    assert any("No isolated 2Te" in text for text in said)
    assert any("Only one window of DV" in text for text in said)
    assert note(viewer.layers["DV · average"])["n"] == 1


def test_settings_are_remembered(qtbot):
    first = AverageWidget(ViewerModel())
    qtbot.addWidget(first)
    first.windows.window.setValue(3.0)
    first.windows.shells.setCurrentIndex(3)
    first.classes[2].setChecked(False)
    second = AverageWidget(ViewerModel())
    qtbot.addWidget(second)
    assert second.windows.window.value() == 3.0
    assert second.windows.shells.currentIndex() == 3
    assert not second.classes[2].isChecked()


def test_from_the_sample_to_strain_with_an_edit_by_hand(make_napari_viewer, qtbot, monkeypatch):
    """As a person would: open, detect, average, relabel a point, average again, measure."""
    # a disc of columns, fitted by one model only, saves half of the time
    measure = class_measurement.measure_columns
    monkeypatch.setattr(
        class_measurement,
        "measure_columns",
        lambda stacks, averages, _, progress, **more: measure(
            stacks, averages, SHARED_PROFILE.columns, progress, **more
        ),
    )
    viewer = make_napari_viewer(show=True)
    viewer.open_sample("napari-defectstrain", "one_region")
    region = viewer.layers[0]
    region.data = region.data[:720, :720]  # half of it saves half of the time
    widgets = DetectWidget(viewer), AverageWidget(viewer), StrainWidget(viewer)
    for i, widget in enumerate(widgets):
        viewer.window.add_dock_widget(widget, area="right", tabify=i > 0)
    detector, averager, strain = widgets

    run(qtbot, detector)
    defects = viewer.layers[f"{region.name} · defects"]
    # the alloy has 14.6 % of defective columns among 2400 or so
    assert 275 < len(defects.data) < 425
    assert len(note(defects)["weights_sha256"]) == 64

    averager.windows.references.setValue(60)
    averager.windows.window.setValue(2.0)
    averager.measure.setChecked(False)
    averager.classes[4].setChecked(False)  # one DV is no average
    run(qtbot, averager)
    before = viewer.layers["SV · average"]
    stack = before.metadata[STACK]

    look_at(viewer, [region])
    viewer.scene.camera.zoom *= 4
    target = stack.position_px[np.flatnonzero(stack.included)[0]]
    viewer.scene.camera.center = (0.0, *region.data_to_world(target))
    detector.edit.buttons["Select"].click()
    click(viewer, defects, target)
    assert list(defects.features["class"].iloc[list(defects.selected_data)]) == ["SV"]
    press(viewer, Qt.Key.Key_3, Qt.KeyboardModifier.ShiftModifier)
    run(qtbot, averager)
    after = viewer.layers["SV · average [1]"]
    assert note(after)["n"] < note(before)["n"]
    assert np.abs(after.data - before.data).max() > 1e-3
    # as a 2Te it is a candidate, counted or left out as the outlier that it is
    tried = [len(viewer.layers[f"2Te · average{n}"].metadata[STACK].included) for n in ("", " [1]")]
    assert tried[1] == tried[0] + 1

    strain.bootstrap.setValue(200)
    run(qtbot, strain)
    settle(qtbot, strain)
    arrows = viewer.layers["SV · displacement"]
    assert note(arrows)["run"] == note(after)["run"]
    assert viewer.layers["SV · dilation (%)"].visible
    # the reference was seen through the microscope, and windows were drawn for the profile
    assert strain.view.answer.comparison.route == "microscope"
    assert strain.view.answer.reference_problem == ""
    assert strain.profile.profile.low is not None
    # the sample's vacancies contract by 4.8 %
    assert float(strain.table.item(3, 4).text().split(" ")[0]) == pytest.approx(-4.8, abs=2.0)


def test_averages_that_were_removed_are_not_looked_at(qtbot):
    viewer = ViewerModel()
    widget = AverageWidget(viewer)
    qtbot.addWidget(widget)
    widget._look_at_averages()  # a job that ends may find them gone
    assert len(viewer.layers) == 0
