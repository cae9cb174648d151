"""Probe widths by the lattice's own reflections, and groups of images that are alike."""

import numpy as np
import pytest
from synthetic_lattice import HEIGHTS
from window_stage import A_PM, FRAME, column, noise, perfect

from napari_defectstrain.averages.probe_width import (
    USUAL_PM,
    group_widths,
    image_widths,
    lattice_offset,
    probe_widths,
)
from napari_defectstrain.crystal.lattice import ideal_sites
from napari_defectstrain.types import ClassStack, DefectStrainError


@pytest.mark.slow
def test_a_gaussian_column_has_its_own_width_whatever_background_and_brightness():
    windows = np.stack([perfect(1, 47.0), 2.5 * perfect(1, 47.0) + 0.3, perfect(1, 55.0)])
    tilted = windows + 1e-4 * FRAME.position_pm[:, :, 0]
    index = np.repeat([0, 1, 2], 3)
    found = probe_widths(np.repeat(tilted, 3, axis=0), index, 3, FRAME, 0.07, 1)
    # Orders beyond the third, of 1e-4 of the first, leak through the rim of the disc
    assert found.sigma_pm == pytest.approx([47.0, 47.0, 55.0], abs=0.05)
    assert found.group.tolist() == [0, 0, 1]


@pytest.mark.parametrize("offset", [(0.0, 0.0), (2.2, -1.3), (-20.0, 15.0)])
def test_a_lattice_beside_its_sites_is_found_there(offset):
    site, is_metal = ideal_sites(A_PM, 2200.0)
    height = np.where(is_metal, HEIGHTS[0], HEIGHTS[1])
    window = sum(h * column(place + offset) for h, place in zip(height, site, strict=True))
    tilted = window + 1e-4 * FRAME.position_pm[:, :, 0] + 0.3
    assert lattice_offset(tilted, FRAME) == pytest.approx(offset, abs=0.02)


@pytest.mark.slow
def test_the_error_is_that_of_the_scatter():
    rng = np.random.default_rng(0)
    windows = perfect(1) + noise(1500, rng)
    found = probe_widths(windows, np.repeat(np.arange(50), 30), 50, FRAME, 0.07, 1)
    # The scatter of 50 widths is known to 10 %
    assert np.std(found.sigma_pm) == pytest.approx(found.error_pm.mean(), rel=0.3)
    assert found.sigma_pm.mean() == pytest.approx(47.0, abs=4 * found.error_pm.mean() / np.sqrt(50))
    # 30 windows at the paper's noise tell 1 %, a tenth of 95 from 105 pm of source
    assert (found.error_pm < 0.2).all()


@pytest.mark.slow
def test_images_without_windows_are_unknown_and_join_the_largest_group():
    rng = np.random.default_rng(1)
    windows = np.concatenate(
        [perfect(1, s) + noise(n, rng) for s, n in ((45.0, 10), (55.0, 20), (47.0, 2))]
    )
    found = probe_widths(windows, np.repeat([0, 1, 3], [10, 20, 2]), 4, FRAME, 0.07, 5)
    assert np.isnan(found.sigma_pm).tolist() == [False, False, True, True]
    assert found.group.tolist() == [0, 1, 1, 1]
    assert found.typical_pm == pytest.approx(50.0, abs=0.5)


@pytest.mark.parametrize(
    ("sigma", "count", "expected"),
    [
        ([50, 51, 52], [99] * 3, [0, 0, 0]),
        ([60, 50, 61, 51], [99] * 4, [1, 0, 1, 0]),
        # 50 to 54 is more than 7 %: cut at the largest gap
        ([50, 51, 53.4, 54], [99] * 4, [0, 0, 1, 1]),
        # a group of few joins the nearer one
        ([50, 60, 63], [99, 5, 99], [0, 1, 1]),
        ([50, 60, 63, 70], [99, 5, 5, 99], [0, 1, 1, 2]),
        ([40, 60], [5, 99], [0, 0]),
        ([np.nan, 50, 60, 60.5], [0, 10, 10, 10], [1, 0, 1, 1]),
        ([np.nan, np.nan], [0, 0], [0, 0]),
    ],
)
def test_groups_are_cut_at_gaps(sigma, count, expected):
    found = group_widths(np.array(sigma, dtype=float), np.array(count), 0.07, 10)
    assert found.tolist() == expected


def test_a_tolerance_of_zero_is_refused():
    with pytest.raises(DefectStrainError, match="got a tolerance of 0"):
        group_widths(np.array([50.0]), np.array([9]), 0.0, 1)


@pytest.mark.slow
def test_a_stack_tells_the_widths_of_its_images():
    rng = np.random.default_rng(2)
    windows = perfect(1) + noise(12, rng)
    n = len(windows)
    stack = ClassStack(
        "2Se",
        windows,
        FRAME.step_pm,
        FRAME.a_pm,
        np.repeat([0, 2], 6),
        np.arange(n),
        np.zeros((n, 2)),
        np.zeros((n, 2)),
        np.ones(n),
        np.ones(n, dtype=bool),
        np.full(n, ""),
        group=np.repeat([1, 0], 6),
    )
    found = image_widths(stack, 3)
    assert found.sigma_pm[[0, 2]] == pytest.approx(47.0, abs=1.0)
    assert np.isnan(found.sigma_pm[1]) and found.group.tolist() == [1, 0, 0]
    nothing = image_widths(None, 2)
    assert np.isnan(nothing.sigma_pm).all() and nothing.typical_pm == USUAL_PM
