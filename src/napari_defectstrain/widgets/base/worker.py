"""Long jobs off the GUI thread: progress, cancel, and errors that people can read."""

from collections.abc import Callable
from typing import Any

from napari.qt.threading import FunctionWorker, create_worker
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from ...types import Cancelled, DefectStrainError, Progress
from .lifetime import when_destroyed

PROGRESS_STEPS = 1000


class _Stop:
    """Whether the job under way shall stop."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self) -> None:
        self.asked = True


class _Reporter(QObject):
    """Carries progress from the worker's thread to the GUI's: a signal does that safely."""

    progressed = Signal(float, str)

    def __init__(self, stop: _Stop) -> None:
        super().__init__()
        self.stop = stop

    def __call__(self, fraction: float, message: str) -> None:
        if self.stop.asked:
            raise Cancelled(message)
        self.progressed.emit(float(fraction), str(message))


def _attempt(compute: Callable[[Progress], Any], reporter: _Reporter) -> tuple[str, Any]:
    """What became of the job: user mistakes and cancelling are results, not tracebacks."""
    try:
        result = compute(reporter)
    except Cancelled:
        return "cancelled", None
    except DefectStrainError as mistake:
        return "mistake", str(mistake)
    except MemoryError:
        return "mistake", "this job needs more memory than the computer has free: use fewer images"
    except OSError as failure:
        return "mistake", f"{failure.filename or 'file'}: {failure.strerror or failure}"
    return ("cancelled", None) if reporter.stop.asked else ("done", result)


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

    def __init__(self, label: str, tooltip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.run_button = QPushButton(label)
        self.run_button.setToolTip(tooltip)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop the running job; nothing is changed")
        self.cancel_button.setEnabled(False)
        self.bar = QProgressBar()
        self.bar.setRange(0, PROGRESS_STEPS)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.status = QLabel("")
        self.status.setWordWrap(True)
        buttons = QHBoxLayout()
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
        self.run_button.clicked.connect(self.run_clicked)
        self.cancel_button.clicked.connect(self.cancel)
        self._reporter: _Reporter | None = None
        self._worker: FunctionWorker | None = None
        self._done: Callable[[Any], None] | None = None

    @property
    def running(self) -> bool:
        """True while a job is under way."""
        return self._worker is not None

    def start(
        self, compute: Callable[[Progress], Any], done: Callable[[Any], None], message: str
    ) -> None:
        """Run ``compute(progress)`` in a thread, then ``done(result)`` in the GUI's."""
        if self.running:
            show_info("A job is running already: wait for it, or cancel it")
            return
        self._stop.asked = False
        reporter = _Reporter(self._stop)
        reporter.progressed.connect(self._show_progress)
        worker = create_worker(_attempt, compute, reporter, _start_thread=False)
        worker.returned.connect(self._finish)
        worker.errored.connect(self._fail)
        self._reporter, self._worker, self._done = reporter, worker, done
        self.run_button.setEnabled(False)
        self.cancel_button.setEnabled(True)
        self._show_progress(0.0, message)
        worker.start()

    def cancel(self) -> None:
        """Ask the running job to stop at its next step."""
        if self.running:
            self._stop.ask()
            self.status.setText("Stopping…")

    def _show_progress(self, fraction: float, message: str) -> None:
        self.bar.setValue(round(PROGRESS_STEPS * min(max(fraction, 0.0), 1.0)))
        if not self._stop.asked:
            self.status.setText(message)

    def _reset(self) -> None:
        self._worker = self._reporter = None
        self.run_button.setEnabled(True)
        self.cancel_button.setEnabled(False)
        self.bar.setValue(0)

    def _finish(self, outcome: tuple[str, Any]) -> None:
        kind, result = outcome
        done = self._done
        self._reset()
        if kind == "cancelled":
            self.status.setText("Cancelled: nothing was changed")
        elif kind == "mistake":
            self.fail(result)
        elif done is not None:
            self.status.setText("")
            try:
                done(result)
            except DefectStrainError as mistake:
                self.fail(str(mistake))
        self.idle.emit()

    def fail(self, message: str) -> None:
        """Say what is wrong, as a notification and beside the buttons."""
        self.status.setText(message)
        show_error(message)

    def _fail(self, error: Exception) -> None:
        # An error of ours, not the user's: napari shows it, with a traceback to send to us.
        self._reset()
        self.status.setText(f"Unexpected error: {error}")
        self.idle.emit()
