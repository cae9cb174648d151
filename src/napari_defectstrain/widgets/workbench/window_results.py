"""What was found and measured in the window as the results of a run, for its folder and report."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from napari.components import ViewerModel

from ...averages import AverageConfig
from ...output import write_report, write_results
from ...pipeline.fitness import counted_once
from ...pipeline.runs import RunResult
from ...pipeline.theories import compare_with_theory
from ...progress import subprogress
from ...types import DefectStrainError, Progress
from ..average import gathering_of, run_of
from ..layers import defects_of, layer_by_id, note, runs

Make = Callable[[Progress], RunResult]
"""Works the results out, in any thread."""


def measured_run(viewer: ViewerModel, run: str, measured: RunResult) -> Make:
    """The results of a run that found and measured what the window shows.

    Layers are looked at now.

    Parameters
    ----------
    viewer : ViewerModel
    run : str
        The averages that were measured.
    measured : RunResult
        What the strain widget has of them: without images, columns and populations.

    Raises
    ------
    DefectStrainError
        If an image that was averaged is gone, or its detection.
    """
    about, parts = note(runs(viewer)[run][0]), []
    average = AverageConfig.from_dict(about["parameters"]["average"])
    # in the order that windows count their images by
    for image_id in dict.fromkeys(image for image, _ in about.get("planes", [])):
        image = layer_by_id(viewer, image_id)
        defects = None if image is None else defects_of(viewer, image)
        if defects is None:
            raise DefectStrainError(
                "report: an image of these averages, or its detection, is gone; average again"
            )
        parts.append(gathering_of(viewer, defects))

    def make(progress: Progress) -> RunResult:
        config = measured.config.replace(average=average)
        found = run_of([work() for work in parts], config)
        if not found.regions:
            raise DefectStrainError("report: got no layer of regions; detect again, which makes it")
        overlaps, populations, said = counted_once(
            found.images, found.sites, found.regions, found.material
        )
        whole = replace(
            measured,
            config=config,
            images=found.images,
            sites=found.sites,
            regions=found.regions,
            overlaps=overlaps,
            populations=populations,
            warnings=tuple(said),
        )
        return compare_with_theory(whole, progress=progress)

    return make


def write_run_and_report(
    make: Make, folder: Path, paths: Sequence[Path], progress: Progress
) -> list[Path]:
    """Write the results into a folder of their own, and the report of it.

    Parameters
    ----------
    make : callable
        From `measured_run`.
    folder : Path
        Empty, or not there.
    paths : sequence of Path
        The report's files.

    Returns
    -------
    list of Path
        The report's files.
    """
    result = make(subprogress(progress, 0.0, 0.4))
    write_results(result, folder)
    return [write_report(folder, path, subprogress(progress, 0.6, 1.0)) for path in paths]
