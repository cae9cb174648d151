"""The model of a whole class average: all its columns, a background, one profile; its Jacobian.

``m = b + sum_j w_j f(r - r_j)`` at the pixels of a disc, with a position and a weight of its own
for every column, a smooth background b, and the profile f, blurred a little more or less in each
class (registration is not equally good for all).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from ...crystal.lattice import ideal_sites
from ...types import BoolArray, FloatArray, IntArray
from ..asymmetry import ComplexArray
from ..profiles import ColumnProfile, FourierWindow

FREE_RIM_PM = 60.0
"""Columns up to this far outside the disc are fitted; farther ones keep their ideal sites."""
OUTER_RIM_PM = 500.0
MAX_STEP_PM = 30.0


_UNFOLLOWED = 1e-30
"""Square of a derivative, relative to the largest, that is none: units differ by 1e10 at most."""


@dataclass(frozen=True)
class Geometry:
    """Pixels and columns of a window; the same for all classes.

    Parameters
    ----------
    window : FourierWindow
    a_pm, radius_pm : float
        Lattice constant, radius of the disc of pixels [pm].
    patch_pm : float
        How far a column's image is followed in the Jacobian (not in the model) [pm].
    background_degree : int
        Degree of the polynomial background.
    """

    window: FourierWindow
    a_pm: float
    radius_pm: float
    patch_pm: float
    background_degree: int

    @cached_property
    def pixel(self) -> BoolArray:
        """Pixels of the disc, `(size, size)`."""
        x = self.window.x_pm
        return np.asarray(np.hypot(x[None, :], x[:, None]) <= self.radius_pm + 1e-6)

    @cached_property
    def _sites(self) -> tuple[FloatArray, BoolArray]:
        return ideal_sites(self.a_pm, self.radius_pm + OUTER_RIM_PM)

    @cached_property
    def _free(self) -> BoolArray:
        return np.asarray(np.hypot(*self._sites[0].T) <= self.radius_pm + FREE_RIM_PM)

    @property
    def site_pm(self) -> FloatArray:
        """Ideal sites of the fitted columns, `(M, 2)`."""
        return self._sites[0][self._free]

    @property
    def is_metal(self) -> BoolArray:
        """Sublattice of the fitted columns, `(M,)`."""
        return self._sites[1][self._free]

    @cached_property
    def outer_factor(self) -> ComplexArray:
        """Structure factors of the metal and chalcogen columns outside, `(2, ky, kx)`."""
        site, metal = self._sites[0][~self._free], self._sites[1][~self._free]
        weights = (metal.astype(float), 1.0 - metal)
        return np.stack([self.window.structure_factor(site, w) for w in weights])

    @cached_property
    def background(self) -> FloatArray:
        """Monomials of the background at the pixels, `(B, P)`."""
        return np.asarray(self._monomials[:, self.pixel])

    @cached_property
    def _monomials(self) -> FloatArray:
        x = self.window.x_pm / self.radius_pm
        n = range(self.background_degree + 1)
        terms = [x[None, :] ** i * (-x[:, None]) ** j for i in n for j in n if i + j < len(n)]
        return np.stack([np.broadcast_to(t, (len(x), len(x))) for t in terms])

    def image_of(self, spectrum: ComplexArray, background: FloatArray) -> FloatArray:
        """A spectrum's image on a background, on the whole square, `(size, size)`."""
        return self.window.image(spectrum) + np.tensordot(background, self._monomials, axes=1)

    @cached_property
    def padded_index(self) -> IntArray:
        """Number of each pixel within the disc, -1 outside, with a border of two patches."""
        border = 2 * self.patch_px
        index = np.full((self.window.size + 2 * border,) * 2, -1)
        inner = index[border:-border, border:-border]
        inner[self.pixel] = np.arange(int(self.pixel.sum()))
        return index

    @property
    def patch_px(self) -> int:
        """Half the side of a patch [px]."""
        return int(np.ceil(self.patch_pm / self.window.step_pm))

    def with_cutoff(self, cutoff_per_pm: float) -> Geometry:
        """The same pixels with other frequencies."""
        return replace(self, window=replace(self.window, cutoff_per_pm=cutoff_per_pm))


