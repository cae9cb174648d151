"""What panels of figures share: maps, arrows, columns, letters, scale bars, colour bars.

Panels are in the lattice frame (``docs/conventions.md``): x to the right, y up, the defect at the
origin, lengths in nm; strain in per cent, rotation in mrad.
"""

from __future__ import annotations

import string
import textwrap
from collections.abc import Iterable, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from ...strain.displacement import ErrorEllipses
from ...styles import chosen_width_inch, panels_across
from ...types import ClassAverage, DisplacementField, FloatArray, StrainField
from ...units import PM_PER_NM, shown_strain_unit
from .files import COLUMN_INCH, PAGE_INCH

COMPONENT_LABEL = {
    "exx": r"$\varepsilon_{xx}$",
    "eyy": r"$\varepsilon_{yy}$",
    "exy": r"$\varepsilon_{xy}$",
    "rotation": r"rotation $\omega$",
    "dilation": r"dilation $\varepsilon_{xx}+\varepsilon_{yy}$",
}
DIVERGING, OF_ERRORS = "RdBu_r", "viridis"
LIMIT_PERCENTILE = 99.5
"""Colour limits leave out the last 0.5 % of the pixels, which are noise of the rim."""
CONTOURS_SAY = "contours at half the scale, broken where negative"

_STROKE: list[AbstractPathEffect] = [withStroke(linewidth=1.2, foreground="black")]
_BAR_LENGTHS_NM = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
_ARROW_LENGTHS_PM = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
_ENLARGEMENTS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
_LONGEST_ARROW_PM = 300.0
"""How long the longest arrow may be drawn: about from a column to the next of its kind."""
_MOST_ACROSS = 3
_LETTERS_PER_INCH = 17
"""Of titles."""
_ARROW_COLOUR = "#F0E442"
_ARROW_WIDTH_INCH = 0.8 / 72


def close_layout() -> ConstrainedLayoutEngine:
    """A layout of panels that stand close together."""
    return ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)


def width_inch(panels: int) -> float:
    """Both columns of a page for more than two panels in a row, else one; or as was chosen."""
    return chosen_width_inch(PAGE_INCH if panels > 2 else COLUMN_INCH)


def is_narrow(figure_inch: float) -> bool:
    """Whether a figure is of one column."""
    return figure_inch < 0.5 * (COLUMN_INCH + PAGE_INCH)


def in_columns(figure_inch: float) -> float:
    """Width of a figure [inch]: one column or both, whichever is nearer; or as was chosen."""
    return chosen_width_inch(COLUMN_INCH if is_narrow(figure_inch) else PAGE_INCH)


def turned(rows: int, columns: int) -> bool:
    """Whether rows of panels become columns: where too many stand side by side for a column."""
    return columns > _MOST_ACROSS and rows < columns and is_narrow(width_inch(columns))


def panels_of(parent: Figure | SubFigure, rows: int, columns: int, is_turned: bool) -> np.ndarray:
    """Panels by row and column of the figure's meaning, whichever way they are laid out."""
    if not is_turned:
        return np.asarray(parent.subplots(rows, columns, squeeze=False))
    return np.asarray(parent.subplots(columns, rows, squeeze=False)).T


