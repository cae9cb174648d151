"""The error budget of a class: what is statistical, what is systematic, and from where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from scipy.special import stdtrit

from ..columns.averages.measure import ColumnMeasurement
from ..config import Between, Config
from ..types import BoolArray, ClassStack, FloatArray
from .budget_parts import Pair, model_error, profile_error, rings_of, tilt_error, window_values
from .image_scatter import between_images, shift_excess
from .known_biases import KnownBias

PARTS = ("model", "profile", "registration", "scan", "tilt", "impurity", "neighbours")
"""Systematic errors of a budget, see `error_budget`."""


@dataclass(frozen=True)
class BudgetConfig(Config):
    """What the error budget assumes, and whether known biases are subtracted.

    Parameters
    ----------
    correct : bool
        Subtract what the expected impurity and the known neighbours add to the positions. Their
        uncertainty stays in the budget.
    tilt_mrad : float
        Local tilt of the crystal against the beam, one standard deviation about each axis,
        independent between images [mrad]. It can't be measured on averages.
    share_error : float
        Relative standard error of the expected share of wrong windows.
    neighbour_error : float
        Relative standard error of what the neighbours add: their fields are measured ones, but
        known to a finite distance, and superposed.
    """

    correct: bool = True
    tilt_mrad: Annotated[float, Between(0, 50)] = 2.0
    share_error: Annotated[float, Between(0, 1)] = 0.5
    neighbour_error: Annotated[float, Between(0, 1)] = 0.2


@dataclass(frozen=True)
class ErrorBudget:
    """One-sigma errors of a class's displacements and of its spacing's strain, by their source.

    Of the defect-free class: errors of its positions, and of its spacing, relative.

    Parameters
    ----------
    class_name : str
    site_pm : array, `(M, 2)`
        Ideal sites, (x, y) in the lattice frame [pm].
    statistical_pm : array, `(M, 2)`
        Scatter of the windows of the class and of the reference [pm].
    parts : mapping of part to array, `(M, 2)`
        Systematic errors of the displacement against the reference, see `PARTS` [pm]; NaN where
        a part can't be told. Sums take such parts as none.
    sigma_stat : float
        Statistical error of the strain of the spacing.
    strain_parts : mapping of part to float
        Systematic errors of that strain, NaN likewise.
    corrections : mapping of part to array, `(M, 2)`
        Known biases of the positions that were subtracted [pm].
    strain_corrections : mapping of part to float
        What they made of the strain.
    design_effect, strain_design_effect : float
        Factors that the statistical variances of displacements and strain hold, as windows of one
        image make up for one another (`image_scatter.between_images`); 1 where that isn't sure.
    strain_scatter, strain_freedom : float
        Standard error of the strain by the scatter of the windows as it is, and the degrees of
        freedom that tell it: what `half_width` is made of. `sigma_stat` is larger, as it holds how
        little few windows tell of their scatter.
    """

    class_name: str
    site_pm: FloatArray
    statistical_pm: FloatArray
    parts: Mapping[str, FloatArray]
    sigma_stat: float
    strain_parts: Mapping[str, float]
    corrections: Mapping[str, FloatArray] = field(default_factory=dict)
    strain_corrections: Mapping[str, float] = field(default_factory=dict)
    design_effect: float = 1.0
    strain_design_effect: float = 1.0
    strain_scatter: float = np.nan
    strain_freedom: float = np.nan

    def half_width(self, confidence: float) -> float:
        """Half of the interval that holds the strain with some confidence.

        Of a few windows the scatter itself is hardly known: one standard error can't tell both how
        far off 68 and how far off 95 of a hundred such averages are. The quantile is Student's, its
        degrees of freedom those of the scatter and, in proportion, of the systematic errors, which
        count as known (Welch 1947, doi:10.1093/biomet/34.1-2.28; Satterthwaite 1946,
        doi:10.2307/3002019; JCGM 100:2008, G.4).

        Parameters
        ----------
        confidence : float
            Within 0 to 1.

        Returns
        -------
        float
            NaN where the scatter can't be told.
        """
        total = float(np.hypot(self.strain_scatter, self.strain_systematic))
        if not total > 0.0:
            return total
        with np.errstate(divide="ignore", over="ignore"):
            freedom = self.strain_freedom * (total / np.float64(self.strain_scatter)) ** 4
        return float(stdtrit(freedom, 0.5 + 0.5 * confidence)) * total

    @property
    def systematic_pm(self) -> FloatArray:
        """All known systematic parts of the displacements in quadrature, `(M, 2)` [pm]."""
        return np.asarray(np.sqrt(np.nansum(np.square(list(self.parts.values())), axis=0)))

    @property
    def total_pm(self) -> FloatArray:
        """Statistical and systematic errors of the displacements in quadrature, `(M, 2)` [pm]."""
        return np.asarray(np.hypot(self.statistical_pm, self.systematic_pm))

    @property
    def strain_systematic(self) -> float:
        """All known systematic parts of the strain in quadrature."""
        return float(np.sqrt(np.nansum(np.square(list(self.strain_parts.values())))))

    @property
    def sigma_total(self) -> float:
        """Statistical and systematic errors of the strain in quadrature."""
        return float(np.hypot(self.sigma_stat, self.strain_systematic))

    def rms_pm(self, which: BoolArray) -> dict[str, float]:
        """Root mean square of each part, of `statistical` and of `total` over some columns [pm].

        Columns without a displacement don't count; NaN for parts that can't be told.
        """
        every = {"statistical": self.statistical_pm, **self.parts, "total": self.total_pm}
        known = which & np.isfinite(self.total_pm).all(axis=1)
        found = {}
        for name, part in every.items():
            square = part[known] ** 2
            told = np.isfinite(square)
            found[name] = float(np.sqrt(square[told].mean())) if told.any() else np.nan
        return found

    @property
    def unknown(self) -> tuple[str, ...]:
        """Parts of which nothing can be told, neither for the strain nor for any column."""
        return tuple(
            name
            for name, part in self.parts.items()
            if np.isnan(self.strain_parts[name]) and np.isnan(part).all()
        )


def error_budget(
    measurement: ColumnMeasurement,
    reference: ColumnMeasurement | None,
    stack: ClassStack,
    reference_stack: ClassStack | None,
    known: KnownBias,
    config: BudgetConfig,
    single_atom: float,
    rng: np.random.Generator,
) -> ErrorBudget:
    """The error budget of one class.

    Statistical is the covariance of the windows' scatter, with the design effect of their images.
    Systematic are

    * ``model``: what the other column models find, if any were fitted, each corrected by its own
      simulation, less what this one does, where their difference surely exceeds its statistical
      error, and without that. Half of the variance of the difference is taken as that of either.
    * ``profile``: the errors of the learnt profile from the noise of all windows, and what
      another number of its coefficients makes, where that surely exceeds what noise makes of it.
    * ``registration``: a common shift of all windows cancels, and its scatter only blurs; what
      would not cancel shows as a difference between windows that were moved far and little
      (`image_scatter.shift_excess`); at least eight windows tell.
    * ``scan``: scatter between images beyond that of their windows
      (`image_scatter.between_images`); at least four images tell.
    * ``tilt``: a column whose two halves differ moves with tilt by the distance of its centre of
      scattering from the metals' plane times the tilt; assumed, independent between images.
    * ``impurity`` and ``neighbours``: the errors of what is known of them, with what classes that
      weren't measured may do; all of it where it is not corrected. With the impurity counts what
      the windows left out as improbable would change, and what choosing windows by hand changed.

    Columns of one sublattice at like distances suffer alike from model, registration and scan:
    their squares are averaged, for a single column's is too noisy to tell.

    Parameters
    ----------
    measurement : ColumnMeasurement
    reference : ColumnMeasurement or None
        None for the defect-free class itself: it is held against ideal sites.
    stack, reference_stack : ClassStack
    known : KnownBias
    config : BudgetConfig
    single_atom : float
        Share of the central column's scattering that its one half has more than the other: 1 for
        a single atom, 0 for two equal ones.
    rng : numpy Generator
        For the permutations of windows.
    """
    pair = Pair.of(measurement, reference)
    fits = measurement.fits
    rings = rings_of(fits, stack.a_pm)
    windows = window_values(measurement, stack, pair)
    base = None
    if reference is not None and reference_stack is not None:
        base = window_values(reference, reference_stack, pair)
    # one group more than the rings: the strain of the triangles, of which there may be none
    last = int(rings.max(initial=-1)) + 1
    triangles = np.full(windows.value.shape[1] - len(rings), last)
    groups = np.concatenate([rings, triangles])
    images = between_images(windows, base, groups, rng.spawn(1)[0], last + 1)
    whole = between_images(windows, base, (groups == last).astype(int), rng.spawn(1)[0], 2)
    by_shift = shift_excess(windows, groups, rng.spawn(1)[0], last + 1)
    parts: dict[str, FloatArray] = {}
    strains: dict[str, float] = {}
    parts["model"], strains["model"] = model_error(measurement, reference, pair, rings)
    parts["profile"], strains["profile"] = profile_error(measurement, reference, pair, rings)
    if stack.n_columns is not None:
        by_shift = np.zeros_like(by_shift)  # bands of whole images are registered by nobody
    for name, excess in (("registration", by_shift), ("scan", images.excess)):
        parts[name] = np.sqrt(excess[rings]).reshape(-1, 2)
        strains[name] = float(np.sqrt(excess[-1]))
    parts["tilt"], strains["tilt"] = tilt_error(fits, stack, config.tilt_mrad, single_atom)
    wrong = [*known.impurity_errors_pm, *([] if known.corrected else [known.impurity_pm])]
    parts["impurity"] = np.sqrt(np.sum(np.square(wrong), axis=0))
    strains["impurity"] = float(np.sqrt(sum(pair.strain_of(shift) ** 2 for shift in wrong)))
    around = config.neighbour_error if known.corrected else 1.0
    told = 1.0 if known.neighbours_known else np.nan
    nearby = (around * known.neighbours_u_pm, known.neighbours_error_pm)
    parts["neighbours"] = told * np.hypot(*nearby)
    strains["neighbours"] = told * float(
        np.hypot(pair.strain_of(nearby[0]), pair.strain_of(nearby[1]))
    )
    scatter, freedom = _scatter_and_freedom(pair.strain_variances(measurement, reference))
    corrections = {"impurity": known.impurity_pm, "neighbours": known.neighbours_pm}
    of_strain = {"impurity": known.impurity_pm, "neighbours": known.neighbours_u_pm}
    return ErrorBudget(
        class_name=fits.class_name,
        site_pm=fits.site_pm,
        statistical_pm=pair.statistical_pm * np.sqrt(whole.design_effect[0]),
        parts=parts,
        sigma_stat=pair.strain_error(measurement, reference)
        * float(np.sqrt(whole.design_effect[1])),
        strain_parts={name: float(value) for name, value in strains.items()},
        corrections=corrections if known.corrected else {},
        design_effect=float(whole.design_effect[0]),
        strain_design_effect=float(whole.design_effect[1]),
        strain_scatter=float(np.sqrt(scatter * whole.design_effect[1])),
        strain_freedom=freedom,
        strain_corrections={
            name: pair.strain_of(shift) for name, shift in of_strain.items() if known.corrected
        },
    )


def _scatter_and_freedom(parts: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Sum of variances that few windows each tell, and its degrees of freedom (Satterthwaite)."""
    total = float(sum(variance for variance, _ in parts))
    spread = sum(variance**2 / max(n - 1, 1) for variance, n in parts)
    return total, float(total**2 / spread) if spread > 0 else np.inf
