"""Audits of a folder of results: what is drawn from, and truth as the labeller."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..crystal.overlaps import Overlap
from ..crystal.region_files import LABELS_SUFFIX, read_regions
from ..io.tables import read_sites
from ..materials import Material, get_material
from ..types import OTHER, DefectStrainError, Progress, StrArray, no_progress
from .audit import Audit, AuditConfig, AuditedImage, draw_audit
from .audit_scores import score_audit
from .score import HIT_RADIUS_PM, UNKNOWN, match_columns
from .truth_tables import SUFFIXES, read_truth

_RUN = "run.json"
_SCORED = (*("precision", "recall", "expected_precision", "expected_recall"),)


@dataclass(frozen=True)
class AuditedFolder:
    """What may be drawn from the results of a run.

    Parameters
    ----------
    folder : Path
        With ``run.json``: that of a run, or of the results of a study.
    material : Material
    images : tuple of AuditedImage
    """

    folder: Path
    material: Material
    images: tuple[AuditedImage, ...]


def read_audited(folder: Path) -> AuditedFolder:
    """Read the columns and regions of a run.

    Parameters
    ----------
    folder : Path
        What ``defectstrain run -o`` or ``detect`` wrote, or a study with results.

    Raises
    ------
    DefectStrainError
        If it is no such folder, or a table of columns is missing.
    """
    if not (folder / _RUN).is_file() and (folder / "results" / _RUN).is_file():
        folder = folder / "results"
    path = folder / _RUN
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        material = get_material(values["parameters"]["material"])
        records = [(str(i["name"]), i["shape"], i["pixel_size_pm"]) for i in values["images"]]
        overlaps = _overlaps(values.get("overlaps", ()), [name for name, _, _ in records])
    except OSError as error:
        raise DefectStrainError(
            f"{path}: can't be read: {error.strerror}; expected the folder of a finished run"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DefectStrainError(f"{path}: is not what a run wrote: {error}") from error
    images = []
    for name, shape, pixel_size_pm in records:
        labels = folder / f"{name}{LABELS_SUFFIX}"
        images.append(
            AuditedImage(
                name,
                read_sites(folder / f"{name}.sites.csv", material.all_class_names),
                read_regions(labels) if labels.is_file() else None,
                tuple(int(n) for n in shape),
                float(pixel_size_pm),
            )
        )
    return AuditedFolder(folder, material, tuple(each_place_once(images, overlaps)))


def _overlaps(records: Iterable[Mapping[str, Any]], names: Sequence[str]) -> list[Overlap]:
    """The overlaps of a run as ``run.json`` has them; runs of before had none there."""
    place = {name: i for i, name in enumerate(names)}
    return [
        Overlap(
            place[one["first"]],
            place[one["second"]],
            np.array(one["matrix"], dtype=float).reshape(2, 3),
            float(one["share"]),
        )
        for one in records
    ]


def each_place_once(
    images: Sequence[AuditedImage], overlaps: Sequence[Overlap]
) -> list[AuditedImage]:
    """The images without the columns that count in another one, as in all tables of a run.

    Parameters
    ----------
    images : sequence of AuditedImage
    overlaps : sequence of Overlap
        Of these images.
    """
    result = list(images)
    for o in overlaps:
        first, second = images[o.first], result[o.second]
        place = np.asarray(second.sites.position_px)
        here = ~o.counted_first(place, first.shape, first.regions)
        counted = here if second.counted is None else here & second.counted
        result[o.second] = replace(second, counted=counted)
    return result


def true_labels(
    audited: AuditedFolder, truth_dir: Path, class_map: Mapping[str, str] | None = None
) -> dict[str, StrArray]:
    """What truth calls each column of the images that it knows, by the names of the images.

    Columns where truth has none are called other.

    Parameters
    ----------
    audited : AuditedFolder
    truth_dir : Path
        Tables of true columns (`truth_tables.read_truth`).
    class_map : mapping of str to str, optional
        Names of classes in the truth that aren't known, to roles.

    Raises
    ------
    DefectStrainError
        If there is no truth for an image, or it has columns without a class.
    """
    found = {}
    for image in audited.images:
        paths = (truth_dir / f"{image.name}{suffix}" for suffix in SUFFIXES)
        path = next((p for p in paths if p.is_file()), None)
        if path is None:
            raise DefectStrainError(
                f"{truth_dir}: got no truth for {image.name}, expected {image.name}.truth.csv"
            )
        truth = read_truth(path, audited.material, image.pixel_size_pm, class_map)
        if (truth.class_index == UNKNOWN).any():
            raise DefectStrainError(
                f"{path}: got columns without a class, expected all to have one"
            )
        radius = HIT_RADIUS_PM / image.pixel_size_pm
        mine, true = match_columns(image.sites.position_px, truth.position_px, radius)
        index = np.full(len(image.sites), OTHER)
        index[mine] = truth.class_index[true]
        found[image.name] = np.array(audited.material.class_names)[index]
    return found


def labelled_by(audit: Audit, labels: Mapping[str, StrArray]) -> Audit:
    """An audit whose columns all have the labels that somebody would give them.

    Parameters
    ----------
    audit : Audit
    labels : mapping of str to array of str
        Of all columns of each image; what is no class of chalcogen columns is called other.
    """
    other = audit.class_names[OTHER - 1]
    given = [
        str(labels[str(image)][int(column)])
        for image, column in zip(audit.table["image"], audit.table["column"], strict=True)
    ]
    given = [label if label in audit.class_names else other for label in given]
    return replace(audit, table=audit.table.assign(label=given))


def true_scores(images: Sequence[AuditedImage], labels: Mapping[str, StrArray]) -> pd.DataFrame:
    """Precision and recall of all columns that an audit may draw, by what they truly are.

    Parameters
    ----------
    images : sequence of AuditedImage
    labels : mapping of str to array of str
        Of all columns of each image.

    Returns
    -------
    DataFrame
        ``class``, ``found``, ``precision``, ``recall``.
    """
    found = np.concatenate([i.sites.class_name[i.audited] for i in images])
    true = np.concatenate([labels[i.name][i.audited] for i in images])
    rows = []
    names = images[0].sites.class_names
    for name in names[1:]:
        right = int(((found == name) & (true == name)).sum())
        kept, there = int((found == name).sum()), int((true == name).sum())
        if kept or there:
            shares = (right / n if n else float("nan") for n in (kept, there))
            rows.append((name, kept, *shares))
    return pd.DataFrame(rows, columns=["class", "found", "precision", "recall"])


def audit_coverage(
    audited: AuditedFolder,
    labels: Mapping[str, StrArray],
    config: AuditConfig,
    repeats: int,
    progress: Progress = no_progress,
) -> pd.DataFrame:
    """How often the intervals of many audits hold what is true.

    Parameters
    ----------
    audited : AuditedFolder
    labels : mapping of str to array of str
        Of all columns of each image (`true_labels`).
    config : AuditConfig
        Of the first audit; the others have the following seeds.
    repeats : int
    progress : Progress

    Returns
    -------
    DataFrame
        A row a class and score: what is ``true``, the ``mean`` and ``std`` of the audits'
        estimates, the mean ``width`` of their intervals, and the share of these that ``cover``
        what is true, of the ``audits`` that had an estimate.
    """
    truth = true_scores(audited.images, labels).set_index("class")
    made = []
    for k in range(repeats):
        progress(k / repeats, f"audit {k + 1} of {repeats}")
        audit = draw_audit(audited.images, config.replace(seed=config.seed + k))
        made.append(score_audit(labelled_by(audit, labels)).set_index("class"))
    rows = []
    for name in truth.index:
        for score in _SCORED:
            value = float(truth.loc[name, score.removeprefix("expected_")])
            each = np.array(
                [
                    [one.loc[name, score + end] for end in ("", "_low", "_high")]
                    for one in made
                    if name in one.index
                ]
            )
            each = each[np.isfinite(each).all(axis=1)]
            if not len(each) or not np.isfinite(value):
                continue
            inside = (each[:, 1] <= value + 1e-9) & (value <= each[:, 2] + 1e-9)
            width = (each[:, 2] - each[:, 1]).mean()
            spread = (each[:, 0].mean(), each[:, 0].std())
            rows.append((name, score, value, *spread, width, inside.mean(), len(each)))
    columns = ["class", "score", "true", "mean", "std", "width", "cover", "audits"]
    return pd.DataFrame(rows, columns=columns)
