"""Writes what hands do to layers into an open study: each edit at once, the window soon after."""

from threading import Thread
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points
from napari.utils.notifications import show_warning
from qtpy.QtCore import QEvent, QObject, QTimer, Signal

from ...crystal.regions import NOT_2H, Regions, label_regions
from ...study import Answer, Study
from ...types import ClassStack, DefectStrainError, Sites
from ..base.lifetime import when_destroyed
from ..layers.averages import CUT, STACK
from ..layers.copies import watch_copies
from ..layers.corrections import X2, correct_sites, with_hidden
from ..layers.editing import editor_of
from ..layers.regions import edited, regions_of
from ..layers.sites import (
    CALIBRATION,
    HIDDEN,
    found_sites,
    hidden_on,
    kind,
    layer_by_id,
    layer_id,
    note,
    on_plane,
    pixel_size_pm,
)
from . import arrangement
from .ties import (
    forget_name,
    names_of,
    newest_detections,
    region_labels,
    source_images,
    take_in,
)

SOON_MS = 250
"""After the last stroke of a brush, or the last layer that came, until it is written."""
WINDOW_MS = 2500
"""The same for what the window looks like."""

BY_HAND = ("columns", "regions", "windows")
"""What edits of hands are about; the others are answers, settings and files."""

_KEEPERS: dict[int, "StudyKeeper"] = {}


def keeper_of(viewer: ViewerModel) -> "StudyKeeper | None":
    """The study that is open in a viewer; None where there is none."""
    found = _KEEPERS.get(id(viewer))
    return found if found is not None and found.viewer is viewer else None


