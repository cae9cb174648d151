"""Precision of positions and spacings: bootstrap over windows, total error, precision against N."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .columns import ColumnConfig, ColumnFitModel, ColumnMeasurement, fit_columns, influence
from .spacings import nearest_metal_spacings, nearest_metals, neighbouring_metals
from .types import (
    BoolArray,
    ClassAverage,
    ClassStack,
    ColumnFits,
    DefectStrainError,
    FloatArray,
    IntArray,
    Progress,
    SpacingResult,
    no_progress,
)

__all__ = [
    "PrecisionAgainstN",
    "bootstrap_positions",
    "bootstrap_positions_refit",
    "nearest_metal_spacings",
    "precision_against_n",
    "single_window_spacings",
    "spacing_results",
    "systematic_errors",
]

PAPER_SAMPLES = 22500
"""Bootstrap samples a class (SI 3.1, doi:10.1021/acs.nanolett.0c00269)."""

CHUNK = 2048


def bootstrap_positions(
    influence_pm: FloatArray,
    position_pm: FloatArray,
    n_samples: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Positions in averages of N windows drawn with replacement.

    The fit of such an average is linear in it to the second order of its small shift, so that no
    sample needs a fit: position plus the mean influence of the windows drawn.

    Parameters
    ----------
    influence_pm : array, `(N, K)`
        Influence of each window on each of K coordinates (`columns.influence`).
    position_pm : array, `(K,)`
        Coordinates in the full average.
    n_samples : int
    rng : numpy Generator

    Returns
    -------
    array, `(n_samples, K)`
        All equal to `position_pm` where N is 1.
    """
    n = len(influence_pm)
    samples = np.empty((n_samples, influence_pm.shape[1]))
    for start in range(0, n_samples, CHUNK):
        size = min(CHUNK, n_samples - start)
        drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        count = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        samples[start : start + size] = count @ influence_pm / n
    return np.asarray(samples + position_pm)


def bootstrap_positions_refit(
    stack: ClassStack,
    others: Mapping[str, ClassAverage],
    config: ColumnConfig,
    n_samples: int,
    rng: np.random.Generator,
) -> FloatArray:
    """The same by averaging and fitting every sample: slow, to verify `bootstrap_positions`.

    Draws the same windows as `bootstrap_positions` does from an equal generator. With the
    ``profile`` model the profile is learnt anew for each sample, from the sample and `others`.

    Parameters
    ----------
    stack : ClassStack
    others : mapping of class to ClassAverage
        Averages of the other classes.
    config : ColumnConfig
    n_samples : int
    rng : numpy Generator

    Returns
    -------
    array, `(n_samples, 2M)`
    """
    windows = stack.windows[stack.included]
    n = len(windows)
    samples = []
    for _ in range(n_samples):
        drawn = windows[rng.integers(n, size=(1, n))[0]]
        sem = drawn.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(drawn.shape[1:])
        average = ClassAverage(
            stack.class_name, drawn.mean(axis=0), sem, n, 0, stack.step_pm, stack.a_pm, 1.0
        )
        fits = fit_columns({**others, stack.class_name: average}, config)[stack.class_name].fits
        samples.append(fits.position_pm.ravel())
    return np.array(samples)


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
    """Spacing of the three nearest metal columns of each class, and its strain.

    ``strain = spacing / spacing of the reference - 1``. `strain_std` is the bootstrap's standard
    deviation of that ratio, windows of both classes drawn anew. `strain_total_std` adds in
    quadrature (`systematic_errors`) the profile learnt from noisy images, the profile's model, and
    the impurity of the class. Not in it, because the averages alone can't tell: scan distortion
    (common to all classes; it cancels in the ratio but for its scatter, which the bootstrap sees
    as far as windows differ), tilt of the crystal, and wrong members of the reference.

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

    Returns
    -------
    dict of class to SpacingResult
        In the order of `measurements`; the reference has strain 0 and no error of it. For a single
        window precision and errors are NaN.

    Raises
    ------
    DefectStrainError
        If the reference is missing.
    """
    if reference not in measurements:
        raise DefectStrainError(
            f"spacings: got the classes {', '.join(measurements) or 'none'}, expected the "
            f"defect-free reference {reference} among them; average some defect-free windows"
        )
    samples: dict[str, FloatArray] = {}
    for done, (name, measurement) in enumerate(measurements.items()):
        progress(done / len(measurements), f"Bootstrap of {name}")
        samples[name] = _bootstrap_spacing(measurement, n_samples, rng)
    results = {}
    for name, measurement in measurements.items():
        spacing = _mean_spacing(measurement.fits.position_pm, measurement.fits)
        base = _mean_spacing(measurements[reference].fits.position_pm, measurements[reference].fits)
        strain = spacing / base - 1.0
        known = len(measurement.influence_pm) > 1
        strain_std = float(np.std(samples[name] / samples[reference])) if known else np.nan
        errors = systematic_errors(measurement, measurements[reference], averages[name].purity)
        total = float(np.sqrt(strain_std**2 + sum(e**2 for e in errors.values())))
        is_reference = name == reference
        results[name] = SpacingResult(
            class_name=name,
            n=averages[name].n,
            n_excluded=averages[name].n_excluded,
            spacing_pm=spacing,
            precision_pm=float(np.std(samples[name])) if known else np.nan,
            strain=0.0 if is_reference else strain,
            strain_std=0.0 if is_reference else strain_std,
            strain_total_std=0.0 if is_reference else total,
            purity=averages[name].purity,
            samples_pm=samples[name],
        )
    return results


