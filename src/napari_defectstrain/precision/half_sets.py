"""Do two halves of the data agree? A class's windows split by image, measured half by half."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft

from ..io.large_arrays import in_parts
from ..types import BoolArray, ClassStack, ColumnFits, FloatArray, IntArray

CHUNK = 256  # windows at a time
LEAST_HALF = 0.3
"""Share of the windows that the smaller half must hold for a split by image."""

MIN_WINDOWS = 8
THRESHOLD = 0.5
TAPER = 0.2
"""Part of the windows' radius over which they fade out before they are transformed."""


@dataclass(frozen=True)
class HalfSets:
    """Two halves of a class's windows against each other.

    Parameters
    ----------
    by_image : bool
        Whether the halves are of different images; else every second window, which says less.
    n : (int, int)
        Windows of each half.
    frequency_per_pm, correlation : arrays, `(F,)`
        Fourier ring correlation of the two averages (Saxton & Baumeister 1982,
        doi:10.1111/j.1365-2818.1982.tb00405.x).
    resolution_pm : float
        One over the highest frequency of the rings that correlate by at least one half; NaN
        without any.
    strain, strain_std : (float, float)
        Strain of the triangle in each half against the defect-free windows of the same images, and
        its error by the scatter of the windows; NaN for the defect-free class. Where the halves
        share images, or the images of one have no two such windows, both are against all of them.
    pull : float
        Difference of the two strains over its error: windows that both are against have no part
        in it.
    pull_rms : float
        Root mean square of the same for the coordinates of all metal columns (chalcogens
        around metal sites): 1 where the windows'
        scatter says all.
    """

    by_image: bool
    n: tuple[int, int]
    frequency_per_pm: FloatArray
    correlation: FloatArray
    resolution_pm: float
    strain: tuple[float, float]
    strain_std: tuple[float, float]
    pull: float
    pull_rms: float


def half_sets(
    stack: ClassStack,
    fits: ColumnFits,
    influence_pm: FloatArray,
    spacing_pm: FloatArray,
    reference: ClassStack | None,
    reference_spacing_pm: FloatArray,
) -> HalfSets | None:
    """Split a class's windows by image and compare both halves.

    Parameters
    ----------
    stack : ClassStack
    fits : ColumnFits
        Of its average.
    influence_pm : array, `(N, 2M)`
        Of each window on the columns.
    spacing_pm : array, `(N,)`
        Mean side of the triangle in each window [pm].
    reference : ClassStack or None
        The defect-free windows; None for that class itself.
    reference_spacing_pm : array, `(R,)`
        Theirs.

    Returns
    -------
    HalfSets or None
        None for fewer than eight windows.
    """
    if stack.n < MIN_WINDOWS:
        return None
    image = stack.image_index[stack.included]
    first, by_image = split_by_image(image)
    one, other = (_mean(stack, half) for half in (first, ~first))
    frequency, correlation = ring_correlation(one, other, stack.step_pm)
    well = np.flatnonzero(correlation >= THRESHOLD)
    strain = strain_std = (np.nan, np.nan)
    pull = np.nan
    if reference is not None:
        there = reference.image_index[reference.included]
        halves = (first, ~first)
        bases = [reference_spacing_pm[np.isin(there, image[half])] for half in halves]
        shared = not by_image or min(map(len, bases)) < 2
        if shared:
            bases = [reference_spacing_pm] * 2
        both = [_strain(spacing_pm[h], base) for h, base in zip(halves, bases, strict=True)]
        strain, strain_std = (both[0][0], both[1][0]), (both[0][1], both[1][1])
        errors = [own if shared else total for _, total, own in both]
        pull = (strain[0] - strain[1]) / float(np.hypot(errors[0], errors[1]))
    return HalfSets(
        by_image=by_image,
        n=(int(first.sum()), int((~first).sum())),
        frequency_per_pm=frequency,
        correlation=correlation,
        resolution_pm=float(1.0 / frequency[well[-1]]) if len(well) else float("nan"),
        strain=strain,
        strain_std=strain_std,
        pull=float(pull),
        pull_rms=_pull_rms(influence_pm[:, np.repeat(fits.is_metal, 2)], first),
    )


def _mean(stack: ClassStack, which: BoolArray) -> FloatArray:
    """Mean of some of the windows that count, `(P, P)`."""
    index = np.flatnonzero(stack.included)[which]
    total = sum(part.sum(axis=0, dtype=float) for part in in_parts(stack.windows, index, CHUNK))
    return np.asarray(total / len(index))


def split_by_image(image: IntArray) -> tuple[BoolArray, bool]:
    """Which windows are of the first half, and whether the halves are of different images.

    Images with many windows go first, each to the half that has fewer. Where that leaves less than
    three tenths of the windows in one half, every second window is taken instead.
    """
    names, count = np.unique(image, return_counts=True)
    held, first = [0, 0], []
    for k in np.argsort(-count, kind="stable"):
        half = int(held[1] < held[0])
        held[half] += int(count[k])
        if half == 0:
            first.append(names[k])
    if min(held) >= LEAST_HALF * len(image):
        return np.isin(image, first), True
    return np.arange(len(image)) % 2 == 0, False


def ring_correlation(
    one: FloatArray, other: FloatArray, step_pm: float
) -> tuple[FloatArray, FloatArray]:
    """Fourier ring correlation of two pictures: frequencies [1/pm] and correlations, `(F,)`.

    Rings are one over the side of the pictures wide, to the Nyquist frequency; the pictures fade
    out towards a circle, less their mean within it.
    """
    size = len(one)
    x = np.arange(size) - size // 2
    radius = np.hypot(x[:, None], x[None, :]) / (size // 2)
    fade = np.clip((1.0 - radius) / TAPER, 0.0, 1.0)
    mask = np.sin(0.5 * np.pi * fade) ** 2
    spectra = []
    for image in (one, other):
        level = float((image * mask).sum() / mask.sum())
        spectra.append(scipy.fft.fft2((image - level) * mask))
    frequency = np.hypot(*np.meshgrid(*[scipy.fft.fftfreq(size)] * 2, indexing="ij"))
    ring = np.round(frequency * size).astype(int).ravel()
    keep = size // 2 + 1

    def total(values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(ring, values.ravel())[1:keep], dtype=float)

    cross = total((spectra[0] * spectra[1].conj()).real)
    power = np.sqrt(total(np.abs(spectra[0]) ** 2) * total(np.abs(spectra[1]) ** 2))
    return np.arange(1, keep) / (size * step_pm), cross / np.maximum(power, 1e-300)


def _strain(spacing_pm: FloatArray, base_pm: FloatArray) -> tuple[float, float, float]:
    """Strain of a half against defect-free windows, its error, and its own windows' part of it."""
    ratio = float(spacing_pm.mean() / base_pm.mean())
    own, base = (v.std(ddof=1) / np.sqrt(len(v)) / v.mean() for v in (spacing_pm, base_pm))
    return ratio - 1.0, ratio * float(np.hypot(own, base)), ratio * float(own)


def _pull_rms(influence_pm: FloatArray, first: BoolArray) -> float:
    """Root mean square of the differences of the halves' mean positions over their errors."""
    use = influence_pm[:, np.isfinite(influence_pm).all(axis=0)]
    halves = (use[first], use[~first])
    away = halves[0].mean(axis=0) - halves[1].mean(axis=0)
    variance = sum(h.var(axis=0, ddof=1) / len(h) for h in halves)
    return float(np.sqrt(np.mean(away**2 / variance))) if use.size else float("nan")
