"""The lattice of an image by its columns: sublattices, the average lattice and its frame.

Projected 2H-MX2 is a honeycomb: metal and chalcogen columns a/sqrt(3) apart, each surrounded by
three of the other kind. In the lattice frame (``docs/conventions.md``) the metals nearest to a
chalcogen column lie at 90, 210 and 330 degrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.spatial import cKDTree

from ..progress import subprogress
from ..types import (
    BoolArray,
    DefectStrainError,
    FloatArray,
    ImageLattice,
    IntArray,
    Progress,
    no_progress,
)
from .calibration import PixelSizeEstimate, estimate_pixel_size
from .domains import (
    FIRST_NEIGHBOUR_REACH,
    SECOND_NEIGHBOUR_REACH,
    honeycomb_domains,
    neighbours,
    opposed_patches,
    threefold_order,
)
from .honeycomb import (
    SQRT3,
    basis_pm,
    ideal_sites,
    index_columns,
    isolated,
    nearest_sites,
    shell_radii,
)

__all__ = [
    "LatticeShape",
    "PixelSizeEstimate",
    "decompose",
    "estimate_pixel_size",
    "fit_lattice",
    "ideal_sites",
    "index_columns",
    "isolated",
    "metal_sublattice",
    "nearest_sites",
    "shell_radii",
]

_MOST_KEPT = 20_000
"""Lattices of images of more columns aren't kept: their columns would take the memory."""
MIN_METAL_COLUMNS = 12


@dataclass(frozen=True)
class LatticeShape:
    """What the scan does to a lattice: ``A = scale (1 + shear) rotation``.

    A takes the lattice frame to the image's own axes, x to the right and y *up*, both in pm by
    the image's stated pixel size.

    Parameters
    ----------
    rotation_deg : float
        Angle of the lattice frame's x in the image, counter-clockwise [deg].
    scale : float
        Square root of the area's growth: stated pixel size over the true one.
    shear_xx_yy : float
        Stretch along the scan lines less that across them, area kept.
    shear_xy : float
        Tensor shear; positive where the angle between x and y closes.
    """

    rotation_deg: float
    scale: float
    shear_xx_yy: float
    shear_xy: float


def decompose(matrix: FloatArray, pixel_size_pm: float) -> LatticeShape:
    """Polar decomposition of `ImageLattice.matrix` in the image's axes, rotation first.

    Parameters
    ----------
    matrix : array, `(2, 2)`
        Rows (y, x) [px], columns (x, y) of the lattice frame [pm].
    pixel_size_pm : float
        Stated side of a pixel [pm].

    Examples
    --------
    >>> shape = decompose(np.array([[0.0, -0.05], [0.0505, 0.0]]), 20.0)
    >>> round(shape.rotation_deg, 6), round(shape.shear_xx_yy, 3)
    (0.0, 0.01)
    """
    flip = np.array([[0.0, 1.0], [-1.0, 0.0]])  # (y, x) px, y down, to (x, y), y up
    a = flip @ matrix * pixel_size_pm
    left, size, right = np.linalg.svd(a)
    rotation = left @ right
    stretch = (left * size) @ left.T
    scale = float(np.sqrt(size[0] * size[1]))
    return LatticeShape(
        rotation_deg=float(np.rad2deg(np.arctan2(rotation[1, 0], rotation[0, 0]))),
        scale=scale,
        shear_xx_yy=float((stretch[0, 0] - stretch[1, 1]) / scale),
        shear_xy=float(stretch[0, 1] / scale),
    )


