"""``defectstrain report``: what a folder of results says, as one page or a document."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..progress import subprogress
from ..types import DefectStrainError, Progress
from .main import say, say_warnings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``report``."""
    add = parser.add_argument
    add("results", type=Path, metavar="FOLDER", help="of a run, or a study")
    add(
        "--out",
        type=Path,
        action="append",
        metavar="FILE",
        help="ends in .html or .pdf; given twice for both (FOLDER/report.html)",
    )


def run_report(options: argparse.Namespace, progress: Progress) -> int:
    """Read the folder and write each report that is asked for."""
    from ..output import is_report, write_report
    from ..study import named_folder, said_of_results

    folder = named_folder(options.results)
    say_warnings(said_of_results(folder))
    for path in options.out or ():
        if (path.exists() or path.is_symlink()) and not is_report(path):
            raise DefectStrainError(
                f"--out {path}: got something that is there and is no report, expected another name"
            )
    wanted = options.out or [None]
    for k, path in enumerate(wanted):
        part = subprogress(progress, k / len(wanted), (k + 1) / len(wanted))
        say(f"report in {write_report(folder, path, part)}")
    return 0
