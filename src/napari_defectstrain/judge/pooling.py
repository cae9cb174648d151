"""The classes of a run: its images tied to each other, and classes that nobody asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..materials import CHALCOGEN_SITES, METAL_SITES, OpenClass
from ..types import FloatArray
from .alike import vacancy_doubt
from .mixture import OTHER, V1, V2, X2, XY, Y2, ClassPrior, FurtherClass
from .open_classes import (
    KnownClass,
    OpenMixture,
    WeighedColumns,
    find_open_classes,
    tail_share,
)
from .solving import ImageClasses, ImageEvidence, pooled_prior, solve_classes

_SEED = 0
_OVERLAP = 0.015
"""How far from their own weight classes are told that overlap with a known one, in the metal's."""
_METAL_SPREAD = 0.005
_SETTLED = 0.015
"""How far a class may weigh more or less in one image than in the run."""
_LEAST_ANCHOR = 10
_SURE, _LEAST_SURE = 0.9, 30
"""Probability of 2X, and how many such columns must say what places by the image alone do."""
_NEARLY_EMPTY = 0.15
_BETWEEN = 0.025
"""Error of a weight by the scale, of its distance from the next weight that is known."""
_BRIGHTNESS = 0.012
"""Error of the brightness of the chalcogens by that of the metals, in the metal's."""


@dataclass(frozen=True)
class RunClasses:
    """Classes of the columns of a run.

    Parameters
    ----------
    images : tuple of ImageClasses or None
        None for images that can't be judged. Further classes come in the order of `prior`: those
        that were asked for, then those that were found.
    open_classes : tuple of OpenClass
        Those that were found.
    prior : ClassPrior
        With both.
    """

    images: tuple[ImageClasses | None, ...]
    open_classes: tuple[OpenClass, ...]
    prior: ClassPrior


def classify_run(
    evidences: Sequence[ImageEvidence | None], prior: ClassPrior, say: tuple[float, ...]
) -> RunClasses:
    """Classes of a run's columns, and further ones that they agree on.

    Parameters
    ----------
    evidences : sequence of ImageEvidence or None
        Of each image.
    prior : ClassPrior
    say : tuple of float
        How much the network's odds of V1 and of V2 count, see `ImageEvidence.knowledge`.
    """
    found = classify(evidences, prior, say)
    known = _judged(evidences, found)
    if not known:
        return RunClasses(tuple(found), (), prior)
    rng = np.random.default_rng(_SEED)
    metals = _metals(known)
    tails = tail_share(metals, 1.0)
    on_metal = find_open_classes(metals, _known_metals(prior), METAL_SITES, rng, tails)
    more = _on_chalcogen_sites(known, prior, tails, rng)
    if more.found or prior.further or vacancy_doubt(found, prior):
        freed = [None if c is None else _freed(e, c) for e, c in zip(evidences, found, strict=True)]
        known = _judged(freed, classify(freed, prior, say))
        again = _on_chalcogen_sites(known, prior, tails, rng)
        least = max(len(more.found), 0 if prior.further else 1)
        if len(again.found) >= least:
            evidences, more = freed, again
    if not more.found and not on_metal.found and not prior.further and not prior.on_metal:
        return RunClasses(tuple(found), (), prior)
    prior = replace(
        prior,
        half=float(more.mean[V1] / more.mean[X2]),
        spread=(min(_SETTLED, prior.spread[0]), *prior.spread[1:]),
        further=_further(prior.further, more),
        on_metal=_further(prior.on_metal, on_metal),
        run_x2=float(more.mean[X2]),
        share=tuple(more.share[:OTHER]) + (prior.share[OTHER],),
    )
    found = classify(evidences, prior, say)
    told = (*_with_scale(more, prior), *_above_empty(on_metal))
    return RunClasses(tuple(found), told, prior)


def _judged(
    evidences: Sequence[ImageEvidence | None], found: Sequence[ImageClasses | None]
) -> list[tuple[ImageEvidence, ImageClasses]]:
    """The images that can be judged."""
    pairs = zip(evidences, found, strict=True)
    return [(e, c) for e, c in pairs if e is not None and c is not None]


