"""What is known to shift the columns of an average: other classes' windows, and the neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ..averages.choice import BY_HAND, PUT_BACK
from ..averages.purity import Unmixing, unmix_positions
from ..averages.symmetry import symmetrise_displacement
from ..averages.windows import CORE_RADIUS
from ..columns.averages.measure import ColumnMeasurement, influence, windows_covariance
from ..crystal.robust import robust_sigma
from ..progress import shared_out
from ..strain.displacement import displacement_field
from ..types import BoolArray, ClassAverage, ClassStack, DisplacementField, FloatArray
from .superposition import neighbour_contribution, tail_strength, window_displacements

IMPROBABLE = "probability"
"""How the reason of a window left out as improbable begins."""

OUTLYING = 5.0
"""Robust sigmas beyond which a window that was left out by hand is an outlier by any rule."""

LEAST_SHARE = 0.05
"""Errors by a share over that of the class itself are of no meaning below this purity."""

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
    neighbours_known : bool
        Whether the defects around the windows are known; otherwise their shifts are zero.
    neighbours_error_pm : array, `(M, 2)`
        One-sigma error of `neighbours_u_pm` by defects of classes that weren't measured [pm].
    """

    impurity_pm: FloatArray
    impurity_errors_pm: FloatArray
    neighbours_pm: FloatArray
    neighbours_u_pm: FloatArray
    corrected: bool
    neighbours_known: bool = True
    neighbours_error_pm: FloatArray | float = 0.0


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
    shares = {name: _still_in(average, stacks[name]) for name, average in averages.items()}
    mixed, unmixing = unmix_positions(position, weight, shares)
    pure = _pure(columns, mixed, unmixing)
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
        added = _neighbours_of_all(stacks, fields, pure, reference)
    corrected, known = {}, {}
    place = {name: c.fits.position_pm for name, c in pure.items()}
    for name, c in pure.items():
        gain = unmixing.amplification(name)[:, None] if correct else np.ones((1, 1))
        wrong = _impurity_errors(
            averages[name], stacks[name], place, unmixing, reference, share_error
        )
        errors = [
            *(gain * error for error in wrong),  # the system's solution enlarges them, too
            *_uncorrected(name, position, unmixing, reference),
            *(gain * shift for shift in _selections(stacks[name], columns[name])),
        ]
        unlike = _unlike_neighbours(name, stacks, fields, c, reference)
        known[name] = KnownBias(
            mixed[name],
            np.stack(errors),
            *added[name],
            corrected=correct,
            neighbours_known=unlike is not None,
            neighbours_error_pm=nothing if unlike is None else unlike,
        )
        corrected[name] = columns[name]
        if correct:
            moved = _moved(c, added[name][0])
            corrected[name] = _without_scatter_by_neighbours(moved, stacks[name], fields, gain)
    return corrected, known


def _still_in(average: ClassAverage, stack: ClassStack) -> dict[str, float]:
    """Share of each other class that the positions of an average still hold.

    Where columns count for each class by its probability, only what these probabilities are known
    to fall short of: that has been taken out by counting so.
    """
    left = 1.0 if stack.n_columns is None else 1.0 - 1.0 / max(stack.overconfidence, 1.0)
    return {name: left * share for name, share in average.contaminants.items()}


def _pure(
    columns: Mapping[str, ColumnMeasurement],
    mixed_pm: Mapping[str, FloatArray],
    unmixing: Unmixing,
) -> dict[str, ColumnMeasurement]:
    """Columns less what windows of other classes do, their noise enlarged as the solution says.

    What other models and profiles find is a mixture as well: their differences are solved for in
    the same way. Errors of the profile are common to all classes, and stay.
    """

    def solved(value: Callable[[ColumnMeasurement], FloatArray]) -> dict[str, FloatArray]:
        return unmixing.pure({name: value(c) for name, c in columns.items()})

    def against_taken(model: str, c: ColumnMeasurement) -> FloatArray:
        other = c.alternatives.get(model)
        nothing = np.zeros_like(c.fits.site_pm)
        return nothing if other is None else other.position_pm - c.fits.position_pm

    def biased(model: str, c: ColumnMeasurement) -> FloatArray:
        other = c.alternatives.get(model)
        return np.zeros_like(c.fits.site_pm) if other is None else other.bias_pm

    check = solved(lambda c: c.check_position_pm - c.fits.position_pm)
    models = {model for c in columns.values() for model in c.alternatives}
    shift = {model: solved(partial(against_taken, model)) for model in models}
    bias = {model: solved(partial(biased, model)) for model in models}
    pure = {}
    for name, c in columns.items():
        gain = np.repeat(unmixing.amplification(name), 2)
        position = c.fits.position_pm - mixed_pm[name]
        pure[name] = replace(
            c,
            fits=replace(
                c.fits,
                position_pm=position,
                covariance_pm2=gain[:, None] * c.fits.covariance_pm2 * gain,
            ),
            influence_pm=gain * c.influence_pm,
            check_position_pm=position + check[name],
            check_shift_pm=gain[:, None] * c.check_shift_pm,
            alternatives={
                m: replace(
                    other,
                    position_pm=position + shift[m][name],
                    bias_pm=bias[m][name],
                    influence_pm=gain * other.influence_pm,
                )
                for m, other in c.alternatives.items()
            },
        )
    return pure


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


