"""How many columns of each class there are, and what that says of the composition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .materials import ROLES
from .types import DefectStrainError, IntArray, Sites

ALL_IMAGES = "all"
SUBSTITUTION = "x"
VACANCIES = "vacancy fraction"


def population_table(
    names: Sequence[str], sites_list: Sequence[Sites], class_names: Sequence[str]
) -> pd.DataFrame:
    """Count the columns of each class in each image and in all of them.

    A chalcogen column holds two atomic sites, so with `N` chalcogen columns the substituted
    fraction is ``x = (n_XY + 2 n_Y2) / 2N`` and the vacancy fraction ``(n_V1 + 2 n_V2) / 2N``:
    fractions of atomic sites. The concentration of a class is a fraction of the columns of its
    sublattice. Columns of the class other may lie on either sublattice or between: they are not
    among the `N`, count neither as substituted nor as vacancies, and their concentration is a
    fraction of all columns.

    Parameters
    ----------
    names : sequence of str
        Name of each image.
    sites_list : sequence of Sites
        The columns of each image.
    class_names : sequence of str
        Names of the classes in the order of the roles (metal, X2, XY, Y2, V1, V2, other).

    Returns
    -------
    DataFrame
        ``image`` (the name, or ``all``), ``class`` (a class, ``x`` or ``vacancy fraction``),
        ``columns`` (columns of that class, or columns that hold a substituent or a vacancy),
        ``all_columns`` (columns of the sublattice; all columns for other), ``concentration``
        (fraction of these; NaN where there are none).

    Raises
    ------
    DefectStrainError
        If names, sites and classes don't match.
    """
    if len(names) != len(sites_list):
        raise DefectStrainError(
            f"population table: got {len(names)} names and {len(sites_list)} tables of sites, "
            "expected as many of one as of the other"
        )
    counts = []
    for name, sites in zip(names, sites_list, strict=True):
        if sites.class_names != tuple(class_names):
            raise DefectStrainError(
                f"{name}: got sites of classes {', '.join(sites.class_names)}, "
                f"expected {', '.join(class_names)}: these images are of another material"
            )
        counts.append(np.bincount(sites.class_index, minlength=len(class_names)))
    total = np.sum(counts, axis=0, dtype=int) if counts else np.zeros(len(class_names), dtype=int)
    rows = []
    for name, count in [*zip(names, counts, strict=True), (ALL_IMAGES, total)]:
        rows.extend(_rows(name, count, class_names))
    return pd.DataFrame(rows, columns=["image", "class", "columns", "all_columns", "concentration"])


def _rows(
    name: str, count: IntArray, class_names: Sequence[str]
) -> list[tuple[str, str, int, int, float]]:
    n = {role: int(c) for role, c in zip(ROLES, count, strict=True)}
    every = sum(n.values())
    chalcogens = every - n["metal"] - n["other"]
    wholes = {"metal": n["metal"], "other": every}
    rows = []
    for role, class_name in zip(ROLES, class_names, strict=True):
        whole = wholes.get(role, chalcogens)
        rows.append((name, class_name, n[role], whole, _fraction(n[role], whole)))
    for label, one, two in ((SUBSTITUTION, "XY", "Y2"), (VACANCIES, "V1", "V2")):
        atoms = n[one] + 2 * n[two]
        fraction = _fraction(atoms, 2 * chalcogens)
        rows.append((name, label, n[one] + n[two], chalcogens, fraction))
    return rows


def _fraction(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
