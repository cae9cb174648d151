"""Write a series: tables, figures, the sum of its frames, and ``series.json`` as the last.

The files and their columns are described in ``docs/file-formats.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .. import __version__
from ..io.files import write_table, write_tiff
from ..io.out_folder import OutFolder, file_sha256, writing_into
from ..io.unfinished import mark_path
from ..series import (
    SeriesResult,
    event_table,
    hole_table,
    rate_table,
    series_table,
    series_text,
    track_table,
)
from .results import FIGURE_FORMATS, FIGURES

SERIES_FILE = "series.json"
_TABLES = ("series.csv", "events.csv", "tracks.csv", "rates.csv", "holes.csv")
_DRAWN = ("series", "events", "drift")


def series_files(name: str) -> list[str]:
    """Every file that a series of this name may write, relative to its folder."""
    names = [SERIES_FILE, mark_path(Path(), SERIES_FILE).name, *_TABLES, "changed_columns.csv"]
    names += [f"{name}.drift.csv", f"{name}.tif", f"{name}_sums.tif"]
    endings = (*FIGURE_FORMATS, "csv")
    return names + [f"{FIGURES}/{one}.{kind}" for one in _DRAWN for kind in endings]


def write_series(
    result: SeriesResult,
    out_dir: Path,
    formats: Sequence[str] = FIGURE_FORMATS[:1],
    read: Sequence[Path] = (),
) -> list[str]:
    """Write everything of a series; returns what was kept of the user's, and where.

    Parameters
    ----------
    result : SeriesResult
    out_dir : Path
        Created where it doesn't exist.
    formats : sequence of str
        Of the figures, some of `results.FIGURE_FORMATS`.
    read : sequence of Path
        Files of the frames in their order, to be named in ``series.json`` with their hashes.
    """
    with writing_into(out_dir, "series", SERIES_FILE) as folder:
        _write_frames(result, folder, formats)
        if result.histories is not None:
            _write_histories(result, folder, formats)
        files = [{"path": str(p.resolve()), "file_sha256": file_sha256(p)} for p in read]
        folder.finish({**_about(result), **({"read": files} if files else {})})
    return folder.notes


def _write_frames(result: SeriesResult, folder: OutFolder, formats: Sequence[str]) -> None:
    """The sum of the good frames, the drift, and columns that changed meanwhile."""
    from .figures.drawn import write_with_data
    from .figures.precision import drift_figure

    registered = result.registered
    total = registered.total
    write_tiff(
        folder.place(f"{total.name}.tif"),
        np.asarray(total.data, dtype=np.float32),
        total.pixel_size_pm,
        total.metadata,
    )
    write_table(folder.place(f"{total.name}.drift.csv"), registered.drift)
    write_with_data(drift_figure(registered.drift), folder.place, f"{FIGURES}/drift", formats)
    if registered.changed is not None:
        columns = ["frame", "y_px", "x_px", "step", "significance"]
        rows = pd.DataFrame(registered.changed.rows(), columns=columns)
        write_table(folder.place("changed_columns.csv"), rows)


def _write_histories(result: SeriesResult, folder: OutFolder, formats: Sequence[str]) -> None:
    from .figures.drawn import write_with_data
    from .figures.series import events_figure, series_figure

    found = result.histories
    assert found is not None
    tables = (series_table, event_table, track_table, rate_table, hole_table)
    for name, make in zip(_TABLES, tables, strict=True):
        write_table(folder.place(name), make(result))
    stack = np.stack([np.asarray(image.data, dtype=np.float32) for image in found.sums])
    first = found.sums[0]
    write_tiff(
        folder.place(f"{result.registered.name}_sums.tif"),
        stack,
        first.pixel_size_pm,
        {k: v for k, v in first.metadata.items() if k not in ("frames", "frame_numbers")},
    )
    write_with_data(series_figure(result), folder.place, f"{FIGURES}/series", formats)
    write_with_data(events_figure(result), folder.place, f"{FIGURES}/events", formats)


def _about(result: SeriesResult) -> dict[str, object]:
    """What ``series.json`` says: settings, what the numbers were chosen by, the model."""
    found = result.histories
    about: dict[str, object] = {
        "software": "napari-defectstrain",
        "version": __version__,
        "series": result.config.to_dict(),
        "parameters": result.run.to_dict(),
        "frames": len(result.registered.frames),
        "left_out": np.flatnonzero(result.registered.found.bad).tolist(),
        "summary": series_text(result).split("\n"),
        "warnings": list(result.warnings),
        "failed": [],
    }
    if found is None:
        return about
    one = found.changed_dose
    about["weights_sha256"] = found.weights_sha256
    about["axis"] = {
        "quantity": found.axis.quantity,
        "unit": found.axis.unit,
        "per_frame": found.axis.per_frame,
        "dose_e_per_nm2_per_frame": found.axis.dose_per_frame,
        "seconds_per_frame": found.axis.seconds_per_frame,
    }
    about["frames_per_sum"] = found.per_sum
    about["tried"] = [
        {"frames_per_sum": t.per_sum, "purity": dict(t.purity), "columns": dict(t.columns)}
        for t in found.tried
    ]
    about["chain"] = {
        "classes": list(found.sites.names),
        "rate": found.model.rate.tolist(),
        "start": found.model.start.tolist(),
        "false_detections": found.model.false,
        "missed": found.model.missed.tolist(),
        "log_likelihood": found.states.log_likelihood,
        "sites": len(found.sites.place_px),
        "sites_left_out": found.sites.left_out,
    }
    about["changed"] = {
        "fraction": one.fraction,
        "at": one.dose if np.isfinite(one.dose) else None,
        "low": one.low,
        "high": one.high if np.isfinite(one.high) else None,
        "beyond_the_series": one.beyond,
    }
    return about
