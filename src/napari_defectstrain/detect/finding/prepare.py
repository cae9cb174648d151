"""What the network sees: the image at its canonical sampling, with even contrast."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft

from ...progress import subprogress
from ...types import FloatArray, Progress, no_progress

CONTRAST_PX = 40.0
"""Sigma of the neighbourhood that sets mean and contrast [px at the canonical sampling]."""
_LINES = 512
"""Lines that are resampled at a time."""


def resample(
    data: FloatArray, pixel_size_pm: float, target_pm: float, progress: Progress = no_progress
) -> FloatArray:
    """Band-limited resampling: the cosine transform, cut or padded.

    The cosine transform mirrors the image at its rim, so that nothing wraps around. It works on
    `_LINES` lines at a time: beside the image and what is returned, it holds one array with one
    side of each.

    Returns
    -------
    array, `(h, w)`
        float32; `to_resampled` maps positions.
    """
    height, width = resampled_shape(data.shape, pixel_size_pm, target_pm)
    across = np.empty((data.shape[0], width), dtype=np.float32)
    for start in range(0, data.shape[0], _LINES):
        progress(0.5 * start / data.shape[0], "resampling")
        across[start : start + _LINES] = _resampled_lines(data[start : start + _LINES], width)
    image = np.empty((height, width), dtype=np.float32)
    for start in range(0, width, _LINES):
        progress(0.5 + 0.5 * start / width, "resampling")
        image[:, start : start + _LINES] = _resampled_lines(
            across[:, start : start + _LINES].T, height
        ).T
    return image


def _resampled_lines(lines: FloatArray, n: int) -> FloatArray:
    """Each line `(k, m)` resampled to `n` points, float32."""
    lines = np.asarray(lines, dtype=np.float32)
    old = lines.shape[1]
    if n == old:
        return lines
    spectrum = scipy.fft.dct(lines, axis=1, norm="ortho")
    spectrum *= np.float32(np.sqrt(n / old))
    return np.asarray(scipy.fft.idct(spectrum, n=n, axis=1, norm="ortho", overwrite_x=True))


def resampled_shape(
    shape: tuple[int, ...], pixel_size_pm: float, target_pm: float
) -> tuple[int, int]:
    """Shape of the image that `resample` makes."""
    h, w = (max(1, round(n * pixel_size_pm / target_pm)) for n in shape)
    return h, w


def to_resampled(position_px: FloatArray, old: tuple[int, ...], new: tuple[int, ...]) -> FloatArray:
    """Positions (y, x) [px] in an image of shape `old` to those after resampling to `new`.

    Pixels' outer edges coincide, not the centres of the first pixels.
    """
    return np.asarray((position_px + 0.5) * (np.asarray(new) / np.asarray(old)) - 0.5)


def normalise(data: FloatArray, progress: Progress = no_progress) -> FloatArray:
    """Subtract the local mean and divide by the local standard deviation, float32.

    The standard deviation is floored at half its typical value, so that holes stay flat.
    """
    image = np.array(data, dtype=np.float32)
    local = image.copy()
    _smooth(local, subprogress(progress, 0.0, 0.5))
    image -= local
    np.square(image, out=local)
    _smooth(local, subprogress(progress, 0.5, 1.0))
    np.maximum(local, 0, out=local)
    np.sqrt(local, out=local)
    floor = np.float32(0.5) * np.median(local) + np.float32(1e-12)
    np.maximum(local, floor, out=local)
    image /= local
    return image


def _smooth(image: FloatArray, progress: Progress) -> None:
    """Smooth an image in place by `CONTRAST_PX`, some lines at a time.

    The same as `gaussian_filter` of the whole with a kernel that ends at 2.5 sigma and the image
    mirrored at its rim, which is what a cosine transform takes it for: a tenth of the time.
    """
    for axis, turned in ((0, image.T), (1, image)):
        transfer = _smoothing_transfer(turned.shape[1])
        for start in range(0, len(turned), _LINES):
            progress(0.5 * (axis + start / len(turned)), "evening out the contrast")
            spectrum = scipy.fft.dct(turned[start : start + _LINES], axis=1)
            spectrum *= transfer
            turned[start : start + _LINES] = scipy.fft.idct(spectrum, axis=1, overwrite_x=True)


@lru_cache(maxsize=8)
def _smoothing_transfer(n: int) -> FloatArray:
    """Factors of the n coefficients of a cosine transform that smooth, `(n,)` float32."""
    reach = int(2.5 * CONTRAST_PX + 0.5)
    tap = np.arange(1, reach + 1)
    kernel = np.exp(-0.5 * (tap / CONTRAST_PX) ** 2)
    cosine = np.cos(np.pi / n * np.outer(np.arange(n), tap))  # (n, taps)
    return ((1 + 2 * cosine @ kernel) / (1 + 2 * kernel.sum())).astype(np.float32)
