"""Fields of every defect against those built in, by images of the second simulator made on the way.

`python bench_every_defect.py --profiles PROFILES.npz --seeds 8 --images 9 --processes 16`: sets of
640 x 640 px of the recipe "strain", true columns as a start (0.2 px off). For one image, all images
of a set, and thirty images of several sets: mean deviation of the strain of the nearest metals over
the sets, scatter, errors and pulls, with the shape of the profile by what can be foreseen of the
columns (`told`) and without (`plain`). `--vary` changes what the images have: `dense` (16 % of
defects), `clean sample` (no contamination).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from multiprocessing import Pool
from typing import Any

import numpy as np
import other_simulator
from bench_strain import TRUTH
from other_recipes import RECIPES

from napari_defectstrain.averages.patches import find_patches, lattice_constant
from napari_defectstrain.columns.images.measure import ImageColumns, fit_image_columns
from napari_defectstrain.materials import WSE2
from napari_defectstrain.precision import class_fields
from napari_defectstrain.precision.foreseen_columns import ForeseenColumns
from napari_defectstrain.types import CalibratedImage, DisplacementField, FloatArray, Sites

A_PM, SIDE, START_PX = 328.0, 640, 0.2
VARIED: dict[str, dict[str, Any]] = {
    "paper": {},
    "dense": {"fractions": {"SeTe": 0.05, "2Te": 0.04, "SV": 0.05, "DV": 0.02}},
    "clean sample": {"contamination": 0.0},
}
DRAW = other_simulator.draw_setting
Fitted = tuple[str, int, int, CalibratedImage, Sites, ImageColumns, ImageColumns]


def fit(task: tuple[str, int, int, str]) -> Fitted:
    """One image, made and fitted both ways."""
    vary, seed, i, profiles = task
    tables = dict(np.load(profiles))
    other_simulator.draw_setting = lambda *a: {**DRAW(*a), **VARIED[vary]}
    recipe = replace(RECIPES["strain"], size_px=(SIDE, SIDE))
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(i + 1)[i])
    counts, crystal, setting = other_simulator.make_image(recipe, i, tables, rng)
    pixel = setting["pixel_size_pm"]
    place = crystal.place / pixel + (np.array(counts.shape) - 1) / 2
    inside = ((place > -0.5) & (place < np.array(counts.shape) - 0.5)).all(axis=1)
    names = WSE2.class_names
    labels = np.asarray(crystal.label)[inside]
    role = np.array([names.index(k) if k in names else len(names) - 1 for k in labels])
    start = place[inside] + np.random.default_rng(1).normal(0, START_PX, (inside.sum(), 2))
    source = np.full(len(role), "truth")
    sites = Sites(start, np.eye(len(names))[role], role, names, source)
    image = CalibratedImage(counts, pixel_size_pm=pixel, name=f"{vary} {seed} {i}")
    foresee = ForeseenColumns(sites, find_patches([image], [sites], A_PM, None), A_PM)
    told = fit_image_columns(image, start, foresee=foresee)
    blank = replace(image, data=np.zeros(counts.shape, np.float32))
    return vary, seed, i, blank, sites, fit_image_columns(image, start), told


def strain(field: DisplacementField, by_profile: FloatArray, a_pm: float) -> tuple[float, ...]:
    """Strain of the nearest metals, its error by scatter, and that by the profiles."""
    r = np.hypot(*field.site_pm.T)
    metal = np.flatnonzero(field.is_metal)
    near = metal[np.argsort(r[metal])[:3]]
    by = np.zeros((len(r), 2))
    by[near] = field.site_pm[near] / r[near, None] / 3 * np.sqrt(3) / a_pm
    flat = by.ravel()
    stat = np.sqrt(flat @ field.covariance_pm2 @ flat)
    profile = np.sqrt(np.sum((np.nan_to_num(by_profile) @ flat) ** 2))
    return float(flat @ np.nan_to_num(field.u_pm.ravel())), float(stat), float(profile)


def measure(task: tuple[bool, list[Fitted]]) -> dict[str, tuple[float, ...]]:
    """Strains of all classes by some images: deviation, errors [%]."""
    told, rows = task
    fits = iter([row[6] if told else row[5] for row in rows])
    class_fields.fit_image_columns = lambda *a, **k: next(fits)  # type: ignore[assignment]
    images, sites = [row[3] for row in rows], [row[4] for row in rows]
    a_pm = lattice_constant(images, sites, A_PM)
    found = class_fields.superposed_fields(images, sites, a_pm)
    result = {}
    for name, field in found.fields.items():
        value, stat, profile = strain(field, found.profile_shift_pm[name], a_pm)
        away = value - TRUTH[name]
        result[name] = tuple(100 * x for x in (away, stat, np.hypot(stat, profile)))
    return result


def table(sets: list[dict[str, tuple[float, ...]]]) -> str:
    """One line of figures a class."""
    lines = []
    for name in TRUTH:
        away, stat, total = np.array([s[name] for s in sets if name in s]).T
        n = max(len(away), 2)
        pull = np.sqrt(np.mean((away / total) ** 2))
        lines.append(
            f"  {name:5} mean {away.mean():+.3f} ± {away.std() * np.sqrt(1 / (n - 1)):.3f}  "
            f"scatter {away.std() * np.sqrt(n / (n - 1)):.3f}  stat {stat.mean():.3f}  total "
            f"{total.mean():.3f}  pulls {pull:.2f}, at most {np.abs(away / total).max():.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", required=True, help="other_simulator.py profiles")
    parser.add_argument("--first", type=int, default=4001, help="seed of the first set")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--images", type=int, default=9)
    parser.add_argument("--vary", default="paper", choices=VARIED)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.seeds)
    tasks = [(asked.vary, s, i, asked.profiles) for s in seeds for i in range(asked.images)]
    with Pool(asked.processes) as pool:
        rows = list(pool.imap(fit, tasks, chunksize=1))
        of_set = [[row for row in rows if row[1] == s] for s in seeds]
        groups = {1: [r[:1] for r in of_set], asked.images: of_set}
        groups[30] = [rows[30 * k : 30 * k + 30] for k in range(len(rows) // 30)]
        for size, sets in groups.items():
            for told in (False, True):
                found = pool.map(measure, [(told, s) for s in sets], chunksize=1)
                if found:
                    print(f"{size} images, {len(sets)} sets, {'told' if told else 'plain'}")
                    print(table(found), flush=True)


if __name__ == "__main__":
    main()
