"""Where things lie in the viewer: opened images side by side, zooms, pixel size, counts, keys."""

import numpy as np
import pytest
from napari.components import ViewerModel
from npe2 import PluginManager
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from strain_stage import settle, show_averages, strain_widget
from widget_stage import PIXEL_PM, activate, add_region, run, use_truth

from napari_defectstrain.crystal.regions import CONTAMINATED
from napari_defectstrain.io.files import write_tiff
from napari_defectstrain.widgets.average.widget import AverageWidget
from napari_defectstrain.widgets.base.forms import choice
from napari_defectstrain.widgets.base.numbers import settle_numbers
from napari_defectstrain.widgets.detect import calibrator
from napari_defectstrain.widgets.detect.widget import DetectWidget
from napari_defectstrain.widgets.layers.averages import runs
from napari_defectstrain.widgets.layers.placing import Layout, box_of
from napari_defectstrain.widgets.layers.regions import regions_of
from napari_defectstrain.widgets.layers.sites import (
    CALIBRATION,
    calibrate,
    kind,
    note,
    pixel_size_pm,
)
from napari_defectstrain.widgets.layers.view_buttons import ViewButtons


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "widgets.json"))


def apart(layers):
    boxes = [box_of(la) for la in layers]
    for i, (top, left, bottom, right) in enumerate(boxes):
        for t, le, b, r in boxes[:i]:
            assert top >= b or bottom <= t or left >= r or right <= le


# ------------------------------------------------------------------ opened images


@pytest.fixture
def viewer(make_napari_viewer):
    PluginManager.instance().discover()
    return make_napari_viewer()


@pytest.mark.parametrize("size_pm", [20.0, None])
def test_own_files_lie_side_by_side_like_the_samples(viewer, tmp_path, rng, size_pm):
    for i in range(4):
        path = tmp_path / f"own_{i}.tif"
        write_tiff(path, rng.poisson(9, (40 + i, 48)).astype(np.uint16), size_pm)
        viewer.open(path, plugin="napari-defectstrain")
    apart(viewer.layers)
    side = size_pm or 1.0
    tops = [la.translate[0] for la in viewer.layers]
    lefts = [la.translate[1] for la in viewer.layers]
    np.testing.assert_allclose(lefts, [0.0, 96 * side, 192 * side, 0.0], atol=1e-6)
    np.testing.assert_allclose(tops[:3], 0.0, atol=1e-6)
    assert tops[3] == pytest.approx((42 + 48) * side)
    assert viewer.canvas.overlays.scale_bar.visible == (size_pm is not None)


def test_opened_images_keep_clear_of_what_is_there(viewer, tmp_path, rng):
    viewer.add_image(np.zeros((100, 200)), scale=(20, 20), units=("pm", "pm"), name="another")
    for name in ("a", "b"):
        write_tiff(tmp_path / f"{name}.tif", rng.poisson(9, (40, 48)).astype(np.uint16), 20.0)
        viewer.open(tmp_path / f"{name}.tif", plugin="napari-defectstrain")
        apart(viewer.layers)


def test_a_scale_bar_that_was_switched_off_stays_off(viewer):
    viewer.open_sample("napari-defectstrain", "one_region")
    assert viewer.canvas.overlays.scale_bar.visible
    viewer.canvas.overlays.scale_bar.visible = False
    viewer.open_sample("napari-defectstrain", "drift_series")
    assert not viewer.canvas.overlays.scale_bar.visible
    apart(viewer.layers)


def test_images_that_are_calibrated_one_after_the_other_keep_their_places(viewer, tmp_path, rng):
    for name in ("a", "b", "c"):
        write_tiff(tmp_path / f"{name}.tif", rng.poisson(9, (40, 48)).astype(np.uint16), None)
        viewer.open(tmp_path / f"{name}.tif", plugin="napari-defectstrain")
    for layer in viewer.layers:
        calibrate(viewer, layer, 20.0, "lattice")
    apart(viewer.layers)
    np.testing.assert_allclose([la.translate[1] for la in viewer.layers], [0.0, 1920.0, 3840.0])
    calibrate(viewer, viewer.layers[1], 10.0, "hand")
    assert viewer.layers[1].translate[1] == pytest.approx(960.0)


