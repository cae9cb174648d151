"""What the gallery is told: which detections, in what order, what is plotted."""

from collections.abc import Mapping, Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ...averages.looks import DISTANCE, FEATURES, SORTED_BY, WEIGHT
from ...styles import class_styles
from ..base import forms, help_button, tr
from ..base.keys import declare
from ..base.settings import Settings
from ..base.symbols import symbol_icon
from .scatter import ScatterPlot

EVERY, AVERAGED, LEFT_OUT, NO_WINDOW = "all", "averaged", "left out", "no window"
BY_HAND, IN_DOUBT, SELECTED = "by hand", "in doubt", "selected"
FILTERS = (EVERY, IN_DOUBT, SELECTED, AVERAGED, LEFT_OUT, NO_WINDOW, BY_HAND)
PLACE = "Gallery"
declare(PLACE, "1", "Give the selected detections the first class; 2 to 9: the others")
LEAVE_OUT_KEY = declare(PLACE, "L", "Leave the selected out of their averages")
PUT_BACK_KEY = declare(PLACE, "P", "Average the selected again")
WALK_KEY = declare(PLACE, "D", "Walk through what the model doubts most")
declare(PLACE, "Space", "On the walk: leave it, on to the next")
declare(PLACE, "Z", "On the walk: take the last answer back")
END_KEY = declare(PLACE, "Escape", "End the walk")
UNDO_KEY = declare(PLACE, "Ctrl+Z", "Take back the last change of points or windows")
REDO_KEY = declare(PLACE, "Ctrl+Shift+Z", "Do it again")
REDO_TOO_KEY = declare(PLACE, "Ctrl+Y", "Do it again")
CHIP = (
    "QPushButton {padding: 2px 3px; border: 2px solid transparent;} "
    "QPushButton:checked {border-color: palette(highlight);} "
    "QPushButton:!checked {background: transparent; color: gray;} "
    "QPushButton:focus {border: 2px dashed palette(text);}"
)
"""Look of a switch: framed where it is on."""
NARROW = "QPushButton {padding: 2px 4px;}"
"""Look of buttons that stand in a long row."""


def nothing() -> str:
    """What an empty gallery says."""
    return tr(
        "No detection yet. Detect the columns of an image: all its defects are then shown here, "
        "side by side, to be looked through and given their classes."
    )


def edit_texts() -> dict[str, tuple[str, str]]:
    """Text and tip of the buttons of edits, by what they are called in the code."""
    return {
        "Leave out": (tr("Leave out"), tr("Take the selected out of their averages (L)")),
        "Put back": (tr("Put back"), tr("Average the windows of the selected again (P)")),
        "Undo": (tr("Undo"), tr("Take back the last change of points or windows (Ctrl+Z)")),
        "Redo": (tr("Redo"), tr("Do it again (Ctrl+Shift+Z or Ctrl+Y)")),
    }


