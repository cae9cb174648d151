"""Calibrated images in; images, tables and JSON out.

Reading: `read_images` for calculations (pixels checked, one image a frame), `read_file` and
`read_datasets` for looking at what a file holds. Writing: every file appears whole or not at all
(`writing.atomic_path`).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .. import __version__
from ..types import CalibratedImage, DefectStrainError
from ..units import pm_per_unit
from .file_names import printable
from .formats import SUFFIXES, decode
from .rasters import MAX_SIDE_PX, MIN_SIDE_PX, Dataset, check_array, validate_image
from .tables import read_sites, sites_table
from .writing import atomic_path

__all__ = [
    "MAX_SIDE_PX",
    "MIN_SIDE_PX",
    "SUFFIXES",
    "ImageFile",
    "atomic_path",
    "read_datasets",
    "read_file",
    "read_images",
    "read_sites",
    "sites_table",
    "validate_image",
    "write_json",
    "write_table",
    "write_tiff",
]

PIXEL_SIZE_RANGE_PM = (1.0, 200.0)
"""Pixel sizes [pm] that an atomically resolved image can have; others are no calibration."""

MAX_TITLE = 120
"""Longest title of an image that is kept [characters]."""

SQUARE_TOLERANCE = 1e-3
"""Relative difference of a pixel's sides that still counts as square."""

# How files spell units that `units` knows under another name.
UNIT_SPELLINGS = {
    "meter": "m",
    "metre": "m",
    "micrometer": "um",
    "micrometre": "um",
    "nanometer": "nm",
    "nanometre": "nm",
    "n_m": "nm",
    "angstroms": "angstrom",
    "ångström": "angstrom",
    "picometer": "pm",
    "picometre": "pm",
    "p_m": "pm",
}
NO_UNIT = ("", "px", "pixel", "pixels", "none", "<undefined>", "unknown")


@dataclass(frozen=True)
class ImageFile:
    """One image or stack of images of a file, with its pixels as they lie in the file.

    Parameters
    ----------
    data : array, `(H, W)` or `(T, H, W)`
    pixel_size_pm : float or None
        Side of a pixel [pm]; None where the file does not say, or says what can't be.
    name : str
        Stem of the file, and the title in brackets where the file holds several images.
    metadata : mapping
        ``source`` (name of the file); where the file has them ``beam_energy_kev``,
        ``semi_angle_mrad``, ``dwell_time_us``, ``title``, ``channel``; ``stated_pixel_size_pm``
        and ``warnings`` (list of str) where the file's calibration was not believed.
    """

    data: npt.NDArray[Any]
    pixel_size_pm: float | None
    name: str
    metadata: Mapping[str, Any]

    @property
    def is_stack(self) -> bool:
        """True for a stack of images `(T, H, W)`."""
        return self.data.ndim == 3

    def images(self) -> list[CalibratedImage]:
        """Every frame as an image of its own, in floating point, named ``name[0]`` ...

        Integers of up to 16 bits become float32, larger ones float64: counts stay exact.
        """
        dtype = np.result_type(self.data.dtype.newbyteorder("="), np.float32)
        if dtype.kind != "f" or dtype.itemsize > 8:
            dtype = np.dtype(np.float64)
        if not self.is_stack:
            data = self.data.astype(dtype)
            return [CalibratedImage(data, self.pixel_size_pm, self.name, self.metadata)]
        return [
            CalibratedImage(
                frame.astype(dtype),
                self.pixel_size_pm,
                f"{self.name}[{index}]",
                {**self.metadata, "frame": index},
            )
            for index, frame in enumerate(self.data)
        ]


# ------------------------------------------------------------------ reading


def read_datasets(path: str | Path) -> list[ImageFile]:
    """All images and stacks of a file (`SUFFIXES`), pixels unchecked.

    Raises
    ------
    DefectStrainError
        If the file is missing, unreadable, empty, damaged, of an unknown kind, in colour,
        complex, larger than `MAX_SIDE_PX` a side, has pixels that are not square, or holds no
        real-space image.
    """
    path = Path(path)
    datasets = decode(path)
    return [_image_file(dataset, path, several=len(datasets) > 1) for dataset in datasets]


def read_file(path: str | Path) -> ImageFile:
    """The image or stack of a file.

    Of several the one titled HAADF or ADF, else the one of the deepest grey values, else the first.

    Raises
    ------
    DefectStrainError
        As `read_datasets`.
    """
    found = read_datasets(path)
    if len(found) == 1:
        return found[0]
    titles = [str(entry.metadata.get("title", "")) for entry in found]
    ranks = [
        (0 if "HAADF" in t.upper() else 1 if "ADF" in t.upper() else 2, -entry.data.itemsize)
        for t, entry in zip(titles, found, strict=True)
    ]
    chosen = found[ranks.index(min(ranks))]
    listed = ", ".join(titles[:8]) + (", ..." if len(titles) > 8 else "")
    warning = f"the file holds {len(found)} images ({listed}); took {chosen.name}"
    warnings = [*chosen.metadata.get("warnings", []), warning]
    return dataclasses.replace(chosen, metadata={**chosen.metadata, "warnings": warnings})


def read_images(path: str | Path) -> list[CalibratedImage]:
    """The images of a file, one a frame, ready for calculation.

    Raises
    ------
    DefectStrainError
        As `read_datasets`, and as `validate_image` for any frame: NaN or infinite pixels, the
        same value everywhere, fewer than `MIN_SIDE_PX` pixels a side.
    """
    images = read_file(path).images()
    for image in images:
        validate_image(image)
    return images


