"""Other signals at the same sites: a run's windows, averaged in what was scanned along.

`averages.companion` does the averaging; here it gets the windows that a run averages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ..averages.companion import (
    CompanionAverage,
    CompanionConfig,
    Scanned,
    average_companions,
)
from ..averages.companion_places import ScanPicture, place_notes
from ..averages.patches import find_patches
from ..progress import subprogress
from ..types import ClassStack, DefectStrainError, Progress, no_progress
from .chain import average_classes
from .runs import RunResult


@dataclass(frozen=True)
class CompanionResult:
    """A companion by class.

    Parameters
    ----------
    averages : mapping of class to CompanionAverage
    reference : mapping of class to str
        The perfect columns that a class is held against: of chalcogen or of metal sites.
    stacks : mapping of class to ClassStack
        The windows.
    notes : tuple of str
        What is doubtful about the companions.
    """

    averages: Mapping[str, CompanionAverage]
    reference: Mapping[str, str]
    stacks: Mapping[str, ClassStack] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def differences(self) -> dict[str, CompanionAverage]:
        """Each class of defects less the perfect one of its sites, where that has an average."""
        return {
            name: one.minus(self.averages[base])
            for name, one in self.averages.items()
            if (base := self.reference[name]) != name and base in self.averages
        }

    @property
    def table(self) -> pd.DataFrame:
        """A row a class: ``class``, ``n`` (windows), positions a bin (least, mean), ``step_pm``."""
        rows = [
            {
                "class": name,
                "n": one.n,
                "positions_least": int(one.count.min()),
                "positions_mean": float(np.mean(one.count)),
                "step_pm": one.step_pm,
            }
            for name, one in self.averages.items()
        ]
        return pd.DataFrame(rows)


def average_companion(
    found: RunResult,
    companions: Mapping[int, Scanned],
    config: CompanionConfig | None = None,
    progress: Progress = no_progress,
) -> CompanionResult:
    """Average what was scanned along with the images of a run over the windows of its classes.

    Parameters
    ----------
    found : RunResult
        A run, or a detection: its windows are cut and registered as `chain.average_classes` does.
    companions : mapping of image index to array, `(h, w, ...)`
    config : CompanionConfig, optional
    progress : Progress

    Raises
    ------
    DefectStrainError
        If a companion and its image don't fit together, or the companion's window is larger than
        the image's.
    """
    config = config or CompanionConfig()
    if config.window_nm > found.config.average.window_nm:
        raise DefectStrainError(
            f"companion: got a window of {config.window_nm:g} nm, expected at most that of the "
            f"averages, {found.config.average.window_nm:g} nm"
        )
    regions = found.regions or None
    stacks = found.stacks or average_classes(
        found.images,
        found.sites,
        found.config,
        subprogress(progress, 0.0, 0.5),
        regions,
        found.overconfidence or None,
        found.overlaps,
    )
    a_pm = next(iter(stacks.values())).a_pm
    patches = find_patches(found.images, found.sites, a_pm, regions)
    seen: dict[int, ScanPicture] = {}
    part = subprogress(progress, 0.5, 1.0)
    averages = average_companions(companions, found.images, patches, stacks, config, part, seen)
    reference = {name: found.material.reference_of(name) for name in averages}
    px_per_pm = np.sqrt(np.median([abs(np.linalg.det(p.lattice.matrix)) for p in patches]))
    notes = [*place_notes(seen, found.images, float(a_pm * px_per_pm)), *_missing(averages)]
    return CompanionResult(averages, reference, stacks, tuple(notes))


def _missing(averages: Mapping[str, CompanionAverage]) -> list[str]:
    """What to say of values that are no numbers."""
    lost = {name: one.missing for name, one in averages.items() if one.missing}
    if not lost:
        return []
    listed = ", ".join(f"{count} in {name}" for name, count in lost.items())
    return [f"values that are no finite numbers were left out: {listed}"]
