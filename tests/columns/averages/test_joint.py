"""What finds the profile of averages where few windows, or windows of correlated noise, tell it."""

from dataclasses import replace

import exact_images as exact
import numpy as np
import pytest
from class_stage import average_of, small_model, stack_of

from napari_defectstrain.columns.averages import joint
from napari_defectstrain.columns.averages.crowded import State, predict
from napari_defectstrain.columns.averages.joint import (
    TRACELESS_BLUR,
    JointFit,
    Target,
    _foreseen,
    fit_jointly,
)
from napari_defectstrain.columns.averages.measure import ColumnConfig, fit_columns, measure_columns
from napari_defectstrain.precision import mean_spacing
from napari_defectstrain.precision.budget_parts import Pair, profile_error, rings_of
from napari_defectstrain.types import ClassAverage

FREE = np.array([0, 1, 2, 4, 5])
CONFIG = ColumnConfig(fit_radius_pm=560.0, compare=False)


def fitted(
    prior_sigma: float,
    noise: float = 0.02,
    seed: int = 4,
    tolerance_pm: float = 1e-6,
    apart: np.ndarray | None = None,
) -> tuple[JointFit, np.ndarray]:
    """A small model with noise, fitted from a wrong profile, and where that began."""
    rng = np.random.default_rng(seed)
    geometry, state, profile = small_model(rng)
    first = profile.coefficient.copy()
    first[FREE] *= 0.97
    data = predict(geometry, state, profile)
    data = data + noise * rng.normal(size=data.shape)
    fit = fit_jointly(
        geometry,
        {"SV": Target(data, 10, 10 * noise**2, TRACELESS_BLUR)},
        {"SV": state},
        replace(profile, coefficient=first),
        FREE,
        prior_sigma,
        tolerance_pm,
        40,
        apart=apart,
    )
    assert fit.converged
    return fit, first[FREE]


@pytest.mark.parametrize("prior_sigma", [0.02, 10.0])
def test_the_residual_says_nothing_more_to_the_instruments(prior_sigma: float) -> None:
    fit, first = fitted(prior_sigma)
    noise, n = 10 * 0.02**2, 10
    projected = fit.linearised["SV"].projected()
    pull = n * projected @ fit.residual["SV"]
    pull += noise / prior_sigma**2 * (first - fit.profile.parameters[FREE])
    left = fit.profile_inverse @ pull
    scatter = np.sqrt(n * noise) * np.linalg.norm(fit.profile_inverse @ projected, axis=1)
    sigma = np.hypot(scatter, np.linalg.norm(fit.by_prior, axis=1))
    assert np.all(np.abs(left) < 0.1 * sigma)  # the fit ends where no place moves any more


