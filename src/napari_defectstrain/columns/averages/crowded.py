"""The model of a whole class average: all its columns, a background, one profile; its Jacobian.

``m = b + sum_j w_j f(r - r_j)`` at the pixels of a disc, with a position and a weight of its own
for every column, a smooth background b, and the profile f, blurred a little more or less in each
class (registration is not equally good for all).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky
from scipy.linalg.lapack import dpotri

from ...crystal.lattice import ideal_sites
from ...types import BoolArray, FloatArray, IntArray
from ..asymmetry import ComplexArray
from ..profiles import ColumnProfile, FourierWindow
from .blocks import BlockJacobian, PixelBlock, assemble, pixel_blocks

FREE_RIM_PM = 60.0
"""Columns up to this far outside the disc are fitted; farther ones keep their ideal sites."""
OUTER_RIM_PM = 500.0
MAX_STEP_PM = 30.0
PATCH_PERIODS = 5.0
"""A column's periodic images lie so many times as far from it as its patch reaches: of its height
they add a few parts in a hundred thousand to the Jacobian, a twentieth of what lies beyond."""


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
    def pixel_blocks(self) -> tuple[PixelBlock, ...]:
        """The pixels in blocks of neighbours."""
        return pixel_blocks(self.pixel)

    def prepare(self) -> None:
        """Work out what all classes share, before threads ask for it at a time."""
        for name in ("pixel_blocks", "outer_factor", "background", "patch_window"):
            getattr(self, name)

    @property
    def patch_px(self) -> int:
        """Half the side of a patch [px]."""
        return int(np.ceil(self.patch_pm / self.window.step_pm))

    @cached_property
    def patch_window(self) -> FourierWindow:
        """The window of the patches, of as few frequencies as they need."""
        sides = PATCH_PERIODS * (self.patch_px + 0.5) / self.window.size
        return replace(self.window, sides=min(sides, self.window.sides))

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
        transfer = window.transfer(self.profile.with_blur(self.state.blur_pm2))
        spectrum = transfer * _factor(self.geometry, self.state)
        return self.geometry.image_of(spectrum, self.state.background)


@dataclass(frozen=True)
class LinearStart:
    """Columns on their ideal sites: what is linear there serves all classes.

    Parameters
    ----------
    geometry : Geometry
    blur_pm2 : array, `(3,)`
        Of the columns' profile.
    rows : BlockJacobian
        Of weights and background.
    inverse : array, `(n, n)`
        ``(J J^T)^-1``.
    """

    geometry: Geometry
    blur_pm2: FloatArray
    rows: BlockJacobian
    inverse: FloatArray

    @classmethod
    def of(cls, geometry: Geometry, profile: ColumnProfile) -> LinearStart:
        """With this profile for all columns."""
        zero = _nothing(geometry, profile.blur_pm2)
        rows = block_jacobian(geometry, zero, profile, np.zeros((3, 0)))
        inverse = NormalEquations.of(rows.normal()).inverse()
        return cls(geometry, profile.blur_pm2, rows, inverse)

    def state(self, data: FloatArray, least: float) -> State:
        """The best weights and background for the pixels `(P,)`.

        Columns of less than a fraction `least` of the mean metal column are empty.
        """
        m = len(self.geometry.site_pm)
        coefficient = self.inverse @ self.rows.times(data)
        weight, outer, background = np.split(coefficient, [m, m + 2])
        empty = weight < least * np.mean(weight[self.geometry.is_metal])
        zero = _nothing(self.geometry, self.blur_pm2)
        return replace(zero, weight=weight, outer=outer, background=background, empty=empty)


def _nothing(geometry: Geometry, blur_pm2: FloatArray) -> State:
    """Columns of zero weight on their ideal sites."""
    m = len(geometry.site_pm)
    return State(
        geometry.site_pm.copy(),
        np.zeros(m),
        np.zeros(2),
        np.zeros(len(geometry.background)),
        blur_pm2,
        np.ones(m, dtype=bool),
    )


def predict(geometry: Geometry, state: State, profile: ColumnProfile) -> FloatArray:
    """The model at the pixels of the disc, `(P,)`."""
    window = geometry.window
    transfer = window.transfer(profile.with_blur(state.blur_pm2))
    image = window.image(transfer * _factor(geometry, state))[geometry.pixel]
    return np.asarray(image + state.background @ geometry.background)


def jacobian(
    geometry: Geometry, state: State, profile: ColumnProfile, blur_basis: FloatArray
) -> FloatArray:
    """Derivatives of `predict`, `(n, P)`.

    Rows: x of the columns that are not empty, their y, all weights, the two outer weights,
    background, blur along the columns of `blur_basis`.
    """
    return block_jacobian(geometry, state, profile, blur_basis).whole()


def block_jacobian(
    geometry: Geometry,
    state: State,
    profile: ColumnProfile,
    blur_basis: FloatArray,
    pixel_weight: FloatArray | float = 1.0,
) -> BlockJacobian:
    """`jacobian` without its zeros; columns of pixels times `pixel_weight`, `(P,)`."""
    window = geometry.window
    own = profile.with_blur(state.blur_pm2)
    transfer = window.transfer(own)
    moving = not state.empty.all()
    near = geometry.patch_window
    patch, row, column = near.column_patches(own, state.position_pm, geometry.patch_px, moving)
    m, n_free = len(state.weight), int((~state.empty).sum())
    weights = 2 * n_free + np.arange(m)
    place = np.where(state.empty, -1, np.cumsum(~state.empty) - 1)
    of_position = np.where(place < 0, -1, np.stack([place, n_free + place]))
    patch[1:] *= state.weight[:, None, None]
    everywhere = [window.image(transfer * geometry.outer_factor)[:, geometry.pixel]]
    everywhere.append(geometry.background)
    if blur_basis.shape[1]:
        kx, ky = window.kx_per_pm, window.ky_per_pm
        spectrum = transfer * _factor(geometry, state)
        terms = np.stack([kx * kx + 0.0 * ky, 2.0 * kx * ky, ky * ky + 0.0 * kx])
        by_blur = window.image(-2.0 * np.pi**2 * terms * spectrum)[:, geometry.pixel]
        everywhere.append(blur_basis.T @ by_blur)
    rest = np.concatenate(everywhere)
    n_patch = 2 * n_free + m
    return assemble(
        geometry.pixel_blocks,
        patch,
        (row[:, 0], column[:, 0]),
        np.concatenate([weights[None], of_position])[: len(patch)],
        (n_patch + np.arange(len(rest)), rest),
        n_patch + len(rest),
        pixel_weight,
    )


def profile_jacobian(
    geometry: Geometry, state: State, profile: ColumnProfile, free: IntArray
) -> FloatArray:
    """Derivatives of `predict` by the profile's free parameters, `(g, P)`."""
    window = geometry.window
    by = window.by_parameters(profile.with_blur(state.blur_pm2))
    spectra = np.moveaxis(by[..., free], -1, 0) * _factor(geometry, state)
    return np.asarray(window.image(spectra)[:, geometry.pixel])


