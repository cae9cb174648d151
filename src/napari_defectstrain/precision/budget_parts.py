"""Parts of the error budget: what each source of error does to displacements and strain."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import fdtri

from ..columns.averages.measure import ColumnMeasurement
from ..strain.displacement import displacement_field
from ..types import ClassStack, ColumnFits, FloatArray, IntArray
from .image_scatter import WindowValues
from .spacings import mean_spacing, nearest_metals, spacing_gradient

LAYER_PM = 168.0
"""Height of the two chalcogens of a column above and below the metals: half of 3.35 angstrom in
WSe2 (Schutte, De Boer and Jellinek 1987, doi:10.1016/0022-4596(87)90057-0), 6 % less in sulphides,
which is little beside what is assumed of the tilt."""

SURE = 0.95
"""Share of chance's values that a squared difference between two fits lies above, to count."""

TRIANGLES = 2.1
"""Triangles around the sites within this distance [a] stand for the defect's own."""


@dataclass(frozen=True)
class Pair:
    """A class against its reference: what positions of both make of displacement and strain.

    Parameters
    ----------
    fits, base : ColumnFits
        Columns of the class and of the reference.
    statistical_pm, u_pm : arrays, `(M, 2)`
        Standard error of the displacement, and the displacement [pm].
    """

    fits: ColumnFits
    base: ColumnFits
    statistical_pm: FloatArray
    u_pm: FloatArray

    @classmethod
    def of(cls, measurement: ColumnMeasurement, reference: ColumnMeasurement | None) -> Pair:
        """The class against the reference; without one, against ideal sites."""
        fits = measurement.fits
        if reference is not None:
            base = reference.fits
        else:
            base = replace(
                fits, position_pm=fits.site_pm, covariance_pm2=np.zeros_like(fits.covariance_pm2)
            )
        found = displacement_field(fits, base)
        own = np.diag(fits.covariance_pm2).reshape(-1, 2)
        more = few_windows_factor(len(measurement.influence_pm)) - 1.0
        variance = found.sigma_pm**2 + more * own
        if reference is not None:
            against = np.diag(base.covariance_pm2).reshape(-1, 2)
            variance += (few_windows_factor(len(reference.influence_pm)) - 1.0) * against
        return cls(fits, base, np.sqrt(variance), found.u_pm)

    def moved(self, own_pm: FloatArray, base_pm: FloatArray) -> FloatArray:
        """Change of the displacements by other positions, `(M, 2)` [pm]."""
        found = displacement_field(
            replace(self.fits, position_pm=own_pm), replace(self.base, position_pm=base_pm)
        )
        return np.asarray(found.u_pm - self.u_pm)

    def strain(self, own_pm: FloatArray, base_pm: FloatArray) -> float:
        """Change of the strain by other positions."""
        now = mean_spacing(self.fits) / mean_spacing(self.base)
        then = mean_spacing(self.fits, own_pm) / mean_spacing(self.base, base_pm)
        return float(then - now)

    def strain_of(self, shift_pm: FloatArray | float) -> float:
        """Change of the strain by a shift of the class's columns `(M, 2)` [pm]."""
        return self.strain(self.fits.position_pm + np.nan_to_num(shift_pm), self.base.position_pm)

    def gradients(self) -> tuple[FloatArray, FloatArray]:
        """Derivatives of the strain by the positions of the class and of the reference."""
        own, base = self.fits, self.base
        spacing = mean_spacing(base)
        mine = spacing_gradient(own.position_pm, own.site_pm, own.is_metal) / spacing
        other = spacing_gradient(base.position_pm, base.site_pm, base.is_metal)
        return mine, -other * mean_spacing(own) / spacing**2

    def strain_error(
        self, measurement: ColumnMeasurement, reference: ColumnMeasurement | None
    ) -> float:
        """Statistical error of the strain; NaN for a single window."""
        parts = self.strain_variances(measurement, reference)
        return float(np.sqrt(sum(few_windows_factor(n) * variance for variance, n in parts)))

    def strain_variances(
        self, measurement: ColumnMeasurement, reference: ColumnMeasurement | None
    ) -> list[tuple[float, int]]:
        """Variance of the strain by the windows of the class and of the reference, and how many.

        As their scatter says, without `few_windows_factor`; NaN for a single window.
        """
        parts = []
        for member, gradient in zip((measurement, reference), self.gradients(), strict=True):
            if member is None:
                continue
            n = len(member.influence_pm)
            value = np.nan_to_num(member.influence_pm) @ gradient
            parts.append((float(value @ value) / (n * (n - 1)) if n > 1 else np.nan, n))
        return parts


