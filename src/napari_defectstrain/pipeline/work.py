"""How the stages of a run are done: here or by others, once, and never again where kept.

A `Work` does the stages. By itself it does one after the other; with a `StageStore` it takes what
is kept there and keeps what it makes; with `Workers` it gives what is independent by image to other
processes or machines (Dask). The numbers are the same in any case.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .. import __version__
from ..failures import Failures, reason_of
from ..io.content import content_key
from ..io.large_arrays import let_go
from ..io.stage_store import StageStore
from ..progress import subprogress
from ..types import CalibratedImage, Progress, no_progress


@dataclass(frozen=True)
class Stage:
    """A step whose result depends on what it is given and on nothing else.

    Parameters
    ----------
    name : str
        Of its folder in the store.
    version : int
        Raised whenever its results change: what was kept by another one is not taken.
    function : callable
        At the top of a module, so that other processes find it; takes the arguments, then a
        progress callback.
    """

    name: str
    version: int
    function: Callable[..., Any]

    def key(self, given: tuple[Any, ...]) -> str:
        """What its result for these arguments is kept under."""
        return content_key(self.name, self.version, __version__, given)


@dataclass(frozen=True)
class Outcome:
    """What became of a call: its value, or the error it ended in."""

    value: Any = None
    error: Exception | None = None


class Workers(Protocol):
    """Processes or machines that calls are given to."""

    def outcomes(
        self, function: Callable[..., Any], calls: Mapping[int, tuple[Any, ...]]
    ) -> Iterator[tuple[int, Outcome]]:
        """Each call's number and outcome, as they end."""


def outcome_of(function: Callable[..., Any], given: tuple[Any, ...]) -> Outcome:
    """Make a call; an error that one image may end in is its outcome."""
    try:
        return Outcome(function(*given, no_progress))
    except Exception as error:  # told apart where the call came from
        error.add_note("".join(traceback.format_exception(error)))  # which no other process sees
        return Outcome(error=error)


@dataclass
class Work:
    """Does stages, and counts them.

    Parameters
    ----------
    store : StageStore, optional
        Where results are kept and taken from; None keeps nothing.
    workers : Workers, optional
        Who does what is independent by image; None: this process, one image after the other.

    Attributes
    ----------
    done, taken : Counter
        How often each stage was done, and how often its result was taken from the store.
    """

    store: StageStore | None = None
    workers: Workers | None = None
    done: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)

    def once(self, stage: Stage, *given: Any, progress: Progress = no_progress) -> Any:
        """A stage of the whole run: its result for these arguments."""
        found, value = self._kept(stage, key := self._key(stage, given))
        if not found:
            value = stage.function(*given, progress)
            self._keep(stage, key, value)
        return value

    def each(
        self,
        stage: Stage,
        calls: Mapping[int, tuple[Any, ...]],
        names: Mapping[int, str],
        failures: Failures,
        progress: Progress = no_progress,
    ) -> dict[int, Any]:
        """A stage of every image.

        Parameters
        ----------
        stage : Stage
        calls : mapping of int to tuple
            Arguments for each image.
        names : mapping of int to str
            For messages.
        failures : Failures
            Collects the images that can't be used, in the order of `calls`; a result that can't be
            kept is none of these, and ends the run.
        progress : Progress

        Returns
        -------
        dict of int to result
            Of those that could be used, in the order of `calls`.
        """
        results: dict[int, Any] = {}
        keys = {i: self._key(stage, given) for i, given in calls.items()}
        left: dict[int, tuple[Any, ...]] = {}
        for i, given in calls.items():
            found, value = self._kept(stage, keys[i])
            if found:
                results[i] = value
            else:
                left[i] = given
        errors: dict[int, Exception] = {}
        outcomes = (
            _one_by_one(stage, left, names, progress)
            if self.workers is None or len(left) < 2
            else self.workers.outcomes(stage.function, left)
        )
        for ended, (i, outcome) in enumerate(outcomes, 1):
            if outcome.error is None:
                self._keep(stage, keys[i], outcome.value)
                results[i] = outcome.value
            elif failures.strict or reason_of(outcome.error) is None:
                raise outcome.error
            else:
                errors[i] = outcome.error
            progress(ended / len(left), f"{names[i]}: {stage.name}")
        for i in [i for i in calls if i in errors]:
            with failures.left_out(names[i]):
                raise errors[i]
        return {i: results[i] for i in calls if i in results}

    def _key(self, stage: Stage, given: tuple[Any, ...]) -> str:
        return "" if self.store is None else stage.key(given)

    def _kept(self, stage: Stage, key: str) -> tuple[bool, Any]:
        found, value = (False, None) if self.store is None else self.store.get(stage.name, key)
        self.taken[stage.name] += found
        return found, value

    def _keep(self, stage: Stage, key: str, value: Any) -> None:
        self.done[stage.name] += 1
        if self.store is not None:
            self.store.put(stage.name, key, value)


def _one_by_one(
    stage: Stage,
    calls: Mapping[int, tuple[Any, ...]],
    names: Mapping[int, str],
    progress: Progress,
) -> Iterator[tuple[int, Outcome]]:
    for k, (i, given) in enumerate(calls.items()):
        part = subprogress(progress, k / len(calls), (k + 1) / len(calls), f"{names[i]}: ")
        try:
            outcome = Outcome(stage.function(*given, part))
        except Exception as error:
            outcome = Outcome(error=error)
        for one in given:
            if isinstance(one, CalibratedImage):
                let_go(one.data)
        yield i, outcome
