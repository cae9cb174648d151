"""What single windows of a class say of its centre, and what noise alone makes of that.

Every quantity follows the pixels of a window by the linear response of the fit of the class's
average, so that a single noisy window needs no fit of its own. The same response to defect-free
windows, less their average, is the noise: counting, scan, registration, and the defects around.
Windows of another brightness have another counting noise: pixels are scaled by the variance that
the noise model gives both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..columns.averages.crowded import State, Structure
from ..columns.averages.measure import ColumnFitModel, ColumnMeasurement
from ..io.large_arrays import in_parts
from ..types import BoolArray, ClassAverage, ClassStack, ColumnFits, FloatArray, IntArray
from .mixture_fit import Selection
from .spacings import nearest_metal_spacings, nearest_metals, neighbouring_metals
from .two_populations import WindowSample

QUANTITIES = (
    *("weight", "triangle_pm"),
    *("asymmetry_1_pm", "asymmetry_2_pm", "offset_x_pm", "offset_y_pm"),
)
"""Of a window: the central column's weight [metal columns]; mean side of the triangle of the
nearest metals; the two ways in which its sides differ, ``(2 s1 - s2 - s3) / sqrt(6)`` and
``(s2 - s3) / sqrt(2)``; where the central column lies against the triangle's middle, which tilt
moves."""

CHUNK = 128  # windows at a time
FAR = 0.8
"""Metals from here on [a] say how noisy the windows are: the centre's kind hardly moves them."""

LEAST_OF_IMAGE = 4
"""Windows of an image from which on its mean weight is taken off."""

LEAST_EXPECTED = 1e-4
RESPONSE_STEPS = np.linspace(-2.5, 2.0, 19)
"""On the way from a class to the defect-free one: where two thirds of the windows are undistorted,
the others lie two ways beyond their average."""
_SOFTNESS = (0.1, 0.25, 0.5, 1.0, 2.0)
LIKELY = 1.0  # difference of log-likelihoods
_NO_CHANGE_PM = 1e-3  # smaller differences of two triangles are rounding
_NEAR_EDGE = 8.0  # noise widths from the class's mean within which an edge matters


Known = dict[int, FloatArray]
"""What the defects around defect-free windows did to their influence, by the fit (its `id`)."""


