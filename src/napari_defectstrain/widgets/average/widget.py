"""The average widget: isolated defects of many images, registered and averaged by class."""

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import numpy as np
from napari.layers import Image, Layer, Points
from napari.utils.notifications import show_info, show_warning
from napari.viewer import Viewer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton

from ...averages.average import NoReferenceError, average_stack
from ...averages.purity import purity_text
from ...crystal.overlaps import find_overlaps, overlap_warnings
from ...crystal.regions import Regions
from ...io.pixels import check_pixels
from ...materials import WSE2, get_material
from ...pipeline.chain import average_classes
from ...pipeline.class_measurement import split_classes
from ...pipeline.runs import RunConfig, RunResult
from ...types import CalibratedImage, ClassAverage, ClassStack, DefectStrainError, Progress, Sites
from ..base import forms, tr
from ..base.pacing import Steps
from ..base.worker import Part
from ..gallery import open_gallery
from ..layers.averages import (
    RESULTS,
    STACK,
    add_averages,
    averages_in_steps,
    free_corner,
    isolated_runs,
    look_at_box,
    run_title,
    runs,
    world_box_pm,
)
from ..layers.detected import detected_with
from ..layers.sites import KEY, kind, layer_by_id, layer_id, material_of, note, provenance
from ..layers.symmetric import room_pm
from ..layers.view_buttons import ViewButtons
from ..layers.window_edits import window_edits_of
from ..study import CopyButtons
from .controls import (
    AveragesTable,
    ClassBoxes,
    ImageList,
    WindowSettings,
    every_defect_text,
)
from .every_defect import Asked, EveryDefect, layers_with_crowded
from .live_counts import Gathered, Gathering, LiveCounts, gathering_of
from .measuring import Measuring
from .results_panel import DOCK, HEIGHT, MEASUREMENT, PLOTS, ResultsPanel
from .trying import Trying, run_of

OWN_SETTINGS = ("material", "average", "seed")
"""Those of a run that this widget sets."""
AVERAGING, BEFORE_ALL = 0.3, 0.5
"""What averaging takes of the whole time, before its columns are measured; and both of them where
averages of every defect come last."""


