"""Regions of an image and the editable Labels layer "<image> · regions"."""

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points
from napari.utils.colormaps import DirectLabelColormap

from ...crystal.regions import (
    BOUNDARY,
    CONTAMINATED,
    HOLE,
    KINDS,
    MAX_DOMAINS,
    NOT_2H,
    Regions,
    check_regions,
    label_regions,
    region_name,
    without_foreign_defects,
)
from ...types import CalibratedImage, DefectStrainError, Sites
from ...units import PM_PER_NM
from ..base.pacing import Steps
from .editing import editor_of
from .showing import then_shown
from .sites import (
    AWAITING,
    HIDDEN,
    KEY,
    colours,
    columns_added,
    defect_points,
    detection_in_steps,
    free_name,
    hidden_rows,
    image_planes,
    kind,
    layer_by_id,
    layer_id,
    note,
    placement,
    planes_read,
    replace_metadata,
    set_points,
    site_positions,
    site_table,
)

OPACITY = 0.35
"""Of filled areas."""
LINE_OPACITY = 0.9
"""Of outlines."""
LINE_PX = 3
MAX_OUTLINED_PX = 2_000_000
"""Pixels of a plane up to which areas are outlined; in larger ones that takes napari seconds."""
DOMAIN_COLOURS = ("#44AA99", "#AA4499", "#88CCEE", "#DDCC77", "#CC6677", "#999933")
KIND_COLOURS = {BOUNDARY: "#FFFF00", NOT_2H: "#FF8000", HOLE: "#0060FF", CONTAMINATED: "#FF0000"}
MAIN_DOMAIN = 1
DIGEST = "digest"
"""Key of the note of a regions layer: checksum of the labels as they were found."""


def colormap() -> DirectLabelColormap:
    """Fixed colours of all labels; what is erased is transparent, and so is the main domain.

    That is most of an image, which a colour would veil.
    """
    look: dict[int | None, str] = {None: "transparent", 0: "transparent", **KIND_COLOURS}
    domains = islice(cycle(DOMAIN_COLOURS), MAX_DOMAINS)
    look.update(dict(enumerate(domains, start=1)) | {MAIN_DOMAIN: "transparent"})
    return DirectLabelColormap(color_dict=look)


def region_features(regions: Sequence[Regions]) -> pd.DataFrame:
    """What hovering says of a label: its name, and of domains the orientation and mirror sense.

    In a stack labels mean another domain on each plane: only names are given.
    """
    present = sorted({int(k) for r in regions for k in np.unique(r.labels)} | set(KINDS))
    table = pd.DataFrame({"index": present, "region": [region_name(k) for k in present]})
    if len(regions) == 1:
        known = {domain.index: domain for domain in regions[0].domains}
        table["orientation (deg)"] = [
            round(known[k].orientation_deg, 2) if k in known else np.nan for k in present
        ]
        sense = {1: "as the largest domain", -1: "mirror twin"}
        table["sense"] = [
            sense.get(known[k].sense, "unknown") if k in known else "" for k in present
        ]
    return table


