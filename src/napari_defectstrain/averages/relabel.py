"""Windows that were given another class by hand: they leave one average, and join another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from ..types import BoolArray, ClassStack, DefectStrainError, FloatArray, IntArray, Neighbours
from .choice import BY_HAND, RELABELLED, leave_out, put_back
from .outliers import LOST

_BEFORE = "; before: "
"""In that reason, before the one for which they had been left out already."""


@dataclass(frozen=True)
class Relabelled:
    """What became of the windows of columns that were given a class.

    Parameters
    ----------
    stacks : mapping of class to ClassStack
        Those that changed.
    moved : int
        Windows that left an average for that of their new class.
    left_out : int
        Windows that left an average, and there is none of their new class.
    without : int
        Columns that no average has a window of.
    """

    stacks: Mapping[str, ClassStack]
    moved: int
    left_out: int
    without: int


def find_windows(
    stacks: Mapping[str, ClassStack],
    image_index: IntArray,
    position_px: FloatArray,
    reach_px: float | FloatArray,
) -> dict[str, IntArray]:
    """The window that each stack has of some columns, `(N,)` by class; -1 where there is none.

    Parameters
    ----------
    stacks : mapping of class to ClassStack
    image_index : array of int, `(N,)`
        As in `ClassStack.image_index`.
    position_px : array, `(N, 2)`
        (y, x) [px].
    reach_px : float or array, `(N,)`
        How far the centre of a window may be from its column: registration moved it.
    """
    found, reach = {}, np.broadcast_to(np.asarray(reach_px, dtype=float), len(image_index))
    for name, stack in stacks.items():
        window = np.full(len(image_index), -1)
        for i in np.unique(image_index).tolist():
            own, asked = np.flatnonzero(stack.image_index == i), np.flatnonzero(image_index == i)
            if len(own) == 0:
                continue
            away, nearest = cKDTree(stack.position_px[own]).query(position_px[asked])
            near = away <= reach[asked]
            window[asked[near]] = own[nearest[near]]
        found[name] = window
    return found


def relabel_windows(
    stacks: Mapping[str, ClassStack],
    windows: Mapping[str, Sequence[int] | IntArray],
    target: str,
    columns: int | None = None,
) -> Relabelled:
    """Let windows of some classes count for another one.

    A window stays in its stack, left out with the reason, and is added to the stack of its new
    class; one that came from there is there again as it was. What was left out by hand, or lost in
    registration, joins left out: of another class it is no better a window. Nothing is cut or
    registered anew: all windows of a run were registered against the same defect-free average. The
    defects around other windows keep the classes that the run was made with, and so does isolation.

    Parameters
    ----------
    stacks : mapping of class to ClassStack
        Of one run.
    windows : mapping of class to array of int, `(N,)`
        For each column its window in each stack, -1 for none: from `find_windows`.
    target : str
        Name of the new class.
    columns : int, optional
        How many columns were asked for.

    Raises
    ------
    DefectStrainError
        If a class would be left without a window.
    """
    number = {name: np.asarray(index, dtype=int) for name, index in windows.items()}
    count = max((len(index) for index in number.values()), default=columns or 0)
    goal = stacks.get(target)
    there = number.get(target, np.full(count, -1))
    arrived, moved, left = there >= 0, 0, 0
    changed: dict[str, ClassStack] = {}
    if goal is not None and arrived.any():
        back = there[arrived]
        back = back[~goal.included[back] & np.char.startswith(goal.reason[back], RELABELLED)]
        if len(back):
            changed[target] = _come_back(goal, back)
            moved += int(changed[target].included[back].sum())
    fresh: list[ClassStack] = []
    found = arrived.copy()
    for name, index in number.items():
        if name == target:
            continue
        stack = stacks[name]
        known = index >= 0
        counted = np.zeros(count, dtype=bool)
        counted[known] = stack.included[index[known]] | ~np.char.startswith(
            stack.reason[index[known]], RELABELLED
        )
        use = known & counted
        found |= known
        if not use.any():
            continue
        was_in = stack.included[index[use]]
        changed[name] = _given_away(stack, index[use], target)
        joins = use & ~arrived
        if goal is None or stack.on_metal != goal.on_metal:
            left += int(was_in.sum())
        elif joins.any():
            fresh.append(_renamed(stack, index[joins], goal))
            arrived |= joins
            moved += int(fresh[-1].included.sum())
    if fresh and goal is not None:
        changed[target] = _joined([changed.get(target, goal), *fresh])
    return Relabelled(changed, moved, left, int((~found).sum()))


def _given_away(stack: ClassStack, index: IntArray, target: str) -> ClassStack:
    """The stack without windows of another class; of those out already the old reason is kept.

    Whatever they were left out for, they must not come back into a class that they are not of.
    """
    given = leave_out(stack, index, f"{RELABELLED} {target}")
    out = index[~stack.included[index]]
    if not len(out):
        return given
    reason = given.reason.astype("<U128")
    reason[out] = [f"{RELABELLED} {target}{_BEFORE}{old}" for old in stack.reason[out]]
    return replace(given, reason=reason)


def _come_back(stack: ClassStack, index: IntArray) -> ClassStack:
    """The stack with windows that are of its class again, left out where they were before."""
    old = np.array([str(reason).partition(_BEFORE)[2] for reason in stack.reason[index]])
    found = put_back(stack, index[old == ""])
    if (old == "").all():
        return found
    reason = found.reason.copy()
    reason[index[old != ""]] = old[old != ""]
    return replace(found, reason=reason)


def with_joined(cut: ClassStack, stack: ClassStack) -> ClassStack:
    """Windows as they were cut, with those that joined their class since, as these joined.

    Parameters
    ----------
    cut : ClassStack
        As a run made it.
    stack : ClassStack
        The same windows with choices of a person, then those that join it now.
    """
    n, more = len(cut.included), len(stack.included) - len(cut.included)
    if more <= 0:
        return cut
    return replace(
        stack,
        included=np.concatenate([cut.included, stack.included[n:]]),
        reason=np.concatenate([cut.reason, stack.reason[n:]]),
    )


def _part(stack: ClassStack, index: IntArray) -> ClassStack:
    near = stack.neighbours
    if near is not None:
        place = np.full(max(int(near.window.max(initial=-1)), int(index.max(initial=-1))) + 1, -1)
        place[index] = np.arange(len(index))
        window = place[near.window]
        kept = window >= 0
        near = Neighbours(window[kept], near.class_index[kept], near.site_pm[kept], near.reach_pm)
    return replace(
        stack,
        windows=stack.windows[index],
        image_index=stack.image_index[index],
        site_index=stack.site_index[index],
        position_px=stack.position_px[index],
        shift_pm=stack.shift_pm[index],
        probability=stack.probability[index],
        included=stack.included[index],
        reason=stack.reason[index],
        probabilities=None if stack.probabilities is None else stack.probabilities[index],
        group=None if stack.group is None else stack.group[index],
        neighbours=near,
    )


def _renamed(stack: ClassStack, index: IntArray, goal: ClassStack) -> ClassStack:
    """Windows of a stack as they join another: a person said what they are."""
    part = _part(stack, index)
    out = _unfit(part)
    chances = None
    if goal.probabilities is not None:
        chances = np.zeros((len(index), goal.probabilities.shape[1]))
        if goal.class_name in goal.class_names:
            chances[:, goal.class_names.index(goal.class_name)] = 1.0
    return replace(
        part,
        class_name=goal.class_name,
        probability=np.ones(len(index)),
        probabilities=chances,
        class_names=goal.class_names,
        included=~out,
        reason=np.where(out, part.reason, "").astype("<U64"),
    )


def _unfit(stack: ClassStack) -> BoolArray:
    """Windows that are left out for what isn't a doubt about their class."""
    lost = np.char.startswith(stack.reason, LOST)
    return np.asarray(~stack.included & ((stack.reason == BY_HAND) | lost))


