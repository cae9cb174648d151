"""Rigid sub-pixel registration of the frames of a series, and their sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import label, uniform_filter

from .types import BoolArray, DefectStrainError, FloatArray, Progress, no_progress

APERIODIC_SNR = 7.0
APERIODIC_LEAD = 1.35
"""A peak of the clipped cross-correlation is believed when it is that many robust standard
deviations high (the largest of 10^6 normal values is 5) and that many times as high as any other:
what the clipping leaves of a perfect crystal has many equal peaks."""

EDGE_PX = 3  # lost at each border of a sum: the reach of the ringing of the Fourier shift


@dataclass(frozen=True)
class FrameRegistration:
    """Drift of a series of frames, and their sum.

    Parameters
    ----------
    shift_px : array, `(T, 2)`
        (y, x) by which the specimen has moved since the first frame [px]: what lies at r in
        frame 0 lies at ``r + shift_px[t]`` in frame t.
    summed : array, `(H', W')`
        Sum of the aligned frames over the field that all of them show.
    region : tuple of int
        ``(y0, y1, x0, x1)``: that field in pixels of the first frame.
    ambiguous : array of bool, `(T,)`
        True where the frame shows nothing but the periodic lattice, so that the shift was taken
        nearest to the drift of the frames before: it may be off by a lattice vector.
    """

    shift_px: FloatArray
    summed: FloatArray
    region: tuple[int, int, int, int]
    ambiguous: BoolArray


def register_frames(
    frames: FloatArray, max_step_px: float | None = None, progress: Progress = no_progress
) -> FrameRegistration:
    """Rigid shifts of the frames of a series, without jumps by a lattice vector, and their sum.

    Each frame is first correlated with the running sum. A crystal's cross-correlation has many
    near-equal peaks, so the spots of the spectrum are clipped to the level around them: what
    is left (defects, contamination, edges) has one peak. The nearest maximum of the full
    cross-correlation then gives the shift to sub-pixel precision, and a second pass repeats this
    against the sum of all other frames (never with itself: its noise would pull towards zero).

    Parameters
    ----------
    frames : array, `(T, H, W)`
        Counts or intensities.
    max_step_px : float, optional
        Largest movement between two frames that is looked for [px]; default a quarter of the
        shorter side.
    progress : callable

    Returns
    -------
    FrameRegistration

    Raises
    ------
    DefectStrainError
        If `frames` is no stack of finite frames of 32 px or more a side, a frame is constant, or
        the frames have no field in common.
    """
    stack = np.asarray(frames)
    if stack.ndim != 3 or len(stack) == 0 or min(stack.shape[1:]) < 32:
        raise DefectStrainError(
            f"frames: got an array of shape {stack.shape}, expected (frames, height, width) with "
            "at least 32 px a side"
        )
    spectra = [_spectrum(frame, t) for t, frame in enumerate(stack)]
    correlator = _Correlator(stack.shape[1:], max_step_px or min(stack.shape[1:]) / 4)
    count = len(stack)
    shift = np.zeros((count, 2))
    ambiguous = np.zeros(count, dtype=bool)
    total = spectra[0].copy()
    for t in range(1, count):
        progress(0.5 * t / count, f"registering frame {t + 1} of {count}")
        # Constant velocity over the last two steps, halved: drift changes, jumps don't repeat.
        expected = shift[t - 1] + (0.5 * (shift[t - 1] - shift[t - 2]) if t > 1 else 0.0)
        shift[t], ambiguous[t] = correlator.coarse(spectra[t], total, shift[t - 1], expected)
        shift[t] = correlator.refine(spectra[t], total, shift[t])
        total += spectra[t] * correlator.phase(shift[t])
    for t in range(count if count > 2 else 0):
        progress(0.5 + 0.4 * t / count, f"refining frame {t + 1} of {count}")
        own = spectra[t] * correlator.phase(shift[t])
        shift[t] = correlator.refine(spectra[t], total - own, shift[t])
    shift -= shift[0]
    progress(0.9, "summing frames")
    summed, region = _sum_frames(stack, shift)
    return FrameRegistration(shift, summed, region, ambiguous)


def _spectrum(frame: FloatArray, t: int) -> FloatArray:
    """Half spectrum of a frame, mean removed, Hann-windowed."""
    z = np.asarray(frame, dtype=np.float32)
    if not np.isfinite(z).all():
        raise DefectStrainError(f"frames: frame {t} holds NaN or inf; remove it first")
    window = [np.hanning(n + 2)[1:-1].astype(np.float32) for n in z.shape]
    weight = window[0][:, None] * window[1]
    z = (z - np.average(z, weights=weight)) * weight
    if not z.any():
        raise DefectStrainError(f"frames: frame {t} is constant; remove it first")
    return np.asarray(fft.rfft2(z))


class _Correlator:
    """Cross-correlation of half spectra of one shape, on the grid and off it."""

    def __init__(self, shape: tuple[int, ...], max_step_px: float) -> None:
        self.shape = shape
        self.fy = np.fft.fftfreq(shape[0])[:, None]
        self.fx = np.fft.rfftfreq(shape[1])[None]
        self.radius = np.hypot(self.fy, self.fx)
        self.ring = (self.radius * min(shape) / 3).astype(int)
        self.ring_count = np.bincount(self.ring.ravel())
        dy, dx = np.fft.fftfreq(shape[0]) * shape[0], np.fft.fftfreq(shape[1]) * shape[1]
        self.distance = (dy[:, None], dx[None])
        self.max_step_px = max_step_px

    def phase(self, shift: FloatArray) -> FloatArray:
        """Factor that moves a spectrum's image by ``-shift`` px."""
        turn = self.fy * shift[0] + self.fx * shift[1]
        return np.asarray(np.exp(2j * np.pi * turn).astype(np.complex64))

    def coarse(
        self, moved: FloatArray, reference: FloatArray, last: FloatArray, expected: FloatArray
    ) -> tuple[FloatArray, bool]:
        """Shift to a pixel, and whether only the expected drift chose between lattice vectors."""
        cross = moved * np.conj(reference)
        size = np.abs(cross)
        # Ring means of log |cross|: spots are too few to lift them.
        log_size = np.log(size + np.finfo(np.float32).tiny)
        level = np.exp(np.bincount(self.ring.ravel(), log_size.ravel()) / self.ring_count)
        clipped = cross * np.minimum(1.0, level[self.ring] / np.maximum(size, 1e-30))
        reach = np.hypot(self.distance[0] - last[0], self.distance[1] - last[1])
        allowed = reach <= self.max_step_px
        # Where the reference has no signal above its noise there is nothing to correlate.
        noise = np.median(level[int(0.8 * len(level)) :])
        gain = np.clip(1 - noise / np.maximum(level, 1e-30), 0.0, 1.0) / np.maximum(level, 1e-30)
        aperiodic = fft.irfft2(clipped * gain[self.ring], s=self.shape)
        inside = aperiodic[allowed]
        centre = float(np.median(inside))
        spread = 1.4826 * float(np.median(np.abs(inside - centre)))
        height = np.where(allowed, aperiodic - centre, 0.0)
        best = int(height.argmax())
        if height.ravel()[best] > max(
            APERIODIC_SNR * spread, APERIODIC_LEAD * _second_height(height, best)
        ):
            return self._shift_at(best), False
        full = np.where(allowed, fft.irfft2(cross, s=self.shape), -np.inf)
        high = np.flatnonzero((full > 0.8 * full.max()).ravel())
        gap = np.hypot(*(np.stack([self._shift_at(int(k)) for k in high]) - expected).T)
        return self._shift_at(int(high[gap.argmin()])), True

    def _shift_at(self, flat: int) -> FloatArray:
        i, j = np.unravel_index(flat, self.shape)
        return np.array([self.distance[0][i, 0], self.distance[1][0, j]])

    def refine(self, moved: FloatArray, reference: FloatArray, start: FloatArray) -> FloatArray:
        """The maximum of the cross-correlation near `start`, by Newton steps on its Fourier sum.

        Frequencies are weighted by the share of the reference's power that is signal.
        """
        power = uniform_filter(np.abs(reference) ** 2, 3, mode="wrap")
        outer = self.radius > 0.9 * self.radius.max()
        noise = float(np.median(power[outer]))
        keep = (power > 3 * noise) & (self.radius < 0.45) & (self.radius > 0)
        if keep.sum() < 16:
            keep = (self.radius < 0.45) & (self.radius > 0)
        cross = (moved * np.conj(reference))[keep] * (1 - np.minimum(noise / power[keep], 1))
        k = (
            2
            * np.pi
            * np.stack(
                [
                    np.broadcast_to(self.fy, keep.shape)[keep],
                    np.broadcast_to(self.fx, keep.shape)[keep],
                ]
            )
        )  # (2, n)
        shift = np.array(start, dtype=float)
        for _ in range(12):
            term = cross * np.exp(1j * (k[0] * shift[0] + k[1] * shift[1]))
            gradient = -(k * term.imag).sum(axis=1)
            hessian = -(k[:, None] * k[None] * term.real).sum(axis=2)
            step = _uphill(gradient, hessian)
            shift += step
            if np.hypot(*step) < 1e-4:
                break
        return shift


