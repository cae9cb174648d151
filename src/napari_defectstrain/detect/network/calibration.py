"""The correction of a network's probabilities that travels with its weights.

Vector scaling (Guo et al., doi 10.48550/arXiv.1706.04599) that depends on the image: a network
trained on all conditions at once is too modest where an image is clear and too bold where it is
poor. How clear an image is, its own doubts tell: the mean probability that the columns leave to
other classes than their best. `training.calibrate` fits it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...materials import ROLES
from ...types import FloatArray

EPSILON = 1e-7
"""Smallest probability and doubt that are told from none."""
_TYPICAL_DOUBT = 0.03
_REACH = 1.5


@dataclass(frozen=True)
class Calibration:
    """The correction ``p_k -> exp(slope log p_k + offset_k)``, normalised.

    With ``x = log(doubt / 0.03)``, cut at +-1.5, ``log slope = slope[0] + slope[1] x`` and
    ``offset_k = offset[k] + offset_by_doubt[k] x``.

    Parameters
    ----------
    slope : tuple of float
        Two numbers.
    offset, offset_by_doubt : tuples of float
        One a role.
    confusion : tuple of tuple of int
        Columns of the images it was fitted on by true (rows) and given role, after it.
    overconfidence : tuple of float
        By role, how many times oftener than the probabilities say a column given that role is of
        another one, on the same images; at least 1.
    """

    slope: tuple[float, ...]
    offset: tuple[float, ...]
    offset_by_doubt: tuple[float, ...]
    confusion: tuple[tuple[int, ...], ...]
    overconfidence: tuple[float, ...]

    def apply(self, probabilities: FloatArray) -> FloatArray:
        """Corrected probabilities of the columns of one image `(N, 7)`; zeros stay zeros."""
        parameters = np.array([*self.slope, *self.offset, *self.offset_by_doubt])
        x = np.full(len(probabilities), relative_doubt(probabilities))
        return corrected(np.asarray(probabilities, dtype=float), x, parameters)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """From JSON values."""

        def numbers(name: str) -> tuple[float, ...]:
            return tuple(float(v) for v in values[name])

        return cls(
            numbers("slope"),
            numbers("offset"),
            numbers("offset_by_doubt"),
            tuple(tuple(int(n) for n in row) for row in values["confusion"]),
            numbers("overconfidence"),
        )

    @classmethod
    def none(cls) -> Calibration:
        """The correction that changes nothing."""
        n = len(ROLES)
        return cls((0.0, 0.0), (0.0,) * n, (0.0,) * n, ((0,) * n,) * n, (1.0,) * n)


def relative_doubt(probabilities: FloatArray) -> float:
    """``log(doubt / 0.03)`` of an image, cut at +-1.5; 0 without columns off the metal sites."""
    p = np.asarray(probabilities, dtype=float)
    unsettled = p[p[:, 0] < 0.5]
    if len(unsettled) == 0:
        return 0.0
    doubt = float(np.mean(1 - unsettled.max(axis=1)))
    return float(np.clip(np.log(max(doubt, EPSILON) / _TYPICAL_DOUBT), -_REACH, _REACH))


def corrected(p: FloatArray, x: FloatArray, parameters: FloatArray) -> FloatArray:
    """Probabilities `(N, 7)` by the correction, for relative doubts `x`, `(N,)`."""
    n = p.shape[1]
    slope = np.exp(parameters[0] + parameters[1] * x)
    with np.errstate(divide="ignore"):
        log = slope[:, None] * np.log(p) + parameters[2 : 2 + n] + x[:, None] * parameters[2 + n :]
    scaled = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))
