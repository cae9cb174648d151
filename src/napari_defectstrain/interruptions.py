"""Ctrl-C, SIGTERM and a terminal that closes end a command in one line, whenever they come.

Light enough to be imported before anything else: from then on no signal ends in a traceback.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

EXIT_BASE = 128
"""The exit code of a command that a signal ended is this plus the signal's number."""

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_AGAIN_S = 0.05
"""How soon a stop that a destructor swallowed is asked for again [s]."""

_EXIT_UNWRITTEN = 120
_depth = 0
"""How many blocks of `put_in_order` are open."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to stop."""


@contextmanager
def put_in_order() -> Iterator[None]:
    """While this is open a signal unwinds the stack; elsewhere it ends the process at once.

    An exception out of the middle of an import turns into anything, and there is nothing to put in
    order before the first file is written: there the process just ends.
    """
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


class Interruptions:
    """Catches signals while it is open, in the main thread of a process.

    Parameters
    ----------
    say : callable
        Says in one line why the command ends; called where the process ends at once.
    forever : bool
        Stay in charge until the process ends, so that its end isn't interrupted either.
    """

    def __init__(self, say: Callable[[str], None], forever: bool) -> None:
        self._say = say
        self._forever = forever
        self._pid = os.getpid()
        self._before: dict[int, Any] = {}
        self._hook = sys.unraisablehook
        self._result: int | None = None
        self.signum: int | None = None
        """The signal that came, if one did."""

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for signum in _SIGNALS:
                # What started us may want a signal ignored, as nohup does.
                if signal.getsignal(signum) is not signal.SIG_IGN:
                    self._before[signum] = signal.signal(signum, self._handle)
        sys.unraisablehook = self._unraisable
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._forever:
            return
        sys.unraisablehook = self._hook
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    @property
    def exit_code(self) -> int:
        """The exit code for the signal that came (Ctrl-C where none did)."""
        return EXIT_BASE + (signal.SIGINT if self.signum is None else self.signum)

    def done(self, code: int) -> int:
        """The command has ended: a signal from now on changes nothing; returns the code."""
        self._result = code
        return code

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a worker process: it has nothing to say
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        if self._result is not None:
            self._end(self._result)
        second = self.signum is not None
        self.signum = signum
        if second or not _depth:
            self._say("stopped" if second else "stopped; nothing was left half-written")
            self._end(self.exit_code)
        raise Interrupted

    def _end(self, code: int) -> NoReturn:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, RuntimeError):  # closed, or in the middle of a write
                stream.flush()
        os._exit(code)

    def _unraisable(self, caught: sys.UnraisableHookArgs) -> None:
        """What a destructor or a callback can't raise: no traceback after a signal."""
        if self.signum is None:
            self._hook(caught)
        elif isinstance(caught.exc_value, Interrupted):
            # It went no further than this, so the command goes on: ask again.
            signum, self.signum = self.signum, None
            threading.Timer(_AGAIN_S, os.kill, (self._pid, signum)).start()


def end_process(code: int) -> NoReturn:
    """End this process as ``sys.exit`` does, but for modules and objects: they just go with it.

    Python takes them apart one by one, which lasts half a second where torch is among them.

    Parameters
    ----------
    code : int
        Of the exit; 120, as Python's own, where what was printed can't be written.
    """
    for thread in threading.enumerate():
        if not (thread.daemon or thread is threading.current_thread()):
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            code = code or _EXIT_UNWRITTEN
    os._exit(code)
