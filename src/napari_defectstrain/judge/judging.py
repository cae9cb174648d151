"""The judge: the network's columns, weighed and classified by what their own images say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated

import numpy as np

from ..config import Between, Config, Length
from ..crystal import data_box
from ..materials import CHALCOGEN_SITES, ROLES, Material, OpenClass
from ..progress import subprogress
from ..simulate import ELEMENTS, nominal_weights
from ..types import (
    CalibratedImage,
    DefectStrainError,
    FloatArray,
    IntArray,
    Progress,
    Sites,
    no_progress,
)
from .alike import alike_notes, noise_notes, vacancy_notes
from .beforehand import Told, told_by
from .cell import brightness_of_sublattices
from .empty_places import with_empty_places, with_places_beyond
from .learnt import LearntClasses
from .metal_sites import with_metals_told
from .mixture import OTHER, ClassPrior, FurtherClass
from .picture import Picture
from .places import lattice_places
from .pooling import classify_run
from .rim import border_distance, level_rim, weighable
from .solving import ImageClasses, ImageEvidence, anchored_weights, solve_classes

_OTHER, _X2 = ROLES.index("other"), ROLES.index("X2")
_NAMED_SHARE = 0.01
"""Fraction of the columns of its sites that a named class has, before the images are seen."""
_TYPICAL_WEIGHT = 0.72
"""Of X2, where the weights start if nothing is known of the elements."""
_SIGMA = 0.18
"""Width of a column in lattice constants, where the profile starts: the sampling follows it."""
_LEAST_CHALCOGEN = 30
_UNKNOWN_SPREAD = (0.045, 0.03, 0.1, 0.6)
"""Ties of the means where nothing is known of how heavy the substituent is."""


@dataclass(frozen=True)
class JudgeConfig(Config):
    """Settings of the judge.

    Parameters
    ----------
    enabled : bool
        Whether the classes that the network gives are judged by the image.
    rounds : int
        How often profile, places, noise and classes are found anew.
    network_say : tuple of float
        How much the network's odds of V1 and of V2 count beside the weight, 0-1 each.
    learnt : LearntClasses, optional
        What labelled columns of this microscope say of the classes.
    """

    enabled: bool = True
    rounds: Annotated[int, Between(1, 20)] = 2
    network_say: Annotated[tuple[float, ...], Length(2), Between(0.0, 1.0)] = (0.12, 0.25)
    learnt: LearntClasses | None = None


@dataclass(frozen=True)
class Judgement:
    """What the judge makes of one image.

    Parameters
    ----------
    sites : Sites
        With weights and their errors; the network's own where the judge could not help.
    warnings : tuple of str
    classes : ImageClasses or None
        None where the network's answer was left.
    open_classes : tuple of OpenClass
        Classes that all images of the run together show beside the material's.
    """

    sites: Sites
    warnings: tuple[str, ...] = ()
    classes: ImageClasses | None = None
    open_classes: tuple[OpenClass, ...] = ()


_weights = cache(nominal_weights)


def _starting_weights(material: Material, learnt: LearntClasses | None = None) -> FloatArray:
    """Of the roles, from cross sections as far as they are known; the image says what they are."""
    if learnt is not None and learnt.mean:
        return np.array([1.0, *learnt.mean, learnt.mean[0]])
    known = {material.metal, material.chalcogen, material.substituent} <= set(ELEMENTS)
    x2 = _weights(material)[ROLES.index("X2")] if known else _TYPICAL_WEIGHT
    return np.array([1.0, *class_prior(material).means(x2)[:OTHER], x2])


def class_prior(material: Material, learnt: LearntClasses | None = None) -> ClassPrior:
    """What cross sections say of a material's classes, as far as they are known, and labels."""
    if {material.metal, material.chalcogen, material.substituent} <= set(ELEMENTS):
        weights = _weights(material)
        prior = ClassPrior(heavier=weights[ROLES.index("Y2")] / weights[ROLES.index("X2")])
    else:
        prior = ClassPrior(heavier=1.0, spread=_UNKNOWN_SPREAD)
    prior = replace(
        prior,
        further=tuple(FurtherClass(c.weight, _NAMED_SHARE) for c in material.named_chalcogens),
        on_metal=tuple(FurtherClass(c.weight, _NAMED_SHARE) for c in material.named_metals),
    )
    return prior if learnt is None else learnt.prior(prior)


