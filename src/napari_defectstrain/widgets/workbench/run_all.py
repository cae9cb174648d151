"""All remaining steps, as if one button after another had been pressed: one bar, one Cancel."""

import time
from collections.abc import Callable

from napari.utils.notifications import show_info
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QApplication

from ...progress import Stages
from ..base import forms
from ..base.pacing import TimeLeft
from ..base.texts import tr
from ..base.worker import LONG_S, tell_of_end
from .steps import AVERAGE, DETECT, DONE, State

LOOK_MS = 60
"""After a job has ended, before its step is taken for done: the next job may be due at once."""


def expected_s(step: int, state: State) -> float:
    """About how long a step takes on two cores [s]: only the shares matter, on any machine.

    Measured on the samples of one and of nine images: the network looks at each image, an average
    is cut from each and fitted once, strain is of the averages alone, and most of it is showing the
    maps.
    """
    if step == DETECT:
        return 6.0 * max(len(state.unsearched), 1)
    return 14.0 + 6.5 * state.images if step == AVERAGE else 10.0 + 0.6 * state.images


class RunAll(QObject):
    """Takes the steps that remain, with the settings as they are.

    Nothing is done twice: images that were searched are not searched again, averages that are there
    are taken, and each step goes through the worker of its own widget.

    Parameters
    ----------
    parent : QObject
    state : callable
        How far the work is.
    panel : callable
        The widget of a step; made if it isn't there.
    start : callable
        Starts a step by its widget.
    clock : callable
    """

    progressed = Signal(float, str)
    """How far all of it is (0-1), and what is being done, with the time left."""
    ended = Signal(str)
    """Why it ended; empty where all steps are done."""

    def __init__(
        self,
        parent: QObject,
        state: Callable[[], State],
        panel: Callable[[int], forms.Panel],
        start: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(parent)
        self._state, self._panel, self._start_step, self._clock = state, panel, start, clock
        self._steps: list[int] = []
        self._count = 0
        self._current: forms.Panel | None = None
        self._stopping = False
        self._looking = QTimer(self)
        self._looking.setSingleShot(True)
        self._looking.setInterval(LOOK_MS)
        self._looking.timeout.connect(self._look)

    @property
    def running(self) -> bool:
        """True from the first step to the end of the last."""
        return self._current is not None

    @property
    def step(self) -> int | None:
        """The step that is being taken."""
        return self._steps[0] if self._steps else None

    def start(self) -> None:
        """Take all steps that remain."""
        if self.running:
            return
        state = self._state()
        self._steps = list(state.remaining)
        self._count = len(self._steps)
        if not self._steps:
            return
        self._stages = Stages([expected_s(step, state) for step in self._steps])
        self._left = TimeLeft(self._clock)
        self._began = self._clock()
        self._stopping = False
        self._begin()

    def cancel(self) -> None:
        """Stop at the next point where the step that runs can stop; what is done stays."""
        self._stopping = True
        if self._current is not None:
            self._current.run_bar.cancel()
            self._looking.start()

    def _begin(self) -> None:
        step = self._steps[0]
        panel = self._current = self._panel(step)
        bar = panel.run_bar
        bar.quiet, bar.failure = True, ""
        bar.progressed.connect(self._progressed)
        bar.idle.connect(self._looking.start)
        self.progressed.emit(self._stages.whole(self._done, 0.0), self._text(""))
        self._start_step(step)
        self._looking.start()  # a question may have been answered with no

    @property
    def _done(self) -> int:
        return self._count - len(self._steps)

    def _progressed(self, fraction: float, message: str) -> None:
        whole = self._stages.whole(self._done, fraction)
        self._left.note(whole)
        self.progressed.emit(whole, self._text(message))

    def _text(self, message: str) -> str:
        where = tr("Step {k} of {n}").format(k=self._done + 1, n=self._count)
        return ", ".join(text for text in (where, message, self._left.text()) if text)

    def _look(self) -> None:
        """Go on, or end, once nothing of the step is running, due or being asked."""
        panel = self._current
        if panel is None or panel.busy:
            return  # told of again when it is idle
        if QApplication.activeModalWidget() is not None:
            self._looking.start()
            return
        step, failure = self._steps[0], panel.run_bar.failure
        self._leave(panel)
        if self._stopping:
            self._end(tr("Stopped: what was done is there"))
        elif failure:
            self._end(failure)
        elif self._state().of(step) != DONE:
            self._end(panel.run_bar.status.text() or tr("Nothing was done"))
        else:
            self._steps.pop(0)
            if self._steps:
                self._begin()
            else:
                self._end("")

    def _leave(self, panel: forms.Panel) -> None:
        bar = panel.run_bar
        bar.quiet = False
        bar.progressed.disconnect(self._progressed)
        bar.idle.disconnect(self._looking.start)
        self._current = None

    def _end(self, why: str) -> None:
        taken = self._clock() - self._began
        self._steps = []
        if not why:
            tell_of_end(self.parent(), tr("Run all"), taken)
        elif taken >= LONG_S:
            show_info(why)
        self.ended.emit(why)
