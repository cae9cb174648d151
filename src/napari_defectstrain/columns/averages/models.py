"""The three models of a class average's columns, each from averages to `ColumnFitModel`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from ...progress import shared_out
from ...types import (
    BoolArray,
    ClassAverage,
    ColumnFits,
    FloatArray,
    IntArray,
    KnownProbe,
    Progress,
)
from ..asymmetry import no_terms
from ..noise import NoiseModel, fit_noise
from ..probe_family import FOCUS_AMOUNT, family_member, family_way, focused
from ..profiles import ColumnProfile, FourierWindow, gaussian_profile, spline_profile
from ..types import FLAGS
from .crowded import Geometry, LinearStart, State, Structure
from .joint import (
    FULL_BLUR,
    TRACELESS_BLUR,
    JointFit,
    Target,
    classes_by_number,
    fit_jointly,
    target_of,
)
from .single import fit_single_gaussians
from .types import ColumnConfig, ColumnFitModel, WindowResponse, fit_radius_pm

START_TOLERANCE_PM = 0.3
_MOST_STRAYS = 4
_WEAK = 0.5  # of a whole chalcogen column; what weighs more holds its place


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
class Start:
    """Every class fitted by one Gaussian of its own width: where all other fits start.

    Parameters
    ----------
    geometry : Geometry
    states : mapping of class to State
    sigma_pm : float
        Width of the Gaussian of the most numerous class.
    noise : NoiseModel
        Of single windows, all classes together.
    variance : mapping of class to array, `(P,)`
        The noise at the pixels of the fitted Gaussians.
    probe : KnownProbe or None
        What the learnt profile starts from and is held to; None: a probe in focus.
    """

    geometry: Geometry
    states: Mapping[str, State]
    sigma_pm: float
    noise: NoiseModel
    variance: Mapping[str, FloatArray]
    probe: KnownProbe | None = None

    @property
    def noise_variance(self) -> float:
        """Variance of a pixel of mean weight: the harmonic mean of all."""
        if self.noise.silent:
            return 0.0
        return float(1.0 / np.mean([np.mean(1.0 / v) for v in self.variance.values()]))


def fit_start(
    averages: Mapping[str, ClassAverage],
    config: ColumnConfig,
    progress: Progress,
    probe: KnownProbe | None = None,
) -> Start:
    """Fit all columns of each class by Gaussians, roughly, and the noise around them."""
    names = classes_by_number(averages)
    sigma_pm = averages[names[0]].a_pm / 6.0
    geometry = _geometry(averages[names[0]], config, sigma_pm)
    geometry.prepare()
    progress(0.0, f"Fitting the columns of {names[0]}")
    first = _roughly(geometry, averages[names[0]], gaussian_profile(sigma_pm), config)
    # the most numerous class gives the width
    width = max(float(first[0].blur_pm2[[0, 2]].mean()), geometry.window.step_pm**2)
    sigma_pm = float(np.sqrt(width))
    progress(1.0 / len(names), "Fitting the columns of the other classes")
    profile = gaussian_profile(sigma_pm)
    at_sites = LinearStart.of(geometry, profile) if names[1:] else None
    others = shared_out(
        lambda name: _roughly(geometry, averages[name], profile, config, at_sites), names[1:]
    )
    found = dict(zip(names, [first, *others], strict=True))
    states = {name: state for name, (state, _) in found.items()}
    means = {name: mean for name, (_, mean) in found.items()}
    number = {n: averages[n].n for n in names}
    scatter = {n: averages[n].sem[geometry.pixel] ** 2 * number[n] for n in names}
    noise = fit_noise(means, scatter, number)
    variance = {n: noise.variance(means[n]) for n in names}
    return Start(geometry, states, sigma_pm, noise, variance, probe)


def _roughly(
    geometry: Geometry,
    average: ClassAverage,
    profile: ColumnProfile,
    config: ColumnConfig,
    at_sites: LinearStart | None = None,
) -> tuple[State, FloatArray]:
    """One class fitted by Gaussians from its ideal sites, and its mean at the pixels `(P,)`."""
    name = average.class_name
    target = _even_target(geometry, average)
    at_sites = at_sites or LinearStart.of(geometry, profile)
    start = at_sites.state(target.data, config.min_weight)
    rough = config.replace(tolerance_pm=max(config.tolerance_pm, START_TOLERANCE_PM))
    none = np.arange(0)
    joint = _fit_without_strays(
        geometry, {name: target}, {name: start}, profile, none, config.prior_sigma, rough, False
    )
    state = joint.states[name]
    least = config.min_weight * np.mean(state.weight[geometry.is_metal])
    state = replace(state, empty=state.empty | (state.weight < least))
    return state, target.data - joint.residual[name]


def _even_target(geometry: Geometry, average: ClassAverage) -> Target:
    """An average whose pixels all weigh the same."""
    sem = average.sem[geometry.pixel]
    variance = float(np.mean(sem**2)) * average.n if np.all(np.isfinite(sem)) else 0.0
    return Target(average.mean[geometry.pixel], average.n, variance, FULL_BLUR)


@dataclass(frozen=True)
class _Plan:
    """What one model of all columns fits: which classes together, what is free, from where.

    `ways` are departures of the profile that are as likely as not, `apart` is how far its start
    lies from the middle of what it may be.
    """

    geometry: Geometry
    groups: list[list[str]]
    profile: ColumnProfile
    free: IntArray
    prior_sigma: FloatArray
    ways: FloatArray
    apart: FloatArray
    blur_basis: Mapping[str, FloatArray]
    states: Mapping[str, State]


def _plan(averages: Mapping[str, ClassAverage], config: ColumnConfig, start: Start) -> _Plan:
    """All classes with one learnt profile, or each with a Gaussian of its own."""
    sigma_pm, states = start.sigma_pm, start.states
    if config.model == "gaussians":
        profile = gaussian_profile(sigma_pm)
        geometry = start.geometry.with_cutoff(profile.cutoff_per_pm)
        bases = dict.fromkeys(averages, FULL_BLUR)
        groups = [[n] for n in averages]
        none = np.zeros(0)
        return _Plan(geometry, groups, profile, np.arange(0), none, none, none, bases, states)
    shape = (config.n_coefficients, config.cutoff_sigma, config.information_limit_per_pm)
    spot = _first_spot(start.geometry.a_pm)
    profile = spline_profile(sigma_pm, *shape, spot)
    profile, way = _beforehand(profile, start.probe, config.information_limit_per_pm, spot)
    width = np.array([sigma_pm**2, 0.0, sigma_pm**2])
    states = {n: replace(s, blur_pm2=s.blur_pm2 - width) for n, s in states.items()}
    reference = classes_by_number(averages)[0]
    bases = {n: TRACELESS_BLUR if n == reference else FULL_BLUR for n in averages}
    free, tied = _free_coefficients(profile, start.geometry.a_pm)
    # what moves the tied coefficient moves all others the other way
    way = (way - profile.coefficient * way[tied] / profile.coefficient[tied])[free]
    prior = np.full(len(free), config.prior_sigma)
    if config.asymmetric:
        terms = no_terms(config.n_asymmetry, _first_spot(start.geometry.a_pm))
        number = len(terms.coefficient)
        free = np.concatenate([free, len(profile.coefficient) + np.arange(number)])
        prior = np.concatenate([prior, np.full(number, config.asymmetry_sigma)])
        way = np.concatenate([way, np.zeros(number)])
        profile = replace(profile, asymmetry=terms)
    geometry = start.geometry.with_cutoff(profile.cutoff_per_pm)
    groups, ways = [list(averages)], way[:, None]
    # probes lie about the family's mean; where nothing is known, the fit starts from one in focus
    apart = -FOCUS_AMOUNT * ways if start.probe is None else ways[:, :0]
    return _Plan(geometry, groups, profile, free, prior, ways, apart, bases, states)


def _beforehand(
    profile: ColumnProfile, probe: KnownProbe | None, limit: float, spot: float
) -> tuple[ColumnProfile, FloatArray]:
    """The profile before anything is learnt, and one standard deviation of what it may be."""
    if probe is None:
        profile = focused(profile, limit, spot)
        return profile, family_way(profile, limit, spot)
    profile = family_member(profile, limit, spot, probe.amount)
    return profile, probe.sigma * family_way(profile, limit, spot)


def fit_together(
    averages: Mapping[str, ClassAverage],
    config: ColumnConfig,
    start: Start,
    progress: Progress,
    respond: bool = True,
    operators: bool = True,
) -> dict[str, ColumnFitModel]:
    """All columns of all classes: one learnt profile, or one Gaussian for each class.

    Parameters
    ----------
    averages : mapping of class to ClassAverage
    config : ColumnConfig
    start : Start
        Of these averages, or of much the same: a simulation of their fit.
    progress : Progress
    respond : bool
        Whether operators and covariances are wanted; without them they have no pixels.
    operators : bool
        False: `ColumnFitModel.response` in their place.
    """
    plan = _plan(averages, config, start)
    noise = start.noise_variance

    def fit_group(group: list[str]) -> dict[str, ColumnFitModel]:
        targets = {
            n: target_of(plan.geometry, averages[n], plan.blur_basis[n], start.variance[n], noise)
            for n in group
        }
        joint = _fit_without_strays(
            plan.geometry,
            targets,
            {n: plan.states[n] for n in group},
            plan.profile,
            plan.free,
            plan.prior_sigma,
            config,
            respond,
            plan.ways,
            plan.apart,
        )
        reported = shared_out(
            lambda name: _report(plan, averages[name], joint, config, start.noise, operators), group
        )
        return dict(zip(group, reported, strict=True))

    progress(0.0, "Fitting all columns together")
    plan.geometry.prepare()
    found: dict[str, ColumnFitModel] = {}
    for fitted in shared_out(fit_group, plan.groups):
        found |= fitted
    progress(1.0, "Fitted all columns")
    return {name: found[name] for name in averages}


def _fit_without_strays(
    geometry: Geometry,
    targets: Mapping[str, Target],
    states: Mapping[str, State],
    profile: ColumnProfile,
    free: IntArray,
    prior_sigma: float | FloatArray,
    config: ColumnConfig,
    respond: bool,
    ways: FloatArray | None = None,
    apart: FloatArray | None = None,
) -> JointFit:
    """Fit once more where a column too weak to hold its place has strayed, with that one empty.

    A nearly empty column of a class of few windows may wander onto its neighbour, take the light
    of that column for its own and push it aside: a metal that is wrong by half an angstrom. A
    column of the rim, half of whose pixels lie outside, may leave them with a weight beyond all
    measure, from which no other column finds back; it is not reported, and stays on its site.
    """
    for _ in range(_MOST_STRAYS):
        joint = fit_jointly(
            geometry,
            targets,
            states,
            profile,
            free,
            prior_sigma,
            config.tolerance_pm,
            config.max_iterations,
            respond,
            ways,
            apart,
        )
        stray = {n: _strayed(geometry, states[n], joint.states[n], config) for n in states}
        if not any(found.any() for found in stray.values()):
            break
        states = {n: states[n].emptied(geometry.site_pm, stray[n]) for n in states}
    return joint


def _strayed(geometry: Geometry, start: State, end: State, config: ColumnConfig) -> BoolArray:
    """Columns that left their sites, weak where they began or in the rim, `(M,)`."""
    position, site = end.position_pm, geometry.site_pm
    far = ~end.empty & (np.hypot(*(position - site).T) > config.max_shift_pm)
    typical = float(np.median(start.weight[~geometry.is_metal]))
    weak = ~geometry.is_metal & (start.weight < _WEAK * typical)
    weak &= np.hypot(*site.T) < geometry.radius_pm
    rim = ~_shown(site, geometry.radius_pm - config.rim_pm)
    return np.asarray(far & (weak | rim))


def _first_spot(a_pm: float) -> float:
    """Frequency of the {10} spots [1/pm]."""
    return float(2.0 / (np.sqrt(3.0) * a_pm))


def _free_coefficients(profile: ColumnProfile, a_pm: float) -> tuple[IntArray, int]:
    """All coefficients but the last, zero, and the one that matters most at the {10} spots, and it.

    A common factor of weights and profile is arbitrary. It is tied where the data are strongest:
    the integral, T(0), is nearly hidden by the background.
    """
    spot = profile.basis(np.array([_first_spot(a_pm)]))[0]
    tied = int(np.argmax(spot))
    return np.delete(np.arange(len(spot) - 1), tied), tied


def _report(
    plan: _Plan,
    average: ClassAverage,
    joint: JointFit,
    config: ColumnConfig,
    noise: NoiseModel,
    operators: bool,
) -> ColumnFitModel:
    """The columns far enough from the rim, with their response to the pixels."""
    name, geometry = average.class_name, plan.geometry
    state = joint.states[name]
    shown = _shown(geometry.site_pm, geometry.radius_pm - config.rim_pm)
    response = _response(state, shown, joint, name)
    operator: FloatArray = np.zeros((2 * int(shown.sum()), 0))
    gain = operator
    profile_operator = np.zeros((0, 0))
    flag = _flags(state, geometry, shown, joint.converged, config)
    if response is not None:
        part, unknown = joint.linearised[name], np.asarray(np.isnan(response.inverse).any(axis=1))
        lost = unknown.reshape(-1, 2).any(axis=1) & ~state.empty[shown]
        flag |= np.where(lost, FLAGS["outside"], 0)
        gain = np.where(unknown[:, None], np.nan, part.gain[_rows(state, shown)])
        if operators:
            operator = part.jacobian.combined(response.inverse)
            profile_operator = joint.profile_inverse @ part.projected()
    metal = float(np.mean(state.weight[shown & _metals(geometry, average)]))
    fits = ColumnFits(
        class_name=name,
        site_pm=geometry.site_pm[shown],
        is_metal=geometry.is_metal[shown],
        position_pm=_positions(state.position_pm[shown], flag),
        covariance_pm2=np.zeros((len(operator),) * 2),
        weight=state.weight[shown] / metal,
        flag=flag,
        on_metal=average.on_metal,
    )
    return ColumnFitModel(
        fits=fits,
        profile=joint.profile.normalised().with_blur(state.blur_pm2),
        operator=operator,
        pixel=geometry.pixel,
        model=average.mean[geometry.pixel] - joint.residual[name],
        profile_gain=gain,
        profile_operator=profile_operator,
        profile_prior=joint.by_prior,
        structure=Structure(
            geometry, state, joint.profile, plan.free, plan.blur_basis[name], shown
        ),
        noise=noise,
        centre_operator=_centre_response(geometry, state, joint, name, metal)
        if operators
        else None,
        response=None if operators else response,
    )


def _metals(geometry: Geometry, average: ClassAverage) -> BoolArray:
    """Metal columns of an average, whose mean weight is the unit; not the one at the centre."""
    if not average.on_metal:
        return geometry.is_metal
    return np.asarray(~geometry.is_metal & (np.hypot(*geometry.site_pm.T) > 0.1 * geometry.a_pm))


def _centre_response(
    geometry: Geometry, state: State, joint: JointFit, name: str, metal: float
) -> FloatArray | None:
    """How the central column's weight, in metal columns, follows the pixels; None if not asked."""
    if name not in joint.linearised:
        return None
    part = joint.linearised[name]
    centre = int(np.argmin(np.hypot(*geometry.site_pm.T)))
    row = 2 * int((~state.empty).sum()) + centre  # after the positions, see `jacobian`
    return part.jacobian.combined(part.inverse[row] / metal)


