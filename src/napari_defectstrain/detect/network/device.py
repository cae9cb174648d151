"""Which processor computes."""

from __future__ import annotations

import torch

from ...progress import asked_threads
from ...types import DefectStrainError


def pick_device(name: str) -> torch.device:
    """The device asked for; ``auto`` takes a GPU where there is one.

    Raises
    ------
    DefectStrainError
        If the device isn't there.
    """
    if asked_threads() is not None:
        torch.set_num_threads(asked_threads() or 1)
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if there[d]))
    if not there.get(name, False):
        usable = ", ".join(d for d, ok in there.items() if ok)
        raise DefectStrainError(
            f"device: got {name!r}, which this machine lacks; expected one of auto, {usable}"
        )
    return torch.device(name)


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is a gain: on GPUs, and on processors with instructions for it.

    Elsewhere a CPU emulates it, slower than single precision.
    """
    if device.type == "cpu":
        probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(probe and probe())
    return device.type == "cuda" and torch.cuda.is_bf16_supported()
