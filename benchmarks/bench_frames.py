"""How well the frames of a series are registered, and how straight their scan lines become.

Run ``python benchmarks/bench_frames.py [what ...]`` with some of

* ``drift``: rms error of the drift and jumps by a lattice vector, over ``--seeds`` series each of
  slow drift (5 pm/s), jumps, fast drift, a nearly perfect crystal, jitter of 0.5-1.3 px, and a
  tenth of the dose;
* ``lines``: error of the W-W spacings of summed series, with and without straightened lines, beside
  series without jitter;
* ``bias``: what straightening does to the spacing around each kind of defect, at a dose that
  leaves no noise;
* ``time``: ten frames of 1024 x 1024 px.

The truth of a frame's shift is the mean shift of its lines: jitter moves that mean as well, and
nothing tells the two apart.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from napari_defectstrain.frames.register import FrameConfig, register_frames
from napari_defectstrain.materials import WSE2
from napari_defectstrain.simulate.acquisition import ScanConfig, contamination, expose, jitter_lines
from napari_defectstrain.simulate.dataset import SimulationConfig, crystal_for, crystal_image
from napari_defectstrain.types import FloatArray, IntArray

PIXEL_PM = 20.74
FRAMES = 10
PAPER_DOSE = 1.24e6
"""Of one frame [e-/nm^2]."""
READ_NOISE = 0.12 * np.sqrt(FRAMES)
"""Of one frame, of a metal column's height: 12 % in the sum."""


@dataclass(frozen=True)
class Series:
    """A simulated series: frames, noise-free first frame, columns in it, and true shifts [px]."""

    frames: IntArray
    clean: FloatArray
    position_px: FloatArray
    class_index: IntArray
    shift_px: FloatArray


def simulate(
    seed: int,
    path_px: FloatArray,
    shape: tuple[int, int] = (512, 512),
    dose: float = PAPER_DOSE,
    jitter_px: float = 1.0,
    rotation_deg: float | None = None,
    fractions: Sequence[float] | None = None,
    read_noise: float = READ_NOISE,
) -> Series:
    """Frames along a path, every line of every frame off by itself."""
    rng = np.random.default_rng(seed)
    scan = ScanConfig(
        shape=shape,
        rotation_deg=float(rng.uniform(0, 60)) if rotation_deg is None else rotation_deg,
        dose_e_per_nm2=dose,
        read_noise=float(read_noise),
        frames=1,
        jitter_px=0.0,
    )
    config = SimulationConfig(scan=scan)
    if fractions is not None:
        config = config.replace(crystal=config.crystal.replace(fractions=tuple(fractions)))
    crystal = crystal_for(config, rng)
    dirt = contamination(scan, rng)
    origin = (np.asarray(shape) - 1) / 2
    frames, shift = [], np.array(path_px, dtype=float)
    for t, place in enumerate(path_px):
        clean, position = crystal_image(crystal, config, origin + place)
        clean = clean + np.roll(dirt, np.rint(place).astype(int), axis=(0, 1))
        if t == 0:
            first, where = clean, position
        off = rng.normal(0, jitter_px, (1, shape[0]))
        shift[t, 1] += off.mean()
        frames.append(expose(jitter_lines(clean, off) if jitter_px else clean, scan, rng))
    return Series(np.array(frames), first, where, crystal.class_index, shift - shift[0])


def slow(rng: np.random.Generator) -> FloatArray:
    """5 pm/s at 2.1 s a frame of 1024 x 1024 px."""
    angle = rng.uniform(0, 2 * np.pi)
    step = 5.0 * 2.1 / PIXEL_PM * np.array([np.sin(angle), np.cos(angle)])
    return np.arange(FRAMES)[:, None] * step


def jumps(rng: np.random.Generator) -> FloatArray:
    """Jumps of some 350 pm between all frames."""
    return np.vstack([[0.0, 0.0], rng.normal(0, 12.0, (FRAMES - 1, 2))])


def fast(rng: np.random.Generator) -> FloatArray:
    """4 px a frame, changing."""
    return np.cumsum(np.vstack([[0.0, 0.0], rng.normal(3.0, 2.0, (FRAMES - 1, 2))]), axis=0)