class WhichRow(QWidget):
    """Classes that are shown, which of them, and in what order.

    Parameters
    ----------
    settings : Settings
        What is remembered between starts.
    """

    changed = Signal()
    """Emitted when other detections, or another order, are asked for."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(3)
        self.chips: dict[str, QPushButton] = {}
        self._named = True
        self._row.addStretch(1)
        self.filter = forms.choice(list(FILTERS))
        self.filter.setToolTip(
            tr(
                "Which detections: all; those whose second class is near the first, "
                "perfect columns among them; those selected; by what becomes of them in "
                "the averages; those that a hand gave a class"
            )
        )
        self.sort = forms.choice(list(SORTED_BY))
        self.sort.setToolTip(
            tr(
                "Sorted by: probability of the class, the least sure first; doubt; "
                "distance to the average of the class, in sigma of it; weight; size of the "
                "triangle of metals around it; class; image; place"
            )
        )
        settings.remember("gallery_sort", self.sort)
        self.reverse = QToolButton()
        self.reverse.setText("⇅")
        self.reverse.setCheckable(True)
        self.reverse.setToolTip(tr("The other way round"))
        self.filter.setAccessibleName(tr("Which detections are shown"))
        self.sort.setAccessibleName(tr("What they are sorted by"))
        for box in (self.filter, self.sort):
            box.setSizeAdjustPolicy(box.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(7)
            box.currentTextChanged.connect(lambda _: self.changed.emit())
        by = QLabel(tr("by"))
        by.setBuddy(self.sort)
        for widget in (self.filter, by, self.sort):
            self._row.addWidget(widget)
        self._row.addWidget(self.reverse)
        self.reverse.toggled.connect(lambda _: self.changed.emit())

    def name(self, class_names: Sequence[str]) -> None:
        """A switch for each class but the metal, the first; those that were off stay so."""
        if list(self.chips) == list(class_names[1:]):
            return
        off = {name for name, chip in self.chips.items() if not chip.isChecked()}
        for chip in self.chips.values():
            self._row.removeWidget(chip)
            chip.deleteLater()
        self.chips = {}
        styles = class_styles(class_names) if class_names else {}
        for i, name in enumerate(class_names[1:]):
            chip = QPushButton(symbol_icon(styles[name]), name if self._named else "")
            chip.setAccessibleName(name)
            chip.setStyleSheet(CHIP)
            chip.setCheckable(True)
            chip.setChecked(name not in off)
            text = tr("Show {name}, beside the other classes that are on")
            chip.setToolTip(text.format(name=name))
            chip.toggled.connect(lambda _: self.changed.emit())
            self.chips[name] = chip
            self._row.insertWidget(i, chip)

    def spell_out(self, room: bool) -> None:
        """Name the classes on their switches, or show their symbols alone where room is scarce."""
        self._named = room
        for name, chip in self.chips.items():
            chip.setText(name if room else "")

    def restyle(self) -> None:
        """Show the switches in the colours of now."""
        styles = class_styles(("", *self.chips)) if self.chips else {}  # "": of the metal
        for name, chip in self.chips.items():
            chip.setIcon(symbol_icon(styles[name]))

    def count(self, counts: Mapping[str, int]) -> None:
        """Say how many there are of each class."""
        for name, chip in self.chips.items():
            text = tr("{name}: {n}. Shown beside the others that are on")
            chip.setToolTip(text.format(name=name, n=counts.get(name, 0)))

    @property
    def classes(self) -> list[str]:
        """Those that are on."""
        return [name for name, chip in self.chips.items() if chip.isChecked()]

    @property
    def descending(self) -> bool:
        """Whether the largest value comes first."""
        return SORTED_BY[self.sort.currentText()] != self.reverse.isChecked()


class Foot(QWidget):
    """What is said below the thumbnails, and what leads through them.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self.state = QLabel()
        self.state.setWordWrap(True)
        # Two lines, whatever it says: a label that grows would push the thumbnails about.
        self.state.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.state.setFixedHeight(2 * self.state.fontMetrics().lineSpacing() + 2)
        self.state.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        row.addWidget(self.state, 1)
        self.follow = QCheckBox(tr("Go there"))
        self.follow.setChecked(True)
        self.follow.setToolTip(tr("Centre the view on the detection that is chosen, and mark it"))
        settings.remember("gallery_follow", self.follow)
        row.addWidget(self.follow)
        self.walk_button = QPushButton(tr("What the model doubts most"))
        self.walk_button.setToolTip(
            tr(
                "Walk through the detections in doubt, one key each: 1 to 9 give a class, "
                "space leaves it, Z goes back, Escape ends (D)"
            )
        )
        row.addWidget(self.walk_button)
        row.addWidget(help_button("widgets.md#the-gallery"))

    def hasHeightForWidth(self) -> bool:
        """No: else what scrolls around the panel would never let it be lower than it likes."""
        return False


class ScatterSide(QWidget):
    """The scatter plot, and what is plotted.

    Parameters
    ----------
    theme : str
    settings : Settings
    """

    changed = Signal()
    """Emitted when other features are asked for."""

    def __init__(self, theme: str, settings: Settings) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        row = QHBoxLayout()
        self.x, self.y = forms.choice(list(FEATURES)), forms.choice(list(FEATURES))
        self.x.setCurrentText(WEIGHT)
        self.y.setCurrentText(DISTANCE)
        for box, key, tip in (
            (self.x, "gallery_x", tr("What is plotted to the right")),
            (self.y, "gallery_y", tr("What is plotted upwards")),
        ):
            box.setToolTip(tip)
            box.setSizeAdjustPolicy(box.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(4)
            settings.remember(key, box)
            box.currentTextChanged.connect(lambda _: self.changed.emit())
        row.addWidget(self.x, 1)
        row.addWidget(QLabel("→ ↑"))
        row.addWidget(self.y, 1)
        column.addLayout(row)
        self.plot = ScatterPlot(theme)
        self.plot.setAccessibleName(tr("Scatter plot of detections"))
        self.plot.setToolTip(
            tr(
                "Drag around points to select them (Ctrl or Shift: to add them); click one "
                "to go there"
            )
        )
        column.addWidget(self.plot, 1)

    @property
    def names(self) -> tuple[str, str]:
        """What is plotted to the right, and upwards."""
        return self.x.currentText(), self.y.currentText()
