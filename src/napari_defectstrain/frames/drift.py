"""The drift curve of a series of frames, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..types import CalibratedImage
from .register import FrameRegistration

DRIFT_TABLE = "drift_table"
"""Key of the metadata of a summed image for the rows of `drift_table`."""


def drift_table(
    registration: FrameRegistration,
    pixel_size_pm: float | None = None,
    frame_time_s: float | None = None,
) -> pd.DataFrame:
    """The drift curve and what was found about each frame, one row a frame.

    Parameters
    ----------
    registration : FrameRegistration
    pixel_size_pm : float, optional
        Adds the shifts in pm.
    frame_time_s : float, optional
        From the start of a frame to that of the next [s]; adds the time of its middle and, with
        `pixel_size_pm`, the speed since the frame before [pm/s].

    Returns
    -------
    DataFrame
    """
    shift, sigma = registration.shift_px, registration.sigma_px
    count = len(shift)
    table: dict[str, Any] = {"frame": np.arange(count)}
    if frame_time_s is not None:
        table["time_s"] = ((np.arange(count) + 0.5) * frame_time_s).round(6)
    for i, axis in enumerate("yx"):
        table[f"{axis}_px"] = shift[:, i].round(4)
        table[f"sigma_{axis}_px"] = sigma[:, i].round(4)
    if pixel_size_pm is not None:
        for i, axis in enumerate("yx"):
            table[f"{axis}_pm"] = (shift[:, i] * pixel_size_pm).round(2)
            table[f"sigma_{axis}_pm"] = (sigma[:, i] * pixel_size_pm).round(2)
    if pixel_size_pm is not None and frame_time_s is not None:
        step = np.hypot(*np.diff(shift, axis=0).T) * pixel_size_pm / frame_time_s
        table["speed_pm_per_s"] = np.concatenate([[np.nan], step]).round(3)
    table["gain"] = registration.gain.round(4)
    table["sharpness"] = registration.sharpness.round(4)
    if registration.lines is not None:
        table["jitter_px"] = registration.lines.jitter_px.round(4)
        table["sigma_line_px"] = registration.lines.sigma_px.round(4)
    table["ambiguous"] = registration.ambiguous
    table["bad"] = registration.bad
    table["reason"] = list(registration.reason)
    return pd.DataFrame(table)


def drift_of(image: CalibratedImage) -> pd.DataFrame | None:
    """The drift table that a summed image carries in its metadata; None for other images."""
    rows = image.metadata.get(DRIFT_TABLE)
    return None if rows is None else pd.DataFrame(rows)


def series_summary(image: CalibratedImage) -> str:
    """One line on a summed image: frames, drift, jitter; empty for other images."""
    table = drift_of(image)
    if table is None:
        return ""
    used = table[~table["bad"].astype(bool)]
    places = used[["y_px", "x_px"]].to_numpy(dtype=float)
    reach = float(np.hypot(*np.ptp(places, axis=0)))
    drift = f"{reach:.1f} px"
    if image.pixel_size_pm is not None:
        drift = f"{reach * image.pixel_size_pm:.0f} pm"
    text = f"{len(used)} of {len(table)} frames summed, drift {drift}"
    if "jitter_px" in table:
        text += (
            f", scan lines straightened by {used['jitter_px'].astype(float).median():.2f} px rms"
        )
    return text


def frame_time_s(metadata: Mapping[str, Any], shape: tuple[int, ...]) -> float | None:
    """Time of a frame without flyback, from the dwell time of a pixel where it is known [s]."""
    dwell = metadata.get("dwell_time_us")
    if not isinstance(dwell, int | float) or not dwell > 0:
        return None
    return float(dwell) * 1e-6 * shape[0] * shape[1]
