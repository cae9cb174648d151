"""Other signals at the same sites: arrays scanned with an image, averaged over its windows.

A companion is any array whose first two axes are the scan of an image: a spectrum image, 4D-STEM,
a second detector. Every scan position within a window falls into a bin of the lattice frame, by the
window's registered centre and its domain's lattice; what was recorded there is averaged by class
and bin. Nothing is interpolated, so that counts stay counts and errors come from their scatter. The
companion is read in blocks: memory is bounded whatever its size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Protocol

import numpy as np
from scipy.sparse import csr_array

from ..config import Between, Config
from ..types import (
    CalibratedImage,
    ClassStack,
    DefectStrainError,
    FloatArray,
    IntArray,
    Progress,
    no_progress,
)
from .companion_places import ScanPicture
from .patches import Patch
from .windows import WindowFrame

_BYTES = 8  # of the numbers that are summed
_COPIES = 4
"""Of a block in memory at a time: as it is read, as float64, squared, and what isn't finite."""
_SUMS = 3
"""Kept for every bin and channel: values, squares, and how many are no numbers."""
_ASPECT = 0.02  # relative difference of the two ratios of pixels that is still one field


class Scanned(Protocol):
    """What a companion must be: a shape, and blocks by slices (dask, HDF5, zarr, memory maps).

    What it holds is never changed. Real numbers; those that aren't finite are left out.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """`(h, w, ...)`: scan lines, positions along a line, then the signal."""

    def __getitem__(self, key: tuple[slice, ...], /) -> object:
        """A block."""


@dataclass(frozen=True)
class CompanionConfig(Config):
    """Settings of averages of companions.

    Parameters
    ----------
    window_nm : float
        Side of the square around a site that is averaged [nm]; no larger than the windows of the
        image, which lie inside their domain.
    step_pm : float
        Side of a bin [pm].
    memory_mb : int
        What blocks and sums may take at a time [MB], beside the result.
    """

    window_nm: Annotated[float, Between(0.1, 20)] = 1.2
    step_pm: Annotated[float, Between(2, 1000)] = 40.0
    memory_mb: Annotated[int, Between(1, 10**6)] = 256


@dataclass(frozen=True)
class CompanionAverage:
    """A companion averaged over the windows of a class.

    Parameters
    ----------
    class_name : str
    mean, sigma : arrays, `(P, P, ...)`
        Mean of what was recorded in each bin, and its standard error by the scatter; NaN where
        nothing, or one value alone, was recorded. The central bin is the defect's site, row 0 the
        largest y; around metal sites turned by 180 degrees, as the windows are.
    count : array of int, `(P, P)`
        Scan positions in each bin.
    n : int
        Windows.
    step_pm : float
    """

    class_name: str
    mean: FloatArray
    sigma: FloatArray
    count: IntArray
    n: int
    step_pm: float
    missing: int = 0

    def minus(self, reference: CompanionAverage) -> CompanionAverage:
        """The difference to the perfect sites' average, with the errors of both."""
        return replace(
            self,
            mean=self.mean - reference.mean,
            sigma=np.hypot(self.sigma, reference.sigma),
            count=np.minimum(self.count, reference.count),
        )


