"""Column positions of class averages: all columns together, and what each window says of them."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np

from ...progress import shared_out, subprogress
from ...types import ClassAverage, ClassStack, FloatArray, Progress, no_progress
from ..types import FLAGS
from .correction import column_bias, corrected, simulate_averages
from .models import Start, fit_singles, fit_start, fit_together
from .probe_groups import combine, split_by_probe
from .several import (
    ASYMMETRIC,
    CHECK,
    Fitted,
    Response,
    Windows,
    asked_models,
    asymmetry_p,
    fit_by_others,
    fit_models,
    project,
    worth_of_terms,
)
from .types import Alternative, ColumnConfig, ColumnFitModel, ColumnMeasurement, check_averages

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

SURELY_ASYMMETRIC = 1e-3
"""Chance of a symmetric profile's angular terms below which columns differ with direction."""
LEAST_WORTH = 0.1
"""Least square of what that does to displacements, in units of their variance, to be followed."""


def fit_columns(
    averages: Mapping[str, ClassAverage],
    config: ColumnConfig | None = None,
    progress: Progress = no_progress,
    respond: bool = True,
) -> dict[str, ColumnFitModel]:
    """Positions of all columns of each class average.

    Parameters
    ----------
    averages : mapping of class to ClassAverage
        Of one lattice frame: equal size, step and lattice constant.
    config : ColumnConfig, optional
    progress : Progress
    respond : bool
        Whether operators and covariances are wanted; without them those of the models that fit all
        columns together have no pixels.

    Returns
    -------
    dict of class to ColumnFitModel
        In the order of `averages`. Columns are those of `honeycomb.ideal_sites` within the reported
        radius, in its order: the same for all classes.

    Raises
    ------
    DefectStrainError
        If there is nothing to fit, the averages differ in their frame, hold NaN, or are too small.
    """
    config = config or ColumnConfig()
    check_averages(averages, config)
    if config.model == "gaussian":
        models = fit_singles(averages, config)
    else:
        start = fit_start(averages, config, subprogress(progress, 0.0, 0.4))
        rest = subprogress(progress, 0.4, 1.0)
        models = fit_together(averages, config, start, rest, respond)
    return {name: _with_covariance(model, averages[name]) for name, model in models.items()}


def _with_covariance(model: ColumnFitModel, average: ClassAverage) -> ColumnFitModel:
    """A fit with the covariance that independent pixels of the average would give it."""
    error = np.nan_to_num(average.sem[model.pixel])[: model.operator.shape[1]]
    scattered = model.operator * error
    covariance = scattered @ scattered.T  # a product with itself takes half the work
    return replace(model, fits=replace(model.fits, covariance_pm2=covariance))


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
    return project([model.operator], model, Windows.of(stack))[0]


def measure_columns(
    stacks: Mapping[str, ClassStack],
    averages: Mapping[str, ClassAverage],
    config: ColumnConfig | None = None,
    progress: Progress = no_progress,
    check: bool = True,
    respond: bool = True,
) -> dict[str, ColumnMeasurement]:
    """Fit all columns of all class averages, with the covariance of the windows' scatter.

    The covariance is the empirical ("sandwich") one: ``sum of outer(influence) / (N (N - 1))``.
    It needs no model of the noise, holds for correlated pixels, jitter and registration, and is
    NaN for a single window. The learnt profile is taken as known; its own error, from the
    windows of all classes, is in `ColumnMeasurement.profile_shift_pm`.

    Where the windows belong to groups of images of different probe width (`ClassStack.group`), the
    average of each group is fitted with a profile of its own. The positions of a class are the
    means of its groups', weighted by their windows: ``sum of (n_g / N) position_g``. Groups with
    fewer than 5 windows of a class, or of the most numerous class, join the nearest
    (`probe_groups.split_by_probe`).

    Where the other models are fitted too (`ColumnConfig.compare`) and the angular terms of the
    asymmetric one are surely more than noise (`several.asymmetry_p`) and change displacements by
    more than a third of their errors (`several.worth_of_terms`), the positions are those of an
    asymmetric profile, and `ColumnMeasurement.config` says so: strong astigmatism displaces columns
    around a defect by a picometre in a symmetric one.

    Parameters
    ----------
    stacks, averages : mappings by class
        Windows and their averages (`average.average_stack`); groups are averaged anew.
    config : ColumnConfig, optional
    progress : Progress
    check : bool
        Whether the second, richer profile is asked for: False where nothing asks what it says.
    respond : bool
        Whether errors are asked for: False, with zeros in their place, where columns get other
        places, with errors of their own. Half of the time goes into them.

    Returns
    -------
    dict of class to ColumnMeasurement
        In the order of `averages`.

    Raises
    ------
    DefectStrainError
        As `fit_columns`.
    """
    config = config or ColumnConfig()
    check_averages(averages, config)
    groups = split_by_probe({name: stacks[name] for name in averages})
    alone = len(groups) == 1
    begun = []
    for done, group in enumerate(groups):
        share = subprogress(progress, 0.2 * done / len(groups), 0.2 * (done + 1) / len(groups))
        own = averages if alone else group.averages()
        begun.append(_begin(stacks if alone else group.stacks, own, config, share, check, respond))
    fitted = []
    for done, one in enumerate(begun):
        first, last = (0.2 + 0.6 * k / len(groups) for k in (done, done + 1))
        part = subprogress(progress, first, last)
        fitted.append(
            fit_models(one.asked, one.averages, one.windows, one.start, config.model, part, respond)
        )
    measured = []
    for done, (one, every) in enumerate(zip(begun, fitted, strict=True)):
        first, last = (0.8 + 0.2 * k / len(groups) for k in (done, done + 1))
        measured.append(_measured(one, every, config, subprogress(progress, first, last)))
    progress(1.0, "Measured all columns")
    if alone:
        return measured[0]
    combined = combine(groups, measured)
    return {name: combined[name] for name in averages}