@dataclass(frozen=True)
class State:
    """Parameters of one class.

    Parameters
    ----------
    position_pm : array, `(M, 2)`
    weight : array, `(M,)`
        Integrated intensity [pm^2].
    outer : array, `(2,)`
        Weight of the metal and chalcogen columns outside.
    background : array, `(B,)`
    blur_pm2 : array, `(3,)`
    empty : array of bool, `(M,)`
        Columns of zero weight: no position to fit.
    """

    position_pm: FloatArray
    weight: FloatArray
    outer: FloatArray
    background: FloatArray
    blur_pm2: FloatArray
    empty: BoolArray

    def emptied(self, site_pm: FloatArray, which: BoolArray) -> State:
        """The state with some columns on their sites, and no position of theirs to fit."""
        position = np.where(which[:, None], site_pm, self.position_pm)
        return replace(self, position_pm=position, empty=self.empty | which)

    def moved(self, step: FloatArray, blur_basis: FloatArray) -> State:
        """The state after a step in the order of `jacobian`'s rows."""
        free = ~self.empty
        sizes = [free.sum(), free.sum(), len(self.weight), 2, len(self.background)]
        x, y, weight, outer, background, blur = np.split(step, np.cumsum(sizes))
        position = self.position_pm.copy()
        position[free] += np.clip(np.stack([x, y], axis=1), -MAX_STEP_PM, MAX_STEP_PM)
        return State(
            position,
            self.weight + weight,
            self.outer + outer,
            self.background + background,
            self.blur_pm2 + blur_basis @ blur,
            self.empty,
        )


@dataclass(frozen=True)
class Structure:
    """A fitted class average: all that its image can be made of again.

    Parameters
    ----------
    geometry : Geometry
    state : State
    profile : ColumnProfile
    free : array of int, `(g,)`
        Coefficients of the profile that were learnt.
    blur_basis : array, `(3, b)`
        Directions in which the blur was free.
    shown : array of bool, `(M,)`
        Columns that are reported.
    """

    geometry: Geometry
    state: State
    profile: ColumnProfile
    free: IntArray
    blur_basis: FloatArray
    shown: BoolArray

    @property
    def position_pm(self) -> FloatArray:
        """Positions of the reported columns; NaN where they are empty."""
        empty = self.state.empty[self.shown]
        return np.where(empty[:, None], np.nan, self.state.position_pm[self.shown])

    def image(self) -> FloatArray:
        """The incoherent image, `(size, size)`: exact positions, the profile, the background.

        `predict` on the whole square.
        """
        window = self.geometry.window
        profile = self.profile.with_blur(self.state.blur_pm2)
        transfer = profile.transfer(window.kx_per_pm, window.ky_per_pm)
        spectrum = transfer * _factor(self.geometry, self.state)
        return self.geometry.image_of(spectrum, self.state.background)


def start_state(
    geometry: Geometry, data: FloatArray, profile: ColumnProfile, blur_pm2: FloatArray, least: float
) -> State:
    """Columns on their ideal sites, with the best weights and background there."""
    m = len(geometry.site_pm)
    terms = len(geometry.background)
    zero = State(
        geometry.site_pm.copy(),
        np.zeros(m),
        np.zeros(2),
        np.zeros(terms),
        blur_pm2,
        np.ones(m, dtype=bool),
    )
    linear = jacobian(geometry, zero, profile, np.zeros((3, 0)))
    coefficient = solve_normal(linear @ linear.T, linear @ data)
    weight, outer, background = np.split(coefficient, [m, m + 2])
    empty = weight < least * np.mean(weight[geometry.is_metal])
    return replace(zero, weight=weight, outer=outer, background=background, empty=empty)


def predict(geometry: Geometry, state: State, profile: ColumnProfile) -> FloatArray:
    """The model at the pixels of the disc, `(P,)`."""
    window = geometry.window
    transfer = profile.with_blur(state.blur_pm2).transfer(window.kx_per_pm, window.ky_per_pm)
    image = window.image(transfer * _factor(geometry, state))[geometry.pixel]
    return np.asarray(image + state.background @ geometry.background)