def average_companions(
    companions: Mapping[int, Scanned],
    images: Sequence[CalibratedImage],
    patches: Sequence[Patch],
    stacks: Mapping[str, ClassStack],
    config: CompanionConfig | None = None,
    progress: Progress = no_progress,
    pictures: dict[int, ScanPicture] | None = None,
) -> dict[str, CompanionAverage]:
    """Average companions over the included windows of every class.

    Parameters
    ----------
    companions : mapping of image index to array
        Of some of the images; the scan may be coarser (or finer) than the image, over the same
        field.
    images : sequence of CalibratedImage
    patches : sequence of Patch
        Domains that the windows were cut from.
    stacks : mapping of class to ClassStack
    config : CompanionConfig, optional
    progress : Progress
    pictures : dict of image index to ScanPicture, optional
        Filled with what each companion recorded at each position that was read.

    Returns
    -------
    dict of class to CompanionAverage
        Of the classes that have a window in an image with a companion.

    Raises
    ------
    DefectStrainError
        If a companion doesn't cover the field of its image or holds no real numbers, companions
        record different signals, or no window lies in an image that has one.
    """
    config = config or CompanionConfig()
    signal = _checked(companions, images)
    a_pm = next(iter(stacks.values())).a_pm
    frame = WindowFrame(a_pm, config.step_pm, config.window_nm)
    names = [
        name
        for name, stack in stacks.items()
        if (stack.included & np.isin(stack.image_index, list(companions))).any()
    ]
    if not names:
        raise DefectStrainError(
            "companion: got no window in the images that have a companion, expected some; average "
            "those images first"
        )
    bins = frame.shape[0] * frame.shape[1] * len(names)
    where = {
        i: _placed(data.shape, images[i], i, patches, [stacks[n] for n in names], frame)
        for i, data in companions.items()
    }
    count = np.zeros(bins, dtype=int)
    for places in where.values():
        count += np.bincount(places[0], minlength=bins)
    mean = np.full((bins, *signal), np.nan, dtype=np.float32)
    sigma = mean.copy()
    missing = np.zeros(bins, dtype=int)
    seen = {} if pictures is None else pictures
    seen |= {i: ScanPicture.empty(data.shape[:2]) for i, data in companions.items()}
    parts = list(_signal_blocks(signal, bins, config))
    for k, part in enumerate(parts):
        shape = tuple(len(range(n)[s]) for n, s in zip(signal, part, strict=True))
        sums = _Sums(np.zeros((bins, int(np.prod(shape, dtype=int)))))
        for i, data in companions.items():
            progress(k / len(parts), f"reading the companion of {images[i].name}")
            _add(sums, data, where[i], part, config, seen[i])
        missing += sums.missing.sum(axis=1)
        found = _statistics(sums, count)
        for whole, one in zip((mean, sigma), found, strict=True):
            whole[(slice(None), *part)] = one.reshape(bins, *shape)
    progress(1.0, "averaged the companion")
    return {
        name: CompanionAverage(
            name,
            mean.reshape(len(names), *frame.shape, *signal)[k],
            sigma.reshape(len(names), *frame.shape, *signal)[k],
            count.reshape(len(names), *frame.shape)[k],
            int(
                (stacks[name].included & np.isin(stacks[name].image_index, list(companions))).sum()
            ),
            config.step_pm,
            int(missing.reshape(len(names), -1)[k].sum()),
        )
        for k, name in enumerate(names)
    }


def _checked(
    companions: Mapping[int, Scanned], images: Sequence[CalibratedImage]
) -> tuple[int, ...]:
    """The shape of the signal, the same for all."""
    shapes = {tuple(data.shape[2:]) for data in companions.values()}
    if len(shapes) != 1 or 0 in next(iter(shapes)):
        raise DefectStrainError(
            f"companion: got signals of shapes {sorted(shapes)}, expected one, the same for all"
        )
    for i, data in companions.items():
        kind = np.dtype(getattr(data, "dtype", float)).kind
        if kind not in "biuf":
            got = "complex numbers" if kind == "c" else f"values of the type {data.dtype}"  # type: ignore[attr-defined]
            raise DefectStrainError(
                f"{images[i].name}: got a companion of {got}, expected real ones: give a part of "
                "them, or several as an axis of the signal (real and imaginary part, colours)"
            )
        ratio = [n / m for n, m in zip(images[i].data.shape, data.shape[:2], strict=True)]
        if not abs(ratio[0] / ratio[1] - 1) <= _ASPECT:
            raise DefectStrainError(
                f"{images[i].name}: got a companion of {data.shape[0]} x {data.shape[1]} positions "
                f"for an image of {images[i].data.shape[0]} x {images[i].data.shape[1]} px, "
                "expected the same field: first axis lines, second positions in a line"
            )
        _check_sum(images[i], data.shape[:2])
    return shapes.pop()


def _check_sum(image: CalibratedImage, scan: tuple[int, ...]) -> None:
    """See that a companion is of the field of a sum of frames, which is no frame's.

    Raises
    ------
    DefectStrainError
        If it isn't.
    """
    field = image.metadata.get("region_px")
    if field is None or all(n % m == 0 for n, m in zip(image.data.shape, scan, strict=True)):
        return
    top, bottom, left, right = field
    raise DefectStrainError(
        f"{image.name}: got a companion of {scan[0]} x {scan[1]} positions for a sum of frames, "
        f"which is cut to what all frames show (rows {top} to {bottom}, columns {left} to {right} "
        "of the first); expected one that is registered and cut likewise"
    )