def few_windows_factor(n: int) -> float:
    """Factor of a variance that only n windows tell.

    Deviations in units of a standard error from n windows follow Student's distribution with
    n - 1 degrees of freedom, of variance ``(n - 1) / (n - 3)``. For five and fewer that of six.

    Examples
    --------
    >>> few_windows_factor(18)
    1.1333333333333333
    """
    freedom = max(n, 6) - 1
    return freedom / (freedom - 2)


def rings_of(fits: ColumnFits, a_pm: float) -> IntArray:
    """Group of each coordinate, `(2M,)`.

    Columns of one sublattice within 0.8 a (the centre; the nearest metals), within 2.1 a, and
    beyond.
    """
    radius = np.hypot(*fits.site_pm.T)
    ring = np.digitize(radius, [0.8 * a_pm, 2.1 * a_pm]) + 3 * fits.is_metal
    _, ring = np.unique(ring, return_inverse=True)
    return np.asarray(np.repeat(ring, 2))


def window_values(measurement: ColumnMeasurement, stack: ClassStack, pair: Pair) -> WindowValues:
    """What each window adds to every displacement, and to the strain of every triangle.

    Triangles of metals around the chalcogen sites within `TRIANGLES` a, the defect's own among
    them: to scan and registration all of them are alike, and one alone is too noisy.

    Parameters
    ----------
    measurement : ColumnMeasurement
        Either of the pair: windows of the reference act the other way.
    stack : ClassStack
        Its windows.
    pair : Pair

    Returns
    -------
    WindowValues
        With `(N, 2M + T)` values: the same triangles for both of the pair.
    """
    response = measurement.influence_pm.reshape(len(measurement.influence_pm), -1, 2)
    known = np.isfinite(response).all(axis=(0, 2))
    # a common shift of a window cancels: displacements are against the columns far away
    common = response[:, known].mean(axis=1, keepdims=True)
    is_own = measurement.fits.class_name == pair.fits.class_name
    base = mean_spacing(pair.base)
    factor = 1.0 / base if is_own else -mean_spacing(pair.fits) / base**2
    gradients = _triangle_gradients(measurement.fits, _triangle_centres(pair, stack.a_pm))
    strain = factor * np.nan_to_num(measurement.influence_pm) @ gradients.T
    sign = 1.0 if is_own else -1.0
    moved = (sign * (response - common)).reshape(len(response), -1)
    included = stack.included
    shift = np.hypot(*stack.shift_pm[included].T)
    return WindowValues(np.hstack([moved, strain]), stack.image_index[included], shift)


def _triangle_centres(pair: Pair, a_pm: float) -> FloatArray:
    """Centres of the triangles whose three metals both of the pair have, `(T, 2)` [pm]."""
    site, is_metal = pair.fits.site_pm, pair.fits.is_metal
    known = np.isfinite(pair.fits.position_pm[:, 0]) & np.isfinite(pair.base.position_pm[:, 0])
    centres = []
    for centre in site[~is_metal & (np.hypot(*site.T) < TRIANGLES * a_pm)]:
        corner = nearest_metals(site - centre, is_metal)
        if known[corner].all() and np.all(np.hypot(*(site[corner] - centre).T) < 0.7 * a_pm):
            centres.append(centre)
    return np.array(centres).reshape(-1, 2)


def _triangle_gradients(fits: ColumnFits, centre_pm: FloatArray) -> FloatArray:
    """Derivatives of the triangles' mean spacings by all coordinates, `(T, 2M)`."""
    gradients = [
        spacing_gradient(fits.position_pm, fits.site_pm - centre, fits.is_metal)
        for centre in centre_pm
    ]
    return np.array(gradients).reshape(-1, fits.site_pm.size)


def model_error(
    measurement: ColumnMeasurement,
    reference: ColumnMeasurement | None,
    pair: Pair,
    rings: IntArray,
) -> tuple[FloatArray, float]:
    """Half of the variance between column models beyond their statistical difference.

    Parameters
    ----------
    measurement, reference : ColumnMeasurement
    pair : Pair
    rings : array of int, `(2M,)`
        Coordinates of one group are averaged (`rings_of`).

    Returns
    -------
    array, `(M, 2)`, and float
        One-sigma errors of the displacements [pm] and of the strain; NaN without other models.
    """
    differences, strains = [], []
    by_chance: list[FloatArray] = []
    strain_by_chance: list[FloatArray] = []
    n_least = len(measurement.influence_pm)
    for name, other in measurement.alternatives.items():
        if reference is not None and name not in reference.alternatives:
            continue
        members = [(measurement, other)]
        base = pair.base.position_pm
        if reference is not None:
            members.append((reference, reference.alternatives[name]))
            base = reference.alternatives[name].corrected_pm
        chance, along = [], []
        for (member, fitted), gradient in zip(members, pair.gradients(), strict=False):
            n = max(len(member.influence_pm), 2)
            size = np.nan_to_num(fitted.influence_pm - member.influence_pm) / np.sqrt(n * (n - 1))
            chance.append(size.T)
            along.append(size @ gradient)
        differences.append(pair.moved(other.corrected_pm, base).ravel())
        strains.append(pair.strain(other.corrected_pm, base))
        by_chance.append(np.hstack(chance))
        strain_by_chance.append(np.concatenate(along))
    if not differences:
        return np.full_like(pair.u_pm, np.nan), np.nan
    groups = np.tile(rings, len(differences))
    excess = _excess(np.concatenate(differences), np.vstack(by_chance), groups, n_least)
    strain_excess = _excess(
        np.array(strains), np.array(strain_by_chance), np.zeros(len(strains), dtype=int), n_least
    )
    pooled = np.sqrt(excess / 2.0)[rings].reshape(-1, 2)
    return pooled, float(np.sqrt(strain_excess[0] / 2.0))


