"""Lessons: images, their columns as somebody says they are, and where that was looked at.

Of a study, an image counts as a whole where the user says that all of it was looked at. Of others
only what lies around corrections is known: nobody may have looked at the rest. Those columns say
how bright a class is, but nothing of how many there are, for what was corrected was wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from ..evaluation import UNKNOWN, Truth
from ..failures import Failures
from ..io.pixels import check_pixels
from ..materials import ROLES, Material, get_material
from ..pipeline import RunConfig, Work, find_columns
from ..study import Study
from ..types import (
    BoolArray,
    CalibratedImage,
    DefectStrainError,
    FloatArray,
    IntArray,
    Progress,
    Sites,
    no_progress,
)

AROUND = 1.1
"""Lattice constants around a correction within which columns were looked at: its neighbours."""
_SAME_PX = 1e-2
_TILES = 4


@dataclass(frozen=True)
class Lesson:
    """An image and what is known of its columns.

    Parameters
    ----------
    image : CalibratedImage
    position_px : array, `(N, 2)`
        Columns (y, x) as they truly are [px].
    class_index : array of int, `(N,)`
        Index into `materials.ROLES`; `evaluation.UNKNOWN` where the class isn't one of them.
    looked : array of bool, `(H, W)`
        Where somebody looked: the rest of the columns may be anything.
    whole : bool
        Whether nothing was chosen by what was wrong with it: shares and errors can be counted.
    corrections : int
        How many places were corrected.
    """

    image: CalibratedImage
    position_px: FloatArray
    class_index: IntArray
    looked: BoolArray
    whole: bool
    corrections: int = 0

    @property
    def name(self) -> str:
        """Of the image."""
        return self.image.name

    @property
    def known(self) -> BoolArray:
        """Which of its columns somebody looked at, `(N,)`."""
        return self.looked_at(self.position_px)

    def looked_at(self, position_px: FloatArray) -> BoolArray:
        """Whether somebody looked at places `(n, 2)` [px], `(n,)`."""
        last = np.array(self.looked.shape) - 1
        row, col = np.clip(np.rint(position_px).astype(int), 0, last).T
        return np.asarray(self.looked[row, col])

    def within(self, mask: BoolArray) -> Lesson:
        """What it says of a part of the image, `(H, W)`."""
        return replace(self, looked=self.looked & mask)


def lesson_of_table(image: CalibratedImage, truth: Truth) -> Lesson:
    """An image of which a table lists every column.

    Parameters
    ----------
    image : CalibratedImage
    truth : Truth
        As `evaluation.read_truth` gives it.

    Raises
    ------
    DefectStrainError
        If columns have no class.
    """
    if (truth.class_index == UNKNOWN).any():
        raise DefectStrainError(
            f"{image.name}: got columns without a class, expected a class for each to learn from"
        )
    looked = np.ones(image.data.shape, dtype=bool)
    return Lesson(image, truth.position_px, truth.class_index, looked, True)


def lessons_of_study(study: Study, done: Collection[str] = ()) -> tuple[list[Lesson], list[str]]:
    """What the corrections of a study say.

    Parameters
    ----------
    study : Study
    done : collection of str
        Names of the images of which every column was looked at, corrected or not.

    Returns
    -------
    lessons : list of Lesson
        Of the images that were corrected or are done, in the study's order.
    notes : list of str

    Raises
    ------
    DefectStrainError
        If `done` names an image whose columns the study doesn't hold, or nothing was corrected.
    """
    there = [name for name in study.images if study.has_sites(name)]
    for name in done:
        if name not in there:
            raise DefectStrainError(
                f"{name}: got no image whose columns {study.path.name} holds, expected one of "
                f"{', '.join(there) or 'none'}"
            )
    places = {n: corrected_places(study.model_sites(n), study.sites(n)) for n in there}
    wanted = [name for name in there if name in done or len(places[name])]
    if not wanted:
        raise DefectStrainError(
            f"{study.path.name}: got no corrections, expected some; correct columns in napari, or "
            "name the images that are right as they are"
        )
    images, notes = study.load_images(wanted)
    material = get_material(study.config.material)
    lessons = []
    for image in images:
        lesson = _of_image(
            image, study.sites(image.name), places[image.name], image.name in done, material
        )
        if study.has_regions(image.name):
            lesson = lesson.within(study.regions(image.name).labels > 0)
        lessons.append(lesson)
    return lessons, notes


def _of_image(
    image: CalibratedImage, sites: Sites, places: FloatArray, done: bool, material: Material
) -> Lesson:
    shape = image.data.shape
    looked = np.ones(shape, dtype=bool)
    if not done:
        a_px = np.sqrt(3.0) * _nearest(sites)
        if image.pixel_size_pm:
            a_px = material.lattice_pm / image.pixel_size_pm
        away = np.ones(shape, dtype=bool)
        row, col = np.clip(np.rint(places).astype(int), 0, np.array(shape) - 1).T
        away[row, col] = False
        looked = distance_transform_edt(away) <= AROUND * a_px
    # classes with names of their own come from a weight that the user gives: nothing to learn
    role = np.where(sites.class_index < len(ROLES), sites.class_index, UNKNOWN)
    return Lesson(image, sites.position_px, role, looked, done, len(places))


def _nearest(sites: Sites) -> float:
    """Distance of neighbouring columns, `a / sqrt(3)` [px]."""
    if len(sites) < 2:
        return 1.0
    return float(np.median(cKDTree(sites.position_px).query(sites.position_px, k=2)[0][:, 1]))


def corrected_places(before: Sites, after: Sites) -> FloatArray:
    """Where columns were added, removed, moved or given another class, `(K, 2)` [px].

    Parameters
    ----------
    before, after : Sites
        The model's answer and what hands made of it.
    """
    if not len(before) or not len(after):
        return np.concatenate([before.position_px, after.position_px])
    away, there = cKDTree(before.position_px).query(after.position_px)
    new = away > _SAME_PX
    new |= before.class_name[there] != after.class_name
    gone = cKDTree(after.position_px).query(before.position_px)[0] > _SAME_PX
    return np.concatenate([after.position_px[new], before.position_px[gone]])


def in_tiles(lesson: Lesson, parts: int) -> list[Lesson]:
    """A lesson as several, each of some tiles of its image, spread over all of it.

    Parameters
    ----------
    lesson : Lesson
    parts : int
    """
    number = tile_numbers(lesson.looked.shape)
    return [lesson.within(number % parts == k) for k in range(parts)]


def tile_numbers(shape: tuple[int, ...]) -> IntArray:
    """Number of the tile that each pixel lies in, `(H, W)`; neighbouring ones differ."""
    row, col = (np.arange(n) * _TILES // n for n in shape)
    return np.asarray(row[:, None] * _TILES + (col + row[:, None]) % _TILES)


@dataclass(frozen=True)
class Seen:
    """A lesson, and what the network found in its image.

    Parameters
    ----------
    lesson : Lesson
    found : Sites
        Columns by the network.
    pixel_size_pm : float
        By the image's own lattice [pm].
    """

    lesson: Lesson
    found: Sites
    pixel_size_pm: float


def seen_lessons(
    lessons: Sequence[Lesson], config: RunConfig, progress: Progress = no_progress
) -> list[Seen]:
    """Lessons with what the network finds in their images, before the judge.

    Parameters
    ----------
    lessons : sequence of Lesson
    config : RunConfig
    progress : Progress

    Raises
    ------
    DefectStrainError
        If no columns are found in an image.
    """
    checked = [replace(lesson, image=check_pixels(lesson.image)[0]) for lesson in lessons]
    found = find_columns(
        {i: lesson.image for i, lesson in enumerate(checked)},
        config.replace(judge=config.judge.replace(enabled=False), material=_host(config)),
        Failures(strict=True),
        Work(),
        progress,
    )
    return [Seen(one, found[i].sites, found[i].pixel_size_pm) for i, one in enumerate(checked)]


def _host(config: RunConfig) -> str:
    return get_material(config.material).host.label
