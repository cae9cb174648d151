"""One key a class: buttons that say which, for whoever labels one column after another."""

from collections.abc import Callable, Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QGridLayout, QPushButton, QShortcut, QWidget

from .lifetime import when_destroyed
from .texts import tr

KEYS = 9
"""Classes that have a key: 1 to 9."""


class ClassKeys(QWidget):
    """A button and a key a class, one to pass over (space), one to go back (Z).

    Parameters
    ----------
    skip_text, back_text : str
        Of the last two buttons, without their keys.
    skip_tip, back_tip : str
        What they do.
    class_tip : str
        What the button of a class does, with ``{name}`` and ``{key}``.
    one_row : bool
        Whether the last two stand beside the classes, not below.
    """

    labelled = Signal(int)
    """Emitted with the number of a class, from 0."""
    skipped = Signal()
    taken_back = Signal()

    def __init__(
        self,
        skip_text: str,
        skip_tip: str,
        back_text: str,
        back_tip: str,
        class_tip: str,
        one_row: bool = False,
    ) -> None:
        super().__init__()
        self._class_tip = class_tip
        self.class_names: tuple[str, ...] = ()
        self._shortcuts: list[tuple[QShortcut, bool]] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(4)
        self.class_buttons: list[QPushButton] = []
        for i in range(KEYS):
            button = QPushButton()
            button.clicked.connect(lambda _=False, i=i: self.labelled.emit(i))
            button.setMinimumWidth(20)
            self.class_buttons.append(button)
            self._grid.addWidget(button, 0, i)
        self.skip_button = QPushButton(tr("{what} (space)").format(what=skip_text))
        self.skip_button.setToolTip(skip_tip)
        self.skip_button.clicked.connect(self.skipped.emit)
        self.back_button = QPushButton(tr("{what} (Z)").format(what=back_text))
        self.back_button.setToolTip(back_tip)
        self.back_button.clicked.connect(self.taken_back.emit)
        for k, button in enumerate((self.skip_button, self.back_button)):
            if one_row:
                self._grid.addWidget(button, 0, KEYS + k)
            else:
                self._grid.addWidget(button, 1, 3 * k, 1, 3)
        for button in (*self.class_buttons, self.skip_button, self.back_button):
            # A click leaves the keyboard where the keys work.
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._grid.setColumnStretch(KEYS + 2, 1)

    def name(self, class_names: Sequence[str]) -> None:
        """Say which classes the keys are for."""
        self.class_names = tuple(class_names)
        for i, (button, name) in enumerate(zip(self.class_buttons, class_names, strict=False)):
            button.setText(f"{i + 1}  {name}")
            button.setToolTip(self._class_tip.format(name=name, key=i + 1))

    def listen(
        self,
        owner: QWidget,
        context: Qt.ShortcutContext = Qt.ShortcutContext.WindowShortcut,
        walker: QWidget | None = None,
    ) -> None:
        """Take keys, once.

        Parameters
        ----------
        owner : QWidget
            Whose keys they are.
        context : Qt.ShortcutContext
            Where the keyboard must be.
        walker : QWidget, optional
            The one that space and Z are for, if not the same: elsewhere space presses buttons.
        """
        if self._shortcuts:
            return
        actions: list[tuple[str, Callable[[], None]]] = [
            (str(i + 1), lambda i=i: self.labelled.emit(i)) for i in range(KEYS)
        ]
        actions += [("Space", self.skipped.emit), ("Z", self.taken_back.emit)]
        for key, action in actions:
            walks = key in ("Space", "Z")
            alone = walker is not None and walks
            shortcut = QShortcut(QKeySequence(key), walker if alone else owner)
            shortcut.setContext(Qt.ShortcutContext.WidgetShortcut if alone else context)
            shortcut.activated.connect(action)
            shortcut.activatedAmbiguously.connect(action)
            self._shortcuts.append((shortcut, walks))
            when_destroyed(self, shortcut.deleteLater)

    def take_keys(self, classes: bool, walk: bool) -> None:
        """Let the keys of classes, and space and Z, work or not."""
        for shortcut, walks in self._shortcuts:
            shortcut.setEnabled(walk if walks else classes)

    def show_buttons(self, classes: bool, skip: bool) -> None:
        """Show the buttons of the classes that there are, and that of the space bar, or not."""
        for i, button in enumerate(self.class_buttons):
            button.setVisible(classes and i < len(self.class_names))
        self.skip_button.setVisible(skip)
