"""Mixtures of one or two populations whose noise is known, fitted to many samples at once.

Coordinates are whitened: the noise of a window has unit covariance, times a scale that is held to
what is known of it. The first coordinate alone decides who was chosen: the windows of a class were
picked by their weight. Expectation maximisation with the windows that were *not* chosen as missing
data (Dempster, Laird & Rubin 1977, doi:10.1111/j.2517-6161.1977.tb01600.x, sec. 4.2) keeps all
steps in closed form, so that hundreds of bootstrap samples are fitted side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import ndtr

from ..types import FloatArray, IntArray

LEAST_SHARE = 1e-6
LEAST_CHOSEN = 1e-6
NEWTON_STEPS = 4


@dataclass(frozen=True)
class Selection:
    """Which values of the first coordinate were chosen: from `low` to `high`, with soft edges.

    Parameters
    ----------
    low, high : float
        Where half of the windows are chosen; infinite where no such edge was seen.
    softness : float
        Standard deviation of what the choice saw against what is measured here.
    """

    low: float = -np.inf
    high: float = np.inf
    softness: float = 0.0

    @property
    def open(self) -> bool:
        """Whether everything is chosen."""
        return bool(np.isinf(self.low) and np.isinf(self.high))

    def chance(self, value: FloatArray) -> FloatArray:
        """Chance that a window of this value is chosen, of its shape."""
        e = max(self.softness, 1e-9)
        return np.asarray(ndtr((value - self.low) / e) - ndtr((value - self.high) / e))

    def moments(
        self, mean: FloatArray, scale: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Of a normal population: share chosen, mean and mean square of what is chosen.

        Both moments are about the population's mean, in units of its scale.
        """
        seen = np.sqrt(scale**2 + self.softness**2)
        a, b = (self.low - mean) / seen, (self.high - mean) / seen
        chosen = np.maximum(ndtr(b) - ndtr(a), LEAST_CHOSEN)
        at_a, at_b = (np.exp(-0.5 * x**2) / np.sqrt(2.0 * np.pi) for x in (a, b))
        correlation = scale / seen
        first = correlation * (at_a - at_b) / chosen
        finite_a, finite_b = (np.where(np.isfinite(x), x, 0.0) for x in (a, b))
        square = 1.0 + (finite_a * at_a - finite_b * at_b) / chosen
        return chosen, first, 1.0 + correlation**2 * (square - 1.0)


@dataclass(frozen=True)
class Known:
    """What a fit takes as given.

    Parameters
    ----------
    selection : Selection
    other_mean : array, `(J, 2)`
        Where windows of other classes lie.
    other_share : array, `(J,)`
        Their expected shares among the windows.
    log_scale : float or array, `(B,)`
        Logarithm of the noise's scale, as it is known.
    log_scale_sigma : float
        Its error.
    """

    selection: Selection = field(default_factory=Selection)
    other_mean: FloatArray = field(default_factory=lambda: np.zeros((0, 2)))
    other_share: FloatArray = field(default_factory=lambda: np.zeros(0))
    log_scale: float | FloatArray = 0.0
    log_scale_sigma: float = 0.05

    @property
    def own(self) -> float:
        """Share of the windows that are of the class itself."""
        return float(1.0 - self.other_share.sum())


