"""The chalcogen sites of an image, and which of them lie on which shell around which.

Sites are the columns that were found, not an ideal grid: what a hole, a border or a bad place hides
is no site, so that nothing needs to be corrected for edges.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..types import BoolArray, DefectStrainError, FloatArray, IntArray, Sites
from .honeycomb import basis_pm
from .lattice import fit_lattice
from .regions import Regions

MAX_SHELLS = 20
_TOLERANCE = 0.27
"""Of the way to a neighbour [a]: half the distance to a metal column is 0.29 a."""
_NOWHERE = -1


def lattice_steps(shells: int) -> tuple[IntArray, IntArray]:
    """All steps to the first shells of a triangular lattice.

    Parameters
    ----------
    shells : int
        How many, 1 to `MAX_SHELLS`.

    Returns
    -------
    step : array of int, `(C, 2)`
        In units of a1 and a2 (60 degrees apart), by shell; in a shell by angle, so that opposite
        steps are half a shell apart.
    shell : array of int, `(C,)`
        From 0 on.

    Examples
    --------
    >>> step, shell = lattice_steps(2)
    >>> step[:6].tolist(), np.bincount(shell).tolist()
    ([[1, 0], [0, 1], [-1, 1], [-1, 0], [0, -1], [1, -1]], [6, 6])
    """
    if not 1 <= shells <= MAX_SHELLS:
        raise DefectStrainError(f"shells: got {shells}, expected 1 to {MAX_SHELLS}")
    reach = 9  # enough for MAX_SHELLS
    grid = np.arange(-reach, reach + 1)
    step = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    square = (step**2).sum(axis=1) + step[:, 0] * step[:, 1]
    kept = np.unique(square)[1 : shells + 1]
    step, square = step[np.isin(square, kept)], square[np.isin(square, kept)]
    place = step @ basis_pm(1.0).T
    angle = np.round(np.mod(np.arctan2(place[:, 1], place[:, 0]) + 1e-9, 2 * np.pi), 6)
    order = np.lexsort((angle, square))
    return step[order], np.searchsorted(kept, square[order])


def shell_distances(shells: int) -> FloatArray:
    """Distances of the first shells [a], `(shells,)`.

    >>> shell_distances(4).round(3).tolist()
    [1.0, 1.732, 2.0, 2.646]
    """
    step, shell = lattice_steps(shells)
    first = np.searchsorted(shell, np.arange(shells))
    return np.asarray(np.hypot(*(step[first] @ basis_pm(1.0).T).T))


@dataclass(frozen=True)
class SiteNeighbours:
    """Chalcogen sites of one image and their neighbours, each domain for itself.

    Parameters
    ----------
    column : array of int, `(n,)`
        Which column of the image's `Sites` lies on each site.
    table : array of int, `(n + 1, C)`
        Site that lies one step of `lattice_steps` away; n where there is none, and in the last row.
    shell : array of int, `(C,)`
        Of each step.
    left_out : int
        Chalcogen columns of domains too small for a lattice.
    """

    column: IntArray
    table: IntArray
    shell: IntArray
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.column)

    @property
    def shells(self) -> int:
        """How many."""
        return int(self.shell[-1]) + 1

    @property
    def pairs(self) -> IntArray:
        """Pairs of sites on each shell, `(shells,)`."""
        found = (self.table[:-1] < len(self)).sum(axis=0)
        return np.asarray(np.bincount(self.shell, found, self.shells).astype(int) // 2)


def site_neighbours(sites: Sites, regions: Regions | None, shells: int) -> SiteNeighbours:
    """Find the chalcogen sites of the domains of an image, and their neighbours.

    Each step is looked for from the column itself, so that slow distortions of the scan do no harm.

    Parameters
    ----------
    sites : Sites
    regions : Regions or None
        Columns outside of their domains are left out; None: all is one domain.
    shells : int
        As for `lattice_steps`.
    """
    step, shell = lattice_steps(shells)
    chalcogen = np.asarray(sites.is_chalcogen)
    place = np.asarray(sites.position_px, dtype=float)
    if regions is None:
        domains = [np.ones(len(sites), dtype=bool)]
    else:
        label = regions.label_at(place)
        domains = [label == domain.index for domain in regions.domains]
    columns: list[IntArray] = []
    links: list[IntArray] = []
    left_out = 0
    for member in domains:
        try:
            lattice = fit_lattice(
                place[member], sites.is_metal[member], 1.0, None, chalcogen[member]
            )
        except DefectStrainError:
            left_out += int((member & chalcogen).sum())
            continue
        column = np.flatnonzero(member & chalcogen)
        before = sum(len(one) for one in columns)
        columns.append(column)
        links.append(
            _links(lattice.to_pm(place[column]), step) + np.array([[before], [before], [0]])
        )
    column = np.concatenate(columns) if columns else np.zeros(0, dtype=int)
    table = np.full((len(column) + 1, len(step)), len(column), dtype=np.int32)
    for start, end, number in links:
        table[start, number] = end
    _make_mutual(table, shell)
    return SiteNeighbours(column, table, shell, left_out)


def _links(place: FloatArray, step: IntArray) -> IntArray:
    """Start, end and number of the step of every two sites that are one apart, `(3, L)`.

    Parameters
    ----------
    place : array, `(n, 2)`
        (x, y) of the columns in the lattice frame [a].
    step : array of int, `(C, 2)`
    """
    basis = basis_pm(1.0)
    reach = float(np.hypot(*(step[-1] @ basis.T))) + _TOLERANCE
    start, end = cKDTree(place).query_pairs(reach, output_type="ndarray").T
    way = place[end] - place[start]
    index = np.rint(np.linalg.solve(basis, way.T).T).astype(int)
    on_site = np.hypot(*(way - index @ basis.T).T) < _TOLERANCE
    most = int(np.abs(step).max())
    number = np.full((2 * most + 3, 2 * most + 3), _NOWHERE)
    number[tuple((step + most + 1).T)] = np.arange(len(step))
    near = np.clip(index, -most - 1, most + 1) + most + 1
    forth = number[tuple(near.T)]
    back = number[tuple((2 * (most + 1) - near).T)]
    use = on_site & (forth != _NOWHERE)
    return np.asarray(
        np.stack(
            [
                np.concatenate([start[use], end[use]]),
                np.concatenate([end[use], start[use]]),
                np.concatenate([forth[use], back[use]]),
            ]
        )
    )


def _make_mutual(table: IntArray, shell: IntArray) -> None:
    """Drop links that lead nowhere back: two columns at one place claimed the same step."""
    n = len(table) - 1
    size = np.bincount(shell)
    first = np.searchsorted(shell, np.arange(len(size)))[shell]
    number = np.arange(len(shell)) - first
    opposite = first + (number + size[shell] // 2) % size[shell]
    alone = table[table[:-1], opposite] != np.arange(n)[:, None]
    table[:-1][alone] = n


def placement_seed(sites: Sites, which: IntArray | BoolArray, seed: int) -> list[int]:
    """Seed of an image's random placements: by its columns, not by its place among the images.

    Parameters
    ----------
    sites : Sites
    which : array
        Columns that count.
    seed : int
    """
    content = hashlib.sha256(np.round(sites.position_px[which], 3).astype("<f8").tobytes())
    content.update(np.asarray(sites.class_index[which], dtype="<i8").tobytes())
    return [seed, *np.frombuffer(content.digest(), dtype="<u4").tolist()]
