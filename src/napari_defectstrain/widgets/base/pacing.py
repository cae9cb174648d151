"""A long job's pace: how much longer it takes, holding it, showing its results in steps."""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import TypeVar

from .texts import tr

_KEPT = 60
"""Steps that the pace is measured over: the machine may have become busier since."""
_ENOUGH = 3
"""Steps before an estimate is worth anything."""
_LEAST_S, _LEAST_FRACTION = 3.0, 0.03
"""Time and part of a job before an estimate by all of it is worth anything."""

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Something that is shown bit by bit: after each `yield` the window may draw and be used."""


class Pace:
    """Time left, by the last steps."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ticks: deque[tuple[float, float]] = deque(maxlen=_KEPT)

    def tick(self, fraction: float) -> None:
        """Note that this fraction (0-1) of the job is done now."""
        self._ticks.append((self._clock(), fraction))

    def restart(self) -> None:
        """Forget the pace so far, as after a pause."""
        self._ticks.clear()

    def seconds_left(self) -> float | None:
        """Time until the end [s]; None as long as too little is known."""
        if len(self._ticks) <= _ENOUGH:
            return None
        (start, before), (now, fraction) = self._ticks[0], self._ticks[-1]
        if fraction <= before:
            return None
        return (now - start) / (fraction - before) * (1.0 - fraction)

    def text(self) -> str:
        """The time left in words.

        >>> Pace().text()
        'measuring the time it takes'
        """
        seconds = self.seconds_left()
        return tr("measuring the time it takes") if seconds is None else in_words(seconds)


class TimeLeft:
    """Time left of a job whose steps take unlike times, by all of the time it took so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = self._noted = clock()
        self._fraction = 0.0
        self._paused: float | None = None

    def note(self, fraction: float) -> None:
        """Note that this fraction (0-1) of the job is done now."""
        if fraction > self._fraction:
            self._fraction, self._noted = fraction, self._clock()

    def pause(self) -> None:
        """Nothing is done from now on, and no time shall count."""
        self._paused = self._clock()

    def go_on(self) -> None:
        """Something is done again."""
        if self._paused is not None:
            away = self._clock() - self._paused
            self._start, self._noted, self._paused = self._start + away, self._noted + away, None

    @property
    def worked_s(self) -> float:
        """Time that was worked, pauses left out [s]."""
        return (self._clock() if self._paused is None else self._paused) - self._start

    def seconds_left(self) -> float | None:
        """Time until the end [s]; None as long as too little is known, or where it has run out."""
        elapsed = self._noted - self._start
        if elapsed < _LEAST_S or self._fraction < _LEAST_FRACTION:
            return None
        left = elapsed / self._fraction * (1.0 - self._fraction) - (self._clock() - self._noted)
        return left if left > 0 else None

    def text(self) -> str:
        """The time left in words; empty where it isn't known.

        >>> TimeLeft().text()
        ''
        """
        seconds = self.seconds_left()
        return "" if seconds is None else in_words(seconds)


def in_words(seconds: float) -> str:
    """A time left as people say it.

    >>> in_words(39.8), in_words(200.0), in_words(7200.0)
    ('about 40 s left', 'about 3 min left', 'about 2.0 h left')
    """
    if seconds < 90:
        return tr("about {n} s left").format(n=max(1, round(seconds)))
    minutes = round(seconds / 60)
    if minutes < 90:
        return tr("about {n} min left").format(n=minutes)
    return tr("about {n:.1f} h left").format(n=minutes / 60)


def duration(seconds: float) -> str:
    """A time that has passed as people say it.

    >>> duration(12.3), duration(80.0), duration(7300.0)
    ('12 s', '1 min 20 s', '2 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return tr("{n} s").format(n=whole)
    if whole < 3600:
        return tr("{m} min {s} s").format(m=whole // 60, s=whole % 60)
    return tr("{h} h {m} min").format(h=whole // 3600, m=whole % 3600 // 60)


class Gate:
    """Holds a job at its next step while it is closed; any thread may close and open it."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()

    @property
    def closed(self) -> bool:
        """True while jobs are held."""
        return not self._open.is_set()

    def close(self) -> None:
        """Hold jobs from their next step on."""
        self._open.clear()

    def open(self) -> None:
        """Let jobs go on."""
        self._open.set()

    def hold(self, meanwhile: Callable[[], None]) -> bool:
        """Return at once where the gate is open, else wait until it is.

        Parameters
        ----------
        meanwhile : callable
            Called ten times a second while waiting; what it raises ends the wait.

        Returns
        -------
        bool
            Whether there was anything to wait for.
        """
        held = self.closed
        while not self._open.wait(0.1):
            meanwhile()
        return held


def at_once(steps: Steps[T]) -> T:
    """Take all steps now; returns what they return.

    >>> def count():
    ...     yield
    ...     return 2
    >>> at_once(count())
    2
    """
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
