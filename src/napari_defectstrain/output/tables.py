"""The tables of results: what the files of a run hold, and the summary for people.

Their columns are listed in ``docs/command-line.md``, and defined in ``docs/conventions.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..averages.patches import lattice_table
from ..averages.purity import purity_text
from ..frames.drift import drift_of
from ..materials import whole_class
from ..pipeline.runs import MIN_MEASURED, ClassMeasurement, RunResult
from ..precision.budget_parts import few_windows_factor
from ..styles import error_text, with_error
from ..types import ClassAverage, FloatArray
from .makeup import makeup_lines

TARGET_PM = 0.3
"""The precision that ``windows_needed`` is told for [pm]: the paper's of the perfect lattice."""


CROWDED_COLUMNS = (
    *("crowded_n", "effective_n", "crowded_strain", "crowded_strain_std"),
    "crowded_strain_total_std",
)
"""What ``spacings.csv`` says of averages of every defect."""

INTERVAL_COLUMNS = ("strain_low_68", "strain_high_68", "strain_low_95", "strain_high_95")
"""Ends of the intervals of the strain in ``spacings.csv``."""

TOO_FEW = f"not measured: fewer than {MIN_MEASURED} windows"


def a_ref_pm(result: RunResult, name: str | None = None) -> float | None:
    """The lattice constant that strains are relative to; None before anything is measured.

    The spacing of the nearest columns in the defect-free average [pm], on the scale of the images'
    pixel sizes: of metals around chalcogen sites, or of chalcogens around metal sites where `name`
    is a class of these.
    """
    reference = result.material.reference_of(name or result.material.class_names[1])
    measured = result.measurements.get(reference, result.crowded.get(reference))
    return None if measured is None else float(measured.spacing.spacing_pm)


def spacings_table(result: RunResult) -> pd.DataFrame:
    """The columns of ``spacings.csv``: one row a class, strains as fractions against X2.

    Classes of fewer than three windows are averaged, not measured: only their counts and purity
    are there. Of classes none of which are isolated only what every defect says is there. Last come
    ``expected_<class>``: expected fraction of the windows of each class, empty where the stacks
    don't say.
    """
    columns = [
        "n",
        "n_excluded",
        "spacing_pm",
        "precision_pm",
        "strain",
        "strain_std",
        "strain_total_std",
        "purity",
    ]
    more = ["sigma_stat", "sigma_total", "a_ref_pm", "precision_by_image_pm"]
    more += ["strain_std_by_image", "n_images"]
    more += ["p1_pm", "floor_pm", "floor_std_pm", "target_pm", "windows_needed"]
    more += [*CROWDED_COLUMNS, *INTERVAL_COLUMNS]
    expected = {name: f"expected_{name}" for name in result.material.all_class_names}
    rows = []
    for name, measurement in result.measurements.items():
        average, base = measurement.average, a_ref_pm(result, name)
        row: dict[str, Any] = {"class": name}
        row |= {c: getattr(measurement.spacing, c) for c in columns}
        row |= _intervals(measurement, name in result.material.references)
        row |= {"a_ref_pm": base, **_errors(measurement, name in result.material.references)}
        row |= _windows_needed(measurement) | _crowded(result, name)
        if average.contaminants:
            row |= _expected(name, average, expected)
        rows.append(row)
    for name, average in result.unmeasured.items():
        row = {"class": name, "n": average.n, "n_excluded": average.n_excluded}
        row |= {"purity": average.purity, "a_ref_pm": a_ref_pm(result, name)}
        row |= _crowded(result, name)
        if average.contaminants:
            row |= _expected(name, average, expected)
        rows.append(row)
    there = {row["class"] for row in rows}
    rows += [
        {"class": name, "a_ref_pm": a_ref_pm(result, name), **_crowded(result, name)}
        for name in result.crowded
        if name not in there
    ]
    return pd.DataFrame(rows, columns=["class", *columns, *more, *expected.values()])


def _expected(name: str, average: ClassAverage, columns: Mapping[str, str]) -> dict[str, float]:
    """Expected shares of all classes among the windows; parts of a class count as the class."""
    row = dict.fromkeys(columns.values(), 0.0)
    for other, share in {name: average.purity, **average.contaminants}.items():
        row[columns[whole_class(other)]] += share
    return row


def _intervals(measurement: ClassMeasurement, is_reference: bool) -> dict[str, float]:
    """Where the strain is with 68 and with 95 %, systematic errors and few windows counted."""
    budget, strain = measurement.budget, measurement.spacing.strain
    if budget is None or is_reference:
        return {}
    half = [budget.half_width(confidence) for confidence in (0.68, 0.95)]
    ends = [strain + sign * width for width in half for sign in (-1.0, 1.0)]
    return dict(zip(INTERVAL_COLUMNS, ends, strict=True))


