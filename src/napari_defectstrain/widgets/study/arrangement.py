"""What a window looks like, kept in a study: layers with their looks, results, camera, controls."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer
from napari.utils.colormaps import AVAILABLE_COLORMAPS
from qtpy.QtWidgets import QApplication

from ...study import Study
from ...types import DefectStrainError
from ..base.forms import Panel
from ..base.settings import Settings
from ..layers.layer_files import read_records, write_records
from ..layers.records import KINDS, Record, record_of
from ..layers.sites import KEY, layer_by_id, layer_id, note
from .ties import NAMES, held_by_study, names_of

LAYERS_FILE = "window.layers.zip"
"""Of a study's folder: all layers; of those whose content the study holds, only their looks."""
SECTIONS = ("detect", "average", "strain", "train", "series")
"""Of the settings that a study keeps."""

LOOKS = ("name", "opacity", "blending", "contrast_limits", "gamma", "colormap")
"""What is written of a layer each time that it changes, without its content."""


def records_of(viewer: ViewerModel) -> list[Record]:
    """All layers that can be kept; of those whose content the study holds, only their looks."""
    held = held_by_study(viewer)
    return [_kept(la, held) for la in viewer.layers if type(la) in KINDS.values()]


def save_layers(study: Study, records: Sequence[Record]) -> None:
    """Write layers into a study; also from another thread.

    Raises
    ------
    DefectStrainError
        If they can't be written.
    """
    write_records(study.path / LAYERS_FILE, records)


def save_view(study: Study, viewer: ViewerModel) -> None:
    """Write camera, planes, what is visible, and the controls of the widgets.

    Raises
    ------
    DefectStrainError
        If it can't be written.
    """
    camera = viewer.scene.camera
    active = viewer.layers.selection.active
    study.set_window(
        viewer={
            "camera": {
                "center": [float(v) for v in camera.center],
                "zoom": float(camera.zoom),
                "angles": [float(v) for v in camera.angles],
            },
            "step": [int(v) for v in viewer.dims.current_step],
            "active": None if active is None else layer_id(active),
            "visible": {layer_id(la): bool(la.visible) for la in viewer.layers},
            "looks": {layer_id(la): _look_of(la) for la in viewer.layers},
            "scale_bar": bool(viewer.canvas.overlays.scale_bar.visible),
        },
        widgets={section: Settings(section).values() for section in SECTIONS},
    )


def _look_of(layer: Layer) -> dict[str, Any]:
    """What a hand may change of a layer's look at any time, without anything else of it."""
    look: dict[str, Any] = {"name": layer.name, "opacity": float(layer.opacity)}
    look["blending"] = str(layer.blending)
    if isinstance(layer, Image):
        look["contrast_limits"] = [float(v) for v in layer.contrast_limits]
        look["gamma"] = float(layer.gamma)
        if layer.colormap.name in AVAILABLE_COLORMAPS:
            look["colormap"] = layer.colormap.name
    return look


def saved_records(study: Study) -> tuple[list[Record], list[str]]:
    """The layers as they were, and what is to be said where they can't be read."""
    path = study.path / LAYERS_FILE
    if not path.is_file():
        return [], []
    try:
        return read_records(path), []
    except DefectStrainError as error:
        return [], [f"averages, measurements and looks of layers are lost: {error}"]


def show(study: Study, viewer: ViewerModel) -> None:
    """Bring camera, planes and controls back as they were."""
    look = study.window.get("viewer")
    if isinstance(look, dict):
        _show_view(look, viewer)
    widgets = study.window.get("widgets")
    if isinstance(widgets, dict):
        for section, values in widgets.items():
            if section in SECTIONS and isinstance(values, dict):
                for key, value in values.items():
                    Settings(section).set(str(key), value)
    for panel in panels_of(viewer):
        panel.settings.apply()
        panel.take_up()


def panels_of(viewer: ViewerModel) -> list[Panel]:
    """The plugin's widgets that are open for a viewer."""
    if QApplication.instance() is None:
        return []
    return [w for w in QApplication.allWidgets() if isinstance(w, Panel) and w.viewer is viewer]


def images_of_windows(viewer: ViewerModel, average: Image) -> list[str]:
    """Names in the study of the images of a stack, in the order of its `image_index`.

    Empty where one of them is gone or isn't in a study.
    """
    found = []
    for source, plane in note(average).get("planes", []):
        layer = layer_by_id(viewer, source)
        names = [] if layer is None else names_of(layer)
        index = plane or 0
        if index >= len(names):
            return []
        found.append(names[index])
    return found


def _show_view(look: dict[str, Any], viewer: ViewerModel) -> None:
    """A view that was written by hand, or by another version, is left out where it is strange."""
    try:
        step = [int(v) for v in look.get("step", [])]
        if len(step) == viewer.dims.ndim:
            viewer.dims.current_step = tuple(step)
        camera = look["camera"]
        viewer.scene.camera.center = tuple(float(v) for v in camera["center"])
        viewer.scene.camera.zoom = float(camera["zoom"])
        viewer.canvas.overlays.scale_bar.visible = bool(look.get("scale_bar", True))
        for layer in viewer.layers:
            layer.visible = bool(look.get("visible", {}).get(layer_id(layer), layer.visible))
            for key, value in look.get("looks", {}).get(layer_id(layer), {}).items():
                if key in LOOKS and hasattr(layer, key):
                    setattr(layer, key, value)
    except (AttributeError, KeyError, TypeError, ValueError):
        return
    active = layer_by_id(viewer, look.get("active"))
    if active is not None:
        viewer.layers.selection.active = active


def _kept(layer: Layer, held: dict[str, list[str]]) -> Record:
    """A layer as a record, without what the study holds itself."""
    record = record_of(layer)
    names = held.get(record.id)
    if names is None:
        return record
    ndim = layer.ndim
    data: Any = np.zeros((0, ndim))
    if record.kind in ("image", "labels"):
        data = np.zeros((1,) * ndim, dtype=np.asarray(record.data).dtype)
    about = {**record.metadata.get(KEY, {}), NAMES: names}
    look = {k: v for k, v in record.look.items() if k not in ("shown", "symbol", "border_width")}
    if record.kind == "points":
        size = np.atleast_1d(np.asarray(record.look["size"], dtype=float))
        look["size"] = float(size[0]) if len(size) else 10.0
    metadata = {**record.metadata, KEY: about}
    return Record(record.kind, data, look, None, metadata, record.after, record.links)
