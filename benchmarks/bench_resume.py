"""What it takes to run again, to share images out, and to have many of them.

``python benchmarks/bench_resume.py`` makes small images of an alloy and measures them by their true
columns in processes of their own: CPU seconds and peak memory of a run on few and on many images,
of the same run once more (which does nothing) and with one image added; ``--detect`` finds the
columns by the network instead, in one process and in two.

``--kills 20 --many 30`` runs thirty images twice, then kills runs at random times and resumes them,
and compares the bytes of what they wrote; ``--damaged --many 50`` cuts one file of fifty in half.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_defectstrain.averages import AverageConfig
from napari_defectstrain.cli.main import EXIT_LEFT_OUT
from napari_defectstrain.columns import ColumnConfig
from napari_defectstrain.io import sites_table, write_table, write_tiff
from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline import RunConfig
from napari_defectstrain.simulate import CrystalConfig, ScanConfig, SimulationConfig, simulate_image
from napari_defectstrain.types import Sites

PIXEL_PM = 20.74
QUICK = RunConfig(
    average=AverageConfig(window_nm=2.0),
    columns=ColumnConfig(model="gaussian", compare=False, fit_radius_pm=600.0),
    bootstrap=50,
)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Cost:
    """Of a command: wall and CPU seconds, and the peak memory of its largest process [MB]."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    said: str


def make_images(folder: Path, count: int, size: int) -> list[Path]:
    """Images, their true columns in ``tables``, and quick settings beside them."""
    (folder / "tables").mkdir(parents=True)
    (folder / "quick.json").write_text(json.dumps(QUICK.to_dict()))
    paths = []
    for i, rng in enumerate(np.random.default_rng(14).spawn(count)):
        scan = ScanConfig(shape=(size, size), rotation_deg=7.0 * i, jitter_px=0.0)
        crystal = CrystalConfig(fractions=(0.03, 0.02, 0.03, 0.012))
        made = simulate_image(SimulationConfig(crystal=crystal, scan=scan), rng, f"image_{i + 1}")
        paths.append(folder / f"image_{i + 1}.tif")
        write_tiff(paths[-1], made.counts, PIXEL_PM, {})
        sites = Sites(
            made.position_px,
            np.eye(len(WSE2.class_names))[made.class_index],
            made.class_index,
            WSE2.class_names,
            np.full(len(made.class_index), "model"),
        )
        write_table(folder / "tables" / f"image_{i + 1}.sites.csv", sites_table(sites, PIXEL_PM))
    return paths


def cost_of(command: list[str], fine: tuple[int, ...] = ()) -> Cost:
    """Run it by itself: the memory of children is that of the largest one since the beginning."""
    code = (
        "import json, resource, subprocess, sys\n"
        "ended = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([ended.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss,"
        " ended.stdout + ended.stderr]))\n"
    )
    began = time.perf_counter()
    whole = [sys.executable, "-c", code, sys.executable, "-m", "napari_defectstrain", *command]
    ended = subprocess.run(
        whole, capture_output=True, text=True, check=True, env={**os.environ, **ONE_THREAD}
    )
    wall_s = time.perf_counter() - began
    code_of, cpu_s, kilobytes, said = json.loads(ended.stdout)
    if code_of not in (0, *fine):
        raise SystemExit(said)
    return Cost(wall_s, cpu_s, kilobytes / 1024, said)


def told(name: str, cost: Cost) -> None:
    said = [line for line in cost.said.splitlines() if "stages" in line or "nothing" in line]
    print(
        f"{name:<34} {cost.wall_s:7.1f} s {cost.cpu_s:7.1f} CPU s {cost.peak_mb:7.0f} MB  "
        f"{'; '.join(said)}",
        flush=True,
    )


