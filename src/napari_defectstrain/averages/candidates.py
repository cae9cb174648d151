"""Which columns get a window: isolated ones, and a random choice of defect-free ones far apart.

And which other defects lie in and around those windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.spatial import cKDTree

from ..crystal.honeycomb import basis_pm
from ..crystal.lattice import isolated, nearest_sites
from ..types import OTHER, BoolArray, CalibratedImage, FloatArray, IntArray, Neighbours, Sites
from .patches import Patch
from .windows import WindowFrame, window_centres

NEIGHBOUR_REACH_PM = 2000.0
"""How far around a window's centre its neighbours are listed: the field of a single vacancy has
fallen to a few tenths of a picometre there, and pushes from all sides alike."""

COARSER_LATTICES = ((0, 6), (0, 4), (0, 3), (5, 7), (0, 2), (2, 3))
"""Lattices of reference windows, 6, 4, 3, sqrt(7), 2 and sqrt(3) a wide.

``(0, n)``: every n-th site along both lattice vectors; ``(f, n)``: sites with ``i + f j`` a
multiple of n."""

FEW = 10
"""Below so many reference windows, every one that there is counts more than where it lies."""


@dataclass(frozen=True)
class Candidates:
    """Columns that a window may be cut around.

    Parameters
    ----------
    patch_index, image_index, site_index, class_index : arrays, `(N,)`
        Patch, its image, row in its `Sites`, class.
    probabilities : array, `(N, K)`
        Of every class.
    centre_px : array, `(N, 2)`
        (y, x) of the ideal site by the columns around it [px].
    centre_pm : array, `(N, 2)`
        The same in the lattice frame of the patch (x, y) [pm].
    """

    patch_index: IntArray
    image_index: IntArray
    site_index: IntArray
    class_index: IntArray
    probabilities: FloatArray
    centre_px: FloatArray
    centre_pm: FloatArray

    def __len__(self) -> int:
        return len(self.site_index)

    @property
    def probability(self) -> FloatArray:
        """Probability of the class given to each, `(N,)`."""
        return np.asarray(self.probabilities[np.arange(len(self)), self.class_index])

    def take(self, which: IntArray) -> Candidates:
        """Some of the candidates."""
        return Candidates(*(getattr(self, f.name)[which] for f in fields(self)))


def find_candidates(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    patches: Sequence[Patch],
    frame: WindowFrame,
    shells: int,
    margin_px: float,
    counted: Sequence[BoolArray] | None = None,
) -> Candidates:
    """Isolated columns of all classes but other whose windows lie inside their domain.

    Parameters
    ----------
    images, sites : sequences of equal length
    patches : sequence of Patch
        Domains of the images, see `patches.find_patches`.
    frame : WindowFrame
        Size of the windows.
    shells : int
        Shells of perfect columns asked for, see `honeycomb.isolated`; all in the domain.
    margin_px : float
        Least distance of a window from the border [px].
    counted : sequence of array of bool, `(N,)`, optional
        Columns of each image that may have a window; None: all of them.

    Returns
    -------
    Candidates
        By patch, then in the order of the sites.
    """
    parts = []
    for p, patch in enumerate(patches):
        height, width = images[patch.image_index].data.shape
        columns = sites[patch.image_index]
        # what lies outside of the domain is as foreign to it as columns of the class other
        role = np.where(patch.member, columns.role, OTHER)
        alone = isolated(columns.position_px, role, patch.lattice, (height, width), shells)
        index = np.flatnonzero(alone)
        centre = window_centres(columns.position_px, role, index, patch.lattice)
        inside = frame.fits(centre, patch.lattice, (height, width), margin_px)
        inside &= patch.holds(centre, frame)
        if counted is not None:
            inside &= counted[patch.image_index][index]
        index, centre = index[inside], centre[inside]
        parts.append(
            Candidates(
                np.full(len(index), p),
                np.full(len(index), patch.image_index),
                index,
                columns.class_index[index],
                np.asarray(columns.probabilities[index], dtype=float),
                centre,
                patch.lattice.to_pm(centre),
            )
        )
    return Candidates(
        *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Candidates))
    )


def thin_reference(
    found: Candidates,
    count: int,
    min_probability: float,
    a_pm: float,
    rng: np.random.Generator,
    keys: Sequence[tuple[int, ...]] | None = None,
) -> Candidates:
    """All defects, and at most `count` defect-free windows drawn at random.

    Their centres lie on one coarser lattice of sites in each patch, placed at random: the widest of
    `COARSER_LATTICES` that gives enough. What is drawn then doesn't depend on the defects around;
    drawn among the isolated columns themselves, those in crowded places would be taken too often,
    and the strain of their surroundings would be in the reference. From sqrt(3) a on no two
    windows have a metal of their inner triangles in common. Where there are too few columns for any
    choice, all count.

    Parameters
    ----------
    found : Candidates
    count : int
    min_probability : float
        Defect-free windows whose centre is less probable aren't drawn.
    a_pm : float
        Lattice constant of the lattice frame [pm].
    rng : numpy.random.Generator
    keys : sequence of tuple of int, optional
        What each patch is known by (`patches.patch_keys`): each draws for itself, so that neither
        the order of the images nor those beside it change what lies where. Default: its number.
    """
    perfect = np.flatnonzero((found.class_index == 1) & (found.probability >= min_probability))
    site = np.rint(np.linalg.solve(basis_pm(a_pm), found.centre_pm[perfect].T)).astype(int)
    patch = found.patch_index[perfect]
    origin = np.zeros((len(perfect), 2), dtype=int)
    turn = np.zeros(len(perfect))
    base = int(rng.integers(2**63))
    for p in np.unique(patch).tolist():
        own = np.random.default_rng([base, *((p,) if keys is None else keys[p])])
        mine = patch == p
        origin[mine] = own.integers(0, 10**6, 2)
        turn[mine] = own.random(int(mine.sum()))
    i, j = site + origin.T
    chosen = np.ones(len(perfect), dtype=bool)
    for factor, period in COARSER_LATTICES:
        on_it = (i + factor * j) % period == 0 if factor else (i % period == 0) & (j % period == 0)
        chosen = on_it
        if chosen.sum() >= count:
            break
    if chosen.sum() < min(len(perfect), FEW):
        chosen = np.ones(len(perfect), dtype=bool)
    first = np.argsort(turn[chosen], kind="stable")[:count]
    reference = perfect[chosen][first]
    defects = np.flatnonzero(found.class_index > 1)
    return found.take(np.sort(np.concatenate([reference, defects])))


def find_neighbours(
    found: Candidates, sites: Sequence[Sites], patches: Sequence[Patch]
) -> Neighbours:
    """The other defects of its domain in and around the window of each candidate.

    Parameters
    ----------
    found : Candidates
        `Neighbours.window` counts these.
    sites : sequence of Sites
        Of each image.
    patches : sequence of Patch
        Domains of the images.

    Returns
    -------
    Neighbours
        Defects of the chalcogen classes at their ideal sites, columns of the class other where
        they are, within `NEIGHBOUR_REACH_PM`.
    """
    window, role, place = [np.zeros(0, dtype=int)], [np.zeros(0, dtype=int)], [np.zeros((0, 2))]
    for p in np.unique(found.patch_index).tolist():
        lattice = patches[p].lattice
        columns = sites[patches[p].image_index]
        defect = np.flatnonzero(patches[p].member & (columns.class_index > 1))
        mine = np.flatnonzero(found.patch_index == p)
        if len(defect) == 0:
            continue
        defect_pm = lattice.to_pm(columns.position_px[defect])
        centre_pm = lattice.to_pm(found.centre_px[mine])
        near = cKDTree(defect_pm).query_ball_point(centre_pm, NEIGHBOUR_REACH_PM)
        owner = np.repeat(np.arange(len(mine)), [len(n) for n in near])
        other = np.concatenate([np.asarray(n, dtype=int) for n in near])
        keep = defect[other] != found.site_index[mine][owner]
        owner, other = owner[keep], other[keep]
        offset = defect_pm[other] - centre_pm[owner]
        kind = columns.role[defect[other]]
        ideal, _ = nearest_sites(offset, lattice.a_pm)
        window.append(mine[owner])
        role.append(kind)
        place.append(np.where((kind == OTHER)[:, None], offset, ideal))
    return Neighbours(
        np.concatenate(window), np.concatenate(role), np.concatenate(place), NEIGHBOUR_REACH_PM
    )


def neighbours_of(known: Neighbours, which: IntArray) -> Neighbours:
    """The neighbours of some of the windows, `(N,)`, counted anew in their order."""
    count = max(int(known.window.max(initial=-1)), int(which.max(initial=-1))) + 1
    number = np.full(count, -1)
    number[which] = np.arange(len(which))
    window = number[known.window]
    keep = window >= 0
    return Neighbours(window[keep], known.class_index[keep], known.site_pm[keep], known.reach_pm)
