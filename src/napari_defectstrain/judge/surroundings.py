"""What the metals around a chalcogen column say of its class, and its class of where they are.

A vacancy draws its metals in, a heavier substituent pushes them out. Where the metals are taken to
be, a column's weight depends on; and they are taken to be where the class says that the column was
thought to have. So each class is weighed with the metals where it would put them. Let
``z = (w, r)`` be a column's weight and the common displacement of its metals away from it. The
image says of both ``K z = q``; before, r is known as ``N(m_c, s^2)`` of class c. Then r by the
image alone scatters about ``m_c``, and for given r the weight about that of the class: two factors
of the likelihood of a Gaussian (Kay, *Fundamentals of Statistical Signal Processing* I, ch. 10).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from ..types import FloatArray

_TAILS = 16.0
_LEAST_METALS = 2


@dataclass(frozen=True)
class Surroundings:
    """How weights depend on classes by the metals around; plain data.

    Classes are X2, XY, Y2, V1, V2.

    Parameters
    ----------
    weight : array, `(N,)`
        That the equations were taken at.
    gain : array, `(N,)`
        Variance of a weight whose metals aren't known over that of one whose are.
    offset : array, `(N, 5)`
        What a column weighs more if it is of a class.
    away : array, `(N,)`
        How far the metals lie from where a perfect crystal has them, by the image alone [px], for
        a column of `weight`.
    lean : array, `(N,)`
        How much farther for each unit of weight less.
    expected : array, `(N, 5)`
        `away` by class.
    spread : array, `(N,)`
        Scatter of `away` about that; inf where there are too few metals.
    """

    weight: FloatArray
    gain: FloatArray
    offset: FloatArray
    away: FloatArray
    lean: FloatArray
    expected: FloatArray
    spread: FloatArray

    def weights(self, weight: FloatArray, rows: FloatArray, further: int = 0) -> FloatArray:
        """Weights as they are in each class, `(5 + K, n)`; further classes move nothing.

        Parameters
        ----------
        weight : array, `(n,)`
            With the metals at the present places.
        rows : array of bool, `(N,)`
            Which columns these are.
        further : int
        """
        own = self.weight[rows]
        by_class = own + (weight - own) * self.gain[rows] + self.offset[rows].T
        return np.concatenate([by_class, np.repeat(by_class[:1], further, axis=0)])

    def factors(self, weight: FloatArray, rows: FloatArray, further: int = 0) -> FloatArray:
        """Likelihood of where the metals are, `(n, 6 + K)`; *other* may put them anywhere."""
        away = self.away[rows] - self.lean[rows] * (weight - self.weight[rows])
        pull = (away[:, None] - self.expected[rows]) / self.spread[rows][:, None]
        log = -(_TAILS + 1) / 2 * np.log1p(pull**2 / _TAILS)
        log -= log.max(axis=1, keepdims=True)
        return np.concatenate([np.exp(log), np.ones((len(log), 1 + further))], axis=1)


def surroundings_of(
    weight: FloatArray,
    information: FloatArray,
    pull: FloatArray,
    lean: FloatArray,
    stiffness: FloatArray,
    present: FloatArray,
    by_class: FloatArray,
    own2: FloatArray,
) -> Surroundings:
    """See `Surroundings`; all arrays `(N,)`.

    Parameters
    ----------
    weight, information : arrays
        Of each column, and one over its variance.
    pull, stiffness : arrays
        ``q_r`` and ``K_rr``.
    lean : array
        ``K_wr``.
    present : array
        Where the metals are taken to be.
    by_class : array, `(5,)`
        Where each class puts them.
    own2 : array
        Variance about that; inf where there are too few metals.
    """
    known = np.isfinite(own2) & (stiffness > 0)
    s2 = np.where(known, own2, 1.0)
    stiff, b, q = (np.where(known, v, 0.0) for v in (stiffness, lean, pull))
    stiff = np.where(known, stiff, 1.0)
    a = np.maximum(information, 1e-12)
    less = 1.0 - b**2 / (a * (stiff + 1.0 / s2))
    expected = np.where(known[:, None], by_class - present[:, None], 0.0)
    offset = -(b / ((stiff + 1.0 / s2) * a * less))[:, None] * (q[:, None] + expected / s2[:, None])
    determinant = a * stiff - b**2
    return Surroundings(
        weight.copy(),
        1.0 / less,
        np.where(known[:, None], offset, 0.0),
        a * q / determinant,
        b * a / determinant,
        expected,
        np.where(known, np.sqrt(s2 + a / determinant), np.inf),
    )


def of_metals(ways: tuple[csr_array, csr_array]) -> tuple[csr_array, csr_array, FloatArray]:
    """Sums over the first metals around each column, `(N, N)` for y and x, and their number."""
    y, x = (w.T.tocsr() for w in ways)
    count = np.asarray((y.multiply(y) + x.multiply(x)).sum(axis=1)).ravel()
    return y, x, np.where(count >= _LEAST_METALS, count, 0.0)
