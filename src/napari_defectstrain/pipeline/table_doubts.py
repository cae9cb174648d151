"""Rows of a table that lie as no crystal's columns do: what a slip of the hand leaves behind.

Such a table is taken as it is, since grain boundaries look odd, too, but nothing counts without a
word.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from ..judge.empty_places import empty_places, opposite_places
from ..types import METAL, OTHER, FloatArray, IntArray, Sites

SAME_COLUMN = 0.15
"""Lattice constants within which two rows are one column: no two columns are that close."""
_CLOSE = 0.4
"""Lattice constants: columns are 0.577 apart, beside vacancies 0.53."""
_OFF = 0.2
"""Lattice constants off the place that its neighbours tell: far beyond noise and relaxation."""
_AGREE = 0.1
"""Median departure [a] up to which neighbours tell a place, as they don't at boundaries."""
_LEAST_GUESSES = 4
_NEAREST = 0.5
NAMED = 5


def lines(rows: IntArray | list[int]) -> str:
    """Rows as a text editor counts lines (the header is line 1), the first few by name."""
    shown = ", ".join(str(int(row) + 2) for row in rows[:NAMED])
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return f"line{'s' if len(rows) > 1 else ''} {shown}{more}"


def doubtful_rows(name: str, sites: Sites, a_px: float) -> tuple[str, ...]:
    """What to say of rows closer to each other than columns are, off their places, or missing.

    Parameters
    ----------
    name : str
        Of the image.
    sites : Sites
        In the order of the table's rows.
    a_px : float
        Lattice constant in the image [px].
    """
    every = np.asarray(sites.position_px, dtype=float)
    row = np.flatnonzero(sites.role < OTHER)
    if len(row) < 2:
        return ()
    notes = []
    close = cKDTree(every[row]).query_pairs(_CLOSE * a_px, output_type="ndarray")
    apart = np.hypot(*(every[row[close[:, 0]]] - every[row[close[:, 1]]]).T)
    close = row[close[apart > SAME_COLUMN * a_px]]
    if len(close):
        later, first = np.unique(close.max(axis=1), return_index=True)
        near = lines([int(close[first[0]].min())])
        notes.append(
            f"{name}: {len(later)} rows of its table lie closer to another column than columns of "
            f"the crystal do ({lines(later)}; the first beside {near}): both are counted; remove "
            "the one that is none"
        )
    off = np.setdiff1d(_off_place(sites, every, a_px), close)
    if len(off):
        notes.append(
            f"{name}: {len(off)} columns of its table lie more than {_OFF:g} lattice constants off "
            f"the places that their neighbours tell ({lines(off)}); they are counted there"
        )
    empty = np.concatenate([empty_places(sites, a_px), empty_places(sites, a_px, of_metal=True)])
    if len(empty):
        y, x = empty[np.lexsort(empty.T[::-1])][0]
        one = len(empty) == 1
        places = "1 place" if one else f"{len(empty)} places"
        have, which, count = (
            ("has", "", "it counts") if one else ("have", "the first ", "they count")
        )
        notes.append(
            f"{name}: {places} within its crystal {have} no column in the table "
            f"({which}near y {y:.0f}, x {x:.0f} px): {count} nowhere; where a defect is none, set "
            "its class to the perfect one rather than delete its row"
        )
    return tuple(notes)


def _off_place(sites: Sites, every: FloatArray, a_px: float) -> IntArray:
    """Rows of the columns that lie elsewhere than those of their sublattice tell."""
    found = []
    for own in (np.flatnonzero(sites.role == METAL), np.flatnonzero(sites.is_chalcogen)):
        guess, _ = opposite_places(every[own], a_px)
        if len(guess) == 0:
            continue
        away, column = cKDTree(every[own]).query(guess, distance_upper_bound=_NEAREST * a_px)
        kept = np.isfinite(away)
        guess, column = guess[kept], column[kept]
        order = np.argsort(column, kind="stable")
        which, start = np.unique(column[order], return_index=True)
        for i, told in zip(which, np.split(guess[order], start[1:]), strict=True):
            place = np.median(told, axis=0)
            spread = float(np.median(np.hypot(*(told - place).T)))
            told_well = len(told) >= _LEAST_GUESSES and spread < _AGREE * a_px
            if told_well and np.hypot(*(every[own[i]] - place)) > _OFF * a_px:
                found.append(int(own[i]))
    return np.array(sorted(found), dtype=int)
