"""Figures of images and of class averages: results in, a matplotlib `Figure` out.

Nothing is computed here but what drawing needs (limits, bins, ticks). Figures are built without
pyplot, so they work without a display, in threads and inside widgets.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from ...io.rasters import block_means
from ...materials import DEFECT_ROLES, Material
from ...styles import chosen_width_inch, class_styles, panels_across
from ...types import CalibratedImage, ClassAverage, ClassStack, Sites
from ...units import PM_PER_NM
from .files import PAGE_INCH, for_print
from .panels import (
    bare,
    close_layout,
    extent_nm,
    letter_panels,
    note,
    panels_of,
    row_labels,
    scale_bar,
    turned,
    width_inch,
)

_MAX_SHOWN_PX = 2048
"""Of larger pictures matplotlib would hold several copies of all pixels, in colour."""
_MARKER_POINTS = (1.5, 5.0)
"""Least and largest size of a marker."""
_MAX_HEIGHT_INCH = 9.0
_MAX_SIDE_INCH = 3.1
"""Of a panel."""


@for_print
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
    wide_inch = chosen_width_inch(PAGE_INCH)
    high_inch = min(wide_inch * height / width, _MAX_HEIGHT_INCH)
    figure = Figure(figsize=(wide_inch, high_inch + 0.25), layout="constrained")
    axes = figure.subplots()
    shown, factor = block_means(image.data, _MAX_SHOWN_PX)
    low, high = np.percentile(shown, (0.5, 99.8))
    # edges of the outer pixels, as pixel centres are integers
    bottom, right = (n * factor - 0.5 for n in shown.shape)
    extent = (-0.5 * unit_nm, right * unit_nm, bottom * unit_nm, -0.5 * unit_nm)
    axes.imshow(shown, cmap="gray", vmin=low, vmax=high, extent=extent)
    size = _marker_points(image, material, high_inch)
    styles = class_styles(material.all_class_names)
    for name in material.all_class_names:
        if name in material.class_names[:2]:
            continue
        y, x = sites.position_px[sites.class_name == name].T * unit_nm
        style = styles[name]
        axes.plot(
            x,
            y,
            style.marker,
            markersize=size,
            markerfacecolor="none",
            markeredgecolor=style.colour,
            markeredgewidth=0.2 * size,
            label=f"{name}  {len(x)}",
        )
    bare(axes)
    columns = panels_across(len(DEFECT_ROLES) + 1 + len(material.named), PAGE_INCH)
    figure.legend(loc="outside lower center", ncols=columns, markerscale=5.0 / size)
    if image.pixel_size_pm is not None:
        scale_bar(axes)
    return figure


def _marker_points(image: CalibratedImage, material: Material, high_inch: float) -> float:
    """Size of markers: two thirds of the distance of two columns, where that can be read."""
    least, largest = _MARKER_POINTS
    if image.pixel_size_pm is None:
        return 0.8 * largest
    inch_per_px = high_inch / image.data.shape[0]
    distance = 72.0 * inch_per_px * material.lattice_pm / image.pixel_size_pm
    return float(np.clip(distance / 1.5, least, largest))


@for_print
def averages_figure(
    stacks: Mapping[str, ClassStack], averages: Mapping[str, ClassAverage]
) -> Figure:
    """One window of each class above the average of its class, N in the corner (Fig. 2).

    Averages also state the expected purity of their windows. All panels share one grey scale, so
    brightnesses compare across the figure. Averages of every defect have no single windows.
    """
    names = list(averages)
    alone = all(stacks[name].n_columns is None for name in names)
    width = width_inch(len(names))
    rows = 2 if alone else 1
    is_turned = turned(rows, len(names))
    down, across = (len(names), rows) if is_turned else (rows, len(names))
    side = min((width - 0.2) / across, _MAX_SIDE_INCH)
    titles = 0.2 * down if is_turned else 0.25
    figure = Figure(figsize=(width, down * side + titles), layout=close_layout())
    panels = panels_of(figure, rows, len(names), is_turned)
    means = [averages[name].mean for name in names]
    low = float(min(np.nanmin(mean) for mean in means))
    high = float(max(np.nanmax(mean) for mean in means))
    for column, name in zip(panels.T, names, strict=True):
        average, stack = averages[name], stacks[name]
        extent = extent_nm(average.mean.shape[0], average.step_pm)
        first = stack.windows[np.flatnonzero(stack.included)[0]]
        for axes, data in zip(column, (first, average.mean)[-rows:], strict=True):
            axes.imshow(data, cmap="gray", vmin=low, vmax=high, extent=extent)
            bare(axes)
            scale_bar(axes)
        if alone:
            note(column[0], "N = 1", "upper right")
        note(column[-1], f"N = {average.n}\npurity {average.purity:.3f}", "upper right")
        column[0].set_title(name)
    row_labels(panels, ("single window", "class average")[-rows:], is_turned)
    letter_panels((panels.T if is_turned else panels).flat)
    return figure
