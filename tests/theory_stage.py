"""Displacements around a defect whose far field is known, with errors like those of averages."""

import numpy as np

from napari_defectstrain.crystal.honeycomb import ideal_sites
from napari_defectstrain.materials import WSE2
from napari_defectstrain.theory.elastic_constants import TheoryConfig
from napari_defectstrain.theory.kanzaki import CELLS, force_patterns
from napari_defectstrain.theory.lattice_statics import lattice_model
from napari_defectstrain.types import DisplacementField

A_PM, SIGMA_PM, STRENGTH_PM2 = 330.0, 0.3, -1700.0
ELASTIC = TheoryConfig().elastic(WSE2)
MODEL = lattice_model(WSE2, ELASTIC, A_PM)
SITE, IS_METAL = ideal_sites(A_PM, 1250.0)
N = 2 * len(SITE)


def displacement(u_pm: np.ndarray, covariance: np.ndarray | None = None) -> DisplacementField:
    """Of a single vacancy; by default with independent errors of `SIGMA_PM`."""
    if covariance is None:
        covariance = SIGMA_PM**2 * np.eye(N)
    return DisplacementField("SV", SITE, IS_METAL, u_pm, covariance)


def noise(seed: int) -> np.ndarray:
    """Independent errors of `SIGMA_PM`."""
    return np.random.default_rng(seed).normal(0.0, SIGMA_PM, SITE.shape)


def average_of_windows(u_pm: np.ndarray, windows: int, rng: np.random.Generator):
    """The displacement with the noise of so many windows, and the covariance they show.

    Columns' errors are correlated, and chalcogens' are larger.
    """
    size = np.repeat(np.where(IS_METAL, 1.0, 1.5), 2)[:, None]
    mixing = np.random.default_rng(1).normal(0.0, 0.5, (N, N)) / np.sqrt(N)
    root = SIGMA_PM * np.sqrt(windows) * size * (np.eye(N) + mixing)
    drawn = rng.normal(size=(windows, N)) @ root.T
    return displacement(u_pm + drawn.mean(axis=0).reshape(-1, 2), np.cov(drawn.T) / windows)


def lattice_field(pattern: int = 0) -> np.ndarray:
    """By forces of one pattern in an endless lattice, with the far field `STRENGTH_PM2`."""
    place, on_metal, force, _ = force_patterns(A_PM)
    u = MODEL.response(SITE, IS_METAL, place, on_metal, force[[pattern]], CELLS)[0]
    strength = np.sum(force[pattern] * place) / (4 * np.pi * MODEL.elastic.c11)
    u = u + np.pi * strength / (CELLS**2 * MODEL.cell_area_pm2) * SITE
    return u * STRENGTH_PM2 / strength
