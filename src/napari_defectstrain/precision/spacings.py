"""The triangle of metal columns around a defect, and what is said of its sides.

Around metal sites, whose windows are turned by 180 degrees, the same columns are chalcogens: there
"metal" and `is_metal` mean the sublattice that the defect is not on (`ColumnFits.sublattice`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..types import BoolArray, ColumnFits, DefectStrainError, FloatArray, IntArray


@dataclass(frozen=True)
class SpacingResult:
    """Spacing of the three metal columns nearest to the defect, or chalcogens around a metal site.

    Parameters
    ----------
    class_name : str
    n, n_excluded : int
        Windows averaged and left out.
    spacing_pm, precision_pm : float
        Mean of the three spacings and its bootstrap standard deviation [pm].
    strain, strain_std, strain_total_std : float
        Relative change against the defect-free average; its statistical error, the budget's
        `sigma_stat`, which counts how little few windows tell of their scatter (without a budget
        the bootstrap's standard deviation); the same with what is known of systematic errors
        (fractions).
    purity : float
        Expected fraction of the windows averaged that are of this class.
    samples_pm : array, `(B,)`
        The bootstrap samples of the mean spacing [pm].
    """

    class_name: str
    n: int
    n_excluded: int
    spacing_pm: float
    precision_pm: float
    strain: float
    strain_std: float
    strain_total_std: float
    purity: float
    samples_pm: FloatArray


def nearest_metals(site_pm: FloatArray, is_metal: BoolArray) -> IntArray:
    """Indices of the three metal columns nearest the origin, `(3,)`, by angle.

    Raises
    ------
    DefectStrainError
        If there are fewer than three metal columns.
    """
    metal = np.flatnonzero(is_metal)
    if len(metal) < 3:
        raise DefectStrainError(
            f"spacings: got {len(metal)} metal columns, expected at least three around the origin"
        )
    nearest = metal[np.argsort(np.hypot(*site_pm[metal].T), kind="stable")[:3]]
    angle = np.arctan2(site_pm[nearest, 1], site_pm[nearest, 0])
    return np.asarray(nearest[np.argsort(angle)])


def nearest_metal_spacings(
    position_pm: FloatArray, site_pm: FloatArray, is_metal: BoolArray
) -> FloatArray:
    """The three spacings of the metal columns nearest the origin.

    Parameters
    ----------
    position_pm : array, `(..., M, 2)`
        Positions; leading axes are samples.
    site_pm : array, `(M, 2)`
        Ideal sites, which say which columns are nearest.
    is_metal : array of bool, `(M,)`

    Returns
    -------
    array, `(..., 3)`
        [pm].
    """
    corner = position_pm[..., nearest_metals(site_pm, is_metal), :]
    return np.asarray(np.linalg.norm(corner - np.roll(corner, 1, axis=-2), axis=-1))


def neighbouring_metals(fits: ColumnFits, a_pm: float) -> IntArray:
    """Pairs of metal columns one lattice constant apart, `(P, 2)`, both with a position."""
    metal = np.flatnonzero(fits.is_metal & np.isfinite(fits.position_pm[:, 0]))
    pairs = cKDTree(fits.site_pm[metal]).query_pairs(1.1 * a_pm, output_type="ndarray")
    return np.asarray(metal[pairs])


def mean_spacing(fits: ColumnFits, position_pm: FloatArray | None = None) -> float:
    """Mean of the three spacings around the origin [pm], of other positions if given `(M, 2)`."""
    position = fits.position_pm if position_pm is None else position_pm
    return float(nearest_metal_spacings(position, fits.site_pm, fits.is_metal).mean())


def spacing_gradient(
    position_pm: FloatArray, site_pm: FloatArray, is_metal: BoolArray
) -> FloatArray:
    """Derivative of the mean of the three spacings by all coordinates, `(2M,)`.

    Parameters
    ----------
    position_pm : array, `(M, 2)`
    site_pm : array, `(M, 2)`
    is_metal : array of bool, `(M,)`
    """
    corner = nearest_metals(site_pm, is_metal)
    gradient = np.zeros_like(site_pm, dtype=float)
    for first, second in zip(corner, np.roll(corner, 1), strict=True):
        along = position_pm[first] - position_pm[second]
        along = along / np.linalg.norm(along) / 3.0
        gradient[first] += along
        gradient[second] -= along
    return gradient.ravel()
