"""The package's image model beside abTEM: probes, images, column brightnesses, time.

Needs abtem (optional; ``pip install abtem``) beside this package, but not torch::

    python benchmarks/bench_abtem.py [--phonons 4] [--skip-probes] [--skip-multislice]

Prints three tables: how far the probes differ, as a fraction of the maximum; the brightness of
columns in a multislice image, fitted by least squares, beside the package's; seconds for the area
of an exposure of 1024 x 1024 px of 20.74 pm.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import abtem
import numpy as np
from ase import Atoms
from scipy.ndimage import map_coordinates

from napari_defectstrain.materials import WSE2
from napari_defectstrain.simulate.dataset import WSE2_WEIGHTS, simulate_image
from napari_defectstrain.simulate.image import column_height, render_columns
from napari_defectstrain.simulate.probe import ProbeConfig, probe_intensity
from napari_defectstrain.simulate.samples import paper_like
from napari_defectstrain.simulate.scattering import nominal_weights
from napari_defectstrain.types import FloatArray

PIXEL_PM = 20.74
DETECTOR_MRAD = (63.0, 200.0)
EXTENT, GPTS = 60.0, 768
"""Grid of abTEM's probes [angstrom, px]: wide, because a sharp aperture's tails fall off slowly."""
SIGMA_OF_FWHM = 1 / np.sqrt(8 * np.log(2))

PLAIN = ProbeConfig(thermal_pm=0)
PROBES = {
    "in focus, point source, one energy": replace(PLAIN, focal_spread_pm=0, source_fwhm_pm=0),
    "in focus": PLAIN,
    "C1 4 nm": replace(PLAIN, c1_pm=4000),
    "C1 -4 nm, C3 500 nm": replace(PLAIN, c1_pm=-4000, c3_nm=500),
    "C5 1 mm, C3 -1000 nm": replace(PLAIN, c5_mm=1, c3_nm=-1000),
    "A1 3 nm at 30 deg": replace(PLAIN, a1_pm=3000, a1_deg=30),
    "B2 60 nm at 100 deg": replace(PLAIN, b2_nm=60, b2_deg=100),
    "A2 150 nm at 50 deg": replace(PLAIN, a2_nm=150, a2_deg=50),
    "focal spread 3 nm": replace(PLAIN, focal_spread_pm=3000),
    "all of these, source 80 pm": ProbeConfig(
        c1_pm=2000, a1_pm=1500, a1_deg=-20, b2_nm=40, b2_deg=-70, a2_nm=80, a2_deg=15,
        c3_nm=800, c5_mm=0.5, focal_spread_pm=2500, source_fwhm_pm=80, thermal_pm=6,
    ),
}  # fmt: skip


# ---------------------------------------------------------------- (a) probes


def abtem_probe(config: ProbeConfig, **grid: Any) -> abtem.Probe:
    """The same optics in abTEM's terms, without focal spread and source size."""
    return abtem.Probe(
        energy=config.energy_kev * 1e3,
        semiangle_cutoff=config.semi_angle_mrad,
        aberrations={
            "C10": config.c1_pm / 100,
            "C12": config.a1_pm / 100,
            "phi12": np.deg2rad(config.a1_deg),
            # Krivanek's B2 is a third of the polar coefficient C21.
            "C21": 3 * config.b2_nm * 10,
            "phi21": np.deg2rad(config.b2_deg),
            "C23": config.a2_nm * 10,
            "phi23": np.deg2rad(config.a2_deg),
            "C30": config.c3_nm * 10,
            "C50": config.c5_mm * 1e7,
        },
        **grid,
    )


