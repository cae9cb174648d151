"""What the defects around a window do to it: superposition of the fields of the classes.

The displacements of point defects add (linear elasticity; at a few times their distance from one
another they do so to within a few per cent even in atomistic models). Beyond the isolation shells
most windows of an alloy hold other defects, whose fields give each column a small mean
displacement. The reference's windows have the same surroundings on average, so that only the
difference of the two counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from ..averages.windows import CORE_RADIUS
from ..types import BoolArray, ClassStack, DefectStrainError, DisplacementField, FloatArray
from .spacings import nearest_metal_spacings

SAME_SITE_PM = 2.0
TAIL_FROM = 0.4
"""The elastic tail is fitted to the columns beyond this fraction of the field's radius."""


@dataclass(frozen=True)
class NeighbourContribution:
    """Mean displacement that the other defects give the columns of a class average.

    Parameters
    ----------
    class_name : str
    site_pm : array, `(M, 2)`
        Ideal sites, (x, y) in the lattice frame [pm].
    u_pm : array, `(M, 2)`
        Mean displacement by the neighbours of the class's windows minus that by the neighbours of
        the reference's [pm]; the mean over the columns outside the core is taken out, as
        registration takes it out of the windows.
    own_pm, reference_pm : arrays, `(M, 2)`
        The two means [pm].
    strain : float
        What `u_pm` makes of the strain of the spacing of the three nearest metal columns.
    per_window : float
        Mean number of known neighbours of a window of the class.
    reach_pm : float
        How far they are known [pm].
    """

    class_name: str
    site_pm: FloatArray
    u_pm: FloatArray
    own_pm: FloatArray
    reference_pm: FloatArray
    strain: float
    per_window: float
    reach_pm: float


def neighbour_contribution(
    stack: ClassStack,
    reference: ClassStack,
    fields: Mapping[str, DisplacementField],
    site_pm: FloatArray,
    is_metal: BoolArray,
) -> NeighbourContribution:
    """What the known neighbours of a class's windows add to its displacements, on average.

    ``u(s) = mean over windows of sum over neighbours k of U_k(s - site_k)``, for the windows of
    the class minus the same for the reference's. U is the measured field of the neighbour's
    class; beyond its columns the tail ``B r / |r|^2`` of a centre of dilation, fitted to the
    outer ones (Eshelby 1957, doi:10.1098/rspa.1957.0133). Classes without a field, such as
    other, add nothing.

    Parameters
    ----------
    stack, reference : ClassStack
        Of the class and of the defect-free windows; both with `neighbours`. Windows left out
        don't count.
    fields : mapping of class to DisplacementField
        Measured against the reference.
    site_pm : array, `(M, 2)`
        Sites asked for, (x, y) in the lattice frame [pm].
    is_metal : array of bool, `(M,)`
        Their sublattice.

    Raises
    ------
    DefectStrainError
        If the neighbours of either stack aren't known.
    """
    own = _mean(window_displacements(stack, fields, site_pm))
    base = _mean(window_displacements(reference, fields, site_pm))
    u = own - base
    outer = np.hypot(*site_pm.T) > CORE_RADIUS * stack.a_pm
    if outer.any():
        u = u - u[outer].mean(axis=0)
    spacing = nearest_metal_spacings(np.stack([site_pm, site_pm + u]), site_pm, is_metal)
    near, moved = spacing.mean(axis=1)
    assert stack.neighbours is not None  # window_displacements has checked it
    counted = stack.included[stack.neighbours.window]
    return NeighbourContribution(
        class_name=stack.class_name,
        site_pm=site_pm,
        u_pm=u,
        own_pm=own,
        reference_pm=base,
        strain=float(moved / near - 1),
        per_window=float(counted.sum() / max(stack.n, 1)),
        reach_pm=stack.neighbours.reach_pm,
    )


def _mean(u_pm: FloatArray) -> FloatArray:
    """Over windows; zero without any."""
    return np.asarray(u_pm.sum(axis=0) / max(len(u_pm), 1))