@dataclass(frozen=True)
class _Begun:
    """Windows of one probe width on their way.

    Parameters
    ----------
    averages : mapping of class to ClassAverage
    windows : mapping of class to Windows
    start : Start
    asked : mapping of str to ColumnConfig
        What this process fits.
    others : Future of dict of str to Fitted, or None
        What another one fits meanwhile.
    """

    averages: Mapping[str, ClassAverage]
    windows: Mapping[str, Windows]
    start: Start
    asked: Mapping[str, ColumnConfig]
    others: Future[dict[str, Fitted]] | None


def _begin(
    stacks: Mapping[str, ClassStack],
    averages: Mapping[str, ClassAverage],
    config: ColumnConfig,
    progress: Progress,
    check: bool,
    respond: bool,
) -> _Begun:
    """Where all models start; other processes, if there are any, go on with all but the own."""
    # all classes are of the same images
    probe = next(iter(stacks.values())).probe
    start = fit_start(averages, config, progress, probe)
    asked = asked_models(config, check)
    windows = {name: Windows.of(stacks[name]) for name in averages}
    rest = {name: settings for name, settings in asked.items() if name != config.model}
    others = fit_by_others(rest, averages, windows, start) if respond else None
    if others is not None:
        asked = {config.model: config}
    return _Begun(averages, windows, start, asked, others)


def _measured(
    begun: _Begun, every: dict[str, Fitted], config: ColumnConfig, progress: Progress
) -> dict[str, ColumnMeasurement]:
    """Windows of one probe width: the model, its check, and the other models beside it."""
    averages, start = begun.averages, begun.start
    if begun.others is not None:
        every |= begun.others.result()
    if ASYMMETRIC in every and _differ_with_direction(every[config.model], every[ASYMMETRIC]):
        part, progress = subprogress(progress, 0.0, 0.5), subprogress(progress, 0.5, 1.0)
        every, config = _with_direction(begun, every, config, part)
    models, by_models = every[config.model]
    checks, by_checks = every.pop(CHECK, every[config.model])
    by_check = _check_shifts(models, checks, by_models, by_checks)
    fitted = {name: by for name, (by, _) in every.items()}
    response = {name: {n: own for n, (own, _) in by.items()} for name, (_, by) in every.items()}
    alike = {name: by for name, by in fitted.items() if name != ASYMMETRIC}
    biases = _biases(averages, config, start, alike, progress)
    # the profile is a special case: what it would find on its own simulation is itself
    biases[ASYMMETRIC] = {n: np.zeros_like(m.fits.position_pm) for n, m in models.items()}
    covariance = sum(by_profile.T @ by_profile for _, by_profile in by_models.values())
    by_prior = next(iter(models.values())).profile_prior
    root = _square_root(np.asarray(covariance + by_prior @ by_prior.T))
    measured = {}
    for name, model in models.items():
        check_pm = checks[name].fits.position_pm
        bias = biases[config.model][name] if config.correct else None
        if bias is not None:
            model, check_pm = corrected(model, bias), check_pm - bias
        shifts = response[config.model][name]
        fits = replace(model.fits, covariance_pm2=windows_covariance(shifts))
        measured[name] = ColumnMeasurement(
            fits=fits,
            influence_pm=shifts,
            profile_shift_pm=model.profile_gain @ root,
            check_position_pm=check_pm,
            check_shift_pm=by_check[name],
            model=replace(model, fits=fits),
            alternatives={
                m: Alternative(by[name].fits.position_pm, biases[m][name], response[m][name])
                for m, by in fitted.items()
                if m != config.model
            },
            bias_pm=bias,
            config=config,
        )
    return measured


