"""Materials and the names of their column classes.

Inside, a class is a role; the material gives the name that people see.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .types import DefectStrainError

ROLES = ("metal", "X2", "XY", "Y2", "V1", "V2", "other")
"""Order of the classes everywhere: probabilities, class indices, tables.

``other`` takes what fits none of them: adatoms, antisites, metal vacancies and substitutions, one Y
alone, X beside a light atom, columns of another phase.
"""

DEFECT_ROLES = ("XY", "Y2", "V1", "V2")
"""The defects that are averaged: each a class of identical columns, which ``other`` is not."""


@dataclass(frozen=True)
class Material:
    """A monolayer 2H-MX2 with a substituent Y on chalcogen sites.

    Parameters
    ----------
    metal, chalcogen, substituent : str
        Chemical symbols.
    lattice_pm : float
        Lattice constant a [pm].
    thickness_pm : float
        Distance of the two chalcogen layers [pm].
    """

    metal: str
    chalcogen: str
    substituent: str
    lattice_pm: float
    thickness_pm: float = 330.0

    @property
    def name(self) -> str:
        """Formula of the host, for instance ``WSe2``."""
        return f"{self.metal}{self.chalcogen}2"

    @property
    def label(self) -> str:
        """What `get_material` knows it by.

        >>> get_material("NbSe2(S, 344.5)").label
        'NbSe2(S, 344.5)'
        """
        if MATERIALS.get(self.name) == self:
            return self.name
        return f"{self.name}({self.substituent}, {self.lattice_pm:g})"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of `ROLES`.

        >>> WSE2.class_names
        ('W', '2Se', 'SeTe', '2Te', 'SV', 'DV', 'other')
        """
        x, y = self.chalcogen, self.substituent
        return (self.metal, f"2{x}", f"{x}{y}", f"2{y}", "SV", "DV", "other")

    @property
    def defect_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of `DEFECT_ROLES`.

        >>> WSE2.defect_names
        ('SeTe', '2Te', 'SV', 'DV')
        """
        names = dict(zip(ROLES, self.class_names, strict=True))
        return tuple(names[role] for role in DEFECT_ROLES)


WSE2 = Material("W", "Se", "Te", 330.0, 336.0)
MATERIALS: dict[str, Material] = {
    m.name: m
    for m in (
        WSE2,
        Material("Mo", "S", "Se", 316.0, 313.0),
        Material("W", "S", "Se", 315.3, 314.0),
        Material("Mo", "Se", "Te", 328.8, 334.0),
        Material("Mo", "Te", "Se", 351.9, 361.0),
        Material("W", "Te", "Se", 355.0, 361.0),
    )
}


ANY_MATERIAL = "any"
"""Among the materials of a training: those that no preset knows, by random cross sections."""

_FORMULA = re.compile(r"([A-Z][a-z]?)([A-Z][a-z]?)2\(([A-Z][a-z]?),\s*(\d+\.?\d*)\)", re.ASCII)
_LATTICE_PM = (200.0, 600.0)  # of any crystal of this kind


def get_material(name: str) -> Material:
    """The preset of that formula, or the material that ``MX2(Y, a)`` spells out.

    >>> get_material("NbSe2(S, 344.5)").class_names[:4]
    ('Nb', '2Se', 'SeS', '2S')

    Raises
    ------
    DefectStrainError
        If it is neither, if two of its classes have the same name, or if its lattice constant is
        none.
    """
    if name in MATERIALS:
        return MATERIALS[name]
    spelt = _FORMULA.fullmatch(name)
    if spelt is None:
        raise DefectStrainError(
            f"material: got {name!r}, expected one of {', '.join(sorted(MATERIALS))}, or a formula "
            "with the substituent and the lattice constant in pm, such as 'NbSe2(S, 344.5)'"
        )
    metal, chalcogen, substituent, lattice = spelt.groups()
    material = Material(metal, chalcogen, substituent, float(lattice))
    names = material.class_names
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice or len({metal, chalcogen, substituent}) < 3:
        raise DefectStrainError(
            f"material: got {name!r}, in which {' and '.join(twice) or metal} would stand for two "
            "things, expected three different elements"
        )
    low, high = _LATTICE_PM
    if not low <= material.lattice_pm <= high:
        raise DefectStrainError(
            f"material: got {name!r} with a lattice constant of {material.lattice_pm:g} pm, "
            f"expected {low:g} to {high:g} pm"
        )
    return material
