"""Precision and recall by the labels of an audit, with intervals.

Two answers. By the labels alone: stratified estimates with inverse-probability weights, and
intervals put together (MOVER: Donner and Zou 2012, doi:10.1177/0962280210383082) from the exact
ones of every stratum (Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404).
They assume nothing, so a hundred labels leave much open of classes that are hidden among thousands
of perfect columns. With the probabilities: errors of a kind are as many times as frequent as the
probabilities say as in the columns labelled, which assumes that doubtful columns err more often
than sure ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import betaincinv

from ..types import FloatArray, IntArray
from .audit import DOUBTS, UNSURE, Audit

_DRAWS = 4000
_SEED = 20
_PRIOR = 1.0
"""Errors that the probabilities' own word is worth, before there are labels."""
_KIND_PRIOR = 2.0
"""The same of errors of each class, beside that of all."""
_FACTORS = (1e-3, 1e3, 600)
"""Between what, and in how many steps, the factor of all errors is looked for."""
_CONTRADICTED = 1e-3
"""Chance of so many errors by the probabilities below which they are wrong."""
_FREE_FACTORS, _FREE_KIND_PRIOR = (1e-3, 1e6, 900), 0.5
_TINY = 1e-300
_TAIL = 0.025
_LEAST_ERROR = 1e-5
"""Of a probability: none is exactly 0."""
_SHOWN = ("precision", "recall", "expected_precision", "expected_recall")
SCORE_COLUMNS = (
    *("class", "found", "labelled", "precision", "precision_low", "precision_high"),
    *("recall", "recall_low", "recall_high"),
    *("expected_precision", "expected_precision_low", "expected_precision_high"),
    *("expected_recall", "expected_recall_low", "expected_recall_high"),
)


def score_audit(audit: Audit) -> pd.DataFrame:
    """Precision and recall of each class by the labels so far.

    Columns that the labeller couldn't tell are left out: the others of their stratum stand for
    them. A stratum without a label yet is represented by the others of its class.

    Parameters
    ----------
    audit : Audit

    Returns
    -------
    DataFrame
        A row a class: columns ``found`` to be of it, those of them ``labelled``; ``precision`` and
        ``recall`` by the labels alone and their limits of 95 %; the same with the help of the
        probabilities (``expected_...``). NaN where nothing tells.
    """
    size, labels, likely, found = _counts(audit)
    rows = []
    draws = _draws(size, labels, likely, found)
    for c, name in enumerate(audit.class_names):
        own = found == c
        precision, recall = _by_labels(size, labels, found, c)
        kept, right, missed = int(size[own].sum()), draws[0][:, c], draws[1][:, c]
        nothing = (np.nan,) * 3
        there = kept > 0 or labels[:, c].any()
        with np.errstate(invalid="ignore", divide="ignore"):
            expected = [
                _limits(right / kept) if kept else nothing,
                _limits(right / (right + missed)) if there else nothing,
            ]
        values = (name, kept, int(labels[own].sum()), *precision, *recall)
        rows.append((*values, *expected[0], *expected[1]))
    return pd.DataFrame(rows, columns=[*SCORE_COLUMNS])


def _counts(audit: Audit) -> tuple[IntArray, IntArray, FloatArray, IntArray]:
    """Of each stratum: columns, labels by class, mean probabilities, and the class found.

    Strata without labels are put together with the others of their class.
    """
    names = list(audit.class_names)
    k = len(names)
    size = np.array([s.columns for s in audit.strata])
    found = np.array([names.index(s.found) for s in audit.strata])
    likely = np.array([[s.expected.get(n, 0.0) for n in names] for s in audit.strata])
    labels = np.zeros((len(size), k), dtype=int)
    for stratum, label in zip(audit.table["stratum"], audit.labels, strict=True):
        if label and label != UNSURE:
            labels[int(stratum), names.index(label)] += 1
    order = np.array([DOUBTS.index(s.doubt) for s in audit.strata])
    keep = np.ones(len(size), dtype=bool)
    for h in np.flatnonzero(labels.sum(axis=1) == 0):
        others = np.flatnonzero((found == found[h]) & (labels.sum(axis=1) > 0))
        if len(others):
            near = others[np.argmin(np.abs(order[others] - order[h]))]
            whole = size[near] + size[h]
            likely[near] = (size[near] * likely[near] + size[h] * likely[h]) / whole
            size[near], keep[h] = whole, False
    return size[keep], labels[keep], likely[keep], found[keep]


