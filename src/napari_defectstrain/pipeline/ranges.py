"""Images taken under conditions that the network and the cross sections weren't made for.

Nothing is refused: what lies outside is named, in every run. What a file doesn't say can't be
checked; the pixel size always is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..detect.network.bundled import bundled_weights, trained_conditions
from ..detect.network.config import DetectConfig
from ..materials import get_material
from ..simulate.conditions import Conditions
from ..types import CalibratedImage
from ..units import PM_PER_NM

_ELECTRONS_PER_PA_US = 6.2415
"""Electrons of one picoampere in one microsecond."""
_CROSS_SECTIONS = Conditions()
"""Energies and angles that the judge's brightness of columns was compared with multislice at."""
_SLACK = 1e-3  # relative: a file's 79.99 kV are 80


@dataclass(frozen=True)
class OutOfRange:
    """One condition of one image that lies outside of what something was made for.

    Parameters
    ----------
    image : str
    quantity, unit : str
    value, low, high : float
    made : str
        What was made for the range from `low` to `high`.
    """

    image: str
    quantity: str
    unit: str
    value: float
    low: float
    high: float
    made: str

    def __str__(self) -> str:
        return (
            f"{self.image}: {self.quantity} {self.value:.4g} {self.unit}, outside of what "
            f"{self.made} made for ({self.low:.4g} to {self.high:.4g}): check what it is told"
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def trained_for(config: DetectConfig) -> Conditions:
    """The conditions that the network was trained on.

    Raises
    ------
    DefectStrainError
        If its weights aren't a file of ours.
    """
    host = get_material(config.material).host.label
    path = Path(config.weights) if config.weights else bundled_weights(host)
    return trained_conditions(path)


def out_of_range(
    images: Sequence[CalibratedImage], trained: Conditions | None
) -> tuple[OutOfRange, ...]:
    """What of voltage, angles, sampling and dose lies outside of the ranges that were trained for.

    Parameters
    ----------
    images : sequence of CalibratedImage
    trained : Conditions or None
        Of the network; None where it wasn't asked (columns were given): then the cross sections'
        range counts for voltage and detector angles alone.
    """
    made = "the network and the cross sections were"
    conditions = trained or _CROSS_SECTIONS
    if trained is None:
        made = "the cross sections were"
    ranges = {
        "beam energy": ("kV", _span(conditions.energy_kev)),
        "inner detector angle": ("mrad", conditions.inner_mrad),
        "outer detector angle": ("mrad", conditions.outer_mrad),
    }
    optical = {
        "semi-angle": ("mrad", conditions.semi_angle_mrad),
        "pixel size": ("pm", conditions.pixel_size_pm),
        "dose": ("e-/nm2", conditions.dose_e_per_nm2),
    }
    found = []
    for image in images:
        known = conditions_of(image)
        groups = [(ranges, made)]
        if trained is not None:
            groups.append((optical, "the network was"))
        for group, whose in groups:
            for quantity, (unit, (low, high)) in group.items():
                value = known.get(quantity)
                if value is None or low * (1 - _SLACK) <= value <= high * (1 + _SLACK):
                    continue
                found.append(OutOfRange(image.name, quantity, unit, value, low, high, whose))
    return tuple(found)


def conditions_of(image: CalibratedImage) -> dict[str, float]:
    """What is known of how an image was taken.

    Parameters
    ----------
    image : CalibratedImage

    Returns
    -------
    dict of quantity to float
        ``beam energy`` [kV], ``semi-angle``, ``inner detector angle``, ``outer detector angle``
        [mrad], ``pixel size`` [pm], ``dose`` of all frames [e-/nm2]; what isn't known is missing.
    """
    simulation = image.metadata.get("simulation")
    nested: Mapping[str, Any] = simulation if isinstance(simulation, Mapping) else {}
    probe, scan = (_mapping(nested.get(name)) for name in ("probe", "scan"))
    given = {
        "beam energy": image.metadata.get("beam_energy_kev", probe.get("energy_kev")),
        "semi-angle": image.metadata.get("semi_angle_mrad", probe.get("semi_angle_mrad")),
        "inner detector angle": image.metadata.get("inner_mrad"),
        "outer detector angle": image.metadata.get("outer_mrad"),
        "pixel size": image.pixel_size_pm,
        "dose": _dose(image, image.metadata.get("dose_e_per_nm2", scan.get("dose_e_per_nm2"))),
    }
    return {
        name: float(value)
        for name, value in given.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _span(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _dose(image: CalibratedImage, of_frame: object) -> float | None:
    """Of all frames: each of a stated dose, else by current, dwell and pixel size [e-/nm2]."""
    frames = image.metadata.get("frames", 1)
    if isinstance(of_frame, int | float) and of_frame > 0:
        return float(of_frame) * float(frames)
    current, dwell = (image.metadata.get(name) for name in ("beam_current_pa", "dwell_time_us"))
    known = all(isinstance(v, int | float) and v > 0 for v in (current, dwell))
    if not known or image.pixel_size_pm is None:
        return None
    assert current is not None and dwell is not None
    electrons = _ELECTRONS_PER_PA_US * float(current) * float(dwell) * float(frames)
    return electrons / (image.pixel_size_pm / PM_PER_NM) ** 2
