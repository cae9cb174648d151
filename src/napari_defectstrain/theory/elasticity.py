"""The elastic model of a point defect: Eshelby's inclusion in two dimensions, and its fit.

A disc of radius R, cut out of an infinite isotropic sheet, would grow by the stress-free strain
``e`` in all directions; put back, it and the sheet deform each other (Eshelby 1957,
doi:10.1098/rspa.1957.0133; Mura, Micromechanics of Defects in Solids, 1987,
doi:10.1007/978-94-009-3489-4, section 11). A displacement without curl, ``u = grad phi``, balances
all forces if ``div u`` is constant on each side of the rim; finite at the centre and vanishing far
away,

``u = A r`` for ``r < R`` and ``u = A R^2 r / r^2`` beyond.

The radial stress is ``2 K (A - e)`` inside (plane stress, K the 2D bulk modulus) and ``-2 mu A``
just outside; they are equal for ``A = e K / (K + mu) = e (1 + nu) / 2``.

Inside, ``exx = eyy = A``; outside, with the polar angle t and ``S = A R^2``,
``exx = -S cos(2t) / r^2 = -eyy`` and ``exy = -S sin(2t) / r^2``. There is no dilation outside, and
no rotation anywhere. Far columns know S alone: A and R are strongly coupled, S is well determined.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import chdtri

from ..strain.chi_squared import Agreement, Weighting, agreement, estimation_factor, weighting
from ..strain.displacement import like_measured, predicted_field
from ..strain.field import StrainConfig, point_operators, used_columns
from ..types import BoolArray, DefectStrainError, DisplacementField, FloatArray

TARGETS = ("displacement", "dilation")
MIN_COLUMNS = 4
GRID = 400
"""Radii at which chi squared is scanned."""


def inclusion_displacement(
    offset_pm: FloatArray, strength_pm2: float, radius_pm: float
) -> FloatArray:
    """Displacement around an inclusion at the origin, `(..., 2)` [pm].

    Parameters
    ----------
    offset_pm : array, `(..., 2)`
        Places (x, y) [pm].
    strength_pm2 : float
        ``S = A R^2``; positive pushes outwards [pm^2].
    radius_pm : float
        R [pm].
    """
    r2 = np.maximum(np.sum(np.square(offset_pm), axis=-1, keepdims=True), radius_pm**2)
    scale = np.divide(strength_pm2, r2, out=np.zeros_like(r2), where=r2 > 0)
    return np.asarray(scale * offset_pm)


def inclusion_strain(
    offset_pm: FloatArray, strength_pm2: float, radius_pm: float
) -> dict[str, FloatArray]:
    """All components around an inclusion at the origin, unsmoothed, `(...)` each.

    Parameters
    ----------
    offset_pm : array, `(..., 2)`
        Places (x, y) [pm].
    strength_pm2, radius_pm : float
        As in `inclusion_displacement`; the radius is positive.
    """
    x, y = offset_pm[..., 0], offset_pm[..., 1]
    r2 = x**2 + y**2
    inside = r2 < radius_pm**2
    outer = np.where(inside, 0.0, strength_pm2 / np.where(inside, 1.0, r2**2))
    inner = np.where(inside, strength_pm2 / radius_pm**2, 0.0)
    return {
        "exx": inner + outer * (y**2 - x**2),
        "eyy": inner - outer * (y**2 - x**2),
        "exy": -2.0 * outer * x * y,
        "rotation": np.zeros_like(r2),
        "dilation": 2.0 * inner,
    }


@dataclass(frozen=True)
class InclusionFit:
    """The inclusion that fits a measured displacement best.

    Intervals are of the profile likelihood; where the model is rejected (`agreement`) they say
    what the noise allows, not what is true.

    Parameters
    ----------
    class_name : str
    target : str
        What was fitted: ``displacement`` or ``dilation``.
    strength_pm2, strength_sigma_pm2 : float
        ``S = A R^2`` and its standard error, with R left free [pm^2].
    radius_pm : float
        R [pm]; where it is not resolved, that of the innermost columns.
    radius_interval_pm : (float, float)
        From 0 where every smaller radius fits as well; to inf where larger ones than the window do.
    confidence : float
        Of the interval.
    agreement : Agreement
        Chi squared of what was fitted.
    scan_radius_pm, scan_chi2 : arrays, `(K,)`
        Chi squared against the radius, the strength fitted at each.
    residual : DisplacementField
        Measurement less model; its covariance is less that of the fitted strength.
    """

    class_name: str
    target: str
    strength_pm2: float
    strength_sigma_pm2: float
    radius_pm: float
    radius_interval_pm: tuple[float, float]
    confidence: float
    agreement: Agreement
    scan_radius_pm: FloatArray
    scan_chi2: FloatArray
    residual: DisplacementField

    @property
    def radius_resolved(self) -> bool:
        """Whether the radius is bounded on both sides."""
        low, high = self.radius_interval_pm
        return low > 0 and bool(np.isfinite(high))

    @property
    def inner_strain(self) -> float:
        """``A = S / R^2``, half the dilation inside; NaN where the radius is not resolved."""
        return self.strength_pm2 / self.radius_pm**2 if self.radius_resolved else np.nan

    def displacement(self, offset_pm: FloatArray) -> FloatArray:
        """The model's displacement at places `(..., 2)` [pm]."""
        return inclusion_displacement(offset_pm, self.strength_pm2, self.radius_pm)

    def strain(self, offset_pm: FloatArray) -> dict[str, FloatArray]:
        """The model's strain at places `(..., 2)`, as it is: neither sampled nor smoothed."""
        return inclusion_strain(offset_pm, self.strength_pm2, self.radius_pm)

    def predicted(self, measured: DisplacementField) -> DisplacementField:
        """The model at the measured columns, for the same interpolation and smoothing."""
        u = self.displacement(measured.site_pm)
        plain = predicted_field(self.class_name, measured.site_pm, measured.is_metal, u)
        return like_measured(plain, measured)

    def decay_radius_pm(self, threshold_pm: float = 1.0) -> float:
        """Radius beyond which the displacement is below a threshold [pm]; 0 if it always is."""
        if abs(self.strength_pm2) <= threshold_pm * self.radius_pm:
            return 0.0
        return abs(self.strength_pm2) / threshold_pm


