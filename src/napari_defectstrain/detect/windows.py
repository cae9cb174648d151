"""Training windows: freshly simulated images and their labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..simulate.acquisition import contamination, expose
from ..simulate.conditions import Conditions, crystal_edge
from ..simulate.dataset import clean_image, crystal_for, crystal_to_px
from ..types import FloatArray
from .config import CANONICAL_PIXEL_PM
from .prepare import normalise, resample, to_resampled

_RIM = 12
"""Pixels simulated around a window, then cut away: no window sees the rim of its image."""


def draw_window(
    conditions: Conditions, window_px: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """One window as the network sees it, and its labels, `(window_px, window_px)` each.

    A column is labelled by the 3 x 3 pixels around it: 0 is background, 1 + role elsewhere.
    """
    side_px = window_px + 2 * _RIM
    field = side_px * CANONICAL_PIXEL_PM
    config = conditions.draw(field, rng)
    scan = config.scan
    crystal = crystal_for(config, rng)
    origin = (np.asarray(scan.shape) - 1) / 2 + rng.uniform(-0.5, 0.5, 2) * 330 / scan.pixel_size_pm
    position = crystal_to_px(crystal.position_pm, scan, origin)
    class_index = crystal.class_index
    if rng.random() < conditions.edge_fraction:
        keep = crystal_edge(position, scan.shape[0], rng)
        position, class_index = position[keep], class_index[keep]
    clean = clean_image(position, class_index, config) + contamination(scan, rng)
    counts = expose(clean, scan, rng)
    image = normalise(resample(counts.astype(np.float32), scan.pixel_size_pm, CANONICAL_PIXEL_PM))
    placed = to_resampled(position, scan.shape, image.shape)
    labels = label_columns(placed, class_index, (image.shape[0], image.shape[1]))
    cut = slice(_RIM, _RIM + window_px)
    return np.ascontiguousarray(image[cut, cut]), np.ascontiguousarray(labels[cut, cut])


def label_columns(
    position_px: FloatArray, class_index: npt.NDArray[np.integer], shape: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """Label image: 1 + role on the 3 x 3 pixels around each column, 0 elsewhere, `shape`."""
    labels = np.zeros((shape[0] + 2, shape[1] + 2), dtype=np.int64)
    centre = np.round(position_px).astype(int)
    inside = np.all((centre >= 0) & (centre < shape), axis=1)
    row, column = centre[inside].T
    for dy in range(3):
        for dx in range(3):
            labels[row + dy, column + dx] = class_index[inside] + 1
    return labels[1:-1, 1:-1]