def _on_chalcogen_sites(
    known: Sequence[tuple[ImageEvidence, ImageClasses]],
    prior: ClassPrior,
    tails: float,
    rng: np.random.Generator,
) -> OpenMixture:
    """The mixture of the chalcogen columns of all images, and what there is beside the classes."""
    expected = _known_chalcogens(known, prior)
    return find_open_classes(_chalcogens(known), expected, CHALCOGEN_SITES, rng, tails)


def _freed(evidence: ImageEvidence | None, classes: ImageClasses) -> ImageEvidence | None:
    """What an image says if neighbours lie where it alone has them, and not where classes say.

    Columns of a class that nobody knew were taken for another, and the columns around them put
    where they are around that one: S beside Se, taken for a vacancy, lost light to metals that were
    drawn in, and vacancies gained some by those that weren't. Places by the image alone bring their
    own noise: as far as the commonest class scatters more by them, the others' word counts.
    """
    if evidence is None or evidence.equations.lean is None:
        return evidence
    sure = classes.chance[:, X2] > _SURE
    if sure.sum() < _LEAST_SURE:
        return evidence
    scatter = np.cov(classes.weight[sure], evidence.equations.lean[sure])
    # twice what would make the scatter least leaves it as it was
    part = float(np.clip(2.0 * scatter[0, 1] / max(float(scatter[1, 1]), 1e-12), 0.0, 1.0))
    return replace(evidence, equations=evidence.equations.freed(part), around=None)


def _above_empty(metals: OpenMixture) -> tuple[OpenClass, ...]:
    """Classes on metal sites, weighed above their empty ones, which weigh nothing.

    The profile's tails add a little to all but the commonest class, or take it away, as far as
    they are lighter. Chalcogen sites have no such zero: that vacancies seem heavier than nothing
    and than one X is owed to the metals around, which relax towards them or away, and where no X
    is missing they don't.
    """
    weights = [*metals.mean.tolist(), *(o.weight for o in metals.found)]
    nothing = min(weights, key=abs)
    known = [1.0, 0.0] if abs(nothing) < _NEARLY_EMPTY else [1.0]
    nothing = nothing if len(known) > 1 else 0.0
    told = []
    for one in metals.found:
        weight = (one.weight - nothing) / (1.0 - nothing)
        scale = _BETWEEN * min(abs(weight - w) for w in known)
        told.append(replace(one, weight=weight, weight_sigma=_hypot(one.weight_sigma, scale)))
    return tuple(told)


def _with_scale(chalcogens: OpenMixture, prior: ClassPrior) -> tuple[OpenClass, ...]:
    """Classes on chalcogen sites, the error of the scale in that of their weights.

    The scale is as good as what it says of known classes: of X beside nothing and of nothing, and
    of XY between 2X and 2Y. Between these errors are interpolated.
    """
    mean = chalcogens.mean[:OTHER]
    x2 = float(mean[X2])
    expected = {
        V2: prior.empty,
        V1: prior.half * x2,
        XY: (x2 + mean[Y2]) / 2 + prior.midway * x2,
        X2: x2,
    }
    order = sorted(expected, key=lambda k: float(mean[k]))
    off = [abs(float(mean[k] - expected[k])) for k in order]
    told = []
    for one in chalcogens.found:
        known = float(np.interp(one.weight, mean[order], off))
        brightness = _BRIGHTNESS * one.weight / x2
        error = _hypot(one.weight_sigma, known, brightness, _OVERLAP)
        told.append(replace(one, weight_sigma=error))
    return tuple(told)


def _hypot(*errors: float) -> float:
    return float(np.linalg.norm(errors))