def _factor(geometry: Geometry, state: State) -> ComplexArray:
    inner = geometry.window.structure_factor(state.position_pm, state.weight)
    return np.asarray(inner + np.tensordot(state.outer, geometry.outer_factor, axes=1))


@dataclass(frozen=True)
class NormalEquations:
    """Normal equations, factorised for any number of right-hand sides.

    They are scaled to a unit diagonal for the mix of units. A parameter that no pixel follows, such
    as the position of a column that has left them, is dropped: its rows and columns of the solution
    are zero.

    Parameters
    ----------
    scale : array, `(n,)`
        Of the parameters; zero where one is dropped.
    factor : array, `(n, n)`, or None
        Cholesky's, upper; None where `inverse_scaled` is known.
    inverse_scaled : array, `(n, n)`, or None
    """

    scale: FloatArray
    factor: FloatArray | None
    inverse_scaled: FloatArray | None = None

    @classmethod
    def of(cls, normal: FloatArray) -> NormalEquations:
        """Of a symmetric matrix `(n, n)`."""
        diagonal = np.diag(normal)
        followed = diagonal > _UNFOLLOWED * np.max(diagonal, initial=0.0)
        scale = np.where(followed, 1.0 / np.sqrt(np.where(followed, diagonal, 1.0)), 0.0)
        scaled = normal * np.outer(scale, scale) + np.diag(np.where(followed, 1e-14, 1.0))
        try:
            return cls(scale, cholesky(scaled))
        except LinAlgError:  # two columns in one place: what only their difference says is dropped
            return cls(scale, None, np.linalg.pinv(scaled, rcond=1e-12, hermitian=True))

    def solve(self, right: FloatArray) -> FloatArray:
        """Solution for a right-hand side `(n,)`, or several `(n, k)`."""
        scaled = (right.T * self.scale).T
        if self.inverse_scaled is not None:
            solution = self.inverse_scaled @ scaled
        else:
            # a wild step of few windows has overflowed: so does what follows from it
            solution = cho_solve((self.factor, False), scaled, check_finite=False)
        return np.asarray((solution.T * self.scale).T)

    def inverse(self) -> FloatArray:
        """``(n, n)``: a third of the work of solving for all unit vectors."""
        inverse = self.inverse_scaled
        if inverse is None:
            upper, _ = dpotri(self.factor)
            inverse = upper + np.triu(upper, 1).T
        return np.asarray(inverse * np.outer(self.scale, self.scale))