def regions_in_steps(
    viewer: ViewerModel,
    source: Image,
    sites_layer: Points | None,
    regions: Sequence[Regions],
    metadata: dict[str, Any],
) -> Steps[Labels]:
    """Add "<image> · regions" just above the image, or renew the one of this detection.

    Hidden where the whole image is one domain: then there is nothing to see. The layer is made in
    one step and put into the viewer in the next.

    Parameters
    ----------
    viewer : ViewerModel
    source : Image
        Scale, units, ... are copied from it.
    sites_layer : Points, optional
        All columns of the same detection; None where there is none yet.
    regions : sequence of Regions
        One for each plane of the image.
    metadata : dict
        From `provenance`.
    """
    data = regions[0].labels if source.ndim == 2 else np.stack([r.labels for r in regions])
    layer = regions_layer(viewer, sites_layer)
    if layer is None:
        outlined = data.shape[-2] * data.shape[-1] <= MAX_OUTLINED_PX
        layer = Labels(
            data,
            name=free_name(viewer, f"{source.name} · regions"),
            colormap=colormap(),
            opacity=LINE_OPACITY if outlined else OPACITY,
            features=region_features(regions),
            visible=False,
            metadata={
                KEY: {
                    **metadata[KEY],
                    "kind": "regions",
                    "image": layer_id(source),
                    "sites": "" if sites_layer is None else layer_id(sites_layer),
                }
            },
            **placement(source),
        )
        several = bool((data != data.flat[0]).any())
        if outlined and several:
            layer.contour = LINE_PX
        elif outlined:
            outline_when_shown(layer)
        layer.metadata[KEY][DIGEST] = _digest(layer)
        yield
        # at its place at once: each move would make napari go through all layers again
        viewer.layers.insert(viewer.layers.index(source) + 1, layer)
        yield from then_shown(layer, several)
    else:
        layer.data = data
        layer.features = region_features(regions)
        layer.visible = layer.visible or bool((data != data.flat[0]).any())
        replace_metadata(layer, metadata)
        layer.metadata[KEY][DIGEST] = _digest(layer)
    return layer


def outline_when_shown(layer: Labels) -> None:
    """Outline the areas of a hidden layer once somebody shows it.

    Napari would look for the outlines of a hidden layer again and again.
    """
    layer.events.visible.connect(_outline)


def _outline(event: Any) -> None:
    layer = event.source
    if layer.visible:
        layer.contour = LINE_PX
        layer.events.visible.disconnect(_outline)


def regions_layer(viewer: ViewerModel, sites_layer: Layer | None) -> Labels | None:
    """The regions layer of a detection by its layer of all columns; None where there is none."""
    if sites_layer is None:
        return None
    mine = [
        la
        for la in viewer.layers
        if kind(la) == "regions" and note(la).get("sites") == layer_id(sites_layer)
    ]
    return mine[-1] if mine else None


def regions_of(viewer: ViewerModel, defects: Layer) -> Labels | None:
    """The regions layer that belongs to a defects layer; None where there is none."""
    return regions_layer(viewer, layer_by_id(viewer, note(defects).get("sites")))


def edited(layer: Labels | None) -> bool:
    """Whether labels differ from what was found; a checksum notices edits of every kind."""
    return layer is not None and note(layer).get(DIGEST) != _digest(layer)


def _digest(layer: Labels) -> int:
    return crc32(np.ascontiguousarray(layer.data))


def divided_planes(
    viewer: ViewerModel, defects: Points, measure: bool = True
) -> tuple[list[Sites], list[Regions | None]]:
    """Corrected columns of each plane and its regions as they are now in the layers.

    Columns in areas that are not 2H are of class other, whatever was found there.

    Parameters
    ----------
    viewer : ViewerModel
    defects : Points
    measure : bool
        Measure the domains: where they are cut windows from, not where they are only counted.

    Returns
    -------
    sites : list of Sites
    regions : list of Regions or None
        None where the layer of regions was removed: then the whole image counts.

    Raises
    ------
    DefectStrainError
        If a layer of the detection is gone, or the labels aren't those of regions of the image.
    """
    return division_read(viewer, defects, measure)()


def division_read(
    viewer: ViewerModel, defects: Points, measure: bool = True
) -> Callable[[], tuple[list[Sites], list[Regions | None]]]:
    """`divided_planes` in two parts: layers are looked at now, the rest any thread may do.

    Parameters and errors as there.
    """
    read, layer = planes_read(viewer, defects), regions_of(viewer, defects)
    if layer is None:
        return lambda: ([correct() for correct in read], [None] * len(read))
    image, name = layer_by_id(viewer, note(defects)["image"]), layer.name
    shapes = [plane.data.shape for plane in image_planes(image)]
    data = np.array(layer.data)  # she may go on painting
    stack = data[None] if data.ndim == 2 else data

    def divide() -> tuple[list[Sites], list[Regions | None]]:
        planes = [correct() for correct in read]
        try:
            regions = [
                label_regions(labels, columns) if measure else Regions(labels, ())
                for labels, columns in zip(stack, planes, strict=len(stack) == len(planes))
            ]
            check_regions(regions, shapes)
        except DefectStrainError as error:
            raise DefectStrainError(f"{name}: {error}") from error
        sites = [without_foreign_defects(s, r) for s, r in zip(planes, regions, strict=True)]
        return sites, list(regions)

    return divide


