"""The hexagon of spots of a picture that holds few periods, by how much of its power it explains.

Where a picture is five periods wide, a spot is as wide as the way to the next one, and nothing
between them tells the background. Then a lattice is judged as a whole: its spots must hold more of
the power than the area that they cover.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import scipy.fft
from scipy.ndimage import maximum_filter

from ..types import FloatArray

EXPLAINED = 0.55
"""Least excess of power in the spots, see `explained`, of what counts as a lattice."""
_PADDING = 4
_PEAKS = 24
_WIDE = 1.4  # radius of a spot in frequency steps of the tile
_CLOSES = 0.9
_WEAKEST = 0.03
"""Least power of a {100} spot as a share of that of the strongest spot."""
_MOST_SHEAR = 0.25


class PowerMap:
    """The power of a windowed tile on a fine grid, rows in order of fy.

    Parameters
    ----------
    z : array, `(h, w)`
        Flattened, windowed tile.
    limit : float
        Highest frequency looked at [1/px].
    """

    def __init__(self, z: FloatArray, limit: float) -> None:
        size = [scipy.fft.next_fast_len(_PADDING * n, real=True) for n in z.shape]
        power = np.abs(scipy.fft.fftshift(scipy.fft.rfft2(z, s=size), axes=0)) ** 2
        fy = scipy.fft.fftshift(scipy.fft.fftfreq(size[0]))
        fx = scipy.fft.rfftfreq(size[1])
        rows, columns = np.abs(fy) < limit, fx < limit
        self.power: FloatArray = power[np.ix_(rows, columns)]
        self.fy, self.fx = fy[rows], fx[columns]
        self.step = 1.0 / np.array(z.shape)  # (y, x) [1/px]: a tile's own resolution
        self.limit = limit

    def peaks(self, low: float) -> tuple[FloatArray, FloatArray]:
        """The strongest maxima beyond a frequency, (y, x) `(P, 2)` [1/px], and their power."""
        radius = np.hypot(self.fy[:, None], self.fx[None])
        top = (self.power == maximum_filter(self.power, 2 * _PADDING - 1)) & (radius > low)
        where = np.argwhere(top)
        where = where[np.argsort(-self.power[top])[:_PEAKS]]
        g = np.stack([self.fy[where[:, 0]], self.fx[where[:, 1]]], axis=1)
        return g, self.power[where[:, 0], where[:, 1]]

    def explained(self, basis: FloatArray, low: float) -> float:
        """How much more of the power the spots of a lattice hold than of the area, 0-1.

        The share of power beyond `low` within a spot's width of the lattice, less the share of the
        area, over what is left of that: one for a lattice alone, about 0 for noise, and less for a
        lattice that is finer or coarser than the picture's.
        """
        f = np.stack(np.broadcast_arrays(self.fy[:, None], self.fx[None]), axis=-1)
        radius = np.hypot(f[..., 0], f[..., 1])
        index = f @ np.linalg.inv(basis).T
        away = (f - np.rint(index) @ basis.T) / self.step
        origin = np.all(np.rint(index) == 0, axis=-1)
        band = (radius > low) & (radius < self.limit)
        spot = band & (np.hypot(away[..., 0], away[..., 1]) < _WIDE) & ~origin
        area = float(spot.sum() / max(band.sum(), 1))
        share = float(self.power[spot].sum() / max(self.power[band].sum(), 1e-300))
        return (share - area) / max(1.0 - area, 1e-9)


def hexagon_of_few_periods(
    z: FloatArray, low: float, high: float
) -> tuple[FloatArray, float] | None:
    """Two {100} vectors 60 degrees apart and how well they explain the power.

    Parameters
    ----------
    z : array, `(h, w)`
        Flattened, windowed tile.
    low, high : float
        Bounds of the length of {100} vectors [1/px].

    Returns
    -------
    basis : array, `(2, 2)`
        Columns (y, x) [1/px].
    explained : float

    None where no hexagon explains as much as `EXPLAINED`.
    """
    spectrum = PowerMap(z, min(2.1 * high, 0.48))
    g, power = spectrum.peaks(0.8 * low)
    if len(g) < 3:
        return None
    g = np.concatenate([g, -g])
    power = np.tile(power, 2)
    best: tuple[FloatArray, float] | None = None
    for i, j in combinations(range(len(g)), 2):
        basis = _hexagon(g[i], g[j], low, high)
        if basis is None:
            continue
        gap = (basis[:, 1] - basis[:, 0] - g) / spectrum.step
        distance = np.hypot(gap[:, 0], gap[:, 1])
        third = int(distance.argmin())
        if distance[third] > _CLOSES or power[[i, j, third]].min() < _WEAKEST * power.max():
            continue
        value = spectrum.explained(basis, 0.8 * low)
        if value > EXPLAINED and (best is None or value > best[1]):
            best = basis, value
    return best


def _hexagon(p: FloatArray, q: FloatArray, low: float, high: float) -> FloatArray | None:
    """Two vectors as a basis, the second turned onwards by some 60 degrees; None if they aren't."""
    size = float(np.hypot(*p)), float(np.hypot(*q))
    turn = float(np.rad2deg(np.arctan2(p[0] * q[1] - p[1] * q[0], p @ q)))
    if abs(abs(turn) - 60.0) > 12.0 or abs(np.log(size[0] / size[1])) > _MOST_SHEAR:
        return None
    basis = np.stack([p, q] if turn > 0 else [q, p], axis=1)
    length = float(np.sqrt(2 / np.sqrt(3) * abs(np.linalg.det(basis))))
    return basis if low <= length <= high else None
