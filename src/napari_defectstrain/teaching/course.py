"""The course: what corrections can teach, in the order in which it can help, each part tried.

A part is kept where columns that it wasn't learnt from say that it helps; what is kept is learnt
again from all lessons in the end. Where no image was looked at as a whole, only columns around
corrections can tell, and those were chosen for being wrong: whatever the judge says of them
instead looks like a gain, so that nothing is kept on their word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..io.content import pixels_sha256
from ..judge import JudgeConfig, judge_weighed
from ..materials import Material
from ..progress import subprogress
from ..types import DefectStrainError, IntArray, Progress, Sites, no_progress
from .holding_out import Verdict, compared, counts_by_tile, folds
from .lessons import Lesson, Seen
from .priors import Scales, learn_classes
from .thresholds import learn_thresholds

CLASSES, THRESHOLDS, NETWORK = "classes", "thresholds", "network"
"""What may be taught, in this order."""

_SEED = 0
_ONLY_CORRECTIONS = (
    "only columns around corrections can tell, which were wrong by choice: look at all columns of "
    "an image and name it (--done, or tick it)"
)


@dataclass(frozen=True)
class Step:
    """One part of a course.

    Parameters
    ----------
    what : str
        `CLASSES`, `THRESHOLDS` or `NETWORK`.
    verdict : Verdict or None
        Of columns that were held out; None where it wasn't tried.
    note : str
        Why it wasn't tried, or what limits the verdict.
    refused : str
        Why it isn't taken though it helps.
    """

    what: str
    verdict: Verdict | None = None
    note: str = ""
    refused: str = ""

    @property
    def taken(self) -> bool:
        """Whether it helps."""
        return self.verdict is not None and self.verdict.helps and not self.refused


@dataclass(frozen=True)
class Course:
    """What lessons taught.

    Parameters
    ----------
    steps : tuple of Step
    judge : JudgeConfig
        Settings of the judge with all that helps.
    total : Verdict or None
        Of everything that was taken together; None where nothing helps.
    by_tiles : bool
        Whether parts of one image were held out, for want of others.
    """

    steps: tuple[Step, ...]
    judge: JudgeConfig
    total: Verdict | None
    by_tiles: bool

    @property
    def helps(self) -> bool:
        """Whether anything does."""
        return any(step.taken for step in self.steps)


Learn = Callable[[Sequence[Seen], Scales, JudgeConfig], JudgeConfig]
_LEARN: Mapping[str, Learn] = {CLASSES: learn_classes, THRESHOLDS: learn_thresholds}


def teach_judge(
    seen: Sequence[Seen],
    material: Material,
    config: JudgeConfig | None = None,
    progress: Progress = no_progress,
) -> Course:
    """Teach the judge its classes, then its thresholds, and say what helps.

    Parameters
    ----------
    seen : sequence of Seen
        Of one material and one microscope; what the network found in them stays.
    material : Material
    config : JudgeConfig, optional
        Of the judge up to now.
    progress : Progress

    Raises
    ------
    DefectStrainError
        If there are no lessons, two are of one image or of one name, or the judge is switched off.
    """
    config = config or JudgeConfig()
    _check(seen, config)
    trial = _Trial(seen, Scales(material), config)
    steps = []
    for i, (what, learn) in enumerate(_LEARN.items()):
        part = subprogress(progress, 0.45 * i, 0.45 * (i + 1), f"{what}: ")
        if what == THRESHOLDS and not trial.whole:
            note = "no image was looked at as a whole: errors elsewhere aren't known"
            steps.append(Step(what, None, note))
            continue
        steps.append(trial.step(what, learn, part))
    progress(0.9, "learning from all")
    taught = config
    for step in steps:
        if step.taken:
            taught = _LEARN[step.what](seen, trial.scales, taught)
    total = trial.total() if any(step.taken for step in steps) else None
    progress(1.0, "taught")
    return Course(tuple(steps), taught, total, trial.by_tiles)


def _check(seen: Sequence[Seen], config: JudgeConfig) -> None:
    names = [one.lesson.name for one in seen]
    if not names:
        raise DefectStrainError("teach: got no corrected image, expected at least one")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DefectStrainError(f"teach: got two images called {twice[0]}, expected other names")
    pixels: dict[str, str] = {}
    for one in seen:
        other = pixels.setdefault(pixels_sha256(one.lesson.image.data), one.lesson.name)
        if other != one.lesson.name:
            raise DefectStrainError(
                f"teach: got the same pixels as {other} and {one.lesson.name}, expected each image "
                "once: one of them would be held out while the other is learnt from"
            )
    if not config.enabled:
        raise DefectStrainError(
            "teach: got a judge that is switched off, expected it to be on: it is what learns"
        )


class _Trial:
    """Every held-out column as the judge has it, before and after each step."""

    def __init__(self, seen: Sequence[Seen], scales: Scales, config: JudgeConfig) -> None:
        self.seen, self.scales = {one.lesson.name: one for one in seen}, scales
        lessons = [one.lesson for one in seen]
        whole = [one for one in lessons if one.whole]
        self.whole = bool(whole)
        self.by_tiles = len(whole or lessons) == 1
        always = [one for one in lessons if not one.whole] if whole else []
        self._folds = [([*learnt, *always], held) for learnt, held in folds(whole or lessons)]
        self._configs = [config] * len(self._folds)
        self._counts = self._scored(self._configs)
        self._first = self._counts

    def step(self, what: str, learn: Learn, progress: Progress) -> Step:
        """Learn in every fold and see what it does to what was held out."""
        configs = []
        for i, ((learnt, _), config) in enumerate(zip(self._folds, self._configs, strict=True)):
            progress(i / len(self._folds), f"part {i + 1} of {len(self._folds)}")
            configs.append(learn([self._as_seen(one) for one in learnt], self.scales, config))
        counts = self._scored(configs)
        verdict = self._verdict(self._counts, counts)
        if not self.whole:
            note = "by columns around corrections, which were wrong by choice"
            helps = verdict.helps
            return Step(what, verdict, *(("", _ONLY_CORRECTIONS) if helps else (note, "")))
        if verdict.helps:
            self._configs, self._counts = configs, counts
        return Step(what, verdict)

    def total(self) -> Verdict:
        """Of all that was taken."""
        return self._verdict(self._first, self._counts)

    def _verdict(self, before: Mapping[str, IntArray], after: Mapping[str, IntArray]) -> Verdict:
        rng = np.random.default_rng(_SEED)
        return compared(list(before.values()), [after[name] for name in before], rng)

    def _as_seen(self, lesson: Lesson) -> Seen:
        return replace(self.seen[lesson.name], lesson=lesson)

    def _scored(self, configs: Sequence[JudgeConfig]) -> dict[str, IntArray]:
        """Counts of the held-out columns, by image: parts of one are added up."""
        counts: dict[str, IntArray] = {}
        for (_, held), config in zip(self._folds, configs, strict=True):
            sites = self._judged({one.name for one in held}, config)
            for lesson in held:
                pixel_pm = self.seen[lesson.name].pixel_size_pm
                its = counts_by_tile(lesson, sites[lesson.name], pixel_pm)
                counts[lesson.name] = counts.get(lesson.name, 0) + its
        return counts

    def _judged(self, held: set[str], config: JudgeConfig) -> dict[str, Sites]:
        """Held-out images, judged as one run with all others, as the user's are."""
        names = [name for name in self.seen if name in held]
        names += [name for name in self.seen if name not in held]
        weighed = [self.scales.weigh(self.seen[name], config) for name in names]
        found = [self.seen[name].found for name in names]
        judged = judge_weighed(found, weighed, self.scales.material, config)
        return {name: one.sites for name, one in zip(names, judged, strict=True)}
