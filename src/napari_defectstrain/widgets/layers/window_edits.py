"""Leaving windows out of averages by hand, putting them back, giving them other classes; with undo.

The state is the viewer's: each average layer holds its `ClassStack`. This model changes it, and
tells whoever watches.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from ...averages.choice import RELABELLED, leave_out, put_back
from ...averages.relabel import Relabelled, relabel_windows, with_joined
from ...types import ClassStack
from .averages import CUT, OUTDATED, STACK, layers_of_run, of_every_defect, runs, update_average
from .copies import watch_copies
from .editing import DONE, REDONE, UNDONE
from .sites import note

UNDO_STEPS = 100
_EDITS: "WeakValueDictionary[int, WindowEdits]" = WeakValueDictionary()


class _Kept(NamedTuple):
    """How the windows of a class were."""

    stack: ClassStack
    cut: ClassStack


_State = dict[str, _Kept]


class WindowEdits(QObject):
    """Changes the windows of averages, and remembers how they were.

    All widgets of a viewer share one: `window_edits_of`.

    Parameters
    ----------
    viewer : ViewerModel
    """

    changed = Signal(str, str)
    """Emitted with the run and the class whose windows changed."""
    stepped = Signal(str, str)
    """Emitted with the run, and whether a step was done, undone or redone."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = viewer
        self._undo: dict[str, list[_State]] = {}
        self._redo: dict[str, list[_State]] = {}
        watch_copies(viewer)

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
        self.choose(run, {class_name: index}, leave_out)

    def put_back(self, run: str, class_name: str, index: Sequence[int]) -> None:
        """Put windows back that were left out, by hand or by the statistics.

        Those that a person gave another class stay out: they count there.
        """
        self.choose(run, {class_name: index}, put_back)

    def choose(
        self,
        run: str,
        index: Mapping[str, Sequence[int]],
        change: Callable[[ClassStack, Any], ClassStack],
    ) -> bool:
        """Leave windows of several classes out, or put them back, in one step.

        Returns
        -------
        bool
            False where that changed nothing.

        Raises
        ------
        DefectStrainError
            If a class would be left without windows: then nothing is changed.
        """
        before = self.stacks(run)
        if change is put_back:
            index = {name: can_come_back(before[name], which) for name, which in index.items()}
        after = {name: change(before[name], which) for name, which in index.items()}
        changed = {
            name: stack
            for name, stack in after.items()
            if (stack.included != before[name].included).any()
        }
        self._do(run, changed)
        return bool(changed)

    def relabel(self, run: str, windows: Mapping[str, Sequence[int]], target: str) -> Relabelled:
        """Let windows count for another class, in one step: see `relabel_windows`.

        Raises
        ------
        DefectStrainError
            If a class would be left without windows: then nothing is changed.
        """
        found = relabel_windows(self.stacks(run), windows, target)
        self._do(run, found.stacks)
        return found

    def _do(self, run: str, changed: Mapping[str, ClassStack]) -> None:
        if not changed:
            return
        for steps in (self._undo, self._redo):
            for gone in set(steps) - set(runs(self.viewer)):
                del steps[gone]
        self._undo.setdefault(run, []).append(self._kept(run, changed))
        del self._undo[run][:-UNDO_STEPS]
        for name, stack in changed.items():
            self._share(run, name, stack)
        self._redo.pop(run, None)
        averages = self.averages(run)
        for name, stack in changed.items():
            self._show(run, name, _Kept(stack, with_joined(averages[name].metadata[CUT], stack)))
        self.stepped.emit(run, DONE)

    def _share(self, run: str, name: str, stack: ClassStack) -> None:
        """Let all steps of a class that got more windows hold these, not one copy each."""
        old = self.averages(run)[name].metadata[STACK].windows
        if len(stack.windows) <= len(old):
            return

        def shared(one: ClassStack) -> ClassStack:
            if not np.may_share_memory(one.windows, old):
                return one
            return replace(one, windows=stack.windows[: len(one.windows)])

        for step in self._undo[run]:
            if name in step:
                step[name] = _Kept(*map(shared, step[name]))

    def _kept(self, run: str, names: Mapping[str, Any]) -> _State:
        layers = self.averages(run)
        there = [name for name in names if name in layers]
        return {n: _Kept(layers[n].metadata[STACK], layers[n].metadata[CUT]) for n in there}

    def can_undo(self, run: str) -> bool:
        """True where there is a step to take back."""
        return bool(self._undo.get(run))

    def can_redo(self, run: str) -> bool:
        """True where there is a step that was taken back."""
        return bool(self._redo.get(run))

    def undo(self, run: str) -> bool:
        """Take back the last change of a run; False where there is none."""
        return self._step(run, self._undo, self._redo, UNDONE)

    def redo(self, run: str) -> bool:
        """Do an undone change again; False where there is none."""
        return self._step(run, self._redo, self._undo, REDONE)

    def forget_redo(self, run: str) -> None:
        """Steps of a run that were taken back can't be done again."""
        self._redo.pop(run, None)

    def _step(
        self, run: str, source: dict[str, list[_State]], target: dict[str, list[_State]], what: str
    ) -> bool:
        while source.get(run):
            wanted = source[run].pop()
            now = self._kept(run, wanted)
            if not now:  # their layers were removed meanwhile
                continue
            target.setdefault(run, []).append(now)
            for name in now:
                self._show(run, name, wanted[name])
            self.stepped.emit(run, what)
            return True
        return False

    def _show(self, run: str, class_name: str, kept: _Kept) -> None:
        layer = self.averages(run)[class_name]
        layer.metadata[CUT] = kept.cut
        update_average(self.viewer, layer, kept.stack)
        self.changed.emit(run, class_name)

    def outdated(self, run: str) -> bool:
        """Whether strain was measured on these averages, and all of it before they changed."""
        arrows = layers_of_run(self.viewer, run, ("displacement",))
        return bool(arrows) and all(note(layer).get(OUTDATED) for layer in arrows)


def can_come_back(stack: ClassStack, index: Sequence[int]) -> list[int]:
    """Those windows that are left out, and not because a person gave them another class."""
    return [
        i for i in index if not stack.included[i] and not stack.reason[i].startswith(RELABELLED)
    ]


def window_edits_of(viewer: ViewerModel) -> WindowEdits:
    """The edits of the windows of a viewer, shared by all widgets for as long as one holds them."""
    found = _EDITS.get(id(viewer))
    if found is None or found.viewer is not viewer:
        found = _EDITS[id(viewer)] = WindowEdits(viewer)
    return found
