"""Where the columns of an image ought to lie: the network's places, made regular by the lattice.

The places that a network finds scatter by 7-13 pm, the crystal's own are smooth: a site of the
lattice moves with its neighbours. Columns are indexed on the lattice of their domain; what is
measured of their displacement is smoothed by a local straight line over some sixty neighbours of
the same sublattice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from ..crystal.domains import (
    FIRST_NEIGHBOUR_REACH,
    SECOND_NEIGHBOUR_REACH,
    honeycomb_domains,
    neighbours,
    threefold_order,
)
from ..crystal.honeycomb import basis_pm
from ..crystal.lattice import fit_lattice, nearest_sites
from ..types import METAL, OTHER, BoolArray, DefectStrainError, FloatArray, IntArray, Sites

_REACH_A = 4.01
"""Lattice constants to the farthest of sixty neighbours."""
_LEAST_SHARE = 0.75
"""Of the sites around that hold columns."""
_METAL_IN_CELL = np.array([-1 / 3, 2 / 3])
"""A metal's site beside the chalcogen's of its cell, in lattice vectors."""
_MIN_DOMAIN = 60
_REACH = 0.27  # of the lattice constant: less than half the way to the other sublattice
_CLIP = 4.0  # robust standard deviations
_INDEXINGS = 3
_SOME, _ASKED = 8, 30
"""Slow distortions are followed at every eighth column, by the median over its neighbours."""
_AROUND, _MAJORITY = 9, 6
"""Neighbours that are asked which domain a column without one lies in, and how many must agree."""


@dataclass(frozen=True)
class LatticePlaces:
    """Columns on the lattice sites of their domains.

    Parameters
    ----------
    ideal_px : array, `(N, 2)`
        (y, x) of each column's site on the average lattice of its domain [px]; the column's own
        place where it belongs to none.
    on_lattice : array of bool, `(N,)`
        Whether a column has a site.
    is_metal : array of bool, `(N,)`
        Sublattice of the site.
    neighbours : array of int, `(N, K)`
        Rows of the columns on the nearest sites of the same sublattice and domain, itself first;
        beside borders and holes the nearest columns; -1 where there are fewer.
    """

    ideal_px: FloatArray
    on_lattice: BoolArray
    is_metal: BoolArray
    neighbours: IntArray

    def smooth(self, moved_px: FloatArray, weight: FloatArray) -> FloatArray:
        """Displacements smoothed over each column's neighbours by a local straight line.

        Parameters
        ----------
        moved_px : array, `(N, 2)`
            Place minus ideal site [px].
        weight : array, `(N,)`
            How much each counts; 0 for what isn't known.

        Returns
        -------
        array, `(N, 2)`
            Unchanged where a column has no site.
        """
        result = np.array(moved_px, dtype=float)
        centre = self.ideal_px.mean(axis=0)
        y, x = ((self.ideal_px - centre) / (np.ptp(self.ideal_px, axis=0).max() + 1e-12)).T
        count = np.where(self.on_lattice, weight, 0.0)
        for _ in range(2):
            fitted = self._fitted(y, x, np.where(count > 0, moved_px.T, 0.0), count)
            miss = np.hypot(*(moved_px.T - fitted))
            known = count > 0
            typical = np.median(miss[known]) / 1.177 if known.any() else 0.0
            count = np.where(miss > _CLIP * max(typical, 1e-9), 0.0, count)
        result[self.on_lattice] = fitted.T[self.on_lattice]
        return result

    @cached_property
    def _near(self) -> csr_array:
        """Sums over the neighbours, `(N, N)`."""
        there = self.neighbours >= 0
        pointer = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
        index = self.neighbours[there]
        return csr_array((np.ones(len(index)), index, pointer), shape=(len(there), len(there)))

    def _fitted(
        self, y: FloatArray, x: FloatArray, value: FloatArray, count: FloatArray
    ) -> FloatArray:
        """Local straight lines through values `(D, N)` at every column, `(D, N)`.

        Moments over the neighbours are sums over rows of one sparse matrix, moved to each column
        as its origin afterwards.
        """
        term = [count, count * y, count * x, count * y * y, count * y * x, count * x * x]
        term += [count * v * t for v in value for t in (1.0, y, x)]
        s, sy, sx, syy, syx, sxx, *rest = (self._near @ np.stack(term, axis=1)).T
        s = s + 1e-12 * max(float(s.max(initial=0.0)), 1e-30)
        my, mx = sy / s, sx / s
        cyy, cyx, cxx = syy / s - my**2, syx / s - my * mx, sxx / s - mx**2
        ridge = 1e-3 * (cyy + cxx) + 1e-18
        cyy, cxx = cyy + ridge, cxx + ridge
        determinant = cyy * cxx - cyx**2
        fitted = []
        for sv, svy, svx in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
            mv = sv / s
            cy, cx = svy / s - mv * my, svx / s - mv * mx
            by = (cxx * cy - cyx * cx) / determinant
            bx = (cyy * cx - cyx * cy) / determinant
            fitted.append(mv + by * (y - my) + bx * (x - mx))
        return np.stack(fitted)


def lattice_places(sites: Sites, a_pm: float) -> LatticePlaces:
    """Index the columns of an image on the lattices of its domains.

    Parameters
    ----------
    sites : Sites
    a_pm : float
        Lattice constant [pm].

    Raises
    ------
    DefectStrainError
        If no domain holds enough columns.
    """
    position = np.asarray(sites.position_px, dtype=float)
    n = len(position)
    if n < _MIN_DOMAIN:
        raise DefectStrainError(
            f"judge: got {n} columns, expected at least {_MIN_DOMAIN}; is the lattice resolved?"
        )
    domain = column_domains(position)
    ideal = position.copy()
    on_lattice, is_metal = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    around = _cells_around()
    near = np.full((n, len(around)), -1)
    for label in range(int(domain.max(initial=-1)) + 1):
        members = np.flatnonzero(domain == label)
        found = _indexed(position[members], sites.class_index[members], a_pm)
        if found is None:
            continue
        rows = members[found.rows]
        ideal[rows], on_lattice[rows], is_metal[rows] = found.ideal_px, True, found.is_metal
        for mine in (found.is_metal, ~found.is_metal):
            cells, places = found.cell[mine], found.ideal_px[mine]
            near[rows[mine]] = _rows_near(cells, places, rows[mine], around)
    if not on_lattice.any():
        raise DefectStrainError(
            f"judge: none of {n} columns belongs to a honeycomb of {_MIN_DOMAIN} columns or more"
        )
    return LatticePlaces(ideal, on_lattice, is_metal, near)


def _cells_around() -> IntArray:
    """Lattice points within `_REACH_A` of the origin, in lattice vectors, the nearest first."""
    reach = int(np.ceil(1.2 * _REACH_A))
    cell = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1).T
    length = np.hypot(*(basis_pm(1.0) @ cell.T))
    order = np.argsort(length, kind="stable")
    return np.asarray(cell[order[length[order] <= _REACH_A]])


def _rows_near(cell: IntArray, place: FloatArray, rows: IntArray, around: IntArray) -> IntArray:
    """Rows of the columns around each, -1 where there are too few, `(n, K)`.

    Where many cells around a column are empty, the nearest columns, however far: a straight line
    through those on one side alone says little of the column itself.
    """
    if len(cell) == 0:
        return np.empty((0, len(around)), dtype=int)
    margin = np.abs(around).max(axis=0)
    cell = cell - cell.min(axis=0) + margin
    shape = cell.max(axis=0) + margin + 1
    table = np.full(int(shape.prod()), -1)
    at = cell[:, 0] * shape[1] + cell[:, 1]
    table[at] = rows
    near = table[at[:, None] + (around[:, 0] * shape[1] + around[:, 1])]
    few = np.flatnonzero((near >= 0).sum(axis=1) < _LEAST_SHARE * len(around))
    if len(few):
        k = min(len(around), len(rows))
        index = np.asarray(cKDTree(place).query(place[few], k=k)[1]).reshape(len(few), k)
        near[few, :k] = rows[index]
        near[few, k:] = -1
    return np.asarray(near)


def column_domains(position: FloatArray) -> IntArray:
    """Number of the honeycomb domain that each column `(N, 2)` lies in, -1 for none, `(N,)`."""
    distance, index = neighbours(position)
    nearest = float(np.median(distance[:, 0]))
    first = distance < FIRST_NEIGHBOUR_REACH * nearest
    first[:, 3:] = False
    second = (distance < SECOND_NEIGHBOUR_REACH * nearest) & (
        distance >= FIRST_NEIGHBOUR_REACH * nearest
    )
    order = threefold_order(position, position[index], first)
    return _with_lone_columns(honeycomb_domains(order, index, first, second)[0], index)


def _with_lone_columns(domain: IntArray, index: IntArray) -> IntArray:
    """Columns of no domain in the midst of one are its.

    The metals around a DV are drawn in so far that the place itself looks like no honeycomb.
    """
    result = domain.copy()
    for row in np.flatnonzero(domain < 0):
        around = domain[index[row, :_AROUND]]
        count = np.bincount(around[around >= 0], minlength=1)
        if count.max() >= _MAJORITY:
            result[row] = count.argmax()
    return result


def _drift(place: FloatArray, moved: FloatArray, good: BoolArray) -> FloatArray:
    """How far the columns around each place lie from their sites, by medians at some of them.

    Parameters
    ----------
    place : array, `(N, 2)`
    moved : array, `(M, 2)`
        Of the good ones.
    good : array of bool, `(N,)`
        Those that are asked.
    """
    asked = place[good]
    some = asked[::_SOME]
    around = cKDTree(asked).query(some, k=min(_ASKED, len(asked)))[1]
    nearest = cKDTree(some).query(place)[1]
    return np.asarray(np.median(moved[around], axis=1)[nearest])


@dataclass(frozen=True)
class _Indexed:
    """Columns of a domain with a site of their own: rows, sites [px], lattice cells, sublattice."""

    rows: IntArray
    ideal_px: FloatArray
    cell: IntArray
    is_metal: BoolArray


def _indexed(position: FloatArray, role: IntArray, a_pm: float) -> _Indexed | None:
    """The columns of a domain on its average lattice; None where there is none."""
    if len(position) < _MIN_DOMAIN:
        return None
    metal = role == METAL
    chalcogen = (role > METAL) & (role < OTHER)
    try:
        lattice = fit_lattice(position, metal, a_pm, is_chalcogen=chalcogen)
    except DefectStrainError:
        return None
    place = lattice.to_pm(position)
    drift = np.zeros_like(place)
    for last in (False,) * (_INDEXINGS - 1) + (True,):
        site, is_metal = nearest_sites(place - drift, a_pm)
        miss = np.hypot(*(place - drift - site).T)
        good = miss < _REACH * a_pm
        if good.sum() < _MIN_DOMAIN:
            return None
        if not last:  # a slow distortion may be larger than the reach: follow it outwards
            drift = _drift(place, (place - site)[good], good)
    cell = np.linalg.solve(basis_pm(a_pm), site.T).T - is_metal[:, None] * _METAL_IN_CELL
    cell = np.rint(cell).astype(np.int64)
    order = np.lexsort((miss, is_metal, cell[:, 1], cell[:, 0]))
    key = np.column_stack([cell, is_metal])[order]
    good[order[1:][np.all(key[1:] == key[:-1], axis=1)]] = False  # the nearer of two has the site
    rows = np.flatnonzero(good)
    return _Indexed(rows, lattice.to_px(site[rows]), cell[rows], is_metal[rows])
