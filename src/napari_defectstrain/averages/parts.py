"""The parts of a class: averages of its populations, whose windows can't be told one by one.

A window that is sorted by its own triangle takes the noise of that triangle with it, and parts that
are cut so lie too far apart. Here no window is sorted. What a window is expected to look like,
given what its chances come from, is linear in the chances and in these quantities,
``E[w | y] = sum_k p_k (I_k - B mu_k) + B y``, where B is how noise of the quantities goes along
with noise of the pixels. Regression of all windows on both gives B and, at ``y = mu_k``, the
averages I_k, where mu_k are the populations' places by maximum likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..io.large_arrays import in_parts, room
from ..materials import PART
from ..types import ClassStack, DefectStrainError, FloatArray, IntArray, Neighbours

LEAST_CHANCE = 0.01
"""Windows that are of a population with less than this are no windows of its average."""

LEAST_WORTH = 3.0
"""A population whose average knows less than this many windows would can't be told."""

CHUNK = 256  # windows at a time


@dataclass(frozen=True)
class Membership:
    """How the windows of a class belong to its K populations.

    Parameters
    ----------
    value : array, `(N, Q)`
        Quantities of each window that the chances come from, in any units.
    chance : array, `(N, K)`
        Of each window to be of each population.
    mean : array, `(K, Q)`
        The populations' places.
    influence : array, `(N, T)`
        What each window did to the T parameters of the fit; sums to zero.
    chance_gradient, mean_gradient : arrays, `(T, N, K)` and `(T, K, Q)`
        Derivatives of `chance` and of `mean` by the parameters.
    others : tuple of str
        The J other classes expected among the windows.
    other_chance, other_mean, other_gradient : arrays, `(N, J)`, `(J, Q)`, `(T, N, J)`
        Chance of each window to be of these, their places, and derivatives of the chances.
    """

    value: FloatArray
    chance: FloatArray
    mean: FloatArray
    influence: FloatArray
    chance_gradient: FloatArray
    mean_gradient: FloatArray
    others: tuple[str, ...]
    other_chance: FloatArray
    other_mean: FloatArray
    other_gradient: FloatArray


def part_names(class_name: str, count: int) -> tuple[str, ...]:
    """Names of a class's parts, the largest population first.

    >>> part_names("SV", 2)
    ('SV.1', 'SV.2')
    """
    return tuple(f"{class_name}{PART}{k + 1}" for k in range(count))


def split_stack(
    stack: ClassStack, membership: Membership, others: Mapping[str, FloatArray]
) -> dict[str, ClassStack]:
    """Stacks whose averages are those of the populations of a class.

    Their windows are not the ones that were cut: each is the population's average and what the
    window adds to it, by itself and by its say in the fit of the populations, times their number,
    so that mean and scatter are the average and its error. A window that surely is of a population
    stays what it was.

    Parameters
    ----------
    stack : ClassStack
    membership : Membership
        Of its included windows.
    others : mapping of class to array, `(P, P)`
        Average window of each of the other classes expected: taken out.

    Returns
    -------
    dict of name to ClassStack
        ``SV.1``, ``SV.2`` and so on, by `part_names`, with the windows that may be of the
        population.

    Raises
    ------
    DefectStrainError
        If the chances aren't of these windows, or the populations are too near to each other.
    """
    if len(membership.chance) != stack.n:
        raise DefectStrainError(
            f"{stack.class_name}: got chances of {len(membership.chance)} windows, expected those "
            f"of the {stack.n} that count; measure the averages again"
        )
    names = part_names(stack.class_name, membership.chance.shape[1])
    unmixed = _Unmixed.of(stack, membership, others)
    parts = {}
    for k, name in enumerate(names):
        worth = 1.0 / float(np.sum(unmixed.weight[k] ** 2))
        kept = np.flatnonzero(membership.chance[:, k] >= LEAST_CHANCE)
        if not min(worth, len(kept)) > LEAST_WORTH - 0.01:
            raise DefectStrainError(
                f"{name}: got windows worth {worth:.1f} of this population alone, expected at "
                f"least {LEAST_WORTH:g}; the populations are too near to be averaged apart"
            )
        parts[name] = _part(stack, name, k, kept, unmixed, membership.others)
    return parts


