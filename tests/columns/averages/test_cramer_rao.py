"""The Cramér-Rao bound: its closed form, its order, and fits that reach it."""

from dataclasses import replace

import exact_images as exact
import numpy as np
import pytest

from napari_defectstrain.columns.averages.cramer_rao import (
    average_bounds,
    isolated_bound,
    single_parameter_bound,
)
from napari_defectstrain.columns.averages.measure import ColumnConfig, ColumnFitModel, fit_columns
from napari_defectstrain.columns.noise import counting_noise
from napari_defectstrain.columns.profiles import gaussian_profile
from napari_defectstrain.types import ClassAverage, DefectStrainError

COUNTS = 60.0
N = {"2Se": 200, "SV": 120}


def average(name: str, image: np.ndarray, sem: np.ndarray) -> ClassAverage:
    return ClassAverage(name, image, sem, N[name], 0, exact.STEP_PM, exact.A_PM, 1.0)


def counted(name: str, image: np.ndarray, rng: np.random.Generator) -> ClassAverage:
    """The average of N windows of Poisson counts, and their scatter."""
    total = rng.poisson(image * COUNTS * N[name])
    variance = image / COUNTS * rng.chisquare(N[name] - 1, image.shape) / (N[name] - 1)
    return average(name, total / (COUNTS * N[name]), np.sqrt(variance / N[name]))


@pytest.fixture(scope="module")
def truth() -> dict[str, ColumnFitModel]:
    images = {name: exact.average_image(name, 61) for name in N}
    return fit_columns({n: average(n, i, np.zeros_like(i)) for n, i in images.items()})


def test_an_isolated_gaussian_has_the_closed_form() -> None:
    profile = gaussian_profile(50.0)
    bound = isolated_bound(profile, 2500.0, 10.0, offset_pm=(3.0, -2.0))
    # pixels a fifth of the width: their sum is the integral; its tails beyond 1e-6 of the peak
    # weigh less than they should
    np.testing.assert_allclose(bound, single_parameter_bound(50.0, 2500.0), rtol=1e-3)
    assert single_parameter_bound(50.0, 2500.0) == 1.0
    # with an even background b that dominates, F = w^2 / (8 pi sigma^4 b) for density b
    dim = isolated_bound(profile, 1.0, 10.0, background_counts=50.0)
    expected = np.sqrt(8 * np.pi * 50.0**4 * 50.0 / 10.0**2)
    np.testing.assert_allclose(dim, expected, rtol=1e-3)
    # read noise of variance b is as good as a background b
    read = isolated_bound(profile, 1.0, 10.0, read_noise_counts=np.sqrt(50.0))
    np.testing.assert_allclose(read, dim, rtol=1e-3)


@pytest.mark.slow
def test_bounds_fall_with_the_number_and_rise_with_what_is_unknown(
    truth: dict[str, ColumnFitModel],
) -> None:
    noise = counting_noise(COUNTS)
    learnt = average_bounds(truth, N, noise)
    known = average_bounds(truth, N, noise, learnt=False)
    four = average_bounds(truth, {n: 4 * k for n, k in N.items()}, noise)
    noisier = average_bounds(truth, N, counting_noise(COUNTS, read_noise=0.2))
    for name in N:
        np.testing.assert_allclose(four[name], 0.5 * learnt[name], rtol=1e-9)
        # equal where the crystal's mirror planes hide the profile from a coordinate
        assert np.all(known[name] <= learnt[name] * (1 + 1e-9))
        assert np.any(known[name] < 0.999 * learnt[name])
        assert np.all(learnt[name] < noisier[name])
        # the empty field has less to disturb than the crystal: its bound is lower
        fits, structure, profile = truth[name].fits, truth[name].structure, truth[name].profile
        assert structure is not None and profile is not None
        integral = structure.state.weight * structure.profile.coefficient[0]  # [pm^2]
        counts = integral[structure.shown][fits.is_metal].mean() * COUNTS * N[name] / 400.0
        alone = isolated_bound(profile, float(counts), exact.STEP_PM)
        assert np.all(known[name][fits.is_metal] > alone)


@pytest.mark.slow
def test_fits_of_counts_reach_the_bound(truth: dict[str, ColumnFitModel]) -> None:
    bound = average_bounds(truth, N, counting_noise(COUNTS))
    images = {name: exact.average_image(name, 61) for name in N}
    config = ColumnConfig(n_coefficients=8)
    errors: dict[str, list[np.ndarray]] = {name: [] for name in N}
    for rng in np.random.default_rng(4).spawn(24):
        found = fit_columns({n: counted(n, i, rng) for n, i in images.items()}, config)
        for name in N:
            errors[name].append(found[name].fits.position_pm)
    ratio = np.concatenate(
        [(np.std(e, axis=0, ddof=1) / bound[name]).ravel() for name, e in errors.items()]
    )
    # 24 seeds of 52 coordinates, neighbours correlated: 2-3 %. Aimed at is 1.05; a little less
    # than 1 is possible, for the prior holds the profile
    assert 0.9 < np.sqrt(np.mean(ratio**2)) < 1.05 + 0.03


def test_a_bound_needs_noise_and_a_model(truth: dict[str, ColumnFitModel]) -> None:
    with pytest.raises(DefectStrainError, match="has no noise"):
        average_bounds(truth, N)
    with pytest.raises(DefectStrainError, match="got single Gaussians"):
        average_bounds({"SV": replace(truth["SV"], structure=None)}, N, counting_noise(1.0))
    with pytest.raises(DefectStrainError, match="expected positive counts"):
        isolated_bound(gaussian_profile(50.0), 0.0, 10.0)
    with pytest.raises(DefectStrainError, match="expected at least 0"):
        isolated_bound(gaussian_profile(50.0), 10.0, 10.0, background_counts=-1.0)
    with pytest.raises(DefectStrainError, match="expected both positive"):
        single_parameter_bound(-1.0, 10.0)