def _by_labels(
    size: IntArray, labels: IntArray, found: IntArray, c: int
) -> tuple[FloatArray, FloatArray]:
    """Precision and recall of a class, each with its limits, `(3,)`."""
    own = found == c
    right = _total(size[own], labels[own, c], labels[own].sum(axis=1))
    missed = _total(size[~own], labels[~own, c], labels[~own].sum(axis=1))
    kept = float(size[own].sum())
    precision = right / kept if kept else np.full(3, np.nan)
    if not np.isfinite(right[0] + missed[0]) or right[0] + missed[0] <= 0:
        return precision, np.full(3, np.nan)
    recall = right[0] / (right[0] + missed[0])
    return precision, np.array([recall, *_share_limits(right, missed, recall)])


def _total(size: IntArray, hits: IntArray, n: IntArray) -> FloatArray:
    """Columns in all strata that are of a class, and limits of 95 %, `(3,)`."""
    if not len(size):
        return np.zeros(3)
    if (n == 0).any():
        # nothing is known of a stratum: of the estimate nothing, of its limits all or none
        some = n > 0
        rest = _total(size[some], hits[some], n[some])
        return np.array([np.nan, rest[1], rest[2] + size[~some].sum()])
    share = hits / n
    low, high = np.array(
        [_stratum_limits(p, k, s) for p, k, s in zip(share, n, size, strict=True)]
    ).T
    middle = float(size @ share)
    below = float(np.sqrt(((size * (share - low)) ** 2).sum()))
    above = float(np.sqrt(((size * (high - share)) ** 2).sum()))
    return np.array([middle, max(middle - below, 0.0), min(middle + above, float(size.sum()))])


def _stratum_limits(share: float, n: int, size: int) -> tuple[float, float]:
    """Limits of Clopper and Pearson, drawn without replacement from a stratum of that size.

    Exact ones: of three columns, as many strata have, Wilson's promise too much.
    """
    if n >= size:
        return share, share
    n_like = n * (size - 1) / (size - n)
    k = share * n_like
    low = float(betaincinv(k, n_like - k + 1, _TAIL)) if share > 0 else 0.0
    high = float(betaincinv(k + 1, n_like - k, 1 - _TAIL)) if share < 1 else 1.0
    return low, high


def _share_limits(part: FloatArray, rest: FloatArray, share: float) -> tuple[float, float]:
    """Limits of ``part / (part + rest)``: the shares that the limits of both allow."""

    def lower(s: float) -> float:
        gap = (1 - s) * part[0] - s * rest[0]
        return float(gap - np.hypot((1 - s) * (part[0] - part[1]), s * (rest[2] - rest[0])))

    def upper(s: float) -> float:
        gap = (1 - s) * part[0] - s * rest[0]
        return float(gap + np.hypot((1 - s) * (part[2] - part[0]), s * (rest[0] - rest[1])))

    low = float(brentq(lower, 0.0, share)) if lower(0.0) > 0 > lower(share) else 0.0
    if lower(share) >= 0:
        low = share
    high = float(brentq(upper, share, 1.0)) if upper(share) > 0 > upper(1.0) else 1.0
    return min(low, share), max(high, share)


