"""How fast and how precise every column of an image is fitted, beside other programs.

``python benchmarks/bench_columns.py [--columns 64] [--atomap-python P] [--spotfitlm-python P]``

The image: columns x columns round Gaussians (sigma 4 px, spacing 20 px, each moved by up to half a
pixel, 200 counts high on 20), Poisson noise. All fitters start from the same places, 0.5 px off,
and run one after another, each in a process of one thread. Other programs run by the Python
that has them (`columns_peers.py`); without one they are left out, but for the loop over scipy.

Then one ADF image of 1024 x 1024 px at the paper's settings, all models. ``--repeat N``: the least
time of N runs of ours counts; load of the machine shows in the wall time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_defectstrain.columns.images.measure import (
    ImageColumnConfig,
    ImageColumns,
    fit_image_columns,
)
from napari_defectstrain.simulate.dataset import simulate_image
from napari_defectstrain.simulate.samples import paper_like
from napari_defectstrain.types import CalibratedImage, FloatArray

SIGMA, SPACING, PEAK, BACKGROUND = 4.0, 20, 200.0, 20.0
START_ERROR = 0.5
MARGIN = 1.4 * SPACING
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PEERS = Path(__file__).with_name("columns_peers.py")


@dataclass(frozen=True)
class Row:
    """One fitter's outcome."""

    name: str
    position: FloatArray
    cpu_s: float
    wall_s: float


def synthetic(side: int, seed: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Image, true positions and starts (y, x) [px]."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.mgrid[:side, :side], axis=-1).reshape(-1, 2)
    true = (grid + 0.5) * SPACING + rng.uniform(-0.5, 0.5, (side**2, 2))
    pixel = np.arange(side * SPACING)
    image = np.full((len(pixel),) * 2, BACKGROUND)
    for row in np.split(true, side):
        along_y = np.exp(-0.5 * ((pixel[:, None] - row[:, 0]) / SIGMA) ** 2)
        along_x = np.exp(-0.5 * ((pixel[:, None] - row[:, 1]) / SIGMA) ** 2)
        image += PEAK * along_y @ along_x.T
    return rng.poisson(image).astype(float), true, true + rng.normal(0, START_ERROR, true.shape)


def ours(
    image: CalibratedImage | FloatArray, start: FloatArray, config: ImageColumnConfig, repeat: int
) -> tuple[ImageColumns, float, float]:
    """The fit, and the least CPU and wall time of some runs [s]."""
    times = []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        fit = fit_image_columns(image, start, config)
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu, wall = np.min(times, axis=0)
    return fit, float(cpu), float(wall)


def peer(name: str, python: str, image: FloatArray, start: FloatArray) -> Row:
    """Another program's fit, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(source, image=image, start=start, sigma=SIGMA)
        command = [python, str(PEERS), name, str(source), str(target)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        made = np.load(target)
        return Row(name, made["position"], float(made["cpu_s"]), float(made["wall_s"]))


def compare(options: argparse.Namespace) -> None:
    """All fitters on the same image."""
    image, true, start = synthetic(options.columns, options.seed)
    rows = []
    for model in ("gaussians", "profile", "gaussian"):
        fit, cpu, wall = ours(image, start, ImageColumnConfig(model=model), options.repeat)
        rows.append(Row(f"this, `{model}`", fit.position_px, cpu, wall))
        if model == "gaussians":
            errors = np.sqrt(np.mean(fit.sigma_px[_inner(true, image)] ** 2))
    rows.append(peer("curve_fit", sys.executable, image, start))
    for name in ("spotfitlm", "atomap"):
        python = getattr(options, f"{name}_python")
        if python is not None:
            rows.append(peer(name, python, image, start))
    inner = _inner(true, image)
    slowest = next((r.cpu_s for r in rows if r.name == "atomap"), np.nan)
    print(f"{len(true)} columns, {image.shape[0]} x {image.shape[1]} px, one thread\n")
    print("| fitter | CPU ms a column | wall | rms y, px | rms x, px | times atomap |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        error = (row.position - true)[inner]
        rms = np.sqrt(np.nanmean(error**2, axis=0))
        cpu, wall = (1e3 * t / len(true) for t in (row.cpu_s, row.wall_s))
        print(
            f"| {row.name} | {cpu:.3f} | {wall:.3f} | {rms[0]:.4f} | {rms[1]:.4f} | "
            f"{slowest / row.cpu_s:.0f} |".replace("nan", "")
        )
    print(f"\nerror that `gaussians` itself reports: {errors:.4f} px (rms)\n")


def _inner(true: FloatArray, image: FloatArray) -> np.ndarray:
    last = np.array(image.shape) - 1 - MARGIN
    return np.asarray(((true >= MARGIN) & (true <= last)).all(axis=1))


def adf(options: argparse.Namespace) -> None:
    """One image of the paper's kind."""
    rng = np.random.default_rng(options.seed)
    made = simulate_image(paper_like(rng, 8.0), rng, "adf")
    pixel = made.config.scan.pixel_size_pm
    image = CalibratedImage(made.counts.astype(np.float32), pixel, made.name)
    true = np.asarray(made.position_px, dtype=float)
    start = true + rng.normal(0, START_ERROR, true.shape)
    inside = ((true > 8) & (true < np.array(image.data.shape) - 9)).all(axis=1)
    print(f"ADF image of {image.data.shape} px of {pixel:g} pm, {len(true)} columns\n")
    print("| model | CPU ms a column | wall | rms y, pm | rms x, pm | reported, pm | measured |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for model in ("profile", "gaussians", "gaussian"):
        fit, cpu, wall = ours(image, start, ImageColumnConfig(model=model), options.repeat)
        use = inside & fit.measured
        rms = np.sqrt(np.mean((fit.position_px - true)[use] ** 2, axis=0)) * pixel
        reported = np.sqrt(np.mean(fit.sigma_px[use] ** 2)) * pixel
        cpu, wall = (1e3 * t / len(true) for t in (cpu, wall))
        print(
            f"| `{model}` | {cpu:.3f} | {wall:.3f} | {rms[0]:.2f} | {rms[1]:.2f} | "
            f"{reported:.2f} | {int(use.sum())} of {int(inside.sum())} |"
        )


def main() -> None:
    """Run both comparisons."""
    if any(os.environ.get(name) != "1" for name in THREADS):  # read when numpy is imported
        os.environ.update(dict.fromkeys(THREADS, "1"))
        os.execv(sys.executable, [sys.executable, *sys.argv])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--columns", type=int, default=64, help="columns a side (64)")
    add("--seed", type=int, default=0)
    add("--repeat", type=int, default=5, help="runs of ours, of which the quickest counts (5)")
    add("--atomap-python", metavar="P", help="a Python that has atomap")
    add("--spotfitlm-python", metavar="P", help="a Python that has spotfitlm")
    options = parser.parse_args()
    compare(options)
    adf(options)


if __name__ == "__main__":
    main()
