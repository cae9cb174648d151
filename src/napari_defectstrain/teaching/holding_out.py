"""Whether a change helps: columns that it wasn't learnt from, before and after.

Both are told by the same columns, so that what makes an image hard makes it hard for both: the
difference is drawn again and again from the images, and from the tiles of each, with replacement
(Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 8).
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
_NONE = len(ROLES)
_SAMPLES = 1000
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
    """

    mean: Gain
    classes: tuple[Gain, ...]
    images: int

    @property
    def helps(self) -> bool:
        """Whether the gain is worth it, and more than chance."""
        return self.mean.difference >= LEAST_GAIN and self.mean.low > 0.0


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
    f1 = f1_by_role(counts.sum(axis=(1, 2)))
    images, tiles = counts.shape[1:3]
    differences = np.empty((_SAMPLES, len(DEFECT_ROLES) + 1))
    for k in range(_SAMPLES):
        drawn = rng.integers(images, size=images)
        share = rng.multinomial(tiles, np.full(tiles, 1.0 / tiles), size=images)
        sample = np.einsum("bitxy,it->bxy", counts[:, drawn], share)
        its = f1_by_role(sample)
        differences[k] = [*(its[1] - its[0]), _mean(its[1]) - _mean(its[0])]
    rows = [ROLES.index(role) for role in DEFECT_ROLES]
    columns = counts[0].sum(axis=(0, 1, 3))[rows]
    low, high = (_quantiles(differences, q) for q in _LIMITS)
    gains = [
        Gain(float(b), float(a), float(lower), float(upper), int(n))
        for b, a, lower, upper, n in zip(
            [*f1[0], _mean(f1[0])],
            [*f1[1], _mean(f1[1])],
            low,
            high,
            [*columns, columns.sum()],
            strict=True,
        )
    ]
    return Verdict(gains[-1], tuple(gains[:-1]), images)


def _mean(f1: FloatArray) -> float:
    """Of the classes that there are; 0 where there is none."""
    there = f1[np.isfinite(f1)]
    return float(there.mean()) if len(there) else 0.0


def _quantiles(values: FloatArray, q: float) -> list[float]:
    """Of each column, of what is finite."""
    finite = [column[np.isfinite(column)] for column in values.T]
    return [float(np.quantile(v, q)) if len(v) else float("nan") for v in finite]
