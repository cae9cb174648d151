"""Figures of a series: classes against dose, rates, where what happened, and its drift.

Nothing is computed here but what drawing needs (limits, ticks).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...materials import Material
from ...series import SeriesResult, event_table, rate_table, series_table
from ...styles import class_styles
from ...units import PM_PER_NM
from .files import PAGE_INCH, for_print
from .panels import letter_titles

_EVENTS = {"birth": ("o", "born"), "death": ("x", "vanished"), "change": ("^", "changed class")}
_MOST_ARROWS = 400


@for_print
def series_figure(result: SeriesResult) -> Figure:
    """Fractions of the defects against dose or time, with limits of 95 %, and the rates.

    Parameters
    ----------
    result : SeriesResult
        With histories.
    """
    figure = Figure(figsize=(PAGE_INCH, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1.0))
    draw_classes(left, series_table(result), result.material)
    draw_rates(right, rate_table(result))
    letter_titles((left, right))
    return figure


def draw_classes(axes: Axes, table: pd.DataFrame, material: Material) -> None:
    """Fraction of the chalcogen columns in every defect class against dose, time or frame.

    Parameters
    ----------
    axes : Axes
    table : DataFrame
        Of `series.series_table`.
    material : Material
    """
    when, scale, label = _axis(table)
    styles = class_styles(material.all_class_names)
    for name, rows in table.groupby("class", sort=False):
        if name not in material.averaged_names:
            continue
        style = styles[str(name)]
        at = rows[when].to_numpy(dtype=float) * scale
        percent = 100 * rows["fraction"].to_numpy(dtype=float)
        low, high = (100 * rows[c].to_numpy(dtype=float) for c in ("crystal_low", "crystal_high"))
        axes.fill_between(at, low, high, color=style.colour, alpha=0.18, linewidth=0)
        axes.plot(
            at,
            percent,
            color=style.colour,
            marker=style.marker,
            markersize=3,
            markeredgecolor="0.25",
            markeredgewidth=0.3,
            linewidth=0.9,
            label=str(name),
        )
        found = rows["detected"].to_numpy(dtype=float) / rows["all_columns"].to_numpy(dtype=float)
        axes.plot(at, 100 * found, ".", color=style.colour, markersize=2, alpha=0.6)
    axes.set_xlabel(label)
    axes.set_ylabel("of the chalcogen columns (%)")
    axes.set_ylim(bottom=0)
    axes.set_title("lines: by all sums (bands 95 %); dots: by each alone")
    axes.legend(ncols=2)


def _axis(table: pd.DataFrame) -> tuple[str, float, str]:
    """Column, factor and label of the axis: the dose where it is known, else time, else frames."""
    if table["dose_e_per_nm2"].notna().all():
        return "dose_e_per_nm2", 1e-6, "dose (10⁶ e⁻/nm²)"
    if table["time_s"].notna().all():
        return "time_s", 1.0, "time (s)"
    return "frame_first", 1.0, "frame"


def draw_rates(axes: Axes, table: pd.DataFrame) -> None:
    """Cross sections, or rates, with their limits; upper limits as arrows.

    Parameters
    ----------
    axes : Axes
    table : DataFrame
        Of `series.rate_table`.
    """
    if "cross_section_barn" in table:
        columns, label = ("cross_section_barn", "low_barn", "high_barn"), "cross section (barn)"
    else:
        unit = next(c for c in table if c.startswith("rate_"))[len("rate_") :]
        columns = (f"rate_{unit}", f"low_{unit}", f"high_{unit}")
        label = f"rate ({unit.replace('_', ' ')})"
    names = []
    for place, (_, row) in enumerate(table.iloc[::-1].iterrows()):
        value, low, high = (float(row[c]) for c in columns)
        names.append(f"{row['from']} → {row['to']}")
        if row["changes"] > 0:
            axes.errorbar(
                value, place, xerr=[[value - low], [high - value]], fmt="o", color="#0072B2"
            )
        else:
            axes.annotate(
                "",
                (high * 0.6, place),
                (high, place),
                arrowprops={"arrowstyle": "->", "color": "0.4"},
            )
            axes.plot(high, place, "|", color="0.4")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel(label)
    values = table[list(columns)].to_numpy(dtype=float)
    shown = values[values > 0]
    if len(shown):
        axes.set_xscale("log")
        axes.set_xlim(shown.min() / 2, shown.max() * 1.5)
    axes.set_title("limits of 95 %; arrows: less than")


@for_print
def events_figure(result: SeriesResult) -> Figure:
    """The last sum with all events at their sites, coloured by when; hops as arrows.

    Parameters
    ----------
    result : SeriesResult
        With histories.
    """
    found = result.histories
    assert found is not None
    table = event_table(result)
    image = found.sums[-1]
    nm = (image.pixel_size_pm or np.nan) / PM_PER_NM
    known = np.isfinite(nm)
    scale = nm if known else 1.0
    figure = Figure(figsize=(PAGE_INCH * 0.62, PAGE_INCH * 0.55), layout="constrained")
    axes = figure.subplots()
    height, width = image.data.shape
    extent = (-0.5 * scale, (width - 0.5) * scale, (height - 0.5) * scale, -0.5 * scale)
    low, high = np.percentile(image.data, [1, 99.7])
    axes.imshow(image.data, cmap="gray", extent=extent, vmin=low, vmax=high)
    when = next(c for c in table if c in ("dose_e_per_nm2", "time_s", "frame_number"))
    factor, label = {
        "dose_e_per_nm2": (1e-6, "dose (10⁶ e⁻/nm²)"),
        "time_s": (1.0, "time (s)"),
        "frame_number": (1.0, "frame"),
    }[when]
    limits: dict[str, Any] = {"vmin": 0.0, "vmax": float(found.at[-1]) if len(found.at) else 1.0}
    drawn = None
    for kind, (marker, text) in _EVENTS.items():
        rows = table[table["kind"] == kind]
        if not len(rows):
            continue
        edges: dict[str, Any] = {} if marker == "x" else {"edgecolors": "white", "linewidths": 0.3}
        drawn = axes.scatter(
            rows["x_px"] * scale,
            rows["y_px"] * scale,
            c=rows[when] * factor,
            marker=marker,
            s=14,
            cmap="viridis",
            label=f"{text} ({len(rows)})",
            **edges,
            **limits,
        )
    hops = table[table["kind"] == "migration"]
    for _, row in hops.head(_MOST_ARROWS).iterrows():
        other = table.iloc[int(row["partner"])]
        if row["event"] < other["event"]:
            continue
        ends = [(r["x_px"] * scale, r["y_px"] * scale) for r in (other, row)]
        arrow = {"arrowstyle": "->", "color": "#E69F00", "linewidth": 0.9}
        axes.annotate("", ends[1], ends[0], arrowprops=arrow)
    if drawn is not None:
        figure.colorbar(drawn, ax=axes, label=label, shrink=0.8)
        figure.legend(loc="outside lower center", ncols=3)
    unit = "nm" if known else "px"
    axes.set_xlabel(f"x ({unit})")
    axes.set_ylabel(f"y ({unit})")
    hopped = f", {len(hops) // 2} hops (arrows)" if len(hops) else ""
    axes.set_title(f"{image.name}: what happened where{hopped}")
    return figure