def abtem_intensity(config: ProbeConfig) -> FloatArray:
    """Intensity [1/angstrom^2] of the probe in the middle of a wide grid, `(y, x)`."""
    extent, gpts = EXTENT, GPTS
    nodes, weights = np.polynomial.hermite_e.hermegauss(15 if config.focal_spread_pm else 1)
    total = np.zeros((gpts, gpts))
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        focus = replace(config, c1_pm=config.c1_pm + node * config.focal_spread_pm)
        waves = abtem_probe(focus, extent=extent, gpts=gpts).build(lazy=False)
        total += weight * np.asarray(waves.intensity().array).T  # abTEM's first axis is x
    sigma2 = (config.source_fwhm_pm * SIGMA_OF_FWHM) ** 2 + config.thermal_pm**2
    f2 = (
        np.fft.fftfreq(gpts, extent / gpts)[:, None] ** 2
        + np.fft.rfftfreq(gpts, extent / gpts) ** 2
    )
    total = np.fft.irfft2(np.fft.rfft2(total) * np.exp(-2 * np.pi**2 * sigma2 * 1e-4 * f2))
    return np.asarray(total / total.sum() * (gpts / extent) ** 2)


def intensity_at(intensity: FloatArray, dy_pm: FloatArray, dx_pm: FloatArray) -> FloatArray:
    """abTEM's intensity at distances from its centre [1/angstrom^2]."""
    per_pm = GPTS / EXTENT / 100
    at = np.broadcast_arrays(GPTS // 2 + dy_pm * per_pm, GPTS // 2 + dx_pm * per_pm)
    return np.asarray(map_coordinates(intensity, at, order=5, mode="grid-wrap"))


def compare_probes() -> None:
    """Prints the largest differences, in units of the height of a column as simulated images are.

    A tail beyond the package's patch of 2.7 nm is a pedestal; what it takes from the height of a
    probe of unit sum is given for itself.
    """
    size = 130  # 2.7 nm, as in rendering
    matrix = np.eye(2) * PIXEL_PM
    offset = np.fft.fftfreq(size) * size * PIXEL_PM
    place, shape = patch_columns(np.random.default_rng(5)), (96, 96)
    print(f"{'difference over the maximum, %':36} {'probe':>9} {'image':>9} {'tails':>9}")
    for name, config in PROBES.items():
        theirs = abtem_intensity(config)
        ours = probe_intensity(config, matrix, size) / (PIXEL_PM / 100) ** 2
        there = intensity_at(theirs, offset[:, None], offset)
        height, their_height = ours.max(), there.max()
        image = render_columns(place, np.ones(len(place)), shape, matrix, config)
        image /= column_height(matrix, config)
        expected = np.zeros(shape)
        for y, x in place:
            dy, dx = (np.arange(shape[0]) - y) * PIXEL_PM, (np.arange(shape[1]) - x) * PIXEL_PM
            expected += intensity_at(theirs, dy[:, None], dx) / their_height
        probe = 100 * np.abs(ours / height - there / their_height).max()
        patch = 100 * np.abs(image - expected).max() / expected.max()
        tails = 100 * (height / their_height - 1)
        print(f"{name:36} {probe:9.3f} {patch:9.3f} {tails:9.3f}", flush=True)


def patch_columns(rng: np.random.Generator) -> FloatArray:
    """(y, x) [px] of a rotated piece of WSe2 with random displacements, about 1.6 nm wide."""
    a = WSE2.lattice_pm / PIXEL_PM
    cell = np.array([[i, j] for i in range(-3, 4) for j in range(-3, 4) if abs(i + j) < 4])
    lattice = a * np.array([[0.0, 1.0], [np.sqrt(0.75), 0.5]])
    metal = cell @ lattice
    place = np.concatenate([metal, metal + lattice.sum(axis=0) / 3])
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    place = place @ turn.T + 47.3 + rng.normal(0, 0.2, place.shape)
    return np.asarray(place[np.all(np.abs(place - 47.5) < 38, axis=1)])


# ---------------------------------------------------------------- (c) columns by multislice

SLICE = 1.68
"""Distance of the planes of metal and chalcogen [angstrom]. The waves of a pair interfere, so that
its brightness depends on this distance: rounding it to slices changes it by a tenth."""
THERMAL_A = 0.06
OBJECT_PM = 10.0
"""Width (one standard deviation) of what an atom at rest scatters to the detector, found by the
least residual: 0.3 % of the maximum, against 1.9 % for a point."""


def supercell() -> tuple[Atoms, FloatArray, list[str]]:
    """A periodic sheet, 5 a x 3 sqrt(3) a, not relaxed, with one of each defect.

    Returns
    -------
    atoms : Atoms
    place : array, `(N, 2)`
        (x, y) of the columns [angstrom].
    label : list of str
    """
    a, half = WSE2.lattice_pm / 100, SLICE
    width, height = 5 * a, 3 * np.sqrt(3) * a
    metal = (
        np.array([[i + 0.5 * (j % 2), j * np.sqrt(0.75)] for j in range(6) for i in range(5)]) * a
    )
    chalcogen = metal + [a / 2, a / np.sqrt(12)]
    labels = ["2Se"] * len(chalcogen)
    for index, name in {0: "SV", 8: "SeTe", 16: "2Te", 24: "DV"}.items():
        labels[index] = name
    pairs = {
        "2Se": ("Se", "Se"),
        "SV": ("Se", ""),
        "SeTe": ("Se", "Te"),
        "2Te": ("Te", "Te"),
        "DV": ("", ""),
    }
    symbols, atoms = ["W"] * len(metal), [[x, y, 0.0] for x, y in metal]
    for (x, y), name in zip(chalcogen, labels, strict=True):
        for element, z in zip(pairs[name], (half, -half), strict=True):
            if element:
                symbols.append(element)
                atoms.append([x, y, z])
    sheet = Atoms(
        symbols,
        positions=np.array(atoms) + [0, 0, 1.5 * SLICE],
        cell=[width, height, 4 * SLICE],
        pbc=True,
    )
    sheet.wrap()
    return sheet, np.concatenate([metal, chalcogen]) % [width, height], ["W"] * len(metal) + labels


def abtem_potential(atoms: Atoms | abtem.FrozenPhonons) -> abtem.Potential:
    """Independent atoms; each plane of atoms in the middle of a slice of its own."""
    # 200 mrad at 80 kV is 4.8 / angstrom; two thirds of the band are kept: 6.7 / angstrom.
    return abtem.Potential(atoms, sampling=0.05, slice_thickness=SLICE, parametrization="kirkland")


def multislice_scan(phonons: int, step: float) -> tuple[FloatArray, FloatArray, float]:
    """ADF image of the supercell `(y, x)`, the scan's steps (x, y) [angstrom], seconds."""
    atoms, _, _ = supercell()
    width, height = atoms.cell.lengths()[:2]
    gpts = int(np.ceil(width / step)), int(np.ceil(height / step))
    sources = atoms if phonons == 0 else abtem.FrozenPhonons(atoms, phonons, THERMAL_A, seed=1)
    potential = abtem_potential(sources)
    probe = abtem_probe(replace(PLAIN, focal_spread_pm=0, source_fwhm_pm=0))
    scan = abtem.GridScan((0, 0), (width, height), gpts=gpts, endpoint=False)
    start = time.process_time()
    measured = probe.scan(potential, scan, abtem.AnnularDetector(*DETECTOR_MRAD), lazy=False)
    seconds = time.process_time() - start
    image = np.asarray(measured.array)
    image = image.mean(axis=0) if image.ndim == 3 else image
    return image.T, np.array([width / gpts[0], height / gpts[1]]), seconds


def fit_weights(
    image: FloatArray, step: FloatArray, source_pm: float, thermal_pm: float
) -> tuple[FloatArray, float]:
    """Weight of each column by least squares, and the largest residual over the maximum."""
    probe = replace(PLAIN, focal_spread_pm=0, source_fwhm_pm=source_pm, thermal_pm=thermal_pm)
    f2 = np.fft.fftfreq(image.shape[0], step[1])[:, None] ** 2
    f2 = f2 + np.fft.rfftfreq(image.shape[1], step[0]) ** 2
    blur = np.exp(-2 * (np.pi * source_pm / 100 * SIGMA_OF_FWHM) ** 2 * f2)
    blurred = np.fft.irfft2(np.fft.rfft2(image) * blur, s=image.shape)
    _, place, _ = supercell()
    matrix = np.diag(step * 100)
    shape = np.array(image.shape)
    copies = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)]) * shape
    rows = []
    for x, y in place:
        around = np.array([y / step[1], x / step[0]]) + copies
        rows.append(render_columns(around, np.ones(9), image.shape, matrix, probe).ravel())
    design = np.array(rows).T
    weight = np.linalg.lstsq(design, blurred.ravel(), rcond=None)[0]
    residual = np.abs(design @ weight - blurred.ravel()).max() / blurred.max()
    return np.asarray(weight), float(residual)


