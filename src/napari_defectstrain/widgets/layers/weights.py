"""Columns of a detection by their weights: histograms of them, and those of a range selected."""

from dataclasses import dataclass

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer, Points

from ...judge.histograms import (
    WeightHistograms,
    columns_within,
    nearest_column,
    weight_histograms,
)
from ...types import DefectStrainError
from .sites import corrected_planes, found_sites, kind, layer_by_id, layer_id, note, show_only


@dataclass(frozen=True)
class SelectedColumns:
    """What was selected.

    Parameters
    ----------
    number : dict of str to int
        Columns of each class that has any, as they were found.
    points : int
        Points of the defects layer among them.
    """

    number: dict[str, int]
    points: int


def histograms_of(viewer: ViewerModel, defects: Points) -> WeightHistograms | None:
    """Weights of all planes of an image, with the classes as corrected; None without weights."""
    try:
        return weight_histograms(corrected_planes(viewer, defects))
    except DefectStrainError:  # its image is gone: nothing to show
        return None


def select_columns(
    viewer: ViewerModel, defects: Points, low: float, high: float, sublattice: str
) -> SelectedColumns:
    """Select the columns of a range of weights in both layers of a detection.

    The layer of all columns shows these only, highlighted, for as long as they include some that
    have no point among the defects; else it stays hidden.

    Parameters
    ----------
    viewer : ViewerModel
    defects : Points
    low, high : float
        In units of the metal's weight; the latter is left out.
    sublattice : str
        See `columns_within`.
    """
    every = layer_by_id(viewer, note(defects).get("sites"))
    if not isinstance(every, Points) or len(every.data) == 0:
        return SelectedColumns({}, 0)
    inside = np.zeros(len(every.data), dtype=bool)
    plane = np.zeros(len(every.data), dtype=int)
    if every.ndim > 2:
        plane = np.rint(np.asarray(every.data)[:, 0]).astype(int)
    for one in np.unique(plane).tolist():
        sites = found_sites(every, one if every.ndim > 2 else None)
        inside[plane == one] = columns_within(sites, low, high, sublattice)
    owner = nearest_column(np.asarray(defects.data, float), np.asarray(every.data, float))
    points = np.flatnonzero(inside[owner]) if len(defects.data) else np.zeros(0, dtype=int)
    alone = inside.copy()
    alone[owner[points]] = False
    every.visible = bool(alone.any())
    show_only(every, inside if alone.any() else np.ones(len(inside), dtype=bool))
    every.selected_data = set(np.flatnonzero(inside).tolist())
    # napari highlights in the active layer alone, and a thin grey cross isn't seen
    every.update_highlight_visibility(bool(alone.any()))
    defects.selected_data = set(points.tolist())
    counts = every.features["class"][inside].astype(str).value_counts()
    names = [n for n in note(defects)["class_names"] if n in counts]
    return SelectedColumns({n: int(counts[n]) for n in names}, len(points))


def forget_selection(viewer: ViewerModel, defects: Points) -> None:
    """Select nothing; the layer of all columns is hidden, and whole again."""
    every = layer_by_id(viewer, note(defects).get("sites"))
    defects.selected_data = set()
    if isinstance(every, Points):
        every.selected_data = set()
        show_only(every, np.ones(len(every.data), dtype=bool))
        every.visible = False


def defects_of(viewer: ViewerModel, layer: Layer | None) -> Points | None:
    """The defects layer that a layer belongs to: itself, or the newest of the same image."""
    if layer is None:
        return None
    if isinstance(layer, Points) and kind(layer) == "defects":
        return layer
    image = layer_id(layer) if isinstance(layer, Image) else note(layer).get("image")
    mine = [
        la
        for la in viewer.layers
        if isinstance(la, Points) and kind(la) == "defects" and note(la).get("image") == image
    ]
    return mine[-1] if mine and image else None
