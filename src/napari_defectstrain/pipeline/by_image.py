"""The stages of a run that are independent by image, and what the images say together.

Each is a `Stage` of `work`: what is kept of it is found again by all that its function is given, so
nothing here looks at anything else. What the judge makes of all images together, in the order of
their pixels' hashes, is worked out anew whenever an image comes or goes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..crystal.region_search import divide_images
from ..crystal.regions import RegionConfig, Regions, region_summary
from ..failures import Failures
from ..io.content import in_content_order
from ..io.out_folder import file_sha256
from ..io.pixels import check_pixels
from ..judge.judging import (
    JudgeConfig,
    Weighed,
    below_as_perfect,
    judge_weighed,
    judged_sites,
    weigh_image,
)
from ..materials import Material, get_material
from ..progress import subprogress
from ..types import CalibratedImage, DefectStrainError, Progress, Sites, no_progress
from .loading import PIXEL_SIZE_BY_LATTICE, calibrate
from .placement import place_sites
from .runs import RunConfig
from .work import Stage, Work

if TYPE_CHECKING:  # torch comes along only when something is detected
    from ..detect.finding.found import Detection
    from ..detect.network.config import DetectConfig

_FINDING_SHARE = 0.4
"""Of the time that detection takes where it is judged."""


# ------------------------------------------------------------------ pixel sizes


@dataclass(frozen=True)
class PixelSize:
    """What `loading.calibrate` says of an image, without its pixels.

    Parameters
    ----------
    pixel_size_pm : float
    metadata : mapping
        What it adds.
    notes : tuple of str
    """

    pixel_size_pm: float
    metadata: Mapping[str, Any]
    notes: tuple[str, ...]


def _pixel_size(
    image: CalibratedImage, material: Material, pixel_size_pm: float | None, progress: Progress
) -> PixelSize:
    found, notes = calibrate(image, material, pixel_size_pm)
    assert found.pixel_size_pm is not None
    added = {k: v for k, v in found.metadata.items() if image.metadata.get(k) is not v}
    return PixelSize(float(found.pixel_size_pm), added, notes)


CALIBRATE = Stage("calibrate", 1, _pixel_size)


def calibrated_images(
    images: Mapping[int, CalibratedImage],
    config: RunConfig,
    failures: Failures,
    work: Work,
    progress: Progress = no_progress,
) -> tuple[dict[int, CalibratedImage], list[str]]:
    """Images with their pixel sizes, without hot and dead pixels, and what is doubtful."""
    material = get_material(config.material)
    checked: dict[int, CalibratedImage] = {}
    said: dict[int, tuple[str, ...]] = {}
    for i, image in images.items():
        with failures.left_out(image.name):
            checked[i], said[i] = check_pixels(image)
    calls = {i: (image, material, config.pixel_size_pm) for i, image in checked.items()}
    sizes = work.each(CALIBRATE, calls, _names(images), failures, progress)
    found, notes = {}, []
    for i, size in sizes.items():
        metadata = {**checked[i].metadata, **size.metadata}
        found[i] = replace(checked[i], pixel_size_pm=size.pixel_size_pm, metadata=metadata)
        notes += [*said[i], *size.notes]
    return found, notes


def _names(images: Mapping[int, CalibratedImage]) -> dict[int, str]:
    return {i: image.name for i, image in images.items()}


def lattice_px(image: CalibratedImage, material: Material) -> float:
    """The lattice constant by the image's own lattice [px]."""
    return material.lattice_pm / float(image.metadata[PIXEL_SIZE_BY_LATTICE])


# ------------------------------------------------------------------ columns


def _found(
    image: CalibratedImage, config: DetectConfig, weights: tuple[str, ...], progress: Progress
) -> Detection:
    """What the network makes of an image without hot and dead pixels."""
    from ..detect.finding.predict import detect_columns  # imports torch

    return detect_columns(image, config, progress)


FIND = Stage("find", 1, _found)


def _weighed(
    image: CalibratedImage,
    sites: Sites,
    pixel_pm: float,
    material: Material,
    config: JudgeConfig,
    progress: Progress,
) -> Weighed:
    return weigh_image(image, sites, pixel_pm, material, config, progress)


WEIGH = Stage("weigh", 7, _weighed)


def find_columns(
    images: Mapping[int, CalibratedImage],
    config: RunConfig,
    failures: Failures,
    work: Work,
    progress: Progress = no_progress,
) -> dict[int, Detection]:
    """Columns of the images in which they can be found, judged by all of these together.

    Parameters
    ----------
    images : mapping of int to CalibratedImage
        Without hot and dead pixels.
    config : RunConfig
    failures : Failures
    work : Work
    progress : Progress

    Returns
    -------
    dict of int to Detection
        The judge's probabilities need no correction; what the run's images say together is among
        the warnings of each.
    """
    share = _FINDING_SHARE if config.judge.enabled else 1.0
    names = _names(images)
    host = _host_settings(config)
    weights = weights_in_use(config) if work.store is not None else ()
    calls: dict[int, tuple[Any, ...]] = {i: (image, host, weights) for i, image in images.items()}
    found: dict[int, Detection] = work.each(
        FIND, calls, names, failures, subprogress(progress, 0.0, share)
    )
    material = get_material(config.material)
    if not config.judge.enabled:
        return {
            i: replace(one, sites=judged_sites(one.sites, None, material))
            for i, one in found.items()
        }
    calls = {
        i: (images[i], one.sites, one.pixel_size_pm, material, config.judge)
        for i, one in found.items()
    }
    weighed: dict[int, Weighed] = work.each(
        WEIGH, calls, names, Failures(strict=True), subprogress(progress, share, 1.0)
    )
    return {
        i: replace(one, sites=by_thresholds(one.sites, config.detect))
        for i, one in _judged(images, found, weighed, material, config.judge).items()
    }