def jacobian(
    geometry: Geometry, state: State, profile: ColumnProfile, blur_basis: FloatArray
) -> FloatArray:
    """Derivatives of `predict`, `(n, P)`.

    Rows: x of the columns that are not empty, their y, all weights, the two outer weights,
    background, blur along the columns of `blur_basis`.
    """
    window = geometry.window
    kx, ky = window.kx_per_pm, window.ky_per_pm
    transfer = profile.with_blur(state.blur_pm2).transfer(kx, ky)
    half = geometry.patch_px
    patch, row, column = window.patches(transfer, state.position_pm, half)
    m = len(state.weight)
    free = np.flatnonzero(~state.empty)
    n_patch = 2 * len(free) + m
    rest = n_patch + 2 + len(geometry.background)
    rows = np.zeros((rest + blur_basis.shape[1], geometry.background.shape[1]))
    place = np.full(m, -1)
    place[free] = np.arange(len(free))
    last = len(geometry.padded_index) - 1  # a column that strays farther has no pixels anyway
    row, column = (np.clip(i + 2 * half, 0, last) for i in (row, column))
    for j in range(m):
        index = geometry.padded_index[np.ix_(row[j], column[j])]
        inside = index >= 0
        index = index[inside]
        rows[2 * len(free) + j, index] = patch[0, j][inside]
        if place[j] >= 0:
            rows[place[j], index] = state.weight[j] * patch[1, j][inside]
            rows[len(free) + place[j], index] = state.weight[j] * patch[2, j][inside]
    rows[n_patch : n_patch + 2] = window.image(transfer * geometry.outer_factor)[:, geometry.pixel]
    rows[n_patch + 2 : rest] = geometry.background
    if blur_basis.shape[1]:
        spectrum = transfer * _factor(geometry, state)
        terms = np.stack([kx * kx + 0.0 * ky, 2.0 * kx * ky, ky * ky + 0.0 * kx])
        by_blur = window.image(-2.0 * np.pi**2 * terms * spectrum)[:, geometry.pixel]
        rows[rest:] = blur_basis.T @ by_blur
    return rows


def profile_jacobian(
    geometry: Geometry, state: State, profile: ColumnProfile, free: IntArray
) -> FloatArray:
    """Derivatives of `predict` by the profile's free parameters, `(g, P)`."""
    window = geometry.window
    by = profile.with_blur(state.blur_pm2).by_parameters(window.kx_per_pm, window.ky_per_pm)
    spectra = np.moveaxis(by[..., free], -1, 0) * _factor(geometry, state)
    return np.asarray(window.image(spectra)[:, geometry.pixel])


def _factor(geometry: Geometry, state: State) -> ComplexArray:
    inner = geometry.window.structure_factor(state.position_pm, state.weight)
    return np.asarray(inner + np.tensordot(state.outer, geometry.outer_factor, axes=1))


def solve_normal(normal: FloatArray, right: FloatArray) -> FloatArray:
    """Solution of the normal equations, scaled to a unit diagonal for the mix of units.

    A parameter that no pixel follows, such as the position of a column that has left them, is
    dropped: its rows and columns of the solution are zero.
    """
    diagonal = np.diag(normal)
    followed = diagonal > _UNFOLLOWED * np.max(diagonal, initial=0.0)
    scale = np.where(followed, 1.0 / np.sqrt(np.where(followed, diagonal, 1.0)), 0.0)
    right_scaled = (right.T * scale).T
    scaled = normal * np.outer(scale, scale) + np.diag(np.where(followed, 1e-14, 1.0))
    try:
        solution = cho_solve(cho_factor(scaled), right_scaled)
    except LinAlgError:  # two columns in one place: what only their difference says is dropped
        solution = np.linalg.pinv(scaled, rcond=1e-12, hermitian=True) @ right_scaled
    return np.asarray((solution.T * scale).T)
