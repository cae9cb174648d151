"""Whether the frames of a series show one place: by their defects and dirt, site by site.

Registration lays any two frames of one crystal upon each other, for its lattice is the same
everywhere. What tells places apart is how the chalcogen columns differ from one another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter, map_coordinates, uniform_filter

from ..crystal.calibration import lattice_spots
from ..crystal.robust import robust_sigma
from ..types import BoolArray, FloatArray, IntArray
from .shifts import pairs_of
from .sums import Region, RunningSum, align_frame

AGREE = 5.5
"""Standard deviations of the correlation between unrelated places that make one place certain; the
largest of the thousands of shifts by lattice vectors is at 4."""

EXPECTED = 5.5
"""Two frames that agree less show two places only where one place, even if it keeps no more than
`KEPT`, would agree so much."""

KEPT = 0.6
"""Share of what tells the columns apart that is the same in all frames of one place, at least: the
beam changes some of them."""

_SPREAD = 0.12  # of the lattice constant: sigma of the spot that a column's intensity is read in
_CELLS = 24  # of the average unit cell, along each side
_NEIGHBOURHOOD = 5  # sites; slower changes of intensity are background
_OUTLIER = 6.0  # robust standard deviations
_FEW_SITES = 60
_MIN_OVERLAP = 0.25
_SURE = 3.0  # standard errors of the excess of the chalcogens' variance


@dataclass(frozen=True)
class _Maps:
    """Intensities at the two sublattices, by cell, `(B, n, m)`, and how many frames show each."""

    chalcogen: FloatArray
    metal: FloatArray
    count: FloatArray

    def joined(self, groups: list[IntArray]) -> _Maps:
        """Sums over groups of frames."""
        return _Maps(*(np.stack([a[g].sum(axis=0) for g in groups]) for a in vars(self).values()))


@dataclass(frozen=True)
class SiteReadings:
    """Intensities at all sites of the lattice in each frame, and where the chalcogens lie.

    Parameters
    ----------
    chalcogen, metal : arrays, `(F, n, m)`
        By frame and cell; 0 where a frame doesn't show it.
    count : array, `(F, n, m)`
        1 where it does.
    place_px : array, `(n, m, 2)`
        (y, x) of the chalcogen of each cell on the canvas [px].
    """

    chalcogen: FloatArray
    metal: FloatArray
    count: FloatArray
    place_px: FloatArray


def other_places(stack: FloatArray, shift_px: FloatArray, used: BoolArray) -> list[IntArray]:
    """The frames by the place that they show, the most frequent place first.

    The intensity at every chalcogen site is compared between pairs of frames (of sums of frames,
    where single ones are too noisy), at every shift by a lattice vector. Two frames show
    two places if they agree nowhere better than by chance, though they should: the variance of the
    chalcogens beyond that of the metals, which have the same noise and scan, is that of defects. A
    perfect crystal has none, so nothing can be told of it.

    Parameters
    ----------
    stack : array, `(T, H, W)`
    shift_px : array, `(T, 2)`
        Of each frame, up to lattice vectors.
    used : array of bool, `(T,)`
        Frames that are looked at.

    Returns
    -------
    list of array of int
        Frames of each place: one array where they all show the same, or none can tell.
    """
    frames = np.flatnonzero(used)
    read = read_sites_of_frames(stack, shift_px, frames) if len(frames) > 1 else None
    if read is None:
        return [frames]
    maps = _Maps(read.chalcogen, read.metal, read.count)
    groups = [np.array([k]) for k in range(len(frames))]
    while len(groups) > 1:
        verdict = _compared(maps.joined(groups))
        joined = _joined(groups, verdict == 1)
        if len(joined) == len(groups):
            open_ = np.argwhere(np.triu(verdict == 0, 1))
            if len(open_) == 0:
                break
            # too noisy to tell: the sums of frames that follow one another are less so
            joined = _joined(groups, _pairwise(open_, len(groups)))
        groups = joined
    return sorted((frames[np.sort(group)] for group in groups), key=len, reverse=True)


def read_sites_of_frames(
    stack: FloatArray,
    shift_px: FloatArray,
    frames: IntArray,
    lines_px: FloatArray | None = None,
) -> SiteReadings | None:
    """Intensities at the sites of each frame; None where no lattice shows.

    Parameters
    ----------
    stack : array, `(T, H, W)`
    shift_px : array, `(T, 2)`
    frames : array of int, `(F,)`
        Which are read.
    lines_px : array, `(T, H)`, optional
        Further shift of every line [px].
    """

    def aligned(t: int) -> tuple[FloatArray, Region]:
        return align_frame(stack[t], shift_px[t], None if lines_px is None else lines_px[t])

    total = RunningSum(stack.shape[1:])
    for t in frames:
        total.add(*aligned(t))
    seen = np.argwhere(total.count > 0)
    if len(seen) == 0:
        return None
    (y0, x0), (y1, x1) = seen.min(axis=0), seen.max(axis=0) + 1
    mean = total.mean()
    spots = lattice_spots(mean[y0:y1, x0:x1])
    if spots is None:
        return None
    basis = np.linalg.inv(spots).T  # columns: lattice vectors (y, x) [px], 120 degrees apart
    spread = _SPREAD * float(np.sqrt(abs(np.linalg.det(basis)) * 2 / np.sqrt(3)))
    metal, chalcogen = _sublattices(mean, total.count > 0, spots)
    corners = np.array([[0, 0], [0, mean.shape[1]], [mean.shape[0], 0], list(mean.shape)])
    cell = corners @ spots
    low, high = np.floor(cell.min(axis=0)), np.ceil(cell.max(axis=0))
    grid = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), axis=-1)
    place = [(grid + f) @ basis.T for f in (chalcogen, metal)]  # (n, m, 2) [px]
    value = np.zeros((2, len(frames), *grid.shape[:2]), dtype=np.float32)
    count = np.zeros((len(frames), *grid.shape[:2]), dtype=np.float32)
    for k, t in enumerate(frames):
        canvas, (y0, y1, x0, x1) = aligned(t)
        inner = np.array([[y0, x0], [y1, x1]]) + np.array([[3], [-3]]) * spread
        smooth = gaussian_filter(canvas, spread)
        inside = np.ones(count.shape[1:], dtype=bool)
        for n, where in enumerate(place):
            inside &= ((where >= inner[0]) & (where <= inner[1] - 1)).all(axis=-1)
            value[n, k] = map_coordinates(smooth, np.moveaxis(where, -1, 0), order=1)
        value[:, k] *= inside
        count[k] = inside
    return SiteReadings(value[0], value[1], count, place[0])


def _sublattices(mean: FloatArray, seen: BoolArray, spots: FloatArray) -> tuple[FloatArray, ...]:
    """Places of metal and chalcogen in the cell: the brightest, and the brighter of the others."""
    y, x = np.nonzero(seen)
    cell = np.mod(np.stack([y, x], axis=1) @ spots, 1.0)
    index = np.minimum((cell * _CELLS).astype(int), _CELLS - 1)
    flat = index[:, 0] * _CELLS + index[:, 1]
    number = np.maximum(np.bincount(flat, minlength=_CELLS**2), 1)
    folded = (np.bincount(flat, mean[y, x], _CELLS**2) / number).reshape(_CELLS, _CELLS)
    folded = gaussian_filter(folded, 1.0, mode="wrap")
    metal = (np.array(np.unravel_index(folded.argmax(), folded.shape)) + 0.5) / _CELLS
    # two vectors 120 degrees apart have their threefold axes at (1/3, 2/3) and (2/3, 1/3)
    others = [metal + np.array(f) / 3 for f in ((1, 2), (2, 1))]
    bright = [
        float(map_coordinates(folded, (f * _CELLS - 0.5)[:, None], order=1, mode="grid-wrap")[0])
        for f in others
    ]
    return metal, others[int(np.argmax(bright))]


def _compared(maps: _Maps) -> IntArray:
    """1 where two sums show one place, -1 where two, 0 where it can't be told, `(B, B)`."""
    seen = maps.count == maps.count.max(axis=(1, 2), keepdims=True)
    seen &= maps.count > 0
    value, clear = [], []
    for b, mask in enumerate(seen):
        number = max(int(mask.sum()), 1)
        chalcogen, metal = (_texture(m[b], mask) for m in (maps.chalcogen, maps.metal))
        both = [float((m**2).sum()) / number for m in (chalcogen, metal)]
        error = float(np.sqrt(2 / number) * np.hypot(both[0], both[1]))
        excess = both[0] - both[1]
        clear.append(excess / both[0] if excess > _SURE * error else 0.0)
        value.append(chalcogen / max(np.sqrt(both[0]), 1e-30))
    shape = [fft.next_fast_len(2 * n, real=True) for n in seen.shape[1:]]
    spectra = [
        [fft.rfft2(a, s=shape) for a in (v, mask.astype(float))]
        for v, mask in zip(value, seen, strict=True)
    ]
    verdict = np.zeros((len(seen), len(seen)), dtype=int)
    for i, j in pairs_of(len(seen)):
        product, overlap = (
            fft.irfft2(a * np.conj(b), s=shape) for a, b in zip(spectra[i], spectra[j], strict=True)
        )
        here = float(overlap[0, 0])
        often = overlap > max(_MIN_OVERLAP * float(overlap.max()), _FEW_SITES)
        if not often.any() or here < _FEW_SITES:
            continue
        # standard deviations, were the places unrelated, but for what both change slowly
        score = product[often] / np.sqrt(overlap[often])
        middle = float(np.median(score))
        chance = max(robust_sigma(score, middle), 1e-9)
        found = (float(score.max()) - middle) / chance
        expected = KEPT * np.sqrt(clear[i] * clear[j] * here) / chance
        if found > AGREE:
            verdict[i, j] = verdict[j, i] = 1
        elif expected > EXPECTED:
            verdict[i, j] = verdict[j, i] = -1
    return verdict


