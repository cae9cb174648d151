"""What can be measured in the user's own images: known displacements go in, the chain tells them.

Two trials. ``shifted``: columns around defect-free ones of the images themselves are shifted
(`trials.moving`), and everything is done anew, detection and all. ``simulated``: the images'
twins (`trials.twins`), with the relaxations of the simulator around their defects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from ..averages.average import stack_classes
from ..averages.patches import Patch, find_patches, lattice_constant
from ..columns.images.measure import ImageColumnConfig, ImageColumns, fit_image_columns
from ..config import Between, Config, Length, OneOf
from ..crystal.overlaps import Overlap, counted_columns
from ..materials import DEFECT_ROLES, Material, get_material, with_classes
from ..precision import columns_of_image
from ..progress import subprogress
from ..simulate.relaxing import relaxation
from ..simulate.structure import CrystalConfig
from ..trials.known_fields import Places, choose_places, known_displacement, left_for_reference
from ..trials.moving import move_columns
from ..trials.twins import make_twin
from ..types import (
    BoolArray,
    CalibratedImage,
    ClassStack,
    DefectStrainError,
    FloatArray,
    Progress,
    Sites,
    no_progress,
)
from .chain import average_classes, detect
from .class_measurement import measure_classes
from .few_windows import with_probe
from .runs import MIN_MEASURED, ClassMeasurement, RunConfig, RunResult

SHIFTED, SIMULATED = "shifted", "simulated"
TRIALS = (SHIFTED, SIMULATED)
_FOUND_A = 0.3  # how far from its place a column may be found again
_SHELLS_A = (0.7, 1.1, 1.3, 1.6, 1.8)
"""Where the shells of columns end that are tabulated [a]: metals at .58, 1.15, 1.53, chalcogens at
1, 1.73."""


@dataclass(frozen=True)
class SelfTestConfig(Config):
    """Settings of a self-test.

    Parameters
    ----------
    trials : tuple of str
        Some of `TRIALS`.
    strains : tuple of float
        Built-in changes of the spacing of the three metals around defect-free columns; zero is the
        null test.
    windows : int
        Windows of each that are aimed at: where an image has few places, others are tried in
        copies of it.
    rounds : int
        Copies of every image at most.
    spacing_change : tuple of float
        What is built in around XY, Y2, V1 and V2 of the twins.
    """

    trials: Annotated[tuple[str, ...], Length(1, 2), OneOf(TRIALS)] = TRIALS
    strains: Annotated[tuple[float, ...], Length(*range(1, 9)), Between(-0.15, 0.15)] = (
        *(0.0, 0.006),
        -0.048,
    )
    windows: Annotated[int, Between(MIN_MEASURED, 10000)] = 12
    rounds: Annotated[int, Between(1, 50)] = 6
    spacing_change: Annotated[tuple[float, ...], Length(len(DEFECT_ROLES)), Between(-0.2, 0.2)] = (
        CrystalConfig().spacing_change
    )


@dataclass(frozen=True)
class SelfTest:
    """What a self-test found.

    Parameters
    ----------
    table : DataFrame
        A row a trial, class and quantity: ``trial``, ``class``, ``quantity``, ``unit`` (% or pm),
        ``n``, ``built_in``, ``found``, ``sigma_stat``, ``sigma_total``, ``pull``.
    found : RunResult
        The detection that the trials start from.
    warnings : tuple of str
    """

    table: pd.DataFrame
    found: RunResult
    warnings: tuple[str, ...] = ()


def self_test(
    found: RunResult, config: SelfTestConfig | None = None, progress: Progress = no_progress
) -> SelfTest:
    """Try out on images what can be measured in them.

    Parameters
    ----------
    found : RunResult
        What `chain.detect` returned, or a run.
    config : SelfTestConfig, optional
    progress : Progress

    Raises
    ------
    DefectStrainError
        If there is no place for a displacement, or no defect-free window.
    """
    config = config or SelfTestConfig()
    # by `detect`, images and columns are in order and named; the domains' lattices frame them all
    material = found.material.host
    a_pm = lattice_constant(found.images, found.sites, material.lattice_pm, found.regions or None)
    patches = find_patches(found.images, found.sites, a_pm, found.regions or None)
    fits = _fitted(found, patches, a_pm, subprogress(progress, 0.0, 0.15))
    end = 0.6 if SIMULATED in config.trials else 1.0
    tables, warnings = [], _unsettled(found, fits)
    if SHIFTED in config.trials:
        part = subprogress(progress, 0.15, end, "known displacement: ")
        table, said = _shifted(found, fits, patches, a_pm, config, part)
        tables.append(table)
        warnings += said
    if SIMULATED in config.trials:
        start = end if SHIFTED in config.trials else 0.15
        part = subprogress(progress, start, 1.0, "simulated twins: ")
        table, said = _simulated(found, fits, patches, config, part)
        tables.append(table)
        warnings += said
    progress(1.0, "tested")
    return SelfTest(pd.concat(tables, ignore_index=True), found, tuple(warnings))


def _fitted(
    found: RunResult, patches: Sequence[Patch], a_pm: float, progress: Progress
) -> list[ImageColumns]:
    """All columns of every image, with a profile that noise and dirt don't lead astray."""
    fits = []
    for i, (image, sites) in enumerate(zip(found.images, found.sites, strict=True)):
        part = subprogress(progress, i / len(found.images), (i + 1) / len(found.images))
        progress(i / len(found.images), f"fitting the columns of {image.name}")
        domains = [patch for patch in patches if patch.image_index == i]
        if domains:
            fits.append(columns_of_image(image, sites, domains, a_pm, part))
        else:
            config = ImageColumnConfig()
            fits.append(fit_image_columns(image, sites.position_px, config, progress=part))
    return fits


