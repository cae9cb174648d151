"""``run`` and ``detect`` into a study, and ``defectstrain status``: what is in one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..types import DefectStrainError, Progress
from .main import (
    _run_config,
    add_run,
    detect,
    read_tables,
    run,
    say,
    say_done,
    say_warnings,
)

if TYPE_CHECKING:
    from ..failures import Failures
    from ..study.opening import Study


def add_run_or_study(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``run`` and ``detect``, with those of a study."""
    add_run(parser, into_study=True)
    add = parser.add_argument
    add("--study", type=Path, metavar="S", help="folder NAME.defectstrain to work in; made if new")
    add("--copy", action="store_true", help="keep copies of the images in the study")
    add("--new-weights", action="store_true", help="let other weights change the study's numbers")


def run_or_study(options: argparse.Namespace, progress: Progress) -> int:
    """Run or detect into a folder, or into a study."""
    if options.study is not None:
        return _into_study(options, progress)
    for given, name in ((options.copy, "--copy"), (options.new_weights, "--new-weights")):
        if given:
            raise DefectStrainError(f"{name}: got no study, expected --study S with it")
    if not options.images or options.out is None:
        what = "images" if not options.images else "--out DIR"
        raise DefectStrainError(f"{options.command}: got no {what}, expected it, or --study S")
    return (run if options.command == "run" else detect)(options, progress)


