"""Which layer is which image of a study, and which layers the study itself holds the content of."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points

from ...study import Study
from ...types import CalibratedImage, DefectStrainError
from ..layers.regions import regions_of
from ..layers.sites import KEY, image_planes, kind, layer_by_id, layer_id, note

NAMES = "study"
"""Key of the note of an image layer: the names of its planes in the study."""
PATH = "path"
"""Key of the note of an image layer: where its file lies, if napari can't know that."""
ALIKE = 0.999
"""Share of pixels that are as in the file: hot ones are replaced where images are measured."""


def names_of(layer: Layer) -> list[str]:
    """The images of a study that a layer shows, a name a plane; none where it isn't in one."""
    return [str(name) for name in note(layer).get(NAMES, [])]


def forget_names(viewer: ViewerModel) -> None:
    """Names that layers had in a study that is no longer the open one mean nothing in another."""
    for layer in viewer.layers:
        forget_name(layer)


def forget_name(layer: Layer) -> None:
    """Which image of a study a layer shows isn't known any more."""
    if NAMES in note(layer):
        layer.metadata[KEY] = {k: v for k, v in note(layer).items() if k != NAMES}


def source_images(viewer: ViewerModel) -> list[Image]:
    """Image layers that are searched: opened ones and sums of frames."""
    return [
        la
        for la in viewer.layers
        if isinstance(la, Image) and kind(la) in ("", "sum") and not la.rgb
    ]


def newest_detections(viewer: ViewerModel) -> dict[str, Points]:
    """The defects layer that counts for each image, by the image's id."""
    found: dict[str, Points] = {}
    for layer in viewer.layers:
        if kind(layer) != "defects" or not isinstance(layer, Points):
            continue
        columns = layer_by_id(viewer, note(layer).get("sites"))
        if isinstance(columns, Points):
            found[str(note(layer).get("image"))] = layer
    return found


def held_by_study(viewer: ViewerModel) -> dict[str, list[str]]:
    """Ids of the layers whose content the study holds, with the names of their images."""
    held: dict[str, list[str]] = {}
    detections = newest_detections(viewer)
    for image in source_images(viewer):
        names = names_of(image)
        if not names:
            continue
        held[layer_id(image)] = names
        defects = detections.get(layer_id(image))
        if defects is not None:
            parts: list[Layer | None] = [
                defects,
                layer_by_id(viewer, note(defects).get("sites")),
                regions_of(viewer, defects),
            ]
            held.update({layer_id(la): names for la in parts if la is not None})
    return held


def file_of(layer: Layer) -> Path | None:
    """The file that a layer was opened from, where it still is."""
    path = getattr(layer.source, "path", None) or note(layer).get(PATH)
    return Path(path) if path and Path(path).is_file() else None


def paths_of(viewer: ViewerModel, layers: Sequence[Layer | None]) -> list[str]:
    """Files of image layers, as they are named in a command; the name where there is none."""
    found = []
    for layer in layers:
        if layer is None:
            continue
        path = file_of(layer)
        found.append(str(path) if path is not None else f"{layer.name}.tif")
    return found


def take_in(
    study: Study, layer: Image, copy: bool, others: Collection[str] = frozenset()
) -> list[str]:
    """The names of a layer's planes in the study, which takes them in where it lacks them.

    By reference to their file where the layer shows what the file holds, else as pixels. An image
    of the study is one layer's alone: another layer of the same file becomes an image of its own.

    Parameters
    ----------
    study : Study
    layer : Image
    copy : bool
        Of its file.
    others : collection of str
        Names in the study that other layers show.

    Raises
    ------
    DefectStrainError
        If they are no images, or the study can't be written.
    """
    known = names_of(layer)
    count = 1 if layer.ndim == 2 else (layer.data[0] if layer.multiscale else layer.data).shape[0]
    if len(known) == count and set(known) <= set(study.images) - set(others):
        return known
    planes = image_planes(layer)
    path = file_of(layer)
    names = [] if path is None else _by_file(study, path, planes, copy)
    if not names or set(names) & set(others):
        names = [study.add_pixels(plane).name for plane in planes]
    layer.metadata[KEY] = {**note(layer), NAMES: names}
    return names


def _by_file(study: Study, path: Path, planes: Sequence[CalibratedImage], copy: bool) -> list[str]:
    """Names of the images of a file in the study; none where it holds something else."""
    try:
        study.add_images([path], copy)
    except DefectStrainError:
        return []
    where = str(path.resolve())
    names = [i.name for f in study.files if f.absolute == where for i in f.images]
    if len(names) != len(planes):
        return []
    images, _ = study.load_images(names)
    for image, plane in zip(images, planes, strict=True):
        if image.data.shape != plane.data.shape:
            return []
        if np.mean(np.isclose(image.data, plane.data, rtol=1e-5)) < ALIKE:
            return []
    return names


def region_labels(layer: Labels | None, plane: int | None) -> np.ndarray | None:
    """Labels of a plane of a layer of regions."""
    if layer is None:
        return None
    return np.asarray(layer.data if plane is None else layer.data[plane])
