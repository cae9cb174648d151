"""The weights that are shipped, and the materials they serve; without reading the weights."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...materials import ANY_MATERIAL
from ...types import DefectStrainError

if TYPE_CHECKING:
    from ...simulate.conditions import Conditions

_LENGTH_BYTES = 8  # of the header, which safetensors files begin with


def bundled_weights(material: str) -> Path:
    """Path of the weights shipped for a material: a file of its own, else that of the family.

    Raises
    ------
    DefectStrainError
        If none are shipped for it.
    """
    with as_file(files("napari_defectstrain.detect.weights")) as folder:
        found = sorted(
            Path(folder).glob("*.safetensors"), key=lambda p: (p.stem != material.lower(), p)
        )
        for path in found:
            known = _materials_of(path, path.stat().st_mtime_ns)
            if material in known or ANY_MATERIAL in known:
                return path
    raise DefectStrainError(
        f"no weights are bundled for {material}: got that material, expected one of "
        f"{', '.join(bundled_materials()) or 'none'}; give a weights file trained for it"
    )


def bundled_materials() -> tuple[str, ...]:
    """Names of the materials that weights are shipped for by name."""
    with as_file(files("napari_defectstrain.detect.weights")) as folder:
        paths = sorted(Path(folder).glob("*.safetensors"))
        served = {m for path in paths for m in _materials_of(path, path.stat().st_mtime_ns)}
    return tuple(sorted(served - {ANY_MATERIAL}))


def trained_conditions(path: Path) -> Conditions:
    """The conditions that the images of a network's training were drawn from.

    From the file's header alone.

    Raises
    ------
    DefectStrainError
        If the file is no weights file of ours.
    """
    from ...simulate.conditions import Conditions

    try:
        values = _header(path, path.stat().st_mtime_ns)["conditions"]
    except (OSError, KeyError, ValueError) as error:
        raise DefectStrainError(f"{path}: got no weights file of ours: {error}") from error
    return Conditions.from_dict(values, f"{path.name}: conditions.")


def _materials_of(path: Path, modified_ns: int) -> tuple[str, ...]:
    """Materials of the training."""
    return tuple(dict.fromkeys(_header(path, modified_ns)["conditions"]["materials"]))


@lru_cache(maxsize=16)
def _header(path: Path, modified_ns: int) -> dict[str, Any]:
    """Settings of the training, from the file's header alone."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if length > path.stat().st_size:
            raise ValueError("its header is longer than the file")
        header = json.loads(stream.read(length))
    config: dict[str, Any] = json.loads(header["__metadata__"]["config"])
    return config
