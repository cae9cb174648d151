"""Detection: image in, classified columns out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...crystal.calibration import contradicting_estimate, estimate_pixel_size, shear_warning
from ...io.rasters import validate_image
from ...materials import Material, get_material
from ...progress import subprogress
from ...types import CalibratedImage, DefectStrainError, Progress, Sites, no_progress
from ..network.config import CANONICAL_PIXEL_PM, DetectConfig
from .doubts import doubts
from .found import Detection
from .locate import assign_classes, settle_sublattices
from .model import find_model
from .prepare import normalise, resample, to_resampled
from .tiles import columns_by_tiles

BY_USER = ("given", "kept", "hand")
"""Values of an image's metadata ``calibration`` where the user chose its pixel size."""
_RESOLVED_PM = 60.0
_MIN_COLUMNS = 30
_BORDER_PX = 1.25
"""Columns whose centre lies nearer to the border than 50 pm, cut by it, are not reported [px of
the network]: neither their place nor their class can be told."""


@dataclass(frozen=True)
class Sampling:
    """What is known of an image's pixel size.

    Parameters
    ----------
    pixel_pm : float
        By the lattice where one was found, else as stated [pm].
    measured_a_pm : float or None
        Lattice constant by the stated pixel size [pm]; None where there is no such thing.
    warnings : tuple of str
    """

    pixel_pm: float
    measured_a_pm: float | None
    warnings: tuple[str, ...]


def detect_columns(
    image: CalibratedImage,
    config: DetectConfig | None = None,
    progress: Progress = no_progress,
) -> Detection:
    """Find and classify every column of an image.

    The image is resampled to the network's pixel size, by its own lattice: what the file says of
    the pixel size may err by several per cent, which is more than the network was trained on.

    Parameters
    ----------
    image : CalibratedImage
    config : DetectConfig, optional
    progress : Progress

    Raises
    ------
    DefectStrainError
        If the image shows no lattice or is too coarse to resolve columns; if the weights are
        missing, damaged or of other materials; if the device isn't there or its memory too small.
    """
    config = config or DetectConfig()
    validate_image(image)
    material = get_material(config.material)
    model = find_model(config, material)
    progress(0.0, "calibrating")
    sampling = find_sampling(image, material, subprogress(progress, 0.0, 0.01))
    part = subprogress(progress, 0.01, 0.02)
    prepared = resample(image.data, sampling.pixel_pm, CANONICAL_PIXEL_PM, part)
    prepared = normalise(prepared, subprogress(progress, 0.02, 0.05))
    found, tile_px = columns_by_tiles(
        model,
        prepared,
        config.tile_px,
        config.symmetries,
        config.min_column_probability,
        subprogress(progress, 0.05, 0.95),
    )
    low, high = _BORDER_PX - 0.5, np.asarray(prepared.shape) - 0.5 - _BORDER_PX
    whole = np.all((found.position_px >= low) & (found.position_px <= high), axis=1)
    found = found[np.asarray(whole)]
    if len(found) < _MIN_COLUMNS:
        raise DefectStrainError(
            f"{image.name}: found {len(found)} columns, expected at least {_MIN_COLUMNS}; is it "
            f"an atomically resolved image of {material.name}?"
        )
    part = subprogress(progress, 0.95, 0.98)
    settled = settle_sublattices(found.position_px, found.probabilities, part)
    probabilities = model.calibrate(settled)
    sites = Sites(
        position_px=to_resampled(found.position_px, prepared.shape, image.data.shape),
        probabilities=probabilities,
        class_index=assign_classes(probabilities, config.thresholds),
        class_names=material.class_names,
        source=np.full(len(found), "model"),
    )
    warnings = [*model.warnings, *sampling.warnings]
    if tile_px < config.tile_px:
        warnings.append(
            f"{image.name}: out of memory with tiles of {config.tile_px} px; went on with tiles of "
            f"{tile_px} px, which gives the same but takes longer"
        )
    progress(0.99, "checking the lattice")
    warnings += doubts(image, sites, material)
    progress(1.0, "done")
    return Detection(
        sites,
        sampling.pixel_pm,
        model.sha256,
        material.name,
        tuple(warnings),
        model.overconfidence,
    )


def find_sampling(
    image: CalibratedImage, material: Material, progress: Progress = no_progress
) -> Sampling:
    """Pixel size by the lattice, else the stated one.

    Raises
    ------
    DefectStrainError
        If there is neither, a clear lattice contradicts the file altogether, or columns are not
        resolved. What the user said (metadata ``calibration``) is not refused: the network works
        at the lattice's pixel size whatever else is measured by.
    """
    stated = image.pixel_size_pm
    a_pm: float | None = None
    warnings: tuple[str, ...] = ()
    try:
        estimate = estimate_pixel_size(image.data, material.lattice_pm, stated, progress)
    except DefectStrainError:
        if stated is None:
            raise
        found = contradicting_estimate(image.data, material.lattice_pm)
        pixel_pm = stated if found is None else found.pixel_size_pm
        warnings = (f"{image.name}: no lattice seen to check the pixel size by",)
        if found is not None:
            text = (
                f"{image.name}: got {stated:.4g} pm per pixel, but the lattice of {material.name} "
                f"(a = {material.lattice_pm:g} pm) gives {pixel_pm:.4g}"
            )
            if image.metadata.get("calibration") not in BY_USER:
                raise DefectStrainError(f"{text}; check the calibration and the material") from None
            warnings = (f"{text}, by which columns are looked for",)
    else:
        pixel_pm = estimate.pixel_size_pm
        warnings = shear_warning(image.name, estimate)
        a_pm = None if stated is None else material.lattice_pm * stated / pixel_pm
    if pixel_pm > _RESOLVED_PM:
        raise DefectStrainError(
            f"{image.name}: got {pixel_pm:.3g} pm per pixel, expected at most {_RESOLVED_PM:g} pm: "
            f"columns {material.lattice_pm / np.sqrt(3):.0f} pm apart are not resolved; scan finer"
        )
    return Sampling(pixel_pm, a_pm, warnings)
