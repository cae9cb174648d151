"""The command line: a thin layer over `pipeline`, `results` and `simulate`.

Each subcommand is a pair of functions: one adds its arguments, one runs it and returns the exit
code. User mistakes end in one line on stderr and exit code 2, signals in one line and 128 and
their number. Nothing heavy is imported along with this module, nor for ``--help`` of all commands.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from .. import __version__
from ..interruptions import Interruptions, end_process

if TYPE_CHECKING:
    from ..config import Config
    from ..failures import Failure, Failures
    from ..io.out_folder import OutFolder
    from ..pipeline.chain import RunConfig, RunResult
    from ..pipeline.runs import Meanwhile
    from ..pipeline.work import Work
    from ..types import CalibratedImage, Progress, Sites
    from .inputs import Inputs

C = TypeVar("C", bound="Config")
Command = Callable[[argparse.Namespace, "Progress"], int]

EXIT_ERROR = 2
EXIT_LEFT_OUT = 3
COLLECT_AFTER = (20_000, 20, 50)
"""Objects and rounds: seldom, as imports leave a million that refer to each other and stay."""

COMMANDS = {
    "run": ("from images to strain maps", "study", "add_run_or_study", "run_or_study"),
    "detect": ("find and count the defects only", "study", "add_run_or_study", "run_or_study"),
    "status": ("what is in a study, and what was done", "study", "add_status", "status"),
    "export": (
        *("results for ASE, HyperSpy and OME-Zarr", "export"),
        *("add_arguments", "run_export"),
    ),
    "columns": (
        *("fit every column of single images", "columns"),
        *("add_arguments", "fit_columns"),
    ),
    "simulate": ("make images with known truth", "simulate", "add_arguments", "simulate"),
    "evaluate": (
        *("how good a detection is, against truth", "evaluate"),
        *("add_arguments", "evaluate"),
    ),
    "audit": (
        *("precision and recall on your own images, by labels", "audit"),
        *("add_arguments", "run_audit"),
    ),
    "teach": (
        *("what corrections teach, and whether it helps", "teaching"),
        *("add_arguments", "run_teach"),
    ),
    "companion": (
        *("other signals, averaged at the same sites", "companion"),
        *("add_arguments", "run_companion"),
    ),
    "merge": (
        *("one result of several, as one run would have it", "merging"),
        *("add_arguments", "run_merge"),
    ),
    "watch": (
        *("measure new images of a folder as they arrive", "watching"),
        *("add_arguments", "run_watch"),
    ),
    "plan": ("images and dose for a precision", "plan", "add_arguments", "run_plan"),
    "selftest": (
        *("what can be measured in your own images", "selftest"),
        *("add_arguments", "run_selftest"),
    ),
    "imitate": (
        *("simulate images like your own, with truth", "imitate"),
        *("add_arguments", "run_imitate"),
    ),
    "series": (
        *("frames of one region, against dose or time", "series"),
        *("add_arguments", "run_series"),
    ),
    "report": (
        *("one page of everything in a folder of results", "reporting"),
        *("add_arguments", "run_report"),
    ),
    "train": ("train the network on simulated images", "train", "add_train", "run_train"),
}
"""Each command: what it does, and where the functions are that add its arguments and run it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; default those of the process, which then is for this command
        alone, and ends with it.
    """
    of_process = arguments is None
    if of_process:
        # Before numpy and torch are: threads of our own share the work of classes, and results are
        # the same to the last bit; torch's sleep while they wait, in place of keeping cores busy
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        gc.set_threshold(*COLLECT_AFTER)
    given = sys.argv[1:] if arguments is None else arguments
    with Interruptions(_say_error, forever=of_process) as interruptions:
        try:
            code = interruptions.done(_main(given, interruptions))
        except KeyboardInterrupt:  # before the command began
            _say_error("stopped")
            code = interruptions.done(interruptions.exit_code)
    return end_process(code) if of_process else code


def _main(arguments: Sequence[str], interruptions: Interruptions) -> int:
    options = build_parser(arguments).parse_args(arguments)
    module = importlib.import_module(f"{__package__}.{options.module}")
    command: Command = getattr(module, options.function)
    from ..failures import reason_of
    from ..styles import figure_width

    with warnings.catch_warnings(), _ProgressBar() as bar:
        # What the stages warn of is among the warnings of the result, in one voice.
        warnings.filterwarnings("ignore", category=UserWarning, module="napari_defectstrain")
        try:
            if isinstance(getattr(options, "images", None), list):
                from ..io.file_names import expand_wildcards

                options.images = expand_wildcards(options.images)
            with figure_width(getattr(options, "figure_width", None)):
                return command(options, bar.update)
        except KeyboardInterrupt:
            return bar.fail(_stopped(options), interruptions.exit_code)
        except Exception as error:
            if interruptions.signum is not None:  # what an interruption turned into
                return bar.fail(_stopped(options), interruptions.exit_code)
            reason = reason_of(error)
            if reason is None:
                raise
            return bar.fail(reason, EXIT_ERROR)


def _stopped(options: argparse.Namespace) -> str:
    """What a stopped command leaves."""
    marked = False
    out = getattr(options, "out", None)
    if out is not None:
        try:
            marked = any(out.glob("*.unfinished.json"))
        except OSError:
            marked = False
    files = f"; {out} is marked as unfinished" if marked else ""
    if getattr(options, "resume", False):
        files += "; the same command goes on from here"
    return f"stopped; files written so far are complete{files}"


def build_parser(arguments: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The parser with all subcommands.

    Parameters
    ----------
    arguments : sequence of str, optional
        What is going to be parsed: only a command that is among it gets its own arguments, as they
        take imports. Default: all get theirs.
    """
    parser = argparse.ArgumentParser(
        prog="defectstrain",
        description="Find point defects in ADF-STEM images of 2D crystals, measure their strain.",
    )
    parser.add_argument("--version", action="version", version=f"defectstrain {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (summary, module, add_arguments, function) in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
        if arguments is None or name in arguments:
            getattr(importlib.import_module(f"{__package__}.{module}"), add_arguments)(sub)
        sub.set_defaults(module=module, function=function, command=name)
    return parser


def add_run(parser: argparse.ArgumentParser, into_study: bool = False) -> None:
    """Add the arguments of ``run`` and ``detect``.

    Parameters
    ----------
    parser : ArgumentParser
    into_study : bool
        A study may stand for images and folder: neither is required.
    """
    from ..styles import FIGURE_WIDTHS_INCH
    from .resuming import add_work, material_help

    parser.add_argument(
        "images",
        nargs="*" if into_study else "+",
        type=Path,
        metavar="IMAGE",
        help="dm3, dm4, emd, ser, mrc, tif, png, npy",
    )
    add = parser.add_argument
    add("--out", type=Path, required=not into_study, metavar="DIR", help="folder of the results")
    add("--force", action="store_true", help="write into DIR even if it isn't empty")
    add("--strict", action="store_true", help="do nothing if any image can't be used")
    add("--figures", default="png", metavar="F,...", help="some of png, pdf, svg (png)")
    add(
        "--figure-width",
        type=float,
        choices=FIGURE_WIDTHS_INCH,
        metavar="W",
        help="of all figures, 3.3 or 7 inch (each its own)",
    )
    add("--pixel-size-pm", type=float, metavar="P", help="pixel size [pm] of all images")
    add("--material", help=material_help(or_else="--weights or --sites"))
    add(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="NAME=WEIGHT",
        help="a further class by its weight in the metal's, NAME=WEIGHT@metal on metal sites",
    )
    add(
        "--force-material",
        action="store_true",
        help="count images as the material whatever they seem to show",
    )
    add("--frames", action="store_true", help="a stack holds frames of one region: sum them")
    add("--sites", type=Path, metavar="DIR", help="take <stem>.sites.csv from DIR, don't detect")
    add("--regions", type=Path, metavar="DIR", help="take <stem>.regions.tif from DIR where it is")
    add("--weights", metavar="FILE", help="weights of the network (those of the package)")
    add("--taught", metavar="NAME", help="what was learnt from corrections (defectstrain teach)")
    add("--no-judge", action="store_true", help="leave the network's classes as they are")
    _add_measuring(parser)
    add("--device", help="auto, cpu, cuda or mps (auto)")
    add("--bootstrap", type=int, metavar="M", help="bootstrap samples a class (22500)")
    add("--seed", type=int, metavar="N", help="seed of everything random (0)")
    add(
        "--config",
        type=Path,
        metavar="FILE",
        help="all settings (JSON), for instance an earlier run.json; other options come first",
    )
    add_set(parser, "any setting by its name in run.json, such as average.window_nm=2.5")
    add_work(parser)


def add_set(parser: argparse.ArgumentParser, meaning: str) -> None:
    """The option ``--set``."""
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help=meaning
    )


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what is measured and what it is compared with."""
    add = parser.add_argument
    add("--crowded", action="store_true", help="measure averages of every defect as well")
    add(
        "--split",
        action="append",
        metavar="CLASS",
        help="measure the two populations of this class as classes of their own, if two are seen",
    )
    add(
        "--reference",
        dest="references",
        action="append",
        default=[],
        metavar="CLASS=DEFECT,PRISTINE",
        help="relaxed structures to compare a class with (those of the package)",
    )
    add("--no-theory", action="store_true", help="compare with no theory (saves its time)")
    add("--elastic", metavar="C11,C12", help="elastic constants of the monolayer [N/m]")


def run(options: argparse.Namespace, progress: Progress) -> int:
    """From images to strain maps."""
    from .resuming import working

    with working(options) as work:  # its processes import while this one does
        from ..output.results import figure_formats
        from .inputs import read_inputs
        from .references import read_references

        figure_formats(options.figures)
        read_references(options.references, _run_config(options).material)
        return run_on(options, read_inputs(options, work=work), progress, work)


def run_on(options: argparse.Namespace, inputs: Inputs, progress: Progress, work: Work) -> int:
    """From images that were read to strain maps."""
    from ..output import results
    from ..output.whole_runs import measured_and_written
    from ..pipeline import chain as pipeline
    from ..progress import subprogress
    from ..types import DefectStrainError
    from .inputs import columns_in
    from .references import read_references
    from .resuming import work_in_words

    formats = results.figure_formats(options.figures)
    references = read_references(options.references, inputs.config.material)
    if inputs.up_to_date:
        return _nothing_to_do(options, inputs)
    found = columns_in(options, inputs, subprogress(progress, 0.0, 0.6), work)
    with _writing(options) as folder:

        def measure(part: Progress, meanwhile: Meanwhile | None) -> RunResult:
            return pipeline.measure(found, part, work, meanwhile=meanwhile)

        part = subprogress(progress, 0.6, 1.0)
        try:
            result = measured_and_written(found, measure, folder, formats, references, work, part)
        except DefectStrainError as mistake:
            raise DefectStrainError(
                f"{mistake} (the detected columns are in {options.out})"
            ) from mistake
        results.write_run(result, folder, inputs.key)
    say_warnings([*result.warnings[len(found.warnings) :], *folder.notes])
    say(results.summary(result))
    say_lines(work_in_words(work))
    return say_done(options.out, result.failed)


def detect(options: argparse.Namespace, progress: Progress) -> int:
    """Find and count the defects."""
    from .resuming import working

    with working(options) as work:  # its processes import while this one does
        from ..output.results import figure_formats
        from .inputs import read_inputs
        from .references import read_references

        figure_formats(options.figures)
        read_references(options.references, _run_config(options).material)  # a mistake in them
        return detect_on(options, read_inputs(options, work=work), progress, work)


def detect_on(options: argparse.Namespace, inputs: Inputs, progress: Progress, work: Work) -> int:
    """Find and count the defects of images that were read."""
    from ..crystal.populations import ALL_IMAGES
    from ..output import results
    from .inputs import columns_in
    from .resuming import work_in_words

    formats = results.figure_formats(options.figures)
    if inputs.up_to_date:
        return _nothing_to_do(options, inputs)
    found = columns_in(options, inputs, progress, work)
    with _writing(options) as folder:
        results.write_detections(found, folder, formats, work.workers)
        results.write_run(found, folder, inputs.key)
    say_warnings(folder.notes)
    table = found.populations
    table = table[table["image"] == ALL_IMAGES].drop(columns="image")
    say(table.to_string(index=False, float_format="%.4f"))
    say_lines(work_in_words(work))
    return say_done(options.out, found.failed)


def _nothing_to_do(options: argparse.Namespace, inputs: Inputs) -> int:
    """The results are there already, of these very inputs."""
    from ..failures import Failure
    from ..io.unfinished import json_object
    from ..output.results import RUN_FILE

    names = {image.name for image in inputs.images}
    before = json_object(options.out / RUN_FILE).get("failed", [])
    known = [Failure(str(f["name"]), str(f["reason"])) for f in before if f["name"] in names]
    say(f"nothing to do: the results of {len(inputs.images)} images are up to date")
    return say_done(options.out, list(dict.fromkeys([*inputs.failures.found, *known])))


def _writing(options: argparse.Namespace) -> AbstractContextManager[OutFolder]:
    from ..io.out_folder import writing_into
    from ..output.results import RUN_FILE

    return writing_into(options.out, options.command, RUN_FILE)


def found_columns(
    options: argparse.Namespace, progress: Progress, manifest: str = "run.json"
) -> RunResult:
    """Images, columns and regions as the options of ``run`` say; all is checked before the work.

    Parameters
    ----------
    options : Namespace
        With what `add_run` adds.
    progress : Progress
    manifest : str
        Of the folder that the command is going to write.
    """
    from .inputs import columns_in, read_inputs
    from .resuming import working

    with working(options) as work:
        return columns_in(options, read_inputs(options, manifest), progress, work)


def _run_config(options: argparse.Namespace, base: RunConfig | None = None) -> RunConfig:
    """Settings of the file, else `base`, else the defaults, with what the command line changes."""
    from ..io.files import read_settings
    from ..materials import with_classes
    from ..pipeline.runs import RunConfig
    from .references import with_elastic

    config = base or RunConfig()
    if options.config is not None:
        values = read_settings(options.config)
        parameters = values.get("parameters", values)  # of a run.json
        config = RunConfig.from_dict(parameters, f"{options.config}: ")
    if options.taught is not None:
        from ..teaching import read_taught
        from .teaching import refuse_both

        refuse_both(options)

        config = read_taught(options.taught).applied_to(
            config.replace(material=options.material or config.material)
        )
    config = with_settings(config, options.settings)
    given = {"weights": options.weights, "device": options.device}
    detect = config.detect.replace(**without_none(given))
    names = ("material", "pixel_size_pm", "bootstrap", "seed")
    changes = without_none({name: getattr(options, name) for name in names})
    if options.classes:
        changes["material"] = with_classes(
            changes.get("material", config.material), options.classes
        )
    if options.no_judge:
        changes["judge"] = config.judge.replace(enabled=False)
    if options.elastic is not None:
        changes["theory"] = with_elastic(config.theory, options.elastic)
    if options.no_theory:
        changes["theory"] = changes.get("theory", config.theory).replace(enabled=False)
    if options.crowded:
        changes["average"] = config.average.replace(crowded=True)
    if options.split:
        changes["split"] = tuple(options.split)
    return config.replace(
        detect=detect,
        frames=options.frames or config.frames,
        force_material=options.force_material or config.force_material,
        **changes,
    )


def with_settings(config: C, texts: Sequence[str]) -> C:
    """Settings with those of ``--set NAME=VALUE``."""
    import json

    from ..study.layout import flat_settings, nested_settings
    from ..types import DefectStrainError

    if not texts:
        return config
    values = flat_settings(config.to_dict())
    values.pop("detect.material", None)  # follows that of the run
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        parts = [known for known in values if known.startswith(f"{name}.")]
        if not equals or not (name in values or parts):
            raise DefectStrainError(
                f"--set {text}: expected NAME=VALUE with the name of a setting, such as "
                f"{next(iter(values))}, {', '.join(list(values)[-3:])}"
            )
        for part in parts:  # something that is there as a whole
            del values[part]
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value  # a text without quotation marks
    return type(config).from_dict(nested_settings(values), "--set ")


def without_none(values: dict[str, Any]) -> dict[str, Any]:
    """What was given on the command line."""
    return {name: value for name, value in values.items() if value is not None}


def read_tables(
    folder: Path, images: Sequence[CalibratedImage], material: str, failures: Failures
) -> tuple[list[CalibratedImage], list[Sites], tuple[str, ...]]:
    """The images that have a table of columns in a folder, their columns, and what to say."""
    from ..io.files import read_sites
    from ..io.unfinished import check_whole
    from ..materials import get_material
    from ..types import DefectStrainError

    if not folder.is_dir():
        raise DefectStrainError(f"--sites {folder}: got no folder, expected one with tables")
    paths = [folder / f"{image.name}.sites.csv" for image in images]
    notes = check_whole(folder, "run.json", [path.name for path in paths if path.exists()])
    left, tables = [], []
    for image, path in zip(images, paths, strict=True):
        with failures.left_out(image.name):
            if not path.exists():
                raise DefectStrainError(
                    f"--sites {folder}: lacks {path.name}; every image needs its table"
                )
            tables.append(read_sites(path, get_material(material).all_class_names))
            left.append(image)
    failures.check_any_left(left)
    return left, tables, tuple(notes)


def say(text: str) -> None:
    """Print a result, beside the bar."""
    from tqdm import tqdm

    from ..io.file_names import printable

    tqdm.write(printable(text), file=sys.stdout)


def say_lines(texts: Sequence[str]) -> None:
    """Print results, a line each."""
    for text in texts:
        say(text)


def say_warnings(texts: Sequence[str]) -> None:
    """Print warnings on stderr, a line each."""
    from tqdm import tqdm

    from ..io.file_names import printable

    for text in texts:
        tqdm.write(printable(f"defectstrain: warning: {text}"), file=sys.stderr)


def say_done(out: Path | None, failed: Sequence[Failure]) -> int:
    """Say where the results are and what is not among them; returns the exit code."""
    from ..failures import said_once
    from .resuming import older_reports

    if out is not None:
        say(f"results in {out}")
        say_warnings(older_reports(out))
    say_warnings([f"left out: {reason}" for reason in said_once(failed)])
    return EXIT_LEFT_OUT if failed else 0


def _say_error(message: str) -> None:
    try:
        message.encode()
    except UnicodeEncodeError:  # bytes of a file name that are no text
        from ..io.file_names import printable

        message = printable(message)
    print(f"defectstrain: error: {' '.join(message.split())}", file=sys.stderr)


class _ProgressBar:
    """A bar on stderr where that is a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            total=1.0,
            file=sys.stderr,
            disable=None,  # None: only where the file is a terminal
            leave=False,
            bar_format="{percentage:3.0f}% {bar:20} {elapsed} {desc}",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, fraction: float, message: str) -> None:
        """The progress callback."""
        self._bar.set_description_str(message, refresh=False)
        self._bar.n = min(max(fraction, 0.0), 1.0)
        self._bar.refresh()

    def fail(self, message: str, code: int) -> int:
        """Say why in one line and return the exit code."""
        self._bar.close()
        _say_error(message)
        return code