class AverageWidget(forms.Panel):
    """Choose images, classes and isolation; get averages, their windows, spacings and precision.

    Parameters
    ----------
    napari_viewer : Viewer
    """

    page = "widgets.md#average-classes"

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(
            napari_viewer,
            "average",
            "Average classes",
            "Cut a window around every isolated defect, register the windows in the lattice frame, "
            "and average them by class",
        )
        self.views = ViewButtons(self.viewer)
        self.put_on_top(self.views)
        self._build_choice()
        self._build_options()
        self._build_table()
        self.copying = CopyButtons(self.viewer, self._settings, self.run_bar.fail, OWN_SETTINGS)
        self.body.addWidget(self.copying)
        self.trying = Trying(self, self._tried)
        self.body.addStretch(1)
        self.edits = window_edits_of(self.viewer)
        self._told: set[str] = set()
        self.results = ResultsPanel(self.viewer, self.edits, self.settings)
        self._dock = self.bottom_dock(self.results, DOCK, HEIGHT)
        self.every = EveryDefect(self.viewer, self.run_bar)
        self.measuring = Measuring(
            self.viewer, self.run_bar, self.measure.isChecked, self._every_next
        )
        self.counts = LiveCounts(self, self.viewer, self._counted)
        self._connect()
        self.refresh()
        self._show_newest()

    def _build_choice(self) -> None:
        form = self.group(tr("Images"))
        self.images = ImageList()
        self.images.setToolTip(
            tr(
                "Detections to average together: images of different scan rotation may be "
                "mixed. Corrections by hand count as they are now"
            )
        )
        form.addRow(self.images)
        self.hint = QLabel(tr("Detect the defects of an image first."))
        self.hint.setWordWrap(True)
        form.addRow(self.hint)
        self.class_boxes = ClassBoxes(self, WSE2)
        self.classes = self.class_boxes.boxes
        self.group(tr("Classes")).addRow(self.class_boxes)

    def _build_options(self) -> None:
        self.windows = WindowSettings(self)
        form = self.windows.form
        self.with_windows = self.remember(
            "windows_as_layers",
            forms.checkbox(tr("Keep the windows as hidden layers"), False),
            tr(
                "Adds a stack a class, to look through the single windows with the slider; the "
                "window stands still for a moment while they are added"
            ),
        )
        form.addRow(self.with_windows)
        self.measure = self.remember(
            "measure",
            forms.checkbox(tr("Measure the columns"), True),
            tr(
                "Fit the columns of the averages: spacings and precision are plotted, and "
                "each average gets a hidden layer of its columns with their errors (pm)"
            ),
        )
        form.addRow(self.measure)
        self.symmetric = self.remember(
            "symmetric",
            forms.checkbox(tr("Average over C3v, too"), False),
            tr(
                "Adds each average made threefold symmetric with mirror planes, and a map "
                "of what that hid. Only what keeps the symmetry of the site is shown truly"
            ),
        )
        form.addRow(self.symmetric)
        self.update_existing = self.remember(
            "update",
            forms.checkbox(tr("Replace the last averages of these images"), False),
            tr(
                "Off: new averages get numbered names and a row of their own. On: the last "
                "ones of the same images are removed once the new ones are there"
            ),
        )
        form.addRow(self.update_existing)

    def _build_table(self) -> None:
        form = self.group(tr("Windows averaged"))
        self.table = AveragesTable()
        form.addRow(self.table)
        row = QHBoxLayout()
        self.plots_button = QPushButton(tr("Show plots"))
        self.plots_button.setToolTip(tr("Spacings by class, and precision against N (pm), below"))
        self.windows_button = QPushButton(tr("Look through windows"))
        self.windows_button.setToolTip(
            tr("See the windows, leave some out, put others back, below")
        )
        row.addWidget(self.plots_button)
        row.addWidget(self.windows_button)
        form.addRow(row)
        self.gallery_button = QPushButton(tr("Gallery of all detections"))
        self.gallery_button.setToolTip(
            tr(
                "Every detection side by side, averaged or not: give many their class, "
                "leave out, put back; the averages follow. Below the viewer"
            )
        )
        self.gallery_button.clicked.connect(lambda: open_gallery(self.viewer))
        form.addRow(self.gallery_button)

    def _connect(self) -> None:
        self.run_bar.run_clicked.connect(self.run)
        self.plots_button.clicked.connect(self.show_plots)
        self.windows_button.clicked.connect(lambda: self.look_through(self.table.currentRow()))
        self.table.cellClicked.connect(lambda row, _column: self.look_through(row))
        self.results.windows.failed.connect(self.run_bar.fail)
        self.results.split_clicked.connect(self.split)
        self.edits.changed.connect(self._windows_changed)
        self.measuring.measured.connect(self.results.measured)
        self.every.shown.connect(self._every_shown)
        self.counts.counted.connect(self.class_boxes.show_counts)
        self.counts.started.connect(self.class_boxes.show_busy)
        self.counts.failed.connect(self._not_counted)
        self.class_boxes.toggled.connect(self.counts.changed)
        self.images.ticked.connect(self._name_classes)
        self.images.ticked.connect(self.counts.changed)
        for signal in self.windows.changes:
            signal.connect(self.counts.changed)
        self.watch_layers(self.refresh)

    @property
    def busy(self) -> bool:
        """True while something is running, or due; counting while one chooses isn't."""
        return self.run_bar.running or self.measuring.waiting

    def refresh(self, *_: object) -> None:
        """List the detections that there are, and keep what is ticked."""
        layers = [la for la in self.viewer.layers if kind(la) == "defects"]
        self.images.list_layers(layers)
        self._name_classes()
        self.hint.setVisible(not layers)
        self.counts.changed()

    def _name_classes(self) -> None:
        """The boxes carry the names of what is ticked; of the newest where nothing is."""
        layers = [la for la in self.viewer.layers if kind(la) == "defects"]
        ticked = self.images.chosen_ids()
        named = [la for la in layers if layer_id(la) in ticked] or layers
        if named:
            self.class_boxes.rename(get_material(material_of(named[-1])))

    def _show_newest(self) -> None:
        """List the averages that there are already: the widget may have been closed meanwhile."""
        found = isolated_runs(self.viewer)
        if found:
            newest = found[next(reversed(found))]
            self.table.setRowCount(len(newest))
            for row, layer in enumerate(newest):
                about, stack = note(layer), layer.metadata[STACK]
                pure = purity_text(about["expected_purity"], about["expected_contaminants"])
                left_out = int((~stack.included).sum())
                self.table.show_row(row, about["class"], about["n"], left_out, pure)
            self.run_bar.status.setText(run_title(newest))

    def take_up(self) -> None:
        """Show the averages of a study that was opened."""
        self.refresh()
        self._show_newest()

    def _counted(self) -> tuple[list[Points], RunConfig]:
        layers = self.chosen()
        self._name_classes()  # a detection may have other classes now, in the layers that it had
        return layers, self.config(material_of(layers[0]))

    def _not_counted(self, message: str) -> None:
        self.class_boxes.show_problem(message if self.images.count() else "")

    def chosen(self) -> list[Points]:
        """The ticked defects layers.

        Raises
        ------
        DefectStrainError
            If there is none, or they are of several materials.
        """
        found = (layer_by_id(self.viewer, i) for i in self.images.chosen_ids())
        layers = [la for la in found if la is not None]
        if not layers:
            raise DefectStrainError(
                "got no detections to average: detect the defects of an image, and tick it here"
            )
        materials = sorted({material_of(la) for la in layers})
        if len(materials) > 1:
            raise DefectStrainError(
                f"got images of {' and '.join(materials)}: average one material at a time"
            )
        return layers

    def config(self, material: str) -> RunConfig:
        """The controls as settings."""
        return RunConfig(
            material=material, average=self.windows.config(), seed=self.windows.seed.value()
        )

    def _settings(self) -> tuple[RunConfig, list[Layer]]:
        layers = self.chosen()
        images = [layer_by_id(self.viewer, note(la).get("image")) for la in layers]
        config = self._as_detected(layers)
        return config, [la for la in images if la is not None]

    def _as_detected(self, layers: list[Points]) -> RunConfig:
        """The controls, and the settings that the detections were made with."""
        config = self.config(material_of(layers[0]))
        return config.replace(**detected_with([note(la) for la in layers]))

    def _tried(self) -> tuple[list[Gathered], RunConfig]:
        """What is ticked, and the settings by which it is detected anew."""
        return self._gathered()[0], self._as_detected(self.chosen())

    def _gathered(self) -> tuple[Gathering, RunConfig]:
        layers = self.chosen()
        parts = [gathering_of(self.viewer, la) for la in layers]
        return lambda: [work() for work in parts], self.config(material_of(layers[0]))

    def run(self) -> None:
        """Gather images and corrected columns, and average."""
        try:
            layers = self.chosen()
            gathering, config = self._gathered()
        except DefectStrainError as mistake:
            self.run_bar.fail(str(mistake))
            return
        self._name_classes()
        names = self.class_boxes.names()
        material = get_material(config.material)
        names += [material.reference_of(name) for name in names]
        self.run_bar.start(
            lambda progress: _average(gathering(), names, config, progress),
            lambda result: self._show(layers, *result, config),
            tr("Cutting and registering windows…"),
            Part(high=self._share(AVERAGING) if self.measure.isChecked() else self._share(1.0)),
        )

    def _show(
        self,
        layers: list[Points],
        gathered: list[Gathered],
        stacks: dict[str, ClassStack],
        averages: dict[str, ClassAverage],
        overlaps: tuple[str, ...],
        every: RunResult | None,
        config: RunConfig,
    ) -> Steps[Callable[[], None] | None]:
        self._warn(averages, every is not None)
        for text in overlaps:
            show_warning(text)
        sources = self._sources(layers)
        ids = sorted(layer_id(la) for la in sources)
        old = self._old_run(ids) if self.update_existing.isChecked() else []
        corner = self._corner(sources, averages, old) if averages else (0.0, 0.0)
        for layer in old:
            layer.visible = False
        for layer in old:
            self.viewer.layers.remove(layer)
            yield
        self.table.show_averages(averages)
        run = uuid4().hex
        metadata = provenance(
            "average",
            {k: config.to_dict()[k] for k in ("material", "average", "seed")},
            note(layers[0]).get("weights_sha256"),
            run=run,
            images=[la.name for la in sources],
            image_ids=ids,
            planes=_planes(sources, gathered),
            corner_pm=list(corner),
            symmetric=self.symmetric.isChecked(),
            detection=[note(la).get("parameters") for la in layers],
            judge=[note(la).get("judge") for la in layers],
        )
        yield
        if every is not None:
            self.every.ask(run, Asked(every, metadata, list(sources)))
        if not averages:
            return self._every_next(run)
        added = yield from averages_in_steps(
            self.viewer, stacks, averages, corner, metadata, self.with_windows.isChecked()
        )
        if added[0] in self.viewer.layers:  # it may be gone already
            self.viewer.layers.selection.active = added[0]
        self._look_at_averages()
        yield
        self.results.refresh()
        yield
        self._dock.open()
        self.run_bar.status.setText(run_title(added))
        yield
        part = Part(low=self._share(AVERAGING), high=self._share(1.0))
        return lambda: self.measuring.now(run, part)

    def _share(self, fraction: float) -> float:
        """Of the whole time, as a fraction of what isolated averages take."""
        return fraction * (BEFORE_ALL if self.windows.crowded.isChecked() else 1.0)

    def _every_next(self, run: str) -> Callable[[], None] | None:
        return self.every.next_job(run, Part(low=BEFORE_ALL))

    def _every_shown(self, run: str, result: RunResult) -> None:
        """Averages of every defect are there: what they say goes into the table."""
        found = isolated_runs(self.viewer)
        if not found or run == next(reversed(found)):
            self.table.show_every_defect(result)
        self._look_at_averages()
        names = [n for n in result.crowded if n not in result.material.references]
        texts = [f"{name} {every_defect_text(result, name)}" for name in names]
        self.run_bar.status.setText(f"Every defect: {'; '.join(texts)}")

    def split(self, run: str, class_name: str) -> None:
        """Add a row of averages in which the populations of a class are classes, and measure it."""
        layers = runs(self.viewer)[run]
        try:
            stacks, averages = _in_parts(layers, class_name)
        except DefectStrainError as mistake:
            self.run_bar.fail(str(mistake))
            return
        old = note(layers[0])
        ids = [*old["image_ids"]]
        sources = [la for i in ids if (la := layer_by_id(self.viewer, i)) is not None]
        corner = self._corner(sources or layers, averages, [])  # the images may be gone
        about = {**old, "run": uuid4().hex, "corner_pm": list(corner)}
        self.table.show_averages(averages)
        added = add_averages(
            self.viewer, stacks, averages, corner, {KEY: about}, self.with_windows.isChecked()
        )
        self._look_at_averages()
        self.run_bar.status.setText(run_title(added))
        self.measuring.now(about["run"])

    def _warn(self, averages: dict[str, ClassAverage], every: bool) -> None:
        missing = [name for name in self.class_boxes.names() if name not in averages]
        if missing:
            crowded = "" if every else ", or Use crowded defects,"
            show_warning(
                f"No isolated {', '.join(missing)} away from the edges: no average. Fewer shells "
                f"of isolation, or more images{crowded} would give some"
            )
        single = [n for n, a in averages.items() if a.n == 1]
        if single:
            show_warning(f"Only one window of {', '.join(single)}: no error can be given")

    def _corner(
        self, sources: list[Image], averages: dict[str, ClassAverage], old: list[Layer]
    ) -> tuple[float, float]:
        """Where the averages go: in the place of the old ones, if they had the same rows."""
        for layer in old:
            if kind(layer) == "average" and note(layer)["symmetric"] == self.symmetric.isChecked():
                return tuple(note(layer)["corner_pm"])
        y, x = free_corner(self.viewer, sources)
        if self.symmetric.isChecked():
            first = next(iter(averages.values()))
            y += room_pm(first.mean.shape[0] * first.step_pm)
        return y, x

    def _look_at_averages(self) -> None:
        """All averages in view, with the room above them that averages over C3v will take."""
        layers = [la for la in self.viewer.layers if kind(la) in ("average", "average labels")]
        tops = [_top_pm(la) for la in layers if kind(la) == "average"]
        if not tops:  # they were removed meanwhile
            return
        boxes = [world_box_pm(la) for la in layers]
        low, high = np.min(boxes, axis=0)[0], np.max(boxes, axis=0)[1]
        low[0] = min(low[0], *tops)
        look_at_box(self.viewer, low, high)

    def _sources(self, layers: list[Points]) -> list[Image]:
        found = [layer_by_id(self.viewer, note(la)["image"]) for la in layers]
        if any(la is None for la in found):
            raise DefectStrainError("an image was removed while it was averaged: average again")
        return found

    def _old_run(self, ids: list[str]) -> list[Layer]:
        every = runs(self.viewer).items()
        same = [note(las[0]).get("isolated_run", r) for r, las in every if _images_of(las) == ids]
        return layers_with_crowded(self.viewer, same[-1], RESULTS) if same else []

    def _windows_changed(self, run: str, class_name: str) -> None:
        """Windows were left out or put back: the table follows, the measurement soon."""
        layer = self.edits.averages(run)[class_name]
        if run == next(reversed(isolated_runs(self.viewer))):
            rows = [self.table.item(i, 0).text() for i in range(self.table.rowCount())]
            if class_name in rows:
                average = average_stack(layer.metadata[STACK])
                self.table.show_average(rows.index(class_name), average)
        if not self.edits.outdated(run):
            self._told.discard(run)
        elif run not in self._told:
            self._told.add(run)
            show_info(tr("The strain maps are of the averages as they were: measure strain again"))
        self.measuring.later(run)

    def show_plots(self) -> None:
        """Open the panel at its plots."""
        self._dock.open()
        self.results.tabs.setCurrentIndex(PLOTS)

    def look_through(self, row: int) -> None:
        """Open the panel at the windows of the class in that row of the table."""
        self.results.refresh()
        item = self.table.item(row, 0)
        self._dock.open()
        self.results.look_through(item.text() if item is not None else "")


