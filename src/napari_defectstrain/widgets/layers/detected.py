"""All images of the viewer that were searched, with their columns as corrected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Points

from ...config import Config
from ...crystal.regions import Regions
from ...detect.network.config import DetectConfig
from ...io.file_names import output_stems
from ...judge.judging import JudgeConfig
from ...types import CalibratedImage, DefectStrainError, Sites
from .regions import divided_planes
from .sites import image_planes, kind, layer_by_id, material_of, note


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


def newest_by_image(viewer: ViewerModel) -> dict[str, Points]:
    """The detection that counts for each image, by the image's id: that on top of the others."""
    return {
        note(layer)["image"]: layer
        for layer in viewer.layers
        if isinstance(layer, Points) and kind(layer) == "defects"
    }


def detected_images(viewer: ViewerModel, alike: Points | None = None) -> list[Detected]:
    """The images that were searched, by the newest detection of each.

    Parameters
    ----------
    viewer : ViewerModel
    alike : Points, optional
        Defects layer whose classes the others must have; default the newest.
    """
    newest = newest_by_image(viewer)
    if not newest:
        return []
    like = alike if alike is not None else list(newest.values())[-1]
    wanted = material_of(like), list(note(like)["class_names"])
    found = []
    for image_id, layer in newest.items():
        source = layer_by_id(viewer, image_id)
        if (material_of(layer), list(note(layer)["class_names"])) != wanted:
            continue
        if not isinstance(source, Image):
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


def detected_with(notes: Sequence[Mapping[str, Any]]) -> dict[str, Config]:
    """What detections were made with, as the parts ``detect`` and ``judge`` of a run's settings.

    Parameters
    ----------
    notes : sequence of mapping
        Of their layers: ``parameters`` of the network and ``judge``; what is not said is default.

    Returns
    -------
    dict of str to Config
        Empty where there is no detection.

    Raises
    ------
    DefectStrainError
        If they were not all made with the same settings, wherever the network ran.
    """
    found: list[dict[str, Config]] = []
    for about in notes:
        detect = DetectConfig.from_dict(about.get("parameters") or {})
        if found:
            detect = detect.replace(device=found[0]["detect"].to_dict()["device"])
        found.append({"detect": detect, "judge": JudgeConfig.from_dict(about.get("judge") or {})})
    if any(one != found[0] for one in found):
        raise DefectStrainError(
            "got detections made with unlike settings (weights, thresholds, taught), expected one: "
            "tick those that were detected alike, or detect all of them anew"
        )
    return found[0] if found else {}
