"""The table of columns of one image, ``<stem>.sites.csv``: from `Sites` and back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..types import BoolArray, DefectStrainError, FloatArray, IntArray, Sites, StrArray
from ..units import PM_PER_NM

SOURCES = ("model", "manual", "file", "truth")
SOURCE_DTYPE = np.dtype("<U6")  # wide enough for each of them
DECIMALS = 6
"""Decimals of positions [px, nm] and probabilities in tables: 1e-3 pm, far below any error."""

# Probabilities of a table are rounded, some by hand; beyond this they differ, or don't sum to one.
PROBABILITY_SUM_TOLERANCE = 0.01

WEIGHT_COLUMNS = ("weight", "weight_sigma")
"""Of columns that were weighed: in units of the metal's."""

ADDED_LATER = "p_other"
"""Tables of versions that knew no class other lack this column: its probability is 0."""


def sites_table(sites: Sites, pixel_size_pm: float | None) -> pd.DataFrame:
    """One row a column: y_px, x_px, y_nm, x_nm, class, probability, p_<class> each, source.

    Then weight and weight_sigma where the columns were weighed (empty where one wasn't), and what
    other columns the table had that the sites were read from.

    Parameters
    ----------
    sites : Sites
    pixel_size_pm : float or None
        Side of a pixel [pm]; None leaves y_nm and x_nm empty.
    """
    nm_per_px = np.nan if pixel_size_pm is None else pixel_size_pm / PM_PER_NM
    position = np.asarray(sites.position_px, dtype=float)
    columns: dict[str, FloatArray | StrArray] = {
        "y_px": position[:, 0].round(DECIMALS),
        "x_px": position[:, 1].round(DECIMALS),
        "y_nm": (position[:, 0] * nm_per_px).round(DECIMALS),
        "x_nm": (position[:, 1] * nm_per_px).round(DECIMALS),
        "class": sites.class_name,
        "probability": np.asarray(sites.probability, dtype=float).round(DECIMALS),
    }
    probabilities = np.asarray(sites.probabilities, dtype=float).round(DECIMALS)
    for index, name in enumerate(sites.class_names):
        columns[f"p_{name}"] = probabilities[:, index]
    columns["source"] = sites.source
    for name in WEIGHT_COLUMNS:
        weight = getattr(sites, name)
        if weight is not None:
            columns[name] = np.asarray(weight, dtype=float).round(DECIMALS)
    return pd.DataFrame({**columns, **sites.extra})


def as_written(sites: Sites) -> Sites:
    """The columns as they will be read again from their table: positions and chances rounded.

    What is found is measured so, that a study, or a run by its own tables, gives the same numbers.
    """

    def rounded(values: FloatArray) -> FloatArray:
        return np.asarray(values, dtype=float).round(DECIMALS)

    return replace(
        sites,
        position_px=rounded(sites.position_px),
        probabilities=rounded(sites.probabilities),
        weight=None if sites.weight is None else rounded(sites.weight),
        weight_sigma=None if sites.weight_sigma is None else rounded(sites.weight_sigma),
    )


def read_sites(path: str | Path, class_names: Sequence[str]) -> Sites:
    """Columns of an image from a table, also one corrected by hand.

    Needs y_px, x_px and class; other columns than those of `sites_table` are kept as they are
    (`Sites.extra`). Separated by commas, or by semicolons or tabs, and then with decimal commas
    too. Without p_<class> columns, or in a row where they are empty, the class is taken as
    certain. p_other alone may be missing: tables of earlier versions have none, and it is 0. Rows
    without a source are ``manual`` in a table that has the column, ``file`` in one that hasn't.
    weight and weight_sigma are taken as such where the table has both and they are numbers.

    Raises
    ------
    DefectStrainError
        If the file can't be read, lacks a column, or a row holds an unknown class or source, a
        position that is no number, or probabilities outside 0-1 or that don't sum to one.
    """
    return sites_of(_read_table(Path(path)), class_names, path)


