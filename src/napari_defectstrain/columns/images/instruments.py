"""The shape of an image's columns, told from what can be foreseen of them.

Weights and places of thousands of columns are fitted along with the shape that they share. Noise
that is correlated (the grain of contamination, jitter of scan lines) goes into both: a column that
sits on a grain is taken for heavier, its tails for longer, and what is left of the grain agrees.
The answer is wrong in the same direction in every image (incidental parameters; Neyman & Scott
1948, doi:10.2307/1914288). So the derivatives that the residual is multiplied with are taken of
columns as they are foreseen (of their class, where the lattice and their neighbours put them):
their noise is not that of the residual; they are instruments (Sargan 1958,
doi:10.2307/1907619). As much of what a column differs from the foreseen by is kept as is more than
the noise of its pixels. What is of second order in the noise stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ...crystal.robust import robust_sigma
from ...types import FloatArray
from .derivatives import Patches, SeparableProfile
from .fit import ImageFit, ImageFitter, ImageState
from .steps import shape_by_instruments

Foresight = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
"""From fitted places `(N, 2)` (y, x) [px] and weights `(N,)` to those foreseen; NaN where none."""

LEAST_FORESEEN = 200  # columns; fewer tell nothing of what is noise


def freed_of_noise(fitter: ImageFitter, fit: ImageFit, foresee: Foresight) -> ImageFit:
    """The fit after the step of its shape that instruments ask for, all else following.

    Parameters
    ----------
    fitter : ImageFitter
    fit : ImageFit
        Where Fisher scoring ended.
    foresee : Foresight

    Returns
    -------
    ImageFit
        The same where fewer than 200 columns are foreseen or the shape isn't fitted.
    """
    state = fit.state
    if fit.shape_errors is None:
        return fit
    foreseen = _foreseen(fit, foresee)
    if foreseen is None:
        return fit
    points = fitter.renderer.spread(state.position)
    model = fitter.model(state, fitter.renderer.structure_factor(points, state.weight))
    inverse = fitter.pixels.good / fit.noise.variance(model)
    pull = (fitter.pixels.data - model) * inverse
    separable = SeparableProfile(state.shape.profile, fitter.sigma, model.dtype)
    patches = Patches.of(separable, state.position, state.weight)
    equations = fitter.equations(fit.information, inverse, state)
    own = fitter.free_shape(state, patches, inverse, points, equations, None, fit.by_shape)
    told = fitter.free_shape(state, patches, inverse, points, equations, foreseen, own.found)
    step, errors = shape_by_instruments(own, told, pull * fitter.inner)
    step = fitter.limited(state.shape, step)
    moved, _ = fitter.moved(
        state, -(own.columns @ step), -(own.background @ step), np.asarray(step)
    )
    return replace(fit, state=moved, shape_errors=errors)


def _foreseen(fit: ImageFit, foresee: Foresight) -> ImageState | None:
    """The columns as they are foreseen, with that part of their departure that is not noise."""
    state = fit.state
    position, weight = foresee(state.position, state.weight)
    known = np.isfinite(position).all(axis=1) & np.isfinite(weight) & ~state.empty
    if known.sum() < LEAST_FORESEEN:
        return None
    fitted = np.column_stack([state.weight, state.position])
    away = fitted - np.column_stack([weight, position])
    variance = np.einsum("nii->ni", fit.covariance)
    kept = np.ones(3)
    for k in range(3):
        spread = robust_sigma(away[known, k] / np.sqrt(np.maximum(variance[known, k], 1e-300)))
        kept[k] = max(1.0 - 1.0 / max(spread**2, 1.0), 0.0)
    taken = np.where(known[:, None], fitted - (1.0 - kept) * away, fitted)
    return replace(state, weight=taken[:, 0], position=taken[:, 1:])