@dataclass(frozen=True)
class WindowQuantities:
    """The quantities of a class's windows, and their noise; all against the class's average.

    Parameters
    ----------
    class_name : str
    value : array, `(N, 6)`
        Of each window, in the order of `QUANTITIES`; NaN where a column has no position.
    noise : array, `(R, 6)`
        Of noise alone.
    noise_weight : array, `(R,)`
        How much each of these counts.
    noise_scale, noise_scale_error : float
        Scatter of the sides between metals far from the centre over that by noise alone: 1 where
        the windows are as noisy as the defect-free ones.
    undistorted : array, `(6,)`
        Of a window of this class without any distortion.
    response_pm : array, `(2, S)`
        Triangle's size against the average, and what the linear response makes of it [pm].
    selection : Selection
        By weight.
    others : tuple of (name, share, array `(6,)`)
        Other classes expected among the windows, and where they would lie.
    spacing_pm, reference_pm : float
        Mean spacing of the triangle in the class's average, and in the defect-free one [pm].
    mixing_per_pm : array, `(2,)`
        By how much both come out too large where the class's triangles differ in size, in units of
        the variance of their sizes [pm/pm^2]: an average of columns at two places is broader than
        a column, and the shared profile learns it.
    """

    class_name: str
    value: FloatArray
    noise: FloatArray
    noise_weight: FloatArray
    noise_scale: float
    noise_scale_error: float
    undistorted: FloatArray
    response_pm: FloatArray
    selection: Selection
    others: tuple[tuple[str, float, FloatArray], ...]
    spacing_pm: float
    reference_pm: float
    mixing_per_pm: FloatArray

    @property
    def sample(self) -> WindowSample:
        """Weight and triangle, to be asked for populations."""
        # in one piece, as they arrive in another process: sums of them are the same to the last bit
        return WindowSample(
            value=np.ascontiguousarray(self.value[:, :2]),
            noise=np.ascontiguousarray(self.noise[:, :2]),
            noise_weight=self.noise_weight,
            noise_scale=self.noise_scale,
            noise_scale_error=self.noise_scale_error,
            undistorted=self.undistorted[:2],
            selection=self.selection,
            others=tuple((name, share, place[:2]) for name, share, place in self.others),
        )

    def triangle_pm(self, linear_pm: float) -> float:
        """The triangle's size [pm] that the linear response takes for this, against the average."""
        true, seen = self.response_pm
        order = np.argsort(seen)
        return self.spacing_pm + float(np.interp(linear_pm, seen[order], true[order]))

    def slope(self, linear_pm: float) -> float:
        """Change of the triangle's size by what the linear response takes for it, there."""
        seen = self.response_pm[1]
        step = 0.25 * float(seen.max() - seen.min()) / (seen.size - 1)
        if not step > 0.0:
            return 1.0
        ends = [self.triangle_pm(linear_pm + sign * step) for sign in (-1.0, 1.0)]
        return float(abs(ends[1] - ends[0]) / (2.0 * step))

    def strain(self, linear_pm: float, variance_pm2: float = 0.0) -> float:
        """Its strain against the defect-free average.

        Parameters
        ----------
        linear_pm : float
            The triangle's size against the average, as the linear response takes it [pm].
        variance_pm2 : float
            Of the sizes of the class's triangles, noise apart, where they are of two kinds [pm^2].
        """
        own, base = variance_pm2 * self.mixing_per_pm
        return float((self.triangle_pm(linear_pm) - own) / (self.reference_pm - base) - 1.0)


def window_quantities(
    name: str,
    columns: Mapping[str, ColumnMeasurement],
    stacks: Mapping[str, ClassStack],
    averages: Mapping[str, ClassAverage],
    reference: str,
    known: Known | None = None,
) -> WindowQuantities | None:
    """What the windows of a class say of its centre.

    Parameters
    ----------
    name : str
        The class.
    columns, stacks, averages : mappings by class
        Measured columns, windows, averages.
    reference : str
        The defect-free class.
    known : Known, optional
        What other classes have asked of the same defect-free windows.

    Returns
    -------
    WindowQuantities or None
        None where the fit models no whole window (single Gaussians), the triangle has no position,
        or windows stand for bands of an image.
    """
    mine, base = columns[name], columns[reference]
    stack = stacks[name]
    fits = mine.fits
    corner = nearest_metals(fits.site_pm, fits.is_metal)
    whole = all(m.structure is not None and m.centre_operator is not None for _, m in _fits(mine))
    if not whole or stack.n_columns is not None or np.isnan(fits.position_pm[corner]).any():
        return None
    value = np.full((stack.n, len(QUANTITIES)), np.nan)
    noises, weights, far, far_noise = [], [], [], []
    expected = averages[name].contaminants
    undistorted, mixing = np.zeros(len(QUANTITIES)), np.zeros(2)
    response = np.zeros((2, len(RESPONSE_STEPS)))
    others: dict[str, FloatArray] = {}
    for member, model in _fits(mine):
        share = float(member.mean())
        images = stack.image_index[stack.included][member]
        other, alike = _alike(base, stacks[reference], images)
        quiet = _Response(model, fits)
        value[member] = quiet.of_shifts(
            mine.influence_pm[member], without_images(_weights(stack, member, model), images)
        )
        told = {} if known is None else known
        shifts, centre = _noise(model, other, stacks[reference], alike, base.influence_pm, told)
        ref_images = stacks[reference].image_index[stacks[reference].included][alike]
        noises.append(quiet.of_shifts(shifts, without_images(centre, ref_images)))
        weights.append(_weight_by_image(images, ref_images))
        far.append(_far_power(fits, mine.influence_pm[member], stack.a_pm))
        far_noise.append(_far_power(fits, shifts, stack.a_pm))
        undistorted += share * quiet.of_structure(other, 1.0)
        response += share * np.stack([quiet.response(other, t) for t in RESPONSE_STEPS], axis=1)
        mixing += quiet.mixing(other, base, member)
        for kind in [kind for kind in expected if kind in columns]:
            place = quiet.of_structure(_largest(columns[kind]), None)
            others[kind] = others.get(kind, 0.0) + share * place
    noise, noise_weight = np.concatenate(noises), np.concatenate(weights)
    scale, scale_error = _noise_scale(np.concatenate(far), np.concatenate(far_noise), noise_weight)
    return WindowQuantities(
        class_name=name,
        value=value,
        noise=noise - (noise_weight / noise_weight.sum()) @ noise,
        noise_weight=noise_weight,
        noise_scale=scale,
        noise_scale_error=scale_error,
        undistorted=undistorted,
        response_pm=response,
        selection=_selection(name, mine, stacks, float(np.std(noise[:, 0]))),
        others=tuple(
            (kind, expected[kind], place)
            for kind, place in others.items()
            if expected[kind] > LEAST_EXPECTED
        ),
        spacing_pm=_triangle_pm(fits),
        reference_pm=_triangle_pm(base.fits),
        mixing_per_pm=mixing,
    )


