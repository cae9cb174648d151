"""Small noisy images and columns as a network finds them, some of them of the wrong class."""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from napari_defectstrain.evaluation.folders import truth_sites
from napari_defectstrain.materials import ROLES, WSE2
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulatedImage, SimulationConfig, simulate_image
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.types import Sites

X2, V2 = ROLES.index("X2"), ROLES.index("V2")
SCAN = ScanConfig(
    shape=(340, 340), rotation_deg=17.0, dose_e_per_nm2=1.2e7, jitter_px=0.8, read_noise=0.12,
    contamination=0.1, offset_counts=0.0,
)  # fmt: skip


@lru_cache
def made(fractions: tuple[float, ...] = (0.06, 0.05, 0.06, 0.02), seed: int = 1) -> SimulatedImage:
    crystal = CrystalConfig(fractions=fractions)
    config = SimulationConfig(crystal=crystal, scan=SCAN)
    return simulate_image(config, np.random.default_rng(seed), "image")


def truth(image: SimulatedImage) -> Sites:
    return truth_sites(image.position_px, np.asarray(image.class_index), WSE2)


def as_found(image: SimulatedImage, wrong: float, seed: int = 2) -> Sites:
    """Columns as a network finds them: 6 pm off, a share of the chalcogen ones of any class."""
    rng = np.random.default_rng(seed)
    true = truth(image)
    index = np.array(true.class_index)
    chalcogen = np.flatnonzero(true.is_chalcogen)
    lost = chalcogen[rng.random(len(chalcogen)) < wrong]
    index[lost] = rng.integers(X2, V2 + 1, len(lost))
    probabilities = 0.94 * np.eye(len(ROLES))[index]
    probabilities[chalcogen, X2 : V2 + 1] += 0.012
    probabilities[true.is_metal, 0] += 0.06
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    moved = true.position_px + rng.normal(0, 6.0 / SCAN.pixel_size_pm, (len(true), 2))
    return replace(true, position_px=moved, probabilities=probabilities, class_index=index)
