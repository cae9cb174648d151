"""The windows of a class as a table that Qt asks for what is in sight, and only for that."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, Qt
from qtpy.QtGui import QIcon

from ...averages.choice import deviation
from ...types import ClassStack
from ..layers.averages import contrast
from .window_pictures import thumbnail

HEADERS = ("Differs by", "Prob.", "Image", "y, x (px)", "State")
LEFT_OUT, INCLUDED, ALL = "left out", "included", "all"
WINDOW = Qt.ItemDataRole.UserRole
"""Role of a row's window, counted through all of the stack."""


class WindowsModel(QAbstractTableModel):
    """Windows by how far they are from the average of their class, the farthest first.

    A thousand thumbnails take a second to make: each is made when it comes into sight.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._stack: ClassStack | None = None
        self._far = np.zeros(0)
        self._rows = np.zeros(0, dtype=int)
        self._limits = (0.0, 1.0)
        self._icons: dict[int, QIcon] = {}
        self._image_name: Callable[[ClassStack, int], str] = lambda _stack, _window: ""

    def show(
        self,
        stack: ClassStack | None,
        which: str,
        image_name: Callable[[ClassStack, int], str],
    ) -> None:
        """List other windows.

        Parameters
        ----------
        stack : ClassStack or None
        which : str
            Left out, included or all.
        image_name : callable
            Gives the name of the image that a window of the stack comes from.
        """
        self.beginResetModel()
        if stack is not self._stack:  # what it is made of takes some time
            self._stack, self._icons = stack, {}
            self._far = np.zeros(0) if stack is None else deviation(stack)
            self._limits = (0.0, 1.0) if stack is None else contrast(stack)
        self._image_name = image_name
        self._rows = np.argsort(-np.nan_to_num(self._far, nan=np.inf), kind="stable")
        if stack is not None and which != ALL:
            self._rows = self._rows[stack.included[self._rows] == (which == INCLUDED)]
        self.endResetModel()

    @property
    def limits(self) -> tuple[float, float]:
        """Limits of grey of the stack that is shown."""
        return self._limits

    def window(self, row: int) -> int:
        """The window in a row, counted through all of the stack."""
        return int(self._rows[row])

    def rows_of(self, windows: Sequence[int]) -> list[int]:
        """The rows of those windows that are listed."""
        return np.flatnonzero(np.isin(self._rows, windows)).tolist()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Windows that are listed."""
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """What is told of each."""
        return 0 if parent is not None and parent.isValid() else len(HEADERS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Names of the columns."""
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return HEADERS[section]
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Words, picture and number of a window."""
        stack = self._stack
        if stack is None or not index.isValid():
            return None
        window = self.window(index.row())
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(stack, window, index.column())
        if role == Qt.ItemDataRole.DecorationRole and index.column() == 0:
            if window not in self._icons:
                self._icons[window] = thumbnail(stack, window, self._limits)
            return self._icons[window]
        if role == Qt.ItemDataRole.ToolTipRole:
            return str(stack.reason[window]) or "averaged"
        return window if role == WINDOW else None

    def _text(self, stack: ClassStack, window: int, column: int) -> str:
        if column == 0:
            return f"{self._far[window]:.3f}"
        if column == 1:
            return f"{stack.probability[window]:.3f}"
        if column == 2:
            return self._image_name(stack, window)
        if column == 3:
            y, x = stack.position_px[window]
            return f"{y:.1f}, {x:.1f}"
        return str(stack.reason[window]) or INCLUDED
