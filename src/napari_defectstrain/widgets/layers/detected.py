"""All images of the viewer that were searched, with their columns as corrected."""

from dataclasses import dataclass

from napari.components import ViewerModel
from napari.layers import Image, Points

from ...crystal.regions import Regions
from ...io.file_names import output_stems
from ...types import CalibratedImage, DefectStrainError, Sites
from .regions import divided_planes
from .sites import image_planes, kind, layer_by_id, note


@dataclass(frozen=True)
class Detected:
    """One image that was searched.

    Parameters
    ----------
    name : str
        As files of it are called: distinct.
    layer : Image
    plane : int or None
        Of a stack.
    image : CalibratedImage
    sites : Sites
        With all corrections.
    regions : Regions or None
    """

    name: str
    layer: Image
    plane: int | None
    image: CalibratedImage
    sites: Sites
    regions: Regions | None


def detected_images(viewer: ViewerModel, alike: Points | None = None) -> list[Detected]:
    """The images that were searched, by the newest detection of each.

    Parameters
    ----------
    viewer : ViewerModel
    alike : Points, optional
        Defects layer whose classes the others must have; default the newest.
    """
    newest = {
        note(layer)["image"]: layer
        for layer in viewer.layers
        if isinstance(layer, Points) and kind(layer) == "defects"
    }
    if not newest:
        return []
    names = note(alike if alike is not None else list(newest.values())[-1])["class_names"]
    found = []
    for image_id, layer in newest.items():
        source = layer_by_id(viewer, image_id)
        if list(note(layer)["class_names"]) != list(names) or not isinstance(source, Image):
            continue
        try:
            planes, regions = divided_planes(viewer, layer)
            images = image_planes(source)
        except DefectStrainError:  # a layer of it is gone
            continue
        for i, (image, sites, known) in enumerate(zip(images, planes, regions, strict=True)):
            plane = i if len(images) > 1 else None
            found.append(Detected(image.name, source, plane, image, sites, known))
    stems = output_stems([one.name for one in found])
    return [
        Detected(stem, one.layer, one.plane, one.image, one.sites, one.regions)
        for stem, one in zip(stems, found, strict=True)
    ]
