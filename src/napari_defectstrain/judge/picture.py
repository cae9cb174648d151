"""What an image says of itself, given where its columns are: profile, noise, and every weight.

The model is ``data[y, x + s_y] = b(y, x) + sum_j w_j P(r - r_j) + noise``: one column profile P, a
weight and a place for each column, a smooth background b, a shift s_y of every scan line, and noise
that is coloured and more so in some places. With all else known, the data say of the weights

    A w = q,    A_ij = P_i' C^-1 P_j,    q_j = P_j' C^-1 (data - b),

the normal equations of generalised least squares (Kay, *Fundamentals of Statistical Signal
Processing* I, ch. 4). C is taken as stationary around each column, so that A depends on the way
from one column to the next alone and q is a filtered image read at the columns' places.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.sparse import coo_array, csr_array
from scipy.spatial import cKDTree

from ..columns.images.rendering import ComplexArray, SpreadPoints
from ..types import FloatArray, IntArray
from .local_noise import LocalNoise, learn_noise
from .places import LatticePlaces
from .profile import ProfileLearner
from .relaxation import Relaxation
from .working import (
    LowPass,
    Sampling,
    WaveGrid,
    line_shifts,
    margin_mask,
    sampling_for,
    shift_lines,
)

BACKGROUND = 1.5
"""Sigma of the background in lattice constants: blind to the lattice."""
_TILE = 5.0  # of the noise, in lattice constants
_LEVELS = 3
_PAIR_REACH = 2.2
_LEAN_REACH = 1.3
"""Lattice constants within which it matters that a neighbour lies some picometres elsewhere."""
_STEP_PM = 4.0
_LEAST_WEIGHT = 0.25  # fainter columns say nothing of their place
_RIM_A = 1.2
_CUT_A = 0.15  # nearer to the border, too little of a column is seen to say where it is
_STEP, _STABLE = 0.8, 1.9
"""Part of the way that weights go to what their neighbours say of them, and how far all may go at
once: twice as far, and weights that overlap would be thrown to and fro ever farther."""
_MISFIT = 0.01
"""Relative error of the columns' image, by what their model leaves out."""


