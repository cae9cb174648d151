"""Every measured class of a run beside the theories of it."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from ..materials import WSE2, Material
from ..progress import shared_out, subprogress
from ..theory.reference import Reference, bundled_reference
from ..types import DefectStrainError, Progress, no_progress
from .comparison import Comparison, compare_class
from .runs import ClassMeasurement, RunResult


def bundled_references(
    material: Material, names: Collection[str] | None = None
) -> dict[str, Reference]:
    """The bundled relaxed structures of a material's classes; none but for WSe2.

    Parameters
    ----------
    material : Material
    names : collection of str, optional
        Classes that they are wanted for; default all.
    """
    if material.name != WSE2.name or material.substituent != WSE2.substituent:
        return {}
    asked = [name for name in material.defect_names if names is None or name in names]
    return {name: bundled_reference(name, material) for name in asked}


@dataclass(frozen=True)
class IsolatedTheories:
    """Isolated averages beside the theories of them.

    Parameters
    ----------
    comparisons : mapping of class to Comparison
    notes : tuple of str
        What is to be said of those that can't be compared.
    references : mapping of class to Reference
        What was read for it.
    seconds : float
        Wall-clock time.
    """

    comparisons: Mapping[str, Comparison]
    notes: tuple[str, ...]
    references: Mapping[str, Reference]
    seconds: float


def compare_isolated(
    result: RunResult,
    references: Mapping[str, Reference] | None = None,
    progress: Progress = no_progress,
) -> IsolatedTheories | None:
    """The part of `compare_with_theory` that isolated averages answer for; arguments as there.

    None where the settings leave theory out.
    """
    if not result.config.theory.enabled:
        return None
    start = time.perf_counter()
    given = references or {}
    offered = {**bundled_references(result.material, {*result.measurements} - {*given}), **given}
    notes: list[str] = []
    found = _compare(result, result.measurements, offered, notes, "", progress)
    return IsolatedTheories(found, tuple(notes), offered, time.perf_counter() - start)


def compare_with_theory(
    result: RunResult,
    references: Mapping[str, Reference] | None = None,
    progress: Progress = no_progress,
    known: IsolatedTheories | None = None,
) -> RunResult:
    """Compare every class that has a displacement with elasticity, lattice statics and structures.

    Parameters
    ----------
    result : RunResult
        With its measurements.
    references : mapping of class to Reference, optional
        In the place of bundled ones.
    progress : Progress
    known : IsolatedTheories, optional
        What `compare_isolated` says of the same isolated averages and references.

    Returns
    -------
    RunResult
        With `comparisons` and, where averages of every defect were measured, `crowded_comparisons`;
        with a warning for each class that can't be compared, or whose reference can't. As it was
        where the settings leave theory out (`TheoryConfig.enabled`).
    """
    if not result.config.theory.enabled:
        return result
    middle = 0.5 if result.crowded else 1.0
    if known is None:
        known = compare_isolated(result, references, subprogress(progress, 0.0, middle))
        assert known is not None
    start = time.perf_counter()
    needed = {*result.crowded} - {*known.references}
    offered = {**bundled_references(result.material, needed), **known.references}
    notes = [*known.notes]
    crowded = _compare(
        *(result, result.crowded, offered, notes, "crowded "), subprogress(progress, middle, 1.0)
    )
    warnings = result.warnings + tuple(dict.fromkeys(notes))
    return replace(
        result,
        comparisons=known.comparisons,
        crowded_comparisons=crowded,
        warnings=warnings,
        seconds={**result.seconds, "theory": known.seconds + time.perf_counter() - start},
    )


def _compare(
    result: RunResult,
    measured: Mapping[str, ClassMeasurement],
    references: Mapping[str, Reference],
    notes: list[str],
    which: str,
    progress: Progress,
) -> dict[str, Comparison]:
    names = [name for name, m in measured.items() if m.displacement is not None]
    progress(0.0, f"Comparing {which}{', '.join(names)} with theory")

    def compared(name: str) -> tuple[Comparison | None, list[str]]:
        said: list[str] = []
        own = [references[name]] if name in references else []
        for reference in (*own, None):  # without it where it can't be compared
            try:
                return _compared(result, measured, name, reference), said
            except DefectStrainError as mistake:
                with_what = "theory" if reference is None else reference.name
                said.append(f"{which}{name}: not compared with {with_what}: {mistake}")
        return None, said

    found = {}
    for name, (comparison, said) in zip(names, shared_out(compared, names), strict=True):
        notes += said
        if comparison is not None:
            found[name] = comparison
    return found


def _compared(
    result: RunResult,
    measured: Mapping[str, ClassMeasurement],
    name: str,
    reference: Reference | None,
) -> Comparison:
    return compare_class(
        measured,
        name,
        result.material.reference_of(name),
        result.config.strain,
        reference,
        material=result.material,
        theory=result.config.theory,
    )
