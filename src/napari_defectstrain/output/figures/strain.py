"""Figures of strain beside its theories: results in, a matplotlib `Figure` out.

Nothing is computed here but what drawing needs (limits, masks). Maps are in the lattice frame, x to
the right, y up, lengths in nm; strain in per cent, tension positive, rotation in 10 mrad,
counter-clockwise positive. Maps that are to be compared share their limits and one colour bar.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage

from ...materials import ROLES, Material
from ...strain.displacement import ErrorEllipses
from ...strain.field import significant
from ...strain.lines import LineProfile
from ...strain.triangles import TriangleStrain
from ...styles import DISPLACEMENT_SCALE
from ...types import BoolArray, ClassAverage, DisplacementField, FloatArray, StrainField
from ...units import PM_PER_NM
from .maps import _COMPONENT_LABEL, _columns, _extent_nm, _note, _scale_bar, _zoom
from .profiles import draw_profile, map_unit

DIVERGING = "RdBu_r"
LIMIT_PERCENTILE = 99.5
FADED = 0.35
"""Opacity of what is not significant."""

_ARROW_LENGTHS_PM = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
_ARROW_COLOUR = "#F0E442"
_CLASS_SIZE = 2.5
"""Width of one panel [inch]."""


def elastic_figure(
    averages: Mapping[str, ClassAverage],
    displacements: Mapping[str, DisplacementField],
    measured: Mapping[str, StrainField],
    elastic: Mapping[str, StrainField],
    material: Material,
    ellipses: Mapping[str, ErrorEllipses] | None = None,
    reach_nm: float = 0.9,
) -> Figure:
    """Averages with arrows, measured dilation, and that of the elastic model (the paper's Fig. 4).

    Parameters
    ----------
    averages, displacements : mappings of class
    measured, elastic : mapping of class to StrainField
        The measurement's maps, and those of the inclusion at the same columns. Both of one class
        share their limits.
    material : Material
        Gives the roles of the classes, which arrows are enlarged by (`styles`).
    ellipses : mapping of class to ErrorEllipses, optional
        Drawn at the tips of the arrows, enlarged alike.
    reach_nm : float
        Half the side of all panels [nm].
    """
    names = list(displacements)
    figure = Figure(figsize=(2.3 * len(names) + 0.3, 8.2), layout="constrained")
    panels = figure.subplots(3, len(names), squeeze=False)
    role_of = dict(zip(material.class_names, ROLES, strict=True))
    for column, name in zip(panels.T, names, strict=True):
        top, field, average = column[0], displacements[name], averages[name]
        extent = _extent_nm(average.mean.shape[0], average.step_pm)
        top.imshow(average.mean, cmap="gray", extent=extent)
        factor = DISPLACEMENT_SCALE[role_of[name]]
        _vectors(top, field, factor, None if ellipses is None else ellipses.get(name))
        _note(top, f"N = {average.n}", "upper right")
        top.set_title(name)
        limit = _limit([measured[name], elastic[name]], "dilation")
        for axes, strain in zip(column[1:], (measured[name], elastic[name]), strict=True):
            drawn = _strain_map(axes, strain, "dilation", limit)
            _columns(axes, field)
        figure.colorbar(
            drawn, ax=list(column), label="dilation [%]", location="bottom", shrink=0.8, aspect=25
        )
        for axes in column:
            axes.set_xlim(-reach_nm, reach_nm)
            axes.set_ylim(-reach_nm, reach_nm)
            _bare(axes)
        _scale_bar(top, "upper left")
    _row_labels(panels, ("average", "measured", "Eshelby"))
    first = measured[names[0]]
    figure.suptitle(
        f"displacement and dilation (growth positive); smoothing {first.smoothing_pm:g} pm "
        f"(FWHM {first.fwhm_pm:.0f} pm)",
        fontsize=10,
    )
    return figure


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
    width = _CLASS_SIZE * len(components) + 0.6
    below = 0.0 if profile is None else 3.0
    figure = Figure(figsize=(max(width, 6.0), 2.3 * len(rows) + 0.9 + below), layout="constrained")
    maps: Figure | SubFigure = figure
    if profile is not None:
        grid = figure.add_gridspec(2, 1, height_ratios=[2.3 * len(rows) + 0.9, below])
        maps = figure.add_subfigure(grid[0])
        draw_profile(figure.add_subfigure(grid[1]).subplots(), profile, material)
    panels = maps.subplots(len(rows), len(components), squeeze=False)
    for column, component in zip(panels.T, components, strict=True):
        limit = _limit(strains.values(), component)
        for axes, name in zip(column, rows, strict=True):
            drawn = _strain_map(axes, strains[name], component, limit, fade)
            _columns(axes, displacement)
            if profile is not None and profile.component == component:
                _mark_line(axes, profile)
            _zoom(axes, displacement)
            _bare(axes)
        column[0].set_title(_COMPONENT_LABEL[component], fontsize=10)
        maps.colorbar(
            drawn,
            ax=list(column),
            label=f"[{map_unit(component)}]",
            location="bottom",
            shrink=0.8,
            aspect=25,
        )
    _scale_bar(panels[0, 0], colour="black")
    _row_labels(panels, rows)
    first = strains[rows[0]]
    figure.suptitle(
        f"{first.class_name}: tension positive; smoothing {first.smoothing_pm:g} pm "
        f"(FWHM {first.fwhm_pm:.0f} pm)",
        fontsize=10,
    )
    return figure


def triangles_figure(
    triangles: TriangleStrain,
    strain: StrainField | None = None,
    components: Sequence[str] = ("exx", "eyy", "dilation"),
) -> Figure:
    """Strain of each triangle of columns, above the smoothed map with the same limits."""
    rows = 1 if strain is None else 2
    figure = Figure(
        figsize=(_CLASS_SIZE * len(components) + 0.6, 2.4 * rows + 0.9), layout="constrained"
    )
    panels = figure.subplots(rows, len(components), squeeze=False)
    reach = 1.05 * float(np.abs(triangles.vertices_pm).max()) / PM_PER_NM
    for column, component in zip(panels.T, components, strict=True):
        percent = 100.0 * triangles.components[component]
        limit = float(np.percentile(np.abs(percent), LIMIT_PERCENTILE)) or 1.0
        drawn = PolyCollection(
            list(triangles.vertices_pm / PM_PER_NM),
            array=percent,
            cmap=DIVERGING,
            norm=Normalize(-limit, limit),
            edgecolors="0.5",
            linewidths=0.3,
        )
        column[0].add_collection(drawn)
        column[0].set_aspect("equal")
        column[0].set_title(_COMPONENT_LABEL[component], fontsize=10)
        if strain is not None:
            _strain_map(column[1], strain, component, limit)
        for axes in column:
            axes.set_facecolor("0.85")
            axes.set_xlim(-reach, reach)
            axes.set_ylim(-reach, reach)
            _bare(axes)
        figure.colorbar(
            drawn,
            ax=list(column),
            label=f"[{map_unit(component)}]",
            location="bottom",
            shrink=0.8,
            aspect=25,
        )
    names = (f"{triangles.sublattice} triangles", "smoothed map")[:rows]
    _row_labels(panels, names)
    _scale_bar(panels[0, 0], colour="black")
    figure.suptitle(f"{triangles.class_name}: tension positive", fontsize=10)
    return figure


def _limit(strains: Iterable[StrainField], component: str) -> float:
    """Colour limit in per cent that leaves out the last 0.5 % of the pixels of the wildest map."""
    limit = 0.0
    for strain in strains:
        values = np.abs(strain.components[component])
        values = values[np.isfinite(values)]
        if values.size:
            limit = max(limit, 100.0 * float(np.percentile(values, LIMIT_PERCENTILE)))
    return limit or 1.0


def _strain_map(
    axes: Axes, strain: StrainField, component: str, limit: float, fade: bool = False
) -> AxesImage:
    percent = 100.0 * strain.components[component]
    x, y = strain.x_pm / PM_PER_NM, strain.y_pm / PM_PER_NM
    half = 0.5 * abs(x[1] - x[0])
    axes.set_facecolor("0.85")  # where there is no strain
    extent = (x[0] - half, x[-1] + half, y[-1] - half, y[0] + half)
    alpha = _opacity(strain, component) if fade else None
    if alpha is not None:  # pale means near white, not near the background
        axes.imshow(
            np.where(np.isfinite(percent), 1.0, np.nan), cmap="gray", vmin=0, vmax=1, extent=extent
        )
    return axes.imshow(
        percent,
        cmap=mpl.colormaps[DIVERGING],
        vmin=-limit,
        vmax=limit,
        alpha=alpha,
        extent=extent,
    )


def _opacity(strain: StrainField, component: str) -> FloatArray | None:
    """Full where significant, pale elsewhere; a model without errors is not faded."""
    sigma = strain.sigma[component]
    if not np.nanmax(sigma, initial=0.0) > 0:
        return None
    shown: BoolArray = significant(strain)[component]
    return np.where(shown, 1.0, np.where(np.isfinite(strain.components[component]), FADED, 0.0))


def _vectors(
    axes: Axes, field: DisplacementField, factor: float, ellipses: ErrorEllipses | None
) -> None:
    """Arrows with one of known length below them, and error ellipses at their tips."""
    known = np.isfinite(field.u_pm).all(axis=1)
    x, y = field.site_pm[known].T / PM_PER_NM
    arrows = axes.quiver(
        x,
        y,
        *(factor * field.u_pm[known].T / PM_PER_NM),
        angles="xy",
        scale_units="xy",
        scale=1.0,
        color=_ARROW_COLOUR,
        edgecolor="black",
        linewidth=0.4,
        width=0.014,
        headwidth=2.8,
        headlength=2.8,
        headaxislength=2.8,
        minlength=0.0,
    )
    longest = float(np.nanmax(np.hypot(*field.u_pm.T), initial=0.0))
    shorter = [length for length in _ARROW_LENGTHS_PM if length <= longest]
    length = shorter[-1] if shorter else _ARROW_LENGTHS_PM[0]
    axes.quiverkey(
        arrows,
        0.16,
        0.07,
        factor * length / PM_PER_NM,
        f"{length:g} pm (×{factor:g})",
        labelpos="E",
        labelcolor="white",
        fontproperties={"size": 8},
        color=_ARROW_COLOUR,
    )
    if ellipses is None:
        return
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
            linewidths=0.6,
        )
    )


def _mark_line(axes: Axes, profile: LineProfile) -> None:
    x, y = profile.point_pm[[0, -1]].T / PM_PER_NM
    axes.plot(x, y, "-", color="black", linewidth=0.8)


def _row_labels(panels: np.ndarray, names: Sequence[str]) -> None:
    for axes, name in zip(panels[:, 0], names, strict=True):
        axes.set_ylabel(name)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