def systematic_errors(
    measurement: ColumnMeasurement, reference: ColumnMeasurement, purity: float
) -> dict[str, float]:
    """What is known of the systematic errors of a spacing's strain, as standard deviations.

    * ``profile``: the learnt profile has errors of its own, from the noise of all windows; they
      move the class and the reference alike and mostly cancel.
    * ``model``: change of the strain when the profile is described by another number of
      coefficients and held more loosely to its start.
    * ``impurity``: a fraction ``1 - purity`` of the windows belongs to other classes, whose strain
      differs by up to the class's own: a rectangular distribution of the half-width
      ``(1 - purity) |strain|``, hence divided by sqrt(3) (JCGM 100:2008, 4.3.7).

    Parameters
    ----------
    measurement, reference : ColumnMeasurement
    purity : float

    Returns
    -------
    dict of str to float
    """
    strain = _strain(measurement.fits.position_pm, reference.fits.position_pm, measurement.fits)
    check = _strain(measurement.check_position_pm, reference.check_position_pm, measurement.fits)
    shape = measurement.fits.position_pm.shape
    profile = [
        _strain(
            measurement.fits.position_pm + mine.reshape(shape),
            reference.fits.position_pm + base.reshape(shape),
            measurement.fits,
        )
        - strain
        for mine, base in zip(
            measurement.profile_shift_pm.T, reference.profile_shift_pm.T, strict=True
        )
    ]
    return {
        "profile": float(np.sqrt(np.sum(np.square(profile)))),
        "model": abs(check - strain),
        "impurity": float(max(1.0 - purity, 0.0) * abs(strain) / np.sqrt(3.0)),
    }


def _strain(position_pm: FloatArray, reference_pm: FloatArray, fits: ColumnFits) -> float:
    return _mean_spacing(position_pm, fits) / _mean_spacing(reference_pm, fits) - 1.0


def _mean_spacing(position_pm: FloatArray, fits: ColumnFits) -> float:
    return float(nearest_metal_spacings(position_pm, fits.site_pm, fits.is_metal).mean())


def _bootstrap_spacing(
    measurement: ColumnMeasurement, n_samples: int, rng: np.random.Generator
) -> FloatArray:
    fits = measurement.fits
    corner = nearest_metals(fits.site_pm, fits.is_metal)
    columns = (2 * corner[:, None] + [0, 1]).ravel()
    drawn = bootstrap_positions(
        measurement.influence_pm[:, columns], fits.position_pm[corner].ravel(), n_samples, rng
    ).reshape(-1, 3, 2)
    metal = np.ones(3, dtype=bool)
    return np.asarray(nearest_metal_spacings(drawn, fits.site_pm[corner], metal).mean(axis=-1))


