"""An audit: columns drawn at random for somebody to label blind, and what the labels are kept in.

Precision and recall that others measured say little of one's own images. Here the user labels a
hundred columns of hers, drawn from strata by class and doubt, without seeing what they were taken
for; `audit_scores` says what follows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd

from .. import __version__
from ..config import SEED, Between, Config
from ..crystal.regions import Regions, usable_sites
from ..io.files import write_json, write_table
from ..types import METAL, ON_METAL, BoolArray, DefectStrainError, FloatArray, IntArray, Sites
from .score import MARGIN_PM

AUDIT_TABLE, AUDIT_FILE = "audit.csv", "audit.json"
SCHEMA = 1
UNSURE = "?"
"""Label of a column that the labeller can't tell."""
DOUBTS = ("sure", "likely", "doubtful")
_DOUBT_EDGES = (0.99, 0.9)
"""Least probabilities of the class given to sure and to likely columns."""
_LEAST = 4
"""Columns drawn from each stratum, where it has as many."""
_LEAST_ERROR = 0.002
"""Share of errors that even sure columns are drawn for."""
AUDIT_COLUMNS = (
    *("number", "image", "column", "y_px", "x_px", "found", "probability", "doubt"),
    *("stratum", "stratum_columns", "drawn", "weight", "label"),
)


_SAME_PROBABILITY = 1e-3
"""Tables round probabilities."""


@dataclass(frozen=True)
class AuditConfig(Config):
    """How columns are drawn.

    Parameters
    ----------
    columns : int
        How many.
    seed : int
    """

    columns: Annotated[int, Between(20, 5000)] = 100
    seed: Annotated[int, SEED] = 0


@dataclass(frozen=True)
class Stratum:
    """Columns that were taken for one class with about the same doubt.

    Parameters
    ----------
    found : str
        The class.
    doubt : str
        One of `DOUBTS`.
    columns : int
        How many there are.
    expected : mapping of str to float
        Mean probability of each class.
    """

    found: str
    doubt: str
    columns: int
    expected: Mapping[str, float]


@dataclass(frozen=True)
class Audit:
    """Columns that were drawn, and their labels so far.

    Parameters
    ----------
    table : DataFrame
        `AUDIT_COLUMNS`, a row a column in the order in which they are shown: ``number`` from 1,
        ``image``, ``column`` (its row in the table of the image, from 0), its place, the class
        ``found`` and its probability, the stratum (from 0), how many ``stratum_columns`` there are
        and how many were ``drawn``, ``weight``, columns that each stands for, and ``label``: a
        class, `UNSURE`, or nothing yet.
    strata : tuple of Stratum
    class_names : tuple of str
        Classes that a label may be: those of chalcogen columns, and other.
    config : AuditConfig
    """

    table: pd.DataFrame
    strata: tuple[Stratum, ...]
    class_names: tuple[str, ...]
    config: AuditConfig

    @property
    def labels(self) -> list[str]:
        """Label of each column, empty where there is none yet."""
        return [str(label) for label in self.table["label"]]

    @property
    def labelled(self) -> int:
        """How many have a label."""
        return sum(bool(label) for label in self.labels)

    @property
    def complete(self) -> bool:
        """Whether all have one."""
        return self.labelled == len(self.table)

    @property
    def next_number(self) -> int | None:
        """Number of the first column without a label; None where there is none."""
        return next((i + 1 for i, label in enumerate(self.labels) if not label), None)

    def with_label(self, number: int, label: str) -> Audit:
        """The same with a label given, changed, or taken back (empty).

        Parameters
        ----------
        number : int
            Of the column, from 1.
        label : str

        Raises
        ------
        DefectStrainError
            If there is no such column or label.
        """
        if not 1 <= number <= len(self.table):
            raise DefectStrainError(f"audit: got column {number}, expected 1 to {len(self.table)}")
        check_label(label, self.class_names, f"audit, column {number}")
        table = self.table.copy()
        table.loc[table.index[number - 1], "label"] = label
        return replace(self, table=table)


