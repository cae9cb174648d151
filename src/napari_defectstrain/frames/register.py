"""A series of frames of one region: drift, bad frames, scan lines, and the sum."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ..config import Between, Config, OneOf
from ..progress import subprogress
from ..types import BoolArray, DefectStrainError, FloatArray, Progress, no_progress
from .bad import find_bad_frames
from .places import other_places
from .scan_lines import MIN_FRAMES, LineShifts, measure_lines
from .shifts import coarse_shifts
from .sums import FrameFit, Region, RunningSum, align_frame, common_region, fit_frame

JITTER = ("auto", "off", "on")
MIN_SIDE_PX = 32
REFINEMENTS = 2


@dataclass(frozen=True)
class FrameConfig(Config):
    """How the frames of a series are summed.

    Parameters
    ----------
    max_step_px : float or None
        Largest movement between two frames that is looked for [px]; None: a quarter of the
        shorter side.
    leave_out_bad : bool
        Leave out frames that do not fit the others.
    exclude, include : tuple of int
        Frames (from 0) left out, or kept, whatever they look like.
    jitter : str
        ``auto``: scan lines are moved to where the other frames and the crystal's order have them,
        unless that would move structure; ``on``: always; ``off``: never.
    """

    max_step_px: Annotated[float, Between(0.001, 1e5)] | None = None
    leave_out_bad: bool = True
    exclude: Annotated[tuple[int, ...], Between(0, 10**6)] = ()
    include: Annotated[tuple[int, ...], Between(0, 10**6)] = ()
    jitter: Annotated[str, OneOf(JITTER)] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        both = sorted(set(self.exclude) & set(self.include))
        if both:
            raise DefectStrainError(
                f"frames: got frame(s) {both} both to exclude and to include, expected one of them"
            )


@dataclass(frozen=True)
class FrameRegistration:
    """Drift of a series of frames, and their sum.

    Parameters
    ----------
    shift_px : array, `(T, 2)`
        (y, x) by which the specimen has moved since the first frame that is not bad [px]: what
        lies at r there lies at ``r + shift_px[t]`` in frame t. Where lines jitter, that of the
        mean of the frame's lines. NaN where a frame could not be placed.
    sigma_px : array, `(T, 2)`
        Standard error of the drift at each frame, from the scatter of its bands of rows [px]: of
        counts, and of what the mean of the frame's lines keeps of their jitter.
    summed : array, `(H', W')`
        Sum of the aligned frames over the field that all of them show.
    region : tuple of int
        ``(y0, y1, x0, x1)``: that field in pixels of the frame whose shift is zero.
    ambiguous : array of bool, `(T,)`
        True where the frame shows nothing but the periodic lattice, so that the shift was taken
        nearest to the drift of its neighbours in time: it may be off by a lattice vector.
    bad : array of bool, `(T,)`
        Not in the sum.
    reason : tuple of str
        What is wrong with each frame; empty for good ones.
    gain, sharpness : arrays, `(T,)`
        Contrast relative to the mean of the others, and that of the lattice relative to that of
        the slow background; NaN where a frame could not be placed.
    lines : LineShifts or None
        What was found and undone of scan-line jitter.
    notes : tuple of str
        What the user should know.
    """

    shift_px: FloatArray
    sigma_px: FloatArray
    summed: FloatArray
    region: Region
    ambiguous: BoolArray
    bad: BoolArray
    reason: tuple[str, ...]
    gain: FloatArray
    sharpness: FloatArray
    lines: LineShifts | None
    notes: tuple[str, ...]


def register_frames(
    frames: FloatArray, config: FrameConfig | None = None, progress: Progress = no_progress
) -> FrameRegistration:
    """Rigid shifts of the frames of a series, without jumps by a lattice vector, and their sum.

    The frames are placed by the consensus of their pairwise correlations
    (`shifts.coarse_shifts`), then fitted by the mean of all others
    (`sums.fit_frame`), which also tells frames that don't fit (`bad`). Where there are
    enough frames, the jitter of the scan lines is measured and undone in the same interpolation
    (`scan_lines`).

    Parameters
    ----------
    frames : array, `(T, H, W)`
        Counts or intensities.
    config : FrameConfig, optional
    progress : callable

    Returns
    -------
    FrameRegistration

    Raises
    ------
    DefectStrainError
        If `frames` is no stack of finite frames of 32 px or more a side, no frame or less than half
        of them show the same lattice, no more than half of them show the same place
        (`places.other_places`), or the frames have no field in common.
    """
    config = config or FrameConfig()
    stack = _checked(frames, config)
    count = len(stack)
    words = _left_out_before(stack, config)
    alone = np.array([text != "" for text in words])
    looked = np.flatnonzero(~alone)
    if len(looked) == 1:
        return _single(stack, int(looked[0]), words)
    step = config.max_step_px or min(stack.shape[1:]) / 4
    coarse = coarse_shifts(
        stack[looked] if alone.any() else stack, step, subprogress(progress, 0, 0.4)
    )
    shift, ambiguous = np.full((count, 2), np.nan), np.zeros(count, dtype=bool)
    shift[looked], ambiguous[looked] = coarse.shift_px, coarse.ambiguous
    used = ~np.isnan(shift[:, 0])
    fits: list[FrameFit | None] = [None] * count
    for sweep in range(REFINEMENTS):
        part = subprogress(progress, 0.4 + 0.1 * sweep, 0.5 + 0.1 * sweep)
        _refine(stack, used, used, shift, fits, None, part)
    bad, reason = _judge(stack, fits, shift, words, config)
    _leave_out_other_places(stack, shift, bad, reason, config)
    if (used & bad).any():
        _refine(stack, used, ~bad, shift, fits, None, subprogress(progress, 0.6, 0.7))
    used = ~bad
    sigma = np.array([f.sigma_px if f else [np.nan, np.nan] for f in fits])
    lines, notes = _lines(stack, used, shift, config, subprogress(progress, 0.7, 0.9))
    if lines is not None:
        shift[:, 1] += lines.mean_px
        _refine(stack, used, used, shift, fits, lines.shift_px, subprogress(progress, 0.9, 0.95))
    shift -= shift[int(np.argmax(used))]
    summed, region = _summed(stack, used, shift, lines, subprogress(progress, 0.95, 1.0))
    return FrameRegistration(
        shift_px=shift,
        sigma_px=sigma,
        summed=summed,
        region=region,
        ambiguous=ambiguous,
        bad=bad,
        reason=tuple(reason),
        gain=np.array([f.gain if f else np.nan for f in fits]),
        sharpness=np.array([1 - f.blur if f else np.nan for f in fits]),
        lines=lines,
        notes=(*_remarks(ambiguous & used, bad, reason), *notes),
    )


def _checked(frames: FloatArray, config: FrameConfig) -> FloatArray:
    stack = np.asarray(frames)
    if stack.ndim != 3 or len(stack) == 0 or min(stack.shape[1:]) < MIN_SIDE_PX:
        raise DefectStrainError(
            f"frames: got an array of shape {stack.shape}, expected (frames, height, width) with "
            f"at least {MIN_SIDE_PX} px a side"
        )
    beyond = sorted(t for t in (*config.exclude, *config.include) if not 0 <= t < len(stack))
    if beyond:
        raise DefectStrainError(
            f"frames: got frame(s) {beyond} to exclude or include, expected 0 to {len(stack) - 1}"
        )
    if len(set(config.exclude)) == len(stack):
        raise DefectStrainError("frames: all frames are excluded; keep one at least")
    for t, frame in enumerate(stack):
        if t not in config.exclude and not np.isfinite(frame).all():
            raise DefectStrainError(
                f"frames: frame {t} holds NaN or inf; fill those pixels, or leave the frame out "
                f"(exclude = {t})"
            )
    return stack


def _left_out_before(stack: FloatArray, config: FrameConfig) -> list[str]:
    """Why frames are not even looked at: by hand, or since they repeat another; else empty.

    A repeated frame is no second exposure: the noise would be counted twice.
    """
    words: list[str] = []
    first: dict[bytes, int] = {}
    for t, frame in enumerate(stack):
        if t in config.exclude:
            words.append("left out by hand")
            continue
        known = first.setdefault(hashlib.blake2b(frame.tobytes()).digest(), t)
        words.append("" if known == t or t in config.include else f"repeats frame {known}")
    return words


def _leave_out_other_places(
    stack: FloatArray,
    shift: FloatArray,
    bad: BoolArray,
    reason: list[str],
    config: FrameConfig,
) -> None:
    """Leave out the few frames of other places; changes `bad` and `reason`.

    Raises
    ------
    DefectStrainError
        If no place has most of the frames.
    """
    places = other_places(stack, shift, ~bad)
    if len(places) == 1:
        return
    if 2 * len(places[0]) <= sum(map(len, places)):
        shown = " and ".join(str(place.tolist()) for place in places[:3])
        raise DefectStrainError(
            f"frames: got frames of {len(places)} different places (frames {shown}"
            f"{', ...' if len(places) > 3 else ''}), expected one region: at no shift do their "
            "defects agree better than by chance; take them as separate images, or exclude those "
            "of elsewhere"
        )
    for t in map(int, np.concatenate(places[1:])):
        kept = t in config.include or not config.leave_out_bad
        bad[t] = not kept
        text = "shows another place than most of the others" + (" (kept by hand)" if kept else "")
        reason[t] = f"{reason[t]}; {text}" if reason[t] else text


def _single(stack: FloatArray, t: int, words: list[str]) -> FrameRegistration:
    """One frame is its own sum."""
    count = len(stack)
    if np.ptp(stack[t]) == 0:
        raise DefectStrainError(f"frames: frame {t} is constant: there is nothing to measure")
    nothing = np.full((count, 2), np.nan)
    nothing[t] = 0.0
    bad = np.arange(count) != t
    return FrameRegistration(
        shift_px=nothing,
        sigma_px=nothing.copy(),
        summed=np.asarray(stack[t], dtype=float),
        region=(0, stack.shape[1], 0, stack.shape[2]),
        ambiguous=np.zeros(count, dtype=bool),
        bad=bad,
        reason=tuple(words),
        gain=np.where(bad, np.nan, 1.0),
        sharpness=np.where(bad, np.nan, 1.0),
        lines=None,
        notes=tuple(_remarks(np.zeros(count, dtype=bool), bad, words)),
    )


def _refine(
    stack: FloatArray,
    fitted: BoolArray,
    used: BoolArray,
    shift: FloatArray,
    fits: list[FrameFit | None],
    lines: FloatArray | None,
    progress: Progress,
) -> None:
    """Fit frames by the mean of the others that are `used`; changes `shift` and `fits`."""
    total = RunningSum(stack.shape[1:])
    for t in np.flatnonzero(used):
        total.add(*align_frame(stack[t], shift[t], None if lines is None else lines[t]))
    chosen = np.flatnonzero(fitted)
    for n, t in enumerate(chosen):
        progress(n / len(chosen), f"fitting frame {t + 1} of {len(stack)}")
        aligned, region = align_frame(stack[t], shift[t], None if lines is None else lines[t])
        if used[t]:
            total.add(aligned, region, -1)
        y0, y1, x0, x1 = region
        if total.count.any() and y1 - y0 >= MIN_SIDE_PX and x1 - x0 >= MIN_SIDE_PX:
            middle = int(np.median(total.count[y0:y1, x0:x1]))
            fit = fit_frame(aligned, total.mean(), region, max(middle, 1))
            fits[t] = fit
            # The others are moved as well: only their distance to the mean of all is to be closed.
            shift[t] += fit.shift_px * (1 - 1 / used.sum() if used[t] else 1.0)
        if used[t]:
            total.add(aligned, region)


def _judge(
    stack: FloatArray,
    fits: list[FrameFit | None],
    shift: FloatArray,
    words: list[str],
    config: FrameConfig,
) -> tuple[BoolArray, list[str]]:
    """Frames to leave out, and why; by hand or by what they look like."""
    alone = np.array([text != "" for text in words])
    looked = np.flatnonzero(~alone)
    saturated = np.array([_saturated(stack[t]) for t in looked])
    found, what = find_bad_frames(
        [fits[t] for t in looked], shift[looked], stack.shape[1:], saturated
    )
    bad, reason = alone.copy(), list(words)
    lost = [t for t in config.include if fits[t] is None]
    if lost:
        raise DefectStrainError(
            f"frames: frame(s) {lost} are to be included, but show nothing of what the others "
            "show; take them off the list"
        )
    for t, b, text in zip(looked, found, what, strict=True):
        reason[t] = text
        kept = t in config.include or (not config.leave_out_bad and fits[t] is not None)
        bad[t] = b and not kept
        if b and kept:
            reason[t] += " (kept by hand)"
    nothing = [t for t in looked if fits[t] is None or reason[t].startswith("contrast")]
    if bad.all() or 2 * len(nothing) > len(looked):
        first = nothing[0] if nothing else int(looked[0])
        raise DefectStrainError(
            f"frames: {len(nothing)} of {len(looked)} frames show nothing of what the others show "
            f"(frame {first} {reason[first]}); check that they are of one region, or exclude them"
        )
    return bad, reason


def _saturated(frame: FloatArray) -> float:
    """Share of pixels at the upper limit of what an integer detector can count."""
    if not np.issubdtype(frame.dtype, np.integer):
        return 0.0
    top = int(frame.max())
    # Detectors stop at all bits set: 255, 4095, 65535, ...
    return float((frame == top).mean()) if top >= 255 and (top & (top + 1)) == 0 else 0.0


def _lines(
    stack: FloatArray,
    used: BoolArray,
    shift: FloatArray,
    config: FrameConfig,
    progress: Progress,
) -> tuple[LineShifts | None, tuple[str, ...]]:
    if config.jitter == "off":
        return None, ()
    if used.sum() < MIN_FRAMES:
        return None, (
            f"scan-line jitter is not corrected: {int(used.sum())} frames, {MIN_FRAMES} are needed",
        )
    lines = measure_lines(stack, used, shift, progress, config.jitter == "on")
    return lines, ((lines.note,) if lines.note else ())


def _summed(
    stack: FloatArray,
    used: BoolArray,
    shift: FloatArray,
    lines: LineShifts | None,
    progress: Progress,
) -> tuple[FloatArray, Region]:
    total = RunningSum(stack.shape[1:])
    regions = []
    for t in np.flatnonzero(used):
        progress(t / len(stack), "summing frames")
        own = None if lines is None else lines.shift_px[t]
        aligned, region = align_frame(stack[t], shift[t], own)
        total.add(aligned, region)
        regions.append(region)
    y0, y1, x0, x1 = common_region(regions)
    return total.total[y0:y1, x0:x1].copy(), (y0, y1, x0, x1)


def _remarks(ambiguous: BoolArray, bad: BoolArray, reason: list[str]) -> list[str]:
    notes = []
    if ambiguous.any():
        notes.append(
            f"{int(ambiguous.sum())} of {len(bad)} frames show nothing but the lattice: "
            "their shift may be off by a lattice vector"
        )
    if bad.any():
        listed = "; ".join(f"frame {t}: {reason[t]}" for t in np.flatnonzero(bad)[:5])
        more = f"; and {int(bad.sum()) - 5} more" if bad.sum() > 5 else ""
        notes.append(f"{int(bad.sum())} of {len(bad)} frames left out ({listed}{more})")
    return notes