def _triangle_pm(fits: ColumnFits) -> float:
    """Mean spacing of the nearest metals of an average [pm]."""
    return float(nearest_metal_spacings(fits.position_pm, fits.site_pm, fits.is_metal).mean())


def _fits(measured: ColumnMeasurement) -> tuple[tuple[BoolArray, ColumnFitModel], ...]:
    return measured.fitted_parts


def _largest(measured: ColumnMeasurement) -> ColumnFitModel:
    return max(_fits(measured), key=lambda part: int(part[0].sum()))[1]


def _alike(
    base: ColumnMeasurement, stack: ClassStack, images: IntArray
) -> tuple[ColumnFitModel, BoolArray]:
    """The fit of the defect-free windows from these images, and which windows it is of."""
    own = stack.image_index[stack.included]
    here = np.unique(images)
    member, model = max(_fits(base), key=lambda part: int(np.isin(own[part[0]], here).sum()))
    return model, member


@dataclass(frozen=True)
class _Response:
    """How the quantities of a window follow what its pixels, or columns, do."""

    model: ColumnFitModel
    fits: ColumnFits

    def of_shifts(self, shift_pm: FloatArray, weight: FloatArray) -> FloatArray:
        """Quantities `(N, 6)` by shifts of the columns `(N, 2M)` and of the weight `(N,)`."""
        fits = self.fits
        moved = shift_pm.reshape(len(shift_pm), -1, 2)
        sides = nearest_metal_spacings(fits.position_pm + moved, fits.site_pm, fits.is_metal)
        sides = sides - nearest_metal_spacings(fits.position_pm, fits.site_pm, fits.is_metal)
        corner = nearest_metals(fits.site_pm, fits.is_metal)
        centre = int(np.argmin(np.hypot(*fits.site_pm.T)))
        offset = moved[:, centre] - moved[:, corner].mean(axis=1)
        first, second, third = sides.T
        return np.column_stack(
            [
                weight,
                sides.mean(axis=1),
                (2.0 * first - second - third) / np.sqrt(6.0),
                (second - third) / np.sqrt(2.0),
                offset,
            ]
        )

    def of_structure(self, other: ColumnFitModel, part: float | None) -> FloatArray:
        """Quantities `(6,)` of a window that is noise-free and moved towards another structure.

        By `part` of the way with the weights of its own; None: the other structure itself.
        """
        own, that = self.model.structure, other.structure
        assert own is not None and that is not None  # `window_quantities` has asked
        image = (
            that.image() if part is None else replace(own, state=_between(own, that, part)).image()
        )
        change = (image - own.image())[self.model.pixel]
        shift, weight = self.model.operator @ change, _centre(self.model) @ change
        return np.asarray(self.of_shifts(shift[None], np.atleast_1d(weight))[0])

    def response(self, other: ColumnFitModel, part: float) -> FloatArray:
        """Triangle's size on the way to another structure: built in, and seen, `(2,)` [pm]."""
        own, that = self.model.structure, other.structure
        assert own is not None and that is not None
        fits = self.fits
        moved = (_between(own, that, part).position_pm - own.state.position_pm)[own.shown]
        sides = [
            nearest_metal_spacings(fits.position_pm + m, fits.site_pm, fits.is_metal).mean()
            for m in (moved, 0.0 * moved)
        ]
        return np.array([sides[0] - sides[1], self.of_structure(other, part)[1]])

    def mixing(
        self, other: ColumnFitModel, base: ColumnMeasurement, member: BoolArray
    ) -> FloatArray:
        """What triangles of two sizes do to both averages by the profile, `(2,)` [pm/pm^2].

        By an average of half of the windows nearer to another structure and half farther from it:
        what it holds beyond a window in the middle is of second order, and so a multiple of the
        variance whatever the shares. Averages of several groups are means of their parts: `member`
        are the class's windows here, and of the defect-free class, `base`, the part fitted with the
        same profile moves along, and nothing where it has none.
        """
        own, that = self.model.structure, other.structure
        assert own is not None and that is not None
        half = 0.5
        ends = [
            replace(own, state=_between(own, that, sign * half)).image() for sign in (-1.0, 1.0)
        ]
        more = (0.5 * (ends[0] + ends[1]) - own.image())[self.model.pixel]
        size = half * (self.response(other, 1.0)[0])
        if not abs(size) > _NO_CHANGE_PM:
            return np.zeros(2)
        learnt = int(member.sum()) * (self.model.profile_operator @ more)
        alike = [(part, model) for part, model in _fits(base) if _one_profile(model, self.model)]
        grown = [
            sum(
                float(part.mean()) * _growth_pm(fits, model.profile_gain @ learnt)
                for part, model in parts
            )
            for fits, parts in ((self.fits, [(member, self.model)]), (base.fits, alike))
        ]
        return np.asarray(np.array(grown) / size**2)


