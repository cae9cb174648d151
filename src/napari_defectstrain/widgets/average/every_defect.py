"""Averages of every defect in the average widget: a row of their own, beside the isolated ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from napari.components import ViewerModel
from napari.layers import Layer
from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject, Signal

from ...pipeline.every_defect import measure_every_defect
from ...pipeline.runs import ClassMeasurement, RunResult
from ...types import DefectStrainError, Progress
from ..base import tr
from ..base.pacing import Steps
from ..base.worker import Part, RunBar
from ..layers.averages import averages_in_steps, free_corner, layers_of_run, runs
from ..layers.column_points import columns_in_steps
from ..layers.sites import KEY, note
from .results_panel import MEASUREMENT


@dataclass(frozen=True)
class Asked:
    """What averages of every defect are made of.

    Parameters
    ----------
    found : RunResult
        Images, columns, and the stacks of isolated defects.
    metadata : mapping
        Of the layers.
    sources : list of Layer
        The images: the averages go beside them.
    """

    found: RunResult
    metadata: Mapping[str, Any]
    sources: list[Layer]


class EveryDefect(QObject):
    """Measures averages of every defect once isolated ones are there, and shows them.

    Parameters
    ----------
    viewer : ViewerModel
    run_bar : RunBar
    """

    shown = Signal(str, object)
    """Emitted with the run of isolated averages and the `RunResult` that has both kinds."""

    def __init__(self, viewer: ViewerModel, run_bar: RunBar) -> None:
        super().__init__(run_bar)
        self._viewer, self._run_bar = viewer, run_bar
        self._asked: dict[str, Asked] = {}

    def ask(self, run: str, asked: Asked) -> None:
        """Measure them once the isolated averages of a run are measured."""
        self._asked = {run: asked}  # an older one was cancelled: its images needn't be kept

    def next_job(self, run: str, part: Part | None = None) -> Callable[[], None] | None:
        """What starts the measurement that is due for a run; None where none is."""
        return (lambda: self._start(run, part)) if run in self._asked else None

    def _start(self, run: str, part: Part | None) -> None:
        asked = self._asked.pop(run)
        measured: dict[str, ClassMeasurement] = {
            note(la)["class"]: la.metadata[MEASUREMENT]
            for la in runs(self._viewer).get(run, [])
            if MEASUREMENT in la.metadata
        }
        found = replace(asked.found, measurements=measured)

        def compute(progress: Progress) -> RunResult:
            result = measure_every_defect(found, progress)
            if not (result.crowded or found.stacks):
                raise DefectStrainError("; ".join(result.warnings) or "no defect could be measured")
            return result

        self._run_bar.start(
            compute,
            lambda result: self._show(run, asked, result),
            tr("Measuring every defect…"),
            part,
        )

    def _show(self, run: str, asked: Asked, result: RunResult) -> Steps[None]:
        for text in result.warnings:
            show_warning(text)
        if not result.crowded:
            return
        sources = [la for la in asked.sources if la in self._viewer.layers]
        isolated = runs(self._viewer).get(run, [])
        averages = {name: m.average for name, m in result.crowded.items()}
        about = {**asked.metadata[KEY], "run": uuid4().hex, "crowded": True, "isolated_run": run}
        corner = free_corner(self._viewer, sources or isolated or asked.sources)
        about["corner_pm"] = list(corner)
        active = self._viewer.layers.selection.active
        layers = yield from averages_in_steps(
            self._viewer, result.crowded_stacks, averages, corner, {KEY: about}, False
        )
        for layer in layers:
            layer.metadata[MEASUREMENT] = result.crowded[note(layer)["class"]]
        yield from columns_in_steps(self._viewer, layers, result.crowded, result.material)
        self._viewer.layers.selection.active = active
        yield
        self.shown.emit(run, result)


def crowded_runs_of(viewer: ViewerModel, run: str) -> list[str]:
    """Runs of averages of every defect that were made along with one of isolated ones."""
    return [r for r, las in runs(viewer).items() if note(las[0]).get("isolated_run") == run]


def layers_with_crowded(viewer: ViewerModel, run: str, kinds: tuple[str, ...]) -> list[Layer]:
    """Layers of a run, and of the averages of every defect beside it."""
    return [
        layer
        for one in (run, *crowded_runs_of(viewer, run))
        for layer in layers_of_run(viewer, one, kinds)
    ]
