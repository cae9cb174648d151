"""Which network learns most in the same time: today's, one twice as wide, one that sees more.

``python benchmarks/bench_sizes.py --minutes 60 [--device cuda] [--workers 14] [--batch 64]
[--learning-rate 3e-3] [--out FOLDER]`` trains each anew on the recipe of the package, all for the
same time on the same machine, and prints what each has seen and the F1 of its columns in windows
of 256 x 256 px that none of them saw, one row for each kind of window. With ``--out`` the weights
are kept there, without calibration. ``--score FILE ...`` scores weights that there are.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from napari_defectstrain.detect.network.config import NetworkConfig, TrainConfig
from napari_defectstrain.detect.network.device import pick_device
from napari_defectstrain.detect.network.weights_file import load_weights
from napari_defectstrain.detect.training.loop import Example, confusion, train
from napari_defectstrain.detect.training.windows import Window, draw_window
from napari_defectstrain.materials import DEFECT_ROLES, ROLES
from napari_defectstrain.simulate.conditions import Conditions
from napari_defectstrain.simulate.structure import LAYERED

WINDOW_PX = 256
SEED = 777
SIZES: dict[str, tuple[NetworkConfig, int, int]] = {
    "today's": (NetworkConfig(), 128, 1),
    "twice as wide": (NetworkConfig(features=(48, 96, 128, 192, 256)), 128, 1),
    "256 px": (NetworkConfig(), 256, 4),
}
"""Network, side of its windows, and by how much its batches are smaller."""


def recipe() -> dict[str, object]:
    text = files("napari_defectstrain.detect").joinpath("recipes/mx2.json").read_text()
    return dict(json.loads(text))


def kinds() -> dict[str, Conditions]:
    """Conditions of the windows that networks are scored on."""
    everything = TrainConfig.from_dict(recipe()).conditions
    four = everything.replace(materials=("WSe2", "WSe2", "MoS2", "WS2", "MoSe2"))
    raw = {"processed": 0.0, "correlated": (0.0, 30.0, 300.0)}
    return {
        "all conditions, four materials": four,
        "as measured, raw": four.as_measured().replace(**raw),
        "processed": four.replace(processed=1.0),
        "bilayers, graphene, hBN": four.replace(patterns=LAYERED),
        "S in WSe2": everything.replace(
            materials=("WSe2",), lighter=(1.0, 0.08), patterns=("whole",)
        ),
        "alloys of two metals": four.replace(alloy=(1.0, 0.5), patterns=("whole",)),
        "other materials": everything.replace(
            materials=("MoTe2", "WTe2", "NbSe2(S, 344.5)", "any")
        ),
    }


def _drawn(task: tuple[Conditions, int, int]) -> Window:
    conditions, kind, number = task
    return draw_window(conditions, WINDOW_PX, np.random.default_rng([SEED, kind, number]))


def held_out(windows: int, workers: int) -> dict[str, list[Window]]:
    """So many windows of each kind, the same ones every time."""
    named = kinds()
    tasks = [(c, kind, i) for kind, c in enumerate(named.values()) for i in range(windows)]
    with multiprocessing.get_context("forkserver").Pool(max(1, workers)) as pool:
        drawn = pool.map(_drawn, tasks, chunksize=2)
    return {name: drawn[i * windows : (i + 1) * windows] for i, name in enumerate(named)}


def example_of(windows: list[Window], device: torch.device) -> Example:
    return Example(
        torch.from_numpy(np.stack([w.image for w in windows]))[:, None].float().to(device),
        torch.from_numpy(np.stack([w.labels for w in windows]).astype(np.uint8)).to(device),
        torch.from_numpy(np.stack([w.condition for w in windows])).float().to(device),
    )


def score(named: Iterable[tuple[str, Path]], sets: dict[str, list[Window]], device: str) -> None:
    """Print F1 by kind of window and network."""
    on = pick_device(device)
    print(f"{'windows':<32}{'network':<16}{'defects':>8} " + "".join(f"{r:>8}" for r in ROLES))
    networks = [(name, load_weights(path).network.to(on)) for name, path in named]
    for kind, windows in sets.items():
        for name, network in networks:
            counts = confusion(network, example_of(windows, on))
            hit = np.diag(counts)[1:]
            f1 = 2 * hit / np.maximum(1, counts[1:].sum(axis=1) + counts[1:, 1:].sum(axis=0))
            mean = np.mean([f1[ROLES.index(role)] for role in DEFECT_ROLES])
            print(
                f"{kind:<32}{name:<16}{mean:8.3f} " + "".join(f"{v:8.3f}" for v in f1), flush=True
            )


def compare(options: argparse.Namespace, folder: Path) -> list[tuple[str, Path]]:
    """Train every size for the same time."""
    made = []
    for name, (network, window_px, smaller) in SIZES.items():
        config = TrainConfig.from_dict(recipe()).replace(
            network=network,
            window_px=window_px,
            batch=max(2, options.batch // smaller),
            learning_rate=options.learning_rate,
            steps=10**7,
            minutes=options.minutes,
            steps_per_epoch=200,
            workers=options.workers,
            device=options.device,
            calibration_windows=0,
        )
        out = folder / f"{name.replace(' ', '_').replace(chr(39), '')}.safetensors"
        cpu = time.process_time()
        record = train(config, out, resume=False)
        steps = int(record[-1]["step"])
        print(
            f"{name}: {steps} steps of {config.batch} windows of {window_px} px, "
            f"{steps * config.batch} windows seen, loss {record[-1]['loss']:.4f}, "
            f"{time.process_time() - cpu:.0f} CPU s without workers",
            flush=True,
        )
        made.append((name, out))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--minutes", type=float, default=60.0)
    add("--device", default="auto")
    add("--workers", type=int, default=max(0, (os.cpu_count() or 2) - 2))
    add("--batch", type=int, default=8)
    add("--learning-rate", type=float, default=TrainConfig().learning_rate)
    add("--windows", type=int, default=48, help="of each kind to score on")
    add("--score", type=Path, nargs="+", default=[])
    add("--out", type=Path)
    options = parser.parse_args()
    sets = held_out(options.windows, options.workers)
    if options.score:
        score([(p.stem[:15], p) for p in options.score], sets, options.device)
        return
    with TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        score(compare(options, folder), sets, options.device)


if __name__ == "__main__":
    main()