def judge_images(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    pixel_size_pm: Sequence[float],
    material: Material,
    config: JudgeConfig | None = None,
    progress: Progress = no_progress,
) -> list[Judgement]:
    """Weigh every column and classify it by the images' own classes.

    Parameters
    ----------
    images, sites : sequences
        The images and the columns that the network found in each.
    pixel_size_pm : sequence of float
        Of each image, by its lattice [pm].
    material : Material
    config : JudgeConfig, optional
    progress : Progress

    Returns
    -------
    list of Judgement
        An image that can't be judged (few columns, no lattice) keeps its columns and says so.
        Places within the crystal where the network found no column come after those that it found.
    """
    weighed = []
    for i, (image, columns, pixel_pm) in enumerate(zip(images, sites, pixel_size_pm, strict=True)):
        part = subprogress(progress, i / len(images), (i + 1) / len(images), f"{image.name}: ")
        weighed.append(weigh_image(image, columns, pixel_pm, material, config, part))
    judgements = judge_weighed(sites, weighed, material, config)
    progress(1.0, "judged")
    return judgements


@dataclass(frozen=True)
class Weighed:
    """What one image says before the others are asked.

    Parameters
    ----------
    every : Sites
        What the network found, and behind it the places within the crystal where it found nothing.
    evidence : ImageEvidence or None
        None where the image can't be judged.
    notes : tuple of str
        Why not.
    """

    every: Sites
    evidence: ImageEvidence | None
    notes: tuple[str, ...] = ()


def weigh_image(
    image: CalibratedImage,
    sites: Sites,
    pixel_pm: float,
    material: Material,
    config: JudgeConfig | None = None,
    progress: Progress = no_progress,
) -> Weighed:
    """The part of `judge_images` that one image answers for; arguments as in `weigh_columns`.

    Padded margins are cut off before: at their step the profile would be learnt wrongly.
    """
    box = data_box(image.data, material.lattice_pm / pixel_pm)
    if box is not None:
        corner = np.array([part.start for part in box], dtype=float)
        its, size = sites.position_px - corner, np.array(image.data[box].shape)
        if ((its > -0.5) & (its < size - 0.5)).all():
            cut, moved = replace(image, data=image.data[box]), replace(sites, position_px=its)
            found = weigh_image(cut, moved, pixel_pm, material, config, progress)
            every = replace(found.every, position_px=found.every.position_px + corner)
            seen = found.evidence
            if seen is not None and seen.place_px is not None:
                seen = replace(seen, place_px=seen.place_px + corner)
            return Weighed(every, seen, found.notes)
    if config is not None:
        sites = with_metals_told(image, sites, pixel_pm, material.lattice_pm, config.learnt)
    a_px = material.lattice_pm / pixel_pm
    every = with_empty_places(sites, a_px)
    every = with_places_beyond(every, image.data.shape, a_px)
    try:
        return Weighed(every, weigh_columns(image, every, pixel_pm, material, config, progress))
    except DefectStrainError as error:
        return Weighed(every, None, (f"{image.name}: not judged by the image itself: {error}",))


def judge_weighed(
    sites: Sequence[Sites],
    weighed: Sequence[Weighed],
    material: Material,
    config: JudgeConfig | None = None,
) -> list[Judgement]:
    """The part of `judge_images` that all images of a run answer for together.

    Parameters
    ----------
    sites : sequence of Sites
        Columns that the network found in each image.
    weighed : sequence of Weighed
        Of the same images. What they say is added up in this order.
    material : Material
    config : JudgeConfig, optional
    """
    config = config or JudgeConfig()
    evidences = [one.evidence for one in weighed]
    run = classify_run(evidences, class_prior(material, config.learnt), config.network_say)
    thresholds = () if config.learnt is None else config.learnt.thresholds
    alike = alike_notes(run.images, material)
    if not any(one.sites == CHALCOGEN_SITES for one in run.open_classes):
        alike += vacancy_notes(run.images, material, class_prior(material, config.learnt))
    return [
        Judgement(
            _told(columns, one.every, classes, material, thresholds),
            (*one.notes, *alike, *noise_notes(classes, material)),
            classes,
            run.open_classes,
        )
        for columns, one, classes in zip(sites, weighed, run.images, strict=True)
    ]


