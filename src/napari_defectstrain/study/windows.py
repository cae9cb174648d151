"""Windows that a hand left out of a class's average or put back, known by where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..averages.choice import BY_HAND, RELABELLED, leave_out, put_back
from ..types import ClassStack, DefectStrainError
from .journal import WINDOWS, Edit

SAME_WINDOW_PX = 1.0
"""A window is the same one where its centre lies within this distance: columns that are moved by
hand take their windows along no further [px]."""


@dataclass(frozen=True)
class WindowChoice:
    """One window, and whether it counts.

    Parameters
    ----------
    class_name, image : str
    y_px, x_px : float
        Its centre [px].
    included : bool
    """

    class_name: str
    image: str
    y_px: float
    x_px: float
    included: bool


def choices_of(edits: Iterable[Edit]) -> tuple[WindowChoice, ...]:
    """What edits say of windows, the last word on each; what was taken back is none."""
    found: dict[tuple[str, str, float, float], bool] = {}
    counted: set[tuple[str, str, float, float]] = set()  # by themselves, before a hand came
    for edit in edits:
        if edit.what != WINDOWS:
            continue
        for included, key in ((False, "left_out"), (True, "put_back")):
            for place in edit.content.get(key, ()):
                where = (str(place["image"]), float(place["y_px"]), float(place["x_px"]))
                window = (str(edit.content["class"]), *where)
                if included and place.get("was") == BY_HAND and window in counted:
                    found.pop(window, None)
                    continue
                if included:
                    counted.discard(window)
                elif window not in found:
                    counted.add(window)
                found[window] = included
    return tuple(WindowChoice(*where, included) for where, included in found.items())


def without_images(edit: Edit, images: Sequence[str]) -> Edit:
    """An edit of windows without those of some images."""
    content = dict(edit.content)
    for key in ("left_out", "put_back"):
        content[key] = [p for p in content.get(key, ()) if p["image"] not in images]
    return replace(edit, content=content)


def window_changes(
    before: ClassStack, after: ClassStack, images: Sequence[str]
) -> dict[str, Any] | None:
    """What an edit of a class's windows says; None where nothing changed.

    Parameters
    ----------
    before, after : ClassStack
        The same windows; one may have more at its end, which joined the class, or left it again.
    images : sequence of str
        Names, in the order of `ClassStack.image_index`.

    That windows were given another class is said by the edit of their columns, not here.

    Raises
    ------
    DefectStrainError
        If they aren't the same windows.
    """
    same = min(len(before.included), len(after.included))
    if before.class_name != after.class_name or not np.array_equal(
        before.position_px[:same], after.position_px[:same]
    ):
        raise DefectStrainError(
            f"windows: got {len(after.included)} of {after.class_name}, expected the "
            f"{len(before.included)} of {before.class_name}"
        )
    was = np.ones(len(after.included), dtype=bool)
    was[:same] = before.included[:same]
    chosen = ~np.char.startswith(after.reason, RELABELLED)
    chosen[:same] &= ~np.char.startswith(before.reason[:same], RELABELLED)
    left_out = _places(after, chosen & was & ~after.included, images)
    back = _places(after, chosen & ~was & after.included, images)
    for place, i in zip(back, np.flatnonzero(chosen & ~was & after.included), strict=True):
        place["was"] = str(before.reason[i])
    if not left_out and not back:
        return None
    return {"class": after.class_name, "left_out": left_out, "put_back": back}


def with_choices(
    stacks: Mapping[str, ClassStack], choices: Iterable[WindowChoice], images: Sequence[str]
) -> tuple[dict[str, ClassStack], list[str]]:
    """The stacks with what was chosen by hand, and what is to be said.

    Parameters
    ----------
    stacks : mapping of class to ClassStack
    choices : iterable of WindowChoice
    images : sequence of str
        Names, in the order of `ClassStack.image_index`.

    Raises
    ------
    DefectStrainError
        If no window of a class would be left.
    """
    found = dict(stacks)
    lost: dict[str, int] = {}
    chosen: dict[tuple[str, bool], list[int]] = {}
    index = {name: i for i, name in enumerate(images)}
    for choice in choices:
        stack = found.get(choice.class_name)
        window = None if stack is None else _window(stack, choice, index)
        if window is None:
            lost[choice.class_name] = lost.get(choice.class_name, 0) + 1
        else:
            chosen.setdefault((choice.class_name, choice.included), []).append(window)
    for (name, included), windows in sorted(chosen.items(), key=lambda item: not item[0][1]):
        stack = found[name]
        found[name] = put_back(stack, windows) if included else leave_out(stack, windows)
    notes = [
        f"{name}: {n} window{'s' if n > 1 else ''} chosen by hand "
        f"{'are' if n > 1 else 'is'} no longer among the windows"
        for name, n in lost.items()
    ]
    return found, notes


def _window(stack: ClassStack, choice: WindowChoice, index: Mapping[str, int]) -> int | None:
    """The window that a choice is about."""
    own = np.flatnonzero(stack.image_index == index.get(choice.image, -1))
    if not own.size:
        return None
    away = np.hypot(*(stack.position_px[own] - (choice.y_px, choice.x_px)).T)
    nearest = int(np.argmin(away))
    return int(own[nearest]) if away[nearest] <= SAME_WINDOW_PX else None


def _places(stack: ClassStack, which: Any, images: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "image": images[int(stack.image_index[i])],
            "y_px": round(float(stack.position_px[i, 0]), 6),
            "x_px": round(float(stack.position_px[i, 1]), 6),
        }
        for i in np.flatnonzero(which)
    ]
