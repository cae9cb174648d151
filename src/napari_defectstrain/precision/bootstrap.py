"""Bootstrap of column positions over windows and over images, by the windows' linear influence."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..columns.averages.measure import ColumnMeasurement
from ..types import (
    ColumnFits,
    DefectStrainError,
    FloatArray,
    IntArray,
    Progress,
    no_progress,
)
from .spacings import nearest_metal_spacings

PAPER_SAMPLES = 22500
"""Bootstrap samples a class (SI 3.1, doi:10.1021/acs.nanolett.0c00269)."""

MIN_IMAGES = 4
"""Fewer images don't tell how much images differ."""

CHUNK = 1024


@dataclass(frozen=True)
class ClassBootstrap:
    """Both bootstraps of a class average: over windows, and over whole images.

    Parameters
    ----------
    spacing_pm, spacing_by_image_pm : arrays, `(B,)`
        Samples of the mean spacing of the three nearest metal columns [pm].
    sigma_pm, sigma_by_image_pm : arrays, `(M, 2)`
        Standard deviation of the positions of all columns over the samples [pm]; NaN for a single
        window.
    strain_by_image : float
        Standard deviation of the strain against the reference over samples of images.
    n_images : int
        Images that hold windows of the class. With fewer than `MIN_IMAGES` what is by image is
        NaN.
    """

    spacing_pm: FloatArray
    spacing_by_image_pm: FloatArray
    sigma_pm: FloatArray
    sigma_by_image_pm: FloatArray
    strain_by_image: float
    n_images: int

    @property
    def spacing_std_by_image_pm(self) -> float:
        """Standard deviation of the mean spacing over samples of images [pm]."""
        return float(_scatter(self.spacing_by_image_pm))


