"""Tables of a series, as they are written and shown."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..crystal import population_table
from ..types import FloatArray, Sites
from ..units import PM_PER_NM
from .chain import Histories, SeriesResult
from .events import MIGRATION
from .rates import DOSE, TIME, Rate

RATE_COLUMN = {DOSE: "per_1e6_e_nm2", TIME: "per_s", "frame": "per_frame"}
"""What follows ``rate_`` in names of columns of `rate_table`, by what a series runs along."""


def series_table(result: SeriesResult) -> pd.DataFrame:
    """Columns of each class in each sum, with intervals: ``series.csv``.

    Returns
    -------
    DataFrame
        ``sum``, ``frame_first``, ``frame_last``, ``frames``, ``dose_e_per_nm2`` and ``time_s`` (of
        the middle; empty where they aren't known), ``class`` (also ``x`` and ``vacancy fraction``),
        ``detected`` (columns that were given this class in the sum, before the chain), ``columns``
        and ``columns_std`` (expected by the posterior), ``all_columns``, ``fraction``, ``low``,
        ``high`` (95 %, for these very columns), ``crystal_low``, ``crystal_high`` (95 %, for the
        crystal).
    """
    found = _histories(result)
    names = result.material.all_class_names
    where = [names.index(name) for name in found.sites.names]
    sums, count, _ = found.states.posterior.shape
    made = []
    for g in range(sums):
        chance = np.zeros((count, len(names)))
        chance[:, where] = found.states.posterior[g]
        made.append(
            Sites(
                found.sites.place_px,
                chance,
                chance.argmax(axis=1),
                names,
                np.full(count, "series"),
            )
        )
    labels = [image.name for image in found.sums]
    table = population_table(labels, made, names)
    table = table[table["image"].isin(labels) & ~table["class"].isin([names[0], "other"])]
    table = table[~table["class"].str.endswith("@metal")].copy()
    detected = found.sites.detected()
    raw = [np.bincount(row[row >= 0], minlength=len(where)) for row in detected]
    known = {
        (labels[g], name): int(raw[g][k])
        for g in range(sums)
        for k, name in enumerate(found.sites.names)
    }
    table["detected"] = [
        known.get(pair, -1) for pair in zip(table["image"], table["class"], strict=True)
    ]
    whole = table["all_columns"].astype(float)
    atoms = np.where(table["class"].isin(found.sites.names), 1.0, 2.0)
    table["columns"] = (table["corrected"] * whole * atoms).round(3)
    table["columns_std"] = (table["corrected_std"] * whole * atoms).round(3)
    about = _sum_columns(found).set_index("sum")
    rows = about.loc[table["image"]].reset_index()
    renamed = table.rename(columns={"corrected": "fraction", "image": "sum"}).reset_index(drop=True)
    kept = ["class", "detected", "columns", "columns_std", "all_columns", "fraction"]
    limits = ["low", "high", "crystal_low", "crystal_high"]
    renamed["detected"] = renamed["detected"].where(renamed["detected"] >= 0).astype("Int64")
    return pd.concat([rows, renamed[kept], renamed[limits].round(6)], axis=1)


def _histories(result: SeriesResult) -> Histories:
    if result.histories is None:
        raise ValueError("a series of frames has no histories: its kind is frames")
    return result.histories


def _sum_columns(found: Histories) -> pd.DataFrame:
    """Which frames each sum holds, and when they were taken."""
    middle = found.at / found.axis.per_frame  # in frames
    dose, seconds = found.axis.dose_per_frame, found.axis.seconds_per_frame
    return pd.DataFrame(
        {
            "sum": [image.name for image in found.sums],
            "frame_first": [int(g.min()) for g in found.groups],
            "frame_last": [int(g.max()) for g in found.groups],
            "frames": [len(g) for g in found.groups],
            "dose_e_per_nm2": middle * dose if dose is not None else np.nan,
            "time_s": (middle * seconds).round(6) if seconds is not None else np.nan,
        }
    )


def event_table(result: SeriesResult) -> pd.DataFrame:
    """What happened to single sites: ``events.csv``.

    Returns
    -------
    DataFrame
        ``event``, ``kind`` (birth, death, change, migration), ``site``, ``y_px``, ``x_px``,
        ``y_nm``, ``x_nm``, ``from``, ``to``, ``sum`` (the first that shows it), ``frame`` (its
        first frame), ``dose_e_per_nm2`` or ``time_s`` or ``frame_number`` with ``_low`` and
        ``_high`` (95 %), ``probability``, ``partner`` (the other event of a migration),
        ``by_chance`` (births expected around it by chance).
    """
    found = _histories(result)
    changes = found.events.changes
    place = found.sites.place_px[changes.site]
    nm = (result.registered.total.pixel_size_pm or np.nan) / PM_PER_NM
    names = np.asarray(found.sites.names)
    when, factor = _axis_column(found)
    partner = found.events.partner
    return pd.DataFrame(
        {
            "event": np.arange(len(changes)),
            "kind": list(found.events.kind),
            "site": changes.site,
            "y_px": place[:, 0].round(3),
            "x_px": place[:, 1].round(3),
            "y_nm": (place[:, 0] * nm).round(5),
            "x_nm": (place[:, 1] * nm).round(5),
            "from": names[changes.before],
            "to": names[changes.after],
            "sum": [found.sums[g].name for g in changes.group],
            "frame": [int(found.groups[g].min()) for g in changes.group],
            when: changes.dose * factor,
            f"{when}_low": changes.low * factor,
            f"{when}_high": changes.high * factor,
            "probability": changes.probability.round(5),
            "partner": pd.array([int(p) if p >= 0 else None for p in partner], dtype="Int64"),
            "by_chance": found.events.by_chance.round(4),
        }
    )


def _axis_column(found: Histories) -> tuple[str, float]:
    """Name of the column that says when, and its unit in that of the axis."""
    return {DOSE: ("dose_e_per_nm2", 1e6), TIME: ("time_s", 1.0)}.get(
        found.axis.quantity, ("frame_number", 1.0)
    )


def track_table(result: SeriesResult) -> pd.DataFrame:
    """Each defect in each sum: ``tracks.csv``.

    Returns
    -------
    DataFrame
        ``track``, the columns of the sum as in `series_table`, ``site``, ``y_px``, ``x_px``,
        ``y_nm``, ``x_nm`` (of the column; of the site where none was found), ``class``,
        ``probability`` (posterior), ``seen`` (whether a column was
        found there), ``detected`` (its class in the sum alone), ``parent`` (the track that this one
        came out of).
    """
    found = _histories(result)
    tracks = found.tracks
    place = _places(found)
    nm = (result.registered.total.pixel_size_pm or np.nan) / PM_PER_NM
    names = np.asarray([*found.sites.names, ""])
    rows = _sum_columns(found).iloc[tracks.group].reset_index(drop=True)
    parents = [tracks.parent.get(int(t)) for t in tracks.track]
    own = pd.DataFrame(
        {
            "site": tracks.site,
            "y_px": place[:, 0].round(3),
            "x_px": place[:, 1].round(3),
            "y_nm": (place[:, 0] * nm).round(5),
            "x_nm": (place[:, 1] * nm).round(5),
            "class": names[tracks.class_index],
            "probability": found.states.posterior[
                tracks.group, tracks.site, tracks.class_index
            ].round(5),
            "seen": found.sites.seen[tracks.group, tracks.site],
            "detected": names[found.sites.detected()[tracks.group, tracks.site]],
            "parent": pd.array(parents, dtype="Int64"),
        }
    )
    return pd.concat([pd.DataFrame({"track": tracks.track}), rows, own], axis=1)


def _places(found: Histories) -> FloatArray:
    """Where each defect lies in each sum: its column's place, the site's where none was found."""
    tracks = found.tracks
    place = np.array(found.sites.place_px[tracks.site])
    column = found.sites.column[tracks.group, tracks.site]
    for g, sites in enumerate(found.sum_sites):
        mine = (tracks.group == g) & (column >= 0)
        place[mine] = sites.position_px[column[mine]]
    return place


def rate_table(result: SeriesResult) -> pd.DataFrame:
    """Rates and cross sections: ``rates.csv``.

    Returns
    -------
    DataFrame
        ``from``, ``to``, ``kind`` (loss, gain, exchange, migration), ``changes`` (without hops),
        ``exposure`` (columns times 1e6 e-/nm^2, s or frames), ``rate_*``, ``sigma_*``, ``low_*``,
        ``high_*`` (per column and that unit), and along a dose ``cross_section_barn``,
        ``sigma_barn``, ``low_barn``, ``high_barn`` of one of ``atoms`` atoms that a column can
        lose.
    """
    found = _histories(result)
    unit = RATE_COLUMN[found.axis.quantity]
    rows = []
    for rate in found.rates:
        row: dict[str, object] = {
            "from": rate.before,
            "to": rate.after,
            "kind": rate.kind,
            "changes": round(rate.changes, 3),
            "exposure": rate.exposure,
            f"rate_{unit}": rate.rate,
            f"sigma_{unit}": rate.sigma,
            f"low_{unit}": rate.low,
            f"high_{unit}": rate.high,
        }
        if found.axis.quantity == DOSE:
            row |= {
                "atoms": rate.atoms,
                "cross_section_barn": rate.barn(rate.rate),
                "sigma_barn": rate.barn(rate.sigma),
                "low_barn": rate.barn(rate.low),
                "high_barn": rate.barn(rate.high),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def series_text(result: SeriesResult) -> str:
    """What was found, in a few lines for people."""
    found = result.histories
    frames = result.registered
    bad = int(frames.found.bad.sum())
    lines = [f"{frames.name}: {len(frames.frames)} frames, {bad} left out"]
    if found is None:
        return lines[0]
    tried = "".join(
        f", purity {one.least:.3f}" for one in found.tried if one.per_sum == found.per_sum
    )
    kinds = found.events.kind
    lines[0] += (
        f"; {len(found.sums)} sums of {found.per_sum} frame(s){tried}; "
        f"{len(found.sites.place_px)} sites followed"
    )
    lines.append(
        f"{len(set(found.tracks.track.tolist()))} defects, {kinds.count('birth')} born, "
        f"{kinds.count('death')} vanished, {kinds.count('change')} changed class, "
        f"{kinds.count(MIGRATION) // 2} hopped"
    )
    lines += [_rate_text(rate, found) for rate in found.rates if rate.changes > 0]
    lines.append(_changed_text(found))
    lines.append(_hole_text(found))
    return "\n".join(lines)


def _rate_text(rate: Rate, found: Histories) -> str:
    text = (
        f"{rate.before} -> {rate.after}: {rate.changes:.1f} times, "
        f"({rate.rate:.3g} +- {rate.sigma:.2g}) per {found.axis.unit}"
    )
    if found.axis.quantity == DOSE:
        barn, sigma = rate.barn(rate.rate), rate.barn(rate.sigma)
        text += f", {barn:.3g} +- {sigma:.2g} barn an atom"
    return text


def _changed_text(found: Histories) -> str:
    one = found.changed_dose
    unit = found.axis.unit
    share = f"{100 * one.fraction:g} % of the columns have changed"
    if not np.isfinite(one.dose) and one.most > 0:
        return (
            f"{share} never, by these rates: {100 * one.most:.0f} % are of classes that change; by "
            f"the upper limits after more than {one.low:.3g} {unit}"
        )
    if not np.isfinite(one.dose):
        return f"{share} after more than {one.low:.3g} {unit}, by the rates: none changed"
    beyond = " (beyond the series, by the rates)" if one.beyond else ""
    return f"{share} after {one.dose:.3g} [{one.low:.3g}, {one.high:.3g}] {unit}{beyond}"


def _hole_text(found: Histories) -> str:
    holes, unit = found.holes, found.axis.unit
    if not holes.mergers:
        last = f"{holes.count[-1]} of at most {holes.largest[-1]} columns at the end"
        return f"no holes merge up to {found.at[-1]:.3g} {unit} ({last})"
    first = holes.mergers[0]
    return (
        f"{len(holes.mergers)} time(s) holes merge, first at {found.at[first.group]:.3g} {unit} "
        f"({' and '.join(map(str, first.sizes))} columns); the largest has {holes.largest[-1]} "
        "columns at the end"
    )


def hole_table(result: SeriesResult) -> pd.DataFrame:
    """Holes by sum, and which merged: ``holes.csv``.

    Returns
    -------
    DataFrame
        The columns of the sum as in `series_table`, ``holes``, ``columns`` (without a chalcogen,
        in holes), ``largest`` (columns), ``merged`` (``sizes at y, x`` of the holes that this sum
        is the first to show as one).
    """
    found = _histories(result)
    told: dict[int, list[str]] = {}
    for one in found.holes.mergers:
        y, x = one.place_px
        sizes = " + ".join(map(str, one.sizes))
        told.setdefault(one.group, []).append(f"{sizes} at {y:.0f}, {x:.0f}")
    table = _sum_columns(found)
    table["holes"] = found.holes.count
    table["columns"] = found.holes.columns
    table["largest"] = found.holes.largest
    table["merged"] = ["; ".join(told.get(g, [])) for g in range(len(table))]
    return table
