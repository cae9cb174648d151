"""Images of thousands of columns of one profile, and of its derivatives, by Fourier transform.

The columns are spread onto the pixels by a narrow Gaussian, transformed, freed of that Gaussian and
multiplied by the profile's transfer function: a non-uniform fast Fourier transform (Greengard &
Lee 2004, doi:10.1137/S003614450343200X), exact to 1e-6 for any profile, its tails as far as
they go, at a cost that hardly depends on the number of columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.fft import fft, ifft, irfft, next_fast_len, rfft
from scipy.sparse import csc_array

from ...types import BoolArray, DefectStrainError, FloatArray, IntArray
from ..profiles import ColumnProfile

ComplexArray = npt.NDArray[np.complexfloating]

SPREADS = {
    "single": (
        (0.5, 0.9, 5),
        (0.5, 1.1, 6),
        (1, 0.9, 5),
        (1, 1.1, 6),
        (2, 0.9, 5),
        (2, 1.1, 6),
        (3, 1.1, 6),
    ),
    "double": ((1, 1.1, 7), (1, 1.4, 9), (2, 1.1, 7), (3, 1.1, 7)),
}
"""How fine a grid against the pixels, and sigma and reach of the Gaussian on it that points are
spread by: the first is taken that keeps `TOLERANCE`. What lies beyond is 4e-7, 2e-9 of its height.
"""

TOLERANCE = {"single": 1e-6, "double": 3e-9}
TABLE = 8192
PAD_SIGMA = 8.0
NARROWER = 0.9  # columns may turn out narrower than they seem at first
MOST_DEPARTURE = 3.0  # of a logarithm


class FamilyCurve:
    """Profiles along the one way in which a family of transfer functions differs.

    Along it their logarithms change in proportion: a transfer function stays positive however far
    a probe is from the mean.

    Parameters
    ----------
    basis : array, `(K, C)`
        Splines at some frequencies; the last coefficient stays zero.
    mean : array, `(K,)`
        Transfer function of the mean there.
    mode : array, `(K,)`
        Change of its logarithm, one standard deviation of the family.
    """

    def __init__(self, basis: FloatArray, mean: FloatArray, mode: FloatArray) -> None:
        self._mean, self._mode = mean, mode
        self._nearest = np.zeros((basis.shape[1], len(mean)))
        self._nearest[:-1] = np.linalg.pinv(basis[:, :-1])

    def at(self, amount: float) -> tuple[FloatArray, FloatArray]:
        """Coefficients so far along, `(C,)`, and their derivative, `(C, 1)`."""
        by = np.clip(amount * self._mode, -MOST_DEPARTURE, MOST_DEPARTURE)
        there = self._mean * np.exp(by)
        found = self._nearest @ np.stack([there, there * self._mode], axis=1)
        return found[:, 0], found[:, 1:]


@dataclass(frozen=True)
class Shape:
    """Profile of all columns, in pixels, with what is fitted of it.

    Parameters
    ----------
    profile : ColumnProfile
        Lengths in px, x and y (down) of the image.
    modes : array, `(C, F)`
        Directions of the spline's coefficients that are fitted.
    blur_basis : array, `(3, B)`
        Directions of the blur (xx, xy, yy) that are fitted.
    amount : array, `(F + B,)`
        How far along each the profile has come from its start.
    curve : FamilyCurve, optional
        What the one mode is the derivative of; without it the coefficients change in proportion.
    """

    profile: ColumnProfile
    modes: FloatArray
    blur_basis: FloatArray
    amount: FloatArray
    curve: FamilyCurve | None = None

    @classmethod
    def starting(
        cls,
        profile: ColumnProfile,
        modes: FloatArray,
        blur_basis: FloatArray,
        curve: FamilyCurve | None = None,
    ) -> Shape:
        """A profile to start from."""
        nothing = np.zeros(modes.shape[1] + blur_basis.shape[1])
        return cls(profile, modes, blur_basis, nothing, curve)

    @property
    def n_modes(self) -> int:
        """Number of modes, ``F``."""
        return int(self.modes.shape[1])

    def moved(self, step: FloatArray) -> Shape:
        """The shape after a step of the fitted parameters."""
        by_modes, by_blur = np.split(step, [self.n_modes])
        amount, modes = self.amount + step, self.modes
        if self.curve is not None and self.n_modes:
            coefficient, modes = self.curve.at(float(amount[0]))
        else:
            coefficient = self.profile.coefficient + modes @ by_modes
        profile = replace(
            self.profile,
            coefficient=coefficient,
            blur_pm2=self.profile.blur_pm2 + self.blur_basis @ by_blur,
        )
        return replace(self, profile=profile, modes=modes, amount=amount)

    def fixed(self) -> Shape:
        """The same profile with nothing to fit."""
        return Shape.starting(self.profile, self.modes[:, :0], self.blur_basis[:, :0])


@dataclass(frozen=True)
class SpreadPoints:
    """Points on their way to a grid.

    Parameters
    ----------
    there : array of bool, `(N,)`
        Which lie within the grid.
    on_grid : sparse array, `(grid's points, n)`
        How much of a unit weight each of them puts where.
    """

    there: BoolArray
    on_grid: csc_array


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
    side : int
        Pixels along the side of the squares that were summed to these pixels.

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
        side: int = 1,
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.cutoff = cutoff_per_px
        fineness, self._spread, self._reach = _spreading(NARROWER * sigma_px, self.dtype)
        self.oversampling = max(int(fineness), 1)
        self.pad = int(np.ceil(PAD_SIGMA * sigma_px)) + int(np.ceil(self._reach / fineness))
        s = self.oversampling
        size = [next_fast_len(-(-(n + self.pad) // 4)) * 4 * s for n in shape]
        self.grid = (size[0], size[1])
        # points are spread on a coarser grid of the same extent where they are wide
        self._fineness = fineness
        self._points = tuple(int(n * fineness) // s for n in size)
        # only the frequencies of a box below the cutoff are kept, negative ky last
        my, mx = (
            min(int(np.ceil(cutoff_per_px / s * n)), p // 2 - 1)
            for n, p in zip(self.grid, self._points, strict=True)
        )
        self._my, self._mx = my, mx
        rows = np.concatenate([np.arange(my + 1), np.arange(-my, 0)])
        self.ky = rows[:, None] * (s / self.grid[0])
        self.kx = np.arange(mx + 1)[None, :] * (s / self.grid[1])
        self._sums = transfer_of_sums(side, self.ky), transfer_of_sums(side, self.kx)

    @cached_property
    def _unspread(self) -> FloatArray:
        """One over the transform of the spreading Gaussian."""
        width = 2.0 * (np.pi * self._spread / self._fineness) ** 2
        return np.asarray(
            np.exp(width * self.ky**2).astype(self.dtype)
            * np.exp(width * self.kx**2).astype(self.dtype)
        )

    @cached_property
    def _interpolation(self) -> tuple[IntArray, FloatArray]:
        """Where |k| lies in a table on ``[0, cutoff]``."""
        place = np.hypot(self.ky.astype(self.dtype), self.kx.astype(self.dtype))
        place = np.minimum(place * ((TABLE - 1) / self.cutoff), TABLE - 1).astype(self.dtype)
        low = np.minimum(place.astype(np.int32), TABLE - 2)
        return low, place - low

    def _radial(self, table: FloatArray) -> FloatArray:
        """Values at the frequencies of a table on ``[0, cutoff]``, that of its end beyond."""
        low, fraction = self._interpolation
        value = table.astype(self.dtype)
        return np.asarray(value[low] + np.diff(value)[low] * fraction)

    @cached_property
    def _k_table(self) -> FloatArray:
        return np.asarray(np.linspace(0.0, self.cutoff, TABLE))

    def _blur(self, blur: FloatArray) -> FloatArray:
        xx, xy, yy = -2.0 * np.pi**2 * np.asarray(blur)
        ky, kx = np.exp(yy * self.ky**2) * self._sums[0], np.exp(xx * self.kx**2) * self._sums[1]
        both = ky.astype(self.dtype) * kx.astype(self.dtype)
        if xy:
            tilt = (2.0 * xy * self.ky).astype(self.dtype) * self.kx.astype(self.dtype)
            both *= np.exp(tilt)
        return np.asarray(both)

    def transfer(self, profile: ColumnProfile) -> FloatArray:
        """Transfer function at the frequencies, `(ky, kx)`."""
        blur = self._blur(profile.blur_pm2)
        if np.all(profile.coefficient == 1.0):
            return blur
        return np.asarray(self._radial(profile.basis(self._k_table) @ profile.coefficient) * blur)

    def by_shape(self, shape: Shape) -> FloatArray:
        """Derivatives of the transfer function by the fitted parameters, `(F + B, ky, kx)`."""
        profile = shape.profile
        rows = []
        if shape.n_modes:
            blur = self._blur(profile.blur_pm2)
            radial = profile.basis(self._k_table) @ shape.modes
            rows += [self._radial(column) * blur for column in radial.T]
        if shape.blur_basis.shape[1]:
            transfer = self.transfer(profile)
            ky, kx = self.ky.astype(self.dtype), self.kx.astype(self.dtype)
            for xx, xy, yy in -2.0 * np.pi**2 * shape.blur_basis.T:
                second = (self.dtype.type(xx) * kx) * kx + (self.dtype.type(yy) * ky) * ky
                if xy:
                    second = second + (self.dtype.type(2.0 * xy) * kx) * ky
                rows.append(second * transfer)
        return np.stack(rows) if rows else np.zeros((0, *self._unspread.shape), self.dtype)

    def spread(self, position: FloatArray) -> SpreadPoints:
        """Points (y, x) [px] ready to be spread with any weights."""
        place = (position + self.pad // 2) * self._fineness
        base = np.rint(place).astype(np.intp)
        size = np.array(self._points)
        reach = self._reach
        there = ((base >= reach) & (base < size - reach)).all(axis=1)
        base, place = base[there], place[there]
        offset = np.arange(-reach, reach + 1)
        distance = ((base - place) / self._spread).astype(self.dtype)[:, :, None]
        distance = distance + (offset / self._spread).astype(self.dtype)  # (n, 2, reach)
        kernel = np.exp(-0.5 * distance * distance)
        kernel /= self.dtype.type(np.sqrt(2.0 * np.pi) * self._spread)
        around = (offset[:, None] * size[1] + offset).ravel()
        index = (base[:, 0] * size[1] + base[:, 1])[:, None] + around
        value = kernel[:, 0, :, None] * kernel[:, 1, None, :]
        start = np.arange(len(base) + 1, dtype=np.int32) * len(around)
        parts = (value.ravel(), index.ravel().astype(np.int32), start)
        return SpreadPoints(there, csc_array(parts, shape=(int(size.prod()), len(base))))

    def structure_factor(self, points: SpreadPoints, weight: FloatArray) -> ComplexArray:
        """Fourier transform of weighted points, `(ky, kx)`."""
        grid = points.on_grid @ weight[points.there].astype(self.dtype)
        rows = rfft(grid.reshape(self._points), axis=1)[:, : self._mx + 1]
        found = fft(np.ascontiguousarray(rows), axis=0, overwrite_x=True)
        kept = np.concatenate([found[: self._my + 1], found[-self._my :]])
        return np.asarray(kept * self._unspread)

    def values(self, spectrum: ComplexArray, points: SpreadPoints) -> FloatArray:
        """Real part of a spectrum's sum of waves at points, `(N,)`: the adjoint of spreading.

        The spectrum's conjugate half is included; NaN for points beyond the grid.
        """
        cleaned = spectrum * self._unspread
        full = np.zeros((self._points[0], self._mx + 1), dtype=cleaned.dtype)
        full[: self._my + 1] = cleaned[: self._my + 1]
        full[-self._my :] = cleaned[self._my + 1 :]
        grid = irfft(ifft(full, axis=0, overwrite_x=True), n=self._points[1], axis=1).ravel()
        found = np.full(len(points.there), np.nan)
        found[points.there] = points.on_grid.T @ grid
        return np.asarray(found * (self._points[0] * self._points[1]))

    def image(self, spectrum: ComplexArray) -> FloatArray:
        """Image with a spectrum `(ky, kx)`, the pixels of the shape."""
        # at the pixels alone, waves of a finer grid are those of the pixels' own frequencies
        ny, nx = (n // self.oversampling for n in self.grid)
        full = np.zeros((ny, self._mx + 1), dtype=spectrum.dtype)
        above, below = spectrum[: self._my + 1], spectrum[self._my + 1 :]
        for start in range(0, len(above), ny):
            part = above[start : start + ny]
            full[: len(part)] += part
        for end in range(len(below), 0, -ny):
            part = below[max(end - ny, 0) : end]
            full[ny - len(part) :] += part
        first, (height, width) = self.pad // 2, self.shape
        rows = ifft(full, axis=0, overwrite_x=True)[first : first + height]
        if self._mx >= nx // 2:
            rows = _folded(rows, nx // 2)
        grid = irfft(rows, n=nx, axis=1)
        return np.asarray(grid[:, first : first + width])


def _folded(rows: ComplexArray, half: int) -> ComplexArray:
    """Half spectra of real rows of ``2 half`` points, waves that are the same there added up."""
    found = np.zeros((len(rows), half + 1), dtype=rows.dtype)
    for k in range(-(-rows.shape[1] // half)):
        part = rows[:, k * half : (k + 1) * half]
        n = part.shape[1]
        if k % 2 == 0:
            found[:, :n] += part
        else:
            found[:, half - n + 1 :] += part[:, ::-1].conj()
        if k:  # these two are their own mirror images
            at = half if k % 2 else 0
            found[:, at] += part[:, 0] if k % 2 else part[:, 0].conj()
    return found


def _spreading(sigma_px: float, dtype: np.dtype[Any]) -> tuple[float, float, int]:
    """The coarsest grid, and the narrowest Gaussian on it, that keep `TOLERANCE`."""
    precision = "single" if dtype == np.float32 else "double"
    for factor, spread, reach in SPREADS[precision]:
        k = np.linspace(0.0, 0.5 * factor, 200)
        transfer = np.exp(-2.0 * (np.pi * sigma_px * k) ** 2)
        alias = np.exp(-2.0 * (np.pi * spread) ** 2 * (1.0 - 2.0 * k / factor))
        if np.max(transfer * alias) < TOLERANCE[precision]:
            return factor, spread, reach
    raise DefectStrainError(
        f"columns: got a width of {sigma_px:.2f} px, expected at least 0.7 px; use an image of "
        "smaller pixels"
    )


def transfer_of_sums(side: int, k: FloatArray) -> FloatArray:
    """What sums over so many pixels do to a wave, of frequency `k` per sum; 1 at zero."""
    offset = (np.arange(side) - 0.5 * (side - 1)) / side
    return np.asarray(np.cos(2.0 * np.pi * k[..., None] * offset).mean(axis=-1))
