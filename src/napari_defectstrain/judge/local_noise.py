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

_ROUNDS, _MORE_ROUNDS = 40, 8
_AMPLITUDE_ROUNDS, _MORE_AMPLITUDE_ROUNDS = 12, 3
_LEAST_TILES = 60
_TINY = 1e-12
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


def learn_noise(residual: FloatArray, tile_px: int, start: LocalNoise | None = None) -> LocalNoise:
    """Learn the spectra of a residual, scaled such that white noise of variance 1 has power 1.

    Parameters
    ----------
    residual : array, `(H, W)`
        At least a tile a side.
    tile_px : int
        Side of the tiles [px], even.
    start : LocalNoise, optional
        Of the same image, explained less well: where to go on from, in fewer rounds.
    """
    power = _tile_powers(residual, tile_px)  # (rows, columns, tile, tile / 2 + 1)
    rows, columns = power.shape[:2]
    table = power.reshape(rows * columns, -1)
    # tiles that don't overlap hold nearly all that is known of two spectra
    apart = np.zeros((rows, columns), dtype=bool)
    apart[::2, ::2] = True
    some = apart.ravel() if apart.sum() >= _LEAST_TILES else np.ones(len(table), dtype=bool)
    if start is None:
        frequency = np.hypot(np.fft.fftfreq(tile_px)[:, None], np.fft.rfftfreq(tile_px)).ravel()
        # white noise, and what falls off with frequency
        spectra = np.stack([np.ones(table.shape[1]), 1 / (1 + (frequency * tile_px / 4) ** 2)])
        spectra = (spectra / spectra.mean(axis=1, keepdims=True)).astype(np.float32)
        amplitude = np.repeat(table.mean(axis=1, keepdims=True) / 2, 2, axis=1)  # (tiles, 2)
        rounds, more = _ROUNDS, _AMPLITUDE_ROUNDS
    else:
        spectra = start.spectra.reshape(2, -1).copy()
        amplitude = start.amplitude.reshape(2, -1).T.copy()
        rounds, more = _MORE_ROUNDS, _MORE_AMPLITUDE_ROUNDS
    its, of_its = amplitude[some], table[some]
    for _ in range(rounds):
        its *= (of_its / (its @ spectra + _TINY)) @ spectra.T / spectra.sum(axis=1)
        ratio = of_its / (its @ spectra + _TINY)
        spectra *= (its.T @ ratio) / (its.sum(axis=0)[:, None] + _TINY)
        scale = spectra.mean(axis=1, keepdims=True) + _TINY
        spectra /= scale
        its *= scale.T
    amplitude[some] = its
    for _ in range(0 if some.all() else more):
        amplitude *= (table / (amplitude @ spectra + _TINY)) @ spectra.T / spectra.sum(axis=1)
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
    taper = (taper / np.sqrt((taper**2).sum())).astype(np.float32)
    step = tile_px // 2
    whole = np.lib.stride_tricks.sliding_window_view(
        np.asarray(residual, dtype=np.float32), (tile_px, tile_px)
    )[::step, ::step]
    rows = []
    for tiles in whole:
        waves = scipy.fft.rfft2(tiles * taper)
        rows.append(waves.real**2 + waves.imag**2)
    return np.array(rows)


def inner_product(
    a: ComplexArray, b: ComplexArray, spectrum: FloatArray, tile_px: int
) -> FloatArray:
    """``a' C^-1 b`` of real patches given by their `scipy.fft.rfft2`, `(n,)`."""
    double = np.full(a.shape[-1], 2.0)  # the half of the spectrum that rfft2 leaves out
    double[[0, -1]] = 1.0
    product = (a.conj() * b).real / spectrum
    return np.asarray((product * double).sum(axis=(1, 2)) / tile_px**2)
