"""Equations of the fields of all classes: linear superposition over the columns of one domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.sparse import coo_array, csr_array, eye_array, hstack, issparse
from scipy.sparse import kron as kron_array
from scipy.spatial import cKDTree

from ..crystal.honeycomb import ideal_sites
from ..crystal.robust import robust_sigma
from ..progress import shared_out
from ..types import METAL, OTHER, BoolArray, FloatArray, IntArray

SAME_SITE_PM = 2.0
TAIL_RADII = 4.0
"""Each class has an elastic tail ``B r / |r|^2`` from its outermost site to this many radii."""

EDGE = 1.75
"""Columns near the edge are pushed by defects that nobody sees: at least 85 % of the sites within
this distance [a] must be there."""

OTHER_AWAY = 1.75  # a; columns nearer to one of the class other are pushed by no known field
OUTLIER_SIGMA = 5.0
LEAST_SHARE = 0.02  # of a column's probability that counts for a class
CENTRES = 32  # defects at a time
BAND_PM = 300.0  # columns whose lines lie in one band share its jitter

LINE_PM = 100.0
"""Between the knots of what lines of the scan are shifted by. A column's place is a mean over as
many lines as it is wide, so that shifts of neighbouring lines can't be told apart."""

COLUMNS_A_KNOT = 12.0  # at least, on average
SAME_SHAPE = 1e-9  # squared length of what differs between shapes of length 1 that are the same
TELLING = 50  # columns of a domain, from which they tell how they scatter along each axis
ROUNDS = 3  # between scatters by class and by domain: each is told with the other taken out
LEAST_FREEDOM = 0.1  # of what columns leave; with less nothing is told of their scatter


@dataclass(frozen=True)
class ColumnDisplacements:
    """Every column of one domain against the domain's average lattice.

    Parameters
    ----------
    position_px : array, `(N, 2)`
        (y, x) in the image [px]; NaN where a column has none.
    site_pm : array, `(N, 2)`
        Ideal site, (x, y) in the lattice frame [pm].
    u_pm : array, `(N, 2)`
        Position minus site [pm]; NaN where a column has no position.
    class_index : array of int, `(N,)`
        Role of each column.
    pixel_size_pm : float
        Mean size of a pixel by the lattice [pm].
    probability : array, `(N, K)`, optional
        Of each class, by role: a column that may be of several counts for each by its share, which
        leaves no bias where probabilities are calibrated. None: each is of its own class.
    band : array of int, `(N,)`, optional
        Cluster of each column, from 0 over all domains, -1 for columns that aren't used. None:
        bands of scan lines of each domain.
    by_profile_pm : array, `(N, 2, 2)`, optional
        What one-sigma errors of profiles do to `u_pm`: of this image's own, and of one that all
        images share [pm].
    image : int, optional
        Whose profile that is: domains of one image share it. None: no other domain does.
    scan : array, `(2, 2)`, optional
        Unit vectors (x, y) in the lattice frame along the lines of the scan, and across them. With
        it what is common to the columns of a line counts as its shift.
    """

    position_px: FloatArray
    site_pm: FloatArray
    u_pm: FloatArray
    class_index: IntArray
    pixel_size_pm: float
    probability: FloatArray | None = None
    band: IntArray | None = None
    by_profile_pm: FloatArray | None = None
    image: int | None = None
    scan: FloatArray | None = None

    def share(self, role: int) -> FloatArray:
        """How much of each column is of a class, `(N,)`."""
        if self.probability is None:
            return np.asarray((self.class_index == role).astype(float))
        share = self.probability[:, role]
        return np.asarray(np.where(share > LEAST_SHARE, share, 0.0))


