"""Relative shift of the two sublattices: an internal displacement of the cell, which is no strain.

A homogeneous strain moves both sublattices by one smooth field. What is left between them, the
"optical" part, changes within a cell: maps made from both sublattices differentiate it as if it
were strain, maps made from one do not see it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import Delaunay

from ..types import BoolArray, DefectStrainError, DisplacementField, FloatArray, IntArray
from .interpolation import interpolation_operators

MIN_METALS = 6


@dataclass(frozen=True)
class SublatticeShift:
    """Displacement of chalcogen columns less that of the metal sublattice at the same places.

    Parameters
    ----------
    class_name : str
    site_pm : array, `(K, 2)`
        Chalcogen columns within the hull of the metal columns [pm].
    shift_pm : array, `(K, 2)`
        [pm].
    covariance_pm2 : array, `(2K, 2K)`
        Of ``shift_pm.ravel()`` [pm^2].
    mean_pm, mean_sigma_pm : arrays, `(2,)`
        Mean over the columns and its standard error [pm]. The symmetry of a defect forbids one: it
        shows tilt or an error of registration.
    rms_pm, noise_rms_pm : float
        Root mean square length of the shifts, and what the errors alone would give [pm].
    """

    class_name: str
    site_pm: FloatArray
    shift_pm: FloatArray
    covariance_pm2: FloatArray
    mean_pm: FloatArray
    mean_sigma_pm: FloatArray
    rms_pm: float
    noise_rms_pm: float

    @property
    def is_significant(self) -> bool:
        """Whether shifts exceed twice what the errors alone would give."""
        return self.rms_pm > 2.0 * self.noise_rms_pm


def sublattice_shift(displacement: DisplacementField) -> SublatticeShift:
    """Estimate the relative shift of the sublattices, column by column.

    The metal displacements are interpolated by a thin-plate spline at the chalcogen columns. Next
    to a defect the field bends within a cell, which the metal columns alone can't follow: there
    part of the "shift" is strain that changes from column to column.

    Parameters
    ----------
    displacement : DisplacementField
        Columns without a displacement are left out.

    Raises
    ------
    DefectStrainError
        If fewer than six metal columns, or no chalcogen column among them, have a displacement.
    """
    known = np.asarray(np.isfinite(displacement.u_pm).all(axis=1))
    metal = np.flatnonzero(known & displacement.is_metal)
    if len(metal) < MIN_METALS:
        raise DefectStrainError(
            f"sublattices of {displacement.class_name}: got {len(metal)} metal columns with a "
            f"displacement, expected at least {MIN_METALS}; use larger windows"
        )
    chalcogen = _within(displacement.site_pm, metal, known & ~displacement.is_metal)
    if len(chalcogen) == 0:
        raise DefectStrainError(
            f"sublattices of {displacement.class_name}: got no chalcogen column between the metal "
            "columns, expected at least one; use larger windows"
        )
    site = displacement.site_pm
    at = interpolation_operators(site[metal], site[chalcogen], "rbf", 0.0).value
    difference = np.zeros((len(chalcogen), len(site)))
    difference[np.arange(len(chalcogen)), chalcogen] = 1.0
    difference[:, metal] -= at
    operator = np.kron(difference, np.eye(2))
    gone: BoolArray = np.repeat(~known, 2)
    covariance = np.where(gone[:, None] | gone, 0.0, displacement.covariance_pm2)
    shift = difference @ np.where(known[:, None], displacement.u_pm, 0.0)
    carried = operator @ covariance @ operator.T
    mean = np.tile(np.eye(2), len(chalcogen)) / len(chalcogen)
    return SublatticeShift(
        class_name=displacement.class_name,
        site_pm=site[chalcogen],
        shift_pm=shift,
        covariance_pm2=carried,
        mean_pm=shift.mean(axis=0),
        mean_sigma_pm=np.sqrt(np.maximum(np.diag(mean @ carried @ mean.T), 0.0)),
        rms_pm=float(np.sqrt(np.mean(np.sum(shift**2, axis=1)))),
        noise_rms_pm=float(np.sqrt(np.trace(carried) / len(chalcogen))),
    )


def _within(site_pm: FloatArray, metal: IntArray, chalcogen: BoolArray) -> IntArray:
    inside = Delaunay(site_pm[metal]).find_simplex(site_pm, tol=1e-9) >= 0
    return np.flatnonzero(chalcogen & inside)
