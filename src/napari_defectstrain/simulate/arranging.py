"""Vacancies that don't lie at random: in pairs, or in lines along zigzag."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from ..materials import ROLES
from ..types import BoolArray, FloatArray, IntArray

ARRANGEMENTS = ("random", "pairs", "lines")
_TRIES = 200
_SAME_PLACE = 0.1  # a
_X2 = ROLES.index("X2")
_VACANT = (ROLES.index("V1"), ROLES.index("V2"))


def arranged_vacancies(
    site_pm: FloatArray,
    is_metal: BoolArray,
    class_index: IntArray,
    lattice_pm: float,
    share: float,
    length: int,
    rng: np.random.Generator,
) -> IntArray:
    """Classes of a crystal some of whose vacancies were moved into rows of nearest neighbours.

    As many of each kind as before; what finds no room for a whole row stays where it was.

    Parameters
    ----------
    site_pm : array, `(N, 2)`
        Ideal sites (x, y) in the lattice frame [pm].
    is_metal : array of bool, `(N,)`
    class_index : array of int, `(N,)`
        Roles.
    lattice_pm : float
    share : float
        Of the vacancies that are moved, 0 to 1.
    length : int
        Vacancies in a row.
    rng : numpy.random.Generator
    """
    result = np.array(class_index)
    vacant = np.flatnonzero(np.isin(result, _VACANT))
    moved = rng.permutation(vacant)[: int(round(share * len(vacant)))]
    chalcogen = np.flatnonzero(~np.asarray(is_metal))
    if not len(moved):
        return result
    tree = cKDTree(site_pm[chalcogen])
    for start in range(0, len(moved) - length + 1, length):
        row = moved[start : start + length]
        kinds = result[row]
        result[row] = _X2
        for _ in range(_TRIES):
            angle = rng.integers(6) * np.pi / 3
            step = lattice_pm * np.array([np.cos(angle), np.sin(angle)])
            first = site_pm[chalcogen[rng.integers(len(chalcogen))]]
            wanted = first + np.arange(length)[:, None] * step
            distance, nearest = tree.query(wanted)
            place = chalcogen[nearest]
            if (distance < _SAME_PLACE * lattice_pm).all() and (result[place] == _X2).all():
                row = place
                break
        result[row] = kinds
    return result
