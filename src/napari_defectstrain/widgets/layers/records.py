"""Layers as data that outlives the window: what they show, where, how, and their ties.

A record makes the same layer again: scale, units, features, the colours' meaning (by which feature,
not only which colour), and what the plugin wrote into its metadata.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points, Shapes, Tracks, Vectors
from napari.utils.colormaps import (
    AVAILABLE_COLORMAPS,
    Colormap,
    CyclicLabelColormap,
    DirectLabelColormap,
)

from ...types import DefectStrainError
from .placing import PLACED
from .regions import outline_when_shown
from .sites import ID, KEY, layer_id, note

LayerData = tuple[Any, ...]

KINDS = {
    "image": Image,
    "labels": Labels,
    "points": Points,
    "vectors": Vectors,
    "shapes": Shapes,
    "tracks": Tracks,
}
"""Of layers that can be kept."""

_PLACE = ("scale", "translate", "rotate", "shear", "axis_labels")
_PLAIN: dict[str, tuple[str, ...]] = {
    "image": ("contrast_limits", "gamma", "interpolation2d", "rgb"),
    "labels": (),
    "points": ("border_width", "border_width_is_relative", "size", "shown", "antialiasing"),
    "vectors": ("edge_width", "length", "vector_style"),
    "shapes": ("shape_type", "edge_width", "z_index"),
    "tracks": ("tail_width", "tail_length", "head_length", "color_by"),
}
_COLOURS = {"points": ("face", "border"), "vectors": ("edge",), "shapes": ("face", "edge")}
_WITH_FEATURES = ("labels", "points", "vectors", "shapes")
_AFTER: dict[str, tuple[str, ...]] = {
    "image": ("colorbar.visible", "colorbar.position"),
    "labels": ("contour", "brush_size"),
    "points": ("editable",),
    "vectors": ("editable",),
    "shapes": ("editable",),
    "tracks": (),
}
"""What can't be said when a layer is made, but once it is there."""


@dataclass(frozen=True)
class Record:
    """One layer.

    Parameters
    ----------
    kind : str
        Of `KINDS`.
    data : array, or list of arrays (shapes)
    look : mapping
        What napari needs to make it: plain values and arrays.
    features : DataFrame, optional
    metadata : mapping
        With our note, in which ``id`` is what other layers know it by.
    after : mapping
        What is set once it is made.
    links : str
        Layers with the same text share colours and limits; empty: none.
    """

    kind: str
    data: Any
    look: Mapping[str, Any]
    features: pd.DataFrame | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    links: str = ""

    @property
    def id(self) -> str:
        """What others know the layer by."""
        return str(self.metadata.get(KEY, {}).get(ID, ""))

    @property
    def name(self) -> str:
        """Of the layer."""
        return str(self.look.get("name", ""))


def record_of(layer: Layer) -> Record:
    """A layer as it is now.

    Raises
    ------
    DefectStrainError
        If it is of a kind that can't be kept.
    """
    kind = next((k for k, its in KINDS.items() if type(layer) is its), "")
    if not kind:
        raise DefectStrainError(
            f"{layer.name}: got a {type(layer).__name__} layer, expected one of {', '.join(KINDS)}"
        )
    look: dict[str, Any] = {
        "name": layer.name,
        "opacity": float(layer.opacity),
        "blending": str(layer.blending),
        "visible": bool(layer.visible),
        "affine": np.asarray(layer.affine.affine_matrix),
        "units": [str(unit) for unit in layer.units],
        **{key: _plain(getattr(layer, key)) for key in _PLACE},
        **{key: _plain(getattr(layer, key)) for key in _PLAIN[kind]},
    }
    for part in _COLOURS.get(kind, ()):
        look.update(_colours(layer, kind, part))
    if kind in ("image", "labels"):
        look["colormap"] = _colormap(layer.colormap)
    if kind in ("points", "shapes"):
        look["text"] = _text(layer)
    if kind == "points":
        look["symbol"] = [str(s) for s in np.atleast_1d(layer.symbol)]
    features = layer.features if kind in _WITH_FEATURES else None
    if kind == "tracks":
        features, look["graph"] = pd.DataFrame(layer.features), dict(layer.graph)
    elif kind == "points" and features is not None and features.shape[1]:
        look["feature_defaults"] = layer.feature_defaults
    about = {**dict(layer.metadata), KEY: {**_note_of(layer), ID: layer_id(layer)}}
    after = {key: _plain(_attribute(layer, key)) for key in _AFTER[kind]}
    return Record(kind, _data(layer, kind), look, features, about, after, _links(layer))


