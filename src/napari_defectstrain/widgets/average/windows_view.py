"""The windows of a class: look through them, leave some out, put others back."""

from typing import Any

import numpy as np
from napari.components import ViewerModel
from qtpy.QtCore import QItemSelectionModel, QModelIndex, QSize, Qt, Signal
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QListView,
    QPushButton,
    QSplitter,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from ...types import ClassStack, DefectStrainError
from ..base import forms, tr
from ..base.keys import declare, shortcut
from ..base.lifetime import connect
from ..base.pacing import Steps
from ..base.settings import Settings
from ..base.worker import Stepper
from ..layers.window_edits import WindowEdits, can_come_back
from ..layers.window_marker import (
    go_to_window,
    hide_marker,
    retitle_marker,
    source_of,
    windows_layer,
)
from .window_pictures import THUMBNAIL_PX, WindowCanvas
from .windows_model import ALL, INCLUDED, LEFT_OUT, WindowsModel

LISTS_PX, DETAIL_PX = 230, 230
"""Least widths of the thumbnails and of the chosen window [px of the screen]."""
WITH_TABLE_PX = 760
"""Width from which there is room for the table, too [px of the screen]."""
_NO_EDIT = QAbstractItemView.EditTrigger.NoEditTriggers

_WINDOWS = "Windows of averages"
UNDO_KEY = declare(_WINDOWS, "Ctrl+Z", "Take back the last change of these averages")
REDO_KEY = declare(_WINDOWS, "Ctrl+Shift+Z", "Do it again")


