"""Classes that nobody asked for: found where columns agree on a weight, and only there."""

import numpy as np
import pytest

from napari_defectstrain.judge.open_classes import (
    KnownClass,
    WeighedColumns,
    find_open_classes,
    tail_share,
)
from napari_defectstrain.materials import CHALCOGEN_SITES, METAL_SITES

X2, V1 = 0.74, 0.36
KNOWN = [
    KnownClass(X2, 1.0, 0.85),
    KnownClass(1.10, 0.022, 0.05),
    KnownClass(1.43, 0.09, 0.03),
    KnownClass(V1, 0.033, 0.06),
    KnownClass(0.0, 0.022, 0.005),
]
METAL = [KnownClass(1.0, 0.005, 0.98)]


def columns(shares: dict[float, float], n: int, seed: int, sigma: float = 0.05, tails: float = 0.0):
    """Weights of columns of classes of given weight and share; some errors wider than they say."""
    rng = np.random.default_rng(seed)
    mean = rng.choice(list(shares), n, p=np.array(list(shares.values())) / sum(shares.values()))
    error = sigma * rng.uniform(0.8, 1.25, n)
    wide = np.where(rng.random(n) < tails, 2.5, 1.0)
    return WeighedColumns.gathered(mean + wide * error * rng.normal(size=n), error)


USUAL = {X2: 0.85, 1.10: 0.055, 1.43: 0.03, V1: 0.06, 0.0: 0.005}


@pytest.mark.slow
@pytest.mark.parametrize(("weight", "seed"), [(0.46, 0), (0.9, 3)])
def test_a_lighter_column_is_a_class_though_a_vacancy_is_two_sigma_away(weight, seed):
    share = 0.05
    given = columns({**USUAL, weight: share}, 9500, seed)
    mixture = find_open_classes(given, KNOWN, CHALCOGEN_SITES, np.random.default_rng(0))
    (found,) = mixture.found
    assert found.weight == pytest.approx(weight, abs=0.015)
    true = share / (sum(USUAL.values()) + share)
    # one of four intervals of 95 % may miss a little
    assert abs(found.share - true) < 3 * found.share_sigma
    assert found.share_sigma < 0.01
    # the known class keeps its own columns: it is the one that was expected there
    assert mixture.mean[3] == pytest.approx(V1, abs=0.015)


@pytest.mark.parametrize("tails", [0.0, 0.04])
def test_none_is_invented(tails):
    for seed in (0, 1):
        given = columns(USUAL, 6000, seed, tails=tails)
        wide = tail_share(columns({1.0: 1.0}, 6000, seed, tails=tails), 1.0)
        assert wide == pytest.approx(max(tails, 0.005), abs=0.025)
        rng = np.random.default_rng(0)
        mixture = find_open_classes(given, KNOWN, CHALCOGEN_SITES, rng, wide)
        assert not mixture.found
        assert mixture.share[0] == pytest.approx(0.85, abs=0.015)


@pytest.mark.slow
def test_metals_of_another_weight_and_missing_ones_are_classes():
    given = columns({1.0: 0.97, 0.47: 0.01, 0.0: 0.01, 1.35: 0.01}, 9500, 4)
    found = find_open_classes(given, METAL, METAL_SITES, np.random.default_rng(0)).found
    by_weight = sorted(found, key=lambda one: one.weight)
    assert [one.weight for one in by_weight] == pytest.approx([0.0, 0.47, 1.35], abs=0.02)
    for one in by_weight:
        low, high = one.share_95
        assert low < 0.0101 < high + 0.003
        assert one.columns == pytest.approx(9500 * one.share)


@pytest.mark.slow
def test_the_error_of_a_share_knows_what_a_neighbour_may_have_of_it():
    """S beside Se, 1.5 sigma from a vacancy: shares of both are known together."""
    pulls = []
    for seed in range(6):
        given = columns({**USUAL, 0.46: 0.05}, 3000, seed, sigma=0.06)
        for one in find_open_classes(given, KNOWN, CHALCOGEN_SITES, np.random.default_rng(0)).found:
            assert one.share > 2.5 * one.share_sigma
            pulls.append((one.share - 0.05 / (sum(USUAL.values()) + 0.05)) / one.share_sigma)
    assert np.abs(pulls).max(initial=0.0) < 2.5


def test_a_handful_of_columns_is_no_class():
    given = columns({1.0: 0.999, 0.47: 0.0004}, 9500, 5)
    assert not find_open_classes(given, METAL, METAL_SITES, np.random.default_rng(0)).found


def test_columns_gathered_are_as_many_and_weigh_the_same():
    rng = np.random.default_rng(6)
    weight, sigma = rng.normal(0.7, 0.1, 5000), rng.uniform(0.03, 0.06, 5000)
    made = WeighedColumns.gathered(weight, sigma)
    assert made.total == 5000
    assert len(made.weight) < 2000
    assert (made.count * made.weight).sum() == pytest.approx(weight.sum())
    assert made.typical_sigma == pytest.approx(np.median(sigma), abs=0.002)
    assert made.resampled(rng).total == 5000
