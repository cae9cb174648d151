"""Is it the material that it is said to be? Spacing and brightness of the columns against presets.

Neither is proof alone. Pixel sizes in files err by 5 to 7 %, as much as most presets differ in
spacing (WSe2 and MoSe2: 0.4 %). The brightness of the two sublattices depends on detector, energy
and probe; and their ratio tells MX2 from another only up to which of the two is the metal: MoSe2
looks like WSe2 with the sublattices exchanged.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, minimum_filter

from ...materials import MATERIALS, Material
from ...simulate.scattering import ELEMENTS, nominal_weights
from ...types import FloatArray, IntArray, Sites

SPACING_TOLERANCE = 0.02
"""Relative difference of the spacing that is worth a warning."""
_FITS = 0.015
"""Relative difference of the spacing within which a preset fits."""
_DIM_RANGE = ((0.75, 0.0), (1.2, 0.12))
"""What makes the ends of the range of the dimmer sublattice's brightness as a fraction of the
brighter's, from the nominal one: a factor for detectors and energies, a summand for blur."""
_MIN_COLUMNS = 10
_TILE_PX = 683
"""Sides of at most nine parts of a large image that its contrast is measured on."""


def identity_doubts(
    name: str, material: Material, measured_a_pm: float | None, ratio: float | None
) -> list[str]:
    """Reasons, a line each, to doubt that an image shows `material`; they name what fits better.

    Parameters
    ----------
    name : str
        Of the image.
    material : Material
        What it was classified as.
    measured_a_pm : float or None
        Lattice constant by the stated pixel size [pm]; None where none is stated.
    ratio : float or None
        `contrast_ratio` of the columns as classified; None where it isn't known.
    """
    spacing = contrast = ""
    if measured_a_pm is not None and not _spacing_fits(measured_a_pm, material, SPACING_TOLERANCE):
        spacing = (
            f"the spacing is {measured_a_pm:.0f} pm by the stated pixel size, expected "
            f"{material.lattice_pm:.0f} pm for {material.name}"
        )
    limits = contrast_range(material)
    if ratio is not None and limits is not None and not limits[0] <= ratio <= limits[1]:
        contrast = (
            f"columns of the chalcogen sublattice are {ratio:.2f} times as bright as the metal's, "
            f"expected {limits[0]:.2f} to {limits[1]:.2f} for {material.name}"
        )
    if not spacing and not contrast:
        return []
    others = [other for other in MATERIALS.values() if other.name != material.name]
    bright = [other for other in others if ratio is None or _contrast_fits(ratio, other)]
    better = [
        other.name
        for other in bright
        if not spacing or measured_a_pm is None or _spacing_fits(measured_a_pm, other, _FITS)
    ]
    fitting = f" ({' or '.join(better)} would fit)" if better else ""
    if spacing and contrast and not better and bright and measured_a_pm is not None:
        off = [f"{o.name} ({_per_cent_off(measured_a_pm, o)})" for o in bright]
        fitting = f" (by brightness {' or '.join(off)} would fit, with a calibration off by that)"
    if spacing and contrast:
        return [
            f"{name}: NOT {material.name}, or badly calibrated: {spacing}, and {contrast}{fitting};"
            " classes are not to be trusted: choose the material, or check pixel size and detector"
        ]
    if contrast:
        return [
            f"{name}: {contrast}: another material{fitting}, phase or detector range; classes are "
            "not to be trusted"
        ]
    assert measured_a_pm is not None
    error = f"a calibration that is off by {_per_cent_off(measured_a_pm, material)}"
    if better or ratio is None:
        return [f"{name}: {spacing}: another material{fitting}, or {error}"]
    return [
        f"{name}: {spacing}: {error}, or a material without a preset; the columns' brightness fits "
        f"{material.name}"
    ]


def _spacing_fits(a_pm: float, material: Material, tolerance: float) -> bool:
    return abs(a_pm / material.lattice_pm - 1) <= tolerance