class StudyKeeper(QObject):
    """Keeps an open study up to date with the layers of a viewer, until it is closed.

    Parameters
    ----------
    viewer : ViewerModel
    study : Study
        Of which this is the owner now.
    copy : bool
        Take in files of images with a copy.
    """

    changed = Signal()
    """Emitted when something was written, or could not be."""

    def __init__(self, viewer: ViewerModel, study: Study, copy: bool = False) -> None:
        window = getattr(getattr(viewer, "window", None), "_qt_window", None)
        super().__init__(window)
        self.viewer, self.study, self.copy = viewer, study, copy
        self.problem = ""
        self._told = False
        self._models: dict[str, Sites] = {}
        self._taken: dict[str, int] = {}
        self._written: dict[str, str] = {}
        self._pixels: dict[str, Any] = {}
        self._stacks: dict[tuple[str, str], ClassStack] = {}
        self._watched: list[tuple[Any, Any]] = []
        self._seen: set[str] = set()
        self._soon = self._timer(SOON_MS, self.sync)
        self._window = self._timer(WINDOW_MS, self._save_layers)
        self._view = self._timer(WINDOW_MS, self._save_view)
        self._writing: Thread | None = None
        old = keeper_of(viewer)
        if old is not None:
            old.close()
        _KEEPERS[id(viewer)] = self
        if window is not None:
            window.installEventFilter(self)
            when_destroyed(window, self.close)
        for event in (
            viewer.layers.events.inserted,
            viewer.layers.events.removed,
            viewer.layers.events.reordered,
        ):
            self._watch(event, self._layers_changed)
        watch_copies(viewer)
        self._watch(viewer.scene.camera.events.zoom, self._view_changed)
        self._watch(viewer.scene.camera.events.center, self._view_changed)

    # ------------------------------------------------------------------ what it says

    @property
    def state(self) -> str:
        """One line for the user."""
        if self.problem:
            return f"Study {self.study.name}: {self.problem}"
        if self.study.read_only:
            who = f": {self.study.holder} has it open" if self.study.holder else ""
            return f"Study {self.study.name}, read-only{who}. Edits here aren't kept"
        edits = sum(e.by == "manual" and e.what in BY_HAND for e in self.study.history())
        return f"Study {self.study.name}: every edit is kept ({edits} by hand so far)"

    # ------------------------------------------------------------------ writing

    def known(self) -> None:
        """What the layers hold now came from the study: nothing of it is an edit."""
        for image, defects in newest_detections(self.viewer).items():
            layer = layer_by_id(self.viewer, image)
            columns = layer_by_id(self.viewer, note(defects).get("sites"))
            if layer is not None and columns is not None and names_of(layer):
                self._taken[layer_id(columns)] = _columns_sum(columns)
                self._written.update(dict.fromkeys(names_of(layer), layer_id(columns)))
                regions = regions_of(self.viewer, defects)
                if regions is not None:
                    self._taken[layer_id(regions)] = _labels_sum(regions)
        for layer in source_images(self.viewer):
            self._pixels[layer_id(layer)] = _pixels_of(layer)
        for layer in self._averages():
            self._stacks[self._key(layer)] = layer.metadata[STACK]
        self._watch_layers()

    def go_on_from(self, old: "StudyKeeper") -> None:
        """Know what another one of the same study and viewer knew, which was closed meanwhile."""
        self._taken, self._written = old._taken, old._written
        self._stacks, self._pixels = old._stacks, old._pixels
        self._watch_layers()
        self.changed.emit()

    def take_all(self) -> None:
        """Take in every image that is open, and what was made of it.

        Raises
        ------
        DefectStrainError
            If the study can't be written.
        """
        for image in source_images(self.viewer):
            if image.ndim in (2, 3):
                self._take_in(image)
        self._write()
        self.save_window()

    def sync(self) -> None:
        """Write what differs; a failure is said, once, and tried again with the next edit."""
        self._soon.stop()
        self._watch_layers()
        if self.study.read_only:
            return
        try:
            self._write()
            self.problem = ""
        except DefectStrainError as error:
            if str(error) != self.problem:
                show_warning(f"The study isn't up to date: {error}")
            self.problem = str(error)
        self.changed.emit()

    def window_changed(self) -> None:
        """A layer has something to be kept of which no event tells: what is noted with it."""
        self._window.start()

    def save_window(self) -> None:
        """Write what the window looks like, and all results in it, and wait for it."""
        self._save_layers()
        if self._writing is not None:
            self._writing.join()
        self._save_view()
        self.changed.emit()

    def _save_layers(self) -> None:
        """Write the layers, which may be hundreds of MB, while work goes on."""
        self._window.stop()
        if self.study.read_only or not len(self.viewer.layers):
            return  # napari takes all layers away before it closes: that is no wish
        if self._writing is not None and self._writing.is_alive():
            self._window.start()  # another time: those before are still on their way
            return
        study, records = self.study, arrangement.records_of(self.viewer)

        def write() -> None:
            try:
                arrangement.save_layers(study, records)
            except DefectStrainError as error:
                self.problem = str(error)  # said with the next edit, and in the widget

        self._writing = Thread(target=write, name="study")
        self._writing.start()

    def _save_view(self) -> None:
        self._view.stop()
        if self.study.read_only or not len(self.viewer.layers):
            return
        try:
            arrangement.save_view(self.study, self.viewer)
        except DefectStrainError as error:
            self.problem = str(error)
            show_warning(f"What the window looks like isn't kept: {error}")

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Keep how the window looked when it is closed."""
        if event.type() == QEvent.Type.Close and keeper_of(self.viewer) is self:
            if self._soon.isActive():  # afterwards the layers are gone
                self.sync()
            self.save_window()
        return False

    def close(self) -> None:
        """Write what is due, and give the study back."""
        if _KEEPERS.get(id(self.viewer)) is not self:
            return
        del _KEEPERS[id(self.viewer)]
        if self._soon.isActive():
            self.sync()
        if self._window.isActive() or self._view.isActive():
            self.save_window()
        if self._writing is not None:
            self._writing.join()
        for event, callback in self._watched:
            event.disconnect(callback)
        self._watched.clear()
        self.study.close()

    def _write(self) -> None:
        for image, defects in newest_detections(self.viewer).items():
            layer = layer_by_id(self.viewer, image)
            if isinstance(layer, Image):
                self._write_detection(layer, defects)
        for image in source_images(self.viewer):
            self._write_pixel_size(image)
        for average in self._averages():
            self._write_windows(average)

    def _write_detection(self, image: Image, defects: Points) -> None:
        names = self._take_in(image)
        columns = layer_by_id(self.viewer, note(defects).get("sites"))
        assert isinstance(columns, Points)
        layer = regions_of(self.viewer, defects)
        total = _columns_sum(columns)
        is_new = self._taken.get(layer_id(columns)) != total
        painted = layer is not None and self._taken.get(layer_id(layer)) != _labels_sum(layer)
        for i, name in enumerate(names):
            plane = None if image.ndim == 2 else i
            # another layer's columns, because that one lies on top now, are another answer
            another = self._written.get(name, "") != layer_id(columns)
            if is_new or another or not self.study.has_sites(name):
                self.study.set_sites(name, found_sites(columns, plane), _answer(columns))
                self._models.pop(name, None)
            labels = region_labels(layer, plane)
            self._written[name] = layer_id(columns)
            whole = None if labels is None else Regions(labels, ())
            self.study.record(name, self._corrected(name, defects, columns, plane, whole))
            if painted and labels is not None:
                by = "manual" if edited(layer) else "model"
                self.study.set_regions(name, self._regions(name, labels), by)
        self._taken[layer_id(columns)] = total
        if layer is not None:
            self._taken[layer_id(layer)] = _labels_sum(layer)

    def _write_pixel_size(self, image: Image) -> None:
        try:
            size_pm = pixel_size_pm(image)
        except DefectStrainError:  # pixels that aren't square: refused where they are measured
            return
        by = "lattice" if image.metadata.get(CALIBRATION) == "lattice" else "given"
        for name in names_of(image):
            if size_pm is not None and name in self.study.images:
                self.study.set_pixel_size(name, size_pm, by)

    def _take_in(self, image: Image) -> list[str]:
        """Names of a layer's planes in the study; other pixels than before are another image."""
        images = source_images(self.viewer)
        before = self._pixels.get(layer_id(image))
        if before is not None and not _alike(before, _pixels_of(image)):
            forget_name(image)
        self._pixels[layer_id(image)] = _pixels_of(image)
        others = {name for la in images if la is not image for name in names_of(la)}
        return take_in(self.study, image, self.copy, others)

    def _corrected(
        self, name: str, defects: Points, columns: Points, plane: int | None, whole: Regions | None
    ) -> Sites:
        """The columns of an image with the points of its defects layer.

        Where the crystal isn't 2H no defects are shown: columns there aren't deleted ones.
        """
        model = self._model(name)
        here = on_plane(defects, plane)
        features = defects.features[here]
        codes = pd.Categorical(features["class"].astype(str), model.class_names).codes.astype(int)
        position = np.asarray(defects.data, dtype=float)[here, -2:]
        manual = (features["source"] == "manual").to_numpy(dtype=bool)
        if (codes < 0).any():
            raise DefectStrainError(
                f"{defects.name}: got points of classes that its columns don't have "
                f"({', '.join(model.class_names)}); undo, or detect again"
            )
        found, hidden = model, np.zeros(len(model), dtype=bool)
        if HIDDEN in note(columns):
            found, hidden = found_sites(columns, plane), hidden_on(columns, plane)
        elif whole is not None:  # layers of before that was kept
            hidden = (whole.label_at(model.position_px) == NOT_2H) & (model.class_index > X2)
        return correct_sites(model, *with_hidden(found, hidden, position, codes, manual))

    def _model(self, name: str) -> Sites:
        if name not in self._models:
            self._models[name] = self.study.model_sites(name)
        return self._models[name]

    def _regions(self, name: str, labels: np.ndarray) -> Regions:
        return label_regions(labels, self._model(name))

    def _write_windows(self, average: Image) -> None:
        key, now = self._key(average), average.metadata[STACK]
        before = self._stacks.get(key, average.metadata[CUT])
        if before is now:
            return
        names = arrangement.images_of_windows(self.viewer, average)
        if names and set(names) <= set(self.study.images):
            self.study.record_windows(before, now, names)
        self._stacks[key] = now

    def _averages(self) -> list[Image]:
        return [la for la in self.viewer.layers if kind(la) == "average" and STACK in la.metadata]

    def _key(self, average: Image) -> tuple[str, str]:
        return str(note(average)["run"]), str(note(average)["class"])

    # ------------------------------------------------------------------ watching

    def _timer(self, ms: int, call: Any) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(ms)
        timer.timeout.connect(call)
        return timer

    def _watch(self, event: Any, callback: Any) -> None:
        event.connect(callback)
        self._watched.append((event, callback))

    def _layers_changed(self, *_: object) -> None:
        self._soon.start()
        self._window.start()

    def _view_changed(self, *_: object) -> None:
        self._view.start()

    def _edited(self, *_: object) -> None:
        """A hand changed points: written at once, so that a crash can't lose it."""
        if self.study.read_only:
            if not self._told:
                self._told = True
                show_warning(f"{self.state}. Save study… makes a study of your own")
            return
        self.sync()

    def _painted(self, *_: object) -> None:
        self._soon.start()

    def _watch_layers(self) -> None:
        """Watch the layers that are new."""
        for layer in self.viewer.layers:
            if layer_id(layer) in self._seen:
                continue
            self._seen.add(layer_id(layer))
            for name in ("visible", *arrangement.LOOKS):
                event = getattr(layer.events, name, None)
                if event is not None:
                    self._watch(event, self._view_changed)
            if isinstance(layer, Image) and kind(layer) in ("", "sum"):
                self._watch(layer.events.scale, self._layers_changed)
            if kind(layer) == "defects" and isinstance(layer, Points):
                self._watch(editor_of(layer).changed, self._edited)
            elif kind(layer) == "regions" and isinstance(layer, Labels):
                self._watch(layer.events.set_data, self._painted)
            elif kind(layer) in ("average", "columns", "displacement", "map"):
                self._watch(layer.events.set_data, self._layers_changed)


def _columns_sum(layer: Layer) -> int:
    """A checksum of all columns as they were found."""
    classes = pd.Categorical(layer.features["class"].astype(str)).codes
    data = crc32(np.ascontiguousarray(np.asarray(layer.data, dtype=float)))
    return crc32(np.ascontiguousarray(classes), data)


def _pixels_of(image: Image) -> Any:
    return image.data[0] if image.multiscale else image.data


def _alike(one: Any, other: Any) -> bool:
    """Whether two arrays hold the same pixels; quick where it is one and the same array."""
    return one is other or bool(np.array_equal(np.asarray(one), np.asarray(other)))


def _labels_sum(layer: Layer) -> int:
    return crc32(np.ascontiguousarray(layer.data))


def _answer(columns: Points) -> Answer:
    """Where the columns of a detection came from."""
    about = note(columns)
    weights = str(about.get("weights_sha256") or "")
    return Answer(
        by="model" if weights else "file",
        weights_sha256=weights,
        overconfidence=tuple(about.get("overconfidence") or ()),
    )
