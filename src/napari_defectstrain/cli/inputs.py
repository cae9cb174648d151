"""What a run is made from: read, checked before any work, and known again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..crystal.region_files import LABELS_SUFFIX, read_folder
from ..crystal.regions import Regions
from ..failures import Failures
from ..io.file_names import in_one_order
from ..io.out_folder import check_inputs
from ..materials import get_material
from ..output import results
from ..pipeline import chain as pipeline
from ..pipeline.loading import load_images
from ..pipeline.runs import RunConfig, RunResult
from ..pipeline.work import Work
from ..types import CalibratedImage, DefectStrainError, Progress, Sites
from . import resuming
from .main import _run_config, read_tables, say_warnings
from .references import reference_paths
from .teaching import say_taught


@dataclass(frozen=True)
class Inputs:
    """What a run is made from, read and checked before any work.

    Parameters
    ----------
    images : list of CalibratedImage
    sites, regions : lists of Sites and of Regions or None
        Of each image; None where they are to be found.
    config : RunConfig
    notes : tuple of str
    failures : Failures
        With the images that couldn't be read.
    key : str or None
        Hash of all of it; None where nothing is resumed.
    up_to_date : bool
        Whether the folder holds the results of just this.
    """

    images: list[CalibratedImage]
    sites: list[Sites] | None
    regions: list[Regions | None] | None
    config: RunConfig
    notes: tuple[str, ...]
    failures: Failures
    key: str | None = None
    up_to_date: bool = False


def read_inputs(
    options: argparse.Namespace, manifest: str = "run.json", work: Work | None = None
) -> Inputs:
    """What the options of ``run`` name, read and checked.

    Parameters
    ----------
    options : Namespace
        With what `add_run` adds.
    manifest : str
        Of the folder that the command is going to write.
    work : Work, optional
        With a store: see whether the folder holds the results already.
    """
    config = check_options(options, manifest)
    say_taught(options)
    paths = in_one_order(options.images)
    if not options.resume:
        resuming.check_edits(options, manifest)
    _check_inputs(options, [path.stem for path in paths], config)
    failures = Failures(options.strict)
    store = None if work is None else work.store
    images, notes = load_images(
        paths, config.frames, series=config.series, failures=failures, store=store
    )
    _check_inputs(options, [image.name for image in images], config)
    sites = None
    if options.sites is not None:
        images, sites, more = read_tables(options.sites, images, config.material, failures)
        notes += more
    say_warnings(notes)
    regions = None
    if options.regions is not None:
        labels = read_folder(options.regions, [image.name for image in images], failures)
        kept = [i for i, image in enumerate(images) if image.name in labels]
        images = [images[i] for i in kept]
        sites = None if sites is None else [sites[i] for i in kept]
        regions = [labels[image.name] for image in images]
    inputs = Inputs(images, sites, regions, config, notes, failures)
    if work is not None and work.store is not None:
        inputs = known_inputs(options, inputs, manifest)
        if not inputs.up_to_date:
            resuming.check_edits(options, manifest)
    return inputs


def check_options(options: argparse.Namespace, manifest: str = "run.json") -> RunConfig:
    """The settings of the options of ``run``, and whether results may go where they say.

    Parameters
    ----------
    options : Namespace
        With what `add_run` adds.
    manifest : str
        Of the folder that the command is going to write.

    Raises
    ------
    DefectStrainError
        If an option can't be used.
    """
    config = _run_config(options)
    known = get_material(config.material).all_class_names
    for name in config.split:
        if name not in known:
            raise DefectStrainError(
                f"split: got {name!r}, expected a class of {config.material}: {', '.join(known)}"
            )
    if options.sites is None:
        pipeline.check_weights(config)
    results.check_out_dir(options.out, resuming.may_write_into(options, manifest), manifest)
    return config


def known_inputs(options: argparse.Namespace, inputs: Inputs, manifest: str) -> Inputs:
    """Inputs with their hash, and whether the folder holds their results already."""
    say_warnings(resuming.changed_images(options.out, manifest, inputs.images))
    given = (inputs.config, inputs.images, inputs.sites, inputs.regions)
    key = resuming.inputs_key(options, *given)
    return replace(inputs, key=key, up_to_date=resuming.is_up_to_date(options.out, manifest, key))


def columns_in(
    options: argparse.Namespace, inputs: Inputs, progress: Progress, work: Work
) -> RunResult:
    """The columns and regions of images that were read."""
    failures = inputs.failures
    found = pipeline.detect(
        inputs.images, inputs.config, inputs.sites, progress, inputs.regions, failures, work
    )
    if options.command != "detect":
        found = pipeline.measurable(found, failures, work)
    say_warnings(found.warnings)
    return replace(found, warnings=inputs.notes + found.warnings)


def _check_inputs(options: argparse.Namespace, stems: Sequence[str], config: RunConfig) -> None:

    inputs = [*options.images, options.config]
    for text in options.references:
        inputs += reference_paths(text)[1:]
    if options.weights is not None:
        inputs.append(Path(options.weights))
    for folder, suffix in ((options.sites, ".sites.csv"), (options.regions, LABELS_SUFFIX)):
        if folder is not None:
            inputs += [folder / f"{stem}{suffix}" for stem in stems]
    check_inputs(options.out, results.planned_files(stems, get_material(config.material)), inputs)
