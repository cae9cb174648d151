"""What makes a detection doubtful: a picture that isn't of the model's material."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, minimum_filter

from ..materials import Material
from ..types import CalibratedImage, FloatArray, Sites

CONTRAST_RANGE = (0.5, 0.92)
"""Brightness of X2 columns over that of the metal's for WSe2: 0.65-0.75, blurred by the probe."""
_MIN_COLUMNS = 10


def doubts(image: CalibratedImage, sites: Sites, material: Material, pixel_pm: float) -> list[str]:
    """Reasons, a line each, not to trust the classes found in an image."""
    ratio = contrast_ratio(image.data, sites, material.lattice_pm / pixel_pm)
    if ratio is None:
        return [f"{image.name}: too few columns to check that this is {material.name}"]
    low, high = CONTRAST_RANGE
    if not low <= ratio <= high:
        return [
            f"{image.name}: columns of the chalcogen sublattice are {ratio:.2f} times as bright as "
            f"the metal's, expected {low:g} to {high:g} for {material.name}: another material, "
            "phase or detector range; classes are not to be trusted"
        ]
    return []


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
