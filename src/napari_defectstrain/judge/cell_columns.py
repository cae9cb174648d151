"""Single columns of a tile, weighed on its straight lattice: which sublattice has vacancies.

Coarser than the judge's weights, but it needs no network, no classes and no material, and takes a
hundredth of a second a tile: what is asked is only whether a sublattice holds columns of half its
brightness, or of two kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import solveh_banded
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from ..types import BoolArray, FloatArray, IntArray
from .cell import SITE, TileCell

_SMOOTH = 1.1  # lattice constants of the background
_REACH = 0.33
"""Of a tile's side, from its middle: beyond it another grain may begin."""
_RIM = 1.0
"""Lattice constants from the border of the image up to which columns are weighed."""
_ODD, _ODD_SIGMA, _BESIDE = 0.4, 5.0, 0.75
"""How far the weight of a hexagon centre is from that of the others, of the brightest site and in
their scatter, from which on it is none, and how far that reaches in lattice constants."""
_NEAR_EMPTY = 3
"""Hexagon centres that the columns around a site are held against, to tell if it is crystal."""
_LEAST_SITES = 12  # of each kind
_LEFT, _IN_CRYSTAL = 0.45, 0.9
"""What is left of how heavy these are up to which it doesn't: at straight edges half of them are
there, one row farther a third; and the quantile that stands for the crystal."""
_HALF = (0.36, 0.64)
_FAINTER = (0.08, 0.36)
"""Weights that columns beside holes have as often as half of that of the others."""
_SECOND = ((0.3, 0.66), (1.5, 3.2))
"""Mo beside W, W beside Mo, and what gamma makes of them."""
_RESOLVED = 0.14
"""Scatter of a sublattice's columns, of their mean, up to which half of it is told from all."""
_OUTER = 3.2
_HOLD = 0.03  # what holds a height to its mean
_UNSEEN = 30.0
"""Where the logarithm of what a column sees of another, negative, is nothing beside rounding."""


@dataclass(frozen=True)
class Sublattice:
    """What the columns of one of the three sites are like, over an image.

    Parameters
    ----------
    n : int
        Columns weighed.
    level : float
        Typical weight: that of most columns.
    scatter : float
        Robust standard deviation of the weights, in units of `level`.
    half : float
        Share of columns of about half the weight.
    second : float
        Relative weight of a second kind of column; nan where there is none.
    share : float
        Share of that second kind.
    fainter : float
        Share of columns of less than half the weight that aren't empty, as beside holes.
    """

    n: int
    level: float
    scatter: float
    half: float
    second: float
    share: float
    fainter: float = 0.0

    @property
    def resolved(self) -> bool:
        """Whether columns of half the weight can be told from the others."""
        return self.scatter < _RESOLVED


class SiteWeights(NamedTuple):
    """Weights `(n,)` of one site's columns, and of what is around each of them `(n,)`."""

    weight: FloatArray
    around: FloatArray


def tile_weights(
    tile: FloatArray,
    cell: TileCell,
    corner: FloatArray,
    at_border: BoolArray,
    others: FloatArray,
) -> list[SiteWeights]:
    """Weights of a tile's columns, site by site, in the units of the cell's.

    Parameters
    ----------
    tile : array, `(h, w)`
    cell : TileCell
    corner : array, `(2,)`
        (y, x) of the tile's first pixel [px of the image].
    at_border : array of bool, `(2, 2)`
        Whether its first row and column are the image's, and its last ones.
    others : array, `(T, 2)`
        Middles (y, x) of tiles that lie over this one [px of the image]: what is nearer to one of
        them is theirs, so that no column counts twice.
    """
    lattice = cell.basis_px
    area = abs(float(np.linalg.det(lattice)))
    g2 = float(np.mean(np.sum(np.linalg.inv(lattice) ** 2, axis=1)))
    s2 = max(-cell.slope, 0.15) / (2 * np.pi**2 * g2)
    place, kind = _sites(tile.shape, cell, corner)
    height = area * np.exp(max(-cell.slope, 0.15)) / (2 * np.pi * s2)
    y, x = (np.arange(n) for n in tile.shape)
    rows = np.exp(-((y - place[:, :1]) ** 2) / (2 * s2))
    columns = np.exp(-((x - place[:, 1:]) ** 2) / (2 * s2))
    model = height * (rows.T @ (cell.weight[kind][:, None] * columns))
    rest = tile - model
    a = float(np.sqrt(area * 2 / np.sqrt(3)))
    rest = rest - gaussian_filter(rest, _SMOOTH * a, truncate=3.0)
    matched = gaussian_filter(rest, np.sqrt(s2), truncate=4.0)
    pull = map_coordinates(matched, place.T, order=1, mode="nearest") * 2.0 / height
    change = _unmixed(pull, place, s2)
    middle = (np.array(tile.shape) - 1) / 2
    reach = np.where(at_border, middle - _RIM * a, _REACH * np.array(tile.shape))
    away = place - middle
    inner = np.all((away > -reach[0]) & (away < reach[1]), axis=1)
    if len(others):
        theirs = np.hypot(*(place + corner - others[:, None]).transpose(2, 0, 1)).min(axis=0)
        inner &= np.hypot(*away.T) <= theirs
    weight = cell.weight[kind] + change
    inner &= ~_at_a_boundary(weight, place, kind, cell, a)
    around = _around(weight, place, kind, cell)
    return [
        SiteWeights(weight[its], around[its]) for its in (inner & (kind == s) for s in range(3))
    ]


