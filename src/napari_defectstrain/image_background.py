"""The smooth background of an image: a surface of cubic B-splines."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.interpolate import BSpline

from .types import FloatArray

DEGREE = 3
CELLS_PER_KNOT = 24
RIDGE = 1e-6


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
        self._knots = [_knots(n, spacing_px) for n in shape]
        self._rows = [
            _basis(k, np.arange(n)).astype(dtype) for k, n in zip(self._knots, shape, strict=True)
        ]
        self.size = (self._rows[0].shape[1], self._rows[1].shape[1])
        self._cell = max(int(spacing_px / CELLS_PER_KNOT), 1)
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

    def gather(self, weight: FloatArray) -> FloatArray:
        """Sum of the weights of pixels in coarse cells, fine enough for `normal`."""
        rows = np.add.reduceat(weight, np.arange(0, self.shape[0], self._cell), axis=0)
        cells = np.add.reduceat(rows, np.arange(0, self.shape[1], self._cell), axis=1)
        return np.asarray(cells, dtype=float)

    def normal(self, cells: FloatArray, coefficient: FloatArray) -> FloatArray:
        """The normal matrix of weighted pixels times coefficients `(..., ny, nx)`."""
        by, bx = self._coarse
        return np.asarray(by.T @ (cells * (by @ coefficient @ bx.T)) @ bx)

    def normal_diagonal(self, cells: FloatArray) -> FloatArray:
        """Diagonal of the normal matrix, with a ridge where there are no pixels."""
        by, bx = self._coarse
        diagonal = (by**2).T @ cells @ bx**2
        return np.asarray(diagonal + RIDGE * np.mean(diagonal))


def _knots(n: int, spacing: float) -> FloatArray:
    pieces = max(int(np.rint((n - 1) / spacing)), 1)
    inner = np.linspace(0.0, max(n - 1.0, 1.0), pieces + 1)
    return np.concatenate([np.full(DEGREE, inner[0]), inner, np.full(DEGREE, inner[-1])])


def _basis(knots: FloatArray, place: FloatArray | npt.NDArray[np.integer]) -> FloatArray:
    inside = np.clip(np.asarray(place, dtype=float), knots[0], knots[-1])
    return np.asarray(BSpline.design_matrix(inside, knots, DEGREE).toarray())
