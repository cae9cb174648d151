"""Detection against truth: counts, not pixels.

Definitions of Lee et al., doi 10.1021/acs.nanolett.0c00269, SI 2.3: a hit is a detection within
150 pm of a true column of its class; true negatives are the other chalcogen columns.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..materials import DEFECT_ROLES, ROLES
from ..types import FloatArray, IntArray, Sites

HIT_RADIUS_PM = 150.0
MARGIN_PM = 500.0
"""Rim left out for detections and truth alike: columns there lack half their surroundings."""


def match_columns(
    found_px: FloatArray, true_px: FloatArray, radius_px: float
) -> tuple[IntArray, IntArray]:
    """One-to-one pairs of detected and true columns within a radius, of least total distance.

    Returns
    -------
    found, true : arrays, `(P,)`
        Indices of the pairs.
    """
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
        cost = np.full((len(f), len(t)), 10 * radius_px)
        cost[fi, ti] = np.hypot(*(found_px[row[members]] - true_px[col[members]]).T)
        for i, j in zip(*linear_sum_assignment(cost), strict=True):
            if cost[i, j] <= radius_px:
                pairs.append((f[i], t[j]))
    found, true = np.array(pairs, dtype=int).T
    return found, true


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
    margin = MARGIN_PM / pixel_size_pm
    f, t = match_columns(found.position_px, truth.position_px, HIT_RADIUS_PM / pixel_size_pm)
    n = len(ROLES)
    found_class = np.full(len(truth), n)
    found_class[t] = found.class_index[f]
    counts = np.zeros((n + 1, n + 1), dtype=np.int64)

    def inside(position: FloatArray) -> np.ndarray:
        return np.all((position >= margin) & (position <= np.asarray(shape) - 1 - margin), axis=1)

    keep = inside(truth.position_px)
    np.add.at(counts, (truth.class_index[keep], found_class[keep]), 1)
    lonely = np.setdiff1d(np.flatnonzero(inside(found.position_px)), f)
    np.add.at(counts, (n, found.class_index[lonely]), 1)
    return counts


def scores(counts: IntArray, class_names: tuple[str, ...]) -> pd.DataFrame:
    """Table S2: precision, recall, balanced accuracy and F1 of each defect class.

    Parameters
    ----------
    counts : array, `(7, 7)`
        Sum of `confusion_matrix` over images.
    class_names : tuple of str
    """
    rows = []
    chalcogen = counts[1:-1].sum()
    for role in (ROLES.index(r) for r in DEFECT_ROLES):
        tp = counts[role, role]
        fp = counts[:, role].sum() - tp
        fn = counts[role].sum() - tp
        tn = chalcogen - tp - fn - (fp - counts[0, role] - counts[-1, role])
        precision, recall = _share(tp, fp), _share(tp, fn)
        rows.append(
            {
                "class": class_names[role],
                "columns": int(tp + fn),
                "precision": precision,
                "recall": recall,
                "balanced_accuracy": (recall + _share(tn, fp)) / 2,
                "F1": _share(2 * tp, fp + fn),
            }
        )
    return pd.DataFrame(rows)


def _share(part: float, rest: float) -> float:
    """Part / (part + rest), NaN where there is nothing."""
    return float(part / (part + rest)) if part + rest else float("nan")
