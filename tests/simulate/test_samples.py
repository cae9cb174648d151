"""Samples that a wheel leaves out: made from their seed when they are wanted, then kept."""

import numpy as np
import pytest

from napari_defectstrain.io.files import read_file
from napari_defectstrain.simulate import samples
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image
from napari_defectstrain.types import DefectStrainError


@pytest.fixture
def small(monkeypatch):
    """A sample that no package carries, and how often it was made."""
    made = []

    def make(rng):
        made.append("small")
        config = SimulationConfig(scan=ScanConfig(shape=(64, 64), frames=1))
        yield simulate_image(config, rng, "small")

    monkeypatch.setitem(samples.SAMPLES, "small", samples.Sample(7, "for this test", make))
    return made


def test_a_bundled_sample_is_not_made_again(tmp_path):
    path = samples.sample_image("dose_series", tmp_path)
    assert path.parent.name == "sample_data"
    assert not list(tmp_path.iterdir())


def test_a_sample_left_out_is_made_once_and_kept(small, tmp_path):
    kept = tmp_path / "not" / "there yet"
    path = samples.sample_image("small", kept)
    assert path == kept / "small.tif"
    assert (kept / "small.truth.csv").is_file()
    first = read_file(path).data
    assert samples.sample_image("small", kept) == path
    assert small == ["small"]
    # the seed decides: what was made again holds the same counts
    samples.write_sample("small", lambda name: tmp_path / name)
    np.testing.assert_array_equal(read_file(tmp_path / "small.tif").data, first)


def test_a_sample_that_was_broken_off_is_made_again(small, tmp_path):
    (tmp_path / "small.tif").write_bytes(b"II*")  # no truth: it is written last
    assert read_file(samples.sample_image("small", tmp_path)).data.shape == (64, 64)
    assert small == ["small"]


def test_where_nothing_can_be_kept_the_way_out_is_named(small, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DefectStrainError, match="defectstrain simulate --sample small"):
        samples.sample_image("small", tmp_path / "file" / "folder")
    assert not small
