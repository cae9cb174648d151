"""Global envelopes: whether counts are those of random arrangements, asked of all at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import FloatArray, IntArray

_ANSCOMBE = 3 / 8
POISSON = 0.5
"""Standard deviation of the root of a Poisson count, which rare ones fall short of."""


@dataclass(frozen=True)
class GlobalEnvelope:
    """Where counts lie if nothing but chance is at work.

    Parameters
    ----------
    mean, low, high : arrays, `(F,)`
        Mean of the random arrangements, and limits that all counts together keep with the chosen
        probability.
    p : float
        Share of arrangements, the observed one among them, that lie as far out as the observed one.
    """

    mean: FloatArray
    low: FloatArray
    high: FloatArray
    p: float


def global_envelope(
    observed: FloatArray | IntArray,
    simulated: FloatArray | IntArray,
    level: float = 0.95,
    least: FloatArray | float = POISSON,
) -> GlobalEnvelope:
    """Envelope by the largest studentised deviation, and its exact Monte Carlo test.

    The studentised envelope of Myllymäki et al. (2017, doi:10.1111/rssb.12172), of the roots of the
    counts (Anscombe 1948, doi:10.1093/biomet/35.3-4.246), whose scatter is alike and symmetric.
    Some count lies outside if and only if ``p <= 1 - level``.

    Parameters
    ----------
    observed : array, `(F,)`
        Counts.
    simulated : array, `(S, F)`
        The same of random arrangements.
    level : float
        Probability that random arrangements lie inside with all of their counts.
    least : float or array, `(F,)`
        Least standard deviation of a root: without one, a single pair of a kind that hardly ever
        meets would be the farthest of all.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> draws = rng.poisson(10.0, (199, 3))
    >>> found = global_envelope(np.array([10, 40, 9]), draws)
    >>> found.p, bool(found.high[1] < 40)
    (0.005, True)
    """
    # in one order, whichever way the counts lie: sums are the same to the last bit
    every = np.ascontiguousarray(
        np.concatenate([np.asarray(observed, dtype=float)[None], simulated])
    )
    if every.shape[1] == 0:
        return GlobalEnvelope(np.zeros(0), np.zeros(0), np.zeros(0), 1.0)
    root = np.sqrt(every + _ANSCOMBE)
    middle, scale = root.mean(axis=0), np.maximum(root.std(axis=0), least)
    farthest = (np.abs(root - middle) / scale).max(axis=1)
    most = np.sort(farthest)[::-1]
    limit = float(most[int((1.0 - level) * len(most) + 1e-9)]) * (1 + 1e-9)
    low = np.maximum(middle - limit * scale, 0.0) ** 2 - _ANSCOMBE
    high = (middle + limit * scale) ** 2 - _ANSCOMBE
    return GlobalEnvelope(
        mean=np.asarray(every[1:].mean(axis=0)),
        low=np.maximum(low, 0.0),
        high=np.asarray(high),
        p=float((farthest >= farthest[0] * (1 - 1e-9)).mean()),
    )
