"""Windows that are left out of the averages, and why: doubtful, lost, contaminated, misclassified.

Three robust statistics, each compared with the windows' own scatter (median and median absolute
deviation), so that a stated number of standard deviations means what it says on clean data:

* the *surroundings*: mean squared difference from the defect-free template outside the core;
* the *core*: mean squared difference from the class's median within it;
* the *centre*: the weight of the central column against the class's median, by a matched filter,
  which tells a misclassified column long before the mean squared difference does.

Other defects beyond the isolation shells are no outliers: a disc around each is left out of these
statistics, window by window.
"""

from __future__ import annotations

import numpy as np

from ..crystal.robust import robust_sigma
from ..io.large_arrays import in_parts, let_go
from ..types import BoolArray, FloatArray, IntArray, Neighbours, StrArray
from .candidates import Candidates
from .windows import CORE_RADIUS, WindowFrame

LOST = "registration"
"""Begins the reason of windows whose column registration has lost."""
MIN_FOR_OUTLIERS = 8
MAX_SHIFT = 0.2  # a; beyond it registration has lost the column
NEIGHBOUR_RADIUS = 0.8
"""Radius of what a neighbouring defect takes out of the statistics [a]: its own column and the
three metals around it (0.58 a), which it moves most; not the next chalcogen columns (1 a)."""

NEGLIGIBLE = 0.02
"""Differences of this part of a metal column's height, root mean square, make no outlier: without
noise, windows differ by what defects farther out move, and that is no fault."""

CHUNK = 64  # windows at a time


def left_out(
    found: Candidates,
    windows: FloatArray,
    shift_pm: FloatArray,
    neighbours: Neighbours,
    frame: WindowFrame,
    min_probability: float,
    sigma: float,
    column_sigma_pm: float,
) -> StrArray:
    """Why each window is left out; empty where it counts.

    Parameters
    ----------
    found : Candidates
        What the windows are cut around.
    windows : array, `(N, P, P)`
        Registered, of all classes, in units of a metal column's height.
    shift_pm : array, `(N, 2)`
        What registration did [pm].
    neighbours : Neighbours
        Of these windows.
    frame : WindowFrame
    min_probability : float
        Windows whose centre is less probable are left out.
    sigma : float
        Windows beyond this many robust standard deviations are left out: above it for the two
        mean squares, on either side for the centre.
    column_sigma_pm : float
        Width of a column's image, of the matched filter [pm].

    Returns
    -------
    array of str, `(N,)`
        ``probability ...``, ``registration ...`` or ``outlier: ...`` with the deviation.
    """
    reason = np.full(len(found), "", dtype="<U64")
    poor = found.probability < min_probability
    reason[poor] = [f"probability {p:.3f} < {min_probability:g}" for p in found.probability[poor]]
    moved = np.hypot(*shift_pm.T)
    lost = (reason == "") & (moved > MAX_SHIFT * frame.a_pm)
    reason[lost] = [f"{LOST}: moved by {m:.0f} pm" for m in moved[lost]]

    discs = _Discs(neighbours, frame)
    surroundings = frame.outside(CORE_RADIUS)
    good = reason == ""
    reference = np.flatnonzero(good & (found.class_index == 1))
    if len(reference):
        # One template for all: outside the core all classes look alike.
        template = _masked_mean(windows, reference, discs)
        every = np.arange(len(found))
        power = _power(windows, every, template, surroundings, discs)
        score = _power_score(power, good, found.image_index)
        _mark(reason, score > sigma, score, "outlier: surroundings {:.1f} sigma")
    shape = _matched_filter(frame, column_sigma_pm)
    for role in np.unique(found.class_index):
        mine = np.flatnonzero((found.class_index == role) & (reason == ""))
        if len(mine) < MIN_FOR_OUTLIERS:
            continue
        median = _median(windows, mine)
        height = np.concatenate(
            [
                np.einsum("nij,ij->n", part - median, shape)
                for part in in_parts(windows, mine, CHUNK)
            ]
        )
        power = _power(windows, mine, median, ~surroundings, discs)
        reason[mine] = _at_centre(height, power, found.image_index[mine], sigma)
    return reason


def _at_centre(height: FloatArray, power: FloatArray, image: IntArray, sigma: float) -> StrArray:
    """Reasons for windows of one class by their centre and core; empty where they are alike."""
    reason = np.full(len(height), "", dtype="<U64")
    everyone = np.ones(len(height), dtype=bool)
    score = _score(height, np.zeros_like(height), everyone, NEGLIGIBLE)
    _mark(reason, score > sigma, score, "outlier: centre too bright, {:.1f} sigma")
    _mark(reason, score < -sigma, -score, "outlier: centre too dark, {:.1f} sigma")
    score = _power_score(power, reason == "", image)
    _mark(reason, (reason == "") & (score > sigma), score, "outlier: core {:.1f} sigma")
    return reason