def metal_sublattice(
    position_px: FloatArray,
    metal_log_odds: FloatArray,
    radius_px: float | None = None,
    is_other: BoolArray | None = None,
    progress: Progress = no_progress,
) -> BoolArray:
    """Which columns are metal, by the vote of their whole domain and never by a single column.

    The mean of exp(3i phi) over a column's three nearest neighbours has opposite sign on the two
    sublattices. Geometry alone tells the domains (`domains.honeycomb_domains`); in each, the sum of
    what is known of every column's brightness says which sign is the metal's, unless a large patch
    of it clearly says the opposite (`domains.opposed_patches`). Columns that belong to no domain
    follow the vote of their neighbourhood, then that of their neighbours.

    Parameters
    ----------
    position_px : array, `(N, 2)`
        (y, x) of all columns, metal and chalcogen [px].
    metal_log_odds : array, `(N,)`
        Positive where the column itself looks like metal; clipped to +-3, NaN counts as unknown.
    radius_px : float, optional
        Reach of the neighbourhood's vote (two standard deviations of its Gaussian weight) [px];
        default 6.5 lattice constants.
    is_other : array of bool, `(N,)`, optional
        Columns of neither kind (adatoms, antisites, another phase): they have no say, and get the
        sublattice that the others around them leave them.
    progress : Progress

    Returns
    -------
    array of bool, `(N,)`
        True for metal. A column without usable neighbours keeps the sign of its own log odds.
    """
    position = np.asarray(position_px, dtype=float)
    if is_other is not None and np.any(is_other):
        known = ~np.asarray(is_other, dtype=bool)
        result = np.zeros(len(position), dtype=bool)
        odds = np.asarray(metal_log_odds, dtype=float)[known]
        result[known] = metal_sublattice(position[known], odds, radius_px, None, progress)
        result[~known] = _sublattice_left(position[~known], position[known], result[known])
        return result
    weight = np.clip(np.nan_to_num(np.asarray(metal_log_odds, dtype=float)), -3.0, 3.0)
    n = len(position)
    if n < 4:
        return np.asarray(weight > 0)
    progress(0.0, "telling the sublattices")
    distance, index = neighbours(position)
    progress(0.2, "telling the sublattices")
    nearest = float(np.median(distance[:, 0]))
    first = distance < FIRST_NEIGHBOUR_REACH * nearest
    first[:, 3:] = False
    second = (distance < SECOND_NEIGHBOUR_REACH * nearest) & (
        distance >= FIRST_NEIGHBOUR_REACH * nearest
    )
    z = threefold_order(position, position[index], first)
    label, side = honeycomb_domains(z, index, first, second, subprogress(progress, 0.3, 0.9))
    whole = np.bincount(label + 1, weight * side)[label + 1]  # side is 0 where there is no domain
    vote = _smoothed(position, weight * z, radius_px or 6.5 * SQRT3 * nearest, nearest)
    progress(0.95, "telling the sublattices")
    local = np.real(z * np.conj(vote))
    kind = np.where(side * whole > 0, 1.0, -1.0)  # of the columns of domains
    own = opposed_patches(label, weight * kind, local * kind < 0, index, first | second)
    sign = np.where(label < 0, local, np.where(own, -1.0, 1.0) * side * whole)
    size = np.where(label < 0, np.abs(z) * np.abs(vote), np.abs(whole))
    good = (label >= 0) | ((np.abs(z) > 0.5) & (np.abs(sign) > 0.3 * size))
    kind = np.where(sign > 0, 1.0, -1.0)
    # Poor columns: unlike their first neighbours, like their second ones.
    trusted = np.where(good, kind, 0.0)[index]
    polled = (trusted * second).sum(axis=1) - (trusted * first).sum(axis=1)
    fallback = np.where(size > 0, sign, weight)
    return np.asarray(np.where(good, kind, np.where(polled != 0, polled, fallback)) > 0)


