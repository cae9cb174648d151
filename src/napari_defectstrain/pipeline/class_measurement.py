"""Measure class averages: spacings with their errors, displacement, strain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from ..averages.average import NoReferenceError, average_stack
from ..averages.parts import split_stack
from ..columns.averages.measure import ColumnMeasurement, measure_columns
from ..materials import get_material, whole_class
from ..precision.bootstrap import bootstrap_classes
from ..precision.budget import ErrorBudget, error_budget
from ..precision.curve import precision_against_n, spacing_bound_pm
from ..precision.known_biases import KnownBias, without_known_biases
from ..precision.makeup import ClassMakeup, class_makeups, populations_of
from ..precision.summary import single_window_spacings, summarise_spacings
from ..precision.two_populations import TwoPopulations
from ..progress import (
    are_there_helpers,
    asked_of_helpers,
    in_this_thread,
    shared_out,
    subprogress,
)
from ..strain.displacement import displacement_field
from ..strain.field import strain_field
from ..types import ClassAverage, ClassStack, DefectStrainError, Progress, no_progress
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
        In the order of the material's classes, those on metal sites last, with the metal as their
        own reference; those of fewer than `MIN_MEASURED` windows are left out: two windows can't
        tell a scatter, and one may be anything.
        Displacement and strain are None.

    Raises
    ------
    DefectStrainError
        If there are fewer defect-free windows than that.
    """
    material = get_material(config.material)
    _check_reference(stacks, config)
    _, rng = np.random.default_rng(config.seed).spawn(2)
    counted = {
        n: stacks[n].in_content_order()
        for n in material.in_order(stacks)
        if stacks[n].n >= MIN_MEASURED
    }
    families = {
        reference: {n: s for n, s in counted.items() if material.reference_of(n) == reference}
        for reference in material.references
    }
    # metals alone, or classes on their sites without them, tell nothing
    families = {
        reference: family
        for reference, family in families.items()
        if reference in family and (reference != material.metal or len(family) > 1)
    }
    measured: dict[str, ClassMeasurement] = {}
    for done, (reference, family) in enumerate(families.items()):
        part = subprogress(progress, done / len(families), (done + 1) / len(families))
        measured |= _measure_family(family, reference, config, rng, part, placed)
    progress(1.0, "measured")
    return measured


def _measure_family(
    stacks: Mapping[str, ClassStack],
    reference: str,
    config: RunConfig,
    parent: np.random.Generator,
    progress: Progress,
    placed: Placing | None,
) -> dict[str, ClassMeasurement]:
    """Classes on sites of one sublattice, against the perfect columns of these sites."""
    averages = {name: average_stack(stack) for name, stack in stacks.items()}
    part = subprogress(progress, 0.0, 0.7)
    # where columns get other places, nothing asks how well these are known
    needed = placed is None
    found = measure_columns(stacks, averages, config.columns, part, check=needed, respond=needed)
    if placed is not None:
        found = placed(found)
        averages = {name: averages[name] for name in found}
    columns, known = without_known_biases(
        found,
        averages,
        stacks,
        reference,
        config.budget.share_error,
        config.budget.correct,
    )
    draws = dict(
        zip(("samples", "subsets", "permutations", "makeups"), parent.spawn(4), strict=True)
    )

    progress(0.7, "how windows vary")
    makeups = _makeups(columns, stacks, averages, reference, config)
    asked = {n: m.quantities.sample for n, m in makeups.items() if m.quantities is not None}
    told = in_this_thread(progress)

    def with_errors() -> dict[str, ClassMeasurement]:
        part = subprogress(told, 0.8, 0.9)
        return _with_errors(columns, averages, stacks, known, reference, config, draws, part)

    def populations() -> dict[str, TwoPopulations | None]:
        part = subprogress(told, 0.9, 1.0)
        return populations_of(asked, config.makeup, draws["makeups"], part)

    # neither asks the other: on two cores at once
    if asked and are_there_helpers():
        others = asked_of_helpers(populations_of, asked, config.makeup, draws["makeups"])
        measured, told_apart = with_errors(), others.result()
    else:
        jobs: tuple[Callable[[], Any], ...] = (with_errors, populations)
        measured, told_apart = shared_out(lambda job: job(), jobs)
    for name in asked:
        # scatter between images is that of the class, whose populations are the cause of it
        budget = measured[name].budget
        parts = {} if budget is None else budget.strain_parts
        alike = [parts.get(part, 0.0) for part in ("model", "profile")]
        systematic = float(np.sqrt(np.nansum(np.square(alike))))
        makeups[name] = replace(makeups[name], populations=told_apart[name], systematic=systematic)
    return {
        name: replace(
            one,
            columns=columns[name].without_operators_of_parts(),
            makeup=makeups.get(name),
        )
        for name, one in measured.items()
    }


