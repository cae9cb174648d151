"""The last step: figures with their data, the study, the report."""

from collections.abc import Callable

from napari.viewer import Viewer
from qtpy.QtWidgets import QLabel, QPushButton

from ...pipeline.runs import RunConfig
from ..base import forms
from ..base.texts import tr
from ..layers import kind
from ..strain import ReportWriting, StrainWidget
from ..study import StudyBar, keeper_of


class ReportPanel(forms.Panel):
    """Figures of the strain, the study that keeps everything, and the report of its results.

    Parameters
    ----------
    napari_viewer : Viewer
    strain : callable
        The widget whose figures are written.
    config : callable
        The settings of a new study.
    """

    page = "report.md"

    def __init__(
        self,
        napari_viewer: Viewer,
        strain: Callable[[], StrainWidget],
        config: Callable[[], RunConfig],
    ) -> None:
        super().__init__(
            napari_viewer,
            "report",
            tr("Write report"),
            tr("A page of everything in a folder of results: of the open study, or one you choose"),
        )
        self._strain = strain
        figures = self.group(tr("Figures"))
        self.figures_button = QPushButton(tr("Save figures…"))
        self.figures_button.setToolTip(
            tr(
                "Displacement, strain beside theory and the profile, with their data as CSV, into "
                "a folder; classes and files as chosen in step 3"
            )
        )
        self.figures_button.clicked.connect(self.save_figures)
        figures.addRow(self.figures_button)
        self.hint = QLabel(tr("There is no strain to show yet: measure it in step 3."))
        self.hint.setWordWrap(True)
        figures.addRow(self.hint)
        self.study = StudyBar(self.viewer, config, self.run_bar.fail)
        self.group(tr("Keep everything")).addRow(self.study)
        report = self.group(tr("Report"))
        self.report = ReportWriting(self)
        self.report.button.hide()  # the run button below does it
        report.addRow(tr("Report as"), self.report.form)
        about = QLabel(
            tr(
                'A report is made of the results that "defectstrain run" wrote into a folder, or '
                'into a study ("defectstrain run --study").'
            )
        )
        about.setWordWrap(True)
        report.addRow(about)
        self.body.addStretch(1)
        self.run_bar.run_clicked.connect(self.write)
        self.watch_layers(self.refresh)
        self.refresh()

    def refresh(self, *_: object) -> None:
        """Offer what there is something to write of."""
        there = any(kind(la) == "displacement" for la in self.viewer.layers)
        self.figures_button.setEnabled(there)
        self.hint.setVisible(not there)

    def take_up(self) -> None:
        """Show the study that was opened."""
        self.study.refresh()
        self.refresh()

    def save_figures(self) -> None:
        """Write the figures of the strain widget."""
        self._strain().figures.ask()

    def write(self) -> None:
        """Write the report of the open study, if it has results; else ask of which folder."""
        keeper = keeper_of(self.viewer)
        if keeper is not None and (keeper.study.path / "results").is_dir():
            self.report.write(keeper.study.path)
        else:
            self.report.ask()