def _in_parts(
    layers: list[Image], class_name: str
) -> tuple[dict[str, ClassStack], dict[str, ClassAverage]]:
    """The stacks of a run with the parts of a class beside it, and their averages."""
    stacks = {note(la)["class"]: la.metadata[STACK] for la in layers}
    measured = {
        note(la)["class"]: la.metadata[MEASUREMENT] for la in layers if MEASUREMENT in la.metadata
    }
    found = split_classes(stacks, measured, [class_name])
    averages = {name: average_stack(stack) for name, stack in found.items() if stack.n}
    return {name: found[name] for name in averages}, averages


def _images_of(layers: list[Image]) -> list[str]:
    return list(note(layers[0])["image_ids"])


def _top_pm(average: Image) -> float:
    """Upper end of the rows above an average in the world [pm]."""
    top = world_box_pm(average)[0, 0]
    side = average.data.shape[-1] * float(average.scale[-1])
    about = note(average)
    return top - room_pm(side) if about["symmetric"] and not about.get("crowded") else top


def _planes(sources: list[Image], gathered: list[Gathered]) -> list[list[str | int | None]]:
    """Id of the layer and plane that each image is, in the order of the stacks' `image_index`."""
    found: list[list[str | int | None]] = []
    for layer, one in zip(sources, gathered, strict=True):
        key = layer_id(layer)
        found += [[key, None if layer.ndim == 2 else i] for i in range(len(one.images))]
    return found


