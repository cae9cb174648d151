"""Smoothed interpolants of values at columns, as matrices from the values to any points.

Interpolation, smoothing and derivatives are linear in the values: one matrix for each, so that
maps, lines, bootstrap samples and model predictions all go through exactly the same steps, and the
covariance of the columns gives every error exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.interpolate import (
    CloughTocher2DInterpolator,
    NearestNDInterpolator,
    RegularGridInterpolator,
)
from scipy.ndimage import gaussian_filter1d
from scipy.special import exp1, i0e, i1e

from ..types import FloatArray

METHODS = ("rbf", "cubic", "griddata")
GRIDDATA_STEP_PM = 10.0
"""Grid of the paper's interpolant where it is asked for points that are no grid."""

FILTER_REACH = 4.0
"""The Gaussian filter of griddata ends at this many sigma."""


class Operators(NamedTuple):
    """Matrices `(P, M)` from values at M columns to the smoothed interpolant at P points."""

    value: FloatArray
    by_x: FloatArray
    by_y: FloatArray


def interpolation_operators(
    site_pm: FloatArray, point_pm: FloatArray, method: str = "rbf", smoothing_pm: float = 60.0
) -> Operators:
    """Value and derivatives of the smoothed interpolant at any points.

    Parameters
    ----------
    site_pm : array, `(M, 2)`
        Columns (x, y) [pm], not all on a line.
    point_pm : array, `(P, 2)`
        Where to evaluate [pm].
    method : str
        ``rbf``: thin-plate spline ``sum_j c_j r^2 log r + affine`` (Duchon 1977,
        doi:10.1007/BFb0086566); ``cubic``: ``r^3`` instead of ``r^2 log r``. Both are smoothed and
        differentiated in closed form on the infinite plane: no grid error, no edge. They
        reproduce affine displacements exactly, and keep every symmetry that the columns have.
        ``griddata``: the paper's piecewise cubic on Delaunay triangles, sampled on a grid,
        filtered, and differentiated by differences.
    smoothing_pm : float
        Sigma of the Gaussian [pm]; 0 interpolates only.

    Returns
    -------
    Operators
        `value` is a number, `by_x` and `by_y` are in 1/pm.
    """
    if method == "griddata":
        return _griddata_at(site_pm, point_pm, smoothing_pm)
    return _radial(site_pm, point_pm, method, smoothing_pm)


def grid_points(x_pm: FloatArray, y_pm: FloatArray) -> FloatArray:
    """Points of a grid, row by row, `(H*W, 2)`."""
    return np.stack([g.ravel() for g in np.meshgrid(x_pm, y_pm)], axis=1)


def derivative_operators(
    site_pm: FloatArray,
    x_pm: FloatArray,
    y_pm: FloatArray,
    method: str = "rbf",
    smoothing_pm: float = 60.0,
) -> tuple[FloatArray, FloatArray]:
    """Matrices from values at the sites to the derivatives of the smoothed interpolant on a grid.

    Parameters
    ----------
    site_pm : array, `(M, 2)`
    x_pm, y_pm : arrays, `(W,)` and `(H,)`
        Grid of one step, y falling with the row. ``griddata`` filters on a grid of that step that
        reaches farther by the filter's reach: columns beyond the map tell of its rim.
    method : str
        One of `METHODS`.
    smoothing_pm : float

    Returns
    -------
    by_x, by_y : arrays, `(H*W, M)`
        [1/pm].
    """
    if method == "griddata":
        step = float(x_pm[1] - x_pm[0])
        more = int(np.ceil(FILTER_REACH * smoothing_pm / step)) + 1  # one for the differences
        beyond = step * np.arange(1, more + 1)
        x, falling = (
            np.concatenate([axis[0] - s * beyond[::-1], axis, axis[-1] + s * beyond])
            for axis, s in ((x_pm, 1.0), (y_pm, -1.0))
        )
        _, by_x, by_y = _griddata(site_pm, x, falling, smoothing_pm)
        shape, own = (-1, len(site_pm)), slice(more, -more)
        return by_x[own, own].reshape(shape), by_y[own, own].reshape(shape)
    _, by_x, by_y = _radial(site_pm, grid_points(x_pm, y_pm), method, smoothing_pm)
    return by_x, by_y


def _radial(
    site_pm: FloatArray, point_pm: FloatArray, method: str, smoothing_pm: float
) -> Operators:
    """``sum_j c_j phi(|r - r_j|) + affine``, interpolating, with ``sum c_j = sum c_j r_j = 0``."""
    scale = float(np.linalg.norm(site_pm - site_pm.mean(axis=0), axis=1).max())
    sites, smoothing = site_pm / scale, smoothing_pm / scale
    kernel = _thin_plate if method == "rbf" else _cubic
    m = len(sites)
    system = np.zeros((m + 3, m + 3))
    distance2 = np.sum((sites[:, None] - sites[None]) ** 2, axis=2)
    system[:m, :m] = kernel(distance2, 0.0)[0]
    system[:m, m] = 1.0
    system[:m, m + 1 :] = sites
    system[m:, :m] = system[:m, m:].T
    coefficients = np.linalg.inv(system)[:, :m]
    offset = (point_pm / scale)[:, None] - sites[None]  # (P, m, 2)
    smooth, slope = kernel(np.sum(offset**2, axis=2), smoothing)
    rows = np.ones((len(point_pm), m + 3))
    rows[:, :m] = smooth
    rows[:, m + 1 :] = point_pm / scale
    operators = [rows @ coefficients]
    for axis in range(2):
        rows[:, :m] = slope * offset[:, :, axis]
        rows[:, m:] = 0.0
        rows[:, m + 1 + axis] = 1.0
        operators.append(rows @ coefficients / scale)
    return Operators(*operators)


