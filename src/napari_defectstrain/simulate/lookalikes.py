"""Columns that look like point defects of the chalcogen sites and are none: the class "other"."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ..materials import ROLES, Material, get_material
from ..types import FloatArray
from .scattering import relative_weight

OTHER = ROLES.index("other")


@dataclass(frozen=True)
class Lookalike:
    """One kind of column of the class "other".

    Parameters
    ----------
    name : str
        With X, Y, M and M' (the other metal), Z (a lighter chalcogen) and V for the elements.
    place : str
        ``chalcogen``, ``metal`` or ``hexagon`` (the empty centre of a hexagon).
    atoms : tuple of str
        What the column holds: top, middle and bottom layer, each of X, Y, Z, M, M', V, O or
        nothing.
    spacing_change : float
        Relative change of the spacing of its three nearest columns that training draws around.
    """

    name: str
    place: str
    atoms: tuple[str, str, str]
    spacing_change: float = 0.0


LOOKALIKES: tuple[Lookalike, ...] = (
    Lookalike("1Y", "chalcogen", ("Y", "", ""), -0.02),
    Lookalike("X+O", "chalcogen", ("X", "", "O"), -0.03),
    Lookalike("X adatom on 2X", "chalcogen", ("XX", "", "X")),
    Lookalike("M on 2X site", "chalcogen", ("", "M", ""), -0.02),
    Lookalike("metal vacancy", "metal", ("", "", ""), 0.02),
    Lookalike("M' on M site", "metal", ("", "M'", "")),
    Lookalike("2X on M site", "metal", ("X", "", "X"), 0.03),
    Lookalike("X adatom on M", "metal", ("X", "M", "")),
    Lookalike("X adatom", "hexagon", ("X", "", "")),
    Lookalike("M adatom", "hexagon", ("M", "", "")),
    Lookalike("2Z", "chalcogen", ("Z", "", "Z"), -0.01),
    Lookalike("X+Z", "chalcogen", ("X", "", "Z"), -0.005),
    Lookalike("V on M site", "metal", ("", "V", ""), -0.01),
    Lookalike("M+X on 2X site", "chalcogen", ("X", "M", "")),
)
"""The look-alikes; the kind of a column is 1 + its place here, 0 for none."""

FIRST_KINDS = 10
"""How many kinds settings of older files know: the others are zero there."""

ALLOYED = next(i for i, look in enumerate(LOOKALIKES) if look.name == "M' on M site")
"""The look-alike whose fraction makes an alloy of two metals; its place in `LOOKALIKES`."""
LIGHTER = tuple(i for i, look in enumerate(LOOKALIKES) if "Z" in look.name)
"""Those of a host that was converted from one of a lighter chalcogen."""

NOT_2H = len(LOOKALIKES) + 1
"""Kind of the columns of another phase."""


STACKED: dict[str, tuple[str, str, str]] = {
    "M+2X": ("X", "M", "X"),
    "M+X": ("X", "M", ""),
    "B": ("", "B", ""),
}
"""Columns of two layers on top of each other, and boron beside nitrogen that counts as a metal."""
_VANADIUM_BY_SILICON = (23 / 14) ** 1.7
_BORON_BY_NITROGEN = (5 / 7) ** 1.7


def stacked_row(name: str) -> int:
    """Row of `layer_weights` of a column of `STACKED`."""
    return OTHER + len(LOOKALIKES) + list(STACKED).index(name)


def kind_names(material: Material) -> tuple[str, ...]:
    """Name of each kind in truth tables; empty for the ordinary columns.

    >>> kind_names(get_material("WSe2"))[:3]
    ('', '1Te', 'Se+O')
    """
    spelt = []
    for look in LOOKALIKES:
        name = look.name.replace("M'", other_metal(material))
        for letter, element in (
            ("M", material.metal),
            ("X", material.chalcogen),
            ("Y", material.substituent),
            ("Z", lighter_chalcogen(material)),
        ):
            name = _replace_letter(name, letter, element)
        spelt.append(name)
    return ("", *spelt, "not 2H")


def _replace_letter(name: str, letter: str, element: str) -> str:
    """Only where the letter stands alone or counts: "2X", "X+O", not the M of "Mo"."""
    return re.sub(rf"(?<![A-Za-z]){letter}(?![A-Za-z])", element, name)


def other_metal(material: Material) -> str:
    """The metal that commonly replaces this one."""
    return "Mo" if material.metal != "Mo" else "W"


def lighter_chalcogen(material: Material) -> str:
    """What takes the place of X where it is lighter and isn't the substituent: S, Se, or O."""
    order = {"Te": ("S", "Se"), "Se": ("S", "O")}.get(material.chalcogen, ("O",))
    return next((z for z in order if z != material.substituent), "N")


def layer_weights(material_name: str, weights: tuple[float, ...]) -> FloatArray:
    """Brightness of the top, middle and bottom layer of every role and kind.

    Parameters
    ----------
    material_name : str
    weights : tuple of float
        Of the columns metal, X2, XY, Y2, V1, V2, relative to the metal's.

    Returns
    -------
    array, `(6 + K + S, 3)`
        The six roles, then the look-alikes, then the columns of `STACKED`. The total of a role is
        its entry of `weights`; atoms of a look-alike count as they do alone, by the brightness of
        V1 and half that of Y2.
    """
    material = get_material(material_name)
    x, y = weights[4], weights[3] / 2
    share = weights[4] / max(weights[4] + y, 1e-9)
    single = {
        "": 0.0,
        "X": x,
        "XX": 2 * x,
        "Y": y,
        "M": 1.0,
        "M'": relative_weight(other_metal(material), material.metal),
        "O": relative_weight("O", material.metal),
        # as much lighter than this X as its element is
        "Z": x
        * relative_weight(lighter_chalcogen(material), material.metal)
        / relative_weight(material.chalcogen, material.metal),
        "V": _VANADIUM_BY_SILICON * relative_weight("Si", material.metal),
        "B": _BORON_BY_NITROGEN,
    }
    roles = [
        (0.0, weights[0], 0.0),
        (weights[1] / 2, 0.0, weights[1] / 2),
        (weights[2] * share, 0.0, weights[2] * (1 - share)),
        (weights[3] / 2, 0.0, weights[3] / 2),
        (weights[4], 0.0, 0.0),
        (0.0, weights[5], 0.0),
    ]
    every = (*(look.atoms for look in LOOKALIKES), *STACKED.values())
    kinds = [tuple(single[a] for a in atoms) for atoms in every]
    return np.array(roles + kinds, dtype=float)
