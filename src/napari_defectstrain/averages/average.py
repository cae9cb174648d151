"""Class averages: windows around isolated columns, brought into the lattice frame and registered.

Each window is interpolated once, from the raw image: the affine map of its image's lattice
takes out scale, shear and rotation, its centre comes from the columns around it and then from
registration against the defect-free average.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, Self

import numpy as np

from ..config import Between, Config
from ..crystal.regions import Regions
from ..io.large_arrays import in_parts, is_large, let_go, on_disk, room
from ..materials import DEFECT_ROLES, ROLES
from ..progress import subprogress
from ..types import (
    ON_METAL,
    BoolArray,
    CalibratedImage,
    ClassAverage,
    ClassStack,
    DefectStrainError,
    FloatArray,
    IntArray,
    Progress,
    Sites,
    no_progress,
)
from .align import MAX_SHIFT_PM, register_windows
from .candidates import Candidates, find_candidates, find_neighbours, neighbours_of, thin_reference
from .metal_sites import names_from_metals, seen_from_metals, turned_patch
from .outliers import left_out
from .patches import Patch, find_patches, patch_keys
from .probe_width import ProbeWidths, lattice_offset, probe_widths
from .purity import expected_mixture, expected_purity
from .turned import TurnedImage, turned_corners
from .windows import CORE_RADIUS, WindowFrame, WindowSource

STACKED_ROLES = ("X2", *DEFECT_ROLES)
"""Classes of identical columns; other is none, so it has no average."""

CHUNK = 128
"""Windows that are averaged at a time."""

MIN_GROUP = 50
"""Defect-free windows that a group of like probes needs for a column profile of its own."""


@dataclass(frozen=True)
class AverageConfig(Config):
    """Settings of class averages.

    Parameters
    ----------
    shells : int
        Shells of chalcogen columns around a window's centre that must be perfect, 0-3.
    window_nm : float
        Side of the windows [nm].
    step_pm : float
        Side of a pixel of the windows [pm].
    max_reference : int
        Defect-free windows at most; drawn at random. The paper has 437; the reference's error is
        part of every class's strain, and defect-free windows cost nothing.
    min_probability : float
        Windows whose centre is less probable are left out.
    outlier_sigma : float
        Windows that differ from the others by more are left out (robust sigma), see `outliers`.
    probe_tolerance : float
        Images whose columns differ in width by more than this fraction belong to groups of their
        own, see `probe_width`.
    iterations : int
        Rounds of registration.
    margin_px : float
        Least distance of a window from the border of its image [px].
    crowded : bool
        Measure averages from every defect beside those from isolated ones, see `crowded`.
    """

    shells: Annotated[int, Between(0, 3)] = 2
    window_nm: Annotated[float, Between(1.5, 20)] = 2.6
    step_pm: Annotated[float, Between(2, 50)] = 20.0
    max_reference: Annotated[int, Between(1, 10**6)] = 1000
    min_probability: Annotated[float, Between(0, 1)] = 0.9
    outlier_sigma: Annotated[float, Between(2, 1e9)] = 5.0
    probe_tolerance: Annotated[float, Between(0.01, 10)] = 0.07
    iterations: Annotated[int, Between(0, 10)] = 2
    margin_px: Annotated[float, Between(0, 1000)] = 3.0
    crowded: bool = False


def stack_classes(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    config: AverageConfig,
    a_pm: float,
    rng: np.random.Generator,
    progress: Progress = no_progress,
    regions: Sequence[Regions | None] | None = None,
    overconfidence: Sequence[float] | None = None,
    counted: Sequence[BoolArray] | None = None,
) -> dict[str, ClassStack]:
    """Windows around the isolated columns of each class, in the lattice frame, registered.

    Every window lies in one domain, and is turned into the lattice frame by that domain's lattice.
    Intensities are in units of the mean metal column of their domain, above the hexagon centres
    of the window (those outside the core, so that all classes are treated alike).

    Parameters
    ----------
    images, sites : sequences of equal length
        Images, and their columns with classes.
    config : AverageConfig
    a_pm : float
        Lattice constant of the lattice frame [pm].
    rng : numpy.random.Generator
        Draws the defect-free reference windows.
    progress : callable
    regions : sequence of Regions or None, optional
        Of each image; an image without them is taken as one domain.
    overconfidence : sequence of float, `(K,)`, optional
        How many times oftener than its probabilities say the detector gives a wrong class:
        enters the expected purity.
    counted : sequence of array of bool, `(N,)`, optional
        Columns of each image that may have a window, for instance those that no other image shows,
        too (`overlaps.counted_columns`); None: all of them.

    Returns
    -------
    dict
        A stack for the class X2 and for each class of defects with at least one window, in the
        order of the roles; where classes are named on metal sites, then one for the metal and one
        for each of these, in windows centred on metals and turned by 180 degrees (`metal_sites`).
        Windows left out stay in the stack, with a reason.

    Raises
    ------
    DefectStrainError
        If `images` and `sites` don't fit together, an image shows no lattice, or no defect-free
        column is isolated.
    """
    names = _class_names(images, sites)
    patches = find_patches(images, sites, a_pm, regions)
    if not patches:
        raise DefectStrainError(
            "averaging: got no 2H domain in any image, expected at least one; check the regions"
        )
    wrong = np.ones(len(names))
    if overconfidence is not None:
        wrong[: len(overconfidence)] = overconfidence
    on_metal = metal_classes(names)
    end = 0.5 if on_metal else 1.0
    batch = _Batch(images, sites, patches, config, a_pm, counted)
    stacks = batch.stacks(
        stacked_classes(names), names, wrong, rng, subprogress(progress, 0.0, end)
    )
    if on_metal:
        seen = batch.from_metals()
        names = names_from_metals(names)
        part = subprogress(progress, end, 1.0)
        with suppress(NoReferenceError):  # then there is nothing that they could be measured by
            stacks |= seen.stacks([1, *on_metal], names, np.ones(len(names)), rng, part)
    progress(1.0, "windows registered")
    return stacks


class NoReferenceError(DefectStrainError):
    """No defect-free column is isolated, or too few are."""


@dataclass(frozen=True)
class _Batch:
    """Images whose windows are cut, seen from one of the sublattices.

    `seen` and `turned` are the columns and patches as they look from the metals; None where
    windows are centred on chalcogen sites.
    """

    images: Sequence[CalibratedImage]
    sites: Sequence[Sites]
    patches: Sequence[Patch]
    config: AverageConfig
    a_pm: float
    counted: Sequence[BoolArray] | None
    seen: Sequence[Sites] | None = None
    turned: Sequence[Patch] | None = None

    def from_metals(self) -> _Batch:
        """The same with windows centred on metal sites."""
        seen = [seen_from_metals(s) for s in self.sites]
        return replace(self, seen=seen, turned=[turned_patch(p) for p in self.patches])

    def stacks(
        self,
        roles: Sequence[int],
        names: tuple[str, ...],
        wrong: FloatArray,
        rng: np.random.Generator,
        progress: Progress,
    ) -> dict[str, ClassStack]:
        """Stacks of these classes, the first of them the defect-free one."""
        images, config, a_pm = self.images, self.config, self.a_pm
        sites, patches = self.seen or self.sites, self.turned or self.patches
        frame = WindowFrame(a_pm, config.step_pm, config.window_nm)
        found = find_candidates(
            images, sites, patches, frame, config.shells, config.margin_px, self.counted
        )
        if not ((found.class_index == 1) & (found.probability >= config.min_probability)).any():
            raise NoReferenceError(
                f"averaging: no defect-free column has {config.shells} perfect shells around it "
                f"and a window of {config.window_nm:g} nm inside its domain; use fewer shells, "
                "smaller windows or larger images"
            )
        keys = patch_keys(images, patches)
        found = thin_reference(found, config.max_reference, config.min_probability, a_pm, rng, keys)
        # class by class, so that each stack is a part of the same memory
        found = found.take(np.argsort(found.class_index, kind="stable"))
        progress(0.05, "preparing images")
        sources = _sources(found, self.patches, images, self.sites)
        sources = {p: replace(source, lattice=patches[p].lattice) for p, source in sources.items()}
        windows, centre_px, shift_pm = _registered(found, sources, frame, config, progress)
        neighbours = find_neighbours(found, sites, patches)
        widths = _widths(found, windows, frame, len(images), config)
        reason = left_out(
            found,
            windows,
            shift_pm,
            neighbours,
            frame,
            config.min_probability,
            config.outlier_sigma,
            widths.typical_pm,
        )
        stacks = {}
        for role in roles:
            which = np.flatnonzero(found.class_index == role)
            if len(which) == 0:
                continue
            stacks[names[role]] = ClassStack(
                class_name=names[role],
                windows=windows[which[0] : which[-1] + 1],
                step_pm=config.step_pm,
                a_pm=float(a_pm),
                image_index=found.image_index[which],
                site_index=found.site_index[which],
                position_px=centre_px[which],
                shift_pm=shift_pm[which],
                probability=found.probability[which],
                included=np.asarray(reason[which] == ""),
                reason=reason[which],
                probabilities=found.probabilities[which],
                class_names=names,
                overconfidence=float(wrong[role]),
                group=widths.group[found.image_index[which]],
                neighbours=neighbours_of(neighbours, which),
                on_metal=self.seen is not None,
            )
        return stacks


def stacked_classes(class_names: Sequence[str]) -> list[int]:
    """Indices of the classes averaged on chalcogen sites: `STACKED_ROLES`, and named ones there.

    >>> stacked_classes(["W", "2Se", "SeTe", "2Te", "SV", "DV", "other", "SSe", "Mo@metal"])
    [1, 2, 3, 4, 5, 7]
    """
    named = range(len(ROLES), len(class_names))
    return [ROLES.index(role) for role in STACKED_ROLES] + [
        i for i in named if not class_names[i].endswith(ON_METAL)
    ]


def metal_classes(class_names: Sequence[str]) -> list[int]:
    """Indices of the classes that are named on metal sites.

    >>> metal_classes(["W", "2Se", "SeTe", "2Te", "SV", "DV", "other", "SSe", "Mo@metal"])
    [8]
    """
    named = range(len(ROLES), len(class_names))
    return [i for i in named if class_names[i].endswith(ON_METAL)]


def _class_names(images: Sequence[CalibratedImage], sites: Sequence[Sites]) -> tuple[str, ...]:
    if len(images) != len(sites) or len(images) == 0:
        raise DefectStrainError(
            f"averaging: got {len(images)} images and {len(sites)} tables of sites, expected as "
            "many of each, and at least one"
        )
    names = sites[0].class_names
    if any(s.class_names != names for s in sites) or len(names) < len(ROLES):
        raise DefectStrainError(
            f"averaging: got classes {sorted({s.class_names for s in sites})}, expected the same "
            f"{len(ROLES)} for all images; average one material at a time"
        )
    return names


def _sources(
    found: Candidates,
    patches: Sequence[Patch],
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
) -> dict[int, WindowSource]:
    """A source for each patch that windows come from; those of one image share its pixels."""
    sources: dict[int, WindowSource] = {}
    shared: dict[int, FloatArray] = {}
    total = 4 * sum(images[i].data.size for i in np.unique(found.image_index).tolist())
    for p in np.unique(found.patch_index).tolist():
        patch = patches[p]
        image, columns = images[patch.image_index], sites[patch.image_index]
        metal = columns.position_px[columns.is_metal & patch.member]
        known = shared.get(patch.image_index)
        sources[p] = WindowSource.of(image.data, metal, patch.lattice, image.name, known)
        if known is None and is_large(total):
            kept = on_disk(sources[p].coefficients.shape)
            kept[...] = sources[p].coefficients
            sources[p] = replace(sources[p], coefficients=kept)
        shared[patch.image_index] = sources[p].coefficients
        let_go(shared[patch.image_index])
        let_go(image.data)
    return sources


def _registered(
    found: Candidates,
    sources: Mapping[int, WindowSource],
    frame: WindowFrame,
    config: AverageConfig,
    progress: Progress,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Windows `(N, P, P)`, their centres [px] and the shifts that registration made [pm].

    Windows to register by may come from images that were turned; those that stay are interpolated
    once, from the raw image.
    """
    centre = found.centre_px.copy()
    turned = _Turned.of(found, sources, frame, config.iterations)
    shift = np.zeros_like(centre)
    trusted = (found.class_index == 1) & (found.probability >= config.min_probability)
    mask = frame.outside(CORE_RADIUS)
    rounds = config.iterations + 1
    windows = room((len(found), *frame.shape))
    for turn in range(rounds):
        for i, (patch, source) in enumerate(sources.items()):
            done = 0.1 + 0.85 * (turn + i / len(sources)) / rounds
            progress(done, f"cutting windows, round {turn + 1} of {rounds}")
            mine = np.flatnonzero(found.patch_index == patch)
            rough = None if turn == config.iterations else turned.image(patch)
            cut = source.cut(centre[mine], frame) if rough is None else rough.cut(centre[mine])
            windows[mine] = cut
            let_go(source.coefficients)
            let_go(windows)
        if turn == config.iterations:
            break
        template = windows[trusted].mean(axis=0, dtype=float)
        step = register_windows(windows, template, mask, frame.step_pm)
        shift += step
        # Found columns may all lie a little beside the true ones. Fits hold what lies beyond a
        # window's rim on its ideal sites: 2 pm off bent strains by up to .08 %
        step = step + lattice_offset(template, frame)
        for patch, source in sources.items():
            mine = found.patch_index == patch
            centre[mine] += step[mine] @ source.lattice.matrix.T
    return windows, centre, shift