def _joined(parts: Sequence[ClassStack]) -> ClassStack:
    """Stacks of one class, one after another."""
    first = parts[0]
    if any(p.windows.shape[1:] != first.windows.shape[1:] for p in parts):
        raise DefectStrainError(
            f"{first.class_name}: got windows of different sizes, expected those of one run"
        )

    def together(name: str) -> np.ndarray:
        return np.concatenate([np.asarray(getattr(part, name)) for part in parts])

    def or_none(name: str) -> np.ndarray | None:
        known = all(getattr(part, name) is not None for part in parts)
        return together(name) if known else None

    near = None
    if all(part.neighbours is not None for part in parts):
        start = np.cumsum([0, *(len(part.included) for part in parts[:-1])])
        given = [part.neighbours for part in parts if part.neighbours is not None]
        near = Neighbours(
            np.concatenate([n.window + s for n, s in zip(given, start, strict=True)]),
            np.concatenate([n.class_index for n in given]),
            np.concatenate([n.site_pm for n in given]),
            min(n.reach_pm for n in given),
        )
    names = ("windows", "image_index", "site_index", "position_px", "shift_pm", "probability")
    arrays: dict[str, Any] = {name: together(name) for name in (*names, "included", "reason")}
    return replace(
        first,
        **arrays,
        probabilities=or_none("probabilities"),
        group=or_none("group"),
        neighbours=near,
    )
