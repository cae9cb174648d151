"""Small windows around any column, turned into the lattice frame: to look at, not to measure.

They are cut by averages over linearly interpolated places, which takes a hundredth of the time of
`windows`: what is averaged and fitted never comes from here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from ..crystal.lattice import fit_lattice
from ..crystal.regions import MAX_DOMAINS, Regions
from ..types import (
    CalibratedImage,
    DefectStrainError,
    FloatArray,
    ImageLattice,
    IntArray,
    Sites,
)
from .windows import WindowFrame

STEP_PM, SIDE_NM = 50.0, 1.65
"""Side of a pixel and of a thumbnail."""
MOST_COLUMNS = 3000
"""Columns that tell the orientation of a domain: more would take time, and tell the same."""
MOST_METALS = 500
_OVER, _SPACING = 3, 1.5  # places a side averaged into one pixel, at most; their distance [px]
_SAMPLES = 1 << 20  # interpolated at a time


@dataclass(frozen=True)
class ThumbnailSource:
    """An image that thumbnails are cut from.

    Parameters
    ----------
    data : array, `(H, W)`
    lattices : tuple of ImageLattice
        Of its domains, the largest first; one by the calibration alone where there is none.
    regions : Regions or None
    labels : tuple of int
        Of the domains in `regions`.
    height : float
        Of the metal columns above the hexagon centres, in units of the image.
    """

    data: FloatArray
    lattices: tuple[ImageLattice, ...]
    regions: Regions | None
    labels: tuple[int, ...]
    height: float

    @property
    def lattice(self) -> ImageLattice:
        """Of the largest domain."""
        return self.lattices[0]

    def domain_at(self, position_px: FloatArray) -> IntArray:
        """Which of the lattices holds at each place, `(N,)`: between domains, the largest's."""
        result = np.zeros(len(position_px), dtype=int)
        if self.regions is not None and len(position_px):
            label = self.regions.label_at(position_px)
            for k, own in enumerate(self.labels):
                result[label == own] = k
        return result

    def cut(self, position_px: FloatArray) -> FloatArray:
        """Thumbnails around places, `(N, P, P)` float32: background 0, metal columns 1.

        Parameters
        ----------
        position_px : array, `(N, 2)`
            (y, x) [px]. What lies beyond the border of the image is NaN.
        """
        frame = thumbnail_frame(self.lattice.a_pm)
        result = np.empty((len(position_px), *frame.shape), dtype=np.float32)
        domain = self.domain_at(position_px)
        for k, lattice in enumerate(self.lattices):
            mine = np.flatnonzero(domain == k)
            grid = _places(frame, lattice)  # (p * p, over^2, 2) px
            chunk = max(1, _SAMPLES // grid[..., 0].size)
            for start in range(0, len(mine), chunk):
                part = mine[start : start + chunk]
                place = position_px[part, None, None] + grid
                value = map_coordinates(
                    self.data,
                    np.moveaxis(place, -1, 0),
                    order=1,
                    mode="constant",
                    cval=np.nan,
                    output=np.float32,
                )
                result[part] = value.mean(axis=2).reshape(-1, *frame.shape)
        floor = result[:, frame.hexagon_centres]
        known = np.isfinite(floor)
        total = np.where(known, floor, 0.0).sum(axis=1, dtype=float)
        result -= (total / np.maximum(known.sum(axis=1), 1))[:, None, None]
        result /= self.height
        return result


def thumbnail_frame(a_pm: float) -> WindowFrame:
    """The grid of thumbnails."""
    return WindowFrame(a_pm, STEP_PM, SIDE_NM)


def thumbnail_source(
    image: CalibratedImage, sites: Sites, a_pm: float, regions: Regions | None = None
) -> ThumbnailSource:
    """Prepare an image; whatever it shows, thumbnails can be cut from it.

    Parameters
    ----------
    image : CalibratedImage
    sites : Sites
    a_pm : float
        Lattice constant of the lattice frame [pm].
    regions : Regions, optional
        Each of its domains has an orientation of its own.
    """
    lattices, labels = [], []
    if regions is not None and len(sites):
        label = regions.label_at(sites.position_px)
        count = np.bincount(label, minlength=MAX_DOMAINS + 1)[: MAX_DOMAINS + 1]
        for own in np.argsort(-count[1:], kind="stable") + 1:
            lattice = _orientation(sites.subset(label == own), image.pixel_size_pm, a_pm)
            if count[own] and lattice is not None:
                lattices.append(lattice)
                labels.append(int(own))
            if not count[own]:
                break
    else:
        lattice = _orientation(sites, image.pixel_size_pm, a_pm)
        lattices += [] if lattice is None else [lattice]
    if not lattices:
        lattices, labels = [_upright(image, sites, a_pm)], []
    height = _height(image.data, sites, lattices[0])
    return ThumbnailSource(image.data, tuple(lattices), regions, tuple(labels), height)


def _places(frame: WindowFrame, lattice: ImageLattice) -> FloatArray:
    """Where a thumbnail's pixels are sampled, as seen from its middle `(p * p, over^2, 2)` [px]."""
    pixel_px = frame.step_pm * float(np.sqrt(abs(np.linalg.det(lattice.matrix))))
    over = int(np.clip(np.ceil(pixel_px / _SPACING), 1, _OVER))
    part = ((np.arange(over) + 0.5) / over - 0.5) * frame.step_pm
    sub = np.stack(np.meshgrid(part, part, indexing="ij"), axis=-1).reshape(-1, 2)
    at = frame.position_pm.reshape(-1, 1, 2) + sub
    return np.asarray(at @ lattice.matrix.T)


def _orientation(sites: Sites, pixel_size_pm: float | None, a_pm: float) -> ImageLattice | None:
    """The lattice by the columns in the middle; None where they form none."""
    if len(sites) > MOST_COLUMNS:
        middle = np.median(sites.position_px, axis=0)
        _, near = cKDTree(sites.position_px).query(middle, k=MOST_COLUMNS)
        chosen = np.zeros(len(sites), dtype=bool)
        chosen[near] = True
        sites = sites.subset(chosen)
    try:
        return fit_lattice(
            sites.position_px, sites.is_metal, a_pm, pixel_size_pm, sites.is_chalcogen
        )
    except DefectStrainError:
        return None


def _upright(image: CalibratedImage, sites: Sites, a_pm: float) -> ImageLattice:
    """The image as it lies, by its pixel size, else by the distance of its columns."""
    size = image.pixel_size_pm
    if size is None and len(sites) > 1:
        distance, _ = cKDTree(sites.position_px).query(sites.position_px, k=2)
        size = a_pm / np.sqrt(3.0) / max(float(np.median(distance[:, 1])), 1e-6)
    scale = 1.0 / (size or 20.0)
    matrix = np.array([[0.0, -scale], [scale, 0.0]])
    return ImageLattice(np.zeros(2), matrix, a_pm, None, float("nan"))


def _height(data: FloatArray, sites: Sites, lattice: ImageLattice) -> float:
    """Of the metal columns above the hexagon centres around them; else half of the grey values."""
    metal = sites.position_px[sites.is_metal]
    metal = metal[:: max(1, len(metal) // MOST_METALS)]
    angle = np.deg2rad([90.0, 210.0, 330.0])  # hexagon centres as seen from a metal
    step = lattice.a_pm / np.sqrt(3) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    place = np.concatenate([metal[:, None], metal[:, None] + step @ lattice.matrix.T], axis=1)
    value = map_coordinates(
        data, np.moveaxis(place, -1, 0), order=1, mode="constant", cval=np.nan, output=float
    )
    above = value[:, 0] - value[:, 1:].mean(axis=1)
    above = above[np.isfinite(above)]
    height = float(np.median(above)) if len(above) else 0.0
    if height > 0:
        return height
    low, high = np.nanpercentile(data[::8, ::8], (1, 99))
    return float(max(high - low, 1e-12))
