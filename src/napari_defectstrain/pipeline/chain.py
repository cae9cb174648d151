"""The whole chain, from images to strain fields: the only place that joins the stages.

`run` does everything. Its steps `detect_images`, `average_classes`, `measure_spacings` and
`measure_classes` also stand alone: a widget calls one of them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..averages.average import stack_classes
from ..averages.patches import lattice_constant
from ..crystal.overlaps import Overlap, counted_columns, find_overlaps
from ..crystal.region_search import divide_images
from ..crystal.regions import Regions, check_regions, region_summary
from ..failures import Failures
from ..io.file_names import output_stems
from ..io.files import validate_image
from ..io.pixels import check_pixels
from ..judge.judging import judge_images, judged_sites
from ..materials import Material, get_material
from ..progress import subprogress
from ..theory.reference import Reference
from ..types import CalibratedImage, ClassStack, DefectStrainError, Progress, Sites, no_progress
from .class_measurement import (
    measure_classes,
    measure_in_parts,
    measure_spacings,
    split_classes,
)
from .every_defect import measure_every_defect
from .fitness import asked_of_an_alloy, counted_once, marked, measurable, without_refused
from .isolated import missing_classes, unknown_errors, unless_crowded
from .loading import (
    CALIBRATION_TOLERANCE,
    PIXEL_SIZE_BY_LATTICE,
    calibrate,
    load_images,
)
from .placement import place_sites
from .ranges import out_of_range, trained_for
from .runs import ClassMeasurement, RunConfig, RunResult
from .theories import compare_with_theory

__all__ = [
    "CALIBRATION_TOLERANCE",
    "ClassMeasurement",
    "RunConfig",
    "RunResult",
    "average_classes",
    "detect",
    "detect_images",
    "divide_images",
    "load_images",
    "measurable",
    "measure",
    "measure_classes",
    "measure_spacings",
    "run",
    "split_classes",
]

if TYPE_CHECKING:  # torch comes along only when something is detected
    from ..detect.finding.predict import Detection


_FINDING_SHARE = 0.4
"""Of the time that detection takes where it is judged."""


def check_weights(config: RunConfig) -> None:
    """See, before any work, that there are weights for the material.

    Raises
    ------
    DefectStrainError
        If none are given and none are bundled, or if classes are named that only the judge could
        tell, and it is switched off.
    """
    from ..detect.network.bundled import bundled_weights

    named = get_material(config.material).named
    if named and not config.judge.enabled:
        raise DefectStrainError(
            f"class {named[0].name}: got a class by weight and no judge, expected the judge to be "
            "enabled: the network knows no weights"
        )
    if not config.detect.weights:
        bundled_weights(get_material(config.material).host.label)


def detect_images(
    images: Sequence[CalibratedImage], config: RunConfig, progress: Progress = no_progress
) -> list[Detection]:
    """Find and classify all columns of each image, without its hot and dead pixels.

    The network's classes are judged by the images themselves, all images of the run together
    (`judge.judge_images`), unless the settings leave that out.

    Parameters
    ----------
    images : sequence of CalibratedImage
    config : RunConfig
    progress : Progress

    Returns
    -------
    list of Detection
        One an image.

    Raises
    ------
    DefectStrainError
        If an image can't be read as this material's lattice.
    """
    finding = subprogress(progress, 0.0, _finding_share(config))
    detections, usable = [], []
    for i, image in enumerate(images):
        part = subprogress(finding, i / len(images), (i + 1) / len(images), f"{image.name}: ")
        checked, notes = check_pixels(image)
        found = _found(checked, config, part)
        detections.append(replace(found, warnings=(*notes, *found.warnings)))
        usable.append(checked)
    judging = subprogress(progress, _finding_share(config), 1.0)
    return _judged(usable, detections, config, judging)


def _finding_share(config: RunConfig) -> float:
    return _FINDING_SHARE if config.judge.enabled else 1.0


def _found(image: CalibratedImage, config: RunConfig, progress: Progress) -> Detection:
    """What the network makes of an image without hot and dead pixels."""
    from ..detect.finding.predict import detect_columns  # imports torch

    host = get_material(config.material).host.label
    return detect_columns(image, config.detect.replace(material=host), progress)


def _judged(
    images: Sequence[CalibratedImage],
    detections: Sequence[Detection],
    config: RunConfig,
    progress: Progress,
) -> list[Detection]:
    """The detections with the judge's classes: its probabilities need no correction.

    What the run's images say together is among the warnings of each.
    """
    material = get_material(config.material)
    if not config.judge.enabled:
        return [
            replace(found, sites=judged_sites(found.sites, None, material)) for found in detections
        ]
    judgements = judge_images(
        images,
        [found.sites for found in detections],
        [found.pixel_size_pm for found in detections],
        material,
        config.judge,
        progress,
    )
    return [
        replace(
            found,
            sites=judgement.sites,
            warnings=(
                *found.warnings,
                *judgement.warnings,
                *(one.note for one in judgement.open_classes),
            ),
            overconfidence=found.overconfidence if judgement.classes is None else (),
            open_classes=judgement.open_classes,
        )
        for found, judgement in zip(detections, judgements, strict=True)
    ]


def average_classes(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    config: RunConfig,
    progress: Progress = no_progress,
    regions: Sequence[Regions | None] | None = None,
    overconfidence: Sequence[float] | None = None,
    overlaps: Sequence[Overlap] | None = None,
) -> dict[str, ClassStack]:
    """Stack the windows around the isolated columns of each class, in the lattice frame.

    The frame's lattice constant is the median of those that the calibrated images show, or the
    material's where no image is calibrated but by its lattice.

    Parameters
    ----------
    images, sites : sequences
        The images and their columns.
    config : RunConfig
    progress : Progress
    regions : sequence of Regions or None, optional
        Of each image: every window lies in one domain. An image without them is taken as one.
    overconfidence : sequence of float, optional
        Of the detector, by role (`Detection.overconfidence`): enters the expected purity.
    overlaps : sequence of Overlap, optional
        Which images show the same place; looked for if they aren't given. Windows of a place that
        an earlier image shows are none: they would not be independent.

    Returns
    -------
    dict of class to ClassStack

    Raises
    ------
    DefectStrainError
        If an image's columns form no lattice.
    """
    if len(images) != len(sites):
        raise DefectStrainError(
            f"averaging: got {len(images)} images and {len(sites)} tables of sites, expected as "
            "many of one as of the other"
        )
    if regions is not None:
        check_regions(regions, [image.data.shape for image in images])
    images = [check_pixels(image)[0] for image in images]
    a_pm = lattice_constant(images, sites, get_material(config.material).lattice_pm, regions)
    rng, _ = np.random.default_rng(config.seed).spawn(2)
    if overlaps is None:
        overlaps = find_overlaps(images, sites)
    counted = counted_columns(images, sites, overlaps) if overlaps else None
    return stack_classes(
        images, sites, config.average, a_pm, rng, progress, regions, overconfidence, counted
    )


def detect(
    images: Sequence[CalibratedImage],
    config: RunConfig,
    sites: Sequence[Sites] | None = None,
    progress: Progress = no_progress,
    regions: Sequence[Regions | None] | None = None,
    failures: Failures | None = None,
) -> RunResult:
    """The first half of `run`: images, their columns, regions and populations.

    Parameters
    ----------
    images : sequence of CalibratedImage
    config : RunConfig
    sites : sequence of Sites, optional
        Columns of each image, taken as they are instead of detecting them.
    progress : Progress
    regions : sequence of Regions or None, optional
        Of each image, taken instead of looking for them; None looks.
    failures : Failures, optional
        Collects images that can't be used, which are left out; else the first is raised.

    Returns
    -------
    RunResult
        Without stacks and measurements.

    Raises
    ------
    DefectStrainError
        If an image, its columns or its regions are unusable, or, with `failures`, all of them are.
    """
    clock = _Clock()
    material = get_material(config.material)
    if sites is None:
        check_weights(config)
    failures = failures or Failures(strict=True)
    _check_counts(len(images), sites, regions)
    names = output_stems([image.name for image in images])
    named = [replace(image, name=name) for image, name in zip(images, names, strict=True)]
    usable = _usable(named, regions, failures)
    warnings: list[str] = []
    calibrated: dict[int, CalibratedImage] = {}
    with clock.stage("calibrate"):
        for i in usable:
            with failures.left_out(named[i].name):
                calibrated[i], notes = _calibrated(named[i], config)
                warnings += notes
    with clock.stage("identify"):
        forced = config.force_material or sites is not None  # columns corrected by hand: she knows
        calibrated, identity = without_refused(
            calibrated, material, forced, failures, subprogress(progress, 0.0, 0.02)
        )
        warnings += identity.lines
    failures.check_any_left(calibrated)
    detections: dict[int, Detection] = {}
    columns: dict[int, Sites] = {}
    with clock.stage("detect"):
        if sites is None:
            part = subprogress(progress, 0.02, 0.9)
            detections = _detections(calibrated, config, failures, part)
            columns = {i: found.sites for i, found in detections.items()}
            warnings += [note for found in detections.values() for note in found.warnings]
        else:
            columns, said = _placed(calibrated, sites, material, failures)
            warnings += said
    with clock.stage("regions"):
        part = subprogress(progress, 0.9, 1.0)
        known, said = _divided(
            calibrated, columns, set(detections), config, regions, failures, part
        )
        warnings += said
    failures.check_any_left(known)
    left, tables, divided = _in_order(known, calibrated, columns)
    with clock.stage("overlaps"):
        overlaps, populations, more = counted_once(left, tables, divided, material)
    last = detections[max(known)] if detections else None
    beyond = out_of_range(left, trained_for(config.detect) if detections else None)
    return RunResult(
        config=config,
        images=tuple(left),
        sites=tuple(tables),
        populations=marked(populations, identity),
        weights_sha256=None if last is None else last.weights_sha256,
        regions=tuple(divided),
        overconfidence=() if last is None else last.overconfidence,
        overlaps=overlaps,
        open_classes=() if last is None else last.open_classes,
        seconds=clock.seconds,
        warnings=tuple(dict.fromkeys((*warnings, *more, *map(str, beyond)))),
        failed=tuple(failures.found),
        identity=identity,
        out_of_range=beyond,
    )


def _divided(
    images: Mapping[int, CalibratedImage],
    columns: dict[int, Sites],
    detected: Collection[int],
    config: RunConfig,
    regions: Sequence[Regions | None] | None,
    failures: Failures,
    progress: Progress,
) -> tuple[dict[int, Regions], list[str]]:
    """Regions of the images and what is to be said; no columns of `detected` outside of them."""
    material = get_material(config.material)
    known: dict[int, Regions] = {}
    warnings: list[str] = []
    for k, (i, found) in enumerate(columns.items()):
        given = None if regions is None else [regions[i]]
        part = _nth(progress, 0.0, 1.0, k, len(columns))
        with failures.left_out(images[i].name):
            (kept,), (known[i],) = divide_images(
                [images[i]], [found], [lattice_px(images[i], material)], config.regions, given, part
            )
            if i in detected:  # given columns are as the user wants them
                columns[i] = kept
            warnings += region_summary(images[i].name, known[i])
    return known, warnings


def _placed(
    images: Mapping[int, CalibratedImage],
    sites: Sequence[Sites],
    material: Material,
    failures: Failures,
) -> tuple[dict[int, Sites], list[str]]:
    """Columns that the user gives, and what is to be said of them."""
    columns: dict[int, Sites] = {}
    warnings: list[str] = []
    for i, image in images.items():
        with failures.left_out(image.name):
            a_px, brightness = lattice_px(image, material), column_brightness(material)
            columns[i], notes = place_sites(image, sites[i], a_px, brightness)
            warnings += notes
    return columns, warnings


def _detections(
    images: Mapping[int, CalibratedImage],
    config: RunConfig,
    failures: Failures,
    progress: Progress,
) -> dict[int, Detection]:
    """Columns of the images in which they can be found, judged by all of these together."""
    share = _finding_share(config)
    found: dict[int, Detection] = {}
    for k, (i, image) in enumerate(images.items()):
        with failures.left_out(image.name):
            found[i] = _found(image, config, _nth(progress, 0.0, share, k, len(images)))
    usable = [images[i] for i in found]
    judged = _judged(usable, list(found.values()), config, subprogress(progress, share, 1.0))
    return dict(zip(found, judged, strict=True))


def lattice_px(image: CalibratedImage, material: Material) -> float:
    """The lattice constant by the image's own lattice [px]."""
    return material.lattice_pm / float(image.metadata[PIXEL_SIZE_BY_LATTICE])


