import numpy as np
import pytest

from napari_defectstrain.judge.judging import _most_probable
from napari_defectstrain.teaching.thresholds import best_thresholds, chosen


def two_classes(n, share, apart, seed=0):
    """Columns of X2 and V1 whose weights overlap: their true chances, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(n) < share, 3, 0)
    weight = rng.normal(size=n) + apart * (labels == 3)
    odds = share / (1 - share) * np.exp(apart * weight - apart**2 / 2)
    chance = np.zeros((n, 6))
    chance[:, 3] = odds / (1 + odds)
    chance[:, 0] = 1 - chance[:, 3]
    return chance, labels


def f1(given, labels):
    hits = ((given == 3) & (labels == 3)).sum()
    return 2 * hits / ((given == 3).sum() + (labels == 3).sum())


def test_a_rare_class_in_noise_is_given_from_half_its_f1_on():
    chance, labels = two_classes(20000, 0.05, 1.5)
    thresholds = np.full(6, 0.5)
    thresholds[1:5] = best_thresholds(chance, labels, np.random.default_rng(1))
    best = f1(chosen(chance, thresholds), labels)
    assert best > f1(chosen(chance, np.full(6, 0.5)), labels) + 0.05
    # a grid of .05 each side of half of F1
    assert thresholds[3] == pytest.approx(best / 2, abs=0.075)


def test_what_is_clear_stays_as_it_is():
    chance, labels = two_classes(2000, 0.05, 12.0)
    assert best_thresholds(chance, labels, np.random.default_rng(1)) == (0.5,) * 4


def test_chances_that_are_off_are_made_up_for():
    chance, labels = two_classes(20000, 0.3, 3.0)
    odds = 4.0 * chance[:, 3] / (1 - chance[:, 3] + 1e-12)
    bold = chance.copy()
    bold[:, 3] = odds / (1 + odds)
    bold[:, 0] = 1 - bold[:, 3]
    thresholds = np.full(6, 0.5)
    thresholds[1:5] = best_thresholds(bold, labels, np.random.default_rng(1))
    assert thresholds[3] > 0.6
    # as good as the true chances are by one half
    assert f1(chosen(bold, thresholds), labels) > f1(chosen(chance, np.full(6, 0.5)), labels) - 0.01


def test_the_judge_chooses_as_the_lesson_does():
    rng = np.random.default_rng(0)
    chance = rng.dirichlet(np.full(6, 0.4), 500)
    thresholds = (0.3, 0.6, 0.2, 0.5)
    with_metal = np.concatenate([np.zeros((500, 1)), chance], axis=1)
    np.testing.assert_array_equal(
        _most_probable(with_metal, thresholds) - 1,
        chosen(chance, np.array([0.5, *thresholds, 0.5])),
    )
    np.testing.assert_array_equal(
        _most_probable(with_metal, ()), _most_probable(with_metal, (0.5,) * 4)
    )