def _growth_pm(fits: ColumnFits, shift_pm: FloatArray) -> float:
    """By how much the triangle grows where columns shift by `(2M,)` [pm]."""
    moved = fits.position_pm + shift_pm.reshape(-1, 2)
    sides = nearest_metal_spacings(moved, fits.site_pm, fits.is_metal)
    return float(sides.mean()) - _triangle_pm(fits)


def _one_profile(one: ColumnFitModel, other: ColumnFitModel) -> bool:
    """Whether both were fitted with one profile; every group of images learns its own."""
    own, that = one.structure, other.structure
    if own is None or that is None:
        return False
    return np.array_equal(own.profile.parameters, that.profile.parameters)


def _between(own: Structure, that: Structure, part: float) -> State:
    """State of a structure whose columns are on the way to another's places."""
    start, end = own.state.position_pm, that.state.position_pm
    return replace(own.state, position_pm=start + part * (end - start))


def _centre(model: ColumnFitModel) -> FloatArray:
    assert model.centre_operator is not None  # `window_quantities` has asked
    return model.centre_operator


def _weights(stack: ClassStack, member: BoolArray, model: ColumnFitModel) -> FloatArray:
    """Weight of the centre of single windows, less their mean, `(N,)`."""
    weight = _centre_weights(stack, np.flatnonzero(stack.included)[member], model)
    return np.asarray(weight - weight.mean())


def _centre_weights(stack: ClassStack, index: IntArray, model: ColumnFitModel) -> FloatArray:
    """Weights of the centre, `(n,)`, of windows by their numbers: some windows at a time."""
    parts = [
        (part[:, model.pixel] - model.model) @ _centre(model)
        for part in in_parts(stack.windows, index, CHUNK)
    ]
    return np.concatenate([*parts, np.zeros(0)])


