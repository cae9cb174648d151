"""Images of the same place: copies and overlapping fields, by the pattern of their defects.

Every defect is named by the kinds and places of the defects nearest to it, counted in lattice
vectors and whichever way the image is turned or flipped. Names that two images have in common, and
that put them into the same position, tell that they show the same place; then the classes of all
columns in common are compared. Images without defects are compared by the noise of their pixels,
which only copies share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter, uniform_filter
from scipy.spatial import cKDTree

from ..io.content import in_content_order
from ..types import BoolArray, CalibratedImage, DefectStrainError, FloatArray, IntArray, Sites
from .honeycomb import basis_pm
from .lattice import coarse_basis
from .regions import ERASED, MAX_DOMAINS, Regions, label_regions

MIN_DEFECTS = 12
"""Images of fewer defects are compared by their pixels."""

MIN_ALIKE = 0.3
"""Share of the defects of the common field that both images show alike: about 0.03 by chance, 0.9
where the same place was taken twice, and less where the detection is poor."""

_NEAREST = 5  # defects that name another one
_REACH = 18  # neighbours among which these are looked for
_NAMES = 400  # of an image; the smallest ones, so that copies have the same
_COMMON_NAME = 40  # images that share a name that says nothing
_MIN_VOTES = 3
_MIN_SAME = 8
_ON_SITE = 0.3  # of a lattice vector
_GRAINS = 200  # extremes of an image's noise
_PATCH = 400  # metal columns
_FIRST = 40
_PACK = 1 << 21  # more than any coordinate, in 64 bits
_TURN = np.array([[-1, -1], [1, 0]])  # by 120 degrees, of (i, j) along vectors 60 degrees apart
_FLIP = np.array([[-1, -1], [0, 1]])  # x to -x: metals stay at 90, 210 and 330 degrees
LATTICE_OPERATIONS = np.array(
    [m @ np.linalg.matrix_power(_TURN, k) for m in (np.eye(2, dtype=int), _FLIP) for k in range(3)]
)
_QUARTER = np.array([[0, 1], [-1, 0]])
_MIRROR = np.array([[1, 0], [0, -1]])
PIXEL_OPERATIONS = np.array(
    [
        m @ np.linalg.matrix_power(_QUARTER, k)
        for m in (np.eye(2, dtype=int), _MIRROR)
        for k in range(4)
    ]
)
_Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Overlap:
    """Two images that show the same place.

    Parameters
    ----------
    first, second : int
        The images; what both show counts in the first, that whose pixels have the smaller hash,
        except where only the second shows crystal.
    matrix : array, `(2, 3)`
        Place (y, x) [px] in the first by ``(y, x, 1)`` in the second.
    share : float
        Share of the columns of the second that lie in the first.
    """

    first: int
    second: int
    matrix: FloatArray
    share: float

    def shared(self, position_px: FloatArray, shape: tuple[int, ...]) -> BoolArray:
        """Whether places (y, x) of the second image lie in the first, of that shape, `(N,)`."""
        there = position_px @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.asarray(((there > -0.5) & (there < np.array(shape) - 0.5)).all(axis=1))

    def counted_first(
        self, position_px: FloatArray, shape: tuple[int, ...], regions: Regions | None
    ) -> BoolArray:
        """Whether places (y, x) of the second image count in the first, `(N,)`.

        They do where the first, of that shape and with those regions, shows them in a domain: what
        is dirty or erased there counts in the second.
        """
        there = self.shared(position_px, shape)
        if regions is not None:
            place = position_px[there] @ self.matrix[:, :2].T + self.matrix[:, 2]
            label = regions.label_at(place)
            there[there] = (label != ERASED) & (label <= MAX_DOMAINS)
        return there


@dataclass(frozen=True)
class _Points:
    """What an image is told by: points on a grid, with kinds; what is compared in the end."""

    point: IntArray  # (n, 2)
    kind: IntArray  # (n,)
    place_px: FloatArray  # (n, 2)
    named: BoolArray  # points that are named by those like them
    metric: FloatArray  # (2, 2), of the grid
    operations: IntArray  # (g, 2, 2)


def find_overlaps(images: Sequence[CalibratedImage], sites: Sequence[Sites]) -> tuple[Overlap, ...]:
    """All pairs of images that show the same place, wholly or in part.

    Copies are found whether their grey values are scaled or rounded, and whether they are cropped,
    flipped or turned by right angles; fields that overlap also where they were scanned at other
    rotations and pixel sizes. Overlapping fields with fewer than some ten defects in common can't
    be told.

    Parameters
    ----------
    images, sites : sequences of equal length

    Returns
    -------
    tuple of Overlap
        The same whatever the order of the images: which of two is the first is told by their
        pixels (`content.in_content_order`).
    """
    if len(images) < 2:
        return ()
    by_defects, by_noise = [], []
    order = in_content_order(images)
    for k in order:
        points = _defects(sites[k])
        if points is None or points.named.sum() < MIN_DEFECTS:
            by_noise.append((k, _grains(images[k].data)))
        else:
            by_defects.append((k, points))
    found = []
    for group in (by_defects, by_noise):
        for i, j, matrix in _alike(group):
            overlap = Overlap(i, j, matrix, 1.0)
            shared = overlap.shared(sites[j].position_px, images[i].data.shape)
            if shared.any():
                found.append(Overlap(i, j, matrix, float(shared.mean())))
    place = {k: n for n, k in enumerate(order)}
    return tuple(sorted(found, key=lambda o: (place[o.second], place[o.first])))


def counted_columns(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    overlaps: Sequence[Overlap],
    regions: Sequence[Regions | None] | None = None,
) -> list[BoolArray]:
    """The columns of each image that aren't counted in another one, `(N,)` each.

    Parameters
    ----------
    images, sites : sequences of equal length
    overlaps : sequence of Overlap
    regions : sequence of Regions or None, optional
        Of each image. Without them an image is taken as crystal all over.
    """
    counted = [np.ones(len(columns), dtype=bool) for columns in sites]
    for o in overlaps:
        shape = images[o.first].data.shape
        known = regions[o.first] if regions else None
        counted[o.second] &= ~o.counted_first(sites[o.second].position_px, shape, known)
    return counted


def counted_regions(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    regions: Sequence[Regions],
    overlaps: Sequence[Overlap],
) -> list[Regions]:
    """The regions of each image without what is counted in another one."""
    result = list(regions)
    for o in overlaps:
        labels = result[o.second].labels.copy()
        columns = np.arange(labels.shape[1])
        for y in range(labels.shape[0]):  # a line at a time: all places take 16 times the memory
            place = np.stack([np.full(len(columns), y), columns], axis=1)
            shape = images[o.first].data.shape
            labels[y, o.counted_first(place, shape, regions[o.first])] = ERASED
        result[o.second] = label_regions(labels, sites[o.second])
    return result


def overlap_warnings(
    images: Sequence[CalibratedImage], overlaps: Sequence[Overlap]
) -> tuple[str, ...]:
    """One line for each pair: which images, how much they share, and what is done about it."""
    return tuple(
        f"{images[o.second].name} and {images[o.first].name} show the same place: "
        f"{100 * o.share:.0f} % of the columns of {images[o.second].name}, which are counted once "
        f"(in {images[o.first].name}): two images of one place are no independent windows"
        for o in overlaps
    )


# ------------------------------------------------------------------ what images are told by


def _defects(sites: Sites) -> _Points | None:
    """Chalcogen columns on the lattice of the image; the defects among them are named."""
    metal = sites.position_px[sites.is_metal]
    index = np.flatnonzero(sites.is_chalcogen)
    chalcogen = sites.position_px[index]
    if len(metal) == 0:
        return None
    middle = np.median(metal, axis=0)
    away = np.hypot(*(metal - middle).T)
    origin = metal[away.argmin()]
    # some hundred columns in the middle tell the lattice vectors well enough to begin with
    patch = float(np.partition(away, min(_PATCH, len(away) - 1))[min(_PATCH, len(away) - 1)])
    inner = np.hypot(*(chalcogen - middle).T) <= patch
    try:
        basis = coarse_basis(metal[away <= patch], chalcogen[inner])
    except DefectStrainError:
        return None
    # the error of the vectors adds up: fit them nearby, then further and further away
    metal = metal[np.argsort(np.hypot(*(metal - origin).T))]
    count = 0
    while count < len(metal):
        count = min(max(_FIRST, 4 * count), len(metal))
        offset = metal[:count] - origin
        step = np.rint(np.linalg.solve(basis, offset.T).T)
        miss = np.hypot(*(offset - step @ basis.T).T)
        good = miss < _ON_SITE * np.hypot(*basis[:, 0])
        design = np.column_stack([np.ones(int(good.sum())), step[good]])
        if len(design) >= _FIRST // 2:
            fit = np.linalg.lstsq(design, metal[:count][good], rcond=None)[0]
            origin, basis = fit[0], fit[1:].T
    if abs(np.linalg.det(basis)) < 1e-6:
        return None
    cell = np.linalg.solve(basis, (chalcogen - origin).T).T - 1 / 3
    point = np.rint(cell).astype(np.int64)
    on_site = (np.abs(cell - point) < _ON_SITE).all(axis=1)
    kind = sites.class_index[index][on_site]
    return _Points(
        point[on_site],
        kind,
        chalcogen[on_site],
        np.asarray(kind > 1),
        basis_pm(1.0),
        LATTICE_OPERATIONS,
    )


def _grains(data: FloatArray) -> _Points:
    """The pixels that stand out most from those around them: the noise of one exposure."""
    image = np.asarray(data, dtype=np.float32)
    away = image - uniform_filter(image, 3, mode="nearest")
    height = np.abs(away)
    top = (height == maximum_filter(height, 5)) & (height > 0)
    place = np.argwhere(top)
    strongest = np.argsort(-height[top], kind="stable")[:_GRAINS]
    place = place[strongest].astype(np.int64)
    kind = np.where(away[tuple(place.T)] > 0, 1, 2)
    named = np.ones(len(place), dtype=bool)
    return _Points(place, kind, place.astype(float), named, np.eye(2), PIXEL_OPERATIONS)


# ------------------------------------------------------------------ comparing


def _alike(points: Sequence[tuple[int, _Points]]) -> list[tuple[int, int, FloatArray]]:
    """Pairs of images that show the same points, and the map from the second to the first [px]."""
    if len(points) < 2:
        return []
    image, name, anchor, turn = [], [], [], []
    for n, (_, one) in enumerate(points):
        key, row, operation = _names(one)
        image.append(np.full(len(key), n))
        name.append(key)
        anchor.append(one.point[row])
        turn.append(operation)
    owner, pose = np.concatenate(image), np.concatenate(turn)
    place = np.concatenate(anchor)
    first, second = _pairs_of_equal(np.concatenate(name), owner)
    group = points[0][1].operations
    inverse = np.rint(np.linalg.inv(group)).astype(np.int64)
    between = np.einsum("nij,njk->nik", inverse[pose[first]], group[pose[second]])
    shift = place[first] - np.einsum("nij,nj->ni", between, place[second])
    which = (between[:, None] == group[None]).all(axis=(2, 3)).argmax(axis=1)
    rows = np.column_stack([owner[first], owner[second], which, shift])
    votes, count = np.unique(rows, axis=0, return_counts=True)
    order = np.argsort(-count, kind="stable")
    found: dict[tuple[int, int], FloatArray] = {}
    for i, j, g, dy, dx in votes[order[count[order] >= _MIN_VOTES]].tolist():
        if (i, j) not in found:
            matrix = _verified(points[i][1], points[j][1], group[g], np.array([dy, dx]))
            if matrix is not None:
                found[i, j] = matrix
    return [(points[i][0], points[j][0], matrix) for (i, j), matrix in found.items()]


def _names(points: _Points) -> tuple[_Keys, IntArray, IntArray]:
    """Names of points by those around them, their rows, and the operation that each is named in.

    A name is the sum of the hashes of the kinds and places of the nearest others (all that are
    as near as the fifth), the smallest over the operations.
    """
    row = np.flatnonzero(points.named)
    if len(row) <= _NEAREST + 1:
        return np.zeros(0, dtype=np.uint64), row[:0], row[:0]
    point, kind = points.point[row], points.kind[row]
    flat = point @ points.metric.T
    distance, index = cKDTree(flat).query(flat, k=min(_REACH + 1, len(row)))
    limit = distance[:, _NEAREST, None] + 1e-6
    complete = (distance[:, -1] > limit[:, 0]) | (len(row) <= _REACH + 1)
    counted = (distance[:, 1:] < limit)[complete]
    offset = (point[index[:, 1:]] - point[:, None])[complete]  # (n, k, 2)
    around, own = kind[index[:, 1:]][complete], kind[complete]
    names = np.empty((len(points.operations), len(own)), dtype=np.uint64)
    for g, operation in enumerate(points.operations):
        turned = offset @ operation.T
        packed = (turned[..., 0] + _PACK) * (2 * _PACK) + turned[..., 1] + _PACK
        value = _hashed(packed.astype(np.uint64) * np.uint64(8) + around.astype(np.uint64))
        names[g] = np.where(counted, value, np.uint64(0)).sum(axis=1, dtype=np.uint64)
    best = names.argmin(axis=0)
    name = _hashed(names[best, np.arange(len(own))] + own.astype(np.uint64))
    smallest = np.argsort(name, kind="stable")[:_NAMES]
    return name[smallest], row[complete][smallest], best[smallest]


def _hashed(value: _Keys) -> _Keys:
    """Well mixed 64 bits (the finaliser of SplitMix64, doi 10.1145/2714064.2660195)."""
    z = value + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def _pairs_of_equal(name: _Keys, owner: IntArray) -> tuple[IntArray, IntArray]:
    """Rows of equal names in different images, that of the earlier image first."""
    order = np.lexsort((owner, name))
    sorted_name = name[order]
    start = np.flatnonzero(np.append(True, sorted_name[1:] != sorted_name[:-1]))
    size = np.diff(np.append(start, len(name)))
    first, second = [np.zeros(0, dtype=int)], [np.zeros(0, dtype=int)]
    for length in range(2, _COMMON_NAME + 1):
        begin = start[size == length]
        for a in range(length - 1) if len(begin) else ():
            for b in range(a + 1, length):
                first.append(order[begin + a])
                second.append(order[begin + b])
    i, j = np.concatenate(first), np.concatenate(second)
    apart = owner[i] != owner[j]
    return i[apart], j[apart]


def _verified(
    first: _Points, second: _Points, operation: IntArray, shift: IntArray
) -> FloatArray | None:
    """The map [px] if the points of the common field are alike; else None."""
    packed = _packed(first.point)
    order = np.argsort(packed, kind="stable")
    there = _packed(second.point @ operation.T + shift)
    at = np.minimum(np.searchsorted(packed[order], there), len(packed) - 1)
    match = packed[order][at] == there
    row, own = order[at][match], np.flatnonzero(match)
    either = first.named[row] | second.named[own]
    same = either & (first.kind[row] == second.kind[own])
    together = int(either.sum())
    if first.named.all():  # of points that say nothing where there is none
        together = _in_common(first, second, operation, shift)
    if same.sum() < _MIN_SAME or same.sum() < MIN_ALIKE * together:
        return None
    design = np.column_stack([second.place_px[own], np.ones(len(own))])
    if np.linalg.matrix_rank(design - design.mean(axis=0)) < 2:
        return None
    return np.asarray(np.linalg.lstsq(design, first.place_px[row], rcond=None)[0].T)


def _in_common(first: _Points, second: _Points, operation: IntArray, shift: IntArray) -> int:
    """The lesser number of points of either that lie in the box that both fill."""
    there = second.point @ operation.T + shift
    low = np.maximum(first.point.min(axis=0), there.min(axis=0))
    high = np.minimum(first.point.max(axis=0), there.max(axis=0))
    return int(min(((p >= low) & (p <= high)).all(axis=1).sum() for p in (first.point, there)))


def _packed(point: IntArray) -> IntArray:
    return np.asarray((point[:, 0] + _PACK) * (4 * _PACK) + point[:, 1] + _PACK, dtype=np.int64)
