"""Cells of the lattice cut out of whole images, and which defects lie around each of them.

A cell is the rhombus around a chalcogen site, sampled alike at every site: the same point of the
cell is the same pixel of every cell. What a defect does to its surroundings is then a table, one
row for each neighbouring cell, that has to be found once a class.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.sparse import coo_array, csr_array
from scipy.spatial import cKDTree

from ..crystal.honeycomb import basis_pm, ideal_sites, index_columns
from ..types import METAL, OTHER, BoolArray, CalibratedImage, FloatArray, IntArray, Sites
from ..units import PM_PER_NM
from .patches import Patch
from .windows import SPLINE_ORDER, WindowSource

REACH_PM = 1200.0
"""How far a defect changes the picture: 37 cells around it in WSe2. What it does farther away is
the same for all sides alike, and noise for every other defect."""

SAMPLES = 16
"""Pixels of a cell along each lattice vector, some 20 pm wide."""

DISTORTION_NM = 4.0
"""Shortest half-wave of slow distortion, background and brightness."""

FLOOR_PM = 1300.0
"""The background of a cell is that of the hexagon centres up to here, as for single windows."""

KNOWN_SHARE = 0.97
"""Part of the cells around one that must hold a known column."""

STRANGE_REACH = 2.2
"""Lattice constants from a column of the class other within which no cell is used."""

DOUBTFUL = OTHER
"""The number of columns whose class isn't sure: a class of its own, fitted and forgotten."""

_HEXAGON = 0.15  # a; what counts as the centre of a hexagon
_SCATTER = 0.25  # a; a column farther from its site is none
_SPAN = 6  # cells beyond the outermost column, so that offsets need no check
_BORDER_PX = 3.0


