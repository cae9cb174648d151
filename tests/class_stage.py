"""Stacks, averages and measurements of exact images, or without any image, for many tests."""

from collections.abc import Mapping
from dataclasses import replace

import exact_images as exact
import numpy as np

from napari_defectstrain.columns import ColumnFitModel, ColumnMeasurement, spline_profile
from napari_defectstrain.columns.averages.crowded import Geometry, State
from napari_defectstrain.columns.averages.measure import ColumnConfig, fit_columns
from napari_defectstrain.columns.profiles import FourierWindow, gaussian_profile
from napari_defectstrain.crystal import ideal_sites
from napari_defectstrain.precision import nearest_metal_spacings
from napari_defectstrain.types import ClassAverage, ClassStack, ColumnFits

A = exact.A_PM
STEP = exact.STEP_PM


def stack_of(name: str, windows: np.ndarray) -> ClassStack:
    n = len(windows)
    zeros, pairs = np.zeros(n, int), np.zeros((n, 2))
    return ClassStack(
        name,
        windows,
        STEP,
        A,
        zeros,
        np.arange(n),
        pairs,
        pairs,
        np.ones(n),
        np.ones(n, bool),
        np.full(n, ""),
    )


def average_of(stack: ClassStack, purity: float = 1.0) -> ClassAverage:
    w = stack.windows
    sem = w.std(axis=0, ddof=1) / np.sqrt(len(w))
    return ClassAverage(stack.class_name, w.mean(axis=0), sem, len(w), 0, STEP, A, purity)


def noisy(name: str, n: int, rng: np.random.Generator, noise: float = 0.05) -> ClassStack:
    image = exact.average_image(name, 61)
    return stack_of(name, image + noise * rng.normal(size=(n, *image.shape)))


def measurement(
    name: str, strain: float, n: int, rng: np.random.Generator, sigma: float = 4.0
) -> ColumnMeasurement:
    """A measured class whose metal triangle is strained, without an image behind it."""
    site, is_metal = ideal_sites(A, 450.0)
    position = site * (1.0 + strain * (np.hypot(*site.T) < 200.0))[:, None]
    shifts = rng.normal(0, sigma, (n, 2 * len(site)))
    shifts -= shifts.mean(axis=0)
    fits = ColumnFits(
        name,
        site,
        is_metal,
        position,
        shifts.T @ shifts / (n * max(n - 1, 1)),
        np.ones(len(site)),
        np.zeros(len(site), int),
    )
    none = np.zeros((0, 0))
    model = ColumnFitModel(fits, None, none, none.astype(bool), none, none, none)
    none = np.zeros((2 * len(site), 0))
    return ColumnMeasurement(fits, shifts, np.zeros((2 * len(site), 1)), position, none, model)


def average(name: str, image: np.ndarray, n: int = 400) -> ClassAverage:
    return ClassAverage(name, image, np.zeros_like(image), n, 0, STEP, A, 1.0)


def small_model(rng: np.random.Generator, spline: bool = True):
    """Geometry, state and profile of a small window in which nothing is symmetric."""
    if spline:
        profile = spline_profile(55.0, 9, 0.7)
        profile = replace(profile, coefficient=profile.coefficient * rng.uniform(0.9, 1.1, 9))
        blur = np.array([150.0, 40.0, -60.0])
    else:
        profile, blur = gaussian_profile(55.0), np.array([3100.0, 100.0, 2900.0])
    geometry = Geometry(FourierWindow(61, STEP, profile.cutoff_per_pm), A, 600.0, 1000.0, 2)
    site = geometry.site_pm
    empty = np.zeros(len(site), bool)
    empty[0] = True
    weight = np.where(geometry.is_metal, 2e4, 1.4e4) * rng.uniform(0.8, 1.2, len(site))
    weight[0] = 50.0
    position = site + np.where(empty[:, None], 0.0, rng.normal(0, 4, site.shape))
    background = rng.normal(0, 0.05, len(geometry.background))
    state = State(position, weight, np.array([2e4, 1.4e4]), background, blur, empty)
    return geometry, state, profile


def strain_errors(
    measured: dict[str, ColumnMeasurement], position_pm: dict[str, np.ndarray]
) -> dict[str, float]:
    spacing = {
        n: nearest_metal_spacings(position_pm[n], m.fits.site_pm, m.fits.is_metal).mean()
        for n, m in measured.items()
    }
    return {n: s / spacing["2Se"] - 1 - exact.STRAINS[n] for n, s in spacing.items()}


def bootstrap_positions_refit(
    stack: ClassStack,
    others: Mapping[str, ClassAverage],
    config: ColumnConfig,
    n_samples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """What `bootstrap_positions` gives, by averaging and fitting every sample: slow.

    Draws the same windows as `bootstrap_positions` does from an equal generator. With the
    ``profile`` model the profile is learnt anew for each sample, from the sample and `others`.
    """
    windows = stack.windows[stack.included]
    n = len(windows)
    samples = []
    for _ in range(n_samples):
        drawn = windows[rng.integers(n, size=(1, n))[0]]
        sem = drawn.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(drawn.shape[1:])
        average = ClassAverage(
            stack.class_name, drawn.mean(axis=0), sem, n, 0, stack.step_pm, stack.a_pm, 1.0
        )
        fits = fit_columns({**others, stack.class_name: average}, config)[stack.class_name].fits
        samples.append(fits.position_pm.ravel())
    return np.array(samples)
