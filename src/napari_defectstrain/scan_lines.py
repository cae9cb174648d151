"""Scan-line jitter: how far each line of each frame lies off along the fast axis, and undoing it.

A line is compared with the mean of the *other* frames at its height, so that its own noise and its
own shift are not in what it is compared with. That gives shifts relative to the other frames only:
what the lines of one height have in common (the mean of as many random shifts as there are frames)
stays. It is found by comparing the lines of the sum with the long-range order of the crystal: the
sum's Bragg spots, each with the frequencies within `ORDER_PER_PX` around it, which hold the
lattice and all that changes more slowly than 1 / `ORDER_PER_PX` lines: drift, waves of the scan,
bending of the lattice stay in the picture, and so does what single columns do, which moves the
mean of a line of columns hardly at all. Jitter differs from line to line without memory; a
structure of the specimen moves all lines across a column together. Where the common shifts have
such a memory, they are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter, gaussian_filter1d, maximum_filter

from .frame_sums import RunningSum, align_frame, common_region, shift_lines, shift_rows
from .types import BoolArray, FloatArray, IntArray, Progress, no_progress

MIN_FRAMES = 3
"""Fewer frames cannot tell whose line is off."""

ORDER_PER_PX = 1 / 96
"""Half width of the pass band around each spot [cycles/px]."""

SPOT_CONTRAST = 8.0
"""Spots rise that far above the level around them (of 10^6 values of noise the largest by 4)."""

MAX_MEMORY = 2.0
"""Power of the common shifts at low frequencies over what jitter without memory has there, from
which on they are taken for structure of the specimen."""

SLOW_PER_PX, FAST_PER_PX = 1 / 64, 0.3
"""Frequencies along the line that are compared [cycles/px]: no background, and no mere noise."""

REACH_PX = 6.0
FIRST_PRIOR_PX = 2.0
SMOOTHING_PX = 1.0
TREND_PX = 48.0
"""Lines over which the slow drift within a frame, which a line's shift is held to, is smoothed."""
PASSES = 3


@dataclass(frozen=True)
class LineShifts:
    """Shifts of the scan lines along the fast axis.

    Parameters
    ----------
    shift_px : array, `(T, H)`
        Of every line beyond the shift of its frame [px]; zero in frames that were not used.
    sigma_px : array, `(T,)`
        Median standard error of a line's shift, from the counts [px].
    jitter_px : array, `(T,)`
        Standard deviation of the shifts in each frame, that of the error taken off [px].
    common_px : float
        Standard deviation of the shifts that the frames have in common and that were undone [px];
        0 where they were left alone.
    note : str
        Why the common shifts were left alone; empty where they were not.
    """

    shift_px: FloatArray
    sigma_px: FloatArray
    jitter_px: FloatArray
    common_px: float
    note: str = ""


def measure_lines(
    stack: FloatArray,
    used: BoolArray,
    shift_px: FloatArray,
    progress: Progress = no_progress,
    always: bool = False,
) -> LineShifts:
    """Shift of every line of the frames used.

    Parameters
    ----------
    stack : array, `(T, H, W)`
    used : array of bool, `(T,)`
        At least `MIN_FRAMES` of them.
    shift_px : array, `(T, 2)`
        Rigid shifts of the frames.
    progress : Progress
    always : bool
        Undo the common shifts even where they look like structure.

    Returns
    -------
    LineShifts
    """
    count, height = stack.shape[:2]
    chosen = np.flatnonzero(used)
    lines: FloatArray = np.zeros((count, height))
    sigma, jitter = np.zeros(count), np.zeros(count)
    prior = np.full(count, FIRST_PRIOR_PX)
    steps = PASSES * len(chosen)
    for n in range(PASSES):
        total = RunningSum(stack.shape[1:])
        for t in chosen:
            total.add(*align_frame(stack[t], shift_px[t], lines[t]))
        found = lines.copy()
        for m, t in enumerate(chosen):
            progress((n * len(chosen) + m) / steps, f"lines of frame {t + 1} of {count}")
            found[t], error = _frame_lines(stack[t], total, shift_px[t], lines[t], prior[t])
            spread = found[t] - _slow(found[t])
            excess = _variance(spread) - float(np.median(error**2))
            jitter[t], sigma[t] = np.sqrt(max(excess, 0.0)), np.median(error)
            prior[t] = np.sqrt(max(excess, (0.1 * sigma[t]) ** 2))
        lines = _without_common(found, shift_px, chosen)
    usual = float(np.sqrt(np.mean(jitter[chosen] ** 2) / len(chosen)))
    common, top, note = _common_shifts(stack, lines, shift_px, chosen, usual, always)
    for t in chosen:
        lines[t] += _at_lines(common, top, shift_px[t, 0], height)
    return LineShifts(lines, sigma, jitter, float(common.std()), note)


