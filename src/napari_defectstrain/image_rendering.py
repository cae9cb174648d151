"""Images of thousands of columns of one profile, and of its derivatives, by Fourier transform.

The columns are spread onto the pixels by a narrow Gaussian, transformed, freed of that Gaussian and
multiplied by the profile's transfer function: a non-uniform fast Fourier transform (Greengard &
Lee 2004, doi:10.1137/S003614450343200X), exact to 1e-6 for any profile, its tails as far as
they go, at a cost that hardly depends on the number of columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft2, next_fast_len, rfft2

from .profiles import ColumnProfile
from .types import DefectStrainError, FloatArray, IntArray

ComplexArray = npt.NDArray[np.complexfloating]

SPREAD_SIGMA = 1.2
SPREAD_HALF = 7  # px: 4e-8 of the Gaussian's height is cut off
TOLERANCE = 1e-6
TABLE = 8192
PAD_SIGMA = 8.0
N_BLUR = 3


@dataclass(frozen=True)
class Shape:
    """Profile of all columns, in pixels, with what is fitted of it.

    Parameters
    ----------
    profile : ColumnProfile
        Lengths in px, x and y (down) of the image.
    free : array of int, `(F,)`
        Coefficients of its spline that are fitted.
    blur_basis : array, `(3, B)`
        Directions of the blur (xx, xy, yy) that are fitted.
    """

    profile: ColumnProfile
    free: IntArray
    blur_basis: FloatArray

    @property
    def size(self) -> int:
        """Number of fitted parameters, ``F + B``."""
        return len(self.free) + self.blur_basis.shape[1]

    @property
    def value(self) -> FloatArray:
        """The fitted parameters, coefficients first, `(F + B,)`; blur counts from zero."""
        blur = np.linalg.pinv(self.blur_basis) @ self.profile.blur_pm2
        return np.concatenate([self.profile.coefficient[self.free], blur])

    def moved(self, step: FloatArray) -> Shape:
        """The shape after a step of the fitted parameters."""
        coefficient = self.profile.coefficient.copy()
        coefficient[self.free] += step[: len(self.free)]
        blur = self.profile.blur_pm2 + self.blur_basis @ step[len(self.free) :]
        return replace(self, profile=replace(self.profile, coefficient=coefficient, blur_pm2=blur))


class ColumnRenderer:
    """Renders columns on the pixels of an image.

    Parameters
    ----------
    shape : tuple of int
        Of the image.
    sigma_px, cutoff_per_px : float
        Width of the columns, and where their transfer function ends.
    dtype : dtype
        float32 or float64.

    Raises
    ------
    DefectStrainError
        If the columns are narrower than 0.7 px.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        sigma_px: float,
        cutoff_per_px: float,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.cutoff = cutoff_per_px
        self.oversampling = _oversampling(sigma_px)
        self.pad = int(np.ceil(PAD_SIGMA * sigma_px)) + SPREAD_HALF
        s = self.oversampling
        self.grid = tuple(next_fast_len(s * (n + self.pad), real=True) for n in shape)
        self.ky = (np.fft.fftfreq(self.grid[0]) * s)[:, None]
        self.kx = (np.fft.rfftfreq(self.grid[1]) * s)[None, :]

    @cached_property
    def _inside(self) -> tuple[IntArray, FloatArray]:
        """Flat index of the frequencies below the cutoff, and their |k| in steps of the table."""
        k = np.hypot(self.ky, self.kx)
        index = np.flatnonzero(k <= self.cutoff)
        return index, (k.ravel()[index] * ((TABLE - 1) / self.cutoff)).astype(self.dtype)

    @cached_property
    def _unspread(self) -> FloatArray:
        """One over the transform of the spreading Gaussian, below the cutoff."""
        width = 2.0 * (np.pi * SPREAD_SIGMA / self.oversampling) ** 2
        ky = np.exp(width * np.minimum(np.abs(self.ky), self.cutoff) ** 2)
        kx = np.exp(width * np.minimum(self.kx, self.cutoff) ** 2)
        return np.asarray((ky * kx).ravel()[self._inside[0]], dtype=self.dtype)

    @cached_property
    def _interpolation(self) -> tuple[IntArray, FloatArray]:
        place = self._inside[1]
        low = np.minimum(place.astype(np.int32), TABLE - 2)
        return low, place - low

    def _radial(self, table: FloatArray) -> FloatArray:
        """Values at the frequencies below the cutoff of a table on ``[0, cutoff]``."""
        low, fraction = self._interpolation
        value = table.astype(self.dtype)
        return np.asarray(value[low] + np.diff(value)[low] * fraction)

    @cached_property
    def _k_table(self) -> FloatArray:
        return np.asarray(np.linspace(0.0, self.cutoff, TABLE))

    def _blur(self, blur: FloatArray) -> FloatArray | float:
        xx, xy, yy = -2.0 * np.pi**2 * np.asarray(blur)
        if not np.any(blur):
            return 1.0
        ky, kx = np.exp(yy * self.ky**2), np.exp(xx * self.kx**2)
        both = ky.astype(self.dtype) * kx.astype(self.dtype)
        if xy:
            tilt = (2.0 * xy * self.ky).astype(self.dtype) * self.kx.astype(self.dtype)
            both *= np.exp(tilt)
        return np.asarray(both.ravel()[self._inside[0]])

    def transfer(self, profile: ColumnProfile) -> FloatArray:
        """Transfer function at the frequencies below the cutoff, `(K,)`."""
        blur = self._blur(profile.blur_pm2)
        if np.all(profile.coefficient == 1.0):
            return np.asarray(blur * np.ones(1, dtype=self.dtype))
        radial = profile.basis(self._k_table) @ profile.coefficient
        return np.asarray(self._radial(radial) * blur)

    def by_shape(self, shape: Shape) -> FloatArray:
        """Derivatives of the transfer function by the fitted parameters, `(F + B, K)`."""
        profile = shape.profile
        rows = []
        if len(shape.free):
            blur = self._blur(profile.blur_pm2)
            basis = profile.basis(self._k_table)
            rows += [self._radial(basis[:, q]) * blur for q in shape.free]
        if shape.blur_basis.shape[1]:
            transfer = self.transfer(profile)
            index, width = self._inside[0], self.kx.shape[1]
            ky = self.ky.ravel()[index // width].astype(self.dtype)
            kx = self.kx.ravel()[index % width].astype(self.dtype)
            for xx, xy, yy in -2.0 * np.pi**2 * shape.blur_basis.T:
                second = xx * kx * kx + 2.0 * xy * kx * ky + yy * ky * ky
                rows.append((second * transfer).astype(self.dtype))
        return np.stack(rows) if rows else np.zeros((0, len(self._inside[0])), self.dtype)

    def structure_factor(self, position: FloatArray, weight: FloatArray) -> ComplexArray:
        """Fourier transform of weighted points (y, x) [px] below the cutoff, `(K,)`."""
        place = (position + self.pad // 2) * self.oversampling
        base = np.rint(place).astype(np.intp)
        size = np.array(self.grid)
        there = ((base >= SPREAD_HALF) & (base < size - SPREAD_HALF)).all(axis=1)
        base, place = base[there], place[there]
        offset = np.arange(-SPREAD_HALF, SPREAD_HALF + 1)
        distance = (base - place)[:, :, None] + offset  # (n, 2, spread)
        kernel = np.exp(-0.5 * (distance / SPREAD_SIGMA) ** 2)
        kernel /= np.sqrt(2.0 * np.pi) * SPREAD_SIGMA
        value = (kernel[:, 0] * weight[there, None])[:, :, None] * kernel[:, 1, None, :]
        index = (base[:, :1] + offset) * size[1]
        index = index[:, :, None] + (base[:, 1:] + offset)[:, None, :]
        grid = np.bincount(index.ravel(), value.ravel(), minlength=size[0] * size[1])
        spectrum = rfft2(grid.reshape(self.grid).astype(self.dtype))
        return np.asarray(spectrum.ravel()[self._inside[0]] * self._unspread)

    def image(self, spectrum: ComplexArray) -> FloatArray:
        """Image with a spectrum `(K,)`, the pixels of the shape."""
        full = np.zeros(self.grid[0] * self.kx.shape[1], dtype=spectrum.dtype)
        full[self._inside[0]] = spectrum
        s, first = self.oversampling, (self.pad // 2) * self.oversampling
        grid = irfft2(full.reshape(self.grid[0], -1), s=self.grid)
        height, width = self.shape
        image = grid[first : first + s * height : s, first : first + s * width : s]
        return np.asarray(image * self.dtype.type(s * s))

    def spectrum(self, image: FloatArray) -> ComplexArray:
        """Adjoint of `image`: ``sum(image(S) * R) = real(sum(conj(spectrum(R)) * S))``."""
        full = np.zeros(self.grid, dtype=self.dtype)
        s, first = self.oversampling, (self.pad // 2) * self.oversampling
        height, width = self.shape
        full[first : first + s * height : s, first : first + s * width : s] = image
        found = rfft2(full).ravel()[self._inside[0]]
        column = self._inside[0] % self.kx.shape[1]
        double = np.where((column == 0) | (2 * column == self.grid[1]), 1.0, 2.0)
        scale = s * s / (self.grid[0] * self.grid[1])
        return np.asarray(found * (double * scale).astype(self.dtype))


def _oversampling(sigma_px: float) -> int:
    """How much finer than the pixels the columns must be spread to keep `TOLERANCE`."""
    for factor in (1, 2, 3):
        k = np.linspace(0.0, 0.5 * factor, 200)
        transfer = np.exp(-2.0 * (np.pi * sigma_px * k) ** 2)
        alias = np.exp(-2.0 * (np.pi * SPREAD_SIGMA) ** 2 * (1.0 - 2.0 * k / factor))
        if np.max(transfer * alias) < TOLERANCE:
            return factor
    raise DefectStrainError(
        f"columns: got a width of {sigma_px:.2f} px, expected at least 0.7 px; use an image of "
        "smaller pixels"
    )
