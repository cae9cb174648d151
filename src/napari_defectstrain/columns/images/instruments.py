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

from ...types import BoolArray, FloatArray
from .derivatives import Information, Looked
from .fit import ImageFit, ImageFitter, ImageState, Seen
from .steps import FreeShape, Secant, ShapeErrors, shape_by_instruments, typical_step
from .system import NormalEquations, marginal_covariance
from .types import NoiseModel

Foresight = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
"""From fitted places `(N, 2)` (y, x) [px] and weights `(N,)` to those foreseen; NaN where none."""

LEAST_FORESEEN = 200  # columns; fewer tell nothing of what is noise
ROUNDS = 9
SETTLED_SIGMA = 0.1  # of what the image tells, or
SETTLED = 0.02  # of the family's standard deviation
SETTLED_BLUR = 0.001  # of a column's width, squared
FOLLOWED = 6  # steps with the same instruments
ENDING = 3  # steps of columns and background alone
NEAR = 1.0  # of the family: so far instruments stay as they are
NEAR_BLUR = 0.3  # of a column's width, squared
APPROACH = 5  # steps of columns and background to a profile that is given, at most
NEAR_STEP = 0.015  # of a column's width
GROWN, GROWN_STEP = 3.0, 0.01
"""Steps of columns that become so many times longer, and longer than this part of a width, lead
away from the solution."""
STRAY = 1.25  # of a column's width: near a neighbour two columns take each other's light
MOST_BLUR_STEP = 1.0
MOST_LONGER = 3.0  # a step of the shape than the one before it
MOST_ERROR = 0.7  # of a place, of a column's width
SECANT = (0.3, 3.0)  # wider than beside columns that swing: here they settle after each step
LEAST_CHANGE = 1e-12


class _Formed(NamedTuple):
    """Normal equations of columns and background, and where the columns are.

    Parameters
    ----------
    state : ImageState
    seen : Seen
    information : Information
    equations : NormalEquations
        Formed at this state or at one much like it, by the same noise.
    """

    state: ImageState
    seen: Seen
    information: Information
    equations: NormalEquations


class _Asked(NamedTuple):
    """What instruments ask for, and how all else follows.

    Parameters
    ----------
    formed : _Formed
        Where they were formed.
    own, told : FreeShape
        Derivatives by the shape of the columns as they are, and as they are foreseen.
    wider : array, `(H, W)`
        What errors of places do to the pull on average.
    step : array, `(S,)`
        Of the shape.
    errors : ShapeErrors
    """

    formed: _Formed
    own: FreeShape
    told: FreeShape
    wider: FloatArray
    step: FloatArray
    errors: ShapeErrors

    def settled(self, step: FloatArray, sigma_px: float) -> bool:
        """Whether a step is so small that no further one is needed after it."""
        small = max(SETTLED, SETTLED_SIGMA * self.errors.sigma[0])
        blur = float(np.abs(step[self.formed.state.shape.n_modes :]).max()) / sigma_px**2
        return bool(abs(step[0]) < small and blur < SETTLED_BLUR)

    def near(self, state: ImageState, sigma_px: float) -> bool:
        """Whether a shape is so near that instruments formed anew would ask for the same."""
        away = np.abs(state.shape.amount - self.formed.state.shape.amount)
        modes, blur = np.split(away, [state.shape.n_modes])
        return bool(modes.max() < NEAR and blur.max() < NEAR_BLUR * sigma_px**2)

    def step_by(self, pull: FloatArray) -> FloatArray:
        """What the instruments, as they are, ask for by another pull."""
        return np.asarray(self.errors.inverse @ self.told.scores(pull).sum(axis=0))

    def following(self, step: FloatArray) -> tuple[FloatArray, FloatArray]:
        """By how much columns and background change with a step of the shape."""
        columns, background = self.own.found
        return -(columns @ step), -(background @ step)


