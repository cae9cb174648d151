"""Displacements that are built in, and the places for them.

The field is that of an inclusion, as in `simulate.relaxing.relaxation`, ended softly: a radius
beyond which nothing is moved lets several lie in one image, and leaves columns for the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..averages.average import AverageConfig
from ..averages.candidates import find_candidates
from ..averages.patches import Patch
from ..averages.windows import WindowFrame
from ..crystal.lattice import nearest_sites
from ..simulate.relaxing import relaxation
from ..types import BoolArray, CalibratedImage, FloatArray, IntArray, Sites

FULL_A, REACH_A = 1.6, 2.4
"""Where the field begins to end, and where it has ended [a]."""
SEPARATION_A = 6.0
"""Least distance of two built-in fields [a]: their windows' inner parts are apart."""
SHARE = 0.6
"""Of the places that are so far apart, how many are taken: the others are left to the reference."""
_REFERENCE_A = REACH_A + 0.65
"""Defect-free windows are so far from a built-in field [a]: their triangle isn't moved."""


@dataclass(frozen=True)
class Places:
    """Columns of one image around which displacements are built in.

    Parameters
    ----------
    site_index : array of int, `(M,)`
        Rows of the image's `Sites`.
    kind : array of int, `(M,)`
        Which of the built-in strains each gets.
    position_px : array, `(M, 2)`
        (y, x) of the columns [px].
    shift_px : array, `(N, 2)`
        (y, x) by which each column of the image is moved [px].
    """

    site_index: IntArray
    kind: IntArray
    position_px: FloatArray
    shift_px: FloatArray


def known_displacement(site_pm: FloatArray, strain: float, a_pm: float) -> FloatArray:
    """Built-in displacement at places (x, y) from the centre [pm], `(..., 2)` both.

    The three nearest metals move so that their spacing changes by `strain`.

    Parameters
    ----------
    site_pm : array, `(..., 2)`
    strain : float
    a_pm : float
        Lattice constant [pm].
    """
    radius = np.linalg.norm(site_pm, axis=-1) / a_pm
    left = np.clip((REACH_A - radius) / (REACH_A - FULL_A), 0.0, 1.0)
    soft = np.sin(np.pi / 2 * left) ** 2
    return np.asarray(relaxation(site_pm, strain, a_pm) * soft[..., None])


def choose_places(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    patches: Sequence[Patch],
    config: AverageConfig,
    a_pm: float,
    strains: Sequence[float],
    rng: np.random.Generator,
    counted: Sequence[BoolArray] | None = None,
    first: int = 0,
) -> list[Places]:
    """Defect-free columns for the displacements, as isolated as windows are, far from one another.

    Parameters
    ----------
    images, sites : sequences of equal length
    patches : sequence of Patch
        Domains of the images.
    config : AverageConfig
        Isolation, size of the windows, least probability.
    a_pm : float
        Lattice constant [pm].
    strains : sequence of float
        Built-in strains; places are dealt out among them in turn.
    rng : numpy.random.Generator
    counted : sequence of array of bool, optional
        Columns of each image that may have a window.
    first : int
        So many places were dealt out before.

    Returns
    -------
    list of Places
        One an image.
    """
    frame = WindowFrame(a_pm, config.step_pm, config.window_nm)
    found = find_candidates(images, sites, patches, frame, config.shells, config.margin_px, counted)
    perfect = (found.class_index == 1) & (found.probability >= config.min_probability)
    chosen: list[int] = []
    for i in range(len(images)):
        mine = rng.permutation(np.flatnonzero(perfect & (found.image_index == i)))
        chosen += _apart(found.centre_px[mine], mine, patches, found.patch_index[mine], rng)
    taken = np.array(chosen, dtype=int)
    kind = rng.permutation((first + np.arange(len(taken))) % len(strains))
    places = []
    for i, columns in enumerate(sites):
        of_image = found.image_index[taken] == i
        index, kinds = taken[of_image], kind[of_image]
        shift = np.zeros((len(columns), 2))
        for one, k in zip(index.tolist(), kinds.tolist(), strict=True):
            shift += _shifts(
                found.centre_px[one], columns, patches[found.patch_index[one]], strains[k]
            )
        site_index = found.site_index[index]
        places.append(Places(site_index, kinds, columns.position_px[site_index], shift))
    return places


def _apart(
    centre_px: FloatArray,
    index: IntArray,
    patches: Sequence[Patch],
    patch_index: IntArray,
    rng: np.random.Generator,
) -> list[int]:
    """Some of the candidates, none near another, one after another as they come."""
    kept: list[int] = []
    for j in range(len(index)):
        lattice = patches[patch_index[j]].lattice
        reach = SEPARATION_A * lattice.a_pm
        offsets = lattice.to_pm(centre_px[kept]) - lattice.to_pm(centre_px[j])
        if not len(kept) or float(np.hypot(*offsets.T).min()) >= reach:
            kept.append(j)
    count = int(np.ceil(SHARE * len(kept)))
    return [int(index[j]) for j in sorted(rng.permutation(kept)[:count])]


def _shifts(centre_px: FloatArray, columns: Sites, patch: Patch, strain: float) -> FloatArray:
    """How one built-in field moves the columns of its domain, `(N, 2)` (y, x) [px]."""
    lattice = patch.lattice
    shift = np.zeros((len(columns), 2))
    if strain == 0.0:
        return shift
    offset = (columns.position_px - centre_px) @ np.linalg.inv(lattice.matrix).T
    near = patch.member & (np.hypot(*offset.T) < (REACH_A + 0.3) * lattice.a_pm)
    site, _ = nearest_sites(offset[near], lattice.a_pm)
    shift[near] = known_displacement(site, strain, lattice.a_pm) @ lattice.matrix.T
    return shift


def left_for_reference(places: Places, sites: Sites, a_px: float) -> BoolArray:
    """Columns that may have a window: the chosen ones, and those that no built-in field moves.

    Parameters
    ----------
    places : Places
    sites : Sites
        Of the same image, perhaps detected anew: their rows need not be those of the places.
    a_px : float
        Lattice constant [px].
    """
    free = np.ones(len(sites), dtype=bool)
    if len(places.position_px):
        distance = cKDTree(places.position_px).query(sites.position_px)[0]
        free = (distance > _REFERENCE_A * a_px) | (distance < 0.3 * a_px) | ~sites.is_chalcogen
        free |= sites.class_index > 1  # what lies near is isolated from them or not, as ever
    return np.asarray(free)
