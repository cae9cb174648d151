"""Measured against built-in strains over many simulated data sets, with the true classes given.

``python benchmarks/bench_strain.py [FOLDER ...] [--images 9] [--seeds 6] [--crowded]`` simulates
data sets of the paper's kind, or takes each folder of the second simulator as one set (those that
`bench_selection` makes), averages and measures each with its true columns (their places blurred by
5 pm), and prints for each class the mean deviation from the built-in strain, its scatter over the
sets, the errors that were said, and the width of the pulls: (measured - true) / total error. With
`--crowded` averages of every defect come beside those of isolated ones, with `--crowded-alone`
instead of them.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from bench_detect import cases_of

from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline.chain import average_classes, measure_classes
from napari_defectstrain.pipeline.every_defect import measure_every_defect
from napari_defectstrain.pipeline.runs import RunConfig, RunResult
from napari_defectstrain.simulate.dataset import simulate_image
from napari_defectstrain.simulate.samples import paper_like
from napari_defectstrain.types import CalibratedImage, FloatArray, Sites

TRUTH = {"SeTe": 0.006, "2Te": 0.012, "SV": -0.048, "DV": -0.080}
BLUR_PX = 0.25


def sites_at(place_px: FloatArray, index: FloatArray, rng: np.random.Generator) -> Sites:
    """Columns as a perfect network would give them."""
    index = np.asarray(index)
    place = place_px + rng.normal(0, BLUR_PX, place_px.shape)
    return Sites(place, np.eye(7)[index], index, WSE2.class_names, np.full(len(index), "truth"))


def simulated_set(n_images: int, seed: int) -> tuple[list[CalibratedImage], list[Sites]]:
    rng = np.random.default_rng([seed, n_images])
    images, sites = [], []
    for k in range(n_images):
        simulated = simulate_image(paper_like(rng, 51.0 if k % 2 else 8.0), rng, f"region_{k}")
        images.append(simulated.image)
        sites.append(sites_at(simulated.position_px, simulated.class_index, rng))
    return images, sites


def read_set(folder: Path, n_images: int) -> tuple[list[CalibratedImage], list[Sites]]:
    rng = np.random.default_rng(0)
    images, sites = [], []
    for case in cases_of(folder, WSE2, n_images):
        images.append(replace(case.image, pixel_size_pm=case.pixel_size_pm))
        sites.append(sites_at(case.position_px, case.class_index, rng))
    return images, sites


def deviations(
    images: list[CalibratedImage], sites: list[Sites], config: RunConfig, kinds: set[str]
) -> dict[tuple[str, str], FloatArray]:
    """Deviation, statistical and total error of each class in one data set [%], and N."""
    stacks = average_classes(images, sites, config)
    measured = {}
    isolated = measure_classes(stacks, config) if "isolated" in kinds else {}
    measured |= {("isolated", n): m for n, m in isolated.items()}
    if "crowded" in kinds:
        found = RunResult(config, tuple(images), tuple(sites), pd.DataFrame(), None, stacks=stacks)
        every = measure_every_defect(found).crowded
        measured |= {("crowded", n): m for n, m in every.items()}
    spacing = {key: m.spacing for key, m in measured.items() if key[1] in TRUTH and m.spacing.n > 1}
    return {
        key: 100 * np.array([s.strain - TRUTH[key[1]], s.strain_std, s.strain_total_std, s.n / 100])
        for key, s in spacing.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=9)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--crowded", action="store_true")
    parser.add_argument("--crowded-alone", action="store_true")
    parser.add_argument("folders", nargs="*", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # a class of one window is skipped here
    config = RunConfig(bootstrap=2000)
    every: dict[tuple[str, str], list[FloatArray]] = {}
    kinds = {"isolated", "crowded"} if options.crowded else {"isolated"}
    kinds = {"crowded"} if options.crowded_alone else kinds
    for part in options.folders or range(options.seeds):
        if isinstance(part, Path):
            images, sites = read_set(part, options.images)
        else:
            images, sites = simulated_set(options.images, part)
        for key, values in deviations(images, sites, config, kinds).items():
            every.setdefault(key, []).append(values)
            print(part, *key, np.round(values, 3), flush=True)
    print(
        f"{'':<9} {'class':<6}{'N':>6}{'mean deviation [%]':>24}{'scatter':>10}{'stat':>8}"
        f"{'total':>8}{'pull width':>12}"
    )
    for (kind, name), found in sorted(every.items(), reverse=True):
        if len(found) < 2:
            continue
        deviation, statistical, total, n = np.array(found).T
        scatter = deviation.std(ddof=1)
        mean, error = deviation.mean(), scatter / np.sqrt(len(deviation))
        width = np.sqrt(np.mean((deviation / total) ** 2))
        print(
            f"{kind:<9} {name:<6}{n.mean():>6.0f}{f'{mean:+.3f} ± {error:.3f}':>24}{scatter:>10.3f}"
            f"{statistical.mean():>8.3f}{total.mean():>8.3f}{width:>12.2f}"
        )


if __name__ == "__main__":
    main()
