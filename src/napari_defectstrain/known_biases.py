"""What is known to shift the columns of an average: other classes' windows, and the neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .columns import ColumnMeasurement, influence, windows_covariance
from .displacement import displacement_field
from .purity import unmix_positions
from .superposition import neighbour_contribution, window_displacements
from .symmetry import symmetrise_displacement
from .types import ClassAverage, ClassStack, DisplacementField, FloatArray
from .windows import CORE_RADIUS

IMPROBABLE = "probability"
"""How the reason of a window left out as improbable begins."""

NEIGHBOUR_ROUNDS = 4
"""What the neighbours add follows from the fields of the classes, which hold it themselves."""


@dataclass(frozen=True)
class KnownBias:
    """What is known to shift the positions of a class, and how well.

    Parameters
    ----------
    impurity_pm : array, `(M, 2)`
        Shift by windows of other classes in the stack [pm].
    impurity_errors_pm : array, `(K, M, 2)`
        Independent one-sigma errors of that shift, and of which windows count [pm].
    neighbours_pm : array, `(M, 2)`
        Shift by the defects around the windows [pm].
    neighbours_u_pm : array, `(M, 2)`
        The same less that of the reference's windows: what it does to displacements [pm].
    corrected : bool
        Whether the shifts were subtracted from the positions.
    """

    impurity_pm: FloatArray
    impurity_errors_pm: FloatArray
    neighbours_pm: FloatArray
    neighbours_u_pm: FloatArray
    corrected: bool


def without_known_biases(
    columns: Mapping[str, ColumnMeasurement],
    averages: Mapping[str, ClassAverage],
    stacks: Mapping[str, ClassStack],
    reference: str,
    share_error: float,
    correct: bool,
) -> tuple[dict[str, ColumnMeasurement], dict[str, KnownBias]]:
    """Columns less what impurity and neighbours are known to add, and how much that is.

    Parameters
    ----------
    columns : mapping of class to ColumnMeasurement
    averages, stacks : mappings by class
    reference : str
        The defect-free class.
    share_error : float
        Relative error of the expected shares of wrong windows.
    correct : bool
        Whether to subtract; otherwise the columns stay as they are.
    """
    base = columns[reference]
    position = {name: c.fits.position_pm for name, c in columns.items()}
    weight = {name: c.fits.weight for name, c in columns.items()}
    shares = {name: dict(average.contaminants) for name, average in averages.items()}
    mixed = unmix_positions(position, weight, shares)
    pure = {name: _moved(c, mixed[name]) for name, c in columns.items()}
    nothing = np.zeros_like(base.fits.site_pm)
    added = dict.fromkeys(columns, (nothing, nothing))  # by the neighbours
    for _ in range(NEIGHBOUR_ROUNDS):
        # symmetric, as a defect's own field is: a sum over many neighbours adds up their errors
        fields = {
            name: symmetrise_displacement(
                displacement_field(_moved(c, added[name][1]).fits, pure[reference].fits)
            ).symmetric
            for name, c in pure.items()
            if name != reference
        }
        added = {name: _neighbours(name, stacks, fields, pure[name], reference) for name in pure}
    corrected, known = {}, {}
    for name, c in pure.items():
        wrong = _impurity_errors(name, position, averages, reference, share_error)
        errors = np.stack([*wrong, _selection(stacks[name], columns[name])])
        known[name] = KnownBias(mixed[name], errors, *added[name], correct)
        corrected[name] = columns[name]
        if correct:
            moved = _moved(c, added[name][0])
            corrected[name] = _without_scatter_by_neighbours(moved, stacks[name], fields)
    return corrected, known


def _moved(measurement: ColumnMeasurement, bias_pm: FloatArray) -> ColumnMeasurement:
    """The same with a bias subtracted from all positions."""
    return replace(
        measurement,
        fits=replace(measurement.fits, position_pm=measurement.fits.position_pm - bias_pm),
        check_position_pm=measurement.check_position_pm - bias_pm,
        alternatives={
            name: replace(other, position_pm=other.position_pm - bias_pm)
            for name, other in measurement.alternatives.items()
        },
    )


def _neighbours(
    name: str,
    stacks: Mapping[str, ClassStack],
    fields: Mapping[str, DisplacementField],
    columns: ColumnMeasurement,
    reference: str,
) -> tuple[FloatArray, FloatArray]:
    """What the neighbours add to the positions of a class, and to its displacements, `(M, 2)`.

    Of the reference, whose displacements are none, both are the same. Zero where the neighbours
    aren't known. A common shift is what registration takes out.
    """
    stack, base = stacks[name], stacks[reference]
    site, is_metal = columns.fits.site_pm, columns.fits.is_metal
    if stack.neighbours is None or base.neighbours is None:
        return np.zeros_like(site), np.zeros_like(site)
    found = neighbour_contribution(stack, base, fields, site, is_metal)
    own = found.own_pm - found.own_pm.mean(axis=0)
    return own, own if name == reference else found.u_pm


def _without_scatter_by_neighbours(
    measurement: ColumnMeasurement, stack: ClassStack, fields: Mapping[str, DisplacementField]
) -> ColumnMeasurement:
    """The influence of each window less what its own neighbours do to it, beyond their mean.

    What is subtracted from the average was subtracted from each of its windows: their scatter,
    which all errors come from, must not hold it any more. Registration takes out the common shift
    of the columns outside the core.
    """
    if stack.neighbours is None or stack.n < 2:
        return measurement
    site = measurement.fits.site_pm
    u = window_displacements(stack, fields, site)
    outer = np.hypot(*site.T) > CORE_RADIUS * stack.a_pm
    u -= u[:, outer].mean(axis=1, keepdims=True) if outer.any() else 0.0
    made = (u - u.mean(axis=0)).reshape(stack.n, -1)
    own = measurement.influence_pm - made
    return replace(
        measurement,
        fits=replace(measurement.fits, covariance_pm2=windows_covariance(own)),
        influence_pm=own,
        alternatives={
            name: replace(other, influence_pm=other.influence_pm - made)
            for name, other in measurement.alternatives.items()
        },
    )


def _impurity_errors(
    name: str,
    position_pm: Mapping[str, FloatArray],
    averages: Mapping[str, ClassAverage],
    reference: str,
    share_error: float,
) -> list[FloatArray]:
    """Errors of the shift by windows of other classes, one a class, `(M, 2)` each [pm].

    How many there are scatters by sqrt(share / N), and the share itself is uncertain. Where only
    the purity is known, not the contaminants, the shift is anything up to that by defect-free
    windows or as much the other way: a rectangular distribution (JCGM 100:2008, 4.3.7).
    """
    average, own = averages[name], position_pm[name]
    if not average.contaminants:
        shift = np.nan_to_num(position_pm[reference] - own)
        return [max(1.0 - average.purity, 0.0) / np.sqrt(3.0) * shift]
    errors = []
    for other, share in average.contaminants.items():
        if other in position_pm:
            sigma = np.hypot(np.sqrt(share / average.n), share_error * share)
            errors.append(sigma * np.nan_to_num(position_pm[other] - own))
    return errors


def _selection(stack: ClassStack, measurement: ColumnMeasurement) -> FloatArray:
    """How the average would shift with the windows that were left out as improbable, `(M, 2)` [pm].

    Where a detector tells classes by where the columns around are, among other things, the noise of
    a window has a say in whether it counts: those kept are then too much like their class. All that
    are more probably of this class than not would tell.
    """
    improbable = np.char.startswith(stack.reason.astype(str), IMPROBABLE) & ~stack.included
    improbable &= stack.probability > 0.5
    shape = measurement.fits.position_pm.shape
    if not improbable.any():
        return np.zeros(shape)
    together = replace(stack, included=stack.included | improbable)
    response = influence(measurement.model, together)
    kept = stack.included[together.included]
    # of mean zero over all together: less the mean of those kept
    return np.asarray(np.nan_to_num(-response[kept].mean(axis=0)).reshape(shape))
