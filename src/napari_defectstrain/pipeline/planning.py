"""How many images at what dose, from what one image (or a few) gave: arithmetic of precision.

The statistical variance of a class's strain falls with the windows, and a single window's with the
dose as far as it comes from counting: ``s^2 = p^2 (c / d + 1 - c)``, with d the dose in units of
that of the test, and c the share of counting noise in the scatter of single windows. The beam takes
atoms away at a rate: windows are lost where one of the isolation shells, or the defect itself, was
hit before half of the dose, and new vacancies come, which look like those that were there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..columns.images.measure import ImageColumns
from ..types import BoolArray, DefectStrainError

SHELL_COLUMNS = 6
"""Chalcogen columns of each shell of isolation."""
DOSES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Doses of a plan, in units of that of the test."""
PER_CENT = 0.01
NORMAL_95 = 1.96
_SLOPES = 2  # rounds: how far counts walk goes by the slope itself
_INTACT = 1e-3
"""Chance that a window outlives half of the test's dose, below which the test contradicts it."""
_SIZES = 25  # of errors of single frames


@dataclass(frozen=True)
class Test:
    """What a test gave for one class.

    Parameters
    ----------
    class_name : str
    n_windows, n_images : int
    sigma_strain : float
        Statistical error of its strain.
    sigma_rest : float
        What more windows don't lessen: the systematic error.
    counting_share : float
        Share of counting noise in the variance of single windows, 0-1.
    dose_e_per_nm2 : float
        Of the test's images.
    atoms : int
        Chalcogen atoms of the central column that the beam may take: 2, 1 for single vacancies.
    vacancies : float
        Fraction of chalcogen columns that are single vacancies already.
    sigma_reference : float
        Part of `sigma_strain` that the defect-free windows have.
    n_reference : int
        Defect-free windows of the test.
    most_reference : float
        So many defect-free windows are averaged at most (`AverageConfig.max_reference`).
    """

    __test__ = False  # no test of pytest's

    class_name: str
    n_windows: int
    n_images: int
    sigma_strain: float
    sigma_rest: float
    counting_share: float
    dose_e_per_nm2: float
    atoms: int = 2
    vacancies: float = 0.0
    sigma_reference: float = 0.0
    n_reference: int = 1
    most_reference: float = np.inf

    def __post_init__(self) -> None:
        if not (self.n_windows > 0 and self.n_images > 0 and self.sigma_strain > 0):
            raise DefectStrainError(
                f"plan: got {self.n_windows} windows of {self.class_name} in {self.n_images} "
                f"images with an error of {self.sigma_strain:g}, expected a measured class"
            )
        if not 0 <= self.counting_share <= 1 or not 0 < self.dose_e_per_nm2 < np.inf:
            raise DefectStrainError(
                f"plan: got a counting share of {self.counting_share:g} and a dose of "
                f"{self.dose_e_per_nm2:g} e-/nm2, expected 0 to 1, and a dose above 0"
            )
        if not (0 <= self.sigma_reference < self.sigma_strain and self.n_reference > 0):
            raise DefectStrainError(
                f"plan: got an error of {self.sigma_reference:g} of {self.n_reference} defect-free "
                f"windows, expected less than that of the strain, {self.sigma_strain:g}"
            )

    @property
    def relative_error(self) -> float:
        """Of the images that are planned: what few windows tell of their scatter and number.

        Standard deviation of the logarithm: ``2 / (n - 1)`` of the variance, ``1 / n`` of how many
        windows an image has.
        """
        return float(np.sqrt(2.0 / max(self.n_windows - 1, 1) + 1.0 / self.n_windows))


