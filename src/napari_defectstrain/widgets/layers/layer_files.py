"""Layers in one file, ``NAME.layers.zip``: TIFF, CSV and JSON in a zip, with everything they hold.

See ``docs/file-formats.md``. napari's own formats keep neither scale nor units, nor what colours
mean, nor the windows that an average was made of.
"""

import csv
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
from napari.layers import Layer

from ... import __version__
from ...io.file_names import output_stems
from ...io.files import atomic_path
from ...io.objects import Packer, Unpacker
from ...types import DefectStrainError
from .placing import present_viewer
from .records import KINDS, LayerData, Record, record_of

SUFFIX = ".layers.zip"
CONTENT = "layers.json"
FORMAT = "napari-defectstrain layers"
SCHEMA = 1
TABLES = ("points", "vectors", "tracks")
"""Layers whose data and features are one table."""


def write_layers(path: str, layers: list[LayerData]) -> list[str]:
    """What napari calls for *Save Selected Layers* and *Save All Layers*.

    Parameters
    ----------
    path : str
    layers : list of (data, attributes, type)
    """
    target = Path(path)
    if not target.name.endswith(SUFFIX):
        target = target.with_name(target.name.removesuffix(".zip") + SUFFIX)
    write_records(target, [record_of(_layer_of(*layer)) for layer in layers])
    return [str(target)]


def _layer_of(data: Any, attributes: Mapping[str, Any], kind: str) -> Layer:
    """The layer itself: what napari hands over has lost what its colours mean."""
    viewer = present_viewer()
    metadata = attributes.get("metadata")
    for layer in [] if viewer is None else viewer.layers:
        if layer.metadata is metadata and layer.name == attributes.get("name"):
            return layer
    return Layer.create(data, dict(attributes), kind)


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Write a file of layers; it appears whole or not at all."""
    packer = Packer()
    stems = output_stems([record.name or record.kind for record in records])
    entries = []
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for i, (record, stem) in enumerate(zip(records, stems, strict=True)):
            names, content = _files_of(record, f"{i + 1:03d} {stem}")
            for name, data in names.items():
                # only text gains; what isn't packed can't ask for more room than the file has
                packed = zipfile.ZIP_DEFLATED if name.endswith(".csv") else zipfile.ZIP_STORED
                archive.writestr(name, data, packed)
            entries.append({**packer.pack(content), "files": list(names)})
        for i, array in enumerate(packer.arrays):
            archive.writestr(_array_name(i), _npy(array))
        head = {
            "format": FORMAT,
            "schema": SCHEMA,
            "software": f"napari-defectstrain {__version__}",
        }
        text = json.dumps({**head, "layers": entries}, indent=1, ensure_ascii=False)
        archive.writestr(CONTENT, text, zipfile.ZIP_DEFLATED)


def is_layer_file(path: str | Path) -> bool:
    """Whether a zip holds layers of ours."""
    try:
        with zipfile.ZipFile(path) as archive:
            return CONTENT in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def read_records(path: str | Path) -> list[Record]:
    """The layers of a file.

    Raises
    ------
    DefectStrainError
        If it can't be read, is damaged, or of a later version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive, path)
            head = json.loads(archive.read(CONTENT))
            if head.get("format") != FORMAT:
                raise DefectStrainError(f"{path}: got a {CONTENT} that isn't one of layers")
            if head.get("schema") != SCHEMA:
                raise DefectStrainError(
                    f"{path}: got version {head.get('schema')!r} of the format, expected {SCHEMA}: "
                    "open it with the version of the plugin that wrote it, or a later one"
                )
            unpacker = Unpacker(lambda n: _array(archive, _array_name(n)))
            return [_record(archive, entry, unpacker) for entry in head["layers"]]
    except DefectStrainError as error:
        text = str(error)
        raise DefectStrainError(text if text.startswith(str(path)) else f"{path}: {text}") from None
    except Exception as error:  # whatever a damaged file makes readers raise
        raise DefectStrainError(
            f"{path}: damaged, its layers can't be read ({type(error).__name__}: {error})"
        ) from error


def _check_sizes(archive: zipfile.ZipFile, path: str | Path) -> None:
    """Refuse what asks for far more room than it takes, before anything is read."""
    there = Path(path).stat().st_size
    wanted = sum(info.file_size for info in archive.infolist())
    if wanted > 200 * there + 2**24:
        raise DefectStrainError(
            f"{path}: damaged: {there} bytes that ask for {wanted} bytes of memory"
        )