def detection_put_in_steps(
    viewer: ViewerModel,
    source: Image,
    previous: Points | None,
    sites: Sequence[Sites],
    regions: Sequence[Regions],
    metadata: dict[str, Any],
    region_metadata: dict[str, Any],
) -> Steps[Points]:
    """Show a detection: put it into the layers of the previous one, or add new ones, one a step.

    No defects are shown where the crystal is not 2H.

    Parameters
    ----------
    viewer : ViewerModel
    source : Image
        The layer that was searched.
    previous : Points, optional
        Defects layer of the detection to be replaced.
    sites, regions : sequences
        One for each plane of the image.
    metadata, region_metadata : dict
        From `provenance`, of the columns and of the regions.

    Returns
    -------
    Points
        The defects layer.
    """
    foreign = np.concatenate(
        [r.label_at(s.position_px) == NOT_2H for s, r in zip(sites, regions, strict=True)]
    )
    everything = layer_by_id(viewer, note(previous).get("sites")) if previous else None
    if previous is None or (everything is None and not note(previous).get(AWAITING)):
        steps = detection_in_steps(viewer, source, sites, metadata, foreign)
        everything, defects = yield from steps
    elif everything is None:
        # points that were opened without the other columns stay as they are: they correct them
        defects, names = previous, sites[0].class_names
        _refuse_unknown(defects, names)
        everything = columns_added(viewer, source, sites, metadata, foreign)
        note(defects).update(sites=layer_id(everything), class_names=list(names))
        note(defects)[AWAITING] = False
        classes = pd.Categorical(defects.features["class"].astype(str), names[1:])
        points = np.array(defects.data), defects.features.assign(**{"class": classes})
        _refill(defects, points, names)
        yield
    else:
        defects, names = previous, sites[0].class_names
        replace_metadata(everything, metadata, class_names=list(names))
        note(everything)[HIDDEN] = hidden_rows(sites, foreign)
        whole, table = site_positions(sites, source.ndim), site_table(sites)
        set_points(everything, whole, table)
        yield
        replace_metadata(defects, metadata, class_names=list(names))
        _refill(defects, defect_points(whole, table, names, foreign), names)
        yield
    yield from regions_in_steps(viewer, source, everything, regions, region_metadata)
    return defects


def _refuse_unknown(defects: Points, names: Sequence[str]) -> None:
    """Refuse points that were opened, and are of classes that the columns found don't have."""
    unknown = sorted(set(defects.features["class"].astype(str)) - set(names[1:]))
    if unknown:
        raise DefectStrainError(
            f"{defects.name}: got points of {', '.join(unknown)}, expected {', '.join(names[1:])}; "
            "choose the material and the classes that they were made for"
        )


def _refill(defects: Points, points: tuple[np.ndarray, pd.DataFrame], names: Sequence[str]) -> None:
    """Put the points of a new detection, which may be of other classes, into a layer."""
    editor = editor_of(defects)
    defects.border_color_cycle = colours(names)
    editor.replace(*points)
    editor.reset()


def usable_nm2(image: CalibratedImage, regions: Regions | None) -> float:
    """Area that counts [nm^2]; NaN without calibration."""
    if image.pixel_size_pm is None:
        return float("nan")
    pixels = image.data.size if regions is None else regions.usable_px
    return pixels * (image.pixel_size_pm / PM_PER_NM) ** 2
