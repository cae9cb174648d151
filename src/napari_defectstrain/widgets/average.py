"""The average widget: isolated defects of many images, registered and averaged by class."""

from uuid import uuid4

from napari.layers import Image, Layer, Points
from napari.utils.notifications import show_warning
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QGridLayout,
    QHeaderView,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QTableWidget,
    QTableWidgetItem,
)

from ..average import STACKED_ROLES, AverageConfig, average_stack
from ..materials import WSE2, Material, get_material
from ..pipeline import average_classes
from ..purity import purity_text
from ..regions import Regions
from ..runs import RunConfig
from ..types import CalibratedImage, ClassAverage, ClassStack, DefectStrainError, Progress, Sites
from . import _panel
from ._averages import add_averages, free_corner, layers_of_run, look_at, run_title, runs
from ._layers import (
    image_planes,
    kind,
    layer_by_id,
    material_of,
    note,
    provenance,
)
from ._regions import divided_planes

SHELLS = {
    "none": 0,
    "1 shell (a, 6 columns)": 1,
    "2 shells (√3 a, 12 columns)": 2,
    "3 shells (2 a, 18 columns)": 3,
}
COLUMNS = ("Class", "Windows", "Left out", "Expected purity")


class AverageWidget(_panel.Panel):
    """Choose images, classes and isolation; get a class average a class.

    Parameters
    ----------
    napari_viewer : Viewer
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(
            napari_viewer,
            "average",
            "Average classes",
            "Cut a window around every isolated defect, register the windows in the lattice frame, "
            "and average them by class",
        )
        self._build_images()
        self._build_classes()
        self._build_windows()
        self._build_table()
        self.body.addStretch(1)
        self.run_bar.run_clicked.connect(self.run)
        self.watch_layers(self.refresh)
        self.refresh()

    def _build_images(self) -> None:
        form = self.group("Images")
        self.images = QListWidget()
        self.images.setToolTip(
            "Detections to average together: images of different scan rotation may be mixed. "
            "Corrections by hand count as they are now"
        )
        self.images.setMinimumHeight(110)
        form.addRow(self.images)
        self.hint = QLabel("Detect the defects of an image first.")
        self.hint.setWordWrap(True)
        form.addRow(self.hint)

    def _build_classes(self) -> None:
        form = self.group("Classes")
        grid = QGridLayout()
        self.classes = []
        for i, (role, name) in enumerate(zip(STACKED_ROLES, _stacked(WSE2), strict=True)):
            box = self.remember(
                f"class_{role}",
                _panel.checkbox(name, True),
                "Average the columns of this class"
                if role != "X2"
                else "Defect-free columns: always averaged, as the reference of all displacements",
            )
            grid.addWidget(box, i // 3, i % 3)
            self.classes.append(box)
        self.classes[0].setChecked(True)
        self.classes[0].setEnabled(False)
        form.addRow(grid)

    def _build_windows(self) -> None:
        form = self.group("Windows")
        default = AverageConfig()
        self.shells = self.remember(
            "shells",
            _panel.choice(list(SHELLS)),
            "Isolation: shells of chalcogen columns around a defect that must be free of other "
            "defects (lattice constants a)",
        )
        if self.settings.get("shells") is None:
            self.shells.setCurrentIndex(default.shells)
        form.addRow("Isolation", self.shells)
        self.window = self.remember(
            "window_nm",
            _panel.number(default.window_nm, 2.0, 6.0, 0.1, 1, " nm"),
            "Side of the windows in nm, at least 2 nm",
        )
        form.addRow("Window", self.window)
        self.references = self.remember(
            "references",
            _panel.count(default.max_reference, 10, 20000, " windows"),
            "Number of defect-free windows of the reference at most, drawn at random",
        )
        form.addRow("Reference", self.references)
        self.probability = self.remember(
            "min_probability",
            _panel.number(default.min_probability, 0.0, 1.0, 0.05, 2),
            "Least probability (0 to 1) of a window's centre: less certain columns are left out. "
            "Points made by hand have probability 1",
        )
        form.addRow("Probability", self.probability)
        self.seed = self.remember(
            "seed",
            _panel.count(0, 0, 999_999),
            "Seed of the random choice of reference windows (a number without a unit)",
        )
        form.addRow("Seed", self.seed)
        self.with_windows = self.remember(
            "windows_layers",
            _panel.checkbox("Keep the windows as hidden layers", True),
            "Adds a stack a class, to look through the single windows with the slider",
        )
        form.addRow(self.with_windows)
        self.update_existing = self.remember(
            "update",
            _panel.checkbox("Replace the last averages of these images", False),
            "Off: new averages get numbered names and a row of their own. "
            "On: the last ones of the same images are removed once the new ones are there",
        )
        form.addRow(self.update_existing)

    def _build_table(self) -> None:
        form = self.group("Windows averaged")
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(COLUMNS)
        self.table.setToolTip(
            "Expected purity: fraction (0 to 1) of the windows averaged that truly are of their "
            "class, by their probabilities; in brackets what else is expected among them. Impurity "
            "biases an average"
        )
        self.table.verticalHeader().setVisible(False)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        self.table.setMinimumHeight(178)
        form.addRow(self.table)

    def _fill_table(self, averages: dict[str, ClassAverage]) -> None:
        self.table.setRowCount(len(averages))
        for row, (name, average) in enumerate(averages.items()):
            pure = purity_text(average.purity, average.contaminants)
            whole = f"{name} {average.n} windows, expected purity {pure}"
            cells = (name, str(average.n), str(average.n_excluded), pure)
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setToolTip(whole)
                self.table.setItem(row, column, item)

    def refresh(self, *_: object) -> None:
        """List the detections that there are, and keep what is ticked."""
        off = {
            item.data(Qt.ItemDataRole.UserRole)
            for item in self._items()
            if item.checkState() == Qt.CheckState.Unchecked
        }
        self.images.clear()
        for layer in self.viewer.layers:
            if kind(layer) != "defects":
                continue
            item = QListWidgetItem(layer.name)
            key = str(layer.unique_id)
            item.setData(Qt.ItemDataRole.UserRole, key)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Unchecked if key in off else Qt.CheckState.Checked)
            self.images.addItem(item)
            names = _stacked(get_material(material_of(layer)))
            for box, name in zip(self.classes, names, strict=True):
                box.setText(name)
        self.hint.setVisible(self.images.count() == 0)

    def _items(self) -> list[QListWidgetItem]:
        return [self.images.item(i) for i in range(self.images.count())]

    def chosen(self) -> list[Points]:
        """The ticked defects layers.

        Raises
        ------
        DefectStrainError
            If there is none, or they are of several materials.
        """
        ids = [
            item.data(Qt.ItemDataRole.UserRole)
            for item in self._items()
            if item.checkState() == Qt.CheckState.Checked
        ]
        layers = [la for la in (layer_by_id(self.viewer, i) for i in ids) if la is not None]
        if not layers:
            raise DefectStrainError(
                "got no detections to average: detect the defects of an image, and tick it here"
            )
        materials = sorted({material_of(la) for la in layers})
        if len(materials) > 1:
            raise DefectStrainError(
                f"got images of {' and '.join(materials)}: average one material at a time"
            )
        return layers

    def config(self, material: str) -> RunConfig:
        """The controls as settings."""
        average = AverageConfig(
            shells=SHELLS[self.shells.currentText()],
            window_nm=self.window.value(),
            max_reference=self.references.value(),
            min_probability=self.probability.value(),
        )
        return RunConfig(material=material, average=average, seed=self.seed.value())

    def run(self) -> None:
        """Gather images and corrected columns, and average."""
        try:
            layers = self.chosen()
            config = self.config(material_of(layers[0]))
            images, sites, regions = [], [], []
            for layer in layers:
                columns, divided = divided_planes(self.viewer, layer)
                images += image_planes(layer_by_id(self.viewer, note(layer)["image"]))
                sites += columns
                regions += divided
        except DefectStrainError as mistake:
            self.run_bar.fail(str(mistake))
            return
        names = [b.text() for b in self.classes if b.isChecked()]
        self.run_bar.start(
            lambda progress: _average(images, sites, regions, names, config, progress),
            lambda result: self._show(layers, *result, config),
            "Cutting and registering windows…",
        )

    def _show(
        self,
        layers: list[Points],
        stacks: dict[str, ClassStack],
        averages: dict[str, ClassAverage],
        config: RunConfig,
    ) -> None:
        missing = [b.text() for b in self.classes if b.isChecked() and b.text() not in averages]
        if missing:
            show_warning(
                f"No isolated {', '.join(missing)} away from the edges: no average. Fewer shells "
                "of isolation, or more images, would give some"
            )
        single = [n for n, a in averages.items() if a.n == 1]
        if single:
            show_warning(f"Only one window of {', '.join(single)}: no error can be given")
        sources = self._sources(layers)
        images = [la.name for la in sources]
        ids = sorted(str(la.unique_id) for la in sources)
        old = self._old_run(ids) if self.update_existing.isChecked() else []
        corner = free_corner(self.viewer, sources) if not old else tuple(note(old[0])["corner_pm"])
        for layer in old:
            layer.visible = False
        self._remove(old)
        self._fill_table(averages)
        metadata = provenance(
            "average",
            {k: config.to_dict()[k] for k in ("material", "average", "seed")},
            note(layers[0]).get("weights_sha256"),
            run=uuid4().hex,
            images=images,
            image_ids=ids,
            corner_pm=list(corner),
            detection=[note(la).get("parameters") for la in layers],
        )
        added = add_averages(
            self.viewer, stacks, averages, corner, metadata, self.with_windows.isChecked()
        )
        self.viewer.layers.selection.active = added[0]
        look_at(self.viewer, self._all_averages())
        self.run_bar.status.setText(run_title(added))

    def _all_averages(self) -> list[Layer]:
        return [la for la in self.viewer.layers if kind(la) in ("average", "average labels")]

    def _sources(self, layers: list[Points]) -> list[Image]:
        found = [layer_by_id(self.viewer, note(la)["image"]) for la in layers]
        if any(la is None for la in found):
            raise DefectStrainError("an image was removed while it was averaged: average again")
        return found

    def _old_run(self, ids: list[str]) -> list[Layer]:
        same = [r for r, las in runs(self.viewer).items() if note(las[0])["image_ids"] == ids]
        kinds = ("average", "windows", "average labels", "map", "displacement", "map labels")
        return layers_of_run(self.viewer, same[-1], kinds) if same else []

    def _remove(self, layers: list[Layer]) -> None:
        for layer in layers:
            self.viewer.layers.remove(layer)


def _stacked(material: Material) -> tuple[str, ...]:
    """Names of the classes that are averaged, in the order of `STACKED_ROLES`."""
    return (material.class_names[1], *material.defect_names)


def _average(
    images: list[CalibratedImage],
    sites: list[Sites],
    regions: list[Regions | None],
    names: list[str],
    config: RunConfig,
    progress: Progress,
) -> tuple[dict[str, ClassStack], dict[str, ClassAverage]]:
    stacks = average_classes(images, sites, config, progress, regions)
    kept = {n: s for n, s in stacks.items() if n in names and s.n > 0}
    if not kept:
        raise DefectStrainError(
            "got no isolated column away from the edges, not even a defect-free one; lower the "
            "isolation or the window, or correct the detection"
        )
    return kept, {n: average_stack(s) for n, s in kept.items()}
