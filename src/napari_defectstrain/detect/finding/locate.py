"""From probability maps to columns: one detection a column, at a sub-pixel place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.spatial import cKDTree

from ...crystal.lattice import metal_sublattice
from ...types import BoolArray, FloatArray, IntArray, Progress, no_progress

SEAM_PX = 4
"""How far a detection looks beyond its own pixel: two smoothings, and a maximum over two."""
_REACH = 2
"""Pixels around a maximum that hold no other; columns lie 4.7 px apart."""
_SIGMA_PX = 1.0
_ITERATIONS = 6
_MIN_DISTANCE = 0.62
"""Least distance of two columns as a fraction of the typical one; the weaker of a pair goes."""
_TYPICAL = 2000
"""Columns whose distances to the next tell the typical one."""
_EPS = 1e-6
_OTHER_MIN = 0.5
"""Least probability of the class other: below it, a column is one of the known kinds."""


@dataclass(frozen=True)
class Columns:
    """Columns seen in maps of label probabilities.

    Parameters
    ----------
    pixel : array of int, `(N, 2)`
        (y, x) of the maximum that a column was found by [px of the maps].
    position_px : array, `(N, 2)`
        (y, x) of its centre [px of the maps].
    probabilities : array, `(N, K)`
        Probability of each class given that there is a column.
    column_probability : array, `(N,)`
        Mean probability, over 3 x 3 px, that there is a column.
    """

    pixel: IntArray
    position_px: FloatArray
    probabilities: FloatArray
    column_probability: FloatArray

    def __len__(self) -> int:
        return len(self.pixel)

    def __getitem__(self, chosen: BoolArray | IntArray) -> Columns:
        return Columns(
            self.pixel[chosen],
            self.position_px[chosen],
            self.probabilities[chosen],
            self.column_probability[chosen],
        )

    def moved(self, by_px: tuple[int, int]) -> Columns:
        """The same columns where the maps' first pixel lies at `by_px` (y, x)."""
        return Columns(
            self.pixel + by_px,
            self.position_px + by_px,
            self.probabilities,
            self.column_probability,
        )


def find_columns(maps: FloatArray, min_probability: float) -> Columns:
    """Every maximum of the probability that there is a column, row by row.

    Close maxima may belong to one column: `merge_columns` keeps the stronger. What is found at a
    pixel depends on the maps up to `SEAM_PX` away and on nothing else, so that tiles with a rim
    of that width give, bit by bit, what the whole gives.

    Parameters
    ----------
    maps : array, `(1 + K, h, w)`
        Probability of background and of each class at each pixel.
    min_probability : float
        Least mean probability, over 3 x 3 px, that there is a column.
    """
    column = 1 - maps[0]
    mean = _box3(column)
    # a weak second smoothing breaks the ties of saturated plateaus
    peak = mean + np.float32(1e-3) * _box3(mean)
    top = (peak == maximum_filter(peak, 2 * _REACH + 1)) & (mean >= min_probability)
    row, col = np.nonzero(top)
    classes = np.zeros((len(row), len(maps) - 1))
    height, width = column.shape
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            near = (np.clip(row + dy, 0, height - 1), np.clip(col + dx, 0, width - 1))
            classes += maps[(slice(1, None), *near)].T
    return Columns(
        np.stack([row, col], axis=1),
        _centres(column, row, col),
        classes / np.maximum(classes.sum(axis=1, keepdims=True), _EPS),
        mean[top],
    )


def merge_columns(parts: Sequence[Columns]) -> Columns:
    """Columns of several tiles as one list, row by row, without the weaker of close pairs."""
    every = Columns(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("pixel", "position_px", "probabilities", "column_probability")
        )
    )
    # the order of the whole image, whatever the tiles
    every = every[np.lexsort((every.pixel[:, 1], every.pixel[:, 0]))]
    return every[_without_doubles(every.position_px, every.column_probability)]


