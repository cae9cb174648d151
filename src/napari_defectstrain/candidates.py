"""Which columns get a window: isolated ones, and a random choice of defect-free ones far apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.spatial import cKDTree

from .lattice import isolated
from .patches import Patch
from .types import OTHER, CalibratedImage, FloatArray, IntArray, Sites
from .windows import WindowFrame, window_centres

REFERENCE_SPACINGS = (4.0, 3.0, 2.5)
"""Least distance of the centres of two reference windows [a]: the first that gives enough."""


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
        Shells of perfect columns asked for, see `lattice.isolated`; all in the domain.
    margin_px : float
        Least distance of a window from the border [px].

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
        role = np.where(patch.member, columns.class_index, OTHER)
        alone = isolated(columns.position_px, role, patch.lattice, (height, width), shells)
        index = np.flatnonzero(alone)
        centre = window_centres(columns.position_px, role, index, patch.lattice)
        inside = frame.fits(centre, patch.lattice, (height, width), margin_px)
        inside &= patch.holds(centre, frame)
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
) -> Candidates:
    """All defects, and at most `count` defect-free windows drawn at random.

    Their centres lie at least 4 a apart, or less (`REFERENCE_SPACINGS`) where that leaves too
    few: overlapping windows share pixels and aren't independent.
    """
    perfect = np.flatnonzero((found.class_index == 1) & (found.probability >= min_probability))
    order = rng.permutation(perfect)
    # Patches side by side, too far apart to be neighbours
    place = found.centre_pm[order].copy()
    place[:, 0] += found.patch_index[order] * (1e3 * a_pm + np.ptp(found.centre_pm[:, 0]))
    tree = cKDTree(place)
    reference: list[int] = []
    for spacing in REFERENCE_SPACINGS:
        free = np.ones(len(order), dtype=bool)
        reference = []
        for k in range(len(order)):
            if not free[k]:
                continue
            reference.append(int(order[k]))
            if len(reference) == count:
                break
            free[tree.query_ball_point(place[k], spacing * a_pm)] = False
        if len(reference) == count:
            break
    defects = np.flatnonzero(found.class_index > 1)
    return found.take(np.sort(np.concatenate([np.array(reference, dtype=int), defects])))
