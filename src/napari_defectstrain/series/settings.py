"""How a series is taken apart, and what it runs along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ..config import Between, Config, OneOf
from ..frames import frame_time_s
from ..pipeline import conditions_of
from ..types import CalibratedImage, DefectStrainError
from .rates import DOSE, FRAME, TIME, UNITS

KINDS = ("dose", "time", "frames")
"""A dose series, a time series, or frames of one region that stays as it is."""

_ELECTRONS_PER_PA_US = 6.241509


@dataclass(frozen=True)
class SeriesConfig(Config):
    """Settings of a series.

    Parameters
    ----------
    kind : str
        ``dose``: classes and their rates against dose; ``time``: against time; ``frames``: drift
        and sum alone.
    per_sum : int or None
        Frames a sum; None: the smallest number at which every class is as pure as `purity`.
    step : int or None
        From one sum to the next; None: `per_sum`, sums in groups; less: sums that slide.
    purity : float
        Expected purity of every class that `per_sum` is chosen for.
    dose_e_per_nm2 : float or None
        Of a frame [e-/nm^2]; None: by current and dwell time, or what the file says. Where no file
        knows the dwell time, the beam is taken to be on for all of `frame_time_s`.
    current_pa : float or None
        Of the beam [pA].
    frame_time_s : float or None
        From the start of a frame to that of the next [s]; None: by the dwell time, without flyback.
    changed : float
        The fraction of columns whose dose is asked for.
    reach : float
        Longest hop of a vacancy between two sums, in lattice constants.
    hole_columns : int
        Neighbouring columns without a chalcogen that are called a hole.
    """

    kind: Annotated[str, OneOf(KINDS)] = "dose"
    per_sum: Annotated[int, Between(1, 10**4)] | None = None
    step: Annotated[int, Between(1, 10**4)] | None = None
    purity: Annotated[float, Between(0.5, 1.0)] = 0.95
    dose_e_per_nm2: Annotated[float, Between(1e-3, 1e15)] | None = None
    current_pa: Annotated[float, Between(1e-6, 1e6)] | None = None
    frame_time_s: Annotated[float, Between(1e-9, 1e6)] | None = None
    changed: Annotated[float, Between(1e-6, 0.99)] = 0.01
    reach: Annotated[float, Between(0.9, 10.0)] = 1.2
    hole_columns: Annotated[int, Between(2, 10**4)] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dose_e_per_nm2 is not None and self.current_pa is not None:
            raise DefectStrainError(
                "series: got a dose of a frame and a current, expected one of them"
            )
        if self.step is not None and self.per_sum is not None and self.step > self.per_sum:
            raise DefectStrainError(
                f"series: got sums of {self.per_sum} frames every {self.step}, which would leave "
                "frames out; expected a step of at most the frames of a sum"
            )


@dataclass(frozen=True)
class SeriesAxis:
    """What a series runs along.

    Parameters
    ----------
    quantity : str
        `DOSE`, `TIME` or `FRAME`.
    per_frame : float
        In the unit of `UNITS`.
    dose_per_frame : float or None
        Where it is known [e-/nm^2], whatever the series runs along.
    seconds_per_frame : float or None
    notes : tuple of str
        Where this comes from, if that is news to the user.
    """

    quantity: str
    per_frame: float
    dose_per_frame: float | None
    seconds_per_frame: float | None
    notes: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """Of the axis, for people and tables."""
        return UNITS[self.quantity]


def series_axis(first: CalibratedImage, config: SeriesConfig) -> SeriesAxis:
    """Dose and time of a frame: given, or by what the file says.

    Parameters
    ----------
    first : CalibratedImage
        The first frame, with its pixel size.
    config : SeriesConfig
    """
    scanned = frame_time_s(first.metadata, first.data.shape)
    seconds = scanned if config.frame_time_s is None else config.frame_time_s
    dose = config.dose_e_per_nm2
    notes: tuple[str, ...] = ()
    if dose is None and config.current_pa is not None:
        dose = _dose_of_current(first, config.current_pa, seconds if scanned is None else scanned)
        if config.frame_time_s is not None:
            notes = (_irradiated(scanned, config.frame_time_s),)
    if dose is None:
        single = {k: v for k, v in first.metadata.items() if k != "frames"}
        frame = CalibratedImage(first.data, first.pixel_size_pm, first.name, single)
        dose = conditions_of(frame).get("dose")
    if config.kind == "time":
        if seconds is not None:
            return SeriesAxis(TIME, seconds, dose, seconds, notes)
        missing = "the time of a frame is not known (--frame-time)"
    else:
        if dose is not None:
            return SeriesAxis(DOSE, dose * 1e-6, dose, seconds, notes)
        missing = "the dose of a frame is not known (--dose, or --current)"
    note = f"{missing}: rates are given per frame, without cross sections"
    return SeriesAxis(FRAME, 1.0, dose, seconds, (*notes, note))


def _irradiated(scanned: float | None, period: float) -> str:
    """What time of a frame its dose was counted over, beside the time from frame to frame."""
    if scanned is None:
        return (
            f"the beam is taken to be on for all of the {period:g} s from frame to frame, as no "
            "file says how long a pixel takes; if it isn't, give the dose of a frame (--dose)"
        )
    return (
        f"the dose of a frame is counted over the {scanned:g} s of its pixels by the file, not "
        f"over the {period:g} s from frame to frame"
    )


def _dose_of_current(first: CalibratedImage, current_pa: float, seconds: float | None) -> float:
    """Electrons that hit a frame over its area [e-/nm^2]."""
    if seconds is None or first.pixel_size_pm is None:
        raise DefectStrainError(
            "series: got a current, but neither the file nor the settings say how long a frame "
            "takes; expected --frame-time, or the dose of a frame (--dose)"
        )
    area = first.data.size * (first.pixel_size_pm * 1e-3) ** 2
    return _ELECTRONS_PER_PA_US * 1e6 * current_pa * seconds / area
