"""Rates of the changes of classes, cross sections, and the dose at which so much has changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammainccinv, gammaincinv

from ..materials import Material
from ..types import FloatArray
from ..units import BARN_PER_NM2
from .hidden import LEAST_JUMPS, HiddenModel, RateErrors

LOSS, GAIN, EXCHANGE, HOP = "loss", "gain", "exchange", "migration"
DOSE, TIME, FRAME = "dose", "time", "frame"
"""What a series runs along: dose [1e6 e-/nm^2], time [s], or only frames."""

UNITS = {DOSE: "1e6 e-/nm2", TIME: "s", FRAME: "frame"}
_E_PER_NM2 = 1e6
_TAIL = 0.025


@dataclass(frozen=True)
class Rate:
    """How often columns of a class become others.

    Parameters
    ----------
    before, after : str
        Names of the classes; of the loss of any one atom, the classes it may leave, and what.
    kind : str
        `LOSS` or `GAIN` of atoms, `EXCHANGE`, or `HOP` to a neighbour.
    changes : float
        Expected number of such changes in the series.
    exposure : float
        Columns times dose (or time) that could change.
    rate, sigma, low, high : float
        Per column and unit, its standard error and limits of 95 %; without a change, 0 and an upper
        limit.
    atoms : int
        Atoms of that element that each column can lose: 2 for X2; 1 where it isn't asked.
    """

    before: str
    after: str
    kind: str
    changes: float
    exposure: float
    rate: float
    sigma: float
    low: float
    high: float
    atoms: int = 1

    def barn(self, value: float) -> float:
        """A rate per column and 1e6 e-/nm^2 as cross section of one of its atoms [barn]."""
        return value / _E_PER_NM2 * BARN_PER_NM2 / self.atoms


def rate_list(
    model: HiddenModel,
    errors: RateErrors,
    names: tuple[str, ...],
    material: Material,
    hops: Mapping[tuple[int, int], float] | None = None,
) -> list[Rate]:
    """Rates of all changes that were seen, and of the loss and gain of single atoms.

    Limits are those of a gamma distribution with the relative error of the rate: those of a count
    where every change is seen (Garwood 1936, doi:10.1093/biomet/28.3-4.437).

    Parameters
    ----------
    model, errors : HiddenModel, RateErrors
    names : tuple of str
        Classes of the model.
    material : Material
    hops : mapping of (int, int) to float, optional
        How many changes of each kind are one end of a hop: they are no loss and no gain, and
        counted as what they are.

    Returns
    -------
    list of Rate
        The last is the loss of one X atom by whatever column, where it can happen.
    """
    told = {(int(i), int(j)): r for r, (i, j) in enumerate(errors.kind)}
    errors = _without_hops(errors, told, hops or {})
    atoms = [_atoms(name, material) for name in names]
    result = []
    for i, before in enumerate(names):
        for j, after in enumerate(names):
            single = (
                atoms[i] is not None and atoms[j] is not None and _is_single(atoms[i], atoms[j])
            )
            if i == j or ((i, j) not in told and not single):
                continue
            kind = _kind(atoms[i], atoms[j])
            own = atoms[i]
            count = own[0] if kind == LOSS and single and own is not None else 1
            spread = errors.covariance[told[i, j], told[i, j]] if (i, j) in told else None
            jumps = float(errors.jumps[told[i, j]]) if (i, j) in told else 0.0
            exposure = float(errors.time[i])
            if exposure <= 0:
                continue
            if jumps < LEAST_JUMPS:
                spread = None
            result.append(_rate(before, after, kind, jumps, exposure, spread, max(count, 1)))
    return (
        result
        + _hopping(errors, names, hops or {}, material)
        + _any_atom(errors, names, told, material)
    )


def _without_hops(
    errors: RateErrors,
    told: Mapping[tuple[int, int], int],
    hops: Mapping[tuple[int, int], float],
) -> RateErrors:
    """The changes that are no hops; their relative errors grow as those of smaller counts."""
    left = errors.jumps.copy()
    for pair, count in hops.items():
        if pair in told:
            left[told[pair]] = max(left[told[pair]] - count, 0.0)
    scale = np.sqrt(errors.jumps / np.maximum(left, 1e-9))
    return replace(errors, jumps=left, covariance=errors.covariance * np.outer(scale, scale))


def _hopping(
    errors: RateErrors,
    names: tuple[str, ...],
    hops: Mapping[tuple[int, int], float],
    material: Material,
) -> list[Rate]:
    """How often a vacancy or a substituent goes to a neighbour, by the class that it leaves."""
    perfect = names.index(material.class_names[1])
    double = {
        names.index(material.class_names[k]): names.index(material.class_names[k - 1])
        for k in (3, 5)
    }  # Y2 leaves XY behind, V2 leaves V1
    left: dict[int, float] = {}
    for (before, after), count in hops.items():
        if after == perfect or double.get(before) == after:
            left[before] = left.get(before, 0.0) + count
    return [
        _rate(names[i], "a neighbour", HOP, count, float(errors.time[i]), 1.0 / count)
        for i, count in sorted(left.items())
        if count > 0 and errors.time[i] > 0
    ]


def _rate(
    before: str,
    after: str,
    kind: str,
    jumps: float,
    exposure: float,
    variance: float | None,
    atoms: int = 1,
) -> Rate:
    """With the limits that the variance of the rate's logarithm gives; None: nothing was seen."""
    if variance is None or jumps <= 0:
        high = float(gammainccinv(1.0, _TAIL)) / exposure
        return Rate(before, after, kind, 0.0, exposure, 0.0, np.nan, 0.0, high, atoms)
    rate = jumps / exposure
    low, high = _limits(variance)
    sigma = rate * float(np.sqrt(variance))
    return Rate(before, after, kind, jumps, exposure, rate, sigma, rate * low, rate * high, atoms)


