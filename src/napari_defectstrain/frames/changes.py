"""Columns that change while the frames of a series are taken: steps beyond their noise.

A sum of frames shows the mean of before and after. Each chalcogen column's intensity is read in
every aligned frame, and compared before and after each frame; noise is what the same sublattice
shows from frame to frame, and its tails are those of the metals, which rarely change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import median_filter
from scipy.special import ndtri

from ..crystal.robust import robust_sigma
from ..types import BoolArray, FloatArray, IntArray
from .places import read_sites_of_frames
from .register import FrameRegistration

CHANGED_COLUMNS = "changed_columns"
"""Key of the metadata of a summed image for the rows of `ChangedColumns.rows`."""

FALSE_ALARMS = 0.05
"""Columns that are named though nothing changed, expected in a series."""

MIN_SITES = 60
_NEIGHBOURHOOD = 5  # sites; what they share is background and contrast, not a column's own change
_TAIL = 0.995  # quantile of the metals by which the limit is set
_TYPICAL = 10.0
"""Hops that the typical site's noise counts for beside a site's own (Smyth 2004,
doi:10.2202/1544-6115.1027)."""
_NAMED = 6


@dataclass(frozen=True)
class ChangedColumns:
    """Columns whose intensity steps between two frames by more than noise.

    Parameters
    ----------
    position_px : array, `(C, 2)`
        (y, x) in the summed image [px].
    frame : array of int, `(C,)`
        The first frame after the step, by its number in the series (from 0).
    step : array, `(C,)`
        Intensity of a frame at the column after the step less that before, in the frames' unit.
    significance : array, `(C,)`
        The step in standard deviations of its noise.
    limit : float
        From which on it counts as one.
    sites : int
        Chalcogen sites that were looked at.
    """

    position_px: FloatArray
    frame: IntArray
    step: FloatArray
    significance: FloatArray
    limit: float
    sites: int

    def __len__(self) -> int:
        return len(self.frame)

    def rows(self) -> list[dict[str, Any]]:
        """One mapping a column, plain values, the most significant first."""
        return [
            {
                "frame": int(t),
                "y_px": round(float(y), 2),
                "x_px": round(float(x), 2),
                "step": round(float(step), 4),
                "significance": round(float(z), 2),
            }
            for t, (y, x), step, z in zip(
                self.frame, self.position_px, self.step, self.significance, strict=True
            )
        ]


def changed_columns(frames: FloatArray, found: FrameRegistration) -> ChangedColumns | None:
    """Look for columns that changed while the frames were taken.

    Parameters
    ----------
    frames : array, `(T, H, W)`
    found : FrameRegistration
        Of these frames.

    Returns
    -------
    ChangedColumns or None
        None where it can't be told: fewer than two good frames, no lattice, or few sites.
    """
    used = np.flatnonzero(~found.bad)
    if len(used) < 2:
        return None
    lines = None if found.lines is None else found.lines.shift_px
    readings = read_sites_of_frames(frames, found.shift_px, used, lines)
    if readings is None:
        return None
    y0, y1, x0, x1 = found.region
    place = readings.place_px
    seen: BoolArray = np.asarray((readings.count > 0).all(axis=0))
    seen = seen & (place >= [y0, x0]).all(axis=-1) & (place <= [y1 - 1, x1 - 1]).all(axis=-1)
    if seen.sum() < MIN_SITES:
        return None
    chalcogen, metal = (_steps(values, seen) for values in (readings.chalcogen, readings.metal))
    limit = _limit(metal.significance[seen], int(seen.sum()), len(used))
    changed = np.argwhere(seen & (np.abs(chalcogen.significance) > limit))
    z = chalcogen.significance[tuple(changed.T)]
    order = np.argsort(-np.abs(z), kind="stable")
    which = tuple(changed[order].T)
    return ChangedColumns(
        position_px=np.asarray(place[which] - [y0, x0], dtype=float),
        frame=used[chalcogen.after[which]],
        step=chalcogen.step[which],
        significance=z[order],
        limit=limit,
        sites=int(seen.sum()),
    )


@dataclass(frozen=True)
class _Steps:
    """The largest step of every site: `(n, m)` each; `after` counts the frames that were used."""

    step: FloatArray
    significance: FloatArray
    after: IntArray


def _steps(values: FloatArray, seen: BoolArray) -> _Steps:
    """The most significant step between any two frames of `values`, `(T, n, m)`."""
    value = np.asarray(values, dtype=float) - values[:, seen].mean(axis=1)[:, None, None]
    own = value - value.mean(axis=0)
    own = np.where(seen, own, 0.0)
    own -= _around(own)
    count = len(own)
    hops = np.diff(own, axis=0)
    typical = float(np.mean([robust_sigma(d[seen], 0.0) ** 2 for d in hops])) / 2  # of one frame
    # bright columns beside dark ones take more of the scan's jitter than the typical site
    variance = (_TYPICAL * typical + (hops**2).sum(axis=0) / 2) / (_TYPICAL + count - 1)
    sigma = np.sqrt(np.maximum(variance, max(typical, 1e-30)))
    sums = np.cumsum(own, axis=0)
    best = np.zeros((3, *seen.shape))
    for after in range(1, count):
        before = sums[after - 1] / after
        step = (sums[-1] - sums[after - 1]) / (count - after) - before
        z = step / (sigma * np.sqrt(1 / after + 1 / (count - after)))
        larger = np.abs(z) > np.abs(best[1])
        best = np.where(larger, np.stack([step, z, np.full(seen.shape, after)]), best)
    return _Steps(best[0], best[1], best[2].astype(int))


def _around(own: FloatArray) -> FloatArray:
    """Median of the sites around, in each frame: of a mean, a neighbour that changes is a part."""
    return np.stack([median_filter(frame, _NEIGHBOURHOOD, mode="nearest") for frame in own])


def _limit(metal: FloatArray, sites: int, count: int) -> float:
    """Significance that noise alone hardly reaches on any site.

    The largest of `count - 1` steps is asked for on each site; where the metals' largest steps are
    longer in the tail than those of white noise would be, so is the limit.
    """
    steps = max(count - 1, 1)
    limit = float(-ndtri(FALSE_ALARMS / sites / steps / 2))
    expected = float(-ndtri((1 - _TAIL) / steps / 2))
    seen = float(np.quantile(np.abs(metal), _TAIL))
    return limit * max(1.0, seen / expected)


def changes_text(changed: ChangedColumns | None, taken: int) -> str:
    """What to say of columns that changed while frames were taken that are summed; "" if nothing.

    Parameters
    ----------
    changed : ChangedColumns or None
    taken : int
        Frames of the series.
    """
    if changed is None or len(changed) == 0:
        return ""
    named = _named(changed.rows())
    more = f"; and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
    return (
        f"{len(changed)} of {changed.sites} chalcogen columns changed while the {taken} frames "
        f"were taken, by more than noise ({named}{more}): their sum mixes before and after; take "
        "them as a dose series (series)"
    )


def _named(rows: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(
        f"at y {row['y_px']:.0f}, x {row['x_px']:.0f} px in frame {row['frame']}"
        for row in rows[:_NAMED]
    )
