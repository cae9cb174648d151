"""Defects as things with a history: where they appear, change, hop and vanish."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from ..materials import Material
from ..types import BoolArray, FloatArray, IntArray
from .hidden import SiteChanges

BIRTH, DEATH, CHANGE, MIGRATION = "birth", "death", "change", "migration"
_STEPS_APART = 1
"""Sums between the start and the end of a hop, at most: both sites change while one is taken."""

_MOST_BY_CHANCE = 0.2
"""Births expected by chance around a death from which on it is no hop."""


@dataclass(frozen=True)
class Events:
    """What happened to the defects of a series, one entry an event of a site.

    Parameters
    ----------
    changes : SiteChanges
    kind : tuple of str, `(E,)`
        `BIRTH` of a defect on a perfect site, `DEATH`, `CHANGE` of its class, or `MIGRATION`: then
        the same vacancy or atom left here and came to the site of `partner`.
    partner : array of int, `(E,)`
        The other event of a migration; -1 for others.
    by_chance : array, `(E,)`
        For migrations the number of births expected by chance around the site that was left.
    """

    changes: SiteChanges
    kind: tuple[str, ...]
    partner: IntArray
    by_chance: FloatArray


@dataclass(frozen=True)
class Tracks:
    """The defects, one row for each of them in each sum.

    Parameters
    ----------
    track : array of int, `(R,)`
        Number of the defect, from 0.
    group, site, class_index : arrays of int, `(R,)`
        Sum, site and class (an index into the names of the classes of the chain).
    parent : dict of int to int
        Tracks that came out of another one: one vacancy of a double one that went elsewhere.
    """

    track: IntArray
    group: IntArray
    site: IntArray
    class_index: IntArray
    parent: dict[int, int]


def find_events(
    changes: SiteChanges,
    place_px: FloatArray,
    names: tuple[str, ...],
    material: Material,
    reach_px: float,
    sums: int,
) -> Events:
    """Tell births, deaths, changes and hops apart.

    A hop is a vacancy (or a substituent) that is gone from one site while the like appears on a
    neighbour: the pairs with the smallest sum of distances are taken (scipy's assignment), unless
    births are so frequent that one is expected there by chance.

    Parameters
    ----------
    changes : SiteChanges
    place_px : array, `(N, 2)`
        Of the sites [px].
    names : tuple of str
        Classes of the chain.
    material : Material
    reach_px : float
        Longest hop [px].
    sums : int
        Sums of the series: what births are counted by.
    """
    perfect = names.index(material.class_names[1])
    content = np.array([_content(name, material) for name in names])  # (K, 2)
    moved = content[changes.after] - content[changes.before]  # (E, 2)
    partner = np.full(len(changes), -1)
    by_chance = np.zeros(len(changes))
    around = _around(place_px, reach_px)
    for what in np.unique(np.abs(moved[(moved != 0).any(axis=1)]), axis=0):
        for sign in _signs(what):
            gone = np.flatnonzero((moved == -sign).all(axis=1))
            come = np.flatnonzero((moved == sign).all(axis=1))
            births = len(come) / max(len(place_px) * (sums - 1), 1)  # a site and a step
            for i, j in _pairs(changes, place_px, gone, come, reach_px):
                window = 1 + 2 * abs(int(changes.group[i] - changes.group[j]))
                expected = births * window * float(around[changes.site[i]])
                if expected > _MOST_BY_CHANCE:
                    continue
                partner[i], partner[j] = j, i
                by_chance[i] = by_chance[j] = expected
    kind = []
    for e in range(len(changes)):
        if partner[e] >= 0:
            kind.append(MIGRATION)
        elif changes.before[e] == perfect:
            kind.append(BIRTH)
        else:
            kind.append(DEATH if changes.after[e] == perfect else CHANGE)
    return Events(changes, tuple(kind), partner, by_chance)


def hop_counts(events: Events) -> dict[tuple[int, int], float]:
    """How many changes of each kind, by classes before and after, are one end of a hop.

    Less those that chance would have paired.
    """
    result: dict[tuple[int, int], float] = {}
    changes = events.changes
    for e in np.flatnonzero(events.partner >= 0):
        pair = (int(changes.before[e]), int(changes.after[e]))
        result[pair] = result.get(pair, 0.0) + 1.0 - min(float(events.by_chance[e]), 1.0)
    return result


def _content(name: str, material: Material) -> tuple[int, int]:
    """Vacancies and substituents in a column of a class."""
    role = material.role_of(name)
    return {"XY": (0, 1), "Y2": (0, 2), "V1": (1, 0), "V2": (2, 0)}.get(role, (0, 0))


def _signs(what: IntArray) -> list[IntArray]:
    """What comes to a site when it is one vacancy, or one substituent, that goes about."""
    return [what] if int(what.sum()) == 1 else []


def _around(place_px: FloatArray, reach_px: float) -> IntArray:
    tree = cKDTree(place_px)
    return np.asarray(tree.query_ball_point(place_px, reach_px, return_length=True)) - 1


def _pairs(
    changes: SiteChanges,
    place_px: FloatArray,
    gone: IntArray,
    come: IntArray,
    reach_px: float,
) -> list[tuple[int, int]]:
    """Events that belong together, by the smallest total distance."""
    if not len(gone) or not len(come):
        return []
    apart = np.hypot(
        *(place_px[changes.site[gone]][:, None] - place_px[changes.site[come]]).transpose(2, 0, 1)
    )
    steps = np.abs(changes.group[gone][:, None] - changes.group[come])
    open_ = (apart <= reach_px) & (apart > 0) & (steps <= _STEPS_APART)
    never = 1e3 * reach_px
    cost = np.where(open_, apart + 0.5 * reach_px * steps, never)
    rows, columns = linear_sum_assignment(cost)
    return [(int(gone[r]), int(come[c])) for r, c in zip(rows, columns, strict=True) if open_[r, c]]


def make_tracks(
    path: IntArray, events: Events, names: tuple[str, ...], material: Material
) -> Tracks:
    """Link the defects of the sums: a track stays while a site is defective, and goes along.

    Parameters
    ----------
    path : array of int, `(G, N)`
        Classes of the sites by sum.
    events : Events
    names : tuple of str
    material : Material
    """
    perfect = names.index(material.class_names[1])
    defect = path != perfect
    changes = events.changes
    label = np.full(path.shape, -1)
    count = 0
    for n in np.flatnonzero(defect.any(axis=0)):
        for first, last in _runs(defect[:, n]):
            label[first : last + 1, n] = count
            count += 1
    same = np.arange(count)
    parent: dict[int, int] = {}
    for e in np.flatnonzero((events.partner >= 0) & (changes.before == perfect)):
        # a perfect site that something came to from elsewhere
        other = int(events.partner[e])
        left, when = int(changes.site[other]), int(changes.group[other])
        mine = int(label[changes.group[e], changes.site[e]])
        theirs = int(label[when - 1, left])
        if theirs < 0:
            continue
        if defect[when, left]:
            parent[mine] = theirs
        else:
            same[same == same[mine]] = same[theirs]
    group, site = np.nonzero(label >= 0)
    track = same[label[group, site]]
    order = np.lexsort((group, track))
    track, group, site = track[order], group[order], site[order]
    # a hop that two sums show half done: the defect is where it went
    double = _first_of_doubles(track, group, site, label)
    track, group, site = track[~double], group[~double], site[~double]
    kept, number = np.unique(track, return_inverse=True)
    new = {int(k): i for i, k in enumerate(kept)}
    parents = {
        new[int(same[c])]: new[int(same[p])]
        for c, p in parent.items()
        if int(same[c]) in new and int(same[p]) in new
    }
    return Tracks(number, group, site, path[group, site], parents)


def _runs(defect: BoolArray) -> list[tuple[int, int]]:
    """First and last index of every run of True."""
    edges = np.diff(np.concatenate([[0], defect.astype(int), [0]]))
    return list(
        zip(
            np.flatnonzero(edges == 1).tolist(),
            (np.flatnonzero(edges == -1) - 1).tolist(),
            strict=True,
        )
    )


def _first_of_doubles(
    track: IntArray, group: IntArray, site: IntArray, label: IntArray
) -> BoolArray:
    """Rows of a track that another row has in the same sum: those on the site that is left."""
    double = np.zeros(len(track), dtype=bool)
    for r in range(1, len(track)):
        if track[r] == track[r - 1] and group[r] == group[r - 1]:
            ends = [
                int(np.flatnonzero(label[:, s] == label[group[r], s]).max())
                for s in (site[r - 1], site[r])
            ]
            double[r - 1 if ends[0] <= ends[1] else r] = True
    return double