def freed_of_noise(
    fitter: ImageFitter,
    state: ImageState,
    noise: NoiseModel,
    foresee: Foresight,
    rough: bool = False,
) -> ImageFit | None:
    """The fit with the shape that instruments ask for, all else following.

    Parameters
    ----------
    fitter : ImageFitter
    state : ImageState
        Columns whose shape is about right.
    noise : NoiseModel
    foresee : Foresight
    rough : bool
        Whether weights are guesses.

    Returns
    -------
    ImageFit or None
        None where fewer than 200 columns are foreseen, or where the equations become singular on
        the way, as in images without noise.
    """
    # with light beyond patches where a broad probe, far out of focus, leads astray without
    for beyond in (False, True):
        try:
            return _freed(fitter, state, noise, foresee, rough, beyond)
        except (np.linalg.LinAlgError, RuntimeError):  # of numpy; of SuperLU
            pass
    return None


def _freed(
    fitter: ImageFitter,
    state: ImageState,
    noise: NoiseModel,
    foresee: Foresight,
    rough: bool,
    beyond: bool,
) -> ImageFit | None:
    known = fitter.known(noise)
    if rough:  # equations by wrong weights lead astray: one step gives weights, no more
        formed = _formed(fitter, state, noise, beyond)
        state = _corrected(formed.state, _settled(fitter, formed, 0.0)[0])
        formed = _approached(fitter, state, known, beyond)
    else:
        near = _approached(fitter, state, noise, beyond).state
        formed = _formed(fitter, near, known, beyond)
    asked, converged = _asked(fitter, formed, foresee, None), False
    for _ in range(ROUNDS):
        if asked is None:
            return None
        state, step = _followed(fitter, asked)
        ended = asked
        converged = asked.near(state, fitter.sigma) and asked.settled(step, fitter.sigma)
        if converged:
            break
        formed = _formed(fitter, state, known, beyond)
        asked = _asked(fitter, formed, foresee, asked.own.found)
    formed = _formed(fitter, state, known, beyond)
    return replace(_ended(fitter, ended, formed), converged=converged, foreseen=True)


def _wider(fitter: ImageFitter, state: ImageState, found: Information) -> FloatArray:
    """By how much errors of the places make the expected image wider, `(H, W)`."""
    errors_of_places = np.nan_to_num(marginal_covariance(found, state.empty)[:, 1:, 1:])
    errors_of_places[state.empty | _lost(errors_of_places, fitter.sigma)] = 0.0
    return fitter.spread(state, errors_of_places)


def _formed(
    fitter: ImageFitter, state: ImageState, noise: NoiseModel | None, beyond: bool
) -> _Formed:
    """Equations of columns and background; without a noise, by that of the residual.

    Those of patches alone, without light `beyond` these, stand it best that they are kept while
    the shape goes far.
    """
    seen = fitter.seen(state, noise)
    looked = fitter.looked(state, seen=seen.patches) if beyond else Looked(seen.patches)
    found = fitter.information(looked, seen.inverse)
    state = fitter.without_empty(state, found)
    return _Formed(state, seen, found, fitter.equations(looked, found, seen.inverse, state))


def _approached(
    fitter: ImageFitter, state: ImageState, noise: NoiseModel | None, beyond: bool
) -> _Formed:
    """Columns and background as they follow from another profile, by equations formed before."""
    formed = _formed(fitter, state, noise, beyond)
    for _ in range(APPROACH):
        state, moved = _settled(fitter, formed, 0.0)
        formed = formed._replace(state=state, seen=fitter.seen(state, formed.seen.noise))
        if typical_step(moved[~state.empty]) < NEAR_STEP * fitter.sigma:
            break
    return formed


def _corrected(before: ImageState, after: ImageState) -> ImageState:
    """A step from guessed weights, places as far as the weights found would have them go."""
    share = np.clip(before.weight / np.maximum(after.weight, 1e-300), 0.0, 2.0)[:, None]
    return replace(after, position=before.position + share * (after.position - before.position))


def _asked(
    fitter: ImageFitter,
    formed: _Formed,
    foresee: Foresight,
    near: tuple[FloatArray, FloatArray] | None,
) -> _Asked | None:
    """What instruments ask for; `near` is `FreeShape.found` at a state much like it."""
    state, seen, found, equations = formed
    foreseen = _foreseen(state, foresee)
    if foreseen is None:
        return None
    given = state, seen.patches, seen.inverse, seen.points, equations
    own = fitter.free_shape(*given, None, near)
    told = fitter.free_shape(*given, foreseen, own.found)
    wider = _wider(fitter, state, found) * seen.inverse
    step, errors = shape_by_instruments(own, told, (seen.pull + wider) * fitter.inner)
    return _Asked(formed, own, told, wider, step, errors)


