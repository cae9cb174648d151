"""*Simulate my image* in the train widget: shown beside it, used for training, saved."""

import json

import numpy as np
import pytest
from napari.components import ViewerModel
from small_alloy import true_sites
from widget_stage import PIXEL_PM, add_region, finish

from napari_defectstrain.output.figures import files as figure_files
from napari_defectstrain.pipeline import chain
from napari_defectstrain.trials import read_look
from napari_defectstrain.widgets.base import worker
from napari_defectstrain.widgets.train import imitating as imitating_module
from napari_defectstrain.widgets.train.widget import TrainWidget


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "settings" / "widgets.json"))


def test_an_image_is_imitated_shown_used_and_saved(qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr(figure_files, "DPI", 50)
    viewer = ViewerModel()
    made, layer = add_region(viewer, size=288)

    def find(images, run, **more):
        return chain.detect(images, run, sites=[true_sites(made)])

    monkeypatch.setattr(imitating_module, "detect", find)
    widget = TrainWidget(viewer)
    qtbot.addWidget(widget)
    part = widget.imitating
    told = []
    monkeypatch.setattr(worker, "tell_of_end", lambda _, what, seconds: told.append(what))
    assert not part.differences.use.isEnabled()
    part.button.click()
    finish(qtbot, widget)
    assert told == ["Simulate my image"]
    assert "differ by no more than chance" in widget.run_bar.status.text()
    shown = viewer.layers["region: simulated"]
    assert shown.data.shape == layer.data.shape
    assert tuple(shown.contrast_limits) == tuple(layer.contrast_limits)
    # beside it, not on top of it
    assert shown.translate[1] >= 288 * PIXEL_PM
    assert np.median(shown.data) == pytest.approx(np.median(layer.data), rel=0.15)
    assert part.differences.rows.rowCount() > 20
    assert len(part.differences.canvas.figure.axes) == 3
    assert widget.own.image.layer is layer

    before = widget.config().conditions
    part.differences.use.click()
    conditions = widget.config().conditions
    low, high = conditions.pixel_size_pm
    assert low < PIXEL_PM < high
    assert high < before.pixel_size_pm[1]
    # what there are no controls of is taken, too
    assert conditions.contamination_nm != before.contamination_nm
    assert conditions.correlated != before.correlated

    monkeypatch.setattr(imitating_module, "ask_folder", lambda *_: tmp_path / "sample")
    part._drawn += 1  # another click, whose run was cancelled
    part.differences.save.click()
    finish(qtbot, widget)
    written = {p.name for p in (tmp_path / "sample").iterdir()}
    assert {"region_like_1.tif", "region_like_1.truth.csv", "look.json", "training.json"} <= written
    assert read_look(tmp_path / "sample" / "look.json").images == ("region",)
    settings = json.loads((tmp_path / "sample" / "imitation.json").read_text())
    assert settings["imitation"]["seed"] == 1000  # of the images that are written
    told = json.loads((tmp_path / "sample" / "training.json").read_text())
    assert told["conditions"]["materials"] == ["WSe2"]


def test_without_an_image_it_says_what_to_do(qtbot):
    widget = TrainWidget(ViewerModel())
    qtbot.addWidget(widget)
    widget.imitating.button.click()
    assert "open one" in widget.run_bar.status.text()


def test_settings_without_controls_go_with_the_material(qtbot):
    widget = TrainWidget(ViewerModel())
    qtbot.addWidget(widget)
    usual = widget.config().conditions
    widget.conditions.set(usual.replace(patchiness=(0.3, 0.4)))
    assert widget.config().conditions.patchiness == (0.3, 0.4)
    widget.conditions.material.setCurrentText("MoS2")
    assert widget.config().conditions.patchiness == usual.patchiness
