"""Frames laid upon each other: interpolation, running sums, and each frame against the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter

from ..crystal.robust import robust_sigma
from ..types import DefectStrainError, FloatArray, IntArray

EDGE_PX = 3  # lost at each border: the reach of the ringing of the Fourier shift
PAD_PX = 16  # mirrored borders keep the ringing local
BAND_PX = 8
"""Rows of a band that is compared with the other frames by itself."""
BACKGROUND_PX = 10.0  # a lattice's shortest period of 15 px keeps 99.9 % of its contrast
SMOOTHING_PX = 1.0  # a sampled Gaussian much narrower has no good derivatives

Region = tuple[int, int, int, int]
"""``(y0, y1, x0, x1)`` in pixels of the canvas, which is that of frame 0."""


def shift_lines(image: FloatArray, shift_px: FloatArray) -> FloatArray:
    """Move every line along x by its own fraction of a pixel (Fourier interpolation).

    Parameters
    ----------
    image : array, `(H, W)`
    shift_px : array, `(H,)`
        Towards larger x [px].
    """
    spectrum, width = _padded_spectrum(np.asarray(image), axis=1)
    turn = np.exp(-2j * np.pi * shift_px[:, None] * np.fft.rfftfreq(width))
    spectrum *= turn.astype(spectrum.dtype)
    return np.asarray(fft.irfft(spectrum, n=width, axis=1)[:, PAD_PX : PAD_PX + image.shape[1]])


def shift_rows(image: FloatArray, shift_px: float) -> FloatArray:
    """Move an image along y by a fraction of a pixel (Fourier interpolation)."""
    if abs(shift_px) < 1e-6:
        return image
    spectrum, height = _padded_spectrum(np.asarray(image), axis=0)
    turn = np.exp(-2j * np.pi * shift_px * np.fft.rfftfreq(height))
    spectrum *= turn[:, None].astype(spectrum.dtype)
    return np.asarray(fft.irfft(spectrum, n=height, axis=0)[PAD_PX : PAD_PX + image.shape[0]])


def _padded_spectrum(image: FloatArray, axis: int) -> tuple[FloatArray, int]:
    side = fft.next_fast_len(image.shape[axis] + 2 * PAD_PX, real=True)
    pad = [(0, 0), (0, 0)]
    pad[axis] = (PAD_PX, side - image.shape[axis] - PAD_PX)
    return np.asarray(fft.rfft(np.pad(image, pad, mode="symmetric"), axis=axis)), side


def align_frame(
    frame: FloatArray, shift_px: FloatArray, lines_px: FloatArray | None = None
) -> tuple[FloatArray, Region]:
    """A frame on the canvas, by one interpolation along each axis.

    Parameters
    ----------
    frame : array, `(H, W)`
    shift_px : array, `(2,)`
        (y, x): what lies at r on the canvas lies at ``r + shift_px`` in the frame.
    lines_px : array, `(H,)`, optional
        Further shift of every line of the frame along x [px].

    Returns
    -------
    canvas : array, `(H, W)`
        Zero where the frame shows nothing.
    region : Region
        What it shows, without the edges that interpolation spoils.
    """
    whole = np.rint(shift_px).astype(int)
    part = shift_px - whole
    moved = np.asarray(frame, dtype=np.float32)
    along = np.full(len(frame), part[1]) if lines_px is None else part[1] + lines_px
    reach = float(np.abs(along).max())
    if reach > 1e-6:
        moved = shift_lines(moved, -along)
    moved = shift_rows(moved, -float(part[0]))
    edge_y = EDGE_PX if abs(part[0]) > 1e-6 else 0
    edge_x = EDGE_PX + int(reach) if reach > 1e-6 else 0
    region = _region(moved.shape, whole, (edge_y, edge_x))
    y0, y1, x0, x1 = region
    canvas = np.zeros_like(moved)
    canvas[y0:y1, x0:x1] = moved[y0 + whole[0] : y1 + whole[0], x0 + whole[1] : x1 + whole[1]]
    return canvas, region


def _region(shape: tuple[int, ...], whole: IntArray, edge: tuple[int, int]) -> Region:
    y0, x0 = (max(0, -int(whole[i])) + edge[i] for i in (0, 1))
    y1, x1 = (shape[i] - max(0, int(whole[i])) - edge[i] for i in (0, 1))
    return y0, max(y1, y0), x0, max(x1, x0)


class RunningSum:
    """Sum of aligned frames and how many of them show each pixel.

    Parameters
    ----------
    shape : tuple of int
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.total = np.zeros(shape)
        self.count = np.zeros(shape, dtype=np.int32)

    def add(self, aligned: FloatArray, region: Region, sign: int = 1) -> None:
        """Add (or take out: ``sign=-1``) an aligned frame."""
        y0, y1, x0, x1 = region
        self.total[y0:y1, x0:x1] += sign * aligned[y0:y1, x0:x1]
        self.count[y0:y1, x0:x1] += sign

    def mean(self) -> FloatArray:
        """Mean over the frames that show a pixel; the mean of all where none does."""
        seen = self.count > 0
        mean = np.divide(self.total, self.count, out=np.zeros_like(self.total), where=seen)
        if not seen.all():
            mean[~seen] = mean[seen].mean() if seen.any() else 0.0
        return np.asarray(mean, dtype=np.float32)


