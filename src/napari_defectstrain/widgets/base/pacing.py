"""A long job's pace: how much longer it takes, and holding it without ending it."""

import threading
import time
from collections import deque
from collections.abc import Callable

_KEPT = 60
"""Steps that the pace is measured over: the machine may have become busier since."""
_ENOUGH = 3
"""Steps before an estimate is worth anything."""


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
        if seconds is None:
            return "measuring the time it takes"
        if seconds < 90:
            return f"about {max(1, round(seconds))} s left"
        minutes = round(seconds / 60)
        if minutes < 90:
            return f"about {minutes} min left"
        return f"about {minutes / 60:.1f} h left"


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
