"""MRC files (MRC2014, Cheng et al., doi 10.1016/j.jsb.2015.04.002), in either byte order."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from .rasters import DamagedFile, Dataset, check_array, check_size, drop_leading_ones

HEADER_BYTES = 1024
MODES = {0: "i1", 1: "i2", 2: "f4", 3: "complex", 4: "c8", 6: "u2", 12: "f2"}
"""NumPy type of each mode; 3 is a Fourier transform of 16-bit integers, which NumPy has no type
for. 101, two pixels a byte, is left out: no microscope writes it."""

IMOD_STAMP = 1146047817
IMOD_SIGNED = 1
"""IMOD writes mode 0 without a sign where this bit of its flags isn't set; the standard is signed.
"""
FEI_HEADERS = 1024 * 128
"""Bytes of the extended header in which FEI's software keeps the scale [m] instead."""
FEI_PIXEL_SIZE = HEADER_BYTES + 11 * 4


def decode_mrc(path: Path) -> Dataset:
    """The image or stack of an MRC file.

    Raises
    ------
    DamagedFile
        If the header is no MRC header, or promises more than the file holds.
    DefectStrainError
        If it holds no grey image.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        header = stream.read(HEADER_BYTES)
        order = _byte_order(header)
        width, height, depth, mode = struct.unpack_from(order + "4i", header)
        extended = struct.unpack_from(order + "i", header, 92)[0]
        if mode not in MODES:
            raise DamagedFile(f"mode {mode} of MRC, expected one of {', '.join(map(str, MODES))}")
        dtype = _dtype(mode, header, order)
        shape = (depth, height, width)
        if min(shape) < 1 or not 0 <= extended <= size:
            raise DamagedFile(f"an MRC header of {width} x {height} x {depth} px")
        check_array(shape, dtype, path.name)
        check_size(shape, dtype, size - HEADER_BYTES - extended, path.name)
        stream.seek(HEADER_BYTES + extended)
        data = np.fromfile(stream, dtype=dtype, count=math.prod(shape)).reshape(shape)
        stream.seek(0)
        scale = _scale(stream.read(FEI_PIXEL_SIZE + 4), order, extended)
    unit = "nm" if min(scale) > 0 else ""
    return Dataset(drop_leading_ones(data), "", scale if unit else (1.0, 1.0), unit)


def _byte_order(header: bytes) -> str:
    """``<`` or ``>``, by the machine stamp, or by which of them makes sense of the mode."""
    if len(header) < HEADER_BYTES:
        raise DamagedFile("shorter than an MRC header")
    stamp = header[212:214]
    if stamp in (b"\x44\x44", b"\x44\x41"):
        return "<"
    if stamp == b"\x11\x11":
        return ">"
    little, big = (struct.unpack_from(f"{order}i", header, 12)[0] in MODES for order in "<>")
    if not (little or big):
        raise DamagedFile("no MRC header")
    return "<" if little else ">"


def _dtype(mode: int, header: bytes, order: str) -> np.dtype[Any]:
    name = MODES[mode]
    if name == "complex":
        return np.dtype(np.complex64)
    if mode == 0:
        imod, flags = struct.unpack_from(order + "2i", header, 152)
        if imod == IMOD_STAMP and not flags & IMOD_SIGNED:
            return np.dtype("u1")
    return np.dtype(order + name)


def _scale(header: bytes, order: str, extended: int) -> tuple[float, float]:
    """Side of a pixel (y, x) [nm]; 0 where the file doesn't know."""
    if extended == FEI_HEADERS:
        side = struct.unpack_from(order + "f", header, FEI_PIXEL_SIZE)[0] * 1e9
        return side, side
    samples = struct.unpack_from(order + "3i", header, 28)
    cell = struct.unpack_from(order + "3f", header, 40)  # angstrom
    x, y, _ = (length / n / 10 if n > 0 else 0.0 for length, n in zip(cell, samples, strict=True))
    return (y, x) if math.isfinite(x) and math.isfinite(y) else (0.0, 0.0)