def _neighbours_of_all(
    stacks: Mapping[str, ClassStack],
    fields: Mapping[str, DisplacementField],
    columns: Mapping[str, ColumnMeasurement],
    reference: str,
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """`_neighbours` of every class."""
    found = shared_out(
        lambda name: _neighbours(name, stacks, fields, columns[name], reference), columns
    )
    return dict(zip(columns, found, strict=True))


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


def _unlike_neighbours(
    name: str,
    stacks: Mapping[str, ClassStack],
    fields: Mapping[str, DisplacementField],
    columns: ColumnMeasurement,
    reference: str,
) -> FloatArray | None:
    """Error by neighbours whose classes have no field, `(M, 2)` [pm]; None where nothing is known.

    They may do anything up to what the measured class of the strongest far field does, one way or
    the other: a rectangular distribution (JCGM 100:2008, 4.3.7).
    """
    stack, base = stacks[name], stacks[reference]
    site, is_metal = columns.fits.site_pm, columns.fits.is_metal
    if stack.neighbours is None or base.neighbours is None:
        return None
    around = np.union1d(stack.neighbours.class_index, base.neighbours.class_index).astype(int)
    unlike = {stack.class_names[role] for role in around} - {reference, *fields}
    if not unlike:
        return np.zeros_like(site)
    if not fields:
        return None
    strongest = max(fields.values(), key=lambda field: abs(tail_strength(field)))
    found = neighbour_contribution(stack, base, dict.fromkeys(unlike, strongest), site, is_metal)
    return np.asarray(found.u_pm / np.sqrt(3.0))


def _without_scatter_by_neighbours(
    measurement: ColumnMeasurement,
    stack: ClassStack,
    fields: Mapping[str, DisplacementField],
    gain: FloatArray,
) -> ColumnMeasurement:
    """The influence of each window less what its own neighbours do to it, beyond their mean.

    What is subtracted from the average was subtracted from each of its windows: their scatter,
    which all errors come from, must not hold it any more. Registration takes out the common shift
    of the columns outside the core. `gain`, `(M, 1)`, is what influences were enlarged by.
    """
    if stack.neighbours is None or stack.n < 2:
        return measurement
    site = measurement.fits.site_pm
    u = window_displacements(stack, fields, site)
    outer = np.hypot(*site.T) > CORE_RADIUS * stack.a_pm
    u -= u[:, outer].mean(axis=1, keepdims=True) if outer.any() else 0.0
    made = (gain * (u - u.mean(axis=0))).reshape(stack.n, -1)
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
    average: ClassAverage,
    stack: ClassStack,
    pure_pm: Mapping[str, FloatArray],
    unmixing: Unmixing,
    reference: str,
    share_error: float,
) -> list[FloatArray]:
    """Errors of the shift by windows of other classes, one a class, `(M, 2)` each [pm].

    How many there are scatters by sqrt(share / N), and the share itself is uncertain; where columns
    count by their probabilities, that scatter is in what the fit leaves. Where a class
    isn't measured, or only the purity is known and not the contaminants, the shift is anything up
    to that by defect-free windows or as much the other way: a rectangular distribution (JCGM
    100:2008, 4.3.7). Defect-free windows among which there are such take the measured class that
    differs most. Columns that aren't corrected have none of this: see `_uncorrected`.
    """
    name, own = average.class_name, pure_pm[average.class_name]
    by_chance = 0.0 if stack.n_columns is not None else 1.0 / average.n
    difference = {n: np.nan_to_num(place - own) for n, place in pure_pm.items()}
    here = unmixing.corrected[unmixing.names.index(name)][:, None]
    errors = []
    unseen = 0.0 if average.contaminants else max(1.0 - average.purity, 0.0)
    for other, share in average.contaminants.items():
        if other in pure_pm:
            sigma = np.hypot(np.sqrt(share * by_chance), share_error * share)
            errors.append(np.where(here, sigma * difference[other], 0.0))
        else:
            unseen += share
    like = reference
    if name == reference:
        like = max(difference, key=lambda n: float((difference[n] ** 2).sum()))
    possible = unseen / max(1.0 - unseen, LEAST_SHARE)
    errors.append(np.where(here, possible / np.sqrt(3.0) * difference[like], 0.0))
    return errors


