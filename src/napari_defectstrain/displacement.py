"""Displacement of each column: its position in a defect's average minus that in the reference."""

from __future__ import annotations

import numpy as np

from .types import BoolArray, ColumnFits, DefectStrainError, DisplacementField, FloatArray

FAR = 3.1
"""Columns beyond this many times the radius of the nearest metal columns (1.8 a) are far from the
defect; where a window holds none, all columns count, which is as good by symmetry but noisier."""

SAME_SITE_PM = 1.0


def displacement_field(
    fits: ColumnFits, reference: ColumnFits, remove_translation: bool = True
) -> DisplacementField:
    """Difference of two class averages at their common sites, in the lattice frame.

    Positions of the reference cancel what both averages share (scan distortion, residual errors
    of the profile). Registration leaves a common shift of the order of its error: the weighted
    mean displacement of the columns far from the defect is taken out, whose field has no mean
    there by the defect's threefold symmetry. An affine part is *not* taken out: each image was
    fixed to its lattice already, and a defect's far field, which falls as 1/r, is no affine map.

    Parameters
    ----------
    fits, reference : ColumnFits
        The defect's columns and the defect-free ones; independent windows.
    remove_translation : bool
        Whether to remove the far columns' mean displacement.

    Returns
    -------
    DisplacementField
        NaN where either fit has no position; the covariance is the sum of both, carried through
        the removal of the translation.

    Raises
    ------
    DefectStrainError
        If the two have no site in common.
    """
    distance = np.linalg.norm(fits.site_pm[:, None] - reference.site_pm[None], axis=2)
    partner = np.argmin(distance, axis=1)
    common = distance[np.arange(len(partner)), partner] < SAME_SITE_PM
    if not common.any():
        raise DefectStrainError(
            f"displacement of {fits.class_name}: got no site in common with "
            f"{reference.class_name}, expected averages of the same lattice"
        )
    partner = partner[common]
    u = fits.position_pm[common] - reference.position_pm[partner]
    first = np.repeat(common, 2)
    second = (2 * partner[:, None] + [0, 1]).ravel()
    covariance = (
        fits.covariance_pm2[np.ix_(first, first)] + reference.covariance_pm2[np.ix_(second, second)]
    )
    site, is_metal = fits.site_pm[common], fits.is_metal[common]
    missing = np.isnan(u).any(axis=1)
    u[missing] = np.nan
    if remove_translation:
        operator = _without_translation(_far(site, is_metal), covariance, missing)
        u = (operator @ np.where(missing[:, None], 0.0, u).ravel()).reshape(-1, 2)
        u[missing] = np.nan
        covariance = _carry(operator, covariance, missing)
    return DisplacementField(
        class_name=fits.class_name,
        site_pm=site,
        is_metal=is_metal,
        u_pm=u,
        covariance_pm2=covariance,
    )


def far_affine(field: DisplacementField) -> FloatArray:
    """Affine map that fits the far columns best: what is left of magnification, shear, rotation.

    Parameters
    ----------
    field : DisplacementField

    Returns
    -------
    array, `(2, 2)`
        ``A`` in ``u = t + A r``, rows ux, uy: reported, never taken out.

    Raises
    ------
    DefectStrainError
        If fewer than four far columns have a displacement.
    """
    far = _far(field.site_pm, field.is_metal) & np.isfinite(field.u_pm).all(axis=1)
    if far.sum() < 4:
        raise DefectStrainError(
            f"far columns of {field.class_name}: got {int(far.sum())}, expected at least 4; "
            "use larger windows"
        )
    design = np.column_stack([np.ones(far.sum()), field.site_pm[far]])
    return np.asarray(np.linalg.lstsq(design, field.u_pm[far], rcond=None)[0][1:].T)


def _far(site_pm: FloatArray, is_metal: BoolArray) -> BoolArray:
    radius = np.hypot(*site_pm.T)
    return np.asarray(radius > FAR * radius[is_metal].min(initial=np.inf))


def _without_translation(far: BoolArray, covariance: FloatArray, missing: BoolArray) -> FloatArray:
    """Linear map that takes the weighted mean of the far columns out of ``u.ravel()``."""
    far = far & ~missing
    if not far.any():
        far = ~missing
    variance = np.diag(covariance).reshape(-1, 2)
    good = far[:, None] & np.isfinite(variance) & (variance > 0)
    # Without errors (one window, or noise-free) every far column counts the same
    weight = np.where(good, 1.0 / np.where(good, variance, 1.0), 0.0)
    if not good[far].all():
        weight = np.repeat(far[:, None], 2, axis=1).astype(float)
    operator = np.eye(2 * len(far))
    for axis in range(2):
        operator[axis::2, axis::2] -= weight[:, axis] / max(weight[:, axis].sum(), 1e-300)
    return operator


def _carry(operator: FloatArray, covariance: FloatArray, missing: BoolArray) -> FloatArray:
    """Covariance after a linear map that gives the missing columns no weight."""
    gone = np.repeat(missing, 2)
    known = np.where(gone[:, None] | gone[None], 0.0, covariance)
    carried = operator @ known @ operator.T
    return np.asarray(np.where(gone[:, None] | gone[None], np.nan, carried))
