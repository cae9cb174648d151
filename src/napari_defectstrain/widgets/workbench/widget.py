"""One dock with four steps: the other widgets, what to do next, and all of it by one button."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QButtonGroup,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ...io import POINT_SUFFIXES, SUFFIXES
from ...styles import CLASS_STYLE
from ...types import DefectStrainError
from ..average import AverageWidget
from ..base import (
    SECTION,
    RunBar,
    Settings,
    connect,
    declare,
    forms,
    help_button,
    put_in_tab_order,
    shortcut,
    tr,
    when_destroyed,
)
from ..base.help import open_page
from ..base.worker import PROGRESS_STEPS
from ..detect import DetectWidget
from ..gallery import restyle_gallery
from ..layers.placing import know_units
from ..layers.window_edits import window_edits_of
from ..strain import StrainWidget
from .key_list import KeyList
from .layer_list import LayerListRows
from .preferences import Preferences, recolour
from .report import ReportPanel
from .run_all import RunAll
from .steps import (
    AVERAGE,
    CORRECT,
    DETECT,
    DONE,
    FIGURES,
    NINE_REGIONS,
    ONE_REGION,
    OPEN,
    READY,
    REPORT,
    STEPS,
    STRAIN,
    WAITS,
    State,
    advice,
    state_of,
)
from .tour import Tour

PLUGIN = "napari-defectstrain"
MARKS = {DONE: "✓", READY: "•", WAITS: ""}
WAIT_MS = 40
"""Layers come one by one: what they mean is looked at when they have come."""
WATCH_MS = 400
WARM_MS = 150
"""After the dock is there, until units are read: else the first image would wait for them."""
PLACE = "Defect strain"
STEP_KEYS = [
    declare(PLACE, f"Alt+{step + 1}", f"Show step {step + 1}: {name}")
    for step, name in zip(STEPS, ("Detect", "Average", "Strain", "Report"), strict=True)
]
RUN_KEY = declare(PLACE, "Ctrl+Shift+Return", "Run all remaining steps")
NEXT_KEY = declare(PLACE, "Ctrl+Return", "Do what the step suggests")
HELP_KEY = declare(PLACE, "F1", "Open the page of the step that is shown")


def file_kinds() -> str:
    """What can be opened, as a dialog of files offers it; some have capitals in their ending."""
    images = " ".join(f"*{end} *{end.upper()}" for end in SUFFIXES)
    points = " ".join(f"*{end} *{end.upper()}" for end in POINT_SUFFIXES if end not in SUFFIXES)
    kinds = ((tr("Images"), images), (tr("Points and columns"), points), (tr("All files"), "*"))
    return ";;".join(f"{name} ({endings})" for name, endings in kinds)


def step_names() -> list[str]:
    """What the steps are called."""
    return [tr("Detect"), tr("Average"), tr("Strain"), tr("Report")]


class WorkbenchWidget(forms.Docked):
    """Detect, average, strain, report: each step a page, made when it is first looked at.

    Parameters
    ----------
    napari_viewer : Viewer
    """

    page = "widgets.md#the-four-steps"

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self._panels: dict[int, forms.Panel] = {}
        self._written = False
        self.step = DETECT
        self.state = State()
        self.setMinimumWidth(372)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(4)
        column.addLayout(self._build_header())
        column.addWidget(self._build_strip())
        self.stack = QStackedWidget()
        self._places = []
        for _ in STEPS:
            place = QWidget()
            QVBoxLayout(place).setContentsMargins(0, 0, 0, 0)
            self._places.append(place)
            self.stack.addWidget(place)
        column.addWidget(self.stack, 1)
        column.addLayout(self._build_overall())
        self.run_all = RunAll(self, lambda: state_of(self.viewer), self.panel, self._start)
        self.run_all.progressed.connect(self._show_progress)
        self.run_all.ended.connect(self._show_end)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(WAIT_MS)
        self._soon.timeout.connect(self.refresh)
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed):
            connect(self, event, lambda *_: self._soon.start())
        self.window_edits = window_edits_of(self.viewer)
        self.window_edits.changed.connect(self._windows_changed)
        self.tour = Tour(self.viewer)
        self._watching = QTimer(self)  # of corrections nobody else tells
        self._watching.setSingleShot(True)
        self._watching.setInterval(WATCH_MS)
        self._watching.timeout.connect(self.refresh)
        self._followed: int | None = None
        self._styles = dict(CLASS_STYLE)
        self.rows = LayerListRows(self.viewer, self)
        self.all_layers.setChecked(bool(Settings(SECTION).get("all_layers", False)))
        when_destroyed(self, lambda rows=self.rows: rows.show_everything(True))
        self._bind_keys()
        self.show_step(DETECT)
        self.refresh()
        self._warming = QTimer(self)
        self._warming.setSingleShot(True)
        self._warming.timeout.connect(know_units)
        self._warming.start(WARM_MS)

    def _build_header(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(2)
        self.header = QButtonGroup(self)
        for step, key in zip(STEPS, STEP_KEYS, strict=True):
            button = QPushButton()
            button.setCheckable(True)
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            button.setMinimumWidth(40)
            button.setToolTip(f"{key.does} ({key.keys})")
            self.header.addButton(button, step)
            row.addWidget(button)
        self.header.idClicked.connect(self.show_step)
        self.more = QToolButton()
        self.more.setText("⋯")
        self.more.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.more.setToolTip(tr("Guided tour, preferences, keys"))
        self.more.setAccessibleName(tr("More"))
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu = QMenu(self.more)
        self.menu.addAction(tr("Guided tour")).triggered.connect(lambda: self.start_tour())
        self.menu.addAction(tr("Preferences…")).triggered.connect(lambda: self.show_preferences())
        self.menu.addAction(tr("Keys…")).triggered.connect(lambda: self.show_keys())
        self.menu.addSeparator()
        self.all_layers = self.menu.addAction(tr("Show all layers in the list"))
        self.all_layers.setCheckable(True)
        self.all_layers.toggled.connect(lambda on: self._show_all_layers(on))
        self.more.setMenu(self.menu)
        row.addWidget(self.more)
        row.addWidget(help_button(self.page))
        return row

    def _build_strip(self) -> QFrame:
        self.strip = QFrame()
        self.strip.setFrameShape(QFrame.Shape.StyledPanel)
        column = QVBoxLayout(self.strip)
        column.setContentsMargins(8, 4, 8, 4)
        self.words = QLabel()
        self.words.setWordWrap(True)
        top = QHBoxLayout()
        top.addWidget(self.words, 1)
        self.leave_button = QToolButton()
        self.leave_button.setText("×")
        self.leave_button.setToolTip(tr("Leave the tour"))
        self.leave_button.setAccessibleName(tr("Leave the tour"))
        self.leave_button.clicked.connect(self.leave_tour)
        self.leave_button.hide()
        top.addWidget(self.leave_button)
        column.addLayout(top)
        self._row = QHBoxLayout()
        column.addLayout(self._row)
        self.advice_buttons: list[QPushButton] = []
        return self.strip

    def _build_overall(self) -> QVBoxLayout:
        row = QHBoxLayout()
        self.all_button = QPushButton(tr("Run all"))
        self.all_button.setToolTip(
            tr("Take the steps that remain, with the settings as they are") + f" ({RUN_KEY.keys})"
        )
        self.all_button.clicked.connect(self.start_all)
        self.cancel_button = QPushButton(tr("Cancel all"))
        self.cancel_button.setToolTip(tr("Stop; the steps that are done stay"))
        self.cancel_button.setEnabled(False)
        row.addWidget(self.all_button, 2)
        row.addWidget(self.cancel_button, 1)
        self.bar = QProgressBar()
        self.bar.setRange(0, PROGRESS_STEPS)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.hide()
        self.cancel_button.clicked.connect(lambda: self.run_all.cancel())
        column = QVBoxLayout()
        column.setSpacing(2)
        column.addLayout(row)
        column.addWidget(self.bar)
        column.addWidget(self.status)
        return column

    def _bind_keys(self) -> None:
        for step, key in zip(STEPS, STEP_KEYS, strict=True):
            shortcut(key, self, lambda step=step: self.show_step(step))
        shortcut(RUN_KEY, self, self.start_all)
        shortcut(NEXT_KEY, self, self.follow_advice)
        shortcut(HELP_KEY, self, lambda: open_page(self.panel(self.step).page, self), own=True)

    def start_tour(self) -> None:
        """Lead through the sample, from what is not done yet."""
        self.tour.start()
        self.show_step(DETECT)

    def leave_tour(self) -> None:
        """Say what the steps say again."""
        self.tour.leave()
        self._watching.stop()
        self.refresh()

    def show_keys(self) -> KeyList:
        """Show the list of keys."""
        found = KeyList(self)
        found.show()
        return found

    def show_preferences(self) -> Preferences:
        """Show the page of preferences; what is changed there is seen at once."""
        found = Preferences(self)
        found.changed.connect(self._preferences_changed)
        found.show()
        return found

    def _preferences_changed(self) -> None:
        for panel in self._panels.values():
            panel.settings.apply()
        if self._styles == CLASS_STYLE:
            return
        self._styles = dict(CLASS_STYLE)
        for layer in self.viewer.layers:
            recolour(layer)
        restyle_gallery(self.viewer)
        if DETECT in self._panels:
            self.panel(DETECT).edit.show_colours()

    def _show_all_layers(self, everything: bool) -> None:
        Settings(SECTION).set("all_layers", everything)
        self.rows.show_everything(everything)

    @property
    def run_bar(self) -> RunBar:
        """The run bar of the step that is shown."""
        return self.panel(self.step).run_bar

    @property
    def busy(self) -> bool:
        """True while a step has something running, or due."""
        return self.run_all.running or any(panel.busy for panel in self._panels.values())

    def _began(self, *_: object) -> None:
        if self.all_button.isEnabled():
            self.refresh()

    def panel(self, step: int) -> forms.Panel:
        """The widget of a step; made when it is first asked for."""
        if step not in self._panels:
            makers: dict[int, Callable[[], forms.Panel]] = {
                DETECT: lambda: DetectWidget(self.viewer),
                AVERAGE: lambda: AverageWidget(self.viewer),
                STRAIN: self._make_strain,
                REPORT: self._make_report,
            }
            panel = self._panels[step] = makers[step]()
            panel.run_bar.idle.connect(self._soon.start)
            panel.run_bar.progressed.connect(self._began)
            self._places[step].layout().addWidget(panel)
        return self._panels[step]

    def _make_strain(self) -> StrainWidget:
        made = StrainWidget(self.viewer)
        made.figures.written.connect(self._wrote)
        made.report.written.connect(self._wrote)
        return made

    def _make_report(self) -> ReportPanel:
        made = ReportPanel(
            self.viewer, lambda: self.panel(STRAIN), lambda: self.panel(DETECT).config()
        )
        made.report.written.connect(self._wrote)
        return made

    def end_jobs(self) -> None:
        """Stop what is running, in whatever step."""
        self.run_all.cancel()
        for panel in self._panels.values():
            panel.end_jobs()

    def take_up(self) -> None:
        """Show how far the work is in a study that was opened."""
        self.refresh()

    def show_step(self, step: int) -> None:
        """Show the page of a step."""
        self.step = step
        self.panel(step)
        for k, place in enumerate(self._places):  # a hidden page's height is nobody's
            ignored = QSizePolicy.Policy.Ignored
            own = QSizePolicy.Policy.Preferred
            place.setSizePolicy(*((own, own) if k == step else (ignored, ignored)))
        self.stack.setCurrentIndex(step)
        self.header.button(step).setChecked(True)
        self.refresh()
        QTimer.singleShot(0, self._order_tabs)

    def _order_tabs(self) -> None:
        if self.isVisible():
            put_in_tab_order(self)

    def refresh(self) -> None:
        """Say how far the work is, and what comes next."""
        state = state_of(self.viewer, self._written)
        if not state.measured:  # what was written is of before
            state, self._written = replace(state, written=False), False
        self.state = state
        for step, name in zip(STEPS, step_names(), strict=True):
            now, button = state.of(step), self.header.button(step)
            button.setText(" ".join(part for part in (f"{step + 1} {name}", MARKS[now]) if part))
            said = {
                DONE: tr("done"),
                READY: tr("can be done"),
                WAITS: tr("waits for a step before"),
            }
            button.setAccessibleName(f"{step + 1} {name}: {said[now]}")
        said = advice(state, self.step)
        stop = self.tour.look(state)
        text = f"<b>{self.tour.where}</b> {stop.text()}" if stop is not None else said.text
        self.words.setText(text)
        if self.tour.ended:
            self.words.setText(tr("<b>That was the tour.</b>") + " " + said.text)
        self.leave_button.setVisible(self.tour.running)
        if self.tour.running and not self.tour.ended:
            self._watching.start()
        self._offer(said.buttons)
        self.all_button.setEnabled(bool(state.remaining) and not self.busy)

    def _offer(self, offered: tuple[tuple[str, str | int], ...]) -> None:
        """Buttons are kept as far as there are enough: one may have the keyboard."""
        while len(self.advice_buttons) < len(offered):
            button = QPushButton()
            button.clicked.connect(lambda _=False, b=button: self._act(b.property("what")))
            self.advice_buttons.append(button)
            self._row.addWidget(button)
        for k, button in enumerate(self.advice_buttons):
            button.setVisible(k < len(offered))
            if k < len(offered):
                button.setText(offered[k][0])
                button.setProperty("what", offered[k][1])
                button.setEnabled(not self.busy)

    def follow_advice(self) -> None:
        """Press the first button of the strip."""
        if self.advice_buttons and self.advice_buttons[0].isEnabled():
            self.advice_buttons[0].click()

    def _act(self, what: str | int) -> None:
        if what in (ONE_REGION, NINE_REGIONS):
            self.viewer.open_sample(PLUGIN, what)
        elif what == OPEN:
            self._open_files()
        elif what == CORRECT:
            self.show_step(DETECT)
            self.panel(DETECT).correct()
        elif what == FIGURES:
            self.panel(STRAIN).figures.ask()
        else:
            self.show_step(what)
            self._start(what)

    def _open_files(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, tr("Open images"), "", file_kinds())
        for path in paths:
            try:
                self.viewer.open(path, plugin=PLUGIN)
            except (ValueError, OSError, DefectStrainError) as problem:
                show_error(f"{Path(path).name}: {problem}")

    def _start(self, step: int) -> None:
        """Press the button of a step, for what remains of it."""
        panel = self.panel(step)
        if panel.run_bar.running:
            show_info(tr("This step is running already"))
            return
        state = state_of(self.viewer)
        if step == DETECT and state.unsearched:
            panel.run_on(state.unsearched)
            return
        if step == STRAIN and state.run:
            panel.choose_run(state.run)
        panel.run_bar.run_button.click()

    def start_all(self) -> None:
        """Take all steps that remain."""
        if not self.busy:
            self._followed = None
            self.run_all.start()
        if self.run_all.running:
            self.cancel_button.setEnabled(True)
            self.status.show()
        self.refresh()

    def _show_progress(self, fraction: float, text: str) -> None:
        self.bar.setValue(round(PROGRESS_STEPS * fraction))
        self.status.setText(text)
        step = self.run_all.step
        if step is not None and step != self._followed:  # once: a person may look elsewhere then
            self._followed = step
            self.show_step(step)

    def _show_end(self, why: str) -> None:
        self.cancel_button.setEnabled(False)
        self.bar.setValue(0)
        self.status.setText(why or tr("All steps are done"))
        self.status.show()
        self.refresh()

    def _windows_changed(self, *_: object) -> None:
        self._soon.start()

    def _wrote(self) -> None:
        self._written = True
        self.refresh()
