"""Pairs, clusters and nearest neighbours of the defects of an image, and of random placements.

What chance would do is asked of the images themselves: the defects of each are put on its own sites
at random, as many of each class as there are, and counted in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated

import numpy as np

from ..config import Between, Config
from ..materials import ROLES
from ..types import METAL, ON_METAL, OTHER, BoolArray, FloatArray, IntArray, Sites
from .random_placement import (
    LARGEST,
    Encounters,
    encounters,
    expected_pairs,
    random_encounters,
    weighted_pairs,
)
from .regions import Regions
from .site_pairs import MAX_SHELLS, SiteNeighbours, placement_seed, site_neighbours

ANY_VACANCY, ANY_SUBSTITUENT = "any vacancy", "any substituent"
"""Groups of classes that are asked for together, beside each of them."""
ANY_DEFECT, SAME = "any defect", "same"
"""What the nearest defect may be."""
_GROUPS = {ANY_VACANCY: ("V1", "V2"), ANY_SUBSTITUENT: ("XY", "Y2")}
_DRAWS = 40
"""Draws of doubtful classes."""


@dataclass(frozen=True)
class PatternConfig(Config):
    """How defects are compared with random ones.

    Parameters
    ----------
    shells : int
        Shells of chalcogen sites around a defect: 1, 1.73, 2, 2.65, 3, ... a.
    simulations : int
        Random arrangements.
    level : float
        Of the envelopes: probability that a random alloy lies inside with all that is asked.
    """

    shells: Annotated[int, Between(1, MAX_SHELLS)] = 8
    simulations: Annotated[int, Between(99, 100_000)] = 199
    level: Annotated[float, Between(0.5, 0.999)] = 0.95


@dataclass(frozen=True)
class Groups:
    """What pairs and clusters are asked of: the classes of defects on chalcogen sites, and groups.

    Parameters
    ----------
    names : tuple of str
    member : array, `(G, K)`
        1 where a class belongs to it.
    single : int
        How many of them are single classes: they come first.
    """

    names: tuple[str, ...]
    member: FloatArray
    single: int

    @classmethod
    def of(cls, class_names: Sequence[str]) -> Groups:
        """Those of a material.

        Parameters
        ----------
        class_names : sequence of str
            In the order of the roles, then named ones.
        """
        k = len(class_names)
        perfect = ROLES.index("X2")
        one = [
            i
            for i, name in enumerate(class_names)
            if i not in (METAL, perfect, OTHER) and not name.endswith(ON_METAL)
        ]
        several = [np.isin(np.arange(k), [ROLES.index(r) for r in g]) for g in _GROUPS.values()]
        member = np.concatenate([np.eye(k)[one], np.array(several, dtype=float)])
        return cls((*(class_names[i] for i in one), *_GROUPS), member, len(one))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def pairs(self) -> tuple[IntArray, IntArray]:
        """First and second of all pairs: of classes with classes, of groups with groups."""
        one, rest = np.triu_indices(self.single), np.triu_indices(len(self) - self.single)
        first, second = (np.concatenate([one[i], rest[i] + self.single]) for i in (0, 1))
        return np.asarray(first), np.asarray(second)


@dataclass(frozen=True)
class PatternCounts:
    """What was counted in one image, or in several together.

    Arrangement 0 of an array is the observed one, the others are random. P pairs of groups, G
    groups, S shells, D draws of doubtful classes.

    Parameters
    ----------
    sites : int
    members : array of int, `(G,)`
        Columns of each group.
    site_pairs : array of int, `(S,)`
    pairs : array of int, `(1 + simulations, P, S)`
    expected : array, `(P, S)`
    weighted, weighted_expected : arrays, `(P, S)`
        By the probabilities of the classes.
    drawn, drawn_expected : arrays, `(D, P, S)`
        By classes drawn from them.
    nearest : array of int, `(1 + simulations, G, 2, S)`
        Columns whose nearest defect, and whose nearest of their own group, lies within a shell.
    clusters : array of int, `(1 + simulations, G, len(CLUSTERS))`
    left_out : int
        Columns of domains too small for a lattice.
    """

    sites: int
    members: IntArray
    site_pairs: IntArray
    pairs: IntArray
    expected: FloatArray
    weighted: FloatArray
    weighted_expected: FloatArray
    drawn: FloatArray
    drawn_expected: FloatArray
    nearest: IntArray
    clusters: IntArray
    left_out: int

    def __add__(self, other: PatternCounts) -> PatternCounts:
        together = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        largest = np.maximum(self.clusters, other.clusters)
        together["clusters"] = np.where(LARGEST, largest, together["clusters"])
        return PatternCounts(**together)


def count_patterns(
    sites: Sites, regions: Regions | None, config: PatternConfig | None = None, seed: int = 0
) -> PatternCounts:
    """Count pairs, clusters and nearest defects of an image, and of its random arrangements.

    Parameters
    ----------
    sites : Sites
        All columns of the image.
    regions : Regions or None
        Columns outside of the domains don't count; None: all is one domain.
    config : PatternConfig, optional
    seed : int
        The draws depend on it and on the image's columns, not on the order of images.
    """
    config = config or PatternConfig()
    groups = Groups.of(sites.class_names)
    found = site_neighbours(sites, regions, config.shells)
    seeds = placement_seed(sites, found.column, seed)
    index = np.asarray(sites.class_index)[found.column]
    in_class = groups.member.T[index]  # (n, G)
    place = np.flatnonzero(in_class[:, : groups.single].any(axis=1))
    label = in_class[place, : groups.single].argmax(axis=1)
    first, second = groups.pairs
    observed = encounters(found, place[None], label)
    arranged = [_counted(observed, groups)]
    for some in random_encounters(found, label, config.simulations, seeds):
        arranged.append(_counted(some, groups))
    pairs, nearest, clusters = (  # kept for every image of a run: half a megabyte of counts each
        np.concatenate(parts).astype(np.int32) for parts in zip(*arranged, strict=True)
    )
    half = np.where(first == second, 0.5, 1.0)[:, None]
    chosen = np.asarray(sites.probabilities, dtype=float)[found.column]
    likely = chosen @ groups.member.T
    drawn = _drawn(found, chosen, groups, seeds)
    return PatternCounts(
        sites=len(found),
        members=in_class.sum(axis=0).astype(int),
        site_pairs=found.pairs,
        pairs=pairs,
        expected=half * expected_pairs(in_class, found.pairs)[first, second],
        weighted=half * weighted_pairs(likely, found)[first, second],
        weighted_expected=half * expected_pairs(likely, found.pairs)[first, second],
        drawn=half * drawn[0][:, first, second],
        drawn_expected=half * drawn[1][:, first, second],
        nearest=nearest,
        clusters=clusters,
        left_out=found.left_out,
    )


def _counted(found: Encounters, groups: Groups) -> tuple[IntArray, IntArray, IntArray]:
    """Pairs, nearest defects and clusters of some arrangements."""
    part = groups.member[:, groups.member[: groups.single].any(axis=0)]  # (G, single)
    every = found.pairs(groups.single)
    grouped = np.einsum("ga,nabs,hb->nghs", part, every, part, optimize=True)
    first, second = groups.pairs
    pairs = np.rint(grouped[:, first, second]).astype(int)
    pairs[:, first == second] //= 2
    belongs = part[:, found.label] > 0  # (G, m)
    nearest = np.stack([found.nearest(None, list(belongs)), _nearest_alike(found, groups, belongs)])
    close = found.of_pairs()
    clusters = np.stack([close.clusters(own) for own in belongs], axis=1)
    return pairs, np.moveaxis(nearest, 0, 2), clusters


def _nearest_alike(found: Encounters, groups: Groups, belongs: BoolArray) -> IntArray:
    """Defects whose nearest of their own class or group is near, `(arrangements, G, shells)`."""
    alike = found.label[found.defect] == found.label[found.other]
    parts = [found.nearest(alike, list(belongs[: groups.single]))]
    for own in belongs[groups.single :]:
        parts.append(found.nearest(own[found.defect] & own[found.other], [own]))
    return np.concatenate(parts, axis=1)


def _drawn(
    found: SiteNeighbours, probabilities: FloatArray, groups: Groups, seeds: Sequence[int]
) -> tuple[FloatArray, FloatArray]:
    """Ordered pairs, and those expected, of classes drawn by their probabilities."""
    rng = np.random.default_rng([*seeds, 1])
    edges = np.cumsum(probabilities, axis=1)
    edges /= np.maximum(edges[:, -1:], 1e-12)
    pairs, expected = [], []
    for _ in range(_DRAWS):
        index = (rng.random((len(edges), 1)) > edges).sum(axis=1)
        in_class = groups.member.T[np.minimum(index, edges.shape[1] - 1)]
        place = np.flatnonzero(in_class[:, : groups.single].any(axis=1))
        label = in_class[place, : groups.single].argmax(axis=1)
        part = groups.member[:, groups.member[: groups.single].any(axis=0)]
        every = encounters(found, place[None], label).pairs(groups.single)[0]
        pairs.append(np.einsum("ga,abs,hb->ghs", part, every, part))
        expected.append(expected_pairs(in_class, found.pairs))
    return np.array(pairs), np.array(expected)
