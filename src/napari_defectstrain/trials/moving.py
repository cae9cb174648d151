"""Move columns of an image by shifting what is there: nothing is simulated.

What an image shows of one column can't be cut out with scissors, for the light of its neighbours
lies over it. So every pixel's intensity above the background is shared out among the columns around
it, in proportion to what the fitted profile gives each there (deblending, as in surveys of stars:
Lupton et al. 2001, arXiv:astro-ph/0101420), each column's share is shifted, and the shares are
added up again. The shares of a pixel sum to all that is there, so that columns that aren't moved
leave it as it was to the last bit, and an error of the profile counts only in the seams between
columns, times how much more one moves than the other.

Noise isn't smoothed: what lies beyond the profile's cut-off, where there is noise alone, stays
where it is; below it the shares are shifted by phase ramps, which keep every amplitude.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter, map_coordinates

from ..columns.images.measure import ImageColumns
from ..types import CalibratedImage, DefectStrainError, FloatArray, IntArray

_TAPER = (0.95, 1.35)
"""Where a column's share begins to fall, and where it ends [a]: beyond its first neighbours."""
_BACKGROUND = 1.5
"""Sigma of the background in lattice constants: blind to the lattice."""
_FINE = 4  # points of the profile's table a pixel
_FLOOR = 1e-4  # of the profile's peak: tails that a fit leaves below zero take no share
_ROLL_OFF = 1.25  # of the cut-off, where the low-pass ends
_CHUNK = 256  # columns at a time


def move_columns(
    image: CalibratedImage, columns: ImageColumns, shift_px: FloatArray, a_px: float
) -> FloatArray:
    """The image with some of its columns shifted rigidly.

    Parameters
    ----------
    image : CalibratedImage
    columns : ImageColumns
        All columns of the image, fitted with a shared profile.
    shift_px : array, `(N, 2)`
        (y, x) by which each is shifted [px]; zero for those that stay.
    a_px : float
        Lattice constant [px].

    Returns
    -------
    array, `(H, W)`
        Floating point; exactly the image's data where nothing is moved.

    Raises
    ------
    DefectStrainError
        If the fit has no shared profile, there are as many shifts as columns, or one is larger
        than a quarter of the lattice constant.
    """
    data = np.asarray(image.data, dtype=float)
    if columns.profile is None or shift_px.shape != (len(columns), 2):
        raise DefectStrainError(
            f"{image.name}: got {len(shift_px)} shifts for {len(columns)} columns "
            f"{'without' if columns.profile is None else 'with'} a profile, expected one each "
            "and the models gaussians or profile"
        )
    largest = float(np.abs(shift_px).max(initial=0.0))
    if not largest < 0.25 * a_px:
        raise DefectStrainError(
            f"{image.name}: got a shift of {largest:.3g} px, expected less than a quarter of the "
            f"lattice constant ({a_px:.3g} px)"
        )
    moved = np.flatnonzero(np.abs(shift_px).max(axis=1) > 0) if len(shift_px) else np.zeros(0, int)
    light = columns.measured & (columns.weight > 0)
    moved = moved[light[moved]]
    if len(moved) == 0:
        return data.copy()
    painter = _Painter(columns, a_px, data.shape)
    lit = np.flatnonzero(light)
    whole = painter.sum_of(lit)
    low = _low_pass(data, painter.cutoff_per_px)
    background = gaussian_filter(low - whole, _BACKGROUND * a_px, mode="reflect")
    return np.asarray(data + painter.difference(moved, shift_px, whole, low - background))


