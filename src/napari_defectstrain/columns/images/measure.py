"""Every column of an image: positions with covariance, weights and flags.

For the statistics of single images, before any averaging. Three models behind one interface, as
for class averages (`columns`): all columns together with one profile learnt from the image, all
together with one Gaussian, or each by itself as in doi:10.1021/acs.nanolett.0c00269.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from ...types import BoolArray, CalibratedImage, FloatArray, IntArray, Progress, no_progress
from ..probe_family import family_departure
from ..profiles import MIN_COEFFICIENTS, ColumnProfile, gaussian_profile, spline_profile
from ..types import FLAGS
from .background import SplineSurface
from .fit import BRIGHT_PERCENTILE, RIM_SIGMA, ImageFit, ImageFitter, ImageState, Pixels
from .instruments import Foresight, freed_of_noise
from .parts import Part
from .rendering import FamilyCurve, Shape
from .sampling import Sampling
from .single import fit_each
from .start import checked_positions, pixels_of, starting_weights, starting_width, usable_columns
from .types import NO_POSITION, Aberrations, ImageColumnConfig, ImageColumns, NoiseModel

__all__ = ["ImageColumnConfig", "ImageColumns", "fit_image_columns"]

CLEAR_SIGMA = 8.0
"""Widths from the border within which pixels count for less: columns beyond it, which nobody knows
of, move those within it by twice their standard errors and more."""
LOOSE_PX = 0.03
SUMMED_SIGMA = 1.25
"""Pixels of sums that a fit comes near by: so many to a sigma, at least."""
LEAST_SQUARES = 3
COARSELY = 5.0  # times the tolerance, where a fit of the pixels themselves follows
LARGE, ENOUGH = 5000, 1000
"""Columns: where there are more than so many, so many tell how wide and bright all are about."""
USUAL_LIMIT = 3.4  # information limit in units of the spots' frequency
SPOT_SIGMA = 0.17
"""Frequency times sigma where data of columns are strongest: the {10} spots at the paper's."""


def fit_image_columns(
    image: CalibratedImage | npt.ArrayLike,
    position_px: npt.ArrayLike,
    config: ImageColumnConfig | None = None,
    pixel_size_pm: float | None = None,
    progress: Progress = no_progress,
    foresee: Foresight | None = None,
    errors: bool = True,
) -> ImageColumns:
    """Fit every column of an image.

    Parameters
    ----------
    image : CalibratedImage or array, `(H, W)`
        Counts or intensities; NaN marks pixels that don't count.
    position_px : array, `(N, 2)`
        (y, x) where the columns are, to about a sigma [px]; all columns of the image should be
        there, for the light of one that isn't pulls its neighbours. A row of NaN stays NaN.
    config : ImageColumnConfig, optional
    pixel_size_pm : float, optional
        Comes before what the image says [pm].
    progress : Progress
    foresee : Foresight, optional
        What can be foreseen of the columns (all of them, NaN where one isn't fitted): with it the
        shape of their profile is free of what correlated noise does to it, see `instruments`.
    errors : bool
        Whether the covariance of each position is wanted: NaN without, where all columns are fitted
        together.

    Returns
    -------
    ImageColumns
        In the order of `position_px`. A column of no weight (the centre of a double vacancy) has
        no position, and the flag ``low_signal``. Of several closer than half a sigma only the
        first is fitted; the others are flagged ``overlapping`` and ``not_converged``.

    Raises
    ------
    DefectStrainError
        If the image is not 2D, is smaller than a column, holds no finite pixel, or if there is no
        position in it; or if the columns aren't brighter than what is between them.
    """
    config = config or ImageColumnConfig()
    if isinstance(image, CalibratedImage):
        array: npt.ArrayLike = image.data
        pixel_size_pm = image.pixel_size_pm if pixel_size_pm is None else pixel_size_pm
    else:
        array = image
    pixels = pixels_of(array, config)
    start = checked_positions(position_px, pixels.data.shape)
    sigma, spacing = starting_width(pixels, start, config)
    usable, duplicate = usable_columns(start, pixels, sigma)
    if config.model == "gaussian":
        return _each(pixels, start, usable, duplicate, sigma, config, pixel_size_pm)
    sampling = Sampling.fit_for(sigma, config)
    told = None if foresee is None else _of_usable(foresee, usable, sampling)
    size = None if pixel_size_pm is None else pixel_size_pm * sampling.side
    fitted = _Image(sampling.summed(pixels), sampling, size, sampling.settings(config))
    side = sampling.side
    fit, fitter = _together(
        fitted, sampling.inwards(start[usable]), sigma / side, spacing / side, progress, told
    )
    progress(1.0, "Fitted all columns")
    of = start, usable, duplicate, sigma, pixels.data.shape
    return _report(*of, fit, fitter, sampling, config, pixel_size_pm, errors)


