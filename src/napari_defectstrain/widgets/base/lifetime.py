"""What outlives a widget, and what must not: ties to napari's events, and Python's garbage.

Napari and what it imports are some 400 000 objects, a study as many again. Python's collector looks
through all of them from time to time, and the window stands still for half a second. As long as one
of our docks is open, it passes over what has come to stay (`settle`).
"""

import gc
from collections.abc import Callable
from typing import Any

from napari.components import ViewerModel
from qtpy.QtCore import QCoreApplication, QObject, Slot
from qtpy.QtWidgets import QWidget


class _Farewell(QObject):
    """Calls a function once when a widget is destroyed."""

    def __init__(self, widget: QWidget, call: Callable[[], None]) -> None:
        # Owned by the application: whoever else held it might be gone when it is needed.
        super().__init__(QCoreApplication.instance())
        self._call: Callable[[], None] | None = call
        widget.destroyed.connect(self.say)

    # A Qt slot without arguments: a Python function would be handed the half-destroyed widget.
    @Slot()
    def say(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()
        self.deleteLater()


def when_destroyed(widget: QWidget, call: Callable[[], None]) -> None:
    """Call a function when Qt destroys a widget."""
    _Farewell(widget, call)


def connect(widget: QWidget, emitter: Any, callback: Callable[..., None]) -> None:
    """Connect a callback of a widget to an event of napari for as long as the widget exists."""
    emitter.connect(callback)
    when_destroyed(widget, lambda: emitter.disconnect(callback))


class _Staying:
    """What Python's full collections need not look through again.

    A ring of references that has settled is not collected until it is loosened: that is done where
    layers, which hold most of the memory, are removed, and when the last of our docks is gone.
    """

    def __init__(self) -> None:
        self._users = 0
        self._loose = True

    def settle(self) -> None:
        """Collect what is garbage of all that came since the last time; the rest has settled."""
        if self._users and not self._loose:
            gc.collect()
            gc.freeze()

    def loosen(self) -> None:
        """Let the next full collection, whenever Python wants it, look through everything."""
        if self._users and not self._loose:
            gc.unfreeze()
            self._loose = True

    def enter(self) -> None:
        """Somebody sits before one more dock of ours."""
        self._users += 1
        if self._users == 1:
            gc.callbacks.append(self._collected)
            gc.freeze()  # what napari has imported: next to nothing of it is garbage
            self._loose = False

    def leave(self) -> None:
        """One dock fewer."""
        self._users -= 1
        if not self._users:
            gc.callbacks.remove(self._collected)
            gc.unfreeze()
            self._loose = True

    def _collected(self, phase: str, about: dict[str, int]) -> None:
        """Python has looked through everything: what is there now has settled."""
        if self._loose and phase == "stop" and about["generation"] == 2:
            gc.freeze()
            self._loose = False


_staying = _Staying()


def keep_smooth(widget: QWidget, viewer: ViewerModel) -> None:
    """Spare the window long collections as long as a widget exists; without one, do nothing."""
    if getattr(viewer, "window", None) is None:
        return
    _staying.enter()
    when_destroyed(widget, _staying.leave)
    connect(widget, viewer.layers.events.removed, lambda _event: _staying.loosen())


def settle() -> None:
    """Say that a job begins or ends: what there is now will be there for a while."""
    _staying.settle()
