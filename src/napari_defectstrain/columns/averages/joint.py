"""Least squares of all class averages at once: they share one column profile.

Minimised is ``sum over classes of N_c sum over pixels of (I_c - m_c)^2 / variance``, the weighted
least squares of all single windows, by damped Gauss-Newton. Each class's own parameters are
eliminated from the normal equations of the few that all share (the Schur complement).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...progress import shared_out
from ...types import ClassAverage, FloatArray, IntArray
from ..profiles import ColumnProfile
from .blocks import BlockJacobian
from .crowded import (
    Geometry,
    NormalEquations,
    State,
    block_jacobian,
    predict,
    profile_jacobian,
)

FULL_BLUR = np.eye(3)
TRACELESS_BLUR = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
"""Blur of the class that the profile's own width is tied to."""
MAX_TRIALS = 8
MIN_DAMPING = 1e-4
NEGLIGIBLE_CHI2 = 1e-3
"""A gain in chi^2 (in pixel noise) that no later step could make worth having."""
STEPS_PER_LINEARISATION = 4


@dataclass(frozen=True)
class Linearised:
    """One class near its present parameters, and how it follows the profile's.

    Parameters
    ----------
    jacobian : BlockJacobian
        Of its own parameters, `(n, P)`; by the pixels' weights (`Target.root_weight`) in a
        `JointFit`, so that ``jacobian.combined(inverse)`` is their derivative by the pixels.
    inverse : array, `(n, n)`
        ``(J J^T)^-1``.
    gain : array, `(n, g)`
        Shift of its parameters by each coefficient of the profile.
    shared : array, `(g, P)`
        The profile's Jacobian; weighted alike.
    """

    jacobian: BlockJacobian
    inverse: FloatArray
    gain: FloatArray
    shared: FloatArray

    def projected(self) -> FloatArray:
        """What its own parameters leave of the profile's Jacobian, `(g, P)`."""
        return self.shared + self.jacobian.combined(self.gain.T)


@dataclass(frozen=True)
class _Solution:
    """The normal equations of one class solved: `Linearised` without what has pixels."""

    equations: NormalEquations
    gain: FloatArray


@dataclass(frozen=True)
class _Products:
    """Jacobians of one class, weighted, and their products."""

    own: BlockJacobian
    shared: FloatArray
    own_own: FloatArray
    own_shared: FloatArray
    shared_shared: FloatArray


@dataclass(frozen=True)
class Target:
    """What is fitted: the pixels of one class average, its windows, its free blur.

    Parameters
    ----------
    data : array, `(P,)`
    n : int
        Number of windows, the weight of the class.
    noise_variance : float
        Of a pixel of one window that has the weight 1.
    blur_basis : array, `(3, b)`
        Directions in which the blur is free.
    root_weight : array, `(P,)`, or float
        Square root of each pixel's weight: `noise_variance` over its own variance.
    """

    data: FloatArray
    n: int
    noise_variance: float
    blur_basis: FloatArray
    root_weight: FloatArray | float = 1.0


@dataclass(frozen=True)
class JointFit:
    """Result of `fit_jointly`.

    Parameters
    ----------
    states : mapping of class to State
    profile : ColumnProfile
    linearised : mapping of class to Linearised
        At the solution; empty if it was not asked for.
    profile_inverse : array, `(g, g)`
        Inverse of the profile's normal equations.
    residual : mapping of class to array, `(P,)`
        Data less model, not weighted.
    converged : bool
    """

    states: Mapping[str, State]
    profile: ColumnProfile
    linearised: Mapping[str, Linearised]
    profile_inverse: FloatArray
    residual: Mapping[str, FloatArray]
    converged: bool