@dataclass(frozen=True)
class FieldEquations:
    """What the columns of one domain say of the fields: ``u = design @ unknown + slow @ c``.

    Parameters
    ----------
    design : sparse array, `(2n, P)`
        Rows x and y of each column in turn; for each class its unknowns, then its tail. Where the
        directions of the scan are known, along and across its lines instead of x and y.
    u_pm : array, `(n, 2)`
        Displacements of the columns, likewise [pm].
    slow : array, `(n, Q)`
        Shapes of the distortion, the same for x and y, each with coefficients of its own.
    role, band : arrays of int, `(n,)`
        Class of each column, and the band of scan lines it lies in.
    weight : array, `(n,)`
        One over the scatter of each column's class [1/pm]; rows are divided by `size_pm`.
    by_profile_pm : array, `(n, 2, 2)`
        `ColumnDisplacements.by_profile_pm`; zeros where there is none.
    image : int or None
        `ColumnDisplacements.image`.
    lines : sparse array, `(n, L)`, optional
        Shapes of what displaces columns along the lines of the scan alone.
    axes : array, `(2,)`, optional
        How much more the columns of this domain scatter along each axis than those of their class.
    """

    design: csr_array
    u_pm: FloatArray
    slow: FloatArray
    role: IntArray
    band: IntArray
    weight: FloatArray
    by_profile_pm: FloatArray
    image: int | None = None
    lines: csr_array | None = None
    axes: FloatArray | None = None

    @classmethod
    def of(
        cls,
        part: ColumnDisplacements,
        roles: Sequence[int],
        site_pm: FloatArray,
        basis: FloatArray,
        radius_pm: float,
        a_pm: float,
        distortion_nm: float,
        use: IntArray | None = None,
    ) -> FieldEquations:
        """Equations of the usable columns of a domain.

        Parameters
        ----------
        part : ColumnDisplacements
        roles : sequence of int
            Classes whose fields are asked for; without any, slow changes are all there is.
        site_pm : array, `(M, 2)`
            Sites of a field, (x, y) around the defect [pm].
        basis : array, `(2M, P)`
            Fields that one unknown each stands for.
        radius_pm : float
            Reach of the sites [pm].
        a_pm : float
            Lattice constant [pm].
        distortion_nm : float
            Shortest half-wave of slow distortion [nm].
        use : array of int, optional
            Which columns are usable, where that is known (`usable_columns`).
        """
        if use is None:
            use = np.flatnonzero(usable_columns(part, a_pm))
        blocks = [_class_design(part, use, role, site_pm, basis, radius_pm) for role in roles]
        line_pm = part.position_px[use, 0] * part.pixel_size_pm
        band = ((line_pm - line_pm.min(initial=0.0)) / BAND_PM).astype(int)
        by_profile = part.by_profile_pm
        found = cls(
            csr_array(hstack(blocks)) if blocks else csr_array((2 * len(use), 0)),
            part.u_pm[use],
            slow_shapes(part, use, distortion_nm),
            part.class_index[use],
            band if part.band is None else part.band[use],
            np.ones(len(use)),
            np.zeros((len(use), 2, 2)) if by_profile is None else by_profile[use],
            part.image,
        )
        return found if part.scan is None else found._along_lines(part.scan, line_pm)

    def _along_lines(self, scan: FloatArray, line_pm: FloatArray) -> FieldEquations:
        """The same equations along and across the lines of the scan, whose shifts are free."""
        turned = csr_array(kron_array(eye_array(len(self.u_pm)), scan))
        return replace(
            self,
            design=csr_array(turned @ self.design),
            u_pm=self.u_pm @ scan.T,
            by_profile_pm=np.einsum("ij,njg->nig", scan, self.by_profile_pm),
            lines=line_shapes(line_pm),
        )

    @property
    def size_pm(self) -> FloatArray:
        """What rows are divided by, `(n, 2)` [pm]; NaN where they have no weight."""
        axes = np.ones(2) if self.axes is None else self.axes
        return np.asarray(axes / np.where(self.weight > 0, self.weight, np.nan)[:, None])

    def weighted(self, scatter: FloatArray, axes: FloatArray | None = None) -> FieldEquations:
        """The same equations with rows weighted by the scatter of their classes and their domain.

        Parameters
        ----------
        scatter : array, `(K,)`
            Of each class [pm]; columns of those without one have no weight.
        axes : array, `(2,)`, optional
            By how much more or less those of this domain scatter along either axis.
        """
        size = scatter[self.role]
        return replace(self, weight=1.0 / np.where(np.isfinite(size), size, np.inf), axes=axes)

    def no_outliers(self, left_pm: FloatArray, scatter: FloatArray) -> BoolArray:
        """Columns within five standard deviations of their class and domain, `(n,)`."""
        size = np.where(np.isfinite(scatter), scatter, np.inf)[self.role, None]
        axes = np.ones(2) if self.axes is None else self.axes
        return np.asarray((np.abs(left_pm) <= OUTLIER_SIGMA * size * axes).all(axis=1))

    def without(self, left_pm: FloatArray, scatter: FloatArray) -> FieldEquations:
        """The equations of columns that are no outliers."""
        keep = self.no_outliers(left_pm, scatter)
        rows = np.repeat(keep, 2)
        return replace(
            self,
            design=self.design[rows],
            u_pm=self.u_pm[keep],
            slow=self.slow[keep],
            role=self.role[keep],
            band=self.band[keep],
            weight=self.weight[keep],
            by_profile_pm=self.by_profile_pm[keep],
            lines=None if self.lines is None else self.lines[keep],
        )


