"""The image of one column, learnt from an image whose columns' places and weights are known.

Splines of the radius times harmonics of the azimuth, fine where the column is and coarse where only
its tails are, which the lattice's own period would else make free. They are fitted to the waves of
the image: every wave of the columns' structure factor counts by what it holds, and waves as long as
the background's are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

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
_STRONG_WAVES = 8_000
_OTHER_WAVES = 16_000
"""A profile of sixty numbers needs no more."""
_RADII = 100
_TABLE = 200


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


def profile_basis(a_px: float, cutoff_per_px: float, harmonics: int = _HARMONICS) -> ProfileBasis:
    """The functions for a lattice constant and a cut-off on the working pixels."""
    reach = REACH
    fine = np.arange(0, 8.01) * _FINE
    knots = np.array([0, 0, 0, *fine, *_COARSE, reach, reach, reach, reach]) * a_px
    radius = (np.arange(_RADII) + 0.5) * (reach * a_px / _RADII)
    splines = BSpline.design_matrix(radius, knots, 3).toarray()
    splines = splines[:, :-2]  # value and slope end at zero
    k = np.linspace(0.0, cutoff_per_px, _TABLE)
    measure = 2 * np.pi * radius * (reach * a_px / _RADII)
    radial, order, which, phases = [], [], [], []
    for m in range(harmonics + 1):
        some = splines if m == 0 else splines[:, 1 : 1 + _TURNING]
        hankel = jv(m, 2 * np.pi * k[:, None] * radius) @ (some * measure[:, None])
        radial.append(hankel.astype(np.float32))
        for phase in (0.0, np.pi / 2) if m else (0.0,):
            count = some.shape[1]
            order += [m] * count
            which += list(range(count))
            phases += [phase] * count
    return ProfileBasis(
        tuple(radial), np.array(order), np.array(which), np.array(phases), cutoff_per_px
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
        strong = np.argsort(-np.abs(factor.ravel()[self._inside]), kind="stable")
        top, rest = self._inside[strong[:_STRONG_WAVES]], self._inside[strong[_STRONG_WAVES:]]
        every = max(1, len(rest) // _OTHER_WAVES)
        rest = np.sort(rest)[::every]
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
        matrix = _parts(self._waves * (factor.ravel()[chosen] * heavy)[:, None])
        gram = (matrix.T @ matrix).astype(float)
        right = (matrix.T @ _parts(data.ravel()[chosen] * heavy)).astype(float)
        scale = np.sqrt(np.maximum(np.diag(gram), 1e-30))
        gram = gram / np.outer(scale, scale)
        gram[np.diag_indices_from(gram)] += _RIDGE
        coefficient = np.linalg.solve(gram, right / scale) / scale
        transfer = np.zeros(self.grid.k.shape, dtype=np.complex64)
        transfer.ravel()[self._inside] = self.basis.transfer(self._place, self._turn, coefficient)
        return transfer


def _parts(waves: ComplexArray) -> FloatArray:
    """Real parts, then imaginary ones."""
    return np.concatenate([waves.real, waves.imag]).astype(np.float32)
