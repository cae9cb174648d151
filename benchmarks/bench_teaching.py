"""What do corrections of four images teach; is it said where nothing can be gained?

``python benchmarks/bench_teaching.py PROFILES.npz [--seed 501]`` makes images of the second
simulator (``other_simulator.py profiles PROFILES.npz``) in several looks. All columns of four
images of each are corrected; `teach_judge` says by these alone what helps. Then the other images,
of which it knows nothing, tell what it was worth: F1 of the judge before and after, and of the
oracle, which is what could be known at best. The time is that of teaching, without the network's.

* gamma: a picture's gamma of 2.2, which moves the weights of all classes.
* reduced: half of the chalcogen columns lack one atom, a sixth both.
* dim: MoS2 with many vacancies at a low dose, whose weights overlap.
* strangers: 6 % of the chalcogen sites hold Se beside S, a class nobody asked for, near SV's
  weight, in too much noise to be found without labels.
* clean: the paper's conditions.
* alloy: WSeTe, half of the chalcogen atoms Te at random: half of the chalcogen columns are SeTe, a
  quarter each 2Se and 2Te, so that they outshine W on the whole.

The gain and its interval come from images that nobody corrected; after is before where
nothing helps. With ``--network M`` the network is fine-tuned instead by the corrected images (every
other one of four or five, a third of more held out). With ``--by-hand M`` two networks are trained
from nothing, on simulations for M minutes and on these labels alone for as many steps;
``--folder DIR`` keeps both, and goes on from what is there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from other_recipes import Recipe
from other_simulator import make_image

from napari_defectstrain.detect import load_weights
from napari_defectstrain.detect.finding.predict import detect_columns
from napari_defectstrain.detect.network.config import DetectConfig
from napari_defectstrain.evaluation import ask_oracle, f1_by_role, truth_sites
from napari_defectstrain.judge import JudgeConfig, judge_images
from napari_defectstrain.materials import DEFECT_ROLES, ROLES, Material, get_material
from napari_defectstrain.pipeline import RunConfig
from napari_defectstrain.teaching import (
    WEIGHTS_FILE,
    Course,
    Lesson,
    Seen,
    TuneConfig,
    compare_hand_labelled,
    compared,
    counts_by_tile,
    course_text,
    seen_lessons,
    teach_judge,
    teach_network,
)
from napari_defectstrain.teaching.fine_tuning import (
    seen_by,
    split,
    standard_f1,
    standard_lessons,
)
from napari_defectstrain.teaching.holding_out import LEAST_GAIN, mean_f1
from napari_defectstrain.teaching.telling import step_lines
from napari_defectstrain.types import CalibratedImage, FloatArray, IntArray, StrArray

SIDE_PX = 384


@dataclass(frozen=True)
class Look:
    """What images share that the package's priors and network weren't made for."""

    recipe: Recipe
    gamma: float = 1.0


def _recipe(**settings: object) -> Recipe:
    return Recipe(images=24, size_px=(SIDE_PX, SIDE_PX), **settings)  # type: ignore[arg-type]


def _shares(*shares: float) -> dict[str, float]:
    return dict(zip(("SeTe", "2Te", "SV", "DV"), shares, strict=True))


LOOKS = {
    "gamma": Look(
        _recipe(same={"fractions": _shares(0.05, 0.03, 0.04, 0.004), "weights": "frozen phonons"}),
        2.2,
    ),
    "strangers": Look(
        _recipe(
            dose=0.4e7,
            read_noise=(0.15, 0.25),
            aliens={"Se+S": 0.06},
            same={"fractions": _shares(0.05, 0.03, 0.04, 0.004), "weights": "frozen phonons"},
        )
    ),
    "dim": Look(
        _recipe(
            material="MoS2",
            optics="MoS2",
            dose=0.6e7,
            read_noise=(0.15, 0.2),
            same={"fractions": {"SV": 0.15, "DV": 0.03}},
        )
    ),
    "reduced": Look(
        _recipe(same={"fractions": _shares(0.03, 0.02, 0.50, 0.15), "weights": "frozen phonons"})
    ),
    "clean": Look(_recipe(same={"fractions": _shares(0.05, 0.03, 0.05, 0.01)})),
    "alloy": Look(
        _recipe(same={"fractions": _shares(0.46, 0.23, 0.03, 0.004), "weights": "frozen phonons"})
    ),
}


@dataclass(frozen=True)
class Case:
    """An image with its truth."""

    image: CalibratedImage
    position_px: FloatArray
    class_index: IntArray
    kind: StrArray
    pixel_pm: float

    @property
    def lesson(self) -> Lesson:
        """With every column corrected."""
        looked = np.ones(self.image.data.shape, dtype=bool)
        return Lesson(self.image, self.position_px, self.class_index, looked, True)


def cases_of(name: str, tables: object, seed: int, count: int) -> Iterator[Case]:
    look = LOOKS[name]
    names = list(get_material(look.recipe.material).class_names)
    seeds = np.random.SeedSequence([seed, list(LOOKS).index(name)])
    for number, child in enumerate(seeds.spawn(count)):
        data, crystal, setting = make_image(
            look.recipe, number, tables, np.random.default_rng(child)
        )
        if look.gamma != 1:
            low, high = data.min(), np.quantile(data, 0.9999)
            data = 1e4 * np.clip((data - low) / (high - low), 0, None) ** look.gamma
        pixel = setting["pixel_size_pm"]
        place = crystal.place / pixel + (np.array(data.shape) - 1) / 2
        inside = np.all((place > -0.5) & (place < np.array(data.shape) - 0.5), axis=1)
        other = ROLES.index("other")
        role = [names.index(n) if n in names else other for n in crystal.label[inside]]
        kind = np.where(np.isin(crystal.kind[inside], names), "", crystal.kind[inside])
        image = CalibratedImage(data.astype(np.float32), pixel, name=f"{name}_{number:02d}")
        yield Case(image, place[inside], np.array(role), kind, pixel)


@dataclass
class Score:
    """F1 of the classes, each image's counts kept for intervals."""

    counts: dict[str, list[IntArray]] = field(default_factory=dict)

    def add(self, who: str, counts: IntArray) -> None:
        self.counts.setdefault(who, []).append(counts)

    def f1(self, who: str) -> FloatArray:
        return f1_by_role(np.sum(self.counts[who], axis=(0, 1)))

    def mean(self, who: str) -> float:
        return float(np.nanmean(self.f1(who)))