def fit_inclusion(
    displacement: DisplacementField,
    target: str = "displacement",
    config: StrainConfig | None = None,
    windows: float = np.inf,
    weights: str = "auto",
    confidence: float = 0.6827,
) -> InclusionFit:
    """Fit Eshelby's inclusion, centred on the defect, by least squares.

    Minimises ``|W (d - S g(R))|^2`` over S and R, with ``g`` the unit inclusion at the measured
    columns, less what was taken out of the measurement, and W from the covariance. S is linear:
    chi squared is scanned over R alone. A radius smaller than that of the innermost displaced
    columns can't be told from it.

    Parameters
    ----------
    displacement : DisplacementField
        With its covariance.
    target : str
        ``displacement``: of all columns; ``dilation``: of the smoothed strain map at all columns,
        through the same interpolation for the model.
    config : StrainConfig, optional
        Of the strain map; with the target ``displacement`` its `columns` alone matter.
    windows : float
        `chi_squared.effective_windows`; by default the covariance counts as exact.
    weights : str
        ``auto``, ``full`` (generalised least squares) or ``diagonal``, see `chi_squared.weighting`.
    confidence : float
        Of the radius' interval.

    Raises
    ------
    DefectStrainError
        If the target is unknown, there are too few columns, or their errors are unknown or zero.
    """
    config = config or StrainConfig()
    if target not in TARGETS:
        raise DefectStrainError(
            f"inclusion: got the target {target!r}, expected one of {', '.join(TARGETS)}"
        )
    if not 0.0 < confidence < 1.0:
        raise DefectStrainError(
            f"inclusion: got a confidence of {confidence:g}, expected between 0 and 1"
        )
    use = _used(displacement, config)
    transform = _target_operator(displacement, use, config, target)  # (n, 2M)
    missing = np.repeat(~np.isfinite(displacement.u_pm).all(axis=1), 2)
    covariance = np.where(missing[:, None] | missing, 0.0, displacement.covariance_pm2)
    data = transform @ np.where(missing, 0.0, displacement.u_pm.ravel())
    what = f"errors of {displacement.class_name}"
    weigh = weighting(transform @ covariance @ transform.T, windows, weights, what)
    if displacement.projection is not None:
        transform = transform @ displacement.projection

    def unit(radius: float) -> FloatArray:
        return transform @ inclusion_displacement(displacement.site_pm, 1.0, radius).ravel()

    scan = _scan(data, unit, weigh, _radii(displacement, use), confidence)
    jacobian = _jacobian(unit, scan)
    predicted = scan.strength * inclusion_displacement(displacement.site_pm, 1.0, scan.radius)
    return InclusionFit(
        class_name=displacement.class_name,
        target=target,
        strength_pm2=scan.strength,
        strength_sigma_pm2=scan.strength_sigma,
        radius_pm=scan.radius,
        radius_interval_pm=scan.interval,
        confidence=confidence,
        agreement=agreement(data - scan.strength * unit(scan.radius), weigh, jacobian),
        scan_radius_pm=scan.radii,
        scan_chi2=scan.chi2,
        residual=_residual(displacement, predicted, scan, weigh, transform, unit(scan.radius)),
    )


@dataclass(frozen=True)
class _Scan:
    radii: FloatArray
    chi2: FloatArray
    radius: float
    strength: float
    strength_sigma: float
    interval: tuple[float, float]


