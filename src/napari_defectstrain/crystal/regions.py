"""Regions of an image: domains of the 2H crystal, and what is none of them.

A label image says of every pixel what lies there. Label k from 1 to 250 is the k-th 2H domain,
largest first; the labels above have fixed meanings (`KINDS`); 0 is what somebody erased. Only
domains are usable area: defects are counted and averaged there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import numpy.typing as npt

from ..config import Between, Config
from ..types import METAL, OTHER, BoolArray, DefectStrainError, FloatArray, IntArray, Sites
from .domains import FIRST_NEIGHBOUR_REACH, ComplexArray, neighbours, threefold_order

LabelArray = npt.NDArray[np.uint8]

ERASED = 0
MAX_DOMAINS = 250
BOUNDARY, NOT_2H, HOLE, CONTAMINATED = 251, 252, 253, 254
KINDS = {
    BOUNDARY: "boundary",
    NOT_2H: "not 2H",
    HOLE: "hole",
    CONTAMINATED: "contaminated",
}
"""Names of the labels that are no domain."""
_MIN_COLUMNS = 3
_PLENTY = 0.95  # usable fraction that is nothing to speak of
_NEAREST = 5  # three, and what may lie between them


@dataclass(frozen=True)
class RegionConfig(Config):
    """Settings of the search for regions.

    Parameters
    ----------
    contamination : float
        Background above the clean one from which an area counts as contaminated, in heights of a
        metal column.
    min_angle_deg : float
        Domains of the same sense turned against each other by less are one [degrees].
    min_cells : float
        Area of the smallest domain [unit cells].
    """

    contamination: Annotated[float, Between(0.01, 1000)] = 0.35
    min_angle_deg: Annotated[float, Between(1, 30)] = 3.0
    min_cells: Annotated[float, Between(4, 1e6)] = 20.0


@dataclass(frozen=True)
class Domain:
    """One domain of the 2H crystal.

    Parameters
    ----------
    index : int
        Its label.
    area_px : int
        Pixels of the image that carry it.
    orientation_deg : float
        Angle of the lattice frame's x axis against the image's, counter-clockwise as seen, modulo
        120 degrees: -60 <= angle < 60. NaN where it holds no columns to tell.
    sense : int
        +1 for the largest domain and all within 30 degrees of it, -1 for its mirror twins, which
        lie 60 degrees from it: seen along the beam, turning by 60 degrees and mirroring are the
        same. 0 where the orientation isn't known.
    """

    index: int
    area_px: int
    orientation_deg: float
    sense: int


@dataclass(frozen=True)
class Regions:
    """The regions of one image.

    Parameters
    ----------
    labels : array of uint8, `(H, W)`
        See the module. Made by `region_search.find_regions`, or from labels edited by hand by
        `label_regions`.
    domains : tuple of Domain
        By label.
    """

    labels: LabelArray
    domains: tuple[Domain, ...]

    def area_px(self, label: int) -> int:
        """Pixels that carry a label."""
        return int(np.count_nonzero(self.labels == label))

    @property
    def usable(self) -> BoolArray:
        """Pixels of domains, `(H, W)`."""
        return np.asarray((self.labels != ERASED) & (self.labels <= MAX_DOMAINS))

    @property
    def usable_px(self) -> int:
        """Area of all domains [px]."""
        return int(np.count_nonzero(self.usable))

    def label_at(self, position_px: FloatArray) -> LabelArray:
        """Label of the pixel that each position (y, x) lies in, `(N,)`; of the nearest outside."""
        last = np.array(self.labels.shape) - 1
        row, column = np.clip(np.rint(position_px).astype(int), 0, last).T
        return np.asarray(self.labels[row, column])


def region_name(label: int) -> str:
    """Name of a label for people.

    >>> region_name(2), region_name(253)
    ('2H domain 2', 'hole')
    """
    if label in KINDS:
        return KINDS[label]
    return f"2H domain {label}" if 0 < label <= MAX_DOMAINS else "left out"


def label_regions(
    labels: npt.NDArray[np.integer], sites: Sites | None, turn: ComplexArray | None = None
) -> Regions:
    """Regions from a label image, for instance one edited by hand.

    Area, orientation and sense of every domain are measured again; labels stay as they are.

    Parameters
    ----------
    labels : array of int, `(H, W)`
    sites : Sites or None
        Columns of the image; without them no orientation is known.
    turn : array, `(N,)`, optional
        Their `lattice_turn`, where it is known already.

    Raises
    ------
    DefectStrainError
        If `labels` isn't a 2D array of whole numbers from 0 to 254.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iub":
        raise DefectStrainError(
            f"regions: got an array of shape {labels.shape} and type {labels.dtype}, expected a "
            "2D image of whole numbers"
        )
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0 or high > CONTAMINATED:
        raise DefectStrainError(
            f"regions: got labels from {low} to {high}, "
            f"expected 0 to {CONTAMINATED}: 1 to {MAX_DOMAINS} for domains of 2H, "
            + ", ".join(f"{label} for {name}" for label, name in KINDS.items())
        )
    found = Regions(np.asarray(labels, dtype=np.uint8), ())
    count = np.bincount(labels.ravel())
    place = np.zeros((0, 2)) if sites is None else np.asarray(sites.position_px)
    if turn is None:
        turn = np.zeros(0, dtype=complex) if sites is None else lattice_turn(sites)
    return replace(found, domains=_measured(found, count, place, turn))


