"""Measuring averages from the average widget: after averaging, and again when windows changed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from napari.components import ViewerModel
from qtpy.QtCore import QObject, QTimer, Signal

from ..loading import subprogress
from ..materials import get_material
from ..pipeline import measure_spacings
from ..runs import ClassMeasurement, RunConfig
from ..symmetry import SymmetricAverage, symmetrise_average
from ..types import ClassStack, DefectStrainError, Progress
from ._averages import STACK, runs
from ._column_points import show_columns
from ._layers import note
from ._results_panel import MEASUREMENT
from ._symmetric_layers import show_symmetric
from ._worker import RunBar

WAIT_MS = 800


@dataclass(frozen=True)
class Asked:
    """What shall be measured.

    Parameters
    ----------
    columns, symmetric : bool
        Columns and spacings; averages over C3v.
    """

    columns: bool
    symmetric: bool


class Measuring(QObject):
    """Measures the averages of a run in the worker of the run bar, once at a time.

    Parameters
    ----------
    viewer : ViewerModel
    run_bar : RunBar
    asked : callable
        Says what shall be measured.
    """

    measured = Signal(str)
    """Emitted with the run when its layers hold new measurements."""

    def __init__(self, viewer: ViewerModel, run_bar: RunBar, asked: Callable[[], Asked]) -> None:
        super().__init__(run_bar)
        self._viewer, self._run_bar, self._asked = viewer, run_bar, asked
        self._due: str | None = None
        self._current: str | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(WAIT_MS)
        self._timer.timeout.connect(self._start_due)
        run_bar.idle.connect(self._after_job)

    @property
    def waiting(self) -> bool:
        """True while a measurement is due."""
        return self._due is not None

    def later(self, run: str) -> None:
        """Measure a run when its windows have not changed for a while."""
        if self._wanted():
            self._due = run
            self._timer.start()

    def now(self, run: str) -> None:
        """Measure a run."""
        if not self._wanted():
            return
        layers = runs(self._viewer).get(run, [])
        if not layers:
            return
        self._due = None
        self._current = run
        parameters = note(layers[0])["parameters"]
        config = RunConfig(material=parameters["material"], seed=parameters["seed"])
        stacks = {note(la)["class"]: la.metadata[STACK] for la in layers}
        asked = self._asked()
        self._run_bar.start(
            lambda progress: _measure(stacks, config, asked, progress),
            lambda found: self._show(run, stacks, *found),
            "Fitting columns…",
        )

    def _wanted(self) -> bool:
        asked = self._asked()
        return asked.columns or asked.symmetric

    def _start_due(self) -> None:
        if self._due is None:
            return
        if not self._run_bar.running:
            self.now(self._due)
        elif self._current is not None:
            # What is being measured is of before.
            self._run_bar.cancel()

    def _after_job(self) -> None:
        if not self._run_bar.running:
            self._current = None
            if self._due is not None and not self._timer.isActive():
                self.now(self._due)

    def _show(
        self,
        run: str,
        stacks: Mapping[str, ClassStack],
        measured: Mapping[str, ClassMeasurement],
        symmetric: Mapping[str, SymmetricAverage],
        complaint: str,
    ) -> None:
        layers = runs(self._viewer).get(run, [])
        if not layers:
            return
        active = self._viewer.layers.selection.active
        by_class = {note(la)["class"]: la for la in layers}
        for name, found in measured.items():
            if name in by_class:
                by_class[name].metadata[MEASUREMENT] = found
        if measured:
            material = get_material(note(layers[0])["parameters"]["material"])
            show_columns(self._viewer, layers, measured, material)
        if symmetric:
            show_symmetric(self._viewer, layers, symmetric)
        self._viewer.layers.selection.active = active
        self.measured.emit(run)
        if complaint:
            self._run_bar.fail(complaint)
        elif measured:
            self._run_bar.status.setText(_in_short(measured))


def _measure(
    stacks: Mapping[str, ClassStack], config: RunConfig, asked: Asked, progress: Progress
) -> tuple[dict[str, ClassMeasurement], dict[str, SymmetricAverage], str]:
    """What is asked for; a mistake in one does not cost the other."""
    measured: dict[str, ClassMeasurement] = {}
    symmetric: dict[str, SymmetricAverage] = {}
    complaint = ""
    share = 0.8 if asked.symmetric else 1.0
    if asked.columns:
        try:
            measured = measure_spacings(stacks, config, subprogress(progress, 0.0, share))
        except DefectStrainError as mistake:
            complaint = f"the averages are there, but not measured: {mistake}"
    if asked.symmetric:
        for i, (name, stack) in enumerate(stacks.items()):
            progress(share + (1 - share) * i / len(stacks), f"symmetry of {name}")
            symmetric[name] = symmetrise_average(stack)
    return measured, symmetric, complaint


def _in_short(measured: Mapping[str, ClassMeasurement]) -> str:
    strains = [f"{name} {100 * m.spacing.strain:+.2f} %" for name, m in list(measured.items())[1:]]
    return f"Strain of the spacings: {', '.join(strains)}" if strains else "Measured"
