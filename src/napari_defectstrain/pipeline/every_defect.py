"""Measure averages of every defect, and hold them against those of isolated ones.

Two views of one solution: the pictures are solved for pixel by pixel (`averages.crowded`), the
places of the columns from every column of the whole images, each fitted with all its neighbours and
the profile of a probe (`precision.class_fields`). A column's place takes no additivity of
intensities for granted, knows nothing of how a picture was filtered, and its profile is that of its
own image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from ..averages.crowded import Bands, crowded_stacks
from ..averages.windows import WindowFrame
from ..columns.averages.measure import ColumnMeasurement
from ..columns.images.types import ImageColumns
from ..crystal.overlaps import Overlap, counted_columns
from ..crystal.regions import Regions
from ..io.content import in_content_order
from ..materials import Material
from ..precision import LEAST_SHARE
from ..precision.class_fields import SuperposedFields, superposed_fields
from ..progress import subprogress
from ..types import (
    METAL,
    BoolArray,
    CalibratedImage,
    ClassStack,
    DefectStrainError,
    FloatArray,
    IntArray,
    Progress,
    Sites,
    no_progress,
)
from .class_measurement import measure_classes
from .runs import MIN_MEASURED, ClassMeasurement, RunConfig, RunResult
from .whole_images import spacing_of
from .work import Stage

SAME_SITE_PM = 2.0

DISAGREE_SIGMA = 3.0
"""Standard errors of the difference from which crowded and isolated averages are said to differ."""


def measure_every_defect(
    found: RunResult,
    progress: Progress = no_progress,
    columns: Sequence[ImageColumns | str] | None = None,
) -> RunResult:
    """Add the crowded averages of a run, and what is to be said of them.

    Parameters
    ----------
    found : RunResult
        With the stacks and measurements of isolated defects, whose frame and whose groups of like
        images it takes over; where nothing is isolated, the frame is that of the lattices, and all
        images are taken as alike.
    progress : Progress
    columns : sequence of ImageColumns or str, optional
        Of each image, or why there are none (`whole_images.fitted_columns`), where that is known.

    Returns
    -------
    RunResult
        With `crowded_stacks` and `crowded`; without, and with a warning, where the images hold too
        few cells to solve for all classes at once.
    """
    given, order = found, in_content_order(found.images)
    found = found.reordered(order)
    config, reference = found.config, found.material.class_names[1]
    base = found.stacks.get(reference)
    average, regions = config.average, found.regions or None
    a_pm = spacing_of(found)
    window = WindowFrame(a_pm, average.step_pm, average.window_nm)
    counted = counted_columns(found.images, found.sites, found.overlaps, regions) or None
    solved = crowded_stacks(
        found.images,
        found.sites,
        window,
        average.min_probability,
        regions,
        found.overconfidence or None,
        counted,
        _groups(base, len(found.images)),
        subprogress(progress, 0.0, 0.3),
    )
    stacks = {
        name: _counted_by_shares(stack, found.sites, counted)
        for name, stack in solved.stacks.items()
    }
    if reference not in stacks or stacks[reference].n < MIN_MEASURED or solved.bands is None:
        return replace(given, warnings=given.warnings + solved.warnings)
    bands = solved.bands
    try:
        fields = superposed_fields(
            found.images,
            found.sites,
            a_pm,
            regions,
            fits=None if columns is None else _fits([columns[i] for i in order]),
            band=_bands_of_columns(found, bands, counted),
            bands=len(bands.line_px),
            progress=subprogress(progress, 0.3, 0.6),
        )
    except DefectStrainError as error:
        note = f"crowded averages: {error}; their strain is not measured"
        return replace(given, warnings=given.warnings + solved.warnings + (note,))

    def placed(columns: dict[str, ColumnMeasurement]) -> dict[str, ColumnMeasurement]:
        return {
            name: _placed(one, fields, len(bands.line_px), reference)
            for name, one in columns.items()
            if name == reference or name in fields.fields
        }

    # the pictures give no places, so nothing is to be corrected or held against other models, and
    # for weights one profile of all images does as well as one for each width of the probe
    plain = config.replace(columns=config.columns.replace(compare=False, correct=False))
    alike = {name: replace(stack, group=None) for name, stack in stacks.items()}
    try:
        measured = measure_classes(alike, plain, subprogress(progress, 0.6, 1.0), placed)
    except DefectStrainError as error:
        note = f"crowded averages: {error}; their strain is not measured"
        return replace(given, warnings=given.warnings + solved.warnings + (note,))
    notes = (*fields.notes, *_disagreements(found.measurements, measured, found.material))
    found = replace(
        found,
        crowded_stacks=stacks,
        crowded=measured,
        warnings=found.warnings + solved.warnings + notes,
    )
    return found.reordered(np.argsort(order).tolist())


def _fits(columns: Sequence[ImageColumns | str]) -> list[ImageColumns]:
    """The columns of all images; an image without ends it, as it would here."""
    fits = []
    for one in columns:
        if isinstance(one, str):
            raise DefectStrainError(one)
        fits.append(one)
    return fits


def _counted_by_shares(
    stack: ClassStack, sites: Sequence[Sites], counted: Sequence[BoolArray] | None
) -> ClassStack:
    """The stack of a class with what else the columns may be that its places are of.

    Each column counts by its probability of the class: one of which nothing is sure counts little
    for each of its classes.
    """
    role = list(stack.class_names).index(stack.class_name)
    mixture = np.zeros(len(stack.class_names))
    for i, one in enumerate(sites):
        share = np.where(one.role == METAL, 0.0, one.probabilities[:, role])
        use = share > LEAST_SHARE
        if counted is not None:
            use &= counted[i]
        mixture += share[use] @ one.probabilities[use]
    if mixture.sum() <= 0:
        mixture[role] = 1.0
    return replace(stack, probabilities=np.tile(mixture / mixture.sum(), (stack.n, 1)))


def _bands_of_columns(
    found: RunResult, bands: Bands, counted: Sequence[BoolArray] | None
) -> list[IntArray]:
    """The band that each column of each image lies in; -1 for columns that don't count."""
    result = []
    for i, sites in enumerate(found.sites):
        band = bands.nearest(i, sites.position_px[:, 0])
        result.append(band if counted is None else np.where(counted[i], band, -1))
    return result


