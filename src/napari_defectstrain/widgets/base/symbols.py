"""The symbols of the classes as icons of a legend."""

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
    }.get(style.symbol)
    if corners is not None:
        painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in corners]))
    elif style.symbol == "cross":
        painter.drawLine(QPointF(mid, low), QPointF(mid, high))
        painter.drawLine(QPointF(low, mid), QPointF(high, mid))
    elif style.symbol == "x":
        painter.drawLine(QPointF(low, low), QPointF(high, high))
        painter.drawLine(QPointF(low, high), QPointF(high, low))
    else:
        painter.drawEllipse(QPointF(mid, mid), mid - low, mid - low)
    painter.end()
    return QIcon(pixmap)
