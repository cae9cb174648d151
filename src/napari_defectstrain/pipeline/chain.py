"""The whole chain, from images to strain fields: the only place that joins the stages.

`run` does everything. Its steps `detect_images`, `average_classes`, `measure_spacings` and
`measure_classes` also stand alone: a widget calls one of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..averages.average import AverageConfig, stack_classes
from ..averages.patches import lattice_constant
from ..columns.averages.types import ColumnConfig
from ..columns.images.types import ImageColumns
from ..crystal.overlaps import Overlap, counted_columns, find_overlaps
from ..crystal.region_search import divide_images
from ..crystal.regions import Regions, check_regions
from ..failures import Failures
from ..io.content import pixels_sha256
from ..io.file_names import output_stems
from ..io.files import validate_image
from ..io.pixels import check_pixels
from ..io.tables import as_written
from ..judge.identity import Identity
from ..materials import get_material
from ..progress import helped_by, subprogress
from ..theory.reference import Reference
from ..types import CalibratedImage, ClassStack, DefectStrainError, Progress, Sites, no_progress
from .by_image import calibrated_images, divided_images, find_columns, placed_columns
from .class_measurement import (
    measure_classes,
    measure_in_parts,
    measure_spacings,
    split_classes,
)
from .every_defect import EVERY_DEFECT
from .few_windows import with_probe
from .fitness import (
    asked_of_an_alloy,
    counted_once,
    marked,
    measurable,
    without_other_phases,
    without_refused,
)
from .isolated import left_to_say, unless_crowded
from .loading import CALIBRATION_TOLERANCE, load_images
from .ranges import out_of_range, trained_for
from .runs import Choose, ClassMeasurement, Meanwhile, RunConfig, RunResult
from .theories import compare_with_theory
from .whole_images import ColumnsOf, columns_begun
from .work import Stage, Work

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

FITTING, FITTED = 0.65, 0.85  # of measuring, where every defect is measured

if TYPE_CHECKING:  # torch comes along only when something is detected
    from ..detect.finding.found import Detection


def check_weights(config: RunConfig) -> None:
    """See, before any work, that there are weights for the material.

    Raises
    ------
    DefectStrainError
        If none are given and none are bundled; if those given are missing, damaged, or of other
        materials; or if classes are named that only the judge could tell, and it is switched off.
    """
    from ..detect.network.bundled import bundled_weights

    named = get_material(config.material).named
    if named and not config.judge.enabled:
        raise DefectStrainError(
            f"class {named[0].name}: got a class by weight and no judge, expected the judge to be "
            "enabled: the network knows no weights"
        )
    host = get_material(config.material).host
    if not config.detect.weights:
        bundled_weights(host.label)
        return
    from ..detect.finding.model import find_model  # imports torch

    # the device is that of the workers, which may be elsewhere
    find_model(config.detect.replace(device="cpu", material=host.label), host)


def detect_images(
    images: Sequence[CalibratedImage],
    config: RunConfig,
    progress: Progress = no_progress,
    work: Work | None = None,
) -> list[Detection]:
    """Find and classify all columns of each image, without its hot and dead pixels.

    The network's classes are judged by the images themselves, all images of the run together
    (`judge.judge_images`), unless the settings leave that out.

    Parameters
    ----------
    images : sequence of CalibratedImage
    config : RunConfig
    progress : Progress
    work : Work, optional
        Who does it, and what is kept; default: this process, nothing.

    Returns
    -------
    list of Detection
        One an image.

    Raises
    ------
    DefectStrainError
        If an image can't be read as this material's lattice.
    """
    checked, notes = zip(*map(check_pixels, images), strict=True) if images else ((), ())
    found = find_columns(
        dict(enumerate(checked)), config, Failures(strict=True), work or Work(), progress
    )
    return [
        replace(one, warnings=(*said, *one.warnings))
        for one, said in zip(found.values(), notes, strict=True)
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
        counts in another image are none: they would not be independent.

    Returns
    -------
    dict of class to ClassStack
        Their windows in the order of the hashes of the images' pixels: the same whatever order the
        images come in. Where they are few, with what the images tell of their probe.

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
    counted = counted_columns(images, sites, overlaps, regions) if overlaps else None
    keys = tuple(pixels_sha256(image.data) for image in images)
    order = sorted(range(len(keys)), key=lambda i: (keys[i], i))
    stacks = stack_classes(
        [images[i] for i in order],
        [sites[i] for i in order],
        config.average,
        a_pm,
        rng,
        progress,
        None if regions is None else [regions[i] for i in order],
        overconfidence,
        None if counted is None else [counted[i] for i in order],
    )
    place = np.array(order)
    stacks = {
        name: replace(stack, image_index=place[stack.image_index], image_keys=keys)
        for name, stack in stacks.items()
    }
    return with_probe(stacks, images, sites, regions) if config.columns.learns else stacks


def detect(
    images: Sequence[CalibratedImage],
    config: RunConfig,
    sites: Sequence[Sites] | None = None,
    progress: Progress = no_progress,
    regions: Sequence[Regions | None] | None = None,
    failures: Failures | None = None,
    work: Work | None = None,
    known: Identity | None = None,
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
    work : Work, optional
        Who does it, and what is kept; default: this process, nothing.
    known : Identity, optional
        What is thought of the images already, as a run of them and others would; by default it is
        found out, and images whose columns are given are not refused.

    Returns
    -------
    RunResult
        Without stacks and measurements.

    Raises
    ------
    DefectStrainError
        If an image, its columns or its regions are unusable, or, with `failures`, all of them are.
    """
    clock, material = _Clock(), get_material(config.material)
    if sites is None:
        check_weights(config)
    failures, work = failures or Failures(strict=True), work or Work()
    _check_counts(len(images), sites, regions)
    names = output_stems([image.name for image in images])
    named = [replace(image, name=name) for image, name in zip(images, names, strict=True)]
    warnings: list[str] = []
    with clock.stage("calibrate"):
        given = {i: named[i] for i in _usable(named, regions, failures)}
        calibrated, notes = calibrated_images(given, config, failures, work)
        warnings += notes
    with clock.stage("identify"):
        forced = config.force_material or sites is not None  # columns corrected by hand: she knows
        part = subprogress(progress, 0.0, 0.02)
        calibrated, identity = without_refused(
            calibrated, material, forced, failures, part, work, config.judge.learnt, known
        )
        warnings += identity.lines
    failures.check_any_left(calibrated)
    detections: dict[int, Detection] = {}
    columns: dict[int, Sites] = {}
    with clock.stage("detect"):
        if sites is None:
            part = subprogress(progress, 0.02, 0.9)
            detections = find_columns(calibrated, config, failures, work, part)
            columns = {i: as_written(found.sites) for i, found in detections.items()}
            warnings += [note for found in detections.values() for note in found.warnings]
        else:
            columns, said = placed_columns(calibrated, sites, material, failures)
            warnings += said
    with clock.stage("regions"):
        part = subprogress(progress, 0.9, 1.0)
        kept, said = divided_images(
            calibrated, columns, set(detections), config, regions, failures, work, part
        )
        warnings += said
    failures.check_any_left(kept)
    left, tables, divided, identity = _in_order(kept, calibrated, columns, identity, detections)
    with clock.stage("overlaps"):
        overlaps, populations, more = counted_once(left, tables, divided, material)
    any_found = next(iter(detections.values()), None)
    beyond = out_of_range(left, trained_for(config.detect) if detections else None)
    return RunResult(
        config=config,
        images=tuple(left),
        sites=tuple(tables),
        populations=marked(populations, identity),
        weights_sha256=None if any_found is None else any_found.weights_sha256,
        regions=tuple(divided),
        regions_given=_given_names(kept, calibrated, regions),
        overconfidence=_overconfidence([detections[i] for i in kept if i in detections]),
        overlaps=overlaps,
        open_classes=() if any_found is None else any_found.open_classes,
        seconds=clock.seconds,
        warnings=tuple(dict.fromkeys((*warnings, *more, *map(str, beyond)))),
        failed=tuple(failures.found),
        identity=identity,
        out_of_range=beyond,
    )


