"""Columns that fit no class but agree on a weight: classes that nobody asked for.

The weights of all columns of a run's images, on one sublattice, are a mixture of the known classes
and of what is *other*. Where one more class of a single weight explains them better by more than
chance and tails would, it is one: S beside Se in WSe2, Mo or nothing on the metals' sites. How many
there are is decided by the Bayesian information criterion (Schwarz 1978, doi:10.1214/aos/
1176344136), each found again in samples of the columns drawn with replacement, whose scatter is the
error of its weight and share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..materials import OpenClass
from ..types import FloatArray

_RANGE = 2.6
"""Weights that *other* spreads over, in the metal's."""
_GROUPS = 10
_BIN = 0.15
_MOST = 4
_STARTS = 4
_ROUNDS, _LONG_ROUNDS = 40, 300
_SAMPLES, _SAMPLE_ROUNDS = 40, 60
_LEAST_FOUND = 0.9
"""Share of the samples in which a class must be found again."""
_LEAST_COLUMNS = 8.0
_LEAST_APART = 0.06
"""From any other class, in the metal's weight: closer ones may be one whose places err."""
_APART_SIGMA = 1.4
_TAIL_WIDTH = 2.5
_BEYOND_THREE = 0.23
"""How much of a Gaussian so wide lies beyond three of the errors that it is measured in."""
_TAIL_TIMES = 3.0
_LEAST_TAILS, _MOST_TAILS = 0.005, 0.2
"""How many times oftener than the noise's tails a class must come."""
_WIDTH_PRIOR = 100.0
"""Columns that a class needs for its own scatter to count as much as the commonest one's."""
_WIDTHS = (0.7, 1.5)
_LEAST_SIGMAS = 2.5
"""Standard errors that the share of a class must be above none."""
_OTHER_COLUMNS = 1.0
_HOPELESS = 8.0
"""Of log likelihood that one class more may lack after its first rounds."""
_SETTLED = 5e-6
"""Of a round: close classes part slowly, and must not be stopped on their way."""
_WIDER = 1.12


@dataclass(frozen=True)
class WeighedColumns:
    """Weights of the columns of one sublattice, of all images of a run.

    Parameters
    ----------
    weight, sigma : arrays, `(n,)`
        In units of the metal's; sigma without what a class scatters more than its errors say.
    count : array, `(n,)`
        How many columns each stands for.
    """

    weight: FloatArray
    sigma: FloatArray
    count: FloatArray

    @classmethod
    def gathered(cls, weight: FloatArray, sigma: FloatArray) -> WeighedColumns:
        """Columns of like weight and error together, finer than any error: seconds for any run."""
        edges = np.quantile(sigma, np.arange(1, _GROUPS) / _GROUPS)
        group = np.searchsorted(edges, sigma)
        step = _BIN * float(np.median(sigma))
        cell = np.stack([group, np.rint(weight / step).astype(int)])
        _, which = np.unique(cell, axis=1, return_inverse=True)
        count = np.bincount(which).astype(float)
        mean = [np.bincount(which, values) / count for values in (weight, sigma)]
        return cls(mean[0], mean[1], count)

    @property
    def total(self) -> float:
        """How many columns there are."""
        return float(self.count.sum())

    @property
    def typical_sigma(self) -> float:
        """Their usual error."""
        order = np.argsort(self.sigma)
        half = np.searchsorted(np.cumsum(self.count[order]), self.total / 2)
        return float(self.sigma[order][half])

    def resampled(self, rng: np.random.Generator) -> WeighedColumns:
        """As many columns, drawn with replacement."""
        count = rng.multinomial(round(self.total), self.count / self.total)
        return WeighedColumns(self.weight, self.sigma, count.astype(float))


@dataclass(frozen=True)
class KnownClass:
    """What is known beforehand of the weight of a class.

    Parameters
    ----------
    weight, spread : float
        In units of the metal's.
    share : float
        To start from.
    """

    weight: float
    spread: float
    share: float


