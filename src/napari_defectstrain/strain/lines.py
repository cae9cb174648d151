"""Strain or displacement along a line: measurement with its bands, models, and what differs.

Points along a line share their columns, so that their errors are strongly correlated: every
comparison here uses their covariance. Models go through the same interpolation and smoothing as
the measurement, at the same columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial import Delaunay

from ..types import (
    STRAIN_COMPONENTS,
    BoolArray,
    DefectStrainError,
    DisplacementField,
    FloatArray,
    IntArray,
)
from .bands import used_samples
from .chi_squared import Agreement, agreement, weighting
from .displacement import like_measured
from .extrema import Extremum, find_extrema, largest_of_noise
from .field import StrainConfig, point_operators, used_columns

DISPLACEMENT_COMPONENTS = ("ux", "uy")
COMPONENTS = (*STRAIN_COMPONENTS, *DISPLACEMENT_COMPONENTS)
NEAR_PM = 60.0
"""Columns up to this far from the line are marked along it."""

NULL = 1e-4
"""Eigenvalues of the points' correlation below this fraction of the largest are left out."""

MIN_LENGTH_PM = 50.0


@dataclass(frozen=True)
class LineColumns:
    """Columns near a line.

    Parameters
    ----------
    index : array of int, `(K,)`
        Columns of the displacement field, by their place along the line.
    position_pm, offset_pm : arrays, `(K,)`
        Place along the line, and distance from it, positive to the left of its direction [pm].
    is_metal : array of bool, `(K,)`
    """

    index: IntArray
    position_pm: FloatArray
    offset_pm: FloatArray
    is_metal: BoolArray


@dataclass(frozen=True)
class LineProfile:
    """One component along a line.

    Parameters
    ----------
    class_name : str
    component : str
        One of `COMPONENTS`.
    unit : str
        Of all values: ``1`` (strain), ``rad`` or ``pm``.
    position_pm : array, `(P,)`
        Along the line from start to end; 0 is the point nearest to the defect [pm].
    point_pm : array, `(P, 2)`
        The same points in the lattice frame (x, y) [pm].
    value, sigma : arrays, `(P,)`
        Measurement and its standard error.
    covariance : array, `(P, P)`
    low, high, bootstrap_std : arrays, `(P,)`, or None
        Full range and standard deviation over the bootstrap samples; None without samples.
    models : mapping of name to array, `(P,)`
    columns : LineColumns
    agreements : mapping of name to Agreement
        Chi squared of each model against the measured profile; its `rank` is the number of
        independent combinations of points. Empty where errors are unknown.
    extrema : tuple of Extremum
        Of the measurement.
    residual_extrema : mapping of name to tuple of Extremum
        Of the measurement less each model: what the model does not have.
    smoothing_pm : float
    """

    class_name: str
    component: str
    unit: str
    position_pm: FloatArray
    point_pm: FloatArray
    value: FloatArray
    sigma: FloatArray
    covariance: FloatArray
    low: FloatArray | None
    high: FloatArray | None
    bootstrap_std: FloatArray | None
    models: Mapping[str, FloatArray]
    columns: LineColumns
    agreements: Mapping[str, Agreement]
    extrema: tuple[Extremum, ...]
    residual_extrema: Mapping[str, tuple[Extremum, ...]]
    smoothing_pm: float

    def oscillations(self, model: str, level: float = 0.05) -> tuple[Extremum, ...]:
        """Extremes that the model lacks and noise would make with a probability below `level`."""
        return tuple(e for e in self.residual_extrema[model] if e.p_value < level)

    def table(self) -> pd.DataFrame:
        """One row a point: positions [pm], and values in the profile's unit."""
        name = self.component + ("_pm" if self.unit == "pm" else "")
        columns = {
            "position_pm": self.position_pm,
            "x_pm": self.point_pm[:, 0],
            "y_pm": self.point_pm[:, 1],
            name: self.value,
            "sigma": self.sigma,
        }
        if self.low is not None and self.high is not None and self.bootstrap_std is not None:
            columns |= {
                "bootstrap_std": self.bootstrap_std,
                "bootstrap_low": self.low,
                "bootstrap_high": self.high,
            }
        return pd.DataFrame(columns | dict(self.models))


