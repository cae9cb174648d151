"""Tables of what was counted of pairs, clusters and nearest defects, with their envelopes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..types import BoolArray, FloatArray, IntArray
from .envelopes import POISSON, GlobalEnvelope, global_envelope
from .pattern_counts import ANY_DEFECT, SAME, Groups, PatternCounts
from .populations import ALL_IMAGES
from .random_placement import CLUSTERS, LARGEST
from .site_pairs import shell_distances

PAIR_COLUMNS = (
    *("image", "class_a", "class_b", "shell", "distance_a", "distance_pm", "site_pairs"),
    *("observed", "expected", "g", "low", "high", "outside", "warren_cowley"),
    *("corrected", "corrected_std", "p_pair", "p_all"),
)
CLUSTER_COLUMNS = (
    *("image", "class", "columns", "measure", "observed", "expected", "low", "high", "outside"),
    *("p_class", "p_all"),
)
NEAREST_COLUMNS = (
    *("image", "class", "to", "columns", "shell", "distance_a", "distance_pm", "observed"),
    *("share", "expected", "low", "high", "outside", "p_class", "p_all"),
)

_NARROW = 0.15
"""Least standard deviation of the roots of what scatters less than counts of rare events do."""


def tabulate_patterns(
    names: Sequence[str],
    counted: Sequence[PatternCounts],
    whole: PatternCounts,
    groups: Groups,
    a_pm: float,
    level: float,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Pair correlation, clusters and nearest defects of each image and of all.

    Parameters
    ----------
    names : sequence of str
    counted : sequence of PatternCounts
        One an image.
    whole : PatternCounts
        Of all images.
    groups : Groups
    a_pm : float
        Lattice constant [pm].
    level : float
        Of the envelopes.

    Returns
    -------
    pair_correlation : DataFrame
        A row a pair of classes and a shell. ``site_pairs`` of the sites on it, ``observed`` pairs
        of the classes and ``expected`` ones, ``g`` their ratio, ``low`` and ``high`` its global
        envelope over all pairs and shells of the image, ``outside`` it or not; ``warren_cowley``,
        the short-range order parameter ``(P_AB - c_B) / (delta_AB - c_B)``, 0 at random
        (Cowley 1950, doi:10.1103/PhysRev.77.669); ``corrected``, g by the classes' probabilities,
        and its scatter by doubtful ones; ``p_pair`` of all shells of the pair, ``p_all`` of all
        pairs and shells.
    clusters : DataFrame
        A row a class and a measure of `random_placement.CLUSTERS`.
    nearest : DataFrame
        A row a class and a shell: ``share`` of its columns whose nearest other defect (``to``: any
        one, or one of the same class or group) lies within the shell.
    """
    pairs, clusters, nearest = [], [], []
    # a class that is nowhere, or once in all, has no pairs
    asked = np.asarray((whole.expected > 0).any(axis=1))
    there = np.asarray(whole.members > 0)
    for name, one in [*zip(names, counted, strict=True), (ALL_IMAGES, whole)]:
        pairs.append(_pairs(name, one, groups, asked, a_pm, level))
        clusters.append(_clusters(name, one, groups, there, level))
        nearest.append(_nearest(name, one, groups, there, a_pm, level))
    return (
        pd.concat(pairs, ignore_index=True)[[*PAIR_COLUMNS]],
        pd.concat(clusters, ignore_index=True)[[*CLUSTER_COLUMNS]],
        pd.concat(nearest, ignore_index=True)[[*NEAREST_COLUMNS]],
    )


def _envelopes(
    every: IntArray, level: float, least: FloatArray | float = POISSON
) -> tuple[GlobalEnvelope, FloatArray]:
    """Envelope of everything, and p of each row of `(arrangements, rows, values)`."""
    shape = every.shape
    flat, lower = every.reshape(len(every), -1), np.broadcast_to(least, shape[1:])
    whole = global_envelope(flat[0], flat[1:], level, lower.ravel())
    each = [
        global_envelope(row[0], row[1:], level, low).p
        for row, low in zip(np.moveaxis(every, 1, 0), lower, strict=True)
    ]
    return whole, np.array(each)


def _outside(observed: FloatArray, found: GlobalEnvelope) -> BoolArray:
    return np.asarray((observed < found.low - 1e-9) | (observed > found.high + 1e-9))


