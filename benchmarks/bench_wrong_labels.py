"""How many classes change where the labels that the judge starts from are wrong.

``python benchmarks/bench_wrong_labels.py`` simulates hard images (half the dose, 24 pm a pixel,
contamination of .45 of W, 512 px), gives the judge the true columns, 6 pm off, once with true
labels, .94 sure, and once with a share of the chalcogen columns' labels drawn at random, and counts
judged chalcogen columns of another class.

``--open`` asks the same of nine images with classes that nobody asked for, as one run (those of
``bench_open_classes.py``: 5 % S + Se, 1 % Mo for W, 1 % W vacancies), started from the network's
labels and from these with a share of the chalcogen ones drawn at random. S + Se has no name there,
so that its columns count as what they are called.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from bench_open_classes import own_simulator

from napari_defectstrain.detect.finding.predict import detect_columns
from napari_defectstrain.detect.network.config import DetectConfig
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
from napari_defectstrain.types import BoolArray, FloatArray, IntArray, Sites

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
    p = nearly_sure(index, true.is_metal)
    moved = np.random.default_rng(seed + 1).normal(0, 6.0 / SCAN.pixel_size_pm, (len(true), 2))
    return replace(true, position_px=true.position_px + moved, probabilities=p, class_index=index)


def nearly_sure(index: IntArray, is_metal: BoolArray) -> FloatArray:
    """Probabilities of columns of these classes, .94 sure, `(n, K)`."""
    p = 0.94 * np.eye(len(ROLES))[index]
    p[~is_metal & (index >= X2) & (index <= V2), X2 : V2 + 1] += 0.012
    p[is_metal, 0] += 0.06
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def spoilt(sites: Sites, wrong: float, seed: int) -> Sites:
    """The network's columns, a share of the chalcogen ones with labels drawn at random."""
    rng = np.random.default_rng(seed)
    index, p = np.array(sites.class_index), np.array(sites.probabilities)
    chalcogen = np.flatnonzero(sites.is_chalcogen)
    lost = chalcogen[rng.random(len(chalcogen)) < wrong]
    index[lost] = rng.integers(X2, V2 + 1, len(lost))
    p[lost] = nearly_sure(index[lost], np.zeros(len(lost), dtype=bool))
    return replace(sites, probabilities=p, class_index=index)


def open_classes(seed: int, count: int, shares: list[float]) -> None:
    """Columns of a run with further classes that differ where labels are wrong."""
    images, found, pixels = [], [], []
    for one in own_simulator(seed, count):
        network = detect_columns(one.image, DetectConfig(material="WSe2"))
        images.append(one.image)
        found.append(network.sites)
        pixels.append(network.pixel_size_pm)
    right = judge_images(images, found, pixels, WSE2)
    for wrong in shares:
        started = [spoilt(sites, wrong, i) for i, sites in enumerate(found)]
        other = judge_images(images, started, pixels, WSE2)
        differ, columns = np.zeros(2, dtype=int), np.zeros(2, dtype=int)
        for sites, a, b in zip(found, right, other, strict=True):
            n = len(sites)
            assert a.sites.weight is not None
            assert b.sites.weight is not None
            weighed = np.isfinite(a.sites.weight[:n]) & np.isfinite(b.sites.weight[:n])
            unlike = a.sites.class_index[:n] != b.sites.class_index[:n]
            for k, mine in enumerate((weighed & sites.is_chalcogen, weighed & sites.is_metal)):
                differ[k] += (unlike & mine).sum()
                columns[k] += mine.sum()
        print(
            f"{wrong:.0%} wrong labels: {differ[0]} of {columns[0]} chalcogen columns differ "
            f"({100 * differ[0] / columns[0]:.3f} %), {differ[1]} of {columns[1]} metal ones"
        )
        for start, judged in (("network's", right), ("spoilt", other)):
            for note in (one.note.partition(";")[0] for one in judged[0].open_classes):
                print(f"  {start} labels: {note}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=5201, help="of the first image")
    parser.add_argument("--images", type=int, help="how many (8; 9 with --open)")
    parser.add_argument("--open", action="store_true", help="one run with further classes")
    parser.add_argument("--wrong", type=float, nargs="+", default=[0.3, 0.2, 0.1])
    options = parser.parse_args()
    if options.open:
        open_classes(options.seed, options.images or 9, options.wrong)
        return
    rows = {wrong: np.zeros(4, dtype=int) for wrong in options.wrong}
    for seed in range(options.seed, options.seed + (options.images or 8)):
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
