"""TIFF in and out: ImageJ, OME, microscope vendors' tags, and our own JSON in the description."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import tifffile

from ..types import DefectStrainError
from ..units import PM_PER_NM, pm_per_unit
from .own_metadata import checked_metadata
from .rasters import DEFLATE_EXPANSION, DamagedFile, Dataset, check_array, check_size, grey_values

JSON_KEY = "napari_defectstrain"
"""Key of our JSON among the lines of an ImageJ description."""

MAX_LABEL = 120

Scale = tuple[tuple[float, float], str, str]
"""Side of a pixel (y, x), its unit, and what to warn of."""

EXPANSION = {1: 1, 5: 2600, 8: DEFLATE_EXPANSION, 32773: 64, 32946: DEFLATE_EXPANSION}
"""Bytes that a byte can become, by compression: none, LZW, deflate, PackBits, deflate."""
OTHER_EXPANSION = 40_000
"""Of the others; a run of zstd makes 128 kB of three bytes."""

DETECTOR = re.compile(r"(?<![a-z])(i?dpc|[hml]?aadf|adf|abf|a?bf|df\d*|se)(?![a-z])", re.IGNORECASE)
"""What detectors are called in labels."""


def decode_tiff(path: Path) -> list[Dataset]:
    """All images of a TIFF file: a stack stays one dataset, channels become one each.

    Beside grey images colour ones are left out: microscopes add a picture with a scale bar.
    """
    # _multifile: pixels come from this file alone; readers of whole folders stay out of it too
    with tifffile.TiffFile(path, _multifile=False, is_ndtiff=False, is_mmstack=False) as tiff:
        _check_own_pixels(tiff, path)
        own = _own_json(tiff, path.name)
        series = list(tiff.series)
        if not series:
            raise DefectStrainError(f"{path}: no image in this TIFF file")
        grey = [entry for entry in series if "S" not in entry.axes]
        datasets: list[Dataset] = []
        left_out: list[str] = []
        for page, entry in enumerate(series, start=1):
            if grey and entry not in grey:
                left_out.append(f"page {page} is a colour picture, left out: the grey one is taken")
                continue
            try:
                data, axes = _pixels(entry, path)
            except DefectStrainError as error:  # another page may do
                left_out.append(str(error))
                continue
            found = _datasets(data, axes, _labels(tiff, own, len(data)), tiff, own, path)
            if len(series) > 1 and len(found) == 1:
                found = [replace(found[0], title=found[0].title or f"page {page}")]
            datasets += found
    if not datasets:
        raise DefectStrainError(left_out[-1])
    for text in left_out:
        datasets = [_with_warning(dataset, text) for dataset in datasets]
    return datasets


def _datasets(
    data: npt.NDArray[Any],
    axes: str,
    labels: Sequence[str],
    tiff: tifffile.TiffFile,
    own: Mapping[str, Any],
    path: Path,
) -> list[Dataset]:
    """One dataset, or one a channel."""
    scale, unit, note = _scale(tiff, own, path)
    metadata = {key: own[key] for key in own if key not in ("channels", "pixel_size_pm")}
    whole = Dataset(data, "", scale, unit, metadata)
    if note:
        whole = _with_warning(whole, note)
    if data.ndim == 2:
        return [whole]
    names = list(labels)
    if axes[0] != "C":
        # ImageJ makes a stack of the images of different detectors, each slice under its name.
        detectors = [DETECTOR.search(name) for name in names]
        told = {found[0].casefold() for found in detectors if found}
        if not names or len(told) < len(data):
            return [whole]
    if len(names) != len(data) or len(set(names)) < len(names):
        names = [f"channel {i}" for i in range(len(data))]
    return [
        replace(whole, data=image, title=label, metadata={**whole.metadata, "channel": label})
        for image, label in zip(data, names, strict=True)
    ]


def _with_warning(dataset: Dataset, text: str) -> Dataset:
    warnings = [*dataset.metadata.get("warnings", ()), text]
    return replace(dataset, metadata={**dataset.metadata, "warnings": warnings})


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
    # A second "=" makes tifffile before 2026.3 drop the line; in JSON it stands in texts only.
    text = json.dumps(own, allow_nan=False, ensure_ascii=True)
    described[JSON_KEY] = text.replace("=", "\\u003d")
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


def _own_json(tiff: tifffile.TiffFile, name: str) -> dict[str, Any]:
    """What `encode_tiff` wrote into the description; empty for others' files."""
    text = (tiff.imagej_metadata or {}).get(JSON_KEY)
    if text is None:
        return {}
    # ImageJ's lines hold numbers and words too, which tifffile gives as such
    content = json.loads(text) if isinstance(text, str) else text
    if not isinstance(content, dict):
        raise DefectStrainError(
            f"{name}: its own description is no JSON object; it was changed or damaged: export "
            "the image again"
        )
    return checked_metadata(content, name)


