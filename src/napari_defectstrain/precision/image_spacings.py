"""Spacings of single images, before any averaging: the histograms that averages are held against.

The three metal columns around a chalcogen column, each measured in the image itself
(doi:10.1021/acs.nanolett.0c00269, Fig. 3a: 330 pm with a standard deviation of 8 pm for SeTe and
6 pm for 2Se).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from ..averages.patches import Patch, find_patches
from ..columns.images.types import ImageColumns
from ..crystal.lattice import isolated
from ..crystal.regions import Regions
from ..types import (
    OTHER,
    BoolArray,
    CalibratedImage,
    DefectStrainError,
    FloatArray,
    IntArray,
    Sites,
    StrArray,
)

NEAR = 0.3
"""Largest departure of the three metal columns from their ideal places, in lattice constants."""

_ROWS = ("spacing_pm", "sigma_pm", "image_index", "site_index")

SCALES = ("lattice", "pixel_size")


@dataclass(frozen=True)
class SingleSpacings:
    """Spacings of the metal columns around the chalcogen columns of one class.

    Parameters
    ----------
    class_name : str
    spacing_pm : array, `(n, 3)`
        The three metal-metal spacings around each column, by angle from 90 degrees on in the
        lattice frame: 90-210, 210-330, 330-90 [pm].
    sigma_pm : array, `(n, 3)`
        Their standard errors by the covariance of the fits [pm].
    image_index, site_index : arrays of int, `(n,)`
        Which image, and which of its `Sites`.
    scale : str
        ``lattice``: each image's affine map to the ideal lattice is taken out, so that its mean
        spacing is the lattice constant given; ``pixel_size``: the image's own pixel size.
    """

    class_name: str
    spacing_pm: FloatArray
    sigma_pm: FloatArray
    image_index: IntArray
    site_index: IntArray
    scale: str

    @property
    def n(self) -> int:
        """Number of columns."""
        return len(self.spacing_pm)

    @property
    def mean_pm(self) -> float:
        """Mean of all spacings [pm]; NaN where there is none."""
        return float(np.mean(self.spacing_pm)) if self.n else float("nan")

    @property
    def std_pm(self) -> float:
        """Standard deviation of all spacings [pm]; NaN for less than one column."""
        return float(np.std(self.spacing_pm, ddof=1)) if self.n else float("nan")


def single_image_spacings(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    fits: Sequence[ImageColumns],
    a_pm: float,
    regions: Sequence[Regions | None] | None = None,
    scale: str = "lattice",
    shells: int = 0,
    counted: Sequence[BoolArray] | None = None,
) -> dict[str, SingleSpacings]:
    """Spacings around every chalcogen column of all images, by class.

    Parameters
    ----------
    images, sites, fits : sequences of equal length
        `fits` hold the columns of `sites` in their order (`columns.images.fit_image_columns`).
    a_pm : float
        Lattice constant of the lattice frame [pm].
    regions : sequence of Regions or None, optional
        Domains of each image; without them an image is one.
    scale : str
        ``lattice`` (default): affine-corrected by the image's average lattice, of constant
        `a_pm`: what strain against defect-free columns needs. ``pixel_size``: distances in the
        image times its pixel size, shear and miscalibration included.
    shells : int
        Only columns this isolated (`honeycomb.isolated`); 0 takes all.
    counted : sequence of bool arrays, `(N,)` each, optional
        Columns around which spacings count: those that two images show in one of them
        (`overlaps.counted_columns`); None: all.

    Returns
    -------
    dict of class to SingleSpacings
        In the order of the roles, the chalcogen classes that occur. Columns of which one of
        the three metal columns was not found or has no position are left out.

    Raises
    ------
    DefectStrainError
        If the sequences don't match, the columns form no lattice, or pixel sizes are asked for
        and an image has none.
    """
    _check(images, sites, fits, scale)
    parts: list[tuple[StrArray, SingleSpacings]] = []
    for patch in find_patches(images, sites, a_pm, regions):
        i = patch.image_index
        name_of, part = _of_patch(patch, images[i], sites[i], fits[i], scale, shells)
        if counted is not None:
            once = counted[i][part.site_index]
            name_of, part = name_of[once], _subset(part, once)
        parts.append((name_of, part))
    result = {}
    # by name: images of unlike materials, or tables of few classes, count them otherwise
    roles = {
        name: role
        for s in reversed(sites)
        for role, name in enumerate(s.class_names)
        if 0 < role != OTHER
    }
    for class_name in sorted(roles, key=lambda name: roles[name]):
        chosen = [(part, name_of == class_name) for name_of, part in parts]
        if not any(which.any() for _, which in chosen):
            continue
        kept = [_subset(part, which) for part, which in chosen]
        gathered = {name: np.concatenate([getattr(part, name) for part in kept]) for name in _ROWS}
        result[class_name] = SingleSpacings(class_name=class_name, scale=scale, **gathered)
    return result


def _subset(part: SingleSpacings, which: BoolArray) -> SingleSpacings:
    return replace(part, **{name: getattr(part, name)[which] for name in _ROWS})


def spacings_table(found: Mapping[str, SingleSpacings]) -> pd.DataFrame:
    """One row a class: class, n, mean_pm, std_pm, sigma_pm (median standard error), scale."""
    return pd.DataFrame(
        [
            {
                "class": name,
                "n": spacings.n,
                "mean_pm": spacings.mean_pm,
                "std_pm": spacings.std_pm,
                "sigma_pm": float(np.median(spacings.sigma_pm)),
                "scale": spacings.scale,
            }
            for name, spacings in found.items()
        ],
        columns=["class", "n", "mean_pm", "std_pm", "sigma_pm", "scale"],
    )


def _check(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    fits: Sequence[ImageColumns],
    scale: str,
) -> None:
    if scale not in SCALES:
        raise DefectStrainError(
            f"single-image spacings: got the scale {scale!r}, expected one of {', '.join(SCALES)}"
        )
    if not len(images) == len(sites) == len(fits):
        raise DefectStrainError(
            f"single-image spacings: got {len(images)} images, {len(sites)} lists of columns and "
            f"{len(fits)} fits, expected one of each for every image"
        )
    for image, columns, fit in zip(images, sites, fits, strict=True):
        if len(columns) != len(fit):
            raise DefectStrainError(
                f"{image.name}: got {len(columns)} columns and a fit of {len(fit)}, expected the "
                "fit of these columns"
            )
        if scale == "pixel_size" and image.pixel_size_pm is None:
            raise DefectStrainError(
                f"{image.name}: got no pixel size, expected one for spacings by pixel size; give "
                "it, or take the scale from the lattice"
            )


def _of_patch(
    patch: Patch,
    image: CalibratedImage,
    sites: Sites,
    fit: ImageColumns,
    scale: str,
    shells: int,
) -> tuple[StrArray, SingleSpacings]:
    """Class of each measured column of a domain by its name, and its spacings."""
    lattice = patch.lattice
    place = lattice.to_pm(np.asarray(sites.position_px, dtype=float))
    metal = np.flatnonzero(patch.member & sites.is_metal & fit.measured)
    chosen = patch.member & sites.is_chalcogen
    if shells > 0:
        role = np.where(patch.member, sites.role, OTHER)
        chosen &= isolated(sites.position_px, role, lattice, image.data.shape, shells)
    centre = np.flatnonzero(chosen)
    angle = np.deg2rad([90.0, 210.0, 330.0])
    ideal = lattice.a_pm / np.sqrt(3.0) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    if len(metal) < 3 or len(centre) == 0:
        corner = np.zeros((0, 3), dtype=int)
        centre = centre[:0]
    else:
        distance, index = cKDTree(place[metal]).query(place[centre, None] + ideal)
        whole = (distance < NEAR * lattice.a_pm).all(axis=1)
        corner, centre = metal[index[whole]], centre[whole]
    spacing, sigma = _spacings(fit, corner, _to_pm(patch, image, scale))
    n = len(centre)
    return np.array(sites.class_names)[sites.class_index[centre]], SingleSpacings(
        "", spacing, sigma, np.full(n, patch.image_index), centre, scale
    )


def _to_pm(patch: Patch, image: CalibratedImage, scale: str) -> FloatArray:
    """Matrix from a distance (y, x) [px] to (x, y) [pm]."""
    if scale == "lattice":
        return np.asarray(np.linalg.inv(patch.lattice.matrix))
    assert image.pixel_size_pm is not None
    return np.asarray(np.array([[0.0, 1.0], [-1.0, 0.0]]) * image.pixel_size_pm)


def _spacings(
    fit: ImageColumns, corner: IntArray, matrix: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Distances between corners `(n, 3)` of triangles, and their standard errors [pm]."""
    position = fit.position_px[corner] @ matrix.T  # (n, 3, 2)
    covariance = matrix @ fit.covariance_px2[corner] @ matrix.T  # (n, 3, 2, 2)
    side = np.roll(position, -1, axis=1) - position
    length = np.linalg.norm(side, axis=-1)
    along = side / np.maximum(length, 1e-300)[..., None]
    both = covariance + np.roll(covariance, -1, axis=1)
    variance = np.einsum("nci,ncij,ncj->nc", along, both, along)
    return length, np.sqrt(variance)