def _thin_plate(r2: FloatArray, sigma: float) -> tuple[FloatArray, FloatArray]:
    """``phi_s`` and ``phi_s'(r) / r``, for ``phi = r^2 log r`` convolved with a 2D Gaussian.

    By the heat equation, ``d phi_s / d s^2 = (Laplacian of phi_s) / 2``, and the logarithm's
    convolution, ``log r + E1(r^2 / 2 s^2) / 2``:

    ``phi_s = r^2 log r + 2 s^2 (1 + log r) + (s^2 + r^2/2) E1(q) - s^2 exp(-q)``, q = r^2/2s^2,

    hence ``phi_s' / r = 2 log r + 1 + E1(q) + (1 - exp(-q)) / q``, which has the limit
    ``log(2 s^2) - gamma + 2`` at r = 0.
    """
    if sigma == 0.0:
        log = np.log(np.where(r2 > 0, r2, 1.0))
        return np.asarray(0.5 * r2 * log), np.where(r2 > 0, log + 1.0, 0.0)
    variance = sigma**2
    # log r^2 + E1(q) stays finite: both are taken at the same clipped q
    q = np.maximum(r2 / (2.0 * variance), 1e-12)
    log = np.log(2.0 * variance * q) + exp1(q)
    value = (0.5 * r2 + variance) * log + variance * (2.0 - np.exp(-q))
    return np.asarray(value), np.asarray(log + 1.0 - np.expm1(-q) / q)


def _cubic(r2: FloatArray, sigma: float) -> tuple[FloatArray, FloatArray]:
    """``phi_s`` and ``phi_s'(r) / r``, for ``phi = r^3`` convolved with a 2D Gaussian.

    The third moment of Rice's distribution: with q = r^2/2s^2, h = q/2 and M Kummer's function,

    ``phi_s = 3 sqrt(pi/2) s^3 M(-3/2; 1; -q)``, ``phi_s' / r = (9/2) sqrt(pi/2) s M(-1/2; 2; -q)``,
    ``M(-3/2; 1; -q) = exp(-h) [(2 q^2 + 6 q + 3) I0(h) + 2 q (q + 2) I1(h)] / 3``,
    ``M(-1/2; 2; -q) = exp(-h) [(2 q + 3) I0(h) + (2 q + 1) I1(h)] / 3`` (DLMF 13.6.9
    and the recurrences of 13.3).
    """
    r = np.sqrt(r2)
    if sigma == 0.0:
        return np.asarray(r2 * r), np.asarray(3.0 * r)
    q = r2 / (2.0 * sigma**2)
    zeroth, first = i0e(0.5 * q), i1e(0.5 * q)  # scaled by exp(-h)
    root = np.sqrt(0.5 * np.pi)
    value = root * sigma**3 * ((2 * q**2 + 6 * q + 3) * zeroth + 2 * q * (q + 2) * first)
    slope = 1.5 * root * sigma * ((2 * q + 3) * zeroth + (2 * q + 1) * first)
    return np.asarray(value), np.asarray(slope)


def _griddata(
    site_pm: FloatArray, x_pm: FloatArray, y_pm: FloatArray, smoothing_pm: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The paper's way on a grid, `(H, W, M)` each, applied to unit values of one column each.

    Outside the hull the nearest column's value stands in for the filter; the maps are not valid
    within about two sigma of the hull.
    """
    unit = np.eye(len(site_pm))
    grid_x, grid_y = np.meshgrid(x_pm, y_pm)
    # Gradients at the columns are iterated to a tolerance: scipy's default leaves 1e-6 of strain
    values = CloughTocher2DInterpolator(site_pm, unit, tol=1e-12, maxiter=2000)(grid_x, grid_y)
    outside = np.isnan(values).any(axis=2)
    nearest = NearestNDInterpolator(site_pm, unit)
    values[outside] = nearest(grid_x[outside], grid_y[outside])
    step = float(x_pm[1] - x_pm[0])
    if smoothing_pm > 0:
        for axis in range(2):
            values = gaussian_filter1d(
                values, smoothing_pm / step, axis=axis, mode="nearest", truncate=FILTER_REACH
            )
    by_y, by_x = np.gradient(values, -step, step, axis=(0, 1))
    return values, by_x, by_y


def _griddata_at(site_pm: FloatArray, point_pm: FloatArray, smoothing_pm: float) -> Operators:
    """The paper's interpolant at any points, linearly between those of a fine grid around them."""
    margin = FILTER_REACH * smoothing_pm + 2.0 * GRIDDATA_STEP_PM
    low = np.floor((point_pm.min(axis=0) - margin) / GRIDDATA_STEP_PM)
    high = np.ceil((point_pm.max(axis=0) + margin) / GRIDDATA_STEP_PM)
    x, y = (GRIDDATA_STEP_PM * np.arange(a, b + 1) for a, b in zip(low, high, strict=True))
    maps = _griddata(site_pm, x, y[::-1], smoothing_pm)
    at = point_pm[:, ::-1]  # (y, x)
    return Operators(*(RegularGridInterpolator((y, x), m[::-1])(at) for m in maps))
