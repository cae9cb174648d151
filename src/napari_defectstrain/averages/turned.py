"""An image turned into the lattice frame once, from which windows are cut without turning.

Each pixel of a window that is cut from the image itself takes the 36 coefficients around a place of
its own. In an image that is turned already, all pixels of a window lie at the same fraction of a
pixel: two convolutions of six weights give them, in a twentieth of the time. What was interpolated
twice has a little less noise at the highest frequencies; that is good enough to register windows
by, not to measure them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.interpolate import BSpline
from scipy.ndimage import map_coordinates, spline_filter

from ..progress import shared_out
from ..types import FloatArray, ImageLattice, IntArray
from .windows import CHUNK, SPLINE_ORDER, WindowFrame, WindowSource

_FADED_PX = 16
"""As far as a pixel is felt by the coefficients around it (0.43 of its part is left a pixel on)."""
_STRIP_PX = 1 << 18
_TAPS = SPLINE_ORDER + 1
_BASIS = BSpline.basis_element(np.arange(_TAPS + 1) - 0.5 * _TAPS, extrapolate=False)


@dataclass(frozen=True)
class TurnedImage:
    """A part of an image in the lattice frame.

    Parameters
    ----------
    coefficients : array, `(H, W)`
        B-spline coefficients of it; float32.
    first : array of int, `(2,)`
        Row and column of its first pixel, counted from the image's pixel (0, 0).
    lattice : ImageLattice
        That of the domain it was turned for.
    frame : WindowFrame
        Of the windows that are cut out of it.
    height : float
        As in `WindowSource`.
    """

    coefficients: FloatArray
    first: IntArray
    lattice: ImageLattice
    frame: WindowFrame
    height: float

    @classmethod
    def of(cls, source: WindowSource, corners: IntArray, frame: WindowFrame) -> Self:
        """Turn what lies between two pixels of the lattice frame, `turned_corners`."""
        first = corners[0]
        rows, columns = corners[1] - first + 1
        turned = np.zeros((rows, columns), dtype=np.float32)
        high = max(1, _STRIP_PX // int(columns))
        last = np.array(source.coefficients.shape) - 1 + _FADED_PX

        def fill(start: int) -> None:
            strip = turned[start : start + high]
            row, column = np.indices(strip.shape, dtype=float).reshape(2, -1)
            x, y = column + first[1], -(row + start + first[0])
            place = frame.step_pm * source.lattice.matrix @ np.stack([x, y])  # (2, n) px
            near = np.flatnonzero(((place >= -_FADED_PX) & (place <= last[:, None])).all(axis=0))
            strip.reshape(-1)[near] = map_coordinates(
                source.coefficients,
                place[:, near],
                order=SPLINE_ORDER,
                mode="mirror",
                prefilter=False,
            )

        shared_out(fill, range(0, int(rows), high), algebra=False)
        spline_filter(turned, SPLINE_ORDER, output=turned, mode="mirror")
        return cls(turned, first, source.lattice, frame, source.height)

    def cut(self, centre_px: FloatArray) -> FloatArray:
        """Windows around centres `(N, 2)` [px of the image], as `WindowSource.cut` gives them."""
        half, side = self.frame.half, self.frame.shape[0]
        place = _in_frame(centre_px, self.lattice, self.frame.step_pm) - self.first
        whole = np.floor(place).astype(np.intp)
        tap = np.arange(_TAPS) - (_TAPS // 2 - 1)
        weight = _BASIS((place - whole)[:, :, None] - tap).astype(np.float32)  # (n, 2, taps)
        start = whole - half + tap[0]
        around = sliding_window_view(self.coefficients, (side + _TAPS - 1,) * 2)
        windows = np.empty((len(place), side, side), dtype=np.float32)

        def fill(begin: int) -> None:
            some = slice(begin, begin + CHUNK)
            block = around[start[some, 0], start[some, 1]]
            down, across = weight[some, 0, :, None, None], weight[some, 1, :, None, None]
            row = sum(across[:, k] * block[:, :, k : k + side] for k in range(_TAPS))
            value = sum(down[:, k] * row[:, k : k + side] for k in range(_TAPS))
            windows[some] = self.frame.levelled(value) / self.height

        shared_out(fill, range(0, len(place), CHUNK), algebra=False)
        return windows


def turned_corners(
    centre_px: FloatArray, lattice: ImageLattice, frame: WindowFrame, reach_pm: float
) -> IntArray:
    """First and last pixel (row, column) of the lattice frame that windows need, `(2, 2)`.

    Parameters
    ----------
    centre_px : array, `(N, 2)`
        (y, x) of the windows [px].
    lattice : ImageLattice
    frame : WindowFrame
    reach_pm : float
        How far the windows may still be moved [pm].
    """
    place = _in_frame(centre_px, lattice, frame.step_pm)
    rim = frame.half + _FADED_PX + int(np.ceil(reach_pm / frame.step_pm))
    corners = np.stack([np.floor(place.min(axis=0)) - rim, np.ceil(place.max(axis=0)) + rim])
    return np.asarray(corners, dtype=np.intp)


def _in_frame(centre_px: FloatArray, lattice: ImageLattice, step_pm: float) -> FloatArray:
    """Row and column of places of the image in the lattice frame, `(N, 2)`."""
    x, y = np.linalg.solve(lattice.matrix, np.asarray(centre_px, dtype=float).T) / step_pm
    return np.stack([-y, x], axis=1)
