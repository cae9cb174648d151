"""How a column's image differs with direction: smooth angular terms of its transfer function.

The image of a column is real, so that ``T(-k)`` is the conjugate of ``T(k)``: terms of even order
in the angle are real, those of odd order imaginary. To first order, coma makes onefold terms,
astigmatism out of focus twofold ones (strong astigmatism fourfold ones too), and A2 threefold ones
(aberrations as in Krivanek, Dellby and Lupini 1999, doi:10.1016/S0304-3991(99)00013-3).

Some of it is not to be told from the structure. A onefold term proportional to ``|k|`` is a shift
of all columns, and a twofold one is an ellipse of the blur: at the {10} spots of the lattice, where
the data are strongest, these two are fixed at zero, and shift and blur take what is there. On a
perfect lattice, combinations of onefold, twofold and fourfold terms look like a shift of one
sublattice against the other, and a threefold one like other weights. So the *absolute* place of the
chalcogens against the metals becomes uncertain; as all classes share the terms, differences between
classes do not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..types import DefectStrainError, FloatArray
from .splines import DEGREE, splines_at, uniform_knots

ComplexArray = npt.NDArray[np.complex128]

FIRST = {2: 2, 1: 1, 3: 3, 4: 3}
"""Orders, and the first B-spline of each: the n-th begins as ``|k|^n``. A smooth image needs the
power of the order at least; fourfold terms may begin a little earlier than that."""
TIED = (1, 2)
"""Orders that are zero at the first spots."""
MIN_SPLINES = 6


def number_of_terms(n_splines: int) -> int:
    """Coefficients that belong to so many splines; none for none.

    Raises
    ------
    DefectStrainError
        If some order would have none.
    """
    if n_splines == 0:
        return 0
    if n_splines < MIN_SPLINES:
        raise DefectStrainError(
            f"Asymmetry: got {n_splines} splines, expected 0 or at least {MIN_SPLINES}"
        )
    # the last spline is not zero at the cutoff
    return 2 * sum(n_splines - 1 - first - (order in TIED) for order, first in FIRST.items())


@dataclass(frozen=True)
class Asymmetry:
    """Angular terms ``A(k)`` of a transfer function, beside its radial part.

    ``A = sum over orders n of i^(n mod 2) (c_n(|k|) cos n t + s_n(|k|) sin n t)``, with t the angle
    from x towards y, and c_n, s_n cubic B-splines of uniform knots from 0 to the cutoff.

    Parameters
    ----------
    coefficient : array, `(J,)`
        By order of `FIRST`, cosine before sine, then by rising ``|k|``: `number_of_terms`.
    n_splines : int
        B-splines from 0 to the cutoff, of which each order uses the later ones.
    spot_per_pm : float
        Frequency of the {10} spots [1/pm].
    """

    coefficient: FloatArray = field(default_factory=lambda: np.zeros(0))
    n_splines: int = 0
    spot_per_pm: float = 0.0

    def __post_init__(self) -> None:
        expected = number_of_terms(self.n_splines)
        if len(self.coefficient) != expected:
            raise DefectStrainError(
                f"Asymmetry: got {len(self.coefficient)} coefficients with {self.n_splines} "
                f"splines, expected {expected}"
            )

    def basis(
        self, kx_per_pm: FloatArray, ky_per_pm: FloatArray, cutoff_per_pm: float
    ) -> ComplexArray:
        """Derivative of A by each coefficient at frequencies [1/pm], their shape + `(J,)`."""
        kx, ky = np.broadcast_arrays(np.asarray(kx_per_pm, float), np.asarray(ky_per_pm, float))
        splines = self._splines(np.hypot(kx, ky) / cutoff_per_pm)
        at_spot = self._splines(np.array([self.spot_per_pm / cutoff_per_pm]))[0]
        angle = np.arctan2(ky, kx)
        terms = []
        for order, first in FIRST.items():
            radial, spot = splines[..., first:-1], at_spot[first:-1]
            if order in TIED:
                strongest = int(np.argmax(spot))
                tie = radial[..., strongest, None] * (spot / spot[strongest])
                radial = np.delete(radial - tie, strongest, axis=-1)
            factor = 1j if order % 2 else 1.0
            terms.append(factor * np.cos(order * angle)[..., None] * radial)
            terms.append(factor * np.sin(order * angle)[..., None] * radial)
        return np.asarray(np.concatenate(terms, axis=-1), dtype=complex)

    def _splines(self, q: FloatArray) -> FloatArray:
        """The B-splines at a fraction of the cutoff, its shape + `(n_splines,)`."""
        return splines_at(uniform_knots(1.0, self.n_splines - DEGREE), q)


NONE = Asymmetry()
"""Of a symmetric profile."""


def no_terms(n_splines: int, spot_per_pm: float) -> Asymmetry:
    """Angular terms that are zero, to start from."""
    return Asymmetry(np.zeros(number_of_terms(n_splines)), n_splines, spot_per_pm)
