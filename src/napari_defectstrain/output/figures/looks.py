"""The figure of *Simulate my image*: real and simulated side by side, and what differs.

Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...trials import Seen, grey_limits, radial_spectrum
from .files import PAGE_INCH, for_print

REAL, SIMULATED = "#0072B2", "#D55E00"
_SHORT = {
    "slower than the lattice (0.1 to 0.5 of its first spots)": "slower than lattice",
    "below the first spots (0.5 to 0.85)": "below first spots",
    "at the first spots (0.85 to 1.15)": "at first spots",
    "at the next spots (1.6 to 2.15)": "at next spots",
    "between and beyond them (2.15 to 3)": "beyond them",
    "noise (3 of the first spots to the end)": "noise",
}
_BINS = 80


@for_print
def look_figure(real: Sequence[Seen], simulated: Sequence[Seen], table: pd.DataFrame) -> Figure:
    """Pictures, spectra, histograms and the table of differences.

    Parameters
    ----------
    real, simulated : sequences of Seen
        The first of each is shown, curves are of all.
    table : DataFrame
        See `trials.compare_looks`.
    """
    figure = Figure(figsize=(PAGE_INCH, 8.4), layout="constrained")
    grid = figure.add_gridspec(3, 6, height_ratios=(3.2, 2.2, 4.2))
    limits = grey_limits([real[0], simulated[0]])
    for place, seen, name in (
        (slice(0, 3), real[0], "real"),
        (slice(3, 6), simulated[0], "simulated"),
    ):
        draw_picture(figure.add_subplot(grid[0, place]), seen, limits, name)
    draws = (draw_spectra, draw_greys, draw_brightness)
    for number, draw in enumerate(draws):
        draw(figure.add_subplot(grid[1, 2 * number : 2 * number + 2]), real, simulated)
    _draw_table(figure.add_subplot(grid[2, :]), table)
    return figure


def draw_picture(ax: Axes, seen: Seen, limits: tuple[float, float], name: str) -> None:
    """An image, with a scale bar."""
    ax.imshow(seen.picture, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest")
    ax.set_title(f"{name}: {seen.name}" if len(seen.name) < 40 else name)
    ax.set_axis_off()
    width = seen.picture.shape[1]
    bar = 1e3 / seen.number["pixel_size_pm"]
    y = 0.96 * seen.picture.shape[0]
    ax.plot([0.03 * width, 0.03 * width + bar], [y, y], color="black", linewidth=4.0)
    ax.plot([0.03 * width, 0.03 * width + bar], [y, y], color="white", linewidth=2.0)
    ax.text(
        0.03 * width,
        y - 0.02 * width,
        "1 nm",
        color="white",
        va="bottom",
        fontweight="bold",
        bbox={"facecolor": "black", "alpha": 0.5, "pad": 1.0, "linewidth": 0},
    )


def draw_spectra(ax: Axes, real: Sequence[Seen], simulated: Sequence[Seen]) -> None:
    """Power by spatial frequency."""

    def one(seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        spectrum = radial_spectrum(seen)
        return spectrum.frequency, spectrum.power

    _draw_curves(ax, real, simulated, one)
    ax.set_yscale("log")
    ax.set_xlim(0, 6)
    ax.set_xlabel("frequency (first spots = 1)")
    ax.set_ylabel("power (height² per px)")


def draw_greys(ax: Axes, real: Sequence[Seen], simulated: Sequence[Seen]) -> None:
    """Histograms of the grey values."""
    low, high = grey_limits([*real, *simulated])
    edges = np.linspace(low, high, _BINS + 1)

    def one(seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        return edges[:-1], np.histogram(seen.picture, edges, density=True)[0]

    _draw_curves(ax, real, simulated, one)
    ax.set_xlabel("grey value (metal column = 1)")
    ax.set_ylabel("density")
    ax.legend(loc="upper right", frameon=False)


def draw_brightness(ax: Axes, real: Sequence[Seen], simulated: Sequence[Seen]) -> None:
    """Histograms of the columns' brightness."""
    edges = np.linspace(-0.1, 1.9, 61)

    def one(seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        return edges[:-1], np.histogram(np.concatenate(seen.weight), edges, density=True)[0]

    _draw_curves(ax, real, simulated, one)
    ax.set_xlabel("column brightness (metal = 1)")
    ax.set_ylabel("density")


def _draw_curves(
    ax: Axes,
    real: Sequence[Seen],
    simulated: Sequence[Seen],
    curve: Callable[[Seen], tuple[np.ndarray, np.ndarray]],
) -> None:
    # what differs by chance lies between the simulated ones; they are dashed for grey print
    for group, colour, line, label in (
        (simulated, SIMULATED, "--", "simulated"),
        (real, REAL, "-", "real"),
    ):
        for number, seen in enumerate(group):
            x, y = curve(seen)
            ax.plot(
                x,
                y,
                line,
                color=colour,
                linewidth=0.9,
                label=label if number == 0 else None,
                alpha=1.0 if len(group) < 3 else 0.7,
            )


def _draw_table(ax: Axes, table: pd.DataFrame) -> None:
    ax.set_axis_off()
    rows = [
        [
            short_quantity(str(row.quantity), str(row.unit)),
            *(_number(v) for v in (row.real, row.simulated, row.difference, row.by_chance)),
            {True: "yes", False: "no"}.get(row.within, ""),
        ]
        for row in table.itertuples()
    ]
    drawn = ax.table(
        rows,
        colLabels=["", "real", "simulated", "difference", "by chance up to", "alike"],
        colWidths=[0.42, 0.12, 0.12, 0.12, 0.14, 0.08],
        loc="center",
        cellLoc="right",
        edges="horizontal",
    )
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(6.5)
    drawn.scale(1.0, 0.82)
    for (line, column), cell in drawn.get_celld().items():
        cell.set_linewidth(0.3)
        if column == 0:
            cell.set_text_props(ha="left")
        if line and column == 5 and rows[line - 1][5] == "no":
            cell.set_text_props(fontweight="bold", color=SIMULATED)


def short_quantity(quantity: str, unit: str) -> str:
    """A row's name as tables on paper and in the window have room for it."""
    for long, short in _SHORT.items():
        quantity = quantity.replace(long, short)
    return f"{quantity} ({unit})" if unit else quantity


def _number(value: float) -> str:
    return "" if not np.isfinite(value) else f"{value:.3g}"
