"""Tab goes as one reads, whatever the order in which controls were made."""

from qtpy.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_defectstrain.widgets.base import put_in_tab_order


def test_rows_from_top_to_bottom_with_what_scrolls_in_its_place(qtbot):
    window = QWidget()
    qtbot.addWidget(window)
    column = QVBoxLayout(window)
    last, first = QPushButton("last"), QPushButton("first")
    content = QWidget()
    inner = QVBoxLayout(content)
    boxes = [QSpinBox() for _ in range(30)]
    for box in reversed(boxes):
        inner.insertWidget(0, box)
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setWidget(content)
    row, left, right = QHBoxLayout(), QPushButton("left"), QPushButton("right")
    row.addWidget(left)
    row.addWidget(right)
    hidden = QPushButton("hidden")
    for part in (first, scroll, last, hidden):
        column.addWidget(part)
    column.insertLayout(1, row)
    hidden.hide()
    window.resize(200, 300)
    window.show()
    assert put_in_tab_order(window) == [first, left, right, *boxes, last]


def test_a_group_of_which_one_is_chosen_is_one_stop(qtbot):
    window = QWidget()
    qtbot.addWidget(window)
    column, group = QVBoxLayout(window), QButtonGroup(window)
    radios = [QRadioButton(str(i)) for i in range(4)]
    for radio in radios:
        group.addButton(radio)
        column.addWidget(radio)
    after = QPushButton("after")
    column.addWidget(after)
    radios[2].setChecked(True)
    window.show()
    assert put_in_tab_order(window) == [radios[2], after]
