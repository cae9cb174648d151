"""Does it bend a strain that its windows were chosen by detection? Detected less true, same images.

``python benchmarks/bench_selection.py PROFILES.npz DIR [--sets 8] [--images 9] [--seed 1]`` makes
sets of images of the second simulator (``other_simulator.py profiles`` makes the tables), finds
their columns by the network, judges them, and averages and measures each set three times: with the
true columns (their places blurred by 5 pm), with the network's and with the judge's. The noise, the
disorder and the profile of the images are the same each time, so that the difference of two strains
is what the choice of the windows does. No bootstrap.

Prints, for each class and over all sets: the mean difference from the strain by the true columns
with its standard error, of the strain measured, and of what the windows held: the mean spacing of
the true triangles, by that in the defect-free windows, wrong members included. Images and the
network's answers stay in DIR and are used again, and so are the numbers of a set that was measured,
unless ``--anew`` is given: a run that was cut off goes on, and several may share the sets. Run it
with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from bench_thirty import CLASSES, Truth, contents, load
from other_recipes import RECIPES
from other_simulator import make_image, write

from napari_defectstrain.averages.average import average_stack
from napari_defectstrain.columns.averages.measure import measure_columns
from napari_defectstrain.columns.averages.types import ColumnConfig
from napari_defectstrain.detect.finding.predict import detect_columns
from napari_defectstrain.judge.judging import judge_images
from napari_defectstrain.materials import get_material
from napari_defectstrain.pipeline.chain import average_classes, detect
from napari_defectstrain.pipeline.runs import MIN_MEASURED, RunConfig
from napari_defectstrain.precision.known_biases import without_known_biases
from napari_defectstrain.precision.spacings import mean_spacing
from napari_defectstrain.types import (
    CalibratedImage,
    ColumnFits,
    Sites,
)

WHO = ("true", "network", "judge")
REFERENCE = "2Se"
CONFIG = RunConfig(columns=ColumnConfig(compare=False))
"""The other column models make errors only."""


@dataclass(frozen=True)
class Answer:
    """The network's columns of one image, as they are kept."""

    sites: Sites
    pixel_size_pm: float
    overconfidence: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """One class of one set by one of `WHO`; strains in %."""

    n: int
    expected: float
    pure: float
    strain: float
    uncorrected: float
    held: float


def make_set(tables: Path, folder: Path, options: argparse.Namespace, seed: int) -> None:
    """Images of one set with their truth, unless they are there."""
    recipe = replace(RECIPES[options.recipe], size_px=(options.side, options.side))
    folder.mkdir(parents=True, exist_ok=True)
    profiles = np.load(tables)
    for number, child in enumerate(np.random.SeedSequence([4711, seed]).spawn(options.images)):
        stem = folder / f"{seed:04d}_{number:02d}"
        if not stem.with_suffix(".truth.csv").is_file():
            write(stem, *make_image(recipe, number, profiles, np.random.default_rng(child)))


def network_answer(image: CalibratedImage, path: Path) -> Answer:
    """What the network finds, read where it was kept."""
    if not path.is_file():
        found = detect_columns(image, CONFIG.detect)
        np.savez_compressed(
            path,
            position_px=found.sites.position_px,
            probabilities=found.sites.probabilities,
            class_index=found.sites.class_index,
            pixel_size_pm=found.pixel_size_pm,
            overconfidence=found.overconfidence,
        )
    kept = np.load(path)
    index = kept["class_index"]
    names = get_material(CONFIG.material).class_names
    source = np.full(len(index), "model")
    sites = Sites(kept["position_px"], kept["probabilities"], index, names, source)
    return Answer(sites, float(kept["pixel_size_pm"]), tuple(kept["overconfidence"]))


def columns_of(
    images: Sequence[CalibratedImage], truths: Sequence[Truth], folder: Path, seed: int
) -> dict[str, list[Sites]]:
    """Columns of a set by each of `WHO`; also the network's overconfidence."""
    rng = np.random.default_rng(seed)
    answers = [network_answer(image, folder / f"{image.name}.network.npz") for image in images]
    network = [a.sites for a in answers]
    pixels = [a.pixel_size_pm for a in answers]
    judged = judge_images(images, network, pixels, get_material(CONFIG.material), CONFIG.judge)
    for judgement in judged:
        for warning in judgement.warnings:
            print(f"warning: {warning}")
    true = [t.sites(rng, image) for t, image in zip(truths, images, strict=True)]
    return {"true": true, "network": network, "judge": [j.sites for j in judged]}


