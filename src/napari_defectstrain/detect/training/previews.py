"""Before training: what an image says of its microscope, and simulated examples beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from ...crystal.calibration import estimate_pixel_size
from ...io.rasters import validate_image
from ...materials import Material
from ...simulate.conditions import Conditions
from ...types import CalibratedImage, DefectStrainError, FloatArray, IntArray, Progress, no_progress
from ..finding.prepare import normalise, resample
from ..network.config import CANONICAL_PIXEL_PM
from .windows import draw_window

RIM_PX = 12
"""Pixels around a window that it is normalised with and that are then cut away, as in training."""

_MIN_WINDOW_PX = 24
_SPREAD = {"pixel_size_pm": 0.15, "semi_angle_mrad": 0.10}
"""How far a range reaches on either side of the value of an image, as a fraction of it."""
_DOSE_FACTOR = 2.0

# Where a file's metadata may have them: our reader's keys, then those of our simulated samples.
_PLACES = {
    "energy_kev": (("beam_energy_kev",), ("simulation", "probe", "energy_kev")),
    "semi_angle_mrad": (
        ("semi_angle_mrad",),
        ("convergence_semi_angle_mrad",),
        ("simulation", "probe", "semi_angle_mrad"),
    ),
    "dose_e_per_nm2": (("dose_e_per_nm2",), ("simulation", "scan", "dose_e_per_nm2")),
}


@dataclass(frozen=True)
class Microscope:
    """What an image and its metadata say of how it was taken; None where they say nothing.

    Parameters
    ----------
    pixel_size_pm : float or None
        Side of a pixel: by the lattice where one is seen, else as stated [pm].
    by_lattice : bool
        Whether the pixel size is that of the lattice.
    energy_kev, semi_angle_mrad, dose_e_per_nm2 : float or None
        Beam energy [keV], convergence semi-angle [mrad], total dose [e-/nm^2].
    """

    pixel_size_pm: float | None
    by_lattice: bool
    energy_kev: float | None = None
    semi_angle_mrad: float | None = None
    dose_e_per_nm2: float | None = None


@dataclass(frozen=True)
class Example:
    """One window as the network sees it.

    Parameters
    ----------
    image : array, `(h, w)`
        At `CANONICAL_PIXEL_PM`, of even contrast, float32.
    centre_px : array, `(N, 2)`
        (y, x) of the columns that lie in it; empty for a real image [px].
    role : array, `(N,)`
        Index into `materials.ROLES` of each column.
    """

    image: FloatArray
    centre_px: FloatArray = field(default_factory=lambda: np.empty((0, 2)))
    role: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))


def read_microscope(image: CalibratedImage, material: Material) -> Microscope:
    """What can be known of how an image was taken.

    Parameters
    ----------
    image : CalibratedImage
        Its metadata may have ``beam_energy_kev``, ``semi_angle_mrad``, ``dose_e_per_nm2``.
    material : Material
        Gives the lattice constant that the pixel size is found by.

    Raises
    ------
    DefectStrainError
        If the pixels are no image (`rasters.validate_image`).
    """
    validate_image(image)
    stated = image.pixel_size_pm
    size: float | None
    try:
        # As in detection: near what is stated, where something is.
        size = estimate_pixel_size(image.data, material.lattice_pm, stated).pixel_size_pm
        by_lattice = True
    except DefectStrainError:
        size, by_lattice = stated, False
    found = {key: _first_number(image.metadata, places) for key, places in _PLACES.items()}
    if found["dose_e_per_nm2"] is not None:  # what is stated is that of a frame
        found["dose_e_per_nm2"] *= _first_number(image.metadata, (("frames",),)) or 1.0
    return Microscope(size, by_lattice, **found)


def _first_number(metadata: Mapping[str, Any], places: Sequence[tuple[str, ...]]) -> float | None:
    for place in places:
        value: Any = metadata
        for key in place:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, (int, float)) and np.isfinite(value) and value > 0:
            return float(value)
    return None


def conditions_like(microscope: Microscope, conditions: Conditions) -> Conditions:
    """Conditions narrowed to an image: what it doesn't say stays as it was.

    The pixel size is drawn within 15 % of the image's, the semi-angle within 10 %, the dose within
    a factor of two; the energy is the image's.
    """
    changes: dict[str, tuple[float, ...]] = {}
    for name, spread in _SPREAD.items():
        value = getattr(microscope, name)
        if value is not None:
            changes[name] = ((1 - spread) * value, (1 + spread) * value)
    if microscope.energy_kev is not None:
        changes["energy_kev"] = (microscope.energy_kev,)
    dose = microscope.dose_e_per_nm2
    if dose is not None:
        changes["dose_e_per_nm2"] = (dose / _DOSE_FACTOR, dose * _DOSE_FACTOR)
    return conditions.replace(**changes)


def preview_windows(
    conditions: Conditions,
    n: int,
    window_px: int,
    rng: np.random.Generator,
    progress: Progress = no_progress,
) -> list[Example]:
    """Examples of what a network is trained on under these conditions.

    Parameters
    ----------
    conditions : Conditions
    n : int
        Number of examples.
    window_px : int
        Side of each [px at `CANONICAL_PIXEL_PM`].
    rng : numpy.random.Generator
    progress : Progress
    """
    examples = []
    for i in range(n):
        progress(i / n, f"simulating example {i + 1} of {n}")
        window = draw_window(conditions, window_px, rng)
        centre = column_centres(window.labels)
        role = window.labels[tuple(centre.T)] - 1
        examples.append(Example(window.image, centre.astype(float), role))
    return examples


def column_centres(labels: IntArray) -> IntArray:
    """(y, x) of the columns of a label image [px], `(N, 2)`: the middles of 3 x 3 equal pixels."""
    same = maximum_filter(labels, 3) == minimum_filter(labels, 3)
    inside = np.zeros_like(same)
    inside[1:-1, 1:-1] = True
    return np.argwhere(same & inside & (labels > 0))


def image_window(
    image: CalibratedImage,
    pixel_size_pm: float,
    window_px: int,
    centre_px: Sequence[float] | None = None,
) -> Example:
    """A part of the user's own image, resampled and normalised as the examples are.

    Parameters
    ----------
    image : CalibratedImage
    pixel_size_pm : float
        Side of its pixels [pm].
    window_px : int
        Side of the part [px at `CANONICAL_PIXEL_PM`]; smaller where the image is.
    centre_px : (float, float), optional
        (y, x) of the middle of the part in the image [px], moved where the part would leave the
        image; default the image's middle.

    Raises
    ------
    DefectStrainError
        If the image is too small to be compared.
    """
    shape = np.asarray(image.data.shape)
    wanted = round((window_px + 2 * RIM_PX) * CANONICAL_PIXEL_PM / pixel_size_pm)
    side = np.minimum(wanted, shape)
    if side.min() * pixel_size_pm < (_MIN_WINDOW_PX + 2 * RIM_PX) * CANONICAL_PIXEL_PM:
        raise DefectStrainError(
            f"{image.name}: got an image {side.min() * pixel_size_pm * 1e-3:.2g} nm wide, expected "
            f"at least {(_MIN_WINDOW_PX + 2 * RIM_PX) * CANONICAL_PIXEL_PM * 1e-3:.2g} nm"
        )
    middle = (shape - 1) / 2 if centre_px is None else np.asarray(centre_px, dtype=float)
    start = np.clip(np.round(middle - side / 2).astype(int), 0, shape - side)
    cut = tuple(slice(a, a + n) for a, n in zip(start, side, strict=True))
    part = np.asarray(image.data[cut], dtype=np.float32)
    even = normalise(resample(part, pixel_size_pm, CANONICAL_PIXEL_PM))
    return Example(even[RIM_PX:-RIM_PX, RIM_PX:-RIM_PX][:window_px, :window_px])


def contrast_limits(examples: Sequence[Example]) -> tuple[float, float]:
    """Grey values of black and white that suit all examples: their 0.5 and 99.5 percentiles."""
    values = np.concatenate([e.image.ravel() for e in examples])
    low, high = np.percentile(values, (0.5, 99.5))
    return float(low), float(high)
