"""The strain widget: columns of the averages fitted together, displacement, strain, spacings."""

from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Image, Layer
from napari.utils.notifications import show_info, show_warning
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
)

from ..config import Config
from ..io import write_table
from ..materials import ROLES, get_material
from ..pipeline import measure_classes
from ..purity import purity_text
from ..results import displacement_table, spacings_table
from ..runs import ClassMeasurement, RunConfig, RunResult
from ..strain import METHODS, StrainConfig
from ..styles import DISPLACEMENT_SCALE
from ..types import DefectStrainError
from . import _panel
from ._averages import STACK, layers_of_run, look_at, run_title, runs
from ._fields import COMPONENTS, add_arrow_labels, add_displacement, add_maps
from ._layers import KEY, kind, note, provenance
from ._lifetime import connect

RESULT = "defectstrain_result"
"""Key of a displacement layer's metadata: its `ClassMeasurement`."""
COLUMNS = ("Class", "N", "Purity", "Spacing (pm)", "Strain (%)", "± total")
KINDS = ("map", "displacement", "map labels")


class StrainWidget(_panel.Panel):
    """Choose averages; get arrows, maps and the table of spacings.

    Parameters
    ----------
    napari_viewer : Viewer
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(
            napari_viewer,
            "strain",
            "Measure strain",
            "Fit the columns of each average together, and measure spacings, displacement and "
            "strain against the defect-free average",
        )
        self._result: RunResult | None = None
        self._build_source()
        self._build_arrows()
        self._build_maps()
        self._build_table()
        self.body.addStretch(1)
        self.run_bar.run_clicked.connect(self.run)
        self.watch_layers(self.refresh)
        # One colour bar at a time: that of the map which is selected.
        connect(self, napari_viewer.layers.selection.events.changed, self._show_colour_bars)
        self.refresh()

    def _build_source(self) -> None:
        form = self.group("Averages")
        self.source = _panel.choice([])
        self.source.setSizeAdjustPolicy(
            self.source.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.source.setMinimumContentsLength(12)
        self.source.setToolTip("Averages to measure: images, then class and number of windows")
        form.addRow("Averages", self.source)
        self.bootstrap = self.remember(
            "bootstrap",
            _panel.count(RunConfig().bootstrap, 100, 200_000, " samples"),
            "Bootstrap samples a class: the precision is their standard deviation",
        )
        form.addRow("Bootstrap", self.bootstrap)
        self.smoothing = self.remember(
            "smoothing_pm",
            _panel.number(StrainConfig().smoothing_pm, 0.0, 300.0, 5.0, 0, " pm"),
            "Sigma in pm of the Gaussian that smooths the displacement before it is differentiated",
        )
        form.addRow("Smoothing", self.smoothing)
        self.method = self.remember(
            "method",
            _panel.choice(list(METHODS)),
            "How displacements are interpolated between columns: rbf is a smooth spline; griddata "
            "is the paper's, and breaks the symmetry of symmetric fields",
        )
        form.addRow("Interpolation", self.method)

    def _build_arrows(self) -> None:
        form = self.group("Displacement arrows")
        material = get_material("WSe2")
        names = dict(zip(ROLES, material.class_names, strict=True))
        self.enlargement = {}
        for key, roles in (("substitutions", ("XY", "Y2")), ("vacancies", ("V1", "V2"))):
            box = self.remember(
                f"enlarge_{key}",
                _panel.number(DISPLACEMENT_SCALE[roles[0]], 1.0, 500.0, 5.0, 0, " ×"),
                f"How many times the arrows of {' and '.join(names[r] for r in roles)} are "
                "enlarged; arrows that are there follow at once",
            )
            box.valueChanged.connect(self._enlarge)
            form.addRow(" and ".join(names[r] for r in roles), box)
            self.enlargement.update({role: box for role in roles})

    def _build_maps(self) -> None:
        form = self.group("Maps")
        grid = QGridLayout()
        self.maps = {}
        for i, component in enumerate(COMPONENTS):
            box = self.remember(
                f"map_{component}",
                _panel.checkbox(component, component == "dilation"),
                f"A map a class: {COMPONENTS[component]}; tension is positive",
            )
            self.maps[component] = box
            grid.addWidget(box, i // 3, i % 3)
        form.addRow(grid)
        self.sigma = self.remember(
            "map_sigma",
            _panel.checkbox("Standard errors, too"),
            "A map of the standard error (%) for each map",
        )
        form.addRow(self.sigma)
        self.limit = self.remember(
            "limit_percent",
            _panel.number(0.0, 0.0, 50.0, 0.5, 1, " %"),
            "Colour limit ± of all maps in %; 0 takes the largest value of each map",
        )
        self.limit.setSpecialValueText("automatic")
        form.addRow("Colour limit ±", self.limit)
        self.update_existing = self.remember(
            "update",
            _panel.checkbox("Replace earlier results of these averages", False),
            "Off: new results get numbered names, earlier ones are hidden. On: they are removed",
        )
        form.addRow(self.update_existing)

    def _build_table(self) -> None:
        form = self.group("Nearest metal–metal spacing")
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(COLUMNS)
        self.table.setToolTip(
            "Mean of the three metal columns around the defect (pm) ± bootstrap precision; strain "
            "against the defect-free average (%) ± bootstrap; total: with known systematic errors. "
            "Purity: expected fraction of the windows that are of the class"
        )
        self.table.verticalHeader().setVisible(False)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.setMinimumHeight(178)
        form.addRow(self.table)
        row = QHBoxLayout()
        self.export_buttons = []
        for text, tip, action in (
            ("Export spacings…", "Write the table as CSV (pm, fractions)", self.export_spacings),
            (
                "Export displacements…",
                "Write displacement and error of every column as CSV (pm, lattice frame)",
                self.export_displacements,
            ),
        ):
            button = QPushButton(text)
            button.setToolTip(tip)
            button.setEnabled(False)
            button.clicked.connect(action)
            self.export_buttons.append(button)
            row.addWidget(button)
        form.addRow(row)

    def refresh(self, *_: object) -> None:
        """List the averages that there are; the newest is chosen."""
        found = runs(self.viewer)
        known = {self.source.itemData(i) for i in range(self.source.count())}
        chosen = self.source.currentData()
        self.source.clear()
        for run, layers in found.items():
            self.source.addItem(run_title(layers), run)
            self.source.setItemData(
                self.source.count() - 1, run_title(layers), Qt.ItemDataRole.ToolTipRole
            )
        new = [run for run in found if run not in known]
        wanted = new[-1] if new else chosen
        self.source.setCurrentIndex(max(self.source.findData(wanted), 0) if found else -1)

    def config(self, material: str, seed: int) -> RunConfig:
        """The controls as settings."""
        return RunConfig(
            material=material,
            strain=StrainConfig(
                method=self.method.currentText(), smoothing_pm=self.smoothing.value()
            ),
            bootstrap=self.bootstrap.value(),
            seed=seed,
        )

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
        self.run_bar.start(
            lambda progress: RunResult(
                config=config,
                images=(),
                sites=(),
                populations=pd.DataFrame(),
                weights_sha256=note(layers[0]).get("weights_sha256"),
                stacks=stacks,
                measurements=measure_classes(stacks, config, progress),
            ),
            lambda result: self._show(layers, result),
            "Fitting columns…",
        )

    def _show(self, averages: list[Image], result: RunResult) -> None:
        first, run = note(averages[0]), note(averages[0])["run"]
        self._retire(layers_of_run(self.viewer, run, KINDS))
        self._result = result
        self._fill_table(result)
        centres = {note(la)["class"]: note(la)["centre_pm"] for la in averages}
        parameters = {**first["parameters"], **_measured_with(result.config)}
        about = {
            name: provenance(
                "displacement",
                parameters,
                result.weights_sha256,
                run=run,
                images=first["images"],
                **{"class": name, "n": m.spacing.n},
            )
            for name, m in result.measurements.items()
        }
        fields = {n: m for n, m in result.measurements.items() if m.displacement is not None}
        if not fields:
            show_warning("There is no defect class to measure: only the defect-free average")
            return
        labels = provenance("map labels", parameters, run=run)
        maps = self._add_maps(averages, fields, centres, about, labels)
        arrows = [self._add_arrows(n, m, centres[n], about[n]) for n, m in fields.items()]
        add_arrow_labels(
            self.viewer, arrows, [centres[n] for n in fields], _side_pm(averages), labels
        )
        shown = layers_of_run(self.viewer, run, ("average", "average labels", *KINDS))
        self.viewer.layers.selection.active = maps[0] if maps else arrows[0]
        look_at(self.viewer, [la for la in shown if la.visible])
        self.run_bar.status.setText(f"Measured {', '.join(fields)} against the defect-free average")

    def _add_maps(
        self,
        averages: list[Image],
        fields: dict[str, ClassMeasurement],
        centres: dict[str, Any],
        about: dict[str, Any],
        labels: dict[str, Any],
    ) -> list[Image]:
        components = [c for c, box in self.maps.items() if box.isChecked()]
        strains = {n: m.strain for n, m in fields.items() if m.strain is not None}
        if not components or not strains:
            return []
        maps = add_maps(
            self.viewer,
            strains,
            centres,
            _side_pm(averages),
            components,
            self.sigma.isChecked(),
            self.limit.value(),
            about,
            labels,
        )
        maps[0].colorbar.visible = True
        return maps

    def _add_arrows(
        self, name: str, measurement: ClassMeasurement, centre: Any, about: dict[str, Any]
    ) -> Layer:
        metadata = {**about, RESULT: measurement}
        role = self._role(about)
        enlargement = self.enlargement[role].value()
        return add_displacement(
            self.viewer, measurement.displacement, centre, enlargement, metadata
        )

    def _role(self, about: dict[str, Any]) -> str:
        material = get_material(about[KEY]["parameters"]["material"])
        return ROLES[material.class_names.index(about[KEY]["class"])]

    def _show_colour_bars(self, *_: object) -> None:
        selected = [la for la in self.viewer.layers.selection if kind(la) == "map"]
        if not selected:
            return
        for layer in self.viewer.layers:
            if kind(layer) == "map":
                layer.colorbar.visible = layer in selected

    def _retire(self, old: list[Layer]) -> None:
        """Earlier results of the same averages would lie under the new ones."""
        if not old:
            return
        for layer in old:
            layer.visible = False
        if self.update_existing.isChecked():
            for layer in old:
                self.viewer.layers.remove(layer)
        elif any(layer.visible for layer in old):
            show_info("Earlier results of these averages are hidden, not removed")

    def _enlarge(self, *_: object) -> None:
        for layer in self.viewer.layers:
            if kind(layer) == "displacement":
                layer.length = self.enlargement[self._role(layer.metadata)].value()

    def _fill_table(self, result: RunResult) -> None:
        self.table.setRowCount(len(result.measurements))
        for row, (name, measurement) in enumerate(result.measurements.items()):
            s = measurement.spacing
            cells = [name, str(s.n), f"{s.purity:.3f}"]
            cells.append(f"{s.spacing_pm:.2f} {_error(s.precision_pm)}")
            if measurement.displacement is None:
                cells += ["reference", ""]
            else:
                cells += [
                    f"{100 * s.strain:+.2f} {_error(100 * s.strain_std)}",
                    _error(100 * s.strain_total_std),
                ]
            pure = purity_text(s.purity, measurement.average.contaminants)
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{name} {s.n} windows, expected purity {pure}")
                self.table.setItem(row, column, item)
        for button in self.export_buttons:
            button.setEnabled(True)

    def export_spacings(self) -> None:
        """Write the table of spacings where the user says."""
        self._export("spacings.csv", spacings_table)

    def export_displacements(self) -> None:
        """Write the displacements of all columns where the user says."""
        self._export("displacement.csv", displacement_table)

    def _export(self, name: str, table_of: Any) -> None:
        if self._result is None:
            return
        path = _panel.ask_save_path(self, "Export", name)
        if path:
            write_table(path, table_of(self._result))
            show_info(f"Wrote {path}")


def _side_pm(averages: list[Image]) -> float:
    return averages[0].data.shape[-1] * float(averages[0].scale[-1])


def _error(value: float) -> str:
    """One window alone has no error."""
    return f"± {value:.2f}" if np.isfinite(value) else "± ?"


def _measured_with(config: Config) -> dict[str, Any]:
    values = config.to_dict()
    return {key: values[key] for key in ("columns", "strain", "bootstrap")}
