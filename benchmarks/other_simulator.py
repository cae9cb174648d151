"""Labelled test images from a second, independent model of incoherent ADF-STEM.

It shares no code with the package and differs where a model can: probes come from abTEM, column
weights from tables of multislice, frozen-phonon and single-atom calculations, columns are summed
one by one from a tabulated radial profile at their exact places, and scan jitter resamples lines.
Networks trained on the package's own simulator are tested here for what they took from it.

    python benchmarks/other_simulator.py profiles PROFILES.npz     # needs abtem
    python benchmarks/other_simulator.py images PROFILES.npz OUT   # numpy, scipy, tifffile

Each image `NAME.tif` comes with `NAME.json`, its settings with the built-in `spacing_change` of
each class, and `NAME.truth.csv`: place and class of every column, and (dy, dx), its displacement by
all defects in the plane of the image, y down.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from other_crystals import (
    DRAWN_RELAXATIONS,
    RADIUS_PM,
    WEIGHTS,
    Array,
    Crystal,
    grow,
    spacing_change,
)
from other_recipes import RECIPES, Recipe
from scipy.fft import irfft2, rfft2
from scipy.ndimage import map_coordinates, spline_filter1d
from scipy.special import j0

FRAMES = 10

# ---------------------------------------------------------------- probes, by abTEM

# Energy (eV), semi-angle (mrad), detector (mrad), half range of defocus (A), number.
OPTICS = {
    "WSe2": (80e3, 25.0, (63.0, 200.0), 25.0, 24),
    "WSe2 defocused": (80e3, 25.0, (63.0, 200.0), 50.0, 24),
    "MoS2": (60e3, 30.0, (60.0, 200.0), 20.0, 12),
}


def tabulate_profiles(path: Path, seed: int = 20) -> None:
    """Radial profiles (1/A^2, of integral 1) and cross sections (A^2) into one npz."""
    rng = np.random.default_rng(seed)
    radius = np.arange(0, 15, 0.02)
    tables: dict[str, Any] = {"radius_A": radius}
    sections = {}
    for name, (energy, angle, detector, defocus, count) in OPTICS.items():
        rows, settings = [], []
        for _ in range(count):
            setting = {
                "defocus_A": rng.uniform(-defocus, defocus),
                "C3_A": rng.normal(0, 3000),
                "C5_A": rng.normal(0, 3e6),
                "focal_spread_A": max(rng.normal(20, 8), 2),
                "source_fwhm_A": rng.uniform(0.8, 1.1),
            }
            rows.append(_radial_profile(energy, angle, setting, radius))
            settings.append(setting)
        tables[name] = np.array(rows)
        tables[f"{name} settings"] = json.dumps(settings)
        sections[name] = {e: _cross_section(e, energy, detector) for e in ("W", "Mo", "S", "O")}
    tables["sections_A2"] = json.dumps(sections)
    np.savez_compressed(path, **tables)


def _radial_profile(energy: float, angle: float, setting: dict[str, float], radius: Array) -> Array:
    import abtem

    extent, gpts = 40.0, 640
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    intensity = np.zeros((gpts, gpts))
    for node, weight in zip(nodes, weights, strict=True):
        probe = abtem.Probe(
            energy=energy,
            semiangle_cutoff=angle,
            extent=extent,
            gpts=gpts,
            defocus=setting["defocus_A"] + node * setting["focal_spread_A"],
            Cs=setting["C3_A"],
            C50=setting["C5_A"],
        )
        intensity += weight * np.asarray(probe.build(lazy=False).intensity().array)
    step = extent / gpts
    f2 = np.fft.fftfreq(gpts, step)[:, None] ** 2 + np.fft.rfftfreq(gpts, step) ** 2
    sigma = setting["source_fwhm_A"] / np.sqrt(8 * np.log(2))
    intensity = irfft2(rfft2(intensity) * np.exp(-2 * (np.pi * sigma) ** 2 * f2), s=(gpts, gpts))
    intensity /= intensity.sum() * step**2
    turn = np.arange(48) * 2 * np.pi / 48 + 0.01
    y = gpts // 2 + radius / step * np.sin(turn)[:, None]
    x = gpts // 2 + radius / step * np.cos(turn)[:, None]
    return np.asarray(map_coordinates(intensity, [y, x], order=3).mean(0))


def _cross_section(element: str, energy: float, detector: tuple[float, float]) -> float:
    """Single-atom cross section of an annulus (A^2): abTEM's Kirkland potential as a phase object.

    The Born approximation would make tungsten two thirds too bright.
    """
    from abtem.core.energy import energy2sigma, energy2wavelength
    from abtem.parametrizations import KirklandParametrization

    wavelength = energy2wavelength(energy)
    log_r = np.linspace(np.log(1e-4), np.log(10), 4000)
    r = np.exp(log_r)
    potential = np.asarray(KirklandParametrization().projected_potential(element)(r))
    wave = (1 - np.exp(1j * energy2sigma(energy) * potential)) * r**2  # r dr = r^2 d(log r)
    theta = np.linspace(detector[0] * 1e-3, detector[1] * 1e-3, 401)
    kernel = j0(2 * np.pi * theta[:, None] / wavelength * r)
    amplitude = 2 * np.pi / wavelength * np.abs(np.trapezoid(kernel * wave, log_r, axis=1))
    return float(np.trapezoid(2 * np.pi * np.sin(theta) * amplitude**2, theta))


# ---------------------------------------------------------------- images


def render(
    crystal: Crystal, shape: tuple[int, int], pixel_pm: float, profile: Array, stretch: Array
) -> Array:
    """Sum of w_j p(|M (r - r_j)|) at the pixels' centres, (1/A^2); p in steps of 2 pm."""
    canvas = np.zeros(shape)
    centre = (np.array(shape) - 1) / 2
    place = crystal.place / pixel_pm + centre
    n = int(np.ceil(1.1 * RADIUS_PM / pixel_pm))
    for (y, x), weight in zip(place, crystal.weight, strict=True):
        top, left = max(int(y) - n, 0), max(int(x) - n, 0)
        rows, cols = (
            np.arange(top, min(int(y) + n, shape[0])),
            np.arange(left, min(int(x) + n, shape[1])),
        )
        if weight == 0 or len(rows) == 0 or len(cols) == 0:
            continue
        dy, dx = (rows - y)[:, None] * pixel_pm, (cols - x) * pixel_pm
        u = stretch[0, 0] * dy + stretch[0, 1] * dx
        v = stretch[1, 0] * dy + stretch[1, 1] * dx
        at = np.minimum(np.sqrt(u * u + v * v) / 2, len(profile) - 2)
        lower = at.astype(np.int32)
        at -= lower
        patch = profile[lower] * (1 - at) + profile[lower + 1] * at
        canvas[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] += weight * patch
    return canvas