def without_images(value: FloatArray, images: IntArray) -> FloatArray:
    """Values less the mean of their image, which brightness and probe move, at their scatter.

    Parameters
    ----------
    value : array, `(N, ...)`
        Of windows, of mean zero.
    images : array of int, `(N,)`
        Whose they are; images of fewer than `LEAST_OF_IMAGE` windows keep their mean.
    """
    result = value.copy()
    for i in np.unique(images):
        mine = images == i
        n = int(mine.sum())
        if n >= LEAST_OF_IMAGE:
            result[mine] = (value[mine] - value[mine].mean(axis=0)) * np.sqrt(n / (n - 1))
    return result


def _noise(
    model: ColumnFitModel,
    other: ColumnFitModel,
    stack: ClassStack,
    member: BoolArray,
    influence_pm: FloatArray,
    known: Known,
) -> tuple[FloatArray, FloatArray]:
    """What a class's fit makes of defect-free windows: shifts `(R, 2M)` [pm], weights `(R,)`.

    What the defects around them do was taken off the windows' influence on their own average
    (`known_biases`): it is taken off here, too.
    """
    factor = _brightness_factor(model, other)
    taken_off = known.get(id(other))
    shifts, weights, own = [], [], []
    for chunk in _chunks(stack, member):
        plain = chunk[:, other.pixel] - other.model
        noise = plain * factor
        shifts.append(noise @ model.operator.T)
        weights.append(noise @ _centre(model))
        if taken_off is None:
            own.append(plain @ other.operator.T)
    shift, weight = np.concatenate(shifts), np.concatenate(weights)
    if taken_off is None:
        taken_off = known[id(other)] = np.nan_to_num(np.concatenate(own) - influence_pm[member])
    shift -= taken_off
    return shift - shift.mean(axis=0), weight - weight.mean()


def noise_pixels(
    mine: ColumnMeasurement,
    base: ColumnMeasurement,
    stack: ClassStack,
    reference: ClassStack,
    pixel: BoolArray,
) -> FloatArray:
    """Noise of a class's pixels by defect-free windows, in the order of the quantities' noise.

    Parameters
    ----------
    mine, base : ColumnMeasurement
        Of the class, and of the defect-free one.
    stack, reference : ClassStack
        Their windows.
    pixel : array of bool, `(P, P)`
        Asked for; within the pixels of the fits.

    Returns
    -------
    array, `(R, K)`
        Mean zero.
    """
    noises = []
    for member, model in _fits(mine):
        other, alike = _alike(base, reference, stack.image_index[stack.included][member])
        asked = pixel[other.pixel]
        factor = _brightness_factor(model, other)[asked]
        plain = [(c[:, other.pixel] - other.model)[:, asked] for c in _chunks(reference, alike)]
        noise = np.concatenate(plain) * factor
        images = reference.image_index[reference.included][alike]
        noises.append(without_images(noise - noise.mean(axis=0), images))
    return np.concatenate(noises)


def _brightness_factor(model: ColumnFitModel, other: ColumnFitModel) -> FloatArray:
    """Noise of a pixel of one class over that of the other, by the noise model `(P,)`."""
    if model.noise is None or model.noise.silent:
        return np.ones(len(model.model))
    return np.sqrt(model.noise.variance(model.model) / model.noise.variance(other.model))


def _chunks(stack: ClassStack, member: BoolArray) -> Iterator[FloatArray]:
    index = np.flatnonzero(stack.included)[member]
    for part in in_parts(stack.windows, index, CHUNK):
        yield part.astype(float)


def _weight_by_image(images: IntArray, reference: IntArray) -> FloatArray:
    """How often each defect-free window counts, so that all images count as among the class's."""
    top = int(max(images.max(), reference.max())) + 1
    wanted, there = (np.bincount(i, minlength=top).astype(float) for i in (images, reference))
    weight = (wanted / np.maximum(there, 1.0))[reference]
    return weight if weight.any() else np.ones(len(reference))


