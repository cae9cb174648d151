"""One dock with four steps, driven as a person would."""

from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from small_alloy import true_sites
from strain_stage import bundled, measured_classes, show_averages
from widget_stage import activate, add_region, errors, use_truth

from napari_defectstrain.crystal.populations import ALL_IMAGES
from napari_defectstrain.types import DefectStrainError
from napari_defectstrain.widgets.average import measuring
from napari_defectstrain.widgets.base import worker
from napari_defectstrain.widgets.detect import widget as detect_module
from napari_defectstrain.widgets.layers.averages import runs
from napari_defectstrain.widgets.layers.sites import add_detection, kind, layer_id, note, provenance
from napari_defectstrain.widgets.layers.window_edits import window_edits_of
from napari_defectstrain.widgets.strain import comparing, report_writing
from napari_defectstrain.widgets.strain import widget as strain_module
from napari_defectstrain.widgets.workbench import WorkbenchWidget, window_results
from napari_defectstrain.widgets.workbench import report as report_module
from napari_defectstrain.widgets.workbench import widget as bench_module
from napari_defectstrain.widgets.workbench.steps import (
    AVERAGE,
    DETECT,
    REPORT,
    STRAIN,
    State,
    advice,
)


@pytest.fixture
def viewer(make_napari_viewer, monkeypatch, tmp_path):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "settings.json"))
    return make_napari_viewer()


@pytest.fixture
def bench(viewer, qtbot):
    widget = WorkbenchWidget(viewer)
    qtbot.addWidget(widget)
    widget.resize(380, 680)
    widget.show()
    return widget


