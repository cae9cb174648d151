"""Long jobs off the GUI thread: progress, cancel, and errors that people can read."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from napari.qt.threading import FunctionWorker, create_worker
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QEvent, QObject, QTimer, Signal
from qtpy.QtWidgets import (
    QApplication,
    QDockWidget,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...types import Cancelled, DefectStrainError, Progress
from .lifetime import settle, when_destroyed
from .pacing import Steps, TimeLeft, duration
from .texts import tr

PROGRESS_STEPS = 1000
LOOK_MS = 100
"""How often the bar is brought up to date."""
LONG_S = 10.0
"""A job that took longer is told of when it ends [s]: people have turned to something else."""
STEP_MS = 10
"""Between two steps of showing a result: what was shown is drawn, and what was pressed is done.

With less, the next step is due as soon as the drawing ends, before anything that came meanwhile.
"""

FEW_STEPS = 12
"""Of showing a result, after which the bar says that half of it is shown."""


def _showing() -> str:
    return tr("Showing the results…")


class _Stop:
    """Whether the job under way shall stop."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self) -> None:
        self.asked = True


class _Reporter:
    """What the worker's thread said last: the GUI's looks at it from time to time.

    A signal for each step would flood the event loop, of which there may be thousands a second.
    """

    def __init__(self, stop: _Stop, message: str) -> None:
        self.stop = stop
        self.latest = 0.0, message

    def __call__(self, fraction: float, message: str) -> None:
        if self.stop.asked:
            raise Cancelled(message)
        self.latest = float(fraction), str(message)


@dataclass(frozen=True)
class Part:
    """What a job is of a longer one, which fills the bar but once.

    Parameters
    ----------
    number, count : int
        Which of how many, from 1.
    low, high : float
        Where in it the job begins and ends (0-1).
    what : str
        What is counted.
    shown : float
        What showing the result takes of the job itself (0-1).
    """

    number: int = 1
    count: int = 1
    low: float = 0.0
    high: float = 1.0
    what: str = "images"
    shown: float = 0.1

    def whole(self, fraction: float) -> float:
        """Fraction of the longer job.

        >>> Part(2, 4, shown=0.0).whole(0.5)
        0.375
        """
        return self._whole(min(max(fraction, 0.0), 1.0) * (1.0 - self.shown))

    def whole_shown(self, steps: int) -> float:
        """Fraction of the longer job after so many steps of showing: how many come isn't known.

        >>> part = Part(2, 4, shown=0.5)
        >>> part.whole_shown(0), part.whole_shown(FEW_STEPS), round(part.whole_shown(10_000), 2)
        (0.375, 0.4375, 0.5)
        """
        return self._whole(1.0 - self.shown * FEW_STEPS / (FEW_STEPS + steps))

    def _whole(self, inside: float) -> float:
        return (self.number - 1 + self.low + inside * (self.high - self.low)) / self.count

    @property
    def text(self) -> str:
        """Which of how many; empty where there is but one."""
        if self.count < 2:
            return ""
        said = tr("{k} of {n} {what}")
        return said.format(k=self.number, n=self.count, what=self.what)


def _attempt(compute: Callable[[Progress], Any], reporter: _Reporter) -> tuple[str, Any]:
    """What became of the job: user mistakes and cancelling are results, not tracebacks."""
    try:
        result = compute(reporter)
    except Cancelled:
        return "cancelled", None
    except DefectStrainError as mistake:
        return "mistake", str(mistake)
    except MemoryError:
        return "mistake", tr(
            "this job needs more memory than the computer has free: use fewer images"
        )
    except OSError as failure:
        return "mistake", f"{failure.filename or 'file'}: {failure.strerror or failure}"
    return ("cancelled", None) if reporter.stop.asked else ("done", result)


def tell_of_end(widget: QWidget, what: str, seconds: float) -> None:
    """Notify of the end of a job that somebody will not have waited for."""
    if seconds >= LONG_S:
        text = tr("{what}: done after {time}").format(what=what, time=duration(seconds))
        show_info(text)
        QApplication.alert(widget.window())  # the window's entry in the task bar


class Stepper(QObject):
    """Shows something in steps, a turn of the event loop apart, without a job before it.

    What is asked for last is shown: it takes the place of what was not shown to the end.
    """

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._steps: Steps[Any] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(STEP_MS)
        self._timer.timeout.connect(self._take_step)

    @property
    def waiting(self) -> bool:
        """True while there is more to show."""
        return self._steps is not None

    def take(self, steps: Steps[Any]) -> None:
        """Show this, from the next turn of the event loop on."""
        self._steps = steps
        self._timer.start()

    def give_up(self) -> None:
        """Leave what isn't shown yet."""
        self._steps = None
        self._timer.stop()

    def _take_step(self) -> None:
        steps, going_on = self._steps, False
        if steps is None:
            return
        try:
            next(steps)
            going_on = True
        except StopIteration:
            pass
        finally:
            if self._steps is steps:  # else something else was asked for meanwhile
                if going_on:
                    self._timer.start()
                else:
                    self._steps = None


