"""Boxes for numbers, typed into as a person does, in locales with a point and with a comma."""

import pytest
from qtpy.QtCore import QLocale, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout, QSpinBox, QWidget

from napari_defectstrain.widgets.base.forms import RangeBox, count, number
from napari_defectstrain.widgets.base.numbers import CountBox, NumberBox, PowerBox, settle_numbers
from napari_defectstrain.widgets.base.worker import RunBar

LOCALES = ("en_US", "de_DE", "fr_FR", "de_CH", "hi_IN")


@pytest.fixture(params=LOCALES)
def locale(request):
    before = QLocale()
    QLocale.setDefault(QLocale(request.param))
    yield request.param
    QLocale.setDefault(before)


def typed(qtbot, box, text, leave=Qt.Key.Key_Return):
    """Replace what stands in a box, key by key, and press a last key."""
    qtbot.addWidget(box)
    box.show()
    box.lineEdit().selectAll()
    QTest.keyClicks(box.lineEdit(), text)
    if leave is not None:
        QTest.keyClick(box, leave)
    return box.value()


@pytest.mark.parametrize(
    ("text", "suffix", "value"),
    [
        ("0.6", "", 0.6),
        ("0,6", "", 0.6),
        ("2.6", " %", 2.6),
        ("2,6", " %", 2.6),
        ("1e1", " pm", 10.0),
        (".5", "", 0.5),
        ("-1,25", "", -1.25),
        ("20,74 pm", " pm", 20.74),
    ],
)
def test_point_and_comma_mean_the_same_everywhere(qtbot, locale, text, suffix, value):
    box = number(3.0, -50.0, 50.0, 0.1, 2, suffix)
    assert typed(qtbot, box, text) == pytest.approx(value, abs=1e-12)
    assert box.text() == f"{value:.2f}{suffix}"
    assert box.problem == ""


@pytest.mark.parametrize(
    "text", ["70", "-51", "1,234.5", "1.234,5", "1 000", "abc", "", "--1", "0.625", "nan", "1e400"]
)
@pytest.mark.parametrize("leave", [Qt.Key.Key_Return, Qt.Key.Key_Tab])
def test_what_cannot_be_taken_stays_as_typed(qtbot, locale, text, leave):
    """Neither clipped, nor rounded, nor replaced: shown in red, and the value is the last good."""
    holder = QWidget()
    form = QFormLayout(holder)
    box, other = number(3.0, -50.0, 50.0, 0.1, 2), number(1.0, 0.0, 2.0, 0.1, 1)
    form.addRow("Smoothing", box)
    form.addRow("Other", other)
    qtbot.addWidget(holder)
    holder.show()
    box.setFocus()
    box.lineEdit().selectAll()
    QTest.keyClick(box.lineEdit(), Qt.Key.Key_Delete)
    QTest.keyClicks(box.lineEdit(), text)
    QTest.keyClick(box, leave)
    other.setFocus()
    assert box.lineEdit().text() == text
    assert "expected" in box.problem
    assert "expected" in box.toolTip()
    assert "border" in box.styleSheet()
    assert settle_numbers(holder).startswith(f"Smoothing: got {text!r}, expected ")
    QTest.keyClick(box, Qt.Key.Key_Escape)
    assert (box.text(), box.value(), box.problem, box.styleSheet()) == ("3.00", 3.0, "", "")


def test_a_number_counts_only_when_it_is_typed(qtbot, locale):
    """3 is on the way to 300; and a value that is asked for is what stands in the box."""
    box, seen = number(2.0, 0.0, 50.0, 0.1, 1), []
    box.valueChanged.connect(seen.append)
    typed(qtbot, box, "300")
    assert (box.lineEdit().text(), seen, box.value()) == ("300", [], 2.0)
    typed(qtbot, box, "3,5", leave=None)
    assert seen == [3.5]  # typed() asked for it


