"""Averages of isolated and of all defects, by the whole chain, on sets of images of 15 % defects.

`python bench_crowded_sets.py --profiles PROFILES.npz --out DIR --first 6001 --seeds 8` makes sets
of nine images of the second simulator (640 x 640 px, the relaxed structures built in, 15 % of the
chalcogen columns defects, dirt, jitter, tails of 5 %), gives the chain the true columns, blurred
by 5 pm (`--columns network`: those that it finds; both words: both, of the same images), and
measures isolated and crowded averages of each set and of its first image. `--fields` asks whole
images alone for the strains of crowded averages, in a third of the time: no pictures, no isolated
averages; errors are those of noise and of the profile. What is done is in `DIR/rows.csv`, a row a
quantity; done again, it goes on. `--summary` prints the tables of what is there: mean deviation
from what is built in, scatter over the sets, errors and pulls, of the strain (% of the spacing)
and, pooled with it, of the radial displacement of the three nearest shells of metals.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import other_simulator
import pandas as pd
from other_crystals import DEFECTS, spacing_change, supercell_field
from other_recipes import RECIPES
from scipy.spatial import cKDTree

from napari_defectstrain.averages.patches import lattice_constant
from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline.chain import detect, measure
from napari_defectstrain.pipeline.runs import ClassMeasurement, RunConfig
from napari_defectstrain.precision.class_fields import superposed_fields
from napari_defectstrain.types import CalibratedImage, FloatArray, Sites

SIDE, BLUR_PM, BOOTSTRAP = 640, 5.0, 500
DENSE = {"SeTe": 0.05, "2Te": 0.035, "SV": 0.05, "DV": 0.015}
SHELLS = np.sqrt([1 / 3, 4 / 3, 7 / 3])
DRAW = other_simulator.draw_setting
CONFIG = RunConfig(bootstrap=BOOTSTRAP)
CONFIG = CONFIG.replace(average=CONFIG.average.replace(crowded=True))


def make(
    seed: int, number: int, tables: dict[str, Any], side: int = SIDE
) -> tuple[CalibratedImage, Sites]:
    """One image and its true columns, at places blurred as a network's are."""
    other_simulator.draw_setting = lambda *a: {**DRAW(*a), "fractions": DENSE}
    recipe = replace(RECIPES["strain structures"], size_px=(side, side))
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(number + 1)[number])
    counts, crystal, setting = other_simulator.make_image(recipe, number, tables, rng)
    pixel = setting["pixel_size_pm"]
    last = np.array(counts.shape) - 1.0
    place = crystal.place / pixel + last / 2
    place = place + rng.normal(0, BLUR_PM / pixel, place.shape)
    inside = ((place >= 0) & (place <= last)).all(axis=1)
    names = WSE2.class_names
    role = np.array([names.index(k) for k in np.asarray(crystal.label)[inside]])
    source = np.full(len(role), "truth")
    sites = Sites(place[inside], np.eye(len(names))[role], role, names, source)
    image = CalibratedImage(counts, pixel_size_pm=pixel, name=f"{seed} {number}")
    return image, sites


def built_in(name: str, site_pm: FloatArray, is_metal: FloatArray, a_pm: float) -> FloatArray:
    """Displacements of the metals around a class by its relaxed structure, `(M, 2)`; else NaN."""
    offset, moved, its_a = supercell_field(name)
    place, by = (np.stack([v[:, 1], -v[:, 0]], axis=1) * a_pm / its_a for v in (offset, moved))
    best = None
    for sense in (1.0, -1.0):
        away, column = cKDTree(place).query(sense * site_pm[is_metal])
        if best is None or away.mean() < best[0]:
            best = away.mean(), sense * by[column]
    assert best is not None
    result = np.full_like(site_pm, np.nan)
    result[is_metal] = best[1]
    return result


def quantities(
    name: str, one: ClassMeasurement
) -> Iterator[tuple[str, float, float, float, float]]:
    """Name, value, its errors by scatter and in total, and what was built in: in % and pm."""
    budget, field = one.budget, one.displacement
    assert budget is not None
    truth = 100 * spacing_change("structures")[name]
    strain = 100 * one.spacing.strain
    yield "strain", strain, 100 * budget.sigma_stat, 100 * budget.sigma_total, truth
    if field is None:
        return
    a_pm = float(np.sqrt(3) * np.hypot(*field.site_pm[field.is_metal].T).min())
    true_u = built_in(name, field.site_pm, field.is_metal, a_pm)
    if field.projection is not None:
        filled = np.where(np.isfinite(true_u), true_u, np.nan_to_num(field.u_pm))
        true_u = (field.projection @ filled.ravel()).reshape(-1, 2)
    radius = np.hypot(*field.site_pm.T)
    for k, shell in enumerate(SHELLS):
        near = np.flatnonzero(field.is_metal & (abs(radius - shell * a_pm) < 0.05 * a_pm))
        outwards = np.zeros_like(field.site_pm)
        outwards[near] = field.site_pm[near] / radius[near, None] / len(near)
        way = outwards.ravel()
        stat = float(np.sqrt(way @ np.nan_to_num(field.covariance_pm2) @ way))
        parts = [np.nan_to_num(p) for p in budget.parts.values()]
        by_parts = float(np.sqrt(sum(np.sum(abs(outwards) * p) ** 2 for p in parts)))
        value, true = (float(np.nansum(outwards * u)) for u in (field.u_pm, true_u))
        yield f"shell {k + 1}", value, stat, float(np.hypot(stat, by_parts)), true


