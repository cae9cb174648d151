"""Images of different probe width: groups fitted apart, then combined."""

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import exact_images as exact
import numpy as np
import pytest
from class_stage import average_of, strain_errors
from class_stage import stack_of as stack

from napari_defectstrain.columns.averages.measure import ColumnConfig, measure_columns
from napari_defectstrain.columns.averages.probe_groups import split_by_probe
from napari_defectstrain.columns.averages.several import Windows
from napari_defectstrain.pipeline.work import Outcome, outcome_of
from napari_defectstrain.progress import helped_by
from napari_defectstrain.types import ClassStack

PROBES = ({"source_fwhm_pm": 70.0}, {"source_fwhm_pm": 115.0})
"""Columns of 108 and 143 pm full width at half maximum."""


def grouped(
    name: str, numbers: tuple[int, int], size: int, rng: np.random.Generator, noise: float = 0.0
) -> ClassStack:
    """Windows of two probes in random order."""
    group = rng.permutation(np.repeat([0, 1], numbers))
    images = np.stack([exact.average_image(name, size, **probe) for probe in PROBES])
    windows = images[group] + noise * rng.normal(size=(len(group), size, size))
    return replace(stack(name, windows), group=group)


def blank(name: str, group: np.ndarray) -> ClassStack:
    return replace(stack(name, np.zeros((len(group), 3, 3))), group=group)


def members(groups: list, name: str) -> list[list[int]]:
    return [np.flatnonzero(g.member[name]).tolist() for g in groups if name in g.member]


def test_small_groups_join_the_nearest() -> None:
    reference = blank("2Se", np.repeat([0, 1, 2, 3], [9, 2, 5, 20]))
    single = blank("SV", np.array([0] * 3 + [2] * 6 + [3] * 6))
    double = blank("DV", np.array([0, 2, 3, 3]))
    groups = split_by_probe({"2Se": reference, "SV": single, "DV": double})
    # group 1 has too few of the most numerous class: 0 and 2 are as near, 0 has more
    assert [g.stacks["2Se"].n for g in groups] == [11, 5, 20]
    assert members(groups, "2Se")[0] == list(range(11))
    # a class's own small groups join its nearest, 0 to 2; few windows stay together
    assert members(groups, "SV") == [list(range(9)), list(range(9, 15))]
    assert members(groups, "DV") == [[0, 1, 2, 3]]
    assert all(sum(g.member[n].size for g in groups if n in g.member) for n in groups[2].stacks)
    left_out = replace(single, included=np.arange(15) % 2 == 0)
    assert members(split_by_probe({"SV": left_out}), "SV") == [list(range(8))]
    assert len(split_by_probe({"SV": replace(single, group=None)})) == 1


@pytest.mark.slow
def test_strains_of_mixed_probes_are_true() -> None:
    rng = np.random.default_rng(1)
    numbers = {"2Se": (14, 6), "SeTe": (5, 15), "SV": (6, 14), "DV": (5, 6)}
    stacks = {n: grouped(n, k, 101, rng) for n, k in numbers.items()}
    averages = {n: average_of(s) for n, s in stacks.items()}
    found = measure_columns(stacks, averages, ColumnConfig(compare=False))
    errors = strain_errors(found, {n: m.fits.position_pm for n, m in found.items()})
    # measured: 0.007 %, as with one probe; asked for: 0.03 %
    assert max(abs(e) for e in errors.values()) < 2e-4
    assert found["DV"].profile_shift_pm.shape == found["2Se"].profile_shift_pm.shape


