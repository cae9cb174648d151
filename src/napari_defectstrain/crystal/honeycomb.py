"""The ideal honeycomb of projected 2H-MX2: its sites, its shells, and which columns lie on them.

The origin is a chalcogen site; the metals nearest to it lie at 90, 210 and 330 degrees.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from ..types import METAL, OTHER, BoolArray, DefectStrainError, FloatArray, ImageLattice, IntArray

SQRT3 = float(np.sqrt(3.0))
OTHER_REACH = (0.0, 1.34, 1.87, 2.2)
"""How far columns of the class other break isolation, for 0-3 shells [a].

They lie on any site: metals and hexagon centres are 0.58, 1.15, 1.53, 2.08, 2.31 a away from a
chalcogen column, its own kind 1, 1.73, 2, 2.65 a. So each reach ends in a gap beyond its last
shell, where no scatter of a few tens of pm decides.
"""


def basis_pm(a_pm: float) -> FloatArray:
    """Lattice vectors a1 along x and a2 at 60 degrees, as the columns of a `(2, 2)` array."""
    return a_pm * np.array([[1.0, 0.5], [0.0, SQRT3 / 2]])


def ideal_sites(a_pm: float, radius_pm: float) -> tuple[FloatArray, BoolArray]:
    """All sites of the honeycomb within a radius of a chalcogen site.

    Parameters
    ----------
    a_pm, radius_pm : float
        Lattice constant and radius [pm].

    Returns
    -------
    site_pm : array, `(M, 2)`
        (x, y) in the lattice frame [pm], by radius, then by angle from 0 to 360 degrees; the
        origin comes first.
    is_metal : array of bool, `(M,)`

    Examples
    --------
    >>> site_pm, is_metal = ideal_sites(330.0, 200.0)
    >>> site_pm.round(1).tolist()
    [[0.0, 0.0], [0.0, 190.5], [-165.0, -95.3], [165.0, -95.3]]
    """
    reach = int(np.ceil(radius_pm / (a_pm * SQRT3 / 2))) + 2
    i, j = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    chalcogen = np.stack([i.ravel(), j.ravel()], axis=1) @ basis_pm(a_pm).T
    metal = chalcogen + [0.0, a_pm / SQRT3]
    site = np.concatenate([chalcogen, metal])
    is_metal = np.repeat([False, True], len(chalcogen))
    radius = np.hypot(site[:, 0], site[:, 1])
    # Rounded keys: equal radii and angles must not be ordered by their rounding errors.
    angle = np.round(np.mod(np.arctan2(site[:, 1], site[:, 0]) + 1e-9, 2 * np.pi), 6)
    inside = np.flatnonzero(radius <= radius_pm * (1 + 1e-9) + 1e-9)
    order = inside[np.lexsort((angle[inside], np.round(radius[inside] / a_pm, 6)))]
    return np.asarray(site[order]), np.asarray(is_metal[order])


def shell_radii(a_pm: float) -> FloatArray:
    """Radii of the first three shells of chalcogen columns around one of them [pm], `(3,)`."""
    return np.asarray(a_pm * np.array([1.0, SQRT3, 2.0]))


def isolated(
    position_px: FloatArray,
    class_index: IntArray,
    lattice: ImageLattice,
    shape: tuple[int, int],
    shells: int = 2,
) -> BoolArray:
    """Chalcogen columns whose first shells hold perfect columns (class X2) only.

    A site without a detected column breaks isolation, as a defective column does; so does one
    outside the image. A column of the class other breaks it wherever it lies within the shells
    (`OTHER_REACH`), on a site of either sublattice or between them.

    Parameters
    ----------
    position_px : array, `(N, 2)`
        (y, x) of all columns [px].
    class_index : array of int, `(N,)`
        Role of each column (0 metal, 1 X2, 2-5 defects, 6 other, from 7 on named defects).
    lattice : ImageLattice
    shape : tuple of int
        Shape of the image [px].
    shells : int
        How many shells of chalcogen columns, 0-3: radii a, sqrt(3) a, 2 a; 6 columns each.

    Returns
    -------
    array of bool, `(N,)`
        False for metal columns and for those of the class other.

    Raises
    ------
    DefectStrainError
        If `shells` is not 0-3.
    """
    if not 0 <= shells <= 3:
        raise DefectStrainError(f"isolation shells: got {shells}, expected 0, 1, 2 or 3")
    role = np.asarray(class_index)
    result = np.asarray((role > METAL) & (role != OTHER))
    if shells == 0 or not result.any():
        return result
    position = np.asarray(position_px, dtype=float)
    a = lattice.a_pm
    site, is_metal = ideal_sites(a, shell_radii(a)[shells - 1] * 1.01)
    neighbour_pm = site[~is_metal][1:]  # (6 shells, 2)
    step_px = neighbour_pm @ lattice.matrix.T
    index = np.flatnonzero(result)
    target = position[index][:, None] + step_px  # (n, 6 shells, 2)
    inside = ((target > -0.5) & (target < np.array(shape) - 0.5)).all(axis=2)
    # Half the distance to a metal column is a/(2 sqrt 3) = 0.29 a: the tolerance stays below it.
    tolerance_px = 0.27 * a * float(np.sqrt(np.linalg.det(lattice.matrix)))
    distance, nearest = cKDTree(position).query(target, distance_upper_bound=tolerance_px)
    found = np.isfinite(distance) & inside
    perfect = np.append(role, -1)[nearest] == 1
    result[index] = (found & perfect).all(axis=1)
    if (role == OTHER).any():
        strange = cKDTree(lattice.to_pm(position[role == OTHER]))
        result[index] &= strange.query(lattice.to_pm(position[index]))[0] > OTHER_REACH[shells] * a
    return result


def index_columns(
    position_px: FloatArray, lattice: ImageLattice
) -> tuple[FloatArray, BoolArray, FloatArray]:
    """The ideal site nearest to each column, and how far the column is from it.

    Parameters
    ----------
    position_px : array, `(N, 2)`
        (y, x) [px].
    lattice : ImageLattice

    Returns
    -------
    site_pm : array, `(N, 2)`
        Ideal site in the lattice frame (x, y) [pm].
    is_metal : array of bool, `(N,)`
        Sublattice of that site.
    residual_pm : array, `(N, 2)`
        Position minus site, (x, y) [pm].
    """
    position_pm = lattice.to_pm(np.asarray(position_px, dtype=float))
    site_pm, is_metal = nearest_sites(position_pm, lattice.a_pm)
    return site_pm, is_metal, position_pm - site_pm


def nearest_sites(position_pm: FloatArray, a_pm: float) -> tuple[FloatArray, BoolArray]:
    """The ideal site nearest to each position in the lattice frame, and its sublattice.

    Parameters
    ----------
    position_pm : array, `(N, 2)`
        (x, y) [pm]; a chalcogen site lies at the origin.
    a_pm : float
        Lattice constant [pm].

    Returns
    -------
    site_pm : array, `(N, 2)`
    is_metal : array of bool, `(N,)`
    """
    offset = np.array([0.0, a_pm / SQRT3])
    chalcogen = _nearest_lattice_point(position_pm, a_pm)
    metal = _nearest_lattice_point(position_pm - offset, a_pm) + offset
    to_chalcogen = np.hypot(*(position_pm - chalcogen).T)
    is_metal = np.asarray(np.hypot(*(position_pm - metal).T) < to_chalcogen)
    return np.where(is_metal[:, None], metal, chalcogen), is_metal


def _nearest_lattice_point(position_pm: FloatArray, a_pm: float) -> FloatArray:
    """Nearest point of the triangular lattice: one of the corners of the rhombic cell."""
    basis = basis_pm(a_pm)
    cell = np.floor(np.linalg.solve(basis, position_pm.T).T)
    corner = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    candidate = (cell[:, None] + corner) @ basis.T  # (n, 4, 2)
    distance = np.hypot(*np.moveaxis(candidate - position_pm[:, None], 2, 0))
    return np.asarray(candidate[np.arange(len(cell)), distance.argmin(axis=1)])
