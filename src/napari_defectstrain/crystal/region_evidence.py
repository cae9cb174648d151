"""What columns and image say of every place: the evidence that regions are told by.

Everything lies on a coarse grid of a quarter lattice constant, averaged over some unit cells, so
that no single vacancy, adatom or cluster of them makes a region of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from ..types import METAL, BoolArray, FloatArray, IntArray, Progress, Sites, no_progress
from .regions import LabelArray, RegionConfig

ComplexArray = npt.NDArray[np.complexfloating[Any, Any]]

CELLS = 4
"""Grid cells a lattice constant."""
UNIT_CELL = CELLS**2 * float(np.sqrt(3)) / 2
"""Area of the crystal's unit cell in grid cells."""
MIN_ORDER = 0.6
"""Least order of a place well inside of a domain."""

# Lengths in lattice constants
_REACH = 0.75  # beyond it no column of a crystal with single vacancies is missing
_OVERHANG = 0.17  # how far a crystal reaches beyond its outermost columns, by its columns' area
_ORDER_SIGMA = 1.0
_CONTRAST_SIGMA = 1.5
_ANGLE_SIGMA = 1.5
_LEVEL_SIGMA = 0.5
_SPOT = 0.1
_RING = 0.7  # the sites around a metal lie 0.58 a from it

_LOW_CONTRAST = 0.4  # of the image's own 2H contrast: surely not 2H, even in noise
_HALF_CONTRAST = 0.6  # about halfway to what other phases show: beside them, no longer 2H
_MAX_OTHER = 0.5
_CLEAN_PERCENTILE = 20.0


@dataclass(frozen=True)
class Grid:
    """Coarse cells over an image."""

    image_shape: tuple[int, int]
    shape: tuple[int, int]

    @classmethod
    def over(cls, image_shape: tuple[int, int], a_px: float) -> Grid:
        """A grid of a quarter lattice constant."""
        h, w = (max(1, round(n * CELLS / a_px)) for n in image_shape)
        return cls(image_shape, (h, w))

    def cell_of(self, position_px: FloatArray) -> tuple[IntArray, IntArray]:
        """Row and column of the cell that each position lies in."""
        scale = np.array(self.shape) / np.array(self.image_shape)
        cell = np.floor((np.asarray(position_px) + 0.5) * scale).astype(int)
        row, column = np.clip(cell, 0, np.array(self.shape) - 1).T
        return row, column

    def sums(self, position_px: FloatArray, value: FloatArray) -> FloatArray:
        """Sum of values in each cell."""
        row, column = self.cell_of(position_px)
        flat = np.bincount(row * self.shape[1] + column, value, self.shape[0] * self.shape[1])
        return np.asarray(flat.reshape(self.shape), dtype=np.float32)

    def means(self, data: FloatArray) -> FloatArray:
        """Mean of the image's pixels in each cell."""
        edges = [
            np.ceil(np.arange(n) * side / n - 0.5).astype(int).clip(0, side - 1)
            for n, side in zip(self.shape, self.image_shape, strict=True)
        ]
        rows = np.add.reduceat(data, edges[0], axis=0, dtype=np.float32)
        total = np.add.reduceat(rows, edges[1], axis=1)
        counts = [
            np.diff(np.append(e, side)) for e, side in zip(edges, self.image_shape, strict=True)
        ]
        return np.asarray(total / np.outer(*counts), dtype=np.float32)

    def spread(self, labels: LabelArray) -> LabelArray:
        """Labels of the cells for every pixel of the image."""
        index = [
            np.minimum(((np.arange(side) + 0.5) * n / side).astype(int), n - 1)
            for n, side in zip(self.shape, self.image_shape, strict=True)
        ]
        return np.asarray(labels[np.ix_(*index)])


