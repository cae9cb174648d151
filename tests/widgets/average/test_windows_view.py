"""The average widget's live numbers, its browser of windows, its plots and column layers."""

from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from numpy.testing import assert_allclose
from qtpy.QtCore import QPoint, Qt
from small_alloy import QUICK
from strain_stage import measured_classes, show_averages
from widget_stage import add_region, errors, finish, run, use_truth

from napari_defectstrain.averages.average import average_stack
from napari_defectstrain.pipeline.chain import measure_spacings
from napari_defectstrain.types import DefectStrainError
from napari_defectstrain.widgets.average import measuring
from napari_defectstrain.widgets.average.results_panel import MEASUREMENT, PLOTS, WINDOWS
from napari_defectstrain.widgets.average.widget import AverageWidget
from napari_defectstrain.widgets.base.docking import dock_of
from napari_defectstrain.widgets.base.pacing import at_once
from napari_defectstrain.widgets.detect.widget import DetectWidget
from napari_defectstrain.widgets.layers.averages import CUT, STACK, runs
from napari_defectstrain.widgets.layers.editing import editor_of
from napari_defectstrain.widgets.layers.sites import kind, note
from napari_defectstrain.widgets.strain.widget import StrainWidget

NAMES = ("2Se", "SeTe", "2Te", "SV", "DV")


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    """Settings of one's own, and single Gaussians, which are fast: here the plumbing counts."""
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "widgets.json"))
    columns = QUICK.columns.replace(compare=False)

    def measured(stacks, config, progress):
        return measure_spacings(stacks, config.replace(columns=columns, bootstrap=60), progress)

    monkeypatch.setattr(measuring, "measure_spacings", measured)
    monkeypatch.setattr(measuring, "WAIT_MS", 50)


def detected(viewer, qtbot, monkeypatch, *seeds):
    made = [add_region(viewer, seed, size=448, name=f"region {seed}")[0] for seed in seeds]
    use_truth(monkeypatch, *made)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    for i in range(len(made)):
        widget.image.setCurrentIndex(i)
        run(qtbot, widget)


def averager(viewer, qtbot, measure=False):
    widget = AverageWidget(viewer)
    if not hasattr(viewer, "window"):  # else it goes with its dock
        qtbot.addWidget(widget)
    widget.windows.references.setValue(30)
    widget.windows.window.setValue(2.0)
    widget.windows.shells.setCurrentIndex(1)
    widget.with_windows.setChecked(True)
    widget.measure.setChecked(measure)
    return widget


@pytest.fixture
def one(qtbot, monkeypatch):
    """A detection in one region, and an average widget that has not averaged yet."""
    viewer = ViewerModel()
    detected(viewer, qtbot, monkeypatch, 1)
    return viewer, averager(viewer, qtbot)


def counted(qtbot, widget):
    """The live numbers, once they are up to date."""
    qtbot.waitUntil(lambda: not widget.counts.busy, timeout=60_000)
    qtbot.wait(10)
    return [number.text() for number in widget.class_boxes.numbers[:5]]


def of_class(viewer, what, name):
    return next(la for la in viewer.layers if kind(la) == what and note(la)["class"] == name)


def choose(view, row):
    """Click the thumbnail in that row."""
    index = view.model.index(row, 0)
    view.grid.scrollTo(index)
    place = view.grid.visualRect(index).center()
    # QTest would click a widget that was never laid out outside of its viewport
    view.grid.resize(600, 400)
    place = view.grid.visualRect(index).center()
    assert view.grid.indexAt(place).row() == row
    from qtpy.QtTest import QTest

    QTest.mouseClick(view.grid.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(place))
    while view.going.waiting:
        QTest.qWait(5)


def test_live_numbers_are_the_windows_that_are_averaged(one, qtbot):
    viewer, widget = one
    shown = counted(qtbot, widget)
    run(qtbot, widget)
    stacks = {note(la)["class"]: la.metadata[STACK] for la in runs(viewer).popitem()[1]}
    assert shown == [str(len(stacks[n].included)) if n in stacks else "0" for n in NAMES]
    assert "columns of SV" in widget.class_boxes.numbers[3].toolTip()


