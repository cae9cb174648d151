"""Expected purity: what calibrated probabilities and a confusion matrix promise comes true."""

import numpy as np
import pytest

from napari_defectstrain.average import average_stack
from napari_defectstrain.materials import WSE2
from napari_defectstrain.purity import (
    expected_mixture,
    expected_purity,
    overconfidence,
    precision_of_classes,
    prevalence,
    purity_text,
)
from napari_defectstrain.types import ClassStack, DefectStrainError, Sites

NAMES = WSE2.class_names
SV = NAMES.index("SV")


def validation(rng):
    """Counts of a detector that errs in 0.2-4 % of the columns of each class."""
    wrong = rng.uniform(0.002, 0.04, 7)
    likelihood = np.diag(1.0 - wrong)
    for t in range(7):
        likelihood[t, np.arange(7) != t] = wrong[t] * rng.dirichlet(np.ones(6))
    return 1e6 * likelihood * rng.uniform(0.5, 2.0, (7, 1)), likelihood


def sites_of(given, probability, source="model"):
    """Columns by the class given, with the probability of that class."""
    probabilities = np.repeat(((1 - probability) / 6)[:, None], 7, axis=1)
    probabilities[np.arange(len(given)), given] = probability
    place = np.zeros((len(given), 2))
    return Sites(place, probabilities, given, NAMES, np.full(len(given), source))


def test_calibrated_probabilities_give_the_true_purity():
    rng = np.random.default_rng(1)
    p = rng.beta(30, 1, 4000)
    true = rng.random(4000) < p
    # the number of true ones scatters by sqrt(sum p (1 - p))
    sigma = np.sqrt((p * (1 - p)).sum()) / 4000
    assert expected_purity(p) == pytest.approx(true.mean(), abs=3 * sigma)
    assert np.isnan(expected_purity(np.zeros(0)))


def test_mixture_is_the_mean_of_the_probabilities():
    rng = np.random.default_rng(2)
    p = rng.dirichlet([0.1, 0.5, 0.1, 0.1, 30.0, 0.5, 0.2], 300)
    mixture = expected_mixture(p, SV)
    np.testing.assert_allclose(mixture, p.mean(axis=0))
    assert mixture[SV] == expected_purity(p[:, SV])
    doubted = expected_mixture(p, SV, overconfidence=3.0)
    assert doubted.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(np.delete(doubted, SV), 3.0 * np.delete(mixture, SV))
    certain = expected_mixture(np.eye(7)[[SV, SV]], SV, overconfidence=50.0)
    np.testing.assert_array_equal(certain, np.eye(7)[SV])


def test_prevalences_behind_the_counts_are_found():
    rng = np.random.default_rng(3)
    counts, likelihood = validation(rng)
    truth = np.array([0.49, 0.40, 0.05, 0.03, 0.02, 0.005, 0.005])
    found = prevalence(counts, 1e5 * truth @ likelihood)
    # exact counts have one solution; the iteration stops at steps of 1e-12
    np.testing.assert_allclose(found, truth, atol=1e-8)


def test_rare_classes_are_less_pure_than_in_the_validation():
    # 1000 columns of each in the validation: 1 % of 2Se taken for SV, 2 % of SV for 2Se
    counts = np.eye(7) * 1000.0
    counts[1, [1, SV]] = 990.0, 10.0
    counts[SV, [1, SV]] = 20.0, 980.0
    truth = np.array([0.5, 0.49, 0.0, 0.0, 0.01, 0.0, 0.0])
    given = 1e4 * truth @ (counts / 1000.0)
    precision = precision_of_classes(counts, given)
    assert precision[SV] == pytest.approx(0.98 * 0.01 / (0.98 * 0.01 + 0.01 * 0.49), abs=1e-6)
    assert precision[1] == pytest.approx(0.99 * 0.49 / (0.99 * 0.49 + 0.02 * 0.01), abs=1e-6)
    assert precision[0] == 1.0
    assert np.isnan(precision[3])  # never given