@pytest.mark.parametrize(("text", "good"), [("20000", True), ("20.000", False), ("20,000", False)])
def test_counts_take_no_separators(qtbot, locale, text, good):
    box = count(100, 10, 200_000, " samples")
    typed(qtbot, box, text)
    assert (box.problem == "") == good
    assert box.text() == f"{text} samples"
    if good:
        assert box.value() == 20_000
    else:
        assert "without separators" in box.problem


def test_a_special_value_is_no_problem(qtbot, locale):
    box = count(0, 0, 10_000, " min")
    box.setSpecialValueText("no limit")
    qtbot.addWidget(box)
    assert (box.text(), box.problem) == ("no limit", "")
    typed(qtbot, box, "15")
    assert (box.text(), box.value()) == ("15 min", 15)
    typed(qtbot, box, "0")
    assert (box.text(), box.value(), box.problem) == ("no limit", 0, "")


@pytest.mark.parametrize(("text", "value"), [("1.5e7", 1.5e7), ("1,5e7", 1.5e7), ("20000", 2e4)])
def test_powers(qtbot, locale, text, value):
    box = number(1e6, 1e4, 1e11, 0.0, 0, kind=PowerBox)
    assert typed(qtbot, box, text) == value
    QTest.keyClick(box, Qt.Key.Key_Up)
    assert box.value() == 2 * value


def test_pressing_enter_on_a_shortened_number_keeps_all_its_digits(qtbot):
    box = number(1e6, 1e4, 1e11, 0.0, 0, kind=PowerBox)
    box.setValue(123_456_789.0)
    qtbot.addWidget(box)
    box.show()
    QTest.keyClick(box, Qt.Key.Key_Return)
    assert (box.text(), box.value()) == ("1.23457e+08", 123_456_789.0)


def test_ends_of_a_range_wait_until_a_number_is_typed(qtbot, locale):
    """3 on the way to 30 must not push the lower end down."""
    box = RangeBox((10.0, 20.0), 0.0, 60.0, 0.5, 1)
    qtbot.addWidget(box)
    box.show()
    typed(qtbot, box.high, "30,5")
    assert box.value == (10.0, 30.5)
    typed(qtbot, box.high, "5")
    assert box.value == (5.0, 5.0)


def test_a_job_is_not_started_with_a_bad_number(qtbot, monkeypatch):
    from napari_defectstrain.widgets.base import worker

    said, started = [], []
    monkeypatch.setattr(worker, "show_error", said.append)
    holder = QWidget()
    form = QFormLayout(holder)
    box, bar = number(1.0, 0.0, 2.0, 0.1, 1), RunBar("Run", "runs")
    form.addRow("Limit", box)
    form.addRow(bar)
    bar.check = lambda: settle_numbers(holder)
    bar.run_clicked.connect(lambda: started.append(box.value()))
    qtbot.addWidget(holder)
    holder.show()
    typed(qtbot, box, "3", leave=None)
    qtbot.mouseClick(bar.run_button, Qt.MouseButton.LeftButton)
    assert started == []
    assert said == ["Limit: got '3', expected a number from 0.0 to 2.0"]
    typed(qtbot, box, "1,5", leave=None)
    qtbot.mouseClick(bar.run_button, Qt.MouseButton.LeftButton)
    assert started == [1.5]


def test_all_boxes_of_the_plugin_are_of_these_kinds(qtbot):
    """Qt's own boxes read by the locale."""
    from napari.components import ViewerModel

    from napari_defectstrain.widgets.average.widget import AverageWidget
    from napari_defectstrain.widgets.detect.widget import DetectWidget
    from napari_defectstrain.widgets.strain.widget import StrainWidget
    from napari_defectstrain.widgets.train.widget import TrainWidget

    for kind in (DetectWidget, AverageWidget, StrainWidget, TrainWidget):
        widget = kind(ViewerModel())
        qtbot.addWidget(widget)
        boxes = widget.findChildren(QDoubleSpinBox) + widget.findChildren(QSpinBox)
        assert boxes
        assert all(isinstance(box, (NumberBox, CountBox)) for box in boxes)
        assert settle_numbers(widget) == ""
