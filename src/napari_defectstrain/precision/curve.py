"""Precision and signal-to-noise ratio of averages against the number of windows (Fig. 3c)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..columns.averages.cramer_rao import average_bounds
from ..columns.averages.types import ColumnFitModel
from ..io.large_arrays import in_parts, let_go, room
from ..types import (
    BoolArray,
    ClassStack,
    ColumnFits,
    DefectStrainError,
    FloatArray,
    IntArray,
    Progress,
    no_progress,
)
from .spacings import neighbouring_metals

BACKGROUND_FRACTION = (0.025, 0.01, 0.05)
"""Darkest fractions of the pixels that count as background; the first is the paper's."""

SUBSETS = 100
CHUNK = 256  # windows at a time
BLOCK = 64


@dataclass(frozen=True)
class PrecisionFit:
    """``sqrt(p1^2 / N + floor^2)``: noise that averaging removes, and what it leaves.

    Parameters
    ----------
    p1_pm, p1_std_pm : float
        Precision of a single window, and its standard error [pm].
    floor_pm, floor_std_pm : float
        What is left with any number of windows [pm]: spacings of the full average that differ by
        more than the noise of its windows explains. Where that is zero, the error is an upper limit
        (one sigma).
    total : int
        Windows there are.
    cancelled_pm2 : float
        By how much the variance in the average of all of them is below ``p1^2 / total``: windows of
        one image make up for one another, as its lattice is fitted to all of its columns. It is
        subtracted up to `total`, and beyond it as the same share. Zero where there is a floor.
    """

    p1_pm: float
    p1_std_pm: float
    floor_pm: float
    floor_std_pm: float
    total: int = 1
    cancelled_pm2: float = 0.0

    def at(self, n: FloatArray | IntArray | float) -> FloatArray:
        """Precision of averages of n windows [pm]."""
        number = np.asarray(n, dtype=float)
        cancelled = self.cancelled_pm2 * np.minimum(self.total / number, 1.0)
        variance = self.p1_pm**2 / number + self.floor_pm**2 - cancelled
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)))

    def windows_needed(self, target_pm: float) -> float:
        """Windows to average for a precision of `target_pm`; infinity below the floor.

        Raises
        ------
        DefectStrainError
            If the target isn't positive.

        Examples
        --------
        >>> PrecisionFit(6.0, 0.1, 0.0, 0.05).windows_needed(0.3)
        400.0
        >>> PrecisionFit(6.0, 0.1, 0.3, 0.05).windows_needed(0.3)
        inf
        """
        if not target_pm > 0:
            raise DefectStrainError(
                f"precision: got a target of {target_pm:g} pm, expected a positive number"
            )
        rest = target_pm**2 - self.floor_pm**2
        if rest <= 0:
            return float("inf")
        few = self.p1_pm**2 / (rest + self.cancelled_pm2)
        many = (self.p1_pm**2 - self.total * self.cancelled_pm2) / rest
        return float(np.ceil(np.round(few if few <= self.total else max(many, 0.0), 6)))


@dataclass(frozen=True)
class PrecisionAgainstN:
    """Precision and signal-to-noise ratio of averages of ever more windows (Fig. 3c).

    Parameters
    ----------
    n : array of int, `(K,)`
        Windows averaged.
    precision_pm : array, `(K,)`
        Standard deviation of all nearest metal spacings within an average (in windows around metal
        sites: of chalcogens): root mean square over the subsets.
    precision_std_pm : array, `(K,)`
        Its scatter over the subsets. Subsets of nearly all windows hold the same ones: there the
        scatter says nothing of the error, which `fit` has from the windows.
    background_fraction : array, `(F,)`
        Fractions of the darkest pixels that count as background.
    snr_gain : array, `(F, K)`
        SNR of the average over the mean SNR of single windows, mean over subsets.
    fit : PrecisionFit or None
        None where there are too few windows.
    class_name : str
    bound_p1_pm : float
        Cramér-Rao bound of a spacing in a single window (`spacing_bound_pm`); of n windows it is
        that over sqrt(n) [pm]. NaN where it isn't known.
    """

    n: IntArray
    precision_pm: FloatArray
    precision_std_pm: FloatArray
    background_fraction: FloatArray
    snr_gain: FloatArray
    fit: PrecisionFit | None = None
    class_name: str = ""
    bound_p1_pm: float = float("nan")