@dataclass(frozen=True)
class PrecisionAgainstN:
    """Precision and signal-to-noise ratio of averages of ever more windows (Fig. 3c).

    Parameters
    ----------
    n : array of int, `(K,)`
        Windows averaged.
    precision_pm : array, `(K,)`
        Standard deviation of all nearest metal spacings within an average, mean over subsets.
    precision_std_pm : array, `(K,)`
        Its scatter over the subsets.
    background_fraction : array, `(F,)`
        Fractions of the darkest pixels that count as background.
    snr_gain : array, `(F, K)`
        SNR of the average over the mean SNR of single windows, mean over subsets.
    """

    n: IntArray
    precision_pm: FloatArray
    precision_std_pm: FloatArray
    background_fraction: FloatArray
    snr_gain: FloatArray


def precision_against_n(
    stack: ClassStack,
    model: ColumnFitModel,
    rng: np.random.Generator,
    numbers: Sequence[int] | None = None,
    n_subsets: int = 50,
    background_fraction: Sequence[float] = (0.025, 0.01, 0.05),
    progress: Progress = no_progress,
) -> PrecisionAgainstN:
    """Precision and SNR of averages of 1 to N windows (SI 3.2, doi:10.1021/acs.nanolett.0c00269).

    Signal is the mean of the 3 x 3 px around each metal column; noise is the standard deviation of
    the pixels of a background, the darkest fraction of the full average: chosen once there, and
    used for every N. Windows are drawn without replacement.

    Parameters
    ----------
    stack : ClassStack
        Defect-free windows.
    model : ColumnFitModel
        The fit of their average.
    rng : numpy Generator
    numbers : sequence of int, optional
        Windows to average; by default 1 to N in even steps of its logarithm.
    n_subsets : int
        Random subsets for each number.
    background_fraction : sequence of float
        Fractions of the darkest pixels; the first is the paper's.
    progress : Progress

    Raises
    ------
    DefectStrainError
        If a number of windows is out of range.
    """
    windows = stack.windows[stack.included]
    total = len(windows)
    if numbers is None:
        numbers = np.unique(np.rint(np.geomspace(1, total, 13)).astype(int)).tolist()
    if min(numbers) < 1 or max(numbers) > total:
        raise DefectStrainError(
            f"precision against N: got numbers {min(numbers)} to {max(numbers)}, "
            f"expected 1 to {total}"
        )
    shift = influence(model, stack)
    signal = _signal_pixels(model.fits, windows.shape[1], stack.step_pm)
    average = windows.mean(axis=0)
    dark = [average <= np.quantile(average, f) for f in background_fraction]
    raw = np.mean([_snr(w, signal, dark) for w in windows], axis=0)
    pairs = neighbouring_metals(model.fits, stack.a_pm)
    precision = np.zeros((len(numbers), n_subsets))
    gain = np.zeros((len(background_fraction), len(numbers)))
    for k, n in enumerate(numbers):
        progress(k / len(numbers), f"Averages of {n} windows")
        for s in range(n_subsets):
            drawn = rng.choice(total, size=n, replace=False)
            position = model.fits.position_pm + shift[drawn].mean(axis=0).reshape(-1, 2)
            spacing = np.linalg.norm(position[pairs[:, 0]] - position[pairs[:, 1]], axis=1)
            precision[k, s] = np.std(spacing)
            gain[:, k] += _snr(windows[drawn].mean(axis=0), signal, dark) / raw / n_subsets
    return PrecisionAgainstN(
        np.asarray(numbers),
        precision.mean(axis=1),
        precision.std(axis=1),
        np.asarray(background_fraction),
        gain,
    )


def _signal_pixels(fits: ColumnFits, size: int, step_pm: float) -> BoolArray:
    """The 3 x 3 px around each metal column, `(size, size)`."""
    centre = fits.position_pm[fits.is_metal & np.isfinite(fits.position_pm[:, 0])]
    column, row = (np.rint(centre * [1, -1] / step_pm).astype(int) + size // 2).T
    mask = np.zeros((size, size), dtype=bool)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            mask[row + dy, column + dx] = True
    return mask


def _snr(image: FloatArray, signal: BoolArray, dark: Sequence[BoolArray]) -> FloatArray:
    return np.array([image[signal].mean() / image[d].std() for d in dark])