def press(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def texts(bench):
    return [b.text() for b in bench.advice_buttons if b.isVisibleTo(bench)]


def quick(monkeypatch, *made):
    """Steps that cost no time: what is true, few windows, made-up measurements."""
    use_truth(monkeypatch, *made)
    monkeypatch.setattr(measuring, "measure_spacings", lambda *_: {})

    def measure(stacks, *_):
        names = tuple(name for name in stacks if name in ("SeTe", "SV"))
        return measured_classes(names)

    monkeypatch.setattr(strain_module, "measure_classes", measure)
    monkeypatch.setattr(comparing, "bundled_reference", bundled)


def settings(bench):
    """Little to compute."""
    windows = bench.panel(AVERAGE).windows
    windows.shells.setCurrentIndex(0)
    windows.references.setValue(20)
    bench.panel(STRAIN).controls.route.setCurrentText("coordinates as they are")


def finish(qtbot, bench):
    qtbot.waitUntil(lambda: not bench.run_all.running, timeout=120_000)
    qtbot.wait(60)


def test_it_opens_with_its_first_step_alone(bench):
    assert list(bench._panels) == [DETECT]
    assert texts(bench) == ["Open the &sample", "&Nine regions", "Op&en a file…"]
    assert not bench.all_button.isEnabled()


def test_every_step_says_what_to_do_without_anything_open(bench, qtbot):
    for step in (DETECT, AVERAGE, STRAIN, REPORT):
        press(qtbot, bench.header.button(step))
        assert bench.step == step
        assert bench.stack.currentIndex() == step
        assert bench.words.text()
    assert "no strain to show yet" in bench.panel(REPORT).hint.text()


def test_the_sample_is_a_click_away(bench, qtbot, monkeypatch):
    asked = []
    monkeypatch.setattr(type(bench.viewer), "open_sample", lambda _, *a: asked.append(a))
    press(qtbot, bench.advice_buttons[0])
    assert asked == [("napari-defectstrain", "one_region")]


def test_an_image_that_is_opened_is_seen(bench, viewer, qtbot):
    add_region(viewer, size=256)
    qtbot.waitUntil(lambda: texts(bench) == ["&Detect"], timeout=60_000)
    assert bench.all_button.isEnabled()


def report_of_what_is_there(bench, viewer, qtbot, monkeypatch):
    """The last step writes what was measured in the window, without a run of the command line."""
    written = []
    monkeypatch.setattr(report_module, "ask_folder", lambda *_: Path("somewhere"))
    monkeypatch.setattr(window_results, "write_results", lambda *given: written.append(given))
    monkeypatch.setattr(window_results, "compare_with_theory", lambda result, **_: result)
    monkeypatch.setattr(window_results, "write_report", lambda _folder, path, _progress: path)
    monkeypatch.setattr(report_writing, "show_file", lambda _path: None)
    bench.show_step(REPORT)
    bench.run_bar.run_button.click()
    qtbot.waitUntil(lambda: not bench.run_bar.running, timeout=60_000)
    ((result, folder),) = written
    assert folder == Path("somewhere")
    assert [image.name for image in result.images] == ["region_1", "other_2"]
    assert [len(s) for s in result.sites] == [
        len(la.data) for la in viewer.layers if kind(la) == "sites"
    ]
    assert len(result.regions) == 2
    assert set(result.measurements) == {"2Se", "SeTe", "SV"}
    assert set(result.populations["image"]) == {"region_1", "other_2", ALL_IMAGES}
    bench.show_step(STRAIN)


def test_the_dialog_of_files_offers_what_can_be_read(bench):
    images, points, everything = bench_module.file_kinds().split(";;")
    assert images.startswith("Images (*.dm3 *.DM3 ")
    assert "*.tif" in images
    assert "*.csv" in points
    assert everything == "All files (*)"


def test_no_key_of_a_button_is_one_of_the_menus(bench, viewer):
    menus = [a.text() for a in viewer.window._qt_window.menuBar().actions()]
    taken = {t[t.index("&") + 1].lower() for t in menus if "&" in t}
    offered = [t for text in advice_texts() for t in text]
    for text in offered:
        assert text[text.index("&") + 1].lower() not in taken


def advice_texts():
    """What buttons the strip offers, however far the work is."""
    states = [
        State(),
        State(images=1, unsearched=(object(),)),
        State(images=1, searched=frozenset("a")),
        State(images=1, searched=frozenset("a"), run="r"),
        State(images=1, searched=frozenset("a"), run="r", measured=True),
    ]
    return [[text for text, _ in advice(s, step).buttons] for s in states for step in range(4)]


def test_run_all_takes_every_step_once(bench, viewer, qtbot, monkeypatch):
    made, _ = add_region(viewer)
    other, _ = add_region(viewer, seed=2, name="other")
    quick(monkeypatch, made, other)
    wrong = errors(monkeypatch)
    settings(bench)
    seen = []
    bench.run_all.progressed.connect(lambda whole, text: seen.append((whole, text)))
    qtbot.waitUntil(bench.all_button.isEnabled, timeout=60_000)
    press(qtbot, bench.all_button)
    assert bench.cancel_button.isEnabled()
    assert not bench.all_button.isEnabled()
    finish(qtbot, bench)
    assert wrong == []
    assert bench.status.text() == "All steps are done"
    assert [whole for whole, _ in seen] == sorted(whole for whole, _ in seen)
    assert {text.split(",")[0] for _, text in seen} == {f"Step {k} of 3" for k in (1, 2, 3)}
    assert bench.step == STRAIN
    assert [bench.header.button(k).text()[-1] for k in range(4)] == ["✓", "✓", "✓", "•"]
    assert len([la for la in viewer.layers if kind(la) == "defects"]) == 2
    assert len(runs(viewer)) == 1
    report_of_what_is_there(bench, viewer, qtbot, monkeypatch)
    # nothing is left to do, and nothing is done again
    assert not bench.all_button.isEnabled()
    bench.start_all()
    assert not bench.run_all.running
    assert len(runs(viewer)) == 1


def test_a_file_that_cannot_be_read_is_said_and_the_others_open(
    bench, viewer, monkeypatch, tmp_path
):
    wrong, good = tmp_path / "holiday.jpg", tmp_path / "region.npy"
    wrong.write_bytes(b"no image")
    np.save(good, np.random.default_rng(0).random((32, 32)))
    paths = [str(wrong), str(good)], ""
    monkeypatch.setattr(bench_module.QFileDialog, "getOpenFileNames", lambda *_: paths)
    told = []
    monkeypatch.setattr(bench_module, "show_error", told.append)
    bench._open_files()
    assert len(told) == 1
    assert told[0].startswith("holiday.jpg: ")
    assert [la.name for la in viewer.layers] == ["region"]


def test_run_all_turns_the_page_once_a_step(bench):
    bench.run_all._steps = [STRAIN]
    bench._show_progress(0.1, "")
    assert bench.step == STRAIN
    bench.show_step(DETECT)  # a person looks elsewhere meanwhile
    bench._show_progress(0.2, "")
    assert bench.step == DETECT
    bench.run_all._steps = []


def test_strain_is_to_be_measured_again_when_windows_change(bench, viewer, qtbot):
    made, image = add_region(viewer, size=256)
    add_detection(viewer, image, [true_sites(made)], provenance("defects", {}))
    for average in show_averages(viewer):
        note(average)["image_ids"] = [layer_id(image)]
    viewer.add_vectors(np.zeros((1, 2, 2)), metadata=provenance("displacement", {}, run="run"))
    bench._wrote()
    assert [bench.state.of(step) for step in (STRAIN, REPORT)] == ["done", "done"]
    window_edits_of(viewer).leave_out("run", "SV", [0])
    qtbot.waitUntil(lambda: bench.state.of(STRAIN) == "ready", timeout=60_000)
    assert bench.all_button.isEnabled()
    # figures of before are none of what is measured next
    viewer.add_vectors(np.zeros((1, 2, 2)), metadata=provenance("displacement", {}, run="run"))
    qtbot.waitUntil(lambda: bench.state.of(STRAIN) == "done", timeout=60_000)
    assert bench.state.of(REPORT) == "ready"


def test_run_all_searches_only_what_was_not_searched(bench, viewer, qtbot, monkeypatch):
    made, _ = add_region(viewer)
    quick(monkeypatch, made)
    bench._act(DETECT)
    qtbot.waitUntil(lambda: bench.state.of(DETECT) == "done", timeout=60_000)
    qtbot.waitUntil(lambda: not bench.busy, timeout=60_000)
    other, _ = add_region(viewer, seed=2, name="other")
    use_truth(monkeypatch, made, other)
    searched, find = [], detect_module.detect_images

    def counted(images, *rest):
        searched.extend(image.name for image in images)
        return find(images, *rest)

    monkeypatch.setattr(detect_module, "detect_images", counted)
    settings(bench)
    bench.start_all()
    finish(qtbot, bench)
    assert searched == ["other"]
    assert bench.status.text() == "All steps are done"


def test_a_step_that_fails_ends_it_and_says_why(bench, viewer, qtbot, monkeypatch):
    add_region(viewer, size=256)
    wrong = errors(monkeypatch)

    def fails(*_):
        raise DefectStrainError("got nothing, expected something")

    monkeypatch.setattr(detect_module, "detect_images", fails)
    qtbot.waitUntil(bench.all_button.isEnabled, timeout=60_000)
    press(qtbot, bench.all_button)
    finish(qtbot, bench)
    assert wrong == ["got nothing, expected something"]
    assert bench.status.text() == wrong[0]
    assert list(bench._panels) == [DETECT]
    assert bench.all_button.isEnabled()


def test_cancel_all_stops_the_step_that_runs(bench, viewer, qtbot, monkeypatch):
    add_region(viewer, size=256)

    def endless(_images, _config, progress):
        while True:
            progress(0.5, "at work")

    monkeypatch.setattr(detect_module, "detect_images", endless)
    qtbot.waitUntil(bench.all_button.isEnabled, timeout=60_000)
    press(qtbot, bench.all_button)
    qtbot.waitUntil(lambda: "at work" in bench.status.text(), timeout=60_000)
    press(qtbot, bench.cancel_button)
    finish(qtbot, bench)
    assert "Stopped" in bench.status.text()
    assert not [la for la in viewer.layers if kind(la) == "defects"]


def test_nothing_can_be_started_beside_a_step_that_runs(bench, viewer, qtbot, monkeypatch):
    made, _ = add_region(viewer, size=256)
    use_truth(monkeypatch, made)
    qtbot.waitUntil(bench.all_button.isEnabled, timeout=60_000)
    press(qtbot, bench.advice_buttons[0])
    qtbot.waitUntil(lambda: not bench.all_button.isEnabled(), timeout=60_000)
    assert bench.busy
    bench.start_all()
    assert not bench.run_all.running
    qtbot.waitUntil(bench.all_button.isEnabled, timeout=60_000)
    assert texts(bench) == ["&Average", "&Correct"]


def test_keys_lead_through_the_steps(bench, qtbot):
    activate(bench)
    for step, key in ((STRAIN, Qt.Key.Key_3), (REPORT, Qt.Key.Key_4), (DETECT, Qt.Key.Key_1)):
        QTest.keyClick(bench, key, Qt.KeyboardModifier.AltModifier)
        assert bench.step == step


def test_tab_goes_from_top_to_bottom_and_is_seen(bench, viewer, qtbot):
    add_region(viewer, size=256)
    qtbot.waitUntil(bench.all_button.isEnabled, timeout=60_000)
    activate(bench)
    qtbot.wait(50)
    bench.header.button(DETECT).setFocus()
    passed = [QApplication.focusWidget()]
    for _ in range(200):
        QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
        passed.append(QApplication.focusWidget())
        if passed[-1] is bench.all_button:
            break
    assert passed[-1] is bench.all_button
    parts = [bench.header.button(DETECT), bench.advice_buttons[0], bench.run_bar.run_button]
    places = [passed.index(part) for part in parts]
    assert places == sorted(places)
    assert ":focus" in bench.styleSheet()


def test_a_long_job_tells_of_its_end(bench, qtbot, monkeypatch):
    told = []
    monkeypatch.setattr(worker, "show_info", told.append)
    monkeypatch.setattr(worker, "LONG_S", 0.0)
    bar = bench.run_bar
    bar.start(lambda progress: 1, lambda _: None, "at work")
    qtbot.waitUntil(lambda: not bar.running, timeout=60_000)
    assert told == ["Detect columns: done after 0 s"]
    bar.start(lambda progress: 1, lambda _: None, "at work", what="Figures")
    qtbot.waitUntil(lambda: not bar.running, timeout=60_000)
    assert told.pop() == "Figures: done after 0 s"
    bar.quiet = True
    bar.start(lambda progress: 1, lambda _: None, "at work")
    qtbot.waitUntil(lambda: not bar.running, timeout=60_000)
    assert len(told) == 1
