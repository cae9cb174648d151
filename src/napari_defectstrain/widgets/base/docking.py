"""A panel below the viewer that a widget opens by itself, and that the user may close."""

from napari.components import ViewerModel
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QWidget

from .lifetime import when_destroyed


class BottomDock:
    """Docks a widget at the bottom when it is asked for; closes the dock with its owner.

    Parameters
    ----------
    viewer : ViewerModel
        Without a window (a script, a test), nothing is docked.
    owner : QWidget
        The widget that the panel belongs to.
    content : QWidget
    name : str
    height : int
        Of the dock when it is first opened [px of the screen].
    """

    def __init__(
        self, viewer: ViewerModel, owner: QWidget, content: QWidget, name: str, height: int
    ) -> None:
        self._window = getattr(viewer, "window", None)
        self._content, self._name, self._height = content, name, height
        when_destroyed(owner, self.close)

    @property
    def _dock(self) -> QDockWidget | None:
        parent = self._content.parent()
        while parent is not None and not isinstance(parent, QDockWidget):
            parent = parent.parent()
        return parent

    def open(self) -> None:
        """Show the panel, and bring it to the front."""
        if self._window is None:
            return
        if self._dock is None:
            # The widgets on the right keep their height: there the controls are.
            self._window._qt_window.setCorner(
                Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea
            )
            dock = self._window.add_dock_widget(self._content, name=self._name, area="bottom")
            self._window._qt_window.resizeDocks([dock], [self._height], Qt.Orientation.Vertical)
        self._dock.show()
        self._dock.raise_()

    def close(self) -> None:
        """Take the panel away for good."""
        if not isalive(self._content):  # napari's window was closed, and took it along
            return
        # A window that is being closed has no _qt_window any more.
        if hasattr(self._window, "_qt_window") and self._dock is not None:
            self._window.remove_dock_widget(self._dock)
        self._content.deleteLater()
