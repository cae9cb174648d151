"""Write an evaluation into a folder: tables, figures, and ``evaluation.json`` as the last.

The files are described in ``docs/evaluation.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from .. import __version__
from ..evaluation import tables as tables
from ..evaluation.calibration_curve import Reliability
from ..evaluation.folders import Evaluation
from ..io.files import write_json, write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_evaluation(
    made: Evaluation,
    found: Mapping[str, Reliability],
    out_dir: Path,
    sources: Sequence[Path],
    formats: Sequence[str] = ("png",),
) -> list[Path]:
    """Write all tables and figures of an evaluation; returns the files written.

    Parameters
    ----------
    made : Evaluation
    found : mapping of class to Reliability
    out_dir : Path
        Created where it doesn't exist.
    sources : sequence of Path
        The folders that were compared, for the record.
    formats : sequence of str
        Of the figures, some of `results.FIGURE_FORMATS`.
    """
    from .figures.files import write_figure

    (out_dir / "figures").mkdir(parents=True, exist_ok=True)
    files = []
    written = evaluation_frames(made, found)
    for name, table in written.items():
        files.append(out_dir / f"{name}.csv")
        write_table(files[-1], table)
    for name, figure in _figures(made, found, written).items():
        files += write_figure(figure, out_dir / "figures", name, formats)
    path = out_dir / "evaluation.json"
    write_json(
        path,
        {
            "software": "napari-defectstrain",
            "version": __version__,
            "predictions": str(sources[0]),
            "truth": str(sources[1]),
            "material": made.material.name,
            "hit_radius_pm": made.radius_pm,
            "complete_truth": made.complete,
            "judged": list(made.judged),
            "notes": list(made.notes),
            **{name: _records(table) for name, table in written.items()},
            "files": [file.relative_to(out_dir).as_posix() for file in files],
        },
    )
    return [*files, path]


def evaluation_frames(
    made: Evaluation, found: Mapping[str, Reliability]
) -> dict[str, pd.DataFrame]:
    """The tables by the names of their files; those that would be empty are left out."""
    frames = {"columns": tables.columns_table(made), "positions": tables.positions_table(made)}
    if made.judged:
        frames |= {
            "scores": tables.scores_table(made),
            "confusion": tables.confusion_table(made),
            "images": tables.images_table(made),
            "calibration": tables.calibration_table(dict(found)),
            "purity": tables.purity_check(made),
            "curves": tables.curves_table(made),
        }
    return {name: table for name, table in frames.items() if len(table)}


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values: NaN becomes null."""
    return [
        {name: None if pd.isna(value) else value for name, value in row.items()}
        for row in table.astype(object).to_dict("records")
    ]


def _figures(
    made: Evaluation, found: Mapping[str, Reliability], frames: Mapping[str, pd.DataFrame]
) -> dict[str, Figure]:
    from .figures import detection as figures  # matplotlib: only where something is drawn

    drawn = {}
    if "confusion" in frames:
        drawn["confusion"] = figures.confusion_figure(frames["confusion"])
    if any(r.columns for r in found.values()):
        drawn["reliability"] = figures.reliability_figure(found, made.material)
    if "curves" in frames:
        drawn["curves"] = figures.curves_figure(frames["curves"], made.material)
    return drawn
