"""What other weights would change in a study: looked for, compared, never taken unasked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..materials import Material, get_material
from ..pipeline.chain import detect
from ..progress import subprogress
from ..types import DefectStrainError, Progress, Sites, no_progress
from .folder import BUNDLED, WeightsRecord
from .journal import FILE, MODEL
from .opening import Study
from .replay import matched_columns
from .weights import configured_weights

NOT_FOUND = "none"
"""What a column is called that the other network didn't find."""


@dataclass(frozen=True)
class WeightsComparison:
    """Answers of two networks to the same images.

    Parameters
    ----------
    old, new : WeightsRecord
        The study's, and the others.
    populations : DataFrame
        One row a class: class, columns_old, columns_new, share_old, share_new (of the columns of
        its sublattice), change.
    classes : DataFrame
        Columns of each class of the old ones (rows) by the new ones' (columns); `NOT_FOUND` where
        only one of them has a column.
    by_hand : int
        Columns whose class a hand corrected or gave.
    agree_by_hand : int
        Those of them to which the new weights give the class that the hand did.
    """

    old: WeightsRecord
    new: WeightsRecord
    populations: pd.DataFrame
    classes: pd.DataFrame
    by_hand: int
    agree_by_hand: int

    @property
    def changed(self) -> int:
        """Columns of another class, or that one of them alone has."""
        same = [self.classes.loc[n, n] for n in self.classes.index if n in self.classes.columns]
        return int(self.classes.to_numpy().sum() - sum(same))

    def __str__(self) -> str:
        old, new = (f"{w.name} ({w.sha256[:12]})" for w in (self.old, self.new))
        total = int(self.classes.to_numpy().sum())
        lines = [
            f"{new} against {old}, the study's: {self.changed} of {total} columns would change",
            self.populations.to_string(index=False, float_format="%.4f"),
            "",
            "classes, the study's in rows, the others' in columns:",
            self.classes.to_string(),
        ]
        if self.by_hand:
            lines += [
                "",
                f"of {self.by_hand} columns corrected by hand the new weights give "
                f"{self.agree_by_hand} the class that the hand did",
            ]
        return "\n".join(lines)


def compare_weights(
    study: Study, weights: str, progress: Progress = no_progress
) -> WeightsComparison:
    """Look for the columns of a study's images with other weights, and compare the answers.

    Nothing in the study changes.

    Parameters
    ----------
    study : Study
    weights : str
        As `DetectConfig.weights`; ``bundled`` for those of the package.
    progress : Progress

    Raises
    ------
    DefectStrainError
        If no image of the study has columns that a network found, or the weights can't be used.
    """
    names = [n for n in study.images if study.has_sites(n) and study.answer_of(n).by == MODEL]
    if not names or study.weights is None:
        raise DefectStrainError(
            f"{study.path}: got no columns that a network found (those from files are {FILE}), "
            "expected some to compare with; run the study first"
        )
    detection = study.config.detect.replace(weights=None if weights == BUNDLED else weights)
    config = study.config.replace(detect=detection)
    new = configured_weights(config)
    images, _ = study.load_images(names, progress=subprogress(progress, 0.0, 0.05))
    regions = [study.regions(name) if study.has_regions(name) else None for name in names]
    found = detect(images, config, None, subprogress(progress, 0.05, 1.0), regions)
    material = get_material(config.material)
    pairs = [
        (study.model_sites(image.name), sites)
        for image, sites in zip(found.images, found.sites, strict=True)
    ]
    by_hand = agree = 0
    for image, sites in zip(found.images, found.sites, strict=True):
        some, right = _agreement(study.sites(image.name), sites)
        by_hand, agree = by_hand + some, agree + right
    return WeightsComparison(
        study.weights,
        new,
        _populations(pairs, material),
        _classes(pairs, material),
        by_hand,
        agree,
    )


def _populations(pairs: list[tuple[Sites, Sites]], material: Material) -> pd.DataFrame:
    """How many columns of each class there are by either."""
    rows = []
    for name in material.all_class_names:
        count, of_all = np.zeros(2), np.zeros(2)
        for both in pairs:
            for k, sites in enumerate(both):
                own = sites.class_name == name
                count[k] += own.sum()
                of_all[k] += _sublattice(sites, name, material)
        share = np.divide(count, of_all, out=np.zeros(2), where=of_all > 0)
        rows.append(
            {
                "class": name,
                "columns_old": int(count[0]),
                "columns_new": int(count[1]),
                "share_old": share[0],
                "share_new": share[1],
                "change": share[1] - share[0],
            }
        )
    return pd.DataFrame(rows)


def _sublattice(sites: Sites, name: str, material: Material) -> int:
    """Columns of the sublattice of a class; all of them for other."""
    names = material.all_class_names
    if name == names[0]:
        return int((~sites.is_chalcogen).sum())
    return (
        int(sites.is_chalcogen.sum()) if name in material.defect_names + names[1:2] else len(sites)
    )


def _classes(pairs: list[tuple[Sites, Sites]], material: Material) -> pd.DataFrame:
    names = [*material.all_class_names, NOT_FOUND]
    counts = np.zeros((len(names), len(names)), dtype=int)
    index = {name: i for i, name in enumerate(names)}
    for old, new in pairs:
        both = matched_columns(old.position_px, new.position_px)
        for i, j in both:
            counts[index[old.class_name[i]], index[new.class_name[j]]] += 1
        for i in np.setdiff1d(np.arange(len(old)), [i for i, _ in both]):
            counts[index[old.class_name[i]], -1] += 1
        for j in np.setdiff1d(np.arange(len(new)), [j for _, j in both]):
            counts[-1, index[new.class_name[j]]] += 1
    return pd.DataFrame(counts, index=names, columns=names)


def _agreement(corrected: Sites, new: Sites) -> tuple[int, int]:
    """Columns that a hand gave a class, and how many of them have it in another answer."""
    own = corrected.subset(corrected.source == "manual")
    both = matched_columns(own.position_px, new.position_px)
    return len(own), sum(own.class_name[i] == new.class_name[j] for i, j in both)
