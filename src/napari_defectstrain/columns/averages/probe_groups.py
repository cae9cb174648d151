"""Images of different probe width: windows fitted by groups, and what the groups say together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...averages.average import average_stack
from ...types import BoolArray, ClassAverage, ClassStack, FloatArray, IntArray
from .types import Alternative, ColumnMeasurement

MIN_WINDOWS = 5
"""Fewer windows of a class make no average of their own."""


@dataclass(frozen=True)
class ProbeGroup:
    """Windows of all classes that are fitted with one profile.

    Parameters
    ----------
    stacks : mapping of class to ClassStack
        Only classes that have windows here; those of other groups are left out of each stack.
    member : mapping of class to array of bool, `(N,)`
        Which of the class's included windows they are.
    """

    stacks: Mapping[str, ClassStack]
    member: Mapping[str, BoolArray]

    def averages(self) -> dict[str, ClassAverage]:
        """Average of each class."""
        return {name: average_stack(stack) for name, stack in self.stacks.items()}


def split_by_probe(stacks: Mapping[str, ClassStack]) -> list[ProbeGroup]:
    """The groups of `ClassStack.group`, as far as they are large enough.

    Groups are numbered by rising width (`probe_width.ProbeWidths`), so that the nearest is the next
    number. A group with fewer than 5 windows of the class with most windows has too little to
    learn a profile from: it joins the nearest. In a class, a group of fewer than 5 windows joins
    the nearest that the class has; what its columns are wider or narrower there is left to the
    class's blur.

    Parameters
    ----------
    stacks : mapping of class to ClassStack

    Returns
    -------
    list of ProbeGroup
        By rising width; of length 1 where the stacks have no groups.
    """
    group = {n: _labels(s) for n, s in stacks.items()}
    most = max(group, key=lambda name: len(group[name]))
    number = {
        g: int(np.sum(group[most] == g)) for g in np.unique(np.concatenate([*group.values()]))
    }
    target = _merge(number)
    merged = {n: np.array([target[g] for g in label], dtype=np.intp) for n, label in group.items()}
    for name, label in merged.items():
        own = _merge({g: int(np.sum(label == g)) for g in np.unique(label)})
        merged[name] = np.array([own[g] for g in label], dtype=np.intp)
    parts = []
    for g in np.unique(np.concatenate([*merged.values()])):
        member = {n: label == g for n, label in merged.items() if np.any(label == g)}
        part = {n: _part(stacks[n], m) for n, m in member.items()}
        parts.append(ProbeGroup(part, member))
    return parts


def _labels(stack: ClassStack) -> IntArray:
    if stack.group is None:
        return np.zeros(stack.n, dtype=np.intp)
    return np.asarray(stack.group[stack.included])


def _merge(number: Mapping[int, int]) -> dict[int, int]:
    """Which group each one's windows go to, until none is too small."""
    target = {g: g for g in number}
    left = dict(number)
    while len(left) > 1 and min(left.values()) < MIN_WINDOWS:
        small = min(left, key=lambda g: left[g])
        near = min((g for g in left if g != small), key=lambda g: (abs(g - small), -left[g]))
        left[near] += left.pop(small)
        target = {g: near if t == small else t for g, t in target.items()}
    return target


def _part(stack: ClassStack, member: BoolArray) -> ClassStack:
    included = stack.included.copy()
    included[included] = member
    return replace(stack, included=included)


def combine(
    groups: Sequence[ProbeGroup], measured: Sequence[Mapping[str, ColumnMeasurement]]
) -> dict[str, ColumnMeasurement]:
    """The measurement of all windows of each class, from those of its groups.

    Positions are means weighted by the number of windows. The influence of a window is that on
    its own group's average: as there are ``n_g`` of ``N`` such windows, their mean over all ``N``
    is the shift of the combined position. The learnt profiles are independent.

    Parameters
    ----------
    groups : sequence of ProbeGroup
    measured : sequence of mapping of class to ColumnMeasurement
        Of each group.

    Returns
    -------
    dict of class to ColumnMeasurement
    """
    names = list(dict.fromkeys(name for part in measured for name in part))
    return {name: _combine_class(name, groups, measured) for name in names}


def _combine_class(
    name: str, groups: Sequence[ProbeGroup], measured: Sequence[Mapping[str, ColumnMeasurement]]
) -> ColumnMeasurement:
    parts = [(g.member[name], m[name]) for g, m in zip(groups, measured, strict=True) if name in m]
    total = sum(int(member.sum()) for member, _ in parts)
    share = [float(member.sum() / total) for member, _ in parts]
    of_all = [m for _, m in parts]
    largest = of_all[int(np.argmax(share))]

    def mean(values: Sequence[FloatArray]) -> FloatArray:
        return np.asarray(sum(s * v for s, v in zip(share, values, strict=True)))

    def in_order(values: Sequence[FloatArray]) -> FloatArray:
        rows = np.empty((total, values[0].shape[1]))
        for (member, _), value in zip(parts, values, strict=True):
            rows[member] = value
        return rows

    # a column without a position in one group has none in all
    fits = replace(
        largest.fits,
        position_pm=mean([m.fits.position_pm for m in of_all]),
        covariance_pm2=np.asarray(
            sum(s**2 * m.fits.covariance_pm2 for s, m in zip(share, of_all, strict=True))
        ),
        weight=mean([m.fits.weight for m in of_all]),
        flag=np.bitwise_or.reduce([m.fits.flag for m in of_all]),
    )
    # every group of images has a profile of its own, also where this class has no windows
    shifts = [share[k] * m.profile_shift_pm for k, m in enumerate(of_all)]
    checks = [share[k] * m.check_shift_pm for k, m in enumerate(of_all)]
    alternatives = {
        model: Alternative(
            mean([m.alternatives[model].position_pm for m in of_all]),
            mean([m.alternatives[model].bias_pm for m in of_all]),
            in_order([m.alternatives[model].influence_pm for m in of_all]),
        )
        for model in largest.alternatives
        if all(model in m.alternatives for m in of_all)
    }
    biases = [m.bias_pm for m in of_all if m.bias_pm is not None]
    return ColumnMeasurement(
        fits=fits,
        influence_pm=in_order([m.influence_pm for m in of_all]),
        profile_shift_pm=_beside(name, shifts, measured, lambda m: m.profile_shift_pm),
        check_position_pm=mean([m.check_position_pm for m in of_all]),
        check_shift_pm=_beside(name, checks, measured, lambda m: m.check_shift_pm),
        model=largest.model,
        alternatives=alternatives,
        bias_pm=mean(biases) if biases else None,
        config=largest.config,
        parts=tuple((member, m.model) for member, m in parts),
    )


def _beside(
    name: str,
    shifts: Sequence[FloatArray],
    measured: Sequence[Mapping[str, ColumnMeasurement]],
    kind: Callable[[ColumnMeasurement], FloatArray],
) -> FloatArray:
    """Shifts of one kind by each group's profile beside each other; zero without this class."""
    mine = iter(shifts)
    blocks = []
    for part in measured:
        if name in part:
            blocks.append(next(mine))
        else:
            blocks.append(np.zeros_like(kind(next(iter(part.values())))))
    return np.concatenate(blocks, axis=1)