@dataclass(frozen=True)
class Mixture:
    """One fit for each of B samples, or the start of one.

    Parameters
    ----------
    mean : array, `(B, K, 2)`
    share : array, `(B, K)`
        Of each population among the class's columns, chosen or not; sums to 1.
    scale : array, `(B,)`
        Of the noise.
    log_likelihood : array, `(B,)`
        With what is known of the scale; of the parameters before the last step.
    """

    mean: FloatArray
    share: FloatArray
    scale: FloatArray
    log_likelihood: FloatArray

    def of(self, which: IntArray) -> Mixture:
        """The fits of some samples."""
        index = which
        return Mixture(
            self.mean[index], self.share[index], self.scale[index], self.log_likelihood[index]
        )

    def sorted_by(self, order: IntArray) -> Mixture:
        """The fits with their populations in another order."""
        return replace(self, mean=self.mean[:, order], share=self.share[:, order])

    def chosen_share(self, known: Known) -> FloatArray:
        """Share of each population among all windows, those of other classes too, `(B, K)`."""
        chance = known.selection.moments(self.mean[..., 0], self.scale[:, None])[0]
        part = self.share * chance
        return np.asarray(known.own * part / part.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Held:
    """What of a fit stays where it starts.

    Parameters
    ----------
    share : bool
        The shares.
    line : array, `(2,)`, or None
        The last population's mean moves at right angles to this direction only.
    """

    share: bool = False
    line: FloatArray | None = None


def start_at(mean: FloatArray, share: FloatArray, known: Known) -> Mixture:
    """A mixture to start from: means `(B, K, 2)`, shares `(B, K)`, the noise as it is known."""
    scale = np.broadcast_to(np.exp(known.log_scale), len(mean)).astype(float)
    return Mixture(mean, share, scale, np.full(len(mean), -np.inf))


def fit_mixture(
    value: FloatArray, start: Mixture, known: Known, steps: int, held: Held | None = None
) -> Mixture:
    """Expectation maximisation of one or two populations.

    Parameters
    ----------
    value : array, `(B, N, 2)` or `(1, N, 2)`
        Whitened windows of each sample; one sample for all starts.
    start : Mixture
        Of B samples.
    known : Known
    steps : int
    held : Held, optional

    Returns
    -------
    Mixture
        With the log-likelihood of the parameters that the last step started from.
    """
    now, features = start, _features(value)
    for _ in range(steps):
        now = _step(features, now, known, held or Held())
    return now


def _features(value: FloatArray) -> FloatArray:
    """Coordinates of the windows, their squared length and 1, `(B, 4, N)`."""
    square = (value**2).sum(axis=2)
    parts = (value[..., 0], value[..., 1], square, np.ones_like(square))
    return np.stack(parts, axis=1)


def _step(features: FloatArray, now: Mixture, known: Known, held: Held) -> Mixture:
    k = now.mean.shape[1]
    responsibility, log_likelihood = _expect(features, now, known)
    sums = responsibility @ features.transpose(0, 2, 1)  # (b, k + j, 4)
    first, square, count = sums[:, :, :2], sums[:, :, 2], sums[:, :, 3]
    own_count, own_first, own_square = count[:, :k], first[:, :k], square[:, :k]
    missing: FloatArray = np.zeros_like(own_count)
    missing_first: FloatArray = np.zeros_like(own_count)
    missing_square: FloatArray = np.zeros_like(own_count)
    if not known.selection.open:
        missing, missing_first, missing_square = _missing(now, known.selection, own_count)
    total = np.maximum(own_count + missing, 1e-9)
    mean = own_first + missing[:, :, None] * now.mean
    mean[:, :, 0] += missing_first * now.scale[:, None]
    mean /= total[:, :, None]
    if held.line is not None:
        along = ((mean[:, -1] - now.mean[:, -1]) @ held.line) / (held.line @ held.line)
        mean[:, -1] -= along[:, None] * held.line
    share = now.share if held.share else total / total.sum(axis=1, keepdims=True)
    share = np.clip(share, LEAST_SHARE, 1.0)
    # squared distances from the new means: of windows seen, of those missing, of other classes
    seen = own_square - 2.0 * (own_first * mean).sum(axis=2) + own_count * (mean**2).sum(axis=2)
    offset = (now.mean - mean) / now.scale[:, None, None]
    unseen = missing_square + 2.0 * missing_first * offset[:, :, 0]
    unseen = unseen + missing * (offset**2).sum(axis=2)
    distance = seen.sum(axis=1) + now.scale**2 * unseen.sum(axis=1)
    if len(known.other_share):
        at = known.other_mean
        others = square[:, k:] - 2.0 * (first[:, k:] * at).sum(axis=2)
        distance += (others + count[:, k:] * (at**2).sum(axis=1)).sum(axis=1)
    scale = _scale(distance, features.shape[2] + missing.sum(axis=1), now.scale, known)
    return Mixture(mean, share, scale, log_likelihood)


def _expect(features: FloatArray, now: Mixture, known: Known) -> tuple[FloatArray, FloatArray]:
    """Who belongs where `(B, K + J, N)`, and the log-likelihood `(B,)`."""
    responsibility, log_likelihood = _chances(features, now, known)
    tension = (np.log(now.scale) - known.log_scale) / known.log_scale_sigma
    return responsibility, log_likelihood.sum(axis=1) - 0.5 * tension**2


def _chances(features: FloatArray, now: Mixture, known: Known) -> tuple[FloatArray, FloatArray]:
    """Who belongs where `(B, K + J, N)`, and the log-likelihood of each window `(B, N)`."""
    b, k = now.share.shape
    j = len(known.other_share)
    mean = np.concatenate([now.mean, np.broadcast_to(known.other_mean, (b, j, 2))], axis=1)
    selection, scale = known.selection, now.scale[:, None]
    chosen = np.ones((b, k + j))
    if not selection.open:
        chosen = selection.moments(mean[:, :, 0], scale)[0]
    own = known.own * now.share / (now.share * chosen[:, :k]).sum(axis=1, keepdims=True)
    others = np.broadcast_to(known.other_share, (b, j)) / chosen[:, k:]
    weight = np.concatenate([own, others], axis=1)
    # log weight - (|z|^2 - 2 z m + |m|^2) / (2 s^2), linear in the features
    precision = (1.0 / scale**2)[:, :, None]
    constant = np.log(np.maximum(weight, 1e-300))[:, :, None]
    constant = constant - 0.5 * precision * (mean**2).sum(axis=2, keepdims=True)
    square = np.broadcast_to(-0.5 * precision, constant.shape)
    log_term = np.concatenate([precision * mean, square, constant], axis=2) @ features
    top = log_term.max(axis=1, keepdims=True)
    log_term -= top
    responsibility = np.exp(log_term, out=log_term)
    total = responsibility.sum(axis=1, keepdims=True)
    responsibility /= total
    by_window = (np.log(total) + top)[:, 0] - 2.0 * np.log(now.scale)[:, None]
    return responsibility, by_window


def _missing(
    now: Mixture, selection: Selection, own_count: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Windows of each population that were not chosen, expected, `(B, K)`: how many, and moments.

    What they add to the first moment (along the first coordinate) and to the second, about the
    population's mean in units of the scale.
    """
    chosen, first, square = selection.moments(now.mean[:, :, 0], now.scale[:, None])
    together = (now.share * chosen).sum(axis=1, keepdims=True)
    drawn = own_count.sum(axis=1, keepdims=True) / together * now.share
    missing = drawn * (1.0 - chosen)
    missing_first = -drawn * chosen * first
    # the second coordinate is not asked: its mean square is 1
    missing_square = drawn * (1.0 - chosen * square) + missing
    return missing, missing_first, missing_square


def _scale(
    distance: FloatArray, freedom: FloatArray, start: FloatArray, known: Known
) -> FloatArray:
    """Best scale for summed squared distances in two dimensions, held to what is known of it."""
    x = np.log(start)
    stiff = 1.0 / known.log_scale_sigma**2
    for _ in range(NEWTON_STEPS):
        pull = distance * np.exp(-2.0 * x)
        gradient = pull - 2.0 * freedom - stiff * (x - known.log_scale)
        x = x + np.clip(gradient / (2.0 * pull + stiff), -0.5, 0.5)
    return np.asarray(np.exp(x))


def by_window(value: FloatArray, fit: Mixture, known: Known) -> tuple[FloatArray, FloatArray]:
    """Chance of each population, then of each other class, and the log-likelihood, by window.

    Parameters
    ----------
    value : array, `(1, N, 2)`
        One sample.
    fit : Mixture
        Of one sample.
    known : Known

    Returns
    -------
    arrays, `(K + J, N)` and `(N,)`
        Their sum is the log-likelihood but for what is known of the scale.
    """
    chance, log_likelihood = _chances(_features(value), fit, known)
    return chance[0], log_likelihood[0]


def settled(value: FloatArray, fit: Mixture, known: Known) -> Mixture:
    """The fit with the log-likelihood of its own parameters."""
    return replace(fit, log_likelihood=_expect(_features(value), fit, known)[1])


def belonging(value: FloatArray, fit: Mixture, known: Known) -> FloatArray:
    """Chance of each population, then of each other class, for each window, `(K + J, N)`."""
    return by_window(value, fit, known)[0]
