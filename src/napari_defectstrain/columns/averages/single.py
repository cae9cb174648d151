"""The paper's column fit, kept for comparison: one 2D Gaussian for each column, on its own.

An elliptical Gaussian on a constant, fitted by least squares to the pixels within a radius of the
column (doi:10.1021/acs.nanolett.0c00269). The tails of the neighbours pull it: beside a vacancy
or a heavy column it is biased by picometres, however small its noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...types import BoolArray, DefectStrainError, FloatArray, IntArray

N_PARAMETERS = 7
"""Height, x, y, constant, and the inverse covariance xx, xy, yy."""
RECENTRINGS = 3
MAX_STEP_PM = 20.0
SETTLED_PM = 1e-2


@dataclass(frozen=True)
class SingleFits:
    """Single Gaussians fitted to columns.

    Parameters
    ----------
    position_pm : array, `(M, 2)`
    weight : array, `(M,)`
        Integral of the Gaussian [pm^2].
    converged : array of bool, `(M,)`
    operator : array, `(2M, P)`
        Derivative of the positions by the pixels that any of the fits uses [pm].
    pixel : array of bool, `(size, size)`
        Those pixels.
    model : array, `(P,)`
        The fitted Gaussian at the pixels (that of the last column which uses it).
    """

    position_pm: FloatArray
    weight: FloatArray
    converged: BoolArray
    operator: FloatArray
    pixel: BoolArray
    model: FloatArray


def fit_single_gaussians(
    image: FloatArray,
    step_pm: float,
    site_pm: FloatArray,
    radius_pm: float,
    sigma_pm: float,
    max_iterations: int = 200,
    tolerance_pm: float = 1e-7,
) -> SingleFits:
    """Fit one Gaussian to each column, all columns at once, none aware of the others.

    The pixels are those within `radius_pm` of the column, chosen anew when it has moved.

    Parameters
    ----------
    image : array, `(size, size)`
        Origin at the central pixel, y down in memory.
    step_pm : float
        Side of a pixel [pm].
    site_pm : array, `(M, 2)`
        Where to start (x, y) [pm].
    radius_pm, sigma_pm : float
        Radius of the pixels used, and width to start from [pm].
    max_iterations : int
    tolerance_pm : float
        Largest step at convergence [pm].

    Raises
    ------
    DefectStrainError
        If the radius holds too few pixels for seven parameters.
    """
    if np.pi * (radius_pm / step_pm) ** 2 < 2 * N_PARAMETERS:
        raise DefectStrainError(
            f"single Gaussians: got a radius of {radius_pm:g} pm at {step_pm:g} pm per pixel, "
            "expected at least 14 pixels; make fit_radius_pm larger"
        )
    half = int(np.ceil(radius_pm / step_pm)) + 1
    position = site_pm.copy()
    for _ in range(RECENTRINGS):
        patch = _patches(image, step_pm, position, half, radius_pm)
        parameters, jacobian, converged = _fit(
            patch, position, sigma_pm, max_iterations, tolerance_pm
        )
        moved = np.where(converged[:, None], parameters[:, 1:3], position)
        if np.all(_patches(image, step_pm, moved, half, radius_pm).used == patch.used):
            break
        position = moved
    hessian = _hessian(patch, parameters)
    hessian[~np.isfinite(hessian).all(axis=(1, 2))] = 0.0  # a fit that went wild
    inverse = np.linalg.pinv(hessian, hermitian=True)
    influence = np.einsum("mij,mjp->mip", inverse, jacobian)[:, 1:3]
    determinant = np.maximum(parameters[:, 4] * parameters[:, 6] - parameters[:, 5] ** 2, 1e-300)
    fitted = parameters[:, 1:3].copy()
    fitted[~converged] = np.nan
    operator, pixel, model = _assemble(image.shape[0], patch, influence, parameters)
    weight = 2.0 * np.pi * parameters[:, 0] / np.sqrt(determinant)
    return SingleFits(fitted, weight, converged, operator, pixel, model)


@dataclass(frozen=True)
class _Patches:
    """Pixels around each column, `(M, Q)`: where they lie, values, and which are used."""

    index: IntArray
    x_pm: FloatArray
    y_pm: FloatArray
    value: FloatArray
    used: FloatArray


def _patches(
    image: FloatArray, step_pm: float, position: FloatArray, half: int, radius_pm: float
) -> _Patches:
    size = image.shape[0]
    centre = np.rint(position / step_pm).astype(int)
    offset = np.arange(-half, half + 1)
    dy, dx = (g.ravel() for g in np.meshgrid(offset, offset, indexing="ij"))
    column = centre[:, :1] + dx + size // 2
    row = -centre[:, 1:] + dy + size // 2
    inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
    row, column = np.clip(row, 0, size - 1), np.clip(column, 0, size - 1)
    x = (column - size // 2) * step_pm
    y = -(row - size // 2) * step_pm
    near = np.hypot(x - position[:, :1], y - position[:, 1:]) <= radius_pm
    return _Patches(
        row * size + column, x, y, image[row, column], np.where(inside & near, 1.0, 0.0)
    )


def _fit(
    patch: _Patches,
    start: FloatArray,
    sigma_pm: float,
    max_iterations: int,
    tolerance_pm: float,
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Levenberg-Marquardt on all columns at once; damping and progress of each its own."""
    m = len(start)
    # columns whose pixels lie outside, or nearly all of them, can't be fitted
    fitted = (patch.used > 0).sum(axis=1) >= 2 * N_PARAMETERS
    low = np.where(patch.used > 0, patch.value, np.inf).min(axis=1)
    high = np.where(patch.used > 0, patch.value, -np.inf).max(axis=1)
    low, high = np.where(fitted, low, 0.0), np.where(fitted, high, 0.0)
    p = np.zeros((m, N_PARAMETERS))
    p[:, 0], p[:, 1:3], p[:, 3] = high - low, start, low
    p[:, 4] = p[:, 6] = sigma_pm**-2
    damping = np.full(m, 1e-3)
    model, jacobian = _gaussian(patch, p)
    cost = np.sum((patch.used * (patch.value - model)) ** 2, axis=1)
    done = ~fitted
    for _ in range(max_iterations):
        residual = patch.used * (patch.value - model)
        normal = np.einsum("mip,mjp->mij", jacobian, jacobian)
        scale = 1.0 / np.sqrt(np.maximum(np.einsum("mii->mi", normal), 1e-300))
        normal *= scale[:, :, None] * scale[:, None, :]
        normal += damping[:, None, None] * np.eye(N_PARAMETERS)
        pull = scale * np.einsum("mip,mp->mi", jacobian, residual)
        step = scale * np.linalg.solve(normal, pull[..., None])[..., 0]
        step[:, 1:3] = np.clip(step[:, 1:3], -MAX_STEP_PM, MAX_STEP_PM)
        step[done] = 0.0
        tried_model, tried_jacobian = _gaussian(patch, p + step)
        tried = np.sum((patch.used * (patch.value - tried_model)) ** 2, axis=1)
        better = tried <= cost * (1 + 1e-12)
        p = np.where(better[:, None], p + step, p)
        model = np.where(better[:, None], tried_model, model)
        jacobian = np.where(better[:, None, None], tried_jacobian, jacobian)
        cost = np.where(better, tried, cost)
        damping = np.clip(np.where(better, damping * 0.1, damping * 10.0), 1e-12, 1e6)
        done |= better & (np.abs(step[:, 1:3]).max(axis=1) < tolerance_pm) & (damping < 1e-6)
        if done.all():
            break
    definite = (p[:, 4] > 0) & (p[:, 4] * p[:, 6] > p[:, 5] ** 2) & (p[:, 0] > 0)
    # Height, width and constant may trade places for long while the position stands still
    settled = done | (np.abs(step[:, 1:3]).max(axis=1) < SETTLED_PM)
    return p, jacobian, np.asarray(definite & settled & fitted)


