"""Figures of how good detection is: confusion, reliability, curves, and the course of training.

One function a figure, results in, a matplotlib `Figure` out, without pyplot, as in `figures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...evaluation.calibration_curve import P_RANGE, Reliability
from ...evaluation.conditions import LABELS
from ...materials import DEFECT_ROLES, ROLES, Material
from ...styles import CLASS_STYLE, with_error
from ...types import DefectStrainError
from .files import COLUMN_INCH, PAGE_INCH, for_print
from .panels import letter_panels

_LOGARITHMIC = ("dose_e_per_nm2",)


@for_print
def confusion_figure(table: pd.DataFrame) -> Figure:
    """The confusion matrix, rows of true classes and of kinds of look-alikes, by shares of rows.

    Parameters
    ----------
    table : DataFrame
        Of `evaluation.tables.confusion_table`.
    """
    shown = table[table.drop(columns=["truth", "look_alike"]).sum(axis=1) > 0]
    names = [c for c in table.columns if c not in ("truth", "look_alike")]
    counts = shown[names].to_numpy(dtype=float)
    share = counts / counts.sum(axis=1, keepdims=True)
    figure = Figure(figsize=(COLUMN_INCH, 0.6 + 0.2 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, j in np.argwhere(counts > 0):
        colour = "white" if share[i, j] > 0.6 else "black"
        axes.text(j, i, f"{counts[i, j]:.0f}", ha="center", va="center", color=colour, fontsize=7)
    classes = int((~shown["look_alike"].astype(bool)).sum())
    if classes < len(shown):
        axes.axhline(classes - 0.5, color="black", linewidth=1)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(shown)), shown["truth"])
    axes.set_xlabel("found")
    axes.set_ylabel("true")
    return figure


@for_print
def reliability_figure(found: Mapping[str, Reliability], material: Material) -> Figure:
    """Reliability diagrams: how often columns of a probability are of the class.

    Bars are the standard errors that true probabilities would have; they lie on the diagonal.
    Empty bins, and classes without a doubtful column, are left out.
    """
    found = {name: r for name, r in found.items() if r.columns}
    rows = max(1, -(-len(found) // 4))
    figure = Figure(figsize=(PAGE_INCH, 0.2 + 1.9 * rows), layout="constrained")
    panels = figure.subplots(rows, 4, squeeze=False, sharex=True, sharey=True)
    colours = dict(zip(material.class_names, (CLASS_STYLE[r].colour for r in ROLES), strict=True))
    for axes in panels.flat[len(found) :]:
        axes.set_visible(False)
    for axes, (name, r) in zip(panels.flat, found.items(), strict=False):
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
        seen = r.count > 0
        n, p, f = r.count[seen], r.probability[seen], r.frequency[seen]
        # the error expected at that probability: a bin of one column is no certainty
        error = np.sqrt(p * (1 - p) / n)
        axes.errorbar(
            p, f, error, fmt="o", color=colours[name], markersize=4, markeredgecolor="0.3"
        )
        error_text = f"ECE {with_error(r.ece, r.ece_std, '.3f')}\n(by chance {r.ece_if_true:.3f})"
        axes.set_title(f"{name}: {r.columns} columns\n{error_text}", fontsize=7)
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.02, 1.02)
    low, high = P_RANGE
    figure.supxlabel(f"probability given ({low:g} to {high:g})", fontsize=7.5)
    figure.supylabel("fraction of that class", fontsize=7.5)
    letter_panels(panels.flat[: len(found)])
    return figure


@for_print
def curves_figure(table: pd.DataFrame, material: Material) -> Figure:
    """F1 of each class against each condition; the oracle's beside it as broken lines.

    Parameters
    ----------
    table : DataFrame
        Of `evaluation.tables.curves_table`.
    material : Material
    """
    parameters = list(dict.fromkeys(table["parameter"]))
    columns = min(3, max(1, len(parameters)))
    rows = max(1, -(-len(parameters) // columns))
    width = PAGE_INCH if columns > 1 else COLUMN_INCH
    figure = Figure(figsize=(width, 0.35 + 2.0 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    panels = list(grid.flat[: len(parameters)])
    for axes in grid.flat[len(parameters) :]:
        axes.remove()
    names = dict(zip(ROLES, material.class_names, strict=True))
    for axes, parameter in zip(panels, parameters, strict=True):
        for judge, line in (("detection", "-"), ("oracle", ":")):
            part = table[(table["parameter"] == parameter) & (table["judge"] == judge)]
            for role in DEFECT_ROLES if len(part) else ():
                name = names[role]
                label = name + (" (oracle)" if judge == "oracle" else "")
                style = CLASS_STYLE[role]
                error = part[f"{name}_std"] if judge == "detection" else None
                axes.errorbar(
                    part["value"],
                    part[name],
                    error,
                    fmt=line,
                    marker=style.marker,
                    color=style.colour,
                    label=label,
                )
        if parameter in _LOGARITHMIC:
            axes.set_xscale("log")
        axes.set_xlabel(LABELS.get(parameter, parameter))
        axes.set_ylim(0, 1.03)
        axes.grid(alpha=0.3)
    for axes in panels[::columns]:
        axes.set_ylabel("F1")
    letter_panels(panels, inside=False)
    if panels:
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=len(DEFECT_ROLES))
    return figure


@for_print
def training_figure(
    log: pd.DataFrame, material: Material | None = None, steps_per_epoch: int = 1
) -> Figure:
    """Loss, precision and recall of each class against epoch (Fig. S3).

    Parameters
    ----------
    log : DataFrame
        What training writes beside its weights: step, loss, precision_<role>, recall_<role>.
    material : Material, optional
        Gives the names of the classes; without it they are called by their roles.
    steps_per_epoch : int
        1 draws against steps.

    Raises
    ------
    DefectStrainError
        If the log lacks the columns step and loss.
    """
    if not {"step", "loss"} <= set(log):
        raise DefectStrainError(
            f"training log: got the columns {', '.join(map(str, log))}, expected step and loss"
        )
    figure = Figure(figsize=(PAGE_INCH, 2.3), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True)
    epoch = log["step"] / steps_per_epoch
    panels[0].plot(epoch, log["loss"], color="0.2", label="training")
    for name in ("validation_loss", "val_loss"):
        if name in log:
            panels[0].plot(epoch, log[name], color="#0072B2", label="validation")
            panels[0].legend()
    panels[0].set_yscale("log")
    panels[0].set_ylabel("loss")
    for axes, what in zip(panels[1:], ("precision", "recall"), strict=True):
        _rate_curves(axes, epoch, log, what, material)
        axes.set_ylabel(what)
        axes.set_ylim(None, 1.002)
    panels[1].legend(ncols=2, loc="lower right")
    for axes in panels:
        axes.set_xlabel("epoch" if steps_per_epoch > 1 else "step")
        axes.grid(alpha=0.3)
    letter_panels(panels, inside=False)
    return figure


def _rate_curves(
    axes: Axes, epoch: Sequence[float], log: pd.DataFrame, what: str, material: Material | None
) -> None:
    for role, name in zip(ROLES, material.class_names if material else ROLES, strict=True):
        column = next((c for c in (f"{what}_{role}", f"{role}_{what}") if c in log), None)
        if column is not None:
            colour = CLASS_STYLE[role].colour
            axes.plot(epoch, log[column], color=colour, linewidth=1.3, label=name)


def read_training_log(path: Path) -> pd.DataFrame:
    """The log of a training run, ``<weights>.csv``.

    Raises
    ------
    DefectStrainError
        If it can't be read as a table.
    """
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DefectStrainError(f"{path}: can't be read as a training log: {error}") from error
