"""The tables of what classes are made of: populations, variability, half-sets.

Their columns are listed in ``docs/command-line.md``.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..pipeline.runs import RunResult
from ..precision.makeup import ClassMakeup

PARTS_COLUMNS = (
    *("class", "n", "part", "share", "share_std", "share_low", "share_high", "strain"),
    *("strain_std", "weight_change", "weight_change_std", "undistorted", "p", "simulated"),
    *("undistorted_low", "undistorted_high", "seen_from", "expected_other", "noise_scale"),
)
VARIABILITY_COLUMNS = (
    *("class", "what", "measured", "noise", "own", "share", "noise_share", "sigma", "is_noise"),
)
HALVES_COLUMNS = (
    *("class", "by_image", "n_1", "n_2", "resolution_pm", "strain_1", "strain_std_1"),
    *("strain_2", "strain_std_2", "pull", "pull_rms"),
)


def makeups(result: RunResult) -> dict[str, ClassMakeup]:
    """What the classes of a run are made of, as far as it was asked."""
    found = {name: m.makeup for name, m in result.measurements.items()}
    return {name: makeup for name, makeup in found.items() if makeup is not None}


def parts_table(result: RunResult) -> pd.DataFrame:
    """The columns of ``class_parts.csv``: one row a population of each class.

    Strains and shares are fractions; weights are against the class's average, in metal columns.
    """
    rows: list[dict[str, Any]] = []
    for name, makeup in makeups(result).items():
        found = makeup.populations
        if found is None:
            continue
        for k, part in enumerate(found.populations):
            strain, strain_std = makeup.strain_of(part)
            low, high = part.share_95
            rows.append(
                {
                    "class": name,
                    "n": found.n,
                    "part": k + 1,
                    "share": part.share,
                    "share_std": part.share_std,
                    "share_low": low,
                    "share_high": high,
                    "strain": strain,
                    "strain_std": strain_std,
                    "weight_change": part.value[0],
                    "weight_change_std": part.value_std[0],
                    "undistorted": makeup.is_undistorted(part),
                    "p": found.p,
                    "simulated": found.simulated,
                    "undistorted_low": found.undistorted_95[0],
                    "undistorted_high": found.undistorted_95[1],
                    "seen_from": found.seen_from,
                    "expected_other": found.expected_other,
                    "noise_scale": found.noise_scale,
                }
            )
    return pd.DataFrame(rows, columns=list(PARTS_COLUMNS))


def variability_table(result: RunResult) -> pd.DataFrame:
    """The columns of ``variability.csv``: one row a quantity, or component, of each class."""
    rows: list[dict[str, Any]] = []
    for name, makeup in makeups(result).items():
        for one in makeup.scatter:
            row = {"class": name, "what": one.quantity, "measured": one.measured}
            row |= {"noise": one.noise, "own": one.own, "sigma": one.sigma}
            rows.append(row | {"is_noise": one.is_noise})
        for k, component in enumerate(makeup.components):
            row = {"class": name, "what": f"component_{k + 1}", "share": component.share}
            row |= {"noise_share": component.noise_share, "sigma": component.sigma}
            rows.append(row | {"is_noise": component.is_noise})
    return pd.DataFrame(rows, columns=list(VARIABILITY_COLUMNS))


def halves_table(result: RunResult) -> pd.DataFrame:
    """The columns of ``half_sets.csv``: one row a class."""
    rows: list[dict[str, Any]] = []
    for name, makeup in makeups(result).items():
        halves = makeup.halves
        if halves is None:
            continue
        row = {"class": name, "by_image": halves.by_image, "pull": halves.pull}
        row |= {"resolution_pm": halves.resolution_pm, "pull_rms": halves.pull_rms}
        for k in (0, 1):
            row |= {f"n_{k + 1}": halves.n[k], f"strain_{k + 1}": halves.strain[k]}
            row[f"strain_std_{k + 1}"] = halves.strain_std[k]
        rows.append(row)
    return pd.DataFrame(rows, columns=list(HALVES_COLUMNS))


def makeup_lines(result: RunResult) -> list[str]:
    """For people: one line a class that was asked for its populations."""
    return [f"{name}: {m.in_words}" for name, m in makeups(result).items() if m.in_words]