def with_tails(profile: Array, tails: float, width_pm: float) -> Array:
    """Adds the tails of a two-dimensional Lorentzian; ends smoothly at `RADIUS_PM`."""
    r = 0.02 * np.arange(len(profile))
    g = width_pm / 100
    mixed = (1 - tails) * profile + tails * g / (2 * np.pi * (r**2 + g**2) ** 1.5)
    end = RADIUS_PM / 100
    rim = np.clip((end - r) / 2, 0, 1)
    return mixed * (0.5 - 0.5 * np.cos(np.pi * rim))


def coloured_noise(
    shape: tuple[int, int], amplitude: Callable[[Array], Array], rng: np.random.Generator
) -> Array:
    """Random field of unit variance whose spectrum's amplitude is a function of f (1/px)."""
    big = tuple(int(1.25 * n) // 2 * 2 for n in shape)  # its period lies outside the image
    f = np.hypot(np.fft.fftfreq(big[0])[:, None], np.fft.rfftfreq(big[1]))
    f[0, 0] = np.inf
    field = irfft2(rfft2(rng.normal(size=big)) * amplitude(f), s=big)[: shape[0], : shape[1]]
    return np.asarray((field - field.mean()) / field.std())


def contamination(
    shape: tuple[int, int], pixel_pm: float, setting: dict[str, Any], rng: np.random.Generator
) -> Array:
    """Hydrocarbons in units of a W peak: 1/f^b thickness, with amorphous grain on it."""
    thickness = coloured_noise(shape, lambda f: f ** -setting["spectrum_power"], rng)
    thickness -= np.quantile(thickness, setting["clean_share"])
    thickness = np.maximum(thickness, 0) / np.quantile(thickness, 0.98)
    spacing_px = setting["grain_pm"] / pixel_pm
    grain = coloured_noise(
        shape, lambda f: np.where(f < 1, np.exp(-((f * spacing_px - 1) ** 2) / 0.18), 0), rng
    )
    field = setting["contamination"] * thickness
    return np.asarray(np.maximum(field * (1 + setting["grain"] * grain), 0))


def speckle(
    shape: tuple[int, int], pixel_pm: float, setting: dict[str, Any], rng: np.random.Generator
) -> Array:
    """Coloured noise of the detector and of what moves on the specimen, of a given correlation.

    Its autocorrelation is a Gaussian that falls to ``exp(-1/2)`` at `speckle_pm`.
    """
    width_px = setting["speckle_pm"] / pixel_pm
    # the amplitude is the root of the power spectrum
    field = coloured_noise(shape, lambda f: np.exp(-((np.pi * width_px * f) ** 2)), rng)
    return np.asarray(setting["speckle"] * field)


def shift_lines(image: Array, shift_px: Array, cubic: bool) -> Array:
    """Every line moved along x by its own shift; cubic B-splines or linear interpolation."""
    start = np.floor(-shift_px)
    t = (-shift_px - start)[:, None]
    if cubic:
        image = spline_filter1d(image, order=3, axis=1, mode="mirror")
        taps = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
        taps = [tap / 6 for tap in taps]
    else:
        taps = [0 * t, 1 - t, t, 0 * t]
    column = np.arange(image.shape[1]) + start[:, None].astype(int)
    moved = np.zeros_like(image)
    for k, tap in enumerate(taps):
        at = np.clip(column + k - 1, 0, image.shape[1] - 1)
        moved += tap * np.take_along_axis(image, at, axis=1)
    return moved


def scan(image: Array, setting: dict[str, Any], rng: np.random.Generator) -> Array:
    """Mean of frames whose lines jitter, with a memory from line to line, and are misregistered."""
    total = np.zeros_like(image)
    memory = setting["jitter_memory"]
    for rms in setting["jitter_px"]:
        kicks = rng.normal(size=len(image))
        line = np.empty(len(image))
        state = rng.normal()
        for i, kick in enumerate(kicks):
            state = memory * state + np.sqrt(1 - memory**2) * kick
            line[i] = rms * state
        line = line - line.mean() + rng.normal(0, 0.1)
        if setting.get("whole_jitter"):  # frames whose lines are delayed by whole pixels
            line = np.rint(line)
        total += shift_lines(image, line, setting["cubic"])
    return total / len(setting["jitter_px"])


def draw_setting(
    recipe: Recipe, number: int, tables: Any, rng: np.random.Generator
) -> dict[str, Any]:
    """Everything that is one number an image."""
    pixel = float(rng.uniform(*recipe.pixel_pm))
    if recipe.material == "MoS2" and number == 0:
        pixel = 12.0
    usual = {"SeTe": 0.056, "2Te": 0.032, "SV": 0.056, "DV": 0.004}
    if recipe.material == "MoS2":
        usual = {"SV": 0.04, "DV": 0.005}
    stretch = rng.uniform(0.01, 0.06)
    drawn = {
        "material": recipe.material,
        "pixel_size_pm": pixel,
        "side_px": int(rng.integers(recipe.size_px[0], recipe.size_px[1] + 1)),
        "dose_e_per_nm2": recipe.dose,
        "rotation_rad": float(rng.uniform(0, 2 * np.pi)),
        "shear": [float(s) for s in rng.uniform(*recipe.shear, 2) * rng.choice([-1, 1], 2)],
        "fractions": {k: v * float(rng.uniform(0.75, 1.25)) for k, v in usual.items()},
        "weights": str(rng.choice(list(WEIGHTS))),
        "relaxation": str(rng.choice(DRAWN_RELAXATIONS)),
        "decay_pm": float(rng.uniform(300, 800)),
        "ripple_per_pm": float(rng.uniform(0, 1 / 200)),
        "profile": int(rng.integers(len(tables[recipe.optics]))),
        "tails": float(rng.choice([0, 1]) * rng.uniform(0.03, 0.15)),
        "tails_width_pm": float(rng.uniform(80, 200)),
        "stretch": [float(stretch), float(rng.uniform(0, np.pi))],
        "pedestal": float(rng.uniform(0.01, 0.06)),
        "contamination": float(rng.uniform(*recipe.contamination)),
        "spectrum_power": float(rng.uniform(1.3, 2.2)),
        "clean_share": float(rng.uniform(*recipe.patchy)),
        "grain": float(rng.uniform(*recipe.grain)),
        "grain_pm": float(rng.uniform(200, 400)),
        "jitter_px": [float(j) for j in rng.uniform(*recipe.jitter_px, FRAMES)],
        "jitter_memory": float(rng.uniform(0, 0.7)),
        "cubic": bool(rng.random() < 0.7),
        "read_noise": float(rng.uniform(*recipe.read_noise)),
        "gain": float(rng.uniform(0.5, 1.5)),
        "disorder_pm": 3.0,
    }
    if recipe.speckle[1] > 0:
        low, high = np.log(recipe.speckle_pm)
        drawn["speckle"] = float(rng.uniform(*recipe.speckle))
        drawn["speckle_pm"] = float(np.exp(rng.uniform(low, high)))
    if recipe.whole_jitter > 0:
        drawn["whole_jitter"] = bool(rng.random() < recipe.whole_jitter)
    if recipe.twin:
        third = drawn["side_px"] * pixel / 6
        drawn |= {"twin": True, "twin_pm": float(rng.uniform(-third, third))}
    if recipe.rotations_rad:
        drawn["rotation_rad"] = recipe.rotations_rad[number % len(recipe.rotations_rad)]
    return {**drawn, **recipe.same}


def column_weights(
    recipe: Recipe, setting: dict[str, Any], sections: dict[str, float]
) -> dict[str, float]:
    """Weight of every class in units of the metal's."""
    if recipe.material == "MoS2":
        one = sections["S"] / sections["Mo"]
        return {"Mo": 1.0, "2S": 2 * one, "SV": one, "DV": 0.0}
    weights = dict(
        zip(("2Se", "SeTe", "2Te", "SV", "DV"), WEIGHTS[setting["weights"]], strict=True)
    )
    light = {k: sections[k] / sections["W"] for k in ("Mo", "O", "S")}
    return {"W": 1.0, **weights, **light}


def make_image(
    recipe: Recipe, number: int, tables: Any, rng: np.random.Generator
) -> tuple[Array, Crystal, dict[str, Any]]:
    """Expected counts, then noise, in the units of a 16 bit file; the crystal; the setting."""
    setting = draw_setting(recipe, number, tables, rng)
    sections = json.loads(str(tables["sections_A2"]))[recipe.optics]
    side, pixel = setting["side_px"], setting["pixel_size_pm"]
    half = np.array([side, side]) * pixel / 2
    weights = column_weights(recipe, setting, sections)
    crystal = grow(recipe.material, recipe.aliens, half, weights, setting, rng)
    profile = with_tails(
        tables[recipe.optics][setting["profile"]], setting["tails"], setting["tails_width_pm"]
    )
    size, axis = setting["stretch"]
    turn = np.array([[np.cos(axis), np.sin(axis)], [-np.sin(axis), np.cos(axis)]])
    stretch = turn.T @ np.diag([1 + size, 1 / (1 + size)]) @ turn
    image = render(crystal, (side, side), pixel, profile, stretch) / profile[0]
    image += setting["pedestal"] + contamination(image.shape, pixel, setting, rng)
    if max(setting["jitter_px"]) > 0:
        image = scan(image, setting, rng)
    if setting.get("speckle", 0) > 0:
        image += speckle(image.shape, pixel, setting, rng)
    electrons = setting["dose_e_per_nm2"] * (pixel / 1000) ** 2
    metal = "Mo" if recipe.material == "MoS2" else "W"
    peak = electrons * sections[metal] * profile[0]
    setting["metal_peak_counts"] = float(peak)
    setting["spacing_change"] = spacing_change(setting["relaxation"])
    noisy = rng.poisson(np.maximum(image, 0) * peak) / peak
    noisy = noisy + rng.normal(0, setting["read_noise"], image.shape)
    return 4000 + 8000 * setting["gain"] * noisy, crystal, setting


def write(stem: Path, image: Array, crystal: Crystal, setting: dict[str, Any]) -> None:
    import tifffile

    per_nm = 1000 / setting["pixel_size_pm"]
    tifffile.imwrite(
        stem.with_suffix(".tif"),
        np.clip(np.rint(image), 0, 65535).astype(np.uint16),
        imagej=True,
        resolution=(per_nm, per_nm),
        metadata={"unit": "nm"},
    )
    stem.with_suffix(".json").write_text(json.dumps(setting, indent=1))
    place = crystal.place / setting["pixel_size_pm"] + (np.array(image.shape) - 1) / 2
    inside = np.all((place > -0.5) & (place < np.array(image.shape) - 0.5), axis=1)
    with stem.with_suffix(".truth.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["y_px", "x_px", "class", "kind", "dy_pm", "dx_pm"])
        columns = (place, crystal.label, crystal.kind, crystal.moved)
        for (y, x), label, kind, (dy, dx) in zip(*(c[inside] for c in columns), strict=True):
            table.writerow([f"{y:.5f}", f"{x:.5f}", label, kind, f"{dy:.4f}", f"{dx:.4f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    profiles = commands.add_parser("profiles")
    profiles.add_argument("path", type=Path)
    images = commands.add_parser("images")
    images.add_argument("path", type=Path)
    images.add_argument("out", type=Path)
    images.add_argument("--sets", nargs="+", choices=RECIPES, default=list(RECIPES))
    images.add_argument("--seed", type=int, default=3)
    images.add_argument("--images", type=int, help="the first of each set only")
    arguments = parser.parse_args()
    if arguments.command == "profiles":
        tabulate_profiles(arguments.path)
        return
    tables = np.load(arguments.path)
    for name in arguments.sets:
        recipe = RECIPES[name]
        folder = arguments.out / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
        seeds = np.random.SeedSequence([arguments.seed, list(RECIPES).index(name)])
        for number, child in enumerate(seeds.spawn(arguments.images or recipe.images)):
            image, crystal, setting = make_image(
                recipe, number, tables, np.random.default_rng(child)
            )
            write(folder / f"{name}_{number:02d}", image, crystal, setting)
            print(name, number, f"W peak {setting['metal_peak_counts']:.0f} counts", flush=True)


if __name__ == "__main__":
    main()
