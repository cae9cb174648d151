"""A layer list that can be read: layers that only serve others have no row in it.

napari has no groups of layers. Nine regions through all steps are some seventy layers, of which
most are all columns of an image, the columns or windows of an average, or texts beside pictures.
Nothing is removed or renamed: the rows are hidden, and shown again by *Show all layers*.
"""

from napari.components import ViewerModel
from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QListView, QWidget

from ..base import connect
from ..layers.sites import kind

SERVING = (
    "sites",
    "windows",
    "columns",
    "average labels",
    "symmetric labels",
    "map labels",
    "comparison labels",
    "colour bar",
    "scale arrows",
    "significance",
    "window marker",
)
"""Kinds of layers that nobody works with by hand in the usual course."""


class LayerListRows:
    """Hides and shows rows of napari's layer list.

    Parameters
    ----------
    viewer : ViewerModel
        Without a window, nothing happens.
    owner : QWidget
        When it goes, all rows are shown.
    """

    def __init__(self, viewer: ViewerModel, owner: QWidget) -> None:
        self._viewer = viewer
        self.everything = False
        self._soon = QTimer(owner)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self.apply)
        events, selection = viewer.layers.events, viewer.layers.selection.events
        for event in (events.inserted, events.removed, events.reordered, selection.changed):
            connect(owner, event, lambda *_: self._soon.start(0))
        self._soon.start(0)

    def view(self) -> QListView | None:
        """The list of napari, if there is a window, and Qt hasn't taken it apart yet."""
        window = getattr(self._viewer, "window", None)
        found = getattr(getattr(window, "_qt_viewer", None), "layers", None)
        return found if isinstance(found, QListView) and isalive(found) else None

    def show_everything(self, everything: bool) -> None:
        """Show a row for each layer, or only for those that one works with."""
        self.everything = everything
        self.apply()

    def apply(self) -> None:
        """Hide the rows of layers that serve others; never that of one that is selected."""
        view = self.view()
        if view is None:
            return
        layers = list(self._viewer.layers)
        selected = set(self._viewer.layers.selection)
        for row, layer in enumerate(reversed(layers)):  # the uppermost layer comes first
            serves = kind(layer) in SERVING and layer not in selected
            view.setRowHidden(row, serves and not self.everything)
