"""Measuring averages from the average widget: after averaging, and again when windows changed."""

from collections.abc import Callable, Mapping, Sequence

from napari.components import ViewerModel
from qtpy.QtCore import QObject, QTimer, Signal

from ...averages.symmetry import SymmetricAverage
from ...materials import get_material
from ...pipeline.measurement_cache import MeasurementCache
from ...pipeline.runs import ClassMeasurement, RunConfig
from ...progress import subprogress
from ...types import ClassStack, DefectStrainError, Progress
from ..base import tr
from ..base.pacing import Steps
from ..base.worker import Part, RunBar
from ..layers.averages import STACK, of_every_defect, runs
from ..layers.column_points import columns_in_steps
from ..layers.sites import note
from ..layers.symmetric import symmetric_in_steps
from .results_panel import MEASUREMENT

WAIT_MS = 800
KNOWN = MeasurementCache()
"""What any widget has measured: the fits of averages serve their strain, and steps back."""
measure_spacings, measure_classes = KNOWN.spacings, KNOWN.classes
symmetrise_average = KNOWN.symmetric


class Measuring(QObject):
    """Measures the averages of a run in the worker of the run bar, once at a time.

    Parameters
    ----------
    viewer : ViewerModel
    run_bar : RunBar
    columns : callable
        Says whether columns shall be fitted. Averages over C3v are made for the runs that have room
        for them.
    then : callable
        Gives what is to be done next once a run is measured, or None.
    """

    measured = Signal(str, bool)
    """Emitted with the run when its layers hold new measurements, and whether they are of the
    windows as they are now."""

    def __init__(
        self,
        viewer: ViewerModel,
        run_bar: RunBar,
        columns: Callable[[], bool],
        then: Callable[[str], Callable[[], None] | None],
    ) -> None:
        super().__init__(run_bar)
        self._then = then
        self._viewer, self._run_bar, self._columns = viewer, run_bar, columns
        self._due: list[str] = []  # in the order in which they come
        self._current: str | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(WAIT_MS)
        self._timer.timeout.connect(self._start_due)
        run_bar.idle.connect(self._after_job)

    @property
    def waiting(self) -> bool:
        """True while a measurement is due."""
        return bool(self._due)

    def later(self, run: str) -> None:
        """Measure a run when its windows have not changed for a while."""
        self._put_last(run)
        self._timer.start()

    def now(self, run: str, part: Part | None = None) -> None:
        """Measure a run; while another job is under way, when that has ended.

        Parameters
        ----------
        run : str
        part : Part, optional
            What the measurement is of a longer job.
        """
        if self._run_bar.running:
            self._put_last(run)
            return
        self._due = [one for one in self._due if one != run]
        layers = runs(self._viewer).get(run, [])
        if not layers or of_every_defect(layers):
            return
        columns, symmetric = self._columns(), bool(note(layers[0]).get("symmetric"))
        if not (columns or symmetric):
            following = self._then(run)
            if following is not None:
                following()
            return
        self._current = run
        parameters = note(layers[0])["parameters"]
        config = RunConfig(material=parameters["material"], seed=parameters["seed"])
        stacks = {note(la)["class"]: la.metadata[STACK] for la in layers}
        self._run_bar.start(
            lambda progress: _measure(stacks, config, columns, symmetric, progress),
            lambda found: self._show(run, stacks, *found),
            tr("Fitting columns…"),
            part,
        )

    def _put_last(self, run: str) -> None:
        self._due = [*(one for one in self._due if one != run), run]

    def _start_due(self) -> None:
        while self._due and not self._run_bar.running:  # what needs no measuring starts no job
            self.now(self._due[0])
        if self._current in self._due:
            # What is being measured is of before; jobs of others are left alone.
            self._run_bar.cancel()

    def _after_job(self) -> None:
        if not self._run_bar.running:
            self._current = None
            if not self._timer.isActive():
                self._start_due()

    def _show(
        self,
        run: str,
        stacks: Mapping[str, ClassStack],
        measured: Mapping[str, ClassMeasurement],
        symmetric: Mapping[str, SymmetricAverage],
        complaint: str,
    ) -> Steps[Callable[[], None] | None]:
        layers = runs(self._viewer).get(run, [])
        if not layers:
            return None
        active = self._viewer.layers.selection.active
        by_class = {note(la)["class"]: la for la in layers}
        for name, layer in by_class.items() if measured else ():
            if name in measured:
                layer.metadata[MEASUREMENT] = measured[name]
            else:  # of too few windows now: what was measured is of others
                layer.metadata.pop(MEASUREMENT, None)
        material = get_material(note(layers[0])["parameters"]["material"])
        if measured:
            yield from columns_in_steps(self._viewer, layers, measured, material)
        if symmetric:
            yield from symmetric_in_steps(self._viewer, layers, symmetric)
        self._viewer.layers.selection.active = active
        current = all(la.metadata[STACK] is stacks.get(n) for n, la in by_class.items())
        yield
        self.measured.emit(run, current and bool(measured))
        yield
        if complaint:
            self._run_bar.fail(complaint)
        elif measured:
            self._run_bar.status.setText(_in_short(measured, material.references))
        self._current = None  # what follows is another job
        return self._then(run)


def _measure(
    stacks: Mapping[str, ClassStack],
    config: RunConfig,
    columns: bool,
    symmetric: bool,
    progress: Progress,
) -> tuple[dict[str, ClassMeasurement], dict[str, SymmetricAverage], str]:
    """What is asked for; a mistake in one does not cost the other."""
    measured: dict[str, ClassMeasurement] = {}
    averages: dict[str, SymmetricAverage] = {}
    complaint = ""
    share = 0.8 if symmetric else 1.0
    if columns:
        try:
            measured = measure_spacings(stacks, config, subprogress(progress, 0.0, share))
        except DefectStrainError as mistake:
            complaint = f"the averages are there, but not measured: {mistake}"
    if symmetric:
        for i, (name, stack) in enumerate(stacks.items()):
            progress(share + (1 - share) * i / len(stacks), f"symmetry of {name}")
            averages[name] = symmetrise_average(stack)
    return measured, averages, complaint


def _in_short(measured: Mapping[str, ClassMeasurement], references: Sequence[str]) -> str:
    strains = [
        f"{name} {100 * m.spacing.strain:+.2f} %"
        for name, m in measured.items()
        if name not in references
    ]
    return f"Strain of the spacings: {', '.join(strains)}" if strains else "Measured"
