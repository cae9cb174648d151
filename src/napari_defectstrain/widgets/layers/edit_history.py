"""One order of all edits of a viewer: what was done together is undone together.

Points and windows keep their own steps (`editing`, `window_edits`), which their own keys and
buttons take back. Here is which came when, and which of them were one deed of a person: whoever
undoes a part of it, on the canvas or in a panel, undoes all of it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from napari.components import ViewerModel
from napari.utils.notifications import show_info
from qtpy.QtCore import QObject, Signal

from ..base import tr
from .editing import DONE, FORGOTTEN, REDONE, DefectEditor
from .window_edits import WindowEdits, window_edits_of

MOST_STEPS = 100
_HISTORIES: "WeakValueDictionary[int, EditHistory]" = WeakValueDictionary()


class _Source:
    """Something that keeps its own steps."""

    def __init__(
        self, undo: Callable[[], bool], redo: Callable[[], bool], forget: Callable[[], None]
    ) -> None:
        self.undo, self.redo, self.forget = undo, redo, forget


_Step = list[_Source]


class EditHistory(QObject):
    """The edits of points and windows of a viewer in their order.

    Parameters
    ----------
    viewer : ViewerModel
    """

    changed = Signal()
    """Emitted when there is something else to undo or redo."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = viewer
        self.windows = window_edits_of(viewer)
        self._done: list[_Step] = []
        self._undone: list[_Step] = []
        self._group: _Step | None = None
        self._busy = False
        self._editors: dict[int, tuple[DefectEditor, _Source]] = {}
        self._runs: dict[str, _Source] = {}
        self.windows.stepped.connect(self._windows_stepped)

    def watch(self, editor: DefectEditor) -> None:
        """Keep the order of the edits of a layer of points, too."""
        if id(editor) in self._editors:
            return
        source = _Source(editor.undo, editor.redo, editor.forget_redo)
        self._editors[id(editor)] = editor, source
        editor.stepped.connect(lambda what: self._told(source, what))

    @property
    def can_undo(self) -> bool:
        """True where there is a step to undo."""
        return bool(self._done) or any(e.can_undo for e, _ in self._editors.values())

    @property
    def last(self) -> object | None:
        """The step that `undo` would take back, to be known again; None where none is known."""
        return self._done[-1] if self._done else None

    def holds(self, step: object) -> bool:
        """Whether a step was done and not taken back since."""
        return any(step is other for other in self._done)

    @property
    def can_redo(self) -> bool:
        """True where there is an undone step."""
        return bool(self._undone)

    @contextmanager
    def together(self) -> Iterator[None]:
        """All edits of a block are one step."""
        self._group = []
        try:
            yield
        finally:
            group, self._group = self._group, None
            if group:
                self._push(group)

    def undo(self) -> bool:
        """Take back the last step; False where there is none."""
        while self._done:
            step = self._done.pop()
            if self._take(reversed(step), "undo"):
                self._undone.append(step)
                self.changed.emit()
                return True
        # Steps of before anybody watched, or of another session: which came when isn't known.
        return any(e.undo() for e, _ in reversed(self._editors.values()) if e.can_undo)

    def redo(self) -> bool:
        """Do the step taken back again; False where there is none."""
        while self._undone:
            step = self._undone.pop()
            if self._take(step, "redo"):
                self._done.append(step)
                self.changed.emit()
                return True
        return False

    def _take(self, step: Iterator[_Source] | _Step, what: str) -> bool:
        self._busy = True
        try:
            return any([getattr(source, what)() for source in step])
        finally:
            self._busy = False

    def _push(self, step: _Step) -> None:
        self._done.append(step)
        del self._done[:-MOST_STEPS]
        # Sources of the new step have forgotten theirs; of the others half a deed could be redone.
        for source in {s for old in self._undone for s in old} - set(step):
            source.forget()
        self._undone.clear()
        self.changed.emit()

    def _windows_stepped(self, run: str, what: str) -> None:
        if run not in self._runs:
            windows: WindowEdits = self.windows
            self._runs[run] = _Source(
                lambda: windows.undo(run),
                lambda: windows.redo(run),
                lambda: windows.forget_redo(run),
            )
        self._told(self._runs[run], what)

    def _told(self, source: _Source, what: str) -> None:
        """Something made, took back or did a step again; the rest of the same deed goes along."""
        if self._busy:
            return
        if what == FORGOTTEN:  # a new detection was put into the layer
            self._done = [s for s in self._done if source not in s]
            self._undone = [s for s in self._undone if source not in s]
            self.changed.emit()
            return
        if what == DONE:
            if self._group is not None:
                self._group.append(source)
            else:
                self._push([source])
            return
        here, there = (self._undone, self._done) if what == REDONE else (self._done, self._undone)
        step = _next_of(source, here)
        if step is not None and not all(_next_of(other, here) is step for other in step):
            self._take([source], "undo" if what == REDONE else "redo")
            show_info(
                tr(
                    "Nothing was undone here: this was changed together with points of other "
                    "images or windows, which were changed again since. Undo that first, there"
                )
            )
            self.changed.emit()
            return
        if step is None:  # of before anybody watched: it was of this alone
            step = [source]
        else:
            here.remove(step)
        there.append(step)
        rest = [other for other in step if other is not source]
        self._take(rest if what == REDONE else reversed(rest), "redo" if what == REDONE else "undo")
        self.changed.emit()


def _next_of(source: _Source, steps: list[_Step]) -> _Step | None:
    """The step that a source itself would take next."""
    return next((step for step in reversed(steps) if source in step), None)


def history_of(viewer: ViewerModel) -> EditHistory:
    """The history of a viewer, shared by all widgets for as long as one holds it."""
    found = _HISTORIES.get(id(viewer))
    if found is None or found.viewer is not viewer:
        found = _HISTORIES[id(viewer)] = EditHistory(viewer)
    return found
