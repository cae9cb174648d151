"""Populations and columns of defects layers, with all corrections, as tables and files."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from napari.components import ViewerModel
from napari.layers import Layer, Points
from napari.utils.notifications import show_info, show_warning
from qtpy.QtWidgets import QWidget

from ...crystal.populations import ALL_IMAGES, population_table
from ...crystal.regions import usable_sites
from ...io.files import sites_table, write_table
from ...judge.identity import AGREES, DOUBTFUL
from ...pipeline.fitness import IDENTITY
from ...types import DefectStrainError, Sites
from ..base import forms, tr
from ..base.saving import may_replace
from ..layers.detected import newest_by_image
from ..layers.regions import divided_planes, usable_nm2
from ..layers.sites import image_planes, kind, layer_by_id, material_of, note, pixel_size_pm


def populations(viewer: ViewerModel, layers: Sequence[Layer | None]) -> pd.DataFrame | None:
    """Populations of some defects layers of one material; None where there are no columns."""
    names: list[str] = []
    columns: list[Sites] = []
    areas: list[float] = []
    doubted: set[str] = set()
    for layer in layers:
        if layer is None or kind(layer) != "defects":
            continue
        try:
            planes, regions = divided_planes(viewer, layer, measure=False)
            images = image_planes(layer_by_id(viewer, note(layer)["image"]))
        except DefectStrainError:
            continue
        image = layer.name.removesuffix(" · defects")
        several = len(planes) > 1
        its = [f"{image} {i + 1}" if several else image for i in range(len(planes))]
        names += its
        if note(layer).get("identity", AGREES) != AGREES:
            doubted |= {*its, ALL_IMAGES}
        columns += [usable_sites(s, r) for s, r in zip(planes, regions, strict=True)]
        areas += [usable_nm2(im, r) for im, r in zip(images, regions, strict=True)]
    if not columns:
        return None
    table = population_table(names, columns, columns[0].class_names, areas)
    if not doubted:
        return table
    return table.assign(
        **{IDENTITY: [DOUBTFUL if name in doubted else AGREES for name in table["image"]]}
    )


def detections_like(viewer: ViewerModel, layer: Layer | None) -> list[Points]:
    """The newest detection of each image, of those of the same material and the same classes."""
    if layer is None:
        return []
    wanted = material_of(layer), list(note(layer)["class_names"])
    return [
        la
        for la in newest_by_image(viewer).values()
        if (material_of(la), list(note(la)["class_names"])) == wanted
    ]


def export_populations(parent: QWidget, viewer: ViewerModel, layer: Layer | None) -> None:
    """Write the populations of all images searched like that of a layer where the user says."""
    table = populations(viewer, detections_like(viewer, layer))
    if table is None:
        show_warning(tr("There are no populations to write yet: detect first"))
        return
    path = forms.ask_save_path(parent, tr("Export populations"), "populations.csv")
    if path:
        write_table(path, table)
        show_info(f"Wrote {path}")


def export_columns(parent: QWidget, viewer: ViewerModel, layer: Layer | None) -> None:
    """Write the corrected columns where the user says, a file for each plane of a stack."""
    if layer is None or populations(viewer, [layer]) is None:
        show_warning(tr("There are no columns to write yet: detect first"))
        return
    planes, _ = divided_planes(viewer, layer, measure=False)
    image = layer.name.removesuffix(" · defects")
    given = forms.ask_save_path(parent, tr("Export columns"), f"{image}.sites.csv")
    if not given:
        return
    size = pixel_size_pm(layer)
    paths = [Path(given)]
    if len(planes) > 1:
        stem = paths[0].name.removesuffix(".csv").removesuffix(".sites")
        paths = [paths[0].with_name(f"{stem}_{i + 1}.sites.csv") for i in range(len(planes))]
        there = [path for path in paths if path.exists()]
        if there and not may_replace(parent, there):
            return
    for path, sites in zip(paths, planes, strict=True):
        write_table(path, sites_table(sites, size))
    show_info(f"Wrote {given}" + (f" and {len(planes) - 1} more" if len(planes) > 1 else ""))
