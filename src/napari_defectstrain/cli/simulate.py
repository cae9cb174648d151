"""``defectstrain simulate``: images with known truth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from ..config import SEED, Between, checked
from ..io.files import read_settings
from ..io.out_folder import check_inputs, check_out_dir, settings_of, writing_into
from ..types import DefectStrainError, Progress
from .main import say, say_warnings, without_none

if TYPE_CHECKING:
    from ..simulate.dataset import SimulationConfig

SIMULATION_FILE = "simulation.json"

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


def simulate(options: argparse.Namespace, progress: Progress) -> int:
    """Make images with known truth."""
    from ..progress import subprogress
    from ..simulate.dataset import simulate_image, simulate_series
    from ..simulate.samples import simulated_files, write_simulated

    if options.sample is not None:
        return _simulate_sample(options, progress)
    config, seed, drift = _simulation_config(options)
    count = 1 if options.images is None else options.images
    if count < 1:
        raise DefectStrainError(f"--images: got {count}, expected 1 or more")
    check_out_dir(options.out, options.force, SIMULATION_FILE)
    names = [f"simulated_{i + 1}" for i in range(count)]
    planned = [SIMULATION_FILE, *(file for name in names for file in simulated_files(name))]
    check_inputs(options.out, planned, [options.config])
    with writing_into(options.out, options.command, SIMULATION_FILE) as folder:
        rngs = np.random.default_rng(seed).spawn(count)
        for i, (name, rng) in enumerate(zip(names, rngs, strict=True)):
            subprogress(progress, i / count, 1.0)(0.0, name)
            if drift is None:
                simulated = simulate_image(config, rng, name)
            else:
                simulated = simulate_series(config, rng, name, drift)
            write_simulated(simulated, folder.place)
        about = {"seed": seed, **config.to_dict()}
        if drift is not None:
            about[_DRIFT] = drift
        folder.finish(about)
    say_warnings(folder.notes)
    say(f"{count} image(s) in {options.out}")
    return 0


def _simulate_sample(options: argparse.Namespace, progress: Progress) -> int:
    from ..simulate.samples import SAMPLES, write_sample

    if options.sample not in SAMPLES:
        raise DefectStrainError(
            f"--sample: got {options.sample!r}, expected one of {', '.join(SAMPLES)}"
        )
    for name in ("config", "material", "images", "size", "pixel_size_pm", "dose", "drift"):
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


def _simulation_config(
    options: argparse.Namespace,
) -> tuple[SimulationConfig, int, float | None]:
    """Settings, seed and drift: of the file or the defaults, with what the options change."""
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
    config = SimulationConfig.from_dict(values, f"{options.config}: ")
    size = None if options.size is None else (options.size, options.size)
    changes = {"shape": size, "pixel_size_pm": options.pixel_size_pm}
    changes |= {"dose_e_per_nm2": options.dose}
    return config.replace(scan=config.scan.replace(**without_none(changes))), seed, drift
