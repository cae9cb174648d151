"""File > Open Sample: the simulated images, those that come with the package and the others."""

from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from napari.utils import progress
from qtpy.QtCore import QEventLoop, QThread
from qtpy.QtWidgets import QApplication

from ...io.files import ImageFile, read_file
from ...simulate.samples import sample_image
from .placing import fit_when_added, present_viewer, show_scale_bar
from .readers import KEY, LayerData, laid_out

_TURN_S = 0.02
"""How long the window waits at a time while a sample is made [s]."""


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
    return read_file(_path(stem))


def _path(stem: str) -> Path:
    """The sample's file; where it has to be made first, a bar runs and the window is drawn."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        path = pool.submit(sample_image, stem)
        if wait([path], _TURN_S).done:  # as good as always: the file is there
            return path.result()
        with progress(total=0, desc=f"Making the sample {stem}"):
            # napari wants the layers from this very call. Clicks wait: they could ask for it twice.
            while not wait([path], _TURN_S).done:
                _draw()
    return path.result()


def _samples(*stems: str) -> list[LayerData]:
    """The layers, each with the name of the table of what is true beside it."""
    viewer, entries = present_viewer(), [_read(stem) for stem in stems]
    if viewer is not None and _in_use():
        show_scale_bar(viewer)  # draws its letters before there are images
        _draw()
    layers = laid_out(entries)
    for _, keywords, _ in layers:
        keywords["metadata"][KEY]["truth"] = f"{keywords['name']}.truth.csv"
    if viewer is None or not _in_use():
        return layers
    # napari would add all of them before the window is drawn again
    for data, keywords, _ in layers[:-1]:
        layer = viewer.add_image(data, **keywords, visible=False)
        _draw()
        layer.visible = True
        _draw()
    fit_when_added(viewer)
    return layers[-1:]


def _draw() -> None:
    """Draw the window and go on; clicks wait."""
    if QApplication.instance() is not None:
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)


def _in_use() -> bool:
    """Whether somebody sits before the window: a script that opens a sample wants its layers."""
    thread = QThread.currentThread()
    return QApplication.instance() is not None and thread is not None and thread.loopLevel() > 0
