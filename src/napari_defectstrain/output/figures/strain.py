"""Figures of displacement and strain, beside theories: results in, a matplotlib `Figure` out.

Nothing is computed here but what drawing needs (limits, masks). Maps are in the lattice frame, x to
the right, y up, lengths in nm; strain in per cent, tension positive, rotation in mrad,
counter-clockwise positive. Maps that are to be compared share their limits and one colour bar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from ...materials import Material
from ...strain.displacement import ErrorEllipses
from ...strain.field import significant
from ...strain.lines import LineProfile
from ...strain.triangles import TriangleStrain
from ...styles import chosen_width_inch
from ...types import BoolArray, ClassAverage, DisplacementField, FloatArray, StrainField
from ...units import PM_PER_NM, shown_strain_unit
from .files import PAGE_INCH, for_print
from .panels import (
    COMPONENT_LABEL,
    CONTOURS_SAY,
    DIVERGING,
    bare,
    close_layout,
    colour_bar,
    draw_arrows,
    in_lines,
    is_narrow,
    letter_panels,
    limit_of,
    map_unit,
    mark_columns,
    panels_of,
    row_labels,
    scale_bar,
    show_average,
    strain_map,
    turned,
    width_inch,
    zoom,
)
from .profiles import draw_profile

FADED = 0.35
"""Opacity of what is not significant."""

_MAX_SIDE_INCH = 2.1
"""Of one panel: three of them and their labels take a page's width."""
_BAR_INCH, _TITLES_INCH = 0.4, 0.36
"""Heights of a colour bar with its label, and of the titles."""


@for_print
def displacement_figure(
    averages: Mapping[str, ClassAverage],
    displacements: Mapping[str, DisplacementField],
    strains: Mapping[str, StrainField],
    elastic: Mapping[str, StrainField] | None = None,
    ellipses: Mapping[str, ErrorEllipses] | None = None,
    reach_nm: float | None = None,
) -> Figure:
    """Averages with arrows, measured dilation, and that of the elastic model (the paper's Fig. 4).

    Parameters
    ----------
    averages, displacements, strains : mappings of class
        The panels of a class without strain stay empty.
    elastic : mapping of class to StrainField, optional
        The dilation of the inclusion at the same columns, with the measurement's limits.
    ellipses : mapping of class to ErrorEllipses, optional
        Drawn at the tips of the arrows, enlarged alike.
    reach_nm : float, optional
        Half the side of all panels [nm]; by default they show all columns that were measured.
    """
    names = list(displacements)
    rows = ("class average", "measured", "Eshelby")[: 2 if elastic is None else 3]
    figure, panels = _grid(len(rows), len(names))
    for column, name in zip(panels.T, names, strict=True):
        top, field = column[0], displacements[name]
        show_average(top, averages[name])
        draw_arrows(top, field, None if ellipses is None else ellipses.get(name))
        top.set_title(name)
        maps = [found[name] for found in (strains, elastic or {}) if name in found]
        limit = limit_of((strain.components["dilation"] for strain in maps), "dilation")
        for axes, strain in zip(column[1:], maps, strict=False):
            drawn = strain_map(axes, strain, "dilation", limit)
            mark_columns(axes, field)
        for axes in column[1 + len(maps) :]:
            axes.set_axis_off()
        for axes in column[: 1 + len(maps)]:
            zoom(axes, field, reach_nm)
            bare(axes)
            scale_bar(axes, "lower right", "white" if axes is top else "black")
        if maps:
            colour_bar(figure, drawn, column, "dilation [%]")
    is_turned = turned(*panels.shape)
    row_labels(panels, rows, is_turned)
    letter_panels(axes for axes in _in_order(panels) if axes.axison)
    if strains:
        first = next(iter(strains.values()))
        _entitle(figure, "dilation: growth positive", first)
    return figure


@for_print
def strain_figure(strain: StrainField, displacement: DisplacementField) -> Figure:
    """All components of the strain of one class, each above its standard error (Fig. 5, S6)."""
    names = list(strain.components)
    figure, panels = _grid(2, len(names), bars=2)
    for column, name in zip(panels.T, names, strict=True):
        for axes, source, is_sigma in zip(
            column, (strain.components, strain.sigma), (False, True), strict=True
        ):
            limit = limit_of([source[name]], name)
            drawn = strain_map(axes, strain, name, limit, sigma=is_sigma)
            _finish_map(axes, displacement)
            colour_bar(figure, drawn, [axes], f"{'σ ' if is_sigma else ''}[{map_unit(name)}]")
        column[0].set_title(COMPONENT_LABEL[name])
    row_labels(panels, ("strain", "standard error"), turned(*panels.shape))
    letter_panels(_in_order(panels))
    _entitle(figure, f"{strain.class_name}: tension positive", strain)
    return figure


