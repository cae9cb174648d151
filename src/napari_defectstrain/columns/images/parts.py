"""A part of a large image: its columns tell where the fit of all of them may start."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...types import BoolArray, FloatArray
from .fit import Pixels

CELLS = 8  # along the side of a part: how finely it is placed
MUCH_LESS = 0.5  # of the pixels of an image: a larger part is not worth the while


class Part(NamedTuple):
    """A rectangle of pixels, and the columns in it.

    Parameters
    ----------
    first, last : tuple of int
        Row and column of its first pixel, and those after its last.
    member : array of bool, `(N,)`
        Which columns lie in it.
    """

    first: tuple[int, int]
    last: tuple[int, int]
    member: BoolArray

    @classmethod
    def densest(cls, shape: tuple[int, int], position: FloatArray, columns: int) -> Part | None:
        """The rectangle with most columns, about `columns` where they are everywhere.

        Of several with as many, the one nearest to the middle. None where most of the image would
        be in it.

        Parameters
        ----------
        shape : tuple of int
            Of the image.
        position : array, `(N, 2)`
            (y, x) of its columns [px].
        columns : int
        """
        share = columns / max(len(position), 1)
        if share > MUCH_LESS:
            return None
        area = share * shape[0] * shape[1]
        short = min(int(np.sqrt(area)), *shape)
        long = min(int(area / short), max(shape))
        size = (short, long) if shape[0] <= shape[1] else (long, short)
        first = _most(shape, position, size)
        last = (first[0] + size[0], first[1] + size[1])
        member = ((position >= np.array(first) - 0.5) & (position < np.array(last) - 0.5)).all(1)
        return cls(first, last, np.asarray(member))

    def of(self, pixels: Pixels) -> Pixels:
        """Its pixels."""
        inside = tuple(slice(a, b) for a, b in zip(self.first, self.last, strict=True))
        data, good = (np.ascontiguousarray(a[inside]) for a in (pixels.data, pixels.good))
        beyond = zip(self.last, pixels.good.shape, pixels.padded, strict=True)
        rows, columns = (max(end - (size - padded), 0) for end, size, padded in beyond)
        return Pixels(data, good, (rows, columns))

    def inwards(self, position: FloatArray) -> FloatArray:
        """Places (y, x) in the image as places in the part [px]."""
        return np.asarray(position - np.array(self.first))

    def outwards(self, position: FloatArray) -> FloatArray:
        """Places in the part as places in the image."""
        return np.asarray(position + np.array(self.first))


def _most(shape: tuple[int, int], position: FloatArray, size: tuple[int, int]) -> tuple[int, int]:
    """First pixel of the rectangle of a size in which most columns lie."""
    step = max(min(size) // CELLS, 1)
    starts = [
        np.unique(np.append(np.arange(0, n - s, step), n - s))
        for n, s in zip(shape, size, strict=True)
    ]
    y, x = np.sort(position[:, 0]), position[np.argsort(position[:, 0], kind="stable"), 1]
    best, found = (-1, -np.inf), (0, 0)
    for top in starts[0].tolist():
        rows = slice(*np.searchsorted(y, [top - 0.5, top + size[0] - 0.5]))
        line = np.sort(x[rows])
        for left in starts[1].tolist():
            low, high = np.searchsorted(line, [left - 0.5, left + size[1] - 0.5])
            away = np.hypot(top + (size[0] - shape[0]) / 2, left + (size[1] - shape[1]) / 2)
            if (int(high - low), -float(away)) > best:
                best, found = (int(high - low), -float(away)), (top, left)
    return found
