"""Numbers for elastic theory from fields whose numbers are known, and which theory explains what.

``python benchmarks/bench_theory.py fields [--seeds 200] [--first 1000]`` draws windows with
correlated errors around known fields, averages them, and fits: pulls of A by the far field and by
lattice statics, how often the 95 % interval holds it, how often the null test of anisotropy is
below 5 %; then chi squared and information criteria of the theories of the bundled structures.

``python benchmarks/bench_theory.py images [--images 9] [--seeds 2] [--field reference|eshelby]``
builds the bundled SV, or an inclusion of -4.8 %, into images of the paper's dose, and runs the
whole chain on their true columns.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from bench_reference import CLASS, ESHELBY_CHANGE, compare

from napari_defectstrain.crystal.honeycomb import ideal_sites
from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline.comparison import MEASURED
from napari_defectstrain.pipeline.runs import RunConfig
from napari_defectstrain.strain.field import StrainConfig
from napari_defectstrain.theory.defect_numbers import DefectNumbers, defect_numbers
from napari_defectstrain.theory.elastic_constants import TheoryConfig
from napari_defectstrain.theory.elasticity import inclusion_displacement
from napari_defectstrain.theory.kanzaki import CELLS, force_patterns
from napari_defectstrain.theory.lattice_statics import lattice_model
from napari_defectstrain.theory.reference import bundled_reference
from napari_defectstrain.types import DisplacementField, FloatArray

A_PM, REACH_PM, STRENGTH_PM2 = 330.0, 1250.0, -1700.0
SIGMA_PM = 0.3
"""Error of a metal column; chalcogens' are half as large again."""
SUPERCELL = 9
SITE, IS_METAL = ideal_sites(A_PM, REACH_PM)
N = 2 * len(SITE)


def lattice_field() -> FloatArray:
    """Of forces on the three nearest metals in an endless harmonic lattice."""
    elastic = TheoryConfig().elastic(WSE2)
    model = lattice_model(WSE2, elastic, A_PM)
    place, on_metal, force, _ = force_patterns(A_PM)
    u = model.response(SITE, IS_METAL, place, on_metal, force[:1], CELLS)[0]
    strength = np.sum(force[0] * place) / (4 * np.pi * model.elastic.c11)
    u = u + np.pi * strength / (CELLS**2 * model.cell_area_pm2) * SITE
    return np.asarray(u * STRENGTH_PM2 / strength)


def average(u_pm: FloatArray, windows: int, rng: np.random.Generator) -> DisplacementField:
    """The field by so many windows, with the covariance that they show."""
    size = np.repeat(np.where(IS_METAL, 1.0, 1.5), 2)[:, None]
    mixing = np.random.default_rng(1).normal(0.0, 0.5, (N, N)) / np.sqrt(N)
    root = SIGMA_PM * np.sqrt(windows) * size * (np.eye(N) + mixing)
    drawn = rng.normal(size=(windows, N)) @ root.T
    noisy = u_pm + drawn.mean(axis=0).reshape(-1, 2)
    return DisplacementField(CLASS, SITE, IS_METAL, noisy, np.cov(drawn.T) / windows)


def fields(seeds: int, first: int) -> None:
    """Pulls and coverage."""
    print(f"A = {STRENGTH_PM2:g} pm^2 built in, errors of {SIGMA_PM} pm a metal, {seeds} seeds")
    built_in = {
        "inclusion": inclusion_displacement(SITE, STRENGTH_PM2, 190.0),
        "lattice": lattice_field(),
    }
    for name, u in built_in.items():
        for windows in (8, 18, 60, 300):
            rng = np.random.default_rng([first, windows])
            found = [
                defect_numbers(average(u, windows, rng), WSE2, windows - 1.0) for _ in range(seeds)
            ]
            print(f"  {name:<9} {windows:3d} windows: {_pulls(found)}")
    for name in ("SV", "DV", "SeTe", "2Te"):
        u = bundled_reference(name).columns.at(SITE, A_PM)
        field = average(np.nan_to_num(u), 300, np.random.default_rng([first, 1]))
        gone = np.isnan(u)
        field = DisplacementField(
            name, SITE, IS_METAL, np.where(gone, np.nan, field.u_pm), field.covariance_pm2
        )
        print(f"  bundled {name}, 300 windows, in its own cell")
        _say(defect_numbers(field, WSE2, 299.0, cells=SUPERCELL))


def _pulls(found: list[DefectNumbers]) -> str:
    far = [one.far for one in found if one.far is not None]
    pulls = np.array([(f.strength_pm2 - STRENGTH_PM2) / f.sigma_pm2 for f in far])
    inside = np.abs(pulls) < np.array([f.quantile for f in far])
    anisotropy = np.array([f.anisotropy_p for f in far]) < 0.05
    strength = np.array([one.kanzaki.strength for one in found if one.kanzaki is not None])
    lattice = (strength[:, 0] - STRENGTH_PM2) / strength[:, 1]
    better = np.mean([one.gain > 0 for one in found])
    sigma = np.median([f.sigma_pm2 for f in far])
    return (
        f"far field {np.mean(pulls):+.2f} ± {np.std(pulls):.2f} (error {sigma:.0f} pm^2), 95 % "
        f"holds {100 * inside.mean():.1f} %, anisotropy p < .05 {100 * anisotropy.mean():.1f} %; "
        f"lattice statics {np.mean(lattice):+.2f} ± {np.std(lattice):.2f} "
        f"(error {np.median(strength[:, 1]):.0f}), preferred {100 * better:.0f} %"
    )


def _say(numbers: DefectNumbers) -> None:
    if numbers.far is not None:
        far = numbers.far
        print(f"    far field A {far.strength_pm2:.0f} ± {far.sigma_pm2:.0f} pm^2")
        print(f"    {numbers.line}")
    for one in numbers.models:
        found = one.agreement
        print(
            f"    {one.name:<15} k {one.n_parameters} chi2 {found.chi2:8.1f} / {found.dof:.0f} "
            f"p {found.p_value:.2g} AIC {one.aic:.1f} BIC {one.bic:.1f} "
            f"A {one.strength_pm2:.0f} ± {one.strength_sigma_pm2:.0f}"
        )


def images(n_images: int, seeds: int, first: int, kind: str) -> None:
    """The whole chain."""
    config = RunConfig(bootstrap=500, strain=StrainConfig(radius_pm=1000.0))
    for seed in range(first, first + seeds):
        found = compare(n_images, seed, kind, config)
        windows = found.windows
        print(f"{kind}, data set {seed}: effective windows {windows:.0f}")
        if kind == "eshelby":
            print(f"  built in: A {ESHELBY_CHANGE * A_PM**2 / 3:.0f} pm^2")
            _say(found.numbers)
            continue
        for cells, where in ((None, "as if in an endless sheet"), (SUPERCELL, "in its own cell")):
            print(f"  {where}")
            reference = found.displacement["reference"]
            measured = found.displacement[MEASURED]
            _say(defect_numbers(measured, WSE2, windows, reference, cells=cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("fields", "images"))
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--first", type=int)
    parser.add_argument("--images", type=int, default=9)
    parser.add_argument("--field", choices=("reference", "eshelby"), default="reference")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    if options.what == "fields":
        fields(options.seeds or 200, 1000 if options.first is None else options.first)
    else:
        images(options.images, options.seeds or 2, options.first or 0, options.field)


if __name__ == "__main__":
    main()
