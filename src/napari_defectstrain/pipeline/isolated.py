"""Averages of isolated defects as far as there are any, and what is to be said of those missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from ..averages.average import NoReferenceError
from ..columns.averages.measure import ColumnConfig
from ..io.stage_store import KeepingError
from ..materials import Material
from ..types import ClassStack, DefectStrainError
from .runs import MIN_MEASURED, ClassMeasurement, RunConfig

_BY_ALL = "measure averages of every defect (--crowded, in napari *Use crowded defects*)"


@contextmanager
def unless_crowded(config: RunConfig, notes: list[str]) -> Iterator[None]:
    """Let a run go on without isolated averages where those of every defect are asked for.

    Parameters
    ----------
    config : RunConfig
    notes : list of str
        Collects why there are no isolated averages.

    Raises
    ------
    DefectStrainError
        As what is done within does, with the way out, where no crowded averages are asked for;
        always if what was found can't be kept.
    """
    try:
        yield
    except KeepingError:  # a full disk says nothing of the images
        raise
    except DefectStrainError as error:
        if config.average.crowded:
            notes.append(f"isolated averages: {error}")
        elif isinstance(error, NoReferenceError):
            raise NoReferenceError(f"{error}; or {_BY_ALL}") from error
        else:
            raise


def missing_classes(
    material: Material,
    stacks: Mapping[str, ClassStack],
    measured: Mapping[str, ClassMeasurement],
    crowded: Mapping[str, ClassMeasurement],
) -> tuple[str, ...]:
    """Classes without a measurement of isolated defects, or with a part of one.

    Parameters
    ----------
    material : Material
    stacks, measured : mappings by class
        Of isolated defects.
    crowded : mapping of class to ClassMeasurement
        Of every defect.
    """
    notes = []
    for name in material.averaged_names:
        n = stacks[name].n if name in stacks else 0
        other = "measured from every defect only" if name in crowded else ""
        if n == 0:
            notes.append(
                f"{name}: no isolated column away from the edges: {other or 'not measured'}"
            )
        elif n < MIN_MEASURED:
            counted = "only one window" if n == 1 else f"only {n} windows"
            takes = f"not measured (that takes {MIN_MEASURED})"
            notes.append(f"{name}: {counted}: averaged and shown, {other or takes}")
        elif name in measured and measured[name].displacement is None:
            lost = "no strain: the columns of its average, or of its reference, can't be fitted"
            notes.append(f"{name}: {n} windows: {other or lost}")
        elif name in measured and not np.isfinite(measured[name].spacing.spacing_pm):
            lost = "no spacing: the nearest metals of its average can't all be fitted"
            notes.append(f"{name}: {n} windows: {lost}")
    told = [name for name in material.averaged_names if name in measured or name in crowded]
    if not told:
        notes.append("no defect could be measured, only the defect-free lattice")
    return tuple(notes)


def unknown_errors(
    material: Material,
    stacks: Mapping[str, ClassStack],
    measured: Mapping[str, ClassMeasurement],
) -> tuple[str, ...]:
    """Errors that can't be told for too few windows or images, and neighbours without a field."""
    notes = []
    for name, measurement in measured.items():
        unknown = () if measurement.budget is None else measurement.budget.unknown
        stack = stacks[name]
        if stack.n > 1 and name not in material.references:
            images = len(np.unique(stack.image_index[stack.included]))
            if "scan" in unknown:
                counted = f"{images} image{'s' if images > 1 else ''}"
                notes.append(f"{name}: {counted}: the scan's error can't be told")
            if "registration" in unknown:
                notes.append(f"{name}: {stack.n} windows: registration's error can't be told")
        if "neighbours" in unknown:
            notes.append(f"{name}: what the defects around do to it isn't known")
    return tuple(notes)


def left_to_say(
    material: Material,
    stacks: Mapping[str, ClassStack],
    measured: Mapping[str, ClassMeasurement],
    crowded: Mapping[str, ClassMeasurement],
    columns: ColumnConfig,
) -> tuple[str, ...]:
    """All of it: classes that are missing, errors that aren't known, columns that aren't round."""
    notes = missing_classes(material, stacks, measured, crowded)
    notes += unknown_errors(material, stacks, measured)
    found = [m.columns.config for m in measured.values() if m.columns is not None]
    if not columns.asymmetric and any(one is not None and one.asymmetric for one in found):
        notes += (
            "columns of the averages differ with direction, as astigmatism, coma or shaking lines "
            "make them: they are fitted with a profile that does, too",
        )
    return notes
