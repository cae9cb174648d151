"""Figures of strain along a line, and against the smoothing length: results in, a `Figure` out.

Nothing is computed here but what drawing needs. Strain in per cent, tension positive, rotation in
mrad, counter-clockwise positive.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...materials import Material
from ...strain.bands import SmoothingScan
from ...strain.lines import LineProfile
from ...units import PM_PER_NM, shown_strain_unit
from .files import COLUMN_INCH, PAGE_INCH, for_print
from .panels import COMPONENT_LABEL, letter_panels

MODEL_COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00")


@for_print
def profile_figure(profile: LineProfile, material: Material | None = None) -> Figure:
    """A line profile as a figure of its own (Fig. 5j)."""
    figure = Figure(figsize=(COLUMN_INCH, 2.7), layout="constrained")
    draw_profile(figure.subplots(), profile, material, legend_columns=2)
    return figure


def draw_profile(
    axes: Axes, profile: LineProfile, material: Material | None = None, legend_columns: int = 4
) -> None:
    """Measurement with one standard error and the bootstrap's range, models, columns.

    Parameters
    ----------
    axes : Axes
    profile : LineProfile
    material : Material, optional
        Names the columns; without it they are metal and chalcogen.
    legend_columns : int
        Entries in a row of the legend, which stands above the axes.
    """
    factor, unit = (1.0, "pm") if profile.unit == "pm" else shown_strain_unit(profile.component)
    x, value, sigma = (
        profile.position_pm / PM_PER_NM,
        factor * profile.value,
        factor * profile.sigma,
    )
    ink = mpl.rcParams["text.color"]
    axes.axhline(0.0, color=ink, linewidth=0.5, alpha=0.5)
    if profile.low is not None and profile.high is not None:
        axes.fill_between(
            x,
            factor * profile.low,
            factor * profile.high,
            facecolor=("#0072B2", 0.15),
            edgecolor=("#0072B2", 0.6),  # it is often hardly wider than the band within
            linewidth=0.6,
            label="full range of the bootstrap",
        )
    axes.fill_between(
        x, value - sigma, value + sigma, color="#0072B2", alpha=0.4, linewidth=0, label="±1 σ"
    )
    axes.plot(x, value, color="#0072B2", linewidth=1.6, label="measured")
    for (name, curve), colour in zip(profile.models.items(), MODEL_COLOURS, strict=False):
        agreement = profile.agreements.get(name)
        text = "" if agreement is None else f" (p = {_probability(agreement.p_value)})"
        axes.plot(x, factor * curve, "--", color=colour, linewidth=1.3, label=name + text)
    _mark_columns(axes, profile, material, ink)
    start, end = profile.point_pm[0], profile.point_pm[-1]
    axes.set_xlim(x[0], x[-1])
    ends = [f"({x:.2f}, {y:.2f})" for x, y in np.array((start, end)) / PM_PER_NM + 0.0]
    label = f"position [nm], from {ends[0]} to {ends[1]}"
    axes.set_xlabel(label.replace("-", "−"))
    label = COMPONENT_LABEL.get(profile.component, f"$u_{profile.component[-1]}$")
    axes.set_ylabel(f"{label} [{unit}]")
    axes.legend(
        fontsize=7,
        frameon=False,
        loc="lower right",  # of two columns it reaches over the axis' label
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.2,
        ncols=legend_columns,
        handlelength=1.5,
        columnspacing=1.2,
        labelspacing=0.3,
    )


@for_print
def smoothing_figure(scan: SmoothingScan, components: Sequence[str] = ("dilation",)) -> Figure:
    """Extremes and root mean square of components against the smoothing length."""
    columns = min(3, len(components))
    rows = -(-len(components) // columns)
    width = PAGE_INCH if columns > 1 else COLUMN_INCH
    figure = Figure(figsize=(width, 0.2 + 1.9 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    panels = list(grid.flat[: len(components)])
    for axes in grid.flat[len(components) :]:
        axes.remove()
    for axes, component in zip(panels, components, strict=True):
        factor, unit = shown_strain_unit(component)
        measures = (
            ("highest", scan.highest, scan.highest_sigma, "#D55E00", "^"),
            ("lowest", scan.lowest, scan.lowest_sigma, "#0072B2", "v"),
            ("rms", scan.rms, scan.rms_sigma, "#009E73", "o"),
        )
        for name, value, sigma, colour, marker in measures:
            axes.errorbar(
                scan.smoothing_pm,
                factor * value[component],
                factor * sigma[component],
                fmt=f"{marker}-",
                markersize=3,
                color=colour,
                label=name,
            )
        noise = factor * scan.noise_rms[component]
        axes.plot(scan.smoothing_pm, noise, ":", color="0.4", label="rms error")
        axes.axhline(0.0, color=mpl.rcParams["text.color"], linewidth=0.5)
        axes.set_title(COMPONENT_LABEL[component])
        axes.set_xlabel("smoothing σ [pm]  (FWHM 2.35 σ)")
        axes.set_ylabel(f"{scan.class_name} [{unit}]")
    panels[0].legend()
    if len(panels) > 1:
        letter_panels(panels, inside=False)
    return figure


def _mark_columns(axes: Axes, profile: LineProfile, material: Material | None, ink: str) -> None:
    """The columns that the line crosses, along the lower edge."""
    names = ("metal", "chalcogen") if material is None else (material.metal, material.chalcogen)
    low, high = axes.get_ylim()
    base = low - 0.06 * (high - low)
    for is_metal, name, face in ((True, names[0], ink), (False, names[1], "none")):
        chosen = profile.columns.is_metal == is_metal
        x = profile.columns.position_pm[chosen] / PM_PER_NM
        axes.plot(
            x, np.full(len(x), base), "o", color=ink, mfc=face, markersize=5, mew=0.8, label=name
        )
    axes.set_ylim(low - 0.12 * (high - low), high)


def _probability(p: float) -> str:
    return f"{p:.2f}" if p >= 0.01 else (f"{p:.0e}" if p > 1e-99 else "0")