CASES = {
    "slow drift": {"path": slow},
    "jumps": {"path": jumps},
    "fast drift": {"path": fast},
    "jitter 0.5 px": {"path": slow, "jitter_px": 0.5},
    "jitter 1.3 px": {"path": slow, "jitter_px": 1.3},
    "1 % of defects, slow": {"path": slow, "fractions": (0.004, 0.002, 0.004, 0.0)},
    "3 % of defects, jumps": {"path": jumps, "fractions": (0.012, 0.006, 0.012, 0.0)},
    "1 % of defects, jumps": {"path": jumps, "fractions": (0.004, 0.002, 0.004, 0.0)},
    "a tenth of the dose, slow": {"path": slow, "dose": PAPER_DOSE / 10},
    "a tenth of the dose, jumps": {"path": jumps, "dose": PAPER_DOSE / 10},
}


def drift(seeds: int, side: int, jitter: str, chosen: Sequence[str]) -> None:
    """Table of errors and jumps."""
    print(f"{seeds} series of {FRAMES} frames of {side} x {side} px, jitter = {jitter}")
    print(f"{'case':28s} {'rms y':>6s} {'rms x':>6s} {'max':>6s}  jumps  unsure  bad  pull y")
    for name in chosen or CASES:
        case = CASES[name]
        options = {k: v for k, v in case.items() if k != "path"}
        error, pull = [], []
        jumped = unsure = bad = 0
        for seed in range(seeds):
            path = case["path"](np.random.default_rng([seed, 1]))
            series = simulate(seed, path, (side, side), **options)
            found = register_frames(series.frames, FrameConfig(jitter=jitter))
            off = found.shift_px - series.shift_px
            off -= np.median(off, axis=0)
            jumped += int((np.hypot(*off.T) > 3).any())
            unsure += int(found.ambiguous.any())
            bad += int(found.bad.any())
            right = off[np.hypot(*off.T) <= 3]
            error.append(right * PIXEL_PM)
            pull.append(off[:, 0] / found.sigma_px[:, 0])
        each = np.concatenate(error)
        rms, top = np.sqrt((each**2).mean(axis=0)), np.abs(each).max()
        print(
            f"{name:28s} {rms[0]:6.2f} {rms[1]:6.2f} {top:6.2f}  {jumped:5d}  {unsure:6d}  {bad:3d}"
            f"  {np.concatenate(pull).std():6.2f}",
            flush=True,
        )


def column_positions(image: FloatArray, start: FloatArray, sigma_px: float = 2.3) -> FloatArray:
    """Least-squares places of columns: a Gaussian of fixed width and a constant within 3.6 px."""
    reach = np.arange(-4, 5)
    oy, ox = (a.ravel() for a in np.meshgrid(reach, reach, indexing="ij"))
    place = start.copy()
    for _ in range(15):
        centre = np.rint(place).astype(int)
        y, x = centre[:, :1] + oy, centre[:, 1:] + ox
        dy, dx = y - place[:, :1], x - place[:, 1:]
        shape = np.exp(-(dy**2 + dx**2) / (2 * sigma_px**2))
        basis = np.stack([np.ones_like(shape), shape, shape * dy, shape * dx], axis=-1)
        basis *= (np.hypot(dy, dx) <= 3.6)[..., None]
        normal = np.einsum("npi,npj->nij", basis, basis)
        right = np.einsum("npi,np->ni", basis, image[y, x])
        found = np.linalg.solve(normal, right[..., None])[..., 0]
        place += np.clip(sigma_px**2 * found[:, 2:] / found[:, 1:2], -0.5, 0.5)
    return place


def _metals(series: Series, summed: FloatArray, region: Sequence[int]) -> tuple[FloatArray, ...]:
    """Metal columns well inside: start, measured and noise-free places in the sum [px]."""
    y0, y1, x0, x1 = region
    place = series.position_px[series.class_index == 0] - [y0, x0]
    inside = ((place > 10) & (place < np.array(summed.shape) - 11)).all(axis=1)
    place = place[inside]
    clean = series.clean[y0:y1, x0:x1]
    return place, column_positions(summed, place), column_positions(clean, place)


