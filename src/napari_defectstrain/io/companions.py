"""Companions of images: arrays scanned along with them in, their averages out for other software.

Read lazily (RosettaSciIO and dask; NumPy files as memory maps). Written as .hspy (HDF5), which
HyperSpy opens with axes and units, and h5py as a plain array, or as .zarr with the axes among its
attributes. Both are arrays of two scan axes first, as py4DSTEM's ``DataCube`` takes them.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from rsciio import hspy

from ..types import CalibratedImage, DefectStrainError
from ..units import PM_PER_NM, pm_per_unit
from .formats import ROSETTASCIIO
from .writing import atomic_path

FORMATS = ("hspy", "zarr")
_SCAN = 0.05
"""Of the logarithm of two sizes of a field that are still alike."""
_READERS = {".hspy": "hspy", ".nxs": "nexus", ".mib": "quantumdetector"}
_READERS |= {".blo": "blockfile", ".hdr": "mrc", ".mrc": "mrc", ".bcf": "bruker", ".h5": "usid"}
_READERS |= {".tif": "tiff", ".tiff": "tiff", ".raw": "empad", ".xml": "empad"}


@dataclass(frozen=True)
class Companion:
    """An array scanned along with an image, not read yet.

    Parameters
    ----------
    data : dask array, `(h, w, ...)`
        Scan lines, positions in a line, then the signal.
    axes : tuple of mapping
        Of the signal's axes: ``name``, ``units``, ``scale``, ``offset``, as RosettaSciIO has them.
    signal_type : str
        As HyperSpy has it, for instance ``EELS``; empty where it isn't known.
    name : str
    scan_pm : tuple of float or None
        Distance between scan lines, and between positions in a line, where the file says so [pm].
    """

    data: Any
    axes: tuple[Mapping[str, Any], ...] = ()
    signal_type: str = ""
    name: str = "companion"
    scan_pm: tuple[float, float] | None = None


def read_companion(path: Path) -> Companion:
    """A spectrum image, a 4D-STEM scan or a second image of a file, as lazily as its format allows.

    Parameters
    ----------
    path : Path
        .npy, .zarr (needs zarr), .hspy, or what RosettaSciIO reads: .dm3, .dm4, .emd, .ser, .mrc,
        .mib, .blo, .bcf, .tif, ...

    Raises
    ------
    DefectStrainError
        If there is no such file, nothing reads it, or it holds no array of two scan axes.
    """
    if not path.exists():
        raise DefectStrainError(f"{path}: got no such file, expected one that was scanned along")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _of(_mapped(path), [], "", path)
    if suffix == ".zarr":
        return _of_zarr(path)
    known = _READERS.get(suffix) or (ROSETTASCIIO[suffix][0] if suffix in ROSETTASCIIO else None)
    if known is None:
        raise DefectStrainError(
            f"{path.name}: got a file of kind {suffix or 'nothing'}, expected one of "
            f"{', '.join(sorted({'.npy', '.zarr', *_READERS, *ROSETTASCIIO}))}"
        )
    try:
        reader = importlib.import_module(f"rsciio.{known.removeprefix('rsciio.')}")
        found = reader.file_reader(str(path), lazy=True)
    except ImportError as error:
        raise DefectStrainError(
            f"{path.name}: reading it needs {error.name}: install it"
        ) from error
    except Exception as error:  # whatever a foreign reader raises
        raise DefectStrainError(f"{path.name}: can't be read: {error}") from error
    large = max(found, key=lambda one: (one["data"].ndim, one["data"].size), default=None)
    if large is None:
        raise DefectStrainError(f"{path.name}: got no data, expected an array")
    kind = large.get("metadata", {}).get("Signal", {}).get("signal_type", "")
    return _of(large["data"], large.get("axes", []), kind, path)


def _mapped(path: Path) -> npt.NDArray[Any]:
    try:
        return np.asanyarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise DefectStrainError(f"{path.name}: can't be read: {error}") from error


def _zarr() -> Any:
    if importlib.util.find_spec("zarr") is None:
        raise DefectStrainError("zarr: isn't installed; install it (pip install zarr), or use hspy")
    return importlib.import_module("zarr")


def _of_zarr(path: Path) -> Companion:
    try:
        stored = _zarr().open_array(str(path), mode="r")
    except DefectStrainError:
        raise
    except Exception as error:  # whatever a damaged store makes of it
        raise DefectStrainError(f"{path.name}: can't be read: {error}") from error
    about = dict(stored.attrs)
    lazy = da.from_array(stored, chunks=stored.chunks)  # type: ignore[no-untyped-call]
    return _of(lazy, about.get("axes", []), "", path)


def _of(data: Any, axes: Sequence[Mapping[str, Any]], kind: str, path: Path) -> Companion:
    """With the scan's axes first: those marked as such, or the first two."""
    if data.ndim < 2:
        raise DefectStrainError(
            f"{path.name}: got {data.ndim} axes, expected two of the scan, then those of the signal"
        )
    order = [a.get("index_in_array", k) for k, a in enumerate(axes)]
    scan = [i for i, a in zip(order, axes, strict=True) if a.get("navigate")]
    if len(scan) != 2:
        scan = [0, 1]
    signal = [i for i in range(data.ndim) if i not in scan]
    lazy = data
    if not hasattr(data, "dask"):
        lazy = da.from_array(data, chunks="auto")  # type: ignore[no-untyped-call]
    by_index = {i: a for i, a in zip(order, axes, strict=True)}
    return Companion(
        lazy.transpose([*sorted(scan), *signal]),
        tuple(dict(by_index.get(i, {})) for i in signal),
        kind,
        path.stem,
        _scan_pm([by_index.get(i, {}) for i in sorted(scan)]),
    )


