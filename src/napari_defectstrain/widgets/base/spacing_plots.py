"""Plots of what is measured on averages: spacings by class, and precision against N."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

import matplotlib as mpl

from ...materials import Material
from ...output.figures.files import figure_settings
from ...output.figures.spacings import draw_precision, draw_spacings
from ...pipeline.runs import ClassMeasurement
from .canvases import ThemedCanvas


class MeasurementCanvas(ThemedCanvas):
    """A canvas that draws the measurements of a run in the colours of napari's theme.

    Parameters
    ----------
    theme : str
    height : int
        Its least height [px of the screen].
    """

    def __init__(self, theme: str, height: int = 200) -> None:
        self._measurements: Mapping[str, ClassMeasurement] = {}
        self._material: Material | None = None
        self._message = ""
        super().__init__(theme, height)

    def show_measurements(
        self, measurements: Mapping[str, ClassMeasurement], material: Material
    ) -> None:
        """Draw these measurements."""
        self._measurements, self._material, self._message = measurements, material, ""
        self.redraw()

    def show_message(self, message: str) -> None:
        """Say why there is nothing to draw."""
        self._measurements, self._message = {}, message
        self.redraw()

    def redraw(self) -> None:
        """Everything anew; matplotlib takes colours when things are made."""
        self.figure.clear()
        if self._measurements and self._material is not None:
            with self.in_theme():
                self.draw_into(self.figure.subplots(), self._measurements, self._material)
        elif self._message:
            self.figure.text(
                0.5, 0.5, self._message, ha="center", va="center", color=self.ink, fontsize=9
            )
        self.draw_idle()

    def draw_into(
        self, axes: mpl.axes.Axes, measurements: Mapping[str, ClassMeasurement], material: Material
    ) -> None:
        """For subclasses."""
        raise NotImplementedError

    def in_theme(self) -> AbstractContextManager[None]:
        """While it holds, what is drawn takes the theme's colours."""
        return figure_settings(self._colours())

    def _colours(self) -> dict[str, object]:
        ink = dict.fromkeys(
            ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"),
            self.ink,
        )
        sizes = {"axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 9}
        return {**ink, **sizes, "axes.facecolor": self.ground, "axes.linewidth": 0.7}


class SpacingCanvas(MeasurementCanvas):
    """Spacings by class: single windows, bootstrap of the averages, strain in words."""

    def draw_into(self, axes, measurements, material) -> None:
        """As in figures."""
        draw_spacings(axes, measurements, material)


class PrecisionCanvas(MeasurementCanvas):
    """Precision against the number of windows."""

    def draw_into(self, axes, measurements, material) -> None:
        """As in figures."""
        draw_precision(axes, measurements, material)