def _placed(
    shape: tuple[int, ...],
    image: CalibratedImage,
    index: int,
    patches: Sequence[Patch],
    stacks: Sequence[ClassStack],
    frame: WindowFrame,
) -> tuple[IntArray, IntArray]:
    """Bins (of all classes) and scan positions (flat) that belong together, by position."""
    ratio = np.array(image.data.shape) / np.array(shape[:2])  # px a scan position
    side = frame.shape[0]
    reach = (frame.half + 0.5) * frame.step_pm
    bins, places = [np.zeros(0, dtype=int)], [np.zeros(0, dtype=int)]
    for k, stack in enumerate(stacks):
        mine = np.flatnonzero(stack.included & (stack.image_index == index))
        for patch in patches:
            if patch.image_index != index:
                continue
            centre = stack.position_px[mine[patch.member[stack.site_index[mine]]]]
            to_pm = np.linalg.inv(patch.lattice.matrix) * (-1.0 if stack.on_metal else 1.0)
            corner = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) * reach
            extent = np.abs(corner @ patch.lattice.matrix.T).max(axis=0) / ratio + 1
            y, x = (np.arange(-int(np.ceil(e)), int(np.ceil(e)) + 1) for e in extent)
            offset = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)
            for c in centre:
                at = np.rint((c + 0.5) / ratio - 0.5).astype(int) + offset
                pm = ((at + 0.5) * ratio - 0.5 - c) @ to_pm.T
                column, row = np.rint(pm / frame.step_pm * [1, -1]).astype(int).T + frame.half
                good = (row >= 0) & (row < side) & (column >= 0) & (column < side)
                good &= ((at >= 0) & (at < shape[:2])).all(axis=1)
                bins.append((k * side + row[good]) * side + column[good])
                places.append(at[good, 0] * shape[1] + at[good, 1])
    every, where = np.concatenate(bins), np.concatenate(places)
    order = np.argsort(where, kind="stable")
    return every[order], where[order]


def _signal_blocks(
    signal: tuple[int, ...], bins: int, config: CompanionConfig
) -> Iterator[tuple[slice, ...]]:
    """Parts of the signal whose sums take half of the memory at most."""
    if not signal:
        yield ()
        return
    rest = int(np.prod(signal[1:], dtype=int))
    room = config.memory_mb * 1e6 / 2 / (_SUMS * _BYTES * bins * rest)
    step = max(1, min(int(room), signal[0]))
    for start in range(0, signal[0], step):
        yield (slice(start, start + step), *(slice(0, n) for n in signal[1:]))


@dataclass
class _Sums:
    """What fell into each bin, by channel: values, squares, and how many were no numbers."""

    total: FloatArray

    def __post_init__(self) -> None:
        self.square = np.zeros_like(self.total)
        self.missing = np.zeros(self.total.shape, dtype=int)


def _add(
    to: _Sums,
    data: Scanned,
    places: tuple[IntArray, IntArray],
    part: tuple[slice, ...],
    config: CompanionConfig,
    picture: ScanPicture,
) -> None:
    """Add up what a companion holds, and its squares, block by block."""
    bins, where = places
    width, (rows, channels) = data.shape[1], to.total.shape
    room = int(config.memory_mb * 1e6 / 2 / (_COPIES * _BYTES * channels))
    lines = max(1, room // width)
    columns = max(1, min(width, room)) if lines == 1 else width
    for top in range(0, data.shape[0], lines):
        bottom = min(top + lines, data.shape[0])
        first, last = np.searchsorted(where, [top * width, bottom * width])
        if first == last:
            continue  # no window: not read
        line, position = where[first:last] // width - top, where[first:last] % width
        for left in range(0, width, columns):
            right = min(left + columns, width)
            mine = (position >= left) & (position < right)
            if not mine.any():
                continue
            here = slice(top, bottom), slice(left, right)
            value = np.asarray(data[(*here, *part)], dtype=float).reshape(-1, channels)
            flat = line[mine] * (right - left) + position[mine] - left
            ones = np.ones(len(flat))
            sums = csr_array((ones, (bins[first:last][mine], flat)), (rows, len(value)))
            known = np.isfinite(value)
            if not known.all():
                value = np.where(known, value, 0.0)
                to.missing += np.rint(sums @ (~known).astype(float)).astype(int)
            squared = np.square(value)  # not in place: it may be the user's own array
            to.total += sums @ value
            to.square += sums @ squared
            shape = (bottom - top, right - left)
            picture.total[here] += value.sum(axis=1).reshape(shape)
            picture.square[here] += squared.sum(axis=1).reshape(shape)
            picture.read[here] = True


def _statistics(sums: _Sums, count: IntArray) -> tuple[FloatArray, FloatArray]:
    """Means and their standard errors; overwrites the sums."""
    found = count[:, None] - sums.missing
    n = np.where(found > 0, found, np.nan)
    total, square = sums.total, sums.square
    total /= n
    square /= n
    square -= total**2
    more = np.where(found > 1, found - 1, np.nan)
    return total, np.sqrt(np.maximum(square, 0.0) / more)
