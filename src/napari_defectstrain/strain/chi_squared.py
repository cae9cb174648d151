"""Whether a model agrees with a measurement whose errors are correlated: chi squared, honestly.

The covariance of a class average is itself estimated, from a finite number of windows. Weighting by
its inverse is then only as good as there are more windows than coordinates, and the distribution
of chi squared is wider: Hotelling's. Where windows are too few, each coordinate is weighted by its
own variance, and the distribution of the sum follows from the whole covariance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import chdtrc, fdtrc

from ..types import DefectStrainError, DisplacementField, FloatArray

WEIGHTS = ("auto", "full", "diagonal")
ENOUGH_WINDOWS = 2.0
"""Windows for each coordinate, from which on the inverse of their covariance is worth having."""

NULL = 1e-9
"""Eigenvalues of the correlation matrix below this are directions that were projected out."""


@dataclass(frozen=True)
class Agreement:
    """Chi squared of a residual.

    Parameters
    ----------
    chi2 : float
        Sum of squares, weighted by the inverse covariance or by each variance alone.
    dof : float
        What chi2 is on average if the model is true and the covariance exact.
    reduced : float
        chi2 over what it is on average if the model is true: near 1.
    p_value : float
        Probability of a larger chi2 if the model is true.
    rank : int
        Independent coordinates that were compared.
    weights : str
        ``full`` or ``diagonal``.
    """

    chi2: float
    dof: float
    reduced: float
    p_value: float
    rank: int
    weights: str


@dataclass(frozen=True)
class Weighting:
    """How coordinates are weighted.

    Parameters
    ----------
    root : array, `(k, n)`
        ``W``: the weighted sum of squares of a vector is that of ``W x``; k is the rank or n.
    covariance : array, `(n, n)`
    rank : int
        Independent coordinates.
    windows : float
        Effective number of windows that the covariance was estimated from; inf: it is exact.
    weights : str
        ``full``: ``W C W^T = 1``; ``diagonal``: ``W`` divides by standard errors.
    """

    root: FloatArray
    covariance: FloatArray
    rank: int
    windows: float
    weights: str


def effective_windows(n_class: float, n_reference: float) -> float:
    """Windows behind the covariance of a difference of two averages.

    Of Yao's and Welch's kind (Krishnamoorthy & Yu 2004, doi:10.1016/j.spl.2003.10.012), for
    windows of both classes that scatter alike: ``1 / sum_i f_i^2 / (n_i - 1)``, with ``f_i`` the
    share of each class in the variance. A reference without error has infinitely many.
    """
    if min(n_class, n_reference) < 2:
        return 0.0
    if np.isinf(n_reference):
        return n_class - 1.0
    share = np.array([n_reference, n_class]) / (n_class + n_reference)
    return float(1.0 / np.sum(share**2 / np.array([n_class - 1, n_reference - 1])))


def weighting(
    covariance: FloatArray,
    windows: float = np.inf,
    weights: str = "auto",
    what: str = "covariance",
    null: float = NULL,
) -> Weighting:
    """Prepare to weight residuals by their covariance.

    Parameters
    ----------
    covariance : array, `(n, n)`
        Directions without variance (what was projected out) are left out of the sum.
    windows : float
        `effective_windows`; by default the covariance counts as exact.
    weights : str
        ``full``, ``diagonal``, or ``auto``: full where there are at least twice as many windows
        as independent coordinates.
    what : str
        What it is the covariance of, for messages.
    null : float
        Eigenvalues of the correlation matrix below this fraction of the largest are left out.

    Raises
    ------
    DefectStrainError
        If there are no coordinates, errors are unknown or zero, or full weights are asked of too
        few windows.
    """
    if weights not in WEIGHTS:
        raise DefectStrainError(f"weights: got {weights!r}, expected one of {', '.join(WEIGHTS)}")
    if not len(covariance):
        raise DefectStrainError(
            f"{what}: got no coordinates, expected some; it takes columns whose images under the "
            "lattice's symmetry were measured, too: larger windows, or more images"
        )
    variance = np.diag(covariance)
    if not np.isfinite(covariance).all() or windows < 1:
        raise DefectStrainError(
            f"{what}: got unknown errors (NaN), expected a covariance; a class needs at least "
            "two windows"
        )
    if not (variance > 0).all():
        raise DefectStrainError(
            f"{what}: got coordinates without error, expected variances above 0; a prediction "
            "can't be weighted by errors that it doesn't have"
        )
    sigma = np.sqrt(variance)
    values, vectors = np.linalg.eigh(covariance / np.outer(sigma, sigma))
    kept = values > null * values[-1]
    rank = int(kept.sum())
    enough = windows >= ENOUGH_WINDOWS * rank
    if weights == "full" and not windows > rank:
        raise DefectStrainError(
            f"{what}: got {windows:.0f} effective windows for {rank} coordinates, expected more; "
            "use diagonal weights"
        )
    if weights == "full" or (weights == "auto" and enough):
        root = (vectors[:, kept] / np.sqrt(values[kept])).T / sigma
        return Weighting(np.asarray(root), covariance, rank, windows, "full")
    return Weighting(np.diag(1.0 / sigma), covariance, rank, windows, "diagonal")


def solve_weighted(
    data: FloatArray, design: FloatArray, weigh: Weighting
) -> tuple[FloatArray, FloatArray, float]:
    """Least squares with an estimated covariance: numbers, their covariance, degrees of freedom.

    Parameters
    ----------
    data : array, `(n,)`
    design : array, `(n, k)`
    weigh : Weighting
    """
    x, y = weigh.root @ design, weigh.root @ data
    solve = np.linalg.pinv(x)
    scatter = weigh.root @ weigh.covariance @ weigh.root.T
    factor, freedom = estimation_factor(weigh, design.shape[1])
    return solve @ y, factor * (solve @ scatter @ solve.T), freedom


def estimation_factor(weigh: Weighting, k: int) -> tuple[float, float]:
    """By how much the variance of k fitted numbers is larger than estimated weights let it seem.

    With full weights of n windows and p coordinates, the inverse of the estimated information is
    too small by ``(n - p + k) / n``, and the numbers scatter more than with the true covariance, by
    ``(n - 1) / (n - p + k - 1)`` (Rao 1967, Proc. 5th Berkeley Symp. 1, 355; for cosmologists
    Dodelson & Schneider 2013, doi:10.1103/PhysRevD.88.063537): at two windows a coordinate both
    make errors half of what they are.

    Parameters
    ----------
    weigh : Weighting
    k : int

    Returns
    -------
    factor, degrees of freedom : float
        1 where the covariance is exact or the weights don't depend on it.
    """
    n = weigh.windows
    if weigh.weights != "full" or not np.isfinite(n):
        return 1.0, n
    left = n - (weigh.rank - k)
    return float(n / left * (n - 1.0) / max(left - 1.0, 0.5)), left


def agreement(
    residual: FloatArray, weighting: Weighting, jacobian: FloatArray | None = None
) -> Agreement:
    """Chi squared of a residual, and how probable a larger one is.

    With full weights and n windows the sum is Hotelling's ``T^2``: for rank p,
    ``T^2 (n - p + 1) / (n p)`` has Fisher's distribution with p and n - p + 1 degrees of freedom
    (Hotelling 1931, doi:10.1214/aoms/1177732979); parameters that were fitted lower p. With
    diagonal weights the sum is matched by a multiple of chi squared that has its mean and variance
    (Satterthwaite 1946, doi:10.2307/3002019).

    Parameters
    ----------
    residual : array, `(n,)`
        Measurement less the fitted model.
    weighting : Weighting
    jacobian : array, `(n, k)`, optional
        Derivative of the model by the k parameters that were fitted with these weights.
    """
    z = weighting.root @ residual
    total = float(z @ z)
    fitted = np.zeros((len(weighting.root), 0))
    if jacobian is not None and jacobian.size:
        left, singular, _ = np.linalg.svd(weighting.root @ jacobian, full_matrices=False)
        fitted = left[:, singular > 1e-9 * singular[0]]
    k = fitted.shape[1]
    rank, n = weighting.rank, weighting.windows
    if weighting.weights == "diagonal":
        return _matched(total, weighting, fitted)
    dof = max(rank - k, 0)
    if dof == 0:
        return Agreement(total, 0.0, np.nan, np.nan, rank, "full")
    if not np.isfinite(n):
        p = float(chdtrc(dof, total))
        return Agreement(total, float(dof), total / dof, p, rank, "full")
    left_over = n - dof + 1.0
    ratio = total * left_over / (n * dof)
    return Agreement(total, float(dof), ratio, float(fdtrc(dof, left_over, ratio)), rank, "full")


def _matched(total: float, weighting: Weighting, fitted: FloatArray) -> Agreement:
    """Satterthwaite's chi squared of the same mean and variance, for diagonal weights."""
    correlation = weighting.root @ weighting.covariance @ weighting.root.T
    keep = np.eye(len(correlation)) - fitted @ fitted.T
    left = keep @ correlation @ keep
    mean = float(np.trace(left))
    # the square of an estimated correlation is too large by its own scatter
    spread = max(float(np.sum(left**2)) - mean**2 / weighting.windows, mean**2 / len(left))
    dof = mean**2 / spread
    p = float(chdtrc(dof, total * dof / mean))
    return Agreement(total, mean, total / mean, p, weighting.rank, "diagonal")


def with_systematic(displacement: DisplacementField, sigma_pm: FloatArray) -> DisplacementField:
    """The same displacement with systematic errors of its columns added to the covariance.

    Parameters
    ----------
    displacement : DisplacementField
    sigma_pm : array, `(M, 2)`
        One sigma of each coordinate, taken as independent between columns [pm].

    Raises
    ------
    DefectStrainError
        If they are errors of other columns, or negative.
    """
    sigma = np.asarray(sigma_pm, dtype=float)
    known = np.isfinite(displacement.u_pm)
    if sigma.shape != known.shape or not (sigma[known] >= 0).all():
        raise DefectStrainError(
            f"systematic errors of {displacement.class_name}: got an array of shape "
            f"{sigma.shape}, expected {known.shape} numbers of at least 0, the columns of its "
            "displacement"
        )
    added = np.diag(np.where(known, sigma, 0.0).ravel() ** 2)
    if displacement.projection is not None:
        added = displacement.projection @ added @ displacement.projection.T
    return replace(displacement, covariance_pm2=displacement.covariance_pm2 + added)
