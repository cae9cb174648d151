"""Cross-correlation of the frames of a crystal: spots of the spectrum apart from all the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import label, maximum_filter, uniform_filter

from ..crystal.robust import robust_sigma
from ..types import BoolArray, FloatArray, IntArray

Pair = tuple[FloatArray, FloatArray]
"""Half spectra, plain and whitened."""

APERIODIC_SNR = 7.0
LATTICE_SNR = 5.0
APERIODIC_LEAD = 1.35
"""A peak of the whitened cross-correlation is believed when it is that many robust standard
deviations high (the largest of 10^6 normal values is 5; of the few hundred at the maxima of the
lattice 3) and that many times as high as any other: what the clipping leaves of a perfect crystal
has many equal peaks."""

SPOT_CONTRAST = 5.0
FEW_PLACES = 8
"""A lattice within reach has more maxima."""

NEARLY = 0.75
"""Maxima of the full cross-correlation this high relative to the highest may be the true one."""


@dataclass(frozen=True)
class Peak:
    """The highest maximum of the aperiodic cross-correlation."""

    shift_px: FloatArray
    score: float
    confident: bool


class Spectra:
    """Half spectra of all frames, cut to twice the frequencies that carry signal.

    Parameters
    ----------
    stack : array, `(T, H, W)`
    """

    def __init__(self, stack: FloatArray) -> None:
        full_shape = stack.shape[1:]
        first = np.array([_half_spectrum(frame) for frame in stack[:4]])
        self.shape = _useful_shape(first, full_shape)
        self.scale = np.array(full_shape) / self.shape
        """Pixels of a frame a pixel of the correlation maps."""
        self.plain = np.stack(
            [
                _cropped(first[t] if t < 4 else _half_spectrum(stack[t]), self.shape)
                for t in range(len(stack))
            ]
        )  # (T, h, w // 2 + 1)
        h, w = self.shape
        self.fy = (np.fft.fftfreq(h) * h / full_shape[0])[:, None]
        self.fx = (np.arange(w // 2 + 1) / full_shape[1])[None]
        self.distance = (
            (np.fft.fftfreq(h) * full_shape[0])[:, None],
            (np.fft.fftfreq(w) * full_shape[1])[None],
        )
        self.radius = np.hypot(self.fy, self.fx)
        window = [np.abs(np.fft.fft(np.hanning(n + 2)[1:-1])) ** 2 for n in full_shape]
        kept = [
            np.fft.ifft(_cropped_line(p, n)).real for p, n in zip(window, self.shape, strict=True)
        ]
        self.overlap = np.maximum(kept[0][:, None] / kept[0][0] * kept[1] / kept[1][0], 0.1)
        """What the windows of two frames share, by shift."""
        self._whiten(min(full_shape))

    def _whiten(self, side: int) -> None:
        ring = (self.radius * side / 3).astype(int)
        size = np.bincount(ring.ravel())
        tiny = np.finfo(np.float32).tiny
        levels, self.contrast = [], np.zeros(len(self.plain))
        self.spots = np.zeros(self.radius.shape, dtype=bool)
        outside = (ring > 6) | (ring == ring.max())  # the slow background is no lattice
        for t, spectrum in enumerate(self.plain):
            # Ring means of log |F|: spots are too few to lift them.
            log_size = np.log(np.abs(spectrum) + tiny)
            level = np.exp(np.bincount(ring.ravel(), log_size.ravel()) / np.maximum(size, 1))
            levels.append(np.maximum(level, tiny))
            contrast = np.where(outside, log_size - np.log(levels[-1])[ring], 0.0)
            self.contrast[t] = np.exp(contrast.max())
            self.spots |= contrast > np.log(SPOT_CONTRAST)
        power = np.mean(np.square(levels), axis=0)
        # Where nothing rises above the noise there is nothing to correlate.
        noise = np.median(power[int(0.8 * len(power)) :])
        share = np.sqrt(np.clip(1 - noise / power, 1e-3, 1.0))
        self.white = np.empty_like(self.plain)
        for t, level in enumerate(levels):
            height = np.maximum(np.abs(self.plain[t]), level[ring])
            self.white[t] = self.plain[t] / height * share[ring]

    def phase(self, shift: FloatArray) -> FloatArray:
        """Factor that moves a spectrum's image by ``-shift`` px."""
        turn = [np.exp(2j * np.pi * f * s) for f, s in zip((self.fy, self.fx), shift, strict=True)]
        return np.asarray((turn[0] * turn[1]).astype(np.complex64))

    def pair(self, t: int) -> Pair:
        """The spectrum of a frame, plain and whitened."""
        return self.plain[t], self.white[t]

    def sums(self, shift: FloatArray, placed: BoolArray) -> tuple[FloatArray, FloatArray]:
        """Sums of the aligned spectra, plain and whitened."""
        plain, white = np.zeros_like(self.plain[0]), np.zeros_like(self.plain[0])
        for t in np.flatnonzero(placed):
            turn = self.phase(shift[t])
            plain += self.plain[t] * turn
            white += self.white[t] * turn
        return plain, white

    def aperiodic_peak(
        self, moved: Pair, reference: Pair, centre: FloatArray, reach_px: float
    ) -> Peak:
        """Where one lies beside the other by what is not periodic, within `reach_px` of `centre`.

        Where there is a lattice, only the maxima of its own cross-correlation come into question, a
        few hundred places instead of a million: what stands out among them needs less height.
        """
        image = fft.irfft2(moved[1] * np.conj(reference[1]), s=self.shape)
        allowed = self._within(centre, reach_px)
        inside = image[allowed]
        middle = float(np.median(inside))
        spread = robust_sigma(inside, middle)
        places = self._lattice_maxima(moved[0] * np.conj(reference[0]), allowed)
        if len(places) < FEW_PLACES:
            height = np.where(allowed, image - middle, 0.0)
            best, chance = int(height.argmax()), APERIODIC_SNR
            top, second = float(height.ravel()[best]), _second_height(height, best)
        else:
            value = maximum_filter(image, 3, mode="wrap").ravel()[places]
            middle, chance = float(np.median(value)), LATTICE_SNR
            spread = max(spread, robust_sigma(value, middle))
            order = np.argsort(value)
            best = int(places[order[-1]])
            top, second = value[order[-1]] - middle, value[order[-2]] - middle
        score = float(
            min(top / max(chance * spread, 1e-30), top / max(APERIODIC_LEAD * second, 1e-30))
        )
        return Peak(self._shift_at(best), score, score > 1)

    def _lattice_maxima(self, cross: FloatArray, allowed: BoolArray) -> IntArray:
        """Flat indices of the high maxima of a cross-correlation, of the lattice's spots alone."""
        image = fft.irfft2(np.where(self.spots, cross, 0), s=self.shape) / self.overlap
        high = NEARLY * float(image[allowed].max())
        tall = (image == maximum_filter(image, 3, mode="wrap")) & (image > high) & allowed
        return np.asarray(np.flatnonzero(tall.ravel()) if high > 0 else np.zeros(0, dtype=int))

    def place(
        self,
        t: int,
        reference: Pair,
        expected: FloatArray,
        max_step_px: float,
    ) -> tuple[FloatArray, bool]:
        """Shift of frame `t` against a sum, and whether only `expected` chose the lattice vector.

        Of maxima nearly as high as the highest, the nearest to `expected` is taken.
        """
        plain = reference[0]
        peak = self.aperiodic_peak(self.pair(t), reference, expected, max_step_px)
        start = peak.shift_px
        if not peak.confident:
            full = fft.irfft2(self.plain[t] * np.conj(plain), s=self.shape) / self.overlap
            full = np.where(self._within(expected, max_step_px), full, -np.inf)
            high = np.flatnonzero((full > NEARLY * full.max()).ravel())
            gap = np.hypot(*(np.stack([self._shift_at(int(k)) for k in high]) - expected).T)
            start = self._shift_at(int(high[gap.argmin()]))
        return self.refine(self.plain[t], plain, start), not peak.confident

    def _within(self, centre: FloatArray, reach_px: float) -> BoolArray:
        return np.asarray(
            np.hypot(self.distance[0] - centre[0], self.distance[1] - centre[1])
            <= max(reach_px, 2 * float(self.scale.max()))
        )

    def _shift_at(self, flat: int) -> FloatArray:
        i, j = np.unravel_index(flat, self.shape)
        return np.array([self.distance[0][i, 0], self.distance[1][0, j]])

    def refine(self, moved: FloatArray, reference: FloatArray, start: FloatArray) -> FloatArray:
        """The maximum of the cross-correlation near `start`, by Newton steps on its Fourier sum.

        Frequencies are weighted by the share of the reference's power that is signal.
        """
        power = uniform_filter(np.abs(reference) ** 2, 3, mode="wrap")
        noise = float(np.median(power[self.radius > 0.9 * self.radius.max()]))
        keep = (power > 3 * noise) & (self.radius < 0.45) & (self.radius > 0)
        if keep.sum() < 16:
            keep = (self.radius < 0.45) & (self.radius > 0)
        cross = (moved * np.conj(reference))[keep] * (1 - np.minimum(noise / power[keep], 1))
        ky = np.broadcast_to(self.fy, keep.shape)[keep]
        kx = np.broadcast_to(self.fx, keep.shape)[keep]
        k = 2 * np.pi * np.stack([ky, kx])  # (2, n)
        shift = np.array(start, dtype=float)
        for _ in range(12):
            term = cross * np.exp(1j * (k[0] * shift[0] + k[1] * shift[1]))
            gradient = -(k * term.imag).sum(axis=1)
            hessian = -np.einsum("in,jn,n->ij", k, k, term.real)
            step = _uphill(gradient, hessian)
            shift += step
            if np.hypot(*step) < 1e-4:
                break
        return shift