@dataclass(frozen=True)
class Evidence:
    """What the columns and the image say of every cell.

    Parameters
    ----------
    covered : array of bool, `(h, w)`
        Near enough to columns.
    order : array, complex, `(h, w)`
        Mean of the columns' turns: modulus 1 in 2H, phase three times the angle.
    angle : array, `(h, w)`
        The same averaged more widely, of modulus 1.
    is_2h : array of bool, `(h, w)`
        By contrast, and by the share of columns that are other.
    dirt : array, `(h, w)`
        Level above the clean background, in heights of a metal column.
    dark : array of bool, `(h, w)`
        Darker than the crystal.
    """

    covered: BoolArray
    order: ComplexArray
    angle: ComplexArray
    is_2h: BoolArray
    dirt: FloatArray
    dark: BoolArray

    @classmethod
    def of(
        cls,
        data: FloatArray,
        sites: Sites,
        turn: ComplexArray,
        grid: Grid,
        a_px: float,
        config: RegionConfig,
        progress: Progress = no_progress,
    ) -> Evidence:
        """Gather it; `turn` is `regions.lattice_turn` of the columns."""
        progress(0.0, "looking at the order of the columns")
        position = np.asarray(sites.position_px, dtype=float)
        every = grid.sums(position, np.ones(len(position)))
        waves = grid.sums(position, turn.real), grid.sums(position, turn.imag)
        order = _complex([mean_near(wave, every, _ORDER_SIGMA) for wave in waves])
        wide = _complex([smooth(wave, _ANGLE_SIGMA) for wave in waves])
        angle = wide / np.maximum(np.abs(wide), 1e-12)
        progress(0.2, "looking at the order of the columns")
        strange = sites.is_other.astype(float)
        few_other = mean_near(grid.sums(position, strange), every, _ORDER_SIGMA) < _MAX_OTHER
        metal = _with_ring_inside(position[sites.class_index == METAL], data.shape, a_px)
        at = grid.cell_of(metal)
        progress(0.35, "looking at the contrast")
        peak, host, gap = _levels(data, metal, angle[at], a_px)
        contrast = _contrast(grid, metal, peak - gap, host - gap)
        is_2h = few_other & ~_flat(contrast / float(np.percentile(contrast[at], 80)))
        progress(0.55, "looking for contamination")
        ordered = is_2h[at] & (np.abs(order[at]) > MIN_ORDER)
        ordered = ordered if ordered.any() else np.ones(len(metal), dtype=bool)
        metals = grid.sums(metal, np.ones(len(metal)))
        floor = mean_near(grid.sums(metal, gap), metals, _ORDER_SIGMA)
        mean = smooth(grid.means(data), _LEVEL_SIGMA, "nearest")
        progress(0.75, "looking for contamination")
        clean = float(np.percentile(floor[at][ordered], _CLEAN_PERCENTILE))
        crystal = float(np.percentile(mean[at][ordered], _CLEAN_PERCENTILE))
        # halfway between the gaps of the lattice, which vacuum doesn't exceed, and its mean
        dark = np.asarray(mean < 0.5 * (clean + crystal))
        covered = _covered(every)
        # gaps between columns say nothing where there are none, or where chalcogen fills them
        gaps = (smooth(metals, _ORDER_SIGMA) > 0.3 / UNIT_CELL) & is_2h & covered
        level = np.where(gaps, floor - clean, smooth(mean, _ORDER_SIGMA, "nearest") - crystal)
        height = float(np.median((_at(data, metal) - gap)[ordered]))
        dirt = np.asarray(level / max(height, _almost_nothing(level)))
        # at the image's rim columns go missing: what looks like crystal belongs to it as far again
        plain = ~dark & (dirt <= config.contamination)
        if not covered.all():
            covered |= plain & (distance_transform_edt(~covered) <= _REACH * CELLS)
        return cls(covered, order, angle, np.asarray(is_2h), dirt, dark)


def _complex(parts: list[FloatArray]) -> ComplexArray:
    return np.asarray(parts[0] + 1j * parts[1], dtype=np.complex64)


def _flat(contrast: FloatArray) -> BoolArray:
    """Cells without the contrast of 2H: low ones, and around them up to half of the contrast."""
    low = contrast < _LOW_CONTRAST
    if not low.any():
        return np.asarray(low)
    beside = distance_transform_edt(~low) <= CELLS
    return np.asarray(low | (beside & (contrast < _HALF_CONTRAST)))


def _with_ring_inside(metal_px: FloatArray, shape: tuple[int, ...], a_px: float) -> FloatArray:
    """Metals whose neighbouring sites lie in the image, or all where none does."""
    last = np.array(shape) - 1 - _RING * a_px
    inner = ((metal_px > _RING * a_px) & (metal_px < last)).all(axis=1)
    return metal_px[inner] if inner.any() else metal_px


def _contrast(grid: Grid, metal_px: FloatArray, height: FloatArray, step: FloatArray) -> FloatArray:
    """Chalcogen sites over metals, both above hexagon centres, averaged over some cells."""
    whole = smooth(grid.sums(metal_px, height), _CONTRAST_SIGMA)
    part = smooth(grid.sums(metal_px, step), _CONTRAST_SIGMA)
    return np.asarray(part / np.maximum(whole, _almost_nothing(whole)))


def _almost_nothing(value: FloatArray) -> float:
    """Far below all that is there, whatever the unit of the grey values."""
    return max(1e-9 * float(np.abs(value).max(initial=0.0)), float(np.finfo(np.float32).tiny))


def _levels(
    data: FloatArray, metal_px: FloatArray, turn: ComplexArray, a_px: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Brightness at metals, at the three chalcogen sites and the three hexagon centres around."""
    angle = np.angle(turn)[:, None] / 3 + np.deg2rad([30.0, 150.0, 270.0])
    step = a_px / np.sqrt(3) * np.stack([-np.sin(angle), np.cos(angle)], axis=-1)  # (n, 3, 2) y, x
    # mean over 3 x 3 points a tenth of a apart: little noise, still one column
    spot = _SPOT * a_px * np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), axis=-1).reshape(-1, 2)

    def sampled(place: FloatArray) -> FloatArray:
        return _at(data, place[..., None, :] + spot)

    peak = sampled(metal_px).mean(axis=1)
    around = [sampled(metal_px[:, None] + sign * step).mean(axis=(1, 2)) for sign in (1, -1)]
    return peak, around[0], around[1]


def _at(data: FloatArray, place_px: FloatArray) -> FloatArray:
    """The image at places `(..., 2)` (y, x)."""
    where = np.moveaxis(place_px, -1, 0)
    return np.asarray(map_coordinates(data, where, order=1, mode="nearest", output=np.float32))


def smooth(value: FloatArray, sigma: float, mode: str = "constant") -> FloatArray:
    """Gaussian smoothing; `sigma` in lattice constants."""
    return np.asarray(gaussian_filter(value, sigma * CELLS, mode=mode, truncate=3.0))


def mean_near(total: FloatArray, count: FloatArray, sigma: float) -> FloatArray:
    """Mean over a neighbourhood of what columns say."""
    return np.asarray(smooth(total, sigma) / np.maximum(smooth(count, sigma), 1e-6))


def _covered(columns: FloatArray) -> BoolArray:
    """Cells of a crystal: within reach of columns, but no farther out than it overhangs them."""
    near = distance_transform_edt(columns == 0) <= _REACH * CELLS
    if near.all():
        return np.asarray(near)
    return np.asarray(distance_transform_edt(near) > (_REACH - _OVERHANG) * CELLS)
