"""Threefold symmetry of a defect on a chalcogen site: averages over C3v, and what they hide.

The lattice frame has metals at 90, 210 and 330 degrees around the defect: the site's symmetry in
projection is rotation by 120 degrees and the mirror planes along those directions. A defect that
keeps it has a field with ``u(g r) = g u(r)`` for the six operations g. Averaging over them gains
up to sqrt(6) in precision where it holds; where it doesn't (tilt, astigmatism, drift, a defect of
lower symmetry), it hides what is there. So what is taken away is always returned beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import BSpline
from scipy.ndimage import spline_filter1d
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..types import BoolArray, ClassAverage, ClassStack, DisplacementField, FloatArray
from .average import average_stack
from .windows import SPLINE_ORDER

SAME_SITE_PM = 2.0
BORDER_PX = 5
"""A spline knows nothing beyond the border, and rings there: no pixel is turned from nearer."""
CHUNK = 64  # windows at a time


def operations() -> FloatArray:
    """The six operations of C3v as matrices on (x, y), `(6, 2, 2)`; the identity is first.

    Rotations by 0, 120 and 240 degrees, then each after the mirror x -> -x.
    """
    angle = np.deg2rad([0.0, 120.0, 240.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    rotation = np.moveaxis(turn, 2, 0)  # (3, 2, 2)
    return np.concatenate([rotation, rotation @ np.diag([-1.0, 1.0])])


def symmetriser(site_pm: FloatArray, known: BoolArray | None = None) -> FloatArray:
    """The linear map of ``u.ravel()`` to its symmetric part: an orthogonal projector.

    ``u'(s) = mean over g of g^-1 u(g s)``, over the operations that take the site s to a known
    one: in a square window some equivalents lie outside.

    Parameters
    ----------
    site_pm : array, `(M, 2)`
        Ideal sites, (x, y) in the lattice frame [pm].
    known : array of bool, `(M,)`, optional
        Sites with a displacement; the others get none, and give none.

    Returns
    -------
    array, `(2M, 2M)`
    """
    n = len(site_pm)
    use = np.ones(n, dtype=bool) if known is None else known
    result = np.zeros((n, 2, n, 2))
    count = np.zeros(n)
    tree = cKDTree(site_pm)
    for g in operations():
        distance, partner = tree.query(site_pm @ g.T)
        here = np.flatnonzero((distance < SAME_SITE_PM) & use & use[partner])
        result[here, :, partner[here]] += g.T  # one partner each: no pair comes twice
        count[here] += 1
    result /= np.maximum(count, 1)[:, None, None, None]
    return np.asarray(result.reshape(2 * n, 2 * n))


def symmetric_basis(site_pm: FloatArray) -> FloatArray:
    """Orthonormal basis of all symmetric fields on some sites, `(2M, P)`: ``u = basis @ p``.

    A third to a sixth of the unknowns: two for six equivalent sites, one for three on the mirror
    planes, none for the origin.
    """
    projector = symmetriser(site_pm)
    _, orbit = connected_components(csr_array(np.abs(projector) > 1e-9), directed=False)
    columns = []
    for number in np.unique(orbit):  # each orbit for itself: the basis stays sparse
        own = np.flatnonzero(orbit == number)
        value, vector = np.linalg.eigh(projector[np.ix_(own, own)])
        part = np.zeros((len(projector), int((value > 0.5).sum())))
        part[own] = vector[:, value > 0.5]
        columns.append(part)
    return np.concatenate(columns, axis=1)


@dataclass(frozen=True)
class SymmetricField:
    """A displacement field averaged over C3v, and what that hid.

    Parameters
    ----------
    symmetric, hidden : DisplacementField
        They add up to the field; each with its own covariance.
    pull : float
        Root mean square of the hidden displacements in units of their standard errors: near 1
        where noise alone breaks the symmetry. NaN without errors.
    """

    symmetric: DisplacementField
    hidden: DisplacementField
    pull: float


def symmetrise_displacement(field: DisplacementField) -> SymmetricField:
    """Mean of a displacement field over equivalent sites, covariance carried along.

    Columns without a displacement stay without, and leave their equivalents the others' mean.
    """
    known = np.asarray(np.isfinite(field.u_pm).all(axis=1))
    mean = symmetriser(field.site_pm, known)
    part = np.diag(np.repeat(known, 2).astype(float)) - mean
    symmetric, hidden = (_carried(field, operator, known) for operator in (mean, part))
    variance = np.diag(hidden.covariance_pm2).reshape(-1, 2)
    own = np.diag(field.covariance_pm2).reshape(-1, 2)
    # Without a partner nothing can be hidden, and the difference is rounding
    counts = known[:, None] & (variance > 1e-9 * own)
    pull = np.nan
    if counts.any():
        pull = float(np.sqrt(np.mean(hidden.u_pm[counts] ** 2 / variance[counts])))
    return SymmetricField(symmetric, hidden, pull)


def _carried(field: DisplacementField, operator: FloatArray, known: BoolArray) -> DisplacementField:
    """A linear map of a field, and of its covariance; what is unknown stays so."""
    gone = np.repeat(~known, 2)
    u = (operator @ np.where(gone, 0.0, field.u_pm.ravel())).reshape(-1, 2)
    u[~known] = np.nan
    covariance = np.where(gone[:, None] | gone[None], 0.0, field.covariance_pm2)
    carried = operator @ covariance @ operator.T
    carried[gone] = np.nan
    carried[:, gone] = np.nan
    return replace(field, u_pm=u, covariance_pm2=carried)


@dataclass(frozen=True)
class SymmetricAverage:
    """A class average averaged over C3v, and what that hid.

    Parameters
    ----------
    average : ClassAverage
        Symmetric mean and its standard error.
    hidden, hidden_sem : arrays, `(P, P)`
        The plain mean less the symmetric one, and its standard error by the scatter of the
        windows; zero on the symmetry's fixed pixels.
    """

    average: ClassAverage
    hidden: FloatArray
    hidden_sem: FloatArray

    @property
    def significance(self) -> FloatArray:
        """`hidden` in units of its standard error, `(P, P)`; 0 where nothing can be hidden."""
        noise = np.where(self.hidden_sem > 0, self.hidden_sem, np.inf)
        return np.asarray(self.hidden / noise)


def symmetrise_average(stack: ClassStack) -> SymmetricAverage:
    """Class average over the six operations of C3v.

    Mirroring x -> -x is exact; the two rotations interpolate every window once, by the spline
    that cut it. Each pixel is the mean over those of its equivalents that lie inside the window,
    5 px from its border.

    Parameters
    ----------
    stack : ClassStack
        Windows that are left out don't count.

    Raises
    ------
    DefectStrainError
        If no window is included.
    """
    plain = average_stack(stack)
    size = stack.windows.shape[1]
    turns, count = _rotations(size)
    which = np.flatnonzero(stack.included)
    moments = np.zeros((2, 2, size, size))  # symmetric and hidden: mean, mean square
    for start in range(0, len(which), CHUNK):
        window = stack.windows[which[start : start + CHUNK]].astype(float)
        symmetric = _symmetrised(window, turns, count)
        # about the plain mean, so that no digits are lost in the squares
        for k, value in enumerate((symmetric - plain.mean, window - symmetric)):
            moments[k] += np.stack([value.sum(axis=0), (value**2).sum(axis=0)])
    n = len(which)
    mean = moments[:, 0] / n
    variance = np.maximum(moments[:, 1] / n - mean**2, 0.0)
    sem = np.sqrt(variance / (n - 1)) if n > 1 else np.full_like(variance, np.nan)
    rounding = 1e-9 * float(np.abs(plain.mean).max())
    hidden_sem = np.where(sem[1] > rounding, sem[1], 0.0) if n > 1 else sem[1]
    average = replace(plain, mean=plain.mean + mean[0], sem=sem[0])
    return SymmetricAverage(average, mean[1], hidden_sem)


def _symmetrised(window: FloatArray, turns: list[csr_array], count: FloatArray) -> FloatArray:
    """Mean of windows `(N, P, P)` over the operations; mirrored first, then turned."""
    mirrored = 0.5 * (window + window[:, :, ::-1])
    coefficients = mirrored
    for axis in (1, 2):
        coefficients = spline_filter1d(coefficients, SPLINE_ORDER, axis=axis, mode="mirror")
    flat = coefficients.reshape(len(window), -1).T
    total = mirrored.copy()
    for turn in turns:
        total += (turn @ flat).T.reshape(window.shape)
    return np.asarray(total / count)


def _rotations(size: int) -> tuple[list[csr_array], FloatArray]:
    """Maps from spline coefficients to a window turned by 120 and 240 degrees.

    With the number of rotations, the identity among them, that each pixel gets a value from.
    """
    half = size // 2
    row, column = (k.ravel() for k in np.mgrid[-half : half + 1, -half : half + 1])
    count = np.ones(size * size)
    turns = []
    for g in operations()[1:3]:
        x, y = g @ np.stack([column, -row])
        inside = np.maximum(np.abs(x), np.abs(y)) <= half - BORDER_PX
        turns.append(_sampler(half - y, half + x, inside, size))
        count += inside
    return turns, count.reshape(size, size)


def _sampler(row: FloatArray, column: FloatArray, inside: BoolArray, size: int) -> csr_array:
    """Values of a spline at places, as a sparse map of its coefficients; 0 where not inside."""
    kernel = BSpline.basis_element(np.arange(SPLINE_ORDER + 2) - (SPLINE_ORDER + 1) / 2, False)
    step = np.arange(SPLINE_ORDER + 1) - SPLINE_ORDER // 2
    index, weight = [], []
    for place in (row, column):
        knot = np.floor(place).astype(int)[:, None] + step  # (p, 6)
        weight.append(np.nan_to_num(kernel(place[:, None] - knot)))
        last = size - 1
        index.append(last - np.abs(last - np.abs(knot)))  # mirrored at both borders
    flat = index[0][:, :, None] * size + index[1][:, None, :]
    value = weight[0][:, :, None] * weight[1][:, None, :] * inside[:, None, None]
    pixel = np.broadcast_to(np.arange(len(row))[:, None, None], flat.shape)
    keep = value.ravel() != 0
    return csr_array(
        (value.ravel()[keep], (pixel.ravel()[keep], flat.ravel()[keep])), shape=(size**2, size**2)
    )
