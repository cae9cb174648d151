"""Holes: neighbouring columns without a chalcogen, how they grow, and when they merge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..types import BoolArray, FloatArray, IntArray

_NEXT = 1.35
"""Lattice constants within which chalcogen columns are neighbours; the next but one are at 1.73."""


@dataclass(frozen=True)
class Holes:
    """Holes of a series by sum.

    Parameters
    ----------
    count, columns, largest : arrays of int, `(G,)`
        Holes, empty columns in them, and those in the largest.
    merger : tuple of HoleMerger
        Holes that became one.
    """

    count: IntArray
    columns: IntArray
    largest: IntArray
    mergers: tuple[HoleMerger, ...]


@dataclass(frozen=True)
class HoleMerger:
    """Holes that are one from a sum on.

    Parameters
    ----------
    group : int
        The first sum that shows them as one.
    sizes : tuple of int
        Empty columns of each before.
    size : int
        Of the hole that they became.
    place_px : tuple of float
        (y, x) of its middle [px].
    """

    group: int
    sizes: tuple[int, ...]
    size: int
    place_px: tuple[float, float]


def find_holes(
    empty: BoolArray, place_px: FloatArray, a_px: float, least_columns: int = 2
) -> Holes:
    """Follow connected empty columns through the sums.

    Parameters
    ----------
    empty : array of bool, `(G, N)`
        Whether a site has lost all its chalcogens, by sum.
    place_px : array, `(N, 2)`
        (y, x) of the sites [px].
    a_px : float
        Lattice constant [px].
    least_columns : int
        Neighbouring empty columns that are called a hole.
    """
    pairs = cKDTree(place_px).query_pairs(_NEXT * a_px, output_type="ndarray")
    groups, _ = empty.shape
    count, columns, largest = (np.zeros(groups, dtype=int) for _ in range(3))
    mergers: list[HoleMerger] = []
    before: IntArray | None = None
    for g in range(groups):
        label = _labelled(empty[g], pairs, least_columns)
        size = np.bincount(label[label >= 0]) if (label >= 0).any() else np.zeros(0, dtype=int)
        count[g], columns[g], largest[g] = len(size), size.sum(), size.max(initial=0)
        if before is not None:
            mergers += _merged(g, before, label, place_px)
        before = label
    return Holes(count, columns, largest, tuple(mergers))


def _labelled(empty: BoolArray, pairs: IntArray, least: int) -> IntArray:
    """Number of the hole that each site is part of, `(N,)`; -1 for none."""
    n = len(empty)
    linked = pairs[empty[pairs].all(axis=1)] if len(pairs) else np.zeros((0, 2), dtype=int)
    graph = coo_matrix((np.ones(len(linked)), (linked[:, 0], linked[:, 1])), shape=(n, n))
    _, part = connected_components(graph, directed=False)
    size = np.bincount(part[empty], minlength=int(part.max(initial=0)) + 1)
    hole = empty & (size[part] >= least)
    label = np.full(n, -1)
    label[hole] = np.unique(part[hole], return_inverse=True)[1]
    return label


def _merged(g: int, before: IntArray, now: IntArray, place_px: FloatArray) -> list[HoleMerger]:
    found = []
    for hole in range(int(now.max(initial=-1)) + 1):
        mine = now == hole
        came = np.unique(before[mine & (before >= 0)])
        if len(came) > 1:
            sizes = tuple(int((before == k).sum()) for k in came)
            y, x = place_px[mine].mean(axis=0)
            found.append(HoleMerger(g, sizes, int(mine.sum()), (float(y), float(x))))
    return found