def test_images_placed_by_others_are_not_moved():
    viewer = ViewerModel()
    _, image = add_region(viewer, translate=(500.0, 100.0))
    calibrate(viewer, image, 25.0, "hand")
    np.testing.assert_allclose(image.translate, (500.0, 100.0))


def test_places_of_unlike_images_do_not_overlap(rng):
    layout = Layout()
    boxes = []
    for _ in range(20):
        shape, side = rng.integers(10, 90, 2), rng.uniform(5, 30)
        y, x = layout.place(shape, side)
        box = np.array([y, x, y + shape[0] * side, x + shape[1] * side])
        for other in boxes:
            assert (box[:2] >= other[2:]).any() or (box[2:] <= other[:2]).any()
        boxes.append(box)


# ------------------------------------------------------------------ looking at things


def test_buttons_look_at_images_averages_and_maps(make_napari_viewer, qtbot, monkeypatch):
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((50, 50)), scale=(20, 20), units=("pm", "pm"), name="image")
    buttons = ViewButtons(viewer)
    qtbot.addWidget(buttons)
    enabled = {name: button.isEnabled() for name, button in buttons.buttons.items()}
    assert enabled == {"Images": True, "Averages": False, "Maps": False}
    averages = show_averages(viewer)
    windows = viewer.add_image(np.zeros((3, 9, 9)), name="SeTe · windows")
    windows.metadata["napari-defectstrain"] = {"kind": "windows", "run": "run", "class": "SeTe"}
    widget = strain_widget(viewer, qtbot, monkeypatch)
    widget.run()
    settle(qtbot, widget)
    assert not windows.visible  # it would lie over the average
    maps = [la for la in viewer.layers if kind(la) == "map" and la.visible]
    for name, layers in (("Images", viewer.layers[:1]), ("Averages", averages), ("Maps", maps)):
        windows.visible = True
        qtbot.mouseClick(buttons.buttons[name], Qt.MouseButton.LeftButton)
        assert windows.visible == (name == "Images")
        for layer in layers:
            assert in_sight(viewer, layer)


def in_sight(viewer, layer):
    top, left, bottom, right = box_of(layer)
    centre, zoom = np.array(viewer.scene.camera.center[-2:]), viewer.scene.camera.zoom
    half = 0.5 * np.array(viewer.canvas.size) / zoom
    low, high = centre - half, centre + half
    return low[0] < top and low[1] < left and bottom < high[0] and right < high[1]


# ------------------------------------------------------------------ the panel of detection


@pytest.fixture
def stage(qtbot, monkeypatch):
    viewer = ViewerModel()
    made, image = add_region(viewer)
    use_truth(monkeypatch, made)
    monkeypatch.setattr(calibrator, "CALIBRATION_TOLERANCE", 1.0)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    return viewer, widget, image


def test_a_pixel_size_can_be_typed(stage, qtbot):
    viewer, widget, image = stage
    run(qtbot, widget)
    assert widget.pixel_size.box.text() == "20.7400 pm"
    assert widget.pixel_size.origin.text() == "by the file"
    widget.show()
    box = widget.pixel_size.box
    box.lineEdit().selectAll()
    QTest.keyClicks(box.lineEdit(), "21,5")
    QTest.keyClick(box, Qt.Key.Key_Return)
    for layer in viewer.layers:
        assert pixel_size_pm(layer) == pytest.approx(21.5)
    assert image.metadata[CALIBRATION] == "hand"
    assert widget.pixel_size.origin.text() == "by hand"


def test_a_pixel_size_of_zero_is_refused(stage, qtbot):
    _, widget, image = stage
    box = widget.pixel_size.box
    widget.show()
    box.lineEdit().selectAll()
    QTest.keyClicks(box.lineEdit(), "0")
    QTest.keyClick(box, Qt.Key.Key_Return)
    assert "got 0 pm" in widget.run_bar.status.text()
    assert pixel_size_pm(image) == pytest.approx(PIXEL_PM)
    assert box.value() == pytest.approx(PIXEL_PM)