def test_live_numbers_follow_settings_edits_and_ticks(one, qtbot):
    viewer, widget = one
    before = counted(qtbot, widget)
    widget.windows.shells.setCurrentIndex(0)
    fewer = [int(n) for n in counted(qtbot, widget)]
    assert all(a >= int(b) for a, b in zip(fewer[1:], before[1:], strict=True))
    assert sum(fewer[1:]) > sum(int(n) for n in before[1:])
    # a point turned from SV to 2Te, as the edit panel does it
    defects = viewer.layers["region 1 · defects"]
    middle = np.hypot(*(defects.data - 224).T) + 1e6 * (defects.features["class"] != "SV")
    editor_of(defects).relabel("2Te", [int(middle.argmin())])
    after = [int(n) for n in counted(qtbot, widget)]
    assert after[2] == fewer[2] + 1
    assert after[3] == fewer[3] - 1
    editor_of(defects).undo()
    assert [int(n) for n in counted(qtbot, widget)] == fewer
    widget.images.item(0).setCheckState(Qt.CheckState.Unchecked)
    assert counted(qtbot, widget) == ["–"] * 5
    assert "tick it here" in widget.class_boxes.say.text()


def test_live_numbers_follow_the_regions(one, qtbot):
    viewer, widget = one
    before = [int(n) for n in counted(qtbot, widget)]
    regions = viewer.layers["region 1 · regions"]
    hole = regions.data.copy()
    hole[:, 224:] = 253
    regions.data = hole
    after = [int(n) for n in counted(qtbot, widget)]
    assert sum(after) < sum(before)


def test_windows_are_left_out_and_put_back_by_hand(one, qtbot, monkeypatch):
    viewer, widget = one
    run(qtbot, widget)
    view = widget.results.windows
    view.show_run(widget.results.run, "SV")
    view.filter_box.setCurrentText("all")
    layer = of_class(viewer, "average", "SV")
    before, n = layer.data.copy(), note(layer)["n"]
    assert view.model.rowCount() == len(layer.metadata[STACK].included)
    distances = [float(view.model.index(i, 0).data()) for i in range(view.model.rowCount())]
    assert distances == sorted(distances, reverse=True)

    choose(view, 0)
    (first,) = view.selected()
    view.buttons["Leave out"].click()
    stack = layer.metadata[STACK]
    assert not stack.included[first]
    assert stack.reason[first] == "by hand"
    assert note(layer)["n"] == stack.n == n - 1
    assert_allclose(layer.data, average_stack(stack).mean)
    assert np.abs(layer.data - before).max() > 1e-3
    labels = next(la for la in viewer.layers if kind(la) == "average labels")
    assert f"SV  N = {n - 1}\npurity 1.000" in list(labels.features["text"])
    row = [widget.table.item(i, 0).text() for i in range(5)].index("SV")
    assert widget.table.item(row, 1).text() == str(n - 1)
    windows = of_class(viewer, "windows", "SV")
    assert note(windows)["reason"][first] == "by hand"
    (by_hand,) = note(layer)["windows_by_hand"]
    assert by_hand["site_index"] == stack.site_index[first]
    assert not by_hand["included"]

    view.buttons["Undo"].click()
    assert_allclose(layer.data, before)
    assert note(layer)["windows_by_hand"] == []
    view.buttons["Redo"].click()
    assert note(layer)["n"] == n - 1
    view.filter_box.setCurrentText("left out")
    assert view.selected() == [first]
    view.buttons["Put back"].click()
    assert_allclose(layer.data, before)
    assert layer.metadata[STACK].included[first] == layer.metadata[CUT].included[first]

    # the last one stays
    shown = errors(monkeypatch)
    view.filter_box.setCurrentText("included")
    view.grid.selectAll()
    view.buttons["Leave out"].click()
    assert "would leave none" in shown[0]
    assert note(layer)["n"] == n


