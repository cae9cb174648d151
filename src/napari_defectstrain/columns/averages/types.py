"""What column fits are asked for, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np

from ...config import Between, Config, OneOf
from ...types import BoolArray, ClassAverage, ColumnFits, DefectStrainError, FloatArray
from ..asymmetry import MIN_SPLINES
from ..noise import NoiseModel
from ..profiles import MIN_COEFFICIENTS, ColumnProfile
from ..types import MODELS
from .blocks import BlockJacobian
from .crowded import Structure
from .joint import Instrument


@dataclass(frozen=True)
class ColumnConfig(Config):
    """Settings of the column fits.

    Parameters
    ----------
    model : str
        ``profile``: all columns together, one profile learnt from the averages; ``gaussians``: all
        together, one Gaussian of shared width; ``gaussian``: the paper's single Gaussians.
    correct : bool
        Report positions less the model's bias: what the same fit finds too much on a simulation of
        the fitted structure.
    compare : bool
        Fit the other models too, each with its bias (`ColumnMeasurement.alternatives`).
    n_coefficients : int
        Coefficients of the profile's radial spline.
    check_coefficients : int
        The same of a second, richer profile, which is also held to its start five times more
        loosely: it follows tails that the first can't, and takes more noise for tails. The change
        of the strain counts as the profile's error.
    cutoff_sigma : float
        Where the profile's transfer function ends, in units of 1/(width of a Gaussian fit).
    information_limit_per_pm : float
        Where an aperture like the probe's passes nothing more, ``2 alpha / lambda`` [1/pm]: 0.012
        for 25 mrad at 80 kV. It shapes what the profile is like where the data are silent.
    prior_sigma : float
        How far the transfer function may depart there from that of the aperture with its focal
        spread (`probe_family.focused`), beside the way in which probes differ
        (`probe_family.family_way`).
    fit_radius_pm : float
        Largest radius of the disc of pixels that is fitted [pm].
    single_radius_pm : float
        Radius of the pixels of a single Gaussian [pm].
    asymmetric : bool
        Whether the profile may differ with direction (`asymmetry`) in any case; without, it may
        where the windows surely say so and `compare` is on (`measure.measure_columns`).
        Displacements against the reference stay as precise, but chalcogens move all together
        against the metals: their absolute positions scatter a third more than the covariance says.
    n_asymmetry : int
        Radial splines of the angular terms.
    asymmetry_sigma : float
        How far the angular terms may depart from zero where the data are silent, in units of the
        transfer function.
    rim_pm : float
        Columns closer to the disc's rim are fitted, but not reported [pm].
    background_degree : int
        Degree of the polynomial background.
    min_weight : float
        Columns of less than this fraction of a metal column are empty.
    max_shift_pm, min_distance_pm : float
        Bounds that raise flags [pm].
    tolerance_pm : float
        Largest step of a position at convergence [pm].
    max_iterations : int
    """

    model: Annotated[str, OneOf(MODELS)] = "profile"
    correct: bool = False
    compare: bool = True
    n_coefficients: Annotated[int, Between(MIN_COEFFICIENTS, 40)] = 10
    check_coefficients: Annotated[int, Between(MIN_COEFFICIENTS, 40)] = 14
    cutoff_sigma: Annotated[float, Between(0.3, 2)] = 0.7
    information_limit_per_pm: Annotated[float, Between(0.004, 1)] = 0.012
    prior_sigma: Annotated[float, Between(1e-6, 1e6)] = 0.05
    asymmetric: bool = False
    n_asymmetry: Annotated[int, Between(MIN_SPLINES, 20)] = 8
    asymmetry_sigma: Annotated[float, Between(1e-6, 1e6)] = 0.02
    fit_radius_pm: Annotated[float, Between(400, 5000)] = 1400.0
    single_radius_pm: Annotated[float, Between(20, 200)] = 80.0
    rim_pm: Annotated[float, Between(0, 1000)] = 150.0
    background_degree: Annotated[int, Between(0, 4)] = 2
    min_weight: Annotated[float, Between(0, 1)] = 0.05
    max_shift_pm: Annotated[float, Between(1, 300)] = 100.0
    min_distance_pm: Annotated[float, Between(0, 300)] = 100.0
    tolerance_pm: Annotated[float, Between(0, 1)] = 1e-3
    max_iterations: Annotated[int, Between(1, 1000)] = 15

    @property
    def learns(self) -> bool:
        """Whether a profile is learnt anywhere, also beside the model asked for."""
        return self.model == "profile" or self.compare or self.correct


@dataclass(frozen=True)
class WindowResponse:
    """How positions and profile follow the pixels, in factors.

    What windows do is worked out with these in half the time that `ColumnFitModel.operator`, their
    product, takes to be formed and used.

    Parameters
    ----------
    jacobian : BlockJacobian
        Of all parameters of the class by the pixels, weighted, `(n, P)`.
    inverse : array, `(2M, n)`
        Of the normal equations: the rows of the reported positions.
    instrument : Instrument
        What finds the profile; weighted alike.
    profile_inverse : array, `(g, g)`
        Of the profile's normal equations.
    """

    jacobian: BlockJacobian
    inverse: FloatArray
    instrument: Instrument
    profile_inverse: FloatArray

    def of(self, pixels: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What pixels `(N, P)` do to the positions `(N, 2M)` [pm], and the profile, `(N, g)`."""
        followed = self.jacobian.times(pixels)
        found = self.instrument.shared @ pixels.T + self.instrument.gain.T @ followed
        by_profile = self.profile_inverse @ found
        return np.asarray((self.inverse @ followed).T), np.asarray(by_profile.T)