def _sublattice_left(
    position_px: FloatArray, known_px: FloatArray, is_metal: BoolArray
) -> BoolArray:
    """Whether places are metal sites: unlike their first known neighbours, like their second."""
    if len(known_px) < 2:
        return np.zeros(len(position_px), dtype=bool)
    tree = cKDTree(known_px)
    nearest = float(np.median(tree.query(known_px, k=2)[0][:, 1]))
    distance, index = tree.query(position_px, k=min(len(known_px), 12))
    kind = np.where(is_metal, 1.0, -1.0)[index] * (distance < SECOND_NEIGHBOUR_REACH * nearest)
    first = distance < FIRST_NEIGHBOUR_REACH * nearest
    return np.asarray((kind * np.where(first, -1.0, 1.0)).sum(axis=1) > 0)


def _smoothed(position: FloatArray, value: FloatArray, radius: float, cell: float) -> FloatArray:
    """Gaussian-weighted sum of complex values scattered over the plane, at their own places."""
    low = position.min(axis=0)
    grid_index = np.rint((position - low) / cell).astype(int)
    shape = tuple(grid_index.max(axis=0) + 1)
    flat = np.ravel_multi_index((grid_index[:, 0], grid_index[:, 1]), shape)
    sigma = radius / 2 / cell
    parts = []
    for part in (value.real, value.imag):
        grid = np.bincount(flat, part, minlength=shape[0] * shape[1]).reshape(shape)
        grid = gaussian_filter(grid, sigma, mode="constant")
        parts.append(map_coordinates(grid, ((position - low) / cell).T, order=1, mode="nearest"))
    return np.asarray(parts[0] + 1j * parts[1])


def fit_lattice(
    position_px: FloatArray,
    is_metal: BoolArray,
    a_pm: float,
    pixel_size_pm: float | None = None,
    is_chalcogen: BoolArray | None = None,
) -> ImageLattice:
    """The average lattice of an image: an affine map fitted to the metal columns, and its frame.

    The metal columns are indexed by growing outwards along nearest-neighbour vectors, so that
    vacancies and slow distortion don't lose count, then fitted by least squares without their
    outliers. The chalcogen columns decide, by majority, between the two senses 60 degrees
    apart; of the three equivalent frames the one whose x is nearest to the image's x is taken.

    Parameters
    ----------
    position_px : array, `(N, 2)`
        (y, x) of all columns [px].
    is_metal : array of bool, `(N,)`
        Sublattice of each column.
    a_pm : float
        Lattice constant of the ideal lattice [pm].
    pixel_size_pm : float, optional
        The image's own calibration [pm]; gives `measured_a_pm`.
    is_chalcogen : array of bool, `(N,)`, optional
        Columns of the other sublattice; by default all that aren't metal. Columns that are neither
        (adatoms, antisites, another phase) have no say.

    Returns
    -------
    ImageLattice
        Its origin is the chalcogen site nearest to the centroid of the metal columns.

    Raises
    ------
    DefectStrainError
        With too few metal columns, or when less than half of them belong to one lattice.
    """
    position = np.asarray(position_px, dtype=float)
    metal_index = np.asarray(is_metal, dtype=bool)
    other = ~metal_index if is_chalcogen is None else np.asarray(is_chalcogen, dtype=bool)
    metal, chalcogen = position[metal_index], position[other]
    if len(metal) < MIN_METAL_COLUMNS or len(chalcogen) < 3:
        raise DefectStrainError(
            f"lattice: got {len(metal)} metal and {len(chalcogen)} chalcogen columns, expected at "
            f"least {MIN_METAL_COLUMNS} and 3; use a larger region or check the detection"
        )
    if len(position) > _MOST_KEPT:
        site, basis, residual = _fitted(metal, chalcogen)
    else:
        site, basis, residual = _fitted_before(metal.tobytes(), chalcogen.tobytes())
    matrix = basis @ np.linalg.inv(basis_pm(a_pm))
    scale = float(np.sqrt(np.linalg.det(matrix)))
    residual_pm = residual @ np.linalg.inv(matrix).T
    return ImageLattice(
        origin_px=site.copy(),
        matrix=matrix,
        a_pm=float(a_pm),
        measured_a_pm=None if pixel_size_pm is None else float(a_pm * scale * pixel_size_pm),
        residual_pm=float(np.sqrt(np.mean(residual_pm**2))),
    )