@dataclass(frozen=True)
class _Mixture:
    """Classes of one width each; the last share is that of *other*."""

    mean: FloatArray
    width: FloatArray
    share: FloatArray

    def chance(self, columns: WeighedColumns) -> tuple[FloatArray, FloatArray]:
        """Posterior of the classes `(n, K + 1)` and log likelihood `(n,)`."""
        width = columns.sigma * self.width[:, None]  # class by class in memory: long rows
        pull = (columns.weight - self.mean[:, None]) / width
        density = np.exp(-(pull**2) / 2) / (width * np.sqrt(2 * np.pi))
        other = np.full((1, len(columns.weight)), 1.0 / _RANGE)  # never vanishes, as the rest may
        terms = np.concatenate([density, other]) * self.share[:, None]
        total = terms.sum(axis=0)
        return (terms / total).T, np.log(total)

    def moved_from(self, other: _Mixture) -> float:
        """Largest difference of a mean, a relative width or a share."""
        pairs = ((self.mean, other.mean), (self.width, other.width), (self.share, other.share))
        return max(float(np.abs(a - b).max()) for a, b in pairs)

    def with_class(self, weight: float, share: float = 0.005) -> _Mixture:
        """One class more, of the first one's width."""
        known, other = self.share[:-1] * (1 - share), self.share[-1:] * (1 - share)
        return _Mixture(
            np.append(self.mean, weight),
            np.append(self.width, self.width[0]),
            np.concatenate([known, [share], other]),
        )


@dataclass(frozen=True)
class OpenMixture:
    """The mixture that a run's columns of one sublattice make.

    Parameters
    ----------
    mean, share : arrays, `(K,)`
        Of the known classes: weights in units of the metal's, fractions of the columns.
    found : tuple of OpenClass
        What there is beside them.
    """

    mean: FloatArray
    share: FloatArray
    found: tuple[OpenClass, ...]


def find_open_classes(
    columns: WeighedColumns,
    known: Sequence[KnownClass],
    sites: str,
    rng: np.random.Generator,
    tails: float = _LEAST_TAILS,
) -> OpenMixture:
    """Classes beside the known ones that the columns of one sublattice agree on.

    Parameters
    ----------
    columns : WeighedColumns
    known : sequence of KnownClass
        The first is the commonest, that of the perfect crystal.
    sites : str
    rng : Generator
        Draws the samples.
    tails : float
        Share of the columns that err by more than they say, see `tail_share`.
    """
    priors = np.array([(k.weight, k.spread) for k in known])
    share = np.array([*(max(k.share, 1e-4) for k in known), 0.002])
    model = _Mixture(priors[:, 0].copy(), np.ones(len(known)), share / share.sum())
    model = _improved(model, columns, priors)
    for _ in range(_MOST if columns.total >= 10 * _LEAST_COLUMNS else 0):
        better = _one_more(model, columns, priors, tails)
        if better is None:
            break
        model = better
    errors = _found_again(model, columns, priors, rng, tails)
    found = tuple(
        OpenClass(
            sites,
            float(model.mean[k]),
            weight_sigma,
            float(model.share[k]),
            share_sigma,
            float(model.share[k] * columns.total),
        )
        for k, (weight_sigma, share_sigma) in errors.items()
        if model.share[k] >= _LEAST_SIGMAS * share_sigma
    )
    return OpenMixture(model.mean[: len(known)], model.share[: len(known)], found)


def _one_more(
    model: _Mixture, columns: WeighedColumns, priors: FloatArray, tails: float
) -> _Mixture | None:
    """The best model of one class more, if the criterion prefers it."""
    best, most = None, _plausibility(model, columns, priors) + 1.5 * np.log(columns.total)
    begun = [model.with_class(start) for start in _starts(model, columns)]
    for begin in begun + _halved(model, columns.typical_sigma):
        made = _improved(begin, columns, priors)
        if _plausibility(made, columns, priors) < most - _HOPELESS:
            continue
        made = _improved(made, columns, priors, _LONG_ROUNDS)  # close classes part slowly
        made = _improved(_sorted_out(made, priors), columns, priors)
        plausibility = _plausibility(made, columns, priors)
        # what only mends the tails of a class mustn't stand before one that is there
        if plausibility > most and _is_class(made, columns, tails):
            best, most = made, plausibility
    return None if best is None else _improved(best, columns, priors, _LONG_ROUNDS)


def _halved(model: _Mixture, sigma: float) -> list[_Mixture]:
    """For each class that is wider than its errors: two in its place, a lighter and a heavier."""
    result = []
    for k in np.flatnonzero(model.width > _WIDER * model.width[0]):
        step = sigma * float(np.sqrt(model.width[k] ** 2 - model.width[0] ** 2))
        mean, share = np.append(model.mean, model.mean[k] + step), model.share.copy()
        mean[k] -= step
        share[k] /= 2
        width = np.append(model.width, model.width[0])
        width[k] = model.width[0]
        result.append(_Mixture(mean, width, np.concatenate([share[:-1], [share[k]], share[-1:]])))
    return result


