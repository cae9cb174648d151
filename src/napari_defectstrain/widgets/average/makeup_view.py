"""What a class is made of: populations, how its windows vary, its halves; and a way to split."""

from collections.abc import Mapping

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ...materials import Material
from ...output.figures.makeup import draw_makeup
from ...pipeline.runs import ClassMeasurement
from ...precision.makeup import ClassMakeup
from ..base import forms, tr
from ..base.spacing_plots import MeasurementCanvas

EXPLAINED = (
    "Left: weight of the central column and size of the triangle of each window; solid: two "
    "standard deviations of the noise that defect-free windows show, around each population; "
    "dotted: undistorted. Middle: the first principal components of the windows, and what part "
    "of their variance is noise. Right: ring correlation of the averages of two halves of images"
)

LEAST_HEIGHT = 130
"""Of the plots [px of the screen]: words and a button stand above them."""


class MakeupView(QWidget):
    """One class at a time, chosen from those that were measured.

    Parameters
    ----------
    theme : str
    """

    split_clicked = Signal(str)
    """Emitted with the class whose populations are to become classes of their own."""

    def __init__(self, theme: str) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 2, 0, 0)
        row = QHBoxLayout()
        self.class_box = forms.choice([])
        self.class_box.setToolTip(tr("Class whose windows are looked at"))
        self.class_box.currentIndexChanged.connect(lambda _: self._show())
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.split = QPushButton(tr("Split"))
        self.split.setToolTip(
            tr(
                "Make classes of the two populations: averages, spacings and strain of "
                "their own, in a new row of averages. Windows that could be of either are "
                "left out"
            )
        )
        self.split.clicked.connect(lambda: self.split_clicked.emit(self.class_box.currentText()))
        row.addWidget(self.class_box)
        row.addWidget(self.words, 1)
        row.addWidget(self.split)
        column.addLayout(row)
        self.canvas = MakeupCanvas(theme)
        self.canvas.setToolTip(EXPLAINED)
        column.addWidget(self.canvas, 1)
        self._makeups: Mapping[str, ClassMakeup] = {}
        self._material: Material | None = None
        self.show_message(tr("No averages yet"))

    def show_measurements(
        self, measurements: Mapping[str, ClassMeasurement], material: Material
    ) -> None:
        """List the classes of a run; chosen is the last one, or one of two populations."""
        found = {name: m.makeup for name, m in measurements.items()}
        self._makeups = {name: makeup for name, makeup in found.items() if makeup is not None}
        self._material = material
        if not self._makeups:
            self.show_message(tr("What these averages are made of can't be told: too few windows"))
            return
        chosen = self.class_box.currentText()
        two = [n for n, m in self._makeups.items() if m.populations and m.populations.two]
        asked = [n for n, m in self._makeups.items() if m.populations]
        likely = [*([chosen] if chosen in self._makeups else []), *two, *asked, *self._makeups]
        self.class_box.blockSignals(True)
        self.class_box.clear()
        self.class_box.addItems(list(self._makeups))
        self.class_box.setCurrentText(likely[0] if likely else "")
        self.class_box.blockSignals(False)
        self._show()

    def show_message(self, message: str) -> None:
        """Say why there is nothing to show."""
        self._makeups = {}
        self.class_box.clear()
        self.words.setText("")
        self.split.setEnabled(False)
        self.canvas.show_message(message)

    def _show(self) -> None:
        name = self.class_box.currentText()
        makeup = self._makeups.get(name)
        if makeup is None or self._material is None:
            self.split.setEnabled(False)
            return
        self.words.setText(makeup.in_words or "Its populations can't be told: too few windows")
        if name == self._material.class_names[1]:
            self.words.setText(
                tr("The defect-free windows are the noise that the others are held to")
            )
        populations = makeup.populations
        self.split.setEnabled(populations is not None and populations.two)
        self.canvas.show_makeup(name, makeup, self._material)


class MakeupCanvas(MeasurementCanvas):
    """The three kinds of panels of one class."""

    def __init__(self, theme: str) -> None:
        self._class_name = ""
        self._makeup: ClassMakeup | None = None
        super().__init__(theme, LEAST_HEIGHT)

    def show_makeup(self, name: str, makeup: ClassMakeup, material: Material) -> None:
        """Draw this class."""
        self._class_name, self._makeup, self._material = name, makeup, material
        self._message = ""
        self.redraw()

    def show_message(self, message: str) -> None:
        """Say why there is nothing to draw."""
        self._makeup = None
        super().show_message(message)

    def redraw(self) -> None:
        """Everything anew."""
        if self._makeup is None or self._material is None:
            super().redraw()
            return
        self.figure.clear()
        with self.in_theme():
            draw_makeup(self.figure, self._class_name, self._makeup, self._material)
        self.draw_idle()
