"""What corrections make of the model's answer: columns under fixed numbers, and their changes.

A column's number is its row in the answer; those that are added go on counting, and none is used
twice. A change says what was and what is, both in full where a column comes or goes: changes are
undone and read without anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from ..io.tables import SOURCE_DTYPE
from ..types import BoolArray, DefectStrainError, FloatArray, IntArray, Sites

SAME_PX = 1e-3
"""Positions that are less apart are the same: what is drawn has the precision of float32 [px]."""

REACH = 0.5
"""A column is the same one, moved, within this fraction of the distance of nearest columns."""

FEW_REACH_PX = 5.0
"""That distance where there is only one column [px]."""

Change = dict[str, Any]


@dataclass(frozen=True)
class NumberedSites:
    """Columns and their numbers.

    Parameters
    ----------
    sites : Sites
    number : array of int, `(N,)`
    next_number : int
        That of the next column that is added.
    """

    sites: Sites
    number: IntArray
    next_number: int


def numbered(answer: Sites) -> NumberedSites:
    """The columns of an answer under the numbers of its rows."""
    return NumberedSites(answer, np.arange(len(answer)), len(answer))


def changes_between(before: NumberedSites, after: Sites) -> list[Change]:
    """What makes one set of columns into another one of the same image.

    Columns are matched by place: those at the same place first, then nearest ones within half the
    distance of columns, which were moved. What is left over was removed, or added.

    Returns
    -------
    list of mapping
        ``column`` (its number), ``from`` and ``to``: the values that changed; None as ``from``
        where it was added, as ``to`` where it was removed.

    Raises
    ------
    DefectStrainError
        If the classes have other names.
    """
    old = before.sites
    if tuple(old.class_names) != tuple(after.class_names):
        raise DefectStrainError(
            f"columns: got the classes {', '.join(after.class_names)}, expected those of the "
            f"study, {', '.join(old.class_names)}"
        )
    pairs, moved = _matched(old.position_px, after.position_px)
    changes: list[Change] = []
    for k in np.flatnonzero(_differ(old, after, pairs) | moved).tolist():
        was, now = _row(old, int(pairs[k, 0])), _row(after, int(pairs[k, 1]))
        if not moved[k]:
            now["y_px"], now["x_px"] = was["y_px"], was["x_px"]
        different = [key for key in {**was, **now} if was.get(key) != now.get(key)]
        if different:
            changes.append(
                {
                    "column": int(before.number[pairs[k, 0]]),
                    "from": {key: was.get(key) for key in different},
                    "to": {key: now.get(key) for key in different},
                }
            )
    gone = np.setdiff1d(np.arange(len(old)), pairs[:, 0])
    new = np.setdiff1d(np.arange(len(after)), pairs[:, 1])
    for i in gone.tolist():
        changes.append({"column": int(before.number[i]), "from": _row(old, i), "to": None})
    for k, j in enumerate(new.tolist()):
        row = _row(after, j)
        changes.append({"column": before.next_number + k, "from": None, "to": row})
    return sorted(changes, key=lambda change: int(change["column"]))


def with_changes(before: NumberedSites, changes: Sequence[Mapping[str, Any]]) -> NumberedSites:
    """The columns after some changes.

    Raises
    ------
    DefectStrainError
        If a change is about a column that isn't there, or names an unknown class.
    """
    sites = before.sites
    number = before.number.tolist()
    rows = {n: i for i, n in enumerate(number)}
    fields = _Columns(sites)
    kept = np.ones(len(sites), dtype=bool)
    added: list[tuple[int, Mapping[str, Any]]] = []
    for change in changes:
        n, to = int(change["column"]), change["to"]
        if change["from"] is None:
            added.append((n, to))
            continue
        if n not in rows:
            raise _not_there(n)
        if to is None:
            kept[rows[n]] = False
        else:
            fields.set(rows[n], to)
    changed = fields.sites().subset(kept)
    number = np.asarray(number, dtype=int)[kept]
    if added:
        changed = _appended(changed, [row for _, row in added])
        number = np.concatenate([number, [n for n, _ in added]])
    last = max((n for n, _ in added), default=-1)
    return NumberedSites(changed, number, max(before.next_number, last + 1))


def combined(changes: Iterable[Mapping[str, Any]]) -> tuple[list[Change], int]:
    """Changes one after the other as one for each column, and the next number after all of them.

    Raises
    ------
    DefectStrainError
        If a column is changed after it was removed.
    """
    net: dict[int, Change] = {}
    last = -1
    for change in changes:
        n = int(change["column"])
        last = max(last, n)
        if n not in net:
            net[n] = dict(change)
            continue
        was, was_from, to = net[n]["to"], net[n]["from"], change["to"]
        if was is None:
            raise _not_there(n)
        if to is None and was_from is None:
            del net[n]  # came and went
            continue
        came = None if was_from is None else {**change["from"], **was_from}
        net[n] = {"column": n, "from": came, "to": None if to is None else {**was, **to}}
    return [net[n] for n in sorted(net)], last + 1


def takes_back(changes: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]) -> bool:
    """Whether changes make undone what those before them did.

    A column that was removed and comes back has another number: such are told by what they are.
    """
    if len(changes) != len(before):
        return False
    did = [(change["column"], change["from"], change["to"]) for change in before]
    undid = [(change["column"], change["to"], change["from"]) for change in changes]
    return sorted(_told(*one) for one in did) == sorted(_told(*one) for one in undid)


def _told(column: int, was: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    """A change in words that are the same for the same one."""
    number = column if was is not None and now is not None else None
    return repr((number, _rounded_row(was), _rounded_row(now)))


def _rounded_row(row: Mapping[str, Any] | None) -> object:
    """A row with places as exact as what is drawn."""
    if row is None:
        return None
    return sorted(
        (key, round(value / SAME_PX) if key in ("y_px", "x_px") else repr(value))
        for key, value in row.items()
    )


def carried_over(answer: NumberedSites, corrected: NumberedSites, new: Sites) -> list[Change]:
    """Corrections of one answer as changes of another one of the same image.

    Parameters
    ----------
    answer, corrected : NumberedSites
        The old answer, and what a hand made of it.
    new : Sites
        The new answer. Columns are found in it by their place.

    Returns
    -------
    list of mapping
        As `changes_between`; what the new answer says already isn't among them.
    """
    net = changes_between_numbered(answer, corrected)
    if not net:
        return []
    at = {int(n): i for i, n in enumerate(answer.number)}
    now = {int(n): i for i, n in enumerate(corrected.number)}
    pairs, _ = _matched(answer.sites.position_px, new.position_px)
    partner = {int(i): int(j) for i, j in pairs}
    free = np.setdiff1d(np.arange(len(new)), list(partner.values()))
    tree = cKDTree(new.position_px[free]) if len(free) else None
    reach = reach_px(new.position_px)
    remove = np.zeros(len(new), dtype=bool)
    fields = _Columns(new)
    added: list[Mapping[str, Any]] = []
    for change in net:
        n = int(change["column"])
        found = partner.get(at[n]) if n in at else None
        if found is None and n in now and tree is not None:  # one that only a hand saw before
            distance, k = tree.query(
                corrected.sites.position_px[now[n]], distance_upper_bound=reach
            )
            found = int(free[k]) if np.isfinite(distance) else None
        if change["to"] is None:
            if found is not None:
                remove[found] = True
            continue
        row = _row(corrected.sites, now[n])
        if found is None:
            added.append(row)
            continue
        if n in at and not {"y_px", "x_px"} & set(change["to"]):
            del row["y_px"], row["x_px"]  # the new answer knows the place better
        fields.set(found, row)
    wanted = fields.sites().subset(~remove)
    if added:
        wanted = _appended(wanted, added)
    return changes_between(numbered(new), wanted)


def changes_between_numbered(before: NumberedSites, after: NumberedSites) -> list[Change]:
    """As `changes_between`, of columns that are known by their numbers."""
    was = {int(n): _row(before.sites, i) for i, n in enumerate(before.number)}
    now = {int(n): _row(after.sites, i) for i, n in enumerate(after.number)}
    changes: list[Change] = []
    for n in sorted({*was, *now}):
        old, new = was.get(n), now.get(n)
        if old is None or new is None:
            changes.append({"column": n, "from": old, "to": new})
            continue
        different = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        if different:
            part = {key: old.get(key) for key in different}
            changes.append(
                {"column": n, "from": part, "to": {key: new.get(key) for key in different}}
            )
    return changes


def reach_px(position_px: FloatArray) -> float:
    """Within what distance a column is the same one, moved [px]."""
    if len(position_px) < 2:
        return FEW_REACH_PX
    distance, _ = cKDTree(position_px).query(position_px, k=2)
    return REACH * float(np.median(distance[:, 1]))


def matched_columns(old_px: FloatArray, new_px: FloatArray) -> list[tuple[int, int]]:
    """Rows of the columns that are the same in two sets, by their places, `(N, 2)` [px] each."""
    return [(int(i), int(j)) for i, j in _matched(old_px, new_px)[0]]


def _matched(old_px: FloatArray, new_px: FloatArray) -> tuple[IntArray, BoolArray]:
    """Rows of the same columns, `(K, 2)` in the order of the old ones; whether each was moved."""
    if len(old_px) == len(new_px) and bool((np.abs(old_px - new_px) < SAME_PX).all()):
        same = np.arange(len(old_px))
        return np.column_stack([same, same]), np.zeros(len(same), dtype=bool)
    old, new = np.arange(len(old_px)), np.arange(len(new_px))
    pairs, moved = [np.empty((0, 2), dtype=int)], [np.empty(0, dtype=bool)]
    for reach in (SAME_PX, reach_px(old_px)):
        if not len(old) or not len(new):
            break
        distance, there = cKDTree(new_px[new]).query(old_px[old], distance_upper_bound=reach)
        _, back = cKDTree(old_px[old]).query(new_px[new], distance_upper_bound=reach)
        within = np.isfinite(distance)
        k = np.flatnonzero(within & (back[np.where(within, there, 0)] == np.arange(len(old))))
        pairs.append(np.column_stack([old[k], new[there[k]]]))
        moved.append(np.full(len(k), reach > SAME_PX))
        old, new = np.delete(old, k), np.delete(new, there[k])
    joined, is_moved = np.concatenate(pairs), np.concatenate(moved)
    order = np.argsort(joined[:, 0])
    return joined[order], is_moved[order]


def _differ(old: Sites, new: Sites, pairs: IntArray) -> BoolArray:
    """In which pairs of rows, `(K, 2)`, anything but the place differs, `(K,)`."""
    i, j = pairs.T
    found = (old.class_index[i] != new.class_index[j]) | (old.source[i] != new.source[j])
    found |= (old.probabilities[i] != new.probabilities[j]).any(axis=1)
    for name in ("weight", "weight_sigma"):
        pair = ((getattr(old, name), i), (getattr(new, name), j))
        a, b = (np.full(len(k), np.nan) if values is None else values[k] for values, k in pair)
        found |= (a != b) & ~(np.isnan(a) & np.isnan(b))
    for name in {*old.extra, *new.extra}:
        a, b = (
            sites.extra[name][k] if name in sites.extra else np.full(len(k), "")
            for sites, k in ((old, i), (new, j))
        )
        found |= a != b
    return np.asarray(found)


def _row(sites: Sites, i: int) -> dict[str, Any]:
    """All that is known of a column, as JSON values: what is zero or unknown is left out."""
    y, x = (float(v) for v in sites.position_px[i])
    p = sites.probabilities[i]
    row: dict[str, Any] = {
        "y_px": y,
        "x_px": x,
        "class": sites.class_names[int(sites.class_index[i])],
        "p": {n: float(v) for n, v in zip(sites.class_names, p, strict=True) if v != 0},
        "source": str(sites.source[i]),
    }
    for name in ("weight", "weight_sigma"):
        values = getattr(sites, name)
        if values is not None and np.isfinite(values[i]):
            row[name] = float(values[i])
    extra = {name: str(values[i]) for name, values in sites.extra.items() if str(values[i])}
    if extra:
        row["extra"] = extra
    return row


def _not_there(n: int) -> DefectStrainError:
    return DefectStrainError(
        f"edit of column {n}: got a column that isn't there; the journal doesn't belong to these "
        "columns: restore the folder from a backup"
    )


class _Columns:
    """The arrays of `Sites`, copied to be changed."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._index = {name: i for i, name in enumerate(sites.class_names)}
        self._position = np.array(sites.position_px, dtype=float)
        self._p = np.array(sites.probabilities, dtype=float)
        self._class = np.array(sites.class_index, dtype=np.int64)
        self._source = sites.source.astype(SOURCE_DTYPE)
        # every text may become longer
        self._extra = {name: values.astype(object) for name, values in sites.extra.items()}
        self._weights = {
            name: np.array(values, dtype=float)
            for name in ("weight", "weight_sigma")
            if (values := getattr(sites, name)) is not None
        }

    def set(self, i: int, values: Mapping[str, Any]) -> None:
        """Give a column the values of a change; what it doesn't name stays."""
        for axis, name in enumerate(("y_px", "x_px")):
            if name in values:
                self._position[i, axis] = float(values[name])
        if "class" in values:
            self._class[i] = self._known(values["class"])
        if values.get("p") is not None:
            self._p[i] = 0.0
            for name, p in values["p"].items():
                self._p[i, self._known(name)] = float(p)
        if "source" in values:
            self._source[i] = str(values["source"])
        for name in ("weight", "weight_sigma"):
            if name in values:
                self._weights.setdefault(name, np.full(len(self._class), np.nan))
                known = values[name]
                self._weights[name][i] = np.nan if known is None else float(known)
        if "extra" in values:
            for known in self._extra.values():
                known[i] = ""
            for name, text in (values["extra"] or {}).items():
                empty = np.full(len(self._class), "", dtype=object)
                self._extra.setdefault(name, empty)[i] = str(text)

    def sites(self) -> Sites:
        """What they are now."""
        return replace(
            self._sites,
            position_px=self._position,
            probabilities=self._p,
            class_index=self._class,
            source=self._source,
            extra={name: values.astype(np.str_) for name, values in self._extra.items()},
            weight=self._weights.get("weight"),
            weight_sigma=self._weights.get("weight_sigma"),
        )

    def _known(self, name: object) -> int:
        if name not in self._index:
            raise DefectStrainError(
                f"edit: got the class {name!r}, expected one of {', '.join(self._index)}"
            )
        return self._index[str(name)]


def _appended(sites: Sites, rows: Sequence[Mapping[str, Any]]) -> Sites:
    """The columns and further ones."""
    k = len(rows)
    longer = replace(
        sites,
        position_px=np.concatenate([sites.position_px, np.zeros((k, 2))]),
        probabilities=np.concatenate([sites.probabilities, np.zeros((k, len(sites.class_names)))]),
        class_index=np.concatenate([sites.class_index, np.zeros(k, dtype=np.int64)]),
        source=np.concatenate([sites.source.astype(SOURCE_DTYPE), np.full(k, "manual")]),
        extra={n: np.concatenate([v, np.full(k, "")]) for n, v in sites.extra.items()},
        weight=_with_unknown(sites.weight, k),
        weight_sigma=_with_unknown(sites.weight_sigma, k),
    )
    fields = _Columns(longer)
    for i, row in enumerate(rows, len(sites)):
        fields.set(i, row)
    return fields.sites()


def _with_unknown(values: FloatArray | None, k: int) -> FloatArray | None:
    return None if values is None else np.concatenate([values, np.full(k, np.nan)])
