"""Whether what two defects close to one another do to an image adds up (see `crowded`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..types import BoolArray, FloatArray, IntArray
from .cells import CellFrame, PatchCells

PAIR_SHELLS = (1.0, float(np.sqrt(3.0)), 2.0)
"""Distances of pairs of defects that are looked at [a]."""

PAIR_SIGMA = 3.0
_PAIR_EXCESS = 0.05


@dataclass(frozen=True)
class PairCheck:
    """Whether defects that lie close to one another still add.

    Parameters
    ----------
    distance : float
        Of the pairs [a].
    share : float
        Fraction of all defects with such a neighbour.
    excess, sigma : float
        How much larger the squares are that the solution leaves at such defects than at the others
        of their class, as a fraction, and its standard error by bands. Where most defects have such
        a neighbour, the solution is theirs, and more is left at the others: it is negative.
    left_out : bool
        Whether these pairs were left out.
    needed : bool
        Whether they should be, but without them a class would have too few defects, or the
        solution too few cells.
    """

    distance: float
    share: float
    excess: float
    sigma: float
    left_out: bool = False
    needed: bool = False


def pair_check(
    cells: Sequence[PatchCells],
    square: Sequence[FloatArray],
    bands: Sequence[IntArray],
    frame: CellFrame,
    distance: float,
) -> PairCheck:
    """What is left at defects with another at a distance, against the others of their class.

    `square` is the mean square that is left of each cell of each domain, `(n,)`.
    """
    members = [_has_neighbour(c, frame, distance) for c in cells]
    role = np.concatenate([c.role for c in cells])
    near, left, band = np.concatenate(members), np.concatenate(square), np.concatenate(bands)
    defect = role > 1
    relative = np.ones(len(role))
    for kind in np.unique(role[defect]):
        alone = (role == kind) & ~near
        if alone.any():
            relative[role == kind] = left[role == kind] / max(float(left[alone].mean()), 1e-30)
    paired = defect & near
    share = float(near[defect].mean()) if defect.any() else 0.0
    if paired.sum() < 10:
        return PairCheck(distance, share, 0.0, np.nan)
    sums, counts = (
        np.bincount(band[paired], w, minlength=int(band.max()) + 1)
        for w in (relative[paired] - 1.0, None)
    )
    excess = float(sums.sum() / counts.sum())
    sigma = float(np.sqrt(((sums - excess * counts) ** 2).sum()) / counts.sum())
    beyond = abs(excess) > PAIR_SIGMA * sigma and abs(excess) > _PAIR_EXCESS
    return PairCheck(distance, share, excess, sigma, bool(beyond))


def _has_neighbour(cells: PatchCells, frame: CellFrame, distance: float) -> BoolArray:
    """Defects with another one at a distance [a], `(n,)`; False for other cells."""
    radius = np.hypot(*(frame.offset @ frame.basis.T).T) / frame.a_pm
    there = np.tile(np.abs(radius - distance) < 0.1, cells.around.shape[1] // len(radius)).astype(
        float
    )
    return np.asarray((cells.around @ there > 0) & (cells.role > 1))


def near_pairs(cells: PatchCells, frame: CellFrame, distances: Sequence[float]) -> BoolArray:
    """Cells of and beside defects that have a neighbour at one of these distances, `(n,)`."""
    paired = np.zeros(len(cells), dtype=bool)
    for distance in distances:
        paired |= _has_neighbour(cells, frame, distance)
    if not paired.any():
        return paired
    place = cells.cell @ frame.basis.T
    return np.asarray(cKDTree(place[paired]).query(place)[0] < 1.1 * frame.a_pm)


def pair_text(pair: PairCheck) -> str:
    """What is said of such pairs, for people."""
    verdict = "left out: they don't add" if pair.left_out else "kept: they add within the noise"
    if pair.needed:
        verdict = "kept, though they don't add: too few would be left without them"
    return (
        f"crowded averages: {pair.share:.0%} of the defects have another at {pair.distance:.2f} a; "
        f"{verdict}"
    )