def _labels(tiff: tifffile.TiffFile, own: Mapping[str, Any], count: int) -> list[str]:
    """Names of the channels or slices: ours, OME's or ImageJ's; empty where there are none."""
    if own.get("channels"):
        return [str(label) for label in own["channels"]]
    if tiff.ome_metadata:
        pixels = _ome_pixels(tiff.ome_metadata)
        found = [] if pixels is None else [e for e in pixels if e.tag.endswith("}Channel")]
        return [_label(e.attrib.get("Name", ""), i) for i, e in enumerate(found)]
    labels = (tiff.imagej_metadata or {}).get("Labels") or []
    if isinstance(labels, str):
        labels = [labels]
    return [_label(str(label), i) for i, label in enumerate(labels)] if len(labels) == count else []


def _label(text: str, index: int) -> str:
    # ImageJ keeps more about a slice below its name.
    lines = text.strip().splitlines()
    return lines[0].strip()[:MAX_LABEL] if lines else f"channel {index}"


def _check_own_pixels(tiff: tifffile.TiffFile, path: Path) -> None:
    """Refuse a file whose pixels lie in other files."""
    if not tiff.ome_metadata:
        return
    root = ElementTree.fromstring(tiff.ome_metadata)
    if any(entry.tag.endswith("}BinaryOnly") for entry in root.iter()):
        raise _in_parts(path, "its description lies in another one")
    this = root.attrib.get("UUID")
    parts: dict[str, str] = {}
    for entry in root.iter():
        if entry.tag.endswith("}UUID"):
            parts[(entry.text or "").strip()] = entry.attrib.get("FileName", "")
    others = [
        name
        for uuid, name in parts.items()
        if (uuid != this if this else name.casefold() != path.name.casefold())
    ]
    # A single part under another name is this file, renamed.
    if others and (len(parts) > 1 or this):
        raise _in_parts(path, f"others are {', '.join(sorted(others)[:3])}")


def _in_parts(path: Path, how: str) -> DefectStrainError:
    return DefectStrainError(
        f"{path}: one of several OME files that belong together ({how}), expected a file that "
        "holds its own images; export them into one file"
    )


def _pixels(series: tifffile.TiffPageSeries, path: Path) -> tuple[npt.NDArray[Any], str]:
    """Grey pixels of a series and the letters of their axes, without axes of length 1."""
    axes, name = series.axes, path.name
    colour = axes.find("S")
    kept = [
        n
        for axis, n in zip(axes, series.shape, strict=True)
        if axis in "YX" or (n > 1 and axis != "S")
    ]
    check_array(kept, np.dtype(series.dtype), name)  # before anything large is loaded
    _check_compression(series, path)
    data = series.asarray()
    if colour >= 0:
        data = grey_values(np.moveaxis(data, colour, -1), name)
        axes = axes.replace("S", "")
    drop = tuple(i for i, axis in enumerate(axes) if axis not in "YX" and data.shape[i] == 1)
    data = np.squeeze(data, axis=drop)
    check_array(data.shape, data.dtype, name)
    return data, "".join(axis for i, axis in enumerate(axes) if i not in drop)


