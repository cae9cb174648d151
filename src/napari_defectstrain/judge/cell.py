"""The unit cell that an image repeats: how bright its three sites are, by the lattice alone.

A hexagonal cell has three sites of threefold symmetry: in 2H-MX2 the metal, the chalcogen pair, and
the empty centre of the hexagon. An image is cut into tiles, each small enough for one straight
lattice, and the Fourier amplitudes of every tile are read at its lattice's spots. With weights w_0,
w_1, w_2 and a column whose transfer is T(k),

    F(100) = T(1) (w_0 + w_1 e^{2 pi i / 3} + w_2 e^{-2 pi i / 3})
    F(110) = T(3) (w_0 + w_1 + w_2)

for squared lengths k^2 of 1 and 3, and so on outwards. The spots of k^2 = 1, 4 and 7 differ by T
alone, so that the image itself says how T falls, and nothing needs to be known of its blur, its
background or where the network sees which column.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, map_coordinates

from ..crystal.blank import blank_area
from ..crystal.calibration import lattice_spots
from ..types import BoolArray, FloatArray, IntArray
from .transfer import Transfer, fitted_transfer

ComplexArray = npt.NDArray[np.complexfloating]

SITE = np.array([2.0, 1.0]) / 3
"""The way from one site to the next, in units of the lattice vectors."""
TILE = 11.0
"""Side of a tile in lattice constants."""
_JOIN_PX = 12.0
"""Pixels a lattice constant to which fine images are joined."""
_LEAST_PERIODS = 4.5
_RINGS: dict[int, tuple[tuple[int, int], ...]] = {
    1: ((1, 0), (0, 1), (-1, 1)),
    3: ((1, 1), (-1, 2), (-2, 1)),
    4: ((2, 0), (0, 2), (-2, 2)),
    7: ((2, 1), (1, 2), (-1, 3), (-2, 3), (-3, 2), (-3, 1)),
}
"""Half of the spots of each squared length, in units of two {100} vectors 60 degrees apart."""
_HIGHEST = 0.46  # 1/px
_MOST_BLANK = 0.01
"""Share of a tile without data up to which it is taken."""
_SMALLER, _DENSE = (1.0, 0.8, 0.62, 0.48), 9
"""Sides of tiles that are tried where pictures have margins without data, of the usual one, and how
many a side of the picture where the usual ones hold such margins."""
_MOST_TILES, _TILES_OF_BRIGHTNESS = 5, 3  # a side
_CLEAR = 6.0  # power of the weakest {100} spot over the noise
_LEAST_METALS = 12
_SMOOTH = 0.25
"""Of the way from a column to a hexagon centre."""
_OF_MOST = (0.4, 2.0)
"""Mean brightness of the metals over that of most of them."""
_PART, _PARTS = 0.42, 3
"""Side of a small part of a tile, of the tile's, and how many there are a side."""
_MOST_MISS = 1.5  # frequency steps that a tile's spots may lie off


@dataclass(frozen=True)
class TileCell:
    """What one tile says of the cell.

    Parameters
    ----------
    weight : array, `(3,)`
        Weights of the three sites, in the order in which the lattice puts them; negative ones
        where the image is dark at its columns.
    sigma : array, `(3,)`
        Standard errors.
    shared_sigma : float
        The part of them that all tiles of the image have in common, by the transfer.
    origin_px : array, `(2,)`
        (y, x) of a site of the first kind [px of the image].
    basis_px : array, `(2, 2)`
        Two lattice vectors, columns (y, x) [px].
    slope, curve : float
        Of ln T by k^2.
    sign : float
        Mean cosine of the sum of the phases of the three {110} spots: one for bright columns, minus
        one for dark ones.
    clear : float
        Power of the weakest {100} spot over the noise.
    foreign : float
        Power of the strongest wave that is none of the lattice's, over the {100} spots' mean.
    """

    weight: FloatArray
    sigma: FloatArray
    origin_px: FloatArray
    basis_px: FloatArray
    slope: float
    curve: float
    sign: float
    clear: float
    foreign: float = 0.0
    shared_sigma: float = 0.0


