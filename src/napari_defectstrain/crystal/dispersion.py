"""Whether a population differs between images by more than the chance of counting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from ..types import IntArray

SIGMAS_95 = 1.959964
_SAMPLES = 1999
_SEED = 0
_NAN = float("nan")


@dataclass(frozen=True)
class Dispersion:
    """Scatter of a share between images.

    Parameters
    ----------
    ratio : float
        Chi squared of the counts by image over its degrees of freedom: 1 by chance, NaN for a
        single image or where there is nothing to scatter.
    p : float
        Share of random divisions of the same columns among the images that scatter as much.
    std : float
        Standard deviation of the share itself between images, by the beta-binomial distribution;
        0 where the counts scatter by no more than chance.
    low, high : float
        Limits of 95 % of the mean share of all places that the images are a sample of.
    """

    ratio: float
    p: float
    std: float
    low: float
    high: float


def wilson(share: float, n: float, sigmas: float = SIGMAS_95) -> tuple[float, float]:
    """Limits of a share of n (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    Parameters
    ----------
    share : float
        0 to 1.
    n : float
        How many were looked at; need not be a whole number.
    sigmas : float
        Half-width in standard deviations: 95 % by default.

    Examples
    --------
    >>> low, high = wilson(0.0, 10)
    >>> round(low, 3), round(high, 3)
    (0.0, 0.278)
    """
    if not n > 0 or not np.isfinite(share):
        return _NAN, _NAN
    z2 = sigmas**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = sigmas / (1 + z2 / n) * float(np.sqrt(share * (1 - share) / n + z2 / (4 * n * n)))
    return max(middle - reach, 0.0), min(middle + reach, 1.0)


def dispersion_of(count: IntArray, total: IntArray) -> Dispersion:
    """Whether counts of images scatter by more than chance, and by how much.

    Chi squared against random divisions of the same columns (an exact test by Monte Carlo, so that
    rare classes may be asked, too); the intra-class correlation of the beta-binomial distribution
    by moments (Kleinman 1973, doi:10.1080/01621459.1973.10481332).

    Parameters
    ----------
    count, total : arrays of int, `(images,)`
        Columns of the class, and columns that could be of it.
    """
    count, total = (np.asarray(n, dtype=np.int64) for n in (count, total))
    count, total = count[total > 0], total[total > 0]
    order = np.lexsort((count, total))  # whatever the order of the images: the same draws and sums
    count, total = count[order], total[order]
    images, n, found = len(total), int(total.sum()), int(count.sum())
    if images < 2 or found in (0, n):
        return Dispersion(_NAN, _NAN, _NAN, _NAN, _NAN)
    share = found / n
    variance = total * share * (1 - share)

    def chi_squared(of: IntArray) -> np.ndarray:
        return np.asarray(((of - total * share) ** 2 / variance).sum(axis=-1))

    draws = np.random.default_rng(_SEED).multivariate_hypergeometric(
        total, found, size=_SAMPLES, method="marginals"
    )
    chi2 = float(chi_squared(count))
    beyond = int((chi_squared(draws) >= chi2 * (1 - 1e-9)).sum())
    weight = float(((total - 1) * (1 - total / n)).sum())
    correlation = max(chi2 - (images - 1), 0.0) / weight if weight > 0 else 0.0
    correlation = min(correlation, 1.0)
    effective = n**2 / float((total * (1 + (total - 1) * correlation)).sum())
    sigmas = float(stdtrit(images - 1, 0.975))  # few images tell their scatter badly
    return Dispersion(
        ratio=chi2 / (images - 1),
        p=(1 + beyond) / (_SAMPLES + 1),
        std=float(np.sqrt(correlation * share * (1 - share))),
        **dict(zip(("low", "high"), wilson(share, effective, sigmas), strict=True)),
    )
