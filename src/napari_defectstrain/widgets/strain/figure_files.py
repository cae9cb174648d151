"""Figures of strain beside theory, with their data, into a folder of the user's choice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from napari.utils.notifications import show_info
from qtpy.QtCore import QObject, Signal

from ...io.files import write_table
from ...output.figures.files import write_figure
from ...output.figures.strain import comparison_figure, displacement_figure
from ...output.results import FIGURE_FORMATS, figure_formats
from ...pipeline.comparison import ATOMISTIC, DIFFERENCE, ELASTIC, MEASURED
from ...strain.displacement import error_ellipses
from ...styles import figure_width
from ...theory.defect_numbers import LATTICE
from ...types import STRAIN_COMPONENTS, Progress, StrainField
from ..base import forms
from ..base.preferences import preferred_width_inch
from ..base.saving import ask_folder, may_replace
from ..base.texts import tr
from .comparing import Answer, Asked, Comparer
from .comparison_text import notes_of, reference_title
from .comparison_view import ComparisonView
from .profile_plot import write_profile

CHOSEN, ALL = "the chosen class", "all classes"
REACH_NM = 0.9
"""Half the side of the panels of displacement, as in the paper's Fig. 4."""


class FigureSaving(QObject):
    """Asks for a folder, makes the figures in the worker, and asks before it overwrites.

    Parameters
    ----------
    panel : Panel
    view : ComparisonView
    may_export : callable
        Asks the user where what is shown is of before.
    """

    written = Signal()
    """Emitted when all are there."""

    def __init__(
        self, panel: forms.Panel, view: ComparisonView, may_export: Callable[[], bool]
    ) -> None:
        super().__init__(panel)
        self._panel, self._view, self._may_export = panel, view, may_export
        self.scope = panel.remember(
            "figures_of",
            forms.choice([CHOSEN, ALL]),
            tr("Classes of the figures; the maps' settings are those that are chosen above"),
        )
        every = ", ".join(FIGURE_FORMATS)
        self.formats = panel.remember(
            "figures_as",
            forms.choice([every.upper(), *(kind.upper() for kind in FIGURE_FORMATS)]),
            tr("PNG for slides, PDF and SVG for print: their text stays text, which can be edited"),
        )

    def ask(self) -> None:
        """Ask where, then save."""
        measured = self._view.measured
        if measured is None or self._view.answer is None or not self._may_export():
            return
        folder = ask_folder(self._panel, tr("Folder of the figures"))
        if folder is None:
            return
        comparer, asked = measured.comparer, self._view.question()
        names = [asked.class_name] if self.scope.currentText() == CHOSEN else comparer.classes
        formats = figure_formats(self.formats.currentText())
        width = preferred_width_inch()
        there = [p for p in expected_paths(folder, names, formats) if p.exists()]
        if there and not may_replace(self._panel, there):
            return
        self._panel.run_bar.start(
            lambda progress: _in_width(
                width, save, comparer, asked, names, folder, formats, progress
            ),
            self._said,
            tr("Drawing figures…"),
            what=tr("Figures"),
        )

    def _said(self, written: list[Path]) -> None:
        text = f"Wrote {len(written)} files into {written[0].parent}"
        self._panel.run_bar.status.setText(text)
        show_info(text)
        self.written.emit()


def _in_width(width: float | None, write: Callable[..., list[Path]], *about: Any) -> list[Path]:
    """What `write` gives, with all figures of one width [inch]; None: each of its own."""
    with figure_width(width):  # of this thread
        return write(*about)


def expected_paths(folder: Path, names: list[str], formats: Sequence[str]) -> list[Path]:
    """All that `save` writes for these classes."""
    figures = ["displacement_dilation"]
    tables = ["displacement_dilation.csv"]
    for name in names:
        figures += [f"strain_{name}", f"strain_all_components_{name}", f"profile_{name}"]
        tables += [f"strain_{name}.csv", f"profile_{name}.csv"]
    drawn = [folder / f"{name}.{kind}" for name in figures for kind in formats]
    return drawn + [folder / name for name in tables]