def usable_columns(part: ColumnDisplacements, a_pm: float) -> BoolArray:
    """Columns with a position, surrounded by others, none of the class other among them."""
    result = np.isfinite(part.u_pm).all(axis=1)
    if part.band is not None:
        result &= part.band >= 0
    tree = cKDTree(part.site_pm)
    around = tree.query_ball_point(part.site_pm, EDGE * a_pm, return_length=True)
    sites, _ = ideal_sites(a_pm, EDGE * a_pm)
    result &= around >= 0.85 * len(sites)
    strange = part.site_pm[part.class_index == OTHER]
    if len(strange):
        result &= cKDTree(strange).query(part.site_pm)[0] > OTHER_AWAY * a_pm
    return np.asarray(result)


def _class_design(
    part: ColumnDisplacements,
    use: IntArray,
    role: int,
    site_pm: FloatArray,
    basis: FloatArray,
    radius_pm: float,
) -> csr_array:
    """Derivative of the displacements by the unknowns of one class and by its tail, `(2n, P+1)`."""
    share = part.share(role)
    centre, share = part.site_pm[share > 0], share[share > 0]
    target = part.site_pm[use]
    defect, column = _pairs_within(centre, target, TAIL_RADII * radius_pm)
    offset = [of[column] - to[defect] for of, to in zip(target.T.copy(), centre.T, strict=True)]
    square = offset[0] ** 2 + offset[1] ** 2
    near = np.flatnonzero(square < (np.hypot(*site_pm.T).max() + SAME_SITE_PM) ** 2)
    beside = np.stack([along[near] for along in offset], axis=1)
    distance, index = cKDTree(site_pm).query(beside, distance_upper_bound=SAME_SITE_PM)
    inside, index = near[np.isfinite(distance)], index[np.isfinite(distance)]
    rows = (2 * column[inside, None] + [0, 1]).ravel()
    unknown = (2 * index[:, None] + [0, 1]).ravel()
    shape = (2 * len(use), 2 * len(site_pm))
    counted = np.repeat(share[defect[inside]], 2)
    full = csr_array(coo_array((counted, (rows, unknown)), shape=shape))
    by = share[defect] / np.where(square > 0, square, 1.0)
    by[inside] = 0.0
    summed = np.stack(
        [np.bincount(column, by * along, minlength=len(use)) for along in offset], axis=1
    )
    return csr_array(hstack([full @ csr_array(basis), csr_array(summed.reshape(-1, 1))]))


def _pairs_within(
    centre: FloatArray, target: FloatArray, reach: float
) -> tuple[IntArray, IntArray]:
    """Which centre and which target lie within reach of each other.

    By rows of the image, whose columns are compared with all centres there: where a reach holds a
    thousand columns, a tree of them takes longer.
    """
    rows, ranks = np.argsort(centre[:, 1], kind="stable"), np.argsort(target[:, 1], kind="stable")
    x, y = target[ranks].T.copy()
    defects, columns = [np.zeros(0, dtype=int)], [np.zeros(0, dtype=int)]
    for start in range(0, len(rows), CENTRES):
        some = rows[start : start + CENTRES]
        low = np.searchsorted(y, centre[some[0], 1] - reach)
        high = np.searchsorted(y, centre[some[-1], 1] + reach, side="right")
        square = (centre[some, :1] - x[low:high]) ** 2
        square += (centre[some, 1:] - y[low:high]) ** 2
        i, j = np.divmod(np.flatnonzero(square <= reach**2), max(high - low, 1))
        defects.append(some[i])
        columns.append(ranks[low + j])
    return np.concatenate(defects), np.concatenate(columns)


