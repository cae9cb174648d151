"""Least squares of all class averages at once: they share one column profile.

Minimised is ``sum over classes of N_c sum over pixels of (I_c - m_c)^2 / variance``, the weighted
least squares of all single windows, by damped Gauss-Newton. Each class's own parameters are
eliminated from the normal equations of the few that all share (the Schur complement).

Places and weights of columns follow the noise. Where it is correlated from pixel to pixel (grain,
jitter, resampling), what is left of it agrees with columns displaced by it, and least squares take
that for tails of the profile, the more the fewer windows there are. So the profile is found in the
end by instruments (Reiersol 1945; Wooldridge 2010, chapter 5): the residual is multiplied with the
profile's derivatives at columns as they are foreseen, which know nothing of its noise.
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
LEAST_STEPS, MOST_STEPS = 4, 24
"""With one linearisation; more than the least while they become smaller."""
INSTRUMENT_ROUNDS = 8
SETTLED_PM = 0.1
"""A position that a step moves by less is near enough to its place."""
NEAR_PM = 1.0
"""Where no column is farther away, a linearisation serves as well: a sixtieth of a width."""
WILD_PM = 20.0
"""A step that moves a column by more leads nowhere."""
STRAY_PM = 60.0
"""A column farther from its site tells nothing of where its like are."""


@dataclass(frozen=True)
class Instrument:
    """What the residual of a class is multiplied with to find the profile.

    Parameters
    ----------
    shared : array, `(g, P)`
        Derivatives by the profile's coefficients.
    gain : array, `(n, g)`
        Multiples of the class's own Jacobian that take it out of them.
    """

    shared: FloatArray
    gain: FloatArray


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
    instrument : Instrument
        What finds the profile; weighted alike.
    """

    jacobian: BlockJacobian
    inverse: FloatArray
    gain: FloatArray
    instrument: Instrument

    def projected(self) -> FloatArray:
        """What its own parameters leave of the instrument, `(g, P)`."""
        return self.instrument.shared + self.jacobian.combined(self.instrument.gain.T)


@dataclass(frozen=True)
class _Solution:
    """The normal equations of one class solved: `Linearised` without what has pixels."""

    equations: NormalEquations
    gain: FloatArray


@dataclass(frozen=True)
class _Equations:
    """What tells the next step: each class solved, what finds the profile, and its equations."""

    parts: Mapping[str, _Solution]
    instruments: dict[str, Instrument]
    inverse: FloatArray


@dataclass(frozen=True)
class _Products:
    """Jacobians of one class, weighted, and their products."""

    own: BlockJacobian
    shared: FloatArray
    own_own: FloatArray
    own_shared: FloatArray
    shared_shared: FloatArray


