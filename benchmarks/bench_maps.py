"""From stacks of the paper's size to all strain maps with 1000 bootstrap maps, timed.

``OMP_NUM_THREADS=2 python benchmarks/bench_maps.py``: five classes, 1523 windows of 131 x 131 px.
"""

from __future__ import annotations

import time

import numpy as np
from bench_accuracy import exact, stack

from napari_defectstrain.averages.average import average_stack
from napari_defectstrain.columns.averages.measure import ColumnConfig, measure_columns
from napari_defectstrain.precision.bootstrap import bootstrap_displacements
from napari_defectstrain.strain.bands import strain_samples
from napari_defectstrain.strain.displacement import displacement_field, displacement_samples
from napari_defectstrain.strain.field import strain_field
from napari_defectstrain.theory.elasticity import fit_inclusion

SAMPLES = 1000
REFERENCE = "2Se"


def main() -> None:
    rng = np.random.default_rng(0)
    stacks = {}
    for name in exact.STRAINS:
        image = exact.average_image(name)
        shape = (exact.N_WINDOWS[name], *image.shape)
        stacks[name] = stack(name, image + rng.normal(0.0, 0.1, shape))
    clock = [("", time.perf_counter())]

    def lap(label: str) -> None:
        clock.append((label, time.perf_counter()))

    averages = {name: average_stack(s) for name, s in stacks.items()}
    lap("averages")
    measured = measure_columns(stacks, averages, ColumnConfig(compare=False))
    lap("column fits with covariance")
    fields = {
        name: displacement_field(m.fits, measured[REFERENCE].fits)
        for name, m in measured.items()
        if name != REFERENCE
    }
    for field in fields.values():
        strain_field(field)
    lap("strain maps with exact errors")
    for name, field in fields.items():
        drawn = bootstrap_displacements(measured[name], measured[REFERENCE], SAMPLES, rng)
        strain_samples(field, displacement_samples(field, drawn))
    lap(f"{SAMPLES} bootstrap maps of each")
    for field in fields.values():
        fit_inclusion(field)
    lap("elastic fits")
    for (_, before), (label, after) in zip(clock[:-1], clock[1:], strict=True):
        print(f"{label:<32}{after - before:6.1f} s")
    print(f"{'together':<32}{clock[-1][1] - clock[0][1]:6.1f} s")


if __name__ == "__main__":
    main()