def _around(weight: FloatArray, place: FloatArray, kind: IntArray, cell: TileCell) -> FloatArray:
    """How much heavier the columns around each site are than the hexagon centres there, `(n,)`.

    The six nearest of its own sublattice and the three of the other, around hexagon centres three
    of both; nan in a tile of few sites.
    """
    centre = int(np.argmin(cell.weight))
    around = np.full(len(place), np.nan)
    if min(int((kind == s).sum()) for s in range(3)) < _LEAST_SITES:
        return around
    trees = [cKDTree(place[kind == s]) for s in range(3)]
    first, second = (s for s in range(3) if s != centre)
    asked = {
        first: {first: 6, second: 3},
        second: {second: 6, first: 3},
        centre: {first: 3, second: 3},
    }
    for own, near in asked.items():
        its = place[kind == own]
        columns = []
        for other, count in near.items():
            itself = int(other == own)  # the nearest one
            nearest = trees[other].query(its, k=count + itself)[1][:, itself:]
            columns.append(weight[kind == other][nearest])
        hollow = weight[kind == centre][trees[centre].query(its, k=_NEAR_EMPTY)[1]].mean(axis=1)
        around[kind == own] = np.concatenate(columns, axis=1).mean(axis=1) - hollow
    return around


def within_the_crystal(
    tiles: Sequence[Sequence[SiteWeights]], cells: Sequence[TileCell]
) -> list[list[FloatArray]]:
    """Weights of the columns that others are around, by tile and site, in the units of its cell.

    The lattice goes on beyond an edge and in a hole, and what slow background leaves at its sites
    would pass for another kind of column. The cell of such a tile is that of both parts: weights
    are counted from the hexagon centres of the crystal then, and their sum is made the cell's.

    Parameters
    ----------
    tiles : sequence of sequence of SiteWeights
        Of each tile, site by site. How heavy surroundings are is asked of all of them alike.
    cells : sequence of TileCell
        Of these tiles.
    """
    around = np.concatenate([site.around for sites in tiles for site in sites])
    known = around[np.isfinite(around)]
    least = _LEFT * max(float(np.quantile(known, _IN_CRYSTAL)), 0.0) if len(known) else 0.0
    found = []
    for sites, cell in zip(tiles, cells, strict=True):
        kept = [site.weight[~(site.around < least)] for site in sites]
        if min(len(k) for k in kept) and sum(map(len, kept)) < sum(len(s.weight) for s in sites):
            empty = float(np.min([k.mean() for k in kept]))
            total = float(sum(k.mean() - empty for k in kept))
            unit = float(cell.weight.sum()) / total if total > 0.0 else 1.0
            kept = [(k - empty) * unit for k in kept]
        found.append(kept)
    return found


def _at_a_boundary(
    weight: FloatArray, place: FloatArray, kind: IntArray, cell: TileCell, a_px: float
) -> BoolArray:
    """Which sites `(n,)` lie beside a hexagon centre that is none, as between grains."""
    centre = kind == int(np.argmin(cell.weight))
    away = np.abs(weight - np.median(weight[centre]))
    usual = 1.4826 * float(np.median(away[centre]))
    odd = centre & (away > max(_ODD * float(cell.weight.max()), _ODD_SIGMA * usual))
    if not odd.any():
        return np.zeros(len(place), dtype=bool)
    near, _ = cKDTree(place[odd]).query(place)
    return np.asarray(~centre & (near < _BESIDE * a_px))


