"""Which images of a batch can be used, and what those that are left hold together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd

from ..averages.patches import check_measurable
from ..crystal.calibration import CALIBRATED_BY_LATTICE
from ..crystal.defect_patterns import DefectPatterns, patterns_by_counts
from ..crystal.overlaps import Overlap, counted_regions, find_overlaps, overlap_warnings
from ..crystal.pattern_counts import PatternConfig, PatternCounts, count_patterns
from ..crystal.populations import usable_populations
from ..crystal.regions import NOT_2H, Regions
from ..failures import Failures
from ..io.content import in_content_order
from ..io.files import validate_image
from ..judge.evidence import CellEvidence, cell_evidence
from ..judge.identity import AGREES, ALLOY, DOUBTFUL, REFUSED, Identity, judge_identity
from ..judge.learnt import LearntClasses
from ..materials import Material, get_material
from ..types import CalibratedImage, ClassStack, DefectStrainError, Progress, Sites, no_progress
from .by_image import calibrated_images
from .loading import PIXEL_SIZE_BY_LATTICE, calibrate
from .runs import RunConfig, RunResult
from .work import Stage, Work

IDENTITY = "identity"
"""Column of the populations that is there where it is doubtful what an image shows."""


def identify_images(
    images: Sequence[CalibratedImage],
    material: Material,
    forced: bool = False,
    progress: Progress = no_progress,
    work: Work | None = None,
    learnt: LearntClasses | None = None,
) -> Identity:
    """Test whether calibrated images show the material that they are said to show.

    Parameters
    ----------
    images : sequence of CalibratedImage
        As `loading.calibrate` returns them.
    material : Material
    forced : bool
        Refuse nothing, only doubt.
    progress : Progress
    work : Work, optional
        Who does it, and what is kept; default: this process, nothing.
    learnt : LearntClasses, optional
        What labels said of the classes: it may tell metals from chalcogens that outshine them.
    """
    calls = {i: (image, material) for i, image in enumerate(images)}
    names = {i: image.name for i, image in enumerate(images)}
    found = (work or Work()).each(IDENTIFY, calls, names, Failures(strict=True), progress)
    evidence: list[CellEvidence] = list(found.values())
    order = in_content_order(images)  # in which what they say together is added up
    told = learnt is not None and learnt.tells_sublattices
    judged = judge_identity([evidence[i] for i in order], material, forced, told)
    place = sorted(range(len(order)), key=order.__getitem__)
    return replace(judged, images=tuple(judged.images[k] for k in place), evidence=tuple(evidence))


def _evidence(image: CalibratedImage, material: Material, progress: Progress) -> CellEvidence:
    progress(0.0, "what does it show?")
    by_lattice = float(image.metadata[PIXEL_SIZE_BY_LATTICE])
    stated: float | None = None
    if image.metadata.get("calibration") != CALIBRATED_BY_LATTICE and image.pixel_size_pm:
        stated = material.lattice_pm * image.pixel_size_pm / by_lattice
    a_px = material.lattice_pm / by_lattice
    return cell_evidence(image.name, image.data, a_px, stated)


IDENTIFY = Stage("identify", 3, _evidence)


def check_identity(
    images: Sequence[CalibratedImage],
    material: Material,
    forced: bool = False,
    progress: Progress = no_progress,
    learnt: LearntClasses | None = None,
) -> Identity:
    """The identity of images that may lack a pixel size; those without a lattice have none.

    Raises
    ------
    DefectStrainError
        If one of them shows something else; the message is the line that says so.
    """
    calibrated = []
    for image in images:
        with suppress(DefectStrainError):  # an image without a lattice is for the detector to judge
            calibrated.append(calibrate(image, material)[0])
    identity = identify_images(calibrated, material, forced, progress, learnt=learnt)
    for found in identity.images:
        if found.verdict == REFUSED:
            raise DefectStrainError(found.line)
    return identity


def without_refused(
    images: Mapping[int, CalibratedImage],
    material: Material,
    forced: bool,
    failures: Failures,
    progress: Progress = no_progress,
    work: Work | None = None,
    learnt: LearntClasses | None = None,
    known: Identity | None = None,
) -> tuple[dict[int, CalibratedImage], Identity]:
    """The images that may be counted as the material, and what is to be thought of these.

    Parameters
    ----------
    images : mapping of int to CalibratedImage
        Calibrated images.
    material : Material
    forced : bool
        Whether the user insists on the material.
    failures : Failures
        Collects the images that are refused; strict: the first is raised.
    progress : Progress
    work : Work, optional
        Who does it, and what is kept; default: this process, nothing.
    learnt : LearntClasses, optional
        As `identify_images` takes it.
    known : Identity, optional
        What is thought of these images, and maybe others, already; default: it is found out.
    """
    identity = known or identify_images(
        list(images.values()), material, forced, progress, work, learnt
    )
    identity = identity.of([image.name for image in images.values()])
    kept = {}
    for (i, image), found in zip(images.items(), identity.images, strict=True):
        with failures.left_out(image.name):
            if found.verdict == REFUSED:
                raise DefectStrainError(found.line)
            kept[i] = image
    return kept, identity.of([v.name for v in identity.images if v.verdict != REFUSED])


def identity_of_run(images: Sequence[CalibratedImage], config: RunConfig, work: Work) -> Identity:
    """What a run of images whose columns are looked for thinks of them, refused ones included.

    Parameters
    ----------
    images : sequence of CalibratedImage
        By distinct names. Those that can't be used are no part of it.
    config : RunConfig
    work : Work
        What is kept is taken.
    """
    failures, usable = Failures(), {}
    for i, image in enumerate(images):
        with failures.left_out(image.name):
            validate_image(image)
            usable[i] = image
    calibrated, _ = calibrated_images(usable, config, failures, work)
    return identify_images(
        list(calibrated.values()),
        get_material(config.material),
        config.force_material,
        work=work,
        learnt=config.judge.learnt,
    )


def without_other_phases(
    sites: Sites, regions: Regions, boxes: Sequence[tuple[int, int, int, int]]
) -> Sites:
    """Columns without those that a network sees in a part that shows another phase.

    Parameters
    ----------
    sites : Sites
        Columns found in an image.
    regions : Regions
        Of the image.
    boxes : sequence of tuple of int
        `ImageVerdict.left_out` of it. What is not 2H in them is left out.
    """
    y, x = np.asarray(sites.position_px).T
    there = np.zeros(len(sites), dtype=bool)
    for top, left, bottom, right in boxes:
        there |= (y >= top) & (y < bottom) & (x >= left) & (x < right)
    there &= regions.label_at(sites.position_px) == NOT_2H
    return sites.subset(~there) if there.any() else sites


def marked(populations: pd.DataFrame, identity: Identity | None) -> pd.DataFrame:
    """Populations with a column that says of which images it is doubtful what they show.

    Without a doubt there is no such column.
    """
    if identity is None or identity.verdict == AGREES:
        return populations
    found = {image.name: image.verdict for image in identity.images}
    names = populations["image"].astype(str)
    return populations.assign(**{IDENTITY: [found.get(name, DOUBTFUL) for name in names]})


def counted_once(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    regions: Sequence[Regions],
    material: Material,
) -> tuple[tuple[Overlap, ...], pd.DataFrame, list[str]]:
    """Which images show the same place, the populations without that, and what is to be said."""
    overlaps = find_overlaps(images, sites)
    once = counted_regions(images, sites, regions, overlaps)
    populations = usable_populations(images, sites, once, material.all_class_names)
    return overlaps, populations, list(overlap_warnings(images, overlaps))


def _counted(
    sites: Sites,
    regions: Regions | None,
    config: PatternConfig,
    seed: int,
    progress: Progress,
) -> PatternCounts:
    return count_patterns(sites, regions, config, seed)


COUNT = Stage("patterns", 2, _counted)


def patterns_of(
    found: RunResult, progress: Progress = no_progress, work: Work | None = None
) -> DefectPatterns:
    """Whether the defects of a run lie at random on its images, as its settings ask.

    Parameters
    ----------
    found : RunResult
        What `detect` returned. What two images show counts in the first of them.
    progress : Progress
    work : Work, optional
        Who counts; default: this process.
    """
    regions: Sequence[Regions | None] = found.regions or [None] * len(found.images)
    if found.overlaps:
        regions = counted_regions(found.images, found.sites, found.regions, found.overlaps)
    names = [image.name for image in found.images]
    if not names:
        return DefectPatterns()
    config = found.config.patterns
    calls = {
        i: (sites, known, config, found.config.seed)
        for i, (sites, known) in enumerate(zip(found.sites, regions, strict=True))
    }
    counted = (work or Work()).each(
        COUNT, calls, dict(enumerate(names)), Failures(strict=True), progress
    )
    classes, a_pm = found.sites[0].class_names, found.material.lattice_pm
    return patterns_by_counts(names, list(counted.values()), classes, a_pm, config)


def _measurable(
    image: CalibratedImage, sites: Sites, a_pm: float, regions: Regions | None, progress: Progress
) -> bool:
    check_measurable(image, sites, a_pm, regions)
    return True


CHECK = Stage("measurable", 1, _measurable)


def measurable(found: RunResult, failures: Failures, work: Work | None = None) -> RunResult:
    """A detection without the images that can't be measured, which join those left out.

    An image whose columns form no lattice, or whose metal columns don't stand out, would end the
    measurement of all; it is counted with none of them.

    Parameters
    ----------
    found : RunResult
        What `detect` returned.
    failures : Failures
        Collects the images that are left out; strict: the first is raised.
    work : Work, optional
        Who does it, and what is kept; default: this process, nothing.

    Raises
    ------
    DefectStrainError
        If a single image fails that must not (`failures` is strict).
    """
    a_pm = found.material.lattice_pm
    calls = {
        i: (image, columns, a_pm, found.regions[i] if found.regions else None)
        for i, (image, columns) in enumerate(zip(found.images, found.sites, strict=True))
    }
    names = {i: image.name for i, image in enumerate(found.images)}
    kept = list((work or Work()).each(CHECK, calls, names, failures))
    if len(kept) == len(found.images) or not kept:  # of none, `measure` says why
        return found
    images, sites = [found.images[i] for i in kept], [found.sites[i] for i in kept]
    regions = [found.regions[i] for i in kept]
    overlaps, populations, _ = counted_once(images, sites, regions, found.material)
    identity = found.identity and found.identity.of([image.name for image in images])
    return replace(
        found,
        identity=identity,
        images=tuple(images),
        sites=tuple(sites),
        regions=tuple(regions),
        populations=marked(populations, identity),
        overlaps=overlaps,
        failed=tuple(failures.found),
    )


def asked_of_an_alloy(
    stacks: Mapping[str, ClassStack], found: RunResult
) -> tuple[dict[str, ClassStack], tuple[str, ...]]:
    """The stacks that are measured, and what is to be said of the others.

    In an alloy of two metals the surroundings of a defect are not those of the material, nor is
    the defect-free class one: only classes that the user named are measured, unless she insists.
    """
    identity = found.identity
    if identity is None or identity.alloy < ALLOY or identity.forced:
        return dict(stacks), ()
    asked = {*found.material.references, *(c.class_name for c in found.material.named)}
    left = [name for name in stacks if name not in asked]
    if not left:
        return dict(stacks), ()
    return {name: stack for name, stack in stacks.items() if name in asked}, (
        f"{', '.join(left)}: not measured in an alloy of two metals; name the classes that are to "
        "be (--class NAME=WEIGHT), or insist on the material (--force-material)",
    )
