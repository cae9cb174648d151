"""Strain from column displacements: interpolation, smoothing, derivatives, and their errors.

All three steps are linear in the displacements, so that they are one matrix from columns to grid,
and the covariance of the columns gives the error of the map exactly. Signs are those of
``docs/conventions.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
from scipy.spatial import Delaunay

from ..config import Between, Config, OneOf
from ..types import (
    STRAIN_COMPONENTS,
    BoolArray,
    DefectStrainError,
    DisplacementField,
    FloatArray,
    StrainField,
)
from .interpolation import METHODS, derivative_operators, grid_points, interpolation_operators

__all__ = [
    "COLUMNS",
    "FWHM_PER_SIGMA",
    "METHODS",
    "StrainConfig",
    "column_factor",
    "gradient_components",
    "grid_operators",
    "point_operators",
    "significant",
    "strain_field",
    "used_columns",
]

COLUMNS = ("both", "metal", "chalcogen")
MIN_COLUMNS = 4
FWHM_PER_SIGMA = float(np.sqrt(8.0 * np.log(2.0)))
"""Full width at half maximum of a Gaussian, in units of its sigma."""

MAX_POINTS = 100_000
"""More points of a map take GB of memory and show nothing more."""


@dataclass(frozen=True)
class StrainConfig(Config):
    """Settings of the strain maps.

    Parameters
    ----------
    method : str
        ``rbf``: thin-plate spline, with exact smoothing and derivatives; ``cubic``: the radial
        function ``r^3``, likewise exact; ``griddata``: the paper's cubic interpolation on Delaunay
        triangles, whose arbitrary diagonals break the symmetry.
    smoothing_pm : float
        Sigma of the Gaussian that smooths the displacement [pm]; the paper's is about 60 pm.
    step_pm : float
        Step of the grid [pm].
    radius_pm : float or None
        Half the side of the map [pm]; None takes all columns in.
    columns : str
        Sublattices to use. A relative shift of the two sublattices is no strain, but in maps from
        both it looks like one at the scale of a unit cell (`sublattice_shift`).
    """

    method: Annotated[str, OneOf(METHODS)] = "rbf"
    smoothing_pm: Annotated[float, Between(0, 1000)] = 60.0
    step_pm: Annotated[float, Between(1, 200)] = 20.0
    radius_pm: Annotated[float, Between(1, 100000)] | None = None
    columns: Annotated[str, OneOf(COLUMNS)] = "both"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.radius_pm is not None and self.radius_pm < self.step_pm:
            raise DefectStrainError(
                f"StrainConfig.radius_pm: got {self.radius_pm:g}, "
                f"expected at least step_pm = {self.step_pm:g}"
            )


@dataclass(frozen=True)
class GridOperators:
    """From values at columns to derivatives on the points of a grid that lie inside their hull.

    Parameters
    ----------
    x_pm, y_pm : arrays, `(W,)` and `(H,)`
        The grid [pm], y falling with the row.
    inside : array of bool, `(H, W)`
        Its G points inside the hull.
    by_x, by_y : arrays, `(G, M)`
        [1/pm].
    """

    x_pm: FloatArray
    y_pm: FloatArray
    inside: BoolArray
    by_x: FloatArray
    by_y: FloatArray

    def on_grid(self, values: FloatArray) -> FloatArray:
        """Values at the points inside `(..., G)` as maps `(..., H, W)`, NaN elsewhere."""
        grid = np.full((*values.shape[:-1], *self.inside.shape), np.nan)
        grid[..., self.inside] = values
        return grid


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
        If fewer than four columns are left, they lie on a line, or the smoothing is wider than
        they reach.
    """
    config = config or StrainConfig()
    use = used_columns(displacement, config)
    operators = grid_operators(displacement.site_pm[use], config)
    values = gradient_components(
        operators.by_x, operators.by_y, displacement.u_pm[use].reshape(-1, 1)
    )
    factor = column_factor(displacement, use)
    scatter = gradient_components(operators.by_x, operators.by_y, factor)
    return StrainField(
        class_name=displacement.class_name,
        x_pm=operators.x_pm.copy(),
        y_pm=operators.y_pm.copy(),
        components={name: operators.on_grid(v[:, 0]) for name, v in values.items()},
        sigma={name: operators.on_grid(np.linalg.norm(v, axis=1)) for name, v in scatter.items()},
        smoothing_pm=config.smoothing_pm,
    )


def significant(strain: StrainField, n_sigma: float = 2.0) -> dict[str, BoolArray]:
    """Where each component differs from zero by more than its error.

    Point by point: of a map without any strain, 4.6 % lie beyond two sigma, in patches of the size
    of the smoothing.

    Parameters
    ----------
    strain : StrainField
    n_sigma : float
        How many standard errors, positive.

    Returns
    -------
    dict of component to array of bool, `(H, W)`
        False where the strain or its error isn't known.

    Raises
    ------
    DefectStrainError
        If `n_sigma` isn't positive.
    """
    if not n_sigma > 0:
        raise DefectStrainError(f"significance: got {n_sigma:g} sigma, expected more than 0")
    return {
        name: np.abs(values) > n_sigma * strain.sigma[name]  # False for NaN
        for name, values in strain.components.items()
    }


