"""A range to draw from: two numbers, the first never above the second."""

from collections.abc import Sequence

from qtpy.QtWidgets import QHBoxLayout, QLabel, QWidget

from . import forms
from .numbers import NumberBox, PowerBox


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
    box = forms.number(value, low, high, step, decimals, kind=kind)
    # Two boxes in a row: the numbers need the room that napari keeps for buttons; the arrow keys
    # work without them.
    box.setButtonSymbols(NumberBox.ButtonSymbols.NoButtons)
    box.setStyleSheet("QAbstractSpinBox { padding: 1px 4px; min-width: 55px; }")
    return box