def _files_of(record: Record, stem: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of a record by name, and the rest of it."""
    content: dict[str, Any] = {
        "type": record.kind,
        "look": dict(record.look),
        "metadata": dict(record.metadata),
        "after": dict(record.after),
        "links": record.links,
    }
    features = record.features
    if record.kind in ("image", "labels"):
        content |= {"features": features, "shape": list(np.shape(record.data))}
        return {f"{stem}.tif": _tiff(record)}, content
    if record.kind in TABLES and _writable(features):
        shape = np.shape(record.data)
        content |= {"shape": list(shape), "dtype": np.asarray(record.data).dtype.str}
        content["columns"] = _column_types(features)
        return {f"{stem}.csv": _csv(record)}, content
    content |= {"data": record.data, "features": features}
    return {}, content


def _writable(features: pd.DataFrame | None) -> bool:
    """Whether a table of text gives the same features back."""
    if features is None:
        return True
    names = [str(name) for name in features.columns]
    kinds = [_kind_of(features[name]) for name in features.columns]
    return len(set(names)) == len(names) and "" not in kinds


def _kind_of(column: pd.Series) -> str:
    if isinstance(column.dtype, pd.CategoricalDtype):
        known = all(isinstance(c, str) and c for c in column.cat.categories)
        return "category" if known and not column.isna().any() else ""
    if column.dtype.kind in "fiub":
        return str(column.dtype)
    values = list(column)
    return "text" if all(isinstance(v, str) for v in values) else ""


def _column_types(features: pd.DataFrame | None) -> list[list[Any]]:
    """Name, type and, where there are, categories of each column."""
    rows = []
    for name in [] if features is None else features.columns:
        column = features[name]
        kind = _kind_of(column)
        rows.append([str(name), kind, list(column.cat.categories) if kind == "category" else []])
    return rows


def _csv(record: Record) -> bytes:
    data = np.asarray(record.data)
    flat = data.reshape(len(data), int(np.prod(data.shape[1:])))
    table = {f"data_{i}": flat[:, i] for i in range(flat.shape[1])}
    for name in [] if record.features is None else record.features.columns:
        table[str(name)] = record.features[name].to_numpy()
    frame = pd.DataFrame(table)
    text = frame.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC)  # floats in full
    return str(text).encode()


def _tiff(record: Record) -> bytes:
    buffer = io.BytesIO()
    scale, units = record.look["scale"], record.look["units"]
    about = {"scale": [float(s) for s in scale], "units": list(units), "name": record.name}
    array = np.asarray(record.data)
    stored = array.astype(np.uint8) if array.dtype == bool else array
    rgb = bool(record.look.get("rgb"))
    tifffile.imwrite(
        buffer,
        stored,
        photometric="rgb" if rgb else "minisblack",
        description=json.dumps(about),
        metadata=None,
    )
    return buffer.getvalue()


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _array_name(number: int) -> str:
    return f"arrays/{number:04d}.npy"


def _array(archive: zipfile.ZipFile, name: str) -> Any:
    return np.load(io.BytesIO(archive.read(name)), allow_pickle=False)


def _record(archive: zipfile.ZipFile, entry: dict[str, Any], unpacker: Unpacker) -> Record:
    files = entry.pop("files")
    content = unpacker.unpack(entry)
    kind = content["type"]
    if kind not in KINDS:
        raise DefectStrainError(f"got a layer of the type {kind!r}, expected {', '.join(KINDS)}")
    features = content.get("features")
    if kind in ("image", "labels"):
        data = _shaped(_pixels(archive, files[0], labels=kind == "labels"), content)
    elif files:
        data, features = _from_csv(archive, files[0], content)
    else:
        data = content["data"]
    return Record(
        kind,
        data,
        content["look"],
        features,
        content["metadata"],
        content["after"],
        content.get("links", ""),
    )


def _pixels(archive: zipfile.ZipFile, name: str, labels: bool) -> Any:
    raw = archive.read(name)
    with tifffile.TiffFile(io.BytesIO(raw)) as tiff:
        series = tiff.series[0]
        if int(np.prod(series.shape)) * series.dtype.itemsize > len(raw):
            raise DefectStrainError(f"{name}: damaged: its pixels aren't all there")
        found = series.asarray()
    return found.astype(int) if labels and found.dtype.kind not in "iu" else found


def _shaped(pixels: Any, content: Mapping[str, Any]) -> Any:
    """Pixels in the shape that the layer had: TIFF knows no axis along which there is one plane."""
    shape = content.get("shape")
    if shape is None:  # written before shapes were kept
        axes = len(content["look"]["scale"]) + bool(content["look"].get("rgb"))
        shape = [1] * (axes - pixels.ndim) + list(pixels.shape)
    return pixels.reshape([int(n) for n in shape])


def _from_csv(
    archive: zipfile.ZipFile, name: str, content: Mapping[str, Any]
) -> tuple[Any, pd.DataFrame | None]:
    types = {column: kind for column, kind, _ in content["columns"]}
    texts = {column: str for column, kind in types.items() if kind in ("text", "category")}
    table = pd.read_csv(
        io.BytesIO(archive.read(name)),
        dtype=texts,
        keep_default_na=False,
        na_values={column: [""] for column in types if column not in texts},
        float_precision="round_trip",
    )
    shape = content["shape"]
    count = int(np.prod(shape[1:]))
    data = table[[f"data_{i}" for i in range(count)]].to_numpy(dtype=content["dtype"])
    columns: dict[str, Any] = {}
    for column, kind, categories in content["columns"]:
        values = table[column]
        if kind == "category":
            columns[column] = pd.Categorical(values, categories)
        elif kind == "text":
            columns[column] = values.to_numpy(dtype=object)
        else:
            columns[column] = values.to_numpy(dtype=kind)
    features = pd.DataFrame(columns, index=pd.RangeIndex(len(table))) if columns else None
    return data.reshape(shape), features