def used_columns(displacement: DisplacementField, config: StrainConfig) -> BoolArray:
    """Which columns the interpolation uses, `(M,)`.

    Raises
    ------
    DefectStrainError
        If they are too few, lie on a line, or reach no farther than the smoothing.
    """
    use = np.asarray(np.isfinite(displacement.u_pm).all(axis=1))
    if config.columns != "both":
        use &= displacement.sublattice == config.columns
    site = displacement.site_pm[use]
    if len(site) < MIN_COLUMNS or np.linalg.matrix_rank(site - site.mean(axis=0), tol=1.0) < 2:
        raise DefectStrainError(
            f"strain of {displacement.class_name}: got {len(site)} columns with a displacement, "
            f"expected at least {MIN_COLUMNS} that don't lie on a line"
        )
    reach = float(np.linalg.norm(site - site.mean(axis=0), axis=1).max())
    if config.smoothing_pm > 0.5 * reach:
        raise DefectStrainError(
            f"strain of {displacement.class_name}: got a smoothing of sigma "
            f"{config.smoothing_pm:g} pm, expected at most {0.5 * reach:.0f} pm, half of how far "
            "the columns reach; smooth less or use larger windows"
        )
    return use


def grid_operators(site_pm: FloatArray, config: StrainConfig) -> GridOperators:
    """The map's grid and its operators; kept for the next call with the same sites and settings.

    Parameters
    ----------
    site_pm : array, `(M, 2)`
    config : StrainConfig

    Raises
    ------
    DefectStrainError
        If the grid has too many points.
    """
    site = np.ascontiguousarray(site_pm, dtype=np.float64)
    return _kept_operators(site.tobytes(), config)


def point_operators(
    site_pm: FloatArray, point_pm: FloatArray, config: StrainConfig
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Value and derivatives at any points, by the same interpolation as the maps', `(P, M)`."""
    return interpolation_operators(site_pm, point_pm, config.method, config.smoothing_pm)


def gradient_components(by_x: FloatArray, by_y: FloatArray, u: FloatArray) -> dict[str, FloatArray]:
    """All components at P points of B displacement fields at once.

    Parameters
    ----------
    by_x, by_y : arrays, `(P, M)`
        [1/pm].
    u : array, `(2M, B)`
        ``(ux, uy)`` of column after column [pm].

    Returns
    -------
    dict of component to array, `(P, B)`
    """
    ux, uy = u[0::2], u[1::2]
    exx, eyy = by_x @ ux, by_y @ uy
    ux_by_y, uy_by_x = by_y @ ux, by_x @ uy
    return dict(
        zip(
            STRAIN_COMPONENTS,
            (exx, eyy, 0.5 * (ux_by_y + uy_by_x), 0.5 * (uy_by_x - ux_by_y), exx + eyy),
            strict=True,
        )
    )


def column_factor(displacement: DisplacementField, use: BoolArray) -> FloatArray:
    """A matrix F with ``F F^T`` the covariance of the columns used, `(2K, k)` [pm].

    The norms of the rows of ``L F`` are the standard errors of ``L u``. NaN where the covariance
    holds any.
    """
    rows = np.repeat(use, 2)
    covariance = displacement.covariance_pm2[np.ix_(rows, rows)]
    if not np.isfinite(covariance).all():
        return np.full((len(covariance), 1), np.nan)
    if not covariance.any():  # a model's
        return np.zeros((len(covariance), 1))
    values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.T))
    # eigenvalues of directions that were projected out are rounding errors of either sign
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


@lru_cache(maxsize=4)
def _kept_operators(sites: bytes, config: StrainConfig) -> GridOperators:
    site = np.frombuffer(sites, dtype=np.float64).reshape(-1, 2)
    x, y = _axes(site, config)
    if len(x) * len(y) > 4 * MAX_POINTS:
        _too_many(len(x) * len(y), config)
    inside = _inside_hull(site, x, y)
    if inside.sum() > MAX_POINTS:
        _too_many(int(inside.sum()), config)
    if config.method == "griddata":
        by_x, by_y = derivative_operators(site, x, y, "griddata", config.smoothing_pm)
        by_x, by_y = by_x[inside.ravel()], by_y[inside.ravel()]
    else:
        _, by_x, by_y = point_operators(site, grid_points(x, y)[inside.ravel()], config)
    for array in (x, y, inside, by_x, by_y):  # shared by all who ask
        array.setflags(write=False)
    return GridOperators(x, y, inside, by_x, by_y)


def _too_many(points: int, config: StrainConfig) -> None:
    raise DefectStrainError(
        f"strain map: got {points} points at steps of {config.step_pm:g} pm, expected at most "
        f"{MAX_POINTS}; use larger steps or a smaller map"
    )


def _axes(site_pm: FloatArray, config: StrainConfig) -> tuple[FloatArray, FloatArray]:
    radius = config.radius_pm or float(np.abs(site_pm).max())
    n = int(np.ceil(radius / config.step_pm - 1e-9))
    x = np.arange(-n, n + 1) * config.step_pm
    return x, x[::-1].copy()


def _inside_hull(site_pm: FloatArray, x_pm: FloatArray, y_pm: FloatArray) -> BoolArray:
    grid = np.stack(np.meshgrid(x_pm, y_pm), axis=2)
    return np.asarray(Delaunay(site_pm).find_simplex(grid, tol=1e-9) >= 0)
