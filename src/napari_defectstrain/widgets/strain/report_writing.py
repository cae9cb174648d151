"""The report of a folder of results, written by the worker and shown in the browser."""

from collections.abc import Callable
from pathlib import Path

from napari.utils.notifications import show_info
from qtpy.QtCore import QObject, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QPushButton

from ...output import REPORT_SUFFIXES, report_path, write_report
from ..base import forms
from ..base.saving import ask_folder, may_replace
from ..base.texts import tr

PAGE, DOCUMENT, BOTH = "page (HTML)", "document (PDF)", "both"
_SUFFIXES = {PAGE: REPORT_SUFFIXES[:1], DOCUMENT: REPORT_SUFFIXES[1:], BOTH: REPORT_SUFFIXES}


class ReportWriting(QObject):
    """Asks for a folder of results, writes its report there, and shows it.

    Parameters
    ----------
    panel : Panel
    """

    written = Signal()
    """Emitted when it is there."""

    def __init__(self, panel: forms.Panel) -> None:
        super().__init__(panel)
        self._panel = panel
        self.button = QPushButton(tr("Report…"))
        self.button.setToolTip(
            tr(
                "Everything in the folder of a run or a study as one page (figures, "
                "tables, errors, a reviewer's checklist, methods with citations, data to "
                "download) or as a PDF"
            )
        )
        self.button.clicked.connect(self.ask)
        self.form = panel.remember(
            "report_as",
            forms.choice(list(_SUFFIXES)),
            tr("The page holds the data of its figures, too; the PDF is for print"),
        )

    def ask(self) -> None:
        """Ask which results, then write."""
        folder = ask_folder(self._panel, tr("Folder of results: of a run, or a study"))
        if folder is not None:
            self.write(folder)

    def write(self, folder: Path) -> None:
        """Write the report of a folder of results; asks before it overwrites one."""
        paths = self._paths(folder)
        there = [path for path in paths if path.exists()]
        if there and not may_replace(self._panel, there):
            return
        self._panel.run_bar.start(
            lambda progress: [write_report(folder, path, progress) for path in paths],
            self._said,
            tr("Reading results…"),
            what=tr("Report"),
        )

    def _paths(self, folder: Path) -> list[Path]:
        return [report_path(folder).with_suffix(end) for end in _SUFFIXES[self.form.currentText()]]

    def write_new(self, folder: Path, write: Callable[..., list[Path]]) -> None:
        """Write results that nobody has written yet, and their report.

        Parameters
        ----------
        folder : Path
            Empty, or not there.
        write : callable
            Called in the worker with the folder, the report's files and the progress.
        """
        paths = self._paths(folder)
        self._panel.run_bar.start(
            lambda progress: write(folder, paths, progress),
            self._said,
            tr("Gathering results…"),
            what=tr("Report"),
        )

    def _said(self, written: list[Path]) -> None:
        names = " and ".join(path.name for path in written)
        text = f"Wrote {names} into {written[0].parent}"
        self._panel.run_bar.status.setText(text)
        show_info(text)
        show_file(written[0])
        self.written.emit()


def show_file(path: Path) -> None:
    """Open a file with what the desktop opens such files with."""
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))
