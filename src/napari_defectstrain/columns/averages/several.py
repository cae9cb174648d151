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
    """

    def by_model(name: str) -> Fitted:
        settings, operators = asked[name], name == own
        if settings.model == "gaussian":
            models = fit_singles(averages, settings)
        else:
            models = fit_together(averages, settings, start, no_progress, operators=operators)
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
