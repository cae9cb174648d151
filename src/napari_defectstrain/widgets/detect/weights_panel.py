"""The histogram of weights below the viewer: click a bin to select its columns."""

from collections.abc import Callable

from napari.components import ViewerModel
from napari.layers import Points
from qtpy.QtCore import QPoint, QRect, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QKeyEvent, QMouseEvent, QShowEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QRubberBand, QVBoxLayout, QWidget

from ...judge.histograms import WeightHistograms
from ...materials import CHALCOGEN_SITES, METAL_SITES, Material, get_material
from ...output.figures.files import figure_settings
from ...output.figures.weights import ChosenWeights, draw_weights
from ..base import forms, tr
from ..base.lifetime import connect
from ..base.spacing_plots import MeasurementCanvas
from ..layers.sites import material_of
from ..layers.weights import forget_selection, histograms_of, select_columns

DOCK = "Detect: weights"
HEIGHT = 270
BOTH = ""
UPDATE_MS = 150
NO_LAYER = "No detection yet: detect the columns of an image, or select one of its layers"
NO_WEIGHTS = (
    "The columns of this image have no weights:\nthe image did not judge them (the judge is off, "
    "too few columns\nlie on a lattice, or they come from an older file). Detect again"
)
CLICK_PX = 4
"""A shorter way of the mouse is a click [px of the screen]."""


class WeightsCanvas(MeasurementCanvas):
    """Histograms of both sublattices; says which range was clicked, dragged or walked to."""

    chosen_by_hand = Signal(float, float, str)

    def __init__(self, theme: str, height: int = 170) -> None:
        self._histograms: WeightHistograms | None = None
        self._chosen: ChosenWeights | None = None
        self._panels: dict = {}
        self._start: QPoint | None = None
        super().__init__(theme, height)
        self._band = QRubberBand(QRubberBand.Shape.Rectangle, self)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def show_histograms(
        self, histograms: WeightHistograms, material: Material, chosen: ChosenWeights | None
    ) -> None:
        """Draw these, a chosen range marked."""
        self._histograms, self._material, self._message = histograms, material, ""
        self._chosen = chosen
        self.redraw()

    @property
    def drawn(self) -> bool:
        """True where histograms are shown, and nothing waits to be drawn."""
        return bool(self._panels) and not self._drawing.waiting

    def show_message(self, message: str) -> None:
        """Say why there is nothing to draw."""
        self._histograms = self._chosen = None
        self._panels = {}
        super().show_message(message)

    def redraw(self) -> None:
        """Everything anew; matplotlib takes colours when things are made."""
        if self._histograms is None or self._material is None:
            super().redraw()
            return
        self.figure.clear()
        with figure_settings(self._colours()):
            self._panels = draw_weights(self.figure, self._histograms, self._material, self._chosen)
        self.draw_idle()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Where a range begins."""
        self.setFocus()
        if event.button() == Qt.MouseButton.LeftButton and self._at(event.pos()) is not None:
            self._start = event.pos()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Show the range."""
        if self._start is None:
            return
        self._band.setGeometry(
            QRect(
                QPoint(min(self._start.x(), event.pos().x()), 0),
                QSize(abs(event.pos().x() - self._start.x()), self.height()),
            )
        )
        self._band.show()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Choose the bin that was clicked, or all that the range touches."""
        start, self._start = self._start, None
        self._band.hide()
        first = None if start is None else self._at(start)
        if first is None or self._histograms is None or start is None:
            return
        sublattice, low = first
        dragged = abs(event.pos().x() - start.x()) >= CLICK_PX
        high = self._weight(sublattice, event.pos()) if dragged else low
        ends = self._histograms.of(sublattice).whole_bins(low, high)
        self.chosen_by_hand.emit(*ends, sublattice)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left and right go from bin to bin, Shift makes the range wider or narrower."""
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(event.key())
        if step is None or self._histograms is None or self._chosen is None:
            super().keyPressEvent(event)
            return
        chosen = self._chosen
        histogram = self._histograms.of(chosen.sublattice or CHALCOGEN_SITES)
        if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            ends = histogram.longer(chosen.low, chosen.high, step)
        else:
            ends = histogram.next_bin(chosen.low, step)
        self.chosen_by_hand.emit(*ends, chosen.sublattice)

    def _at(self, place: QPoint) -> tuple[str, float] | None:
        """Panel and weight at a place of the canvas; None beside the panels."""
        pixel = self._pixel(place)
        for sublattice, axes in self._panels.items():
            if axes.bbox.contains(*pixel):
                return sublattice, self._weight(sublattice, place)
        return None

    def _weight(self, sublattice: str, place: QPoint) -> float:
        return float(self._panels[sublattice].transData.inverted().transform(self._pixel(place))[0])

    def _pixel(self, place: QPoint) -> tuple[float, float]:
        return self.mouseEventCoords(place)


