"""One population or two? Windows of a class by their centre's weight and their triangle together.

The noise of both is that of the defect-free windows, so that what is left is the class's own. A
second population has no place to be where there is none: minus twice the logarithm of the
likelihood ratio isn't distributed as chi squared, and its p comes from stacks of one population,
simulated with the noise of the defect-free windows (parametric bootstrap; McLachlan 1987,
doi:10.2307/2347790). Windows were chosen by weight, and some are expected to be of other classes:
both are in the likelihood.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincinv, chdtri, gammaincinv, ndtri

from ..averages import Membership
from ..config import Between, Config
from ..types import FloatArray, IntArray, Progress, no_progress
from .membership import membership_of
from .mixture_fit import (
    Held,
    Known,
    Mixture,
    Selection,
    fit_mixture,
    settled,
    start_at,
)

MIN_WINDOWS = 20
"""Windows that a class needs for the question whether it is one population or two."""

FIRST_STEPS, LAST_STEPS, NEAR_STEPS = 8, 40, 30
OUTER_PART = 0.1
"""Windows that a second population is started from, at either end of each quantity."""

BATCH = 50
ENOUGH_ABOVE = 10
"""Simulated stacks beyond the measured one at which p is known well enough."""

EDGE, GRID = 1e-4, 13
POWER = 0.9
POWER_DRAWS = 4000
CHI2_95 = float(chdtri(1, 0.05))


@dataclass(frozen=True)
class MakeupConfig(Config):
    """Settings of what classes are made of.

    Parameters
    ----------
    enabled : bool
        Whether it is asked at all.
    samples : int
        Stacks of one population that are simulated for p, at most; fewer where p is large.
    errors : int
        Stacks of two populations that are simulated for the errors.
    level : float
        A class is called two populations where p is below.
    components : int
        Pictures of how the windows of a class vary.
    """

    enabled: bool = True
    samples: Annotated[int, Between(50, 10**6)] = 999
    errors: Annotated[int, Between(20, 10**5)] = 100
    level: Annotated[float, Between(1e-6, 0.5)] = 0.01
    components: Annotated[int, Between(1, 10)] = 3


@dataclass(frozen=True)
class WindowSample:
    """What is asked: two quantities of the windows of a class, and the noise of both.

    Parameters
    ----------
    value : array, `(N, 2)`
        Centre's weight [metal columns] and triangle's size [pm], against the class's average.
    noise : array, `(R, 2)`
        What noise alone does to them, by defect-free windows; mean zero.
    noise_weight : array, `(R,)`
        How much each of these counts: images as often as among the class's windows.
    noise_scale, noise_scale_error : float
        The class's own noise over that, by columns far from the centre.
    undistorted : array, `(2,)`
        Where a window of this class without any distortion would lie.
    selection : Selection
        Of the windows, by weight.
    others : mapping-like tuple of (name, share, array `(2,)`)
        Other classes that are expected among the windows, and where they would lie.
    """

    value: FloatArray
    noise: FloatArray
    noise_weight: FloatArray
    noise_scale: float
    noise_scale_error: float
    undistorted: FloatArray
    selection: Selection
    others: tuple[tuple[str, float, FloatArray], ...] = ()


@dataclass(frozen=True)
class Population:
    """One population of a class.

    Parameters
    ----------
    share, share_std : float
        Of the windows, those of other classes counted, and its error.
    share_95 : (float, float)
        Interval of 95 % by the likelihood.
    value, value_std : arrays, `(2,)`
        Weight and triangle against the class's average, as `WindowSample.value`, and errors.
    """

    share: float
    share_std: float
    share_95: tuple[float, float]
    value: FloatArray
    value_std: FloatArray


@dataclass(frozen=True)
class TwoPopulations:
    """Whether a class is one population or two.

    Parameters
    ----------
    n : int
        Windows asked.
    ratio : float
        Twice the logarithm of the likelihood ratio of two populations to one.
    p : float
        Chance of as much from one population, by simulation; at least 1 over the stacks simulated.
    simulated : int
        Stacks that it comes from.
    level : float
        Below which two populations are said.
    populations : tuple of Population
        One, or two, the larger first.
    belonging : array, `(N, K)`
        Chance of each window to be of each population, of those that are of the class at all.
    undistorted_95 : (float, float)
        Interval of 95 % of the share of windows whose triangle is that of the defect-free lattice,
        of any weight: what holds where only one population is seen, too.
    expected_other : float
        Share of windows expected to be of other classes: not in any of the shares.
    seen_from : float
        Least share of undistorted windows that this many windows would have shown, nine times of
        ten; NaN where not even a half would.
    noise_scale : float
        Noise of the class's windows over that of the defect-free ones, fitted.
    membership : Membership or None
        What parts are told apart by; None for one population.
    """

    n: int
    ratio: float
    p: float
    simulated: int
    level: float
    populations: tuple[Population, ...]
    belonging: FloatArray
    undistorted_95: tuple[float, float]
    expected_other: float
    seen_from: float
    noise_scale: float
    membership: Membership | None = None

    @property
    def two(self) -> bool:
        """Whether it is called two populations."""
        return len(self.populations) > 1

    @property
    def p_text(self) -> str:
        """For people: ``p < 0.001`` where no simulated stack came near."""
        least = 1.0 / (self.simulated + 1)
        if self.p <= least * 1.0001:
            return f"p < {1.0 / self.simulated:.1g}"
        return f"p = {self.p:.2g}"


def ask_populations(
    sample: WindowSample,
    config: MakeupConfig,
    rng: np.random.Generator,
    progress: Progress = no_progress,
) -> TwoPopulations | None:
    """One population or two.

    Parameters
    ----------
    sample : WindowSample
    config : MakeupConfig
    rng : numpy Generator
    progress : Progress

    Returns
    -------
    TwoPopulations or None
        None for fewer than `MIN_WINDOWS` windows, of the class or defect-free, or without noise.
    """
    if min(len(sample.value), len(sample.noise)) < MIN_WINDOWS:
        return None
    whiten = _Whitening.of(sample.noise, sample.noise_weight)
    if whiten is None:
        return None
    known = _known(sample, whiten)
    value = whiten.of_values(sample.value)[None]  # (1, n, 2)
    goal = whiten.of_values(sample.undistorted[None])[0]
    one = _one(value, known)
    two = _two(value, known, goal)
    ratio = float(2.0 * (two.log_likelihood[0] - one.log_likelihood[0]))
    draw = _Draw(sample, whiten, known, goal)
    null = _null_ratios(draw, one, ratio, config, rng, progress)
    above = int((null >= ratio).sum())
    p = (above + 1) / (len(null) + 1) if above < ENOUGH_ABOVE else above / len(null)
    critical = _quantile(null, 1.0 - config.level)
    is_two = p < config.level
    one = settled(value, fit_mixture(value, one, known, LAST_STEPS), known)
    two = settled(value, fit_mixture(value, two, known, 3 * LAST_STEPS), known)
    populations = _populations(draw, value, one, two, is_two, config, rng)
    fit = two if is_two else one
    order = np.argsort(-fit.chosen_share(known)[0])
    told = membership_of(value, fit.sorted_by(order), known, [name for name, _, _ in sample.others])
    member = told.chance / np.maximum(told.chance.sum(axis=1, keepdims=True), 1e-12)
    progress(1.0, "populations asked")
    return TwoPopulations(
        n=len(sample.value),
        ratio=ratio,
        p=p,
        simulated=len(null),
        level=config.level,
        populations=populations,
        belonging=member,
        undistorted_95=_undistorted(value, known, whiten, goal, one),
        expected_other=1.0 - known.own,
        seen_from=_seen_from(draw, fit, critical, rng),
        noise_scale=float(one.scale[0] if not is_two else two.scale[0]),
        membership=told if is_two else None,
    )


@dataclass(frozen=True)
class _Whitening:
    """Coordinates in which the noise is round; the first is the weight alone."""

    inverse: FloatArray

    @classmethod
    def of(cls, noise: FloatArray, weight: FloatArray) -> _Whitening | None:
        part = weight / weight.sum()
        mean = part @ noise
        covariance = (noise - mean).T @ ((noise - mean) * part[:, None])
        if not np.all(np.isfinite(covariance)) or np.linalg.det(covariance) <= 0.0:
            return None
        return cls(np.linalg.inv(np.linalg.cholesky(covariance)))

    def of_values(self, value: FloatArray) -> FloatArray:
        return np.asarray(value @ self.inverse.T)

    @property
    def back(self) -> FloatArray:
        return np.asarray(np.linalg.inv(self.inverse))


def _known(sample: WindowSample, whiten: _Whitening) -> Known:
    unit = whiten.inverse[0, 0]
    selection = sample.selection
    return Known(
        selection=Selection(selection.low * unit, selection.high * unit, selection.softness * unit),
        other_mean=whiten.of_values(np.array([m for _, _, m in sample.others]).reshape(-1, 2)),
        other_share=np.array([share for _, share, _ in sample.others]),
        log_scale=float(np.log(sample.noise_scale)),
        log_scale_sigma=max(sample.noise_scale_error / sample.noise_scale, 0.01),
    )


def _one(value: FloatArray, known: Known) -> Mixture:
    middle = np.median(value, axis=1)[:, None, :]
    start = start_at(middle, np.ones((len(value), 1)), known)
    steps = NEAR_STEPS if len(known.other_share) or not known.selection.open else 4
    return settled(value, fit_mixture(value, start, known, steps), known)


def _two(value: FloatArray, known: Known, goal: FloatArray) -> Mixture:
    """The best of several starts: a second population at either end, or undistorted."""
    n = value.shape[1]
    middle = np.median(value, axis=1)
    outer = max(int(OUTER_PART * n), 3)
    best: Mixture | None = None
    starts = [np.broadcast_to(goal, middle.shape)]
    for axis in (0, 1):
        order = np.argsort(value[:, :, axis], axis=1)
        for part in (order[:, :outer], order[:, -outer:]):
            starts.append(np.take_along_axis(value, part[:, :, None], axis=1).mean(axis=1))
    for second in starts:
        start = start_at(
            np.stack([middle, second], axis=1),
            np.tile([1.0 - OUTER_PART, OUTER_PART], (len(value), 1)),
            known,
        )
        found = settled(value, fit_mixture(value, start, known, FIRST_STEPS), known)
        best = found if best is None else _better(best, found)
    assert best is not None
    last = settled(value, fit_mixture(value, best, known, LAST_STEPS), known)
    return _better(best, last)


def _better(one: Mixture, other: Mixture) -> Mixture:
    take = other.log_likelihood > one.log_likelihood
    return Mixture(
        np.where(take[:, None, None], other.mean, one.mean),
        np.where(take[:, None], other.share, one.share),
        np.where(take, other.scale, one.scale),
        np.where(take, other.log_likelihood, one.log_likelihood),
    )


@dataclass(frozen=True)
class _Draw:
    """Stacks as this one, with the noise of the defect-free windows, drawn anew as well."""

    sample: WindowSample
    whiten: _Whitening
    known: Known
    goal: FloatArray

    def noise(self, size: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """Noise in whitened coordinates, `(*size, 2)`."""
        weight = self.sample.noise_weight
        part = weight / weight.sum()
        drawn = rng.choice(len(part), size=size, p=part)
        centred = self.sample.noise - part @ self.sample.noise
        return self.whiten.of_values(centred)[drawn]

    def stacks(
        self, fit: Mixture, count: int, n: int, rng: np.random.Generator
    ) -> tuple[FloatArray, Known, FloatArray]:
        """Windows `(B, N, 2)` whitened by a noise drawn anew, what is known of them, the way back.

        The last, `(B, 2, 2)`, turns them into the coordinates of this stack's own whitening.
        """
        known, scale = self.known, float(fit.scale[0])
        shares = np.concatenate([fit.chosen_share(known)[0], known.other_share])
        means = np.concatenate([fit.mean[0], known.other_mean])
        which = rng.choice(len(shares), size=(count, n), p=shares / shares.sum())
        value = self._chosen(means, which, scale, rng)
        # whiten anew, by as many defect-free windows as there are
        noise = self.noise((count, len(self.sample.noise)), rng)
        noise = noise - noise.mean(axis=1, keepdims=True)
        covariance = np.einsum("bri,brj->bij", noise, noise) / noise.shape[1]
        back = np.linalg.cholesky(covariance)
        value = np.einsum("bij,bnj->bni", np.linalg.inv(back), value)
        wobble = known.log_scale_sigma * rng.standard_normal(count)
        return value, replace(known, log_scale=np.log(scale) + wobble), back

    def _chosen(
        self, means: FloatArray, which: IntArray, scale: float, rng: np.random.Generator
    ) -> FloatArray:
        value = means[which] + scale * self.noise(which.shape, rng)
        selection = self.known.selection
        if selection.open:
            return np.asarray(value)
        for _ in range(20):  # those that would not have been chosen are drawn again
            lost = rng.random(which.shape) > selection.chance(value[..., 0])
            if not lost.any():
                break
            value[lost] = means[which[lost]] + scale * self.noise((int(lost.sum()),), rng)
        return np.asarray(value)


def _null_ratios(
    draw: _Draw,
    one: Mixture,
    ratio: float,
    config: MakeupConfig,
    rng: np.random.Generator,
    progress: Progress,
) -> FloatArray:
    """Likelihood ratios of simulated stacks of one population, until p is known well enough."""
    found: list[FloatArray] = []
    done = above = 0
    while done < config.samples and above < ENOUGH_ABOVE:
        progress(0.9 * done / config.samples, "simulating stacks of one population")
        count = min(BATCH, config.samples - done)
        value, known, _ = draw.stacks(one, count, len(draw.sample.value), rng)
        alone, pair = _one(value, known), _two(value, known, draw.goal)
        found.append(2.0 * (pair.log_likelihood - alone.log_likelihood))
        done += count
        above += int((found[-1] >= ratio).sum())
    return np.concatenate(found)


def _quantile(null: FloatArray, level: float) -> float:
    """Of the ratios of one population, by a gamma distribution of their mean and variance."""
    positive = np.maximum(null, 1e-3)
    mean, variance = float(positive.mean()), float(max(positive.var(), 1e-6))
    return float(gammaincinv(mean**2 / variance, level) * variance / mean)


def _populations(
    draw: _Draw,
    value: FloatArray,
    one: Mixture,
    two: Mixture,
    is_two: bool,
    config: MakeupConfig,
    rng: np.random.Generator,
) -> tuple[Population, ...]:
    """The populations, the larger first, with errors by stacks drawn from the fit."""
    fit, known, back = (two if is_two else one), draw.known, draw.whiten.back
    n = value.shape[1]
    drawn, told, unwhiten = draw.stacks(fit, config.errors, n, rng)
    again = fit_mixture(drawn, _repeated(fit, config.errors), told, NEAR_STEPS)
    share = fit.chosen_share(known)[0]
    share_std = again.chosen_share(told).std(axis=0)
    mean = fit.mean[0] @ back.T
    # each stack was whitened by a noise of its own, which its populations' places don't know
    mean_std = (np.einsum("bij,bkj->bki", unwhiten, again.mean) @ back.T).std(axis=0)
    intervals = [(known.own, known.own)]
    if is_two:
        low, high = _share_interval(value, known, two)
        intervals = [(known.own - high, known.own - low), (low, high)]
    found = []
    for k in np.argsort(-share):
        found.append(
            Population(
                share=float(share[k]),
                share_std=float(share_std[k]) if is_two else 0.0,
                share_95=intervals[k],
                value=mean[k],
                value_std=mean_std[k],
            )
        )
    return tuple(found)


def _share_interval(value: FloatArray, known: Known, best: Mixture) -> tuple[float, float]:
    """Interval of 95 % of the second population's share among the windows."""

    def at(share: FloatArray) -> Mixture:
        start = replace(_repeated(best, len(share)), share=np.stack([1.0 - share, share], axis=1))
        return settled(value, fit_mixture(value, start, known, NEAR_STEPS, Held(share=True)), known)

    ends = np.array(_crossings(at, float(best.share[0, 1]), float(best.log_likelihood[0])))
    low, high = at(ends).chosen_share(known)[:, 1]
    return float(low), float(high)


