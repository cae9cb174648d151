"""The column fits on multislice images of a relaxed structure: an hour's waves, known columns.

``python benchmarks/bench_multislice.py [--defect SV] [--size 131]`` in an environment with abTEM:
images the bundled structure and the pristine one by multislice with a probe of the paper's width,
fits both without noise, and prints how far the displacements are from the structure's own.
"""

from __future__ import annotations

import argparse

import numpy as np
from tqdm import tqdm

from napari_defectstrain.columns.averages.measure import ColumnConfig, fit_columns
from napari_defectstrain.columns.profiles import spline_profile
from napari_defectstrain.materials import WSE2
from napari_defectstrain.precision.spacings import mean_spacing
from napari_defectstrain.strain.displacement import displacement_field
from napari_defectstrain.theory.multislice import multislice_average
from napari_defectstrain.theory.reference import (
    BUNDLED_PRISTINE,
    bundled_path,
    bundled_reference,
    reference_field,
)
from napari_defectstrain.types import ClassAverage

STEP_PM, A_PM, WIDTH_PM = 20.0, WSE2.lattice_pm, 48.0
LIMIT_PER_PM = 0.012
NEAR_PM = 900.0
FITS = {
    "single Gaussians, 80 pm": ColumnConfig(model="gaussian"),
    "single Gaussians, 100 pm": ColumnConfig(model="gaussian", single_radius_pm=100.0),
    "Gaussians together": ColumnConfig(model="gaussians"),
    "learnt profile": ColumnConfig(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--defect", choices=WSE2.defect_names, default="SV")
    parser.add_argument("--size", type=int, default=131)
    options = parser.parse_args()
    reference, perfect = bundled_reference(options.defect), WSE2.class_names[1]
    profile = spline_profile(WIDTH_PM, 10, 0.7, LIMIT_PER_PM)
    blank = np.zeros((options.size, options.size))
    images = {}
    for name, file_name in ((perfect, BUNDLED_PRISTINE), (options.defect, reference.name)):
        average = ClassAverage(name, blank, blank, 400, 0, STEP_PM, A_PM, 1.0)
        with tqdm(total=1.0, desc=name) as bar:
            images[name] = multislice_average(
                bundled_path(file_name),
                reference.columns,
                average,
                profile,
                progress=lambda done, _, bar=bar: bar.update(done - bar.n),
            )
    print("| fit | W, pm rms | chalcogen, pm rms | strain of the W triangle less true, % |")
    print("| --- | --- | --- | --- |")
    for label, config in FITS.items():
        fits = {name: model.fits for name, model in fit_columns(images, config).items()}
        found = displacement_field(fits[options.defect], fits[perfect])
        true = reference_field(reference, found, A_PM)
        near = np.hypot(*found.site_pm.T) < NEAR_PM
        error = found.u_pm - true.u_pm
        metal, other = (
            np.sqrt(np.nanmean(error[near & (found.is_metal == kind)] ** 2))
            for kind in (True, False)
        )
        spacing = [mean_spacing(fits[n]) for n in (options.defect, perfect)]
        strain = spacing[0] / spacing[1] - 1.0 - reference.columns.spacing_change
        print(f"| {label} | {metal:.3f} | {other:.3f} | {100 * strain:+.3f} |")


if __name__ == "__main__":
    main()
