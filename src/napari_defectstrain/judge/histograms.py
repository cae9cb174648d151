"""Histograms of the columns' weights, by class, with what the classes are expected to look like.

All that a histogram is made of stands in the table of columns: weights with their errors and the
probabilities of the classes. So classes that were read from a file, or corrected by hand, are drawn
as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..materials import METAL_SITES, ROLES
from ..types import BoolArray, FloatArray, IntArray, Sites

_METAL, _OTHER = ROLES.index("metal"), ROLES.index("other")
_WIDTHS = (0.005, 0.01, 0.02, 0.04)
"""Widths of bins; the widest that is no wider than a typical standard error is taken."""
_FEW = 2000
"""Below so many columns bins are as wide as one and a half standard errors."""
_MOST_BINS = 2000
_SHOWN, _EMPTY = (-0.5, 2.5), (0.0, 1.5)
_ROOM = 0.05
_CURVE_POINTS = 4
"""Of the curves, a bin."""
_ERRORS = 16
"""So many quantiles stand for all standard errors of a class."""
_OWN_PLANE = 1e6


@dataclass(frozen=True)
class WeightHistogram:
    """Weights of the columns on the sites of one sublattice.

    Parameters
    ----------
    edges : array, `(B + 1,)`
        Of the bins, in units of the metal's weight.
    count : array, `(K, B)`
        Columns of each class in each bin, in the order of `Sites.class_names`.
    at : array, `(G,)`
        Weights that the curves are given at.
    curve : array, `(K, G)`
        Columns a bin that are expected of each class: as many as its probabilities sum to,
        scattered about its mean by their standard errors. Zero for *other*, which has no weight of
        its own.
    mean : array, `(K,)`
        Mean weight of each class; NaN where there is none.
    expected : array, `(K,)`
        Sum of the probabilities of each class.
    """

    edges: FloatArray
    count: IntArray
    at: FloatArray
    curve: FloatArray
    mean: FloatArray
    expected: FloatArray

    @property
    def share(self) -> FloatArray:
        """Expected share of each class among the columns weighed on these sites, `(K,)`."""
        return np.asarray(self.expected / max(float(self.expected.sum()), 1.0))

    @property
    def span(self) -> tuple[float, float]:
        """What is worth showing: all weights with some room, but few stray ones."""
        filled = np.flatnonzero(self.count.sum(axis=0))
        if len(filled) == 0:
            return _EMPTY
        low, high = float(self.edges[filled[0]]), float(self.edges[filled[-1] + 1])
        room = _ROOM * (high - low)
        return max(low - room, _SHOWN[0]), min(high + room, _SHOWN[1])

    def whole_bins(self, low: float, high: float) -> tuple[float, float]:
        """Outer edges of all bins that a range touches, its ends in either order."""
        first, last = (
            min(max(int(np.searchsorted(self.edges, end, side="right")) - 1, 0), self.n_bins - 1)
            for end in sorted((low, high))
        )
        return float(self.edges[first]), float(self.edges[last + 1])

    def next_bin(self, low: float, steps: int) -> tuple[float, float]:
        """Edges of the bin so many to the right of the one that begins at `low`."""
        here = int(np.argmin(np.abs(self.edges - low)))
        index = min(max(here + steps, 0), self.n_bins - 1)
        return float(self.edges[index]), float(self.edges[index + 1])

    def longer(self, low: float, high: float, steps: int) -> tuple[float, float]:
        """A range whose upper end lies so many bins farther, of one bin at least."""
        first, last = (int(np.argmin(np.abs(self.edges - end))) for end in (low, high))
        last = min(max(last + steps, first + 1), self.n_bins)
        return float(self.edges[first]), float(self.edges[last])

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return len(self.edges) - 1


@dataclass(frozen=True)
class WeightHistograms:
    """Histograms of both sublattices, with the same bins.

    Parameters
    ----------
    class_names : tuple of str
    chalcogen, metal : WeightHistogram
    unweighed : int
        Columns without a weight: near the border, or beside the lattice.
    """

    class_names: tuple[str, ...]
    chalcogen: WeightHistogram
    metal: WeightHistogram
    unweighed: int

    def of(self, sublattice: str) -> WeightHistogram:
        """By `METAL_SITES` or `CHALCOGEN_SITES`."""
        return self.metal if sublattice == METAL_SITES else self.chalcogen


@dataclass(frozen=True)
class _Columns:
    weight: FloatArray
    sigma: FloatArray
    probabilities: FloatArray
    class_index: IntArray

    def take(self, which: BoolArray) -> _Columns:
        return _Columns(
            self.weight[which],
            self.sigma[which],
            self.probabilities[which],
            self.class_index[which],
        )


def weight_histograms(sites: Sequence[Sites]) -> WeightHistograms | None:
    """Histograms of all columns of one or more images; None where none was weighed.

    Parameters
    ----------
    sites : sequence of Sites
        Of one material.
    """
    judged = [s for s in sites if s.weight is not None and has_weight(s).any()]
    if not judged:
        return None
    known = np.concatenate([has_weight(s) for s in judged])
    every = _Columns(
        np.concatenate([np.asarray(s.weight, dtype=float) for s in judged]),
        np.concatenate([np.asarray(s.weight_sigma, dtype=float) for s in judged]),
        np.concatenate([np.asarray(s.probabilities, dtype=float) for s in judged]),
        np.concatenate([s.class_index for s in judged]),
    ).take(known)
    is_metal = np.concatenate([on_metal_site(s) for s in judged])[known]
    edges = _bins(every.weight, every.sigma)
    return WeightHistograms(
        judged[0].class_names,
        _histogram(every.take(~is_metal), edges),
        _histogram(every.take(is_metal), edges),
        sum(len(s) for s in sites) - int(known.sum()),
    )


def has_weight(sites: Sites) -> BoolArray:
    """Which columns were weighed, `(N,)`."""
    if sites.weight is None or sites.weight_sigma is None:
        return np.zeros(len(sites), dtype=bool)
    return np.asarray(np.isfinite(sites.weight) & (sites.weight_sigma > 0))


def on_metal_site(sites: Sites) -> BoolArray:
    """Which columns lie on sites of the metal, `(N,)`.

    By their probabilities; a column that is *other* for certain by its neighbours, which belong to
    the other sublattice.
    """
    p = np.asarray(sites.probabilities, dtype=float)
    chalcogen = p[:, 1:_OTHER].sum(axis=1)
    metal = p[:, _METAL] > chalcogen
    told = (p[:, _METAL] > 0.0) | (chalcogen > 0.0)
    unknown, known = np.flatnonzero(~told), np.flatnonzero(told)
    if len(unknown) and len(known) >= 3:
        place = np.asarray(sites.position_px, dtype=float)
        near = known[cKDTree(place[known]).query(place[unknown], k=3)[1]]
        metal[unknown] = metal[near].mean(axis=1) < 0.5
    return np.asarray(metal)


def columns_within(sites: Sites, low: float, high: float, sublattice: str = "") -> BoolArray:
    """Which columns weigh at least `low` and less than `high`, `(N,)`.

    Parameters
    ----------
    sites : Sites
    low, high : float
        In units of the metal's weight.
    sublattice : str
        `METAL_SITES`, `CHALCOGEN_SITES`, or empty for both.
    """
    inside = has_weight(sites)
    if sites.weight is not None:
        inside &= (np.nan_to_num(sites.weight) >= low) & (np.nan_to_num(sites.weight) < high)
    if sublattice:
        inside &= on_metal_site(sites) == (sublattice == METAL_SITES)
    return np.asarray(inside)


def nearest_column(position_px: FloatArray, column_px: FloatArray) -> IntArray:
    """The column that each point belongs to, `(n,)`: the nearest in its plane.

    Parameters
    ----------
    position_px, column_px : arrays, `(n, d)` and `(N, d)`
        The last two coordinates are (y, x) [px]; those before say the plane of a stack.
    """
    scale = np.ones(np.shape(column_px)[1])
    scale[:-2] = _OWN_PLANE
    return np.asarray(cKDTree(column_px * scale).query(position_px * scale)[1])


def _bins(weight: FloatArray, sigma: FloatArray) -> FloatArray:
    wanted = float(np.median(sigma)) * (1.5 if len(weight) < _FEW else 1.0)
    width = max([w for w in _WIDTHS if w <= wanted], default=_WIDTHS[0])
    while (weight.max() - weight.min()) / width > _MOST_BINS:
        width *= 2.0
    first, last = np.floor(weight.min() / width) - 1, np.ceil(weight.max() / width) + 1
    return np.asarray(np.round(np.arange(first, last + 1) * width, 6))


def _histogram(columns: _Columns, edges: FloatArray) -> WeightHistogram:
    width = edges[1] - edges[0]
    at = np.linspace(edges[0], edges[-1], _CURVE_POINTS * (len(edges) - 1) + 1)
    n_classes = columns.probabilities.shape[1]
    count = np.zeros((n_classes, len(edges) - 1), dtype=int)
    curve, mean = np.zeros((n_classes, len(at))), np.full(n_classes, np.nan)
    for k in range(n_classes):
        # a weight that is itself an edge belongs to the right, as in `columns_within`
        place = np.searchsorted(edges, columns.weight[columns.class_index == k], side="right") - 1
        count[k] = np.bincount(place, minlength=len(edges) - 1)
        p = columns.probabilities[:, k]
        if k == _OTHER or p.sum() < 1e-3:
            continue
        information = p / columns.sigma**2
        mean[k] = float((information * columns.weight).sum() / information.sum())
        curve[k] = width * p.sum() * _density(at, mean[k], columns.sigma, p)
    return WeightHistogram(edges, count, at, curve, mean, columns.probabilities.sum(axis=0))


def _density(at: FloatArray, mean: float, sigma: FloatArray, importance: FloatArray) -> FloatArray:
    """Mean of the normal distributions about one mean with the columns' errors, `(G,)`."""
    order = np.argsort(sigma)
    upto = np.cumsum(importance[order])
    which = np.searchsorted(upto, (np.arange(_ERRORS) + 0.5) / _ERRORS * upto[-1])
    error = sigma[order][np.minimum(which, len(order) - 1)][:, None]
    normal = np.exp(-(((at - mean) / error) ** 2) / 2) / (np.sqrt(2 * np.pi) * error)
    return np.asarray(normal.mean(axis=0))
