"""``defectstrain simulate``: images with known truth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from ..config import SEED, Between, checked
from ..io.files import read_settings
from ..io.out_folder import check_inputs, check_out_dir, settings_of, writing_into
from ..types import DefectStrainError, Progress
from .main import say, say_warnings, without_none

if TYPE_CHECKING:
    from ..io.out_folder import OutFolder
    from ..simulate.changing import ChangesConfig
    from ..simulate.dataset import SimulatedImage, SimulationConfig

SIMULATION_FILE = "simulation.json"
_HISTORY = ".history.csv"
_SERIES = "series"

_DRIFT = "drift_pm_per_s"
_MOST_DRIFT_PM_S = 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``simulate``."""
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the images")
    add("--force", action="store_true", help="write into DIR even if it isn't empty")
    add("--sample", metavar="NAME", help="one of the bundled samples, exactly")
    add("--config", type=Path, metavar="FILE", help="settings of the simulation (JSON)")
    add("--material", help="WSe2 (default), MoS2, ..., or a formula such as 'NbSe2(S, 344.5)'")
    add("--images", type=int, metavar="N", help="how many images (default 1)")
    add("--seed", type=int, metavar="N", help="seed of everything random")
    add("--size", type=int, metavar="N", help="side of the images [px]")
    add("--pixel-size-pm", type=float, metavar="P", help="pixel size [pm]")
    add("--dose", type=float, metavar="D", help="electrons per nm2")
    add("--drift", type=float, metavar="V", help="frames one by one, drifting by V pm/s")
    add("--series", type=int, metavar="N", help="N frames in which columns change, --dose for each")
    add(
        "--change",
        action="append",
        metavar="BEFORE:AFTER=R",
        help="how often, per column and 1e6 e-/nm2, for instance 2Se:SV=0.0018 (repeatable)",
    )
    add("--hop", type=float, metavar="R", help="how often vacancies change places, likewise")


def simulate(options: argparse.Namespace, progress: Progress) -> int:
    """Make images with known truth."""
    from ..progress import subprogress
    from ..simulate.dataset import simulate_image, simulate_series
    from ..simulate.samples import simulated_files, write_simulated

    if options.sample is not None:
        return _simulate_sample(options, progress)
    config, seed, drift, changes = _asked(options)
    count = 1 if options.images is None else options.images
    if count < 1:
        raise DefectStrainError(f"--images: got {count}, expected 1 or more")
    check_out_dir(options.out, options.force, SIMULATION_FILE)
    names = [f"simulated_{i + 1}" for i in range(count)]
    planned = [SIMULATION_FILE, *(file for name in names for file in simulated_files(name))]
    if changes is not None:
        planned += [f"{name}{_HISTORY}" for name in names]
    check_inputs(options.out, planned, [options.config])
    with writing_into(options.out, options.command, SIMULATION_FILE) as folder:
        rngs = np.random.default_rng(seed).spawn(count)
        for i, (name, rng) in enumerate(zip(names, rngs, strict=True)):
            subprogress(progress, i / count, 1.0)(0.0, name)
            if changes is not None:
                simulated = _changing(config, changes, rng, name, folder)
            elif drift is None:
                simulated = simulate_image(config, rng, name)
            else:
                simulated = simulate_series(config, rng, name, drift)
            write_simulated(simulated, folder.place)
        about = {"seed": seed, **config.to_dict()}
        if changes is not None:
            about[_SERIES] = changes.to_dict()
        elif drift is not None:
            about[_DRIFT] = drift
        folder.finish(about)
    say_warnings(folder.notes)
    say(f"{count} {'image(s)' if changes is None else 'series'} in {options.out}")
    return 0


def _changing(
    config: SimulationConfig,
    changes: ChangesConfig,
    rng: np.random.Generator,
    name: str,
    folder: OutFolder,
) -> SimulatedImage:
    """Frames with the truth of the last one; writes when which column changed."""
    from ..io.files import write_table
    from ..simulate.changing import history_table, simulate_changing

    made = simulate_changing(config, changes, rng, name)
    write_table(folder.place(f"{name}{_HISTORY}"), history_table(made))
    return made.image