def _box3(values: FloatArray) -> FloatArray:
    """Mean over 3 x 3 px with the outermost pixels repeated.

    Written out, because the running sums of library filters round by where a line starts.
    """
    padded = np.pad(values, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return np.asarray(total / np.float32(9))


def _centres(column: FloatArray, row: IntArray, col: IntArray) -> FloatArray:
    """Centres of blobs by centroids under a Gaussian that follows them, (y, x), `(N, 2)`.

    The Gaussian, re-centred until it rests, keeps the cut-off and the neighbours from pulling.
    """
    reach = 3
    window = np.arange(-reach, reach + 1)
    padded = np.pad(column, reach)
    patch = padded[
        row[:, None, None] + reach + window[:, None], col[:, None, None] + reach + window
    ]  # (N, 7, 7)
    offset = np.zeros((len(row), 2))
    for _ in range(_ITERATIONS):
        weight = np.exp(-((window - offset[:, :, None]) ** 2) / (2 * _SIGMA_PX**2))  # (N, 2, 7)
        rows = np.einsum("nij,nj->ni", patch, weight[:, 1]) * weight[:, 0]  # (N, 7)
        columns = np.einsum("nij,ni->nj", patch, weight[:, 0]) * weight[:, 1]
        total = np.maximum(rows.sum(axis=1), _EPS)
        down, right = (rows @ window) / total, (columns @ window) / total
        # the Gaussian halves the step that blobs of its own width take: go all the way
        step = 2 * (np.stack([down, right], axis=1) - offset)
        offset = np.clip(offset + step, -1.5, 1.5)
    return np.stack([row, col], axis=1) + offset


def _without_doubles(position: FloatArray, strength: FloatArray) -> BoolArray:
    """False for the weaker of two columns that lie too close, `(N,)`."""
    keep = np.ones(len(position), dtype=bool)
    if len(position) < 4:
        return keep
    tree = cKDTree(position)
    some = position[:: max(1, len(position) // _TYPICAL)]
    spacing = np.median(tree.query(some, k=2)[0][:, 1])
    first, second = tree.query_pairs(_MIN_DISTANCE * spacing, output_type="ndarray").T
    keep[np.where(strength[first] < strength[second], first, second)] = False
    return keep


def settle_sublattices(
    position_px: FloatArray, probabilities: FloatArray, progress: Progress = no_progress
) -> FloatArray:
    """Probabilities once the majority has told which columns are metal.

    A column's brightness alone can't tell a metal from an XY column of the same weight; its place
    in the honeycomb can. What is not other is metal on the metal sublattice, and elsewhere of the
    chalcogen classes, in their proportions. Other lies on either and keeps its probability; such
    columns have no vote: adatoms lie beside the honeycomb, other phases have another.

    Parameters
    ----------
    position_px : array, `(N, 2)`
    probabilities : array, `(N, 7)`
        In the order of `materials.ROLES`: metal first, other last.
    progress : Progress
    """
    given = np.asarray(probabilities, dtype=float)
    other, chalcogen = given[:, -1], given[:, 1:-1]
    # other says nothing for metal nor against it
    odds = (given[:, 0] + other / 2 + _EPS) / (chalcogen.sum(axis=1) + other / 2 + _EPS)
    is_metal = metal_sublattice(
        position_px, np.log(odds), is_other=other > _OTHER_MIN, progress=progress
    )
    rest = chalcogen.sum(axis=1, keepdims=True)
    # a column that the network took for metal alone: nothing is known of its class but its place
    unknown = 1 / chalcogen.shape[1]
    share = np.where(rest > _EPS, chalcogen / np.maximum(rest, _EPS), unknown)
    settled = np.zeros_like(given)
    settled[:, -1] = other
    settled[is_metal, 0] = 1 - other[is_metal]
    settled[~is_metal, 1:-1] = share[~is_metal] * (1 - other[~is_metal, None])
    return settled


def assign_classes(probabilities: FloatArray, thresholds: tuple[float, ...]) -> IntArray:
    """Most probable class of each column; a defect below its threshold is taken as X2.

    The class other needs more than one half.

    Parameters
    ----------
    probabilities : array, `(N, 7)`
        In the order of `materials.ROLES`.
    thresholds : tuple of float
        Least probability of XY, Y2, V1, V2.
    """
    allowed = np.array(probabilities, dtype=float)
    for index, threshold in enumerate(thresholds, start=2):
        allowed[allowed[:, index] < threshold, index] = -1
    allowed[allowed[:, -1] <= _OTHER_MIN, -1] = -1
    best = allowed.argmax(axis=1)
    # X2 is the host: it wins where no allowed defect is left and the column is no metal
    return np.where((best > 1) | (allowed[:, 0] >= 0.5), best, 1).astype(np.int8)
