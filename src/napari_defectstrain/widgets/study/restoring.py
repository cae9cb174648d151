"""The layers of a study: images from files, columns with every correction, results as saved."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer, Points
from scipy.spatial import cKDTree

from ...averages.choice import RELABELLED
from ...crystal.regions import NOT_2H, Regions
from ...io.files import ImageFile, read_datasets
from ...study import Study
from ...types import DefectStrainError, Sites
from ..base.pacing import at_once
from ..layers.averages import CUT, STACK, update_average
from ..layers.corrections import X2
from ..layers.editing import editor_of
from ..layers.placing import Layout
from ..layers.readers import layer_data
from ..layers.records import Record, record_of, settle_all, tuple_of, with_new_ids
from ..layers.regions import detection_put_in_steps, region_features
from ..layers.sites import (
    HIDDEN,
    KEY,
    calibrate,
    defect_points,
    kind,
    layer_by_id,
    layer_id,
    note,
    pixel_size_pm,
    provenance,
    site_positions,
    site_table,
    symbols,
)
from .arrangement import images_of_windows, saved_records
from .ties import NAMES, PATH, names_of, newest_detections, source_images

SAME_PX = 1e-3
"""Places of columns are the same up to this [px]: tables are rounded."""


def restore(study: Study, viewer: ViewerModel) -> list[str]:
    """Add all layers of a study to a viewer.

    Parameters
    ----------
    study : Study
    viewer : ViewerModel

    Returns
    -------
    list of str
        What is to be said, a line each.
    """
    saved, notes = saved_records(study)
    if set(_ids(saved)) & {layer_id(la) for la in viewer.layers}:
        saved = with_new_ids(saved)
    records = _filled(study, saved, notes)
    records += _unseen(study, records, viewer, notes)
    added = []
    for record in records:
        try:
            added.append(viewer.add_layer(Layer.create(*tuple_of(record))))
        except DefectStrainError as error:
            notes.append(str(error))
    settle_all(viewer, records)
    _take_pixel_sizes(study, viewer, added)
    _take_windows(study, viewer)
    for image, defects in newest_detections(viewer).items():
        layer = layer_by_id(viewer, image)
        if layer is not None and any(defects is one for one in added):
            _take_steps(study, names_of(layer), defects)
    return notes


def _ids(records: Sequence[Record]) -> list[str]:
    return [record.id for record in records]


def _about(record: Record) -> dict[str, Any]:
    return dict(record.metadata.get(KEY, {}))


def _filled(study: Study, records: Sequence[Record], notes: list[str]) -> list[Record]:
    """The records with what the study holds; those of images that are gone are left out."""
    found = []
    lost: set[str] = set()
    stems: dict[str, Any] = {}
    for record in records:
        names = _about(record).get(NAMES)
        if not names:
            found.append(record)
            continue
        if lost & set(names):
            continue
        try:
            if record.kind == "image" and _about(record).get("kind", "") in ("", "sum"):
                for name in set(names) - set(stems):
                    stems.update(_pixels(study, name))
                planes = [stems[name] for name in names]
                data = planes[0] if np.ndim(record.data) == 2 else np.stack(planes)
                found.append(replace(record, data=data, metadata=_with_path(study, record)))
            else:
                found.append(_with_content(study, record, names))
        except (DefectStrainError, KeyError) as error:
            lost |= set(names)
            if isinstance(error, DefectStrainError):
                notes.append(str(error))
    return found


def _with_path(study: Study, record: Record) -> dict[str, Any]:
    """Metadata that say where the file lies: napari doesn't know it of layers of a study."""
    about = _about(record)
    file = next(f for f in study.files if about[NAMES][0] in {i.name for i in f.images})
    return {**record.metadata, KEY: {**about, PATH: str(study.path_of(file).resolve())}}


