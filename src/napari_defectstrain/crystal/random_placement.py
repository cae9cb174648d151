"""The same defects put on the same sites at random, and what is counted of their neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..types import BoolArray, FloatArray, IntArray
from .site_pairs import SiteNeighbours

_BATCH = 4_000_000
"""Neighbours looked up at a time."""
CLUSTERS = ("alone", "pairs", "triples", "larger", "largest", "lines", "longest line")
"""What `Encounters.clusters` counts."""
LARGEST = np.isin(CLUSTERS, ("largest", "longest line"))
"""Which of them are the most columns anywhere, not a number of clusters."""
LINE = 3
"""Columns in a row that make a line."""


@dataclass(frozen=True)
class Encounters:
    """Which defects are neighbours, in several arrangements of the same defects.

    Parameters
    ----------
    arrangements : int
    label : array of int, `(m,)`
        Class of each defect.
    shell : array of int, `(C,)`
        Of each step to a neighbour.
    arrangement, defect, step, other : arrays of int, `(E,)`
        That in an arrangement a defect finds another one a step away; each pair both ways.
    """

    arrangements: int
    label: IntArray
    shell: IntArray
    arrangement: IntArray
    defect: IntArray
    step: IntArray
    other: IntArray

    @property
    def shells(self) -> int:
        """How many shells were looked at."""
        return int(self.shell[-1]) + 1

    def pairs(self, classes: int) -> IntArray:
        """Ordered pairs by class and shell, `(arrangements, classes, classes, shells)`.

        Pairs of unlike classes count once, those of one class twice.
        """
        shape = (self.arrangements, classes, classes, self.shells)
        key = np.ravel_multi_index(
            (
                self.arrangement,
                self.label[self.defect],
                self.label[self.other],
                self.shell[self.step],
            ),
            shape,
        )
        return np.asarray(np.bincount(key, minlength=int(np.prod(shape))).reshape(shape))

    def nearest(self, use: BoolArray | None, of: Sequence[BoolArray]) -> IntArray:
        """Defects whose nearest other one lies within each shell.

        Parameters
        ----------
        use : array of bool, `(E,)`, or None
            Encounters that count; None: all.
        of : sequence of arrays of bool, `(m,)`
            Defects that are asked, some groups of them.

        Returns
        -------
        array of int, `(arrangements, groups, shells)`
        """
        kept = slice(None) if use is None else use
        row, defect, step = self.arrangement[kept], self.defect[kept], self.step[kept]
        # encounters come by arrangement, defect and step: the first of each is the nearest
        first = np.flatnonzero(np.diff(row * len(self.label) + defect, prepend=-1))
        key = row[first] * self.shells + self.shell[step[first]]
        asked = defect[first]
        shape = (self.arrangements, self.shells)
        size = self.arrangements * self.shells
        each = [np.bincount(key[one[asked]], minlength=size).reshape(shape) for one in of]
        return np.asarray(np.cumsum(np.stack(each, axis=1), axis=2))

    def of_pairs(self) -> Encounters:
        """Nearest neighbours alone, each pair once."""
        use = self.step < 3  # opposite steps are three apart
        kept = (self.arrangement, self.defect, self.step, self.other)
        return Encounters(self.arrangements, self.label, self.shell, *(part[use] for part in kept))

    def clusters(self, members: BoolArray) -> IntArray:
        """Clusters among some defects, `(arrangements, len(CLUSTERS))`; for `of_pairs` only.

        Alone, pairs, triples and larger clusters; columns of the largest; lines, which are `LINE`
        or more columns in a row along zigzag, and columns of the longest.

        Parameters
        ----------
        members : array of bool, `(m,)`
        """
        use = members[self.defect] & members[self.other]
        size = self._sizes(use)
        alone = int(members.sum()) - size @ np.arange(size.shape[1])
        larger = size[:, 4:].sum(axis=1)
        largest = np.maximum(_largest(size), int(members.any()))
        along = [self._sizes(use & (self.step == k)) for k in range(3)]
        lines = sum(one[:, LINE:].sum(axis=1) for one in along)
        longest = np.max([_largest(one) for one in along], axis=0)
        longest = np.maximum(longest, int(members.any()))
        few = [_at(size, k) for k in (2, 3)]
        return np.stack([alone, *few, larger, largest, lines, longest], axis=1)

    def _sizes(self, use: BoolArray) -> IntArray:
        """Groups that some encounters join, by arrangement and size, `(arrangements, sizes)`.

        Defects that meet nobody are in none of them.
        """
        m = len(self.label)
        ends = [self.arrangement[use] * m + end[use] for end in (self.defect, self.other)]
        node, number = np.unique(np.concatenate(ends), return_inverse=True)
        start, end = number.reshape(2, -1)
        graph = coo_array((np.ones(len(start), dtype=bool), (start, end)), shape=(len(node),) * 2)
        count, part = connected_components(graph, directed=False) if len(node) else (0, number)
        size = np.bincount(part, minlength=count)
        home = np.zeros(count, dtype=int)
        home[part] = node // max(m, 1)
        width = int(size.max(initial=0)) + 1
        found = np.bincount(home * width + size, minlength=self.arrangements * width)
        return np.asarray(found.reshape(self.arrangements, width))


def _at(sizes: IntArray, k: int) -> IntArray:
    return sizes[:, k] if sizes.shape[1] > k else np.zeros(len(sizes), dtype=int)


def _largest(sizes: IntArray) -> IntArray:
    """Largest size of which there is one, by arrangement; 0 where there is none."""
    return np.asarray(((sizes > 0) * np.arange(sizes.shape[1])).max(axis=1))


def encounters(neighbours: SiteNeighbours, placed: IntArray, label: IntArray) -> Encounters:
    """Which defects are neighbours where they are placed.

    Parameters
    ----------
    neighbours : SiteNeighbours
        With n sites.
    placed : array of int, `(arrangements, m)`
        Site of each defect.
    label : array of int, `(m,)`
    """
    n, m = len(neighbours), len(label)
    count = len(placed)
    row = np.arange(count)[:, None]
    where = np.full((count, n + 1), -1, dtype=np.int32)
    where[row, placed] = np.arange(m)
    near = neighbours.table[placed]  # (arrangements, m, C), a copy
    near += (row * (n + 1))[:, :, None].astype(near.dtype)
    other = where.ravel().take(near.ravel())
    found = np.flatnonzero(other >= 0)
    arrangement, defect, step = np.unravel_index(found, near.shape)
    return Encounters(
        count, label, neighbours.shell, arrangement, defect, step, other[found].astype(np.int64)
    )


def random_encounters(
    neighbours: SiteNeighbours, label: IntArray, simulations: int, seed: Sequence[int]
) -> Iterator[Encounters]:
    """The same defects on the same sites at random, some arrangements at a time.

    Parameters
    ----------
    neighbours : SiteNeighbours
    label : array of int, `(m,)`
    simulations : int
        How many arrangements in all.
    seed : sequence of int
    """
    rng = np.random.default_rng(list(seed))
    n, m = len(neighbours), len(label)
    batch = max(1, min(simulations, _BATCH // max(m * neighbours.table.shape[1], n, 1)))
    for start in range(0, simulations, batch):
        count = min(batch, simulations - start)
        every = np.tile(np.arange(n, dtype=np.int32), (count, 1))
        yield encounters(neighbours, rng.permuted(every, axis=1)[:, :m], label)


def expected_pairs(in_class: FloatArray, pairs: IntArray) -> FloatArray:
    """Ordered pairs by class and shell expected of random placements, `(G, G, shells)`.

    Parameters
    ----------
    in_class : array, `(n, G)`
        Of each site, 1 where it is of a class, or how probable that is.
    pairs : array of int, `(shells,)`
        Pairs of sites.
    """
    n = len(in_class)
    if n < 2:
        return np.zeros((in_class.shape[1],) * 2 + (len(pairs),))
    total = in_class.sum(axis=0)
    both = np.outer(total, total) - in_class.T @ in_class
    return np.asarray(both[:, :, None] * (2.0 * pairs / (n * (n - 1.0))))


def weighted_pairs(in_class: FloatArray, neighbours: SiteNeighbours) -> FloatArray:
    """Ordered pairs by class and shell where classes are probabilities, `(G, G, shells)`.

    Parameters
    ----------
    in_class : array, `(n, G)`
    neighbours : SiteNeighbours
    """
    padded = np.concatenate([in_class, np.zeros((1, in_class.shape[1]))])
    result = np.zeros((in_class.shape[1],) * 2 + (neighbours.shells,))
    for shell in range(neighbours.shells):
        table = neighbours.table[:-1, neighbours.shell == shell]
        around = np.zeros_like(in_class)
        for column in table.T:
            around += padded[column]
        result[:, :, shell] = in_class.T @ around
    return result
