"""Pictures of single windows: thumbnails, and one window beside its average."""

import numpy as np
from qtpy.QtGui import QIcon, QImage, QPixmap

from ...types import ClassStack
from ..base.canvases import ThemedCanvas

THUMBNAIL_PX = 64
LEFT_OUT = (213, 94, 0)
"""Frame of windows that are left out: vermilion, which every eye tells from grey."""
INCLUDED = (110, 110, 110)
FRAME_PX = 3


def thumbnail(stack: ClassStack, index: int, limits: tuple[float, float]) -> QIcon:
    """One window in grey, framed by whether it counts."""
    window = stack.windows[index]
    every = max(1, round(window.shape[0] / THUMBNAIL_PX))
    low, high = limits
    grey = np.clip((window[::every, ::every] - low) / (high - low), 0.0, 1.0)
    picture = np.repeat((255 * grey).astype(np.uint8)[:, :, None], 3, axis=2)
    frame = np.ones(picture.shape[:2], dtype=bool)
    frame[FRAME_PX:-FRAME_PX, FRAME_PX:-FRAME_PX] = False
    picture[frame] = INCLUDED if stack.included[index] else LEFT_OUT
    data = np.ascontiguousarray(picture)
    height, width = data.shape[:2]
    image = QImage(data.data, width, height, 3 * width, QImage.Format.Format_RGB888)
    return QIcon(QPixmap.fromImage(image.copy()))


class WindowCanvas(ThemedCanvas):
    """A window, the average of its class, and what the window has more or less.

    Parameters
    ----------
    theme : str
    height : int
        Its least height [px of the screen].
    """

    def __init__(self, theme: str, height: int = 120) -> None:
        self._pictures: tuple[np.ndarray, np.ndarray] | None = None
        self._limits = (0.0, 1.0)
        super().__init__(theme, height)

    def show_window(
        self, window: np.ndarray, average: np.ndarray, limits: tuple[float, float]
    ) -> None:
        """Draw another window."""
        self._pictures, self._limits = (window, average), limits
        self.redraw()

    def clear(self) -> None:
        """Draw nothing."""
        self._pictures = None
        self.redraw()

    def redraw(self) -> None:
        """Three pictures in a row; the difference from blue (less) to red (more)."""
        self.figure.clear()
        if self._pictures is not None:
            window, average = self._pictures
            low, high = self._limits
            difference = window - average
            reach = float(np.percentile(np.abs(difference), 99.8)) or 1.0
            panels = self.figure.subplots(1, 3)
            for axes, picture, title in zip(
                panels,
                (window, average, difference),
                ("window", "average", "difference"),
                strict=True,
            ):
                look = {"cmap": "gray", "vmin": low, "vmax": high}
                if title == "difference":
                    look = {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach}
                axes.imshow(picture, **look)
                axes.set_axis_off()
                label = f"diff. ±{reach:.2f}" if title == "difference" else title  # narrow panels
                axes.set_title(label, fontsize=8, color=self.ink, pad=2)
        self.draw_idle()