def slow_shapes(part: ColumnDisplacements, use: IntArray, distortion_nm: float) -> FloatArray:
    """Shapes of slow distortion and of the chalcogen sublattice's offset, `(n, Q)`."""
    if len(use) == 0:
        return np.zeros((0, 3))
    place = part.position_px[use]
    low, extent = place.min(axis=0), np.maximum(np.ptp(place, axis=0), 1.0)
    t = (place - low) / extent  # 0 to 1
    waves = extent * part.pixel_size_pm * 1e-3 / distortion_nm  # half-waves that fit
    shapes = [np.ones(len(use)), (part.class_index[use] != METAL).astype(float), *t.T]
    for i in range(int(waves[0]) + 1):
        for j in range(int(waves[1]) + 1):
            if (i, j) != (0, 0) and (i / waves[0]) ** 2 + (j / waves[1]) ** 2 <= 1:
                shapes.append(np.cos(np.pi * i * t[:, 0]) * np.cos(np.pi * j * t[:, 1]))
    return np.stack(shapes, axis=1)


def line_shapes(line_pm: FloatArray) -> csr_array:
    """Linear splines of the place across the lines of a scan, `(n, L)`.

    Parameters
    ----------
    line_pm : array, `(n,)`
        Where the columns' lines lie [pm].
    """
    n = len(line_pm)
    if n == 0:
        return csr_array((0, 0))
    low, extent = float(line_pm.min()), float(np.ptp(line_pm))
    steps = max(min(int(extent / LINE_PM), int(n / COLUMNS_A_KNOT)), 1)
    place = (line_pm - low) / max(extent, 1e-9) * steps
    knot = np.minimum(place.astype(int), steps - 1)
    share = place - knot
    values = np.concatenate([1.0 - share, share])
    where = np.concatenate([knot, knot + 1])
    rows = np.tile(np.arange(n), 2)
    return csr_array(coo_array((values, (rows, where)), shape=(n, steps + 1)))


class _Free:
    """What displaces columns along one axis besides the fields, to be taken out of all else.

    Orthonormal columns `q` are kept as products, as shapes of lines are mostly zeros.
    """

    def __init__(self, e: FieldEquations, axis: int) -> None:
        self.shapes: list[Any] = [e.slow * e.weight[:, None]]
        if axis == 0 and e.lines is not None:
            self.shapes.append(csr_array(e.lines * e.weight[:, None]))
        product = np.concatenate([self._all_told(s) for s in self.shapes], axis=1)
        size = np.sqrt(np.maximum(np.diag(product), 1e-300))
        normal = product / np.outer(size, size)
        # a line's shift can be slow distortion too: what both say counts once
        normal[np.diag_indices_from(normal)] += SAME_SHAPE
        if len(normal):
            normal = solve_triangular(cholesky(normal), np.eye(len(normal)))
        self.rank = int(round(len(normal) - SAME_SHAPE * float((normal**2).sum())))
        self.half = normal / size[:, None]

    def _all_told(self, rows: csr_array | FloatArray) -> FloatArray:
        # a sparse matrix times a dense one is done in less time than two sparse ones
        told = [_dense((rows.T @ s).T) for s in self.shapes]
        return np.asarray(np.concatenate(told))

    def told(self, rows: csr_array | FloatArray) -> FloatArray:
        """`q.T @ rows`."""
        return np.asarray(self.half.T @ self._all_told(rows))

    def of_bands(self, gather: csr_array) -> FloatArray:
        """`gather @ q`."""
        every = np.concatenate([_dense(gather @ s) for s in self.shapes], axis=1)
        return np.asarray(every @ self.half)

    def without(self, rows: FloatArray) -> FloatArray:
        """`rows - q @ (q.T @ rows)`."""
        by_shape = np.split(self.half @ self.told(rows), [self.shapes[0].shape[1]])
        return np.asarray(rows - sum(s @ by for s, by in zip(self.shapes, by_shape, strict=False)))


def _dense(rows: Any) -> FloatArray:
    return np.asarray(rows.toarray() if issparse(rows) else rows)


@dataclass(frozen=True)
class FieldSolution:
    """Solution of the equations of all domains.

    Parameters
    ----------
    unknown : array, `(P,)`
    band_influence : array, `(T, P)`
        What each band of columns adds to them; their squares sum to the covariance.
    profile_shift : array, `(G, P)`
        What independent one-sigma errors of the images' profiles add.
    left_pm : list of array, `(n, 2)`
        What is left of each domain's columns, along the axes of its equations [pm].
    freedom : array, `(D, 2)`
        Of each domain along either axis: one less the share of its columns' freedom that all that
        was fitted takes (the trace of what maps columns on their fit).
    """

    unknown: FloatArray
    band_influence: FloatArray
    profile_shift: FloatArray
    left_pm: list[FloatArray]
    freedom: FloatArray