def _second_height(height: FloatArray, best: int) -> float:
    """Height of the map outside the patch above half height that holds the maximum."""
    centred = np.fft.fftshift(height)
    patches, _ = label(centred > 0.5 * height.ravel()[best])
    own = np.fft.ifftshift(patches).ravel()[best]
    return float(centred[patches != own].max(initial=0.0))


def _uphill(gradient: FloatArray, hessian: FloatArray) -> FloatArray:
    """Newton step towards a maximum, at most a pixel; along the gradient where not concave."""
    value, vector = np.linalg.eigh(hessian)
    curvature = np.maximum(np.abs(value), 1e-12 * max(float(np.abs(value).max()), 1e-30))
    step = vector @ ((vector.T @ gradient) / curvature)
    return np.asarray(step / max(1.0, float(np.hypot(*step))))


def _sum_frames(
    stack: FloatArray, shift: FloatArray
) -> tuple[FloatArray, tuple[int, int, int, int]]:
    """Sum over the common field; whole pixels by slicing, the rest by Fourier shift."""
    height, width = stack.shape[1:]
    whole = np.rint(shift).astype(int)
    edge = EDGE_PX if np.abs(shift - whole).max() > 1e-6 else 0
    y0, x0 = (max(0, int(-whole[:, i].min())) + edge for i in (0, 1))
    y1 = height - max(0, int(whole[:, 0].max())) - edge
    x1 = width - max(0, int(whole[:, 1].max())) - edge
    if y1 - y0 < 16 or x1 - x0 < 16:
        raise DefectStrainError(
            f"frames: drift of {np.ptp(shift[:, 0]):.0f} x {np.ptp(shift[:, 1]):.0f} px leaves no "
            "common field; register fewer frames at a time"
        )
    summed = np.zeros((y1 - y0, x1 - x0))
    for frame, full, part in zip(stack, whole, shift - whole, strict=True):
        moved = _fourier_shifted(np.asarray(frame, dtype=float), -part)
        summed += moved[y0 + full[0] : y1 + full[0], x0 + full[1] : x1 + full[1]]
    return summed, (y0, y1, x0, x1)


def _fourier_shifted(frame: FloatArray, shift: FloatArray) -> FloatArray:
    """The image moved by a fraction of a pixel; mirrored borders keep the ringing local."""
    if not np.abs(shift).max() > 1e-6:
        return frame
    pad = 16
    z = np.pad(frame, pad, mode="symmetric")
    turn = np.fft.fftfreq(z.shape[0])[:, None] * shift[0] + np.fft.rfftfreq(z.shape[1]) * shift[1]
    moved = fft.irfft2(fft.rfft2(z) * np.exp(-2j * np.pi * turn), s=z.shape)
    return np.asarray(moved[pad:-pad, pad:-pad])
