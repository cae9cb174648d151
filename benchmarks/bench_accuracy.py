"""Accuracy of the column fits on class averages with known columns, their precision, their speed.

Prints the tables of docs/benchmarks.md. Probe from wave optics, atoms placed exactly: the images
of tests/exact_images.py. Run: ``python benchmarks/bench_accuracy.py`` for noise-free averages,

* ``--profiles FILE --row NAME``: also with radial probes of another source, an ``.npz`` file with
  ``radius_A`` and rows NAME of integral 1 per A^2 (see benchmarks/other_simulator.py);
* ``--held``: with the standard errors of counts beside the noise-free means, so that the priors of
  the profile act as they do on data (without, the asymmetric profile has nothing to hold it);
* ``--bound SEEDS``: scatter of fits of Poisson counts over the Cramér-Rao bound;
* ``--speed``: time the chain.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import j0

from napari_defectstrain.columns.averages.cramer_rao import average_bounds
from napari_defectstrain.columns.averages.measure import ColumnConfig, fit_columns, measure_columns
from napari_defectstrain.columns.noise import counting_noise
from napari_defectstrain.precision.summary import nearest_metal_spacings, spacing_results
from napari_defectstrain.strain.displacement import displacement_field
from napari_defectstrain.strain.field import strain_field
from napari_defectstrain.types import ClassAverage, ClassStack, ColumnFits

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import exact_images as exact  # noqa: E402

Array = npt.NDArray[np.float64]

OPTICS: dict[str, dict[str, float]] = {
    "paper's probe": {},
    "C3 = 500 nm, C5 = -0.5 mm": {"c3_nm": 500.0, "c5_mm": -0.5},
    "source 80 pm": {"source_fwhm_pm": 80.0},
    "4 nm out of focus": {"defocus_pm": 4000.0},
    "astigmatism 1 nm": {"astigmatism_pm": 1000.0},
    "astigmatism 3 nm": {"astigmatism_pm": 3000.0},
    "coma 30 nm": {"coma_nm": 30.0},
    "coma 100 nm": {"coma_nm": 100.0},
    "jitter of 30 pm along 25 degrees": {"jitter_pm": 30.0, "jitter_deg": 25.0},
}
TABLE_S1 = {
    "c3_nm": (0.0, 500.0),
    "c5_mm": (0.0, 0.5),
    "source_fwhm_pm": (105.0, 10.0),
    "defocus_spread_pm": (2000.0, 1000.0),
    "defocus_pm": (0.0, 2000.0),
}
"""Mean and standard deviation of the paper's Table S1; the defocus is added here."""
COUNTS = 60.0
"""Counts in the pixel on a metal column in a single window, about those of the paper."""


def drawn_optics(rng: np.random.Generator) -> dict[str, float]:
    """Aberrations of one image, from Table S1."""
    optics = {name: float(rng.normal(*how)) for name, how in TABLE_S1.items()}
    optics["defocus_spread_pm"] = abs(optics["defocus_spread_pm"])
    return optics


def radial_transfer(radius_pm: Array, profile: Array) -> Array:
    """Transfer function of a radial profile on the field of `exact_images`."""
    ky, kx = exact.frequencies()
    k = np.hypot(ky, kx)
    table = np.linspace(0.0, k.max(), 1500)
    ring = profile * radius_pm
    hankel = np.trapezoid(ring * j0(2.0 * np.pi * table[:, None] * radius_pm), radius_pm, axis=1)
    return np.interp(k, table, hankel / hankel[0])


def centred(otf: Array) -> Array:
    """The same probe, metal columns of a perfect crystal on their sites, as registration has it.

    Coma moves the whole image; the columns outside a window are taken to lie on their sites.
    """
    if not np.iscomplexobj(otf):
        return otf
    fits = fit_columns({"2Se": averages(otf)["2Se"]})["2Se"].fits
    shift = np.mean((fits.position_pm - fits.site_pm)[fits.is_metal], axis=0)
    ky, kx = exact.frequencies()
    return np.asarray(otf * np.exp(2j * np.pi * (kx * shift[0] + ky * shift[1])))


def averages(otf: Array, held: bool = False) -> dict[str, ClassAverage]:
    made = {}
    for name in exact.STRAINS:
        _, position, weight, _ = exact.structure(name)
        image = exact.render(position, weight, otf)
        # the standard error of counts, without the counts, brings the profile's priors in
        sem = np.sqrt(image.clip(0.02) / (COUNTS * exact.N_WINDOWS[name])) if held else 0.0
        made[name] = average(name, image, sem)
    return made


