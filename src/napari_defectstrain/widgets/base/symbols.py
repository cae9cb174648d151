"""The symbols of the classes as icons of a legend."""

import math

from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPen, QPixmap, QPolygonF

from ...styles import ClassStyle


def symbol_icon(style: ClassStyle, side: int = 18) -> QIcon:
    """Symbol and colour of a class as napari draws them."""
    pixmap = QPixmap(side, side)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor(style.colour), 2.2))
    low, mid, high = 3.0, side / 2, side - 3.0
    corners = {
        "square": [(low, low), (high, low), (high, high), (low, high)],
        "diamond": [(mid, low - 1), (high + 1, mid), (mid, high + 1), (low - 1, mid)],
        "triangle_up": [(mid, low), (high, high), (low, high)],
        "triangle_down": [(mid, high), (high, low), (low, low)],
        "star": [_around(mid, 36 * k, high - mid + 1 if k % 2 == 0 else 3.0) for k in range(10)],
    }.get(style.symbol)
    if corners is not None:
        painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in corners]))
    elif style.symbol == "cross":
        painter.drawLine(QPointF(mid, low), QPointF(mid, high))
        painter.drawLine(QPointF(low, mid), QPointF(high, mid))
    elif style.symbol == "x":
        painter.drawLine(QPointF(low, low), QPointF(high, high))
        painter.drawLine(QPointF(low, high), QPointF(high, low))
    elif style.symbol == "clobber":
        for k in range(3):
            painter.drawEllipse(QPointF(*_around(mid, 120 * k, 3.2)), 2.6, 2.6)
    else:
        painter.drawEllipse(QPointF(mid, mid), mid - low, mid - low)
    painter.end()
    return QIcon(pixmap)


def _around(middle: float, turn_deg: float, radius: float) -> tuple[float, float]:
    """A point around the icon's middle, turned clockwise from above."""
    turn = math.radians(turn_deg)
    return middle + radius * math.sin(turn), middle - radius * math.cos(turn)