def _rows(state: State, shown: BoolArray) -> IntArray:
    """Rows of x and y of the reported columns, one column after the other, see `jacobian`."""
    place, n_free = np.cumsum(~state.empty) - 1, int((~state.empty).sum())
    return np.stack([place[shown], place[shown] + n_free], axis=1).ravel()


def _response(state: State, shown: BoolArray, joint: JointFit, name: str) -> WindowResponse | None:
    """How the reported positions, and the profile, follow the pixels; NaN for empty columns."""
    if name not in joint.linearised:
        return None
    part, rows = joint.linearised[name], _rows(state, shown)
    # a column that left the pixels follows none of them
    lost = np.repeat(state.empty[shown], 2) | (np.diag(part.inverse)[rows] == 0.0)
    inverse = np.where(lost[:, None], np.nan, part.inverse[rows])
    return WindowResponse(part.jacobian, inverse, part.instrument, joint.profile_inverse)


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
    close = _crowded(position, ~state.empty, config)[shown]
    flag |= np.where(close, FLAGS["overlapping"], 0)
    return flag


def _positions(position_pm: FloatArray, flag: IntArray) -> FloatArray:
    """Positions, NaN where a flag other than ``overlapping`` is raised."""
    bad = (flag & ~FLAGS["overlapping"]) != 0
    return np.where(bad[:, None], np.nan, position_pm)


