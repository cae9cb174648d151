"""Areas of an image that hold no data: margins of registered stacks, corners of turned images.

Whatever fills them (zero, a mean) is one number, exactly, over whole rows or large areas at the
image's border. Columns beside such an area are cut by it, as columns at the border are.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import (
    binary_opening,
    binary_propagation,
    distance_transform_edt,
    maximum_filter,
    minimum_filter,
)

from ..types import BoolArray, FloatArray

_RUN_PX = 4  # pixels of one value in a row at the border, without which nothing is looked at


def blank_area(data: FloatArray, a_px: float) -> BoolArray | None:
    """Pixels without data, `(H, W)`; None where there are none.

    Parameters
    ----------
    data : array, `(H, W)`
    a_px : float
        Lattice constant [px]: no unit cell of a crystal is of one grey value. An area that isn't
        a whole row or column of the image holds a square of this side.
    """
    side = max(_RUN_PX, int(np.ceil(a_px)))
    blank = np.zeros(data.shape, dtype=bool)
    for value in _border_values(data):
        same = np.asarray(data == value)
        core = _whole_lines(same)
        core |= minimum_filter(same.astype(np.uint8), side, mode="nearest") > 0
        at_border = core.copy()
        at_border[1:-1, 1:-1] = False
        if at_border.any():
            reached = binary_propagation(at_border, mask=core)
            wider = same & (maximum_filter(reached.astype(np.uint8), side, mode="nearest") > 0)
            blank |= reached | binary_opening(wider, np.ones((3, 3)))  # not by chance
    if not blank.any() or blank.all():
        return None
    return blank


def data_box(data: FloatArray, a_px: float) -> tuple[slice, slice] | None:
    """The rows and columns that hold any data; None where all do.

    Parameters
    ----------
    data : array, `(H, W)`
    a_px : float
        Lattice constant [px].
    """
    blank = blank_area(data, a_px)
    if blank is None:
        return None
    rows, columns = (np.flatnonzero(~blank.all(axis=axis)) for axis in (1, 0))
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    return None if data[box].shape == data.shape else box


def _border_values(data: FloatArray) -> list[float]:
    """Values that runs of pixels at the border share."""
    found: set[float] = set()
    for line in (data[0], data[-1], data[:, 0], data[:, -1]):
        equal = np.flatnonzero(np.diff(np.asarray(line, dtype=float)))
        ends = np.concatenate([[-1], equal, [len(line) - 1]])
        long = np.diff(ends) >= _RUN_PX
        found |= set(np.unique(line[ends[1:][long]]).tolist())
    return sorted(found)


def _whole_lines(same: BoolArray) -> BoolArray:
    """Rows and columns from the border inwards that are of one value."""
    lines = np.zeros(same.shape, dtype=bool)
    for axis in (0, 1):
        whole: BoolArray = np.asarray(same.all(axis=1 - axis))
        view = lines if axis == 0 else lines.T
        view[np.minimum.accumulate(whole)] = True
        view[::-1][np.minimum.accumulate(whole[::-1])] = True
    return lines


def distance_to_data_end(position_px: FloatArray, data: FloatArray, a_px: float) -> FloatArray:
    """How far places lie from where the data end [px]: negative outside, `(N,)`.

    Parameters
    ----------
    position_px : array, `(N, 2)`
        (y, x).
    data : array, `(H, W)`
    a_px : float
        Lattice constant [px].
    """
    place = np.asarray(position_px, dtype=float)
    last = np.array(data.shape) - 1.0
    distance = np.asarray(np.minimum(place, last - place).min(axis=1, initial=np.inf))
    blank = blank_area(data, a_px)
    if blank is None or len(place) == 0:
        return distance
    signed = distance_transform_edt(~blank) - distance_transform_edt(blank)
    row, column = np.clip(np.rint(place), 0, last).astype(int).T
    # the first pixel with data lies 1 px from the last without
    return np.asarray(np.minimum(distance, signed[row, column] - 1.0))