def add_status(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``status``."""
    add = parser.add_argument
    add("study", type=Path, metavar="STUDY", help="folder NAME.defectstrain")
    add("--check", action="store_true", help="read every file of the images: are they the same?")
    add("--history", action="store_true", help="list every edit as a table (CSV)")
    add(
        "--find",
        action="append",
        type=Path,
        default=[],
        metavar="FOLDER",
        help="look there for images that were moved, and take them where they lie now",
    )
    add(
        "--accept-changed",
        action="store_true",
        help="take images that were changed as they are; their columns are looked for again",
    )
    add(
        "--compare-weights",
        metavar="FILE",
        help="what other weights would change (bundled: those of the package); changes nothing",
    )


def _into_study(options: argparse.Namespace, progress: Progress) -> int:
    from ..failures import Failures
    from ..output.results import figure_formats, summary
    from ..output.studies import run_study, study_store
    from ..progress import subprogress
    from .references import read_references
    from .resuming import work_in_words, working
    from .teaching import say_taught

    if options.out is not None:
        raise DefectStrainError(
            f"--out {options.out}: got a folder and a study, expected one of them: the results of "
            "a study lie in its folder results"
        )
    formats = figure_formats(options.figures)
    say_taught(options)
    failures = Failures(options.strict)
    _check_folders(options)
    study, is_new = _opened(options, failures, subprogress(progress, 0.0, 0.05))
    with study, working(options, study_store(study), len(study.images)) as work:
        references = read_references(options.references, study.config.material)
        added = set(study.images)
        if not is_new:
            part = subprogress(progress, 0.05, 0.1)
            found = study.add_images(options.images, options.copy, failures, part)
            added = {image.name for image in found}
        if failures.found:
            failures.check_any_left(study.images)
        _take_in(study, options, added, failures)
        result = run_study(
            study,
            formats,
            references,
            failures,
            options.new_weights,
            options.command == "detect",
            subprogress(progress, 0.1, 1.0),
            work,
        )
        say_warnings([*study.notes, *result.warnings])
        if options.command == "run":
            say(summary(result))
        else:
            say(_counts(result.populations))
        for line in work_in_words(work):
            say(line)
        return say_done(study.results, result.failed)


def _counts(table: object) -> str:
    """Populations of all images together."""
    import pandas as pd

    from ..crystal.populations import ALL_IMAGES

    assert isinstance(table, pd.DataFrame)
    of_all = table[table["image"] == ALL_IMAGES].drop(columns="image")
    return str(of_all.to_string(index=False, float_format="%.4f"))


def _check_folders(options: argparse.Namespace) -> None:
    """See that folders which are named are there, before anything is made; say what is vain."""
    for name in ("sites", "regions"):
        folder = getattr(options, name)
        if folder is not None and not folder.is_dir():
            raise DefectStrainError(f"--{name} {folder}: got no folder, expected one")
    for name in ("force", "resume", "discard_edits"):
        if getattr(options, name):
            option = f"--{name.replace('_', '-')}"
            say_warnings([f"{option}: does nothing with --study: a study goes on by itself"])


def _opened(
    options: argparse.Namespace, failures: Failures, progress: Progress
) -> tuple[Study, bool]:
    """The study with the settings that the command line gives; True if it was made, with images."""
    from ..study.layout import is_study, named_folder
    from ..study.opening import create_study, open_study

    path: Path = options.study
    if is_study(named_folder(path)):
        study = open_study(path)
        if study.read_only:
            raise DefectStrainError("; ".join(study.notes))
        try:
            _try_settings(study, options)
        except BaseException:
            study.close()
            raise
        return study, False
    if not options.images:
        raise DefectStrainError(
            f"{path}: got no study and no images, expected either; check the name"
        )
    config = _run_config(options)
    return create_study(path, config, options.images, options.copy, failures, progress), True


def _try_settings(study: Study, options: argparse.Namespace) -> None:
    """Work with the settings that the command line gives; weights that it names are the study's."""
    from ..study import check_weights_of

    config, before = _run_config(options, study.config), study.config
    study.try_config(config)
    named = options.weights is not None or config.detect.weights != before.detect.weights
    if named and study.weights is not None:
        check_weights_of(study, options.new_weights)


def _take_in(
    study: Study, options: argparse.Namespace, added: set[str], failures: Failures
) -> None:
    """Tables of columns and regions that the command line gives; images that came need a table."""
    from ..crystal.region_files import read_folder
    from ..study.corrections import Answer
    from ..study.journal import FILE

    if options.sites is not None:
        there = {path.name for path in options.sites.iterdir()}
        asked = [n for n in study.images if n in added or f"{n}.sites.csv" in there]
        if not asked:
            raise DefectStrainError(
                f"--sites {options.sites}: got no table of an image of the study, expected "
                f"{', '.join(f'{name}.sites.csv' for name in study.images[:3])}"
            )
        images, _ = study.load_images(asked, failures)
        images, tables, notes = read_tables(options.sites, images, study.config.material, failures)
        say_warnings(notes)
        for image, sites in zip(images, tables, strict=True):
            study.set_sites(image.name, sites, Answer(by=FILE))
    if options.regions is not None:
        for name, regions in read_folder(options.regions, study.images, failures).items():
            if regions is not None:
                study.set_regions(name, regions, by=FILE)


def status(options: argparse.Namespace, progress: Progress) -> int:
    """Say what is in a study."""
    from ..study.opening import open_study
    from ..study.status import status_of, status_text

    writes = bool(options.find) or options.accept_changed
    with open_study(options.study, read_only=not writes) as study:
        if writes and study.read_only:
            raise DefectStrainError("; ".join(study.notes))
        if options.find:
            say(_relocated(study, options.find))
        if options.accept_changed:
            say(_accepted(study))
        if options.history:
            say(study.history_table().to_csv(index=False).rstrip())
            return 0
        if options.compare_weights is not None:
            from ..study.comparing import compare_weights

            say(str(compare_weights(study, options.compare_weights, progress)))
            return 0
        found = status_of(study, trust_times=not options.check)
        say(status_text(found))
        say_warnings(found.warnings)
    return 0


def _relocated(study: Study, folders: list[Path]) -> str:
    """Take files where they lie now; what was found, for people."""
    for folder in folders:
        if not folder.is_dir():
            raise DefectStrainError(f"--find {folder}: got no folder, expected one to look through")
    found = study.find_missing(folders)
    for file, path in found.items():
        study.relocate(file, path)
    lines = [f"{file.file_name}: is at {path} now" for file, path in found.items()]
    return "\n".join(lines) or "no file that is missed was found there"


def _accepted(study: Study) -> str:
    """Take changed files as they are; which, for people."""
    from ..study.images import CHANGED
    from ..study.journal import FILE

    changed = [file for file, (state, _) in study.states(False).items() if state == CHANGED]
    for file in changed:
        study.accept_changed(file)
    lines = [f"{file.file_name}: taken as it is now" for file in changed]
    names = [image.name for file in changed for image in file.images]
    kept = [n for n in names if study.has_sites(n) and study.answer_of(n).by == FILE]
    lines += [
        f"{name}: its columns came from a table and are not looked for: give one of the new image "
        "with --sites"
        for name in kept
    ]
    return "\n".join(lines) or "no file was changed"
