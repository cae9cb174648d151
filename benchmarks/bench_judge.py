"""Does the judge know better than the network? Same images, same columns.

``python benchmarks/bench_judge.py DIR... [--images N] [--oracle] [--together]`` takes folders of
images of another simulator (``<stem>.tif`` with ``<stem>.truth.csv``, see `other_simulator`), or,
without any, simulates images as `bench_detect` does. It prints, for the network alone, the judge
and (``--oracle``) what could be known at best, by the true places and neighbours and, as *to be
had*, by those that the judge takes for true: F1 of each class over all images, the log loss a
column, the expected calibration error less what chance alone gives, expected against true purity;
and the seconds of CPU a megapixel of network and judge. Run it with OMP_NUM_THREADS=1.

``--together`` judges all images of a folder as one run, as those of one session at one microscope
are; by default each is judged alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from bench_detect import Case, cases_of, simulated_cases

from napari_defectstrain.detect.finding.predict import detect_columns
from napari_defectstrain.detect.network.config import DetectConfig
from napari_defectstrain.evaluation.calibration_curve import reliability
from napari_defectstrain.evaluation.folders import truth_sites
from napari_defectstrain.evaluation.oracle import ask_oracle
from napari_defectstrain.evaluation.score import Comparison, compare, f1_by_role
from napari_defectstrain.judge.judging import JudgeConfig, Judgement, judge_images
from napari_defectstrain.materials import DEFECT_ROLES, ROLES, Material, get_material
from napari_defectstrain.types import CalibratedImage, DefectStrainError, Sites

LEAST_PROBABILITY = 1e-6


@dataclass
class Rows:
    """What each of the deciders made of the images."""

    found: dict[str, list[Comparison]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    megapixels: float = 0.0

    def add(self, who: str, sites: Sites, case: Case) -> None:
        pixel_pm = case.pixel_size_pm
        truth = (case.position_px, case.class_index, case.image.data.shape, pixel_pm, case.kind)
        self.found.setdefault(who, []).append(compare(sites, *truth))

    def clock(self, who: str, start: float) -> None:
        self.seconds[who] = self.seconds.get(who, 0.0) + time.process_time() - start


def judge_cases(
    cases: Sequence[Case], material: Material, config: JudgeConfig, options: argparse.Namespace
) -> Rows:
    rows = Rows()
    network: list[tuple[Case, Sites, float]] = []
    believed: list[Sites] = []
    for case in cases:
        start = time.process_time()
        try:
            found = detect_columns(case.image, DetectConfig(material=material.name))
        except DefectStrainError as error:
            print(f"refused: {error}")
            continue
        rows.clock("network", start)
        rows.megapixels += case.image.data.size / 1e6
        rows.add("network", found.sites, case)
        network.append((case, found.sites, found.pixel_size_pm))
    for part in [network] if options.together else [[one] for one in network]:
        start = time.process_time()
        images: list[CalibratedImage] = [case.image for case, _, _ in part]
        sites, pixels = [s for _, s, _ in part], [p for _, _, p in part]
        judged = judge_images(images, sites, pixels, material, config)
        rows.clock("judge", start)
        for (case, found_sites, _), judgement in zip(part, judged, strict=True):
            rows.add("judge", judgement.sites, case)
            believed.append(placed(judgement, len(found_sites)))
            for warning in judgement.warnings:
                print(f"warning: {warning}")
    for (case, _, _), its in zip(network, believed, strict=True) if options.oracle else ():
        true = truth_sites(case.position_px, case.class_index, material)
        for who, places in (("to be had", its), ("oracle", None)):
            start = time.process_time()
            best = ask_oracle(case.image.data, true, case.pixel_size_pm, case.kind, places)
            rows.clock(who, start)
            rows.add(who, best.sites, case)
    return rows


def placed(judgement: Judgement, found: int) -> Sites:
    """The judge's columns where it takes them to lie; `found` of them are the network's."""
    sites, classes = judgement.sites, judgement.classes
    if classes is None or classes.place_px is None:
        return sites
    judged = classes.chance.sum(axis=1) + classes.metal_chance.sum(axis=1) > 0
    told = (np.arange(len(judged)) < found) | judged
    return replace(sites, position_px=classes.place_px[told])


def log_loss(found: Sequence[Comparison]) -> float:
    """Mean of -log p of the true class, over columns that were found."""
    terms = []
    for one in found:
        known = one.true_class < len(ROLES)
        p = one.probabilities[known, one.true_class[known]]
        terms.append(-np.log(np.maximum(p, LEAST_PROBABILITY)))
    return float(np.concatenate(terms).mean())


def print_rows(rows: Rows, material: Material) -> None:
    names = dict(zip(ROLES, material.class_names, strict=True))
    print(f"{'':10}{'log loss':>9}" + "".join(f"{names[r]:>24}" for r in DEFECT_ROLES))
    print(f"{'':19}" + f"{'F1    ECE  purity, true':>24}" * len(DEFECT_ROLES))
    for who, found in rows.found.items():
        f1 = f1_by_role(sum(one.counts for one in found))
        probability = np.concatenate([one.probabilities for one in found])
        true, given = (
            np.concatenate([getattr(one, name) for one in found])
            for name in ("true_class", "found_class")
        )
        image = np.repeat(np.arange(len(found)), [len(one.true_class) for one in found])
        cells: list[Mapping[str, float]] = []
        for i, role in enumerate(ROLES.index(r) for r in DEFECT_ROLES):
            curve = reliability(probability[:, role], true == role, image)
            mine = given == role
            cells.append(
                {
                    "F1": float(f1[i]),
                    "ECE": curve.ece - curve.ece_if_true,
                    "expected": float(probability[mine, role].mean()) if mine.any() else np.nan,
                    "true": float((true[mine] == role).mean()) if mine.any() else np.nan,
                }
            )
        text = "".join(
            f"{c['F1']:>7.4f}{c['ECE']:>6.3f}{c['expected']:>6.3f}{c['true']:>5.3f}" for c in cells
        )
        print(f"{who:10}{log_loss(found):9.5f}{text}")
    rates = {who: s / rows.megapixels for who, s in rows.seconds.items()}
    print("CPU s a megapixel: " + ", ".join(f"{who} {rate:.2f}" for who, rate in rates.items()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folders", nargs="*", type=Path)
    add("--images", type=int, help="how many of each folder (all), or simulated (6)")
    add("--seed", type=int, default=777, help="of simulated images")
    add("--hard", action="store_true", help="simulate hard ones")
    add("--oracle", action="store_true")
    add("--together", action="store_true", help="judge the images of a folder as one run")
    add("--rounds", type=int, default=JudgeConfig().rounds)
    add("--network-say", type=float, nargs=2, default=JudgeConfig().network_say)
    add("--material", default="WSe2")
    options = parser.parse_args()
    material = get_material(options.material)
    config = JudgeConfig(rounds=options.rounds, network_say=tuple(options.network_say))
    if not options.folders:
        options.images = options.images or 6
        sets = {"simulated": list(simulated_cases(options))}
    else:
        sets = {str(f): list(cases_of(f, material, options.images)) for f in options.folders}
    for name, cases in sets.items():
        print(f"\n{name}: {len(cases)} images")
        print_rows(judge_cases(cases, material, config, options), material)


if __name__ == "__main__":
    main()
