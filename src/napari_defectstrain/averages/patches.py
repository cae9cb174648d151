"""Patches: the domains that windows are cut from, each with a lattice of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..crystal.calibration import CALIBRATED_BY_LATTICE
from ..crystal.honeycomb import index_columns
from ..crystal.lattice import decompose, fit_lattice
from ..crystal.regions import LabelArray, Regions
from ..io.content import pixels_sha256
from ..types import (
    BoolArray,
    CalibratedImage,
    ClassStack,
    DefectStrainError,
    FloatArray,
    ImageLattice,
    Sites,
)
from .probe_width import image_widths
from .windows import WindowFrame, WindowSource

_GRID_STEP = 0.2  # a; points of a window that must lie in its domain
_CHUNK = 512  # windows looked up at a time
_BANDS = 12  # of scan lines, whose distortion their columns share
_TWIN_DEG = 10.0  # a twin is turned by 60 degrees, to within this


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


def patch_keys(
    images: Sequence[CalibratedImage], patches: Sequence[Patch]
) -> list[tuple[int, int]]:
    """What each patch draws by: the hash of its image's pixels, and its label there."""
    known: dict[int, int] = {}
    for i in {patch.image_index for patch in patches}:
        known[i] = int(pixels_sha256(images[i].data), 16)
    # a picture that is one domain draws alike whether anybody looked for domains or not
    return [(known[patch.image_index], max(patch.label, 1)) for patch in patches]


def check_measurable(
    image: CalibratedImage, sites: Sites, a_pm: float, regions: Regions | None = None
) -> None:
    """See, before the windows of all images are cut, that windows can be cut from this one.

    Parameters
    ----------
    image : CalibratedImage
    sites : Sites
    a_pm : float
        Lattice constant [pm].
    regions : Regions, optional

    Raises
    ------
    DefectStrainError
        If the columns of the image, or of its largest domain, form no lattice, or the metal columns
        of one of its domains aren't brighter than the hexagon centres.
    """
    coefficients = None
    for patch in find_patches([image], [sites], a_pm, [regions]):
        metal = sites.position_px[sites.is_metal & patch.member]
        source = WindowSource.of(image.data, metal, patch.lattice, image.name, coefficients)
        coefficients = source.coefficients


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


def lattice_table(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    a_pm: float,
    regions: Sequence[Regions | None] | None = None,
    reference: ClassStack | None = None,
) -> pd.DataFrame:
    """The lattice of every domain: rotation, scale, shear, residual, and the image's probe.

    Parameters
    ----------
    images, sites : sequences of equal length
    a_pm : float
        Lattice constant of the lattice frame [pm].
    regions : sequence of Regions or None, optional
        Of each image; without them an image is one domain.
    reference : ClassStack, optional
        Defect-free windows, which tell the width of the columns.

    Returns
    -------
    DataFrame
        A row a domain. ``rotation_deg``, ``scale`` (stated pixel size over the true one; NaN for
        an image without one), ``shear_xx_yy`` and ``shear_xy`` as in `lattice.LatticeShape`, each
        with its standard error ``sigma_...`` by the scatter of bands of scan lines, whose columns
        share their distortion; ``pixel_size_pm`` by the lattice; ``residual_pm``, root mean square
        per axis; ``n_metal``; ``twin``, turned by 60 degrees against the largest domain of its
        image; ``probe_pm``, the Gaussian-equivalent sigma of the columns, and ``group``.
    """
    patches = find_patches(images, sites, a_pm, regions)
    rows = []
    largest: dict[int, tuple[int, float]] = {}
    for patch in patches:
        image, columns = images[patch.image_index], sites[patch.image_index]
        metal = columns.position_px[columns.is_metal & patch.member]
        stated = image.pixel_size_pm
        shape = decompose(patch.lattice.matrix, stated or 1.0)
        error = _shape_errors(metal, patch.lattice, stated or 1.0)
        known = 1.0 if stated is not None else np.nan
        row = {
            "image": image.name,
            "domain": patch.label,
            "rotation_deg": shape.rotation_deg,
            "sigma_rotation_deg": error[0],
            "scale": shape.scale * known,
            "sigma_scale": error[1] * known,
            "shear_xx_yy": shape.shear_xx_yy,
            "sigma_shear_xx_yy": error[2],
            "shear_xy": shape.shear_xy,
            "sigma_shear_xy": error[3],
            "pixel_size_pm": (stated or 1.0) / shape.scale,
            "residual_pm": patch.lattice.residual_pm,
            "n_metal": len(metal),
        }
        rows.append(row)
        if len(metal) > largest.get(patch.image_index, (0, 0.0))[0]:
            largest[patch.image_index] = (len(metal), shape.rotation_deg)
    for row, patch in zip(rows, patches, strict=True):
        turn = np.mod(float(row["rotation_deg"]) - largest[patch.image_index][1], 120.0)
        row["twin"] = bool(abs(turn - 60.0) < _TWIN_DEG)
    table = pd.DataFrame(rows)
    index = np.array([patch.image_index for patch in patches], dtype=int)
    widths = image_widths(reference, len(images))
    table["probe_pm"], table["sigma_probe_pm"] = widths.sigma_pm[index], widths.error_pm[index]
    table["group"] = widths.group[index]
    return table


def _shape_errors(metal_px: FloatArray, lattice: ImageLattice, pixel_size_pm: float) -> FloatArray:
    """Standard errors of rotation, scale and both shears, `(4,)`.

    Sandwich covariance of the affine fit with bands of scan lines as clusters (White 1980,
    doi:10.2307/1912934, for clusters): the columns of a line share its jitter, and lines near
    one another share slow distortion.
    """
    site, is_metal, residual = index_columns(metal_px, lattice)
    size = np.hypot(*residual.T)
    use = is_metal & (size <= 4.0 * max(float(np.median(size)) / 1.177, 1e-9))
    metal_px, site = metal_px[use], site[use]
    design = np.column_stack([np.ones(len(site)), site - site.mean(axis=0)])
    inverse = np.linalg.inv(design.T @ design)
    left = metal_px - metal_px.mean(axis=0)
    left -= design @ (inverse @ (design.T @ left))
    line = metal_px[:, 0]
    band = np.minimum(
        (_BANDS * (line - line.min()) / max(np.ptp(line), 1e-9)).astype(int), _BANDS - 1
    )
    score = np.zeros((_BANDS, 2, 3))
    np.add.at(score, band, left[:, :, None] * design[:, None, :])
    influence = (score @ inverse)[:, :, 1:].reshape(_BANDS, 4)  # on matrix.ravel()
    covariance = influence.T @ influence * _BANDS / (_BANDS - 3)
    gradient = np.empty((4, 4))
    step = 1e-6 * float(np.abs(lattice.matrix).max())
    for i in range(4):
        change = step * np.eye(4)[i].reshape(2, 2)
        up, down = (decompose(lattice.matrix + s * change, pixel_size_pm) for s in (1, -1))
        gradient[:, i] = [
            (getattr(up, name) - getattr(down, name)) / (2 * step)
            for name in ("rotation_deg", "scale", "shear_xx_yy", "shear_xy")
        ]
    return np.asarray(np.sqrt(np.einsum("ij,jk,ik->i", gradient, covariance, gradient)))
