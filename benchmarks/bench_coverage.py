"""Do the intervals of few windows cover as they say?

Windows of known structure are drawn by an exact renderer, with white noise and grain that is
correlated from pixel to pixel; averages of 3 to 20 of them are measured as a run measures them.
How often the built-in strain (as the same fit finds it without noise) lies within the intervals of
68 and 95 %, and within one and two standard errors as they are quoted.

    python benchmarks/bench_coverage.py --trials 200

Half a second of CPU a trial; 200 trials, 600 strains, tell a share of 68 % to 2 points.

``--probe AMOUNT SIGMA``: what columns of whole images would tell of the probe
(`pipeline.few_windows`) is drawn anew for each trial, as these windows have no image.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_defectstrain.columns import ColumnConfig
from napari_defectstrain.pipeline import RunConfig, measure_spacings
from napari_defectstrain.precision import MakeupConfig
from napari_defectstrain.types import KnownProbe

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import exact_images as exact  # noqa: E402
from class_stage import stack_of  # noqa: E402

CLASSES = ("SeTe", "2Te", "SV")
REFERENCES = 150
SIZE = 61
WHITE, GRAIN = 0.10, 0.05
"""Noise of a window, in heights of a metal column: about that of the paper's dose."""


@cache
def picture(name: str) -> np.ndarray:
    """A window of a class without noise."""
    return exact.average_image(name, SIZE)


def drawn(name: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Windows of a class, `(n, SIZE, SIZE)`."""
    image = picture(name)
    grain = gaussian_filter(rng.normal(size=(n, SIZE, SIZE)), (0, 2.0, 2.0))
    grain *= GRAIN / grain.std()
    return np.asarray(image + WHITE * rng.normal(size=(n, SIZE, SIZE)) + grain)


def config(model: str) -> RunConfig:
    """Small discs, which are fast, and nothing that is asked beside the strain."""
    return RunConfig(
        columns=ColumnConfig(model=model, fit_radius_pm=560.0, compare=False),
        makeup=MakeupConfig(enabled=False),
        bootstrap=2,
    )


def truth(settings: RunConfig) -> dict[str, float]:
    """Strain that the same fit finds in windows without noise."""
    rng = np.random.default_rng(0)
    stacks = {}
    for name in ("2Se", *CLASSES):
        image = picture(name)
        stacks[name] = stack_of(name, image + 1e-6 * rng.normal(size=(4, SIZE, SIZE)))
    return {n: m.spacing.strain for n, m in measure_spacings(stacks, settings).items()}


def main() -> None:
    """Print a line a number of windows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default="profile")
    parser.add_argument("--windows", type=int, nargs="+", default=[3, 5, 10, 20])
    parser.add_argument("--references", type=int, default=REFERENCES)
    parser.add_argument("--probe", type=float, nargs=2, metavar=("AMOUNT", "SIGMA"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    settings = config(options.model)
    right = truth(settings)
    for n in options.windows:
        start = time.process_time()
        rng = np.random.default_rng([options.seed, n])
        told = None if options.probe is None else np.random.default_rng([options.seed, n, 1])
        pulls, inside, lost = [], [], 0
        for _ in range(options.trials):
            numbers = {"2Se": options.references, **dict.fromkeys(CLASSES, n)}
            stacks = {name: stack_of(name, drawn(name, k, rng)) for name, k in numbers.items()}
            if told is not None:
                probe = KnownProbe(float(told.normal(*options.probe)), options.probe[1])
                stacks = {name: replace(stack, probe=probe) for name, stack in stacks.items()}
            measured = measure_spacings(stacks, settings)
            for name in CLASSES:
                one = measured[name]
                away = one.spacing.strain - right[name]
                if not np.isfinite(away) or one.budget is None:
                    lost += 1
                    continue
                pulls.append(away / one.spacing.strain_total_std)
                half = [one.budget.half_width(level) for level in (0.68, 0.95)]
                inside.append(abs(away) < np.array(half))
        pull, cover = np.abs(pulls), 100 * np.mean(inside, axis=0)
        print(
            f"{n:3d} windows: intervals cover {cover[0]:.0f} % (68) and {cover[1]:.0f} % (95); "
            f"within 1 and 1.96 quoted errors {100 * np.mean(pull < 1):.0f} and "
            f"{100 * np.mean(pull < 1.96):.0f} %; pulls rms {np.sqrt(np.mean(pull**2)):.2f}; "
            f"{len(pull)} values, {lost} lost; {time.process_time() - start:.0f} s of CPU",
            flush=True,
        )


if __name__ == "__main__":
    main()
