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
after each, until no further step is asked for. Instruments and equations cost most, and change
little on the way: they are formed anew only where they have led far.

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
from .derivatives import Information
from .fit import ImageFit, ImageFitter, ImageState, Seen
from .steps import FreeShape, ShapeErrors, shape_by_instruments
from .system import NormalEquations, marginal_covariance
from .types import NoiseModel

Foresight = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
"""From fitted places `(N, 2)` (y, x) [px] and weights `(N,)` to those foreseen; NaN where none."""

LEAST_FORESEEN = 200  # columns; fewer tell nothing of what is noise
ROUNDS = 10
SETTLED_SIGMA = 0.1  # of what the image tells, or
SETTLED = 0.01  # of the family's standard deviation
SETTLED_BLUR = 0.001  # of a column's width, squared
FOLLOWED = 6  # steps with the same instruments
ENDING = 3  # steps of columns and background alone
NEAR = 0.4  # of the family: so far instruments stay as they are, or
STRAIGHT = 1.3  # times as far as they ask for at first
MOST_STEP = 1.0
LEAST_RELAXED, MOST_RELAXED = 0.7, 3.0


class _Asked(NamedTuple):
    """What instruments ask for, and how all else follows.

    Parameters
    ----------
    state : ImageState
        Where they were formed.
    seen : Seen
    information : Information
    equations : NormalEquations
    own, told : FreeShape
        Derivatives by the shape of the columns as they are, and as they are foreseen.
    errors_of_places : array, `(N, 2, 2)`
        Covariance [px^2].
    wider : array, `(H, W)`
        What errors of places do to the pull on average.
    step : array, `(S,)`
        Of the shape.
    errors : ShapeErrors
    """

    state: ImageState
    seen: Seen
    information: Information
    equations: NormalEquations
    own: FreeShape
    told: FreeShape
    errors_of_places: FloatArray
    wider: FloatArray
    step: FloatArray
    errors: ShapeErrors

    def settled(self, step: FloatArray, sigma_px: float) -> bool:
        """Whether a step is so small that no further one is needed after it."""
        small = max(SETTLED, SETTLED_SIGMA * self.errors.sigma[0])
        blur = float(np.abs(step[self.state.shape.n_modes :]).max()) / sigma_px**2
        return bool(abs(step[0]) < small and blur < SETTLED_BLUR)

    def step_by(self, pull: FloatArray) -> FloatArray:
        """What the instruments, as they are, ask for by another pull."""
        return np.asarray(self.errors.inverse @ self.told.scores(pull).sum(axis=0))

    def following(self, step: FloatArray) -> tuple[FloatArray, FloatArray]:
        """By how much columns and background change with a step of the shape."""
        columns, background = self.own.found
        return -(columns @ step), -(background @ step)


def freed_of_noise(
    fitter: ImageFitter, state: ImageState, noise: NoiseModel, foresee: Foresight
) -> ImageFit | None:
    """The fit with the shape that instruments ask for, all else following.

    Parameters
    ----------
    fitter : ImageFitter
    state : ImageState
        Columns whose shape is about right.
    noise : NoiseModel
    foresee : Foresight

    Returns
    -------
    ImageFit or None
        None where fewer than 200 columns are foreseen.
    """
    errors: FloatArray | None = None
    near: tuple[FloatArray, FloatArray] | None = None
    for i in range(ROUNDS):
        asked = _asked(fitter, state, foresee, errors, near)
        if asked is None:
            return None
        fit, step = _followed(fitter, asked)
        far = fit.state.shape.amount[0] - asked.state.shape.amount[0]
        near_enough = abs(far) < max(NEAR, STRAIGHT * abs(asked.step[0]))
        if i == ROUNDS - 1 or (near_enough and asked.settled(step, fitter.sigma)):
            fit = _ended(fitter, asked, fit)
            break
        state, errors, near = fit.state, asked.errors_of_places, asked.own.found
    return fit


