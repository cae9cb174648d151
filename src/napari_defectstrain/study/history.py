"""What hands did to a study, in words for people: who, when, where, from what, to what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from .journal import COLUMNS, FILE, MANUAL, REGIONS, WINDOWS, Edit

HISTORY_COLUMNS = (
    *("edit", "when", "user", "by", "what", "image", "column", "y_px", "x_px"),
    *("change", "from", "to"),
)
"""Of the table of `corrections_table`."""

ADDED, REMOVED, MOVED, RECLASSED = "added", "removed", "moved", "class"
LEFT_OUT, PUT_BACK, REPLACED = "left out", "put back", "replaced"
"""What becomes of columns, of windows, and of regions."""

_Row = dict[str, Any]


def corrections_table(edits: Iterable[Edit]) -> pd.DataFrame:
    """One row for each thing that a hand, or a file, changed; the oldest first.

    Parameters
    ----------
    edits : iterable of Edit
        The history of a study; what the model did is left out.

    Returns
    -------
    DataFrame
        ``edit`` (its number), ``when``, ``user``, ``by`` (``manual`` or ``file``), ``what``
        (``columns``, ``regions`` or ``windows``), ``image``, ``column`` (its number in the study),
        ``y_px``, ``x_px`` (of windows, and of columns that came, went or were moved), ``change``
        (``added``, ``removed``, ``class``, ``moved``; ``left out``, ``put back``; ``replaced``),
        ``from`` and ``to``: classes, or places "y, x" [px].
    """
    rows: list[_Row] = []
    for edit in edits:
        if edit.by not in (MANUAL, FILE) or edit.what not in _MAKERS:
            continue
        head = {
            "edit": edit.number,
            "when": edit.when,
            "user": edit.user,
            "by": edit.by,
            "what": edit.what,
            "image": edit.image,
        }
        rows += [{**head, **row} for row in _MAKERS[edit.what](edit.content)]
    table = pd.DataFrame(rows, columns=list(HISTORY_COLUMNS))
    table["column"] = table["column"].astype("Int64")
    return table


def _of_columns(content: Mapping[str, Any]) -> Iterator[_Row]:
    for change in content.get("changes", ()):
        was, now = change["from"], change["to"]
        head = {"column": change["column"]}
        if was is None or now is None:
            there = was or now
            place = {"y_px": there.get("y_px"), "x_px": there.get("x_px")}
            ends = {"from": (was or {}).get("class", ""), "to": (now or {}).get("class", "")}
            yield {**head, **place, "change": ADDED if was is None else REMOVED, **ends}
            continue
        if "class" in now:
            yield {**head, "change": RECLASSED, "from": was["class"], "to": now["class"]}
        if {"y_px", "x_px"} & set(now):
            place = {"y_px": now.get("y_px"), "x_px": now.get("x_px")}
            yield {**head, **place, "change": MOVED, "from": _place(was), "to": _place(now)}


def _place(values: Mapping[str, Any]) -> str:
    """A place in words; an axis along which a column wasn't moved is left out."""
    known = [values.get("y_px"), values.get("x_px")]
    return ", ".join("" if value is None else f"{float(value):.2f}" for value in known)


def _of_windows(content: Mapping[str, Any]) -> Iterator[_Row]:
    for key, change in (("left_out", LEFT_OUT), ("put_back", PUT_BACK)):
        for place in content.get(key, ()):
            name = str(content.get("class", ""))
            yield {
                **{"image": place["image"], "y_px": place["y_px"], "x_px": place["x_px"]},
                **{"change": change, "from": name, "to": name},
            }


def _of_regions(content: Mapping[str, Any]) -> Iterator[_Row]:
    n = len(content.get("domains", ()))
    yield {"change": REPLACED, "from": "", "to": f"{n} domain{'' if n == 1 else 's'}"}


_MAKERS = {COLUMNS: _of_columns, WINDOWS: _of_windows, REGIONS: _of_regions}
