"""Find the regions of an image: 2H domains, boundaries, other phases, holes, contamination.

What tells them (`region_evidence`):

* order: the columns' threefold surroundings (`regions.lattice_turn`) agree in phase, metal and
  chalcogen each with its sense, in 2H only;
* contrast: chalcogen sites are brighter than hexagon centres. In 1T and 1T' both hold one
  chalcogen, and a network that has only seen 2H invents a honeycomb there;
* coverage: no point of a crystal lies farther than 0.58 a from a column, even beside a missing one;
* level: of hexagon centres where there are columns, else of the image, for dirt and holes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import distance_transform_edt, label

from ..progress import subprogress
from ..types import (
    METAL,
    BoolArray,
    CalibratedImage,
    FloatArray,
    IntArray,
    Progress,
    Sites,
    no_progress,
)
from .blank import blank_area
from .region_evidence import CELLS, MIN_ORDER, UNIT_CELL, ComplexArray, Evidence, Grid, mean_near
from .regions import (
    BOUNDARY,
    CONTAMINATED,
    HOLE,
    MAX_DOMAINS,
    NOT_2H,
    LabelArray,
    RegionConfig,
    Regions,
    label_regions,
    lattice_turn,
    without_foreign_defects,
)

# Lengths in lattice constants
_EDGE_SIGMA = 0.6
_BAND = 0.5  # of a domain along another region
_CUT = 0.9  # beside areas without data
_THICK = 1.0  # half the width of what is an area of its own, not a boundary

_MIN_FIT = 0.35  # cosine of three times the angle between a column's surroundings and its domain's
_TURN_PER_A = 0.2  # gradient of the angle that parts domains, of `min_angle_deg`
_SMALL = 2.0  # unit cells; smaller gaps are filled
_CLUSTER = 6.0  # unit cells; smaller disturbances inside of one domain belong to it


def divide_images(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    a_px: Sequence[float],
    config: RegionConfig | None = None,
    given: Sequence[Regions | None] | None = None,
    progress: Progress = no_progress,
) -> tuple[list[Sites], list[Regions]]:
    """Find the regions of each image; the columns of other phases become class other.

    Parameters
    ----------
    images, sites : sequences
    a_px : sequence of float
        Lattice constant in each image [px].
    config : RegionConfig, optional
    given : sequence of Regions or None, optional
        Regions that are known already; their domains are measured by the columns.
    progress : Progress
    """
    known = []
    asked = zip(images, sites, a_px, given or [None] * len(images), strict=True)
    for i, (image, columns, a, found) in enumerate(asked):
        part = subprogress(progress, i / len(images), (i + 1) / len(images), f"{image.name}: ")
        part(0.0, "finding regions")
        if found is None:
            known.append(find_regions(image.data, columns, a, config, part))
        else:
            known.append(label_regions(found.labels, columns))
    kept = [without_foreign_defects(s, r) for s, r in zip(sites, known, strict=True)]
    return kept, known


def find_regions(
    data: FloatArray,
    sites: Sites,
    a_px: float,
    config: RegionConfig | None = None,
    progress: Progress = no_progress,
) -> Regions:
    """Divide an image into 2H domains, boundaries, not 2H, holes and contamination.

    Parameters
    ----------
    data : array, `(H, W)`
    sites : Sites
        Its columns; which of them are metal tells a domain from its mirror twin.
    a_px : float
        Lattice constant [px].
    config : RegionConfig, optional
    progress : Progress

    Returns
    -------
    Regions
        At the resolution of the image, with outlines in steps of a quarter lattice constant.
    """
    config = config or RegionConfig()
    grid = Grid.over((data.shape[0], data.shape[1]), a_px)
    if not (sites.class_index == METAL).any():
        return label_regions(np.full(data.shape, NOT_2H, dtype=np.uint8), sites)
    turn = lattice_turn(sites)
    evidence = Evidence.of(data, sites, turn, grid, a_px, config, subprogress(progress, 0.1, 0.6))
    progress(0.6, "telling domains")
    domain = _domains(evidence, config)
    progress(0.7, "telling domains")
    fits = _fits(domain, evidence, sites, turn, grid)
    progress(0.75, "filling regions")
    labels = _labelled(domain, fits, evidence, config)
    progress(0.95, "measuring regions")
    every = _without_blank(grid.spread(_by_size(labels, config)), data, a_px)
    return label_regions(every, sites, turn)


def _without_blank(labels: LabelArray, data: FloatArray, a_px: float) -> LabelArray:
    """Where there are no data is a hole, and beside it nothing is usable: columns there are cut."""
    blank = blank_area(data, a_px)
    if blank is None:
        return labels
    beside = (distance_transform_edt(~blank) <= _CUT * a_px) & (labels <= MAX_DOMAINS)
    return np.where(blank, HOLE, np.where(beside, BOUNDARY, labels)).astype(np.uint8)


def _domains(evidence: Evidence, config: RegionConfig) -> IntArray:
    """Number of the nearest domain for every cell (-1 where there is none at all)."""
    phase = evidence.angle
    bend = np.zeros(phase.shape)
    for axis in (0, 1):
        if phase.shape[axis] > 1:
            turned = np.angle(
                np.take(phase, range(1, phase.shape[axis]), axis)
                * np.conj(np.take(phase, range(phase.shape[axis] - 1), axis))
            )
            pad = [(0, 1) if k == axis else (0, 0) for k in (0, 1)]
            bend = np.hypot(bend, np.pad(turned, pad, mode="edge"))
    degrees_per_a = np.rad2deg(bend) / 3 * CELLS
    core = evidence.covered & evidence.is_2h & (np.abs(evidence.order) > MIN_ORDER)
    core &= degrees_per_a < _TURN_PER_A * config.min_angle_deg
    number, count = label(core)
    size = np.bincount(number.ravel(), minlength=count + 1)
    number[size[number] < config.min_cells * UNIT_CELL / 2] = 0
    if not number.any():
        return np.full(number.shape, -1)
    nearest = distance_transform_edt(number == 0, return_distances=False, return_indices=True)
    number = number[tuple(nearest)]
    return _merged(number, phase, evidence.covered & evidence.is_2h, config.min_angle_deg)


def _merged(
    number: IntArray, phase: ComplexArray, inside: BoolArray, min_angle_deg: float
) -> IntArray:
    """Neighbours in the crystal that are turned by less than the least angle become one."""
    _, number = np.unique(number, return_inverse=True)
    number = number.reshape(inside.shape)
    count = int(number.max()) + 1
    flat, wave = number[inside], phase[inside]
    mean = np.bincount(flat, wave.real, count) + 1j * np.bincount(flat, wave.imag, count)
    pairs = []
    for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        meet = inside[a] & inside[b] & (number[a] != number[b])
        pairs.append(np.stack([number[a][meet], number[b][meet]], axis=1))
    parent = np.arange(count)
    for i, j in np.unique(np.concatenate(pairs), axis=0).tolist():
        i, j = _root(parent, i), _root(parent, j)
        apart = abs(np.rad2deg(np.angle(mean[i] * np.conj(mean[j]))) / 3)
        if i != j and apart < min_angle_deg:
            parent[j] = i
            mean[i] += mean[j]
    return np.array([_root(parent, k) for k in range(count)])[number]


def _root(parent: IntArray, k: int) -> int:
    while parent[k] != k:
        k = int(parent[k])
    return k


def _fits(
    domain: IntArray, evidence: Evidence, sites: Sites, turn: ComplexArray, grid: Grid
) -> BoolArray:
    """Cells whose columns, most of them, are ordered as their domain is."""
    if domain.min() < 0:
        return np.zeros(domain.shape, dtype=bool)
    # the angle of the nearest cell well inside of the domain
    core = evidence.is_2h & (np.abs(evidence.order) > MIN_ORDER)
    nearest = distance_transform_edt(~core, return_distances=False, return_indices=True)
    phase = evidence.angle[tuple(nearest)]
    mean = np.bincount(domain.ravel(), phase.real.ravel()) + 1j * np.bincount(
        domain.ravel(), phase.imag.ravel()
    )
    same = np.real(phase * np.conj(mean[domain])) > 0
    phase = np.where(same, phase, (mean / np.maximum(np.abs(mean), 1e-12))[domain])
    position = np.asarray(sites.position_px, dtype=float)
    at = grid.cell_of(position)
    counted = ~sites.is_other
    good = (np.real(turn * np.conj(phase[at])) > _MIN_FIT) & counted
    every = grid.sums(position, np.ones(len(position)))
    share = mean_near(grid.sums(position[good], np.ones(int(good.sum()))), every, _EDGE_SIGMA)
    return np.asarray(evidence.covered & evidence.is_2h & (share > 0.5))


def _labelled(
    domain: IntArray, fits: BoolArray, evidence: Evidence, config: RegionConfig
) -> IntArray:
    """Label of every cell: 1 + number of its domain, or minus the label of its kind."""
    labels = np.where(fits, domain + 1, 0)
    labels[(evidence.dark & ~fits) | (~evidence.covered & evidence.dark)] = -HOLE
    labels[(labels == 0) & ~evidence.covered] = -NOT_2H
    dirty = _without_small(evidence.dirt > config.contamination, _SMALL)
    labels[(labels == -NOT_2H) & (evidence.dirt > config.contamination)] = -CONTAMINATED
    labels = _filled(labels, config)
    labels[dirty & (labels != -HOLE)] = -CONTAMINATED
    return labels


def _filled(labels: IntArray, config: RegionConfig) -> IntArray:
    """Small gaps go to what surrounds them; the rest is split into boundaries and areas."""
    hole = _without_small(labels == -HOLE, _SMALL)
    labels = np.where((labels == -HOLE) & ~hole, 0, labels)
    # blobs that no domain claims
    loose = (labels == 0) | (labels == -NOT_2H)
    number, count = label(loose)
    if count:
        size = np.bincount(number.ravel(), minlength=count + 1)
        nearest = distance_transform_edt(labels <= 0, return_distances=False, return_indices=True)
        guess = labels[tuple(nearest)]
        rim = loose & (distance_transform_edt(loose) <= 1)
        lowest, highest = np.full(count + 1, np.iinfo(int).max), np.zeros(count + 1, dtype=int)
        np.minimum.at(lowest, number[rim], guess[rim])
        np.maximum.at(highest, number[rim], guess[rim])
        absorbed = (size < _CLUSTER * UNIT_CELL) & (lowest == highest) & (lowest > 0)
        labels = np.where(loose & absorbed[number], guess, labels)
        loose &= ~absorbed[number]
    if loose.any():
        core = distance_transform_edt(loose) > _THICK * CELLS
        area = loose & (distance_transform_edt(~core) <= _THICK * CELLS) & core.any()
        labels = np.where(area, -NOT_2H, np.where(loose, -BOUNDARY, labels))
    return _with_band(labels)


def _with_band(labels: IntArray) -> IntArray:
    """Cells of a domain close to another domain or another phase become boundary."""
    matters = (labels > 0) | (labels == -NOT_2H)
    result = labels.copy()
    reach = int(_BAND * CELLS)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if 0 < dy * dy + dx * dx <= reach * reach:
                here, there = _shifted(dy, dx)
                touch = matters[there] & (labels[here] > 0) & (labels[there] != labels[here])
                result[here][touch] = -BOUNDARY
    return result


def _shifted(dy: int, dx: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    def pair(d: int) -> tuple[slice, slice]:
        return slice(max(0, -d), -d if d > 0 else None), slice(max(0, d), d if d < 0 else None)

    (y0, y1), (x0, x1) = pair(dy), pair(dx)
    return (y0, x0), (y1, x1)


def _without_small(mask: BoolArray, unit_cells: float) -> BoolArray:
    """The mask without connected areas below so many unit cells."""
    number, _ = label(mask)
    size = np.bincount(number.ravel())
    return np.asarray(mask & (size[number] >= unit_cells * UNIT_CELL))


def _by_size(labels: IntArray, config: RegionConfig) -> LabelArray:
    """Domains numbered by area, the largest first; those too small or too many are boundary."""
    size = np.bincount(np.maximum(labels, 0).ravel())
    size[0] = 0
    order = np.argsort(-size, kind="stable")
    order = order[size[order] >= config.min_cells * UNIT_CELL][:MAX_DOMAINS]
    table = np.full(len(size), BOUNDARY)
    table[order] = np.arange(1, len(order) + 1)
    return np.where(labels > 0, table[np.maximum(labels, 0)], -labels).astype(np.uint8)
