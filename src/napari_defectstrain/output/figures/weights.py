"""Histograms of the columns' weights, drawn into a figure: for print and for the widget alike.

Nothing is computed here but what drawing needs. Counts have a logarithmic axis: a class of ten
columns stands beside one of five thousand. Lines and texts take matplotlib's current colours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ...judge.histograms import WeightHistogram, WeightHistograms
from ...materials import CHALCOGEN_SITES, METAL_SITES, Material
from ...styles import ClassStyle, chosen_width_inch, class_styles
from .files import PAGE_INCH, for_print
from .panels import grid_of, letter_titles

_FLOOR = 0.5
"""Where the axis of counts begins: one column is seen."""
_HEADROOM = 1.6
_NEAR = 0.155
"""Names of classes closer than this part of the axis stand in two rows."""
_STRAY = 0.06
_WIDTH_RATIOS = (2.3, 1.0)


@dataclass(frozen=True)
class ChosenWeights:
    """What was chosen among the weights.

    Parameters
    ----------
    low, high : float
        In units of the metal's.
    sublattice : str
        `METAL_SITES`, `CHALCOGEN_SITES`, or empty for both.
    """

    low: float
    high: float
    sublattice: str = ""


@for_print
def weights_figure(histograms: WeightHistograms, material: Material) -> Figure:
    """`draw_weights` as a figure of its own."""
    rows, _ = grid_of(2, PAGE_INCH)
    size = (chosen_width_inch(PAGE_INCH), 2.4 * rows)
    figure = Figure(figsize=size, layout="constrained")
    letter_titles(draw_weights(figure, histograms, material).values())
    return figure


def draw_weights(
    figure: Figure,
    histograms: WeightHistograms,
    material: Material,
    chosen: ChosenWeights | None = None,
) -> dict[str, Axes]:
    """Two panels: columns on chalcogen sites, and on metal sites.

    Steps: the columns by the class given to them, one over another. Lines: what is expected of each
    class by its probabilities. Above them the class with its symbol, at its mean weight, and its
    expected share.

    Parameters
    ----------
    figure : Figure
        Empty.
    histograms : WeightHistograms
    material : Material
        Gives the elements.
    chosen : ChosenWeights, optional
        Marked.

    Returns
    -------
    dict of str to Axes
        By `CHALCOGEN_SITES` and `METAL_SITES`.
    """
    rows, columns = grid_of(2, PAGE_INCH)
    ratios = _WIDTH_RATIOS if columns == 2 else None
    panels = figure.subplots(rows, columns, width_ratios=ratios).flat
    drawn = dict(zip((CHALCOGEN_SITES, METAL_SITES), panels, strict=True))
    elements = {CHALCOGEN_SITES: material.chalcogen, METAL_SITES: material.metal}
    styles = class_styles(histograms.class_names)
    for sublattice, axes in drawn.items():
        _draw_sublattice(axes, histograms.of(sublattice), styles)
        axes.set_xlabel(f"weight, {elements[sublattice]} sites")
        if chosen is not None and chosen.sublattice in ("", sublattice):
            ink = mpl.rcParams["text.color"]
            axes.axvspan(chosen.low, chosen.high, color=ink, alpha=0.25, lw=0, zorder=0)
            for end in (chosen.low, chosen.high):
                axes.axvline(end, color=ink, linewidth=0.7, linestyle="--")
    panels[0].set_ylabel("columns a bin")
    panels[0].set_xlabel(f"{panels[0].get_xlabel()} ({material.metal} = 1)")
    return drawn


def _draw_sublattice(
    axes: Axes, histogram: WeightHistogram, styles: Mapping[str, ClassStyle]
) -> None:
    total = histogram.count.sum(axis=1)
    look = list(styles.values())
    # the rarest in front
    for k in sorted(np.flatnonzero(total), key=lambda k: -int(total[k])):
        style = look[int(k)]
        axes.stairs(
            np.maximum(histogram.count[k], _FLOOR),
            histogram.edges,
            baseline=_FLOOR,
            fill=True,
            facecolor=style.colour,
            alpha=0.45,
            lw=0,
        )
        axes.stairs(
            np.maximum(histogram.count[k], _FLOOR),
            histogram.edges,
            baseline=_FLOOR,
            color=style.colour,
            linewidth=0.6,
        )
    for k in np.flatnonzero(histogram.curve.max(axis=1, initial=0.0) > _FLOOR):
        curve = np.where(histogram.curve[k] > 0.5 * _FLOOR, histogram.curve[k], np.nan)
        axes.plot(histogram.at, curve, color=look[int(k)].colour, linewidth=1.3)
    axes.set_yscale("log")
    axes.set_ylim(_FLOOR, _HEADROOM * max(float(histogram.count.max(initial=1)), 2.0))
    axes.set_xlim(*histogram.span)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    _name_classes(axes, histogram, styles)


def _name_classes(axes: Axes, histogram: WeightHistogram, styles: Mapping[str, ClassStyle]) -> None:
    """Symbol, name and share of each class that there is, above the panel at its mean weight."""
    class_names = list(styles)
    low, high = histogram.span
    there = np.flatnonzero((histogram.count.sum(axis=1) > 0) | (histogram.expected > 0.5))
    placed = [int(k) for k in there if np.isfinite(histogram.mean[k])]
    # what has no weight of its own stands at the right
    stray = [int(k) for k in there if not np.isfinite(histogram.mean[k])]
    place = {k: float(np.clip(histogram.mean[k], low, high)) for k in placed}
    place |= {k: high - _STRAY * (high - low) for k in stray}
    last = -np.inf
    row = 0
    for k, at in sorted(place.items(), key=lambda item: item[1]):
        row = 1 - row if (at - last) / (high - low) < _NEAR else 0
        last = at
        style = styles[class_names[k]]
        axes.annotate(
            f"{class_names[k]}\n{_per_cent(histogram.share[k])}",
            (at, 1.0),
            (0, 9 + 17 * row),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7,
            linespacing=1.05,
            annotation_clip=False,
        )
        axes.plot(
            [at],
            [1.035],
            style.marker,
            color=style.colour,
            markerfacecolor="none",
            markersize=4,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
        )


def _per_cent(share: float) -> str:
    if 0.9995 <= share < 0.99995:  # beside a rare class "100.0 %" would be too much
        return f"{100 * share:.2f} %"
    return f"{100 * share:.1f} %" if share >= 0.0995 else f"{100 * share:.2f} %"
