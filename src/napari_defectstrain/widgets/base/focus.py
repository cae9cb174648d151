"""Work by keyboard: Tab goes from top to bottom, and one sees where the keyboard is."""

from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QAbstractButton, QScrollArea, QWidget

ROW_PX = 12
"""Controls whose middles differ by less are in one row [px of the screen]."""
COLOUR = "#56B4E9"
"""Of the frame around what has the focus: light blue, which shows on napari's dark and light."""
_KINDS = (
    "QPushButton", "QToolButton", "QComboBox", "QAbstractSpinBox", "QLineEdit", "QListView",
    "QTableView", "QSlider", "QTextBrowser", "QTabBar",
)  # fmt: skip
FOCUS = (
    ", ".join(f"{kind}:focus" for kind in _KINDS)
    + f" {{ border: 2px solid {COLOUR}; }}"
    + " QPushButton:focus { padding: 2px; }"  # napari's are 4: nothing moves
    + f" QCheckBox:focus, QRadioButton:focus {{ background-color: {COLOUR}; color: black; }}"
)
"""Style sheet that makes the focus seen."""


def put_in_tab_order(widget: QWidget) -> list[QWidget]:
    """Let Tab go through what can be seen of a widget row by row; returns that order."""
    order = _in_rows(widget)
    for before, after in zip(order, order[1:], strict=False):
        QWidget.setTabOrder(before, after)
    return order


def _in_rows(widget: QWidget) -> list[QWidget]:
    """Stops row by row; those of a scrolling part come together, also what is out of sight."""
    parts = [child for child in widget.findChildren(QWidget) if _is_part(child, widget)]
    rows: list[list[tuple[QPoint, QWidget]]] = []
    for where, child in sorted(((_place(c, widget), c) for c in parts), key=lambda p: p[0].y()):
        if rows and where.y() - rows[-1][0][0].y() < ROW_PX:
            rows[-1].append((where, child))
        else:
            rows.append([(where, child)])
    found = [child for row in rows for _, child in sorted(row, key=lambda pair: pair[0].x())]
    return [
        stop
        for child in found
        for stop in (_in_rows(child.widget()) if isinstance(child, QScrollArea) else [child])
    ]


def _place(child: QWidget, widget: QWidget) -> QPoint:
    own = child.rect()
    return child.mapTo(widget, own.topLeft() if isinstance(child, QScrollArea) else own.center())


def _is_part(child: QWidget, widget: QWidget) -> bool:
    """Whether it is a stop or a scrolling part, and not within another scrolling part."""
    if not (isinstance(child, QScrollArea) and child.widget() is not None):
        if not _is_stop(child, widget):
            return False
    elif not child.isVisibleTo(widget):
        return False
    around = child.parentWidget()
    while around is not None and around is not widget:
        if isinstance(around, QScrollArea):
            return False
        around = around.parentWidget()
    return True


def _is_stop(child: QWidget, widget: QWidget) -> bool:
    """Whether Tab stops there: not at parts of boxes; of a group, at the chosen button alone.

    Arrow keys lead to the others: that is what Qt does.
    """
    group = child.group() if isinstance(child, QAbstractButton) else None
    if group is not None and group.exclusive() and not child.isChecked():
        return False
    return (
        bool(child.focusPolicy() & Qt.FocusPolicy.TabFocus)
        and child.isVisibleTo(widget)
        and not child.objectName().startswith("qt_")
        and child.focusProxy() is None
    )
