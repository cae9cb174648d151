"""One population or two: what is built in is found, with the choice of windows and impurity."""

import numpy as np
import pytest

from napari_defectstrain.precision import (
    MakeupConfig,
    Selection,
    WindowSample,
    ask_populations,
)
from napari_defectstrain.precision.membership import membership_of
from napari_defectstrain.precision.mixture_fit import (
    Known,
    belonging,
    fit_mixture,
    settled,
    start_at,
)

NOISE = np.array([[0.05, 0.0], [0.9, 4.5]])  # rows: weight, triangle
AWAY = np.array([0.03, 24.0])
"""Where undistorted windows lie against the others."""
CONFIG = MakeupConfig(samples=150, errors=40)


def windows(share: float, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Windows of which a share is undistorted, and which."""
    second = rng.random(n) < share
    return rng.standard_normal((n, 2)) @ NOISE.T + np.where(second[:, None], AWAY, 0.0), second


def sample(value: np.ndarray, rng: np.random.Generator, **more: object) -> WindowSample:
    noise = rng.standard_normal((400, 2)) @ NOISE.T
    given = {"noise_scale": 1.0, "noise_scale_error": 0.03, "selection": Selection()}
    return WindowSample(value, noise, np.ones(400), undistorted=AWAY, **{**given, **more})


def test_a_share_and_both_places_are_found_and_told_apart():
    rng = np.random.default_rng(1)
    value, second = windows(0.2, 300, rng)
    found = ask_populations(sample(value, rng), CONFIG, rng)
    assert found.two and found.p < CONFIG.level
    rest, other = found.populations
    assert other.share_95[0] < 0.2 < other.share_95[1]
    assert abs(other.share - second.mean()) < 0.02  # they are five widths apart
    assert rest.share + other.share == pytest.approx(1.0)
    assert np.all(np.abs(rest.value) < 4 * rest.value_std)
    assert np.all(np.abs(other.value - AWAY) < 4 * other.value_std)
    # binomial, for they hardly overlap
    assert other.share_std == pytest.approx(np.sqrt(0.2 * 0.8 / 300), rel=0.4)
    right = (found.belonging[:, 1] > 0.5) == second
    assert right.mean() > 0.98


def test_one_population_is_called_one_and_bounds_the_other():
    called = 0
    for seed in range(10):
        rng = np.random.default_rng([seed, 2])
        value, _ = windows(0.0, 200, rng)
        found = ask_populations(sample(value, rng), CONFIG, rng)
        called += found.two
        assert found.undistorted_95[0] == 0.0
        assert found.undistorted_95[1] < 0.05
        assert 1.0 / 200 < found.seen_from < 0.05
    assert called <= 1  # each with a chance of 1 %: two of ten come once in 200


def test_noise_that_is_stated_too_small_makes_no_population():
    rng = np.random.default_rng(3)
    value = 1.15 * windows(0.0, 300, rng)[0]
    stated = sample(value, rng, noise_scale=1.15, noise_scale_error=0.03)
    found = ask_populations(stated, CONFIG, rng)
    assert not found.two
    assert found.noise_scale == pytest.approx(1.15, abs=0.06)


def test_expected_windows_of_another_class_are_no_population_of_this_one():
    rng = np.random.default_rng(4)
    value, _ = windows(0.0, 400, rng)
    strange = np.array([0.3, 10.0])
    value[:40] += strange
    bare = ask_populations(sample(value, rng), CONFIG, rng)
    assert bare.two and bare.populations[1].share == pytest.approx(0.1, abs=0.03)
    known = ask_populations(sample(value, rng, others=(("2Se", 0.1, strange),)), CONFIG, rng)
    assert not known.two
    assert known.expected_other == pytest.approx(0.1)
    assert known.populations[0].share == pytest.approx(0.9)


def test_windows_that_were_not_chosen_are_reckoned_with():
    """Half of the second population lies beyond the edge: its mean comes out as it is."""
    rng = np.random.default_rng(5)
    selection = Selection(-np.inf, 1.0, 0.05)
    truth = np.array([1.0, 2.0])
    value = rng.standard_normal((8000, 2))
    value[:4000] += truth
    value = value[rng.random(8000) < selection.chance(value[:, 0])]
    known = Known(selection=selection, log_scale_sigma=0.02)
    start = start_at(np.array([[[0.0, 0.0], [0.5, 2.5]]]), np.array([[0.6, 0.4]]), known)
    fit = settled(value[None], fit_mixture(value[None], start, known, 300), known)
    assert fit.mean[0, 1] == pytest.approx(truth, abs=0.15)
    assert fit.share[0, 1] == pytest.approx(0.5, abs=0.05)
    # of those chosen fewer are of the second
    chance = 0.5 / (0.5 + 0.8413)
    assert fit.chosen_share(known)[0, 1] == pytest.approx(chance, abs=0.04)
    blind = Known(log_scale_sigma=0.02)
    cut = fit_mixture(value[None], start, blind, 300)
    assert cut.mean[0, 1, 0] < truth[0] - 0.4
    assert belonging(value[None], fit, known).sum(axis=0) == pytest.approx(1.0)


def test_moments_of_what_is_chosen_are_those_of_drawn_windows():
    rng = np.random.default_rng(6)
    selection = Selection(-0.5, 1.2, 0.4)
    drawn = 0.3 + 1.5 * rng.standard_normal(400_000)
    kept = drawn[rng.random(len(drawn)) < selection.chance(drawn)]
    share, first, square = selection.moments(np.array([0.3]), np.array([1.5]))
    z = (kept - 0.3) / 1.5
    assert share[0] == pytest.approx(len(kept) / len(drawn), abs=0.003)
    assert first[0] == pytest.approx(z.mean(), abs=0.005)
    assert square[0] == pytest.approx((z**2).mean(), abs=0.005)


def test_each_step_raises_the_likelihood():
    rng = np.random.default_rng(7)
    value = rng.standard_normal((1, 200, 2))
    value[0, :60] += 2.0
    known = Known(selection=Selection(-2.0, 2.5, 0.3), other_mean=np.array([[4.0, 4.0]]))
    known = Known(known.selection, known.other_mean, np.array([0.05]), 0.0, 0.05)
    now = start_at(np.array([[[0.0, 0.0], [1.0, 1.0]]]), np.array([[0.8, 0.2]]), known)
    last = -np.inf
    for _ in range(40):
        now = fit_mixture(value, now, known, 1)
        assert now.log_likelihood[0] > last - 1e-6
        last = now.log_likelihood[0]


def test_too_few_windows_are_not_asked():
    rng = np.random.default_rng(8)
    assert ask_populations(sample(windows(0.0, 19, rng)[0], rng), CONFIG, rng) is None


def test_few_defect_free_windows_hardly_blur_where_populations_lie():
    """The noise that whitens is known less well from 30 windows, but the way back knows it."""
    rng = np.random.default_rng(8)
    value, _ = windows(0.3, 120, rng)
    errors = []
    for count in (30, 3000):
        noise = rng.standard_normal((count, 2)) @ NOISE.T
        # the same noise in both, known from fewer windows or more
        spread = np.linalg.cholesky(np.cov(noise.T, bias=True))
        noise = (noise - noise.mean(axis=0)) @ np.linalg.inv(spread).T @ NOISE.T
        given = WindowSample(
            value, noise, np.ones(count), 1.0, 0.03, undistorted=AWAY, selection=Selection()
        )
        found = ask_populations(given, MakeupConfig(samples=150, errors=200), rng)
        assert found.two
        errors.append([p.value_std for p in found.populations])
    assert np.allclose(errors[0], errors[1], rtol=0.25)


def test_the_fit_says_what_each_window_did_to_it():
    """Means of the populations scatter from stack to stack as the windows' influence says."""
    rng = np.random.default_rng(9)
    means, stated = [], []
    known = Known(log_scale_sigma=0.03)
    for _ in range(60):
        second = rng.random(300) < 0.3
        value = rng.standard_normal((1, 300, 2)) + second[None, :, None] * np.array([0.0, 2.5])
        start = start_at(np.array([[[0.0, 0.0], [0.0, 2.5]]]), np.array([[0.7, 0.3]]), known)
        fit = settled(value, fit_mixture(value, start, known, 200), known)
        told = membership_of(value, fit, known, ())
        assert told.influence.sum(axis=0) == pytest.approx(0.0, abs=0.05)
        assert told.chance.sum(axis=1) == pytest.approx(1.0)
        means.append(fit.mean[0].ravel())
        stated.append((told.influence[:, :4] ** 2).sum(axis=0))
    ratio = np.std(means, axis=0, ddof=1) / np.sqrt(np.mean(stated, axis=0))
    assert np.all(np.abs(ratio - 1.0) < 0.3)  # three errors of a scatter of 60