def precision_against_n(
    stack: ClassStack,
    fits: ColumnFits,
    influence_pm: FloatArray,
    rng: np.random.Generator,
    numbers: Sequence[int] | None = None,
    n_subsets: int = SUBSETS,
    background_fraction: Sequence[float] = BACKGROUND_FRACTION,
    own_structure: bool = False,
    progress: Progress = no_progress,
) -> PrecisionAgainstN:
    """Precision and SNR of averages of 1 to N windows (SI 3.2, doi:10.1021/acs.nanolett.0c00269).

    Signal is the mean of the 3 x 3 px around each metal column (in windows around metal sites: each
    chalcogen column); noise is the standard deviation of
    the pixels of a background, the darkest fraction of the full average: chosen once there, and
    used for every N. Windows are drawn without replacement, so that every average is one of n
    different windows; positions by the windows' linear influence.

    The paper's precision, the scatter of the spacings within an average, is meant for the perfect
    lattice, where all should be equal. Around a defect they differ in truth: there
    `own_structure` counts deviations from the full average instead, with windows drawn with
    replacement, which has no floor.

    Parameters
    ----------
    stack : ClassStack
    fits : ColumnFits
        The columns of its average.
    influence_pm : array, `(N, 2M)`
        Of the windows that count (`ColumnMeasurement.influence_pm`) [pm].
    rng : numpy Generator
    numbers : sequence of int, optional
        Windows to average; by default 1 to N in even steps of its logarithm.
    n_subsets : int
        Random subsets for each number.
    background_fraction : sequence of float
        Fractions of the darkest pixels; the first is the paper's.
    own_structure : bool
        Measure against the full average's own spacings: for defects.
    progress : Progress

    Raises
    ------
    DefectStrainError
        If a number of windows is out of range.
    """
    total = stack.n
    if numbers is None:
        numbers = np.unique(np.rint(np.geomspace(1, total, 13)).astype(int)).tolist()
    if min(numbers) < 1 or max(numbers) > total:
        raise DefectStrainError(
            f"precision against N: got numbers {min(numbers)} to {max(numbers)}, "
            f"expected 1 to {total}"
        )
    pairs = neighbouring_metals(fits, stack.a_pm)
    spacing, response = _spacings(fits, influence_pm, pairs)
    if own_structure:
        spacing = np.zeros_like(spacing)
        # drawn with replacement, windows scatter about the mean of them all
        response = response * np.sqrt(total / max(total - 1, 1))
    snr = _SignalToNoise.of(stack, fits, background_fraction)
    variance = np.zeros((len(numbers), n_subsets))
    gain = np.zeros((len(background_fraction), len(numbers)))
    for k, n in enumerate(numbers):
        progress(k / len(numbers), f"{stack.class_name}: averages of {n} windows")
        for start in range(0, n_subsets, BLOCK):
            block = slice(start, min(start + BLOCK, n_subsets))
            share = _shares(total, n, block.stop - block.start, rng, own_structure)
            found = spacing + share @ response  # (s, p)
            scatter = np.mean(found**2, axis=1) if own_structure else np.var(found, axis=1)
            variance[k, block] = scatter
            gain[:, k] += snr.gain(share).sum(axis=1) / n_subsets
    return PrecisionAgainstN(
        n=np.asarray(numbers),
        precision_pm=np.sqrt(variance.mean(axis=1)),
        precision_std_pm=np.sqrt(variance).std(axis=1),
        background_fraction=np.asarray(background_fraction),
        snr_gain=gain,
        fit=_fit(np.asarray(numbers), variance.mean(axis=1), spacing, response, own_structure),
        class_name=stack.class_name,
    )