def _repeated(fit: Mixture, count: int) -> Mixture:
    return fit.of(np.zeros(count, dtype=int))


def _crossings(at: Callable[[FloatArray], Mixture], best: float, top: float) -> tuple[float, float]:
    """Shares at which the likelihood has fallen by what 95 % of one parameter allow."""
    best = float(np.clip(best, EDGE, 1.0 - EDGE))
    near, far = np.array([best, best]), np.array([EDGE, 1.0 - EDGE])
    for _ in range(2):  # on a grid, then on a finer one
        grid = near[:, None] + (far - near)[:, None] * np.linspace(0.0, 1.0, GRID) ** 2
        fall = 2.0 * (top - at(grid.ravel()).log_likelihood.reshape(2, GRID))
        beyond = fall[:, 1:] >= CHI2_95
        first = np.where(beyond.any(axis=1), beyond.argmax(axis=1), GRID - 2)
        side = np.arange(2)
        near, far = grid[side, first], grid[side, first + 1]
    root = np.sqrt(np.maximum(fall, 0.0))
    one, other = root[side, first], root[side, first + 1]
    part = (np.sqrt(CHI2_95) - one) / np.maximum(other - one, 1e-9)
    ends = near + (far - near) * np.clip(part, 0.0, 1.0)
    return float(ends[0]), float(ends[1])


