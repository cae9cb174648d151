"""The page of preferences: thresholds, colours, figures, device, threads, language."""

from typing import Any

from napari.layers import Points
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QColorDialog,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QGridLayout,
    QGroupBox,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from ...detect.network.config import DEVICES
from ...materials import DEFECT_ROLES, WSE2
from ...output.results import FIGURE_FORMATS
from ...styles import CLASS_STYLE, PALETTES
from ..base import (
    FIRST_PALETTE,
    OWN_WIDTHS,
    SECTION,
    Settings,
    apply_preferences,
    forms,
    own_colours,
    symbol_icon,
    tr,
    width_names,
)
from ..base.texts import LOCALE
from ..layers.sites import colours, kind, note

THRESHOLD = 0.5
MOST_THREADS = 256
OF_SYSTEM = "of the system"


class Preferences(QDialog):
    """What is kept for all images; each change holds at once, and *Reset* takes all of it back.

    Parameters
    ----------
    parent : QWidget, optional
    """

    changed = Signal()
    """Emitted after every change: widgets and layers should follow."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Preferences of Defect strain"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(460, 600)
        self._kept = Settings(SECTION)
        self._detect, self._strain = Settings("detect"), Settings("strain")
        content = QWidget()
        self._column = QVBoxLayout(content)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setWidget(content)
        column = QVBoxLayout(self)
        column.addWidget(scroll)
        self._build_detection()
        self._build_colours()
        self._build_figures()
        self._build_machine()
        self._column.addStretch(1)
        buttons = QDialogButtonBox()
        self.reset_button = buttons.addButton(
            tr("Reset to defaults"), QDialogButtonBox.ButtonRole.ResetRole
        )
        buttons.addButton(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        self.reset_button.clicked.connect(self.reset)
        column.addWidget(buttons)
        self.show_kept()

    def _group(self, title: str) -> QFormLayout:
        box = QGroupBox(title)
        self._column.addWidget(box)
        return QFormLayout(box)

    def _build_detection(self) -> None:
        form = self._group(tr("Detection"))
        self.thresholds: dict[str, Any] = {}
        names = WSE2.defect_names
        for role, name in zip(DEFECT_ROLES, names, strict=True):
            box = forms.number(THRESHOLD, 0.0, 1.0, 0.05, 2)
            box.setToolTip(tr("Least probability (0 to 1) of a column of this class"))
            form.addRow(f"{name} ({role})", box)
            self.thresholds[role] = box
            box.valueChanged.connect(lambda v, r=role: self._set(self._detect, _threshold(r), v))
        self.device = forms.choice(list(DEVICES))
        self.device.setToolTip(tr("Where the network runs: auto takes a GPU if there is one"))
        self.device.currentTextChanged.connect(lambda v: self._set(self._detect, "device", v))
        form.addRow(tr("Device"), self.device)

    def _build_colours(self) -> None:
        form = self._group(tr("Colours of the classes"))
        self.palette_box = forms.choice(list(PALETTES))
        self.palette_box.setToolTip(
            tr("Sets that people with colour blindness tell apart; symbols differ, too")
        )
        self.palette_box.currentTextChanged.connect(self._choose_palette)
        form.addRow(tr("Set"), self.palette_box)
        grid = QGridLayout()
        self.colour_buttons: dict[str, QPushButton] = {}
        for k, role in enumerate(CLASS_STYLE):
            button = QPushButton(role)
            button.setToolTip(tr("Another colour for this class"))
            button.clicked.connect(lambda _=False, r=role: self._ask_colour(r))
            grid.addWidget(button, k // 3, k % 3)
            self.colour_buttons[role] = button
        form.addRow(grid)

    def _build_figures(self) -> None:
        form = self._group(tr("Figures"))
        self.width_box = forms.choice(list(width_names()))
        self.width_box.setToolTip(tr("Width of all figures; panels go one below another to fit"))
        self.width_box.currentTextChanged.connect(
            lambda v: self._set(self._kept, "figure_width", v)
        )
        form.addRow(tr("Width"), self.width_box)
        every = ", ".join(FIGURE_FORMATS).upper()
        self.formats = forms.choice([every, *(kind.upper() for kind in FIGURE_FORMATS)])
        self.formats.setToolTip(tr("Kinds of files that figures are written as"))
        self.formats.currentTextChanged.connect(lambda v: self._set(self._strain, "figures_as", v))
        form.addRow(tr("Files"), self.formats)

    def _build_machine(self) -> None:
        form = self._group(tr("Computer"))
        self.threads = forms.count(0, 0, MOST_THREADS)
        self.threads.setSpecialValueText(tr("all cores"))
        self.threads.setToolTip(tr("Most threads that a job takes; the network's follow, too"))
        self.threads.valueChanged.connect(lambda v: self._set(self._kept, "threads", v))
        form.addRow(tr("Threads"), self.threads)
        codes = sorted(path.stem for path in LOCALE.glob("*.po"))
        self.language = forms.choice([OF_SYSTEM, "en", *codes])
        self.language.setToolTip(tr("Of the texts, from the next start on"))
        self.language.currentTextChanged.connect(
            lambda v: self._set(self._kept, "language", "" if v == OF_SYSTEM else v)
        )
        form.addRow(tr("Language"), self.language)

    def show_kept(self) -> None:
        """Show what is kept."""
        kept = self._kept.values()
        self._showing = True
        for role, box in self.thresholds.items():
            box.setValue(_number(self._detect.get(_threshold(role)), THRESHOLD))
        self.device.setCurrentText(str(self._detect.get("device", DEVICES[0])))
        self.palette_box.setCurrentText(str(kept.get("palette", FIRST_PALETTE)))
        self.width_box.setCurrentText(str(kept.get("figure_width", OWN_WIDTHS)))
        self.formats.setCurrentText(str(self._strain.get("figures_as", self.formats.itemText(0))))
        self.threads.setValue(int(_number(kept.get("threads"), 0)))
        self.language.setCurrentText(str(kept.get("language") or OF_SYSTEM))
        self._showing = False
        self._show_colours()

    def _show_colours(self) -> None:
        for role, button in self.colour_buttons.items():
            button.setIcon(symbol_icon(CLASS_STYLE[role]))

    def _set(self, where: Settings, key: str, value: Any) -> None:
        if not self._showing:
            where.set(key, value)
            self._applied()

    def _applied(self) -> None:
        apply_preferences()
        self._show_colours()
        self.changed.emit()

    def _choose_palette(self, name: str) -> None:
        if not self._showing:
            self._kept.set("colours", {})  # those of the other set
            self._set(self._kept, "palette", name)

    def _ask_colour(self, role: str) -> None:
        chosen = QColorDialog.getColor(QColor(CLASS_STYLE[role].colour), self, role)
        if chosen.isValid():
            self.set_colour(role, chosen.name())

    def set_colour(self, role: str, colour: str) -> None:
        """Give a class another colour than that of the set."""
        own = own_colours(self._kept.values())
        self._set(self._kept, "colours", {**own, role: colour.upper()})

    def reset(self) -> None:
        """Let everything be as it was when the plugin was installed."""
        self._kept.forget(["palette", "colours", "figure_width", "threads", "language"])
        # those that open widgets show are set, so that they follow
        for role in DEFECT_ROLES:
            self._detect.set(_threshold(role), THRESHOLD)
        self._detect.set("device", DEVICES[0])
        self._strain.set("figures_as", self.formats.itemText(0))
        self.show_kept()
        self._applied()


def recolour(layer: Points) -> None:
    """Show a layer of columns in the colours of now."""
    if kind(layer) in ("defects", "sites") and len(layer.data):
        layer.border_color_cycle = colours(note(layer)["class_names"])
        layer.refresh_colors()


def _threshold(role: str) -> str:
    return f"threshold_{role}"


def _number(value: Any, default: float) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if good else default