def compare_columns(phonons: int, step: float) -> float:
    """Prints fitted column weights; returns multislice's seconds per square angstrom of scan."""
    image, steps, seconds = multislice_scan(phonons, step)
    _, _, labels = supercell()
    order = ("DV", "SV", "2Se", "SeTe", "2Te")
    print(f"\n{'brightness over W':36}" + "".join(f"{name:>8}" for name in order) + "   residual")
    for source in (80.0, 105.0):
        thermal = float(np.hypot(OBJECT_PM, 100 * THERMAL_A if phonons else 0.0))
        weight, residual = fit_weights(image, steps, source, thermal)
        of = {name: weight[np.array(labels) == name].mean() for name in {*labels}}
        row = "".join(f"{of[name] / of['W']:8.3f}" for name in order)
        kind = f"multislice, {phonons or 'no'} phonons, source {source:g} pm"
        print(f"{kind:36}{row}   {100 * residual:.2f} %", flush=True)
    names = WSE2.class_names
    for kind, weights in (
        ("simulator's default", WSE2_WEIGHTS),
        ("cross sections (scattering)", nominal_weights(WSE2)),
    ):
        print(f"{kind:36}" + "".join(f"{weights[names.index(name)]:8.3f}" for name in order))
    return seconds / (max(phonons, 1) * image.size * float(np.prod(steps)))


