"""TIFF in and out: ImageJ, OME, microscope vendors' tags, and our own JSON in the description."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import tifffile

from ..types import DefectStrainError
from ..units import PM_PER_NM
from .rasters import Dataset, check_array, grey_values

JSON_KEY = "napari_defectstrain"
"""Key of our JSON among the lines of an ImageJ description."""

Scale = tuple[tuple[float, float], str]
"""Side of a pixel (y, x) and its unit."""


def decode_tiff(path: Path) -> list[Dataset]:
    """All images of a TIFF file: a stack stays one dataset, channels become one each."""
    with tifffile.TiffFile(path) as tiff:
        own = _own_json(tiff)
        scale, unit = _scale(tiff, own, path)
        labels = own.pop("channels", None)
        own.pop("pixel_size_pm", None)
        datasets: list[Dataset] = []
        for series in tiff.series:
            data, axes = _pixels(series, path.name)
            if data.ndim == 2 or axes[0] != "C":
                datasets.append(Dataset(data, "", scale, unit, dict(own)))
                continue
            names = labels or [f"channel {i}" for i in range(len(data))]
            for image, label in zip(data, names, strict=True):
                metadata = {**own, "channel": str(label)}
                datasets.append(Dataset(image, str(label), scale, unit, metadata))
    if not datasets:
        raise DefectStrainError(f"{path}: no image in this TIFF file")
    return datasets


def encode_tiff(
    path: Path,
    array: npt.NDArray[Any],
    pixel_size_pm: float | None,
    metadata: Mapping[str, Any],
    channels: Sequence[str] | None,
) -> None:
    """Write what `decode_tiff` reads; see `io.write_tiff`. `metadata` must be JSON values."""
    own: dict[str, Any] = {**metadata, "pixel_size_pm": pixel_size_pm}
    described: dict[str, Any] = {"axes": "YX" if array.ndim == 2 else "TYX", "mode": "grayscale"}
    if channels is not None:
        own["channels"] = list(channels)
        described |= {"axes": "CYX", "Labels": list(channels)}
    resolution = None
    if pixel_size_pm is not None:
        described["unit"] = "nm"
        resolution = (PM_PER_NM / pixel_size_pm, PM_PER_NM / pixel_size_pm)
    # ImageJ reads its description as ASCII lines of key=value; JSON without line breaks is one.
    described[JSON_KEY] = json.dumps(own, allow_nan=False, ensure_ascii=True)
    tifffile.imwrite(
        path,
        _imagej_type(array),
        imagej=True,
        compression="zlib",
        resolution=resolution,
        metadata=described,
    )


def _imagej_type(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """ImageJ knows uint8, uint16 and float32 only; counts stay exact up to 2^24."""
    if array.dtype == np.uint8 or array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype.kind in "iu" and array.min() >= 0 and array.max() <= np.iinfo(np.uint16).max:
        return array.astype(np.uint16)
    return array.astype(np.float32)


def _own_json(tiff: tifffile.TiffFile) -> dict[str, Any]:
    """What `encode_tiff` wrote into the description; empty for others' files."""
    text = (tiff.imagej_metadata or {}).get(JSON_KEY)
    content = json.loads(text) if isinstance(text, str) else {}
    return content if isinstance(content, dict) else {}


def _pixels(series: tifffile.TiffPageSeries, name: str) -> tuple[npt.NDArray[Any], str]:
    """Grey pixels of a series and the letters of their axes, without axes of length 1."""
    axes = series.axes
    kept = [n for n, axis in zip(series.shape, axes, strict=True) if axis in "YX" or n > 1]
    if "S" not in axes:
        check_array(kept, np.dtype(series.dtype), name)  # before anything large is loaded
    data = series.asarray()
    if "S" in axes:
        data = grey_values(np.moveaxis(data, axes.index("S"), -1), name)
        axes = axes.replace("S", "")
    drop = tuple(i for i, axis in enumerate(axes) if axis not in "YX" and data.shape[i] == 1)
    data = np.squeeze(data, axis=drop)
    check_array(data.shape, data.dtype, name)
    return data, "".join(axis for i, axis in enumerate(axes) if i not in drop)


def _scale(tiff: tifffile.TiffFile, own: Mapping[str, Any], path: Path) -> Scale:
    """Scale from our JSON, OME, ImageJ, microscope vendors' tags, or pixels per centimetre."""
    side = own.get("pixel_size_pm")
    if side is not None:
        return (float(side), float(side)), "pm"
    if tiff.ome_metadata:
        return _ome_scale(tiff.ome_metadata)
    tags = tiff.pages.first.tags
    if tiff.is_imagej:
        unit = str((tiff.imagej_metadata or {}).get("unit") or "")
        return _resolution(tags), unit.replace("\\u00B5", "µ").replace("\\u00C5", "Å")
    vendor = importlib.import_module("rsciio.tiff").file_reader(str(path), lazy=True)
    axes = vendor[0]["axes"][-2:]
    if axes[-1].get("units"):
        scale_y, scale_x = (abs(float(axis["scale"])) for axis in axes)
        return (scale_y, scale_x), str(axes[-1]["units"])
    # ResolutionUnit 3 is the centimetre. Inches (2) are dots per inch on paper, not a scale.
    if "ResolutionUnit" in tags and int(tags["ResolutionUnit"].value) == 3:
        return _resolution(tags), "cm"
    return (1.0, 1.0), ""


def _resolution(tags: Any) -> tuple[float, float]:
    """Side of a pixel (y, x) from the resolution tags, which hold pixels per unit."""
    sides = []
    for name in ("YResolution", "XResolution"):
        pixels, units = tags[name].value if name in tags else (1, 1)
        sides.append(units / pixels if pixels else 1.0)
    return sides[0], sides[1]


def _ome_scale(xml: str) -> Scale:
    pixels = next(e for e in ElementTree.fromstring(xml).iter() if e.tag.endswith("}Pixels"))
    if "PhysicalSizeX" not in pixels.attrib:
        return (1.0, 1.0), ""
    side_x = float(pixels.attrib["PhysicalSizeX"])
    side_y = float(pixels.attrib.get("PhysicalSizeY", side_x))
    # The schema's default unit is the micrometre.
    return (side_y, side_x), pixels.attrib.get("PhysicalSizeXUnit", "µm")
