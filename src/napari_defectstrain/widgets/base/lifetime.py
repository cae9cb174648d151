"""Ties that end with a widget: napari's events and running jobs outlive a closed dock widget."""

from collections.abc import Callable
from typing import Any

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
