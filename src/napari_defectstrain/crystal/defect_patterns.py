"""Whether defects lie at random: pair correlation, clusters, nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

import pandas as pd

from ..progress import subprogress
from ..types import Progress, Sites, no_progress
from .pattern_counts import Groups, PatternConfig, PatternCounts, count_patterns
from .pattern_tables import tabulate_patterns
from .regions import Regions


@dataclass(frozen=True)
class DefectPatterns:
    """Pair correlation, clusters and nearest defects, as tables for each image and for all.

    Parameters
    ----------
    pair_correlation, clusters, nearest : DataFrame
        See `pattern_tables.tabulate_patterns`.
    left_out : int
        Chalcogen columns of domains too small for a lattice, which are in none of them.
    """

    pair_correlation: pd.DataFrame = field(default_factory=pd.DataFrame)
    clusters: pd.DataFrame = field(default_factory=pd.DataFrame)
    nearest: pd.DataFrame = field(default_factory=pd.DataFrame)
    left_out: int = 0


def find_patterns(
    names: Sequence[str],
    sites_list: Sequence[Sites],
    regions_list: Sequence[Regions | None],
    a_pm: float,
    config: PatternConfig | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> DefectPatterns:
    """Ask of every image, and of all together, whether its defects lie at random.

    Parameters
    ----------
    names : sequence of str
        Of the images.
    sites_list, regions_list : sequences of equal length
    a_pm : float
        Lattice constant, for distances [pm].
    config : PatternConfig, optional
    seed : int
    progress : Progress
    """
    config = config or PatternConfig()
    if not sites_list:
        return DefectPatterns()
    counted = []
    step = subprogress(progress, 0.0, 0.95)
    for i, (sites, regions) in enumerate(zip(sites_list, regions_list, strict=True)):
        step(i / len(sites_list), f"defects placed at random: {names[i]}")
        counted.append(count_patterns(sites, regions, config, seed))
    progress(1.0, "patterns of defects found")
    return patterns_by_counts(names, counted, sites_list[0].class_names, a_pm, config)


def patterns_by_counts(
    names: Sequence[str],
    counted: Sequence[PatternCounts],
    class_names: Sequence[str],
    a_pm: float,
    config: PatternConfig,
) -> DefectPatterns:
    """The last part of `find_patterns`: what was counted in each image, and in all together."""
    whole = reduce(lambda a, b: a + b, counted)
    groups = Groups.of(class_names)
    tables = tabulate_patterns([*names], counted, whole, groups, a_pm, config.level)
    return DefectPatterns(*tables, left_out=whole.left_out)
