"""``defectstrain columns``: every column of single images, and their spacings by class."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..columns.images.types import NOISES, ImageColumnConfig, ImageColumns
from ..columns.types import MODELS
from ..failures import Failures
from ..io.files import read_settings, write_table
from ..io.out_folder import check_inputs, check_out_dir, settings_of, writing_into
from ..materials import get_material
from ..types import BoolArray, CalibratedImage, DefectStrainError, Progress, Sites
from ..units import PM_PER_NM
from .main import read_tables, say, say_done, say_warnings
from .resuming import material_help

if TYPE_CHECKING:
    from ..pipeline.runs import RunResult

COLUMNS_FILE = "columns.json"
_SPACINGS = "single_image_spacings.csv"
_SUFFIX = ".columns.csv"
PX_DECIMALS = 6
PM_DECIMALS = 4
DETECTED = 0.5  # of the bar, where the columns are detected


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``columns``."""
    add = parser.add_argument
    add("images", nargs="+", type=Path, metavar="IMAGE", help="images, as for run")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the tables")
    add("--force", action="store_true", help="write into DIR even if it isn't empty")
    add("--strict", action="store_true", help="do nothing if any image can't be used")
    add("--sites", type=Path, metavar="DIR", help="take <stem>.sites.csv from DIR, don't detect")
    add("--model", choices=MODELS, help="model of the columns (profile)")
    add("--noise", choices=NOISES, help="noise of the images (auto)")
    add("--scale", choices=("lattice", "pixel_size"), default="lattice", help="of the spacings")
    add("--shells", type=int, default=0, metavar="N", help="spacings of so isolated columns (0)")
    add("--pixel-size-pm", type=float, metavar="P", help="pixel size [pm] of all images")
    add("--material", default="WSe2", help=material_help(or_else="--sites"))
    add(
        "--force-material",
        action="store_true",
        help="take images as the material whatever they seem to show",
    )
    add("--frames", action="store_true", help="a stack holds frames of one region: sum them")
    add("--config", type=Path, metavar="FILE", help="settings of the fit (JSON)")


def fit_columns(options: argparse.Namespace, progress: Progress) -> int:
    """Fit every column of each image; write and print the tables."""
    from ..columns.images.measure import fit_image_columns
    from ..pipeline.chain import check_weights
    from ..pipeline.loading import load_images
    from ..pipeline.runs import RunConfig
    from ..precision.image_spacings import single_image_spacings, spacings_table
    from ..progress import subprogress

    config = _config(options)
    if options.shells not in range(4):
        raise DefectStrainError(f"--shells: got {options.shells}, expected 0 to 3")
    if options.sites is None:
        check_weights(RunConfig(material=options.material, pixel_size_pm=options.pixel_size_pm))
    check_out_dir(options.out, options.force, COLUMNS_FILE)
    _check_inputs(options, [path.stem for path in options.images])
    failures = Failures(options.strict)
    images, notes = load_images(options.images, options.frames, failures=failures)
    _check_inputs(options, [image.name for image in images])
    found = _columns(options, images, failures, subprogress(progress, 0.0, DETECTED))
    say_warnings([*notes, *found.warnings])
    fits: dict[int, ImageColumns] = {}
    for i, (image, sites) in enumerate(zip(found.images, found.sites, strict=True)):
        low, high = (DETECTED + (1.0 - DETECTED) * k / len(found.images) for k in (i, i + 1))
        part = subprogress(progress, low, high, f"{image.name}: ")
        with failures.left_out(image.name):
            fits[i] = fit_image_columns(image, sites.position_px, config, progress=part)
    failures.check_any_left(fits)
    images, columns = [found.images[i] for i in fits], [found.sites[i] for i in fits]
    spacings = spacings_table(
        single_image_spacings(
            images,
            columns,
            list(fits.values()),
            get_material(options.material).lattice_pm,
            [found.regions[i] for i in fits] if found.regions else None,
            options.scale,
            options.shells,
            _counted(found, fits),
        )
    )
    with writing_into(options.out, options.command, COLUMNS_FILE) as folder:
        for image, sites, fit in zip(images, columns, fits.values(), strict=True):
            write_table(folder.place(f"{image.name}{_SUFFIX}"), columns_table(fit, sites))
        write_table(folder.place(_SPACINGS), spacings)
        folder.finish({**config.to_dict(), "failed": failures.found})
    say_warnings([*folder.notes, *_unsettled(images, list(fits.values()))])
    say(summary(images, list(fits.values())))
    say(spacings.to_string(index=False, float_format="%.2f"))
    return say_done(options.out, failures.found)


