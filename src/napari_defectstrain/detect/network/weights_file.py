"""Weights files: safetensors with the settings, the training record and a hash inside."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_bytes
from torch import Tensor

from ... import __version__
from ...io.writing import atomic_path
from ...materials import ROLES
from ...types import DefectStrainError, FloatArray
from .calibration import Calibration
from .config import TrainConfig
from .network import ResUNet

_FORMAT = "napari-defectstrain weights 2"


@dataclass(frozen=True)
class Weights:
    """A trained network and what is known of it."""

    network: ResUNet
    config: TrainConfig
    record: tuple[dict[str, float], ...]
    sha256: str

    calibration: Calibration | None = None

    @property
    def materials(self) -> tuple[str, ...]:
        """Materials that the network was trained on."""
        return tuple(dict.fromkeys(self.config.conditions.materials))

    def calibrate(self, probabilities: FloatArray) -> FloatArray:
        """Probabilities `(N, 7)` that agree with frequencies; see `calibration.Calibration`."""
        return probabilities if self.calibration is None else self.calibration.apply(probabilities)


def content_sha256(tensors: dict[str, Tensor], settings: str) -> str:
    """Hash of names, shapes and bytes of all tensors and of the settings' text."""
    digest = hashlib.sha256(settings.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name].detach().cpu().numpy())
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_weights(
    path: Path,
    network: ResUNet,
    config: TrainConfig,
    record: list[dict[str, float]],
    calibration: Calibration | None = None,
) -> str:
    """Write a weights file, whole or not at all; returns its hash.

    Raises
    ------
    DefectStrainError
        If it can't be written.
    """
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    settings = {
        "config": json.dumps(config.to_dict()),
        "record": json.dumps(record),
        "calibration": json.dumps(calibration and calibration.to_dict()),
    }
    sha256 = content_sha256(tensors, "".join(settings.values()))
    metadata = {"format": _FORMAT, "software": __version__, "sha256": sha256, **settings}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save_bytes(tensors, metadata))
    return sha256


def load_weights(path: Path) -> Weights:
    """Read a weights file and check its hash.

    Raises
    ------
    DefectStrainError
        If the file is missing, no safetensors file of ours, damaged, or its contents fit no
        network. Pickles are never opened.
    """
    if not path.is_file():
        raise DefectStrainError(f"weights: got {path}, which is no file; expected a .safetensors")
    tensors, metadata = _read(path)
    if metadata.get("format") != _FORMAT:
        raise DefectStrainError(
            f"weights: {path.name} was not written by this software "
            f"(format {metadata.get('format')!r}, expected {_FORMAT!r})"
        )
    settings = [metadata.get(name, "") for name in ("config", "record", "calibration")]
    sha256 = content_sha256(tensors, "".join(settings))
    if sha256 != metadata.get("sha256"):
        raise DefectStrainError(
            f"weights: {path.name} is damaged: its hash is {sha256[:12]}, "
            f"expected {str(metadata.get('sha256'))[:12]}; get a fresh copy"
        )
    try:
        return _understood(tensors, settings, sha256)
    except Exception as error:  # a right hash says nothing of what it was made from
        reason = " ".join(str(error).split())[:200]
        raise DefectStrainError(
            f"weights: {path.name} holds settings or tensors that fit no network of this version "
            f"({type(error).__name__}: {reason}); train it again, or get another copy"
        ) from error


MAX_FEATURES = 4096
MAX_BLOCKS = 10
"""Feature maps of a block, and blocks, beyond which no network of ours lies."""


def _understood(tensors: dict[str, Tensor], settings: list[str], sha256: str) -> Weights:
    """The network that the tensors belong to; raises anything where they belong to none."""
    values = [json.loads(text) for text in settings]
    config = TrainConfig.from_dict(values[0])
    features = config.network.features
    if not 1 < len(features) <= MAX_BLOCKS or not all(
        isinstance(n, int) and 0 < n <= MAX_FEATURES for n in features
    ):
        raise DefectStrainError(f"features: got {features}")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DefectStrainError(f"{name} is not finite")
    # Shapes are compared with those of the file before any memory is taken for them.
    with torch.device("meta"):
        expected = ResUNet(config.network).state_dict()
    shapes = {name: tuple(value.shape) for name, value in expected.items()}
    if {name: tuple(value.shape) for name, value in tensors.items()} != shapes:
        raise DefectStrainError("the tensors' names or shapes are those of another network")
    network = ResUNet(config.network)
    network.load_state_dict(tensors)
    network.eval()
    materials = config.conditions.materials
    if not materials or not all(isinstance(name, str) for name in materials):
        raise DefectStrainError(f"materials: got {materials}")
    calibration = None if values[2] is None else Calibration.from_dict(values[2])
    if calibration is not None:
        _check_calibration(calibration)
    record = tuple(dict(entry) for entry in values[1])
    return Weights(network, config, record, sha256, calibration)


def _check_calibration(calibration: Calibration) -> None:
    n = len(ROLES)
    lengths = (
        len(calibration.slope),
        len(calibration.offset),
        len(calibration.offset_by_doubt),
        len(calibration.overconfidence),
        len(calibration.confusion),
        *(len(row) for row in calibration.confusion),
    )
    numbers = (
        *calibration.slope,
        *calibration.offset,
        *calibration.offset_by_doubt,
        *calibration.overconfidence,
    )
    if lengths != (2, *(n,) * (4 + n)) or not np.isfinite(numbers).all():
        raise DefectStrainError("a calibration of another shape, or not finite")


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            return {
                name: file.get_tensor(name) for name in list(file.keys())
            }, file.metadata() or {}
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise DefectStrainError(
            f"weights: {path.name} is no safetensors file ({error}); expected a .safetensors file "
            "(pickled .pt and .pth files are refused, because opening one runs its code)"
        ) from error