def _unsettled(found: RunResult, fits: Sequence[ImageColumns]) -> list[str]:
    """Images whose fit ended on the way."""
    return [
        f"{note}; what is built into it, and its twins' look, may be off"
        for image, fit in zip(found.images, fits, strict=True)
        for note in fit.notes(image.name)
    ]


# ------------------------------------------------------------------ shifted


def _shifted(
    found: RunResult,
    fits: Sequence[ImageColumns],
    patches: Sequence[Patch],
    a_pm: float,
    config: SelfTestConfig,
    progress: Progress,
) -> tuple[pd.DataFrame, list[str]]:
    """Known displacements around defect-free columns of the images themselves."""
    rng = np.random.default_rng(found.config.seed)
    rounds = _rounds(found, patches, a_pm, config, rng)
    images, placed, origin = [], [], []
    for number, places in enumerate(rounds):
        for i, image in enumerate(found.images):
            if number and not len(places[i].site_index):
                continue
            a_px = _a_px(patches, i)
            data = move_columns(image, fits[i], places[i].shift_px, a_px)
            name = image.name if number == 0 else f"{image.name}_copy{number}"
            images.append(replace(image, data=data.astype(np.float32), name=name))
            placed.append(places[i])
            origin.append(i)
    host = found.config.replace(material=found.material.host.label)
    again = detect(images, host, progress=subprogress(progress, 0.05, 0.5))
    names = [f"known_{k + 1}" for k in range(len(config.strains))]
    weight = 0.7
    label = with_classes(host.material, [f"{name}={weight}" for name in names])
    material = get_material(label)
    marked, counted, whose, lost = [], [], [], 0
    once = _counted_once(found)
    for image, sites, mine, i in _aligned(again, images, placed, origin):
        one, missing = _marked(sites, mine, material, _a_px(patches, i), found.config)
        lost += missing
        free = left_for_reference(mine, one, _a_px(patches, i))
        if image.name != found.images[i].name:  # the reference's noise must not count twice
            free &= one.class_index != 1
        if once is not None:
            near = cKDTree(found.sites[i].position_px).query(one.position_px)[1]
            free &= once[i][near]
        marked.append(one)
        counted.append(free)
        whose.append(i)
    run = host.replace(material=label)
    stacks = stack_classes(
        again.images,
        marked,
        run.average,
        a_pm,
        np.random.default_rng(run.seed).spawn(2)[0],
        subprogress(progress, 0.5, 0.65),
        again.regions,
        None,
        counted,
    )
    stacks = {n: _of_originals(s, whose) for n, s in stacks.items()}
    if run.columns.learns:  # by the originals: copies would tell the same probe, surer each time
        stacks = with_probe(stacks, found.images, found.sites, found.regions or None)
    wanted = (*names, material.class_names[1])
    kept = {n: s for n, s in stacks.items() if n in wanted}
    measured = measure_classes(kept, run, subprogress(progress, 0.65, 1.0))
    built = dict(zip(names, config.strains, strict=True))
    total = sum(len(places.site_index) for places in placed)
    said = f"{lost} of {total} moved columns weren't found again as defect-free ones"
    return _table(SHIFTED, measured, kept, built, material, soft=True), [said] if lost else []


def _counted_once(found: RunResult) -> list[BoolArray] | None:
    """Columns of each image that count in no other one; None where no two show the same place."""
    if not found.overlaps:
        return None
    return counted_columns(found.images, found.sites, found.overlaps, found.regions or None)


def _of_originals(stack: ClassStack, origin: Sequence[int]) -> ClassStack:
    """A stack whose windows are of the images that the copies they lie in were made of.

    A copy has its image's noise, probe and scan: no image of its own, of which the scatter between
    images could be told.
    """
    return replace(stack, image_index=np.asarray(origin)[stack.image_index])


