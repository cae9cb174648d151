"""Columns that were saved before, or by another program, taken up on their image.

A file may hold every column with its class (our tables), every column without (atomap, ImageJ's
maxima), or some points only (a layer of defects). What it lacks is found in the picture: how its
axes lie, which columns are metal, how heavy each is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from ..crystal.lattice import metal_sublattice
from ..crystal.regions import Regions
from ..crystal.robust import robust_sigma
from ..io.pixels import check_pixels
from ..io.point_files import NAPARI, PointFile
from ..judge.judging import judge_images
from ..materials import MATERIALS, Material, get_material
from ..progress import subprogress
from ..types import (
    CalibratedImage,
    DefectStrainError,
    FloatArray,
    Progress,
    Sites,
    StrArray,
    no_progress,
)
from .by_image import by_thresholds, column_brightness, lattice_px
from .chain import detect
from .loading import calibrate
from .placement import MIN_COLUMNS, image_contrast, place_positions, place_sites
from .runs import RunConfig

EVERY_COLUMN = 0.5
"""Share of the crystal's columns from which on a table without classes is one of all columns."""


@dataclass(frozen=True)
class OpenedColumns:
    """What a file says of an image.

    Parameters
    ----------
    image : CalibratedImage
        With its pixel size, by the file or by its lattice.
    sites : Sites or None
        Every column with its class; None where the file holds some points only.
    regions : Regions or None
        Of the image, where there are sites.
    position_px : array, `(N, 2)`
        (y, x) of the points where the picture has them [px].
    classes : array of str, `(N,)`, or None
        Of the points, where the file has them.
    points : PointFile
        As they were in the file.
    notes : tuple of str
        What was made good, and what is doubtful.
    """

    image: CalibratedImage
    sites: Sites | None
    regions: Regions | None
    position_px: FloatArray
    classes: StrArray | None
    points: PointFile
    notes: tuple[str, ...]


def material_of_points(points: PointFile, preferred: str) -> str:
    """The material whose names of classes a file uses; the preferred one where it uses none.

    Raises
    ------
    DefectStrainError
        If no material has all of its classes.
    """
    for name in (preferred, *MATERIALS):
        if set(points.classes) <= set(get_material(name).all_class_names):
            return name
    raise DefectStrainError(
        f"{points.name}: got the classes {', '.join(points.classes)}, expected those of one "
        "material, as 2Se, SeTe, 2Te, SV, DV of WSe2"
    )


def open_columns(
    image: CalibratedImage,
    points: PointFile,
    config: RunConfig,
    progress: Progress = no_progress,
) -> OpenedColumns:
    """Take up the points of a file on their image.

    Parameters
    ----------
    image : CalibratedImage
    points : PointFile
    config : RunConfig
        Its material, judge and regions count.
    progress : Progress

    Raises
    ------
    DefectStrainError
        If the image shows no lattice of the material, or the points are those of another image.
    """
    material = get_material(config.material)
    checked, doubts = check_pixels(image)
    calibrated, told = calibrate(checked, material, config.pixel_size_pm)
    notes = (*doubts, *told)
    a_px = lattice_px(calibrated, material)
    progress(0.1, "placing the points")
    every = _share(points.position, calibrated, a_px) >= EVERY_COLUMN
    if points.classes and (every or material.class_names[0] in points.classes):
        sites = points.sites(material.all_class_names)
    elif points.classes or not every or len(points) < MIN_COLUMNS:
        position, classes, said = _some(calibrated, points, a_px, material)
        return OpenedColumns(calibrated, None, None, position, classes, points, (*notes, *said))
    else:
        position, said = place_positions(calibrated, points.position, a_px, strict=True)
        notes += said or (
            f"{image.name}: the file counts pixels from 0, y down, as the picture has it",
        )
        part = subprogress(progress, 0.1, 0.8)
        sites, said = _classified(calibrated, position, material, config, part)
        notes += said
    found = detect([calibrated], config, [sites], subprogress(progress, 0.8, 1.0))
    said = tuple(note for note in found.warnings if note not in notes)
    columns = found.sites[0]
    return OpenedColumns(
        image=calibrated,
        sites=columns,
        regions=found.regions[0],
        position_px=np.asarray(columns.position_px, dtype=float),
        classes=columns.class_name,
        points=points,
        notes=(*notes, *said),
    )


def _share(position: FloatArray, image: CalibratedImage, a_px: float) -> float:
    """Points for each column of a crystal that fills what they cover, in any unit of length."""
    if len(position) < MIN_COLUMNS:
        return 0.0
    sides = np.abs(np.subtract(*np.quantile(position, (0.95, 0.05), axis=0))) / 0.9
    expected = 4 / np.sqrt(3) / a_px**2
    shape = np.array(image.data.shape, dtype=float)
    # in pixels, or, where they reach beyond the image, in a unit in which they fill it
    covered = np.prod(sides) if (sides <= 1.1 * shape.max()).all() else np.prod(shape)
    return float(len(position) / max(expected * min(covered, np.prod(shape)), 1e-9))


def _some(
    image: CalibratedImage, points: PointFile, a_px: float, material: Material
) -> tuple[FloatArray, StrArray | None, tuple[str, ...]]:
    """Some points: napari's are as they were shown, others as the picture says, if it does."""
    if not points.classes:
        if points.origin == NAPARI:
            return points.position, None, ()
        position, notes = place_positions(image, points.position, a_px, strict=False)
        unknown = (
            f"{image.name}: of some columns the picture doesn't tell whether pixels count from 0 "
            "or 1, nor whether y points down: from 0 and down is assumed"
        )
        return position, None, (*notes, unknown)
    placed, notes = points.sites(material.all_class_names), ()
    if points.origin != NAPARI:
        placed, notes = place_sites(image, placed, a_px, column_brightness(material))
    return np.asarray(placed.position_px, dtype=float), placed.class_name, notes


def _classified(
    image: CalibratedImage,
    position_px: FloatArray,
    material: Material,
    config: RunConfig,
    progress: Progress,
) -> tuple[Sites, tuple[str, ...]]:
    """Columns of known places: their sublattice by the vote of all, their class by their weight."""
    names = material.class_names
    contrast = image_contrast(image.data, lattice_px(image, material))
    found = map_coordinates(contrast, position_px.T, order=1, mode="nearest")
    brighter = (found - np.median(found)) / max(robust_sigma(found), 1e-12)
    metal, chalcogen, *_ = column_brightness(material)
    is_metal = metal_sublattice(position_px, brighter if metal >= chalcogen else -brighter)
    index = np.where(is_metal, 0, 1)
    start = Sites(
        position_px=position_px,
        probabilities=np.eye(len(names))[index],
        class_index=index,
        class_names=names,
        source=np.full(len(index), "file"),
    )
    pixel_pm = material.lattice_pm / lattice_px(image, material)
    (judged,) = judge_images([image], [start], [pixel_pm], material, config.judge, progress)
    if judged.classes is None:
        raise DefectStrainError(
            f"{image.name}: got positions without classes, and the picture doesn't tell them"
            + "".join(f": {note}" for note in judged.warnings)
        )
    sites = by_thresholds(judged.sites, config.detect)
    counts = ", ".join(_counts(sites, names[2:]))
    note = (
        f"{image.name}: the file has positions without classes: {int(is_metal.sum())} of "
        f"{len(index)} are {names[0]} by their brightness; {counts} by their weights"
    )
    return sites, (note, *judged.warnings)


def _counts(sites: Sites, names: Sequence[str]) -> list[str]:
    found = sites.class_name
    return [f"{int((found == name).sum())} {name}" for name in names if (found == name).any()]
