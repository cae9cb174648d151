"""The one scale that outliers don't move."""

from __future__ import annotations

import numpy as np

from ..types import FloatArray

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


def robust_sigma(values: FloatArray, centre: float | None = None) -> float:
    """Standard deviation of values by their median absolute deviation.

    Parameters
    ----------
    values : array
        Of any shape; NaN makes the result NaN.
    centre : float, optional
        Where they deviate from; their median by default.
    """
    middle = np.median(values) if centre is None else centre
    return MAD_TO_SIGMA * float(np.median(np.abs(values - middle)))
