"""Do the intervals of concentrations cover what is true? Every image judged by itself.

``python benchmarks/bench_populations.py DIR...`` takes folders of images of the second simulator
(``other_simulator.py images PROFILES.npz OUT --sets populations``: 100 small images like those of
the paper, each of another crystal and microscope) and prints, for x and the vacancy fraction: how
many of the intervals of 95 % hold the truth, the mean and the width of the pulls, and the rms error
over the rms of the errors that were stated. Twice:
``crystal``, the limits for the crystal that the columns are a sample of, against the fractions that
each image was drawn with; ``columns``, those for the very columns of the image, against their true
classes. Errors of the latter are of few whole columns, so that pulls of true probabilities aren't
of width 1 either: which width they would have (5 to 95 % of draws from the probabilities) is
printed beside. Then the expected purity of each class beside the true one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from bench_detect import Case, cases_of
from scipy.spatial import cKDTree

from napari_defectstrain.crystal.populations import population_table
from napari_defectstrain.detect.finding.predict import detect_columns
from napari_defectstrain.detect.network.config import DetectConfig
from napari_defectstrain.judge.judging import judge_images
from napari_defectstrain.materials import DEFECT_ROLES, ROLES, Material, get_material
from napari_defectstrain.types import DefectStrainError, Sites

WHAT = {"x": ("XY", "Y2"), "vacancy fraction": ("V1", "V2")}
NEAR_PM = 80.0
DRAWS = 400


def judged(case: Case, material: Material) -> Sites | None:
    try:
        found = detect_columns(case.image, DetectConfig(material=material.name))
    except DefectStrainError as error:
        print(f"refused: {error}")
        return None
    return judge_images([case.image], [found.sites], [found.pixel_size_pm], material)[0].sites


def true_index(case: Case, sites: Sites) -> np.ndarray:
    """True class of each column found; -1 where there is none."""
    away, near = cKDTree(case.position_px).query(sites.position_px)
    near = np.minimum(near, len(case.class_index) - 1)
    return np.where(away < NEAR_PM / case.pixel_size_pm, case.class_index[near], -1)


def drawn_pulls(sites: Sites, truth: np.ndarray, roles: tuple[str, str]) -> np.ndarray:
    """Pulls of the atoms of two classes, were the probabilities of the columns true, `(DRAWS,)`."""
    chalcogen = (truth > 0) & (truth < ROLES.index("other"))
    p = np.asarray(sites.probabilities)[chalcogen]
    atoms = np.zeros(p.shape[1])
    atoms[[ROLES.index(role) for role in roles]] = 1, 2
    mean = p @ atoms
    doubtful = mean * (1 - mean / 2) > 1e-6
    p, mean = p[doubtful], mean[doubtful]
    edge = np.cumsum(p / p.sum(axis=1, keepdims=True), axis=1)
    u = np.random.default_rng(0).random((DRAWS, len(p), 1))
    held = atoms[np.minimum((u > edge).sum(axis=2), len(atoms) - 1)]
    sigma = np.sqrt((p @ atoms**2 - mean**2).sum())
    return np.asarray((mean - held).sum(axis=1) / sigma)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--images", type=int, help="how many of each folder (all)")
    parser.add_argument("--material", default="WSe2")
    options = parser.parse_args()
    material = get_material(options.material)
    rows: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    given, probability, true = [], [], []
    ideal: dict[str, list[np.ndarray]] = {name: [] for name in WHAT}
    for folder in options.folders:
        for case in cases_of(folder, material, options.images):
            sites = judged(case, material)
            if sites is None:
                continue
            truth = true_index(case, sites)
            table = population_table(["image"], [sites], material.class_names)
            table = table[table["image"] == "image"].set_index("class")
            drawn = json.loads((folder / f"{case.image.name}.json").read_text())["fractions"]
            chalcogens = ((truth > 0) & (truth < ROLES.index("other"))).sum()
            for name, (first, second) in WHAT.items():
                a, b = (ROLES.index(role) for role in (first, second))
                here = ((truth == a).sum() + 2 * (truth == b).sum()) / (2 * chalcogens)
                names = material.class_names
                built = (drawn.get(names[a], 0.0) + 2 * drawn.get(names[b], 0.0)) / 2
                row = table.loc[name]
                wide = (row["crystal_high"] - row["crystal_low"]) / (2 * 1.96)
                value = row["corrected"]
                limits = (row["crystal_low"], row["crystal_high"])
                rows.setdefault(("crystal", name), []).append((value - built, wide, built, *limits))
                limits = (row["low"], row["high"])
                ideal[name].append(drawn_pulls(sites, truth, (first, second)))
                rows.setdefault(("columns", name), []).append(
                    (value - here, row["corrected_std"], here, *limits)
                )
            given.append(sites.class_index)
            probability.append(sites.probability)
            true.append(truth)
    for (of, name), found in rows.items():
        off, sigma, truth, low, high = np.array(found).T
        inside = (low <= truth) & (truth <= high)
        pull = off[sigma > 0] / sigma[sigma > 0]
        ratio = np.sqrt((off**2).mean() / (sigma**2).mean())
        width = np.std(ideal[name], axis=0) if of == "columns" else np.ones(1)
        low, high = np.quantile(width, [0.05, 0.95])
        print(
            f"{of:8} {name:17} {inside.sum():4d} of {len(found)} inside, pulls {pull.mean():+.2f} "
            f"± {pull.std():.2f} (ideally {low:.2f} to {high:.2f}), rms error over stated "
            f"{ratio:.2f}, error {1e4 * off.mean():+.2f} ± {1e4 * off.std():.2f} e-4"
        )
    index, chance, truth = (np.concatenate(v) for v in (given, probability, true))
    for role, name in zip(ROLES, material.class_names, strict=True):
        mine = (index == ROLES.index(role)) & (truth >= 0)
        if role in DEFECT_ROLES and mine.any():
            right = (truth[mine] == index[mine]).mean()
            print(f"{name:6} expected purity {chance[mine].mean():.4f}, true {right:.4f}")


if __name__ == "__main__":
    main()
