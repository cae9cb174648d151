"""The line profile below the viewer: any component along the user's line, with its bands."""

from pathlib import Path
from textwrap import fill

from matplotlib.figure import Figure
from napari.components import ViewerModel
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QTimer, Signal
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ...io.files import write_table
from ...materials import Material
from ...output.figures.files import figure_settings, save_figure
from ...output.figures.profiles import draw_profile, profile_figure
from ...strain.lines import DISPLACEMENT_COMPONENTS, LineProfile
from ...types import DefectStrainError
from ..base import forms, tr
from ..base.lifetime import connect
from ..base.saving import ask_path
from ..base.spacing_plots import MeasurementCanvas
from ..layers.fields import COMPONENTS
from .comparing import Answer
from .comparison_text import notes_of, profile_text

AS_MAPS = "as the maps"
DOCK = "Strain: line profile"
HEIGHT = 300
PX_PER_LETTER, PX_PER_NOTE = 8, 6
"""Room for a letter of the axis' label, and of the notes [px of the screen]."""
PRINT_LETTERS, NOTE_WIDTH = 44, 0.045
"""Of the notes beside a printed profile: letters a line, and the width of a line as a fraction."""
FILES = "Table (*.csv);;Picture (*.png);;Drawing (*.svg);;Document (*.pdf)"
ENDINGS = (".csv", ".png", ".svg", ".pdf")


class ProfileCanvas(MeasurementCanvas):
    """A line profile in the colours of napari's theme."""

    def __init__(self, theme: str, height: int = 190) -> None:
        self._profile: LineProfile | None = None
        self._notes = ""
        super().__init__(theme, height)
        self._settling = QTimer(self)
        self._settling.setSingleShot(True)
        self._settling.setInterval(150)
        self._settling.timeout.connect(self.redraw)

    def show_profile(self, profile: LineProfile, material: Material, notes: str) -> None:
        """Draw a profile; the notes stand along its right edge."""
        self._profile, self._material, self._message = profile, material, ""
        self._notes = notes
        self.redraw()

    def show_message(self, message: str) -> None:
        """Say why there is none."""
        self._profile, self._message = None, message
        self.redraw()

    def redraw(self) -> None:
        """Everything anew; matplotlib takes colours when things are made."""
        if self._profile is None:
            super().redraw()
            return
        self.figure.clear()
        with figure_settings(self._colours()):
            axes = self.figure.subplots()
            draw_profile(axes, self._profile, self._material)
            # Small panels: words are broken into lines, not cut.
            axes.set_xlabel(fill(axes.get_xlabel(), max(20, self.width() // PX_PER_LETTER)))
            write_notes(self.figure, fill(self._notes, max(20, self.height() // PX_PER_NOTE)))
        self.draw_idle()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Break the words anew once the size has settled."""
        super().resizeEvent(event)
        self._settling.start()


class ProfilePanel(QWidget):
    """The plot, the choice of its component, and its export.

    Parameters
    ----------
    viewer : ViewerModel
    """

    component_changed = Signal()
    edit_clicked = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = viewer
        self.profile: LineProfile | None = None
        self._material: Material | None = None
        self._notes = ""
        self.setMinimumHeight(220)
        row = QHBoxLayout()
        self.component = forms.choice([AS_MAPS, *COMPONENTS, *DISPLACEMENT_COMPONENTS])
        self.component.setToolTip(
            tr(
                "Component along the line: strain in % (tension positive, rotation in "
                "mrad), displacement in pm (ux to the right, uy up)"
            )
        )
        self.component.currentIndexChanged.connect(lambda _: self.component_changed.emit())
        self.edit = QPushButton(tr("Move the line"))
        self.edit.setToolTip(
            tr(
                "Select the line's layer, ready to drag its ends; with its arrow tool the "
                "whole line moves, also onto another map. The plot follows"
            )
        )
        self.edit.clicked.connect(self.edit_clicked)
        self.export = QPushButton(tr("Export…"))
        self.export.setToolTip(
            tr("Write the profile as CSV, PNG, SVG or PDF, by the file's ending")
        )
        self.export.setEnabled(False)
        self.export.clicked.connect(self.write)
        self.state = QLabel()
        self.state.setWordWrap(True)
        self.state.setToolTip(
            tr(
                "Extremes of measurement less model that noise alone would make anywhere "
                "on the line with a probability below 5 %"
            )
        )
        for widget in (self.component, self.edit, self.export):
            row.addWidget(widget)
        row.addWidget(self.state, 1)
        self.canvas = ProfileCanvas(viewer.theme)
        self.canvas.setToolTip(
            tr(
                "Measured, ± one standard error (with known systematic ones), and the full "
                "range of 1000 bootstrap samples of the windows; theories with the "
                "probability of a larger χ². Columns near the line are marked below"
            )
        )
        self.show_nothing()
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 2, 4, 4)
        column.addLayout(row)
        column.addWidget(self.canvas, 1)
        connect(self, viewer.events.theme, self._follow_theme)

    def chosen(self, of_maps: str) -> str:
        """The component along the line."""
        text = self.component.currentText()
        return of_maps if text == AS_MAPS else text

    def show_nothing(self) -> None:
        """Say that nothing was measured."""
        self.profile = None
        self.export.setEnabled(False)
        self.state.setText("")
        self.canvas.show_message(tr("Nothing measured yet"))

    def show_answer(self, answer: Answer, material: Material) -> None:
        """Draw the profile, or say why there is none."""
        self.profile, self._material = answer.profile, material
        self.export.setEnabled(answer.profile is not None)
        if answer.profile is None:
            self.canvas.show_message(answer.line_problem)
            self.state.setText("")
            return
        self._notes = notes_of(answer)
        self.canvas.show_profile(answer.profile, material, self._notes)
        self.state.setText(f"{answer.asked.class_name}  {profile_text(answer.profile)}")

    def write(self) -> None:
        """Write the profile where the user says: a table or a figure, by the file's ending."""
        if self.profile is None:
            return
        name = f"profile_{self.profile.class_name}_{self.profile.component}.csv"
        try:
            path = ask_path(self, tr("Export the line profile"), name, FILES, ENDINGS)
            if path is None:
                return
            write_profile(path, self.profile, self._material, self._notes)
        except (DefectStrainError, OSError) as mistake:
            show_error(str(mistake))
            return
        show_info(f"Wrote {path}")

    def _follow_theme(self, *_: object) -> None:
        self.canvas.set_theme(self.viewer.theme)


def write_profile(
    path: Path, profile: LineProfile, material: Material | None, notes: str = ""
) -> None:
    """A profile as CSV (positions in pm, strain as fractions), or as a figure with its notes."""
    if path.suffix.lower() == ".csv":
        write_table(path, profile.table())
        return
    figure = profile_figure(profile, material)
    write_notes(figure, fill(notes, PRINT_LETTERS))  # a height of 2.7 inches
    save_figure(figure, path)


def write_notes(figure: Figure, notes: str) -> None:
    """Small words along the right edge of a figure, which is left free for them."""
    if notes:
        lines = 1 + notes.count("\n")
        figure.get_layout_engine().set(rect=(0.0, 0.0, 1.0 - NOTE_WIDTH * lines, 1.0))
        figure.text(0.995, 0.5, notes, rotation=90, ha="right", va="center", fontsize=7)