_Solved = tuple[dict[str, _Products], _Equations]


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
    by_prior : array, `(g, k)`
        What independent one-sigma errors of what the profile is held to make of its coefficients:
        little where the data tell them.
    residual : mapping of class to array, `(P,)`
        Data less model, not weighted.
    converged : bool
    """

    states: Mapping[str, State]
    profile: ColumnProfile
    linearised: Mapping[str, Linearised]
    profile_inverse: FloatArray
    by_prior: FloatArray
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
    ways: FloatArray | None = None,
    apart: FloatArray | None = None,
) -> JointFit:
    """Levenberg-Marquardt on all classes and the profile's free coefficients, then instruments.

    Weights and profile multiply each other, so that a plain step overshoots: each linearisation
    serves for several steps, which are cheap beside it, before its outcome is judged. The last one
    lies near the solution, and tells how that follows the pixels.

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
    ways : array, `(g, w)`, optional
        Departures from the start, one standard deviation each, beside those of `prior_sigma`.
    apart : array, `(g, a)`, optional
        How far the start is from the middle of what the profile may be: a further error.
    """
    noise = max(t.noise_variance for t in targets.values())
    prior = noise * _information(np.broadcast_to(prior_sigma, free.shape), ways)
    descent = _Descent(geometry, targets, free, prior, profile.parameters[free])
    negligible = NEGLIGIBLE_CHI2 * noise
    start = _Parameters(dict(states), profile)
    now, converged, near = descent.run(start, negligible, tolerance_pm, max_iterations)
    solved = None
    if converged and len(free):
        if noise > 0.0:  # what has none, a simulation, needs no instruments against it
            now, solved = descent.by_instruments(now, near, tolerance_pm)
    elif len(free):
        # Few windows leave the profile's tails open, in a long flat valley: take the profile as
        # it is, and settle the columns
        settled = replace(
            descent, free=free[:0], prior=prior[:0, :0], prior_mean=descent.prior_mean[:0]
        )
        now, converged, _ = settled.run(now, negligible, tolerance_pm, max_iterations)
    root = {name: t.root_weight for name, t in targets.items()}
    residual = {name: r / root[name] for name, r in descent.residuals(now).items()}
    if not respond:
        none = np.zeros((0, 0))
        return JointFit(now.states, now.profile, {}, none, none, residual, converged)
    products, equations = solved or descent.solved(now)
    inverse, parts = equations.inverse, {}
    for name, part in equations.parts.items():
        p = products.pop(name)  # twenty megabytes a class go as soon as they have served
        own, found = p.own.weighted(root[name]), equations.instruments.pop(name)
        instrument = Instrument(found.shared * root[name], found.gain)
        parts[name] = Linearised(own, part.equations.inverse(), part.gain, instrument)
    value, vector = np.linalg.eigh(prior)
    by_prior = inverse @ (vector * np.sqrt(noise * np.maximum(value, 0.0)))
    if apart is not None and len(free):
        by_prior = np.hstack([by_prior, inverse @ prior @ apart])
    return JointFit(now.states, now.profile, parts, inverse, by_prior, residual, converged)


def _information(sigma: FloatArray, ways: FloatArray | None) -> FloatArray:
    """Inverse of the prior's covariance, `(g, g)`: independent errors, and some ways beside."""
    if ways is None or not len(sigma):
        return np.diag(sigma**-2.0)
    return np.linalg.inv(np.diag(sigma**2) + ways @ ways.T)


def _foreseen(geometry: Geometry, state: State) -> State:
    """A class without what noise makes of its single columns.

    Weights are those of the sublattice, but for the centre; columns are displaced as their
    sublattice, and outwards or inwards as their shell around the centre.
    """
    site, metal = geometry.site_pm, geometry.is_metal
    radius = np.maximum(np.hypot(*site.T), 1.0)
    weight, common = state.weight.copy(), np.zeros_like(site)
    away = state.position_pm - site
    held = ~state.empty & (np.hypot(*away.T) < STRAY_PM)
    for of_kind in (metal, ~metal):
        around = of_kind & (radius > 1.0)
        weight[around] = np.median(weight[around])
        told = around & held
        if told.any():
            common[of_kind] = np.median(away[told], axis=0)
    outward = np.sum((away - common) * site, axis=1) / radius
    _, shell = np.unique(2 * np.rint(radius).astype(int) + metal, return_inverse=True)
    number = np.maximum(np.bincount(shell, held), 1.0)
    mean = np.bincount(shell, np.where(held, outward, 0.0)) / number
    position = site * (1.0 + mean[shell] / radius)[:, None] + common
    return replace(state, position_pm=position, weight=weight)


@dataclass(frozen=True)
class _Parameters:
    states: Mapping[str, State]
    profile: ColumnProfile


@dataclass(frozen=True)
class _Near:
    """Products of the Jacobians at some parameters."""

    at: _Parameters
    products: dict[str, _Products]

    def serves(self, now: _Parameters) -> bool:
        """Whether parameters are so near that Jacobians there are the same."""
        return all(
            np.abs(state.position_pm - self.at.states[name].position_pm).max() < NEAR_PM
            for name, state in now.states.items()
        )


