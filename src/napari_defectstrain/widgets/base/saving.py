"""Where the user wants files: endings are completed, and nothing is overwritten unasked."""

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QWidget

from ...types import DefectStrainError
from . import forms
from .texts import tr

REPLACE, KEEP = "Replace", "Keep both"


def ask_path(
    parent: QWidget, title: str, name: str, kinds: str, endings: Sequence[str]
) -> Path | None:
    """Where to write one file; None where the user cancels.

    Raises
    ------
    DefectStrainError
        If the file's ending is none of those offered.
    """
    text, kind = save_dialog(parent, title, name, kinds)
    if not text:
        return None
    path = Path(text)
    if path.suffix.lower() in endings:
        return path  # the dialog asked before an existing file
    if path.suffix:
        raise DefectStrainError(
            f"{path.name}: got the ending {path.suffix}, expected one of {', '.join(endings)}"
        )
    ending = next((e for e in endings if e in kind), endings[0])
    path = path.with_name(path.name + ending)
    if path.exists() and not may_replace(parent, [path]):
        return None
    return path


def save_dialog(parent: QWidget, title: str, name: str, kinds: str) -> tuple[str, str]:
    """Path and chosen kind of file; the dialog asks before an existing file."""
    return QFileDialog.getSaveFileName(parent, title, name, kinds)


def ask_folder(parent: QWidget, title: str) -> Path | None:
    """A folder; None where the user cancels."""
    text = QFileDialog.getExistingDirectory(parent, title)
    return Path(text) if text else None


def may_replace(parent: QWidget, paths: Sequence[Path]) -> bool:
    """Ask whether files may be overwritten."""
    names = ", ".join(p.name for p in paths[:4]) + (" and more" if len(paths) > 4 else "")
    question = f"There are files of these names already: {names}. Replace them?"
    return forms.ask(parent, tr("Files exist"), question, [REPLACE]) == REPLACE