@pytest.mark.slow
def test_errors_of_mixed_probes_are_honest() -> None:
    config = ColumnConfig(n_coefficients=8, check_coefficients=7, compare=False)
    pulls = []
    for rng in np.random.default_rng(2).spawn(6):
        numbers = {"2Se": (20, 12), "SV": (10, 25)}
        stacks = {n: grouped(n, k, 61, rng, 0.05) for n, k in numbers.items()}
        averages = {n: average_of(s) for n, s in stacks.items()}
        for name, m in measure_columns(stacks, averages, config).items():
            site, truth, _, _ = exact.structure(name)
            away = np.linalg.norm(site[None] - m.fits.site_pm[:, None], axis=2)
            shared = np.sum(m.profile_shift_pm**2, axis=1).reshape(-1, 2)
            sigma = np.sqrt(m.fits.sigma_pm**2 + shared)
            pulls.append((m.fits.position_pm - truth[np.argmin(away, axis=1)]) / sigma)
            n = sum(numbers[name])
            assert m.influence_pm.shape == (n, 2 * len(m.fits.site_pm))
            # groups are strata: their errors add, which the plain sandwich of all rows nearly is
            plain = np.sum(m.influence_pm**2, axis=0) / (n * (n - 1))
            np.testing.assert_allclose(plain, np.diag(m.fits.covariance_pm2), rtol=0.1)
    # 6 seeds, 2 classes, 26 coordinates: 312 pulls, 4 %; sigma from 10 windows widens by some %
    assert np.std(pulls) == pytest.approx(1.03, abs=0.12)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(0.5 * np.size(pulls))


@pytest.mark.slow
def test_influence_is_in_the_order_of_the_windows() -> None:
    rng = np.random.default_rng(5)
    stacks = {n: grouped(n, (8, 7), 61, rng, 0.05) for n in ("2Se", "SV")}
    order = rng.permutation(15)
    turned = {
        n: replace(s, windows=s.windows[order], group=s.group[order])  # type: ignore[index]
        for n, s in stacks.items()
    }
    config = ColumnConfig(model="gaussians", compare=False)
    first, second = (
        measure_columns(s, {n: average_of(k) for n, k in s.items()}, config)["SV"]
        for s in (stacks, turned)
    )
    # averages summed in another order: rounding, through the fit's tolerance
    np.testing.assert_allclose(second.influence_pm, first.influence_pm[order], atol=1e-2)
    np.testing.assert_allclose(second.fits.position_pm, first.fits.position_pm, atol=1e-3)
    lighter = second.without_operators_of_parts()
    assert len(lighter.parts) == 2
    for model in (lighter.model, *(fit for _, fit in lighter.parts)):
        assert model.operator.shape == (second.model.operator.shape[0], 0)
        assert model.structure is not None
    alone = replace(second, parts=())
    assert alone.without_operators_of_parts() is alone


class AnotherProcess:
    """What is asked goes there and back as bytes."""

    def __init__(self) -> None:
        self.asked = 0

    def outcomes(
        self, function: Callable[..., Any], calls: Mapping[int, tuple[Any, ...]]
    ) -> Iterator[tuple[int, Outcome]]:
        self.asked += len(calls)
        for i, given in calls.items():
            sent = pickle.loads(pickle.dumps((function, given)))
            yield i, pickle.loads(pickle.dumps(outcome_of(*sent)))


def same(one: Any, other: Any) -> bool:
    """Whether all that two results hold is equal, to the last bit."""
    if is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
    return bool(one == other or one is other or (one != one and other != other))


@pytest.mark.slow
def test_another_process_finds_the_same_to_the_last_bit() -> None:
    rng = np.random.default_rng(3)
    numbers = {"2Se": (12, 7), "SV": (6, 8)}
    stacks = {n: grouped(n, k, 61, rng, 0.05) for n, k in numbers.items()}
    stacks["SV"].included[3] = False
    averages = {n: average_of(s) for n, s in stacks.items()}
    config = ColumnConfig(n_coefficients=8, check_coefficients=7)
    here = measure_columns(stacks, averages, config)
    other = AnotherProcess()
    with helped_by(other):
        helped = measure_columns(stacks, averages, config)
        assert other.asked == 2  # each probe's other models at once
        measure_columns(stacks, averages, config.replace(compare=False), check=False)
    assert other.asked == 2  # nothing but the own model: nothing to ask
    assert same(here, helped)


def test_windows_that_are_sent_are_those_that_count() -> None:
    windows = np.arange(20.0).reshape(5, 2, 2)
    some = Windows(windows, np.array([0, 3, 4]))
    sent = pickle.loads(pickle.dumps(some))
    assert sent.every.shape == (3, 2, 2)
    assert some.n_bytes == sent.n_bytes == 3 * 4 * 8
    assert np.array_equal(np.concatenate(list(sent.parts())), windows[[0, 3, 4]])
