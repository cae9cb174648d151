"""Displacement and strain of class averages as Vectors and Image layers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer, Points, Vectors
from napari.utils.colormaps import AVAILABLE_COLORMAPS, Colormap

from ..types import DisplacementField, StrainField
from ._averages import AXES, GAP, HEADER, UNITS, add_labels, translate_of
from ._layers import KEY, free_name

PERCENT = 100.0
COMPONENTS = {
    "dilation": "local change of area, exx + eyy (%)",
    "exx": "strain along x, a zigzag row (%)",
    "eyy": "strain along y (%)",
    "exy": "shear strain (%)",
    "rotation": "rotation, counter-clockwise positive (1 % is 10 mrad)",
}
"""Strain components in the order of their rows of maps, and what they are."""
LIMIT_PERCENTILE = 99.5
DIVERGING = "RdBu_r"
SIGMA_MAP = "viridis"


def add_displacement(
    viewer: ViewerModel,
    field: DisplacementField,
    centre: Sequence[float],
    enlargement: float,
    metadata: dict[str, Any],
) -> Vectors:
    """Arrows over a class average: displacement of each column against the defect-free average.

    Directions are true displacements [pm]; the layer's `length` enlarges them.

    Parameters
    ----------
    viewer : ViewerModel
    field : DisplacementField
        In the lattice frame, y up.
    centre : (float, float)
        Where the frame's origin lies in the world, (y, x) [pm].
    enlargement : float
    metadata : dict
    """
    good = np.isfinite(field.u_pm).all(axis=1)
    site, u, sigma = field.site_pm[good], field.u_pm[good], field.sigma_pm[good]
    # The frame's y points up, rows of the world down.
    start = np.asarray(centre) + np.stack([-site[:, 1], site[:, 0]], axis=1)
    direction = np.stack([-u[:, 1], u[:, 0]], axis=1)
    size = np.hypot(u[:, 0], u[:, 1])
    layer = viewer.add_vectors(
        np.stack([start, direction], axis=1),
        name=free_name(viewer, f"{field.class_name} · displacement"),
        features={
            "magnitude_pm": size,
            "ux_pm": u[:, 0],
            "uy_pm": u[:, 1],
            "sigma_x_pm": sigma[:, 0],
            "sigma_y_pm": sigma[:, 1],
            "sublattice": np.where(field.is_metal[good], "metal", "chalcogen"),
        },
        edge_color="magnitude_pm",
        edge_colormap="plasma",
        edge_contrast_limits=(0.0, float(size.max(initial=0.0)) or 1.0),
        edge_width=28.0,
        length=enlargement,
        vector_style="arrow",
        opacity=1.0,
        units=UNITS,
        axis_labels=AXES,
        metadata=metadata,
    )
    return layer


def add_arrow_labels(
    viewer: ViewerModel,
    arrows: Sequence[Vectors],
    centres: Sequence[Sequence[float]],
    side_pm: float,
    metadata: dict[str, Any],
) -> Points:
    """Under each average: how much its arrows are enlarged, and the longest displacement."""
    places = [(y + (0.5 + 0.5 * GAP) * side_pm, x) for y, x in centres]
    texts = [arrow_title(layer) for layer in arrows]
    labels = add_labels(viewer, "arrows · labels", texts, places, metadata, side_pm)
    for i, layer in enumerate(arrows):
        layer.events.length.connect(_title_updater(labels, i, layer, arrow_title))
    return labels


def arrow_title(layer: Vectors) -> str:
    """Enlargement and longest displacement of a layer of arrows."""
    longest = layer.features["magnitude_pm"].max() if len(layer.data) else 0.0
    return f"×{layer.length:g}, ≤ {longest:.1f} pm"


def add_maps(
    viewer: ViewerModel,
    fields: Mapping[str, StrainField],
    centres: Mapping[str, Sequence[float]],
    side_pm: float,
    components: Sequence[str],
    with_sigma: bool,
    limit_percent: float,
    metadata: Mapping[str, dict[str, Any]],
    labels_metadata: dict[str, Any],
) -> list[Image]:
    """Strain maps under the class averages: one row a component, dilation first.

    Parameters
    ----------
    viewer : ViewerModel
    fields : mapping of class to StrainField
    centres : mapping of class to (float, float)
        Centre of the average of each class, (y, x) [pm].
    side_pm : float
        Side of the averages [pm].
    components : sequence of str
        Keys of `COMPONENTS`.
    with_sigma : bool
        A row of standard errors under each component.
    limit_percent : float
        Colour limit of all maps [%]; 0 takes each map's own largest value.
    metadata : mapping of class to dict
    labels_metadata : dict

    Returns
    -------
    list of Image
    """
    rows = [(c, s) for c in components for s in ((False, True) if with_sigma else (False,))]
    height = max(_height_pm(field) for field in fields.values())
    layers: list[Image] = []
    texts: list[str] = []
    places: list[tuple[float, float]] = []
    for row, (component, is_sigma) in enumerate(rows):
        # Under the averages, each map with its title above it.
        down = 0.5 * (side_pm + height) + 1.4 * GAP * side_pm
        down += HEADER * side_pm + row * (height + (HEADER + GAP) * side_pm)
        for name, field in fields.items():
            y, x = centres[name]
            layer = _add_map(
                viewer, field, component, is_sigma, (y + down, x), limit_percent, metadata[name]
            )
            layers.append(layer)
            texts.append(map_title(layer))
            places.append((y + down - 0.5 * (height + HEADER * side_pm), x))
    labels = add_labels(viewer, "maps · labels", texts, places, labels_metadata, side_pm)
    for i, layer in enumerate(layers):
        layer.events.contrast_limits.connect(_title_updater(labels, i, layer, map_title))
    return layers


def _height_pm(field: StrainField) -> float:
    step = abs(float(field.x_pm[1] - field.x_pm[0]))
    return float(abs(field.y_pm[0] - field.y_pm[-1])) + step


def _limit(percent: np.ndarray) -> float:
    """Colour limit of a map: without its largest 0.5 % of pixels, which are noise of the rim."""
    finite = np.abs(percent[np.isfinite(percent)])
    return float(np.percentile(finite, LIMIT_PERCENTILE)) if finite.size else 1.0


def _add_map(
    viewer: ViewerModel,
    field: StrainField,
    component: str,
    is_sigma: bool,
    centre: Sequence[float],
    limit_percent: float,
    metadata: dict[str, Any],
) -> Image:
    source = field.sigma if is_sigma else field.components
    values = PERCENT * np.asarray(source[component], dtype=float)
    limit = limit_percent or _limit(values) or 1.0
    step = float(abs(field.x_pm[1] - field.x_pm[0]))
    what = f"σ {component}" if is_sigma else component
    # The map's own centre may lie off the frame's origin.
    middle = (
        centre[0] - 0.5 * (field.y_pm[0] + field.y_pm[-1]),
        centre[1] + 0.5 * (field.x_pm[0] + field.x_pm[-1]),
    )
    about = {**metadata[KEY], "kind": "map", "component": component, "sigma": is_sigma}
    layer = viewer.add_image(
        values,
        name=free_name(viewer, f"{field.class_name} · {what} (%)"),
        scale=(step, step),
        translate=translate_of(middle, values.shape, step),
        units=UNITS,
        axis_labels=AXES,
        colormap=SIGMA_MAP if is_sigma else diverging(),
        contrast_limits=(0.0, limit) if is_sigma else (-limit, limit),
        interpolation2d="linear",
        metadata={KEY: about},
    )
    # The corner under the defect-free average, which has no maps.
    layer.colorbar.position = "bottom_left"
    return layer


def diverging() -> Colormap:
    """Blue for contraction, white for none, red for expansion."""
    if DIVERGING in AVAILABLE_COLORMAPS:
        return AVAILABLE_COLORMAPS[DIVERGING]
    from matplotlib import colormaps

    return Colormap(colormaps[DIVERGING](np.linspace(0, 1, 256)), name=DIVERGING)


def map_title(layer: Image) -> str:
    """Component, unit and colour limits of a map."""
    about = layer.metadata[KEY]
    low, high = layer.contrast_limits
    name = f"σ {about['component']}" if about["sigma"] else about["component"]
    if np.isclose(-low, high):
        return f"{name} ±{high:.2g} %"
    return f"{name} {low:.2g}–{high:.2g} %"


def _title_updater(labels: Points, row: int, layer: Layer, title: Callable[[Any], str]):
    def update(_event: object = None) -> None:
        labels.features.loc[row, "text"] = title(layer)
        labels.refresh_text()

    return update
