"""The list of keys: what the widgets declared, nothing typed twice."""

from itertools import groupby

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QDialog, QLabel, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from ..base import declared, tr

_WIDTH, _HEIGHT = 560, 560


class KeyList(QDialog):
    """All keys of the plugin, by the place where they work.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Keys"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(_WIDTH, _HEIGHT)
        column = QVBoxLayout(self)
        about = QLabel(
            tr("Tab and Shift+Tab go through the controls. napari's own keys: Help > Shortcuts.")
        )
        about.setWordWrap(True)
        column.addWidget(about)
        self.table = QTableWidget(0, 2)
        self.table.setHorizontalHeaderLabels([tr("Key"), tr("What it does")])
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setTabKeyNavigation(False)
        column.addWidget(self.table)
        for where, keys in groupby(declared(), key=lambda key: key.where):
            self._row(where, "", heading=True)
            for key in keys:
                shown = QKeySequence(key.keys).toString(QKeySequence.SequenceFormat.NativeText)
                self._row(shown, key.does)
        self.table.resizeColumnsToContents()
        self.table.horizontalHeader().setStretchLastSection(True)

    def _row(self, left: str, right: str, heading: bool = False) -> None:
        row = self.table.rowCount()
        self.table.setRowCount(row + 1)
        items = [QTableWidgetItem(left), QTableWidgetItem(right)]
        for column, item in enumerate(items):
            if heading:
                font = item.font()
                font.setBold(True)
                item.setFont(font)
            self.table.setItem(row, column, item)
        if heading:
            self.table.setSpan(row, 0, 1, 2)
