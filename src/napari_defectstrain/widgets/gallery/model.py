"""Detections as a list that Qt asks for what is in sight, and only for that."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QAbstractListModel, QModelIndex, QObject, QPointF, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPen, QPixmap

from ...averages.looks import Looks
from ...styles import ClassStyle, class_styles
from ...types import IntArray
from ..base import tr
from ..base.symbols import symbol_icon
from .edits import AVERAGED, LEFT_OUT
from .gathering import Place

SIDE_PX = 72
"""Of a thumbnail on the screen."""
FRAME_PX = 3
SYMBOL_PX = 16
KEPT = 1200
"""Pictures that are kept: 25 MB."""
HALO, AVERAGED_COLOUR, LEFT_OUT_COLOUR = "#000000", "#FFFFFF", "#D55E00"
"""Behind the symbols, and the marks of what is averaged and what isn't."""
NO_PICTURE = QColor("#404040")


class GalleryModel(QAbstractListModel):
    """Detections in some order; a thumbnail is drawn when it comes into sight."""

    repaint_wanted = Signal()
    """Emitted when what is in sight looks different, and nothing else has changed."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.looks: Looks | None = None
        self.places: Sequence[Place] = ()
        self.rows: IntArray = np.zeros(0, dtype=int)
        self.states: IntArray = np.zeros(0, dtype=int)
        self.values: Mapping[str, np.ndarray] = {}
        self.told = ""
        self._styles: dict[str, ClassStyle] = {}
        self._symbols: dict[str, QPixmap] = {}
        self._kept: OrderedDict[int, QPixmap] = OrderedDict()

    def show(
        self, places: Sequence[Place], looks: Looks | None, rows: IntArray, states: IntArray
    ) -> None:
        """List other detections.

        Parameters
        ----------
        places : sequence of Place
        looks : Looks or None
        rows : array of int, `(M,)`
            Of the detections, in the order in which they are listed.
        states : array of int, `(N,)`
            From `GalleryEdits.states`.
        """
        self.beginResetModel()
        self.places, self.looks, self.rows, self.states = places, looks, rows, states
        self._kept.clear()
        if looks is not None:
            self._styles = class_styles(looks.detections.class_names)
        self.endResetModel()

    def restyle(self) -> None:
        """Draw everything in the colours of now."""
        self._symbols.clear()
        self._kept.clear()
        if self.looks is not None:
            self._styles = class_styles(self.looks.detections.class_names)
        self._all_changed()

    def arrange(self, rows: IntArray) -> None:
        """List the same detections in another order, or others of them."""
        self.beginResetModel()
        self.rows = rows
        self.endResetModel()

    def more(self, looks: Looks) -> None:
        """More thumbnails are there: draw those in sight."""
        self.looks = looks
        for row in [row for row in self._kept if looks.ready[row]]:
            if self._kept[row].isNull():
                del self._kept[row]
        self._all_changed()

    def changed(self, looks: Looks, states: IntArray, rows: Sequence[int] | None = None) -> None:
        """Classes or choices of some detections, or of all, are others now."""
        self.looks, self.states = looks, states
        if rows is None:
            self._kept.clear()
        else:
            for row in rows:
                self._kept.pop(int(row), None)
        self._all_changed()

    def tell(self, name: str, values: np.ndarray | None) -> None:
        """Write this number below each thumbnail; None: what becomes of it in the averages."""
        self.told = name
        self.values = {} if values is None else {name: values}
        self._all_changed()

    def _all_changed(self) -> None:
        # Of changed data a list of icons asks the size of each again, ten thousand times.
        self.repaint_wanted.emit()

    def row_at(self, index: QModelIndex) -> int:
        """The detection in a place of the list."""
        return int(self.rows[index.row()])

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Detections that are listed."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Words and picture of a detection."""
        if self.looks is None or not 0 <= index.row() < len(self.rows):
            return None
        row = int(self.rows[index.row()])
        if role == Qt.ItemDataRole.DecorationRole:
            return self._picture(row)
        if role == Qt.ItemDataRole.DisplayRole:
            return self.caption(row)
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            return self.describe(row)
        return None

    def caption(self, row: int) -> str:
        """Its class, and what the list is sorted by."""
        assert self.looks is not None  # of every row
        found = self.looks.detections
        name = found.class_names[found.class_index[row]]
        values = self.values.get(self.told)
        if values is None:
            return name
        value = float(values[row])
        return f"{name} –" if not np.isfinite(value) else f"{name} {_short(value)}"

    def describe(self, row: int) -> str:
        """Everything about a detection in words."""
        assert self.looks is not None  # of every row
        found = self.looks.detections
        y, x = found.position_px[row]
        best = np.argsort(-found.probabilities[row])[:2]
        chances = ", ".join(
            f"{found.class_names[k]} {found.probabilities[row, k]:.2f}" for k in best
        )
        told = tr("by hand") if found.by_hand[row] else chances
        weight = ""
        if np.isfinite(found.weight[row]):
            weight = tr(", weight {value:.3f} ± {sigma:.3f}").format(
                value=found.weight[row], sigma=found.weight_sigma[row]
            )
        said = {AVERAGED: tr("averaged"), LEFT_OUT: tr("left out")}
        state = said.get(int(self.states[row]), tr("no window"))
        place = self.places[int(found.image_index[row])].name
        return tr("{name} ({told}){weight}; {state}; {place} at ({y:.1f}, {x:.1f}) px").format(
            name=found.class_names[found.class_index[row]],
            told=told,
            weight=weight,
            state=state,
            place=place,
            y=y,
            x=x,
        )

    def _picture(self, row: int) -> QPixmap:
        if row in self._kept:
            self._kept.move_to_end(row)
            return self._kept[row]
        picture = self._drawn(row)
        self._kept[row] = picture
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return picture

    def _drawn(self, row: int) -> QPixmap:
        """A thumbnail, framed and marked by its class and what becomes of it; null if not made."""
        looks = self.looks
        assert looks is not None  # of every row
        if not looks.ready[row]:
            return QPixmap()
        found = looks.detections
        name = found.class_names[found.class_index[row]]
        style = self._styles[name]
        pixmap = QPixmap(SIDE_PX, SIDE_PX)
        pixmap.fill(QColor(style.colour))
        painter = QPainter(pixmap)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        inner = QRectF(FRAME_PX, FRAME_PX, SIDE_PX - 2 * FRAME_PX, SIDE_PX - 2 * FRAME_PX)
        painter.drawImage(inner, _grey(looks.thumbnails[row], looks.limits))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        corner = SIDE_PX - FRAME_PX - SYMBOL_PX
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(HALO))
        painter.setOpacity(0.6)
        painter.drawRect(FRAME_PX, corner, SYMBOL_PX, SYMBOL_PX)
        painter.setOpacity(1.0)
        painter.drawPixmap(FRAME_PX, corner, self._symbol(name, style))
        _mark(painter, int(self.states[row]))
        painter.end()
        return pixmap

    def _symbol(self, name: str, style: ClassStyle) -> QPixmap:
        if name not in self._symbols:
            self._symbols[name] = symbol_icon(style, SYMBOL_PX).pixmap(SYMBOL_PX, SYMBOL_PX)
        return self._symbols[name]


