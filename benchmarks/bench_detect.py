"""Precision, recall and F1 of detection on fresh simulated images of the paper's kind.

``python benchmarks/bench_detect.py [--images 12] [--seed 777] [--weights FILE]`` prints the table
of Lee et al., SI Table S2 (doi 10.1021/acs.nanolett.0c00269), and the confusion matrix. The
images share nothing with training but the simulator: other seeds, the sample data's conditions.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from napari_defectstrain.detect.config import DetectConfig
from napari_defectstrain.detect.evaluate import confusion_matrix, scores
from napari_defectstrain.detect.predict import detect_columns
from napari_defectstrain.materials import WSE2
from napari_defectstrain.simulate.dataset import simulate_image
from napari_defectstrain.simulate.samples import paper_like
from napari_defectstrain.types import Sites


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--seed", type=int, default=777)
    parser.add_argument("--weights")
    parser.add_argument("--symmetries", type=int, default=DetectConfig().symmetries)
    options = parser.parse_args()
    config = DetectConfig(weights=options.weights, symmetries=options.symmetries, device="cpu")
    rng = np.random.default_rng(options.seed)
    counts = np.zeros((7, 7), dtype=np.int64)
    seconds = []
    for _ in range(options.images):
        simulated = simulate_image(paper_like(rng, float(rng.uniform(0, 360))), rng)
        index = np.asarray(simulated.class_index)
        truth = Sites(
            simulated.position_px,
            np.eye(6)[index],
            index,
            WSE2.class_names,
            np.full(len(index), "truth"),
        )
        start = time.perf_counter()
        sites = detect_columns(simulated.image, config).sites
        seconds.append(time.perf_counter() - start)
        counts += confusion_matrix(sites, truth, (1024, 1024), 20.74)
    print(scores(counts, WSE2.class_names).round(4).to_string(index=False))
    print("\nconfusion (rows: true; columns: found; last: none)")
    print(" " * 6 + "".join(f"{name:>8}" for name in (*WSE2.class_names, "none")))
    for name, row in zip((*WSE2.class_names, "none"), counts, strict=True):
        print(f"{name:<6}" + "".join(f"{n:>8}" for n in row))
    print(f"\n{np.median(seconds):.2f} s an image of 1024 x 1024 px")


if __name__ == "__main__":
    main()
