"""Settings of detection and of training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from ...config import SEED, Between, Config, Length, OneOf
from ...materials import DEFECT_ROLES
from ...simulate.conditions import Conditions
from ...types import DefectStrainError

CANONICAL_PIXEL_PM = 40.0
"""Pixel size that the network works at: near Nyquist sampling of the paper's probe [pm]."""

DEVICES = ("auto", "cpu", "cuda", "mps")
RENDERERS = ("auto", "numpy", "torch")
_FEATURES = (24, 48, 64, 96, 128)
_DEPTHS = range(2, 9)


@dataclass(frozen=True)
class DetectConfig(Config):
    """Settings of detection.

    Parameters
    ----------
    weights : str or None
        Weights file (safetensors); None takes the bundled one of the material. Networks that know
        one class each: their folder, or their files joined by the system's path separator.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    thresholds : tuple of float
        Least probability of XY, Y2, V1, V2; a column below it is taken as X2. Columns that are
        judged are of their most probable class where all four are one half, the default.
    material : str
        Preset of `materials`.
    tile_px : int
        Largest side of the tiles at the network's sampling, rim included [px]; they become smaller
        where the memory doesn't suffice.
    symmetries : int
        Rotations and mirror images averaged over: 1, 2, 4 or 8.
    min_column_probability : float
        Least probability that there is a column at all.
    """

    weights: str | None = None
    device: Annotated[str, OneOf(DEVICES)] = "auto"
    thresholds: Annotated[tuple[float, ...], Length(len(DEFECT_ROLES)), Between(0, 1)] = (
        0.5,
    ) * len(DEFECT_ROLES)
    material: str = "WSe2"
    tile_px: Annotated[int, Between(256, 2**15)] = 768
    symmetries: Annotated[int, OneOf((1, 2, 4, 8))] = 1
    min_column_probability: Annotated[float, Between(0, 1)] = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tile_px % 16:
            raise DefectStrainError(f"tile_px: got {self.tile_px}, expected a multiple of 16")


@dataclass(frozen=True)
class NetworkConfig(Config):
    """Shape of the ResUNet.

    Parameters
    ----------
    features : tuple of int
        Feature maps of each residual block on the way down; the last is the bottom.
    dropout : float
        Dropout between the blocks.
    conditioned : bool
        Whether it is told the material (`condition.material_condition`), so that one network
        serves several.
    """

    features: Annotated[tuple[int, ...], Length(*_DEPTHS), Between(1, 4096)] = _FEATURES
    dropout: Annotated[float, Between(0, 0.99)] = 0.1
    conditioned: bool = True


@dataclass(frozen=True)
class TrainConfig(Config):
    """Settings of a training run.

    Parameters
    ----------
    conditions : Conditions
        Distribution of the training images.
    network : NetworkConfig
    only : str
        A role: the network tells columns of this role from all others, as each of the paper's four
        does; empty for all roles in one network.
    steps : int
        Steps of the optimiser.
    minutes : float or None
        Time after which training has ended, however many steps that were: the learning rate falls
        with whichever is further, time or steps.
    batch, window_px : int
        Windows a step and their side [px].
    learning_rate : float
        Peak of the one-cycle schedule.
    steps_per_epoch : int
        Steps between two lines of the log and two checkpoints.
    validation_windows : int
        Windows, never trained on, that precision and recall are measured on.
    calibration_windows : int
        Images of twice that side that the probabilities are calibrated on at the end.
    started_from : str
        Hash of the weights that training began with, which `train` fills in; empty for none.
    seed : int
    workers : int
        Processes that simulate windows.
    device : str
    renderer : str
        What renders windows: ``numpy``, ``torch`` (in batches on an NVIDIA GPU, in the workers
        elsewhere), or ``auto``: torch on an NVIDIA GPU, numpy elsewhere.
    """

    conditions: Conditions = field(default_factory=Conditions)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    only: Annotated[str, OneOf(("", *DEFECT_ROLES))] = ""
    steps: Annotated[int, Between(1, 10**9)] = 10000
    minutes: Annotated[float, Between(0, 1e7)] | None = None
    batch: Annotated[int, Between(1, 4096)] = 8
    window_px: Annotated[int, Between(32, 4096)] = 128
    learning_rate: Annotated[float, Between(1e-9, 10)] = 2e-3
    steps_per_epoch: Annotated[int, Between(1, 10**9)] = 50
    validation_windows: Annotated[int, Between(1, 10**6)] = 32
    calibration_windows: Annotated[int, Between(0, 10**6)] = 64
    started_from: str = ""
    seed: Annotated[int, SEED] = 0
    workers: Annotated[int, Between(0, 1024)] = 1
    device: Annotated[str, OneOf(DEVICES)] = "cpu"
    renderer: Annotated[str, OneOf(RENDERERS)] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window_px % 16:
            raise DefectStrainError(f"window_px: got {self.window_px}, expected a multiple of 16")
