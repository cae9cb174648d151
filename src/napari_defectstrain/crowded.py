"""All columns of class averages fitted together, with one profile shared by all of them.

Minimised is ``sum over classes of N_c |I_c - m_c|^2`` over the pixels of a disc, the least squares
of all single windows: ``m_c = b_c + sum_j w_j f_c(r - r_j)``, with positions and weights of its own
for every column, a smooth background, and ``f_c`` the shared profile, blurred a little more or less
in each class (registration is not equally good for all). Gauss-Newton; the profile's few parameters
couple the classes and are solved for by the Schur complement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from .lattice import ideal_sites
from .profiles import ColumnProfile, FourierWindow
from .types import BoolArray, ClassAverage, FloatArray, IntArray

FREE_RIM_PM = 60.0
"""Columns up to this far outside the disc are fitted; farther ones keep their ideal sites."""
OUTER_RIM_PM = 500.0
MAX_STEP_PM = 30.0
MAX_HALVINGS = 8
STEPS_PER_LINEARISATION = 4
FULL_BLUR = np.eye(3)
TRACELESS_BLUR = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
"""Blur of the class that the profile's own width is tied to."""


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
    def outer_factor(self) -> FloatArray:
        """Structure factors of the metal and chalcogen columns outside, `(2, ky, kx)`."""
        site, metal = (a[~self._free] for a in self._sites)
        groups = [metal, ~metal]
        return np.stack([self.window.structure_factor(site, g.astype(float)) for g in groups])

    @cached_property
    def background(self) -> FloatArray:
        """Monomials of the background at the pixels, `(B, P)`."""
        x = self.window.x_pm / self.radius_pm
        n = range(self.background_degree + 1)
        terms = [x[None, :] ** i * (-x[:, None]) ** j for i in n for j in n if i + j < len(n)]
        return np.stack([t[self.pixel] for t in terms])

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
    coefficient = _solve(linear @ linear.T, linear @ data)
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
    """Derivatives of `predict` by the profile's free coefficients, `(g, P)`."""
    window = geometry.window
    by = profile.with_blur(state.blur_pm2).by_coefficients(window.kx_per_pm, window.ky_per_pm)
    spectra = np.moveaxis(by[..., free], -1, 0) * _factor(geometry, state)
    return np.asarray(window.image(spectra)[:, geometry.pixel])


def _factor(geometry: Geometry, state: State) -> FloatArray:
    inner = geometry.window.structure_factor(state.position_pm, state.weight)
    return np.asarray(inner + np.tensordot(state.outer, geometry.outer_factor, axes=1))


@dataclass(frozen=True)
class Linearised:
    """Normal equations of one class, its own parameters eliminated from the profile's.

    Parameters
    ----------
    jacobian : array, `(n, P)`
        Of its own parameters.
    inverse : array, `(n, n)`
        ``(J J^T)^-1``.
    gain : array, `(n, g)`
        Shift of its parameters by each coefficient of the profile.
    projected : array, `(g, P)`
        What its own parameters leave of the profile's Jacobian.
    """

    jacobian: FloatArray
    inverse: FloatArray
    gain: FloatArray
    projected: FloatArray


@dataclass(frozen=True)
class Target:
    """What is fitted: the pixels of one class average, its windows, its free blur.

    Parameters
    ----------
    data : array, `(P,)`
    n : int
        Number of windows, the weight of the class.
    noise_variance : float
        Of a pixel of one window.
    blur_basis : array, `(3, b)`
        Directions in which the blur is free.
    """

    data: FloatArray
    n: int
    noise_variance: float
    blur_basis: FloatArray


@dataclass(frozen=True)
class JointFit:
    """Result of `fit_jointly`.

    Parameters
    ----------
    states : mapping of class to State
    profile : ColumnProfile
    linearised : mapping of class to Linearised
        At the solution.
    profile_inverse : array, `(g, g)`
        Inverse of the profile's normal equations.
    residual : mapping of class to array, `(P,)`
    converged : bool
    """

    states: Mapping[str, State]
    profile: ColumnProfile
    linearised: Mapping[str, Linearised]
    profile_inverse: FloatArray
    residual: Mapping[str, FloatArray]
    converged: bool


def target_of(geometry: Geometry, average: ClassAverage, blur_basis: FloatArray) -> Target:
    """The pixels of an average within the disc."""
    sem = average.sem[geometry.pixel]
    variance = float(np.mean(sem**2)) if np.all(np.isfinite(sem)) else 0.0
    return Target(average.mean[geometry.pixel], average.n, variance * average.n, blur_basis)


