"""Dose series of known rates: rates found, true links kept, columns named.

``python benchmarks/bench_series.py [--seeds 301 302 303]`` makes a series for each seed, with rates
and noise of its own, follows its sites, and prints what was built in beside what was found;
``--sample`` does so with the bundled dose series.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_defectstrain.frames import FrameConfig
from napari_defectstrain.io import read_images
from napari_defectstrain.materials import ROLES, WSE2
from napari_defectstrain.pipeline import RunConfig
from napari_defectstrain.series import SeriesConfig, SeriesResult, analyse_series, series_text
from napari_defectstrain.simulate import (
    ChangingSeries,
    CrystalConfig,
    SimulationConfig,
    simulate_changes,
)
from napari_defectstrain.types import CalibratedImage

SAMPLE = Path(__file__).parents[1] / "sample_data" / "dose_series"
KINDS = [("X2", "V1"), ("V1", "V2"), ("V1", "X2")]


def made(seed: int, frames: int, side: int) -> ChangingSeries:
    """A series whose rates, dose and drift are drawn by its seed."""
    rng = np.random.default_rng(seed)
    loss = float(np.exp(rng.uniform(np.log(0.002), np.log(0.012))))
    fill = float(rng.choice([0.0, 0.02]))
    hop = float(rng.choice([0.0, 0.03]))
    config = SimulationConfig(
        crystal=CrystalConfig(fractions=(0.06, 0.03, 0.02, 0.002)),
    )
    scan = config.scan.replace(
        shape=(side, side),
        pixel_size_pm=30.0,
        rotation_deg=float(rng.uniform(0, 60)),
        dose_e_per_nm2=float(np.exp(rng.uniform(np.log(8e5), np.log(4e6)))),
        frames=1,
        jitter_px=0.5,
        read_noise=float(rng.uniform(0.1, 0.22)),
        contamination=0.15,
        texture=0.15,
    )
    return simulate_changes(
        config.replace(scan=scan),
        rng,
        f"seed_{seed}",
        frames,
        {("X2", "V1"): 2 * loss, ("V1", "V2"): loss, ("V1", "X2"): fill},
        hop,
        tuple(rng.uniform(-1, 1, 2)),
    )


def score(result: SeriesResult, place: np.ndarray, history: np.ndarray) -> dict[str, object]:
    """What is right of the histories: sites, links, changes, beside each sum by itself."""
    found = result.histories
    assert found is not None
    # the sums begin at the corner of the field that all frames show; sites lie on true places
    corner = np.array(result.registered.found.region)[[0, 2]]
    near, which = cKDTree(place).query(found.sites.place_px + corner)
    there = near < 5.0
    role = np.array([WSE2.class_names.index(n) for n in found.sites.names])
    path = role[found.states.path]
    seen = found.sites.detected()
    alone = np.where(seen >= 0, role[seen], 0)
    x2 = ROLES.index("X2")
    middle = [int(g[(len(g) - 1) // 2]) for g in found.groups]
    true = history[middle][:, which]
    label = np.full(path.shape, -1)
    label[found.tracks.group, found.tracks.site] = found.tracks.track
    still = np.stack([(history[g] == history[g[0]]).all(axis=0)[which] for g in found.groups])
    links = ((true[1:] != x2) & (true[:-1] != x2))[:, there]
    clear = links & (still[1:] & still[:-1])[:, there]  # no change within either sum
    told = ((label[1:] >= 0) & (label[1:] == label[:-1]))[:, there]
    single = ((alone[1:] > x2) & (alone[:-1] > x2))[:, there]
    return {
        "sites": int(there.sum()),
        "wrong, each sum alone": float((alone != true)[:, there].mean()),
        "wrong, by the chain": float((path != true)[:, there].mean()),
        "true links": int(links.sum()),
        "kept": float((told & links).sum() / max(links.sum(), 1)),
        "kept, of those that no sum mixes": float((told & clear).sum() / max(clear.sum(), 1)),
        "false": float((told & ~links).sum() / max(told.sum(), 1)),
        "kept, each sum alone": float((single & links).sum() / max(links.sum(), 1)),
    }


def hops_found(result: SeriesResult, history: np.ndarray) -> tuple[int, int]:
    """Migrations that were told, and single vacancies that truly left a site for a neighbour."""
    assert result.histories is not None
    v1, x2 = ROLES.index("V1"), ROLES.index("X2")
    left = ((history[:-1] == v1) & (history[1:] == x2)).sum()
    return result.histories.events.kind.count("migration") // 2, int(left)


def report(name: str, result: SeriesResult, rates: dict[tuple[str, str], float]) -> None:
    """Print rates beside the built-in ones, in 1e6 e-/nm2."""
    found = result.histories
    assert found is not None
    for pair, true in rates.items():
        names = tuple(WSE2.class_names[ROLES.index(role)] for role in pair)
        for one in found.rates:
            if (one.before, one.after) == names:
                inside = one.low <= true <= one.high
                print(
                    f"{name}: {names[0]} -> {names[1]}: built in {true:.3g}, found {one.rate:.3g} "
                    f"+- {one.sigma:.2g} [{one.low:.3g}, {one.high:.3g}], "
                    f"{one.changes:.1f} changes, pull {(one.rate - true) / one.sigma:+.2f}, "
                    f"inside {inside}"
                )


def follow(name: str, frames: list[CalibratedImage], per_sum: int | None) -> SeriesResult:
    """Follow the sites of a series, and say what that took."""
    start = time.process_time()
    run = RunConfig(series=FrameConfig(jitter="off"))
    result = analyse_series(frames, SeriesConfig(per_sum=per_sum), run, name)
    print(series_text(result))
    for note in result.warnings:
        print("  warning:", note[:240])
    print(f"  {time.process_time() - start:.0f} CPU s")
    return result


def sample_history() -> tuple[np.ndarray, np.ndarray]:
    """Places and classes by frame of the bundled series."""
    truth = pd.read_csv(f"{SAMPLE}.truth.csv")
    last = np.array([WSE2.class_names.index(c) for c in truth["class"]])
    history = np.repeat(last[None], 30, axis=0)
    for t in range(30):
        history[t, truth["DV_frame"] > t] = ROLES.index("V1")
        history[t, truth["SV_frame"] > t] = ROLES.index("X2")
    return truth[["y_px", "x_px"]].to_numpy(), history


def main() -> None:
    """Make, follow, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=[301, 302, 303])
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--side", type=int, default=288)
    parser.add_argument("--per-sum", type=int)
    parser.add_argument("--sample", action="store_true")
    options = parser.parse_args()
    if options.sample:
        result = follow("dose_series", read_images(f"{SAMPLE}.tif"), options.per_sum)
        per_frame = -np.log(1 - 0.007) / 3.9, -np.log(1 - 0.0035) / 3.9
        report("sample", result, dict(zip(KINDS[:2], per_frame, strict=True)))
        print("  ", score(result, *sample_history()))
        return
    for seed in options.seeds:
        series = made(seed, options.frames, options.side)
        scan = series.image.config.scan
        print(
            f"seed {seed}: {scan.dose_e_per_nm2:.3g} e-/nm2 a frame, read noise "
            f"{scan.read_noise:.2f}, chances {series.chance}, hop {series.hop}"
        )
        frames = [
            CalibratedImage(
                f.astype(float), scan.pixel_size_pm, f"seed_{seed}", series.image.metadata
            )
            for f in series.image.counts
        ]
        result = follow(f"seed_{seed}", frames, options.per_sum)
        rates = series.rates(scan.dose_e_per_nm2 * 1e-6)
        report(f"seed {seed}", result, rates)
        told, left = hops_found(result, series.class_index)
        print(f"   {told} hops told; {left} vacancies of the whole image left their site")
        print("  ", score(result, series.image.position_px, series.class_index))


if __name__ == "__main__":
    main()
