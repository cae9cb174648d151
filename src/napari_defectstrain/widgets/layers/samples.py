"""File > Open Sample: the simulated images that come with the package."""

from importlib.resources import as_file, files

from ...io.files import ImageFile, read_file
from .readers import KEY, LayerData, laid_out

PACKAGE = "napari_defectstrain.sample_data"


def open_nine_regions() -> list[LayerData]:
    """Nine images of one alloy at two scan rotations, side by side, so that all are in sight."""
    return _samples(*(f"nine_regions_{index + 1}" for index in range(9)))


def open_one_region() -> list[LayerData]:
    """One image, for a first look."""
    return _samples("one_region")


def open_drift_series() -> list[LayerData]:
    """Ten frames of one region, drifting."""
    return _samples("drift_series")


def open_dose_series() -> list[LayerData]:
    """Frames of one field in which vacancies appear as the dose grows."""
    return _samples("dose_series")


def _read(stem: str) -> ImageFile:
    with as_file(files(PACKAGE) / f"{stem}.tif") as path:
        return read_file(path)


def _samples(*stems: str) -> list[LayerData]:
    """The layers, each with the name of the table of what is true beside it."""
    layers = laid_out([_read(stem) for stem in stems])
    for _, keywords, _ in layers:
        keywords["metadata"][KEY]["truth"] = f"{keywords['name']}.truth.csv"
    return layers