@lru_cache(maxsize=32)
def _fitted_before(metal: bytes, chalcogen: bytes) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`_fitted`, once for the columns of an image: averaging asks again with its own constant."""
    return _fitted(*(np.frombuffer(one).reshape(-1, 2) for one in (metal, chalcogen)))


def _fitted(metal: FloatArray, chalcogen: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A chalcogen site amid the columns, basis and residuals of their lattice [px]."""
    basis = _orient(_neighbour_basis(metal), metal, chalcogen)
    member, index = _grow(metal, basis)
    if len(member) < max(MIN_METAL_COLUMNS, 0.5 * len(metal)):
        raise DefectStrainError(
            f"lattice: only {len(member)} of {len(metal)} metal columns belong to one hexagonal "
            "lattice, expected at least half; the image may hold several grains, another phase "
            "or few columns: crop it to one 2H grain or check the detection"
        )
    origin, basis, residual = _fit_affine(metal[member], index)
    # Centre of an upward triangle of metals: a chalcogen site with metals at 90, 210, 330 deg.
    shift = np.rint(np.linalg.solve(basis, metal[member].mean(axis=0) - origin) - 1 / 3)
    return origin + basis @ (shift + 1 / 3), basis, residual


def coarse_basis(metal_px: FloatArray, chalcogen_px: FloatArray) -> FloatArray:
    """Two lattice vectors of the lattice frame, columns (y, x) [px], by mean neighbour vectors.

    Good for some ten lattice constants; `fit_lattice` is for all.

    Raises
    ------
    DefectStrainError
        With too few columns, or neighbours in no common directions.
    """
    if len(metal_px) < MIN_METAL_COLUMNS or len(chalcogen_px) < 3:
        raise DefectStrainError(
            f"lattice: got {len(metal_px)} metal and {len(chalcogen_px)} chalcogen columns, "
            f"expected at least {MIN_METAL_COLUMNS} and 3"
        )
    return _orient(_neighbour_basis(metal_px), metal_px, chalcogen_px)


def _neighbour_basis(metal: FloatArray) -> FloatArray:
    """Two lattice vectors 60 degrees apart (y up), columns (y, x) px, by mean neighbour vectors."""
    distance, index = cKDTree(metal).query(metal, k=7)
    spacing = float(np.median(distance[:, 1:4]))
    d = (metal[index[:, 1:]] - metal[:, None])[
        (distance[:, 1:] < 1.3 * spacing) & (distance[:, 1:] > 0.7 * spacing)
    ]
    angle = np.arctan2(-d[:, 0], d[:, 1])
    phase = np.exp(6j * angle).mean() if len(d) else 0.0
    if abs(phase) < 0.2:
        raise DefectStrainError(
            "lattice: the neighbours of the metal columns point in no common directions, expected "
            "a hexagonal lattice; check the detection, or crop the image to one 2H grain"
        )
    theta = float(np.angle(phase)) / 6
    vectors = []
    for target in (theta, theta + np.pi / 3):
        # Opposite vectors count too; the median ignores neighbours across a vacancy or a defect.
        along = np.cos(angle - target)
        near = np.abs(along) > np.cos(np.deg2rad(18.0))
        if not near.any():
            near = np.abs(along) > np.cos(np.deg2rad(30.0))
        vectors.append(np.median(d[near] * np.sign(along[near])[:, None], axis=0))
    return np.asarray(np.stack(vectors, axis=1))


