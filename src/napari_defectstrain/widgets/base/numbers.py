"""Boxes for numbers: one notation in every locale, and nothing typed is changed in silence.

Qt's own boxes read and write by the locale: where the comma is the decimal separator, 0.6 typed
becomes 0,00 and 2.6 becomes 26, as the point is taken for a thousands separator. Ours show the
point, as labels, plots and files do, take point or comma, and never group digits. What is out of
range or no number stays as it was typed, in red, with the reason as a tooltip; the value remains
what it was, and a job isn't started before it is put right. What is typed counts when it is done:
with Enter, when the box is left, or when the value is asked for.
"""

import re
from math import isfinite

from qtpy.QtCore import QLocale, Qt
from qtpy.QtGui import QFocusEvent, QKeyEvent, QValidator, QWheelEvent
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QLabel,
    QLayout,
    QSpinBox,
    QToolTip,
    QWidget,
)

_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d+")
_WRONG = "QAbstractSpinBox { border: 1px solid #ff4040; color: #ff6060; }"
State = QValidator.State


def read_number(text: str) -> float | None:
    """The number that a text says with a decimal point or comma; None where it says none.

    >>> read_number("0,6"), read_number("1.5e3"), read_number("1,234.5"), read_number("")
    (0.6, 1500.0, None, None)
    """
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text.replace(",", "."))
    return value if isfinite(value) else None


class _Typed:
    """What boxes for fractions and for whole numbers share; a mix-in before Qt's box.

    Subclasses say in `problem_of` what is wrong with a typed text.
    """

    def _set_up(self) -> None:
        self.setLocale(QLocale.c())
        self.setGroupSeparatorShown(False)
        # 7 must not count on the way to 70.
        self.setKeyboardTracking(False)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._style: str | None = None
        self._tip = ""
        self.lineEdit().textChanged.connect(lambda _: self._mark())

    def problem_of(self, text: str) -> str:
        """What is wrong with a bare text; empty where it may be taken."""
        raise NotImplementedError

    def bare(self, text: str) -> str:
        """A text without prefix and suffix, however often a person typed the unit, too."""
        text, unit = text.removeprefix(self.prefix()).strip(), self.suffix().strip()
        while unit and text.endswith(unit):
            text = text.removesuffix(unit).strip()
        return text

    @property
    def problem(self) -> str:
        """What is wrong with what stands in the box: got, expected; empty where it is good."""
        text = self.lineEdit().text()
        if self.specialValueText() and text == self.specialValueText():
            return ""
        bare = self.bare(text)
        wrong = self.problem_of(bare)
        return f"got {bare!r}, expected {wrong}" if wrong else ""

    def validate(self, text: str, position: int) -> tuple[State, str, int]:
        """Anything may be typed; only good texts count."""
        special = self.specialValueText()
        if special and text == special:
            return State.Acceptable, text, position
        wrong = self.problem_of(self.bare(text))
        return State.Intermediate if wrong else State.Acceptable, text, position

    def fixup(self, text: str) -> str:
        """Left as it is: a person should see what was typed."""
        return text

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Keep a bad text in sight; Qt would put the last value in its place."""
        if self.problem:
            self._say()
            self.lineEdit().event(event)
            QWidget.focusOutEvent(self, event)
        else:
            super().focusOutEvent(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Let the panel scroll; the wheel turns only a box that was clicked."""
        if self.hasFocus() and not self.problem:
            super().wheelEvent(event)
        else:
            event.ignore()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter doesn't replace a bad text either; Escape takes it back."""
        if event.key() == Qt.Key.Key_Escape and self.problem:
            self.restore()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.problem:
            self._say()
        else:
            super().keyPressEvent(event)

    def value(self) -> float:
        """The number that counts: what was typed last, if it is good."""
        text = self.lineEdit().text()
        if text != self._shown() and not self.problem:
            self.interpretText()
        return super().value()

    def _shown(self) -> str:
        """How the value that counts is shown."""
        value = super().value()
        if self.specialValueText() and value == self.minimum():
            return self.specialValueText()
        return f"{self.prefix()}{self.textFromValue(value)}{self.suffix()}"

    def restore(self) -> None:
        """Show the value that counts in place of what was typed."""
        self.lineEdit().setText(self._shown())

    @property
    def own_tip(self) -> str:
        """The tooltip of the box, without what is wrong with its text."""
        return self.toolTip() if self._style is None else self._tip

    def _say(self) -> None:
        QToolTip.showText(self.mapToGlobal(self.rect().bottomLeft()), self.problem, self)

    def _mark(self) -> None:
        """Red where the text is bad."""
        problem = self.problem
        if problem and self._style is None:
            self._style, self._tip = self.styleSheet(), self.toolTip()
            self.setStyleSheet(self._style + _WRONG)
        elif not problem and self._style is not None:
            self.setStyleSheet(self._style)
            self.setToolTip(self._tip)
            self._style = None
        if problem:
            self.setToolTip(f"{problem}\n\n{self._tip}")