def _unmixed(pull: FloatArray, place: FloatArray, s2: float) -> FloatArray:
    """Heights `(n,)` of Gaussians of variance `s2` at places by what each place sees of all.

    From row to row only columns near each other see one another: the matrix is a band.
    """
    order = np.argsort(place[:, 0], kind="stable")
    sorted_, n = place[order], len(place)
    reach = np.sqrt(4 * s2 * _UNSEEN)
    last = np.searchsorted(sorted_[:, 0], sorted_[:, 0] + reach)
    width = int(np.max(last - np.arange(n), initial=1))
    band = np.zeros((width, n))
    for k in range(width):
        away = sorted_[k:] - sorted_[: n - k]
        band[k, : n - k] = np.exp(-(away**2).sum(axis=1) / (4 * s2))
    band[0] += _HOLD
    change = np.empty(n)
    change[order] = solveh_banded(band, pull[order], overwrite_ab=True, lower=True)
    return change


def _sites(
    shape: tuple[int, ...], cell: TileCell, corner: FloatArray
) -> tuple[FloatArray, IntArray]:
    """Places (y, x) [px of the tile] of the sites in a tile and around, and which site each is."""
    origin = cell.origin_px - corner
    corners = np.array([[0, 0], [0, shape[1]], [shape[0], 0], [shape[0], shape[1]]]) - origin
    index = corners @ np.linalg.inv(cell.basis_px).T
    low, high = np.floor(index.min(axis=0)) - 1, np.ceil(index.max(axis=0)) + 1
    u, v = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
    cells = np.stack([u.ravel(), v.ravel()], axis=1)
    place = np.concatenate([cells + s * SITE for s in range(3)]) @ cell.basis_px.T + origin
    kind = np.repeat(np.arange(3), len(cells))
    rim = 0.3 * float(np.sqrt(abs(np.linalg.det(cell.basis_px))))
    near = np.all((place > -rim) & (place < np.array(shape) - 1 + rim), axis=1)
    return place[near], kind[near]


def sublattice_of(weight: FloatArray) -> Sublattice:
    """Level, scatter, half-weight columns and a second kind among the columns of one site."""
    n = len(weight)
    if n < 12:
        return Sublattice(n, float("nan"), float("nan"), 0.0, float("nan"), 0.0)
    level, second, share = _two_kinds(weight)
    u = weight / level
    main = u[np.abs(u - 1) < 0.25] if np.isfinite(second) else u
    scatter = 1.4826 * float(np.median(np.abs(main - np.median(main))))
    low, high = _HALF
    chance = 0.0
    if scatter < _RESOLVED:
        seen = (u > low) & (u < high) & (u < 1 - _OUTER * min(scatter, 0.13))
        chance = float(seen.mean())
    fainter = float(((u > _FAINTER[0]) & (u < _FAINTER[1])).mean())
    return Sublattice(n, level, scatter, chance, second, share, fainter)


def _two_kinds(weight: FloatArray) -> tuple[float, float, float]:
    """Level of the more frequent kind; relative weight and share of the other (nan, 0: none).

    Two Gaussians of one width: they must lie further apart than they are wide, and each holds its
    part of the columns.
    """
    level = float(np.median(weight))
    order = np.sort(weight)
    low, high = np.quantile(order, [0.15, 0.85])
    mean = np.array([low, high])
    width = max(float(weight.std()) / 2, 1e-9)
    part = np.array([0.5, 0.5])
    for _ in range(60):
        log = -(((weight[:, None] - mean) / width) ** 2) / 2 + np.log(part)
        chance = np.exp(log - log.max(axis=1, keepdims=True))
        chance /= chance.sum(axis=1, keepdims=True)
        count = chance.sum(axis=0) + 1e-9
        mean = (chance * weight[:, None]).sum(axis=0) / count
        width = float(np.sqrt((chance * (weight[:, None] - mean) ** 2).sum() / len(weight)))
        part = count / count.sum()
    apart = abs(float(mean[1] - mean[0])) / max(width, 1e-9)
    more = int(part.argmax())
    if apart < 2.6 or part.min() < 0.08 or mean[more] <= 0:
        return level, float("nan"), 0.0
    ratio, share = float(mean[1 - more] / mean[more]), float(part[1 - more])
    if not any(a < ratio < b for a, b in _SECOND):
        return level, float("nan"), 0.0
    return float(mean[more]), ratio, share