@dataclass(frozen=True)
class CellFrame:
    """How cells are sampled, and which cells a defect reaches.

    Parameters
    ----------
    a_pm : float
        Lattice constant of the lattice frame [pm].
    """

    a_pm: float

    @cached_property
    def basis(self) -> FloatArray:
        """Lattice vectors as columns, `(2, 2)` [pm]."""
        return basis_pm(self.a_pm)

    @cached_property
    def offset(self) -> IntArray:
        """Cells within a defect's reach, `(D, 2)`, in lattice vectors; its own comes first."""
        site, is_metal = ideal_sites(self.a_pm, REACH_PM)
        return np.asarray(np.rint(np.linalg.solve(self.basis, site[~is_metal].T)).astype(int).T)

    @cached_property
    def sample_pm(self) -> FloatArray:
        """Pixels of a cell in the order of the lattice vectors, `(S^2, 2)`, (x, y) [pm]."""
        step = (np.arange(SAMPLES) - SAMPLES // 2) / SAMPLES
        first, second = np.meshgrid(step, step, indexing="ij")
        return np.asarray(np.stack([first.ravel(), second.ravel()], axis=1) @ self.basis.T)

    @cached_property
    def hexagon_centre(self) -> BoolArray:
        """Pixels of a cell at the centre of a hexagon, `(S^2,)`."""
        centre = np.array([0.0, -self.a_pm / np.sqrt(3)])
        away = np.linalg.solve(self.basis, (self.sample_pm - centre).T)
        away = self.basis @ (away - np.rint(away))
        return np.asarray(np.hypot(*away) < _HEXAGON * self.a_pm)


@dataclass(frozen=True)
class PatchCells:
    """The cells of one domain.

    Parameters
    ----------
    image_index : int
    around : sparse array, `(n, K D)`
        1 where a defect of the k-th class lies so that this cell is its d-th; `CellFrame.offset`.
    value : array, `(n, S^2)`
        Intensity above the background, in units of the metal's; float32.
    slow : array, `(n, Q)`
        Shapes that vary slowly over the image, orthonormal.
    role : array of int, `(n,)`
        Class of each cell's own column.
    cell : array of int, `(n, 2)`
        Where it lies, in lattice vectors.
    place_nm : array, `(n, 2)`
        Where it lies in the image [nm].
    pixel_nm : float
        Size of a pixel by the lattice [nm].
    """

    image_index: int
    around: csr_array
    value: FloatArray
    slow: FloatArray
    role: IntArray
    cell: IntArray
    place_nm: FloatArray
    pixel_nm: float

    def __len__(self) -> int:
        return len(self.role)

    def without(self, drop: BoolArray) -> PatchCells:
        """The same without some of the cells."""
        keep = np.flatnonzero(~drop)
        slow, _ = np.linalg.qr(self.slow[keep])
        return PatchCells(
            self.image_index,
            self.around[keep],
            self.value[keep],
            slow,
            self.role[keep],
            self.cell[keep],
            self.place_nm[keep],
            self.pixel_nm,
        )


def cut_cells(
    image: CalibratedImage,
    sites: Sites,
    patch: Patch,
    frame: CellFrame,
    roles: IntArray,
    min_probability: float,
    counted: BoolArray | None = None,
) -> PatchCells:
    """Sample all cells of a domain whose surroundings are known.

    Cells lie where the lattice and the slow distortion of the scan put them: a smooth fit to the
    distance of all columns from their sites, to which the fields of single defects are noise.

    Parameters
    ----------
    image, sites : CalibratedImage, Sites
    patch : Patch
        The domain.
    frame : CellFrame
    roles : array of int, `(K,)`
        Classes whose defects are looked for; `DOUBTFUL` are those of less than `min_probability`.
    min_probability : float
    counted : array of bool, `(N,)`, optional
        Columns whose cells may be used; None: all.
    """
    lattice, a_pm = patch.lattice, frame.a_pm
    certain = sites.probabilities[np.arange(len(sites)), sites.class_index] >= min_probability
    kind = np.where(patch.member, sites.role, OTHER)
    site, is_metal, off_pm = index_columns(sites.position_px, lattice)
    regular = (kind != OTHER) & ((kind == METAL) == is_metal)
    regular &= np.hypot(*off_pm.T) < _SCATTER * a_pm
    last = np.array(image.data.shape) - 1.0
    pixel_nm = 1.0 / float(np.sqrt(np.linalg.det(lattice.matrix))) / PM_PER_NM
    shapes = _slow_shapes(sites.position_px[regular] / last, last * pixel_nm)
    shapes = np.column_stack([shapes, is_metal[regular]])  # tilt moves one sublattice
    bend, *_ = np.linalg.lstsq(shapes, off_pm[regular], rcond=None)

    chalcogen = np.flatnonzero(regular & ~is_metal)
    role = np.where(certain[chalcogen], kind[chalcogen], DOUBTFUL)
    usable = np.ones(len(sites), dtype=bool) if counted is None else counted
    cell, table = _table(site[chalcogen], role, frame)
    known = sum(table[tuple((cell - d).T)] >= 0 for d in frame.offset)
    keep = (known >= KNOWN_SHARE * len(frame.offset)) & usable[chalcogen]
    centre = site[chalcogen]
    strange = lattice.to_pm(sites.position_px[patch.member & (sites.role == OTHER)])
    if len(strange):
        keep &= cKDTree(strange).query(centre)[0] > STRANGE_REACH * a_pm

    place = lattice.to_px(centre)
    shapes = _slow_shapes(place / last, last * pixel_nm)
    centre_px = lattice.to_px(centre + shapes @ bend[:-1])
    sample_px = frame.sample_pm @ lattice.matrix.T
    low, high = sample_px.min(axis=0) - _BORDER_PX, sample_px.max(axis=0) + _BORDER_PX
    keep &= ((centre_px + low >= 0) & (centre_px + high <= last)).all(axis=1)
    take = np.flatnonzero(keep)
    metal_px = sites.position_px[sites.is_metal & patch.member]
    source = WindowSource.of(image.data, metal_px, lattice, image.name)
    value = _sampled(source, centre_px[take], sample_px)
    value -= _floor(value, centre[take], frame)[:, None]
    slow, _ = np.linalg.qr(shapes[take]) if len(take) else (shapes[take], None)
    around = _around(cell[take], table, frame, roles)
    index = cell[take]
    return PatchCells(
        patch.image_index, around, value, slow, role[take], index, place[take] * pixel_nm, pixel_nm
    )


def _slow_shapes(place: FloatArray, extent_nm: FloatArray) -> FloatArray:
    """A plane, and cosines down to half-waves of `DISTORTION_NM`; places are 0-1, `(n, Q)`."""
    waves = np.maximum(extent_nm / DISTORTION_NM, 1e-9)
    shapes = [np.ones(len(place)), *(place - 0.5).T]
    for i in range(int(waves[0]) + 1):
        for j in range(int(waves[1]) + 1):
            if (i, j) != (0, 0) and (i / waves[0]) ** 2 + (j / waves[1]) ** 2 <= 1:
                shapes.append(np.cos(np.pi * i * place[:, 0]) * np.cos(np.pi * j * place[:, 1]))
    return np.stack(shapes, axis=1)


def _table(site_pm: FloatArray, role: IntArray, frame: CellFrame) -> tuple[IntArray, IntArray]:
    """Cells of chalcogen columns `(n, 2)`, and the class by cell, -1 where there is no column."""
    cell = np.rint(np.linalg.solve(frame.basis, site_pm.T)).astype(int).T
    cell = cell - cell.min(axis=0, initial=0) + _SPAN
    table = np.full(tuple(cell.max(axis=0, initial=0) + 1 + _SPAN), -1)
    table[tuple(cell.T)] = role
    return cell, table


def _around(cell: IntArray, table: IntArray, frame: CellFrame, roles: IntArray) -> csr_array:
    """Which defects lie around each cell, `(n, K D)`."""
    rows, columns = [np.zeros(0, dtype=int)], [np.zeros(0, dtype=int)]
    reach = len(frame.offset)
    for d, offset in enumerate(frame.offset):
        there = table[tuple((cell - offset).T)]
        for k, role in enumerate(roles):
            hit = np.flatnonzero(there == role)
            rows.append(hit)
            columns.append(np.full(len(hit), k * reach + d))
    row, column = np.concatenate(rows), np.concatenate(columns)
    shape = (len(cell), len(roles) * reach)
    return csr_array(coo_array((np.ones(len(row)), (row, column)), shape=shape))


def _sampled(source: WindowSource, centre_px: FloatArray, sample_px: FloatArray) -> FloatArray:
    value = np.empty((len(centre_px), len(sample_px)), dtype=np.float32)
    for start in range(0, len(centre_px), 1024):  # a chunk's coordinates are 4 MB
        place = centre_px[start : start + 1024, None] + sample_px
        value[start : start + 1024] = map_coordinates(
            source.coefficients,
            np.moveaxis(place, -1, 0),
            order=SPLINE_ORDER,
            mode="mirror",
            prefilter=False,
        )
    return np.asarray(value / source.height, dtype=np.float32)


def _floor(value: FloatArray, centre_pm: FloatArray, frame: CellFrame) -> FloatArray:
    """Mean over the hexagon centres around each cell, `(n,)`."""
    if len(value) == 0:
        return np.zeros(0, dtype=np.float32)
    own = value[:, frame.hexagon_centre].mean(axis=1)
    pairs = cKDTree(centre_pm).query_pairs(FLOOR_PM, output_type="ndarray")
    total, count = own.astype(float), np.ones(len(own))
    for here, there in (pairs.T, pairs.T[::-1]):
        total += np.bincount(here, own[there], minlength=len(own))
        count += np.bincount(here, minlength=len(own))
    return np.asarray(total / count, dtype=np.float32)
