"""The third lesson: the network itself, by corrected windows among simulated ones that look alike.

Half of every batch is of corrected images, what nobody looked at masked; the other half is
simulated with the pixels, profile, jitter, noise and contamination that the images show
(`trials.learn_look`), so that the network forgets neither rare classes nor other places. It begins
with the weights in use, at a low learning rate. Two things must hold for the new weights to be
taken: images that were held out are found better, and a standard set of simulated images loses at
most `MOST_LOST`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from ..config import Between, Config
from ..evaluation import f1_by_role
from ..judge import JudgeConfig, judge_images
from ..materials import Material, get_material
from ..pipeline import RunConfig
from ..progress import subprogress
from ..simulate import Conditions, paper_like, simulate_image
from ..trials import learn_look, look_conditions
from ..types import DefectStrainError, IntArray, Progress, no_progress
from .course import NETWORK, Step, teach_judge
from .holding_out import compared, counts_by_tile, mean_f1, true_columns
from .lessons import Lesson, Seen, seen_lessons

if TYPE_CHECKING:
    from ..detect import TrainConfig

LEAST_IMAGES = 4
"""Looked at as a whole: two are held out, for of one nothing can be said of others."""
MOST_LOST = 0.005
"""Of the mean F1 on the standard set."""
_FROM_NOTHING = 2e-3
"""Learning rate of a training that begins from nothing."""
_NO_END = 1e5  # min: its steps end it
_HELD_EVERY = 3
_STANDARD_IMAGES, _STANDARD_PX, _STANDARD_SEED = 6, 384, 2026
_SEED = 0


@dataclass(frozen=True)
class TuneConfig(Config):
    """Settings of fine-tuning.

    Parameters
    ----------
    minutes : float
        How long each network is trained.
    steps : int
        At most; as it comes the time ends it.
    learning_rate : float
        A tenth of that of a training from nothing.
    share : float
        Of every batch that is of corrected images.
    device : str
    """

    minutes: Annotated[float, Between(0.0, 1e5)] = 5.0
    steps: Annotated[int, Between(1, 10**7)] = 10**6
    learning_rate: Annotated[float, Between(1e-9, 1.0)] = 2e-4
    share: Annotated[float, Between(0.0, 1.0)] = 0.5
    device: str = "auto"


def split(seen: Sequence[Seen]) -> tuple[list[Seen], list[Seen]]:
    """What the network learns from, and what it is tried on: a third of the whole images.

    Of fewer than six it is every other one, so that two are held out at least.
    """
    whole = [one for one in seen if one.lesson.whole]
    every = _HELD_EVERY if len(whole) >= 2 * _HELD_EVERY else 2
    held = whole[every - 1 :: every]
    return [one for one in seen if not any(one is other for other in held)], held


def teach_network(
    seen: Sequence[Seen],
    config: RunConfig,
    out: Path,
    tuning: TuneConfig | None = None,
    progress: Progress = no_progress,
) -> Step:
    """Fine-tune the network, and say whether it helps images that were held out.

    Parameters
    ----------
    seen : sequence of Seen
        Of the network in use.
    config : RunConfig
        With the judge as it was before `seen` taught it: here only what the network learns from
        teaches it.
    out : Path
        File of the new weights; the ones that are judged are those that are used.
    tuning : TuneConfig, optional
    progress : Progress
    """
    learnt, held = split(seen)
    if sum(one.lesson.whole for one in seen) < LEAST_IMAGES:
        note = f"needs {LEAST_IMAGES} images that were looked at as a whole"
        return Step(NETWORK, None, note)
    material = get_material(config.material).host
    start = _weights_of(config, material)
    # a judge that knew the labels of what is held out would hide what the network does
    course = teach_judge(learnt, material, config.judge, subprogress(progress, 0.0, 0.2))
    config = config.replace(judge=course.judge)
    part = subprogress(progress, 0.2, 0.8)
    note = tune(learnt, config, out, tuning or TuneConfig(), start, part)
    progress(0.8, "trying held-out images")
    tuned = config.replace(detect=config.detect.replace(weights=str(out)))
    before = judged_counts(held, config, material)
    after = judged_counts(seen_by(held, tuned), tuned, material)
    verdict = compared(before, after, np.random.default_rng(_SEED))
    refused = ""
    if verdict.helps:
        progress(0.9, "trying the standard set")
        lessons = standard_lessons(material)
        lost = standard_f1(lessons, config, material) - standard_f1(lessons, tuned, material)
        if lost > MOST_LOST:
            refused = f"the standard set loses {lost:.3f} of its mean F1, more than {MOST_LOST:g}"
    progress(1.0, "network tried")
    return Step(NETWORK, verdict, note, refused)


def tune(
    learnt: Sequence[Seen],
    config: RunConfig,
    out: Path,
    tuning: TuneConfig,
    start: Path | None,
    progress: Progress = no_progress,
    resume: bool = False,
) -> str:
    """Train on windows of labelled images, and on simulated ones that look alike.

    Parameters
    ----------
    learnt : sequence of Seen
    config : RunConfig
        Its judge says what the images look like.
    out : Path
        File of the weights.
    tuning : TuneConfig
        With a share of 1 nothing is simulated, as where a network learns from labels alone; with 0
        everything is.
    start : Path, optional
        Weights to begin with; without them training begins from nothing.
    progress : Progress
    resume : bool
        Go on from a checkpoint beside `out` where there is one.

    Returns
    -------
    str
        Why the simulated windows aren't matched to the images; empty where they are.
    """
    from ..detect import labelled_image, mixed_batches, train  # imports torch

    material = get_material(config.material).host
    settings, note = _train_settings(learnt, config, tuning, start, material)
    if tuning.share == 0.0:
        train(settings, out, resume=resume, progress=progress, start=start)
        return note
    images = [
        labelled_image(
            one.lesson.image,
            one.pixel_size_pm,
            one.lesson.position_px,
            one.lesson.class_index,
            one.lesson.looked,
            material.label,
        )
        for one in learnt
    ]
    source = mixed_batches(images, tuning.share)
    train(settings, out, resume=resume, progress=progress, start=start, source=source)
    return note


def _train_settings(
    learnt: Sequence[Seen],
    config: RunConfig,
    tuning: TuneConfig,
    start: Path | None,
    material: Material,
) -> tuple[TrainConfig, str]:
    from ..detect import TrainConfig, load_weights

    note = ""
    conditions = Conditions(materials=(material.label,))
    if tuning.share < 1.0:
        judged = _judged(learnt, config, material)
        try:
            images = [one.lesson.image for one in learnt]
            look = learn_look(images, [j.sites for j in judged], material.label)
            conditions = look_conditions(look)
        except DefectStrainError as error:  # what common images look like has to do
            note = f"simulated windows are of common images, not like these: {error}"
    settings = TrainConfig(
        conditions=conditions,
        steps=tuning.steps,
        minutes=tuning.minutes,
        learning_rate=tuning.learning_rate,
        validation_windows=8,
        calibration_windows=24,
        workers=0,
        device=tuning.device,
    )
    if start is not None:
        settings = settings.replace(network=load_weights(start).config.network)
    return settings, note


def _weights_of(config: RunConfig, material: Material) -> Path:
    from ..detect import bundled_weights

    given = config.detect.weights
    return Path(given) if given else bundled_weights(material.label)


def _judged(seen: Sequence[Seen], config: RunConfig, material: Material) -> list:  # type: ignore[type-arg]
    return judge_images(
        [one.lesson.image for one in seen],
        [one.found for one in seen],
        [one.pixel_size_pm for one in seen],
        material,
        config.judge,
    )


def seen_by(held: Sequence[Seen], config: RunConfig) -> list[Seen]:
    """The same lessons with what another network finds in their images.

    A network of few labels or minutes may find too little for an answer: that is its answer, and
    no reason to lose what was taught before.

    Parameters
    ----------
    held : sequence of Seen
    config : RunConfig
        With the other network's weights.
    """
    again = []
    for one in held:
        try:
            again += seen_lessons([one.lesson], config)
        except DefectStrainError:
            nothing = one.found.subset(np.zeros(len(one.found), dtype=bool))
            again.append(replace(one, found=nothing))
    return again


def judged_counts(seen: Sequence[Seen], config: RunConfig, material: Material) -> list[IntArray]:
    """Counts of each image by tile, judged as one run; see `holding_out.counts_by_tile`."""
    judged = _judged(seen, config, material)
    return [
        counts_by_tile(one.lesson, j.sites, one.pixel_size_pm)
        for one, j in zip(seen, judged, strict=True)
    ]


def standard_lessons(material: Material, count: int = _STANDARD_IMAGES) -> list[Lesson]:
    """Simulated images of the paper's kind, the same whenever they are asked for."""
    rng = np.random.default_rng(_STANDARD_SEED)
    lessons = []
    for number in range(count):
        config = paper_like(rng, float(rng.uniform(0, 360)))
        scan = replace(config.scan, shape=(_STANDARD_PX, _STANDARD_PX))
        crystal = replace(config.crystal, material=material.label)
        made = simulate_image(
            replace(config, scan=scan, crystal=crystal), rng, f"standard_{number}"
        )
        looked = np.ones(made.image.data.shape, dtype=bool)
        labels = np.asarray(made.class_index)
        lessons.append(Lesson(made.image, made.position_px, labels, looked, True))
    return lessons