def fit_singles(
    averages: Mapping[str, ClassAverage], config: ColumnConfig
) -> dict[str, ColumnFitModel]:
    """The paper's fit: every column on its own."""
    first = next(iter(averages.values()))
    sigma_pm = first.a_pm / 6.0
    geometry = _geometry(first, config, sigma_pm)
    at_sites = LinearStart.of(geometry, gaussian_profile(sigma_pm))
    fitted = shared_out(
        lambda average: _fit_single(average, config, geometry, at_sites), averages.values()
    )
    return dict(zip(averages, fitted, strict=True))


def _fit_single(
    average: ClassAverage, config: ColumnConfig, geometry: Geometry, at_sites: LinearStart
) -> ColumnFitModel:
    sigma_pm = average.a_pm / 6.0
    shown = _shown(geometry.site_pm, geometry.radius_pm - config.rim_pm)
    site, is_metal = geometry.site_pm[shown], geometry.is_metal[shown]
    single = fit_single_gaussians(
        average.mean, average.step_pm, site, config.single_radius_pm, sigma_pm
    )
    # Alone, an empty column's pixels hold the tails of its neighbours, which a Gaussian may or
    # may not fit: whether it is empty is for all columns together to say
    together = at_sites.state(average.mean[geometry.pixel], config.min_weight)
    empty, converged = together.empty[shown], single.converged & ~together.empty[shown]
    metal = single.weight[_metals(geometry, average)[shown] & converged]
    weight = np.where(converged, single.weight / (metal.mean() if metal.size else 1.0), 0.0)
    flag = np.zeros(len(site), dtype=np.intp)
    flag |= np.where(converged | empty, 0, FLAGS["not_converged"])
    shift = np.hypot(*(np.nan_to_num(single.position_pm) - site).T)
    flag |= np.where(converged & (shift > config.max_shift_pm), FLAGS["at_bound"], 0)
    flag |= np.where(empty | (converged & (weight < config.min_weight)), FLAGS["low_signal"], 0)
    flag |= np.where(_crowded(single.position_pm, converged, config), FLAGS["overlapping"], 0)
    position = _positions(single.position_pm, flag)
    operator = np.where(np.isnan(position.ravel())[:, None], np.nan, single.operator)
    return ColumnFitModel(
        fits=ColumnFits(
            class_name=average.class_name,
            site_pm=site,
            is_metal=is_metal,
            position_pm=position,
            covariance_pm2=np.zeros((len(operator),) * 2),
            weight=weight,
            flag=flag,
            on_metal=average.on_metal,
        ),
        profile=None,
        operator=operator,
        pixel=single.pixel,
        model=single.model,
        profile_gain=np.zeros((len(operator), 0)),
        profile_operator=np.zeros((0, int(single.pixel.sum()))),
    )


def _crowded(position_pm: FloatArray, good: BoolArray, config: ColumnConfig) -> BoolArray:
    """Good columns that have another one closer than allowed, `(M,)`."""
    close = np.zeros(len(position_pm), dtype=bool)
    if int(good.sum()) > 1:
        distance = cKDTree(position_pm[good]).query(position_pm[good], k=2)[0][:, 1]
        close[good] = distance < config.min_distance_pm
    return close
