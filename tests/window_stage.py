"""Synthetic windows in the lattice frame: a crystal of Gaussian columns, its defects, and noise."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from synthetic_lattice import HEIGHTS

from napari_defectstrain.averages.candidates import Candidates
from napari_defectstrain.averages.windows import WindowFrame
from napari_defectstrain.crystal.lattice import ideal_sites
from napari_defectstrain.types import FloatArray, IntArray, Neighbours

A_PM = 330.0
SIGMA_PM = 47.0
FRAME = WindowFrame(A_PM, 20.0, 2.6)
NOISE = 0.16
"""Of a pixel of 20 pm, in units of a metal column: counts and read noise of the paper's dose."""


def column(place_pm: FloatArray, sigma_pm: float = SIGMA_PM) -> FloatArray:
    """A column of height 1 at (x, y), `(P, P)`."""
    away = np.linalg.norm(FRAME.position_pm - place_pm, axis=2)
    return np.asarray(np.exp(-0.5 * (away / sigma_pm) ** 2))


def perfect(role: int = 1, sigma_pm: float = SIGMA_PM) -> FloatArray:
    """Noise-free window with a column of a class at its centre, `(P, P)`."""
    site, is_metal = ideal_sites(A_PM, 2200.0)
    window = np.zeros(FRAME.shape)
    for k, (place, metal) in enumerate(zip(site, is_metal, strict=True)):
        height = HEIGHTS[role] if k == 0 else HEIGHTS[0] if metal else HEIGHTS[1]
        window += height * column(place, sigma_pm)
    return window


def vacancy_at(site_pm: FloatArray, inward_pm: float = 20.0) -> FloatArray:
    """What a double vacancy at a chalcogen site adds to a window: relaxed metals, no column."""
    change = -HEIGHTS[1] * column(site_pm)
    for angle in np.deg2rad([90.0, 210.0, 330.0]):
        toward = np.array([np.cos(angle), np.sin(angle)])
        ring = A_PM / np.sqrt(3)
        metal = site_pm + ring * toward
        change += column(metal - inward_pm * toward) - column(metal)
    return np.asarray(change)


def noise(n: int, rng: np.random.Generator, level: float = NOISE) -> FloatArray:
    """Noise as interpolation leaves it: alike over about a pixel, `(N, P, P)`."""
    white = gaussian_filter(rng.normal(size=(n, *FRAME.shape)), (0, 0.5, 0.5))
    return np.asarray(white * level / white.std())


def candidates(role: IntArray, image: IntArray | None = None) -> Candidates:
    """Columns of the given classes, certain of them."""
    n = len(role)
    index = np.zeros(n, dtype=int) if image is None else image
    certain = np.eye(7)[role]
    nowhere = np.zeros((n, 2))
    return Candidates(index, index, np.arange(n), role, certain, nowhere, nowhere)


def no_neighbours() -> Neighbours:
    return Neighbours(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)), 2000.0)
