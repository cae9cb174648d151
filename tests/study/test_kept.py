"""Studies that earlier versions wrote, kept as they were: every later version opens them."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_defectstrain import open_study
from napari_defectstrain.study import WeightsRecord

KEPT = Path(__file__).parent / "kept"


@pytest.fixture(params=sorted(KEPT.glob("*.defectstrain")), ids=lambda path: path.stem)
def kept(request, tmp_path):
    """A study of an earlier version, open for writing in a copy."""
    folder = tmp_path / request.param.name
    shutil.copytree(request.param, folder)
    with open_study(folder) as study:
        yield study


def test_they_are_small():
    assert sum(path.stat().st_size for path in KEPT.rglob("*") if path.is_file()) < 150_000


def test_everything_is_there(kept):
    assert not kept.read_only
    assert kept.images == ("image_0", "image_1")
    assert (kept.config.seed, kept.config.bootstrap, kept.config.material) == (7, 100, "WSe2")
    assert kept.weights == WeightsRecord("bundled", "c" * 64)
    assert kept.window == {"viewer": {"camera": {"zoom": 2.0}}, "plots": {"spacings": {"bins": 20}}}
    images, _ = kept.load_images()
    assert [image.data.shape for image in images] == [(48, 48)] * 2
    assert [image.pixel_size_pm for image in images] == [12.0] * 2


def test_columns_come_with_their_corrections(kept):
    model, found = kept.model_sites("image_0"), kept.sites("image_0")
    assert len(model) == len(found) == 16  # one added, one removed
    assert kept.edited_columns("image_0") == 4
    by_hand = found.source == "manual"
    assert by_hand.sum() == 3
    told = zip(found.position_px[by_hand], found.class_name[by_hand], strict=True)
    added = [(tuple(where), name) for where, name in told if tuple(where) == (20.0, 7.5)]
    assert added == [((20.0, 7.5), "SV")]
    assert "DV" in found.class_name[by_hand]
    np.testing.assert_allclose(found.position_px[2], model.position_px[3] + (0.5, -0.25))
    assert kept.answer_of("image_0").warnings == ("doubtful",)
    assert kept.answer_of("image_0").overconfidence == (1.0,) * 7
    assert kept.edited_columns("image_1") == 0


def test_regions_windows_and_history_do_too(kept):
    regions = kept.regions("image_0")
    assert kept.regions_by("image_0") == "manual"
    assert (regions.area_px(1), regions.area_px(253)) == (1980, 4 * 45)
    assert (regions.domains[0].orientation_deg, regions.domains[0].sense) == (12.5, 1)
    assert sorted((w.class_name, w.image, w.included) for w in kept.windows) == [
        ("SV", "image_0", False),
        ("SV", "image_0", True),
    ]
    history = kept.history()
    assert [edit.number for edit in history[:12]] == list(range(1, 13))
    assert {edit.user for edit in history[:12]} == {"anna", "bert"}
    assert len(kept.history_table()) >= 12


def test_work_goes_on(kept):
    sites = kept.sites("image_1")
    kept.record("image_1", sites.subset(np.arange(len(sites)) != 2))
    kept.close()
    with open_study(kept.path) as again:
        assert len(again.sites("image_1")) == 15
