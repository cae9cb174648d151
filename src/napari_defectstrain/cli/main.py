"""The command line: a thin layer over `pipeline`, `results` and `simulate`.

Each subcommand is a pair of functions: one adds its arguments, one runs it. User mistakes end in
one line on stderr and exit code 2, Ctrl-C in one line and 130.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from tqdm import tqdm

from .. import __version__
from ..config import SEED, checked
from ..crystal.populations import ALL_IMAGES
from ..io.file_names import expand_wildcards, printable
from ..io.files import read_settings, read_sites, write_json
from ..materials import get_material
from ..types import DefectStrainError, Progress, Sites
from . import columns as cli_columns
from . import evaluate as cli_evaluate
from .train import add_train, run_train

if TYPE_CHECKING:
    from ..pipeline.chain import RunConfig, RunResult
    from ..simulate.dataset import SimulationConfig

Command = Callable[[argparse.Namespace, Progress], None]

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; default those of the process.
    """
    options = build_parser().parse_args(arguments)
    command: Command = options.command
    with warnings.catch_warnings(), _ProgressBar() as bar:
        # What the stages warn of is among the warnings of the result, in one voice.
        warnings.filterwarnings("ignore", category=UserWarning, module="napari_defectstrain")
        try:
            if isinstance(getattr(options, "images", None), list):
                options.images = expand_wildcards(options.images)
            command(options, bar.update)
        except DefectStrainError as error:
            return bar.fail(str(error), EXIT_ERROR)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return bar.fail(f"{where}{error.strerror or error}", EXIT_ERROR)
        except MemoryError:
            return bar.fail("out of memory: give fewer or smaller images", EXIT_ERROR)
        except KeyboardInterrupt:
            return bar.fail("stopped; files written so far are complete", EXIT_INTERRUPTED)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    parser = argparse.ArgumentParser(
        prog="defectstrain",
        description="Find point defects in ADF-STEM images of 2D crystals, measure their strain.",
    )
    parser.add_argument("--version", action="version", version=f"defectstrain {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, summary, add_arguments, command in (
        ("run", "from images to strain maps", _add_run, _run),
        ("detect", "find and count the defects only", _add_run, _detect),
        (
            "columns",
            "fit every column of single images",
            cli_columns.add_arguments,
            cli_columns.fit_columns,
        ),
        ("simulate", "make images with known truth", _add_simulate, _simulate),
        (
            "evaluate",
            "how good a detection is, against truth",
            cli_evaluate.add_arguments,
            cli_evaluate.evaluate,
        ),
        ("train", "train the network on simulated images", add_train, run_train),
    ):
        sub = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
        add_arguments(sub)
        sub.set_defaults(command=command)
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="IMAGE",
        help="dm3, dm4, emd, ser, mrc, tif, png, npy",
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    add("--force", action="store_true", help="write into DIR even if it isn't empty")
    add("--figures", default="png", metavar="F,...", help="some of png, pdf, svg (png)")
    add("--pixel-size-pm", type=float, metavar="P", help="pixel size [pm] of all images")
    add("--material", help=cli_columns.material_help(or_else="--weights or --sites"))
    add("--frames", action="store_true", help="a stack holds frames of one region: sum them")
    add("--sites", type=Path, metavar="DIR", help="take <stem>.sites.csv from DIR, don't detect")
    add("--regions", type=Path, metavar="DIR", help="take <stem>.regions.tif from DIR where it is")
    add("--weights", metavar="FILE", help="weights of the network (those of the package)")
    add("--device", help="auto, cpu, cuda or mps (auto)")
    add("--bootstrap", type=int, metavar="M", help="bootstrap samples a class (22500)")
    add("--seed", type=int, metavar="N", help="seed of everything random (0)")
    add(
        "--config",
        type=Path,
        metavar="FILE",
        help="all settings (JSON), for instance an earlier run.json; other options come first",
    )


def _add_simulate(parser: argparse.ArgumentParser) -> None:
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


def _run(options: argparse.Namespace, progress: Progress) -> None:
    from ..output import results
    from ..pipeline import chain as pipeline
    from ..progress import subprogress

    found, files = _detected(options, subprogress(progress, 0.0, 0.6))
    try:
        result = pipeline.measure(found, subprogress(progress, 0.6, 0.95))
    except DefectStrainError as error:
        # The detection took minutes and may be right: it stays.
        results.write_run(found, options.out, files)
        raise DefectStrainError(f"{error} (the detected columns are in {options.out})") from error
    progress(0.95, "writing results")
    formats = results.figure_formats(options.figures)
    files += results.write_measurements(result, options.out, formats)
    results.write_run(result, options.out, files)
    _say_warnings(result.warnings[len(found.warnings) :])
    _say(results.summary(result))
    _say(f"results in {options.out}")


def _detect(options: argparse.Namespace, progress: Progress) -> None:
    from ..output import results

    found, files = _detected(options, progress)
    results.write_run(found, options.out, files)
    table = found.populations
    table = table[table["image"] == ALL_IMAGES].drop(columns="image")
    _say(table.to_string(index=False, float_format="%.4f"))
    _say(f"results in {options.out}")


