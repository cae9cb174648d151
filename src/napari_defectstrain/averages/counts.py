"""How many windows each class would have: the choice of the averages without cutting any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..crystal.calibration import CALIBRATED_BY_LATTICE
from ..crystal.overlaps import counted_columns, find_overlaps
from ..crystal.regions import Regions
from ..types import BoolArray, CalibratedImage, DefectStrainError, ImageLattice, IntArray, Sites
from .average import AverageConfig, metal_classes, stacked_classes
from .candidates import find_candidates, thin_reference
from .metal_sites import seen_from_metals, turned_patch
from .patches import Patch, find_patches, patch_keys
from .windows import WindowFrame


@dataclass(frozen=True)
class WindowCount:
    """Isolated windows of one class.

    Parameters
    ----------
    class_name : str
    n : int
        Isolated columns, probable enough, whose windows lie inside their domains; of the
        defect-free class those that would be drawn. Registration and the search for outliers
        come later, and can only lower it.
    improbable : int
        Isolated columns of less than the least probability, which would be left out.
    columns : int
        All columns of the class in these images, isolated or not.
    """

    class_name: str
    n: int
    improbable: int
    columns: int


@dataclass(frozen=True)
class _Prepared:
    """What doesn't depend on the settings: an image's domains and their lattices."""

    image: CalibratedImage
    sites: Sites
    regions: Regions | None
    patches: tuple[Patch, ...]
    measured_a_pm: float | None


class WindowCounter:
    """Counts windows again and again while settings and columns change.

    Lattices are fitted once for each image, and kept as long as the very same objects are given, so
    that other settings, or the edit of one image of many, cost little.

    Parameters
    ----------
    nominal_pm : float
        Lattice constant of the material [pm].
    """

    def __init__(self, nominal_pm: float) -> None:
        self.nominal_pm = nominal_pm
        self._kept: list[_Prepared] = []

    def count(
        self,
        images: Sequence[CalibratedImage],
        sites: Sequence[Sites],
        config: AverageConfig,
        seed: int = 0,
        regions: Sequence[Regions | None] | None = None,
    ) -> dict[str, WindowCount]:
        """Windows that `pipeline.average_classes` would cut with these settings.

        Parameters
        ----------
        images, sites : sequences of equal length
            Images, and their columns with classes.
        config : AverageConfig
        seed : int
            Of the draw of defect-free windows, as `RunConfig.seed`.
        regions : sequence of Regions or None, optional
            Of each image.

        Returns
        -------
        dict of class to WindowCount
            All classes that are averaged, in the order of the roles, with zeros where there is
            nothing.

        Raises
        ------
        DefectStrainError
            If there is no image, or the columns of one form no lattice.
        """
        given = [None] * len(images) if regions is None else list(regions)
        if not len(images) == len(sites) == len(given) or not images:
            raise DefectStrainError(
                f"counting windows: got {len(images)} images, {len(sites)} tables of sites and "
                f"{len(given)} regions, expected as many of each, and at least one"
            )
        self._kept = [self._prepare(*one) for one in zip(images, sites, given, strict=True)]
        measured = [k.measured_a_pm for k in self._kept if k.measured_a_pm is not None]
        a_pm = float(np.median(measured)) if measured else self.nominal_pm
        patches = [
            replace(patch, image_index=i, lattice=_rescaled(patch.lattice, a_pm))
            for i, one in enumerate(self._kept)
            for patch in one.patches
        ]
        names = sites[0].class_names
        total = sum(np.bincount(s.class_index, minlength=len(names)) for s in sites)
        none = np.zeros(len(names), dtype=int)
        overlaps = find_overlaps(images, sites)
        counted = counted_columns(images, sites, overlaps, given) if overlaps else None
        n, improbable = none, none.copy()
        if patches:
            n, improbable = _isolated(images, sites, patches, config, a_pm, seed, counted)
        on_metal = metal_classes(names)
        if on_metal and patches:
            seen = [seen_from_metals(s) for s in sites]
            turned = [turned_patch(patch) for patch in patches]
            around = _isolated(images, seen, turned, config, a_pm, seed, counted)
            n[on_metal], improbable[on_metal] = (count[on_metal] for count in around)
        return {
            names[i]: WindowCount(names[i], int(n[i]), int(improbable[i]), int(np.take(total, i)))
            for i in (*stacked_classes(names), *on_metal)
        }

    def _prepare(self, image: CalibratedImage, sites: Sites, regions: Regions | None) -> _Prepared:
        for old in self._kept:
            if old.image is image and old.sites is sites and old.regions is regions:
                return old
        patches = tuple(find_patches([image], [sites], self.nominal_pm, [regions]))
        # One calibrated by its own lattice would only give back the nominal constant.
        own = image.metadata.get("calibration") == CALIBRATED_BY_LATTICE
        measured = None
        if patches and not own:
            measured = max(patches, key=lambda p: _area_px(p, regions)).lattice.measured_a_pm
        return _Prepared(image, sites, regions, patches, measured)


def _area_px(patch: Patch, regions: Regions | None) -> int:
    if regions is None:
        return 0
    return next(d.area_px for d in regions.domains if d.index == patch.label)


def _rescaled(lattice: ImageLattice, a_pm: float) -> ImageLattice:
    """The same lattice, described from an ideal one of another constant."""
    ratio = lattice.a_pm / a_pm
    return replace(
        lattice, matrix=lattice.matrix * ratio, a_pm=a_pm, residual_pm=lattice.residual_pm / ratio
    )


def _isolated(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    patches: Sequence[Patch],
    config: AverageConfig,
    a_pm: float,
    seed: int,
    once: Sequence[BoolArray] | None,
) -> tuple[IntArray, IntArray]:
    """Windows that count and windows that are too improbable, of each role, `(K,)`."""
    frame = WindowFrame(a_pm, config.step_pm, config.window_nm)
    found = find_candidates(images, sites, patches, frame, config.shells, config.margin_px, once)
    roles = len(sites[0].class_names)
    improbable = found.class_index[found.probability < config.min_probability]
    rng, _ = np.random.default_rng(seed).spawn(2)  # as the pipeline draws
    keys = patch_keys(images, patches)
    drawn = thin_reference(found, config.max_reference, config.min_probability, a_pm, rng, keys)
    counted = drawn.class_index[drawn.probability >= config.min_probability]
    return np.bincount(counted, minlength=roles), np.bincount(improbable, minlength=roles)
