"""The paper's column fit, kept for comparison: one 2D Gaussian for each column, on its own.

The tails of the neighbours pull it: beside a vacancy or a heavy column it is biased by picometres,
however small its noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...types import BoolArray, DefectStrainError, FloatArray
from ..gaussian import MIN_PIXELS, N_PARAMETERS, Neighbourhoods, integral, is_peak, settle

RECENTRINGS = 3
MAX_STEP_PM = 20.0
SETTLED_PM = 1e-2
MAX_DAMPING = 1e-6


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
    if np.pi * (radius_pm / step_pm) ** 2 < MIN_PIXELS:
        raise DefectStrainError(
            f"single Gaussians: got a radius of {radius_pm:g} pm at {step_pm:g} pm per pixel, "
            "expected at least 14 pixels; make fit_radius_pm larger"
        )
    position = site_pm[:, ::-1].copy()
    centre = image.shape[0] // 2
    good = np.ones_like(image)

    def around(position: FloatArray) -> Neighbourhoods:
        step = (-step_pm, step_pm)
        return Neighbourhoods.around(image, good, position, radius_pm, step, (centre, centre))

    for _ in range(RECENTRINGS):
        near = around(position)
        p, last = settle(
            near,
            near.start(position, sigma_pm),
            near.used,
            MAX_STEP_PM,
            tolerance_pm,
            MAX_DAMPING,
            max_iterations,
        )
        # Height, width and constant may trade places for long while the position stands still
        converged = near.enough & is_peak(p) & (last < max(tolerance_pm, SETTLED_PM))
        moved = np.where(converged[:, None], p[:, 1:3], position)
        if np.all(around(moved).used == near.used):
            break
        position = moved
    hessian = _hessian(near, p)
    hessian[~np.isfinite(hessian).all(axis=(1, 2))] = 0.0  # a fit that went wild
    inverse = np.linalg.pinv(hessian, hermitian=True)
    influence = np.einsum("mij,mjp->mip", inverse, near.gaussian(p)[1])[:, [2, 1]]
    fitted = p[:, [2, 1]]
    fitted[~converged] = np.nan
    operator, pixel, model = _assemble(image.shape[0], near, influence, p)
    return SingleFits(fitted, integral(p), converged, operator, pixel, model)


def _hessian(near: Neighbourhoods, p: FloatArray) -> FloatArray:
    """Half the second derivative of the squared residual, `(M, 7, 7)`.

    ``J J^T`` alone won't do: neighbours' tails leave residuals that have a say in how a position
    follows the pixels. By central differences of the gradient.
    """

    def gradient(q: FloatArray) -> FloatArray:
        value, jacobian = near.gaussian(q)
        return np.asarray(np.einsum("mip,mp->mi", jacobian, value - near.value))

    hessian = np.empty((len(p), N_PARAMETERS, N_PARAMETERS))
    scale = np.array([1.0, 100.0, 100.0, 1.0, 1e-3, 1e-3, 1e-3])
    for i, step in enumerate(1e-5 * scale):
        change = step * np.eye(N_PARAMETERS)[i]
        hessian[:, i] = (gradient(p + change) - gradient(p - change)) / (2.0 * step)
    return 0.5 * (hessian + hessian.transpose(0, 2, 1))


def _assemble(
    size: int, near: Neighbourhoods, influence: FloatArray, p: FloatArray
) -> tuple[FloatArray, BoolArray, FloatArray]:
    """The single fits' operators on one common set of pixels."""
    used = near.used > 0
    pixel = np.zeros(size * size, dtype=bool)
    pixel[near.index[used]] = True
    number = np.cumsum(pixel) - 1
    operator = np.zeros((2 * len(used), int(pixel.sum())))
    model = np.zeros(operator.shape[1])
    fitted = near.gaussian(p)[0]
    for j, inside in enumerate(used):
        place = number[near.index[j, inside]]
        operator[2 * j, place] = influence[j, 0, inside]
        operator[2 * j + 1, place] = influence[j, 1, inside]
        model[place] = fitted[j, inside]
    return operator, pixel.reshape(size, size), model
