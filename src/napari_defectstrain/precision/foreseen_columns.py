"""Columns as their class, the defects around them and slow changes let one foresee them.

For each image alone, by least squares over its columns: places by the superposition of all
defects' fields on a slowly distorted lattice (`field_equations`), weights by class, by the number
of defects of each kind at each distance (what a profile that isn't quite right makes of
neighbours), and by slow changes of either sublattice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..averages.patches import Patch
from ..averages.symmetry import symmetric_basis
from ..crystal.honeycomb import ideal_sites, index_columns
from ..crystal.robust import robust_sigma
from ..types import METAL, OTHER, BoolArray, DefectStrainError, FloatArray, IntArray, Sites
from .field_equations import (
    ColumnDisplacements,
    FieldEquations,
    scatter_of,
    slow_shapes,
    solve,
    usable_columns,
)

REACH_PM = 700.0
SHELL_PM = 20.0
PLACE_NM, WEIGHT_NM = 4.0, 2.0  # shortest half-waves of slow changes
PASSES = 3
OUTLIER_SIGMA = 6.0
ASTRAY = 0.25  # a


@dataclass(frozen=True)
class ForeseenColumns:
    """What an image's columns are expected to be; a `columns.images.Foresight`.

    Parameters
    ----------
    sites : Sites
    patches : sequence of Patch
        Domains of the image.
    a_pm : float
        Lattice constant [pm].
    """

    sites: Sites
    patches: Sequence[Patch]
    a_pm: float

    def __call__(self, position: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Places `(N, 2)` (y, x) [px] and weights `(N,)` foreseen by those fitted.

        NaN for columns at borders, of no class, or that lie astray.
        """
        place, heaviness = np.full_like(position, np.nan), np.full_like(weight, np.nan)
        for patch in self.patches:
            member = np.flatnonzero(patch.member)
            try:
                there, heavy = self._of_patch(patch, member, position[member], weight[member])
            except DefectStrainError:
                continue  # a domain too small to foresee anything
            place[member], heaviness[member] = there, heavy
        return place, heaviness

    def _of_patch(
        self, patch: Patch, member: IntArray, position: FloatArray, weight: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        start, role = self.sites.position_px[member], self.sites.role[member]
        site, is_metal, _ = index_columns(start, patch.lattice)
        u = patch.lattice.to_pm(position) - site
        astray = (np.hypot(*u.T) > ASTRAY * self.a_pm) | ((role == METAL) != is_metal)
        u[astray | (role == OTHER)] = np.nan
        pixel = 1.0 / float(np.sqrt(np.linalg.det(patch.lattice.matrix)))
        part = ColumnDisplacements(start, site, u, role, pixel)
        kinds = [k for k in np.unique(role).tolist() if k != OTHER]
        roles = [k for k in kinds if k > 1]
        place: FloatArray = np.full_like(position, np.nan)
        use, moved = self._displacements(part, roles)
        place[use] = patch.lattice.to_px(site[use] + moved)
        known = np.isfinite(place[:, 0]) & np.isfinite(weight)
        return place, _weights(part, kinds, is_metal, weight, known)

    def _displacements(
        self, part: ColumnDisplacements, roles: Sequence[int]
    ) -> tuple[IntArray, FloatArray]:
        """Columns whose displacement is foreseen, and what it is `(n, 2)` [pm]."""
        around, _ = ideal_sites(self.a_pm, REACH_PM)
        basis = symmetric_basis(around)
        use = np.flatnonzero(usable_columns(part, self.a_pm))
        if len(use) == 0:
            raise DefectStrainError("foreseeing columns: got none with neighbours on all sides")
        n_classes = len(self.sites.class_names)
        e = FieldEquations.of(part, roles, around, basis, REACH_PM, self.a_pm, PLACE_NM)
        scatter: FloatArray = np.ones(n_classes)
        for _ in range(PASSES):
            e = e.weighted(scatter)
            left = solve([e], errors=False).left_pm[0]
            scatter = scatter_of([left], [e.role], n_classes)
            foreseen = use, e.u_pm - left
            keep = e.no_outliers(left, scatter)
            use, e = use[keep], e.without(left, scatter)
        return foreseen


def _weights(
    part: ColumnDisplacements,
    kinds: Sequence[int],
    is_metal: BoolArray,
    weight: FloatArray,
    known: BoolArray,
) -> FloatArray:
    """Weights by class, neighbours and slow changes, `(N,)`; NaN where nothing is known."""
    role, site = part.class_index, part.site_pm
    tree = cKDTree(site)
    of_class = [(role == k).astype(float) for k in kinds]
    shapes = list(of_class)
    for k in (k for k in kinds if k > 1):
        centre = site[role == k]
        near = tree.query_ball_point(centre, REACH_PM)
        defect = np.repeat(np.arange(len(centre)), [len(n) for n in near])
        column = np.concatenate([np.asarray(n, dtype=int) for n in near])
        distance = np.hypot(*(site[column] - centre[defect]).T)
        shell = 2 * np.rint(distance / SHELL_PM).astype(int) + is_metal[column]
        for one in np.unique(shell[distance > SHELL_PM]):
            shapes.append(np.bincount(column[shell == one], minlength=len(site)).astype(float))
    usual = np.zeros(len(role))
    for mine in of_class:
        ours = known & (mine > 0)
        usual += mine * (float(np.median(weight[ours])) if ours.any() else 0.0)
    slow = slow_shapes(part, np.arange(len(role)), WEIGHT_NM)[:, 2:]
    for sublattice in (is_metal, ~is_metal):
        shapes.extend((usual * sublattice)[:, None].T * slow.T)
    design = np.stack(shapes, axis=1)
    fitted: FloatArray = np.full(len(role), np.nan)
    use = known.copy()
    if use.sum() <= design.shape[1]:
        return fitted
    known_rows = design[use]
    normal, right = known_rows.T @ known_rows, known_rows.T @ weight[use]
    for _ in range(PASSES):
        fitted = design @ _solution(normal, right)
        left = weight - fitted
        before, use = use, known & (np.abs(left) < OUTLIER_SIGMA * robust_sigma(left[use]))
        changed = np.flatnonzero(use != before)  # a few: no need to form all products anew
        gained = design[changed].T * np.where(use[changed], 1.0, -1.0)
        normal, right = normal + gained @ design[changed], right + gained @ weight[changed]
    return np.asarray(np.where(known, fitted, np.nan))


def _solution(normal: FloatArray, right: FloatArray) -> FloatArray:
    """Of normal equations; what nothing tells of is zero."""
    size = np.sqrt(np.maximum(np.diag(normal), 0.0))
    scale = np.where(size > 1e-6 * size.max(initial=0.0), 1.0 / np.where(size > 0, size, 1.0), 0.0)
    inverse = np.linalg.pinv(normal * scale * scale[:, None], 1e-10, hermitian=True)
    return np.asarray(scale * (inverse @ (scale * right)))
