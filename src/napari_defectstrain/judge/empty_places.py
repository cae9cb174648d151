"""Places where the network sees no column: within the crystal, and at the border of the image.

An empty site shows nothing, and a network that looks for columns may find none there: what it
overlooks is mostly a double vacancy. The crystal around it says that one belongs there; the judge
weighs it like all others. Columns that the border cuts or hides are added for their light.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..materials import ROLES
from ..types import METAL, FloatArray, IntArray, Sites

_RING = (0.75, 1.25)
"""Lattice constants to a neighbour of the same sublattice."""
_METALS = (0.4, 0.75)
_VACANT, _SAME = 0.4, 0.25
"""No column within, and guesses of one place within [a]."""
_LEAST_GUESSES = 4
"""Of six neighbours that guess a place: outside of an edge there are three at most."""
_OVERLOOKED = {"X2": 0.2, "XY": 0.05, "Y2": 0.05, "V1": 0.2, "V2": 0.5}
"""What it may be that a network overlooked."""
_BEYOND, _WITHIN = 0.8, 0.3
"""Lattice constants outside and inside of the border where columns are added that a network leaves
out: their light reaches into the image."""
_INWARDS = 2.0
"""Lattice constants from the border to the farthest column that guesses them."""
_LEAST_BEYOND = 2
"""Guesses of a place beyond the border: of its six neighbours two lie inside of a straight one."""


def with_empty_places(sites: Sites, a_px: float) -> Sites:
    """The columns, and after them the places within the crystal where one is missing.

    Parameters
    ----------
    sites : Sites
        Columns found in an image.
    a_px : float
        Lattice constant [px].
    """
    place = empty_places(sites, a_px)
    if len(place) == 0:
        return sites
    n = len(place)
    chance = np.zeros(sites.probabilities.shape[1])
    for role, share in _OVERLOOKED.items():
        chance[ROLES.index(role)] = share
    return _with_columns(sites, place, np.tile(chance, (n, 1)), np.full(n, ROLES.index("V2")))


def with_places_beyond(sites: Sites, shape: tuple[int, ...], a_px: float) -> Sites:
    """The columns, and after them those at and beyond the border that nobody can find, as perfect.

    Half or more of such a column lies outside of the image. What it shines into the image is as
    bright as the columns there: left out, it takes up to a fifth off the weight of columns one
    lattice constant inside.

    Parameters
    ----------
    sites : Sites
        Columns found in an image.
    shape : tuple of int
        Of the image.
    a_px : float
        Lattice constant [px].
    """
    last = np.array(shape[:2]) - 1.0
    every = np.asarray(sites.position_px, dtype=float)
    close = np.minimum(every, last - every).min(axis=1) < _INWARDS * a_px
    tree = cKDTree(every) if len(every) else None
    places, roles = [], []
    for role, own in (
        (METAL, sites.is_metal & close),
        (ROLES.index("X2"), sites.is_chalcogen & close),
    ):
        guess, by = opposite_places(every[own], a_px)
        inside = np.minimum(guess, last - guess).min(axis=1, initial=np.inf) / a_px
        at_border = (inside < _WITHIN) & (inside > -_BEYOND)
        guess, by = guess[at_border], by[at_border]
        if len(guess) == 0 or tree is None:
            continue
        vacant = tree.query(guess)[0] > _VACANT * a_px
        guess, by = guess[vacant], by[vacant]
        if len(guess) == 0:
            continue
        found = [p for p, n in _gathered(guess, by, _SAME * a_px) if n >= _LEAST_BEYOND]
        places += found
        roles += [role] * len(found)
    if not places:
        return sites
    chance = np.eye(sites.probabilities.shape[1])[roles]
    return _with_columns(sites, np.array(places), chance, np.array(roles))


def opposite_places(place: FloatArray, a_px: float) -> tuple[FloatArray, IntArray]:
    """Where columns would be opposite to the neighbours of each, and the one that guesses it.

    Parameters
    ----------
    place : array, `(N, 2)`
        Columns of one sublattice [px].
    a_px : float
        Lattice constant [px].

    Returns
    -------
    guess : array, `(M, 2)`
        Up to six of each column [px].
    by : array of int, `(M,)`
    """
    if len(place) < 2:
        return np.zeros((0, 2)), np.zeros(0, dtype=int)
    pair = cKDTree(place).query_pairs(_RING[1] * a_px, output_type="ndarray")
    away = np.hypot(*(place[pair[:, 0]] - place[pair[:, 1]]).T)
    pair = pair[away > _RING[0] * a_px]
    here, there = np.concatenate([pair, pair[:, ::-1]]).T
    return 2 * place[here] - place[there], here


def _with_columns(sites: Sites, place: FloatArray, chance: FloatArray, role: IntArray) -> Sites:
    """The columns and others after them."""
    n = len(place)
    return replace(
        sites,
        position_px=np.concatenate([sites.position_px, place]),
        probabilities=np.concatenate([sites.probabilities, chance]),
        class_index=np.append(sites.class_index, role),
        source=np.append(sites.source, np.full(n, "model")),
        extra={k: np.append(v, np.full(n, "")) for k, v in sites.extra.items()},
        weight=None,
        weight_sigma=None,
    )


def empty_places(sites: Sites, a_px: float, of_metal: bool = False) -> FloatArray:
    """Places between three metals and four chalcogen columns or more that hold none, `(M, 2)` [px].

    With `of_metal` those of metals, between three chalcogen columns. Each column of the sublattice
    guesses the places opposite to its neighbours: so lattices of any domain, however they are
    turned, are followed.
    """
    place = np.asarray(sites.position_px, dtype=float)
    chalcogen, metal = place[sites.is_chalcogen], place[sites.is_metal]
    if of_metal:
        chalcogen, metal = metal, chalcogen
    none = np.zeros((0, 2))
    if len(chalcogen) < _LEAST_GUESSES or len(metal) < 3:
        return none
    guess, by = opposite_places(chalcogen, a_px)
    if len(guess) == 0:
        return none
    vacant = cKDTree(place).query(guess)[0] > _VACANT * a_px
    guess, by = guess[vacant], by[vacant]
    if len(guess) == 0:
        return none
    found = np.array([p for p, n in _gathered(guess, by, _SAME * a_px) if n >= _LEAST_GUESSES])
    if len(found) == 0:
        return none
    metals = cKDTree(metal)
    outer, inner = (
        metals.query_ball_point(found, r * a_px, return_length=True) for r in _METALS[::-1]
    )
    return np.asarray(found[(outer == 3) & (inner == 0)])


def _gathered(guess: FloatArray, by: IntArray, reach: float) -> list[tuple[FloatArray, int]]:
    """Mean of the guesses of each place, and how many columns made them."""
    pair = cKDTree(guess).query_pairs(reach, output_type="ndarray")
    graph = coo_array((np.ones(len(pair)), pair.T), shape=(len(guess),) * 2)
    count, label = connected_components(graph, directed=False)
    order = np.argsort(label, kind="stable")
    groups = np.split(order, np.searchsorted(label[order], np.arange(1, count)))
    return [(guess[g].mean(axis=0), len(np.unique(by[g]))) for g in groups]
