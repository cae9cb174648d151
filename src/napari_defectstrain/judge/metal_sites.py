"""Which sublattice is the metal's, where it was learnt that chalcogen columns differ.

A network tells metals by their brightness, and in an alloy the chalcogen columns may outshine them:
half of Te in WSe2 makes the mean one brighter than W. But metals all weigh the same. Where labels
said that chalcogen columns differ much, the sublattice whose columns do is theirs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from ..materials import ROLES
from ..types import METAL, BoolArray, CalibratedImage, DefectStrainError, FloatArray, Sites
from .learnt import DECILES, LearntClasses
from .places import column_domains, lattice_places

_CLEARLY = 1.5
"""How many times farther the chalcogen's sublattice reaches."""
_WIDTH, _AROUND = 0.1, 1.5
"""Lattice constants: of the mean over a column's middle, and of what it rises above."""
_LEAST_COLUMNS = 30


def with_metals_told(
    image: CalibratedImage, sites: Sites, pixel_pm: float, a_pm: float, learnt: LearntClasses | None
) -> Sites:
    """The columns, their sublattices exchanged where the one called metal varies most.

    Each domain is asked for itself. What the network says of an exchanged one is worth nothing:
    its chalcogen columns may be of any class, as often as was learnt.

    Parameters
    ----------
    image : CalibratedImage
    sites : Sites
        Columns found in it.
    pixel_pm, a_pm : float
        Side of a pixel and lattice constant [pm].
    learnt : LearntClasses or None
        Without weights and shares nothing is exchanged.
    """
    if learnt is None or not learnt.tells_sublattices:
        return sites
    try:
        places = lattice_places(sites, a_pm)
    except DefectStrainError:  # who weighs the columns says so
        return sites
    height = _heights(image, sites.position_px, a_pm / pixel_pm)
    domain = column_domains(np.asarray(sites.position_px, dtype=float))
    wrong = np.zeros(len(sites), dtype=bool)
    for label in range(int(domain.max(initial=-1)) + 1):
        mine = places.on_lattice & (domain == label)
        metal, other = height[mine & places.is_metal], height[mine & ~places.is_metal]
        if min(len(metal), len(other)) >= _LEAST_COLUMNS:
            wrong |= mine & (_reach(metal) > _CLEARLY * _reach(other))
    return _exchanged(sites, wrong, places.is_metal, learnt) if wrong.any() else sites


def _heights(image: CalibratedImage, position_px: FloatArray, a_px: float) -> FloatArray:
    """What columns rise above their surroundings by, `(N,)`."""
    data = np.asarray(image.data, dtype=float)
    rise = gaussian_filter(data, _WIDTH * a_px) - gaussian_filter(data, _AROUND * a_px)
    return np.asarray(map_coordinates(rise, position_px.T, order=1, mode="nearest"))


def _reach(height: FloatArray) -> float:
    return float(np.ptp(np.quantile(height, DECILES)))


def _exchanged(
    sites: Sites, wrong: BoolArray, was_metal: BoolArray, learnt: LearntClasses
) -> Sites:
    probabilities = np.array(sites.probabilities, dtype=float)
    chance = np.zeros(probabilities.shape[1])
    chance[1 : len(ROLES)] = learnt.share
    chance /= chance.sum()
    metal = np.eye(len(chance))[METAL]
    probabilities[wrong] = np.where(was_metal[wrong, None], chance, metal)
    index = np.array(sites.class_index)
    index[wrong] = np.where(was_metal[wrong], chance.argmax(), METAL)
    return replace(sites, probabilities=probabilities, class_index=index)
