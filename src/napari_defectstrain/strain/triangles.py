"""Strain of each triangle of columns: no interpolation, no smoothing, one gradient a triangle.

Three columns that are each other's nearest neighbours on one sublattice hold exactly one affine
map: the constant-strain triangle of finite elements (Turner et al. 1956, doi:10.2514/8.3664). What
these triangles show, no smoothing made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial import Delaunay, cKDTree

from ..types import BoolArray, DefectStrainError, DisplacementField, FloatArray, IntArray
from .field import column_factor, gradient_components

SUBLATTICES = ("metal", "chalcogen")
EDGE_TOLERANCE = 1.2
"""Edges longer than this many lattice constants bridge a missing column."""


@dataclass(frozen=True)
class TriangleStrain:
    """Strain and rotation of each triangle of nearest columns of one sublattice.

    Parameters
    ----------
    class_name : str
    sublattice : str
        ``metal`` or ``chalcogen``.
    vertex : array of int, `(T, 3)`
        Columns of the displacement field, counter-clockwise.
    vertices_pm : array, `(T, 3, 2)`
        Their ideal sites [pm].
    centre_pm : array, `(T, 2)`
        [pm].
    points_up : array of bool, `(T,)`
        Triangles with a corner at the top. Those of the metal sublattice that point up hold a
        chalcogen column, the defect among them; those that point down are empty.
    components, sigma : mapping of component to array, `(T,)`
        As in `StrainField`, and their standard errors. Neighbouring triangles share columns: their
        errors are correlated.
    """

    class_name: str
    sublattice: str
    vertex: IntArray
    vertices_pm: FloatArray
    centre_pm: FloatArray
    points_up: BoolArray
    components: Mapping[str, FloatArray]
    sigma: Mapping[str, FloatArray]


def triangle_strain(displacement: DisplacementField, sublattice: str = "metal") -> TriangleStrain:
    """Strain of each triangle from the displacements of its three columns.

    With the edges ``r_k - r_0`` and their changes ``u_k - u_0``, k = 1, 2, as columns of matrices,
    the gradient is ``G = dU dR^-1``; components are those of `strain.strain_field`.

    Parameters
    ----------
    displacement : DisplacementField
        Columns without a displacement are in no triangle.
    sublattice : str
        ``metal`` or ``chalcogen``.

    Raises
    ------
    DefectStrainError
        If the sublattice is unknown, or no three neighbouring columns have a displacement.
    """
    if sublattice not in SUBLATTICES:
        raise DefectStrainError(
            f"triangles: got the sublattice {sublattice!r}, expected {' or '.join(SUBLATTICES)}"
        )
    use = np.asarray(np.isfinite(displacement.u_pm).all(axis=1))
    use &= displacement.sublattice == sublattice
    index = np.flatnonzero(use)
    site = displacement.site_pm[use]
    corner = nearest_triangles(site)
    if len(corner) == 0:
        raise DefectStrainError(
            f"triangles of {displacement.class_name}: got {len(site)} {sublattice} columns with a "
            "displacement, expected three next to each other; use larger windows"
        )
    by_x, by_y = triangle_operators(site, corner)
    u = displacement.u_pm[use].reshape(-1, 1)
    values = gradient_components(by_x, by_y, u)
    scatter = gradient_components(by_x, by_y, column_factor(displacement, use))
    centre = site[corner].mean(axis=1)
    height = site[corner, 1] - centre[:, 1:]
    return TriangleStrain(
        class_name=displacement.class_name,
        sublattice=sublattice,
        vertex=index[corner],
        vertices_pm=site[corner],
        centre_pm=centre,
        points_up=np.asarray(height.max(axis=1) > -height.min(axis=1)),
        components={name: v[:, 0] for name, v in values.items()},
        sigma={name: np.linalg.norm(v, axis=1) for name, v in scatter.items()},
    )


def nearest_triangles(site_pm: FloatArray) -> IntArray:
    """Triangles of neighbouring sites of a triangular lattice, counter-clockwise, `(T, 3)`.

    Sites around a missing one are not joined across it.
    """
    if len(site_pm) < 3 or np.linalg.matrix_rank(site_pm - site_pm.mean(axis=0), tol=1.0) < 2:
        return np.empty((0, 3), dtype=int)
    a_pm = float(cKDTree(site_pm).query(site_pm, k=2)[0][:, 1].min())
    corner = Delaunay(site_pm).simplices
    edge = site_pm[corner] - site_pm[np.roll(corner, 1, axis=1)]
    near = (np.linalg.norm(edge, axis=2) < EDGE_TOLERANCE * a_pm).all(axis=1)
    corner = corner[near]
    first, second = (site_pm[corner[:, k]] - site_pm[corner[:, 0]] for k in (1, 2))
    clockwise = first[:, 0] * second[:, 1] < first[:, 1] * second[:, 0]
    corner[clockwise] = corner[clockwise][:, ::-1]
    return np.asarray(corner, dtype=int)


def triangle_operators(site_pm: FloatArray, vertex: IntArray) -> tuple[FloatArray, FloatArray]:
    """Matrices from values at the sites to their gradient in each triangle.

    Parameters
    ----------
    site_pm : array, `(M, 2)`
    vertex : array of int, `(T, 3)`

    Returns
    -------
    by_x, by_y : arrays, `(T, M)`
        [1/pm].
    """
    corner = site_pm[vertex]  # (T, 3, 2)
    edges = corner[:, 1:] - corner[:, :1]  # (T, 2 edges, 2)
    # rows (df/dx, df/dy) = edges^-1 (f1 - f0, f2 - f0)
    slope = np.linalg.inv(edges)  # (T, 2 axes, 2 edges)
    share = np.concatenate([-slope.sum(axis=2, keepdims=True), slope], axis=2)  # (T, 2, 3)
    operators = np.zeros((2, len(vertex), len(site_pm)))
    rows = np.arange(len(vertex))[:, None]
    for axis in range(2):
        operators[axis, rows, vertex] = share[:, axis]
    return operators[0], operators[1]