def _given_names(
    known: Mapping[int, Regions],
    images: Mapping[int, CalibratedImage],
    regions: Sequence[Regions | None] | None,
) -> tuple[str, ...]:
    """Names of the images that are left and whose regions were given."""
    if regions is None:
        return ()
    return tuple(images[i].name for i in known if regions[i] is not None)


def _overconfidence(detections: Sequence[Detection]) -> tuple[float, ...]:
    """That of most images: the judge may have had no say in one."""
    given = [one.overconfidence for one in detections]
    told = [one for one in given if one]
    return told[0] if 2 * len(told) > len(given) else ()


def _in_order(
    known: Mapping[int, Regions],
    calibrated: Mapping[int, CalibratedImage],
    columns: Mapping[int, Sites],
    identity: Identity,
    detected: Collection[int],
) -> tuple[list[CalibratedImage], list[Sites], list[Regions], Identity]:
    """What is left of a batch, side by side; no columns of `detected` in another phase."""
    told = dict(zip(calibrated, identity.images, strict=True))
    tables = [
        without_other_phases(columns[i], known[i], told[i].left_out)
        if i in detected
        else columns[i]
        for i in known
    ]
    left = [calibrated[i] for i in known]
    return left, tables, list(known.values()), identity.of([image.name for image in left])


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


