"""What detection finds: a word of its own, so that whoever is sent it needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from ...materials import OpenClass
from ...types import Sites


@dataclass(frozen=True)
class Detection:
    """Columns found in one image.

    Parameters
    ----------
    sites : Sites
    pixel_size_pm : float
        Pixel size that the network was given: that of the lattice where one was found [pm].
    weights_sha256 : str
    material : str
    warnings : tuple of str
    overconfidence : tuple of float
        By role, see `calibration.Calibration`; empty where it isn't known.
    open_classes : tuple of OpenClass
        What the judge found beside the material's classes in the images of the run, see
        `judge.open_classes`.
    """

    sites: Sites
    pixel_size_pm: float
    weights_sha256: str
    material: str
    warnings: tuple[str, ...]
    overconfidence: tuple[float, ...] = ()
    open_classes: tuple[OpenClass, ...] = ()