@dataclass(frozen=True)
class ColumnFitModel:
    """One class average fitted, with its linear response to the windows.

    Parameters
    ----------
    fits : ColumnFits
        The reported columns. `fit_columns` gives them the covariance of independent pixels of the
        average's standard error, which resampling and jitter make too small; `measure_columns`
        that of the windows' scatter. Zero before, and without operators.
    profile : ColumnProfile or None
        The learnt profile with this class's blur; None for single Gaussians.
    operator : array, `(2M, P)`
        Derivative of the positions by the pixels [pm]; NaN for columns without a position.
    pixel : array of bool, `(size, size)`
        The pixels that are used.
    model : array, `(P,)`
        The fitted average at those pixels.
    profile_gain : array, `(2M, g)`
        Shift of the positions by each free coefficient of the profile [pm].
    profile_operator : array, `(g, P)`
        Derivative of the coefficients by the pixels of one window of this class.
    profile_prior : array, `(g, k)`
        What independent one-sigma errors of what the profile is held to make of the coefficients;
        nothing for single Gaussians.
    structure : Structure or None
        All fitted parameters; None for single Gaussians.
    noise : NoiseModel or None
        Of single windows, whose inverse variance weighted the pixels; None for single Gaussians.
    centre_operator : array, `(P,)`, or None
        Derivative of the central column's weight, in units of a metal column's, by the pixels;
        None for single Gaussians.
    response : WindowResponse or None
        In the place of operators, where only windows are asked what they do.
    """

    fits: ColumnFits
    profile: ColumnProfile | None
    operator: FloatArray
    pixel: BoolArray
    model: FloatArray
    profile_gain: FloatArray
    profile_operator: FloatArray
    structure: Structure | None = None
    noise: NoiseModel | None = None
    centre_operator: FloatArray | None = None
    response: WindowResponse | None = None
    profile_prior: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))

    def without_operators(self) -> ColumnFitModel:
        """The same, without what pixels do to it; the arrays of operators have no pixels."""
        return replace(
            self,
            operator=np.zeros((len(self.operator), 0)),
            profile_operator=np.zeros((len(self.profile_operator), 0)),
            centre_operator=None,
            response=None,
        )


@dataclass(frozen=True)
class Alternative:
    """Another column model fitted to the same average.

    Parameters
    ----------
    position_pm : array, `(M, 2)`
        What it finds [pm]; NaN where it fails.
    bias_pm : array, `(M, 2)`
        What the same fit finds on a simulation of the fitted structure, less what was built in
        [pm].
    influence_pm : array, `(N, 2M)`
        Influence of each window on `position_pm`, mean zero [pm].
    """

    position_pm: FloatArray
    bias_pm: FloatArray
    influence_pm: FloatArray

    @property
    def corrected_pm(self) -> FloatArray:
        """Positions less their bias, `(M, 2)` [pm]."""
        return np.asarray(self.position_pm - self.bias_pm)


