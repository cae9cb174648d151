"""The smooth background of an image: a surface of cubic B-splines."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csc_array

from ...types import FloatArray, IntArray
from ..splines import DEGREE, splines_at, uniform_knots

CELLS_PER_KNOT = 48


class SplineSurface:
    """A tensor product of uniform cubic B-splines over an image.

    Parameters
    ----------
    shape : tuple of int
        Of the image.
    spacing_px : float
        Distance of the knots, about [px]; beyond the image's side one polynomial is left.
    dtype : dtype
        Of the images.
    """

    def __init__(
        self, shape: tuple[int, int], spacing_px: float, dtype: npt.DTypeLike = np.float32
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._knots = [_knots(n, spacing_px) for n in shape]
        self._rows = [
            _basis(k, np.arange(n)).astype(dtype) for k, n in zip(self._knots, shape, strict=True)
        ]
        self.size = (self._rows[0].shape[1], self._rows[1].shape[1])
        piece = min(
            (n - 1) / (len(k) - 2 * DEGREE - 1) for n, k in zip(shape, self._knots, strict=True)
        )
        self._cell = max(int(piece / CELLS_PER_KNOT), 1)
        self._coarse = [
            _basis(k, np.minimum(np.arange(0, n, self._cell) + 0.5 * (self._cell - 1), n - 1))
            for k, n in zip(self._knots, shape, strict=True)
        ]

    def evaluate(self, coefficient: FloatArray) -> FloatArray:
        """The surface at all pixels."""
        rows = self._rows[0] @ coefficient.astype(self._rows[0].dtype)
        return np.asarray(rows @ self._rows[1].T)

    def adjoint(self, image: FloatArray) -> FloatArray:
        """Sum of an image times each spline."""
        return np.asarray(self._rows[0].T @ image @ self._rows[1], dtype=float)

    def at(self, position: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Splines of rows and of columns at places (y, x) [px], `(N, ny)` and `(N, nx)`."""
        by, bx = (_basis(k, p) for k, p in zip(self._knots, position.T, strict=True))
        return by, bx

    def nearest(self, products: FloatArray) -> FloatArray:
        """Coefficients of the surface nearest to an image whose sums with splines are given."""
        wy, wx = self._of_products
        return np.asarray(wy @ products @ wx)

    @cached_property
    def _of_products(self) -> tuple[FloatArray, FloatArray]:
        by, bx = (np.linalg.inv(np.asarray(r.T @ r, dtype=float)) for r in self._rows)
        return by, bx

    def gather(self, weight: FloatArray) -> FloatArray:
        """Sum of the weights of pixels in coarse cells, fine enough for `normal`."""
        rows = np.add.reduceat(weight, np.arange(0, self.shape[0], self._cell), axis=0)
        cells = np.add.reduceat(rows, np.arange(0, self.shape[1], self._cell), axis=1)
        return np.asarray(cells, dtype=float)

    def gather_points(self, position: FloatArray, value: FloatArray) -> FloatArray:
        """Sum of values at places (y, x) [px] in the coarse cells."""
        shape = (len(self._coarse[0]), len(self._coarse[1]))
        place = (np.rint(position) // self._cell).astype(int)
        row, column = np.clip(place, 0, np.array(shape) - 1).T
        flat = np.bincount(row * shape[1] + column, value, minlength=shape[0] * shape[1])
        return np.asarray(flat.reshape(shape))

    def within(self, cells: FloatArray) -> FloatArray:
        """Sum of coarse cells times each spline."""
        return np.asarray(self._coarse[0].T @ cells @ self._coarse[1])

    def normal(self, cells: FloatArray) -> csc_array:
        """Sum over cells of their weight times ``outer(splines, splines)``, sparse."""
        by, bx = self._coarse
        ny, nx = self.size
        index = np.arange(ny * nx).reshape(ny, nx)
        rows, columns, values = [], [], []
        for dy in range(DEGREE + 1):
            products_y = (by[:, : ny - dy] * by[:, dy:]).T @ cells
            for dx in range(-DEGREE, DEGREE + 1):
                if dy == 0 and dx < 0:
                    continue  # the other triangle
                x, x2 = slice(max(-dx, 0), nx - max(dx, 0)), slice(max(dx, 0), nx - max(-dx, 0))
                rows.append(index[: ny - dy, x].ravel())
                columns.append(index[dy:, x2].ravel())
                values.append((products_y @ (bx[:, x] * bx[:, x2])).ravel())
                if dy == 0 and dx == 0:
                    values[-1] *= 0.5
        place = (np.concatenate(rows), np.concatenate(columns))
        half = coo_array((np.concatenate(values), place), shape=(ny * nx, ny * nx)).tocsc()
        return csc_array(half + half.T)

    def around(
        self, centre: IntArray, half: int, every: int = 1
    ) -> tuple[FloatArray, FloatArray, IntArray]:
        """Splines that reach into patches, at the rows and columns of their pixels.

        Parameters
        ----------
        centre : array of int, `(N, 2)`
            Central pixel of each patch.
        half : int
            Pixels on each side of it.
        every : int
            Pixels from one that is looked at to the next, the middle of the first so many being
            the first; `centre` and `half` count in them.

        Returns
        -------
        by_y, by_x : arrays, `(N, 2 half + 1, ky)` and `(N, 2 half + 1, kx)`
            At most six splines each, in the first four of which a patch begins.
        index : array of int, `(N, ky kx)`
            Which they are, among the flattened coefficients.
        """
        offset = every * np.arange(-half, half + 1)
        middle = (every - 1) // 2 + every * centre
        values, firsts = [], []
        for axis in (0, 1):
            rows, knots = self._rows[axis], self._knots[axis]
            place = np.clip(middle[:, axis, None] + offset, 0, len(rows) - 1)
            width = min(DEGREE + 3, rows.shape[1])
            piece = np.searchsorted(knots, place[:, 0], side="right") - 1 - DEGREE
            first = np.clip(piece, 0, rows.shape[1] - width)
            values.append(rows[place[:, :, None], (first[:, None] + np.arange(width))[:, None]])
            firsts.append(first[:, None] + np.arange(width))
        index = firsts[0][:, :, None] * self.size[1] + firsts[1][:, None]
        return values[0], values[1], index.reshape(len(centre), -1)


def _knots(n: int, spacing: float) -> FloatArray:
    pieces = max(int(np.rint((n - 1) / spacing)), 1)
    return uniform_knots(max(n - 1.0, 1.0), pieces)


def _basis(knots: FloatArray, place: FloatArray | npt.NDArray[np.integer]) -> FloatArray:
    return splines_at(knots, np.clip(np.asarray(place, dtype=float), knots[0], knots[-1]))
