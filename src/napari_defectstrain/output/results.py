"""Write the results of a run into a folder; every file appears whole or not at all.

The files and their columns are listed in ``docs/command-line.md``.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..crystal.region_files import write_regions
from ..io.files import sites_table, write_json, write_table, write_tiff
from ..pipeline.chain import RunResult
from ..types import STRAIN_COMPONENTS, ClassAverage, DefectStrainError, StrainField
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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "RUN_FILE",
    "check_out_dir",
    "displacement_table",
    "figure_formats",
    "provenance",
    "spacings_table",
    "summary",
    "write_detections",
    "write_measurements",
    "write_results",
    "write_run",
]

RUN_FILE = "run.json"
FIGURES = "figures"
FIGURE_FORMATS = ("png", "pdf", "svg")
FRAME = (
    "lattice frame: x to the right along a zigzag row, y up (row 0 is the largest y), origin at "
    "the ideal chalcogen column, nearest metal columns at 90, 210 and 330 degrees"
)
_PACKAGES = ("numpy", "scipy", "pandas", "scikit-image", "matplotlib", "torch", "tifffile")


def check_out_dir(out_dir: Path, force: bool = False) -> None:
    """See that results can go into a folder, before any work is done for them.

    Raises
    ------
    DefectStrainError
        If it is no folder, can't be written, or holds anything and `force` isn't given.
    """
    if not out_dir.is_dir():
        if out_dir.exists():
            raise DefectStrainError(f"{out_dir}: got a file, expected a folder for the results")
        parent = next(p for p in out_dir.absolute().parents if p.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise DefectStrainError(f"{out_dir}: can't be created: {parent} can't be written")
        return
    if not os.access(out_dir, os.R_OK | os.W_OK | os.X_OK):
        raise DefectStrainError(f"{out_dir}: the folder can't be written; choose another")
    if not force and any(out_dir.iterdir()):
        raise DefectStrainError(
            f"{out_dir}: the folder isn't empty; choose another, or overwrite the results in it "
            "with --force"
        )


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
    """Write everything of a run: tables, images, figures, and `run.json` as the last.

    Parameters
    ----------
    result : RunResult
    out_dir : path
        Created where it doesn't exist.
    force : bool
        Write into a folder that holds something: files of the same names are overwritten, no
        file is removed.
    formats : sequence of str
        Of the figures, some of `FIGURE_FORMATS`.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    DefectStrainError
        If the folder isn't empty and `force` isn't given.
    OSError
        If a file can't be written, for instance because the disk is full.
    """
    out_dir = Path(out_dir)
    check_out_dir(out_dir, force)
    files = write_detections(result, out_dir, formats)
    files += write_measurements(result, out_dir, formats)
    return write_run(result, out_dir, files)


def write_detections(
    result: RunResult, out_dir: Path, formats: Sequence[str] = FIGURE_FORMATS[:1]
) -> list[Path]:
    """Write columns, regions, populations and the figures of the detected columns.

    ``<stem>.sites.csv``, ``<stem>.regions.tif`` and ``.csv``, ``populations.csv``, and of summed
    series of frames ``<stem>.drift.csv``.
    """
    from .figures import maps as figures  # matplotlib: only where something is drawn
    from .figures import precision as figures_precision
    from .figures.files import write_figure

    folder = _made(out_dir / FIGURES)
    files = []
    for image, sites in zip(result.images, result.sites, strict=True):
        files.append(out_dir / f"{image.name}.sites.csv")
        write_table(files[-1], sites_table(sites, image.pixel_size_pm))
        figure = figures.detections_figure(image, sites, result.material)
        files += write_figure(figure, folder, f"detections_{image.name}", formats)
    for image, regions in zip(result.images, result.regions, strict=False):
        files += write_regions(regions, out_dir, image.name, image.pixel_size_pm)
    files.append(out_dir / "populations.csv")
    write_table(files[-1], result.populations)
    for name, table in drift_tables(result).items():
        files.append(out_dir / f"{name}.drift.csv")
        write_table(files[-1], table)
        files += write_figure(
            figures_precision.drift_figure(table), folder, f"drift_{name}", formats
        )
    return files


def write_measurements(
    result: RunResult, out_dir: Path, formats: Sequence[str] = FIGURE_FORMATS[:1]
) -> list[Path]:
    """Write spacings, columns, displacements, averages, strain and their figures."""
    from .figures.files import write_figure

    if not result.measurements:
        return []
    _made(out_dir / FIGURES)
    measured = result.measurements
    tables = {
        "spacings.csv": spacings_table(result),
        "columns.csv": columns_table(result),
        "displacement.csv": displacement_table(result),
        "budget.csv": budget_table(result),
        "precision.csv": precision_table(result),
        "lattices.csv": lattices_table(result),
    }
    files = []
    for name, table in tables.items():
        files.append(out_dir / name)
        write_table(files[-1], table)
    for name, measurement in measured.items():
        files += _write_class(result, name, measurement.average, measurement.strain, out_dir)
    for name, average in result.unmeasured.items():
        files += _write_class(result, name, average, None, out_dir)
    for name, figure in _measurement_figures(result).items():
        files += write_figure(figure, out_dir / FIGURES, name, formats)
    return files


def write_run(result: RunResult, out_dir: Path, files: list[Path]) -> list[Path]:
    """Write ``run.json``, which says how the other files came about; returns all files."""
    path = out_dir / RUN_FILE
    names = [file.relative_to(out_dir).as_posix() for file in files]
    old = [name for name in _listed(path) if name not in names and (out_dir / name).exists()]
    warnings = list(result.warnings)
    if old:
        warnings.append(f"left over from an earlier run, not part of this one: {', '.join(old)}")
    _made(out_dir)
    write_json(
        path,
        {
            **provenance(result),
            "versions": _versions(),
            "images": [
                {
                    "name": image.name,
                    "shape": list(image.data.shape),
                    "pixel_size_pm": image.pixel_size_pm,
                    "calibration": image.metadata.get("calibration"),
                    "metadata": {
                        key: value
                        for key, value in image.metadata.items()
                        if key != "simulation"  # the file itself holds it
                    },
                    "columns": len(sites),
                }
                for image, sites in zip(result.images, result.sites, strict=True)
            ],
            "a_ref_pm": a_ref_pm(result),
            "seconds": dict(result.seconds),
            "warnings": warnings,
            "files": names,
        },
    )
    return [*files, path]


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
    out_dir: Path,
) -> list[Path]:
    centre = (average.mean.shape[0] - 1) / 2
    metadata = {
        **provenance(result),
        "class": name,
        "n": average.n,
        "n_excluded": average.n_excluded,
        "expected_purity": average.purity,
        "expected_contaminants": dict(average.contaminants),
        "unit": "mean height of a metal column",
        "frame": FRAME,
        "lattice_pm": average.a_pm,
        "step_pm": average.step_pm,
        "origin_px": [centre, centre],
    }
    files = [out_dir / f"average_{name}.tif"]
    write_tiff(files[0], average.mean.astype(np.float32), average.step_pm, metadata)
    if strain is not None:
        files += _write_strain(strain, metadata, out_dir)
    return files


def _write_strain(strain: StrainField, metadata: dict[str, Any], out_dir: Path) -> list[Path]:
    step_pm = float(abs(strain.x_pm[1] - strain.x_pm[0]))
    metadata = {
        **metadata,
        "unit": "fraction, tension positive; rotation in radians, counter-clockwise positive",
        "step_pm": step_pm,
        # pixel of the lattice frame's origin, and the grid itself
        "origin_px": [float(strain.y_pm[0] / step_pm), float(-strain.x_pm[0] / step_pm)],
        "x_pm": strain.x_pm.tolist(),
        "y_pm": strain.y_pm.tolist(),
        "smoothing_pm": strain.smoothing_pm,
    }
    files = []
    for maps, suffix in ((strain.components, ""), (strain.sigma, ".sigma")):
        files.append(out_dir / f"strain_{strain.class_name}{suffix}.tif")
        stack = np.stack([maps[name] for name in STRAIN_COMPONENTS]).astype(np.float32)
        write_tiff(files[-1], stack, step_pm, metadata, channels=STRAIN_COMPONENTS)
    return files


def _measurement_figures(result: RunResult) -> dict[str, Figure]:
    from .figures import maps as figures
    from .figures import precision as figures_precision
    from .figures import spacings as figures_spacings
    from .figures import strain as figures_strain

    measured = result.measurements
    displacements = {n: m.displacement for n, m in measured.items() if m.displacement is not None}
    strains = {n: m.strain for n, m in measured.items() if m.strain is not None}
    averages = {n: m.average for n, m in measured.items()} | result.unmeasured
    drawn = {
        "averages": figures.averages_figure(result.stacks, averages),
        "spacings": figures_precision.spacing_figure(
            {n: m.single_spacing_pm.ravel() for n, m in measured.items()},
            {n: m.spacing for n, m in measured.items()},
            result.material,
        ),
        "precision_by_class": figures_spacings.precision_rows_figure(measured, result.material),
    }
    reference = result.material.class_names[1]
    curve = measured[reference].precision
    if curve is not None:
        drawn["precision"] = figures_precision.precision_figure(curve, reference)
    if budgets := {n: m.budget for n, m in measured.items() if m.budget is not None}:
        drawn["budget"] = figures_precision.budget_figure(budgets, result.material)
    if displacements:
        drawn["displacement"] = figures_strain.displacement_figure(averages, displacements, strains)
    for name, strain in strains.items():
        drawn[f"strain_{name}"] = figures_strain.strain_figure(strain, displacements[name])
    return drawn


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _listed(path: Path) -> list[str]:
    """Files that an earlier run.json lists; none where there is no readable one."""
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [str(name) for name in files]


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
