"""Files of columns and regions, opened onto their image: layers that can be edited and measured.

The image is the one of the same name, among the layers or beside the file, else the one that the
points agree with.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Layer, Points

from ...crystal.region_files import LABELS_SUFFIX, read_regions
from ...io.files import SUFFIXES, read_datasets
from ...io.point_files import PointFile
from ...materials import get_material, with_classes
from ...pipeline.opened import OpenedColumns, material_of_points, open_columns
from ...pipeline.runs import RunConfig
from ...types import DefectStrainError
from ..base.pacing import at_once
from ..base.settings import Settings
from .records import Record, record_of, with_new_ids
from .regions import detection_put_in_steps, regions_in_steps, regions_layer
from .sites import (
    AWAITING,
    BORDER_WIDTH,
    ID,
    KEY,
    calibrate,
    found_sites,
    free_name,
    image_planes,
    kind,
    layer_id,
    marker_look,
    marker_size,
    note,
    pixel_size_pm,
    placement,
    provenance,
    symbols,
)

TABLE_SUFFIXES = (".sites.csv", LABELS_SUFFIX, ".csv", ".tsv")


def open_points(
    points: PointFile, path: Path, viewer: ViewerModel | None
) -> tuple[list[Record], list[str]]:
    """Layers of the points of a file, and of their image where that was not open.

    Parameters
    ----------
    points : PointFile
    path : path
        Of the file.
    viewer : ViewerModel, optional
        Whose images are there.

    Returns
    -------
    records : list of Record
    notes : list of str
        What is to be said, a line each.

    Raises
    ------
    DefectStrainError
        If there is no image for them, or they aren't those of any that is there.
    """
    config = RunConfig(material=material_of_points(points, _preferred()))
    problems = []
    for layer, is_new in images_for(path, viewer):
        try:
            return _onto(layer, is_new, points, config, viewer)
        except DefectStrainError as error:
            problems.append(str(error))
    raise DefectStrainError(
        f"{path.name}: {problems[0]}"
        if problems
        else f"{path.name}: got {_points(len(points))} ({points.origin}), but no image for them: "
        f"open their image first, or put it beside the file as {stem_of(path)}.tif"
    )


def _preferred() -> str:
    """The material that the detect widget has, with the classes named there."""
    settings = Settings("detect")
    added = [part for part in str(settings.get("classes", "")).split(",") if part.strip()]
    try:
        return get_material(with_classes(str(settings.get("material", "WSe2")), added)).label
    except DefectStrainError:  # not what this version knows
        return "WSe2"


def open_regions(path: Path, viewer: ViewerModel | None) -> tuple[list[Record], list[str]]:
    """A layer of regions of a label image, on its image; into its detection where there is one.

    Raises
    ------
    DefectStrainError
        If it can't be read, or there is no image of its size.
    """
    regions = read_regions(path)
    for image, is_new in images_for(path, viewer):
        if image.data.shape[-2:] != regions.labels.shape or image.ndim != 2:
            continue
        scratch = _scratch(image)
        columns = _columns_of(viewer, image)
        if columns is not None:
            regions = read_regions(path, found_sites(columns))
        metadata = provenance("regions", {}, source=path.name)
        at_once(regions_in_steps(scratch, scratch.layers[0], columns, [regions], metadata))
        (layer,) = scratch.layers[1:]
        layer.visible = True  # she opened it to see it
        said = [f"{path.name}: opened onto {image.name}"]
        if columns is not None and regions_layer(viewer, columns) is not None:
            said.append(
                f"{columns.name.removesuffix(' · sites')}: the regions that were opened count now; "
                "the layer of those before is hidden"
            )
            regions_layer(viewer, columns).visible = False
        return _records(scratch, is_new), said
    size = " x ".join(map(str, regions.labels.shape))
    raise DefectStrainError(
        f"{path.name}: got regions of {size} px, but no image of that size: open their image first"
    )


def stem_of(path: Path) -> str:
    """Of the image that a file is about."""
    name = path.name
    suffix = next((s for s in TABLE_SUFFIXES if name.lower().endswith(s)), path.suffix)
    return name[: len(name) - len(suffix)]


def images_for(path: Path, viewer: ViewerModel | None) -> list[tuple[Image, bool]]:
    """Images that a file may belong to, the likeliest first, and whether each is not open yet."""
    there = [la for la in (viewer.layers if viewer else []) if _is_image(la)]
    stem = stem_of(path)
    named = [la for la in there if la.name == stem or _file_stem(la) == stem]
    if named:
        return [(la, False) for la in named]
    for suffix in sorted(SUFFIXES):
        beside = path.with_name(stem + suffix)
        if beside != path and beside.is_file():
            return [(_opened(beside, viewer), True)]
    active = None if viewer is None else viewer.layers.selection.active
    return [(la, False) for la in sorted(there, key=lambda la: la is not active)]


def _is_image(layer: Layer) -> bool:
    return isinstance(layer, Image) and kind(layer) in ("", "sum") and not layer.rgb


def _file_stem(layer: Layer) -> str:
    source = note(layer).get("source", "")
    return Path(source).stem if isinstance(source, str) else ""


def _opened(path: Path, viewer: ViewerModel | None) -> Image:
    from .readers import laid_out

    (first, *_) = laid_out(read_datasets(path))
    layer = Layer.create(*first)
    layer.metadata[KEY][ID] = layer_id(layer)
    return layer


def _scratch(image: Image) -> ViewerModel:
    """A viewer without a window in which the layers are made, with a stand-in for their image."""
    scratch = ViewerModel()
    stand_in = Image(image.data, name=image.name, metadata=dict(image.metadata), **placement(image))
    stand_in.metadata[KEY] = {**note(image), ID: layer_id(image)}
    scratch.add_layer(stand_in)
    return scratch


def _records(scratch: ViewerModel, with_image: bool) -> list[Record]:
    """The layers made, with ids that last; of the image only where it is not open yet."""
    image = layer_id(scratch.layers[0])
    found = with_new_ids([record_of(la) for la in scratch.layers], keep=[image])
    return found if with_image else [r for r in found if r.id != image]


def _onto(
    image: Image, is_new: bool, points: PointFile, config: RunConfig, viewer: ViewerModel | None
) -> tuple[list[Record], list[str]]:
    if points.plane is not None or image.ndim != 2:
        scratch = _scratch(image)
        _add_loose(scratch, points, points.position, points.plane)
        what = _points(len(points))
        where = f"{points.name}: {what} opened onto {image.name} ({points.origin})"
        return _records(scratch, is_new), [where]
    (plane,) = image_planes(image)
    found = open_columns(plane, points, config)
    if pixel_size_pm(image) is None and found.image.pixel_size_pm:
        calibrate(viewer or ViewerModel(), image, found.image.pixel_size_pm, "lattice")
    scratch = _scratch(image)
    said = [*found.notes]
    if found.sites is not None:
        settings = config.to_dict()
        about = provenance(
            "defects", settings["detect"], source=points.name, judge=settings["judge"]
        )
        regions = provenance("regions", settings["regions"], source=points.name)
        assert found.regions is not None
        source = scratch.layers[0]
        columns, areas = [found.sites], [found.regions]
        at_once(detection_put_in_steps(scratch, source, None, columns, areas, about, regions))
        what = f"{len(found.sites)} columns"
    elif found.classes is not None:
        said += _add_defects(scratch, found, config, viewer, image)
        what = _points(len(points))
    else:
        _add_loose(scratch, points, found.position_px, None)
        what = f"{_points(len(points))} without classes"
    return _records(scratch, is_new), [
        f"{points.name}: {what} opened onto {image.name} ({points.origin})",
        *said,
    ]


def _points(number: int) -> str:
    return "1 point" if number == 1 else f"{number} points"


def _add_defects(
    scratch: ViewerModel,
    found: OpenedColumns,
    config: RunConfig,
    viewer: ViewerModel | None,
    image: Image,
) -> list[str]:
    """A layer of defects without the other columns: those of a detection that is there, if any."""
    source = scratch.layers[0]
    table = found.points.table
    assert table is not None
    assert found.classes is not None
    columns = _columns_of(viewer, image)
    known = get_material(config.material).all_class_names
    names = list(known) if columns is None else note(columns)["class_names"]
    features = pd.DataFrame(
        {
            "class": pd.Categorical(found.classes, names[1:]),
            "probability": _floats(table, "probability", len(found.classes)),
            "source": _sources(table, len(found.classes)),
        }
    )
    about = provenance(
        "defects",
        {"material": config.material},
        image=layer_id(image),
        class_names=list(names),
        sites="" if columns is None else layer_id(columns),
        source=found.points.name,
    )
    about[KEY][AWAITING] = columns is None
    scratch.add_points(
        found.position_px,
        name=free_name(viewer or scratch, f"{image.name} · defects"),
        features=features,
        feature_defaults={"class": names[4], "probability": 1.0, "source": "manual"},
        symbol=symbols(features["class"], names) if len(features) else "disc",
        metadata=about,
        **marker_look(source, names),
    )
    if columns is None:
        return [
            f"{found.points.name}: holds some columns only: press Detect columns to find the "
            "others; the points stay as they are"
        ]
    return [f"{found.points.name}: corrects the columns of {columns.name}"]


def _add_loose(
    scratch: ViewerModel, points: PointFile, position: np.ndarray, plane: np.ndarray | None
) -> None:
    """A plain layer of points: of no class that is known."""
    source = scratch.layers[0]
    data = position if plane is None else np.column_stack([plane, position])
    look = placement(source)
    if data.shape[1] != source.ndim:
        raise DefectStrainError(
            f"{points.name}: got points of {data.shape[1]} dimensions, but {source.name} has "
            f"{source.ndim}"
        )
    table = points.table
    dropped = {"y_px", "x_px"}
    features = None if table is None else table.drop(columns=list(dropped)).reset_index(drop=True)
    scratch.add_points(
        data,
        name=f"{source.name} · points",
        features=features,
        face_color="transparent",
        border_color="cyan",
        border_width=BORDER_WIDTH,
        size=marker_size(source),
        blending="translucent",
        **look,
    )


def _floats(table: pd.DataFrame, name: str, count: int) -> np.ndarray:
    if name not in table or len(table) != count:
        return np.ones(count)
    return pd.to_numeric(table[name], errors="coerce").fillna(1.0).clip(0.0, 1.0).to_numpy()


def _sources(table: pd.DataFrame, count: int) -> np.ndarray:
    if "source" not in table or len(table) != count:
        return np.full(count, "file", dtype=object)
    known = table["source"].isin(["model", "manual", "file", "truth"]).to_numpy()
    return np.where(known, table["source"].to_numpy(dtype=object), "file").astype(object)


def _columns_of(viewer: ViewerModel | None, image: Image) -> Points | None:
    """All columns of an image where it was searched: the newest such layer."""
    mine = [
        la
        for la in (viewer.layers if viewer is not None else [])
        if kind(la) == "sites" and note(la).get("image") == layer_id(image)
    ]
    return mine[-1] if mine else None


def bound(records: list[Record], viewer: ViewerModel | None) -> list[Record]:
    """Layers that were saved without their image, tied to the image of its name that is open."""
    known = {record.id for record in records}
    there = {la.name: la for la in (viewer.layers if viewer else []) if _is_image(la)}
    open_ids = {layer_id(la) for la in (viewer.layers if viewer else [])}
    found = []
    for record in records:
        about = dict(record.metadata.get(KEY, {}))
        image = about.get("image")
        name = record.name.split(" · ")[0]
        if image and image not in known | open_ids and name in there:
            about["image"] = layer_id(there[name])
            columns = _columns_of(viewer, there[name])
            if about.get("sites") not in known and about.get("kind") != "sites":
                about["sites"] = "" if columns is None else layer_id(columns)
                about[AWAITING] = about.get("kind") == "defects" and columns is None
            record = replace(record, metadata={**record.metadata, KEY: about})
        found.append(record)
    return found
