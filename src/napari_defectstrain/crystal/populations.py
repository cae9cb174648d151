"""How many columns of each class there are, and what that says of the composition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..materials import ROLES
from ..types import CalibratedImage, DefectStrainError, IntArray, Sites
from ..units import PM_PER_NM
from .regions import Regions, usable_sites

ALL_IMAGES = "all"
SUBSTITUTION = "x"
VACANCIES = "vacancy fraction"
COLUMNS = (
    "image",
    "class",
    "columns",
    "all_columns",
    "concentration",
    "per_site",
    "area_nm2",
    "per_nm2",
)


def population_table(
    names: Sequence[str],
    sites_list: Sequence[Sites],
    class_names: Sequence[str],
    areas_nm2: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Count the columns of each class in each image and in all of them.

    Counts and area must belong together: give the columns of the usable area only
    (`regions.usable_sites`).

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
    areas_nm2 : sequence of float, optional
        Area that the columns of each image lie in [nm^2].

    Returns
    -------
    DataFrame
        ``image`` (the name, or ``all``), ``class`` (a class, ``x`` or ``vacancy fraction``),
        ``columns`` (columns of that class, or columns that hold a substituent or a vacancy),
        ``all_columns`` (columns of the sublattice; all columns for other), ``concentration``
        (fraction of these; NaN where there are none), ``per_site`` (fraction of the chalcogen
        atomic sites that are substituted or vacant in these columns; NaN for other classes),
        ``area_nm2``, ``per_nm2`` (columns of the class per nm^2; for ``x`` and ``vacancy fraction``
        substituted atoms and missing atoms per nm^2).

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
    areas = [float("nan")] * len(names) if areas_nm2 is None else [float(a) for a in areas_nm2]
    every = float(sum(areas)) if areas else float("nan")
    rows = []
    for name, count, area in [
        *zip(names, counts, areas, strict=True),
        (ALL_IMAGES, total, every),
    ]:
        rows.extend(_rows(name, count, class_names, area))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def usable_populations(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    regions: Sequence[Regions],
    class_names: Sequence[str],
) -> pd.DataFrame:
    """`population_table` of the usable area of each image: its 2H domains.

    Parameters
    ----------
    images, sites, regions : sequences of equal length
    class_names : sequence of str
    """
    return population_table(
        [image.name for image in images],
        [usable_sites(columns, found) for columns, found in zip(sites, regions, strict=True)],
        class_names,
        [
            found.usable_px * ((image.pixel_size_pm or np.nan) / PM_PER_NM) ** 2
            for image, found in zip(images, regions, strict=True)
        ],
    )


def _rows(
    name: str, count: IntArray, class_names: Sequence[str], area_nm2: float
) -> list[tuple[str, str, int, int, float, float, float, float]]:
    n = {role: int(c) for role, c in zip(ROLES, count, strict=True)}
    every = sum(n.values())
    chalcogens = every - n["metal"] - n["other"]
    wholes = {"metal": n["metal"], "other": every}
    atoms = {"XY": n["XY"], "Y2": 2 * n["Y2"], "V1": n["V1"], "V2": 2 * n["V2"]}
    rows = []
    for role, class_name in zip(ROLES, class_names, strict=True):
        whole = wholes.get(role, chalcogens)
        share = _fraction(n[role], whole)
        per_site = _fraction(atoms[role], 2 * chalcogens) if role in atoms else float("nan")
        density = _fraction(n[role], area_nm2)
        rows.append((name, class_name, n[role], whole, share, per_site, area_nm2, density))
    for label, one, two in ((SUBSTITUTION, "XY", "Y2"), (VACANCIES, "V1", "V2")):
        both = atoms[one] + atoms[two]
        share = _fraction(both, 2 * chalcogens)
        density = _fraction(both, area_nm2)
        rows.append((name, label, n[one] + n[two], chalcogens, share, share, area_nm2, density))
    return rows


def _fraction(part: int, whole: float) -> float:
    return part / whole if whole else float("nan")