class WindowsView(QWidget):
    """Thumbnails and a table of the windows of a class, the farthest from its average first.

    Parameters
    ----------
    viewer : ViewerModel
    edits : WindowEdits
    settings : Settings
        What is remembered between starts.
    """

    failed = Signal(str)
    """Emitted with what a person did wrong."""

    def __init__(self, viewer: ViewerModel, edits: WindowEdits, settings: Settings) -> None:
        super().__init__()
        self.viewer, self.edits = viewer, edits
        self.run: str | None = None
        self._filling = False
        self._opened: Any = None
        self.going = Stepper(self)
        row = QHBoxLayout(self)
        row.setContentsMargins(2, 2, 2, 2)
        split = QSplitter(Qt.Orientation.Horizontal)
        row.addWidget(split)
        self._build_lists(split, settings)
        self._build_detail(split, settings)
        split.setChildrenCollapsible(False)
        split.setSizes([340, 400, 340])
        self.setMinimumWidth(LISTS_PX + DETAIL_PX + 20)
        edits.changed.connect(self._after_change)
        connect(self, viewer.dims.events.current_step, self._follow_slider)
        self.show_run(None)

    def _build_lists(self, split: QSplitter, settings: Settings) -> None:
        left = QWidget()
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, 0, 0)
        controls = QHBoxLayout()
        self.class_box = forms.choice([])
        self.class_box.setToolTip(tr("Class whose windows are shown"))
        self.class_box.currentTextChanged.connect(self._refill)
        self.filter_box = forms.choice([LEFT_OUT, INCLUDED, ALL])
        self.filter_box.setToolTip(
            tr("Which of its windows: those left out, those averaged, or all")
        )
        settings.remember("windows_shown", self.filter_box)
        self.filter_box.currentTextChanged.connect(self._refill)
        self.count_label = QLabel()
        controls.addWidget(self.class_box)
        controls.addWidget(self.filter_box)
        controls.addStretch(1)
        column.addLayout(controls)
        column.addWidget(self.count_label)
        self.model = WindowsModel(self)
        self.grid = QListView()
        self.grid.setViewMode(QListView.ViewMode.IconMode)
        self.grid.setResizeMode(QListView.ResizeMode.Adjust)
        self.grid.setMovement(QListView.Movement.Static)
        self.grid.setIconSize(QSize(THUMBNAIL_PX, THUMBNAIL_PX))
        self.grid.setGridSize(QSize(THUMBNAIL_PX + 12, THUMBNAIL_PX + 24))
        self.grid.setUniformItemSizes(True)
        self.grid.setToolTip(
            tr(
                "Windows by how far they are from the average of their class, the farthest "
                "first; framed in orange are those left out. Click one to see where it lies"
            )
        )
        self.table = QTableView()
        self.table.setIconSize(QSize(1, 1))  # thumbnails are for the grid
        self.table.verticalHeader().setVisible(False)
        self.table.verticalHeader().setDefaultSectionSize(22)
        self.table.horizontalHeader().setStretchLastSection(True)
        self.table.setToolTip(
            tr(
                "Differs by: root mean square difference from the average of the others, "
                "in heights of a metal column. Prob.: of its class (0 to 1). y, x: "
                "position in its image"
            )
        )
        for view in (self.grid, self.table):
            view.setModel(self.model)
            view.setEditTriggers(_NO_EDIT)
            view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
            view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionModel(self.grid.selectionModel())
        self.grid.selectionModel().currentChanged.connect(self._choose)
        self.grid.selectionModel().selectionChanged.connect(self._enable)
        column.addWidget(self.grid, 1)
        left.setMinimumWidth(LISTS_PX)
        split.addWidget(left)
        split.addWidget(self.table)

    def _build_detail(self, split: QSplitter, settings: Settings) -> None:
        right = QWidget()
        column = QVBoxLayout(right)
        column.setContentsMargins(0, 0, 0, 0)
        right.setMinimumWidth(DETAIL_PX)
        self.canvas = WindowCanvas(self.viewer.theme, 90)
        column.addWidget(self.canvas, 1)
        self.words = QLabel()
        self.words.setWordWrap(True)
        column.addWidget(self.words)
        self.follow = QCheckBox(tr("Go to it in the image"))
        self.follow.setChecked(True)
        self.follow.setToolTip(
            tr("Centre the view on the chosen window, and show it in the layer of windows")
        )
        settings.remember("windows_follow", self.follow)
        column.addWidget(self.follow)
        grid = QGridLayout()
        self.buttons: dict[str, QPushButton] = {}
        for text, tip, action in (
            ("Put back", "Average the selected windows again that were left out", self.put_back),
            ("Leave out", "Leave the selected windows out of the average: by hand", self.leave_out),
            ("Undo", "Take back the last change of these averages (Ctrl+Z)", self.undo),
            ("Redo", "Do it again (Ctrl+Shift+Z)", self.redo),
        ):
            button = QPushButton(text)
            button.setToolTip(tip)
            button.setMinimumWidth(button.fontMetrics().horizontalAdvance(text) + 24)
            button.clicked.connect(action)
            grid.addWidget(button, len(self.buttons) // 2, len(self.buttons) % 2)
            self.buttons[text] = button
        # Of this view only: points have the same keys for their own changes.
        for key, action in ((UNDO_KEY, self.undo), (REDO_KEY, self.redo)):
            shortcut(key, self, action, own=True)
        column.addLayout(grid)
        split.addWidget(right)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Without room for the table, thumbnails and words say the same."""
        super().resizeEvent(event)
        self.table.setVisible(event.size().width() >= WITH_TABLE_PX)

    @property
    def stack(self) -> ClassStack | None:
        """The stack that is shown."""
        if self.run is None:
            return None
        return self.edits.stacks(self.run).get(self.class_box.currentText())

    def show_run(self, run: str | None, class_name: str | None = None) -> None:
        """Show the windows of a run's averages, of this class or the one before."""
        self.run = run
        stacks = {} if run is None else self.edits.stacks(run)
        wanted = class_name or self.class_box.currentText()
        self.class_box.blockSignals(True)
        self.class_box.clear()
        self.class_box.addItems(list(stacks))
        if wanted in stacks:
            self.class_box.setCurrentText(wanted)
        elif stacks:
            # The class of which most was left out is the one to look at.
            self.class_box.setCurrentText(max(stacks, key=lambda n: (~stacks[n].included).sum()))
        self.class_box.blockSignals(False)
        self._refill()

    def _refill(self, *_: object) -> None:
        """List the windows anew, and keep what is selected as far as it is listed."""
        chosen = self.selected()
        current = self.grid.currentIndex().row()
        self._filling = True
        stack = self.stack
        self.model.show(stack, self.filter_box.currentText(), self._image_name)
        if stack is None:
            self.count_label.setText("")
        else:
            self.count_label.setText(f"{stack.n} averaged, {(~stack.included).sum()} left out")
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setResizeContentsPrecision(0)  # by the rows in sight
        header.setStretchLastSection(True)
        self._filling = False
        self._select(chosen, current)

    def _image_name(self, stack: ClassStack, index: int) -> str:
        number = int(stack.image_index[index])
        layer, plane = source_of(self.viewer, self._average(), number)
        name = f"image {number + 1}" if layer is None else layer.name
        return name if plane is None else f"{name} {plane + 1}"

    def _average(self) -> Any:
        return self.edits.averages(self.run)[self.class_box.currentText()]

    def selected(self) -> list[int]:
        """The selected windows, counted through all of the stack."""
        rows = {index.row() for index in self.grid.selectionModel().selectedIndexes()}
        return [self.model.window(row) for row in sorted(rows)]

    def _select(self, windows: list[int], near_row: int = -1) -> None:
        """Select windows without going there; where none is listed, what came in their place."""
        rows = self.model.rows_of(windows)
        if not rows and near_row >= 0 and self.model.rowCount():
            rows = [min(near_row, self.model.rowCount() - 1)]
        model = self.grid.selectionModel()
        self._filling = True
        model.clear()
        both = QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows
        for row in rows:
            model.select(self.model.index(row, 0), both)
        if rows:
            model.setCurrentIndex(
                self.model.index(rows[0], 0), QItemSelectionModel.SelectionFlag.NoUpdate
            )
            self.grid.scrollTo(self.model.index(rows[0], 0))
        self._filling = False
        self._describe(self._window(rows[0]) if rows else None)
        self._enable()

    def _window(self, row: int) -> int:
        return self.model.window(row)

    def _choose(self, index: QModelIndex, _before: QModelIndex | None = None) -> None:
        if self._filling or not index.isValid():
            return
        window = self._window(index.row())
        self._describe(window)
        if self.follow.isChecked():
            self._go_to(window)

    def _describe(self, window: int | None) -> None:
        """One window in the detail: pictures and words."""
        stack = self.stack
        if window is None or stack is None:
            self.canvas.clear()
            nothing = "No average yet" if stack is None else "No window selected"
            if stack is not None and self.model.rowCount() == 0:
                shown = self.filter_box.currentText()
                nothing = f"No window of {stack.class_name} is {shown}: the list beside it has more"
            self.words.setText(nothing)
            return
        self.canvas.show_window(stack.windows[window], self._average().data, self.model.limits)
        y, x = stack.position_px[window]
        self.words.setText(
            f"{_state(stack, window)}. Window {window} of {len(stack.included)}, "
            f"{self._image_name(stack, window)} at ({y:.1f}, {x:.1f}) px, probability "
            f"{stack.probability[window]:.3f}"
        )

    def _go_to(self, window: int) -> None:
        stack, average = self.stack, self._average()
        source, _ = source_of(self.viewer, average, int(stack.image_index[window]))
        if source is None:
            self.words.setText(self.words.text() + " (its image was removed)")
        self.going.take(self._on_the_way(window, self.run, stack))

    def _on_the_way(self, window: int, run: str | None, stack: ClassStack) -> Steps[None]:
        """Its layer, its mark and the view, one a step; given up where something else is shown."""
        if self.run != run or self.stack is not stack:
            return
        source, plane = source_of(self.viewer, self._average(), int(stack.image_index[window]))
        self._show_in_layer(window, plane)
        yield
        if self.run != run or source is None or source not in self.viewer.layers:
            return
        side = stack.windows.shape[1] * stack.step_pm
        words = _state(stack, window)
        yield from go_to_window(self.viewer, source, plane, stack.position_px[window], side, words)

    def _show_in_layer(self, window: int, plane: int | None) -> None:
        """Turn the layer of windows to this one, unless the slider is needed for a stack."""
        layer = windows_layer(self.viewer, self.run, self.class_box.currentText())
        if self._opened is not None and self._opened is not layer:
            self._close_layer()
        if layer is None or plane is not None:
            return
        if not layer.visible:
            layer.visible = True
            self._opened = layer
        self._filling = True
        self.viewer.dims.set_point(self.viewer.dims.ndim - layer.ndim, float(window))
        self._filling = False

    def _close_layer(self) -> None:
        """Hide the layer of windows again that was made visible here: the average is below."""
        if self._opened is not None and self._opened in self.viewer.layers:
            self._opened.visible = False
        self._opened = None

    def _follow_slider(self, *_: object) -> None:
        if self._filling or self.run is None or not self.isVisible():
            return
        layer = windows_layer(self.viewer, self.run, self.class_box.currentText())
        if layer is not None and layer.visible and self.viewer.dims.ndim == layer.ndim:
            window = round(float(self.viewer.dims.point[0]))
            if window not in self.selected():
                self._select([window])
                self._describe(window if window < len(layer.data) else None)

    def leave_scene(self) -> None:
        """Hide what was shown for the choice of windows."""
        self.going.give_up()
        self._close_layer()
        hide_marker(self.viewer)

    def _enable(self, *_: object) -> None:
        stack = self.stack
        chosen = self.selected()
        included = stack.included[chosen] if stack is not None else np.zeros(0, dtype=bool)
        back = [] if stack is None else can_come_back(stack, chosen)
        self.buttons["Put back"].setEnabled(bool(back))
        self.buttons["Leave out"].setEnabled(bool(included.any()))
        self.buttons["Undo"].setEnabled(self.run is not None and self.edits.can_undo(self.run))
        self.buttons["Redo"].setEnabled(self.run is not None and self.edits.can_redo(self.run))

    def put_back(self) -> None:
        """Put the selected windows back."""
        self._edit(self.edits.put_back)

    def leave_out(self) -> None:
        """Leave the selected windows out."""
        self._edit(self.edits.leave_out)

    def _edit(self, change: Any) -> None:
        if self.run is None or not self.selected():
            return
        try:
            change(self.run, self.class_box.currentText(), self.selected())
        except DefectStrainError as mistake:
            self.failed.emit(str(mistake))

    def undo(self) -> None:
        """Take back the last change."""
        if self.run is not None:
            self.edits.undo(self.run)

    def redo(self) -> None:
        """Do the change taken back again."""
        if self.run is not None:
            self.edits.redo(self.run)

    def _after_change(self, run: str, class_name: str) -> None:
        if run != self.run:
            return
        marked = self.selected()
        self.show_run(run, class_name)
        stack = self.stack
        if stack is not None and marked:
            # The one that the ring is around may have left the list.
            retitle_marker(self.viewer, _state(stack, marked[0]))


def _state(stack: ClassStack, window: int) -> str:
    """Whether a window counts, in words."""
    if stack.included[window]:
        return f"{stack.class_name}: averaged"
    return f"{stack.class_name}: left out, {stack.reason[window]}"