def test_strain_measures_what_was_chosen(one, qtbot, monkeypatch):
    viewer, widget = one
    run(qtbot, widget)
    view = widget.results.windows
    view.show_run(widget.results.run, "SV")
    view.filter_box.setCurrentText("all")
    choose(view, 1)
    view.buttons["Leave out"].click()
    seen = {}

    def caught(stacks, config, progress):
        seen.update(stacks)
        raise DefectStrainError("seen enough")

    monkeypatch.setattr("napari_defectstrain.widgets.strain.widget.measure_classes", caught)
    strain = StrainWidget(viewer)
    qtbot.addWidget(strain)
    run(qtbot, strain)
    assert seen["SV"] is of_class(viewer, "average", "SV").metadata[STACK]
    assert "by hand" in list(seen["SV"].reason)


def test_a_chosen_window_is_shown_in_its_image_and_in_words(qtbot, monkeypatch):
    viewer = ViewerModel()
    detected(viewer, qtbot, monkeypatch, 1, 2)
    viewer.layers["region 2"].translate = (0.0, 12_000.0)
    widget = averager(viewer, qtbot)
    run(qtbot, widget)
    view = widget.results.windows
    view.show_run(widget.results.run, "2Te")
    view.filter_box.setCurrentText("all")
    stack = view.stack
    row = next(r for r in range(view.model.rowCount()) if stack.image_index[view._window(r)] == 1)
    choose(view, row)
    (window,) = view.selected()
    source = viewer.layers["region 2"]
    place = source.data_to_world(stack.position_px[window])
    assert_allclose(viewer.scene.camera.center[-2:], place, rtol=1e-6)
    (marker,) = [la for la in viewer.layers if kind(la) == "window marker"]
    assert_allclose(marker.data[0], place)
    assert list(marker.features["text"]) == ["2Te: averaged"]
    for part in ("averaged", "region 2", "probability 1.000"):
        assert part in view.words.text()
    layer = of_class(viewer, "windows", "2Te")
    assert layer.visible
    assert viewer.dims.point[0] == window
    widget.results.tabs.setCurrentIndex(WINDOWS)
    view.buttons["Leave out"].click()
    assert list(marker.features["text"]) == ["2Te: left out, by hand"]
    widget.results.tabs.setCurrentIndex(PLOTS)
    assert not layer.visible
    assert not marker.visible
    # without an image there is nowhere to go, and that is said
    viewer.layers.remove(source)
    choose(view, row - 1 if row else row + 1)
    other = [r for r in range(view.model.rowCount()) if stack.image_index[view._window(r)] == 1]
    choose(view, other[-1])
    assert "image was removed" in view.words.text()


def test_planes_of_a_stack_are_found_again(qtbot, monkeypatch):
    from small_alloy import simulated, true_sites

    viewer = ViewerModel()
    made = [simulated(seed=s, size=448, name=f"region {s}") for s in (1, 2)]
    look = {"scale": (1, 20.74, 20.74), "units": ("pixel", "pm", "pm")}
    viewer.add_image(
        np.stack([m.image.data for m in made]),
        name="both",
        axis_labels=("plane", "y", "x"),
        **look,
    )
    from napari_defectstrain.widgets.layers.sites import add_detection, provenance

    metadata = provenance("sites", {"material": "WSe2"})
    add_detection(viewer, viewer.layers["both"], [true_sites(m) for m in made], metadata)
    widget = averager(viewer, qtbot)
    run(qtbot, widget)
    view = widget.results.windows
    view.show_run(widget.results.run, "SV")
    view.filter_box.setCurrentText("all")
    stack = view.stack
    for plane in (1, 0):
        row = next(
            r for r in range(view.model.rowCount()) if stack.image_index[view._window(r)] == plane
        )
        choose(view, row)
        assert viewer.dims.point[0] == plane
        assert f"both {plane + 1}" in view.words.text()
        place = (plane, *stack.position_px[view.selected()[0]])
        world = viewer.layers["both"].data_to_world(place)
        assert_allclose(viewer.scene.camera.center[-2:], world[-2:], rtol=1e-6)


def settled(qtbot, widget):
    """Wait until nothing is measured, and nothing is due."""
    qtbot.waitUntil(lambda: not widget.measuring.waiting, timeout=60_000)
    finish(qtbot, widget)