class _Painter:
    """The fitted columns of an image in patches around each.

    Parameters
    ----------
    columns : ImageColumns
    a_px : float
    shape : tuple of int
    """

    def __init__(self, columns: ImageColumns, a_px: float, shape: tuple[int, ...]) -> None:
        self.columns = columns
        self.shape = shape
        profile = columns.profile
        assert profile is not None
        pixel_pm = columns.pixel_size_pm or 1.0
        self.cutoff_per_px = float(profile.cutoff_per_pm * pixel_pm)
        reach = _TAPER[1] * a_px
        self.half = int(np.ceil(reach)) + 1
        n = (self.half + 1) * _FINE
        offset = np.arange(-n, n + 1) / _FINE
        dy, dx = np.meshgrid(offset, offset, indexing="ij")
        table = profile.evaluate(dx * pixel_pm, -dy * pixel_pm) * pixel_pm**2
        table = np.maximum(table, _FLOOR * table[n, n])
        fall = np.clip((reach - np.hypot(dy, dx)) / (reach - _TAPER[0] * a_px), 0.0, 1.0)
        self.table = table * np.sin(np.pi / 2 * fall) ** 2
        self.origin = n

    def patches(self, which: IntArray) -> tuple[FloatArray, IntArray, IntArray]:
        """Images of some columns `(n, P, P)`, and rows and columns of their pixels `(n, P)`."""
        position = self.columns.position_px[which]
        offset = np.arange(-self.half, self.half + 1)
        centre = np.rint(position).astype(int)
        rows, cols = (centre[:, k, None] + offset for k in (0, 1))
        at = [
            (pixels - position[:, k, None]) * _FINE + self.origin
            for k, pixels in enumerate((rows, cols))
        ]
        shape = (len(which), len(offset), len(offset))
        place = [
            np.broadcast_to(at[0][:, :, None], shape).ravel(),
            np.broadcast_to(at[1][:, None, :], shape).ravel(),
        ]
        value = map_coordinates(self.table, place, order=1, mode="constant").reshape(shape)
        return value * self.columns.weight[which][:, None, None], rows, cols

    def sum_of(self, which: IntArray) -> FloatArray:
        """Image of some columns, `(H, W)`."""
        total = np.zeros(self.shape)
        for start in range(0, len(which), _CHUNK):
            value, rows, cols = self.patches(which[start : start + _CHUNK])
            self._add(total, value, rows, cols)
        return total

    def difference(
        self, moved: IntArray, shift_px: FloatArray, whole: FloatArray, light: FloatArray
    ) -> FloatArray:
        """What changes when the shares of some columns are shifted, `(H, W)`."""
        total = np.zeros(self.shape)
        for start in range(0, len(moved), _CHUNK):
            which = moved[start : start + _CHUNK]
            value, rows, cols = self.patches(which)
            inside = self._inside(rows, 0)[:, :, None] & self._inside(cols, 1)[:, None, :]
            r = np.clip(rows, 0, self.shape[0] - 1)[:, :, None]
            c = np.clip(cols, 0, self.shape[1] - 1)[:, None, :]
            around = whole[r, c]
            share = np.divide(value, around, out=np.zeros_like(value), where=around > 0)
            mine = np.where(inside, share * light[r, c], 0.0)
            self._add(total, _shifted(mine, shift_px[which]) - mine, rows, cols)
        return total

    def _inside(self, pixels: IntArray, axis: int) -> IntArray:
        return np.asarray((pixels >= 0) & (pixels < self.shape[axis]))

    def _add(self, total: FloatArray, value: FloatArray, rows: IntArray, cols: IntArray) -> None:
        inside = self._inside(rows, 0)[:, :, None] & self._inside(cols, 1)[:, None, :]
        flat = (rows[:, :, None] * self.shape[1] + cols[:, None, :])[inside]
        total += np.bincount(flat, value[inside], minlength=total.size).reshape(self.shape)


def _shifted(patches: FloatArray, shift_px: FloatArray) -> FloatArray:
    """Patches `(n, P, P)` that end in zeros, shifted by (y, x) `(n, 2)` [px]."""
    side = patches.shape[1]
    n = scipy.fft.next_fast_len(side + 4, real=True)
    spectrum = scipy.fft.rfft2(patches, s=(n, n))
    ky, kx = np.fft.fftfreq(n), np.fft.rfftfreq(n)
    spectrum *= np.exp(-2j * np.pi * shift_px[:, 0, None] * ky)[:, :, None]
    spectrum *= np.exp(-2j * np.pi * shift_px[:, 1, None] * kx)[:, None, :]
    return np.asarray(scipy.fft.irfft2(spectrum, s=(n, n))[:, :side, :side])


def _low_pass(data: FloatArray, cutoff_per_px: float) -> FloatArray:
    """The waves that columns are made of; all of them where the cut-off is beyond the pixels'."""
    if cutoff_per_px >= 0.5:
        return data
    spectrum = scipy.fft.dctn(data, norm="ortho")  # mirrored at the border: nothing rings there
    ky, kx = (np.arange(n) / (2 * n) for n in data.shape)
    k = np.hypot(ky[:, None], kx[None, :]) / cutoff_per_px
    left = np.clip((_ROLL_OFF - k) / (_ROLL_OFF - 1.0), 0.0, 1.0)
    return np.asarray(scipy.fft.idctn(spectrum * np.sin(np.pi / 2 * left) ** 2, norm="ortho"))
