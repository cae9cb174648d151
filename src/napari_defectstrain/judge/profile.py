"""The image of one column, learnt from an image whose columns' places and weights are known.

Splines of the radius times harmonics of the azimuth, fine where the column is and coarse where only
its tails are, which the lattice's own period would else make free. They are fitted to the waves of
the image: every wave of the columns' structure factor counts by what it holds, and waves as long as
the background's are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.interpolate import BSpline
from scipy.special import jv

from ..columns.images.rendering import ComplexArray
from ..types import FloatArray, IntArray
from .working import WaveGrid

REACH = 1.36
"""Radius of the profile in lattice constants: tails beyond it belong to the background."""
_FINE = 0.085  # distance of the knots within the column, in lattice constants
_COARSE = (0.79, 0.92, 1.09)
_TURNING = 8
_HARMONICS = 3
_RIDGE = 1e-6
_STRONG_WAVES = 6_000
_OTHER_WAVES = 8_000
"""A profile of sixty numbers needs no more."""
_RADII = 100
_TABLE = 200
_CUTOFF_STEP = 0.25  # of the functions' tables, waves a lattice constant


@dataclass(frozen=True)
class ProfileBasis:
    """Functions that a profile is made of, by their waves.

    Parameters
    ----------
    radial : tuple of array, `(count, n_m)`
        Hankel transform of order m of the splines, at the wave numbers of a table on
        ``[0, cutoff]``.
    order : array of int, `(B,)`
        Harmonic of each function.
    spline : array of int, `(B,)`
        Which of the splines it is.
    phase : array, `(B,)`
        0 for a cosine of the azimuth, pi/2 for a sine.
    cutoff : float
        Where the table ends [1/px].
    """

    radial: tuple[FloatArray, ...]
    order: IntArray
    spline: IntArray
    phase: FloatArray
    cutoff: float

    def waves(self, k: FloatArray, azimuth: FloatArray) -> ComplexArray:
        """All functions at chosen waves, `(n, B)`."""
        low, part = self.place(k)
        result = np.empty((len(k), len(self.order)), dtype=np.complex64)
        for m, table in enumerate(self.radial):
            radial = table[low] * (1 - part[:, None]) + table[low + 1] * part[:, None]
            for phase in (0.0, np.pi / 2) if m else (0.0,):
                here = np.flatnonzero((self.order == m) & (self.phase == phase))
                turn = np.cos(m * azimuth - phase).astype(np.float32)
                result[:, here] = (-1j) ** m * (radial[:, self.spline[here]] * turn[:, None])
        return result

    def transfer(
        self, place: tuple[IntArray, FloatArray], turn: ComplexArray, coefficient: FloatArray
    ) -> ComplexArray:
        """Sum of all functions times their coefficients, `(n,)`.

        Parameters
        ----------
        place : tuple
            Where the wave numbers lie in the table, by `place`.
        turn : array, `(n,)`
            ``exp(i azimuth)`` of the waves.
        coefficient : array, `(B,)`
        """
        low, part = place
        real: FloatArray = np.zeros(len(low), dtype=np.float32)
        imaginary = real.copy()
        power = np.ones_like(turn)
        for m, table in enumerate(self.radial):
            line = np.zeros(len(table), dtype=np.complex64)
            for phase, unit in ((0.0, 1.0), (np.pi / 2, -1j)):
                here = np.flatnonzero((self.order == m) & (self.phase == phase))
                line += unit * (table[:, self.spline[here]] @ coefficient[here])
            step = np.append(np.diff(line), 0)
            radial = line[low] + part * step[low]
            value = (radial * power).real  # cosine and sine of m times the azimuth
            # (-1j)^m
            sum_ = imaginary if m % 2 else real
            sum_ += value if m % 4 in (0, 3) else -value
            power = power * turn
        return np.asarray(real + 1j * imaginary)

    def place(self, k: FloatArray) -> tuple[IntArray, FloatArray]:
        """Where wave numbers lie in the table."""
        place = np.minimum(k * ((_TABLE - 1) / self.cutoff), _TABLE - 1 - 1e-4)
        low = place.astype(int)
        return low, (place - low).astype(np.float32)


@cache
def _radial_functions(
    cutoff_per_a: float, harmonics: int
) -> tuple[tuple[FloatArray, ...], tuple[int, ...]]:
    """Hankel transforms of the splines for a lattice constant of 1, and how many each order has."""
    fine = np.arange(0, 8.01) * _FINE
    knots = np.array([0, 0, 0, *fine, *_COARSE, REACH, REACH, REACH, REACH])
    radius = (np.arange(_RADII) + 0.5) * (REACH / _RADII)
    splines = BSpline.design_matrix(radius, knots, 3).toarray()
    splines = splines[:, :-2]  # value and slope end at zero
    k = np.linspace(0.0, cutoff_per_a, _TABLE)
    measure = 2 * np.pi * radius * (REACH / _RADII)
    radial = []
    for m in range(harmonics + 1):
        some = splines if m == 0 else splines[:, 1 : 1 + _TURNING]
        radial.append(jv(m, 2 * np.pi * k[:, None] * radius) @ (some * measure[:, None]))
    return tuple(radial), tuple(r.shape[1] for r in radial)


def profile_basis(a_px: float, cutoff_per_px: float, harmonics: int = _HARMONICS) -> ProfileBasis:
    """The functions for a lattice constant and a cut-off on the working pixels."""
    # rounded up, so that images of like sampling share a table
    cutoff_per_a = float(np.ceil(cutoff_per_px * a_px / _CUTOFF_STEP) * _CUTOFF_STEP)
    radial, counts = _radial_functions(cutoff_per_a, harmonics)
    order, which, phases = [], [], []
    for m, count in enumerate(counts):
        for phase in (0.0, np.pi / 2) if m else (0.0,):
            order += [m] * count
            which += list(range(count))
            phases += [phase] * count
    return ProfileBasis(
        tuple((r * a_px**2).astype(np.float32) for r in radial),
        np.array(order),
        np.array(which),
        np.array(phases),
        cutoff_per_a / a_px,
    )


class ProfileLearner:
    """Least squares of an image's waves by structure factor times profile.

    The profile's tails and the brightness of one sublattice beside the other can nearly stand in
    for one another: that is why the weights are given here, and not fitted along.

    Parameters
    ----------
    grid : WaveGrid
    a_px : float
        Lattice constant on the working pixels.
    """

    def __init__(self, grid: WaveGrid, a_px: float) -> None:
        self.grid = grid
        self.basis = profile_basis(a_px, grid.sampling.cutoff_per_px)
        self._inside = np.flatnonzero(grid.inside)
        self._place = self.basis.place(grid.k.ravel()[self._inside])
        self._turn = np.exp(1j * grid.azimuth.ravel()[self._inside]).astype(np.complex64)
        self._chosen: IntArray | None = None

    def _choose(self, factor: ComplexArray) -> None:
        """The waves that are fitted: the strongest, which the lattice makes, and some others."""
        strength = np.abs(factor.ravel()[self._inside])
        count = min(_STRONG_WAVES, len(strength))
        least = np.partition(strength, len(strength) - count)[len(strength) - count]
        top, rest = self._inside[strength >= least], self._inside[strength < least]
        every = max(1, len(rest) // _OTHER_WAVES)
        rest = rest[::every]
        self._chosen = np.concatenate([top, rest])
        self._count = np.concatenate([np.ones(len(top)), np.full(len(rest), float(every))])
        k, azimuth = (v.ravel()[self._chosen] for v in (self.grid.k, self.grid.azimuth))
        self._waves = self.basis.waves(k, azimuth)

    def fit(self, data: ComplexArray, factor: ComplexArray, importance: FloatArray) -> ComplexArray:
        """Transfer function of a column of weight 1, `(ky, kx)`.

        Parameters
        ----------
        data, factor : arrays, `(ky, kx)`
            Waves of the image and structure factor of its columns, under the same window.
        importance : array, `(ky, kx)`
            One over the noise of each wave.
        """
        if self._chosen is None:
            self._choose(factor)
        chosen = self._chosen
        heavy = np.sqrt((importance * self.grid.count).ravel()[chosen] * self._count)
        heavy = heavy.astype(np.float32)
        waves = (factor.ravel()[chosen] * heavy)[:, None] * self._waves
        matrix = _parts(waves)
        gram = (matrix.T @ matrix).astype(float)
        right = (matrix.T @ _parts(data.ravel()[chosen, None] * heavy[:, None])[:, 0]).astype(float)
        scale = np.sqrt(np.maximum(np.diag(gram), 1e-30))
        gram = gram / np.outer(scale, scale)
        gram[np.diag_indices_from(gram)] += _RIDGE
        coefficient = np.linalg.solve(gram, right / scale) / scale
        transfer = np.zeros(self.grid.k.shape, dtype=np.complex64)
        transfer.ravel()[self._inside] = self.basis.transfer(self._place, self._turn, coefficient)
        return transfer


def _parts(waves: ComplexArray) -> FloatArray:
    """Real and imaginary parts by turns, `(2 n, B)`."""
    n, count = waves.shape
    pairs = np.empty((n, 2, count), dtype=np.float32)
    pairs[:, 0], pairs[:, 1] = waves.real, waves.imag
    return pairs.reshape(2 * n, count)
