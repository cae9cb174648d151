"""Training: fresh simulated windows, one network for all classes."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from ...io.writing import atomic_path, check_writable, remove_left_over
from ...materials import ROLES
from ...types import Cancelled, DefectStrainError, IntArray, Progress, no_progress
from ..network.config import TrainConfig
from ..network.device import fast_bfloat16, pick_device
from ..network.network import N_LABELS, ResUNet
from ..network.weights_file import Weights, load_weights, save_weights
from .calibrate import fit_calibration
from .render_jobs import RenderJob, draw_job
from .renderer import render_batch
from .resuming import checkpoint_of, forget_earlier, read_checkpoint, set_aside
from .windows import draw_window

_WARM_UP = 100
_DECAY = 0.3
"""The learning rate falls linearly to zero over this last fraction of the steps."""
_BUFFER_BATCHES = 32
"""Windows kept to be drawn again, in batches."""
_LOSS_STEPS = 20
"""Steps between two looks at the loss on a GPU: each waits until it has done all it was given."""
MASKED = 255
"""Label of pixels that nothing is known of: they have no part in the loss."""
_MORE_BYTES = 1_000_000
"""For the log and the settings in the other files."""


class Example(NamedTuple):
    """A window and its labels, `(h, w)` each, or a batch; the condition `(conditions,)`."""

    image: Tensor
    labels: Tensor
    condition: Tensor


class SimulatedWindows(IterableDataset[Any]):
    """Endless windows, or with `as_jobs` what they show; each worker has a stream of its own.

    A resumed run has new ones.
    """

    def __init__(self, config: TrainConfig, start: int, as_jobs: bool = False) -> None:
        self.config = config
        self.start = start
        self.as_jobs = as_jobs

    def __iter__(self) -> Iterator[Any]:
        info = torch.utils.data.get_worker_info()
        worker = info.id if info else 0
        rng = np.random.default_rng([self.config.seed, 1 + worker, self.start])
        while True:
            if self.as_jobs:
                yield draw_job(self.config.conditions, self.config.window_px, rng)
            else:
                yield draw_example(self.config, rng)


def draw_example(config: TrainConfig, rng: np.random.Generator) -> Example:
    """A fresh window; with `config.only`, all other chalcogen columns count as X2."""
    if config.renderer == "torch":
        job = draw_job(config.conditions, config.window_px, rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        return rendered([job], config, generator)[0]
    window = draw_window(config.conditions, config.window_px, rng)
    labels = torch.from_numpy(window.labels.astype(np.uint8))
    condition = window.condition.astype(np.float32)
    return Example(
        torch.from_numpy(window.image), _wanted(labels, config.only), torch.from_numpy(condition)
    )


def rendered(
    jobs: Sequence[RenderJob], config: TrainConfig, generator: torch.Generator
) -> list[Example]:
    """The windows of jobs, rendered on the device of the generator, where they stay."""
    device = generator.device
    image, labels = render_batch(jobs, device, generator)
    labels = _wanted(labels, config.only)
    known = np.stack([job.condition for job in jobs]).astype(np.float32)
    condition = torch.from_numpy(known).to(device)
    return [Example(*parts) for parts in zip(image[:, 0], labels, condition, strict=True)]


def _wanted(labels: Tensor, only: str) -> Tensor:
    if not only:
        return labels
    metal, host, wanted = (1 + ROLES.index(r) for r in ("metal", "X2", only))
    return labels.masked_fill((labels > metal) & (labels != wanted), host)


def _fresh(config: TrainConfig, start: int, device: torch.device) -> Iterator[list[Example]]:
    """New windows, half a batch at a time; a GPU renders what the workers draw."""
    on_gpu = device.type == "cuda" and config.renderer != "numpy"
    loader = DataLoader(
        SimulatedWindows(config, start, as_jobs=on_gpu),
        batch_size=max(1, config.batch // 2),
        num_workers=config.workers,
        prefetch_factor=8 if config.workers else None,
        collate_fn=list if on_gpu else None,
    )
    seed = int(np.random.default_rng([config.seed, 2, start]).integers(2**63))
    generator = torch.Generator(device if on_gpu else "cpu").manual_seed(seed)
    for drawn in loader:
        if on_gpu:
            yield rendered(drawn, config, generator)
        else:
            yield [Example(*parts) for parts in zip(*drawn, strict=True)]


def batches(config: TrainConfig, start: int, device: torch.device) -> Iterator[Example]:
    """Batches (b, 1, h, w), labels (b, h, w), conditions (b, c) for training from step `start` on.

    Half of every batch is new, half is drawn again from the last `_BUFFER_BATCHES` batches, each
    time in a random one of its eight orientations: simulating costs as much as a step.
    """
    most = _BUFFER_BATCHES * config.batch
    rng = np.random.default_rng([config.seed, 0, start])
    kept: list[Example] = []
    for new in _fresh(config, start, device):
        kept = (kept + new)[-most:]
        chosen = new + [kept[i] for i in rng.integers(0, len(kept), config.batch - len(new))]
        yield stacked([oriented(example, int(rng.integers(8))) for example in chosen])


def stacked(examples: list[Example]) -> Example:
    """Examples as one batch."""
    image, labels, condition = (torch.stack(parts) for parts in zip(*examples, strict=True))
    return Example(image[:, None], labels, condition)


def oriented(example: Example, k: int) -> Example:
    """One of the eight orientations of a square window; a mirrored 2H crystal is a rotated one."""
    image, labels = example.image, example.labels
    if k >= 4:
        image, labels = image.flip(-1), labels.flip(-1)
    return Example(torch.rot90(image, k % 4), torch.rot90(labels, k % 4), example.condition)


def fraction_done(step: int, seconds: float, config: TrainConfig) -> float:
    """How far training has come, by its steps or its minutes, whichever is further."""
    done = step / config.steps
    if config.minutes is not None:
        done = max(done, seconds / (60 * config.minutes) if config.minutes > 0 else 1.0)
    return done


def learning_rate(step: int, done: float, config: TrainConfig) -> float:
    """Warm-up, plateau, linear decay over the last part of the training."""
    warm = min(1.0, (step + 1) / _WARM_UP)
    return config.learning_rate * warm * float(np.clip((1 - done) / _DECAY, 0.0, 1.0))


def confusion(network: ResUNet, examples: Example) -> IntArray:
    """Counts of pixels at columns by true (rows) and given label (columns), background first.

    A column is one count: its central pixel, the middle of its 3 x 3 labelled pixels.
    """
    network.eval()
    counts = np.zeros((N_LABELS, N_LABELS), dtype=np.int64)
    with torch.inference_mode():
        for image, truth, condition in zip(*(part.split(8) for part in examples), strict=True):
            given = network(image, condition).argmax(1)
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


def validation_set(config: TrainConfig) -> Example:
    """Windows of a stream that training never sees, as one batch."""
    rng = np.random.default_rng([config.seed, 10**6])
    return stacked([draw_example(config, rng) for _ in range(config.validation_windows)])


def train(
    config: TrainConfig,
    out: Path,
    resume: bool = True,
    progress: Progress = no_progress,
    on_epoch: Callable[[Mapping[str, float]], None] | None = None,
    start: Path | None = None,
    source: Callable[[TrainConfig, int, torch.device], Iterator[Example]] = batches,
) -> list[dict[str, float]]:
    """Train a network and write its weights.

    Every epoch writes a checkpoint ``<out>.checkpoint`` that a later call with the same settings
    goes on from, the weights so far to `out`, and the log to ``<out>.csv``. At the end the
    probabilities are calibrated.

    Parameters
    ----------
    config : TrainConfig
    out : Path
        Weights file (safetensors).
    resume : bool
        Go on from a checkpoint where there is one. If not, files of an earlier training are set
        aside at once (``.earlier``) and removed when the first checkpoint is written.
    progress : Progress
        Called after every step; when it raises `Cancelled`, a checkpoint is written first.
    on_epoch : callable, optional
        Called with each new entry of the log.
    start : Path, optional
        Weights file to begin with, of a network of the same shape; its hash goes into the
        settings. By default training begins from nothing.
    source : callable
        Gives the batches from a step on; by default all of them are simulated.

    Returns
    -------
    list of dict
        One entry an epoch: step, minutes, loss, precision and recall of each role on the
        validation windows.

    Raises
    ------
    DefectStrainError
        If the files can't be written: before training, or when a disk fills up during it. The last
        checkpoint stays as it was. If the weights to begin with are of a network of another shape.
    """
    device = pick_device(config.device)
    first = None if start is None else load_weights(start)
    if first is not None:
        config = config.replace(started_from=first.sha256)
    run = _Run(config, out, device)
    checkpoint = checkpoint_of(out)
    check_writable(out.parent, run.space_bytes)
    remove_left_over(out.parent)
    if not resume:
        set_aside(out)
    if resume and checkpoint.is_file():
        run.restore(checkpoint)
    elif first is not None:
        run.begin_with(first)
    examples = Example(*(part.to(device) for part in validation_set(config)))
    losses: list[Tensor] = []
    since = time.monotonic()
    done = fraction_done(run.step, run.seconds, config)
    for batch in source(config, run.step, device) if done < 1 else ():
        run.set_learning_rate(learning_rate(run.step, done, config))
        losses.append(run.learn(Example(*(part.to(device) for part in batch))))
        run.seconds += time.monotonic() - since
        done = fraction_done(run.step, run.seconds, config)
        if run.step % config.steps_per_epoch == 0 or done >= 1:
            scores = precision_recall(confusion(run.network, examples))
            minutes = round(run.seconds / 60, 2)
            entry = {
                "step": run.step,
                "minutes": minutes,
                "loss": float(torch.stack(losses).mean()),
            }
            entry |= scores
            losses.clear()
            run.record.append(entry)
            run.write(checkpoint)
            if on_epoch is not None:
                on_epoch(entry)
        try:
            progress(min(done, 0.999), f"step {run.step} of {config.steps}, loss {run.loss:.4f}")
        except Cancelled:
            run.write(checkpoint)
            raise
        if done >= 1:
            break
        since = time.monotonic()  # a pause within `progress` doesn't count
    calibration = fit_calibration(run.network, config, progress)
    save_weights(out, run.network, config, run.record, calibration)
    progress(1.0, f"step {run.step}")
    return run.record


class _Run:
    """A network in training, and how far it has come."""

    def __init__(self, config: TrainConfig, out: Path, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.out = out
        self.network = ResUNet(config.network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=1e-4
        )
        self.step = 0
        self.seconds = 0.0
        self.loss = float("nan")
        self.record: list[dict[str, float]] = []
        self.network.train()

    @property
    def space_bytes(self) -> int:
        """Roughly what its files take at most, with a temporary copy of each [bytes]."""
        network = sum(p.numel() * p.element_size() for p in self.network.parameters())
        weights, checkpoint = network, 3 * network  # with both moments of the optimiser
        return 2 * (weights + checkpoint) + _MORE_BYTES

    def begin_with(self, weights: Weights) -> None:
        """Take a trained network's tensors, before the first step."""
        theirs, mine = weights.config.network, self.config.network
        if (theirs.features, theirs.conditioned) != (mine.features, mine.conditioned):
            raise DefectStrainError(
                f"start: got weights of a network of {theirs.features} feature maps, "
                f"{'' if theirs.conditioned else 'not '}told the material, expected the network of "
                f"the settings: {mine.features}, {'' if mine.conditioned else 'not '}told"
            )
        self.network.load_state_dict(weights.network.state_dict())

    def set_learning_rate(self, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def learn(self, batch: Example) -> Tensor:
        """One step of the optimiser; returns the loss, on the device."""
        # bfloat16 doubles the speed where the processor knows it, and needs no loss scaling
        fast = fast_bfloat16(batch.image.device)
        image = batch.image.contiguous(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=fast):
            logits = self.network(image, batch.condition)
        loss = nn.functional.cross_entropy(logits.float(), batch.labels.long(), ignore_index=MASKED)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        if loss.device.type == "cpu" or self.step % _LOSS_STEPS == 1:
            self.loss = float(loss.detach())
        return loss.detach()

    def write(self, checkpoint: Path) -> None:
        """The checkpoint, and the weights and the log so far."""
        state = {
            "config": self.config.to_dict(),
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "record": self.record,
        }
        # By way of memory: what torch says of a full disk names neither the file nor the reason.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        with atomic_path(checkpoint) as temporary:
            temporary.write_bytes(buffer.getbuffer())
        forget_earlier(self.out)
        save_weights(self.out, self.network, self.config, self.record)
        if self.record:
            _write_log(self.out.with_name(self.out.name + ".csv"), self.record)

    def restore(self, checkpoint: Path) -> None:
        """Go on from a checkpoint."""
        state = read_checkpoint(checkpoint)
        mine = self.config.to_dict()
        differ = [k for k in mine if k not in _FREE and state["config"].get(k) != mine[k]]
        if differ:
            raise DefectStrainError(
                f"{checkpoint.name} was made with other settings ({', '.join(differ)}): give the "
                "same settings, another output, or start anew"
            )
        try:
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
        except Exception as error:  # right settings, and tensors of something else
            raise DefectStrainError(
                f"{checkpoint.name} holds a network of another shape than its settings "
                f"({type(error).__name__}): remove it, or start anew"
            ) from error
        self.step, self.seconds = state["step"], float(state["seconds"])
        self.record = list(state["record"])


_FREE = (
    "steps", "minutes", "workers", "device", "renderer", "steps_per_epoch", "calibration_windows",
)  # fmt: skip
"""Settings that a resumed run may change."""


def _write_log(path: Path, record: list[dict[str, float]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(record[0]))
        writer.writeheader()
        writer.writerows(record)
