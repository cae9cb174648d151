"""Time of the bootstrap: 22 500 samples of a class of 437 windows, all columns of the window.

``python benchmarks/bench_bootstrap.py [--windows 437] [--samples 22500] [--loop 3]``

The fast path (linear influence of every window) beside the plain loop, which averages and fits
every sample: timed for a few samples and extrapolated. Prints how far apart the positions of the
same samples are. One thread: set OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from napari_defectstrain.averages.average import average_stack
from napari_defectstrain.columns.averages.measure import ColumnConfig, fit_columns, influence
from napari_defectstrain.precision.bootstrap import bootstrap_positions
from napari_defectstrain.types import ClassAverage, ClassStack

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import exact_images as exact  # noqa: E402
from class_stage import bootstrap_positions_refit  # noqa: E402

NOISE = 0.10  # of a metal column, a pixel
SHIFT_PM = 3.0


def noisy_stack(name: str, n: int, rng: np.random.Generator) -> ClassStack:
    """Windows of one class, each at a place of its own, with white noise."""
    clean = exact.average_image(name)
    height, width = np.gradient(clean, exact.STEP_PM)
    shift = rng.normal(0.0, SHIFT_PM, (n, 2))
    windows = clean + shift[:, :1, None] * height + shift[:, 1:, None] * width
    windows += rng.normal(0.0, NOISE, windows.shape)
    pairs = np.zeros((n, 2))
    return ClassStack(
        name,
        windows,
        exact.STEP_PM,
        exact.A_PM,
        np.zeros(n, int),
        np.arange(n),
        pairs,
        pairs,
        np.ones(n),
        np.ones(n, bool),
        np.full(n, ""),
    )


def compare(model: str, windows: int, samples: int, loop: int) -> None:
    """One line of the table."""
    stack = noisy_stack("SV", windows, np.random.default_rng(0))
    config = ColumnConfig(model=model, compare=False)
    others: dict[str, ClassAverage] = {}
    if model == "profile":
        # the profile of the other classes, which a sample of this one hardly changes
        for name in ("2Se", "SeTe"):
            image = exact.average_image(name)
            sem = np.full_like(image, 1e-3)
            others[name] = ClassAverage(name, image, sem, 10000, 0, exact.STEP_PM, exact.A_PM, 1.0)
    fitted = fit_columns({**others, "SV": average_stack(stack)}, config)["SV"]
    start = time.perf_counter()
    response = influence(fitted, stack)
    prepared = time.perf_counter() - start
    position = fitted.fits.position_pm.ravel()
    start = time.perf_counter()
    drawn = bootstrap_positions(response, position, samples, np.random.default_rng(1))
    fast = time.perf_counter() - start
    start = time.perf_counter()
    slow = bootstrap_positions_refit(stack, others, config, loop, np.random.default_rng(1))
    plain = (time.perf_counter() - start) / loop * samples
    difference = np.abs(drawn[:loop] - slow).reshape(loop, -1, 2).max(axis=(0, 2))
    metal = fitted.fits.is_metal
    print(
        f"| {model} | {len(metal)} | {prepared:.2f} | {fast:.2f} | {plain / 3600:.1f} "
        f"| {plain / (fast + prepared):,.0f} | {np.nanmax(difference[metal]):.4f} "
        f"| {np.nanmedian(difference[~metal]):.4f} | {np.nanmax(difference[~metal]):.4f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=437)
    parser.add_argument("--samples", type=int, default=22500)
    parser.add_argument("--loop", type=int, default=3, help="samples of the plain loop")
    options = parser.parse_args()
    print(f"{options.samples} samples of {options.windows} windows, all columns of the window\n")
    print(
        "| model | columns | influence, s | bootstrap, s | plain loop, h | times | metal, pm "
        "| chalcogen, median, pm | worst, pm |"
    )
    print("| --- " * 9 + "|")
    for model in ("profile", "gaussians", "gaussian"):
        compare(model, options.windows, options.samples, options.loop)


if __name__ == "__main__":
    main()