def _plausibility(model: _Mixture, columns: WeighedColumns, priors: FloatArray) -> float:
    """Log likelihood, less what is unexpected of the known classes' means and of the widths."""
    away = (model.mean[: len(priors)] - priors[:, 0]) / priors[:, 1]
    ratio2 = (model.width / model.width[0]) ** 2
    wide = _WIDTH_PRIOR * (np.log(ratio2) + 1.0 / ratio2 - 1.0)
    likelihood = (columns.count * model.chance(columns)[1]).sum()
    return float(likelihood - 0.5 * ((away**2).sum() + wide.sum()))


def _sorted_out(model: _Mixture, priors: FloatArray) -> _Mixture:
    """The classes with a known one and a new one exchanged where the new one fits it better."""
    order = np.arange(len(model.mean))
    for k, (expected, _) in enumerate(priors):
        for new in range(len(priors), len(order)):
            at, its = model.mean[order[k]], model.mean[order[new]]
            if abs(its - expected) < abs(at - expected):
                order[[k, new]] = order[[new, k]]
    share = np.append(model.share[order], model.share[-1])
    return _Mixture(model.mean[order], model.width[order], share)


def _starts(model: _Mixture, columns: WeighedColumns) -> list[float]:
    """Weights where a few columns of one class more would explain most, and beside each class."""
    width = columns.sigma * model.width[0]
    step = max(0.5 * columns.typical_sigma, 0.01)
    grid = np.arange(-0.1, _RANGE - 0.5, step)
    gain = np.zeros(len(grid))
    density = np.exp(model.chance(columns)[1])
    for i, weight in enumerate(grid):
        pull = (columns.weight - weight) / width
        own = np.exp(-(pull**2) / 2) / (width * np.sqrt(2 * np.pi))
        for share in (0.003, 0.03):
            value = (columns.count * np.log(1 - share + share * own / density)).sum()
            gain[i] = max(gain[i], float(value))
    before, after = np.concatenate([[0], gain[:-1]]), np.concatenate([gain[1:], [0]])
    peak = np.flatnonzero((gain > 0) & (gain >= before) & (gain >= after))
    return [float(grid[p]) for p in peak[np.argsort(-gain[peak])][:_STARTS]]


def _improved(
    model: _Mixture, columns: WeighedColumns, priors: FloatArray, rounds: int = _ROUNDS
) -> _Mixture:
    """Expectation-maximisation; the known classes' means are held by their priors."""
    free = np.zeros(len(model.mean) - len(priors))
    tie = np.concatenate([priors[:, 1] ** -2.0, free])
    held = np.concatenate([priors[:, 0], free])
    for _ in range(rounds):
        chance = (model.chance(columns)[0] * columns.count[:, None]).T
        own = chance[:-1]
        information = own / (columns.sigma * model.width[:, None]) ** 2
        total = information.sum(axis=1) + tie
        pull = information @ columns.weight + tie * held
        mean = pull / np.maximum(total, 1e-12)
        away = (columns.weight - mean[:, None]) / columns.sigma
        squares, number = (own * away**2).sum(axis=1), own.sum(axis=1)
        common = np.clip(squares[0] / max(number[0], 1.0), 0.09, 9.0)
        width2 = (squares + _WIDTH_PRIOR * common) / (number + _WIDTH_PRIOR)
        width = np.sqrt(np.clip(width2, common * _WIDTHS[0] ** 2, common * _WIDTHS[1] ** 2))
        share = chance.sum(axis=1) + 0.01
        share[-1] += _OTHER_COLUMNS
        before, model = model, _Mixture(mean, width, share / share.sum())
        if model.moved_from(before) < _SETTLED:
            break
    return model


def _is_class(model: _Mixture, columns: WeighedColumns, tails: float) -> bool:
    """Whether the last class is one: frequent, apart from the others, and not their tails."""
    k = len(model.mean) - 1
    sigma = columns.typical_sigma * model.width
    apart = np.abs(np.delete(model.mean, k) - model.mean[k])
    number = model.share[:-1] * columns.total
    if number[k] < _LEAST_COLUMNS:
        return False
    if apart.min() < max(_LEAST_APART, _APART_SIGMA * sigma[k]):
        return False
    at = WeighedColumns(model.mean[k : k + 1], np.array([columns.typical_sigma]), np.ones(1))
    if model.chance(at)[0][0, k] < 0.5:
        return False
    return bool(number[k] > _TAIL_TIMES * _of_wings(model, columns, tails, k) * columns.total)


