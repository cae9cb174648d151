"""The spacing of an average whose windows have changed, before it is fitted again."""

from dataclasses import replace

import numpy as np
import pytest
from class_stage import noisy
from small_alloy import QUICK

from napari_defectstrain.averages import leave_out
from napari_defectstrain.pipeline import measure_spacings
from napari_defectstrain.precision.foreseen import foresee_spacing


@pytest.fixture(scope="module")
def measured():
    rng = np.random.default_rng(3)
    stacks = {name: noisy(name, 24, rng, 0.1) for name in ("2Se", "SV")}
    return stacks, measure_spacings(stacks, QUICK)


def test_with_the_same_windows_it_is_the_spacing_of_the_fit(measured):
    stacks, found = measured
    now = foresee_spacing(found["SV"].columns, stacks["SV"])
    spacing = found["SV"].spacing
    assert abs(now.spacing_pm - spacing.spacing_pm) < 0.02 * spacing.precision_pm
    assert now.n == 24
    # the standard error by the scatter, and by the bootstrap of 50 samples: 10 % each
    assert 0.6 < now.sem_pm / spacing.precision_pm < 1.6


def test_with_other_windows_it_is_what_the_fit_will_say(measured):
    stacks, found = measured
    fewer = leave_out(stacks["SV"], range(0, 24, 2))
    now = foresee_spacing(found["SV"].columns, fewer)
    anew = measure_spacings({**stacks, "SV": fewer}, QUICK)["SV"].spacing
    assert abs(anew.spacing_pm - found["SV"].spacing.spacing_pm) > 0.2 * now.sem_pm
    assert abs(now.spacing_pm - anew.spacing_pm) < 0.1 * now.sem_pm
    assert now.n == 12


def test_where_the_last_fit_says_nothing_nothing_is_said(measured):
    stacks, found = measured
    columns, stack = found["SV"].columns, stacks["SV"]
    smaller = replace(stack, windows=stack.windows[:, 2:-2, 2:-2])
    assert foresee_spacing(columns, smaller) is None
    apart = replace(columns, parts=((np.ones(24, dtype=bool), columns.model),))
    assert foresee_spacing(apart, stack) is None
