"""Regions of an image as files: ``<stem>.regions.tif`` for labels, ``.regions.csv`` for areas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..failures import Failures
from ..io.files import read_datasets, write_table, write_tiff
from ..types import DefectStrainError, Sites
from ..units import PM_PER_NM
from .regions import KINDS, Regions, label_regions, region_name

LABELS_SUFFIX = ".regions.tif"
TABLE_SUFFIX = ".regions.csv"


def regions_table(regions: Regions, pixel_size_pm: float | None) -> pd.DataFrame:
    """One row a region: label, name, area_px, area_nm2, fraction, orientation_deg, sense.

    All domains, then what is none of them, also where there is nothing of it. Without calibration
    ``area_nm2`` is NaN; ``orientation_deg`` and ``sense`` are empty for what is no domain.
    """
    nm2 = float("nan") if pixel_size_pm is None else (pixel_size_pm / PM_PER_NM) ** 2
    rows: list[dict[str, Any]] = []
    for domain in regions.domains:
        about = {"orientation_deg": domain.orientation_deg, "sense": domain.sense}
        rows.append({"label": domain.index, "area_px": domain.area_px, **about})
    rows += [{"label": label, "area_px": regions.area_px(label)} for label in KINDS]
    erased = regions.area_px(0)
    if erased:
        rows.append({"label": 0, "area_px": erased})
    table = pd.DataFrame(rows, columns=["label", "area_px", "orientation_deg", "sense"])
    table["sense"] = table["sense"].astype("Int64")
    table.insert(1, "name", [region_name(label) for label in table["label"]])
    table.insert(3, "area_nm2", table["area_px"] * nm2)
    table.insert(4, "fraction", table["area_px"] / regions.labels.size)
    return table


def write_regions(
    regions: Regions, place: Callable[[str], Path], stem: str, pixel_size_pm: float | None
) -> list[Path]:
    """Write both files of an image where `place` says by their names; returns them."""
    names = {str(label): region_name(label) for label in np.unique(regions.labels).tolist()}
    files = [place(f"{stem}{LABELS_SUFFIX}")]
    write_tiff(files[0], regions.labels, pixel_size_pm, {"labels": names})
    files.append(place(f"{stem}{TABLE_SUFFIX}"))
    write_table(files[1], regions_table(regions, pixel_size_pm))
    return files


def read_regions(path: str | Path, sites: Sites | None = None) -> Regions:
    """Regions from a label image, also one edited by hand.

    Parameters
    ----------
    path : path
        Image of whole numbers, see `regions`; TIFF or any other kind that `io` reads.
    sites : Sites, optional
        Columns of the image, which tell the orientation of the domains; without them it is unknown.

    Raises
    ------
    DefectStrainError
        If it can't be read or holds anything but the labels of regions.
    """
    found = read_datasets(path)
    if len(found) > 1:
        raise DefectStrainError(f"{path}: got {len(found)} images, expected one of region labels")
    labels = found[0].data
    try:
        return label_regions(labels, sites)
    except DefectStrainError as error:
        raise DefectStrainError(f"{path}: {error}") from error


def read_folder(
    folder: Path, names: Sequence[str], failures: Failures | None = None
) -> dict[str, Regions | None]:
    """The label images of a folder, by the names of the images; None for images without one.

    Parameters
    ----------
    folder : path
    names : sequence of str
        Of the images, each its own.
    failures : Failures, optional
        Collects images whose label image can't be read, which are left out of what is returned;
        else the first is raised.

    Raises
    ------
    DefectStrainError
        If it is no folder, holds none for any of the images, or one can't be read.
    """
    if not folder.is_dir():
        raise DefectStrainError(f"{folder}: got no folder, expected one with label images")
    paths = {name: folder / f"{name}{LABELS_SUFFIX}" for name in names}
    if not any(path.exists() for path in paths.values()):
        wanted = ", ".join(path.name for path in paths.values())
        raise DefectStrainError(f"{folder}: got no label image of regions, expected {wanted}")
    failures = failures or Failures(strict=True)
    found: dict[str, Regions | None] = {}
    for name, path in paths.items():
        with failures.left_out(name):
            found[name] = read_regions(path) if path.exists() else None
    failures.check_any_left(found)
    return found