def _pairs(
    name: str, one: PatternCounts, groups: Groups, asked: BoolArray, a_pm: float, level: float
) -> pd.DataFrame:
    first, second = (index[asked] for index in groups.pairs)
    expected = one.expected[asked]
    found, p = _envelopes(one.pairs[:, asked], level)
    shape = expected.shape
    observed = one.pairs[0, asked]
    with np.errstate(invalid="ignore", divide="ignore"):
        g, low, high = (
            np.where(expected > 0, np.reshape(n, shape) / expected, np.nan)
            for n in (observed, found.low, found.high)
        )
        corrected = one.weighted[asked] / one.weighted_expected[asked]
        scatter = _scatter(one.drawn[:, asked] / one.drawn_expected[:, asked])
        share = (one.members / max(one.sites, 1))[first][:, None]
        like = (first == second)[:, None]
        order = np.where(like, (g - 1) * share / (1 - share), 1 - g)
    outside = _outside(observed.ravel(), found)
    shells, rows = shape[1], shape[0]
    distance = np.tile(shell_distances(shells), rows)
    label = np.array(groups.names)
    return pd.DataFrame(
        {
            "image": name,
            "class_a": np.repeat(label[first], shells),
            "class_b": np.repeat(label[second], shells),
            "shell": np.tile(np.arange(1, shells + 1), rows),
            "distance_a": distance,
            "distance_pm": distance * a_pm,
            "site_pairs": np.tile(one.site_pairs, rows),
            "observed": observed.ravel(),
            "expected": expected.ravel(),
            "g": g.ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "outside": outside,
            "warren_cowley": order.ravel(),
            "corrected": np.where(np.isfinite(corrected), corrected, np.nan).ravel(),
            "corrected_std": np.where(np.isfinite(scatter), scatter, np.nan).ravel(),
            "p_pair": np.repeat(p, shells),
            "p_all": found.p,
        }
    )


def _scatter(drawn: FloatArray) -> FloatArray:
    """Standard deviation over draws `(D, P, S)`, most of which must tell.

    A rare class is missing from some draws, which then have no g.
    """
    some = np.isfinite(drawn)
    count = some.sum(axis=0)
    mean = np.where(some, drawn, 0.0).sum(axis=0) / count
    variance = np.where(some, drawn - mean, 0.0)
    variance = (variance**2).sum(axis=0) / count
    return np.where(count < 0.5 * len(drawn), np.nan, np.sqrt(variance))


def _clusters(
    name: str, one: PatternCounts, groups: Groups, there: BoolArray, level: float
) -> pd.DataFrame:
    every = one.clusters[:, there]
    found, p = _envelopes(every, level, np.where(LARGEST, _NARROW, POISSON))
    kinds, rows = len(CLUSTERS), int(there.sum())
    return pd.DataFrame(
        {
            "image": name,
            "class": np.repeat(np.array(groups.names)[there], kinds),
            "columns": np.repeat(one.members[there], kinds),
            "measure": np.tile(CLUSTERS, rows),
            "observed": every[0].ravel(),
            "expected": found.mean,
            "low": found.low,
            "high": found.high,
            "outside": _outside(every[0].ravel(), found),
            "p_class": np.repeat(p, kinds),
            "p_all": found.p,
        }
    )


def _nearest(
    name: str, one: PatternCounts, groups: Groups, there: BoolArray, a_pm: float, level: float
) -> pd.DataFrame:
    shells = one.nearest.shape[-1]
    every = one.nearest[:, there].reshape(len(one.nearest), -1, shells)
    found, p = _envelopes(every, level, _NARROW)
    kinds = int(there.sum())
    columns = np.repeat(one.members[there], 2 * shells)
    distance = np.tile(shell_distances(shells), 2 * kinds)
    observed = every[0].ravel()
    number = np.maximum(columns, 1)
    some = np.where(columns > 0, 1.0, np.nan)
    return pd.DataFrame(
        {
            "image": name,
            "class": np.repeat(np.array(groups.names)[there], 2 * shells),
            "to": np.tile(np.repeat([ANY_DEFECT, SAME], shells), kinds),
            "columns": columns,
            "shell": np.tile(np.arange(1, shells + 1), 2 * kinds),
            "distance_a": distance,
            "distance_pm": distance * a_pm,
            "observed": observed,
            "share": observed / number * some,
            "expected": found.mean / number * some,
            "low": found.low / number * some,
            "high": np.minimum(found.high / number, 1.0) * some,
            "outside": _outside(observed, found),
            "p_class": np.repeat(p, shells),
            "p_all": found.p,
        }
    )