@dataclass(frozen=True)
class ColumnMeasurement:
    """Column positions of one class with what is known of their errors.

    Parameters
    ----------
    fits : ColumnFits
        With the covariance of the windows' scatter.
    influence_pm : array, `(N, 2M)`
        Influence of each window on each position, mean zero: the fit of an average of other
        windows is shifted by their mean influence [pm].
    profile_shift_pm : array, `(2M, g)`
        Shifts of the positions by independent one-sigma errors of the learnt profile [pm], by the
        noise of all windows and by what it is held to where they don't tell: the same errors for
        all classes, so that they mostly cancel in a difference.
    check_position_pm : array, `(M, 2)`
        Positions by the profile with `check_coefficients` [pm].
    check_shift_pm : array, `(2M, r)`
        What the noise of all windows makes of the difference between both, as shifts by independent
        one-sigma errors, the same for all classes [pm].
    model : ColumnFitModel
        Where images of different probe width were fitted apart: that of the largest group, whose
        operator says nothing of the other windows. `influence_pm` is of all.
    alternatives : mapping of model to Alternative
        The other column models, and ``asymmetric``: the profile with angular terms, where the
        positions' own has none. Empty without `ColumnConfig.compare`.
    bias_pm : array, `(M, 2)`, or None
        The bias that was subtracted from the positions [pm]; None without `ColumnConfig.correct`.
    config : ColumnConfig or None
        What it was fitted with (`asymmetric`, where that was found to be needed), for whatever is
        to be fitted alike; None where no image was.
    parts : tuple of (array of bool `(N,)`, ColumnFitModel)
        Where images of different probe width were fitted apart: the windows of each group, and
        their fit. Empty where `model` is of all windows.
    """

    fits: ColumnFits
    influence_pm: FloatArray
    profile_shift_pm: FloatArray
    check_position_pm: FloatArray
    check_shift_pm: FloatArray
    model: ColumnFitModel
    alternatives: Mapping[str, Alternative] = field(default_factory=dict)
    bias_pm: FloatArray | None = None
    config: ColumnConfig | None = None
    parts: tuple[tuple[BoolArray, ColumnFitModel], ...] = ()

    @property
    def fitted_parts(self) -> tuple[tuple[BoolArray, ColumnFitModel], ...]:
        """Windows of each fit, and the fit: one pair where all were fitted together."""
        return self.parts or ((np.ones(len(self.influence_pm), dtype=bool), self.model),)

    def without_operators_of_parts(self) -> ColumnMeasurement:
        """The same, no longer knowing what single pixels do to the fits of its parts.

        The windows have told by then, and operators take twenty megabytes a fit. Where all windows
        were fitted together nothing changes: what an average of other windows would have can be
        foreseen by its operator.
        """
        if not self.parts:
            return self
        parts = tuple((which, model.without_operators()) for which, model in self.parts)
        return replace(self, model=self.model.without_operators(), parts=parts)


def check_averages(averages: Mapping[str, ClassAverage], config: ColumnConfig) -> None:
    """Refuse averages that can't be fitted together.

    Raises
    ------
    DefectStrainError
        If there is none, their frames differ, they hold NaN, or are too small.
    """
    if not averages:
        raise DefectStrainError("columns: got no class average, expected at least one")
    first = next(iter(averages.values()))
    for name, a in averages.items():
        frame = (a.mean.shape, a.step_pm, a.a_pm)
        if frame != (first.mean.shape, first.step_pm, first.a_pm):
            raise DefectStrainError(
                f"columns: the average of {name} has {frame[0]} px of {a.step_pm:g} pm and "
                f"a = {a.a_pm:g} pm, expected those of {first.class_name}; average all classes "
                "with the same settings"
            )
        if a.mean.ndim != 2 or a.mean.shape[0] != a.mean.shape[1] or a.mean.shape[0] % 2 == 0:
            raise DefectStrainError(
                f"columns: got an average of {name} of shape {a.mean.shape}, "
                "expected a square of odd side"
            )
        if not np.all(np.isfinite(a.mean)):
            raise DefectStrainError(f"columns: the average of {name} holds NaN or infinity")
    reach = fit_radius_pm(first, config) - config.rim_pm
    if reach < 1.2 * first.a_pm / np.sqrt(3.0):
        raise DefectStrainError(
            f"columns: the windows reach {reach:.0f} pm (less the rim), expected at least the "
            "three nearest metal columns; use larger windows"
        )


def fit_radius_pm(average: ClassAverage, config: ColumnConfig) -> float:
    """Radius of the disc of pixels that is fitted [pm]."""
    return float(min(average.mean.shape[0] // 2 * average.step_pm, config.fit_radius_pm))
