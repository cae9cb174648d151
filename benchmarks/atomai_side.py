"""AtomAI's part of `bench_atomai.py`; runs in an environment with atomai, without this package.

    python atomai_side.py train TRAINING.npz MODEL.pt --minutes 10
    python atomai_side.py predict MODEL.pt IMAGES.npz FOUND.npz

Everything is left as AtomAI sets it (0.8.1): the Unet of 16 filters, cross-entropy, Adam at 1e-3,
batches of 32, a test batch a step, softmax, threshold 0.5, centres of mass. It ends by the clock.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path
from typing import Any

import atomai as aoi
import numpy as np
import torch

THREADS = 1
CYCLES = 100_000  # more than any clock allows


class TimeUp(Exception):
    """The minutes are over."""


class TimedSegmentor(aoi.models.Segmentor):  # type: ignore[misc]
    """A Segmentor whose `fit` raises `TimeUp` at its deadline; the network stays as it is."""

    deadline = np.inf
    steps = 0

    def step(self, e: int) -> None:
        if time.monotonic() > self.deadline:
            raise TimeUp
        super().step(e)
        self.steps += 1


def scaled(images: Any) -> Any:
    """Each image from 0 to 1, as AtomAI's `predict` does with what it is given."""
    low = images.min(axis=(-2, -1), keepdims=True)
    return (images - low) / np.ptp(images, axis=(-2, -1), keepdims=True)


def train(data: Path, model: Path, minutes: float) -> None:
    held = np.load(data)
    images, labels = scaled(held["images"])[:, None], held["labels"].astype(np.int64)
    classes = int(held["classes"])
    # AtomAI counts the classes of the labels it is given; a class that none shows is an error.
    test = slice(0, 32)
    segmentor = TimedSegmentor("Unet", nb_classes=classes)
    segmentor.deadline = time.monotonic() + 60 * minutes
    start = time.monotonic()
    with contextlib.suppress(TimeUp):
        segmentor.fit(
            images[32:],
            labels[32:],
            images[test],
            labels[test],
            training_cycles=CYCLES,
            plot_training_history=False,
            filename=str(model.with_suffix("")),
        )
    losses = segmentor.loss_acc["train_loss"]
    torch.save({"network": segmentor.net.state_dict(), "classes": classes}, model)
    print(
        f"AtomAI {aoi.__version__}: {segmentor.steps} steps of 32 windows in "
        f"{(time.monotonic() - start) / 60:.1f} min, loss {np.mean(losses[-10:]):.3f}, "
        f"{sum(p.numel() for p in segmentor.net.parameters()) / 1e6:.2f} M parameters",
        flush=True,
    )


def predict(model: Path, data: Path, out: Path) -> None:
    state = torch.load(model, weights_only=True)
    segmentor = aoi.models.Segmentor("Unet", nb_classes=state["classes"])
    segmentor.net.load_state_dict(state["network"])
    found, seconds = {}, []
    images = np.load(data)
    names = sorted(images.files)
    segmentor.predict(images[names[0]], verbose=False)  # the first call warms up
    for name in names:
        image = images[name]
        start = time.process_time()
        _, coordinates = segmentor.predict(image, verbose=False)
        seconds.append(time.process_time() - start)
        found[name] = coordinates[0]  # (y, x, class)
    np.savez_compressed(out, seconds=np.array(seconds), **found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("data", type=Path)
    training.add_argument("model", type=Path)
    training.add_argument("--minutes", type=float, default=10.0)
    predicting = commands.add_parser("predict")
    for name in ("model", "images", "out"):
        predicting.add_argument(name, type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    if arguments.command == "train":
        train(arguments.data, arguments.model, arguments.minutes)
    else:
        predict(arguments.model, arguments.images, arguments.out)


if __name__ == "__main__":
    main()