def _scan_pm(axes: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    """Distances between positions by two axes; None where they say none, or of something else."""
    steps = []
    for axis in axes:
        unit = pm_per_unit(str(axis.get("units") or ""))
        scale = abs(float(axis.get("scale") or 0.0))
        if unit is None or not 0.0 < scale < np.inf:
            return None
        steps.append(scale * unit)
    return (steps[0], steps[1])


def scan_notes(companions: Sequence[Companion], images: Sequence[CalibratedImage]) -> list[str]:
    """What to say of companions whose scan has another size than their image, by their own files.

    Parameters
    ----------
    companions, images : sequences of equal length
    """
    notes = []
    for one, image in zip(companions, images, strict=True):
        if one.scan_pm is None or image.pixel_size_pm is None:
            continue
        theirs = np.array(one.scan_pm) * one.data.shape[:2] / PM_PER_NM
        ours = np.array(image.data.shape) * image.pixel_size_pm / PM_PER_NM
        # some count the distance from the first position to the last
        slack = _SCAN + 1.0 / np.array(one.data.shape[:2])
        if (np.abs(np.log(theirs / ours)) > slack).any():
            notes.append(
                f"{image.name}: by its own calibration {one.name} was scanned over "
                f"{theirs[0]:.3g} x {theirs[1]:.3g} nm (y, x), the image is of {ours[0]:.3g} x "
                f"{ours[1]:.3g} nm: another field, or a calibration that is wrong; positions are "
                "taken as of one field"
            )
    return notes


def write_averaged(
    path: Path,
    data: npt.NDArray[Any],
    step_pm: float,
    companion: Companion,
    metadata: Mapping[str, Any],
) -> None:
    """Write an array per position in the cell, with its axes.

    Parameters
    ----------
    path : Path
        Ends in .hspy or .zarr (needs zarr).
    data : array, `(P, P, ...)`
        Row 0 is the largest y of the lattice frame.
    step_pm : float
        Side of a bin [pm].
    companion : Companion
        Whose signal axes these are.
    metadata : mapping
        JSON values, kept under ``defectstrain``.

    Raises
    ------
    DefectStrainError
        If the ending is another, or zarr is missing.
    """
    kind = path.suffix[1:]
    if kind not in FORMATS:
        raise DefectStrainError(f"{path.name}: got a .{kind}, expected one of {', '.join(FORMATS)}")
    half = (data.shape[0] - 1) / 2 * step_pm
    axes: list[dict[str, Any]] = [
        _axis("y", data.shape[0], -step_pm, half, "pm", 0, True),
        _axis("x", data.shape[1], step_pm, -half, "pm", 1, True),
    ]
    for k, size in enumerate(data.shape[2:]):
        known = companion.axes[k] if k < len(companion.axes) else {}
        axes.append(
            _axis(
                str(known.get("name") or f"signal_{k + 1}"),
                size,
                float(known.get("scale", 1.0)),
                float(known.get("offset", 0.0)),
                str(known.get("units") or ""),
                k + 2,
                False,
            )
        )
    if kind == "zarr":
        store = _zarr().open_array(
            str(path), mode="w", shape=data.shape, dtype=data.dtype, chunks=(1, 1, *data.shape[2:])
        )
        store[...] = data
        store.attrs.update({"axes": axes, "defectstrain": dict(metadata)})
        return
    signal = {
        "data": data,
        "axes": axes,
        "metadata": {
            "General": {"title": path.stem},
            "Signal": {"signal_type": companion.signal_type},
        },
        "original_metadata": {"defectstrain": dict(metadata)},
        "package_info": {},
        "attributes": {"_lazy": False},
        "learning_results": {},
        "tmp_parameters": {},
        "models": {},
    }
    with atomic_path(path) as temporary:
        hspy.file_writer(str(temporary), signal, show_progressbar=False)


def _axis(
    name: str, size: int, scale: float, offset: float, units: str, index: int, navigate: bool
) -> dict[str, Any]:
    return {
        "_type": "UniformDataAxis",
        "name": name,
        "size": size,
        "scale": scale,
        "offset": offset,
        "units": units,
        "index_in_array": index,
        "navigate": navigate,
        "is_binned": False,
    }