def profile_error(
    measurement: ColumnMeasurement,
    reference: ColumnMeasurement | None,
    pair: Pair,
    rings: IntArray,
) -> tuple[FloatArray, float]:
    """Noise of the learnt profile, and what describing it otherwise changes beyond chance.

    A profile with more coefficients differs, if by nothing else, by what the windows' noise makes
    of them, which is in the statistical errors: their difference counts where that is surely
    exceeded, and then without it.
    Arguments and what is returned are as in `model_error`.
    """
    position, base = pair.fits.position_pm, pair.base.position_pm
    shape = position.shape
    square: FloatArray = np.zeros(shape)
    strain = 0.0
    for k in range(measurement.profile_shift_pm.shape[1]):
        mine = measurement.profile_shift_pm[:, k].reshape(shape)
        other = 0.0 if reference is None else reference.profile_shift_pm[:, k].reshape(shape)
        square += np.nan_to_num(pair.moved(position + mine, base + other)) ** 2
        strain += pair.strain(position + mine, base + other) ** 2
    gradient, against_gradient = pair.gradients()
    by_chance, against = measurement.check_shift_pm, base
    along = gradient @ by_chance
    if reference is not None:
        against = reference.check_position_pm
        along = along + against_gradient @ reference.check_shift_pm
        by_chance = by_chance - reference.check_shift_pm
    n = len(measurement.influence_pm)
    found = pair.moved(measurement.check_position_pm, against).ravel()
    square += _excess(found, by_chance, rings, n)[rings].reshape(shape)
    found = np.array([pair.strain(measurement.check_position_pm, against)])
    strain += float(_excess(found, along[None], np.zeros(1, dtype=int), n)[0])
    return np.sqrt(square), float(np.sqrt(strain))


def _excess(found: FloatArray, by_chance: FloatArray, groups: IntArray, n: int) -> FloatArray:
    """Mean square of each group's differences beyond that of noise, `(n_groups,)`.

    None where noise makes as much in one case of 20: the positive part of what exceeds its mean is
    half of that mean on average, even where there is nothing but noise. Noise's mean square is a
    multiple of chi squared of the same mean and variance (Satterthwaite), and itself only known
    from n windows: a ratio of Fisher's distribution.

    Parameters
    ----------
    found : array, `(K,)`
        Differences between two fits of the same windows; NaN where there is none.
    by_chance : array, `(K, G)`
        What G independent one-sigma noises make of them.
    groups : array of int, `(K,)`
    n : int
        Windows that tell the noise.

    Returns
    -------
    array, `(n_groups,)`
        NaN of groups without a difference.
    """
    excess: FloatArray = np.full(int(groups.max(initial=-1)) + 1, np.nan)
    for group in range(len(excess)):
        mine = np.flatnonzero((groups == group) & np.isfinite(found))
        if len(mine) == 0:
            continue
        square = float(np.mean(found[mine] ** 2))
        covariance = by_chance[mine] @ by_chance[mine].T
        chance, spread = float(np.trace(covariance)), float(np.sum(covariance**2))
        most = 0.0
        if spread > 0.0:
            most = chance / len(mine) * float(fdtri(chance**2 / spread, max(n - 1, 1), SURE))
        excess[group] = square - chance / len(mine) if square > most else 0.0
    return excess


def tilt_error(
    fits: ColumnFits, stack: ClassStack, tilt_mrad: float, single_atom: float
) -> tuple[FloatArray, float]:
    """Of the central column only: all others are symmetric about the metals' plane."""
    images = max(len(np.unique(stack.image_index[stack.included])), 1)
    shift = 1e-3 * tilt_mrad * LAYER_PM * single_atom / np.sqrt(images)
    centre = np.hypot(*fits.site_pm.T) < 1.0
    return np.where(centre[:, None], shift, 0.0) * np.ones(2), 0.0
