"""Expected purity: what calibrated probabilities and a confusion matrix promise comes true."""

import numpy as np
import pytest

from napari_defectstrain.averages.average import average_stack
from napari_defectstrain.averages.purity import (
    expected_mixture,
    expected_purity,
    purity_text,
    unmix_positions,
)
from napari_defectstrain.materials import WSE2
from napari_defectstrain.types import ClassStack, Sites

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
    p = np.random.default_rng(6).dirichlet(np.ones(7), 50)
    before = p.copy()
    expected_mixture(p, SV, 2.0)
    np.testing.assert_array_equal(p, before)


def test_mixed_stacks_are_unmixed():
    rng = np.random.default_rng(0)
    pure = {name: rng.normal(0, 10, (7, 2)) for name in ("2Se", "SV", "DV")}
    weight = {name: np.ones(7) for name in pure}
    weight["SV"][0], weight["DV"][0] = 0.5, 0.0
    pure["DV"][0] = np.nan  # an empty column
    mixtures = {"2Se": {"SV": 0.01}, "SV": {"2Se": 0.05, "DV": 0.03}, "DV": {"SV": 0.1}}
    measured = {}
    for name in pure:
        share = {**mixtures[name], name: 1 - sum(mixtures[name].values())}
        light = {k: s * weight[k] for k, s in share.items()}
        total = sum(light.values())
        measured[name] = (
            sum(light[k][:, None] * np.nan_to_num(pure[k]) for k in share) / total[:, None]
        )
    measured["DV"][0] = np.nan  # not fitted, though there is a little light of SV
    bias, _ = unmix_positions(measured, weight, mixtures)
    for name in ("2Se", "SV"):
        np.testing.assert_allclose(measured[name] - bias[name], pure[name], atol=1e-9)
    np.testing.assert_allclose((measured["DV"] - bias["DV"])[1:], pure["DV"][1:], atol=1e-9)
    assert np.all(bias["DV"][0] == 0.0)


def test_classes_that_are_not_measured_change_nothing():
    position = {"2Se": np.zeros((3, 2)), "SV": np.ones((3, 2))}
    weight = {name: np.ones(3) for name in position}
    bias, _ = unmix_positions(position, weight, {"SV": {"other": 0.2}})
    assert all(np.all(b == 0.0) for b in bias.values())


@pytest.mark.parametrize(
    "shares",
    [
        {"SV": {"2Se": 1.0}},
        {"SV": {"2Se": 0.95}},
        {"SV": {"DV": 0.5}, "DV": {"SV": 0.5}},
        {"SV": {"DV": 0.49}, "DV": {"SV": 0.49}},  # its solution would enlarge differences by 50
    ],
)
def test_shares_that_can_not_be_solved_for_change_nothing(shares):
    rng = np.random.default_rng(3)
    position = {name: rng.normal(0, 5, (7, 2)) for name in ("2Se", "SV", "DV")}
    weight = {name: np.ones(7) for name in position}
    bias, found = unmix_positions(position, weight, shares)
    assert all(np.all(b == 0.0) for b in bias.values())
    for name in position:
        np.testing.assert_array_equal(found.amplification(name), 1.0)
        k = found.names.index(name)
        assert np.all(found.corrected[k] == (name not in shares))


def test_noise_grows_with_the_impurity():
    rng = np.random.default_rng(4)
    position = {name: rng.normal(0, 5, (7, 2)) for name in ("2Se", "SV")}
    weight = {name: np.ones(7) for name in position}
    bias, found = unmix_positions(position, weight, {"SV": {"2Se": 0.2}})
    np.testing.assert_allclose(found.amplification("SV"), 1.25)
    np.testing.assert_allclose(bias["SV"], 0.25 * (position["2Se"] - position["SV"]), atol=1e-12)
