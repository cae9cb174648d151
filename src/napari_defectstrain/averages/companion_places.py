"""Whether a companion shows the field of its image: its picture beside that of the image.

A companion that is flipped, transposed, of another part of the sample or of another image averages
to nothing that looks wrong: a smooth map without a column. What it recorded at each position,
summed over the signal, is a picture of the crystal of its own. It is correlated with the image at
every shift and turned in every way. Within a lattice constant any shift is right, since nobody
knows which columns a signal shines from; farther away, or turned, no picture may fit better. A
signal that shows the lattice alone looks alike at every lattice vector: then only turns are told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from ..types import BoolArray, CalibratedImage, FloatArray

_SMOOTH_A = 3.0
"""Lattice constants: the standard deviation of what is taken for uneven illumination."""
_CELL_A = 0.7
"""Lattice constants within which all shifts are one: every site has a column of each kind there."""
_SURE = 6.0
"""Standard errors of a correlation by chance, among the thousands that are looked at."""
_BETTER = 1.1
"""How many times the correlation must be elsewhere."""
_LEAST = 8  # positions along a side
_COMPARED = 20
"""Images of a run up to which each companion is compared with all of them."""

_TURNS = {
    "flipped up and down": (False, True, False),
    "flipped left and right": (False, False, True),
    "turned by 180 degrees": (False, True, True),
    "transposed": (True, False, False),
    "turned by 90 degrees, counter-clockwise": (True, True, False),
    "turned by 90 degrees, clockwise": (True, False, True),
    "transposed and turned by 180 degrees": (True, True, True),
}
"""What is to be done with a companion, and how: transposed, then flipped along its axes."""


@dataclass(frozen=True)
class ScanPicture:
    """What a companion recorded at each position, summed over its signal.

    Parameters
    ----------
    total, square : arrays, `(h, w)`
        Sums of the values and of their squares: where every electron is counted, as in 4D-STEM
        within a wide angle, only the latter tell positions apart.
    read : array of bool, `(h, w)`
        Positions that were read.
    """

    total: FloatArray
    square: FloatArray
    read: BoolArray

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> ScanPicture:
        """One in which nothing was read yet."""
        return cls(np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool))


def place_notes(
    pictures: Mapping[int, ScanPicture], images: Sequence[CalibratedImage], a_px: float
) -> tuple[str, ...]:
    """What to say of companions that don't look like their images.

    Parameters
    ----------
    pictures : mapping of image index to ScanPicture
    images : sequence of CalibratedImage
    a_px : float
        Lattice constant [px of the images].
    """
    notes = []
    for i, picture in pictures.items():
        said = _note(picture, images, i, a_px)
        if said:
            notes.append(f"{images[i].name}: {said}")
    return tuple(notes)


def _note(picture: ScanPicture, images: Sequence[CalibratedImage], index: int, a_px: float) -> str:
    image = np.asarray(images[index].data, dtype=float)
    shape = tuple(min(n, m) for n, m in zip(image.shape, picture.total.shape, strict=True))
    if min(shape) < _LEAST:
        return f"got a companion of {picture.total.shape} positions: too few to see a field in"
    a = a_px * shape[0] / image.shape[0]
    radius = max(_CELL_A * a, 1.0)
    ours = _even(_binned(image, shape), a)
    theirs = [
        _even(_binned(one, shape, picture.read), a) for one in (picture.total, picture.square)
    ]
    chance = _SURE / float(np.sqrt(np.prod(shape)))
    here = max(_best(ours, one, radius, True)[0] for one in theirs)
    likeness = f"its sum over the signal is like the image to {here:.2f} where it lies"
    better = _better_elsewhere(ours, theirs, radius, chance)
    if better:
        return f"the companion may not be of this field: {likeness}, and more so {better}"
    for k in range(len(images) if len(images) <= _COMPARED else 0):
        other = np.asarray(images[k].data, dtype=float)
        if k == index or other.shape != image.shape:
            continue
        there = max(_best(_even(_binned(other, shape), a), t, radius, True)[0] for t in theirs)
        if there > _BETTER * here and there > here + chance:
            return f"the companion looks like {images[k].name}: {likeness}; check the order"
    if here > chance:
        return ""
    return (
        f"{likeness}, no more than by chance: nothing tells whether the companion is of this field"
    )


def _better_elsewhere(
    ours: FloatArray, theirs: Sequence[FloatArray], radius: float, chance: float
) -> str:
    """How a companion lies where it fits its image better; empty where it lies well."""
    here = max(_best(ours, one, radius, True)[0] for one in theirs)
    found = [(*_best(ours, one, radius, False), "") for one in theirs]
    for name, (transposed, down, across) in _TURNS.items():
        if transposed and ours.shape[0] != ours.shape[1]:
            continue
        for one in theirs:
            turned = (one.T if transposed else one)[:: -1 if down else 1, :: -1 if across else 1]
            found += [(*_best(ours, turned, radius, within), name) for within in (True, False)]
    value = max(one[0] for one in found)
    if value <= _BETTER * here or value <= here + chance:
        return ""
    # where several are as likely, the one that needs no shift beside the turn
    _, shift, how = max(found, key=lambda one: (one[0] > 0.9 * value, -np.hypot(*one[1])))
    moved = " and ".join(
        f"{abs(s)} position(s) {word[s > 0]}"
        for s, word in zip(shift, (("up", "down"), ("left", "right")), strict=True)
        if s
    )
    way = f"when it is {how}" if how else f"moved by {moved}"
    return f"{way} ({value / max(here, 1e-9):.1f} times); check its axes and field"


def _binned(data: FloatArray, shape: tuple[int, ...], read: BoolArray | None = None) -> FloatArray:
    """Means over the cells of a coarser grid; the overall mean where nothing was read."""
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1)
        for n, m in zip(data.shape, shape, strict=True)
    )
    cell = (rows[:, None] * shape[1] + columns).ravel()
    good = np.isfinite(data).ravel() & (True if read is None else read.ravel())
    size = int(np.prod(shape))
    count = np.bincount(cell[good], minlength=size)
    total = np.bincount(cell[good], data.ravel()[good], minlength=size)
    middle = float(total.sum() / max(count.sum(), 1))
    mean = np.where(count > 0, total / np.maximum(count, 1), middle)
    return np.asarray(mean.reshape(shape))


def _even(data: FloatArray, a: float) -> FloatArray:
    """Without uneven illumination, of mean square one; zeros where nothing is left."""
    left: FloatArray = data - gaussian_filter(data, _SMOOTH_A * max(a, 1.0), mode="nearest")
    left -= left.mean()
    spread = float(left.std())
    return left / spread if spread > 1e-9 * max(float(np.abs(data).max()), 1e-300) else 0.0 * left


def _best(
    ours: FloatArray, theirs: FloatArray, radius: float, within: bool
) -> tuple[float, tuple[int, int]]:
    """The largest correlation, of either sign, within a radius or beyond it, and its shift.

    The shift is what moves theirs onto ours (y, x).
    """
    spectrum = np.fft.rfft2(ours) * np.conj(np.fft.rfft2(theirs))
    size = np.abs(np.fft.irfft2(spectrum, s=ours.shape)) / ours.size
    y, x = (np.fft.fftfreq(n, 1.0 / n).round() for n in ours.shape)
    near = np.hypot(y[:, None], x) <= radius
    size = np.where(near == within, size, 0.0) if radius > 0 else size
    k = np.unravel_index(int(size.argmax()), size.shape)
    return float(size[k]), (int(y[k[0]]), int(x[k[1]]))
