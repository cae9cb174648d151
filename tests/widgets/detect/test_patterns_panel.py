"""Populations and patterns of all images below the viewer."""

import pandas as pd
import pytest
from napari.components import ViewerModel
from widget_stage import add_region, answers, errors, finish, run, use_truth

from napari_defectstrain.widgets.detect import patterns_panel as panel_module
from napari_defectstrain.widgets.detect.patterns_panel import (
    CLASS_PAIRS,
    CLUSTERS,
    NOTHING,
    PAIRS,
    STALE,
    TABLES,
    WRITE_OLD,
)
from napari_defectstrain.widgets.detect.widget import DetectWidget
from napari_defectstrain.widgets.layers.editing import editor_of


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "widgets.json"))


class BarOf:
    """A panel as `widget_stage.finish` waits for it."""

    def __init__(self, panel):
        self.run_bar = panel.bar


@pytest.fixture
def detected(qtbot, monkeypatch):
    """Two detected regions, without a window."""
    viewer = ViewerModel()
    first, _ = add_region(viewer, size=256, name="first")
    second, _ = add_region(viewer, size=256, seed=2, name="second")
    use_truth(monkeypatch, first, second)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    widget.image.setCurrentIndex(2)  # all images
    run(qtbot, widget)
    return viewer, widget, widget.patterns_panel


def test_all_images_are_compared_with_chance_drawn_and_exported(
    qtbot, detected, tmp_path, monkeypatch
):
    _, _, panel = detected
    assert not panel.export_button.isEnabled()
    panel.run()
    finish(qtbot, BarOf(panel))
    assert set(panel.found.pair_correlation["image"]) == {"first", "second", "all"}
    assert "pairs" in panel.bar.status.text()
    assert [panel.image.itemText(i) for i in range(3)] == ["all images", "first", "second"]
    assert len(panel.canvas.figure.axes) == 4  # a class each
    panel.what.setCurrentText(PAIRS)
    assert len(panel.canvas.figure.axes) == 3
    panel.what.setCurrentText(CLASS_PAIRS)
    assert len(panel.canvas.figure.axes) > 5
    panel.what.setCurrentText(CLUSTERS)
    panel.image.setCurrentText("second")
    assert len(panel.canvas.figure.axes) == 3
    panel.viewer.theme = "light"
    assert len(panel.canvas.figure.axes) == 3
    monkeypatch.setattr(panel_module, "ask_folder", lambda *_: tmp_path)
    panel.export()
    for name in TABLES:
        assert set(pd.read_csv(tmp_path / f"{name}.csv")["image"]) == {"first", "second", "all"}
    asked = answers(monkeypatch, None)  # files are there: nothing is overwritten unasked
    (tmp_path / "clusters.csv").write_text("mine")
    panel.export()
    assert len(asked) == 1
    assert (tmp_path / "clusters.csv").read_text() == "mine"


def test_without_a_detection_it_says_what_to_do(qtbot, monkeypatch):
    said = errors(monkeypatch)
    widget = DetectWidget(ViewerModel())
    qtbot.addWidget(widget)
    widget.patterns_panel.run()
    assert NOTHING in (*said, widget.patterns_panel.bar.status.text())


def test_what_was_compared_before_a_correction_is_told_and_written_only_if_asked_for(
    qtbot, detected, tmp_path, monkeypatch
):
    viewer, _, panel = detected
    monkeypatch.setattr(panel_module, "ask_folder", lambda *_: tmp_path)
    panel.run()
    finish(qtbot, BarOf(panel))
    assert panel.current and panel.bar.status.text() != STALE
    defects = viewer.layers["second · defects"]
    editor = editor_of(defects)
    defects.selected_data = {0}
    old = defects.features["class"].iloc[0]
    assert editor.relabel("DV" if old != "DV" else "SV") == 1
    assert panel.bar.status.text() == STALE and not panel.current
    asked = answers(monkeypatch, None, WRITE_OLD)
    panel.export()
    assert len(asked) == 1 and not list(tmp_path.iterdir())
    panel.export()
    assert len(list(tmp_path.iterdir())) == len(TABLES)
    panel.run()
    finish(qtbot, BarOf(panel))
    assert panel.current and panel.bar.status.text() != STALE