def _detected(options: argparse.Namespace, progress: Progress) -> tuple[RunResult, list[Path]]:
    """Everything is checked before the work starts; what is found is written at once."""
    from ..crystal.region_files import read_folder
    from ..output import results
    from ..pipeline import chain as pipeline
    from ..pipeline.loading import load_images

    config, formats = _run_config(options), results.figure_formats(options.figures)
    if options.sites is None:
        pipeline.check_weights(config)
    results.check_out_dir(options.out, options.force)
    images, notes = load_images(options.images, config.frames, series=config.series)
    _say_warnings(notes)
    sites = None
    if options.sites is not None:
        sites = _read_sites(options.sites, [image.name for image in images], config.material)
    regions = None
    if options.regions is not None:
        regions = read_folder(options.regions, [image.name for image in images])
    found = pipeline.detect(images, config, sites, progress, regions)
    _say_warnings(found.warnings)
    found = replace(found, warnings=notes + found.warnings)
    return found, results.write_detections(found, options.out, formats)


def _run_config(options: argparse.Namespace) -> RunConfig:
    """Settings of the file, or the defaults, with what the command line changes."""
    from ..pipeline.chain import RunConfig

    values = {} if options.config is None else read_settings(options.config)
    parameters = values.get("parameters", values)  # of a run.json
    config = RunConfig.from_dict(parameters, f"{options.config}: ")
    given = {"weights": options.weights, "device": options.device}
    detect = config.detect.replace(**_without_none(given))
    names = ("material", "pixel_size_pm", "bootstrap", "seed")
    changes = _without_none({name: getattr(options, name) for name in names})
    return config.replace(detect=detect, frames=options.frames or config.frames, **changes)


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _read_sites(folder: Path, names: Sequence[str], material: str) -> list[Sites]:
    if not folder.is_dir():
        raise DefectStrainError(f"--sites {folder}: got no folder, expected one with tables")
    paths = [folder / f"{name}.sites.csv" for name in names]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise DefectStrainError(
            f"--sites {folder}: lacks {', '.join(missing)}; every image needs its table"
        )
    return [read_sites(path, get_material(material).class_names) for path in paths]


def _simulate(options: argparse.Namespace, progress: Progress) -> None:
    from ..output.results import check_out_dir
    from ..progress import subprogress
    from ..simulate.dataset import simulate_image, simulate_series
    from ..simulate.samples import write_simulated

    if options.sample is not None:
        _simulate_sample(options, progress)
        return
    config, seed = _simulation_config(options)
    count = 1 if options.images is None else options.images
    if count < 1:
        raise DefectStrainError(f"--images: got {count}, expected 1 or more")
    check_out_dir(options.out, options.force)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "simulation.json", {"seed": seed, **config.to_dict()})
    for i, rng in enumerate(np.random.default_rng(seed).spawn(count)):
        name = f"simulated_{i + 1}"
        subprogress(progress, i / count, 1.0)(0.0, name)
        if options.drift is None:
            simulated = simulate_image(config, rng, name)
        else:
            simulated = simulate_series(config, rng, name, options.drift)
        write_simulated(simulated, options.out)
    _say(f"{count} image(s) in {options.out}")


def _simulate_sample(options: argparse.Namespace, progress: Progress) -> None:
    from ..output.results import check_out_dir
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
    check_out_dir(options.out, options.force)
    options.out.mkdir(parents=True, exist_ok=True)
    files = write_sample(options.sample, options.out, seed=options.seed, progress=progress)
    _say(f"{len(files)} files in {options.out}")


def _simulation_config(options: argparse.Namespace) -> tuple[SimulationConfig, int]:
    """Settings and seed: of the file, or the defaults, with what the command line changes."""
    from ..simulate.dataset import SimulationConfig

    values = {} if options.config is None else read_settings(options.config)
    seed = checked(Annotated[int, SEED], values.pop("seed", 0), f"{options.config}: seed")
    if options.seed is not None:
        seed = checked(Annotated[int, SEED], options.seed, "--seed")
    crystal = values.get("crystal", {})
    if options.material is not None and isinstance(crystal, dict):
        # of this material: its lattice and brightness, unless the file says otherwise
        values["crystal"] = {**crystal, "material": options.material}
    config = SimulationConfig.from_dict(values, f"{options.config}: ")
    size = None if options.size is None else (options.size, options.size)
    changes = {"shape": size, "pixel_size_pm": options.pixel_size_pm}
    changes |= {"dose_e_per_nm2": options.dose}
    return config.replace(scan=config.scan.replace(**_without_none(changes))), seed


def _say(text: str) -> None:
    tqdm.write(printable(text), file=sys.stdout)


def _say_warnings(texts: Sequence[str]) -> None:
    for text in texts:
        tqdm.write(printable(f"defectstrain: warning: {text}"), file=sys.stderr)


class _ProgressBar:
    """A bar on stderr where that is a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        self._bar = tqdm(
            total=1.0,
            file=sys.stderr,
            disable=None,  # None: only where the file is a terminal
            leave=False,
            bar_format="{percentage:3.0f}% {bar:20} {elapsed} {desc}",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, fraction: float, message: str) -> None:
        """The progress callback."""
        self._bar.set_description_str(message, refresh=False)
        self._bar.n = min(max(fraction, 0.0), 1.0)
        self._bar.refresh()

    def fail(self, message: str, code: int) -> int:
        """Say why in one line and return the exit code."""
        self._bar.close()
        print(printable(f"defectstrain: error: {' '.join(message.split())}"), file=sys.stderr)
        return code
