"""What the widgets share: layout, remembered controls, lists of layers, questions."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import QEvent, Qt, QTimer, Signal
from qtpy.QtGui import QKeyEvent, QShowEvent, QWheelEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QMessageBox,
    QScrollArea,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from .docking import BottomDock, bring_to_front, dock_of, join_tabs, whole
from .focus import FOCUS, put_in_tab_order
from .help import help_button
from .lifetime import connect, keep_smooth, when_destroyed
from .numbers import CountBox, NumberBox, PowerBox, settle_numbers
from .preferences import apply_preferences
from .settings import Settings
from .worker import RunBar

C = TypeVar("C", bound=QWidget)


class Docked(QWidget):
    """A widget of ours in a dock: it joins the others as a tab, and goes when the dock is closed.

    Parameters
    ----------
    viewer : ViewerModel
    """

    page = "widgets.md"
    """Of the documentation: what its *?* opens."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = whole(viewer)
        apply_preferences()
        self._docked = self._joined = False
        self._raising = QTimer(self)
        self._raising.setSingleShot(True)
        self._raising.timeout.connect(lambda: bring_to_front(self))
        self.setStyleSheet(FOCUS)
        keep_smooth(self, self.viewer)

    def event(self, event: QEvent) -> bool:
        """Join the plugin's other widgets when docked; take leave when the dock is closed.

        Napari only takes a widget out of a dock that is closed. Later a person may pull tabs apart.
        """
        if event.type() == QEvent.Type.ParentChange:
            dock = dock_of(self)
            docked, self._docked = self._docked, dock is not None
            if dock is not None and not docked:
                dock.dockLocationChanged.connect(self._join)
            elif docked and self.parent() is None:
                self.end_jobs()
                self.deleteLater()
        return super().event(event)

    def showEvent(self, event: QShowEvent) -> None:
        """Let Tab go from top to bottom: controls were made in another order."""
        super().showEvent(event)
        put_in_tab_order(self)

    def _join(self, *_: object) -> None:
        """Once the dock has its place. At once: piled up, docks would make the window higher."""
        if not self._joined:
            self._joined = True
            join_tabs(self, Docked)
            self._raising.start(0)  # a dock that isn't shown yet can't be raised

    def end_jobs(self) -> None:
        """Stop what is running."""

    def take_up(self) -> None:
        """Show what is in the viewer, after a study was opened into it."""


class Panel(Docked):
    """A dock widget with a scrolling body and a run bar that stays in sight.

    Parameters
    ----------
    viewer : ViewerModel
    section : str
        Section of the settings file.
    run_label, run_tooltip : str
        The run button.
    """

    def __init__(self, viewer: ViewerModel, section: str, run_label: str, run_tooltip: str) -> None:
        super().__init__(viewer)
        self.settings = Settings(section)
        self.setMinimumWidth(360)
        content = QWidget()
        self.body = QVBoxLayout(content)
        self.body.setContentsMargins(2, 2, 8, 2)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        self._scroll = scroll
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # what is within scrolls it into sight
        self.run_bar = RunBar(run_label, run_tooltip)
        self.run_bar.check = lambda: settle_numbers(self)
        self.run_bar.add_button(help_button(self.page))
        outer = self._outer = QVBoxLayout(self)
        outer.setContentsMargins(6, 6, 6, 6)
        outer.addWidget(scroll, 1)
        outer.addWidget(self.run_bar)

    @property
    def busy(self) -> bool:
        """True while something is running, or due."""
        return self.run_bar.running

    def end_jobs(self) -> None:
        """Stop what is running."""
        self.run_bar.cancel()

    def bottom_dock(self, content: QWidget, name: str, height: int) -> BottomDock:
        """A panel below the viewer that goes when this widget does."""
        dock = BottomDock(self.viewer, content, name, height)
        when_destroyed(self, dock.close)
        return dock

    def reveal(self, part: QWidget) -> None:
        """Scroll a part of the body into sight."""
        self._scroll.ensureWidgetVisible(part)

    def put_on_top(self, widget: QWidget) -> None:
        """Put a widget above the scrolling body."""
        self._outer.insertWidget(0, widget)

    def group(self, title: str) -> QFormLayout:
        """A titled box of rows "label: control"."""
        box = QGroupBox(title)
        form = QFormLayout(box)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setContentsMargins(8, 8, 8, 8)
        self.body.addWidget(box)
        return form

    def remember(self, key: str, control: C, tooltip: str) -> C:
        """A control with a tooltip whose value is kept between starts."""
        control.setToolTip(tooltip)
        self.settings.remember(key, control)
        return control

    def watch_layers(self, refresh: Callable[..., None]) -> None:
        """Call `refresh` when layers come, go or are renamed, until the widget is gone."""
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed, events.renamed):
            connect(self, event, refresh)