def rows_of(
    images: Sequence[CalibratedImage], sites: Sequence[Sites], truths: Sequence[Truth]
) -> dict[str, Row]:
    """Averages of isolated windows, measured; and what they held."""
    found = detect(images, CONFIG, sites)
    stacks = average_classes(found.images, found.sites, CONFIG, regions=found.regions)
    stacks = {name: stack for name, stack in stacks.items() if stack.n >= MIN_MEASURED}
    known = contents(replace(found, stacks=stacks), truths)
    averages = {name: average_stack(stack) for name, stack in stacks.items()}
    columns = measure_columns(stacks, averages, CONFIG.columns)
    share_error = CONFIG.budget.share_error
    freed, _ = without_known_biases(columns, averages, stacks, REFERENCE, share_error, True)
    strain = strains({name: c.fits for name, c in freed.items()})
    uncorrected = strains({name: c.fits for name, c in columns.items()})
    base = known[REFERENCE].spacing_pm
    return {
        name: Row(
            averages[name].n,
            averages[name].purity,
            known[name].purity,
            strain[name],
            uncorrected[name],
            100 * (known[name].spacing_pm / base - 1),
        )
        for name in CLASSES
        if name in strain
    }


def strains(fits: Mapping[str, ColumnFits]) -> dict[str, float]:
    """Of the metal triangle, against the defect-free one [%]."""
    spacing = {name: mean_spacing(f) for name, f in fits.items()}
    return {name: 100 * float(s / spacing[REFERENCE] - 1) for name, s in spacing.items()}


def measured_set(tables: Path, options: argparse.Namespace, seed: int) -> dict[str, dict[str, Row]]:
    """One set by all that are asked for; what was measured before is read."""
    recipe = options.recipe.replace(" ", "_")
    folder = options.folder / recipe / f"{seed:04d}_{options.side}"
    asked = ("true", *options.who)
    kept = {who: folder / f"rows.{who}.json" for who in asked}
    missing = [who for who in asked if options.anew or not kept[who].is_file()]
    if missing:
        make_set(tables, folder, options, seed)
        images, truths = load(folder, options.images)
        columns = columns_of(images, truths, folder, seed)
        for who in missing:
            rows = rows_of(images, columns[who], truths)
            kept[who].write_text(json.dumps({name: asdict(row) for name, row in rows.items()}))
    return {
        who: {name: Row(**row) for name, row in json.loads(path.read_text()).items()}
        for who, path in kept.items()
    }


def print_set(seed: int, rows: Mapping[str, Mapping[str, Row]]) -> None:
    for who, classes in rows.items():
        cells = [
            f"{name} {r.n:>3} {r.expected:.3f} {r.pure:.3f} {r.strain:+.3f} {r.uncorrected:+.3f} "
            f"{r.held:+.3f}"
            for name, r in classes.items()
        ]
        print(f"{seed:<5}{who:<9}" + " | ".join(cells), flush=True)


def print_differences(sets: Sequence[Mapping[str, Mapping[str, Row]]]) -> None:
    print(
        f"\n{'less true':<11}{'class':<6}{'N, true':>12}{'measured [%]':>20}{'uncorrected':>18}"
        f"{'held':>18}"
    )
    for who in WHO[1:]:
        for name in CLASSES:
            pairs = [(s[who][name], s["true"][name]) for s in sets if name in s.get(who, {})]
            if len(pairs) < 2:
                continue
            count = (
                f"{np.mean([a.n for a, _ in pairs]):.0f}, {np.mean([b.n for _, b in pairs]):.0f}"
            )
            strain = [a.strain - b.strain for a, b in pairs]
            uncorrected = [a.uncorrected - b.uncorrected for a, b in pairs]
            held = [a.held - b.held for a, b in pairs]
            print(
                f"{who:<11}{name:<6}{count:>12}{_mean(strain):>20}{_mean(uncorrected):>18}"
                f"{_mean(held):>18}"
            )


def _mean(differences: Sequence[float]) -> str:
    values = np.array(differences)
    return f"{values.mean():+.3f} ± {values.std(ddof=1) / np.sqrt(len(values)):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("profiles", type=Path)
    add("folder", type=Path)
    add("--sets", type=int, default=8)
    add("--images", type=int, default=9)
    add("--seed", type=int, default=1, help="of the first set; the next ones count on")
    add("--side", type=int, default=640, help="of the images [px]")
    add("--recipe", choices=RECIPES, default="strain")
    add("--who", nargs="+", choices=WHO[1:], default=WHO[1:])
    add("--anew", action="store_true", help="measure sets again that were measured")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    print("set  who      class N, purity expected, true, strain [%] measured, uncorrected, held")
    sets = []
    for seed in range(options.seed, options.seed + options.sets):
        rows = measured_set(options.profiles, options, seed)
        print_set(seed, rows)
        sets.append(rows)
    print_differences(sets)


if __name__ == "__main__":
    main()
