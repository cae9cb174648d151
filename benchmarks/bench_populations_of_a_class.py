"""Stacks of single vacancies of which some are passivated: are two populations seen, how many?

python benchmarks/bench_populations_of_a_class.py [--seeds 100] [--first 1000] [--shares 0 .1 .3]

A passivated vacancy is one whose missing Se is replaced by an O that undoes the relaxation: nearly
as bright (8 % of a W's height apart) and undistorted. Windows are drawn by the exact renderer at
the paper's numbers (576 SV, 437 2Se; doi:10.1021/acs.nanolett.0c00269), dose and noise, each with
defects around it beyond the isolation shells that strain it (15 % of the sites, in one of 100
surroundings for each kind), moved by what registration leaves (0.03 px). The number of passivated
ones is binomial, so that intervals are of the share that nature draws from.

Prints, for each share, how often two populations are called, how often the intervals of the share
and of the strain of the rest cover the truth, their bias and width, and what was said to be seen.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.spatial import cKDTree

from napari_defectstrain.averages import average_stack
from napari_defectstrain.columns import ColumnConfig, ColumnMeasurement, measure_columns
from napari_defectstrain.crystal import ideal_sites
from napari_defectstrain.materials import WSE2
from napari_defectstrain.precision import (
    ClassMakeup,
    MakeupConfig,
    ask_populations,
    nearest_metal_spacings,
    window_quantities,
)
from napari_defectstrain.precision.budget_parts import Pair, profile_error, rings_of
from napari_defectstrain.simulate import (
    WSE2_WEIGHTS,
    ProbeConfig,
    ScanConfig,
    column_height,
    jitter_lines,
    relative_weight,
    render_columns,
)
from napari_defectstrain.theory import bundled_reference
from napari_defectstrain.types import ClassAverage, ClassStack, FloatArray

A_PM, STEP_PM, SIZE = WSE2.lattice_pm, 20.74, 75
N_SV, N_REFERENCE = 576, 437
SURROUNDINGS = 100
SHELLS = 1.9  # defects lie beyond the first two shells of chalcogens, at a and 1.73 a
DEFECTS = {"SeTe": 0.06, "2Te": 0.03, "SV": 0.05, "DV": 0.01}
REGISTRATION_PX = 0.03
REFERENCE, CLASS = WSE2.class_names[1], "SV"
COLUMNS = ColumnConfig(compare=False, fit_radius_pm=750.0)
LEVEL_95 = 1.96


@dataclass(frozen=True)
class Pool:
    """Noise-free windows `(100, P, P)` of each kind, height of a metal column 1.

    `strain` is that of the relaxed ones against the defect-free ones: the surroundings, too, strain
    their triangles.
    """

    reference: FloatArray
    relaxed: FloatArray
    passivated: FloatArray
    strain: float


@cache
def field(name: str) -> Callable[[FloatArray], FloatArray]:
    """Displacement around a defect, of columns at lattice places `(N, 2)` [pm]."""
    site, _ = ideal_sites(A_PM, 2.2 * SIZE * STEP_PM)
    displacement = np.nan_to_num(bundled_reference(name).columns.at(site, A_PM))
    tree = cKDTree(site)

    def at(offset_pm: FloatArray) -> FloatArray:
        distance, index = tree.query(offset_pm)
        return np.where(distance[:, None] < 1.0, displacement[index], 0.0)

    return at


def render(kind: str, probe: ProbeConfig, rng: np.random.Generator) -> tuple[FloatArray, float]:
    """One noise-free window around a defect with random surroundings, its triangle's size [pm]."""
    site, is_metal = ideal_sites(A_PM, SIZE * STEP_PM)
    weight = np.where(is_metal, WSE2_WEIGHTS[0], WSE2_WEIGHTS[1])
    moved = np.zeros_like(site)
    free = ~is_metal & (np.hypot(*site.T) > SHELLS * A_PM)
    drawn = rng.choice(
        len(DEFECTS) + 1, size=len(site), p=[1 - sum(DEFECTS.values()), *DEFECTS.values()]
    )
    for k, name in enumerate(DEFECTS, start=1):
        for i in np.flatnonzero(free & (drawn == k)):
            weight[i] = WSE2_WEIGHTS[WSE2.class_names.index(name)]
            moved += field(name)(site - site[i])
    if kind != REFERENCE:
        weight[0] = WSE2_WEIGHTS[WSE2.class_names.index(CLASS)]
    if kind == "passivated":
        weight[0] += relative_weight("O", "W", probe.energy_kev)
    if kind == CLASS:
        moved += field(CLASS)(site)
    place = site + moved
    middle = SIZE // 2 + REGISTRATION_PX * rng.standard_normal(2)
    yx = np.stack([middle[0] - place[:, 1] / STEP_PM, middle[1] + place[:, 0] / STEP_PM], axis=1)
    matrix = STEP_PM * np.eye(2)
    image = render_columns(yx, weight, (SIZE, SIZE), matrix, probe) / column_height(matrix, probe)
    return image, float(nearest_metal_spacings(place, site, is_metal).mean())