def _told(
    found: Sites,
    every: Sites,
    classes: ImageClasses | None,
    material: Material,
    thresholds: tuple[float, ...],
) -> Sites:
    """What was found, judged, and of the places beside it those that could be judged."""
    if classes is None:
        return judged_sites(found, None, material)
    sites = judged_sites(every, classes, material, thresholds)
    assert sites.weight is not None
    return sites.subset((np.arange(len(sites)) < len(found)) | np.isfinite(sites.weight))


def weigh_columns(
    image: CalibratedImage,
    sites: Sites,
    pixel_pm: float,
    material: Material,
    config: JudgeConfig | None = None,
    progress: Progress = no_progress,
) -> ImageEvidence:
    """What an image says of the weights of its columns.

    Parameters
    ----------
    image : CalibratedImage
    sites : Sites
        Columns found in it.
    pixel_pm : float
        Side of a pixel, by the lattice [pm].
    material : Material
    config : JudgeConfig, optional
    progress : Progress

    Raises
    ------
    DefectStrainError
        If too few columns lie on a lattice.
    """
    config = config or JudgeConfig()
    a_pm = material.lattice_pm
    places = lattice_places(sites, a_pm)
    distance = border_distance(sites.position_px, image.data, a_pm / pixel_pm)
    judged = places.on_lattice & weighable(sites.position_px, image.data, distance, a_pm / pixel_pm)
    metals, chalcogens = ((judged & (places.is_metal == which)).sum() for which in (True, False))
    if min(metals, chalcogens) < _LEAST_CHALCOGEN:
        raise DefectStrainError(
            f"got {metals} metal and {chalcogens} chalcogen columns on the "
            f"lattice, expected at least {_LEAST_CHALCOGEN} of each"
        )
    typical = _starting_weights(material, config.learnt)
    prior = class_prior(material, config.learnt)
    told = told_by(np.asarray(sites.probabilities, dtype=float), places, judged, typical)
    bright = None
    if config.learnt is None or not config.learnt.mean:
        of_metals = sites.position_px[places.on_lattice & places.is_metal]
        bright = brightness_of_sublattices(image.data, a_pm / pixel_pm, of_metals)

    def look(told: Told, rounds: int, part: Progress) -> ImageEvidence | None:
        told = told.as_bright(bright)
        picture = Picture(
            np.asarray(image.data),
            pixel_pm,
            a_pm,
            _SIGMA * a_pm,
            places,
            sites.position_px,
            told.guess,
        )
        settings = config.replace(rounds=rounds)
        return _look(picture, told, distance, prior, settings, part)

    evidence = look(told, config.rounds, progress)
    if evidence is not None:
        return evidence
    # what a network says that is mostly wrong must not even be where the search starts
    free = told.without_labels(float(typical[_X2]), config.learnt)
    evidence = look(free, config.rounds + 1, progress)
    assert evidence is not None
    found = solve_classes(evidence, prior)
    told = told.heard(found, told_by(told.classes_found(found), places, judged, typical))
    return look(told, config.rounds, progress) or replace(evidence, network=told.network)