def bootstrap_positions(
    influence_pm: FloatArray,
    position_pm: FloatArray,
    n_samples: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Positions in averages of N windows drawn with replacement.

    The fit of such an average is linear in it to the second order of its small shift, so that no
    sample needs a fit: position plus the mean influence of the windows drawn. All samples of a
    chunk are one product of how often each window is drawn with the influences.

    The windows are taken as independent, though they overlap: they are 7.9 a wide, and the centres
    of defect-free ones lie sqrt(3) to 6 a apart (`candidates.COARSER_LATTICES`). They hardly share
    what matters: a column's position is read from the pixels within half an a, and no two of the
    inner triangles have a column in common. On the bundled regions the influences of windows 2 to
    3.5 a apart correlate by 2.5 %, which adds 2 % to a standard error, and farther ones by less
    than 1 %. What the windows of an image share beyond that `bootstrap_by_image` sees.

    Windows scatter about their own mean by less than about the true one: the deviations are
    enlarged by sqrt(N / (N - 1)), as N may be small.

    Parameters
    ----------
    influence_pm : array, `(N, K)`
        Influence of each window on each of K coordinates, mean zero (`columns.influence`) [pm].
    position_pm : array, `(K,)`
        Coordinates in the full average [pm].
    n_samples : int
    rng : numpy Generator

    Returns
    -------
    array, `(n_samples, K)`
        All equal to `position_pm` where N is 1; NaN where a coordinate is.
    """
    n = len(influence_pm)
    enlarged = influence_pm * np.sqrt(n / max(n - 1, 1))
    mean_influence = np.asarray(enlarged / n, dtype=np.float32)
    samples = np.empty((n_samples, influence_pm.shape[1]))
    for start in range(0, n_samples, CHUNK):
        count = _drawn_counts(n, min(CHUNK, n_samples - start), rng)
        samples[start : start + CHUNK] = count @ mean_influence
    return np.asarray(samples + position_pm)


def bootstrap_by_image(
    influence_pm: FloatArray,
    image_index: IntArray,
    position_pm: FloatArray,
    n_samples: int,
    rng: np.random.Generator,
    images: IntArray | None = None,
) -> FloatArray:
    """Positions in averages of G of the G images drawn with replacement, with all their windows.

    Windows of one image share its scan distortion, its probe, its tilt and its contamination:
    only images are independent (the cluster bootstrap: Cameron, Gelbach and Miller 2008,
    doi:10.1162/rest.90.3.414). The deviations are enlarged by sqrt(G / (G - 1)), as G is small.

    Parameters
    ----------
    influence_pm : array, `(N, K)`
        As in `bootstrap_positions`.
    image_index : array of int, `(N,)`
        Image of each window.
    position_pm : array, `(K,)`
    n_samples : int
    rng : numpy Generator
    images : array of int, optional
        Images to draw from; by default those of `image_index`. Two classes with the same images
        and equal generators are drawn together.

    Returns
    -------
    array, `(n_samples, K)`
        NaN where fewer than `MIN_IMAGES` images hold a window, and in samples without one.
    """
    holding = len(np.unique(image_index))
    if holding < MIN_IMAGES:
        return np.full((n_samples, influence_pm.shape[1]), np.nan)
    images = np.unique(image_index) if images is None else images
    total, windows = image_sums(influence_pm, image_index, images)
    enlarged = total * np.sqrt(holding / (holding - 1))
    samples = np.empty((n_samples, influence_pm.shape[1]))
    for start in range(0, n_samples, CHUNK):
        count = _drawn_counts(len(images), min(CHUNK, n_samples - start), rng)
        drawn = (count @ windows)[:, None]
        mean = count @ enlarged / np.maximum(drawn, 1.0)
        samples[start : start + CHUNK] = np.where(drawn > 0, mean, np.nan)
    return np.asarray(samples + position_pm)


def image_sums(
    influence_pm: FloatArray, image_index: IntArray, images: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Sum of the influences of each image's windows `(G, K)`, and how many these are `(G,)`."""
    image = np.searchsorted(images, image_index)
    total = np.zeros((len(images), influence_pm.shape[1]))
    np.add.at(total, image, influence_pm)
    return total, np.bincount(image, minlength=len(images)).astype(float)


def bootstrap_classes(
    measurements: Mapping[str, ColumnMeasurement],
    images: Mapping[str, IntArray],
    reference: str,
    rng: np.random.Generator,
    n_samples: int = PAPER_SAMPLES,
    progress: Progress = no_progress,
) -> dict[str, ClassBootstrap]:
    """Both bootstraps of all columns of all classes.

    Parameters
    ----------
    measurements : mapping of class to ColumnMeasurement
    images : mapping of class to array of int, `(N,)`
        Image of each window that counts.
    reference : str
        The defect-free class.
    rng : numpy Generator
    n_samples : int
    progress : Progress
    """
    pool = np.unique(np.concatenate(list(images.values())))
    shared = rng.spawn(1)[0]
    found: dict[str, ClassBootstrap] = {}
    for done, (name, measurement) in enumerate(measurements.items()):
        progress(done / len(measurements), f"Bootstrap of {name}")
        fits = measurement.fits
        position = fits.position_pm.ravel()
        response = measurement.influence_pm
        by_window = bootstrap_positions(response, position, n_samples, rng)
        many, unknown = len(response) > 1, np.full_like(position, np.nan)
        # the same images for all classes: what they share cancels in the strain
        equal = copy.deepcopy(shared)
        by_image = bootstrap_by_image(response, images[name], position, n_samples, equal, pool)
        found[name] = ClassBootstrap(
            spacing_pm=_spacings(by_window, fits),
            spacing_by_image_pm=_spacings(by_image, fits),
            sigma_pm=(by_window.std(axis=0) if many else unknown).reshape(-1, 2),
            sigma_by_image_pm=_scatter(by_image, axis=0).reshape(-1, 2),
            strain_by_image=np.nan,
            n_images=len(np.unique(images[name])),
        )
    base = found[reference].spacing_by_image_pm
    return {
        name: replace(f, strain_by_image=float(_scatter(f.spacing_by_image_pm / base)))
        for name, f in found.items()
    }


def _spacings(samples_pm: FloatArray, fits: ColumnFits) -> FloatArray:
    """Mean spacing of the three nearest metals in each sample, `(B,)` [pm]."""
    position = samples_pm.reshape(-1, *fits.position_pm.shape)
    return np.asarray(nearest_metal_spacings(position, fits.site_pm, fits.is_metal).mean(axis=-1))


def _scatter(samples: FloatArray, axis: int | None = None) -> FloatArray:
    """Standard deviation over the samples that are known; NaN where none is."""
    known = np.isfinite(samples)
    count = known.sum(axis=axis)
    at_least_one = np.maximum(count, 1)
    mean = np.where(known, samples, 0.0).sum(axis=axis) / at_least_one
    square = np.where(known, samples - mean, 0.0) ** 2
    return np.asarray(np.where(count > 0, np.sqrt(square.sum(axis=axis) / at_least_one), np.nan))


def bootstrap_samples(
    measurement: ColumnMeasurement, n_samples: int, rng: np.random.Generator
) -> FloatArray:
    """Positions of all columns in averages of windows drawn anew, `(n_samples, M, 2)` [pm].

    Parameters
    ----------
    measurement : ColumnMeasurement
    n_samples : int
    rng : numpy Generator
    """
    position = measurement.fits.position_pm
    drawn = bootstrap_positions(measurement.influence_pm, position.ravel(), n_samples, rng)
    return drawn.reshape(-1, *position.shape)


def bootstrap_displacements(
    measurement: ColumnMeasurement,
    reference: ColumnMeasurement,
    n_samples: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Displacements of a class against the reference, windows of both drawn anew.

    Positions of the one less those of the other, nothing taken out: what is made of displacements
    later on (removal of a common shift, strain) is to be made of each sample.

    Parameters
    ----------
    measurement, reference : ColumnMeasurement
        Columns at the same sites.
    n_samples : int
    rng : numpy Generator

    Returns
    -------
    array, `(n_samples, M, 2)`
        [pm]; NaN where either has no position.

    Raises
    ------
    DefectStrainError
        If their sites differ.
    """
    mine, base = measurement.fits, reference.fits
    if mine.site_pm.shape != base.site_pm.shape or not np.allclose(mine.site_pm, base.site_pm):
        raise DefectStrainError(
            f"bootstrap of {mine.class_name}: got other columns than those of {base.class_name}, "
            "expected the same sites; fit both with the same settings"
        )
    own, other = rng.spawn(2)
    drawn = bootstrap_samples(measurement, n_samples, own)
    drawn -= bootstrap_samples(reference, n_samples, other)
    return drawn


def _drawn_counts(n: int, n_samples: int, rng: np.random.Generator) -> FloatArray:
    """How often each of n is drawn in samples of n with replacement, `(n_samples, n)` float32."""
    drawn = rng.integers(n, size=(n_samples, n)) + n * np.arange(n_samples)[:, None]
    count = np.bincount(drawn.ravel(), minlength=n_samples * n)
    return np.asarray(count.reshape(n_samples, n).astype(np.float32))