def _further(asked: Sequence[FurtherClass], mixture: OpenMixture) -> tuple[FurtherClass, ...]:
    """Classes that were asked for, as the run has them, and those that were found."""
    first = len(mixture.mean) - len(asked)
    named = zip(mixture.mean[first:], mixture.share[first:], strict=True)
    found = ((o.weight, o.share) for o in mixture.found)
    return tuple(
        FurtherClass(float(weight), float(share), _SETTLED) for weight, share in (*named, *found)
    )


def classify(
    evidences: Sequence[ImageEvidence | None], prior: ClassPrior, say: tuple[float, ...]
) -> list[ImageClasses | None]:
    """Classes of a run's columns: each image by itself, then tied to the others."""
    alone = [None if e is None else solve_classes(e, prior, say) for e in evidences]
    known = [a for a in alone if a is not None]
    if len(known) < 2:
        return alone
    tied = pooled_prior(known, prior)
    return [
        None if e is None or a is None else solve_classes(e, tied, say, a.model)
        for e, a in zip(evidences, alone, strict=True)
    ]


def _typical(known: Sequence[tuple[ImageEvidence, ImageClasses]]) -> FloatArray:
    """Mean weights of the five classes over the images, each by its columns."""
    count = np.array([c.chance[:, :OTHER].sum(axis=0) + 1e-6 for _, c in known])
    mean = np.array([c.model.mean[:OTHER] for _, c in known])
    return np.asarray((count * mean).sum(axis=0) / count.sum(axis=0))


def _chalcogens(known: Sequence[tuple[ImageEvidence, ImageClasses]]) -> WeighedColumns:
    """Of all images, each on the run's scale.

    How bright the chalcogens are beside the metals is what an image errs in most, and detectors
    may differ: an image's X2, XY and Y2 are put onto the run's, what lies between goes along.
    """
    typical = _typical(known)
    weight, sigma = [], []
    for evidence, classes in known:
        mine = evidence.is_chalcogen
        count = classes.chance.sum(axis=0)
        anchors = [X2, *(k for k in (XY, Y2) if count[k] >= _LEAST_ANCHOR)]
        if (np.argsort(typical[anchors]) != np.argsort(classes.model.mean[anchors])).any():
            anchors = [X2]  # classes too much alike to tell their order
        # a lighter substituent's classes lie below X2
        own = np.sort([0.0, *classes.model.mean[anchors]])
        run = np.sort([0.0, *typical[anchors]])
        slope = np.diff(run) / np.diff(own)
        step = np.clip(np.searchsorted(own, classes.weight[mine]) - 1, 0, len(slope) - 1)
        weight.append(run[step] + slope[step] * (classes.weight[mine] - own[step]))
        sigma.append(classes.error[mine] * slope[step])
    return WeighedColumns.gathered(np.concatenate(weight), np.concatenate(sigma))


def _metals(known: Sequence[tuple[ImageEvidence, ImageClasses]]) -> WeighedColumns:
    return WeighedColumns.gathered(
        np.concatenate([c.weight[e.is_metal] for e, c in known]),
        np.concatenate([c.error[e.is_metal] for e, c in known]),
    )


def _known_chalcogens(
    known: Sequence[tuple[ImageEvidence, ImageClasses]], prior: ClassPrior
) -> list[KnownClass]:
    typical = _typical(known)
    count = np.sum([c.chance.sum(axis=0) for _, c in known], axis=0)
    share = count / count.sum()
    x2 = float(typical[X2])
    spread = dict(zip((V1, V2, XY, Y2), np.array(prior.spread) * x2, strict=True))
    # V1 may have been drawn towards a class that isn't known yet
    weight = {**dict(enumerate(typical)), V1: prior.half * x2}
    own = [KnownClass(float(weight[k]), spread.get(k, 1.0), float(share[k])) for k in range(OTHER)]
    return own + [KnownClass(f.weight, f.spread, f.share) for f in prior.further]


def _known_metals(prior: ClassPrior) -> list[KnownClass]:
    return [
        KnownClass(1.0, _METAL_SPREAD, 0.98),
        *(KnownClass(f.weight, f.spread, f.share) for f in prior.on_metal),
    ]
