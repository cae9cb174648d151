"""The noise of an image by what its fit leaves: variance against intensity."""

from __future__ import annotations

import numpy as np

from ...crystal.robust import robust_sigma
from ...types import BoolArray, FloatArray
from .types import NoiseModel

SAMPLE = 200_000
"""Pixels that the noise is read from."""
STEP_SAMPLE = 40_000
"""The same while the columns still move: it only weighs the pixels against each other."""
BINS = 24
CLIP_SIGMA = 5.0
LEAST_SIGNIFICANCE = 3.0


def estimate_noise(
    data: FloatArray,
    model: FloatArray,
    good: BoolArray,
    parameters: int,
    sample: int = SAMPLE,
) -> NoiseModel:
    """Variance of the residual as a straight line of the model (photon transfer).

    Janesick, *Photon Transfer* (2007, doi:10.1117/3.725073), on one image: pixels of like expected
    intensity stand for repeated exposures. Pixels beyond five sigma of their kind, such as those
    of dirt, don't count. Where the variance doesn't grow significantly, it is a constant.

    Parameters
    ----------
    data, model : arrays, `(H, W)`
    good : array of bool, `(H, W)`
        Pixels that count.
    parameters : int
        Fitted numbers, by which the residual is too small.
    sample : int
        Pixels to read it from, about; spread evenly.
    """
    every = max(1, int(np.ceil(np.sqrt(good.sum() / sample))))
    chosen = np.s_[every // 2 :: every, every // 2 :: every]
    use = good[chosen]
    level = model[chosen][use].astype(float)
    residual = data[chosen][use].astype(float) - level
    n_good = int(good.sum())
    inflate = n_good / max(n_good - parameters, 0.2 * n_good)
    order = np.argsort(level)
    n_bins = min(BINS, max(len(order) // 50, 1))
    least, longer = divmod(len(order), n_bins)
    parts = np.split(order, [longer * (least + 1)])
    by_length = [
        _of_bins(level[part].reshape(n, length), residual[part].reshape(n, length), inflate)
        for part, n, length in zip(
            parts, (longer, n_bins - longer), (least + 1, least), strict=True
        )
        if n and length
    ]
    if not by_length:
        return NoiseModel(0.0, 1.0)
    return _line(*np.concatenate(by_length, axis=1))


def _of_bins(level: FloatArray, residual: FloatArray, inflate: float) -> FloatArray:
    """Mean level, variance and its error of bins of pixels `(B, P)`, as `(3, B)`."""
    middle = np.median(residual, axis=1)
    rows = zip(residual, middle, strict=True)
    spread = np.array([robust_sigma(row, float(centre)) for row, centre in rows])
    # a model that misses all pixels of a kind by more than their noise must not lose them all
    middle = np.where(np.abs(middle) > spread, middle, 0.0)
    away = np.abs(residual - middle[:, None])
    kept = (away <= CLIP_SIGMA * spread[:, None]) | (spread <= 0)[:, None]
    number = kept.sum(axis=1)
    variance = inflate * (residual**2 * kept).sum(axis=1) / np.maximum(number, 1)
    errors = variance * np.sqrt(2.0 / np.maximum(number, 1))
    return np.stack([level.mean(axis=1), variance, errors])


def _line(mean: FloatArray, variance: FloatArray, error: FloatArray) -> NoiseModel:
    typical = float(np.mean(variance))
    if len(mean) < 4 or not typical > 0 or np.ptp(mean) <= 1e-6 * np.max(np.abs(mean)):
        return NoiseModel(0.0, typical if typical > 0 else 1.0)
    # the errors grow with the variance itself: smooth them, or low bins would pull the line down
    for _ in range(3):
        weight = 1.0 / error**2
        centre = float(np.sum(weight * mean) / np.sum(weight))
        spread = float(np.sum(weight * (mean - centre) ** 2))
        gain = float(np.sum(weight * (mean - centre) * variance) / spread)
        level = float(np.sum(weight * variance) / np.sum(weight))
        line = np.maximum(level + gain * (mean - centre), 0.02 * typical)
        error = line * np.mean(error / np.maximum(variance, 1e-300))
    if gain < LEAST_SIGNIFICANCE / np.sqrt(spread):
        return NoiseModel(0.0, typical)
    return NoiseModel(gain, level - gain * centre)