def solve(
    equations: Sequence[FieldEquations], bands: int | None = None, errors: bool = True
) -> FieldSolution:
    """Least squares for the unknowns of all domains.

    Parameters
    ----------
    equations : sequence of FieldEquations
    bands : int, optional
        How many bands there are over all domains, where `FieldEquations.band` counts them so; by
        default every domain has bands of its own.
    errors : bool
        Whether the influence of bands and profiles is asked for; without it they have no rows.
    """
    reduced = shared_out(_Reduced.of, equations)
    inverse = _inverse(np.asarray(sum(one.normal for one in reduced)))
    solution = inverse @ sum(one.right for one in reduced)
    left = [one.left(solution) for one in reduced]
    sizes = [e.size_pm for e in equations]
    left_pm: list[FloatArray] = [r * size for r, size in zip(left, sizes, strict=True)]
    freedom = np.array([one.freedom(inverse) for one in reduced])
    if not errors:
        none = np.zeros((0, len(solution)))
        return FieldSolution(solution, none, none, left_pm, freedom)
    every = _scores_of_bands(equations, reduced, left, bands)
    n_rows = 2 * sum(len(e.role) for e in equations)
    n_fitted = len(solution) + sum(of.rank for one in reduced for of in one.free)
    n_bands = int((every != 0).any(axis=1).sum())
    factor = n_rows / max(n_rows - n_fitted, 1) * n_bands / max(n_bands - 1, 1)
    by_profile = [one.by_profile(e) for e, one in zip(equations, reduced, strict=True)]
    own, shared = np.moveaxis(np.array(by_profile), 2, 0)  # (domains, P) each
    whose = [-1 - k if e.image is None else e.image for k, e in enumerate(equations)]
    kinds, of_kind = np.unique(whose, return_inverse=True)
    by_image = np.zeros((len(kinds), len(solution)))
    np.add.at(by_image, of_kind, own)  # the domains of an image err together
    shift = np.concatenate([by_image, shared.sum(axis=0, keepdims=True)]) @ inverse
    return FieldSolution(solution, np.sqrt(factor) * every @ inverse, shift, left_pm, freedom)


class _Reduced(NamedTuple):
    """Equations of one domain, weighted, with what is free along either axis taken out.

    Parameters
    ----------
    design : sparse array, `(2n, P)`
    weight : array, `(n, 2)`
        What rows were multiplied with [1/pm].
    free : list of _Free
        Of either axis.
    u : array, `(n, 2)`
    slow : list of array, `(Q, P)`
        What of the unknowns slow distortion can do, along each axis.
    normal : array, `(P, P)`
    right : array, `(P,)`
    """

    design: csr_array
    weight: FloatArray
    free: list[_Free]
    u: FloatArray
    slow: list[FloatArray]
    normal: FloatArray
    right: FloatArray

    @classmethod
    def of(cls, e: FieldEquations) -> _Reduced:
        """Equations of a domain, reduced."""
        w = np.nan_to_num(1.0 / e.size_pm)  # (n, 2)
        design = csr_array(e.design * w.reshape(-1, 1))
        free = [_Free(e, axis) for axis in (0, 1)]
        u = _both(free, e.u_pm * w)
        slow = [of.told(design[axis::2]) for axis, of in enumerate(free)]
        dense = design.toarray()  # a product of sparse ones takes twice as long
        normal = dense.T @ dense - sum(s.T @ s for s in slow)
        return cls(design, w, free, u, slow, normal, design.T @ u.ravel())

    def left(self, solution: FloatArray) -> FloatArray:
        """What a solution leaves, `(n, 2)`."""
        return _both(self.free, self.u - (self.design @ solution).reshape(-1, 2))

    def freedom(self, inverse: FloatArray) -> FloatArray:
        """`FieldSolution.freedom` of this domain, `(2,)`; fields take the same from both axes."""
        of_fields = 0.5 * float((inverse * self.normal).sum())
        fitted = np.array([of.rank + of_fields for of in self.free])
        return np.asarray(1.0 - fitted / max(len(self.u), 1))

    def by_profile(self, e: FieldEquations) -> FloatArray:
        """What errors of profiles add to the right-hand side, `(P, 2)`."""
        moved = _both(self.free, e.by_profile_pm * self.weight[:, :, None])
        return np.asarray(self.design.T @ moved.reshape(2 * len(self.u), moved.shape[2]))


