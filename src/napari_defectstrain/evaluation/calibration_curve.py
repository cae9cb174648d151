"""Are the probabilities true? Reliability diagrams and expected calibration errors by class.

Of all columns given probability p of a class, a fraction p should be of that class. The expected
calibration error is the mean distance between both, over bins, weighted by their counts (Naeini
et al., doi 10.1609/aaai.v29i1.9602; by class: Nixon et al., arXiv:1904.01685). Probabilities near
0 and 1 are left out: thousands of easy columns would hide what the doubtful ones do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import BoolArray, FloatArray, IntArray

P_RANGE = (0.02, 0.98)
BINS = 10
_DRAWS = 400


@dataclass(frozen=True)
class Reliability:
    """Probabilities of one class against what was true.

    Parameters
    ----------
    probability, frequency, count : arrays, `(10,)`
        Mean probability, fraction that was of the class, and columns of each bin; NaN where empty.
    ece : float
        Expected calibration error; NaN without columns.
    ece_std : float
        Its standard deviation over bootstrap samples: of images where there are five or more, of
        columns otherwise.
    ece_if_true : float
        What the error would be on average were the probabilities true: few columns scatter.
    columns : int
        Columns with a probability in `P_RANGE`.
    """

    probability: FloatArray
    frequency: FloatArray
    count: IntArray
    ece: float
    ece_std: float
    ece_if_true: float
    columns: int


def reliability(
    probability: FloatArray, is_class: BoolArray, image: IntArray | None = None
) -> Reliability:
    """Reliability diagram and expected calibration error of one class.

    Ten bins of equal width over 0.02 < p < 0.98; ``sum_b n_b |mean p - frequency| / n``.

    Parameters
    ----------
    probability : array, `(N,)`
        Probability of the class given to each column.
    is_class : array of bool, `(N,)`
        Whether the column is of the class.
    image : array of int, `(N,)`, optional
        Which image a column comes from.
    """
    doubtful = (probability > P_RANGE[0]) & (probability < P_RANGE[1])
    p, hit = np.asarray(probability[doubtful], dtype=float), np.asarray(is_class[doubtful])
    n = len(p)
    sums = _sums(p, hit)
    with np.errstate(invalid="ignore"):
        mean, frequency = sums[1] / sums[0], sums[2] / sums[0]
    rng = np.random.default_rng(0)
    group = None if image is None else image[doubtful]
    return Reliability(
        probability=mean,
        frequency=frequency,
        count=sums[0].astype(int),
        ece=_ece(sums),
        ece_std=_bootstrap(p, hit, group, rng) if n else float("nan"),
        ece_if_true=(
            float(np.mean([_ece(_sums(p, rng.random(n) < p)) for _ in range(_DRAWS)]))
            if n
            else float("nan")
        ),
        columns=n,
    )


def _sums(p: FloatArray, hit: BoolArray) -> FloatArray:
    """Count, sum of p and hits of each bin, `(3, 10)`."""
    low, high = P_RANGE
    place = np.clip(((p - low) / (high - low) * BINS).astype(int), 0, BINS - 1)
    terms = (np.ones(len(p)), p, hit.astype(float))
    return np.stack([np.bincount(place, t, minlength=BINS) for t in terms])


def _ece(sums: FloatArray) -> float:
    total = sums[0].sum()
    return float(np.abs(sums[1] - sums[2]).sum() / total) if total else float("nan")


def _bootstrap(
    p: FloatArray, hit: BoolArray, image: IntArray | None, rng: np.random.Generator
) -> float:
    if image is not None and len(np.unique(image)) >= 5:
        parts = np.stack([_sums(p[image == i], hit[image == i]) for i in np.unique(image)])
        draws = rng.integers(0, len(parts), (_DRAWS, len(parts)))
        return float(np.nanstd([_ece(parts[d].sum(axis=0)) for d in draws]))
    draws = rng.integers(0, len(p), (_DRAWS, len(p)))
    return float(np.std([_ece(_sums(p[d], hit[d])) for d in draws]))
