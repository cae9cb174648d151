"""The detect widget: find all columns of an image, and correct the defects by hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from napari.layers import Image, Layer
from napari.utils.notifications import show_info, show_warning
from napari.viewer import Viewer
from qtpy.QtWidgets import (
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QWidget,
)

from ...crystal.regions import Regions, region_summary
from ...detect.network.config import DEVICES, DetectConfig
from ...frames.drift import series_summary
from ...io.pixels import check_pixels
from ...judge.identity import Identity
from ...materials import DEFECT_ROLES, MATERIALS, get_material, with_classes
from ...pipeline.chain import detect_images, divide_images
from ...pipeline.fitness import check_identity, without_other_phases
from ...pipeline.loading import sum_frames
from ...pipeline.runs import RunConfig
from ...progress import subprogress
from ...types import CalibratedImage, DefectStrainError, Progress
from ..base import forms, tr
from ..base.lifetime import connect
from ..base.pacing import Steps
from ..base.worker import Part
from ..gallery import open_gallery
from ..layers.editing import editor_of
from ..layers.regions import detection_put_in_steps, edited, regions_of
from ..layers.sites import (
    AWAITING,
    CALIBRATION,
    free_name,
    image_planes,
    kind,
    layer_id,
    note,
    plane_placement,
    provenance,
)
from ..layers.view_buttons import ViewButtons
from ..layers.weights import defects_of
from ..study import CopyButtons, StudyBar
from .audit_panel import DOCK as AUDIT_DOCK
from .audit_panel import HEIGHT as AUDIT_HEIGHT
from .audit_panel import AuditPanel
from .calibrator import Calibrator
from .edit_panel import EditPanel
from .image_queue import ImageQueue
from .patterns_panel import DOCK as PATTERNS_DOCK
from .patterns_panel import HEIGHT as PATTERNS_HEIGHT
from .patterns_panel import PatternsPanel
from .pixel_size import PixelSize
from .teach_panel import DOCK as TEACH_DOCK
from .teach_panel import HEIGHT as TEACH_HEIGHT
from .teach_panel import TaughtChoice, TeachPanel
from .weights_panel import DOCK, HEIGHT, WeightsPanel

BUNDLED = "bundled weights"
FROM_FILE = "weights file…"
FRAMES = "Frames of one region: register and sum"
IMAGES = "Separate images"
REPLACE = "Replace them"
NEW_LAYERS = "Keep them, add new layers"
OWN_SETTINGS = ("material", "force_material", "detect", "judge")
"""Those of a run that this widget sets."""
REGISTERING, CALIBRATING = 0.4, 0.05
"""What registering frames, and calibrating, take of the work on an image."""


class DetectWidget(forms.Panel):
    """Detect columns, calibrate from the lattice, edit, count.

    Parameters
    ----------
    napari_viewer : Viewer
    """

    page = "widgets.md#detect-defects"

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(
            napari_viewer,
            "detect",
            "Detect columns",
            "Find and classify all columns of the image; adds a layer of defects, a hidden one of "
            "all columns, and one of regions: 2H domains, boundaries, other phases, holes, dirt",
        )
        self.views = ViewButtons(self.viewer)
        self.put_on_top(self.views)
        self.study = StudyBar(self.viewer, self.config, self.run_bar.fail)
        self.group(tr("Study")).addRow(self.study)
        self._build_source()
        self._build_thresholds()
        edit = self.group(tr("Defects"))
        self.edit = EditPanel(self.viewer)
        edit.addRow(self.edit)
        self._build_weights(edit)
        self.copying = CopyButtons(
            self.viewer, self._settings, self.run_bar.fail, OWN_SETTINGS, command="detect"
        )
        self.body.addWidget(self.copying)
        self.body.addStretch(1)
        self._queue = ImageQueue(self.viewer, self.run_bar)
        self._keep = False
        self._known_edits = (0, False)
        self.run_bar.run_clicked.connect(self.run)
        self.image.layer_changed.connect(self._image_changed)
        self.watch_layers(self.image.refresh)
        self.watch_layers(self._follow_active)
        connect(self, self.viewer.layers.selection.events.active, self._follow_active)
        self.image.refresh()
        self._image_changed()
        self._follow_active()

    def _build_source(self) -> None:
        form = self.group(tr("Image and model"))
        self.image = forms.LayerCombo(self.viewer, _is_source, "all {} images")
        self.image.setToolTip(
            tr("Layer to search: an image, a stack of images or frames, or all in turn")
        )
        form.addRow(tr("Image"), self.image)
        self.material = self.remember(
            "material",
            forms.choice(sorted(MATERIALS, key=lambda m: m != "WSe2")),
            tr(
                "Crystal: gives the names of the classes and the lattice constant (pm) "
                "that an image is calibrated with"
            ),
        )
        form.addRow(tr("Material"), self.material)
        self.classes = self.remember(
            "classes",
            QLineEdit(),
            tr(
                "Classes beside the material's own, by their weight in units of the "
                "metal's: NAME=WEIGHT, or NAME=WEIGHT@metal for those on metal sites, with "
                "commas between. A detection says where columns agree on a weight that no "
                "class has"
            ),
        )
        self.classes.setPlaceholderText("SSe=0.52, Mo=0.48@metal")
        form.addRow(tr("Further classes"), self.classes)
        self.force = forms.checkbox(tr("Force: count it whatever the image seems to show"))
        self.force.setToolTip(
            tr(
                "Off: an image that shows another material, a bilayer, another lattice or "
                "dark columns is refused, and nothing is counted. On: it is counted, and "
                "its populations are marked as doubtful"
            )
        )
        form.addRow(self.force)
        self.doubt = QLabel()
        self.doubt.setWordWrap(True)
        self.doubt.setToolTip(tr("What speaks against the material"))
        self.doubt.hide()
        form.addRow(self.doubt)
        self.pixel_size = PixelSize(self, self.look_for_lattice)
        self.calibrator = Calibrator(self, self._image_changed)
        self.pixel_size.changed.connect(self._image_changed)
        form.addRow(tr("Pixel size"), self.pixel_size)
        self._build_model(form)

    def _build_model(self, form: QFormLayout) -> None:
        self.model = self.remember(
            "model",
            forms.choice([BUNDLED, FROM_FILE]),
            tr("Network: the one that comes with the plugin, or one of your own (safetensors)"),
        )
        self.weights = self.remember(
            "weights", QLineEdit(), tr("Path of the file of weights (safetensors)")
        )
        self.weights.setPlaceholderText(tr("file of weights (*.safetensors)"))
        browse = QPushButton(tr("Browse…"))
        browse.setToolTip(tr("Choose the file of weights"))
        browse.clicked.connect(self._browse)
        self.file_row = QWidget()
        line = QHBoxLayout(self.file_row)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.weights, 1)
        line.addWidget(browse)
        form.addRow(tr("Model"), self.model)
        form.addRow(self.file_row)
        self.model.currentTextChanged.connect(self._model_changed)
        self._model_changed(self.model.currentText())
        self.taught = TaughtChoice(self.viewer)
        form.addRow(tr("Taught"), self.taught)
        self.device = self.remember(
            "device",
            forms.choice(list(DEVICES)),
            tr("Where the network runs: auto takes a GPU if there is one, else the cpu"),
        )
        form.addRow(tr("Device"), self.device)

    def _build_thresholds(self) -> None:
        grid = QGridLayout()
        self.thresholds = []
        self.threshold_labels = []
        for i, role in enumerate(DEFECT_ROLES):
            label = QLabel()
            box = self.remember(
                f"threshold_{role}",
                forms.number(0.5, 0.0, 1.0, 0.05, 2),
                tr(
                    "Least probability (0 to 1) of a column of this class; below it the column "
                    "counts as perfect. With all four at 0.5 a column that its image judges is "
                    "of its most probable class"
                ),
            )
            label.setToolTip(box.toolTip())
            grid.addWidget(label, i // 2, 2 * (i % 2))
            grid.addWidget(box, i // 2, 2 * (i % 2) + 1)
            self.threshold_labels.append(label)
            self.thresholds.append(box)
        form = self.group(tr("Probability thresholds (0–1)"))
        form.addRow(grid)
        self.update_existing = self.remember(
            "update",
            forms.checkbox(tr("Update this image's layers"), True),
            tr(
                "On: a new detection replaces the last one of this image, and asks first "
                "where points were edited by hand. Off: it makes new, numbered layers"
            ),
        )
        form.addRow(self.update_existing)
        self.material.currentTextChanged.connect(self._name_classes)
        self._name_classes(self.material.currentText())

    def _build_weights(self, form: QFormLayout) -> None:
        self.weights_panel = WeightsPanel(self.viewer, self._weighed_layer)
        self._weights_dock = self.bottom_dock(self.weights_panel, DOCK, HEIGHT)
        self.weights_button = QPushButton(tr("Histogram of weights"))
        self.weights_button.setToolTip(
            tr(
                "Show how heavy the columns of the active image are, by class, below the "
                "viewer; a click on a bin selects its columns"
            )
        )
        self.weights_button.clicked.connect(self._weights_dock.open)
        form.addRow(self.weights_button)
        self._build_studies(form)
        self.watch_layers(self.weights_panel.refresh_soon)
        selection = self.viewer.layers.selection.events.active
        connect(self, selection, self.weights_panel.refresh_soon)
        self.edit.updated.connect(self.weights_panel.refresh_soon)

    def _build_studies(self, form: QFormLayout) -> None:
        """What all images together tell, below the viewer: populations, and the audit."""
        self.patterns_panel = PatternsPanel(self.viewer, self._weighed_layer)
        self.audit_panel = AuditPanel(self.viewer, self._weighed_layer)
        self.teach_panel = TeachPanel(self.viewer, self.config, self.taught)
        self.teach_panel.use.connect(self.taught.refresh)
        row = QHBoxLayout()
        self.panel_buttons = []
        for text, tip, content, name, height in (
            (
                "Populations…",
                "Shares of the classes image by image, and whether defects lie at random: pair "
                "correlation, clusters, nearest neighbours; below the viewer",
                *(self.patterns_panel, PATTERNS_DOCK, PATTERNS_HEIGHT),
            ),
            (
                "Audit…",
                "Label columns drawn at random, blind, one key each: precision and recall on your "
                "own images; below the viewer",
                *(self.audit_panel, AUDIT_DOCK, AUDIT_HEIGHT),
            ),
            (
                "Teach…",
                "Learn from your corrections: brightness and shares of the classes, thresholds; "
                "says by columns held out whether it helps; below the viewer",
                *(self.teach_panel, TEACH_DOCK, TEACH_HEIGHT),
            ),
        ):
            button = QPushButton(text)
            button.setToolTip(tip)
            button.clicked.connect(self.bottom_dock(content, name, height).open)
            self.panel_buttons.append(button)
            row.addWidget(button)
        gallery = QPushButton(tr("Gallery…"))
        gallery.setToolTip(
            tr(
                "Every detection side by side: sort, plot, select many, give them their "
                "class, walk through those in doubt; below the viewer"
            )
        )
        gallery.clicked.connect(lambda: open_gallery(self.viewer))
        self.panel_buttons.append(gallery)
        row.insertWidget(0, gallery)
        form.addRow(row)

    def _weighed_layer(self) -> Layer | None:
        """The detection of the active layer's image, else the one that is edited."""
        return defects_of(self.viewer, self.viewer.layers.selection.active) or self.edit.layer

    def config(self) -> RunConfig:
        """The controls as settings.

        Raises
        ------
        DefectStrainError
            If a weights file is asked for but not named.
        """
        weights = None
        if self.model.currentText() == FROM_FILE:
            weights = self.weights.text().strip()
            if not weights:
                raise DefectStrainError(
                    "got no file of weights: choose one, or take the bundled model"
                )
        added = [part for part in self.classes.text().split(",") if part.strip()]
        material = with_classes(self.material.currentText(), added)
        config = RunConfig(
            material=material,
            force_material=self.force.isChecked(),
            detect=DetectConfig(
                weights=weights,
                device=self.device.currentText(),
                thresholds=tuple(box.value() for box in self.thresholds),
                material=material,
            ),
        )
        return self.taught.applied_to(config)

    def _settings(self) -> tuple[RunConfig, list[Layer]]:
        return self.config(), [la for la in self.image.layers if la is not None]

    def take_up(self) -> None:
        """Show the study that was opened."""
        self.study.refresh()
        self.taught.choose_study()
        self.image.refresh()
        self._image_changed()
        self._follow_active()

    def run(self) -> None:
        """Detect in the chosen image, or in all of them, one after another."""
        self.run_on(self.image.layers)

    def run_on(self, layers: Sequence[Layer | None]) -> None:
        """Detect in some images, one after another."""
        try:
            config = self.config()
        except DefectStrainError as mistake:
            self.run_bar.fail(str(mistake))
            return
        self._queue.start(layers, lambda layer: self._take(layer, config))

    def correct(self) -> None:
        """Get ready to correct points: a click selects, keys give classes."""
        self.reveal(self.edit)
        self.edit.select()

    def _take(self, layer: Layer | None, config: RunConfig) -> None:
        """Check an image, ask what must be asked, detect."""
        planes = image_planes(layer)
        if layer is None or len(planes) == 0:
            raise DefectStrainError(f"{layer}: got a stack without images")
        if not self._may_replace(layer):
            self._queue.stop()
            return
        meaning = self._meaning(layer) if len(planes) > 1 else IMAGES
        if meaning is None:
            self._queue.stop()
            self.run_bar.status.setText(tr("Nothing was done"))
        elif meaning == FRAMES:
            self.run_bar.start(
                lambda progress: sum_frames(planes, layer.name, progress),
                lambda total: self._detect_sum(layer, total, config),
                tr("Registering the frames…"),
                self._queue.part(0.0, REGISTERING),
            )
        else:
            self._calibrate_and_detect(layer, planes, config, 0.0)

    def _meaning(self, layer: Layer) -> str | None:
        return forms.ask(
            self,
            tr("A stack of images"),
            f"{layer.name} holds {layer.data.shape[0]} images. Are they frames of one region, to "
            "be registered and summed, or separate images?",
            [FRAMES, IMAGES],
        )

    def _detect_sum(
        self, layer: Image, total: CalibratedImage, config: RunConfig
    ) -> Steps[Callable[[], None]]:
        corner = total.metadata["region_px"][0::2]
        about = {k: v for k, v in total.metadata.items() if k not in (CALIBRATION, "warnings")}
        added = self.viewer.add_image(
            total.data,
            name=free_name(self.viewer, f"{layer.name} · sum"),
            metadata=provenance("sum", about, frames_of=layer_id(layer)),
            **plane_placement(layer, corner),
        )
        if CALIBRATION in layer.metadata:
            added.metadata[CALIBRATION] = layer.metadata[CALIBRATION]
        show_info(series_summary(total))
        for warning in total.metadata["warnings"]:
            show_warning(warning)
        yield
        layer.visible = False
        if self._queue.on_last:
            self.image.choose(added)
        yield
        planes = image_planes(added)
        return lambda: self._calibrate_and_detect(added, planes, config, REGISTERING)

    def _calibrate_and_detect(
        self, layer: Image, planes: list[CalibratedImage], config: RunConfig, low: float
    ) -> None:
        """Calibrate and detect, from that part of the whole work on an image on."""
        middle = low + CALIBRATING * (1.0 - low)
        self.calibrator.ensure(
            layer,
            planes,
            config.material,
            lambda: self._detect(layer, config, self._queue.part(middle, 1.0)),
            self._queue.part(low, middle),
        )

    def look_for_lattice(self) -> None:
        """Measure the pixel size by the lattice, and offer it."""
        try:
            planes = image_planes(self.image.layer)
        except DefectStrainError as mistake:
            self.run_bar.fail(str(mistake))
            return
        self.calibrator.look(self.image.layer, planes, self.material.currentText())

    def _detect(self, layer: Image, config: RunConfig, part: Part) -> None:
        planes = image_planes(layer)
        self.doubt.hide()
        self.run_bar.start(
            lambda progress: _detect_all(planes, config, progress),
            lambda result: self._show(layer, *result, config),
            f"Detecting in {layer.name}…",
            part,
        )

    def _previous(self, layer: Layer) -> Layer | None:
        mine = [
            la
            for la in self.viewer.layers
            if kind(la) == "defects" and note(la)["image"] == layer_id(layer)
        ]
        return mine[-1] if mine else None

    def _edits(self, previous: Layer | None) -> tuple[int, bool]:
        """Changes by hand of the last detection: points, and whether its regions differ."""
        if previous is None:
            return 0, False
        return editor_of(previous).edited, edited(regions_of(self.viewer, previous))

    def _may_replace(self, layer: Layer) -> bool:
        """Ask before a layer that was edited by hand is touched; False where the user cancels."""
        self._keep = not self.update_existing.isChecked()
        previous = self._previous(layer)
        self._known_edits = self._edits(previous)
        if previous is not None and note(previous).get(AWAITING):
            self._keep = False  # points that wait for the other columns of their image
            return True
        points, regions = self._known_edits
        if self._keep or not (points or regions):
            return True
        parts = [f"{previous.name} holds {points} change(s) made by hand"] if points else []
        parts += [f"{regions_of(self.viewer, previous).name} was edited"] if regions else []
        answer = forms.ask(
            self,
            tr("Edited by hand"),
            f"{', and '.join(parts)}. A new detection would replace them.",
            [NEW_LAYERS, REPLACE],
        )
        self._keep = answer == NEW_LAYERS
        return answer is not None

    def _show(
        self,
        layer: Image,
        detections: list[Any],
        regions: list[Regions],
        identity: Identity,
        config: RunConfig,
    ) -> Steps[Callable[[], None] | None]:
        if layer not in self.viewer.layers:
            raise DefectStrainError(f"{layer.name} was removed while it was searched")
        sites = [d.sites for d in detections]
        weights, doubt = detections[0].weights_sha256, list(detections[0].overconfidence)
        metadata = provenance(
            "defects",
            config.to_dict()["detect"],
            weights,
            overconfidence=doubt,
            identity=identity.verdict,
            judge=config.to_dict()["judge"],
        )
        previous = self._previous(layer)
        # She may have gone on editing while the network was at work.
        more = self._edits(previous) != self._known_edits
        if more and not self._keep and not self._may_replace(layer):
            self.run_bar.status.setText(f"{layer.name}: kept as edited, detection discarded")
            return None
        settings = provenance("regions", config.to_dict()["regions"], weights)
        old = None if self._keep else previous
        yield
        defects = yield from detection_put_in_steps(
            self.viewer, layer, old, sites, regions, metadata, settings
        )
        yield
        warnings = {w for d in detections for w in d.warnings}.union(identity.lines)
        self.doubt.setText("\n".join(identity.lines))
        self.doubt.setVisible(bool(identity.lines))
        for warning in warnings.union(*(region_summary(layer.name, r) for r in regions)):
            show_warning(warning)
        self.viewer.layers.selection.active = defects
        self.edit.show_counted(defects)
        yield
        columns = sum(len(s) for s in sites)
        inside, outside = self.edit.counted(), self.edit.not_counted()
        elsewhere = f", {outside} more where columns don't count" if outside else ""
        self.run_bar.status.setText(
            f"{layer.name}: {columns} columns; {inside} defects in its 2H domains{elsewhere}"
        )
        if len(defects.data) == 0:
            show_info(f"{layer.name}: no defects found in {columns} columns")
        return self._queue.following()

    def _image_changed(self) -> None:
        self.pixel_size.show_layer(self.image.layer, self.image.chose_everything)

    def _follow_active(self, *_: object) -> None:
        """Edit the defects layer that is active; else the one of the chosen image."""
        active = self.viewer.layers.selection.active
        if active is not None and kind(active) == "defects":
            self.edit.show_layer(active)
        elif self.edit.layer not in self.viewer.layers:
            image = self.image.layer
            self.edit.show_layer(self._previous(image) if image is not None else None)

    def _name_classes(self, material: str) -> None:
        names = get_material(material).defect_names
        for label, name in zip(self.threshold_labels, names, strict=True):
            label.setText(name)

    def _model_changed(self, text: str) -> None:
        self.file_row.setVisible(text == FROM_FILE)

    def _browse(self) -> None:
        path = forms.ask_open_path(self, tr("Weights"), "Weights (*.safetensors)")
        if path:
            self.weights.setText(path)