@dataclass(frozen=True)
class Tile:
    """A part of an image and the cell that it repeats.

    Parameters
    ----------
    data : array, `(h, w)`
        Pixels, joined where they are fine.
    corner : array, `(2,)`
        (y, x) of the first of them [joined px].
    cell : TileCell
        In joined pixels.
    box : tuple of int
        First row and column of it, and those behind its last ones [px of the image].
    transfer : Transfer
        Of all tiles of the image.
    """

    data: FloatArray
    corner: FloatArray
    cell: TileCell
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    transfer: Transfer = field(default_factory=lambda: Transfer(0.0, 0.0))

    def at_border(self, shape: tuple[int, ...]) -> BoolArray:
        """Whether its first row and column are the image's, and its last ones, `(2, 2)`."""
        joined = (self.box[2] - self.box[0]) // self.data.shape[0]
        first, last = np.array(self.box[:2]), np.array(self.box[2:])
        return np.stack([first <= 0, last > np.array(shape) - joined])

    def parts(self) -> FloatArray:
        """Weights of the three sites in small parts of the tile, `(P, 3)`, each part's own order.

        Where two mirror twins meet, a tile shows the chalcogens of both and so no empty site; most
        of its parts hold one of them.
        """
        side = [min(n, round(_PART * n)) for n in self.data.shape]
        starts = [np.linspace(0, n - s, _PARTS).astype(int) for n, s in zip(
            self.data.shape, side, strict=True)]  # fmt: skip
        basis = np.linalg.inv(self.cell.basis_px).T
        found = []
        for y in starts[0]:
            for x in starts[1]:
                part = self.data[y : y + side[0], x : x + side[1]]
                spectrum = _spectrum_at(*_windowed(part), basis)
                if spectrum is not None:
                    found.append(spectrum.cell(self.transfer).weight)
        return np.array(found).reshape(-1, 3)


@dataclass(frozen=True)
class _TileSpectrum:
    """Amplitudes at the spots of one tile.

    `first` is the structure factor of the first kind of each ring, all spots of a ring alike, or
    the conjugate of it, and `third` that of {110}, both seen from a site; `error` their standard
    errors.
    """

    first: dict[int, complex]
    third: float
    error: dict[int, float]
    basis: FloatArray
    origin: FloatArray
    sign: float
    clear: float
    foreign: float

    @classmethod
    def of(
        cls,
        value: dict[int, ComplexArray],
        noise: dict[int, float],
        basis: FloatArray,
        clear: float,
        foreign: float,
    ) -> _TileSpectrum:
        triple = value[3][0] * value[3][2] * np.conj(value[3][1])  # (1,1) + (-2,1) = (-1,2)
        sign = float(np.cos(np.angle(triple)))
        dark = -1.0 if sign < 0 else 1.0
        origin = _origin(dark * value[3], np.array(_RINGS[3], dtype=float))
        moved = {
            k: v * np.exp(2j * np.pi * (np.array(_RINGS[k], dtype=float) @ origin))
            for k, v in value.items()
        }
        first = {k: _first_kind(moved[k], _RINGS[k]) for k in moved if k != 3}
        error = {k: noise[k] / np.sqrt(len(_RINGS[k])) for k in noise}
        third = float(moved[3].real.mean())
        return cls(first, third, error, basis, origin, sign, clear, foreign)

    @property
    def lattice(self) -> FloatArray:
        """Two lattice vectors, columns (y, x) [px]: a_i with g_i . a_j = delta_ij."""
        return np.asarray(np.linalg.inv(self.basis).T)

    def site_of(self, place: FloatArray) -> int:
        """Which of the three sites most of the columns at places `(n, 2)` [px] lie on."""
        u = place @ self.basis - self.origin
        away = [np.hypot(*(self.lattice @ _wrapped(u - k * SITE).T)) for k in range(3)]
        return int(np.bincount(np.argmin(away, axis=0), minlength=3).argmax())

    def cell(self, transfer: Transfer) -> TileCell:
        """The weights of the three sites, at a transfer that all tiles share."""
        turn, total = transfer.straightened(self.first[1], self.third)
        weight = (total + 2 * (turn * np.exp(-2j * np.pi / 3 * np.arange(3))).real) / 3
        shared = abs(total) * transfer.total_sigma / 3
        own2 = (self.error[3] / np.exp(transfer.log3)) ** 2 + 2 * self.error[1] ** 2
        sigma = np.sqrt(shared**2 + own2 / 9)
        sign = self.sign if total * self.third >= 0 else -self.sign
        return TileCell(
            np.asarray(weight),
            np.full(3, sigma),
            self.lattice @ self.origin,
            self.lattice,
            transfer.slope,
            transfer.curve,
            sign,
            self.clear,
            self.foreign,
            shared,
        )


