"""How many columns of each class there are, and what that says of the composition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..materials import ROLES, SUBSTITUTED
from ..types import ON_METAL, OTHER, CalibratedImage, DefectStrainError, FloatArray, IntArray, Sites
from ..units import PM_PER_NM
from .class_errors import CommonErrors, common_errors
from .dispersion import SIGMAS_95, dispersion_of, wilson
from .regions import Regions, usable_sites

ALL_IMAGES = "all"
SUBSTITUTION = SUBSTITUTED
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
    "corrected",
    "corrected_std",
    "low",
    "high",
    "crystal_low",
    "crystal_high",
    "wilson_low",
    "wilson_high",
    "dispersion",
    "dispersion_p",
    "image_std",
    "images_low",
    "images_high",
)
_STRIP_PM = (30.0, 350.0)
"""Width of a strip along the border without columns [pm]: not by chance, and no empty half."""
_BETWEEN = 5  # of them, the last, are for all images together


@dataclass(frozen=True)
class _Expected:
    """What probabilities say of the columns of an image, or of several.

    Parameters
    ----------
    mean : array, `(K,)`
        Expected number of columns of each class.
    covariance : array, `(K, K)`
        Of these numbers: columns whose class is in doubt.
    common : CommonErrors
        Of these numbers: what the columns of an image have in common.
    """

    mean: FloatArray
    covariance: FloatArray
    common: CommonErrors

    @classmethod
    def of(cls, sites: Sites) -> _Expected:
        p = np.asarray(sites.probabilities, dtype=float)
        return cls(p.sum(axis=0), np.diag(p.sum(axis=0)) - p.T @ p, common_errors(sites))

    @classmethod
    def none(cls, classes: int) -> _Expected:
        zeros = np.zeros((classes, classes))
        return cls(np.zeros(classes), zeros, CommonErrors.none(classes))

    def __add__(self, other: _Expected) -> _Expected:
        return _Expected(
            self.mean + other.mean,
            self.covariance + other.covariance,
            self.common + other.common,
        )

    def fraction(self, part: FloatArray, whole: FloatArray) -> tuple[float, ...]:
        """What a weighted sum of classes is of another, with its errors.

        Parameters
        ----------
        part, whole : arrays, `(K,)`
            What a column of each class counts, above and below.

        Returns
        -------
        tuple of float
            The fraction; its standard deviation by doubtful columns, and by how well the classes
            are known that they are of; limits of 95 % by these for
            the columns at hand; limits of 95 % for the crystal that they are a sample of, where
            how many there happen to be counts too (Wilson 1927, doi:10.1080/01621459.1927.10502953,
            with the number of columns that would have this scatter).
        """
        total = float(whole @ self.mean)
        if total <= 0.0:
            return (float("nan"),) * 6
        x = float(part @ self.mean) / total
        change = part - x * whole
        doubt = max(float(change @ self.covariance @ change), 0.0) + self.common.variance(change)
        doubt /= total**2
        std = float(np.sqrt(doubt))
        counting = float((change**2) @ self.mean) / total**2
        most = float(part.max(initial=1.0) / max(whole.max(initial=0.0), 1e-12))
        scatter = doubt + counting
        columns = total / max(float(whole.max(initial=1.0)), 1e-12)
        y = float(np.clip(x / most, 0.0, 1.0))
        n = y * (1.0 - y) * most**2 / scatter if scatter > 0.0 and 0.0 < y < 1.0 else columns
        low, high = (most * limit for limit in wilson(y, min(n, 4.0 * columns)))
        near = (max(x - SIGMAS_95 * std, 0.0), min(x + SIGMAS_95 * std, most))
        return (x, std, *near, low, high)


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
    fraction of all columns. Named classes on chalcogen sites are among the `N`, too, those on metal
    sites among the columns of the metal's.

    A column that is more likely 2X than XY counts as 2X, so where noise makes classes hard to tell
    rare ones are counted too seldom or too often. The corrected fractions sum the probabilities
    instead; their errors follow from how doubtful the columns are, and how well the classes are
    known (`class_errors.common_errors`).

    Parameters
    ----------
    names : sequence of str
        Name of each image.
    sites_list : sequence of Sites
        The columns of each image.
    class_names : sequence of str
        Names of the classes in the order of the roles (metal, X2, XY, Y2, V1, V2, other), then of
        the named ones.
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
        substituted atoms and missing atoms per nm^2); ``corrected``, ``corrected_std``, ``low``,
        ``high`` (the fraction by probabilities: of atomic sites for ``x`` and ``vacancy fraction``,
        of ``all_columns`` for a class; its standard deviation, and limits of 95 %, for these very
        columns), ``crystal_low``, ``crystal_high`` (limits of 95 % for the crystal that they are a
        sample of); ``wilson_low``, ``wilson_high`` (Wilson's interval of ``concentration``, as if
        no class were in doubt). Of all images together also ``dispersion``, ``dispersion_p``,
        ``image_std``, ``images_low`` and ``images_high``: whether the images differ by more than
        chance in ``columns``, and by how much (`dispersion.Dispersion`; NaN for one image).

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
    counts, expected = [], []
    for name, sites in zip(names, sites_list, strict=True):
        if sites.class_names != tuple(class_names):
            raise DefectStrainError(
                f"{name}: got sites of classes {', '.join(sites.class_names)}, "
                f"expected {', '.join(class_names)}: these images are of another material"
            )
        counts.append(np.bincount(sites.class_index, minlength=len(class_names)))
        expected.append(_Expected.of(sites))
    total = np.sum(counts, axis=0, dtype=int) if counts else np.zeros(len(class_names), dtype=int)
    areas = [float("nan")] * len(names) if areas_nm2 is None else [float(a) for a in areas_nm2]
    every = float(sum(areas)) if areas else float("nan")
    rows = []
    k = len(class_names)
    whole = sum(expected, _Expected.none(k))
    for name, count, area, likely in [
        *zip(names, counts, areas, expected, strict=True),
        (ALL_IMAGES, total, every, whole),
    ]:
        rows.extend(_rows(name, count, class_names, area, likely))
    return _with_dispersion(pd.DataFrame(rows, columns=list(COLUMNS[:-_BETWEEN])))


def _with_dispersion(table: pd.DataFrame) -> pd.DataFrame:
    """The table with what images tell together; NaN in the rows of single images."""
    # an image may be called like all of them: these come last
    single = np.arange(len(table)) < len(table) - table["class"].nunique()
    between = np.full((len(table), _BETWEEN), np.nan)
    for row in np.flatnonzero(~single):
        own = table[single & (table["class"] == table["class"].iloc[row])]
        found = dispersion_of(own["columns"].to_numpy(), own["all_columns"].to_numpy())
        share = table["concentration"].iloc[row] / max(_share_of_columns(table.iloc[row]), 1e-300)
        between[row] = (
            *(found.ratio, found.p),
            *(share * value for value in (found.std, found.low, found.high)),
        )
    return table.assign(**dict(zip(COLUMNS[-_BETWEEN:], between.T, strict=True)))


def _share_of_columns(row: pd.Series) -> float:
    return _fraction(int(row["columns"]), int(row["all_columns"]))


def usable_populations(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    regions: Sequence[Regions],
    class_names: Sequence[str],
) -> pd.DataFrame:
    """`population_table` of the usable area of each image: its 2H domains.

    The strip along the border in which no column is listed is no area either: columns that the
    border cuts are not detected.

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
            _counted_px(found, columns, image.pixel_size_pm or np.nan)
            * ((image.pixel_size_pm or np.nan) / PM_PER_NM) ** 2
            for image, columns, found in zip(images, sites, regions, strict=True)
        ],
    )


