"""Several models of the same averages: fitted beside each other, here or by another process.

Where other processes help (`progress.helped_by`), one of them fits the models that nobody asks for
operators while this one fits that of the positions. The numbers are the same in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import fdtrc

from ...io.large_arrays import in_parts, let_go
from ...progress import are_there_helpers, asked_of_helpers, shared_out
from ...types import ClassAverage, ClassStack, FloatArray, IntArray, Progress, no_progress
from ..types import MODELS
from .models import Start, fit_singles, fit_together
from .types import ColumnConfig, ColumnFitModel, WindowResponse

CHECK, ASYMMETRIC = "check", "asymmetric"
CHECK_PRIOR = 5.0
CHUNK = 256  # windows looked at at a time
MOST_SENT_BYTES = 1 << 27
"""More windows aren't sent to another process: they are as many as there are images."""
Response = tuple[FloatArray, FloatArray]
"""Influence of each window on the positions of its class, `(N, 2M)`, and the profile, `(N, g)`."""
Fitted = tuple[dict[str, ColumnFitModel], dict[str, Response]]


@dataclass(frozen=True)
class Windows:
    """Some rows of a stack; nothing but these is sent to another process.

    Parameters
    ----------
    every : array, `(N, size, size)`
    index : array of int, `(n,)`
    """

    every: FloatArray
    index: IntArray

    @classmethod
    def of(cls, stack: ClassStack) -> Windows:
        """Those that are included."""
        return cls(stack.windows, np.flatnonzero(stack.included))

    def __reduce__(self) -> tuple[Callable[..., Windows], tuple[Any, ...]]:
        rows = np.asarray(self.every[self.index])
        let_go(self.every)
        return Windows, (rows, np.arange(len(rows)))

    @property
    def n_bytes(self) -> int:
        """Of the rows."""
        return len(self.index) * int(np.prod(self.every.shape[1:])) * self.every.itemsize

    def parts(self) -> Iterator[FloatArray]:
        """The rows, some at a time."""
        return in_parts(self.every, self.index, CHUNK)


def asked_models(config: ColumnConfig, check: bool) -> dict[str, ColumnConfig]:
    """The models that are fitted, beside each other: none of them starts from another one.

    Parameters
    ----------
    config : ColumnConfig
    check : bool
        Whether a second, richer profile is among them.
    """
    asked = {config.model: config}
    if check and config.model == "profile":
        loose = CHECK_PRIOR * config.prior_sigma
        asked[CHECK] = config.replace(n_coefficients=config.check_coefficients, prior_sigma=loose)
    if config.compare:
        asked |= {m: config.replace(model=m) for m in MODELS if m != config.model}
        if config.model == "profile" and not config.asymmetric:
            asked[ASYMMETRIC] = config.replace(asymmetric=True)
    return asked


def asymmetry_p(fitted: Fitted) -> float:
    """Chance of angular terms as large from a profile that is the same in all directions.

    Hotelling's statistic of the terms, by the scatter of what single windows do to them (Hotelling
    1931, doi:10.1214/aoms/1177732979): the terms are held to zero and shrink, and so does what
    noise makes of them.

    Parameters
    ----------
    fitted : Fitted
        Of a profile with angular terms.

    Returns
    -------
    float
        1 where there are too few windows to tell.
    """
    models, by = fitted
    structure = next(iter(models.values())).structure
    if structure is None:
        return 1.0
    terms = structure.profile.asymmetry.coefficient
    number = len(terms)
    freedom = sum(len(by_profile) - 1 for _, by_profile in by.values())
    left = freedom - number + 1
    if number == 0 or left < number:
        return 1.0
    shown = [by_profile[:, -number:] for _, by_profile in by.values()]
    # of the sum over all windows: each is one of its class's average
    covariance = sum(len(one) / max(len(one) - 1, 1) * one.T @ one for one in shown)
    try:
        square = float(terms @ np.linalg.solve(covariance, terms))
    except np.linalg.LinAlgError:
        return 1.0
    if not square > 0.0:
        return 1.0
    return float(fdtrc(number, left, square * left / (number * freedom)))


def worth_of_terms(own: Fitted, asymmetric: Fitted) -> float:
    """Mean square of what angular terms change, beyond noise, in units of the fit's own variance.

    Of the displacements against the class of most windows, of all classes and columns, each less
    the common shift of its average's metals.

    Parameters
    ----------
    own, asymmetric : Fitted
        The same averages without and with angular terms.
    """
    changes, noises, errors = [], [], []
    most = max(own[1], key=lambda name: len(own[1][name][0]))
    for name, model in own[0].items():
        metal = model.fits.is_metal
        change = asymmetric[0][name].fits.position_pm - model.fits.position_pm
        change = change - np.nanmean(change[metal], axis=0)
        before, after = own[1][name][0], asymmetric[1][name][0]
        n = max(len(before), 2)
        changes.append(change)
        noises.append(np.mean((after - before) ** 2, axis=0).reshape(-1, 2) / (n - 1))
        errors.append(np.mean(before**2, axis=0).reshape(-1, 2) / (n - 1))
    first = list(own[0]).index(most)
    gained = [
        ((one - changes[first]) ** 2 - noise - noises[first]) / (error + errors[first])
        for k, (one, noise, error) in enumerate(zip(changes, noises, errors, strict=True))
        if k != first
    ]
    return float(np.nanmean(np.concatenate(gained))) if gained else 0.0