def _measured(
    found: Regions, count: IntArray, place_px: FloatArray, turn: ComplexArray
) -> tuple[Domain, ...]:
    present = [k for k in range(1, min(len(count), MAX_DOMAINS + 1)) if count[k]]
    if not present:
        return ()
    of_column = found.label_at(place_px)
    total = [
        np.bincount(of_column, part, minlength=256) for part in (turn.real, turn.imag, turn != 0)
    ]
    angle = np.rad2deg(np.arctan2(total[1], total[0])) / 3
    angle[total[2] < _MIN_COLUMNS] = np.nan
    main = angle[max(present, key=lambda k: int(count[k]))]
    domains = []
    for k in present:
        apart = abs((angle[k] - main + 60) % 120 - 60)
        sense = 0 if np.isnan(apart) else 1 if apart < 30 else -1
        domains.append(Domain(k, int(count[k]), float((angle[k] + 60) % 120 - 60), sense))
    return tuple(domains)


def lattice_turn(sites: Sites) -> ComplexArray:
    """exp(3i theta) by each column's neighbours, theta the angle of the lattice frame's x axis.

    Modulus 1 where the three neighbours lie 120 degrees apart, less elsewhere; 0 for columns of the
    class other. A metal's neighbours lie at 30, 150 and 270 degrees from that axis, a chalcogen's
    at 90, 210 and 330. A scan sheared by little turns them by its antisymmetric part alone.

    Returns
    -------
    array, `(N,)`
    """
    known = np.flatnonzero(~sites.is_other)
    result = np.zeros(len(sites), dtype=complex)
    if len(known) < _MIN_COLUMNS + 1:
        return result
    position = np.asarray(sites.position_px, dtype=float)[known]
    distance, index = neighbours(position, _NEAREST)
    near = distance < FIRST_NEIGHBOUR_REACH * np.median(distance[:, 0])
    order = threefold_order(position, position[index], near, least=2)
    result[known] = np.where(sites.class_index[known] == METAL, -1j, 1j) * order
    return result


def in_domain(sites: Sites, regions: Regions) -> BoolArray:
    """Which columns lie in the usable area, `(N,)`."""
    label = regions.label_at(sites.position_px)
    return np.asarray((label != ERASED) & (label <= MAX_DOMAINS))


def usable_sites(sites: Sites, regions: Regions | None) -> Sites:
    """The columns that lie in the usable area; all of them where no regions are known."""
    if regions is None:
        return sites
    return sites.subset(in_domain(sites, regions))


def without_foreign_defects(sites: Sites, regions: Regions) -> Sites:
    """The columns, those in areas that are not 2H as class other: no point defects live there.

    Their probability is certain, their source stays.
    """
    foreign = regions.label_at(sites.position_px) == NOT_2H
    if not foreign.any():
        return sites
    probabilities = np.array(sites.probabilities)
    probabilities[foreign] = np.eye(probabilities.shape[1])[OTHER]
    index = np.where(foreign, OTHER, sites.class_index)
    return replace(
        sites, probabilities=probabilities, class_index=index.astype(sites.class_index.dtype)
    )


def region_summary(name: str, regions: Regions) -> list[str]:
    """A line on an image's regions, or none where nearly all of it is one domain."""
    share = regions.usable_px / regions.labels.size
    several = len(regions.domains) > 1
    if share > _PLENTY and not several:
        return []
    parts = [
        f"{100 * regions.area_px(label) / regions.labels.size:.1f} % {kind}"
        for label, kind in KINDS.items()
        if regions.area_px(label)
    ]
    domains = f"{len(regions.domains)} 2H domains" if several else "2H"
    if not regions.domains:
        return [f"{name}: no 2H domain found ({', '.join(parts)}): nothing to count or average"]
    rest = f", {', '.join(parts)}" if parts else ""
    return [
        f"{name}: {100 * share:.1f} % {domains}{rest}; defects are counted and averaged in 2H only"
    ]


def check_regions(
    regions: Sequence[Regions | None],
    shapes: Sequence[tuple[int, ...]],
    names: Sequence[str] | None = None,
) -> None:
    """See that label images fit their images.

    Raises
    ------
    DefectStrainError
        If there aren't as many, or one has another shape than its image.
    """
    if len(regions) != len(shapes):
        raise DefectStrainError(
            f"regions: got {len(regions)} label images for {len(shapes)} images, expected one each"
        )
    for i, (found, shape) in enumerate(zip(regions, shapes, strict=True)):
        if found is not None and found.labels.shape != shape:
            name = f"image {i + 1}" if names is None else names[i]
            raise DefectStrainError(
                f"regions of {name}: got a label image of {found.labels.shape} px, expected "
                f"that of the image, {shape}; is it of another image?"
            )