def _limits(variance: float) -> tuple[float, float]:
    """Limits of 95 % of a rate relative to it, by the variance of its logarithm."""
    count = 1.0 / max(variance, 1e-12)
    return (
        float(gammaincinv(count, _TAIL)) / count,
        float(gammainccinv(count + 1.0, _TAIL)) / count,
    )


def _any_atom(
    errors: RateErrors,
    names: tuple[str, ...],
    told: dict[tuple[int, int], int],
    material: Material,
) -> list[Rate]:
    """The loss of one X atom, pooled over X2 and V1: each has as many chances as atoms."""
    x2, v1, v2 = (names.index(material.class_names[k]) for k in (1, 4, 5))
    kinds = [told[pair] for pair in ((x2, v1), (v1, v2)) if pair in told]
    exposure = float(2 * errors.time[x2] + errors.time[v1])
    if exposure <= 0:
        return []
    before = f"{names[x2]}, {names[v1]}"
    after = f"one {material.chalcogen} less"
    jumps = errors.jumps[kinds]
    if jumps.sum() < LEAST_JUMPS:
        return [_rate(before, after, LOSS, 0.0, exposure, None)]
    share = jumps / jumps.sum()
    variance = float(share @ errors.covariance[np.ix_(kinds, kinds)] @ share)
    return [_rate(before, after, LOSS, float(jumps.sum()), exposure, variance)]


def _atoms(name: str, material: Material) -> tuple[int, int] | None:
    """Atoms X and Y in a column of a class; None where that isn't known."""
    role = material.role_of(name)
    known = {"X2": (2, 0), "XY": (1, 1), "Y2": (0, 2), "V1": (1, 0), "V2": (0, 0)}
    return known.get(role)


def _is_single(before: tuple[int, int] | None, after: tuple[int, int] | None) -> bool:
    """Whether one X is what they differ by."""
    assert before is not None and after is not None
    return abs(before[0] - after[0]) == 1 and before[1] == after[1]


def _kind(before: tuple[int, int] | None, after: tuple[int, int] | None) -> str:
    if before is None or after is None or sum(before) == sum(after):
        return EXCHANGE
    return LOSS if sum(after) < sum(before) else GAIN


@dataclass(frozen=True)
class ChangedDose:
    """The dose at which a fraction of the columns have changed class.

    Parameters
    ----------
    fraction : float
    dose, low, high : float
        In the unit of the rates, with limits of 95 %; infinite where nothing changes.
    beyond : bool
        Beyond the series: by the rates, not seen.
    most : float
        Fraction that can change by these rates at all: of the classes that were seen to change.
    """

    fraction: float
    dose: float
    low: float
    high: float
    beyond: bool
    most: float = 1.0


def changed_dose(
    model: HiddenModel, errors: RateErrors, fraction: float, span: float
) -> ChangedDose:
    """When the given fraction of the columns have left the class that they began with.

    Solves ``sum_k start_k exp(-q_k D) = 1 - fraction`` with the total rate ``q_k`` of each class.

    Parameters
    ----------
    model, errors : HiddenModel, RateErrors
    fraction : float
        Between 0 and 1.
    span : float
        Dose of the whole series.
    """
    kind = errors.kind
    rate = np.zeros_like(model.rate)
    rate[tuple(kind.T)] = model.rate[tuple(kind.T)]
    leaving = rate.sum(axis=1)
    dose = _until(model.start, leaving, fraction)
    if not np.isfinite(dose):
        low = _until(model.start, _at_most(model, errors, leaving), fraction)
        most = float(model.start[leaving > 0].sum())
        return ChangedDose(fraction, np.inf, low, np.inf, True, most)
    weight = model.start[kind[:, 0]] * rate[tuple(kind.T)]
    share = weight / max(float(weight.sum()), 1e-300)
    low, high = _limits(float(share @ errors.covariance @ share))
    return ChangedDose(
        fraction,
        dose,
        _until(model.start, leaving * high, fraction),
        _until(model.start, leaving * low, fraction),
        dose > span,
    )


def _at_most(model: HiddenModel, errors: RateErrors, leaving: FloatArray) -> FloatArray:
    """Upper limits of 95 % of the total rates of the classes; of those never seen to change, too.

    Where none changed, they are told as one class, by all that was watched.
    """
    none = float(gammainccinv(1.0, _TAIL))
    if not len(errors.kind):
        return np.full(len(leaving), none / max(float(errors.time.sum()), 1e-12))
    result = none / np.maximum(errors.time, 1e-12)
    for k in np.flatnonzero(leaving > 0):
        mine = errors.kind[:, 0] == k
        share = np.array([model.rate[i, j] for i, j in errors.kind[mine]]) / leaving[k]
        variance = float(share @ errors.covariance[np.ix_(mine, mine)] @ share)
        result[k] = max(result[k], leaving[k] * _limits(variance)[1])
    return np.where(model.start > 0, result, 0.0)


def _until(start: FloatArray, leaving: FloatArray, fraction: float) -> float:
    def left(dose: float) -> float:
        return float(start @ np.exp(-leaving * dose)) - (1.0 - fraction)

    quickest = float(leaving.max(initial=0.0))
    slowest = float(leaving[leaving > 0].min(initial=np.inf))
    if quickest <= 0 or left(700.0 / slowest) > 0:
        return float("inf")
    return float(brentq(left, 0.0, 700.0 / slowest))