def window_displacements(
    stack: ClassStack, fields: Mapping[str, DisplacementField], site_pm: FloatArray
) -> FloatArray:
    """What the known neighbours of each included window do at each site, `(N, M, 2)` [pm].

    As `neighbour_contribution`, before the mean over the windows.

    Raises
    ------
    DefectStrainError
        If the neighbours aren't known.
    """
    known = stack.neighbours
    if known is None:
        raise DefectStrainError(
            f"{stack.class_name}: the defects around its windows aren't known, expected "
            "ClassStack.neighbours; make the stacks with stack_classes"
        )
    number = np.cumsum(stack.included) - 1
    counted = stack.included[known.window]
    u = np.zeros((stack.n, site_pm.size))
    for role, name in enumerate(stack.class_names):
        mine = counted & (known.class_index == role)
        if name not in fields or not mine.any():
            continue
        # Ideal sites are few: what a neighbour there does is worked out once
        place, kind = np.unique(np.round(known.site_pm[mine], 3), axis=0, return_inverse=True)
        offset = site_pm[None] - place[:, None]  # (s, m, 2)
        made = field_at(fields[name], offset.reshape(-1, 2)).reshape(len(place), -1)
        window = number[known.window[mine]]
        shape = (stack.n, len(place))
        u += csr_array((np.ones(len(window)), (window, kind.ravel())), shape=shape) @ made
    return np.asarray(u.reshape(stack.n, *site_pm.shape))


def field_at(field: DisplacementField, offset_pm: FloatArray) -> FloatArray:
    """Displacement that a defect makes at lattice sites around it.

    Parameters
    ----------
    field : DisplacementField
    offset_pm : array, `(K, 2)`
        Site minus the defect's site, (x, y) [pm].

    Returns
    -------
    array, `(K, 2)`
        Where the field has that site, its own value as far as it stands out of noise (0 where the
        column is missing); its tail beyond.
    """
    tail_pm2 = tail_strength(field)
    distance, index = cKDTree(field.site_pm).query(offset_pm)
    inside = np.hypot(*field.site_pm.T).max(initial=0.0)
    beyond = np.hypot(*offset_pm.T)[:, None] > inside
    tail = np.where(beyond, _tail(offset_pm, tail_pm2), 0.0)
    value = _denoised(field, tail_pm2)[index]
    return np.asarray(np.where((distance < SAME_SITE_PM)[:, None], value, tail))


def _tail(offset_pm: FloatArray, strength_pm2: float) -> FloatArray:
    """``B r / |r|^2``, `(K, 2)` [pm]."""
    radius2 = np.einsum("kx,kx->k", offset_pm, offset_pm)
    return np.asarray(strength_pm2 * offset_pm / np.maximum(radius2, 1.0)[:, None])


def _denoised(field: DisplacementField, tail_pm2: float) -> FloatArray:
    """The field's displacements, drawn towards its tail as far as noise could have moved them.

    The sum over many neighbours would add up the noise of a measured field: what differs from the
    tail counts by ``1 - sigma^2 / difference^2``, and not at all where noise alone does as much
    (shrinkage, James & Stein 1961). Beside the defect nothing changes. Where a column is missing
    there is nothing to move: 0.
    """
    known = np.asarray(np.isfinite(field.u_pm).all(axis=1))
    tail = _tail(field.site_pm, tail_pm2)
    difference = np.where(known[:, None], field.u_pm - tail, 0.0)
    variance = np.diag(field.covariance_pm2).reshape(-1, 2).sum(axis=1)
    variance = np.where(np.isfinite(variance), variance, 0.0)
    size = np.maximum((difference**2).sum(axis=1), 1e-30)
    keep = np.clip(1.0 - variance / size, 0.0, 1.0)
    return np.where(known[:, None], tail + keep[:, None] * difference, 0.0)


def tail_strength(field: DisplacementField) -> float:
    """B of ``u = B r / |r|^2`` at the outer columns of a field, by weighted least squares [pm^2].

    Zero where no column of the field has a displacement.
    """
    known = np.isfinite(field.u_pm).all(axis=1)
    radius = np.hypot(*field.site_pm.T)
    outer = known & (radius > TAIL_FROM * radius.max(initial=0.0)) & (radius > 0)
    if not outer.any():
        return 0.0
    shape = field.site_pm[outer] / radius[outer, None] ** 2
    variance = np.diag(field.covariance_pm2).reshape(-1, 2)[outer]
    good = np.isfinite(variance).all() and bool((variance > 0).all())
    weight = 1.0 / variance if good else np.ones_like(shape)
    return float((weight * shape * field.u_pm[outer]).sum() / (weight * shape**2).sum())
