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
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree

from ..progress import subprogress
from ..types import BoolArray, FloatArray, IntArray, Progress, no_progress

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
# Of the core of a domain, which a few columns between two seams must not bridge. The scatter of
# columns of single images, 6 pm, leaves a mean cosine of 0.99, and 0.97 of the doubled angle.
_MIN_AGREEMENT = 0.85
_MIN_PARALLEL = 0.75
_SEAM_COST = 6.0  # log odds
_MIN_CORE_LINK = 0.9  # 9 degrees of rotation


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
    order: ComplexArray,
    index: IntArray,
    first: BoolArray,
    second: BoolArray,
    progress: Progress = no_progress,
) -> tuple[IntArray, FloatArray]:
    """Connected patches of one honeycomb, and the two sublattices of each.

    Columns are linked where they are well ordered, like their second neighbours and unlike their
    first ones: along a mirror-twin boundary, whatever its atoms do, half of the second neighbours
    point the other way. Only columns that nearly all their neighbours agree with carry a patch on,
    in small turns, so that it doesn't creep through a seam; the others join the nearest of them.
    The sides are carried along the links. Which sublattice is metal is not asked here.

    Parameters
    ----------
    order : array, `(N,)`
        From `threefold_order`.
    index : array of int, `(N, k)`
        Rows of the neighbours.
    first, second : arrays of bool, `(N, k)`
        Which of them are first and second neighbours.
    progress : Progress

    Returns
    -------
    label : array of int, `(N,)`
        Number of the patch, -1 where a column belongs to none.
    side : array, `(N,)`
        +1 and -1 on the two sublattices of each patch.
    """
    progress(0.0, "finding domains")
    size = np.abs(order)
    unit = order / np.maximum(size, 1e-9)
    likeness = np.real(unit[:, None] * np.conj(unit[index]))  # (n, k)
    alike = _mean(likeness, second)
    good = (size > _MIN_ORDER) & (alike > _MIN_ALIKE)
    link = (first & (likeness < -_MIN_LINK)) | (second & (likeness > _MIN_LINK))
    link &= good[:, None] & good[index]
    near = first | second
    agreement = np.where(first, -likeness, likeness)
    core = good & (_mean(agreement, near) > _MIN_AGREEMENT)
    core &= _mean(2 * likeness**2 - 1, near) > _MIN_PARALLEL
    tight = link & (np.abs(likeness) > _MIN_CORE_LINK) & core[:, None] & core[index]
    label, side = _linked(tight, likeness, index, subprogress(progress, 0.2, 0.9))
    progress(0.9, "finding domains")
    # the other good ones go with the core column they agree with best
    reach = link & core[index] & ~core[:, None]
    best = np.where(reach, np.abs(likeness), 0.0).argmax(axis=1)[:, None]
    joins = np.flatnonzero(reach.any(axis=1))
    nearest = np.take_along_axis(index, best, axis=1)[joins, 0]
    label[joins] = label[nearest]
    side[joins] = side[nearest] * np.sign(np.take_along_axis(likeness, best, axis=1)[joins, 0])
    member = core.copy()
    member[joins] = True
    known = np.flatnonzero(member & (np.bincount(label, member)[label] >= MIN_COLUMNS))
    result = np.full(len(order), -1)
    result[known] = np.unique(label[known], return_inverse=True)[1]
    return result, np.where(result < 0, 0.0, side)


def opposed_patches(
    label: IntArray, evidence: FloatArray, against: BoolArray, index: IntArray, near: BoolArray
) -> BoolArray:
    """Patches within domains whose brightness says the opposite, and says it clearly, `(N,)`.

    Two grains turned by nearly 60 degrees can continue each other's honeycomb so well that no place
    tells where metal and chalcogen swap. Their brightness can: a patch is taken for a grain of its
    own if its evidence outweighs `_SEAM_COST` for every pair of neighbours that its rim parts, as
    that of a large grain does and that of a corner where columns are misjudged doesn't.

    Parameters
    ----------
    label : array of int, `(N,)`
        Domain of each column, -1 for none.
    evidence : array, `(N,)`
        Log odds that a column's side is as the domain as a whole says.
    against : array of bool, `(N,)`
        Columns whose neighbourhood speaks against the domain.
    index, near : arrays, `(N, k)`
        Rows of the neighbours, and which of them are first or second ones.
    """
    n = len(label)
    against = against & (label >= 0)
    pair = near & (label[:, None] == label[index]) & (label >= 0)[:, None]
    start, slot = np.nonzero(pair & against[:, None] & against[index])
    graph = coo_array((np.ones(len(start)), (start, index[start, slot])), shape=(n, n))
    _, patch = connected_components(graph, directed=False)
    rim = np.bincount(patch, (pair & ~against[index]).sum(axis=1) * against)
    gain = np.bincount(patch, -2.0 * evidence * against)
    return np.asarray(against & (gain > _SEAM_COST * rim)[patch])


def _mean(value: FloatArray, counted: BoolArray) -> FloatArray:
    return np.asarray((value * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1))


def _linked(
    link: BoolArray, likeness: FloatArray, index: IntArray, progress: Progress = no_progress
) -> tuple[IntArray, FloatArray]:
    """Number of each column's connected patch, and its side of it carried along the best links."""
    progress(0.0, "linking columns")
    n = len(link)
    start, slot = np.nonzero(link)
    end, cosine = index[start, slot], likeness[start, slot]
    cost = 2.0 - np.abs(cosine)  # never 0, which would be no link
    # the tree is grown on indices of 32 bits; older scipy doesn't make them so by itself
    links = coo_array((cost, (start.astype(np.int32), end.astype(np.int32))), shape=(n, n))
    tree = minimum_spanning_tree(links).tocoo()
    progress(0.5, "linking columns")
    # in these 32 bits row * n overflows from 46 341 columns on
    source, target = tree.row.astype(np.int64), tree.col.astype(np.int64)
    flips = np.isin(source * n + target, (start * n + end)[cosine < 0])
    progress(0.8, "linking columns")
    # Every column twice, once on each side: links between sides join one copy to the other's.
    there = np.where(flips, target + n, target)
    back = np.where(flips, target, target + n)
    row, column = np.concatenate([source, source + n]), np.concatenate([there, back])
    double = coo_array((np.ones(len(row)), (row, column)), shape=(2 * n, 2 * n))
    _, copy = connected_components(double, directed=False)
    # of a patch's two copies the one found first stands for it; which one is arbitrary
    return np.minimum(copy[:n], copy[n:]), np.where(copy[:n] < copy[n:], 1.0, -1.0)
