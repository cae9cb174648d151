"""Detection against truth: counts, not pixels.

Definitions of Lee et al., doi 10.1021/acs.nanolett.0c00269, SI 2.3: a hit is a detection within
150 pm of a true column of its class; true negatives are the other chalcogen columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..materials import DEFECT_ROLES, ROLES
from ..types import BoolArray, FloatArray, IntArray, Sites, StrArray

HIT_RADIUS_PM = 150.0
MARGIN_PM = 500.0
"""Rim left out for detections and truth alike: columns there lack half their surroundings."""

NONE = len(ROLES)
"""Row and column of a confusion matrix for what has no counterpart."""
UNKNOWN = -1
"""Class of a true column that the truth lists without a class."""

PAPER_TABLE: Mapping[str, tuple[float, float, float, float]] = {
    "V2": (0.9955, 0.9978, 0.9989, 0.9966),
    "V1": (0.9989, 0.9956, 0.9978, 0.9972),
    "XY": (0.9881, 0.9781, 0.9887, 0.9830),
    "Y2": (0.9935, 0.9959, 0.9977, 0.9947),
}
"""Precision, recall, balanced accuracy and F1 of the paper's SI, Table S2."""

_METAL, _OTHER, _V2 = (ROLES.index(role) for role in ("metal", "other", "V2"))


@dataclass(frozen=True)
class Comparison:
    """What detection made of the columns of one image.

    Parameters
    ----------
    name : str
        Of the image.
    counts : array, `(8, 8)`
        Columns by true class (rows) and found class (columns); the last of each is 'none'.
    kinds : mapping of str to array, `(8,)`
        The same row for every kind of look-alike that the truth names.
    probabilities : array, `(F, 7)`
        Of the detections that count.
    true_class, found_class : arrays, `(F,)`
        Their true class (`NONE` where there is no column) and the class given to them.
    error_pm : array, `(P, 2)`
        Found minus true place (y, x) of each pair [pm].
    error_class : array, `(P,)`
        True class of each pair, `UNKNOWN` where not listed.
    listed, missed, extra : int
        True columns to be found (those of class other needn't be: there may be nothing to see),
        those of them that were not found, and detections where no column is.
    """

    name: str
    counts: IntArray
    kinds: Mapping[str, IntArray]
    probabilities: FloatArray
    true_class: IntArray
    found_class: IntArray
    error_pm: FloatArray
    error_class: IntArray
    listed: int
    missed: int
    extra: int


