"""An evaluation as tables: scores beside the paper's, confusions, calibration, purity, curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..materials import DEFECT_ROLES, ROLES, Material
from ..types import FloatArray, IntArray
from .calibration_curve import Reliability, reliability
from .conditions import curve, varied
from .confusion import purity_by_confusion
from .folders import Evaluation
from .score import NONE, PAPER_TABLE, UNKNOWN, Comparison, partial_scores, scores

_PAPER_COLUMNS = ("precision", "recall", "balanced_accuracy", "F1")


def total_counts(comparisons: Sequence[Comparison]) -> IntArray:
    """Sum of the confusion matrices, `(8, 8)`."""
    return np.asarray(np.sum([c.counts for c in comparisons], axis=0))


def scores_table(evaluation: Evaluation) -> pd.DataFrame:
    """Scores of the judged classes in the paper's order, with its Table S2 as ``paper_`` columns.

    With an oracle, ``oracle_F1``, ``least_squares_F1`` and ``F1_of_oracle``, the ratio.
    """
    roles = [role for role in PAPER_TABLE if role in evaluation.judged]
    table = _scores(evaluation, evaluation.comparisons, roles)
    for i, name in enumerate(_PAPER_COLUMNS):
        table[f"paper_{name}"] = [PAPER_TABLE[role][i] for role in roles]
    for name in ("oracle", "least_squares"):
        made = getattr(evaluation, name)
        if made:
            table[f"{name}_F1"] = _scores(evaluation, made, roles)["F1"]
    if evaluation.oracle:
        table["F1_of_oracle"] = table["F1"] / table["oracle_F1"]
    return table


def _scores(
    evaluation: Evaluation, comparisons: Sequence[Comparison], roles: Sequence[str]
) -> pd.DataFrame:
    score = scores if evaluation.complete else partial_scores
    return score(total_counts(comparisons), evaluation.material.class_names, roles)


def columns_table(evaluation: Evaluation) -> pd.DataFrame:
    """Detection of columns, of any class, and how far off they are.

    One row an image and one for all: columns listed and found, recall, precision (NaN where the
    truth lists some columns only), rms position error per axis and mean error along y and x [pm].
    """
    rows = [_columns_row([c], c.name, evaluation) for c in evaluation.comparisons]
    if len(rows) > 1:
        rows.append(_columns_row(evaluation.comparisons, "all", evaluation))
    return pd.DataFrame(rows)


def _columns_row(
    comparisons: Sequence[Comparison], name: str, evaluation: Evaluation
) -> dict[str, object]:
    listed, missed, extra = (
        sum(getattr(c, what) for c in comparisons) for what in ("listed", "missed", "extra")
    )
    error = np.concatenate([c.error_pm for c in comparisons])
    only_places = all((c.error_class == UNKNOWN).all() for c in comparisons)
    judges = evaluation.complete or (only_places and len(error) > 0)
    paired = len(error)
    return {
        "image": name,
        "columns": listed,
        "column_recall": 1 - missed / listed if listed else np.nan,
        "column_precision": paired / (paired + extra) if judges and paired + extra else np.nan,
        "rms_pm": float(np.sqrt((error**2).mean())) if paired else np.nan,
        "mean_y_pm": float(error[:, 0].mean()) if paired else np.nan,
        "mean_x_pm": float(error[:, 1].mean()) if paired else np.nan,
    }


def positions_table(evaluation: Evaluation) -> pd.DataFrame:
    """Position error of the matched columns of each true class: rms per axis, and means [pm]."""
    error = np.concatenate([c.error_pm for c in evaluation.comparisons])
    role = np.concatenate([c.error_class for c in evaluation.comparisons])
    rows = []
    names = {UNKNOWN: "unknown", **dict(enumerate(evaluation.material.class_names))}
    for index, name in names.items():
        own = error[role == index]
        if len(own):
            y, x = own.mean(axis=0)
            rms = float(np.sqrt((own**2).mean()))
            rows.append(
                {"class": name, "columns": len(own), "rms_pm": rms, "mean_y_pm": y, "mean_x_pm": x}
            )
    return pd.DataFrame(rows)


def confusion_table(evaluation: Evaluation) -> pd.DataFrame:
    """Counts by true class (rows) and found class; a row more for every kind of look-alike.

    The rows of kinds split those of their classes; they aren't to be added to them.
    """
    names = (*evaluation.material.class_names, "none")
    counts = total_counts(evaluation.comparisons)
    rows: list[dict[str, object]] = [
        {"truth": name, "look_alike": False, **_row(row, names)}
        for name, row in zip(names, counts, strict=True)
    ]
    if not evaluation.complete:
        rows[NONE]["truth"] = "none or not listed"
    kinds: dict[str, IntArray] = {}
    for comparison in evaluation.comparisons:
        for kind, row in comparison.kinds.items():
            kinds[kind] = kinds.get(kind, np.zeros(NONE + 1, dtype=np.int64)) + row
    rows += [{"truth": k, "look_alike": True, **_row(kinds[k], names)} for k in sorted(kinds)]
    return pd.DataFrame(rows)


def _row(counts: IntArray, names: Sequence[str]) -> dict[str, int]:
    return {name: int(n) for name, n in zip(names, counts, strict=True)}


def images_table(evaluation: Evaluation) -> pd.DataFrame:
    """One row an image: detection of columns, F1 of each class, and its conditions."""
    table = columns_table(evaluation).iloc[: len(evaluation.comparisons)].reset_index(drop=True)
    roles = [role for role in PAPER_TABLE if role in evaluation.judged]
    for label, made in (("", evaluation.comparisons), ("oracle_", evaluation.oracle)):
        if not made or not roles:
            continue
        f1 = [list(_scores(evaluation, [c], roles)["F1"]) for c in made]
        names = [f"{label}F1_{evaluation.material.class_names[ROLES.index(r)]}" for r in roles]
        table[names] = f1
    return table.join(pd.DataFrame([dict(c) for c in evaluation.conditions]))


def reliabilities(evaluation: Evaluation) -> dict[str, Reliability]:
    """Reliability of each class that is judged, X2 and other among them where all is listed."""
    made = evaluation.comparisons
    p = np.concatenate([c.probabilities for c in made])
    truth = np.concatenate([c.true_class for c in made])
    image = np.repeat(np.arange(len(made)), [len(c.true_class) for c in made])
    roles = ("X2", *DEFECT_ROLES, "other") if evaluation.complete else evaluation.judged
    names = evaluation.material.class_names
    index = [ROLES.index(role) for role in roles]
    return {names[r]: reliability(p[:, r], truth == r, image) for r in index}


def calibration_table(found: dict[str, Reliability]) -> pd.DataFrame:
    """Expected calibration error of each class (`calibration_curve`)."""
    rows = [
        {
            "class": name,
            "columns": r.columns,
            "ECE": r.ece,
            "ECE_std": r.ece_std,
            "ECE_if_true": r.ece_if_true,
        }
        for name, r in found.items()
    ]
    return pd.DataFrame(rows)


def purity_check(evaluation: Evaluation) -> pd.DataFrame:
    """Expected purity of what was given each class, by two estimates, against the actual one.

    ``expected_purity`` is the mean probability; ``by_confusion`` is what the confusion matrices of
    the other images say of each image (`confusion.purity_by_confusion`), over all images.
    """
    made = evaluation.comparisons
    p = np.concatenate([c.probabilities for c in made])
    truth = np.concatenate([c.true_class for c in made])
    found = np.concatenate([c.found_class for c in made])
    roles = ("X2", *DEFECT_ROLES) if evaluation.complete else evaluation.judged
    by_confusion = _purity_by_others(evaluation)
    rows = []
    for role in (ROLES.index(r) for r in roles):
        own = found == role
        n = int(own.sum())
        mean = float(p[own, role].mean()) if n else np.nan
        actual = float((truth[own] == role).mean()) if n else np.nan
        rows.append(
            {
                "class": evaluation.material.class_names[role],
                "columns": n,
                "expected_purity": mean,
                "by_confusion": by_confusion[role],
                "actual_purity": actual,
                "std": float(np.sqrt(actual * (1 - actual) / n)) if n else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _purity_by_others(evaluation: Evaluation) -> FloatArray:
    """Purity by the confusion matrices of the other images, mean over images by columns, `(7,)`."""
    counts = np.stack([c.counts for c in evaluation.comparisons])
    right, total = np.zeros(NONE), np.zeros(NONE)
    for i, own in enumerate(counts if len(counts) > 1 and evaluation.complete else ()):
        number = own.sum(axis=0)[:NONE]
        purity = purity_by_confusion(number, counts.sum(axis=0) - counts[i])
        known = np.isfinite(purity)
        right[known] += purity[known] * number[known]
        total[known] += number[known]
    return np.asarray(np.divide(right, total, out=np.full(NONE, np.nan), where=total > 0))


def curves_table(evaluation: Evaluation) -> pd.DataFrame:
    """F1 of each class against every condition that varies: parameter, judge, value, images, F1."""
    tables = []
    judges = {"detection": evaluation.comparisons, "oracle": evaluation.oracle}
    for name in varied(evaluation.conditions):
        values = np.array([c[name] for c in evaluation.conditions])
        for judge, made in judges.items():
            if made:
                points = curve(values, [c.counts for c in made])
                points.insert(0, "judge", judge)
                points.insert(0, "parameter", name)
                tables.append(points)
    if not tables:
        return pd.DataFrame()
    return named_curves(pd.concat(tables, ignore_index=True), evaluation.material)


def named_curves(table: pd.DataFrame, material: Material) -> pd.DataFrame:
    """Curves with the material's names of the classes in place of roles."""
    names = dict(zip(ROLES, material.class_names, strict=True))
    renamed = {role: names[role] for role in DEFECT_ROLES}
    return table.rename(columns=renamed | {f"{r}_std": f"{n}_std" for r, n in renamed.items()})
