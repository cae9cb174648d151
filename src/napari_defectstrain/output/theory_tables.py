"""The columns of ``theory.csv``: what each class tells elastic theory.

They are listed in ``docs/command-line.md``, and explained in ``docs/theory.md``.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..pipeline.comparison import Comparison
from ..pipeline.runs import RunResult
from ..theory.defect_numbers import INCLUSION, LATTICE, SCALED, STRUCTURE, ModelFit
from ..theory.far_field import FarField

PREFIXES = {
    INCLUSION: "eshelby",
    LATTICE: "lattice",
    STRUCTURE: "reference",
    SCALED: "scaled_reference",
}
"""What names of columns begin with that are of a theory."""
ISOLATED, EVERY = "isolated", "every defect"

_NUMBERS = ("two_pi_a_pm2", "relaxation_area_pm2", "dipole_ev")
_OF_MODEL = ("parameters", "chi2", "dof", "p", "aic", "bic", "a_pm2", "a_sigma_pm2")
_COLUMNS = (
    *("class", "averages", "effective_windows", "near_pm", "reach_pm", "far_columns"),
    *("a_pm2", "a_sigma_pm2", "a_stat_pm2", "a_radius_pm2", "far_p"),
    *(f"{name}{end}" for name in _NUMBERS for end in ("", "_sigma", "_low", "_high")),
    *("anisotropy_xx_yy_ev", "anisotropy_xx_yy_sigma_ev", "anisotropy_xy_ev"),
    *("anisotropy_xy_sigma_ev", "anisotropy_p", "c11_n_per_m", "c12_n_per_m", "elastic_source"),
    *(f"{prefix}_{what}" for prefix in PREFIXES.values() for what in _OF_MODEL),
    *("eshelby_radius_pm", "lattice_shells", "reference_name", "reference_s"),
    *("reference_s_sigma", "best", "notes"),
)


def theory_table(result: RunResult) -> pd.DataFrame:
    """One row a class, of isolated averages, then of those of every defect.

    Intervals are of 95 %; what can't be told is empty.
    """
    rows = [_row(name, ISOLATED, one) for name, one in result.comparisons.items()]
    rows += [_row(name, EVERY, one) for name, one in result.crowded_comparisons.items()]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _row(name: str, averages: str, comparison: Comparison) -> dict[str, Any]:
    numbers, inclusion = comparison.numbers, comparison.inclusion
    row: dict[str, Any] = {
        "class": name,
        "averages": averages,
        "effective_windows": comparison.windows,
        "eshelby_radius_pm": inclusion.radius_pm if inclusion.radius_resolved else None,
        "notes": "; ".join(numbers.notes),
    }
    if numbers.far is not None:
        row |= _far(numbers.far)
    for model in numbers.models:
        row |= _model(PREFIXES[model.name], model)
    if numbers.kanzaki is not None:
        row["lattice_shells"] = numbers.kanzaki.best.shells
    if comparison.reference is not None:
        row["reference_name"] = comparison.reference.name
    if comparison.amplitude is not None:
        row["reference_s"] = comparison.amplitude.s
        row["reference_s_sigma"] = comparison.amplitude.sigma
    if numbers.best is not None:
        row["best"] = numbers.best.name
    return row


def _far(far: FarField) -> dict[str, Any]:
    row: dict[str, Any] = {
        "near_pm": far.near_pm,
        "reach_pm": far.reach_pm,
        "far_columns": far.n_columns,
        "a_pm2": far.strength_pm2,
        "a_sigma_pm2": far.sigma_pm2,
        "a_stat_pm2": far.statistical_pm2,
        "a_radius_pm2": far.radius_effect_pm2,
        "far_p": far.agreement.p_value,
        "anisotropy_xx_yy_ev": far.anisotropy_ev[0],
        "anisotropy_xx_yy_sigma_ev": far.anisotropy_sigma_ev[0],
        "anisotropy_xy_ev": far.anisotropy_ev[1],
        "anisotropy_xy_sigma_ev": far.anisotropy_sigma_ev[1],
        "anisotropy_p": far.anisotropy_p,
    }
    for name in _NUMBERS:
        number = getattr(far, name)
        row[name], row[f"{name}_sigma"] = number
        row[f"{name}_low"], row[f"{name}_high"] = far.interval(number)
    if far.elastic is not None:
        row["c11_n_per_m"], row["c12_n_per_m"] = far.elastic.c11, far.elastic.c12
        row["elastic_source"] = far.elastic.source
    return row


def _model(prefix: str, model: ModelFit) -> dict[str, Any]:
    values = (
        *(model.n_parameters, model.agreement.chi2, model.agreement.dof),
        *(model.agreement.p_value, model.aic, model.bic),
        *(model.strength_pm2, model.strength_sigma_pm2),
    )
    return {f"{prefix}_{what}": value for what, value in zip(_OF_MODEL, values, strict=True)}
