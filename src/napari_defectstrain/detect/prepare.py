"""What the network sees: the image at its canonical sampling, with even contrast."""

from __future__ import annotations

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter

from ..types import FloatArray

_PAD = 24
_CONTRAST_PX = 40.0
"""Sigma of the neighbourhood that sets mean and contrast [px at the canonical sampling]."""


def resample(data: FloatArray, pixel_size_pm: float, target_pm: float) -> FloatArray:
    """Band-limited resampling by cropping or padding the spectrum.

    Returns
    -------
    array, `(h, w)`
        float32; its pixel (i, j) lies at ``(i, j) * data.shape / (h, w)`` of `data`'s pixels.
    """
    old = np.asarray(data.shape)
    new = np.maximum(np.round(old * pixel_size_pm / target_pm).astype(int), 1)
    if np.array_equal(old, new):
        return np.asarray(data, dtype=np.float32)
    pad_new = np.full(2, _PAD)
    # pad by a whole number of new pixels as nearly as possible: the grids share pixel (0, 0)
    pad_old = np.minimum(np.round(pad_new * old / new).astype(int), old - 1)
    exact = pad_old * new / old
    padded = np.pad(
        np.asarray(data, dtype=np.float32), [(p, p) for p in pad_old], mode="reflect"
    )
    size_old = np.asarray(padded.shape)
    size_new = np.round(size_old * new / old).astype(int)
    spectrum = scipy.fft.rfft2(padded)
    keep = np.minimum(size_old, size_new)
    rows = (keep[0] + 1) // 2
    columns = keep[1] // 2 + 1
    cut = np.zeros((size_new[0], size_new[1] // 2 + 1), dtype=spectrum.dtype)
    cut[:rows, :columns] = spectrum[:rows, :columns]
    cut[-(keep[0] - rows) :, :columns] = spectrum[-(keep[0] - rows) :, :columns]
    # shift so that new pixel 0 is old pixel 0: the padding need not be a whole number of pixels
    start = np.floor(exact).astype(int)
    shift = pad_old * size_new / size_old - start  # (2,) new px
    fy = np.fft.fftfreq(size_new[0])[:, None]
    fx = np.fft.rfftfreq(size_new[1])[None, :]
    cut *= np.exp(2j * np.pi * (fy * shift[0] + fx * shift[1])).astype(spectrum.dtype)
    out = scipy.fft.irfft2(cut, s=tuple(size_new)) * float(np.prod(size_new / size_old))
    return np.asarray(
        out[start[0] : start[0] + new[0], start[1] : start[1] + new[1]], dtype=np.float32
    )


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