def _aligned(
    again: RunResult,
    images: Sequence[CalibratedImage],
    placed: Sequence[Places],
    origin: Sequence[int],
) -> list[tuple[CalibratedImage, Sites, Places, int]]:
    """What was found again, with what was built in; names are those of the images given."""
    index = {image.name: k for k, image in enumerate(images)}
    return [
        (image, sites, placed[index[image.name]], origin[index[image.name]])
        for image, sites in zip(again.images, again.sites, strict=True)
    ]


def _rounds(
    found: RunResult,
    patches: Sequence[Patch],
    a_pm: float,
    config: SelfTestConfig,
    rng: np.random.Generator,
) -> list[list[Places]]:
    """Places in the images, and in copies of them until there are enough; none is taken twice."""
    free = [np.ones(len(sites), dtype=bool) for sites in found.sites]
    free = _counted_once(found) or free
    rounds: list[list[Places]] = []
    count = np.zeros(len(config.strains), dtype=int)
    for _ in range(config.rounds):
        places = choose_places(
            found.images,
            found.sites,
            patches,
            found.config.average,
            a_pm,
            config.strains,
            rng,
            free,
            int(count.sum()),
        )
        new = np.concatenate([p.kind for p in places])
        if not len(new):
            break
        rounds.append(places)
        count += np.bincount(new, minlength=len(count))
        for mask, one in zip(free, places, strict=True):
            mask[one.site_index] = False
        if count.min() >= config.windows:
            break
    if count.min() < MIN_MEASURED:
        raise DefectStrainError(
            f"known displacement: got {int(count.sum())} isolated defect-free columns for "
            f"{len(count)} displacements, expected {MIN_MEASURED} for each; use fewer shells or "
            "strains, smaller windows, or larger images"
        )
    return rounds


def _marked(
    sites: Sites, places: Places, material: Material, a_px: float, config: RunConfig
) -> tuple[Sites, int]:
    """Columns found anew with the chosen ones as classes of their own, and how many are lost."""
    names = material.all_class_names
    padded = np.pad(
        np.asarray(sites.probabilities, dtype=float),
        ((0, 0), (0, len(names) - sites.probabilities.shape[1])),
    )
    index = np.array(sites.class_index)
    lost = 0
    if len(places.position_px):
        distance, nearest = cKDTree(sites.position_px).query(places.position_px)
        good = (distance < _FOUND_A * a_px) & (sites.class_index[nearest] == 1)
        good &= sites.probability[nearest] >= config.average.min_probability
        lost = int((~good).sum())
        first = len(names) - len(material.named)
        for row, kind in zip(nearest[good], places.kind[good], strict=True):
            index[row] = first + kind
            padded[row, first + kind], padded[row, 1] = padded[row, 1], 0.0
    named = replace(
        sites,
        class_index=index.astype(sites.class_index.dtype),
        probabilities=padded,
        class_names=names,
    )
    return named, lost


def _a_px(patches: Sequence[Patch], image_index: int) -> float:
    lattice = next((p.lattice for p in patches if p.image_index == image_index), patches[0].lattice)
    return lattice.a_pm * float(np.sqrt(abs(np.linalg.det(lattice.matrix))))


# ------------------------------------------------------------------ simulated


def _simulated(
    found: RunResult,
    fits: Sequence[ImageColumns],
    patches: Sequence[Patch],
    config: SelfTestConfig,
    progress: Progress,
) -> tuple[pd.DataFrame, list[str]]:
    """The images' twins, through the whole chain."""
    twins, kept = [], []
    children = np.random.default_rng(found.config.seed).spawn(len(found.images))
    for i, (image, sites) in enumerate(zip(found.images, found.sites, strict=True)):
        progress(0.1 * i / len(found.images), f"simulating {image.name}")
        mine = [(p.lattice, p.member) for p in patches if p.image_index == i]
        if not mine:
            continue
        twin, _ = make_twin(image, sites, fits[i], mine, config.spacing_change, children[i])
        twins.append(twin)
        kept.append(i)
    run = found.config.replace(material=found.material.host.label)
    again = detect(twins, run, progress=subprogress(progress, 0.1, 0.5))
    stacks = average_classes(
        again.images,
        again.sites,
        run,
        subprogress(progress, 0.5, 0.65),
        again.regions,
        again.overconfidence or None,
        _overlaps_among(found.overlaps, kept),
    )
    measured = measure_classes(stacks, run, subprogress(progress, 0.65, 1.0))
    material = found.material.host
    built = dict(zip(material.defect_names, config.spacing_change, strict=True))
    table = _table(SIMULATED, measured, stacks, built, material, soft=False)
    counts = {name: stacks[name].n if name in stacks else 0 for name in built}
    few = [name for name, n in counts.items() if n < MIN_MEASURED]
    said = [f"simulated twins: {', '.join(few)}: fewer than {MIN_MEASURED} windows, not measured"]
    return table, said if few else []


