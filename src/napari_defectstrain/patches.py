"""Patches: the domains that windows are cut from, each with a lattice of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .lattice import fit_lattice
from .loading import CALIBRATED_BY_LATTICE
from .regions import LabelArray, Regions
from .types import BoolArray, CalibratedImage, DefectStrainError, FloatArray, ImageLattice, Sites
from .windows import WindowFrame

_GRID_STEP = 0.2  # a; points of a window that must lie in its domain
_CHUNK = 512  # windows looked up at a time


@dataclass(frozen=True)
class Patch:
    """One domain of one image, or a whole image whose regions aren't known.

    Parameters
    ----------
    image_index : int
    lattice : ImageLattice
        Average lattice of its columns.
    member : array of bool, `(N,)`
        Columns of the image that belong to it.
    labels : array of uint8, `(H, W)`, or None
        Regions of the image; None where the whole image is one domain.
    label : int
        Its label there.
    """

    image_index: int
    lattice: ImageLattice
    member: BoolArray
    labels: LabelArray | None = None
    label: int = 0

    def holds(self, centre_px: FloatArray, frame: WindowFrame) -> BoolArray:
        """Whether windows around these centres `(N, 2)` (y, x) [px] lie wholly in it, `(N,)`."""
        result = np.ones(len(centre_px), dtype=bool)
        if self.labels is None:
            return result
        every = max(1, int(_GRID_STEP * frame.a_pm / frame.step_pm))
        index = np.unique(np.append(np.arange(0, frame.shape[0], every), frame.shape[0] - 1))
        grid = frame.position_pm[np.ix_(index, index)].reshape(-1, 2) @ self.lattice.matrix.T
        last = np.array(self.labels.shape) - 1
        for start in range(0, len(centre_px), _CHUNK):
            place = np.rint(centre_px[start : start + _CHUNK, None] + grid).astype(int)
            row, column = np.moveaxis(np.clip(place, 0, last), -1, 0)
            result[start : start + _CHUNK] = (self.labels[row, column] == self.label).all(axis=1)
        return result


def find_patches(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    a_pm: float,
    regions: Sequence[Regions | None] | None = None,
) -> list[Patch]:
    """The patches of all images, by image, then by label.

    Parameters
    ----------
    images, sites : sequences of equal length
    a_pm : float
        Lattice constant of the lattice frame [pm].
    regions : sequence of Regions or None, optional
        Of each image; without them an image is one patch.

    Raises
    ------
    DefectStrainError
        If the columns of an image, or of its largest domain, form no lattice. Smaller domains
        whose columns form none are left out.
    """
    given = [None] * len(images) if regions is None else regions
    patches = []
    for i, (image, columns, found) in enumerate(zip(images, sites, given, strict=True)):
        if found is None:
            member = np.ones(len(columns), dtype=bool)
            patches.append(Patch(i, lattice_of(image, columns, a_pm), member))
            continue
        label = found.label_at(columns.position_px)
        largest = max(found.domains, key=lambda domain: domain.area_px, default=None)
        for domain in found.domains:
            member = label == domain.index
            try:
                lattice = lattice_of(image, columns, a_pm, member)
            except DefectStrainError:
                if domain is largest:
                    raise
                continue
            patches.append(Patch(i, lattice, member, found.labels, domain.index))
    return patches


def lattice_of(
    image: CalibratedImage, sites: Sites, a_pm: float, member: BoolArray | None = None
) -> ImageLattice:
    """The average lattice of an image, or of some of its columns.

    Raises
    ------
    DefectStrainError
        If the columns form no lattice; the message names the image.
    """
    among = np.ones(len(sites), dtype=bool) if member is None else member
    try:
        return fit_lattice(
            sites.position_px[among],
            sites.is_metal[among],
            a_pm,
            image.pixel_size_pm,
            sites.is_chalcogen[among],
        )
    except DefectStrainError as error:
        raise DefectStrainError(f"{image.name}: {error}") from error


def lattice_constant(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    nominal_pm: float,
    regions: Sequence[Regions | None] | None = None,
) -> float:
    """Median of the lattice constants that the calibrated images show [pm].

    Of several domains in an image the largest tells. Images calibrated by their own lattice would
    only give back `nominal_pm`, which is what is returned where there are no others.
    """
    measured = []
    given = [None] * len(images) if regions is None else regions
    for image, columns, found in zip(images, sites, given, strict=True):
        if image.pixel_size_pm is None:
            continue
        if image.metadata.get("calibration") == CALIBRATED_BY_LATTICE:
            continue  # would only give back the nominal constant
        member = None
        if found is not None:
            if not found.domains:
                continue
            largest = max(found.domains, key=lambda domain: domain.area_px).index
            member = found.label_at(columns.position_px) == largest
        lattice = lattice_of(image, columns, nominal_pm, member)
        if lattice.measured_a_pm is not None:
            measured.append(lattice.measured_a_pm)
    return float(np.median(measured)) if measured else nominal_pm
