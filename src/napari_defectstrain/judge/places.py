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
from ..crystal.lattice import fit_lattice, nearest_sites
from ..types import METAL, OTHER, BoolArray, DefectStrainError, FloatArray, IntArray, Sites

NEIGHBOURS = 60
_MIN_DOMAIN = 60
_REACH = 0.27  # of the lattice constant: less than half the way to the other sublattice
_CLIP = 4.0  # robust standard deviations
_INDEXINGS = 3
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
        Rows of the nearest columns of the same sublattice and domain, itself first; -1 where there
        are fewer.
    around : array of int, `(N, 3)`
        Rows of the nearest columns of the other sublattice; -1 where there is none.
    """

    ideal_px: FloatArray
    on_lattice: BoolArray
    is_metal: BoolArray
    neighbours: IntArray
    around: IntArray

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
    domain = _domains(position)
    ideal = position.copy()
    on_lattice, is_metal = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    group = np.full(n, -1)
    for label in range(int(domain.max(initial=-1)) + 1):
        members = np.flatnonzero(domain == label)
        if len(members) < _MIN_DOMAIN:
            continue
        chosen, site, metal = _indexed(position[members], sites.class_index[members], a_pm)
        rows = members[chosen]
        ideal[rows], on_lattice[rows], is_metal[rows] = site, True, metal
        group[rows] = 2 * label + metal
    if not on_lattice.any():
        raise DefectStrainError(
            f"judge: none of {n} columns belongs to a honeycomb of {_MIN_DOMAIN} columns or more"
        )
    near = np.full((n, NEIGHBOURS), -1)
    around = np.full((n, 3), -1)
    for label in np.unique(group[group >= 0]):
        rows, others = np.flatnonzero(group == label), np.flatnonzero(group == label ^ 1)
        near[rows] = _nearest(ideal, rows, rows, NEIGHBOURS, np.inf)
        if len(others):
            spacing = np.median(cKDTree(ideal[others]).query(ideal[rows])[0])
            around[rows] = _nearest(ideal, rows, others, 3, 1.35 * spacing)
    return LatticePlaces(ideal, on_lattice, is_metal, near, around)


def _nearest(
    place: FloatArray, rows: IntArray, among: IntArray, count: int, reach: float
) -> IntArray:
    """Rows of the nearest `count` of `among`, -1 where there are fewer within reach."""
    k = min(count, len(among))
    query = cKDTree(place[among]).query(place[rows], k=k, distance_upper_bound=reach)
    index = np.asarray(query[1]).reshape(len(rows), k)
    found = np.append(among, -1)[index]
    return np.pad(found, ((0, 0), (0, count - k)), constant_values=-1)


def _domains(position: FloatArray) -> IntArray:
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


def _indexed(
    position: FloatArray, role: IntArray, a_pm: float
) -> tuple[IntArray, FloatArray, BoolArray]:
    """Which columns of a domain have a site of their own, that site [px], and its sublattice."""
    metal = role == METAL
    chalcogen = (role > METAL) & (role < OTHER)
    empty = np.empty(0, dtype=int), np.empty((0, 2)), np.empty(0, dtype=bool)
    try:
        lattice = fit_lattice(position, metal, a_pm, is_chalcogen=chalcogen)
    except DefectStrainError:
        return empty
    place = lattice.to_pm(position)
    drift = np.zeros_like(place)
    for last in (False,) * (_INDEXINGS - 1) + (True,):
        site, is_metal = nearest_sites(place - drift, a_pm)
        miss = np.hypot(*(place - drift - site).T)
        good = miss < _REACH * a_pm
        if good.sum() < _MIN_DOMAIN:
            return empty
        if not last:  # a slow distortion may be larger than the reach: follow it outwards
            distance, index = cKDTree(place[good]).query(place, k=min(30, int(good.sum())))
            del distance
            drift = np.median((place - site)[good][index], axis=1)
    key = np.rint(site / (a_pm / 12)).astype(np.int64)
    order = np.lexsort((miss, key[:, 1], key[:, 0]))
    same = np.all(key[order][1:] == key[order][:-1], axis=1)
    good[order[1:][same]] = False  # the nearer of two columns has the site
    chosen = np.flatnonzero(good)
    return chosen, lattice.to_px(site[chosen]), is_metal[chosen]
