"""Structure files in: what a file promises against what it holds, and the layer in one piece."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..io.formats import quiet
from ..types import DefectStrainError, FloatArray

if TYPE_CHECKING:
    from ase import Atoms

FORMATS = {
    "extxyz": "extended XYZ",
    "vasp": "POSCAR, CONTCAR",
    "cif": "CIF",
    "aims": "FHI-aims geometry.in",
    "espresso-in": "Quantum ESPRESSO input",
    "castep-cell": "CASTEP cell",
    "xsf": "XSF",
    "gen": "DFTB+ gen",
    "lammps-data": "LAMMPS data",
    "cp2k-restart": "CP2K restart",
    "json": "ASE JSON",
}
"""Formats that are read: plain text with a cell. Formats that may hold code or pickles are not."""

MAX_ATOMS = 10_000
"""Most atoms of a supercell; 9 x 9 cells of a monolayer have 243, and time grows as their square.
"""
MAX_BYTES = 2**26
VACUUM_ANGSTROM = 4.0
"""Widest empty slab that a layer may have within itself; across its border there is more."""

# Where a format says how many atoms follow.
_COUNTS = {
    "extxyz": re.compile(rb"\A\s*(\d+)\s*$", re.MULTILINE),
    "gen": re.compile(rb"\A\s*(\d+)\s"),
    "xsf": re.compile(rb"^\s*(?:PRIM|CONV)COORD[^\n]*\n\s*(\d+)", re.MULTILINE),
    "lammps-data": re.compile(rb"^\s*(\d+)\s+atoms\b", re.MULTILINE),
    "espresso-in": re.compile(rb"\bnat\s*=\s*(\d+)", re.IGNORECASE),
}


def read_structure(path: Path) -> Atoms:
    """The atoms of a structure file, of its last frame, as a layer in one piece.

    Where the layer crosses the border of the cell along c, its upper part is taken one cell lower.

    Raises
    ------
    DefectStrainError
        If it is no file, of no known format, can't be read, promises more atoms than it holds or
        than `MAX_ATOMS`, has no cell, or its vacuum lies along another axis than c.
    """
    import ase.io
    from ase import Atoms
    from ase.io.formats import UnknownFileTypeError, filetype

    if not path.is_file():
        raise DefectStrainError(f"structure: got {path}, which is no file")
    known = ", ".join(FORMATS.values())
    try:
        with quiet():
            kind = filetype(str(path))
    except UnknownFileTypeError:
        kind = "of no known format"
    except Exception as error:  # it looks into the file
        raise DefectStrainError(
            f"{path.name}: can't be read ({type(error).__name__}); expected one of {known}"
        ) from error
    if kind == "xyz":  # what extended XYZ is called where its second line says nothing
        kind = "extxyz"
    if kind not in FORMATS:
        raise DefectStrainError(f"{path.name}: got a file {kind}, expected one of {known}")
    _check_counts(path, kind)
    try:
        # ASE takes what follows an @ in a name for the number of a frame otherwise
        with quiet():
            found = ase.io.read(path, format=kind, do_not_split_by_at_sign=True)
    except Exception as error:  # every reader of ASE fails in its own way
        reason = " ".join(str(error).split())[:200]
        raise DefectStrainError(
            f"{path.name}: ASE can't read it ({reason}); expected one of {known}"
        ) from error
    assert isinstance(found, Atoms)
    if not np.isfinite(found.positions).all() or not np.isfinite(found.cell[:]).all():
        raise DefectStrainError(f"{path.name}: got positions or a cell that are no finite numbers")
    if abs(np.linalg.det(found.cell[:])) < 1e-6:
        raise DefectStrainError(
            f"{path.name}: got atoms without a cell, expected a periodic supercell; plain XYZ has "
            "none, write extended XYZ or CONTCAR"
        )
    if not 0 < len(found) <= MAX_ATOMS:
        raise DefectStrainError(f"{path.name}: got {len(found)} atoms, expected 1 to {MAX_ATOMS}")
    return _in_one_piece(found, path.name)


def _check_counts(path: Path, kind: str) -> None:
    """Refuse a file that promises more atoms than its bytes can be, before anything is made."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        packed = stream.read(4)[:3] in (b"\x1f\x8b\x08", b"BZh", b"\xfd7z")
    if packed or path.suffix.lower() in (".gz", ".bz2", ".xz"):
        raise DefectStrainError(f"{path.name}: got a compressed file, expected it unpacked")
    if size > MAX_BYTES:
        raise DefectStrainError(
            f"{path.name}: got {size / 2**20:.0f} MiB, expected at most {MAX_BYTES / 2**20:.0f}; "
            "keep the last frame alone"
        )
    for count in _promised(path, kind):
        if count > size:
            raise DefectStrainError(
                f"{path.name}: promises {count} atoms in {size} bytes; it is damaged or cut off"
            )


def _promised(path: Path, kind: str) -> Iterator[int]:
    if kind == "vasp":
        with path.open("rb") as stream:
            for line in islice(stream, 5, 7):  # symbols and counts, or counts alone
                yield sum(int(word) for word in line.split() if word.isdigit() and len(word) < 30)
    elif kind in _COUNTS:
        for found in _COUNTS[kind].finditer(path.read_bytes()):
            yield int(found[1][:30])


def _in_one_piece(atoms: Atoms, name: str) -> Atoms:
    """The layer with its vacuum at the border of the cell, atoms moved by whole cells along c."""
    share = np.linalg.solve(np.asarray(atoms.cell[:]).T, atoms.positions.T).T
    widths = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell[:]), axis=0)  # between its faces
    gaps = [_widest_gap(share[:, axis]) for axis in range(3)]
    empty = np.array([gap[0] for gap in gaps]) * widths
    axis = int(np.argmax(empty))
    if axis != 2 and empty[axis] > VACUUM_ANGSTROM and empty[2] < VACUUM_ANGSTROM:
        raise DefectStrainError(
            f"{name}: the vacuum lies along {'abc'[axis]}, expected a layer with its normal and "
            "its vacuum along c; exchange the axes of the cell"
        )
    # counted from the middle of the vacuum, every atom lies within one cell
    start = gaps[2][1]
    cells = np.floor(share[:, 2] - start) - np.floor(np.median(share[:, 2]) - start)
    if cells.any():
        atoms.positions = atoms.positions - cells[:, None] * np.asarray(atoms.cell[2])
    return atoms


def _widest_gap(share: FloatArray) -> tuple[float, float]:
    """Width of the widest gap between places on a ring of length 1, and its middle."""
    placed = np.sort(share % 1.0)
    gaps = np.diff(placed, append=placed[0] + 1.0)
    widest = int(np.argmax(gaps))
    return float(gaps[widest]), float(placed[widest] + gaps[widest] / 2)
