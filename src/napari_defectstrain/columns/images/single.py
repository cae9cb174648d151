"""The paper's fit on a whole image: one 2D Gaussian for each column, all columns side by side.

An elliptical Gaussian on a constant in the pixels within a radius
(doi:10.1021/acs.nanolett.0c00269).
Its neighbours' tails pull it: see `image_columns` for models that don't suffer from that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...types import BoolArray, FloatArray, IntArray
from .fit import Pixels
from .noise import estimate_noise
from .types import ImageColumnConfig, NoiseModel

N_PARAMETERS = 7
"""Height, y, x, constant, and the inverse covariance yy, xy, xx."""

ROUNDS = 3
MAX_STEP_SIGMA = 0.5
CHUNK = 2048
MIN_PIXELS = 2 * N_PARAMETERS


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
        neighbourhood = _Neighbourhoods.around(pixels, position, sigma_px, config)
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
    near: _Neighbourhoods, parameters: FloatArray, converged: BoolArray, noise: NoiseModel
) -> SingleColumns:
    model, jacobian = _gaussian(near, parameters)
    weight = near.used / np.maximum(noise.gain * model + noise.constant, 1e-12)
    normal = (jacobian * weight[:, None]) @ jacobian.swapaxes(1, 2)
    covariance = np.linalg.pinv(normal, hermitian=True)[:, 1:3, 1:3]
    determinant = parameters[:, 4] * parameters[:, 6] - parameters[:, 5] ** 2
    integral = 2.0 * np.pi * parameters[:, 0] / np.sqrt(np.maximum(determinant, 1e-300))
    return SingleColumns(
        parameters[:, 1:3],
        covariance,
        integral,
        parameters[:, 0],
        parameters[:, 3],
        converged,
        noise,
    )


@dataclass(frozen=True)
class _Neighbourhoods:
    """Pixels around each column, `(N, P)`: places, values, and which are used."""

    y: IntArray
    x: IntArray
    value: FloatArray
    used: FloatArray

    @classmethod
    def around(
        cls, pixels: Pixels, position: FloatArray, sigma: float, config: ImageColumnConfig
    ) -> _Neighbourhoods:
        radius = config.single_radius_sigma * sigma
        half = int(np.ceil(radius)) + 1
        offset = np.arange(-half, half + 1)
        dy, dx = (g.ravel() for g in np.meshgrid(offset, offset, indexing="ij"))
        disc = np.hypot(dy, dx) <= radius + 1.0
        centre = np.rint(position).astype(int)
        y, x = centre[:, :1] + dy[disc], centre[:, 1:] + dx[disc]
        height, width = pixels.data.shape
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        row, column = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
        near = np.hypot(y - position[:, :1], x - position[:, 1:]) <= radius
        used = np.where(inside & near, pixels.good[row, column], 0.0)
        return cls(y, x, pixels.data[row, column].astype(float), used)

    def part(self, which: IntArray) -> _Neighbourhoods:
        return _Neighbourhoods(self.y[which], self.x[which], self.value[which], self.used[which])


def _start(near: _Neighbourhoods, position: FloatArray, sigma: float) -> FloatArray:
    low = np.where(near.used > 0, near.value, np.inf).min(axis=1)
    high = np.where(near.used > 0, near.value, -np.inf).max(axis=1)
    p = np.zeros((len(position), N_PARAMETERS))
    p[:, 0], p[:, 1:3], p[:, 3] = high - low, position, low
    p[:, 4] = p[:, 6] = sigma**-2
    return np.nan_to_num(p, posinf=0.0, neginf=0.0)


def _fit(
    near: _Neighbourhoods,
    position: FloatArray,
    parameters: FloatArray,
    sigma: float,
    noise: NoiseModel,
    weighted: bool,
    config: ImageColumnConfig,
) -> tuple[FloatArray, BoolArray]:
    """Levenberg-Marquardt on all columns at once; damping and progress of each its own."""
    fresh = _start(near, position, sigma)
    p = np.where(np.isfinite(parameters), parameters, fresh)
    model, jacobian = _gaussian(near, p)
    weight = near.used
    if weighted:
        least = 0.02 * np.mean(np.abs(model)) * noise.gain + 1e-12
        weight = near.used / np.maximum(noise.gain * model + noise.constant, least)
    enough = near.used.sum(axis=1) >= MIN_PIXELS
    last = np.full(len(p), np.inf)
    going = np.flatnonzero(enough)
    here = near.part(going)
    model, jacobian, weight = model[going], jacobian[going], weight[going]
    damping = np.full(len(going), 1e-3)
    for _ in range(4 * config.max_iterations):
        if len(going) == 0:
            break
        p[going], model, jacobian, damping, last[going], better = _step(
            here, p[going], model, jacobian, weight, damping, MAX_STEP_SIGMA * sigma
        )
        settled = better & (last[going] < 0.1 * config.tolerance_px) & (damping < 1e-2)
        if settled.any():
            left = np.flatnonzero(~settled)
            going, here, damping = going[left], here.part(left), damping[left]
            model, jacobian, weight = model[left], jacobian[left], weight[left]
    definite = (p[:, 4] > 0) & (p[:, 4] * p[:, 6] > p[:, 5] ** 2) & (p[:, 0] > 0)
    return p, np.asarray(enough & definite & (last < max(config.tolerance_px, 1e-2)))


def _step(
    near: _Neighbourhoods,
    p: FloatArray,
    model: FloatArray,
    jacobian: FloatArray,
    weight: FloatArray,
    damping: FloatArray,
    limit: float,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray, BoolArray]:
    """Parameters, model, Jacobian and damping after a step, how far it went, which gained."""
    residual = near.value - model
    cost = np.sum(weight * residual**2, axis=1)
    weighed = jacobian * weight[:, None]
    normal = weighed @ jacobian.swapaxes(1, 2)
    scale = 1.0 / np.sqrt(np.maximum(np.einsum("mii->mi", normal), 1e-300))
    normal = normal * scale[:, :, None] * scale[:, None, :]
    normal += damping[:, None, None] * np.eye(N_PARAMETERS)
    right = scale * (weighed @ residual[..., None])[..., 0]
    step = scale * np.linalg.solve(normal, right[..., None])[..., 0]
    step[:, 1:3] = np.clip(step[:, 1:3], -limit, limit)
    tried_model, tried_jacobian = _gaussian(near, p + step)
    tried = np.sum(weight * (near.value - tried_model) ** 2, axis=1)
    better = tried <= cost * (1 + 1e-12)
    return (
        np.where(better[:, None], p + step, p),
        np.where(better[:, None], tried_model, model),
        np.where(better[:, None, None], tried_jacobian, jacobian),
        np.clip(np.where(better, damping * 0.1, damping * 10.0), 1e-12, 1e6),
        np.abs(step[:, 1:3]).max(axis=1),
        better,
    )


def _gaussian(near: _Neighbourhoods, p: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Model `(M, P)` and Jacobian `(M, 7, P)` (zero at pixels not used)."""
    height, y0, x0, constant, yy, xy, xx = (p[:, i : i + 1] for i in range(N_PARAMETERS))
    dy, dx = near.y - y0, near.x - x0
    exponent = 0.5 * (xx * dx * dx + 2.0 * xy * dx * dy + yy * dy * dy)
    shape = np.exp(-np.clip(exponent, -50.0, 700.0))
    value = height * shape
    rows = np.stack(
        [
            shape,
            value * (yy * dy + xy * dx),
            value * (xy * dy + xx * dx),
            np.ones_like(dx),
            -0.5 * value * dy * dy,
            -value * dx * dy,
            -0.5 * value * dx * dx,
        ],
        axis=1,
    )
    return value + constant, rows * (near.used > 0)[:, None]


def _noise(
    near: _Neighbourhoods,
    parameters: FloatArray,
    converged: BoolArray,
    config: ImageColumnConfig,
    before: NoiseModel,
) -> NoiseModel:
    if not converged.any():
        return before
    model = _gaussian(near, parameters)[0]
    good = (near.used > 0) & converged[:, None]
    found = estimate_noise(near.value, model, good, N_PARAMETERS * int(converged.sum()))
    if config.noise == "gaussian":
        level = float(np.mean(model[good]))
        return NoiseModel(0.0, max(found.gain * level + found.constant, 1e-30))
    return found
