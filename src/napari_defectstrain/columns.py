"""Column positions of class averages: all columns together, and what each window says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .column_models import fit_single, fit_start, fit_together
from .column_types import (
    FLAGS,
    Alternative,
    ColumnConfig,
    ColumnFitModel,
    ColumnMeasurement,
    check_averages,
)
from .types import (
    ClassAverage,
    ClassStack,
    FloatArray,
    Progress,
    no_progress,
)

__all__ = [
    "FLAGS",
    "Alternative",
    "ColumnConfig",
    "ColumnFitModel",
    "ColumnMeasurement",
    "fit_columns",
    "influence",
    "measure_columns",
]

CHECK_PRIOR = 5.0
START_TOLERANCE_PM = 0.3


def fit_columns(
    averages: Mapping[str, ClassAverage],
    config: ColumnConfig | None = None,
    progress: Progress = no_progress,
) -> dict[str, ColumnFitModel]:
    """Positions of all columns of each class average.

    Parameters
    ----------
    averages : mapping of class to ClassAverage
        Of one lattice frame: equal size, step and lattice constant.
    config : ColumnConfig, optional
    progress : Progress

    Returns
    -------
    dict of class to ColumnFitModel
        In the order of `averages`. Columns are those of `lattice.ideal_sites` within the reported
        radius, in its order: the same for all classes.

    Raises
    ------
    DefectStrainError
        If there is nothing to fit, the averages differ in their frame, hold NaN, or are too small.
    """
    config = config or ColumnConfig()
    check_averages(averages, config)
    if config.model == "gaussian":
        return {name: fit_single(a, config) for name, a in averages.items()}
    start = fit_start(averages, config, lambda f, m: progress(0.4 * f, m))
    return fit_together(averages, config, start, lambda f, m: progress(0.4 + 0.6 * f, m))


def influence(model: ColumnFitModel, stack: ClassStack) -> FloatArray:
    """Influence of each window on each fitted position, `(N, 2M)` [pm].

    The Gauss-Newton step from the fit of the average to that of the window alone, less its mean
    over the windows (zero up to the fit's tolerance): the fit of the average of any sample of
    windows is shifted by the sample's mean influence, to first order in that shift.

    Parameters
    ----------
    model : ColumnFitModel
        The fit of this stack's average.
    stack : ClassStack
        Only included windows count.

    Returns
    -------
    array, `(N, 2M)`
        Columns as ``position_pm.ravel()``; NaN where there is no position.
    """
    return _project(model.operator, model, stack)


def measure_columns(
    stacks: Mapping[str, ClassStack],
    averages: Mapping[str, ClassAverage],
    config: ColumnConfig | None = None,
    progress: Progress = no_progress,
) -> dict[str, ColumnMeasurement]:
    """Fit all columns of all class averages, with the covariance of the windows' scatter.

    The covariance is the empirical ("sandwich") one: ``sum of outer(influence) / (N (N - 1))``.
    It needs no model of the noise, holds for correlated pixels, jitter and registration, and is
    NaN for a single window. The learnt profile is taken as known; its own error, from the
    windows of all classes, is in `ColumnMeasurement.profile_shift_pm`.

    Parameters
    ----------
    stacks, averages : mappings by class
        Windows and their averages (`average.average_stack`).
    config : ColumnConfig, optional
    progress : Progress

    Raises
    ------
    DefectStrainError
        As `fit_columns`.
    """
    config = config or ColumnConfig()
    check_averages(averages, config)
    if config.model == "gaussian":
        models = checks = fit_columns(averages, config)
    else:
        start = fit_start(averages, config, lambda f, m: progress(0.3 * f, m))
        models = checks = fit_together(
            averages, config, start, lambda f, m: progress(0.3 + 0.3 * f, m)
        )
    if config.model == "profile":
        loose = CHECK_PRIOR * config.prior_sigma
        other = config.replace(n_coefficients=config.check_coefficients, prior_sigma=loose)
        checks = fit_together(averages, other, start, lambda f, m: progress(0.6 + 0.3 * f, m))
    shifts: dict[str, FloatArray] = {}
    covariance = np.zeros((len(next(iter(models.values())).profile_operator),) * 2)
    for name, model in models.items():
        shifts[name] = influence(model, stacks[name])
        by_window = _project(model.profile_operator, model, stacks[name])
        covariance += by_window.T @ by_window
    root = _square_root(covariance)
    progress(1.0, "Measured all columns")
    return {
        name: ColumnMeasurement(
            fits=replace(model.fits, covariance_pm2=_sandwich(shifts[name])),
            influence_pm=shifts[name],
            profile_shift_pm=model.profile_gain @ root,
            check_position_pm=checks[name].fits.position_pm,
            model=model,
        )
        for name, model in models.items()
    }


def _project(operator: FloatArray, model: ColumnFitModel, stack: ClassStack) -> FloatArray:
    windows = stack.windows[stack.included][:, model.pixel]
    response = (windows - model.model) @ operator.T
    return np.asarray(response - response.mean(axis=0))


def _sandwich(influence_pm: FloatArray) -> FloatArray:
    n = len(influence_pm)
    if n < 2:
        return np.full((influence_pm.shape[1],) * 2, np.nan)
    return np.asarray(influence_pm.T @ influence_pm / (n * (n - 1)))


def _square_root(covariance: FloatArray) -> FloatArray:
    value, vector = np.linalg.eigh(covariance)
    return np.asarray(vector * np.sqrt(np.maximum(value, 0.0)))