def average(name: str, image: Array, sem: Array | float = 0.0) -> ClassAverage:
    return ClassAverage(
        name,
        image,
        np.broadcast_to(sem, image.shape),
        exact.N_WINDOWS[name],
        0,
        exact.STEP_PM,
        exact.A_PM,
        1.0,
    )


def stack(name: str, windows: Array) -> ClassStack:
    n, zeros = len(windows), np.zeros((len(windows), 2))
    index, included = np.arange(n), np.ones(n, bool)
    return ClassStack(
        name,
        windows,
        exact.STEP_PM,
        exact.A_PM,
        np.zeros(n, int),
        index,
        zeros,
        zeros,
        np.ones(n),
        included,
        np.full(n, ""),
    )


def position_errors(fits: ColumnFits, position_pm: Array) -> Array:
    """Found less true, `(M, 2)` [pm], without the shift of the whole that registration takes."""
    site, position, _, _ = exact.structure(fits.class_name)
    nearest = np.argmin(np.linalg.norm(site[None] - fits.site_pm[:, None], axis=2), axis=1)
    error = position_pm - position[nearest]
    return np.asarray(error - np.nanmean(error[fits.is_metal], axis=0))


def root_mean_square(values: list[Array]) -> float:
    return float(np.sqrt(np.nanmean(np.concatenate(values) ** 2)))


def models_of(images: dict[str, ClassAverage]) -> dict[str, dict[str, tuple[ColumnFits, Array]]]:
    """What each model finds in noise-free averages: for each class its columns and positions."""
    stacks = {name: stack(name, np.stack([a.mean] * 2)) for name, a in images.items()}
    measured = measure_columns(stacks, images)
    wide = fit_columns(images, ColumnConfig(model="gaussian", single_radius_pm=100.0))

    def rows(which: str, corrected: bool) -> dict[str, tuple[ColumnFits, Array]]:
        found = {}
        for name, m in measured.items():
            other = m.alternatives[which]
            found[name] = (m.fits, other.corrected_pm if corrected else other.position_pm)
        return found

    return {
        "gaussian, 100 pm": {n: (m.fits, m.fits.position_pm) for n, m in wide.items()},
        "gaussian, 80 pm": rows("gaussian", False),
        "gaussians": rows("gaussians", False),
        "gaussian, 80 pm, corrected": rows("gaussian", True),
        "gaussians, corrected": rows("gaussians", True),
        "profile": {n: (m.fits, m.fits.position_pm) for n, m in measured.items()},
        "profile, asymmetric": rows("asymmetric", False),
    }


def accuracy_table(label: str, transfers: list[Array], held: bool = False) -> None:
    """Root mean square errors over all classes; strains root mean square where several probes."""
    names = [n for n in exact.STRAINS if n != "2Se"]
    print(f"\n{label}\n")
    print("| model | metal, pm rms | chalcogen | displacement | " + " | ".join(names) + " |")
    print("| --- | --- | --- | --- | " + " | ".join("---" for _ in names) + " |")
    found = [models_of(averages(otf, held)) for otf in transfers]
    for model in found[0]:
        metal, chalcogen, displacement = [], [], []
        strains: dict[str, list[float]] = {name: [] for name in names}
        for one in found:
            of_reference = position_errors(*one[model]["2Se"])
            for name, (fits, position) in one[model].items():
                error = position_errors(fits, position)
                if name != "2Se":
                    displacement.append(error - of_reference)
                metal.append(error[fits.is_metal])
                chalcogen.append(error[~fits.is_metal])
            for name in names:
                strains[name].append(100 * strain_error(one[model], name))
        mean = {
            n: s[0] if len(s) == 1 else float(np.sqrt(np.mean(np.square(s))))
            for n, s in strains.items()
        }
        print(
            f"| {model} | {root_mean_square(metal):.3f} | {root_mean_square(chalcogen):.3f} | "
            f"{root_mean_square(displacement):.3f} | "
            + " | ".join(f"{mean[n]:+.3f}" if len(found) == 1 else f"{mean[n]:.3f}" for n in names)
            + " |"
        )


def strain_error(found: dict[str, tuple[ColumnFits, Array]], name: str) -> float:
    spacing = {}
    for key in (name, "2Se"):
        fits, position = found[key]
        spacing[key] = nearest_metal_spacings(position, fits.site_pm, fits.is_metal).mean()
    return float(spacing[name] / spacing["2Se"] - 1.0 - exact.STRAINS[name])


