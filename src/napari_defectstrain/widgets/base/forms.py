"""What the three widgets share: layout, remembered controls, lists of layers, questions."""

from collections.abc import Callable
from typing import TypeVar

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QGroupBox,
    QMessageBox,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from .lifetime import connect
from .settings import Settings
from .worker import RunBar

C = TypeVar("C", bound=QWidget)


class Panel(QWidget):
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
        super().__init__()
        self.viewer = viewer
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
        self.run_bar = RunBar(run_label, run_tooltip)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(6, 6, 6, 6)
        outer.addWidget(scroll, 1)
        outer.addWidget(self.run_bar)

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


class LayerCombo(QComboBox):
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
    value: float, low: float, high: float, step: float, decimals: int, suffix: str = ""
) -> QDoubleSpinBox:
    """A spin box for a number with a unit."""
    box = QDoubleSpinBox()
    box.setDecimals(decimals)
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setValue(value)
    box.setSuffix(suffix)
    return box


def count(value: int, low: int, high: int, suffix: str = "") -> QSpinBox:
    """A spin box for a count."""
    box = QSpinBox()
    box.setRange(low, high)
    box.setValue(value)
    box.setSuffix(suffix)
    return box


def checkbox(label: str, checked: bool = False) -> QCheckBox:
    """A check box."""
    box = QCheckBox(label)
    box.setChecked(checked)
    return box


def choice(items: list[str]) -> QComboBox:
    """A list to choose from."""
    box = QComboBox()
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
