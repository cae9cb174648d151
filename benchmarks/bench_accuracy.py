"""Accuracy of the column fits on noise-free class averages with known columns, and their speed.

Prints the tables of docs/benchmarks.md. Probe from wave optics, atoms placed exactly: the images
of tests/exact_images.py. Run: ``python benchmarks/bench_accuracy.py [--speed]``.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from napari_defectstrain.columns import ColumnConfig, ColumnFitModel, fit_columns, measure_columns
from napari_defectstrain.displacement import displacement_field
from napari_defectstrain.precision import nearest_metal_spacings, spacing_results
from napari_defectstrain.strain import strain_field
from napari_defectstrain.types import ClassAverage, ClassStack, ColumnFits

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import exact_images as exact  # noqa: E402

MODELS = {
    "gaussian, 100 pm": ColumnConfig(model="gaussian", single_radius_pm=100.0),
    "gaussian, 80 pm": ColumnConfig(model="gaussian"),
    "gaussians": ColumnConfig(model="gaussians"),
    "profile": ColumnConfig(),
}
OPTICS: dict[str, dict[str, float]] = {
    "paper's probe": {},
    "C3 = 500 nm": {"c3_nm": 500.0},
    "source 80 pm": {"source_fwhm_pm": 80.0},
    "4 nm out of focus": {"defocus_pm": 4000.0},
}


def averages(**optics: float) -> dict[str, ClassAverage]:
    made = {}
    for name in exact.STRAINS:
        image = exact.average_image(name, **optics)
        n = exact.N_WINDOWS[name]
        made[name] = ClassAverage(
            name, image, np.zeros_like(image), n, 0, exact.STEP_PM, exact.A_PM, 1.0
        )
    return made


def rms_errors(fits: ColumnFits) -> tuple[float, float]:
    """Root mean square error of the metal and of the chalcogen columns, per axis [pm]."""
    site, position, _, _ = exact.structure(fits.class_name)
    nearest = np.argmin(np.linalg.norm(site[None] - fits.site_pm[:, None], axis=2), axis=1)
    error = fits.position_pm - position[nearest]
    metal = fits.is_metal
    return float(np.sqrt(np.nanmean(error[metal] ** 2))), float(
        np.sqrt(np.nanmean(error[~metal] ** 2))
    )


def accuracy_table(label: str, optics: dict[str, float]) -> None:
    names = [n for n in exact.STRAINS if n != "2Se"]
    print(f"\n{label}\n")
    print("| model | metal, pm rms | chalcogen, pm rms | " + " | ".join(names) + " |")
    print("| --- | --- | --- | " + " | ".join("---" for _ in names) + " |")
    images = averages(**optics)
    for model, config in MODELS.items():
        fitted = fit_columns(images, config)
        errors = np.array([rms_errors(m.fits) for m in fitted.values()])
        metal, chalcogen = np.sqrt(np.mean(errors**2, axis=0))
        strains = [100 * strain_error(fitted, name) for name in names]
        print(
            f"| {model} | {metal:.3f} | {chalcogen:.3f} | "
            + " | ".join(f"{s:+.3f}" for s in strains)
            + " |"
        )


def strain_error(fitted: dict[str, ColumnFitModel], name: str) -> float:
    spacing = {}
    for key in (name, "2Se"):
        fits = fitted[key].fits
        spacing[key] = nearest_metal_spacings(fits.position_pm, fits.site_pm, fits.is_metal).mean()
    return float(spacing[name] / spacing["2Se"] - 1.0 - exact.STRAINS[name])


def speed() -> None:
    """From stacks of the paper's size to fits, 22 500 bootstrap samples and strain maps."""
    rng = np.random.default_rng(0)
    stacks, means = {}, {}
    for name, average in averages().items():
        n = average.n
        noise = rng.normal(0.0, 0.1, (n, *average.mean.shape))
        windows = average.mean + noise
        zeros, pairs = np.zeros(n, int), np.zeros((n, 2))
        stacks[name] = ClassStack(
            name,
            windows,
            exact.STEP_PM,
            exact.A_PM,
            zeros,
            np.arange(n),
            pairs,
            pairs,
            np.ones(n),
            np.ones(n, bool),
            np.full(n, ""),
        )
        sem = windows.std(axis=0, ddof=1) / np.sqrt(n)
        means[name] = ClassAverage(
            name, windows.mean(axis=0), sem, n, 0, exact.STEP_PM, exact.A_PM, 1.0
        )
    start = time.process_time()
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
    print(f"fits with covariance {fitted - start:.1f}, bootstrap {drawn - fitted:.1f}, ", end="")
    print(f"strain maps with errors {done - drawn:.1f}, together {done - start:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speed", action="store_true", help="time the chain instead")
    if parser.parse_args().speed:
        speed()
    else:
        for name, settings in OPTICS.items():
            accuracy_table(name, settings)