def _errors(measurement: ClassMeasurement, is_reference: bool) -> dict[str, float]:
    """Errors of the strain, and what resampling images says; the reference's strain has none."""
    row: dict[str, float] = {}
    if measurement.budget is not None:
        row["sigma_stat"] = 0.0 if is_reference else measurement.budget.sigma_stat
        row["sigma_total"] = 0.0 if is_reference else measurement.budget.sigma_total
    if measurement.bootstrap is not None:
        row["precision_by_image_pm"] = measurement.bootstrap.spacing_std_by_image_pm
        row["strain_std_by_image"] = measurement.bootstrap.strain_by_image
        row["n_images"] = measurement.bootstrap.n_images
    return row


def _crowded(result: RunResult, name: str) -> dict[str, float]:
    """What averages of every defect say of a class; nothing where they weren't asked for."""
    measured = result.crowded.get(name)
    if measured is None:
        return {}
    spacing, stack = measured.spacing, result.crowded_stacks[name]
    worth = float("nan") if stack.effective_n is None else stack.effective_n
    values = (spacing.n, worth, spacing.strain, spacing.strain_std)
    return dict(zip(CROWDED_COLUMNS, (*values, spacing.strain_total_std), strict=True))


def _windows_needed(measurement: ClassMeasurement) -> dict[str, float]:
    fit = None if measurement.precision is None else measurement.precision.fit
    if fit is None:
        return {}
    return {
        "p1_pm": fit.p1_pm,
        "floor_pm": fit.floor_pm,
        "floor_std_pm": fit.floor_std_pm,
        "target_pm": TARGET_PM,
        "windows_needed": fit.windows_needed(TARGET_PM),
    }


def columns_table(result: RunResult) -> pd.DataFrame:
    """The columns of ``columns.csv``: one row a column of each class average."""
    return pd.concat([_columns_of(m) for m in result.measurements.values()])


def _columns_of(measurement: ClassMeasurement) -> pd.DataFrame:
    fits, budget = measurement.fits, measurement.budget
    values = np.hstack([fits.site_pm, fits.position_pm, fits.sigma_pm])
    names = ["site_x_pm", "site_y_pm", "x_pm", "y_pm", "sigma_x_pm", "sigma_y_pm"]
    table = pd.DataFrame(values, columns=names)
    table.insert(0, "sublattice", fits.sublattice)
    table.insert(0, "class", fits.class_name)
    table["flag"] = fits.flag
    table["weight"] = fits.weight
    unknown = np.full_like(fits.site_pm, np.nan)
    bootstrap = measurement.bootstrap
    _add_xy(table, "sigma_by_image", unknown if bootstrap is None else bootstrap.sigma_by_image_pm)
    # of a position: its own scatter, counted as the budget does, and what is systematic about it
    total = unknown
    if budget is not None:
        # an average of every defect counts its columns, its scatter is that of its windows
        columns = measurement.columns
        n = measurement.average.n if columns is None else len(columns.influence_pm)
        factor = budget.design_effect * few_windows_factor(n)
        total = np.hypot(np.sqrt(factor) * fits.sigma_pm, budget.systematic_pm)
    _add_xy(table, "sigma_total", total)
    removed = np.zeros_like(fits.site_pm)
    if budget is not None:
        removed = sum(budget.corrections.values(), start=removed)
    _add_xy(table, "correction", removed)
    return table


def displacement_table(result: RunResult) -> pd.DataFrame:
    """The columns of ``displacement.csv``: one row a column of each defect class."""
    columns = ["class", "sublattice", "site_x_pm", "site_y_pm"]
    columns += ["ux_pm", "uy_pm", "sigma_x_pm", "sigma_y_pm"]
    columns += [f"sigma_{kind}_{axis}_pm" for kind in ("stat", "total") for axis in "xy"]
    tables = []
    for name, measurement in result.measurements.items():
        field, budget = measurement.displacement, measurement.budget
        if field is None:
            continue
        values = np.hstack([field.site_pm, field.u_pm, field.sigma_pm])
        table = pd.DataFrame(values, columns=columns[2:8])
        table.insert(0, "sublattice", field.sublattice)
        table.insert(0, "class", name)
        unknown = np.full_like(field.site_pm, np.nan)
        known = budget is not None and budget.site_pm.shape == field.site_pm.shape
        for kind in ("statistical", "total"):
            error = getattr(budget, f"{kind}_pm") if known else unknown
            _add_xy(table, "sigma_stat" if kind == "statistical" else "sigma_total", error)
        tables.append(table)
    return pd.concat(tables) if tables else pd.DataFrame(columns=columns)


def _add_xy(table: pd.DataFrame, name: str, value_pm: FloatArray) -> None:
    for axis, values in zip("xy", value_pm.T, strict=True):
        table[f"{name}_{axis}_pm"] = values


