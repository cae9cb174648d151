"""What is known of the probe where windows are too few to tell it: by columns of whole images.

A few windows tell next to nothing of how aberrated a probe is, and what is taken for granted of it
displaces the neighbours of a defect. The images that they were cut from hold a hundred times as
many columns, of all classes, isolated or not; a thousand of them tell the amount of aberrations to
a quarter of what probes differ by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..averages.patches import Patch, find_patches
from ..columns.images.parts import Part
from ..columns.images.types import Aberrations
from ..crystal.regions import Regions
from ..precision.class_fields import OWN_ERROR, at_a_time, columns_of_image, probe_by
from ..progress import shared_out
from ..types import CalibratedImage, ClassStack, DefectStrainError, FloatArray, Sites

FEW = 300
"""Windows of all classes; more of them tell the probe."""
MOST_IMAGES = 3
"""Those with most windows: the error that images share isn't lessened by many."""
COLUMNS = 1000
"""As many of an image are fitted, where it holds more than twice as many."""
LEAST_COLUMNS = 300
ERROR_OF_COLUMNS = 330.0
"""Over the number of columns: the error of an amount, where that is more than `OWN_ERROR`. Images
in focus of 360, 570 and 820 columns (20, 16 and 16, simulated) err by .85, .65 and .4."""
SURE = 0.5
"""Largest standard error of an amount that is one, in the family's standard deviations."""


def with_probe(
    stacks: Mapping[str, ClassStack],
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    regions: Sequence[Regions | None] | None = None,
) -> dict[str, ClassStack]:
    """Stacks with what their images tell of the probe (`ClassStack.probe`), if they are few.

    Parameters
    ----------
    stacks : mapping of class to ClassStack
        Of all classes; `image_index` counts the images.
    images, sites : sequences of equal length
    regions : sequence of Regions or None, optional
        Of each image.

    Returns
    -------
    dict of class to ClassStack
        The same windows; without a probe where there are many, or no image tells it.
    """
    given = dict(stacks)
    number = np.zeros(len(images), dtype=int)
    for stack in given.values():
        number += np.bincount(stack.image_index[stack.included], minlength=len(images))
    if not 0 < number.sum() < FEW:
        return given
    first = next(iter(given.values()))
    keys = first.image_keys or ("",) * len(images)
    most = sorted(np.flatnonzero(number).tolist(), key=lambda i: (-number[i], keys[i], i))

    def of_image(i: int) -> Aberrations | None:
        divided = None if regions is None else regions[i]
        return _aberrations(images[i], sites[i], divided, first.a_pm)

    most = most[:MOST_IMAGES]
    few = at_a_time([images[i] for i in most]) < 2
    asked = [of_image(i) for i in most] if few else shared_out(of_image, most)
    found = [one for one in asked if one is not None]
    probe = probe_by(found) if found else None
    return {name: replace(stack, probe=probe) for name, stack in given.items()}


def _aberrations(
    image: CalibratedImage, sites: Sites, regions: Regions | None, a_pm: float
) -> Aberrations | None:
    """Those of an image's probe; None where its columns don't tell."""
    try:
        domains = find_patches([image], [sites], a_pm, [regions])
        part, columns, inside = _part_of(image, sites, domains)
        number = sum(int(one.member.sum()) for one in inside)
        if number < LEAST_COLUMNS:
            return None
        fit = columns_of_image(part, columns, inside, a_pm, errors=False)
    except DefectStrainError:
        return None
    told = fit.aberrations
    if told is None or not (told.foreseen and fit.converged and told.sigma < SURE):
        return None
    more = max((ERROR_OF_COLUMNS / number) ** 2 - OWN_ERROR**2, 0.0)
    return replace(told, sigma=float(np.sqrt(told.sigma**2 + more)))


def _part_of(
    image: CalibratedImage, sites: Sites, domains: Sequence[Patch]
) -> tuple[CalibratedImage, Sites, list[Patch]]:
    """The densest part of a large image, with its columns."""
    member = np.any([one.member for one in domains], axis=0)
    part = Part.densest(image.data.shape, sites.position_px[member], COLUMNS)
    if part is None:
        return image, sites, list(domains)
    rows, lines = (slice(a, b) for a, b in zip(part.first, part.last, strict=True))
    place = sites.position_px
    low, high = np.array(part.first) - 0.5, np.array(part.last) - 0.5
    here = np.asarray(((place >= low) & (place < high)).all(axis=1))
    columns = sites.subset(here)
    inside = []
    for one in domains:
        origin: FloatArray = part.inwards(one.lattice.origin_px)
        lattice = replace(one.lattice, origin_px=origin)
        # labels are of the whole image, and foresight doesn't ask for them
        inside.append(Patch(one.image_index, lattice, one.member[here]))
    return (
        replace(image, data=np.ascontiguousarray(image.data[rows, lines])),
        replace(columns, position_px=part.inwards(columns.position_px)),
        inside,
    )