def _grey(thumbnail: np.ndarray, limits: tuple[float, float]) -> QImage:
    low, high = limits
    level = np.nan_to_num(np.clip((thumbnail - low) / (high - low), 0.0, 1.0), nan=0.0)
    data = np.ascontiguousarray((255 * level).astype(np.uint8))
    height, width = data.shape
    return QImage(data.data, width, height, width, QImage.Format.Format_Grayscale8).copy()


def _mark(painter: QPainter, state: int) -> None:
    """A tick for what is averaged, a cross for what is left out, in the upper right corner."""
    if state not in (AVERAGED, LEFT_OUT):
        return
    left, top, side = SIDE_PX - FRAME_PX - 13.0, FRAME_PX + 3.0, 10.0
    if state == AVERAGED:
        lines = [
            (QPointF(left, top + 0.55 * side), QPointF(left + 0.4 * side, top + side)),
            (QPointF(left + 0.4 * side, top + side), QPointF(left + side, top)),
        ]
        colour = AVERAGED_COLOUR
    else:
        lines = [
            (QPointF(left, top), QPointF(left + side, top + side)),
            (QPointF(left + side, top), QPointF(left, top + side)),
        ]
        colour = LEFT_OUT_COLOUR
    for width, ink in ((5.0, HALO), (2.4, colour)):
        painter.setPen(QPen(QColor(ink), width))
        for line in lines:
            painter.drawLine(*line)


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"
