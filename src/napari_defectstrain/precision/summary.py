"""Spacings of class averages with their precision and total error."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..columns.averages.measure import ColumnMeasurement
from ..types import ClassAverage, DefectStrainError, FloatArray, Progress, no_progress
from .bootstrap import (
    PAPER_SAMPLES,
    ClassBootstrap,
    bootstrap_classes,
    bootstrap_positions,
)
from .budget import ErrorBudget
from .spacings import SpacingResult, mean_spacing, nearest_metal_spacings

__all__ = [
    "bootstrap_positions",
    "nearest_metal_spacings",
    "single_window_spacings",
    "spacing_results",
    "summarise_spacings",
]


def single_window_spacings(measurement: ColumnMeasurement) -> FloatArray:
    """The three spacings in each single window, `(N, 3)` [pm] (Fig. 3a).

    Positions by one Gauss-Newton step from the fit of the average.
    """
    fits = measurement.fits
    shape = (-1, *fits.position_pm.shape)
    position = fits.position_pm + measurement.influence_pm.reshape(shape)
    return nearest_metal_spacings(position, fits.site_pm, fits.is_metal)


def spacing_results(
    measurements: Mapping[str, ColumnMeasurement],
    averages: Mapping[str, ClassAverage],
    reference: str,
    rng: np.random.Generator,
    n_samples: int = PAPER_SAMPLES,
    progress: Progress = no_progress,
) -> dict[str, SpacingResult]:
    """Bootstrap over windows, and `summarise_spacings` without systematic errors.

    Parameters
    ----------
    measurements : mapping of class to ColumnMeasurement
    averages : mapping of class to ClassAverage
        For N and purity.
    reference : str
        The defect-free class.
    rng : numpy Generator
    n_samples : int
        Bootstrap samples.
    progress : Progress

    Raises
    ------
    DefectStrainError
        If the reference is missing.
    """
    _check_reference(measurements, reference)
    images = {n: np.zeros(len(m.influence_pm), dtype=int) for n, m in measurements.items()}
    drawn = bootstrap_classes(measurements, images, reference, rng, n_samples, progress)
    return summarise_spacings(measurements, averages, reference, drawn)


def summarise_spacings(
    measurements: Mapping[str, ColumnMeasurement],
    averages: Mapping[str, ClassAverage],
    reference: str,
    bootstraps: Mapping[str, ClassBootstrap],
    budgets: Mapping[str, ErrorBudget] | None = None,
) -> dict[str, SpacingResult]:
    """Spacing of the three nearest metal columns of each class, and its strain.

    ``strain = spacing / spacing of the reference - 1``: relative to the defect-free average of the
    same images, which is all that they can tell. `strain_std` and `strain_total_std` are the
    budget's, statistical alone and with what is systematic. `precision_pm` is the paper's: the
    bootstrap's standard deviation of the spacing, which takes the scatter of few windows for known.

    Parameters
    ----------
    measurements : mapping of class to ColumnMeasurement
    averages : mapping of class to ClassAverage
        For N and purity.
    reference : str
        The defect-free class.
    bootstraps : mapping of class to ClassBootstrap
    budgets : mapping of class to ErrorBudget, optional
        Without, both errors of the strain are the bootstrap's standard deviation of the ratio,
        windows of both classes drawn anew.

    Returns
    -------
    dict of class to SpacingResult
        In the order of `measurements`; the reference has strain 0 and no error of it. For a single
        window, of the class or of the reference, precision and errors are NaN.

    Raises
    ------
    DefectStrainError
        If the reference is missing.
    """
    _check_reference(measurements, reference)
    base = mean_spacing(measurements[reference].fits)
    results = {}
    for name, measurement in measurements.items():
        spacing = mean_spacing(measurement.fits)
        samples = bootstraps[name].spacing_pm
        known = len(measurement.influence_pm) > 1
        both = known and len(measurements[reference].influence_pm) > 1
        strain_std = float(np.std(samples / bootstraps[reference].spacing_pm)) if both else np.nan
        total = strain_std
        if budgets is not None:
            strain_std, total = budgets[name].sigma_stat, budgets[name].sigma_total
        is_reference = name == reference
        results[name] = SpacingResult(
            class_name=name,
            n=averages[name].n,
            n_excluded=averages[name].n_excluded,
            spacing_pm=spacing,
            precision_pm=float(np.std(samples)) if known else np.nan,
            strain=0.0 if is_reference else spacing / base - 1.0,
            strain_std=0.0 if is_reference else strain_std,
            strain_total_std=0.0 if is_reference else total,
            purity=averages[name].purity,
            samples_pm=samples,
        )
    return results


def _check_reference(measurements: Mapping[str, ColumnMeasurement], reference: str) -> None:
    if reference not in measurements:
        raise DefectStrainError(
            f"spacings: got the classes {', '.join(measurements) or 'none'}, expected the "
            f"defect-free reference {reference} among them; average some defect-free windows"
        )