def common_region(regions: list[Region]) -> Region:
    """The field that all show.

    Raises
    ------
    DefectStrainError
        If it is less than 16 px wide or high.
    """
    y0, x0 = max(r[0] for r in regions), max(r[2] for r in regions)
    y1, x1 = min(r[1] for r in regions), min(r[3] for r in regions)
    if y1 - y0 < 16 or x1 - x0 < 16:
        raise DefectStrainError(
            "frames: the drift leaves no common field; register fewer frames at a time, or leave "
            "out those that have drifted furthest"
        )
    return y0, y1, x0, x1


@dataclass(frozen=True)
class FrameFit:
    """How a frame differs from the others, as a whole and band by band of `BAND_PX` rows.

    Parameters
    ----------
    shift_px : array, `(2,)`
        (y, x) by which the frame lies beside the others [px].
    sigma_px : array, `(2,)`
        Standard error, from the scatter of the bands around a straight line: of the *drift*; it
        holds the share of scan-line jitter that the mean over all lines keeps.
    gain : float
        Contrast relative to the others.
    blur : float
        Loss of contrast at the lattice's frequencies relative to that of the slow background.
    band_gain, band_offset, noise : arrays, `(B,)`
        Contrast, brightness beyond it, and variance of what is left, of every band.
    """

    shift_px: FloatArray
    sigma_px: FloatArray
    gain: float
    blur: float
    band_gain: FloatArray
    band_offset: FloatArray
    noise: FloatArray


def fit_frame(aligned: FloatArray, others: FloatArray, region: Region, count: int) -> FrameFit:
    """Least squares of a frame by the others' mean T: ``a + g T - g d.grad T + b laplace T``.

    Parameters
    ----------
    aligned : array, `(H, W)`
        The frame on the canvas.
    others : array, `(H, W)`
        Mean of the other frames (never with the frame itself: its noise would pull to zero).
    region : Region
        What to compare.
    count : int
        Frames in that mean. Their noise adds to the squares of the mean's slopes, and would make
        shifts and errors too small.
    """
    y0, y1, x0, x1 = region
    y1 = y0 + (y1 - y0) // BAND_PX * BAND_PX
    orders = ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2))
    part, z = (_without_background(a[y0:y1, x0:x1]) for a in (others, aligned))
    value = [gaussian_filter(part, SMOOTHING_PX, order=o) for o in orders]
    basis = np.stack([np.ones_like(value[0]), *value[:3], value[3] + value[4]])  # (5, h, w)
    bands = (y1 - y0) // BAND_PX
    basis = basis.reshape(5, bands, -1).transpose(1, 0, 2)  # (B, 5, m)
    z = z.reshape(bands, -1, 1)
    gram = (basis @ basis.transpose(0, 2, 1)).astype(float)  # (B, 5, 5)
    right = (basis @ z)[..., 0].astype(float)  # (B, 5)
    power = (z[..., 0].astype(float) ** 2).sum(axis=1)
    ridge = 1e-9 * np.trace(gram.mean(axis=0)) * np.eye(5)
    each = np.linalg.solve(gram + ridge, right[..., None])[..., 0]
    noise = np.maximum(power - (each * right).sum(axis=1), 0.0) / z.shape[1]
    middle = float(np.median(each[:, 1]))
    good = np.abs(each[:, 1] - middle) < 0.5 * abs(middle)
    if good.sum() < 4:
        good[:] = True
    whole = np.linalg.solve(gram[good].sum(axis=0) + ridge, right[good].sum(axis=0))
    gain = float(whole[1])
    slope2 = np.array([gram[good, i, i].sum() for i in (2, 3)]) / (good.sum() * z.shape[1])
    # White noise of variance v, smoothed by a Gaussian s, has slopes of variance v / (8 pi s^4).
    false2 = float(np.median(noise)) / count / (8 * np.pi * SMOOTHING_PX**4)
    scale = (gain if abs(gain) > 1e-6 else 1e-6) * np.clip(1 - false2 / slope2, 0.2, 1.0)
    safe = float(scale.mean())
    shift = -whole[2:4] / scale
    left = -each[good, 2:4] / scale
    frequency2 = (gram[:, 2, 2] + gram[:, 3, 3]).sum() / max(gram[:, 1, 1].sum(), 1e-30)
    return FrameFit(
        shift / max(1.0, float(np.hypot(*shift))),
        _standard_error(left),
        gain,
        float(whole[4] / safe * frequency2),
        each[:, 1],
        each[:, 0],
        noise,
    )


def _without_background(image: FloatArray) -> FloatArray:
    """Contamination is slow, but bright: it would outweigh the lattice, which places a frame."""
    return np.asarray(image - gaussian_filter(image, BACKGROUND_PX, truncate=3.0))


def _standard_error(values: FloatArray) -> FloatArray:
    """Of the mean of values `(B, 2)`, by their robust scatter around a straight line."""
    if len(values) < 4:
        return np.full(2, np.nan)
    x = np.linspace(-1, 1, len(values))
    trend = np.polynomial.polynomial.polyfit(x, values, 1)
    left = values - np.polynomial.polynomial.polyval(x, trend).T
    spread = np.array([robust_sigma(of_axis, 0.0) for of_axis in left.T])
    return np.asarray(spread / np.sqrt(len(values)))
