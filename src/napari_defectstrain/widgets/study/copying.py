"""Buttons that copy what a widget does as a line of the command line, or as Python."""

from collections.abc import Callable, Sequence
from pathlib import Path

from napari.components import ViewerModel
from napari.layers import Layer
from napari.utils.notifications import show_info
from qtpy.QtWidgets import QApplication, QHBoxLayout, QPushButton, QWidget

from ...pipeline.runs import RunConfig
from ...study import run_command, run_script, study_command, study_script
from ...types import DefectStrainError
from ..base import tr
from .keeper import keeper_of
from .ties import paths_of, source_images

OUT = "results"
"""Folder of results that a command names."""


class CopyTexts(QWidget):
    """*Copy as command* and *Copy as Python* of any widget.

    Parameters
    ----------
    fail : callable
        Shows an error.
    command_text, python_text : callable
        What is copied; may raise `DefectStrainError`.
    about : str
        What the line does the same as, for the tooltip.
    """

    def __init__(
        self,
        fail: Callable[[str], None],
        command_text: Callable[[], str],
        python_text: Callable[[], str],
        about: str = "with these settings",
    ) -> None:
        super().__init__()
        self._fail = fail
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self.command_button = QPushButton(tr("Copy as command"))
        self.command_button.setToolTip(
            f"The line of the command line that does the same, to the clipboard: {about}"
        )
        self.command_button.clicked.connect(lambda: self._copy(command_text))
        self.python_button = QPushButton(tr("Copy as Python"))
        self.python_button.setToolTip(tr("The same as a script, to the clipboard"))
        self.python_button.clicked.connect(lambda: self._copy(python_text))
        row.addWidget(self.command_button)
        row.addWidget(self.python_button)

    def _copy(self, text_of: Callable[[], str]) -> None:
        try:
            text = text_of()
        except DefectStrainError as error:
            self._fail(str(error))
            return
        QApplication.clipboard().setText(text)
        show_info(f"Copied: {text.splitlines()[0]}{' …' if len(text.splitlines()) > 1 else ''}")


class CopyButtons(CopyTexts):
    """*Copy as command* and *Copy as Python* of a widget that measures images.

    With a study open it is the study that is run, with its corrections; else the files of the
    images with the settings of the widget.

    Parameters
    ----------
    viewer : ViewerModel
    settings : callable
        The settings of the widget, and the image layers that it is about (none: all of them).
    fail : callable
        Shows an error.
    parts : sequence of str
        The settings that are the widget's to change in a study.
    command : str
        ``run`` or ``detect``.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        settings: Callable[[], tuple[RunConfig, list[Layer]]],
        fail: Callable[[str], None],
        parts: Sequence[str],
        command: str = "run",
    ) -> None:
        super().__init__(
            fail,
            self.command_text,
            self.python_text,
            "of the study, if one is open, else of the images with these settings",
        )
        self._viewer, self._settings = viewer, settings
        self._command, self._parts = command, tuple(parts)

    def command_text(self) -> str:
        """The line of the command line."""
        config, paths = self._asked()
        keeper = keeper_of(self._viewer)
        if keeper is not None:
            return study_command(keeper.study, self._command)
        return run_command(paths, config, OUT, self._command)

    def python_text(self) -> str:
        """The script."""
        config, paths = self._asked()
        keeper = keeper_of(self._viewer)
        if keeper is not None:
            return study_script(keeper.study, self._command)
        return run_script(paths, config, OUT, self._command)

    def _asked(self) -> tuple[RunConfig, list[str | Path]]:
        config, layers = self._settings()
        keeper = keeper_of(self._viewer)
        if keeper is not None and not keeper.study.read_only:
            own = {name: getattr(config, name) for name in self._parts}
            keeper.study.set_config(keeper.study.config.replace(**own))
        images = layers or list(source_images(self._viewer))
        if not images:
            raise DefectStrainError("got no image to name: open one first")
        return config, list(paths_of(self._viewer, images))
