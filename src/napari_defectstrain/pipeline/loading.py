"""Images for the pipeline: read, registered where they are frames, named apart, calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..crystal.calibration import (
    CALIBRATED_BY_LATTICE,
    MAX_DEVIATION,
    PixelSizeEstimate,
    contradicting_estimate,
    estimate_pixel_size,
    shear_warning,
)
from ..crystal.other_lattices import HEXAGONAL, seen_lattice
from ..failures import Failures
from ..frames.changes import CHANGED_COLUMNS, changed_columns, changes_text
from ..frames.drift import DRIFT_TABLE, drift_table, frame_time_s
from ..frames.register import FrameConfig, register_frames
from ..io.content import pixels_sha256
from ..io.file_names import as_paths, output_stems
from ..io.files import read_images
from ..io.out_folder import file_sha256
from ..io.pixels import CLIPPED, REPLACED, check_frames
from ..io.stage_store import StageStore
from ..materials import Material
from ..progress import subprogress
from ..styles import error_text
from ..types import CalibratedImage, DefectStrainError, Progress, no_progress

CALIBRATION_TOLERANCE = 0.02
"""Difference between the calibration and the lattice that is worth a warning (fraction)."""

PIXEL_SIZE_BY_LATTICE = "pixel_size_by_lattice_pm"
"""Key of the metadata for the pixel size that the lattice gives, whatever is used [pm]."""


PATH = "path"
"""Metadata that says where the file of an image lies: it ends up in ``run.json``."""

FILE_SHA256 = "file_sha256"
"""Metadata for the hash of that file's bytes, which ends up there too."""

PIXELS = "pixels_sha256"
"""Metadata that tells an image by its grey values (`content.pixels_sha256`), beside `PATH`."""


def load_images(
    paths: str | Path | Sequence[str | Path],
    frames: bool = False,
    progress: Progress = no_progress,
    series: FrameConfig | None = None,
    failures: Failures | None = None,
    store: StageStore | None = None,
) -> tuple[list[CalibratedImage], tuple[str, ...]]:
    """Read all images, and check them and their pixels, before any work starts.

    Parameters
    ----------
    paths : sequence of path, or a path
        Image files.
    frames : bool
        True: the images of one file are frames of one region (registered and summed); False:
        they are separate images.
    progress : Progress
    series : FrameConfig, optional
        How frames are registered and summed.
    failures : Failures, optional
        Collects files that can't be read, which are left out; else the first is raised.
    store : StageStore, optional
        Keeps the pixels on its disk, so that they aren't all in memory.

    Returns
    -------
    images : list of CalibratedImage
        Under distinct names that outputs can have, the same whatever is left out; without hot and
        dead pixels (`pixels.check_pixels`).
    warnings : tuple of str

    Raises
    ------
    DefectStrainError
        If a file is no image that can be measured, or none of them is; the message names it.
    """
    failures = failures or Failures(strict=True)
    images: list[CalibratedImage | None] = []
    stems: list[str] = []
    warnings = []
    paths = as_paths(paths)
    for i, path in enumerate(paths):
        file_name = path.name
        part = subprogress(progress, i / len(paths), (i + 1) / len(paths))
        part(0.0, f"reading {file_name}")
        found: list[CalibratedImage] = []
        with failures.left_out(file_name):
            found, notes = _read(path, frames, series, part)
            warnings += notes
        if not found:  # its name stays taken: the others keep theirs, and their tables
            images.append(None)
            stems.append(path.stem)
            continue
        if store is not None:
            found = [replace(im, data=store.on_disk(im.data, im.metadata[PIXELS])) for im in found]
        images += found
        stems += [image.name for image in found]
    names = output_stems(stems)
    named = [replace(im, name=n) for im, n in zip(images, names, strict=True) if im is not None]
    failures.check_any_left(named)
    return named, tuple(warnings)