def by_thresholds(sites: Sites, config: DetectConfig) -> Sites:
    """Judged columns by the thresholds of the settings, where those aren't the default.

    By default a judged column is of its most probable class, which is less probable than one half
    where three classes come into question.
    """
    default = type(config)().thresholds
    return sites if config.thresholds == default else below_as_perfect(sites, config.thresholds)


def _judged(
    images: Mapping[int, CalibratedImage],
    found: Mapping[int, Detection],
    weighed: Mapping[int, Weighed],
    material: Material,
    config: JudgeConfig,
) -> dict[int, Detection]:
    known = list(found)
    order = [known[k] for k in in_content_order([images[i] for i in known])]
    sites = [found[i].sites for i in order]
    judgements = judge_weighed(sites, [weighed[i] for i in order], material, config)
    judged = dict(zip(order, judgements, strict=True))
    return {
        i: replace(
            one,
            sites=judged[i].sites,
            warnings=(
                *one.warnings,
                *judged[i].warnings,
                *(open_class.note for open_class in judged[i].open_classes),
            ),
            overconfidence=one.overconfidence if judged[i].classes is None else (),
            open_classes=judged[i].open_classes,
        )
        for i, one in found.items()
    }


def _host_settings(config: RunConfig) -> DetectConfig:
    return config.detect.replace(material=get_material(config.material).host.label)


def weights_in_use(config: RunConfig) -> tuple[str, ...]:
    """Hashes of the files that the network's weights are read from."""
    from ..detect.network.bundled import bundled_weights

    given = _host_settings(config)
    path = Path(given.weights) if given.weights else bundled_weights(given.material)
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
    return tuple(file_sha256(file) for file in files if file.is_file())


def placed_columns(
    images: Mapping[int, CalibratedImage],
    sites: Sequence[Sites],
    material: Material,
    failures: Failures,
) -> tuple[dict[int, Sites], list[str]]:
    """Columns that the user gives, and what is to be said of them."""
    columns: dict[int, Sites] = {}
    warnings: list[str] = []
    for i, image in images.items():
        with failures.left_out(image.name):
            a_px, brightness = lattice_px(image, material), column_brightness(material)
            _refuse_defects_alone(image.name, sites[i], material)
            columns[i], notes = place_sites(image, sites[i], a_px, brightness)
            warnings += notes
    return columns, warnings


def _refuse_defects_alone(name: str, sites: Sites, material: Material) -> None:
    """Without the crystal around them defects are no crystal: nothing could be counted."""
    if len(sites) and not sites.is_metal.any():
        raise DefectStrainError(
            f"{name}: its table holds {len(sites)} columns and none of class "
            f"{material.class_names[0]}; expected every column of the image, not defects alone"
        )


def column_brightness(material: Material) -> tuple[float, ...]:
    """Of the columns metal, X2, XY, Y2, V1, V2, as far as it is known: typical ones otherwise."""
    from ..simulate.scattering import ELEMENTS, nominal_weights

    if {material.metal, material.chalcogen, material.substituent} <= set(ELEMENTS):
        return nominal_weights(material)
    return (1.0, 0.7, 1.0, 1.3, 0.35, 0.0)


# ------------------------------------------------------------------ regions


def _regions(
    image: CalibratedImage,
    sites: Sites,
    a_px: float,
    config: RegionConfig,
    given: Regions | None,
    progress: Progress,
) -> tuple[Sites, Regions]:
    (kept,), (found,) = divide_images([image], [sites], [a_px], config, [given], progress)
    return kept, found


DIVIDE = Stage("divide", 2, _regions)


def divided_images(
    images: Mapping[int, CalibratedImage],
    columns: dict[int, Sites],
    detected: Collection[int],
    config: RunConfig,
    regions: Sequence[Regions | None] | None,
    failures: Failures,
    work: Work,
    progress: Progress = no_progress,
) -> tuple[dict[int, Regions], list[str]]:
    """Regions of the images and what is to be said; no columns of `detected` outside of them."""
    material = get_material(config.material)
    calls = {
        i: (
            images[i],
            sites,
            lattice_px(images[i], material),
            config.regions,
            None if regions is None else regions[i],
        )
        for i, sites in columns.items()
    }
    known: dict[int, Regions] = {}
    warnings: list[str] = []
    found = work.each(DIVIDE, calls, _names(images), failures, progress)
    for i, (kept, known[i]) in found.items():
        if i in detected:  # given columns are as the user wants them
            columns[i] = kept
        warnings += region_summary(images[i].name, known[i])
    return known, warnings