def budget_table(result: RunResult) -> pd.DataFrame:
    """The columns of ``budget.csv``: one row a class and part of its error.

    Of the strain of the spacing, and root mean squares over the metal and the chalcogen columns of
    the displacement; of the defect-free class of its spacing and its positions. Parts that can't be
    told are of the kind unknown, and empty.
    """
    columns = ["class", "part", "kind", "strain", "metal_pm", "chalcogen_pm"]
    rows: list[dict[str, Any]] = []
    for name, measurement in result.measurements.items():
        budget = measurement.budget
        if budget is None:
            continue
        is_metal = measurement.fits.sublattice == "metal"
        metal, chalcogen = budget.rms_pm(is_metal), budget.rms_pm(~is_metal)
        strain = {"statistical": budget.sigma_stat, **budget.strain_parts}
        strain["total"] = budget.sigma_total
        for part, value in strain.items():
            kind = part if part in ("statistical", "total") else "systematic"
            kind = "unknown" if part in budget.unknown else kind
            rows.append(dict(zip(columns, (name, part, kind, value), strict=False)))
            rows[-1] |= {"metal_pm": metal[part], "chalcogen_pm": chalcogen[part]}
        for part, shift in budget.corrections.items():
            found = [
                float(np.sqrt(np.mean(shift[which] ** 2))) if which.any() else np.nan
                for which in (is_metal, ~is_metal)
            ]
            removed = (name, part, "subtracted", budget.strain_corrections[part], *found)
            rows.append(dict(zip(columns, removed, strict=True)))
    return pd.DataFrame(rows, columns=columns)


def precision_table(result: RunResult) -> pd.DataFrame:
    """The columns of ``precision.csv``: precision and gain in signal to noise against N."""
    tables = []
    for name, measurement in result.measurements.items():
        curve = measurement.precision
        if curve is None:
            continue
        table = pd.DataFrame({"class": name, "n": curve.n, "precision_pm": curve.precision_pm})
        table["precision_std_pm"] = curve.precision_std_pm
        table["fit_pm"] = np.nan if curve.fit is None else curve.fit.at(curve.n)
        table["bound_pm"] = curve.bound_p1_pm / np.sqrt(curve.n)
        for fraction, gain in zip(curve.background_fraction, curve.snr_gain, strict=True):
            table[f"snr_gain_{100 * fraction:g}%"] = gain
        tables.append(table)
    return pd.concat(tables) if tables else pd.DataFrame(columns=["class", "n", "precision_pm"])


def lattices_table(result: RunResult) -> pd.DataFrame:
    """The columns of ``lattices.csv``: the lattice and the probe of each image's domains."""
    first = next(iter((result.stacks or result.crowded_stacks).values()))
    return lattice_table(
        result.images,
        result.sites,
        first.a_pm,
        result.regions or None,
        result.stacks.get(result.material.class_names[1]),
    )


def drift_tables(result: RunResult) -> dict[str, pd.DataFrame]:
    """The drift of each image that is a sum of frames, by its name."""
    found = {image.name: drift_of(image) for image in result.images}
    return {name: table for name, table in found.items() if table is not None}


def summary(result: RunResult) -> str:
    """A table for people: windows, spacing with its precision, strain with its errors.

    Strain as value ± statistical ± systematic error. Last comes the expected purity of the windows,
    with what else is expected among them.
    """
    metal = result.material.metal
    lines = [
        f"{'class':>6} {'N':>5}  {f'{metal}-{metal} spacing [pm]':>20}  "
        f"{'strain ± stat ± syst [%]':>24}  expected purity"
    ]
    for name, measurement in result.measurements.items():
        s, budget = measurement.spacing, measurement.budget
        spacing = with_error(s.spacing_pm, s.precision_pm)
        strain = with_error(100 * s.strain, 100 * s.strain_total_std, "+.2f")
        if budget is not None:
            errors = (100 * budget.sigma_stat, 100 * budget.strain_systematic)
            strain = f"{with_error(100 * s.strain, errors[0], '+.2f')} {error_text(errors[1])}"
        if name in result.material.references:
            strain = "reference"
        pure = purity_text(s.purity, measurement.average.contaminants)
        lines.append(f"{name:>6} {s.n:>5}  {spacing:>20}  {strain:>24}  {pure}")
    for name, average in result.unmeasured.items():
        pure = purity_text(average.purity, average.contaminants)
        lines.append(f"{name:>6} {average.n:>5}  {TOO_FEW:>46}  {pure}")
    for name, measurement in result.crowded.items():
        if name != result.material.class_names[1]:
            lines.append(_crowded_line(name, measurement))
    lines += makeup_lines(result)
    base = a_ref_pm(result)
    if base is not None:
        lines.append(f"strain relative to the defect-free average, a_ref = {base:.2f} pm")
    on_metal = a_ref_pm(result, result.material.metal)
    if on_metal is not None:
        x = result.material.chalcogen
        lines.append(
            f"on metal sites: {x}-{x} spacing around the metal, relative to {metal} with "
            f"{on_metal:.2f} pm"
        )
    compared = [one.numbers for one in result.comparisons.values()]
    lines += [numbers.line for numbers in compared if numbers.far is not None]
    return "\n".join(lines)


def _crowded_line(name: str, measurement: ClassMeasurement) -> str:
    spacing, budget = measurement.spacing, measurement.budget
    statistical = spacing.strain_std if budget is None else budget.sigma_stat
    strain = with_error(100 * spacing.strain, 100 * statistical, "+.2f")
    if budget is not None:
        strain += f" {error_text(100 * budget.strain_systematic)}"
    return f"{name:>6} {spacing.n:>5}  {'every defect:':>20}  {strain:>24}"
