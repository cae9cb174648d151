"""A self-test finds in an image what was built in, and nothing where nothing was."""

import numpy as np
import pandas as pd
import pytest
from small_alloy import SHARED_PROFILE, simulated, true_sites

from napari_defectstrain.averages.average import AverageConfig
from napari_defectstrain.averages.patches import find_patches
from napari_defectstrain.columns import ImageColumnConfig, ImageColumns
from napari_defectstrain.columns.images.types import NoiseModel
from napari_defectstrain.crystal.overlaps import Overlap
from napari_defectstrain.pipeline import chain, selftest
from napari_defectstrain.pipeline.class_measurement import measure_classes
from napari_defectstrain.pipeline.few_windows import with_probe
from napari_defectstrain.pipeline.selftest import (
    SHIFTED,
    SelfTestConfig,
    _of_originals,
    _overlaps_among,
    pulls_text,
    self_test,
)
from napari_defectstrain.trials.known_fields import (
    SEPARATION_A,
    choose_places,
    known_displacement,
    left_for_reference,
)
from napari_defectstrain.types import DefectStrainError

A_PM = 330.0


@pytest.fixture(scope="module")
def found():
    made = simulated(seed=4, size=448, fractions=(0.01, 0.01, 0.02, 0.0))
    return chain.detect([made.image], SHARED_PROFILE, sites=[true_sites(made)])


def test_places_are_isolated_and_apart_and_leave_some_reference(found):
    patches = find_patches(found.images, found.sites, A_PM, found.regions)
    rng = np.random.default_rng(0)
    (places,) = choose_places(
        found.images, found.sites, patches, AverageConfig(window_nm=2.0), A_PM, (0.0, -0.05), rng
    )
    sites = found.sites[0]
    assert len(places.site_index) >= 6
    assert (sites.class_index[places.site_index] == 1).all()
    assert abs(np.diff(np.bincount(places.kind, minlength=2))[0]) <= 1
    gap = places.position_px[:, None] - places.position_px
    distance = np.hypot(gap[..., 0], gap[..., 1])[np.triu_indices(len(gap), 1)] * 20.74
    assert distance.min() > (SEPARATION_A - 0.1) * A_PM
    free = left_for_reference(places, sites, A_PM / 20.74)
    moved = np.hypot(*places.shift_px.T) > 0
    assert moved.sum() > 15
    kept = free & (sites.class_index == 1)
    kept[places.site_index] = False
    assert kept.sum() > 30
    assert not (kept & moved).any()


def test_the_metals_change_their_spacing_by_the_strain():
    angle = np.deg2rad([90.0, 210.0, 330.0])
    ring = A_PM / np.sqrt(3) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    moved = ring + known_displacement(ring, -0.048, A_PM)
    assert np.linalg.norm(moved[0] - moved[1]) == pytest.approx(A_PM * 0.952)
    far = np.array([[0.0, 2.5 * A_PM], [-900.0, 0.0]])
    np.testing.assert_array_equal(known_displacement(far, -0.048, A_PM), 0.0)


@pytest.mark.slow
def test_what_is_built_in_is_found(found, monkeypatch):
    measured = {}

    def measure(stacks, *rest):
        measured.update(stacks)
        return measure_classes(stacks, *rest)

    def probe(stacks, images, *rest):
        assert images == found.images  # their copies tell nothing new
        return with_probe(stacks, images, *rest)

    monkeypatch.setattr(selftest, "measure_classes", measure)
    monkeypatch.setattr(selftest, "with_probe", probe)
    config = SelfTestConfig(trials=(SHIFTED,), strains=(0.0, -0.048), windows=8, rounds=2)
    made = self_test(found, config)
    # copies have the noise of the one image, which is all that there is
    assert all((stack.image_index == 0).all() for stack in measured.values())
    strains = made.table[made.table["unit"] == "%"].set_index("class")
    assert list(strains["built_in"]) == [0.0, -4.8]
    assert (strains["n"] >= 3).all()
    # a dozen windows of a clean image: some tenths of a per cent
    assert (strains["sigma_total"] < 0.6).all()
    assert (strains["pull"].abs() < 3.5).all()
    assert abs(strains["found"].iloc[1] + 4.8) < 1.0
    shells = made.table[made.table["unit"] == "pm"]
    assert len(shells) == 10
    assert np.sqrt((shells["pull"] ** 2).mean()) < 2.5
    assert "root mean square" in pulls_text(made.table)


def test_too_few_places_are_said(found):
    wide = found.config.replace(average=AverageConfig(window_nm=8.5))
    small = chain.replace(found, config=wide)
    with pytest.raises(DefectStrainError, match="expected 3 for each"):
        self_test(small, SelfTestConfig(trials=(SHIFTED,)))


def test_a_fit_that_ended_on_the_way_is_said(found, monkeypatch):
    n = len(found.sites[0])
    none = np.zeros(n)
    fit = ImageColumns(
        found.sites[0].position_px,
        np.zeros((n, 2, 2)),
        *(none, none, none.astype(int), None),
        *(NoiseModel(1.0, 0.0), None, ImageColumnConfig()),
        converged=False,
    )
    monkeypatch.setattr(selftest, "columns_of_image", lambda *_: fit)
    monkeypatch.setattr(selftest, "_shifted", lambda *_: (pd.DataFrame(), ["moved"]))
    made = self_test(found, SelfTestConfig(trials=(SHIFTED,)))
    first, second = made.warnings
    assert first.startswith(f"{found.images[0].name}: the fit of all columns had not converged")
    assert second == "moved"


def test_windows_of_copies_are_of_the_image_that_was_copied(found):
    stack = chain.average_classes(found.images, found.sites, found.config)["2Se"]
    stack = chain.replace(stack, image_index=np.arange(stack.n) % 5)
    again = _of_originals(stack, [0, 1, 0, 1, 0])
    assert np.array_equal(again.image_index, stack.image_index % 5 % 2)


def test_overlaps_of_twins_name_the_images_that_have_one():
    """Images without a crystal have no twin: those after them are numbered anew."""
    matrix = np.eye(2, 3)
    overlaps = (Overlap(1, 2, matrix, 0.5), Overlap(0, 2, matrix, 0.1), Overlap(3, 1, matrix, 0.2))
    found = [(o.first, o.second, o.share) for o in _overlaps_among(overlaps, [1, 2, 3])]
    assert found == [(0, 1, 0.5), (2, 0, 0.2)]
