"""Files that this version wrote, kept as they were: every later version reads them.

Studies are kept in ``study/kept``. A file that a later version writes otherwise joins these, under
another name; none of them is made anew.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from look_stage import known_look
from napari.components import ViewerModel
from napari.layers import Layer

from napari_defectstrain.cli.main import main
from napari_defectstrain.crystal import read_regions
from napari_defectstrain.io import read_images, read_settings, read_sites
from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline import RunConfig
from napari_defectstrain.teaching import read_taught
from napari_defectstrain.trials import read_look
from napari_defectstrain.widgets.layers.layer_files import read_records
from napari_defectstrain.widgets.layers.records import settle_all, tuple_of, with_new_ids
from napari_defectstrain.widgets.layers.regions import regions_of
from napari_defectstrain.widgets.layers.sites import corrected_planes, kind, layer_by_id, note

KEPT = Path(__file__).parent / "kept"

COLUMNS = 83


def test_they_are_small():
    assert sum(path.stat().st_size for path in KEPT.rglob("*") if path.is_file()) < 250_000


def test_an_image_with_its_columns_and_regions():
    (image,) = read_images(KEPT / "region.tif")
    assert image.data.shape == (96, 96) and image.pixel_size_pm == pytest.approx(20.74)
    sites = read_sites(KEPT / "region.sites.csv", WSE2.class_names)
    assert len(sites) == COLUMNS
    assert (sites.source == "model").all()
    regions = read_regions(KEPT / "region.regions.tif", sites)
    assert (regions.area_px(1), regions.area_px(101)) == (96 * 80, 96 * 16)


def test_an_average_with_all_that_is_said_of_it():
    (average,) = read_images(KEPT / "average_SV.tif")
    assert average.data.shape == (101, 101) and average.pixel_size_pm == pytest.approx(20.0)
    about = average.metadata
    assert (about["class"], about["n"], about["origin_px"]) == ("SV", 2, [50.0, 50.0])
    assert about["lattice_pm"] == pytest.approx(329.229335)
    RunConfig.from_dict(about["parameters"])


def test_the_settings_of_a_run():
    config = RunConfig.from_dict(read_settings(KEPT / "run.json")["parameters"])
    assert (config.material, config.bootstrap, config.average.window_nm) == ("WSe2", 50, 2.0)
    assert (config.columns.model, config.columns.compare) == ("gaussian", False)


def test_the_settings_of_a_simulation_make_a_series_again(tmp_path):
    words = ["simulate", "--config", str(KEPT / "simulation.json"), "--out", str(tmp_path / "a")]
    assert main(words) == 0
    frames = read_images(tmp_path / "a" / "simulated_1.tif")
    assert [frame.data.shape for frame in frames] == [(64, 64)] * 3
    again = read_settings(tmp_path / "a" / "simulation.json")["series"]
    assert (again["frames"], again["changes"]) == (3, ["2Se:SV=0.02"])


def test_a_look():
    kept, known = read_look(KEPT / "look.json"), known_look()
    assert kept.notes == known.notes
    pairs = zip(kept.columns.weights, known.columns.weights, strict=True)
    for one, other in pairs:
        assert one.value == pytest.approx(
            other.value, rel=0.03
        )  # as it was learnt then: fits have become truer since


def test_what_was_taught(tmp_path):
    shutil.copytree(KEPT / "mine.taught", tmp_path / "mine.taught")
    taught = read_taught(tmp_path / "mine.taught")
    assert taught.judge.learnt.mean == (0.7, 1.1, 1.4, 0.3, 0.02)
    assert taught.judge.learnt.thresholds == (0.5, 0.4, 0.3, 0.5)
    assert taught.judge.learnt.strangers[0].weight == 0.43
    assert [(one.name, one.corrections) for one in taught.images] == [("one", 12)]
    assert [step.taken for step in taught.steps] == [True, False]


def test_layers_of_napari_with_their_ties():
    viewer = ViewerModel()
    records = with_new_ids(read_records(KEPT / "region.layers.zip"))
    for record in records:
        viewer.add_layer(Layer.create(*tuple_of(record)))
    settle_all(viewer, records)
    assert len(viewer.layers) == 4
    (defects,) = [layer for layer in viewer.layers if kind(layer) == "defects"]
    image = layer_by_id(viewer, note(defects)["image"])
    assert image.name == "region" and image.colormap.name == "magma"
    np.testing.assert_allclose(image.translate, (500.0, 100.0))
    (sites,) = corrected_planes(viewer, defects)
    assert len(sites) == COLUMNS
    assert regions_of(viewer, defects).data.shape == (96, 96)