@dataclass(frozen=True)
class _Unmixed:
    """The regression of a class's windows on their chances and quantities.

    Parameters
    ----------
    design : array, `(N, C)`
        Chances, quantities, and last, of mean zero, which group a window is of.
    n_groups : int
        Coefficients that are of groups.
    weight : array, `(K, N)`
        Of each window in each population's average.
    coefficient : array, `(C, P, P)`
    average : array, `(K, P, P)`
    other_chance, other : arrays, `(N, J)` and `(J, P, P)`
    by_fit : array, `(K, T, P, P)`
        Change of the averages by the parameters of the populations' fit.
    influence : array, `(N, T)`
    """

    design: FloatArray
    n_groups: int
    weight: FloatArray
    coefficient: FloatArray
    average: FloatArray
    other_chance: FloatArray
    other: FloatArray
    by_fit: FloatArray
    influence: FloatArray

    @classmethod
    def of(cls, stack: ClassStack, told: Membership, others: Mapping[str, FloatArray]) -> _Unmixed:
        """Fit all windows that count."""
        index = np.flatnonzero(stack.included)
        k, q = told.mean.shape
        value = told.value - told.other_chance @ told.other_mean
        groups = _groups(stack)
        design = np.hstack([told.chance, value, groups])
        if np.linalg.matrix_rank(design) < design.shape[1]:
            raise DefectStrainError(
                f"{stack.class_name}: got windows that all are of its populations with like "
                "chances, expected some to be of one more than of another"
            )
        solution = np.linalg.pinv(design)  # (C, N)
        asked = np.hstack([np.eye(k), told.mean, np.zeros((k, groups.shape[1]))])
        weight = asked @ solution
        shape = stack.windows.shape[1:]
        other = np.array([others[name] for name in told.others]).reshape(-1, *shape)
        other = other.astype(float)
        total = np.zeros((design.shape[1], *shape))
        parts = in_parts(stack.windows, index, CHUNK)
        for start, windows in zip(range(0, len(index), CHUNK), parts, strict=True):
            total += np.tensordot(solution[:, start : start + CHUNK], windows.astype(float), 1)
        coefficient = total - np.tensordot(solution @ told.other_chance, other, 1)
        # how the averages follow the parameters: by the chances, by the places, by other classes
        of_chance = np.einsum("kn,tnj->ktj", weight, told.chance_gradient)
        of_other = np.einsum("kn,tnj->ktj", weight, told.other_gradient)
        of_value = told.mean_gradient.transpose(1, 0, 2) + of_other @ told.other_mean
        return cls(
            design=design,
            n_groups=groups.shape[1],
            weight=weight,
            coefficient=coefficient,
            average=np.tensordot(asked, coefficient, 1),
            other_chance=told.other_chance,
            other=other,
            by_fit=np.tensordot(of_value, coefficient[k : k + q], 1)
            - np.tensordot(of_chance, coefficient[:k], 1)
            - np.tensordot(of_other, other, 1),
            influence=told.influence - told.influence.mean(axis=0),
        )

    def windows(self, k: int, stack: ClassStack, kept: IntArray) -> FloatArray:
        """The windows of a population's average, `(n, P, P)`."""
        index, n = np.flatnonzero(stack.included)[kept], len(kept)
        of_groups = self.design.shape[1] - self.n_groups
        found = room((n, *stack.windows.shape[1:]), stack.windows.dtype)
        total = np.zeros(stack.windows.shape[1:])
        parts = in_parts(stack.windows, index, CHUNK)
        for start, windows in zip(range(0, n, CHUNK), parts, strict=True):
            mine = kept[start : start + CHUNK]
            expected = np.tensordot(self.design[mine], self.coefficient, 1)
            expected += np.tensordot(self.other_chance[mine], self.other, 1)
            added = self.weight[k, mine, None, None] * (windows - expected)
            added += np.tensordot(self.influence[mine], self.by_fit[k], 1)
            by_group = np.tensordot(self.design[mine, of_groups:], self.coefficient[of_groups:], 1)
            found[start : start + CHUNK] = n * added + by_group
            total += found[start : start + CHUNK].sum(axis=0, dtype=float)
        for start in range(0, n, CHUNK):
            found[start : start + CHUNK] += (self.average[k] - total / n).astype(found.dtype)
        return found


def _groups(stack: ClassStack) -> FloatArray:
    """Which group each included window is of, against the first, less the mean, `(N, G - 1)`."""
    if stack.group is None:
        return np.zeros((stack.n, 0))
    group = stack.group[stack.included]
    here = (group[:, None] == np.unique(group)[1:]).astype(float)
    return np.asarray(here - here.mean(axis=0))


def _part(
    stack: ClassStack,
    name: str,
    k: int,
    kept: IntArray,
    unmixed: _Unmixed,
    others: tuple[str, ...],
) -> ClassStack:
    index = np.flatnonzero(stack.included)[kept]
    # probabilities of the detector as they are right, so that no further factor is needed
    right = np.clip(1.0 - stack.overconfidence * (1.0 - stack.probability[index]), 0.0, 1.0)
    chances: FloatArray | None = None
    class_names: tuple[str, ...] = ()
    if stack.probabilities is not None:
        # what else is expected, but for the classes that were taken out
        rest = stack.probabilities[index].copy()
        rest[:, stack.class_names.index(stack.class_name)] = 0.0
        total = rest.sum(axis=1, keepdims=True)
        scale = np.divide(1.0 - right[:, None], total, out=np.zeros_like(total), where=total > 0)
        rest *= scale
        rest[:, [stack.class_names.index(other) for other in others]] = 0.0
        right = 1.0 - rest.sum(axis=1)
        chances = np.hstack([rest, right[:, None]])
        class_names = (*stack.class_names, name)
    return replace(
        stack,
        class_name=name,
        windows=unmixed.windows(k, stack, kept),
        image_index=stack.image_index[index],
        site_index=stack.site_index[index],
        position_px=stack.position_px[index],
        shift_pm=stack.shift_pm[index],
        probability=right,
        included=np.ones(len(index), dtype=bool),
        reason=np.full(len(index), "", dtype="<U64"),
        probabilities=chances,
        class_names=class_names,
        overconfidence=1.0,
        group=None if stack.group is None else stack.group[index],
        neighbours=None if stack.neighbours is None else _near(stack.neighbours, index),
    )


def _near(neighbours: Neighbours, index: IntArray) -> Neighbours:
    """The neighbours of some windows, counted anew."""
    place = np.full(int(max(neighbours.window.max(initial=-1), index.max(initial=-1))) + 1, -1)
    place[index] = np.arange(len(index))
    window = place[neighbours.window]
    kept = window >= 0
    return replace(
        neighbours,
        window=window[kept],
        class_index=neighbours.class_index[kept],
        site_pm=neighbours.site_pm[kept],
    )