def tuple_of(record: Record) -> LayerData:
    """A record as napari's tuple of data, keywords and layer type.

    Raises
    ------
    DefectStrainError
        If it is damaged.
    """
    look = dict(record.look)
    try:
        units = look.pop("units", None)
        kept = {key: value for key, value in look.items() if key != "symbol"}
        if units is not None:
            kept["units"] = tuple(str(unit) for unit in units)
        if "symbol" in look:
            kept["symbol"] = list(look["symbol"]) if len(record.data) else "disc"
        if "colormap" in look:
            kept["colormap"] = _made_colormap(look["colormap"])
        for part in ("face", "border", "edge"):
            kept.update(_made_colours(kept, part, len(record.data)))
        if record.kind == "points" and not len(record.data):
            for key in ("size", "border_width", "shown"):
                kept[key] = {"size": 10.0, "border_width": 0.05, "shown": True}[key]
        if kept.get("text", ...) is None:
            del kept["text"]
        if record.features is not None:
            kept["features"] = record.features
        if record.kind == "points":
            kept["ndim"] = np.shape(record.data)[-1]
        kept["metadata"] = dict(record.metadata)
        KINDS[record.kind](record.data, **kept)  # a damaged one fails here, with its name
    except Exception as error:
        raise DefectStrainError(
            f"{record.name or 'a layer'}: damaged, no layer can be made of it: {error}"
        ) from error
    return record.data, kept, record.kind


def settle(layer: Layer, record: Record) -> None:
    """Set what can only be said of a layer that is there."""
    for key, value in record.after.items():
        owner, _, name = key.rpartition(".")
        target = getattr(layer, owner, None) if owner else layer
        if target is not None and getattr(target, name, value) != value:
            setattr(target, name, value)
    if note(layer).get("kind") == "regions" and not layer.visible and not layer.contour:
        outline_when_shown(layer)


def settle_all(viewer: ViewerModel, records: Sequence[Record]) -> None:
    """Settle layers of a viewer by their ids, and link those that shared colours and limits."""
    there = {layer_id(la): la for la in viewer.layers}
    linked: dict[str, list[Layer]] = {}
    for record in records:
        layer = there.get(record.id)
        if layer is not None:
            settle(layer, record)
            if record.links:
                linked.setdefault(record.links, []).append(layer)
    for layers in linked.values():
        if len(layers) > 1:
            viewer.layers.link_layers(layers, ("contrast_limits", "colormap", "gamma"))


def settle_when_added(viewer: ViewerModel | None, records: Sequence[Record]) -> None:
    """Settle the layers that napari is about to add, once the last of them is there."""
    if viewer is None or not records:
        return
    waiting = {record.id for record in records}

    def added(event: Any) -> None:
        waiting.discard(layer_id(event.value))
        if not waiting:
            viewer.layers.events.inserted.disconnect(added)
            settle_all(viewer, records)

    viewer.layers.events.inserted.connect(added)


def with_new_ids(records: Sequence[Record], keep: Iterable[str] = ()) -> list[Record]:
    """Records whose layers don't get in the way of those that are open: other ids, same ties.

    Parameters
    ----------
    records : sequence of Record
    keep : iterable of str
        Ids that stay.
    """
    new = {r.id: uuid4().hex for r in records if r.id and r.id not in set(keep)}
    for record in records:  # a run of averages, and a measurement of it, are no layers
        about = record.metadata.get(KEY, {})
        for key in ("run", "measurement"):
            if about.get(key) and about[key] not in new:
                new[about[key]] = uuid4().hex
    return [
        replace(r, metadata={**r.metadata, KEY: _renamed(r.metadata.get(KEY, {}), new)})
        for r in records
    ]


def _renamed(value: Any, new: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(item, new) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_renamed(item, new) for item in value)
    return new.get(value, value) if isinstance(value, str) else value


def _note_of(layer: Layer) -> dict[str, Any]:
    about = note(layer)
    return {**about, PLACED: about[PLACED]} if PLACED in about else dict(about)


def _data(layer: Layer, kind: str) -> Any:
    if kind == "shapes":
        return [np.asarray(corners) for corners in layer.data]
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    return np.asarray(data)


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value if not hasattr(value, "value") else str(value)
    if hasattr(value, "value") and isinstance(value.value, str):  # an enumeration
        return str(value.value)
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else str(value)