def _pixels(study: Study, name: str) -> dict[str, np.ndarray]:
    """Pixels of all images of a file, by their names, as they lie in it."""
    file = next(f for f in study.files if name in {image.name for image in f.images})
    path = study.path_of(file)
    shapes = {(image.height, image.width) for image in file.images}
    planes: list[np.ndarray] = []
    for entry in read_datasets(path):
        if entry.data.shape[-2:] in shapes and len(planes) < len(file.images):
            planes += list(entry.data) if entry.is_stack else [entry.data]
    if len(planes) != len(file.images):  # a sum of frames, or one channel of several
        images, _ = study.load_images([image.name for image in file.images])
        planes = [image.data for image in images]
    return {image.name: plane for image, plane in zip(file.images, planes, strict=True)}


def _with_content(study: Study, record: Record, names: Sequence[str]) -> Record:
    about, ndim = _about(record), np.ndim(record.data) if record.kind == "labels" else 0
    if about.get("kind") == "regions":
        labels = [study.regions(name) for name in names]
        data = labels[0].labels if ndim == 2 else np.stack([r.labels for r in labels])
        return replace(record, data=data, features=region_features(labels))
    ndim = np.shape(record.data)[1]
    models = [study.model_sites(name) for name in names]
    whole, table = site_positions(models, ndim), site_table(models)
    corrected = [study.sites(name) for name in names]
    if about.get("kind") == "sites":
        about[HIDDEN] = _hidden(study, models, corrected, names)
    else:
        whole, table = _defects(study, models, corrected, names, ndim)
    classes = models[0].class_names
    look = {**record.look, "symbol": symbols(table["class"], classes) if len(table) else []}
    about["class_names"] = list(classes)
    metadata = {**record.metadata, KEY: about}
    return replace(record, data=whole, features=table, look=look, metadata=metadata)


def _defects(
    study: Study,
    models: Sequence[Sites],
    corrected: Sequence[Sites],
    names: Sequence[str],
    ndim: int,
) -> tuple[np.ndarray, Any]:
    """Points of the defects with corrections: none where the crystal isn't 2H."""
    foreign = []
    for name, sites in zip(names, corrected, strict=True):
        by_hand = sites.source == "manual"
        regions = study.regions(name) if study.has_regions(name) else None
        outside = (
            np.zeros(len(sites), dtype=bool)
            if regions is None
            else regions.label_at(sites.position_px) == NOT_2H
        )
        foreign.append(outside & ~by_hand)
    whole, table = site_positions(corrected, ndim), site_table(corrected)
    return defect_points(whole, table, models[0].class_names, np.concatenate(foreign))


def _hidden(
    study: Study, models: Sequence[Sites], corrected: Sequence[Sites], names: Sequence[str]
) -> list[int]:
    """Rows of the defects that get no point for where they lie, less what hands made of them."""
    found: list[int] = []
    first = 0
    for name, model, sites in zip(names, models, corrected, strict=True):
        if study.has_regions(name) and len(sites):
            foreign = study.regions(name).label_at(model.position_px) == NOT_2H
            rows = np.flatnonzero(foreign & (model.class_index > X2))
            away, row = cKDTree(sites.position_px).query(model.position_px[rows])
            as_found = (away < SAME_PX) & (sites.source[row] != "manual")
            found += [first + int(i) for i in rows[as_found]]
        first += len(model)
    return found


def _unseen(
    study: Study, records: Sequence[Record], viewer: ViewerModel, notes: list[str]
) -> list[Record]:
    """Layers of what no window has shown yet: images and answers of the command line."""
    shown = {name for record in records for name in _about(record).get(NAMES, [])}
    scratch = ViewerModel()
    for record in records:
        if record.kind == "image":
            scratch.add_layer(Layer.create(*tuple_of(record)))
    before = len(scratch.layers)
    layout = Layout(scratch if before else viewer)
    told = " ".join(notes)
    for file in study.files:
        for image in file.images:
            if image.name in shown or file.file_name in told:
                continue
            try:
                data = _pixels(study, image.name)[image.name]
            except DefectStrainError as error:
                if str(error) not in notes:
                    notes.append(str(error))
                continue
            about = {"source": file.file_name, PATH: str(study.path_of(file).resolve())}
            entry = ImageFile(data, image.size_pm, image.name, about)
            place = layout.place(data.shape, entry.pixel_size_pm or 1.0)
            scratch.add_layer(Layer.create(*layer_data(entry, translate=place)))
    images = {n: la for la in scratch.layers for n in _names_in(la, before, scratch)}
    for record in records:
        for name in _about(record).get(NAMES, []) if record.kind == "image" else []:
            images.setdefault(name, layer_by_id(scratch, record.id))
    seen = {n for r in records if _about(r).get("kind") == "defects" for n in _about(r)[NAMES]}
    for name, layer in images.items():
        if name not in seen and study.has_sites(name) and layer.ndim == 2:
            _put_detection(study, name, layer, scratch)
    kept = [la for la in scratch.layers if layer_id(la) not in set(_ids(records))]
    return [record_of(la) for la in kept]


