"""The paper's fit on a whole image: one 2D Gaussian for each column, all columns side by side.

Its neighbours' tails pull it: see `fit` for models that don't suffer from that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...types import BoolArray, FloatArray
from ..gaussian import N_PARAMETERS, Neighbourhoods, integral, is_peak, settle
from .fit import Pixels
from .noise import estimate_noise
from .types import ImageColumnConfig, NoiseModel

ROUNDS = 3
MAX_STEP_SIGMA = 0.5
CHUNK = 2048


@dataclass(frozen=True)
class SingleColumns:
    """One Gaussian each.

    Parameters
    ----------
    position : array, `(N, 2)`
        (y, x) [px].
    covariance : array, `(N, 2, 2)`
    weight, height, background : arrays, `(N,)`
        Integral of the Gaussian, its height, and its constant.
    converged : array of bool, `(N,)`
    noise : NoiseModel
    """

    position: FloatArray
    covariance: FloatArray
    weight: FloatArray
    height: FloatArray
    background: FloatArray
    converged: BoolArray
    noise: NoiseModel


def fit_each(
    pixels: Pixels, start: FloatArray, sigma_px: float, config: ImageColumnConfig
) -> SingleColumns:
    """Fit each column by itself.

    Weighted least squares in rounds: each takes the pixels around where the last one ended, and
    the noise that its model says.

    Parameters
    ----------
    pixels : Pixels
    start : array, `(N, 2)`
        (y, x) [px].
    sigma_px : float
        Width to start from [px].
    config : ImageColumnConfig
    """
    counts = config.noise == "poisson"
    noise = NoiseModel(1.0, 0.0) if counts else NoiseModel(0.0, 1.0)
    parameters = np.full((len(start), N_PARAMETERS), np.nan)
    position = start
    for i in range(ROUNDS):
        neighbourhood = Neighbourhoods.around(
            pixels.data, pixels.good, position, config.single_radius_sigma * sigma_px
        )
        found = [
            _fit(
                neighbourhood.part(part),
                position[part],
                parameters[part],
                sigma_px,
                noise,
                counts and i > 0 or noise.gain > 0,
                config,
            )
            for part in np.array_split(np.arange(len(start)), -(-len(start) // CHUNK))
        ]
        parameters = np.concatenate([p for p, _ in found])
        converged = np.concatenate([c for _, c in found])
        position = np.where(converged[:, None], parameters[:, 1:3], position)
        if not counts:
            noise = _noise(neighbourhood, parameters, converged, config, noise)
    return _collected(neighbourhood, parameters, converged, noise)


def _collected(
    near: Neighbourhoods, parameters: FloatArray, converged: BoolArray, noise: NoiseModel
) -> SingleColumns:
    model, jacobian = near.gaussian(parameters)
    weight = near.used / np.maximum(noise.gain * model + noise.constant, 1e-12)
    normal = (jacobian * weight[:, None]) @ jacobian.swapaxes(1, 2)
    covariance = np.linalg.pinv(normal, hermitian=True)[:, 1:3, 1:3]
    return SingleColumns(
        parameters[:, 1:3],
        covariance,
        integral(parameters),
        parameters[:, 0],
        parameters[:, 3],
        converged,
        noise,
    )


def _fit(
    near: Neighbourhoods,
    position: FloatArray,
    parameters: FloatArray,
    sigma: float,
    noise: NoiseModel,
    weighted: bool,
    config: ImageColumnConfig,
) -> tuple[FloatArray, BoolArray]:
    """Parameters and which of them count, of columns from where they were, if anywhere."""
    p = np.where(np.isfinite(parameters), parameters, near.start(position, sigma))
    weight = near.used
    if weighted:
        model = near.gaussian(p)[0]
        least = 0.02 * np.mean(np.abs(model)) * noise.gain + 1e-12
        weight = near.used / np.maximum(noise.gain * model + noise.constant, least)
    tolerance = config.tolerance_px
    p, last = settle(
        near, p, weight, MAX_STEP_SIGMA * sigma, 0.1 * tolerance, 1e-2, 4 * config.max_iterations
    )
    return p, near.enough & is_peak(p) & (last < max(tolerance, 1e-2))


def _noise(
    near: Neighbourhoods,
    parameters: FloatArray,
    converged: BoolArray,
    config: ImageColumnConfig,
    before: NoiseModel,
) -> NoiseModel:
    if not converged.any():
        return before
    model = near.gaussian(parameters)[0]
    good = (near.used > 0) & converged[:, None]
    found = estimate_noise(near.value, model, good, N_PARAMETERS * int(converged.sum()))
    if config.noise == "gaussian":
        level = float(np.mean(model[good]))
        return NoiseModel(0.0, max(found.gain * level + found.constant, 1e-30))
    return found