def _lost(covariance: FloatArray, sigma_px: float) -> BoolArray:
    """Columns whose errors are too large for second derivatives to say what they do, `(N,)`."""
    return np.asarray(np.trace(covariance, axis1=1, axis2=2) > (MOST_ERROR * sigma_px) ** 2)


def _followed(fitter: ImageFitter, asked: _Asked) -> tuple[ImageState, FloatArray]:
    """Where instruments, as they are, ask for no further step.

    Columns and background settle along, by the equations as they are, and without what errors of
    places do to them on average: near the border instruments don't tell that from the shape's.

    Returns
    -------
    state : ImageState
    step : array, `(S,)`
        What was asked for and taken last.
    """
    formed, step, least = asked.formed, asked.step, np.inf
    longer = Secant(SECANT, LEAST_CHANGE)
    for i in range(FOLLOWED):
        state, seen = formed.state, formed.seen
        settled = fitter.step(formed.equations, seen.patches, seen.pull + asked.wider)
        taken = fitter.limited(state.shape, longer(step) * step, MOST_BLUR_STEP)
        longer.taken(step, taken)
        along = asked.following(taken)
        state, _ = _moved(fitter, state, settled[0] + along[0], settled[1] + along[1], taken)
        if asked.settled(step, fitter.sigma) or i == FOLLOWED - 1:
            break
        formed = formed._replace(state=state, seen=fitter.seen(state, seen.noise))
        there, moved = _settled(fitter, formed, asked.wider)
        length = float(np.sqrt(np.mean(moved[~state.empty] ** 2)))
        if length > max(GROWN * least, GROWN_STEP * fitter.sigma):
            break
        state, least = _without_strays(fitter, there), min(least, length)
        formed = formed._replace(state=state, seen=fitter.seen(state, seen.noise))
        before = step
        step = asked.step_by((formed.seen.pull + asked.wider) * fitter.inner)
        if abs(step[0]) > max(MOST_LONGER * abs(before[0]), NEAR):
            raise np.linalg.LinAlgError("the steps of the shape diverge")
    return state, step


def _ended(fitter: ImageFitter, asked: _Asked, formed: _Formed) -> ImageFit:
    """Settled by equations formed where it ended: faint columns swing by those of before.

    Without what errors of places do to columns and background on average.
    """
    # as much of the pull as there was, by the noise as it turns out
    wider = asked.wider * (formed.seen.inverse / np.maximum(asked.formed.seen.inverse, 1e-30))
    for i in range(ENDING):
        state, moved = _settled(fitter, formed, wider)
        if i == ENDING - 1 or typical_step(moved[~state.empty]) < fitter.config.tolerance_px:
            break
        formed = formed._replace(state=state, seen=fitter.seen(state, formed.seen.noise))
    return ImageFit(state, formed.information, formed.seen.noise, moved, asked.errors)


def _without_strays(fitter: ImageFitter, state: ImageState) -> ImageState:
    """Columns that have left their places are put back where they started."""
    far = np.hypot(*(state.position - fitter.start).T) > STRAY * fitter.sigma
    return replace(state, position=np.where(far[:, None], fitter.start, state.position))


def _settled(
    fitter: ImageFitter, formed: _Formed, wider: FloatArray | float
) -> tuple[ImageState, FloatArray]:
    """A step of columns and background alone, and how far each column went."""
    seen, state = formed.seen, formed.state
    step = fitter.step(formed.equations, seen.patches, seen.pull + wider)
    return _moved(fitter, state, *step, np.zeros(len(state.shape.amount)))


def _moved(
    fitter: ImageFitter,
    state: ImageState,
    columns: FloatArray,
    background: FloatArray,
    by_shape: FloatArray,
) -> tuple[ImageState, FloatArray]:
    """`ImageFitter.moved`; steps that diverged end it."""
    parts = (columns[~state.empty], background, by_shape)
    if not all(np.isfinite(part).all() for part in parts):
        raise np.linalg.LinAlgError("the steps of the columns diverge")
    return fitter.moved(state, columns, background, by_shape)


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
