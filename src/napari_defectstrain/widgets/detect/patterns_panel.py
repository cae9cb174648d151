"""Populations of all images below the viewer, and whether their defects lie at random."""

from collections.abc import Callable
from uuid import UUID

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Points
from napari.utils.notifications import show_info
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from ...crystal.defect_patterns import DefectPatterns, find_patterns
from ...crystal.pattern_counts import ANY_SUBSTITUENT, ANY_VACANCY
from ...crystal.populations import ALL_IMAGES, population_table
from ...crystal.regions import Regions, usable_sites
from ...io.files import write_table
from ...materials import get_material
from ...output.figures.files import figure_settings
from ...output.figures.populations import draw_clusters, draw_pairs, draw_populations
from ...types import Progress, Sites
from ..base import forms, tr
from ..base.lifetime import connect
from ..base.saving import ask_folder, may_replace
from ..base.spacing_plots import MeasurementCanvas
from ..base.worker import RunBar
from ..layers.detected import detected_images
from ..layers.editing import editor_of
from ..layers.sites import kind, material_of

DOCK = "Detect: populations"
HEIGHT = 300
POPULATIONS, PAIRS, CLASS_PAIRS, CLUSTERS = "populations", "pairs", "pairs by class", "clusters"
CONTROLS_PX = 200
EVERY = "all images"
TABLES = ("populations", "pair_correlation", "clusters", "nearest_defects")
WRITE_OLD = "Write them as they were"
STALE = "Columns, regions or images changed since: plots and tables are of before, compare again"
NOTHING = "No detection yet: detect the columns of an image first"
WELCOME = (
    "Press Compare with chance: the defects of each image are put on its own sites at random,\n"
    "and pairs, clusters and nearest neighbours are compared with what is seen"
)


class PatternsCanvas(MeasurementCanvas):
    """Populations, pairs or clusters in the colours of napari's theme."""

    def __init__(self, theme: str, height: int = 190) -> None:
        self._draw_into: Callable | None = None
        super().__init__(theme, height)

    def show_drawing(self, draw: Callable) -> None:
        """Draw by a function of an empty figure."""
        self._draw_into, self._message = draw, ""
        self.redraw()

    def show_message(self, message: str) -> None:
        """Say why there is nothing to draw."""
        self._draw_into = None
        super().show_message(message)

    def redraw(self) -> None:
        """Everything anew; matplotlib takes colours when things are made."""
        if self._draw_into is None:
            super().redraw()
            return
        self.figure.clear()
        with figure_settings({**self._colours(), "axes.titlesize": 8, "legend.frameon": False}):
            self._draw_into(self.figure)
        self.draw_idle()


