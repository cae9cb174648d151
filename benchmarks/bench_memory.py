"""Peak memory of ``defectstrain detect`` on a large image.

``python benchmarks/bench_memory.py [--side 8192] [--pixel-size-pm 20.74] [--tile-px N]`` writes a
16-bit TIFF of a simulated region side by side with itself, runs the command on it in a process of
its own, and prints the peak of that process's resident memory, the time, and the columns found.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from napari_defectstrain.io.files import write_json, write_tiff
from napari_defectstrain.pipeline.runs import RunConfig
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image

TILE_PX = 1024


def large_image(side: int, pixel_size_pm: float) -> np.ndarray:
    """One simulated region again and again, `(side, side)` uint16."""
    scan = ScanConfig((TILE_PX, TILE_PX), pixel_size_pm, 17.0, frames=1, jitter_px=0.3)
    counts = simulate_image(SimulationConfig(scan=scan), np.random.default_rng(0)).counts
    times = -(-side // TILE_PX)
    return np.ascontiguousarray(np.tile(counts, (times, times))[:side, :side])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=8192)
    parser.add_argument("--pixel-size-pm", type=float, default=20.74)
    parser.add_argument("--tile-px", type=int)
    options = parser.parse_args()
    config = RunConfig()
    if options.tile_px:
        config = config.replace(detect=config.detect.replace(tile_px=options.tile_px))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = large_image(options.side, options.pixel_size_pm)
        write_tiff(folder / "large.tif", image, options.pixel_size_pm, {})
        write_json(folder / "settings.json", config.to_dict())
        command = [sys.executable, "-m", "napari_defectstrain", "detect", "large.tif"]
        command += ["--config", "settings.json", "--device", "cpu", "--out", "out"]
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True)
        seconds = time.perf_counter() - start
        run = json.loads((folder / "out" / "run.json").read_text())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak_gb = peak * (1 if sys.platform == "darwin" else 1024) / 1e9  # macOS counts bytes
    print(f"{options.side} x {options.side} px: peak {peak_gb:.2f} GB, {seconds:.0f} s, ", end="")
    print(f"{run['images'][0]['columns']} columns; of these {run['seconds']}")


if __name__ == "__main__":
    main()
