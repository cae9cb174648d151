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
    add_run(parser)
    add = parser.add_argument
    add(
        "--results",
        type=Path,
        metavar="DIR",
        help="folder of a run on these images: its settings, columns and regions",
    )
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
    if options.results is not None:
        _take_results(options)
    found = found_columns(options, subprogress(progress, 0.0, 0.2), SELFTEST_FILE)
    made = self_test(found, config, subprogress(progress, 0.2, 1.0))
    say_warnings(made.warnings)
    notes = write_selftest(made, config, options.out, formats)
    say_warnings(notes)
    say(selftest_text(made))
    return say_done(options.out, found.failed)


def _take_results(options: argparse.Namespace) -> None:
    """Settings, columns and regions of an earlier run, where none are given."""
    if not (options.results / "run.json").is_file():
        raise DefectStrainError(
            f"--results {options.results}: got no run.json there, expected the folder of a run"
        )
    options.config = options.config or options.results / "run.json"
    options.sites = options.sites or options.results
    options.regions = options.regions or options.results


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
