"""Every measured class of a run beside the theories of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from ..materials import WSE2, Material
from ..progress import subprogress
from ..theory.reference import Reference, bundled_reference
from ..types import DefectStrainError, Progress, no_progress
from .comparison import Comparison, compare_class
from .runs import ClassMeasurement, RunResult


def bundled_references(material: Material) -> dict[str, Reference]:
    """The bundled relaxed structures of a material's classes; none but for WSe2."""
    if material.name != WSE2.name or material.substituent != WSE2.substituent:
        return {}
    return {name: bundled_reference(name, material) for name in material.defect_names}


def compare_with_theory(
    result: RunResult,
    references: Mapping[str, Reference] | None = None,
    progress: Progress = no_progress,
) -> RunResult:
    """Compare every class that has a displacement with elasticity, lattice statics and structures.

    Parameters
    ----------
    result : RunResult
        With its measurements.
    references : mapping of class to Reference, optional
        In the place of bundled ones.
    progress : Progress

    Returns
    -------
    RunResult
        With `comparisons` and, where averages of every defect were measured, `crowded_comparisons`;
        with a warning for each class that can't be compared, or whose reference can't. As it was
        where the settings leave theory out (`TheoryConfig.enabled`).
    """
    if not result.config.theory.enabled:
        return result
    start = time.perf_counter()
    offered = {**bundled_references(result.material), **(references or {})}
    notes: list[str] = []
    middle = 0.5 if result.crowded else 1.0
    isolated = _compare(
        result, result.measurements, offered, notes, "", subprogress(progress, 0.0, middle)
    )
    crowded = _compare(
        *(result, result.crowded, offered, notes, "crowded "), subprogress(progress, middle, 1.0)
    )
    warnings = result.warnings + tuple(dict.fromkeys(notes))
    return replace(
        result,
        comparisons=isolated,
        crowded_comparisons=crowded,
        warnings=warnings,
        seconds={**result.seconds, "theory": time.perf_counter() - start},
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
    config, found = result.config, {}
    for k, name in enumerate(names):
        progress(k / len(names), f"Comparing {which}{name} with theory")

        def compared(reference: Reference | None, name: str = name) -> Comparison:
            return compare_class(
                measured,
                name,
                result.material.reference_of(name),
                config.strain,
                reference,
                material=result.material,
                theory=config.theory,
            )

        reference = references.get(name)
        try:
            if reference is not None:
                try:
                    found[name] = compared(reference)
                    continue
                except DefectStrainError as mistake:
                    notes.append(f"{which}{name}: not compared with {reference.name}: {mistake}")
            found[name] = compared(None)
        except DefectStrainError as mistake:
            notes.append(f"{which}{name}: not compared with theory: {mistake}")
    return found
