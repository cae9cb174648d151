"""The mixture of classes: calibrated, open to what fits no class, free of labels."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from napari_defectstrain.evaluation.calibration_curve import reliability
from napari_defectstrain.judge.mixture import (
    OTHER,
    TAILS,
    USUAL_TAILS,
    V1,
    X2,
    XY,
    Y2,
    ClassModel,
    ClassPrior,
    best_model,
    improve,
)
from napari_defectstrain.judge.solving import metal_skew, metal_tails

PRIOR = ClassPrior(1.9)
MEANS = np.array([0.70, 1.06, 1.37, 0.35, 0.0])
SHARES = np.array([0.84, 0.05, 0.04, 0.06, 0.01])


def drawn(n: int, sigma: float, shares=SHARES, seed: int = 0):
    rng = np.random.default_rng(seed)
    index = rng.choice(5, n, p=np.asarray(shares) / np.sum(shares))
    error = sigma * rng.uniform(0.8, 1.25, n)
    # pulls of unit variance with the tails that whole images show
    pull = rng.standard_t(16, n) * np.sqrt(14 / 16)
    return MEANS[index] + error * pull, error, index


@pytest.mark.slow
def test_probabilities_are_calibrated():
    weight, sigma, index = drawn(20_000, 0.09)
    chance = best_model(weight, sigma, PRIOR).posterior(weight, sigma)
    for c in range(4):
        curve = reliability(chance[:, c], index == c)
        assert curve.columns > 200
        assert curve.ece - curve.ece_if_true < 0.02
    given = chance.argmax(axis=1)
    for c in range(4):
        mine = given == c
        assert chance[mine, c].mean() == pytest.approx(
            (index[mine] == c).mean(), abs=0.03
        )  # 900 columns of XY: its error is 0.012


@pytest.mark.slow
def test_means_and_shares_are_the_images_own():
    weight, sigma, _ = drawn(5000, 0.06)
    model = best_model(weight, sigma, PRIOR)
    np.testing.assert_allclose(model.mean, MEANS, atol=0.015)
    np.testing.assert_allclose(model.share[:5], SHARES, atol=0.01)
    np.testing.assert_allclose(model.scatter[[X2, XY, Y2, V1]], 1.0, atol=0.12)


def test_errors_that_are_stated_too_small_are_found_out():
    weight, sigma, _ = drawn(5000, 0.05)
    np.testing.assert_allclose(best_model(weight, sigma / 1.4, PRIOR).scatter[X2], 1.4, atol=0.06)


def test_a_class_that_is_absent_stays_absent():
    weight, sigma, _ = drawn(4000, 0.06, (1.0, 0, 0, 0, 0))
    given = best_model(weight, sigma, PRIOR).posterior(weight, sigma).argmax(axis=1)
    # 6 sigma away: of 4000 hardly one
    assert (given != X2).sum() <= 2


def test_weights_between_the_classes_are_other():
    weight, sigma, index = drawn(4000, 0.02)
    odd = np.arange(0, 4000, 80)
    weight[odd] = 0.52  # 9 sigma from 2X and 8 from X beside nothing
    chance = best_model(weight, sigma, PRIOR).posterior(weight, sigma)
    assert (chance[odd, 5] > 0.5).all()
    rest = np.setdiff1d(np.arange(4000), odd)
    assert (chance[rest, 5] > 0.5).mean() < 0.002


def test_what_seems_lighter_than_nothing_is_an_empty_site():
    weight, sigma, _ = drawn(2000, 0.04)
    weight[0] = -0.5
    chance = best_model(weight, sigma, PRIOR).posterior(weight, sigma)
    assert chance[0].argmax() == 4


@pytest.mark.parametrize("tails", TAILS)
def test_densities_are_students_and_never_vanish(tails):
    mean = np.array([0.7, 1.06, 1.37, 0.35, 0.0])
    model = ClassModel(mean, np.full(5, 1.3), np.full(6, 1 / 6), tails=tails)
    weight, sigma = np.array([0.7, 1.1, 40.0, -3.0]), np.array([0.05, 0.08, 0.05, 0.02])
    terms = model.terms(weight, sigma)
    width = 1.3 * sigma
    expected = student.pdf((weight - 0.7) / width, tails) / width / 6
    np.testing.assert_allclose(terms[:, X2], expected, rtol=1e-9)
    assert (model.posterior(weight, sigma) > -1).all()  # no nan
    assert terms[3, OTHER] == 0.0
    assert model.posterior(weight, sigma)[2, OTHER] > 0.99


@pytest.mark.parametrize("skew", [-0.2, 0.0, 0.25])
def test_lopsided_densities_keep_their_mean_and_sum_to_one(skew):
    model = ClassModel(np.array([0.7, 1.06, 1.37, 0.35, 0.0]), np.ones(5), np.ones(6), skew)
    weight = np.linspace(-3.0, 4.0, 40_001)
    density = model.terms(weight, np.full(len(weight), 0.1))[:, X2]
    step = weight[1] - weight[0]
    assert density.sum() * step == pytest.approx(1.0, abs=1e-3)
    assert (density * weight).sum() * step == pytest.approx(0.7, abs=1e-3)


def lopsided(n: int, skew: float, seed: int = 5) -> np.ndarray:
    """Pulls of mean zero of which the upper half is wider than the lower one."""
    rng = np.random.default_rng(seed)
    up = rng.random(n) < (1 + skew) / 2
    pull = np.abs(rng.standard_t(16, n)) * np.where(up, 1 + skew, skew - 1)
    return np.asarray(pull - pull.mean())


def test_how_lopsided_noise_is_the_metals_tell():
    sigma = np.full(5000, 0.08)
    for skew in (-0.15, 0.0, 0.2):
        assert metal_skew(1.0 + sigma * lopsided(5000, skew), sigma) == pytest.approx(
            skew, abs=0.05
        )
    assert metal_skew(np.ones(20), np.full(20, 0.1)) == 0.0


def test_how_far_noise_reaches_the_metals_tell():
    rng = np.random.default_rng(3)
    sigma = rng.uniform(0.04, 0.1, 900)
    clean, rough = rng.normal(size=900), rng.standard_t(5, 900)
    assert metal_tails(1.0 + sigma * clean, sigma) >= 32
    assert metal_tails(1.0 + sigma * rough, sigma) == TAILS[0]
    # one in a hundred that is no such metal isn't noise
    clean[:9] = -12.0
    assert metal_tails(1.0 + sigma * clean, sigma) >= 32
    assert metal_tails(1.0 + sigma[:50] * rough[:50], sigma[:50]) == USUAL_TAILS


def test_what_isnt_there_leaves_no_class_in_doubt():
    """An image of 900 columns without *other* held 0.4 of them by their probabilities."""
    weight, error, _ = drawn(900, 0.06)
    chance = best_model(weight, error, PRIOR).posterior(weight, error)
    assert chance[:, OTHER].sum() < 0.12


def test_dirt_that_only_adds_light_makes_no_purer_class_than_there_is():
    rng = np.random.default_rng(6)
    index = rng.choice(5, 30_000, p=SHARES / SHARES.sum())
    sigma = np.full(len(index), 0.09)
    weight = MEANS[index] + sigma * lopsided(len(index), 0.2)

    def too_sure(skew: float) -> float:
        model = replace(best_model(weight, sigma, PRIOR), skew=skew)
        chance = improve(model, weight, sigma, PRIOR, rounds=20).posterior(weight, sigma)
        mine = chance.argmax(axis=1) == XY
        return float(chance[mine, XY].mean() - (index[mine] == XY).mean())

    assert too_sure(0.0) > 0.1
    assert abs(too_sure(0.2)) < 0.02
