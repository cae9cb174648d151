"""An image explained by its known columns: what is left is noise, and how that noise behaves.

The model is ``data[y, x] = b(y, x) + sum_j w_g(j) P(y - y_j, x - s_y - x_j)``: one column profile
P, one weight for each group of columns, a smooth background b and a shift s_y of every scan line.
All are found by alternating linear least squares with the true places and groups given, so this
is for images with truth only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates
from scipy.optimize import nnls
from scipy.sparse import coo_array, csr_array
from scipy.spatial import cKDTree

from ..types import DefectStrainError, FloatArray, IntArray

REACH_PM = 450.0
"""Radius of the profile [pm]: tails beyond it are smooth and belong to the background."""
BACKGROUND_PM = 500.0
"""Sigma of the background [pm]: blind to the lattice, and takes 2 % of a column's noise."""
# Fine where the column is, coarse where only tails are; the fifth knot from the end bounds the
# splines that turn with the azimuth.
_KNOTS_PM = np.array(
    [0, 0, 0, *np.arange(0, 225, 28.0), 260, 305, 360, REACH_PM, REACH_PM, REACH_PM, REACH_PM]
)
_N_ROUND = len(_KNOTS_PM) - 6
_N_TURNING = 8
_HARMONICS = 4
_N_BASIS = _N_ROUND + 2 * _HARMONICS * _N_TURNING
_STEP_PM = 6.0  # of the profile's table
_PIXELS = 60_000  # that the profile is fitted to
_PIXEL_CHUNK = 10_000
_ROUNDS = 5
_SLOPE_PX = 0.6
_PATCH_PM = 700.0
_MAX_EXCESS = 16.0
_START_SIGMA_PM = 55.0
_CHUNK = 400  # columns rendered at once


@dataclass(frozen=True)
class Profile:
    """The image of one column of weight 1, as a table around the column.

    Parameters
    ----------
    table : array, `(2 n + 1, 2 n + 1)`
        Intensity at (y, x) offsets of ``step_px`` from the column in the middle.
    step_px : float
    """

    table: FloatArray
    step_px: float

    @property
    def reach_px(self) -> float:
        """Offset at which the profile ends [px]."""
        return (len(self.table) - 1) / 2 * self.step_px

    def at(self, dy: FloatArray, dx: FloatArray) -> FloatArray:
        """Intensity at offsets [px], zero beyond the reach."""
        middle = (len(self.table) - 1) / 2
        place = np.stack([dy / self.step_px + middle, dx / self.step_px + middle])
        return np.asarray(map_coordinates(self.table, place, order=1, mode="constant"))


@dataclass(frozen=True)
class KnownImage:
    """An image and its explanation.

    Parameters
    ----------
    residual, background, variance : arrays, `(H, W)`
        Data minus model; the smooth background; variance expected of the residual, made with
        the same weight at every chalcogen column, so that it tells nothing of their classes.
    profile : Profile
    weight : array, `(G,)`
        Weight of each group.
    line_shift_px : array, `(H,)`
        Shift of each scan line [px].
    position_px : array, `(N, 2)`
    group : array, `(N,)`
    variance_terms : tuple of float
        Variance for every pixel, for each unit of the columns' intensity and of the squares of its
        gradient along x and y.
    """

    residual: FloatArray
    background: FloatArray
    variance: FloatArray
    profile: Profile
    weight: FloatArray
    line_shift_px: FloatArray
    position_px: FloatArray
    group: IntArray
    variance_terms: tuple[float, ...]