class ChoiceBox(QComboBox):
    """A list to choose from, which the wheel turns only once it was clicked.

    Scrolling through a panel must not change what the pointer happens to pass. While the keyboard
    is here, letters and digits choose an entry, whatever panel or window has keys of these names.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def event(self, event: QEvent) -> bool:
        """Take letters, digits and the space bar before anybody else does."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.ShortcutOverride:
            plain = event.modifiers() in (
                Qt.KeyboardModifier.NoModifier,
                Qt.KeyboardModifier.ShiftModifier,
                Qt.KeyboardModifier.KeypadModifier,
            )
            if plain and event.text().isprintable() and event.text():
                event.accept()
                return True
        return bool(super().event(event))

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Let the panel scroll."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class LayerCombo(ChoiceBox):
    """A list of the viewer's layers of some kind, which keeps its choice when layers change.

    Parameters
    ----------
    viewer : ViewerModel
    accept : callable
        Which layers are offered.
    everything : str
        Text, with a place for their number, of the last choice: all of the layers.
    """

    layer_changed = Signal()

    def __init__(
        self, viewer: ViewerModel, accept: Callable[[Layer], bool], everything: str
    ) -> None:
        super().__init__()
        self.viewer = viewer
        self._accept = accept
        self._everything = everything
        self._shown: list[Layer] = []
        # Long names of layers must not widen the dock.
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self.currentIndexChanged.connect(lambda _: self.layer_changed.emit())

    def refresh(self, *_: object) -> None:
        """Read the list of layers again."""
        chosen, everything = self.layer, self.chose_everything
        self._shown = [la for la in self.viewer.layers if self._accept(la)]
        self.blockSignals(True)
        self.clear()
        self.addItems([la.name for la in self._shown])
        if len(self._shown) > 1:
            self.addItem(self._everything.format(len(self._shown)))
        if everything and len(self._shown) > 1:
            self.setCurrentIndex(len(self._shown))
        elif chosen in self._shown:
            self.setCurrentIndex(self._shown.index(chosen))
        elif self.viewer.layers.selection.active in self._shown:
            self.setCurrentIndex(self._shown.index(self.viewer.layers.selection.active))
        self.blockSignals(False)
        if self.layer is not chosen:
            self.layer_changed.emit()

    @property
    def layer(self) -> Layer | None:
        """The chosen layer; None where there is none, or all are chosen."""
        i = self.currentIndex()
        return self._shown[i] if 0 <= i < len(self._shown) else None

    @property
    def chose_everything(self) -> bool:
        """True where all layers are chosen."""
        return 1 < len(self._shown) == self.currentIndex()

    @property
    def layers(self) -> list[Layer | None]:
        """The chosen layers: one (None where there is none), or all."""
        return list(self._shown) if self.chose_everything else [self.layer]

    def choose(self, layer: Layer) -> None:
        """Choose a layer, if it is offered."""
        self.refresh()
        if layer in self._shown:
            self.setCurrentIndex(self._shown.index(layer))


def number(
    value: float,
    low: float,
    high: float,
    step: float,
    decimals: int,
    suffix: str = "",
    kind: type[NumberBox] = NumberBox,
) -> NumberBox:
    """A box for a number with a unit."""
    box = kind()
    box.setDecimals(decimals)
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setSuffix(suffix)
    box.setValue(value)
    return box