def target_of(
    geometry: Geometry,
    average: ClassAverage,
    blur_basis: FloatArray,
    variance: FloatArray,
    noise_variance: float,
) -> Target:
    """The pixels of an average within the disc.

    Parameters
    ----------
    geometry : Geometry
    average : ClassAverage
    blur_basis : array, `(3, b)`
    variance : array, `(P,)`
        Of a pixel of one window; zero where there is no noise: all pixels then weigh the same.
    noise_variance : float
        What has the weight 1; the same for all classes.
    """
    data = average.mean[geometry.pixel]
    root = np.sqrt(noise_variance / variance) if noise_variance > 0.0 else np.ones(len(data))
    return Target(data, average.n, noise_variance, blur_basis, root)


def fit_jointly(
    geometry: Geometry,
    targets: Mapping[str, Target],
    states: Mapping[str, State],
    profile: ColumnProfile,
    free: IntArray,
    prior_sigma: float | FloatArray,
    tolerance_pm: float,
    max_iterations: int,
    respond: bool = True,
) -> JointFit:
    """Levenberg-Marquardt on all classes and the profile's free coefficients.

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
        Which of the profile's `parameters` to fit; none keeps the profile.
    prior_sigma : float or array, `(g,)`
        The coefficients are held to the start by Gaussians of these widths, in units of T: it
        matters only where the data say nothing (a defect-free lattice alone).
    tolerance_pm : float
        Largest step of a position at convergence [pm]; it also counts as converged where the fit
        gains nothing against the noise any more.
    max_iterations : int
        Linearisations at most.
    respond : bool
        Whether to linearise at the solution: needed for covariance and influence.
    """
    noise = max(t.noise_variance for t in targets.values())
    prior = np.broadcast_to(noise / np.square(prior_sigma), free.shape)
    descent = _Descent(geometry, targets, free, prior, profile.parameters[free])
    negligible = NEGLIGIBLE_CHI2 * noise
    start = _Parameters(dict(states), profile)
    now, converged = descent.run(start, negligible, tolerance_pm, max_iterations)
    if not converged and len(free):
        # Few windows leave the profile's tails open, in a long flat valley: take the profile as
        # it is, and settle the columns
        settled = replace(
            descent, free=free[:0], prior=prior[:0], prior_mean=descent.prior_mean[:0]
        )
        now, converged = settled.run(now, negligible, tolerance_pm, max_iterations)
    root = {name: t.root_weight for name, t in targets.items()}
    residual = {name: r / root[name] for name, r in descent.residuals(now).items()}
    if not respond:
        return JointFit(now.states, now.profile, {}, np.zeros((0, 0)), residual, converged)
    products = descent.differentiate(now)
    solved, inverse = descent.linearise(products, 0.0)
    parts = {}
    for name, part in solved.items():
        p = products.pop(name)  # twenty megabytes a class go as soon as they have served
        own, shared = p.own.weighted(root[name]), p.shared * root[name]
        parts[name] = Linearised(own, part.equations.inverse(), part.gain, shared)
    return JointFit(now.states, now.profile, parts, inverse, residual, converged)


@dataclass(frozen=True)
class _Parameters:
    states: Mapping[str, State]
    profile: ColumnProfile


