"""Measured against built-in strains over many simulated data sets, with the true classes given.

``python benchmarks/bench_strain.py [--images 9] [--seeds 6]`` simulates data sets of the paper's
kind, averages and measures each with its true columns (their places blurred by 5 pm), and prints
for each class the mean deviation from the built-in strain and the width of its pulls:
(measured - true) / total error.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np

from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline.chain import average_classes, measure_classes
from napari_defectstrain.pipeline.runs import RunConfig
from napari_defectstrain.simulate.dataset import SimulatedImage, simulate_image
from napari_defectstrain.simulate.samples import paper_like
from napari_defectstrain.types import FloatArray, Sites

TRUTH = {"SeTe": 0.006, "2Te": 0.012, "SV": -0.048, "DV": -0.080}
BLUR_PX = 0.25


def true_sites(simulated: SimulatedImage, rng: np.random.Generator) -> Sites:
    """Columns as a perfect network would give them."""
    index = np.asarray(simulated.class_index)
    place = simulated.position_px + rng.normal(0, BLUR_PX, simulated.position_px.shape)
    source = np.full(len(index), "truth")
    return Sites(place, np.eye(7)[index], index, WSE2.class_names, source)


def deviations(n_images: int, seed: int, config: RunConfig) -> dict[str, FloatArray]:
    """Deviation, statistical and total error of each class in one data set [%]."""
    rng = np.random.default_rng([seed, n_images])
    images, sites = [], []
    for k in range(n_images):
        simulated = simulate_image(paper_like(rng, 51.0 if k % 2 else 8.0), rng, f"region_{k}")
        images.append(simulated.image)
        sites.append(true_sites(simulated, rng))
    measured = measure_classes(average_classes(images, sites, config), config)
    found = {name: m.spacing for name, m in measured.items() if name in TRUTH and m.spacing.n > 1}
    return {
        name: 100 * np.array([s.strain - TRUTH[name], s.strain_std, s.strain_total_std, s.n / 100])
        for name, s in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=9)
    parser.add_argument("--seeds", type=int, default=6)
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # a class of one window is skipped here
    config = RunConfig(bootstrap=2000)
    every: dict[str, list[FloatArray]] = {name: [] for name in TRUTH}
    for seed in range(options.seeds):
        for name, values in deviations(options.images, seed, config).items():
            every[name].append(values)
    print(f"{'class':<6}{'N':>6}{'mean deviation [%]':>24}{'error [%]':>12}{'pull width':>12}")
    for name, values in every.items():
        if len(values) < 2:
            continue
        deviation, _, total, n = np.array(values).T
        mean, error = deviation.mean(), deviation.std(ddof=1) / np.sqrt(len(deviation))
        width = np.sqrt(np.mean((deviation / total) ** 2))
        print(
            f"{name:<6}{n.mean():>6.0f}{f'{mean:+.3f} ± {error:.3f}':>24}{total.mean():>12.3f}"
            f"{width:>12.2f}"
        )


if __name__ == "__main__":
    main()