def grid_of(panels: int, own: float) -> tuple[int, int]:
    """Rows and columns of panels that stand in one row of a figure of a width of its own."""
    columns = panels_across(panels, own)
    return -(-panels // columns), columns


def in_lines(text: str, figure_inch: float) -> str:
    """A title in as many lines as the figure's width asks for."""
    letters = round(_LETTERS_PER_INCH * figure_inch)
    return "\n".join(textwrap.wrap(text, letters))


def map_unit(component: str) -> str:
    """Unit of a component of strain as it is drawn."""
    return shown_strain_unit(component)[1]


def letter_panels(panels: Iterable[Axes], first: int = 0, inside: bool = True) -> None:
    """(a), (b), (c), … in the given order, in the upper left corners or above them.

    Parameters
    ----------
    panels : iterable of Axes
    first : int
        Which letter comes first: how many panels were lettered before.
    inside : bool
        Letters are white on pictures, black on maps and plots.
    """
    for axes, letter in zip(panels, string.ascii_lowercase[first:], strict=False):
        if not inside:
            axes.set_title(f"({letter})", loc="left")
            continue
        grey = bool(axes.images) and axes.images[-1].get_cmap().name == "gray"
        note(axes, f"({letter})", "upper left", "white" if grey else "black")


def letter_titles(panels: Iterable[Axes]) -> None:
    """(a), (b), (c), … before the titles of panels, alone above those without one.

    A figure of one panel gets no letter.
    """
    shown = list(panels)
    if len(shown) < 2:
        return
    for axes, letter in zip(shown, string.ascii_lowercase, strict=False):
        title = axes.get_title(loc="left") or axes.get_title()
        if not title:
            axes.set_title(f"({letter})", loc="left")
            continue
        parts = (part for part in axes.get_children() if isinstance(part, Text))
        next(part for part in parts if part.get_text() == title).set_text(f"({letter}) {title}")


def note(axes: Axes, words: str, where: str, colour: str = "white") -> None:
    """Words in a corner of a panel; white ones have a rim, so that they show on anything."""
    vertical, horizontal = where.split()
    text = axes.text(
        0.04 if horizontal == "left" else 0.96,
        0.035 if vertical == "lower" else 0.965,
        words,
        ha=horizontal,
        va="bottom" if vertical == "lower" else "top",
        transform=axes.transAxes,
        color=colour,
        fontsize=7,
        linespacing=1.1,
        path_effects=_STROKE if colour == "white" else [],
    )
    text.set_in_layout(False)  # inside


def scale_bar(axes: Axes, where: str = "lower left", colour: str = "white") -> None:
    """A bar of about a quarter of the width, in a round number of nm (axes in nm)."""
    width = abs(axes.get_xlim()[1] - axes.get_xlim()[0])
    length = min(_BAR_LENGTHS_NM, key=lambda bar: abs(bar - 0.25 * width))
    left = 0.04 if where.endswith("left") else 0.96 - length / width
    rim = [withStroke(linewidth=3.0, foreground="black")] if colour == "white" else None
    axes.plot(
        [left, left + length / width],
        [0.045, 0.045],
        color=colour,
        linewidth=1.8,
        solid_capstyle="butt",
        transform=axes.transAxes,
        path_effects=rim,
    )
    said = axes.annotate(
        f"{length:g} nm",
        (left if where.endswith("left") else 0.96, 0.045),
        (0, 2),
        xycoords="axes fraction",
        textcoords="offset points",
        ha=where.split()[1],
        va="bottom",
        color=colour,
        fontsize=7,
        path_effects=_STROKE if colour == "white" else [],
    )
    said.set_in_layout(False)


def colour_bar(
    figure: Figure | SubFigure, drawn: ScalarMappable, panels: Sequence[Axes], label: str
) -> None:
    """A colour bar below panels, with few ticks."""
    bar = figure.colorbar(
        drawn,
        ax=list(panels),
        label=label,
        location="bottom",
        shrink=0.9,
        aspect=20,
        pad=0.02,
        ticks=MaxNLocator(4, steps=[1, 2, 5, 10]),
    )
    bar.ax.yaxis.set_visible(False)


def row_labels(panels: np.ndarray, names: Sequence[str], is_turned: bool = False) -> None:
    """Names of rows, left of them; of turned ones left of every panel."""
    for row, name in zip(panels, names, strict=True):
        for axes in row if is_turned else row[:1]:
            axes.set_ylabel(name)
            axes.yaxis.set_visible(True)


def bare(axes: Axes) -> None:
    """No ticks: the scale bar tells lengths.

    Axes that show nothing, and spines that reach no further than they, cost a layout a third.
    """
    axes.set_xticks([])
    axes.set_yticks([])
    axes.xaxis.set_visible(False)
    axes.yaxis.set_visible(bool(axes.get_ylabel()))
    for spine in axes.spines.values():
        spine.set_in_layout(False)


def show_average(axes: Axes, average: ClassAverage) -> None:
    """A class average in grey, with its number of windows and their purity."""
    axes.imshow(average.mean, cmap="gray", extent=extent_nm(average.mean.shape[0], average.step_pm))
    note(axes, f"N = {average.n}\npurity {average.purity:.3f}", "upper right")


def extent_nm(pixels: int, step_pm: float) -> tuple[float, float, float, float]:
    """Edges of a square picture whose centre is the origin."""
    half = 0.5 * pixels * step_pm / PM_PER_NM
    return (-half, half, -half, half)


def limit_of(maps: Iterable[FloatArray], component: str) -> float:
    """Colour limit of maps that share one, in the unit that the component is shown in."""
    limit, factor = 0.0, shown_strain_unit(component)[0]
    for values in maps:
        finite = np.abs(values[np.isfinite(values)])
        if finite.size:
            limit = max(limit, factor * float(np.percentile(finite, LIMIT_PERCENTILE)))
    return limit or 1.0


def strain_map(
    axes: Axes,
    strain: StrainField,
    component: str,
    limit: float,
    *,
    sigma: bool = False,
    opacity: FloatArray | None = None,
) -> AxesImage:
    """A map of strain, or of its standard error, in per cent (rotation in mrad).

    Contours at half the limit tell signs apart in grey, too.

    Parameters
    ----------
    axes : Axes
    strain : StrainField
    component : str
    limit : float
        Of the colours, in the unit shown.
    sigma : bool
        Draw the standard error.
    opacity : array, `(H, W)`, optional
        Below one where the map is pale.
    """
    source = strain.sigma if sigma else strain.components
    values = shown_strain_unit(component)[0] * np.asarray(source[component], dtype=float)
    x, y = strain.x_pm / PM_PER_NM, strain.y_pm / PM_PER_NM
    half = 0.5 * abs(x[1] - x[0])
    extent = (x[0] - half, x[-1] + half, y[-1] - half, y[0] + half)
    axes.set_facecolor("0.85")  # where there is no strain
    if opacity is not None:  # pale means near white, not near the background
        ground = np.where(np.isfinite(values), 1.0, np.nan)
        axes.imshow(ground, cmap="gray", vmin=0, vmax=1, extent=extent)
    if not sigma:
        for level, line in ((-0.5 * limit, "--"), (0.5 * limit, "-")):
            if np.nanmin(values, initial=0.0) < level < np.nanmax(values, initial=0.0):
                axes.contour(x, y, values, [level], colors="black", linewidths=0.4, linestyles=line)
    return axes.imshow(
        values,
        cmap=mpl.colormaps[OF_ERRORS if sigma else DIVERGING],
        vmin=0.0 if sigma else -limit,
        vmax=limit,
        alpha=opacity,
        extent=extent,
    )


def mark_columns(axes: Axes, field: DisplacementField) -> None:
    """Ideal columns, metals as dots and chalcogens as rings, to see where the strain is."""
    x, y = field.site_pm.T / PM_PER_NM
    metal = field.sublattice == "metal"
    axes.plot(x[metal], y[metal], "o", color="black", markersize=1.4, mew=0)
    axes.plot(x[~metal], y[~metal], "o", color="black", mfc="none", markersize=1.6, mew=0.35)


def zoom(axes: Axes, field: DisplacementField, reach_nm: float | None = None) -> None:
    """Show the columns that were measured, and no more; or a square of that half side."""
    reach = reach_nm or 1.08 * float(np.abs(field.site_pm).max()) / PM_PER_NM
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)