@dataclass(frozen=True)
class _Descent:
    geometry: Geometry
    targets: Mapping[str, Target]
    free: IntArray
    prior: FloatArray
    prior_mean: FloatArray

    def run(
        self, now: _Parameters, negligible: float, tolerance_pm: float, max_iterations: int
    ) -> tuple[_Parameters, bool]:
        damping = 0.0
        for _ in range(max_iterations):
            products = self.differentiate(now)
            now, moved, gained, damping = self.descend(now, products, damping)
            if moved < tolerance_pm or 0.0 <= gained < negligible:
                return now, True
        return now, False

    def differentiate(self, now: _Parameters) -> dict[str, _Products]:
        def of_class(name: str) -> _Products:
            state, target = now.states[name], self.targets[name]
            own = block_jacobian(
                self.geometry, state, now.profile, target.blur_basis, target.root_weight
            )
            shared = profile_jacobian(self.geometry, state, now.profile, self.free)
            shared *= target.root_weight
            return _Products(own, shared, own.normal(), own.times(shared), shared @ shared.T)

        self.geometry.prepare()
        return dict(zip(self.targets, shared_out(of_class, self.targets), strict=True))

    def linearise(
        self, products: Mapping[str, _Products], damping: float
    ) -> tuple[dict[str, _Solution], FloatArray]:
        """Eliminate each class's parameters from the profile's normal equations."""
        parts = {}
        normal = np.diag(self.prior)
        for name, p in products.items():
            damped = p.own_own + damping * np.diag(np.diag(p.own_own))
            equations = NormalEquations.of(damped)
            gain = -equations.solve(p.own_shared)
            parts[name] = _Solution(equations, gain)
            # p.shared projected on itself, without forming it anew from the pixels
            normal += self.targets[name].n * (p.shared_shared + gain.T @ p.own_shared)
        normal = 0.5 * (normal + normal.T)
        normal += (damping + 1e-13) * np.diag(np.diag(normal))
        return parts, np.linalg.inv(normal)

    def residuals(self, now: _Parameters) -> dict[str, FloatArray]:
        """Weighted residuals of each class."""
        return {
            name: target.root_weight
            * (target.data - predict(self.geometry, now.states[name], now.profile))
            for name, target in self.targets.items()
        }

    def cost(self, now: _Parameters, residual: Mapping[str, FloatArray]) -> float:
        data = sum(self.targets[n].n * float(r @ r) for n, r in residual.items())
        departure = now.profile.parameters[self.free] - self.prior_mean
        return data + float(self.prior @ departure**2)

    def descend(
        self, start: _Parameters, products: Mapping[str, _Products], damping: float
    ) -> tuple[_Parameters, float, float, float]:
        """A few steps with one linearisation, damped until the fit improves.

        Returns the new parameters, how far a position moved in the last step [pm], by how much the
        cost fell, and the damping for the next time.
        """
        first = self.residuals(start)
        before = self.cost(start, first)
        for _ in range(MAX_TRIALS):
            parts, inverse = self.linearise(products, damping)
            now, residual = start, first
            # a step of a class of few windows may go wild: it overflows, and is then refused
            with np.errstate(over="ignore", invalid="ignore"):
                for _ in range(STEPS_PER_LINEARISATION):
                    now, moved = self._step(now, products, parts, inverse, residual)
                    residual = self.residuals(now)
                after = self.cost(now, residual)
            if np.isfinite(after) and after <= before * (1.0 + 1e-9) + 1e-18:
                lower = 0.1 * damping if damping > MIN_DAMPING else 0.0
                return now, moved, before - after, lower
            damping = max(10.0 * damping, MIN_DAMPING)
        return start, np.inf, -1.0, damping

    def _step(
        self,
        now: _Parameters,
        products: Mapping[str, _Products],
        parts: Mapping[str, _Solution],
        profile_inverse: FloatArray,
        residual: Mapping[str, FloatArray],
    ) -> tuple[_Parameters, float]:
        pull = self.prior * (self.prior_mean - now.profile.parameters[self.free])
        followed = {}
        for name, part in parts.items():
            followed[name] = products[name].own.times(residual[name])
            projected = products[name].shared @ residual[name] + part.gain.T @ followed[name]
            pull = pull + self.targets[name].n * projected
        by_profile = profile_inverse @ pull
        parameters = now.profile.parameters
        parameters[self.free] += by_profile
        moved = 0.0
        states = {}
        for name, part in parts.items():
            step = part.equations.solve(followed[name]) + part.gain @ by_profile
            n_position = 2 * int((~now.states[name].empty).sum())
            moved = max(moved, float(np.max(np.abs(step[:n_position]), initial=0.0)))
            states[name] = now.states[name].moved(step, self.targets[name].blur_basis)
        return _Parameters(states, now.profile.with_parameters(parameters)), moved


def classes_by_number(averages: Mapping[str, ClassAverage]) -> Sequence[str]:
    """Names of the classes, the most numerous first."""
    return sorted(averages, key=lambda name: -averages[name].n)
