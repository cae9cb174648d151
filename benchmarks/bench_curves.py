"""Where does detection stop working? F1 of each class against one condition at a time.

``python benchmarks/bench_curves.py --out DIR [--points 7] [--repeats 2] [--oracle] [--draw]``
simulates images of the paper's kind in which dose, contamination, pixel size or defocus is varied
and all else stays, and detects their columns. Every image is a row of ``curves.csv`` with its
confusion matrix, so that a run that was stopped goes on where it was; ``--draw`` only draws.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from bench_detect import PAPER_DOSE, Tally, evaluate_case, simulated_case

from napari_defectstrain.detect.network.config import DetectConfig
from napari_defectstrain.evaluation.conditions import curve
from napari_defectstrain.evaluation.tables import named_curves
from napari_defectstrain.io.files import write_table
from napari_defectstrain.materials import Material, get_material
from napari_defectstrain.output.figures.detection import curves_figure
from napari_defectstrain.simulate.dataset import SimulationConfig
from napari_defectstrain.simulate.samples import paper_like

FIELD_PM = 512 * 20.74
RANGES = {
    "dose_e_per_nm2": np.geomspace(PAPER_DOSE / 32, PAPER_DOSE * 2, 7),
    "contamination": np.linspace(0.0, 1.5, 7),
    "pixel_size_pm": np.linspace(10.0, 58.0, 7),
    "defocus_nm": np.linspace(0.0, 12.0, 7),
}
BASE_SEED = 4242


def varied_config(parameter: str, value: float, repeat: int) -> SimulationConfig:
    """An image of the paper's kind with one parameter set; only the repeat changes the rest."""
    rng = np.random.default_rng([BASE_SEED, repeat])
    base = paper_like(rng, float(rng.uniform(0, 360)))
    crystal = replace(base.crystal, fractions=(0.06, 0.05, 0.06, 0.02))
    scan, probe = replace(base.scan, contamination=0.1), base.probe
    if parameter == "dose_e_per_nm2":
        scan = replace(scan, dose_e_per_nm2=float(value))
    elif parameter == "contamination":
        scan = replace(scan, contamination=float(value))
    elif parameter == "pixel_size_pm":
        # the same dose and the same jitter in pm: only the sampling changes
        jitter = scan.jitter_px * scan.pixel_size_pm / value
        scan = replace(scan, pixel_size_pm=float(value), jitter_px=float(jitter))
    else:
        probe = replace(probe, c1_pm=float(value) * 1e3)
    side = round(FIELD_PM / scan.pixel_size_pm)
    scan = replace(scan, shape=(side, side))
    return replace(base, crystal=crystal, scan=scan, probe=probe)


def measure(
    parameter: str, value: float, repeat: int, config: DetectConfig, with_oracle: bool
) -> list[dict[str, object]]:
    """One row a judge; an image in which no lattice is found has found nothing."""
    material = get_material(config.material)
    rng = np.random.default_rng([BASE_SEED, repeat, 1])
    case = simulated_case(varied_config(parameter, value, repeat), rng, parameter)
    tally = Tally()
    evaluate_case(case, config, material, with_oracle, tally)
    judged = {"detection": tally.found, "oracle": tally.oracle}
    where = {"parameter": parameter, "value": float(value), "repeat": repeat}
    return [
        {**where, "judge": judge, "counts": json.dumps(made[0].counts.tolist())}
        for judge, made in judged.items()
        if made
    ]


def curves(rows: pd.DataFrame, material: Material) -> pd.DataFrame:
    """F1 with errors of every parameter, value and judge."""
    tables = []
    for (parameter, judge), part in rows.groupby(["parameter", "judge"], sort=False):
        counts = [np.array(json.loads(text)) for text in part["counts"]]
        points = curve(part["value"].to_numpy(), counts, groups=len(part))
        points.insert(0, "judge", judge)
        points.insert(0, "parameter", parameter)
        tables.append(points)
    return named_curves(pd.concat(tables, ignore_index=True), material)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, required=True)
    add("--repeats", type=int, default=2, help="images a point")
    add("--parameters", nargs="+", choices=list(RANGES), default=list(RANGES))
    add("--oracle", action="store_true")
    add("--draw", action="store_true", help="draw what is there")
    add("--weights")
    add("--device", default="cpu")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out / "curves.csv"
    rows = pd.read_csv(log) if log.is_file() else pd.DataFrame()
    config = DetectConfig(weights=options.weights, device=options.device)
    tasks = [
        (parameter, float(value), repeat)
        for repeat in range(options.repeats)
        for parameter in options.parameters
        for value in RANGES[parameter]
    ]
    for parameter, value, repeat in () if options.draw else tasks:
        if (
            len(rows)
            and (
                (rows["parameter"] == parameter)
                & np.isclose(rows["value"], value)
                & (rows["repeat"] == repeat)
            ).any()
        ):
            continue
        new = pd.DataFrame(measure(parameter, value, repeat, config, options.oracle))
        rows = pd.concat([rows, new], ignore_index=True)
        write_table(log, rows)
    material = get_material(config.material)
    table = curves(rows, material)
    write_table(options.out / "f1.csv", table)
    curves_figure(table, material).savefig(options.out / "curves.png", dpi=150)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