def rows(
    seed: int, images: list[CalibratedImage], sites: list[Sites] | None
) -> Iterator[dict[str, Any]]:
    """What the chain says of some images."""
    start = time.process_time()
    found = measure(detect(images, CONFIG, sites))
    seconds = time.process_time() - start
    for kind, measured in (("isolated", found.measurements), ("crowded", found.crowded)):
        for name in DEFECTS:
            if name not in measured:
                continue
            one = measured[name]
            for what, value, stat, total, truth in quantities(name, one):
                yield {
                    "seed": seed,
                    "images": len(images),
                    "columns": "true" if sites else "network",
                    "average": kind,
                    "class": name,
                    "quantity": what,
                    "value": value,
                    "stat": stat,
                    "total": total,
                    "truth": truth,
                    "n": one.spacing.n,
                    "seconds": seconds,
                }


def field_rows(
    seed: int, images: list[CalibratedImage], sites: list[Sites] | None
) -> Iterator[dict[str, Any]]:
    """Strains of crowded averages by the fields of all columns, without the rest of the chain."""
    start = time.process_time()
    columns, regions = sites, None
    if columns is None:
        found = detect(images, CONFIG)
        columns, regions = list(found.sites), found.regions or None
    a_pm = lattice_constant(images, columns, WSE2.lattice_pm, regions)
    fields = superposed_fields(images, columns, a_pm, regions)
    seconds = time.process_time() - start
    for name, field in fields.fields.items():
        radius = np.hypot(*field.site_pm.T)
        near = np.flatnonzero(field.is_metal & (abs(radius - a_pm / np.sqrt(3)) < 0.05 * a_pm))
        way = np.zeros_like(field.site_pm)
        way[near] = 100 * field.site_pm[near] / radius[near, None] ** 2 / len(near)
        flat = way.ravel()
        used = np.flatnonzero(flat)
        stat = float(np.sqrt(flat[used] @ field.covariance_pm2[np.ix_(used, used)] @ flat[used]))
        by_profile = fields.profile_shift_pm[name][:, used] @ flat[used]
        yield {
            "seed": seed,
            "images": len(images),
            "columns": "true" if sites else "network",
            "average": "fields",
            "class": name,
            "quantity": "strain",
            "value": float(np.nansum(way * field.u_pm)),
            "stat": stat,
            "total": float(np.hypot(stat, np.linalg.norm(by_profile))),
            "truth": 100 * spacing_change("structures")[name],
            "n": round(fields.n_defects[name]),
            "seconds": seconds,
        }


def read(path: Path) -> pd.DataFrame:
    """The rows of a table; *true* columns are a word there, no truth value."""
    return pd.read_csv(path, dtype={"columns": str})


def summary(table: pd.DataFrame) -> str:
    """Tables of all that was measured."""
    table = table.assign(away=table.value - table.truth)
    table = table.assign(pull=table.away / table.total)
    lines = []
    for (columns, size), some in table.groupby(["columns", "images"]):
        sets = some.seed.nunique()
        lines.append(f"{size} images, {sets} sets, {columns} columns; strain [%]")
        for kind, mine in some.groupby("average", sort=False):
            for name in DEFECTS:
                own = mine[(mine["class"] == name) & (mine.quantity == "strain")]
                if own.empty:
                    continue
                n, away = len(own), own.away
                lines.append(
                    f"  {kind:9}{name:5}N {own.n.mean():5.0f}  mean {away.mean():+.3f} ± "
                    f"{away.std() / np.sqrt(n):.3f}  scatter {away.std():.3f}  stat "
                    f"{own.stat.mean():.3f}  total {own.total.mean():.3f} (most "
                    f"{own.total.max():.3f})  pulls {np.sqrt((own.pull**2).mean()):.2f}, at most "
                    f"{own.pull.abs().max():.1f}  ({n} sets)"
                )
            pulls = mine.pull[mine.quantity != "shell 1"]  # that is the strain again
            width = float(np.sqrt((pulls**2).mean()))
            left = pulls.groupby([mine["class"], mine.quantity]).std().mean()
            lines.append(
                f"  {kind:9}pulls of strains and outer shells: {len(pulls)}, width {width:.2f}, "
                f"without their means {left:.2f}"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=Path, required=True, help="other_simulator.py profiles")
    parser.add_argument("--out", type=Path, required=True, help="folder of rows.csv")
    parser.add_argument("--first", type=int, default=6001, help="seed of the first set")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--sizes", type=int, nargs="+", default=[9, 1], help="images of a set")
    parser.add_argument("--columns", choices=("true", "network"), nargs="+", default=["true"])
    parser.add_argument("--side", type=int, default=SIDE, help="of the images [px]")
    parser.add_argument("--fields", action="store_true", help="whole images alone")
    parser.add_argument("--summary", action="store_true", help="print what is there, and no more")
    asked = parser.parse_args()
    path = asked.out / "rows.csv"
    if not asked.summary:
        warnings.simplefilter("ignore")
        asked.out.mkdir(parents=True, exist_ok=True)
        tables = dict(np.load(asked.profiles))
        for seed in range(asked.first, asked.first + asked.seeds):
            made: list[tuple[CalibratedImage, Sites]] = []
            for size, columns in product(asked.sizes, asked.columns):
                done = read(path) if path.exists() else None
                key = (seed, size, columns)
                if done is not None and key in set(
                    zip(done.seed, done.images, done["columns"], strict=True)
                ):
                    continue
                made += [make(seed, i, tables, asked.side) for i in range(len(made), size)]
                sites = [s for _, s in made[:size]] if columns == "true" else None
                measured = (field_rows if asked.fields else rows)(
                    seed, [image for image, _ in made[:size]], sites
                )
                found = pd.DataFrame(measured)
                found.to_csv(path, mode="a", header=done is None, index=False)
                print(seed, size, columns, f"{found.seconds.iloc[0]:.0f} CPU s", flush=True)
    print(summary(read(path)))


if __name__ == "__main__":
    main()
