"""Noise of windows: the line through variance and mean, and where there is none."""

import numpy as np
import pytest

from napari_defectstrain.columns.noise import NoiseModel, counting_noise, fit_noise
from napari_defectstrain.types import DefectStrainError


def windows_scatter(
    mean: np.ndarray, noise: NoiseModel, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Empirical variance of n windows with Gaussian noise of this variance."""
    return noise.variance(mean) * rng.chisquare(n - 1, mean.shape) / (n - 1)


def test_the_line_of_counts_and_read_noise_is_found() -> None:
    rng = np.random.default_rng(1)
    truth = NoiseModel(0.01, 0.04, 0.0)
    means = {"2Se": rng.uniform(0.1, 1.1, 8000), "DV": rng.uniform(0.1, 1.1, 8000)}
    n = {"2Se": 50, "DV": 5}
    variances = {name: windows_scatter(means[name], truth, n[name], rng) for name in means}
    found = fit_noise(means, variances, n)
    # 8000 pixels of 49 degrees of freedom: a median to 1.25 sqrt(2 / 49 / 8000) = 0.3 %; the line
    # at its ends a few times that
    x = np.array([0.1, 1.1])
    np.testing.assert_allclose(found.variance(x), truth.variance(x), rtol=0.03)
    # a tenth of the pixels scatters ten times as much: medians hardly care
    for name in means:
        variances[name][::10] *= 10.0
    np.testing.assert_allclose(
        fit_noise(means, variances, n).variance(x), truth.variance(x), rtol=0.08
    )


def test_even_noise_stays_even() -> None:
    rng = np.random.default_rng(2)
    mean = rng.uniform(0.0, 1.0, 5000)
    variance = windows_scatter(mean, NoiseModel(0.3, 0.0, 0.0), 20, rng)
    found = fit_noise({"2Se": mean}, {"2Se": variance}, {"2Se": 20})
    np.testing.assert_allclose(found.variance(np.array([0.0, 1.0])), 0.3, rtol=0.03)
    # a variance that falls with the mean is no counting noise
    falling = fit_noise({"2Se": mean}, {"2Se": 0.3 - 0.2 * mean}, {"2Se": 20})
    assert falling.beta == 0.0


def test_a_dark_level_moves_the_line_and_no_variance_is_negative() -> None:
    mean = np.linspace(0.5, 1.5, 3000)
    found = fit_noise({"2Se": mean}, {"2Se": 0.1 * (mean - 0.5)}, {"2Se": 10**6})
    assert found.alpha == pytest.approx(-0.05, rel=0.02)
    assert found.beta == pytest.approx(0.1, rel=0.02)
    assert found.variance(np.array([-3.0, 0.0, 0.5])).min() == pytest.approx(0.005, rel=0.05)


def test_where_windows_tell_nothing_there_is_no_noise() -> None:
    mean = np.linspace(0.0, 1.0, 100)
    lone = fit_noise({"DV": mean}, {"DV": np.full(100, np.nan)}, {"DV": 1})
    exact = fit_noise({"SV": mean}, {"SV": np.zeros(100)}, {"SV": 400})
    assert lone.silent and exact.silent
    # beside others, a single window has theirs
    both = {"DV": np.full(100, np.nan), "SV": np.full(100, 0.2)}
    assert not fit_noise({"DV": mean, "SV": mean}, both, {"DV": 1, "SV": 9}).silent


def test_counts_are_poisson() -> None:
    noise = counting_noise(40.0, read_noise=0.1)
    drawn = np.random.default_rng(3).poisson(40.0 * 0.7, 200_000) / 40.0
    # 200 000 draws: a variance to 0.3 %
    expected = np.var(drawn) + 0.01
    assert float(noise.variance(np.array(0.7))) == pytest.approx(expected, rel=0.015)
    with pytest.raises(DefectStrainError, match="expected positive counts"):
        counting_noise(0.0)
