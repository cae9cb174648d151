"""Columns of alloys without their images: what only counts places needs no picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_defectstrain.materials import WSE2
from napari_defectstrain.simulate.structure import CrystalConfig, build_crystal
from napari_defectstrain.types import Sites

PIXEL_PM = 20.0
FRACTIONS = (0.05, 0.03, 0.05, 0.01)


def alloy_sites(seed: int, radius_pm: float = 4000.0, **settings: Any) -> Sites:
    """Certain columns of a round flake, as an image of 20 pm per pixel would show them."""
    config = CrystalConfig(**{"fractions": FRACTIONS, **settings})
    crystal = build_crystal(config, radius_pm, np.random.default_rng(seed))
    position = crystal.position_pm[:, ::-1] * [-1, 1] / PIXEL_PM + radius_pm / PIXEL_PM
    return Sites(
        position_px=position,
        probabilities=np.eye(len(WSE2.class_names))[crystal.class_index],
        class_index=crystal.class_index,
        class_names=WSE2.class_names,
        source=np.full(len(position), "truth"),
    )
