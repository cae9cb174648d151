"""Whether a change helps: columns that it wasn't learnt from, before and after.

Both are told by the same columns, so that what makes an image hard makes it hard for both. Two
questions are asked. Could chance alone have made so great a gain? Before and after are exchanged
at random tile by tile, as McNemar's test does column by column (Psychometrika 12, 153, 1947;
neighbours err together, so that tiles are the units). And does it hold for other images? The
difference is drawn again and again from the images, and from the tiles of each, with replacement
(Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 8). Where few images gain, and
those much, that interval begins below zero: a sample of n images lacks any one of them in a third
of the cases. Then it is enough that no image is worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluation import HIT_RADIUS_PM, MARGIN_PM, UNKNOWN, f1_by_role, match_columns
from ..materials import DEFECT_ROLES, ROLES
from ..types import BoolArray, FloatArray, IntArray, Sites
from .lessons import Lesson, in_tiles, tile_numbers

LEAST_GAIN = 0.005
"""Of the mean F1: what changes less isn't worth other numbers."""
CHANCE = 0.001
"""Of so great a gain by chance: several parts are tried, and columns of one image err alike."""
_NONE = len(ROLES)
_HARM = 0.05  # chance that any of the images is called worse where none is
_SAMPLES, _SWAPS = 1000, 4000
_ROUNDING = 1e-9
_FOLDS = 5
_TILED_PARTS = 2
_LIMITS = (0.025, 0.975)


@dataclass(frozen=True)
class Gain:
    """A score before and after, with the 95 % interval of the difference.

    Parameters
    ----------
    before, after : float
        NaN where there are no such columns.
    low, high : float
        Of after less before.
    columns : int
        True columns that the score is made of.
    """

    before: float
    after: float
    low: float
    high: float
    columns: int

    @property
    def difference(self) -> float:
        """After less before."""
        return self.after - self.before


@dataclass(frozen=True)
class Verdict:
    """What held-out columns say of a change.

    Parameters
    ----------
    mean : Gain
        Of the mean F1 of the classes of defects.
    classes : tuple of Gain
        Of the F1 of each, in the order of `materials.DEFECT_ROLES`.
    images : int
        How many the columns are of.
    by_chance : float
        How often the mean gains as much where before and after are exchanged at random, tile by
        tile.
    worse : int
        Images that lose more than `LEAST_GAIN`, and more than chance.
    """

    mean: Gain
    classes: tuple[Gain, ...]
    images: int
    by_chance: float
    worse: int

    @property
    def helps(self) -> bool:
        """Whether the gain is worth it, more than chance, and holds for other images."""
        return (
            self.mean.difference >= LEAST_GAIN
            and self.by_chance <= CHANCE
            and (self.mean.low > 0.0 or self.worse == 0)
        )


def folds(lessons: Sequence[Lesson]) -> list[tuple[list[Lesson], list[Lesson]]]:
    """What is learnt from and what it is tried on, so that every known column is tried once.

    Whole images are held out; of a single one, every other tile.

    Parameters
    ----------
    lessons : sequence of Lesson

    Returns
    -------
    list of (list of Lesson, list of Lesson)
    """
    if len(lessons) == 1:
        parts = in_tiles(lessons[0], _TILED_PARTS)
        return [([p for p in parts if p is not part], [part]) for part in parts]
    count = min(_FOLDS, len(lessons))
    number = np.arange(len(lessons)) % count
    return [
        (
            [one for one, i in zip(lessons, number, strict=True) if i != k],
            [one for one, i in zip(lessons, number, strict=True) if i == k],
        )
        for k in range(count)
    ]


def counts_by_tile(lesson: Lesson, found: Sites, pixel_size_pm: float) -> IntArray:
    """Columns by true class (rows) and found class (columns), the last of each 'none', by tile.

    Parameters
    ----------
    lesson : Lesson
        Only what somebody looked at counts.
    found : Sites
    pixel_size_pm : float

    Returns
    -------
    array, `(T, 8, 8)`
        As `evaluation.Comparison.counts` of each tile.
    """
    pairs = match_columns(found.position_px, lesson.position_px, HIT_RADIUS_PM / pixel_size_pm)
    given = np.full(len(lesson.position_px), _NONE)
    classes = np.where(found.class_index < _NONE, found.class_index, ROLES.index("other"))
    given[pairs[1]] = classes[pairs[0]]
    number = tile_numbers(lesson.looked.shape)
    counts = np.zeros((int(number.max()) + 1, _NONE + 1, _NONE + 1), dtype=np.int64)
    counted = _counted(lesson, lesson.position_px, pixel_size_pm)
    counted &= lesson.class_index != UNKNOWN
    tile = _at(number, lesson.position_px)
    np.add.at(counts, (tile[counted], lesson.class_index[counted], given[counted]), 1)
    lonely = _counted(lesson, found.position_px, pixel_size_pm)
    lonely[pairs[0]] = False
    there = _at(number, found.position_px)[lonely]
    np.add.at(counts, (there, np.full(len(there), _NONE), classes[lonely]), 1)
    return counts


