"""The parts of a class: stacks of its windows by the population that they belong to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..materials import PART
from ..types import ClassStack, DefectStrainError, FloatArray, IntArray, Neighbours

CERTAIN = 0.9
"""Windows that belong to neither population with this probability are left out of both."""


def part_names(class_name: str, count: int) -> tuple[str, ...]:
    """Names of a class's parts, the largest population first.

    >>> part_names("SV", 2)
    ('SV.1', 'SV.2')
    """
    return tuple(f"{class_name}{PART}{k + 1}" for k in range(count))


def split_stack(stack: ClassStack, belonging: FloatArray) -> dict[str, ClassStack]:
    """Stacks of a class's included windows, by the population that each most likely belongs to.

    Parameters
    ----------
    stack : ClassStack
    belonging : array, `(N, K)`
        Chance of each included window to be of each population, of those of the class.

    Returns
    -------
    dict of name to ClassStack
        ``SV.1``, ``SV.2`` and so on, by `part_names`. Windows that could be of either are left out
        with their reason; what is expected of the other parts among the rest is in `probabilities`.

    Raises
    ------
    DefectStrainError
        If the chances aren't of these windows, or a part has no window.
    """
    if belonging.shape[0] != stack.n or belonging.ndim != 2:
        raise DefectStrainError(
            f"{stack.class_name}: got chances of {belonging.shape[0]} windows, expected those of "
            f"the {stack.n} that count; measure the averages again"
        )
    names = part_names(stack.class_name, belonging.shape[1])
    chosen = np.flatnonzero(stack.included)
    likeliest = belonging.argmax(axis=1)
    parts = {}
    for k, name in enumerate(names):
        mine = np.flatnonzero(likeliest == k)
        if len(mine) == 0:
            raise DefectStrainError(f"{name}: got no window, expected at least one")
        parts[name] = _part(stack, name, chosen[mine], belonging[mine], k, names)
    return parts


def _part(
    stack: ClassStack,
    name: str,
    index: IntArray,
    belonging: FloatArray,
    k: int,
    names: tuple[str, ...],
) -> ClassStack:
    sure = belonging[:, k] >= CERTAIN
    reason = np.full(len(index), "", dtype="<U64")
    reason[~sure] = [f"between populations: {p:.3f} < {CERTAIN:g}" for p in belonging[~sure, k]]
    # probabilities of the detector as they are right, so that no further factor is needed
    right = np.clip(1.0 - stack.overconfidence * (1.0 - stack.probability[index]), 0.0, 1.0)
    chances: FloatArray | None = None
    class_names: tuple[str, ...] = ()
    if stack.probabilities is not None:
        whole = stack.class_names.index(stack.class_name)
        others = stack.probabilities[index].copy()
        others[:, whole] = 0.0
        rest = others.sum(axis=1, keepdims=True)
        scale = np.divide(1.0 - right[:, None], rest, out=np.zeros_like(rest), where=rest > 0)
        chances = np.hstack([others * scale, right[:, None] * belonging])
        class_names = (*stack.class_names, *names)
    return replace(
        stack,
        class_name=name,
        windows=stack.windows[index],
        image_index=stack.image_index[index],
        site_index=stack.site_index[index],
        position_px=stack.position_px[index],
        shift_pm=stack.shift_pm[index],
        probability=right * belonging[:, k],
        included=sure,
        reason=reason,
        probabilities=chances,
        class_names=class_names,
        overconfidence=1.0,
        group=None if stack.group is None else stack.group[index],
        neighbours=None if stack.neighbours is None else _near(stack.neighbours, index),
    )


def _near(neighbours: Neighbours, index: IntArray) -> Neighbours:
    """The neighbours of some windows, counted anew."""
    place = np.full(int(max(neighbours.window.max(initial=-1), index.max(initial=-1))) + 1, -1)
    place[index] = np.arange(len(index))
    window = place[neighbours.window]
    kept = window >= 0
    return replace(
        neighbours,
        window=window[kept],
        class_index=neighbours.class_index[kept],
        site_pm=neighbours.site_pm[kept],
    )