def find_tiles(data: FloatArray, a_px: float) -> tuple[list[Tile], int]:
    """The tiles of an image that show the lattice, and how many were looked at.

    Parameters
    ----------
    data : array, `(H, W)`
        Of a large one, `_MOST_TILES` tiles spread over it are looked at.
    a_px : float
        Lattice constant [px].
    """
    found, looked_at, joined = _clear_tiles(data, a_px)
    if not found:
        return [], looked_at
    spectra = [spectrum for _, _, spectrum in found]
    transfer = fitted_transfer(
        [s.first for s in spectra], [s.third for s in spectra], [s.error for s in spectra]
    )
    tiles = []
    for tile, corner, spectrum in found:
        cell = spectrum.cell(transfer)
        first = joined * corner
        last = first + joined * np.array(tile.shape)
        box = (int(first[0]), int(first[1]), int(last[0]), int(last[1]))
        cell = replace(cell, origin_px=cell.origin_px + corner)
        tiles.append(Tile(tile, corner.astype(float), cell, box, transfer))
    return tiles, looked_at


def _clear_tiles(
    data: FloatArray, a_px: float, most: int = _MOST_TILES
) -> tuple[list[tuple[FloatArray, IntArray, _TileSpectrum]], int, int]:
    """Tiles that show the lattice with their corners, how many were looked at, pixels joined."""
    joined = max(1, round(a_px / _JOIN_PX))
    image = _joined(np.asarray(data, dtype=np.float32), joined)
    spots = lattice_spots(image)
    a = a_px / joined
    side = [min(n, round(TILE * a)) for n in image.shape]
    if spots is None or min(side) < _LEAST_PERIODS * a:
        return [], 0, joined
    blank = blank_area(data, a_px)
    if blank is None:
        y, x = (_starts(n, s, most) for n, s in zip(image.shape, side, strict=True))
        corners = [np.array([i, j]) for i in y for j in x]
    else:
        blank = _joined(blank.astype(np.float32), joined) > 0
        corners, side = _corners_with_data(blank, side, _LEAST_PERIODS * a, most)
        image = np.where(blank, image[~blank].mean() if (~blank).any() else 0.0, image)
    found = []
    for corner in corners:
        tile = image[corner[0] : corner[0] + side[0], corner[1] : corner[1] + side[1]]
        spectrum = _tile_spectrum(tile, spots)
        if spectrum is not None:
            found.append((tile, corner, spectrum))
    return found, len(corners), joined


def brightness_of_sublattices(
    data: FloatArray, a_px: float, metal_px: FloatArray
) -> tuple[float, float] | None:
    """Mean brightness of the chalcogen columns over that of most metals, and the tiles' scatter.

    By the phase of the {100} spots alone, which no blur, profile or background changes, where
    hexagon centres are empty.

    Parameters
    ----------
    data : array, `(H, W)`
    a_px : float
        Lattice constant [px].
    metal_px : array, `(N, 2)`
        Places (y, x) of metal columns [px].

    Returns
    -------
    tuple of float or None
        None where no tile tells.
    """
    found, _, joined = _clear_tiles(data, a_px, _TILES_OF_BRIGHTNESS)
    ratio, heights = [], []
    place = (np.asarray(metal_px) + 0.5) / joined - 0.5
    for tile, corner, spectrum in found:
        here = np.all((place >= corner) & (place < corner + np.array(tile.shape)), axis=1)
        if here.sum() < _LEAST_METALS or spectrum.sign < 0 or spectrum.foreign > 1.0:
            continue
        metal = spectrum.site_of(place[here] - corner)
        turn = spectrum.first[1] * np.exp(-2j * np.pi / 3 * (metal + np.arange(3)))
        of_metal, others = turn.real[0], turn.real[1:]
        centre = float(others.min())
        if of_metal > centre:
            ratio.append((float(others.max()) - centre) / (of_metal - centre))
            step = (1 + int(others.argmin())) * SITE
            heights.append(_heights(tile, place[here] - corner, spectrum.lattice @ _wrapped(step)))
    if not ratio:
        return None
    middle = float(np.median(ratio))
    scatter = 1.4826 * float(np.median(np.abs(np.array(ratio) - middle)))
    mean = float(np.clip(np.concatenate(heights).mean(), *_OF_MOST))  # of two metals, or missing
    return middle * mean, scatter * mean


