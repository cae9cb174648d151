"""Displacements around a point defect from a relaxed structure, for simulated crystals.

Two structure files in any format that ASE reads, the supercell with the defect and the pristine
one, in the same cell. Columns are matched by minimum image; the two chalcogens of a column count
alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from ..types import DefectStrainError, FloatArray, IntArray, StrArray
from ..units import PM_PER_ANGSTROM

if TYPE_CHECKING:
    from ase import Atoms

_METALS = ("W", "Mo", "Nb", "V", "Ta", "Re")
_MATCH = 0.35
"""Largest distance between an atom and its place in the pristine cell [bond]."""


@dataclass(frozen=True)
class RelaxedField:
    """Displacement of each column of a supercell around its defect.

    Parameters
    ----------
    offset_pm : array, `(M, 2)`
        Place of each pristine column relative to the defect's, nearest image (x, y) [pm]; the
        nearest metals lie at 90, 210 and 330 degrees.
    displacement_pm : array, `(M, 2)`
        [pm]; zero where all atoms of the column are missing.
    lattice_pm : float
        Lattice constant of the supercell [pm].
    """

    offset_pm: FloatArray
    displacement_pm: FloatArray
    lattice_pm: float

    def at(self, offset_pm: FloatArray, lattice_pm: float) -> FloatArray:
        """Displacement at places `(..., 2)` of a lattice [pm], zero beyond the supercell.

        Lengths are scaled by the ratio of the lattice constants.
        """
        scale = lattice_pm / self.lattice_pm
        place = np.asarray(offset_pm, dtype=float).reshape(-1, 2) / scale
        distance, index = cKDTree(self.offset_pm).query(place)
        found = self.displacement_pm[index] * scale
        found[distance > _MATCH * self.lattice_pm / np.sqrt(3)] = 0
        return np.asarray(found.reshape(np.shape(offset_pm)))

    @property
    def spacing_change(self) -> float:
        """Relative change of the spacing of the three metal columns nearest to the defect."""
        ring = self.lattice_pm / np.sqrt(3)
        angle = np.deg2rad([90.0, 210.0, 330.0])
        corner = ring * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        moved = corner + self.at(corner, self.lattice_pm)
        sides = np.hypot(*(moved - np.roll(moved, 1, axis=0)).T)
        return float(sides.mean() / self.lattice_pm - 1)


def read_relaxed(defect: Path, pristine: Path) -> RelaxedField:
    """The field of a defect by its relaxed supercell and the pristine one.

    Raises
    ------
    DefectStrainError
        If the files can't be read, their cells differ, or they don't differ by one column.
    """
    with_defect, perfect = _read(defect), _read(pristine)
    if not np.allclose(with_defect.cell[:], perfect.cell[:], atol=0.02):
        raise DefectStrainError(
            f"{defect.name} and {pristine.name}: got different cells, expected the same supercell "
            "with and without the defect"
        )
    cell = np.asarray(perfect.cell[:2, :2]) * PM_PER_ANGSTROM  # rows
    column, place, is_metal = _columns(perfect, cell)
    bond = float(np.sort(cKDTree(place).query(place, k=2)[0][:, 1])[len(place) // 2])
    moved, changed = _match(with_defect, perfect, cell, bond)
    centre = np.unique(column[changed])
    if len(centre) != 1 or is_metal[centre[0]]:
        raise DefectStrainError(
            f"{defect.name}: {len(centre)} columns differ from {pristine.name} in their atoms, "
            "expected one chalcogen column"
        )
    count = np.bincount(column, weights=np.isfinite(moved[:, 0]), minlength=len(place))
    total = np.stack(
        [np.bincount(column, np.nan_to_num(moved[:, k]), minlength=len(place)) for k in (0, 1)],
        axis=1,
    )
    displacement = total / np.maximum(count, 1)[:, None]
    offset = nearest_image(place - place[centre[0]], cell)
    # Metals at 270, 30, 150 degrees: the other sense of the lattice, half a turn away
    metal = offset[is_metal]
    nearest = metal[np.argsort(np.hypot(*metal.T))[:3]]
    if np.sin(3 * np.arctan2(nearest[:, 1], nearest[:, 0])).mean() > 0:
        offset, displacement = -offset, -displacement
    return RelaxedField(offset, displacement, bond * np.sqrt(3))


def _read(path: Path) -> Atoms:
    import ase.io
    from ase import Atoms

    if not path.is_file():
        raise DefectStrainError(f"structure: got {path}, which is no file")
    try:
        found = ase.io.read(path)
    except Exception as error:  # every reader of ASE fails in its own way
        raise DefectStrainError(
            f"{path.name}: ASE can't read it ({error}); expected a structure file such as "
            "extxyz, cif or POSCAR"
        ) from error
    assert isinstance(found, Atoms)
    return found


def _symbols(atoms: Atoms) -> StrArray:
    return np.array([atom.symbol for atom in atoms])


def _columns(atoms: Atoms, cell: FloatArray) -> tuple[IntArray, FloatArray, np.ndarray]:
    """Column of each atom, the columns' places [pm] and which are metal."""
    place = atoms.positions[:, :2] * PM_PER_ANGSTROM
    metal = np.isin(_symbols(atoms), _METALS)
    column = np.full(len(place), -1)
    centres: list[FloatArray] = []
    kinds: list[bool] = []
    for i in range(len(place)):
        if column[i] >= 0:
            continue
        apart = nearest_image(place - place[i], cell)
        same = (np.hypot(*apart.T) < 40.0) & (metal == metal[i]) & (column < 0)
        column[same] = len(centres)
        centres.append(place[i] + apart[same].mean(axis=0))
        kinds.append(bool(metal[i]))
    return column, np.array(centres), np.array(kinds)


