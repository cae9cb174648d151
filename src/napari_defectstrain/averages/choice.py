"""Leaving windows out of a class stack and putting them back, and what sets them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..io.large_arrays import let_go
from ..types import ClassStack, DefectStrainError, FloatArray, IntArray, StrArray

BY_HAND = "by hand"
"""Reason of windows that a person left out."""
PUT_BACK = "put back by hand: "
"""Before the reason of windows that were left out, and that a person put back."""
RELABELLED = "relabelled"
"""Begins the reason of windows that a person gave another class."""
CHUNK = 256  # windows compared at a time: 35 MB of 131^2 px


def leave_out(
    stack: ClassStack, index: Sequence[int] | IntArray, reason: str = BY_HAND
) -> ClassStack:
    """The stack without some of its windows; those that are left out already keep their reason.

    Parameters
    ----------
    stack : ClassStack
    index : sequence of int
        Windows, counted through all of the stack.
    reason : str

    Returns
    -------
    ClassStack
        Sharing the arrays that are not changed.

    Raises
    ------
    DefectStrainError
        If there is no such window, or none would be left.
    """
    chosen = _checked(stack, index)
    chosen = chosen[stack.included[chosen]]
    included, reasons = stack.included.copy(), stack.reason.tolist()
    included[chosen] = False
    for i in chosen:
        # what was put back by hand is out for what it was out for before
        known = reason == BY_HAND and reasons[i].startswith(PUT_BACK)
        reasons[i] = reasons[i].removeprefix(PUT_BACK) if known else reason
    if not included.any():
        raise DefectStrainError(
            f"{stack.class_name}: leaving out {len(chosen)} more windows would leave none, "
            "expected at least one; put another back first"
        )
    return replace(stack, included=included, reason=_as_array(reasons))


def put_back(stack: ClassStack, index: Sequence[int] | IntArray) -> ClassStack:
    """The stack with some of the windows that were left out.

    Parameters and errors as `leave_out`; what is included stays so. Windows that nobody had left
    out by hand keep their reason behind `PUT_BACK`: a choice by hand is in the error budget.
    """
    chosen = _checked(stack, index)
    chosen = chosen[~stack.included[chosen]]
    included, reasons = stack.included.copy(), stack.reason.tolist()
    included[chosen] = True
    for i in chosen:
        by_person = reasons[i] == BY_HAND or reasons[i].startswith(RELABELLED)
        reasons[i] = "" if by_person or not reasons[i] else PUT_BACK + reasons[i]
    return replace(stack, included=included, reason=_as_array(reasons))


def deviation(stack: ClassStack) -> FloatArray:
    """How far each window is from the average of those that count.

    Root mean square of the difference over all pixels. An included window is part of the average,
    and so looks nearer to it by the factor 1 - 1/N: it is compared with the average of the others
    instead.

    Parameters
    ----------
    stack : ClassStack

    Returns
    -------
    array, `(W,)`
        Of every window, included or not, in units of the metal-column height. NaN for a window
        that no other can be compared with.
    """
    use = np.flatnonzero(stack.included)
    n = len(use)
    if n == 0:
        return np.full(len(stack.windows), np.nan)
    mean = stack.windows[use].mean(axis=0, dtype=float).astype(np.float32)
    power = np.empty(len(stack.windows))
    for start in range(0, len(power), CHUNK):
        difference = stack.windows[start : start + CHUNK] - mean
        let_go(stack.windows)
        power[start : start + CHUNK] = np.mean(difference**2, axis=(1, 2), dtype=float)
    result = np.sqrt(power)
    with np.errstate(invalid="ignore", divide="ignore"):
        # w - (S - w)/(n - 1) = (w - S/n) n/(n - 1); a single window has no others: 0 times infinity
        result[use] *= np.float64(n) / (n - 1) if n > 1 else np.nan
    return np.asarray(result)


def changed_by_hand(stack: ClassStack, original: ClassStack) -> IntArray:
    """Windows that are included now and were not in the original, or the other way round."""
    return np.asarray(np.flatnonzero(stack.included != original.included))


def _as_array(reasons: list[str]) -> StrArray:
    return np.array(reasons, dtype=f"<U{max(64, *map(len, reasons))}")


def _checked(stack: ClassStack, index: Sequence[int] | IntArray) -> IntArray:
    chosen = np.asarray(index, dtype=int).reshape(-1)
    count = len(stack.included)
    strange = chosen[(chosen < 0) | (chosen >= count)]
    if strange.size:
        raise DefectStrainError(
            f"{stack.class_name}: got window {int(strange[0])} of {count}, expected 0 to "
            f"{count - 1}"
        )
    return chosen
