"""Decoders of image files: RosettaSciIO, tifffile, Pillow and NumPy to arrays with a stated scale.

A file gives one `Dataset` for each image or stack of images in it. Spectra, diffraction patterns
and whatever else is no real-space image are left out, and are an error where there is nothing else.
"""

from __future__ import annotations

import glob
import importlib
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..types import DefectStrainError
from .dm_tags import check_dm
from .file_limits import check_hdf5, check_png, check_ser
from .mrc import decode_mrc
from .rasters import DamagedFile, Dataset, check_array, check_size, drop_leading_ones, grey_values
from .velox import is_velox, read_velox

ROSETTASCIIO: dict[str, tuple[str, Callable[[Path], None]]] = {
    ".dm3": ("rsciio.digitalmicrograph", check_dm),
    ".dm4": ("rsciio.digitalmicrograph", check_dm),
    ".emd": ("rsciio.emd", check_hdf5),
    ".ser": ("rsciio.tia", check_ser),
}
"""Reader of each suffix, and what looks at the file before: readers believe what it declares."""

SUFFIXES = (*ROSETTASCIIO, ".mrc", ".tif", ".tiff", ".png", ".npy")

CHATTY = ("tifffile", "rsciio", "PIL", "ase")
"""Libraries that log what they stumble over; the user gets one line of ours instead."""

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
        with quiet():
            return _decode(path, suffix)
    except DefectStrainError:
        raise
    except PermissionError as error:
        raise DefectStrainError(f"{path}: can't be read: {error.strerror}") from error
    except MemoryError as error:  # its sizes were checked: they are real
        raise DefectStrainError(
            f"{path}: not enough memory for its images; close other programs, or crop it"
        ) from error
    except ImportError as error:
        raise DefectStrainError(
            f"{path}: its reader needs a library that isn't installed ({error}); install it, or "
            "export the image as TIFF"
        ) from error
    except Exception as error:  # decoders promise no type: a flipped byte surfaces as any of them
        kind = "" if isinstance(error, DamagedFile) else type(error).__name__
        reason = ": ".join(filter(None, [kind, *str(error).splitlines()[:1]]))
        raise DefectStrainError(
            f"{path}: not a readable {suffix} image, or a damaged or cut-off one ({reason[:200]}); "
            "copy it again from its source or export it as TIFF"
        ) from error


def _decode(path: Path, suffix: str) -> list[Dataset]:
    if suffix in ROSETTASCIIO:
        _, check = ROSETTASCIIO[suffix]
        check(path)
        if suffix == ".emd" and is_velox(path):
            return _decode_velox(path)
        return _decode_microscope(path, suffix)
    if suffix == ".mrc":
        return [decode_mrc(path)]
    if suffix == ".png":
        return [_decode_png(path)]
    if suffix == ".npy":
        return [_decode_npy(path)]
    from .tiff import decode_tiff

    return decode_tiff(path)


_QUIET = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Decoders log and warn of what they stumble over; what matters is said by us."""
    loggers = [logging.getLogger(name) for name in CHATTY]
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


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


def _decode_microscope(path: Path, suffix: str) -> list[Dataset]:
    reader = importlib.import_module(ROSETTASCIIO[suffix][0]).file_reader
    companion = _emi_metadata(path) if suffix == ".ser" else {}
    datasets: list[Dataset] = []
    reasons: list[str] = []
    for content in cast(list[dict[str, Any]], reader(str(path))):
        dataset = _dataset(content, companion, path.name)
        if isinstance(dataset, Dataset):
            datasets.append(dataset)
        else:
            reasons.append(dataset)
    return _some(datasets, reasons, path)


def _decode_velox(path: Path) -> list[Dataset]:
    datasets: list[Dataset] = []
    reasons: list[str] = []
    for image in read_velox(path):
        reason = image.reason or _not_an_image(2, [image.unit] * 2)
        if image.data is None or reason:
            reasons.append(reason)
            continue
        data, found = drop_leading_ones(image.data), _acquisition([image.metadata])
        datasets.append(Dataset(data, image.title, image.scale, image.unit, found))
    return _some(datasets, reasons, path)


def _some(datasets: list[Dataset], reasons: Sequence[str], path: Path) -> list[Dataset]:
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


def companion_file(path: Path) -> Path | None:
    """The file beside an image that holds its metadata (the .emi of a .ser); None without one."""
    emi = path.with_name(re.sub(r"_\d+$", "", path.stem) + ".emi")
    return emi if path.suffix.lower() == ".ser" and emi.is_file() else None


def _emi_metadata(path: Path) -> Mapping[str, Any]:
    """Metadata of a .ser file: they lie in the .emi file beside it, if that came along."""
    emi = companion_file(path)
    if emi is None:
        return {}
    reader = importlib.import_module("rsciio.tia").file_reader
    try:
        for series in emi.parent.glob(f"{glob.escape(emi.stem)}_[0-9].ser"):
            check_ser(series)  # RosettaSciIO reads all of them
        for content in reader(str(emi)):
            if content["metadata"]["General"]["original_filename"] == path.name:
                return cast(Mapping[str, Any], content["original_metadata"])
    except Exception:
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

    check_png(path)
    with Image.open(path, formats=["PNG"]) as picture:
        data = np.asarray(picture.convert("RGBA") if picture.mode in ("P", "PA") else picture)
    return Dataset(grey_values(data, path.name) if data.ndim == 3 else data)


def _decode_npy(path: Path) -> Dataset:
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    check_size(mapped.shape, mapped.dtype, path.stat().st_size, path.name)
    if mapped.ndim == 3 and mapped.shape[-1] in (3, 4) and mapped.dtype == np.uint8:
        return Dataset(grey_values(np.array(mapped), path.name))
    mapped = drop_leading_ones(mapped)
    check_array(mapped.shape, mapped.dtype, path.name)
    return Dataset(np.array(mapped))
