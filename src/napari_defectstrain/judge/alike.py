"""Classes that weights may not part from others: what a reader of counts must be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..materials import ROLES, Material
from .mixture import OTHER, V1, V2, X2, ClassPrior
from .solving import ImageClasses

_TOLD_APART = 2.0
"""Standard errors of a column's weight within which two classes are one to the eye."""
_LEAST_VACANCIES = 10.0
"""Columns of V1 from which on their mean weight says something."""
_CLEAR_SIGMA = 2.5
"""Distance of V1 from its neighbours in standard errors from which on its weight is its own."""
_RATIO_ERROR = 0.015
"""Of the weight of V1 over that of X2, both above V2: what images of one crystal differ in."""
_BEYOND = 2.5
"""Errors by which V1's weight may be off what is expected."""
_DROWNED = 3.0
"""Distance of V1 from X2 in standard errors of a column below which noise decides too much: one in
fifteen of either lies on the other's side, and probabilities are worth what is known of shares."""


def alike_notes(images: Sequence[ImageClasses | None], material: Material) -> tuple[str, ...]:
    """Named classes whose weight is another class's: which is which is then shared out by chance.

    Parameters
    ----------
    images : sequence of ImageClasses or None
    material : Material
    """
    known = [one for one in images if one is not None]
    if not known or not material.named:
        return ()
    first = OTHER
    mean = np.median([one.model.mean[: first + len(material.named_chalcogens)] for one in known], 0)
    names = (*material.class_names[1 : first + 1], *(c.name for c in material.named_chalcogens))
    chalcogens = [one.error[one.chance.sum(axis=1) > 0] for one in known]
    metals = [one.error[one.metal_chance.sum(axis=1) > 0] for one in known]
    on_metal = (material.metal, *(c.class_name for c in material.named_metals))
    weights = np.array([1.0, *(c.weight for c in material.named_metals)])
    notes = []
    for words, values, errors, start in (
        (names, mean, chalcogens, first),
        (on_metal, weights, metals, 1),
    ):
        found = np.concatenate(errors)
        sigma = float(np.median(found[np.isfinite(found)])) if np.isfinite(found).any() else 0.0
        for k in range(start, len(words)):
            apart = np.abs(values[:k] - values[k])
            j = int(apart.argmin())
            if apart[j] < _TOLD_APART * sigma:
                notes.append(
                    f"class {words[k]} at {values[k]:.3f} of the metal can hardly be told from "
                    f"{words[j]} at {values[j]:.3f}: single columns scatter by {sigma:.2g}; which "
                    "of the two a column is counted as is chance"
                )
    return tuple(notes)


def noise_notes(image: ImageClasses | None, material: Material) -> tuple[str, ...]:
    """Whether the columns' weights are too noisy to tell vacancies from perfect columns.

    Parameters
    ----------
    image : ImageClasses or None
    material : Material
    """
    if image is None:
        return ()
    error = image.error[(image.chance.sum(axis=1) > 0) & np.isfinite(image.error)]
    sigma = float(np.median(error)) if len(error) else 0.0
    apart = float(image.model.mean[X2] - image.model.mean[V1])
    if apart >= _DROWNED * sigma:
        return ()
    x2, v1 = (material.class_names[ROLES.index(role)] for role in ("X2", "V1"))
    return (
        f"weights of single columns are known to {sigma:.2f} of the metal only, and {x2} and {v1} "
        f"are {apart:.2f} apart: many columns can't be told, rare classes are missed, and "
        "probabilities are too sure; sum more frames, or take a higher dose",
    )


def vacancy_notes(
    images: Sequence[ImageClasses | None], material: Material, prior: ClassPrior
) -> tuple[str, ...]:
    """Whether V1 weighs what half of X2 does; where it doesn't, it may hold other columns, too.

    Weights count above V2's: background and tails that weigh on empty sites weigh on all.

    Parameters
    ----------
    images : sequence of ImageClasses or None
    material : Material
    prior : ClassPrior
        What is expected.
    """
    doubt = vacancy_doubt(images, prior)
    if doubt is None:
        return ()
    names = material.class_names
    v1, x2 = names[ROLES.index("V1")], names[ROLES.index("X2")]
    return (
        f"class {v1} weighs {doubt.found:.3f} of {x2} (both above an empty site), "
        f"{doubt.expected:.3f} ± {doubt.sigma:.3f} is expected: columns of another kind and nearly "
        f"the same weight may be counted as {v1}; its share and averages would be of both",
    )


@dataclass(frozen=True)
class VacancyDoubt:
    """Weight of V1 over that of X2, both above V2: found, expected, and the error of both."""

    found: float
    expected: float
    sigma: float


def vacancy_doubt(images: Sequence[ImageClasses | None], prior: ClassPrior) -> VacancyDoubt | None:
    """What V1 weighs, where that isn't half of what X2 does; else None.

    Parameters
    ----------
    images : sequence of ImageClasses or None
    prior : ClassPrior
        What is expected.
    """
    told = [one for one in map(_vacancy_ratio, images) if one is not None]
    if not told:
        return None
    ratio, error = np.array(told).T
    importance = error**-2.0
    found = float((importance * ratio).sum() / importance.sum())
    sigma = float(np.hypot(importance.sum() ** -0.5, _RATIO_ERROR))
    usual = [one.model.mean[X2] for one in images if one is not None]
    empty = prior.empty / float(np.median(usual))
    expected = (prior.half - empty) / (1.0 - empty)
    if abs(found - expected) < _BEYOND * sigma:
        return None
    return VacancyDoubt(found, expected, sigma)


def _vacancy_ratio(one: ImageClasses | None) -> tuple[float, float] | None:
    """Weight of V1 over that of X2, both above V2, and its error; None where V1 isn't told."""
    if one is None:
        return None
    mean = one.model.mean
    mine = (one.chance.sum(axis=1) > 0) & np.isfinite(one.error)
    chance, error = one.chance[mine, V1], one.error[mine]
    if chance.sum() < _LEAST_VACANCIES:
        return None
    sigma = float(np.median(error))
    scale = float(mean[X2] - mean[V2])
    if min(mean[X2] - mean[V1], mean[V1] - mean[V2]) < _CLEAR_SIGMA * sigma:
        return None
    known = float((chance / error**2).sum()) ** -0.5 * max(float(one.model.width[V1]), 1.0)
    return float(mean[V1] - mean[V2]) / scale, known / scale
