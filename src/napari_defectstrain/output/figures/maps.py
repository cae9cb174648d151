"""Figures of results: one function a figure, results in, a matplotlib `Figure` out.

Nothing is computed here but what drawing needs (limits, bins, ticks). Figures are built without
pyplot, so they work without a display, in threads and inside widgets. Maps are drawn in the lattice
frame (``docs/conventions.md``): x to the right, y up, the defect at the origin, lengths in nm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke

from ...io.rasters import block_means
from ...materials import DEFECT_ROLES, ROLES, Material
from ...styles import CLASS_STYLE, DISPLACEMENT_SCALE
from ...types import (
    CalibratedImage,
    ClassAverage,
    ClassStack,
    DisplacementField,
    FloatArray,
    Sites,
    StrainField,
)
from ...units import PM_PER_NM

_STROKE = (withStroke(linewidth=1.5, foreground="black"),)
_MAX_SHOWN_PX = 2048
"""Of larger pictures matplotlib would hold several copies of all pixels, in colour."""
_BAR_LENGTHS_NM = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_COMPONENT_LABEL = {
    "exx": r"$\varepsilon_{xx}$",
    "eyy": r"$\varepsilon_{yy}$",
    "exy": r"$\varepsilon_{xy}$",
    "rotation": "rotation",
    "dilation": r"dilation $\varepsilon_{xx}+\varepsilon_{yy}$",
}


def detections_figure(image: CalibratedImage, sites: Sites, material: Material) -> Figure:
    """The defects of an image by class, drawn over it (the paper's Fig. 1b).

    Parameters
    ----------
    image : CalibratedImage
        Without a pixel size the axes are in px and there is no scale bar.
    sites : Sites
        Its columns; only defects and those of the class other are drawn.
    material : Material
        Gives the roles of the classes.
    """
    unit_nm = 1.0 if image.pixel_size_pm is None else image.pixel_size_pm / PM_PER_NM
    height, width = image.data.shape
    figure = Figure(figsize=(8.0, 8.0 * height / width + 0.5), layout="constrained")
    axes = figure.subplots()
    shown, factor = block_means(image.data, _MAX_SHOWN_PX)
    low, high = np.percentile(shown, (0.5, 99.8))
    # edges of the outer pixels, as pixel centres are integers
    bottom, right = (n * factor - 0.5 for n in shown.shape)
    extent = (-0.5 * unit_nm, right * unit_nm, bottom * unit_nm, -0.5 * unit_nm)
    axes.imshow(shown, cmap="gray", vmin=low, vmax=high, extent=extent)
    for role, name in zip(ROLES, material.class_names, strict=True):
        if role in ("metal", "X2"):
            continue
        y, x = sites.position_px[sites.class_name == name].T * unit_nm
        style = CLASS_STYLE[role]
        axes.plot(
            x,
            y,
            style.marker,
            markersize=5.5,
            markerfacecolor="none",
            markeredgecolor=style.colour,
            markeredgewidth=1.3,
            label=f"{name}  {len(x)}",
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(image.name, fontsize=10)
    figure.legend(loc="outside lower center", ncols=len(DEFECT_ROLES) + 1, frameon=False)
    if image.pixel_size_pm is not None:
        _scale_bar(axes)
    return figure


def averages_figure(
    stacks: Mapping[str, ClassStack], averages: Mapping[str, ClassAverage]
) -> Figure:
    """One window of each class above the average of its class, N in the corner (Fig. 2).

    Averages also state the expected purity of their windows. All panels share one grey scale, so
    brightnesses compare across the figure.
    """
    names = list(averages)
    figure = Figure(figsize=(2.1 * len(names) + 0.3, 4.5), layout="constrained")
    panels = figure.subplots(2, len(names), squeeze=False)
    means = [averages[name].mean for name in names]
    low = float(min(np.nanmin(mean) for mean in means))
    high = float(max(np.nanmax(mean) for mean in means))
    for (single, mean), name in zip(panels.T, names, strict=True):
        average, stack = averages[name], stacks[name]
        extent = _extent_nm(average.mean.shape[0], average.step_pm)
        first = stack.windows[np.flatnonzero(stack.included)[0]]
        for axes, data, n in ((single, first, 1), (mean, average.mean, average.n)):
            axes.imshow(data, cmap="gray", vmin=low, vmax=high, extent=extent)
            _note(axes, f"N = {n}", "lower right")
            axes.set_xticks([])
            axes.set_yticks([])
        _note(mean, f"purity {average.purity:.3f}", "upper right")
        single.set_title(name)
        _scale_bar(mean)
    panels[0, 0].set_ylabel("single window")
    panels[1, 0].set_ylabel("class average")
    return figure


def displacement_figure(
    averages: Mapping[str, ClassAverage],
    displacements: Mapping[str, DisplacementField],
    strains: Mapping[str, StrainField],
    material: Material,
) -> Figure:
    """Displacement arrows over each class average, and the dilation below (Fig. 4)."""
    names = list(displacements)
    figure = Figure(figsize=(2.75 * len(names) + 0.3, 5.0), layout="constrained")
    panels = figure.subplots(2, len(names), squeeze=False)
    role_of = dict(zip(material.class_names, ROLES, strict=True))
    for (top, bottom), name in zip(panels.T, names, strict=True):
        average, field = averages[name], displacements[name]
        top.imshow(
            average.mean, cmap="gray", extent=_extent_nm(average.mean.shape[0], average.step_pm)
        )
        factor = DISPLACEMENT_SCALE[role_of[name]]
        arrows = _arrows(top, field, factor)
        figure.colorbar(arrows, ax=top, label="displacement [pm]", shrink=0.8)
        _note(top, f"N = {average.n}", "lower right")
        _note(top, f"purity {average.purity:.3f}", "upper right")
        _note(top, f"×{factor:g}", "lower left")
        top.set_title(name)
        _zoom(top, field)
        _scale_bar(top, "upper left")
        if name in strains:
            drawn = _map(bottom, strains[name], strains[name].components["dilation"], "RdBu_r")
            figure.colorbar(drawn, ax=bottom, label="dilation [%]", shrink=0.8)
            _columns(bottom, field)
            _zoom(bottom, field)
        else:
            bottom.set_axis_off()
        for axes in (top, bottom):
            axes.set_xticks([])
            axes.set_yticks([])
    return figure


def strain_figure(strain: StrainField, displacement: DisplacementField) -> Figure:
    """All components of the strain of one class, each above its standard error (Fig. 5, S6)."""
    names = list(strain.components)
    figure = Figure(figsize=(2.75 * len(names) + 0.3, 4.9), layout="constrained")
    panels = figure.subplots(2, len(names), squeeze=False)
    for (top, bottom), name in zip(panels.T, names, strict=True):
        unit = "10⁻² rad" if name == "rotation" else "%"
        drawn = _map(top, strain, strain.components[name], "RdBu_r")
        figure.colorbar(drawn, ax=top, label=f"[{unit}]", shrink=0.8)
        top.set_title(_COMPONENT_LABEL[name], fontsize=10)
        error = _map(bottom, strain, strain.sigma[name], "viridis", symmetric=False)
        figure.colorbar(error, ax=bottom, label=f"standard error [{unit}]", shrink=0.8)
        for axes in (top, bottom):
            _columns(axes, displacement)
            _zoom(axes, displacement)
            axes.set_xticks([])
            axes.set_yticks([])
    _scale_bar(panels[0, 0], colour="black")
    figure.suptitle(f"{strain.class_name}: strain (tension positive)", fontsize=11)
    return figure


def _extent_nm(pixels: int, step_pm: float) -> tuple[float, float, float, float]:
    half = 0.5 * pixels * step_pm / PM_PER_NM
    return (-half, half, -half, half)


def _map(
    axes: Axes, strain: StrainField, values: FloatArray, cmap: str, symmetric: bool = True
) -> AxesImage:
    """A map of the strain in per cent; colour limits leave out the last 0.5 % of the pixels."""
    percent = 100.0 * np.asarray(values)
    finite = np.abs(percent[np.isfinite(percent)])
    limit = float(np.percentile(finite, 99.5)) if finite.size else 1.0
    x, y = strain.x_pm / PM_PER_NM, strain.y_pm / PM_PER_NM
    half = 0.5 * abs(x[1] - x[0])
    axes.set_facecolor("0.85")  # where there is no strain
    return axes.imshow(
        percent,
        cmap=mpl.colormaps[cmap],
        vmin=-limit if symmetric else 0.0,
        vmax=limit or 1.0,
        extent=(x[0] - half, x[-1] + half, y[-1] - half, y[0] + half),
    )


def _arrows(axes: Axes, field: DisplacementField, factor: float) -> mpl.quiver.Quiver:
    good = np.isfinite(field.u_pm).all(axis=1)
    x, y = field.site_pm[good].T / PM_PER_NM
    u, v = factor * field.u_pm[good].T / PM_PER_NM
    return axes.quiver(
        x,
        y,
        u,
        v,
        np.hypot(*field.u_pm[good].T),
        angles="xy",
        scale_units="xy",
        scale=1.0,
        cmap="plasma",
        width=0.012,
        headwidth=2.6,
        headlength=2.6,
        headaxislength=2.6,
        minlength=0.0,
    )


def _columns(axes: Axes, field: DisplacementField) -> None:
    """Ideal columns, metals as dots and chalcogens as rings, to see where the strain is."""
    x, y = field.site_pm.T / PM_PER_NM
    axes.plot(x[field.is_metal], y[field.is_metal], "k.", markersize=3)
    axes.plot(
        x[~field.is_metal], y[~field.is_metal], "o", color="k", mfc="none", markersize=3, mew=0.5
    )


def _zoom(axes: Axes, field: DisplacementField) -> None:
    reach = 1.08 * float(np.abs(field.site_pm).max()) / PM_PER_NM
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)


def _note(axes: Axes, text: str, where: str) -> None:
    vertical, horizontal = where.split()
    axes.text(
        0.04 if horizontal == "left" else 0.96,
        0.04 if vertical == "lower" else 0.96,
        text,
        ha=horizontal,
        va="bottom" if vertical == "lower" else "top",
        transform=axes.transAxes,
        color="white",
        fontsize=8,
        path_effects=_STROKE,
    )


def _scale_bar(axes: Axes, where: str = "lower left", colour: str = "white") -> None:
    """A bar of about a fifth of the width, in a round number of nm (axes in nm)."""
    width = abs(axes.get_xlim()[1] - axes.get_xlim()[0])
    length = min(_BAR_LENGTHS_NM, key=lambda bar: abs(bar - 0.25 * width))
    bottom = where.startswith("lower")
    y = 0.05 if bottom else 0.95
    effects: Sequence[withStroke] = _STROKE if colour == "white" else ()
    left = 0.04
    axes.plot(
        [left, left + length / width],
        [y, y],
        color=colour,
        linewidth=2.5,
        solid_capstyle="butt",
        transform=axes.transAxes,
        path_effects=[withStroke(linewidth=4.0, foreground="black")] if effects else None,
    )
    axes.text(
        left,
        y + (0.02 if bottom else -0.02),
        f"{length:g} nm",
        va="bottom" if bottom else "top",
        transform=axes.transAxes,
        color=colour,
        fontsize=8,
        path_effects=effects,
    )
