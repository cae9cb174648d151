"""What single Gaussians make of the relaxed structures, and what this package makes of them.

python examples/open_question.py [--source-fwhm-pm 105]

The relaxed structures of the samples change the spacing of the three metals nearest to a defect by
two to three times what Lee et al. measured (doi:10.1021/acs.nanolett.0c00269). How much of that is
the measurement? Their noise-free images with the paper's probe are averaged as a stack would be,
pure or with wrong members, and fitted: by single Gaussians as in the paper, and by this package.
Prints a Markdown table; runs for a minute.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import numpy as np

from napari_defectstrain.columns import ColumnConfig, fit_columns
from napari_defectstrain.crystal import ideal_sites
from napari_defectstrain.materials import ROLES, WSE2
from napari_defectstrain.precision import nearest_metal_spacings
from napari_defectstrain.simulate import (
    WSE2_WEIGHTS,
    ProbeConfig,
    column_height,
    relative_weight,
    render_columns,
)
from napari_defectstrain.theory import bundled_reference
from napari_defectstrain.types import ClassAverage, FloatArray

A_PM, STEP_PM, SIZE = WSE2.lattice_pm, 20.0, 131
DEFECT_FREE = WSE2.class_names[1]
PAPER = {"SeTe": "+0.6 ± 0.2", "2Te": "+1.2 ± 0.2", "SV": "-4.8 ± 0.1", "DV": "-8 ± 1"}
WRONG, PASSIVATED = 0.05, 0.30
FITS = {
    "Gaussians, 0.8 Å": ColumnConfig(model="gaussian", single_radius_pm=80.0),
    "Gaussians, 1.0 Å": ColumnConfig(model="gaussian", single_radius_pm=100.0),
    "this package": ColumnConfig(),
}


def window(class_name: str, probe: ProbeConfig, oxygen: int = 0) -> FloatArray:
    """Noise-free window around one defect `(SIZE, SIZE)`, height of a metal column 1.

    With `oxygen` atoms in the place of the missing Se the lattice is taken as not relaxed.
    """
    site, is_metal = ideal_sites(A_PM, SIZE * STEP_PM)
    weight = np.where(is_metal, WSE2_WEIGHTS[0], WSE2_WEIGHTS[1])
    weight[0] = WSE2_WEIGHTS[WSE2.class_names.index(class_name)]
    weight[0] += oxygen * relative_weight("O", "W", probe.energy_kev)
    if class_name != DEFECT_FREE and not oxygen:
        columns = bundled_reference(class_name).columns
        site = site + np.nan_to_num(columns.at(site, A_PM))
    middle = SIZE // 2
    place = np.stack([middle - site[:, 1] / STEP_PM, middle + site[:, 0] / STEP_PM], axis=1)
    matrix = STEP_PM * np.eye(2)
    image = render_columns(place, weight, (SIZE, SIZE), matrix, probe)
    return image / column_height(matrix, probe)


def stacks(probe: ProbeConfig) -> dict[str, dict[str, FloatArray]]:
    """Class averages by how pure they are: pure, with defect-free members, with passivated ones."""
    perfect = window(DEFECT_FREE, probe)
    pure = {name: window(name, probe) for name in WSE2.defect_names}
    missing = {"V1": 1, "V2": 2}
    found = {
        "pure": {DEFECT_FREE: perfect, **pure},
        "wrong": {
            DEFECT_FREE: perfect,
            **{n: (1.0 - WRONG) * image + WRONG * perfect for n, image in pure.items()},
        },
        "passivated": {DEFECT_FREE: perfect},
    }
    for name, image in pure.items():
        atoms = missing.get(ROLES[WSE2.class_names.index(name)])
        if atoms:
            filled = window(name, probe, atoms)
            found["passivated"][name] = (1.0 - PASSIVATED) * image + PASSIVATED * filled
    return found


def strains(images: Mapping[str, FloatArray], config: ColumnConfig) -> dict[str, float]:
    """Change of the metals' spacing against the defect-free average [%]."""
    averages = {
        name: ClassAverage(name, image, np.zeros_like(image), 400, 0, STEP_PM, A_PM, 1.0)
        for name, image in images.items()
    }
    spacing = {}
    for name, model in fit_columns(averages, config).items():
        fits = model.fits
        spacing[name] = nearest_metal_spacings(fits.position_pm, fits.site_pm, fits.is_metal).mean()
    base = spacing.pop(DEFECT_FREE)
    return {name: 100.0 * (value / base - 1.0) for name, value in spacing.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source-fwhm-pm", type=float, default=105.0)
    probe = ProbeConfig(source_fwhm_pm=parser.parse_args().source_fwhm_pm)
    made = stacks(probe)
    columns = ["built in"]
    table = {n: [100.0 * bundled_reference(n).columns.spacing_change] for n in WSE2.defect_names}
    labels = {
        "pure": "",
        "wrong": f", {100 * WRONG:.0f} % defect-free",
        "passivated": f", {100 * PASSIVATED:.0f} % passivated",
    }
    for purity, images in made.items():
        for fit, config in FITS.items():
            columns.append(fit + labels[purity])
            found = strains(images, config)
            for name, row in table.items():
                row.append(found.get(name, np.nan))
    print("| W-W spacing, % | " + " | ".join(table) + " |")
    print("| --- |" + " --- |" * len(table))
    for i, label in enumerate(columns):
        cells = [f"{row[i]:+.2f}" if np.isfinite(row[i]) else "" for row in table.values()]
        print(f"| {label} | " + " | ".join(cells) + " |")
    print("| measured in the paper | " + " | ".join(PAPER[n] for n in table) + " |")


if __name__ == "__main__":
    main()
