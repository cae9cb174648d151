"""The columns of each whole image, fitted: what averages of every defect are measured by.

Images are independent here, so that a run's workers share them, and what is kept of an image is
not done again.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import replace

from ..averages.patches import find_patches, lattice_constant
from ..columns.images.types import ImageColumns
from ..crystal.regions import Regions
from ..failures import Failures
from ..io.content import in_content_order
from ..precision.class_fields import at_a_time, columns_of_image
from ..progress import begun, spare_cores
from ..types import CalibratedImage, DefectStrainError, Progress, Sites, no_progress
from .runs import RunResult
from .work import Stage, Work
from .workers import LocalWorkers

LOOK_S = 0.2

ColumnsOf = Callable[[Progress], tuple[ImageColumns | str, ...]]
"""Waits for the columns of every image, or why they can't be fitted."""


def spacing_of(found: RunResult) -> float:
    """Lattice constant of the frame of averages of every defect [pm].

    That of isolated averages; where nothing is isolated, that of the lattices.
    """
    base = found.stacks.get(found.material.class_names[1])
    if base is not None:
        return float(base.a_pm)
    found = found.reordered(in_content_order(found.images))
    a_pm, regions = found.material.lattice_pm, found.regions or None
    return lattice_constant(found.images, found.sites, a_pm, regions)


def fitted_columns(
    found: RunResult, work: Work, progress: Progress = no_progress
) -> tuple[ImageColumns | str, ...]:
    """The columns of every image of a run; where they can't be fitted, why.

    Parameters
    ----------
    found : RunResult
        With the stacks of isolated defects, if there are any.
    work : Work
        Who does it, and what is kept.
    progress : Progress
    """
    a_pm = spacing_of(found)
    calls = {
        i: (image, columns, found.regions[i] if found.regions else None, a_pm)
        for i, (image, columns) in enumerate(zip(found.images, found.sites, strict=True))
    }
    names = {i: image.name for i, image in enumerate(found.images)}
    failures, few = Failures(strict=True), at_a_time(found.images)
    if work.workers is None and min(spare_cores(), few) > 1:
        with LocalWorkers(min(spare_cores(), few), threads=True) as threads:
            mine = replace(work, workers=threads)
            done = mine.each(COLUMNS, calls, names, failures, progress)
    else:
        alone = work if few > 1 else replace(work, workers=None)
        done = alone.each(COLUMNS, calls, names, failures, progress)
    return tuple(done[i] for i in calls)


def columns_begun(found: RunResult, work: Work) -> ColumnsOf:
    """Have other processes, if there are any, begin with `fitted_columns` while this one goes on.

    What this one asks of them meanwhile comes first: it waits for that, and for columns not yet.

    Parameters
    ----------
    found : RunResult
        With the stacks of isolated defects or before there are any: their frame is the same.
    work : Work

    Returns
    -------
    callable
        Waits for the end, telling a progress callback, and gives what `fitted_columns` gives or
        raises. Where nobody else does it, it is done then.
    """
    if work.workers is None or at_a_time(found.images) < 2:
        return lambda progress: fitted_columns(found, work, progress)
    workers = work.workers
    if isinstance(workers, LocalWorkers):
        work = replace(work, workers=workers.behind_others())
    heard = [(0.0, COLUMNS.name)]

    def told(fraction: float, message: str) -> None:
        heard[0] = (fraction, message)

    future = begun(lambda: fitted_columns(found, work, told))

    def waited(progress: Progress) -> tuple[ImageColumns | str, ...]:
        while not wait([future], LOOK_S).done:
            progress(*heard[0])
        return future.result()

    return waited


def _columns(
    image: CalibratedImage,
    sites: Sites,
    regions: Regions | None,
    a_pm: float,
    progress: Progress,
) -> ImageColumns | str:
    try:
        domains = find_patches([image], [sites], a_pm, [regions])
        return columns_of_image(image, sites, domains, a_pm, progress, errors=False)
    except DefectStrainError as error:
        return str(error)


COLUMNS = Stage("columns of whole images", 7, _columns)
