"""Decoders of image files: RosettaSciIO, tifffile, Pillow and NumPy to arrays with a stated scale.

A file gives one `Dataset` for each image or stack of images in it. Spectra, diffraction patterns
and whatever else is no real-space image are left out, and are an error where there is nothing else.
"""

from __future__ import annotations

import importlib
import re
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..types import DefectStrainError
from .rasters import Dataset, check_array, drop_leading_ones, grey_values

ROSETTASCIIO = {
    ".dm3": "rsciio.digitalmicrograph",
    ".dm4": "rsciio.digitalmicrograph",
    ".emd": "rsciio.emd",
    ".ser": "rsciio.tia",
    ".mrc": "rsciio.mrc",
}
SUFFIXES = (*ROSETTASCIIO, ".tif", ".tiff", ".png", ".npy")

# Where acquisition software keeps the beam energy, the convergence semi-angle and the dwell time:
# the end of the path in the tree of the file's own metadata, and the factor to keV, mrad or µs.
BEAM_ENERGY = (
    (("Microscope Info", "Voltage"), 1e-3),
    (("Optics", "AccelerationVoltage"), 1e-3),
    (("ExperimentalDescription", "High tension_kV"), 1.0),
    (("Acquisition_instrument", "TEM", "beam_energy"), 1.0),
)
SEMI_ANGLE = (
    (("Optics", "BeamConvergence"), 1e3),
    (("Acquisition_instrument", "TEM", "convergence_angle"), 1.0),
)
DWELL_TIME = (
    (("DigiScan", "Sample Time"), 1.0),
    (("Scan", "DwellTime"), 1e6),
    (("AcquireInfo", "DwellTimePath"), 1e6),
)


def decode(path: Path) -> list[Dataset]:
    """All images of a file.

    Raises
    ------
    DefectStrainError
        If the file is missing, unreadable, empty, damaged, of an unknown kind, or holds no
        real-space grey image.
    """
    suffix = path.suffix.lower()
    _check_file(path, suffix)
    try:
        if suffix in ROSETTASCIIO:
            return _decode_microscope(path, suffix)
        if suffix == ".png":
            return [_decode_png(path)]
        if suffix == ".npy":
            return [_decode_npy(path)]
        from .tiff import decode_tiff

        return decode_tiff(path)
    except DefectStrainError:
        raise
    except PermissionError as error:
        raise DefectStrainError(f"{path}: can't be read: {error.strerror}") from error
    except _damage() as error:
        reason = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        raise DefectStrainError(
            f"{path}: not a readable {suffix} image, or a damaged or cut-off one ({reason}); "
            "copy it again from its source or export it as TIFF"
        ) from error


def _check_file(path: Path, suffix: str) -> None:
    try:
        if path.is_dir():
            raise DefectStrainError(f"{path}: got a folder, expected an image file")
        size = path.stat().st_size
    except FileNotFoundError:
        raise DefectStrainError(f"{path}: there is no such file") from None
    except OSError as error:
        raise DefectStrainError(f"{path}: can't be read: {error.strerror}") from error
    if suffix not in SUFFIXES:
        raise DefectStrainError(
            f"{path}: not a known kind of image: got a file {suffix or 'without suffix'}, "
            f"expected one of {', '.join(SUFFIXES)}"
        )
    if size == 0:
        raise DefectStrainError(f"{path}: the file is empty; copy it again from its source")


def _damage() -> tuple[type[Exception], ...]:
    """What the decoders raise on files that are damaged or not what their suffix says.

    They promise no error type: a flipped byte may surface as any of these. They are named, so
    that a mistake of our own, such as a NameError, isn't taken for a damaged file.
    """
    import tifffile
    from PIL import Image
    from rsciio import exceptions as rosettasciio

    return (
        # ValueError includes that of NumPy, JSON, Unicode; OSError that of Pillow and HDF5.
        *(ValueError, OSError, EOFError, LookupError, TypeError, AttributeError),
        *(ArithmeticError, AssertionError, RuntimeError, SyntaxError, MemoryError),
        *(struct.error, zlib.error, tifffile.TiffFileError, Image.DecompressionBombError),
        *(rosettasciio.ByteOrderError, rosettasciio.DM3FileVersionError),
        *(rosettasciio.DM3TagError, rosettasciio.DM3DataTypeError),
        *(rosettasciio.DM3TagTypeError, rosettasciio.DM3TagIDError),
    )