def test_classes_of_too_few_windows_are_measured_no_more(qtbot):
    viewer = ViewerModel()
    layers = {note(la)["class"]: la for la in show_averages(viewer)}
    widget = averager(viewer, qtbot)
    told = []
    widget.measuring.measured.connect(lambda _run, current: told.append(current))
    stacks = {name: la.metadata[STACK] for name, la in layers.items()}
    measured = measured_classes()
    at_once(widget.measuring._show("run", stacks, measured, {}, ""))
    assert all(MEASUREMENT in la.metadata for la in layers.values())
    few = {name: found for name, found in measured.items() if name != "SV"}
    at_once(widget.measuring._show("run", stacks, few, {}, ""))
    assert [name for name, la in layers.items() if MEASUREMENT in la.metadata] == ["2Se", "SeTe"]
    # where measuring went wrong, what is shown is of before
    at_once(widget.measuring._show("run", stacks, {}, {}, "got nothing"))
    assert MEASUREMENT in layers["SeTe"].metadata
    assert told == [True, True, False]


def test_plots_and_columns_fill_by_themselves_and_follow_the_windows(qtbot, monkeypatch):
    viewer = ViewerModel()
    detected(viewer, qtbot, monkeypatch, 1)
    widget = averager(viewer, qtbot, measure=True)
    widget.measuring._timer.setInterval(20)
    run(qtbot, widget)
    panel = widget.results
    averages = [la for la in viewer.layers if kind(la) == "average"]
    measured = {
        note(la)["class"]: la.metadata[MEASUREMENT]
        for la in averages
        if MEASUREMENT in la.metadata  # too few windows of a rare class are shown, not measured
    }
    assert len(measured) > 1
    text = _texts(panel.spacings)
    for name, found in measured.items():
        assert f"{found.spacing.spacing_pm:.2f} ±" in text or found.average.n == 1
        assert name in text
    assert "N = " in text
    assert "windows averaged, N" in _texts(panel.precision)
    assert "Strain of the spacings" in widget.run_bar.status.text()

    layer = of_class(viewer, "columns", "SV")
    fits = measured["SV"].fits
    good = np.isfinite(fits.position_pm).all(axis=1)
    assert not layer.visible
    assert len(layer.data) == good.sum()
    centre = np.array(note(of_class(viewer, "average", "SV"))["centre_pm"])
    position = fits.position_pm[good]
    # y up in the frame, down in the world
    assert_allclose(layer.data, centre + np.stack([-position[:, 1], position[:, 0]], axis=1))
    features = layer.features
    assert_allclose(features["sigma_x_pm"], fits.sigma_pm[good, 0])
    assert_allclose(
        features["sigma_total_pm"] ** 2, (measured["SV"].budget.total_pm[good] ** 2).mean(axis=1)
    )
    assert list(features["role"]).count("V1") == 1
    assert set(features["sublattice"]) == {"metal", "chalcogen"}

    names = [la.name for la in viewer.layers]
    view = panel.windows
    view.show_run(panel.run, "SV")
    view.filter_box.setCurrentText("all")
    view.follow.setChecked(False)
    choose(view, 0)
    view.buttons["Leave out"].click()
    assert "of before" in panel.state.text()
    assert widget.measuring.waiting
    settled(qtbot, widget)
    assert panel.state.text() == ""
    again = of_class(viewer, "average", "SV").metadata[MEASUREMENT]
    assert again.spacing.n == measured["SV"].spacing.n - 1
    assert f"{again.spacing.spacing_pm:.2f} ±" in _texts(panel.spacings)
    assert [la.name for la in viewer.layers] == names  # in place
    assert len(layer.data) == np.isfinite(again.fits.position_pm).all(axis=1).sum()


def _texts(canvas):
    """All words of a figure."""
    canvas.draw()
    found = []
    for axes in canvas.figure.axes:
        found += [t.get_text() for t in (*axes.texts, axes.xaxis.label, *axes.get_yticklabels())]
    return "\n".join(found)