def _counted(lesson: Lesson, position_px: FloatArray, pixel_size_pm: float) -> BoolArray:
    """Places that somebody looked at, without the rim of the image."""
    margin = MARGIN_PM / pixel_size_pm
    end = np.asarray(lesson.looked.shape) - 1 - margin
    inside = np.all((position_px >= margin) & (position_px <= end), axis=1)
    return np.asarray(inside & lesson.looked_at(position_px))


def _at(number: IntArray, position_px: FloatArray) -> IntArray:
    row, col = np.clip(np.rint(position_px).astype(int), 0, np.array(number.shape) - 1).T
    return np.asarray(number[row, col])


def compared(
    before: Sequence[IntArray], after: Sequence[IntArray], rng: np.random.Generator
) -> Verdict:
    """What the counts of the same lessons say.

    Parameters
    ----------
    before, after : sequence of array, `(T, 8, 8)`
        Of each lesson, see `counts_by_tile`.
    rng : Generator
        Draws the samples.
    """
    counts = np.stack([np.stack(before), np.stack(after)])  # (2, images, T, 8, 8)
    images, tiles = counts.shape[1:3]
    differences = np.empty((_SAMPLES, len(DEFECT_ROLES) + 1))
    for k in range(_SAMPLES):
        drawn = rng.integers(images, size=images)
        share = rng.multinomial(tiles, np.full(tiles, 1.0 / tiles), size=images)
        sample = np.einsum("bitxy,it->bxy", counts[:, drawn], share)
        its = _scores(sample)
        differences[k] = its[1] - its[0]
    low, high = (_quantiles(differences, q) for q in _LIMITS)
    first, last = _scores(counts.sum(axis=(1, 2)))
    columns = true_columns(counts[0].sum(axis=(0, 1)))
    gains = [
        Gain(float(b), float(a), float(lower), float(upper), int(n))
        for b, a, lower, upper, n in zip(
            first, last, low, high, [*columns, columns.sum()], strict=True
        )
    ]
    change = counts[1] - counts[0]
    gained = _by_chance(counts[0].sum(axis=(0, 1)), change.reshape(-1, *change.shape[2:]), 1, rng)
    worse = sum(_is_worse(counts[:, i], _HARM / images, rng) for i in range(images))
    return Verdict(gains[-1], tuple(gains[:-1]), images, gained, worse)


def mean_f1(counts: FloatArray | IntArray) -> FloatArray:
    """Mean F1 of the classes of defects that there are, `(...)`; 0 where there are none.

    A class of which no column is true counts in none of two that are compared: it would cost the
    one that calls a single column so as much as a class that is never found.

    Parameters
    ----------
    counts : array, `(..., 8, 8)`
        Confusion matrices.
    """
    there = true_columns(counts) > 0
    total = np.where(there, f1_by_role(counts), 0.0).sum(axis=-1)
    return np.asarray(total / np.maximum(there.sum(axis=-1), 1))


def true_columns(counts: FloatArray | IntArray) -> IntArray:
    """How many there are of each class of defects, `(..., 4)`."""
    rows = [ROLES.index(role) for role in DEFECT_ROLES]
    return np.asarray(counts.sum(axis=-1)[..., rows])


def _scores(counts: IntArray) -> FloatArray:
    """F1 of each class that there is, and their mean, `(..., 5)`."""
    each = np.where(true_columns(counts) > 0, f1_by_role(counts), np.nan)
    return np.concatenate([each, mean_f1(counts)[..., None]], axis=-1)


def _by_chance(first: IntArray, change: IntArray, sign: int, rng: np.random.Generator) -> float:
    """How often the mean changes as much where tiles are exchanged at random.

    Parameters
    ----------
    first : array, `(8, 8)`
        Counts of all tiles, before.
    change : array, `(T, 8, 8)`
        Of each tile, after less before.
    sign : int
        1 for a gain, -1 for a loss.
    rng : Generator
    """
    moved = change[change.any(axis=(1, 2))].astype(float)
    swapped = rng.integers(0, 2, (_SWAPS, len(moved))).astype(float)
    off = np.tensordot(swapped, moved, axes=1)
    last = first + change.sum(axis=0)
    seen = float(mean_f1(last) - mean_f1(first))
    drawn = mean_f1(last - off) - mean_f1(first + off)
    as_far = np.count_nonzero(sign * drawn >= sign * seen - _ROUNDING)
    return float((1 + as_far) / (1 + _SWAPS))


def _is_worse(counts: IntArray, chance: float, rng: np.random.Generator) -> bool:
    """Whether an image, `(2, T, 8, 8)`, loses what is worth it, and more than chance."""
    first, last = counts.sum(axis=1)
    if mean_f1(last) - mean_f1(first) >= -LEAST_GAIN:
        return False
    return _by_chance(first, counts[1] - counts[0], -1, rng) <= chance


def _quantiles(values: FloatArray, q: float) -> list[float]:
    """Of each column, of what is finite."""
    finite = [column[np.isfinite(column)] for column in values.T]
    return [float(np.quantile(v, q)) if len(v) else float("nan") for v in finite]