def _check_compression(series: tifffile.TiffPageSeries, path: Path) -> None:
    """Refuse a compression that can't be read, and more pixels than the file can hold."""
    compression = int(series.keyframe.compression)
    try:
        if compression != 1:
            _ = tifffile.TIFF.DECOMPRESSORS[compression]
    except KeyError:
        try:
            known = tifffile.COMPRESSION(compression).name
        except ValueError:
            known = f"number {compression}"
        raise DefectStrainError(
            f"{path.name}: got pixels compressed by {known}, which can't be read; save it "
            "uncompressed, or with LZW or deflate (ZIP)"
        ) from None
    expansion = EXPANSION.get(compression, OTHER_EXPANSION)
    bits = int(series.keyframe.bitspersample or 8)
    if bits < 8:  # several pixels a byte
        expansion *= 8 // bits
    size = path.stat().st_size
    check_size(series.shape, np.dtype(series.dtype), size, path.name, expansion)
    for page in series.pages:
        if page is not None and max(page.databytecounts, default=0) > size:
            raise DamagedFile(f"a strip or tile of {max(page.databytecounts)} bytes")


def _scale(tiff: tifffile.TiffFile, own: Mapping[str, Any], path: Path) -> Scale:
    """Scale from our JSON, OME, ImageJ, microscope vendors' tags, or pixels per centimetre."""
    side = own.get("pixel_size_pm")
    if side is not None:
        return (float(side), float(side)), "pm", ""
    if tiff.ome_metadata:
        return _ome_scale(tiff.ome_metadata)
    tags = tiff.pages.first.tags
    if tiff.is_imagej:
        unit = str((tiff.imagej_metadata or {}).get("unit") or "")
        return _resolution(tags), unit.replace("\\u00B5", "µ").replace("\\u00C5", "Å"), ""
    try:
        vendor = importlib.import_module("rsciio.tiff").file_reader(str(path), lazy=True)
        axes = vendor[0]["axes"][-2:]
        scale_y, scale_x = (abs(float(axis.get("scale", 1.0))) for axis in axes)
        unit = str(axes[-1].get("units") or "")
    except Exception as error:  # tags are incomplete in as many ways as there are vendors
        maker = str(tags["Make"].value)[:40] if "Make" in tags else "the microscope"
        text = f"the tags of {maker} are incomplete ({type(error).__name__}): no calibration"
        return (1.0, 1.0), "", text
    if unit:
        return (scale_y, scale_x), unit, ""
    # ResolutionUnit 3 is the centimetre. Inches (2) are dots per inch on paper, not a scale.
    if "ResolutionUnit" in tags and int(tags["ResolutionUnit"].value) == 3:
        return _resolution(tags), "cm", ""
    return (1.0, 1.0), "", ""


def _resolution(tags: Any) -> tuple[float, float]:
    """Side of a pixel (y, x) from the resolution tags, which hold pixels per unit."""
    sides = []
    for name in ("YResolution", "XResolution"):
        pixels, units = tags[name].value if name in tags else (1, 1)
        sides.append(units / pixels if pixels else 1.0)
    return sides[0], sides[1]


def _ome_scale(xml: str) -> Scale:
    pixels = _ome_pixels(xml)
    if pixels is None or "PhysicalSizeX" not in pixels.attrib:
        return (1.0, 1.0), "", ""
    side_x = float(pixels.attrib["PhysicalSizeX"])
    side_y = float(pixels.attrib.get("PhysicalSizeY", side_x))
    # The schema's default unit is the micrometre.
    unit = pixels.attrib.get("PhysicalSizeXUnit", "µm")
    unit_y = pixels.attrib.get(
        "PhysicalSizeYUnit", "µm" if "PhysicalSizeY" in pixels.attrib else unit
    )
    if unit_y != unit:
        y_pm, x_pm = pm_per_unit(unit_y), pm_per_unit(unit)
        if y_pm is None or x_pm is None:
            return (
                (1.0, 1.0),
                "",
                f"different units down ({unit_y}) and across ({unit}): no calibration",
            )
        side_y *= y_pm / x_pm
    return (side_y, side_x), unit, ""


def _ome_pixels(xml: str) -> ElementTree.Element | None:
    """The description of the first image's pixels."""
    return next((e for e in ElementTree.fromstring(xml).iter() if e.tag.endswith("}Pixels")), None)
