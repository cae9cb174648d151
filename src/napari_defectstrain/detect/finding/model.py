"""Networks made ready to be asked: found, checked, folded, and joined where each has one class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...materials import ANY_MATERIAL, DEFECT_ROLES, ROLES, Material
from ...types import DefectStrainError, FloatArray
from ..network.bundled import bundled_weights
from ..network.config import DetectConfig
from ..network.device import fast_bfloat16, pick_device
from ..network.folding import FoldedNet, folded
from ..network.weights_file import Weights, load_weights

_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Member:
    """One network of a model, as its file has it and as it is asked.

    Parameters
    ----------
    weights : Weights
    network : ResUNet
        For one material, on its device.
    device : torch.device
    dtype : torch.dtype
        Of its input and its layers but the last.
    """

    weights: Weights
    network: FoldedNet
    device: torch.device
    dtype: torch.dtype

    def label_maps(self, tile: FloatArray) -> Tensor:
        """Probability of each label at each pixel of a tile `(h, w)`: `(labels, h, w)` float32."""
        with torch.inference_mode():
            x = torch.from_numpy(tile).to(self.device, self.dtype)[None, None]  # (1, 1, h, w)
            return torch.softmax(self.network(x), dim=0)


@dataclass(frozen=True)
class Model:
    """What classifies: one network that knows all classes, or one for each class of defects.

    Parameters
    ----------
    members : tuple of Member
    warnings : tuple of str
        What it can't do.
    """

    members: tuple[Member, ...]
    warnings: tuple[str, ...] = ()

    @property
    def stride(self) -> int:
        """Sides of the tiles that it sees are multiples of it [px]."""
        return max(member.network.stride for member in self.members)

    @property
    def sha256(self) -> str:
        """Hash of the weights; those of several networks joined by ``+``."""
        return "+".join(member.weights.sha256 for member in self.members)

    def label_maps(self, tile: FloatArray) -> FloatArray:
        """Probability of each label at each pixel of a tile `(h, w)`: `(labels, h, w)` float32."""
        maps = [member.label_maps(tile) for member in self.members]
        roles = [member.weights.config.only for member in self.members]
        joined = maps[0] if roles == [""] else join_maps(maps, roles)
        return np.asarray(joined.cpu().numpy())

    def calibrate(self, probabilities: FloatArray) -> FloatArray:
        """Probabilities `(N, 7)` that agree with frequencies, where the network knows how."""
        if len(self.members) > 1:
            return probabilities  # each was calibrated for its own question
        return self.members[0].weights.calibrate(probabilities)

    @property
    def overconfidence(self) -> tuple[float, ...]:
        """By role, how many times oftener than it says its columns are of another one."""
        calibration = self.members[0].weights.calibration if len(self.members) == 1 else None
        return () if calibration is None else calibration.overconfidence


def join_maps(maps: Sequence[Tensor], roles: Sequence[str]) -> Tensor:
    """One set of maps from networks that know one class of defects each.

    Each defect gets its probability from its own network; background and metal are the means of
    all; X2 takes the rest. Where the defects ask for more than there is, they share it.

    Parameters
    ----------
    maps : sequence of tensors, `(labels, h, w)`
    roles : sequence of str
        Which of `materials.DEFECT_ROLES` each network knows.
    """
    mean = torch.stack([m[:2] for m in maps]).mean(dim=0)  # (2, h, w)
    joined = torch.zeros_like(maps[0])
    joined[:2] = mean
    for own, role in zip(maps, roles, strict=True):
        label = 1 + ROLES.index(role)
        joined[label] = own[label]
    defects = joined[2:].sum(dim=0)  # (h, w)
    room = (1 - mean.sum(dim=0)).clamp_min(0)
    joined[2:] *= torch.minimum(room / defects.clamp_min(1e-12), torch.ones_like(room))
    joined[1 + ROLES.index("X2")] = (room - defects).clamp_min(0)
    return joined


def find_model(config: DetectConfig, material: Material) -> Model:
    """The networks that `config` asks for, checked and ready.

    Raises
    ------
    DefectStrainError
        If a file is missing, damaged or no weights file; if its network was trained on other
        materials; if several files don't share out the classes; or if the device isn't there.
    """
    device = pick_device(config.device)
    paths = _weights_paths(config.weights, material)
    members = tuple(_member(path, _version(path), material.label, str(device)) for path in paths)
    for path, member in zip(paths, members, strict=True):
        known = member.weights.materials
        if material.label not in known and ANY_MATERIAL not in known:
            raise DefectStrainError(
                f"weights: {path.name} was trained on {', '.join(known)}, expected "
                f"{material.label}; choose a material of the weights, or other weights"
            )
    return Model(members, _shared_out(paths, [m.weights.config.only for m in members]))


def _weights_paths(weights: str | None, material: Material) -> list[Path]:
    if not weights:
        return [bundled_weights(material.label)]
    one = Path(weights)
    if one.is_dir():
        paths = sorted(one.glob("*" + _SUFFIX))
        if not paths:
            raise DefectStrainError(
                f"weights: got the folder {one}, which holds no {_SUFFIX} file; expected one, or "
                "one for each class of defects"
            )
        return paths
    if one.is_file():
        return [one]
    paths = [Path(part) for part in weights.split(os.pathsep) if part]
    for path in paths:
        if not path.is_file():
            raise DefectStrainError(
                f"weights: got {path}, which is no file; expected a {_SUFFIX} file, several "
                f"joined by {os.pathsep!r}, or their folder"
            )
    return paths


def _shared_out(paths: Sequence[Path], roles: Sequence[str]) -> tuple[str, ...]:
    """Warnings of several networks; raises where they don't each know a class of their own."""
    if list(roles) == [""]:
        return ()
    for k, role in enumerate(roles):
        if role == "" or role in roles[:k]:
            knows = "all classes" if role == "" else f"{role}, as another does"
            raise DefectStrainError(
                f"weights: got {len(paths)} files, of which {paths[k].name} knows {knows}; "
                f"expected one file, or one for each of {', '.join(DEFECT_ROLES)}"
            )
    missing = [role for role in DEFECT_ROLES if role not in roles]
    if not missing:
        return ()
    return (f"weights: no network for {', '.join(missing)}: such columns are not looked for",)


def _version(path: Path) -> tuple[int, ...]:
    """What changes when a file is written anew."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


@lru_cache(maxsize=8)
def _member(path: Path, version: tuple[int, ...], material: str, device_name: str) -> Member:
    weights = load_weights(path)
    device = torch.device(device_name)
    # GPUs are fast enough in single precision
    dtype = torch.bfloat16 if device.type == "cpu" and fast_bfloat16(device) else torch.float32
    network = folded(weights.network, material if weights.config.network.conditioned else None)
    network = network.to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.head.float()
    return Member(weights, network, device, dtype)
