"""The shape of an image's columns, told from what can be foreseen of them.

Weights and places of thousands of columns are fitted along with the shape that they share. Noise
that is correlated (the grain of contamination, jitter of scan lines) goes into both: a column that
sits on a grain is taken for heavier, its tails for longer, and what is left of the grain agrees.
The answer is wrong in the same direction in every image (incidental parameters; Neyman & Scott
1948, doi:10.2307/1914288). So the derivatives that the residual is multiplied with are taken of
columns as they are foreseen (of their class, where the lattice and their neighbours put them):
their noise is not that of the residual; they are instruments (Sargan 1958,
doi:10.2307/1907619). Nothing of what a column differs from the foreseen by is kept: in dirt most
of that is dirt. One step leads only part of the way where the start is far off: columns settle
after each, until no further step is asked for.

Of second order, errors of the places make the expected columns wider than true ones are; their
mean is known and taken out of shape and places (Box 1971,
doi:10.1111/j.2517-6161.1971.tb00871.x).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ...types import FloatArray
from .derivatives import Patches, SeparableProfile
from .fit import ImageFit, ImageFitter, ImageState
from .steps import ShapeErrors, shape_by_instruments

Foresight = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
"""From fitted places `(N, 2)` (y, x) [px] and weights `(N,)` to those foreseen; NaN where none."""

LEAST_FORESEEN = 200  # columns; fewer tell nothing of what is noise
ROUNDS = 10
SETTLED_SIGMA = 0.2  # of what the image tells, or
SETTLED = 0.02  # of the family's standard deviation
MOST_STEP = 1.0  # of a round; columns settle before the next
LEAST_RELAXED, MOST_RELAXED = 0.7, 3.0
LOOSE_PX = 0.01


class _Asked(NamedTuple):
    """What instruments ask for where a fit has settled.

    Parameters
    ----------
    step : array, `(S,)`
        Of the shape.
    errors : ShapeErrors
    following : arrays, `(N, 3, S)` and `(ny, nx, S)`
        By how much columns and background fall when the shape's parameters grow.
    by_spread : arrays, `(N, 3)` and `(ny, nx)`
        Steps of columns and background that take out what errors of places do on average.
    """

    step: FloatArray
    errors: ShapeErrors
    following: tuple[FloatArray, FloatArray]
    by_spread: tuple[FloatArray, FloatArray]


def freed_of_noise(fitter: ImageFitter, fit: ImageFit, foresee: Foresight) -> ImageFit | None:
    """The fit with the shape that instruments ask for, all else following.

    Parameters
    ----------
    fitter : ImageFitter
    fit : ImageFit
        Where Fisher scoring ended, of columns whose shape is about right.
    foresee : Foresight

    Returns
    -------
    ImageFit or None
        None where fewer than 200 columns are foreseen.
    """
    before: FloatArray | None = None
    relaxed = 1.0
    for i in range(ROUNDS):
        asked = _asked(fitter, fit, foresee)
        if asked is None:
            return None
        if before is not None:
            relaxed = _relaxed(relaxed, before, asked.step)
        state, last = fit.state, i == ROUNDS - 1
        settled = abs(asked.step[0]) < max(SETTLED, SETTLED_SIGMA * asked.errors.sigma[0])
        step = fitter.limited(state.shape, relaxed * asked.step, MOST_STEP)
        columns, background = (-(by @ step) for by in asked.following)
        if settled or last:
            columns, background = columns + asked.by_spread[0], background + asked.by_spread[1]
        moved, _ = fitter.moved(state, columns, background, step)
        fit = replace(fit, state=moved, shape_errors=asked.errors, by_shape=asked.following)
        if settled or last:
            break
        before = asked.step
        if np.abs(step[0]) < 0.999 * np.abs(relaxed * asked.step[0]):
            before, relaxed = None, 1.0  # it was cut short: nothing to learn of its length
        fit = fitter.refitted(fit, LOOSE_PX)
    return fit


def _relaxed(relaxed: float, before: FloatArray, now: FloatArray) -> float:
    """How much longer the next step should be than it is asked for, by what the last one left.

    Aitken's (Irons & Tuck 1969, doi:10.1002/nme.1620010306), along the aberrations.
    """
    change = float(now[0] - before[0])
    if abs(change) < 1e-12:
        return relaxed
    return float(np.clip(-relaxed * before[0] / change, LEAST_RELAXED, MOST_RELAXED))


def _asked(fitter: ImageFitter, fit: ImageFit, foresee: Foresight) -> _Asked | None:
    state = fit.state
    foreseen = _foreseen(state, foresee)
    if foreseen is None:
        return None
    points = fitter.renderer.spread(state.position)
    model = fitter.model(state, fitter.renderer.structure_factor(points, state.weight))
    inverse = fitter.pixels.good / fit.noise.variance(model)
    pull = (fitter.pixels.data - model) * inverse
    separable = SeparableProfile(state.shape.profile, fitter.sigma, model.dtype)
    patches = Patches.of(separable, state.position, state.weight)
    equations = fitter.equations(fit.information, inverse, state)
    own = fitter.free_shape(state, patches, inverse, points, equations, None, fit.by_shape)
    told = fitter.free_shape(state, patches, inverse, points, equations, foreseen, own.found)
    errors = np.nan_to_num(fit.covariance[:, 1:, 1:])
    errors[state.empty] = 0.0
    wider = fitter.spread(state, errors) * inverse
    step, shape_errors = shape_by_instruments(own, told, (pull + wider) * fitter.inner)
    return _Asked(
        step,
        shape_errors,
        own.found,
        fitter.step(equations, patches, wider),
    )


def _foreseen(state: ImageState, foresee: Foresight) -> ImageState | None:
    """The columns as they are foreseen; those of which nothing is, as they were fitted."""
    position, weight = foresee(state.position, state.weight)
    known = np.isfinite(position).all(axis=1) & np.isfinite(weight) & ~state.empty
    if known.sum() < LEAST_FORESEEN:
        return None
    return replace(
        state,
        weight=np.where(known, weight, state.weight),
        position=np.where(known[:, None], position, state.position),
    )