def _with_errors(
    columns: Mapping[str, ColumnMeasurement],
    averages: Mapping[str, ClassAverage],
    stacks: Mapping[str, ClassStack],
    known: Mapping[str, KnownBias],
    reference: str,
    config: RunConfig,
    draws: Mapping[str, np.random.Generator],
    progress: Progress,
) -> dict[str, ClassMeasurement]:
    """Measured columns with the errors of their spacings; not what classes are made of."""
    images = {name: stack.image_index[stack.included] for name, stack in stacks.items()}
    rng, part = draws["samples"], subprogress(progress, 0.0, 0.5)
    drawn = bootstrap_classes(columns, images, reference, rng, config.bootstrap, part)
    rng, budgets = draws["permutations"], {}
    for done, name in enumerate(columns):
        progress(0.5 + 0.25 * done / len(columns), f"error budget of {name}")
        budgets[name] = _budget(name, columns, stacks, known[name], reference, config, rng)
    spacings = summarise_spacings(columns, averages, reference, drawn, budgets)
    measured = {}
    bound = spacing_bound_pm(columns[reference].model)
    for done, (name, average) in enumerate(averages.items()):
        start, step = 0.75 + 0.25 * done / len(averages), 0.25 / len(averages)
        curve = None
        if stacks[name].n_columns is None:  # bands of an image are no windows to count
            curve = precision_against_n(
                stacks[name],
                columns[name].fits,
                columns[name].influence_pm,
                draws["subsets"],
                own_structure=name != reference,
                progress=subprogress(progress, start, start + step),
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
    return measured


def _makeups(
    columns: Mapping[str, ColumnMeasurement],
    stacks: Mapping[str, ClassStack],
    averages: Mapping[str, ClassAverage],
    reference: str,
    config: RunConfig,
) -> dict[str, ClassMakeup]:
    """What classes are made of; not asked of parts of classes, nor of averages of every defect."""
    if not config.makeup.enabled:
        return {}
    asked = [n for n in averages if n == whole_class(n) and stacks[n].n_columns is None]
    return class_makeups(asked, columns, stacks, averages, reference, config.makeup)


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


def split_classes(
    stacks: Mapping[str, ClassStack],
    measured: Mapping[str, ClassMeasurement],
    names: Sequence[str],
) -> dict[str, ClassStack]:
    """The stacks, with the parts of some classes beside them.

    Parameters
    ----------
    stacks : mapping of class to ClassStack
    measured : mapping of class to ClassMeasurement
        Of these stacks, with what the classes are made of.
    names : sequence of str
        Classes to split by their two populations.

    Returns
    -------
    dict of class to ClassStack
        ``SV.1`` and ``SV.2`` beside ``SV``: to be measured like any other (`averages.parts`). They
        are made of its windows, so that the column profile is learnt from these twice.

    Raises
    ------
    DefectStrainError
        If two populations aren't seen in one of them, or are too near to be averaged apart.
    """
    found = dict(stacks)
    for name in names:
        makeup = measured[name].makeup if name in measured else None
        populations = None if makeup is None else makeup.populations
        if populations is None or populations.membership is None:
            said = "it is not measured" if makeup is None else makeup.in_words or "too few windows"
            raise DefectStrainError(
                f"split {name}: got no two populations ({said}), expected a class in which two are "
                "seen"
            )
        others = {n: measured[n].average.mean for n in populations.membership.others}
        found |= split_stack(stacks[name], populations.membership, others)
    return found


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
        From `measure_spacings`; not changed. A class, or its reference, too few of whose columns
        have a position has no displacement and no strain.
    config : RunConfig
    progress : Progress
    """
    material = get_material(config.material)
    found = dict(measured)
    for done, (name, one) in enumerate(measured.items()):
        progress(done / len(measured), f"strain of {name}")
        reference = material.reference_of(name)
        if name == reference:
            continue
        displacement = displacement_field(one.fits, measured[reference].fits)
        with suppress(DefectStrainError):  # too few columns for a map: the others go on
            strain = strain_field(displacement, config.strain)
            found[name] = replace(one, displacement=displacement, strain=strain)
    progress(1.0, "measured")
    return found


def _check_reference(stacks: Mapping[str, ClassStack], config: RunConfig) -> None:
    """Refuse stacks without windows of the defect-free class."""
    reference = get_material(config.material).class_names[1]
    n = stacks[reference].n if reference in stacks else 0
    if n < MIN_MEASURED:
        raise NoReferenceError(
            f"measuring: got {n or 'no'} window{'s' * (n > 1)} of {reference}, expected at least "
            f"{MIN_MEASURED} of the defect-free class that the others are measured against; "
            "average some defect-free windows"
        )


def measure_in_parts(
    stacks: Mapping[str, ClassStack], measured: Mapping[str, ClassMeasurement], config: RunConfig
) -> tuple[dict[str, ClassStack], dict[str, ClassMeasurement], tuple[str, ...]]:
    """Measure the parts of the classes to be split (`RunConfig.split`) beside all others.

    Returns
    -------
    stacks, measured : dicts by class
        What is whole stays as it was measured.
    notes : tuple of str
        Which classes aren't split, as two populations aren't seen or are too near.
    """
    notes = []
    found = dict(stacks)
    for name in config.split:
        try:
            found = split_classes(found, measured, [name])
        except DefectStrainError as mistake:
            notes.append(str(mistake))
    if len(found) == len(stacks):
        return found, dict(measured), tuple(notes)
    again = measure_classes(found, config)
    return found, {name: measured.get(name, one) for name, one in again.items()}, tuple(notes)
