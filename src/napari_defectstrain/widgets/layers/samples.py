"""File > Open Sample: the simulated images that come with the package."""

from importlib.resources import as_file, files
from typing import Any

from ...io.files import ImageFile, read_file
from .readers import KEY, LayerData, layer_data

PACKAGE = "napari_defectstrain.sample_data"
REGIONS_PER_ROW = 3
GAP_PX = 48
"""Gap between the regions when they are laid out side by side."""


def open_nine_regions() -> list[LayerData]:
    """Nine images of one alloy at two scan rotations, side by side, so that all are in sight."""
    layers = []
    for index in range(9):
        entry = _read(f"nine_regions_{index + 1}")
        row, column = divmod(index, REGIONS_PER_ROW)
        height, width = (side + GAP_PX for side in entry.data.shape)
        side_pm = entry.pixel_size_pm or 1.0
        place = (row * height * side_pm, column * width * side_pm)
        layers.append(_sample(entry, translate=place))
    return layers


def open_one_region() -> list[LayerData]:
    """One image, for a first look."""
    return [_sample(_read("one_region"))]


def open_drift_series() -> list[LayerData]:
    """Ten frames of one region, drifting."""
    return [_sample(_read("drift_series"))]


def open_dose_series() -> list[LayerData]:
    """Frames of one field in which vacancies appear as the dose grows."""
    return [_sample(_read("dose_series"))]


def _read(stem: str) -> ImageFile:
    with as_file(files(PACKAGE) / f"{stem}.tif") as path:
        return read_file(path)


def _sample(entry: ImageFile, **look: Any) -> LayerData:
    """The layer, with the name of the table of what is true beside it."""
    data, keywords, kind = layer_data(entry, **look)
    keywords["metadata"][KEY]["truth"] = f"{entry.name}.truth.csv"
    return data, keywords, kind