def line_profile(
    displacement: DisplacementField,
    component: str = "eyy",
    start_pm: Sequence[float] | None = None,
    end_pm: Sequence[float] | None = None,
    config: StrainConfig | None = None,
    samples_pm: FloatArray | None = None,
    models: Mapping[str, DisplacementField] | None = None,
    windows: float = np.inf,
    step_pm: float = 5.0,
    rng: np.random.Generator | None = None,
) -> LineProfile:
    """Any component along a line, with its errors, beside models.

    Parameters
    ----------
    displacement : DisplacementField
    component : str
        ``exx``, ``eyy``, ``exy``, ``rotation``, ``dilation``, ``ux`` or ``uy``.
    start_pm, end_pm : (float, float), optional
        The line's ends (x, y) in the lattice frame [pm]; by default it crosses the defect along y.
        What lies outside the hull of the columns is cut off.
    config : StrainConfig, optional
        Interpolation, smoothing and sublattices.
    samples_pm : array, `(B, M, 2)`, optional
        Bootstrap samples (`displacement.displacement_samples`) [pm].
    models : mapping of name to DisplacementField, optional
        Predictions at the same sites, nothing taken out (`displacement.predicted_field`).
    windows : float
        `chi_squared.effective_windows`; by default the covariance counts as exact.
    step_pm : float
        Distance of the points [pm].
    rng : numpy Generator, optional
        For the noise that extremes are compared with; by default from a fixed seed, so that a
        profile is the same each time.

    Raises
    ------
    DefectStrainError
        If the component is unknown, the line lies outside or is too short, the columns are too
        few, the smoothing exceeds the window, or a model lacks columns.
    """
    config = config or StrainConfig()
    if component not in COMPONENTS:
        raise DefectStrainError(
            f"line profile: got the component {component!r}, expected one of "
            f"{', '.join(COMPONENTS)}"
        )
    use = used_columns(displacement, config)
    site = displacement.site_pm[use]
    position, point = _points(site, start_pm, end_pm, step_pm, displacement.class_name)
    operator = _line_operator(site, point, component, config)
    rows = np.repeat(use, 2)
    covariance = operator @ displacement.covariance_pm2[np.ix_(rows, rows)] @ operator.T
    value = operator @ displacement.u_pm[use].ravel()
    curves = {
        name: operator @ like_measured(model, displacement).u_pm[use].ravel()
        for name, model in (models or {}).items()
    }
    low, high, scatter = _bands(displacement, samples_pm, use, operator)
    agreements, extrema, others = _compare(
        position, value, covariance, curves, windows, displacement.class_name, rng
    )
    return LineProfile(
        class_name=displacement.class_name,
        component=component,
        unit=_unit(component),
        position_pm=position,
        point_pm=point,
        value=value,
        sigma=np.sqrt(np.maximum(np.diag(covariance), 0.0)),
        covariance=covariance,
        low=low,
        high=high,
        bootstrap_std=scatter,
        models=curves,
        columns=_columns_near(displacement, point, position),
        agreements=agreements,
        extrema=extrema,
        residual_extrema=others,
        smoothing_pm=config.smoothing_pm,
    )


def _unit(component: str) -> str:
    if component in DISPLACEMENT_COMPONENTS:
        return "pm"
    return "rad" if component == "rotation" else "1"


