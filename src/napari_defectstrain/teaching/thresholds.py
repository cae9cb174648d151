"""The second lesson: how sure is sure enough.

The most probable class makes the fewest errors, but a rare class among a common one then loses more
columns than it need: where F1 is what counts, a class is best given from a probability of about
half its F1 on (Lipton, Elkan & Naryanaswamy 2014, doi:10.1007/978-3-662-44851-9_15). And
probabilities may be off: grains of dirt make columns heavier than the judge expects. The labels
say which least probability gives each class of defects the greatest F1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..judge import JudgeConfig, LearntClasses, class_prior
from ..types import FloatArray, IntArray
from .lessons import Seen
from .priors import OTHER, X2, Scales, unlabelled_chances

_GRID = np.array([0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8])
_DEFECTS = range(X2 + 1, OTHER)
_SAMPLES = 40
_ROUNDS = 2
_RELUCTANCE = 0.005
"""F1 that a threshold twice or half as high as one half must add: a few labels don't move it."""
_SEED = 0


def learn_thresholds(seen: Sequence[Seen], scales: Scales, config: JudgeConfig) -> JudgeConfig:
    """Settings of the judge with the thresholds that labels ask for.

    Parameters
    ----------
    seen : sequence of Seen
        Only whole images count: around corrections the judge errs more than elsewhere.
    scales : Scales
    config : JudgeConfig
        With the classes that were learnt before, if any.
    """
    lessons = scales.labelled([one for one in seen if one.lesson.whole], config)
    prior = class_prior(scales.material, config.learnt)
    chance, labels = unlabelled_chances(lessons, prior, config.network_say)
    if not len(labels):
        return config
    thresholds = best_thresholds(chance, labels, np.random.default_rng(_SEED))
    return config.replace(learnt=(config.learnt or LearntClasses()).replace(thresholds=thresholds))


def best_thresholds(
    chance: FloatArray, labels: IntArray, rng: np.random.Generator
) -> tuple[float, ...]:
    """Thresholds of XY, Y2, V1 and V2 of greatest mean F1 over samples of the columns.

    Parameters
    ----------
    chance : array, `(n, 6)`
        Of X2, XY, Y2, V1, V2 and other.
    labels : array of int, `(n,)`
    rng : Generator
    """
    count = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=_SAMPLES)
    found = np.full(6, 0.5)
    for _ in range(_ROUNDS):
        for k in _DEFECTS:
            if not (labels == k).any():
                continue
            tried = np.tile(found, (len(_GRID), 1))
            tried[:, k] = _GRID
            f1 = np.array([_mean_f1(chance, labels, t, count) for t in tried])
            worth = f1 - _RELUCTANCE * np.abs(np.log2(_GRID / 0.5))
            found[k] = _GRID[int(np.argmax(worth))]
    return tuple(float(t) for t in found[list(_DEFECTS)])


def chosen(chance: FloatArray, thresholds: FloatArray) -> IntArray:
    """Classes by thresholds `(6,)`, as the judge gives them; other needs more than one half."""
    known = chance * ((1.0 - thresholds) / thresholds)
    known[chance[:, OTHER] <= 0.5, OTHER] = 0.0
    return np.asarray(known.argmax(axis=1))


def _mean_f1(
    chance: FloatArray, labels: IntArray, thresholds: FloatArray, count: IntArray
) -> float:
    """Of the classes of defects that there are, over samples `(S, n)` of the columns."""
    given = chosen(chance, thresholds)
    scores = []
    for k in _DEFECTS:
        if not (labels == k).any():
            continue
        hits = count @ ((given == k) & (labels == k))
        both = count @ ((given == k).astype(int) + (labels == k))
        scores.append(2 * hits / np.maximum(both, 1))
    return float(np.mean(scores)) if scores else 0.0
