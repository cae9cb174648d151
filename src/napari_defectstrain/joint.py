"""Least squares of all class averages at once: they share one column profile.

Minimised is ``sum over classes of N_c |I_c - m_c|^2``, the least squares of all single windows,
by Gauss-Newton. Each class's own parameters are eliminated from the normal equations of the few
that all share (the Schur complement).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .crowded import Geometry, State, jacobian, predict, profile_jacobian, solve_normal
from .profiles import ColumnProfile
from .types import ClassAverage, FloatArray, IntArray

FULL_BLUR = np.eye(3)
TRACELESS_BLUR = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
"""Blur of the class that the profile's own width is tied to."""
MAX_HALVINGS = 8
STEPS_PER_LINEARISATION = 4


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
            inverse = solve_normal(own @ own.T, np.eye(len(own)))
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


def classes_by_number(averages: Mapping[str, ClassAverage]) -> Sequence[str]:
    """Names of the classes, the most numerous first."""
    return sorted(averages, key=lambda name: -averages[name].n)
