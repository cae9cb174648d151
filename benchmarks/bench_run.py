"""How long whole runs take, and how much memory: images to tables, maps and figures.

``python benchmarks/bench_run.py [--quick] [--threads N]`` runs the command line on the bundled
samples, each time in a process of its own, and prints its wall time, its CPU time (user and
system), the peak of its resident memory, and what each stage took by ``run.json``. ``--quick``:
the middle of one region alone. On a busy machine only the CPU time says anything, and that little.
The package's modules are compiled before, as pip does when it installs them: where Python is told
to keep no bytecode, each process would compile them anew (half a second).
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import napari_defectstrain
from napari_defectstrain.io.files import read_images, write_tiff

SAMPLES = Path(__file__).parents[1] / "sample_data"
SIDE_PX = 512
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What a user doesn't set: with two processes each would take as many cores as it says."""
STAGES = ("identify", "detect", "regions", "average", "measure")


@dataclass(frozen=True)
class Spent:
    """What a process took."""

    wall_s: float
    cpu_s: float
    peak_gb: float
    seconds: dict[str, float]


def spent(arguments: list[str], threads: int | None, out: Path | None = None) -> Spent:
    """Run ``defectstrain`` in a process of its own, on so many cores, or as a user would."""
    environment = {k: v for k, v in os.environ.items() if k not in THREADS}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    command = [sys.executable, "-m", "napari_defectstrain", *arguments]
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {os.waitstatus_to_exitcode(status)}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    run = {} if out is None else json.loads((out / "run.json").read_text())
    return Spent(wall, usage.ru_utime + usage.ru_stime, peak / 1e9, run.get("seconds", {}))


def middle_of_a_region(folder: Path) -> Path:
    """The middle of the first region, as a file of its own."""
    image = read_images(SAMPLES / "nine_regions_1.tif")[0]
    row, column = ((n - SIDE_PX) // 2 for n in image.data.shape)
    path = folder / "middle.tif"
    part = image.data[row : row + SIDE_PX, column : column + SIDE_PX]
    write_tiff(path, part, image.pixel_size_pm)
    return path


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the middle of one region alone")
    parser.add_argument("--threads", type=int, help="cores to use (all)")
    options = parser.parse_args()
    compileall.compile_dir(Path(napari_defectstrain.__file__).parent, quiet=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        regions = [str(p) for p in sorted(SAMPLES.glob("nine_regions_?.tif"))]
        runs = {f"one image of {SIDE_PX} x {SIDE_PX} px": [str(middle_of_a_region(folder))]}
        if not options.quick:
            runs["one region of 1024 x 1024 px"] = regions[:1]
            runs["three regions"] = regions[:3]
            runs["nine regions"] = regions
            runs["nine regions, `--crowded`"] = [*regions, "--crowded"]
        print("| run | wall, s | CPU, s | peak, GB | " + " | ".join(STAGES) + " |")
        print("| --- " * (4 + len(STAGES)) + "|")
        version = spent(["--version"], options.threads)
        empty = " | " * len(STAGES)
        print(f"| `--version` | {version.wall_s:.2f} | {version.cpu_s:.2f} | | {empty}", flush=True)
        for number, (what, arguments) in enumerate(runs.items()):
            out = folder / str(number)
            took = spent(["run", *arguments, "--out", str(out)], options.threads, out)
            stages = " | ".join(f"{took.seconds.get(stage, 0.0):.1f}" for stage in STAGES)
            figures = f"{took.wall_s:.1f} | {took.cpu_s:.1f} | {took.peak_gb:.2f}"
            print(f"| {what} | {figures} | {stages} |", flush=True)


if __name__ == "__main__":
    main()