def measure(
    found: RunResult,
    progress: Progress = no_progress,
    work: Work | None = None,
    choose: Choose | None = None,
    meanwhile: Meanwhile | None = None,
) -> RunResult:
    """The second half of `run`: from columns to strain.

    Parameters
    ----------
    found : RunResult
        What `detect` returned.
    progress : Progress
    work : Work, optional
        Who does it, and what is kept; default: this process, nothing.
    choose : callable, optional
        Given the stacks, returns them with windows left out and put back by hand.
    meanwhile : callable, optional
        Where every defect is measured, given what isolated ones say while others still fit the
        columns of whole images. What it returns is called when these are fitted: from then on this
        process works alone, and the others are free.

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
    work = work or Work()
    stacks: dict[str, ClassStack] = {}
    measurements: dict[str, ClassMeasurement] = {}
    notes: list[str] = []
    if config.average.crowded:  # which takes longest: others begin while windows are cut here
        columns_of = columns_begun(found, work)
    with clock.stage("average"), unless_crowded(config, notes):
        stacks = work.once(
            AVERAGE,
            found.images,
            found.sites,
            config.average,
            config.material,
            config.seed,
            config.columns.learns,
            found.regions or None,
            found.overconfidence or None,
            found.overlaps,
            progress=subprogress(progress, 0.0, 0.3),
        )
    stacks, said = asked_of_an_alloy(stacks, found)
    notes += said
    if choose is not None:
        stacks = choose(stacks)
    end = FITTING if config.average.crowded else 1.0
    if stacks:
        with clock.stage("measure"), unless_crowded(config, notes), helped_by(work.workers):
            part = subprogress(progress, 0.3, end)
            measurements = work.once(MEASURE, stacks, config, progress=part)
    if config.split and measurements:
        with clock.stage("split"):
            stacks, measurements, more = measure_in_parts(stacks, measurements, config)
        notes += more
    found = replace(found, stacks=stacks, measurements=measurements)
    if config.average.crowded:
        if meanwhile is not None and measurements:
            columns_of = _and_then(columns_of, meanwhile(found))
        with clock.stage("every defect"):
            found, more = _with_every_defect(found, columns_of, work, progress)
        notes += [line for line in more if line not in notes]
    if not (measurements or found.crowded):
        raise DefectStrainError("; ".join(notes))
    return replace(
        found,
        seconds={**found.seconds, **clock.seconds},
        warnings=found.warnings
        + tuple(notes)
        + left_to_say(found.material, stacks, measurements, found.crowded, config.columns),
    )


def _and_then(columns_of: ColumnsOf, then: Callable[[], None]) -> ColumnsOf:
    """Columns that are waited for, and something that is done when they are there."""

    def waited(progress: Progress) -> tuple[ImageColumns | str, ...]:
        columns = columns_of(progress)
        then()
        return columns

    return waited


def _with_every_defect(
    found: RunResult,
    columns_of: ColumnsOf,
    work: Work,
    progress: Progress,
) -> tuple[RunResult, tuple[str, ...]]:
    """A run with averages of every defect beside isolated ones, and what is to be said of them."""
    columns = columns_of(subprogress(progress, FITTING, FITTED))
    crowded_stacks, crowded, notes = work.once(
        EVERY_DEFECT,
        found.images,
        found.sites,
        found.regions,
        found.overconfidence,
        found.overlaps,
        found.config,
        found.stacks,
        found.measurements,
        columns,
        progress=subprogress(progress, FITTED, 1.0),
    )
    crowded_stacks, said = asked_of_an_alloy(crowded_stacks, found)
    crowded = {name: one for name, one in crowded.items() if name in crowded_stacks}
    return replace(found, crowded_stacks=crowded_stacks, crowded=crowded), (*notes, *said)


def run(
    images: Sequence[CalibratedImage],
    config: RunConfig | None = None,
    sites: Sequence[Sites] | None = None,
    progress: Progress = no_progress,
    regions: Sequence[Regions | None] | None = None,
    work: Work | None = None,
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
    work : Work, optional
        Who does it, and what is kept; default: this process, nothing.
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
    found = detect(images, config or RunConfig(), sites, part, regions, work=work)
    measured = measure(found, subprogress(progress, 0.6, 0.95), work)
    return compare_with_theory(measured, references, subprogress(progress, 0.95, 1.0))


def _averaged(
    images: tuple[CalibratedImage, ...],
    sites: tuple[Sites, ...],
    config: AverageConfig,
    material: str,
    seed: int,
    learns: bool,
    regions: tuple[Regions, ...] | None,
    overconfidence: tuple[float, ...] | None,
    overlaps: tuple[Overlap, ...],
    progress: Progress,
) -> dict[str, ClassStack]:
    columns = ColumnConfig() if learns else ColumnConfig(model="gaussian", compare=False)
    settings = RunConfig(material=material, average=config, seed=seed, columns=columns)
    return average_classes(images, sites, settings, progress, regions, overconfidence, overlaps)


def _measured(
    stacks: dict[str, ClassStack], config: RunConfig, progress: Progress
) -> dict[str, ClassMeasurement]:
    return measure_classes(stacks, config, progress)


AVERAGE = Stage("average", 5, _averaged)
MEASURE = Stage("measure", 7, _measured)


class _Clock:
    """Wall-clock time of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
