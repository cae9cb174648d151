"""Every detection of some images as rows: what is told of each, and which to look at first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.spatial import cKDTree

from ..crystal.regions import NOT_2H, Regions
from ..types import BoolArray, DefectStrainError, FloatArray, ImageLattice, IntArray, Sites

LEAST_DOUBT = 0.2
"""Columns that count as perfect are listed from this doubt on: one of them may be a defect."""
MOST_PERFECT = 2000
"""Of these at most so many, the most doubtful."""
_TRIANGLE_REACH = 0.8
"""The three metals around a chalcogen site lie within this distance; ideally 0.58 [a]."""
_X2 = 1


@dataclass(frozen=True)
class Detections:
    """Columns of several images that were taken for defects, or might be some.

    Parameters
    ----------
    image_index, site_index : arrays of int, `(N,)`
        Image, and row in its `Sites`.
    position_px : array, `(N, 2)`
        (y, x) in its image [px].
    class_index : array of int, `(N,)`
        Into `class_names`.
    probabilities : array, `(N, K)`
        Of every class.
    by_hand : array of bool, `(N,)`
        Whether a person gave the class.
    weight, weight_sigma : arrays, `(N,)`
        In units of the metal's; NaN where the column wasn't weighed.
    triangle_pm : array, `(N,)`
        Mean side of the triangle of the three metals around it, NaN where there aren't three [pm].
    class_names : tuple of str
    """

    image_index: IntArray
    site_index: IntArray
    position_px: FloatArray
    class_index: IntArray
    probabilities: FloatArray
    by_hand: BoolArray
    weight: FloatArray
    weight_sigma: FloatArray
    triangle_pm: FloatArray
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.site_index)

    @property
    def probability(self) -> FloatArray:
        """Of the class that each was given, `(N,)`."""
        return np.asarray(self.probabilities[np.arange(len(self)), self.class_index])

    @property
    def doubt(self) -> FloatArray:
        """How near the second likeliest class is, `(N,)`: see `class_doubt`."""
        return class_doubt(self.probabilities)

    def take(self, which: IntArray | BoolArray) -> Detections:
        """Some of the rows."""
        arrays = [f.name for f in fields(self) if f.name != "class_names"]
        return replace(self, **{name: getattr(self, name)[which] for name in arrays})

    def with_class(self, rows: Sequence[int] | IntArray, class_index: int) -> Detections:
        """The same where some rows were given a class by hand: it is certain.

        Raises
        ------
        DefectStrainError
            If there is no such class.
        """
        if not 0 < class_index < len(self.class_names):
            raise DefectStrainError(
                f"relabelling: got class {class_index}, expected 1 to {len(self.class_names) - 1}"
            )
        chosen = np.asarray(rows, dtype=int)
        index, chances, by_hand = (
            np.array(self.class_index),
            np.array(self.probabilities),
            np.array(self.by_hand),
        )
        index[chosen] = class_index
        chances[chosen] = 0.0
        chances[chosen, class_index] = 1.0
        by_hand[chosen] = True
        return replace(self, class_index=index, probabilities=chances, by_hand=by_hand)


def class_doubt(probabilities: FloatArray) -> FloatArray:
    """One less the margin between the likeliest two classes, `(N,)`: 0 certain, 1 undecided.

    >>> class_doubt(np.array([[0.0, 1.0], [0.5, 0.5], [0.3, 0.7]])).round(3).tolist()
    [0.0, 1.0, 0.6]
    """
    if probabilities.shape[1] < 2:
        return np.zeros(len(probabilities))
    best = np.partition(probabilities, -2, axis=1)[:, -2:]
    return np.asarray(1.0 - np.abs(best[:, 1] - best[:, 0]))


def list_detections(
    sites: Sequence[Sites],
    lattices: Sequence[ImageLattice],
    regions: Sequence[Regions | None] | None = None,
    least_doubt: float = LEAST_DOUBT,
    most_perfect: int = MOST_PERFECT,
) -> Detections:
    """The detections of some images: all defects, and perfect columns that might be some.

    Parameters
    ----------
    sites : sequence of Sites
        Of each image, with the corrections by hand.
    lattices : sequence of ImageLattice
        Of each image; gives the triangles' size.
    regions : sequence of Regions or None, optional
        Of each image: where the crystal isn't 2H, nothing is a defect.
    least_doubt : float
        Perfect chalcogen columns from this doubt on are listed, and those that a hand made perfect.
    most_perfect : int
        At most so many of each image, the most doubtful first.

    Raises
    ------
    DefectStrainError
        If the images have different classes.
    """
    if not sites or len({s.class_names for s in sites}) != 1 or len(lattices) != len(sites):
        raise DefectStrainError(
            f"gallery: got {len(sites)} images with {len({s.class_names for s in sites})} sets of "
            "classes, expected one or more images of one material"
        )
    known = [None] * len(sites) if regions is None else list(regions)
    parts = [
        _of_image(i, *one, least_doubt, most_perfect)
        for i, one in enumerate(zip(sites, lattices, known, strict=True))
    ]
    names = [f.name for f in fields(Detections) if f.name != "class_names"]
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Detections(**joined, class_names=sites[0].class_names)


def _of_image(
    number: int,
    sites: Sites,
    lattice: ImageLattice,
    regions: Regions | None,
    least_doubt: float,
    most_perfect: int,
) -> Detections:
    by_hand = np.asarray(sites.source == "manual")
    listed = np.asarray(sites.class_index > _X2)
    perfect = np.asarray(sites.class_index == _X2)
    doubt = class_doubt(sites.probabilities)
    if regions is not None:
        inside = np.asarray(regions.label_at(sites.position_px) != NOT_2H)
        listed &= inside
        perfect &= inside
    doubtful = np.flatnonzero(perfect & ~by_hand & (doubt >= least_doubt))
    doubtful = doubtful[np.argsort(-doubt[doubtful], kind="stable")][:most_perfect]
    listed |= perfect & by_hand
    listed[doubtful] = True
    index = np.flatnonzero(listed)
    unknown = np.full(len(index), np.nan)
    return Detections(
        image_index=np.full(len(index), number),
        site_index=index,
        position_px=np.asarray(sites.position_px[index], dtype=float),
        class_index=np.asarray(sites.class_index[index], dtype=int),
        probabilities=np.asarray(sites.probabilities[index], dtype=float),
        by_hand=by_hand[index],
        weight=unknown if sites.weight is None else sites.weight[index],
        weight_sigma=unknown if sites.weight_sigma is None else sites.weight_sigma[index],
        triangle_pm=_triangles(sites, lattice, index),
        class_names=sites.class_names,
    )


def _triangles(sites: Sites, lattice: ImageLattice, index: IntArray) -> FloatArray:
    """Mean side of the triangle of metals around each of some columns, `(N,)` [pm]."""
    metal = lattice.to_pm(sites.position_px[sites.is_metal])
    result = np.full(len(index), np.nan)
    if len(metal) < 3 or len(index) == 0:
        return result
    place = lattice.to_pm(sites.position_px[index])
    distance, near = cKDTree(metal).query(place, k=3)
    whole = distance[:, 2] <= _TRIANGLE_REACH * lattice.a_pm
    corner = metal[near[whole]]  # (n, 3, 2)
    side = np.linalg.norm(corner - np.roll(corner, 1, axis=1), axis=2)
    result[whole] = side.mean(axis=1)
    return result


def points_of_columns(position_px: FloatArray, point_px: FloatArray, reach_px: float) -> IntArray:
    """The point that lies at each column, `(N,)`; -1 where none is within reach.

    Parameters
    ----------
    position_px, point_px : arrays, `(N, 2)` and `(M, 2)`
    reach_px : float
    """
    if len(point_px) == 0 or len(position_px) == 0:
        return np.full(len(position_px), -1)
    distance, near = cKDTree(point_px).query(position_px)
    return np.where(distance <= reach_px, near, -1)


def inside_polygon(point: FloatArray, corner: FloatArray) -> BoolArray:
    """Which points lie inside a closed polygon, by the even-odd rule, `(N,)`.

    Parameters
    ----------
    point, corner : arrays, `(N, 2)` and `(K, 2)`
        NaN lies nowhere.

    Examples
    --------
    >>> square = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]])
    >>> inside_polygon(np.array([[1.0, 1.0], [3.0, 1.0], [np.nan, 1.0]]), square).tolist()
    [True, False, False]
    """
    result = np.zeros(len(point), dtype=bool)
    if len(corner) < 3:
        return result
    x, y = point.T
    for (x0, y0), (x1, y1) in zip(corner, np.roll(corner, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        crosses = ((y0 <= y) & (y < y1)) | ((y1 <= y) & (y < y0))
        result ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return result
