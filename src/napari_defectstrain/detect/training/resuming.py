"""What an earlier training left behind, looked at before a new one starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    import pickle

    import torch

    try:
        # weights_only keeps torch from running code in the file
        state = torch.load(path, map_location="cpu", weights_only=True)
        config, step, seconds = state["config"], int(state["step"]), float(state["seconds"])
        record = tuple(state["record"])
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, LookupError, TypeError) as e:
        raise DefectStrainError(
            f"{path.name} is no checkpoint of a training, or a damaged one ({type(e).__name__}): "
            "remove it, or give the weights another name"
        ) from e
    try:
        return Stopped(TrainConfig.from_dict(config), step, seconds, record)
    except DefectStrainError as mistake:
        raise DefectStrainError(
            f"{path.name} is of another version ({mistake}): remove it, or give the weights "
            "another name"
        ) from mistake
