"""What the metals around a chalcogen column say of its class, and its class of where they are.

A vacancy draws its metals in, a heavier substituent pushes them out. A column's weight depends on
where its metals are taken to be; and they are taken to be where the class puts them that the column
is thought to have, so that a wrong class keeps itself alive. Here each class is weighed with the
metals where it would put them. Let ``z = (w, r)`` be a column's weight and the common displacement
of its metals away from it. The image says of both ``K z = q``; before, r is known as
``N(m_c, s^2)`` of class c. Then r by the image alone scatters about ``m_c``, and for given r the
weight about that of the class: two factors of the likelihood of a Gaussian (Kay, *Fundamentals of
Statistical Signal Processing* I, ch. 10).

Strain is measured by class: no class may be told by its strain. So the first factor is bounded; it
helps where weights leave a column open, and where they don't it changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from ..types import BoolArray, FloatArray, IntArray

_TAILS = 16.0
"""Degrees of freedom of Student's t that places follow, as weights do (`mixture`)."""
_ANYWHERE = 0.05
"""How likely, beside the likeliest class's place, metals lie anywhere for another reason: a perfect
column may be strained, and a vacancy needn't strain."""
_LEAST_METALS = 2
"""Of three, that a column needs around it: at edges there are fewer."""


@dataclass(frozen=True)
class Surroundings:
    """How the weights of columns depend on their classes, by the metals around; plain data.

    Classes are X2, XY, Y2, V1, V2. Columns with too few metals around have no `offset` and an
    infinite `spread`.

    Parameters
    ----------
    weight : array, `(N,)`
        That the equations were taken at.
    gain : array, `(N, 6)`
        Variance of a weight whose metals aren't known over that of one whose are, by class; the
        last is of columns of no class, whose metals may lie as far away as those of any.
    offset : array, `(N, 6)`
        What a column weighs more if it is of a class, or of none.
    away : array, `(N,)`
        How far the metals lie from where they are taken to be, by the image alone [px], for a
        column of `weight`.
    lean : array, `(N,)`
        How much farther they do for a unit of weight less [px].
    expected : array, `(N, 6)`
        `away` by class, and of none [px].
    spread : array, `(N, 6)`
        Scatter of `away` about that [px].
    """

    weight: FloatArray
    gain: FloatArray
    offset: FloatArray
    away: FloatArray
    lean: FloatArray
    expected: FloatArray
    spread: FloatArray

    def weights(self, weight: FloatArray, rows: BoolArray, further: int = 0) -> FloatArray:
        """Weights as they are in each class, `(6 + K, n)`, in the order of the shares.

        Parameters
        ----------
        weight : array, `(n,)`
            With the metals where they are taken to be.
        rows : array of bool, `(N,)`
            Which columns these are.
        further : int
            Classes of which nobody knows how they move metals, as of *other*.
        """
        own = self.weight[rows]
        by_class = own + (weight - own) * self.gain[rows].T + self.offset[rows].T
        return np.concatenate([by_class, np.repeat(by_class[-1:], further, axis=0)])

    def factors(self, weight: FloatArray, rows: BoolArray, further: int = 0) -> FloatArray:
        """How likely each class has its metals there, `(n, 6 + K)`, one to 21 at most.

        Arguments as in `weights`.
        """
        spread = self.spread[rows]
        away = self.away[rows] - self.lean[rows] * (weight - self.weight[rows])
        pull = (away[:, None] - self.expected[rows]) / spread
        known = np.isfinite(spread)
        log = -(_TAILS + 1) / 2 * np.log1p(pull**2 / _TAILS)
        log -= np.log(np.where(known, spread, 1.0))
        log -= log.max(axis=1, keepdims=True)
        factor = np.exp(log) + _ANYWHERE
        return np.concatenate([factor, np.repeat(factor[:, -1:], further, axis=1)], axis=1)


@dataclass(frozen=True)
class Settled:
    """What columns' places were settled by.

    Parameters
    ----------
    expected : array, `(N, 2)`
        Where the lattice and the defects around put each column [px].
    own2 : array, `(2,)`
        Variance of the places about that (y, x) [px^2].
    by_class : array, `(6,)`
        How far away X2, XY, Y2, V1, V2 and others move their metals [px].
    share : array, `(N, 5)`
        How far each column was of the last five.
    """

    expected: FloatArray
    own2: FloatArray
    by_class: FloatArray
    share: FloatArray