def _undistorted(
    value: FloatArray, known: Known, whiten: _Whitening, goal: FloatArray, one: Mixture
) -> tuple[float, float]:
    """Interval of the share of windows whose triangle is undistorted, whatever their weight."""
    line = np.linalg.inv(whiten.inverse)[1]  # how the triangle grows along the coordinates
    start = Mixture(
        np.stack([one.mean[:, 0], goal[None]], axis=1),
        np.array([[0.9, 0.1]]),
        one.scale,
        one.log_likelihood,
    )
    held = Held(line=line)
    best = settled(value, fit_mixture(value, start, known, LAST_STEPS, held), known)

    def at(share: FloatArray) -> Mixture:
        here = replace(_repeated(best, len(share)), share=np.stack([1.0 - share, share], axis=1))
        both = Held(share=True, line=line)
        return settled(value, fit_mixture(value, here, known, NEAR_STEPS, both), known)

    top = float(max(best.log_likelihood[0], one.log_likelihood[0]))
    low, high = _crossings(at, float(best.share[0, 1]), top)
    none = float(2.0 * (top - one.log_likelihood[0])) < CHI2_95
    shares = at(np.array([low, high])).chosen_share(known)[:, 1]
    return 0.0 if none else float(shares[0]), float(shares[1])


def _seen_from(draw: _Draw, fit: Mixture, critical: float, rng: np.random.Generator) -> float:
    """Least share of undistorted windows among the others that would have been seen.

    With the power `POWER`; the others are as the larger population of the fit.

    By the mean gain of likelihood of many windows drawn with that share: its root is normal about
    the root of the mean (Asimov's data set; Cowan et al. 2011, doi:10.1140/epjc/s10052-011-1554-0).
    Where so few windows are enough, whether there are as many is a matter of chance, too.
    """
    n = len(draw.sample.value)
    largest = int(np.argmax(fit.share[0]))
    here, scale = fit.mean[0, largest], float(fit.scale[0])
    noise = scale * draw.noise((POWER_DRAWS,), rng)
    known = replace(draw.known, selection=Selection(), other_mean=np.zeros((0, 2)))
    known = replace(known, other_share=np.zeros(0))

    def gain(share: float) -> float:
        value = noise.copy()
        value[: round(share * POWER_DRAWS)] += draw.goal - here
        value = value[None] + here
        alone = _one(value, known)
        pair = start_at(np.array([[here, draw.goal]]), np.array([[1.0 - share, share]]), known)
        pair = settled(value, fit_mixture(value, pair, known, 10), known)
        return float(2.0 * (pair.log_likelihood[0] - alone.log_likelihood[0]) * n / POWER_DRAWS)

    def least(needed: float) -> float:
        first = 1.0 / POWER_DRAWS
        if gain(0.5) < needed:
            return float("nan")
        if gain(first) > needed:
            return first
        return float(brentq(lambda share: gain(share) - needed, first, 0.5, xtol=1e-3))

    root = np.sqrt(max(critical, 0.0))
    windows = np.ceil(least(root**2) * n)  # P(at least as many) by the beta distribution
    return float(
        np.maximum(least((root + ndtri(POWER)) ** 2), betaincinv(windows, n - windows + 1, POWER))
    )
