"""``defectstrain export``: results for ASE, HyperSpy and readers of OME-Zarr."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..types import Progress
from .main import say, say_warnings

EXPORTED_TABLES = ("columns.csv", "displacement.csv")
"""Tables that an export is made from, beside the averages."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export``."""
    add = parser.add_argument
    add("results", type=Path, metavar="DIR", help="folder of a run, or a study")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the exported files")
    add(
        "--formats",
        default="extxyz,hspy",
        metavar="F,...",
        help="some of extxyz, hspy, ome-zarr (extxyz,hspy)",
    )
    add("--force", action="store_true", help="replace files of the same names in the folder")


def run_export(options: argparse.Namespace, progress: Progress) -> int:
    """Write columns and averages in formats of other programs."""
    from ..io.out_folder import changed_by_hand
    from ..output.exports import export_results
    from ..study.layout import RESULTS, is_study, named_folder
    from ..study.status import said_of_results

    results = named_folder(options.results)
    say_warnings(said_of_results(results))
    if is_study(results):
        results = results / RESULTS
    changed = changed_by_hand(results, "run.json")
    wanted = [n for n in changed if n in EXPORTED_TABLES or n.startswith("average_")]
    if wanted:
        say_warnings([f"{results}: exported as changed by hand after the run: {', '.join(wanted)}"])
    formats = [name.strip().lower() for name in options.formats.split(",")]
    for path in export_results(results, options.out, formats, options.force):
        say(str(path))
    return 0