class _Turned:
    """Images turned into the lattice frame, where that is less work than turning every window.

    Those of a run that takes much memory are turned anew in each round.
    """

    def __init__(
        self,
        sources: Mapping[int, WindowSource],
        corners: Mapping[int, IntArray],
        frame: WindowFrame,
    ) -> None:
        self._sources, self._corners, self._frame = sources, corners, frame
        self._keep = not is_large(4 * sum(map(_area, corners.values())))
        self._kept: dict[int, TurnedImage] = {}

    @classmethod
    def of(
        cls,
        found: Candidates,
        sources: Mapping[int, WindowSource],
        frame: WindowFrame,
        rounds: int,
    ) -> Self:
        """For so many rounds of registration."""
        corners = {}
        for patch, source in sources.items():
            mine = found.centre_px[found.patch_index == patch]
            needed = turned_corners(mine, source.lattice, frame, rounds * MAX_SHIFT_PM)
            if _area(needed) < len(mine) * frame.shape[0] * frame.shape[1]:
                corners[patch] = needed
        return cls(sources, corners, frame)

    def image(self, patch: int) -> TurnedImage | None:
        """That of a patch; None where its windows are to be cut from the image itself."""
        if patch not in self._corners:
            return None
        if (known := self._kept.get(patch)) is not None:
            return known
        image = TurnedImage.of(self._sources[patch], self._corners[patch], self._frame)
        if self._keep:
            self._kept[patch] = image
        return image


