"""What a network is told of the material: how bright its columns should be."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...materials import get_material
from ...simulate.scattering import nominal_weights, weights_by_atoms
from ...types import FloatArray

N_CONDITIONS = 4


@lru_cache(maxsize=64)
def material_condition(material: str) -> FloatArray:
    """Logarithms of the nominal brightness of X2, XY, Y2 and V1 relative to the metal's, `(4,)`.

    Parameters
    ----------
    material : str
        Name that `materials.get_material` knows.
    """
    weights = nominal_weights(get_material(material))
    return np.log(np.array(weights[1:5]))


def condition_by_atoms(x: float, y: float) -> FloatArray:
    """The same by the brightness of one X and one Y relative to the metal's, `(4,)`."""
    return np.log(np.array(weights_by_atoms(x, y)[1:5]))
