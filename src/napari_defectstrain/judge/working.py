"""The image that is judged: lines put straight, and resampled to the pixels its columns need.

A column's image holds nothing beyond the optics' cut-off. At two pixels a shortest wave every
transform costs a fourth of what it does on the microscope's pixels, and nothing is lost but noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft

from ..columns.images.rendering import ColumnRenderer, ComplexArray, SpreadPoints
from ..types import FloatArray

CUTOFF_SIGMA = 0.65
"""Cut-off of a column's transfer function times the sigma of its image: 2.4e-4 is left there."""
_NYQUIST_SHARE = 0.46  # cut-off times pixel at the working sampling
_LEAST_SIGMA_PX = 2.2  # keeps the renderer on one point a pixel; its error is then below 1e-4
_MIRROR_PX = 24
_LEAST_LEFT = 1e-4


@dataclass(frozen=True)
class Sampling:
    """How the pixels of an image and those it is judged on belong together.

    Parameters
    ----------
    shape, working : tuple of int
        Shapes of the image and of the one that is judged.
    pixel_pm : float
        Side of the latter's pixels [pm].
    cutoff_per_px : float
        Where columns' transfer functions end, in its pixels.
    """

    shape: tuple[int, int]
    working: tuple[int, int]
    pixel_pm: float
    cutoff_per_px: float

    @property
    def scale(self) -> FloatArray:
        """Pixels of the working image a pixel of the image, (y, x)."""
        return np.asarray(np.array(self.working) / np.array(self.shape))

    def to_working(self, position_px: FloatArray) -> FloatArray:
        """Positions in the image to those in the working one; outer edges coincide."""
        return np.asarray((position_px + 0.5) * self.scale - 0.5)

    def to_image(self, position_px: FloatArray) -> FloatArray:
        """The way back."""
        return np.asarray((position_px + 0.5) / self.scale - 0.5)

    def lines(self, image: FloatArray) -> FloatArray:
        """The scan lines of an image, each resampled to the working pixels, `(H, w)`.

        The cosine transform, cut.
        """
        return _resampled(image, self.working[1], 1)

    def down(self, lines: FloatArray) -> FloatArray:
        """The working image of scan lines."""
        return _resampled(lines, self.working[0], 0)

    def up(self, image: FloatArray) -> FloatArray:
        """A working image at the scan lines of the image, `(H, w)`."""
        return _resampled(image, self.shape[0], 0)


def sampling_for(shape: tuple[int, int], pixel_pm: float, sigma_pm: float) -> Sampling:
    """Working pixels for columns of a given width; never finer than the image's own."""
    cutoff_per_pm = min(CUTOFF_SIGMA / sigma_pm, _NYQUIST_SHARE / pixel_pm)
    target = _NYQUIST_SHARE / cutoff_per_pm
    working = tuple(max(32, round(n * pixel_pm / target)) for n in shape)
    working = tuple(min(w, n) for w, n in zip(working, shape, strict=True))
    working_pm = pixel_pm * float(np.sqrt(np.prod(shape) / np.prod(working)))
    cutoff = min(cutoff_per_pm * working_pm, 0.48)
    return Sampling(shape, (working[0], working[1]), working_pm, cutoff)


def _resampled(image: FloatArray, n: int, axis: int) -> FloatArray:
    old = image.shape[axis]
    if n == old:
        return np.asarray(image, dtype=np.float32)
    spectrum = scipy.fft.dct(np.asarray(image, dtype=np.float32), axis=axis, norm="ortho")
    if n < old:
        spectrum = spectrum[:n] if axis == 0 else spectrum[:, :n]
    spectrum = spectrum * np.float32(np.sqrt(n / old))
    return np.asarray(scipy.fft.idct(spectrum, n=n, axis=axis, norm="ortho"))


def shift_lines(lines: FloatArray, shift_px: FloatArray) -> FloatArray:
    """Each line read at ``x + shift``: what was scanned too far to the right comes back."""
    width = lines.shape[1]
    pad = min(_MIRROR_PX, width)
    n = scipy.fft.next_fast_len(width + 2 * pad, real=True)
    # mirrored at both ends: nothing wraps around
    mirrored = np.pad(lines, ((0, 0), (pad, pad)), mode="symmetric")
    spectrum = scipy.fft.rfft(mirrored, n=n, axis=1)
    wave = np.arange(spectrum.shape[1], dtype=np.float32) / n
    turn = (2 * np.pi * np.asarray(shift_px)[:, None]).astype(np.float32) * wave
    spectrum *= np.cos(turn) + 1j * np.sin(turn)
    return np.asarray(scipy.fft.irfft(spectrum, n=n, axis=1)[:, pad : pad + width])


def line_shifts(residual: FloatArray, slope: FloatArray, before: FloatArray) -> FloatArray:
    """Shift of every line by what is left of it, all of its columns moving together.

    Parameters
    ----------
    residual : array, `(H, w)`
        Data, its lines already moved back by `before`, less the model.
    slope : array, `(H, w)`
        Derivative along x of the image of the columns [1/px].
    before : array, `(H,)`
        [px].

    Returns
    -------
    array, `(H,)`
        Total shift [px], shrunk by its own error.
    """
    power = np.maximum((slope**2).sum(axis=1), 1e-12)
    shift = before - (slope * residual).sum(axis=1) / power
    error2 = residual.var() / power
    # the median of squares is 0.455 variances
    spread2 = max(float(np.median(shift**2)) / 0.455 - float(np.median(error2)), 0.0)
    return np.asarray(shift * spread2 / (spread2 + error2 + 1e-12))