def sites_of(table: pd.DataFrame, class_names: Sequence[str], path: object) -> Sites:
    """The columns of a table of texts, see `read_sites`; its index are the lines of the file."""
    class_index = _class_index(table, tuple(class_names), path)
    position = np.column_stack([_numbers(table, name, path) for name in ("y_px", "x_px")])
    bad = np.asarray(~np.isfinite(position).all(axis=1))
    if bad.any():
        raise DefectStrainError(
            f"{path}: {_rows(table, bad)}: got no finite number in y_px or x_px, expected a "
            "position in pixels"
        )
    probabilities = _probabilities(table, tuple(class_names), class_index, path)
    _check_agreement(table, class_names, class_index, probabilities, path)
    return Sites(
        position_px=position,
        probabilities=probabilities,
        class_index=class_index,
        class_names=tuple(class_names),
        source=_source(table, path),
        extra=_foreign(table, tuple(class_names)),
        **_weights(table),
    )


def _read_table(path: Path) -> pd.DataFrame:
    """A table of columns as text, see `text_table`."""
    table, separator = text_table(path)
    names = list(table.columns)
    missing = [name for name in ("y_px", "x_px", "class") if name not in names]
    if missing:
        raise DefectStrainError(
            f"{path}: got the columns {', '.join(names)}; expected also "
            f"{', '.join(missing)}, separated by commas"
        )
    if separator != ",":
        for name in [n for n in names if n in ("y_px", "x_px") or n.startswith("p_")]:
            table[name] = table[name].str.replace(",", ".", regex=False)
    return table


def text_table(path: Path) -> tuple[pd.DataFrame, str]:
    """A table as text, its rows indexed by the lines of the file (the header is line 1).

    Returns
    -------
    table : DataFrame
    separator : str

    Raises
    ------
    DefectStrainError
        If it can't be read, is empty, or a column is there twice.
    """
    try:
        text = _text(path.read_bytes())
        header = text.lstrip().partition("\n")[0]
        separator = max(",;\t", key=header.count)
        # header=None: pandas takes a row longer than its header for one with an index
        table = pd.read_csv(
            io.StringIO(text),
            dtype=str,
            header=None,
            sep=separator,
            keep_default_na=False,
            skipinitialspace=True,
            skip_blank_lines=False,
        )
    except pd.errors.EmptyDataError:
        raise DefectStrainError(
            f"{path}: the file is empty, expected a table with the columns y_px, x_px, class"
        ) from None
    except (pd.errors.ParserError, UnicodeError) as error:
        raise DefectStrainError(f"{path}: not a table of comma-separated values: {error}") from None
    except OSError as error:
        raise DefectStrainError(f"{path}: can't be read: {error.strerror}") from error
    table = table.fillna("")
    table.index += 1
    table = table[(table.map(str.strip) != "").any(axis=1)]
    names = [str(name).strip() for name in table.iloc[0]] if len(table) else []
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DefectStrainError(
            f"{path}: got the column {twice[0] or 'without a name'} twice, expected it once"
        )
    return table.iloc[1:].set_axis(names, axis=1), separator


def _text(data: bytes) -> str:
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252")  # what spreadsheets save as plain CSV in western Windows


def _class_index(table: pd.DataFrame, class_names: tuple[str, ...], path: object) -> IntArray:
    index = {name: i for i, name in enumerate(class_names)}
    known = table["class"].str.strip().map(index)
    bad = known.isna().to_numpy()
    if bad.any():
        raise DefectStrainError(
            f"{path}: {_rows(table, bad)}: got the class {table['class'][bad].iloc[0]!r}, "
            f"expected one of {', '.join(class_names)}"
        )
    return np.asarray(known, dtype=np.int64)


def _probabilities(
    table: pd.DataFrame, class_names: tuple[str, ...], class_index: IntArray, path: object
) -> FloatArray:
    certain = np.eye(len(class_names))[class_index]
    names = [f"p_{name}" for name in class_names]
    missing = [name for name in names if name not in table]
    if len(missing) == len(names):
        return certain
    if missing and missing != [ADDED_LATER]:
        raise DefectStrainError(
            f"{path}: got some of the p_ columns, expected also {', '.join(missing)}, or none"
        )
    given = np.column_stack(
        [_numbers(table, n, path) if n in table else np.full(len(table), np.nan) for n in names]
    )
    empty = np.asarray(np.isnan(given).all(axis=1))
    given[:, [n in missing for n in names]] = 0.0
    given = np.asarray(np.where(empty[:, None], certain, given))
    bad = np.asarray(~((given >= 0) & (given <= 1)).all(axis=1))
    if bad.any():
        raise DefectStrainError(
            f"{path}: {_rows(table, bad)}: got a probability outside 0-1 or an empty one among "
            "others"
        )
    total = np.asarray(given.sum(axis=1))
    bad = np.asarray(np.abs(total - 1) > PROBABILITY_SUM_TOLERANCE, dtype=bool)
    if bad.any():
        raise DefectStrainError(
            f"{path}: {_rows(table, bad)}: got probabilities that sum to {total[bad][0]:.3f}, "
            "expected 1; empty all of them to take the class as certain"
        )
    return np.asarray(given)


