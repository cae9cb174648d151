"""Which figures a run has of what was measured, and what each of them is drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..pipeline.comparison import MEASURED, Comparison
from ..pipeline.runs import RunResult
from ..types import ClassStack
from .makeup import makeups

if TYPE_CHECKING:  # matplotlib: only where something is drawn
    from .figures.drawing import Drawing


def measurement_figures(result: RunResult) -> list[Drawing]:
    """Figures of what was measured; none needs operators, or more than a window a class."""
    from .figures import makeup as figures_makeup
    from .figures import maps as figures
    from .figures import precision as figures_precision
    from .figures import spacings as figures_spacings
    from .figures import strain as figures_strain
    from .figures.drawing import Drawing

    measured, material = result.measurements, result.material
    displacements = {n: m.displacement for n, m in measured.items() if m.displacement is not None}
    strains = {n: m.strain for n, m in measured.items() if m.strain is not None}
    averages = {n: m.average for n, m in measured.items()} | result.unmeasured
    shown = {name: _first_window(result.stacks[name]) for name in averages}
    drawn = [Drawing.of("averages", figures.averages_figure, shown, averages)]
    if all(result.stacks[name].n_columns is None for name in measured):
        single = {n: m.single_spacing_pm.ravel() for n, m in measured.items()}
        spacings = {n: m.spacing for n, m in measured.items()}
        histograms = figures_precision.spacing_figure
        drawn.append(Drawing.of("spacings", histograms, single, spacings, material))
        by_class = figures_spacings.precision_rows_figure
        slim = {n: replace(m, columns=None, strain=None) for n, m in measured.items()}
        drawn.append(Drawing.of("precision_by_class", by_class, slim, material))
    reference = material.class_names[1]
    curve = measured[reference].precision
    if curve is not None:
        precision = figures_precision.precision_figure
        drawn.append(Drawing.of("precision", precision, curve, reference))
    if budgets := {n: m.budget for n, m in measured.items() if m.budget is not None}:
        drawn.append(Drawing.of("budget", figures_precision.budget_figure, budgets, material))
    made = makeups(result)
    if figures_makeup.shown_makeups(made):
        parts = figures_makeup.populations_figure
        drawn.append(Drawing.of("class_parts", parts, made, material))
    if any(m.components for m in made.values()):
        drawn.append(Drawing.of("variability", figures_makeup.variability_figure, made))
    if any(m.halves for m in made.values()):
        halves = figures_makeup.halves_figure
        drawn.append(Drawing.of("half_sets", halves, made, material))
    if displacements:
        arrows = figures_strain.displacement_figure
        drawn.append(Drawing.of("displacement", arrows, averages, displacements, strains))
    for name, strain in strains.items():
        maps = figures_strain.strain_figure
        drawn.append(Drawing.of(f"strain_{name}", maps, strain, displacements[name]))
    return drawn


def theory_figures(found: Mapping[str, Comparison]) -> list[Drawing]:
    """Figures of some classes beside theories; none without any."""
    if not found:
        return []
    from .figures import strain as figures_strain
    from .figures import theory as figures_theory
    from .figures.drawing import Drawing

    drawn = [Drawing.of("theory", figures_theory.shells_figure, found)]
    for name, comparison in found.items():
        maps = (comparison.strain, comparison.displacement[MEASURED])
        drawn.append(Drawing.of(f"theory_{name}", figures_strain.comparison_figure, *maps))
    return drawn


def _first_window(stack: ClassStack) -> ClassStack:
    """A stack with no window but the first that counts: a hundred megabytes less to send."""
    first = np.flatnonzero(stack.included)[:1]
    return replace(
        stack, windows=np.array(stack.windows[first]), included=np.ones(len(first), bool)
    )
