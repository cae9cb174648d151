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

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.sparse import coo_array, csr_array
from scipy.spatial import cKDTree

from ..columns.images.rendering import ComplexArray, SpreadPoints
from ..types import FloatArray, IntArray
from .local_noise import LocalNoise, learn_noise
from .places import LatticePlaces
from .profile import ProfileLearner
from .relaxation import Relaxation
from .working import Sampling, WaveGrid, line_shifts, margin_mask, sampling_for, shift_lines

BACKGROUND = 1.5
"""Sigma of the background in lattice constants: blind to the lattice."""
_TILE = 5.0  # of the noise, in lattice constants
_LEVELS = 4
_PAIR_REACH = 2.2
_STEP_PM = 4.0
_LEAST_WEIGHT = 0.25  # fainter columns say nothing of their place
_RIM_A = 1.2


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
    """

    weight: FloatArray
    pull: FloatArray
    coupling: csr_array

    @property
    def information(self) -> FloatArray:
        """Diagonal of A: one over the variance of a weight, its neighbours known, `(N,)`."""
        return np.asarray(self.coupling.diagonal())

    def estimates(self, mean: FloatArray, variance: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weight of each column and its standard error, its neighbours known as well as given.

        Parameters
        ----------
        mean, variance : arrays, `(N,)`
            What is known of every column's weight.
        """
        own = self.information
        rest = self.pull - self.coupling @ (mean - self.weight)
        ratio = self.coupling.multiply(1.0 / own[:, None]).tocsr()
        ratio.data **= 2
        ratio.setdiag(0.0)
        return mean + rest / own, np.sqrt(1.0 / own + ratio @ variance)


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
        self.raw = (np.asarray(data, dtype=np.float32) - np.float32(data.mean())) / np.float32(
            self.unit
        )
        self.shift: FloatArray = np.zeros(data.shape[0])
        self.data = self.sampling.down(self.raw)
        self.mask = margin_mask(self.sampling.working, _RIM_A * self.a_px)
        self.learner = ProfileLearner(self.grid, self.a_px)
        width = (BACKGROUND * self.a_px) ** 2 * 2 * np.pi**2
        self.sharp = 1.0 - np.exp(-width * self.grid.k**2)
        self.noise_power = np.ones_like(self.grid.k)
        self.transfer: ComplexArray = np.zeros(self.grid.k.shape, dtype=np.complex64)
        self.background = np.zeros_like(self.data)
        self.ideal = self.sampling.to_working(places.ideal_px)
        self.relaxation = Relaxation(places, self.ideal, self.a_px)
        self.weight = np.array(weight, dtype=float)
        self.position = self.sampling.to_working(position_px)
        self.move(self.position - self.ideal, places.on_lattice.astype(float))

    # -- columns and background

    def move(self, moved_px: FloatArray, count: FloatArray) -> None:
        """Put the columns where the smoothed displacement says."""
        self.place_at(self.ideal + self.places.smooth(moved_px, count))

    def place_at(self, position: FloatArray) -> None:
        """Put the columns at places (y, x) of the working image."""
        self.position = position
        self.points: SpreadPoints = self.grid.spread(position)

    def model(self) -> FloatArray:
        """Image of the columns on the working pixels."""
        return self.grid.image(self.grid.waves(self.points, self.weight) * self.transfer)

    def explain(self) -> None:
        """Background and residual of the present columns."""
        self.columns = self.model()
        rest = self.data - self.columns
        self.background = gaussian_filter(rest, BACKGROUND * self.a_px, truncate=3.0)
        self.residual = rest - self.background

    def fit_profile(self) -> None:
        """Profile by the waves of the image and of its columns; the metals' weight is the unit."""
        count = map_coordinates(self.mask, self.position.T, order=1, mode="nearest")
        data = self.grid.transform((self.data - self.background) * self.mask)
        factor = self.grid.waves(self.points, self.weight * count)
        self.transfer = self.learner.fit(data, factor, self.sharp**2 / self.noise_power)

    def fit_lines(self) -> None:
        """Shift of every scan line, and the image put straight by it."""
        columns = self.sampling.up(self.columns)
        straight = shift_lines(self.raw, self.shift)
        left = straight - columns - self.sampling.up(self.background)
        self.shift = line_shifts(left, columns, self.shift)
        self.data = self.sampling.down(shift_lines(self.raw, self.shift))

    # -- noise and weights

    def fit_noise(self) -> None:
        """Spectra of the residual, and how much of each there is around every column."""
        tile = 2 * round(_TILE * self.a_px / 2)
        tile = min(tile, min(self.residual.shape) // 2 * 2)
        self.noise: LocalNoise = learn_noise(self.residual, tile)
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

    def _mixed(self, values: FloatArray, lower: IntArray, part: FloatArray) -> FloatArray:
        """Values of all levels `(L, M)` at each column's own colour."""
        row = np.arange(values.shape[1])
        return (1 - part) * values[lower, row] + part * values[lower + 1, row]

    def equations(self) -> WeightEquations:
        """The normal equations of the weights under the noise around each column."""
        level, lower, part = self._levels()
        waves = self.grid.transform(self.residual)
        pulls, tables = [], []
        step = _STEP_PM / self.sampling.pixel_pm
        reach = _PAIR_REACH * self.a_px
        for colour in level:
            noise = self._floored((1 - colour) * self.spectra[0] + colour * self.spectra[1])
            filtered = waves * (self.transfer.conj() * (self.sharp / noise))
            pulls.append(self.grid.at(self.points, filtered * self.grid.inside))
            power = np.abs(self.transfer) ** 2 * self.sharp**2 / noise
            tables.append(self.grid.lags(power, reach, step))
        n = len(self.position)
        pairs = cKDTree(self.position).query_pairs(reach, output_type="ndarray")
        row = np.concatenate([pairs[:, 0], pairs[:, 1], np.arange(n)])
        column = np.concatenate([pairs[:, 1], pairs[:, 0], np.arange(n)])
        lag = (self.position[column] - self.position[row]) / step
        middle = (len(tables[0]) - 1) / 2
        near = np.stack([map_coordinates(t, lag.T + middle, order=1) for t in tables])
        value = self._mixed(near, lower[row], part[row]) / self.loudness[row]
        pull = self._mixed(np.nan_to_num(np.stack(pulls)), lower, part) / self.loudness
        coupling = csr_array(coo_array((value, (row, column)), shape=(n, n)))
        return WeightEquations(self.weight.copy(), pull, coupling)

    # -- places

    def displacements(self) -> tuple[FloatArray, FloatArray]:
        """How far each column lies from where it is taken to be, and the variance of that.

        Returns
        -------
        step : array, `(N, 2)`
            (y, x) [working px].
        variance : array, `(N, 2)`
            [px^2]; inf for columns too faint.
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
            faint = self.weight < _LEAST_WEIGHT
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
        self.place_at(self.ideal + place)


def _on_waves(spectrum: FloatArray, tile: int, grid: WaveGrid) -> FloatArray:
    """A tile's power spectrum, as rfft2 orders it, at the waves of a grid."""
    half = spectrum.shape[1]
    full = np.roll(spectrum, tile // 2, axis=0)  # ky from -1/2
    full = np.concatenate([full, full[:1]])
    y = (grid.renderer.ky[:, 0] * tile) + tile // 2
    x = np.minimum(grid.renderer.kx[0] * tile, half - 1)
    place = np.stack(np.meshgrid(y, x, indexing="ij"))
    return np.asarray(map_coordinates(full, place, order=1, mode="nearest"))