def lines(seeds: int, side: int) -> None:
    """W-W spacings with and without straightened lines."""
    print(f"{seeds} series of {side} x {side} px; standard deviations [pm]")
    print("jitter  lines   W-W   W-W error  place y  place x")
    for jitter_px in (0.0, 0.5, 1.0, 1.3):
        for mode in ("off", "auto"):
            rows = []
            for seed in range(seeds):
                path = slow(np.random.default_rng([seed, 1]))
                series = simulate(seed, path, (side, side), jitter_px=jitter_px)
                found = register_frames(series.frames, FrameConfig(jitter=mode))
                start, measured, clean = _metals(series, found.summed, found.region)
                i, j = np.array(sorted(cKDTree(start).query_pairs(18.5))).T
                spacing, truth = (np.hypot(*(p[i] - p[j]).T) * PIXEL_PM for p in (measured, clean))
                place = ((measured - clean) * PIXEL_PM).std(axis=0)
                rows.append([spacing.std(), (spacing - truth).std(), *place])
            mean = np.mean(rows, axis=0)
            print(f"{jitter_px:6.1f}  {mode:5s}" + "".join(f"  {v:7.2f}" for v in mean), flush=True)


def bias(seeds: int, side: int) -> None:
    """Mean of the three spacings around each defect, less that of the noise-free image."""
    print(f"{seeds} series of {side} x {side} px at 20 times the dose, jitter 1 px; error [pm]")
    for rotation in (0.0, 17.0, 30.0):
        for mode in ("off", "on"):  # auto would leave some series alone: no test of straightening
            error: dict[int, list[float]] = {}
            for seed in range(seeds):
                path = slow(np.random.default_rng([seed, 1]))
                series = simulate(
                    seed, path, (side, side), 20 * PAPER_DOSE, 1.0, rotation, read_noise=0.0
                )
                found = register_frames(series.frames, FrameConfig(jitter=mode))
                start, measured, clean = _metals(series, found.summed, found.region)
                corner = np.array(found.region[0::2])
                tree = cKDTree(start)
                for role in range(1, 6):
                    centre = series.position_px[series.class_index == role] - corner
                    far, near = tree.query(centre, k=3)
                    near = near[(far < 13).all(axis=1)]
                    error.setdefault(role, []).extend(
                        PIXEL_PM * (_spacing(measured, near) - _spacing(clean, near))
                    )
            text = f"{rotation:4.0f} deg {mode:5s}"
            for role, values in error.items():
                one = np.std(values) / np.sqrt(len(values))
                text += f"  {WSE2.class_names[role]} {np.mean(values):+.3f} ± {one:.3f}"
            print(text, flush=True)


def _spacing(place: FloatArray, three: IntArray) -> FloatArray:
    p = place[three]  # (n, 3, 2)
    return np.asarray(np.linalg.norm(p - np.roll(p, 1, axis=1), axis=2).mean(axis=1))


def speed() -> None:
    """Seconds for ten frames of 1024 x 1024 px."""
    series = simulate(0, slow(np.random.default_rng(0)), (1024, 1024))
    for mode in ("off", "auto"):
        start = time.perf_counter()
        register_frames(series.frames, FrameConfig(jitter=mode))
        print(f"1024 x 1024 x {FRAMES}, jitter {mode}: {time.perf_counter() - start:.1f} s")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["drift", "lines", "bias", "time"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--cases", nargs="*", choices=CASES, help="of the drift; default all")
    parser.add_argument("--jitter", default="off", help="of the drift: off or auto")
    options = parser.parse_args()
    if "drift" in options.what:
        drift(options.seeds, options.side, options.jitter, options.cases)
    if "lines" in options.what:
        lines(options.seeds, options.side)
    if "bias" in options.what:
        bias(options.seeds, options.side)
    if "time" in options.what:
        speed()


if __name__ == "__main__":
    main()