def _of_wings(model: _Mixture, columns: WeighedColumns, tails: float, k: int) -> float:
    """Share of the columns that the wings of the other classes put within 1.5 sigma of class k."""
    sigma = columns.typical_sigma * model.width
    apart = np.delete(model.mean, k) - model.mean[k]
    wide = np.delete(sigma, k) * _TAIL_WIDTH
    within = 2 * 1.5 * sigma[k] * np.exp(-((apart / wide) ** 2) / 2) / (wide * np.sqrt(2 * np.pi))
    return float(tails * (np.delete(model.share[:-1], k) * within).sum())


def tail_share(columns: WeighedColumns, mean: float) -> float:
    """Share of the columns whose errors are wider than the rest's, by a class that stands apart.

    Counted on the side of the fewer: on the other there may be a class.

    Parameters
    ----------
    columns : WeighedColumns
    mean : float
        Weight of their commonest class.
    """
    z = (columns.weight - mean) / columns.sigma
    order = np.argsort(np.abs(z))
    half = np.searchsorted(np.cumsum(columns.count[order]), columns.total / 2)
    z = z / (1.4826 * np.abs(z[order][half]))
    near = np.abs(z) < 6.0
    above, below = (columns.count[near & side].sum() for side in (z > 3.0, z < -3.0))
    beyond = 2 * min(above, below) / max(columns.count[near].sum(), 1.0)
    return float(np.clip(beyond / _BEYOND_THREE, _LEAST_TAILS, _MOST_TAILS))


def _found_again(
    model: _Mixture,
    columns: WeighedColumns,
    priors: FloatArray,
    rng: np.random.Generator,
    tails: float,
) -> dict[int, tuple[float, float]]:
    """Classes that samples of the columns find again: errors of weight and share of each.

    Classes that overlap part slowly, and samples that start where they end scatter too little: the
    curvature of the likelihood knows what is given up by one of them for the other. What wings of
    the other classes may add counts in full.
    """
    extra = range(len(priors), len(model.mean))
    if not extra:
        return {}
    samples = [
        _improved(model, columns.resampled(rng), priors, _SAMPLE_ROUNDS) for _ in range(_SAMPLES)
    ]
    mean = np.array([s.mean for s in samples])
    share = np.array([s.share for s in samples])
    by_curvature = _errors(model, columns, priors)
    kept = {}
    for k in extra:
        moved = np.abs(mean[:, k] - model.mean[k])
        again = (moved < _LEAST_APART) & (share[:, k] * columns.total >= 0.5 * _LEAST_COLUMNS)
        if again.mean() >= _LEAST_FOUND:
            of_mean, of_share = (
                max(float(sample[:, k].std()), float(error[k]))
                for sample, error in zip((mean, share), by_curvature, strict=True)
            )
            kept[k] = (of_mean, float(np.hypot(of_share, _of_wings(model, columns, tails, k))))
    return kept


def _errors(
    model: _Mixture, columns: WeighedColumns, priors: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Standard errors of means and shares by Fisher's information, all else left free, `(K,)`."""
    chance = model.chance(columns)[0]
    k = len(model.mean)
    own, width = chance[:, :k], columns.sigma[:, None] * model.width
    pull = (columns.weight[:, None] - model.mean) / width
    score = np.concatenate(
        [
            own * pull / width,
            own * (pull**2 - 1.0),
            own / model.share[:k] - chance[:, k:] / model.share[k],
        ],
        axis=1,
    )
    information = score.T @ (columns.count[:, None] * score)
    held = np.arange(len(priors))
    information[held, held] += priors[:, 1] ** -2.0
    apart = np.zeros((k, k))  # of the logarithms of the widths, from the commonest class's
    apart[1:, 0], apart[range(1, k), range(1, k)] = -1.0, 1.0
    information[k : 2 * k, k : 2 * k] += 2.0 * _WIDTH_PRIOR * apart.T @ apart
    variance = np.diag(np.linalg.pinv(information, hermitian=True))
    error = np.sqrt(np.maximum(variance, 0.0))
    return error[:k], error[2 * k :]