class WeightsPanel(QWidget):
    """The histogram of the active image, and the range of weights that is selected.

    Parameters
    ----------
    viewer : ViewerModel
    shown_layer : callable
        Gives the defects layer that is to be shown, or None.
    """

    def __init__(self, viewer: ViewerModel, shown_layer: Callable[[], Points | None]) -> None:
        super().__init__()
        self.viewer = viewer
        self._shown_layer = shown_layer
        self.layer: Points | None = None
        self.found: WeightHistograms | None = None
        self.chosen: ChosenWeights | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(UPDATE_MS)
        self._timer.timeout.connect(self.refresh)
        self.canvas = WeightsCanvas(viewer.theme)
        self.canvas.setToolTip(
            tr(
                "Weights of the columns that the image itself judged, in units of the "
                "metal's. Steps: columns by class; lines: what the classes' probabilities "
                "expect; above them the classes with their shares. Click a bin, or drag "
                "over several, to select their columns; with the keyboard ← and →, with "
                "Shift to widen"
            )
        )
        self.canvas.chosen_by_hand.connect(self.select)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 2, 4, 4)
        column.setSpacing(2)
        column.addLayout(self._controls())
        self.state = QLabel()
        self.state.setWordWrap(True)
        column.addWidget(self.state)
        column.addWidget(self.canvas, 1)
        connect(self, viewer.events.theme, self._follow_theme)
        self.canvas.show_message(NO_LAYER)

    def _controls(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.sites = forms.choice([])
        for text, data in (
            ("chalcogen sites", CHALCOGEN_SITES),
            ("metal sites", METAL_SITES),
            ("all sites", BOTH),
        ):
            self.sites.addItem(text, data)
        self.sites.setToolTip(tr("Sites whose columns are selected"))
        self.low, self.high = (forms.number(v, -9.0, 9.0, 0.01, 3) for v in (0.0, 0.1))
        self.low.setToolTip(tr("Least weight that is selected, in units of the metal's"))
        self.high.setToolTip(tr("Weight up to which columns are selected, in units of the metal's"))
        self.button = QPushButton(tr("Select"))
        self.button.setToolTip(
            tr(
                "Select the columns of this range in the · defects and · sites layers; "
                "those that are no defects are shown"
            )
        )
        self.button.clicked.connect(self._select_typed)
        self.clear = QPushButton(tr("Clear"))
        self.clear.setToolTip(tr("Select nothing, and hide the columns that are no defects"))
        self.clear.clicked.connect(self.forget)
        for widget in (self.sites, self.low, QLabel("to"), self.high, self.button, self.clear):
            row.addWidget(widget)
        row.addStretch(1)
        return row

    def refresh_soon(self, *_: object) -> None:
        """Look again once things have settled, and only where anybody can see it."""
        if self.isVisible():
            self._timer.start()

    def showEvent(self, event: QShowEvent) -> None:
        """What changed while nobody looked is shown now."""
        super().showEvent(event)
        self._timer.start()

    def refresh(self) -> None:
        """Draw the histogram of the layer that is to be shown."""
        layer = self._shown_layer()
        if layer is not self.layer:
            self.chosen = None
            self.state.setText("")
        self.layer = layer
        self.found = None if layer is None else histograms_of(self.viewer, layer)
        for control in (self.sites, self.low, self.high, self.button, self.clear):
            control.setEnabled(self.found is not None)
        if layer is None or self.found is None:
            self.chosen = None
            self.state.setText("")
            self.canvas.show_message(NO_LAYER if layer is None else NO_WEIGHTS)
            return
        self._draw()

    def _draw(self) -> None:
        if self.layer is None or self.found is None:
            return
        if self.chosen is None:
            self.state.setText(_about(self.layer.name, self.found))
        material = get_material(material_of(self.layer))
        self.canvas.show_histograms(self.found, material, self.chosen)

    def select(self, low: float, high: float, sublattice: str) -> None:
        """Select the columns of a range, and say what they are."""
        if self.layer is None or self.layer not in self.viewer.layers:
            self.refresh()
            return
        self.chosen = ChosenWeights(low, high, sublattice)
        self.low.setValue(low)
        self.high.setValue(high)
        self.sites.setCurrentIndex(self.sites.findData(sublattice))
        # the columns are known by their own layers: others may have been active
        self.viewer.layers.selection.active = self.layer
        self.layer.visible = True
        selected = select_columns(self.viewer, self.layer, low, high, sublattice)
        total = sum(selected.number.values())
        words = ", ".join(f"{number} {name}" for name, number in selected.number.items())
        self.state.setText(
            f"{low:.3g} to {high:.3g}: {total} column{'s' * (total != 1)}"
            + (f" ({words}), {selected.points} among the defects" if total else "")
            + ("; highlighted until Clear" if total > selected.points else "")
        )
        self._draw()

    def _select_typed(self) -> None:
        ends = sorted((self.low.value(), self.high.value()))
        self.select(*ends, self.sites.currentData())

    def forget(self) -> None:
        """Select nothing."""
        self.chosen = None
        if self.layer is not None and self.layer in self.viewer.layers:
            forget_selection(self.viewer, self.layer)
        self._draw()

    def _follow_theme(self, *_: object) -> None:
        self.canvas.set_theme(self.viewer.theme)


def _about(name: str, found: WeightHistograms) -> str:
    beside = f"; {found.unweighed} columns without a weight" if found.unweighed else ""
    return f"{name}: click a bin to select its columns{beside}"
