"""From probability maps to columns: one detection a column, at a sub-pixel place."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter, uniform_filter
from scipy.spatial import cKDTree

from ..lattice import metal_sublattice
from ..types import BoolArray, FloatArray, IntArray

_REACH = 2
"""Pixels around a maximum that hold no other; columns lie 4.7 px apart."""
_SIGMA_PX = 1.0
_ITERATIONS = 6
_MIN_DISTANCE = 0.62
"""Least distance of two columns as a fraction of the typical one; the weaker of a pair goes."""
_EPS = 1e-6


def locate_columns(
    maps: FloatArray, min_probability: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Columns in maps of label probabilities.

    Parameters
    ----------
    maps : array, `(1 + K, h, w)`
        Probability of background and of each class at each pixel.
    min_probability : float
        Least mean probability, over 3 x 3 px, that there is a column.

    Returns
    -------
    position_px : array, `(N, 2)`
        (y, x) [px of the maps].
    probabilities : array, `(N, K)`
        Probability of each class given that there is a column.
    column_probability : array, `(N,)`
        Probability that there is a column.
    """
    column = 1 - maps[0]
    mean = uniform_filter(column, 3, mode="nearest")
    # a weak second smoothing breaks the ties of saturated plateaus
    peak = mean + 1e-3 * uniform_filter(mean, 3, mode="nearest")
    top = (peak == maximum_filter(peak, 2 * _REACH + 1)) & (mean >= min_probability)
    row, col = np.nonzero(top)
    position = _centres(column, row, col)
    height, width = column.shape
    classes = np.stack(
        [
            sum(
                m[np.clip(row + dy, 0, height - 1), np.clip(col + dx, 0, width - 1)]
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
            )
            for m in maps[1:]
        ],
        axis=1,
    )
    probabilities = classes / np.maximum(classes.sum(axis=1, keepdims=True), _EPS)
    keep = _without_doubles(position, mean[top])
    return position[keep], probabilities[keep], mean[top][keep]


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
        weighted = patch * weight[:, 0, :, None] * weight[:, 1, None, :]
        total = np.maximum(weighted.sum(axis=(1, 2)), _EPS)
        down = (weighted.sum(axis=2) * window).sum(axis=1) / total
        right = (weighted.sum(axis=1) * window).sum(axis=1) / total
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
    spacing = np.median(tree.query(position, k=2)[0][:, 1])
    for i, j in tree.query_pairs(_MIN_DISTANCE * spacing):
        keep[i if strength[i] < strength[j] else j] = False
    return keep


def settle_sublattices(position_px: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Probabilities once the majority has told which columns are metal.

    A column's brightness alone can't tell a metal from an XY column of the same weight; its place
    in the honeycomb can. What is not other is metal on the metal sublattice, and elsewhere of the
    chalcogen classes, in their proportions: other lies on either, and keeps its probability.

    Parameters
    ----------
    position_px : array, `(N, 2)`
    probabilities : array, `(N, K)`
        Metal first, other last.
    """
    given = np.asarray(probabilities, dtype=float)
    other, chalcogen = given[:, -1], given[:, 1:-1]
    # other says nothing for metal nor against it
    odds = (given[:, 0] + other / 2 + _EPS) / (chalcogen.sum(axis=1) + other / 2 + _EPS)
    is_metal = metal_sublattice(position_px, np.log(odds), is_other=other > 0.5)
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
    """Most probable class of each column; a defect below its threshold is none.

    Then the most probable of metal, X2, the other defects and other is taken, and X2 rather than
    a metal that is improbable.

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
    best = allowed.argmax(axis=1)
    # X2 is the host: it wins where no allowed defect is left and the column is no metal
    return np.where((best > 1) | (probabilities[:, 0] >= 0.5), best, 1).astype(np.int8)
