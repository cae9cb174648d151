"""Velox EMD files: the images in them; spectra beside the images stay where they are.

Groups ``Data/Image/<id>`` hold ``Data`` `(H, W, T)` and ``Metadata``, JSON in bytes, a column a
frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..types import DefectStrainError
from .rasters import DamagedFile, check_array

if TYPE_CHECKING:
    import h5py

IMAGES = "Data/Image"
LABELLED = "Displays/ImageDisplay"
"""What is shown, under which name; maps of elements have theirs here alone."""
OPERATIONS = "Operations"
"""Where versions before 11 say which detector an image comes from."""


@dataclass(frozen=True)
class VeloxImage:
    """An image or series of a Velox file, or why it is none.

    Parameters
    ----------
    data : array, `(H, W)` or `(T, H, W)`, or None
    title : str
        Detector, element or name of the display.
    scale : tuple of float
        Side of a pixel (y, x) in `unit`.
    unit : str
    metadata : mapping
        The file's own, as it is.
    reason : str
        Why there is no `data`.
    """

    data: npt.NDArray[Any] | None
    title: str
    scale: tuple[float, float]
    unit: str
    metadata: Mapping[str, Any]
    reason: str = ""


def is_velox(path: Path) -> bool:
    """Whether an EMD file is one of Velox, and not of Berkeley's kind."""
    import h5py

    with h5py.File(path, "r") as file:
        if "Version" not in file or not isinstance(file["Version"], h5py.Dataset):
            return False
        return _json(file["Version"]).get("format") in ("Velox", "DevelopersKit")


def read_velox(path: Path) -> list[VeloxImage]:
    """The images of a Velox file.

    Raises
    ------
    DamagedFile
        If a part of it is missing.
    """
    import h5py

    with h5py.File(path, "r") as file:
        group = file.get(IMAGES)
        if not isinstance(group, h5py.Group):
            return []
        labels = _labels(file)
        return [_image(group[key], labels.get(key, ""), path.name) for key in group]


def _image(group: h5py.Group, label: str, name: str) -> VeloxImage:
    if "Data" not in group or "Metadata" not in group:
        raise DamagedFile("an image without data or metadata")
    stored = group["Data"]
    raw = np.asarray(group["Metadata"][:, 0], dtype=np.uint8).tobytes()
    metadata = json.loads(raw.rstrip(b"\0").decode("utf-8"))
    if not isinstance(metadata, dict):
        raise DamagedFile("metadata that are no JSON object")
    result = _mapping(metadata.get("BinaryResult"))
    detectors = _mapping(metadata.get("Detectors"))
    index = result.get("DetectorIndex")
    detector = _mapping(detectors.get(f"Detector-{0 if index is None else index}"))
    title = label or str(detector.get("DetectorName") or result.get("Detector") or "")
    size = _mapping(result.get("PixelSize"))
    scale = (float(size.get("height", 1.0)), float(size.get("width", 1.0)))
    unit = str(result.get("PixelUnitX") or "")
    data, reason = _pixels(stored, name)
    return VeloxImage(data, title, scale, unit, metadata, reason)


def _pixels(stored: h5py.Dataset, name: str) -> tuple[npt.NDArray[Any] | None, str]:
    """The frames `(T, H, W)`, or why they are no image."""
    if stored.dtype.names:
        return None, "complex values (a Fourier transform or DPC)"
    if stored.ndim != 3:
        return None, f"{stored.ndim}-dimensional data"
    height, width, frames = stored.shape
    try:
        check_array((frames, height, width), stored.dtype, name)
    except DefectStrainError as error:
        return None, str(error)
    data = np.empty((frames, height, width), dtype=stored.dtype)
    for i in range(frames):  # a frame is a chunk: together they are read many times slower
        data[i] = stored[..., i]
    return data, ""


def _labels(file: h5py.File) -> dict[str, str]:
    """Names of images by their ids."""
    found: dict[str, str] = {}
    for entry in _entries(file.get(OPERATIONS)):
        where = entry.get("dataPath")
        named = entry.get("detector") or entry.get("cameraName")
        if isinstance(where, str) and isinstance(named, str):
            found[where.rsplit("/", 1)[-1]] = named
    shown = [entry for entry in _entries(file.get(LABELLED)) if isinstance(entry.get("data"), str)]
    for entry in shown:
        pointed = file.get(str(entry["data"]))
        where = _mapping(_json(pointed)).get("dataPath") if _is_dataset(pointed) else None
        # "id" of a detector's image is a number: its detector says more
        named = entry.get("id")
        if isinstance(where, str) and isinstance(named, str) and not named.isdigit():
            found[where.rsplit("/", 1)[-1]] = named
    return found


def _entries(group: Any) -> Iterator[Mapping[str, Any]]:
    """JSON objects of a group's datasets, and of those of its groups."""
    import h5py

    for child in group.values() if isinstance(group, h5py.Group) else ():
        if isinstance(child, h5py.Group):
            yield from (_json(entry) for entry in child.values() if _is_dataset(entry))
        elif _is_dataset(child):
            yield _json(child)


def _is_dataset(entry: Any) -> bool:
    import h5py

    return isinstance(entry, h5py.Dataset)


def _json(dataset: h5py.Dataset) -> Mapping[str, Any]:
    """The JSON object of a dataset of one text; empty where it holds nothing of the kind."""
    try:
        value = dataset[0] if dataset.ndim == 1 else dataset[()]
        return _mapping(json.loads(value))
    except (ValueError, TypeError, IndexError, OSError):
        return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
