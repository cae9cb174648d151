"""``defectstrain train``: weights from simulated images."""

from __future__ import annotations

import argparse
import sys
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ..interruptions import put_in_order
from ..io.files import read_settings
from ..io.writing import check_writable
from ..materials import DEFECT_ROLES, get_material
from ..types import DefectStrainError, Progress
from .main import add_set, with_settings

if TYPE_CHECKING:
    from ..detect import TrainConfig


def add_train(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``defectstrain train``."""
    add = parser.add_argument
    add(
        "--config",
        metavar="FILE",
        help="settings (JSON), or the name of a recipe of the package (mx2); default settings "
        "train WSe2 alone",
    )
    add("--out", type=Path, required=True, metavar="FILE", help="weights file (.safetensors)")
    add("--start", type=Path, metavar="FILE", help="weights to begin with, instead of from nothing")
    add("--steps", type=int, metavar="N", help="steps of the optimiser")
    add("--minutes", type=float, metavar="M", help="end after so many minutes")
    add("--seed", type=int, metavar="N", help="seed of everything random")
    add("--workers", type=int, metavar="N", help="processes that simulate")
    add("--device", help="auto, cpu, cuda or mps (cpu)")
    add("--force", action="store_true", help="start anew, even if FILE or its checkpoint are there")
    add_set(parser, 'any setting by its name, such as conditions.materials=["MoS2"]')


def run_train(options: argparse.Namespace, progress: Progress) -> int:
    """Train, or go on from the checkpoint beside the weights file."""
    config_values = {} if options.config is None else _read_recipe(options.config)
    from ..detect.network.config import TrainConfig  # checks settings before torch is imported

    config = TrainConfig.from_dict(config_values, f"{options.config}: ")
    names = ("steps", "minutes", "seed", "workers", "device")
    given = {n: getattr(options, n) for n in names if getattr(options, n) is not None}
    config = with_settings(config, options.settings).replace(**given)
    out: Path = options.out
    checkpoint = out.with_name(out.name + ".checkpoint")
    if out.suffix != ".safetensors":
        raise DefectStrainError(f"--out: got {out.name}, expected a name ending in .safetensors")
    if out.exists() and not checkpoint.exists() and not options.force:
        raise DefectStrainError(
            f"--out: {out} exists and has no checkpoint to go on from; give another name or --force"
        )
    if out.is_dir():
        raise DefectStrainError(f"--out: got the folder {out}, expected a file name")
    check_writable(out.parent)  # before torch is imported
    out.parent.mkdir(parents=True, exist_ok=True)
    from ..detect.training.loop import train

    with put_in_order():
        record = train(
            config,
            out,
            resume=not options.force,
            progress=progress,
            on_epoch=_say_epoch,
            start=options.start,
        )
    if record:
        log = _draw_course(out, config)
        tqdm.write(
            f"{out}: {record[-1]['step']:.0f} steps, log in {log.name}, drawn in {log.stem}.png",
            file=sys.stdout,
        )
    return 0


def _draw_course(out: Path, config: TrainConfig) -> Path:
    """The figure of a training beside its weights and its log; returns the log."""
    from ..output import read_training_log, save_figure, training_figure

    log = out.with_name(out.name + ".csv")
    materials = set(config.conditions.materials)
    material = get_material(materials.pop()) if len(materials) == 1 else None
    figure = training_figure(read_training_log(log), material, config.steps_per_epoch)
    save_figure(figure, log.with_suffix(".png"))
    return log


def _say_epoch(entry: Any) -> None:
    f1 = []
    for role in DEFECT_ROLES:
        p, r = entry[f"precision_{role}"], entry[f"recall_{role}"]
        f1.append(f"{role} {2 * p * r / max(p + r, 1e-9):.3f}")
    minutes = entry["minutes"]
    tqdm.write(
        f"{minutes:7.1f} min  step {entry['step']:6.0f}  loss {entry['loss']:.4f}  F1 of windows: "
        + ", ".join(f1),
        file=sys.stdout,
    )
    sys.stdout.flush()


def _read_recipe(name: str) -> dict[str, Any]:
    with as_file(files("napari_defectstrain.detect.recipes")) as folder:
        recipe = Path(folder) / f"{name}.json"
        return read_settings(recipe if recipe.is_file() else Path(name))
