"""A range to draw from: two numbers, the first never above the second."""

from collections.abc import Sequence

from qtpy.QtGui import QValidator
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QWidget

from . import forms


class PowerBox(QDoubleSpinBox):
    """A spin box for numbers over many powers of ten, shown like 1.24e+07; an arrow key doubles."""

    def textFromValue(self, value: float) -> str:
        """Three digits and a power of ten."""
        return f"{value:.3g}"

    def valueFromText(self, text: str) -> float:
        """The number in a text; the last one where it is none."""
        try:
            return float(text)
        except ValueError:
            return self.value()

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        """Any number may be typed, also one that is being typed."""
        try:
            good = self.minimum() <= float(text) <= self.maximum()
        except ValueError:
            digits = not text.strip("0123456789.eE+-")
            state = QValidator.State.Intermediate if digits else QValidator.State.Invalid
            return state, text, position
        state = QValidator.State.Acceptable if good else QValidator.State.Intermediate
        return state, text, position

    def stepBy(self, steps: int) -> None:
        """Up doubles, down halves."""
        self.setValue(self.value() * 2.0**steps)


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


def _box(value: float, low: float, high: float, step: float, decimals: int) -> QDoubleSpinBox:
    if step:
        box = forms.number(value, low, high, step, decimals)
    else:
        box = PowerBox()
        box.setDecimals(decimals)
        box.setRange(low, high)
        box.setValue(value)
    # Two boxes in a row: the numbers need the room that napari keeps for buttons; the arrow keys
    # work without them.
    box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
    box.setStyleSheet("QDoubleSpinBox { padding: 1px 4px; min-width: 55px; }")
    return box
