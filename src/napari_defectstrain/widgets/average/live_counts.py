"""How many windows each class would have, counted anew while the user chooses and edits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID
from zlib import crc32

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer, Points
from napari.qt.threading import FunctionWorker, create_worker
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from ...averages.counts import WindowCount, WindowCounter
from ...crystal.regions import Regions
from ...materials import get_material
from ...pipeline.runs import RunConfig
from ...types import CalibratedImage, DefectStrainError, Sites
from ..base.lifetime import connect
from ..layers.editing import editor_of
from ..layers.regions import division_read, regions_of
from ..layers.sites import image_planes, layer_by_id, note

WAIT_MS = 250


_Parts = tuple[str, str, tuple[UUID, int] | None]
"""Image and layer of all columns of a detection, layer of regions and checksum of its labels."""


@dataclass(frozen=True)
class Gathered:
    """The planes of one detection: images, corrected columns, regions, the detector's doubt."""

    images: Sequence[CalibratedImage]
    sites: Sequence[Sites]
    regions: Sequence[Regions | None]
    overconfidence: Sequence[float] = ()


Gathering = Callable[[], list[Gathered]]
"""Works out what some detections stand for, in any thread."""


def gather(viewer: ViewerModel, layer: Points) -> Gathered:
    """What a defects layer stands for now, with the corrections by hand.

    Raises
    ------
    DefectStrainError
        If a layer of the detection is gone.
    """
    return gathering_of(viewer, layer)()


def gathering_of(viewer: ViewerModel, layer: Points) -> Callable[[], Gathered]:
    """`gather` in two parts: layers are looked at now, the rest any thread may do."""
    divide = division_read(viewer, layer)
    images = image_planes(layer_by_id(viewer, note(layer)["image"]))
    doubt = note(layer).get("overconfidence") or ()

    def work() -> Gathered:
        columns, regions = divide()
        return Gathered(images, columns, regions, doubt)

    return work


class LiveCounts(QObject):
    """Counts windows in a thread of its own, a quarter of a second after the last change.

    Detections are gathered one at a time, so that napari stays responsive, and again only when
    they have changed.

    Parameters
    ----------
    widget : QWidget
        Whose settings count; its end is the end of the counting.
    viewer : ViewerModel
    chosen : callable
        Gives the defects layers and the settings, or raises `DefectStrainError`.
    """

    started = Signal()
    """Emitted when the last count holds no more."""
    counted = Signal(object)
    """Emitted with the `WindowCount` of each class."""
    failed = Signal(str)
    """Emitted with what keeps the windows from being counted."""

    def __init__(
        self,
        widget: QWidget,
        viewer: ViewerModel,
        chosen: Callable[[], tuple[Sequence[Points], RunConfig]],
    ) -> None:
        super().__init__(widget)
        self._widget, self._viewer, self._chosen = widget, viewer, chosen
        self._kept: dict[UUID, tuple[_Parts, Gathered]] = {}
        self._last: tuple[list[Gathered], RunConfig] | None = None
        self._watched: set[UUID] = set()
        self._counters: dict[str, WindowCounter] = {}
        self._worker: FunctionWorker | None = None
        self._again = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._work)

    @property
    def busy(self) -> bool:
        """True while a count is under way or due."""
        return self._worker is not None or self._timer.isActive()

    def changed(self, *_: object) -> None:
        """Settings or layers have changed: count soon, if that makes a difference."""
        self._timer.start(WAIT_MS)

    def _work(self) -> None:
        if self._worker is not None:
            self._again = True
            return
        try:
            layers, config = self._chosen()
            for layer in layers:
                parts = self._parts(layer)
                if self._kept.get(layer.unique_id, (None,))[0] != parts:
                    self.started.emit()
                    self._watch(layer)
                    self._kept[layer.unique_id] = parts, gather(self._viewer, layer)
                    self._timer.start(0)
                    return
        except DefectStrainError as mistake:
            self._last = None
            self.failed.emit(str(mistake))
            return
        found = [self._kept[la.unique_id][1] for la in layers]
        if self._last is None or not _same(self._last, (found, config)):
            self._count(found, config)

    def _count(self, found: list[Gathered], config: RunConfig) -> None:
        self.started.emit()
        self._last = found, config
        nominal = get_material(config.material).lattice_pm
        counter = self._counters.setdefault(config.material, WindowCounter(nominal))
        worker = create_worker(_attempt, counter, found, config, _start_thread=False)
        worker.returned.connect(self._finish)
        worker.errored.connect(self._fail)
        self._worker = worker
        worker.start()

    def _finish(self, outcome: dict[str, WindowCount] | str) -> None:
        self._worker = None
        if isinstance(outcome, str):
            self._last = None
            self.failed.emit(outcome)
        else:
            self.counted.emit(outcome)
        if self._again:
            self._again = False
            self.changed()

    def _fail(self, error: Exception) -> None:
        # napari shows it, with a traceback to send to us
        self._finish(f"Unexpected error: {error}")

    def _parts(self, layer: Points) -> _Parts:
        regions = regions_of(self._viewer, layer)
        painted = None
        if regions is not None:
            painted = regions.unique_id, crc32(np.ascontiguousarray(regions.data))
        return note(layer)["image"], note(layer)["sites"], painted

    def _watch(self, layer: Points) -> None:
        """Gather a detection again after edits of its points or its image."""
        key = layer.unique_id

        def stale(*_: object) -> None:
            self._kept.pop(key, None)
            self.changed()

        if self._is_new(layer):
            connect(self._widget, editor_of(layer).changed, stale)
        image = layer_by_id(self._viewer, note(layer)["image"])
        if image is not None and self._is_new(image):
            for event in (image.events.data, image.events.scale, image.events.units):
                connect(self._widget, event, stale)
        regions = regions_of(self._viewer, layer)
        if regions is not None and self._is_new(regions):
            # Hidden layers tell of new labels by the first event only; the second comes with every
            # turn of a slider, too, so that a checksum says whether labels have changed.
            for event in (regions.events.data, regions.events.set_data):
                connect(self._widget, event, self.changed)

    def _is_new(self, layer: Layer) -> bool:
        new = layer.unique_id not in self._watched
        self._watched.add(layer.unique_id)
        return new


def _same(one: tuple[list[Gathered], RunConfig], other: tuple[list[Gathered], RunConfig]) -> bool:
    alike = len(one[0]) == len(other[0]) and one[1] == other[1]
    return alike and all(a is b for a, b in zip(one[0], other[0], strict=True))


def _attempt(
    counter: WindowCounter, found: Sequence[Gathered], config: RunConfig
) -> dict[str, WindowCount] | str:
    try:
        return counter.count(
            [image for one in found for image in one.images],
            [sites for one in found for sites in one.sites],
            config.average,
            config.seed,
            [regions for one in found for regions in one.regions],
        )
    except DefectStrainError as mistake:
        return str(mistake)
