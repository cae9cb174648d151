"""What the layers of all detections hold, and their thumbnails, made in a worker."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from threading import Event

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Points
from napari.qt.threading import GeneratorWorker, create_worker
from qtpy.QtCore import QObject, QTimer, Signal

from ...averages.looks import Looks, looks_in_steps
from ...crystal.regions import Regions
from ...materials import get_material
from ...types import BoolArray, CalibratedImage, DefectStrainError, FloatArray, IntArray, Sites
from ..base.lifetime import when_destroyed
from ..layers.corrections import correct_sites
from ..layers.regions import regions_of
from ..layers.sites import (
    AWAITING,
    found_sites,
    image_planes,
    kind,
    layer_by_id,
    material_of,
    note,
    on_plane,
)

PAINT_MS = 10
"""After thumbnails were handed over: the window paints them before more are made."""
MOST_S = 2.0
"""How long the worker waits for that at most: a hidden window paints nothing."""


@dataclass(frozen=True)
class Place:
    """One image of the gallery.

    Parameters
    ----------
    name : str
    image : Image
    defects : Points
        Whose points are edited.
    plane : int or None
        Of a stack.
    """

    name: str
    image: Image
    defects: Points
    plane: int | None


@dataclass(frozen=True)
class Snapshot:
    """What a detection holds now, for a worker that must not look at layers.

    Parameters
    ----------
    image : CalibratedImage
    found : Sites
        As they were found.
    point_px : array, `(M, 2)`
    class_index : array of int, `(M,)`
    manual : array of bool, `(M,)`
    labels : array, `(H, W)`, or None
    """

    image: CalibratedImage
    found: Sites
    point_px: FloatArray
    class_index: IntArray
    manual: BoolArray
    labels: np.ndarray | None

    def sites(self) -> Sites:
        """The columns with all corrections."""
        return correct_sites(self.found, self.point_px, self.class_index, self.manual)


def places_of(viewer: ViewerModel) -> list[Place]:
    """The newest detection of each image whose classes are those of the newest of all."""
    newest = {
        note(layer)["image"]: layer
        for layer in viewer.layers
        if isinstance(layer, Points) and kind(layer) == "defects" and not note(layer).get(AWAITING)
    }
    if not newest:
        return []
    names = note(list(newest.values())[-1])["class_names"]
    found = []
    for image_id, layer in newest.items():
        image = layer_by_id(viewer, image_id)
        sites = layer_by_id(viewer, note(layer).get("sites"))
        if not isinstance(image, Image) or not isinstance(sites, Points):
            continue
        if list(note(layer)["class_names"]) != list(names):
            continue
        count = 1 if image.ndim == 2 else image.data.shape[0]
        for i in range(count):
            name = image.name if image.ndim == 2 else f"{image.name} {i + 1}"
            found.append(Place(name, image, layer, None if image.ndim == 2 else i))
    return found


def snapshots_of(viewer: ViewerModel, places: Sequence[Place]) -> list[Snapshot]:
    """What the layers of these places hold.

    Raises
    ------
    DefectStrainError
        If a layer is gone or can't be read.
    """
    found, planes = [], {}
    for place in places:
        if id(place.image) not in planes:  # a lazy stack is read once, not once a plane
            planes[id(place.image)] = image_planes(place.image)
        image = planes[id(place.image)][place.plane or 0]
        columns = layer_by_id(viewer, note(place.defects)["sites"])
        if not isinstance(columns, Points):
            raise DefectStrainError(f"{place.name}: its layer of all columns is gone; detect again")
        sites = found_sites(columns, place.plane)
        here = on_plane(place.defects, place.plane)
        features = place.defects.features[here]
        codes = pd.Categorical(features["class"].astype(str), sites.class_names).codes
        if (codes < 0).any():
            raise DefectStrainError(f"{place.defects.name}: got a point of no class; give it one")
        regions = regions_of(viewer, place.defects)
        labels = None
        if regions is not None:
            labels = np.asarray(regions.data if place.plane is None else regions.data[place.plane])
        found.append(
            Snapshot(
                image,
                sites,
                np.array(place.defects.data, dtype=float)[here, -2:],
                codes.astype(int),
                (features["source"] == "manual").to_numpy(dtype=bool),
                labels,
            )
        )
    return found


class Gathering(QObject):
    """Gathers all detections of a viewer in a worker; what was asked for last is what comes.

    Parameters
    ----------
    viewer : ViewerModel
    parent : QObject
    """

    shown = Signal(object, object)
    """Emitted with places and `Looks`, again and again with more thumbnails."""
    ended = Signal(str)
    """Emitted at the end, with what went wrong or nothing."""

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._worker: GeneratorWorker | None = None
        self._places: list[Place] = []
        stop = self._stop = _Stopped()
        when_destroyed(parent, stop)

    @property
    def busy(self) -> bool:
        """True while thumbnails are being made."""
        return self._worker is not None

    def start(self) -> None:
        """Gather anew."""
        self.stop()
        self._places = places_of(self._viewer)
        if not self._places:
            self.shown.emit([], None)
            self.ended.emit("")
            return
        try:
            snapshots = snapshots_of(self._viewer, self._places)
        except DefectStrainError as mistake:
            self.ended.emit(str(mistake))
            return
        a_pm = get_material(material_of(self._places[-1].defects)).lattice_pm
        stop = self._stop = _Stopped()
        when_destroyed(self.parent(), stop)
        worker = create_worker(_looks, snapshots, a_pm, stop, _start_thread=False)
        places = list(self._places)
        worker.yielded.connect(lambda found: self._show(stop, places, found))
        worker.finished.connect(lambda: self._end(stop))
        self._worker = worker
        worker.start()

    def stop(self) -> None:
        """Leave what is under way."""
        self._stop()
        if self._worker is not None:
            self._worker.quit()
        self._worker = None

    def _show(self, stop: "_Stopped", places: list[Place], found: Looks | str) -> None:
        if stop.asked:
            return
        QTimer.singleShot(PAINT_MS, stop.painted.set)  # after what is drawn now
        if isinstance(found, str):
            self._worker = None
            stop()
            self.ended.emit(found)
        else:
            self.shown.emit(places, found)

    def _end(self, stop: "_Stopped") -> None:
        if not stop.asked:
            self._worker = None
            self.ended.emit("")


class _Stopped:
    """Whether a worker's results are wanted any more."""

    def __init__(self) -> None:
        self.asked = False
        self.painted = Event()
        """Set when the window has had its turn."""

    def __call__(self) -> None:
        self.asked = True
        self.painted.set()

    def pause(self) -> None:
        """Wait in the worker until the last result is painted."""
        self.painted.wait(MOST_S)
        self.painted.clear()


def _looks(
    snapshots: Sequence[Snapshot], a_pm: float, stopped: _Stopped
) -> Generator[Looks | str, None, None]:
    try:
        sites = [one.sites() for one in snapshots]
        regions = [None if s.labels is None else Regions(s.labels, ()) for s in snapshots]
        for looks in looks_in_steps([s.image for s in snapshots], sites, regions, a_pm):
            if stopped.asked:
                return
            yield looks
            stopped.pause()
    except DefectStrainError as mistake:
        yield str(mistake)