@for_print
def comparison_figure(
    strains: Mapping[str, StrainField],
    displacement: DisplacementField,
    components: Sequence[str] = ("exx", "eyy", "dilation"),
    profile: LineProfile | None = None,
    material: Material | None = None,
    fade: bool = False,
) -> Figure:
    """Strain of one class, a row for the measurement and each theory (Fig. 5; S6 with rotation).

    Parameters
    ----------
    strains : mapping of name to StrainField
        Measurement first, then models at the same columns; all of a component share their limits.
    displacement : DisplacementField
        Whose columns are marked.
    components : sequence of str
        Columns of the figure.
    profile : LineProfile, optional
        Drawn below; its line is marked in the maps of its component.
    material : Material, optional
        Names the columns that the profile crosses.
    fade : bool
        Whether what lies within two standard errors of zero is made pale.
    """
    rows = list(strains)
    below = 0.0 if profile is None else 2.3
    figure, panels, maps = _grid_above(len(rows), len(components), below)
    for column, component in zip(panels.T, components, strict=True):
        limit = limit_of((s.components[component] for s in strains.values()), component)
        for axes, name in zip(column, rows, strict=True):
            opacity = _opacity(strains[name], component) if fade else None
            drawn = strain_map(axes, strains[name], component, limit, opacity=opacity)
            if profile is not None and profile.component == component:
                _mark_line(axes, profile)
            _finish_map(axes, displacement)
        column[0].set_title(COMPONENT_LABEL[component])
        colour_bar(maps, drawn, column, f"[{map_unit(component)}]")
    row_labels(panels, rows)
    letter_panels(panels.flat)
    if profile is not None:
        bottom = figure.subfigs[1].subplots()
        draw_profile(bottom, profile, material)
        letter_panels([bottom], first=panels.size)
    first = strains[rows[0]]
    _entitle(figure, f"{first.class_name}: tension positive", first)
    return figure


@for_print
def triangles_figure(
    triangles: TriangleStrain,
    strain: StrainField | None = None,
    components: Sequence[str] = ("exx", "eyy", "dilation"),
) -> Figure:
    """Strain of each triangle of columns, above the smoothed map with the same limits."""
    rows = 1 if strain is None else 2
    figure, panels = _grid(rows, len(components))
    reach = 1.05 * float(np.abs(triangles.vertices_pm).max()) / PM_PER_NM
    for column, component in zip(panels.T, components, strict=True):
        values = shown_strain_unit(component)[0] * triangles.components[component]
        limit = limit_of([triangles.components[component]], component)
        drawn = PolyCollection(
            list(triangles.vertices_pm / PM_PER_NM),
            array=values,
            cmap=DIVERGING,
            norm=Normalize(-limit, limit),
            edgecolors="0.5",
            linewidths=0.3,
        )
        column[0].add_collection(drawn)
        column[0].set_aspect("equal")
        column[0].set_title(COMPONENT_LABEL[component])
        if strain is not None:
            strain_map(column[1], strain, component, limit)
        for axes in column:
            axes.set_facecolor("0.85")
            axes.set_xlim(-reach, reach)
            axes.set_ylim(-reach, reach)
            bare(axes)
            scale_bar(axes, "lower right", "black")
        colour_bar(figure, drawn, column, f"[{map_unit(component)}]")
    names = (f"{triangles.sublattice} triangles", "smoothed map")[:rows]
    row_labels(panels, names)
    letter_panels(panels.flat)
    figure.suptitle(f"{triangles.class_name}: tension positive")
    return figure


def _grid(rows: int, columns: int, bars: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure of square panels with colour bars below the columns of panels."""
    figure, panels, _ = _grid_above(rows, columns, 0.0, bars)
    return figure, panels


def _grid_above(
    rows: int, columns: int, below_inch: float, bars: int = 1
) -> tuple[Figure, np.ndarray, Figure | SubFigure]:
    """The same above a part of the figure that is left free; figure, panels, their parent."""
    width = chosen_width_inch(PAGE_INCH) if below_inch else width_inch(columns)
    is_turned = turned(rows, columns)
    down, across = (columns, rows) if is_turned else (rows, columns)
    bars = down if is_turned else bars
    side = min((width - 0.3) / across, _MAX_SIDE_INCH)
    high = down * side + bars * _BAR_INCH + _TITLES_INCH
    # every row has a title then, and the one above all has several lines
    high += 0.2 * down if is_turned else 0.0
    high += 0.25 if is_narrow(width) else 0.0
    figure = Figure(figsize=(width, high + below_inch), layout=close_layout())
    parent: Figure | SubFigure = figure
    if below_inch:
        grid = figure.add_gridspec(2, 1, height_ratios=[high, below_inch])
        parent = figure.add_subfigure(grid[0])
        figure.add_subfigure(grid[1])
    return figure, panels_of(parent, rows, columns, is_turned), parent


def _in_order(panels: np.ndarray) -> list[Axes]:
    """Panels in the order of reading."""
    return list((panels.T if turned(*panels.shape) else panels).flat)


def _finish_map(axes: Axes, displacement: DisplacementField) -> None:
    mark_columns(axes, displacement)
    zoom(axes, displacement)
    bare(axes)
    scale_bar(axes, "lower right", "black")


def _entitle(figure: Figure, text: str, strain: StrainField) -> None:
    smoothing = f"smoothing {strain.smoothing_pm:g} pm (FWHM {strain.fwhm_pm:.0f} pm)"
    figure.suptitle(in_lines(f"{text}; {smoothing}; {CONTOURS_SAY}", figure.get_figwidth()))


def _opacity(strain: StrainField, component: str) -> FloatArray | None:
    """Full where significant, pale elsewhere; a model without errors is not faded."""
    sigma = strain.sigma[component]
    if not np.nanmax(sigma, initial=0.0) > 0:
        return None
    shown: BoolArray = significant(strain)[component]
    return np.where(shown, 1.0, np.where(np.isfinite(strain.components[component]), FADED, 0.0))


def _mark_line(axes: Axes, profile: LineProfile) -> None:
    x, y = profile.point_pm[[0, -1]].T / PM_PER_NM
    axes.plot(x, y, "-", color="black", linewidth=0.8)
