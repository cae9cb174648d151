"""Sums of a few frames each, in groups or sliding, and how many frames a sum needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..averages import expected_purity
from ..frames import FrameRegistration, align_frame
from ..materials import Material
from ..types import BoolArray, CalibratedImage, DefectStrainError, FloatArray, IntArray, Sites

PROBES = 3
"""Sums that are tried for each number of frames: the first, one in the middle, the last."""

FEW = 3
"""Columns of a class, in all sums tried, below which its purity isn't asked for."""

TRIED = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def frame_groups(good: BoolArray, per_sum: int, step: int | None = None) -> list[IntArray]:
    """Which frames go into which sum.

    Parameters
    ----------
    good : array of bool, `(T,)`
        Frames that can be summed; the others leave a gap.
    per_sum : int
        Frames a sum.
    step : int, optional
        From the start of one sum to that of the next; default `per_sum`: no frame is in two of
        them. Frames that are left over then go to the sums as evenly as can be; where sums slide,
        the last one ends with the last frame.

    Returns
    -------
    list of array of int
        Good frames of each sum; sums without one, or with those of the one before, are left out.

    Raises
    ------
    DefectStrainError
        If this gives fewer than two sums.

    Examples
    --------
    >>> [g.tolist() for g in frame_groups(np.ones(5, dtype=bool), 2)]
    [[0, 1, 2], [3, 4]]
    >>> [g.tolist() for g in frame_groups(np.ones(4, dtype=bool), 3, 1)]
    [[0, 1, 2], [1, 2, 3]]
    >>> [g.tolist() for g in frame_groups(np.ones(6, dtype=bool), 3, 2)]
    [[0, 1, 2], [2, 3, 4], [3, 4, 5]]
    """
    count = len(good)
    frames = np.arange(count)
    if step is None or step >= per_sum:
        groups = np.array_split(frames, max(count // per_sum, 1))
    else:
        starts = list(range(0, count - per_sum + 1, step))
        if starts and starts[-1] + per_sum < count:
            starts.append(count - per_sum)
        groups = [frames[k : k + per_sum] for k in starts]
    kept: list[IntArray] = []
    for group in groups:
        own = group[good[group]]
        if own.size and not (kept and np.array_equal(own, kept[-1])):
            kept.append(own)
    if len(kept) < 2:
        raise DefectStrainError(
            f"series: got {int(good.sum())} good frames and sums of {per_sum}, which leaves "
            f"{len(kept)} sum(s), expected two or more; sum fewer frames"
        )
    return kept


def sum_groups(
    frames: Sequence[CalibratedImage],
    found: FrameRegistration,
    groups: Sequence[IntArray],
    name: str,
) -> list[CalibratedImage]:
    """The sums, all over the field that every good frame shows.

    Each frame is interpolated once, as in the sum of all (`frames.register_frames`).

    Parameters
    ----------
    frames : sequence of CalibratedImage
        All frames of the series.
    found : FrameRegistration
    groups : sequence of array of int
        Of `frame_groups`.
    name : str
        Of the series; sums are numbered from 1.
    """
    y0, y1, x0, x1 = found.region
    sums = np.zeros((len(groups), y1 - y0, x1 - x0), dtype=np.float32)
    lines = found.lines
    for t in np.unique(np.concatenate(list(groups))):
        own = None if lines is None else lines.shift_px[t]
        aligned, _ = align_frame(frames[t].data, found.shift_px[t], own)
        for k, group in enumerate(groups):
            if t in group:
                sums[k] += aligned[y0:y1, x0:x1]
    digits = len(str(len(groups)))
    first = frames[0]
    base = {k: v for k, v in first.metadata.items() if k not in ("frame", "warnings")}
    return [
        replace(
            first,
            data=total,
            name=f"{name}_sum_{k + 1:0{digits}d}",
            metadata={**base, "frames": len(group), "frame_numbers": group.tolist()},
        )
        for k, (total, group) in enumerate(zip(sums, groups, strict=True))
    ]


@dataclass(frozen=True)
class SumPurity:
    """Expected purity of the classes in sums of so many frames.

    Parameters
    ----------
    per_sum : int
    purity : mapping of str to float
        By class, of those with at least `FEW` columns in the sums that were tried.
    columns : mapping of str to int
        Columns of every defect in them.
    """

    per_sum: int
    purity: Mapping[str, float]
    columns: Mapping[str, int]

    @property
    def least(self) -> float:
        """Purity of the worst class; 0 where none has enough columns."""
        return min(self.purity.values(), default=0.0)


def sum_purity(
    per_sum: int, found: Sequence[Sites], material: Material, overconfidence: Sequence[float]
) -> SumPurity:
    """Expected purity of every defect in the sums that were tried.

    Parameters
    ----------
    per_sum : int
    found : sequence of Sites
    material : Material
    overconfidence : sequence of float
        Of the detection, by role; empty where it isn't known.
    """
    purity, columns = {}, {}
    for name in material.averaged_names:
        index = material.all_class_names.index(name)
        chance = np.concatenate([s.probability[s.class_index == index] for s in found])
        factor = overconfidence[index] if index < len(overconfidence) else 1.0
        columns[name] = len(chance)
        if len(chance) >= FEW:
            purity[name] = expected_purity(chance, max(factor, 1.0))
    return SumPurity(per_sum, purity, columns)


def propose_frames(
    good: BoolArray, wanted: float, look: Callable[[int, list[IntArray]], SumPurity]
) -> tuple[int, list[SumPurity]]:
    """The smallest number of frames a sum at which every class is as pure as wanted.

    Parameters
    ----------
    good : array of bool, `(T,)`
    wanted : float
        Expected purity of every class.
    look : callable
        Given the number and the groups of a few such sums: how pure they are.

    Returns
    -------
    per_sum : int
        The first that is pure enough; where none is, the purest.
    tried : list of SumPurity
    """
    tried: list[SumPurity] = []
    for n in TRIED:
        if tried and 2 * n > len(good):
            break
        groups = frame_groups(good, n)
        which = np.unique(np.linspace(0, len(groups) - 1, PROBES).round().astype(int))
        tried.append(look(n, [groups[k] for k in which]))
        if tried[-1].least >= wanted:
            return n, tried
    best = max(tried, key=lambda one: one.least)
    return best.per_sum, tried


def dose_of_groups(groups: Sequence[IntArray], per_frame: float) -> FloatArray:
    """Dose (or time) from the start of the series to the middle of each sum, `(G,)`.

    Frames that were left out irradiated the sample all the same.
    """
    return np.array([(float(g.mean()) + 0.5) * per_frame for g in groups])
