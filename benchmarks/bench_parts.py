"""Are the strains of a class's parts those of its populations?

Windows of two populations are drawn by an exact renderer with white noise: single vacancies of
-4.8 % of strain, and vacancies whose metals moved a part of that way. The class is split as a run
splits it. Strain of both parts and outward displacement of the shells around, against what was
built in: bias, scatter over the seeds, stated errors and pulls.

    python benchmarks/bench_parts.py --seeds 40 --noise 0.3 --windows 250
"""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_defectstrain.columns import ColumnConfig
from napari_defectstrain.pipeline import RunConfig, measure_spacings
from napari_defectstrain.pipeline.class_measurement import measure_in_parts
from napari_defectstrain.precision import MakeupConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import exact_images as exact  # noqa: E402
from class_stage import stack_of  # noqa: E402

SIZE, REFERENCES = 61, 300
SHELLS_PM = ((150.0, 250.0), (250.0, 360.0), (360.0, 460.0))
CONFIG = RunConfig(
    columns=ColumnConfig(compare=False, fit_radius_pm=560.0),
    makeup=MakeupConfig(samples=120, errors=40, components=1),
    bootstrap=50,
    split=("SV",),
)


def places(moved: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sites, positions and weights of a vacancy whose columns moved a part of the way."""
    site, place, weight, _ = exact.structure("SV")
    return site, site + moved * (place - site), weight


def drawn(options: argparse.Namespace, seed: int) -> dict:
    """Stacks of one seed."""
    rng = np.random.default_rng([options.seed, seed])
    images = []
    for moved in (1.0, options.moved):
        _, place, weight = places(moved)
        images.append(exact.render(place, weight, exact.transfer(), SIZE))
    other = rng.random(options.windows) < options.share
    windows = np.where(other[:, None, None], images[1], images[0])
    perfect = np.tile(exact.average_image("2Se", SIZE), (REFERENCES, 1, 1))
    stacks = {}
    for name, pure in (("2Se", perfect), ("SV", windows)):
        noisy = pure + options.noise * rng.normal(size=pure.shape)
        stacks[name] = replace(stack_of(name, noisy), image_index=np.arange(len(pure)) % 4)
    return stacks


def found_of(part, moved: float) -> tuple[list[float], list[list[float]]]:
    """Strain's deviation and errors [%], and of each shell the deviation [pm] and its pulls."""
    spacing, field = part.spacing, part.displacement
    right = moved * exact.STRAINS["SV"]
    errors = [spacing.strain - right, part.budget.sigma_stat, spacing.strain_total_std]
    site, place, _ = places(moved)
    nearest = [int(np.argmin(np.hypot(*(site - own).T))) for own in field.site_pm]
    away = field.u_pm - (place - site)[nearest]
    radius = np.hypot(*field.site_pm.T)
    shells = []
    for low, high in SHELLS_PM:
        here = (radius > low) & (radius < high)
        outward = field.site_pm[here] / radius[here, None]
        pulls = (away / part.budget.total_pm)[here]
        mean = float((away[here] * outward).sum(axis=1).mean())
        shells.append([mean, float(np.mean(pulls**2))])
    return [100 * e for e in errors], shells


def main() -> None:
    """Print a line a part, and a line a shell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--noise", type=float, default=0.3, help="in heights of a metal column")
    parser.add_argument("--windows", type=int, default=250)
    parser.add_argument("--share", type=float, default=0.3, help="of the second population")
    parser.add_argument("--moved", type=float, default=0.0, help="part of the strain that it has")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    strains: dict[float, list[list[float]]] = {1.0: [], options.moved: []}
    shells: dict[float, list[list[list[float]]]] = {1.0: [], options.moved: []}
    whole, left = [], []
    for seed in range(options.seeds):
        stacks = drawn(options, seed)
        measured = measure_spacings(stacks, CONFIG)
        whole.append(100 * measured["SV"].spacing.strain)
        _, measured, notes = measure_in_parts(stacks, measured, CONFIG)
        if "SV.1" not in measured:
            left.append(notes)
            continue
        pair = sorted((measured["SV.1"], measured["SV.2"]), key=lambda one: one.spacing.strain)
        for part, moved in zip(pair, (1.0, options.moved), strict=True):
            strain, around = found_of(part, moved)
            strains[moved].append(strain)
            shells[moved].append(around)
    print(f"whole class {np.mean(whole):+.2f} %; {len(left)} of {options.seeds} not split")
    for moved, rows in strains.items():
        away, stat, total = np.array(rows).T
        n = len(rows)
        print(
            f"{100 * moved * exact.STRAINS['SV']:+.2f} %: bias {away.mean():+.3f} ± "
            f"{away.std(ddof=1) / np.sqrt(n):.3f}, scatter {away.std(ddof=1):.3f}, sigma_stat "
            f"{stat.mean():.3f}, sigma_total {total.mean():.3f}; rms pull by sigma_total "
            f"{np.sqrt(np.mean((away / total) ** 2)):.2f}, by sigma_stat "
            f"{np.sqrt(np.mean((away / stat) ** 2)):.2f}; {n} seeds"
        )
        for (low, high), values in zip(
            SHELLS_PM, np.array(shells[moved]).swapaxes(0, 1), strict=True
        ):
            mean, square = values.T
            print(
                f"    {low:.0f}-{high:.0f} pm: outward {mean.mean():+.2f} ± "
                f"{mean.std(ddof=1) / np.sqrt(n):.2f} pm, rms pull {np.sqrt(square.mean()):.2f}"
            )


if __name__ == "__main__":
    main()
