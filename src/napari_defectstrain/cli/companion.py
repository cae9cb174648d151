"""``defectstrain companion``: other signals, averaged at the sites of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..failures import Failures
from ..types import DefectStrainError, Progress
from .main import add_run, found_columns, say, say_done, say_warnings, without_none
from .selftest import take_results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``companion``."""
    add = parser.add_argument
    add("results", type=Path, metavar="RESULTS", help="folder of a run")
    add("files", nargs="+", type=Path, metavar="FILE", help="scanned along, one for each image")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the averages")
    add("--force", action="store_true", help="write into DIR even if it isn't empty")
    add("--image", action="append", type=Path, default=[], help="the run's image, where it moved")
    add("--format", choices=("hspy", "zarr"), default="hspy", help="of the files (hspy)")
    add("--window-nm", type=float, metavar="W", help="side of what is averaged [nm] (1.2)")
    add("--step-pm", type=float, metavar="S", help="side of a bin [pm] (40)")
    add("--memory-mb", type=int, metavar="M", help="of blocks and sums [MB] (256)")


def run_companion(options: argparse.Namespace, progress: Progress) -> int:
    """Read lazily, average by class, and write."""
    from ..averages.companion import CompanionConfig
    from ..io.companions import read_companion, scan_notes
    from ..io.file_names import in_counted_order
    from ..output.companions import COMPANION_FILE, write_companion
    from ..pipeline.companions import average_companion
    from ..progress import subprogress

    given = {name: getattr(options, name) for name in ("window_nm", "step_pm", "memory_mb")}
    config = CompanionConfig(**without_none(given))
    files = in_counted_order(options.files)
    companions = [read_companion(path) for path in files]
    found = found_columns(_as_run(options), subprogress(progress, 0.0, 0.3), COMPANION_FILE)
    if len(companions) != len(found.images):
        raise DefectStrainError(
            f"companion: got {len(companions)} files for {len(found.images)} images, expected one "
            f"each, in the order {', '.join(image.name for image in found.images)}"
        )
    pairs = {image.name: path for image, path in zip(found.images, files, strict=True)}
    say("".join(f"{name}: {path.name}\n" for name, path in pairs.items()).rstrip())
    data = {i: one.data for i, one in enumerate(companions)}
    result = average_companion(found, data, config, subprogress(progress, 0.3, 0.9))
    progress(0.9, "writing")
    notes = write_companion(
        result, found, companions[0], config, options.out, options.format, pairs
    )
    say_warnings([*scan_notes(companions, found.images), *result.notes, *notes])
    say(result.table.to_string(index=False, float_format="%.1f"))
    return say_done(options.out, Failures().found)


def _as_run(options: argparse.Namespace) -> argparse.Namespace:
    """The options of ``run`` on the images of the folder, with its settings and columns."""
    parser = argparse.ArgumentParser(add_help=False)
    add_run(parser)
    run = parser.parse_args(["image", "--out", str(options.out)])
    run.images = list(options.image)
    run.force, run.strict, run.command = options.force, True, options.command
    run.results = options.results
    take_results(run)
    return run
