"""Measure the columns of a run and write all of it, so that no core waits where another could work.

Other processes draw what there is to draw while this one goes on; where every defect is measured,
isolated averages are compared with theories while the columns of whole images are being fitted, and
drawn while this process works out averages of every defect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..io.out_folder import OutFolder
from ..pipeline.runs import Meanwhile, RunResult
from ..pipeline.theories import IsolatedTheories, compare_isolated, compare_with_theory
from ..pipeline.work import Work
from ..progress import subprogress
from ..theory.reference import Reference
from ..types import DefectStrainError, Progress
from .results import detections_written, measurements_written, write_comparisons, write_run
from .run_figures import measurement_figures, theory_figures

if TYPE_CHECKING:  # matplotlib: only where something is drawn
    from .figures.drawing import Drawing

Measure = Callable[[Progress, Meanwhile | None], RunResult]
"""From columns to strain, see `pipeline.chain.measure`."""


def measured_and_written(
    found: RunResult,
    measure: Measure,
    folder: OutFolder,
    formats: Sequence[str],
    references: Mapping[str, Reference] | None,
    work: Work,
    progress: Progress,
) -> RunResult:
    """Measure what was found, compare it with theories, and write all but ``run.json``.

    Parameters
    ----------
    found : RunResult
        What `pipeline.chain.detect` returned.
    measure : callable
    folder : OutFolder
    formats : sequence of str
        Of the figures.
    references : mapping of class to Reference, optional
        In the place of bundled ones.
    work : Work
    progress : Progress

    Raises
    ------
    DefectStrainError
        If nothing can be measured. What was found is written then, ``run.json`` as well: it took
        minutes and may be right.
    """
    ahead = _Ahead(references, formats, work)
    mistake = None
    with detections_written(found, folder, formats, work.workers):
        try:
            meanwhile = None if work.workers is None else ahead.compare
            result = measure(subprogress(progress, 0.0, 0.75), meanwhile)
        except DefectStrainError as error:
            mistake = error
    if mistake is not None:
        write_run(found, folder)
        raise mistake
    part = subprogress(progress, 0.75, 0.875)
    with measurements_written(result, folder, formats, work.workers, ahead.drawn):
        result = compare_with_theory(result, references, part, ahead.known)
    progress(0.875, "writing results")
    write_comparisons(result, folder, formats, work.workers, ahead.drawn)
    return result


@dataclass
class _Ahead:
    """What isolated averages say beside theories, and their figures by name, as far as begun."""

    references: Mapping[str, Reference] | None
    formats: Sequence[str]
    work: Work
    known: IsolatedTheories | None = None
    drawn: dict[str, Drawing] = field(default_factory=dict)

    def compare(self, isolated: RunResult) -> Callable[[], None]:
        """Compare isolated averages with theories; a `Meanwhile`."""
        self.known = compare_isolated(isolated, self.references)

        def draw() -> None:
            from .figures.drawing import begun_drawings

            compared = {} if self.known is None else self.known.comparisons
            asked = [*measurement_figures(isolated), *theory_figures(compared)]
            for one in begun_drawings(asked, self.formats, self.work.workers):
                self.drawn[one.name] = one

        return draw
