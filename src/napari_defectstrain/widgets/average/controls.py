"""The controls of the average widget: images, classes with live numbers, settings of windows."""

from collections.abc import Iterator, Mapping, Sequence

from napari.layers import Points
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QGridLayout,
    QHeaderView,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from ...averages.average import STACKED_ROLES, AverageConfig
from ...averages.counts import WindowCount
from ...averages.purity import purity_text
from ...materials import NAMED_ROLE, Material
from ...pipeline.runs import RunResult
from ...styles import with_error
from ...types import ClassAverage
from ..base import forms, tr
from ..layers.sites import layer_id

SHELLS = {
    "none": 0,
    "1 shell (a, 6 columns)": 1,
    "2 shells (√3 a, 12 columns)": 2,
    "3 shells (2 a, 18 columns)": 3,
}
ROW_PX, LEAST_ROWS, MOST_ROWS = 20, 2, 9
"""Of the list of images: height of a row [px of the screen], and how many are in sight."""
COLUMNS = ("Class", "Windows", "Left\nout", "Expected\npurity", "Every\ndefect")
EVERY = COLUMNS.index("Every\ndefect")


class ImageList(QListWidget):
    """Detections with ticks, which stay when layers come and go."""

    ticked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setMinimumHeight(LEAST_ROWS * ROW_PX)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.itemChanged.connect(lambda _: self.ticked.emit())

    def sizeHint(self) -> QSize:
        """As high as its rows need, within limits."""
        rows = min(max(self.count(), LEAST_ROWS), MOST_ROWS)
        return QSize(super().sizeHint().width(), (rows + 1) * ROW_PX)

    def list_layers(self, layers: Sequence[Points]) -> None:
        """Show these layers; new ones are ticked."""
        off = {self._key(i) for i in self._items() if i.checkState() == Qt.CheckState.Unchecked}
        self.blockSignals(True)
        self.clear()
        for layer in layers:
            item = QListWidgetItem(layer.name)
            key = layer_id(layer)
            item.setData(Qt.ItemDataRole.UserRole, key)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Unchecked if key in off else Qt.CheckState.Checked)
            self.addItem(item)
        self.blockSignals(False)
        self.updateGeometry()

    def chosen_ids(self) -> list[str]:
        """Ids of the ticked layers."""
        return [self._key(i) for i in self._items() if i.checkState() == Qt.CheckState.Checked]

    def _items(self) -> Iterator[QListWidgetItem]:
        return (self.item(i) for i in range(self.count()))

    @staticmethod
    def _key(item: QListWidgetItem) -> str:
        return str(item.data(Qt.ItemDataRole.UserRole))


_A_ROW, _LAST_ROW = 5, 100
"""Boxes side by side, and the row of the grid that comes after all of them."""