def _half_spectrum(frame: FloatArray) -> FloatArray:
    """Half spectrum of a frame, mean removed, Hann-windowed."""
    z = np.asarray(frame, dtype=np.float32)
    window = [np.hanning(n + 2)[1:-1].astype(np.float32) for n in z.shape]
    weight = window[0][:, None] * window[1]
    return np.asarray(fft.rfft2((z - np.average(z, weights=weight)) * weight))


def _useful_shape(spectra: FloatArray, shape: tuple[int, ...]) -> tuple[int, int]:
    """Even sides of twice the spectrum that holds all rings with spots above the noise."""
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    radius = np.hypot(fy, fx)
    ring = (radius * 64).astype(int)
    power = np.sum(np.abs(spectra) ** 2, axis=0)
    top = np.zeros(int(ring.max()) + 1)
    np.maximum.at(top, ring.ravel(), power.ravel())
    noise = float(np.median(power[radius > 0.4]))
    # The largest of 10^6 exponential values is 20 times their median.
    last = int(np.flatnonzero(top > 40 * noise).max(initial=8))
    # Twice the band, so that maxima between the pixels of a correlation map keep their height.
    limit = min(0.5, max(0.25, 2 * (last + 2) / 64))
    sides = [min(n - n % 2, 2 * (fft.next_fast_len(int(2 * limit * n)) // 2)) for n in shape]
    return sides[0], sides[1]


def _cropped(spectrum: FloatArray, shape: tuple[int, int]) -> FloatArray:
    half = shape[0] // 2
    rows = np.concatenate([spectrum[:half], spectrum[-half:]])
    return np.asarray(rows[:, : shape[1] // 2 + 1], dtype=np.complex64)


def _cropped_line(spectrum: FloatArray, side: int) -> FloatArray:
    return np.concatenate([spectrum[: side // 2], spectrum[-(side // 2) :]])


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