def _asked(
    fitter: ImageFitter,
    state: ImageState,
    foresee: Foresight,
    errors_of_places: FloatArray | None,
    near: tuple[FloatArray, FloatArray] | None,
) -> _Asked | None:
    """What instruments ask for; `errors_of_places` and `near` by a state much like it."""
    foreseen = _foreseen(state, foresee)
    if foreseen is None:
        return None
    seen = fitter.seen(state)
    found = fitter.information(seen.patches, seen.inverse)
    state = fitter.without_empty(state, found)
    equations = fitter.equations(found, seen.inverse, state)
    if errors_of_places is None:
        errors_of_places = np.nan_to_num(marginal_covariance(found, state.empty)[:, 1:, 1:])
        errors_of_places[state.empty] = 0.0
    formed = state, seen.patches, seen.inverse, seen.points, equations
    own = fitter.free_shape(*formed, None, near)
    told = fitter.free_shape(*formed, foreseen, own.found)
    wider = fitter.spread(state, errors_of_places) * seen.inverse
    step, errors = shape_by_instruments(own, told, (seen.pull + wider) * fitter.inner)
    return _Asked(state, seen, found, equations, own, told, errors_of_places, wider, step, errors)


def _followed(fitter: ImageFitter, asked: _Asked) -> tuple[ImageFit, FloatArray]:
    """Where instruments, as they are, ask for no further step.

    Columns and background settle along, by the equations as they are, at last without what
    errors of places do to them on average.

    Returns
    -------
    fit : ImageFit
    step : array, `(S,)`
        What was asked for and taken last.
    """
    state, seen, step, relaxed = asked.state, asked.seen, asked.step, 1.0
    for i in range(FOLLOWED):
        settled = fitter.step(asked.equations, seen.patches, seen.pull)
        taken = fitter.limited(state.shape, relaxed * step, MOST_STEP)
        along = asked.following(taken)
        state, _ = fitter.moved(state, settled[0] + along[0], settled[1] + along[1], taken)
        if asked.settled(step, fitter.sigma) or i == FOLLOWED - 1:
            break
        state, _ = _settled(fitter, asked, state, 0.0)
        seen = fitter.seen(state, asked.seen.noise)
        before, whole = step, np.abs(taken[0]) > 0.999 * np.abs(relaxed * step[0])
        step = asked.step_by((seen.pull + asked.wider) * fitter.inner)
        # of a step cut short there is nothing to learn
        relaxed = _relaxed(relaxed, before, step) if whole else 1.0
    state, moved = _settled(fitter, asked, state, asked.wider)
    noise, found = asked.seen.noise, asked.information
    return ImageFit(state, found, noise, moved, asked.errors, asked.own.found), step


def _ended(fitter: ImageFitter, asked: _Asked, fit: ImageFit) -> ImageFit:
    """Settled by equations formed where it ended: faint columns swing by those of before."""
    seen = fitter.seen(fit.state, fit.noise)
    found = fitter.information(seen.patches, seen.inverse)
    equations = fitter.equations(found, seen.inverse, fit.state)
    asked = asked._replace(equations=equations)
    state, moved = fit.state, fit.moved
    for _ in range(ENDING):
        state, moved = _settled(fitter, asked, state, asked.wider)
    return replace(fit, state=state, moved=moved, information=found)


def _settled(
    fitter: ImageFitter, asked: _Asked, state: ImageState, wider: FloatArray | float
) -> tuple[ImageState, FloatArray]:
    """A step of columns and background alone, and how far each column went."""
    seen = fitter.seen(state, asked.seen.noise)
    step = fitter.step(asked.equations, seen.patches, seen.pull + wider)
    return fitter.moved(state, *step, np.zeros(len(asked.step)))


def _relaxed(relaxed: float, before: FloatArray, now: FloatArray) -> float:
    """How much longer the next step should be than it is asked for, by what the last one left.

    Aitken's (Irons & Tuck 1969, doi:10.1002/nme.1620010306), along the aberrations.
    """
    change = float(now[0] - before[0])
    if abs(change) < 1e-12:
        return relaxed
    return float(np.clip(-relaxed * before[0] / change, LEAST_RELAXED, MOST_RELAXED))


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
