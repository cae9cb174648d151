"""Honeycomb domains among columns, by their places alone.

In projected 2H-MX2 every column has three neighbours 120 degrees apart. The mean of exp(3i phi)
over them, phi their directions with y up, has modulus 1, and opposite signs on the two sublattices.
Where the crystal turns into its mirror twin both signs change.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from .types import BoolArray, FloatArray, IntArray

ComplexArray = npt.NDArray[np.complexfloating[Any, Any]]

FIRST_NEIGHBOUR_REACH = 1.35
"""Times the nearest distance: halfway to the second shell at 1.73."""
SECOND_NEIGHBOUR_REACH = 1.95
"""Times the nearest distance: between a (1.73) and the third shell (2.0)."""
NEIGHBOURS = 12
"""Three first, six second, three third neighbours."""
MIN_COLUMNS = 12
"""Fewer columns are no domain."""
_MIN_ORDER = 0.5
_MIN_ALIKE = 0.4  # mean cosine with the second neighbours: about 0 in the two rows of a boundary
_MIN_LINK = 0.7  # cosine: linked columns differ by less than 15 degrees of rotation


def neighbours(position_px: FloatArray, count: int = NEIGHBOURS) -> tuple[FloatArray, IntArray]:
    """Distances and rows of up to `count` nearest columns, `(N, k)`, the nearest first."""
    tree = cKDTree(position_px)
    distance, index = tree.query(position_px, k=min(len(position_px), count + 1))
    return distance[:, 1:], index[:, 1:]


def threefold_order(
    position_px: FloatArray, neighbour_px: FloatArray, counted: BoolArray, least: int = 3
) -> ComplexArray:
    """Mean of exp(3i phi) over the neighbours that count, phi with y up, `(N,)`.

    Parameters
    ----------
    position_px : array, `(N, 2)`
        (y, x) [px].
    neighbour_px : array, `(N, k, 2)`
        (y, x) of the neighbours of each [px].
    counted : array of bool, `(N, k)`
    least : int
        The sum is divided by the number of neighbours that count, and by no less than this.
    """
    offset = neighbour_px - position_px[:, None]
    wave = np.exp(3j * np.arctan2(-offset[..., 0], offset[..., 1])) * counted
    return np.asarray(wave.sum(axis=1) / np.maximum(counted.sum(axis=1), least))


def honeycomb_domains(
    order: ComplexArray, index: IntArray, first: BoolArray, second: BoolArray
) -> tuple[IntArray, FloatArray]:
    """Connected patches of one honeycomb, and the two sublattices of each.

    Columns are linked where they are well ordered, like their second neighbours and unlike their
    first ones: along a mirror-twin boundary, whatever its atoms do, half of the second neighbours
    point the other way. Which sublattice is metal is not asked here.

    Parameters
    ----------
    order : array, `(N,)`
        From `threefold_order`.
    index : array of int, `(N, k)`
        Rows of the neighbours.
    first, second : arrays of bool, `(N, k)`
        Which of them are first and second neighbours.

    Returns
    -------
    label : array of int, `(N,)`
        Number of the patch, -1 where a column belongs to none.
    side : array, `(N,)`
        +1 and -1 on the two sublattices of each patch.
    """
    n = len(order)
    size = np.abs(order)
    unit = order / np.maximum(size, 1e-9)
    likeness = np.real(unit[:, None] * np.conj(unit[index]))  # (n, k)
    alike = (likeness * second).sum(axis=1) / np.maximum(second.sum(axis=1), 1)
    good = (size > _MIN_ORDER) & (alike > _MIN_ALIKE)
    link = (first & (likeness < -_MIN_LINK)) | (second & (likeness > _MIN_LINK))
    link &= good[:, None] & good[index]
    start, slot = np.nonzero(link)
    graph = coo_array((np.ones(len(start)), (start, index[start, slot])), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    label = np.where(good & (np.bincount(label)[label] >= MIN_COLUMNS), label, -1)
    known = np.flatnonzero(label >= 0)
    _, compact = np.unique(label[known], return_inverse=True)
    result, side = np.full(n, -1), np.zeros(n)
    result[known] = compact
    # squares agree on both sublattices; the root's sign is arbitrary, but one for each patch
    square = unit[known] ** 2
    root = np.sqrt(np.bincount(compact, square.real) + 1j * np.bincount(compact, square.imag))
    side[known] = np.where(np.real(unit[known] * np.conj(root[compact])) > 0, 1.0, -1.0)
    return result, side
