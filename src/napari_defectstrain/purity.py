"""What a stack is expected to hold beside its own class.

An impure stack is biased: of 80 % SV and 20 % DV, the spacing is neither's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .types import DefectStrainError, FloatArray, IntArray, Sites

MAX_ROUNDS = 10_000
SETTLED = 1e-12


def expected_purity(probability: FloatArray, overconfidence: float = 1.0) -> float:
    """Expected fraction of windows that truly are of their class.

    The mean of their probabilities, if these are calibrated. If columns of that class are known
    to be wrong `overconfidence` times as often as their probabilities say, so are the windows.

    Parameters
    ----------
    probability : array, `(N,)`
        Probability of the class given to each window.
    overconfidence : float
        At least 1; see `overconfidence`.

    Returns
    -------
    float
        0 to 1; NaN without windows.

    Examples
    --------
    >>> expected_purity(np.array([1.0, 0.98, 0.96]))
    0.98
    >>> round(expected_purity(np.array([1.0, 0.98, 0.96]), overconfidence=3.0), 6)
    0.94
    """
    if len(probability) == 0:
        return float("nan")
    impurity = 1.0 - float(np.mean(probability, dtype=float))
    return float(np.clip(1.0 - overconfidence * impurity, 0.0, 1.0))


def expected_mixture(
    probabilities: FloatArray, role: int, overconfidence: float = 1.0
) -> FloatArray:
    """Expected fractions of windows given one class that are of each class.

    Parameters
    ----------
    probabilities : array, `(N, K)`
        Probability of every class for each window.
    role : int
        Class given to them: its fraction is `expected_purity`, the others share the rest in the
        proportions of their probabilities.
    overconfidence : float
        See `overconfidence`.

    Returns
    -------
    array, `(K,)`
        Sums to 1; NaN without windows.
    """
    if len(probabilities) == 0:
        return np.full(np.shape(probabilities)[1], np.nan)
    mean = np.mean(probabilities, axis=0, dtype=float)
    purity = expected_purity(np.asarray(probabilities)[:, role], overconfidence)
    rest = float(np.delete(mean, role).sum())
    mixture = mean * ((1.0 - purity) / rest if rest > 0.0 else 0.0)
    mixture[role] = purity
    return np.asarray(mixture)


def prevalence(confusion: FloatArray | IntArray, given: IntArray) -> FloatArray:
    """Fractions of the true classes that make the classes given most likely.

    Maximises ``sum_g n_g log sum_t P(g|t) f_t`` over the fractions ``f``, by the iteration of
    Saerens, Latinne and Decaestecker (doi:10.1162/089976602753284446), from ``f = n_g / N``.

    Parameters
    ----------
    confusion : array, `(K, K)`
        Columns of validation images: rows true class, columns class given.
    given : array, `(K,)`
        Columns of the user's images by the class given.

    Returns
    -------
    array, `(K,)`
        Sums to 1. A class that is never given gets 0.
    """
    likelihood = _likelihood(confusion)
    n = np.asarray(given, dtype=float)
    fraction = n / n.sum()
    for _ in range(MAX_ROUNDS):
        joint = fraction[:, None] * likelihood  # (true, given)
        seen = joint.sum(axis=0)
        share = joint * np.where(seen > 0.0, n / np.where(seen > 0.0, seen, 1.0), 0.0)
        new = share.sum(axis=1) / share.sum()
        if np.abs(new - fraction).max() < SETTLED:
            break
        fraction = new
    return np.asarray(new)


def precision_of_classes(confusion: FloatArray | IntArray, given: IntArray) -> FloatArray:
    """Precision of each class at the prevalences of the user's images, not the validation's.

    With ``P(given|true)`` from the validation and the fractions ``f`` by `prevalence`:
    ``P(g|g) f_g / sum_t P(g|t) f_t``. Where vacancies are rarer than in the validation images, the
    same rate of false ones is a larger part of those found.

    Parameters
    ----------
    confusion, given : arrays
        As in `prevalence`.

    Returns
    -------
    array, `(K,)`
        NaN for classes that the validation or the user's images never gave.

    Raises
    ------
    DefectStrainError
        If the confusion matrix isn't `(K, K)` counts.
    """
    joint = prevalence(confusion, given)[:, None] * _likelihood(confusion)
    seen = joint.sum(axis=0)
    return np.asarray(
        np.where(seen > 0.0, np.diag(joint) / np.where(seen > 0.0, seen, 1.0), np.nan)
    )


def overconfidence(sites: Sequence[Sites], confusion: FloatArray | IntArray) -> FloatArray:
    """How many times oftener than its probabilities say the detector gives a wrong class.

    The expected fraction of wrong ones among all columns given a class, by the confusion matrix at
    the images' prevalences, over that by their probabilities. Never below 1: where the images are
    easier than those of the validation the probabilities may be right, and where they aren't the
    matrix is. Columns by hand aren't the detector's.

    Parameters
    ----------
    sites : sequence of Sites
        Columns of all images.
    confusion : array, `(K, K)`
        Columns of validation images: rows true class, columns class given.

    Returns
    -------
    array, `(K,)`
    """
    model = [s.source == "model" for s in sites]
    role = np.concatenate([s.class_index[m] for s, m in zip(sites, model, strict=True)])
    probability = np.concatenate([s.probability[m] for s, m in zip(sites, model, strict=True)])
    k = len(confusion)
    count = np.bincount(role, minlength=k)
    result = np.ones(k)
    if not count.any():
        return result
    wrong = 1.0 - precision_of_classes(confusion, count)
    doubt = 1.0 - np.bincount(role, probability, minlength=k) / np.maximum(count, 1)
    usable = (count > 0) & (doubt > 0.0) & np.isfinite(wrong)
    result[usable] = np.maximum(wrong[usable] / doubt[usable], 1.0)
    return result


def purity_text(purity: float, contaminants: Mapping[str, float], least: float = 0.0005) -> str:
    """For people: ``0.994 (2Se 0.004, DV 0.001)``, the commonest first, none below `least`.

    Examples
    --------
    >>> purity_text(0.994, {"2Se": 0.0042, "SeTe": 0.0001, "DV": 0.001})
    '0.994 (2Se 0.004, DV 0.001)'
    """
    shown = sorted((-share, name) for name, share in contaminants.items() if share >= least)
    text = ", ".join(f"{name} {-share:.3f}" for share, name in shown)
    return f"{purity:.3f}" + (f" ({text})" if text else "")


def _likelihood(confusion: FloatArray | IntArray) -> FloatArray:
    """P(given | true), rows true; a class that the validation lacks is taken as always right."""
    counts = np.asarray(confusion, dtype=float)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not (counts >= 0).all():
        raise DefectStrainError(
            f"confusion matrix: got shape {counts.shape} and least value "
            f"{np.min(counts, initial=0.0):g}, expected counts of (classes, classes)"
        )
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0.0, counts / np.maximum(total, 1.0), np.eye(len(counts)))