def _frame_lines(
    frame: FloatArray,
    total: RunningSum,
    shift: FloatArray,
    lines: FloatArray,
    prior_px: float,
) -> tuple[FloatArray, FloatArray]:
    """Shifts of a frame's lines against the other frames, and their errors, `(H,)` each."""
    aligned, region = align_frame(frame, shift, lines)
    total.add(aligned, region, -1)
    others = total.mean()
    total.add(aligned, region)
    whole = np.rint(shift).astype(int)
    y0, y1, x0, x1 = region
    template = gaussian_filter(shift_rows(others, float(shift[0] - whole[0])), SMOOTHING_PX)
    rows = frame[y0 + whole[0] : y1 + whole[0], x0 + whole[1] : x1 + whole[1]]
    part = slice(y0 + whole[0], y1 + whole[0])
    trend = _slow(lines[part]) + (shift[1] - whole[1])
    found, error = match_lines(rows, template[y0:y1, x0:x1], prior_px, trend)
    new, sigma = np.zeros(len(frame)), np.full(len(frame), np.median(error))
    new[part], sigma[part] = found - (shift[1] - whole[1]), error
    return new, sigma


def match_lines(
    rows: FloatArray, template: FloatArray, prior_px: float, trend_px: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Most probable shift of each line against its line of a template.

    Maximises ``-|z - g T(x - s)|^2 / v - (s - trend)^2 / prior^2`` (halved), z and T freed of slow
    background; one gain g and noise v for all lines.

    Parameters
    ----------
    rows, template : arrays, `(H, W)`
    prior_px : float
        Standard deviation of the shifts [px].
    trend_px : array, `(H,)`
        Their expected value [px].

    Returns
    -------
    shift, sigma : arrays, `(H,)`
        And the standard error that the counts leave, without the prior [px].
    """
    width = rows.shape[1]
    taper = np.ones(width, dtype=np.float32)
    ramp = min(16, width // 4)
    taper[:ramp] = 0.5 - 0.5 * np.cos(np.pi * (np.arange(ramp) + 0.5) / ramp)
    taper[-ramp:] = taper[:ramp][::-1]
    frequency = np.fft.rfftfreq(width)
    use = (frequency > SLOW_PER_PX) & (frequency < FAST_PER_PX)
    k = 2 * np.pi * frequency[use]
    z, t = (
        fft.rfft((np.asarray(a, dtype=np.float32) - a.mean()) * taper, axis=1)[:, use]
        for a in (rows, template)
    )
    cross = z * np.conj(t)  # (H, K)
    power = (np.abs(t) ** 2).sum(axis=1).astype(float)
    curve = (k**2 * np.abs(t) ** 2).sum(axis=1).astype(float)
    offset = np.arange(-REACH_PX, REACH_PX + 0.25, 0.5)
    start = cross * np.exp(1j * trend_px[:, None] * k).astype(np.complex64)
    score = (start @ np.exp(1j * np.outer(k, offset)).astype(np.complex64)).real.astype(float)
    best = score.max(axis=1).sum()
    gain = max(best / max(power.sum(), 1e-30), 1e-9)
    left = (np.abs(z) ** 2).sum() - gain * best
    noise = max(float(left) / z.size, 1e-30)
    penalty = 0.5 * (offset / prior_px) ** 2
    away = offset[(2 * gain / noise * score - penalty).argmax(axis=1)]
    for _ in range(4):
        term = start * np.exp(1j * away[:, None] * k).astype(np.complex64)
        slope = -2 * gain / noise * (term.imag @ k) - away / prior_px**2
        bend = 2 * gain / noise * (term.real @ k**2) + 1 / prior_px**2
        floor = 0.25 * (2 * gain**2 / noise * curve + 1 / prior_px**2)
        away = away + np.clip(slope / np.maximum(bend, floor), -0.5, 0.5)
    sigma = np.sqrt(noise / np.maximum(2 * gain**2 * curve, 1e-30))
    return trend_px + away, sigma


def _variance(values: FloatArray) -> float:
    return float((1.4826 * np.median(np.abs(values - np.median(values)))) ** 2)


def _slow(values: FloatArray) -> FloatArray:
    return np.asarray(gaussian_filter1d(values, TREND_PX, mode="nearest"))


def _at_lines(common: FloatArray, top: int, drift_y: float, height: int) -> FloatArray:
    """A function of the canvas's rows (the first is `top`) at the lines of a frame, `(H,)`."""
    row = np.arange(height) - drift_y - top
    return np.asarray(np.interp(row, np.arange(len(common)), common, left=0.0, right=0.0))


def _without_common(lines: FloatArray, shift_px: FloatArray, chosen: IntArray) -> FloatArray:
    """Shifts less what all frames have in common at a height of the specimen."""
    height = lines.shape[1]
    row = np.arange(height)
    total, seen = np.zeros(height), np.zeros(height)
    for t in chosen:
        at = row + shift_px[t, 0]
        inside = (at >= 0) & (at <= height - 1)
        total[inside] += np.interp(at[inside], row, lines[t])
        seen[inside] += 1
    mean = total / np.maximum(seen, 1)
    out = lines.copy()
    for t in chosen:
        out[t] -= _at_lines(mean, 0, shift_px[t, 0], height)
    return out


def _common_shifts(
    stack: FloatArray,
    lines: FloatArray,
    shift_px: FloatArray,
    chosen: IntArray,
    usual_px: float,
    always: bool,
) -> tuple[FloatArray, int, str]:
    """What the lines of the sum lie off the crystal's order, the first row, and why not."""
    total = RunningSum(stack.shape[1:])
    regions = []
    for t in chosen:
        aligned, region = align_frame(stack[t], shift_px[t], lines[t])
        total.add(aligned, region)
        regions.append(region)
    y0, y1, x0, x1 = common_region(regions)
    image = total.mean()[y0:y1, x0:x1]
    common: FloatArray = np.zeros(len(image))
    if usual_px <= 0:
        return common, y0, "no scan-line jitter is seen above the noise"
    for _ in range(2):
        straight = shift_lines(image, -common)
        order = bragg_filtered(straight)
        if order is None:
            return (
                np.zeros(len(image)),
                y0,
                "scan lines are aligned among the frames only: the sum shows no lattice",
            )
        common, sigma = match_lines(image, order, usual_px, np.zeros(len(image)))
    memory = _memory(common, usual_px, float(np.median(sigma)))
    if memory > MAX_MEMORY and not always:
        return (
            np.zeros(len(image)),
            y0,
            "scan lines are aligned among the frames only: what the frames have in common changes "
            f"slowly from line to line ({memory:.1f} times the power of jitter), as structure of "
            "the specimen does, or a disturbance in step with the frames",
        )
    return common - common.mean(), y0, ""


def _memory(common: FloatArray, usual_px: float, sigma_px: float) -> float:
    """Power below 0.1 cycles a line over that expected of independent shifts."""
    power = np.abs(np.fft.rfft(common - common.mean())) ** 2 / len(common)
    frequency = np.fft.rfftfreq(len(common))
    low = (frequency > 1.5 * ORDER_PER_PX) & (frequency < 0.1)
    return float(power[low].mean() / (usual_px**2 + sigma_px**2))


def bragg_filtered(image: FloatArray) -> FloatArray | None:
    """The image's long-range order: its Bragg spots within `ORDER_PER_PX` of each; or None."""
    margin = int(1.5 / ORDER_PER_PX)
    shape = [fft.next_fast_len(n + margin, real=True) for n in image.shape]
    window = [_tapered(n) for n in image.shape]
    weight = (window[0][:, None] * window[1]).astype(np.float32)
    z = (np.asarray(image, dtype=np.float32) - np.average(image, weights=weight)) * weight
    spectrum = fft.rfft2(z, s=shape)
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    radius = np.hypot(fy, fx)
    size = np.log(np.abs(spectrum) + np.finfo(np.float32).tiny)
    ring = (radius * min(shape) / 8).astype(int)
    level = np.bincount(ring.ravel(), size.ravel()) / np.bincount(ring.ravel())
    contrast = size - level[ring]
    reach = [max(1, round(ORDER_PER_PX * n)) for n in shape]
    tall = maximum_filter(contrast, (2 * reach[0] + 1, 2 * reach[1] + 1), mode="wrap")
    spot = (contrast == tall) & (contrast > np.log(SPOT_CONTRAST)) & (radius > 2 * ORDER_PER_PX)
    if spot.sum() < 2:
        return None
    passed = np.zeros(spectrum.shape, dtype=bool)
    for i, j in np.argwhere(spot):
        rows = np.arange(i - reach[0], i + reach[0] + 1) % shape[0]
        columns = np.arange(max(j - reach[1], 0), min(j + reach[1] + 1, passed.shape[1]))
        passed[np.ix_(rows, columns)] = True
    filtered = fft.irfft2(np.where(passed, spectrum, 0), s=shape)
    return np.asarray(filtered[: image.shape[0], : image.shape[1]])


def _tapered(count: int) -> FloatArray:
    window = np.ones(count)
    ramp = min(16, count // 4)
    window[:ramp] = 0.5 - 0.5 * np.cos(np.pi * (np.arange(ramp) + 0.5) / ramp)
    window[-ramp:] = window[:ramp][::-1]
    return window