def _check_agreement(
    table: pd.DataFrame,
    class_names: Sequence[str],
    class_index: IntArray,
    probabilities: FloatArray,
    path: object,
) -> None:
    """Whether a class was changed by hand and its probabilities were forgotten.

    Tables that we write may give a class that isn't the most probable one (by thresholds, or the
    neighbours' sublattice), and then its own probability beside it.
    """
    if "probability" not in table or len(table) == 0:
        return
    rows = np.arange(len(table))
    own = probabilities[rows, class_index]
    forgotten = ~(np.abs(_numbers(table, "probability", path) - own) <= PROBABILITY_SUM_TOLERANCE)
    bad = np.asarray(forgotten & (own < probabilities.max(axis=1)))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        likely = int(probabilities[row].argmax())
        raise DefectStrainError(
            f"{path}: {_rows(table, bad)}: got the class {class_names[class_index[row]]} with "
            f"p_{class_names[likely]} = {probabilities[row, likely]:.3g}; where you changed a "
            "class, empty all p_ cells to take it as certain, or set them"
        )


def _foreign(table: pd.DataFrame, class_names: tuple[str, ...]) -> dict[str, StrArray]:
    """What others added to the table, as text."""
    known = {"y_px", "x_px", "y_nm", "x_nm", "class", "probability", "source"}
    known |= {f"p_{name}" for name in class_names}
    known |= set(_weights(table))
    foreign = [name for name in table.columns if name and name not in known]
    return {name: np.asarray(table[name].to_numpy(), dtype=np.str_) for name in foreign}


def _weights(table: pd.DataFrame) -> dict[str, FloatArray]:
    """The weights of columns, where the table has them; a user's own "weight" may be anything."""
    if not set(WEIGHT_COLUMNS) <= set(table.columns):
        return {}
    found = {}
    for name in WEIGHT_COLUMNS:
        text = table[name].str.strip()
        numbers = pd.to_numeric(text, errors="coerce")
        if (numbers.isna() & (text != "") & (text.str.lower() != "nan")).any():
            return {}
        found[name] = numbers.to_numpy(dtype=float)
    return found


def _numbers(table: pd.DataFrame, name: str, path: object) -> FloatArray:
    """A column as numbers; NaN where a cell is empty."""
    text = table[name].str.strip()
    numbers = pd.to_numeric(text, errors="coerce").to_numpy(dtype=float)
    bad = np.isnan(numbers) & (text != "").to_numpy() & (text.str.lower() != "nan").to_numpy()
    if bad.any():
        raise DefectStrainError(
            f"{path}: {_rows(table, bad)}: got {text[bad].iloc[0]!r} in {name}, expected a number"
        )
    return np.asarray(numbers)


def _source(table: pd.DataFrame, path: object) -> StrArray:
    if "source" not in table:
        return np.full(len(table), "file", dtype=SOURCE_DTYPE)
    source = table["source"].str.strip().replace("", "manual")
    bad = ~source.isin(SOURCES).to_numpy()
    if bad.any():
        raise DefectStrainError(
            f"{path}: {_rows(table, bad)}: got the source {source[bad].iloc[0]!r}, expected one of "
            f"{', '.join(SOURCES)}"
        )
    return np.asarray(source, dtype=SOURCE_DTYPE)


def _rows(table: pd.DataFrame, bad: BoolArray) -> str:
    """Where the trouble is, as a text editor counts lines (the header is line 1)."""
    lines = table.index[bad]
    more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
    return f"line {lines[0]}{more}"
