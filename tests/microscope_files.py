"""Small files in the formats of microscope software, written byte by byte for the tests.

The layouts follow the published descriptions of the formats (DM3 and DM4: Chris Boothroyd and
Bernhard Schaffer; TIA series: Chris Boothroyd; MRC2014; Berkeley EMD 0.2; Velox EMD), so that the
readers are tested against something other than themselves.
"""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import tifffile
from PIL import Image

DM_TYPES = {"int16": (1, 2), "float32": (2, 6), "int32": (7, 3), "uint16": (10, 4)}
"""NumPy type: DM's number for the type of an image, and for the type of a tag."""


class _Dm:
    """Tags of a DM3 or DM4 file: big-endian structure, little-endian values."""

    def __init__(self, version: int) -> None:
        self.long = ">i" if version == 3 else ">q"
        self.version = version

    def group(self, tags: list[bytes], *, root: bool = False) -> bytes:
        body = struct.pack(self.long, len(tags)) + b"".join(tags)
        size = b"" if root or self.version == 3 else struct.pack(">q", len(body))
        return b"\x01\x00" + size + body

    def subgroup(self, name: str, tags: list[bytes]) -> bytes:
        return b"\x14" + struct.pack(">h", len(name)) + name.encode() + self.group(tags)

    def tag(self, name: str, info: list[int], value: bytes) -> bytes:
        head = b"%%%%" + struct.pack(self.long, len(info))
        body = head + b"".join(struct.pack(self.long, i) for i in info) + value
        size = b"" if self.version == 3 else struct.pack(">q", len(body))
        return b"\x15" + struct.pack(">h", len(name)) + name.encode() + size + body

    def integer(self, name: str, value: int) -> bytes:
        return self.tag(name, [3], struct.pack("<i", value))

    def real(self, name: str, value: float) -> bytes:
        return self.tag(name, [6], struct.pack("<f", value))

    def text(self, name: str, value: str) -> bytes:
        return self.tag(name, [20, 4, len(value)], value.encode("utf-16-le"))

    def array(self, name: str, array: np.ndarray) -> bytes:
        kind = DM_TYPES[array.dtype.name][1]
        return self.tag(
            name, [20, kind, array.size], array.astype("<" + array.dtype.str[1:]).tobytes()
        )


def write_dm(
    path: Path,
    data: np.ndarray,
    scale: float = 0.02,
    unit: str = "nm",
    voltage: float = 80e3,
    sample_time_us: float = 2.0,
    scale_y: float | None = None,
) -> Path:
    """A .dm3 or .dm4 file (by its suffix) of one image or stack; the last axis runs fastest."""
    version = int(path.suffix[-1])
    dm = _Dm(version)
    scales = [scale, scale if scale_y is None else scale_y] + [1.0] * (data.ndim - 2)
    units = [unit, unit] + [""] * (data.ndim - 2)
    axes = [
        dm.subgroup("", [dm.real("Origin", 0), dm.real("Scale", s), dm.text("Units", u)])
        for s, u in zip(scales, units, strict=True)
    ]
    brightness = [dm.real("Origin", 0), dm.real("Scale", 1), dm.text("Units", "")]
    calibrations = [dm.subgroup("Brightness", brightness), dm.subgroup("Dimension", axes)]
    image_data = [
        dm.subgroup("Calibrations", calibrations),
        dm.array("Data", data),
        dm.integer("DataType", DM_TYPES[data.dtype.name][0]),
        dm.subgroup("Dimensions", [dm.integer("", n) for n in data.shape[::-1]]),
        dm.integer("PixelDepth", data.itemsize),
    ]
    tags = [
        dm.subgroup("Microscope Info", [dm.real("Voltage", voltage)]),
        dm.subgroup("DigiScan", [dm.real("Sample Time", sample_time_us)]),
    ]
    image = [
        dm.subgroup("ImageData", image_data),
        dm.subgroup("ImageTags", tags),
        dm.text("Name", "HAADF"),
    ]
    root = dm.group([dm.subgroup("ImageList", [dm.subgroup("", image)])], root=True)
    head = struct.pack(">i", version) + struct.pack(dm.long, len(root)) + struct.pack(">i", 1)
    path.write_bytes(head + root + b"\x00" * 8)
    return path


