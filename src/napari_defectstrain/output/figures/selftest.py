"""The figure of a self-test: what was found less what was built in.

Nothing is computed here but differences.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...materials import Material
from ...styles import class_styles
from .files import PAGE_INCH, for_print
from .panels import letter_titles

_COLOURS = ("#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
_MARKERS = "osD^vP*X"
_UNITS = (("%", "strain of the spacing (%)"), ("pm", "outward displacement (pm)"))


@for_print
def selftest_figure(table: pd.DataFrame, material: Material) -> Figure:
    """Found less built in against built in, with total errors: strains left, shells right.

    Parameters
    ----------
    table : DataFrame
        Of `pipeline.selftest.SelfTest`.
    material : Material
    """
    trials = list(dict.fromkeys(table["trial"]))
    figure = Figure(figsize=(PAGE_INCH, 2.4 * len(trials)), layout="constrained")
    axes = figure.subplots(len(trials), 2, squeeze=False)
    for row, trial in zip(axes, trials, strict=True):
        mine = table[table["trial"] == trial]
        for ax, (unit, label) in zip(row, _UNITS, strict=True):
            _draw(ax, mine[mine["unit"] == unit], material)
            ax.set_xlabel(f"built in, {label}")
            ax.set_ylabel(f"found − built in ({unit})")
        row[0].set_title(f"{trial}: nearest metals")
        row[1].set_title(f"{trial}: shells of columns")
        row[1].legend(loc="best", ncols=2)
    letter_titles(axes.flat)
    return figure


def _draw(ax: Axes, rows: pd.DataFrame, material: Material) -> None:
    styles = class_styles(material.all_class_names)
    ax.axhline(0.0, color="0.5", linewidth=0.6)
    for number, (name, mine) in enumerate(rows.groupby("class", sort=False)):
        known = styles.get(str(name))
        ax.errorbar(
            mine["built_in"],
            mine["found"] - mine["built_in"],
            np.nan_to_num(mine["sigma_total"].to_numpy(float)),
            fmt=_MARKERS[number % len(_MARKERS)],
            color=known.colour if known else _COLOURS[number % len(_COLOURS)],
            markeredgecolor="0.2",
            markeredgewidth=0.4,
            elinewidth=0.7,
            label=f"{name} (N = {int(mine['n'].iloc[0])})",
        )
