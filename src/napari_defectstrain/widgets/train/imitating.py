"""*Simulate my image*: an image like the user's beside it, what differs, and what to do with it."""

import numpy as np
from napari.layers import Image
from napari.utils.notifications import show_info
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...crystal.regions import Regions
from ...materials import get_material
from ...output import check_out_dir, draw_brightness, draw_greys, draw_spectra, short_quantity
from ...output.imitations import IMITATION_FILE, write_imitation
from ...pipeline import Imitation, ImitationConfig, RunConfig, RunResult, detect, imitate
from ...progress import subprogress
from ...trials import look_conditions
from ...types import CalibratedImage, DefectStrainError, Progress, Sites
from ..base import forms, tr
from ..base.canvases import ThemedCanvas
from ..base.saving import ask_folder
from ..layers.detected import detected_images
from ..layers.placing import GAP_PX
from ..layers.sites import KEY, free_name
from .conditions import ConditionsControls
from .own_image import OwnImage

DOCK, HEIGHT = "Simulated like my image", 280
_IMAGES = 3
"""Simulated at a time: the first is shown, all tell what differs by chance."""
_FIGURES = 3


class Imitating:
    """The button of the train widget, and the panel of what differs.

    Parameters
    ----------
    panel : Panel
        The train widget.
    own : OwnImage
    conditions : ConditionsControls
    """

    def __init__(self, panel: forms.Panel, own: OwnImage, conditions: ConditionsControls) -> None:
        self._panel, self._own, self._conditions = panel, own, conditions
        self._made: tuple[Imitation, RunResult, ImitationConfig] | None = None
        self._drawn = 0
        self.button = QPushButton(tr("Simulate my image…"))
        self.button.setToolTip(
            tr(
                "Learn from the chosen image how it looks (columns, jitter, noise, "
                "contamination, populations), and show a simulated one beside it, with "
                "what differs. Takes the columns that were found in it, with your "
                "corrections, or finds them first; each click draws others"
            )
        )
        own.add_row(self.button)
        self.differences = Differences(panel.viewer.theme)
        self._dock = panel.bottom_dock(self.differences, DOCK, HEIGHT)
        self.button.clicked.connect(self.simulate)
        self.differences.use.clicked.connect(self.use)
        self.differences.save.clicked.connect(self.save)

    def simulate(self) -> None:
        """Learn the look of the chosen image, simulate it, and show both."""
        run_bar = self._panel.run_bar
        try:
            image, layer = self._own.get(), self._own.image.layer
            if image is None:
                raise DefectStrainError("got no image: open one, or choose one in the list")
            material = get_material(self._conditions.get().materials[0]).label
        except DefectStrainError as mistake:
            run_bar.fail(str(mistake))
            return
        known = self._known(image, layer, material)
        if not run_bar.running:
            self._drawn += 1
        config = ImitationConfig(images=_IMAGES, seed=1000 * self._drawn)
        run_bar.start(
            lambda progress: _made_of(image, known, material, config, progress),
            lambda made: self._show(*made, config, layer),
            tr("Learning the look of your image…"),
            what="Simulate my image",
        )

    def _known(
        self, image: CalibratedImage, layer: Image, material: str
    ) -> tuple[Sites, Regions | None] | None:
        """The columns of the image, where they were found as this material's."""
        names = get_material(material).class_names
        for one in detected_images(self._panel.viewer):
            same = one.layer is layer and np.array_equal(one.image.data, image.data)
            if same and tuple(one.sites.class_names) == tuple(names):
                return one.sites, one.regions
        return None

    def _show(
        self, imitation: Imitation, found: RunResult, config: ImitationConfig, layer: Image
    ) -> None:
        # by these settings: later clicks draw others, and may be cancelled
        self._made = imitation, found, config
        real, first = imitation.real[0], imitation.simulated[0]
        base, height = real.grey[:2]
        viewer = self._panel.viewer
        beside = np.array(layer.translate[-2:], dtype=float)
        beside[1] += (real.picture.shape[1] + GAP_PX) * layer.scale[-1]
        viewer.add_image(
            (base + height * first.picture).astype(np.float32),
            name=free_name(viewer, f"{layer.name}: simulated"),
            scale=layer.scale[-2:],
            translate=beside,
            units=layer.units[-2:],
            axis_labels=("y", "x"),
            contrast_limits=layer.contrast_limits,
            metadata={KEY: {"pixel_size_pm": real.number["pixel_size_pm"], "simulated": True}},
        )
        viewer.reset_view()
        self.differences.show_differences(imitation)
        self._dock.open()
        self._panel.run_bar.status.setText(_line(imitation))

    def use(self) -> None:
        """Let training draw from conditions like those of the image."""
        if self._made is None:
            return
        self._conditions.set(look_conditions(self._made[0].look))
        show_info(tr("Training images are drawn like yours: Simulate examples shows some"))

    def save(self) -> None:
        """Ask for a folder, and write look, images with truth and settings of a training."""
        if self._made is None:
            return
        path = ask_folder(self._panel, tr("Folder of the simulated images"))
        if path is None:
            return
        made, found, config = self._made
        config = config.replace(images=len(made.images))
        try:
            check_out_dir(path, False, IMITATION_FILE)
        except DefectStrainError as mistake:
            self._panel.run_bar.fail(str(mistake))
            return
        self._panel.run_bar.start(
            lambda _: write_imitation(made, found, config, path),
            lambda _: self._panel.run_bar.status.setText(f"written to {path}"),
            tr("Writing…"),
        )

    def set_theme(self, theme: str) -> None:
        """Take over the colours of a theme."""
        self.differences.canvas.set_theme(theme)


