"""``defectstrain selftest``: what can be measured in the user's own images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..types import DefectStrainError, Progress
from .main import add_run, found_columns, say, say_done, say_warnings, without_none

if TYPE_CHECKING:
    from ..pipeline.selftest import SelfTestConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``selftest``: those of ``run``, and what is built in."""
    add_run_or_results(parser)
    add = parser.add_argument
    add("--trial", choices=("shifted", "simulated"), help="one of the two alone (both)")
    add("--strains", metavar="S,...", help="built-in strains of the spacing in %% (0,0.6,-4.8)")
    add("--windows", type=int, metavar="N", help="windows of each strain that are aimed at (12)")


def run_selftest(options: argparse.Namespace, progress: Progress) -> int:
    """Build in what is known, run the whole chain, and compare."""
    from ..output.results import figure_formats
    from ..output.selftest import SELFTEST_FILE, selftest_text, write_selftest
    from ..pipeline.selftest import self_test
    from ..progress import subprogress

    formats = figure_formats(options.figures)
    config = _config(options)
    take_named_results(options)
    found = found_columns(options, subprogress(progress, 0.0, 0.2), SELFTEST_FILE)
    made = self_test(found, config, subprogress(progress, 0.2, 1.0))
    say_warnings(made.warnings)
    notes = write_selftest(made, config, options.out, formats)
    say_warnings(notes)
    say(selftest_text(made))
    return say_done(options.out, found.failed)


def add_run_or_results(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``run``, and the folder of a run that has been made already."""
    add_run(parser)
    parser.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="folder of a run on these images: its settings, columns and regions",
    )


def take_named_results(options: argparse.Namespace) -> None:
    """`take_results` of the folder of a run, where one is named: by its option, or as an image.

    Raises
    ------
    DefectStrainError
        If more than one is named; as `take_results`.
    """
    folders = [path for path in options.images if path.is_dir()]
    named = [*folders, *([] if options.results is None else [options.results])]
    if len(named) > 1:
        raise DefectStrainError(
            f"{options.command}: got {len(named)} folders ({', '.join(map(str, named))}), expected "
            "that of one run"
        )
    options.images = [path for path in options.images if path not in folders]
    if named:
        options.results = named[0]
        take_results(options)


def take_results(options: argparse.Namespace) -> None:
    """Settings, columns and regions of an earlier run, where none are given, and its images.

    Parameters
    ----------
    options : Namespace
        Of ``run``, and ``results``, the folder; no ``images`` takes the run's, by their paths.

    Raises
    ------
    DefectStrainError
        If there is no ``run.json``, or one of its images isn't where it was.
    """
    from ..io.files import read_settings
    from ..pipeline.loading import PATH
    from ..study import said_of_results

    manifest = options.results / "run.json"
    if not manifest.is_file():
        raise DefectStrainError(
            f"{options.results}: got no run.json there, expected the folder of a run"
        )
    say_warnings(said_of_results(options.results))
    options.config = options.config or manifest
    options.sites = options.sites or options.results
    options.regions = options.regions or options.results
    if options.images:
        return
    images = read_settings(manifest).get("images", [])
    known = [image.get("metadata", {}).get(PATH) for image in images]
    paths = [Path(path) for path in dict.fromkeys(known) if path is not None]
    missing = [path for path in paths if not path.is_file()]
    if not paths or missing or None in known:
        gone = f"{missing[0]} is no longer there" if missing else "it doesn't say where they are"
        raise DefectStrainError(
            f"{manifest}: got a run without its images ({gone}); give the images as well"
        )
    options.images = paths


def _config(options: argparse.Namespace) -> SelfTestConfig:
    from ..pipeline.selftest import SelfTestConfig

    strains = None
    if options.strains is not None:
        try:
            strains = tuple(float(part) / 100 for part in options.strains.split(","))
        except ValueError:
            raise DefectStrainError(
                f"--strains: got {options.strains!r}, expected numbers in %, such as 0,0.6,-4.8"
            ) from None
    trials = None if options.trial is None else (options.trial,)
    given = {"trials": trials, "strains": strains, "windows": options.windows}
    return SelfTestConfig(**without_none(given))
