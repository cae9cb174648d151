"""The first lesson: how bright classes are at this microscope, how many, and what else is there.

The judge takes what it can't see from cross sections and from what is usual: where the detector,
the thickness or a picture's gamma move the classes, or where a crystal holds what is unusual, it
starts from the wrong place and may take one class for another. Columns that are labelled settle
which is which. Where labels are few, what is usual counts beside them, by how far it may be off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..evaluation import HIT_RADIUS_PM, UNKNOWN, match_columns
from ..judge import (
    CHALCOGEN,
    ClassPrior,
    ImageEvidence,
    JudgeConfig,
    LearntClasses,
    Stranger,
    Weighed,
    class_prior,
    classify_run,
    solve_classes,
    weigh_image,
)
from ..materials import ROLES, Material
from ..types import FloatArray, IntArray
from .lessons import Seen

X2, XY, Y2, V1, V2, OTHER = range(6)
_ROUNDS = 2
"""Weights are read on a scale that the classes have a part in: what was learnt may move it."""
_NOBODY = -1
_FREE = 3.0
"""How many times farther off than usual a microscope's classes may be: images are single ones."""
_LEAST_SPREAD = 0.012
_USUAL_IMAGES = 2.0
_OWN_COLUMNS = 4
"""Of columns called other that agree, to be a class of their own."""
_GAP_SIGMA = 3.0
_STRANGER_SPREAD = 0.02
_LEAST_STRENGTH, _MOST_STRENGTH = 10.0, 400.0
_LEAST_P = 1e-4
_BETTER = 0.97
"""Of the log loss: below that the network's say is changed."""
_SAYS = ((0.0, 0.0), (1.0, 1.0))


@dataclass(frozen=True)
class Labelled:
    """What an image says of its columns, with the labels of those that somebody looked at.

    Parameters
    ----------
    evidence : ImageEvidence
    whole : bool
        As of `Lesson`.
    """

    evidence: ImageEvidence
    whole: bool

    @property
    def labels(self) -> IntArray:
        """Of the columns on chalcogen sites, `(n,)`; -1 where there is none."""
        assert self.evidence.labels is not None
        return self.evidence.labels[self.evidence.is_chalcogen]


class Scales:
    """Weighs the columns of images, each once by the same settings.

    Parameters
    ----------
    material : Material
    """

    def __init__(self, material: Material) -> None:
        self.material = material
        self._known: dict[tuple[str, int, str], Weighed] = {}

    def weigh(self, seen: Seen, config: JudgeConfig) -> Weighed:
        """What an image says of its columns; thresholds have no part in it."""
        if config.learnt is not None:
            config = config.replace(learnt=config.learnt.replace(thresholds=()))
        key = (seen.lesson.name, hash(seen.found.probabilities.tobytes()), repr(config))
        if key not in self._known:
            image, pixel_pm = seen.lesson.image, seen.pixel_size_pm
            self._known[key] = weigh_image(image, seen.found, pixel_pm, self.material, config)
        return self._known[key]

    def labelled(self, seen: Sequence[Seen], config: JudgeConfig) -> list[Labelled]:
        """The images that can be judged, with their labels."""
        both = [labelled(one, self.weigh(one, config)) for one in seen]
        return [one for one in both if one is not None]


def believed(seen: Seen) -> Seen:
    """With the labels in the place of what the network says.

    How bright columns are and what a column looks like are learnt from one another: where the
    network is mostly wrong, weights begin on a wrong scale, and labels that come later don't help.
    """
    lesson, found = seen.lesson, seen.found
    known = lesson.known & (lesson.class_index != UNKNOWN)
    near, there = match_columns(
        found.position_px, lesson.position_px[known], HIT_RADIUS_PM / seen.pixel_size_pm
    )
    probabilities = np.array(found.probabilities, dtype=float)
    labels = lesson.class_index[known][there]
    probabilities[near] = np.eye(probabilities.shape[1])[labels]
    index = np.array(found.class_index)
    index[near] = labels  # which sublattice is the metal's goes by these
    return replace(seen, found=replace(found, probabilities=probabilities, class_index=index))


def labelled(seen: Seen, weighed: Weighed) -> Labelled | None:
    """The evidence of an image with the labels of its columns; None where it can't be judged."""
    if weighed.evidence is None:
        return None
    lesson, every = seen.lesson, weighed.every
    order = np.full(len(ROLES), OTHER)
    order[list(CHALCOGEN)] = range(OTHER)
    order[ROLES.index("metal")] = OTHER  # on a chalcogen's site
    known = lesson.known & (lesson.class_index != UNKNOWN)
    labels = np.full(len(every), _NOBODY)
    near, there = match_columns(
        every.position_px, lesson.position_px[known], HIT_RADIUS_PM / seen.pixel_size_pm
    )
    labels[near] = order[lesson.class_index[known][there]]
    return Labelled(replace(weighed.evidence, labels=labels), lesson.whole)