def save(
    comparer: Comparer,
    asked: Asked,
    names: list[str],
    folder: Path,
    formats: Sequence[str],
    progress: Progress,
) -> list[Path]:
    """Draw and write everything of some classes, in some formats; what exists is replaced.

    Figures like the paper's Fig. 4 (arrows, dilation, Eshelby), Fig. 5 (exx, eyy, dilation of
    measurement and theories, line profile) and S6 (all components).

    Returns
    -------
    list of Path
        What was written.
    """
    written: list[Path] = []
    answers = {}
    for i, name in enumerate(names):
        progress(0.3 * i / len(names), f"Comparing {name} with theory")
        # references of other classes than the chosen one are the bundled ones, or none
        answers[name] = comparer.answer(_for_class(asked, name), _silent(progress))
    progress(0.3, "Displacement and dilation")
    written += write_figure(
        _elastic(comparer, answers), folder.joinpath, "displacement_dilation", formats
    )
    written += _table(folder, "displacement_dilation.csv", displacements(answers))
    for i, (name, answer) in enumerate(answers.items()):
        progress(0.4 + 0.6 * i / len(answers), f"Figures of {name}")
        own = answer.comparison.displacement[MEASURED]
        # what must stand beside a reference stands in its figures, too
        named = {
            reference_title(answer) if n == ATOMISTIC else n: f for n, f in answer.panels.items()
        }
        maps = {n: f for n, f in named.items() if n != DIFFERENCE}
        profile, material = answer.profile, comparer.material
        main = comparison_figure(maps, own, profile=profile, material=material)
        written += write_figure(main, folder.joinpath, f"strain_{name}", formats)
        supplement = comparison_figure(named, own, STRAIN_COMPONENTS)
        written += write_figure(
            supplement, folder.joinpath, f"strain_all_components_{name}", formats
        )
        written += _table(folder, f"strain_{name}.csv", strain_table(answer.panels))
        if profile is not None:
            for kind in (*formats, "csv"):
                path = folder / f"profile_{name}.{kind}"
                write_profile(path, profile, material, notes_of(answer))
                written.append(path)
    return written


def _silent(progress: Progress) -> Progress:
    def part(_fraction: float, message: str) -> None:
        progress(0.1, message)

    return part


def _for_class(asked: Asked, name: str) -> Asked:
    if name == asked.class_name:
        return asked
    bundled = asked.reference
    if bundled is not None and bundled.defect is not None:
        bundled = None
    return replace(asked, class_name=name, reference=bundled)


def _elastic(comparer: Comparer, answers: Mapping[str, Answer]) -> Figure:
    compared = {name: answer.comparison for name, answer in answers.items()}
    fields = {name: c.displacement[MEASURED] for name, c in compared.items()}
    return displacement_figure(
        {name: comparer.result.measurements[name].average for name in compared},
        fields,
        {name: c.strain[MEASURED] for name, c in compared.items()},
        {name: c.strain[ELASTIC] for name, c in compared.items()},
        {name: error_ellipses(field) for name, field in fields.items()},
        REACH_NM,
    )


def displacements(answers: Mapping[str, Answer]) -> pd.DataFrame:
    """Displacement of every column, measured and by theory, in the lattice frame [pm]."""
    tables = []
    for name, answer in answers.items():
        fields = answer.comparison.displacement
        own = fields[MEASURED]
        columns = {
            "class": name,
            "x_pm": own.site_pm[:, 0],
            "y_pm": own.site_pm[:, 1],
            "sublattice": own.sublattice,
            "sigma_x_pm": own.sigma_pm[:, 0],
            "sigma_y_pm": own.sigma_pm[:, 1],
        }
        for what in (MEASURED, ELASTIC, LATTICE, ATOMISTIC):
            if what in fields:
                named = what.replace(" ", "_")
                columns[f"ux_{named}_pm"] = fields[what].u_pm[:, 0]
                columns[f"uy_{named}_pm"] = fields[what].u_pm[:, 1]
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def strain_table(panels: Mapping[str, StrainField]) -> pd.DataFrame:
    """Every point of the maps: all components and, of the measurement, errors, as fractions."""
    first = panels[MEASURED]
    x, y = np.meshgrid(first.x_pm, first.y_pm)
    inside = np.isfinite(first.components["dilation"])
    columns = {"x_pm": x[inside], "y_pm": y[inside]}
    for what, field in panels.items():
        for component in STRAIN_COMPONENTS:
            columns[f"{component}_{what}"] = field.components[component][inside]
    for component in STRAIN_COMPONENTS:
        columns[f"sigma_{component}"] = first.sigma[component][inside]
    return pd.DataFrame(columns)


def _table(folder: Path, name: str, table: pd.DataFrame) -> list[Path]:
    write_table(folder / name, table)
    return [folder / name]
