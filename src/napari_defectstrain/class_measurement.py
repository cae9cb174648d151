"""Measure class averages: spacings with their errors, displacement, strain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .average import average_stack
from .bootstrap import bootstrap_classes
from .budget import ErrorBudget, KnownBias, error_budget
from .columns import ColumnMeasurement, measure_columns
from .displacement import displacement_field
from .loading import subprogress
from .materials import ROLES, get_material
from .precision import single_window_spacings, summarise_spacings
from .precision_curve import precision_against_n
from .purity import unmix_positions
from .runs import ClassMeasurement, RunConfig
from .strain import strain_field
from .superposition import neighbour_contribution
from .symmetry import symmetrise_displacement
from .types import (
    ClassAverage,
    ClassStack,
    DefectStrainError,
    DisplacementField,
    FloatArray,
    Progress,
    no_progress,
)

NEIGHBOUR_ROUNDS = 4
"""What the neighbours add follows from the fields of the classes, which hold it themselves."""


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
    stacks = {name: stack for name, stack in stacks.items() if stack.n}
    averages = {name: average_stack(stack) for name, stack in stacks.items()}
    found = measure_columns(stacks, averages, config.columns, subprogress(progress, 0.0, 0.7))
    columns, known = _without_known_biases(found, averages, stacks, reference, config)
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
    for done, (name, average) in enumerate(averages.items()):
        start = 0.9 + 0.1 * done / len(averages)
        curve = precision_against_n(
            stacks[name],
            columns[name].fits,
            columns[name].influence_pm,
            subsets,
            own_structure=name != reference,
            progress=subprogress(progress, start, start + 0.1 / len(averages)),
        )
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


def _without_known_biases(
    columns: Mapping[str, ColumnMeasurement],
    averages: Mapping[str, ClassAverage],
    stacks: Mapping[str, ClassStack],
    reference: str,
    config: RunConfig,
) -> tuple[dict[str, ColumnMeasurement], dict[str, KnownBias]]:
    """Columns less what impurity and neighbours are known to add, and how much that is."""
    base = columns[reference]
    position = {name: c.fits.position_pm for name, c in columns.items()}
    weight = {name: c.fits.weight for name, c in columns.items()}
    shares = {name: dict(average.contaminants) for name, average in averages.items()}
    mixed = unmix_positions(position, weight, shares)
    pure = {name: _moved(c, mixed[name]) for name, c in columns.items()}
    nothing = np.zeros_like(base.fits.site_pm)
    added = dict.fromkeys(columns, (nothing, nothing))  # by the neighbours
    for _ in range(NEIGHBOUR_ROUNDS):
        # symmetric, as a defect's own field is: a sum over many neighbours adds up their errors
        fields = {
            name: symmetrise_displacement(
                displacement_field(_moved(c, added[name][1]).fits, pure[reference].fits)
            ).symmetric
            for name, c in pure.items()
            if name != reference
        }
        added = {name: _neighbours(name, stacks, fields, pure[name], reference) for name in pure}
    corrected, known = {}, {}
    for name, c in pure.items():
        sigma = _impurity_error(name, position, averages, reference, config.budget.share_error)
        known[name] = KnownBias(mixed[name], sigma, *added[name], config.budget.correct)
        corrected[name] = _moved(c, added[name][0]) if config.budget.correct else columns[name]
    return corrected, known


def _moved(measurement: ColumnMeasurement, bias_pm: FloatArray) -> ColumnMeasurement:
    """The same with a bias subtracted from all positions."""
    return replace(
        measurement,
        fits=replace(measurement.fits, position_pm=measurement.fits.position_pm - bias_pm),
        check_position_pm=measurement.check_position_pm - bias_pm,
        alternatives={
            name: replace(other, position_pm=other.position_pm - bias_pm)
            for name, other in measurement.alternatives.items()
        },
    )


def _neighbours(
    name: str,
    stacks: Mapping[str, ClassStack],
    fields: Mapping[str, DisplacementField],
    columns: ColumnMeasurement,
    reference: str,
) -> tuple[FloatArray, FloatArray]:
    """What the neighbours add to the positions of a class, and to its displacements, `(M, 2)`.

    Of the reference, whose displacements are none, both are the same. Zero where the neighbours
    aren't known. A common shift is what registration takes out.
    """
    stack, base = stacks[name], stacks[reference]
    site, is_metal = columns.fits.site_pm, columns.fits.is_metal
    if stack.neighbours is None or base.neighbours is None:
        return np.zeros_like(site), np.zeros_like(site)
    found = neighbour_contribution(stack, base, fields, site, is_metal)
    own = found.own_pm - found.own_pm.mean(axis=0)
    return own, own if name == reference else found.u_pm


def _impurity_error(
    name: str,
    position_pm: Mapping[str, FloatArray],
    averages: Mapping[str, ClassAverage],
    reference: str,
    share_error: float,
) -> FloatArray:
    """Error of the shift by windows of other classes, `(M, 2)` [pm].

    How many there are scatters by sqrt(share / N), and the share itself is uncertain. Where only
    the purity is known, not the contaminants, the shift is anything up to that by defect-free
    windows or as much the other way: a rectangular distribution (JCGM 100:2008, 4.3.7).
    """
    average, own = averages[name], position_pm[name]
    if not average.contaminants:
        shift = np.nan_to_num(own - position_pm[reference])
        return np.asarray(np.abs(max(1.0 - average.purity, 0.0) * shift) / np.sqrt(3.0))
    variance = np.zeros_like(own)
    for other, share in average.contaminants.items():
        if other in position_pm:
            difference = np.nan_to_num(position_pm[other] - own)
            variance += difference**2 * (share / average.n + (share_error * share) ** 2)
    return np.asarray(np.sqrt(variance))


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
    role = ROLES[get_material(config.material).class_names.index(name)]
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
