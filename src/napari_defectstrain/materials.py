"""Materials and the names of their column classes.

Inside, a class is a role; the material gives the name that people see.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .types import ON_METAL, DefectStrainError

ROLES = ("metal", "X2", "XY", "Y2", "V1", "V2", "other")
"""Order of the classes everywhere: probabilities, class indices, tables.

``other`` takes what fits none of them: adatoms, antisites, metal vacancies and substitutions, one Y
alone, X beside a light atom, columns of another phase.
"""

DEFECT_ROLES = ("XY", "Y2", "V1", "V2")
"""The defects that are averaged: each a class of identical columns, which ``other`` is not."""


NAMED_ROLE = "named"
"""Role of every class that is named beside these."""


@dataclass(frozen=True)
class NamedClass:
    """A class of columns beside the material's own, told by its weight.

    Parameters
    ----------
    name : str
        What people call it: a letter, then letters, digits and ``- _ ( )``.
    weight : float
        Brightness in units of the metal's.
    on_metal : bool
        Whether it lies on metal sites; else on chalcogen sites.

    Examples
    --------
    >>> str(NamedClass("SSe", 0.52)), str(NamedClass("Mo", 0.4, on_metal=True))
    ('SSe=0.52', 'Mo=0.4@metal')
    """

    name: str
    weight: float
    on_metal: bool = False

    @property
    def class_name(self) -> str:
        """What it is called in tables, which says its sites where they are the metal's."""
        return self.name + (ON_METAL if self.on_metal else "")

    def __str__(self) -> str:
        return f"{self.name}={self.weight:g}" + (ON_METAL if self.on_metal else "")


PART = "."
"""What stands between a class and the number of its part: no class has it in its name."""


def whole_class(class_name: str) -> str:
    """The class that another one is a part of; of a whole one itself.

    >>> whole_class("SV.2"), whole_class("SV")
    ('SV', 'SV')
    """
    return class_name.split(PART)[0]


METAL_SITES, CHALCOGEN_SITES = "metal", "chalcogen"
_SIGMAS_95 = 1.959964