def explain_image(
    data: FloatArray,
    position_px: FloatArray,
    group: IntArray,
    pixel_size_pm: float,
    start_weight: FloatArray,
    even_weight: IntArray,
) -> KnownImage:
    """Fit profile, weights, background and line shifts of an image with known columns.

    Parameters
    ----------
    data : array, `(H, W)`
    position_px : array, `(N, 2)`
        True (y, x) of the columns [px].
    group : array of int, `(N,)`
        Columns of one group share a weight.
    pixel_size_pm : float
    start_weight : array, `(G,)`
        First guess of the weights; a group that starts at 0 stays there. The first group, the
        metal, is the unit.
    even_weight : array of int, `(G,)`
        The group whose weight stands for each group's in the variance.

    Raises
    ------
    DefectStrainError
        If the image is smaller than 2.5 nm or holds fewer than 30 columns.
    """
    data = np.asarray(data, dtype=float)
    if min(data.shape) * pixel_size_pm < 2500 or len(position_px) < 30:
        raise DefectStrainError(
            f"oracle: got {len(position_px)} columns in {data.shape[0]} x {data.shape[1]} px of "
            f"{pixel_size_pm:.4g} pm, expected at least 30 columns and 2.5 nm a side"
        )
    scale = float(data.std())
    fit = _Fit(data / scale, position_px, group, pixel_size_pm, np.array(start_weight, dtype=float))
    for last in (False,) * (_ROUNDS - 1) + (True,):
        fit.fit_weights()
        fit.fit_lines()
        fit.fit_profile(_PIXELS if last else _PIXELS // 3)
    fit.fit_weights()
    variance, terms = fit.variance(np.asarray(even_weight))
    return KnownImage(
        residual=fit.residual * scale,
        background=fit.background * scale,
        variance=variance * scale**2,
        profile=Profile(fit.profile.table * scale, fit.profile.step_px),
        weight=fit.weight,
        line_shift_px=fit.shift,
        position_px=np.asarray(position_px, dtype=float),
        group=np.asarray(group),
        variance_terms=(terms[0] * scale**2, terms[1] * scale, terms[2], terms[3]),
    )


class _Fit:
    """The alternating fit; every step improves one part and leaves the others."""

    def __init__(
        self,
        data: FloatArray,
        position: FloatArray,
        group: IntArray,
        pixel_pm: float,
        weight: FloatArray,
    ) -> None:
        self.data, self.position, self.group = data, np.asarray(position, dtype=float), group
        self.pixel_pm, self.weight = pixel_pm, weight
        self.shift = np.zeros(data.shape[0])
        self.smooth_px = BACKGROUND_PM / pixel_pm
        self.rng = np.random.default_rng(0)
        n = int(np.ceil(REACH_PM / _STEP_PM))
        step = _STEP_PM / pixel_pm
        r = np.hypot(*np.meshgrid(np.arange(-n, n + 1) * step, np.arange(-n, n + 1) * step))
        start = np.exp(-((r * pixel_pm / _START_SIGMA_PM) ** 2) / 2)
        self.profile = Profile(start, step)
        self.model = np.zeros_like(data)
        self.background = np.zeros_like(data)
        self.residual = np.zeros_like(data)

    def columns(self, weight: FloatArray) -> FloatArray:
        """Sum of the columns' images, each of its own weight, `(H, W)`."""
        return render(self.data.shape, self.position, weight, self.profile, self.shift)

    def fit_weights(self) -> None:
        """Weights of the groups, by least squares of what the background can't take.

        The first group's weight is the unit: the profile takes up the scale.
        """
        present = np.bincount(self.group, minlength=len(self.weight)) > 0
        free = np.flatnonzero((self.weight != 0) & present)
        sharp = np.empty((len(free), self.data.size), dtype=np.float32)
        for row, g in zip(sharp, free, strict=True):
            row[:] = self._sharp(self.columns(self.group == g)).ravel()
        target = self._sharp(self.data).ravel().astype(np.float32)
        found = np.linalg.solve((sharp @ sharp.T).astype(float), (sharp @ target).astype(float))
        self.weight[free] = found / found[0]
        self.profile = Profile(self.profile.table * found[0], self.profile.step_px)
        self.model = self.columns(self.weight[self.group])
        rest = self.data - self.model
        self.background = rest - self._sharp(rest)
        self.residual = rest - self.background

    def _sharp(self, image: FloatArray) -> FloatArray:
        return np.asarray(image - gaussian_filter(image, self.smooth_px, truncate=3.0))

    def fit_lines(self) -> None:
        """Shift of every line: all of its columns move together; shrunk by its own error."""
        slope = gaussian_filter1d(self.model, _SLOPE_PX, axis=1, order=1)
        power = np.maximum((slope**2).sum(axis=1), 1e-12)
        shift = self.shift - (slope * self.residual).sum(axis=1) / power
        error2 = self.residual.var() / power
        # the median of squares is 0.455 variances
        spread2 = max(float(np.median(shift**2)) / 0.455 - float(np.median(error2)), 0.0)
        self.shift = shift * spread2 / (spread2 + error2 + 1e-12)

    def fit_profile(self, count: int) -> None:
        """The profile: splines of the radius times harmonics of the azimuth, by least squares."""
        reach = REACH_PM / self.pixel_pm
        h, w = self.data.shape
        margin = int(min(reach, min(h, w) / 4))
        inner = np.arange(margin, h - margin), np.arange(margin, w - margin)
        count = min(count, len(inner[0]) * len(inner[1]) // 3)
        y, x = self.rng.choice(inner[0], count), self.rng.choice(inner[1], count)
        pixel = np.stack([y, x - self.shift[y]], axis=1)
        matrix = self._profile_matrix(pixel, reach)
        gram = matrix.T @ matrix
        gram[np.diag_indices_from(gram)] *= 1 + 1e-6
        target = (self.data - self.background)[y, x]
        coefficient = np.linalg.solve(gram, matrix.T @ target)
        self.profile = Profile(self._profile_table(coefficient), self.profile.step_px)

    def _profile_matrix(self, pixel: FloatArray, reach: float) -> FloatArray:
        """Basis functions of the profile at pixels, summed over the columns around."""
        tree = cKDTree(self.position)
        parts = []
        for start in range(0, len(pixel), _PIXEL_CHUNK):
            some = pixel[start : start + _PIXEL_CHUNK]
            near = tree.query_ball_point(some, reach)
            size = np.fromiter((len(n) for n in near), dtype=int, count=len(near))
            owner = np.repeat(np.arange(len(near)), size)
            column = np.concatenate([np.asarray(n, dtype=int) for n in near])
            offset = (some[owner] - self.position[column]) * self.pixel_pm
            weight = self.weight[self.group[column]]
            part = np.zeros((len(some), _N_BASIS))
            for basis, harmonic, place in _basis_blocks(offset):
                gather = coo_array((weight * harmonic, (owner, np.arange(len(owner)))))
                gather.resize((len(some), len(owner)))
                part[:, place] = (gather.tocsr() @ basis).toarray()
            parts.append(part)
        return np.concatenate(parts)

    def _profile_table(self, coefficient: FloatArray) -> FloatArray:
        n = (len(self.profile.table) - 1) // 2
        offset = np.arange(-n, n + 1) * self.profile.step_px * self.pixel_pm
        place = np.stack(np.meshgrid(offset, offset, indexing="ij"), axis=-1).reshape(-1, 2)
        table = np.zeros(len(place))
        for basis, harmonic, index in _basis_blocks(place):
            table += harmonic * (basis @ coefficient[index])
        return table.reshape(2 * n + 1, 2 * n + 1)

    def variance(self, even: IntArray) -> tuple[FloatArray, FloatArray]:
        """Variance by intensity and its gradients, and their factors; none is negative."""
        factor = self._variance_factors()
        neutral = self._variance_terms(self.columns(self.weight[even][self.group]))
        found = np.tensordot(factor, neutral, axes=1)
        found = np.maximum(found, 0.05 * self.residual.var())
        # dirt lies in patches: what is noisier than its intensity says is so over a nanometre
        excess = np.minimum(self.residual**2 / found, _MAX_EXCESS)
        local = gaussian_filter(excess, _PATCH_PM / self.pixel_pm, truncate=3.0)
        return found * np.clip(local, 0.3, None), factor

    def _variance_terms(self, model: FloatArray) -> FloatArray:
        slopes = [gaussian_filter1d(model, _SLOPE_PX, axis=a, order=1) ** 2 for a in (1, 0)]
        bright = np.clip(model + self.background, 0, None)
        return np.stack([np.ones_like(model), bright, *slopes])  # (4, H, W)

    def _variance_factors(self) -> FloatArray:
        terms = self._variance_terms(self.model).reshape(4, -1)
        chosen = self.rng.integers(0, terms.shape[1], 200_000)
        squares = self.residual.ravel()[chosen] ** 2
        # a few misfits (an unlisted adatom) must not set the noise of everything
        squares = np.minimum(squares, _MAX_EXCESS * np.median(squares) / 0.455)
        return np.asarray(nnls(terms[:, chosen].T, squares)[0])


def _basis_blocks(
    offset_pm: FloatArray,
) -> Iterator[tuple[csr_array, FloatArray, slice]]:
    """Splines of the radius `(n, k)`, a harmonic `(n,)`, and which coefficients they belong to."""
    radius = np.hypot(offset_pm[:, 0], offset_pm[:, 1])
    azimuth = np.arctan2(offset_pm[:, 0], offset_pm[:, 1])
    beyond = _KNOTS_PM[-1] * (1 - 1e-9)
    splines = csr_array(BSpline.design_matrix(np.minimum(radius, beyond), _KNOTS_PM, 3))
    # the last two are left out: value and slope end at zero
    yield splines[:, :_N_ROUND], np.ones(len(radius)), slice(0, _N_ROUND)
    start = _N_ROUND
    near = splines[:, 1 : 1 + _N_TURNING]  # the first is not zero at the column
    for order in range(1, _HARMONICS + 1):
        for wave in (np.cos(order * azimuth), np.sin(order * azimuth)):
            yield near, wave, slice(start, start + _N_TURNING)
            start += _N_TURNING


def render(
    shape: tuple[int, ...],
    position_px: FloatArray,
    weight: FloatArray,
    profile: Profile,
    shift_px: FloatArray,
) -> FloatArray:
    """Image of columns of given weights and one profile, lines shifted along x, `(H, W)`."""
    weight = np.asarray(weight, dtype=float)
    lit = np.flatnonzero(weight)
    image = np.zeros(shape[0] * shape[1])
    for start in range(0, len(lit), _CHUNK):
        part = lit[start : start + _CHUNK]
        patch, flat = column_patches(shape, position_px[part], profile, shift_px)
        value = patch * weight[part, None, None]
        inside = flat >= 0
        image += np.bincount(flat[inside], value[inside], minlength=len(image))
    return image.reshape(shape)


def column_patches(
    shape: tuple[int, ...], position_px: FloatArray, profile: Profile, shift_px: FloatArray
) -> tuple[FloatArray, IntArray]:
    """Images of unit columns on patches around them.

    Returns
    -------
    patch : array, `(n, k, k)`
    flat : array of int, `(n, k, k)`
        Index of each pixel into the flattened image; -1 outside.
    """
    half = int(np.ceil(profile.reach_px)) + 1
    offset = np.arange(-half, half + 1)
    centre = np.rint(position_px).astype(int)
    row, col = centre[:, :1] + offset, centre[:, 1:] + offset  # (n, k)
    shift = shift_px[np.clip(row, 0, shape[0] - 1)]
    dy = np.repeat((row - position_px[:, :1])[:, :, None], len(offset), axis=2)
    dx = (col - position_px[:, 1:])[:, None, :] - shift[:, :, None]
    patch = profile.at(dy, dx)
    inside = ((row >= 0) & (row < shape[0]))[:, :, None] & ((col >= 0) & (col < shape[1]))[:, None]
    flat = np.where(inside, row[:, :, None] * shape[1] + col[:, None, :], -1)
    return patch, flat
