"""Pixels that say nothing of the specimen: hot and dead ones, and those at the end of the scale.

Both are looked for right after loading, before frames are summed and columns are looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from ..progress import subprogress
from ..types import (
    BoolArray,
    CalibratedImage,
    DefectStrainError,
    FloatArray,
    IntArray,
    Progress,
    no_progress,
)
from .rasters import validate_image

CHECKED = "pixels_checked"
"""Key of the metadata of images that were looked through."""
REPLACED = "replaced_pixels"
"""Key of the metadata for the number of hot and dead pixels."""
CLIPPED = "clipped_pixels"
"""Key of the metadata for the numbers of pixels at the ``lowest`` and at the ``highest`` level."""

_FEWEST_LEVELS = 4
"""Grey levels below which a picture says no more of brightness than a mask."""
_MASKED = 0.1  # share of the pixels at the highest of so few; sparse counts have fewer there

_LARGEST = 1e38  # single precision ends at 3.4e38
_FINE, _COARSE = 1e-3, 0.05  # of the grey values' range: steps to be avoided, and to be refused
_RANGES = (1e-9, 1e9)  # of grey values, whose fourth powers single precision holds

MAX_CLIPPED = 1e-3
"""Share of the pixels at the last grey level that is worth a warning."""

_SAMPLE = 400_000  # pixels that tell how far pixels lie from their neighbours
_STRIP = 1024  # rows looked through at a time
_COMMON, _RARE = 2e-2, 2e-3  # shares of pixels; hot pixels must be rarer than the latter
_SPARE = 1.5  # decades: an exponential tail holds such a pixel in one of thirty images
_LOCAL = 2.5  # times the distance of the fifth of the pixels around from their neighbours
_FIFTH = 5  # others around may be hot as well
_AROUND = 7  # px; half the side of that neighbourhood
_SHARED = 0.15  # of a column's height shows in the pixels beside its highest, however narrow it is
_RING1 = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
_SIDES = [(-1, 0), (0, -1), (0, 1), (1, 0)]
_RING2 = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if max(abs(y), abs(x)) == 2]
_NETWORK = (
    *((0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (1, 2), (5, 6)),
    *((0, 4), (1, 5), (2, 6), (3, 7), (2, 4), (3, 5), (1, 2), (3, 4), (5, 6)),
)
"""Pairs of eight places that, compared in this order, are sorted (Batcher 1968)."""
_LEVELS = 10  # grey levels next to the last one that predict it
_MORE = 2.0  # times what they predict
_SIGNIFICANT = 6.0  # standard deviations
_BLANK = 15  # px; a dark area of this side is a border or a hole
_COUNTED = 2.0  # variance over mean, below which dark pixels look counted one by one


@dataclass(frozen=True)
class Clipping:
    """How many pixels lie at the ends of the grey scale because they could go no further.

    Parameters
    ----------
    lowest, highest : int
        0 where the last level holds no more than its neighbours predict, or than `MAX_CLIPPED`.
    """

    lowest: int
    highest: int


def check_pixels(
    image: CalibratedImage, progress: Progress = no_progress
) -> tuple[CalibratedImage, tuple[str, ...]]:
    """The image without hot and dead pixels, and what is to be said of its pixels.

    Parameters
    ----------
    image : CalibratedImage
        One that was looked through before comes back as it is.
    progress : Progress

    Returns
    -------
    image : CalibratedImage
        Hot and dead pixels are replaced by the median of those around; the metadata say how many
        (`REPLACED`), and how many lie at the ends of the scale (`CLIPPED`).
    warnings : tuple of str

    Raises
    ------
    DefectStrainError
        If the pixels are no image (`rasters.validate_image`).
    """
    checked, texts = check_frames([image], progress)
    return checked[0], tuple(f"{image.name}: {text}" for text in texts)


def check_frames(
    frames: Sequence[CalibratedImage], progress: Progress = no_progress
) -> tuple[list[CalibratedImage], tuple[str, ...]]:
    """As `check_pixels` for the images of one file, of which one warning tells.

    Returns
    -------
    frames : list of CalibratedImage
    warnings : tuple of str
        Without the name of the file.
    """
    checked = []
    replaced, lowest, highest, total, masks = 0, 0, 0, 0, 0
    unusual: list[str] = []
    for i, frame in enumerate(frames):
        if frame.metadata.get(CHECKED) is True:
            checked.append(frame)
            continue
        validate_image(frame)
        usual, told = _usual_values(frame)
        unusual += [text for text in told if text not in unusual]
        clipped = find_clipped(usual)
        masks += _is_mask(usual)
        data, where = without_hot_pixels(
            usual, subprogress(progress, i / len(frames), (i + 1) / len(frames))
        )
        about: dict[str, object] = {CHECKED: True, REPLACED: len(where)}
        if clipped.lowest or clipped.highest:
            about[CLIPPED] = {"lowest": clipped.lowest, "highest": clipped.highest}
        checked.append(replace(frame, data=data, metadata={**frame.metadata, **about}))
        replaced, total = replaced + len(where), total + data.size
        lowest, highest = lowest + clipped.lowest, highest + clipped.highest
    warnings = unusual
    if replaced:
        pixels = "1 hot or dead pixel" if replaced == 1 else f"{replaced} hot or dead pixels"
        warnings.append(f"{pixels} left out (replaced by the median of those around)")
    if masks:
        warnings.append(
            f"fewer than {_FEWEST_LEVELS} grey levels, as of a thresholded picture: brightness "
            "can't tell the classes; export the data as recorded"
        )
    for count, end, effect in (
        (highest, "highest", "bright columns are cut off, and brighter classes (2Te) look like "),
        (lowest, "lowest", "dark columns are cut off, and darker classes (DV) look like "),
    ):
        if count:
            warnings.append(
                f"{100 * count / total:.2g} % of the pixels ({count}) are clipped at the "
                f"{end} grey level: {effect}their neighbours in brightness; export the data "
                "unstretched, or lower the detector's gain"
            )
    return checked, tuple(warnings)


def _usual_values(frame: CalibratedImage) -> tuple[FloatArray, list[str]]:
    """The pixels as single precision can hold them, and what to say where that changed them.

    Parameters
    ----------
    frame : CalibratedImage

    Returns
    -------
    data : array, `(H, W)`
        Without a large offset, and scaled by a power of two where squares would overflow.
    said : list of str

    Raises
    ------
    DefectStrainError
        If an offset in single precision has swallowed the grey levels.
    """
    data = frame.data
    some = data.ravel()[:: 1 + data.size // _SAMPLE].astype(float)
    low, middle, high = (float(v) for v in np.quantile(some, (0.01, 0.5, 0.99)))
    range_, step = high - low, float(np.spacing(np.float32(min(abs(middle), _LARGEST))))
    if range_ <= 0:
        return data, []
    said = []
    if data.dtype == np.float32 and step > _COARSE * range_:
        raise DefectStrainError(
            f"{frame.name}: got values about {middle:.4g} in steps of {step:.3g}, as single "
            f"precision has them there, and a picture of {range_:.3g} between dark and bright; "
            "expected finer steps: export without the offset, or as integers"
        )
    if data.dtype == np.float64 and step > _FINE * range_:
        data = data - low
        said.append(
            f"values about {middle:.4g} that differ by {range_:.3g}: the offset is taken off"
        )
    if not _RANGES[0] < range_ < _RANGES[1]:
        power = -round(np.log2(range_))
        data = np.ldexp(data, power)
        said.append(
            f"values that differ by {range_:.3g}: multiplied by 2^{power}, which changes no "
            "result but the unit of intensities"
        )
    return data, said


# ------------------------------------------------------------------ hot and dead pixels


def without_hot_pixels(
    data: FloatArray, progress: Progress = no_progress
) -> tuple[FloatArray, IntArray]:
    """The picture with its hot and dead pixels replaced.

    A pixel is one if it lies further from the median of its eight neighbours than any of this
    picture's pixels would by chance (an exponential tail through the quantiles of 2 and 0.2 % is
    longer than those of normal and Poisson noise), by far further than the pixels around it do, and
    if the pixels beside it show nothing of it, as those beside the narrowest column do.

    Parameters
    ----------
    data : array, `(H, W)`
        Finite.
    progress : Progress

    Returns
    -------
    data : array, `(H, W)`
        The same array where there are none, else a copy.
    where : array of int, `(K, 2)`
        (y, x) of the pixels replaced.
    """
    low, high = _limits(data)
    candidates = _candidates(data, low, high, progress)
    centre = _values(data, candidates, [(0, 0)])[:, 0]
    away = centre - np.median(_values(data, candidates, _RING1), axis=1)
    far = (away > high) | (away < low)
    candidates, away = candidates[far], away[far]
    sides = np.median(_values(data, candidates, _SIDES), axis=1)
    shared = sides - np.median(_values(data, candidates, _RING2), axis=1)
    alone = shared / away < _SHARED
    candidates, away = candidates[alone], away[alone]
    quiet = np.abs(away) > _LOCAL * _distance_around(data, candidates)
    where = candidates[quiet]
    if len(where) == 0 or len(where) > _RARE * data.size:
        return data, np.zeros((0, 2), dtype=int)
    return _mended(data, where), where


def _values(data: FloatArray, where: IntArray, offsets: Sequence[tuple[int, int]]) -> FloatArray:
    """Pixels around pixels, `(N, k)`; mirrored at the border, without the border itself."""
    found = np.empty((len(where), len(offsets)))
    rows, columns = (
        {step: _mirrored(place + step, n) for step in {offset[axis] for offset in offsets}}
        for axis, (place, n) in enumerate(zip(where.T.copy(), data.shape, strict=True))
    )
    for k, (dy, dx) in enumerate(offsets):
        found[:, k] = data[rows[dy], columns[dx]]
    return found


def _mirrored(place: IntArray, n: int) -> IntArray:
    """Places along a side of n pixels, those beyond it mirrored at its ends."""
    return np.asarray(n - 1 - np.abs(n - 1 - np.abs(place)))


def _limits(data: FloatArray) -> tuple[float, float]:
    """How far below and above the median of its neighbours a pixel may lie by chance."""
    count = min(data.size, _SAMPLE)
    # every k-th pixel, k without a common divisor with the rows, is spread evenly
    flat = np.linspace(0, data.size - 1, count).astype(np.int64)
    where = np.stack(np.unravel_index(flat, data.shape), axis=1)
    centre = _values(data, where, [(0, 0)])[:, 0]
    away = centre - _median_of_eight(_values(data, where, _RING1))
    levels = np.unique(centre)
    # Levels of counts; that of continuous values is next to nothing.
    step = float(np.median(np.diff(levels))) if len(levels) > 1 else 0.0
    decades = np.log10(_RARE * data.size) + _SPARE
    limits = []
    for sign in (-1, 1):
        common, rare = np.quantile(sign * away, [1 - _COMMON, 1 - _RARE])
        limits.append(sign * (max(rare, 0.0) + decades * (rare - common + step)))
    return limits[0], limits[1]


def _median_of_eight(values: FloatArray) -> FloatArray:
    """Median of each row of `(N, 8)`: by a sorting network, which takes a tenth of the time."""
    row = list(values.T.copy())
    for one, other in _NETWORK:
        row[one], row[other] = np.minimum(row[one], row[other]), np.maximum(row[one], row[other])
    return np.asarray((row[3] + row[4]) / 2.0)


def _candidates(data: FloatArray, low: float, high: float, progress: Progress) -> IntArray:
    """Pixels that may lie beyond the limits, by the mean of their neighbours, `(K, 2)`.

    Where a single pixel lies far from the median of the eight around it, it lies nearly as far
    from their mean.
    """
    found = []
    for start in range(0, len(data), _STRIP):
        progress(start / len(data), "looking for hot pixels")
        stop = min(start + _STRIP, len(data))
        rows = slice(max(start - 1, 0), min(stop + 1, len(data)))
        strip = np.pad(
            np.asarray(data[rows], dtype=np.float64),
            ((int(start == 0), int(stop == len(data))), (1, 1)),
            mode="reflect",
        )
        lines = strip[:-2] + strip[1:-1] + strip[2:]
        around = lines[:, :-2] + lines[:, 1:-1] + lines[:, 2:]
        own = strip[1:-1, 1:-1]
        away = own - (around - own) / 8
        place = np.argwhere((away > 0.5 * high) | (away < 0.5 * low))
        found.append(place + [start, 0])
    return np.concatenate(found)


def _distance_around(data: FloatArray, where: IntArray) -> FloatArray:
    """How far the fifth of the pixels around each of some pixels lies from its neighbours."""
    result = np.zeros(len(where))
    for n, (y, x) in enumerate(where.tolist()):
        patch = np.asarray(
            data[max(y - _AROUND, 0) : y + _AROUND + 1, max(x - _AROUND, 0) : x + _AROUND + 1],
            dtype=float,
        )
        inside = np.argwhere(np.ones(patch.shape, dtype=bool))
        away = np.abs(patch.ravel() - np.median(_values(patch, inside, _RING1), axis=1))
        here = (inside == [y - max(y - _AROUND, 0), x - max(x - _AROUND, 0)]).all(axis=1)
        result[n] = np.partition(away[~here], -_FIFTH)[-_FIFTH]
    return result


def _mended(data: FloatArray, where: IntArray) -> FloatArray:
    """The picture with some pixels replaced by the median of the sound ones around them."""
    bad = np.zeros(data.shape, dtype=bool)
    bad[tuple(where.T)] = True
    around = _values(data, where, _RING1)
    sound = ~_values(bad, where, _RING1).astype(bool)
    around = np.where(sound | ~sound.any(axis=1, keepdims=True), around, np.nan)
    result = data.copy()
    result[tuple(where.T)] = np.nanmedian(around, axis=1)
    return result


# ------------------------------------------------------------------ clipping


def find_clipped(data: FloatArray) -> Clipping:
    """How many pixels are clipped at either end of the scale.

    The last level is compared with what the levels next to it predict (a straight line through the
    logarithm of their counts, which the tails of real histograms stay below). Large dark areas are
    borders and holes; zeros are none where the dark pixels' variance is that of counts.
    """
    return Clipping(_clipped_at(data, -1), _clipped_at(data, 1))


def _is_mask(data: FloatArray) -> bool:
    some = np.unique(data.ravel()[:: max(1, data.size // _SAMPLE)])
    if len(some) >= _FEWEST_LEVELS:
        return False
    return bool((data == data.max()).mean() > _MASKED)


def _clipped_at(data: FloatArray, end: int) -> int:
    last = data.max() if end > 0 else data.min()
    at_end = data == last
    count = int(np.count_nonzero(at_end))
    if count <= MAX_CLIPPED * data.size:
        return 0
    counted = np.ones(data.shape, dtype=bool)
    if end < 0:
        counted = ~_blank(at_end)
        count = int(np.count_nonzero(at_end & counted))
        if count <= MAX_CLIPPED * counted.sum() or _are_counts(data, at_end, counted):
            return 0
    values, number = np.unique(data[counted].ravel()[::-end], return_counts=True)
    number = number[::-1][: _LEVELS + 1] if end > 0 else number[: _LEVELS + 1]
    if len(number) < 4:
        return 0  # a picture of so few levels predicts nothing
    near = number[1:].astype(float)
    slope, level = np.polyfit(np.arange(1, len(near) + 1), np.log(near), 1, w=np.sqrt(near))
    expected = min(float(np.exp(level)), 3.0 * float(near.max()))
    error = np.sqrt(expected + expected**2 / near.sum())
    significant = count > _MORE * expected and count - expected > _SIGNIFICANT * error
    return count if significant else 0


def _blank(at_end: BoolArray) -> BoolArray:
    """Areas, with their ragged rims, that hold a square of the lowest level."""
    core = minimum_filter(at_end.astype(np.uint8), _BLANK, mode="nearest")
    if not core.any():
        return np.zeros(at_end.shape, dtype=bool)
    return np.asarray(maximum_filter(core, 2 * _BLANK + 1, mode="nearest") > 0)


def _are_counts(data: FloatArray, at_end: BoolArray, counted: BoolArray) -> bool:
    """Whether the pixels around the lowest ones vary as counts of the same mean do.

    The sum of Poisson counts has the variance of its mean; a scale that was cut off at zero in the
    middle of its noise has much more, in steps of its levels.
    """
    lowest = float(data.min())  # 0, or the dark level
    levels = np.unique(data[counted].ravel()[:: max(1, data.size // _SAMPLE)])
    if len(levels) < 2:
        return False
    step = float(np.min(np.diff(levels)))
    where = np.argwhere(at_end & counted)
    where = where[:: max(1, len(where) // 20_000)]
    around = (_values(data, where, _RING1) - lowest) / step
    return bool(around.var(axis=1, ddof=1).mean() < _COUNTED * around.mean())
