import shutil

import numpy as np
import pytest
from study_stage import columns, moved, picture, small_study

from napari_defectstrain import open_study
from napari_defectstrain.crystal import label_regions
from napari_defectstrain.io import write_json
from napari_defectstrain.study import Answer, WeightsRecord, status_of, status_text
from napari_defectstrain.types import DefectStrainError


def about(study):
    return dict(status_of(study).about)


def test_it_says_what_is_there_and_what_was_done(tmp_path):
    with small_study(tmp_path) as study:
        study.set_weights(WeightsRecord("bundled", "d" * 64))
        study.record("image_1", moved(study.sites("image_1"), 4))
        study.set_regions("image_0", label_regions(np.ones((64, 64), dtype=np.uint8), None))
        study.add_images([picture(tmp_path / "new.tif", 5)])
        found = status_of(study)
        table = found.images.set_index("image")
        assert list(table.index) == ["image_0", "image_1", "new"]
        assert table.loc["image_1", "edited"] == 1
        assert table.loc["image_0", "regions"] == "manual"
        assert table.loc["image_0", "columns"] == 30
        assert table["columns"].isna().tolist() == [False, False, True]
        assert set(table["file"]) == {"there"}
        assert set(table["measured"]) == {"no"}
        assert about(study)["weights"] == "bundled (dddddddddddd)"
        assert about(study)["by hand"].startswith("1 of columns, 1 of regions, the last on 20")
        assert about(study)["results"] == "none yet"
        assert about(study)["open"] == "here"
        text = status_text(found)
        assert "image_1" in text
        assert "<NA>" not in text
        with open_study(study.path, read_only=True) as reading:
            assert "(process " in about(reading)["open"]
    with open_study(study.path, read_only=True) as reading:
        assert about(reading)["open"] == "by nobody"


def test_it_says_whether_the_results_know_the_last_edit(tmp_path):
    with small_study(tmp_path) as study:
        study.results.mkdir()
        images = [{"name": "image_0"}]
        failed = [{"name": "image_1", "reason": "image_1: no lattice"}]
        manifest = {"images": images, "failed": failed, "warnings": ["doubtful"]}
        write_json(study.results / "run.json", manifest)
        study.note_measured(["image_0"])
        found = status_of(study)
        assert dict(found.about)["results"] == "up to date"
        assert found.images["measured"].tolist() == ["yes", "no"]
        assert found.warnings == ("left out: image_1: no lattice", "doubtful")
        study.record("image_0", moved(study.sites("image_0"), 4))
        assert about(study)["results"] == "1 edit since: run the study again"


def test_it_warns_of_images_that_are_gone_or_changed(tmp_path):
    with small_study(tmp_path) as study:
        (tmp_path / "image_0.tif").unlink()
        picture(tmp_path / "image_1.tif", seed=8)
        found = status_of(study, trust_times=False)
        assert found.images["file"].tolist() == ["missing", "changed"]
        assert [warning.rpartition(": ")[2] for warning in found.warnings] == [
            "is gone, moved or renamed",
            "was changed",
        ]


def test_a_folder_that_was_taken_away_is_named(tmp_path):
    study = small_study(tmp_path)
    sites = study.sites("image_0")
    shutil.move(study.path, tmp_path / "elsewhere.defectstrain")
    with pytest.raises(DefectStrainError, match="the study's folder is gone"):
        study.record("image_0", moved(sites, 3))
    shutil.move(tmp_path / "elsewhere.defectstrain", study.path)
    assert study.record("image_0", moved(sites, 3)) is not None


def test_the_first_answer_gives_the_weights_and_others_are_said(tmp_path):
    with small_study(tmp_path) as study:
        assert study.weights is None
        study.set_sites("image_0", columns(20), Answer(weights_sha256="a" * 64))
        assert study.weights == WeightsRecord("bundled", "a" * 64)
        assert status_of(study).warnings == ()
        study.set_sites("image_1", columns(20), Answer(weights_sha256="b" * 64))
        assert study.weights.sha256 == "a" * 64
        (warning,) = status_of(study).warnings
        assert warning.startswith("image_1: its columns were found by other weights (bbbbbbbbbbbb)")
