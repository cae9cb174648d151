"""Column positions of class averages as Points layers "<class> · columns", coloured by error."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Points

from ...materials import Material
from ...pipeline.runs import ClassMeasurement
from ..base.pacing import Steps
from .averages import AXES, UNITS, layers_of_run
from .showing import added_in_steps
from .sites import KEY, free_name, note

SIZE_PM = 90.0
"""Size of a ring: about half the distance of neighbouring columns [pm]."""
COLORMAP = "cool"
"""Bright at both ends, to be seen on grey."""
LIMIT_PERCENTILES = (5.0, 95.0)
"""Colour limits: the columns at the rim of the window are several times as uncertain."""


def column_features(measurement: ClassMeasurement, material: Material) -> pd.DataFrame:
    """What is known of each column that has a position.

    `sigma_x_pm`, `sigma_y_pm` are the statistical errors of the position; `sigma_total_pm`, where
    there is an error budget, the total error of a component of the displacement against the
    defect-free average (of the defect-free average: of the position itself).
    """
    fits = measurement.fits
    role = np.where(fits.sublattice == "metal", "metal", "X2").astype(object)
    own = material.role_of(fits.class_name)
    role[np.argmin(np.hypot(*fits.site_pm.T) + np.where(fits.is_metal, np.inf, 0.0))] = own
    table = pd.DataFrame(
        {
            "sublattice": fits.sublattice,
            "role": role,
            "x_pm": fits.position_pm[:, 0],
            "y_pm": fits.position_pm[:, 1],
            "sigma_x_pm": fits.sigma_pm[:, 0],
            "sigma_y_pm": fits.sigma_pm[:, 1],
            "sigma_total_pm": _total(measurement),
            "weight": fits.weight,
            "flag": fits.flag,
        }
    )
    return table[np.isfinite(fits.position_pm).all(axis=1)].reset_index(drop=True)


def _total(measurement: ClassMeasurement) -> np.ndarray:
    budget, fits = measurement.budget, measurement.fits
    both = fits.sigma_pm if budget is None else budget.total_pm
    return np.sqrt(np.mean(np.square(both), axis=1))


def columns_in_steps(
    viewer: ViewerModel,
    averages: Sequence[Image],
    measurements: Mapping[str, ClassMeasurement],
    material: Material,
) -> Steps[list[Points]]:
    """Add a hidden Points layer over each average, or renew the one that is there, one a step.

    Parameters
    ----------
    viewer : ViewerModel
    averages : sequence of Image
        The averages of one run.
    measurements : mapping of class to ClassMeasurement
    material : Material
    """
    run = note(averages[0])["run"]
    known = {note(la)["class"]: la for la in layers_of_run(viewer, run, ("columns",))}
    tables = {n: column_features(m, material) for n, m in measurements.items()}
    limits = _limits(tables)
    layers = []
    for average in averages:
        name = note(average)["class"]
        if name not in tables:
            continue
        data = _in_world(tables[name], note(average)["centre_pm"])
        if name in known:
            _renew(known[name], data, tables[name], limits)
            layers.append(known[name])
        else:
            layers.append(_made(viewer, average, data, tables[name], limits))
            yield
            yield from added_in_steps(viewer, layers[-1], visible=False)
            layers[-1].editable = False
        note(layers[-1])["n"] = note(average)["n"]
        yield
    return layers


def _limits(tables: Mapping[str, pd.DataFrame]) -> tuple[float, float]:
    """Colour limits of all classes alike; a class of few windows doesn't set the upper one."""
    ends = [
        np.percentile(sigma, LIMIT_PERCENTILES)
        for table in tables.values()
        if len(sigma := table["sigma_total_pm"].dropna())
    ]
    if not ends:
        return 0.0, 1.0
    low, high = float(np.min(ends, axis=0)[0]), float(np.median(ends, axis=0)[1])
    return low, max(high, low + 1e-6)


def _in_world(table: pd.DataFrame, centre: Sequence[float]) -> np.ndarray:
    # The frame's y points up, rows of the world down.
    return np.asarray(centre) + np.stack([-table["y_pm"], table["x_pm"]], axis=1)


def _made(
    viewer: ViewerModel,
    average: Image,
    data: np.ndarray,
    table: pd.DataFrame,
    limits: tuple[float, float],
) -> Points:
    """The hidden layer of an average's columns, not yet in the viewer."""
    about: dict[str, Any] = {
        k: v for k, v in note(average).items() if k not in ("windows_by_hand", "kind")
    }
    return Points(
        data,
        name=free_name(viewer, f"{about['class']} · columns"),
        features=table,
        border_color=_colour(table),
        border_colormap=COLORMAP,
        border_contrast_limits=limits,
        face_color="transparent",
        border_width=0.2,
        size=SIZE_PM,
        blending="translucent",
        visible=False,
        units=UNITS,
        axis_labels=AXES,
        metadata={KEY: {**about, "kind": "columns"}},
    )


def _renew(
    layer: Points, data: np.ndarray, table: pd.DataFrame, limits: tuple[float, float]
) -> None:
    layer.selected_data = set()
    layer.data = data
    layer.features = table
    layer.border_color = _colour(table)
    layer.border_contrast_limits = limits
    layer.size = SIZE_PM
    layer.refresh_colors()


def _colour(table: pd.DataFrame) -> str:
    """One window alone has no error: its columns have no colour by error either."""
    return "sigma_total_pm" if table["sigma_total_pm"].notna().all() else "white"