def _draws(
    size: IntArray, labels: IntArray, likely: FloatArray, found: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Columns rightly found and columns missed of each class, `(draws, classes)` each.

    Errors among the columns not labelled are Poisson, with the mean that the probabilities give
    times two factors: one of all errors, of sure columns and of all others by itself, and one of
    those that are of a class. Probabilities may say rightly how many columns are wrong, and wrongly
    of which class these are: where many columns are of a class, few labels tell.
    """
    rng = np.random.default_rng(_SEED)
    k = labels.shape[1]
    wrong = np.maximum(likely, _LEAST_ERROR)
    wrong[np.arange(len(found)), found] = 0.0
    n = labels.sum(axis=1)
    kinds = labels.copy()
    kinds[np.arange(len(found)), found] = 0
    rate = wrong.sum(axis=1)
    right = np.zeros((_DRAWS, k))
    missed = np.zeros((_DRAWS, k))
    sure = rate < 0.01
    for group in (sure, ~sure):
        errors, expected = kinds[group].sum(axis=0), n[group] @ wrong[group]
        factor = _factors(errors, expected, rng)
        for h in np.flatnonzero(group):
            rest = int(size[h] - n[h])
            mean = np.minimum(factor * wrong[h], 1.0) * rest
            more = np.minimum(rng.poisson(mean), rest)
            right[:, found[h]] += labels[h, found[h]] + np.maximum(rest - more.sum(axis=1), 0)
            missed += more + np.where(np.arange(k) == found[h], 0, labels[h])
    return right, missed


def _factors(errors: IntArray, expected: FloatArray, rng: np.random.Generator) -> FloatArray:
    """How many times as frequent as expected errors are, by class, `(draws, classes)`.

    ``errors ~ Poisson(all * own * expected)`` with gamma priors of mean 1 on both factors; the one
    of all errors is drawn from its posterior on a grid, given which that of a class is a gamma
    distribution again. Where labels show more errors than that prior allows for at all, the
    probabilities are wrong, and their word counts no longer: the prior of the logarithm of the one
    factor is flat then, above 1, and that of the others wide.
    """
    much = float(expected.sum())
    chance = (much / (1.0 + much)) ** int(errors.sum())  # of so many, before there are labels
    contradicted = errors.sum() > 0 and chance < _CONTRADICTED
    kind = _FREE_KIND_PRIOR if contradicted else _KIND_PRIOR
    grid = np.geomspace(*(_FREE_FACTORS if contradicted else _FACTORS))
    mean = grid[:, None] * expected  # (factors, classes)
    # own factors integrated out: negative binomial; terms without the factor are left out
    log = (errors * np.log(np.maximum(mean, _TINY))).sum(axis=1)
    log -= ((kind + errors) * np.log(kind + mean)).sum(axis=1)
    # of the prior, and that the grid is logarithmic
    log += -np.log1p(1.0 / grid) if contradicted else _PRIOR * (np.log(grid) - grid)
    weight = np.exp(log - log.max())
    every = rng.choice(grid, _DRAWS, p=weight / weight.sum())[:, None]
    own = rng.gamma(kind + errors, 1.0 / (kind + every * expected))
    return np.asarray(every * own)


def _limits(values: FloatArray) -> tuple[float, ...]:
    """Mean and limits of 95 %."""
    values = values[np.isfinite(values)]
    if not len(values):
        return (float("nan"),) * 3
    return (float(values.mean()), *(float(v) for v in np.quantile(values, (0.025, 0.975))))


def scores_text(scores: pd.DataFrame, names: Sequence[str] = ()) -> str:
    """The scores for people, in per cent.

    Parameters
    ----------
    scores : DataFrame
        Of `score_audit`.
    names : sequence of str
        Classes to show; all by default.
    """
    lines = [f"{'':18}{'by the labels alone':28}with the probabilities"]
    head = "".join(f"{t:{w}}" for w in (14, 19) for t in ("precision %", "recall %"))
    lines.append(f"{'class':6}{'found':>6}{'seen':>5} {head}")
    for _, row in scores.iterrows():
        if (names and row["class"] not in names) or np.isnan(row[list(_SHOWN)].astype(float)).all():
            continue
        cells = [_cell(row, name, name.startswith("expected")) for name in _SHOWN]
        text = "".join(f"{cell:{w}}" for cell, w in zip(cells, (14, 14, 19, 19), strict=True))
        lines.append(f"{row['class']:6}{row['found']:6d}{row['labelled']:5d} {text}")
    return "\n".join(line.rstrip() for line in lines)


def _cell(row: pd.Series, name: str, fine: bool) -> str:
    value, low, high = (100 * row[name + end] for end in ("", "_low", "_high"))
    if np.isnan(value):
        return "-"
    return f"{value:.1f} ({low:.1f}–{high:.1f})" if fine else f"{value:.0f} ({low:.0f}–{high:.0f})"