def _scores_of_bands(
    equations: Sequence[FieldEquations],
    reduced: Sequence[_Reduced],
    left: Sequence[FloatArray],
    bands: int | None,
) -> FloatArray:
    """`_band_scores` of all domains, `(T, P)`."""
    scores = [
        _band_scores(one.design, one.free, one.slow, r, e.band)
        for e, one, r in zip(equations, reduced, left, strict=True)
    ]
    if bands is None:
        return np.concatenate(scores)
    total = np.zeros((bands, scores[0].shape[1]))
    for score in scores:
        total[: len(score)] += score
    return total


def _both(free: Sequence[_Free], rows: FloatArray) -> FloatArray:
    """Rows `(n, 2, ...)` without what is free along either axis."""
    return np.stack([of.without(rows[:, axis]) for axis, of in enumerate(free)], axis=1)


def _band_scores(
    design: csr_array,
    free: Sequence[_Free],
    slow: list[FloatArray],
    r: FloatArray,
    band: IntArray,
) -> FloatArray:
    """Sum over the columns of each band of residual times design, distortion taken out."""
    n_bands = int(band.max(initial=-1)) + 1
    score = np.zeros((n_bands, design.shape[1]))
    row = np.arange(len(band))
    for axis, of in enumerate(free):
        gather = csr_array((r[:, axis], (band, row)), shape=(n_bands, len(band)))
        score += (gather @ design[axis::2]).toarray() - of.of_bands(gather) @ slow[axis]
    return score


def _inverse(normal: FloatArray) -> FloatArray:
    """Inverse of the normal matrix; unknowns that nothing tells of stay at zero."""
    size = np.sqrt(np.maximum(np.diag(normal), 0.0))
    scale = np.where(size > 0, 1.0 / np.where(size > 0, size, 1.0), 0.0)
    return np.asarray(
        np.linalg.pinv(normal * scale * scale[:, None], 1e-10, True) * scale * scale[:, None]
    )


def scatter_of(left: Sequence[FloatArray], role: Sequence[IntArray], n_classes: int) -> FloatArray:
    """Robust standard deviation per axis of what is left, by class; NaN for absent classes."""
    every, kind = np.concatenate(left), np.concatenate(role)
    result = np.full(n_classes, np.nan)
    for k in range(n_classes):
        if (kind == k).any():
            result[k] = robust_sigma(every[kind == k], 0.0)
    floor = 1e-3 * max(float(np.nanmax(result)), 1e-6)
    return np.asarray(np.where(np.isnan(result), np.nan, np.maximum(result, floor)))


def scales_of(
    solved: FieldSolution, role: Sequence[IntArray], n_classes: int
) -> tuple[FloatArray, FloatArray]:
    """How columns of each class and of each domain scatter, whichever classes a domain holds.

    A column's scatter is the product of both. What each says is told with the other taken out: a
    class that noisy domains alone hold is no noisier itself.

    Parameters
    ----------
    solved : FieldSolution
    role : sequence of array of int `(n,)`
        Class of the columns of each domain.
    n_classes : int

    Returns
    -------
    scatter : array, `(K,)`
        By class, in a usual domain [pm]; NaN for absent classes.
    axes : array, `(D, 2)`
        Of each domain along either axis, by how much more; 1 where its columns are few.
    """
    free = np.sqrt(np.maximum(solved.freedom, LEAST_FREEDOM))
    left = [r / of for r, of in zip(solved.left_pm, free, strict=True)]
    axes: FloatArray = np.ones((len(left), 2))
    for _ in range(ROUNDS):
        alike = [r / own for r, own in zip(left, axes, strict=True)]
        scatter = scatter_of(alike, role, n_classes)
        for k, (r, kind) in enumerate(zip(left, role, strict=True)):
            if len(r) >= TELLING:
                relative = r / scatter[kind][:, None]
                axes[k] = [max(robust_sigma(along, 0.0), 1e-3) for along in relative.T]
    return scatter, axes
