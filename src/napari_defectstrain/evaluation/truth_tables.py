"""Tables of true columns, from this simulator, another one, or made by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from ..materials import ROLES, Material
from ..types import DefectStrainError, FloatArray, IntArray, StrArray
from .score import UNKNOWN

SUFFIXES = (".truth.csv", ".sites.csv", ".csv")
"""Ends of the names of truth tables, the first found counts."""

_POSITIONS: tuple[tuple[str, str, float | None], ...] = (
    ("y_px", "x_px", None),
    ("y_nm", "x_nm", 1e3),
    ("y_pm", "x_pm", 1.0),
    ("y_angstrom", "x_angstrom", 100.0),
    ("y", "x", None),
    ("row", "col", None),
    ("axis-0", "axis-1", None),
)
"""Columns of positions, and pm in their unit (None: pixels), in the order of preference."""
_CLASS_COLUMNS = ("class", "class_name", "label", "type", "role")
_SAME_PLACE_PM = 50.0


@dataclass(frozen=True)
class Truth:
    """True columns of one image.

    Parameters
    ----------
    position_px : array, `(N, 2)`
    class_index : array of int, `(N,)`
        Index into `materials.ROLES`, or `score.UNKNOWN`.
    kind : array of str, `(N,)`
        What a look-alike is; empty for ordinary columns.
    notes : tuple of str
        What was assumed.
    """

    position_px: FloatArray
    class_index: IntArray
    kind: StrArray
    notes: tuple[str, ...]


def class_aliases(material: Material) -> dict[str, str]:
    """Role of everything that a class may be called, spelt as `_plain` spells it."""
    m, x, y = (s.casefold() for s in (material.metal, material.chalcogen, material.substituent))
    spellings = {
        "metal": ["metal", "m", m],
        "X2": ["x2", "2x", "xx", f"2{x}", f"{x}2", f"{x}{x}", "host", "perfect", "pristine"],
        "XY": ["xy", "yx", f"{x}{y}", f"{y}{x}"],
        "Y2": ["y2", "2y", "yy", f"2{y}", f"{y}2", f"{y}{y}"],
        "V1": ["v1", "sv", f"v{x}", f"1{x}", "singlevacancy", "monovacancy"],
        "V2": ["v2", "dv", f"v{x}2", f"2v{x}", f"v2{x}", "doublevacancy", "divacancy"],
        "other": ["other", "lookalike", f"1{y}", "1y", "adatom", "interstitial", "antisite"]
        + ["metalvacancy", f"v{m}", "vm", "substitution", "metalsubstitution", "impurity"]
        + ["1t", "1t'", "phase", "otherphase", f"{x}o", "xo", "svo", f"{x}c", f"{x}n", "unknown"],
    }
    return {text: role for role, texts in spellings.items() for text in texts}


def _plain(text: str) -> str:
    return re.sub(r"[\s_+{}()\-]", "", text).casefold()


def read_truth(
    path: Path,
    material: Material,
    pixel_size_pm: float | None,
    class_map: Mapping[str, str] | None = None,
) -> Truth:
    """Read a table of true columns.

    Positions: y_px and x_px, or y and x (taken as pixels), or y_nm and x_nm, y_pm and x_pm; of a
    table of two columns the first is y. Class: the names of roles or of the material's classes, or
    what people call them (`class_aliases`); without such a column only places are known. A column
    ``kind`` names look-alikes.

    Parameters
    ----------
    path : Path
    material : Material
    pixel_size_pm : float or None
        Needed where positions are not in pixels [pm].
    class_map : mapping of str to str, optional
        Further names of classes, to roles or known names.

    Raises
    ------
    DefectStrainError
        If the file is no such table: it names the line.
    """
    table = _read(path)
    notes: list[str] = []
    position = _positions(table, path, pixel_size_pm, notes)
    column = next((name for name in _CLASS_COLUMNS if name in table), None)
    kind = np.full(len(table), "", dtype="<U40")
    if column is None:
        notes.append(f"{path.name}: no column of classes: only places are compared")
        class_index = np.full(len(table), UNKNOWN)
    else:
        class_index, kind = _classes(table[column], path, material, class_map or {})
        if (class_index == UNKNOWN).any():
            notes.append(
                f"{path.name}: {int((class_index == UNKNOWN).sum())} columns without a class: only "
                "their places are compared"
            )
    if "kind" in table:
        given = table["kind"].str.strip().to_numpy(dtype="<U40")
        named = _is_lookalike(given, class_index, material)
        kind = np.where(named, given, kind)
    _check_places(position, path, pixel_size_pm)
    return Truth(position, class_index, np.asarray(kind, dtype=str), tuple(notes))


def _read(path: Path) -> pd.DataFrame:
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        separator = max(",;\t", key=header.count)
        table = pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig",
            skipinitialspace=True,
        )  # fmt: skip
    except pd.errors.EmptyDataError:
        raise DefectStrainError(f"{path}: the file is empty, expected a table of columns") from None
    except (pd.errors.ParserError, UnicodeError) as error:
        raise DefectStrainError(f"{path}: not a table of comma-separated values: {error}") from None
    except OSError as error:
        raise DefectStrainError(f"{path}: can't be read: {error.strerror}") from error
    table.columns = [str(name).strip().casefold() for name in table.columns]
    if table.empty:
        raise DefectStrainError(f"{path}: the table has no rows, expected one a column")
    return table


def _positions(
    table: pd.DataFrame, path: Path, pixel_size_pm: float | None, notes: list[str]
) -> FloatArray:
    pair = next((p for p in _POSITIONS if p[0] in table and p[1] in table), None)
    if pair is None and len(table.columns) == 2:
        pair = (table.columns[0], table.columns[1], None)
    if pair is None:
        raise DefectStrainError(
            f"{path}: got the columns {', '.join(table.columns)}; expected y_px and x_px, or y and "
            "x, y_nm and x_nm, y_pm and x_pm"
        )
    names, pm = pair[:2], pair[2]
    values = np.column_stack([pd.to_numeric(table[n], errors="coerce") for n in names])
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise DefectStrainError(
            f"{path}: line {bad[0] + 2}: got no finite number in {names[0]} or {names[1]}"
        )
    if pm is None:
        if not names[0].endswith("_px"):
            notes.append(f"{path.name}: {names[0]} and {names[1]} are taken as y and x in pixels")
        return np.asarray(values, dtype=float)
    if pixel_size_pm is None:
        raise DefectStrainError(
            f"{path}: positions are in {names[0][2:]}, and no pixel size is known; give "
            "--pixel-size-pm, or the image beside the table"
        )
    notes.append(f"{path.name}: {names[0]} and {names[1]}, {pixel_size_pm:.4g} pm per pixel")
    return np.asarray(values * pm / pixel_size_pm, dtype=float)


def _classes(
    column: pd.Series, path: Path, material: Material, class_map: Mapping[str, str]
) -> tuple[IntArray, StrArray]:
    """Role of each row, and the kind of those that their class calls a look-alike."""
    aliases = class_aliases(material)
    for text, target in class_map.items():
        role = aliases.get(_plain(target))
        if role is None:
            raise DefectStrainError(
                f"class map: got {text}={target}, expected one of {', '.join(ROLES)} or "
                f"{', '.join(material.class_names)} on the right"
            )
        aliases[_plain(text)] = role
    index = {text: ROLES.index(role) for text, role in aliases.items()} | {"": UNKNOWN}
    found = column.map(lambda text: index.get(_plain(text)))
    bad = np.flatnonzero(found.isna().to_numpy())
    if len(bad):
        raise DefectStrainError(
            f"{path}: line {bad[0] + 2}: got the class {column.iloc[bad[0]]!r}, expected one of "
            f"{', '.join(ROLES)} or {', '.join(material.class_names)}; --class NAME=ROLE "
            "says what another name means"
        )
    role = found.to_numpy(dtype=int)
    text = column.str.strip().to_numpy(dtype="<U40")
    generic = np.isin(column.map(_plain).to_numpy(), ["other", "lookalike"])
    return role, np.where((role == ROLES.index("other")) & ~generic, text, "")


def _is_lookalike(kind: StrArray, class_index: IntArray, material: Material) -> np.ndarray:
    """False for kinds that say no more than the class."""
    aliases = class_aliases(material)
    same = [
        not text or aliases.get(_plain(text)) == (ROLES[role] if role >= 0 else "")
        for text, role in zip(kind, class_index, strict=True)
    ]
    other = class_index == ROLES.index("other")
    generic = np.array([_plain(text) in ("", "other", "lookalike") for text in kind])
    return np.asarray(np.where(other, ~generic, ~np.array(same)))


def _check_places(position: FloatArray, path: Path, pixel_size_pm: float | None) -> None:
    """Refuse tables of atoms: two rows at one place are the atoms of a column."""
    if pixel_size_pm is None or len(position) < 2:
        return
    close = cKDTree(position).query(position, k=2)[0][:, 1] * pixel_size_pm < _SAME_PLACE_PM
    if close.mean() > 0.1:
        raise DefectStrainError(
            f"{path}: {int(close.sum())} of {len(position)} rows lie within {_SAME_PLACE_PM:g} pm "
            "of another; expected columns, one row each, not single atoms"
        )
