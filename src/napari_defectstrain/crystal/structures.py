"""Relaxed supercells: how far each column of a defect's structure has moved, in the lattice frame.

Two structures in any of `structure_files.FORMATS`, the supercell with the defect and the pristine
one in the same cell, as density functional or force-field relaxations leave them. Atoms are matched
by minimum image, missing ones allowed; the species left in the defect's column say its class. The
structure is turned into the lattice frame by its own lattice, whichever way it lies in its cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from ..materials import DEFECT_ROLES, ROLES
from ..types import BoolArray, DefectStrainError, FloatArray, IntArray, StrArray
from ..units import PM_PER_ANGSTROM
from .structure_files import read_structure

if TYPE_CHECKING:
    from ase import Atoms

CHALCOGENS = ("O", "S", "Se", "Te")
MATCH = 0.35
"""Largest distance between an atom and its place in the pristine structure [bond length]."""
SAME_COLUMN_PM = 40.0
ON_BORDER_PM = 20.0
"""Columns as far from two images of the defect belong to both: distances are equal to this."""
FAR = 0.7
"""Columns beyond this share of the supercell's reach are far from the defect."""
SMALL_CELL_PM = 2300.0
"""Supercells whose images are nearer than this (7 a in WSe2) feel each other within 1 nm."""

_TOGETHER = 64  # atoms whose distances from all others are looked at at a time
_NEIGHBOURS = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)])
_TRIED = 8
_ALIKE_PM = 60.0
"""A common shift that is no other origin: the median of the atoms finds it."""


@dataclass(frozen=True)
class RelaxedColumns:
    """Displacement of each column of a supercell around its defect, in the lattice frame.

    Parameters
    ----------
    role : str
        Class of the defect: one of `materials.DEFECT_ROLES`.
    offset_pm : array, `(M, 2)`
        Place of each pristine column relative to the defect's, nearest image (x, y) [pm]; the
        nearest metals lie at 90, 210 and 330 degrees.
    is_metal : array of bool, `(M,)`
    displacement_pm : array, `(M, 2)`
        Mean of the column's atoms, each against its own place in the pristine structure, less
        `drift_pm` [pm]; NaN where all atoms of the column are missing.
    out_of_plane_pm : array, `(M,)`
        Largest change of height among the column's atoms [pm]; NaN as above.
    drift_pm : array, `(2,)`
        Mean displacement of the far columns, taken out, beside a common shift of all atoms (another
        origin) [pm].
    lattice_pm : float
        Lattice constant of the pristine structure [pm].
    cell_pm : array, `(2, 2)`
        Vectors of the supercell, one a row [pm].
    turn : array, `(2, 2)`
        Rotation from the file's axes into the lattice frame.
    centre_pm : array, `(2,)`
        The defect's column in the file of the pristine structure (x, y) [pm].
    reach_pm : float
        Half the distance of the defect from its nearest periodic image [pm].
    species : tuple of str
        Metal and chalcogen of the pristine structure.
    substituent : str
        What takes the chalcogen's place in the defect; empty for vacancies.
    notes : tuple of str
        What to know before one trusts it.
    """

    role: str
    offset_pm: FloatArray
    is_metal: BoolArray
    displacement_pm: FloatArray
    out_of_plane_pm: FloatArray
    drift_pm: FloatArray
    lattice_pm: float
    cell_pm: FloatArray
    turn: FloatArray
    centre_pm: FloatArray
    reach_pm: float
    species: tuple[str, str]
    substituent: str = ""
    notes: tuple[str, ...] = ()

    def at(self, offset_pm: FloatArray, lattice_pm: float) -> FloatArray:
        """Displacement at places `(..., 2)` of a lattice [pm].

        Lengths are scaled by the ratio of the lattice constants. NaN where there is no column, the
        column is empty, or a periodic image of the defect is nearer than the defect.
        """
        scale = lattice_pm / self.lattice_pm
        place = np.asarray(offset_pm, dtype=float).reshape(-1, 2) / scale
        images = (self.offset_pm + shift for shift in _NEIGHBOURS @ self.cell_pm)
        distance, index = cKDTree(np.concatenate(list(images))).query(place)
        found = self.displacement_pm[index % len(self.offset_pm)] * scale
        beyond = np.hypot(*place.T) > np.hypot(*nearest_image(place, self.cell_pm).T) + ON_BORDER_PM
        found[beyond | (distance > MATCH * self.lattice_pm / np.sqrt(3.0))] = np.nan
        return np.asarray(found.reshape(np.shape(offset_pm)))

    @property
    def spacing_change(self) -> float:
        """Relative change of the spacing of the three metal columns nearest to the defect."""
        ring = self.lattice_pm / np.sqrt(3.0)
        angle = np.deg2rad([90.0, 210.0, 330.0])
        corner = ring * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        moved = corner + self.at(corner, self.lattice_pm)
        sides = np.hypot(*(moved - np.roll(moved, 1, axis=0)).T)
        return float(sides.mean() / self.lattice_pm - 1.0)


