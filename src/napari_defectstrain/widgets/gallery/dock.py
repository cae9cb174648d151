"""The gallery of a viewer: one, below it, whoever opens it."""

from napari.components import ViewerModel
from qtpy.QtCore import QTimer

from ..base.docking import BottomDock, whole
from ..base.lifetime import when_destroyed
from .panel import GalleryPanel

DOCK = "Gallery of detections"
HEIGHT = 330
_OPEN: dict[int, tuple[ViewerModel, GalleryPanel, BottomDock]] = {}


def gallery_of(viewer: ViewerModel) -> GalleryPanel:
    """The gallery of a viewer, made on first use."""
    return _known(whole(viewer))[1]


def open_gallery(viewer: ViewerModel) -> GalleryPanel:
    """Show the gallery of a viewer below it, and bring it to the front."""
    _, panel, dock = _known(whole(viewer))
    dock.open()
    panel.refresh_soon()
    return panel


def restyle_gallery(viewer: ViewerModel) -> None:
    """Show the colours of now in the gallery of a viewer, if there is one."""
    found = _OPEN.get(id(whole(viewer)))
    if found is not None and found[0] is whole(viewer):
        found[1].restyle()


def _known(viewer: ViewerModel) -> tuple[ViewerModel, GalleryPanel, BottomDock]:
    found = _OPEN.get(id(viewer))
    if found is None or found[0] is not viewer:
        panel = GalleryPanel(viewer)
        found = _OPEN[id(viewer)] = viewer, panel, BottomDock(viewer, panel, DOCK, HEIGHT)
        key = id(viewer)
        # Later: what holds the panel must not go while Qt is taking the panel to pieces.
        when_destroyed(panel, lambda: QTimer.singleShot(0, lambda: _forget(key, viewer)))
        window = getattr(getattr(viewer, "window", None), "_qt_window", None)
        if window is not None:
            when_destroyed(window, found[2].close)
    return found


def _forget(key: int, viewer: ViewerModel) -> None:
    if key in _OPEN and _OPEN[key][0] is viewer:
        del _OPEN[key]
