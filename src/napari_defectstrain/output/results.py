"""Write the results of a run into a folder; every file appears whole or not at all.

The files and their columns are listed in ``docs/command-line.md``.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..averages.parts import part_names
from ..crystal.defect_patterns import DefectPatterns
from ..crystal.region_files import LABELS_SUFFIX, TABLE_SUFFIX, write_regions
from ..io.files import sites_table, write_table, write_tiff
from ..io.out_folder import OutFolder, check_out_dir, writing_into
from ..io.unfinished import mark_path
from ..judge.histograms import weight_histograms
from ..materials import Material
from ..pipeline.chain import RunResult
from ..pipeline.comparison import MEASURED, Comparison
from ..pipeline.fitness import patterns_of
from ..pipeline.loading import FILE_SHA256
from ..pipeline.ranges import conditions_of
from ..pipeline.work import Work
from ..progress import begun
from ..types import (
    STRAIN_COMPONENTS,
    ClassAverage,
    DefectStrainError,
    StrainField,
)
from .makeup import halves_table, makeups, parts_table, variability_table
from .run_figures import measurement_figures, theory_figures
from .tables import (
    a_ref_pm,
    budget_table,
    columns_table,
    displacement_table,
    drift_tables,
    lattices_table,
    precision_table,
    spacings_table,
    summary,
)
from .theory_tables import theory_table

if TYPE_CHECKING:
    from ..pipeline.work import Workers
    from .figures.drawing import Drawing

__all__ = [
    "RUN_FILE",
    "check_out_dir",
    "detections_written",
    "displacement_table",
    "figure_formats",
    "measurements_written",
    "planned_files",
    "provenance",
    "spacings_table",
    "summary",
    "write_comparisons",
    "write_detections",
    "write_measurements",
    "write_results",
    "write_run",
]

RUN_FILE = "run.json"
FIGURES = "figures"
EDITS_FILE = "edits.csv"
"""What hands changed of a study before it was measured."""
FIGURE_FORMATS = ("png", "pdf", "svg")
CROWDED = "crowded_"
"""What names of files begin with that come from averages of every defect."""
_TABLES = (
    *("populations.csv", "spacings.csv", "columns.csv", "displacement.csv"),
    *("budget.csv", "precision.csv", "lattices.csv", "theory.csv"),
    *("class_parts.csv", "variability.csv", "half_sets.csv"),
    *("pair_correlation.csv", "clusters.csv", "nearest_defects.csv"),
)
_CROWDED_TABLES = ("columns.csv", "displacement.csv", "budget.csv")
_CROWDED_FIGURES = ("averages", "budget", "displacement", "theory")
_FIGURES = (
    *("weights", "averages", "spacings", "precision_by_class", "precision"),
    *("budget", "displacement", "theory", "class_parts", "variability", "half_sets"),
    *("populations", "pair_correlation", "clusters"),
)
FRAME = (
    "lattice frame: x to the right along a zigzag row, y up (row 0 is the largest y), origin at "
    "the ideal chalcogen column, nearest metal columns at 90, 210 and 330 degrees"
)
FRAME_ON_METAL = (
    "lattice frame turned by 180 degrees: origin at the ideal metal column, nearest chalcogen "
    "columns at 90, 210 and 330 degrees"
)
_PACKAGES = ("numpy", "scipy", "pandas", "scikit-image", "matplotlib", "torch", "tifffile")


def planned_files(stems: Iterable[str], material: Material) -> list[str]:
    """Every file that a run on images of these names may write, relative to its folder."""
    names = [RUN_FILE, mark_path(Path(), RUN_FILE).name, EDITS_FILE, *_TABLES]
    names += [CROWDED + name for name in _CROWDED_TABLES]
    drawn = [*_FIGURES, *(CROWDED + name for name in _CROWDED_FIGURES)]
    for stem in stems:
        names += [f"{stem}.sites.csv", f"{stem}{LABELS_SUFFIX}", f"{stem}{TABLE_SUFFIX}"]
        names.append(f"{stem}.drift.csv")
        drawn += [f"detections_{stem}", f"drift_{stem}"]
    parts = (part for name in material.averaged_names for part in part_names(name, 2))
    for name in (*material.all_class_names, *parts):
        for prefix in ("", CROWDED):
            kinds = (f"average_{name}.tif", f"strain_{name}.tif", f"strain_{name}.sigma.tif")
            names += [prefix + kind for kind in (*kinds, f"theory_{name}.tif")]
            names += [f"window_{name}.tif", f"components_{name}.tif"]
            drawn += [f"{prefix}strain_{name}", f"{prefix}theory_{name}"]
    endings = (*FIGURE_FORMATS, "csv")
    return names + [f"{FIGURES}/{name}.{kind}" for name in drawn for kind in endings]


def figure_formats(text: str) -> tuple[str, ...]:
    """Formats of figures that are wanted, each once.

    Parameters
    ----------
    text : str
        Some of png, pdf and svg, between commas.

    Raises
    ------
    DefectStrainError
        If there is none, or one that figures are not written in.

    Examples
    --------
    >>> figure_formats("PDF, svg")
    ('pdf', 'svg')
    """
    named = tuple(dict.fromkeys(part.strip().lower().lstrip(".") for part in text.split(",")))
    unknown = [name or "nothing" for name in named if name not in FIGURE_FORMATS]
    if unknown:
        raise DefectStrainError(
            f"figures: got {', '.join(unknown)}, expected some of {', '.join(FIGURE_FORMATS)}, "
            "for instance png,pdf"
        )
    return named


def write_results(
    result: RunResult,
    out_dir: Path | str,
    force: bool = False,
    formats: Sequence[str] = FIGURE_FORMATS[:1],
) -> list[Path]:
    """Write everything of a run: tables, images, figures, and ``run.json`` as the last.

    Parameters
    ----------
    result : RunResult
    out_dir : path
        Created where it doesn't exist.
    force : bool
        Write into a folder that holds something: files of the same names are overwritten, those
        of an earlier run that this one doesn't write are removed; what isn't as a run wrote it is
        kept (`out_folder`).
    formats : sequence of str
        Of the figures, some of `FIGURE_FORMATS`.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    DefectStrainError
        If the folder isn't empty and `force` isn't given, or a file can't be written, for
        instance because the disk is full.
    """
    out_dir = Path(out_dir)
    check_out_dir(out_dir, force)
    with writing_into(out_dir, "run", RUN_FILE) as folder:
        write_detections(result, folder, formats)
        write_measurements(result, folder, formats)
        return [*folder.files, write_run(result, folder)]


def write_detections(
    result: RunResult,
    folder: OutFolder,
    formats: Sequence[str] = FIGURE_FORMATS[:1],
    workers: Workers | None = None,
) -> None:
    """Write columns, regions, populations and the figures of the detected columns.

    ``<stem>.sites.csv``, ``<stem>.regions.tif`` and ``.csv``, ``populations.csv``, what says
    whether the defects lie at random, of summed series of frames ``<stem>.drift.csv``, and where
    columns were weighed the histogram of all images' weights. `workers` draw the figures.
    """
    with detections_written(result, folder, formats, workers):
        pass


@contextmanager
def detections_written(
    result: RunResult,
    folder: OutFolder,
    formats: Sequence[str] = FIGURE_FORMATS[:1],
    workers: Workers | None = None,
) -> Iterator[None]:
    """`write_detections`, whose figures `workers` draw while a block goes on with the columns."""
    from .figures.drawing import drawn_meanwhile

    drawings = _detection_figures(result, folder, workers)
    with drawn_meanwhile(drawings, folder, formats, FIGURES, workers):
        yield


def _detection_figures(
    result: RunResult, folder: OutFolder, workers: Workers | None
) -> list[Drawing]:
    """Tables of the detected columns are written, their figures to be drawn."""
    from .figures import maps as figures  # matplotlib: only where something is drawn
    from .figures import precision as figures_precision
    from .figures import weights as figures_weights
    from .figures.drawing import Drawing

    patterns = _patterns_begun(result, workers)
    drawings = [
        Drawing.of(f"detections_{image.name}", figures.detections_figure, image, sites, material)
        for material in [result.material]
        for image, sites in zip(result.images, result.sites, strict=True)
    ]
    for image, sites in zip(result.images, result.sites, strict=True):
        table = sites_table(sites, image.pixel_size_pm)
        write_table(folder.place(f"{image.name}.sites.csv"), table)
    for image, regions in zip(result.images, result.regions, strict=False):
        write_regions(regions, folder.place, image.name, image.pixel_size_pm)
    write_table(folder.place("populations.csv"), result.populations)
    drawings += _patterns(result, folder, patterns())
    histograms = weight_histograms(result.sites)
    if histograms is not None:
        weights = figures_weights.weights_figure
        drawings.append(Drawing.of("weights", weights, histograms, result.material))
    for name, table in drift_tables(result).items():
        write_table(folder.place(f"{name}.drift.csv"), table)
        drawings.append(Drawing.of(f"drift_{name}", figures_precision.drift_figure, table))
    return drawings


def _patterns_begun(result: RunResult, workers: Workers | None) -> Callable[[], DefectPatterns]:
    """Have others, if there are any, count where defects lie; waits for them when it is called."""
    if workers is None:
        return lambda: patterns_of(result)
    return begun(lambda: patterns_of(result, work=Work(workers=workers))).result


def _patterns(result: RunResult, folder: OutFolder, found: DefectPatterns) -> list[Drawing]:
    """Whether defects lie at random: tables; and figures of that and of the populations."""
    from .figures import populations as figures
    from .figures.drawing import Drawing

    names = result.material.all_class_names
    own = figures.populations_figure
    drawings = [Drawing.of("populations", own, result.populations, names)]
    for name, table in (
        ("pair_correlation", found.pair_correlation),
        ("clusters", found.clusters),
        ("nearest_defects", found.nearest),
    ):
        write_table(folder.place(f"{name}.csv"), table)
    if len(found.pair_correlation):
        pairs = figures.pairs_figure
        drawings.append(Drawing.of("pair_correlation", pairs, found.pair_correlation, names))
    if len(found.clusters):
        clusters = (found.clusters, found.nearest, names)
        drawings.append(Drawing.of("clusters", figures.clusters_figure, *clusters))
    return drawings


def write_measurements(
    result: RunResult,
    folder: OutFolder,
    formats: Sequence[str] = FIGURE_FORMATS[:1],
    workers: Workers | None = None,
) -> None:
    """Write spacings, columns, displacements, averages, strain, theory and their figures.

    `workers` draw those that are soon sent to them.
    """
    with measurements_written(result, folder, formats, workers):
        pass
    write_comparisons(result, folder, formats, workers)


@contextmanager
def measurements_written(
    result: RunResult,
    folder: OutFolder,
    formats: Sequence[str] = FIGURE_FORMATS[:1],
    workers: Workers | None = None,
    ahead: Mapping[str, Drawing] | None = None,
) -> Iterator[None]:
    """`write_measurements` but for theory, which a block goes on with while `workers` draw.

    Figures that others have begun with (`figures.drawing.begun_drawings`), by name, are `ahead`.
    """
    from .figures.drawing import begun_drawings, drawn_meanwhile

    if not (result.measurements or result.crowded):
        yield
        return
    every = replace(result, stacks=result.crowded_stacks, measurements=result.crowded)
    drawings = measurement_figures(result) if result.measurements else []
    if result.crowded:
        drawings += map(_of_every_defect, measurement_figures(every))
    drawings = begun_drawings(_with_begun(drawings, ahead), formats, workers)
    tables = {
        "spacings.csv": spacings_table(result),
        "precision.csv": precision_table(result),
        "lattices.csv": lattices_table(result),
    }
    if makeups(result):
        tables["class_parts.csv"] = parts_table(result)
        tables["variability.csv"] = variability_table(result)
        tables["half_sets.csv"] = halves_table(result)
        _write_components(result, folder)
    for name, table in tables.items():
        write_table(folder.place(name), table)
    if result.measurements:
        _write_averages(result, folder, "")
    if result.crowded:
        _write_averages(every, folder, CROWDED)
    with drawn_meanwhile(drawings, folder, formats, FIGURES, workers):
        yield


def write_comparisons(
    result: RunResult,
    folder: OutFolder,
    formats: Sequence[str] = FIGURE_FORMATS[:1],
    workers: Workers | None = None,
    ahead: Mapping[str, Drawing] | None = None,
) -> None:
    """Write what there is of comparisons with theories, which `workers` draw."""
    from .figures.drawing import begun_drawings, write_drawings

    drawings = theory_figures(result.comparisons)
    drawings += map(_of_every_defect, theory_figures(result.crowded_comparisons))
    drawings = begun_drawings(_with_begun(drawings, ahead), formats, workers)
    _write_theory(result, folder)
    write_drawings(drawings, folder, formats, FIGURES, workers)


def _of_every_defect(drawing: Drawing) -> Drawing:
    return replace(drawing, name=CROWDED + drawing.name)


def _with_begun(drawings: Sequence[Drawing], ahead: Mapping[str, Drawing] | None) -> list[Drawing]:
    """Figures, those that others have begun with in the place of the same."""
    return [(ahead or {}).get(one.name, one) for one in drawings]


def _write_components(result: RunResult, folder: OutFolder) -> None:
    """The pictures of how the windows of each class vary."""
    for name, makeup in makeups(result).items():
        if not makeup.components:
            continue
        stack = np.stack([one.picture for one in makeup.components]).astype(np.float32)
        centre, step_pm = (stack.shape[-1] - 1) / 2, result.stacks[name].step_pm
        metadata = {
            **provenance(result),
            "class": name,
            "unit": "mean height of a metal column, for one standard deviation",
            "step_pm": step_pm,
            "origin_px": [centre, centre],
        }
        channels = [f"component_{k + 1}" for k in range(len(stack))]
        path = folder.place(f"components_{name}.tif")
        write_tiff(path, stack, step_pm, metadata, channels=channels)


def _write_theory(result: RunResult, folder: OutFolder) -> None:
    """What there is of comparisons with theories."""
    if not result.comparisons and not result.crowded_comparisons:
        return
    write_table(folder.place("theory.csv"), theory_table(result))
    for prefix, found in (("", result.comparisons), (CROWDED, result.crowded_comparisons)):
        for comparison in found.values():
            _write_compared(result, comparison, folder, prefix)


def _write_compared(
    result: RunResult, comparison: Comparison, folder: OutFolder, prefix: str
) -> None:
    """The maps of one class beside each other, those of the measurement among them."""
    first = comparison.strain[MEASURED]
    maps = {
        f"{source} {component}": strain.components[component]
        for source, strain in comparison.strain.items()
        for component in STRAIN_COMPONENTS
    }
    path = folder.place(f"{prefix}theory_{comparison.class_name}.tif")
    stack = np.stack(list(maps.values())).astype(np.float32)
    metadata = {**provenance(result), "class": comparison.class_name, **_grid(first)}
    write_tiff(path, stack, metadata["step_pm"], metadata, channels=tuple(maps))


def _write_averages(result: RunResult, folder: OutFolder, prefix: str) -> None:
    """What there is of isolated and of crowded averages alike."""
    tables = {
        "columns.csv": columns_table(result),
        "displacement.csv": displacement_table(result),
        "budget.csv": budget_table(result),
    }
    for name, table in tables.items():
        write_table(folder.place(prefix + name), table)
    for name, measurement in result.measurements.items():
        _write_class(result, name, measurement.average, measurement.strain, folder, prefix)
    for name, average in result.unmeasured.items():
        _write_class(result, name, average, None, folder, prefix)


def write_run(result: RunResult, folder: OutFolder, inputs: str | None = None) -> Path:
    """Write ``run.json``, which says how the other files came about: the folder is whole.

    Parameters
    ----------
    result : RunResult
    folder : OutFolder
    inputs : str, optional
        Hash of all that the run was made from, by which the next one knows that it is done.
    """
    return folder.finish(
        {
            **provenance(result),
            **({} if inputs is None else {"inputs": inputs}),
            "versions": _versions(),
            "images": [
                {
                    "name": image.name,
                    "shape": list(image.data.shape),
                    "pixel_size_pm": image.pixel_size_pm,
                    "file_sha256": image.metadata.get(FILE_SHA256),
                    "pixels_sha256": hashlib.sha256(
                        np.ascontiguousarray(image.data).tobytes()
                    ).hexdigest(),
                    "calibration": image.metadata.get("calibration"),
                    "conditions": conditions_of(image),
                    "metadata": {
                        key: value
                        for key, value in image.metadata.items()
                        # the file itself holds the first, the second stands above
                        if key not in ("simulation", FILE_SHA256)
                    },
                    "columns": len(sites),
                }
                for image, sites in zip(result.images, result.sites, strict=True)
            ],
            "regions_given": list(result.regions_given),
            "overlaps": result.overlap_records,
            "open_classes": [one.record for one in result.open_classes],
            "failed": list(result.failed),
            "identity": None if result.identity is None else result.identity.to_dict(),
            "out_of_range": [one.to_dict() for one in result.out_of_range],
            "a_ref_pm": a_ref_pm(result),
            "references": {
                name: [one.reference.name, *one.reference.notes]
                for name, one in result.comparisons.items()
                if one.reference is not None
            },
            "seconds": dict(result.seconds),
            "warnings": list(result.warnings),
        }
    )


def provenance(result: RunResult) -> dict[str, Any]:
    """What every result carries: software, version, weights, all parameters."""
    return {
        "software": "napari-defectstrain",
        "version": __version__,
        "weights_sha256": result.weights_sha256,
        "parameters": result.config.to_dict(),
    }


def _write_class(
    result: RunResult,
    name: str,
    average: ClassAverage,
    strain: StrainField | None,
    folder: OutFolder,
    prefix: str,
) -> None:
    centre = (average.mean.shape[0] - 1) / 2
    metadata = {
        **provenance(result),
        "class": name,
        "n": average.n,
        "n_excluded": average.n_excluded,
        "expected_purity": average.purity,
        "expected_contaminants": dict(average.contaminants),
        "unit": "mean height of a metal column",
        "frame": FRAME_ON_METAL if average.on_metal else FRAME,
        "lattice_pm": average.a_pm,
        "step_pm": average.step_pm,
        "origin_px": [centre, centre],
    }
    path = folder.place(f"{prefix}average_{name}.tif")
    write_tiff(path, average.mean.astype(np.float32), average.step_pm, metadata)
    stack = result.stacks[name]
    if stack.n_columns is None:  # averages of every defect have no single windows
        window = stack.windows[np.flatnonzero(stack.included)[0]]
        path = folder.place(f"window_{name}.tif")
        write_tiff(path, window.astype(np.float32), average.step_pm, {**metadata, "n": 1})
    if strain is not None:
        _write_strain(strain, metadata, folder, prefix)


def _write_strain(
    strain: StrainField, metadata: dict[str, Any], folder: OutFolder, prefix: str
) -> None:
    metadata = {**metadata, **_grid(strain)}
    for maps, suffix in ((strain.components, ""), (strain.sigma, ".sigma")):
        path = folder.place(f"{prefix}strain_{strain.class_name}{suffix}.tif")
        stack = np.stack([maps[name] for name in STRAIN_COMPONENTS]).astype(np.float32)
        write_tiff(path, stack, metadata["step_pm"], metadata, channels=STRAIN_COMPONENTS)


def _grid(strain: StrainField) -> dict[str, Any]:
    """What the maps of a strain field are in, and where."""
    step_pm = float(abs(strain.x_pm[1] - strain.x_pm[0]))
    return {
        "unit": "fraction, tension positive; rotation in radians, counter-clockwise positive",
        "step_pm": step_pm,
        # pixel of the lattice frame's origin, and the grid itself
        "origin_px": [float(strain.y_pm[0] / step_pm), float(-strain.x_pm[0] / step_pm)],
        "x_pm": strain.x_pm.tolist(),
        "y_pm": strain.y_pm.tolist(),
        "smoothing_pm": strain.smoothing_pm,
    }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