def _nth(progress: Progress, start: float, stop: float, k: int, n: int) -> Progress:
    """The part of a job from `start` to `stop` that the k-th of n images takes."""
    step = (stop - start) / n
    return subprogress(progress, start + k * step, start + (k + 1) * step)


def _in_order(
    known: Mapping[int, Regions],
    calibrated: Mapping[int, CalibratedImage],
    columns: Mapping[int, Sites],
) -> tuple[list[CalibratedImage], list[Sites], list[Regions]]:
    """What is left of a batch, side by side."""
    return [calibrated[i] for i in known], [columns[i] for i in known], list(known.values())


def _calibrated(
    image: CalibratedImage, config: RunConfig
) -> tuple[CalibratedImage, tuple[str, ...]]:
    """An image with its pixel size, without hot and dead pixels, and what is doubtful."""
    checked, doubts = check_pixels(image)
    found, notes = calibrate(checked, get_material(config.material), config.pixel_size_pm)
    return found, (*doubts, *notes)


def _usable(
    images: Sequence[CalibratedImage],
    regions: Sequence[Regions | None] | None,
    failures: Failures,
) -> list[int]:
    """Indices of the images whose pixels and regions make sense."""
    usable = []
    for i, image in enumerate(images):
        with failures.left_out(image.name):
            validate_image(image)
            if regions is not None:
                check_regions([regions[i]], [image.data.shape], [image.name])
            usable.append(i)
    return usable


