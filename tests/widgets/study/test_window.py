"""A study in napari's own window: detect, edit, average, leave out, measure, save; open in another.

The second process is a second window here; `test_killed` kills real ones.
"""

import numpy as np
import pytest
from npe2 import PluginManager
from numpy.testing import assert_array_equal
from qtpy.QtWidgets import QApplication
from small_alloy import QUICK
from widget_stage import add_region, answers, errors, finish, run, use_truth

from napari_defectstrain.pipeline.class_measurement import measure_classes, measure_spacings
from napari_defectstrain.widgets.average import measuring
from napari_defectstrain.widgets.base import saving
from napari_defectstrain.widgets.layers.averages import STACK, runs
from napari_defectstrain.widgets.layers.editing import editor_of
from napari_defectstrain.widgets.layers.sites import corrected_planes, kind, note
from napari_defectstrain.widgets.strain import widget as strain_module
from napari_defectstrain.widgets.study.keeper import keeper_of

PLUGIN = "napari-defectstrain"


@pytest.fixture
def window(make_napari_viewer, monkeypatch, tmp_path):
    """Makes viewers whose widgets remember their settings in a file of this test."""
    PluginManager.instance().discover()

    def make(name):
        monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / f"{name}.json"))
        return make_napari_viewer()

    return make


def quick(monkeypatch):
    """Fits that are fast; what they find is not what is tested here."""

    def changed(config):
        return QUICK.replace(material=config.material, seed=config.seed, strain=config.strain)

    monkeypatch.setattr(
        measuring, "measure_spacings", lambda s, c, p: measure_spacings(s, changed(c), p)
    )
    monkeypatch.setattr(
        strain_module, "measure_classes", lambda s, c, p: measure_classes(s, changed(c), p)
    )


def opened(viewer, *names):
    return [viewer.window.add_plugin_dock_widget(PLUGIN, name)[1] for name in names]


@pytest.mark.slow
def test_a_study_goes_on_where_it_was_left(window, qtbot, monkeypatch, tmp_path):
    quick(monkeypatch)
    wrong = errors(monkeypatch)
    viewer = window("first")
    made, image = add_region(viewer, size=384)
    use_truth(monkeypatch, made)
    detect, average, strain = opened(viewer, "Detect defects", "Average classes", "Strain maps")
    run(qtbot, detect)
    path = tmp_path / "mine.defectstrain"
    monkeypatch.setattr(saving, "save_dialog", lambda *_: (str(path), ""))
    detect.study.save_button.click()
    assert wrong == []
    assert "every edit is kept" in detect.study.state.text()
    (defects,) = (la for la in viewer.layers if kind(la) == "defects")
    editor_of(defects).relabel("DV", [0, 1, 2])
    average.windows.shells.setCurrentIndex(0)
    average.windows.references.setValue(20)
    run(qtbot, average)
    (averages,) = runs(viewer).values()
    run_id, name = note(averages[0])["run"], note(averages[0])["class"]
    average.edits.leave_out(run_id, name, [0, 1])
    qtbot.waitUntil(lambda: not average.measuring.waiting, timeout=60_000)
    finish(qtbot, average)
    run(qtbot, strain)
    image.colormap = "magma"
    viewer.layers["averages · labels"].visible = False
    detect.study.save_button.click()
    assert wrong == []
    spacings = [strain.table.item(i, 2).text() for i in range(strain.table.rowCount())]
    keeper_of(viewer).close()

    again = window("second")
    detect2, average2, strain2 = opened(again, "Detect defects", "Average classes", "Strain maps")
    asked = answers(monkeypatch)
    again.open(str(path), plugin=PLUGIN)
    qtbot.wait(300)
    assert asked == []
    assert wrong == []
    assert [la.name for la in again.layers] == [la.name for la in viewer.layers]
    for one, other in zip(viewer.layers, again.layers, strict=True):
        assert type(one) is type(other)
        np.testing.assert_allclose(one.scale, other.scale)
        np.testing.assert_allclose(one.translate, other.translate)
        assert one.units == other.units
        assert one.visible == other.visible, one.name
        if not isinstance(one.data, list) and kind(one) != "defects":
            np.testing.assert_allclose(one.data, other.data, atol=1e-6)
        if hasattr(one, "features") and kind(one) != "defects":
            assert list(one.features.columns) == list(other.features.columns)
    (back,) = (la for la in again.layers if kind(la) == "defects")
    first, second = corrected_planes(viewer, defects)[0], corrected_planes(again, back)[0]
    assert sorted(first.class_name) == sorted(second.class_name)
    assert (first.source == "manual").sum() == (second.source == "manual").sum() > 0
    assert again.layers["region"].colormap.name == "magma"
    (kept,) = runs(again).values()
    for one, other in zip(averages, kept, strict=True):
        assert_array_equal(one.metadata[STACK].included, other.metadata[STACK].included)
        assert_array_equal(one.metadata[STACK].windows, other.metadata[STACK].windows)
    # the widgets take up where they were
    assert "every edit is kept" in detect2.study.state.text()
    assert detect2.edit.layer is back
    assert average2.windows.shells.currentIndex() == 0
    assert average2.windows.references.value() == 20
    assert average2.table.rowCount() == average.table.rowCount()
    assert average2.table.item(0, 1).text() == average.table.item(0, 1).text()
    assert [strain2.table.item(i, 2).text() for i in range(strain2.table.rowCount())] == spacings
    finish(qtbot, strain2)
    np.testing.assert_allclose(again.scene.camera.center, viewer.scene.camera.center)
    np.testing.assert_allclose(again.scene.camera.zoom, viewer.scene.camera.zoom)
    # and an edit goes on being kept
    edits = len(keeper_of(again).study.history())
    editor_of(back).relabel("SV", [0])
    assert len(keeper_of(again).study.history()) == edits + 1
    detect2.copying.command_button.click()
    assert QApplication.clipboard().text().startswith("defectstrain detect --study ")
    average2.copying.python_button.click()
    assert "nds.open_study(" in QApplication.clipboard().text()
    keeper_of(again).close()


def test_a_widget_is_copied_as_command_and_python(window, qtbot, monkeypatch):
    viewer = window("one")
    (detect,) = opened(viewer, "Detect defects")
    add_region(viewer, size=128)
    detect.thresholds[0].setValue(0.7)
    detect.copying.command_button.click()
    text = QApplication.clipboard().text()
    assert text.startswith("defectstrain detect region.tif --out results")
    assert "detect.thresholds=[0.7, 0.5, 0.5, 0.5]" in text
    detect.copying.python_button.click()
    assert "nds.load_images(['region.tif'])" in QApplication.clipboard().text()