class ClassBoxes(QWidget):
    """A box for each class, and under it how many windows it would have.

    Parameters
    ----------
    panel : Panel
        Remembers what is ticked.
    material : Material
    """

    toggled = Signal()

    def __init__(self, panel: forms.Panel, material: Material) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(2)
        self._panel, self._grid = panel, grid
        self.boxes: list[QCheckBox] = []
        self.numbers: list[QLabel] = []
        for role in STACKED_ROLES:
            self._add(role)
        self.boxes[0].setChecked(True)
        self.boxes[0].setEnabled(False)
        self.say = QLabel("")
        self.say.setWordWrap(True)
        grid.addWidget(self.say, _LAST_ROW, 0, 1, _A_ROW)
        self.rename(material)

    def _add(self, role: str) -> None:
        """One more box; named classes get theirs as they are needed."""
        i = len(self.boxes)
        box = self._panel.remember(
            f"class_{role}",
            forms.checkbox("", True),
            "Average the columns of this class"
            if role != "X2"
            else "Defect-free columns: always averaged, as the reference of all displacements",
        )
        box.toggled.connect(self.toggled)
        number = QLabel("–")
        number.setAlignment(Qt.AlignmentFlag.AlignLeft)
        number.setIndent(22)  # under the box's text
        row, column = divmod(i, _A_ROW)
        self._grid.addWidget(box, 2 * row, column)
        self._grid.addWidget(number, 2 * row + 1, column)
        self.boxes.append(box)
        self.numbers.append(number)

    def rename(self, material: Material) -> None:
        """Names as the material gives them."""
        names = stacked(material)
        for i in range(len(self.boxes), len(names)):
            self._add(f"{NAMED_ROLE}_{i - len(STACKED_ROLES) + 1}")
        for i, (box, number) in enumerate(zip(self.boxes, self.numbers, strict=True)):
            box.setText(names[i] if i < len(names) else "")
            box.setVisible(i < len(names))
            number.setVisible(i < len(names))

    def names(self) -> list[str]:
        """Names of the ticked classes."""
        return [box.text() for box in self.boxes if box.isChecked() and box.text()]

    def show_counts(self, counts: Mapping[str, WindowCount]) -> None:
        """Number of isolated windows of each class, with all that is known in the tooltip."""
        for box, number in zip(self.boxes, self.numbers, strict=True):
            count = counts.get(box.text())
            if count is None:
                number.setText("–")
                continue
            number.setText(f"{count.n}")
            number.setEnabled(box.isChecked())
            less = f"; {count.improbable} more are less probable" if count.improbable else ""
            number.setToolTip(
                f"{count.n} isolated windows of {count.columns} columns of {count.class_name}{less}"
            )
        self.say.setText(tr("isolated windows, before outliers are left out"))

    def show_busy(self) -> None:
        """The numbers are of before."""
        for number in self.numbers:
            number.setEnabled(False)
        self.say.setText(tr("counting isolated windows…"))

    def show_problem(self, message: str) -> None:
        """Why nothing can be counted."""
        for number in self.numbers:
            number.setText("–")
            number.setToolTip("")
        self.say.setText(message)


class WindowSettings:
    """Isolation, size, reference, probability and seed, as rows of a form.

    Parameters
    ----------
    panel : Panel
    """

    def __init__(self, panel: forms.Panel) -> None:
        form = panel.group(tr("Windows"))
        default = AverageConfig()
        self.shells = panel.remember(
            "shells",
            forms.choice(list(SHELLS)),
            tr(
                "Isolation: shells of chalcogen columns around a defect that must be free "
                "of other defects (lattice constants a)"
            ),
        )
        if panel.settings.get("shells") is None:
            self.shells.setCurrentIndex(default.shells)
        form.addRow(tr("Isolation"), self.shells)
        self.window = panel.remember(
            "window_nm",
            forms.number(default.window_nm, 2.0, 6.0, 0.1, 1, " nm"),
            tr("Side of the windows in nm, at least 2 nm"),
        )
        form.addRow(tr("Window"), self.window)
        self.references = panel.remember(
            "references",
            forms.count(default.max_reference, 10, 20000, " windows"),
            tr("Number of defect-free windows of the reference at most, drawn at random"),
        )
        form.addRow(tr("Reference"), self.references)
        self.probability = panel.remember(
            "min_probability",
            forms.number(default.min_probability, 0.0, 1.0, 0.05, 2),
            tr(
                "Least probability (0 to 1) of a window's centre: less certain columns are "
                "left out. Points made by hand have probability 1"
            ),
        )
        form.addRow(tr("Probability"), self.probability)
        self.seed = panel.remember(
            "seed",
            forms.count(0, 0, 999_999),
            tr("Seed of the random choice of reference windows (a number without a unit)"),
        )
        form.addRow(tr("Seed"), self.seed)
        self.crowded = panel.remember(
            "crowded",
            forms.checkbox(tr("Use crowded defects"), default.crowded),
            tr(
                "Measure averages of every defect as well, isolated or not: all classes "
                "are solved for at once. They come in a row of their own, with N and what "
                "N is worth in windows of defects that are alone. Takes about ten seconds "
                "an image"
            ),
        )
        form.addRow(self.crowded)
        self.form = form
        self.changes = (
            self.shells.currentIndexChanged,
            self.window.valueChanged,
            self.references.valueChanged,
            self.probability.valueChanged,
            self.seed.valueChanged,
        )

    def config(self) -> AverageConfig:
        """The controls as settings."""
        return AverageConfig(
            shells=SHELLS[self.shells.currentText()],
            window_nm=self.window.value(),
            max_reference=self.references.value(),
            min_probability=self.probability.value(),
            crowded=self.crowded.isChecked(),
        )


