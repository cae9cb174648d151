"""What points set, moved, relabelled or deleted by hand mean for the columns of an image."""

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial import cKDTree

from ...types import METAL, BoolArray, FloatArray, IntArray, Sites

X2 = 1
"""Index of the perfect column in the order of the roles."""
HALFWAY = 1.35
"""Between the distances of first and second neighbours in a honeycomb, in units of the first."""

_ENOUGH = 4000
"""Columns that tell the typical distance of neighbours."""


def correct_sites(
    sites: Sites, position_px: FloatArray, class_index: IntArray, manual: BoolArray
) -> Sites:
    """Columns with the class that the defect points give them.

    A point belongs to the nearest column within half the distance of nearest neighbours. The
    column takes its class; a point set or changed by hand also gives its position, probability 1
    and source ``manual``. A defective column without a point was deleted by hand and becomes
    perfect; a point without a column adds one. Of several points at one column the one made by
    hand counts, then the nearest.

    A column of the class other that was deleted becomes metal or perfect, unlike its neighbours,
    unless it lies in the middle of a hexagon: an adatom that isn't there is no column.

    Parameters
    ----------
    sites : Sites
        The columns as found; not changed.
    position_px : array, `(M, 2)`
        (y, x) of the defect points [px].
    class_index : array, `(M,)`
        Their classes: indices into ``sites.class_names``.
    manual : array of bool, `(M,)`
        True for points set or changed by hand.

    Returns
    -------
    Sites
        The columns in their order, less deleted adatoms, then the added ones.
    """
    position = np.array(sites.position_px, dtype=float)
    probabilities = np.array(sites.probabilities, dtype=float)
    index = np.array(sites.class_index)
    source = np.array(sites.source, dtype="<U6")
    owner = _owners(position, position_px, manual)
    matched = owner >= 0
    column = owner[matched]

    defective = sites.class_index > X2
    deleted = defective.copy()
    deleted[column] = False
    gone = np.flatnonzero(deleted)
    perfect, in_hexagon = _what_is_left(sites, gone)
    _set_certain(probabilities, index, source, gone, perfect)

    index[column] = class_index[matched]
    by_hand = np.flatnonzero(matched & manual)
    _set_certain(probabilities, index, source, owner[by_hand], class_index[by_hand])
    position[owner[by_hand]] = position_px[by_hand]

    kept = np.ones(len(sites), dtype=bool)
    kept[gone[in_hexagon]] = False
    added = np.flatnonzero(owner == -1)
    certain = np.eye(len(sites.class_names))[class_index[added]]
    weights = {
        name: None if its is None else np.append(its[kept], np.full(len(added), np.nan))
        for name, its in (("weight", sites.weight), ("weight_sigma", sites.weight_sigma))
    }
    return Sites(
        position_px=np.concatenate([position[kept], position_px[added]]),
        probabilities=np.concatenate([probabilities[kept], certain]),
        class_index=np.concatenate([index[kept], class_index[added]]),
        class_names=sites.class_names,
        source=np.concatenate([source[kept], np.full(len(added), "manual", dtype="<U6")]),
        weight=weights["weight"],
        weight_sigma=weights["weight_sigma"],
    )


def with_hidden(
    sites: Sites,
    hidden: BoolArray,
    position_px: FloatArray,
    class_index: IntArray,
    manual: BoolArray,
) -> tuple[FloatArray, IntArray, BoolArray]:
    """Points of defects with those of columns that got none for where they lie, as they were found.

    Parameters
    ----------
    sites : Sites
        The columns as found.
    hidden : array of bool, `(N,)`
        Those that got no point.
    position_px, class_index, manual : arrays, `(M, 2)`, `(M,)`, `(M,)`
        Of the points there are, as `correct_sites` takes them.

    Returns
    -------
    (position_px, class_index, manual)
        For `correct_sites`.
    """
    return (
        np.concatenate([position_px, sites.position_px[hidden]]),
        np.concatenate([class_index, sites.class_index[hidden]]),
        np.concatenate([manual, np.zeros(int(hidden.sum()), dtype=bool)]),
    )


