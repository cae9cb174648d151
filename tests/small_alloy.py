"""Small simulated images of an alloy with few defects, and their true columns as `Sites`."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from napari_defectstrain.averages.average import AverageConfig
from napari_defectstrain.columns.averages.measure import ColumnConfig
from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline.chain import RunConfig
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulatedImage, SimulationConfig, simulate_image
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.types import Sites

SPACING_CHANGE = dict(zip(WSE2.defect_names, CrystalConfig().spacing_change, strict=True))

QUICK = RunConfig(
    average=AverageConfig(window_nm=2.0),
    columns=ColumnConfig(model="gaussian", compare=False, fit_radius_pm=600.0),
    bootstrap=50,
)
"""For tests of the plumbing: single Gaussians in a small disc, which are fast, and biased."""

SHARED_PROFILE = QUICK.replace(columns=ColumnConfig(fit_radius_pm=800.0), bootstrap=300)
"""For tests of numbers: all columns together, in a disc that saves time."""


@lru_cache
def simulated(
    seed: int = 1,
    rotation_deg: float = 8.0,
    size: int = 512,
    fractions: tuple[float, ...] = (0.03, 0.02, 0.03, 0.012),
    name: str = "alloy",
) -> SimulatedImage:
    """One image of the paper's pixel size and dose, scanned without jitter or contamination."""
    config = SimulationConfig(
        crystal=CrystalConfig(fractions=fractions),
        scan=ScanConfig(
            shape=(size, size),
            rotation_deg=rotation_deg,
            jitter_px=0.0,
            read_noise=0.0,
            contamination=0.0,
        ),
    )
    return simulate_image(config, np.random.default_rng(seed), name)


def true_sites(image: SimulatedImage) -> Sites:
    """The true columns, as certain."""
    return Sites(
        position_px=image.position_px.copy(),
        probabilities=np.eye(len(WSE2.class_names))[image.class_index],
        class_index=np.asarray(image.class_index).copy(),
        class_names=WSE2.class_names,
        source=np.full(len(image.class_index), "model"),
    )


def relabelled(sites: Sites, chosen: np.ndarray, class_name: str) -> Sites:
    """The same columns, some of them certainly of another class."""
    index = np.where(chosen, WSE2.class_names.index(class_name), sites.class_index)
    certain = np.eye(len(WSE2.class_names))[index]
    return replace(sites, class_index=index, probabilities=certain)
