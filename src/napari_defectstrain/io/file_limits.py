"""What PNG, TIA and HDF5 files say they hold against what they can hold, before it is read."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..types import DefectStrainError
from .rasters import DEFLATE_EXPANSION, DamagedFile, check_array, check_size

if TYPE_CHECKING:
    import h5py

PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Values a pixel by the type of colour: grey, RGB, palette, grey and alpha, RGBA."""

SER_TYPES = {1: "u1", 2: "u2", 3: "u4", 4: "i1", 5: "i2", 6: "i4", 7: "f4", 8: "f8"}
SER_TYPES |= {9: "c8", 10: "c16"}
SER_IMAGES = 0x4122
SER_LONG_OFFSETS = 0x0220
"""From this version on offsets have eight bytes."""

HDF5_SMALL = 2**20
"""Datasets of up to this many bytes may be made of a fill value alone."""
HDF5_CHUNKS = 2**20
"""Most chunks of a dataset; an image of 16384² px has 16384 at a row each."""
HDF5_DEPTH = 64
UNIT_LENGTH = 64
"""Longest text of a unit: readers parse it, and a long product takes for ever."""


def check_png(path: Path) -> None:
    """Refuse a picture that is too large for us, or for its file.

    Raises
    ------
    DefectStrainError, DamagedFile
    """
    with path.open("rb") as stream:
        head = stream.read(26)
    if head[:8] != b"\x89PNG\r\n\x1a\n" or len(head) < 26:
        raise DamagedFile("no PNG header")
    width, height, bits, colour = struct.unpack(">IIBB", head[16:])
    check_array((height, width), np.dtype(np.uint8), path.name)
    row = -(-width * PNG_CHANNELS.get(colour, 4) * bits // 8)
    stored = path.stat().st_size
    check_size((height, row), np.dtype(np.uint8), stored, path.name, DEFLATE_EXPANSION)


def check_ser(path: Path) -> None:
    """Refuse a TIA series that promises more than it holds.

    Raises
    ------
    DamagedFile
        If its frames, dimensions or offsets lie beyond its end.
    struct.error
        If it ends within its header.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        order, _, version, kind, _, _, count = struct.unpack("<HHHIIII", stream.read(22))
        if order != 0x4949:
            raise DamagedFile("no header of a TIA series")
        form = "<Q" if version >= SER_LONG_OFFSETS else "<I"
        width = struct.calcsize(form)
        offset = struct.unpack(form, stream.read(width))[0]
        dimensions = struct.unpack("<I", stream.read(4))[0]
        if dimensions > 8 or not 0 < count <= size or offset + count * width > size:
            raise DamagedFile(f"a series of {count} frames in {dimensions} dimensions")
        for _ in range(dimensions):
            stream.seek(24, 1)
            for _ in range(2):  # description and unit
                length = struct.unpack("<I", stream.read(4))[0]
                if length > UNIT_LENGTH * 16:
                    raise DamagedFile(f"a dimension's text of {length} bytes")
                stream.seek(length, 1)
        stream.seek(offset)
        first = struct.unpack(form, stream.read(width))[0]
        stream.seek(first + (40 if kind == SER_IMAGES else 20))
        sides = 2 if kind == SER_IMAGES else 1
        number, *shape = struct.unpack(f"<H{sides}I", stream.read(2 + 4 * sides))
    if number not in SER_TYPES:
        raise DamagedFile(f"values of unknown type {number}")
    dtype = np.dtype(SER_TYPES[number])
    if kind == SER_IMAGES:
        check_array(shape, dtype, path.name)
    check_size((count, *shape), dtype, size, path.name)


def check_hdf5(path: Path) -> None:
    """Refuse an HDF5 file that shows other files' bytes, or promises more than it holds.

    Raises
    ------
    DefectStrainError
        If a link or dataset leads into another file.
    DamagedFile
        If a dataset is larger than its bytes can become, or groups are nested without end.
    OSError
        If it is no HDF5 file.
    """
    import h5py

    with h5py.File(path, "r") as file:
        _check_group(file, path, set(), 0)


def _check_group(group: h5py.Group, path: Path, seen: set[Any], depth: int) -> None:
    import h5py

    if depth > HDF5_DEPTH:
        raise DamagedFile(f"groups nested more than {HDF5_DEPTH} deep")
    _check_units(group)
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise _elsewhere(path, link.filename)
        if isinstance(link, h5py.SoftLink):
            continue  # what it points to is met where it lies
        entry = group.get(name)
        if entry is None or entry.id in seen:
            continue
        seen.add(entry.id)
        if isinstance(entry, h5py.Dataset):
            _check_dataset(entry, path)
        elif isinstance(entry, h5py.Group):
            _check_group(entry, path, seen, depth + 1)


def _check_dataset(dataset: h5py.Dataset, path: Path) -> None:
    if dataset.is_virtual:
        raise _elsewhere(path, dataset.virtual_sources()[0].file_name)
    if dataset.external:
        raise _elsewhere(path, str(dataset.external[0][0]))
    _check_units(dataset)
    if dataset.shape is None:
        return
    if dataset.chunks is not None:
        sides = zip(dataset.shape, dataset.chunks, strict=True)
        if np.prod([-(-n // max(chunk, 1)) for n, chunk in sides], dtype=float) > HDF5_CHUNKS:
            raise DamagedFile(f"the dataset {dataset.name} in chunks of {dataset.chunks}")
    if dataset.nbytes > HDF5_SMALL:
        stored = dataset.id.get_storage_size()
        check_size(dataset.shape, dataset.dtype, stored, path.name, DEFLATE_EXPANSION)


def _check_units(entry: h5py.Dataset | h5py.Group) -> None:
    """Units of Berkeley files are attributes, parsed as expressions."""
    unit = entry.attrs.get("units", "")
    if isinstance(unit, (str, bytes)) and len(unit) > UNIT_LENGTH:
        raise DamagedFile(f"a unit of {len(unit)} characters")


def _elsewhere(path: Path, target: object) -> DefectStrainError:
    return DefectStrainError(
        f"{path}: shows what lies in another file ({target}), expected a file that holds its own "
        "images; export them into one file"
    )
