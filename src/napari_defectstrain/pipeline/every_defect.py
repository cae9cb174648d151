"""Measure averages of every defect, and hold them against those of isolated ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..averages.crowded import crowded_stacks
from ..averages.windows import WindowFrame
from ..crystal.overlaps import counted_columns
from ..materials import Material
from ..progress import subprogress
from ..types import ClassStack, IntArray, Progress, no_progress
from .class_measurement import measure_classes
from .runs import MIN_MEASURED, ClassMeasurement, RunResult

DISAGREE_SIGMA = 3.0
"""Standard errors of the difference from which crowded and isolated averages are said to differ."""


def measure_every_defect(found: RunResult, progress: Progress = no_progress) -> RunResult:
    """Add the crowded averages of a run, and what is to be said of them.

    Parameters
    ----------
    found : RunResult
        With the stacks and measurements of isolated defects, whose frame and whose groups of like
        images it takes over.
    progress : Progress

    Returns
    -------
    RunResult
        With `crowded_stacks` and `crowded`; without, and with a warning, where the images hold too
        few cells to solve for all classes at once.
    """
    config, reference = found.config, found.material.class_names[1]
    base = found.stacks[reference]
    average = config.average
    window = WindowFrame(base.a_pm, average.step_pm, average.window_nm)
    counted = counted_columns(found.images, found.sites, found.overlaps) or None
    solved = crowded_stacks(
        found.images,
        found.sites,
        window,
        average.min_probability,
        found.regions or None,
        found.overconfidence or None,
        counted,
        _groups(base, len(found.images)),
        subprogress(progress, 0.0, 0.4),
    )
    stacks = solved.stacks
    if reference not in stacks or stacks[reference].n < MIN_MEASURED:
        return replace(found, warnings=found.warnings + solved.warnings)
    measured = measure_classes(stacks, config, subprogress(progress, 0.4, 1.0))
    notes = _disagreements(found.measurements, measured, found.material)
    return replace(
        found,
        crowded_stacks=stacks,
        crowded=measured,
        warnings=found.warnings + solved.warnings + notes,
    )


def _groups(stack: ClassStack, n_images: int) -> IntArray | None:
    """Group of like probe width of each image, by its defect-free windows; 0 without any."""
    if stack.group is None:
        return None
    group = np.zeros(n_images, dtype=int)
    group[stack.image_index] = stack.group
    return group


def _disagreements(
    isolated: Mapping[str, ClassMeasurement],
    crowded: Mapping[str, ClassMeasurement],
    material: Material,
) -> tuple[str, ...]:
    """Classes whose two averages differ by more than chance: their errors count as independent."""
    notes = []
    for name in material.averaged_names:
        if name not in isolated or name not in crowded:
            continue
        one, other = isolated[name].spacing, crowded[name].spacing
        away = other.strain - one.strain
        error = float(np.hypot(one.strain_total_std, other.strain_total_std))
        if abs(away) > DISAGREE_SIGMA * error:
            notes.append(
                f"{name}: crowded and isolated averages differ by {100 * away:+.2f} ± "
                f"{100 * error:.2f} % of strain: trust the isolated one"
            )
    return tuple(notes)