def _orient(basis: FloatArray, metal: FloatArray, chalcogen: FloatArray) -> FloatArray:
    """The pair of lattice vectors of the lattice frame: sense by the chalcogen columns."""
    a1, a2 = basis[:, 0], basis[:, 1]
    ring = np.stack([a1, a2, a2 - a1, -a1, -a2, a1 - a2])  # counter-clockwise with y up
    distance, index = cKDTree(metal).query(chalcogen, k=3)
    spacing = float(np.hypot(*a1))
    near = distance < FIRST_NEIGHBOUR_REACH * spacing / SQRT3
    z = threefold_order(chalcogen, metal[index], near)
    # A chalcogen whose metals lie at 90, 210, 330 degrees from an x axis at angle theta has
    # z = -i exp(3i theta): the two senses differ in sign, each column has one vote.
    theta = np.arctan2(-ring[:, 0], ring[:, 1])
    mine = np.real(z * np.conj(-1j * np.exp(3j * theta[0])))
    votes = np.sum(np.sign(mine)[np.abs(mine) > 0.5])
    candidates = range(0, 6, 2) if votes >= 0 else range(1, 6, 2)
    best = max(candidates, key=lambda k: float(np.cos(theta[k])))
    return np.asarray(np.stack([ring[best], ring[(best + 1) % 6]], axis=1))


def _grow(metal: FloatArray, basis: FloatArray) -> tuple[IntArray, IntArray]:
    """Members of the largest connected patch and their integer coordinates `(M, 2)`."""
    n = len(metal)
    steps = np.array([[1, 0], [0, 1], [-1, 1], [-1, 0], [0, -1], [1, -1]])
    _, index = cKDTree(metal).query(metal, k=7)
    start = np.repeat(np.arange(n), 6)
    end = index[:, 1:].ravel()
    d = metal[end] - metal[start]
    local = np.linalg.solve(basis, d.T).T  # (e, 2)
    rounded = np.rint(local).astype(int)
    miss = np.hypot(*(basis @ (local - rounded).T))
    is_step = (rounded[:, None] == steps[None]).all(axis=2).any(axis=1)
    keep = is_step & (miss < 0.25 * np.hypot(*basis[:, 0]))
    start, end, rounded = start[keep], end[keep], rounded[keep]
    graph = coo_array((np.ones(len(start)), (start, end)), shape=(n, n)).tocsr()
    _, label = connected_components(graph, directed=False)
    largest = int(np.bincount(label).argmax())
    seed = int(np.flatnonzero(label == largest)[0])
    symmetric = (graph + graph.T).tocsr()
    order, parent = breadth_first_order(symmetric, seed, directed=False)
    # the step to each node from the one above it in the tree: a row of (start, end) or its reverse
    key = np.concatenate([start * n + end, end * n + start])
    step = np.concatenate([rounded, -rounded])
    first = np.unique(key, return_index=True)
    nodes = order[1:]
    wanted = parent[nodes].astype(np.int64) * n + nodes
    coordinate = np.zeros((n, 2), dtype=int)
    coordinate[nodes] = step[first[1][np.searchsorted(first[0], wanted)]]
    # sums of the steps down from the seed: twice as far up in each round
    above = np.full(n, seed)
    above[nodes] = parent[nodes]
    while (above != seed).any():
        coordinate += coordinate[above]
        above = above[above]
    return np.asarray(order), coordinate[order]


def _fit_affine(position: FloatArray, index: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Least squares ``position = origin + basis @ index`` without outliers."""
    design = np.column_stack([np.ones(len(index)), index])
    keep = np.ones(len(index), dtype=bool)
    for _ in range(5):
        solution, *_ = np.linalg.lstsq(design[keep], position[keep], rcond=None)
        residual = position - design @ solution
        size = np.hypot(residual[:, 0], residual[:, 1])
        # 4 robust sigma of a Rayleigh variable (median 1.177 sigma), never less than 1e-6 px
        new = size <= max(4.0 * float(np.median(size[keep])) / 1.177, 1e-6)
        if (new == keep).all() or new.sum() < MIN_METAL_COLUMNS:
            break
        keep = new
    return solution[0], solution[1:].T, residual[keep]
