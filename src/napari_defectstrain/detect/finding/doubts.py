"""What makes a detection doubtful: columns that form no single 2H honeycomb, or have no class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from ...materials import Material
from ...types import CalibratedImage, FloatArray, Sites

_MAX_IRREGULAR = 0.03
_SURE = 0.8
_MAX_UNSURE = 0.15
_MAX_OPPOSED = 0.02

ComplexArray = npt.NDArray[np.complexfloating[Any, Any]]


def doubts(image: CalibratedImage, sites: Sites, material: Material) -> list[str]:
    """Reasons, a line each, not to trust the classes found in an image; see also `identity`."""
    name, found = image.name, []
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
