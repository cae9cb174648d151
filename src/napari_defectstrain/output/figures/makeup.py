"""What classes are made of: windows by weight and triangle, components, half-sets.

Drawn into axes, for figures and for widgets alike.
"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Ellipse

from ...materials import Material
from ...precision.makeup import ClassMakeup
from ...precision.variability import Component
from ...styles import class_styles, panels_across
from ...types import FloatArray
from .files import PAGE_INCH, for_print
from .panels import in_columns, is_narrow, letter_titles

_ELLIPSE_SIGMA = 2.0
_PERCENTILES = (0.5, 99.5)


def shown_makeups(makeups: Mapping[str, ClassMakeup]) -> dict[str, ClassMakeup]:
    """Those whose populations were asked for."""
    return {n: m for n, m in makeups.items() if m.populations is not None}


@for_print
def populations_figure(makeups: Mapping[str, ClassMakeup], material: Material) -> Figure:
    """A panel a class: its windows by weight and triangle, and the populations among them."""
    shown = shown_makeups(makeups)
    columns = panels_across(min(max(len(shown), 1), 4), PAGE_INCH)
    rows = -(-len(shown) // columns)
    own = max(PAGE_INCH * min(columns, 4) / 4, 0.5 * PAGE_INCH)
    size = (in_columns(own), 2.7 * rows)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, makeup) in zip(panels, shown.items(), strict=False):
        draw_populations(axes, name, makeup, material)
    for axes in panels[len(shown) :]:
        axes.remove()
    letter_titles(panels[: len(shown)])
    return figure


def draw_populations(
    axes: Axes, name: str, makeup: ClassMakeup, material: Material, in_words: bool = True
) -> None:
    """One class: each window's triangle against its centre's weight, and what the noise is.

    Solid: two standard deviations of the noise around each population found. Dotted: the spacing
    of the defect-free lattice. In words, if asked: the result.
    """
    quantities, found = makeup.quantities, makeup.populations
    assert quantities is not None and found is not None
    ink = mpl.rcParams["text.color"]
    value = quantities.value
    spacing = quantities.spacing_pm
    colour = class_styles(material.all_class_names)[name].colour
    axes.plot(value[:, 0], spacing + value[:, 1], ".", ms=2.5, color=colour, alpha=0.6)
    width, height, angle = _ellipse(quantities.noise[:, :2], found.noise_scale)
    for part in found.populations:
        x, y = part.value
        place = (float(x), spacing + float(y))
        axes.add_patch(Ellipse(place, width, height, angle=angle, fill=False, color=ink, lw=1))
    axes.axhline(spacing + quantities.undistorted[1], color=ink, ls=":", lw=0.9)
    axes.set_xlabel(f"weight − mean [{material.metal}]")
    axes.set_ylabel(f"{material.metal}–{material.metal} [pm]")
    if in_words:
        axes.set_title(_wrapped(f"{name}: {makeup.in_words}"), fontsize=6.5, loc="left")
    ends = np.percentile(value[:, 0], _PERCENTILES)
    axes.set_xlim(ends[0] - 0.2 * np.ptp(ends), ends[1] + 0.2 * np.ptp(ends))


def _ellipse(noise: FloatArray, scale: float) -> tuple[float, float, float]:
    """Full axes and angle [degrees] of two standard deviations of the noise."""
    value, vector = np.linalg.eigh(np.cov(noise.T))
    width, height = 2.0 * _ELLIPSE_SIGMA * scale * np.sqrt(np.maximum(value, 0.0))
    angle = float(np.rad2deg(np.arctan2(vector[1, 0], vector[0, 0])))
    return float(width), float(height), angle


def _wrapped(text: str, most: int = 24) -> str:
    lines = [""]
    text = text.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
    for word in text.replace(" %", "\N{NO-BREAK SPACE}%").replace("-", "−").split(" "):
        if len(lines[-1]) + len(word) > most:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


@for_print
def variability_figure(makeups: Mapping[str, ClassMakeup]) -> Figure:
    """A row a class: its windows' first components, with what of their variance is noise."""
    shown = {n: m.components for n, m in makeups.items() if m.components}
    rows, columns = len(shown), max((len(c) for c in shown.values()), default=1)
    own = 1.7 * columns + 0.4
    width = in_columns(own)
    high = (1.5 * width / own + 0.4) * max(rows, 1)
    figure = Figure(figsize=(width, high), layout="constrained")
    panels = figure.subplots(max(rows, 1), columns, squeeze=False)
    for row, (name, components) in zip(panels, shown.items(), strict=False):
        row[0].set_ylabel(name)
        for k, axes in enumerate(row):
            draw_component(axes, components[k], k + 1)
    letter_titles(panels.flat)
    return figure


def draw_component(axes: Axes, component: Component, number: int) -> None:
    """One component as a picture, its number, share and kind above it."""
    picture = component.picture
    inside = np.flatnonzero(np.isfinite(picture).any(axis=1))
    cut = picture[inside[0] : inside[-1] + 1, inside[0] : inside[-1] + 1]
    limit = float(np.nanmax(np.abs(cut))) or 1.0
    axes.imshow(cut, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set_xticks([])
    axes.set_yticks([])
    said = f"{number}: {100 * component.share:.1f} % of variance,\n{component.kind}"
    axes.set_title(said, fontsize=7)


@for_print
def halves_figure(makeups: Mapping[str, ClassMakeup], material: Material) -> Figure:
    """`draw_halves` as a figure of its own."""
    width = in_columns(PAGE_INCH)
    figure = Figure(figsize=(width, 2.8), layout="constrained")
    draw_halves(figure.subplots(), makeups, material)
    if is_narrow(width) and (legend := figure.axes[0].get_legend()) is not None:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        legend.remove()  # it would cover the curves
        figure.legend(handles, labels, loc="outside lower center")
    return figure


def draw_halves(axes: Axes, makeups: Mapping[str, ClassMakeup], material: Material) -> None:
    """Ring correlation of the averages of two halves of each class; in words strain and pull."""
    styles = class_styles(material.all_class_names)
    for name, makeup in makeups.items():
        halves = makeup.halves
        if halves is None:
            continue
        label = f"{name}: {halves.n[0]} + {halves.n[1]}"
        if np.isfinite(halves.pull):
            one, other = (100 * s for s in halves.strain)
            label += f", {one:+.2f} and {other:+.2f} %, pull {halves.pull:+.1f}"
        label += "" if halves.by_image else " (by window)"
        style = styles[name]
        axes.plot(
            1e3 * halves.frequency_per_pm,
            halves.correlation,
            color=style.colour,
            lw=1.1,
            label=label.replace("-", "−"),
        )
    axes.axhline(0.5, color=mpl.rcParams["text.color"], lw=0.8, ls=":")
    axes.set_xlabel("spatial frequency [1/nm]")
    axes.set_ylabel("ring correlation")
    axes.set_ylim(-0.3, 1.05)
    if axes.lines:
        axes.legend(fontsize=7, frameon=False)


def draw_makeup(
    figure: Figure | SubFigure, name: str, makeup: ClassMakeup, material: Material
) -> None:
    """One class in a row: its windows, its components, its halves."""
    count = len(makeup.components)
    ratios = [1.6] * (makeup.populations is not None) + [0.8] * count + [1.6]
    panels = list(figure.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)[0])
    if makeup.populations is not None:
        draw_populations(panels.pop(0), name, makeup, material, in_words=False)
    for k, component in enumerate(makeup.components):
        draw_component(panels.pop(0), component, k + 1)
    draw_halves(panels.pop(0), {name: makeup}, material)
