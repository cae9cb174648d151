"""Bring the figures of ``docs/benchmarks.md`` that tell of speed up to date.

``python benchmarks/run_all.py [NAME...] [--quick] [--print]`` (``make benchmarks``) runs the
benchmarks of `BENCHMARKS`, or those named, one after another, and writes what each prints as tables
between its markers, ``<!-- begin NAME -->`` and ``<!-- end NAME -->``, with the command, the
machine and the date. ``--quick`` asks each for its short form, ``--print`` leaves the file alone.
Run it on a machine that does nothing else, with a display (``xvfb-run -a``) for the gallery.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
DOCUMENT = FOLDER.parent / "docs" / "benchmarks.md"
BENCHMARKS: dict[str, tuple[list[str], list[str]]] = {
    "whole-run": (["bench_run.py"], ["--quick"]),
    "detection-speed": (["bench_detection_speed.py"], ["--quick"]),
    "newcomer": (["bench_newcomer.py"], []),
    "newcomer-nine": (["bench_newcomer.py", "--sample", "nine_regions"], ["--run-all"]),
    "column-fit": (["bench_columns.py"], ["--columns", "24", "--repeat", "1"]),
    "gallery": (["bench_gallery.py"], ["--windows", "1000", "--average", "0"]),
}
"""Name of each: the script with its arguments, and what makes it quick."""


def tables_in(output: str) -> str:
    """The tables that a benchmark printed, an empty line before each; what came between is left."""
    rows = [line.rstrip() for line in output.splitlines() if line.startswith("|")]
    found: list[str] = []
    for i, row in enumerate(rows):
        begins = i + 1 < len(rows) and rows[i + 1].startswith("| ---")
        found += ["", row] if begins and found else [row]
    return "\n".join(found)


def with_section(document: str, name: str, text: str) -> str:
    """A document with something else between the markers of a name."""
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{DOCUMENT.name}: got no markers of {name}, expected {begin.strip()}")
    return f"{before}{begin}{text}\n{closed}{after}"


def machine() -> str:
    """The processor, how many of it are ours, and how busy they are."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        found = re.search(r"model name\s*:\s*(.+)", information.read_text())
        name = found[1].strip() if found else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    busy = f"; load {os.getloadavg()[0]:.1f} as it began" if hasattr(os, "getloadavg") else ""
    return f"{cores} cores of {name}, Python {platform.python_version()}{busy}"


def measured(name: str, quick: bool) -> str:
    """What goes between the markers: how it was measured, and the tables."""
    script, short = BENCHMARKS[name]
    arguments = [*script, *short] if quick else script
    where = machine()
    command = [sys.executable, *arguments]
    ran = subprocess.run(command, cwd=FOLDER, stdout=subprocess.PIPE, text=True)
    if ran.returncode:
        raise SystemExit(f"{' '.join(arguments)}: exit code {ran.returncode}")
    today = datetime.date.today().isoformat()
    return (
        f"`python benchmarks/{' '.join(arguments)}`, {today}, {where}:\n\n{tables_in(ran.stdout)}"
    )


def main() -> None:
    """Run them and write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="the short form of each")
    parser.add_argument("--print", action="store_true", help="print, and write nothing")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"got {', '.join(sorted(unknown))}, expected some of {', '.join(BENCHMARKS)}")
    for name in options.names or BENCHMARKS:
        text = measured(name, options.quick)
        print(f"{name}\n\n{text}\n", flush=True)
        if not options.print:
            document = DOCUMENT.read_text(encoding="utf-8")
            DOCUMENT.write_text(with_section(document, name, text), encoding="utf-8")


if __name__ == "__main__":
    main()
