"""Strain from column displacements: interpolation, smoothing, derivatives, and their errors.

All three steps are linear in the displacements, so that they are one matrix from columns to grid,
and the covariance of the columns gives the error of the map exactly. Signs are those of
``docs/conventions.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CloughTocher2DInterpolator, NearestNDInterpolator
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import Delaunay
from scipy.special import exp1

from .config import Config
from .types import (
    BoolArray,
    DefectStrainError,
    DisplacementField,
    FloatArray,
    StrainField,
)

METHODS = ("rbf", "griddata")
COLUMNS = ("both", "metal", "chalcogen")
MIN_COLUMNS = 4


@dataclass(frozen=True)
class StrainConfig(Config):
    """Settings of the strain maps.

    Parameters
    ----------
    method : str
        ``rbf``: thin-plate spline, with exact smoothing and derivatives; ``griddata``: the paper's
        cubic interpolation on Delaunay triangles, whose arbitrary diagonals break the symmetry.
    smoothing_pm : float
        Sigma of the Gaussian that smooths the displacement [pm]; the paper's is about 60 pm.
    step_pm : float
        Step of the grid [pm].
    radius_pm : float or None
        Half the side of the map [pm]; None takes all columns in.
    columns : str
        Sublattices to use. A relative shift of the two sublattices is no strain, but in maps from
        both it looks like one at the scale of a unit cell.
    """

    method: str = "rbf"
    smoothing_pm: float = 60.0
    step_pm: float = 20.0
    radius_pm: float | None = None
    columns: str = "both"

    def __post_init__(self) -> None:
        for name, known in (("method", METHODS), ("columns", COLUMNS)):
            if getattr(self, name) not in known:
                raise DefectStrainError(
                    f"StrainConfig.{name}: got {getattr(self, name)!r}, "
                    f"expected one of {', '.join(known)}"
                )
        ranges = {"smoothing_pm": (0.0, 1000.0), "step_pm": (1.0, 200.0)}
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise DefectStrainError(
                    f"StrainConfig.{name}: got {getattr(self, name):g}, "
                    f"expected {low:g} to {high:g}"
                )
        if self.radius_pm is not None and not self.step_pm <= self.radius_pm < np.inf:
            raise DefectStrainError(
                f"StrainConfig.radius_pm: got {self.radius_pm:g}, "
                f"expected at least step_pm = {self.step_pm:g}"
            )


def strain_field(
    displacement: DisplacementField, config: StrainConfig | None = None
) -> StrainField:
    """Strain and rotation on a grid, each with its standard error.

    ``exx = dux/dx``, ``eyy = duy/dy``, ``exy = (dux/dy + duy/dx) / 2``,
    ``rotation = (duy/dx - dux/dy) / 2``, ``dilation = exx + eyy``, with x and y up in the lattice
    frame at the ideal sites (Lagrangian, small strain).

    Parameters
    ----------
    displacement : DisplacementField
        Columns without a displacement are left out and interpolated across.
    config : StrainConfig, optional

    Returns
    -------
    StrainField
        NaN outside the hull of the columns; sigma is NaN where the covariance is.

    Raises
    ------
    DefectStrainError
        If fewer than four columns are left, or they lie on a line.
    """
    config = config or StrainConfig()
    use = np.isfinite(displacement.u_pm).all(axis=1)
    if config.columns != "both":
        use &= displacement.is_metal == (config.columns == "metal")
    site = displacement.site_pm[use]
    if len(site) < MIN_COLUMNS or np.linalg.matrix_rank(site - site.mean(axis=0), tol=1.0) < 2:
        raise DefectStrainError(
            f"strain of {displacement.class_name}: got {len(site)} columns with a displacement, "
            f"expected at least {MIN_COLUMNS} that don't lie on a line"
        )
    x, y = _axes(site, config)
    inside = _inside_hull(site, x, y)
    by_x, by_y = derivative_operators(site, x, y, config.method, config.smoothing_pm)
    by_x, by_y = by_x[inside.ravel()], by_y[inside.ravel()]
    rows = np.repeat(use, 2)
    covariance = displacement.covariance_pm2[np.ix_(rows, rows)]
    components, sigma = {}, {}
    for name, (from_x, from_y) in _combinations(by_x, by_y).items():
        value = from_x @ displacement.u_pm[use, 0] + from_y @ displacement.u_pm[use, 1]
        components[name] = _on_grid(value, inside)
        sigma[name] = _on_grid(_standard_error(from_x, from_y, covariance), inside)
    return StrainField(
        class_name=displacement.class_name,
        x_pm=x,
        y_pm=y,
        components=components,
        sigma=sigma,
        smoothing_pm=config.smoothing_pm,
    )


def derivative_operators(
    site_pm: FloatArray,
    x_pm: FloatArray,
    y_pm: FloatArray,
    method: str = "rbf",
    smoothing_pm: float = 60.0,
) -> tuple[FloatArray, FloatArray]:
    """Matrices from values at the sites to the derivatives of the smoothed interpolant.

    Parameters
    ----------
    site_pm : array, `(M, 2)`
    x_pm, y_pm : arrays, `(W,)` and `(H,)`
        Grid, y falling with the row.
    method : str
        ``rbf`` or ``griddata``.
    smoothing_pm : float

    Returns
    -------
    by_x, by_y : arrays, `(H*W, M)`
        [1/pm].
    """
    if method == "rbf":
        return _thin_plate(site_pm, x_pm, y_pm, smoothing_pm)
    return _griddata(site_pm, x_pm, y_pm, smoothing_pm)


def _thin_plate(
    site_pm: FloatArray, x_pm: FloatArray, y_pm: FloatArray, smoothing_pm: float
) -> tuple[FloatArray, FloatArray]:
    """Thin-plate spline ``sum_j c_j phi(|r - r_j|) + affine``, ``phi = r^2 log r``.

    Duchon 1977, doi:10.1007/BFb0086566. Smoothed and differentiated in closed form on the infinite
    plane: no grid error and no edge. It reproduces affine displacements exactly.
    """
    scale = float(np.hypot(*site_pm.T).max())
    sites, smoothing = site_pm / scale, smoothing_pm / scale
    m = len(sites)
    system = np.zeros((m + 3, m + 3))
    r = np.linalg.norm(sites[:, None] - sites[None], axis=2)
    system[:m, :m] = r**2 * np.log(np.where(r > 0, r, 1.0))
    system[:m, m] = 1.0
    system[:m, m + 1 :] = sites
    system[m:, :m] = system[:m, m:].T
    coefficients = np.linalg.inv(system)[:, :m]
    grid = np.stack([g.ravel() for g in np.meshgrid(x_pm / scale, y_pm / scale)], axis=1)
    offset = grid[:, None] - sites[None]  # (grid, m, 2)
    slope = _smoothed_slope(np.sum(offset**2, axis=2), smoothing)
    operators = []
    for axis in range(2):
        rows = np.zeros((len(grid), m + 3))
        rows[:, :m] = slope * offset[:, :, axis]
        rows[:, m + 1 + axis] = 1.0
        operators.append(rows @ coefficients / scale)
    return operators[0], operators[1]


def _smoothed_slope(r2: FloatArray, sigma: float) -> FloatArray:
    """``phi_s'(r) / r`` of ``r^2 log r`` convolved with a 2D Gaussian.

    By the heat equation, ``d phi_s / d s^2 = (Laplacian of phi_s) / 2``, and the logarithm's
    convolution, ``log r + E1(r^2 / 2 s^2) / 2``:

    ``phi_s = r^2 log r + 2 s^2 (1 + log r) + (s^2 + r^2/2) E1(q) - s^2 exp(-q)``, q = r^2/2s^2,

    hence ``phi_s' / r = 2 log r + 1 + E1(q) + (1 - exp(-q)) / q``, which has the limit
    ``log(2 s^2) - gamma + 2`` at r = 0.
    """
    if sigma == 0.0:
        return np.asarray(np.where(r2 > 0, np.log(np.where(r2 > 0, r2, 1.0)) + 1.0, 0.0))
    q = r2 / (2.0 * sigma**2)
    safe = np.maximum(q, 1e-12)
    # log r^2 + E1(q) stays finite: both are taken at the same clipped q
    value = np.log(2.0 * sigma**2 * safe) + exp1(safe) + 1.0 - np.expm1(-safe) / safe
    return np.asarray(value)


def _griddata(
    site_pm: FloatArray, x_pm: FloatArray, y_pm: FloatArray, smoothing_pm: float
) -> tuple[FloatArray, FloatArray]:
    """The paper's way: piecewise cubic on Delaunay triangles, Gaussian filter, differences.

    Applied to unit displacements of one column each. Outside the hull the nearest column's value
    stands in for the filter; the maps are not valid within about two sigma of the hull.
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
            values = gaussian_filter1d(values, smoothing_pm / step, axis=axis, mode="nearest")
    by_y, by_x = np.gradient(values, -step, step, axis=(0, 1))
    shape = (-1, len(site_pm))
    return by_x.reshape(shape), by_y.reshape(shape)