def reach_px(position_px: FloatArray) -> float:
    """Half the median distance of nearest neighbours [px]; 0 where there are none."""
    if len(position_px) < 2:
        return 0.0
    some = position_px[:: max(1, len(position_px) // _ENOUGH)]  # the median is known soon
    distance, _ = cKDTree(position_px).query(some, k=2)
    return 0.5 * float(np.median(distance[:, 1]))


def snapped(
    point_px: FloatArray, column_px: FloatArray, image: FloatArray | None, adatom: bool = False
) -> FloatArray:
    """Where the column is that a person meant when she clicked.

    The nearest known column within half the distance of nearest neighbours. Where there is none:
    in the middle of a hexagon the nearest column all the same, unless an adatom was meant;
    elsewhere, where a column was not found, the brightest place so near if it is a peak, else the
    point itself.

    Parameters
    ----------
    point_px : array, `(2,)`
        (y, x) of the click [px].
    column_px : array, `(N, 2)`
        Of the columns that were found.
    image : array, `(H, W)`, optional
        What she clicked on.
    adatom : bool
        Whether what she sets may lie between the columns.

    Returns
    -------
    array, `(2,)`
    """
    reach = reach_px(column_px)
    if reach == 0.0:
        return point_px
    away = np.linalg.norm(column_px - point_px, axis=1)
    if away.min() <= reach:
        return np.asarray(column_px[away.argmin()], dtype=float)
    in_hexagon = np.count_nonzero(away <= 2.0 * HALFWAY * reach) >= 5
    if in_hexagon and not adatom:
        return np.asarray(column_px[away.argmin()], dtype=float)
    peak = _peak_near(point_px, image, reach) if image is not None else None
    return point_px if peak is None else peak


def _peak_near(point_px: FloatArray, image: FloatArray, reach: float) -> FloatArray | None:
    """The brightest place within reach, `(2,)`; None where it is no peak: flat, or on the rim."""
    low = np.maximum(np.floor(point_px - reach).astype(int), 0)
    high = np.minimum(np.ceil(point_px + reach).astype(int) + 1, image.shape)
    if (high - low < 3).any():
        return None
    part = np.asarray(image[low[0] : high[0], low[1] : high[1]], dtype=float)
    known = part[np.isfinite(part)]
    if known.size == 0:
        return None
    smooth = gaussian_filter(np.where(np.isfinite(part), part, known.min()), reach / 4)
    y, x = np.indices(part.shape)
    inside = np.hypot(y + low[0] - point_px[0], x + low[1] - point_px[1]) <= reach
    peak = np.unravel_index(np.where(inside, smooth, -np.inf).argmax(), part.shape)
    around = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)
    top = smooth > maximum_filter(smooth, footprint=around, mode="constant", cval=np.inf)
    return np.add(peak, low).astype(float) if top[peak] else None


def _what_is_left(sites: Sites, which: IntArray) -> tuple[IntArray, BoolArray]:
    """Perfect class of columns without their defect, and which "other" ones are no column at all.

    Nearest neighbours tell: on a site of the honeycomb there are three of the other sublattice, in
    the middle of a hexagon six.
    """
    perfect, in_hexagon = np.full(len(which), X2), np.zeros(len(which), dtype=bool)
    if len(sites) < 2:
        return perfect, in_hexagon
    others = np.flatnonzero(sites.is_other[which])
    if len(others) == 0:
        return perfect, in_hexagon
    reach = HALFWAY * 2.0 * reach_px(sites.position_px)
    around = cKDTree(sites.position_px).query_ball_point(sites.position_px[which[others]], reach)
    for i, found in zip(others, around, strict=True):
        near = [k for k in found if k != which[i]]
        in_hexagon[i] = len(near) >= 5
        if sites.is_chalcogen[near].sum() > sites.is_metal[near].sum():
            perfect[i] = METAL
    return perfect, in_hexagon


def _owners(site_px: FloatArray, point_px: FloatArray, manual: BoolArray) -> IntArray:
    """Column of each point, `(M,)`: -1 where there is none, -2 where another point has it."""
    owner = np.full(len(point_px), -1)
    if len(site_px) == 0 or len(point_px) == 0:
        return owner
    distance, nearest = cKDTree(site_px).query(point_px)
    near = distance <= reach_px(site_px)
    # Worst claim first, so that the best one is written last.
    order = np.lexsort([distance, ~manual])[::-1]
    order = order[near[order]]
    best = np.full(len(site_px), -1)
    best[nearest[order]] = order
    owner[order] = -2
    won = best[best >= 0]
    owner[won] = nearest[won]
    return owner


def _set_certain(
    probabilities: FloatArray,
    index: IntArray,
    source: np.ndarray,
    where: IntArray,
    class_index: IntArray | int,
) -> None:
    index[where] = class_index
    probabilities[where] = 0.0
    probabilities[where, class_index] = 1.0
    source[where] = "manual"