def check_label(label: str, class_names: Sequence[str], where: str) -> None:
    """Refuse labels that are no class."""
    if label not in ("", UNSURE, *class_names):
        raise DefectStrainError(
            f"{where}: got the label {label!r}, expected one of {', '.join(class_names)}, "
            f"{UNSURE} (can't tell), or nothing"
        )


@dataclass(frozen=True)
class AuditedImage:
    """Columns of an image that may be drawn.

    Parameters
    ----------
    name : str
    sites : Sites
        All of its columns.
    regions : Regions or None
    shape : tuple of int
        Of the image [px].
    pixel_size_pm : float
    counted : array of bool, `(N,)`, or None
        Columns that aren't counted in another image of the same place (`overlaps`); None: all.
    """

    name: str
    sites: Sites
    regions: Regions | None
    shape: tuple[int, ...]
    pixel_size_pm: float
    counted: BoolArray | None = None

    @property
    def audited(self) -> IntArray:
        """Columns that may be drawn: no metal, in the usable area, off the margin, counted here."""
        sites = self.sites
        metal = [i == METAL or n.endswith(ON_METAL) for i, n in enumerate(sites.class_names)]
        which = ~np.array(metal)[np.asarray(sites.class_index)]
        margin = MARGIN_PM / self.pixel_size_pm
        last = np.asarray(self.shape) - 1 - margin
        place = np.asarray(sites.position_px)
        which &= np.all((place >= margin) & (place <= last), axis=1)
        if self.counted is not None:
            which &= self.counted
        if self.regions is not None:
            number = replace(sites, extra={"row": np.arange(len(sites)).astype(str)})
            kept = usable_sites(number, self.regions).extra["row"].astype(int)
            which &= np.isin(np.arange(len(sites)), kept)
        return np.flatnonzero(which)


def draw_audit(images: Sequence[AuditedImage], config: AuditConfig | None = None) -> Audit:
    """Draw columns of some images, by class and doubt.

    Half of them so that recall becomes as certain as it can, half in equal parts for the classes
    found (Neyman's allocation each, by the errors that the probabilities expect; Cochran 1977,
    Sampling Techniques, 5.5), at least four a stratum. Neither the order of the images nor their
    number changes how a column's chance depends on its stratum.

    Parameters
    ----------
    images : sequence of AuditedImage
        Of one material.
    config : AuditConfig, optional

    Raises
    ------
    DefectStrainError
        If there is nothing to draw.
    """
    config = config or AuditConfig()
    images = sorted(images, key=lambda image: image.name)
    names = images[0].sites.class_names if images else ()
    frame = _frame(images)
    if not len(frame):
        raise DefectStrainError("audit: got no columns inside the images' margins, expected some")
    rng = np.random.default_rng([config.seed, *_content(frame)])
    likely = np.concatenate([i.sites.probabilities[i.audited] for i in images])
    strata, drawn = [], []
    for k, (_, part) in enumerate(frame.groupby(["found_index", "doubt_index"])):
        doubt = DOUBTS[int(part["doubt_index"].iloc[0])]
        mean = likely[part.index.to_numpy()].mean(axis=0)
        expected = {n: float(p) for n, p in zip(names, mean, strict=True)}
        strata.append(Stratum(str(part["found"].iloc[0]), doubt, len(part), expected))
        drawn.append(part.assign(stratum=k))
    number = _allocation(strata, config.columns)
    chosen = []
    for part, count in zip(drawn, number, strict=True):
        rows = rng.permutation(len(part))[:count]
        turn = (np.arange(count) + rng.random(count)) / count  # spread over the whole audit
        more = {"stratum_columns": len(part), "drawn": count, "weight": len(part) / max(count, 1)}
        chosen.append(part.iloc[rows].assign(**more, turn=turn))
    table = pd.concat(chosen).sort_values("turn", kind="stable").reset_index(drop=True)
    table = table.assign(number=np.arange(1, len(table) + 1), label="")[[*AUDIT_COLUMNS]]
    kept = [n for i, n in enumerate(names) if i != METAL and not n.endswith(ON_METAL)]
    return Audit(table, tuple(strata), tuple(kept), config)


