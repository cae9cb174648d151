"""Relaxed structures and elastic fields built into simulated images, and found again.

``python benchmarks/bench_reference.py [--images 9] [--seeds 3] [--field reference|eshelby]``
simulates data sets of the paper's kind whose SV carry the bundled relaxed structure (or an
Eshelby field of -4.8 %), averages and measures them with their true columns, and prints: how the
strain at the W and Se columns agrees with what was built in, the ring of positive dilation and the
asymmetry of eyy along y, and what is said of the two models.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from bench_pulls import true_sites

from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline.chain import average_classes, measure_classes
from napari_defectstrain.pipeline.comparison import (
    ATOMISTIC,
    ELASTIC,
    MEASURED,
    Comparison,
    compare_class,
)
from napari_defectstrain.pipeline.runs import RunConfig
from napari_defectstrain.simulate.dataset import simulate_image
from napari_defectstrain.simulate.relaxing import relaxation
from napari_defectstrain.simulate.samples import paper_like
from napari_defectstrain.strain.displacement import like_measured, predicted_field
from napari_defectstrain.strain.field import StrainConfig, strain_field
from napari_defectstrain.theory.reference import BUNDLED, bundled_reference, reference_field
from napari_defectstrain.types import DisplacementField, FloatArray, StrainField

CLASS, DEFECT_FREE = "SV", WSE2.class_names[1]
ESHELBY_CHANGE = -0.048
SHOWN = ("exx", "eyy", "exy", "rotation", "dilation")


def compare(n_images: int, seed: int, kind: str, config: RunConfig) -> Comparison:
    """One data set simulated, measured and compared."""
    rng = np.random.default_rng([seed, n_images, kind == "reference"])
    images, sites = [], []
    for k in range(n_images):
        settings = paper_like(rng, 51.0 if k % 2 else 8.0)
        if kind == "reference":
            relaxed = ("", "", BUNDLED["V1"], "")
            settings = settings.replace(crystal=settings.crystal.replace(relaxed=relaxed))
        simulated = simulate_image(settings, rng, f"region_{k}")
        images.append(simulated.image)
        sites.append(true_sites(simulated, rng))
    measured = measure_classes(average_classes(images, sites, config), config)
    return compare_class(
        measured, CLASS, DEFECT_FREE, config.strain, bundled_reference(CLASS), "direct"
    )


def truth(comparison: Comparison, kind: str, a_pm: float) -> DisplacementField:
    """What was built in, at the measured columns."""
    measured = comparison.displacement[MEASURED]
    if kind == "reference":
        return reference_field(bundled_reference(CLASS), measured, a_pm)
    u = relaxation(measured.site_pm, ESHELBY_CHANGE, a_pm)
    plain = predicted_field(CLASS, measured.site_pm, measured.is_metal, u)
    return like_measured(plain, measured)


def at_columns(strain: StrainField, maps: FloatArray, site_pm: FloatArray) -> FloatArray:
    """Values of a map at the grid points nearest to columns."""
    step = strain.x_pm[1] - strain.x_pm[0]
    column = np.rint((site_pm[:, 0] - strain.x_pm[0]) / step).astype(int)
    row = np.rint((strain.y_pm[0] - site_pm[:, 1]) / step).astype(int)
    return np.asarray(maps[row, column])


def ring_and_asymmetry(strain: StrainField) -> tuple[float, float, float, float]:
    """Largest dilation between 0.8 and 2 a from the centre; eyy above less below the centre."""
    x, y = np.meshgrid(strain.x_pm, strain.y_pm)
    radius = np.hypot(x, y)
    ring = np.where((radius > 260) & (radius < 660), strain.components["dilation"], -np.inf)
    peak = np.unravel_index(np.nanargmax(ring), ring.shape)
    sigma = float(strain.sigma["dilation"][peak])
    line = np.argmin(np.abs(strain.x_pm))
    top = np.argmin(np.abs(strain.y_pm - 330.0))
    bottom = np.argmin(np.abs(strain.y_pm + 330.0))
    eyy, error = strain.components["eyy"][:, line], strain.sigma["eyy"][:, line]
    return (
        float(ring[peak]),
        sigma,
        float(eyy[top] - eyy[bottom]),
        float(np.hypot(error[top], error[bottom])),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=9)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--field", choices=("reference", "eshelby"), default="reference")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    config = RunConfig(bootstrap=2000, strain=StrainConfig(radius_pm=1000.0))
    pulls: dict[str, list[FloatArray]] = {name: [] for name in SHOWN}
    for seed in range(options.seeds):
        found = compare(options.images, seed, options.field, config)
        field = found.displacement[MEASURED]
        a_pm = float(np.hypot(*field.site_pm[np.argsort(np.hypot(*field.site_pm.T))[4]]))
        built_in = truth(found, options.field, a_pm)
        expected = strain_field(built_in, config.strain)
        measured = found.strain[MEASURED]
        near = np.hypot(*field.site_pm.T) < 950.0
        for name in SHOWN:
            got = at_columns(measured, measured.components[name], field.site_pm[near])
            want = at_columns(expected, expected.components[name], field.site_pm[near])
            sigma = at_columns(measured, measured.sigma[name], field.site_pm[near])
            pulls[name].append((got - want) / sigma)
        amplitude, fit = found.amplitude, found.inclusion
        assert amplitude is not None
        full = amplitude.full
        print(f"data set {seed}: effective windows {found.windows:.0f}")
        print(
            f"  Eshelby: chi2/dof {fit.agreement.reduced:.2f}, p {fit.agreement.p_value:.2g}, "
            f"A R^2 {fit.strength_pm2:.0f} ± {fit.strength_sigma_pm2:.0f} pm^2; residual of "
            f"threefold symmetry p {found.symmetry.symmetric.p_value:.2g}, "
            f"rest p {found.symmetry.rest.p_value:.2g}"
        )
        print(
            f"  {ATOMISTIC}: chi2/dof {full.reduced:.2f}, p {full.p_value:.2g}; "
            f"s {amplitude.s:.3f} ± {amplitude.sigma:.3f}, p {amplitude.scaled.p_value:.2g}"
        )
        for label, strain in (
            ("measured", measured),
            ("built in", expected),
            (ELASTIC, found.strain[ELASTIC]),
        ):
            ring, ring_sigma, up_down, up_down_sigma = ring_and_asymmetry(strain)
            print(
                f"  {label:<9} ring of dilation {100 * ring:+.2f} ± {100 * ring_sigma:.2f} %, eyy "
                f"1 a above less below {100 * up_down:+.2f} ± {100 * up_down_sigma:.2f} %"
            )
    print(
        "pulls at the W and Se columns: "
        + ", ".join(
            f"{name} {np.mean(np.concatenate(v)):+.2f} ± {np.std(np.concatenate(v)):.2f}"
            for name, v in pulls.items()
        )
    )


if __name__ == "__main__":
    main()