def plan_images(
    test: Test,
    target: float,
    loss_nm2: float,
    shells: int = 2,
    doses: Sequence[float] = DOSES,
) -> pd.DataFrame:
    """Images that a precision takes at several doses, and what those doses destroy.

    Parameters
    ----------
    test : Test
    target : float
        Statistical error of the strain that is wanted, for instance 0.001.
    loss_nm2 : float
        Cross section for losing one chalcogen atom [nm^2]: its rate per electron and nm^2.
    shells : int
        Of the isolation.
    doses : sequence of float
        In units of the test's.

    Returns
    -------
    DataFrame
        ``dose_e_per_nm2``, ``images`` (infinite where the defect-free windows, of which no more
        are averaged, err by as much alone), ``images_low`` and ``images_high`` (95 %, by how little
        the test's windows tell), ``windows`` (per image), ``sigma_strain_%`` with that many images,
        ``sigma_total_%`` with the test's systematic error, ``new_vacancies_%`` of the chalcogen
        columns at the end, ``new_among_vacancies_%`` on average over the exposure,
        ``windows_lost_%``, ``class_lost_%`` (centres that lost an atom by the end).

    Raises
    ------
    DefectStrainError
        If a number makes no sense, or the test's windows couldn't have outlived that loss.
    """
    told = np.array([target, loss_nm2, *doses])
    if not (np.isfinite(told).all() and target > 0 and loss_nm2 >= 0 and min(doses) > 0):
        raise DefectStrainError(
            f"plan: got a target of {target:g}, a loss of {loss_nm2:g} nm2, doses {list(doses)}, "
            "expected a target above 0, a loss of at least 0, and doses above 0"
        )
    per_image = test.n_windows / test.n_images
    columns = 2 * SHELL_COLUMNS * shells + test.atoms
    intact = _survival(columns, loss_nm2, test.dose_e_per_nm2 / 2)
    if intact < _INTACT:
        raise DefectStrainError(
            f"plan: got a loss of {loss_nm2:g} nm2 an atom, by which a dose of "
            f"{test.dose_e_per_nm2:g} e-/nm2 would have left no isolated window in the test; check "
            "the units of both (nm2, 1 barn = 1e-10 nm2; e-/nm2)"
        )
    rows = []
    apart = float(np.exp(NORMAL_95 * test.relative_error))
    for factor in doses:
        dose = factor * test.dose_e_per_nm2
        kept = _survival(columns, loss_nm2, dose / 2)
        windows = per_image * kept / intact
        needed = _Needed.of(test, factor, kept / intact)
        images, low, high = (needed.images(target, by) for by in (1.0, 1 / apart, apart))
        sigma = needed.sigma(images)
        lost = 1 - _survival(2, loss_nm2, dose)
        mean_lost = 1 - _survival(2, loss_nm2, dose / 2)
        rows.append(
            {
                "dose_e_per_nm2": dose,
                "images": images,
                "images_low": low,
                "images_high": high,
                "windows": windows,
                "sigma_strain_%": sigma / PER_CENT,
                "sigma_total_%": float(np.hypot(sigma, test.sigma_rest)) / PER_CENT,
                "new_vacancies_%": lost / PER_CENT,
                "new_among_vacancies_%": mean_lost
                / max(mean_lost + test.vacancies, 1e-12)
                / PER_CENT,
                "windows_lost_%": (1 - kept) / PER_CENT,
                "class_lost_%": (1 - _survival(test.atoms, loss_nm2, dose)) / PER_CENT,
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Needed:
    """Variances of the strain by one image, `own` by the class and `reference` by defect-free ones.

    The latter falls to `least`, where as many are averaged as ever are.
    """

    own: float
    reference: float
    least: float

    @classmethod
    def of(cls, test: Test, factor: float, kept: float) -> _Needed:
        """At a dose in units of the test's, that leaves a part of its windows."""
        share = test.counting_share
        noise = (share / factor + 1 - share) * test.n_images
        against = test.sigma_reference**2
        return cls(
            own=(test.sigma_strain**2 - against) * noise / kept,
            reference=against * noise / kept,
            least=against * noise / test.n_images * test.n_reference / test.most_reference,
        )

    def sigma(self, images: float) -> float:
        """Error of the strain with so many images."""
        return float(np.sqrt(self.own / images + max(self.reference / images, self.least)))

    def images(self, target: float, by: float) -> float:
        """Images that an error takes, where the class's own variance is so many times as large."""
        together = (self.own * by + self.reference) / target**2
        if self.reference < self.least * together:  # then there are enough to choose from
            left = target**2 - self.least
            together = self.own * by / left if left > 0 else np.inf
        return float(np.ceil(max(together, 1.0) - 1e-9))


def _survival(atoms: int, loss_nm2: float, dose: float) -> float:
    """Chance that none of some atoms is lost."""
    return float(np.exp(-atoms * loss_nm2 * dose))


def loss_of_series(
    vacancy_fraction: Sequence[float], dose_e_per_nm2: float, n_sites: float
) -> tuple[float, float]:
    """Cross section for losing a chalcogen atom by a dose series, and its error [nm^2].

    A straight line through the fraction of atomic sites that are empty, after each frame. All
    frames show one place, so that what chance took in one frame is missing in all that follow:
    the fractions walk about the line as Poisson's counts do, and detection adds errors of each
    frame's own, which the fractions tell the size of (by restricted likelihood, over all sizes).

    Parameters
    ----------
    vacancy_fraction : sequence of float
    dose_e_per_nm2 : float
        Of a frame.
    n_sites : float
        Atomic chalcogen sites that a frame shows.

    Raises
    ------
    DefectStrainError
        If there are fewer than three frames, or no dose or sites.
    """
    found = np.asarray(vacancy_fraction, dtype=float)
    n = len(found)
    if n < 3 or not dose_e_per_nm2 > 0 or not n_sites > 0:
        raise DefectStrainError(
            f"plan: got a series of {n} frames of {dose_e_per_nm2:g} e-/nm2 and {n_sites:g} sites, "
            "expected at least three, and some dose and sites"
        )
    frame = np.arange(1.0, n + 1)
    design = np.stack([np.ones(n), frame], axis=1)
    (_, slope), square, *_ = np.linalg.lstsq(design, found, rcond=None)
    variance = np.nan
    for _ in range(_SLOPES):
        of_step = max(float(slope), 1.0 / (n_sites * (n - 1))) / n_sites  # an atom at least
        walk = of_step * np.minimum.outer(frame, frame)
        largest = max(float(np.sum(square)) / (n - 2), of_step)
        slopes, variances, likely = [], [], []
        for own in [0.0, *(largest * np.geomspace(1e-3, 10.0, _SIZES))]:
            covariance = walk + own * np.eye(n)
            weighted = np.linalg.solve(covariance, design)
            information = design.T @ weighted
            line = np.linalg.solve(information, weighted.T @ found)
            left = found - design @ line
            chi2 = float(left @ np.linalg.solve(covariance, left))
            logs = [float(np.linalg.slogdet(m)[1]) for m in (covariance, information)]
            likely.append(-0.5 * (sum(logs) + chi2))
            slopes.append(line[1])
            variances.append(np.linalg.inv(information)[1, 1])
        weight = np.exp(np.array(likely) - max(likely))
        weight /= weight.sum()
        slope = weight @ np.array(slopes)
        variance = weight @ (np.array(variances) + (np.array(slopes) - slope) ** 2)
    kept = 1 - float(found.mean())  # an atom that is gone can't be lost
    per_electron = 1.0 / (dose_e_per_nm2 * kept)
    return float(slope) * per_electron, float(np.sqrt(variance)) * per_electron


def counting_share(columns: ImageColumns, is_metal: BoolArray, single_window_pm: float) -> float:
    """Share of pixel noise in the variance of single windows' spacings, 0-1.

    Parameters
    ----------
    columns : ImageColumns
        Fit of all columns of the test image, whose errors are those of counting (and of the
        detector's noise, which a longer dwell time lessens likewise).
    is_metal : array of bool, `(N,)`
    single_window_pm : float
        Scatter of the spacings of two metals in single windows [pm] (``p1_pm``).
    """
    size = columns.pixel_size_pm or float("nan")
    sigma = columns.sigma_px[is_metal & columns.measured] * size
    if not len(sigma) or not single_window_pm > 0 or not np.isfinite(sigma).any():
        raise DefectStrainError(
            f"plan: got {len(sigma)} fitted metals and a scatter of {single_window_pm:g} pm, "
            "expected some of each; give the share of counting noise"
        )
    return float(min(1.0, 2 * np.nanmedian(sigma**2) / single_window_pm**2))