@dataclass(frozen=True)
class OpenClass:
    """A class that the columns of a run agree on, and that nobody named.

    Parameters
    ----------
    sites : str
        ``metal`` or ``chalcogen``.
    weight, weight_sigma : float
        In units of the metal's.
    share, share_sigma : float
        Fraction of the columns of its sublattice.
    columns : float
        How many there are, expected.
    """

    sites: str
    weight: float
    weight_sigma: float
    share: float
    share_sigma: float
    columns: float

    @property
    def share_95(self) -> tuple[float, float]:
        """Interval of 95 % of the share."""
        reach = _SIGMAS_95 * self.share_sigma
        return max(self.share - reach, 0.0), min(self.share + reach, 1.0)

    @property
    def note(self) -> str:
        """For people: what it is, and how it becomes a class like any other.

        >>> OpenClass("metal", 0.474, 0.004, 0.011, 0.001, 107).note
        'another class at 0.474 ± 0.004 of the metal on metal sites, 1.1 ± 0.2 % of them (107 \
columns); to count it by name, add the class NAME=0.474@metal'
        """
        named = NamedClass("NAME", round(self.weight, 3), self.sites == METAL_SITES)
        reach = _SIGMAS_95 * self.share_sigma
        return (
            f"another class at {self.weight:.3f} ± {self.weight_sigma:.3f} of the metal on "
            f"{self.sites} sites, {100 * self.share:.1f} ± {100 * reach:.1f} % of them "
            f"({self.columns:.0f} columns); to count it by name, add the class {named}"
        )

    @property
    def record(self) -> dict[str, object]:
        """For ``run.json``."""
        return {
            "sites": self.sites,
            "weight": self.weight,
            "weight_sigma": self.weight_sigma,
            "share": self.share,
            "share_95": list(self.share_95),
            "columns": self.columns,
        }


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
    named : tuple of NamedClass
        Classes beside those of `ROLES`: those on chalcogen sites come first.
    """

    metal: str
    chalcogen: str
    substituent: str
    lattice_pm: float
    thickness_pm: float = 330.0
    named: tuple[NamedClass, ...] = ()

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.named, key=lambda c: c.on_metal))
        object.__setattr__(self, "named", ordered)

    @property
    def name(self) -> str:
        """Formula of the host, for instance ``WSe2``."""
        return f"{self.metal}{self.chalcogen}2"

    @property
    def label(self) -> str:
        """What `get_material` knows it by.

        >>> get_material("NbSe2(S, 344.5)").label
        'NbSe2(S, 344.5)'
        >>> get_material("WSe2 + SSe=0.52").label
        'WSe2 + SSe=0.52'
        """
        host = self.host
        label = self.name
        if MATERIALS.get(self.name) != host:
            label = f"{self.name}({self.substituent}, {self.lattice_pm:g})"
        return " + ".join([label, *(str(c) for c in self.named)])

    @property
    def host(self) -> Material:
        """The same without named classes: what the network knows."""
        return replace(self, named=())

    @property
    def named_chalcogens(self) -> tuple[NamedClass, ...]:
        """Named classes on chalcogen sites."""
        return tuple(c for c in self.named if not c.on_metal)

    @property
    def named_metals(self) -> tuple[NamedClass, ...]:
        """Named classes on metal sites."""
        return tuple(c for c in self.named if c.on_metal)

    @property
    def all_class_names(self) -> tuple[str, ...]:
        """Names of the classes of `ROLES`, then of the named ones: what `Sites` carry.

        >>> get_material("WSe2 + SSe=0.52").all_class_names[-2:]
        ('other', 'SSe')
        """
        return (*self.class_names, *(c.class_name for c in self.named))

    def role_of(self, class_name: str) -> str:
        """Role of a class, or of the one it is a part of; `NAMED_ROLE` for the named ones."""
        index = self.all_class_names.index(whole_class(class_name))
        return ROLES[index] if index < len(ROLES) else NAMED_ROLE

    def in_order(self, class_names: Iterable[str]) -> list[str]:
        """Those of the names that are classes of this material, in its order, parts last.

        >>> WSE2.in_order(["SV.2", "DV", "SV", "SV.1", "strange"])
        ['SV', 'DV', 'SV.1', 'SV.2']
        """
        order = {name: k for k, name in enumerate(self.all_class_names)}
        known = [n for n in class_names if whole_class(n) in order]
        return sorted(known, key=lambda n: (n not in order, order[whole_class(n)], n))

    @property
    def averaged_names(self) -> tuple[str, ...]:
        """Names of the defects that are averaged: `defect_names` and the named ones."""
        return (*self.defect_names, *(c.class_name for c in self.named))

    @property
    def references(self) -> tuple[str, ...]:
        """The perfect columns that averages are measured against: of chalcogen and metal sites."""
        return self.class_names[1], self.class_names[0]

    def reference_of(self, class_name: str) -> str:
        """The class that another one is measured against.

        >>> material = get_material("WSe2 + SSe=0.52 + Mo=0.4@metal")
        >>> [material.reference_of(name) for name in ("SV", "SSe", "Mo@metal", "W")]
        ['2Se', '2Se', 'W', 'W']
        """
        whole = whole_class(class_name)
        on_metal = whole == self.metal or whole.endswith(ON_METAL)
        return self.metal if on_metal else self.class_names[1]

    def spacing_between(self, class_names: Iterable[str]) -> str:
        """What spacings of these classes are between: the columns that are nearest to their site.

        >>> material = get_material("WSe2 + Mo=0.4@metal")
        >>> [material.spacing_between(n) for n in (["2Se", "SV"], ["W", "Mo@metal"])]
        ['W–W spacing', 'spacing of the nearest 2Se columns']
        >>> material.spacing_between(["SV", "Mo@metal"])
        'W–W spacing, around metal sites that of 2Se'
        """
        metal, chalcogen = self.metal, self.class_names[1]
        own = {self.reference_of(name) for name in class_names}
        if own <= {chalcogen}:
            return f"{metal}–{metal} spacing"
        if own == {metal}:
            return f"spacing of the nearest {chalcogen} columns"
        return f"{metal}–{metal} spacing, around metal sites that of {chalcogen}"

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


_NAMED = re.compile(r"([A-Za-z][\w()-]*)\s*=\s*(-?\d*\.?\d+)\s*(@metal)?", re.ASCII)
SUBSTITUTED = "x"
"""What tables of populations call the substituted fraction: no class has this name."""
_NAMED_WEIGHT = (-0.2, 4.0)  # of a column, in the metal's


def get_material(name: str) -> Material:
    """The preset of that formula, or the material that ``MX2(Y, a)`` spells out.

    Classes beside the material's own are added to either, each with a plus: ``NAME=WEIGHT``, or
    ``NAME=WEIGHT@metal`` on metal sites.

    >>> get_material("NbSe2(S, 344.5)").class_names[:4]
    ('Nb', '2Se', 'SeS', '2S')
    >>> [str(c) for c in get_material("WSe2 + SSe=0.52 + Mo=0.4@metal").named]
    ['SSe=0.52', 'Mo=0.4@metal']

    Raises
    ------
    DefectStrainError
        If it is neither, if two of its classes have the same name or one that of `SUBSTITUTED`, or
        if its lattice constant or the weight of a class is none.
    """
    host, *added = (part.strip() for part in name.split("+"))
    material = _host(host)
    if not added:
        return material
    named = replace(material, named=tuple(_named(text) for text in added))
    names = [n.casefold() for n in named.all_class_names]
    twice = sorted({n for n in named.all_class_names if names.count(n.casefold()) > 1})
    if twice:
        raise DefectStrainError(
            f"class {twice[0]}: got the name twice, expected another one than "
            f"{', '.join(material.class_names)}, each once"
        )
    if SUBSTITUTED in named.all_class_names:
        raise DefectStrainError(
            f"class {SUBSTITUTED}: got the name that tables give to the substituted fraction, "
            "expected another one"
        )
    return named


def with_classes(material: str, added: Sequence[str]) -> str:
    """Name of a material with classes added to it, as `get_material` reads it.

    >>> with_classes("WSe2", ["SSe=.52"])
    'WSe2 + SSe=0.52'
    """
    return get_material(" + ".join([material, *added])).label


def _named(text: str) -> NamedClass:
    found = _NAMED.fullmatch(text)
    low, high = _NAMED_WEIGHT
    if found is None or not low <= float(found[2]) <= high:
        raise DefectStrainError(
            f"class: got {text!r}, expected NAME=WEIGHT, or NAME=WEIGHT@metal for one on metal "
            f"sites, with a weight of {low:g} to {high:g} in units of the metal's, such as SSe=0.52"
        )
    return NamedClass(found[1], float(found[2]), found[3] is not None)


def _host(name: str) -> Material:
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