def _read(
    path: Path, frames: bool, series: FrameConfig | None, progress: Progress
) -> tuple[list[CalibratedImage], list[str]]:
    """The images of a file, or the sum of its frames, and what to say of them."""
    found = read_images(path)
    warnings = []
    if frames and len(found) > 1:
        found = [sum_frames(found, path.stem, progress, series)]
    else:
        if len(found) > 1:
            warnings.append(
                f"{path.name}: holds {len(found)} images, taken as separate images; if they "
                "are frames of one region, say so (frames) and they are registered and summed"
            )
        found, notes = check_frames(found)
        warnings += [f"{path.name}: {text}" for text in notes]
    where = str(path.resolve())
    known = {PATH: where, FILE_SHA256: file_sha256(path)}
    found = [
        replace(im, metadata={**im.metadata, **known, PIXELS: pixels_sha256(im.data)})
        for im in found
    ]
    stated = found[0].metadata.get("warnings", ())
    return found, warnings + [f"{path.name}: {text}" for text in stated]


def sum_frames(
    frames: Sequence[CalibratedImage],
    name: str,
    progress: Progress = no_progress,
    config: FrameConfig | None = None,
) -> CalibratedImage:
    """Register the frames of one region and sum the good ones over the field they all show.

    Hot and dead pixels are left out of every frame before.

    Returns
    -------
    CalibratedImage
        With the number of frames summed (``frames``), that of all (``frames_taken``), the rows of
        the drift table (``drift_table``, see `drift.drift_of`), columns that changed while the
        frames were taken (``changed_columns``) and the field summed (``region_px``) in its
        metadata, and what was doubtful or left out under ``warnings``.

    Raises
    ------
    DefectStrainError
        If the frames differ in shape, have no field in common, or do not show the same region.
    """
    shapes = {frame.data.shape for frame in frames}
    if len(shapes) > 1:
        raise DefectStrainError(f"{name}: got frames of shapes {shapes}, expected all the same")
    frames, doubts = check_frames(frames)
    try:
        stack = np.stack([frame.data for frame in frames])
        found = register_frames(stack, config, progress)
    except DefectStrainError as error:
        raise DefectStrainError(f"{name}: {error}") from error
    changed = changed_columns(stack, found)
    said = changes_text(changed, len(frames))
    first = frames[0]
    seconds = frame_time_s(first.metadata, first.data.shape)
    table = drift_table(found, first.pixel_size_pm, seconds)
    metadata = {
        **first.metadata,
        "frames": int((~found.bad).sum()),
        "frames_taken": len(frames),
        "region_px": list(found.region),
        DRIFT_TABLE: table.astype(object).where(table.notna(), None).to_dict("records"),
        REPLACED: sum(frame.metadata.get(REPLACED, 0) for frame in frames),
        "warnings": [
            *(*first.metadata.get("warnings", ()), *doubts, *found.notes),
            *([said] if said else []),
        ],
    }
    if changed is not None and len(changed):
        metadata[CHANGED_COLUMNS] = changed.rows()
    clipped = [frame.metadata[CLIPPED] for frame in frames if CLIPPED in frame.metadata]
    if clipped:
        metadata[CLIPPED] = {end: sum(one[end] for one in clipped) for end in clipped[0]}
    metadata.pop("frame", None)
    return replace(first, data=found.summed, name=name, metadata=metadata)