def seen_by_network(case: Case, material: Material) -> Seen:
    found = detect_columns(case.image, DetectConfig(material=material.name))
    return Seen(case.lesson, found.sites, found.pixel_size_pm)


def try_course(
    course: Course, cases: list[Case], seen: list[Seen], material: Material, oracle: bool
) -> Score:
    """Images that the course knows nothing of, each set judged as one run."""
    score = Score()
    for who, config in (("before", JudgeConfig()), ("after", course.judge)):
        if who == "after" and config == JudgeConfig():
            score.counts[who] = score.counts["before"]
            continue
        images, sites = [s.lesson.image for s in seen], [s.found for s in seen]
        judged = judge_images(images, sites, [s.pixel_size_pm for s in seen], material, config)
        for case, judgement in zip(cases, judged, strict=True):
            score.add(who, counts_by_tile(case.lesson, judgement.sites, case.pixel_pm))
    for case in cases if oracle else ():
        true = truth_sites(case.position_px, case.class_index, material)
        best = ask_oracle(np.asarray(case.image.data, float), true, case.pixel_pm, case.kind)
        score.add("oracle", counts_by_tile(case.lesson, best.sites, case.pixel_pm))
    return score


def try_network(cases: list[Case], material: Material, minutes: float) -> None:
    """Fine-tune, and ask the guard, whatever comes of it."""
    config = RunConfig(material=material.label)
    seen = seen_lessons([case.lesson for case in cases], config)
    tuning = TuneConfig(minutes=minutes, device="cpu")
    with TemporaryDirectory() as folder:
        out = Path(folder) / WEIGHTS_FILE
        start, cpu = time.perf_counter(), time.process_time()
        step = teach_network(seen, config, out, tuning)
        took = time.perf_counter() - start, time.process_time() - cpu
        print("\n".join(step_lines(step, material)))
        print(f"{_steps(out)} steps; tuned and tried in {took[0]:.0f} s, {took[1]:.0f} s of CPU")
        tuned = config.replace(detect=config.detect.replace(weights=str(out)))
        held = split(seen)[1]
        for who, found in (("before", held), ("after", seen_by(held, tuned))):
            counts = [counts_by_tile(s.lesson, s.found, s.pixel_size_pm) for s in found]
            print(f"the network alone, {who}: {mean_f1(np.sum(counts, axis=(0, 1))):.4f}")
        lessons = standard_lessons(material)
        for who, run in (("before", config), ("after", tuned)):
            print(f"standard set, {who}: {standard_f1(lessons, run, material):.4f}", flush=True)