def read_relaxed(defect: Path, pristine: Path) -> RelaxedColumns:
    """Displacements around a defect by its relaxed supercell and the pristine one.

    Parameters
    ----------
    defect, pristine : path
        Structure files, see `structure_files.FORMATS`; the layer's normal along z.

    Returns
    -------
    RelaxedColumns

    Raises
    ------
    DefectStrainError
        If a file can't be read, the cells differ, the layer doesn't lie in the xy plane or is no
        2H monolayer, or the two don't differ in exactly one chalcogen column.
    """
    with_defect, perfect = read_structure(defect), read_structure(pristine)
    if not np.allclose(with_defect.cell[:], perfect.cell[:], atol=0.02):
        raise DefectStrainError(
            f"{defect.name} and {pristine.name}: got different cells, expected the same supercell "
            "with and without the defect"
        )
    metal, chalcogen = _species(perfect, pristine.name)
    cell = np.asarray(perfect.cell[:2, :2]) * PM_PER_ANGSTROM  # rows
    column, place, is_metal = _columns(perfect, cell, metal)
    lattice_pm, turn = _lattice(place, is_metal, cell, pristine.name)
    bond_pm = lattice_pm / np.sqrt(3.0)
    moved, changed = _match(with_defect, perfect, cell, bond_pm)
    centre = np.unique(column[changed])
    if len(centre) != 1 or is_metal[centre[0]]:
        raise DefectStrainError(
            f"{defect.name}: {len(centre)} columns differ from {pristine.name} in their atoms, "
            "expected one chalcogen column"
        )
    role = _role(with_defect, perfect, column == centre[0], len(with_defect), defect.name)
    displacement, height = _by_column(moved, column, len(place))
    offset = nearest_image(place - place[centre[0]], cell)
    images = np.array([cell[0], cell[1], cell[0] + cell[1], cell[0] - cell[1]])
    reach_pm = float(np.hypot(*images.T).min()) / 2.0
    far = np.hypot(*offset.T) > FAR * reach_pm
    drift = np.nanmean(displacement[far], axis=0)
    notes = []
    if 2.0 * reach_pm < SMALL_CELL_PM:
        notes.append(
            f"{defect.name}: periodic images of the defect lie {2 * reach_pm / 1000:.2f} nm apart; "
            "their fields overlap within 1 nm, a larger supercell (9 x 9) is needed"
        )
    return RelaxedColumns(
        role=role,
        offset_pm=offset @ turn.T,
        is_metal=is_metal,
        displacement_pm=(displacement - drift) @ turn.T,
        out_of_plane_pm=height,
        drift_pm=turn @ drift,
        lattice_pm=lattice_pm,
        cell_pm=cell @ turn.T,
        turn=turn,
        centre_pm=place[centre[0]],
        reach_pm=reach_pm,
        species=(metal, chalcogen),
        substituent=_substituent(with_defect, perfect, defect.name),
        notes=tuple(notes),
    )


def nearest_image(offset_pm: FloatArray, cell_pm: FloatArray) -> FloatArray:
    """Shortest of the periodic images of offsets `(N, 2)` in a cell of two rows [pm]."""
    reduced = offset_pm @ np.linalg.inv(cell_pm)
    base = (reduced - np.rint(reduced)) @ cell_pm
    shift = _NEIGHBOURS @ cell_pm
    x, y = base[:, :1] + shift[:, 0], base[:, 1:] + shift[:, 1]  # (N, 9)
    best = (x * x + y * y).argmin(axis=1)
    return np.asarray(base + shift[best])


def _symbols(atoms: Atoms) -> StrArray:
    return np.array([atom.symbol for atom in atoms])


