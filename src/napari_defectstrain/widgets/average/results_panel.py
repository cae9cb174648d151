"""The panel of averages: plots of what was measured on them, and their windows."""

from collections.abc import Mapping

from napari.components import ViewerModel
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSplitter, QTabWidget, QVBoxLayout, QWidget

from ...materials import get_material
from ...pipeline.runs import ClassMeasurement
from ..base import forms, tr
from ..base.lifetime import connect
from ..base.settings import Settings
from ..base.spacing_plots import PrecisionCanvas, SpacingCanvas
from ..layers.averages import MEASUREMENT, of_every_defect, run_title, runs
from ..layers.sites import note
from ..layers.window_edits import WindowEdits
from .makeup_view import MakeupView
from .windows_view import WindowsView

PLOTS, WINDOWS = 0, 1
SOON_MS = 60
"""After a layer came or went, until averages are listed anew."""
HEIGHT = 300
BESIDE = "Spacings and precision"
BESIDE_PX = 720
"""Width from which the two plots lie side by side [px of the screen]."""
SHARES = (3, 2)
"""Of that width."""
DOCK = "Averages: spacings and windows"


class ResultsPanel(QWidget):
    """Spacings by class and precision against N in one tab, the windows in the other.

    Parameters
    ----------
    viewer : ViewerModel
    edits : WindowEdits
    settings : Settings
    """

    split_clicked = Signal(str, str)
    """Emitted with the run and the class whose populations are to become classes."""

    def __init__(self, viewer: ViewerModel, edits: WindowEdits, settings: Settings) -> None:
        super().__init__()
        self.viewer, self.edits = viewer, edits
        self._stale: set[str] = set()
        self.setMinimumHeight(220)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 2, 4, 4)
        row = QHBoxLayout()
        self.source = forms.choice([])
        self.source.setSizeAdjustPolicy(
            self.source.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.source.setMinimumContentsLength(16)
        self.source.setToolTip(tr("Averages: images, then class and number of windows"))
        self.source.currentIndexChanged.connect(lambda _: self._show())
        self.state = QLabel()
        self.state.setWordWrap(True)
        row.addWidget(self.source, 3)
        row.addWidget(self.state, 2)
        column.addLayout(row)
        self.tabs = QTabWidget()
        column.addWidget(self.tabs, 1)
        self.spacings = SpacingCanvas(viewer.theme)
        self.spacings.setToolTip(
            tr(
                "Spacing of the three metal columns around the centre. Light: single "
                "windows; dark: bootstrap of the class average, full range and one "
                "standard deviation. In words: strain against the defect-free average ± "
                "statistical (± total) error"
            )
        )
        self.precision = PrecisionCanvas(viewer.theme)
        self.precision.setToolTip(
            tr(
                "Scatter of the metal spacings within averages of N windows, with the fit "
                "sqrt(p²/N + floor²), the floor dashed; how many windows 0.3 pm (dotted) "
                "takes"
            )
        )
        self._plots = QSplitter(Qt.Orientation.Horizontal)
        self._plots.addWidget(self.spacings)
        self._plots.addWidget(self.precision)
        for i, share in enumerate(SHARES):
            self._plots.setStretchFactor(i, share)
        self.tabs.addTab(self._plots, BESIDE)
        self.windows = WindowsView(viewer, edits, settings)
        self.tabs.addTab(self.windows, tr("Windows"))
        self.makeup = MakeupView(viewer.theme)
        self.makeup.split_clicked.connect(self._split)
        self.tabs.addTab(self.makeup, tr("Made of"))
        self.tabs.currentChanged.connect(self._turn)
        edits.changed.connect(self._mark_stale)
        self._soon = QTimer(self)  # layers come one after another: looked at once is enough
        self._soon.setSingleShot(True)
        self._soon.setInterval(SOON_MS)
        self._soon.timeout.connect(self.refresh)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            connect(self, event, lambda *_: self._soon.start())
        connect(self, viewer.events.theme, self._follow_theme)
        self.refresh()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Side by side where there is room for both plots, else each in a tab of its own."""
        super().resizeEvent(event)
        room = event.size().width() >= BESIDE_PX
        if room == (self._plots.count() == 2):
            return
        if room:
            self.tabs.removeTab(self.tabs.indexOf(self.precision))
            self._plots.addWidget(self.precision)
            self.precision.show()
            # what comes into a splitter later gets its least width, whatever the stretches say
            self._plots.setSizes([share * event.size().width() for share in SHARES])
        else:
            self.tabs.addTab(self.precision, tr("Precision"))
        self.tabs.setTabText(PLOTS, BESIDE if room else "Spacings")

    @property
    def run(self) -> str | None:
        """The run that is shown."""
        return self.source.currentData()

    def refresh(self, *_: object) -> None:
        """List the averages that there are; the newest is chosen."""
        self._soon.stop()
        found = runs(self.viewer)
        known = {self.source.itemData(i): i for i in range(self.source.count())}
        titles = {run: run_title(layers) for run, layers in found.items()}
        chosen = self.run
        self.source.blockSignals(True)
        self.source.clear()
        for run, title in titles.items():
            self.source.addItem(title, run)
            self.source.setItemData(self.source.count() - 1, title, Qt.ItemDataRole.ToolTipRole)
        new = [r for r in found if r not in known and not (chosen and of_every_defect(found[r]))]
        wanted = new[-1] if new else chosen
        self.source.setCurrentIndex(max(self.source.findData(wanted), 0) if found else -1)
        self.source.blockSignals(False)
        classes = [] if self.run is None else list(self.edits.stacks(self.run))
        listed = [self.windows.class_box.itemText(i) for i in range(self.windows.class_box.count())]
        if self.run != chosen or classes != listed:
            self._show()

    def _show(self) -> None:
        self.windows.show_run(self.run)
        self.show_plots()

    def show_plots(self) -> None:
        """Draw what was measured on the chosen averages, or say that nothing was."""
        layers = runs(self.viewer).get(self.run or "", [])
        measured: Mapping[str, ClassMeasurement] = {
            note(la)["class"]: la.metadata[MEASUREMENT]
            for la in layers
            if MEASUREMENT in la.metadata
        }
        if measured:
            material = get_material(note(layers[0])["parameters"]["material"])
            for plots in (self.spacings, self.precision, self.makeup):
                plots.show_measurements(measured, material)
        else:
            empty = "No averages yet" if not layers else "Not measured yet"
            for plots in (self.spacings, self.precision, self.makeup):
                plots.show_message(empty)
        self._say_state(bool(measured))

    def _say_state(self, measured: bool) -> None:
        stale = measured and self.run in self._stale
        self.state.setText("windows changed since: the plots are of before" if stale else "")
        self.state.setVisible(stale)

    def _mark_stale(self, run: str, _class_name: str) -> None:
        self._stale.add(run)
        for i in range(self.source.count()):
            if self.source.itemData(i) == run:
                self.source.setItemText(i, run_title(runs(self.viewer)[run]))
        self._say_state(True)

    def measured(self, run: str, current: bool) -> None:
        """The averages of a run were measured anew; current: with the windows of now."""
        if current:
            self._stale.discard(run)
        if run == self.run:
            self.show_plots()

    def _split(self, class_name: str) -> None:
        if self.run is not None:
            self.split_clicked.emit(self.run, class_name)

    def look_through(self, class_name: str) -> None:
        """Bring the windows of a class to the front."""
        self.tabs.setCurrentIndex(WINDOWS)
        self.windows.show_run(self.run, class_name)

    def _turn(self, tab: int) -> None:
        if tab != WINDOWS:
            self.windows.leave_scene()

    def _follow_theme(self, *_: object) -> None:
        for canvas in (
            self.spacings,
            self.precision,
            self.windows.canvas,
            self.makeup.canvas,
        ):
            canvas.set_theme(self.viewer.theme)