class _Discs:
    """Pixels of a window that no neighbouring defect touches."""

    def __init__(self, neighbours: Neighbours, frame: WindowFrame) -> None:
        self._frame = frame
        order = np.argsort(neighbours.window, kind="stable")
        self._window = neighbours.window[order]
        reach = (frame.half + 1) * frame.step_pm + NEIGHBOUR_RADIUS * frame.a_pm
        self._site = np.round(neighbours.site_pm[order]).astype(int)  # to 1 pm: few are distinct
        self._inside = (np.abs(self._site) < reach).all(axis=1)
        self._known: dict[tuple[int, int], IntArray] = {}

    def unmasked(self, which: IntArray) -> BoolArray:
        """Where windows show none of their neighbours, `(N, P, P)`."""
        result = np.ones((len(which), int(np.prod(self._frame.shape))), dtype=bool)
        first = np.searchsorted(self._window, which)
        last = np.searchsorted(self._window, which, side="right")
        for row, start, stop in zip(result, first.tolist(), last.tolist(), strict=True):
            for k in range(start, stop):
                if self._inside[k]:
                    row[self._pixels(int(self._site[k, 0]), int(self._site[k, 1]))] = False
        return result.reshape(-1, *self._frame.shape)

    def _pixels(self, x_pm: int, y_pm: int) -> IntArray:
        if (x_pm, y_pm) not in self._known:
            away = np.hypot(*np.moveaxis(self._frame.position_pm - (x_pm, y_pm), 2, 0))
            near = np.flatnonzero(away <= NEIGHBOUR_RADIUS * self._frame.a_pm)
            self._known[x_pm, y_pm] = near
        return self._known[x_pm, y_pm]


def _median(windows: FloatArray, which: IntArray) -> FloatArray:
    """Median of some windows at each pixel, `(P, P)`: some rows of pixels at a time."""
    rows = max(1, CHUNK * windows.shape[1] // len(which))
    parts = []
    for start in range(0, windows.shape[1], rows):
        parts.append(np.median(windows[which, start : start + rows], axis=0))
        let_go(windows)
    return np.concatenate(parts)


def _masked_mean(windows: FloatArray, which: IntArray, discs: _Discs) -> FloatArray:
    """Mean of some windows at each pixel, over those that show no neighbour there, `(P, P)`."""
    total = np.zeros(windows.shape[1:])
    count = np.zeros(windows.shape[1:])
    plain = np.zeros(windows.shape[1:])
    starts = range(0, len(which), CHUNK)
    for start, part in zip(starts, in_parts(windows, which, CHUNK), strict=True):
        use = discs.unmasked(which[start : start + CHUNK])
        total += np.where(use, part, 0.0).sum(axis=0)
        count += use.sum(axis=0)
        plain += part.sum(axis=0, dtype=float) / len(which)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), plain))


def _power(
    windows: FloatArray, which: IntArray, template: FloatArray, mask: BoolArray, discs: _Discs
) -> FloatArray:
    """Mean squared difference of some windows from a template over a mask, `(len(which),)`.

    Less what neighbours touch; NaN where nothing is left.
    """
    power = np.full(len(which), np.nan)
    expected = template.astype(windows.dtype)
    starts = range(0, len(which), CHUNK)
    for start, some in zip(starts, in_parts(windows, which, CHUNK), strict=True):
        part = slice(start, start + CHUNK)
        use = discs.unmasked(which[part]) & mask
        difference = np.where(use, some - expected, 0.0)
        count = use.sum(axis=(1, 2))
        square = np.einsum("nij,nij->n", difference, difference, dtype=float)
        power[part] = np.where(count > 0, square / np.maximum(count, 1), np.nan)
    return power


def _matched_filter(frame: WindowFrame, sigma_pm: float) -> FloatArray:
    """Pixel weights whose sum with a window is the height of a column at its centre, `(P, P)`.

    A Gaussian less its mean over a disc that ends short of the metals: a constant adds nothing.
    """
    radius = np.linalg.norm(frame.position_pm, axis=2)
    disc = radius < 0.5 * frame.a_pm
    column = np.exp(-0.5 * (radius / sigma_pm) ** 2)
    shape = np.where(disc, column - column[disc].mean(), 0.0)
    return np.asarray(shape / (shape * column).sum())


def _power_score(power: FloatArray, good: BoolArray, image: IntArray) -> FloatArray:
    """Deviation of the logarithm of mean squares, in robust sigmas; 0 where negligible, `(N,)`.

    Images differ in dose and contamination: each window is compared with the median of its own
    image, or of all where that has few windows; the scatter about the medians is one for all.
    """
    level = np.log(np.maximum(power, 1e-30))
    known = good & np.isfinite(level)
    if not known.any():
        return np.full(len(power), np.nan)
    centre = np.full(len(level), np.median(level[known]))
    for i in np.unique(image[known]):
        mine = image == i
        if (known & mine).sum() >= MIN_FOR_OUTLIERS:
            centre[mine] = np.median(level[known & mine])
    score = _score(level, centre, good, 1e-9)
    return np.asarray(np.where(power - np.exp(centre) > NEGLIGIBLE**2, score, 0.0))


def _score(value: FloatArray, centre: FloatArray, good: BoolArray, floor: float) -> FloatArray:
    """Deviation from a centre, less the median of all, in robust sigmas of the good, `(N,)`.

    NaN where they are too few to tell.
    """
    left = value - centre
    known = good & np.isfinite(left)
    if known.sum() < MIN_FOR_OUTLIERS:
        return np.full(len(value), np.nan)
    left = left - np.median(left[known])
    spread = robust_sigma(left[known], 0.0)
    return np.asarray(left / max(spread, floor))


def _mark(reason: StrArray, which: BoolArray, score: FloatArray, text: str) -> None:
    reason[which] = [text.format(s) for s in score[which]]