def _area(corners: IntArray) -> int:
    return int(np.prod(corners[1] - corners[0] + 1))


def _widths(
    found: Candidates,
    windows: FloatArray,
    frame: WindowFrame,
    n_images: int,
    config: AverageConfig,
) -> ProbeWidths:
    """Probe width of each image by its trusted defect-free windows."""
    trusted = (found.class_index == 1) & (found.probability >= config.min_probability)
    return probe_widths(
        windows[trusted],
        found.image_index[trusted],
        n_images,
        frame,
        config.probe_tolerance,
        MIN_GROUP,
    )


def average_stack(stack: ClassStack) -> ClassAverage:
    """Mean of the included windows, its standard error, and what it is expected to hold.

    One window alone has a mean but no standard error (NaN, and a warning).

    Raises
    ------
    DefectStrainError
        If no window is included.
    """
    n = stack.n
    if n == 0:
        raise DefectStrainError(
            f"{stack.class_name}: all {len(stack.included)} windows are left out, expected at "
            "least one; lower the probability threshold or the isolation"
        )
    mean, variance = _moments(stack)
    if n == 1:
        warnings.warn(
            f"{stack.class_name}: one window only; its average has no standard error",
            stacklevel=2,
        )
        sem = np.full(mean.shape, np.nan)
    else:
        sem = np.sqrt(variance / n)
    purity = expected_purity(stack.probability[stack.included], stack.overconfidence)
    return ClassAverage(
        class_name=stack.class_name,
        mean=mean,
        sem=sem,
        n=n if stack.n_columns is None else stack.n_columns,
        n_excluded=len(stack.included) - n,
        step_pm=stack.step_pm,
        a_pm=stack.a_pm,
        purity=purity,
        contaminants=_contaminants(stack),
        on_metal=stack.on_metal,
    )


def _moments(stack: ClassStack) -> tuple[FloatArray, FloatArray]:
    """Mean and variance (of one degree of freedom less) of the windows that count, `(P, P)` each.

    Windows are looked at some at a time: as many of them as there are don't fit into the memory.
    """
    index = np.flatnonzero(stack.included)
    total = sum(p.sum(axis=0, dtype=float) for p in in_parts(stack.windows, index, CHUNK))
    mean = np.asarray(total / len(index))
    square = sum(((p - mean) ** 2).sum(axis=0) for p in in_parts(stack.windows, index, CHUNK))
    return mean, np.asarray(square / max(len(index) - 1, 1))


def _contaminants(stack: ClassStack) -> dict[str, float]:
    """Expected fraction of each other class among the included windows; none if not known."""
    if stack.probabilities is None:
        return {}
    role = stack.class_names.index(stack.class_name)
    mixture = expected_mixture(stack.probabilities[stack.included], role, stack.overconfidence)
    named = zip(stack.class_names, mixture.tolist(), strict=True)
    return {name: share for name, share in named if name != stack.class_name}