class _Image(NamedTuple):
    """What is fitted, all lengths in its own pixels.

    Parameters
    ----------
    pixels : Pixels
    sampling : Sampling
        How they were summed.
    pixel_size_pm : float or None
    config : ImageColumnConfig
    """

    pixels: Pixels
    sampling: Sampling
    pixel_size_pm: float | None
    config: ImageColumnConfig

    @property
    def side(self) -> int:
        """Of the image's pixels along the side of one of these."""
        return self.sampling.side

    def summed(self, side: int) -> _Image:
        """Squares of these pixels, so many along a side."""
        if side <= 1:
            return self
        size = None if self.pixel_size_pm is None else self.pixel_size_pm * side
        by = Sampling(side)
        return _Image(
            by.summed(self.pixels), self.sampling.coarser(side), size, by.settings(self.config)
        )

    def lengths(
        self, of: _Image, start: FloatArray, sigma: float, spacing: float
    ) -> tuple[FloatArray, float, float]:
        """Places, width and distance of columns in pixels of another image in these."""
        larger = self.side / of.side
        place = self.sampling.inwards(of.sampling.outwards(start))
        return place, sigma / larger, spacing / larger


def _of_usable(foresee: Foresight, usable: BoolArray, sampling: Sampling) -> Foresight:
    """The same of those columns alone that are fitted, at places in sums of pixels."""

    def of_usable(position: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        every, all_weights = np.full((len(usable), 2), np.nan), np.full(len(usable), np.nan)
        every[usable], all_weights[usable] = sampling.outwards(position), weight
        place, heaviness = foresee(every, all_weights)
        return sampling.inwards(place[usable]), heaviness[usable]

    return of_usable


def _together(
    image: _Image,
    start: FloatArray,
    sigma: float,
    spacing: float,
    progress: Progress,
    foresee: Foresight | None,
) -> tuple[ImageFit, ImageFitter]:
    config = image.config
    if foresee is not None and config.model == "profile" and config.aberrations:
        learner = _by_part(image, start, sigma, spacing, progress)
        freed = None if learner is None else learner.freed(foresee)
        if freed is not None:
            return freed
    if foresee is None and config.model == "profile" and image.pixels.data_everywhere:
        by_sums = _by_sums(image, start, sigma, spacing, progress)
        if by_sums is not None:
            return by_sums
    fit, fitter = _gaussians(image, start, sigma, spacing, progress)
    if config.model == "gaussians":
        return fit, fitter
    learner = _Learner.of(fit, fitter, image.pixel_size_pm)
    freed = None if foresee is None else learner.freed(foresee)
    return freed or learner.learnt(progress)


def _by_sums(
    image: _Image, start: FloatArray, sigma: float, spacing: float, progress: Progress
) -> tuple[ImageFit, ImageFitter] | None:
    """All columns by sums of pixels, then by the pixels themselves, which change little.

    None where they change much, for sums of a few columns may tell of another profile; and where
    the fit by sums doesn't converge.
    """
    fine = image.sampling
    sums = image.summed(_squares(sigma))
    fit, fitter = _gaussians(sums, *sums.lengths(image, start, sigma, spacing), progress)
    blur, before = fit.state.shape.profile.blur_pm2, sums.sampling
    width = float(np.sqrt(max(0.5 * (blur[0] + blur[2]), 0.25))) * before.side / fine.side
    sums = image.summed(_squares(width))
    if sums.sampling != before:
        where, small, apart = sums.lengths(image, start, width, spacing)
        surface = _surface(sums, apart)
        state = sums.sampling.state(fit.state, before, surface)
        fitter = ImageFitter(
            sums.pixels,
            where,
            small,
            state.shape.profile.cutoff_per_pm,
            surface,
            sums.config,
            sums.side,
        )
        larger = sums.side / before.side
        noise = replace(fit.noise, constant=fit.noise.constant * larger**2)
        fit = replace(fit, state=state, noise=noise)
    ended = sums.sampling == fine
    learnt, fitter = _Learner.of(fit, fitter, sums.pixel_size_pm).learnt(progress, ended)
    if ended:
        return learnt, fitter
    if not learnt.converged:
        return None
    surface = _surface(image, spacing)
    state = fine.state(learnt.state, sums.sampling, surface)
    larger = fine.side / sums.side
    width, cutoff = fitter.sigma / larger, state.shape.profile.cutoff_per_pm
    pixels = image.pixels.without_rim(CLEAR_SIGMA * width)
    last = ImageFitter(pixels, start, width, cutoff, surface, image.config, fine.side)
    errors = learnt.shape_errors
    if errors is not None:
        errors = errors.at_scale(larger, state.shape.n_modes)
    noise = replace(learnt.noise, constant=learnt.noise.constant * larger**2)
    near = last.settled(state, noise, image.config.tolerance_px, errors)
    if near is None:
        return None
    # of the last step of many, not of the first by the pixels themselves
    moved = np.minimum(near.moved, np.maximum(learnt.moved / larger, 0.1 * near.moved))
    return replace(near, moved=moved), last


def _squares(sigma: float) -> int:
    """Side of the squares that a fit comes near by: 1 where they save little."""
    side = int(sigma / SUMMED_SIGMA)
    return side if side >= LEAST_SQUARES else 1


def _surface(image: _Image, spacing: float) -> SplineSurface:
    data = image.pixels.data
    return SplineSurface(data.shape, image.config.background_spacing * spacing, data.dtype)


def _gaussians(
    image: _Image, start: FloatArray, sigma: float, spacing: float, progress: Progress
) -> tuple[ImageFit, ImageFitter]:
    """All columns with one Gaussian."""
    pixels, config, side = image.pixels, image.config, image.sampling.side
    surface = _surface(image, spacing)
    every = max(1, min(pixels.data.shape) // 200)
    counted = pixels.data[::every, ::every][pixels.good[::every, ::every] > 0]
    level = float(np.percentile(counted, 10.0))
    noise = NoiseModel(1.0, 0.0)
    if config.noise != "poisson" or np.mean(counted) <= 0:
        noise = NoiseModel(0.0, max(float(np.var(counted)), 1e-30) * 0.05)
    width = float(np.sqrt(max(sigma**2 - (1.0 - side**-2) / 12.0, 0.25)))  # without that of sums
    state = ImageState(
        position=start.copy(),
        weight=starting_weights(pixels, start, sigma, level),
        background=np.full(surface.size, level),
        shape=Shape.starting(gaussian_profile(width), np.zeros((MIN_COEFFICIENTS, 0)), np.eye(3)),
        empty=np.zeros(len(start), dtype=bool),
    )
    alone = config.model == "gaussians"
    loose = config.tolerance_px if alone else LOOSE_PX / side
    cutoff = state.shape.profile.cutoff_per_pm
    seen = pixels.without_rim(CLEAR_SIGMA * sigma) if alone else pixels
    fitter = ImageFitter(seen, start, sigma, cutoff, surface, config, side)
    return fitter.run(state, noise, loose, progress, last=alone), fitter


def _by_part(
    image: _Image, start: FloatArray, sigma: float, spacing: float, progress: Progress
) -> _Learner | None:
    """All columns from the width and the brightness of those in a part of a large image.

    None where the image isn't large.
    """
    height, width = image.pixels.data.shape
    part = Part.densest((height, width), start, ENOUGH) if len(start) > LARGE else None
    if part is None:
        return None
    own, member = image._replace(pixels=part.of(image.pixels)), part.member
    fit, fitter = _gaussians(own, part.inwards(start[member]), sigma, spacing, progress)
    learner = _Learner.of(fit, fitter, image.pixel_size_pm)
    found, shape = learner.state, image.pixels.data.shape
    surface = SplineSurface(shape, image.config.background_spacing * spacing, fitter.surface.dtype)
    level = float(np.mean(found.background))
    weight = starting_weights(image.pixels, start, sigma, level)
    slope, least = np.polyfit(weight[member], found.weight, 1)
    weight, position = least + slope * weight, start.copy()
    weight[member], position[member] = found.weight, part.outwards(found.position)
    empty = np.zeros(len(start), dtype=bool)
    state = ImageState(position, weight, np.full(surface.size, level), found.shape, empty)
    return _Learner(learner.fitter.beside(image.pixels, start, surface), state, learner.noise, True)


class _Learner(NamedTuple):
    """From one Gaussian to a learnt profile.

    Parameters
    ----------
    fitter : ImageFitter
    state : ImageState
        With a profile of the family of probes to start from.
    noise : NoiseModel
    rough : bool
        Whether weights are guesses.
    """

    fitter: ImageFitter
    state: ImageState
    noise: NoiseModel
    rough: bool = False

    @classmethod
    def of(cls, fit: ImageFit, fitter: ImageFitter, pixel_size_pm: float | None) -> _Learner:
        """Where columns fitted by Gaussians let it start."""
        config, blur = fitter.config, fit.state.shape.profile.blur_pm2
        sigma = float(np.sqrt(max(0.5 * (blur[0] + blur[2]), 0.25)))
        spot = SPOT_SIGMA / sigma
        limit = USUAL_LIMIT * spot
        if pixel_size_pm is not None:
            limit = config.information_limit_per_pm * pixel_size_pm
        profile = spline_profile(sigma, config.n_coefficients, config.cutoff_sigma, limit, spot)
        curve = _of_family(profile, limit, spot)
        coefficient, mode = curve.at(0.0)
        profile = replace(profile, coefficient=coefficient)
        profile = profile.with_blur(blur - np.array([sigma**2, 0.0, sigma**2]))
        shape = Shape.starting(profile, mode[:, : int(config.aberrations)], np.eye(3), curve)
        learner = ImageFitter(
            fitter.pixels,
            fitter.start,
            sigma,
            profile.cutoff_per_pm,
            fitter.surface,
            config,
            fitter.side,
        )
        return cls(learner, replace(fit.state, shape=shape), fit.noise)

    def freed(self, foresee: Foresight) -> tuple[ImageFit, ImageFitter] | None:
        """By what can be foreseen of the columns, from the mean of the family of probes.

        What noise would make of the profile may be too far off to come back from.
        """
        if not self.state.shape.n_modes:
            return None
        # light of columns beyond the border ripples through background and weights
        fitter = self.fitter
        pixels = fitter.pixels.without_rim(RIM_SIGMA * fitter.sigma)
        inner = fitter.beside(pixels, fitter.start, fitter.surface)
        freed = freed_of_noise(inner, self.state, self.noise, foresee, self.rough)
        return None if freed is None else (freed, inner)

    def learnt(self, progress: Progress, last: bool = True) -> tuple[ImageFit, ImageFitter]:
        """By the columns as they are fitted; coarsely, with errors of the shape, if not `last`."""
        fitter = self.fitter
        tolerance = fitter.config.tolerance_px * (1.0 if last else COARSELY)
        pixels = fitter.pixels.without_rim(CLEAR_SIGMA * fitter.sigma)
        inner = fitter.beside(pixels, fitter.start, fitter.surface)
        return inner.run(self.state, self.noise, tolerance, progress, True, last), inner


def _of_family(profile: ColumnProfile, limit_per_px: float, spot_per_px: float) -> FamilyCurve:
    """The family of probes, by the change that tells its members apart, from its mean.

    A unit of it is one standard deviation of the family, see `probe_family`.
    """
    k = np.linspace(0.0, profile.cutoff_per_pm, 500)
    basis = profile.basis(k)
    departure = family_departure(min(spot_per_px / limit_per_px, 0.9))
    mean, mode = (
        np.clip(np.interp(k / limit_per_px, departure.frequency, by), -1.0, 1.0)
        for by in (departure.mean, departure.mode)
    )
    return FamilyCurve(basis, basis @ profile.coefficient * np.exp(mean), mode)


def _report(
    start: FloatArray,
    usable: BoolArray,
    duplicate: BoolArray,
    sigma: float,
    shape: tuple[int, ...],
    fit: ImageFit,
    fitter: ImageFitter,
    sampling: Sampling,
    config: ImageColumnConfig,
    pixel_size_pm: float | None,
    errors: bool,
) -> ImageColumns:
    state, n, side = fit.state, len(start), sampling.side
    covariance = np.full((n, 2, 2), np.nan)
    if errors:
        covariance[usable] = side**2 * fit.covariance[:, 1:, 1:]
    position = np.full((n, 2), np.nan)
    position[usable] = sampling.outwards(state.position)
    weight = np.full(n, np.nan)
    scale = float(state.shape.profile.coefficient[0])
    weight[usable] = state.weight * scale
    by, bx = fitter.surface.at(np.nan_to_num(sampling.inwards(start)))
    background = np.einsum("ni,ni->n", by @ state.background, bx) / side**2
    moved, empty = np.zeros(n), np.zeros(n, dtype=bool)
    moved[usable], empty[usable] = side * fit.moved, state.empty
    late = usable & ~empty & (moved > max(10.0 * config.tolerance_px, 1e-2))
    flag: IntArray = np.where(late, FLAGS["not_converged"], 0)
    flag |= np.where(empty, FLAGS["low_signal"], 0)
    flag = _flagged(start, position, usable, duplicate, flag, sigma, shape, config)
    profile = _calibrated(state.shape.profile, side * (pixel_size_pm or 1.0))
    noise = replace(fit.noise, constant=fit.noise.constant / side**2)
    found = _columns(
        position, covariance, weight, background, flag, profile, noise, pixel_size_pm, config
    )
    found, of_shape = replace(found, converged=fit.converged), fit.shape_errors
    if of_shape is None or not state.shape.n_modes:
        return found
    moves = np.zeros((n, 2))
    moves[usable] = side * of_shape.with_first()
    told = float(state.shape.amount[0]), float(of_shape.sigma[0])
    amount = Aberrations(*told, moves, fit.foreseen)
    return replace(found, aberrations=amount)


def _columns(
    position: FloatArray,
    covariance: FloatArray,
    weight: FloatArray,
    background: FloatArray,
    flag: IntArray,
    profile: ColumnProfile | None,
    noise: NoiseModel,
    pixel_size_pm: float | None,
    config: ImageColumnConfig,
) -> ImageColumns:
    """What is reported: no position under a flag that forbids it."""
    lost = (flag & NO_POSITION) != 0
    position, covariance = position.copy(), covariance.copy()
    position[lost], covariance[lost] = np.nan, np.nan
    return ImageColumns(
        position, covariance, weight, background, flag, profile, noise, pixel_size_pm, config
    )


def _each(
    pixels: Pixels,
    start: FloatArray,
    usable: BoolArray,
    duplicate: BoolArray,
    sigma: float,
    config: ImageColumnConfig,
    pixel_size_pm: float | None,
) -> ImageColumns:
    """The paper's single Gaussians."""
    n = len(start)
    single = fit_each(pixels, start[usable], sigma, config)
    position, covariance = np.full((n, 2), np.nan), np.full((n, 2, 2), np.nan)
    weight, background = np.full(n, np.nan), np.full(n, np.nan)
    position[usable], covariance[usable] = single.position, single.covariance
    weight[usable], background[usable] = single.weight, single.background
    late, empty = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    late[usable] = ~single.converged
    sure = single.height[single.converged]
    bright = float(np.percentile(sure, BRIGHT_PERCENTILE)) if len(sure) else 0.0
    # by its height: a wide Gaussian on a low constant may hold anything
    empty[usable] = single.converged & (single.height < config.min_weight * bright)
    flag: IntArray = np.where(late, FLAGS["not_converged"], 0)
    flag = flag | np.where(empty, FLAGS["low_signal"], 0)
    flag = _flagged(start, position, usable, duplicate, flag, sigma, pixels.data.shape, config)
    return _columns(
        position, covariance, weight, background, flag, None, single.noise, pixel_size_pm, config
    )


def _flagged(
    start: FloatArray,
    position: FloatArray,
    usable: BoolArray,
    duplicate: BoolArray,
    flag: IntArray,
    sigma: float,
    shape: tuple[int, ...],
    config: ImageColumnConfig,
) -> IntArray:
    """The flags that geometry raises, added to those of the fit."""
    flag = np.asarray(flag).copy()
    fitted = usable & ((flag & FLAGS["low_signal"]) == 0)
    with np.errstate(invalid="ignore"):
        far = np.hypot(*(position - start).T) > config.max_shift_sigma * sigma
    flag |= np.where(fitted & far, FLAGS["at_bound"], 0)
    rim = config.rim_sigma * sigma - 0.5
    last = np.array(shape) - 1.0 - rim
    with np.errstate(invalid="ignore"):
        inner = ((position >= rim) & (position <= last)).all(axis=1)
    flag |= np.where(fitted & ~inner | ~usable & ~duplicate, FLAGS["outside"], 0)
    flag |= np.where(duplicate, FLAGS["overlapping"] | FLAGS["not_converged"], 0)
    index = np.flatnonzero(fitted)
    if len(index) > 1:
        nearest = cKDTree(position[index]).query(position[index], k=2)[0][:, 1]
        close = nearest < config.min_distance_sigma * sigma
        flag[index] |= np.where(close, FLAGS["overlapping"], 0)
    return flag


def _calibrated(profile: ColumnProfile, size: float) -> ColumnProfile:
    """The profile of integral 1 in the unit of the size of its pixels, y up."""
    return replace(
        profile.normalised(),
        cutoff_per_pm=profile.cutoff_per_pm / size,
        blur_pm2=profile.blur_pm2 * np.array([1.0, -1.0, 1.0]) * size**2,
    )
