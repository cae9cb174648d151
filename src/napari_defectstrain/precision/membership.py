"""How windows belong to the populations of a fitted mixture, and what each did to the fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..averages import Membership
from ..types import FloatArray
from .mixture_fit import Known, Mixture, by_window

STEP = 1e-4
"""By which parameters are moved for derivatives: coordinates and noise are of the order of one."""


def membership_of(
    value: FloatArray, fit: Mixture, known: Known, others: Sequence[str]
) -> Membership:
    """How the windows belong to the populations of a mixture that was fitted to them.

    The fit is of maximum likelihood: a window moves its parameters by the inverse of the observed
    information times its own score (White 1982, doi:10.2307/1912526).

    Parameters
    ----------
    value : array, `(1, N, 2)`
        Whitened windows.
    fit : Mixture
        Of this sample, K populations; the best one.
    known : Known
    others : sequence of str
        Names of the J other classes expected among the windows.
    """
    k = fit.mean.shape[1]
    start = _parameters(fit)

    def at(parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        return by_window(value, _mixture(parameters, k), known)

    def score(parameters: FloatArray) -> FloatArray:
        return _slope(lambda p: at(p)[1], parameters)

    here = score(start)  # (T, N)
    information = -_slope(lambda p: score(p).sum(axis=1), start)
    information = 0.5 * (information + information.T)
    outer = here @ here.T
    for matrix in (information, outer):
        matrix[-1, -1] += 1.0 / known.log_scale_sigma**2
    # at an edge of the shares the information may have no inverse; the scores' own product has
    if np.linalg.eigvalsh(information).min() <= 1e-9 * np.abs(information).max():
        information = outer
    gradient = _slope(lambda p: at(p)[0], start)  # (T, K + J, N)
    mean_gradient = _slope(lambda p: _mixture(p, k).mean[0], start)
    chance = at(start)[0].T
    return Membership(
        value=value[0],
        chance=chance[:, :k],
        mean=fit.mean[0],
        influence=(np.linalg.pinv(information) @ here).T,
        chance_gradient=gradient[:, :k].transpose(0, 2, 1),
        mean_gradient=mean_gradient,
        others=tuple(others),
        other_chance=chance[:, k:],
        other_mean=known.other_mean,
        other_gradient=gradient[:, k:].transpose(0, 2, 1),
    )


def _parameters(fit: Mixture) -> FloatArray:
    """Means, logarithms of the shares over the first one's, logarithm of the scale, `(T,)`."""
    share = np.log(np.maximum(fit.share[0], 1e-12))
    return np.concatenate([fit.mean[0].ravel(), share[1:] - share[0], np.log(fit.scale)])


def _mixture(parameters: FloatArray, k: int) -> Mixture:
    share = np.exp(np.concatenate([[0.0], parameters[2 * k : -1]]))
    mean = parameters[: 2 * k].reshape(1, k, 2)
    return Mixture(mean, (share / share.sum())[None], np.exp(parameters[-1:]), np.zeros(1))


def _slope(function: Callable[[FloatArray], FloatArray], at: FloatArray) -> FloatArray:
    """Derivatives by all parameters, which come first."""
    return np.stack(
        [
            (function(at + STEP * unit) - function(at - STEP * unit)) / (2.0 * STEP)
            for unit in np.eye(len(at))
        ]
    )
