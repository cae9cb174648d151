"""Noise of the pixels of windows: how their variance grows with the intensity.

Counts are Poisson distributed, and amplifiers add noise of constant variance, so that the variance
of a pixel is a line in its mean, ``alpha + beta * mean``. Fits of averages weigh each pixel by its
inverse. The line is taken at the *fitted* mean, never at the noisy pixel itself, whose own noise
would draw the fit towards dark pixels (Humphrey, Liu & Buote 2009,
doi:10.1088/0004-637X/693/1/822).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls
from scipy.special import chdtri

from ..types import DefectStrainError, FloatArray

N_BINS = 24
LEAST_FRACTION = 0.05
"""No pixel's variance counts as less than this fraction of the greatest: however dark, it has
errors of the model."""


@dataclass(frozen=True)
class NoiseModel:
    """Variance of a pixel of a single window: ``max(alpha + beta * mean, least)``.

    Parameters
    ----------
    alpha : float
        Variance at zero mean, in squared units of intensity; negative where a dark level was left
        in the images.
    beta : float
        Growth of the variance with the mean: for pure counts, one over the counts that make a
        unit of intensity.
    least : float
        Lower bound of the variance.
    """

    alpha: float
    beta: float
    least: float

    def variance(self, mean: FloatArray) -> FloatArray:
        """Variance of pixels of these means, of their shape."""
        return np.maximum(self.alpha + self.beta * np.asarray(mean, dtype=float), self.least)

    @property
    def silent(self) -> bool:
        """Whether there is no noise at all."""
        return self.alpha == 0.0 and self.beta == 0.0 and self.least == 0.0


def counting_noise(counts_per_unit: float, read_noise: float = 0.0) -> NoiseModel:
    """Poisson counts with Gaussian read noise.

    Parameters
    ----------
    counts_per_unit : float
        Counts that make a unit of intensity in one pixel of one window: where windows are
        resampled, those of the image in the area of a window's pixel.
    read_noise : float
        Standard deviation of the read noise, in units of intensity.

    Raises
    ------
    DefectStrainError
        If the counts are not positive or the read noise is negative.
    """
    if not (counts_per_unit > 0 and read_noise >= 0):
        raise DefectStrainError(
            f"noise: got {counts_per_unit} counts per unit and read noise {read_noise}, "
            "expected positive counts and a read noise of at least 0"
        )
    # a mean of nothing at all has no counts: a thousandth of a unit keeps weights finite
    least = read_noise**2 + 1e-3 / counts_per_unit
    return NoiseModel(read_noise**2, 1.0 / counts_per_unit, least)


def fit_noise(
    means: Mapping[str, FloatArray], variances: Mapping[str, FloatArray], n: Mapping[str, int]
) -> NoiseModel:
    """The line through the windows' empirical variance against the fitted mean.

    Pixels are binned by their mean. The median of each bin, over that of a chi-squared variable,
    is robust against pixels whose scatter is not noise (a badly registered column). Bins are
    weighted by one over their variance: their errors are in proportion to it.

    Parameters
    ----------
    means : mapping of class to array, `(P,)`
        Fitted mean of each pixel.
    variances : mapping of class to array, `(P,)`
        Scatter of the windows in each pixel, ``sem**2 * n``; not finite for a single window.
    n : mapping of class to int
        Windows of each class.

    Returns
    -------
    NoiseModel
        One for all classes: their windows come from the same images. Constant where the variance
        does not grow with the mean; all zero if no class has two windows, or there is no noise.
    """
    rows, values, weights = [], [], []
    for name, mean in means.items():
        if n[name] < 2 or not np.all(np.isfinite(variances[name])):
            continue
        order = np.array_split(np.argsort(mean), N_BINS)
        middle = np.array([np.mean(mean[i]) for i in order if len(i)])
        spread = np.array([np.median(variances[name][i]) for i in order if len(i)])
        rows.append(middle)
        values.append(spread * (n[name] - 1) / chdtri(n[name] - 1, 0.5))
        weights.append(np.full(len(middle), np.sqrt(n[name] - 1.0)))
    if not rows or not np.max(np.concatenate(values)) > 0.0:
        return NoiseModel(0.0, 0.0, 0.0)
    x, value = np.concatenate(rows), np.concatenate(values)
    lowest, highest = float(np.min(x)), float(np.max(x))
    top = float(np.max(value))
    scale = np.concatenate(weights) / np.maximum(value, LEAST_FRACTION * top)
    design = np.stack([np.ones_like(x), x - lowest], axis=1)
    (at_lowest, beta), _ = nnls(design * scale[:, None], value * scale)
    greatest = at_lowest + beta * (highest - lowest)
    return NoiseModel(
        float(at_lowest - beta * lowest), float(beta), float(LEAST_FRACTION * greatest)
    )