def standard_f1(lessons: Sequence[Lesson], config: RunConfig, material: Material) -> float:
    """Mean F1 by the judge as it comes: the set shows no particular microscope.

    Parameters
    ----------
    lessons : sequence of Lesson
        As `standard_lessons` makes them.
    config : RunConfig
        With the weights that are tried.
    material : Material
    """
    usual = config.judge.replace(learnt=None, network_say=JudgeConfig().network_say)
    plain = config.replace(judge=usual)
    counts = judged_counts(seen_lessons(lessons, plain), plain, material)
    return float(mean_f1(np.sum(counts, axis=(0, 1))))


def check_comparable(lessons: Sequence[Lesson]) -> None:
    """Make sure that there is enough for `compare_hand_labelled`, before anything is computed.

    Raises
    ------
    DefectStrainError
        If fewer than `LEAST_IMAGES` images were looked at as a whole.
    """
    whole = sum(one.whole for one in lessons)
    if whole < LEAST_IMAGES:
        raise DefectStrainError(
            f"compare: got {whole} images that were looked at as a whole, expected {LEAST_IMAGES} "
            "or more"
        )


def compare_hand_labelled(
    seen: Sequence[Seen],
    config: RunConfig,
    folder: Path,
    tuning: TuneConfig | None = None,
    progress: Progress = no_progress,
    resume: bool = False,
) -> str:
    """The paper's comparison: a network trained on simulations against one of labels alone.

    Two networks of one shape begin from nothing: one sees simulated windows with the look of the
    images, the other, for as many steps, windows of the labelled images themselves. Both find the
    columns of images that neither has seen, and so does the network in use, which had far more
    steps; no judge helps any.

    Parameters
    ----------
    seen : sequence of Seen
        With what the network in use, trained on simulations, finds.
    config : RunConfig
    folder : Path
        For the weights of both networks.
    tuning : TuneConfig, optional
        How long the network of simulations is trained; the other one's steps take no longer.
    progress : Progress
    resume : bool
        Go on from what an earlier call left in `folder`.

    Raises
    ------
    DefectStrainError
        If fewer than `LEAST_IMAGES` images were looked at as a whole.
    """
    check_comparable([one.lesson for one in seen])
    learnt, held = split(seen)
    tuning = (tuning or TuneConfig()).replace(share=0.0, learning_rate=_FROM_NOTHING)
    simulated, labelled = (folder / f"{name}.safetensors" for name in ("simulated", "by_hand"))
    part = subprogress(progress, 0.0, 0.5)
    note = tune(learnt, config, simulated, tuning, None, part, resume)
    steps = _steps_of(simulated)
    tuning = tuning.replace(share=1.0, steps=steps, minutes=_NO_END)
    tune(learnt, config, labelled, tuning, None, subprogress(progress, 0.5, 0.95), resume)
    rows = [
        ("the network in use", held),
        (f"{steps} steps on simulations", _seen_with(simulated, held, config)),
        (f"{steps} steps on {len(learnt)} labelled images", _seen_with(labelled, held, config)),
    ]
    lines = [f"columns of {len(held)} images that no network has seen, without the judge"]
    lines += [note] if note else []
    names = get_material(config.material).host.defect_names
    for who, found in rows:
        counts = [counts_by_tile(s.lesson, s.found, s.pixel_size_pm) for s in found]
        total = np.sum(counts, axis=(0, 1))
        f1 = f1_by_role(total)
        there = true_columns(total) > 0
        each = ", ".join(f"{n} {v:.3f}" for n, v, t in zip(names, f1, there, strict=True) if t)
        lines.append(f"{who}: mean F1 {float(mean_f1(total)):.3f} ({each})")
    return "\n".join(lines)


def _steps_of(weights: Path) -> int:
    """Of the training that made them."""
    from ..detect import load_weights

    return int(load_weights(weights).record[-1]["step"])


def _seen_with(weights: Path, held: Sequence[Seen], config: RunConfig) -> list[Seen]:
    return seen_by(held, config.replace(detect=config.detect.replace(weights=str(weights))))
