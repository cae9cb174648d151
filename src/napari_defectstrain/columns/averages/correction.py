"""Bias of a column fit by simulation: image the fitted structure, fit that alike, compare.

A fit that lacks the probe's tails finds columns displaced towards their bright neighbours. How far
it says itself: the fitted positions and weights, the learnt profile and the background make a
noise-free incoherent image whose columns are known, and what the same fit finds there, less what
was built in, is its bias. Subtracted, it leaves what the profile gets wrong, to second order in
the bias. (Lee et al., doi:10.1021/acs.nanolett.0c00269, compare their measurement with images
simulated from relaxed structures for the same reason.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ...types import ClassAverage, DefectStrainError, FloatArray, no_progress
from ..types import FLAGS
from .models import Start, fit_singles, fit_together
from .types import ColumnConfig, ColumnFitModel


def simulate_averages(
    models: Mapping[str, ColumnFitModel], averages: Mapping[str, ClassAverage]
) -> dict[str, ClassAverage]:
    """Noise-free images of fitted structures, in the place of the averages they were fitted to.

    Parameters
    ----------
    models : mapping of class to ColumnFitModel
        Of ``profile`` or ``gaussians``, which model the whole image.
    averages : mapping of class to ClassAverage

    Returns
    -------
    dict of class to ClassAverage
        With the standard errors and numbers of windows of `averages`, so that a fit weighs pixels
        and classes as it did there.

    Raises
    ------
    DefectStrainError
        For single Gaussians, which leave most of the image open.
    """
    simulated = {}
    for name, model in models.items():
        if model.structure is None:
            raise DefectStrainError(
                f"simulation: got single Gaussians fitted to {name}, expected the model 'profile' "
                "or 'gaussians', which describe the whole image"
            )
        simulated[name] = replace(averages[name], mean=model.structure.image())
    return simulated


def column_bias(
    structures: Mapping[str, ColumnFitModel],
    simulated: Mapping[str, ClassAverage],
    models: Mapping[str, ColumnFitModel],
    config: ColumnConfig,
    start: Start,
) -> dict[str, FloatArray]:
    """What a model finds on the simulation of a structure, less what was built in.

    Parameters
    ----------
    structures : mapping of class to ColumnFitModel
        What was simulated.
    simulated : mapping of class to ClassAverage
        By `simulate_averages`.
    models : mapping of class to ColumnFitModel
        The fit of the averages whose bias is asked for: Gaussians start from there.
    config : ColumnConfig
        Of that fit.
    start : Start
        Of the averages: noise and first profile are the same.

    Returns
    -------
    dict of class to array, `(M, 2)`
        Bias [pm]; NaN where the structure's column is empty or the fit fails.
    """
    if config.model == "gaussian":
        found = fit_singles(simulated, config)
    else:
        if config.model == "gaussians":
            states = {n: m.structure.state for n, m in models.items() if m.structure}
            start = replace(start, states=states)
        found = fit_together(simulated, config, start, no_progress, respond=False)
    return {name: found[name].fits.position_pm - built_in(structures[name]) for name in found}


def built_in(model: ColumnFitModel) -> FloatArray:
    """Positions of a structure's reported columns, `(M, 2)` [pm]; NaN where they are empty."""
    assert model.structure is not None  # simulate_averages has asked
    return model.structure.position_pm


def corrected(model: ColumnFitModel, bias_pm: FloatArray) -> ColumnFitModel:
    """A fit less its bias; columns whose bias is unknown are flagged as not converged."""
    fits = model.fits
    lost = np.isnan(bias_pm[:, 0]) & np.isfinite(fits.position_pm[:, 0])
    flag = fits.flag | np.where(lost, FLAGS["not_converged"], 0)
    return replace(model, fits=replace(fits, position_pm=fits.position_pm - bias_pm, flag=flag))
