"""Windows on metal sites: the crystal seen from its metals.

Turned by 180 degrees about a metal, the honeycomb is that about a chalcogen with the sublattices
exchanged: the three nearest columns, chalcogens now, lie at 90, 210 and 330 degrees. So all that is
known of windows on chalcogen sites holds for those on metal sites, once the metals take the place
of the chalcogens and the perfect chalcogens that of the metals. Whatever else lies on chalcogen
sites is a stranger there, and breaks isolation like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..types import METAL, ON_METAL, OTHER, ImageLattice, Sites
from .patches import Patch

_X2 = 1


def seen_from_metals(sites: Sites) -> Sites:
    """Columns with the sublattices exchanged: metals as the perfect class X2, and the reverse.

    The classes named on metal sites stay, those of chalcogen sites become *other*: their names
    and places among the classes are kept, so that an index stands for the same class but for metal
    and X2.

    Parameters
    ----------
    sites : Sites
        With the classes of `materials.ROLES` first.
    """
    names = sites.class_names
    exchanged = np.arange(len(names))
    exchanged[[METAL, _X2]] = _X2, METAL
    strange = list(range(_X2 + 1, OTHER + 1))
    given = np.asarray(sites.probabilities)
    probabilities = given[:, exchanged].copy()
    probabilities[:, strange] = 0.0
    probabilities[:, OTHER] = given[:, strange].sum(axis=1)
    index = exchanged[np.asarray(sites.class_index)]
    index[np.isin(index, strange)] = OTHER
    return replace(
        sites,
        probabilities=probabilities,
        class_index=index.astype(sites.class_index.dtype),
        class_names=_exchanged_names(names),
    )


def _exchanged_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names that say of named classes whether they lie on the sublattice looked from."""
    first = (names[_X2], names[METAL], *names[_X2 + 1 : OTHER + 1])
    more = [
        n.removesuffix(ON_METAL) if n.endswith(ON_METAL) else n + ON_METAL
        for n in names[OTHER + 1 :]
    ]
    return (*first, *more)


def names_from_metals(names: Sequence[str]) -> tuple[str, ...]:
    """What people call the classes of `seen_from_metals`, in its order."""
    return (names[_X2], names[METAL], *names[_X2 + 1 :])


def turned_lattice(lattice: ImageLattice) -> ImageLattice:
    """The same lattice, its origin at a metal and its axes turned by 180 degrees."""
    to_metal = np.array([0.0, lattice.a_pm / np.sqrt(3.0)])
    return replace(lattice, origin_px=lattice.to_px(to_metal), matrix=-lattice.matrix)


def turned_patch(patch: Patch) -> Patch:
    """A patch whose windows are centred on metals."""
    return replace(patch, lattice=turned_lattice(patch.lattice))
