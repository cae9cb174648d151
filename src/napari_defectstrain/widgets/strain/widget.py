"""The strain widget: displacement and strain of averages, beside elasticity and atomistics."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Layer
from napari.utils.notifications import show_info, show_warning
from napari.viewer import Viewer
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton

from ...averages.average import AverageConfig
from ...config import Config
from ...io.files import write_table
from ...output.results import displacement_table, spacings_table
from ...pipeline.class_measurement import add_strain
from ...pipeline.runs import ClassMeasurement, RunConfig, RunResult
from ...types import DefectStrainError
from ..average.measuring import measure_classes
from ..average.results_panel import MEASUREMENT
from ..base import forms, tr
from ..base.lifetime import connect
from ..base.pacing import Steps
from ..base.worker import Part
from ..layers.averages import (
    OF_COMPARISON,
    OUTDATED,
    STACK,
    WHOLE,
    hide_windows,
    layers_of_run,
    look_at,
    measured_on,
    of_every_defect,
    run_title,
    runs,
    same_windows,
)
from ..layers.detected import detected_with
from ..layers.fields import displacement_in_steps
from ..layers.sites import KEY, inherited, kind, layer_by_id, note, provenance
from ..layers.view_buttons import ViewButtons
from ..layers.window_edits import window_edits_of
from ..study import CopyButtons
from .comparing import Answer
from .comparison_text import rows_of
from .comparison_view import ComparisonView, Measured, measured_of
from .controls import StrainControls
from .figure_files import FigureSaving
from .profile_plot import DOCK, HEIGHT, ProfilePanel
from .report_writing import ReportWriting
from .table import ComparisonTable, SpacingTable

RESULT = "defectstrain_result"
"""Key of a displacement layer's metadata: its `ClassMeasurement`."""
OWN_SETTINGS = ("material", "average", "strain", "bootstrap", "seed")
"""Those of a run that this widget sets, or that its averages were made with."""
MEASURING = 0.3
"""What measuring takes of the whole time, before theory."""
BARS_MS = 150
"""How long a selection stays before the colour bar of its map is shown."""
EXPORT = "Write them as they were"
KINDS = ("map", "displacement", "map labels", "scale arrows")


