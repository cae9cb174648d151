"""A series as layers of napari: the sums as a stack, the defects as tracks and by sum, events."""

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer
from napari.utils.colormaps import Colormap

from ...series import SeriesResult, event_table, track_table
from ...styles import class_styles
from ..base import Steps
from ..layers import free_name, layer_id, plane_placement, provenance

SUMS, TRACKS = "series sums", "series tracks"
DEFECTS, EVENTS = "series defects", "series events"


def stack_placement(layer: Layer, corner_px) -> dict[str, object]:
    """Where the stack of sums lies over the frames' layer: sums along the first axis."""
    plane = plane_placement(layer, corner_px)
    rotate = np.eye(3)
    rotate[1:, 1:] = plane["rotate"]
    return {
        "scale": (1.0, *plane["scale"]),
        "rotate": rotate,
        "translate": (0.0, *plane["translate"]),
        "units": ("pixel", *plane["units"]),
        "axis_labels": ("sum", *plane["axis_labels"]),
    }


def show_series(viewer: ViewerModel, layer: Image, result: SeriesResult) -> Steps[None]:
    """Add the sums, the defects as tracks and by sum, and their events, one layer a step.

    Parameters
    ----------
    viewer : ViewerModel
    layer : Image
        The frames.
    result : SeriesResult
        With histories.
    """
    found = result.histories
    corner = result.registered.found.region[0::2]
    place = stack_placement(layer, corner)
    parameters = {"series": result.config.to_dict(), **result.run.to_dict()}
    of = {"weights_sha256": found.weights_sha256, "frames_of": layer_id(layer)}
    sums = np.stack([image.data for image in found.sums])
    low, high = np.percentile(sums[len(sums) // 2], [0.5, 99.8])
    viewer.add_image(
        sums,
        name=free_name(viewer, f"{layer.name} · sums"),
        contrast_limits=(float(low), float(high)),
        metadata=provenance(SUMS, parameters, **of),
        **place,
    )
    yield
    _add_tracks(viewer, layer, result, place, provenance(TRACKS, parameters, **of))
    yield
    _add_defects(viewer, layer, result, place, provenance(DEFECTS, parameters, **of))
    yield
    _add_events(viewer, layer, result, place, provenance(EVENTS, parameters, **of))


def _add_tracks(viewer, layer, result, place, metadata) -> None:
    found, table = result.histories, track_table(result)
    if not len(table):
        return
    data = np.column_stack(
        [table["track"], found.tracks.group, table["y_px"], table["x_px"]]
    ).astype(float)
    order = np.lexsort((data[:, 1], data[:, 0]))
    names = found.sites.names
    share = max(len(names) - 1, 1)
    features = {
        "class": table["class"].to_numpy()[order],
        "class_number": found.tracks.class_index[order] / share,
        "probability": table["probability"].to_numpy()[order],
        "track": table["track"].to_numpy()[order],
    }
    styles = class_styles(result.material.all_class_names)
    colours = Colormap(
        [_rgba(styles[name].colour) for name in names],
        name="classes",
        controls=np.linspace(0.0, 1.0, len(names)),
    )
    viewer.add_tracks(
        data[order],
        features=features,
        graph={child: [parent] for child, parent in found.tracks.parent.items()},
        color_by="class_number",
        colormaps_dict={"class_number": colours},
        tail_length=len(found.sums),
        head_length=0,
        tail_width=4,
        name=free_name(viewer, f"{layer.name} · tracks"),
        metadata=metadata,
        **place,
    )


def _add_defects(viewer, layer, result, place, metadata) -> None:
    """The defects of the sum that is looked at: a track that stays where it is is no line."""
    found, table = result.histories, track_table(result)
    if not len(table):
        return
    styles = class_styles(result.material.all_class_names)
    viewer.add_points(
        np.column_stack([found.tracks.group, table["y_px"], table["x_px"]]).astype(float),
        features=table.drop(columns=["y_px", "x_px", "parent"]),
        face_color="transparent",
        border_color=[styles[name].colour for name in table["class"]],
        border_width=0.12,
        symbol=[styles[name].symbol for name in table["class"]],
        size=0.6 * found.a_px,
        name=free_name(viewer, f"{layer.name} · defects by sum"),
        metadata=metadata,
        **place,
    )


def _add_events(viewer, layer, result, place, metadata) -> None:
    found, table = result.histories, event_table(result)
    if not len(table):
        return
    styles = class_styles(result.material.all_class_names)
    features = table.drop(columns=["y_px", "x_px"])
    viewer.add_points(
        np.column_stack([found.events.changes.group, table["y_px"], table["x_px"]]).astype(float),
        features=features,
        face_color="transparent",
        border_color=[styles[name].colour for name in table["to"]],
        border_width=0.15,
        symbol="ring",
        size=1.3 * found.a_px,
        out_of_slice_display=False,
        name=free_name(viewer, f"{layer.name} · events"),
        metadata=metadata,
        **place,
    )


def _rgba(colour: str) -> tuple[float, float, float, float]:
    red, green, blue = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return red, green, blue, 1.0
