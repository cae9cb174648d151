"""Rates, cross sections and the dose at which so much has changed."""

from __future__ import annotations

import numpy as np
import pytest
from series_stage import NAMES, START, model_of

from napari_defectstrain.materials import WSE2
from napari_defectstrain.series.hidden import RateErrors
from napari_defectstrain.series.rates import HOP, LOSS, changed_dose, rate_list

KIND = np.array([[0, 3], [3, 4]])
ERRORS = RateErrors(
    KIND, np.array([40.0, 10.0]), np.diag([1 / 40, 1 / 10]), np.array([2e4, 1e3, 500, 4e3, 100.0])
)


def test_rates_are_changes_over_exposure_with_limits_of_counts():
    rates = rate_list(model_of({(0, 3): 40 / 2e4, (3, 4): 10 / 4e3}), ERRORS, NAMES, WSE2)
    told = {(rate.before, rate.after): rate for rate in rates}
    loss = told["2Se", "SV"]
    assert loss.kind == LOSS and loss.atoms == 2
    assert loss.rate == pytest.approx(0.002) and loss.sigma == pytest.approx(0.002 / np.sqrt(40))
    # Garwood's limits of 10 counts: 4.795, 18.39
    second = told["SV", "DV"]
    assert second.low * 4e3 == pytest.approx(4.795, abs=0.01)
    assert second.high * 4e3 == pytest.approx(18.39, abs=0.01)
    # 0.002 per 1e6 e-/nm2 is 2e-9 nm2, 20 barn a column, 10 an atom
    assert loss.barn(loss.rate) == pytest.approx(10.0)
    # a change that wasn't seen has an upper limit: 3.69 counts
    fill = told["SV", "2Se"]
    assert (
        fill.changes == 0 and fill.rate == 0 and fill.high == pytest.approx(3.689 / 4e3, rel=1e-3)
    )
    # both losses together: 50 atoms of (2 x 2e4 + 4e3)
    every = rates[-1]
    assert every.after == "one Se less" and every.rate == pytest.approx(50 / 44e3)
    assert every.sigma / every.rate == pytest.approx(1 / np.sqrt(50))


def test_hops_are_neither_loss_nor_gain():
    kind = np.array([[0, 3], [3, 0]])
    errors = RateErrors(kind, np.array([50.0, 12.0]), np.diag([1 / 50, 1 / 12]), ERRORS.time)
    rates = rate_list(
        model_of({(0, 3): 50 / 2e4, (3, 0): 12 / 4e3}),
        errors,
        NAMES,
        WSE2,
        {(0, 3): 10.0, (3, 0): 10.0},
    )
    told = {(rate.before, rate.after): rate for rate in rates}
    loss = told["2Se", "SV"]
    assert loss.rate == pytest.approx(40 / 2e4)
    assert loss.sigma / loss.rate == pytest.approx(1 / np.sqrt(40))
    assert told["SV", "2Se"].changes == pytest.approx(2.0)
    hop = told["SV", "a neighbour"]
    assert hop.kind == HOP and hop.rate == pytest.approx(10 / 4e3)


def test_dose_of_a_hundredth_changed():
    model = model_of({(0, 3): 0.002, (3, 4): 0.0025})
    found = changed_dose(model, ERRORS, 0.01, 30.0)
    left = START @ np.exp(-np.array([0.002, 0, 0, 0.0025, 0]) * found.dose)
    assert left == pytest.approx(0.99)
    assert found.low < found.dose < found.high and not found.beyond
    assert changed_dose(model, ERRORS, 0.2, 30.0).beyond
    # more than ever can change: only the classes that lose atoms do
    never = changed_dose(model, ERRORS, 0.95, 30.0)
    assert not np.isfinite(never.dose)
    assert never.most == pytest.approx(START[[0, 3]].sum())
    # no limit lies beyond the dose by which nearly all that can change has changed
    nearly = changed_dose(model, ERRORS, 0.99 * never.most, 30.0)
    assert 0 < never.low < 2 * nearly.dose


def test_without_changes_there_is_a_lower_limit_of_the_dose():
    none = RateErrors(np.zeros((0, 2), dtype=int), np.zeros(0), np.zeros((0, 0)), ERRORS.time)
    found = changed_dose(model_of({}), none, 0.01, 30.0)
    assert np.isinf(found.dose) and found.low > 30 and found.beyond
    rates = rate_list(model_of({}), none, NAMES, WSE2)
    assert all(rate.changes == 0 and rate.high > 0 for rate in rates)