def _points(
    site_pm: FloatArray,
    start_pm: Sequence[float] | None,
    end_pm: Sequence[float] | None,
    step_pm: float,
    name: str,
) -> tuple[FloatArray, FloatArray]:
    """Places along the line and in the frame of the points within the hull of the columns."""
    reach = float(np.abs(site_pm).max())
    start = np.asarray((0.0, -reach) if start_pm is None else start_pm, dtype=float)
    end = np.asarray((0.0, reach) if end_pm is None else end_pm, dtype=float)
    if start.shape != (2,) or end.shape != (2,) or not np.isfinite([start, end]).all():
        raise DefectStrainError(
            f"line across {name}: got the ends {start.tolist()} and {end.tolist()}, expected two "
            "points (x, y)"
        )
    length = float(np.hypot(*(end - start)))
    if length < MIN_LENGTH_PM or not 0 < step_pm <= length / 4:
        raise DefectStrainError(
            f"line across {name}: got {length:.0f} pm in steps of {step_pm:g} pm, expected at "
            f"least {MIN_LENGTH_PM:g} pm and at least four steps"
        )
    direction = (end - start) / length
    foot = float(-start @ direction)  # where the line passes the defect
    first, last = np.ceil(-foot / step_pm), np.floor((length - foot) / step_pm)
    position = step_pm * np.arange(first, last + 1)
    point = start + (position + foot)[:, None] * direction
    inside = Delaunay(site_pm).find_simplex(point, tol=1e-9) >= 0
    if inside.sum() * step_pm < MIN_LENGTH_PM:
        raise DefectStrainError(
            f"line across {name}: got one from ({start[0]:.0f}, {start[1]:.0f}) to ({end[0]:.0f}, "
            f"{end[1]:.0f}) pm, expected a line between the columns, which reach {reach:.0f} pm "
            "from the defect; draw it across the average"
        )
    return position[inside], point[inside]


def _line_operator(
    site_pm: FloatArray, point_pm: FloatArray, component: str, config: StrainConfig
) -> FloatArray:
    """From ``u.ravel()`` of the columns used to the component at the points, `(P, 2K)`."""
    value, by_x, by_y = point_operators(site_pm, point_pm, config)
    none = np.zeros_like(value)
    from_x, from_y = {
        "ux": (value, none),
        "uy": (none, value),
        "exx": (by_x, none),
        "eyy": (none, by_y),
        "exy": (0.5 * by_y, 0.5 * by_x),
        "rotation": (-0.5 * by_y, 0.5 * by_x),
        "dilation": (by_x, by_y),
    }[component]
    return np.stack([from_x, from_y], axis=2).reshape(len(point_pm), -1)


def _bands(
    displacement: DisplacementField,
    samples_pm: FloatArray | None,
    use: BoolArray,
    operator: FloatArray,
) -> tuple[FloatArray | None, FloatArray | None, FloatArray | None]:
    if samples_pm is None:
        return None, None, None
    curves = operator @ used_samples(displacement, samples_pm, use)
    return curves.min(axis=1), curves.max(axis=1), curves.std(axis=1)


def _compare(
    position: FloatArray,
    value: FloatArray,
    covariance: FloatArray,
    curves: Mapping[str, FloatArray],
    windows: float,
    name: str,
    rng: np.random.Generator | None,
) -> tuple[dict[str, Agreement], tuple[Extremum, ...], dict[str, tuple[Extremum, ...]]]:
    """Chi squared of the models, and the extremes of measurement and residuals."""
    if not np.isfinite(covariance).all() or not (np.diag(covariance) > 0).all() or windows < 1:
        return {}, (), {}
    weigh = weighting(covariance, windows, "auto", f"line across {name}", NULL)
    agreements = {model: agreement(value - curve, weigh) for model, curve in curves.items()}
    noise = largest_of_noise(covariance, windows, rng or np.random.default_rng(0))
    extrema = find_extrema(position, value, covariance, noise)
    others = {
        model: find_extrema(position, value - curve, covariance, noise)
        for model, curve in curves.items()
    }
    return agreements, extrema, others


def _columns_near(
    displacement: DisplacementField, point_pm: FloatArray, position_pm: FloatArray
) -> LineColumns:
    direction = (point_pm[-1] - point_pm[0]) / (position_pm[-1] - position_pm[0])
    away = displacement.site_pm - point_pm[0]
    along = away @ direction + position_pm[0]
    offset = direction[0] * away[:, 1] - direction[1] * away[:, 0]
    on = (along >= position_pm[0] - 1.0) & (along <= position_pm[-1] + 1.0)
    near = np.flatnonzero(on & (np.abs(offset) <= NEAR_PM))
    near = near[np.argsort(along[near], kind="stable")]
    metal = np.asarray(displacement.sublattice == "metal")
    return LineColumns(near, along[near], offset[near], metal[near])