def _overlaps_among(overlaps: Sequence[Overlap], kept: Sequence[int]) -> tuple[Overlap, ...]:
    """The overlaps of some of the images, which are numbered anew."""
    place = {i: k for k, i in enumerate(kept)}
    return tuple(
        replace(o, first=place[o.first], second=place[o.second])
        for o in overlaps
        if o.first in place and o.second in place
    )


# ------------------------------------------------------------------ tables


def _table(
    trial: str,
    measured: Mapping[str, ClassMeasurement],
    stacks: Mapping[str, ClassStack],
    built: Mapping[str, float],
    material: Material,
    soft: bool,
) -> pd.DataFrame:
    """Built in against found: the spacing's strain and the shells' displacements."""
    rows = []
    for name, strain in built.items():
        one = measured.get(name)
        if one is None or one.displacement is None:
            continue
        row = {"trial": trial, "class": name, "n": stacks[name].n}
        spacing = one.spacing
        rows.append(
            row
            | _compared(
                f"spacing of the {material.metal} triangle",
                "%",
                100 * strain,
                100 * spacing.strain,
                100 * spacing.strain_std,
                100 * spacing.strain_total_std,
            )
        )
        rows += [row | shell for shell in _shells(one, strain, stacks[name].a_pm, material, soft)]
    return pd.DataFrame(rows, columns=TABLE)


TABLE = [
    *("trial", "class", "n", "quantity", "unit", "built_in", "found"),
    *("sigma_stat", "sigma_total", "pull"),
]
"""Columns of ``selftest.csv``."""


def _compared(
    quantity: str, unit: str, built_in: float, found: float, stat: float, total: float
) -> dict[str, object]:
    return {
        "quantity": quantity,
        "unit": unit,
        "built_in": built_in,
        "found": found,
        "sigma_stat": stat,
        "sigma_total": total,
        "pull": (found - built_in) / total if total > 0 else np.nan,
    }


def _shells(
    one: ClassMeasurement, strain: float, a_pm: float, material: Material, soft: bool
) -> list[dict[str, object]]:
    """Mean outward displacement of the columns of each near shell."""
    field = one.displacement
    assert field is not None
    radius: FloatArray = np.hypot(*field.site_pm.T)
    known = np.isfinite(field.u_pm[:, 0])
    systematic = np.zeros_like(field.u_pm)
    if one.budget is not None:
        at = {tuple(s): k for k, s in enumerate(one.budget.site_pm.round(1).tolist())}
        rows = [at.get(tuple(s), -1) for s in field.site_pm.round(1).tolist()]
        there = np.array(rows) >= 0
        systematic[there] = one.budget.systematic_pm[np.array(rows)[there]]
    made = _built_in(field.site_pm, strain, a_pm, soft)
    shells = []
    for low, high in zip((0.1, *_SHELLS_A), _SHELLS_A, strict=False):
        mine = known & (radius >= low * a_pm) & (radius < high * a_pm)
        if not mine.any():
            continue
        outward = field.site_pm[mine] / radius[mine, None]
        weights = np.zeros_like(field.u_pm)
        weights[mine] = outward / mine.sum()
        flat = weights.ravel()
        filled = np.nan_to_num(field.covariance_pm2)
        stat = float(np.sqrt(np.maximum(flat @ filled @ flat, 0.0)))
        extra = float(np.sqrt(np.mean((systematic[mine] * outward).sum(axis=1) ** 2)))
        metal = bool(field.is_metal[mine].mean() > 0.5)
        element = material.metal if metal else material.chalcogen
        where = f"{element} at {float(np.median(radius[mine])) / a_pm:.2f} a"
        shells.append(
            _compared(
                f"outward displacement of {where}",
                "pm",
                float((weights * made).sum()),
                float((weights * np.nan_to_num(field.u_pm)).sum()),
                stat,
                float(np.hypot(stat, extra)),
            )
        )
    return shells


def _built_in(site_pm: FloatArray, strain: float, a_pm: float, soft: bool) -> FloatArray:
    made = known_displacement if soft else relaxation
    return np.asarray(made(site_pm, strain, a_pm))


def pulls_text(table: pd.DataFrame) -> str:
    """How the pulls of each trial scatter, a line each."""
    lines = []
    for trial, rows in table.groupby("trial", sort=False):
        pulls = rows["pull"].to_numpy(float)
        pulls = pulls[np.isfinite(pulls)]
        if len(pulls):
            rms = float(np.sqrt(np.mean(pulls**2)))
            lines.append(
                f"{trial}: {len(pulls)} pulls, root mean square {rms:.2f}, largest "
                f"{float(np.abs(pulls).max()):.1f}"
            )
    return "\n".join(lines)
