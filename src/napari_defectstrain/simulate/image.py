"""Incoherent images: columns at exact positions, convolved with the probe.

The columns are spread onto the pixel grid with a compact kernel and the kernel is divided out in
Fourier space (a non-uniform FFT of type 1; Barnett et al., doi 10.1137/18M120885X), so that a
column sits at its exact sub-pixel place: rounding to pixels would cost several picometres.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft

from ..types import FloatArray
from .probe import ProbeConfig, probe_intensity

_WIDTH = 8
"""Pixels that the spreading kernel spans: relative error near 1e-7 at twofold oversampling."""
_BETA = 2.3 * _WIDTH
PATCH_PM = 2700.0
"""Extent of the patch that holds the probe's tails [pm]."""


def _kernel(z: FloatArray) -> FloatArray:
    """The 'exponential of semicircle' kernel on [-1, 1]."""
    return np.asarray(np.exp(_BETA * (np.sqrt(np.clip(1 - z**2, 0, None)) - 1)))


def _kernel_transform(frequency: FloatArray) -> FloatArray:
    """Fourier transform of the kernel at `frequency` [cycles per pixel], by quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    phase = np.cos(np.pi * _WIDTH * frequency[:, None] * nodes)
    return np.asarray(_WIDTH / 2 * (phase * (_kernel(nodes) * weights)).sum(axis=1))


def _spread(position_px: FloatArray, weight: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Columns (y, x) with weights onto a periodic grid, `shape`."""
    first = np.ceil(position_px - _WIDTH / 2).astype(np.int64)  # (N, 2)
    index = first[:, :, None] + np.arange(_WIDTH)  # (N, 2, w)
    value = _kernel((index - position_px[:, :, None]) * (2 / _WIDTH))  # (N, 2, w)
    rows = (index[:, 0] % shape[0]) * shape[1]
    flat = rows[:, :, None] + (index[:, 1] % shape[1])[:, None, :]  # (N, w, w)
    image = value[:, 0, :, None] * value[:, 1, None, :] * weight[:, None, None]
    grid = np.bincount(flat.ravel(), image.ravel(), minlength=shape[0] * shape[1])
    return np.asarray(grid.reshape(shape), dtype=float)


def sampling(matrix_pm: FloatArray, probe: ProbeConfig) -> tuple[float, int]:
    """Pixel size [pm] and the factor by which the grid is finer than the pixels.

    The grid holds the information limit at twice its Nyquist rate; coarse scans take every nth
    point of it.
    """
    pitch = float(np.sqrt(abs(np.linalg.det(matrix_pm))))
    return pitch, int(np.ceil(pitch * 2 * probe.information_limit_per_pm / 0.52))


@lru_cache(maxsize=8)
def _patch(probe: ProbeConfig, matrix: tuple[float, ...], size: int) -> FloatArray:
    """The probe's intensity, kept: one image needs it twice, a series for every frame."""
    return probe_intensity(probe, np.reshape(matrix, (2, 2)), size)


def _probe_patch(matrix_pm: FloatArray, probe: ProbeConfig) -> FloatArray:
    pitch, factor = sampling(matrix_pm, probe)
    size = scipy.fft.next_fast_len(int(np.ceil(PATCH_PM * factor / pitch)))
    return _patch(probe, tuple(float(m) / factor for m in np.ravel(matrix_pm)), size)


def column_height(matrix_pm: FloatArray, probe: ProbeConfig) -> float:
    """Height of an isolated column of weight 1 in an image of `render_columns`."""
    return float(_probe_patch(matrix_pm, probe).max()) * sampling(matrix_pm, probe)[1] ** 2


def render_columns(
    position_px: FloatArray,
    weight: FloatArray,
    shape: tuple[int, int],
    matrix_pm: FloatArray,
    probe: ProbeConfig,
) -> FloatArray:
    """Noise-free incoherent image of columns.

    Parameters
    ----------
    position_px : array, `(N, 2)`
        (y, x) of each column [px]; columns outside the image still light its rim.
    weight : array, `(N,)`
        Integrated intensity of each column.
    shape : tuple of int
        (H, W) of the image.
    matrix_pm : array, `(2, 2)`
        Place in the sample (x, y) [pm] by that in the scan (x, y) [px]: pixel size and shear.
    probe : ProbeConfig

    Returns
    -------
    array, `(H, W)`
        Intensity per pixel area; an isolated column of weight 1 sums to 1.
    """
    pitch, factor = sampling(matrix_pm, probe)
    pad = int(np.ceil(700.0 / pitch))
    size = tuple(scipy.fft.next_fast_len((n + 2 * pad) * factor, real=True) for n in shape)
    near = np.all((position_px > -pad) & (position_px < np.asarray(shape) + pad), axis=1)
    grid = _spread((position_px[near] + pad) * factor, weight[near], (size[0], size[1]))
    patch = _probe_patch(matrix_pm, probe)
    half = len(patch) // 2
    patch_px = [min(len(patch), n) for n in size]
    padded = np.zeros(size)
    padded[: patch_px[0], : patch_px[1]] = np.roll(patch, (half, half), axis=(0, 1))[
        : patch_px[0], : patch_px[1]
    ]
    padded = np.roll(padded, (-half, -half), axis=(0, 1))
    spectrum = scipy.fft.rfft2(grid)
    spectrum *= scipy.fft.rfft2(padded)
    spectrum /= _kernel_transform(np.fft.fftfreq(size[0]))[:, None]
    spectrum /= _kernel_transform(np.fft.rfftfreq(size[1]))[None, :]
    image = scipy.fft.irfft2(spectrum, s=size) * factor**2
    start = pad * factor
    return np.asarray(
        image[
            start : start + shape[0] * factor : factor, start : start + shape[1] * factor : factor
        ]
    )