def write_ser(path: Path, frames: np.ndarray, pixel_size_m: float) -> Path:
    """A TIA series of frames `(T, H, W)` of uint16; TIA stores the lowest row first."""
    n, height, width = frames.shape
    dimension = struct.pack("<IddIII", n, 0.0, 1.0, 0, 0, 0)
    head_size = 34 + len(dimension)
    elements = []
    for frame in frames:
        calibration = struct.pack("<ddI", 0.0, pixel_size_m, 0)
        shape = struct.pack("<HII", 2, width, height)
        elements.append(calibration * 2 + shape + frame[::-1].astype("<u2").tobytes())
    tag = struct.pack("<HHI", 0x4152, 0, 0)
    first = head_size + 16 * n
    step = len(elements[0]) + len(tag)
    offsets = [first + i * step for i in range(n)]
    tags = [offset + len(elements[0]) for offset in offsets]
    head = struct.pack("<HHHIIII", 0x4949, 0x0197, 0x0220, 0x4122, 0x4152, n, n)
    head += struct.pack("<QI", head_size, 1) + dimension
    head += struct.pack(f"<{2 * n}Q", *offsets, *tags)
    path.write_bytes(head + b"".join(element + tag for element in elements))
    return path


def write_mrc(path: Path, data: np.ndarray, pixel_size_angstrom: float) -> Path:
    """An MRC2014 file of float32, one image or a stack."""
    frames = data[None] if data.ndim == 2 else data
    depth, height, width = frames.shape
    head = bytearray(1024)
    struct.pack_into("<10i", head, 0, width, height, depth, 2, 0, 0, 0, width, height, depth)
    cell = (pixel_size_angstrom * width, pixel_size_angstrom * height, float(depth))
    struct.pack_into("<6f", head, 40, *cell, 90, 90, 90)
    struct.pack_into("<3i", head, 64, 1, 2, 3)
    head[208:216] = b"MAP \x44\x44\x00\x00"
    path.write_bytes(bytes(head) + frames.astype("<f4").tobytes())
    return path


def write_emd(path: Path, data: np.ndarray, pixel_size_nm: float) -> Path:
    """A Berkeley EMD 0.2 file of one image."""
    with h5py.File(path, "w") as file:
        file.attrs["version_major"], file.attrs["version_minor"] = 0, 2
        group = file.create_group("data/scan")
        group.attrs["emd_group_type"] = 1
        group["data"] = data.T  # x runs along the first dimension
        for i, (name, size) in enumerate(zip("xy", data.shape[::-1], strict=True), start=1):
            axis = group.create_dataset(f"dim{i}", data=np.arange(size) * pixel_size_nm)
            axis.attrs["name"], axis.attrs["units"] = name, "[n_m]"
    return path


def write_velox(path: Path, images: dict[str, np.ndarray], pixel_size_m: float) -> Path:
    """A Velox EMD file of several detectors' images `(H, W)` or series `(T, H, W)`."""
    size = {"width": str(pixel_size_m), "height": str(pixel_size_m)}
    with h5py.File(path, "w") as file:
        file["Version"] = np.array([json.dumps({"format": "Velox", "version": "11"}).encode()])
        for index, (title, data) in enumerate(images.items()):
            frames = data[None] if data.ndim == 2 else data
            metadata = {
                "BinaryResult": {"PixelSize": size, "PixelUnitX": "m", "PixelUnitY": "m",
                                 "DetectorIndex": "0", "Offset": {"x": "0", "y": "0"}},
                "Scan": {"DwellTime": "2e-06", "FrameTime": "0.8"},
                "Optics": {"AccelerationVoltage": "80000", "BeamConvergence": "0.025"},
                "Detectors": {"Detector-0": {"DetectorName": title}},
                "Core": {}, "CustomProperties": {}, "Instrument": {},
                "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1600000000"}},
            }  # fmt: skip
            text = np.frombuffer(json.dumps(metadata).encode().ljust(8192, b"\0"), np.uint8)
            group = file.create_group(f"Data/Image/{index:032x}")
            group["Data"] = np.moveaxis(frames, 0, -1)
            group["Metadata"] = np.tile(text[:, None], (1, len(frames)))
    return path


WRITERS: dict[str, Callable[[Path, np.ndarray], object]] = {
    ".dm3": write_dm,
    ".dm4": write_dm,
    ".emd": lambda path, data: write_velox(path, {"HAADF": data}, 2e-11),
    ".ser": lambda path, data: write_ser(path, data[None], 2e-11),
    ".mrc": lambda path, data: write_mrc(path, data, 0.2),
    ".tif": tifffile.imwrite,
    ".tiff": tifffile.imwrite,
    ".png": lambda path, data: Image.fromarray(data).save(path),
    ".npy": np.save,
}
"""What writes an image of each kind that can be read: every suffix must have one."""
