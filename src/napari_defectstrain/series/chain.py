"""From the frames of a series to histories of its sites, rates and events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..crystal import divide_images
from ..frames import (
    ChangedColumns,
    FrameRegistration,
    changed_columns,
    changes_text,
    drift_table,
    frame_time_s,
    register_frames,
)
from ..io import check_frames
from ..materials import Material, get_material
from ..pipeline import RunConfig, calibrate, check_identity, detect_images
from ..progress import subprogress
from ..types import (
    BoolArray,
    CalibratedImage,
    DefectStrainError,
    FloatArray,
    IntArray,
    Progress,
    Sites,
    no_progress,
)
from .events import Events, Tracks, find_events, hop_counts, make_tracks
from .hidden import (
    HiddenModel,
    HiddenStates,
    Observations,
    RateErrors,
    fit_hidden,
    hidden_states,
    rate_errors,
)
from .holes import Holes, find_holes
from .linking import SeriesSites, link_sites
from .rates import DOSE, ChangedDose, Rate, changed_dose, rate_list
from .settings import SeriesAxis, SeriesConfig, series_axis
from .sums import (
    SumPurity,
    dose_of_groups,
    frame_groups,
    propose_frames,
    sum_groups,
    sum_purity,
)

_REGISTERING, _PROPOSING, _FINDING = 0.3, 0.45, 0.9
_NAMED_SUMS = 5
_FEWEST_SUMS = 4
"""Sums without a common frame below which a false detection is hardly told from a change."""
_UNEQUAL = 1.5
"""Ratio of the contrasts of two frames from which on their doses may differ."""


@dataclass(frozen=True)
class RegisteredSeries:
    """Frames, laid upon each other.

    Parameters
    ----------
    name : str
    frames : tuple of CalibratedImage
        Without hot and dead pixels.
    found : FrameRegistration
    drift : DataFrame
        See `frames.drift_table`.
    total : CalibratedImage
        Sum of all good frames, calibrated.
    changed : ChangedColumns or None
        Columns that changed while they were taken.
    warnings : tuple of str
    """

    name: str
    frames: tuple[CalibratedImage, ...]
    found: FrameRegistration
    drift: pd.DataFrame
    total: CalibratedImage
    changed: ChangedColumns | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Histories:
    """What became of the sites of a series.

    Parameters
    ----------
    axis : SeriesAxis
    per_sum : int
        Frames a sum.
    tried : tuple of SumPurity
        What the number was chosen by; empty where it was given.
    groups : tuple of array of int
        Frames of each sum.
    at : array, `(G,)`
        Middle of each sum along the axis, in its unit.
    sums : tuple of CalibratedImage
    sum_sites : tuple of Sites
        What was detected in each sum.
    sites : SeriesSites
    model : HiddenModel
    errors : RateErrors
    states : HiddenStates
    events : Events
    tracks : Tracks
    holes : Holes
    rates : tuple of Rate
    changed_dose : ChangedDose
    a_px : float
        Lattice constant [px].
    weights_sha256 : str
    """

    axis: SeriesAxis
    per_sum: int
    tried: tuple[SumPurity, ...]
    groups: tuple[IntArray, ...]
    at: FloatArray
    sums: tuple[CalibratedImage, ...]
    sum_sites: tuple[Sites, ...]
    sites: SeriesSites
    model: HiddenModel
    errors: RateErrors
    states: HiddenStates
    events: Events
    tracks: Tracks
    holes: Holes
    rates: tuple[Rate, ...]
    changed_dose: ChangedDose
    a_px: float
    weights_sha256: str


@dataclass(frozen=True)
class SeriesResult:
    """A series, and what was found in it.

    Parameters
    ----------
    config : SeriesConfig
    run : RunConfig
    registered : RegisteredSeries
    histories : Histories or None
        None for frames of a region that is taken to stay as it is.
    warnings : tuple of str
    """

    config: SeriesConfig
    run: RunConfig
    registered: RegisteredSeries
    histories: Histories | None
    warnings: tuple[str, ...]

    @property
    def material(self) -> Material:
        """That of the run."""
        return get_material(self.run.material)


def analyse_series(
    frames: Sequence[CalibratedImage],
    config: SeriesConfig | None = None,
    run: RunConfig | None = None,
    name: str | None = None,
    progress: Progress = no_progress,
) -> SeriesResult:
    """Everything of a series: drift, sums, columns, histories, rates.

    Parameters
    ----------
    frames : sequence of CalibratedImage
        All frames of one place, in order.
    config : SeriesConfig, optional
    run : RunConfig, optional
        Material, pixel size, settings of registration (`series`) and detection.
    name : str, optional
        What results are called; default that of the first frame.
    progress : Progress

    Raises
    ------
    DefectStrainError
        If there are too few frames, they do not show the same place, or no crystal of the material.
    """
    config, run = config or SeriesConfig(), run or RunConfig()
    registered = register_series(frames, run, name, subprogress(progress, 0.0, _REGISTERING))
    return follow_registered(registered, config, run, subprogress(progress, _REGISTERING, 1.0))


def follow_registered(
    registered: RegisteredSeries,
    config: SeriesConfig,
    run: RunConfig,
    progress: Progress = no_progress,
) -> SeriesResult:
    """What `analyse_series` does with frames that are registered already.

    Parameters
    ----------
    registered : RegisteredSeries
    config, run, progress
        As there.
    """
    if config.frame_time_s is not None:
        found, size = registered.found, registered.total.pixel_size_pm
        registered = replace(registered, drift=drift_table(found, size, config.frame_time_s))
    if config.kind == "frames":
        progress(1.0, "done")
        said = changes_text(registered.changed, len(registered.frames))
        notes: tuple[str, ...] = (said,) if said else ()
        return SeriesResult(config, run, registered, None, (*registered.warnings, *notes))
    histories, notes = follow_sites(registered, config, run, progress)
    return SeriesResult(config, run, registered, histories, (*registered.warnings, *notes))


def register_series(
    frames: Sequence[CalibratedImage],
    run: RunConfig,
    name: str | None = None,
    progress: Progress = no_progress,
) -> RegisteredSeries:
    """Lay the frames upon each other, tell bad ones and columns that change.

    Parameters
    ----------
    frames, run, name, progress
        As in `analyse_series`.

    Raises
    ------
    DefectStrainError
        As `frames.register_frames`; if there are fewer than two frames or of several shapes.
    """
    shapes = {frame.data.shape for frame in frames}
    if len(frames) < 2 or len(shapes) > 1:
        raise DefectStrainError(
            f"series: got {len(frames)} frame(s) of shapes {sorted(shapes)}, expected two or more "
            "of one shape"
        )
    checked, doubts = check_frames(frames)
    first = checked[0]
    name = first.name if name is None else name
    stack = np.stack([frame.data for frame in checked])
    try:
        found = register_frames(stack, run.series, progress)
    except DefectStrainError as error:
        raise DefectStrainError(f"{name}: {error}") from error
    total = replace(first, data=found.summed, name=name, metadata=_plain(first.metadata))
    total, notes = calibrate(total, get_material(run.material), run.pixel_size_pm)
    total = replace(total, metadata={**total.metadata, "frames": int((~found.bad).sum())})
    seconds = frame_time_s(first.metadata, first.data.shape)
    return RegisteredSeries(
        name,
        tuple(replace(f, pixel_size_pm=total.pixel_size_pm) for f in checked),
        found,
        drift_table(found, total.pixel_size_pm, seconds),
        total,
        changed_columns(stack, found),
        (*doubts, *found.notes, *notes),
    )


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in metadata.items() if k not in ("frame", "warnings")}


def follow_sites(
    registered: RegisteredSeries,
    config: SeriesConfig,
    run: RunConfig,
    progress: Progress = no_progress,
) -> tuple[Histories, tuple[str, ...]]:
    """Detect the columns of the sums, link them, and find rates and histories.

    Parameters
    ----------
    registered : RegisteredSeries
    config : SeriesConfig
    run : RunConfig
    progress : Progress

    Returns
    -------
    histories : Histories
    notes : tuple of str
        What is to be said of them.
    """
    material = get_material(run.material)
    axis = series_axis(registered.frames[0], config)
    total, learnt = registered.total, run.judge.learnt
    identity = check_identity([total], material, run.force_material, learnt=learnt)
    good = ~registered.found.bad
    frames, found, name = registered.frames, registered.found, registered.name
    calibrated = registered.total.metadata

    def sums_of(groups: Sequence[IntArray]) -> list[CalibratedImage]:
        made = sum_groups(frames, found, groups, name)
        return [replace(s, metadata={**calibrated, **s.metadata}) for s in made]

    per_sum, tried = config.per_sum, tuple[SumPurity, ...]()
    if per_sum is None:
        part = subprogress(progress, 0.0, (_PROPOSING - _REGISTERING) / (1 - _REGISTERING))
        per_sum, tried = _proposed(good, config, run, sums_of, part)
    groups = frame_groups(good, per_sum, config.step)
    sums = sums_of(groups)
    progress(0.22, "detecting")
    detections = detect_images(
        [registered.total, *sums], run, subprogress(progress, 0.22, _FINDING)
    )
    a_px = material.lattice_pm / detections[0].pixel_size_pm
    sites_of = [one.sites for one in detections[1:]]
    _, regions = divide_images([sums[0]], [sites_of[0]], [a_px], run.regions)
    sites = link_sites([detections[0].sites, sites_of[0]], sites_of, a_px, regions[0])
    at = dose_of_groups(groups, axis.per_frame)
    share = min(1.0, (config.step or per_sum) / per_sum)
    seen = Observations(sites.probability, sites.seen, at, share)
    model = fit_hidden(seen, subprogress(progress, _FINDING, 0.97))
    states, changes = hidden_states(seen, model)
    errors = rate_errors(seen, model)
    progress(0.98, "linking defects")
    events = find_events(
        changes, sites.place_px, sites.names, material, config.reach * a_px, len(sums)
    )
    empty = states.path == sites.names.index(material.class_names[5])
    histories = Histories(
        axis=axis,
        per_sum=per_sum,
        tried=tried,
        groups=tuple(groups),
        at=at,
        sums=tuple(sums),
        sum_sites=tuple(sites_of),
        sites=sites,
        model=model,
        errors=errors,
        states=states,
        events=events,
        tracks=make_tracks(states.path, events, sites.names, material),
        holes=find_holes(empty, sites.place_px, a_px, config.hole_columns),
        rates=tuple(rate_list(model, errors, sites.names, material, hop_counts(events))),
        changed_dose=changed_dose(model, errors, config.changed, len(good) * axis.per_frame),
        a_px=a_px,
        weights_sha256=detections[0].weights_sha256,
    )
    progress(1.0, "done")
    said = [note for one in detections for note in one.warnings]
    doubts = [*_doubts(histories, config), *changes_within(registered.changed, groups)]
    about = (*axis.notes, *_unequal(found, axis), *identity.lines)
    return histories, tuple(dict.fromkeys((*about, *said, *doubts)))


def _proposed(
    good: BoolArray,
    config: SeriesConfig,
    run: RunConfig,
    sums_of: Callable[[Sequence[IntArray]], list[CalibratedImage]],
    progress: Progress,
) -> tuple[int, tuple[SumPurity, ...]]:
    """Frames a sum by the purity of a few sums of every number, and what these said."""
    material = get_material(run.material)

    def look(n: int, groups: list[IntArray]) -> SumPurity:
        progress(min(0.1 * n, 0.9), f"trying sums of {n} frame(s)")
        found = detect_images(sums_of(groups), run)
        return sum_purity(n, [one.sites for one in found], material, found[0].overconfidence)

    n, tried = propose_frames(good, config.purity, look)
    return n, tuple(tried)


def changes_within(changed: ChangedColumns | None, groups: Sequence[IntArray]) -> tuple[str, ...]:
    """What to say of sums whose own frames differ by more than noise.

    Parameters
    ----------
    changed : ChangedColumns or None
    groups : sequence of array of int
        Frames of each sum.
    """
    if changed is None or max(map(len, groups)) < 2:
        return ()
    named, count = [], 0
    for k, group in enumerate(groups):
        inside = (changed.frame > group.min()) & (changed.frame <= group.max())
        if not inside.any():
            continue
        count += int(inside.sum())
        frames = f"frames {group.min()} to {group.max()}"
        y, x = changed.position_px[np.flatnonzero(inside)[0]]
        named.append(
            f"sum {k + 1} ({frames}): {int(inside.sum())}, the clearest at y {y:.0f}, x {x:.0f} px "
            f"in frame {changed.frame[np.flatnonzero(inside)[0]]}"
        )
    if not named:
        return ()
    more = f"; and {len(named) - _NAMED_SUMS} more sums" if len(named) > _NAMED_SUMS else ""
    return (
        f"the frames of {len(named)} of {len(groups)} sums differ by more than noise in {count} "
        f"columns ({'; '.join(named[:_NAMED_SUMS])}{more}): these sums mix before and after",
    )


def _without_common_frames(groups: Sequence[IntArray]) -> int:
    """How many of the sums, one after the other, share no frame."""
    count, last = 0, -1
    for group in groups:
        if int(group.min()) > last:
            count, last = count + 1, int(group.max())
    return count


def _unequal(found: FrameRegistration, axis: SeriesAxis) -> list[str]:
    """What to say where frames differ in contrast, and one dose is taken for all of them."""
    gain = found.gain[~found.bad & (found.gain > 0)]
    if axis.quantity != DOSE or not len(gain) or gain.max() < _UNEQUAL * gain.min():
        return []
    least, most = (int(np.flatnonzero(found.gain == g)[0]) for g in (gain.min(), gain.max()))
    return [
        f"frame {most} has {gain.max() / gain.min():.1f} times the contrast of frame {least}: if "
        f"their doses differ, {axis.per_frame * 1e6:.3g} e-/nm2 for each of them is wrong, and so "
        "are rates and cross sections"
    ]


def _doubts(histories: Histories, config: SeriesConfig) -> list[str]:
    """What is doubtful about the number of frames a sum, and the detection."""
    notes = []
    apart = _without_common_frames(histories.groups)
    if apart < _FEWEST_SUMS:
        notes.append(
            f"{apart} sums without a common frame: false detections can hardly be told from "
            "changes, and rates may be too small; sum fewer frames (--per-sum)"
        )
    tried = histories.tried
    if tried and max(one.least for one in tried) < config.purity:
        best = next(one for one in tried if one.per_sum == histories.per_sum)
        worst = min(best.purity, key=lambda name: best.purity[name], default="none")
        notes.append(
            f"no number of frames a sum makes every class {config.purity:g} pure: "
            f"{histories.per_sum} are summed ({worst} {best.least:.2f}); the chain of the sites "
            "allows for it"
        )
    if histories.model.false > 0.05:
        notes.append(
            f"{100 * histories.model.false:.0f} % of the detections say nothing of their site: the "
            "classes' probabilities are too sure for these sums"
        )
    return notes
