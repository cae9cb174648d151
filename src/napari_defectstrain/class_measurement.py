"""Measure class averages: spacings with their errors, displacement, strain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .average import average_stack
from .columns import measure_columns
from .displacement import displacement_field
from .loading import subprogress
from .materials import get_material
from .precision import precision_against_n, single_window_spacings, spacing_results
from .runs import ClassMeasurement, RunConfig
from .strain import strain_field
from .types import ClassStack, DefectStrainError, Progress, no_progress

PRECISION_SUBSETS = 20
"""Random subsets of windows for each point of precision against N."""


def measure_spacings(
    stacks: Mapping[str, ClassStack], config: RunConfig, progress: Progress = no_progress
) -> dict[str, ClassMeasurement]:
    """Average each stack, fit its columns, and measure spacings with their errors.

    Parameters
    ----------
    stacks : mapping of class to ClassStack
        With the defect-free class, which everything is measured against.
    config : RunConfig
    progress : Progress

    Returns
    -------
    dict of class to ClassMeasurement
        In the order of the material's classes; classes without a window are left out.
        Displacement and strain are None.

    Raises
    ------
    DefectStrainError
        If there is no defect-free window.
    """
    reference = _reference_of(stacks, config)
    averages = {name: average_stack(stack) for name, stack in stacks.items() if stack.n}
    columns = measure_columns(stacks, averages, config.columns, subprogress(progress, 0.0, 0.6))
    _, parent = np.random.default_rng(config.seed).spawn(2)
    rng, subsets = parent.spawn(2)
    part = subprogress(progress, 0.6, 0.8)
    spacings = spacing_results(columns, averages, reference, rng, config.bootstrap, part)
    curve = precision_against_n(
        stacks[reference],
        columns[reference].model,
        subsets,
        n_subsets=PRECISION_SUBSETS,
        progress=subprogress(progress, 0.8, 1.0),
    )
    progress(1.0, "measured")
    return {
        name: ClassMeasurement(
            average=average,
            fits=columns[name].fits,
            spacing=spacings[name],
            single_spacing_pm=single_window_spacings(columns[name]),
            precision=curve if name == reference else None,
            columns=columns[name],
        )
        for name, average in averages.items()
    }


def measure_classes(
    stacks: Mapping[str, ClassStack], config: RunConfig, progress: Progress = no_progress
) -> dict[str, ClassMeasurement]:
    """Everything of `measure_spacings`, and displacement and strain of each defect class.

    Parameters
    ----------
    stacks : mapping of class to ClassStack
        With the defect-free class, which everything is measured against.
    config : RunConfig
    progress : Progress

    Returns
    -------
    dict of class to ClassMeasurement
        In the order of the material's classes; classes without a window are left out.

    Raises
    ------
    DefectStrainError
        If there is no defect-free window.
    """
    reference = _reference_of(stacks, config)
    measured = measure_spacings(stacks, config, subprogress(progress, 0.0, 0.8))
    base = measured[reference].fits
    for done, (name, found) in enumerate(measured.items()):
        progress(0.8 + 0.2 * done / len(measured), f"strain of {name}")
        if name == reference:
            continue
        displacement = displacement_field(found.fits, base)
        strain = strain_field(displacement, config.strain)
        measured[name] = replace(found, displacement=displacement, strain=strain)
    progress(1.0, "measured")
    return measured


def _reference_of(stacks: Mapping[str, ClassStack], config: RunConfig) -> str:
    """Name of the defect-free class, of which there must be a window."""
    reference = get_material(config.material).class_names[1]
    if reference not in stacks or stacks[reference].n == 0:
        raise DefectStrainError(
            f"measuring: got no window of {reference}, expected the defect-free class that the "
            "others are measured against; average some defect-free windows"
        )
    return reference
