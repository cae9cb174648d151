"""Displacement of each column: its position in a defect's average minus that in the reference.

Also what is compared with it: predictions and bootstrap samples, at the same columns, with the same
translation or affine map taken out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import chdtr, chdtri

from ..types import (
    BoolArray,
    ColumnFits,
    DefectStrainError,
    DisplacementField,
    FloatArray,
    IntArray,
)

FAR = 3.1
"""Columns beyond this many times the radius of the nearest metal columns (1.8 a) are far from the
defect; where a window holds none, all columns count, which is as good by symmetry but noisier."""

SAME_SITE_PM = 1.0
REMOVALS = ("none", "translation", "affine")
MIN_FAR = 6
"""Fewer far columns don't hold an affine map's three numbers an axis."""


def displacement_field(
    fits: ColumnFits, reference: ColumnFits, remove: str = "translation"
) -> DisplacementField:
    """Difference of two class averages at their common sites, in the lattice frame.

    Positions of the reference cancel what both averages share (scan distortion, residual errors
    of the profile). Registration leaves a common shift of the order of its error: the weighted
    mean displacement of the columns far from the defect is taken out, whose field has no mean
    there by the defect's threefold symmetry.

    By default no affine part is taken out: each image was fixed to its lattice already, and a
    defect's far field, which falls as 1/r, is no affine map, but an affine fit within a finite
    window takes part of it: of ``u = S r / r^2`` the fraction ``r^2 / <r^2>`` of the far columns,
    a dilation of ``2 S / <r^2>`` (0.2 % for S = 1000 pm^2 and windows of 1.25 nm).
    Take it out where the classes come from images of different magnification.

    Parameters
    ----------
    fits, reference : ColumnFits
        The defect's columns and the defect-free ones; independent windows.
    remove : str
        What the far columns say to take out: ``none``, ``translation`` or ``affine``
        (translation, magnification, shear and rotation).

    Returns
    -------
    DisplacementField
        NaN where either fit has no position; the covariance is the sum of both, carried through
        the removal, whose linear map is its `projection`.

    Raises
    ------
    DefectStrainError
        If `remove` is none of these, the two have no site in common, or too few far columns hold
        an affine map.
    """
    if remove not in REMOVALS:
        raise DefectStrainError(
            f"displacement: got remove = {remove!r}, expected one of {', '.join(REMOVALS)}"
        )
    common, partner = _common_sites(fits, reference)
    u = fits.position_pm[common] - reference.position_pm[partner]
    first = np.repeat(common, 2)
    second = (2 * partner[:, None] + [0, 1]).ravel()
    covariance = (
        fits.covariance_pm2[np.ix_(first, first)] + reference.covariance_pm2[np.ix_(second, second)]
    )
    site, is_metal = fits.site_pm[common], fits.is_metal[common]
    u[np.isnan(u).any(axis=1)] = np.nan
    field = DisplacementField(
        fits.class_name, site, is_metal, u, covariance, on_metal=fits.on_metal
    )
    if remove == "none":
        return field
    operator = _projection(field, remove)
    return DisplacementField(
        class_name=fits.class_name,
        site_pm=site,
        is_metal=is_metal,
        u_pm=_projected(u[None], operator)[0],
        covariance_pm2=_carry(operator, covariance, np.isnan(u[:, 0])),
        projection=operator,
        on_metal=fits.on_metal,
    )


def predicted_field(
    class_name: str, site_pm: FloatArray, is_metal: BoolArray, u_pm: FloatArray
) -> DisplacementField:
    """A displacement field without errors, of a model or a relaxed structure.

    Parameters
    ----------
    class_name : str
        Of the defect.
    site_pm : array, `(M, 2)`
        Sites in the lattice frame (x, y) [pm].
    is_metal : array of bool, `(M,)`
    u_pm : array, `(M, 2)`
        Defect less pristine (ux, uy) [pm]; NaN where there is no column.

    Returns
    -------
    DisplacementField
        Of zero covariance: it goes through the same strain code as a measurement.

    Raises
    ------
    DefectStrainError
        If the shapes don't agree.
    """
    site, metal, u = np.array(site_pm, float), np.array(is_metal, bool), np.array(u_pm, float)
    if site.ndim != 2 or site.shape != u.shape or u.shape != (len(metal), 2):
        raise DefectStrainError(
            f"prediction for {class_name}: got sites {site.shape}, sublattices {metal.shape} and "
            f"displacements {u.shape}, expected (M, 2), (M,) and (M, 2)"
        )
    return DisplacementField(class_name, site, metal, u, np.zeros((u.size, u.size)))


def like_measured(predicted: DisplacementField, measured: DisplacementField) -> DisplacementField:
    """A prediction at the measured columns, with taken out what was taken out of the measurement.

    Parameters
    ----------
    predicted : DisplacementField
        At other sites too, in any order, nothing taken out, or what comes from here already.
    measured : DisplacementField

    Returns
    -------
    DisplacementField
        Columns in the order of `measured`; NaN where it is, so that both have the same maps. The
        prediction's covariance is carried along.

    Raises
    ------
    DefectStrainError
        If the prediction lacks a column that was measured, or had something taken out already.
    """
    alike = predicted.projection is measured.projection
    if predicted.projection is not None and not alike:
        raise DefectStrainError(
            f"prediction for {predicted.class_name}: got one with another fit of far columns taken "
            "out, expected plain displacements"
        )
    distance = np.linalg.norm(measured.site_pm[:, None] - predicted.site_pm[None], axis=2)
    partner = np.argmin(distance, axis=1)
    known = _known(measured)
    found = distance[np.arange(len(partner)), partner] < SAME_SITE_PM
    lacking = known & ~(found & np.isfinite(predicted.u_pm[partner]).all(axis=1))
    if lacking.any():
        nearest = np.hypot(*measured.site_pm[lacking].T).min()
        raise DefectStrainError(
            f"prediction for {measured.class_name}: {int(lacking.sum())} of {int(known.sum())} "
            f"measured columns are not in it, the nearest {nearest:.0f} pm from the defect, "
            "expected all; use a larger supercell or smaller windows"
        )
    u = np.where(known[:, None], predicted.u_pm[partner], np.nan)
    rows = (2 * partner[:, None] + [0, 1]).ravel()
    covariance = predicted.covariance_pm2[np.ix_(rows, rows)]
    operator = measured.projection
    if operator is not None:
        u = _projected(u[None], operator)[0]
        covariance = _carry(operator, covariance, ~known)
    return replace(measured, u_pm=u, covariance_pm2=covariance)


def displacement_samples(field: DisplacementField, samples_pm: FloatArray) -> FloatArray:
    """Bootstrap samples of a displacement, with taken out what was taken out of the measurement.

    Parameters
    ----------
    field : DisplacementField
    samples_pm : array, `(B, M, 2)`
        Samples of position less reference at the field's columns, nothing taken out
        (`bootstrap.bootstrap_displacements`) [pm].

    Returns
    -------
    array, `(B, M, 2)`
        [pm]; NaN at columns that the field has no displacement of.

    Raises
    ------
    DefectStrainError
        If they are samples of other columns.
    """
    if samples_pm.ndim != 3 or samples_pm.shape[1:] != field.u_pm.shape:
        raise DefectStrainError(
            f"samples of {field.class_name}: got an array of shape {samples_pm.shape}, expected "
            f"(samples, {len(field.u_pm)}, 2), the columns of its displacement"
        )
    missing = ~_known(field)
    samples = np.where(missing[:, None], np.nan, samples_pm)
    return samples if field.projection is None else _projected(samples, field.projection)


@dataclass(frozen=True)
class FarAffine:
    """Affine map that fits the far columns' displacements best.

    Parameters
    ----------
    gradient, sigma : arrays, `(2, 2)`
        ``A`` in ``u = t + A r``, rows ux, uy, and its standard errors.
    n_columns : int
        Far columns with a displacement.
    """

    gradient: FloatArray
    sigma: FloatArray
    n_columns: int


def far_affine(field: DisplacementField) -> FarAffine:
    """What is left of magnification, shear and rotation far from the defect.

    A defect's own far field has such a part too, see `displacement_field`.

    Parameters
    ----------
    field : DisplacementField

    Raises
    ------
    DefectStrainError
        If fewer than six far columns have a displacement.
    """
    known = _known(field)
    far = _far_enough(field, known)
    solve = np.linalg.pinv(np.column_stack([np.ones(far.sum()), field.site_pm[far]]))[1:]
    operator = np.kron(solve, np.eye(2))  # (du/dx, du/dy) of ux, uy
    rows = np.repeat(far, 2)
    covariance = operator @ field.covariance_pm2[np.ix_(rows, rows)] @ operator.T
    return FarAffine(
        gradient=np.asarray((solve @ field.u_pm[far]).T),
        sigma=np.sqrt(np.maximum(np.diag(covariance), 0.0)).reshape(2, 2).T,
        n_columns=int(far.sum()),
    )


@dataclass(frozen=True)
class ErrorEllipses:
    """Regions that hold the true displacements with some confidence each.

    Parameters
    ----------
    semi_axes_pm : array, `(M, 2)`
        Major and minor [pm]; NaN where the covariance is.
    angle_rad : array, `(M,)`
        Of the major axis, counter-clockwise from x, in (-pi/2, pi/2].
    confidence : float
        Probability that one ellipse holds its column's true displacement.
    """

    semi_axes_pm: FloatArray
    angle_rad: FloatArray
    confidence: float


def error_ellipses(
    field: DisplacementField, sigma: float = 1.0, confidence: float | None = None
) -> ErrorEllipses:
    """The error of each displacement in the plane, from its 2 x 2 covariance.

    Parameters
    ----------
    field : DisplacementField
    sigma : float
        Size in standard deviations: 1 holds 39.3 % in the plane, 2 hold 86.5 %.
    confidence : float, optional
        Instead of `sigma`: ``sigma^2 = -2 log(1 - confidence)``.

    Raises
    ------
    DefectStrainError
        If `sigma` is not positive, or `confidence` not between 0 and 1.
    """
    if confidence is not None:
        if not 0.0 < confidence < 1.0:
            raise DefectStrainError(
                f"error ellipses: got a confidence of {confidence:g}, expected between 0 and 1"
            )
        sigma = float(np.sqrt(chdtri(2, 1.0 - confidence)))
    if not 0.0 < sigma < np.inf:
        raise DefectStrainError(f"error ellipses: got {sigma:g} sigma, expected more than 0")
    m = len(field.u_pm)
    block = field.covariance_pm2.reshape(m, 2, m, 2)[np.arange(m), :, np.arange(m)]  # (m, 2, 2)
    known = np.isfinite(block).all(axis=(1, 2)) & np.isfinite(field.u_pm).all(axis=1)
    axes, angle = np.full((m, 2), np.nan), np.full(m, np.nan)
    values, vectors = np.linalg.eigh(block[known])  # ascending
    axes[known] = sigma * np.sqrt(np.maximum(values[:, ::-1], 0.0))
    major = vectors[:, :, 1]
    major = major * np.where(major[:, :1] < 0, -1.0, 1.0)
    angle[known] = np.arctan2(major[:, 1], major[:, 0])
    return ErrorEllipses(axes, angle, float(chdtr(2, sigma**2)))


def _common_sites(fits: ColumnFits, reference: ColumnFits) -> tuple[BoolArray, IntArray]:
    """Which columns of `fits` the reference has too, and which of its columns they are."""
    distance = np.linalg.norm(fits.site_pm[:, None] - reference.site_pm[None], axis=2)
    partner = np.argmin(distance, axis=1)
    common = distance[np.arange(len(partner)), partner] < SAME_SITE_PM
    if not common.any():
        raise DefectStrainError(
            f"displacement of {fits.class_name}: got no site in common with "
            f"{reference.class_name}, expected averages of the same lattice"
        )
    return common, partner[common]


def _known(field: DisplacementField) -> BoolArray:
    """Columns with a displacement, `(M,)`."""
    return np.asarray(np.isfinite(field.u_pm).all(axis=1))


def _far(field: DisplacementField) -> BoolArray:
    radius = np.hypot(*field.site_pm.T)
    return np.asarray(radius > FAR * radius[field.is_metal].min(initial=np.inf))


def _far_enough(field: DisplacementField, known: BoolArray) -> BoolArray:
    far = _far(field) & known
    if far.sum() < MIN_FAR:
        raise DefectStrainError(
            f"far columns of {field.class_name}: got {int(far.sum())}, expected at least "
            f"{MIN_FAR}; use larger windows"
        )
    return far


def _projection(field: DisplacementField, remove: str) -> FloatArray:
    """Linear map that takes the far columns' weighted fit out of ``u.ravel()``.

    Columns without a displacement have no say and stay as they are.
    """
    known = _known(field)
    design = np.ones((len(known), 1))
    if remove == "affine":
        far = _far_enough(field, known)
        design = np.column_stack([design, field.site_pm / np.abs(field.site_pm).max()])
    else:
        far = _far(field) & known
        far = far if far.any() else known
    variance = np.diag(field.covariance_pm2).reshape(-1, 2)
    good = far[:, None] & np.isfinite(variance) & (variance > 0)
    # Without errors (one window, or noise-free) every far column counts the same
    weight = np.where(good, 1.0 / np.where(good, variance, 1.0), 0.0)
    if not good[far].all():
        weight = np.repeat(far[:, None], 2, axis=1).astype(float)
    operator = np.eye(2 * len(known))
    for axis in range(2):
        weighted = design * weight[:, axis : axis + 1]
        operator[axis::2, axis::2] -= design @ np.linalg.pinv(weighted.T @ design) @ weighted.T
    gone = np.repeat(~known, 2)
    operator[gone] = np.eye(2 * len(known))[gone]
    return operator


def _projected(u_pm: FloatArray, operator: FloatArray) -> FloatArray:
    """The map applied to displacements `(B, M, 2)` whose NaN it gives no weight."""
    missing = np.isnan(u_pm)
    flat = np.where(missing, 0.0, u_pm).reshape(len(u_pm), -1) @ operator.T
    return np.where(missing, np.nan, flat.reshape(u_pm.shape))


def _carry(operator: FloatArray, covariance: FloatArray, missing: BoolArray) -> FloatArray:
    """Covariance after a linear map that gives the missing columns no weight."""
    gone = np.repeat(missing, 2)
    known = np.where(gone[:, None] | gone[None], 0.0, covariance)
    carried = operator @ known @ operator.T
    return np.asarray(np.where(gone[:, None] | gone[None], np.nan, carried))
