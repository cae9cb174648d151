"""Weights files: safetensors with the settings, the training record and a hash inside."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_bytes
from torch import Tensor

from .. import __version__
from ..types import DefectStrainError
from .config import NetworkConfig, TrainConfig
from .network import ResUNet

_FORMAT = "napari-defectstrain weights 1"


@dataclass(frozen=True)
class Weights:
    """A trained network and what is known of it."""

    network: ResUNet
    config: TrainConfig
    record: tuple[dict[str, float], ...]
    sha256: str

    @property
    def material(self) -> str:
        """Preset that the network was trained on."""
        return self.config.conditions.material


def tensors_sha256(tensors: dict[str, Tensor]) -> str:
    """Hash of names, shapes and bytes of all tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name].detach().cpu().numpy())
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_weights(
    path: Path, network: ResUNet, config: TrainConfig, record: list[dict[str, float]]
) -> str:
    """Write a weights file by way of a temporary name; returns its hash."""
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    sha256 = tensors_sha256(tensors)
    metadata = {
        "format": _FORMAT,
        "software": __version__,
        "config": json.dumps(config.to_dict()),
        "record": json.dumps(record),
        "sha256": sha256,
    }
    part = path.with_name(path.name + ".part")
    part.write_bytes(save_bytes(tensors, metadata))
    part.replace(path)
    return sha256


def bundled_weights(material: str) -> Path:
    """Path of the weights shipped for a material.

    Raises
    ------
    DefectStrainError
        If none are shipped for it.
    """
    folder = files("napari_defectstrain.detect.weights")
    name = f"{material.lower()}.safetensors"
    with as_file(folder) as here:
        path = Path(here) / name
        if not path.is_file():
            known = sorted(p.stem for p in Path(here).glob("*.safetensors"))
            raise DefectStrainError(
                f"no weights are bundled for {material}: got that material, expected one of "
                f"{', '.join(known) or 'none'}; give a weights file trained for it"
            )
        return path


def load_weights(path: Path) -> Weights:
    """Read a weights file and check its hash.

    Raises
    ------
    DefectStrainError
        If the file is missing, no safetensors file of ours, or damaged. Pickles are never opened.
    """
    if not path.is_file():
        raise DefectStrainError(f"weights: got {path}, which is no file; expected a .safetensors")
    tensors, metadata = _read(path)
    if metadata.get("format") != _FORMAT:
        raise DefectStrainError(
            f"weights: {path.name} was not written by this software "
            f"(format {metadata.get('format')!r}, expected {_FORMAT!r})"
        )
    sha256 = tensors_sha256(tensors)
    if sha256 != metadata.get("sha256"):
        raise DefectStrainError(
            f"weights: {path.name} is damaged: its hash is {sha256[:12]}, "
            f"expected {str(metadata.get('sha256'))[:12]}; get a fresh copy"
        )
    config = TrainConfig.from_dict(json.loads(metadata["config"]))
    network = ResUNet(NetworkConfig.from_dict(config.network.to_dict()))
    network.load_state_dict(tensors)
    network.eval()
    return Weights(network, config, tuple(json.loads(metadata["record"])), sha256)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            return {
                name: file.get_tensor(name) for name in list(file.keys())
            }, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise DefectStrainError(
            f"weights: {path.name} is no safetensors file ({error}); expected a .safetensors file "
            "(pickled .pt and .pth files are refused, because opening one runs its code)"
        ) from error