def match_columns(
    found_px: FloatArray, true_px: FloatArray, radius_px: float
) -> tuple[IntArray, IntArray]:
    """One-to-one pairs of detected and true columns within a radius, of least total distance.

    Returns
    -------
    found, true : arrays, `(P,)`
        Indices of the pairs.
    """
    if len(found_px) == 0 or len(true_px) == 0:
        return np.empty(0, dtype=int), np.empty(0, dtype=int)
    tree = cKDTree(true_px)
    near = tree.query_ball_point(found_px, radius_px)
    row = np.repeat(np.arange(len(found_px)), [len(n) for n in near])
    col = np.concatenate([np.asarray(n, dtype=int) for n in near] or [np.empty(0, int)])
    if len(row) == 0:
        return np.empty(0, dtype=int), np.empty(0, dtype=int)
    n = len(found_px)
    graph = coo_array((np.ones(len(row)), (row, n + col)), shape=(n + len(true_px),) * 2)
    group = connected_components(graph, directed=False)[1][row]
    pairs = []
    order = np.argsort(group, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        f, fi = np.unique(row[members], return_inverse=True)
        t, ti = np.unique(col[members], return_inverse=True)
        # a pair out of reach costs more than all pairs within: as many hits as can be
        cost = np.full((len(f), len(t)), (len(members) + 1.0) * radius_px)
        cost[fi, ti] = np.hypot(*(found_px[row[members]] - true_px[col[members]]).T)
        for i, j in zip(*linear_sum_assignment(cost), strict=True):
            if cost[i, j] <= radius_px:
                pairs.append((f[i], t[j]))
    found, true = np.array(pairs, dtype=int).T
    return found, true


def compare(
    found: Sites,
    true_px: FloatArray,
    true_class: IntArray,
    shape: tuple[int, ...],
    pixel_size_pm: float,
    kind: StrArray | None = None,
    radius_pm: float = HIT_RADIUS_PM,
    name: str = "image",
) -> Comparison:
    """Match the columns found in an image with its true ones, one to one, whatever their class.

    A pair counts where its true column lies inside the margin, a detection without a counterpart
    where it lies inside itself: a place just off the margin's edge does no harm.

    Parameters
    ----------
    found : Sites
    true_px : array, `(N, 2)`
        (y, x) [px].
    true_class : array of int, `(N,)`
        Index into `materials.ROLES`, or `UNKNOWN`.
    shape : tuple of int
        Of the image [px].
    pixel_size_pm : float
    kind : array of str, `(N,)`, optional
        What a look-alike is; empty for ordinary columns.
    radius_pm : float
        Largest distance of a pair [pm].
    name : str
    """
    margin = MARGIN_PM / pixel_size_pm
    f, t = match_columns(found.position_px, true_px, radius_pm / pixel_size_pm)
    inside = _inside(true_px, shape, margin)
    found_class = np.full(len(true_px), NONE)
    found_class[t] = found.class_index[f]
    lonely = _inside(found.position_px, shape, margin)
    lonely[f] = False
    known = inside & (true_class != UNKNOWN)
    counts = np.zeros((NONE + 1, NONE + 1), dtype=np.int64)
    np.add.at(counts, (true_class[known], found_class[known]), 1)
    counts[NONE] += np.bincount(found.class_index[lonely], minlength=NONE + 1)
    kinds = {
        str(text): np.bincount(found_class[inside & (kind == text)], minlength=NONE + 1)
        for text in ([] if kind is None else np.unique(kind[inside]))
        if text
    }
    seen = known[t]
    judged = np.concatenate([f[seen], np.flatnonzero(lonely)])
    pair = inside[t]
    to_find = inside & (true_class != _OTHER)
    extra = lonely
    if len(true_class) and (true_class == UNKNOWN).all():
        extra = lonely & (found.class_index != _V2)  # nothing is to be seen of an empty site
    return Comparison(
        name=name,
        counts=counts,
        kinds=kinds,
        probabilities=found.probabilities[judged],
        true_class=np.concatenate([true_class[t[seen]], np.full(int(lonely.sum()), NONE)]),
        found_class=found.class_index[judged],
        error_pm=(found.position_px[f[pair]] - true_px[t[pair]]) * pixel_size_pm,
        error_class=true_class[t[pair]],
        listed=int(to_find.sum()),
        missed=int((to_find & (found_class == NONE)).sum()),
        extra=int(extra.sum()),
    )


def _inside(position: FloatArray, shape: tuple[int, ...], margin: float) -> BoolArray:
    return np.asarray(
        np.all((position >= margin) & (position <= np.asarray(shape) - 1 - margin), axis=1)
    )


def confusion_matrix(
    found: Sites, truth: Sites, shape: tuple[int, ...], pixel_size_pm: float
) -> IntArray:
    """Counts by true class (rows) and found class (columns); the last row and column are 'none'.

    Parameters
    ----------
    found, truth : Sites
    shape : tuple of int
        Of the image [px].
    pixel_size_pm : float
    """
    return compare(found, truth.position_px, truth.class_index, shape, pixel_size_pm).counts


def scores(
    counts: IntArray, class_names: tuple[str, ...], roles: Sequence[str] = DEFECT_ROLES
) -> pd.DataFrame:
    """Table S2: precision, recall, true negative rate, balanced accuracy and F1 of each class.

    Columns of class other count among the chalcogen columns, where most look-alikes lie.

    Parameters
    ----------
    counts : array, `(8, 8)`
        Sum of `confusion_matrix` over images.
    class_names : tuple of str
    roles : sequence of str
        Classes to score.
    """
    rows = []
    for role in (ROLES.index(r) for r in roles):
        tp = counts[role, role]
        fp = counts[:, role].sum() - tp
        fn = counts[role].sum() - tp
        others = [r for r in range(1, NONE) if r != role]
        tn = counts[others].sum() - counts[others, role].sum()
        rates = _share(tp, fp), _share(tp, fn), _share(tn, fp)
        rows.append(
            {
                "class": class_names[role],
                "columns": int(tp + fn),
                "precision": rates[0],
                "recall": rates[1],
                "TNR": rates[2],
                "balanced_accuracy": (rates[1] + rates[2]) / 2,
                "F1": _share(2 * tp, fp + fn),
            }
        )
    return pd.DataFrame(rows)


def partial_scores(
    counts: IntArray, class_names: tuple[str, ...], roles: Sequence[str]
) -> pd.DataFrame:
    """`scores` where the truth lists some classes only: what it doesn't list is none of them.

    Every detection without a counterpart stands for a true column of no listed class; those
    found to be chalcogen columns are the true negatives.
    """
    complete = counts.copy()
    unlisted = counts[NONE].copy()
    unlisted[_METAL] = 0
    complete[NONE] = 0
    complete[ROLES.index("X2"), :] += unlisted
    return scores(complete, class_names, roles)


def f1_by_role(counts: FloatArray | IntArray) -> FloatArray:
    """F1 of the roles of `materials.DEFECT_ROLES`, `(..., 4)`; NaN where there is nothing.

    Parameters
    ----------
    counts : array, `(..., 8, 8)`
        Confusion matrices.
    """
    role = [ROLES.index(r) for r in DEFECT_ROLES]
    hits = np.diagonal(counts, axis1=-2, axis2=-1)[..., role].astype(float)
    marginals = (counts.sum(axis=-2) + counts.sum(axis=-1))[..., role]
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * hits / np.where(marginals > 0, marginals, np.nan))


def _share(part: float, rest: float) -> float:
    """Part / (part + rest), NaN where there is nothing."""
    return float(part / (part + rest)) if part + rest else float("nan")
