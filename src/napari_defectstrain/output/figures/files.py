"""How figures look in print, and how they are written: the one place for both.

Widths are those of one and of two columns of a journal, so that letters keep their size there. All
text stays text: TrueType fonts in PDF, ``<text>`` in SVG. Settings of matplotlib are those of the
whole process, and threads draw at the same time as the viewer does: whoever changes them holds a
lock, or one would put back what the other had set.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import imagecodecs
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ...io.files import atomic_path
from .ticks import made_late, placed_once, settle_spines

COLUMN_INCH, PAGE_INCH = 3.3, 7.0
"""Widths of figures: one column, and both."""
DPI = 300
STYLE: Mapping[str, Any] = {
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "defectstrain",  # the same figure gives the same file
    "text.usetex": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, has all signs that are used
    "mathtext.fontset": "dejavusans",
    "font.size": 7.5,
    "figure.titlesize": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "axes.titlepad": 3.0,
    "axes.labelpad": 2.0,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.4,
    **{f"{axis}tick.{kind}.width": 0.6 for axis in "xy" for kind in ("major", "minor")},
    **{f"{axis}tick.major.size": 2.5 for axis in "xy"},
    **{f"{axis}tick.major.pad": 2.0 for axis in "xy"},
    # whatever the user's own style is, for instance light on dark
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), "black"
    ),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "white"),
}
"""Settings of every figure that is written."""

_LOCK = threading.RLock()
_COMPRESS_LEVEL = 2
"""Of PNG, with every line as its difference from the one above: as small as level 3 where each line
has a filter of its own, in a third of the time."""
_METADATA: Mapping[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
_INCH_M = 0.0254

P = ParamSpec("P")


@contextmanager
def figure_settings(values: Mapping[str, Any]) -> Iterator[None]:
    """Draw with some settings of matplotlib, one thread at a time."""
    rc: Any = dict(values)  # matplotlib's stubs list every name
    with _LOCK, mpl.rc_context(rc):
        yield


def for_print(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make a figure with the settings of print."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with figure_settings(STYLE), made_late():
            figure = draw(*args, **kwargs)
            settle_spines(figure)
            return figure

    return drawn


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all; the file's ending says how.

    Parameters
    ----------
    figure : Figure
    path : Path
        Ends in .png, .pdf or .svg.
    """
    content = figure_bytes(figure, path.suffix[1:].lower())
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """A figure as a file.

    Parameters
    ----------
    figure : Figure
    kind : str
        png, pdf or svg.
    """
    with figure_settings(STYLE):
        if kind == "png":
            return _as_png(_pixels(figure))
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=DPI, metadata=_METADATA[kind])
        return file.getvalue()


def _pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    """A figure as it is printed, `(h, w, 3)`, or 4 where it is transparent.

    Drawn once: ``savefig`` draws all of it twice where it lays it out.
    """
    canvas, dpi, colour = figure.canvas, figure.dpi, figure.get_facecolor()
    try:
        printed: Any = FigureCanvasAgg(figure)
        figure.set_dpi(DPI)
        figure.set_facecolor(STYLE["savefig.facecolor"])
        with placed_once(figure):
            printed.draw()
        pixels = np.asarray(printed.buffer_rgba())
    finally:
        figure.set_facecolor(colour)
        figure.set_dpi(dpi)
        figure.set_canvas(canvas)
    opaque = bool((pixels[..., 3] == 255).all())
    copied = np.array(pixels[..., : 3 if opaque else 4], order="C")
    # Letters remember what drew them, and figures wait for the garbage collector: a dozen canvases
    # of 17 MB would lie about.
    printed.renderer.__init__(1, 1, DPI)
    return copied


def _as_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Pixels as a file, with their size in print."""
    filter_up = imagecodecs.PNG.FILTER.UP
    data = imagecodecs.png_encode(pixels, level=_COMPRESS_LEVEL, filter=filter_up)
    per_metre = round(DPI / _INCH_M)
    size = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
    header = 8 + 25  # the signature, and the chunk that comes first
    chunk = struct.pack(">I", len(size) - 4) + size + struct.pack(">I", zlib.crc32(size))
    return bytes(data[:header] + chunk + data[header:])


def write_figure(
    figure: Figure, place: Callable[[str], Path], name: str, formats: Sequence[str]
) -> list[Path]:
    """Write a figure in several formats where `place` says; returns the files."""
    paths = []
    for kind in formats:
        paths.append(place(f"{name}.{kind}"))
        save_figure(figure, paths[-1])
        figure.set_layout_engine("none")  # laid out once: all formats alike, and sooner
    return paths
