"""What an earlier training left behind, looked at before a new one starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ...types import DefectStrainError
from ..network.config import TrainConfig


@dataclass(frozen=True)
class Stopped:
    """A training that can go on.

    Parameters
    ----------
    config : TrainConfig
        Its settings.
    step : int
        Steps done.
    seconds : float
        Time that they took [s].
    record : tuple of dict
        Its log so far, an entry an epoch.
    """

    config: TrainConfig
    step: int
    seconds: float
    record: tuple[dict[str, float], ...]

    def is_done(self, config: TrainConfig) -> bool:
        """Whether nothing is left to do by the steps and minutes of these settings."""
        late = config.minutes is not None and self.seconds >= 60 * config.minutes
        return late or self.step >= config.steps


def checkpoint_of(out: Path) -> Path:
    """Where the training of a weights file keeps its checkpoint."""
    return out.with_name(out.name + ".checkpoint")


def set_aside(out: Path) -> None:
    """Give the files of an earlier training other names, so that none passes for the new one's.

    They stay until the new training has something to show (`forget_earlier`).
    """
    for path in files_of(out):
        path.replace(_earlier(path))


def forget_earlier(out: Path) -> None:
    """Remove what `set_aside` put away."""
    for path in _all_files(out):
        _earlier(path).unlink(missing_ok=True)


def _earlier(path: Path) -> Path:
    return path.with_name(path.name + ".earlier")


def _all_files(out: Path) -> tuple[Path, ...]:
    return out, out.with_name(out.name + ".csv"), checkpoint_of(out)


def files_of(out: Path) -> list[Path]:
    """Which files of a training there are: weights, log, checkpoint."""
    return [path for path in _all_files(out) if path.exists()]


def stopped_training(out: Path) -> Stopped | None:
    """The training that the checkpoint of a weights file holds; None where there is none.

    Raises
    ------
    DefectStrainError
        If the checkpoint is damaged or from another version.
    """
    path = checkpoint_of(out)
    if not path.is_file():
        return None
    state = read_checkpoint(path)
    config, step, seconds = state["config"], state["step"], state["seconds"]
    record = tuple(state["record"])
    try:
        return Stopped(TrainConfig.from_dict(config), step, seconds, record)
    except (DefectStrainError, TypeError, ValueError, AttributeError) as mistake:
        raise DefectStrainError(
            f"{path.name} is of another version ({mistake}): remove it, or give the weights "
            "another name"
        ) from mistake


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds: config, network, optimiser, step, seconds, record.

    Raises
    ------
    DefectStrainError
        If it is no checkpoint, or its contents aren't what one holds.
    """
    import torch

    try:
        # weights_only keeps torch from running code in the file
        state = torch.load(path, map_location="cpu", weights_only=True)
        _check(state)
    except Exception as error:  # torch, pickle and zip have no common error
        raise DefectStrainError(
            f"{path.name} is no checkpoint of a training, or a damaged one "
            f"({type(error).__name__}): remove it, or give the weights another name"
        ) from error
    return cast(dict[str, Any], state)


def _check(state: Any) -> None:
    """Raise ValueError, LookupError or TypeError on anything but the state of a training."""
    step, seconds = state["step"], state["seconds"]
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise ValueError(f"step {step!r}")
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
        raise ValueError(f"seconds {seconds!r}")
    if not all(isinstance(state[name], dict) for name in ("config", "network", "optimiser")):
        raise TypeError("states that are no mappings")
    record = state["record"]
    if not isinstance(record, list) or not all(isinstance(entry, dict) for entry in record):
        raise TypeError("a record that is no list of entries")
    for entry in record:
        if not all(isinstance(value, (int, float)) for value in entry.values()):
            raise TypeError("a record of other things than numbers")