def _is_source(layer: Layer) -> bool:
    return isinstance(layer, Image) and kind(layer) in ("", "sum")


def _detect_all(
    planes: list[CalibratedImage], config: RunConfig, progress: Progress
) -> tuple[list[Any], list[Regions], Identity]:
    checked = []
    for i, plane in enumerate(planes):
        share = 0.05 / len(planes)
        checked.append(check_pixels(plane, subprogress(progress, i * share, (i + 1) * share)))
    planes = [plane for plane, _ in checked]
    material = get_material(config.material)
    part = subprogress(progress, 0.05, 0.08)
    identity = check_identity(planes, material, config.force_material, part, config.judge.learnt)
    detections = detect_images(planes, config, subprogress(progress, 0.08, 0.9))
    lattice_pm = material.lattice_pm
    a_px = [lattice_pm / d.pixel_size_pm for d in detections]
    sites, part = [d.sites for d in detections], subprogress(progress, 0.9, 1.0)
    _, regions = divide_images(planes, sites, a_px, config.regions, progress=part)
    left_out = {told.name: told.left_out for told in identity.images}
    detections = [
        replace(
            found,
            warnings=notes + found.warnings,
            sites=without_other_phases(found.sites, its, left_out.get(plane.name, ())),
        )
        for plane, (_, notes), found, its in zip(planes, checked, detections, regions, strict=True)
    ]
    return detections, regions, identity