class PatternsPanel(QWidget):
    """Compares the defects of all images with random ones, and draws what comes out.

    Parameters
    ----------
    viewer : ViewerModel
    shown_layer : callable
        Gives the defects layer whose classes are asked for, or None.
    """

    def __init__(self, viewer: ViewerModel, shown_layer: Callable[[], Points | None]) -> None:
        super().__init__()
        self.viewer = viewer
        self._shown_layer = shown_layer
        self.populations: pd.DataFrame | None = None
        self.found: DefectPatterns | None = None
        self.class_names: tuple[str, ...] = ()
        self._compared: list[tuple[str, Sites, Regions | None]] = []
        self._watched: set[UUID] = set()
        self._edited = False
        self.canvas = PatternsCanvas(viewer.theme)
        self.canvas.setToolTip(
            tr(
                "Grey: what random placements of the same defects on the same sites give, "
                "with all values at once in 95 of 100; filled red: outside. Crosses: by "
                "the probabilities of the classes"
            )
        )
        self.bar = RunBar(
            tr("Compare with chance"),
            tr(
                "Place the defects of each image on its own sites at random, 199 times, "
                "and compare pairs of classes, clusters, lines and nearest neighbours"
            ),
        )
        self.bar.run_clicked.connect(self.run)
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 2, 4, 4)
        row.addWidget(self._controls())
        row.addWidget(self.canvas, 1)
        connect(self, viewer.events.theme, self._follow_theme)
        self.canvas.show_message(WELCOME)

    def _controls(self) -> QWidget:
        controls = QWidget()
        controls.setFixedWidth(CONTROLS_PX)
        column = QVBoxLayout(controls)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        self.what = forms.choice([POPULATIONS, PAIRS, CLASS_PAIRS, CLUSTERS])
        self.what.setToolTip(
            tr(
                "populations: share of each class, image by image; pairs: of vacancies and "
                "substituents by distance against random ones, together or class by class; "
                "clusters: of vacancies and of substituents, and how near the nearest is"
            )
        )
        self.what.currentTextChanged.connect(self._draw)
        self.image = forms.choice([EVERY])
        self.image.setToolTip(tr("All images together, or one of them"))
        self.image.currentTextChanged.connect(self._draw)
        self.export_button = QPushButton(tr("Export tables…"))
        self.export_button.setToolTip(
            f"Write {', '.join(name + '.csv' for name in TABLES)} into a folder"
        )
        self.export_button.setEnabled(False)
        self.export_button.clicked.connect(self.export)
        for widget in (self.what, self.image, self.bar, self.export_button):
            column.addWidget(widget)
        column.addStretch(1)
        return controls

    def run(self) -> None:
        """Compare all images that were searched with chance."""
        layer = self._shown_layer()
        found = [] if layer is None else detected_images(self.viewer, layer)
        if layer is None or not found:
            self.bar.fail(NOTHING)
            return
        names = [one.name for one in found]
        sites, regions = [one.sites for one in found], [one.regions for one in found]
        a_pm = get_material(material_of(layer)).lattice_pm
        class_names = sites[0].class_names
        self._compared, self._edited = list(zip(names, sites, regions, strict=True)), False
        self._watch_edits()

        def compute(progress: Progress) -> tuple[pd.DataFrame, DefectPatterns]:
            usable = [usable_sites(s, r) for s, r in zip(sites, regions, strict=True)]
            table = population_table(names, usable, class_names)
            return table, find_patterns(names, sites, regions, a_pm, progress=progress)

        self.bar.start(
            compute,
            lambda result: self._show(*result, names, class_names),
            tr("Placing at random…"),
        )

    def _show(
        self,
        populations: pd.DataFrame,
        found: DefectPatterns,
        names: list[str],
        class_names: tuple[str, ...],
    ) -> None:
        self.populations, self.found, self.class_names = populations, found, class_names
        chosen = self.image.currentText()
        self.image.blockSignals(True)
        self.image.clear()
        self.image.addItems([EVERY, *(names if len(names) > 1 else [])])
        self.image.setCurrentText(chosen if chosen in names else EVERY)
        self.image.blockSignals(False)
        self.export_button.setEnabled(True)
        self.bar.status.setText(STALE if self._edited else summary(found))
        self._draw()

    def _watch_edits(self) -> None:
        """Learn of corrections by hand of any image."""
        for layer in self.viewer.layers:
            if kind(layer) == "defects" and layer.unique_id not in self._watched:
                self._watched.add(layer.unique_id)
                connect(self, editor_of(layer).changed, self._correct)

    def _correct(self, *_: object) -> None:
        """A column was corrected: what is shown is of before."""
        self._edited = True
        if self.found is not None and not self.bar.running:
            self.bar.status.setText(STALE)

    @property
    def current(self) -> bool:
        """Whether columns and regions are as they were compared."""
        layer = self._shown_layer()
        now = [] if layer is None else detected_images(self.viewer, layer)
        return len(now) == len(self._compared) and all(
            one.name == name
            and np.array_equal(one.sites.class_index, sites.class_index)
            and np.array_equal(one.sites.position_px, sites.position_px)
            and np.array_equal(_labels(one.regions), _labels(regions))
            for one, (name, sites, regions) in zip(now, self._compared, strict=True)
        )

    def _draw(self, *_: object) -> None:
        if self.found is None or self.populations is None:
            return
        found, names, table = self.found, self.class_names, self.populations
        image = self.image.currentText()
        image = ALL_IMAGES if image in (EVERY, "") else image
        what = self.what.currentText()
        self.image.setEnabled(what != POPULATIONS)
        if what == POPULATIONS:
            self.canvas.show_drawing(lambda figure: draw_populations(figure, table, names))
        elif what in (PAIRS, CLASS_PAIRS):
            pairs = found.pair_correlation
            grouped = pairs["class_a"].isin([ANY_VACANCY, ANY_SUBSTITUENT])
            pairs = pairs[grouped if what == PAIRS else ~grouped]
            self.canvas.show_drawing(lambda figure: draw_pairs(figure, pairs, names, image))
        else:
            self.canvas.show_drawing(
                lambda figure: draw_clusters(figure, found.clusters, found.nearest, names, image)
            )

    def export(self) -> None:
        """Write the tables into a folder that the user chooses."""
        if self.found is None or self.populations is None:
            return
        if not self.current:
            self.bar.status.setText(STALE)
            answer = forms.ask(self, tr("Columns changed"), f"{STALE}.", [WRITE_OLD])
            if answer != WRITE_OLD:
                return
        folder = ask_folder(self, tr("Export tables"))
        if folder is None:
            return
        tables = (
            *(self.populations, self.found.pair_correlation),
            *(self.found.clusters, self.found.nearest),
        )
        paths = [folder / f"{name}.csv" for name in TABLES]
        there = [path for path in paths if path.exists()]
        if there and not may_replace(self, there):
            return
        for path, table in zip(paths, tables, strict=True):
            write_table(path, table)
        show_info(f"Wrote {len(paths)} tables into {folder}")

    def _follow_theme(self, *_: object) -> None:
        self.canvas.set_theme(self.viewer.theme)


def _labels(regions: Regions | None) -> np.ndarray:
    return np.zeros(0) if regions is None else regions.labels


def summary(found: DefectPatterns) -> str:
    """What was found of all images together, a line each."""
    parts = []
    for what, table in (
        ("pairs", found.pair_correlation),
        ("clusters", found.clusters),
        ("nearest", found.nearest),
    ):
        own = table[table["image"] == ALL_IMAGES]
        if len(own):
            p = float(own["p_all"].iloc[-1])
            verdict = "not random" if own["outside"].any() else "as random"
            parts.append(f"{what}: {verdict}, p = {p:.2g}")
    return "\n".join(parts) or "No defects to compare"