def pool(probe: ProbeConfig, rng: np.random.Generator) -> Pool:
    """Windows to draw from."""
    kinds = (REFERENCE, CLASS, "passivated")
    drawn = [[render(k, probe, rng) for _ in range(SURROUNDINGS)] for k in kinds]
    images = [np.stack([image for image, _ in one]) for one in drawn]
    spacing = [float(np.mean([size for _, size in one])) for one in drawn]
    return Pool(*images, strain=spacing[1] / spacing[0] - 1.0)


def exposed(images: FloatArray, n: int, scan: ScanConfig, rng: np.random.Generator) -> FloatArray:
    """Windows with the jitter, counts and read noise of an image, `(n, P, P)`."""
    windows = np.empty((n, SIZE, SIZE), dtype=np.float32)
    height = scan.dose_e_per_nm2 * (STEP_PM * 1e-3) ** 2 * scan.metal_fraction
    for window, k in zip(windows, rng.integers(len(images), size=n), strict=True):
        shift = rng.normal(0, scan.jitter_px, (scan.frames, SIZE))
        blurred = jitter_lines(images[k], shift - shift.mean(axis=1, keepdims=True))
        counts = rng.poisson(np.clip(blurred, 0, None) * height) / height
        window[:] = counts + scan.read_noise * rng.standard_normal((SIZE, SIZE))
    return windows


def stack_of(name: str, windows: FloatArray) -> ClassStack:
    n = len(windows)
    pairs = np.zeros((n, 2))
    return ClassStack(
        class_name=name,
        windows=windows,
        step_pm=STEP_PM,
        a_pm=A_PM,
        image_index=np.zeros(n, dtype=int),
        site_index=np.arange(n),
        position_px=pairs,
        shift_pm=pairs,
        probability=np.ones(n),
        included=np.ones(n, dtype=bool),
        reason=np.full(n, ""),
    )


def measured(
    reference: FloatArray, vacancies: FloatArray
) -> tuple[dict[str, ClassStack], Mapping[str, ClassAverage], Mapping[str, ColumnMeasurement]]:
    """Stacks, averages and columns of both classes."""
    stacks = {REFERENCE: stack_of(REFERENCE, reference), CLASS: stack_of(CLASS, vacancies)}
    averages = {name: average_stack(stack) for name, stack in stacks.items()}
    return stacks, averages, measure_columns(stacks, averages, COLUMNS)


def ask(
    reference: FloatArray, vacancies: FloatArray, config: MakeupConfig, seed: list[int]
) -> ClassMakeup:
    """What one stack is made of, with the error that its class shares."""
    stacks, averages, columns = measured(reference, vacancies)
    quantities = window_quantities(CLASS, columns, stacks, averages, REFERENCE)
    found = ask_populations(quantities.sample, config, np.random.default_rng(seed))
    own, base = columns[CLASS], columns[REFERENCE]
    rings = rings_of(own.fits, A_PM)
    systematic = profile_error(own, base, Pair.of(own, base), rings)[1]
    return ClassMakeup(quantities, found, (), (), None, systematic)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.1, 0.3])
    parser.add_argument("--samples", type=int, default=119)
    given = parser.parse_args()
    scan, probe = ScanConfig(), ProbeConfig()
    config = MakeupConfig(samples=given.samples)
    windows = pool(probe, np.random.default_rng([given.first, 0]))
    truth = windows.strain
    rows: dict[float, list[dict[str, float]]] = {share: [] for share in given.shares}
    start = time.perf_counter()
    for seed in range(given.first, given.first + given.seeds):
        rng = np.random.default_rng([seed, 1])
        reference = exposed(windows.reference, N_REFERENCE, scan, rng)
        relaxed = exposed(windows.relaxed, N_SV, scan, rng)
        number = {share: int(rng.binomial(N_SV, share)) for share in given.shares}
        passivated = exposed(windows.passivated, max(number.values()), scan, rng)
        for share, rows_of in rows.items():
            k = number[share]
            mixed = np.concatenate([passivated[:k], relaxed[k:]])
            rows_of.append(row(share, truth, ask(reference, mixed, config, [seed, 2])))
    for share, rows_of in rows.items():
        report(share, rows_of, truth)
    print(f"{time.perf_counter() - start:.0f} s for {given.seeds} seeds")