def learn_classes(seen: Sequence[Seen], scales: Scales, config: JudgeConfig) -> JudgeConfig:
    """Settings of the judge with the classes that labels tell.

    Parameters
    ----------
    seen : sequence of Seen
    scales : Scales
    config : JudgeConfig
        Of the judge up to now: what it was taught before is replaced.
    """
    material = scales.material
    usual = class_prior(material)
    config = config.replace(learnt=None)
    # nothing is learnt yet, but columns are weighed as they will be
    taught = config.replace(learnt=LearntClasses())
    for _ in range(_ROUNDS):
        lessons = scales.labelled([believed(one) for one in seen], taught)
        if not any((one.labels != _NOBODY).any() for one in lessons):
            return config
        taught = taught.replace(
            learnt=_classes(lessons, usual, class_prior(material, taught.learnt))
        )
    return _with_say(scales.labelled(seen, taught), material, taught)


def _classes(lessons: Sequence[Labelled], usual: ClassPrior, start: ClassPrior) -> LearntClasses:
    """From weights of labelled columns, each taken with its neighbours as they were labelled."""
    solved = [solve_classes(one.evidence, start) for one in lessons]
    weight, sigma = (
        [
            getattr(s, name)[one.evidence.is_chalcogen]
            for s, one in zip(solved, lessons, strict=True)
        ]
        for name in ("weight", "error")
    )
    labels = [one.labels for one in lessons]
    mean, spread = _means(weight, sigma, labels, usual)
    whole = [one.labels for one in lessons if one.whole]
    strangers = _strangers(weight, sigma, labels, whole)
    share, strength = _shares(whole, sum(s.share for s in strangers), usual)
    return LearntClasses(
        mean=tuple(mean), spread=tuple(spread), share=share, strength=strength, strangers=strangers
    )


def _means(
    weight: Sequence[FloatArray],
    sigma: Sequence[FloatArray],
    labels: Sequence[IntArray],
    usual: ClassPrior,
) -> tuple[list[float], list[float]]:
    """Weights of the classes and how far an image's own may be from them."""
    known = [_class_mean(weight, sigma, labels, k) for k in range(OTHER)]
    # X2 needs no help: what is usual of the others is said in units of it
    x2 = known[X2][0] if np.isfinite(known[X2][1]) else _by_others(known, usual)
    ties = _FREE * np.array(usual.spread) * x2
    y2, y2_error = _joined(known[Y2], usual.heavier * x2, ties[3])
    expected = {
        X2: (x2, 0.1),
        XY: ((x2 + y2) / 2 + usual.midway * x2, float(np.hypot(ties[2], y2_error / 2))),
        Y2: (usual.heavier * x2, ties[3]),
        V1: (usual.half * x2, ties[0]),
        V2: (usual.empty, ties[1]),
    }
    found = [_joined(known[k], *expected[k]) for k in range(OTHER)]
    usually = _scatter(weight, sigma, labels, X2, 0.02 * x2)
    spread = []
    for k, (mean, error) in enumerate(found):
        of_images = _scatter(weight, sigma, labels, k, usually * max(mean / x2, 0.3))
        spread.append(float(np.hypot(error, max(of_images, _LEAST_SPREAD))))
    return [float(m) for m, _ in found], spread


def _by_others(known: Sequence[tuple[float, float]], usual: ClassPrior) -> float:
    """Weight of X2 where no column is labelled so."""
    ratio = {XY: (1 + usual.heavier) / 2 + usual.midway, Y2: usual.heavier, V1: usual.half}
    told = [known[k][0] / r for k, r in ratio.items() if np.isfinite(known[k][1])]
    return float(np.median(told)) if told else 0.72


def _class_mean(
    weight: Sequence[FloatArray], sigma: Sequence[FloatArray], labels: Sequence[IntArray], k: int
) -> tuple[float, float]:
    """Mean weight of the columns of a class and its error; infinite where there are none."""
    w = np.concatenate([w[its == k] for w, its in zip(weight, labels, strict=True)])
    s = np.concatenate([s[its == k] for s, its in zip(sigma, labels, strict=True)])
    if not len(w):
        return np.nan, np.inf
    mean = float(np.median(w))
    for _ in range(5):  # a wrong label must not move a class
        pull = (w - mean) / s
        trust = s**-2.0 / (1.0 + (pull / 3.0) ** 2)
        mean = float((trust * w).sum() / trust.sum())
    scatter = max(1.0, float(np.median(np.abs((w - mean) / s))) / 0.6745)
    return mean, scatter / float(np.sqrt((s**-2.0).sum()))


def _joined(known: tuple[float, float], expected: float, tie: float) -> tuple[float, float]:
    """What labels say and what is usual, by their errors."""
    mean, error = known
    if not np.isfinite(error):
        return expected, tie
    total = error**-2.0 + tie**-2.0
    return (mean * error**-2.0 + expected * tie**-2.0) / total, total**-0.5