def _attribute(layer: Layer, key: str) -> Any:
    for name in key.split("."):
        layer = getattr(layer, name, None)
    return layer


def _links(layer: Layer) -> str:
    """The averages of a run are linked: nothing in napari says so of a layer."""
    about = note(layer)
    return str(about.get("run", "")) if about.get("kind") == "average" else ""


def _colours(layer: Layer, kind: str, part: str) -> dict[str, Any]:
    colour = np.asarray(getattr(layer, f"{part}_color"))
    mode = str(getattr(layer, f"{part}_color_mode"))
    manager = getattr(layer, f"_{part}", None)  # napari says nowhere else which feature it is
    properties = getattr(manager, "color_properties", None)
    if kind == "shapes" or mode == "direct" or properties is None:
        alike = len(colour) > 0 and bool((colour == colour[0]).all())
        return {f"{part}_color": colour[:1] if alike else colour}
    if mode == "cycle":
        cycle = manager.categorical_colormap.colormap
        known = {key: np.asarray(its) for key, its in cycle.items() if key is not None}
        return {f"{part}_color": properties.name, f"{part}_color_cycle": known}
    return {
        f"{part}_color": properties.name,
        f"{part}_colormap": _colormap(getattr(layer, f"{part}_colormap")),
        f"{part}_contrast_limits": _plain(getattr(layer, f"{part}_contrast_limits")),
    }


def _made_colours(look: Mapping[str, Any], part: str, count: int) -> dict[str, Any]:
    """Colours of features, or of each element; `{}` for layers without such a part."""
    colour = look.get(f"{part}_color")
    if colour is None:
        return {}
    if isinstance(colour, str):
        made: dict[str, Any] = {f"{part}_color": colour}
        if f"{part}_colormap" in look:
            made[f"{part}_colormap"] = _made_colormap(look[f"{part}_colormap"])
        if f"{part}_color_cycle" in look:
            made[f"{part}_color_cycle"] = dict(look[f"{part}_color_cycle"])
        return made
    if len(colour) == 0:
        return {f"{part}_color": "white"}
    return {f"{part}_color": np.asarray(colour[0] if len(colour) != count else colour)}


def _colormap(colormap: Any) -> Any:
    if isinstance(colormap, DirectLabelColormap):
        pairs = colormap.color_dict.items()
        return {"labels": [[key, np.asarray(colour)] for key, colour in pairs]}
    if not isinstance(colormap, Colormap) or not hasattr(colormap, "controls"):
        return None  # of labels by chance: napari makes another
    if colormap.name in AVAILABLE_COLORMAPS:
        return colormap.name
    content = {
        "name": colormap.name,
        "colors": np.asarray(colormap.colors),
        "controls": np.asarray(colormap.controls),
        "interpolation": str(getattr(colormap.interpolation, "value", colormap.interpolation)),
    }
    if isinstance(colormap, CyclicLabelColormap):  # of labels that nobody gave colours
        cyclic = {"seed": float(colormap.seed), "background": int(colormap.background_value)}
        content["cyclic"] = cyclic
    return content


def _made_colormap(content: Any) -> Any:
    if isinstance(content, Mapping) and "labels" in content:
        return DirectLabelColormap(color_dict=dict(content["labels"]))
    if isinstance(content, Mapping):
        colours = np.asarray(content["colors"])
        controls = np.asarray(content["controls"])
        # Files that don't say it have one colour less than control points where colours have steps.
        steps = len(controls) == len(colours) + 1
        look = {
            "name": str(content["name"]),
            "controls": controls,
            "interpolation": str(content.get("interpolation", "zero" if steps else "linear")),
        }
        if content.get("cyclic") is None and look["name"] != "label_colormap":
            return Colormap(colours, **look)
        cyclic = content.get("cyclic") or {"seed": 0.5, "background": 0}
        return CyclicLabelColormap(
            colors=colours,
            **look,
            seed=float(cyclic["seed"]),
            background_value=int(cyclic["background"]),
        )
    return content


def _text(layer: Points | Shapes) -> Any:
    """How the text at points is written; None where there is none."""
    content = layer.text.model_dump()
    string = content["string"]
    if string.get("encoding_type") == "ConstantStringEncoding" and not str(string["constant"]):
        return None
    keys = ("string", "color", "visible", "size", "scaling", "anchor", "translation", "rotation")
    return {key: _encoding(content[key]) for key in keys if key in content}


def _encoding(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _encoding(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.item() if value.ndim == 0 else np.asarray(value)
    return _plain(value)