class NumberBox(_Typed, QDoubleSpinBox):
    """A box for a number with a unit."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._set_up()

    def textFromValue(self, value: float) -> str:
        """With a decimal point, and as many decimals as the box has."""
        return f"{value:.{self.decimals()}f}"

    def valueFromText(self, text: str) -> float:
        """The number in a text. The text that stands for the present value means just that."""
        bare = self.bare(text)
        number = read_number(bare)
        present = QDoubleSpinBox.value(self)
        return present if number is None or bare == self.textFromValue(present) else number

    def problem_of(self, text: str) -> str:
        """Out of range, no number, or finer than the box."""
        number = read_number(text)
        if number is None or not self.minimum() <= number <= self.maximum():
            low, high = (self.textFromValue(v) for v in (self.minimum(), self.maximum()))
            return f"a number from {low} to {high}{self.suffix()}"
        if self._finer(number):
            return f"at most {self.decimals()} decimals"
        return ""

    def _finer(self, number: float) -> bool:
        """Whether Qt would round a number."""
        return abs(round(number, self.decimals()) - number) > 1e-9 * max(1.0, abs(number))


class PowerBox(NumberBox):
    """A box for numbers over many powers of ten, shown like 1.24e+07; an arrow key doubles."""

    def textFromValue(self, value: float) -> str:
        """Up to six digits and a power of ten."""
        return f"{value:.6g}"

    def stepBy(self, steps: int) -> None:
        """Up doubles, down halves."""
        if not self.problem:
            self.setValue(self.value() * 2.0**steps)


class CountBox(_Typed, QSpinBox):
    """A box for a count: digits only, no separators."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._set_up()

    def textFromValue(self, value: int) -> str:
        """Plain digits."""
        return str(value)

    def valueFromText(self, text: str) -> int:
        """The count in a text; the present one where it is none."""
        bare = self.bare(text)
        return int(bare) if _WHOLE.fullmatch(bare) else QSpinBox.value(self)

    def problem_of(self, text: str) -> str:
        """Out of range, or anything but digits."""
        good = _WHOLE.fullmatch(text) and self.minimum() <= int(text) <= self.maximum()
        span = f"{self.minimum()} to {self.maximum()}{self.suffix()}"
        return "" if good else f"a whole number from {span}, without separators"


def settle_numbers(widget: QWidget) -> str:
    """Take over what is being typed in the boxes of a widget.

    Returns
    -------
    str
        What is wrong in the first box that holds no good number, which gets the focus; or empty.
    """
    for box in (*widget.findChildren(NumberBox), *widget.findChildren(CountBox)):
        if box.problem:
            box.setFocus()
            return f"{_name_of(box)}: {box.problem}"
        box.interpretText()
    return ""


def _name_of(box: NumberBox | CountBox) -> str:
    """The label of a box, or what its tooltip begins with."""
    for child in (box, box.parentWidget()):
        parent = child.parentWidget() if child else None
        layouts = [] if parent is None else [parent.layout(), *parent.findChildren(QGridLayout)]
        for layout in layouts:
            label = _label_in(layout, child)
            if isinstance(label, QLabel):
                return label.text().strip()
    return re.split(r"[:;(]", box.own_tip)[0].strip() or "number"


def _label_in(layout: QLayout, child: QWidget) -> QWidget | None:
    if isinstance(layout, QFormLayout):
        return layout.labelForField(child)
    index = layout.indexOf(child) if isinstance(layout, QGridLayout) else -1
    if index < 0:
        return None
    row, column, _, _ = layout.getItemPosition(index)
    left = layout.itemAtPosition(row, column - 1) if column else None
    return left.widget() if left is not None else None