def fit_by_others(
    asked: Mapping[str, ColumnConfig],
    averages: Mapping[str, ClassAverage],
    windows: Mapping[str, Windows],
    start: Start,
) -> Future[dict[str, Fitted]] | None:
    """Models that another process fits; None where there is none, or too much to send.

    Parameters
    ----------
    asked : mapping of str to ColumnConfig
    averages, windows : mappings by class
    start : Start
    """
    most = sum(one.n_bytes for one in windows.values())
    if not asked or not are_there_helpers() or most > MOST_SENT_BYTES:
        return None
    return asked_of_helpers(_fit_models, dict(asked), dict(averages), dict(windows), start)


def _fit_models(
    asked: Mapping[str, ColumnConfig],
    averages: Mapping[str, ClassAverage],
    windows: Mapping[str, Windows],
    start: Start,
    progress: Progress,
) -> dict[str, Fitted]:
    return fit_models(asked, averages, windows, start, None, progress)


def fit_models(
    asked: Mapping[str, ColumnConfig],
    averages: Mapping[str, ClassAverage],
    windows: Mapping[str, Windows],
    start: Start,
    own: str | None,
    progress: Progress,
    respond: bool = True,
) -> dict[str, Fitted]:
    """Fits of the same averages, and what the windows do in each.

    Parameters
    ----------
    asked : mapping of str to ColumnConfig
    averages, windows : mappings by class
    start : Start
    own : str or None
        The one that keeps its operators: they take twenty megabytes a class.
    progress : Progress
    respond : bool
        Whether what the windows do is asked for; else it is nothing.
    """

    def by_model(name: str) -> Fitted:
        settings, operators = asked[name], name == own
        if settings.model == "gaussian":
            models = fit_singles(averages, settings)
        else:
            models = fit_together(averages, settings, start, no_progress, respond, operators)
        if not respond:
            return without_operators(models), _no_responses(models, windows)
        response = _responses(models, windows)
        return models if operators else without_operators(models), response

    said = "Fitting all columns together"
    found = shared_out(by_model, asked, progress=progress, message=said)
    return dict(zip(asked, found, strict=True))


def without_operators(models: Mapping[str, ColumnFitModel]) -> dict[str, ColumnFitModel]:
    """Fits whose windows have told."""
    return {name: model.without_operators() for name, model in models.items()}


def _responses(
    models: Mapping[str, ColumnFitModel], windows: Mapping[str, Windows]
) -> dict[str, Response]:
    """What the windows of all classes do."""

    def of_class(name: str) -> Response:
        model = models[name]
        if model.response is not None:
            return _projected(model.response, model, windows[name])
        operators = [model.operator, model.profile_operator]
        own, by_profile = project(operators, model, windows[name])
        return own, by_profile

    return dict(zip(models, shared_out(of_class, models), strict=True))


def _no_responses(
    models: Mapping[str, ColumnFitModel], windows: Mapping[str, Windows]
) -> dict[str, Response]:
    """What windows that do nothing do, whatever the profile."""
    found: dict[str, Response] = {}
    for name, model in models.items():
        n = len(windows[name].index)
        own: FloatArray = np.zeros((n, model.fits.site_pm.size))
        by_profile: FloatArray = np.zeros((n, model.profile_gain.shape[1]))
        found[name] = own, by_profile
    return found


def project(
    operators: Sequence[FloatArray], model: ColumnFitModel, windows: Windows
) -> list[FloatArray]:
    """What each operator `(k, P)` makes of the windows, less the mean over them, `(N, k)`."""
    found: list[list[FloatArray]] = [[] for _ in operators]
    for part in windows.parts():
        values = part[:, model.pixel].astype(float)
        for operator, parts in zip(operators, found, strict=True):
            parts.append(values @ operator.T)
    every = [np.concatenate(parts) for parts in found]
    return [np.asarray(one - one.mean(axis=0)) for one in every]


def _projected(response: WindowResponse, model: ColumnFitModel, windows: Windows) -> Response:
    """What the windows do to positions and profile, less the mean over them."""
    found = [response.of(part[:, model.pixel].astype(float)) for part in windows.parts()]
    own, by_profile = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return own - own.mean(axis=0), by_profile - by_profile.mean(axis=0)
