"""Widgets in napari's window: tabs instead of piles, panels below, and what ends with a dock."""

from napari.components import ViewerModel
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QFrame, QMainWindow, QScrollArea, QWidget

LEAST_PX = 90
"""Height down to which a panel at the bottom can be made smaller [px of the screen]."""
SHARE = 0.38
"""Greatest part of the window's height that a panel takes when it is opened."""
_RIGHT, _BOTTOM = Qt.DockWidgetArea.RightDockWidgetArea, Qt.DockWidgetArea.BottomDockWidgetArea
_LEFT = Qt.DockWidgetArea.LeftDockWidgetArea


def whole(viewer: ViewerModel) -> ViewerModel:
    """The viewer itself.

    Plugin widgets that napari makes for a script or a menu are handed a proxy, whose layers are
    proxies again: none is the layer that events and lists speak of, and threads can't return them.
    """
    return getattr(viewer, "__wrapped__", viewer)


def dock_of(widget: QWidget) -> QDockWidget | None:
    """The dock that a widget lies in."""
    parent = widget.parent()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parent()
    return parent


def join_tabs(widget: QWidget, kind: type[QWidget]) -> None:
    """Put a docked widget into one pile of tabs with others of its kind.

    Side by side, three of them would be left with a strip of the screen each.
    """
    dock = dock_of(widget)
    window = dock.parent() if dock is not None else None
    if not isinstance(window, QMainWindow) or dock.isFloating():
        return
    area = window.dockWidgetArea(dock)
    others = [
        other
        for other in window.findChildren(QDockWidget)
        if other is not dock
        and other.findChildren(kind)
        and not other.isFloating()
        and window.dockWidgetArea(other) == area
    ]
    if others and not set(others) & set(window.tabifiedDockWidgets(dock)):
        window.tabifyDockWidget(others[-1], dock)


def bring_to_front(widget: QWidget) -> None:
    """Bring the dock of a widget to the front of its tabs."""
    dock = dock_of(widget)
    if dock is not None:
        dock.raise_()


class BottomPanel(QScrollArea):
    """What lies at the bottom: it may be made lower than its content, which then scrolls."""

    def __init__(self, content: QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setMinimumHeight(LEAST_PX)
        self.setMinimumWidth(200)
        self.setWidget(content)


class BottomDock:
    """Docks a widget at the bottom when it is asked for; closes the dock with its owner.

    Parameters
    ----------
    viewer : ViewerModel
        Without a window (a script, a test), nothing is docked.
    content : QWidget
    name : str
    height : int
        Of the dock when it is first opened, where the window has room for it [px of the screen].
    """

    def __init__(self, viewer: ViewerModel, content: QWidget, name: str, height: int) -> None:
        self._window = getattr(whole(viewer), "window", None)
        self._panel = BottomPanel(content)
        self._name, self._height = name, height

    def open(self) -> None:
        """Show the panel, and bring it to the front."""
        if self._window is None:
            return
        if dock_of(self._panel) is None:
            window = self._window._qt_window
            # Below the canvas only: the controls left and right keep their height, and the window
            # need not be higher than both together.
            window.setCorner(Qt.Corner.BottomRightCorner, _RIGHT)
            window.setCorner(Qt.Corner.BottomLeftCorner, _LEFT)
            height = min(self._height, round(SHARE * window.height()))
            dock = self._window.add_dock_widget(self._panel, name=self._name, area="bottom")
            join_tabs(self._panel, BottomPanel)
            window.resizeDocks([dock], [height], Qt.Orientation.Vertical)
        dock_of(self._panel).show()
        bring_to_front(self._panel)

    def close(self) -> None:
        """Take the panel away for good."""
        if not isalive(self._panel):  # napari's window was closed, and took it along
            return
        dock = dock_of(self._panel)
        # A window that is being closed has no _qt_window any more.
        if hasattr(self._window, "_qt_window") and dock is not None:
            self._window.remove_dock_widget(dock)
        self._panel.deleteLater()