def _counted_px(regions: Regions, sites: Sites, pixel_size_pm: float) -> float:
    """Area of the domains in which columns are listed [px]."""
    shape = np.array(regions.labels.shape)
    place = np.asarray(sites.position_px, dtype=float)[sites.role < OTHER]
    strip = np.minimum(place + 0.5, shape - 0.5 - place).min() if len(place) else 0.0
    least, most = (pm / pixel_size_pm for pm in _STRIP_PM)
    if not least < strip < most:
        return float(regions.usable_px)
    lines, across = (
        np.clip(np.minimum(np.arange(n) + 1, n - strip) - np.maximum(np.arange(n), strip), 0, 1)
        for n in shape
    )
    return float(lines @ regions.usable @ across)


def _rows(
    name: str, count: IntArray, class_names: Sequence[str], area_nm2: float, expected: _Expected
) -> list[tuple[str | int | float, ...]]:
    k = len(class_names)
    metal, other = (ROLES.index(role) for role in ("metal", "other"))
    on_metal = np.array([i == metal or n.endswith(ON_METAL) for i, n in enumerate(class_names)])
    chalcogen = ~on_metal & (np.arange(k) != other)
    atoms = np.zeros(k)
    atoms[[ROLES.index(role) for role in ("XY", "Y2", "V1", "V2")]] = (1, 2, 1, 2)
    rows: list[tuple[str | int | float, ...]] = []
    for i, class_name in enumerate(class_names):
        among = np.ones(k, dtype=bool) if i == other else on_metal if on_metal[i] else chalcogen
        n, whole = int(count[i]), int(count[among].sum())
        per_site = float("nan")
        if atoms[i]:
            per_site = _fraction(float(atoms[i] * n), 2 * int(count[chalcogen].sum()))
        likely = expected.fraction(np.eye(k)[i], among.astype(float))
        density = _fraction(n, area_nm2)
        share = _fraction(n, whole)
        limits = wilson(share, whole)
        rows.append(
            (name, class_name, n, whole, share, per_site, area_nm2, density, *likely, *limits)
        )
    for label, roles in ((SUBSTITUTION, ("XY", "Y2")), (VACANCIES, ("V1", "V2"))):
        chosen = np.isin(np.arange(k), [ROLES.index(role) for role in roles])
        both, whole = float((atoms * chosen * count).sum()), int(count[chalcogen].sum())
        share, density = _fraction(both, 2 * whole), _fraction(both, area_nm2)
        likely = expected.fraction(atoms * chosen, 2.0 * chalcogen)
        n = int(count[chosen].sum())
        # atoms come by columns, of which some hold two: as many sites as scatter like these
        squares = float((atoms**2 * chosen * count).sum()) / max(4 * whole, 1)
        scatter = (squares - share**2) / whole if whole else float("nan")
        limits = wilson(share, share * (1 - share) / scatter if scatter > 0 else 2 * whole)
        rows.append((name, label, n, whole, share, share, area_nm2, density, *likely, *limits))
    return rows


def _fraction(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
