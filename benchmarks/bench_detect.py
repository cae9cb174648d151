"""How well defects are found: the paper's Table S2 on images that the network has never seen.

``python benchmarks/bench_detect.py [--images 12] [--seed 777] [--oracle]`` simulates images of the
paper's kind from fresh seeds, detects their columns and prints what ``defectstrain evaluate``
prints: scores beside Table S2 of Lee et al. (doi 10.1021/acs.nanolett.0c00269, SI), confusions,
calibration, purity, F1 against conditions; and the time an image takes.

``--hard``: half the dose, pixels of 15-30 pm, strong contamination, jitter, read noise, any
rotation. ``--images-dir DIR``: images of another simulator, ``<stem>.tif`` with
``<stem>.truth.csv``. ``--oracle``: beside it what could be known at best, and least squares.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from napari_defectstrain.cli.evaluate import report
from napari_defectstrain.detect.finding.predict import detect_columns
from napari_defectstrain.detect.network.config import DetectConfig
from napari_defectstrain.evaluation import ask_oracle
from napari_defectstrain.evaluation.conditions import conditions_of, settings_beside
from napari_defectstrain.evaluation.folders import Evaluation, truth_sites
from napari_defectstrain.evaluation.score import HIT_RADIUS_PM, Comparison, compare
from napari_defectstrain.evaluation.tables import reliabilities
from napari_defectstrain.evaluation.truth_tables import read_truth
from napari_defectstrain.io.files import read_images
from napari_defectstrain.materials import DEFECT_ROLES, Material, get_material
from napari_defectstrain.output.evaluation import write_evaluation
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image
from napari_defectstrain.simulate.samples import paper_like
from napari_defectstrain.types import (
    CalibratedImage,
    DefectStrainError,
    FloatArray,
    IntArray,
    StrArray,
)

PAPER_DOSE = 1.24e7


@dataclass(frozen=True)
class Case:
    """One image with its truth."""

    image: CalibratedImage
    pixel_size_pm: float
    position_px: FloatArray
    class_index: IntArray
    kind: StrArray | None
    conditions: Mapping[str, float]


@dataclass
class Tally:
    """What was found so far."""

    found: list[Comparison] = field(default_factory=list)
    oracle: list[Comparison] = field(default_factory=list)
    least_squares: list[Comparison] = field(default_factory=list)
    conditions: list[Mapping[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def hard_like(rng: np.random.Generator) -> SimulationConfig:
    """Settings of one image under hard conditions."""
    base = paper_like(rng, float(rng.uniform(0, 360)))
    scan = replace(
        base.scan,
        pixel_size_pm=float(np.exp(rng.uniform(np.log(15), np.log(30)))),
        dose_e_per_nm2=PAPER_DOSE / 2,
        contamination=float(rng.uniform(0.3, 0.6)),
        contamination_nm=float(rng.uniform(1, 4)),
        texture=0.3,
        jitter_px=float(rng.uniform(0.5, 1.3)),
        frames=10,
        read_noise=float(rng.uniform(0.09, 0.18)),
    )
    return replace(base, scan=scan, crystal=replace(base.crystal, disorder_pm=3.0))


def simulated_cases(options: argparse.Namespace) -> Iterator[Case]:
    rng = np.random.default_rng(options.seed)
    for number in range(options.images):
        config = hard_like(rng) if options.hard else paper_like(rng, float(rng.uniform(0, 360)))
        yield simulated_case(config, rng, f"{'hard' if options.hard else 'paper'}_{number + 1}")


def simulated_case(config: SimulationConfig, rng: np.random.Generator, name: str) -> Case:
    made = simulate_image(config, rng, name)
    return Case(
        image=made.image,
        pixel_size_pm=config.scan.pixel_size_pm,
        position_px=made.position_px,
        class_index=np.asarray(made.class_index),
        kind=np.asarray(made.extra["kind"], dtype=str) if "kind" in made.extra else None,
        conditions=conditions_of(config.to_dict()),
    )


def cases_of(folder: Path, material: Material, most: int | None) -> Iterator[Case]:
    for path in sorted(folder.glob("*.tif"))[:most]:
        image = read_images(path)[0]
        settings = conditions_of(settings_beside(folder, path.stem))
        pixel_pm = image.pixel_size_pm or settings.get("pixel_size_pm")
        if pixel_pm is None:
            raise SystemExit(f"{path}: no pixel size")
        truth = read_truth(folder / f"{path.stem}.truth.csv", material, pixel_pm)
        conditions = {**settings, **conditions_of(image.metadata), "pixel_size_pm": pixel_pm}
        yield Case(image, pixel_pm, truth.position_px, truth.class_index, truth.kind, conditions)


def evaluate_case(
    case: Case, config: DetectConfig, material: Material, with_oracle: bool, tally: Tally
) -> None:
    """Detect the columns of one image, compare, and judge it by the oracle where asked to."""
    start = time.perf_counter()
    try:
        detection = detect_columns(case.image, config)
    except DefectStrainError as error:  # an image that is refused has found nothing
        tally.notes.append(f"refused: {error}")
        sites = truth_sites(np.empty((0, 2)), np.empty(0, dtype=int), material)
    else:
        tally.notes += detection.warnings
        sites = detection.sites
    tally.seconds.append(time.perf_counter() - start)
    truth = (case.position_px, case.class_index, case.image.data.shape, case.pixel_size_pm)
    rest = (case.kind, HIT_RADIUS_PM, case.image.name)
    tally.found.append(compare(sites, *truth, *rest))
    tally.conditions.append(case.conditions)
    if with_oracle:
        true = truth_sites(case.position_px, case.class_index, material)
        best = ask_oracle(case.image.data, true, case.pixel_size_pm, case.kind)
        tally.oracle.append(compare(best.sites, *truth, *rest))
        tally.least_squares.append(compare(best.least_squares, *truth, *rest))


def evaluation_of(tally: Tally, material: Material) -> Evaluation:
    return Evaluation(
        material=material,
        comparisons=tuple(tally.found),
        conditions=tuple(tally.conditions),
        judged=DEFECT_ROLES,
        complete=True,
        radius_pm=HIT_RADIUS_PM,
        notes=tuple(tally.notes),
        oracle=tuple(tally.oracle),
        least_squares=tuple(tally.least_squares),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--images", type=int, default=None, help="how many (12; of a folder: all)")
    add("--seed", type=int, default=777)
    add("--hard", action="store_true")
    add("--images-dir", type=Path)
    add("--oracle", action="store_true")
    add("--material", default="WSe2")
    add("--weights")
    add("--symmetries", type=int, default=DetectConfig().symmetries)
    add("--device", default="cpu")
    add("--out", type=Path, help="folder of tables and figures")
    options = parser.parse_args()
    material = get_material(options.material)
    config = DetectConfig(
        weights=options.weights,
        symmetries=options.symmetries,
        device=options.device,
        material=material.name,
    )
    if options.images_dir is not None:
        cases = cases_of(options.images_dir, material, options.images)
    else:
        options.images = options.images or 12
        cases = simulated_cases(options)
    tally = Tally()
    for case in cases:
        evaluate_case(case, config, material, options.oracle, tally)
    if not tally.found:
        raise SystemExit(f"{options.images_dir}: no .tif")
    made = evaluation_of(tally, material)
    found = reliabilities(made)
    print(report(made, found))
    for note in dict.fromkeys(made.notes):
        print(f"warning: {note}")
    rate = np.median(tally.seconds)
    print(f"\n{rate:.2f} s an image (median), on {config.device}")
    if options.out is not None:
        write_evaluation(made, found, options.out, [Path("bench_detect"), options.out])


if __name__ == "__main__":
    main()