def _combinations(by_x: FloatArray, by_y: FloatArray) -> dict[str, tuple[FloatArray, FloatArray]]:
    """What each component takes from ux and from uy."""
    none = np.zeros_like(by_x)
    return {
        "exx": (by_x, none),
        "eyy": (none, by_y),
        "exy": (0.5 * by_y, 0.5 * by_x),
        "rotation": (-0.5 * by_y, 0.5 * by_x),
        "dilation": (by_x, by_y),
    }


def _standard_error(from_x: FloatArray, from_y: FloatArray, covariance: FloatArray) -> FloatArray:
    """Square root of the diagonal of ``L C L^T``."""
    operator = np.stack([from_x, from_y], axis=2).reshape(len(from_x), -1)
    variance = np.einsum("gm,gm->g", operator @ covariance, operator)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))


def _axes(site_pm: FloatArray, config: StrainConfig) -> tuple[FloatArray, FloatArray]:
    radius = config.radius_pm or float(np.abs(site_pm).max())
    n = int(np.ceil(radius / config.step_pm - 1e-9))
    x = np.arange(-n, n + 1) * config.step_pm
    return x, x[::-1].copy()


def _inside_hull(site_pm: FloatArray, x_pm: FloatArray, y_pm: FloatArray) -> BoolArray:
    grid = np.stack(np.meshgrid(x_pm, y_pm), axis=2)
    return np.asarray(Delaunay(site_pm).find_simplex(grid, tol=1e-9) >= 0)


def _on_grid(values: FloatArray, inside: BoolArray) -> FloatArray:
    grid = np.full(inside.shape, np.nan)
    grid[inside] = values
    return grid
