"""Bands of strain over bootstrap samples, and the effect of the smoothing length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..types import (
    STRAIN_COMPONENTS,
    BoolArray,
    DefectStrainError,
    DisplacementField,
    FloatArray,
    Progress,
    no_progress,
)
from .field import (
    FWHM_PER_SIGMA,
    StrainConfig,
    column_factor,
    gradient_components,
    grid_operators,
    used_columns,
)

PERCENTILES = (2.275, 15.865, 84.135, 97.725)
"""Those that lie one and two sigma from the mean of a normal distribution."""

CHUNK_POINTS = 512


@dataclass(frozen=True)
class StrainSamples:
    """What bootstrap samples of the displacement make of the strain maps.

    Parameters
    ----------
    class_name : str
    n_samples : int
    x_pm, y_pm : arrays, `(W,)` and `(H,)`
        As in `StrainField`.
    std, low, high : mapping of component to array, `(H, W)`
        Standard deviation, smallest and largest value over the samples; NaN outside the hull.
    percentiles : tuple of float
        Which are in `bands` [%].
    bands : mapping of component to array, `(len(percentiles), H, W)`
    """

    class_name: str
    n_samples: int
    x_pm: FloatArray
    y_pm: FloatArray
    std: Mapping[str, FloatArray]
    low: Mapping[str, FloatArray]
    high: Mapping[str, FloatArray]
    percentiles: tuple[float, ...]
    bands: Mapping[str, FloatArray]


def strain_samples(
    displacement: DisplacementField,
    samples_pm: FloatArray,
    config: StrainConfig | None = None,
    percentiles: Sequence[float] = PERCENTILES,
) -> StrainSamples:
    """Strain maps of all bootstrap samples, reduced to their scatter, range and percentiles.

    Every sample goes through the same matrices as the measurement; the exact standard error of
    `strain_field` is what `std` tends to for many samples.

    Parameters
    ----------
    displacement : DisplacementField
        The measurement, which says which columns are used.
    samples_pm : array, `(B, M, 2)`
        Samples of its displacements (`displacement.displacement_samples`) [pm].
    config : StrainConfig, optional
    percentiles : sequence of float
        [%].

    Raises
    ------
    DefectStrainError
        If the samples are of other columns, fewer than two, or lack a column that is used.
    """
    config = config or StrainConfig()
    use = used_columns(displacement, config)
    u = used_samples(displacement, samples_pm, use)
    operators = grid_operators(displacement.site_pm[use], config)
    points = len(operators.by_x)
    ranks = tuple(float(p) for p in percentiles)
    found = np.empty((len(STRAIN_COMPONENTS), 3 + len(ranks), points))
    by_x, by_y = (a.astype(np.float32) for a in (operators.by_x, operators.by_y))
    for start in range(0, points, CHUNK_POINTS):
        part = slice(start, start + CHUNK_POINTS)
        maps = gradient_components(by_x[part], by_y[part], u)
        for i, values in enumerate(maps.values()):
            found[i, 0, part] = values.std(axis=1, dtype=np.float64)
            values.sort(axis=1)
            found[i, 1, part], found[i, 2, part] = values[:, 0], values[:, -1]
            found[i, 3:, part] = _percentiles_of_sorted(values, ranks)
    std, low, high, bands = (
        dict(zip(STRAIN_COMPONENTS, operators.on_grid(found[:, k]), strict=True))
        for k in (0, 1, 2, slice(3, None))
    )
    return StrainSamples(
        class_name=displacement.class_name,
        n_samples=len(samples_pm),
        x_pm=operators.x_pm.copy(),
        y_pm=operators.y_pm.copy(),
        std=std,
        low=low,
        high=high,
        percentiles=ranks,
        bands=bands,
    )


def used_samples(
    displacement: DisplacementField, samples_pm: FloatArray, use: BoolArray
) -> FloatArray:
    """Samples of the columns used, `(2K, B)` in single precision, which is 1e-7 of a strain.

    Raises
    ------
    DefectStrainError
        As in `strain_samples`.
    """
    expected = displacement.u_pm.shape
    if samples_pm.ndim != 3 or samples_pm.shape[1:] != expected or len(samples_pm) < 2:
        raise DefectStrainError(
            f"samples of {displacement.class_name}: got an array of shape {samples_pm.shape}, "
            f"expected (samples, {expected[0]}, 2) with at least 2 samples of the same columns"
        )
    u = np.ascontiguousarray(samples_pm[:, use].reshape(len(samples_pm), -1).T, dtype=np.float32)
    if not np.isfinite(u).all():
        raise DefectStrainError(
            f"samples of {displacement.class_name}: got NaN at columns that have a displacement, "
            "expected samples of the same fit"
        )
    return u


def _percentiles_of_sorted(values: FloatArray, percentiles: Sequence[float]) -> FloatArray:
    """Linear between order statistics, `(len(percentiles), P)` of rows sorted already."""
    place = np.asarray(percentiles) / 100.0 * (values.shape[1] - 1)
    lower = np.clip(np.floor(place).astype(int), 0, values.shape[1] - 2)
    share = place - lower
    return np.asarray((values[:, lower] * (1 - share) + values[:, lower + 1] * share).T)


@dataclass(frozen=True)
class SmoothingScan:
    """How strain depends on the smoothing length.

    All arrays `(L,)`, one value for each length, by component.

    Parameters
    ----------
    class_name : str
    smoothing_pm, fwhm_pm : arrays, `(L,)`
        Sigma and full width at half maximum of the Gaussian [pm].
    highest, highest_sigma, lowest, lowest_sigma : mapping of component to array
        Extremes of the map with their standard errors at their places.
    rms, rms_sigma : mapping of component to array
        Root mean square over the map, and its standard error (linear; of no use where `rms` does
        not exceed `noise_rms`).
    noise_rms : mapping of component to array
        Root mean square that the errors alone would give.
    """

    class_name: str
    smoothing_pm: FloatArray
    fwhm_pm: FloatArray
    highest: Mapping[str, FloatArray]
    highest_sigma: Mapping[str, FloatArray]
    lowest: Mapping[str, FloatArray]
    lowest_sigma: Mapping[str, FloatArray]
    rms: Mapping[str, FloatArray]
    rms_sigma: Mapping[str, FloatArray]
    noise_rms: Mapping[str, FloatArray]


def smoothing_scan(
    displacement: DisplacementField,
    lengths_pm: Sequence[float],
    config: StrainConfig | None = None,
    progress: Progress = no_progress,
) -> SmoothingScan:
    """Peak, root mean square and error of all components against the smoothing length.

    Without smoothing the maps show every column's error; with much they show less strain than
    there is. Where a curve is flat, the length does not matter.

    Parameters
    ----------
    displacement : DisplacementField
    lengths_pm : sequence of float
        Sigma of the Gaussian [pm].
    config : StrainConfig, optional
        All but the smoothing.
    progress : Progress

    Raises
    ------
    DefectStrainError
        If there is no length, or one is out of range (`StrainConfig`, `strain_field`).
    """
    config = config or StrainConfig()
    if len(lengths_pm) == 0:
        raise DefectStrainError("smoothing scan: got no length, expected at least one")
    configs = [config.replace(smoothing_pm=float(length)) for length in lengths_pm]
    use = [used_columns(displacement, c) for c in configs][0]
    u, factor = displacement.u_pm[use].reshape(-1, 1), column_factor(displacement, use)
    table = np.empty((7, len(STRAIN_COMPONENTS), len(configs)))
    for k, one in enumerate(configs):
        progress(k / len(configs), f"smoothing by {one.smoothing_pm:g} pm")
        operators = grid_operators(displacement.site_pm[use], one)
        values = gradient_components(operators.by_x, operators.by_y, u)
        scatter = gradient_components(operators.by_x, operators.by_y, factor)
        for i, name in enumerate(STRAIN_COMPONENTS):
            table[:, i, k] = _statistics(values[name][:, 0], scatter[name])
    columns = [dict(zip(STRAIN_COMPONENTS, row, strict=True)) for row in table]
    lengths = np.array([one.smoothing_pm for one in configs])
    return SmoothingScan(displacement.class_name, lengths, FWHM_PER_SIGMA * lengths, *columns)


def _statistics(value: FloatArray, factor: FloatArray) -> tuple[float, ...]:
    """Highest, lowest and rms value with their errors, and rms error; ``F F^T`` the covariance."""
    sigma = np.linalg.norm(factor, axis=1)
    top, bottom = int(np.argmax(value)), int(np.argmin(value))
    rms = float(np.sqrt(np.mean(value**2)))
    slope = value / (len(value) * rms) if rms > 0 else np.zeros_like(value)
    return (
        float(value[top]),
        float(sigma[top]),
        float(value[bottom]),
        float(sigma[bottom]),
        rms,
        float(np.linalg.norm(slope @ factor)),
        float(np.sqrt(np.mean(sigma**2))),
    )
