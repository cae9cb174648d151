"""Contamination as it was measured: the low-frequency contrast of a real image.

Lee et al. (doi 10.1021/acs.nanolett.0c00269, SI 2.2) took it from their experimental images; of all
post-processing it raised the precision on experimental data the most.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter, minimum_filter

from ..io.files import read_file, write_tiff
from ..types import CalibratedImage, DefectStrainError, FloatArray
from .acquisition import ScanConfig

_SMOOTH = 0.9
"""Sigma that wipes out the lattice and keeps what is slower [a]."""


def extract_background(image: CalibratedImage, lattice_pm: float) -> FloatArray:
    """Contamination of an image in units of a metal column's height, `(H, W)`, at least zero.

    The lattice is smoothed away; what is left above its cleanest 5 % is contamination. The height
    of a metal column is the typical contrast between the brightest and the darkest within a cell.

    Parameters
    ----------
    image : CalibratedImage
        With a pixel size.
    lattice_pm : float
        Lattice constant [pm].

    Raises
    ------
    DefectStrainError
        Without a pixel size, or where nothing like columns is seen.
    """
    if image.pixel_size_pm is None:
        raise DefectStrainError(
            f"{image.name}: got no pixel size, expected one to take the contamination's scale from"
        )
    a_px = lattice_pm / image.pixel_size_pm
    data = np.asarray(image.data, dtype=np.float32)
    fine = gaussian_filter(data, 0.08 * a_px)
    cell = max(3, int(1.2 * a_px))
    height = float(np.median(maximum_filter(fine, cell) - minimum_filter(fine, cell)))
    if not height > 0:
        raise DefectStrainError(
            f"{image.name}: got an image without contrast, expected columns of atoms"
        )
    slow = gaussian_filter(data, _SMOOTH * a_px)
    return np.asarray(np.clip(slow - np.percentile(slow, 5), 0, None) / height)


def write_background(path: Path, image: CalibratedImage, lattice_pm: float) -> None:
    """Extract a contamination and write it as a TIFF for `Conditions.background`."""
    field = extract_background(image, lattice_pm).astype(np.float32)
    write_tiff(path, field, image.pixel_size_pm, {"contamination_of": image.name})


@lru_cache(maxsize=2)
def _read_background(path: Path) -> tuple[FloatArray, float]:
    found = read_file(path)
    if found.is_stack or found.pixel_size_pm is None:
        raise DefectStrainError(
            f"{path.name}: got {found.data.ndim} dimensions and a pixel size of "
            f"{found.pixel_size_pm}, expected one calibrated image, as write_background makes it"
        )
    return np.asarray(found.data, dtype=float), found.pixel_size_pm


def measured_contamination(path: Path, scan: ScanConfig, rng: np.random.Generator) -> FloatArray:
    """A random cut of a measured contamination, turned and mirrored, `scan.shape`.

    Where the field of view is larger than the image, it is continued by its mirror images.
    """
    field, pixel_size_pm = _read_background(path)
    scale = scan.pixel_size_pm / pixel_size_pm
    angle = rng.uniform(0, 2 * np.pi)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    rows, columns = np.indices(scan.shape).reshape(2, -1).astype(float)
    place = turn @ np.stack([rows, columns]) + (rng.random(2) * np.asarray(field.shape)).reshape(
        2, 1
    )
    dirt = map_coordinates(field, place, order=1, mode="mirror")
    return np.asarray(dirt.reshape(scan.shape) * rng.uniform(0.5, 1.5))
