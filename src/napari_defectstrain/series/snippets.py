"""The command line and the Python that follow a series as its settings say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..pipeline import RunConfig
from ..study import changed_settings, quoted, setting_words, settings_text
from .settings import SeriesConfig

_OPTIONS = {
    "kind": "--kind",
    "per_sum": "--per-sum",
    "step": "--step",
    "purity": "--purity",
    "dose_e_per_nm2": "--dose",
    "current_pa": "--current",
    "frame_time_s": "--frame-time",
    "changed": "--changed",
    "reach": "--reach",
    "hole_columns": "--hole-columns",
}
"""Settings of a series, and their options."""


def series_command(
    paths: Sequence[str | Path], config: SeriesConfig, run: RunConfig, out: str | Path
) -> str:
    """The line of the command line that follows a series.

    Parameters
    ----------
    paths : sequence of path
        A stack of frames, or the frames one by one.
    config : SeriesConfig
    run : RunConfig
        Settings of the chain.
    out : path
        Folder of the results.
    """
    words = ["defectstrain", "series", *map(str, paths), "--out", str(out)]
    for name, value in changed_settings(config).items():
        words += [_OPTIONS[name], str(value)]
    for name, value in changed_settings(run).items():
        words += setting_words(name, value)
    return quoted(words)


def series_script(
    paths: Sequence[str | Path], config: SeriesConfig, run: RunConfig, out: str | Path
) -> str:
    """The Python that follows a series; parameters as `series_command`."""
    names = [str(path) for path in paths]
    return (
        "from napari_defectstrain import RunConfig\n"
        "from napari_defectstrain.io import read_images\n"
        "from napari_defectstrain.output import write_series\n"
        "from napari_defectstrain.series import SeriesConfig, analyse_series, series_text\n\n"
        f"frames = [frame for path in {names!r} for frame in read_images(path)]\n"
        f"config = {settings_text(config)}\n"
        f"run = {settings_text(run)}\n"
        f"result = analyse_series(frames, config, run, {Path(names[0]).stem!r})\n"
        "print(series_text(result))\n"
        f"write_series(result, {str(out)!r})\n"
    )
