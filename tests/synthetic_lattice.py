"""A small renderer for the tests of geometry and averaging: sums of Gaussians at exact places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from napari_defectstrain.crystal.lattice import ideal_sites
from napari_defectstrain.types import BoolArray, FloatArray, IntArray

HEIGHTS = np.array([1.0, 0.70, 1.05, 1.40, 0.36, 0.0, 0.55])
"""Height of the columns of each role: metal, X2, XY, Y2, V1, V2, other."""


@dataclass(frozen=True)
class Crystal:
    """All columns of a synthetic image: (y, x) px, class, sublattice, ideal site (x, y) pm."""

    position_px: FloatArray
    class_index: IntArray
    is_metal: BoolArray
    site_pm: FloatArray
    matrix: FloatArray


def frame_matrix(
    pixel_pm: float, angle_deg: float, shear: FloatArray | None = None, mirror: bool = False
) -> FloatArray:
    """Lattice frame (x, y up) pm to image (y, x) px, the frame turned counter-clockwise."""
    t = np.deg2rad(angle_deg + (60.0 if mirror else 0.0))
    turned = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    affine = np.eye(2) if shear is None else np.eye(2) + shear
    flip = np.array([[0.0, -1.0], [1.0, 0.0]])  # (x, y up) -> (row, column)
    return np.asarray(flip @ affine @ turned / pixel_pm)


def make_crystal(
    shape: tuple[int, int],
    matrix: FloatArray,
    a_pm: float,
    origin_px: tuple[float, float],
    rng: np.random.Generator,
    defects: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
    inward_pm: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
) -> Crystal:
    """Honeycomb over an image, with random defects that draw their three metals inwards."""
    reach = np.hypot(*shape) / np.sqrt(np.linalg.det(matrix)) * 0.8 + a_pm
    site, is_metal = ideal_sites(a_pm, reach)
    class_index = np.where(is_metal, 0, 1)
    draw = rng.random(len(site))
    edges = np.concatenate([[0.0], np.cumsum(defects)])
    for role in range(4):
        chosen = (draw >= edges[role]) & (draw < edges[role + 1]) & ~is_metal
        class_index[chosen] = role + 2
    moved = site.copy()
    metals = np.flatnonzero(is_metal)
    tree = cKDTree(site[metals])
    for role, step in enumerate(inward_pm):
        centre = site[class_index == role + 2]
        if step == 0 or len(centre) == 0:
            continue
        distance, near = tree.query(centre, k=3)
        for k in range(3):
            d = centre - site[metals[near[:, k]]]
            np.add.at(moved, metals[near[:, k]], step * d / distance[:, k, None])
    position = np.asarray(origin_px) + moved @ matrix.T
    inside = ((position > -12) & (position < np.array(shape) + 11)).all(axis=1)
    return Crystal(position[inside], class_index[inside], is_metal[inside], site[inside], matrix)


def render(
    shape: tuple[int, int],
    position_px: FloatArray,
    height: FloatArray,
    sigma_px: float,
) -> FloatArray:
    """Sum of Gaussians at exact positions, each drawn to 5 sigma."""
    image = np.zeros(shape)
    reach = int(np.ceil(5 * sigma_px))
    for (y, x), h in zip(position_px, height, strict=True):
        if h == 0:
            continue
        y0, x0 = round(y), round(x)
        rows = np.arange(max(y0 - reach, 0), min(y0 + reach + 1, shape[0]))
        columns = np.arange(max(x0 - reach, 0), min(x0 + reach + 1, shape[1]))
        if len(rows) == 0 or len(columns) == 0:
            continue
        gy = np.exp(-((rows - y) ** 2) / (2 * sigma_px**2))
        gx = np.exp(-((columns - x) ** 2) / (2 * sigma_px**2))
        image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += h * gy[:, None] * gx
    return image