def bound(seeds: int) -> None:
    """Scatter of all columns over the Cramér-Rao bound: Poisson counts, no jitter."""
    rng = np.random.default_rng(1)
    images = {name: exact.average_image(name) for name in exact.STRAINS}
    clean = fit_columns({n: average(n, i) for n, i in images.items()})
    noise = counting_noise(COUNTS)
    known = average_bounds(clean, exact.N_WINDOWS, noise, learnt=False)
    learnt = average_bounds(clean, exact.N_WINDOWS, noise)
    positions: dict[str, list[Array]] = {name: [] for name in images}
    for _ in range(seeds):
        noisy = {}
        for name, image in images.items():
            n = exact.N_WINDOWS[name]
            variance = image / COUNTS * rng.chisquare(n - 1, image.shape) / (n - 1)
            mean = rng.poisson(image * COUNTS * n) / (COUNTS * n)
            noisy[name] = average(name, mean, np.sqrt(variance / n))
        for name, model in fit_columns(noisy).items():
            positions[name].append(model.fits.position_pm)
    print(f"\n{seeds} seeds, {COUNTS:g} counts on a metal column in a window\n")
    print("| class | N | bound, pm | scatter / bound, profile learnt | profile known |")
    print("| --- | --- | --- | --- | --- |")
    for name, found in positions.items():
        scatter = np.std(found, axis=0, ddof=1)
        print(
            f"| {name} | {exact.N_WINDOWS[name]} | {np.nanmean(learnt[name]):.3f} | "
            f"{root_mean_square([scatter / learnt[name]]):.3f} | "
            f"{root_mean_square([scatter / known[name]]):.3f} |"
        )


def speed() -> None:
    """From stacks of the paper's size to fits, 22 500 bootstrap samples and strain maps."""
    rng = np.random.default_rng(0)
    stacks, means = {}, {}
    for name in exact.STRAINS:
        n, image = exact.N_WINDOWS[name], exact.average_image(name)
        windows = image + rng.normal(0.0, 0.1, (n, *image.shape))
        stacks[name] = stack(name, windows)
        sem = windows.std(axis=0, ddof=1) / np.sqrt(n)
        means[name] = average(name, windows.mean(axis=0), sem)
    start = time.process_time()
    measure_columns(stacks, means, ColumnConfig(compare=False))
    alone = time.process_time()
    measured = measure_columns(stacks, means)
    fitted = time.process_time()
    spacing_results(measured, means, "2Se", rng)
    drawn = time.process_time()
    for name in exact.STRAINS:
        if name != "2Se":
            strain_field(displacement_field(measured[name].fits, measured["2Se"].fits))
    done = time.process_time()
    total = sum(s.n for s in stacks.values())
    print(f"\n{total} windows of 131 x 131 px, five classes, seconds of one core:")
    print(f"fits with covariance {alone - start:.1f}, those and the other two models with their ")
    print(f"biases {fitted - alone:.1f}, bootstrap {drawn - fitted:.1f}, ", end="")
    print(f"strain maps with errors {done - drawn:.1f}, together {done - alone:.1f}")


def accuracy(options: argparse.Namespace) -> None:
    for label, optics in OPTICS.items():
        accuracy_table(label, [centred(exact.transfer(**optics))], options.held)
    rng = np.random.default_rng(options.seed)
    drawn = [exact.transfer(**drawn_optics(rng)) for _ in range(options.draws)]
    accuracy_table(f"{options.draws} probes of Table S1, root mean squares", drawn, options.held)
    if options.profiles is not None:
        with np.load(options.profiles) as tables:
            radius, rows = 100.0 * tables["radius_A"], tables[options.row][: options.draws]
        other = [radial_transfer(radius, row) for row in rows]
        accuracy_table(
            f"{len(other)} probes of {options.row}, root mean squares", other, options.held
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speed", action="store_true", help="time the chain instead")
    parser.add_argument("--bound", type=int, metavar="SEEDS", help="compare with the bound instead")
    parser.add_argument("--profiles", type=Path, help="npz file of radial probes")
    parser.add_argument("--held", action="store_true", help="weigh noise-free pixels as noisy ones")
    parser.add_argument("--row", default="WSe2", help="which table of it")
    parser.add_argument("--draws", type=int, default=4, help="probes of Table S1, and of the file")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.speed:
        speed()
    elif given.bound:
        bound(given.bound)
    else:
        accuracy(given)