def _placed(
    one: ColumnMeasurement, fields: SuperposedFields, n_bands: int, reference: str
) -> ColumnMeasurement:
    """The columns of an average at the places that whole images tell, with their errors."""
    fits = one.fits
    m = len(fits.site_pm)
    shifts = next(iter(fields.profile_shift_pm.values()))
    position: FloatArray = fits.site_pm.copy()
    influence: FloatArray = np.zeros((n_bands, 2 * m))
    by_profile: FloatArray = np.zeros((2 * m, len(shifts)))
    covariance: FloatArray = np.zeros((2 * m, 2 * m))
    if fits.class_name != reference:
        field = fields.fields[fits.class_name]
        away, index = cKDTree(field.site_pm).query(fits.site_pm)
        u = np.where(away[:, None] < SAME_SITE_PM, field.u_pm[index], np.nan)
        position = np.asarray(fits.site_pm + u)
        rows = (2 * index[:, None] + [0, 1]).ravel()
        on_field = fields.influence_pm[fits.class_name][:, rows]
        covariance = on_field.T @ on_field
        # that of windows is their squares' sum over n (n - 1), whoever works it out again
        influence = np.sqrt(n_bands * max(n_bands - 1, 1)) * on_field
        by_profile = fields.profile_shift_pm[fits.class_name][:, rows].T
    position[np.isnan(fits.position_pm)] = np.nan  # an empty site has no place
    return replace(
        one,
        fits=replace(fits, position_pm=position, covariance_pm2=covariance),
        influence_pm=influence - influence.mean(axis=0),
        profile_shift_pm=by_profile,
        check_position_pm=position,
        check_shift_pm=np.zeros((2 * m, 0)),
        alternatives={},
        bias_pm=None,
    )


def _groups(stack: ClassStack | None, n_images: int) -> IntArray | None:
    """Group of like probe width of each image, by its defect-free windows; 0 without any."""
    if stack is None or stack.group is None:
        return None
    group = np.zeros(n_images, dtype=int)
    group[stack.image_index] = stack.group
    return group


def _disagreements(
    isolated: Mapping[str, ClassMeasurement],
    crowded: Mapping[str, ClassMeasurement],
    material: Material,
) -> tuple[str, ...]:
    """Classes whose two averages differ by more than chance: their errors count as independent."""
    notes = []
    for name in material.averaged_names:
        if name not in isolated or name not in crowded:
            continue
        one, other = isolated[name].spacing, crowded[name].spacing
        away = other.strain - one.strain
        error = float(np.hypot(one.strain_total_std, other.strain_total_std))
        if abs(away) > DISAGREE_SIGMA * error:
            notes.append(
                f"{name}: crowded and isolated averages differ by {100 * away:+.2f} ± "
                f"{100 * error:.2f} % of strain: look for wrong classes, dirt, or an unusual probe"
            )
    return tuple(notes)


def _every_defect(
    images: tuple[CalibratedImage, ...],
    sites: tuple[Sites, ...],
    regions: tuple[Regions, ...],
    overconfidence: tuple[float, ...],
    overlaps: tuple[Overlap, ...],
    config: RunConfig,
    stacks: dict[str, ClassStack],
    measurements: dict[str, ClassMeasurement],
    columns: tuple[ImageColumns | str, ...],
    progress: Progress,
) -> tuple[dict[str, ClassStack], dict[str, ClassMeasurement], tuple[str, ...]]:
    given = RunResult(
        config=config,
        images=images,
        sites=sites,
        populations=pd.DataFrame(),
        weights_sha256=None,
        regions=regions,
        overconfidence=overconfidence,
        overlaps=overlaps,
        stacks=stacks,
        measurements=measurements,
    )
    found = measure_every_defect(given, progress, columns)
    return dict(found.crowded_stacks), dict(found.crowded), found.warnings


EVERY_DEFECT = Stage("every defect", 8, _every_defect)