def hashes(folder: Path) -> dict[str, str]:
    """Of all results but ``run.json``, which holds times, and what is kept of the stages."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".json" and "stages" not in path.parts
    }


def killed_runs(command: Callable[[str], list[str]], folder: Path, kills: int, seed: int) -> None:
    """Run, run again, kill runs at random times; what they lead to has the same bytes.

    Raises
    ------
    SystemExit
        If it hasn't.
    """
    first = cost_of(command("whole"))
    told("run", first)
    wanted = hashes(folder / "whole")
    told("the same again", cost_of(command("whole")))
    if hashes(folder / "whole") != wanted:
        raise SystemExit("a second run gave other files")
    rng = np.random.default_rng(seed)
    environment = {**os.environ, **ONE_THREAD}
    left, through = kills, 0
    while left:
        out = f"killed_{through}"
        ended = False
        while left and not ended:
            with subprocess.Popen(
                [sys.executable, "-m", "napari_defectstrain", *command(out)],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as process:
                try:
                    process.wait(float(rng.uniform(0.05, 0.7)) * first.wall_s)
                    ended = True
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    left -= 1
        cost_of(command(out))
        if hashes(folder / out) != wanted:
            raise SystemExit(f"{out}: other files than those of an undisturbed run")
        through += 1
        shutil.rmtree(folder / out)
        print(f"{kills - left} kills: the same {len(wanted)} files, byte for byte", flush=True)


def damaged_run(command: Callable[[str], list[str]], folder: Path, paths: list[Path]) -> None:
    """Cut one image in half, and say what a run makes of them all."""
    whole = paths[len(paths) // 2].read_bytes()
    paths[len(paths) // 2].write_bytes(whole[: len(whole) // 2])
    cost = cost_of(command("damaged"), fine=(EXIT_LEFT_OUT,))
    told(f"run, {len(paths)} images, one of them cut", cost)
    about = json.loads((folder / "damaged" / "run.json").read_text())
    print(f"{len(about['images'])} done; left out: {about['failed']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=10)
    parser.add_argument("--many", type=int, default=100)
    parser.add_argument("--size", type=int, default=256, help="side of the images [px]")
    parser.add_argument("--detect", action="store_true", help="by one process and by two")
    parser.add_argument("--kills", type=int, metavar="N", help="kill N runs at random times")
    parser.add_argument("--damaged", action="store_true", help="one of the images is cut in half")
    parser.add_argument("--seed", type=int, default=14, help="of the times of the kills")
    options = parser.parse_args()
    print(f"cores {len(os.sched_getaffinity(0))}, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = make_images(folder / "images", options.many, options.size)
        tables = ["--sites", str(folder / "images" / "tables")]
        quick = ["--config", str(folder / "images" / "quick.json")]

        def command(count: int, out: str, *more: str) -> list[str]:
            given = ["detect" if options.detect else "run", *map(str, paths[:count]), *quick]
            return [*given, "--out", str(folder / out), *more]

        if options.detect:
            for jobs in ("1", "2"):
                cost = cost_of(command(options.few, f"jobs_{jobs}", "--jobs", jobs))
                told(f"detect, {options.few} images, {jobs} jobs", cost)
            return
        if options.kills or options.damaged:

            def resumed(out: str) -> list[str]:
                more = ("--resume", "--jobs", "1", "--no-theory")
                return command(options.many, out, *tables, *more)

            if options.kills:
                killed_runs(resumed, folder, options.kills, options.seed)
            if options.damaged:
                damaged_run(resumed, folder, paths)
            return
        peaks = {}
        for count in (options.few, options.many):
            given = command(count, f"of_{count}", *tables, "--resume", "--jobs", "1")
            cost = cost_of(given)
            told(f"run, {count} images", cost)
            peaks[count] = cost.peak_mb
        told(f"run, {options.many} images again", cost_of(given))
        given = command(options.few, "grown", *tables, "--resume", "--jobs", "1")
        cost_of(command(options.few - 1, "grown", *tables, "--resume", "--jobs", "1"))
        told(f"run, {options.few - 1} images, then one more", cost_of(given))
        kept = sum(p.stat().st_size for p in (folder / f"of_{options.many}" / "stages").rglob("*"))
        print(f"kept an image: {kept / options.many / 1e6:.1f} MB")
        ratio = peaks[options.many] / peaks[options.few]
        print(f"memory of {options.many} images over {options.few}: {ratio:.2f}")


if __name__ == "__main__":
    main()