def _uncorrected(
    name: str, position_pm: Mapping[str, FloatArray], unmixing: Unmixing, reference: str
) -> list[FloatArray]:
    """The whole shift by others, `(M, 2)` each, where too much light is theirs to take it out.

    By each class as it was measured, times its share over that of the class itself; by the
    defect-free one times all of the rest, for averages of mixtures look alike. All zero where
    columns are corrected.
    """
    here = unmixing.corrected[unmixing.names.index(name)]
    part = unmixing.shares(name)
    own = np.maximum(part[name], LEAST_SHARE)
    shifts: list[FloatArray] = []
    for other, place in position_pm.items():
        share = 1.0 - part[name] - part[reference] if other == name else part[other]
        difference = np.nan_to_num(
            (position_pm[reference] if other == name else place) - position_pm[name]
        )
        shifts.append(np.where(here, 0.0, share / own)[:, None] * difference)
    return shifts


def _selections(stack: ClassStack, measurement: ColumnMeasurement) -> list[FloatArray]:
    """How the average would shift with other windows, `(M, 2)` each [pm].

    With those left out as improbable, and as if nobody had chosen by hand.

    Where a detector tells classes by where the columns around are, among other things, the noise of
    a window has a say in whether it counts: those kept are then too much like their class. All that
    are more probably of this class than not would tell. A person who looks at windows, or sorts
    them, may choose by what is measured as well; but what is an outlier by any rule is no matter of
    choice.
    """
    reason = stack.reason.astype(str)
    likely = ~stack.included & (stack.probability > 0.5)
    improbable = likely & np.char.startswith(reason, IMPROBABLE)
    left_out = likely & (reason == BY_HAND)
    put_back = stack.included & np.char.startswith(reason, PUT_BACK)
    return [
        _shift_by(stack, measurement, improbable, np.zeros_like(improbable)),
        _shift_by(stack, measurement, left_out, put_back, by_hand=True),
    ]


def _shift_by(
    stack: ClassStack,
    measurement: ColumnMeasurement,
    more: BoolArray,
    fewer: BoolArray,
    by_hand: bool = False,
) -> FloatArray:
    """How the average would shift with more windows, and without some, `(M, 2)` [pm].

    Other windows alone shift an average, too: the variance expected of that is taken out, over all
    columns; of those chosen by hand, which may be by a few columns, over each. Of the latter only
    those count that are no outliers. Of images of several probe widths the windows of the commonest
    tell, for which the fit's operator holds.
    """
    shape = measurement.fits.position_pm.shape
    counted = stack.included | more
    if stack.group is not None:
        kind, size = np.unique(stack.group[stack.included], return_counts=True)
        counted &= stack.group == kind[np.argmax(size)]
    if not (counted & (more | fewer)).any():
        return np.zeros(shape)
    response = np.nan_to_num(influence(measurement.model, replace(stack, included=counted)))
    kept = stack.included[counted]
    added = more[counted] & (_alike(response, kept) if by_hand else True)
    other = (kept & ~fewer[counted]) | added
    n_kept, n = int(kept.sum()), int(other.sum())
    if n_kept < 2 or n < 2 or (kept == other).all():
        return np.zeros(shape)
    shift = response[other].mean(axis=0) - response[kept].mean(axis=0)
    both = int((kept & other).sum())
    chance = response[kept].var(axis=0, ddof=1).reshape(shape)
    chance *= 1.0 / n_kept + 1.0 / n - 2.0 * both / (n_kept * n)
    axis = 1 if by_hand else None
    square = np.sum(shift.reshape(shape) ** 2, axis=axis, keepdims=True)
    by_chance = np.sum(chance, axis=axis, keepdims=True)
    share = np.maximum(1.0 - by_chance / np.maximum(square, 1e-30), 0.0)
    return np.asarray(np.sqrt(share) * shift.reshape(shape))


def _alike(response: FloatArray, kept: BoolArray) -> BoolArray:
    """Windows that are no outliers among those kept, by the size of their response, `(N,)`."""
    middle = np.median(response[kept], axis=0)
    size = np.sqrt(np.mean((response - middle) ** 2, axis=1))
    typical = float(np.median(size[kept]))
    return np.asarray(size <= typical + OUTLYING * robust_sigma(size[kept]))
