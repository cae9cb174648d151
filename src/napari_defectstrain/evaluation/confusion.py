"""What a confusion matrix says of another sample: how pure is what was given one class."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from ..materials import ROLES
from ..types import DefectStrainError, FloatArray, IntArray


def purity_by_confusion(found: IntArray, confusion: IntArray) -> FloatArray:
    """Share of each found class that is truly of it, by how often classes are confused.

    With ``R[t, c]`` the fraction of the columns of true class t that are found as c, non-negative
    true numbers n are sought with ``n R = found``; the purity is ``n_c R[c, c] / (n R)_c``. A class
    that is rare in the sample at hand is thereby less pure than where it is common.

    Parameters
    ----------
    found : array of int, `(7,)`
        Columns found of each class.
    confusion : array, `(7, 7)` or `(8, 8)`
        Counts by true and found class on images with truth; a last row and column 'none'.

    Returns
    -------
    array, `(7,)`
        NaN where none was found, or the class is absent from the confusion matrix.
    """
    n = len(ROLES)
    if found.shape != (n,) or confusion.shape not in ((n, n), (n + 1, n + 1)):
        raise DefectStrainError(
            f"purity: got {found.shape} numbers and a confusion matrix of {confusion.shape}, "
            f"expected ({n},) and ({n}, {n}) or ({n + 1}, {n + 1})"
        )
    counts = confusion[:n, :n].astype(float)
    total = confusion[:n].sum(axis=1).astype(float)
    rate = np.divide(counts, total[:, None], out=np.zeros_like(counts), where=total[:, None] > 0)
    # relative errors count: a few vacancies matter as much as thousands of perfect columns
    scale = 1 / np.sqrt(np.maximum(found, 1.0))
    true, _ = nnls(rate.T * scale[:, None], found * scale)
    expected = true @ rate
    purity = np.full(n, np.nan)
    valid = (found > 0) & (expected > 0) & (total > 0)
    purity[valid] = (true * np.diag(rate))[valid] / expected[valid]
    return purity
