"""The choice of a reference: the bundled structures, files of the user's own, or none."""

from pathlib import Path

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QPushButton

from ...crystal.structure_files import FORMATS
from ...theory.reference import BUNDLED_NOTE
from ..base import forms, tr
from .comparing import ReferenceFiles

BUNDLED, OWN, NONE = "bundled", "own files", "none"
STRUCTURES = (
    "Structures (*.extxyz *.xyz *.cif *.vasp *CONTCAR* *POSCAR* *.xsf *.gen *.cell *.in *.json)"
    ";;All files (*)"
)
PRISTINE_WORDS = ("pristine", "perfect", "defect-free", "defectfree", "ideal", "host", "poscar")
"""What files of pristine cells are called, the surest first."""
READ = ", ".join(FORMATS.values())


class ReferenceChoice(QObject):
    """Rows of a form: which reference, a button for files, and what is known of it.

    Parameters
    ----------
    panel : Panel
        Whose settings keep the choice.
    form : QFormLayout
        That the rows are added to.
    """

    changed = Signal()

    def __init__(self, panel: forms.Panel, form: QFormLayout) -> None:
        super().__init__(panel)
        self._panel = panel
        self._class = ""
        self._own: dict[str, tuple[Path, Path]] = {
            name: (Path(pair[0]), Path(pair[1]))
            for name, pair in dict(panel.settings.get("own_references", {})).items()
        }
        self.choice = panel.remember(
            "reference",
            forms.choice([BUNDLED, OWN, NONE]),
            f"Relaxed structure beside the measurement. The bundled ones of WSe2: {BUNDLED_NOTE}. "
            f"Own files: a supercell with the defect, and the same one without it; {READ}",
        )
        form.addRow(tr("Reference"), self.choice)
        self.button = QPushButton(tr("Open structures…"))
        self.button.setToolTip(
            "Choose the relaxed supercell with the defect of the chosen class, then the pristine "
            f"one; a pristine one beside it is offered. {READ}"
        )
        form.addRow("", self.button)
        self.label = QLabel()
        self.label.setWordWrap(True)
        form.addRow(self.label)
        self.button.clicked.connect(self.open)
        self.choice.currentIndexChanged.connect(self._choose)
        self._say()

    def show_class(self, class_name: str) -> None:
        """References are of one class: show that of another."""
        self._class = class_name
        self._say()

    @property
    def files(self) -> ReferenceFiles | None:
        """What is chosen for the class; None for none."""
        kind = self.choice.currentText()
        if kind == BUNDLED:
            return ReferenceFiles()
        if kind == OWN and self._class in self._own:
            return ReferenceFiles(*self._own[self._class])
        return None

    def _choose(self, _index: int) -> None:
        self._say()
        self.changed.emit()

    def _say(self) -> None:
        kind, own = self.choice.currentText(), self._own.get(self._class)
        if kind == BUNDLED:
            text = f"Bundled: {BUNDLED_NOTE}"
        elif kind == NONE:
            text = ""
        elif own is None:
            text = f"No structures of {self._class or 'this class'} yet: open them"
        else:
            text = f"{own[0].name} against {own[1].name}"
            self.label.setToolTip(f"{own[0]}\n{own[1]}")
        self.label.setText(text)
        self.label.setVisible(bool(text))

    def open(self) -> None:
        """Ask for the user's own structures of the chosen class."""
        defect = forms.ask_open_path(
            self._panel, f"Relaxed supercell with {self._class or 'the defect'}", STRUCTURES
        )
        if not defect:
            return
        pristine = self._ask_pristine(Path(defect))
        if pristine is None:
            return
        self._own[self._class] = (Path(defect), pristine)
        self._panel.settings.set(
            "own_references", {n: [str(p) for p in pair] for n, pair in self._own.items()}
        )
        if self.choice.currentText() == OWN:
            self._choose(0)
        else:
            self.choice.setCurrentText(OWN)

    def _ask_pristine(self, defect: Path) -> Path | None:
        offered = pristine_beside(defect)
        if offered is not None:
            take, another = f"Take {offered.name}", "Choose another…"
            text = (
                f"{defect.name} is compared with the same supercell without the defect. "
                f"Is that {offered.parent.name}/{offered.name}?"
            )
            answer = forms.ask(self._panel, tr("Pristine supercell"), text, [take, another])
            if answer is None:
                return None
            if answer == take:
                return offered
        chosen = forms.ask_open_path(self._panel, tr("The same supercell, pristine"), STRUCTURES)
        return Path(chosen) if chosen else None


def pristine_beside(defect: Path) -> Path | None:
    """A file that by its name, or its folder's, is the pristine cell of a structure."""
    try:
        here = sorted(p for p in defect.parent.iterdir() if p.is_file() and p != defect)
        folders = sorted(p for p in defect.parent.parent.iterdir() if p.is_dir())
    except OSError:  # a folder that may not be listed offers nothing
        return None
    for word in PRISTINE_WORDS:
        for path in here:
            if word in path.name.lower():
                return path
    for word in PRISTINE_WORDS[:-1]:
        for folder in folders:
            if word in folder.name.lower() and (folder / defect.name).is_file():
                return folder / defect.name
    return None