@dataclass(frozen=True)
class MetalsAround:
    """Pairs of a chalcogen column and one of its metals.

    Parameters
    ----------
    centre, metal : arrays of int, `(P,)`
        Rows of both.
    way : array, `(P, 2)`
        Unit vectors from one to the other.
    enough : array of bool, `(N,)`
        Columns with metals around.
    """

    centre: IntArray
    metal: IntArray
    way: FloatArray
    enough: BoolArray

    @classmethod
    def of(cls, ways: tuple[csr_array, csr_array], chalcogen: BoolArray) -> MetalsAround:
        """From directions to chalcogen columns' metals, see `Relaxation.first_metals`."""
        y, x = (way.tocoo() for way in ways)
        metal, centre = y.coords
        way = np.stack([y.data, x.data], axis=1)
        count = np.bincount(centre, minlength=len(chalcogen))
        return cls(centre, metal, way, chalcogen & (count >= _LEAST_METALS))

    def sum(self, value: FloatArray) -> FloatArray:
        """Of the pairs' values `(P,)`, `(N,)`."""
        return np.bincount(self.centre, value, minlength=len(self.enough)).astype(float)

    def mean(self, value: FloatArray, power: int = 1) -> FloatArray:
        """Sum over the number of pairs to a power, `(N,)`."""
        count = np.bincount(self.centre, minlength=len(self.enough))
        return np.asarray(self.sum(value) / np.maximum(count, 1.0) ** power)


def surroundings_of(
    metals: MetalsAround,
    settled: Settled,
    *,
    weight: FloatArray,
    information: FloatArray,
    position: FloatArray,
    push: FloatArray,
    stiffness: FloatArray,
    slope: FloatArray,
    loudness: FloatArray,
) -> Surroundings:
    """What metals say of the classes of the columns between them.

    Parameters
    ----------
    metals : MetalsAround
    settled : Settled
    weight, information : arrays, `(N,)`
        Of each column, and one over the variance of its weight.
    position, push, stiffness : arrays, `(N, 2)`
        Where columns are taken to be [px]; what the image says of their places, as a gradient, and
        as one over their variance: 0 where nothing.
    slope : array, `(P, 2)`
        Light that a pair's column gets from its metal, by the metal's place.
    loudness : array, `(N,)`
        Power of the noise around each column over that of `slope`.
    """
    way, metal = metals.way, metals.metal
    a = np.maximum(information, 1e-12)
    b = metals.sum((slope * way).sum(axis=1)) / loudness
    stiff = metals.sum((stiffness[metal] * way**2).sum(axis=1))
    q = metals.sum((push[metal] * way).sum(axis=1))
    known = metals.enough & (stiff * a > b**2)
    present = metals.mean(((position - settled.expected)[metal] * way).sum(axis=1))
    present += settled.share @ settled.by_class[1:]
    s2 = np.where(known, metals.mean((settled.own2 * way**2).sum(axis=1), 2), 1.0)
    # columns of no class may be of several kinds: metals as far away as those of any class
    s2 = s2[:, None] + np.append(np.zeros(5), (settled.by_class[1:] ** 2).mean())
    b, q, stiff = np.where(known, b, 0.0), np.where(known, q, 0.0), np.where(known, stiff, 1.0)
    expected = np.where(known[:, None], settled.by_class - present[:, None], 0.0)
    both = stiff[:, None] + 1.0 / s2
    less = 1.0 - (b**2 / a)[:, None] / both
    determinant = a * stiff - b**2
    return Surroundings(
        weight=weight.copy(),
        gain=1.0 / less,
        offset=-(b / a)[:, None] / (both * less) * (q[:, None] + expected / s2),
        away=a * q / determinant,
        lean=b * a / determinant,
        expected=expected,
        spread=np.where(known[:, None], np.sqrt(s2 + (a / determinant)[:, None]), np.inf),
    )