def _used(displacement: DisplacementField, config: StrainConfig) -> BoolArray:
    use = used_columns(displacement, config.replace(smoothing_pm=0.0))
    moved = use & (np.hypot(*displacement.site_pm.T) > 0)
    if moved.sum() < MIN_COLUMNS:
        raise DefectStrainError(
            f"inclusion at {displacement.class_name}: got {int(moved.sum())} columns around it, "
            f"expected at least {MIN_COLUMNS}; use larger windows"
        )
    return use


def _target_operator(
    displacement: DisplacementField, use: BoolArray, config: StrainConfig, target: str
) -> FloatArray:
    """From ``u.ravel()`` of all columns to what is fitted, `(n, 2M)`."""
    chosen = np.eye(2 * len(use))[np.repeat(use, 2)]
    if target == "displacement":
        return np.asarray(chosen)
    site = displacement.site_pm[use]
    used_columns(displacement, config)  # refuses a smoothing beyond the window
    _, by_x, by_y = point_operators(site, site, config)
    dilation = np.stack([by_x, by_y], axis=2).reshape(len(site), -1)
    return np.asarray(dilation @ chosen)


def _radii(displacement: DisplacementField, use: BoolArray) -> FloatArray:
    radius = np.hypot(*displacement.site_pm[use].T)
    return np.linspace(radius[radius > 1e-6].min(), radius.max(), GRID)


def _scan(
    data: FloatArray,
    unit: Callable[[float], FloatArray],
    weigh: Weighting,
    radii: FloatArray,
    confidence: float,
) -> _Scan:
    """Best strength at every radius, the best radius, and the intervals of the likelihood."""
    z = weigh.root @ data

    def at(radius: float) -> tuple[float, float, float]:
        g = weigh.root @ unit(radius)
        norm = float(g @ g)
        strength = float(g @ z) / norm
        return float(z @ z) - strength**2 * norm, strength, norm

    table = np.array([at(radius) for radius in radii])
    best = int(np.argmin(table[:, 0]))
    radius = float(radii[best])
    if best > 0:
        bounds = (radii[best - 1], radii[min(best + 1, len(radii) - 1)])
        found = minimize_scalar(lambda r: at(r)[0], bounds=bounds, method="bounded")
        if found.fun < table[best, 0]:
            radius = float(found.x)
    lowest, strength, norm = at(radius)
    # with diagonal weights chi squared is no likelihood: its scale is that of the strength's
    # true variance over its nominal one
    g = weigh.root @ unit(radius) / norm
    inflation = float(g @ weigh.root @ weigh.covariance @ weigh.root.T @ g) * norm
    inflation *= estimation_factor(weigh, 1)[0]
    excess = np.append(table[:, 0], lowest) - lowest
    strengths, norms = np.append(table[:, 1], strength), np.append(table[:, 2], norm)
    near = excess <= inflation
    half = np.sqrt((inflation - excess[near]) / norms[near])
    span = np.max(strengths[near] + half) - np.min(strengths[near] - half)
    allowed = excess <= inflation * chdtri(1, 1.0 - confidence)
    places = np.append(radii, radius)[allowed]
    low = 0.0 if allowed[0] else float(places.min())
    high = np.inf if allowed[len(radii) - 1] else float(places.max())
    return _Scan(radii, table[:, 0], radius, strength, 0.5 * float(span), (low, high))


def _jacobian(unit: Callable[[float], FloatArray], scan: _Scan) -> FloatArray:
    """By the strength and, where it changes anything, by the radius."""
    columns = [unit(scan.radius)]
    if scan.radius > scan.radii[0]:
        step = 0.5 * (scan.radii[1] - scan.radii[0])
        columns.append(scan.strength * (unit(scan.radius + step) - unit(scan.radius - step)))
    return np.stack(columns, axis=1)


def _residual(
    displacement: DisplacementField,
    predicted: FloatArray,
    scan: _Scan,
    weigh: Weighting,
    transform: FloatArray,
    unit: FloatArray,
) -> DisplacementField:
    """Measurement less model, with the covariance that the fitted strength leaves."""
    plain = predicted_field(
        displacement.class_name, displacement.site_pm, displacement.is_metal, predicted
    )
    model = like_measured(plain, displacement).u_pm
    shape = np.where(np.isfinite(model), model, 0.0).ravel() / (scan.strength or 1.0)
    fitted = weigh.root.T @ (weigh.root @ unit)
    # the transform holds the projection already, which does nothing to what was projected before
    hat = np.eye(shape.size) - np.outer(shape, fitted @ transform) / (fitted @ unit)
    unknown = np.isnan(displacement.covariance_pm2)
    known = np.where(unknown, 0.0, displacement.covariance_pm2)
    covariance = np.where(unknown, np.nan, hat @ known @ hat.T)
    return DisplacementField(
        displacement.class_name,
        displacement.site_pm,
        displacement.is_metal,
        displacement.u_pm - model,
        covariance,
        displacement.projection,
        displacement.on_metal,
    )
