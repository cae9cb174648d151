"""The widgets as napari opens and closes them: by scripts, from the menus, in docks."""

import gc

import pytest
from napari._qt._qplugins._qnpe2 import _toggle_or_get_widget
from npe2 import PluginManager, PluginManifest
from qtpy.compat import isalive
from qtpy.QtCore import QCoreApplication, QEvent, QSize
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QApplication, QDockWidget
from strain_stage import measured_classes, settle, show_averages
from widget_stage import add_region, errors, run, use_truth

from napari_defectstrain.types import Cancelled
from napari_defectstrain.widgets.average import measuring
from napari_defectstrain.widgets.base.docking import dock_of
from napari_defectstrain.widgets.layers.averages import runs
from napari_defectstrain.widgets.strain import widget as strain_module

PLUGIN = "napari-defectstrain"
WIDGETS = [
    widget.display_name for widget in PluginManifest.from_distribution(PLUGIN).contributions.widgets
]


@pytest.fixture
def viewer(make_napari_viewer, monkeypatch, tmp_path):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "settings.json"))
    viewer = make_napari_viewer()
    PluginManager.instance().discover()
    return viewer


def by_script(viewer, name):
    """Open a widget as scripts and notebooks do."""
    return viewer.window.add_plugin_dock_widget(PLUGIN, name)[1]


def by_menu(viewer, name):
    """Open a widget as the entry of the Plugins menu does."""
    title = f"{name} ({PLUGIN})"
    made, full = _toggle_or_get_widget(PLUGIN, name, title)
    viewer.window.add_dock_widget(made, name=full)
    return made


WAYS = pytest.mark.parametrize("open_widget", [by_script, by_menu])


def pump(qtbot):
    """Let Qt place docks, and delete what is to be deleted."""
    qtbot.wait(30)
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@WAYS
@pytest.mark.parametrize("name", WIDGETS)
def test_a_widget_holds_the_viewer_itself(viewer, open_widget, name):
    """Not the proxy that napari hands in, whose layers are other objects than those of events."""
    assert open_widget(viewer, name).viewer is viewer


@WAYS
def test_from_detecting_to_measured_averages(viewer, qtbot, monkeypatch, open_widget):
    measured = []
    monkeypatch.setattr(
        measuring, "measure_spacings", lambda stacks, *_: measured.append(sorted(stacks)) or {}
    )
    wrong = errors(monkeypatch)
    made, region = add_region(viewer)
    use_truth(monkeypatch, made)
    detect = open_widget(viewer, "Detect defects")
    run(qtbot, detect)
    average = open_widget(viewer, "Average classes")
    average.windows.shells.setCurrentIndex(0)
    average.windows.references.setValue(20)
    run(qtbot, average)
    assert wrong == []
    (layers,) = runs(viewer).values()
    assert measured == [sorted(la.metadata["napari-defectstrain"]["class"] for la in layers)]
    assert isinstance(dock_of(average.results), QDockWidget)
    average.look_through(0)


@WAYS
def test_strain_and_its_profile(viewer, qtbot, monkeypatch, open_widget):
    monkeypatch.setattr(strain_module, "measure_classes", lambda *_: measured_classes())
    wrong = errors(monkeypatch)
    show_averages(viewer)
    strain = open_widget(viewer, "Strain maps")
    strain.controls.route.setCurrentText("coordinates as they are")
    strain.run()
    settle(qtbot, strain)
    assert wrong == []
    assert strain.measured is not None
    strain.show_profile()
    assert isinstance(dock_of(strain.profile), QDockWidget)


@WAYS
def test_widgets_share_one_place_as_tabs(viewer, qtbot, open_widget):
    viewer.window._qt_window.show()
    widgets = []
    for name in WIDGETS:
        widgets.append(open_widget(viewer, name))
        pump(qtbot)
        # The one that was opened last is in front.
        assert not widgets[-1].visibleRegion().isEmpty()
    docks = [dock_of(w) for w in widgets]
    window = viewer.window._qt_window
    for dock in docks:
        assert set(window.tabifiedDockWidgets(dock)) == set(docks) - {dock}


def test_a_closed_widget_takes_its_panel_along(viewer, qtbot):
    average = by_script(viewer, "Average classes")
    average.show_plots()
    pump(qtbot)
    panel = dock_of(average.results)
    dock_of(average).destroyOnClose()
    del average
    pump(qtbot)
    gc.collect()
    assert not isalive(panel) or panel.widget() is None
    docks = viewer.window._qt_window.findChildren(QDockWidget)
    assert not [d for d in docks if "Average" in d.windowTitle()]


@pytest.mark.parametrize("name", WIDGETS)
def test_a_closed_widget_ends_its_job(viewer, qtbot, name):
    widget = by_script(viewer, name)
    ended = []

    def job(progress):
        try:
            while True:
                progress(0.5, "at work")
        except Cancelled:
            ended.append(name)
            raise

    widget.run_bar.start(job, lambda _: ended.append("not"), "at work")
    pump(qtbot)
    dock_of(widget).destroyOnClose()
    qtbot.waitUntil(lambda: bool(ended), timeout=60_000)
    pump(qtbot)
    assert ended == [name]
    assert not isalive(widget)


def test_the_window_is_never_higher_than_a_small_screen(viewer, qtbot, monkeypatch):
    """Whatever is opened, 1366 x 768 is enough; the lists of windows show whole words."""
    window = viewer.window._qt_window
    window.resize(1366, 768)
    window.show()
    show_averages(viewer)
    widgets = [by_script(viewer, name) for name in WIDGETS]
    pump(qtbot)
    _, _, average, strain, *_ = widgets
    average.look_through(1)
    strain.show_profile()
    pump(qtbot)
    assert window.minimumSizeHint().height() <= 720
    assert window.minimumSizeHint().width() <= 1366
    assert (window.width(), window.height()) == (1366, 768)
    bottom = [dock_of(average.results), dock_of(strain.profile)]
    assert window.tabifiedDockWidgets(bottom[0]) == [bottom[1]]
    average.look_through(1)
    pump(qtbot)
    for button in average.results.windows.buttons.values():
        words = button.fontMetrics().horizontalAdvance(button.text())
        assert button.isVisible()
        assert button.width() >= words + 8


def test_the_controls_of_the_first_step_are_not_cut_off(viewer, qtbot):
    """There is no bar to scroll sideways: what is wider than the dock can't be reached."""
    window = viewer.window._qt_window
    window.resize(1366, 768)
    window.show()
    add_region(viewer, size=64, name="one")
    add_region(viewer, size=64, name="two")
    panel = by_script(viewer, "Defect strain").panel(0)
    for choice in ("one", "all 2 images"):
        panel.image.setCurrentText(choice)
        assert panel.image.currentText() == choice
        qtbot.wait(100)
        scroll = panel._scroll
        assert scroll.widget().width() <= scroll.viewport().width(), choice


def test_plots_without_room_side_by_side_have_tabs(viewer):
    panel = by_script(viewer, "Average classes").results
    for width, wanted in (
        (500, ["Spacings", "Windows", "Made of", "Precision"]),
        (900, ["Spacings and precision", "Windows", "Made of"]),
        (500, ["Spacings", "Windows", "Made of", "Precision"]),
    ):
        QApplication.sendEvent(panel, QResizeEvent(QSize(width, 300), panel.size()))
        assert [panel.tabs.tabText(i) for i in range(panel.tabs.count())] == wanted