def _species(perfect: Atoms, name: str) -> tuple[str, str]:
    """Metal and chalcogen of a pristine monolayer that lies in the xy plane."""
    symbols, count = np.unique(_symbols(perfect), return_counts=True)
    chalcogen = [i for i, s in enumerate(symbols) if s in CHALCOGENS]
    if len(symbols) != 2 or len(chalcogen) != 1:
        raise DefectStrainError(
            f"{name}: got the elements {', '.join(symbols)}, expected one metal and one chalcogen "
            "in the pristine structure"
        )
    x = chalcogen[0]
    if count[x] != 2 * count[1 - x]:
        raise DefectStrainError(
            f"{name}: got {count[1 - x]} {symbols[1 - x]} and {count[x]} {symbols[x]}, expected "
            "two chalcogens a metal in the pristine structure"
        )
    tilt = np.abs(np.asarray(perfect.cell[:2, 2])).max()
    height = perfect.positions[_symbols(perfect) == symbols[1 - x], 2]
    if tilt > 0.05 or np.ptp(height) > 0.5:
        raise DefectStrainError(
            f"{name}: the metal atoms don't lie in one plane of constant z, expected a monolayer "
            "with its normal along z"
        )
    return str(symbols[1 - x]), str(symbols[x])


def _columns(atoms: Atoms, cell: FloatArray, metal: str) -> tuple[IntArray, FloatArray, BoolArray]:
    """Column of each atom, the columns' places [pm] and which are metal."""
    place = atoms.positions[:, :2] * PM_PER_ANGSTROM
    of_metal = _symbols(atoms) == metal
    column = np.full(len(place), -1)
    centres: list[FloatArray] = []
    kinds: list[bool] = []
    for i in range(len(place)):
        if column[i] >= 0:
            continue
        apart = nearest_image(place - place[i], cell)
        same = (np.hypot(*apart.T) < SAME_COLUMN_PM) & (of_metal == of_metal[i]) & (column < 0)
        column[same] = len(centres)
        centres.append(place[i] + apart[same].mean(axis=0))
        kinds.append(bool(of_metal[i]))
    return column, np.array(centres), np.array(kinds)


def _lattice(
    place: FloatArray, is_metal: BoolArray, cell: FloatArray, name: str
) -> tuple[float, FloatArray]:
    """Lattice constant [pm], and the rotation `(2, 2)` into the lattice frame."""
    metal, chalcogen = place[is_metal], place[~is_metal]
    if len(metal) != len(chalcogen) or len(metal) < 9:
        raise DefectStrainError(
            f"{name}: got {len(metal)} metal and {len(chalcogen)} chalcogen columns along z, "
            "expected as many of each, at least 9: a supercell of a 2H monolayer (1T has none)"
        )
    bonds = np.stack([nearest_image(metal - c, cell) for c in chalcogen])  # (n, metals, 2)
    order = np.argsort(np.hypot(bonds[..., 0], bonds[..., 1]), axis=1)[:, :3]
    bonds = np.take_along_axis(bonds, order[..., None], axis=1)
    length = np.hypot(bonds[..., 0], bonds[..., 1])
    # Threefold: the mean of exp(3 i angle) is the same for all three bonds of all columns
    threefold = np.mean(np.exp(3j * np.arctan2(bonds[..., 1], bonds[..., 0])))
    if np.ptp(length) > 0.05 * length.mean() or abs(threefold) < 0.99:
        raise DefectStrainError(
            f"{name}: the metal columns around a chalcogen column form no regular triangle seen "
            "along z, expected a pristine 2H monolayer"
        )
    # bonds at 90, 210, 330 degrees have exp(3 i angle) = -i
    angle = (-np.pi / 2.0 - np.angle(threefold)) / 3.0
    c, s = np.cos(angle), np.sin(angle)
    return float(length.mean() * np.sqrt(3.0)), np.array([[c, -s], [s, c]])


def _match(
    atoms: Atoms, pristine: Atoms, cell: FloatArray, bond_pm: float
) -> tuple[FloatArray, BoolArray]:
    """Displacement of each pristine atom `(A, 3)` [pm], NaN where missing, and which changed.

    A common shift of one structure against the other (another origin) is taken out first: that of
    the metal planes, then what is left of it.
    """
    places = pristine.positions * PM_PER_ANGSTROM
    others = atoms.positions * PM_PER_ANGSTROM
    species, symbols = _symbols(pristine), _symbols(atoms)
    shift = np.zeros(3)
    shift[2] = _metal_height(others, symbols) - _metal_height(places, species)
    shift[:2] = _origin(others[_is_metal(symbols)], places[_is_metal(species)], shift[2], cell)
    for _ in range(2):
        shift = shift + np.median(_nearest(others - shift, places, cell)[0], axis=0)
    apart, nearest = _nearest(others - shift, places, cell)
    missing = np.linalg.norm(apart, axis=1) > MATCH * bond_pm
    changed = missing | (symbols[nearest] != species)
    return np.where(missing[:, None], np.nan, apart), np.asarray(changed)


