"""The sites of a series, and which column of each sum lies on which of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..crystal import MAX_DOMAINS, Regions
from ..types import ON_METAL, BoolArray, FloatArray, IntArray, Sites

TOLERANCE = 0.27
"""Lattice constants from a site within which a column lies on it; the next site is at 0.58."""

MOSTLY = 0.5
"""Mean probability of *other* from which on a site holds none of the classes that are followed."""


@dataclass(frozen=True)
class SeriesSites:
    """Chalcogen sites of a series, and what every sum says of them.

    Parameters
    ----------
    place_px : array, `(N, 2)`
        (y, x) of each site in the sums [px].
    names : tuple of str
        Classes that are followed: those of chalcogen columns but *other*.
    probability : array, `(G, N, K)`
        By sum, site and class; NaN where no column was found. What is missing to 1 is *other*.
    seen : array of bool, `(G, N)`
    column : array of int, `(G, N)`
        Which column of the sum's `Sites` it is; -1 for none.
    left_out : int
        Sites that are mostly *other*, outside of the crystal or at its border.
    """

    place_px: FloatArray
    names: tuple[str, ...]
    probability: FloatArray
    seen: BoolArray
    column: IntArray
    left_out: int

    def detected(self) -> IntArray:
        """Most probable class of each column that was found, `(G, N)`; -1 where none was."""
        best = np.nan_to_num(self.probability, nan=-1.0).argmax(axis=2)
        return np.where(self.seen, best, -1)


def link_sites(
    reference: Sequence[Sites], sums: Sequence[Sites], a_px: float, regions: Regions | None = None
) -> SeriesSites:
    """Number the chalcogen sites, and find each sum's columns on them.

    Parameters
    ----------
    reference : sequence of Sites
        Columns of the sum of all frames, then of others that show sites which it doesn't: of the
        first sum, where a hole comes later.
    sums : sequence of Sites
        Columns of each sum, in the same pixels.
    a_px : float
        Lattice constant [px].
    regions : Regions, optional
        Of the first sum: sites outside of its crystal are left out.
    """
    place = np.zeros((0, 2))
    for found in reference:
        mine = found.is_chalcogen
        if found.weight is not None:
            # columns at the border are classified by the network alone, if at all
            mine = mine & np.isfinite(found.weight)
        new = np.asarray(found.position_px[mine], dtype=float)
        if len(place):
            new = new[cKDTree(place).query(new)[0] > TOLERANCE * 2 * a_px]
        place = np.concatenate([place, new])
    total = len(place)
    if regions is not None:
        label = regions.label_at(place)
        place = place[(label > 0) & (label <= MAX_DOMAINS)]
    names = sums[0].class_names
    states = [i for i, n in enumerate(names) if i > 0 and n != "other" and not n.endswith(ON_METAL)]
    column = np.stack([_on_sites(s, place, a_px) for s in sums])
    seen = column >= 0
    probability = np.full((*column.shape, len(states)), np.nan)
    for g, found in enumerate(sums):
        rows = found.probabilities[column[g, seen[g]]]
        probability[g, seen[g]] = rows[:, states]
    known = np.where(seen[..., None], probability, 0.0).sum(axis=(0, 2))
    kept = known > (1.0 - MOSTLY) * np.maximum(seen.sum(axis=0), 1)
    kept &= seen.any(axis=0)
    return SeriesSites(
        place[kept],
        tuple(names[i] for i in states),
        probability[:, kept],
        seen[:, kept],
        column[:, kept],
        total - int(kept.sum()),
    )


def _on_sites(found: Sites, place: FloatArray, a_px: float) -> IntArray:
    """The column nearest to each site, one to one, `(N,)`; -1 where there is none."""
    candidate = np.flatnonzero(~found.is_metal)
    result = np.full(len(place), -1)
    if not len(candidate) or not len(place):
        return result
    position = np.asarray(found.position_px[candidate], dtype=float)
    apart, nearest = cKDTree(position).query(place, distance_upper_bound=TOLERANCE * a_px)
    near = np.isfinite(apart)
    back = cKDTree(place).query(position)[1]
    near[near] &= back[nearest[near]] == np.flatnonzero(near)
    result[near] = candidate[nearest[near]]
    return result
