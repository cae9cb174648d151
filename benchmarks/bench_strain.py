"""Measured against built-in strains over many simulated data sets, with the true classes given.

``python benchmarks/bench_strain.py [--images 9] [--seeds 6] [--crowded]`` simulates data sets of
the paper's kind, averages and measures each with its true columns (their places blurred by 5 pm),
and prints for each class the mean deviation from the built-in strain, its scatter over the sets,
the errors that were said, and the width of the pulls: (measured - true) / total error. With
`--crowded` averages of every defect come beside those of isolated ones.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np

from napari_defectstrain.averages import WindowFrame, crowded_stacks
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


def deviations(
    n_images: int, seed: int, config: RunConfig, crowded: bool
) -> dict[tuple[str, str], FloatArray]:
    """Deviation, statistical and total error of each class in one data set [%], and N."""
    rng = np.random.default_rng([seed, n_images])
    images, sites = [], []
    for k in range(n_images):
        simulated = simulate_image(paper_like(rng, 51.0 if k % 2 else 8.0), rng, f"region_{k}")
        images.append(simulated.image)
        sites.append(true_sites(simulated, rng))
    stacks = average_classes(images, sites, config)
    measured = {("isolated", n): m for n, m in measure_classes(stacks, config).items()}
    if crowded:
        base = stacks["2Se"]
        window = WindowFrame(base.a_pm, config.average.step_pm, config.average.window_nm)
        assert base.group is not None
        group = np.zeros(n_images, dtype=int)
        group[base.image_index] = base.group
        every = crowded_stacks(images, sites, window, config.average.min_probability, group=group)
        more = measure_classes(every.stacks, config)
        measured |= {("crowded", n): m for n, m in more.items()}
    found = {key: m.spacing for key, m in measured.items() if key[1] in TRUTH and m.spacing.n > 1}
    return {
        key: 100 * np.array([s.strain - TRUTH[key[1]], s.strain_std, s.strain_total_std, s.n / 100])
        for key, s in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=9)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--crowded", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # a class of one window is skipped here
    config = RunConfig(bootstrap=2000)
    every: dict[tuple[str, str], list[FloatArray]] = {}
    for seed in range(options.seeds):
        for key, values in deviations(options.images, seed, config, options.crowded).items():
            every.setdefault(key, []).append(values)
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