def enlargement(field: DisplacementField) -> float:
    """How many times arrows are enlarged, a round number: as much as leaves them apart."""
    longest = float(np.nanmax(np.hypot(*field.u_pm.T), initial=0.0))
    fitting = [factor for factor in _ENLARGEMENTS if factor * longest <= _LONGEST_ARROW_PM]
    return fitting[-1] if fitting else _ENLARGEMENTS[0]


def draw_arrows(axes: Axes, field: DisplacementField, ellipses: ErrorEllipses | None) -> None:
    """Displacement of each column, one arrow of known length, error ellipses at the tips.

    The widths are those of print: arrows keep their shape whatever the panel's size is.
    """
    factor = enlargement(field)
    known = np.isfinite(field.u_pm).all(axis=1)
    x, y = field.site_pm[known].T / PM_PER_NM
    arrows = axes.quiver(
        x,
        y,
        *(factor * field.u_pm[known].T / PM_PER_NM),
        angles="xy",
        scale_units="xy",
        scale=1.0,
        units="inches",
        width=_ARROW_WIDTH_INCH,
        color=_ARROW_COLOUR,
        edgecolor="black",
        linewidth=0.3,
        headwidth=3.4,
        headlength=3.4,
        headaxislength=3.0,
        minlength=0.0,
    )
    longest = float(np.nanmax(np.hypot(*field.u_pm.T), initial=0.0))
    shorter = [length for length in _ARROW_LENGTHS_PM if length <= longest]
    length = shorter[-1] if shorter else _ARROW_LENGTHS_PM[0]
    key = axes.quiverkey(
        arrows,
        0.14,
        0.075,
        factor * length / PM_PER_NM,
        f"{length:g} pm (×{factor:g})",
        labelpos="E",
        labelsep=0.04,
        labelcolor="white",
        fontproperties={"size": 7},
        color=_ARROW_COLOUR,
    )
    key.text.set_path_effects(_STROKE)
    if ellipses is not None:
        _draw_ellipses(axes, field, ellipses, factor)


def _draw_ellipses(
    axes: Axes, field: DisplacementField, ellipses: ErrorEllipses, factor: float
) -> None:
    good = np.isfinite(ellipses.angle_rad) & np.isfinite(field.u_pm).all(axis=1)
    tips = (field.site_pm[good] + factor * field.u_pm[good]) / PM_PER_NM
    axes_nm = 2.0 * factor * ellipses.semi_axes_pm[good] / PM_PER_NM
    axes.add_collection(
        EllipseCollection(
            axes_nm[:, 0],
            axes_nm[:, 1],
            np.degrees(ellipses.angle_rad[good]),
            units="xy",
            offsets=tips,
            offset_transform=axes.transData,
            facecolors="none",
            edgecolors="cyan",
            linewidths=0.5,
        )
    )
