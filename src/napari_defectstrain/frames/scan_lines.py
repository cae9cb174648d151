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

from ..crystal.robust import robust_sigma
from ..types import BoolArray, FloatArray, IntArray, Progress, no_progress
from .sums import RunningSum, align_frame, common_region, shift_lines, shift_rows

MIN_FRAMES = 3
"""Fewer frames cannot tell whose line is off."""

ORDER_PER_PX = 1 / 96
"""Half width of the pass band around each spot [cycles/px]."""

SPOT_CONTRAST = 8.0
"""Spots rise that far above the level around them (of 10^6 values of noise the largest by 4)."""

PEAK, SIGNIFICANT = 16.0, 5.5
"""How far above chance the common shifts may be before they are taken for structure of the
specimen. Of noise, 500 frequencies reach 14 times their mean once in 2000 images, and means over
lines 5 standard errors as seldom; the rest is for the error of a tenth in the level of jitter."""

SLOW_PER_PX, FAST_PER_PX = 1 / 64, 0.3
"""Frequencies along the line that are compared [cycles/px]: no background, and no mere noise."""

BACKGROUND_PX = 10.0
NEIGHBOURHOOD_PX = 8.0
"""Blur of the map that tells where the crystal's order describes the picture: the columns next to a
defect lie 9 px from it."""

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
        Of every line beyond the shift of its frame and `mean_px`, of mean zero [px]; zero in frames
        that were not used.
    mean_px : array, `(T,)`
        What the lines say of the shift of their frame beyond the rigid one [px].
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
    mean_px: FloatArray
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
            excess = robust_sigma(spread) ** 2 - float(np.median(error**2))
            jitter[t], sigma[t] = np.sqrt(max(excess, 0.0)), np.median(error)
            prior[t] = np.sqrt(max(excess, (0.1 * sigma[t]) ** 2))
        lines = _without_common(found, shift_px, chosen)
    # Shifts relative to the mean of n have (n - 1) / n of the variance, their mean has 1 / n.
    usual = float(np.sqrt(np.mean(jitter[chosen] ** 2) / (len(chosen) - 1)))
    common, top, note = _common_shifts(stack, lines, shift_px, chosen, usual, always)
    for t in chosen:
        lines[t] += _at_lines(common, top, shift_px[t, 0], height)
    seen = lines != 0
    mean = lines.sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    lines = np.where(seen, lines - mean[:, None], 0.0)
    return LineShifts(lines, mean, sigma, jitter, float(common.std()), note)


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
    for n in range(4):
        straight = shift_lines(image, -common)
        order = bragg_filtered(straight)
        if order is None:
            none = "scan lines are aligned among the frames only: the sum shows no lattice"
            return np.zeros(len(image)), y0, none
        if n == 0:
            common, sigma = match_lines(image, order, usual_px, np.zeros(len(image)))
        else:
            common, sigma = _crystal_shifts(straight, order, common, usual_px)
    memory = _memory(common, usual_px, float(np.median(sigma)))
    if memory > 1 and not always:
        return (
            np.zeros(len(image)),
            y0,
            "scan lines are aligned among the frames only: what the frames have in common changes "
            f"slowly from line to line ({memory:.1f} times what jitter may), as structure of the "
            "specimen does, or a disturbance in step with the frames",
        )
    return common - common.mean(), y0, ""


def _crystal_shifts(
    straight: FloatArray, order: FloatArray, common: FloatArray, prior_px: float
) -> tuple[FloatArray, FloatArray]:
    """One Gauss-Newton step of the common shifts that defects have little say in.

    Around a defect the columns are truly displaced, and among the few columns of a line (50 in
    1024 px) they would draw it along: 1/50 of their displacement would be lost. So pixels count
    the less, the less the crystal's order describes their neighbourhood.

    Parameters
    ----------
    straight : array, `(H, W)`
        The sum with the lines moved by the last estimate, `common`.
    order : array, `(H, W)`
        Its long-range order.
    common : array, `(H,)`
    prior_px : float

    Returns
    -------
    shift, sigma : arrays, `(H,)`
    """
    z = straight - gaussian_filter1d(straight, BACKGROUND_PX, axis=1)
    t = order - gaussian_filter1d(order, BACKGROUND_PX, axis=1)
    gain = float((z * t).sum() / max((t * t).sum(), 1e-30))
    left = z - gain * t
    misfit = gaussian_filter(gaussian_filter(left, 1.5) ** 2, NEIGHBOURHOOD_PX)
    weight = 1 / (1 + (misfit / (1.5 * np.quantile(misfit, 0.2))) ** 2)
    slope = gain * gaussian_filter1d(t, SMOOTHING_PX, axis=1, order=1)
    curve = np.maximum((weight * slope**2).sum(axis=1), 1e-30)
    noise = float((weight * left**2).sum() / weight.sum())
    step = -(weight * left * slope).sum(axis=1) / curve
    sigma = np.sqrt(noise * (weight**2 * slope**2).sum(axis=1)) / curve
    share = prior_px**2 / (prior_px**2 + sigma**2)
    return np.asarray(share * (common + np.clip(step, -0.5, 0.5))), np.asarray(sigma)


def _memory(common: FloatArray, usual_px: float, sigma_px: float) -> float:
    """Evidence that the common shifts are no jitter, over what chance may show.

    Of independent shifts no frequency has `PEAK` times the mean power, and no weighted mean over
    neighbouring lines is `SIGNIFICANT` standard errors from zero; waves, steps and rows of defects
    are told by one or the other.
    """
    away = common - common.mean()
    variance = usual_px**2 + sigma_px**2
    power = np.abs(np.fft.rfft(away)) ** 2 / len(away) / variance
    frequency = np.fft.rfftfreq(len(away))
    low = (frequency > 0.5 * ORDER_PER_PX) & (frequency < 0.15)
    worst = float(power[low].max()) / PEAK
    for width in (4.0, 8.0, 16.0):
        # The variance of independent values falls to 1 / (2 sqrt(pi) width).
        error = np.sqrt(variance / (2 * np.sqrt(np.pi) * width))
        mean = gaussian_filter1d(away, width)
        worst = max(worst, float(np.abs(mean).max()) / (SIGNIFICANT * error))
    return worst


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
