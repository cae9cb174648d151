"""Pages of a document, filled from above: headings, text, tables, pictures; A4, text stays text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from PIL import Image

from .files import STYLE, figure_settings

_WIDE_INCH, _HIGH_INCH = 8.27, 11.69
_MARGIN_INCH = 0.75
_TEXT_INCH = _WIDE_INCH - 2 * _MARGIN_INCH
_POINTS = 72.0
_LEADING = 1.35
_PADDING_INCH = 0.08
_LEAST_COLUMN_INCH = 0.45
_GREY = "0.35"
_MOST_PICTURE_INCH = 8.6
_DPI = 250
_COLOURS = 255


class Leaves:
    """A PDF that is being written; used in a ``with`` block.

    Parameters
    ----------
    path : Path
        Overwritten.
    title : str
        In the file's properties and at the foot of every page.
    """

    def __init__(self, path: Path, title: str) -> None:
        self._title = title
        about: dict[str, Any] = {"Title": title, "Creator": "napari-defectstrain"}
        self._settings = figure_settings(STYLE)
        self._settings.__enter__()
        self._pages: Any = PdfPages(path, metadata={**about, "CreationDate": None})
        self._figure: Figure | None = None
        self._at_inch = 0.0
        self._count = 0
        self._widths: dict[tuple[str, float, bool], float] = {}
        # matplotlib leaves these untyped
        canvas: Any = FigureCanvasAgg(Figure(dpi=_POINTS))
        self._ruler = canvas.get_renderer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._turn()
        self._pages.close()
        self._settings.__exit__(kind, error, trace)

    def heading(self, text: str, points: float = 13.0, room_inch: float = 1.6) -> None:
        """A heading; where less room is left than that, it goes to the next page."""
        self._room(room_inch)
        if self._at_inch < self._top:
            self._at_inch -= 0.16
        for line in self.wrapped(text, points, _TEXT_INCH, bold=True):
            self._line(line, points, bold=True)
        self._at_inch -= 0.06

    def text(self, text: str, points: float = 9.0, colour: str = "black", mark: str = "") -> None:
        """A paragraph; `mark` stands before its first line."""
        indent = 0.0 if not mark else 0.28
        for k, line in enumerate(self.wrapped(text, points, _TEXT_INCH - indent)):
            self._room(_LEADING * points / _POINTS)
            if mark and k == 0:
                self._put(mark, 0.0, points, colour)
            self._line(line, points, colour=colour, indent_inch=indent)
        self._at_inch -= 0.07

    def picture(self, content: bytes, caption: str, size_inch: tuple[float, float]) -> None:
        """A picture of that size, or as large as the page allows, and its caption."""
        scale = min(1.0, _TEXT_INCH / size_inch[0], _MOST_PICTURE_INCH / size_inch[1])
        wide, high = (scale * side for side in size_inch)
        with Image.open(BytesIO(content)) as opened:
            picture = opened.convert("RGB")
            picture.thumbnail((round(_DPI * wide), round(_DPI * high)))
            # of few colours: a fifth of the size in a PDF
            pixels = np.asarray(picture.quantize(_COLOURS).convert("RGB"))
        lines = len(self.wrapped(caption, 8.0, _TEXT_INCH))
        self._room(high + lines * _LEADING * 8.0 / _POINTS + 0.2)
        figure = self._page()
        bottom = self._at_inch - high
        frame = (_MARGIN_INCH / _WIDE_INCH, bottom / _HIGH_INCH)
        axes = figure.add_axes((*frame, wide / _WIDE_INCH, high / _HIGH_INCH))
        axes.imshow(pixels, aspect="auto", interpolation="none")
        axes.set_axis_off()
        self._at_inch = bottom - 0.06
        self.text(caption, 8.0, _GREY)
        self._at_inch -= 0.1

    def table(
        self, caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], points: float = 7.5
    ) -> None:
        """A table with wrapped cells; its head is repeated where a page ends."""
        columns = self._columns(head, rows, points)
        self._room(0.9)
        if caption:
            self.text(caption, 8.0, _GREY)
        self._row(head, columns, points, bold=True)
        for row in rows:
            self._row(row, columns, points, again=lambda: self._row(head, columns, points, True))
        self._at_inch -= 0.14

    def wrapped(self, text: str, points: float, width_inch: float, bold: bool = False) -> list[str]:
        """Lines of a text that fit into a width; words that don't fit alone are cut."""
        lines = [""]
        for word in text.split():
            joined = f"{lines[-1]} {word}".strip()
            if self._width(joined, points, bold) <= width_inch:
                lines[-1] = joined
                continue
            if lines[-1]:
                lines.append("")
            while self._width(word, points, bold) > width_inch and len(word) > 1:
                cut = self._fitting(word, points, width_inch, bold)
                lines[-1], word = word[:cut], word[cut:]
                lines.append("")
            lines[-1] = word
        return lines

    def _fitting(self, word: str, points: float, width_inch: float, bold: bool) -> int:
        for cut in range(len(word) - 1, 1, -1):
            if self._width(word[:cut], points, bold) <= width_inch:
                return cut
        return 1

    def _width(self, text: str, points: float, bold: bool) -> float:
        """Width of a line [inch]; words are measured once."""
        total = 0.0
        for word in text.split(" "):
            key = (word, points, bold)
            if key not in self._widths:
                self._widths[key] = self._measured(word, points, bold)
            total += self._widths[key]
        return total + 0.32 * points / _POINTS * text.count(" ")

    def _measured(self, word: str, points: float, bold: bool) -> float:
        from matplotlib.font_manager import FontProperties

        font = FontProperties(size=points, weight="bold" if bold else "normal")
        plain = word.replace("$", "s")  # no mathematics in words of files
        return float(self._ruler.get_text_width_height_descent(plain, font, False)[0]) / _POINTS

    def _columns(
        self, head: Sequence[str], rows: Sequence[Sequence[str]], points: float
    ) -> list[float]:
        """Widths of columns [inch]: as their cells want, shrunk in proportion where too wide."""
        wanted = [
            max(self._width(str(cell), points, k == 0) for k, cell in enumerate(column))
            + 2 * _PADDING_INCH
            for column in zip(head, *rows, strict=True)
        ]
        if sum(wanted) <= _TEXT_INCH:
            return wanted
        # no column takes more than the page leaves for it once narrow ones have what they want
        share, limit = sorted(wanted), _TEXT_INCH
        for k, width in enumerate(share):
            fair = limit / (len(share) - k)
            if width > fair:
                return [max(min(w, fair), _LEAST_COLUMN_INCH) for w in wanted]
            limit -= width
        return wanted

    def _row(
        self,
        cells: Sequence[str],
        columns: Sequence[float],
        points: float,
        bold: bool = False,
        again: Callable[[], None] | None = None,
    ) -> None:
        lines = [
            self.wrapped(str(cell), points, width - _PADDING_INCH, bold)
            for cell, width in zip(cells, columns, strict=True)
        ]
        line_inch = _LEADING * points / _POINTS
        high = max(map(len, lines)) * line_inch + 0.06
        if self._room(high) and again is not None:
            again()
        left = 0.0
        for column, width in zip(lines, columns, strict=True):
            for k, line in enumerate(column):
                self._put(line, left, points, "black", bold, down_inch=0.04 + k * line_inch)
            left += width
        self._at_inch -= high
        self._rule(min(sum(columns), _TEXT_INCH), 0.8 if bold else 0.25)

    def _rule(self, wide_inch: float, points: float) -> None:
        from matplotlib.lines import Line2D

        x = np.array([_MARGIN_INCH, _MARGIN_INCH + wide_inch]) / _WIDE_INCH
        y = self._at_inch / _HIGH_INCH
        line = Line2D(x, [y, y], linewidth=points, color="black")
        self._page().add_artist(line)

    def _line(
        self,
        text: str,
        points: float,
        bold: bool = False,
        colour: str = "black",
        indent_inch: float = 0.0,
    ) -> None:
        self._put(text, indent_inch, points, colour, bold)
        self._at_inch -= _LEADING * points / _POINTS

    def _put(
        self,
        text: str,
        left_inch: float,
        points: float,
        colour: str,
        bold: bool = False,
        down_inch: float = 0.0,
    ) -> None:
        self._page().text(
            (_MARGIN_INCH + left_inch) / _WIDE_INCH,
            (self._at_inch - down_inch) / _HIGH_INCH,
            text,
            fontsize=points,
            color=colour,
            weight="bold" if bold else "normal",
            va="top",
            parse_math=False,
        )

    @property
    def _top(self) -> float:
        return _HIGH_INCH - _MARGIN_INCH

    def _page(self) -> Figure:
        if self._figure is None:
            self._figure = Figure(figsize=(_WIDE_INCH, _HIGH_INCH))
            self._at_inch = self._top
        return self._figure

    def _room(self, high_inch: float) -> bool:
        """Begin another page where less is left than that; returns whether it did."""
        self._page()
        if self._at_inch - high_inch >= _MARGIN_INCH or self._at_inch == self._top:
            return False
        self._turn()
        self._page()
        return True

    def _turn(self) -> None:
        if self._figure is None:
            return
        self._count += 1
        foot = f"{self._title}    {self._count}"
        self._figure.text(
            1 - _MARGIN_INCH / _WIDE_INCH,
            0.5 * _MARGIN_INCH / _HIGH_INCH,
            foot,
            fontsize=7,
            ha="right",
            color=_GREY,
            parse_math=False,
        )
        self._pages.savefig(self._figure)
        self._figure = None
