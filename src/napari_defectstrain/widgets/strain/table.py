"""Tables of the strain widget: spacings by class, and what a comparison says."""

from collections.abc import Mapping, Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from ...averages.purity import purity_text
from ...pipeline.runs import ClassMeasurement
from ...styles import error_text
from ...types import ClassAverage
from ..base import tr
from .comparison_text import Row

COLUMNS = ("Class", "N", "Purity", "Spacing (pm)", "Strain (%)", "± total")
NAME_MARGIN = 14
"""Of the names of the comparison [px of the screen]."""


class SpacingTable(QTableWidget):
    """The nearest metal spacing of each class, its strain and its errors."""

    def __init__(self) -> None:
        super().__init__(0, len(COLUMNS))
        self.setHorizontalHeaderLabels(COLUMNS)
        self.setToolTip(
            tr(
                "Mean of the three metal columns around the defect (pm) ± bootstrap "
                "precision; strain against the defect-free average (%) ± bootstrap; total: "
                "with known systematic errors. Purity: expected fraction of the windows "
                "that are of the class"
            )
        )
        self.verticalHeader().setVisible(False)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.setMinimumHeight(178)

    def show_measurements(
        self,
        measurements: Mapping[str, ClassMeasurement],
        too_few: Mapping[str, ClassAverage] | None = None,
    ) -> None:
        """A row a class, last those that have too few windows to be measured."""
        too_few = too_few or {}
        self.setRowCount(len(measurements) + len(too_few))
        for row, (name, average) in enumerate(too_few.items(), len(measurements)):
            cells = [name, str(average.n), f"{average.purity:.3f}", "not measured", "", ""]
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{name}: {average.n} windows are too few to be measured")
                self.setItem(row, column, item)
        for row, (name, measurement) in enumerate(measurements.items()):
            s = measurement.spacing
            cells = [name, str(s.n), f"{s.purity:.3f}"]
            cells.append(f"{s.spacing_pm:.2f} {error_text(s.precision_pm)}")
            if measurement.displacement is None:
                cells += ["reference", ""]
            else:
                cells += [
                    f"{100 * s.strain:+.2f} {error_text(100 * s.strain_std)}",
                    error_text(100 * s.strain_total_std),
                ]
            pure = purity_text(s.purity, measurement.average.contaminants)
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{name} {s.n} windows, expected purity {pure}")
                self.setItem(row, column, item)


class ComparisonTable(QTableWidget):
    """What fits how well: names and values, each with its tooltip."""

    def __init__(self) -> None:
        super().__init__(0, 2)
        self.horizontalHeader().setVisible(False)
        self.verticalHeader().setVisible(False)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWordWrap(True)
        header = self.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        self.setVisible(False)

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Fill the table; it is as high as it needs to be."""
        self.setVisible(bool(rows))
        self.clearSpans()
        self.setRowCount(len(rows))
        for i, row in enumerate(rows):
            if not row.name:
                self.setSpan(i, 0, 1, 2)
            for column, text in enumerate((row.name or row.value, row.value)):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{row.value}\n{row.tip}" if column else row.tip)
                self.setItem(i, column, item)
        # rows that span both columns have no say in the width of the first
        names = [self.fontMetrics().horizontalAdvance(row.name) for row in rows]
        self.setColumnWidth(0, max(names, default=0) + NAME_MARGIN)
        self.resizeRowsToContents()
        height = sum(self.rowHeight(i) for i in range(len(rows)))
        self.setFixedHeight(height + 2 * self.frameWidth() + 2)

    def value(self, name: str) -> str:
        """The value beside a name; empty where there is none.

        Rows without a name are found by what they say.
        """
        for i in range(self.rowCount()):
            if self.item(i, 0).text() == name:
                return self.item(i, 1).text()
        return ""
