"""Settings of detection and of training."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...config import Config
from ...materials import DEFECT_ROLES
from ...simulate.conditions import Conditions
from ...types import DefectStrainError

CANONICAL_PIXEL_PM = 40.0
"""Pixel size that the network works at: near Nyquist sampling of the paper's probe [pm]."""

DEVICES = ("auto", "cpu", "cuda", "mps")
RENDERERS = ("auto", "numpy", "torch")


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
        Least probability of XY, Y2, V1, V2; a column below it is taken as X2.
    material : str
        Preset of `materials`.
    tile_px : int
        Largest side of the tiles at the network's sampling, rim included [px]; they become smaller
        where the memory doesn't suffice.
    symmetries : int
        Rotations and mirror images averaged over: 1, 4 or 8.
    min_column_probability : float
        Least probability that there is a column at all.
    """

    weights: str | None = None
    device: str = "auto"
    thresholds: tuple[float, ...] = (0.5, 0.5, 0.5, 0.5)
    material: str = "WSe2"
    tile_px: int = 768
    symmetries: int = 4
    min_column_probability: float = 0.3

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise DefectStrainError(
                f"device: got {self.device!r}, expected one of {', '.join(DEVICES)}"
            )
        if len(self.thresholds) != 4 or not all(0 <= t <= 1 for t in self.thresholds):
            raise DefectStrainError(
                f"thresholds: got {self.thresholds}, expected four probabilities "
                "(XY, Y2, V1, V2) between 0 and 1"
            )
        if self.symmetries not in (1, 4, 8):
            raise DefectStrainError(f"symmetries: got {self.symmetries}, expected 1, 4 or 8")
        if self.tile_px < 256 or self.tile_px % 16:
            raise DefectStrainError(
                f"tile_px: got {self.tile_px}, expected a multiple of 16 of at least 256"
            )


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

    features: tuple[int, ...] = (24, 48, 64, 96, 128)
    dropout: float = 0.1
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
    only: str = ""
    steps: int = 10000
    minutes: float | None = None
    batch: int = 8
    window_px: int = 128
    learning_rate: float = 2e-3
    steps_per_epoch: int = 50
    validation_windows: int = 32
    calibration_windows: int = 64
    seed: int = 0
    workers: int = 1
    device: str = "cpu"
    renderer: str = "auto"

    def __post_init__(self) -> None:
        if self.renderer not in RENDERERS:
            raise DefectStrainError(
                f"renderer: got {self.renderer!r}, expected one of {', '.join(RENDERERS)}"
            )
        if self.only and self.only not in DEFECT_ROLES:
            raise DefectStrainError(
                f"only: got {self.only!r}, expected nothing or one of {', '.join(DEFECT_ROLES)}"
            )
        least = {"steps": 1, "batch": 1, "steps_per_epoch": 1, "validation_windows": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise DefectStrainError(
                    f"{name}: got {getattr(self, name)}, expected {value} or more"
                )
        if self.window_px < 32 or self.window_px % 16:
            raise DefectStrainError(
                f"window_px: got {self.window_px}, expected a multiple of 16 of at least 32"
            )
