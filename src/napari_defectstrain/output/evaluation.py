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
from ..io.files import write_table
from ..io.out_folder import writing_into
from ..io.unfinished import mark_path
from .results import FIGURE_FORMATS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EVALUATION_FILE = "evaluation.json"
_TABLES = (
    *("columns", "positions", "scores", "confusion"),
    *("images", "calibration", "purity", "curves"),
)


def evaluation_files() -> list[str]:
    """Every file that an evaluation may write, relative to its folder."""
    names = [EVALUATION_FILE, mark_path(Path(), EVALUATION_FILE).name]
    names += [f"{name}.csv" for name in _TABLES]
    drawn = ("confusion", "reliability", "curves")
    return names + [f"figures/{name}.{kind}" for name in drawn for kind in FIGURE_FORMATS]


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
    from .figures.drawn import write_with_data

    with writing_into(out_dir, "evaluate", EVALUATION_FILE) as folder:
        written = evaluation_frames(made, found)
        for name, table in written.items():
            write_table(folder.place(f"{name}.csv"), table)
        for name, figure in _figures(made, found, written).items():
            write_with_data(figure, folder.place, f"figures/{name}", formats)
        content = {
            "software": "napari-defectstrain",
            "version": __version__,
            "predictions": str(sources[0]),
            "truth": str(sources[1]),
            "material": made.material.name,
            "hit_radius_pm": made.radius_pm,
            "complete_truth": made.complete,
            "judged": list(made.judged),
            "notes": list(made.notes),
            "failed": list(made.failed),
            **{name: _records(table) for name, table in written.items()},
        }
        return [*folder.files, folder.finish(content)]


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