def _decode_microscope(path: Path, suffix: str) -> list[Dataset]:
    reader = importlib.import_module(ROSETTASCIIO[suffix]).file_reader
    companion = _emi_metadata(path) if suffix == ".ser" else {}
    datasets: list[Dataset] = []
    reasons: list[str] = []
    for content in cast(list[dict[str, Any]], reader(str(path))):
        dataset = _dataset(content, companion, path.name)
        if isinstance(dataset, Dataset):
            datasets.append(dataset)
        else:
            reasons.append(dataset)
    if not datasets:
        raise DefectStrainError(
            f"{path}: no image in real space in this file ({'; '.join(reasons) or 'no data'})"
        )
    return datasets


def _dataset(content: Mapping[str, Any], companion: Mapping[str, Any], name: str) -> Dataset | str:
    """What RosettaSciIO found, or why it is no image."""
    data = drop_leading_ones(np.asarray(content["data"]))
    axes = sorted(content["axes"], key=lambda axis: int(axis.get("index_in_array") or 0))
    units = [str(axis.get("units") or "") for axis in axes[-data.ndim :]]
    reason = _not_an_image(data.ndim, units)
    if reason:
        return reason
    try:
        check_array(data.shape, data.dtype, name)
    except DefectStrainError as error:
        return str(error)
    if units[-1] != units[-2]:
        return f"different units down ({units[-2]}) and across ({units[-1]})"
    scale_y, scale_x = (float(axis.get("scale", 1.0)) for axis in axes[-2:])
    unit = "" if scale_y == scale_x == -1 else units[-1]  # -1 nm: an MRC file's "not calibrated"
    general = content["metadata"].get("General", {})
    trees = (content["metadata"], content.get("original_metadata", {}), companion)
    title = str(general.get("title") or "")
    return Dataset(data, title, (abs(scale_y), abs(scale_x)), unit, _acquisition(trees))


def _not_an_image(ndim: int, units: Sequence[str]) -> str:
    """Why an array with axes of these units is no image in real space; empty if it is one."""
    if ndim not in (2, 3):
        return f"{ndim}-dimensional data"
    if any(re.search(r"eV|rad|Hz", unit) for unit in units):
        return f"a spectrum or an angular signal (units {', '.join(filter(None, units))})"
    if any(re.search(r"1\s*/|-1", unit) for unit in units[-2:]):
        return f"a diffraction pattern or Fourier transform (unit {units[-1]})"
    return ""


def _emi_metadata(path: Path) -> Mapping[str, Any]:
    """Metadata of a .ser file: they lie in the .emi file beside it, if that came along."""
    emi = path.with_name(re.sub(r"_\d+$", "", path.stem) + ".emi")
    if not emi.is_file():
        return {}
    reader = importlib.import_module("rsciio.tia").file_reader
    try:
        for content in reader(str(emi)):
            if content["metadata"]["General"]["original_filename"] == path.name:
                return cast(Mapping[str, Any], content["original_metadata"])
    except _damage():
        # The pixels and their scale are in the .ser file: a broken companion costs nothing else.
        return {}
    return {}


def _acquisition(trees: Iterable[Any]) -> dict[str, Any]:
    """Beam energy [keV], semi-angle [mrad], dwell time [µs] where a file's metadata has them."""
    metadata: dict[str, Any] = {}
    for tree in trees:
        for key, places in (
            ("beam_energy_kev", BEAM_ENERGY),
            ("semi_angle_mrad", SEMI_ANGLE),
            ("dwell_time_us", DWELL_TIME),
        ):
            for ending, factor in places:
                value = _find(tree, ending)
                if value is not None:
                    # Files hold float32: seven digits make 32.400001525878906 the 32.4 it was.
                    metadata.setdefault(key, float(f"{value * factor:.7g}"))
    return metadata


def _find(tree: Any, ending: tuple[str, ...], trail: tuple[str, ...] = ()) -> float | None:
    """First positive number in a tree of metadata whose path ends so."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            found = _find(value, ending, (*trail, str(key)))
            if found is not None:
                return found
        return None
    if trail[-len(ending) :] != ending:
        return None
    try:
        number = float(tree)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) and number > 0 else None


def _decode_png(path: Path) -> Dataset:
    from PIL import Image

    with path.open("rb") as stream:
        head = stream.read(24)
    if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) == 24:
        width, height = struct.unpack(">II", head[16:])
        check_array((height, width), np.dtype(np.uint8), path.name)
    with Image.open(path, formats=["PNG"]) as picture:
        data = np.asarray(picture.convert("RGBA") if picture.mode in ("P", "PA") else picture)
    return Dataset(grey_values(data, path.name) if data.ndim == 3 else data)


def _decode_npy(path: Path) -> Dataset:
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    if mapped.ndim == 3 and mapped.shape[-1] in (3, 4) and mapped.dtype == np.uint8:
        return Dataset(grey_values(np.array(mapped), path.name))
    mapped = drop_leading_ones(mapped)
    check_array(mapped.shape, mapped.dtype, path.name)
    return Dataset(np.array(mapped))
