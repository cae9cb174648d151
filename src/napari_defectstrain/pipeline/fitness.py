"""Which images of a batch can be used, and what those that are left hold together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from ..averages.patches import check_measurable
from ..crystal.overlaps import Overlap, counted_regions, find_overlaps, overlap_warnings
from ..crystal.populations import usable_populations
from ..crystal.regions import Regions
from ..failures import Failures
from ..materials import Material
from ..types import CalibratedImage, Sites
from .runs import RunResult


def counted_once(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    regions: Sequence[Regions],
    material: Material,
) -> tuple[tuple[Overlap, ...], pd.DataFrame, list[str]]:
    """Which images show the same place, the populations without that, and what is to be said."""
    overlaps = find_overlaps(images, sites)
    once = counted_regions(images, sites, regions, overlaps)
    populations = usable_populations(images, sites, once, material.all_class_names)
    return overlaps, populations, list(overlap_warnings(images, overlaps))


def measurable(found: RunResult, failures: Failures) -> RunResult:
    """A detection without the images that can't be measured, which join those left out.

    An image whose columns form no lattice, or whose metal columns don't stand out, would end the
    measurement of all; it is counted with none of them.

    Parameters
    ----------
    found : RunResult
        What `detect` returned.
    failures : Failures
        Collects the images that are left out; strict: the first is raised.

    Raises
    ------
    DefectStrainError
        If a single image fails that must not (`failures` is strict).
    """
    a_pm = found.material.lattice_pm
    kept = []
    for i, (image, columns) in enumerate(zip(found.images, found.sites, strict=True)):
        with failures.left_out(image.name):
            check_measurable(image, columns, a_pm, found.regions[i] if found.regions else None)
            kept.append(i)
    if len(kept) == len(found.images) or not kept:  # of none, `measure` says why
        return found
    images, sites = [found.images[i] for i in kept], [found.sites[i] for i in kept]
    regions = [found.regions[i] for i in kept]
    overlaps, populations, _ = counted_once(images, sites, regions, found.material)
    return replace(
        found,
        images=tuple(images),
        sites=tuple(sites),
        regions=tuple(regions),
        populations=populations,
        overlaps=overlaps,
        failed=tuple(failures.found),
    )
