"""Keys of the widgets: each is declared once, bound from that, and listed from that."""

from collections.abc import Callable
from dataclasses import dataclass

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut, QWidget

_DECLARED: list["Key"] = []


@dataclass(frozen=True)
class Key:
    """What a key does.

    Parameters
    ----------
    where : str
        Where it works, as people call the place.
    keys : str
        As `QKeySequence` reads it: ``Ctrl+Z``.
    does : str
    """

    where: str
    keys: str
    does: str

    @property
    def for_napari(self) -> str:
        """As napari's ``bind_key`` reads it.

        >>> Key("Points", "Ctrl+Shift+Z", "Do it again").for_napari
        'Control-Shift-Z'
        """
        return self.keys.replace("Ctrl", "Control").replace("+", "-")


def declare(where: str, keys: str, does: str) -> Key:
    """A key, which the list of keys shows from now on."""
    key = Key(where, keys, does)
    if key not in _DECLARED:
        _DECLARED.append(key)
    return key


def declared() -> list[Key]:
    """All keys, those of one place together, in the order in which the places were declared."""
    places = list(dict.fromkeys(key.where for key in _DECLARED))
    return sorted(_DECLARED, key=lambda key: places.index(key.where))


def shortcut(key: Key, widget: QWidget, act: Callable[[], None], own: bool = False) -> QShortcut:
    """Bind a key.

    Parameters
    ----------
    key : Key
    widget : QWidget
        Goes with the key.
    act : callable
    own : bool
        Whether it works only while the keyboard is within the widget, else in its whole window.
    """
    made = QShortcut(QKeySequence(key.keys), widget)
    made.setWhatsThis(key.does)
    if own:
        made.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
    made.activated.connect(act)
    # A second widget of the kind has the same keys: Qt calls one of them.
    made.activatedAmbiguously.connect(act)
    return made