@dataclass(frozen=True)
class WeightEquations:
    """What an image says of its columns' weights; plain data.

    Parameters
    ----------
    weight : array, `(N,)`
        Weights that `pull` was taken at, in units of the metal's.
    pull : array, `(N,)`
        ``P_j' C^-1 (data - b - sum_i w_i P_i)``.
    coupling : sparse array, `(N, N)`
        A: ``P_j' C^-1 P_i``, each row with the noise around its own column.
    lean : array, `(N,)`, optional
        How much too heavy each column seems, to first order, because its neighbours were put where
        lattice and classes say and not where the image alone would have them.
    """

    weight: FloatArray
    pull: FloatArray
    coupling: csr_array
    lean: FloatArray | None = None

    @cached_property
    def information(self) -> FloatArray:
        """Diagonal of A: one over the variance of a weight, its neighbours known, `(N,)`."""
        return np.asarray(self.coupling.diagonal())

    @cached_property
    def step(self) -> FloatArray:
        """Part of the way to its estimate that a weight may go while its neighbours go, `(N,)`."""
        together = np.abs(self.coupling).sum(axis=1) / self.information
        return np.asarray(np.minimum(_STEP, _STABLE / together))

    @cached_property
    def _doubt(self) -> csr_array:
        """How much of a neighbour's variance is in that of each column, `(N, N)`."""
        ratio = self.coupling.multiply(1.0 / self.information[:, None]).tocsr()
        ratio.data **= 2
        ratio.setdiag(0.0)
        return ratio

    def levelled(self, factor: FloatArray, scatter: FloatArray) -> WeightEquations:
        """Equations whose estimates are divided by `factor`, and `scatter` times less sure.

        Parameters
        ----------
        factor, scatter : arrays, `(N,)`
        """
        own = self.information
        coupling = self.coupling.multiply((factor / scatter**2)[:, None]).tocsr()
        coupling.setdiag(own * (factor / scatter) ** 2)
        alone = (self.weight + self.pull / own) / factor
        lean = None if self.lean is None else self.lean / factor
        return WeightEquations(
            self.weight, (alone - self.weight) * own * (factor / scatter) ** 2, coupling, lean
        )

    def freed(self, part: float) -> WeightEquations:
        """Equations with the neighbours a part of the way to where the image alone has them."""
        if self.lean is None:
            return self
        pull = self.pull - part * self.lean * self.information
        return WeightEquations(self.weight, pull, self.coupling, (1.0 - part) * self.lean)

    def estimates(self, mean: FloatArray, variance: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weight of each column and its standard error, its neighbours known as well as given.

        Parameters
        ----------
        mean, variance : arrays, `(N,)`
            What is known of every column's weight.
        """
        own = self.information
        rest = self.pull - self.coupling @ (mean - self.weight)
        return mean + rest / own, np.sqrt(1.0 / own + self._doubt @ variance)


class Picture:
    """An image being explained; each method improves one part and leaves the others.

    Parameters
    ----------
    data : array, `(H, W)`
    pixel_pm, a_pm, sigma_pm : float
        Side of a pixel, lattice constant, and width of a column [pm].
    places : LatticePlaces
    position_px : array, `(N, 2)`
        Where the columns were found [px].
    weight : array, `(N,)`
        First guess.
    """

    def __init__(
        self,
        data: FloatArray,
        pixel_pm: float,
        a_pm: float,
        sigma_pm: float,
        places: LatticePlaces,
        position_px: FloatArray,
        weight: FloatArray,
    ) -> None:
        self.places = places
        self.sampling: Sampling = sampling_for(data.shape, pixel_pm, sigma_pm)
        self.grid = WaveGrid(self.sampling)
        self.a_px = a_pm / self.sampling.pixel_pm
        self.unit = float(data.std())
        scaled = (np.asarray(data, dtype=np.float32) - np.float32(data.mean())) / np.float32(
            self.unit
        )
        self.raw = self.sampling.lines(scaled)
        self.straight = self.raw
        self.shift: FloatArray = np.zeros(data.shape[0])
        self.smooth = LowPass(self.sampling.working, BACKGROUND * self.a_px)
        mask = margin_mask(self.sampling.working, _RIM_A * self.a_px)
        self.mask: FloatArray = mask.astype(np.float32)
        self._read_lines()
        self.learner = ProfileLearner(self.grid, self.a_px)
        width = (BACKGROUND * self.a_px) ** 2 * 2 * np.pi**2
        self.sharp = (1.0 - np.exp(-width * self.grid.k**2)).astype(np.float32)
        self.noise_power: FloatArray = np.ones(self.grid.k.shape, dtype=np.float32)
        self.transfer: ComplexArray = np.zeros(self.grid.k.shape, dtype=np.complex64)
        self.noise: LocalNoise | None = None
        self.background = np.zeros_like(self.data)
        self.ideal = self.sampling.to_working(places.ideal_px)
        edge = np.array(self.sampling.working) - 1.0
        beside = np.minimum(self.ideal, edge - self.ideal).min(axis=1)
        self.cut = beside < _CUT_A * self.a_px
        self.relaxation = Relaxation(places, self.ideal, self.a_px)
        self.weight = np.array(weight, dtype=float)
        self.position = self.sampling.to_working(position_px)
        self.left: FloatArray = np.zeros_like(self.position)  # to where the image alone has them
        self.move(self.position - self.ideal, places.on_lattice.astype(float))

    # -- columns and background

    def move(self, moved_px: FloatArray, count: FloatArray) -> None:
        """Put the columns where the smoothed displacement says."""
        self.place_at(self.ideal + self.places.smooth(moved_px, count))

    def place_at(self, position: FloatArray) -> None:
        """Put the columns at places (y, x) of the working image."""
        self.position = position
        self.points: SpreadPoints = self.grid.spread(position)

    def explain(self) -> None:
        """Background and residual of the present columns."""
        self.columns = self.grid.waves(self.points, self.weight) * self.transfer
        rest = self.data - self.grid.image(self.columns)
        self.background = self.smooth(rest)
        self.residual = rest - self.background

    def fit_profile(self) -> None:
        """Profile by the waves of the image and of its columns; the metals' weight is the unit.

        Both are compared without their local mean and under the same window: of a background
        nothing is left, and the mean of the columns isn't asked for in an image that has lost it.
        """
        count = map_coordinates(self.mask, self.position.T, order=1, mode="nearest")
        mean = self.grid.transform(self.mask * self.smooth(self._density()))
        factor = self.grid.waves(self.points, self.weight * count) - mean
        # strong waves can't be better than the model of the columns is
        model = (_MISFIT * np.abs(self.transfer * factor)) ** 2
        power = self.noise_power * float((self.mask**2).sum())
        self.transfer = self.learner.fit(self._contrast, factor, 1.0 / (power + model))

    def _density(self) -> FloatArray:
        """Weight of the columns in every pixel."""
        h, w = self.data.shape
        y, x = np.rint(self.position).astype(int).T
        inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
        density = np.bincount(y[inside] * w + x[inside], self.weight[inside], minlength=h * w)
        return density.reshape(h, w).astype(np.float32)

    def fit_lines(self) -> None:
        """Shift of every scan line, and the image put straight by it."""
        left = self.straight - self.sampling.up(self.data - self.residual)
        slope = self.grid.image(self.columns * (2j * np.pi * self.grid.renderer.kx))
        self.shift = line_shifts(left, self.sampling.up(slope), self.shift)
        self.straight = shift_lines(self.raw, self.shift)
        self._read_lines()

    def _read_lines(self) -> None:
        self.data = self.sampling.down(self.straight)
        self._contrast = self.grid.transform((self.data - self.smooth(self.data)) * self.mask)

    # -- noise and weights

    def fit_noise(self) -> None:
        """Spectra of the residual, and how much of each there is around every column."""
        tile = 2 * round(_TILE * self.a_px / 2)
        tile = min(tile, min(self.residual.shape) // 2 * 2)
        self.noise = learn_noise(self.residual, tile, self.noise)
        step = tile / 2
        place = np.clip((self.position.T - step + 0.5) / step, 0, None)
        amplitude = np.stack(
            [map_coordinates(a, place, order=1, mode="nearest") for a in self.noise.amplitude]
        )
        self.loudness = np.maximum(amplitude.sum(axis=0), 1e-12)
        self.relative_loudness = self.loudness / float(np.mean(self.loudness))
        self.colour = amplitude[1] / self.loudness
        self.spectra = [_on_waves(s, tile, self.grid) for s in self.noise.spectra]
        mean = self.noise.amplitude.mean(axis=(1, 2))
        self.noise_power = self._floored(mean[0] * self.spectra[0] + mean[1] * self.spectra[1])

    def _floored(self, power: FloatArray) -> FloatArray:
        return np.asarray(np.maximum(power, 0.05 * np.median(power[self.grid.inside])))

    def _levels(self) -> tuple[FloatArray, IntArray, FloatArray]:
        """Colours that filters are made for, and each column's place between two of them."""
        low, high = np.quantile(self.colour, [0.02, 0.98])
        level = np.linspace(low, max(high, low + 1e-3), _LEVELS)
        place = np.clip((self.colour - level[0]) / (level[1] - level[0]), 0, _LEVELS - 1 - 1e-9)
        lower = place.astype(int)
        return level, lower, place - lower

    @cached_property
    def _pairs(self) -> tuple[IntArray, IntArray]:
        """Columns near enough to share light."""
        reach = _PAIR_REACH * self.a_px
        pairs = cKDTree(self.position).query_pairs(reach, output_type="ndarray")
        return pairs[:, 0], pairs[:, 1]

    def equations(self, lean: bool = True) -> WeightEquations:
        """The normal equations of the weights under the noise around each column.

        Parameters
        ----------
        lean : bool
            Whether to say, too, what they owe to where neighbours were put.
        """
        level, lower, part = self._levels()
        waves = self.grid.transform(self.residual)
        pulls, tables = [], []
        step = _STEP_PM / self.sampling.pixel_pm
        reach = _PAIR_REACH * self.a_px
        for colour in level:
            noise = self._floored((1 - colour) * self.spectra[0] + colour * self.spectra[1])
            filtered = self.transfer.conj() * (self.sharp / noise * self.grid.inside)
            pulls.append(self.grid.at(self.points, waves * filtered))
            power = (filtered * self.transfer).real * self.sharp
            tables.append(self.grid.lags(power, reach, step))
        n = len(self.position)
        first, second = self._pairs
        table = np.stack(tables, axis=-1)
        near = _read_table(table, (self.position[second] - self.position[first]) / step)
        own = table[len(table) // 2, len(table) // 2]
        weight = np.zeros((n, _LEVELS), dtype=np.float32)  # of the levels at every column
        weight[np.arange(n), lower], weight[np.arange(n), lower + 1] = 1 - part, part
        weight /= self.loudness[:, None]
        value = [(near * weight[of]).sum(axis=1) for of in (first, second)]
        pull = (np.nan_to_num(np.stack(pulls, axis=1)) * weight).sum(axis=1)
        owed = None
        if lean:
            owed = self._moved_light(table, near, weight, step) / np.maximum(weight @ own, 1e-12)
        coupling = csr_array(
            coo_array(
                (
                    np.concatenate([*value, weight @ own]).astype(float),
                    (
                        np.concatenate([first, second, np.arange(n)]),
                        np.concatenate([second, first, np.arange(n)]),
                    ),
                ),
                shape=(n, n),
            )
        )
        return WeightEquations(self.weight.copy(), pull, coupling, owed)

    def _moved_light(
        self, table: FloatArray, near: FloatArray, weight: FloatArray, step_px: float
    ) -> FloatArray:
        """What each pull would lose if the neighbours lay where the image alone has them, `(N,)`.

        Arguments as in `equations`: products of two columns' images by the way between them, those
        of the pairs, and the levels at every column.
        """
        first, second = self._pairs
        way = self.position[second] - self.position[first]
        close = (way**2).sum(axis=1) < (_LEAN_REACH * self.a_px) ** 2
        first, second, way, near = first[close], second[close], way[close], near[close]
        lost = np.zeros(len(self.position))
        for of, neighbour, sign in ((first, second, 1.0), (second, first, -1.0)):
            moved = _read_table(table, (way + sign * self.left[neighbour]) / step_px) - near
            light = self.weight[neighbour] * (moved * weight[of]).sum(axis=1)
            lost += np.bincount(of, light, minlength=len(lost))
        return lost

    # -- places

    def displacements(self) -> tuple[FloatArray, FloatArray]:
        """How far each column lies from where it is taken to be, and the variance of that.

        Returns
        -------
        step : array, `(N, 2)`
            (y, x) [working px].
        variance : array, `(N, 2)`
            [px^2]; inf for columns too faint, or cut by the border.
        """
        r = self.grid.renderer
        waves = self.grid.transform(self.residual)
        noise = self.noise_power
        filtered = waves * (self.transfer.conj() * (self.sharp / noise)) * self.grid.inside
        power = np.abs(self.transfer) ** 2 * self.sharp**2 / noise * self.grid.count
        steps, variances = [], []
        heavy = np.maximum(self.weight, 1e-3)
        for k in (r.ky, r.kx):
            # d/dr_j of P(r - r_j): -2 pi i k P; its conjugate reads the gradient
            gradient = self.grid.at(self.points, filtered * (2j * np.pi * k).astype(np.complex64))
            information = float(((2 * np.pi * k) ** 2 * power).sum() / self.grid.pixels)
            steps.append(np.nan_to_num(gradient) / (heavy * information))
            faint = (self.weight < _LEAST_WEIGHT) | self.cut
            variance = self.relative_loudness / (heavy**2 * information)
            variances.append(np.where(faint, np.inf, variance * np.ones(len(heavy))))
        return np.stack(steps, axis=1), np.stack(variances, axis=1)

    def settle(self, share: FloatArray) -> None:
        """Put every column where the lattice, the defects around and the image say.

        The lattice's own displacement is smooth; each class of defects moves its surroundings
        alike; what is left of a column's displacement counts by what it is worth beside its error.

        Parameters
        ----------
        share : array, `(N, C)`
            How far each column is of each class of defects.
        """
        step, variance = self.displacements()
        raw = self.position + step - self.ideal
        known = np.isfinite(variance[:, 0])
        count = np.where(known, 1.0 / variance.mean(axis=1), 0.0)
        fields = self.relaxation.fields(share)
        by_defects: FloatArray = np.zeros_like(raw)
        for _ in range(2):
            smooth = self.places.smooth(raw - by_defects, count)
            by_defects = self.relaxation.fitted(fields, raw - smooth, variance)
        expected = smooth + by_defects
        rest = raw - expected
        sure = known & self.places.is_metal & self.places.on_lattice
        error2 = np.median(variance[sure], axis=0)
        own2 = (1.4826 * np.median(np.abs(rest[sure]), axis=0)) ** 2 - error2
        own2 = np.maximum(own2, 0.1 * error2)
        part = np.where(known[:, None], own2 / (own2 + variance), 0.0)
        place = np.where(self.places.on_lattice[:, None], expected + part * rest, raw)
        settled = known & self.places.on_lattice
        self.left = np.where(settled[:, None], (1.0 - part) * rest, 0.0)
        self.place_at(self.ideal + place)


def _read_table(table: FloatArray, place: FloatArray) -> FloatArray:
    """Values of a table `(2 n + 1, 2 n + 1, L)` at places (y, x) from its middle, `(P, L)`."""
    size = len(table)
    place = np.clip(place + (size - 1) / 2, 0, size - 1.001)
    low = place.astype(int)
    part = (place - low).astype(np.float32)
    y, x = part[:, :1], part[:, 1:]
    flat = table.reshape(size * size, -1)
    at = low[:, 0] * size + low[:, 1]
    upper = flat[at] * (1 - x) + flat[at + 1] * x
    return np.asarray(upper * (1 - y) + (flat[at + size] * (1 - x) + flat[at + size + 1] * x) * y)


def _on_waves(spectrum: FloatArray, tile: int, grid: WaveGrid) -> FloatArray:
    """A tile's power spectrum, as rfft2 orders it, at the waves of a grid."""
    half = spectrum.shape[1]
    full = np.roll(spectrum, tile // 2, axis=0)  # ky from -1/2
    full = np.concatenate([full, full[:1]])
    y = (grid.renderer.ky[:, 0] * tile) + tile // 2
    x = grid.renderer.kx[0] * tile
    rows, columns = _between(y, len(full)), _between(x, half)
    return np.asarray(rows @ (columns @ full.T).T, dtype=np.float32)


def _between(place: FloatArray, n: int) -> csr_array:
    """Linear interpolation in n values, `(len(place), n)`."""
    place = np.clip(place, 0, n - 1 - 1e-6)
    low = place.astype(int)
    part = place - low
    row = np.arange(len(place))
    entries = np.concatenate([1 - part, part]), (np.tile(row, 2), np.concatenate([low, low + 1]))
    return csr_array(entries, shape=(len(place), n))
