"""Displacement shell by shell beside the theories of it: the oscillation that elasticity lacks."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...pipeline.comparison import MEASURED, Comparison
from ...styles import chosen_width_inch, panels_across
from ...theory.field_symmetry import displacement_decay
from ...units import PM_PER_NM
from .files import PAGE_INCH, for_print
from .panels import close_layout, letter_panels
from .profiles import MODEL_COLOURS

_PANEL_INCH = 2.3


@for_print
def shells_figure(comparisons: Mapping[str, Comparison]) -> Figure:
    """Mean displacement away from the defect of every shell of columns, a panel a class.

    Shells with their standard errors; theories at the same columns, joined by lines that mean
    nothing between them.
    """
    columns = panels_across(min(len(comparisons), 2), PAGE_INCH)
    rows = -(-len(comparisons) // columns)
    size = (chosen_width_inch(PAGE_INCH), rows * _PANEL_INCH + 0.3)
    figure = Figure(figsize=size, layout=close_layout())
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, (name, comparison) in zip(panels.flat, comparisons.items(), strict=False):
        _draw(axes, comparison)
        axes.set_title(name)
    for axes in panels.flat[len(comparisons) :]:
        axes.set_axis_off()
    panels.flat[0].legend(fontsize="small", frameon=False)
    letter_panels((axes for axes in panels.flat if axes.axison), inside=False)
    figure.suptitle("mean displacement away from the defect, shell by shell")
    return figure


def _draw(axes: Axes, comparison: Comparison) -> None:
    found = displacement_decay(comparison.displacement[MEASURED])
    axes.axhline(0.0, color="0.7", linewidth=0.6)
    models = [name for name in comparison.displacement if name != MEASURED]
    for name, colour in zip(models, MODEL_COLOURS, strict=False):
        model = displacement_decay(comparison.displacement[name])
        axes.plot(
            model.radius_pm / PM_PER_NM,
            model.radial_pm,
            *(".--",),
            color=colour,
            linewidth=0.9,
            markersize=3,
            label=name,
        )
    axes.errorbar(
        found.radius_pm / PM_PER_NM,
        found.radial_pm,
        yerr=found.radial_sigma_pm,
        fmt="o",
        color="black",
        markersize=3,
        linewidth=0.8,
        label=MEASURED,
        zorder=5,
    )
    axes.set_xlabel("distance [nm]")
    axes.set_ylabel("outwards [pm]")
