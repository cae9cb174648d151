"""Symmetry and decay of displacement fields around a defect.

A point defect on a chalcogen site of a 2H monolayer has the point group C3v (seen along the layer's
normal): turns by 120 degrees, and the mirror x -> -x, on which the metals at 90 degrees lie. What
a field has of other patterns is noise, or an error that does not know the lattice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from ..strain.chi_squared import Agreement, agreement, weighting
from ..types import BoolArray, DefectStrainError, DisplacementField, FloatArray, IntArray

SAME_SITE_PM = 2.0
SAME_SHELL_PM = 2.0


@dataclass(frozen=True)
class SymmetryTest:
    """How much of a field has the lattice's threefold symmetry.

    Parameters
    ----------
    symmetric, rest : Agreement
        Chi squared of the part that C3v leaves as it is, and of all else, against no displacement.
        A true difference shows in the first alone; an error of scan or registration in both.
    fraction : float
        Share of the symmetric part in the mean square displacement, both less their noise; NaN
        where noise explains all. Of a field without any symmetry, about a sixth.
    field : DisplacementField
        The symmetric part, at the columns whose five images under C3v are known too; NaN elsewhere.
    n_columns : int
        How many these are.
    """

    symmetric: Agreement
    rest: Agreement
    fraction: float
    field: DisplacementField
    n_columns: int


def threefold_symmetry(
    displacement: DisplacementField, windows: float = np.inf, weights: str = "auto"
) -> SymmetryTest:
    """Divide a field, for instance the residual of a model, by the lattice's threefold symmetry.

    ``u_s(r) = mean over the six R of R u(R^-1 r)`` is a projection; the parts it keeps and takes
    out are tested each by its own covariance.

    Parameters
    ----------
    displacement : DisplacementField
        With its covariance.
    windows, weights
        As in `chi_squared.weighting`.

    Raises
    ------
    DefectStrainError
        If no column's images are all known, or the errors are unknown or zero.
    """
    whole, images = _orbits(displacement)
    n = int(whole.sum())
    if n < 3:
        raise DefectStrainError(
            f"symmetry of {displacement.class_name}: got {n} columns whose images under the "
            "threefold symmetry have a displacement, expected at least 3; use larger windows"
        )
    rows = np.repeat(whole, 2)
    u = displacement.u_pm[whole].ravel()
    covariance = displacement.covariance_pm2[np.ix_(rows, rows)]
    projector = _projector(images, n)
    values, vectors = np.linalg.eigh(projector)
    parts = {True: vectors[:, values > 0.5].T, False: vectors[:, values < 0.5].T}
    tested, power = {}, {}
    for kept, basis in parts.items():
        noise = basis @ covariance @ basis.T
        amplitude = basis @ u
        power[kept] = float(amplitude @ amplitude - np.trace(noise))
        # patterns that were projected out of the field (translations) have no variance
        some = np.diag(noise) > 1e-12 * np.diag(noise).max(initial=0.0)
        what = f"symmetry of {displacement.class_name}"
        weigh = weighting(noise[np.ix_(some, some)], windows, weights, what)
        tested[kept] = agreement(amplitude[some], weigh)
    total = power[True] + power[False]
    symmetric = np.full_like(displacement.u_pm, np.nan)
    symmetric[whole] = (projector @ u).reshape(-1, 2)
    carried = np.full_like(displacement.covariance_pm2, np.nan)
    carried[np.ix_(rows, rows)] = projector @ covariance @ projector.T
    return SymmetryTest(
        symmetric=tested[True],
        rest=tested[False],
        fraction=power[True] / total if total > 0 else np.nan,
        field=replace(displacement, u_pm=symmetric, covariance_pm2=carried, projection=None),
        n_columns=n,
    )


def symmetry_patterns(displacement: DisplacementField) -> tuple[FloatArray, FloatArray]:
    """Orthonormal patterns of displacements that C3v leaves as they are, and all the others.

    Each pattern moves the columns of one shell alone.

    Parameters
    ----------
    displacement : DisplacementField

    Returns
    -------
    array, `(K, 2M)` and array, `(L, 2M)`
        Rows are patterns of ``u.ravel()``. Columns whose images under C3v are not all known are
        in none.
    """
    whole, images = _orbits(displacement)
    place = np.flatnonzero(whole)
    projector = _projector(images, len(place))
    # columns that an operation takes into each other belong together
    first = np.min([target for _, target in images], axis=0) if len(place) else place
    kept: tuple[list[FloatArray], list[FloatArray]] = ([], [])
    for one in np.unique(first):
        orbit = np.flatnonzero(first == one)
        at = (2 * orbit[:, None] + [0, 1]).ravel()
        values, vectors = np.linalg.eigh(projector[np.ix_(at, at)])
        columns = (2 * place[orbit][:, None] + [0, 1]).ravel()
        for value, vector in zip(values, vectors.T, strict=True):
            row = np.zeros(2 * len(whole))
            row[columns] = vector
            kept[0 if value > 0.5 else 1].append(row)
    n = 2 * len(whole)
    symmetric, rest = (np.array(rows).reshape(-1, n) for rows in kept)
    return symmetric, rest


def _operations() -> FloatArray:
    """The six operations of C3v as matrices of the plane, `(6, 2, 2)`."""
    angle = 2.0 * np.pi / 3.0 * np.arange(3)
    turns = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turns.transpose(2, 0, 1)
    return np.concatenate([turn, turn @ np.diag([-1.0, 1.0])])


def _orbits(displacement: DisplacementField) -> tuple[BoolArray, list[tuple[FloatArray, IntArray]]]:
    """Columns all of whose images are known, and where each operation takes them among these."""
    site = displacement.site_pm
    known: BoolArray = np.asarray(np.isfinite(displacement.u_pm).all(axis=1))
    tree = cKDTree(site)
    whole = known
    targets = []
    for operation in _operations():
        distance, target = tree.query(site @ operation.T)
        whole = whole & (distance < SAME_SITE_PM) & known[target]
        targets.append((operation, target))
    number = np.cumsum(whole) - 1
    return whole, [(operation, number[target[whole]]) for operation, target in targets]


def _projector(images: list[tuple[FloatArray, IntArray]], n: int) -> FloatArray:
    """``u_s(R r) += R u(r) / 6``, `(2n, 2n)`."""
    projector = np.zeros((n, 2, n, 2))
    for operation, target in images:
        projector[target, :, np.arange(n)] += operation / len(images)
    matrix = projector.reshape(2 * n, 2 * n)
    return 0.5 * (matrix + matrix.T)


@dataclass(frozen=True)
class DisplacementDecay:
    """Displacement against the distance from the defect, by shells of columns.

    Parameters
    ----------
    radius_pm : array, `(K,)`
        Of each shell [pm].
    n_columns : array of int, `(K,)`
    rms_pm, rms_sigma_pm : arrays, `(K,)`
        Root mean square displacement, less what the errors alone give, and its standard error
        [pm]. Without the subtraction noise would look like displacement.
    radial_pm, radial_sigma_pm : arrays, `(K,)`
        Mean displacement away from the defect and its standard error [pm].
    """

    radius_pm: FloatArray
    n_columns: IntArray
    rms_pm: FloatArray
    rms_sigma_pm: FloatArray
    radial_pm: FloatArray
    radial_sigma_pm: FloatArray

    def radius_below_pm(self, threshold_pm: float = 1.0, n_sigma: float = 0.0) -> float:
        """Radius of the shell from which on all displacements are below a threshold [pm].

        Parameters
        ----------
        threshold_pm : float
        n_sigma : float
            How many standard errors below; negative ones give the other end of an interval.

        Returns
        -------
        float
            inf where the outermost shell is not below it: the window doesn't reach that far.
        """
        above = self.rms_pm + n_sigma * self.rms_sigma_pm >= threshold_pm
        first = int(np.flatnonzero(above).max(initial=-1)) + 1
        return float(self.radius_pm[first]) if first < len(self.radius_pm) else np.inf


def displacement_decay(displacement: DisplacementField) -> DisplacementDecay:
    """Displacement of each shell of columns around the defect.

    Parameters
    ----------
    displacement : DisplacementField
        Columns without a displacement, and the defect's own, are left out.

    Raises
    ------
    DefectStrainError
        If no column is left.
    """
    radius = np.hypot(*displacement.site_pm.T)
    known = np.flatnonzero(np.isfinite(displacement.u_pm).all(axis=1) & (radius > SAME_SHELL_PM))
    if len(known) == 0:
        raise DefectStrainError(
            f"decay of {displacement.class_name}: got no column with a displacement around it"
        )
    order = known[np.argsort(radius[known], kind="stable")]
    borders = np.flatnonzero(np.diff(radius[order]) > SAME_SHELL_PM) + 1
    rows = []
    for shell in np.split(order, borders):
        u = displacement.u_pm[shell]
        at = (2 * shell[:, None] + [0, 1]).ravel()
        covariance = displacement.covariance_pm2[np.ix_(at, at)]
        outward = (displacement.site_pm[shell] / radius[shell, None]).ravel() / len(shell)
        square = (float(np.sum(u**2)) - float(np.trace(covariance))) / len(shell)
        flat = u.ravel() / len(shell)
        # variance of a sum of squares of correlated normal deviates about their means
        spread = 4 * flat @ covariance @ flat - 2 * np.sum((covariance / len(shell)) ** 2)
        spread = max(float(spread), 2 * float(np.sum((covariance / len(shell)) ** 2)))
        rms = np.sqrt(max(square, 0.0))
        # near zero the square root has no slope: there its error is that of the square
        rms_sigma = np.sqrt(spread) / (2 * rms) if square > np.sqrt(spread) else spread**0.25
        rows.append(
            (
                radius[shell].mean(),
                len(shell),
                rms,
                rms_sigma,
                outward @ u.ravel(),
                np.sqrt(max(outward @ covariance @ outward, 0.0)),
            )
        )
    table = np.array(rows).T
    return DisplacementDecay(table[0], table[1].astype(int), *table[2:])
