from dataclasses import replace

import numpy as np
import pytest

from napari_defectstrain.crystal import class_errors
from napari_defectstrain.crystal.class_errors import CommonErrors, common_errors
from napari_defectstrain.crystal.populations import population_table
from napari_defectstrain.judge.mixture import ClassModel, ClassPrior, improve
from napari_defectstrain.materials import get_material
from napari_defectstrain.types import Sites

MATERIAL = get_material("WSe2")
NAMES = MATERIAL.class_names
X = np.array([0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0])
CHALCOGEN = np.array([0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
VACANT = np.array([0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0])


def judged(rng: np.random.Generator, n: int = 700, sigma: float = 0.08) -> tuple[Sites, np.ndarray]:
    """Columns on a square, judged by a mixture of their own weights; and what they are."""
    means = np.array([0.73, 1.09, 1.42, 0.36, 0.0])
    component = rng.choice(5, n, p=[0.86, 0.05, 0.03, 0.055, 0.005])
    sigmas = sigma * rng.uniform(0.8, 1.2, n)
    width = np.sqrt(14.0 / 16.0)
    weight = means[component] + sigmas * width * rng.standard_t(16, n)
    prior = ClassPrior(heavier=1.9)
    model = ClassModel(prior.means(0.73), np.ones(5), prior.shares)
    model = improve(model, np.tile(weight, (5, 1)), sigmas * width, prior, rounds=40)
    chance = model.posterior(np.tile(weight, (5, 1)), sigmas * width)
    p = np.zeros((2 * n, len(NAMES)))
    p[:n, 1:] = chance
    p[n:, 0] = 1.0
    side = int(np.ceil(np.sqrt(2 * n)))
    place = 10.0 * np.array(np.unravel_index(rng.permutation(2 * n), (side, side))).T
    sites = Sites(
        place,
        p,
        p.argmax(axis=1),
        NAMES,
        np.full(2 * n, "model"),
        weight=np.concatenate([weight, 1.0 + sigma * rng.normal(size=n)]),
        weight_sigma=np.concatenate([sigmas, np.full(n, sigma)]),
    )
    return sites, np.concatenate([component + 1, np.zeros(n, dtype=int)])


def test_classes_that_were_found_from_the_columns_make_their_numbers_less_sure(monkeypatch):
    # noise as it is taken to be: neither its shape nor the flank of X2 is in doubt
    for name in ("_SKEW", "_SKEW_PER_COLUMN", "_LOG2_TAILS", "_FLANK"):
        monkeypatch.setattr(class_errors, name, 1e-6)
    rng = np.random.default_rng(5)
    error, doubt, stated = [], [], []
    for _ in range(60):
        sites, true = judged(rng)
        p = sites.probabilities
        error.append((p @ X - X[true]).sum())
        doubt.append((p @ X**2 - (p @ X) ** 2).sum())
        stated.append(doubt[-1] + common_errors(sites).variance(X))
    # 60 unit pulls: their width errs by 9 %
    assert np.std(error / np.sqrt(doubt)) > 1.2
    assert 0.8 < np.std(error / np.sqrt(stated)) < 1.2


def test_intervals_hold_what_columns_truly_are():
    rng = np.random.default_rng(7)
    inside = []
    for _ in range(25):
        sites, true = judged(rng)
        table = population_table(["a"], [sites], NAMES)
        found = table[(table["image"] == "a") & (table["class"] == "x")].iloc[0]
        truth = X[true].sum() / (2 * (true > 0).sum())
        inside.append(found["low"] <= truth <= found["high"])
        variance = common_errors(sites).variance(X - found["corrected"] * 2.0 * CHALCOGEN)
        p = sites.probabilities
        change = X - found["corrected"] * 2.0 * CHALCOGEN
        doubt = (p @ change**2 - (p @ change) ** 2).sum()
        total = 2.0 * p[:, 1:6].sum()
        assert found["corrected_std"] == pytest.approx(np.sqrt(doubt + variance) / total)
    assert np.mean(inside) >= 0.9


def test_classes_far_apart_add_nothing():
    sites, _ = judged(np.random.default_rng(0), sigma=0.03)
    found = common_errors(sites)
    p = sites.probabilities
    doubt = (p @ X**2 - (p @ X) ** 2).sum()
    assert found.variance(X) < max(0.5 * doubt, 0.05)


def test_nothing_is_known_of_columns_that_were_not_weighed_or_are_certain():
    sites, true = judged(np.random.default_rng(1))
    bare = replace(sites, weight=None, weight_sigma=None)
    assert common_errors(bare).variance(X) == 0.0
    p = np.eye(len(NAMES))[true]
    certain = replace(sites, probabilities=p, class_index=true)
    found = common_errors(certain)
    assert found.own == pytest.approx(0.0, abs=1e-9)
    assert found.variance(VACANT) < 1e-9


def test_columns_at_the_border_err_by_the_networks_odds():
    sites, _ = judged(np.random.default_rng(2))
    inside = common_errors(sites)
    p = sites.probabilities.copy()
    weight = np.asarray(sites.weight).copy()
    rim = np.arange(20)
    p[rim] = 0.0
    p[rim, 1], p[rim, 2] = 0.7, 0.3
    weight[rim] = np.nan
    certain = p.copy()
    certain[rim] = np.eye(len(NAMES))[1]
    doubtful = common_errors(replace(sites, probabilities=p, weight=weight))
    sure = common_errors(replace(sites, probabilities=certain, weight=weight))
    # half a nat of each, twenty times .7 x .3
    added = doubtful.variance(X) - sure.variance(X)
    assert added == pytest.approx((0.5 * 20 * 0.21) ** 2, rel=1e-6)
    assert inside.own.shape == sure.own.shape == (len(NAMES), len(NAMES))


def test_the_numbers_of_all_classes_together_are_known():
    sites, _ = judged(np.random.default_rng(3))
    found = common_errors(sites)
    every = np.ones(len(NAMES))
    assert found.variance(every) < 1e-6 * found.variance(X)


def test_what_was_taken_as_known_errs_alike_in_all_images():
    sites, _ = judged(np.random.default_rng(4))
    one = common_errors(sites)
    two = one + one
    assert two.own == pytest.approx(2.0 * one.own)
    assert (two.beforehand @ two.beforehand.T) == pytest.approx(
        4.0 * one.beforehand @ one.beforehand.T
    )
    assert CommonErrors.none(len(NAMES)).variance(X) == 0.0


def test_it_does_not_matter_in_how_many_parts_columns_are_taken(monkeypatch):
    sites, _ = judged(np.random.default_rng(6))
    whole = common_errors(sites)
    monkeypatch.setattr(class_errors, "_PART", 100)
    parts = common_errors(sites)
    assert parts.own == pytest.approx(whole.own, rel=1e-6, abs=1e-9)