def _origin(others: FloatArray, places: FloatArray, height: float, cell: FloatArray) -> FloatArray:
    """Where the origin of one lattice of metals lies in another's, up to a lattice vector [pm].

    None, where the two lie on each other as they are; else the shift of one of some metals onto the
    first that brings most of them onto each other.
    """
    if len(others) == 0 or len(places) == 0:
        return np.zeros(2)
    tried = [np.zeros(2), *(others[:: max(1, len(others) // _TRIED), :2] - places[0, :2])]
    miss = []
    for shift in tried:
        apart, _ = _nearest(others - np.array([*shift, height]), places, cell)
        miss.append(float(np.median(np.linalg.norm(apart, axis=1))))
    best = 0 if miss[0] < 2.0 * min(miss) + _ALIKE_PM else int(np.argmin(miss))
    return np.asarray(tried[best], dtype=float)


def _is_metal(symbols: StrArray) -> BoolArray:
    return np.asarray(~np.isin(symbols, CHALCOGENS))


def _metal_height(place: FloatArray, symbols: StrArray) -> float:
    metal = _is_metal(symbols)
    return float(np.median(place[metal, 2])) if metal.any() else 0.0


def _nearest(
    others: FloatArray, places: FloatArray, cell: FloatArray
) -> tuple[FloatArray, IntArray]:
    """Offset of the nearest other atom from each place `(A, 3)`, and which it is."""
    found, index = np.empty_like(places), np.empty(len(places), dtype=np.intp)
    for start in range(0, len(places), _TOGETHER):
        some = slice(start, start + _TOGETHER)
        apart = others - places[some, None]  # (a, others, 3)
        apart[..., :2] = nearest_image(apart[..., :2].reshape(-1, 2), cell).reshape(
            *apart.shape[:2], 2
        )
        index[some] = (apart**2).sum(axis=2).argmin(axis=1)
        found[some] = apart[np.arange(len(apart)), index[some]]
    return found, index


def _by_column(
    moved: FloatArray, column: IntArray, n_columns: int
) -> tuple[FloatArray, FloatArray]:
    """Mean displacement in the plane `(M, 2)` and largest change of height `(M,)` of columns."""
    present = np.isfinite(moved[:, 0])
    count = np.bincount(column, weights=present, minlength=n_columns)
    total = np.stack(
        [np.bincount(column, np.nan_to_num(moved[:, k]), minlength=n_columns) for k in (0, 1)],
        axis=1,
    )
    height = np.zeros(n_columns)
    np.maximum.at(height, column, np.abs(np.nan_to_num(moved[:, 2])))
    empty = count == 0
    mean = total / np.maximum(count, 1)[:, None]
    mean[empty] = np.nan
    height[empty] = np.nan
    return mean, height


def _role(atoms: Atoms, pristine: Atoms, in_column: BoolArray, n_atoms: int, name: str) -> str:
    """Class of the defect, by the atoms gone and the species that differ from the pristine ones."""
    lost = len(pristine) - n_atoms
    host = _symbols(pristine)[in_column][0]
    before, after = _symbols(pristine), _symbols(atoms)
    gone = int((before == host).sum() - (after == host).sum())
    by_counts = {(0, 1): "XY", (0, 2): "Y2", (1, 1): "V1", (2, 2): "V2"}
    role = by_counts.get((lost, gone))
    if role is None:
        expected = ", ".join(DEFECT_ROLES)
        raise DefectStrainError(
            f"{name}: got {lost} atoms fewer than the pristine structure and {gone} {host} fewer, "
            f"expected one column of the classes {expected} (of {', '.join(ROLES)})"
        )
    return role


def _substituent(atoms: Atoms, pristine: Atoms, name: str) -> str:
    """The element that the pristine structure lacks; empty for a vacancy."""
    new = sorted(set(_symbols(atoms).tolist()) - set(_symbols(pristine).tolist()))
    if len(new) > 1:
        raise DefectStrainError(
            f"{name}: got the new elements {', '.join(new)}, expected one substituent or none"
        )
    return new[0] if new else ""
