"""The chain of every site: rates within their errors, false and missed detections corrected."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm
from series_stage import model_of, seen_sites

from napari_defectstrain.series import hidden
from napari_defectstrain.series.hidden import (
    Observations,
    fit_hidden,
    hidden_states,
    rate_errors,
)
from napari_defectstrain.types import DefectStrainError

RATES = {(0, 3): 0.007, (3, 4): 0.0035}


@pytest.mark.parametrize("seed", [11, 12])
def test_rates_are_the_built_in_ones_within_their_errors(seed):
    true, seen = seen_sites(seed, RATES)
    model = fit_hidden(seen)
    errors = rate_errors(seen, model)
    told = {(int(i), int(j)): r for r, (i, j) in enumerate(errors.kind)}
    # flicker of the detection is no change; two atoms within a step may seem to go at once
    assert set(told) - {(0, 4)} == set(RATES)
    for (i, j), rate in RATES.items():
        r = told[i, j]
        sigma = np.sqrt(errors.covariance[r, r])
        assert abs(np.log(model.rate[i, j] / rate)) < 3 * sigma
        jumps = ((true[:-1] == i) & (true[1:] == j)).sum()
        # nearly all is seen, so the error is that of counting
        assert errors.jumps[r] == pytest.approx(jumps, abs=3)
        assert sigma == pytest.approx(1 / np.sqrt(jumps), rel=0.1)


def test_false_and_missed_detections_are_corrected_and_counted():
    true, seen = seen_sites(21, RATES, false=0.02, missed=0.03)
    model = fit_hidden(seen)
    states, _ = hidden_states(seen, model)
    detected = np.nan_to_num(seen.probability, nan=-1).argmax(axis=2)
    assert (detected != true).mean() > 0.02
    assert (states.path != true).mean() < 0.002
    assert states.posterior.sum(axis=2) == pytest.approx(1.0)
    # of the detections that say nothing, nine in ten happen to say the commonest class, 2Se
    assert 0.01 < model.false < 0.03
    assert model.missed[0] == pytest.approx(0.03, abs=0.003)
    # posteriors are calibrated: sites called sure at p are right at p
    best = states.posterior.max(axis=2)
    wrong = (states.posterior.argmax(axis=2) != true).mean()
    assert wrong == pytest.approx((1 - best).mean(), abs=2e-3)


def test_changes_are_dated():
    true, seen = seen_sites(31, RATES)
    _, changes = hidden_states(seen, fit_hidden(seen))
    sure = changes.probability > 0.9
    assert sure.mean() > 0.8
    happened = np.array(
        [
            np.flatnonzero((true[1:, s] == b) & (true[:-1, s] == a)) + 0.5
            if ((true[1:, s] == b) & (true[:-1, s] == a)).any()
            else [np.nan]
            for s, a, b in zip(changes.site, changes.before, changes.after, strict=True)
        ],
        dtype=object,
    )
    at = np.array([float(h[0]) for h in happened])
    known = np.isfinite(at)
    assert known.mean() > 0.98
    inside = (at >= changes.low) & (at <= changes.high)
    assert inside[known].mean() > 0.95


def test_sums_that_share_frames_do_not_make_errors_too_small():
    rates = {(0, 3): 0.02}
    pulls, sigmas = [], []
    for seed in range(6):
        _, seen = seen_sites(40 + seed, rates, sums=12, sites=400, share=3, false=0.0, missed=0.0)
        model = fit_hidden(seen)
        errors = rate_errors(seen, model)
        r = [k for k, (i, j) in enumerate(errors.kind) if (i, j) == (0, 3)][0]
        sigmas.append(np.sqrt(errors.covariance[r, r]))
        pulls.append(np.log(model.rate[0, 3] / 0.02) / sigmas[-1])
    # chi squared of six degrees of freedom: above 16.8 in one of a hundred
    assert np.sum(np.square(pulls)) < 16.8
    # 400 sites, 11 steps: some 80 changes
    assert np.median(sigmas) == pytest.approx(1 / np.sqrt(78), rel=0.3)


@pytest.mark.parametrize("share", [3, 4])
def test_sums_that_share_frames_give_the_rates_of_those_that_do_not(share):
    # noise that neighbouring sums have in common is no change, and changes are no false detections
    rates = {(0, 3): 0.007, (3, 4): 0.0035, (3, 0): 0.01}
    found = []
    for seed in range(200, 206):
        _, seen = seen_sites(seed, rates, sums=14, sites=500, sigma=0.08, share=share)
        model = fit_hidden(seen)
        errors = rate_errors(seen, model)
        (r,) = (k for k, pair in enumerate(errors.kind) if tuple(pair) == (0, 3))
        assert abs(np.log(model.rate[0, 3] / 0.007)) < 3.5 * np.sqrt(errors.covariance[r, r])
        found.append((model.rate[0, 3], model.rate[3, 0]))
    assert np.mean(found, axis=0)[0] == pytest.approx(0.007, rel=0.15)
    assert np.mean(found, axis=0)[1] == pytest.approx(0.01, rel=0.5)


def test_chains_have_no_frame_in_common():
    _, seen = seen_sites(7, RATES, sums=7, sites=30)
    sums = np.arange(7)

    def chains(share):
        return [sums[one].tolist() for one in hidden.replace(seen, share=share).chains]

    assert chains(1.0) == [sums.tolist()]
    assert chains(0.4) == [[0, 3, 6], [1, 4], [2, 5]]  # of five frames, every other one
    assert chains(1 / 3) == [[0, 3, 6], [1, 4], [2, 5]]
    assert chains(0.01) == [[0, 6]]


def test_expected_jumps_and_times_are_the_integrals():
    model = model_of({(0, 3): 0.3, (3, 4): 0.2, (3, 0): 0.1})
    within = hidden._within(model.generator, 2.0)
    s = np.linspace(0, 2, 2001)
    early = np.stack([expm(model.generator * x) for x in s])
    late = early[::-1]
    numeric = np.trapezoid(early[:, 0, 0] * late[:, 3, 4], s)
    assert within[0, 3, 0, 4] == pytest.approx(numeric, rel=1e-6)
    # the dose between two sums is spent in some class
    whole = within[np.arange(5), np.arange(5)].sum(axis=0)
    assert whole == pytest.approx(2.0 * expm(model.generator * 2.0), abs=1e-9)


def test_scores_are_the_slopes_of_the_likelihood():
    _, seen = seen_sites(51, {(0, 3): 0.05, (3, 4): 0.05}, sums=5, sites=120)
    model = model_of({(0, 3): 0.04, (3, 4): 0.07})
    ratio = seen.likelihood()
    kind = np.array([[0, 3], [3, 4]])
    found = hidden._Pass(seen, ratio, model)
    scores = hidden._scores(found, kind).sum(axis=0)
    for r, pair in enumerate(kind):
        value = []
        for factor in (np.exp(1e-4), np.exp(-1e-4)):
            rate = model.rate.copy()
            rate[tuple(pair)] *= factor
            moved = hidden.replace(model, rate=rate)
            value.append(hidden._Pass(seen, ratio, moved).log_likelihood)
        assert scores[r] == pytest.approx((value[0] - value[1]) / 2e-4, rel=1e-4)


def test_doses_that_differ_by_rounding_are_the_same_step():
    _, seen = seen_sites(62, RATES, sums=12, sites=400)
    odd = 0.7 / 3
    rounded = Observations(seen.probability, seen.seen, (np.arange(12) + 0.5) * odd)
    assert len(set(np.diff(rounded.dose).tolist())) > 1
    exact, scaled = fit_hidden(seen), fit_hidden(rounded)
    assert scaled.rate * odd == pytest.approx(exact.rate, rel=1e-3, abs=1e-6)


def test_uneven_doses_and_nonsense():
    true, seen = seen_sites(61, RATES)
    kept = np.array([0, 1, 4, 5, 9, 14, 19])
    few = Observations(seen.probability[kept], seen.seen[kept], seen.dose[kept])
    model = fit_hidden(few)
    assert model.rate[0, 3] == pytest.approx(0.007, rel=0.3)
    with pytest.raises(DefectStrainError, match="each after the other"):
        Observations(seen.probability[:2], seen.seen[:2], np.zeros(2))
    with pytest.raises(DefectStrainError, match="got no site"):
        fit_hidden(Observations(np.zeros((2, 0, 5)), np.zeros((2, 0), dtype=bool), np.arange(2.0)))
