"""Spacings by class and precision against N, drawn into axes: for figures and for widgets alike.

Nothing is computed here but what drawing needs. Lines and texts take matplotlib's current colours,
so that a widget can draw in those of its theme.
"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ...materials import Material
from ...pipeline.runs import ClassMeasurement
from ...precision.curve import PrecisionAgainstN
from ...styles import (
    CLASS_STYLE,
    ClassStyle,
    chosen_width_inch,
    class_styles,
    error_text,
    with_error,
)
from ...types import FloatArray
from .files import COLUMN_INCH, PAGE_INCH, for_print

TARGET_PM = 0.3
"""The precision that the number of windows is told for [pm]."""
LEGEND_INCH = 3.1
"""Width of axes that hold a legend of two columns."""
_ROW = 0.8
"""Height of a histogram in its row."""


@for_print
def spacing_rows_figure(measurements: Mapping[str, ClassMeasurement], material: Material) -> Figure:
    """`draw_spacings` as a figure of its own."""
    size = (chosen_width_inch(PAGE_INCH), 0.8 + 0.42 * len(measurements))
    figure = Figure(figsize=size, layout="constrained")
    draw_spacings(figure.subplots(), measurements, material)
    return figure


def draw_spacings(
    axes: Axes, measurements: Mapping[str, ClassMeasurement], material: Material
) -> None:
    """A row a class: spacings of single windows, and the bootstrap of the class average.

    Light: histogram of the single windows (mean of the three spacings around the defect). Dark:
    the average's spacing, one bootstrap standard deviation around it, and the bootstrap's full
    range. Beside them in words the spacing, and the strain with its statistical and total error.

    Parameters
    ----------
    axes : Axes
    measurements : mapping of class to ClassMeasurement
        With the defect-free class, whose spacing is the dashed line.
    material : Material
        Gives the roles of the classes.
    """
    names = list(measurements)
    style = class_styles(material.all_class_names)
    reference = material.class_names[1]
    ink = mpl.rcParams["text.color"]
    for row, name in enumerate(names):
        found, y = measurements[name], len(names) - 1 - row
        colour = style[name].colour
        _draw_singles(axes, found.single_spacing_pm, y, colour)
        _draw_bootstrap(axes, found, y, colour, ink)
        axes.text(
            1.01,
            y + 0.5 * _ROW,
            _in_words(found, name in material.references),
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=8,
            linespacing=1.25,
        )
    if reference in measurements:
        spacing = measurements[reference].spacing.spacing_pm
        axes.axvline(spacing, color=ink, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
    axes.set_yticks([len(names) - 1 - i + 0.5 * _ROW for i in range(len(names))], names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.12, len(names) - 0.05)
    axes.set_xlabel(f"{material.spacing_between(names)} [pm]")
    axes.set_xlim(*_span(measurements))
    grey = CLASS_STYLE["X2"].colour
    axes.figure.legend(
        [
            Patch(color=grey, alpha=0.35, lw=0),
            Patch(color=grey, alpha=0.6, lw=0),
            Patch(color=grey, lw=0),
            mpl.lines.Line2D([], [], color=ink, linestyle=(0, (4, 3)), linewidth=0.8),
        ],
        ["single windows", "bootstrap: range", "± 1σ", f"{reference}, the reference"],
        loc="outside upper left",
        ncols=4,
        fontsize=7,
        frameon=False,
        handlelength=1.4,
        columnspacing=1.2,
    )


def _draw_singles(axes: Axes, single_pm: FloatArray, y: float, colour: str) -> None:
    values = np.asarray(single_pm, dtype=float).reshape(len(single_pm), -1).mean(axis=1)
    values = values[np.isfinite(values)]
    if values.size < 2:
        return
    bins = min(40, max(5, round(np.sqrt(values.size))))
    heights, edges = np.histogram(values, bins=bins)
    axes.stairs(
        y + _ROW * heights / heights.max(), edges, baseline=y, fill=True, color=colour, alpha=0.35
    )


def _draw_bootstrap(axes: Axes, found: ClassMeasurement, y: float, colour: str, ink: str) -> None:
    spacing = found.spacing
    samples = spacing.samples_pm[np.isfinite(spacing.samples_pm)]
    if samples.size > 1 and np.isfinite(spacing.precision_pm):
        low, high = float(samples.min()), float(samples.max())
        axes.fill_between([low, high], y, y + _ROW, color=colour, alpha=0.6, lw=0, zorder=2)
        one = spacing.precision_pm * np.array([-1.0, 1.0]) + spacing.spacing_pm
        axes.fill_between(one, y, y + _ROW, color=colour, lw=0, zorder=3)
    axes.plot([spacing.spacing_pm] * 2, [y, y + _ROW], color=ink, linewidth=0.9, zorder=4)


def _in_words(found: ClassMeasurement, is_reference: bool) -> str:
    spacing = found.spacing
    first = f"{with_error(spacing.spacing_pm, spacing.precision_pm)} pm   N = {spacing.n}"
    if is_reference:
        return f"{first}\nreference"
    percent = 100.0 * np.array([spacing.strain, spacing.strain_std, spacing.strain_total_std])
    number = f"{with_error(percent[0], percent[1], '+.2f')} % ({error_text(percent[2])} total)"
    return f"{first}\n{number.replace('-', '−')}"


def _span(measurements: Mapping[str, ClassMeasurement]) -> tuple[float, float]:
    """Limits that hold all averages and all but the farthest single windows."""
    low, high = [], []
    for found in measurements.values():
        values = np.asarray(found.single_spacing_pm, dtype=float)
        values = values.reshape(len(values), -1).mean(axis=1)
        values = values[np.isfinite(values)]
        ends = np.percentile(values, (0.5, 99.5)) if values.size else (np.inf, -np.inf)
        low += [float(ends[0]), found.spacing.spacing_pm]
        high += [float(ends[1]), found.spacing.spacing_pm]
    margin = 0.04 * (max(high) - min(low)) + 0.5
    return min(low) - margin, max(high) + margin


@for_print
def precision_rows_figure(
    measurements: Mapping[str, ClassMeasurement], material: Material
) -> Figure:
    """`draw_precision` as a figure of its own."""
    figure = Figure(figsize=(chosen_width_inch(COLUMN_INCH), 3.0), layout="constrained")
    draw_precision(figure.subplots(), measurements, material)
    return figure


def draw_precision(
    axes: Axes, measurements: Mapping[str, ClassMeasurement], material: Material
) -> None:
    """Precision of each class against the number of windows, log-log, with the fits.

    Points: scatter of the spacings nearest the site within averages of N windows. Lines:
    ``sqrt(p1^2/N + floor^2)``; dashed the floor. Dotted: 0.3 pm, and in words how many windows
    it takes.

    Parameters
    ----------
    axes : Axes
    measurements : mapping of class to ClassMeasurement
        Those without a curve are not drawn.
    material : Material
    """
    style = class_styles(material.all_class_names)
    curves = {n: m.precision for n, m in measurements.items() if m.precision is not None}
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.axhline(TARGET_PM, color=mpl.rcParams["text.color"], linewidth=0.8, linestyle=":")
    for name, curve in curves.items():
        _draw_curve(axes, curve, style[name], name)
    axes.set_xlabel("windows averaged, N")
    axes.set_ylabel("precision [pm]")
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.set_major_formatter(plain)
        axis.set_minor_formatter(NullFormatter())
    if curves:
        inches = axes.get_position().width * axes.figure.bbox.width / axes.figure.dpi
        axes.legend(
            # above the plot: within, it lies over the curves of one class or another
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            borderaxespad=0.2,
            ncols=2 if inches >= LEGEND_INCH else 1,
            columnspacing=1.2,
            labelspacing=0.3,
            fontsize=7.5,
            frameon=False,
            handlelength=1.0,
            title=f"windows for {TARGET_PM:g} pm",
            title_fontsize=8,
            alignment="left",
        )


def _draw_curve(axes: Axes, curve: PrecisionAgainstN, style: ClassStyle, name: str) -> None:
    colour = style.colour
    n, precision = curve.n, curve.precision_pm
    use = precision > 0  # a single window has no scatter about itself
    axes.errorbar(
        n[use],
        precision[use],
        # towards zero a bar would leave the logarithmic axis
        np.minimum(curve.precision_std_pm, 0.9 * precision)[use],
        fmt=style.marker,
        color=colour,
        markersize=3.5,
        linewidth=0.8,
        label=f"{name}: {needed_in_words(curve)}",
    )
    if curve.fit is None or not use.any():
        return
    many = np.geomspace(1.0, 2.0 * float(n[-1]), 60)
    axes.plot(many, curve.fit.at(many), "-", color=colour, linewidth=1)
    if curve.fit.floor_pm > 0:
        axes.axhline(curve.fit.floor_pm, color=colour, linewidth=0.8, linestyle="--")


def needed_in_words(curve: PrecisionAgainstN) -> str:
    """How many windows a precision of 0.3 pm takes, and how many more than there are."""
    have = int(curve.n[-1])
    if curve.fit is None:
        return f"unknown; there are {have}"
    needed = curve.fit.windows_needed(TARGET_PM)
    if not np.isfinite(needed):
        return f"never, floor {curve.fit.floor_pm:.2f} pm"
    if needed <= have:
        return f"{needed:.0f}, there are {have}"
    return f"{needed:.0f}, {needed - have:.0f} more than now"
