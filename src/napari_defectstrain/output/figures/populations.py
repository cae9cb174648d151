"""Populations of images, and whether defects lie at random: drawn for print and for the widget.

Nothing is computed here but what drawing needs. Lines and texts take matplotlib's current colours.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...crystal.pattern_counts import ANY_DEFECT, ANY_SUBSTITUENT, ANY_VACANCY, SAME
from ...crystal.populations import ALL_IMAGES
from ...styles import ClassStyle, chosen_width_inch, class_styles, panels_across
from ...types import OTHER
from .files import PAGE_INCH, for_print
from .panels import grid_of, letter_titles

_OUTSIDE = "#D55E00"
_GROUP_STYLES = {
    ANY_VACANCY: ClassStyle("#0072B2", "ring", "o"),
    ANY_SUBSTITUENT: ClassStyle("#882255", "square", "s"),
}
_SHORT = {ANY_VACANCY: "vacancy", ANY_SUBSTITUENT: "substit."}
_PLURAL = {ANY_VACANCY: "vacancies", ANY_SUBSTITUENT: "substituents"}
_FEW = 0.5
"""Pairs are drawn where so many are expected on some shell."""
_HIGHEST_G = 6.0
_MOST_IMAGES = 60
_MEASURES = ("alone", "pairs", "triples", "larger", "lines", "longest line")


@for_print
def populations_figure(table: pd.DataFrame, class_names: Sequence[str]) -> Figure:
    """`draw_populations` as a figure of its own."""
    figure = Figure(figsize=(chosen_width_inch(PAGE_INCH), 2.2), layout="constrained")
    panels = draw_populations(figure, table, class_names)
    figure.set_figheight(2.2 * grid_of(len(panels), PAGE_INCH)[0])
    letter_titles(panels)
    return figure


def draw_populations(figure: Figure, table: pd.DataFrame, class_names: Sequence[str]) -> list[Axes]:
    """A panel a class of defects: its share in each image, with Wilson's interval.

    The band is that of all images together; the broken lines hold what the places have on average
    if the images differ by more than chance, of which p tells. A single image is its own band.

    Parameters
    ----------
    figure : Figure
        Empty.
    table : DataFrame
        `crystal.population_table`.
    class_names : sequence of str
        In the order of the roles.
    """
    last = len(table) - table["class"].nunique()
    images, whole = table.iloc[:last], table.iloc[last:].set_index("class")
    names = [n for n in class_names[2:] if n in whole.index and whole.loc[n, "columns"] > 0]
    names = [n for n in names if n != class_names[OTHER]] or list(class_names[2:3])
    rows, columns = grid_of(len(names), PAGE_INCH)
    panels = list(figure.subplots(rows, columns, sharex=True, squeeze=False).flat)
    for axes in panels[len(names) :]:
        axes.remove()
    panels = panels[: len(names)]
    styles = class_styles(class_names)
    for axes, name in zip(panels, names, strict=True):
        own = images[images["class"] == name]
        _draw_shares(axes, own, whole.loc[name], styles[name])
        axes.set_title(name, loc="left", color=mpl.rcParams["text.color"])
    panels[0].set_ylabel("% of the columns")
    return panels


def _draw_shares(axes: Axes, own: pd.DataFrame, whole: pd.Series, style: ClassStyle) -> None:
    share, low, high = (
        100 * own[name].to_numpy(dtype=float)
        for name in ("concentration", "wilson_low", "wilson_high")
    )
    at = np.arange(1, len(own) + 1)
    ink = mpl.rcParams["text.color"]
    axes.axhspan(100 * whole["wilson_low"], 100 * whole["wilson_high"], color=ink, alpha=0.15, lw=0)
    axes.axhline(100 * whole["concentration"], color=ink, linewidth=0.7)
    if np.isfinite(whole["images_low"]):
        for end in ("images_low", "images_high"):
            axes.axhline(100 * whole[end], color=ink, linewidth=0.7, linestyle=(0, (4, 3)))
    error = np.clip([share - low, high - share], 0.0, None)
    axes.errorbar(
        *(at, share, error),
        fmt=style.marker,
        color=style.colour,
        markerfacecolor="none",
        linewidth=0.8,
        markersize=3.5 if len(own) <= _MOST_IMAGES else 1.5,
    )
    # limits of a few images may be far away: what was counted decides
    top = float(np.nanmax([*high, 100 * whole["wilson_high"], 1e-3]))
    axes.set_ylim(0.0, 1.1 * top)
    axes.set_xlim(0.4, len(own) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("image" if len(own) > 1 else "")
    if np.isfinite(whole["dispersion_p"]):
        axes.annotate(
            f"p {_p(whole['dispersion_p'])}",
            (0.97, 0.03),
            xycoords="axes fraction",
            ha="right",
            va="bottom",
            fontsize=6.5,
        )


def _p(value: float) -> str:
    return f"= {value:.2g}" if value > 0.001 else "< .001"


@for_print
def pairs_figure(table: pd.DataFrame, class_names: Sequence[str]) -> Figure:
    """`draw_pairs` of all images together as a figure of its own."""
    count = len(_drawn_pairs(table, ALL_IMAGES))
    rows = max(-(-count // _columns(count)), 1)
    size = (chosen_width_inch(PAGE_INCH), 0.5 + 1.3 * rows)
    figure = Figure(figsize=size, layout="constrained")
    letter_titles(draw_pairs(figure, table, class_names))
    return figure


def _columns(count: int) -> int:
    return panels_across(5 if count > 8 else 4 if count > 3 else max(count, 1), PAGE_INCH)


def _drawn_pairs(table: pd.DataFrame, image: str) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    own = _last_of(table, image, ["class_a", "class_b", "shell"])
    groups = own.groupby(["class_a", "class_b"], sort=False)
    return [(pair, part) for pair, part in groups if (part["expected"] > _FEW).any()]


def _last_of(table: pd.DataFrame, image: str, keys: Sequence[str]) -> pd.DataFrame:
    """Rows of an image; those of all images come last, whatever images are called."""
    return table[table["image"] == image].drop_duplicates(list(keys), keep="last")


def draw_pairs(
    figure: Figure,
    table: pd.DataFrame,
    class_names: Sequence[str],
    image: str = ALL_IMAGES,
    columns: int | None = None,
) -> list[Axes]:
    """A panel a pair of classes: its pair correlation, and the envelope of random placements.

    Filled: outside the envelope. Crosses: by the probabilities of the classes.

    Parameters
    ----------
    figure : Figure
        Empty.
    table : DataFrame
        `DefectPatterns.pair_correlation`.
    class_names : sequence of str
        In the order of the roles.
    image : str
        Whose; all images together by default.
    columns : int, optional
        Panels in a row.
    """
    pairs = _drawn_pairs(table, image)
    if not pairs:
        figure.text(0.5, 0.5, "too few defects for pairs", ha="center", va="center")
        return []
    columns = columns or _columns(len(pairs))
    rows = -(-len(pairs) // columns)
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    panels: list[Axes] = list(grid.ravel())
    styles = {**class_styles(class_names), **_GROUP_STYLES}
    for axes, (pair, part) in zip(panels, pairs, strict=False):
        _draw_pair(axes, part, styles[pair[0]])
        axes.set_title(" – ".join(_SHORT.get(name, name) for name in pair), fontsize=7)
    for axes in panels[len(pairs) :]:
        axes.remove()
    for k in range(len(pairs)):
        if k % columns == 0:
            panels[k].set_ylabel("g")
        if k + columns >= len(pairs):
            panels[k].tick_params(labelbottom=True)
    ink = mpl.rcParams["axes.labelcolor"]
    figure.supxlabel("distance [a]", fontsize=mpl.rcParams["axes.labelsize"], color=ink)
    return panels[: len(pairs)]


def _draw_pair(axes: Axes, part: pd.DataFrame, style: ClassStyle) -> None:
    ink = mpl.rcParams["text.color"]
    at = part["distance_a"].to_numpy()
    g, low, high, corrected = (
        part[n].to_numpy(dtype=float) for n in ("g", "low", "high", "corrected")
    )
    outside = part["outside"].to_numpy(dtype=bool)
    axes.fill_between(at, low, high, color=ink, alpha=0.15, lw=0)
    axes.axhline(1.0, color=ink, linewidth=0.6)
    axes.plot(at, g, color=style.colour, linewidth=0.8)
    axes.plot(at, g, style.marker, color=style.colour, markerfacecolor="none", markersize=3.5)
    axes.plot(at[outside], g[outside], "o", color=_OUTSIDE, markersize=4.5)
    axes.plot(at, corrected, "x", color=ink, markersize=2.5, markeredgewidth=0.6)
    most = np.nanmax([np.nanmax(g), np.nanmedian(high), 1.5])
    axes.set_ylim(0.0, min(1.15 * float(most), _HIGHEST_G))
    axes.yaxis.set_major_locator(MaxNLocator(4))


@for_print
def clusters_figure(
    clusters: pd.DataFrame, nearest: pd.DataFrame, class_names: Sequence[str]
) -> Figure:
    """`draw_clusters` of all images together as a figure of its own."""
    rows, _ = grid_of(3, PAGE_INCH)
    figure = Figure(figsize=(chosen_width_inch(PAGE_INCH), 2.4 * rows), layout="constrained")
    letter_titles(draw_clusters(figure, clusters, nearest, class_names))
    return figure


def draw_clusters(
    figure: Figure,
    clusters: pd.DataFrame,
    nearest: pd.DataFrame,
    class_names: Sequence[str],
    image: str = ALL_IMAGES,
) -> list[Axes]:
    """Clusters of vacancies and of substituents beside random ones, and their nearest defects.

    Parameters
    ----------
    figure : Figure
        Empty.
    clusters, nearest : DataFrame
        Of `DefectPatterns`.
    class_names : sequence of str
        In the order of the roles.
    image : str
        Whose; all images together by default.
    """
    own = _last_of(clusters, image, ["class", "measure"])
    near = _last_of(nearest, image, ["class", "to", "shell"])
    rows, columns = grid_of(3, PAGE_INCH)
    ratios = (1.2, 1.2, 1) if columns == 3 else None
    panels = list(figure.subplots(rows, columns, width_ratios=ratios).flat)
    for axes, group in zip(panels, (ANY_VACANCY, ANY_SUBSTITUENT), strict=False):
        part = own[(own["class"] == group) & own["measure"].isin(_MEASURES)]
        _draw_counts(axes, part, _GROUP_STYLES[group])
        axes.set_title(_PLURAL[group], fontsize=7.5)
    panels[0].set_ylabel("clusters")
    styles = {**class_styles(class_names), **_GROUP_STYLES}
    for group, to in ((ANY_VACANCY, SAME), (ANY_SUBSTITUENT, SAME), (ANY_VACANCY, ANY_DEFECT)):
        part = near[(near["class"] == group) & (near["to"] == to)]
        if len(part):
            _draw_nearest(panels[2], part, styles[group], to)
    panels[2].set_xlabel("nearest within [a]")
    panels[2].set_ylabel("share")
    panels[2].set_ylim(0.0, 1.02)
    if panels[2].lines:
        panels[2].legend(fontsize=6, loc="lower right", handlelength=1.2, borderpad=0.1)
    return panels


def _draw_counts(axes: Axes, part: pd.DataFrame, style: ClassStyle) -> None:
    ink = mpl.rcParams["text.color"]
    at = np.arange(len(part))
    observed, expected, low, high = (
        part[n].to_numpy(dtype=float) for n in ("observed", "expected", "low", "high")
    )
    outside = part["outside"].to_numpy(dtype=bool)
    axes.bar(at, high - low, bottom=low, width=0.7, color=ink, alpha=0.15, lw=0)
    axes.hlines(expected, at - 0.35, at + 0.35, color=ink, linewidth=0.7)
    axes.plot(at, observed, style.marker, color=style.colour, markerfacecolor="none")
    axes.plot(at[outside], observed[outside], "o", color=_OUTSIDE, markersize=4.5)
    axes.set_yscale("symlog", linthresh=1.0)
    axes.set_ylim(0.0, 2.0 * max(float(np.max([*high, *observed, 1.0])), 2.0))
    axes.set_xticks(at, part["measure"], rotation=90, fontsize=6.5)
    axes.tick_params(axis="y", which="minor", left=False)


def _draw_nearest(axes: Axes, part: pd.DataFrame, style: ClassStyle, to: str) -> None:
    at = part["distance_a"].to_numpy()
    share, low, high = (part[n].to_numpy(dtype=float) for n in ("share", "low", "high"))
    name = _SHORT.get(part["class"].iloc[0], part["class"].iloc[0])
    line = "-" if to == SAME else ":"
    axes.fill_between(at, low, high, color=style.colour, alpha=0.15, lw=0)
    label = f"{name} – {name if to == SAME else 'any'}"
    axes.plot(at, share, line, color=style.colour, marker=style.marker, markersize=3, label=label)
