"""Which frames of a series don't belong in its sum, and why."""

from __future__ import annotations

import numpy as np

from ..crystal.robust import robust_sigma
from ..types import BoolArray, FloatArray, IntArray
from .sums import FrameFit

MAX_BAD_SHARE = 0.3
"""Of the frames that show the specimen, no more than this share is left out."""

MIN_GAIN = 0.2
"""Contrast below this share of the others' is no image of the same place; a frame of a fifth of
the dose passes."""

MIN_OVERLAP = 0.5
"""Share of the frame's field that the middle of the series must show too."""

MIN_SHARPNESS = 0.93
"""Contrast of the lattice relative to the slow background, compared with the median frame."""

MAX_BROKEN_BANDS = 0.02
SIGNIFICANT = 6.0
"""Robust standard deviations that make an outlier, beside the thresholds above."""


def find_bad_frames(
    fits: list[FrameFit | None], shift_px: FloatArray, shape: tuple[int, ...], saturated: FloatArray
) -> tuple[BoolArray, list[str]]:
    """Frames to leave out of the sum, by robust statistics against the other frames.

    Parameters
    ----------
    fits : list of FrameFit or None
        Each frame against the others; None where it could not be placed.
    shift_px : array, `(T, 2)`
    shape : tuple of int
        Of a frame.
    saturated : array, `(T,)`
        Share of pixels at the detector's limit.

    Returns
    -------
    bad : array of bool, `(T,)`
        Without limit where a frame shows nothing of what the others show; beyond that the worst,
        at most `MAX_BAD_SHARE`.
    reason : list of str
        Empty for good frames; frames kept though doubtful have one too.
    """
    reason = [""] * len(fits)
    seen = np.array([fit is not None for fit in fits])
    gain = np.array([fit.gain if fit else np.nan for fit in fits])
    if not seen.any():
        return np.ones(len(fits), dtype=bool), ["shows no lattice"] * len(fits)
    usual = float(np.nanmedian(gain[gain > MIN_GAIN * np.nanmax(gain)]))
    hopeless = ~seen | ~(gain > MIN_GAIN * usual)
    for t in map(int, np.flatnonzero(hopeless)):
        reason[t] = (
            f"contrast {100 * max(gain[t], 0) / usual:.0f} % of the other frames'"
            if seen[t]
            else "shows no lattice"
        )
    kept = np.flatnonzero(~hopeless)
    if len(kept) < 3:  # of two nobody knows which is the bad one
        return hopeless, reason
    severity = np.zeros(len(fits))
    for test in (_overlap, _sharpness, _broken_bands):
        worse, words = test([fits[t] for t in kept], shift_px[kept], shape)
        _note(kept, worse, words, severity, reason)
    typical = max(1e-3, float(np.median(saturated[kept])))
    worse = saturated[kept] / (10 * typical)
    _note(kept, worse, [f"{100 * s:.1f} % saturated" for s in saturated[kept]], severity, reason)
    bad = hopeless.copy()
    order = [int(t) for t in np.argsort(-severity, kind="stable")]
    most = int(MAX_BAD_SHARE * len(kept))
    for n, t in enumerate([t for t in order if severity[t] > 1]):
        bad[t] = n < most
        if n >= most:
            reason[t] += f" (kept: at most {100 * MAX_BAD_SHARE:.0f} % are left out)"
    return bad, reason


def _note(
    kept: IntArray, worse: FloatArray, words: list[str], severity: FloatArray, reason: list[str]
) -> None:
    for t, w, text in zip(kept, worse, words, strict=True):
        if w > 1:
            reason[t] = f"{reason[t]}; {text}" if reason[t] else text
            severity[t] = max(severity[t], w)


def _robust(values: FloatArray) -> tuple[float, float]:
    middle = float(np.median(values))
    return middle, max(robust_sigma(values, middle), 1e-9)


def _overlap(
    fits: list[FrameFit | None], shift_px: FloatArray, shape: tuple[int, ...]
) -> tuple[FloatArray, list[str]]:
    away = np.abs(shift_px - np.median(shift_px, axis=0))
    share = np.prod(np.clip(1 - away / np.asarray(shape), 0, 1), axis=1)
    words = [f"shows {100 * s:.0f} % of the field of the others" for s in share]
    return MIN_OVERLAP / np.maximum(share, 1e-3), words


def _sharpness(
    fits: list[FrameFit | None], shift_px: FloatArray, shape: tuple[int, ...]
) -> tuple[FloatArray, list[str]]:
    sharp = np.array([1 - fit.blur for fit in fits if fit])
    middle, spread = _robust(sharp)
    relative = sharp / max(middle, 1e-6)
    worse = np.minimum(
        (1 - relative) / (1 - MIN_SHARPNESS), (middle - sharp) / (SIGNIFICANT * spread)
    )
    return worse, [f"blurred: sharpness {100 * r:.0f} % of the median" for r in relative]


def _broken_bands(
    fits: list[FrameFit | None], shift_px: FloatArray, shape: tuple[int, ...]
) -> tuple[FloatArray, list[str]]:
    share = np.zeros(len(fits))
    for n, fit in enumerate(fits):
        if fit is None:
            continue
        broken = fit.band_gain < 0.5 * np.median(fit.band_gain)
        for values in (fit.band_offset, np.log(np.maximum(fit.noise, 1e-12))):
            middle, spread = _robust(values)
            # Contamination and charging change slowly from band to band.
            broken |= np.abs(values - middle) > np.maximum(
                2 * SIGNIFICANT * spread, 3 * np.abs(np.diff(values)).mean()
            )
        share[n] = broken.mean() if broken.sum() > 1 else 0.0
    usual = float(np.median(share))
    words = [f"{100 * s:.0f} % of its rows do not fit the other frames" for s in share]
    return share / (MAX_BROKEN_BANDS + 3 * usual), words