def test_overconfident_probabilities_are_brought_down_to_what_the_validation_found():
    rng = np.random.default_rng(4)
    counts, likelihood = validation(rng)
    truth = rng.choice(7, 20000, p=[0.45, 0.4, 0.04, 0.04, 0.05, 0.01, 0.01])
    given = np.array([rng.choice(7, p=likelihood[t]) for t in truth])
    sites = sites_of(given, np.full(20000, 0.999))
    factor = overconfidence([sites], counts)
    purity = expected_purity(sites.probability[given == SV], factor[SV])
    right = (truth == SV)[given == SV]
    # about 1000 columns are given SV: sqrt(0.97 * 0.03 / 1000)
    assert purity == pytest.approx(right.mean(), abs=3 * 0.0054)
    assert purity < 0.99


def test_modest_probabilities_are_left_alone_and_so_are_columns_by_hand():
    rng = np.random.default_rng(5)
    counts, _ = validation(rng)
    given = rng.choice(7, 2000)
    modest = sites_of(given, np.full(2000, 0.8))
    np.testing.assert_array_equal(overconfidence([modest], counts), np.ones(7))
    by_hand = sites_of(given, np.ones(2000), "manual")
    np.testing.assert_array_equal(overconfidence([by_hand], counts), np.ones(7))
    sure = sites_of(given, np.full(2000, 0.9999))
    both = overconfidence([sure, by_hand], counts)
    np.testing.assert_array_equal(both, overconfidence([sure], counts))
    assert (both > 1).all()


def test_a_matrix_that_is_none_is_refused():
    with pytest.raises(DefectStrainError, match=r"confusion matrix: got shape \(7, 6\)"):
        precision_of_classes(np.ones((7, 6)), np.ones(7))
    with pytest.raises(DefectStrainError, match="least value -1"):
        precision_of_classes(-np.eye(7), np.ones(7))


def stack_of(probabilities, included, doubt=1.0):
    n = len(probabilities)
    zero = np.zeros(n, dtype=int)
    return ClassStack(
        class_name="SV",
        windows=np.zeros((n, 3, 3)),
        step_pm=20.0,
        a_pm=330.0,
        image_index=zero,
        site_index=zero,
        position_px=np.zeros((n, 2)),
        shift_pm=np.zeros((n, 2)),
        probability=probabilities[:, SV],
        included=included,
        reason=np.where(included, "", "outlier"),
        probabilities=probabilities,
        class_names=NAMES,
        overconfidence=doubt,
    )


def test_only_the_windows_averaged_count():
    p = np.zeros((3, 7))
    p[:, SV] = [0.97, 0.99, 0.5]
    p[:, 1] = [0.02, 0.01, 0.1]
    p[:, 5] = [0.01, 0.0, 0.4]
    average = average_stack(stack_of(p, np.array([True, True, False])))
    assert average.purity == pytest.approx(0.98)
    assert average.contaminants["2Se"] == pytest.approx(0.015)
    assert average.contaminants["DV"] == pytest.approx(0.005)
    assert "SV" not in average.contaminants
    assert average.purity + sum(average.contaminants.values()) == pytest.approx(1.0)
    assert purity_text(average.purity, average.contaminants) == "0.980 (2Se 0.015, DV 0.005)"
    doubted = average_stack(stack_of(p, np.array([True, True, False]), doubt=2.0))
    assert doubted.purity == pytest.approx(0.96)
    assert doubted.contaminants["2Se"] == pytest.approx(0.03)


def test_inputs_are_not_mutated():
    rng = np.random.default_rng(6)
    counts, _ = validation(rng)
    p = rng.dirichlet(np.ones(7), 50)
    given = p.argmax(axis=1)
    before = counts.copy(), p.copy(), given.copy()
    expected_mixture(p, SV, 2.0)
    precision_of_classes(counts, np.bincount(given, minlength=7))
    assert all(np.array_equal(a, b) for a, b in zip(before, (counts, p, given), strict=True))
