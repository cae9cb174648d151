"""Patches around columns: what a pixel says of the column's weight and place.

A profile is a short sum of products of a function of y and one of x (singular value decomposition),
so that its values at any sub-pixel offset, and its derivatives, come from two short tables.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy.interpolate import make_interp_spline

from ...types import FloatArray, IntArray
from ..profiles import ColumnProfile
from .background import SplineSurface
from .rendering import transfer_of_sums

REACH_SIGMA = 3.5
"""Half the side of a patch: beyond it a pixel says less than 1e-3 of what is known of a place. What
a pixel is expected to be knows no such limit, so that nothing is biased by it."""

PHASES = 32
NODES_PER_SIGMA = 8
RANK_TOLERANCE = 1e-3
MAX_RANK = 5
CHUNK = 128  # columns at a time: their patches stay in the cache
PAIRS = 4096  # at a time: the derivatives of their columns take some 15 MB
ALL = slice(None)
KNOWN_SIGMA = 3.0
"""The same of the patches that information of a profile with tails is summed over, with all pairs
of them that touch: pairs left out made weights of all columns 20 % too easy to change."""
PAIR_REACH_SIGMA = 6.0
"""Gaussians farther apart hardly share what pixels say: ``exp(-(6/2)^2) = 1e-4``."""


class SeparableProfile:
    """A profile and its derivatives on patches of pixels, at any sub-pixel offset.

    Parameters
    ----------
    profile : ColumnProfile
        In pixels, x and y (down) of the image.
    sigma_px : float
        Its width.
    dtype : dtype
        Of the patches.
    side : int
        Pixels along the side of the squares that were summed to these pixels.
    every : int
        Pixels from one that is looked at to the next, in rows and columns; profile, width and
        patches are then in units of that distance.
    reach_sigma : float
        Half the side of a patch.
    """

    def __init__(
        self,
        profile: ColumnProfile,
        sigma_px: float,
        dtype: npt.DTypeLike = np.float32,
        side: int = 1,
        every: int = 1,
        reach_sigma: float = REACH_SIGMA,
    ) -> None:
        self.half = int(np.ceil(reach_sigma * sigma_px))
        self.dtype = np.dtype(dtype)
        step = sigma_px / NODES_PER_SIGMA
        n = int(np.ceil((self.half + 1.0) / step)) + 3
        node = np.arange(-n, n + 1) * step
        left, size, right = np.linalg.svd(_sampled(profile, node, side, every))
        rank = int(np.clip(np.sum(size > RANK_TOLERANCE * size[0]), 1, MAX_RANK))
        root = np.sqrt(size[:rank])
        self._tables = [
            _tabulate(node, left[:, :rank] * root, self.half).astype(self.dtype),
            _tabulate(node, right[:rank].T * root, self.half).astype(self.dtype),
        ]

    def within(self, half: int | None = None) -> float:
        """Part of a column's light on its patch, or on the middle of it."""
        out = 0 if half is None else self.half - half
        inner = slice(out, 2 * self.half + 1 - out)
        by_y, by_x = (t[PHASES // 2, 0, :, inner].sum(axis=-1, dtype=float) for t in self._tables)
        return float(by_y @ by_x)

    def factors(self, position: FloatArray) -> tuple[IntArray, FloatArray, FloatArray]:
        """The functions of y and x on the patch of each column.

        Parameters
        ----------
        position : array, `(N, 2)`
            (y, x) [px].

        Returns
        -------
        centre : array of int, `(N, 2)`
            Central pixel of each patch.
        along_y, along_x : arrays, `(N, 2, K, P)`
            Values, and derivatives by the column's position, of the K functions.
        """
        centre = np.rint(position).astype(np.intp)
        offset = position - centre  # the column relative to the central pixel, [-0.5, 0.5]
        shape = (len(position), 2, *self._tables[0].shape[2:])
        parts = np.empty(shape, self.dtype), np.empty(shape, self.dtype)
        for axis, part in enumerate(parts):
            place = offset[:, axis] * PHASES
            phase = np.rint(place).astype(np.intp)
            beyond = ((place - phase) / PHASES).astype(self.dtype)[:, None, None, None]
            for start in range(0, len(position), CHUNK):
                own = slice(start, start + CHUNK)
                t = beyond[own]
                table = self._tables[axis][phase[own] + PHASES // 2]  # (n, 4, k, p): derivatives
                bend = table[:, 2:] * (0.5 * t)
                bend += table[:, 1:3]
                bend *= t
                np.add(table[:, :2], bend, out=part[own])
        return centre, *parts


def _sampled(profile: ColumnProfile, node: FloatArray, side: int, every: int) -> FloatArray:
    """The profile at ``(node, node)``, rows y, as sums of pixels see it."""
    period = 4.0 * node[-1]
    n = int(np.ceil(profile.cutoff_per_pm * period))
    k = np.arange(-n, n + 1) / period
    transfer = profile.transfer(k[None, :], k[:, None]) / period**2
    phase = np.exp(2j * np.pi * node[:, None] * k) * transfer_of_sums(side, k / every)
    return np.asarray((phase @ transfer @ phase.T).real)


def _tabulate(node: FloatArray, function: FloatArray, half: int) -> FloatArray:
    """Values and three derivatives by the column's offset, `(phase, 4, K, P)`."""
    spline = make_interp_spline(node, function, k=5)
    offset = np.arange(-(PHASES // 2), PHASES // 2 + 1) / PHASES
    place = np.arange(-half, half + 1) - offset[:, None]
    rows = [(-1) ** order * spline(place, nu=order) for order in range(4)]
    return np.moveaxis(np.stack(rows, axis=1), 3, 2)


@dataclass(frozen=True)
class Patches:
    """Derivatives of an image by each column's weight, y and x, on patches.

    Parameters
    ----------
    centre : array of int, `(N, 2)`
    along_y, along_x : arrays, `(N, 2, K, P)`
        See `SeparableProfile.factors`.
    weight : array, `(N,)`
        Of the columns; the derivatives by y and x are proportional to it.
    """

    centre: IntArray
    along_y: FloatArray
    along_x: FloatArray
    weight: FloatArray

    @classmethod
    def of(cls, separable: SeparableProfile, position: FloatArray, weight: FloatArray) -> Patches:
        """Patches around columns."""
        return cls(*separable.factors(position), weight.astype(separable.dtype))

    def inner(self, half: int) -> Patches:
        """The middle of each patch, so many pixels on each side of the central one."""
        out = max(self.half - half, 0)
        inner = slice(out, 2 * self.half + 1 - out)
        return replace(self, along_y=self.along_y[..., inner], along_x=self.along_x[..., inner])

    @property
    def half(self) -> int:
        """Pixels on each side of the central one."""
        return int(self.along_y.shape[3]) // 2

    @property
    def rank(self) -> int:
        """Number of products of functions of y and x."""
        return int(self.along_y.shape[2])

    def cut(self, image: FloatArray) -> FloatArray:
        """The patches of an image, `(N, P, P)`; zero outside of it."""
        side = 2 * self.half + 1
        corner = self.centre - self.half
        last = np.array(image.shape) - side
        crossing = np.flatnonzero(((corner < 0) | (corner > last)).any(axis=1))
        if len(crossing) == len(corner):
            return self._across(image, corner)
        inner = np.clip(corner, 0, last)
        result = sliding_window_view(image, (side, side))[inner[:, 0], inner[:, 1]]
        result[crossing] = self._across(image, corner[crossing])
        return np.asarray(result)

    def _across(self, image: FloatArray, corner: IntArray) -> FloatArray:
        """Patches that cross the border."""
        offset = np.arange(2 * self.half + 1)
        row, column = corner[:, :1] + offset, corner[:, 1:] + offset
        height, width = image.shape
        inside_y, inside_x = (row >= 0) & (row < height), (column >= 0) & (column < width)
        row, column = np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)
        value = image[row[:, :, None], column[:, None, :]]
        return np.asarray(np.where(inside_y[:, :, None] & inside_x[:, None, :], value, 0))

    def project(self, image: FloatArray) -> FloatArray:
        """Sum of an image times each derivative, `(N, 3)`."""
        n, _, rank, side = self.along_y.shape
        rows = self.along_y.reshape(n, 2 * rank, side) @ self.cut(image)
        by_y = rows.reshape(n, 2, rank * side)
        by_x = self.along_x.reshape(n, 2, rank * side)
        which = ((0, 0), (1, 0), (0, 1))  # of y and x: values or derivatives
        found = np.stack([np.einsum("ni,ni->n", by_y[:, i], by_x[:, j]) for i, j in which], axis=1)
        found[:, 1:] *= self.weight[:, None]
        return np.asarray(found, dtype=float)

    def derivatives(
        self, which: slice | IntArray, rows: slice = ALL, columns: slice = ALL
    ) -> FloatArray:
        """Every derivative of some columns at pixels of their patches, `(n, 3, rows, columns)`."""
        y = self.along_y[:, :, :, rows][which]
        x = self.along_x[:, :, :, columns][which]
        scale = self.weight[which, None, None, None]
        result = np.empty((len(y), 3, y.shape[3], x.shape[3]), dtype=y.dtype)
        if y.shape[2] == 1:  # a Gaussian: one product
            scaled = y * scale
            np.multiply(y[:, 0, 0, :, None], x[:, 0], out=result[:, 0])
            np.multiply(scaled[:, 1, 0, :, None], x[:, 0], out=result[:, 1])
            np.multiply(scaled[:, 0, 0, :, None], x[:, 1], out=result[:, 2])
            return result
        y = y.swapaxes(2, 3)
        np.matmul(y[:, 0], x[:, 0], out=result[:, 0])
        np.matmul(scale[:, 0] * y[:, 1], x[:, 0], out=result[:, 1])
        np.matmul(scale[:, 0] * y[:, 0], x[:, 1], out=result[:, 2])
        return result


@dataclass(frozen=True)
class Information:
    """Fisher information of weights and positions: blocks of columns and of pairs.

    Parameters
    ----------
    block : array, `(N, 3, 3)`
        Of each column's weight, y and x.
    first, second : arrays of int, `(E,)`
        Pairs of columns, each once.
    pair : array, `(E, 3, 3)`
        Rows the first's parameters, columns the second's.
    coupling : array, `(N, 3, S)`
        With the background's splines around each column.
    spline : array of int, `(N, S)`
        Which splines these are.
    """

    block: FloatArray
    first: IntArray
    second: IntArray
    pair: FloatArray
    coupling: FloatArray
    spline: IntArray

    def of_pixels(self, every: int) -> Information:
        """The same with places in pixels, and for all pixels, of what every n-th of them says."""
        unit = np.array([1.0, 1.0 / every, 1.0 / every])
        both = unit[:, None] * unit
        return replace(
            self,
            block=self.block * both,
            pair=self.pair * both,
            coupling=self.coupling * (every**2 * unit[:, None]),
        )


def information(
    patches: Patches,
    weight_image: FloatArray,
    pairs: IntArray,
    surface: SplineSurface,
    every: int = 1,
) -> Information:
    """Information of all columns.

    Parameters
    ----------
    patches : Patches
    weight_image : array, `(H, W)`
        One over the variance of each pixel.
    pairs : array of int, `(E, 2)`
        Columns close enough to share pixels.
    surface : SplineSurface
        The background.
    every : int
        Pixels from one in `patches` and `weight_image` to the next, see `Looked`.
    """
    weight = patches.cut(weight_image)
    by_y, by_x, spline = surface.around(patches.centre, patches.half, every)
    blocks = _separable_blocks if patches.rank == 1 else _blocks
    block, coupling = blocks(patches, weight, by_y, by_x)
    pairs, pair = _pair_blocks(patches, weight, pairs)
    return Information(block, pairs[:, 0], pairs[:, 1], pair, coupling, spline)


@dataclass(frozen=True)
class Looked:
    """Patches that information is summed over: smaller ones than pixels are projected on.

    What pixels say of columns is smooth, the noise apart: products of a profile's derivatives hold
    no frequencies that a coarser grid doesn't. Sums over every n-th pixel in rows and columns are
    those over all to 1e-4, as long as a column's width is one and a quarter of the distance.

    Parameters
    ----------
    patches : Patches
    every : int
        Pixels from one that is looked at to the next.
    tail, ring : float
        Parts of a column's light beyond such a patch, and between that and the larger one; 0 where
        they don't count.
    """

    patches: Patches
    every: int = 1
    tail: float = 0.0
    ring: float = 0.0

    @classmethod
    def of(
        cls,
        separable: SeparableProfile,
        seen: Patches,
        profile: ColumnProfile,
        position: FloatArray,
        sigma_px: float,
        side: int,
        every: int,
    ) -> Looked:
        """Of columns whose larger patches are `seen`; the rest as of `SeparableProfile`."""
        whole, all_seen = float(profile.coefficient[0]), separable.within()
        reach = REACH_SIGMA if profile.is_gaussian else KNOWN_SIGMA
        if every == 1:
            half = min(int(np.ceil(reach * sigma_px)), separable.half)
            within = separable.within(half)
            return cls(seen.inner(half), 1, whole - within, all_seen - within)
        coarse = replace(
            profile,
            cutoff_per_pm=profile.cutoff_per_pm * every,
            blur_pm2=profile.blur_pm2 / every**2,
        )
        looked = SeparableProfile(coarse, sigma_px / every, separable.dtype, side, every, reach)
        patches = Patches.of(looked, (position - (every - 1) // 2) / every, seen.weight)
        within = looked.within()
        return cls(patches, every, whole - within, all_seen - within)

    def information(
        self, weight_image: FloatArray, pairs: IntArray, surface: SplineSurface
    ) -> Information:
        """Information of all columns, as by all pixels; arguments as of `information`."""
        every = self.every
        if every == 1:
            return information(self.patches, weight_image, pairs, surface)
        first = (every - 1) // 2
        seen = weight_image[first::every, first::every] / weight_image.dtype.type(every**2)
        return information(self.patches, seen, pairs, surface, every).of_pixels(every)


def _blocks(
    patches: Patches, weight: FloatArray, by_y: FloatArray, by_x: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Information of each column, and its coupling to the splines around it."""
    n = len(weight)
    block = np.empty((n, 3, 3))
    coupling = np.empty((n, 3, by_y.shape[2], by_x.shape[2]))
    for start in range(0, n, CHUNK):
        part = slice(start, start + CHUNK)
        by = patches.derivatives(part)
        weighted = by * weight[part, None]
        m = len(by)
        block[part] = weighted.reshape(m, 3, -1) @ by.reshape(m, 3, -1).swapaxes(1, 2)
        coupling[part] = by_y[part, None].swapaxes(2, 3) @ weighted @ by_x[part, None]
    return block, coupling.reshape(n, 3, -1)


def _separable_blocks(
    patches: Patches, weight: FloatArray, by_y: FloatArray, by_x: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The same for one product of functions of y and of x: a fraction of the work."""
    y, x = patches.along_y[:, :, 0], patches.along_x[:, :, 0]
    (yy, xx) = (np.stack([f[:, 0] ** 2, f[:, 0] * f[:, 1], f[:, 1] ** 2], axis=1) for f in (y, x))
    table = (yy @ weight @ xx.swapaxes(1, 2)).astype(float)
    w = patches.weight.astype(float)
    n, ky, kx = len(w), by_y.shape[2], by_x.shape[2]
    block = np.empty((n, 3, 3))
    block[:, 0, 0] = table[:, 0, 0]
    block[:, 0, 1] = block[:, 1, 0] = w * table[:, 1, 0]
    block[:, 0, 2] = block[:, 2, 0] = w * table[:, 0, 1]
    block[:, 1, 1] = w * w * table[:, 2, 0]
    block[:, 2, 2] = w * w * table[:, 0, 2]
    block[:, 1, 2] = block[:, 2, 1] = w * w * table[:, 1, 1]
    rows = (y[:, :, None] * by_y.swapaxes(1, 2)[:, None]).reshape(n, 2 * ky, -1)
    columns = (x[:, :, None] * by_x.swapaxes(1, 2)[:, None]).reshape(n, 2 * kx, -1)
    both = (rows @ weight @ columns.swapaxes(1, 2)).reshape(n, 2, ky, 2, kx).astype(float)
    coupling = np.stack([both[:, 0, :, 0], both[:, 1, :, 0], both[:, 0, :, 1]], axis=1)
    coupling[:, 1:] *= w[:, None, None, None]
    return block, coupling.reshape(n, 3, -1)


def _pair_blocks(
    patches: Patches, weight: FloatArray, pairs: IntArray
) -> tuple[IntArray, FloatArray]:
    """Overlaps of patches; pairs with the same displacement of whole pixels at once."""
    side = weight.shape[1]
    shift = patches.centre[pairs[:, 1]] - patches.centre[pairs[:, 0]]
    swap = (shift[:, 0] < 0) | ((shift[:, 0] == 0) & (shift[:, 1] < 0))
    pairs = np.where(swap[:, None], pairs[:, ::-1], pairs)
    shift = np.where(swap[:, None], -shift, shift)
    blocks = np.zeros((len(pairs), 3, 3))
    touching = np.flatnonzero((shift[:, 0] < side) & (np.abs(shift[:, 1]) < side))
    line = patches.centre[pairs[touching, 0], 0]
    near = touching[np.argsort(line, kind="stable")]  # pairs of one band share columns
    for start in range(0, len(near), PAIRS):
        band = near[start : start + PAIRS]
        blocks[band] = _band_of_pairs(patches, weight, pairs[band], shift[band])
    return pairs, blocks


def _band_of_pairs(
    patches: Patches, weight: FloatArray, pairs: IntArray, shift: IntArray
) -> FloatArray:
    """Information that pairs of columns share, `(n, 3, 3)`; `shift` is between their pixels."""
    side = weight.shape[1]
    blocks = np.empty((len(pairs), 3, 3))
    column, inverse = np.unique(pairs, return_inverse=True)
    place = inverse.reshape(-1, 2)
    every = patches.derivatives(column) if patches.rank > 1 else None
    key = shift[:, 0] * (4 * side) + shift[:, 1]
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=np.iinfo(int).min))
    for group in np.split(order, starts[1:]):
        dy, dx = shift[group[0]]
        here = np.s_[dy:], np.s_[max(dx, 0) : side + min(dx, 0)]
        there = np.s_[: side - dy], np.s_[max(-dx, 0) : side + min(-dx, 0)]
        shared = weight[:, *here][pairs[group, 0]]
        if every is None:
            blocks[group] = _separable_overlap(patches, shared, pairs[group], here, there)
            continue
        first, second = place[group].T
        n = len(group)
        one = (every[:, :, *here][first] * shared[:, None]).reshape(n, 3, -1)
        two = every[:, :, *there][second].reshape(n, 3, -1)
        blocks[group] = one @ two.swapaxes(1, 2)
    return blocks


def _separable_overlap(
    patches: Patches,
    weight: FloatArray,
    pairs: IntArray,
    here: tuple[slice, slice],
    there: tuple[slice, slice],
) -> FloatArray:
    """The same for one product of functions of y and of x, by the pixels in both patches."""
    first, second = pairs.T
    n = len(pairs)
    by = []
    for along, mine, yours in zip((patches.along_y, patches.along_x), here, there, strict=True):
        one, two = along[:, :, 0, mine][first], along[:, :, 0, yours][second]
        by.append((one[:, :, None] * two[:, None]).reshape(n, 4, -1))
    table = (by[0] @ weight @ by[1].swapaxes(1, 2)).reshape(n, 2, 2, 2, 2)
    # of (y of the first, y of the second, x of the first, x of the second): values or derivatives
    index = np.array([[0, 0], [1, 0], [0, 1]])  # weight, y, x: which of (y, x) is a derivative
    block = table[:, index[:, None, 0], index[None, :, 0], index[:, None, 1], index[None, :, 1]]
    scale = np.stack([np.ones(n), patches.weight[first], patches.weight[first]], axis=1)
    other = np.stack([np.ones(n), patches.weight[second], patches.weight[second]], axis=1)
    return np.asarray(block * scale[:, :, None] * other[:, None, :])