class AveragesTable(QTableWidget):
    """Class, windows averaged and left out, expected purity."""

    def __init__(self) -> None:
        super().__init__(0, len(COLUMNS))
        self.setHorizontalHeaderLabels(COLUMNS)
        self.setToolTip(
            tr(
                "Expected purity: fraction (0 to 1) of the windows averaged that truly are "
                "of their class, by their probabilities; in brackets what else is expected "
                "among them. Impurity biases an average. Every defect: strain of the "
                "spacing by all of them (Use crowded defects), their number, and how many "
                "windows of single ones would be worth as much. Click a class to look "
                "through its windows"
            )
        )
        self.verticalHeader().setVisible(False)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        # what is long shares the rest of the width, in several lines: the dock is narrow
        for column in (EVERY - 1, EVERY):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.setColumnHidden(EVERY, True)
        self.setMinimumHeight(178)

    def show_averages(self, averages: Mapping[str, ClassAverage]) -> None:
        """A row a class."""
        self.setRowCount(0)
        self.setColumnHidden(EVERY, True)
        self.setRowCount(len(averages))
        for row, average in enumerate(averages.values()):
            self.show_average(row, average)

    def show_average(self, row: int, average: ClassAverage) -> None:
        """One row."""
        pure = purity_text(average.purity, average.contaminants)
        self.show_row(row, average.class_name, average.n, average.n_excluded, pure)

    def show_row(self, row: int, name: str, n: int, n_excluded: int, pure: str) -> None:
        """One row: a class, its windows averaged and left out, its expected purity in words."""
        whole = f"{name} {n} windows, expected purity {pure}"
        for column, text in enumerate((name, str(n), str(n_excluded), pure)):
            item = QTableWidgetItem(text)
            item.setToolTip(whole)
            self.setItem(row, column, item)
        if self.item(row, EVERY) is None:
            self.setItem(row, EVERY, QTableWidgetItem("–"))

    def show_every_defect(self, result: RunResult) -> None:
        """What averages of every defect say of each class; classes none of which are isolated, too.

        Parameters
        ----------
        result : RunResult
            With `crowded`.
        """
        self.setColumnHidden(EVERY, False)
        rows = {self.item(row, 0).text(): row for row in range(self.rowCount())}
        for name in result.crowded:
            if name not in rows:
                rows[name] = self.rowCount()
                self.insertRow(rows[name])
                self.show_row(rows[name], name, 0, 0, "")
            item = QTableWidgetItem(every_defect_text(result, name))
            item.setToolTip(f"{name}, every defect: {item.text()}")
            self.setItem(rows[name], EVERY, item)


def every_defect_text(result: RunResult, name: str) -> str:
    """Strain by averages of every defect, and what it is worth.

    Parameters
    ----------
    result : RunResult
    name : str
        A class of `result.crowded`.
    """
    spacing, stack = result.crowded[name].spacing, result.crowded_stacks[name]
    worth = "" if stack.effective_n is None else f", worth {stack.effective_n:.0f}"
    counted = f"N = {spacing.n}{worth}"
    if name in result.material.references:
        return counted
    total = 100 * spacing.strain_total_std
    return f"{with_error(100 * spacing.strain, total, '+.2f')} %, {counted}"


def stacked(material: Material) -> tuple[str, ...]:
    """Names of the classes that are averaged: those of `STACKED_ROLES`, then named ones."""
    return (material.class_names[1], *material.averaged_names)