class StrainWidget(forms.Panel):
    """Choose averages; get arrows, maps beside theory, a line profile and the table of spacings.

    Parameters
    ----------
    napari_viewer : Viewer
    """

    page = "widgets.md#strain-maps"

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(
            napari_viewer,
            "strain",
            "Measure strain",
            "Fit the columns of each average together, and measure spacings, displacement and "
            "strain against the defect-free average",
        )
        self.views = ViewButtons(self.viewer)
        self.put_on_top(self.views)
        self._results: dict[str, Measured] = {}
        self._build_source()
        self.controls = StrainControls(self)
        self.comparison_table = ComparisonTable()
        self.controls.theory_form.addRow(self.comparison_table)
        self._build_table()
        self.copying = CopyButtons(self.viewer, self._settings, self.run_bar.fail, OWN_SETTINGS)
        self.body.addWidget(self.copying)
        self.body.addStretch(1)
        self.profile = ProfilePanel(self.viewer)
        self._dock = self.bottom_dock(self.profile, DOCK, HEIGHT)
        self.view = ComparisonView(self.viewer, self.run_bar, self.controls, self.profile)
        self.figures = FigureSaving(self, self.view, self.may_export)
        self.report = ReportWriting(self)
        self._build_outputs()
        self.view.answered.connect(self._answered)
        self.run_bar.run_clicked.connect(self.run)
        self.source.currentIndexChanged.connect(self._turn)
        self.watch_layers(self.refresh)
        self._edits = window_edits_of(self.viewer)
        self._edits.changed.connect(self._say_stale)
        # One colour bar at a time: that of the map which is selected.
        # Maps that are being added are selected one after another: none of their bars is made.
        self._bars = QTimer(self)
        self._bars.setSingleShot(True)
        self._bars.setInterval(BARS_MS)
        self._bars.timeout.connect(self._show_colour_bars)
        connect(self, self.viewer.layers.selection.events.changed, self._selected)
        self.refresh()

    def _build_source(self) -> None:
        form = self.group(tr("Averages"))
        self.source = forms.choice([])
        self.source.setSizeAdjustPolicy(
            self.source.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.source.setMinimumContentsLength(12)
        self.source.setToolTip(tr("Averages to measure: images, then class and number of windows"))
        form.addRow(tr("Averages"), self.source)
        self.bootstrap = self.remember(
            "bootstrap",
            forms.count(RunConfig().bootstrap, 100, 200_000, " samples"),
            tr("Bootstrap samples a class: the precision is their standard deviation"),
        )
        form.addRow(tr("Bootstrap"), self.bootstrap)
        self.update_existing = self.remember(
            "update",
            forms.checkbox(tr("Replace earlier results of these averages"), False),
            tr(
                "Off: new results get numbered names, earlier ones are hidden. On: they "
                "are removed. Maps beside theory are always updated in place"
            ),
        )
        form.addRow(self.update_existing)

    def _build_table(self) -> None:
        form = self.group(tr("Nearest metal–metal spacing"))
        self.table = SpacingTable()
        form.addRow(self.table)
        self.stale = QLabel(
            tr(
                "Windows were left out, put back or joined since: these numbers, maps and arrows "
                "are of the averages as they were. Measure strain again"
            )
        )
        self.stale.setWordWrap(True)
        self.stale.hide()
        form.addRow(self.stale)
        self.export_buttons = self._buttons(
            form,
            ("Export spacings…", "Write the table as CSV (pm, fractions)", self.export_spacings),
            (
                "Export displacements…",
                "Write displacement and error of every column as CSV (pm, lattice frame)",
                self.export_displacements,
            ),
        )

    def _build_outputs(self) -> None:
        form = self.group(tr("Line profile and figures"))
        self.output_buttons = self._buttons(
            form,
            (
                "Line profile",
                "Open the plot of a component along the line, below; move the line on its layer "
                "'profile line', and the plot follows",
                self.show_profile,
            ),
            (
                "Save figures…",
                "Figures of displacement and strain beside theory, in widths of one and two "
                "columns of a journal, with their data as CSV, into a folder. Nothing is "
                "overwritten before you are asked",
                self.figures.ask,
            ),
        )
        form.addRow(tr("Figures of"), self.figures.scope)
        form.addRow(tr("Files"), self.figures.formats)
        form.addRow(tr("Report as"), self.report.form)
        form.addRow(self.report.button)

    def _buttons(self, form: Any, *rows: tuple[str, str, Any]) -> list[QPushButton]:
        row = QHBoxLayout()
        buttons = []
        for text, tip, action in rows:
            button = QPushButton(text)
            button.setToolTip(tip)
            button.setEnabled(False)
            button.clicked.connect(action)
            buttons.append(button)
            row.addWidget(button)
        form.addRow(row)
        return buttons

    def refresh(self, *_: object) -> None:
        """List the averages that there are; the newest is chosen."""
        found = runs(self.viewer)
        known = {self.source.itemData(i) for i in range(self.source.count())}
        chosen = self.source.currentData()
        self.source.blockSignals(True)
        self.source.clear()
        for run, layers in found.items():
            self.source.addItem(run_title(layers), run)
            self.source.setItemData(
                self.source.count() - 1, run_title(layers), Qt.ItemDataRole.ToolTipRole
            )
        new = [r for r in found if r not in known and not (chosen and of_every_defect(found[r]))]
        wanted = new[-1] if new else chosen
        self.source.setCurrentIndex(max(self.source.findData(wanted), 0) if found else -1)
        self.source.blockSignals(False)
        self._results = {run: m for run, m in self._results.items() if run in found}
        if self.source.currentData() != chosen:
            self._turn()

    def take_up(self) -> None:
        """Show what a study that was opened holds: maps came after the averages."""
        self.refresh()
        self._turn()

    @property
    def busy(self) -> bool:
        """True while something is running, or due."""
        return self.run_bar.running or self.view.waiting

    def choose_run(self, run: str) -> None:
        """Choose averages by the id of their run, if they are offered."""
        self.source.setCurrentIndex(max(self.source.findData(run), 0))

    def config(self, material: str, seed: int) -> RunConfig:
        """The controls as settings."""
        return RunConfig(
            material=material,
            strain=self.controls.strain,
            bootstrap=self.bootstrap.value(),
            seed=seed,
        )

    def _settings(self) -> tuple[RunConfig, list[Layer]]:
        layers = runs(self.viewer).get(self.source.currentData() or "", [])
        if not layers:
            raise DefectStrainError("got no averages: average the classes of an image first")
        about = note(layers[0])
        config = self.config(about["parameters"]["material"], about["parameters"]["seed"])
        average = AverageConfig.from_dict(about["parameters"]["average"])
        images = [layer_by_id(self.viewer, i) for i in about.get("image_ids", [])]
        detectors = about.get("detection") or []
        judges = about.get("judge") or [None] * len(detectors)
        made = [{"parameters": d, "judge": j} for d, j in zip(detectors, judges, strict=True)]
        config = config.replace(average=average, **detected_with(made))
        return config, [la for la in images if la is not None]

    @property
    def measured(self) -> Measured | None:
        """What was measured on the chosen averages."""
        return self._results.get(self.source.currentData() or "")

    @property
    def current(self) -> bool:
        """Whether what is shown was measured on the chosen averages as they are now."""
        measured = self.measured
        return measured is not None and same_windows(
            self.viewer, measured.run, measured.result.stacks
        )

    def _say_stale(self, *_: object) -> None:
        self.stale.setVisible(self.measured is not None and not self.current)

    def may_export(self) -> bool:
        """Whether to write what is shown; asks where windows changed after it was measured."""
        if self.measured is None or self.current:
            return True
        return forms.ask(self, tr("Windows changed"), self.stale.text(), [EXPORT]) == EXPORT

    def run(self) -> None:
        """Measure the chosen averages."""
        layers = runs(self.viewer).get(self.source.currentData() or "", [])
        if not layers:
            self.run_bar.fail("got no averages: average the classes of an image first")
            return
        parameters = note(layers[0])["parameters"]
        try:
            config = self.config(parameters["material"], parameters["seed"])
        except DefectStrainError as mistake:
            self.run_bar.fail(str(mistake))
            return
        stacks = {note(la)["class"]: la.metadata[STACK] for la in layers}
        # whole images told the places of these columns; the pictures alone would tell others
        every = None
        if of_every_defect(layers):
            every = {note(la)["class"]: la.metadata[MEASUREMENT] for la in layers}
        self.run_bar.start(
            lambda progress: RunResult(
                config=config,
                images=(),
                sites=(),
                populations=pd.DataFrame(),
                weights_sha256=note(layers[0]).get("weights_sha256"),
                stacks=stacks,
                measurements=(
                    measure_classes(stacks, config, progress)
                    if every is None
                    else add_strain(every, config, progress)
                ),
            ),
            lambda result: self._show(layers, result),
            tr("Fitting columns…"),
            Part(high=MEASURING, shown=0.5),
        )

    def _show(self, averages: list[Image], result: RunResult) -> Steps[Callable[[], None] | None]:
        first, run = note(averages[0]), note(averages[0])["run"]
        if run not in runs(self.viewer):
            raise DefectStrainError("the averages were removed while they were measured")
        self._retire(layers_of_run(self.viewer, run, KINDS))
        parameters = {**first["parameters"], **_measured_with(result.config)}
        measurement = uuid4().hex
        about = {
            name: provenance(
                "displacement",
                parameters,
                result.weights_sha256,
                run=run,
                measurement=measurement,
                images=first["images"],
                **{"class": name, "n": m.spacing.n},
            )
            for name, m in result.measurements.items()
        }
        measured = measured_of(result, averages, self.viewer, measurement, about)
        self._results[run] = measured
        chosen = run == self.source.currentData()
        if chosen:
            self._fill_table(measured)
            hide_windows(self.viewer)
        if not measured.fields:
            if chosen:
                self.view.show(None)
            show_warning(tr("There is no defect class to measure: only the defect-free average"))
            return None
        yield
        # also where other averages were chosen meanwhile: theirs is what is compared with theory
        for name, found in measured.fields.items():
            yield from self._add_arrows(measured, name, found)
        # the user's selection counts from now on
        self.viewer.layers.selection.active = None
        return lambda: self._compare(measured)

    def _compare(self, measured: Measured) -> None:
        """Go on to theory, unless other averages were chosen meanwhile."""
        if measured is self.measured:
            self.view.show(
                measured, lambda: self._look(measured.run), Part(low=MEASURING, shown=0.8)
            )

    def _look(self, run: str) -> None:
        kinds = ("average", "average labels", *KINDS, *OF_COMPARISON)
        look_at(self.viewer, [la for la in layers_of_run(self.viewer, run, kinds) if la.visible])

    def _add_arrows(self, measured: Measured, name: str, found: ClassMeasurement) -> Steps[Any]:
        enlargement = self.controls.enlargement[measured.role(name)].value()
        metadata = {**measured.about[name], RESULT: found, WHOLE: measured.result}
        if not same_windows(self.viewer, measured.run, measured.result.stacks):
            metadata[KEY] = {**metadata[KEY], OUTDATED: True}  # changed while it was measured
        assert found.displacement is not None
        centre = measured.centres[name]
        yield from displacement_in_steps(
            self.viewer, found.displacement, centre, enlargement, metadata
        )

    def _turn(self, *_: object) -> None:
        """Other averages were chosen: show what was measured on them."""
        run = self.source.currentData()
        if run is not None and run not in self._results:
            found = recalled(self.viewer, run)
            if found is not None:
                self._results[run] = found
        measured = self.measured
        self._fill_table(measured)
        self.comparison_table.show_rows([])
        if measured is not None and measured is not self.view.measured:
            self.view.show(measured)
        elif measured is None:
            self.view.show(None)

    def _answered(self, answer: Answer) -> None:
        self.comparison_table.show_rows(rows_of(answer))
        for button in self.output_buttons:
            button.setEnabled(True)

    def show_profile(self) -> None:
        """Open the panel of the line profile."""
        self._dock.open()

    def _selected(self, *_: object) -> None:
        self._bars.start()

    def _show_colour_bars(self) -> None:
        """Of the maps of all classes; those beside theory have a bar in the picture."""
        if self.run_bar.running:
            self._bars.start()
            return
        selected = [la for la in self.viewer.layers.selection if kind(la) == "map"]
        for layer in self.viewer.layers:
            if kind(layer) == "map" and layer.colorbar.visible != (layer in selected):
                layer.colorbar.visible = layer in selected

    def _retire(self, old: list[Layer]) -> None:
        """Earlier results of the same averages would lie under the new ones."""
        if not old:
            return
        seen = any(layer.visible for layer in old)
        for layer in old:
            layer.visible = False
        if self.update_existing.isChecked():
            for layer in old:
                self.viewer.layers.remove(layer)
        elif seen:
            show_info(tr("Earlier results of these averages are hidden, not removed"))

    def _fill_table(self, measured: Measured | None) -> None:
        result = measured.result if measured else None
        self.table.show_measurements(
            result.measurements if result else {}, result.unmeasured if result else {}
        )
        self._say_stale()
        for button in self.export_buttons:
            button.setEnabled(measured is not None)
        if measured is None:
            for button in self.output_buttons:
                button.setEnabled(False)

    def export_spacings(self) -> None:
        """Write the table of spacings where the user says."""
        self._export("spacings.csv", spacings_table)

    def export_displacements(self) -> None:
        """Write the displacements of all columns where the user says."""
        self._export("displacement.csv", displacement_table)

    def _export(self, name: str, table_of: Any) -> None:
        if self.measured is None or not self.may_export():
            return
        path = forms.ask_save_path(self, tr("Export"), name)
        if path:
            write_table(path, table_of(self.measured.result))
            show_info(f"Wrote {path}")


def recalled(viewer: ViewerModel, run: str) -> Measured | None:
    """The last measurement of averages that is in the viewer, as of a widget closed since.

    None where there is none, or windows were left out or put back after it.
    """
    averages = runs(viewer).get(run, [])
    arrows = [la for la in layers_of_run(viewer, run, ("displacement",)) if WHOLE in la.metadata]
    if not averages or not arrows:
        return None
    last = arrows[-1]
    if not measured_on(viewer, run, last):
        return None
    result: RunResult = last.metadata[WHOLE]
    about = {
        name: {KEY: {**inherited(last), "class": name, "n": m.spacing.n}}
        for name, m in result.measurements.items()
    }
    return measured_of(result, averages, viewer, note(last)["measurement"], about)


def _measured_with(config: Config) -> dict[str, Any]:
    values = config.to_dict()
    return {key: values[key] for key in ("columns", "strain", "bootstrap")}
