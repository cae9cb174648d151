"""All columns of an image at once: maximum likelihood by Fisher scoring.

Minimised is the Poisson deviance of raw counts, or least squares with the variance as a line of the
intensity: in both cases the gradient is ``sum (data - model) / variance * derivative``, and the
expected second derivative ``sum derivative * derivative / variance`` (Wedderburn 1974,
doi:10.1093/biomet/61.3.439).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_opening, distance_transform_edt
from scipy.spatial import cKDTree

from ...types import BoolArray, FloatArray, IntArray, Progress
from .background import SplineSurface
from .derivatives import (
    KNOWN_SIGMA,
    PAIR_REACH_SIGMA,
    Information,
    Looked,
    Patches,
    SeparableProfile,
)
from .noise import SAMPLE, STEP_SAMPLE, estimate_noise
from .rendering import ColumnRenderer, ComplexArray, Shape, SpreadPoints
from .steps import TILE, FreeShape, Secant, ShapeErrors, Steadying, typical_step
from .system import NormalEquations, marginal_covariance
from .types import ImageColumnConfig, NoiseModel

MAX_STEP_SIGMA = 0.5
REBUILD_SIGMA = 0.04
STALE = 5  # iterations after which the normal equations are formed anew for the stragglers
SOLVE_TOLERANCE = 1e-2
SHAPE_TOLERANCE = 1e-3
SWIFT_STEPS = 3
RIM_SIGMA = 5.0
RIM_PART = 6
LEAST_RIM = 0.01
THINNED_SIGMA = 1.25
"""Pixels that are looked at for what all say of the columns: so many to a sigma, at least."""
LEAST_SIGNIFICANCE = 3.0
BRIGHT_PERCENTILE = 75.0
LAST_STEPS, LAST_TOLERANCE = 3, 10.0
LEAST_TAIL = 0.01  # of a column's light beyond its patch: less is a Gaussian's
MAX_BLUR_STEP = 0.3
REBUILD_SHAPE = 0.15  # of the family's standard deviation, since equations were formed
SETTLED_SHAPE = 0.05  # of the family's standard deviation
MAX_WEIGHT_STEP = 0.5
WORSE = 2.0
MORE_DAMPING = 10.0
MERGED_SIGMA = 2.0
MERGED_DAMPING = 100.0


@dataclass(frozen=True)
class Pixels:
    """An image to fit: its pixels, and which of them count.

    Parameters
    ----------
    data : array, `(H, W)`
        Zero where it doesn't count.
    good : array, `(H, W)`
        1 where a pixel counts, 0 elsewhere; between them it counts for less.
    padded : tuple of int
        Last rows and columns that don't count, being sums that reach beyond the image.
    """

    data: FloatArray
    good: FloatArray
    padded: tuple[int, int] = (0, 0)

    @cached_property
    def data_everywhere(self) -> bool:
        """Whether all pixels of the image count, if some for less."""
        rows, columns = (n - p for n, p in zip(self.good.shape, self.padded, strict=True))
        return bool(self.good[:rows, :columns].all())

    def without_rim(self, width_px: float) -> Pixels:
        """The same where pixels nearer to the border than a width count for less, down to 1 %.

        Columns beyond the border, which no fit knows of, shed light on them; so do those in areas
        without data that are as wide as a quarter of that.
        """
        y, x = (np.minimum(np.arange(n), np.arange(n)[::-1]) + 0.5 for n in self.good.shape)
        away = np.minimum(y[:, None], x)
        if not self.good.all():
            side = max(int(width_px / 4), 1)
            lost = np.pad(self.good == 0, side, constant_values=True)
            wide = binary_opening(lost, np.ones((side, side)))
            inside = slice(side, -side)
            away = np.minimum(away, distance_transform_edt(~wide)[inside, inside] - 0.5)
        share = np.clip(away / max(width_px, 1e-9), 0.0, 1.0)
        counts = LEAST_RIM + (1.0 - LEAST_RIM) * share**2
        return replace(self, good=(self.good * counts).astype(self.good.dtype))


@dataclass(frozen=True)
class ImageState:
    """Parameters of the columns of an image.

    Parameters
    ----------
    position : array, `(N, 2)`
        (y, x) [px].
    weight : array, `(N,)`
        Integrated intensity.
    background : array, `(ny, nx)`
        Coefficients of the surface.
    shape : Shape
    empty : array of bool, `(N,)`
        Columns whose positions are held.
    """

    position: FloatArray
    weight: FloatArray
    background: FloatArray
    shape: Shape
    empty: BoolArray


@dataclass(frozen=True)
class ImageFit:
    """Where a fit ended.

    Parameters
    ----------
    state : ImageState
    information : Information
        Of the columns, at the end; where it was last formed, of a fit that another follows or that
        followed one (`ImageFitter.settled`: before its steps, which are small).
    noise : NoiseModel
    moved : array, `(N,)`
        Last step of each column [px].
    shape_errors : ShapeErrors or None
        None where nothing of the shape was learnt.
    converged : bool
        False where iterations ran out before the steps of columns and shape were small.
    foreseen : bool
        Whether instruments told the shape (`instruments`): noise has no say in it then.
    """

    state: ImageState
    information: Information
    noise: NoiseModel
    moved: FloatArray
    shape_errors: ShapeErrors | None
    converged: bool = True
    foreseen: bool = False

    @cached_property
    def covariance(self) -> FloatArray:
        """Of each column's weight, y and x, `(N, 3, 3)`, whatever its neighbours' are."""
        return marginal_covariance(self.information, self.state.empty)


def _inner(shape: tuple[int, ...], rim: float, dtype: npt.DTypeLike) -> FloatArray:
    """1 far enough from the border, where no column outside of the image sheds light; 0 else."""
    inner = np.zeros(shape, dtype=dtype)
    y, x = (int(min(rim, n // RIM_PART)) for n in shape)
    inner[y : shape[0] - y, x : shape[1] - x] = 1.0
    return inner


class Seen(NamedTuple):
    """An image beside what is expected of it.

    Parameters
    ----------
    points : SpreadPoints
        The columns.
    noise : NoiseModel
    inverse, pull : arrays, `(H, W)`
        One over the variance of each pixel, and the residual times that.
    patches : Patches
    """

    points: SpreadPoints
    noise: NoiseModel
    inverse: FloatArray
    pull: FloatArray
    patches: Patches


class ImageFitter:
    """Fits all columns of one image.

    Parameters
    ----------
    pixels : Pixels
    start : array, `(N, 2)`
        (y, x) of the columns [px].
    sigma_px, cutoff_per_px : float
        Width of the columns, and where their transfer function ends.
    surface : SplineSurface
    config : ImageColumnConfig
    side : int
        Pixels along the side of the squares that were summed to these pixels.
    """

    def __init__(
        self,
        pixels: Pixels,
        start: FloatArray,
        sigma_px: float,
        cutoff_per_px: float,
        surface: SplineSurface,
        config: ImageColumnConfig,
        side: int = 1,
    ) -> None:
        self.side = side
        self.pixels = pixels
        self.start = start
        self.sigma, self.cutoff = sigma_px, cutoff_per_px
        self.surface = surface
        self.config = config
        dtype = pixels.data.dtype
        self.renderer = ColumnRenderer(pixels.data.shape, sigma_px, cutoff_per_px, dtype, side)
        self.inner = _inner(pixels.data.shape, RIM_SIGMA * sigma_px, dtype)
        self.negligible = 1e-7 * float(np.var(pixels.data[::3, ::3])) * pixels.data.size
        tree = cKDTree(start)
        self.every = max(int(sigma_px / THINNED_SIGMA), 1) if pixels.data_everywhere else 1
        touching = self.every * (2.0 * np.ceil(KNOWN_SIGMA * sigma_px / self.every) + 2.0)
        self.pairs: IntArray = tree.query_pairs(touching, np.inf, output_type="ndarray")
        away = start[self.pairs[:, 0]] - start[self.pairs[:, 1]]
        near = np.einsum("ni,ni->n", away, away) <= (PAIR_REACH_SIGMA * sigma_px) ** 2
        self.near_pairs: IntArray = self.pairs[near]
        self.most_lost = 1.0  # what background the equations stand to lose
        self.merged = np.zeros(len(start), dtype=bool)
        self.merged[tree.query_pairs(MERGED_SIGMA * sigma_px, output_type="ndarray")] = True

    def beside(self, pixels: Pixels, start: FloatArray, surface: SplineSurface) -> ImageFitter:
        """One of the same profile for other pixels and columns."""
        return ImageFitter(pixels, start, self.sigma, self.cutoff, surface, self.config, self.side)

    def run(
        self,
        state: ImageState,
        noise: NoiseModel,
        tolerance_px: float,
        progress: Progress,
        near: bool = False,
        last: bool = True,
    ) -> ImageFit:
        """Fisher scoring from a start.

        The normal equations are formed anew as long as the columns move by much: at first without
        the shape and without what neighbours share, which wait until everything is near.

        Parameters
        ----------
        state : ImageState
        noise : NoiseModel
            To start from; kept unless the settings leave the noise to the image.
        tolerance_px : float
            Root mean square step of 99 % of the positions at convergence [px].
        progress : Progress
        near : bool
            True where the start is the end of another fit.
        last : bool
            False where nothing but state, noise and, near the end, errors of the shape are asked
            for.
        """
        rebuild, first = True, not near
        free: FreeShape | None = None
        steadied, damping, longer = Steadying(), 1.0, Secant()
        best, least, typical, converged = state, np.inf, np.inf, False
        iterations = self.config.max_iterations * (2 if near else 1)
        for i in range(iterations):
            progress(i / iterations, "Fitting all columns together")
            points = self.renderer.spread(state.position)
            factor = self.renderer.structure_factor(points, state.weight)
            model = self.model(state, factor)
            misfit = float(np.sum(self.pixels.good * (self.pixels.data - model) ** 2))
            if misfit > WORSE * least + self.negligible and i > 1:
                state, rebuild, damping = best, True, damping * MORE_DAMPING
                continue
            best, least = state, min(misfit, least)
            if not first:
                noise = self.known(noise) or self.noise(model, STEP_SAMPLE)
            inverse = self.pixels.good / noise.variance(model)
            pull = (self.pixels.data - model) * inverse
            if rebuild:
                separable = self.separable(state)
            patches = Patches.of(separable, state.position, state.weight)
            if rebuild:
                looked, reshaped = self.looked(state, separable, patches), 0.0
                found = self.information(looked, inverse, alone=first)
                state = self.without_empty(state, found)
                equations = self.equations(looked, found, inverse, state, damping)
                if len(state.shape.amount) > 0 and (i > 0 or near):
                    known = None if free is None else free.found
                    given = state, patches, inverse, points, equations
                    free = self.free_shape(*given, near=known)
            columns, background = self.step(equations, patches, pull)
            if i >= SWIFT_STEPS:
                columns, background = steadied(columns, background)
            by_shape: FloatArray = np.zeros(len(state.shape.amount))
            if free is not None:
                departure = -state.shape.amount * self.prior(state.shape)
                asked = free.step(pull * self.inner, departure)
                more = longer(asked) if state.shape.n_modes else 1.0
                by_shape = self.limited(state.shape, more * asked)
                longer.taken(asked, by_shape)
                columns = columns - free.columns @ by_shape
                background = background - free.background @ by_shape
            state, moved = self.moved(state, columns, background, by_shape)
            before, typical = typical, typical_step(moved[~state.empty])
            stale = i % STALE == STALE - 1
            turned = float(np.abs(by_shape[: state.shape.n_modes]).max(initial=0.0))
            reshaped, first = reshaped + turned, False
            far = typical > REBUILD_SIGMA * self.sigma or reshaped > REBUILD_SHAPE
            rebuild = i == 0 or stale or far
            settled = max(typical, before) if near and last else typical
            converged = (stale or not rebuild) and settled < tolerance_px and turned < SETTLED_SHAPE
            if converged:
                break
        errors = None
        if free is not None and (last or near):
            errors = free.errors(pull * self.inner)
        noise = self.known(noise) or self.noise(model)
        if last:
            found = self.information(self.looked(state), self.pixels.good / noise.variance(model))
        return ImageFit(state, found, noise, moved, errors, converged)

    def settled(
        self,
        state: ImageState,
        noise: NoiseModel,
        tolerance_px: float,
        errors: ShapeErrors | None,
    ) -> ImageFit | None:
        """A fit whose state is known but for little: columns and background by few steps.

        None where they don't settle.

        Parameters
        ----------
        state : ImageState
        noise : NoiseModel
            Kept unless the settings leave the noise to the image.
        tolerance_px : float
            As of `run`; a step is a hundred times as long as the next.
        errors : ShapeErrors or None
            Of the shape, which stays as it is.
        """
        seen, still = self.seen(state, self.known(noise)), np.zeros(len(state.shape.amount))
        looked = self.looked(state, seen=seen.patches)
        found = self.information(looked, seen.inverse)
        state = self.without_empty(state, found)
        equations = self.equations(looked, found, seen.inverse, state)
        for _ in range(LAST_STEPS):
            columns, background = self.step(equations, seen.patches, seen.pull)
            state, moved = self.moved(state, columns, background, still)
            if typical_step(moved[~state.empty]) < LAST_TOLERANCE * tolerance_px:
                return ImageFit(state, found, seen.noise, moved, errors)
            seen = self.seen(state, seen.noise)
        return None

    def step(
        self, equations: NormalEquations, patches: Patches, pull: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Step of the columns, `(N, 3)`, and of the background that a weighted misfit asks for."""
        columns, background = equations.solve(
            patches.project(pull)[..., None], self.surface.adjoint(pull)[..., None], SOLVE_TOLERANCE
        )
        return columns[..., 0], background[..., 0]

    def seen(self, state: ImageState, noise: NoiseModel | None = None) -> Seen:
        """An image beside what is expected of it; without a noise, with that of the residual."""
        points = self.renderer.spread(state.position)
        model = self.model(state, self.renderer.structure_factor(points, state.weight))
        noise = noise or self.noise(model)
        inverse = self.pixels.good / noise.variance(model)
        patches = Patches.of(self.separable(state), state.position, state.weight)
        return Seen(points, noise, inverse, (self.pixels.data - model) * inverse, patches)

    def separable(self, state: ImageState) -> SeparableProfile:
        """Derivatives of a column of the state's profile."""
        dtype = self.pixels.data.dtype
        return SeparableProfile(state.shape.profile, self.sigma, dtype, self.side)

    def information(self, looked: Looked, inverse: FloatArray, alone: bool = False) -> Information:
        """By one over the variance of each pixel; of columns that share nothing if `alone`."""
        pairs = self.pairs if looked.tail > LEAST_TAIL else self.near_pairs
        if alone:
            pairs = pairs[:0]
        return looked.information(inverse, pairs, self.surface)

    def spread(self, state: ImageState, covariance: FloatArray) -> FloatArray:
        """By how much errors of the places make the expected image wider, `(H, W)`.

        Half the second derivatives of the columns by their places times `covariance`,
        `(N, 2, 2)` (y, x) [px^2].
        """
        points, renderer = self.renderer.spread(state.position), self.renderer
        ky, kx = renderer.ky, renderer.kx
        terms = ((0, 0, ky * ky), (0, 1, 2.0 * ky * kx), (1, 1, kx * kx))
        second = sum(
            renderer.structure_factor(points, state.weight * covariance[:, a, b])
            * (-2.0 * np.pi**2 * k).astype(renderer.dtype)
            for a, b, k in terms
        )
        return renderer.image(second * renderer.transfer(state.shape.profile))

    def looked(
        self,
        state: ImageState,
        separable: SeparableProfile | None = None,
        seen: Patches | None = None,
    ) -> Looked:
        """What the information of a state is summed over; the rest saves work where it is known."""
        separable = separable or self.separable(state)
        seen = seen or Patches.of(separable, state.position, state.weight)
        profile, place = state.shape.profile, state.position
        return Looked.of(separable, seen, profile, place, self.sigma, self.side, self.every)

    def equations(
        self,
        looked: Looked,
        found: Information,
        inverse: FloatArray,
        state: ImageState,
        damping: float = 1.0,
    ) -> NormalEquations:
        """Normal equations of columns and background; `inverse` is one over each variance."""
        equations = NormalEquations(
            found,
            self.surface,
            self.surface.gather(inverse),
            state.position,
            state.empty,
            damping * self.damping(state),
            looked.tail,
            looked.ring,
            self.most_lost,
        )
        self.most_lost = equations.most_lost
        return equations

    def damping(self, state: ImageState) -> FloatArray:
        """Information of weight, y and x, `(N, 3)`, that shortens steps of what hardly has any.

        Two columns that merge into one peak may trade places and weight for ever: they get more.
        """
        weight = max(float(np.percentile(state.weight, BRIGHT_PERCENTILE)), 1e-300)
        length = MAX_STEP_SIGMA * self.sigma
        plain = np.array([MAX_WEIGHT_STEP * weight, length, length]) ** -2.0
        return np.asarray(np.where(self.merged[:, None], MERGED_DAMPING, 1.0) * plain)

    def model(self, state: ImageState, factor: ComplexArray) -> FloatArray:
        """The expected image."""
        transfer = self.renderer.transfer(state.shape.profile)
        return np.asarray(
            self.renderer.image(factor * transfer) + self.surface.evaluate(state.background)
        )

    def known(self, noise: NoiseModel) -> NoiseModel | None:
        """The noise where the settings give it; None where it is the image's to tell."""
        return noise if self.config.noise == "poisson" else None

    def noise(self, model: FloatArray, sample: int = SAMPLE) -> NoiseModel:
        """Noise by the residual, read from so many pixels."""
        parameters = 3 * len(self.start) + self.surface.size[0] * self.surface.size[1]
        good = self.pixels.good > 0.5
        found = estimate_noise(self.pixels.data, model, good, parameters, sample)
        if self.config.noise == "gaussian":
            level = float(np.mean(model[good]))
            return NoiseModel(0.0, found.gain * level + found.constant)
        return found

    def without_empty(self, state: ImageState, found: Information) -> ImageState:
        """Columns too faint for a position are put back where they started, and held there."""
        bright = float(np.percentile(state.weight, BRIGHT_PERCENTILE))
        sigma = 1.0 / np.sqrt(np.maximum(found.block[:, 0, 0], 1e-300))
        empty = state.weight < np.maximum(
            self.config.min_weight * bright, LEAST_SIGNIFICANCE * sigma
        )
        position = np.where(empty[:, None], self.start, state.position)
        return replace(state, empty=empty, position=position)

    def prior(self, shape: Shape) -> FloatArray:
        """One over the variance that the shape's parameters are held to their start by."""
        strength = np.zeros(len(shape.amount))
        strength[: shape.n_modes] = self.config.prior_sigma**-2
        return strength

    def free_shape(
        self,
        state: ImageState,
        patches: Patches,
        inverse: FloatArray,
        points: SpreadPoints,
        equations: NormalEquations,
        derived: ImageState | None = None,
        near: tuple[FloatArray, FloatArray] | None = None,
    ) -> FreeShape:
        """What of the shape's derivative images no weight and no background can imitate.

        Of the columns of `state`, or those of `derived` where they are given. A change of the
        profile's tails looks almost like a change of the background: what is left
        when that is taken out must be formed as an image, for a difference of two large sums of
        products would drown in their errors. `near` is what was found at a state much like it.
        """
        seen = points if derived is None else self.renderer.spread(derived.position)
        weight = (derived or state).weight
        factor = self.renderer.structure_factor(seen, weight)
        by_shape = self.renderer.by_shape(state.shape)
        right_columns, right_background = [], []
        for by in by_shape:
            weighted = self.renderer.image(factor * by) * inverse
            right_columns.append(patches.project(weighted))
            right_background.append(self.surface.adjoint(weighted))
        columns, background = equations.solve(
            np.stack(right_columns, axis=-1),
            np.stack(right_background, axis=-1),
            SHAPE_TOLERANCE,
            near,
        )
        transfer = self.renderer.transfer(state.shape.profile)
        images = []
        for k, by in enumerate(by_shape):
            weights = self.renderer.structure_factor(points, columns[:, 0, k])
            image = self.renderer.image(factor * by - weights * transfer)
            images.append(image - self.surface.evaluate(background[..., k]))
        inside = inverse * self.inner
        tile, prior = max(TILE // self.side, 1), self.prior(state.shape)
        return FreeShape(columns, background, np.stack(images), inside, prior, tile)

    def limited(
        self, shape: Shape, step: FloatArray, most_blur: float = MAX_BLUR_STEP
    ) -> FloatArray:
        """A step of the shape, no longer than what a straight line may follow."""
        modes, blur = np.split(np.abs(step), [shape.n_modes])
        largest = max(modes.max(initial=0.0), blur.max(initial=0.0) / (most_blur * self.sigma**2))
        return np.asarray(step * min(1.0, 1.0 / max(float(largest), 1e-300)))

    def moved(
        self,
        state: ImageState,
        columns: FloatArray,
        background: FloatArray,
        by_shape: FloatArray,
    ) -> tuple[ImageState, FloatArray]:
        """The state after a step, and how far each column went."""
        bright = abs(float(np.percentile(state.weight, BRIGHT_PERCENTILE)))
        limit = MAX_STEP_SIGMA * self.sigma
        heavier = np.clip(columns[:, 0], -MAX_WEIGHT_STEP * bright, MAX_WEIGHT_STEP * bright)
        step = np.clip(columns[:, 1:], -limit, limit)
        step[state.empty] = 0.0
        return (
            replace(
                state,
                position=state.position + step,
                weight=state.weight + heavier,
                background=state.background + background,
                shape=state.shape.moved(by_shape),
            ),
            np.asarray(np.abs(step).max(axis=1)),
        )