# ---------------------------------------------------------------- (b) time


def prism_seconds_per_area(side: float = 4.0) -> tuple[float, float]:
    """Seconds of abTEM's PRISM for the scattering matrix, and per square angstrom of scan."""
    atoms, _, _ = supercell()
    potential = abtem_potential(atoms)
    matrix = abtem.SMatrix(25.0, 80e3, potential)
    start = time.process_time()
    array = matrix.build(lazy=False)
    built = time.process_time() - start
    scan = abtem.GridScan((0, 0), (side, side), sampling=0.4, endpoint=False)
    start = time.process_time()
    measured = array.reduce(scan, detectors=abtem.AnnularDetector(*DETECTOR_MRAD))
    np.asarray(measured.compute().array)
    return built, (time.process_time() - start) / side**2


def compare_speed(multislice: float | None) -> None:
    """Prints the seconds of one exposure; abTEM's are scaled by the area of the scan."""
    area = (1024 * PIXEL_PM / 100) ** 2
    rng = np.random.default_rng(1)
    config = paper_like(rng, 10.0)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        simulate_image(config, rng)
        seconds.append(time.process_time() - start)
    ours = float(np.median(seconds))
    built, prism = prism_seconds_per_area()
    print(f"\nseconds for {area / 100:.0f} nm2, one configuration, scan at Nyquist's step")
    print(f"{'this package, with its noise':36}{ours:10.2f}")
    print(f"{'abTEM, PRISM':36}{prism * area:10.0f}  {prism * area / ours:8.0f} times as long")
    print(f"{'  (scattering matrix of the cell)':36}{built:10.1f}")
    if multislice is not None:
        total = multislice * area
        print(f"{'abTEM, multislice':36}{total:10.0f}  {total / ours:8.0f} times as long")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phonons", type=int, default=0, help="frozen-phonon configurations")
    parser.add_argument("--step", type=float, default=0.4, help="scan step [angstrom]")
    parser.add_argument("--skip-probes", action="store_true")
    parser.add_argument("--skip-multislice", action="store_true")
    arguments = parser.parse_args()
    abtem.config.set({"fftw.threads": 1})
    if not arguments.skip_probes:
        compare_probes()
    seconds = None
    if not arguments.skip_multislice:
        seconds = compare_columns(arguments.phonons, arguments.step)
    compare_speed(seconds)


if __name__ == "__main__":
    main()