def _spacings(
    fits: ColumnFits, influence_pm: FloatArray, pairs: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Spacings of the pairs `(P,)`, and each window's influence on them `(N, P)` [pm]."""
    first, second = pairs.T
    separation = fits.position_pm[first] - fits.position_pm[second]
    spacing = np.linalg.norm(separation, axis=1)
    by_window = influence_pm.reshape(len(influence_pm), -1, 2)
    change = by_window[:, first] - by_window[:, second]
    along = np.einsum("npx,px->np", change, separation / spacing[:, None])
    return spacing, np.asarray(along)


def _shares(
    total: int, n: int, n_subsets: int, rng: np.random.Generator, replace: bool
) -> FloatArray:
    """Share of each window in averages of n, `(n_subsets, total)`."""
    if replace:
        drawn = rng.integers(total, size=(n_subsets, n))
    else:
        drawn = rng.permuted(np.tile(np.arange(total), (n_subsets, 1)), axis=1)[:, :n]
    place = drawn + total * np.arange(n_subsets)[:, None]
    count = np.bincount(place.ravel(), minlength=n_subsets * total)
    return np.asarray(count.reshape(n_subsets, total) / n)


def _fit(
    n: IntArray,
    variance: FloatArray,
    spacing: FloatArray,
    response: FloatArray,
    own_structure: bool,
) -> PrecisionFit | None:
    """Fit of the variances at n; its errors from the windows, which all points share.

    Points are weighed as 1 / variance^2, so that the fit is equally good in per cent. The error
    of p1^2 is that of a mean over windows. The variance of the full average's spacings,
    ``s' Q s / P``, has for spacings s = truth + noise of covariance C / N the variance
    ``2 tr((QC/N)^2) + 4 s' Q C Q s / N`` (over P^2): that is the error of floor^2.
    """
    total, pairs = response.shape
    if len(n) < 2 or total < 3 or pairs < 3:
        return None
    design = np.column_stack([1.0 / n, np.full(len(n), 0.0 if own_structure else 1.0)])
    design = design / variance[:, None]
    p1_squared, floor_squared = np.linalg.lstsq(design, np.ones(len(n)), rcond=None)[0]
    # never more than noise there is
    cancelled = float(np.clip(-floor_squared, 0.0, 0.9 * p1_squared / total))
    floor_squared = max(float(floor_squared), 0.0)
    centred = response if own_structure else response - response.mean(axis=1, keepdims=True)
    single = np.mean(centred**2, axis=1)  # (n,) what each window adds to p1^2
    p1_squared_error = float(np.std(single, ddof=1) / np.sqrt(total))
    p1, floor = float(np.sqrt(p1_squared)), float(np.sqrt(floor_squared))
    if own_structure:
        return PrecisionFit(p1, p1_squared_error / (2 * p1) if p1 > 0 else 0.0, 0.0, 0.0)
    noise = centred.T @ centred / (total * (total - 1))
    structure = spacing - spacing.mean()
    error_squared = 2 * np.sum(noise**2) + 4 * structure @ noise @ structure
    floor_squared_error = float(np.hypot(np.sqrt(error_squared) / pairs, p1_squared_error / total))
    at_zero = np.sqrt(floor_squared_error)
    slope = floor_squared_error / (2 * floor) if floor > 0 else np.inf
    return PrecisionFit(
        p1,
        p1_squared_error / (2 * p1) if p1 > 0 else 0.0,
        floor,
        float(min(slope, at_zero)),
        total,
        cancelled,
    )


def spacing_bound_pm(model: ColumnFitModel) -> float:
    """Cramér-Rao bound of the spacing of two metal columns in a single window [pm].

    Of chalcogen columns in windows around metal sites.

    For independent pixels with the noise that the windows' scatter shows, all columns, weights and
    the background free, the profile known. Resampling correlates pixels and makes their variance
    too small: what is reached can lie above this bound without any fault of the fit.

    Parameters
    ----------
    model : ColumnFitModel

    Returns
    -------
    float
        NaN for single Gaussians, which are no model of the whole image, and without noise.
    """
    structure, name = model.structure, model.fits.class_name
    if structure is None or model.noise is None or model.noise.silent:
        return float("nan")
    bound = average_bounds({name: model}, {name: 1}, learnt=False)[name]
    # two columns, each along the line between them
    return float(np.sqrt(2.0 * np.nanmean(bound[model.fits.is_metal] ** 2)))


@dataclass(frozen=True)
class _SignalToNoise:
    """The pixels of signal and backgrounds in every window, and the gain of averages of them."""

    pixels: FloatArray
    signal: BoolArray
    dark: tuple[BoolArray, ...]
    raw: FloatArray

    @classmethod
    def of(
        cls, stack: ClassStack, fits: ColumnFits, background_fraction: Sequence[float]
    ) -> _SignalToNoise:
        index = np.flatnonzero(stack.included)
        total = sum(p.sum(axis=0, dtype=float) for p in in_parts(stack.windows, index, CHUNK))
        average = np.asarray(total / len(index))
        signal = _signal_pixels(fits, average.shape[0], stack.step_pm)
        dark = [average <= np.quantile(average, f) for f in background_fraction]
        used = signal | np.logical_or.reduce(dark)
        pixels = room((len(index), int(used.sum())), stack.windows.dtype)
        starts = range(0, len(index), CHUNK)
        for start, part in zip(starts, in_parts(stack.windows, index, CHUNK), strict=True):
            pixels[start : start + CHUNK] = part[:, used]
        found = cls(pixels, signal[used], tuple(d[used] for d in dark), np.ones(len(dark)))
        single = [found._snr(part).sum(axis=1) for part in found._parts()]
        return replace(found, raw=np.asarray(sum(single) / len(index)))

    def _parts(self) -> Iterator[FloatArray]:
        for start in range(0, len(self.pixels), CHUNK):
            yield self.pixels[start : start + CHUNK].astype(float)
            let_go(self.pixels)

    def gain(self, share: FloatArray) -> FloatArray:
        """SNR of averages with these shares of the windows over that of single ones, `(F, s)`."""
        parts = enumerate(self._parts())
        average = sum(share[:, k * CHUNK : (k + 1) * CHUNK] @ part for k, part in parts)
        return np.asarray(self._snr(np.asarray(average)) / self.raw[:, None])

    def _snr(self, pixels: FloatArray) -> FloatArray:
        """Signal over each background's scatter in pictures `(s, pixels)`, `(F, s)`."""
        signal = pixels[:, self.signal].mean(axis=1)
        return np.array([signal / pixels[:, d].std(axis=1) for d in self.dark])


def _signal_pixels(fits: ColumnFits, size: int, step_pm: float) -> BoolArray:
    """The 3 x 3 px around each metal column, or chalcogen around metal sites, `(size, size)`."""
    centre = fits.position_pm[fits.is_metal & np.isfinite(fits.position_pm[:, 0])]
    column, row = (np.rint(centre * [1, -1] / step_pm).astype(int) + size // 2).T
    mask = np.zeros((size, size), dtype=bool)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            mask[row + dy, column + dx] = True
    return mask
