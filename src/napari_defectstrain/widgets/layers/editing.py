"""Editing defects by hand: every change marked as manual, undone and redone.

napari's core adds, moves and deletes points; it has no undo for them, and a new point would
inherit class and source of whatever was selected last. One `DefectEditor` watches one Points
layer and puts that right.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

import numpy as np
import pandas as pd
from napari.layers import Points
from psygnal import Signal

from .sites import note, restyle, set_points, symbols

UNDO_STEPS = 100
_EDITORS: WeakValueDictionary[UUID, "DefectEditor"] = WeakValueDictionary()
# A layer's key bindings hold its editor, which so lives as long as the layer.

_State = tuple[np.ndarray, pd.DataFrame]


class DefectEditor:
    """Undo, redo, relabel and manual marks for one "<image> · defects" layer.

    Parameters
    ----------
    layer : Points
        The layer to watch; its class feature is a pandas Categorical.
    """

    changed = Signal()
    """Emitted after every change of positions or classes."""

    def __init__(self, layer: Points) -> None:
        self.layer = layer
        self.class_names: tuple[str, ...] = tuple(note(layer)["class_names"])[1:]
        self.new_class = self.class_names[3]
        self._undo: list[_State] = []
        self._redo: list[_State] = []
        self._busy = False
        self._state = self._snapshot()
        layer.events.data.connect(self._on_data)
        layer.events.features.connect(self._on_features)
        layer.bind_key("Control-Z", self._undo_key, overwrite=True)
        layer.bind_key("Control-Shift-Z", self._redo_key, overwrite=True)
        self.choose_class(self.new_class)

    @property
    def edited(self) -> int:
        """Points made or changed by hand, and steps that could be undone (deletions too)."""
        manual = int((self.layer.features["source"] == "manual").sum())
        return max(manual, len(self._undo))

    @property
    def can_undo(self) -> bool:
        """True where there is a step to undo."""
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        """True where there is an undone step."""
        return bool(self._redo)

    def choose_class(self, class_name: str) -> None:
        """Class, symbol and colour of the points that are added from now on."""
        self.new_class = class_name
        layer = self.layer
        layer.feature_defaults = pd.DataFrame(
            {
                "class": pd.Categorical([class_name], self.class_names),
                "probability": [1.0],
                "source": ["manual"],
            }
        )
        # Without the block napari would change the points that are selected, too.
        with layer.block_update_properties():
            layer.current_symbol = symbols(pd.Series([class_name]), note(layer)["class_names"])[0]
        # napari's own controls don't notice that the colour of new points follows the class.
        layer.events.current_border_color()

    def relabel(self, class_name: str, indices: Sequence[int] | None = None) -> int:
        """Give points (default: the selected ones) a class; returns how many changed."""
        chosen = np.array(sorted(self.layer.selected_data if indices is None else indices), int)
        features = self.layer.features.copy()
        chosen = chosen[features["class"].iloc[chosen].astype(str).to_numpy() != class_name]
        if len(chosen) == 0:
            return 0
        features.iloc[chosen, features.columns.get_loc("class")] = class_name
        self._write(features)
        self._commit()
        return len(chosen)

    def undo(self) -> bool:
        """Take back the last change; False where there is none."""
        return self._step(self._undo, self._redo)

    def redo(self) -> bool:
        """Do an undone change again; False where there is none."""
        return self._step(self._redo, self._undo)

    def reset(self) -> None:
        """Start anew after a new detection was put into the layer."""
        self._undo.clear()
        self._redo.clear()
        self._state = self._snapshot()
        self.choose_class(self.new_class)
        self.changed.emit()

    def replace(self, position: np.ndarray, features: pd.DataFrame) -> None:
        """Put other points into the layer without counting that as an edit."""
        self._busy = True
        try:
            set_points(self.layer, position, features)
        finally:
            self._busy = False

    def _undo_key(self, _layer: Points) -> None:
        self.undo()

    def _redo_key(self, _layer: Points) -> None:
        self.redo()

    def _snapshot(self) -> _State:
        return np.array(self.layer.data, dtype=float), self.layer.features.copy()

    def _step(self, source: list[_State], target: list[_State]) -> bool:
        if not source:
            return False
        target.append(self._state)
        self._state = source.pop()
        position, features = self._state
        self.replace(position.copy(), features.copy())
        self.choose_class(self.new_class)
        self.changed.emit()
        return True

    def _on_data(self, event: Any) -> None:
        if self._busy:
            return
        action = str(getattr(event.action, "value", event.action))
        if action == "adding":
            # Selecting a point has set the defaults to its features: ours count for a new one.
            self.choose_class(self.new_class)
        elif action in ("added", "removed", "changed"):
            self._commit()

    def _on_features(self) -> None:
        # The features table of napari, or a script, changed classes in place.
        if self._busy or len(self.layer.data) != len(self._state[0]):
            return
        old = self._state[1]["class"].astype(str).to_numpy()
        if not np.array_equal(old, self.layer.features["class"].astype(str).to_numpy()):
            self._commit()

    def _write(self, features: pd.DataFrame) -> None:
        self._busy = True
        try:
            self.layer.features = features
            restyle(self.layer)
        finally:
            self._busy = False

    def _commit(self) -> None:
        """Mark what differs from the last state as manual, and keep that state for undo."""
        position, features = self._snapshot()
        old_position, old_features = self._state
        fresh = _fresh(position, features, old_position, old_features)
        if not fresh.any() and len(position) == len(old_position):
            return
        rows = np.flatnonzero(fresh)
        features.iloc[rows, features.columns.get_loc("source")] = "manual"
        features.iloc[rows, features.columns.get_loc("probability")] = 1.0
        self._write(features)
        self._undo.append(self._state)
        del self._undo[:-UNDO_STEPS]
        self._redo.clear()
        self._state = self._snapshot()
        self.choose_class(self.new_class)
        self.changed.emit()


def _fresh(
    position: np.ndarray, features: pd.DataFrame, old_position: np.ndarray, old: pd.DataFrame
) -> np.ndarray:
    """Points of which the old state has no equal: added, moved or relabelled, `(N,)`."""
    classes = features["class"].astype(str)
    known = set(zip(map(tuple, old_position), old["class"].astype(str), strict=True))
    return np.array(
        [(tuple(p), c) not in known for p, c in zip(position, classes, strict=True)], dtype=bool
    )


def editor_of(layer: Points) -> DefectEditor:
    """The editor of a defects layer, made on first use and shared by all widgets."""
    editor = _EDITORS.get(layer.unique_id)
    if editor is None:
        editor = _EDITORS[layer.unique_id] = DefectEditor(layer)
    return editor