def calibrate(
    image: CalibratedImage, material: Material, pixel_size_pm: float | None = None
) -> tuple[CalibratedImage, tuple[str, ...]]:
    """Give an image its pixel size: the given one, else the file's, else the lattice's.

    Where there is a calibration, the lattice only checks it.

    Parameters
    ----------
    image : CalibratedImage
    material : Material
        Gives the lattice constant.
    pixel_size_pm : float, optional
        Comes before what the file says [pm].

    Returns
    -------
    image : CalibratedImage
        With a pixel size; metadata ``calibration`` says where it comes from: ``given``, ``file`` or
        ``lattice``.
    warnings : tuple of str
        What was found, where that is news to the user.

    Raises
    ------
    DefectStrainError
        If no lattice is found, or one that isn't hexagonal, or a clear one contradicts the file, or
        what was given, altogether (`calibration.MAX_DEVIATION`).
    """
    expected, origin = image.pixel_size_pm, "file"
    if image.metadata.get("calibration") == CALIBRATED_BY_LATTICE:
        origin = CALIBRATED_BY_LATTICE
    elif image.metadata.get("calibration") == "given":
        origin = "given"
    if pixel_size_pm is not None:
        expected, origin = pixel_size_pm, "given"
    try:
        estimate = estimate_pixel_size(image.data, material.lattice_pm, expected)
    except DefectStrainError as error:
        if origin != "given":
            _refuse_other_lattice(image, material, expected)
        if expected is not None:
            _refuse_contradiction(image, material, expected, origin)
            if origin == "given":  # the user knows better than a power spectrum
                return _calibrated(image, expected, expected, origin), ()
        raise DefectStrainError(f"{image.name}: {error}") from error
    found, text = estimate.pixel_size_pm, _by_lattice(estimate, material)
    sheared = shear_warning(image.name, estimate)
    if expected is None:
        calibrated = _calibrated(image, found, found, CALIBRATED_BY_LATTICE)
        return calibrated, (f"{image.name}: not calibrated; {text}, which is taken", *sheared)
    calibrated = _calibrated(image, expected, found, origin)
    if abs(found / expected - 1) <= CALIBRATION_TOLERANCE:
        return calibrated, sheared
    warning = (
        f"{image.name}: {'given' if origin == 'given' else 'calibrated as'} {expected:.4g} pm per "
        f"pixel, but {text} ({100 * (expected / found - 1):+.1f} %): another material, or a "
        "calibration that is off; it is kept"
    )
    return calibrated, (warning, *sheared)


def _calibrated(
    image: CalibratedImage, pixel_pm: float, lattice_pm: float, origin: str
) -> CalibratedImage:
    metadata = {**image.metadata, "calibration": origin, PIXEL_SIZE_BY_LATTICE: lattice_pm}
    return replace(image, pixel_size_pm=pixel_pm, metadata=metadata)


def _by_lattice(estimate: PixelSizeEstimate, material: Material) -> str:
    return (
        f"the lattice of {material.name} (a = {material.lattice_pm:g} pm) gives "
        f"{estimate.pixel_size_pm:.4g} {error_text(estimate.sigma_pm, '.1g')} pm per pixel"
    )


def _refuse_other_lattice(
    image: CalibratedImage, material: Material, pixel_pm: float | None
) -> None:
    """Raise with the lattice that the picture shows, where that isn't a hexagonal one."""
    if not np.isfinite(image.data).all():
        return
    seen = seen_lattice(image.data)
    if seen is not None and seen.kind != HEXAGONAL:
        raise DefectStrainError(
            f"{image.name}: the picture shows {seen.in_words(pixel_pm)}; expected a hexagonal one "
            f"of {material.lattice_pm:g} pm, as {material.name} has; check the material"
        )


def _refuse_contradiction(
    image: CalibratedImage, material: Material, expected_pm: float, origin: str
) -> None:
    """Raise with what a clear lattice says without regard to the file; return where none is."""
    found = contradicting_estimate(image.data, material.lattice_pm)
    if found is None:
        return
    got = "a pixel size" if origin == "given" else "a calibration"
    raise DefectStrainError(
        f"{image.name}: got {got} of {expected_pm:.4g} pm per pixel, but "
        f"{_by_lattice(found, material)} ({100 * (expected_pm / found.pixel_size_pm - 1):+.0f} %, "
        f"expected {100 * MAX_DEVIATION:g} % at most); check the pixel size and the material"
    )
