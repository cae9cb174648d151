"""Keys: declared once, bound and listed from that."""

from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLineEdit, QVBoxLayout, QWidget
from widget_stage import activate

from napari_defectstrain.widgets.base import keys


def test_keys_are_listed_place_by_place(monkeypatch):
    monkeypatch.setattr(keys, "_DECLARED", [])
    one = keys.declare("Points", "Ctrl+Z", "Undo")
    other = keys.declare("Windows", "Ctrl+Z", "Undo")
    last = keys.declare("Points", "Ctrl+Shift+Z", "Redo")
    assert keys.declare("Points", "Ctrl+Z", "Undo") == one
    assert keys.declared() == [one, last, other]


def test_a_key_of_its_own_works_within_its_widget_only(qtbot, monkeypatch):
    monkeypatch.setattr(keys, "_DECLARED", [])
    window, inside = QWidget(), QWidget()
    qtbot.addWidget(window)
    column, field, other = QVBoxLayout(window), QLineEdit(inside), QLineEdit()
    column.addWidget(inside)
    column.addWidget(other)
    done = []
    keys.shortcut(keys.declare("x", "F5", "Do"), inside, lambda: done.append(1), own=True)
    window.show()
    activate(window)
    other.setFocus()
    QTest.keyClick(other, Qt.Key.Key_F5)
    assert done == []
    field.setFocus()
    QTest.keyClick(field, Qt.Key.Key_F5)
    assert done == [1]