def fit_jointly(
    geometry: Geometry,
    targets: Mapping[str, Target],
    states: Mapping[str, State],
    profile: ColumnProfile,
    free: IntArray,
    prior_sigma: float,
    tolerance_pm: float,
    max_iterations: int,
) -> JointFit:
    """Gauss-Newton on all classes and the profile's free coefficients.

    Weights and profile multiply each other, so that a plain step overshoots: each linearisation
    serves for several steps, which are cheap beside it, before its outcome is judged.

    Parameters
    ----------
    geometry : Geometry
    targets, states : mappings by class
        What is fitted, and where to start.
    profile : ColumnProfile
        Where to start.
    free : array of int
        Coefficients of the profile to fit; none keeps the profile.
    prior_sigma : float
        The coefficients are held to the start by a Gaussian of this width, in units of T: it
        matters only where the data say nothing (a defect-free lattice alone).
    tolerance_pm : float
        Largest step of a position at convergence [pm].
    max_iterations : int
        Linearisations at most.
    """
    noise = max(t.noise_variance for t in targets.values())
    descent = _Descent(geometry, targets, free, noise / prior_sigma**2, profile.coefficient[free])
    states = dict(states)
    converged = False
    for _ in range(max_iterations):
        parts, inverse = descent.linearise(states, profile)
        states, profile, moved = descent.move(states, profile, parts, inverse)
        converged = moved < tolerance_pm
        if converged:
            break
    parts, inverse = descent.linearise(states, profile)
    residual = descent.residuals(states, profile)
    return JointFit(states, profile, parts, inverse, residual, converged)


@dataclass(frozen=True)
class _Descent:
    geometry: Geometry
    targets: Mapping[str, Target]
    free: IntArray
    prior: float
    prior_mean: FloatArray

    def linearise(
        self, states: Mapping[str, State], profile: ColumnProfile
    ) -> tuple[dict[str, Linearised], FloatArray]:
        parts = {}
        normal = self.prior * np.eye(len(self.free))
        for name, target in self.targets.items():
            own = jacobian(self.geometry, states[name], profile, target.blur_basis)
            shared = profile_jacobian(self.geometry, states[name], profile, self.free)
            inverse = _solve(own @ own.T, np.eye(len(own)))
            gain = -inverse @ (own @ shared.T)
            projected = shared + gain.T @ own
            parts[name] = Linearised(own, inverse, gain, projected)
            normal += target.n * (projected @ projected.T)
        trace = float(np.trace(normal))
        return parts, np.linalg.inv(normal + 1e-13 * trace * np.eye(len(normal)))

    def residuals(
        self, states: Mapping[str, State], profile: ColumnProfile
    ) -> dict[str, FloatArray]:
        return {
            name: target.data - predict(self.geometry, states[name], profile)
            for name, target in self.targets.items()
        }

    def cost(self, profile: ColumnProfile, residual: Mapping[str, FloatArray]) -> float:
        data = sum(self.targets[n].n * float(r @ r) for n, r in residual.items())
        return data + self.prior * float(
            np.sum((profile.coefficient[self.free] - self.prior_mean) ** 2)
        )

    def move(
        self,
        states: dict[str, State],
        profile: ColumnProfile,
        parts: Mapping[str, Linearised],
        profile_inverse: FloatArray,
    ) -> tuple[dict[str, State], ColumnProfile, float]:
        """A few steps with one linearisation, the first shortened until the fit improves.

        Returns the new parameters and how far a position moved in the last step [pm].
        """
        residual = self.residuals(states, profile)
        before = self.cost(profile, residual)
        scale = 1.0
        for _ in range(MAX_HALVINGS):
            now, shared, left = states, profile, residual
            for inner in range(STEPS_PER_LINEARISATION):
                part = scale if inner == 0 else 1.0
                now, shared, moved = self._step(now, shared, parts, profile_inverse, left, part)
                left = self.residuals(now, shared)
                if scale < 1.0:
                    break
            after = self.cost(shared, left)
            if np.isfinite(after) and after <= before * (1.0 + 1e-9) + 1e-18:
                break
            scale *= 0.5
        return now, shared, moved / scale

    def _step(
        self,
        states: Mapping[str, State],
        profile: ColumnProfile,
        parts: Mapping[str, Linearised],
        profile_inverse: FloatArray,
        residual: Mapping[str, FloatArray],
        scale: float,
    ) -> tuple[dict[str, State], ColumnProfile, float]:
        pull = self.prior * (self.prior_mean - profile.coefficient[self.free])
        for name, part in parts.items():
            pull = pull + self.targets[name].n * (part.projected @ residual[name])
        by_profile = profile_inverse @ pull
        coefficient = profile.coefficient.copy()
        coefficient[self.free] += scale * by_profile
        moved = 0.0
        new = {}
        for name, part in parts.items():
            step = part.inverse @ (part.jacobian @ residual[name]) + part.gain @ by_profile
            n_position = 2 * int((~states[name].empty).sum())
            moved = max(moved, float(np.max(np.abs(step[:n_position]), initial=0.0)))
            new[name] = states[name].moved(scale * step, self.targets[name].blur_basis)
        return new, replace(profile, coefficient=coefficient), scale * moved


def _solve(normal: FloatArray, right: FloatArray) -> FloatArray:
    """Solution of the normal equations, scaled to a unit diagonal for the mix of units."""
    scale = 1.0 / np.sqrt(np.diag(normal))
    right_scaled = (right.T * scale).T
    factor = cho_factor(normal * np.outer(scale, scale) + 1e-14 * np.eye(len(normal)))
    return np.asarray((cho_solve(factor, right_scaled).T * scale).T)


def classes_by_number(averages: Mapping[str, ClassAverage]) -> Sequence[str]:
    """Names of the classes, the most numerous first."""
    return sorted(averages, key=lambda name: -averages[name].n)
