"""What the network sees: the image at its canonical sampling, with even contrast."""

from __future__ import annotations

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter

from ..types import FloatArray

_CONTRAST_PX = 40.0
"""Sigma of the neighbourhood that sets mean and contrast [px at the canonical sampling]."""


def resample(data: FloatArray, pixel_size_pm: float, target_pm: float) -> FloatArray:
    """Band-limited resampling: the cosine transform, cut or padded.

    The cosine transform mirrors the image at its rim, so that nothing wraps around.

    Returns
    -------
    array, `(h, w)`
        float32; `to_resampled` maps positions.
    """
    new = resampled_shape(data.shape, pixel_size_pm, target_pm)
    image = np.asarray(data, dtype=np.float32)
    for axis, n in enumerate(new):
        old = image.shape[axis]
        if n == old:
            continue
        spectrum = scipy.fft.dct(image, axis=axis, norm="ortho")
        image = scipy.fft.idct(spectrum, n=n, axis=axis, norm="ortho") * np.float32(
            np.sqrt(n / old)
        )
    return image


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


def normalise(data: FloatArray) -> FloatArray:
    """Subtract the local mean and divide by the local standard deviation, float32.

    The standard deviation is floored at half its typical value, so that holes stay flat.
    """
    data = np.asarray(data, dtype=np.float32)
    mean = gaussian_filter(data, _CONTRAST_PX, mode="reflect", truncate=2.5)
    centred = data - mean
    variance = gaussian_filter(centred**2, _CONTRAST_PX, mode="reflect", truncate=2.5)
    spread = np.sqrt(np.maximum(variance, 0))
    floor = 0.5 * np.median(spread) + np.float32(1e-12)
    return np.asarray(centred / np.maximum(spread, floor), dtype=np.float32)
