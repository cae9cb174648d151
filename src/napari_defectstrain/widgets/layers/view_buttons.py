"""Buttons that bring images, averages or maps into view: after napari's Home they are tiny."""

from napari.components import ViewerModel
from napari.layers import Image, Layer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from ..base import tr
from ..base.lifetime import connect
from .averages import OF_COMPARISON, hide_windows, look_at
from .sites import kind, note

AVERAGES = ("average", "average labels", "symmetric", "symmetric labels")
MAPS = ("map", "displacement", "map labels", "scale arrows", *OF_COMPARISON)


class ViewButtons(QWidget):
    """Look at: Images, Averages, Maps.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QLabel(tr("Look at")))
        self.buttons: dict[str, QPushButton] = {}
        for name, tip in (
            ("Images", "Zoom to all images"),
            ("Averages", "Zoom to the newest averages; their single windows are hidden"),
            ("Maps", "Zoom to the newest strain maps, and the averages above them"),
        ):
            button = QPushButton(name)
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, name=name: self.show_view(name))
            row.addWidget(button, 1)
            self.buttons[name] = button
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            connect(self, event, self._enable)
        self._enable()

    def layers_of(self, view: str) -> list[Layer]:
        """What a button brings into view."""
        layers = list(self._viewer.layers)
        if view == "Images":
            return [la for la in layers if isinstance(la, Image) and kind(la) in ("", "sum")]
        found = [la for la in layers if kind(la) in (MAPS if view == "Maps" else AVERAGES)]
        # The newest run of averages alone: earlier ones lie above it.
        newest = note(found[-1]).get("run") if found else None
        return [la for la in found if note(la).get("run") == newest]

    def show_view(self, view: str) -> None:
        """Zoom to the layers of a view; where all are hidden, show them."""
        layers = self.layers_of(view)
        if not any(la.visible for la in layers):
            for layer in layers:
                layer.visible = True
        if view != "Images":
            hide_windows(self._viewer)
        look_at(self._viewer, [la for la in layers if la.visible])

    def _enable(self, *_: object) -> None:
        for name, button in self.buttons.items():
            button.setEnabled(bool(self.layers_of(name)))