def _made_of(
    image: CalibratedImage,
    known: tuple[Sites, Regions | None] | None,
    material: str,
    config: ImitationConfig,
    progress: Progress,
) -> tuple[Imitation, RunResult]:
    """The part that isn't the window's."""
    run = RunConfig(material=material)
    part = subprogress(progress, 0.0, 0.3)
    if known is None:
        found = detect([image], run, progress=part)
    else:
        sites, regions = known
        found = detect([image], run, sites=[sites], progress=part, regions=[regions])
    return imitate(found, config, subprogress(progress, 0.3, 1.0)), found


def _line(made: Imitation) -> str:
    """How alike they are, in a line."""
    told = [w for w in made.table["within"] if w is not None]
    return f"{sum(told)} of {len(told)} numbers differ by no more than chance"


class Differences(QWidget):
    """Spectra, histograms and numbers, real beside simulated.

    Parameters
    ----------
    theme : str
        Name of napari's.
    """

    def __init__(self, theme: str) -> None:
        super().__init__()
        self.text = QLabel(tr("Nothing simulated yet: Simulate my image, in Train"))
        self.text.setWordWrap(True)
        self.use = QPushButton(tr("Use for training"))
        self.use.setToolTip(
            tr(
                "Set what training images are drawn from to ranges around what was learnt: "
                "pixel size, probe, dose, jitter, noise, contamination, brightness and "
                "shares of the classes"
            )
        )
        self.save = QPushButton(tr("Save as sample…"))
        self.save.setToolTip(
            tr(
                "Write the simulated images with their truth, the look, the differences "
                "and settings for a training into an empty folder"
            )
        )
        for button in (self.use, self.save):
            button.setEnabled(False)
        row = QHBoxLayout()
        row.addWidget(self.text, 1)
        row.addWidget(self.use)
        row.addWidget(self.save)
        self.canvas = DifferencesCanvas(theme)
        self.rows = forms.read_only_table(
            tr(
                "By chance: the largest difference that two images of one look have in 95 "
                "of 100, by the simulated images among each other"
            )
        )
        parts = QHBoxLayout()
        parts.addWidget(self.canvas, 1)
        parts.addWidget(self.rows, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 2, 4, 4)
        column.addLayout(row)
        column.addLayout(parts, 1)

    def show_differences(self, made: Imitation) -> None:
        """Show how far simulated images are from the real one."""
        missing = ", ".join(note.split(":")[0] for note in made.look.notes)
        self.text.setText(_line(made) + (f"; not learnt: {missing}" if missing else ""))
        self.text.setToolTip("\n".join(made.look.notes))
        self.canvas.show_differences(made)
        for button in (self.use, self.save):
            button.setEnabled(True)
        heads = ["", "real", "simulated", "difference", "by chance", "alike"]
        rows = []
        for row in made.table.itertuples():
            name = short_quantity(str(row.quantity), str(row.unit))
            numbers = (row.real, row.simulated, row.difference, row.by_chance)
            texts = [name, *("" if np.isnan(v) else f"{v:.3g}" for v in numbers)]
            texts.append({True: "yes", False: "no"}.get(row.within, ""))
            rows.append(texts)
        forms.fill_table(self.rows, heads, rows)


class DifferencesCanvas(ThemedCanvas):
    """Spectra, grey values and brightness of columns, real and simulated."""

    def __init__(self, theme: str) -> None:
        self._made: Imitation | None = None
        super().__init__(theme, 160)

    def show_differences(self, made: Imitation) -> None:
        """Draw them."""
        self._made = made
        self.redraw()

    def redraw(self) -> None:
        """Draw what there is."""
        self.figure.clear()
        if self._made is None:
            return
        draws = (draw_spectra, draw_greys, draw_brightness)
        for ax, draw in zip(self.figure.subplots(1, _FIGURES), draws, strict=True):
            draw(ax, self._made.real, self._made.simulated)
            ax.set_facecolor(self.ground)
            ax.tick_params(which="both", colors=self.ink, labelsize=7)
            for text in (ax.xaxis.label, ax.yaxis.label):
                text.set_color(self.ink)
                text.set_fontsize(7)
            for spine in ax.spines.values():
                spine.set_color(self.ink)
            if (legend := ax.get_legend()) is not None:
                for text in legend.get_texts():
                    text.set_color(self.ink)
                    text.set_fontsize(7)
        self.draw_idle()
