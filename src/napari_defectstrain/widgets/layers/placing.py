"""Where images go in the world when they are opened: side by side, so that all are in sight."""

from collections.abc import Sequence

import napari
import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer
from pint import get_application_registry
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from .sites import note

PER_ROW = 3
"""Images in a row."""
GAP_PX = 48
"""Gap between the images when they are laid out side by side."""
PLACED = "placed"
"""Key of the note of an image that was laid out; it keeps its place in pixels if recalibrated."""

Box = tuple[float, float, float, float]
"""Top, left, bottom and right in the world."""


def present_viewer() -> ViewerModel | None:
    """The viewer that files are opened into; None without a window."""
    return napari.current_viewer()


class Layout:
    """Places for images beside those that are there: in rows, clear of everything else.

    Parameters
    ----------
    viewer : ViewerModel, optional
        Whose layers are there.
    """

    def __init__(self, viewer: ViewerModel | None = None) -> None:
        layers = [] if viewer is None else list(viewer.layers)
        self._taken = [box_of(la) for la in layers]
        self._rows = [box_of(la) for la in layers if isinstance(la, Image) and note(la).get(PLACED)]

    @property
    def empty(self) -> bool:
        """True where nothing was placed yet."""
        return not self._rows

    def place(self, shape: Sequence[int], side: float) -> tuple[float, float]:
        """Where the next image goes, which takes the place.

        Parameters
        ----------
        shape : (int, int)
            (height, width) [px].
        side : float
            Of a pixel in the world.

        Returns
        -------
        (float, float)
            (y, x) of the centre of its first pixel in the world.
        """
        height, width = (n * side for n in shape)
        gap = GAP_PX * side
        if not self._taken:
            top, left = -0.5 * side, -0.5 * side  # the first pixel's centre is at (0, 0)
        elif self._rows and len(self._rows) % PER_ROW:
            top, left = self._rows[-1][0], self._rows[-1][3] + gap
        else:
            beginning = self._rows[0] if self._rows else self._taken[0]
            among = self._rows or self._taken
            top, left = max(b[2] for b in among) + gap, beginning[1]
        box = (top, left, top + height, left + width)
        if any(_overlap(box, other) for other in self._taken):
            top = max(b[2] for b in self._taken) + gap
            left = min(b[1] for b in self._rows or self._taken)
            box = (top, left, top + height, left + width)
        self._taken.append(box)
        self._rows.append(box)
        return top + 0.5 * side, left + 0.5 * side


def box_of(layer: Layer) -> Box:
    """What a layer covers of the world."""
    low, high = np.array(layer.extent.world)[:, -2:]
    half = 0.5 * np.abs(np.array(layer.scale[-2:])) if isinstance(layer, Image) else np.zeros(2)
    low, high = np.minimum(low, high) - half, np.maximum(low, high) + half
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _overlap(one: Box, other: Box) -> bool:
    slack = 1e-6 * max(one[2] - one[0], one[3] - one[1])
    return (
        one[0] < other[2] - slack
        and other[0] < one[2] - slack
        and one[1] < other[3] - slack
        and other[1] < one[3] - slack
    )


def know_units() -> None:
    """Read the list of units that napari's layers and scale bar are drawn with.

    It is read once, when it is first asked for, which takes as long as adding an image.
    """
    get_application_registry().parse_units("pm")


def fit_when_added(viewer: ViewerModel | None) -> None:
    """Bring all that is being opened into sight once it is there.

    Napari zooms to the first layer alone.
    """
    if viewer is not None and QApplication.instance() is not None:
        QTimer.singleShot(0, viewer.reset_view)


def show_scale_bar(viewer: ViewerModel | None) -> None:
    """Show how long things are, once there is a calibrated image."""
    if viewer is not None:
        viewer.canvas.overlays.scale_bar.visible = True
