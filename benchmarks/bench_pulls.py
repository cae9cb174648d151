"""Are the errors honest? Pulls of every column over many simulated data sets.

``python benchmarks/bench_pulls.py windows [--seeds 20] [--jitter]``
    Windows drawn exactly (``tests/exact_images.py``): Poisson counts, read noise, sub-pixel
    shifts, with or without scan-line jitter. The displacement of each column against the one built
    in, by its statistical and by its total error; the scatter of each column over the data sets,
    by the Cramer-Rao bound of known profile (computed here, apart from the package) and by the
    error that the windows' covariance gives.

``python benchmarks/bench_pulls.py images [--seeds 20] [--images 3]``
    Whole images of the package's simulator with their true columns, averaged and measured.
    The truth of a column is the field of its own defect; what the other defects around add
    counts as error.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from napari_defectstrain.averages.average import AverageConfig
from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline.chain import average_classes, measure_spacings
from napari_defectstrain.pipeline.runs import ClassMeasurement, RunConfig
from napari_defectstrain.simulate.dataset import SimulatedImage, simulate_image
from napari_defectstrain.simulate.relaxing import relaxation
from napari_defectstrain.simulate.samples import paper_like
from napari_defectstrain.strain.displacement import displacement_field
from napari_defectstrain.types import BoolArray, ClassStack, FloatArray, Sites

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import exact_images as exact  # noqa: E402

CLASSES = ("SeTe", "2Te", "SV", "DV")
NUMBERS = {"2Se": 150, "SeTe": 60, "2Te": 60, "SV": 60, "DV": 40}
PEAK_COUNTS = 124.0  # of a metal column above the background: 1.24e7 e/nm2, 20 pm, 2.5 % counted
READ_NOISE = 0.10  # of a metal column
BACKGROUND = 0.10
SHIFT_PM = 3.0  # what registration leaves, rms per axis
JITTER_PX, FRAMES = 0.9, 10
SIZE = 131
BLUR_PX = 0.25
FRACTIONS = (0.025, 0.02, 0.03, 0.015)


@dataclass(frozen=True)
class Found:
    """Displacements of one class in one data set, `(M, 2)` each [pm], and its strain."""

    site_pm: FloatArray
    is_metal: BoolArray
    position_pm: FloatArray
    position_sigma_pm: FloatArray
    deviation_pm: FloatArray
    sigma_pm: FloatArray
    total_pm: FloatArray
    strain: FloatArray  # deviation, statistical, total error


def found_of(
    measured: Mapping[str, ClassMeasurement], name: str, truth: Callable[[FloatArray], FloatArray]
) -> Found:
    """Deviation of every column from the displacement built in, with its errors."""
    mine, reference = measured[name], measured["2Se"]
    field = displacement_field(mine.fits, reference.fits)
    budget = mine.budget
    assert budget is not None
    assert np.array_equal(budget.site_pm, field.site_pm)
    deviation = mine.spacing.strain - exact.STRAINS[name]
    return Found(
        field.site_pm,
        field.is_metal,
        mine.fits.position_pm,
        mine.fits.sigma_pm,
        field.u_pm - truth(field.site_pm),
        budget.statistical_pm,
        budget.total_pm,
        np.array([deviation, budget.sigma_stat, budget.sigma_total]),
    )


# ---------------------------------------------------------------- windows drawn directly


@lru_cache
def clean_spectrum(name: str) -> FloatArray:
    """Fourier transform of the noise-free image of a class, height of a metal column 1."""
    _, position, weight, _ = exact.structure(name)
    k = np.fft.fftfreq(exact.FIELD_PX, exact.STEP_PM)
    phase_y = np.exp(-2j * np.pi * k[:, None] * position[None, :, 1])
    phase_x = np.exp(-2j * np.pi * k[None, :] * position[:, 0, None])
    otf = exact.transfer()
    return np.asarray((phase_y * weight) @ phase_x * otf / np.mean(otf))


def draw_windows(name: str, n: int, jitter_px: float, rng: np.random.Generator) -> FloatArray:
    """Noisy windows of a class, `(n, SIZE, SIZE)`: each with its own sub-pixel shift.

    Scan lines run along x in every other window, along y in the rest.
    """
    ky, kx = exact.frequencies()
    half = SIZE // 2
    index = np.arange(-half, half + 1) % exact.FIELD_PX
    windows = np.empty((n, SIZE, SIZE), dtype=np.float32)
    for i in range(n):
        dx, dy = rng.normal(0.0, SHIFT_PM, 2)
        spectrum = clean_spectrum(name) * np.exp(-2j * np.pi * (kx * dx + ky * dy))
        image: FloatArray = np.fft.ifft2(spectrum).real[np.ix_(index, index)][::-1]
        if jitter_px:
            image = jittered(image if i % 2 else image.T, jitter_px, rng)
            image = image if i % 2 else image.T
        electrons = rng.poisson((image + BACKGROUND).clip(0) * PEAK_COUNTS)
        windows[i] = electrons / PEAK_COUNTS + rng.normal(0, READ_NOISE, image.shape) - BACKGROUND
    return windows


def jittered(image: FloatArray, jitter_px: float, rng: np.random.Generator) -> FloatArray:
    """Mean of frames whose rows are moved along x, each by its own shift."""
    padded = np.pad(image, ((0, 0), (30, 30)), mode="reflect")
    frequency = np.fft.rfftfreq(padded.shape[1])
    shift = rng.normal(0.0, jitter_px, (len(image), FRAMES))
    phase = np.exp(-2j * np.pi * shift[:, :, None] * frequency).mean(axis=1)
    moved = np.fft.irfft(np.fft.rfft(padded, axis=1) * phase, n=padded.shape[1], axis=1)
    return np.asarray(moved[:, 30 : 30 + image.shape[1]])


def stack_of(name: str, windows: FloatArray) -> ClassStack:
    n = len(windows)
    zeros, pairs = np.zeros(n, int), np.zeros((n, 2))
    return ClassStack(
        class_name=name,
        windows=windows,
        step_pm=exact.STEP_PM,
        a_pm=exact.A_PM,
        image_index=zeros,
        site_index=np.arange(n),
        position_px=pairs,
        shift_pm=pairs,
        probability=np.ones(n),
        included=np.ones(n, bool),
        reason=np.full(n, ""),
    )


def exact_truth(name: str) -> Callable[[FloatArray], FloatArray]:
    """Displacements that `exact_images.structure` builds in."""
    site, position, _, _ = exact.structure(name)

    def at(asked: FloatArray) -> FloatArray:
        nearest = np.argmin(np.linalg.norm(site[None] - asked[:, None], axis=2), axis=1)
        return np.asarray((position - site)[nearest])

    return at


def measure_windows(seed: int, jitter_px: float, config: RunConfig) -> dict[str, Found]:
    rng = np.random.default_rng([seed, 41])
    stacks = {
        name: stack_of(name, draw_windows(name, n, jitter_px, rng)) for name, n in NUMBERS.items()
    }
    measured = measure_spacings(stacks, config)
    return {name: found_of(measured, name, exact_truth(name)) for name in CLASSES}


def cramer_rao_pm(name: str, shown_pm: FloatArray) -> FloatArray:
    """Least standard error of each column in the mean of the windows, `(M, 2)` [pm].

    Profile and noise known; positions and weights of all columns and a smooth background unknown:
    the inverse of ``sum over pixels of (df/dp) (df/dq) / variance``. The variance is that of the
    counts and of the detector, and of the pixels that the sub-pixel shifts of windows smear.
    """
    _, position, weight, _ = exact.structure(name)
    reach = np.hypot(*position.T)
    half = SIZE // 2
    radius = half * exact.STEP_PM
    use = (reach < radius + 150.0) & (weight > 0)
    ky, kx = exact.frequencies()
    index = np.arange(-half, half + 1) % exact.FIELD_PX
    otf = exact.transfer() / np.mean(exact.transfer())
    x, y = np.meshgrid(np.arange(-half, half + 1), np.arange(half, -half - 1, -1))
    disc = np.hypot(x, y) <= half
    clean = np.fft.ifft2(clean_spectrum(name)).real[np.ix_(index, index)][::-1]
    rows = []
    for (px, py), w in zip(position[use], weight[use], strict=True):
        one = otf * np.exp(-2j * np.pi * (kx * px + ky * py))
        for part in (-2j * np.pi * kx * w, -2j * np.pi * ky * w, 1.0):
            rows.append(np.fft.ifft2(one * part).real[np.ix_(index, index)][::-1][disc])
    u, v = x[disc] / half, y[disc] / half
    rows += [np.ones_like(u), u, v, u * u, u * v, v * v]
    jacobian = np.array(rows)
    variance = ((clean[disc] + BACKGROUND) / PEAK_COUNTS + READ_NOISE**2) / NUMBERS[name]
    inverse = np.linalg.inv((jacobian / variance) @ jacobian.T)
    sigma = np.sqrt(np.diag(inverse)[: 3 * use.sum()].reshape(-1, 3)[:, :2])
    distance = np.linalg.norm(position[use][None] - shown_pm[:, None], axis=2)
    found = sigma[np.argmin(distance, axis=1)]
    return np.where((distance.min(axis=1) < 60.0)[:, None], found, np.nan)


# ---------------------------------------------------------------- whole images


def true_sites(simulated: SimulatedImage, rng: np.random.Generator) -> Sites:
    """Columns as a perfect network would give them."""
    index = np.asarray(simulated.class_index)
    place = simulated.position_px + rng.normal(0, BLUR_PX, simulated.position_px.shape)
    return Sites(place, np.eye(7)[index], index, WSE2.class_names, np.full(len(index), "truth"))


def measure_images(seed: int, n_images: int, config: RunConfig) -> dict[str, Found]:
    rng = np.random.default_rng([seed, n_images])
    images, sites = [], []
    for k in range(n_images):
        settings = paper_like(rng, 51.0 if k % 2 else 8.0)
        settings = settings.replace(crystal=settings.crystal.replace(fractions=FRACTIONS))
        simulated = simulate_image(settings, rng, f"region_{k}")
        images.append(simulated.image)
        sites.append(true_sites(simulated, rng))
    stacks = average_classes(images, sites, config)
    measured = measure_spacings(stacks, config)
    a_pm = next(iter(stacks.values())).a_pm

    def truth(name: str) -> Callable[[FloatArray], FloatArray]:
        return lambda site: relaxation(site, exact.STRAINS[name], a_pm)

    return {n: found_of(measured, n, truth(n)) for n in CLASSES if n in measured}


# ---------------------------------------------------------------- tables


def pull_table(sets: list[dict[str, Found]]) -> None:
    print(
        f"{'class':<7}{'columns':<11}{'n':>6}{'sigma [pm]':>12}{'total':>7}"
        f"{'mean, stat':>12}{'width, stat':>13}{'mean, total':>13}{'width, total':>14}"
    )
    every: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    for name in CLASSES:
        own = [s[name] for s in sets if name in s]
        if not own:
            continue
        metal = own[0].is_metal
        for label, part in (("metal", metal), ("chalcogen", ~metal)):
            deviation, sigma, total = (
                np.concatenate([getattr(f, k)[part].ravel() for f in own])
                for k in ("deviation_pm", "sigma_pm", "total_pm")
            )
            cut = (deviation, sigma, total)
            every.append(cut)
            _pull_row(name, label, *cut)
    for which, label in ((slice(0, None, 2), "metal"), (slice(1, None, 2), "chalcogen")):
        _pull_row("all", label, *(np.concatenate(c) for c in zip(*every[which], strict=True)))
    _pull_row("all", "all", *(np.concatenate(c) for c in zip(*every, strict=True)))
    strains = np.array([s[n].strain for s in sets for n in CLASSES if n in s])
    _pull_row("strain", "[0.01 %]", *(1e4 * strains.T))
    for name in CLASSES:
        _pull_row(name, "strain", *(1e4 * np.array([s[name].strain for s in sets if name in s]).T))


def _pull_row(
    name: str, label: str, deviation: FloatArray, sigma: FloatArray, total: FloatArray
) -> None:
    good = np.isfinite(deviation)
    stat, whole = (deviation / sigma)[good], (deviation / total)[good]
    print(
        f"{name:<7}{label:<11}{good.sum():>6}{np.mean(sigma[good]):>12.2f}"
        f"{np.mean(total[good]):>7.2f}{stat.mean():>+12.3f}{np.sqrt(np.mean(stat**2)):>13.3f}"
        f"{whole.mean():>+13.3f}{np.sqrt(np.mean(whole**2)):>14.3f}"
    )


def worst_table(sets: list[dict[str, Found]]) -> None:
    """Mean deviation of the radial displacement by shell, over the sets [pm]."""
    print(
        f"\nradial deviation by distance of the column, mean +- its error [pm]\n{'class':<7}",
        end="",
    )
    edges = (10, 250, 450, 600, 800, 1000, 1300)
    print("".join(f"{f'{a}-{b} pm':>16}" for a, b in zip(edges, edges[1:], strict=False)))
    for name in CLASSES:
        own = [s[name] for s in sets if name in s]
        row = f"{name:<7}"
        radius = np.hypot(*own[0].site_pm.T)
        for low, high in zip(edges, edges[1:], strict=False):
            part = (radius >= low) & (radius < high)
            unit = own[0].site_pm[part] / radius[part, None]
            value = [np.nanmean((f.deviation_pm[part] * unit).sum(axis=1)) for f in own]
            error = np.std(value) / np.sqrt(max(len(value) - 1, 1))
            row += f"{f'{np.mean(value):+.2f} +- {error:.2f}':>16}"
        print(row)


def scatter_table(sets: list[dict[str, Found]], bound: bool) -> None:
    """Scatter of the columns' positions over the data sets, by what it should be."""
    print("\nscatter over the data sets / ", end="")
    print("Cramer-Rao bound, / error by the windows' covariance" if bound else "covariance's error")
    for name in CLASSES:
        own = [s[name] for s in sets]
        place = np.array([f.position_pm for f in own])
        # what shifts all columns alike is registration's; the columns of the core don't count
        place = place - np.nanmean(place, axis=1, keepdims=True)
        with warnings.catch_warnings():  # the empty column of DV has no position at all
            warnings.simplefilter("ignore", RuntimeWarning)
            variance = np.nanvar(place, axis=0, ddof=1)
        sigma2 = np.mean([f.position_sigma_pm**2 for f in own], axis=0)
        shift2 = SHIFT_PM**2 / NUMBERS[name]
        row = f"{name:<7}"
        for part, label in ((own[0].is_metal, "metal"), (~own[0].is_metal, "chalcogen")):
            row += f"  {label}"
            if bound:
                least = cramer_rao_pm(name, own[0].site_pm) ** 2
                row += f" {np.sqrt(np.nanmean((variance / least)[part])):.3f}"
            row += f" {np.sqrt(np.nanmean((variance / (sigma2 - shift2))[part])):.3f}"
        print(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("windows", "images"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument("--jitter", action="store_true", help="windows with scan-line jitter")
    parser.add_argument("--reference", type=int, default=300, help="defect-free windows of images")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    average = AverageConfig(max_reference=options.reference)
    config = RunConfig(average=average, bootstrap=500)
    sets = []
    start = time.process_time()
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        if options.kind == "windows":
            sets.append(measure_windows(seed, JITTER_PX * options.jitter, config))
        else:
            sets.append(measure_images(seed, options.images, config))
        print(f"seed {seed}: {time.process_time() - start:.0f} s", file=sys.stderr, flush=True)
    pull_table(sets)
    worst_table(sets)
    if options.kind == "windows" and len(sets) > 1:
        scatter_table(sets, bound=not options.jitter)


if __name__ == "__main__":
    main()
