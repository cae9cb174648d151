"""Materials and the names of their column classes.

Inside, a class is a role; the material gives the name that people see.
"""

from __future__ import annotations

from dataclasses import dataclass

from .types import DefectStrainError

ROLES = ("metal", "X2", "XY", "Y2", "V1", "V2")
"""Order of the classes everywhere: probabilities, class indices, tables."""

DEFECT_ROLES = ("XY", "Y2", "V1", "V2")


@dataclass(frozen=True)
class Material:
    """A monolayer 2H-MX2 with a substituent Y on chalcogen sites.

    Parameters
    ----------
    metal, chalcogen, substituent : str
        Chemical symbols.
    lattice_pm : float
        Lattice constant a [pm].
    """

    metal: str
    chalcogen: str
    substituent: str
    lattice_pm: float

    @property
    def name(self) -> str:
        """Formula of the host, for instance ``WSe2``."""
        return f"{self.metal}{self.chalcogen}2"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of `ROLES`.

        >>> WSE2.class_names
        ('W', '2Se', 'SeTe', '2Te', 'SV', 'DV')
        """
        x, y = self.chalcogen, self.substituent
        return (self.metal, f"2{x}", f"{x}{y}", f"2{y}", "SV", "DV")


WSE2 = Material("W", "Se", "Te", 330.0)
MATERIALS: dict[str, Material] = {
    m.name: m
    for m in (
        WSE2,
        Material("Mo", "S", "Se", 316.0),
        Material("W", "S", "Se", 315.3),
        Material("Mo", "Se", "Te", 328.8),
        Material("Mo", "Te", "Se", 351.9),
        Material("W", "Te", "Se", 355.0),
    )
}


def get_material(name: str) -> Material:
    """The preset of that formula.

    Raises
    ------
    DefectStrainError
        If there is no such preset.
    """
    if name not in MATERIALS:
        raise DefectStrainError(
            f"material: got {name!r}, expected one of {', '.join(sorted(MATERIALS))}"
        )
    return MATERIALS[name]
