"""Pixel size of the chosen image: shown, typed, or measured by its lattice."""

from collections.abc import Callable

from napari.layers import Image, Layer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from ...types import DefectStrainError
from ..base import forms, tr
from ..layers.sites import CALIBRATION, calibrate, pixel_size_pm

NONE = "none: in pixels"
BY_HAND = "hand"
ORIGINS = {"lattice": "by the lattice", BY_HAND: "by hand"}
MAX_PM = 1000.0


class PixelSize(QWidget):
    """A box, where its number comes from, and a button that measures it.

    Parameters
    ----------
    panel : Panel
    look : callable
        Measures the pixel size by the lattice.
    """

    changed = Signal()
    """A pixel size was typed."""

    def __init__(self, panel: forms.Panel, look: Callable[[], None]) -> None:
        super().__init__()
        self._panel = panel
        self._layer: Layer | None = None
        self.box = forms.number(0.0, 0.0, MAX_PM, 0.1, 4, " pm")
        self.box.setSpecialValueText(NONE)
        self.box.setButtonSymbols(self.box.ButtonSymbols.NoButtons)
        self.box.setToolTip(
            tr(
                "Side of a pixel of this image [pm], by its file or its lattice, or as you "
                "type it; layers that lie on the image follow"
            )
        )
        self.box.valueChanged.connect(self._type)
        self.origin = QLabel()
        self.origin.setToolTip(tr("Where the pixel size comes from"))
        self.button = QPushButton(tr("From lattice"))
        self.button.setToolTip(
            tr(
                "Measure the pixel size (pm) by the lattice of the image and the lattice "
                "constant of the material; asks before anything is changed"
            )
        )
        self.button.clicked.connect(look)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.box, 1)
        row.addWidget(self.origin)
        row.addWidget(self.button)

    def show_layer(self, layer: Layer | None, everything: bool) -> None:
        """Show the pixel size of an image; everything: of several, each has its own."""
        self._layer = None if everything else layer
        self.button.setEnabled(layer is not None)
        self.box.setEnabled(self._layer is not None)
        self.origin.setToolTip(tr("Where the pixel size comes from"))
        size, origin = None, ""
        if everything:
            origin = "each its own"  # longer, and it made the panel wider than its dock
        elif layer is None:
            origin = "no image"
        else:
            try:
                size = pixel_size_pm(layer)
            except DefectStrainError as mistake:
                origin = "not square"
                self.origin.setToolTip(str(mistake))
            if size is not None:
                origin = ORIGINS.get(str(layer.metadata.get(CALIBRATION)), "by the file")
        self.origin.setText(origin)
        self.box.blockSignals(True)
        self.box.setSpecialValueText(NONE if self._layer is not None and not size else "–")
        self.box.setValue(size or 0.0)
        self.box.restore()
        self.box.blockSignals(False)

    def _type(self, size_pm: float) -> None:
        layer = self._layer
        if not isinstance(layer, Image):
            return
        if size_pm > 0:
            calibrate(self._panel.viewer, layer, size_pm, BY_HAND)
            self._panel.viewer.reset_view()
            self._panel.run_bar.status.setText(f"A pixel of {layer.name} is {size_pm:g} pm wide")
        else:
            self._panel.run_bar.fail("Pixel size: got 0 pm, expected more; it stays as it was")
        self.changed.emit()
