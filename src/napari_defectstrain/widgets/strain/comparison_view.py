"""Keeps what is shown of a measurement up to date: questions to the worker, answers to layers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Shapes, Vectors
from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject, QTimer, Signal

from ...materials import NAMED_ROLE
from ...pipeline.runs import ClassMeasurement, RunResult
from ..base.lifetime import connect
from ..base.pacing import Steps, at_once
from ..base.worker import Part, RunBar
from ..layers.averages import GAP
from ..layers.fields import maps_in_steps, scale_arrows_in_steps
from ..layers.sites import KEY, kind, note, provenance
from .comparing import Answer, Asked, Comparer
from .comparison_layers import ComparisonLayers
from .controls import StrainControls
from .profile_plot import ProfilePanel

WAIT_MS = 250


@dataclass(frozen=True)
class Measured:
    """One measurement of the averages of a run, and where it is shown.

    Parameters
    ----------
    run, measurement : str
        Their ids.
    comparer : Comparer
    about : mapping of class to dict
        Provenance of what is shown of a class.
    centres : mapping of class to (y, x)
        Of the averages [pm].
    layers : ComparisonLayers
    """

    run: str
    measurement: str
    comparer: Comparer
    about: Mapping[str, dict[str, Any]]
    centres: Mapping[str, Sequence[float]]
    layers: ComparisonLayers

    @property
    def result(self) -> RunResult:
        """What was measured."""
        return self.comparer.result

    def role(self, class_name: str) -> str:
        """Role of a class; a named one is drawn as a substitution."""
        role = self.comparer.material.role_of(class_name)
        return "XY" if role == NAMED_ROLE else role

    @property
    def fields(self) -> dict[str, ClassMeasurement]:
        """The classes with a displacement."""
        return {name: self.result.measurements[name] for name in self.comparer.classes}


class ComparisonView(QObject):
    """Asks the worker when controls or the line change, and shows its answers.

    Parameters
    ----------
    viewer : ViewerModel
    run_bar : RunBar
        Whose worker is used: one job at a time.
    controls : StrainControls
    profile : ProfilePanel
    """

    answered = Signal(object)
    """The latest `Answer` is on the screen."""

    def __init__(
        self,
        viewer: ViewerModel,
        run_bar: RunBar,
        controls: StrainControls,
        profile: ProfilePanel,
    ) -> None:
        super().__init__(run_bar)
        self._viewer, self._run_bar = viewer, run_bar
        self._controls, self._profile = controls, profile
        self.measured: Measured | None = None
        self.answer: Answer | None = None
        self._due = False
        self._part: Part | None = None
        self._then: Callable[[], None] | None = None
        self._line: Shapes | None = None
        self._told = ""
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(WAIT_MS)
        self._timer.timeout.connect(self._start_due)
        run_bar.idle.connect(self._start_due)
        controls.asked.connect(self.later)
        controls.looks.connect(self.show_looks)
        profile.component_changed.connect(self.later)
        profile.edit_clicked.connect(self.edit_line)
        self._owner = run_bar

    @property
    def waiting(self) -> bool:
        """True while something is to be computed."""
        return self._due

    def show(
        self,
        measured: Measured | None,
        then: Callable[[], None] | None = None,
        part: Part | None = None,
    ) -> None:
        """Show another measurement; None: nothing.

        Parameters
        ----------
        measured : Measured or None
        then : callable, optional
            Called when it is shown.
        part : Part, optional
            What the comparison is of a longer job.
        """
        self.measured, self.answer = measured, None
        self._then, self._part = then, part
        if measured is None:
            self._profile.show_nothing()
            return
        self._controls.show_classes(measured.comparer.classes)
        self._due = True
        self._start_due()

    def later(self, *_: object) -> None:
        """Compute when the controls have not changed for a moment."""
        if self.measured is not None and self._controls.class_name.currentText():
            self._due = True
            self._timer.start()

    def _start_due(self) -> None:
        if not self._due or self._run_bar.running or self.measured is None:
            return  # a running job calls again when it ends
        self._timer.stop()
        self._due = False
        measured = self.measured
        asked = self.question()
        self._run_bar.start(
            lambda progress: measured.comparer.answer(asked, progress),
            lambda answer: self._show(measured, answer),
            f"Comparing {asked.class_name} with theory…",
            self._part,
        )
        self._part = None

    def question(self) -> Asked:
        """What controls and line ask for now."""
        assert self.measured is not None
        line, problem = self.measured.layers.line()
        along = self._profile.chosen(self._controls.component.currentText())
        return self._controls.question(line, problem, along)

    def _show(self, measured: Measured, answer: Answer) -> Steps[None]:
        if measured is not self.measured:
            return
        self.answer = answer
        yield from self._looks_in_steps()
        if measured is not self.measured:  # other averages were chosen meanwhile
            return
        self._profile.show_answer(answer, measured.comparer.material)
        yield
        self._watch_line()
        self._tell(answer.reference_problem)
        self._run_bar.status.setText(in_short(answer))
        self.answered.emit(answer)
        then, self._then = self._then, None
        if then is not None:
            then()

    def _tell(self, problem: str) -> None:
        """Notify once of what is wrong with a reference, not at every change of smoothing."""
        if problem and problem != self._told:
            show_warning(problem)
        self._told = problem

    def show_looks(self) -> None:
        """Show the answer that there is with the controls as they are: nothing is computed."""
        at_once(self._looks_in_steps())

    def _looks_in_steps(self) -> Steps[None]:
        measured, answer = self.measured, self.answer
        if measured is None or answer is None:
            return
        controls, name = self._controls, answer.asked.class_name
        enlarged = controls.enlargement[measured.role(name)].value()
        about = measured.about[name][KEY]
        asked = {
            "strain": answer.asked.strain.to_dict(),
            "model": answer.asked.target,
            "route": answer.asked.route,
            "reference": _reference_note(answer),
            "difference_to": answer.comparison.difference_to,
        }
        metadata = {KEY: {**about, "parameters": {**about["parameters"], **asked}}}
        yield from measured.layers.show(
            answer,
            controls.limit.value(),
            controls.fade.isChecked(),
            enlarged if controls.ellipses.isChecked() else 0.0,
            metadata,
        )
        yield from self._show_all_classes(measured, answer)
        yield from self._enlarge(measured)

    def _show_all_classes(self, measured: Measured, answer: Answer) -> Steps[None]:
        any_there = any(kind(la) == "map" for la in self._viewer.layers)
        if not answer.strains and not any_there:
            return
        strain = {"strain": answer.asked.strain.to_dict()}
        about = {
            name: {KEY: {**m[KEY], "parameters": {**m[KEY]["parameters"], **strain}}}
            for name, m in measured.about.items()
        }
        active = self._viewer.layers.selection.active
        yield from maps_in_steps(
            self._viewer,
            answer.strains,
            measured.centres,
            measured.layers.side_pm,
            measured.layers.bottom_pm + GAP * measured.layers.side_pm,
            self._controls.components if answer.strains else [],
            self._controls.sigma.isChecked(),
            self._controls.limit.value(),
            about,
            self.labels_metadata(measured, "maps"),
        )
        self._viewer.layers.selection.active = active

    def labels_metadata(self, measured: Measured, of: str) -> dict[str, Any]:
        """Provenance of labels of arrows or maps."""
        more = {"run": measured.run, "measurement": measured.measurement, "of": of}
        return provenance("map labels", {}, **more)

    def _enlarge(self, measured: Measured) -> Steps[None]:
        arrows = arrows_of(self._viewer, measured)
        for layer in arrows:
            length = self._controls.enlargement[measured.role(note(layer)["class"])].value()
            if layer.length != length:  # else napari would draw the same arrows anew
                layer.length = length
        yield
        if arrows:
            active = self._viewer.layers.selection.active
            centres = [measured.centres[note(la)["class"]] for la in arrows]
            side = measured.layers.side_pm
            metadata = self.labels_metadata(measured, "arrows")
            yield from scale_arrows_in_steps(self._viewer, arrows, centres, side, metadata)
            self._viewer.layers.selection.active = active
        yield

    def _watch_line(self) -> None:
        assert self.measured is not None
        lines = self.measured.layers.layers("profile line")
        if lines and lines[0] is not self._line:
            self._line = lines[0]
            connect(self._owner, self._line.events.data, self._line_moved)

    def _line_moved(self, event: Any) -> None:
        # napari tells of moves when the mouse is released; of others as they happen
        if getattr(event.action, "value", event.action) in ("added", "changed", "removed"):
            self.later()

    def edit_line(self) -> None:
        """Select the layer of the line, ready to drag its ends."""
        if self._line is not None and self._line in self._viewer.layers:
            self._viewer.layers.selection.active = self._line
            self._line.mode = "direct"
            if len(self._line.data):  # napari lets only the ends of selected shapes be dragged
                self._line.selected_data = {len(self._line.data) - 1}


def arrows_of(viewer: ViewerModel, measured: Measured) -> list[Vectors]:
    """The layers of arrows of a measurement."""
    return [
        la
        for la in viewer.layers
        if kind(la) == "displacement" and note(la).get("measurement") == measured.measurement
    ]


def measured_of(
    result: RunResult,
    averages: Sequence[Image],
    viewer: ViewerModel,
    measurement: str,
    about: Mapping[str, dict[str, Any]],
) -> Measured:
    """A measurement of averages, ready to be shown."""
    run = note(averages[0])["run"]
    centres = {note(la)["class"]: note(la)["centre_pm"] for la in averages}
    layers = ComparisonLayers(viewer, run, averages)
    return Measured(run, measurement, Comparer(result), about, centres, layers)


def in_short(answer: Answer) -> str:
    """The comparison in a line."""
    parts = []
    if answer.asked.target:
        parts.append(f"Eshelby χ²/dof {answer.comparison.inclusion.agreement.reduced:.2f}")
    if answer.comparison.amplitude is not None:
        found = answer.comparison.amplitude
        parts.append(f"reference χ²/dof {found.full.reduced:.2f}, s = {found.s:.2f}")
    return f"{answer.asked.class_name}: {'; '.join(parts) or 'measured'}"


def _reference_note(answer: Answer) -> dict[str, Any] | None:
    reference = answer.comparison.reference
    if reference is None:
        return None
    return {"name": reference.name, "notes": list(reference.notes)}
