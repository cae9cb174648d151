"""How figures look in print, and how they are written: the one place for both.

Widths are those of one and of two columns of a journal, so that letters keep their size there. All
text stays text: TrueType fonts in PDF, ``<text>`` in SVG. Settings of matplotlib are those of the
whole process, and threads draw at the same time as the viewer does: whoever changes them holds a
lock, or one would put back what the other had set.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.figure import Figure

from ...io.files import atomic_path

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
_COMPRESS_LEVEL = 3
"""Of PNG: half the time of 6, a tenth larger."""
_METADATA: Mapping[str, dict[str, Any]] = {
    "png": {},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}

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
        with figure_settings(STYLE):
            return draw(*args, **kwargs)

    return drawn


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all; the file's ending says how.

    Parameters
    ----------
    figure : Figure
    path : Path
        Ends in .png, .pdf or .svg.
    """
    kind = path.suffix[1:].lower()
    more: dict[str, Any] = {}
    if kind == "png":
        more["pil_kwargs"] = {"compress_level": _COMPRESS_LEVEL}
    with figure_settings(STYLE), atomic_path(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=DPI, metadata=_METADATA[kind], **more)


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