def try_by_hand(
    cases: list[Case], material: Material, minutes: float, keep: Path | None, name: str
) -> None:
    """The paper's comparison."""
    config = RunConfig(material=material.label)
    seen = seen_lessons([case.lesson for case in cases], config)
    tuning = TuneConfig(minutes=minutes, device="cpu")
    start, cpu = time.perf_counter(), time.process_time()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) if keep is None else keep / name
        folder.mkdir(parents=True, exist_ok=True)
        print(compare_hand_labelled(seen, config, folder, tuning, resume=keep is not None))
    took = time.perf_counter() - start, time.process_time() - cpu
    print(f"both trained and tried in {took[0]:.0f} s, {took[1]:.0f} s of CPU", flush=True)


def _steps(weights: Path) -> int:
    """Of the training that made them."""
    return int(load_weights(weights).record[-1]["step"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("profiles")
    add("--looks", nargs="+", choices=LOOKS, default=list(LOOKS))
    add("--corrected", type=int, default=4, help="images whose columns are corrected")
    add("--held-out", type=int, default=20, help="images that tell what it was worth")
    add("--seed", type=int, default=501)
    add("--no-oracle", action="store_true")
    add("--network", type=float, metavar="M", help="only fine-tune the network, M min")
    add("--by-hand", type=float, metavar="M", help="only the paper's comparison, M min each")
    add("--folder", type=Path, metavar="DIR", help="of the networks of --by-hand (temporary)")
    options = parser.parse_args()
    tables = np.load(options.profiles)
    for name in options.looks:
        material = get_material(LOOKS[name].recipe.material)
        count = options.corrected + options.held_out
        if options.network is not None or options.by_hand is not None:
            print(f"\n{name}: the network")
            cases = list(cases_of(name, tables, options.seed, options.corrected))
            if options.network is not None:
                try_network(cases, material, options.network)
            if options.by_hand is not None:
                try_by_hand(cases, material, options.by_hand, options.folder, name)
            continue
        cases = list(cases_of(name, tables, options.seed, count))
        seen = [seen_by_network(case, material) for case in cases]
        first = options.corrected
        start, cpu = time.perf_counter(), time.process_time()
        course = teach_judge(seen[:first], material)
        took = time.perf_counter() - start, time.process_time() - cpu
        print(f"\n{name}: {course_text(course, material)}")
        print(f"taught in {took[0]:.0f} s, {took[1]:.0f} s of CPU")
        score = try_course(course, cases[first:], seen[first:], material, not options.no_oracle)
        for who in score.counts:
            each = "".join(f"{value:8.3f}" for value in score.f1(who))
            print(f"{who:8}{each}   mean {score.mean(who):.4f}")
        rng = np.random.default_rng(0)
        gain = compared(score.counts["before"], score.counts["after"], rng).mean
        print(f"gain {gain.difference:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})", end="")
        if "oracle" in score.counts:
            gap = score.mean("oracle") - score.mean("before")
            print(f"; gap {gap:.4f}", end="")
            if gap >= LEAST_GAIN:
                print(f", closed {gain.difference / gap:.2f}", end="")
        print(f"   [{', '.join(DEFECT_ROLES)}]", flush=True)


if __name__ == "__main__":
    main()
