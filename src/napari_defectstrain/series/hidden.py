"""A hidden Markov chain on every site: classes that change at rates, seen through doubtful sums.

The class of a site is a Markov chain in dose, whose rates are the same on all sites. What a sum
says of a site is its calibrated probabilities, divided by how common each class is: the likelihood
of what was seen. A false detection says nothing of the site: what is seen then is drawn from all
sites alike. Rates, false and missed detections are estimated by expectation and maximisation
(Baum et al. 1970, doi:10.1214/aoms/1177697196), whose expected jumps and times between the sums
come from one block matrix exponential (Van Loan 1978, doi:10.1109/TAC.1978.1101743). Sums that
slide share frames, and with them noise: rates are those of the chains of sums without a common
frame, taken together (a composite likelihood, Varin et al. 2011, Statistica Sinica 21, 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import expm

from ..types import BoolArray, DefectStrainError, FloatArray, IntArray, Progress, no_progress

_START_JUMPS = 0.02
"""Chance of a jump over the whole series where the search starts, for every pair of classes."""

_FALSE, _MISSED = 0.01, 0.01
_MOST_FALSE = 0.3
_ROUNDS = 200
_SETTLED = 1e-3
"""Change of the expected number of jumps of any kind at which the rates are settled."""
_TINY = 1e-300


@dataclass(frozen=True)
class Observations:
    """What the sums of a series say of the classes of the sites.

    Parameters
    ----------
    probability : array, `(G, N, K)`
        Calibrated probability of each class, by sum and site; rows of what wasn't seen are NaN.
    seen : array of bool, `(G, N)`
        Whether a column was found at the site.
    dose : array, `(G,)`
        Of the middle of each sum, in whatever unit the rates shall be per.
    share : float
        Part of a sum's information that is its own: 1 for sums that have no frame in common, 1/n
        where every frame is in n of them.
    """

    probability: FloatArray
    seen: BoolArray
    dose: FloatArray
    share: float = 1.0

    def __post_init__(self) -> None:
        shape = self.probability.shape
        if len(shape) != 3 or self.seen.shape != shape[:2] or self.dose.shape != shape[:1]:
            raise DefectStrainError(
                f"series: got probabilities of shape {shape}, seen {self.seen.shape}, dose "
                f"{self.dose.shape}, expected (G, N, K), (G, N) and (G,)"
            )
        if len(self.dose) < 2 or not (np.diff(self.dose) > 0).all():
            raise DefectStrainError(
                f"series: got {len(self.dose)} sums at doses {self.dose.tolist()[:5]}, expected "
                "two or more, each after the other"
            )

    @property
    def chains(self) -> list[slice]:
        """Sums that have no frame in common, two or more in each; all of them where none has."""
        apart = max(1, int(np.ceil(1.0 / self.share - 1e-9)))
        apart = min(apart, len(self.dose) - 1)
        found = [slice(first, None, apart) for first in range(apart)]
        return [one for one in found if len(self.dose[one]) > 1]

    def likelihood(self) -> FloatArray:
        """Of what was seen, relative to that on any site, `(G, N, K)`; 1 where nothing was."""
        known = np.where(self.seen[..., None], self.probability, 0.0)
        found = np.maximum(self.seen.sum(), 1)
        common = known.sum(axis=(0, 1)) / found
        # a class that is hardly ever seen has no share to divide by: half a column a sum at least
        least = 0.5 / max(self.seen.shape[1], 1)
        ratio = known / np.maximum(common, least)
        return np.asarray(np.where(self.seen[..., None], ratio, 1.0))


@dataclass(frozen=True)
class HiddenModel:
    """Rates and errors of detection.

    Parameters
    ----------
    rate : array, `(K, K)`
        Of changes from the class of the row to that of the column, per unit of dose; 0 on the
        diagonal.
    start : array, `(K,)`
        Shares of the classes at the first sum.
    false : float
        Share of detections that say nothing of their site.
    missed : array, `(K,)`
        Chance that a column of each class isn't found.
    """

    rate: FloatArray
    start: FloatArray
    false: float
    missed: FloatArray

    @property
    def generator(self) -> FloatArray:
        """The rates with the diagonal that makes rows sum to nothing, `(K, K)`."""
        return np.asarray(self.rate - np.diag(self.rate.sum(axis=1)))

    def transition(self, dose: float) -> FloatArray:
        """Chance of every class after a dose, by the class before it, `(K, K)`."""
        return np.asarray(np.maximum(expm(self.generator * dose), 0.0))


@dataclass(frozen=True)
class HiddenStates:
    """What is believed of the sites.

    Parameters
    ----------
    posterior : array, `(G, N, K)`
        Probability of each class by all sums together.
    joint : array, `(G - 1, K, K)`
        Expected number of sites that have the class of the row in one sum and that of the column in
        the next.
    path : array of int, `(G, N)`
        The most probable history of each site as a whole (Viterbi 1967,
        doi:10.1109/TIT.1967.1054010).
    log_likelihood : float
    """

    posterior: FloatArray
    joint: FloatArray
    path: IntArray
    log_likelihood: float


def fit_hidden(
    seen: Observations, progress: Progress = no_progress, allowed: BoolArray | None = None
) -> HiddenModel:
    """Rates, and shares of false and missed detections, of greatest posterior probability.

    The prior is that one column of each class was watched over the series without a change.

    Parameters
    ----------
    seen : Observations
    progress : Progress
    allowed : array of bool, `(K, K)`, optional
        Changes that may happen; default all.

    Raises
    ------
    DefectStrainError
        If there are no sites.
    """
    groups, sites, classes = seen.probability.shape
    if sites == 0:
        raise DefectStrainError("series: got no site that is seen in the sums, expected some")
    span = float(seen.dose[-1] - seen.dose[0])
    may = (
        ~np.eye(classes, dtype=bool) if allowed is None else allowed & ~np.eye(classes, dtype=bool)
    )
    model = HiddenModel(
        rate=np.where(may, _START_JUMPS / span / (classes - 1), 0.0),
        start=np.full(classes, 1.0 / classes),
        false=_FALSE,
        missed=np.full(classes, _MISSED),
    )
    before: FloatArray = np.zeros((classes, classes))
    for k in range(_ROUNDS):
        progress(min(k / 40, 0.99), "estimating rates")
        found = _passes(seen, model)
        jumps, times = _jumps_and_times(found)
        model = _maximised(found, jumps, times, may)
        if k > 5 and np.abs(jumps - before).max() < _SETTLED:
            break
        before = jumps
    return model


def _maximised(
    found: Sequence[_Pass], jumps: FloatArray, times: FloatArray, may: BoolArray
) -> HiddenModel:
    """The model that fits what is expected of the sites best, by the mean of the chains."""
    # as if one more column of each class had been watched throughout, and stayed as it is: without
    # it a class of hardly any column may flicker at whatever rate explains a doubtful detection
    watched = float(np.mean([one.seen.dose[-1] - one.seen.dose[0] for one in found]))
    rate = np.where(may, jumps / (times[:, None] + watched), 0.0)
    doubtful, number = 0.0, 0.0
    everywhere, known = np.zeros((2, len(times)))
    for one in found:
        seen = one.seen.seen
        weight = np.where(seen[..., None], one.posterior, 0.0)
        own = (1.0 - one.model.false) * one.ratio
        doubt = one.model.false / np.maximum(own + one.model.false, _TINY)
        doubtful += float((weight * doubt).sum()) / len(found)
        number += float(seen.sum()) / len(found)
        everywhere += one.posterior.sum(axis=(0, 1)) / len(found)
        known += weight.sum(axis=(0, 1)) / len(found)
    # half a column that was missed, of a hundred: no class is ever surely seen
    lost = (everywhere - known + 0.5 * _MISSED) / (everywhere + 0.5)
    return HiddenModel(
        rate=rate,
        start=found[0].posterior[0].mean(axis=0),
        false=min(doubtful / max(number, 1.0), _MOST_FALSE),
        missed=np.clip(lost, 1e-6, 0.9),
    )


def _passes(seen: Observations, model: HiddenModel) -> list[_Pass]:
    """Over the chains of sums without a common frame, which count whole."""
    ratio, made = seen.likelihood(), []
    for one in seen.chains:
        own = Observations(seen.probability[one], seen.seen[one], seen.dose[one])
        start = model.start
        if own.dose[0] > seen.dose[0]:
            start = start @ model.transition(float(own.dose[0] - seen.dose[0]))
        made.append(_Pass(own, ratio[one], replace(model, start=start)))
    return made


def _jumps_and_times(found: Sequence[_Pass]) -> tuple[FloatArray, FloatArray]:
    """Means over the chains, which all tell of the same series."""
    both = [one.jumps_and_times() for one in found]
    return (
        np.mean([jumps for jumps, _ in both], axis=0),
        np.mean([times for _, times in both], axis=0),
    )


class _Pass:
    """Forward and backward once over all sites: `(G, N, K)` throughout."""

    def __init__(self, seen: Observations, ratio: FloatArray, model: HiddenModel) -> None:
        self.seen, self.ratio, self.model = seen, ratio, model
        self.emission = _emission(seen, ratio, model)
        self.gap, self.kind_of_gap = _kinds_of_gap(seen.dose)
        self.step = np.stack([model.transition(float(gap)) for gap in self.gap])[self.kind_of_gap]
        groups = len(self.emission)
        forward = np.empty_like(self.emission)
        scale = np.empty(self.emission.shape[:2])
        for g in range(groups):
            before = model.start if g == 0 else forward[g - 1] @ self.step[g - 1]
            both = before * self.emission[g]
            scale[g] = np.maximum(both.sum(axis=1), _TINY)
            forward[g] = both / scale[g][:, None]
        backward = np.ones_like(self.emission)
        for g in range(groups - 2, -1, -1):
            ahead = self.emission[g + 1] * backward[g + 1] / scale[g + 1][:, None]
            backward[g] = ahead @ self.step[g].T
        self.forward, self.backward, self.scale = forward, backward, scale
        self.posterior = forward * backward
        self.posterior /= np.maximum(self.posterior.sum(axis=2, keepdims=True), _TINY)
        self.log_likelihood = float(np.log(scale).sum())

    def joint_of_sites(self, g: int) -> FloatArray:
        """Probability of the classes before and after the g-th step, `(N, K, K)`."""
        ahead = self.emission[g + 1] * self.backward[g + 1] / self.scale[g + 1][:, None]
        return np.asarray(self.forward[g][:, :, None] * self.step[g] * ahead[:, None, :])

    def joint(self) -> FloatArray:
        """Expected numbers of sites, `(G - 1, K, K)`."""
        result = []
        for g, step in enumerate(self.step):
            ahead = self.emission[g + 1] * self.backward[g + 1] / self.scale[g + 1][:, None]
            result.append(step * (self.forward[g].T @ ahead))
        return np.stack(result)

    def jumps_and_times(self) -> tuple[FloatArray, FloatArray]:
        """Expected jumps `(K, K)` and dose spent in each class `(K,)`, of all sites."""
        classes = len(self.model.start)
        jumps, times = np.zeros((classes, classes)), np.zeros(classes)
        joint = self.joint()
        for k, gap in enumerate(self.gap):
            together = joint[self.kind_of_gap == k].sum(axis=0)
            within = _within(self.model.generator, float(gap))  # (K, K, K, K): i, j; a, b
            ratio = together / np.maximum(self.model.transition(float(gap)), _TINY)
            expected = np.einsum("ijab,ab->ij", within, ratio)
            jumps += self.model.rate * expected
            times += np.diag(expected)
        return jumps, times

    def path(self) -> IntArray:
        """The most probable history of each site, `(G, N)`."""
        with np.errstate(divide="ignore"):
            emission, step = np.log(self.emission), np.log(self.step)
            best = np.log(np.maximum(self.model.start, _TINY)) + emission[0]
        groups, sites, classes = emission.shape
        came = np.zeros((groups, sites, classes), dtype=np.int16)
        for g in range(1, groups):
            ways = best[:, :, None] + step[g - 1]  # (N, from, to)
            came[g] = ways.argmax(axis=1)
            best = np.take_along_axis(ways, came[g][:, None, :].astype(int), 1)[:, 0] + emission[g]
        path = np.empty((groups, sites), dtype=int)
        path[-1] = best.argmax(axis=1)
        for g in range(groups - 1, 0, -1):
            path[g - 1] = came[g][np.arange(sites), path[g]]
        return path


def _kinds_of_gap(dose: FloatArray) -> tuple[FloatArray, IntArray]:
    """Steps in dose that differ by more than rounding, and which of them each is."""
    gap = np.diff(dose)
    _, first, kind = np.unique(np.round(gap / gap.max(), 9), return_index=True, return_inverse=True)
    return gap[first], kind


def _emission(seen: Observations, ratio: FloatArray, model: HiddenModel) -> FloatArray:
    """Likelihood of what each sum says, by the class of the site, `(G, N, K)`."""
    own = (1.0 - model.false) * ratio + model.false
    value = np.where(seen.seen[..., None], own * (1.0 - model.missed), model.missed)
    return np.asarray(np.maximum(value, _TINY) ** seen.share)


def _within(generator: FloatArray, dose: float) -> FloatArray:
    """Integrals of ``P(s)[a, i] P(dose - s)[j, b]`` over s, `(K, K, K, K)` as i, j, a, b."""
    k = len(generator)
    result = np.empty((k, k, k, k))
    block = np.zeros((2 * k, 2 * k))
    block[:k, :k] = block[k:, k:] = generator
    for i in range(k):
        for j in range(k):
            block[:k, k:] = 0.0
            block[i, k + j] = 1.0
            result[i, j] = expm(block * dose)[:k, k:]
    return result


@dataclass(frozen=True)
class SiteChanges:
    """Changes of class in the most probable histories, one entry a change, in order of dose.

    Parameters
    ----------
    site, before, after : arrays of int, `(E,)`
    group : array of int, `(E,)`
        The first sum that shows the site changed.
    probability : array, `(E,)`
        That this change happened at all, between the changes before and after it.
    dose, low, high : arrays, `(E,)`
        Of the change: middle and limits of 95 %.
    """

    site: IntArray
    before: IntArray
    after: IntArray
    group: IntArray
    probability: FloatArray
    dose: FloatArray
    low: FloatArray
    high: FloatArray

    def __len__(self) -> int:
        return len(self.site)


def hidden_states(seen: Observations, model: HiddenModel) -> tuple[HiddenStates, SiteChanges]:
    """Posteriors and histories of all sites by a model, and when which of them changed.

    Parameters
    ----------
    seen : Observations
    model : HiddenModel
    """
    found = _Pass(seen, seen.likelihood(), model)
    states = HiddenStates(found.posterior, found.joint(), found.path(), found.log_likelihood)
    return states, _site_changes(found, states.path)


def _site_changes(found: _Pass, path: IntArray) -> SiteChanges:
    group, site = np.nonzero(path[1:] != path[:-1])
    group = group + 1
    before, after = path[group - 1, site], path[group, site]
    steps = len(path) - 1
    chance = np.empty((len(site), steps))
    for g in range(steps):
        chance[:, g] = found.joint_of_sites(g)[site, before, after]
    dose = found.seen.dose
    low, middle, high, sure = (np.empty(len(site)) for _ in range(4))
    for e in range(len(site)):
        others = group[(site == site[e]) & (np.arange(len(site)) != e)] - 1
        own = chance[e].copy()
        here = group[e] - 1
        first = int(max((o + 1 for o in others if o < here), default=0))
        last = int(min((o for o in others if o > here), default=steps))
        own[:first] = own[last:] = 0.0
        total = float(own.sum())
        sure[e] = min(total, 1.0)
        sums = np.cumsum(own) / max(total, _TINY)
        at = [min(int(np.searchsorted(sums, q)), steps - 1) for q in (0.025, 0.5, 0.975)]
        low[e], high[e] = dose[at[0]], dose[at[2] + 1]
        middle[e] = (dose[at[1]] + dose[at[1] + 1]) / 2
    return SiteChanges(site, before, after, group, sure, middle, low, high)


@dataclass(frozen=True)
class RateErrors:
    """How well the rates of those kinds of change that happened are known.

    Parameters
    ----------
    kind : array of int, `(R, 2)`
        Classes before and after.
    jumps : array, `(R,)`
        Expected number of such changes.
    covariance : array, `(R, R)`
        Of the logarithms of the rates: over samples of sites (Huber's sandwich, what a bootstrap
        over sites tends to), and no less than the curvature of the likelihood says.
    time : array, `(K,)`
        Dose that sites spent in each class, summed over the sites.
    """

    kind: IntArray
    jumps: FloatArray
    covariance: FloatArray
    time: FloatArray


LEAST_JUMPS = 0.5
"""Expected changes of a kind below which its rate is an upper limit only."""


def rate_errors(seen: Observations, model: HiddenModel) -> RateErrors:
    """Errors of the rates by the scores of single sites and the curvature of the likelihood.

    Parameters
    ----------
    seen : Observations
        Where its sums share frames (`Observations.share`), the scores of a site are those of the
        chains without a common frame, and the sandwich says how alike these are.
    model : HiddenModel
        Of greatest likelihood.
    """
    found = _passes(seen, model)
    jumps, times = _jumps_and_times(found)
    kind = np.argwhere(jumps >= LEAST_JUMPS)
    if len(kind) == 0:
        return RateErrors(kind, np.zeros(0), np.zeros((0, 0)), times)
    scores = np.mean([_scores(one, kind) for one in found], axis=0)  # (N, R)
    curvature = np.empty((len(kind), len(kind)))
    for r, (i, j) in enumerate(kind):
        slopes = []
        for factor in (np.exp(0.05), np.exp(-0.05)):
            rate = model.rate.copy()
            rate[i, j] *= factor
            moved = replace(model, rate=rate)
            slopes.append(np.mean([_total_score(m, kind) for m in _passes(seen, moved)], axis=0))
        curvature[r] = -(slopes[0] - slopes[1]) / 0.1
    curvature = (curvature + curvature.T) / 2
    inverse = np.linalg.pinv(curvature, hermitian=True)
    sandwich = inverse @ (scores.T @ scores) @ inverse
    # few events: the sites' own scatter may by chance be too small
    lift = np.sqrt(np.maximum(np.diag(inverse), 0.0) / np.maximum(np.diag(sandwich), _TINY))
    scale = np.maximum(lift, 1.0)
    covariance = sandwich * np.outer(scale, scale)
    return RateErrors(kind, jumps[tuple(kind.T)], covariance, times)


def _scores(found: _Pass, kind: IntArray) -> FloatArray:
    """Derivative of each site's log-likelihood by the logarithms of the rates, `(N, R)`."""
    result = np.zeros((found.posterior.shape[1], len(kind)))
    weights = [_score_weights(found.model, float(gap), kind) for gap in found.gap]
    for g, k in enumerate(found.kind_of_gap):
        result += np.einsum("nab,rab->nr", found.joint_of_sites(g), weights[k])
    return result


def _total_score(found: _Pass, kind: IntArray) -> FloatArray:
    jumps, times = found.jumps_and_times()
    return np.asarray([jumps[i, j] - found.model.rate[i, j] * times[i] for i, j in kind])


def _score_weights(model: HiddenModel, gap: float, kind: IntArray) -> FloatArray:
    """Expected jumps less rate times dose, given the classes before and after, `(R, K, K)`."""
    within = _within(model.generator, gap)
    step = np.maximum(model.transition(gap), _TINY)
    return np.stack([model.rate[i, j] * (within[i, j] - within[i, i]) / step for i, j in kind])
