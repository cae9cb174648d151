"""What a file must hold to count as an ADF-STEM image: the decoded array and its checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..types import CalibratedImage, DefectStrainError, FloatArray

MAX_SIDE_PX = 16384
"""Largest side of an image; a float32 copy of a larger one would take more than 1 GiB."""

MAX_BYTES = 2**34
"""Largest stack of images [bytes], whatever the file's size; a longer series is read in parts."""

DEFLATE_EXPANSION = 1100
"""Bytes that a byte of a file compressed by deflate can become: 1032, and room for padding."""

MIN_SIDE_PX = 32
"""Smallest side of an image; less than a few unit cells hold no lattice to index."""


class DamagedFile(ValueError):
    """A file is not what its suffix says, or its parts contradict one another."""


@dataclass(frozen=True)
class Dataset:
    """One image, or one stack of images, as a file holds it.

    Parameters
    ----------
    data : array, `(H, W)` or `(T, H, W)`
        Pixels in the file's own type.
    title : str
        Name that the file gives it; may be empty.
    scale : tuple of float
        Side of a pixel, (y, x), in `unit`; 1 where the file says nothing.
    unit : str
        Unit of `scale` as written in the file; empty where there is none.
    metadata : dict
        ``beam_energy_kev``, ``dwell_time_us`` where known; for our own files all they carry.
    """

    data: npt.NDArray[Any]
    title: str = ""
    scale: tuple[float, float] = (1.0, 1.0)
    unit: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


def check_array(shape: Sequence[int], dtype: np.dtype[Any], name: str) -> None:
    """Refuse what can't be an image or a stack of grey images; needs no pixels loaded.

    Raises
    ------
    DefectStrainError
        On complex values, colours, other things than numbers, other than two or three
        dimensions, or more than `MAX_SIDE_PX` pixels a side.
    """
    if dtype.fields is not None:
        raise DefectStrainError(f"{name}: got a colour image (RGB), expected grey values")
    if dtype.kind == "c":
        raise DefectStrainError(
            f"{name}: got complex values (a Fourier transform?), expected real intensities"
        )
    if dtype.kind not in "biuf":
        raise DefectStrainError(f"{name}: got values of type {dtype}, expected numbers")
    if len(shape) not in (2, 3) or 0 in shape:
        raise DefectStrainError(
            f"{name}: got an array of shape {tuple(shape)}, expected an image (H, W) or a stack "
            "of images (T, H, W)"
        )
    if max(shape[-2:]) > MAX_SIDE_PX:
        raise DefectStrainError(
            f"{name}: got an image of {shape[-1]} x {shape[-2]} px, expected at most "
            f"{MAX_SIDE_PX} x {MAX_SIDE_PX}; crop it"
        )


def check_size(
    shape: Sequence[int],
    dtype: np.dtype[Any],
    stored_bytes: int,
    name: str,
    expansion: float = 1.0,
) -> None:
    """Refuse what a file can't hold, before any of it is allocated.

    Parameters
    ----------
    shape, dtype
        What the file says it holds.
    stored_bytes : int
        Bytes that it has for it.
    name : str
        Name of the file.
    expansion : float
        Most bytes that one of them can become where it is compressed.

    Raises
    ------
    DamagedFile
        If the bytes can't become that many.
    DefectStrainError
        If it is more than `MAX_BYTES`.
    """
    size = math.prod(shape) * dtype.itemsize
    if size > stored_bytes * expansion:
        raise DamagedFile(
            f"{' x '.join(str(n) for n in shape)} values of {dtype} in {max(stored_bytes, 0)} bytes"
        )
    if size > MAX_BYTES:
        raise DefectStrainError(
            f"{name}: got {size / 2**30:.0f} GiB of pixels, expected at most "
            f"{MAX_BYTES / 2**30:.0f} GiB; split the series"
        )


def validate_image(image: CalibratedImage) -> None:
    """Refuse an image in which no column could be found, whatever the method.

    Raises
    ------
    DefectStrainError
        On complex values, sides below `MIN_SIDE_PX` or above `MAX_SIDE_PX`, NaN or infinite
        pixels, or the same value everywhere.
    """
    data, name = image.data, image.name
    check_array(data.shape, data.dtype, name)
    if min(data.shape) < MIN_SIDE_PX:
        raise DefectStrainError(
            f"{name}: got an image of {data.shape[1]} x {data.shape[0]} px, expected at least "
            f"{MIN_SIDE_PX} x {MIN_SIDE_PX}"
        )
    # min and max propagate NaN: two passes without a copy the size of the image.
    low, high = float(data.min()), float(data.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(np.count_nonzero(~np.isfinite(data)))
        raise DefectStrainError(
            f"{name}: got {bad} pixels that are NaN or infinite, expected finite intensities; "
            "crop or fill them"
        )
    if low == high:
        raise DefectStrainError(
            f"{name}: got the value {low:g} in every pixel, expected an image with contrast"
        )


def grey_values(colour: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """Grey values `(..., H, W)` of a picture `(..., H, W, S)` whose colour channels are equal.

    Raises
    ------
    DefectStrainError
        If the channels differ: a coloured picture holds no intensities.
    """
    samples = colour.shape[-1]
    channels = colour[..., : samples - 1 if samples in (2, 4) else samples]  # without alpha
    if not (channels == channels[..., :1]).all():
        raise DefectStrainError(
            f"{name}: got a colour image (RGB), expected grey values; a coloured picture holds "
            "no intensities: export the data themselves"
        )
    return np.ascontiguousarray(channels[..., 0])


def block_means(data: FloatArray, largest_px: int) -> tuple[FloatArray, int]:
    """Means of square blocks, float32, no more than `largest_px` a side, and the blocks' side [px].

    An image that is small enough is returned as it is. Rows and columns that fill no block are left
    out.
    """
    side = -(-max(data.shape) // largest_px)
    if side == 1:
        return data, 1
    rows, columns = (n // side * side for n in data.shape)
    total = np.zeros((rows // side, columns // side), dtype=np.float32)
    for i in range(side):
        for j in range(side):
            total += data[i:rows:side, j:columns:side]
    return total / side**2, side


def drop_leading_ones(data: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array without leading axes of length 1, down to two dimensions."""
    while data.ndim > 2 and data.shape[0] == 1:
        data = data[0]
    return data
