"""Training: fresh simulated windows, one network for all classes."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from ..materials import ROLES
from ..types import DefectStrainError, FloatArray, IntArray, Progress, no_progress
from .config import TrainConfig
from .device import fast_bfloat16, pick_device
from .network import N_LABELS, ResUNet
from .weights_file import save_weights
from .windows import draw_window

_WARM_UP = 100
_DECAY = 0.3
"""The learning rate falls linearly to zero over this last fraction of the steps."""
_BUFFER = 256


class SimulatedWindows(IterableDataset[tuple[Tensor, Tensor]]):
    """Endless windows; each worker has a stream of its own, a resumed run a new one."""

    def __init__(self, config: TrainConfig, start: int) -> None:
        self.config = config
        self.start = start

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        info = torch.utils.data.get_worker_info()
        worker = info.id if info else 0
        rng = np.random.default_rng([self.config.seed, 1 + worker, self.start])
        while True:
            image, labels = draw_window(self.config.conditions, self.config.window_px, rng)
            yield torch.from_numpy(image), torch.from_numpy(labels.astype(np.uint8))


def batches(config: TrainConfig, start: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (b, 1, h, w) and labels (b, h, w) for training from step `start` on.

    Half of every batch is new, half is drawn again from the last `_BUFFER` windows, each time in a
    random one of its eight orientations: simulating costs as much as a step.
    """
    loader = DataLoader(
        SimulatedWindows(config, start),
        batch_size=max(1, config.batch // 2),
        num_workers=config.workers,
        prefetch_factor=8 if config.workers else None,
    )
    rng = np.random.default_rng([config.seed, 0, start])
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for fresh_images, fresh_labels in loader:
        images = (images + list(fresh_images))[-_BUFFER:]
        labels = (labels + list(fresh_labels))[-_BUFFER:]
        n = len(fresh_images)
        chosen = [*range(len(images) - n, len(images))]
        chosen += rng.integers(0, len(images), config.batch - n).tolist()
        pairs = [_orient(images[i], labels[i], int(rng.integers(8))) for i in chosen]
        yield torch.stack([p[0] for p in pairs])[:, None], torch.stack([p[1] for p in pairs])


def _orient(image: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """One of the eight orientations of a square window; a mirrored 2H crystal is a rotated one."""
    if k >= 4:
        image, labels = image.flip(-1), labels.flip(-1)
    return torch.rot90(image, k % 4), torch.rot90(labels, k % 4)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Warm-up, plateau, linear decay over the last part of the steps."""
    warm = min(1.0, (step + 1) / _WARM_UP)
    decay = min(1.0, (config.steps - step) / max(1.0, _DECAY * config.steps))
    return config.learning_rate * warm * max(decay, 0.0)


def confusion(network: ResUNet, images: Tensor, labels: Tensor) -> IntArray:
    """Counts of pixels at columns by true (rows) and given label (columns), background first.

    A column is one count: its central pixel, the middle of its 3 x 3 labelled pixels.
    """
    network.eval()
    counts = np.zeros((N_LABELS, N_LABELS), dtype=np.int64)
    with torch.inference_mode():
        for image, truth in zip(images.split(8), labels.split(8), strict=True):
            given = network(image).argmax(1)
            inner = truth[:, 1:-1, 1:-1]
            same = torch.ones_like(inner, dtype=torch.bool)
            h, w = truth.shape[1:]
            for dy in range(3):
                for dx in range(3):
                    same &= truth[:, dy : h - 2 + dy, dx : w - 2 + dx] == inner
            centre = same & (inner > 0)
            pair = inner[centre].long() * N_LABELS + given[:, 1:-1, 1:-1][centre]
            counts += np.bincount(pair.cpu().numpy(), minlength=N_LABELS**2).reshape(counts.shape)
    network.train()
    return counts


def precision_recall(counts: IntArray) -> dict[str, float]:
    """Precision and recall of each role from a confusion matrix."""
    out: dict[str, float] = {}
    for role, name in enumerate(ROLES, start=1):
        hit = float(counts[role, role])
        out[f"precision_{name}"] = hit / max(1.0, float(counts[:, role].sum()))
        out[f"recall_{name}"] = hit / max(1.0, float(counts[role].sum()))
    return out


def validation_set(config: TrainConfig) -> tuple[Tensor, Tensor]:
    """Windows of a stream that training never sees, (b, 1, h, w) and (b, h, w)."""
    rng = np.random.default_rng([config.seed, 10**6])
    drawn = [
        draw_window(config.conditions, config.window_px, rng)
        for _ in range(config.validation_windows)
    ]
    images: FloatArray = np.stack([d[0] for d in drawn])
    labels: IntArray = np.stack([d[1] for d in drawn])
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels)


def train(
    config: TrainConfig, out: Path, resume: bool = True, progress: Progress = no_progress
) -> list[dict[str, float]]:
    """Train a network and write its weights.

    Every epoch writes a checkpoint ``<out>.checkpoint`` that a later call with the same settings
    goes on from (`steps` may differ), the weights so far to `out`, and the log to ``<out>.csv``.

    Parameters
    ----------
    config : TrainConfig
    out : Path
        Weights file (safetensors).
    resume : bool
        Go on from a checkpoint where there is one.
    progress : callable

    Returns
    -------
    list of dict
        One entry an epoch: step, loss, precision and recall of each role on validation windows.
    """
    device = pick_device(config.device)
    torch.manual_seed(config.seed)
    network = ResUNet(config.network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=1e-4)
    record: list[dict[str, float]] = []
    start = 0
    checkpoint = out.with_name(out.name + ".checkpoint")
    if resume and checkpoint.is_file():
        start, record = _restore(checkpoint, config, network, optimiser)
    images, labels = (t.to(device) for t in validation_set(config))
    losses: list[float] = []
    network.train()
    for step, (batch, truth) in enumerate(batches(config, start), start=start):
        if step >= config.steps:
            break
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, config)
        losses.append(_step(network, optimiser, batch.to(device), truth.to(device)))
        progress((step + 1) / config.steps, f"loss {losses[-1]:.4f}")
        if (step + 1) % config.steps_per_epoch == 0 or step + 1 == config.steps:
            scores = precision_recall(confusion(network, images, labels))
            record.append({"step": step + 1, "loss": float(np.mean(losses)), **scores})
            losses.clear()
            _write_log(out.with_name(out.name + ".csv"), record)
            save_weights(out, network, config, record)
            _save_checkpoint(checkpoint, config, network, optimiser, step + 1, record)
    return record


def _step(
    network: ResUNet, optimiser: torch.optim.Optimizer, batch: Tensor, truth: Tensor
) -> float:
    # bfloat16 doubles the speed where the processor knows it, and needs no loss scaling
    fast = fast_bfloat16(batch.device)
    with torch.autocast(batch.device.type, dtype=torch.bfloat16, enabled=fast):
        logits = network(batch.contiguous(memory_format=torch.channels_last))
    loss = nn.functional.cross_entropy(logits.float(), truth.long())
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


def _save_checkpoint(
    path: Path,
    config: TrainConfig,
    network: ResUNet,
    optimiser: torch.optim.Optimizer,
    step: int,
    record: list[dict[str, float]],
) -> None:
    part = path.with_name(path.name + ".part")
    torch.save(
        {
            "config": config.to_dict(),
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": step,
            "record": record,
        },
        part,
    )
    os.replace(part, path)


def _restore(
    path: Path, config: TrainConfig, network: ResUNet, optimiser: torch.optim.Optimizer
) -> tuple[int, list[dict[str, float]]]:
    """Go on from a checkpoint; weights_only keeps torch from running code in the file."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["config"]["network"] != config.to_dict()["network"]:
        raise DefectStrainError(
            f"{path.name} holds another network ({state['config']['network']}) than asked for "
            f"({config.to_dict()['network']}): remove it or give another output"
        )
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"]), list(state["record"])


def _write_log(path: Path, record: list[dict[str, float]]) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(record[0]))
        writer.writeheader()
        writer.writerows(record)
    part.replace(path)
