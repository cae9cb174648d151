"""File > Open: microscope files as calibrated napari layers."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.notifications import show_error, show_info, show_warning

from ...crystal.region_files import LABELS_SUFFIX
from ...io.files import SUFFIXES, ImageFile, read_datasets, read_file
from ...io.point_files import POINT_SUFFIXES, read_points
from ...types import DefectStrainError
from .layer_files import SUFFIX, is_layer_file, read_records
from .opening import bound, open_points, open_regions
from .placing import PLACED, Layout, fit_when_added, present_viewer, show_scale_bar
from .records import LayerData, settle_when_added, tuple_of, with_new_ids

KEY = "napari-defectstrain"
"""Key of a layer's metadata under which lies what the file says."""

NOTHING: list[tuple[Any, ...]] = [(None,)]
"""What tells napari that a reader dealt with the file but has no layer to add."""

PathOrPaths = str | Sequence[str]


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[LayerData]] | None:
    """The reader for a file, or for several files that napari should open as one stack.

    Returns None for kinds of files that aren't ours.
    """
    paths = [path] if isinstance(path, str) else list(path)
    if len(paths) == 1 and _opens_onto_image(Path(paths[0])):
        return read_saved
    if any(Path(p).suffix.lower() not in SUFFIXES for p in paths):
        return None
    return read_layers


def _opens_onto_image(path: Path) -> bool:
    """Whether a file holds layers of ours, regions, or positions of columns."""
    name = path.name.lower()
    if name.endswith(LABELS_SUFFIX) or name.endswith(SUFFIX):
        return True
    if path.suffix.lower() not in POINT_SUFFIXES:
        return False
    try:
        return is_layer_file(path) or read_points(path) is not None
    except DefectStrainError:
        return True  # it is one, but damaged: said when it is read


def read_saved(path: PathOrPaths) -> list[LayerData]:
    """Layers that were saved, or columns and regions of a file on their image.

    What can't be read, and what was made good, is said in napari's notifications.
    """
    file, viewer = Path(path if isinstance(path, str) else path[0]), present_viewer()
    notes: list[str] = []
    try:
        if file.name.lower().endswith(LABELS_SUFFIX):
            records, notes = open_regions(file, viewer)
        elif is_layer_file(file) or file.name.lower().endswith(SUFFIX):
            records = bound(with_new_ids(read_records(file)), viewer)
        else:
            points = read_points(file)
            assert points is not None
            records, notes = open_points(points, file, viewer)
        layers = [tuple_of(record) for record in records]
    except DefectStrainError as error:
        show_error(str(error))
        return list(NOTHING)
    for text in notes:
        show_info(text)
    settle_when_added(viewer, records)
    return layers


def read_layers(path: PathOrPaths) -> list[LayerData]:
    """Image layers of a file: one for each image, stack or channel in it.

    A file that can't be read is reported in napari's notifications, with no layer: an exception
    would reach the user as "Tried opening, but failed", without the reason.
    """
    try:
        found = read_datasets(path) if isinstance(path, str) else [join_files(path)]
    except DefectStrainError as error:
        show_error(str(error))
        return list(NOTHING)
    for entry in found:
        for warning in entry.metadata.get("warnings", ()):
            show_warning(f"{entry.name}: {warning}")
    return laid_out(found)


def laid_out(entries: Sequence[ImageFile]) -> list[LayerData]:
    """Image layers beside what is in napari's window, with a scale bar where lengths are known."""
    viewer = present_viewer()
    layout = Layout(viewer)
    if layout.empty and any(entry.pixel_size_pm is not None for entry in entries):
        show_scale_bar(viewer)
    if viewer is not None and not viewer.layers:
        fit_when_added(viewer)  # after the other files of this drop, too
    layers = []
    for entry in entries:
        place = layout.place(entry.data.shape[-2:], entry.pixel_size_pm or 1.0)
        layers.append(layer_data(entry, translate=(0.0,) * (entry.data.ndim - 2) + place))
    return layers


def join_files(paths: Sequence[str]) -> ImageFile:
    """Several files of one image each as one stack, in the order given.

    Raises
    ------
    DefectStrainError
        If a file holds a stack itself, or sizes or pixel sizes differ.
    """
    files = [read_file(path) for path in paths]
    first = files[0]
    for entry in files:
        if entry.is_stack:
            raise DefectStrainError(f"{entry.name}: got a stack, expected single images to stack")
        if (entry.data.shape, entry.pixel_size_pm) != (first.data.shape, first.pixel_size_pm):
            raise DefectStrainError(
                f"{entry.name}: got {entry.data.shape} px of {entry.pixel_size_pm} pm, but "
                f"{first.name} has {first.data.shape} px of {first.pixel_size_pm} pm; open them "
                "one by one"
            )
    sources = [entry.metadata["source"] for entry in files]
    return dataclasses.replace(
        first,
        data=np.stack([entry.data for entry in files]),
        metadata={**first.metadata, "source": sources},
    )


def layer_data(entry: ImageFile, **look: Any) -> LayerData:
    """An image or stack as napari's tuple of data, keywords and layer type.

    Calibrated images have a scale in pm, others stay in pixels. The frames of a stack are
    numbered: their axis has the unit pixel also where the image has pm.
    """
    frames = entry.data.ndim - 2
    # What kind of layer it is, a file has no say in.
    described = {k: v for k, v in entry.metadata.items() if k not in ("warnings", "kind")}
    keywords: dict[str, Any] = {
        "name": entry.name,
        "axis_labels": ("frame",) * frames + ("y", "x"),
        "metadata": {KEY: {**described, "pixel_size_pm": entry.pixel_size_pm, PLACED: True}},
        **look,
    }
    if entry.pixel_size_pm is not None:
        keywords["scale"] = (1.0,) * frames + (entry.pixel_size_pm,) * 2
        keywords["units"] = ("pixel",) * frames + ("pm", "pm")
    return entry.data, keywords, "image"