def _counted(found: RunResult, fits: Mapping[int, ImageColumns]) -> list[BoolArray]:
    """Of the images with a fit, the columns that aren't counted in another one of them."""
    from ..crystal.overlaps import counted_columns

    among = [o for o in found.overlaps if o.first in fits and o.second in fits]
    counted = counted_columns(found.images, found.sites, among, found.regions or None)
    return [counted[i] for i in fits]


def _check_inputs(options: argparse.Namespace, stems: Sequence[str]) -> None:
    planned = [COLUMNS_FILE, _SPACINGS, *(f"{stem}{_SUFFIX}" for stem in stems)]
    inputs = [*options.images, options.config]
    if options.sites is not None:
        inputs += [options.sites / f"{stem}.sites.csv" for stem in stems]
    check_inputs(options.out, planned, inputs)


def columns_table(fit: ImageColumns, sites: Sites) -> pd.DataFrame:
    """One row a column of the sites: position, errors, class, weight, background, flag.

    y_px, x_px, y_nm, x_nm; sigma_y_pm, sigma_x_pm and cov_yx_pm2; the class; weight (integrated
    intensity), background (a pixel's), flag (`columns.types.FLAGS`). Lengths in nm and pm are empty
    without a pixel size.
    """
    pm = np.nan if fit.pixel_size_pm is None else fit.pixel_size_pm
    position, sigma = fit.position_px, fit.sigma_px * pm
    return pd.DataFrame(
        {
            "y_px": position[:, 0].round(PX_DECIMALS),
            "x_px": position[:, 1].round(PX_DECIMALS),
            "y_nm": (position[:, 0] * pm / PM_PER_NM).round(PX_DECIMALS),
            "x_nm": (position[:, 1] * pm / PM_PER_NM).round(PX_DECIMALS),
            "sigma_y_pm": sigma[:, 0].round(PM_DECIMALS),
            "sigma_x_pm": sigma[:, 1].round(PM_DECIMALS),
            "cov_yx_pm2": (fit.covariance_px2[:, 0, 1] * pm**2).round(PM_DECIMALS),
            "class": sites.class_name,
            "weight": fit.weight.round(PM_DECIMALS),
            "background": fit.background.round(PM_DECIMALS),
            "flag": fit.flag,
        }
    )


def summary(images: Sequence[CalibratedImage], fits: Sequence[ImageColumns]) -> str:
    """A line an image: how many columns, how precise, what the noise was."""
    lines = []
    for image, fit in zip(images, fits, strict=True):
        measured = int(fit.measured.sum())
        error = float(np.median(fit.sigma_px[fit.measured])) if measured else float("nan")
        unit = "px" if fit.pixel_size_pm is None else "pm"
        error *= 1.0 if fit.pixel_size_pm is None else fit.pixel_size_pm
        lines.append(
            f"{image.name}: {measured} of {len(fit)} columns, median standard error {error:.2g} "
            f"{unit}, noise variance {fit.noise.gain:.3g} I + {fit.noise.constant:.3g}"
        )
    return "\n".join(lines)


def _unsettled(images: Sequence[CalibratedImage], fits: Sequence[ImageColumns]) -> list[str]:
    """Which fits ended on the way."""
    return [
        f"{note}; raise max_iterations"
        for image, fit in zip(images, fits, strict=True)
        for note in fit.notes(image.name)
    ]


def _config(options: argparse.Namespace) -> ImageColumnConfig:
    values = {} if options.config is None else settings_of(read_settings(options.config))
    config = ImageColumnConfig.from_dict(values, f"{options.config}: ")
    given = {name: getattr(options, name) for name in ("model", "noise")}
    return config.replace(**{name: value for name, value in given.items() if value is not None})


def _columns(
    options: argparse.Namespace,
    images: Sequence[CalibratedImage],
    failures: Failures,
    progress: Progress,
) -> RunResult:
    """Images with their pixel sizes, columns and regions: given, or detected."""
    from ..pipeline.chain import detect
    from ..pipeline.runs import RunConfig

    config = RunConfig(
        material=options.material,
        pixel_size_pm=options.pixel_size_pm,
        force_material=options.force_material,
    )
    sites = None
    notes: tuple[str, ...] = ()
    if options.sites is not None:
        images, sites, notes = read_tables(options.sites, images, options.material, failures)
    found = detect(images, config, sites, progress, None, failures)
    return replace(found, warnings=notes + found.warnings)
