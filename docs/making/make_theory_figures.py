"""Make docs/images/theory_*.png: strain beside its theories, as in the paper's Fig. 4, 5 and S6.

Nine simulated regions of the paper's kind whose defects carry the bundled relaxed structures, with
their true columns, averaged and measured:  ``python docs/making/make_theory_figures.py`` (minutes).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from napari_defectstrain.materials import WSE2
from napari_defectstrain.output.figures.files import save_figure
from napari_defectstrain.output.figures.profiles import smoothing_figure
from napari_defectstrain.output.figures.strain import (
    comparison_figure,
    displacement_figure,
    triangles_figure,
)
from napari_defectstrain.output.figures.theory import shells_figure
from napari_defectstrain.pipeline.chain import average_classes, measure_classes
from napari_defectstrain.pipeline.comparison import (
    DIFFERENCE,
    ELASTIC,
    MEASURED,
    Comparison,
    compare_class,
)
from napari_defectstrain.pipeline.runs import ClassMeasurement, RunConfig
from napari_defectstrain.precision.bootstrap import bootstrap_displacements
from napari_defectstrain.simulate.dataset import simulate_image
from napari_defectstrain.simulate.samples import paper_like
from napari_defectstrain.strain.bands import smoothing_scan
from napari_defectstrain.strain.displacement import displacement_samples, error_ellipses
from napari_defectstrain.strain.lines import line_profile
from napari_defectstrain.strain.triangles import triangle_strain
from napari_defectstrain.theory.reference import BUNDLED, bundled_reference
from napari_defectstrain.types import STRAIN_COMPONENTS

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from bench_pulls import true_sites  # noqa: E402

IMAGES = Path(__file__).parents[1] / "images"
FRACTIONS = (0.04, 0.03, 0.04, 0.012)
"""Fewer defects than in the paper's alloy, and more DV, so that each class has windows enough."""
SEED, REGIONS, SAMPLES = 20, 9, 1000


def measured_regions() -> dict[str, ClassMeasurement]:
    """Simulate and measure."""
    rng = np.random.default_rng(SEED)
    config = RunConfig(bootstrap=2000)
    images, sites = [], []
    for number in range(REGIONS):
        settings = paper_like(rng, 51.0 if number % 2 else 8.0)
        crystal = settings.crystal.replace(fractions=FRACTIONS, relaxed=tuple(BUNDLED.values()))
        simulated = simulate_image(settings.replace(crystal=crystal), rng, f"region_{number}")
        images.append(simulated.image)
        sites.append(true_sites(simulated, rng))
    return measure_classes(average_classes(images, sites, config), config)


def write(figure: Figure, name: str) -> None:
    """Save one picture."""
    save_figure(figure, IMAGES / f"theory_{name}.png")


def main() -> None:
    """Make all pictures, and print what the models are said to be worth."""
    measured = measured_regions()
    defect_free = WSE2.class_names[1]
    compared: dict[str, Comparison] = {
        name: compare_class(measured, name, defect_free, reference=bundled_reference(name))
        for name in WSE2.defect_names
    }
    fields = {name: c.displacement[MEASURED] for name, c in compared.items()}
    write(
        displacement_figure(
            {name: measured[name].average for name in compared},
            fields,
            {name: c.strain[MEASURED] for name, c in compared.items()},
            {name: c.strain[ELASTIC] for name, c in compared.items()},
            {name: error_ellipses(field) for name, field in fields.items()},
            reach_nm=0.9,
        ),
        "fig4",
    )
    vacancy, base = measured["SV"].columns, measured[defect_free].columns
    assert vacancy is not None
    assert base is not None
    own = compared["SV"]
    drawn = bootstrap_displacements(vacancy, base, SAMPLES, np.random.default_rng(SEED))
    profile = line_profile(
        own.displacement[MEASURED],
        samples_pm=displacement_samples(own.displacement[MEASURED], drawn),
        models={name: f for name, f in own.displacement.items() if name != MEASURED},
        windows=own.windows,
    )
    maps = {name: strain for name, strain in own.strain.items() if name != DIFFERENCE}
    write(comparison_figure(maps, fields["SV"], profile=profile, material=WSE2), "fig5")
    write(comparison_figure(own.strain, fields["SV"], STRAIN_COMPONENTS), "figS6")
    write(triangles_figure(triangle_strain(fields["SV"]), own.strain[MEASURED]), "triangles")
    write(shells_figure(compared), "shells")
    lengths = np.arange(0.0, 181.0, 20.0)
    write(smoothing_figure(smoothing_scan(fields["SV"], lengths), STRAIN_COMPONENTS), "smoothing")
    for name, c in compared.items():
        fit, amplitude = c.inclusion, c.amplitude
        assert amplitude is not None
        print(
            f"{name}: N {measured[name].average.n}, A R^2 {fit.strength_pm2:.0f} ± "
            f"{fit.strength_sigma_pm2:.0f} pm^2, Eshelby p {fit.agreement.p_value:.2g}; reference "
            f"p {amplitude.full.p_value:.2g}, s {amplitude.s:.3f} ± {amplitude.sigma:.3f}"
        )


if __name__ == "__main__":
    main()