def _image_file(dataset: Dataset, path: Path, *, several: bool) -> ImageFile:
    pixel_size_pm, remarks = _calibration(dataset, path)
    warnings = [*dataset.metadata.get("warnings", ()), *remarks.pop("warnings", ())]
    metadata = {**dataset.metadata, **remarks, "source": printable(path.name)}
    if warnings:
        metadata["warnings"] = warnings
    stem, title = printable(path.stem), _one_line(dataset.title)
    if title:
        metadata["title"] = title
    name = f"{stem}[{title}]" if several and title else stem
    data = dataset.data
    if not data.dtype.isnative:
        data = data.astype(data.dtype.newbyteorder("="))
    return ImageFile(data, pixel_size_pm, name, metadata)


def _one_line(title: str) -> str:
    """A title as text that a list or a layer can show."""
    shown = "".join(c if c.isprintable() else " " for c in printable(title))
    return " ".join(shown.split())[:MAX_TITLE]


def _calibration(dataset: Dataset, path: Path) -> tuple[float | None, dict[str, Any]]:
    """Pixel size [pm] or None, and what to note in the metadata about it."""
    unit = dataset.unit.strip().strip("[]").strip()
    if unit.casefold() in NO_UNIT:
        return None, {}
    factor = pm_per_unit(UNIT_SPELLINGS.get(unit.casefold(), unit))
    if factor is None:
        return None, {"warnings": [f"unknown unit of length {dataset.unit!r}: no calibration"]}
    # a side below zero says that the axis runs the other way; as long it is all the same
    y_pm, x_pm = (abs(side * factor) for side in dataset.scale)
    if y_pm == 0 and x_pm == 0:  # an MRC file that was never calibrated
        return None, {}
    low, high = PIXEL_SIZE_RANGE_PM
    stated = math.sqrt(y_pm * x_pm)
    if not (low <= stated <= high):
        warning = (
            f"the file states a pixel size of {stated:.4g} pm, outside {low:g}-{high:g} pm: "
            "taken as not calibrated"
        )
        return None, {"stated_pixel_size_pm": stated, "warnings": [warning]}
    if abs(y_pm / x_pm - 1) > SQUARE_TOLERANCE:
        raise DefectStrainError(
            f"{path}: got pixels of {y_pm:.4g} x {x_pm:.4g} pm (y, x), expected square ones "
            "within 0.1 %; resample the image"
        )
    # One side as the file has it, so that square pixels come through without rounding.
    return float(x_pm), {}


# ------------------------------------------------------------------ writing


def write_tiff(
    path: str | Path,
    array: npt.NDArray[Any],
    pixel_size_pm: float | None,
    metadata: Mapping[str, Any] | None = None,
    channels: Sequence[str] | None = None,
) -> None:
    """Write a calibrated, compressed TIFF that ImageJ and `read_file` understand.

    Integers that fit are stored as uint8 or uint16; everything else as float32.

    Parameters
    ----------
    path : path
        Overwritten if it exists.
    array : array, `(H, W)` or `(T, H, W)`
        One image, a stack of frames, or one map for each of `channels`.
    pixel_size_pm : float or None
        Side of a pixel [pm].
    metadata : mapping, optional
        JSON values, kept in the description of the file.
    channels : sequence of str, optional
        Names of the maps along the first axis.

    Raises
    ------
    DefectStrainError
        If the array is no image, `channels` don't match it, or the file can't be written.
    """
    check_array(array.shape, array.dtype, str(path))
    if channels is not None and (array.ndim != 3 or len(channels) != len(array)):
        raise DefectStrainError(
            f"{path}: got {len(channels)} channel names for an array of shape {array.shape}"
        )
    if pixel_size_pm is not None and not (math.isfinite(pixel_size_pm) and pixel_size_pm > 0):
        raise DefectStrainError(f"{path}: got a pixel size of {pixel_size_pm} pm, expected above 0")
    from .tiff import encode_tiff

    described = {"software": f"napari-defectstrain {__version__}", **_plain(metadata or {})}
    with atomic_path(path) as temporary:
        encode_tiff(temporary, array, pixel_size_pm, described, channels)


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV (UTF-8, comma, no index), overwriting `path`.

    Raises
    ------
    DefectStrainError
        If the file can't be written.
    """
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, encoding="utf-8", lineterminator="\n")


def read_settings(path: Path) -> dict[str, Any]:
    """The object of a JSON file.

    Raises
    ------
    DefectStrainError
        If it holds something else, or a setting twice.
    """

    def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DefectStrainError(f"{path}: got {', '.join(twice)} twice, expected it once")
        return dict(pairs)

    try:
        values = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=each_once)
    except DefectStrainError:
        raise
    except (ValueError, RecursionError) as error:
        raise DefectStrainError(f"{path}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise DefectStrainError(f"{path}: got no JSON object, expected settings")
    return values


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON, overwriting `path`; arrays become lists, NaN and infinity null.

    Parameters
    ----------
    path : path
    content : mappings, sequences, arrays, dataclasses, paths and plain values

    Raises
    ------
    DefectStrainError
        If the file can't be written.
    TypeError
        If `content` holds anything else.
    """
    # printable: names of files may hold bytes that are no text
    text = printable(json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False))
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _plain(content: Any) -> Any:
    """The same as JSON values."""
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        fields = dataclasses.fields(content)
        return {field.name: _plain(getattr(content, field.name)) for field in fields}
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, np.ndarray):
        return _plain(content.tolist())
    if isinstance(content, np.generic):
        return _plain(content.item())
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    if isinstance(content, (set, frozenset)):
        return sorted(_plain(value) for value in content)
    if isinstance(content, Path):
        return str(content)
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
