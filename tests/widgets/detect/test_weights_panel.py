"""The histogram of weights below the viewer: what it shows, and what a click selects."""

from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel
from numpy.testing import assert_array_equal
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from widget_stage import add_region, run, truth_detector, use_truth

from napari_defectstrain.materials import CHALCOGEN_SITES, METAL_SITES
from napari_defectstrain.widgets.detect import widget as detect_module
from napari_defectstrain.widgets.detect.weights_panel import NO_LAYER, NO_WEIGHTS
from napari_defectstrain.widgets.detect.widget import DetectWidget

MEAN = np.array([1.0, 0.7, 1.05, 1.4, 0.35, 0.0, 2.0])
SHIFT = Qt.KeyboardModifier.ShiftModifier


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "widgets.json"))


def weighing_detector(*made):
    """The truth, every column weighed."""
    truth = truth_detector(*made)

    def detect_images(images, config, progress):
        rng = np.random.default_rng(1)
        found = truth(images, config, progress)
        for one in found:
            weight = rng.normal(MEAN[one.sites.class_index], 0.03)
            sigma = np.full(len(weight), 0.03)
            sites = replace(one.sites, weight=weight, weight_sigma=sigma)
            object.__setattr__(one, "sites", sites)
        return found

    return detect_images


@pytest.fixture
def weighed(qtbot, monkeypatch):
    """One detected and weighed region, without a window."""
    viewer = ViewerModel()
    made, _ = add_region(viewer, size=256)
    monkeypatch.setattr(detect_module, "detect_images", weighing_detector(made))
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    run(qtbot, widget)
    widget.weights_panel.refresh()
    return viewer, widget, widget.weights_panel


def shown_panels(qtbot, panel):
    """The panel on the screen, its plot drawn."""
    qtbot.addWidget(panel)
    panel.resize(640, 300)
    panel.show()
    drawing = panel.canvas._drawing
    qtbot.waitUntil(lambda: bool(panel.canvas._panels) and not drawing.waiting, timeout=120_000)
    qtbot.wait(300)
    qtbot.waitUntil(lambda: not drawing.waiting, timeout=120_000)
    return panel.canvas


def place_of(canvas, sublattice, weight):
    """Where a weight lies on the canvas."""
    x, y = canvas._panels[sublattice].transData.transform((weight, 2.0))
    ratio = canvas.device_pixel_ratio
    return QPoint(round(x / ratio), round(canvas.height() - y / ratio))


def test_it_says_why_there_is_no_histogram(qtbot, monkeypatch):
    viewer = ViewerModel()
    made, _ = add_region(viewer, size=256)
    use_truth(monkeypatch, made)  # without weights
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    panel = widget.weights_panel
    panel.refresh()
    assert panel.canvas._message == NO_LAYER
    run(qtbot, widget)
    panel.refresh()
    assert panel.canvas._message == NO_WEIGHTS
    assert not panel.button.isEnabled()


@pytest.mark.gui
def test_a_click_selects_the_columns_of_a_bin(weighed, qtbot):
    viewer, _, panel = weighed
    canvas = shown_panels(qtbot, panel)
    every, defects = viewer.layers["region · sites"], viewer.layers["region · defects"]
    QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=place_of(canvas, CHALCOGEN_SITES, 0.35))
    low, high = panel.chosen.low, panel.chosen.high
    weight = every.features["weight"].to_numpy()
    inside = (weight >= low) & (weight < high)
    assert low <= 0.35 < high
    assert inside.any()
    assert every.selected_data == set(np.flatnonzero(inside).tolist())
    chosen = defects.features["class"].iloc[sorted(defects.selected_data)]
    assert set(chosen) == {"SV"}
    assert len(chosen) == inside.sum()
    assert not every.visible  # all of them are points of the defects layer
    assert f"{inside.sum()} column" in panel.state.text()


@pytest.mark.gui
def test_dragging_selects_a_range_of_one_sublattice_and_shows_what_is_no_defect(weighed, qtbot):
    viewer, _, panel = weighed
    canvas = shown_panels(qtbot, panel)
    every, defects = viewer.layers["region · sites"], viewer.layers["region · defects"]
    ends = [place_of(canvas, CHALCOGEN_SITES, w) for w in (1.2, 0.6)]
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=ends[0])
    QTest.mouseMove(canvas, ends[1])
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=ends[1])
    names = every.features["class"].astype(str).to_numpy()
    chosen = sorted(every.selected_data)
    assert set(names[chosen]) == {"2Se", "SeTe"}  # metals weigh as much, and aren't chosen
    assert every.visible
    hidden = np.ones(len(names), dtype=bool)
    hidden[chosen] = False
    # napari itself takes no notice of `shown` in an image of two dimensions
    assert_array_equal(every.border_width == 0, hidden)
    assert_array_equal(every.shown, ~hidden)
    # highlighted although another layer is the active one
    assert viewer.layers.selection.active is defects
    assert len(every._highlight_index) == len(chosen)
    assert "highlighted" in panel.state.text()
    assert set(defects.features["class"].iloc[sorted(defects.selected_data)]) == {"SeTe"}
    panel.clear.click()
    assert not every.visible
    assert every.shown.all()
    assert (every.border_width > 0).all()
    assert len(every.selected_data) == len(defects.selected_data) == 0


@pytest.mark.gui
def test_the_keyboard_walks_over_the_bins(weighed, qtbot):
    _, _, panel = weighed
    canvas = shown_panels(qtbot, panel)
    panel.sites.setCurrentIndex(panel.sites.findData(METAL_SITES))
    panel.low.setValue(0.98)
    panel.high.setValue(1.02)
    panel.button.click()
    first = panel.chosen
    assert first.sublattice == METAL_SITES
    QTest.keyClick(canvas, Qt.Key.Key_Right)
    assert panel.chosen.low > first.low
    wide = panel.chosen.high
    QTest.keyClick(canvas, Qt.Key.Key_Right, SHIFT)
    assert panel.chosen.high > wide


def test_of_several_images_the_active_one_is_shown(qtbot, monkeypatch):
    viewer = ViewerModel()
    one, first = add_region(viewer, size=256, seed=1, name="one")
    two, second = add_region(viewer, size=256, seed=2, name="two")
    monkeypatch.setattr(detect_module, "detect_images", weighing_detector(one, two))
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    for image in (first, second):
        widget.image.choose(image)
        run(qtbot, widget)
    panel = widget.weights_panel
    for name in ("one", "two"):
        for layer in (name, f"{name} · sites", f"{name} · regions", f"{name} · defects"):
            viewer.layers.selection.active = viewer.layers[layer]
            panel.refresh()
            assert panel.layer.name == f"{name} · defects"
            assert panel.found is not None


def test_the_classes_are_those_that_were_corrected_by_hand(weighed):
    viewer, widget, panel = weighed
    before = panel.found.chalcogen.count.sum(axis=1)
    rows = np.flatnonzero(viewer.layers["region · defects"].features["class"] == "SV")
    widget.edit.editor.relabel("DV", rows[:2].tolist())
    panel.refresh()
    after = panel.found.chalcogen.count.sum(axis=1)
    assert (after - before).tolist() == [0, 0, 0, 0, -2, 2, 0]