def _simulate_sample(options: argparse.Namespace, progress: Progress) -> int:
    from ..simulate.samples import SAMPLES, write_sample

    if options.sample not in SAMPLES:
        raise DefectStrainError(
            f"--sample: got {options.sample!r}, expected one of {', '.join(SAMPLES)}"
        )
    fixed = ("config", "material", "images", "size", "pixel_size_pm", "dose", "drift")
    for name in (*fixed, "series", "change", "hop"):
        if getattr(options, name) is not None:
            raise DefectStrainError(
                f"--{name.replace('_', '-')}: a sample is fixed but for its --seed; leave out "
                "one of the two"
            )
    summary = f"{options.sample}.json"
    check_out_dir(options.out, options.force, summary)
    with writing_into(options.out, options.command, summary) as folder:
        settings = write_sample(options.sample, folder.place, options.seed, progress)
        folder.finish(settings, with_files=False)
    say_warnings(folder.notes)
    say(f"{len(folder.files) + 1} files in {options.out}")
    return 0


def _asked(
    options: argparse.Namespace,
) -> tuple[SimulationConfig, int, float | None, ChangesConfig | None]:
    """Settings, seed, drift and changes: of the file or the defaults, with what options change."""
    from ..materials import get_material
    from ..simulate.changing import FRAME_DOSE
    from ..simulate.dataset import SimulationConfig

    values = {} if options.config is None else settings_of(read_settings(options.config))
    seed = checked(Annotated[int, SEED], values.pop("seed", 0), f"{options.config}: seed")
    if options.seed is not None:
        seed = checked(Annotated[int, SEED], options.seed, "--seed")
    most = Between(-_MOST_DRIFT_PM_S, _MOST_DRIFT_PM_S)
    drift = values.pop(_DRIFT, None)
    if drift is not None:
        drift = checked(Annotated[float, most], drift, f"{options.config}: {_DRIFT}")
    if options.drift is not None:
        drift = checked(Annotated[float, most], options.drift, "--drift")
    crystal = values.get("crystal", {})
    if options.material is not None and isinstance(crystal, dict):
        # of this material: its lattice and brightness, unless the file says otherwise
        values["crystal"] = {**crystal, "material": options.material}
    changes = _changes(options, values, drift)
    if changes is not None and isinstance(scan := values.get("scan", {}), dict):
        # every frame is one exposure, of a dose that leaves a crystal to look at
        values["scan"] = {"frames": 1, "dose_e_per_nm2": FRAME_DOSE, **scan}
    config = SimulationConfig.from_dict(values, f"{options.config}: ")
    size = None if options.size is None else (options.size, options.size)
    given = {"shape": size, "pixel_size_pm": options.pixel_size_pm}
    given |= {"dose_e_per_nm2": options.dose}
    config = config.replace(scan=config.scan.replace(**without_none(given)))
    if changes is not None:
        changes.rates(get_material(config.crystal.material))  # refused before anything is written
    return config, seed, drift, changes


def _changes(
    options: argparse.Namespace, values: dict[str, Any], drift: float | None
) -> ChangesConfig | None:
    """What is asked of a series in which columns change; takes it out of the values of a file."""
    from ..simulate.changing import ChangesConfig

    known = values.pop(_SERIES, None)
    if known is None and options.series is None:
        for name in ("change", "hop"):
            if getattr(options, name) is not None:
                raise DefectStrainError(
                    f"--{name}: got it without --series, expected how many frames there are"
                )
        return None
    changes = ChangesConfig.from_dict(known or {}, f"{options.config}: {_SERIES}.")
    given = {
        "frames": options.series,
        "changes": None if options.change is None else tuple(options.change),
        "hop_rate": options.hop,
        _DRIFT: drift,
    }
    return changes.replace(**without_none(given))
