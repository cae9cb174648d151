"""``defectstrain plan``: how many images at what dose, from a run on one or a few."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..materials import get_material
from ..types import DefectStrainError, Progress
from ..units import BARN_PER_NM2
from .main import say, say_warnings

_PER_CENT = 0.01
_PLANNED = {"dose_e_per_nm2", "images", "windows", "sigma_strain_%"}
"""Columns by which a plan is known."""
_LOSS = ("cross_section_barn", "sigma_barn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``plan``."""
    add = parser.add_argument
    add("results", type=Path, metavar="RESULTS", help="folder of a run on the test image(s)")
    add("--class", dest="class_name", required=True, metavar="NAME", help="such as SV")
    add("--target", type=float, default=0.1, metavar="S", help="error of the strain in %% (0.1)")
    add("--dose", type=float, metavar="D", help="of a test image [e-/nm2], where no file says it")
    add("--loss-nm2", type=float, metavar="L", help="cross section for losing an atom [nm^2]")
    add(
        "--series",
        type=Path,
        metavar="DIR",
        help="folder of a series, or of a run on its frames: takes the loss from it",
    )
    add("--frame-dose", type=float, metavar="D", help="of a frame of the series [e-/nm2]")
    add("--counting-share", type=float, metavar="C", help="of single windows' variance, 0-1")
    add("--out", type=Path, metavar="FILE", help="the plan as a table (CSV)")


def run_plan(options: argparse.Namespace, progress: Progress) -> int:
    """Read what the test gave, plan, and print."""
    from ..io.files import read_settings, write_table
    from ..pipeline.planning import Test, plan_images
    from ..pipeline.runs import RunConfig

    _check_out(options.out)
    manifest = options.results / "run.json"
    tables = [options.results / name for name in ("spacings.csv", "populations.csv")]
    if not manifest.is_file() or not all(path.is_file() for path in tables):
        raise DefectStrainError(
            f"{options.results}: got no run.json, spacings.csv and populations.csv, expected the "
            "folder of a run"
        )
    about = read_settings(manifest)
    config = RunConfig.from_dict(about.get("parameters", {}), f"{manifest}: ")
    material, spacings = get_material(config.material), pd.read_csv(tables[0])
    row = _row(spacings, options.class_name)
    against, n_reference = _against(spacings, material.reference_of(options.class_name))
    populations = pd.read_csv(tables[1])
    loss, source = _loss(options)
    test = Test(
        class_name=options.class_name,
        n_windows=int(row["n"]),
        n_images=len(about.get("images", [])),
        sigma_strain=float(row["sigma_stat"]),
        sigma_rest=float(np.sqrt(max(row["sigma_total"] ** 2 - row["sigma_stat"] ** 2, 0.0))),
        counting_share=_share(options, row, progress),
        dose_e_per_nm2=_dose(options, about),
        atoms=_atoms(material.role_of(options.class_name)),
        vacancies=_vacancies(populations),
        sigma_reference=min(against, 0.99 * float(row["sigma_stat"])),
        n_reference=n_reference,
        most_reference=float(max(config.average.max_reference, n_reference)),
    )
    plan = plan_images(test, options.target * _PER_CENT, loss, config.average.shells)
    stat, rest = 100 * test.sigma_strain, 100 * test.sigma_rest
    say(
        f"{test.class_name}: {test.n_windows} windows in {test.n_images} image(s) gave {stat:.3g} %"
        f" (statistical; {rest:.3g} % more can't be averaged away); "
        f"{100 * test.counting_share:.0f} % of single windows' variance is counting noise; an atom "
        f"is lost at {loss:.3g} nm2 ({source})"
    )
    say(plan.to_string(index=False, float_format="%.4g"))
    if np.isinf(plan["images"]).any():
        say(
            f"no number of images is enough where it says inf: {config.average.max_reference} "
            "defect-free windows, as many as are averaged, err by as much (max_reference of the "
            "settings of averages)"
        )
    if options.out is not None:
        write_table(options.out, plan)
        say(f"plan in {options.out}")
    return 0


def _check_out(path: Path | None) -> None:
    """See, before the work, that a plan replaces nothing but another plan.

    Raises
    ------
    DefectStrainError
        If there is another file, or something that is none.
    """
    if path is None or not (path.exists() or path.is_symlink()):
        return
    with suppress(OSError, ValueError, pd.errors.ParserError):
        if path.is_file() and set(pd.read_csv(path, nrows=1)) >= _PLANNED:
            return
    raise DefectStrainError(
        f"--out {path}: got something that is there and is no plan, expected another name"
    )


def _row(table: pd.DataFrame, name: str) -> pd.Series:
    """What the test says of a class."""
    found = table[table["class"] == name]
    if len(found) != 1 or not np.isfinite(found["sigma_stat"].iloc[0]):
        measured = table["class"][table["sigma_stat"] > 0].tolist()
        raise DefectStrainError(
            f"--class: got {name}, expected a measured defect of the run: "
            f"{', '.join(measured) or 'there is none'}"
        )
    return found.iloc[0]