def _check_counts(
    images: int, sites: Sequence[Sites] | None, regions: Sequence[Regions | None] | None
) -> None:
    for name, given in (("sites", sites), ("regions", regions)):
        if given is not None and len(given) != images:
            raise DefectStrainError(
                f"{name}: got {len(given)} tables for {images} images, expected one each"
            )


def column_brightness(material: Material) -> tuple[float, ...]:
    """Of the columns metal, X2, XY, Y2, V1, V2, as far as it is known: typical ones otherwise."""
    from ..simulate.scattering import ELEMENTS, nominal_weights

    if {material.metal, material.chalcogen, material.substituent} <= set(ELEMENTS):
        return nominal_weights(material)
    return (1.0, 0.7, 1.0, 1.3, 0.35, 0.0)


def measure(found: RunResult, progress: Progress = no_progress) -> RunResult:
    """The second half of `run`: from columns to strain.

    Parameters
    ----------
    found : RunResult
        What `detect` returned.
    progress : Progress

    Returns
    -------
    RunResult
        Complete; with a warning for each class that has no isolated column. Where averages of every
        defect are measured, isolated ones may be missing altogether.

    Raises
    ------
    DefectStrainError
        If an image shows no lattice, or there is no defect-free window.
    """
    clock = _Clock()
    config = found.config
    stacks: dict[str, ClassStack] = {}
    measurements: dict[str, ClassMeasurement] = {}
    notes: list[str] = []
    with clock.stage("average"), unless_crowded(config, notes):
        part = subprogress(progress, 0.0, 0.3)
        regions = found.regions or None
        stacks = average_classes(
            found.images,
            found.sites,
            config,
            part,
            regions,
            found.overconfidence or None,
            found.overlaps,
        )
    stacks, said = asked_of_an_alloy(stacks, found)
    notes += said
    end = 0.65 if config.average.crowded else 1.0
    if stacks:
        with clock.stage("measure"), unless_crowded(config, notes):
            measurements = measure_classes(stacks, config, subprogress(progress, 0.3, end))
    if config.split and measurements:
        with clock.stage("split"):
            stacks, measurements, more = measure_in_parts(stacks, measurements, config)
        notes += more
    found = replace(found, stacks=stacks, measurements=measurements)
    before = len(found.warnings)
    if config.average.crowded:
        with clock.stage("every defect"):
            found = measure_every_defect(found, subprogress(progress, end, 1.0))
    if not (measurements or found.crowded):
        raise DefectStrainError("; ".join((*notes, *found.warnings[before:])))
    return replace(
        found,
        seconds={**found.seconds, **clock.seconds},
        warnings=found.warnings
        + tuple(notes)
        + missing_classes(found.material, stacks, measurements, found.crowded)
        + unknown_errors(found.material, stacks, measurements),
    )