def _heights(tile: FloatArray, place: FloatArray, to_centre: FloatArray) -> FloatArray:
    """Of columns above the hexagon centre beside each, in units of their median, `(n,)`."""
    smooth = gaussian_filter(tile, _SMOOTH * float(np.hypot(*to_centre)))
    beyond = place + 1.5 * to_centre
    last = np.array(tile.shape) - 1
    place = place[np.all((beyond > 0) & (beyond < last), axis=1)]
    at, beside = (
        map_coordinates(smooth, where.T, order=1, mode="nearest")
        for where in (place, place + to_centre)
    )
    return np.asarray((at - beside) / max(float(np.median(at - beside)), 1e-30))


def _starts(length: int, side: int, most: int, dense: bool = False) -> IntArray:
    count = most if dense else min(int(np.ceil(1.6 * length / side - 0.6)), most)
    return np.linspace(0, length - side, count).astype(int)


def _corners_with_data(
    blank: BoolArray, side: list[int], least: float, most: int
) -> tuple[list[IntArray], list[int]]:
    """Corners of the tiles that lie where there are data, and their sides: smaller where need be.

    Parameters
    ----------
    blank : array of bool, `(H, W)`
        Pixels without data.
    side : list of int
        Usual sides of a tile [px].
    least : float
        Least side of one [px].
    most : int
        Tiles a side of the picture.
    """
    lines = [np.flatnonzero((~blank).any(axis=1 - axis)) for axis in (0, 1)]
    if not lines[0].size:
        return [], side
    first = np.array([line[0] for line in lines])
    extent = np.array([line[-1] + 1 for line in lines]) - first
    for part in _SMALLER:
        its = [min(int(n), round(part * s)) for n, s in zip(extent, side, strict=True)]
        if min(its) < least:
            break
        for grid in (most, _DENSE):
            y, x = (
                f + _starts(n, s, grid, dense=grid == _DENSE)
                for f, n, s in zip(first, extent, its, strict=True)
            )
            corners = [
                np.array([i, j])
                for i in y
                for j in x
                if blank[i : i + its[0], j : j + its[1]].mean() <= _MOST_BLANK
            ]
            if corners:
                return (corners if grid == most else corners[:: max(1, len(corners) // 4)]), its
    return [], side


def _wrapped(u: FloatArray) -> FloatArray:
    return np.asarray(u - np.rint(u))


def _joined(image: FloatArray, count: int) -> FloatArray:
    h, w = (n // count for n in image.shape)
    return np.asarray(image[: h * count, : w * count].reshape(h, count, w, count).mean(axis=(1, 3)))


def _tile_spectrum(tile: FloatArray, spots: FloatArray) -> _TileSpectrum | None:
    z, norm = _windowed(tile)
    basis = _refined(z, spots)
    if basis is None:
        return None
    spectrum = _spectrum_at(z, norm, basis)
    return None if spectrum is None or spectrum.clear < _CLEAR else spectrum


def _windowed(tile: FloatArray) -> tuple[FloatArray, float]:
    """A tile without its mean, faded out at its rim, and the sum of the window."""
    window = np.hanning(tile.shape[0] + 2)[1:-1, None] * np.hanning(tile.shape[1] + 2)[None, 1:-1]
    return (tile - (tile * window).sum() / window.sum()) * window, float(window.sum())


def _spectrum_at(z: FloatArray, norm: float, basis: FloatArray) -> _TileSpectrum | None:
    rings = {k: np.array(h, dtype=float) @ basis.T for k, h in _RINGS.items()}
    rings = {k: g for k, g in rings.items() if np.hypot(*g.T).max() < _HIGHEST}
    if 4 not in rings:
        return None
    value = {k: _fourier(z, g) / norm for k, g in rings.items()}
    noise = {k: _noise(z, g, basis) / norm for k, g in rings.items()}
    clear = float(np.abs(value[1]).min() / noise[1]) ** 2
    foreign = _foreign(z, basis, value[1] * norm)
    return _TileSpectrum.of(value, noise, basis, clear, foreign)


def _foreign(z: FloatArray, basis: FloatArray, first: ComplexArray) -> float:
    """Power of the strongest wave off the lattice, as long as {100} or longer by half, over it."""
    power = np.abs(np.fft.rfft2(z)) ** 2
    f = np.stack(
        np.broadcast_arrays(np.fft.fftfreq(z.shape[0])[:, None], np.fft.rfftfreq(z.shape[1])[None]),
        axis=-1,
    )
    length = float(np.sqrt(2 / np.sqrt(3) * abs(np.linalg.det(basis))))
    radius = np.hypot(f[..., 0], f[..., 1]) / length
    index = f @ np.linalg.inv(basis).T
    away = (f - np.rint(index) @ basis.T) * z.shape
    off = (np.hypot(away[..., 0], away[..., 1]) > 2.6) & (radius > 0.55) & (radius < 1.6)
    return float(power[off].max() / (np.abs(first) ** 2).mean()) if off.any() else 0.0


def _fourier(z: FloatArray, g: FloatArray) -> ComplexArray:
    """Fourier amplitudes at frequencies `(K, 2)` (y, x) [1/px]."""
    y, x = np.arange(z.shape[0]), np.arange(z.shape[1])
    rows = np.exp(-2j * np.pi * g[:, :1] * y)
    columns = np.exp(-2j * np.pi * g[:, 1:] * x)
    both = np.concatenate([rows.real, rows.imag]) @ z  # z is real: half the products
    return np.asarray(((both[: len(g)] + 1j * both[len(g) :]) * columns).sum(axis=1))


def _noise(z: FloatArray, g: FloatArray, basis: FloatArray) -> float:
    """Root mean square amplitude midway between the spots of a ring and their neighbours."""
    away = np.array([[0.5, 0.0], [0.0, 0.5], [0.5, -0.5]]) @ basis.T
    near = (g[:, None] + away).reshape(-1, 2)
    power = np.abs(_fourier(z, near)) ** 2
    return float(np.sqrt(np.median(power) / np.log(2.0))) + 1e-12


def _refined(z: FloatArray, spots: FloatArray) -> FloatArray | None:
    """The two {100} vectors by the tile's own spots; None where these lie elsewhere."""
    index = np.array(_RINGS[1] + _RINGS[3], dtype=float)
    basis = spots
    step = 1.0 / np.array(z.shape)
    for reach in (0.7, 0.35):
        g = index @ basis.T
        moved = _maxima(z, g, reach * step)
        power = np.abs(_fourier(z, moved)) ** 2
        weight = power / power.max() + 1e-3
        normal = index.T @ (weight[:, None] * index)
        basis = np.linalg.solve(normal, index.T @ (weight[:, None] * moved)).T
    miss = np.hypot(*(((index @ (basis - spots).T)[:3]) / step).T)
    return basis if miss.max() < 4 * _MOST_MISS else None


def _maxima(z: FloatArray, start: FloatArray, step: FloatArray) -> FloatArray:
    """Maxima of the power near frequencies, by parabolas of its logarithm."""
    g = start.copy()
    for _ in range(2):
        for axis in (0, 1):
            offset = np.zeros(2)
            offset[axis] = step[axis]
            low, mid, high = (
                np.log(np.abs(_fourier(z, g + s * offset)) + 1e-30) for s in (-1, 0, 1)
            )
            curve = np.maximum(2 * mid - low - high, 1e-9)
            g[:, axis] += np.clip((high - low) / (2 * curve), -1.0, 1.0) * step[axis]
    return g


def _origin(value: ComplexArray, index: FloatArray) -> FloatArray:
    """Where the three {110} waves have their maxima, in units of the lattice vectors, `(2,)`."""
    step = np.arange(36) / 36
    u = np.stack(np.meshgrid(step, step, indexing="ij"), axis=-1).reshape(-1, 2)
    wave = (value * np.exp(2j * np.pi * (u @ index.T))).real.sum(axis=1)
    best = u[int(wave.argmax())]
    size = np.abs(value)
    for _ in range(3):  # least squares of the phases
        phase = np.angle(value * np.exp(2j * np.pi * (index @ best)))
        normal = index.T @ (size[:, None] * index)
        best = best - np.linalg.solve(normal, index.T @ (size * phase)) / (2 * np.pi)
    return np.asarray(best)


def _first_kind(value: ComplexArray, index: tuple[tuple[int, int], ...]) -> complex:
    """Mean structure factor of a ring, each spot turned to that of (1, 0)."""
    kind = np.array([(h - k) % 3 for h, k in index])
    return complex(np.where(kind == 1, value, np.conj(value)).mean())
