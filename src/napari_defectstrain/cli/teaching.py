"""``defectstrain teach``: what corrections of columns teach, and whether it helps."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..types import DefectStrainError, Progress
from .main import say, say_warnings, without_none

if TYPE_CHECKING:
    from ..pipeline.runs import RunConfig
    from ..teaching.lessons import Lesson
    from ..teaching.taught import TaughtFrom

ALL = "all"
"""Stands for the names of all images."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``teach``."""
    from .resuming import material_help

    add = parser.add_argument
    add(
        "images",
        nargs="+",
        type=Path,
        metavar="STUDY|IMAGE",
        help="a study whose columns were corrected; or images, with --labels",
    )
    add(
        "--done",
        action="append",
        default=[],
        metavar="NAME",
        help="all columns of this image of the study were looked at; may be repeated; all: of each",
    )
    add("--labels", type=Path, metavar="DIR", help="tables of all columns of the images, by hand")
    add("-o", "--out", dest="name", metavar="NAME", help="keep what helps under this name")
    add(
        "--network",
        action="store_true",
        help="fine-tune the network, too, if four images or more were looked at as a whole",
    )
    add(
        "--compare-hand-labelled",
        action="store_true",
        help="the paper's comparison: two networks from nothing, one of simulations and one of the "
        "labels alone; takes twice --minutes",
    )
    add("--minutes", type=float, metavar="M", help="to train a network for (5)")
    add("--material", help=material_help(or_else="--labels"))
    add("--taught", metavar="NAME", help="go on from what was taught before")
    add("--weights", metavar="FILE", help="weights of the network (those of the package)")
    add("--device", help="auto, cpu, cuda or mps (auto)")


def run_teach(options: argparse.Namespace, progress: Progress) -> int:
    """Teach, say what held-out columns tell, and keep what helps."""
    from ..materials import get_material
    from ..progress import subprogress
    from ..teaching import (
        WEIGHTS_FILE,
        TuneConfig,
        check_comparable,
        compare_hand_labelled,
        course_text,
        seen_lessons,
        taught_path,
        teach_judge,
        teach_network,
        write_taught,
    )

    if options.name is not None and taught_path(options.name).exists():
        raise DefectStrainError(
            f"-o {options.name}: got a name that is taken, expected another one; what is there "
            "stays"
        )
    if options.minutes is not None and not (options.network or options.compare_hand_labelled):
        raise DefectStrainError("--minutes: got no --network to train for so long; give it, too")
    given = _given(options)
    if options.compare_hand_labelled:
        check_comparable(given.lessons)
    host = get_material(given.config.material).host
    jobs = 1 + options.network + options.compare_hand_labelled
    parts = iter(subprogress(progress, k / jobs, (k + 1) / jobs) for k in range(jobs))
    part = next(parts)
    seen = seen_lessons(given.lessons, given.config, subprogress(part, 0.0, 0.3))
    course = teach_judge(seen, host, given.config.judge, subprogress(part, 0.3, 1.0))
    tuning = TuneConfig(**without_none({"minutes": options.minutes, "device": options.device}))
    with TemporaryDirectory(prefix="defectstrain-teach-") as folder:
        weights = Path(folder) / WEIGHTS_FILE
        if options.network:
            step = teach_network(seen, given.config, weights, tuning, next(parts))
            course = replace(course, steps=(*course.steps, step))
        say(course_text(course, host))
        if options.compare_hand_labelled:
            say(compare_hand_labelled(seen, given.config, Path(folder), tuning, next(parts)))
        if not course.helps:
            return 0
        if options.name is None:
            say("give -o NAME to keep it")
            return 0
        # what the judge learnt holds with the network whose answers it learnt from
        used = given.config.detect.weights
        if options.network and course.steps[-1].taken:
            used = str(weights)
        made = write_taught(
            options.name, course, host.label, _sources(given), given.parent,
            None if used is None else Path(used),
        )  # fmt: skip
    say(f"kept as {made.path}; use it: defectstrain run IMAGES --taught {options.name} --out DIR")
    return 0


def _sources(given: _Given) -> list[TaughtFrom]:
    """The images that taught."""
    from ..pipeline.loading import FILE_SHA256
    from ..teaching import TaughtFrom

    return [
        TaughtFrom(
            one.name, str(one.image.metadata.get(FILE_SHA256, "")), one.corrections, one.whole
        )
        for one in given.lessons
    ]


@dataclass(frozen=True)
class _Given:
    """Lessons and settings that the command line names."""

    lessons: list[Lesson]
    config: RunConfig
    parent: str


def _given(options: argparse.Namespace) -> _Given:
    from ..study.layout import is_study, named_folder

    if options.labels is None:
        (path, *more) = map(named_folder, options.images)
        if more or not is_study(path):
            raise DefectStrainError(
                f"teach {path}: got no study, expected one; or images with --labels DIR"
            )
        return _of_study(options, path)
    if options.done:
        raise DefectStrainError("--done: got tables, which list all columns; leave --done out")
    return _of_tables(options)


def _of_study(options: argparse.Namespace, path: Path) -> _Given:
    from ..study.opening import open_study
    from ..teaching import lessons_of_study

    if options.material is not None:
        raise DefectStrainError("--material: got a study, which has its own; leave it out")
    with open_study(path, read_only=True) as study:
        done = [n for n in study.images if study.has_sites(n)] if ALL in options.done else (
            options.done
        )  # fmt: skip
        lessons, notes = lessons_of_study(study, done)
        say_warnings(notes)
        return _Given(lessons, *_settings(options, study.config))


def _of_tables(options: argparse.Namespace) -> _Given:
    from ..evaluation import read_truth
    from ..evaluation.truth_tables import SUFFIXES
    from ..io.file_names import in_one_order
    from ..materials import get_material
    from ..pipeline.loading import load_images
    from ..pipeline.runs import RunConfig
    from ..teaching import lesson_of_table

    config = RunConfig(**without_none({"material": options.material}))
    images, notes = load_images(in_one_order(options.images))
    say_warnings(notes)
    lessons = []
    for image in images:
        paths = [options.labels / f"{image.name}{suffix}" for suffix in SUFFIXES]
        table = next((path for path in paths if path.is_file()), None)
        if table is None:
            raise DefectStrainError(
                f"--labels {options.labels}: lacks {paths[0].name}; every image needs its table"
            )
        truth = read_truth(table, get_material(config.material), image.pixel_size_pm)
        say_warnings(truth.notes)
        lessons.append(lesson_of_table(image, truth))
    return _Given(lessons, *_settings(options, config))


def say_taught(options: argparse.Namespace) -> None:
    """What is to be said of what ``--taught`` names."""
    from ..teaching import read_taught

    if options.taught is not None:
        say_warnings(read_taught(options.taught).notes)


def refuse_both(options: argparse.Namespace) -> None:
    """What was taught holds with the network it was taught with: no other one beside it."""
    if options.taught is not None and options.weights is not None:
        raise DefectStrainError(
            f"--taught {options.taught}: got --weights, too, expected one of them: what was taught "
            "brings the network that it was taught with"
        )


def _settings(options: argparse.Namespace, config: RunConfig) -> tuple[RunConfig, str]:
    """Settings with what the command line changes, and the name of what was taught before."""
    from ..teaching import read_taught

    parent = ""
    refuse_both(options)
    if options.taught is not None:
        taught = read_taught(options.taught)
        config, parent = taught.applied_to(config), taught.name
    given = without_none({"weights": options.weights, "device": options.device})
    return config.replace(detect=config.detect.replace(**given)), parent
