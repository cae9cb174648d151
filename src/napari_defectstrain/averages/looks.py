"""What thumbnails tell of detections: how unlike its class each looks, and how they vary."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..crystal.regions import Regions
from ..crystal.robust import robust_sigma
from ..types import BoolArray, CalibratedImage, FloatArray, ImageLattice, IntArray, Sites
from .detections import Detections, list_detections, points_of_columns
from .thumbnails import STEP_PM, ThumbnailSource, thumbnail_frame, thumbnail_source

CORE_PM = 600.0
"""Radius of what is compared: what lies around a defect is another matter [pm]."""
COMPONENTS = 3
_FEW = 4  # windows of a class that its scatter is told by
_MOST = 4000  # thumbnails that the components are worked out from

WEIGHT, SIGMA, PROBABILITY, DOUBT = "weight", "sigma of weight", "probability", "doubt"
TRIANGLE, DISTANCE = "triangle (pm)", "distance (sigma)"


FIRST, CHUNK = 128, 1024
"""Thumbnails that are cut before anything is shown, and between two looks at what is wanted."""


FEATURES = (
    *(WEIGHT, SIGMA, PROBABILITY, DOUBT, TRIANGLE, DISTANCE),
    *(f"component {k + 1}" for k in range(COMPONENTS)),
)
"""What is told of detections, by the names that people see."""
CLASS, IMAGE, PLACE = "class", "image", "place"
SORTED_BY = {
    PROBABILITY: False,
    DOUBT: True,
    DISTANCE: True,
    WEIGHT: False,
    TRIANGLE: True,
    CLASS: False,
    IMAGE: False,
    PLACE: False,
}
"""What rows can be sorted by, and whether the largest comes first."""


@dataclass(frozen=True)
class Looks:
    """Detections with their thumbnails, as far as these are made.

    Parameters
    ----------
    detections : Detections
    thumbnails : array, `(N, P, P)`
        Background 0, metal columns 1, NaN where there is no image.
    ready : array of bool, `(N,)`
        Which thumbnails are there.
    reach_px : array, `(I,)`
        Half the distance of nearest neighbours in each image: what lies nearer is the same column.
    limits : (float, float)
        Of grey, for all alike.
    core : array, `(N, K)`, or None
        From `core_pixels`, once all are there.
    components : array, `(N, C)`, or None
        The same by principal components.
    distance : array, `(N,)`, or None
        From `class_distance`, where it is known already.
    """

    detections: Detections
    thumbnails: FloatArray
    ready: BoolArray
    reach_px: FloatArray
    limits: tuple[float, float] = (0.0, 1.0)
    core: FloatArray | None = None
    components: FloatArray | None = None
    distance: FloatArray | None = None

    def features(self) -> Mapping[str, FloatArray]:
        """What the rows can be sorted and plotted by; worked out once."""
        return self._features

    @cached_property
    def _features(self) -> Mapping[str, FloatArray]:
        return detection_features(self.detections, self.core, self.components, self.distance)

    def with_class(self, rows: Sequence[int] | IntArray, class_index: int) -> Looks:
        """The same where some rows were given a class by hand."""
        changed = replace(self, detections=self.detections.with_class(rows, class_index))
        if self.core is not None:  # distances of the other classes are as they were
            index = changed.detections.class_index
            touched = np.unique([*self.detections.class_index[np.asarray(rows, dtype=int)]])
            own = np.isin(index, np.append(touched, class_index))
            distance = np.array(self.features()[DISTANCE])
            distance[own] = class_distance(self.core[own], index[own])
            changed = replace(changed, distance=distance)
        return changed


def looks_in_steps(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    regions: Sequence[Regions | None],
    a_pm: float,
) -> Generator[Looks, None, None]:
    """The detections of some images with more and more thumbnails, the least probable ones first.

    Parameters
    ----------
    images, sites, regions : sequences of equal length
        Columns with the corrections by hand.
    a_pm : float
        Lattice constant of the material [pm].

    Yields
    ------
    Looks
        All of them share their thumbnails. The last holds everything.

    Raises
    ------
    DefectStrainError
        If the images have different classes.
    """
    sources = [
        thumbnail_source(image, own, a_pm, known)
        for image, own, known in zip(images, sites, regions, strict=True)
    ]
    found = list_detections(sites, [source.lattice for source in sources], regions)
    side = thumbnail_frame(a_pm).shape
    looks = Looks(
        found,
        np.full((len(found), *side), np.nan, np.float32),
        np.zeros(len(found), dtype=bool),
        np.array([_reach_px(source.lattice) for source in sources]),
    )
    order = np.argsort(found.probability, kind="stable")
    starts = [0, *range(FIRST, len(order), CHUNK)]
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        _cut(looks, sources, order[start:end])
        if start == 0:
            looks = replace(looks, limits=grey_limits(looks.thumbnails[order[:end]]))
        yield looks
    core = core_pixels(looks.thumbnails)
    yield replace(looks, core=core, components=find_components(core).of(core))


def _reach_px(lattice: ImageLattice) -> float:
    bond = lattice.a_pm / np.sqrt(3.0)
    return float(0.5 * bond * np.sqrt(abs(np.linalg.det(lattice.matrix))))


def _cut(looks: Looks, sources: Sequence[ThumbnailSource], rows: IntArray) -> None:
    found = looks.detections
    for i in np.unique(found.image_index[rows]).tolist():
        mine = rows[found.image_index[rows] == i]
        looks.thumbnails[mine] = sources[i].cut(found.position_px[mine])
    looks.ready[rows] = True


@dataclass(frozen=True)
class Components:
    """Principal components of how detections look.

    Parameters
    ----------
    mean : array, `(K,)`
        Of the pixels that are compared.
    direction : array, `(C, K)`
        Orthonormal, that of the largest variance first.
    """

    mean: FloatArray
    direction: FloatArray

    def of(self, core: FloatArray) -> FloatArray:
        """Coordinates of windows `(N, K)`, `(N, C)`."""
        return np.asarray((core - self.mean) @ self.direction.T)


def core_pixels(thumbnails: FloatArray) -> FloatArray:
    """The middle of thumbnails as vectors, `(N, K)`; pixels beyond a border get the mean of all.

    Parameters
    ----------
    thumbnails : array, `(N, P, P)`
    """
    half = thumbnails.shape[-1] // 2
    row, column = np.mgrid[-half : half + 1, -half : half + 1]
    core = thumbnails[:, np.hypot(row, column) * STEP_PM <= CORE_PM]
    known = np.isfinite(core)
    if not known.all():
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, core, 0.0).sum(axis=0) / count
        core = np.where(known, core, mean)
    return np.asarray(core, dtype=np.float32)


def find_components(core: FloatArray, count: int = COMPONENTS) -> Components:
    """Principal components of windows, `(N, K)`; of some thousands where there are more.

    The sign of each is that its largest pixel is positive, so that the same windows give the same.
    """
    some = np.asarray(core[:: max(1, len(core) // _MOST)], dtype=float)
    mean = some.mean(axis=0) if len(some) else np.zeros(core.shape[1])
    _, vector = np.linalg.eigh((some - mean).T @ (some - mean))
    direction = vector[:, ::-1][:, :count].T
    largest = np.abs(direction).argmax(axis=1)
    sign = np.sign(direction[np.arange(len(direction)), largest])
    return Components(mean, direction * sign[:, None])


def class_distance(core: FloatArray, class_index: IntArray) -> FloatArray:
    """How unlike the average of its class each window looks, in sigma of its class, `(N,)`.

    The root mean square difference from the average of the others of its class, less the median
    of these differences, over their robust standard deviation: 0 is usual, 5 is far off. NaN for
    classes of too few windows.

    Parameters
    ----------
    core : array, `(N, K)`
        From `core_pixels`.
    class_index : array of int, `(N,)`
    """
    result = np.full(len(core), np.nan)
    for k in np.unique(class_index).tolist():
        mine = np.flatnonzero(class_index == k)
        n = len(mine)
        if n < _FEW:
            continue
        own = core[mine]
        # own - (sum - own) / (n - 1) = (own - mean) n / (n - 1)
        apart = own - own.mean(axis=0)
        off = np.sqrt(np.einsum("ij,ij->i", apart, apart) / apart.shape[1]) * n / (n - 1)
        middle = float(np.median(off))
        spread = robust_sigma(off, middle)
        if spread > 0:
            result[mine] = (off - middle) / spread
    return result


def detection_features(
    detections: Detections,
    core: FloatArray | None = None,
    components: FloatArray | None = None,
    distance: FloatArray | None = None,
) -> dict[str, FloatArray]:
    """Everything that detections can be sorted or plotted by, each `(N,)`.

    Parameters
    ----------
    detections : Detections
    core : array, `(N, K)`, optional
        From `core_pixels`: without it, distances are NaN.
    components : array, `(N, C)`, optional
        From `Components.of`.
    distance : array, `(N,)`, optional
        From `class_distance`, where it is known already.
    """
    unknown = np.full(len(detections), np.nan)
    if distance is None:
        distance = unknown if core is None else class_distance(core, detections.class_index)
    found = {
        WEIGHT: detections.weight,
        SIGMA: detections.weight_sigma,
        PROBABILITY: detections.probability,
        DOUBT: detections.doubt,
        TRIANGLE: detections.triangle_pm,
        DISTANCE: distance,
    }
    for k, name in enumerate(FEATURES[-COMPONENTS:]):
        told = components is not None and k < components.shape[1]
        found[name] = components[:, k] if components is not None and told else unknown
    return found


def grey_limits(thumbnails: FloatArray) -> tuple[float, float]:
    """Limits of grey for all thumbnails alike."""
    some = thumbnails[:: max(1, len(thumbnails) // 100), ::2, ::2]
    known = some[np.isfinite(some)]
    if known.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(known, (0.5, 99.5))
    return float(low), float(max(high, low + 1e-6))


def sorted_rows(
    values: FloatArray, rows: IntArray, descending: bool, tie: FloatArray | None = None
) -> IntArray:
    """Rows in the order of their values; those without a value last.

    Parameters
    ----------
    values : array, `(N,)` or `(N, D)`
        Of every row; of several columns the first counts most.
    rows : array of int, `(M,)`
        Those to be sorted.
    descending : bool
    """
    key = np.atleast_2d(np.asarray(values, dtype=float).T)[:, rows]
    key = np.where(np.isfinite(key), -key if descending else key, np.inf)
    return np.asarray(rows[np.lexsort(key[::-1])])


def sort_values(detections: Detections, features: Mapping[str, FloatArray], by: str) -> FloatArray:
    """What rows are sorted by, `(N,)`, or `(N, D)` where they are told by several in turn.

    Parameters
    ----------
    detections : Detections
    features : mapping of name to array
        From `detection_features`.
    by : str
        One of `SORTED_BY`, or any feature.
    """
    y, x = detections.position_px.T
    if by == IMAGE:
        return np.stack([detections.image_index, y, x], axis=1)
    if by == PLACE:
        return np.stack([y, x, detections.image_index], axis=1)
    if by == CLASS:
        return np.stack([detections.class_index, features[PROBABILITY]], axis=1)
    return features[by]


def same_rows(before: Detections, after: Detections, reach_px: float) -> IntArray:
    """The row that each detection has in another list of the same images, `(N,)`; -1 for none."""
    found = np.full(len(before), -1)
    for i in np.unique(before.image_index).tolist():
        old = np.flatnonzero(before.image_index == i)
        new = np.flatnonzero(after.image_index == i)
        at = points_of_columns(before.position_px[old], after.position_px[new], reach_px)
        found[old[at >= 0]] = new[at[at >= 0]]
    return found


def class_counts(class_index: IntArray, class_names: tuple[str, ...]) -> Mapping[str, int]:
    """How many rows each class has."""
    count = np.bincount(class_index, minlength=len(class_names))
    return dict(zip(class_names, count.tolist(), strict=True))