def _gaussian(patch: _Patches, p: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Model `(M, Q)` and Jacobian `(M, 7, Q)` (zero at pixels not used)."""
    height, x0, y0, constant, xx, xy, yy = (p[:, i : i + 1] for i in range(N_PARAMETERS))
    dx, dy = patch.x_pm - x0, patch.y_pm - y0
    exponent = 0.5 * (xx * dx * dx + 2.0 * xy * dx * dy + yy * dy * dy)
    shape = np.exp(-np.clip(exponent, -50.0, 700.0))
    value = height * shape
    rows = [
        shape,
        value * (xx * dx + xy * dy),
        value * (xy * dx + yy * dy),
        np.ones_like(dx),
        -0.5 * value * dx * dx,
        -value * dx * dy,
        -0.5 * value * dy * dy,
    ]
    return value + constant, np.stack(rows, axis=1) * patch.used[:, None]


def _hessian(patch: _Patches, p: FloatArray) -> FloatArray:
    """Half the second derivative of the squared residual, `(M, 7, 7)`.

    ``J J^T`` alone won't do: neighbours' tails leave residuals that have a say in how a position
    follows the pixels. By central differences of the gradient.
    """

    def gradient(q: FloatArray) -> FloatArray:
        value, jacobian = _gaussian(patch, q)
        return np.asarray(np.einsum("mip,mp->mi", jacobian, value - patch.value))

    hessian = np.empty((len(p), N_PARAMETERS, N_PARAMETERS))
    scale = np.array([1.0, 100.0, 100.0, 1.0, 1e-3, 1e-3, 1e-3])
    for i, step in enumerate(1e-5 * scale):
        change = step * np.eye(N_PARAMETERS)[i]
        hessian[:, i] = (gradient(p + change) - gradient(p - change)) / (2.0 * step)
    return 0.5 * (hessian + hessian.transpose(0, 2, 1))


def _assemble(
    size: int, patch: _Patches, influence: FloatArray, parameters: FloatArray
) -> tuple[FloatArray, BoolArray, FloatArray]:
    """The single fits' operators on one common set of pixels."""
    used = patch.used > 0
    pixel = np.zeros(size * size, dtype=bool)
    pixel[patch.index[used]] = True
    number = np.cumsum(pixel) - 1
    operator = np.zeros((2 * len(used), int(pixel.sum())))
    model = np.zeros(operator.shape[1])
    fitted = _gaussian(patch, parameters)[0]
    for j, inside in enumerate(used):
        place = number[patch.index[j, inside]]
        operator[2 * j, place] = influence[j, 0, inside]
        operator[2 * j + 1, place] = influence[j, 1, inside]
        model[place] = fitted[j, inside]
    return operator, pixel.reshape(size, size), model
