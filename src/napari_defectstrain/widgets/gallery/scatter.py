"""Any two features of all detections, with a lasso: drawn by Qt, since thousands must follow."""

from collections.abc import Mapping

import numpy as np
from matplotlib.ticker import MaxNLocator
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QFocusEvent,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
    QPolygonF,
    QResizeEvent,
)
from qtpy.QtWidgets import QWidget

from ...averages.detections import inside_polygon
from ...styles import class_styles
from ...types import FloatArray, IntArray
from ..base.symbols import symbol_icon

LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 34
"""Margins around the plot [px of the screen]."""
DOT_PX, CHOSEN_PX, NEAR_PX = 4.0, 7.0, 8.0
CHOSEN_COLOUR = "#D55E00"
SPARE = 0.04
"""Room beyond the extreme values, as a fraction of their range."""
FEW = 600
"""Up to so many points are drawn as the symbols of their classes, more as dots of their colour."""


class ScatterPlot(QWidget):
    """Detections as points of two features.

    Drag a lasso around some to select them; with Ctrl or Shift they are added to those selected
    already. A click selects the nearest.

    Parameters
    ----------
    theme : str
        Name of napari's theme.
    """

    chosen = Signal(object, bool)
    """Emitted with the rows in a lasso, or the one clicked, and whether they are added."""

    def __init__(self, theme: str) -> None:
        super().__init__()
        self._x = self._y = np.zeros(0)
        self._names = ("", "")
        self._class_index = np.zeros(0, dtype=int)
        self._class_names: tuple[str, ...] = ()
        self._rows = np.zeros(0, dtype=int)
        self._selected = np.zeros(0, dtype=int)
        self._range = ((0.0, 1.0), (0.0, 1.0))
        self._lasso: list[QPointF] = []
        self._picture: QPixmap | None = None
        self._marks: QPixmap | None = None
        self.setMinimumSize(190, 90)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.set_theme(theme)

    def sizeHint(self) -> QSize:
        """A third of a panel."""
        return QSize(280, 200)

    def set_theme(self, theme: str) -> None:
        """Take over the colours of a theme."""
        colours = get_theme(theme)
        self._ground = QColor(colours.background.as_hex())
        self._ink = QColor(colours.text.as_hex())
        self._redraw()

    def show_points(
        self,
        features: Mapping[str, FloatArray],
        names: tuple[str, str],
        class_index: IntArray,
        class_names: tuple[str, ...],
        rows: IntArray,
    ) -> None:
        """Plot other detections or features.

        Parameters
        ----------
        features : mapping of name to array, `(N,)`
        names : (str, str)
            What is plotted to the right, and upwards.
        class_index : array of int, `(N,)`
        class_names : tuple of str
        rows : array of int, `(M,)`
            Those that are shown.
        """
        nothing = np.full(len(class_index), np.nan)
        self._names = names
        self._x, self._y = (np.asarray(features.get(name, nothing), float) for name in names)
        self._class_index, self._class_names, self._rows = class_index, class_names, rows
        self._range = _reach(self._x[rows]), _reach(self._y[rows])
        self._redraw()

    def select(self, rows: IntArray) -> None:
        """Mark other detections as selected."""
        self._selected = np.asarray(rows, dtype=int)
        self._marks = None
        self.update()

    def _redraw(self) -> None:
        self._picture = self._marks = None
        self.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Everything has another place."""
        super().resizeEvent(event)
        self._redraw()

    def _frame(self) -> QRectF:
        return QRectF(
            LEFT, TOP, max(1, self.width() - LEFT - RIGHT), max(1, self.height() - TOP - BOTTOM)
        )

    def place_of(self, rows: IntArray) -> FloatArray:
        """Where detections lie on the widget, `(M, 2)` (x, y) [px of the screen]."""
        frame = self._frame()
        (x0, x1), (y0, y1) = self._range
        right = frame.left() + (self._x[rows] - x0) / (x1 - x0) * frame.width()
        down = frame.bottom() - (self._y[rows] - y0) / (y1 - y0) * frame.height()
        return np.stack([right, down], axis=1)

    def paintEvent(self, event: QPaintEvent) -> None:
        """All points from a picture that is kept, then what changes often."""
        if self._picture is None or self._picture.size() != self.size():
            self._picture = self._drawn()
        painter = QPainter(self)
        painter.drawPixmap(0, 0, self._picture)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._marks is None:
            self._marks = self._drawn_marks()
        painter.drawPixmap(0, 0, self._marks)
        if len(self._lasso) > 1:
            painter.setPen(QPen(self._ink, 1.5, Qt.PenStyle.DashLine))
            painter.drawPolygon(QPolygonF(self._lasso))
        if self.hasFocus():
            painter.setPen(QPen(self._ink, 2.0))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(self.rect().adjusted(1, 1, -1, -1))
        painter.end()

    def _drawn_marks(self) -> QPixmap:
        """What is selected, on nothing."""
        pixmap = QPixmap(self.size())
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        marked = self._selected[self._selected < len(self._x)]
        place = self.place_of(marked)
        for width, colour in (
            (CHOSEN_PX + 3, self._ground),
            (CHOSEN_PX, self._ink),
            (DOT_PX, QColor(CHOSEN_COLOUR)),
        ):
            painter.drawImage(0, 0, self._dots(place, colour, width))
        painter.end()
        return pixmap

    def _dots(self, place: FloatArray, colour: QColor, width: float) -> QImage:
        """Round dots at places, on nothing: ten thousand take Qt a tenth of a second one by one."""
        height, across = max(1, self.height()), max(1, self.width())
        data = np.zeros((height, across), dtype=np.uint32)
        known = place[np.isfinite(place).all(axis=1)]
        x, y = np.rint(known).astype(int).T
        reach = int(width // 2)
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                if np.hypot(dx, dy) <= 0.5 * width:
                    inside = (x + dx >= 0) & (x + dx < across) & (y + dy >= 0) & (y + dy < height)
                    data[y[inside] + dy, x[inside] + dx] = colour.rgba()
        stride = 4 * across
        return QImage(data.data, across, height, stride, QImage.Format.Format_ARGB32).copy()

    def _drawn(self) -> QPixmap:
        pixmap = QPixmap(self.size())
        pixmap.fill(self._ground)
        painter = QPainter(pixmap)
        self._draw_axes(painter)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        styles = class_styles(self._class_names) if self._class_names else {}
        few = len(self._rows) <= FEW
        for k, name in enumerate(self._class_names):
            mine = self._rows[self._class_index[self._rows] == k]
            place = self.place_of(mine)
            place = place[np.isfinite(place).all(axis=1)]
            if few:
                symbol = symbol_icon(styles[name], 10).pixmap(10, 10)
                for x, y in place.tolist():
                    painter.drawPixmap(QPointF(x - 5, y - 5), symbol)
            else:
                painter.drawImage(0, 0, self._dots(place, QColor(styles[name].colour), DOT_PX))
        painter.end()
        return pixmap

    def _draw_axes(self, painter: QPainter) -> None:
        frame, metrics = self._frame(), painter.fontMetrics()
        font = painter.font()
        font.setPointSizeF(0.8 * font.pointSizeF())
        painter.setFont(font)
        painter.setPen(self._ink)
        painter.drawRect(frame)
        (x0, x1), (y0, y1) = self._range
        ticks = MaxNLocator(4, steps=[1, 2, 5, 10])
        for value in ticks.tick_values(x0, x1):
            if x0 <= value <= x1:
                x = frame.left() + (value - x0) / (x1 - x0) * frame.width()
                painter.drawLine(QPointF(x, frame.bottom()), QPointF(x, frame.bottom() + 3))
                spot = QRectF(x - 30, frame.bottom() + 3, 60, 14)
                painter.drawText(spot, Qt.AlignmentFlag.AlignCenter, f"{value:g}")
        for value in ticks.tick_values(y0, y1):
            if y0 <= value <= y1:
                y = frame.bottom() - (value - y0) / (y1 - y0) * frame.height()
                painter.drawLine(QPointF(frame.left() - 3, y), QPointF(frame.left(), y))
                spot = QRectF(0, y - 8, frame.left() - 5, 16)
                side = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                painter.drawText(spot, side, f"{value:g}")
        spot = QRectF(frame.left(), self.height() - 16, frame.width(), 15)
        painter.drawText(spot, Qt.AlignmentFlag.AlignCenter, self._names[0])
        name = metrics.elidedText(self._names[1], Qt.TextElideMode.ElideRight, int(frame.height()))
        painter.save()
        painter.translate(10, frame.bottom())
        painter.rotate(-90)
        painter.drawText(QRectF(0, -9, frame.height(), 14), Qt.AlignmentFlag.AlignCenter, name)
        painter.restore()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Begin a lasso."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._lasso = [event.position()]

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Draw the lasso on."""
        if self._lasso:
            self._lasso.append(event.position())
            self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Select what lies in it; a click selects the nearest."""
        lasso, self._lasso = self._lasso, []
        if not lasso:
            return
        corner = np.array([(p.x(), p.y()) for p in lasso])
        place = self.place_of(self._rows)
        if np.ptp(corner, axis=0).max() <= 3:
            away = np.hypot(*(place - corner[-1]).T)
            known = np.isfinite(away)
            near = known.any() and np.nanmin(away) <= NEAR_PX
            rows = self._rows[[int(np.nanargmin(away))]] if near else self._rows[:0]
        else:
            rows = self._rows[inside_polygon(place, corner)]
        more = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
        self.chosen.emit(rows, bool(event.modifiers() & more))
        self.update()

    def event(self, event: QEvent) -> bool:
        """While a lasso is drawn, Escape is the plot's, not that of the walk."""
        asked = isinstance(event, QKeyEvent) and event.type() == QEvent.Type.ShortcutOverride
        if asked and self._lasso and event.key() == Qt.Key.Key_Escape:
            event.accept()
            return True
        return bool(super().event(event))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Escape gives the lasso up."""
        if event.key() == Qt.Key.Key_Escape and self._lasso:
            self._lasso = []
            self.update()
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Show where the keyboard is."""
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Show that the keyboard is elsewhere."""
        super().focusOutEvent(event)
        self.update()


def _reach(values: FloatArray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if known.size == 0:
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    spare = SPARE * (high - low) or max(0.5 * abs(low), 0.5)
    return low - spare, high + spare
