"""Figures of strain along a line, and against the smoothing length: results in, a `Figure` out.

Nothing is computed here but what drawing needs. Strain in per cent, tension positive, rotation in
10 mrad, counter-clockwise positive.
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
from ...units import PM_PER_NM
from .maps import _COMPONENT_LABEL

MODEL_COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00")


def profile_figure(profile: LineProfile, material: Material | None = None) -> Figure:
    """A line profile as a figure of its own (Fig. 5j)."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    draw_profile(figure.subplots(), profile, material)
    return figure


def draw_profile(axes: Axes, profile: LineProfile, material: Material | None = None) -> None:
    """Measurement with one standard error and the bootstrap's range, models, columns.

    Parameters
    ----------
    axes : Axes
    profile : LineProfile
    material : Material, optional
        Names the columns; without it they are metal and chalcogen.
    """
    factor, unit = (1.0, "pm") if profile.unit == "pm" else (100.0, map_unit(profile.component))
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
            color="#0072B2",
            alpha=0.15,
            linewidth=0,
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
    axes.set_xlabel(
        f"distance from the point nearest the defect, along ({start[0]:.0f}, {start[1]:.0f}) → "
        f"({end[0]:.0f}, {end[1]:.0f}) pm [nm]",
        fontsize=8,
    )
    label = _COMPONENT_LABEL.get(profile.component, f"$u_{profile.component[-1]}$")
    axes.set_ylabel(f"{label} [{unit}]")
    axes.legend(fontsize=7, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4)


def smoothing_figure(scan: SmoothingScan, components: Sequence[str] = ("dilation",)) -> Figure:
    """Extremes and root mean square of components against the smoothing length."""
    figure = Figure(figsize=(3.6 * len(components) + 0.4, 3.4), layout="constrained")
    panels = figure.subplots(1, len(components), squeeze=False)[0]
    for axes, component in zip(panels, components, strict=True):
        rows = (
            ("highest", scan.highest, scan.highest_sigma, "#D55E00"),
            ("lowest", scan.lowest, scan.lowest_sigma, "#0072B2"),
            ("rms", scan.rms, scan.rms_sigma, "#009E73"),
        )
        for name, value, sigma, colour in rows:
            axes.errorbar(
                scan.smoothing_pm,
                100.0 * value[component],
                100.0 * sigma[component],
                fmt="o-",
                markersize=3,
                linewidth=1,
                color=colour,
                label=name,
            )
        axes.plot(
            scan.smoothing_pm,
            100.0 * scan.noise_rms[component],
            ":",
            color="0.5",
            label="rms error",
        )
        axes.axhline(0.0, color=mpl.rcParams["text.color"], linewidth=0.5)
        axes.set_title(_COMPONENT_LABEL[component], fontsize=10)
        axes.set_xlabel("smoothing σ [pm]  (FWHM 2.35 σ)")
        axes.set_ylabel(f"{scan.class_name} [{map_unit(component)}]")
    panels[0].legend(fontsize=7, frameon=False)
    return figure


def map_unit(component: str) -> str:
    """Unit of a component of strain as it is drawn."""
    return "10⁻² rad" if component == "rotation" else "%"


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
