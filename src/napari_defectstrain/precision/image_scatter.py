"""What windows have in common that their number doesn't average away, found by resampling.

Two questions to the influences of the windows (`columns.influence`), each answered against what
chance alone would give: do whole images differ by more than their windows do, and do windows that
registration moved far say something else than those that it hardly moved? An excess of
variance counts where chance makes as much in one case of 20 at most, and then what exceeds chance
by one standard deviation: the mean of an excess that is cut at zero is positive even where there
is nothing, and the square of a single quantity exceeds its mean by much in one case of eight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..types import FloatArray, IntArray

PERMUTATIONS = 100
MIN_WINDOWS = 8
MIN_IMAGES = 4
_SURE = 0.95
"""Share of chance's values that an excess lies above."""


@dataclass(frozen=True)
class WindowValues:
    """What each window of a class adds to some quantities, all of mean zero.

    Parameters
    ----------
    value : array, `(N, K)`
        Influences on the quantities.
    image_index : array of int, `(N,)`
        Image of each window.
    shift_pm : array, `(N,)`
        How far registration moved each window [pm].
    """

    value: FloatArray
    image_index: IntArray
    shift_pm: FloatArray


@dataclass(frozen=True)
class BetweenImages:
    """Variance of a class's quantities between images, against that of their windows.

    Parameters
    ----------
    ratio : array, `(n groups,)`
        The one over the other: below 1 where windows of one image make up for one another, above
        it where they share an error.
    chance_std : array, `(n groups,)`
        How much the ratio scatters about 1 if windows are dealt to the images at random.
    excess : array, `(n groups,)`
        Variance between images beyond that of windows and chance; NaN where it can't be told.
    """

    ratio: FloatArray
    chance_std: FloatArray
    excess: FloatArray

    @property
    def design_effect(self) -> FloatArray:
        """Factor of the windows' variance, `(n groups,)`: the ratio where it is surely below 1."""
        surely = self.ratio < 1.0 - 2.0 * self.chance_std
        return np.asarray(np.where(surely, self.ratio, 1.0))


def between_images(
    own: WindowValues,
    base: WindowValues | None,
    groups: IntArray,
    rng: np.random.Generator,
    n_groups: int,
) -> BetweenImages:
    """How much whole images differ, against how much their windows do.

    The quantity is the mean over the class's windows less that over the reference's; images that
    hold both count with both, so that what they share cancels. Chance is the same with the
    windows dealt to the images at random.

    Images can differ by less: the lattice that turns an image's windows is fitted to all of its
    columns, so that what distorts one window against that lattice distorts the others the
    opposite way. Taken as independent, windows then make errors too large.

    Parameters
    ----------
    own, base : WindowValues
        Of the class and of the reference, if there is one.
    groups : array of int, `(K,)`
        Quantities of one group are expected to suffer alike: their variances are averaged.
    rng : numpy Generator
    n_groups : int
        Of which some may be empty: nothing is known of these.

    Returns
    -------
    BetweenImages
        Ratio 1 and an excess of NaN where fewer than `MIN_IMAGES` images hold the class: nothing
        is known then.
    """
    holding = len(np.unique(own.image_index))
    if holding < MIN_IMAGES:
        return BetweenImages(np.ones(n_groups), np.zeros(n_groups), np.full(n_groups, np.nan))
    members = [own] if base is None else [own, base]
    images = np.unique(np.concatenate([m.image_index for m in members]))

    def variance(places: Sequence[IntArray]) -> FloatArray:
        total = np.zeros((len(images), own.value.shape[1]))
        for member, place in zip(members, places, strict=True):
            share = np.zeros((len(images), len(place)))
            share[place, np.arange(len(place))] = 1.0 / len(place)
            total += share @ member.value
        return by_group(np.sum(total**2, axis=0), groups, n_groups)

    places = [np.searchsorted(images, m.image_index) for m in members]
    chance = np.array([variance([rng.permutation(p) for p in places]) for _ in range(PERMUTATIONS)])
    found, expected = variance(places), np.maximum(chance.mean(axis=0), 1e-300)
    excess = _beyond_chance(found, chance) * holding / (holding - 1)  # about the images' own mean
    return BetweenImages(found / expected, chance.std(axis=0) / expected, excess)


def shift_excess(
    own: WindowValues, groups: IntArray, rng: np.random.Generator, n_groups: int
) -> FloatArray:
    """Variance of a class's quantities that comes with how far registration moved the windows.

    A quarter of the squared difference between the means of the half that was moved farther and
    of the other half: how far either is from the mean of all. Chance is a random half.

    Parameters
    ----------
    own : WindowValues
    groups : array of int, `(K,)`
    rng : numpy Generator
    n_groups : int
        As in `between_images`.

    Returns
    -------
    array, `(n groups,)`
        NaN for fewer than `MIN_WINDOWS` windows: they can't tell.
    """
    n = len(own.value)
    if n < MIN_WINDOWS:
        return np.full(n_groups, np.nan)
    half = n // 2
    order = np.argsort(own.shift_pm, kind="stable")
    sign = np.zeros((PERMUTATIONS + 1, n))
    sign[0, order[:half]], sign[0, order[half:]] = -1.0 / half, 1.0 / (n - half)
    sign[1:] = rng.permuted(np.tile(sign[0], (PERMUTATIONS, 1)), axis=1)
    square = (0.5 * sign @ own.value) ** 2
    pooled = np.stack([by_group(row, groups, n_groups) for row in square])
    return _beyond_chance(pooled[0], pooled[1:])


def by_group(square: FloatArray, groups: IntArray, n_groups: int) -> FloatArray:
    """Mean of each group's squares `(..., K)` that are known, `(n_groups,)`; NaN without any."""
    known = np.isfinite(square)
    group = np.broadcast_to(groups, square.shape)[known]
    count = np.bincount(group, minlength=n_groups)
    total = np.bincount(group, square[known], minlength=n_groups)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _beyond_chance(found: FloatArray, chance: FloatArray) -> FloatArray:
    excess = np.maximum(found - chance.mean(axis=0) - chance.std(axis=0), 0.0)
    # of a group without quantities all is NaN, which is not above either
    return np.asarray(np.where(found <= np.quantile(chance, _SURE, axis=0), 0.0, excess))
