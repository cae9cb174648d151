"""Measure class averages: spacings with their errors, displacement, strain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from ..averages.average import average_stack
from ..columns.averages.measure import ColumnMeasurement, measure_columns
from ..materials import get_material
from ..precision.bootstrap import bootstrap_classes
from ..precision.budget import ErrorBudget, error_budget
from ..precision.curve import precision_against_n, spacing_bound_pm
from ..precision.known_biases import KnownBias, without_known_biases
from ..precision.summary import single_window_spacings, summarise_spacings
from ..progress import subprogress
from ..strain.displacement import displacement_field
from ..strain.field import strain_field
from ..types import ClassStack, DefectStrainError, Progress, no_progress
from .runs import MIN_MEASURED, ClassMeasurement, RunConfig

Placing = Callable[[dict[str, ColumnMeasurement]], dict[str, ColumnMeasurement]]


def measure_spacings(
    stacks: Mapping[str, ClassStack],
    config: RunConfig,
    progress: Progress = no_progress,
    placed: Placing | None = None,
) -> dict[str, ClassMeasurement]:
    """Average each stack, fit its columns, and measure spacings with their errors.

    Parameters
    ----------
    stacks : mapping of class to ClassStack
        With the defect-free class, which everything is measured against.
    config : RunConfig
    progress : Progress
    placed : callable, optional
        Gives the fitted columns other places than the averages tell.

    Returns
    -------
    dict of class to ClassMeasurement
        In the order of the material's classes; those of fewer than `MIN_MEASURED` windows are left
        out: two windows can't tell a scatter, and one may be anything.
        Displacement and strain are None.

    Raises
    ------
    DefectStrainError
        If there are fewer defect-free windows than that.
    """
    reference = _reference_of(stacks, config)
    names = get_material(config.material).all_class_names
    stacks = {n: stacks[n] for n in names if n in stacks and stacks[n].n >= MIN_MEASURED}
    averages = {name: average_stack(stack) for name, stack in stacks.items()}
    found = measure_columns(stacks, averages, config.columns, subprogress(progress, 0.0, 0.7))
    if placed is not None:
        found = placed(found)
    columns, known = without_known_biases(
        found,
        averages,
        stacks,
        reference,
        config.budget.share_error,
        config.budget.correct,
    )
    _, parent = np.random.default_rng(config.seed).spawn(2)
    rng, subsets, permutations = parent.spawn(3)
    images = {name: stack.image_index[stack.included] for name, stack in stacks.items()}
    part = subprogress(progress, 0.7, 0.8)
    drawn = bootstrap_classes(columns, images, reference, rng, config.bootstrap, part)
    budgets = {}
    for done, name in enumerate(columns):
        progress(0.8 + 0.1 * done / len(columns), f"error budget of {name}")
        budgets[name] = _budget(name, columns, stacks, known[name], reference, config, permutations)
    spacings = summarise_spacings(columns, averages, reference, drawn, budgets)
    measured = {}
    bound = spacing_bound_pm(columns[reference].model)
    for done, (name, average) in enumerate(averages.items()):
        start = 0.9 + 0.1 * done / len(averages)
        curve = None
        if stacks[name].n_columns is None:  # bands of an image are no windows to count
            curve = precision_against_n(
                stacks[name],
                columns[name].fits,
                columns[name].influence_pm,
                subsets,
                own_structure=name != reference,
                progress=subprogress(progress, start, start + 0.1 / len(averages)),
            )
            if name == reference:
                curve = replace(curve, bound_p1_pm=bound)
        measured[name] = ClassMeasurement(
            average=average,
            fits=columns[name].fits,
            spacing=spacings[name],
            single_spacing_pm=single_window_spacings(columns[name]),
            precision=curve,
            columns=columns[name],
            bootstrap=drawn[name],
            budget=budgets[name],
        )
    progress(1.0, "measured")
    return measured


def _budget(
    name: str,
    columns: Mapping[str, ColumnMeasurement],
    stacks: Mapping[str, ClassStack],
    known: KnownBias,
    reference: str,
    config: RunConfig,
    rng: np.random.Generator,
) -> ErrorBudget:
    base = None if name == reference else reference
    return error_budget(
        columns[name],
        None if base is None else columns[base],
        stacks[name],
        None if base is None else stacks[base],
        known,
        config.budget,
        _asymmetry(name, columns, reference, config),
        rng,
    )


def _asymmetry(
    name: str, columns: Mapping[str, ColumnMeasurement], reference: str, config: RunConfig
) -> float:
    """How much more one atom of the central column scatters than the other, of both together."""
    role = get_material(config.material).role_of(name)
    if role == "V1":
        return 1.0
    if role != "XY":
        return 0.0
    whole, perfect = (
        float(c.fits.weight[np.argmin(np.hypot(*c.fits.site_pm.T))])
        for c in (columns[name], columns[reference])
    )
    return float(np.clip(abs(whole - perfect) / max(whole, 1e-6), 0.0, 1.0))


def measure_classes(
    stacks: Mapping[str, ClassStack],
    config: RunConfig,
    progress: Progress = no_progress,
    placed: Placing | None = None,
) -> dict[str, ClassMeasurement]:
    """Everything of `measure_spacings`, and displacement and strain of each defect class.

    Parameters
    ----------
    stacks : mapping of class to ClassStack
        With the defect-free class, which everything is measured against.
    config : RunConfig
    progress : Progress
    placed : callable, optional
        As in `measure_spacings`.

    Returns
    -------
    dict of class to ClassMeasurement
        In the order of the material's classes; those of fewer than `MIN_MEASURED` windows are left
        out: two windows can't tell a scatter, and one may be anything.

    Raises
    ------
    DefectStrainError
        If there are fewer defect-free windows than that.
    """
    measured = measure_spacings(stacks, config, subprogress(progress, 0.0, 0.8), placed)
    return add_strain(measured, config, subprogress(progress, 0.8, 1.0))


def add_strain(
    measured: Mapping[str, ClassMeasurement], config: RunConfig, progress: Progress = no_progress
) -> dict[str, ClassMeasurement]:
    """The second half of `measure_classes`: displacement and strain of what was fitted.

    Parameters
    ----------
    measured : mapping of class to ClassMeasurement
        From `measure_spacings`; not changed.
    config : RunConfig
    progress : Progress
    """
    reference = get_material(config.material).class_names[1]
    base = measured[reference].fits
    found = dict(measured)
    for done, (name, one) in enumerate(measured.items()):
        progress(done / len(measured), f"strain of {name}")
        if name == reference:
            continue
        displacement = displacement_field(one.fits, base)
        strain = strain_field(displacement, config.strain)
        found[name] = replace(one, displacement=displacement, strain=strain)
    progress(1.0, "measured")
    return found


def _reference_of(stacks: Mapping[str, ClassStack], config: RunConfig) -> str:
    """Name of the defect-free class, of which there must be a window."""
    reference = get_material(config.material).class_names[1]
    n = stacks[reference].n if reference in stacks else 0
    if n < MIN_MEASURED:
        raise DefectStrainError(
            f"measuring: got {n or 'no'} window{'s' * (n > 1)} of {reference}, expected at least "
            f"{MIN_MEASURED} of the defect-free class that the others are measured against; "
            "average some defect-free windows"
        )
    return reference