def _scatter(
    weight: Sequence[FloatArray],
    sigma: Sequence[FloatArray],
    labels: Sequence[IntArray],
    k: int,
    usual: float,
) -> float:
    """How far the images' own means of a class scatter beyond their errors.

    What is usual counts as `_USUAL_IMAGES` images do: two or three agree by chance.
    """
    known = [
        _class_mean([w], [s], [its], k) for w, s, its in zip(weight, sigma, labels, strict=True)
    ]
    known = [(m, e) for m, e in known if np.isfinite(e)]
    if len(known) < 2:
        return usual
    mean, error = np.array(known).T
    middle = (mean * error**-2.0).sum() / (error**-2.0).sum()
    beyond = np.maximum((mean - middle) ** 2 - error**2, 0.0).sum()
    return float(np.sqrt((_USUAL_IMAGES * usual**2 + beyond) / (_USUAL_IMAGES + len(known) - 1)))


def _strangers(
    weight: Sequence[FloatArray],
    sigma: Sequence[FloatArray],
    labels: Sequence[IntArray],
    whole: Sequence[IntArray],
) -> tuple[Stranger, ...]:
    """Columns labelled other, by weights that they agree on."""
    w = np.concatenate([w[its == OTHER] for w, its in zip(weight, labels, strict=True)])
    s = np.concatenate([s[its == OTHER] for s, its in zip(sigma, labels, strict=True)])
    order = np.argsort(w)
    w, s = w[order], s[order]
    if len(w) < _OWN_COLUMNS:
        return ()
    cut = np.flatnonzero(np.diff(w) > _GAP_SIGMA * np.median(s)) + 1
    total = sum(len(its) for its in whole)
    others = sum(int((its == OTHER).sum()) for its in whole)
    found = []
    for part, error in zip(np.split(w, cut), np.split(s, cut), strict=True):
        if len(part) < _OWN_COLUMNS:
            continue
        mean = float(np.median(part))
        spread = float(np.hypot(_STRANGER_SPREAD, np.median(error) / np.sqrt(len(part))))
        share = others / total * len(part) / len(w) if total else 0.01
        found.append(Stranger(mean, spread, float(np.clip(share, 0.001, 0.3))))
    return tuple(found)


def _shares(
    whole: Sequence[IntArray], strangers: float, usual: ClassPrior
) -> tuple[tuple[float, ...], float]:
    """Fractions of the classes, where whole images say, and how alike the images are in them."""
    counts = np.array([np.bincount(its[its >= 0], minlength=6)[:6] for its in whole], dtype=float)
    if not len(counts) or not counts.sum():
        return (), 0.0
    start = usual.strength * np.array(usual.share) / np.sum(usual.share)
    own = counts.sum(axis=0)
    if strangers:  # they have shares of their own
        own[OTHER] = 0.0
    share = own + start
    share /= share.sum()
    n = counts.sum(axis=1)
    strength = float(n.sum())
    expected = n[:, None] * (counts.sum(axis=0) / n.sum())
    if len(counts) > 1:
        used = expected.sum(axis=0) >= len(counts)
        squares = ((counts - expected) ** 2 / np.maximum(expected, 1e-9))[:, used].sum()
        over = squares / max((len(counts) - 1) * (used.sum() - 1), 1)
        if over > 1.0:
            strength = min(strength, max(float(n.mean()) - over, 1.0) / (over - 1.0))
    return tuple(float(v) for v in share), float(np.clip(strength, _LEAST_STRENGTH, _MOST_STRENGTH))


def _with_say(lessons: Sequence[Labelled], material: Material, config: JudgeConfig) -> JudgeConfig:
    """With the network's say that the labels bear out."""
    assert config.learnt is not None
    tried = [config] + [config.replace(network_say=say) for say in _SAYS]
    tried += [c.replace(learnt=config.learnt.replace(blind=False)) for c in tried]
    if not any(one.whole for one in lessons):
        return config
    losses = [log_loss(lessons, class_prior(material, c.learnt), c.network_say) for c in tried]
    best = int(np.argmin(losses))
    return tried[best] if losses[best] < _BETTER * losses[0] else config


def unlabelled_chances(
    lessons: Sequence[Labelled], prior: ClassPrior, say: tuple[float, ...]
) -> tuple[FloatArray, IntArray]:
    """What the judge makes of labelled columns of whole images, and their labels.

    Returns
    -------
    chance : array, `(n, 6)`
        Of X2, XY, Y2, V1, V2 and other.
    labels : array, `(n,)`
    """
    whole = [one for one in lessons if one.whole]
    run = classify_run([replace(one.evidence, labels=None) for one in whole], prior, say)
    chances, labels = [np.empty((0, 6))], [np.empty(0, dtype=int)]
    for one, classes in zip(whole, run.images, strict=True):
        if classes is None:
            continue
        told = one.labels != _NOBODY
        chance = classes.chance[one.evidence.is_chalcogen][told]
        six = chance[:, :6].copy()
        six[:, OTHER] += chance[:, 6:].sum(axis=1)
        chances.append(six)
        labels.append(one.labels[told])
    return np.concatenate(chances), np.concatenate(labels)


def log_loss(lessons: Sequence[Labelled], prior: ClassPrior, say: tuple[float, ...]) -> float:
    """Mean of -log p of the labels, by the judge without them."""
    chance, labels = unlabelled_chances(lessons, prior, say)
    p = chance[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(p, _LEAST_P)).mean()) if len(p) else 0.0
