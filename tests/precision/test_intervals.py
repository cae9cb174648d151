"""Intervals of few windows: Student's, with the degrees of freedom that there are."""

from dataclasses import replace

import numpy as np
import pytest
from class_stage import measurement
from scipy.stats import t as student

from napari_defectstrain.precision.budget import ErrorBudget, _scatter_and_freedom
from napari_defectstrain.precision.budget_parts import Pair
from napari_defectstrain.precision.spacings import mean_spacing


def budget(scatter: float, freedom: float, systematic: float) -> ErrorBudget:
    none = np.zeros((1, 2))
    return ErrorBudget(
        "SV",
        none,
        none,
        {"model": none},
        scatter,
        {"model": systematic},
        strain_scatter=scatter,
        strain_freedom=freedom,
    )


def test_few_windows_have_wide_intervals():
    alone = budget(1.0, 2.0, 0.0)
    assert alone.half_width(0.95) == pytest.approx(4.303, abs=1e-3)
    assert alone.half_width(0.68) == pytest.approx(1.312, abs=1e-3)


def test_what_is_known_beside_narrows_them():
    # half the variance is known: 8 degrees of freedom instead of 2
    both = budget(1.0, 2.0, 1.0)
    assert both.half_width(0.95) == pytest.approx(np.sqrt(2) * student.ppf(0.975, 8.0))
    assert budget(0.0, 2.0, 1.0).half_width(0.95) == pytest.approx(1.96, abs=1e-3)
    assert np.isnan(budget(np.nan, np.nan, 1.0).half_width(0.95))


def test_degrees_of_freedom_are_between_those_of_the_parts_and_their_sum():
    assert _scatter_and_freedom([(1.0, 3), (0.0, 100)]) == (1.0, 2.0)
    assert _scatter_and_freedom([(1.0, 11), (1.0, 11)]) == (2.0, 20.0)


def drawn(name, strain, n, rng):
    """A measured class whose windows err by chance, and its average with them."""
    one = measurement(name, strain, n, rng)
    error = rng.normal(0.0, 4.0, one.influence_pm.shape)
    mean = error.mean(axis=0)
    position = one.fits.position_pm + mean.reshape(-1, 2)
    return replace(one, fits=replace(one.fits, position_pm=position), influence_pm=error - mean)


@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_intervals_cover_as_they_say(n):
    rng, count, true = np.random.default_rng(n), 800, -0.048
    inside = []
    for _ in range(count):
        own, base = drawn("SV", true, n, rng), drawn("2Se", 0.0, 40, rng)
        pair = Pair.of(own, base)
        variance, freedom = _scatter_and_freedom(pair.strain_variances(own, base))
        told = budget(np.sqrt(variance), freedom, 0.0)
        away = mean_spacing(own.fits) / mean_spacing(base.fits) - 1.0 - true
        inside.append([abs(away) < told.half_width(level) for level in (0.68, 0.95)])
    cover = np.mean(inside, axis=0)
    for found, level in zip(cover, (0.68, 0.95), strict=True):
        assert found == pytest.approx(level, abs=3 * np.sqrt(level * (1 - level) / count))
