"""Intervals of few windows: Student's, with the degrees of freedom that there are."""

import numpy as np
import pytest
from class_stage import noisy
from scipy.stats import t as student

from napari_defectstrain.columns import ColumnConfig
from napari_defectstrain.pipeline import RunConfig, measure_spacings
from napari_defectstrain.precision import BudgetConfig, MakeupConfig
from napari_defectstrain.precision.budget import ErrorBudget, _scatter_and_freedom

SETTINGS = RunConfig(
    columns=ColumnConfig(model="gaussian", fit_radius_pm=560.0, compare=False),
    makeup=MakeupConfig(enabled=False),
    budget=BudgetConfig(correct=False),
    bootstrap=2,
)


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


@pytest.mark.parametrize("n", [3, 8])
def test_intervals_cover_as_they_say(n):
    """Windows drawn by the exact renderer, measured as a run does."""
    rng = np.random.default_rng(n)
    quiet = {name: noisy(name, 4, rng, 1e-6) for name in ("2Se", "SeTe", "SV")}
    right = {name: m.spacing.strain for name, m in measure_spacings(quiet, SETTINGS).items()}
    inside = []
    for _ in range(60):
        stacks = {name: noisy(name, n, rng, 0.1) for name in ("SeTe", "SV")}
        stacks["2Se"] = noisy("2Se", 40, rng, 0.1)
        for name, one in measure_spacings(stacks, SETTINGS).items():
            if name == "2Se":
                continue
            half = np.array([one.budget.half_width(level) for level in (0.68, 0.95)])
            inside.append(abs(one.spacing.strain - right[name]) < half)
    cover = np.mean(inside, axis=0)
    # three standard deviations of 120 averages
    assert cover[0] == pytest.approx(0.68, abs=3 * np.sqrt(0.68 * 0.32 / 120))
    assert cover[1] == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 120))
