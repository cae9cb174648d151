"""What a course was worth, in words."""

from __future__ import annotations

from ..materials import Material
from .course import CLASSES, NETWORK, THRESHOLDS, Course, Step
from .holding_out import CHANCE, LEAST_GAIN, Gain, Verdict

WORDS = {
    CLASSES: "brightness and shares of the classes",
    THRESHOLDS: "thresholds",
    NETWORK: "fine-tuned network",
}
"""What each step teaches."""


def course_text(course: Course, material: Material) -> str:
    """A few lines for people: every step, before and after, and what follows."""
    lines = ["this helps" if course.helps else "doesn't help: nothing was changed"]
    if course.by_tiles:
        lines.append(
            "from one image only the judge can be taught; every other tile of it was held out"
        )
    for step in course.steps:
        lines += step_lines(step, material)
    # the total is the judge's: other images were held out for the network
    judged = [step for step in course.steps if step.taken and step.what != NETWORK]
    if course.total is not None and len(judged) > 1:
        lines.append(f"together: {gain_text(course.total.mean)}")
    return "\n".join(lines)


def step_lines(step: Step, material: Material) -> list[str]:
    """What held-out columns say of a step, and of each class."""
    if step.verdict is None:
        return [f"{WORDS[step.what]}: not taught: {step.note}"]
    answer = "helps" if step.taken else "doesn't help"
    if step.refused:
        answer = f"refused, {step.refused}"
    mean = step.verdict.mean
    first = f"{WORDS[step.what]}: {answer}: mean F1 {gain_text(mean)}"
    first += _why(step.verdict)
    lines = [first + (f" ({step.note})" if step.note else "")]
    return lines + [f"    {line}" for line in class_lines(step.verdict, material)]


def _why(verdict: Verdict) -> str:
    """What the interval alone doesn't say of an answer."""
    low, worth = verdict.mean.low, verdict.mean.difference >= LEAST_GAIN
    if verdict.helps:
        return "" if low > 0.0 else "; not in every image, but none is worse"
    if worth and verdict.by_chance > CHANCE:
        return f"; chance alone gains as much in {verdict.by_chance:.1%} of cases"
    if worth:
        return f"; {verdict.worse} of {verdict.images} images are worse"
    return f", below the {LEAST_GAIN:g} that other numbers are worth" if low > 0.0 else ""


def class_lines(verdict: Verdict, material: Material) -> list[str]:
    """One line for each class that there is."""
    return [
        f"{name}: {gain_text(gain)}, {gain.columns} columns"
        for name, gain in zip(material.defect_names, verdict.classes, strict=True)
        if gain.columns
    ]


def gain_text(gain: Gain) -> str:
    """Before, after, and the interval of the difference.

    >>> gain_text(Gain(0.9, 0.95, 0.03, 0.07, 40))
    '0.900 to 0.950 (+0.050, 95 % from +0.030 to +0.070)'
    """
    return (
        f"{gain.before:.3f} to {gain.after:.3f} ({gain.difference:+.3f}, 95 % from "
        f"{gain.low:+.3f} to {gain.high:+.3f})"
    )