_Averaged = tuple[
    list[Gathered],
    dict[str, ClassStack],
    dict[str, ClassAverage],
    tuple[str, ...],
    RunResult | None,
]


def _average(
    gathered: list[Gathered], names: list[str], config: RunConfig, progress: Progress
) -> _Averaged:
    """What it was made of, stacks and averages of the named classes, and what to say of overlaps.

    Last comes what averages of every defect are to be made of, where they are asked for: then
    nothing need be isolated.
    """
    images: list[CalibratedImage] = [image for one in gathered for image in one.images]
    sites: list[Sites] = [columns for one in gathered for columns in one.sites]
    regions: list[Regions | None] = [r for one in gathered for r in one.regions]
    doubts = [one.overconfidence for one in gathered if len(one.overconfidence)]
    overconfidence = list(np.max(doubts, axis=0)) if doubts else None
    overlaps = find_overlaps(images, sites)
    try:
        stacks = average_classes(images, sites, config, progress, regions, overconfidence, overlaps)
    except NoReferenceError:
        if not config.average.crowded:
            raise
        stacks = {}
    kept = {n: s for n, s in stacks.items() if n in names and s.n > 0}
    every = None
    if config.average.crowded:
        every = replace(run_of(gathered, config, overlaps), stacks=stacks)
        every = replace(every, images=tuple(check_pixels(image)[0] for image in every.images))
    elif not kept:
        raise DefectStrainError(
            "got no isolated column away from the edges, not even a defect-free one; lower the "
            "isolation or the window, use crowded defects, or correct the detection"
        )
    averages = {n: average_stack(s) for n, s in kept.items()}
    return gathered, kept, averages, overlap_warnings(images, overlaps), every
