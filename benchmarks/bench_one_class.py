"""One network for all classes against one for SV alone, as each of the paper's four is.

``python benchmarks/bench_one_class.py [--minutes 4]`` trains both on WSe2 for the same time, side
by side, each on one core, and prints their F1 of SV on the same fresh images of the paper's kind.
Four such networks take four times as long to train and to ask.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from pathlib import Path

import numpy as np
import torch
from bench_detect import Tally, evaluate_case, simulated_case

from napari_defectstrain.detect.network.config import DetectConfig, TrainConfig
from napari_defectstrain.detect.training.loop import train
from napari_defectstrain.evaluation.score import scores
from napari_defectstrain.materials import WSE2
from napari_defectstrain.simulate.samples import paper_like


def learn(only: str, minutes: float, out: Path) -> None:
    torch.set_num_threads(1)
    config = TrainConfig(
        only=only,
        minutes=minutes,
        steps=10**6,
        workers=0,
        renderer="torch",
        validation_windows=4,
        calibration_windows=8,
    )
    record = train(config, out)
    print(f"{only or 'all classes'}: {record[-1]['step']:.0f} steps", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--images", type=int, default=4)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        paths = {only: Path(folder) / f"{only or 'all'}.safetensors" for only in ("", "V1")}
        jobs = [
            context.Process(target=learn, args=(only, options.minutes, path))
            for only, path in paths.items()
        ]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        for only, path in paths.items():
            rng = np.random.default_rng(99)
            tally = Tally()
            for number in range(options.images):
                case = simulated_case(
                    paper_like(rng, float(rng.uniform(0, 360))), rng, f"paper_{number}"
                )
                config = DetectConfig(weights=str(path), device="cpu")
                evaluate_case(case, config, WSE2, False, tally)
            counts = np.sum([c.counts for c in tally.found], axis=0)
            row = scores(counts, WSE2.class_names).set_index("class").loc["SV"]
            print(f"{only or 'all classes'}: " + row.round(4).to_string().replace("\n", ", "))


if __name__ == "__main__":
    main()