def _look(
    picture: Picture,
    told: Told,
    distance: FloatArray,
    prior: ClassPrior,
    config: JudgeConfig,
    progress: Progress,
) -> ImageEvidence | None:
    """What the picture says; None where it contradicts what the search started from."""
    share = told.share
    picture.fit_profile()
    picture.explain()
    for i in range(config.rounds):
        progress(i / config.rounds, "judging columns")
        picture.fit_lines()
        picture.explain()
        picture.fit_noise()
        picture.settle(share)
        picture.fit_profile()
        picture.explain()
        place_px = picture.sampling.to_image(picture.position)
        last = i + 1 == config.rounds
        equations = picture.equations(lean=last)
        equations = level_rim(equations, picture.weight, distance, told.metal)
        evidence = ImageEvidence(
            equations,
            told.metal,
            told.chalcogen,
            told.network,
            told.guess,
            told.doubt,
            place_px,
            # classes that labels taught are those of columns that were weighed without it
            around=picture.surroundings() if last and config.learnt is None else None,
        )
        if i == 0 and told.labels is not None and told.contradicted(solve_classes(evidence, prior)):
            return None
        if not last:
            found = solve_classes(evidence, prior, config.network_say)
            picture.weight = anchored_weights(found, prior, told.chalcogen)
            picture.explain()
            share = found.chance[:, 1 : OTHER + 1].copy()
            share[:, -1] += found.chance[:, OTHER + 1 :].sum(axis=1)
    return evidence


def judged_sites(
    sites: Sites,
    classes: ImageClasses | None,
    material: Material,
    thresholds: tuple[float, ...] = (),
) -> Sites:
    """The network's columns with the classes, probabilities and weights of the judge.

    Where there are none, with the named classes of the material alone, which no column has.

    Parameters
    ----------
    sites : Sites
    classes : ImageClasses or None
    material : Material
    thresholds : tuple of float
        As `LearntClasses.thresholds`: they choose the class and leave the probabilities.
    """
    named = len(material.named)
    if classes is None and not named:
        return sites
    probabilities = np.pad(np.array(sites.probabilities, dtype=float), ((0, 0), (0, named)))
    sites = replace(sites, probabilities=probabilities, class_names=material.all_class_names)
    if classes is None:
        return sites
    chalcogen = classes.chance.sum(axis=1) > 0
    first = len(ROLES)
    between = first + len(material.named_chalcogens)
    own = _with_unnamed_as_other(classes.chance[chalcogen], OTHER, between - first)
    probabilities[chalcogen] = 0.0
    probabilities[chalcogen, 1:between] = own
    metal = classes.metal_chance.sum(axis=1) > 0
    own = _with_unnamed_as_other(classes.metal_chance[metal], 1, first + named - between)
    probabilities[metal] = 0.0
    probabilities[metal, 0], probabilities[metal, _OTHER] = own[:, 0], own[:, 1]
    probabilities[metal, between:] = own[:, 2:]
    index = np.array(sites.class_index)
    judged = chalcogen | metal
    index[judged] = _most_probable(probabilities[judged], thresholds)
    return replace(
        sites,
        class_index=index.astype(sites.class_index.dtype),
        weight=np.where(judged, classes.weight, np.nan),
        weight_sigma=np.where(judged, classes.sigma, np.nan),
    )


def below_as_perfect(sites: Sites, thresholds: Sequence[float]) -> Sites:
    """Judged columns whose class of defects is less probable than its threshold, as X2.

    Parameters
    ----------
    sites : Sites
        From `judged_sites`. Columns that weren't judged stay as the network's thresholds left them.
    thresholds : sequence of float
        Least probability of XY, Y2, V1 and V2.

    Returns
    -------
    Sites
        With the same probabilities.
    """
    if sites.weight is None:
        return sites
    index = np.array(sites.class_index)
    judged = np.isfinite(sites.weight)
    for role, least in enumerate(thresholds, start=_X2 + 1):
        index[judged & (index == role) & (sites.probabilities[:, role] < least)] = _X2
    return replace(sites, class_index=index)


def _with_unnamed_as_other(chance: FloatArray, other: int, named: int) -> FloatArray:
    """Classes that were found, and have no name, count as *other* to people."""
    end = other + 1 + named
    kept = chance[:, :end].copy()
    kept[:, other] += chance[:, end:].sum(axis=1)
    return kept


def _most_probable(probabilities: FloatArray, thresholds: tuple[float, ...]) -> IntArray:
    """Most probable class, by its threshold; other needs more than one half."""
    known = probabilities.copy()
    unsure = known[:, _OTHER] <= 0.5
    if thresholds:
        least = np.array(thresholds)
        known[:, _X2 + 1 : _X2 + 5] *= (1.0 - least) / least
    known[unsure, _OTHER] = 0.0
    return np.asarray(known.argmax(axis=1))
