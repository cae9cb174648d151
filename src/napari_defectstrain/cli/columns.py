"""``defectstrain columns``: every column of single images, and their spacings by class."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm import tqdm

from ..columns.images.types import NOISES, ImageColumnConfig, ImageColumns
from ..columns.types import MODELS
from ..io.files import read_settings, read_sites, write_json, write_table
from ..materials import MATERIALS, get_material
from ..types import CalibratedImage, DefectStrainError, Progress, Sites
from ..units import PM_PER_NM

if TYPE_CHECKING:
    from ..pipeline.runs import RunResult

PX_DECIMALS = 6
PM_DECIMALS = 4
DETECTED = 0.5  # of the bar, where the columns are detected


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``columns``."""
    add = parser.add_argument
    add("images", nargs="+", type=Path, metavar="IMAGE", help="images, as for run")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the tables")
    add("--force", action="store_true", help="write into DIR even if it isn't empty")
    add("--sites", type=Path, metavar="DIR", help="take <stem>.sites.csv from DIR, don't detect")
    add("--model", choices=MODELS, help="model of the columns (profile)")
    add("--noise", choices=NOISES, help="noise of the images (auto)")
    add("--scale", choices=("lattice", "pixel_size"), default="lattice", help="of the spacings")
    add("--shells", type=int, default=0, metavar="N", help="spacings of so isolated columns (0)")
    add("--pixel-size-pm", type=float, metavar="P", help="pixel size [pm] of all images")
    add("--material", default="WSe2", help=material_help(or_else="--sites"))
    add("--frames", action="store_true", help="a stack holds frames of one region: sum them")
    add("--config", type=Path, metavar="FILE", help="settings of the fit (JSON)")


def material_help(or_else: str) -> str:
    """Which materials there are, and which the bundled network knows; the others need more."""
    from ..detect.network.bundled import bundled_materials

    return (
        f"one of {', '.join(sorted(MATERIALS))} (WSe2); weights are bundled for "
        f"{', '.join(bundled_materials())}, the others need {or_else}"
    )


def fit_columns(options: argparse.Namespace, progress: Progress) -> None:
    """Fit every column of each image; write and print the tables."""
    from ..columns.images.measure import fit_image_columns
    from ..output.results import check_out_dir
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
    check_out_dir(options.out, options.force)
    images, notes = load_images(options.images, options.frames)
    found = _columns(options, images, subprogress(progress, 0.0, DETECTED))
    for note in (*notes, *found.warnings):
        tqdm.write(f"defectstrain: warning: {note}", file=sys.stderr)
    fits = []
    for i, (image, sites) in enumerate(zip(found.images, found.sites, strict=True)):
        low, high = (DETECTED + (1.0 - DETECTED) * k / len(images) for k in (i, i + 1))
        part = subprogress(progress, low, high, f"{image.name}: ")
        fits.append(fit_image_columns(image, sites.position_px, config, progress=part))
    spacings = spacings_table(
        single_image_spacings(
            found.images,
            found.sites,
            fits,
            get_material(options.material).lattice_pm,
            found.regions or None,
            options.scale,
            options.shells,
        )
    )
    options.out.mkdir(parents=True, exist_ok=True)
    for image, sites, fit in zip(found.images, found.sites, fits, strict=True):
        write_table(options.out / f"{image.name}.columns.csv", columns_table(fit, sites))
    write_table(options.out / "single_image_spacings.csv", spacings)
    write_json(options.out / "columns.json", config.to_dict())
    tqdm.write(summary(found.images, fits), file=sys.stdout)
    tqdm.write(spacings.to_string(index=False, float_format="%.2f"), file=sys.stdout)
    tqdm.write(f"results in {options.out}", file=sys.stdout)


def columns_table(fit: ImageColumns, sites: Sites) -> pd.DataFrame:
    """One row a column of the sites: position, errors, class, weight, background, flag.

    y_px, x_px, y_nm, x_nm; sigma_y_pm, sigma_x_pm and cov_yx_pm2; the class; weight (integrated
    intensity), background (a pixel's), flag (`column_types.FLAGS`). Lengths in nm and pm are empty
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


def _config(options: argparse.Namespace) -> ImageColumnConfig:
    values = {} if options.config is None else read_settings(options.config)
    config = ImageColumnConfig.from_dict(values, f"{options.config}: ")
    given = {name: getattr(options, name) for name in ("model", "noise")}
    return config.replace(**{name: value for name, value in given.items() if value is not None})


def _columns(
    options: argparse.Namespace, images: Sequence[CalibratedImage], progress: Progress
) -> RunResult:
    """Images with their pixel sizes, columns and regions: given, or detected."""
    from ..pipeline.chain import detect
    from ..pipeline.runs import RunConfig

    config = RunConfig(material=options.material, pixel_size_pm=options.pixel_size_pm)
    sites = None
    if options.sites is not None:
        if not options.sites.is_dir():
            raise DefectStrainError(f"--sites {options.sites}: got no folder, expected one")
        names = get_material(options.material).class_names
        paths = [options.sites / f"{image.name}.sites.csv" for image in images]
        missing = [path.name for path in paths if not path.exists()]
        if missing:
            raise DefectStrainError(
                f"--sites {options.sites}: lacks {', '.join(missing)}; every image needs its table"
            )
        sites = [read_sites(path, names) for path in paths]
    return detect(images, config, sites, progress)