def _frame(images: Sequence[AuditedImage]) -> pd.DataFrame:
    """All columns that may be drawn, a row each."""
    parts = []
    for image in images:
        row, sites = image.audited, image.sites
        probability = np.asarray(sites.probability, dtype=float)[row]
        parts.append(
            pd.DataFrame(
                {
                    "image": image.name,
                    "column": row,
                    "y_px": np.asarray(sites.position_px)[row, 0].round(3),
                    "x_px": np.asarray(sites.position_px)[row, 1].round(3),
                    "found": sites.class_name[row],
                    "found_index": np.asarray(sites.class_index)[row],
                    "probability": probability.round(6),
                    "doubt_index": doubt_of(probability),
                    "doubt": np.array(DOUBTS)[doubt_of(probability)],
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def doubt_of(probability: FloatArray) -> IntArray:
    """Index into `DOUBTS` by the probability of the class given, `(N,)`.

    >>> doubt_of(np.array([1.0, 0.95, 0.5])).tolist()
    [0, 1, 2]
    """
    return np.asarray((probability[:, None] < _DOUBT_EDGES).sum(axis=1))


def _content(frame: pd.DataFrame) -> list[int]:
    """Numbers for a seed by what there is to draw from."""
    text = frame[["image", "y_px", "x_px", "found"]].to_csv(index=False)
    digest = hashlib.sha256(text.encode()).digest()
    return [int(n) for n in np.frombuffer(digest, dtype="<u4")]


def _allocation(strata: Sequence[Stratum], columns: int) -> IntArray:
    """Columns to draw from each stratum."""
    size = np.array([s.columns for s in strata])
    error = np.clip([1 - s.expected[s.found] for s in strata], _LEAST_ERROR, 0.5)
    spread = size * np.sqrt(error * (1 - error))
    found = np.array([s.found for s in strata])
    share = 0.5 * spread / spread.sum()
    for name in np.unique(found):
        own = found == name
        share[own] += 0.5 / len(np.unique(found)) * spread[own] / spread[own].sum()
    least = np.minimum(size, _LEAST)
    number = least.copy()
    # one by one to whoever lacks most: sizes are limits
    for _ in range(max(min(columns, int(size.sum())) - int(least.sum()), 0)):
        lacking: FloatArray = np.where(number < size, share * columns - number, -np.inf)
        number[int(np.argmax(lacking))] += 1
    return np.asarray(number)


def write_audit(audit: Audit, folder: Path, scores: pd.DataFrame | None = None) -> list[Path]:
    """Write ``audit.csv`` and ``audit.json`` into a folder of results, each whole or not at all.

    Parameters
    ----------
    audit : Audit
    folder : Path
    scores : DataFrame, optional
        Of `audit_scores.score_audit`.
    """
    paths = [folder / AUDIT_TABLE, folder / AUDIT_FILE]
    write_table(paths[0], audit.table)
    write_json(
        paths[1],
        {
            "schema": SCHEMA,
            "software": "napari-defectstrain",
            "version": __version__,
            "parameters": audit.config.to_dict(),
            "margin_pm": MARGIN_PM,
            "class_names": list(audit.class_names),
            "images": sorted(set(audit.table["image"])),
            "columns": len(audit.table),
            "labelled": audit.labelled,
            "unsure": audit.labels.count(UNSURE),
            "complete": audit.complete,
            "strata": [vars(stratum) for stratum in audit.strata],
            "scores": [] if scores is None else scores.to_dict("records"),
        },
    )
    return paths


def has_audit(folder: Path) -> bool:
    """Whether a folder of results holds an audit."""
    return (folder / AUDIT_TABLE).is_file() and (folder / AUDIT_FILE).is_file()


def read_audit(folder: Path) -> Audit:
    """Take up an audit where it was left.

    Parameters
    ----------
    folder : Path
        Of the results.

    Raises
    ------
    DefectStrainError
        If there is none, or it is not as it was written.
    """
    if not has_audit(folder):
        raise DefectStrainError(
            f"{folder}: got no {AUDIT_TABLE} and {AUDIT_FILE}, expected an audit; draw one first"
        )
    path = folder / AUDIT_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        schema = values["schema"]
        if schema != SCHEMA:
            raise DefectStrainError(
                f"{path}: got schema {schema}, expected {SCHEMA}: it is of another version"
            )
        strata = tuple(Stratum(**one) for one in values["strata"])
        class_names = tuple(str(name) for name in values["class_names"])
        config = AuditConfig.from_dict(values["parameters"])
        table = _read_table(folder / AUDIT_TABLE)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        if isinstance(error, DefectStrainError):
            raise
        raise DefectStrainError(
            f"{folder}: {AUDIT_FILE} or {AUDIT_TABLE} is no audit as it was written: {error}"
        ) from error
    for number, label in zip(table["number"], table["label"], strict=True):
        check_label(str(label), class_names, f"{folder / AUDIT_TABLE}, column {number}")
    if not _in_range(table, strata):
        raise DefectStrainError(f"{folder / AUDIT_TABLE}: its strata are not those of {path.name}")
    return Audit(table, strata, class_names, config)


def _in_range(table: pd.DataFrame, strata: Sequence[Stratum]) -> bool:
    known: BoolArray = table["stratum"].between(0, len(strata) - 1).to_numpy()
    return bool(known.all())


def _read_table(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, dtype={"label": str, "image": str}, keep_default_na=False)
    if lacking := [name for name in AUDIT_COLUMNS if name not in table]:
        raise DefectStrainError(f"{path}: lacks the column(s) {', '.join(lacking)}")
    return table[[*AUDIT_COLUMNS]].sort_values("number", kind="stable").reset_index(drop=True)


def judged_otherwise(audit: Audit, images: Sequence[AuditedImage]) -> list[str]:
    """Why an audit says nothing of the columns that are there; empty where it holds.

    Parameters
    ----------
    audit : Audit
    images : sequence of AuditedImage

    Returns
    -------
    list of str
        A line each: places, classes and probabilities of what was drawn, and how many columns each
        class has.
    """
    if changed := same_columns(audit, images):
        return [f"{', '.join(changed)}: other columns than when the audit was drawn"]
    said = []
    there = {image.name: image.sites for image in images}
    for name, rows in audit.table.groupby("image", sort=True):
        sites, column = there[str(name)], rows["column"].to_numpy()
        other = sites.class_name[column] != rows["found"].to_numpy()
        given = rows["probability"].to_numpy(dtype=float)
        doubts = np.abs(np.asarray(sites.probability)[column] - given) > _SAME_PROBABILITY
        for count, what in ((other, "class"), (doubts & ~other, "probability")):
            if count.any():
                said.append(
                    f"{name}: {count.sum()} of the {len(rows)} columns drawn are of another {what} "
                    "than when the audit was drawn"
                )
    now = _frame(images)["found"].value_counts() if images else {}
    for found in dict.fromkeys(stratum.found for stratum in audit.strata):
        was = sum(stratum.columns for stratum in audit.strata if stratum.found == found)
        if (count := int(now.get(found, 0))) != was and not said:
            said.append(f"{found}: {count} columns, {was} when the audit was drawn")
    return said


def same_columns(audit: Audit, images: Sequence[AuditedImage]) -> list[str]:
    """Images of an audit that are not there, or whose columns lie elsewhere now.

    Parameters
    ----------
    audit : Audit
    images : sequence of AuditedImage
    """
    there: dict[str, Any] = {image.name: image for image in images}
    changed = []
    for name, rows in audit.table.groupby("image", sort=True):
        image = there.get(str(name))
        column = rows["column"].to_numpy()
        if image is None or column.max() >= len(image.sites):
            changed.append(str(name))
            continue
        place = np.asarray(image.sites.position_px)[column]
        if np.abs(place - rows[["y_px", "x_px"]].to_numpy(dtype=float)).max() > 1.0:
            changed.append(str(name))
    return changed