def _per_cent_off(a_pm: float, material: Material) -> str:
    return f"{100 * (a_pm / material.lattice_pm - 1):+.1f} %"


def contrast_range(material: Material) -> tuple[float, float] | None:
    """Brightness of X2 columns over the metal's that images of a material show.

    By the cross sections of `simulate.scattering`, with room for what simulated images show at
    40 to 80 kV, detectors from 50-85 to 150-250 mrad, and any blur, tilt and contamination
    that training draws. None for elements without cross sections.

    >>> low, high = contrast_range(MATERIALS["WSe2"])
    >>> round(low, 2), round(high, 2)
    (0.56, 1.01)
    """
    if not {material.metal, material.chalcogen, material.substituent} <= set(ELEMENTS):
        return None
    nominal = nominal_weights(material)[1]
    dim = min(nominal, 1 / nominal)
    low, high = (factor * dim + summand for factor, summand in _DIM_RANGE)
    return (low, high) if nominal <= 1 else (1 / high, 1 / low)


def _contrast_fits(ratio: float, other: Material) -> bool:
    """Whether the ratio fits another material, the sublattices exchanged or not."""
    limits = contrast_range(other)
    return limits is not None and any(limits[0] <= r <= limits[1] for r in (ratio, 1 / ratio))


def contrast_ratio(data: FloatArray, sites: Sites, a_px: float) -> float | None:
    """Median brightness of the X2 columns over that of the metal's, above the local minimum.

    Parameters
    ----------
    data : array, `(H, W)`
        Of a large one, nine parts are looked at.
    sites : Sites
    a_px : float
        Lattice constant [px].

    Returns
    -------
    float or None
        None where there are fewer than ten of either.
    """
    metal, host = [], []
    is_metal, is_host = sites.is_metal, sites.class_index == 1
    for rows, columns in _parts((data.shape[0], data.shape[1])):
        corner = (rows.start, columns.start)
        at = np.round(sites.position_px).astype(int) - corner
        inside = np.all(
            (at >= 0) & (at < (rows.stop - rows.start, columns.stop - columns.start)), 1
        )
        height = _height(data[rows, columns], at[inside], a_px)
        metal.append(height[is_metal[inside]])
        host.append(height[is_host[inside]])
    metal_heights, host_heights = np.concatenate(metal), np.concatenate(host)
    if min(len(metal_heights), len(host_heights)) < _MIN_COLUMNS:
        return None
    return float(np.median(host_heights) / np.median(metal_heights))


def _parts(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """The image, or three by three parts spread over a large one."""
    spans = []
    for side in shape:
        size = min(side, _TILE_PX) if side > 3 * _TILE_PX else side
        starts = np.linspace(0, side - size, 3 if size < side else 1).astype(int)
        spans.append([slice(int(s), int(s) + size) for s in starts])
    return [(rows, columns) for rows in spans[0] for columns in spans[1]]


def _height(data: FloatArray, at: IntArray, a_px: float) -> FloatArray:
    """Brightness at pixels `at` (y, x) above the dark level around, `(N,)`.

    The dark level is the least value within the size of a unit cell, evened out; it varies slowly
    and is computed on cells of a quarter of a lattice constant.
    """
    smooth = gaussian_filter(np.asarray(data, dtype=np.float32), 0.08 * a_px)
    cell = max(1, int(a_px / 4))
    lack = [(0, -n % cell) for n in smooth.shape]
    blocks = np.pad(smooth, lack, mode="edge")
    rows, columns = (n // cell for n in blocks.shape)
    least = blocks.reshape(rows, cell, columns, cell).min(axis=(1, 3))
    dark = gaussian_filter(minimum_filter(least, 5), a_px / cell)
    place = at // cell
    return np.asarray(smooth[at[:, 0], at[:, 1]] - dark[place[:, 0], place[:, 1]])