def _names_in(layer: Layer, before: int, scratch: ViewerModel) -> list[str]:
    """The name in the study of a layer that was just made for it."""
    if scratch.layers.index(layer) < before:
        return []
    layer.metadata[KEY] = {**note(layer), NAMES: [layer.name]}
    return [layer.name]


def _put_detection(study: Study, name: str, image: Image, scratch: ViewerModel) -> None:
    model, answer = study.model_sites(name), study.answer_of(name)
    shape = image.data.shape
    regions = study.regions(name) if study.has_regions(name) else None
    regions = regions or Regions(np.ones(shape, dtype=np.int16), ())
    about = provenance(
        "defects",
        {"material": study.config.material},
        answer.weights_sha256 or None,
        overconfidence=list(answer.overconfidence),
    )
    settings = provenance("regions", {}, answer.weights_sha256 or None)
    put = detection_put_in_steps(scratch, image, None, [model], [regions], about, settings)
    defects = at_once(put)
    corrected = [study.sites(name)]
    columns = layer_by_id(scratch, note(defects)["sites"])
    note(columns)[HIDDEN] = _hidden(study, [model], corrected, [name])
    position, features = _defects(study, [model], corrected, [name], 2)
    editor_of(defects).replace(position, features)


def _take_pixel_sizes(study: Study, viewer: ViewerModel, added: Sequence[Layer]) -> None:
    """Give images the pixel size that counts, where the layers were saved before it was set."""
    given = {image.name: image for file in study.files for image in file.images if image.given_pm}
    for layer in source_images(viewer):
        names = [name for name in names_of(layer) if name in given]
        if not names or not any(layer is one for one in added):
            continue
        size_pm = given[names[0]].given_pm
        if size_pm and not np.isclose(pixel_size_pm(layer) or 0.0, size_pm, rtol=1e-6):
            by = given[names[0]].given_by
            calibrate(viewer, layer, size_pm, "hand" if by == "given" else by)


def _take_steps(study: Study, names: Sequence[str], defects: Points) -> None:
    """Let edits of former sessions be undone like those of this one."""
    ndim = defects.ndim

    def before(number: int) -> tuple[np.ndarray, Any]:
        models = [study.model_sites(name) for name in names]
        sites = [study.sites_before(name, number) for name in names]
        return _defects(study, models, sites, names, ndim)

    steps = study.steps_back(names) if names else []
    editor_of(defects).remember([partial(before, number) for number in steps])


def _take_windows(study: Study, viewer: ViewerModel) -> None:
    """Leave out, and put back, the windows that hands chose after the results were saved."""
    averages = [la for la in viewer.layers if kind(la) == "average" and STACK in la.metadata]
    newest = note(averages[-1])["run"] if averages else ""
    for layer in averages:
        names = images_of_windows(viewer, layer)
        if note(layer)["run"] != newest or not names:
            continue
        cut, held = layer.metadata[CUT], layer.metadata[STACK]
        chosen: Mapping[str, Any]
        chosen, _ = study.with_windows({cut.class_name: cut}, names)
        # What counts in another class is said by the columns, not by choices of windows.
        gone = ~held.included & np.char.startswith(held.reason, RELABELLED)
        stack = chosen[cut.class_name]
        reason = np.where(gone, held.reason, stack.reason)
        stack = replace(stack, included=stack.included & ~gone, reason=reason)
        if (stack.included != held.included).any() and stack.n:
            update_average(viewer, layer, stack)
