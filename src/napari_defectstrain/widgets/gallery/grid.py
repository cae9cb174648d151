"""The thumbnails: a list of pictures of one size, which thousands do not slow down."""

from collections.abc import Callable

import numpy as np
from qtpy.QtCore import QItemSelection, QItemSelectionModel, QModelIndex, QSize, Signal
from qtpy.QtWidgets import QAbstractItemView, QListView

from ...types import IntArray
from .model import SIDE_PX, GalleryModel

CELL = QSize(SIDE_PX + 14, SIDE_PX + 22)
_EACH = QItemSelectionModel.SelectionFlag.Select
_KEEP = QItemSelectionModel.SelectionFlag.NoUpdate


class Grid(QListView):
    """Thumbnails of detections, of which many can be selected."""

    picked = Signal(int)
    """Emitted with the detection that a person went to, by pointer or key."""
    selected = Signal()
    """Emitted when others are selected."""

    def __init__(self) -> None:
        super().__init__()
        self.list = GalleryModel(self)
        self._setting = False
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setIconSize(QSize(SIDE_PX, SIDE_PX))
        self.setGridSize(CELL)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setMinimumSize(CELL.width() * 2 + 24, CELL.height() + 8)
        self.setAccessibleName("Thumbnails of detections")
        self.setModel(self.list)
        self.list.repaint_wanted.connect(self.viewport().update)
        self.selectionModel().currentChanged.connect(self._current_changed)
        self.selectionModel().selectionChanged.connect(self._selection_changed)

    def _current_changed(self, index: QModelIndex, _before: QModelIndex) -> None:
        if not self._setting and index.isValid():
            self.picked.emit(self.list.row_at(index))

    def _selection_changed(self, *_: object) -> None:
        if not self._setting:
            self.selected.emit()

    def chosen(self) -> IntArray:
        """The selected detections in the order of the list."""
        ranges = self.selectionModel().selection()
        places = [np.arange(part.top(), part.bottom() + 1) for part in ranges]
        if not places:
            return np.zeros(0, dtype=int)
        return self.list.rows[np.unique(np.concatenate(places))]

    def current(self) -> int | None:
        """The detection that the keyboard is at."""
        index = self.currentIndex()
        return self.list.row_at(index) if index.isValid() else None

    def choose(self, rows: IntArray, add: bool = False, show: bool = True) -> None:
        """Select detections as far as they are listed; without going there.

        Parameters
        ----------
        rows : array of int, `(M,)`
        add : bool
            Beside those that are selected already.
        show : bool
            Scroll to the first of them.
        """
        if add:
            rows = np.union1d(rows, self.chosen())
        place = np.flatnonzero(np.isin(self.list.rows, rows))
        model = self.selectionModel()
        self._setting = True
        model.clearSelection()
        if len(place):
            breaks = np.flatnonzero(np.diff(place) > 1)
            starts = place[np.concatenate([[0], breaks + 1])]
            ends = place[np.concatenate([breaks, [len(place) - 1]])]
            selection = QItemSelection()
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                selection.select(self.list.index(start, 0), self.list.index(end, 0))
            model.select(selection, _EACH)
            first = self.list.index(int(place[0]), 0)
            model.setCurrentIndex(first, _KEEP)
            if show:
                self.scrollTo(first)
        self._setting = False
        self.selected.emit()

    def keep(self, change: Callable[[], object]) -> None:
        """Change what is listed without anybody being told that others are selected."""
        self._setting = True
        try:
            change()
        finally:
            self._setting = False
