"""The row of buttons of the detect widget that save, open and tell of a study."""

from collections.abc import Callable
from pathlib import Path

from napari.components import ViewerModel
from napari.utils.notifications import show_info, show_warning
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...pipeline.runs import RunConfig
from ...types import DefectStrainError
from ..base import saving, tr
from .keeper import StudyKeeper, keeper_of
from .opening import open_into, recent, save_as

NO_STUDY = "No study: edits live until napari closes. Save study… keeps them, each as you make it"


class StudyBar(QWidget):
    """*Save study…*, *Open study…*, *Recent*, and what is kept.

    Parameters
    ----------
    viewer : ViewerModel
    config : callable
        The settings that a new study begins with; may raise `DefectStrainError`.
    fail : callable
        Shows an error.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        config: Callable[[], RunConfig],
        fail: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.viewer, self._config, self._fail = viewer, config, fail
        self._shown: StudyKeeper | None = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        self.save_button = QPushButton(tr("Save study…"))
        self.save_button.setToolTip(
            tr(
                "Keep images, columns, regions, corrections, averages and measurements in "
                "a folder NAME.defectstrain, from now on every edit as you make it; with a "
                "study open: write all of it now"
            )
        )
        self.save_button.clicked.connect(self.save)
        self.open_button = QPushButton(tr("Open study…"))
        self.open_button.setToolTip(tr("Open a folder NAME.defectstrain; or drop it on napari"))
        self.open_button.clicked.connect(self.open)
        self.recent_button = QPushButton(tr("Recent"))
        self.recent_button.setToolTip(tr("Studies that were open lately"))
        self.menu = QMenu(self)
        self.menu.aboutToShow.connect(self._fill_menu)
        self.recent_button.setMenu(self.menu)
        for button in (self.save_button, self.open_button, self.recent_button):
            row.addWidget(button)
        column.addLayout(row)
        self.copy = QCheckBox(tr("with copies of the images"))
        self.copy.setToolTip(
            tr(
                "Off: images stay where they are; the study knows them by path and "
                "content. On: it holds copies, and can be moved and sent as a whole"
            )
        )
        column.addWidget(self.copy)
        self.state = QLabel()
        self.state.setWordWrap(True)
        self.state.setToolTip(tr("The study that is open, and whether edits are kept"))
        column.addWidget(self.state)
        self.refresh()

    def refresh(self) -> None:
        """Show what is kept."""
        keeper = keeper_of(self.viewer)
        if keeper is not self._shown:
            self._shown = keeper
            if keeper is not None:
                keeper.changed.connect(self.refresh)
        self.state.setText(NO_STUDY if keeper is None else keeper.state)
        writing = keeper is not None and not keeper.study.read_only
        self.save_button.setText("Save study now" if writing else "Save study…")
        self.copy.setVisible(not writing)

    def save(self) -> None:
        """Write everything into the open study; without one, ask where to make one."""
        keeper = keeper_of(self.viewer)
        try:
            if keeper is not None and not keeper.study.read_only:
                keeper.take_all()
                self.refresh()
                show_info(f"Study {keeper.study.name} is up to date")
                return
            kinds, name = "Study (*.defectstrain)", "study.defectstrain"
            path = saving.ask_path(self, tr("Save study"), name, kinds, [".defectstrain"])
            if path is not None:
                self.save_to(path)
        except DefectStrainError as error:
            self._fail(str(error))

    def save_to(self, path: Path) -> None:
        """Make a study of what is open.

        Raises
        ------
        DefectStrainError
            If it can't be made there.
        """
        keeper = save_as(self.viewer, path, self._config(), self.copy.isChecked())
        self.refresh()
        show_info(f"Saved as {keeper.study.path}; every edit is kept there from now on")

    def open(self) -> None:
        """Ask which study, and open it."""
        folder = saving.ask_folder(self, tr("Open a study (a folder NAME.defectstrain)"))
        if folder is not None:
            self.open_from(folder)

    def open_from(self, path: Path) -> None:
        """Open a study, and say what is to be said."""
        try:
            _, notes = open_into(self.viewer, path, self)
        except DefectStrainError as error:
            self._fail(str(error))
            notes = []
        for text in notes:
            show_warning(text)
        self.refresh()

    def _fill_menu(self) -> None:
        self.menu.clear()
        found = recent()
        for path in found:
            action = self.menu.addAction(path.name.removesuffix(".defectstrain"))
            action.setToolTip(str(path))
            action.triggered.connect(lambda _=False, path=path: self.open_from(path))
        if not found:
            self.menu.addAction(tr("none yet")).setEnabled(False)
