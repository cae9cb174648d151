"""Plots of a series in napari's colours: the drift of its frames, classes against dose, rates."""

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ...output import draw_classes, draw_rates, figure_settings
from ...series import SeriesResult, rate_table, series_table
from ..base import ThemedCanvas

_BLUE, _RED = "#56B4E9", "#D55E00"


def theme_settings(ink: str, ground: str) -> dict[str, object]:
    """What matplotlib draws with, in the colours of a theme."""
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    sizes = ("axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize")
    return {
        **dict.fromkeys(inked, ink),
        **dict.fromkeys(sizes, 8),
        "axes.titlesize": 8,
        "axes.facecolor": ground,
        "axes.linewidth": 0.7,
        "legend.frameon": False,
        "lines.markersize": 3,
    }


class DriftCanvas(ThemedCanvas):
    """Drift of the frames, bad ones dotted.

    Parameters
    ----------
    theme : str
    height : int
        Its least height [px of the screen].
    """

    def __init__(self, theme: str, height: int = 150) -> None:
        self._drift = None
        super().__init__(theme, height)

    def show_drift(self, drift) -> None:
        """Draw a table of `frames.drift_table`; None clears the plot."""
        self._drift = drift
        self.setVisible(drift is not None)
        self.redraw()

    def redraw(self) -> None:
        """Everything anew; matplotlib takes colours when things are made."""
        self.figure.clear()
        if self._drift is not None:
            with figure_settings(theme_settings(self.ink, self.ground)):
                self._draw(self.figure.subplots())
        self.draw_idle()

    def _draw(self, axes: Axes) -> None:
        table = self._drift
        unit = "pm" if "y_pm" in table else "px"
        frame = table["frame"]
        for axis, colour, marker in (("x", _BLUE, "o"), ("y", _RED, "s")):
            axes.errorbar(
                frame,
                table[f"{axis}_{unit}"],
                table[f"sigma_{axis}_{unit}"],
                fmt=f"-{marker}",
                color=colour,
                linewidth=0.8,
                label={"x": "x, to the right", "y": "y, down"}[axis],
            )
        for place in frame[table["bad"].astype(bool)]:
            axes.axvline(place, color=self.ink, linestyle=":", linewidth=0.8)
        axes.set_xlabel("frame (dotted: left out)")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_ylabel(f"drift ({unit})")
        axes.legend()


class HistoryCanvas(ThemedCanvas):
    """Classes against dose or time on the left, rates on the right.

    Parameters
    ----------
    theme : str
    height : int
        Its least height [px of the screen].
    """

    def __init__(self, theme: str, height: int = 220) -> None:
        self._result: SeriesResult | None = None
        super().__init__(theme, height)

    def show_result(self, result: SeriesResult | None) -> None:
        """Draw a series with histories; None clears the plot."""
        self._result = result
        self.redraw()

    def redraw(self) -> None:
        """Everything anew."""
        self.figure.clear()
        if self._result is not None:
            with figure_settings(theme_settings(self.ink, self.ground)):
                left, right = self.figure.subplots(1, 2, width_ratios=(1.4, 1.0))
                draw_classes(left, series_table(self._result), self._result.material)
                draw_rates(right, rate_table(self._result))
        self.draw_idle()
