"""Shifts between frames of one crystal, without jumps by a lattice vector: consensus over pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..types import BoolArray, FloatArray, Progress, no_progress
from .spectra import Peak, Spectra

BLANK_CONTRAST = 6.0
"""Frames whose spectrum nowhere rises above its surroundings by this factor show no lattice (of
10^6 values of noise the largest rises by 4)."""

ALL_PAIRS = 12
"""Up to so many frames every pair is correlated, more frames at the lags 1, 3, 9, 27, ..."""

BEYOND_DOUBT = 2.0
"""Score of a pair that needs no third frame to confirm it."""

SAME_PLACE_PX = 3.0
"""Shifts that differ by less are the same maximum."""


@dataclass(frozen=True)
class CoarseShifts:
    """Shifts to a fraction of a pixel, and how sure they are.

    Parameters
    ----------
    shift_px : array, `(T, 2)`
        (y, x) of what frame 0 (or the first that matches) shows at the origin; NaN where a frame
        could not be placed.
    ambiguous : array of bool, `(T,)`
        Only the expected drift chose between lattice vectors.
    """

    shift_px: FloatArray
    ambiguous: BoolArray


def coarse_shifts(
    stack: FloatArray, max_step_px: float, progress: Progress = no_progress
) -> CoarseShifts:
    """Where each frame lies, by the consensus of its correlations with the others.

    A crystal's cross-correlation has many near-equal peaks, so the spots of each spectrum are
    clipped to the level around them: what is left (defects, contamination, edges) has one peak.
    All pairs of frames (many frames: several lags) are correlated; the shifts that agree with most
    of the confident pairs (least absolute deviations) are taken. Frames that no pair places are
    compared with the sum of those placed, and at last every frame with the sum of all others,
    until nothing changes. Where even that shows only the lattice, the shift nearest to the drift
    of the neighbours in time is taken and the frame called ambiguous.

    Parameters
    ----------
    stack : array, `(T, H, W)`
        Finite frames.
    max_step_px : float
        Largest movement between two frames that is looked for [px].
    progress : Progress

    Returns
    -------
    CoarseShifts
    """
    spectra = Spectra(stack)
    count = len(stack)
    edges = []
    pairs = list(pairs_of(count))
    for n, (i, j) in enumerate(pairs):
        if n % 8 == 0:
            progress(0.5 * n / len(pairs), f"comparing frames {i + 1} and {j + 1}")
        reach = min(max_step_px * (j - i), min(stack.shape[1:]) / 2)
        peak = spectra.aperiodic_peak(spectra.pair(j), spectra.pair(i), np.zeros(2), reach)
        if peak.confident:
            edges.append((i, j, peak))
    shift = _consensus(count, _corroborated(count, edges))
    visible = spectra.contrast > BLANK_CONTRAST
    if np.isnan(shift).all():
        if not visible.any():
            return CoarseShifts(shift, np.zeros(count, dtype=bool))
        shift[int(np.argmax(visible))] = 0.0
    ambiguous = np.zeros(count, dtype=bool)
    placed = ~np.isnan(shift[:, 0])
    plain, white = spectra.sums(shift, placed)
    for t in _outwards(placed):
        if not visible[t]:
            continue
        progress(0.5, f"placing frame {t + 1} of {count}")
        expected = _expected(shift, placed, t)
        shift[t], ambiguous[t] = spectra.place(t, (plain, white), expected, max_step_px)
        placed[t] = True
        turn = spectra.phase(shift[t])
        plain += spectra.plain[t] * turn
        white += spectra.white[t] * turn
    _recheck(spectra, shift, ambiguous, placed, max_step_px, progress)
    return CoarseShifts(shift - shift[int(np.argmax(placed))], ambiguous)


def _recheck(
    spectra: Spectra,
    shift: FloatArray,
    ambiguous: BoolArray,
    placed: BoolArray,
    max_step_px: float,
    progress: Progress,
) -> None:
    """Each frame against the sum of all others, until none jumps; changes `shift`, `ambiguous`."""
    chosen = np.flatnonzero(placed)
    if len(chosen) < 3:
        return
    for sweep in range(4):
        plain, white = spectra.sums(shift, placed)
        jumped = False
        for t in map(int, chosen):
            progress(0.6 + 0.1 * sweep, f"checking frame {t + 1} of {len(shift)}")
            turn = spectra.phase(shift[t])
            rest = plain - spectra.plain[t] * turn
            rest_white = white - spectra.white[t] * turn
            others = placed.copy()
            others[t] = False
            expected = _expected(shift, others, t)
            peak = spectra.aperiodic_peak(
                spectra.pair(t), (rest, rest_white), expected, max_step_px
            )
            ambiguous[t] = not peak.confident
            start = shift[t]
            if peak.confident and np.hypot(*(peak.shift_px - shift[t])) > SAME_PLACE_PX:
                start, jumped = peak.shift_px, True
            shift[t] = spectra.refine(spectra.plain[t], rest, start)
            turn = spectra.phase(shift[t])
            plain = rest + spectra.plain[t] * turn
            white = rest_white + spectra.white[t] * turn
        if not jumped:
            return


def pairs_of(count: int) -> Iterator[tuple[int, int]]:
    """Pairs of frames that are compared: all up to `ALL_PAIRS` frames, else at several lags."""
    lags = list(range(1, count))
    if count > ALL_PAIRS:
        lags = [3**k for k in range(6) if 3**k < count]
    for lag in lags:
        for i in range(count - lag):
            yield i, i + lag


def _outwards(placed: BoolArray) -> list[int]:
    """Frames not yet placed, those nearest in time to a placed one first."""
    where = np.flatnonzero(placed)
    left = np.flatnonzero(~placed)
    gap = np.abs(left[:, None] - where[None]).min(axis=1)
    return [int(t) for t in left[np.argsort(gap, kind="stable")]]


def _expected(shift: FloatArray, placed: BoolArray, t: int) -> FloatArray:
    """Where frame `t` should lie by the frames around it in time.

    Between two frames on the line through them; beyond the last, half its step further: drift
    changes, jumps don't repeat.
    """
    known = np.flatnonzero(placed)
    before, after = known[known < t], known[known > t]
    if len(before) and len(after):
        share = (t - before[-1]) / (after[0] - before[-1])
        return np.asarray((1 - share) * shift[before[-1]] + share * shift[after[0]])
    near = before[::-1] if len(before) else after
    if len(near) < 2:
        return np.asarray(shift[near[0]])
    step = (shift[near[0]] - shift[near[1]]) / abs(near[0] - near[1])
    return np.asarray(shift[near[0]] + 0.5 * step)


def _corroborated(count: int, edges: list[tuple[int, int, Peak]]) -> list[tuple[int, int, Peak]]:
    """Pairs that a third frame confirms, or that are sure beyond doubt.

    Of fifty pairs of frames of a nearly perfect crystal one or the other is believed by chance, and
    would start a consensus of its own.
    """
    if count < 3:
        return edges
    step = np.full((count, count, 2), np.nan)
    for i, j, peak in edges:
        step[i, j], step[j, i] = peak.shift_px, -peak.shift_px
    kept = []
    for i, j, peak in edges:
        around = step[i] + step[:, j]  # (T, 2): by way of every other frame
        gap = np.hypot(*(around - peak.shift_px).T)
        if peak.score > BEYOND_DOUBT or (gap < SAME_PLACE_PX).any():
            kept.append((i, j, peak))
    return kept


def _consensus(count: int, edges: list[tuple[int, int, Peak]]) -> FloatArray:
    """Shifts that agree with most of the pairs, `(T, 2)`; NaN outside the largest linked group.

    A spanning tree of the surest pairs starts an iteratively reweighted least squares that
    minimises the sum of |s_j - s_i - d_ij|: what contradicts the majority loses its say.
    """
    shift = np.full((count, 2), np.nan)
    group = np.arange(count)
    place = np.zeros((count, 2))
    for i, j, peak in sorted(edges, key=lambda edge: -edge[2].score):
        if group[i] == group[j]:
            continue
        moved = group == group[j]
        place[moved] += place[i] + peak.shift_px - place[j]
        group[moved] = group[i]
    largest = int(np.bincount(group).argmax())
    inside = group == largest
    if inside.sum() < 2:
        return shift
    index = np.cumsum(inside) - 1
    chosen = [(index[i], index[j], peak) for i, j, peak in edges if inside[i] and inside[j]]
    rows = np.arange(len(chosen))
    design = np.zeros((len(chosen) + 1, int(inside.sum())))
    design[rows, [c[0] for c in chosen]] = -1.0
    design[rows, [c[1] for c in chosen]] = 1.0
    design[-1, 0] = 1.0
    target = np.array([c[2].shift_px for c in chosen] + [np.zeros(2)])
    solution = place[inside] - place[inside][0]
    for _ in range(30):
        left = np.hypot(*(target - design @ solution).T)
        weight = np.sqrt(1.0 / np.maximum(left, 0.1))[:, None]
        new = np.linalg.lstsq(design * weight, target * weight, rcond=None)[0]
        done = np.abs(new - solution).max() < 1e-3
        solution = new
        if done:
            break
    shift[inside] = solution
    return shift
