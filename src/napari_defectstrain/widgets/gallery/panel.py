"""The gallery: thumbnails of every detection beside two of their features, and keys for classes."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from napari.components import ViewerModel
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QHideEvent, QResizeEvent, QShowEvent
from qtpy.QtWidgets import (
    QHBoxLayout,
    QPushButton,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from ...averages.detections import LEAST_DOUBT
from ...averages.looks import Looks, class_counts, same_rows, sort_values, sorted_rows
from ...averages.thumbnails import SIDE_NM
from ...types import IntArray
from ...units import PM_PER_NM
from ..base import tr
from ..base.class_keys import ClassKeys
from ..base.focus import FOCUS
from ..base.keys import shortcut
from ..base.lifetime import connect, when_destroyed
from ..base.pacing import Steps
from ..base.settings import Settings
from ..base.worker import Stepper
from ..layers.editing import editor_of
from ..layers.window_marker import go_to_window, hide_marker
from . import controls, edits
from .controls import Foot, ScatterSide, WhichRow
from .edits import GalleryEdits
from .gathering import Gathering, Place
from .grid import Grid
from .walking import Walk

WAIT_MS = 250
"""After the last change of layers or points until everything is gathered anew."""
BOTH_PX = 430
"""Width from which there is room for the scatter plot, too [px of the screen]."""
NAMES_PX = 760
"""Width from which there is room for names of classes and all buttons above the thumbnails."""
_STATE = {
    controls.AVERAGED: edits.AVERAGED,
    controls.LEFT_OUT: edits.LEFT_OUT,
    controls.NO_WINDOW: edits.NO_WINDOW,
}


class GalleryPanel(QWidget):
    """Every detection of all images: sorted, plotted, selected, relabelled, left out, put back.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = viewer
        self.setStyleSheet(FOCUS)
        self.edits = GalleryEdits(viewer)
        self.places: list[Place] = []
        self.looks: Looks | None = None
        self.walk: Walk | None = None
        self._own = self._linking = False
        self._stale = True
        self._edited_since = False
        self._editors: set[int] = set()
        self._points: dict[int, set[int]] = {}
        self.going = Stepper(self)
        self.gathering = Gathering(viewer, self)
        self.gathering.shown.connect(self._show)
        self.gathering.ended.connect(self._gathered)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.gathering.start)
        settings = Settings("gallery")
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 2, 4, 4)
        column.setSpacing(3)
        self.which = WhichRow(settings)
        self.which.changed.connect(self._arrange)
        column.addWidget(self.which)
        column.addLayout(self._build_keys())
        column.addWidget(self._build_middle(settings), 1)
        foot = Foot(settings)
        self.state, self.follow, self.walk_button = foot.state, foot.follow, foot.walk_button
        self.walk_button.clicked.connect(self._toggle_walk)
        column.addWidget(foot)
        self._watch()
        self._show([], None)
        self._stale = True  # until somebody looks
        self.say(controls.nothing())

    # ------------------------------------------------------------------ what it is made of

    def _build_keys(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(4)
        self.keys = ClassKeys(
            tr("leave it"),
            tr("It is what it was taken for, or can't be told: on to the next"),
            tr("back"),
            tr("Take back the last answer, and show it again"),
            tr("Give the selected detections the class {name} (key {key})"),
            one_row=True,
        )
        self.keys.setStyleSheet(controls.NARROW)
        self.keys.labelled.connect(self.label_class)
        self.keys.skipped.connect(self.skip)
        self.keys.taken_back.connect(self.walk_back)
        row.addWidget(self.keys)
        self.buttons: dict[str, QPushButton] = {}
        actions = (self.leave_out, self.put_back, self.undo, self.redo)
        for (name, (text, tip)), action in zip(controls.edit_texts().items(), actions, strict=True):
            button = QPushButton(text)
            button.setStyleSheet(controls.NARROW)
            button.setToolTip(tip)
            button.clicked.connect(action)
            self.buttons[name] = button
            row.addWidget(button)
        for key, action in (
            (controls.LEAVE_OUT_KEY, self.leave_out),
            (controls.PUT_BACK_KEY, self.put_back),
            (controls.WALK_KEY, self.walk_through),
            (controls.END_KEY, self.end_walk),
            (controls.UNDO_KEY, self.undo),
            (controls.REDO_KEY, self.redo),
            (controls.REDO_TOO_KEY, self.redo),
        ):
            # Of this panel only: points have the same keys for their own changes.
            shortcut(key, self, action, own=True)
        return row

    def _build_middle(self, settings: Settings) -> QSplitter:
        self.grid = Grid()
        self.grid.setToolTip("")
        self.grid.picked.connect(self._picked)
        self.grid.selected.connect(self._selected)
        self.side = ScatterSide(self.viewer.theme, settings)
        self.side.changed.connect(self._plot)
        self.side.plot.chosen.connect(self._lassoed)
        self.keys.listen(self, Qt.ShortcutContext.WidgetWithChildrenShortcut, self.grid)
        split = QSplitter(Qt.Orientation.Horizontal)
        split.addWidget(self.grid)
        split.addWidget(self.side)
        split.setChildrenCollapsible(False)
        split.setStretchFactor(0, 3)
        split.setStretchFactor(1, 2)
        return split

    def _watch(self) -> None:
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed, events.renamed):
            connect(self, event, self._layers_changed)
        connect(self, self.viewer.events.theme, self._follow_theme)
        self.edits.windows.changed.connect(self._windows_changed)
        self.edits.history.changed.connect(self._enable)
        when_destroyed(self, self.gathering.stop)

    def _follow_theme(self, *_: object) -> None:
        self.side.plot.set_theme(self.viewer.theme)

    def restyle(self) -> None:
        """Take over other colours of the classes."""
        self.which.restyle()
        self.grid.list.restyle()
        self._plot()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Without room for the plot, the thumbnails take it all."""
        super().resizeEvent(event)
        room = event.size().width() >= NAMES_PX
        self.which.spell_out(room)
        for name in ("Undo", "Redo"):  # they have keys, and the dock has such buttons
            self.buttons[name].setVisible(room)
        self.side.setVisible(event.size().width() >= BOTH_PX)

    # ------------------------------------------------------------------ what there is

    def refresh_soon(self, *_: object) -> None:
        """Gather everything anew, if anybody looks, or once somebody does."""
        self._stale = True
        if self.isVisible():
            self._timer.start(WAIT_MS if self.looks is not None else 0)

    def showEvent(self, event: QShowEvent) -> None:
        """What changed while nobody looked is gathered now."""
        super().showEvent(event)
        if self._stale:
            self._timer.start(0)

    def hideEvent(self, event: QHideEvent) -> None:
        """Nothing is marked for a gallery that nobody sees."""
        super().hideEvent(event)
        self.end_walk()
        self.going.give_up()
        hide_marker(self.viewer)

    def _layers_changed(self, event: object = None) -> None:
        # Layers of averages come and go; only detections and their images matter here.
        layer = getattr(event, "value", None)
        kind = getattr(layer, "metadata", {}).get("napari-defectstrain", {})
        if isinstance(kind, dict) and kind.get("kind") in ("defects", "sites", "regions"):
            self.refresh_soon()
        elif isinstance(kind, dict) and kind.get("kind") in ("average", ""):
            self._restate()

    def _points_changed(self) -> None:
        if not self._own:
            self.refresh_soon()

    def _show(self, places: Sequence[Place], looks: Looks | None) -> None:
        """Detections came, or more of their thumbnails."""
        before, self._stale = self.looks, False
        if before is not None and looks is not None and looks.thumbnails is before.thumbnails:
            # Their worker knows classes as they were when it began.
            looks = replace(looks, detections=before.detections)
            self.looks = looks
            self.grid.list.more(looks)
            if looks.core is not None:  # distances and components are known now
                self._values()
                self._plot()
                if not self.grid.chosen().size:
                    self._arrange()
            return
        same = before is not None and looks is not None and _same(self.places, places)
        chosen = self.grid.chosen()
        if same and before is not None and looks is not None:
            rows = same_rows(before.detections, looks.detections, float(looks.reach_px.min()))
            chosen = rows[chosen]
            if self.walk is not None:
                self.walk.renumber(rows)
        else:
            chosen, self.walk = chosen[:0], None
        self.places, self.looks = list(places), looks
        self.edits.watch(self.places)
        self._watch_points()
        names = () if looks is None else looks.detections.class_names
        self.keys.name(names[1:])
        self.which.name(names)
        self._arrange(chosen=chosen[chosen >= 0])
        self._enable()
        self._ask()
        if self._edited_since:
            self._edited_since = False
            self.refresh_soon()

    def _watch_points(self) -> None:
        for place in self.places:
            layer = place.defects
            if id(layer) in self._editors:
                continue
            self._editors.add(id(layer))
            connect(self, editor_of(layer).changed, self._points_changed)
            connect(self, layer.events.highlight, self._points_selected)

    def _gathered(self, problem: str) -> None:
        self._edited_since = False
        if problem:
            self.say(problem)
        elif self.looks is None:
            self.say(controls.nothing())
        elif self.walk is None and not self.state.text():
            self._count()

    def say(self, text: str) -> None:
        """Show a line of text."""
        self.state.setText(text)
        self.state.setToolTip(text)

    def _count(self) -> None:
        if self.looks is None:
            return
        listed, chosen = len(self.grid.list.rows), len(self.grid.chosen())
        more = tr(", {n} selected").format(n=chosen) if chosen else ""
        every = len(self.looks.detections)
        self.say(tr("{n} of {all} detections").format(n=listed, all=every) + more)

    # ------------------------------------------------------------------ order, plot

    def _arrange(self, *_: object, chosen: IntArray | None = None) -> None:
        """List what is asked for, in the order that is asked for."""
        looks = self.looks
        keep = self.grid.chosen() if chosen is None else chosen
        if looks is None:
            self.grid.keep(
                lambda: self.grid.list.show([], None, np.zeros(0, int), np.zeros(0, int))
            )
            self._plot()
            return
        found, features = looks.detections, looks.features()
        states = self.edits.states(self.places, looks)
        names = np.array(found.class_names)[found.class_index]
        listed = np.isin(names, self.which.classes)
        which = self.which.filter.currentText()
        if which in _STATE:
            listed &= states == _STATE[which]
        elif which == controls.BY_HAND:
            listed &= found.by_hand
        elif which == controls.IN_DOUBT:
            listed &= found.doubt >= LEAST_DOUBT
        elif which == controls.SELECTED:
            listed &= np.isin(np.arange(len(found)), keep)
        values = sort_values(found, features, self.which.sort.currentText())
        rows = sorted_rows(values, np.flatnonzero(listed), self.which.descending)
        self.grid.keep(lambda: self.grid.list.show(self.places, looks, rows, states))
        self.which.count(class_counts(found.class_index, found.class_names))
        self._values()
        self.grid.choose(keep, show=chosen is None)
        self._plot()
        self._count()

    def _values(self) -> None:
        if self.looks is not None:
            name = self.which.sort.currentText()
            self.grid.list.tell(name, self.looks.features().get(name))

    def _plot(self) -> None:
        looks, plot = self.looks, self.side.plot
        if looks is None:
            nothing = np.zeros(0, dtype=int)
            plot.show_points({}, self.side.names, nothing, (), nothing)
            return
        found = looks.detections
        plot.show_points(
            looks.features(),
            self.side.names,
            found.class_index,
            found.class_names,
            self.grid.list.rows,
        )

    def _restate(self) -> None:
        if self.looks is not None and self.isVisible():
            self.grid.list.changed(self.looks, self.edits.states(self.places, self.looks))

    def _windows_changed(self, *_: object) -> None:
        if not self._own:
            self._restate()

    # ------------------------------------------------------------------ selection

    def _lassoed(self, rows: IntArray, add: bool) -> None:
        self.grid.choose(rows, add)
        if len(rows) == 1:
            self._picked(int(rows[0]))

    def _selected(self) -> None:
        chosen = self.grid.chosen()
        self.side.plot.select(chosen)
        self._enable()
        if self.walk is None:
            self._count()
        self._select_points()

    def _select_points(self) -> None:
        """Select the points of what is selected here."""
        if self.looks is None or self._linking:
            return
        chosen = self.grid.chosen()
        self._linking = True
        try:
            for layer, points in self.edits.points_at(self.places, self.looks, chosen).values():
                self._points[id(layer)] = set(points)
                if set(layer.selected_data) != set(points):
                    layer.selected_data = set(points)
        finally:
            self._linking = False

    def _points_selected(self, *_: object) -> None:
        """Points were selected on the canvas: the thumbnails follow."""
        if self._linking or self._own or self.looks is None or not self.isVisible():
            return
        active = self.viewer.layers.selection.active
        if not any(place.defects is active for place in self.places):
            return
        if set(active.selected_data) == self._points.get(id(active), set()):
            return  # perfect columns have no point that could be selected
        self._points[id(active)] = set(active.selected_data)
        rows = self.edits.rows_of_points(self.places, self.looks, active)
        if set(rows.tolist()) == set(self.grid.chosen().tolist()):
            return
        self._linking = True
        try:
            self.grid.choose(rows)
        finally:
            self._linking = False

    def _picked(self, row: int) -> None:
        if self.looks is None:
            return
        if self.walk is None:
            self.say(self.grid.list.describe(row))
        if self.follow.isChecked():
            self.going.take(self._on_the_way(row, self.looks))

    def _on_the_way(self, row: int, looks: Looks) -> Steps[None]:
        yield
        if self.looks is None or looks.thumbnails is not self.looks.thumbnails:
            return
        found = looks.detections
        place = self.places[int(found.image_index[row])]
        if place.image not in self.viewer.layers:
            return
        text = found.class_names[found.class_index[row]]
        side = SIDE_NM * PM_PER_NM
        position = found.position_px[row]
        yield from go_to_window(self.viewer, place.image, place.plane, position, side, text)

    def _enable(self) -> None:
        chosen = len(self.grid.chosen()) > 0
        walking = self.walk is not None
        there = self.looks is not None and len(self.looks.detections) > 0
        self.keys.take_keys(chosen or walking, walking)
        self.keys.show_buttons(there, walking)
        self.keys.back_button.setVisible(walking)
        self.keys.back_button.setEnabled(walking and self.walk is not None and self.walk.at > 0)
        for button in self.keys.class_buttons:
            button.setEnabled(chosen or walking)
        for name in ("Leave out", "Put back"):
            self.buttons[name].setEnabled(chosen)
            self.buttons[name].setVisible(not walking)  # there is no room for all
        self.buttons["Undo"].setEnabled(self.edits.history.can_undo)
        self.buttons["Redo"].setEnabled(self.edits.history.can_redo)
        self.walk_button.setEnabled(there)
        self.walk_button.setText(
            tr("End the walk") if walking else tr("What the model doubts most")
        )

    # ------------------------------------------------------------------ edits

    def label_class(self, i: int) -> None:
        """Give what is selected, or the one of the walk, the i-th class that columns may have."""
        if self.looks is None or i + 1 >= len(self.looks.detections.class_names):
            return
        walk = self.walk
        if walk is not None and walk.row is not None:
            rows = np.array([walk.row])
            changed = self._relabel(rows, i + 1)
            walk.passed(self.edits.history.last if changed else None)
            self._next()
        elif len(self.grid.chosen()):
            self._relabel(self.grid.chosen(), i + 1)

    def _relabel(self, rows: IntArray, class_index: int) -> bool:
        """Points, averages and thumbnails get the class; False where all have it already."""
        looks = self.looks
        assert looks is not None  # of every row
        found = looks.detections
        # A list that is behind the points doesn't know their classes.
        differ = rows if self._stale else rows[found.class_index[rows] != class_index]
        if not len(differ):
            name = found.class_names[class_index]
            self.say(tr("All of these are {name} already").format(name=name))
            return False
        self._own = True
        try:
            told = self.edits.relabel(self.places, looks, differ, class_index)
        finally:
            self._own = False
        self.looks = looks.with_class(differ, class_index)
        self._edited_since = self.gathering.busy
        states = self.edits.states(self.places, self.looks)
        self.grid.list.changed(self.looks, states, differ)
        self._values()
        self._plot()
        found = self.looks.detections
        self.which.count(class_counts(found.class_index, found.class_names))
        self._select_points()  # points that were added are new ones
        self.say(told)
        self._enable()
        return True

    def leave_out(self) -> None:
        """Leave the windows of what is selected out of their averages."""
        self._choose(self.edits.leave_out)

    def put_back(self) -> None:
        """Put the windows of what is selected back."""
        self._choose(self.edits.put_back)

    def _choose(self, change: Callable[[Sequence[Place], Looks, Sequence[int]], str]) -> None:
        rows = self.grid.chosen()
        if self.looks is None or not len(rows):
            return
        self._own = True
        try:
            told = change(self.places, self.looks, rows)
        finally:
            self._own = False
        self.grid.list.changed(self.looks, self.edits.states(self.places, self.looks), rows)
        self.say(told)
        self._enable()

    def undo(self) -> None:
        """Take back the last change, whatever it was of."""
        done = self._step(self.edits.history.undo)
        self.say(tr("Taken back") if done else tr("There is nothing to take back"))

    def redo(self) -> None:
        """Do the change taken back again."""
        done = self._step(self.edits.history.redo)
        self.say(tr("Done again") if done else tr("There is nothing to do again"))

    def _step(self, step: Callable[[], bool]) -> bool:
        """A step of the history: it selects no points, but what is selected here stays so."""
        self._linking = True
        try:
            return step()
        finally:
            self._linking = False
            for place in self.places:
                self._points[id(place.defects)] = set(place.defects.selected_data)

    # ------------------------------------------------------------------ the walk

    def _toggle_walk(self) -> None:
        if self.walk is None:
            self.walk_through()
        else:
            self.end_walk()

    def walk_through(self) -> None:
        """Begin with the most doubtful detection of the classes that are shown."""
        if self.looks is None or self.walk is not None:
            return
        walk = Walk(self.looks, self.grid.list.rows)
        if walk.row is None:
            self.say(tr("Nothing of what is listed is in doubt: every probability is 0 or 1"))
            return
        self.walk = walk
        self.grid.setFocus()
        self._next()

    def _next(self) -> None:
        walk = self.walk
        if walk is None:
            return
        if walk.row is None:
            self.end_walk()
            return
        self.grid.choose(np.array([walk.row]))
        self._picked(walk.row)
        self._ask()
        self._enable()

    def _ask(self) -> None:
        if self.walk is not None and self.walk.row is not None:
            row, count = self.walk.row, len(self.walk.rows)
            told = self.grid.list.describe(row)
            text = tr("{k} of {n}: {what}. What is it?")
            self.say(text.format(k=self.walk.at + 1, n=count, what=told))

    def skip(self) -> None:
        """Leave the one of the walk as it is."""
        if self.walk is not None and self.walk.row is not None:
            self.walk.passed(None)
            self._next()

    def walk_back(self) -> None:
        """Take the last answer of the walk back, and show it again."""
        if self.walk is None or self.walk.at == 0:
            return
        step, history = self.walk.back(), self.edits.history
        if step is not None and history.last is step:  # else it was taken back already
            self._step(history.undo)
        self._next()
        if step is not None and history.holds(step):
            self.say(tr("Other changes came after this answer: take them back first (Ctrl+Z)"))

    def end_walk(self) -> None:
        """Say how far it went, and go back to the whole."""
        walk, self.walk = self.walk, None
        if walk is not None:
            self.say(walk.summary(self.edits.history.holds))
            self._enable()


def _same(before: Sequence[Place], after: Sequence[Place]) -> bool:
    return len(before) == len(after) and all(
        a.defects is b.defects and a.plane == b.plane for a, b in zip(before, after, strict=True)
    )