@pytest.mark.parametrize("seed", [5, 6])
def test_few_linearisations_end_where_many_do(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = fitted(0.02, 0.05, seed, 1e-3)
    monkeypatch.setattr(joint, "NEAR_PM", 1e-3)
    monkeypatch.setattr(joint, "INSTRUMENT_ROUNDS", 30)
    exact_fit, _ = fitted(0.02, 0.05, seed, 1e-7)
    position = exact_fit.states["SV"].position_pm
    inverse = np.diag(exact_fit.linearised["SV"].inverse)[: position.size]
    away = np.abs(found.states["SV"].position_pm - position)
    assert away.max() < 0.3 * 0.05 * np.sqrt(np.median(inverse))


def test_what_has_no_noise_is_found_without_instruments(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_given: object) -> None:
        raise AssertionError

    monkeypatch.setattr(joint._Descent, "by_instruments", never)
    fit, _ = fitted(0.02, noise=0.0)
    _, state, profile = small_model(np.random.default_rng(4))
    away = fit.states["SV"].position_pm - state.position_pm
    assert np.abs(away).max() < 1e-4
    np.testing.assert_allclose(fit.profile.coefficient, profile.coefficient, atol=1e-6)
    assert set(fit.linearised) == {"SV"}
    with pytest.raises(AssertionError):
        fitted(0.02)


def test_what_the_prior_may_have_done_vanishes_where_the_data_tell() -> None:
    tight, loose = (fitted(sigma)[0].by_prior for sigma in (1e-4, 1e4))
    np.testing.assert_allclose(tight, 1e-4 * np.eye(len(FREE)), rtol=0.05, atol=2e-6)
    assert np.linalg.norm(loose) < 0.01


def test_a_start_apart_from_what_is_likely_errs_by_that_where_the_data_are_silent() -> None:
    apart = np.array([[0.01], [0.02], [0.0], [-0.01], [0.0]])
    tight, loose = (fitted(sigma, apart=apart)[0].by_prior[:, -1:] for sigma in (1e-4, 1e4))
    np.testing.assert_allclose(tight, apart, rtol=0.05, atol=2e-4)
    assert np.linalg.norm(loose) < 1e-4


def test_foreseen_columns_know_no_noise_of_single_ones() -> None:
    rng = np.random.default_rng(1)
    geometry, state, _ = small_model(rng)
    site, metal = geometry.site_pm, geometry.is_metal
    radius = np.hypot(*site.T)
    outward = np.where(metal & (radius < 250.0), -9.0, 0.0) / np.maximum(radius, 1.0)
    smooth = State(
        site * (1.0 + outward[:, None]) + np.where(metal[:, None], [2.0, -1.0], 0.0),
        np.where(metal, 2e4, 1.4e4),
        state.outer,
        state.background,
        state.blur_pm2,
        np.zeros(len(site), dtype=bool),
    )
    smooth.weight[0] = 7e3
    same = _foreseen(geometry, smooth)
    np.testing.assert_allclose(same.weight, smooth.weight)
    np.testing.assert_allclose(same.position_pm, smooth.position_pm, atol=0.2)
    noise = rng.normal(0, 3.0, site.shape)
    noise[-1] = 400.0  # a stray
    weight = smooth.weight * rng.uniform(0.9, 1.1, len(site))
    weight[0] = 7e3
    noisy = replace(smooth, position_pm=smooth.position_pm + noise, weight=weight)
    found = _foreseen(geometry, noisy)
    assert np.std(found.weight / smooth.weight) < 0.03
    away = (found.position_pm - smooth.position_pm)[1:-1]
    assert np.sqrt(np.mean(away**2)) < 0.6 * 3.0


@pytest.mark.slow
def test_far_from_focus_few_windows_are_hardly_drawn() -> None:
    """Held by .05 of the transfer function alone, strains were .24, .45 and .19 % off."""
    step = exact.STEP_PM
    averages = {}
    for name, n in {"2Se": 150, "SeTe": 10, "2Te": 10, "SV": 10}.items():
        image = exact.average_image(name, 61, defocus_pm=4000.0)
        sem = np.full_like(image, 0.1 / np.sqrt(n))
        averages[name] = ClassAverage(name, image, sem, n, 0, step, exact.A_PM, 1.0)
    models = fit_columns(averages, CONFIG, respond=False)
    base = mean_spacing(models["2Se"].fits)
    off = {n: mean_spacing(m.fits) / base - 1 - exact.STRAINS[n] for n, m in models.items()}
    for name, most in {"SeTe": 0.09, "2Te": 0.16, "SV": 0.09}.items():
        assert abs(off[name]) < most / 100


@pytest.mark.slow
def test_the_budget_says_what_the_prior_may_have_done() -> None:
    """Windows without noise of their own, as if of noise .1: nothing was said."""
    rng = np.random.default_rng(2)
    stacks = {}
    for name, n in {"2Se": 150, "2Te": 10}.items():
        image = exact.average_image(name, 61)
        stacks[name] = stack_of(name, image + 0.1 * rng.normal(size=(n, *image.shape)))
    averages = {name: average_of(stack) for name, stack in stacks.items()}
    measured = measure_columns(stacks, averages, CONFIG, check=False)
    found, base = measured["2Te"], measured["2Se"]
    pair = Pair.of(found, base)
    _, strain = profile_error(found, base, pair, rings_of(found.fits, exact.A_PM))
    gain = found.model.profile_gain, base.model.profile_gain
    by_prior = [np.nan_to_num(g) @ found.model.profile_prior for g in gain]
    own, other = pair.gradients()
    alone = np.linalg.norm(own @ by_prior[0] + other @ by_prior[1])
    assert 2e-4 < alone < 1e-3
    assert strain > alone
