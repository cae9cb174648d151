"""Figures of spacings, precision and errors: results in, a matplotlib `Figure` out.

Nothing is computed here but what drawing needs (limits, bins, ticks).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ...materials import ROLES, Material
from ...precision.budget import PARTS, ErrorBudget
from ...precision.curve import PrecisionAgainstN
from ...precision.spacings import SpacingResult
from ...styles import chosen_width_inch, class_styles, with_error
from ...types import FloatArray
from .files import COLUMN_INCH, PAGE_INCH, for_print
from .panels import grid_of, in_lines

_BLUE, _RED = "#0072B2", "#D55E00"
_PART_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2")
_HATCHES = ("", "///", "", "xxx", "...", "|||", "---", "")
"""Parts of the budget are told apart in grey prints, too."""


@for_print
def spacing_figure(
    single_pm: Mapping[str, FloatArray],
    spacings: Mapping[str, SpacingResult],
    material: Material,
) -> Figure:
    """Histograms of the spacing of the three columns nearest the defect (Fig. 3a, b, d).

    Parameters
    ----------
    single_pm : mapping of class to array
        The spacings in single windows [pm].
    spacings : mapping of class to SpacingResult
        The bootstrap of the class averages.
    material : Material
        Gives the roles of the classes.
    """
    rows, columns = grid_of(3, PAGE_INCH)
    size = (chosen_width_inch(PAGE_INCH), 2.7 + 1.9 * (rows - 1))
    figure = Figure(figsize=size, layout="constrained")
    single, average, every = figure.subplots(rows, columns, squeeze=False).flat
    names = dict(zip(ROLES, material.class_names, strict=True))
    pair = [names[role] for role in ("X2", "XY") if names[role] in spacings]
    styles = class_styles(material.all_class_names)
    colours = {name: styles[name].colour for name in (*styles, *spacings)}
    for name in pair:
        values = np.asarray(single_pm[name])
        values = values[np.isfinite(values)]
        label = f"{name}: {with_error(values.mean(), values.std(), '.0f')} pm"
        _histogram(single, values, colours[name], label)
        spacing = spacings[name]
        text = f"{name}: {with_error(spacing.spacing_pm, spacing.precision_pm)} pm"
        _bootstrap(average, spacing, colours[name], text)
    for name, spacing in spacings.items():
        _bootstrap(every, spacing, colours[name], _in_words(spacing))
    _name_peaks(every, {name: spacing.spacing_pm for name, spacing in spacings.items()})
    titles = ("single windows", "class averages, bootstrap", "all classes, bootstrap")
    for axes, letter, title in zip((single, average, every), "abc", titles, strict=True):
        axes.set_title(f"({letter}) {title}", loc="left")
        shown = spacings if axes is every else pair
        label = f"{material.spacing_between(shown)} [pm]"
        axes.set_xlabel(in_lines(label, size[0] / columns))
        axes.set_yticks([])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_ylim(0.0, 1.45)  # room for legend and names above the peaks
    for axes in (single, average):
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="upper left", labelspacing=0.3)
    single.set_ylabel("frequency (scaled to its peak)")
    figure.legend(
        *every.get_legend_handles_labels(), loc="outside lower center", ncols=min(columns, 2)
    )
    return figure


@for_print
def precision_figure(curve: PrecisionAgainstN, class_name: str) -> Figure:
    """Precision and gain in signal to noise against the number of windows, log-log (Fig. 3c).

    Parameters
    ----------
    curve : PrecisionAgainstN
        The gain is drawn for its first background, with a band over the others.
    class_name : str
        The class that was averaged.
    """
    figure = Figure(figsize=(chosen_width_inch(COLUMN_INCH), 3.0), layout="constrained")
    axes = figure.subplots()
    other = axes.twinx()
    n, precision, gain = curve.n, curve.precision_pm, curve.snr_gain[0]
    # towards zero a bar would leave the logarithmic axis
    scatter = np.minimum(curve.precision_std_pm, 0.9 * precision)
    axes.errorbar(n, precision, scatter, fmt="o", color=_BLUE, markersize=4, linewidth=1)
    fine = np.geomspace(n[0], n[-1], 80)
    text = r"lines: $1/\sqrt{N}$ and $\sqrt{N}$ from one window"
    if curve.fit is None:
        axes.plot(n, precision[0] * np.sqrt(n[0] / n), "-", color=_BLUE)
    else:
        axes.plot(fine, curve.fit.at(fine), "-", color=_BLUE)
        if np.isfinite(curve.bound_p1_pm):
            bound = curve.bound_p1_pm / np.sqrt(fine)
            axes.plot(fine, bound, ":", color=_BLUE, label="Cramér-Rao bound")
            axes.legend(loc="lower center")
        p1 = with_error(curve.fit.p1_pm, curve.fit.p1_std_pm)
        floor = with_error(curve.fit.floor_pm, curve.fit.floor_std_pm)
        text = (
            r"line: $\sqrt{P_1^2/N + f^2}$"
            f"\n$P_1$ = {p1} pm, floor f = {floor} pm"
        )
    other.plot(n, gain, "s", color=_RED, markersize=4)
    other.plot(n, gain[0] * np.sqrt(n / n[0]), "--", color=_RED)
    other.fill_between(
        n, curve.snr_gain.min(axis=0), curve.snr_gain.max(axis=0), color=_RED, alpha=0.2, lw=0
    )
    for scaled in (axes, other):
        scaled.set_xscale("log")
        scaled.set_yscale("log")
    axes.set_xlabel(f"{class_name} windows averaged, N")
    axes.set_ylabel("precision [pm]", color=_BLUE)
    other.set_ylabel("SNR gain", color=_RED)
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    for axis in (axes.xaxis, axes.yaxis, other.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.set_major_formatter(plain)
        axis.set_minor_formatter(NullFormatter())
    low, high = 100 * curve.background_fraction.min(), 100 * curve.background_fraction.max()
    axes.set_title(f"{text}\nband: background of {low:g} to {high:g} % of the pixels", fontsize=7)
    return figure


@for_print
def budget_figure(budgets: Mapping[str, ErrorBudget], material: Material) -> Figure:
    """The error budget of each class: strain of the spacing, and columns (rms).

    A group of bars a class, one for each part of the error, the total as a line across.

    Parameters
    ----------
    budgets : mapping of class to ErrorBudget
        The defect-free class is left out: nothing is measured of it but against itself.
    material : Material
    """
    names = [name for name in budgets if name not in material.references]
    rows_down, across = grid_of(2, PAGE_INCH)
    size = (chosen_width_inch(PAGE_INCH), 2.6 + 2.2 * (rows_down - 1))
    figure = Figure(figsize=size, layout="constrained")
    left, right = figure.subplots(rows_down, across, squeeze=False).flat
    strain = [
        (100 * b.sigma_stat, *(100 * b.strain_parts[p] for p in PARTS), 100 * b.sigma_total)
        for b in (budgets[name] for name in names)
    ]
    every = [budgets[name].rms_pm(np.ones(len(budgets[name].site_pm), bool)) for name in names]
    columns = [(e["statistical"], *(e[p] for p in PARTS), e["total"]) for e in every]
    labels = ("one σ of the strain [%]", "one σ of the displacement, rms [pm]")
    for axes, rows, label in zip((left, right), (strain, columns), labels, strict=True):
        _bars(axes, np.array(rows).reshape(len(names), len(PARTS) + 2), names)
        axes.set_ylabel(label)
    left.set_title("(a) spacing of the three columns nearest the site", loc="left")
    right.set_title("(b) displacements of the columns", loc="left")
    if names:
        figure.legend(
            *left.get_legend_handles_labels(),
            loc="outside lower center",
            ncols=9 if across > 1 else 3,
            handlelength=1.2,
            columnspacing=1.0,
        )
    return figure


def _bars(axes: Axes, rows: FloatArray, names: list[str]) -> None:
    labels = ("statistical", *PARTS)
    width = 0.8 / len(labels)
    place = np.arange(len(names))
    for k, (part, colour) in enumerate(zip(labels, ("0.4", *_PART_COLOURS), strict=True)):
        axes.bar(
            place - 0.4 + (k + 0.5) * width,
            rows[:, k],
            width,
            color=colour,
            hatch=_HATCHES[k],
            edgecolor="black",
            linewidth=0.3,
            label=part,
        )
    axes.hlines(rows[:, -1], place - 0.4, place + 0.4, color="k", linewidth=1.2, label="total")
    axes.set_xticks(place, names)


@for_print
def drift_figure(table: pd.DataFrame) -> Figure:
    """Drift of a series of frames against the frame, bad frames marked.

    Parameters
    ----------
    table : DataFrame
        As `drift.drift_table` makes it.
    """
    unit = "pm" if "y_pm" in table else "px"
    figure = Figure(figsize=(chosen_width_inch(COLUMN_INCH), 2.3), layout="constrained")
    axes = figure.subplots()
    frame = table["frame"].to_numpy(dtype=float)
    for axis, colour, marker in (("x", _BLUE, "o"), ("y", _RED, "s")):
        axes.errorbar(
            frame,
            table[f"{axis}_{unit}"].astype(float),
            table[f"sigma_{axis}_{unit}"].astype(float),
            fmt=f"-{marker}",
            color=colour,
            markersize=3,
            label={"x": "x, to the right", "y": "y, down"}[axis],
        )
    bad = table["bad"].to_numpy(dtype=bool)
    for place in frame[bad]:
        axes.axvline(place, color="0.4", linestyle=":")
    axes.set_xlabel("frame")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_ylabel(f"drift [{unit}]")
    left_out = f", {int(bad.sum())} left out (dotted)" if bad.any() else ""
    axes.set_title(f"{len(table)} frames{left_out}")
    axes.legend()
    return figure


def _histogram(axes: Axes, values: FloatArray, colour: str, label: str) -> None:
    heights, edges = np.histogram(values, bins=min(40, max(5, round(np.sqrt(values.size)))))
    axes.stairs(heights / heights.max(), edges, fill=True, color=colour, alpha=0.55, label=label)


def _bootstrap(axes: Axes, spacing: SpacingResult, colour: str, label: str) -> None:
    values = spacing.samples_pm[np.isfinite(spacing.samples_pm)]
    if values.size < 2 or np.ptp(values) == 0.0:  # one window: nothing to resample
        axes.axvline(spacing.spacing_pm, color=colour, label=f"{spacing.class_name}: N = 1")
        return
    _histogram(axes, values, colour, label)


def _name_peaks(axes: Axes, spacing_pm: Mapping[str, float]) -> None:
    """Names above the peaks, for prints in grey; those of near neighbours at other heights."""
    names = sorted(spacing_pm, key=lambda name: spacing_pm[name])
    apart = 0.1 * (spacing_pm[names[-1]] - spacing_pm[names[0]])
    level = 0
    for before, name in zip([None, *names], names, strict=False):
        near = before is not None and spacing_pm[name] - spacing_pm[before] < apart
        level = (level + 1) % 3 if near else 0
        place = (spacing_pm[name], 1.02 + 0.12 * level)
        axes.text(*place, name, ha="center", va="bottom", fontsize=7)


def _in_words(spacing: SpacingResult) -> str:
    text = f"{spacing.class_name}: {with_error(spacing.spacing_pm, spacing.precision_pm)} pm"
    return f"{text}, N = {spacing.n} (purity {spacing.purity:.3f})"
