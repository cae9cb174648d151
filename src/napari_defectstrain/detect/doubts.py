"""What makes a detection doubtful: a picture that isn't of the model's material."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, minimum_filter
from scipy.spatial import cKDTree

from ..materials import Material
from ..types import CalibratedImage, FloatArray, Sites

CONTRAST_RANGE = (0.5, 0.92)
"""Brightness of X2 columns over that of the metal's for WSe2: 0.65-0.75, blurred by the probe."""
_MIN_COLUMNS = 10
_MAX_IRREGULAR = 0.03
_SURE = 0.8
_MAX_UNSURE = 0.15
_MAX_OPPOSED = 0.02

ComplexArray = npt.NDArray[np.complexfloating[Any, Any]]


def doubts(image: CalibratedImage, sites: Sites, material: Material, pixel_pm: float) -> list[str]:
    """Reasons, a line each, not to trust the classes found in an image."""
    name, found = image.name, []
    ratio = contrast_ratio(image.data, sites, material.lattice_pm / pixel_pm)
    low, high = CONTRAST_RANGE
    if ratio is None:
        found.append(f"{name}: too few columns to check that this is {material.name}")
    elif not low <= ratio <= high:
        found.append(
            f"{name}: columns of the chalcogen sublattice are {ratio:.2f} times as bright as the "
            f"metal's, expected {low:g} to {high:g} for {material.name}: another material, phase "
            "or detector range; classes are not to be trusted"
        )
    irregular = irregular_fraction(sites.position_px, image.data.shape)
    if irregular > _MAX_IRREGULAR:
        found.append(
            f"{name}: {100 * irregular:.0f} % of the columns lack the three neighbours of a 2H "
            "honeycomb: another phase, a boundary, a hole or a distorted scan; classes there are "
            "not to be trusted"
        )
    other = opposed_fraction(sites)
    if other > _MAX_OPPOSED:
        found.append(
            f"{name}: {100 * other:.0f} % of the columns lie where the other sublattice was taken "
            "as metal: a mirror twin, or a contrast that doesn't tell metal from chalcogen, as in "
            "another material"
        )
    unsure = float(np.mean(sites.probability[~sites.is_metal] < _SURE))
    if unsure > _MAX_UNSURE:
        found.append(
            f"{name}: {100 * unsure:.0f} % of the chalcogen columns have no class above "
            f"{100 * _SURE:.0f} %: noise, or a picture unlike {material.name} as the model knows it"
        )
    return found


def irregular_fraction(position_px: FloatArray, shape: tuple[int, ...]) -> float:
    """Fraction of the columns away from the rim without threefold surroundings.

    The modulus of the mean of exp(3 i phi) over a column's three nearest neighbours is 1 in a
    honeycomb, also a sheared or strained one, and small where they don't lie 120 degrees apart.
    """
    order, spacing = _threefold_order(position_px)
    rim = 1.5 * spacing
    inner = np.all((position_px > rim) & (position_px < np.asarray(shape[:2]) - 1 - rim), axis=1)
    return float((np.abs(order[inner]) < 0.5).mean()) if inner.any() else 1.0


def opposed_fraction(sites: Sites) -> float:
    """Fraction of the metal columns whose surroundings point against those of the majority.

    In a mirror twin the three neighbours of a metal column point the other way; so they do where
    the chalcogen columns were taken for metal.
    """
    order = _threefold_order(sites.position_px)[0][sites.is_metal]
    if len(order) == 0:
        return 0.0
    along = (order * np.conj(np.median(order.real) + 1j * np.median(order.imag))).real
    return float((along < 0).mean())


def _threefold_order(position_px: FloatArray) -> tuple[ComplexArray, float]:
    """Mean of exp(3 i phi) over three nearest neighbours, and their typical distance [px]."""
    distance, index = cKDTree(position_px).query(position_px, k=4)
    offset = position_px[index[:, 1:]] - position_px[:, None]
    direction = (offset[..., 1] - 1j * offset[..., 0]) / distance[:, 1:]
    return np.asarray((direction**3).mean(axis=1)), float(np.median(distance[:, 1]))


def contrast_ratio(data: FloatArray, sites: Sites, a_px: float) -> float | None:
    """Median brightness of the X2 columns over that of the metal's, above the local minimum.

    Parameters
    ----------
    data : array, `(H, W)`
    sites : Sites
    a_px : float
        Lattice constant [px].

    Returns
    -------
    float or None
        None where there are fewer than ten of either.
    """
    smooth = gaussian_filter(np.asarray(data, dtype=np.float32), 0.08 * a_px)
    dark = gaussian_filter(minimum_filter(smooth, max(3, int(1.2 * a_px))), a_px)
    at = np.clip(np.round(sites.position_px).astype(int), 0, np.asarray(data.shape) - 1)
    height = (smooth - dark)[at[:, 0], at[:, 1]]
    metal, host = height[sites.is_metal], height[sites.class_index == 1]
    if min(len(metal), len(host)) < _MIN_COLUMNS:
        return None
    return float(np.median(host) / np.median(metal))
