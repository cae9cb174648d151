"""Maxima and minima of a curve with correlated errors, and which of them are more than noise."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..types import FloatArray

DRAWS = 500
"""Curves of noise that significances are compared with."""

MERGED = 1.0
"""Neighbouring extremes that differ by fewer standard errors are one wiggle of noise."""


@dataclass(frozen=True)
class Extremum:
    """A maximum or minimum of a line profile.

    Parameters
    ----------
    position_pm : float
        Along the line, as in `LineProfile`.
    kind : str
        ``maximum`` or ``minimum``.
    value, sigma : float
        In the profile's unit, with its standard error.
    prominence, prominence_sigma : float
        How far it stands out from the less different of its two neighbours (the next extreme of
        the other kind, or the line's end), and the standard error of that difference.
    significance : float
        Their ratio.
    p_value : float
        Probability that noise alone, anywhere on the line, makes one as significant.
    """

    position_pm: float
    kind: str
    value: float
    sigma: float
    prominence: float
    prominence_sigma: float
    significance: float
    p_value: float


def largest_of_noise(
    covariance: FloatArray,
    windows: float,
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> FloatArray:
    """Significance of the most significant extreme of curves of noise alone, `(draws,)` sorted.

    Parameters
    ----------
    covariance : array, `(P, P)`
        Of the points of the curve.
    windows : float
        Effective windows that it was estimated from: with few, noise is now and then far larger
        than its estimated error (Student's distribution).
    rng : numpy Generator
    draws : int
    """
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    curves = rng.normal(size=(draws, len(root))) @ root.T
    if np.isfinite(windows):
        curves /= np.sqrt(rng.chisquare(max(windows, 1.0), size=(draws, 1)) / max(windows, 1.0))
    spread = _difference_sigma(covariance)
    found = [_turning_points(curve, spread) for curve in curves]
    best = [max((z for _, _, z in points), default=0.0) for points in found]
    return np.sort(best)


def find_extrema(
    position_pm: FloatArray, value: FloatArray, covariance: FloatArray, noise: FloatArray
) -> tuple[Extremum, ...]:
    """The extremes of a curve, wiggles below one standard error merged.

    Parameters
    ----------
    position_pm, value : arrays, `(P,)`
    covariance : array, `(P, P)`
    noise : array, `(draws,)`
        `largest_of_noise`, sorted.
    """
    found = []
    spread = _difference_sigma(covariance)
    for index, neighbour, z in _turning_points(value, spread):
        beyond = len(noise) - int(np.searchsorted(noise, z))
        found.append(
            Extremum(
                position_pm=float(position_pm[index]),
                kind="maximum" if value[index] > value[neighbour] else "minimum",
                value=float(value[index]),
                sigma=float(np.sqrt(covariance[index, index])),
                prominence=float(abs(value[index] - value[neighbour])),
                prominence_sigma=float(spread[index, neighbour]),
                significance=z,
                p_value=(1 + beyond) / (1 + len(noise)),
            )
        )
    return tuple(found)


def _turning_points(value: FloatArray, spread: FloatArray) -> list[tuple[int, int, float]]:
    """Index, least different neighbour and significance of each extreme within the line.

    Pairs of neighbours whose difference is below `MERGED` standard errors are taken out, the least
    significant first, so that noise on its top does not divide a peak.
    """
    slope = np.sign(np.diff(value))
    turn = np.flatnonzero(slope[1:] * slope[:-1] < 0) + 1
    points = [0, *turn.tolist(), len(value) - 1]
    z = [_significance(value, spread, a, b) for a, b in pairwise(points)]
    while len(points) > 2 and min(z) < MERGED:
        k = z.index(min(z))
        # an end stays where it is: only its partner goes
        first = k if k > 0 else 1
        last = k + 1 if k + 2 < len(points) else len(points) - 2
        del points[first : last + 1], z[first : last + 1]
        z[first - 1] = _significance(value, spread, points[first - 1], points[first])
    return [
        (points[k], points[k - 1] if z[k - 1] < z[k] else points[k + 1], min(z[k - 1], z[k]))
        for k in range(1, len(points) - 1)
    ]


def _significance(value: FloatArray, spread: FloatArray, a: int, b: int) -> float:
    return float(abs(value[a] - value[b]) / spread[a, b])


def _difference_sigma(covariance: FloatArray) -> FloatArray:
    """Standard error of the difference of any two points, `(P, P)`."""
    variance = np.diag(covariance)
    square = variance[:, None] + variance - 2.0 * covariance
    # points next to each other have nearly the same error
    return np.asarray(np.sqrt(np.maximum(square, 1e-12 * variance.max())))
