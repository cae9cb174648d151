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
from ..types import BoolArray, FloatArray, IntArray
from .working import WaveGrid

REACH = 1.36
"""Radius of the profile in lattice constants: tails beyond it belong to the background."""
_FINE = 0.085  # distance of the knots within the column, in lattice constants
_COARSE = (0.79, 0.92, 1.09)
_TURNING = 8
_HARMONICS = 3
_RIDGE = 1e-6
_MOST_WAVES = 25_000
"""A profile of sixty numbers needs no more; they lie evenly."""
_RADII = 150
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

    def waves(self, grid: WaveGrid, chosen: BoolArray) -> ComplexArray:
        """All functions at chosen waves, `(n, B)`."""
        k, azimuth = grid.k[chosen], grid.azimuth[chosen]
        table = np.linspace(0.0, self.cutoff, _TABLE)
        place = np.minimum(k / table[1], _TABLE - 1 - 1e-6)
        low = place.astype(int)
        part = (place - low)[:, None].astype(np.float32)
        radial = [
            (t[low] * (1 - part) + t[low + 1] * part)
            for t in (r.astype(np.float32) for r in self.radial)
        ]
        result = np.empty((len(k), len(self.order)), dtype=np.complex64)
        for m in range(len(self.radial)):
            for phase in (0.0, np.pi / 2) if m else (0.0,):
                here = np.flatnonzero((self.order == m) & (self.phase == phase))
                turn = (np.cos(m * azimuth - phase) * 1.0).astype(np.float32)
                result[:, here] = (-1j) ** m * (radial[m][:, self.spline[here]] * turn[:, None])
        return result


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
        radial.append(jv(m, 2 * np.pi * k[:, None] * radius) @ (some * measure[:, None]))
        for phase in (0.0, np.pi / 2) if m else (0.0,):
            count = some.shape[1]
            order += [m] * count
            which += list(range(count))
            phases += [phase] * count
    return ProfileBasis(
        tuple(radial), np.array(order), np.array(which), np.array(phases), cutoff_per_px
    )


def fit_profile(
    grid: WaveGrid,
    basis_waves: ComplexArray,
    data: ComplexArray,
    factor: ComplexArray,
    importance: FloatArray,
) -> ComplexArray:
    """Least squares of the image's waves by structure factor times profile.

    The profile's tails and the brightness of one sublattice beside the other can nearly stand in for
    one another: that is why the weights are given here, and not fitted along.

    Parameters
    ----------
    grid : WaveGrid
    basis_waves : array, `(n, B)`
        `ProfileBasis.waves` inside the cut-off.
    data, factor : arrays, `(ky, kx)`
        Waves of the image and structure factor of its columns, under the same window.
    importance : array, `(ky, kx)`
        One over the noise of each wave.

    Returns
    -------
    array, `(ky, kx)`
        Transfer function of a column of weight 1.
    """
    inside = np.flatnonzero(grid.inside)
    some = np.arange(0, len(inside), max(1, len(inside) // _MOST_WAVES))
    chosen = inside[some]
    heavy = np.sqrt((importance * grid.count).ravel()[chosen]).astype(np.float32)
    matrix = _parts(basis_waves[some] * (factor.ravel()[chosen] * heavy)[:, None])
    gram = (matrix.T @ matrix).astype(float)
    right = (matrix.T @ _parts(data.ravel()[chosen] * heavy)).astype(float)
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-30))
    gram = gram / np.outer(scale, scale)
    gram[np.diag_indices_from(gram)] += _RIDGE
    coefficient = np.linalg.solve(gram, right / scale) / scale
    transfer = np.zeros(grid.k.shape, dtype=np.complex64)
    transfer.ravel()[inside] = basis_waves @ coefficient.astype(np.float32)
    return transfer


def _parts(waves: ComplexArray) -> FloatArray:
    """Real parts, then imaginary ones."""
    return np.concatenate([waves.real, waves.imag]).astype(np.float32)