def _match(
    atoms: Atoms, pristine: Atoms, cell: FloatArray, bond: float
) -> tuple[FloatArray, np.ndarray]:
    """Displacement of each pristine atom `(A, 2)` [pm], NaN where missing, and which changed."""
    lengths = pristine.positions * PM_PER_ANGSTROM
    others = atoms.positions * PM_PER_ANGSTROM
    moved = np.full((len(lengths), 2), np.nan)
    species = _symbols(pristine)
    changed = np.zeros(len(lengths), dtype=bool)
    symbols = _symbols(atoms)
    for i, place in enumerate(lengths):
        apart = others - place
        apart[:, :2] = nearest_image(apart[:, :2], cell)
        nearest = int(np.argmin((apart**2).sum(axis=1)))
        if np.sqrt((apart[nearest] ** 2).sum()) > _MATCH * bond:
            changed[i] = True
            continue
        moved[i] = apart[nearest, :2]
        changed[i] = symbols[nearest] != species[i]
    return moved, changed


def nearest_image(offset_pm: FloatArray, cell_pm: FloatArray) -> FloatArray:
    """Shortest of the periodic images of offsets `(N, 2)` in a cell of two rows [pm]."""
    reduced = offset_pm @ np.linalg.inv(cell_pm)
    base = (reduced - np.rint(reduced)) @ cell_pm
    shift = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)]) @ cell_pm
    images = base[:, None] + shift  # (N, 9, 2)
    best = (images**2).sum(axis=2).argmin(axis=1)
    return np.asarray(images[np.arange(len(images)), best])


@lru_cache(maxsize=16)
def relaxed_field(defect: str, pristine: str) -> RelaxedField:
    """As `read_relaxed`; names of the bundled structures, such as ``SV_9x9.extxyz``, do too."""
    folder = files("napari_defectstrain.sample_data")
    with as_file(folder) as here:
        paths = [p if p.is_file() else Path(here) / p.name for p in (Path(defect), Path(pristine))]
        return read_relaxed(*paths)