def run(
    images: Sequence[CalibratedImage],
    config: RunConfig | None = None,
    sites: Sequence[Sites] | None = None,
    progress: Progress = no_progress,
    regions: Sequence[Regions | None] | None = None,
    references: Mapping[str, Reference] | None = None,
) -> RunResult:
    """From images to strain fields, compared with theory: all that ``defectstrain run`` does.

    Parameters
    ----------
    images : sequence of CalibratedImage
    config : RunConfig, optional
    sites : sequence of Sites, optional
        Columns of each image (for instance corrected by hand), taken instead of detecting them.
    progress : Progress
    regions : sequence of Regions or None, optional
        Of each image (for instance edited by hand), taken instead of looking for them.
    references : mapping of class to Reference, optional
        Relaxed structures to compare classes with, in the place of bundled ones.

    Returns
    -------
    RunResult

    Raises
    ------
    DefectStrainError
        On bad input, before any work starts; or if there is nothing to measure.
    Cancelled
        If `progress` says so.
    """
    part = subprogress(progress, 0.0, 0.6)
    found = detect(images, config or RunConfig(), sites, part, regions)
    measured = measure(found, subprogress(progress, 0.6, 0.95))
    return compare_with_theory(measured, references, subprogress(progress, 0.95, 1.0))


class _Clock:
    """Wall-clock time of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
