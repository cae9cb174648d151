"""The last step: figures with their data, the study, the report."""

from collections.abc import Callable
from functools import partial

from napari.viewer import Viewer
from qtpy.QtWidgets import QLabel

from ...pipeline.runs import RunConfig
from ...types import DefectStrainError
from ..base import forms
from ..base.saving import ask_folder
from ..base.texts import tr
from ..layers import kind, runs
from ..strain import ReportWriting, StrainWidget
from ..study import StudyBar, keeper_of
from .window_results import measured_run, write_run_and_report


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
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        self.group(tr("Figures")).addRow(self.hint)
        self.study = StudyBar(self.viewer, config, self.run_bar.fail)
        self.group(tr("Keep everything")).addRow(self.study)
        report = self.group(tr("Report"))
        self.report = ReportWriting(self)
        self.report.button.hide()  # the run button below does it
        report.addRow(tr("Report as"), self.report.form)
        about = QLabel(
            tr(
                "A report is made of what was measured here, or in the open study; before that, "
                'of a folder that "defectstrain run" wrote.'
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
        self.hint.setText(
            tr(
                "Save figures, above, writes displacement, strain beside theory and the profile "
                "with their data as CSV; classes and files as chosen in step 3."
            )
            if there
            else tr("There is no strain to show yet: measure it in step 3.")
        )

    def take_up(self) -> None:
        """Show the study that was opened."""
        self.study.refresh()
        self.refresh()

    def write(self) -> None:
        """Write the report of the open study, if it has results; else of what was measured here.

        Where nothing was, ask of which folder.
        """
        keeper = keeper_of(self.viewer)
        if keeper is not None and (keeper.study.path / "results").is_dir():
            self.report.write(keeper.study.path)
            return
        measured = self._strain().measured if runs(self.viewer) else None
        if measured is None:
            self.report.ask()
            return
        folder = ask_folder(self, tr("Folder for results and report: a new or an empty one"))
        if folder is None:
            return
        try:
            make = measured_run(self.viewer, measured.run, measured.result)
        except DefectStrainError as mistake:
            self.run_bar.fail(str(mistake))
            return
        self.report.write_new(folder, partial(write_run_and_report, make))