def _differ_with_direction(own: Fitted, asymmetric: Fitted) -> bool:
    """Whether angular terms are surely there, and worth a fit of their own."""
    if not asymmetry_p(asymmetric) < SURELY_ASYMMETRIC:
        return False
    return worth_of_terms(own, asymmetric) > LEAST_WORTH


def _with_direction(
    begun: _Begun, every: Mapping[str, Fitted], config: ColumnConfig, progress: Progress
) -> tuple[dict[str, Fitted], ColumnConfig]:
    """Profile and check fitted anew with angular terms, in the place of those without."""
    config = config.replace(asymmetric=True)
    asked = asked_models(config.replace(compare=False), CHECK in every)
    rest = {name: settings for name, settings in asked.items() if name == CHECK}
    others = fit_by_others(rest, begun.averages, begun.windows, begun.start)
    if others is not None:
        del asked[CHECK]
    again = fit_models(asked, begun.averages, begun.windows, begun.start, config.model, progress)
    if others is not None:
        again |= others.result()
    kept = {name: fitted for name, fitted in every.items() if name != ASYMMETRIC}
    return {**kept, **again}, config


def _biases(
    averages: Mapping[str, ClassAverage],
    config: ColumnConfig,
    start: Start,
    fitted: Mapping[str, Mapping[str, ColumnFitModel]],
    progress: Progress,
) -> dict[str, dict[str, FloatArray]]:
    """Bias of each model whose bias is asked for, on the structure that the profile finds."""
    asked = [m for m in fitted if m != config.model or config.correct]
    if not asked:
        return {}
    learnt = config.replace(model="profile")
    structures = fitted.get("profile") or fit_together(averages, learnt, start, no_progress)
    simulated = simulate_averages(structures, averages)

    def bias(model: str) -> dict[str, FloatArray]:
        alike = config.replace(model=model)
        return column_bias(structures, simulated, fitted[model], alike, start)

    said = "Fitting a simulation of the columns"
    return dict(zip(asked, shared_out(bias, asked, progress=progress, message=said), strict=True))


def _check_shifts(
    models: Mapping[str, ColumnFitModel],
    checks: Mapping[str, ColumnFitModel],
    by_models: Mapping[str, Response],
    by_checks: Mapping[str, Response],
) -> dict[str, FloatArray]:
    """What the windows' noise makes of all positions by the check less those by the model.

    A window acts on the columns of its own class, and by the learnt profile on those of all.
    """
    if checks is models:
        return {name: np.zeros((model.fits.site_pm.size, 0)) for name, model in models.items()}
    rows = []
    for of_window in models:
        difference = []
        for name in models:
            change: FloatArray = np.zeros(models[name].fits.site_pm.size)
            for sign, fitted, by in ((1.0, checks, by_checks), (-1.0, models, by_models)):
                own, by_profile = by[of_window]
                change = change + sign * by_profile @ fitted[name].profile_gain.T
                if name == of_window:
                    change = change + sign * own / len(own)
            difference.append(np.nan_to_num(change))
        n = len(difference[0])
        rows.append(np.sqrt(n / max(n - 1, 1)) * np.hstack(difference))
    every = np.concatenate(rows)
    root = _square_root(every.T @ every)
    sizes = [model.fits.site_pm.size for model in models.values()]
    return dict(zip(models, np.split(root, np.cumsum(sizes)[:-1]), strict=True))


def windows_covariance(influence_pm: FloatArray) -> FloatArray:
    """Covariance of an average's positions by the scatter of its windows, `(K, K)` [pm^2].

    ``sum of outer(influence) / (N (N - 1))`` for influences `(N, K)` of mean zero; NaN for one.
    """
    n = len(influence_pm)
    if n < 2:
        return np.full((influence_pm.shape[1],) * 2, np.nan)
    return np.asarray(influence_pm.T @ influence_pm / (n * (n - 1)))


def _square_root(covariance: FloatArray) -> FloatArray:
    value, vector = np.linalg.eigh(covariance)
    return np.asarray(vector * np.sqrt(np.maximum(value, 0.0)))
