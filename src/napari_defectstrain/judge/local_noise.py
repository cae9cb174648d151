"""Noise that is coloured, and more so in some places: counts everywhere, dirt in patches.

Around each place the power spectrum of the noise is a mixture ``d(x) w(k) + g(x) t(k)`` of two
spectra with amplitudes that vary slowly. Both are learnt from half-overlapping tiles by
non-negative matrix factorisation under the Kullback-Leibler divergence (Lee and Seung, *Nature*
401, 788, doi 10.1038/44565).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.ndimage import map_coordinates

from ..types import FloatArray

ComplexArray = npt.NDArray[np.complexfloating[Any, Any]]

_ROUNDS = 40
_FLOOR = 0.02
"""Least value of a spectrum over the median, which bounds its inverse."""


@dataclass(frozen=True)
class LocalNoise:
    """Power spectra of the noise around any place of an image.

    Parameters
    ----------
    tile_px : int
        Side of the tiles that the spectra are of [px], even.
    spectra : array, `(2, tile, tile / 2 + 1)`
        The two spectra, of mean 1, as `scipy.fft.rfft2` orders them.
    amplitude : array, `(2, rows, columns)`
        Of both in each tile; tiles are half a tile apart.
    """

    tile_px: int
    spectra: FloatArray
    amplitude: FloatArray

    def at(self, position_px: FloatArray) -> FloatArray:
        """Power spectra around places (y, x), `(n, tile, tile / 2 + 1)`."""
        # the centre of the first tile is half a tile from the rim
        step = self.tile_px / 2
        place = np.clip((position_px.T - step + 0.5) / step, 0, None)
        mixture = [map_coordinates(a, place, order=1, mode="nearest") for a in self.amplitude]
        spectrum = np.tensordot(np.stack(mixture, axis=1), self.spectra, axes=1)
        floor = _FLOOR * np.median(spectrum, axis=(1, 2), keepdims=True)
        return np.asarray(np.maximum(spectrum, floor))


def learn_noise(residual: FloatArray, tile_px: int) -> LocalNoise:
    """Learn the spectra of a residual, scaled such that white noise of variance 1 has power 1.

    Parameters
    ----------
    residual : array, `(H, W)`
        At least a tile a side.
    tile_px : int
        Side of the tiles [px], even.
    """
    power = _tile_powers(residual, tile_px).astype(
        np.float32
    )  # (rows, columns, tile, tile / 2 + 1)
    rows, columns = power.shape[:2]
    table = power.reshape(rows * columns, -1)
    frequency = np.hypot(np.fft.fftfreq(tile_px)[:, None], np.fft.rfftfreq(tile_px)).ravel()
    # start: white noise, and what falls off with frequency
    spectra = np.stack([np.ones(table.shape[1]), 1 / (1 + (frequency * tile_px / 4) ** 2)])
    spectra /= spectra.mean(axis=1, keepdims=True)
    amplitude = np.repeat(table.mean(axis=1, keepdims=True) / 2, 2, axis=1)  # (tiles, 2)
    for _ in range(_ROUNDS):
        ratio = table / (amplitude @ spectra + 1e-12)
        amplitude *= (ratio @ spectra.T) / spectra.sum(axis=1)
        ratio = table / (amplitude @ spectra + 1e-12)
        spectra *= (amplitude.T @ ratio) / (amplitude.sum(axis=0)[:, None] + 1e-12)
        scale = spectra.mean(axis=1, keepdims=True) + 1e-12
        spectra /= scale
        amplitude *= scale.T
    return LocalNoise(
        tile_px,
        spectra.reshape(2, tile_px, tile_px // 2 + 1),
        amplitude.T.reshape(2, rows, columns),
    )


def _tile_powers(residual: FloatArray, tile_px: int) -> FloatArray:
    """Periodograms of half-overlapping tiles under a Hann window.

    Welch, doi 10.1109/TAU.1967.1161901.
    """
    window = np.hanning(tile_px + 1)[:-1]
    taper = window[:, None] * window
    taper /= np.sqrt((taper**2).sum())
    step = tile_px // 2
    rows = [
        [
            np.abs(scipy.fft.rfft2(residual[y : y + tile_px, x : x + tile_px] * taper)) ** 2
            for x in range(0, residual.shape[1] - tile_px + 1, step)
        ]
        for y in range(0, residual.shape[0] - tile_px + 1, step)
    ]
    return np.array(rows)


def inner_product(
    a: ComplexArray, b: ComplexArray, spectrum: FloatArray, tile_px: int
) -> FloatArray:
    """``a' C^-1 b`` of real patches given by their `scipy.fft.rfft2`, `(n,)`."""
    double = np.full(a.shape[-1], 2.0)  # the half of the spectrum that rfft2 leaves out
    double[[0, -1]] = 1.0
    product = (a.conj() * b).real / spectrum
    return np.asarray((product * double).sum(axis=(1, 2)) / tile_px**2)
