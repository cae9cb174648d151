"""How many classes change where the labels that the judge starts from are wrong.

``python benchmarks/bench_wrong_labels.py`` simulates hard images (half the dose, 24 pm a pixel,
contamination of .45 of W, 512 px), gives the judge the true columns, 6 pm off, once with true
labels, .94 sure, and once with a share of the chalcogen columns' labels drawn at random, and counts
judged chalcogen columns of another class.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from napari_defectstrain.evaluation.folders import truth_sites
from napari_defectstrain.judge import judge_images
from napari_defectstrain.materials import ROLES, WSE2
from napari_defectstrain.simulate import (
    CrystalConfig,
    ScanConfig,
    SimulatedImage,
    SimulationConfig,
    simulate_image,
)
from napari_defectstrain.types import Sites

X2, V2 = ROLES.index("X2"), ROLES.index("V2")
SCAN = ScanConfig(
    shape=(512, 512),
    rotation_deg=17.0,
    pixel_size_pm=24.0,
    dose_e_per_nm2=6.2e6,
    jitter_px=0.9,
    read_noise=0.12,
    contamination=0.45,
)


def given(image: SimulatedImage, wrong: float, seed: int) -> Sites:
    """The true columns, a share of the chalcogen ones with labels drawn at random."""
    rng = np.random.default_rng(seed)
    true = truth_sites(image.position_px, np.asarray(image.class_index), WSE2)
    index = np.array(true.class_index)
    chalcogen = np.flatnonzero(true.is_chalcogen)
    lost = chalcogen[rng.random(len(chalcogen)) < wrong]
    index[lost] = rng.integers(X2, V2 + 1, len(lost))
    p = 0.94 * np.eye(len(ROLES))[index]
    p[chalcogen, X2 : V2 + 1] += 0.012
    p[true.is_metal, 0] += 0.06
    p /= p.sum(axis=1, keepdims=True)
    moved = np.random.default_rng(seed + 1).normal(0, 6.0 / SCAN.pixel_size_pm, (len(true), 2))
    return replace(true, position_px=true.position_px + moved, probabilities=p, class_index=index)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=5201, help="of the first image")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--wrong", type=float, nargs="+", default=[0.3, 0.2, 0.1])
    options = parser.parse_args()
    rows = {wrong: np.zeros(4, dtype=int) for wrong in options.wrong}
    for seed in range(options.seed, options.seed + options.images):
        config = SimulationConfig(crystal=CrystalConfig(), scan=SCAN)
        image = simulate_image(config, np.random.default_rng(seed), "image")
        true = np.asarray(image.class_index)
        n = len(true)

        def judged(wrong: float, image: SimulatedImage = image, seed: int = seed) -> Sites:
            sites = given(image, wrong, seed)
            return judge_images([image.image], [sites], [SCAN.pixel_size_pm], WSE2)[0].sites

        right = judged(0.0)
        for wrong, row in rows.items():
            other = judged(wrong)
            ok = (true > 0) & np.isfinite(right.weight[:n]) & np.isfinite(other.weight[:n])
            a, b = right.class_index[:n][ok], other.class_index[:n][ok]
            row += [(a != b).sum(), ok.sum(), (a != true[ok]).sum(), (b != true[ok]).sum()]
            print(f"{seed} {wrong:g}: {int((a != b).sum())} of {int(ok.sum())}", flush=True)
    for wrong, (differ, columns, before, after) in rows.items():
        print(
            f"{wrong:.0%} wrong labels: {differ} of {columns} columns differ "
            f"({100 * differ / columns:.3f} %); of a wrong class {after}, with true labels {before}"
        )


if __name__ == "__main__":
    main()