def _far_power(fits: ColumnFits, shift_pm: FloatArray, a_pm: float) -> FloatArray:
    """Mean square change of the sides between metals far from the centre, by window [pm^2]."""
    pairs = neighbouring_metals(fits, a_pm)
    distance = np.hypot(*fits.site_pm.T)
    pairs = pairs[(distance[pairs] > FAR * a_pm).all(axis=1)]
    if not len(pairs):  # small windows: nothing says how noisy they are
        return np.full(len(shift_pm), np.nan)
    moved = shift_pm.reshape(len(shift_pm), -1, 2)
    along = fits.site_pm[pairs[:, 1]] - fits.site_pm[pairs[:, 0]]
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    change = ((moved[:, pairs[:, 1]] - moved[:, pairs[:, 0]]) * along).sum(axis=2)
    return np.asarray((change**2).mean(axis=1))


def _noise_scale(
    power: FloatArray, noise: FloatArray, noise_weight: FloatArray
) -> tuple[float, float]:
    """The class's noise over the defect-free windows', and its error."""
    part = noise_weight / noise_weight.sum()
    base = float(part @ noise)
    if len(power) < 2 or base <= 0.0 or not np.isfinite(base):
        return 1.0, 0.1
    ratio = float(power.mean()) / base
    own = power.std(ddof=1) / np.sqrt(len(power)) / power.mean()
    other = np.sqrt((part**2) @ (noise - base) ** 2) / base
    return float(np.sqrt(ratio)), float(0.5 * np.sqrt(ratio) * np.hypot(own, other))


def _selection(
    name: str, measured: ColumnMeasurement, stacks: Mapping[str, ClassStack], sigma: float
) -> Selection:
    """Between which weights windows were taken for this class, by those that were not.

    The weights of windows of all classes, those too improbable for theirs among them, against
    whether they were taken for this one.
    """
    model = _largest(measured)
    weights, taken = [], []
    for other, stack in stacks.items():
        if stack.n_columns is not None:
            continue
        doubtful = np.char.startswith(stack.reason.astype(str), "probability")
        use = stack.included | doubtful
        weights.append(_centre_weights(stack, np.flatnonzero(use), model))
        taken.append(stack.included[use] & (other == name))
    weight, chosen = np.concatenate(weights), np.concatenate(taken)
    near = np.abs(weight) < _NEAR_EDGE * sigma
    weight, chosen = weight[near], chosen[near]
    low, soft_low = _edge(-weight, chosen, sigma)
    high, soft_high = _edge(weight, chosen, sigma)
    softness = max(soft_low if np.isfinite(low) else 0.0, soft_high if np.isfinite(high) else 0.0)
    return Selection(-low, high, softness)


def _edge(weight: FloatArray, chosen: BoolArray, sigma: float) -> tuple[float, float]:
    """Above which weight windows are no longer taken, and how softly; infinite without any."""
    upper = weight > 0.0
    left = upper & ~chosen
    if not left.any() or not chosen.any():
        return np.inf, 0.0
    places = np.linspace(0.0, float(weight[left].max()), 65)[1:]
    side, taken = weight[upper], chosen[upper]
    total = np.empty((len(_SOFTNESS), len(places)))
    for i, softness in enumerate(_SOFTNESS):
        for k, place in enumerate(places):
            chance = Selection(-np.inf, float(place), softness * sigma).chance(side)
            chance = np.clip(np.where(taken, chance, 1.0 - chance), 1e-6, 1.0)
            total[i, k] = np.log(chance).sum()
    # anywhere in a gap without windows is as likely: the middle of what is likely
    soft, where = np.nonzero(total > total.max() - LIKELY)
    return float(np.median(places[where])), float(_SOFTNESS[int(np.median(soft))] * sigma)
