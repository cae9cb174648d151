"""Column positions of class averages: all columns together, and what each window says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from .column_types import (
    FLAGS,
    Alternative,
    ColumnConfig,
    ColumnFitModel,
    ColumnMeasurement,
    check_averages,
    fit_radius_pm,
)
from .crowded import Geometry, State, start_state
from .joint import (
    FULL_BLUR,
    TRACELESS_BLUR,
    JointFit,
    classes_by_number,
    fit_jointly,
    target_of,
)
from .profiles import (
    ColumnProfile,
    FourierWindow,
    gaussian_profile,
    spline_profile,
)
from .single import fit_single_gaussians
from .types import (
    BoolArray,
    ClassAverage,
    ClassStack,
    ColumnFits,
    FloatArray,
    IntArray,
    Progress,
    no_progress,
)

__all__ = [
    "FLAGS",
    "Alternative",
    "ColumnConfig",
    "ColumnFitModel",
    "ColumnMeasurement",
    "fit_columns",
    "influence",
    "measure_columns",
]

CHECK_PRIOR = 5.0
START_TOLERANCE_PM = 0.3


def fit_columns(
    averages: Mapping[str, ClassAverage],
    config: ColumnConfig | None = None,
    progress: Progress = no_progress,
) -> dict[str, ColumnFitModel]:
    """Positions of all columns of each class average.

    Parameters
    ----------
    averages : mapping of class to ClassAverage
        Of one lattice frame: equal size, step and lattice constant.
    config : ColumnConfig, optional
    progress : Progress

    Returns
    -------
    dict of class to ColumnFitModel
        In the order of `averages`. Columns are those of `lattice.ideal_sites` within the reported
        radius, in its order: the same for all classes.

    Raises
    ------
    DefectStrainError
        If there is nothing to fit, the averages differ in their frame, hold NaN, or are too small.
    """
    config = config or ColumnConfig()
    check_averages(averages, config)
    if config.model == "gaussian":
        return {name: _fit_single(a, config) for name, a in averages.items()}
    start = _fit_gaussians(averages, config, lambda f, m: progress(0.4 * f, m))
    return _fit_together(averages, config, start, lambda f, m: progress(0.4 + 0.6 * f, m))


def influence(model: ColumnFitModel, stack: ClassStack) -> FloatArray:
    """Influence of each window on each fitted position, `(N, 2M)` [pm].

    The Gauss-Newton step from the fit of the average to that of the window alone, less its mean
    over the windows (zero up to the fit's tolerance): the fit of the average of any sample of
    windows is shifted by the sample's mean influence, to first order in that shift.

    Parameters
    ----------
    model : ColumnFitModel
        The fit of this stack's average.
    stack : ClassStack
        Only included windows count.

    Returns
    -------
    array, `(N, 2M)`
        Columns as ``position_pm.ravel()``; NaN where there is no position.
    """
    return _project(model.operator, model, stack)


def measure_columns(
    stacks: Mapping[str, ClassStack],
    averages: Mapping[str, ClassAverage],
    config: ColumnConfig | None = None,
    progress: Progress = no_progress,
) -> dict[str, ColumnMeasurement]:
    """Fit all columns of all class averages, with the covariance of the windows' scatter.

    The covariance is the empirical ("sandwich") one: ``sum of outer(influence) / (N (N - 1))``.
    It needs no model of the noise, holds for correlated pixels, jitter and registration, and is
    NaN for a single window. The learnt profile is taken as known; its own error, from the
    windows of all classes, is in `ColumnMeasurement.profile_shift_pm`.

    Parameters
    ----------
    stacks, averages : mappings by class
        Windows and their averages (`average.average_stack`).
    config : ColumnConfig, optional
    progress : Progress

    Raises
    ------
    DefectStrainError
        As `fit_columns`.
    """
    config = config or ColumnConfig()
    check_averages(averages, config)
    if config.model == "gaussian":
        models = checks = fit_columns(averages, config)
    else:
        start = _fit_gaussians(averages, config, lambda f, m: progress(0.3 * f, m))
        models = checks = _fit_together(
            averages, config, start, lambda f, m: progress(0.3 + 0.3 * f, m)
        )
    if config.model == "profile":
        loose = CHECK_PRIOR * config.prior_sigma
        other = config.replace(n_coefficients=config.check_coefficients, prior_sigma=loose)
        checks = _fit_together(averages, other, start, lambda f, m: progress(0.6 + 0.3 * f, m))
    shifts: dict[str, FloatArray] = {}
    covariance = np.zeros((len(next(iter(models.values())).profile_operator),) * 2)
    for name, model in models.items():
        shifts[name] = influence(model, stacks[name])
        by_window = _project(model.profile_operator, model, stacks[name])
        covariance += by_window.T @ by_window
    root = _square_root(covariance)
    progress(1.0, "Measured all columns")
    return {
        name: ColumnMeasurement(
            fits=replace(model.fits, covariance_pm2=_sandwich(shifts[name])),
            influence_pm=shifts[name],
            profile_shift_pm=model.profile_gain @ root,
            check_position_pm=checks[name].fits.position_pm,
            model=model,
        )
        for name, model in models.items()
    }


def _project(operator: FloatArray, model: ColumnFitModel, stack: ClassStack) -> FloatArray:
    windows = stack.windows[stack.included][:, model.pixel]
    response = (windows - model.model) @ operator.T
    return np.asarray(response - response.mean(axis=0))


def _sandwich(influence_pm: FloatArray) -> FloatArray:
    n = len(influence_pm)
    if n < 2:
        return np.full((influence_pm.shape[1],) * 2, np.nan)
    return np.asarray(influence_pm.T @ influence_pm / (n * (n - 1)))


def _square_root(covariance: FloatArray) -> FloatArray:
    value, vector = np.linalg.eigh(covariance)
    return np.asarray(vector * np.sqrt(np.maximum(value, 0.0)))


def _geometry(average: ClassAverage, config: ColumnConfig, sigma_pm: float) -> Geometry:
    nyquist = 0.5 / average.step_pm
    window = FourierWindow(average.mean.shape[0], average.step_pm, min(1.1 / sigma_pm, nyquist))
    return Geometry(
        window,
        average.a_pm,
        fit_radius_pm(average, config),
        1.5 * average.a_pm,
        config.background_degree,
    )


@dataclass(frozen=True)
class _Start:
    """Every class fitted by one Gaussian of shared width: where all other fits start."""

    geometry: Geometry
    states: Mapping[str, State]
    sigma_pm: float


def _fit_gaussians(
    averages: Mapping[str, ClassAverage], config: ColumnConfig, progress: Progress
) -> _Start:
    names = classes_by_number(averages)
    sigma_pm = averages[names[0]].a_pm / 6.0
    geometry = _geometry(averages[names[0]], config, sigma_pm)
    states: dict[str, State] = {}
    for done, name in enumerate(names):
        progress(done / len(names), f"Fitting the columns of {name}")
        profile = gaussian_profile(sigma_pm)
        target = target_of(geometry, averages[name], FULL_BLUR)
        start = start_state(geometry, target.data, profile, profile.blur_pm2, config.min_weight)
        joint = fit_jointly(
            geometry,
            {name: target},
            {name: start},
            profile,
            np.arange(0),
            config.prior_sigma,
            max(config.tolerance_pm, START_TOLERANCE_PM),
            config.max_iterations,
        )
        state = joint.states[name]
        least = config.min_weight * np.mean(state.weight[geometry.is_metal])
        states[name] = replace(state, empty=state.empty | (state.weight < least))
        if done == 0:  # the most numerous class gives the width
            width = max(float(state.blur_pm2[[0, 2]].mean()), geometry.window.step_pm**2)
            sigma_pm = float(np.sqrt(width))
    return _Start(geometry, states, sigma_pm)


def _fit_together(
    averages: Mapping[str, ClassAverage], config: ColumnConfig, start: _Start, progress: Progress
) -> dict[str, ColumnFitModel]:
    """All columns of all classes: one learnt profile, or one Gaussian for each class."""
    sigma_pm, states = start.sigma_pm, start.states
    if config.model == "gaussians":
        profile = gaussian_profile(sigma_pm)
        free: IntArray = np.arange(0)
        bases = dict.fromkeys(averages, FULL_BLUR)
        groups = [[name] for name in averages]
    else:
        shape = (config.n_coefficients, config.cutoff_sigma, config.information_limit_per_pm)
        profile = spline_profile(sigma_pm, *shape, _first_spot(start.geometry.a_pm))
        free = _free_coefficients(profile, start.geometry.a_pm)
        width = np.array([sigma_pm**2, 0.0, sigma_pm**2])
        states = {n: replace(s, blur_pm2=s.blur_pm2 - width) for n, s in states.items()}
        reference = classes_by_number(averages)[0]
        bases = {n: TRACELESS_BLUR if n == reference else FULL_BLUR for n in averages}
        groups = [list(averages)]
    geometry = start.geometry.with_cutoff(profile.cutoff_per_pm)
    found: dict[str, ColumnFitModel] = {}
    for done, group in enumerate(groups):
        progress(done / len(groups), "Fitting all columns together")
        joint = fit_jointly(
            geometry,
            {n: target_of(geometry, averages[n], bases[n]) for n in group},
            {n: states[n] for n in group},
            profile,
            free,
            config.prior_sigma,
            config.tolerance_pm,
            config.max_iterations,
        )
        for name in group:
            found[name] = _report(geometry, averages[name], joint, config)
    progress(1.0, "Fitted all columns")
    return {name: found[name] for name in averages}


def _first_spot(a_pm: float) -> float:
    """Frequency of the {10} spots [1/pm]."""
    return float(2.0 / (np.sqrt(3.0) * a_pm))


def _free_coefficients(profile: ColumnProfile, a_pm: float) -> IntArray:
    """All coefficients but the last, zero, and the one that matters most at the {10} spots.

    A common factor of weights and profile is arbitrary. It is tied where the data are strongest:
    the integral, T(0), is nearly hidden by the background.
    """
    spot = profile.basis(np.array([_first_spot(a_pm)]))[0]
    return np.delete(np.arange(len(spot) - 1), int(np.argmax(spot)))


def _report(
    geometry: Geometry,
    average: ClassAverage,
    joint: JointFit,
    config: ColumnConfig,
) -> ColumnFitModel:
    """The columns far enough from the rim, with their response to the pixels."""
    name = average.class_name
    state, part = joint.states[name], joint.linearised[name]
    shown = _shown(geometry.site_pm, geometry.radius_pm - config.rim_pm)
    place = np.cumsum(~state.empty) - 1
    n_free = int((~state.empty).sum())
    rows = np.stack([place[shown], place[shown] + n_free], axis=1).ravel()
    empty = np.repeat(state.empty[shown], 2)
    inverse = np.where(empty[:, None], np.nan, part.inverse[rows])
    gain = np.where(empty[:, None], np.nan, part.gain[rows])
    flag = _flags(state, geometry, shown, joint.converged, config)
    position = _positions(state.position_pm[shown], flag)
    operator = inverse @ part.jacobian
    sem = np.nan_to_num(average.sem[geometry.pixel])
    fits = ColumnFits(
        class_name=name,
        site_pm=geometry.site_pm[shown],
        is_metal=geometry.is_metal[shown],
        position_pm=position,
        covariance_pm2=(operator * sem**2) @ operator.T,
        weight=state.weight[shown] / np.mean(state.weight[shown & geometry.is_metal]),
        flag=flag,
    )
    return ColumnFitModel(
        fits=fits,
        profile=joint.profile.normalised().with_blur(state.blur_pm2),
        operator=operator,
        pixel=geometry.pixel,
        model=average.mean[geometry.pixel] - joint.residual[name],
        profile_gain=gain,
        profile_operator=joint.profile_inverse @ part.projected,
    )


def _shown(site_pm: FloatArray, radius_pm: float) -> BoolArray:
    return np.asarray(np.hypot(*site_pm.T) <= radius_pm + 1e-6)


def _flags(
    state: State, geometry: Geometry, shown: BoolArray, converged: bool, config: ColumnConfig
) -> IntArray:
    flag = np.full(int(shown.sum()), 0 if converged else FLAGS["not_converged"])
    position = state.position_pm
    shift = np.hypot(*(position - geometry.site_pm).T)[shown]
    flag |= np.where(shift > config.max_shift_pm, FLAGS["at_bound"], 0)
    flag |= np.where(state.empty[shown], FLAGS["low_signal"], 0)
    outside = np.hypot(*position[shown].T) > geometry.radius_pm
    flag |= np.where(outside, FLAGS["outside"], 0)
    nearest = cKDTree(position[~state.empty]).query(position[shown], k=2)[0][:, 1]
    close = (nearest < config.min_distance_pm) & ~state.empty[shown]
    flag |= np.where(close, FLAGS["overlapping"], 0)
    return flag


def _positions(position_pm: FloatArray, flag: IntArray) -> FloatArray:
    """Positions, NaN where a flag other than ``overlapping`` is raised."""
    bad = (flag & ~FLAGS["overlapping"]) != 0
    return np.where(bad[:, None], np.nan, position_pm)


def _fit_single(average: ClassAverage, config: ColumnConfig) -> ColumnFitModel:
    """The paper's fit: every column on its own."""
    geometry = _geometry(average, config, average.a_pm / 6.0)
    shown = _shown(geometry.site_pm, geometry.radius_pm - config.rim_pm)
    site, is_metal = geometry.site_pm[shown], geometry.is_metal[shown]
    single = fit_single_gaussians(
        average.mean, average.step_pm, site, config.single_radius_pm, average.a_pm / 6.0
    )
    weight = single.weight / np.mean(single.weight[is_metal])
    flag = np.zeros(len(site), dtype=np.intp)
    flag |= np.where(single.converged, 0, FLAGS["not_converged"])
    shift = np.hypot(*(np.nan_to_num(single.position_pm) - site).T)
    flag |= np.where(single.converged & (shift > config.max_shift_pm), FLAGS["at_bound"], 0)
    flag |= np.where(weight < config.min_weight, FLAGS["low_signal"], 0)
    position = _positions(single.position_pm, flag)
    operator = np.where(np.isnan(position.ravel())[:, None], np.nan, single.operator)
    sem = np.nan_to_num(average.sem[single.pixel])
    return ColumnFitModel(
        fits=ColumnFits(
            class_name=average.class_name,
            site_pm=site,
            is_metal=is_metal,
            position_pm=position,
            covariance_pm2=(operator * sem**2) @ operator.T,
            weight=weight,
            flag=flag,
        ),
        profile=None,
        operator=operator,
        pixel=single.pixel,
        model=single.model,
        profile_gain=np.zeros((len(operator), 0)),
        profile_operator=np.zeros((0, int(single.pixel.sum()))),
    )
