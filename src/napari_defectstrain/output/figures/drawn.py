"""What is drawn in the plots of a figure, as a table: the data behind each of them.

Read off the figure itself, so that picture and numbers can't differ. Panels that show pictures or
maps are left out: their pixels are in TIFFs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch

from ...io.files import write_table
from .files import write_figure

COLUMNS = (
    *("panel", "x_label", "y_label", "series", "colour", "kind"),
    *("x", "x_high", "y", "y_low", "y_high"),
)

_Row = dict[str, Any]


def drawn_data(figure: Figure) -> pd.DataFrame:
    """Every point, bar, step and band of the plots of a figure.

    Parameters
    ----------
    figure : Figure

    Returns
    -------
    DataFrame
        Columns `COLUMNS`: title (or number) of the panel, labels of its axes, label of the series
        (empty where it has none) and its colour as #rrggbb; kind is point (a point, y_low and
        y_high the ends of its error bar), bar (x its middle, from y_low to y), step (of a
        histogram, from x to x_high), level (a line from x to x_high) or outline (of a
        band). Empty where the figure has no plots.
    """
    plots = [axes for axes in figure.axes if not axes.images and not _is_colour_bar(axes)]
    rows = []
    for number, axes in enumerate(plots, 1):
        title = axes.get_title(loc="left") or axes.get_title() or str(number)
        known: _Row = {
            "panel": _one_line(title),
            "x_label": _one_line(axes.get_xlabel()),
            "y_label": _one_line(axes.get_ylabel()),
        }
        rows += [{**known, **row} for row in _drawn(axes)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_with_data(
    figure: Figure, place: Callable[[str], Path], name: str, formats: Sequence[str]
) -> None:
    """Write a figure, and as ``<name>.csv`` the data of its plots; those of pictures are in TIFFs.

    Parameters
    ----------
    figure : Figure
    place : callable
        Where a file of that name goes.
    name : str
        Without its ending.
    formats : sequence of str
    """
    write_figure(figure, place, name, formats)
    data = drawn_data(figure)
    if len(data):
        write_table(place(f"{name}.csv"), data)


def _is_colour_bar(axes: Axes) -> bool:
    return axes.get_label() == "<colorbar>"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _drawn(axes: Axes) -> Iterator[_Row]:
    in_containers: set[int] = set()
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer):
            yield from _error_bars(container)
            line, caps, bars = container.lines
            in_containers |= {id(part) for part in (line, *caps, *bars)}
        elif isinstance(container, BarContainer):
            yield from _bars(container)
    for line in axes.lines:
        if id(line) not in in_containers and line.get_transform() == axes.transData:
            yield from _points(line)
    for patch in axes.patches:
        if isinstance(patch, StepPatch):
            yield from _steps(patch)
    for collection in axes.collections:
        if id(collection) in in_containers:
            continue
        if isinstance(collection, LineCollection):
            yield from _levels(collection)
        elif isinstance(collection, PolyCollection):
            yield from _outlines(collection)
        elif isinstance(collection, PathCollection):
            colour = collection.get_facecolor()
            series = _series(collection.get_label(), colour[0] if len(colour) else "black", "point")
            for x, y in np.ma.getdata(collection.get_offsets()):
                yield {**series, "x": x, "y": y}


def _series(label: object, colour: Any, kind: str) -> _Row:
    text = str(label)
    named = "" if text.startswith("_") else _one_line(text)
    return {"series": named, "colour": to_hex(colour), "kind": kind}


def _points(line: Line2D) -> Iterator[_Row]:
    series = _series(line.get_label(), line.get_color(), "point")
    for x, y in zip(*_numbers(line), strict=True):
        yield {**series, "x": x, "y": y}


def _numbers(line: Line2D) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


def _error_bars(container: ErrorbarContainer) -> Iterator[_Row]:
    line, _, bars = container.lines
    if line is None:
        return
    series = _series(container.get_label(), line.get_color(), "point")
    x, y = _numbers(line)
    ends = np.full((x.size, 2), np.nan)
    if container.has_yerr:
        for k, segment in enumerate(bars[-1].get_segments()[: x.size]):
            if len(segment) == 2:  # none is drawn where the error is not a number
                ends[k] = segment[:, 1]
    for k in range(x.size):
        yield {**series, "x": x[k], "y": y[k], "y_low": ends[k].min(), "y_high": ends[k].max()}


def _bars(container: BarContainer) -> Iterator[_Row]:
    for patch in container.patches:
        series = _series(container.get_label(), patch.get_facecolor(), "bar")
        middle, low = patch.get_x() + patch.get_width() / 2, patch.get_y()
        yield {**series, "x": middle, "y": low + patch.get_height(), "y_low": low}


def _steps(patch: StepPatch) -> Iterator[_Row]:
    values, edges, _ = patch.get_data()
    colour = patch.get_facecolor() if patch.get_fill() else patch.get_edgecolor()
    series = _series(patch.get_label(), colour, "step")
    for low, high, value in zip(edges[:-1], edges[1:], values, strict=True):
        yield {**series, "x": low, "x_high": high, "y": value}


def _levels(lines: LineCollection) -> Iterator[_Row]:
    colours = lines.get_color()
    series = _series(lines.get_label(), colours[0] if len(colours) else "black", "level")
    seen = (segment for segment in lines.get_segments() if len(segment))  # none of a NaN
    for (x, low), (x_high, high) in (segment[[0, -1]] for segment in seen):
        yield {**series, "x": x, "x_high": x_high, "y": 0.5 * (low + high)}


def _outlines(areas: PolyCollection) -> Iterator[_Row]:
    colours = areas.get_facecolor()
    series = _series(areas.get_label(), colours[0] if len(colours) else "black", "outline")
    for path in areas.get_paths():
        for x, y in np.asarray(path.vertices, float):
            yield {**series, "x": x, "y": y}
