"""Twins of images: simulated ones with the profile, noise and contamination of the user's own.

A twin holds the same classes at the same sites, with relaxations that are known. Its columns have
the profile and the typical brightness that the image's have, its background is that of the image,
its scan lines shake as much, and its noise has the spectrum, the patchiness and the dependence on
intensity of what the fit of the image leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from ..columns.images.measure import ImageColumns
from ..columns.images.rendering import ColumnRenderer
from ..columns.profiles import ColumnProfile
from ..crystal.robust import robust_sigma
from ..judge.places import lattice_places
from ..materials import DEFECT_ROLES, ROLES
from ..simulate.relaxing import relaxation
from ..types import (
    BoolArray,
    CalibratedImage,
    DefectStrainError,
    FloatArray,
    ImageLattice,
    IntArray,
    Sites,
)

_BACKGROUND = 1.5  # a; blind to the lattice
_PATCHES = 3.0  # a; over which the noise's strength is averaged
_TILE = 64  # px, of the noise's spectrum
_SLOW_PM = 3000.0
"""Sigma over which the lattice's distortion is averaged. The image's own defects must not survive
in it, or their relaxation would be in the twin beside the known one: of a field A/r,
``A r / (2 sigma^2)`` is left, 2 % at the fifth shell."""
_REACH_PM = (2000.0, 3000.0)
"""Where the fields of defects begin to end, and where they have ended."""
_PEAK_GRID = 60
_FIRST_DEFECT = ROLES.index(DEFECT_ROLES[0])


@dataclass(frozen=True)
class Parts:
    """An image taken apart: the sum of columns, background and rest, but for the lines' shifts.

    Parameters
    ----------
    profile : ColumnProfile
        In pixels, y down, of integral 1.
    renderer : ColumnRenderer
    model, background, raw, rest : arrays, `(H, W)`
        The columns, slow intensity, what is left, and what is left where the lines are put in
        place. Columns outside the image aren't known: its rim is too bright for a lattice constant.
    line_px : float
        Standard deviation of the shifts of scan lines that the columns' fitted places leave [px].
    """

    profile: ColumnProfile
    renderer: ColumnRenderer
    model: FloatArray
    background: FloatArray
    raw: FloatArray
    rest: FloatArray
    line_px: float

    def columns(self, position_px: FloatArray, weight: FloatArray) -> FloatArray:
        """Image of columns without noise, `(H, W)`."""
        points = self.renderer.spread(position_px)
        factor = self.renderer.structure_factor(points, weight)
        return np.asarray(self.renderer.image(factor * self.renderer.transfer(self.profile)))


@dataclass(frozen=True)
class Likeness:
    """What an image says of itself, as far as a twin needs it.

    Parameters
    ----------
    parts : Parts
    strength : array, `(H, W)`
        Variance of the noise over that of its line against intensity.
    spectrum : array, `(T, T / 2 + 1)`
        Power of the noise, of mean 1.
    gain, constant : float
        Variance of a pixel by its intensity.
    """

    parts: Parts
    strength: FloatArray
    spectrum: FloatArray
    gain: float
    constant: float

    def variance(self, image: FloatArray) -> FloatArray:
        """Variance of every pixel of a noise-free image."""
        line = self.gain * image + self.constant
        return np.asarray(np.maximum(line, 0.02 * float(np.median(line))))


def column_peak(profile: ColumnProfile) -> float:
    """Height of a column of weight 1: the integral of its transfer function.

    As ``profile.evaluate`` at its middle, on a grid that follows the cutoff whatever its unit.
    """
    k = np.linspace(-profile.cutoff_per_pm, profile.cutoff_per_pm, 2 * _PEAK_GRID + 1)
    step = k[1] - k[0]
    return float(np.real(profile.transfer(k[None, :], k[:, None])).sum() * step**2)


def taken_apart(
    image: CalibratedImage,
    columns: ImageColumns,
    a_px: float,
    slow: Callable[[FloatArray], FloatArray] | None = None,
) -> Parts:
    """Take an image apart by the fit of its columns.

    Parameters
    ----------
    image : CalibratedImage
    columns : ImageColumns
    a_px : float
        Lattice constant [px].
    slow : callable, optional
        Makes the background of what the columns leave; default a Gaussian blind to the lattice.

    Raises
    ------
    DefectStrainError
        If the columns were fitted without a shared profile.
    """
    if columns.profile is None:
        raise DefectStrainError(
            f"{image.name}: got columns fitted one by one, expected a shared profile"
        )
    size = columns.pixel_size_pm or 1.0
    profile = replace(
        columns.profile,
        cutoff_per_pm=columns.profile.cutoff_per_pm * size,
        blur_pm2=columns.profile.blur_pm2 * np.array([1.0, -1.0, 1.0]) / size**2,
    )
    data = np.asarray(image.data, dtype=float)
    width = float(np.sqrt(1.0 / (2 * np.pi * max(column_peak(profile), 1e-9))))
    height, across = data.shape
    renderer = ColumnRenderer((height, across), max(width, 0.8), profile.cutoff_per_pm)
    empty = np.zeros_like(data)
    made = Parts(profile, renderer, empty, empty, empty, empty, 0.0)
    lit = columns.measured
    model = made.columns(columns.position_px[lit], columns.weight[lit]).astype(float)
    left = data - model
    background = (
        gaussian_filter(left, _BACKGROUND * a_px, mode="reflect") if slow is None else slow(left)
    )
    raw = data - model - background
    slope = np.gradient(model, axis=1)
    shift, line_px = _lines(raw, slope)
    rest = raw + shift[:, None] * slope
    return replace(made, model=model, background=background, raw=raw, rest=rest, line_px=line_px)


def likeness(image: CalibratedImage, columns: ImageColumns, a_px: float) -> Likeness:
    """Learn from an image and the fit of its columns what a twin needs.

    Raises
    ------
    DefectStrainError
        If the columns were fitted without a shared profile.
    """
    parts = taken_apart(image, columns, a_px)
    empty, noise = np.zeros_like(parts.model), columns.noise
    made = Likeness(parts, empty, empty, noise.gain, noise.constant)
    normal = parts.rest / np.sqrt(made.variance(parts.model + parts.background))
    strength = gaussian_filter(normal**2, _PATCHES * a_px, mode="reflect")
    spectrum = noise_spectrum(normal / np.sqrt(np.maximum(strength, 1e-12)), _TILE)
    return replace(made, strength=strength, spectrum=spectrum)


def _lines(rest: FloatArray, slope: FloatArray) -> tuple[FloatArray, float]:
    """Shift of every scan line by what is left, without its error, and their scatter [px]."""
    power = np.maximum((slope**2).sum(axis=1), 1e-12)
    raw = -(slope * rest).sum(axis=1) / power
    error2 = rest.var() / power
    scatter2 = max(robust_sigma(raw) ** 2 - float(np.median(error2)), 0.0)
    return raw * scatter2 / (scatter2 + error2 + 1e-30), float(np.sqrt(scatter2))


def noise_spectrum(noise: FloatArray, tile_px: int) -> FloatArray:
    """Mean power of half-overlapping tiles, `(T, T / 2 + 1)`, of mean 1."""
    side = min(tile_px, min(noise.shape) // 2 * 2)
    window = np.hanning(side + 2)[1:-1]
    window = window[:, None] * window
    total, count = np.zeros((side, side // 2 + 1)), 0
    for y in range(0, noise.shape[0] - side + 1, side // 2):
        for x in range(0, noise.shape[1] - side + 1, side // 2):
            tile = noise[y : y + side, x : x + side]
            total += np.abs(scipy.fft.rfft2(tile * window)) ** 2
            count += 1
    both = np.full(side // 2 + 1, 2.0)  # the half of the waves that isn't kept
    both[0] = both[-1] = 1.0
    return (
        total / count / float(np.average(total / count, weights=np.broadcast_to(both, total.shape)))
    )


def make_twin(
    image: CalibratedImage,
    sites: Sites,
    columns: ImageColumns,
    lattices: Sequence[tuple[ImageLattice, BoolArray]],
    spacing_change: Sequence[float],
    rng: np.random.Generator,
) -> tuple[CalibratedImage, FloatArray]:
    """An image like the given one, with known relaxations around its defects.

    Parameters
    ----------
    image : CalibratedImage
    sites : Sites
        Its columns; their classes are those of the twin.
    columns : ImageColumns
        Their fit, in the same order, with a shared profile.
    lattices : sequence of (ImageLattice, array of bool `(N,)`)
        Of each domain, with the columns that belong to it.
    spacing_change : sequence of float
        Relative change of the metal spacing next to XY, Y2, V1, V2.
    rng : numpy.random.Generator

    Returns
    -------
    image : CalibratedImage
    position_px : array, `(N, 2)`
        (y, x) of its columns [px].
    """
    lattice = lattices[0][0]
    a_px = lattice.a_pm * float(np.sqrt(abs(np.linalg.det(lattice.matrix))))
    like = likeness(image, columns, a_px)
    places = lattice_places(sites, lattice.a_pm)
    seen = np.where(columns.measured[:, None], columns.position_px, sites.position_px)
    on = places.on_lattice
    known = on & columns.measured
    slow = _slow(seen[known], (seen - places.ideal_px)[known], seen, _SLOW_PM * a_px / lattice.a_pm)
    position = np.where(on[:, None], places.ideal_px + slow, seen)
    for one, member in lattices:
        position[member] += _relaxed(
            position, sites.class_index, one, np.flatnonzero(member), spacing_change
        )
    weight = _weights(sites, columns)
    clean = like.parts.columns(position, weight) + like.parts.background
    slope = np.gradient(clean, axis=1)
    clean = clean - rng.normal(0.0, 1.0, len(clean))[:, None] * like.parts.line_px * slope
    noise = coloured_noise(clean.shape, like.spectrum, rng)
    noise *= np.sqrt(like.strength * like.variance(clean))
    data = (clean + noise).astype(np.float32)
    return replace(image, data=data), position


def _slow(
    place_px: FloatArray, moved_px: FloatArray, asked_px: FloatArray, sigma_px: float
) -> FloatArray:
    """Displacements averaged by a wide Gaussian, at other places, `(N, 2)` (y, x) [px]."""
    step = sigma_px / 8
    low = np.minimum(place_px.min(axis=0), asked_px.min(axis=0))
    cell = np.rint((place_px - low) / step).astype(int)
    shape = np.rint((np.maximum(place_px, 0).max(axis=0) - low) / step).astype(int) + 1
    flat = cell[:, 0] * shape[1] + cell[:, 1]
    grids = [
        gaussian_filter(
            np.bincount(flat, value, minlength=int(np.prod(shape))).reshape(shape),
            8.0,
            mode="reflect",
        )
        for value in (np.ones(len(flat)), *moved_px.T)
    ]
    at = ((asked_px - low) / step).T
    count, *moved = (map_coordinates(g, at, order=1, mode="nearest") for g in grids)
    return np.asarray(np.stack(moved, axis=1) / np.maximum(count, 1e-12)[:, None])


def _relaxed(
    position_px: FloatArray,
    class_index: IntArray,
    lattice: ImageLattice,
    member: IntArray,
    spacing_change: Sequence[float],
) -> FloatArray:
    """How the defects of a domain move its columns, `(M, 2)` (y, x) [px]."""
    role = class_index[member]
    change = np.zeros(int(max(role.max(initial=0), len(ROLES))) + 1)
    change[_FIRST_DEFECT : _FIRST_DEFECT + len(spacing_change)] = spacing_change
    place = lattice.to_pm(position_px[member])
    defect = np.flatnonzero(change[role] != 0)
    total = np.zeros((len(member), 2))
    if not len(defect):
        return total
    near = cKDTree(place).query_ball_point(place[defect], _REACH_PM[1])
    owner = np.repeat(defect, [len(n) for n in near])
    other = np.concatenate([np.asarray(n, dtype=int) for n in near])
    offset = place[other] - place[owner]
    distance = np.hypot(*offset.T)
    left = np.clip((_REACH_PM[1] - distance) / (_REACH_PM[1] - _REACH_PM[0]), 0.0, 1.0)
    moved = relaxation(offset, change[role[owner]], lattice.a_pm) * left[:, None]
    for axis in (0, 1):
        total[:, axis] = np.bincount(other, moved[:, axis], minlength=len(member))
    return np.asarray(total @ lattice.matrix.T)


def _weights(sites: Sites, columns: ImageColumns) -> FloatArray:
    """Typical brightness of each class; columns of the class other keep their own."""
    weight = np.where(columns.measured, np.nan_to_num(columns.weight), 0.0)
    for index in np.unique(sites.class_index):
        mine = (sites.class_index == index) & ~sites.is_other
        if mine.any():
            weight[mine] = max(float(np.median(weight[mine])), 0.0)
    return weight


def coloured_noise(
    shape: tuple[int, ...], spectrum: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Gaussian noise of unit variance with a power spectrum."""
    white = scipy.fft.rfft2(rng.standard_normal(shape))
    side = len(spectrum)
    rolled = np.fft.fftshift(spectrum, axes=0)
    ky, kx = np.fft.fftfreq(shape[0]) * side + side // 2, np.fft.rfftfreq(shape[1]) * side
    y0 = np.minimum(ky.astype(int), side - 1)
    y1, ty = (y0 + 1) % side, (ky - y0)[:, None]
    x0 = np.minimum(kx.astype(int), side // 2)
    x1, tx = np.minimum(x0 + 1, side // 2), kx - x0
    rows = rolled[y0] * (1 - ty) + rolled[y1] * ty
    power = rows[:, x0] * (1 - tx) + rows[:, x1] * tx
    return np.asarray(scipy.fft.irfft2(white * np.sqrt(power), s=shape))
