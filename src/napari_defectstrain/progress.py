"""Long jobs: the part of a whole that a step is, and steps that the cores share."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from .types import Progress, no_progress

_MOST_THREADS = 4
"""More wait for each other: Python itself runs in one at a time."""

_ASKED: list[int] = []
"""Number of threads that the user wants; empty where all cores may be taken."""

_WITHIN = threading.local()
"""``among``: how many threads of ours, this one among them, share the cores."""

T = TypeVar("T")
R = TypeVar("R")


class Answer(Protocol):
    """What became of a call that another process made."""

    @property
    def value(self) -> Any:
        """What the function gave."""

    @property
    def error(self) -> Exception | None:
        """What it ended in instead."""


class Helpers(Protocol):
    """Other processes that make calls (`pipeline.work.Workers`)."""

    def outcomes(
        self, function: Callable[..., Any], calls: Mapping[int, tuple[Any, ...]]
    ) -> Iterator[tuple[int, Answer]]:
        """Each call's number and answer; the function gets a progress callback at the end."""


_HELPERS: ContextVar[Helpers | None] = ContextVar("helpers", default=None)


def subprogress(progress: Progress, start: float, stop: float, prefix: str = "") -> Progress:
    """A progress callback for a part of a longer job, from `start` to `stop` of it."""

    def part(fraction: float, message: str) -> None:
        progress(start + fraction * (stop - start), prefix + message)

    return part


def in_this_thread(progress: Progress) -> Progress:
    """A progress callback for work that may go to other threads, whose words are dropped."""
    asking = threading.get_ident()

    def told(fraction: float, message: str) -> None:
        if threading.get_ident() == asking:
            progress(fraction, message)

    return told


class Stages:
    """How far a job of several stages is, of which each tells its own fraction.

    Parameters
    ----------
    weights : sequence of float
        About how long each takes, in any unit.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        if not weights or min(weights) <= 0:
            raise ValueError(f"got weights {list(weights)}, expected some, all above 0")
        total = sum(weights)
        self._before = [sum(weights[:k]) / total for k in range(len(weights) + 1)]
        self._furthest = 0.0

    def whole(self, stage: int, fraction: float) -> float:
        """Fraction of the whole (0-1); it never goes back, whatever a stage says.

        >>> stages = Stages([3.0, 1.0])
        >>> stages.whole(0, 0.5), stages.whole(1, 0.5), stages.whole(0, 0.9)
        (0.375, 0.875, 0.875)
        """
        low, high = self._before[stage], self._before[stage + 1]
        now = low + min(max(fraction, 0.0), 1.0) * (high - low)
        self._furthest = max(self._furthest, now)
        return self._furthest


def shared_out(
    work: Callable[[T], R],
    items: Iterable[T],
    *,
    algebra: bool = True,
    progress: Progress = no_progress,
    message: str = "",
) -> list[R]:
    """What a function gives for each item, in their order, worked out on several cores.

    Parameters
    ----------
    work : callable
        Spends its time in numpy or scipy, which let other threads run meanwhile. What it gives
        must not depend on the other items. Where it shares work out itself, it has its part of the
        cores for that.
    items : iterable
    algebra : bool
        Whether that is linear algebra, which may have threads of its own.
    progress : Progress
        Told, by the thread that asks, before each item is waited for.
    message : str
        What it is told.
    """
    asked = list(items)

    def told(k: int) -> None:
        if progress is not no_progress:
            progress(k / len(asked), message)

    among = getattr(_WITHIN, "among", 1)
    threads = min(spare_cores(algebra) // among, len(asked), _MOST_THREADS)
    if threads < 2:
        found = []
        for k, item in enumerate(asked):
            told(k)
            found.append(work(item))
        return found

    def begin() -> None:
        _WITHIN.among = among * threads

    with ThreadPoolExecutor(threads, initializer=begin) as pool:
        futures = [pool.submit(work, item) for item in asked]
        found = []
        try:
            for k, future in enumerate(futures):
                told(k)
                found.append(future.result())
            return found
        except BaseException:  # an interruption too: nothing more is begun
            pool.shutdown(cancel_futures=True)
            raise


def use_threads(number: int | None) -> None:
    """Take no more threads than these from now on; None: as many as there are cores."""
    if number is not None and number < 1:
        raise ValueError(f"got {number} threads, expected 1 or more, or None for all cores")
    _ASKED[:] = [] if number is None else [number]


def asked_threads() -> int | None:
    """The number of threads that was asked for, if any."""
    return _ASKED[0] if _ASKED else None


def spare_cores(algebra: bool = True) -> int:
    """Cores for threads of our own.

    ``OMP_NUM_THREADS``, where it is set, says how many cores are to be used. Linear algebra takes
    all of them for itself but where ``OPENBLAS_NUM_THREADS`` says how many: threads of both kinds
    would wait for each other.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    cores = min(cores, _asked_for("OMP_NUM_THREADS", cores), asked_threads() or cores)
    return max(cores // _asked_for("OPENBLAS_NUM_THREADS", cores), 1) if algebra else cores


def _asked_for(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, "").split(",")[0].strip()
    return int(text) if text.isdecimal() and int(text) > 0 else otherwise


@contextmanager
def helped_by(helpers: Helpers | None) -> Iterator[None]:
    """Let steps within the block give work to other processes (`asked_of_helpers`)."""
    token = _HELPERS.set(helpers)
    try:
        yield
    finally:
        _HELPERS.reset(token)


def are_there_helpers() -> bool:
    """Whether other processes take work of this thread's steps."""
    return _HELPERS.get() is not None


def asked_of_helpers(function: Callable[..., R], *given: Any) -> Future[R]:
    """Have another process make a call while this one goes on.

    Parameters
    ----------
    function : callable
        At the top of a module, so that other processes find it; takes `given`, then a progress
        callback.
    given : any
        Small enough to be sent.

    Returns
    -------
    Future
        Ends with what the function gives, or raises.

    Raises
    ------
    LookupError
        If there are no helpers (`are_there_helpers`).
    """
    helpers = _HELPERS.get()
    if helpers is None:
        raise LookupError("asked_of_helpers: got no helpers, expected to be within helped_by")

    def wait() -> R:
        ((_, answer),) = helpers.outcomes(function, {0: given})
        if answer.error is not None:
            raise answer.error
        value: R = answer.value
        return value

    return begun(wait)


def begun(job: Callable[[], R]) -> Future[R]:
    """Begin with a job that others do, in a thread that waits for them while this one goes on.

    Parameters
    ----------
    job : callable
        Begins no work of this process that Python's lock would hold up.

    Returns
    -------
    Future
        Ends with what the job gives, or raises what it did.
    """
    future: Future[R] = Future()

    def run() -> None:
        try:
            future.set_result(job())
        except BaseException as error:  # raised again where the result is asked for
            future.set_exception(error)

    # a daemon keeps no process alive that is told to stop
    threading.Thread(target=run, daemon=True).start()
    return future
