"""Displacement and strain of class averages as Vectors and Image layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer, Vectors
from napari.utils.colormaps import AVAILABLE_COLORMAPS, Colormap

from ...types import DisplacementField, StrainField
from ...units import shown_strain_unit
from ..base.pacing import Steps, at_once
from .averages import AXES, GAP, HEADER, UNITS, labels_in_steps, translate_of, write_labels
from .showing import added_in_steps, then_shown
from .sites import KEY, free_name, layer_id

COMPONENTS = {
    "dilation": "local change of area, exx + eyy (%)",
    "exx": "strain along x, a zigzag row (%)",
    "eyy": "strain along y (%)",
    "exy": "shear strain, positive where the angle between x and y closes (%)",
    "rotation": "rotation, counter-clockwise positive (mrad)",
}
"""Strain components in the order of their rows of maps, and what they are."""
LIMIT_PERCENTILE = 99.5
DIVERGING = "RdBu_r"
SIGMA_MAP = "viridis"
SCALE_ARROWS_PM = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
LONGEST_SCALE_PM = 300.0
"""How long a scale arrow may be drawn, enlarged [pm]."""


def add_displacement(
    viewer: ViewerModel,
    field: DisplacementField,
    centre: Sequence[float],
    enlargement: float,
    metadata: dict[str, Any],
) -> Vectors:
    """`displacement_in_steps`, at once."""
    return at_once(displacement_in_steps(viewer, field, centre, enlargement, metadata))


def displacement_in_steps(
    viewer: ViewerModel,
    field: DisplacementField,
    centre: Sequence[float],
    enlargement: float,
    metadata: dict[str, Any],
) -> Steps[Vectors]:
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
    layer = Vectors(
        np.stack([start, direction], axis=1),
        name=free_name(viewer, f"{field.class_name} · displacement"),
        features={
            "magnitude_pm": size,
            "ux_pm": u[:, 0],
            "uy_pm": u[:, 1],
            "sigma_x_pm": sigma[:, 0],
            "sigma_y_pm": sigma[:, 1],
            "sublattice": field.sublattice[good],
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
        visible=False,
        metadata=metadata,
    )
    yield from added_in_steps(viewer, layer)
    return layer


def scale_arrows_in_steps(
    viewer: ViewerModel,
    arrows: Sequence[Vectors],
    centres: Sequence[Sequence[float]],
    side_pm: float,
    metadata: dict[str, Any],
) -> Steps[None]:
    """Under each average an arrow of a round length in pm, enlarged alike, and what it means.

    A layer a step; called again it changes the layers that are there.

    Parameters
    ----------
    viewer : ViewerModel
    arrows : sequence of Vectors
        Displacements, a layer a class.
    centres : sequence of (float, float)
        Of their averages, (y, x) [pm].
    side_pm : float
        Of the averages.
    metadata : dict
        Of the labels; that of the arrows is made like it.
    """
    scales = np.array([scale_arrow_pm(layer) for layer in arrows])
    lengths = scales * [layer.length for layer in arrows]
    places = np.array(centres, dtype=float) + [(0.5 + 0.5 * GAP) * side_pm, 0.0]
    starts = places - [0.0, 0.47 * side_pm]
    data = np.stack([starts, np.stack([np.zeros_like(lengths), lengths], axis=1)], axis=1)
    texts = [arrow_title(layer) for layer in arrows]
    about = metadata[KEY]
    mine = [la for la in viewer.layers if _same_measurement(la, about)]
    drawn = next((la for la in mine if la.metadata[KEY]["kind"] == "scale arrows"), None)
    if drawn is None:
        drawn = viewer.add_vectors(
            data,
            name=free_name(viewer, "arrows · scale"),
            edge_color="white",
            edge_width=28.0,
            vector_style="arrow",
            opacity=1.0,
            units=UNITS,
            axis_labels=AXES,
            visible=False,
            metadata={KEY: {**about, "kind": "scale arrows"}},
        )
        yield from then_shown(drawn)
    else:
        drawn.data = data
        yield
    labels = next((la for la in mine if la.metadata[KEY]["kind"] == "map labels"), None)
    if labels is None:
        # right of the scale arrow, which takes up to an eighth of the side
        beside = [(y, x + 0.08 * side_pm) for y, x in places]
        side = 0.66 * side_pm
        yield from labels_in_steps(viewer, "arrows · labels", texts, beside, metadata, side)
    else:
        write_labels(labels, texts)
        yield


def _same_measurement(layer: Layer, about: Mapping[str, Any]) -> bool:
    note = layer.metadata.get(KEY, {})
    same = note.get("measurement") == about.get("measurement") and note.get("of") == "arrows"
    return bool(same and note.get("run") == about.get("run"))


def scale_arrow_pm(layer: Vectors) -> float:
    """Length of the scale arrow: the largest round one that fits under the average [pm]."""
    fitting = [length for length in SCALE_ARROWS_PM if length * layer.length <= LONGEST_SCALE_PM]
    return (fitting or SCALE_ARROWS_PM)[-1 if fitting else 0]


def arrow_title(layer: Vectors) -> str:
    """Length of the scale arrow, enlargement and longest displacement of a layer of arrows."""
    longest = layer.features["magnitude_pm"].max() if len(layer.data) else 0.0
    return f"{scale_arrow_pm(layer):g} pm  ×{layer.length:g}  ≤ {longest:.1f} pm"


def show_maps(
    viewer: ViewerModel,
    fields: Mapping[str, StrainField],
    centres: Mapping[str, Sequence[float]],
    side_pm: float,
    top_pm: float,
    components: Sequence[str],
    with_sigma: bool,
    limit_percent: float,
    metadata: Mapping[str, dict[str, Any]],
    labels_metadata: dict[str, Any],
) -> list[Image]:
    """`maps_in_steps`, at once."""
    return at_once(
        maps_in_steps(
            viewer,
            fields,
            centres,
            side_pm,
            top_pm,
            components,
            with_sigma,
            limit_percent,
            metadata,
            labels_metadata,
        )
    )


def maps_in_steps(
    viewer: ViewerModel,
    fields: Mapping[str, StrainField],
    centres: Mapping[str, Sequence[float]],
    side_pm: float,
    top_pm: float,
    components: Sequence[str],
    with_sigma: bool,
    limit_percent: float,
    metadata: Mapping[str, dict[str, Any]],
    labels_metadata: dict[str, Any],
) -> Steps[list[Image]]:
    """Maps of all classes, a row a component, each under the average of its class, with a title.

    Maps of the same measurement that are there are changed; those that aren't wanted any more are
    hidden.

    Parameters
    ----------
    viewer : ViewerModel
    fields : mapping of class to StrainField
    centres : mapping of class to (float, float)
        Of the averages, (y, x) [pm].
    side_pm : float
        Of the averages.
    top_pm : float
        Upper end of the first row [pm].
    components : sequence of str
    with_sigma : bool
        Whether maps of the standard errors are shown, too.
    limit_percent : float
        Colour limit, of rotation 10 mrad for each per cent; 0: each map's own.
    metadata : mapping of class to dict
        Provenance, with the ``run`` and ``measurement``.
    labels_metadata : dict

    Returns
    -------
    list of Image
        The maps that are shown.
    """
    rows = [(c, s) for c in components for s in ((False, True) if with_sigma else (False,))]
    there = _maps_there(viewer, labels_metadata[KEY])
    layers: list[Image] = []
    places: list[tuple[float, float]] = []
    down = top_pm
    for component, is_sigma in rows:
        height = max(height_pm(field) for field in fields.values())
        middle = down + HEADER * side_pm + 0.5 * height
        for name, field in fields.items():
            x = centres[name][1]
            old = there.pop((name, component, is_sigma), None)
            about = {KEY: {**metadata[name][KEY], "component": component, "sigma": is_sigma}}
            layer = _show_map(viewer, old, field, (middle, x), limit_percent, about)
            layers.append(layer)
            places.append((down + 0.5 * HEADER * side_pm, x))
            yield from added_in_steps(viewer, layer) if old is None else then_shown(layer)
        down += height + (HEADER + GAP) * side_pm
    for unwanted in there.values():
        unwanted.visible = False
    yield from _title_maps(viewer, layers, places, labels_metadata, side_pm)
    return layers


def _maps_there(
    viewer: ViewerModel, about: Mapping[str, Any]
) -> dict[tuple[str, str, bool], Image]:
    found = {}
    for layer in viewer.layers:
        note = layer.metadata.get(KEY, {})
        same = all(note.get(key) == about.get(key) for key in ("run", "measurement"))
        if same and note.get("kind") == "map":
            found[(note["class"], note["component"], note["sigma"])] = layer
    return found


def _title_maps(
    viewer: ViewerModel,
    layers: Sequence[Image],
    places: Sequence[tuple[float, float]],
    metadata: dict[str, Any],
    side_pm: float,
) -> Steps[None]:
    """Titles above the maps, in the layer of labels that is there, or a new one."""
    about = {**metadata[KEY], "of": "maps", "maps": [layer_id(la) for la in layers]}
    texts = [map_title(layer) for layer in layers]
    labels = next(
        (
            la
            for la in viewer.layers
            if all(
                la.metadata.get(KEY, {}).get(k) == about.get(k)
                for k in ("kind", "of", "run", "measurement")
            )
        ),
        None,
    )
    if labels is None:
        if layers:
            metadata = {KEY: about}
            yield from labels_in_steps(viewer, "maps · labels", texts, places, metadata, side_pm)
        return
    labels.metadata[KEY] = about
    labels.visible = bool(layers)
    if layers:
        labels.data = np.array(places, dtype=float)
        labels.features = {"text": texts}
        labels.refresh_text()
    yield


def retitle(viewer: ViewerModel, layer: Image) -> None:
    """Write the title of a map anew, after its colour limits were changed."""
    for labels in viewer.layers:
        listed = labels.metadata.get(KEY, {}).get("maps", [])
        if layer_id(layer) in listed:
            labels.features.loc[listed.index(layer_id(layer)), "text"] = map_title(layer)
            labels.refresh_text()


def height_pm(field: StrainField) -> float:
    """Height of a map, from edge to edge [pm]."""
    step = abs(float(field.x_pm[1] - field.x_pm[0]))
    return float(abs(field.y_pm[0] - field.y_pm[-1])) + step


def shown_values(fraction: np.ndarray, component: str) -> np.ndarray:
    """A component as people see it: in per cent, rotation in mrad."""
    return shown_strain_unit(component)[0] * np.asarray(fraction, dtype=float)


def shown_limit(percent: float, component: str) -> float:
    """The limit that a user gives in per cent, in the unit of a component: 10 mrad each."""
    return float(shown_values(np.asarray(percent / 100.0), component))


def colour_limit(values: np.ndarray) -> float:
    """Colour limit of a map: without its largest 0.5 % of pixels, which are noise of the rim."""
    finite = np.abs(values[np.isfinite(values)])
    return float(np.percentile(finite, LIMIT_PERCENTILE)) if finite.size else 1.0


def map_translate(field: StrainField, centre: Sequence[float]) -> tuple[float, ...]:
    """World position of a map's first pixel; `centre` is where the frame's origin lies [pm]."""
    # The map's own centre may lie off the frame's origin.
    middle = (
        centre[0] - 0.5 * (field.y_pm[0] + field.y_pm[-1]),
        centre[1] + 0.5 * (field.x_pm[0] + field.x_pm[-1]),
    )
    step = float(abs(field.x_pm[1] - field.x_pm[0]))
    return translate_of(middle, (len(field.y_pm), len(field.x_pm)), step)


def _show_map(
    viewer: ViewerModel,
    layer: Image | None,
    field: StrainField,
    centre: Sequence[float],
    limit_percent: float,
    metadata: dict[str, Any],
) -> Image:
    about = metadata[KEY]
    component, is_sigma = about["component"], about["sigma"]
    source = field.sigma if is_sigma else field.components
    values = shown_values(source[component], component)
    limit = shown_limit(limit_percent, component) or colour_limit(values) or 1.0
    limits = (0.0, limit) if is_sigma else (-limit, limit)
    step = float(abs(field.x_pm[1] - field.x_pm[0]))
    if layer is not None:
        layer.data = values
        layer.scale, layer.translate = (step, step), map_translate(field, centre)
        layer.contrast_limits = limits
        layer.metadata[KEY] = {**about, "kind": "map"}
        return layer
    what = f"σ {component}" if is_sigma else component
    layer = Image(
        values,
        name=free_name(viewer, f"{field.class_name} · {what} ({shown_strain_unit(component)[1]})"),
        scale=(step, step),
        translate=map_translate(field, centre),
        units=UNITS,
        axis_labels=AXES,
        colormap=SIGMA_MAP if is_sigma else diverging(),
        contrast_limits=limits,
        interpolation2d="linear",
        visible=False,
        metadata={KEY: {**about, "kind": "map"}},
    )
    # The corner under the defect-free average, which has no maps.
    layer.colorbar.position = "bottom_left"
    layer.events.contrast_limits.connect(lambda _event: retitle(viewer, layer))
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
    unit = shown_strain_unit(about["component"])[1]
    if np.isclose(-low, high):
        return f"{name} ±{high:.2g} {unit}"
    return f"{name} {low:.2g}–{high:.2g} {unit}"
