"""Leaving windows out of averages by hand and putting them back, with undo.

The state is the viewer's: each average layer holds its `ClassStack`. This model changes it, and
tells whoever watches.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from ...averages.choice import leave_out, put_back
from ...types import ClassStack
from ..layers.averages import STACK, layers_of_run, of_every_defect, runs, update_average
from ..layers.sites import note

UNDO_STEPS = 100


class WindowEdits(QObject):
    """Changes the windows of averages, and remembers how they were.

    Parameters
    ----------
    viewer : ViewerModel
    parent : QObject, optional
    """

    changed = Signal(str, str)
    """Emitted with the run and the class whose windows changed."""

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self._undo: dict[str, list[ClassStack]] = {}
        self._redo: dict[str, list[ClassStack]] = {}

    def stacks(self, run: str) -> dict[str, ClassStack]:
        """The stacks of a run's averages as they are now, by class."""
        layers = self.averages(run)
        if of_every_defect(list(layers.values())):
            return {}
        return {name: layer.metadata[STACK] for name, layer in layers.items()}

    def averages(self, run: str) -> Mapping[str, Image]:
        """The average layers of a run by class."""
        return {note(la)["class"]: la for la in runs(self.viewer).get(run, [])}

    def leave_out(self, run: str, class_name: str, index: Sequence[int]) -> None:
        """Leave windows out, for the reason "by hand".

        Raises
        ------
        DefectStrainError
            If none would be left.
        """
        self._change(run, class_name, index, leave_out)

    def put_back(self, run: str, class_name: str, index: Sequence[int]) -> None:
        """Put windows back that were left out, by hand or by the statistics."""
        self._change(run, class_name, index, put_back)

    def _change(
        self,
        run: str,
        class_name: str,
        index: Sequence[int],
        change: Callable[[ClassStack, Any], ClassStack],
    ) -> None:
        old = self.stacks(run)[class_name]
        new = change(old, index)
        if (new.included == old.included).all():
            return
        self._undo.setdefault(run, []).append(old)
        del self._undo[run][:-UNDO_STEPS]
        self._redo.pop(run, None)
        self._show(run, new)

    def can_undo(self, run: str) -> bool:
        """True where there is a step to take back."""
        return bool(self._undo.get(run))

    def can_redo(self, run: str) -> bool:
        """True where there is a step that was taken back."""
        return bool(self._redo.get(run))

    def undo(self, run: str) -> bool:
        """Take back the last change of a run; False where there is none."""
        return self._step(run, self._undo, self._redo)

    def redo(self, run: str) -> bool:
        """Do an undone change again; False where there is none."""
        return self._step(run, self._redo, self._undo)

    def _step(
        self, run: str, source: dict[str, list[ClassStack]], target: dict[str, list[ClassStack]]
    ) -> bool:
        while source.get(run):
            wanted = source[run].pop()
            now = self.stacks(run).get(wanted.class_name)
            if now is None:  # its layer was removed meanwhile
                continue
            target.setdefault(run, []).append(now)
            self._show(run, wanted)
            return True
        return False

    def _show(self, run: str, stack: ClassStack) -> None:
        layer = self.averages(run)[stack.class_name]
        update_average(self.viewer, layer, stack)
        self.changed.emit(run, stack.class_name)

    def outdated(self, run: str) -> bool:
        """Whether strain was measured on these averages, which have changed since."""
        return bool(layers_of_run(self.viewer, run, ("displacement",)))