def _texture(value: FloatArray, mask: BoolArray) -> FloatArray:
    """Differences between neighbouring sites, without outliers; 0 where the mask is False."""
    weight = uniform_filter(mask.astype(float), _NEIGHBOURHOOD, mode="constant")
    around = uniform_filter(value * mask, _NEIGHBOURHOOD, mode="constant", output=float)
    left = np.where(mask, value - around / np.maximum(weight, 1e-9), 0.0)
    if not mask.any():
        return left
    middle = float(np.median(left[mask]))
    limit = _OUTLIER * robust_sigma(left[mask], middle)
    return np.where(mask, np.clip(left - middle, -limit, limit), 0.0)


def _joined(groups: list[IntArray], linked: BoolArray) -> list[IntArray]:
    """Groups that are linked, directly or by way of others, become one."""
    number = np.arange(len(groups))
    for i, j in np.argwhere(np.triu(linked, 1)):
        number[number == number[j]] = number[i]
    return [
        np.concatenate([groups[k] for k in np.flatnonzero(number == n)]) for n in np.unique(number)
    ]


def _pairwise(pairs: IntArray, count: int) -> BoolArray:
    """Links of pairs `(P, 2)` that have no member in common, the nearest in order first."""
    linked, taken = np.zeros((count, count), dtype=bool), np.zeros(count, dtype=bool)
    for i, j in pairs[np.argsort(pairs[:, 1] - pairs[:, 0], kind="stable")]:
        if not taken[i] and not taken[j]:
            linked[i, j] = taken[i] = taken[j] = True
    return linked