def test_what_cannot_be_measured_is_still_averaged(one, qtbot, monkeypatch):
    viewer, widget = one
    shown = errors(monkeypatch)

    def fails(stacks, config, progress):
        raise DefectStrainError("no such columns")

    monkeypatch.setattr(measuring, "measure_spacings", fails)
    widget.measure.setChecked(True)
    run(qtbot, widget)
    assert shown == ["the averages are there, but not measured: no such columns"]
    assert of_class(viewer, "average", "SV").data.shape == (101, 101)
    assert widget.results.spacings._message == "Not measured yet"


def test_measuring_can_be_cancelled_and_keeps_the_averages(one, qtbot, monkeypatch):
    viewer, widget = one

    def endless(stacks, config, progress):
        while True:
            progress(0.5, "fitting")

    monkeypatch.setattr(measuring, "measure_spacings", endless)
    widget.measure.setChecked(True)
    widget.run_bar.run_button.click()
    qtbot.waitUntil(lambda: bool(runs(viewer)), timeout=60_000)
    qtbot.waitUntil(lambda: widget.run_bar.status.text() == "fitting", timeout=60_000)
    widget.run_bar.cancel_button.click()
    finish(qtbot, widget)
    assert len(runs(viewer)) == 1
    assert "Cancelled" in widget.run_bar.status.text()


def test_symmetric_averages_and_what_they_hid_lie_above_the_averages(one, qtbot, monkeypatch):
    viewer, widget = one
    monkeypatch.setattr(
        measuring,
        "symmetrise_average",
        lambda stack: SimpleNamespace(
            average=average_stack(stack), hidden=np.full(stack.windows.shape[1:], 0.01 * stack.n)
        ),
    )
    widget.symmetric.setChecked(True)
    run(qtbot, widget)
    for name in ("2Se", "SV"):
        average = of_class(viewer, "average", name)
        found = [la for la in viewer.layers if kind(la) == "symmetric"]
        mine = [la for la in found if note(la)["class"] == name]
        assert [la.name for la in mine] == [f"{name} · C3v", f"{name} · hidden by C3v"]
        tops = [la.extent.world[0, 0] for la in (average, *mine)]
        assert tops == sorted(tops, reverse=True)
        assert mine[0].extent.world[1, 0] < average.extent.world[0, 0]
    count = len(viewer.layers)
    view = widget.results.windows
    view.show_run(widget.results.run, "SV")
    view.filter_box.setCurrentText("all")
    view.follow.setChecked(False)
    choose(view, 0)
    view.buttons["Leave out"].click()
    settled(qtbot, widget)
    hidden = viewer.layers["SV · hidden by C3v"]
    assert_allclose(hidden.data, 0.01 * of_class(viewer, "average", "SV").metadata[STACK].n)
    assert len(viewer.layers) == count


def test_the_panel_opens_below_and_comes_back_when_it_was_closed(
    make_napari_viewer, qtbot, monkeypatch
):
    viewer = make_napari_viewer(show=True)
    detected(viewer, qtbot, monkeypatch, 1)
    widget = averager(viewer, qtbot, measure=True)
    dock = viewer.window.add_dock_widget(widget, area="right")
    run(qtbot, widget)
    panel = widget.results
    assert panel.isVisible()
    assert panel.spacings.isVisible()
    row = [widget.table.item(i, 0).text() for i in range(widget.table.rowCount())].index("SV")
    place = widget.table.visualItemRect(widget.table.item(row, 0)).center()
    qtbot.mouseClick(widget.table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert panel.windows.isVisible()
    assert panel.windows.class_box.currentText() == "SV"
    panel.windows.filter_box.setCurrentText("all")
    choose(panel.windows, 0)
    # the slider, too, chooses windows
    viewer.dims.set_point(0, 1)
    assert panel.windows.selected() == [1]

    viewer.window.remove_dock_widget(dock_of(panel))
    assert not panel.isVisible()
    widget.plots_button.click()
    assert panel.spacings.isVisible()
    viewer.theme = "light"
    assert panel.spacings.figure.get_facecolor()[0] > 0.5
    viewer.window.remove_dock_widget(dock)
