"""Where the fits of all columns of an image start: pixels, columns to fit, width and weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from ...types import BoolArray, DefectStrainError, FloatArray
from .fit import Pixels
from .types import ImageColumnConfig

WIDTH_OF_HALF = 1.1774  # half width at half maximum of a Gaussian, in sigma
DUPLICATE_SIGMA = 0.5
PROBES = 500
MAX_PROBE_PX = 30
LEAST_SIDE_SIGMA = 6.0


def pixels_of(array: npt.ArrayLike, config: ImageColumnConfig) -> Pixels:
    """The pixels of an image, those that aren't finite left out.

    Raises
    ------
    DefectStrainError
        If it is no 2D image of real numbers, or holds no finite pixel.
    """
    data = np.asarray(array)
    if data.ndim != 2 or data.dtype.kind not in "uifb":
        raise DefectStrainError(
            f"image columns: got an array of shape {data.shape} and type {data.dtype}, expected "
            "one 2D image of real numbers"
        )
    dtype = np.float64 if config.double_precision else np.float32
    value = data.astype(dtype)
    finite = np.isfinite(value)
    if not finite.any():
        raise DefectStrainError("image columns: got an image without a finite pixel")
    if not finite.all():
        value = np.where(finite, value, dtype(0.0))
    return Pixels(np.asarray(value, dtype=dtype), finite.astype(dtype))


def checked_positions(position_px: npt.ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """A copy of the positions, `(N, 2)`.

    Raises
    ------
    DefectStrainError
        If their shape is another, or none lies in the image.
    """
    position = np.array(position_px, dtype=float)
    if position.ndim != 2 or position.shape[1] != 2:
        raise DefectStrainError(
            f"image columns: got positions of shape {position.shape}, expected (N, 2): y and x of "
            "each column in pixels"
        )
    inside = inside_image(position, shape)
    if not inside.any():
        raise DefectStrainError(
            f"image columns: none of {len(position)} positions lies in the image of "
            f"{shape[0]} x {shape[1]} px; detect columns first, or check their unit (px, y and x)"
        )
    return position


def inside_image(position: FloatArray, shape: tuple[int, ...]) -> BoolArray:
    """Which places (y, x) [px] lie on a pixel, `(N,)`; False for NaN."""
    last = np.array(shape) - 0.5
    return np.asarray(((position >= -0.5) & (position < last)).all(axis=1))


def usable_columns(start: FloatArray, pixels: Pixels, sigma: float) -> tuple[BoolArray, BoolArray]:
    """Columns to fit, in the image and on pixels that count; and those at the place of another.

    Of several columns closer than half a sigma the first is to be fitted.

    Raises
    ------
    DefectStrainError
        If there is none to fit.
    """
    duplicate = np.zeros(len(start), dtype=bool)
    usable = inside_image(start, pixels.data.shape)
    index = np.flatnonzero(usable)
    row, column = np.rint(start[index]).astype(int).T
    usable[index] = pixels.good[row, column] > 0
    index = np.flatnonzero(usable)
    if len(index) == 0:
        raise DefectStrainError("image columns: every position lies on a pixel that is not finite")
    pairs = cKDTree(start[index]).query_pairs(DUPLICATE_SIGMA * sigma, output_type="ndarray")
    for one, two in pairs[np.lexsort(pairs.T[::-1])]:
        if not duplicate[index[one]]:
            duplicate[index[two]] = True
    return usable & ~duplicate, duplicate


def starting_width(
    pixels: Pixels, start: FloatArray, config: ImageColumnConfig
) -> tuple[float, float]:
    """Sigma of the columns by the mean of what is around them, and their typical distance [px]."""
    shape = pixels.data.shape
    inside = start[inside_image(start, shape)]
    spacing = float(min(shape))
    if len(inside) > 1:
        nearest = cKDTree(inside).query(inside, k=2)[0][:, 1]
        spacing = max(float(np.median(nearest)), 2.0)
    sigma = config.sigma_px
    if sigma is None:
        sigma = _half_width(pixels, inside, spacing) / WIDTH_OF_HALF
    if min(shape) < LEAST_SIDE_SIGMA * sigma:
        raise DefectStrainError(
            f"image columns: got an image of {shape[0]} x {shape[1]} px and columns of sigma "
            f"{sigma:.1f} px, expected at least {LEAST_SIDE_SIGMA * sigma:.0f} px a side; use a "
            "larger image"
        )
    return sigma, max(spacing, 3.0 * sigma)


def _half_width(pixels: Pixels, position: FloatArray, spacing: float) -> float:
    half = int(np.clip(0.75 * spacing, 2, MAX_PROBE_PX))
    centre = np.rint(position[:: max(1, len(position) // PROBES)]).astype(int)
    offset = np.arange(-half, half + 1)
    data, good = np.pad(pixels.data, half), np.pad(pixels.good, half)
    row = (centre[:, :1] + half + offset)[:, :, None]
    column = (centre[:, 1:] + half + offset)[:, None, :]
    count = good[row, column].sum(axis=0)
    mean = data[row, column].sum(axis=0, dtype=float) / np.maximum(count, 1.0)
    radius = np.hypot(offset[:, None], offset)
    ring = np.rint(radius).astype(int).ravel()
    by_ring = np.bincount(ring, (mean * (count > 0)).ravel()) / np.maximum(
        np.bincount(ring, (count > 0).ravel()), 1
    )
    by_ring = by_ring[: half + 1]
    low = int(np.argmin(by_ring))
    if low == 0 or not by_ring[0] > by_ring[low]:
        raise DefectStrainError(
            "image columns: the columns are not brighter than what is between them, expected an "
            "annular dark-field image with its columns detected; check contrast and positions"
        )
    middle = 0.5 * (by_ring[0] + by_ring[low])
    return float(np.interp(-middle, -by_ring[: low + 1], np.arange(low + 1)))


def starting_weights(pixels: Pixels, start: FloatArray, sigma: float, level: float) -> FloatArray:
    """Weights by the height of the 3 x 3 pixels around the start."""
    offset = np.arange(-1, 2)
    last = np.array(pixels.data.shape) - 1
    row, column = (
        np.clip(np.rint(p)[:, None] + offset, 0, n).astype(int)
        for p, n in zip(start.T, last, strict=True)
    )
    height = (
        pixels.data[row[:, :, None], column[:, None, :]].mean(axis=(1, 2)).astype(float) - level
    )
    return np.asarray(2.0 * np.pi * sigma**2 * np.maximum(height, 0.0))