def count(value: int, low: int, high: int, suffix: str = "") -> CountBox:
    """A box for a count."""
    box = CountBox()
    box.setRange(low, high)
    box.setSuffix(suffix)
    box.setValue(value)
    return box


class RangeBox(QWidget):
    """Two spin boxes "from - to"; each pushes the other along where they would cross.

    Parameters
    ----------
    value : (float, float)
    low, high : float
        Smallest and largest number that can be chosen.
    step : float
        Of the arrow keys; 0 for numbers over many powers of ten, which they double.
    decimals : int
    """

    def __init__(
        self, value: Sequence[float], low: float, high: float, step: float, decimals: int
    ) -> None:
        super().__init__()
        self.low = _box(value[0], low, high, step, decimals)
        self.high = _box(value[1], low, high, step, decimals)
        self.low.valueChanged.connect(lambda v: self.high.setValue(max(v, self.high.value())))
        self.high.valueChanged.connect(lambda v: self.low.setValue(min(v, self.low.value())))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self.low, 1)
        row.addWidget(QLabel("–"))
        row.addWidget(self.high, 1)

    @property
    def value(self) -> tuple[float, float]:
        """The range."""
        return self.low.value(), self.high.value()

    def set_value(self, value: Sequence[float]) -> None:
        """Set both ends."""
        self.low.setValue(value[0])
        self.high.setValue(value[1])
        self.low.setValue(value[0])


def _box(value: float, low: float, high: float, step: float, decimals: int) -> NumberBox:
    kind = NumberBox if step else PowerBox
    box = number(value, low, high, step, decimals, kind=kind)
    # Two boxes in a row: the numbers need the room that napari keeps for buttons; the arrow keys
    # work without them.
    box.setButtonSymbols(NumberBox.ButtonSymbols.NoButtons)
    box.setStyleSheet("QAbstractSpinBox { padding: 1px 4px; min-width: 55px; }")
    return box


def checkbox(label: str, checked: bool = False) -> QCheckBox:
    """A check box."""
    box = QCheckBox(label)
    box.setChecked(checked)
    return box


def read_only_table(tool_tip: str) -> QTableWidget:
    """An empty table to look at."""
    table = QTableWidget(0, 0)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.verticalHeader().setVisible(False)
    table.setToolTip(tool_tip)
    return table


def fill_table(table: QTableWidget, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Show texts, each column as wide as they are."""
    table.setRowCount(len(rows))
    table.setColumnCount(len(heads))
    table.setHorizontalHeaderLabels(list(heads))
    for i, texts in enumerate(rows):
        for j, text in enumerate(texts):
            table.setItem(i, j, QTableWidgetItem(text))
    table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)


def choice(items: list[str]) -> ChoiceBox:
    """A list to choose from."""
    box = ChoiceBox()
    box.addItems(items)
    return box


def ask(parent: QWidget, title: str, text: str, answers: list[str]) -> str | None:
    """Ask a question with these answers; None where the user closes or cancels it."""
    box = QMessageBox(QMessageBox.Icon.Question, title, text, parent=parent)
    buttons = {
        box.addButton(answer, QMessageBox.ButtonRole.AcceptRole): answer for answer in answers
    }
    box.addButton(QMessageBox.StandardButton.Cancel)
    box.exec()
    return next((a for b, a in buttons.items() if box.clickedButton() is b), None)


def ask_save_path(parent: QWidget, title: str, name: str) -> str:
    """Where to write a table; empty where the user cancels. Asks before an existing file."""
    path, _ = QFileDialog.getSaveFileName(parent, title, name, "Comma-separated values (*.csv)")
    return path


def ask_open_path(parent: QWidget, title: str, kinds: str) -> str:
    """Which file to open; empty where the user cancels."""
    path, _ = QFileDialog.getOpenFileName(parent, title, "", kinds)
    return path