def row(share: float, truth: float, makeup: ClassMakeup) -> dict[str, float]:
    """What one stack says."""
    quantities, found = makeup.quantities, makeup.populations
    assert quantities is not None and found is not None
    spacing_std = quantities.noise[:, 1].std() / np.sqrt(len(quantities.noise))
    rest = found.populations[0]
    low, high = found.undistorted_95
    values = {
        "two": found.two,
        "p": found.p,
        "covers": low <= share <= high,
        "seen_from": found.seen_from,
        "scale": found.noise_scale,
        "far": quantities.noise_scale,
        "upper": high,
    }
    if found.two:
        passive = min(found.populations, key=lambda q: abs(q.value[1] - quantities.undistorted[1]))
        rest = next(q for q in found.populations if q is not passive)
        low, high = passive.share_95
        values |= {"share": passive.share, "share_std": passive.share_std}
        values |= {
            "covers_free": low <= share <= high,
            "undistorted": makeup.is_undistorted(passive),
        }
        values["other"], told = makeup.strain_of(passive)
        values["other_pull"] = values["other"] / told
    strain, told = makeup.strain_of(rest)
    error = np.hypot(rest.value_std[1], spacing_std) / quantities.reference_pm
    values |= {"rest": strain, "rest_std": error, "rest_told": told}
    values["rest_covers"] = abs(strain - truth) < LEVEL_95 * told
    values["windows_cover"] = abs(strain - truth) < LEVEL_95 * error
    return values


def report(share: float, rows: list[dict[str, float]], truth: float) -> None:
    """What the stacks of one share say, together."""

    def of(key: str) -> FloatArray:
        return np.array([r[key] for r in rows if key in r], dtype=float)

    p, rest, free = of("p"), 100 * of("rest"), 100 * of("share")
    print(f"\n{100 * share:.0f} % passivated, {len(rows)} stacks:")
    print(f"  two populations called: {of('two').sum():.0f}; p < .05: {(p < 0.05).sum()}")
    print(
        f"  interval of the undistorted share covers {of('covers').sum():.0f}, median upper end "
        f"{100 * np.median(of('upper')):.2f} %"
    )
    if len(free):
        print(
            f"  share {free.mean():.2f} %, scatter {free.std():.2f}, error "
            f"{100 * of('share_std').mean():.2f}; its interval covers "
            f"{of('covers_free').sum():.0f} of {len(free)}; called undistorted "
            f"{of('undistorted').sum():.0f}; strain {100 * of('other').mean():+.2f} %, pulls "
            f"{of('other_pull').mean():+.2f} ± {of('other_pull').std():.2f}"
        )
    print(
        f"  the rest {rest.mean():+.3f} % (built in {100 * truth:+.3f}), scatter {rest.std():.3f}, "
        f"error {100 * of('rest_told').mean():.3f}; covers {of('rest_covers').sum():.0f}; by the "
        f"windows alone {100 * of('rest_std').mean():.3f}, {of('windows_cover').sum():.0f}"
    )
    print(
        f"  seen from {100 * np.nanmedian(of('seen_from')):.2f} %; noise over that of 2Se: fitted "
        f"{of('scale').mean():.3f}, far columns {of('far').mean():.3f} ± {of('far').std():.3f}"
    )


if __name__ == "__main__":
    main()