class LowPass:
    """A Gaussian average, the image mirrored beyond its rim: its lowest cosines.

    Parameters
    ----------
    shape : tuple of int
    sigma_px : float
    """

    def __init__(self, shape: tuple[int, int], sigma_px: float) -> None:
        self._cosines = tuple(_lowest_cosines(n, sigma_px) for n in shape)

    def __call__(self, image: FloatArray) -> FloatArray:
        """The average around every pixel."""
        y, x = self._cosines
        return np.asarray(y.T @ ((y @ image @ x.T) @ x))


def _lowest_cosines(n: int, sigma_px: float) -> FloatArray:
    """Orthonormal cosines times the root of what the average leaves of them, `(k, n)`."""
    order = np.arange(n)
    left = np.exp(-0.5 * (np.pi * sigma_px * order / n) ** 2)
    order = order[left > _LEAST_LEFT]
    cosine = np.cos(np.pi / n * order[:, None] * (np.arange(n) + 0.5)) * np.sqrt(2 / n)
    cosine[0] /= np.sqrt(2)
    return np.asarray(cosine * np.sqrt(left[: len(order), None]), dtype=np.float32)


class WaveGrid:
    """Columns and images as plane waves below the cut-off, of a working image.

    Parameters
    ----------
    sampling : Sampling
    """

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self.renderer = ColumnRenderer(
            sampling.working, _LEAST_SIGMA_PX, sampling.cutoff_per_px, np.float32
        )
        r = self.renderer
        self.pixels = r.grid[0] * r.grid[1] / r.oversampling**2
        """Pixels of a period of the waves."""
        self.k = np.hypot(r.ky, r.kx)  # 1/px
        self.azimuth = np.arctan2(r.ky, np.broadcast_to(r.kx, self.k.shape))
        half = np.full(self.k.shape, 2.0)  # the half of the waves that isn't kept
        half[:, 0] = 1.0
        self.inside = self.k <= sampling.cutoff_per_px
        self.count = half * self.inside

    def spread(self, position_px: FloatArray) -> SpreadPoints:
        """Columns at places (y, x) of the working image, ready for waves."""
        return self.renderer.spread(position_px)

    def waves(self, points: SpreadPoints, weight: FloatArray) -> ComplexArray:
        """Structure factor of weighted columns."""
        return self.renderer.structure_factor(points, weight)

    def image(self, waves: ComplexArray) -> FloatArray:
        """The image of waves, on the working pixels."""
        return self.renderer.image(waves)

    def transform(self, image: FloatArray) -> ComplexArray:
        """Waves of a working image, zero around it."""
        r = self.renderer
        s, first = r.oversampling, (r.pad // 2) * r.oversampling
        h, w = image.shape
        grid = np.zeros(r.grid, dtype=np.float32)
        grid[first : first + s * h : s, first : first + s * w : s] = image
        my, mx = r.ky.shape[0] // 2, r.kx.shape[1] - 1
        rows = scipy.fft.rfft(grid, axis=1)[:, : mx + 1]
        full = scipy.fft.fft(np.ascontiguousarray(rows), axis=0)
        return np.concatenate([full[: my + 1], full[-my:]])

    def at(self, points: SpreadPoints, waves: ComplexArray) -> FloatArray:
        """Value of an image, given by its waves, at the columns' places, `(N,)`; NaN outside."""
        r = self.renderer
        return np.asarray(r.values(waves, points) / self.pixels)

    def lags(self, power: FloatArray, reach_px: float, step_px: float) -> FloatArray:
        """Image of real, even waves around the origin, in steps, `(2 n + 1, 2 n + 1)`."""
        n = int(np.ceil(reach_px / step_px)) + 1
        offset = np.arange(-n, n + 1) * step_px
        r = self.renderer
        y = 2 * np.pi * offset[n:, None] * r.ky[:, 0]  # (l, ky)
        x = 2 * np.pi * r.kx[0][:, None] * offset  # (kx, l)
        power = (power * self.count).astype(np.float32)
        cosine = (np.cos(y).astype(np.float32) @ power) @ np.cos(x).astype(np.float32)
        sine = (np.sin(y).astype(np.float32) @ power) @ np.sin(x).astype(np.float32)
        half = (cosine - sine) / self.pixels  # even: the other half is this one turned
        return np.asarray(np.concatenate([half[:0:-1, ::-1], half]), dtype=np.float32)


def margin_mask(shape: tuple[int, ...], width_px: float) -> FloatArray:
    """One inside, falling to zero at the rim over a width [px]."""
    sides = []
    for n in shape:
        d = np.minimum(np.arange(n), np.arange(n)[::-1]) + 0.5
        sides.append(np.sin(np.pi / 2 * np.clip(d / width_px, 0, 1)) ** 2)
    return np.asarray(sides[0][:, None] * sides[1])


def read_table(table: FloatArray, place: FloatArray) -> FloatArray:
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