def _against(table: pd.DataFrame, reference: str) -> tuple[float, int]:
    """Relative error of the defect-free spacing, and its windows; none where the table is older."""
    found = table[table["class"] == reference]
    if len(found) != 1 or not {"precision_pm", "spacing_pm"} <= set(table):
        return 0.0, 1
    error = float(found["precision_pm"].iloc[0] / found["spacing_pm"].iloc[0])
    return (error if error > 0 else 0.0), max(int(found["n"].iloc[0]), 1)


def _atoms(role: str) -> int:
    """Chalcogen atoms at the centre that the beam may take."""
    return {"V1": 1, "V2": 0}.get(role, 2)


def _vacancies(populations: pd.DataFrame) -> float:
    """Fraction of the chalcogen columns that are single vacancies."""
    rows = populations[(populations["image"] == "all") & (populations["class"] == "SV")]
    return float(rows["concentration"].iloc[0]) if len(rows) else 0.0


def _loss(options: argparse.Namespace) -> tuple[float, str]:
    """Cross section for losing an atom, and where it is from."""
    from ..pipeline.planning import loss_of_series

    if options.loss_nm2 is not None:
        if options.series is not None or options.frame_dose is not None:
            raise DefectStrainError(
                "plan: got --loss-nm2 and a series as well, expected one source of the damage"
            )
        return options.loss_nm2, "given"
    followed = None if options.series is None else options.series / "rates.csv"
    if followed is not None and followed.is_file():
        return _followed_loss(followed)
    if options.series is None or options.frame_dose is None:
        raise DefectStrainError(
            "plan: got no rate of damage, expected --loss-nm2, or --series with --frame-dose"
        )
    path = options.series / "populations.csv"
    if not path.is_file():
        raise DefectStrainError(f"--series {options.series}: got no populations.csv there")
    table = pd.read_csv(path)
    rows = table[(table["class"] == "vacancy fraction") & (table["image"] != "all")]
    n_sites = 2.0 * float(rows["all_columns"].mean()) if len(rows) else 0.0  # atoms a column
    found, error = loss_of_series(rows["concentration"].tolist(), options.frame_dose, n_sites)
    return max(found, 0.0), f"by {len(rows)} frames, +- {error:.2g}"


def _followed_loss(path: Path) -> tuple[float, str]:
    """Cross section of one atom by the sites that were followed through a dose series."""
    table = pd.read_csv(path)
    if "cross_section_barn" not in table:
        raise DefectStrainError(
            f"{path}: got rates without cross sections, expected a series whose dose is known: "
            "give series --dose"
        )
    found = table[table["to"].str.endswith(" less")]
    if len(found) != 1:
        raise DefectStrainError(
            f"{path}: got no loss of single atoms, expected the table of series"
        )
    barn, sigma = (float(found[c].iloc[0]) / BARN_PER_NM2 for c in _LOSS)
    if barn > 0 and np.isfinite(sigma):
        return barn, f"by the sites of a series, +- {sigma:.2g}"
    limit = float(found["high_barn"].iloc[0]) / BARN_PER_NM2 if "high_barn" in found else np.nan
    if not limit > 0:
        raise DefectStrainError(
            f"{path}: got no loss of an atom and no upper limit of it; give --loss-nm2"
        )
    return limit, "at most: upper 95 % limit of a series in which too few were lost"


def _dose(options: argparse.Namespace, about: Mapping[str, Any]) -> float:
    """Dose of a test image: given, or by what its file says."""
    if options.dose is not None:
        return float(options.dose)
    found = [image.get("conditions", {}).get("dose") for image in about.get("images", [])]
    known = [dose for dose in found if dose is not None]
    if not known:
        raise DefectStrainError("plan: got no dose, and no file says it: give --dose (e-/nm2)")
    return float(np.median(known))


def _share(options: argparse.Namespace, row: pd.Series, progress: Progress) -> float:
    """Share of counting noise: given, or by a fit of the run's first image."""
    if options.counting_share is not None:
        return float(options.counting_share)
    from ..columns.images.measure import fit_image_columns
    from ..io.files import read_settings, read_sites
    from ..pipeline.loading import PATH, PIXELS, load_images
    from ..pipeline.planning import counting_share
    from ..pipeline.runs import RunConfig

    about = read_settings(options.results / "run.json")
    first = about["images"][0]
    path = Path(first.get("metadata", {}).get(PATH, ""))
    if not path.is_file():
        raise DefectStrainError(
            f"plan: the run's image {first['name']} isn't where it was; give --counting-share"
        )
    parameters = about["parameters"]
    config = RunConfig.from_dict(parameters, f"{options.results / 'run.json'}: ")
    images, _ = load_images([path], config.frames, series=config.series)
    known = first["metadata"].get(PIXELS)
    images = [image for image in images if known in (None, image.metadata[PIXELS])]
    if not images:
        raise DefectStrainError(
            f"{path}: got other pixels than those that the run measured; give --counting-share"
        )
    names = get_material(parameters["material"]).all_class_names
    sites = read_sites(options.results / f"{first['name']}.sites.csv", names)
    fit = fit_image_columns(
        images[0], sites.position_px, pixel_size_pm=first["pixel_size_pm"], progress=progress
    )
    say_warnings(
        [f"{n}; its share of counting noise may be off" for n in fit.notes(images[0].name)]
    )
    return counting_share(fit, sites.is_metal, float(row["p1_pm"]))