def test_an_image_without_calibration_gets_one_by_hand(qtbot):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((30, 30)), name="raw")
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    assert widget.pixel_size.box.text() == "none: in pixels"
    widget.pixel_size.box.setValue(19.5)
    assert pixel_size_pm(image) == pytest.approx(19.5)
    assert [str(u) for u in image.units] == ["picometer", "picometer"]


def test_showing_a_pixel_size_changes_nothing(stage):
    """More digits than the box shows stay in the layer."""
    viewer, widget, image = stage
    image.scale = (20.738812345, 20.738812345)
    widget._image_changed()
    widget.pixel_size.box.interpretText()
    assert image.scale[-1] == 20.738812345


def test_the_status_counts_what_the_table_counts(stage, qtbot):
    viewer, widget, _ = stage
    run(qtbot, widget)
    layer = regions_of(viewer, widget.edit.layer)
    data = layer.data.copy()
    data[:192] = CONTAMINATED
    layer.data = data
    widget.edit.update_counts()
    inside, outside = widget.edit.counted(), widget.edit.not_counted()
    shown = [label.text() for label in widget.edit.count_labels]
    table = [int(text) for text in shown if text.isdigit()]  # rows of no class hold a dash
    assert inside == sum(table[1:]) > 0
    assert inside + outside == len(widget.edit.layer.data)
    assert outside > 0


def test_a_bad_number_is_named_by_its_label(stage):
    _, widget, _ = stage
    widget.thresholds[1].lineEdit().setText("1,7")
    assert settle_numbers(widget) == "2Te: got '1,7', expected a number from 0.00 to 1.00"


def test_the_buttons_of_editing_are_reached_by_tab(stage):
    _, widget, _ = stage
    for button in widget.edit.buttons.values():
        assert button.focusPolicy() & Qt.FocusPolicy.TabFocus
        # a click leaves the keyboard where the keys of the points work
        assert not button.focusPolicy() & Qt.FocusPolicy.ClickFocus


def test_tab_goes_through_the_buttons_and_space_presses_them(stage, qtbot):
    viewer, widget, _ = stage
    run(qtbot, widget)
    widget.show()
    activate(widget.window())
    add, select = widget.edit.buttons["Add"], widget.edit.buttons["Select"]
    add.setFocus(Qt.FocusReason.TabFocusReason)
    assert QApplication.focusWidget() is add or widget.focusWidget() is add
    QTest.keyClick(add, Qt.Key.Key_Space)
    assert widget.edit.layer.mode == "add"
    QTest.keyClick(add, Qt.Key.Key_Tab)
    assert widget.focusWidget() is select


def test_the_wheel_scrolls_the_panel_and_turns_no_box(stage, qtbot):
    _, widget, _ = stage
    widget.show()
    combo = choice(["a", "b"])
    qtbot.addWidget(combo)
    combo.show()
    for box, value in ((widget.thresholds[0], "value"), (combo, "currentIndex")):
        before = getattr(box, value)()
        box.clearFocus()
        event = QWheelEvent(
            QPointF(5, 5),
            QPointF(box.mapToGlobal(QPoint(5, 5))),
            QPoint(0, 0),
            QPoint(0, -120),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(box, event)
        assert getattr(box, value)() == before


def test_after_everything_was_deleted_the_widgets_are_as_new(stage, qtbot):
    viewer, widget, _ = stage
    run(qtbot, widget)
    average = AverageWidget(viewer)
    qtbot.addWidget(average)
    viewer.layers.select_all()
    viewer.layers.remove_selected()
    assert len(viewer.layers) == 0
    assert widget.edit.layer is None
    assert widget.edit.title.text().startswith("No defects yet")
    assert average.images.count() == 0
    assert not widget.views.buttons["Images"].isEnabled()


# ------------------------------------------------------------------ averages that are there already


def test_a_reopened_widget_lists_the_averages_that_are_there(qtbot):
    viewer = ViewerModel()
    averages = show_averages(viewer)
    widget = AverageWidget(viewer)
    qtbot.addWidget(widget)
    assert [widget.table.item(i, 0).text() for i in range(3)] == ["2Se", "SeTe", "SV"]
    assert widget.table.item(1, 1).text() == str(note(averages[1])["n"])
    assert widget.results.run in runs(viewer)
