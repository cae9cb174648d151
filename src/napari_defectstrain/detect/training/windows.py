"""Training windows: freshly simulated images and their labels."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...simulate.acquisition import contamination
from ...simulate.background import measured_contamination
from ...simulate.conditions import Conditions
from ...simulate.dataset import SimulationConfig, crystal_for, crystal_image, recorded
from ...simulate.structure import Crystal
from ...types import FloatArray
from ..finding.prepare import normalise, resample, to_resampled
from ..network.condition import condition_by_atoms, material_condition
from ..network.config import CANONICAL_PIXEL_PM

RIM_PX = 12
"""Pixels simulated around a window, then cut away: no window sees the rim of its image."""


class Window(NamedTuple):
    """A window as the network sees it.

    Parameters
    ----------
    image : array, `(n, n)`
        float32, resampled and normalised.
    labels : array, `(n, n)`
        0 is background, 1 + role elsewhere: the 3 x 3 pixels around a column.
    material : str
        What it shows.
    condition : array, `(conditions,)`
        What the network is told of it.
    """

    image: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    material: str
    condition: FloatArray


class Scene(NamedTuple):
    """What a window is of: settings, a crystal, and where in the scan its origin lies.

    Parameters
    ----------
    config : SimulationConfig
        Its scan covers the window and the rim around it.
    crystal : Crystal
    origin_px : array, `(2,)`
        (y, x) [px].
    """

    config: SimulationConfig
    crystal: Crystal
    origin_px: FloatArray


def draw_scene(conditions: Conditions, window_px: int, rng: np.random.Generator) -> Scene:
    """The settings and the crystal of a fresh window of `window_px` x `window_px`."""
    config = conditions.draw((window_px + 2 * RIM_PX) * CANONICAL_PIXEL_PM, rng)
    crystal = crystal_for(config, rng)
    reach = config.crystal.lattice_pm / config.scan.pixel_size_pm
    origin = (np.asarray(config.scan.shape) - 1) / 2 + rng.uniform(-0.5, 0.5, 2) * reach
    return Scene(config, crystal, origin)


def draw_window(conditions: Conditions, window_px: int, rng: np.random.Generator) -> Window:
    """A freshly simulated window of `window_px` x `window_px`."""
    config, crystal, origin = draw_scene(conditions, window_px, rng)
    scan = config.scan
    clean, position = crystal_image(crystal, config, origin)
    if conditions.background and rng.random() < 0.5:
        dirt = measured_contamination(Path(conditions.background), scan, rng)
    else:
        dirt = contamination(scan, rng)
    counts = recorded(clean + dirt, config, rng)
    image = normalise(resample(counts.astype(np.float32), scan.pixel_size_pm, CANONICAL_PIXEL_PM))
    placed = to_resampled(position, scan.shape, image.shape)
    labels = label_columns(placed, crystal.class_index, (image.shape[0], image.shape[1]))
    cut = slice(RIM_PX, RIM_PX + window_px)
    return Window(
        np.ascontiguousarray(image[cut, cut]),
        np.ascontiguousarray(labels[cut, cut]),
        config.crystal.material,
        told_condition(config),
    )


def told_condition(config: SimulationConfig) -> FloatArray:
    """What the network is told of the material of an image, `(conditions,)`."""
    if config.cross_sections:
        return condition_by_atoms(*config.cross_sections)
    return material_condition(config.crystal.material)


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
