"""How fast training windows are made: by numpy, by torch on the CPU, by torch on a GPU.

``OMP_NUM_THREADS=1 python benchmarks/bench_renderer.py [--windows 48] [--batch 16 64]`` prints the
time of a window of 128 x 128 px and windows a second: by numpy and torch on one core (time of the
processor, so that other work on the machine counts little); drawing what a window shows, which
the worker processes do; and, where there is an NVIDIA GPU, rendering batches there, and a step of
training.

``--train MINUTES [--device cuda] [--workers 12] [--batch 32] [--learning-rate 2e-3]`` trains anew
for that long, then prints the whole time, validation and calibration included, and how well defects
are found in 12 images of the paper's kind beside its Table S2.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from napari_defectstrain.detect.network.config import DetectConfig, TrainConfig
from napari_defectstrain.detect.network.device import pick_device
from napari_defectstrain.detect.training.loop import Example, _Run, rendered, train
from napari_defectstrain.detect.training.render_jobs import RenderJob, draw_job
from napari_defectstrain.detect.training.renderer import render_batch
from napari_defectstrain.detect.training.windows import draw_window
from napari_defectstrain.simulate.conditions import Conditions

WINDOW_PX = 128
REPEATS = 10


def on_one_core(what: Callable[[], object], windows: int) -> float:
    """Time of the processor by window [s]."""
    start = time.process_time()
    what()
    return (time.process_time() - start) / windows


def on_gpu(what: Callable[[], object]) -> float:
    """Median time until the GPU has done it [s]."""
    seconds = []
    for number in range(REPEATS + 3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        what()
        torch.cuda.synchronize()
        if number >= 3:  # the first calls load kernels and plan transforms
            seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def say(what: str, seconds: float) -> None:
    print(f"{what:<44}{1e3 * seconds:>9.2f}{1 / seconds:>12.0f}", flush=True)


def measure(windows: int, batches: list[int]) -> None:
    conditions = Conditions()
    rng = np.random.default_rng(1)
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    generator = torch.Generator().manual_seed(1)
    draw_window(conditions, WINDOW_PX, rng)
    render_batch([draw_job(conditions, WINDOW_PX, rng)], cpu, generator)
    print(f"{'':<44}{'ms/window':>9}{'windows/s':>12}")

    def by_numpy() -> None:
        for _ in range(windows):
            draw_window(conditions, WINDOW_PX, rng)

    jobs: list[RenderJob] = []

    def draw() -> None:
        jobs.extend(draw_job(conditions, WINDOW_PX, rng) for _ in range(windows))

    whole = on_one_core(by_numpy, windows)
    drawing = on_one_core(draw, windows)
    rendering = on_one_core(lambda: render_batch(jobs, cpu, generator), windows)
    say("numpy, one core: a window", whole)
    say("numpy, one core: drawing what it shows", drawing)
    say("torch, one core: rendering that", rendering)
    say("torch, one core: a window", drawing + rendering)
    print(f"torch is {whole / (drawing + rendering):.1f} times faster than numpy on one core")
    if not torch.cuda.is_available():
        print("no NVIDIA GPU here")
        return
    print(torch.cuda.get_device_name())
    gpu = torch.device("cuda")
    for batch in batches:
        some = [jobs[i % len(jobs)] for i in range(batch)]
        on_gpu_generator = torch.Generator(gpu).manual_seed(1)
        seconds = on_gpu(lambda: render_batch(some, gpu, on_gpu_generator))  # noqa: B023
        say(f"torch, GPU: rendering {batch} at once", seconds / batch)
        config = TrainConfig(batch=batch)
        examples = rendered(some, config, on_gpu_generator)
        image, labels, condition = (torch.stack(part) for part in zip(*examples, strict=True))
        run = _Run(config, Path("unused"), gpu)
        step = on_gpu(lambda: run.learn(Example(image[:, None], labels, condition)))  # noqa: B023
        say(f"training, GPU: a step of {batch}", step / batch)
    most = torch.cuda.max_memory_allocated() / 2**30
    print(f"at most {most:.1f} GiB of the GPU's memory")


def time_training(options: argparse.Namespace) -> None:
    """Train for so long, then score the network beside the paper's table."""
    from bench_detect import Tally, evaluate_case, evaluation_of, simulated_case

    from napari_defectstrain.cli.evaluate import beside_paper
    from napari_defectstrain.evaluation.tables import scores_table
    from napari_defectstrain.materials import get_material
    from napari_defectstrain.simulate.samples import paper_like

    config = TrainConfig(
        steps=10**7,
        minutes=options.train,
        batch=options.batch[0],
        learning_rate=options.learning_rate,
        workers=options.workers,
        device=options.device,
        renderer=options.renderer,
        steps_per_epoch=100,
    )
    with TemporaryDirectory() as folder:
        out = options.out or Path(folder) / "weights.safetensors"
        start = time.perf_counter()

        def tell(entry: object) -> None:
            assert isinstance(entry, dict)
            print(
                f"{entry['minutes']:8.2f} min  step {entry['step']:7.0f}  loss {entry['loss']:.4f}",
                flush=True,
            )

        record = train(config, out, resume=False, on_epoch=tell)
        minutes = (time.perf_counter() - start) / 60
        steps = record[-1]["step"]
        print(
            f"{minutes:.1f} min from nothing to calibrated weights on {pick_device(config.device)}:"
            f" {steps:.0f} steps of {config.batch}, {steps / (60 * options.train):.1f} a second"
        )
        material = get_material("WSe2")
        tally = Tally()
        detect = DetectConfig(weights=str(out), device=config.device)
        rng = np.random.default_rng(options.seed)
        for number in range(12):
            settings = paper_like(rng, float(rng.uniform(0, 360)))
            case = simulated_case(settings, rng, f"paper_{number + 1}")
            evaluate_case(case, detect, material, False, tally)
    table = scores_table(evaluation_of(tally, material))
    print(beside_paper(table).to_string(index=False))
    for name in ("precision", "recall", "balanced_accuracy", "F1"):
        reached = (table[name] >= table[f"paper_{name}"]).sum()
        print(f"{name}: {reached} of {len(table)} classes at or above Table S2")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--windows", type=int, default=48)
    add("--batch", type=int, nargs="+", default=[16, 64])
    add("--train", type=float, metavar="MINUTES")
    add("--device", default="auto")
    add("--renderer", default="auto")
    add("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    add("--learning-rate", type=float, default=TrainConfig().learning_rate)
    add("--seed", type=int, default=777)
    add("--out", type=Path, help="keep the weights (.safetensors)")
    options = parser.parse_args()
    if options.train is None:
        measure(options.windows, options.batch)
    else:
        time_training(options)


if __name__ == "__main__":
    main()
