"""Tile by tile: what a network sees of an image of any size, in bounded memory.

Each tile has a core, whose columns it answers for, and a rim as wide as the network sees and the
search for columns reaches, so that the tiles give what the whole image gives. Of every tile only
the list of its columns is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...progress import subprogress
from ...types import DefectStrainError, FloatArray, Progress, no_progress
from .locate import SEAM_PX, Columns, find_columns, merge_columns

if TYPE_CHECKING:
    from .model import Model

MIN_TILE_PX = 256
"""Smallest tile: of a smaller one next to nothing would be core."""
_OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "out of memory", "bad_alloc")
"""How torch says it: the allocators of a CPU, of GPUs, and of the libraries below."""

Span = tuple[int, int]
Core = tuple[Span, Span]
"""Rows and columns, each from (inclusive) and to (exclusive)."""


def columns_by_tiles(
    model: Model,
    prepared: FloatArray,
    tile_px: int,
    symmetries: int,
    min_probability: float,
    progress: Progress = no_progress,
) -> tuple[Columns, int]:
    """Columns of a prepared image.

    Parameters
    ----------
    model : Model
    prepared : array, `(h, w)`
        What `prepare.normalise` makes.
    tile_px : int
        Side of the tiles, rim included; halved where the memory doesn't suffice.
    symmetries : int
        Orientations averaged over; see `orientation_mean`.
    min_probability : float
        See `locate.find_columns`.
    progress : Progress

    Returns
    -------
    columns : Columns
    tile_px : int
        Side of the tiles that fitted into memory.

    Raises
    ------
    DefectStrainError
        If not even tiles of `MIN_TILE_PX` fit.
    """
    stride = model.stride
    rim = -(-(receptive_radius(stride) + SEAM_PX) // stride) * stride
    h, w = prepared.shape
    padded = (h + -h % stride, w + -w % stride)
    todo = list(split(((0, padded[0]), (0, padded[1])), padded, tile_px, rim, stride))
    area, done = padded[0] * padded[1], 0
    parts = []
    while todo:
        core = todo[0]
        share = (core[0][1] - core[0][0]) * (core[1][1] - core[1][0]) / area

        part = subprogress(progress, done, done + share)
        try:
            parts.append(
                _tile_columns(model, prepared, core, rim, symmetries, min_probability, part)
            )
        except (MemoryError, RuntimeError) as error:
            tile_px = _smaller(tile_px, max(padded), error)
            todo = [c for big in todo for c in split(big, padded, tile_px, rim, stride)]
            continue
        todo.pop(0)
        done += share
    return merge_columns(parts), tile_px


def _smaller(tile_px: int, side: int, error: MemoryError | RuntimeError) -> int:
    """Half the side of the tiles; raises what isn't a lack of memory, or can't be helped."""
    if not isinstance(error, MemoryError) and not any(t in str(error) for t in _OUT_OF_MEMORY):
        raise error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    tile_px = min(tile_px, side)
    if tile_px <= MIN_TILE_PX:
        raise DefectStrainError(
            f"out of memory: got too little for a tile of {tile_px} x {tile_px} px, expected room "
            "for that; close other programs, or choose another device"
        ) from error
    return max(MIN_TILE_PX, tile_px // 32 * 16)


def split(core: Core, shape: tuple[int, int], tile_px: int, rim: int, step: int) -> Iterator[Core]:
    """Parts of a core whose tiles, rims included, have sides of at most `tile_px`.

    Parameters
    ----------
    core : Core
    shape : tuple of int
        Of the whole image: there is no rim beyond it.
    tile_px, rim : int
    step : int
        Cores begin and end at multiples of it, where the network pools whole cells.
    """
    for rows in _split_span(core[0], shape[0], tile_px, rim, step):
        for columns in _split_span(core[1], shape[1], tile_px, rim, step):
            yield rows, columns


def _split_span(span: Span, side: int, tile_px: int, rim: int, step: int) -> Iterator[Span]:
    begin, stop = span
    while begin < stop:
        last_seen = with_rim((begin, begin), side, rim)[0] + tile_px
        if with_rim((begin, stop), side, rim)[1] <= last_seen:
            end = stop
        else:
            end = max(begin + step, (last_seen - rim) // step * step)
        yield begin, end
        begin = end


def with_rim(span: Span, side: int, rim: int) -> Span:
    """The span with its rim, as far as the image goes."""
    return max(0, span[0] - rim), min(side, span[1] + rim)


def receptive_radius(stride: int) -> int:
    """How far the labels of a `ResUNet` with that stride look beyond their pixel [px].

    Two 3 x 3 convolutions a block, on the way down and on the way up; the cells of the pooling
    add where they lie unluckily.

    >>> receptive_radius(1)
    2
    """
    reach = 0
    for place in range(stride):
        low = high = place
        steps = stride.bit_length() - 1
        for _ in range(steps):  # up: what the pixel asks of the finer level, then of the coarser
            low, high = (low - 2) // 2, (high + 2) // 2
        low, high = low - 2, high + 2
        for _ in range(steps):  # down: the pixels that those cells were pooled from
            low, high = 2 * low - 2, 2 * high + 1 + 2
        reach = max(reach, place - low, high - place)
    return reach


def _tile_columns(
    model: Model,
    prepared: FloatArray,
    core: Core,
    rim: int,
    symmetries: int,
    min_probability: float,
    progress: Progress,
) -> Columns:
    """Columns whose pixel lies in the core."""
    h, w = prepared.shape
    stride = model.stride
    rows = with_rim(core[0], h + -h % stride, rim)
    columns = with_rim(core[1], w + -w % stride, rim)
    tile = prepared[rows[0] : rows[1], columns[0] : columns[1]]
    lack = (rows[1] - rows[0] - tile.shape[0], columns[1] - columns[0] - tile.shape[1])
    whole_cells = np.pad(tile, [(0, lack[0]), (0, lack[1])], mode="symmetric")
    maps = orientation_mean(model.label_maps, whole_cells, symmetries, progress)
    found = find_columns(maps[:, : tile.shape[0], : tile.shape[1]], min_probability)
    found = found.moved((rows[0], columns[0]))
    (top, bottom), (left, right) = core
    y, x = found.pixel.T
    return found[(y >= top) & (y < bottom) & (x >= left) & (x < right)]


def orientation_mean(
    label_maps: Callable[[FloatArray], FloatArray],
    tile: FloatArray,
    symmetries: int,
    progress: Progress = no_progress,
) -> FloatArray:
    """Mean of the maps `(labels, h, w)` of a tile seen in several orientations.

    One: as it is; two: upside down too; four: turned by quarters; eight: their mirror images too.
    """
    mean: FloatArray | None = None
    for step in range(symmetries):
        progress(step / symmetries, "looking at the image")
        k = 2 * step if symmetries == 2 else step
        seen = np.rot90(tile[:, ::-1] if k >= 4 else tile, k % 4)
        back = np.rot90(label_maps(np.ascontiguousarray(seen)), -(k % 4), axes=(1, 2))
        back = back[:, :, ::-1] if k >= 4 else back
        if mean is None:
            mean = np.array(back)
        else:
            mean += back
    assert mean is not None
    mean /= np.float32(symmetries)
    return mean