class RunBar(QWidget):
    """Run and Cancel buttons, a progress bar and one line of status.

    Parameters
    ----------
    label : str
        Text of the run button.
    tooltip : str
        What the job does.
    """

    run_clicked = Signal()
    idle = Signal()
    """Emitted when a job has ended, whatever the outcome."""
    progressed = Signal(float, str)
    """How far the whole is (0-1), and what is being done to which of how many."""

    def __init__(self, label: str, tooltip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.run_button = QPushButton(label)
        self.run_button.setToolTip(tooltip)
        self.cancel_button = QPushButton(tr("Cancel"))
        self.cancel_button.setToolTip(tr("Stop the running job; nothing is changed"))
        self.cancel_button.setEnabled(False)
        self.bar = QProgressBar()
        self.bar.setRange(0, PROGRESS_STEPS)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.status = QLabel("")
        self.status.setWordWrap(True)
        buttons = self._buttons = QHBoxLayout()
        buttons.addWidget(self.run_button, 2)
        buttons.addWidget(self.cancel_button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        layout.addWidget(self.bar)
        layout.addWidget(self.status)
        # A closed widget must not leave a job behind that nobody can stop.
        stop = self._stop = _Stop()
        when_destroyed(self, stop.ask)
        self.run_button.clicked.connect(self._click)
        self.cancel_button.clicked.connect(self.cancel)
        self._reporter: _Reporter | None = None
        self._worker: FunctionWorker | None = None
        self._done: Callable[[Any], Any] | None = None
        self._steps: Steps[Any] | None = None
        self._steps_taken = 0
        self._part = Part()
        self._what, self._timed = "", True
        self._left: TimeLeft | None = None
        self.quiet = False
        """Whether somebody else tells of the end of a long job."""
        self.failure = ""
        """Why the last job, or what was to start it, came to nothing; empty where it didn't."""
        self.refusal = ""
        """That, where it was a mistake that was told: neither cancelled nor an error of ours."""
        self._dock: QDockWidget | None = None
        self._looking = QTimer(self)
        self._looking.setInterval(LOOK_MS)
        self._looking.timeout.connect(self._show_progress)
        self._stepping = QTimer(self)
        self._stepping.setInterval(STEP_MS)
        self._stepping.setSingleShot(True)  # a step may ask a question, and the event loop go on
        self._stepping.timeout.connect(self._take_step)
        self.check: Callable[[], str] = str
        """Says what must be put right before a job is started; empty where nothing."""

    def add_button(self, button: QWidget) -> None:
        """Put a small button at the end of the row."""
        self._buttons.addWidget(button)

    def _click(self) -> None:
        problem = self.check()
        if problem:
            self.fail(problem)
        else:
            self.run_clicked.emit()

    @property
    def running(self) -> bool:
        """True while a job is under way, or its result is being shown."""
        return self._worker is not None or self._steps is not None

    def start(
        self,
        compute: Callable[[Progress], Any],
        done: Callable[[Any], Any],
        message: str,
        part: Part | None = None,
        what: str = "",
        timed: bool = True,
    ) -> None:
        """Run ``compute(progress)`` in a thread, then ``done(result)`` in the GUI's.

        Parameters
        ----------
        compute : callable
        done : callable
            May be a generator function: it goes on after each ``yield`` when the event loop has
            come round, so that the window can be used meanwhile. What it returns, if anything, is
            called when the bar is free for another job.
        message : str
            Shown until `compute` says more.
        part : Part, optional
            Of a longer job, if it is started as the one before it ends: the bar goes on from there.
        what : str
            What is told to be done at its end; default what the run button says.
        timed : bool
            Whether the time left is told; else the job's own messages do that.
        """
        if self.running:
            show_info(tr("A job is running already: wait for it, or cancel it"))
            return
        self._stop.asked = False
        self.failure = self.refusal = ""
        self._part = part or Part()
        self._what, self._timed = what or self.run_button.text(), timed
        if self._left is None:
            self._left = TimeLeft()
        self._left.go_on()
        reporter = _Reporter(self._stop, message)
        worker = create_worker(_attempt, compute, reporter, _start_thread=False)
        worker.returned.connect(self._finish)
        worker.errored.connect(self._fail)
        settle()
        self._reporter, self._worker, self._done = reporter, worker, done
        self.run_button.setEnabled(False)
        self.cancel_button.setEnabled(True)
        self._watch_dock()
        self._show_progress()
        self._looking.start()
        worker.start()

    def cancel(self) -> None:
        """Ask the running job to stop at its next step; what is being shown is shown at once."""
        if self._worker is not None:
            self._stop.ask()
            self.status.setText(tr("Stopping…"))
        elif self._steps is not None:  # half of a result would be worse than a moment's wait
            self._stepping.stop()
            while self._steps is not None:
                self._take_step()

    def _show_progress(self) -> None:
        if self._reporter is None or self._left is None:
            return
        fraction, message = self._reporter.latest
        whole = self._part.whole(fraction)
        self._left.note(whole)
        self.bar.setValue(round(PROGRESS_STEPS * whole))
        self.progressed.emit(whole, ", ".join(t for t in (self._part.text, message) if t))
        if not self._stop.asked:
            left = self._left.text() if self._timed else ""
            more = ", ".join(text for text in (self._part.text, left) if text)
            self.status.setText(f"{message}\n{more}" if more else message)

    def _end_job(self) -> None:
        self._looking.stop()
        self._worker = self._reporter = None
        self.cancel_button.setEnabled(False)

    def _reset(self) -> None:
        self._end_job()
        self.run_button.setEnabled(True)
        self.bar.setValue(0)
        if self._left is not None:
            self._left.pause()  # a question may follow: it isn't work

    def _end(self) -> None:
        """Tell of the end; what is started from now on is something else."""
        if not self.running:
            if self._left is not None and not (self.quiet or self.failure):
                tell_of_end(self, self._what, self._left.worked_s)
            self._left = None
        self.idle.emit()

    def _finish(self, outcome: tuple[str, Any]) -> None:
        kind, result = outcome
        done = self._done
        settle()
        self._reset()
        if kind == "cancelled":
            self.failure = tr("Cancelled: nothing was changed")
            self.status.setText(self.failure)
        elif kind == "mistake":
            self.fail(result)
        elif done is not None:
            self.status.setText("")
            self._attempt_to(lambda: self._show(done(result)))
        if self._steps is None:
            self._end()

    def _show(self, shown: Any) -> None:
        """Go on in steps where that is what the job's end gave."""
        if isinstance(shown, Generator):
            self._steps = shown
            self._steps_taken = 0
            self.run_button.setEnabled(False)
            self._tell_shown()
            self.status.setText(_showing())
            self._stepping.start()

    def _tell_shown(self) -> None:
        whole = self._part.whole_shown(self._steps_taken)
        if self._left is not None:
            self._left.note(whole)
        self.bar.setValue(round(PROGRESS_STEPS * whole))
        self.progressed.emit(whole, ", ".join(t for t in (self._part.text, _showing()) if t))

    def _take_step(self) -> None:
        steps = self._steps
        if steps is None:
            return
        then: Callable[[], Any] | None = None
        try:
            next(steps)
        except StopIteration as end:
            then = end.value
        except DefectStrainError as mistake:
            self.fail(str(mistake))
        except Exception:
            self._end_steps(None)
            raise
        else:
            self._steps_taken += 1
            self._tell_shown()
            self._stepping.start()
            return
        self._end_steps(then)

    def _end_steps(self, then: Callable[[], Any] | None) -> None:
        self._steps = None
        self._reset()
        if self.status.text() == _showing():
            self.status.setText("")
        if then is not None:
            self._attempt_to(then)
        self._end()

    def _attempt_to(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except DefectStrainError as mistake:
            self.fail(str(mistake))

    def _watch_dock(self) -> None:
        """Notice when the dock around is hidden."""
        parent = self.parent()
        while parent is not None and not isinstance(parent, QDockWidget):
            parent = parent.parent()
        if parent is not None and parent is not self._dock:
            self._dock = parent
            parent.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Ask before a dock is hidden whose job could not be stopped any more."""
        hiding = event.type() == QEvent.Type.Close and watched is self._dock
        if hiding and self._worker is not None and not self._stop.asked and self.isVisible():
            answer = self._ask_to_stop()
            if answer is None:
                event.ignore()
                return True
            if answer:
                self.cancel()
        return super().eventFilter(watched, event)

    def _ask_to_stop(self) -> bool | None:
        """Whether the job shall stop; None where the dock shall stay."""
        box = QMessageBox(
            QMessageBox.Icon.Question,
            tr("A job is running"),
            tr(
                "{what} is not done yet. Stop it, or let it go on without its panel (Window shows "
                "the panel again)?"
            ).format(what=self.run_button.text()),
            parent=self.window(),
        )
        stop = box.addButton(tr("Stop it"), QMessageBox.ButtonRole.DestructiveRole)
        go_on = box.addButton(tr("Let it go on"), QMessageBox.ButtonRole.AcceptRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.exec()
        return {stop: True, go_on: False}.get(box.clickedButton())

    def fail(self, message: str) -> None:
        """Say what is wrong, as a notification and beside the buttons."""
        self.failure = self.refusal = message
        self.status.setText(message)
        show_error(message)

    def _fail(self, error: Exception) -> None:
        # An error of ours, not the user's: napari shows it, with a traceback to send to us.
        self._reset()
        self.failure = tr("Unexpected error: {error}").format(error=error)
        self.status.setText(self.failure)
        self._end()