@dataclass(frozen=True)
class _Descent:
    geometry: Geometry
    targets: Mapping[str, Target]
    free: IntArray
    prior: FloatArray
    prior_mean: FloatArray

    def run(
        self, now: _Parameters, negligible: float, tolerance_pm: float, max_iterations: int
    ) -> tuple[_Parameters, bool, _Near]:
        """The least squares' solution, whether it is one, and the last linearisation before it."""
        damping = 0.0
        for _ in range(max_iterations):
            near = _Near(now, self.differentiate(now))
            now, moved, gained, damping = self.descend(near, damping, tolerance_pm)
            if moved < tolerance_pm or 0.0 <= gained < negligible:
                return now, True, near
        return now, False, near

    def by_instruments(
        self, start: _Parameters, near: _Near, tolerance_pm: float
    ) -> tuple[_Parameters, _Solved | None]:
        """From the least squares' solution to that of the instruments, with what was solved there.

        Where steps don't settle, as those of one or two wild windows may not, it stays. None where
        nothing was solved near enough.
        """
        now = start
        for number in range(INSTRUMENT_ROUNDS):
            if number:
                near = _Near(now, self.differentiate(now))
            equations = self.equations(now, near.products)
            # the first round knows Jacobians from before the solution only
            enough = tolerance_pm if number else SETTLED_PM
            with np.errstate(over="ignore", invalid="ignore"):
                for _ in range(MOST_STEPS):
                    residual = self.residuals(now)
                    now, moved = self._step(now, near.products, equations, residual)
                    if not moved < WILD_PM:
                        return start, None
                    if moved < enough:
                        break
            if number and moved < enough and near.serves(now):
                return now, (near.products, equations)
        return (now if moved < SETTLED_PM else start), None

    def solved(self, now: _Parameters) -> _Solved:
        """Jacobians and equations at some parameters."""
        products = self.differentiate(now)
        return products, self.equations(now, products)

    def equations(self, now: _Parameters, products: Mapping[str, _Products]) -> _Equations:
        """Those of all classes, with the instrument of each."""
        parts, _ = self.linearise(products, 0.0)
        found = {}
        normal = self.prior.copy()
        for name, part in parts.items():
            p, target = products[name], self.targets[name]
            foreseen = _foreseen(self.geometry, now.states[name])
            shared = profile_jacobian(self.geometry, foreseen, now.profile, self.free)
            shared *= target.root_weight
            gain = -part.equations.solve(p.own.times(shared))
            normal += target.n * (shared @ p.shared.T + gain.T @ p.own_shared)
            found[name] = Instrument(shared, gain)
        normal += 1e-13 * np.diag(np.diag(normal))
        return _Equations(parts, found, np.linalg.inv(normal))

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
        normal = self.prior.copy()
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
        return data + float(departure @ self.prior @ departure)

    def descend(
        self, near: _Near, damping: float, tolerance_pm: float
    ) -> tuple[_Parameters, float, float, float]:
        """A few steps with one linearisation, damped until the fit improves.

        Returns the new parameters, how far a position moved in the last step [pm], by how much the
        cost fell, and the damping for the next time.
        """
        start, products = near.at, near.products
        first = self.residuals(start)
        before = self.cost(start, first)
        for _ in range(MAX_TRIALS):
            parts, inverse = self.linearise(products, damping)
            least = {n: Instrument(products[n].shared, part.gain) for n, part in parts.items()}
            equations = _Equations(parts, least, inverse)
            now, residual, steps = start, first, [np.inf] * LEAST_STEPS
            # a step of a class of few windows may go wild: it overflows, and is then refused
            with np.errstate(over="ignore", invalid="ignore"):
                for _ in range(MOST_STEPS):
                    now, moved = self._step(now, products, equations, residual)
                    residual = self.residuals(now)
                    steps.append(moved)
                    if moved < tolerance_pm or not moved < steps[-LEAST_STEPS]:
                        break
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
        equations: _Equations,
        residual: Mapping[str, FloatArray],
    ) -> tuple[_Parameters, float]:
        pull = self.prior @ (self.prior_mean - now.profile.parameters[self.free])
        followed = {}
        for name in equations.parts:
            followed[name] = products[name].own.times(residual[name])
            of_class = equations.instruments[name]
            projected = of_class.shared @ residual[name] + of_class.gain.T @ followed[name]
            pull = pull + self.targets[name].n * projected
        by_profile = equations.inverse @ pull
        parameters = now.profile.parameters
        parameters[self.free] += by_profile
        moved = 0.0
        states = {}
        for name, part in equations.parts.items():
            step = part.equations.solve(followed[name]) + part.gain @ by_profile
            n_position = 2 * int((~now.states[name].empty).sum())
            moved = max(moved, float(np.max(np.abs(step[:n_position]), initial=0.0)))
            states[name] = now.states[name].moved(step, self.targets[name].blur_basis)
        return _Parameters(states, now.profile.with_parameters(parameters)), moved


def classes_by_number(averages: Mapping[str, ClassAverage]) -> Sequence[str]:
    """Names of the classes, the most numerous first."""
    return sorted(averages, key=lambda name: -averages[name].n)
