"""Editing defects by hand: every change marked as manual, undone and redone.

napari's core adds, moves and deletes points; it has no undo for them, and a new point would
inherit class and source of whatever was selected last. One `DefectEditor` watches one Points
layer and puts that right.
"""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Points
from napari.utils.notifications import show_error, show_info
from psygnal import Signal

from ...types import ON_METAL, OTHER, DefectStrainError
from ..base.keys import declare
from .corrections import reach_px, snapped
from .showing import drawn_once
from .sites import layer_by_id, note, on_plane, restyle, set_points, symbols

UNDO_STEPS = 100
DONE, UNDONE, REDONE, FORGOTTEN = "done", "undone", "redone", "forgotten"
"""What becomes of a step."""
_EDITORS: WeakValueDictionary[UUID, "DefectEditor"] = WeakValueDictionary()
# A layer's key bindings hold its editor, which so lives as long as the layer.

_State = tuple[np.ndarray, pd.DataFrame]
_Step = _State | Callable[[], _State]
_Snap = Callable[[np.ndarray, bool], tuple[np.ndarray, float]]


POINTS = "Points of defects"
UNDO = declare(POINTS, "Ctrl+Z", "Take back the last change")
REDO = declare(POINTS, "Ctrl+Shift+Z", "Do it again")
declare(POINTS, "Delete", "Remove the selected points")  # napari's own


class DefectEditor:
    """Undo, redo, relabel and manual marks for one "<image> · defects" layer.

    Parameters
    ----------
    layer : Points
        The layer to watch; its class feature is a pandas Categorical.
    """

    changed = Signal()
    """Emitted after every change of positions or classes."""
    stepped = Signal(str)
    """Emitted with what became of the last step: `DONE`, `UNDONE`, `REDONE`, or all `FORGOTTEN`."""

    def __init__(self, layer: Points) -> None:
        self.layer = layer
        self.new_class = self.class_names[3]
        self._undo: list[_Step] = []
        self._redo: list[_Step] = []
        self._busy = False
        self._snap: _Snap | None = None
        self._state = self._snapshot()
        layer.events.data.connect(self._on_data)
        layer.events.features.connect(self._on_features)
        layer.bind_key(UNDO.for_napari, self._undo_key, overwrite=True)
        layer.bind_key(REDO.for_napari, self._redo_key, overwrite=True)
        self.choose_class(self.new_class)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes that points may have: another detection in the same layer may bring others."""
        return tuple(note(self.layer)["class_names"])[1:]

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

    def snap_by(self, snap: _Snap) -> None:
        """Let new points belong to columns: `snap` gives place and reach, as `column_near`."""
        self._snap = snap

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

    def assign(
        self, class_name: str, indices: Sequence[int], added: np.ndarray | None = None
    ) -> bool:
        """Give points a class, and columns without a point one of that class, in one step.

        Parameters
        ----------
        class_name : str
        indices : sequence of int
            Points of the layer.
        added : array, `(M, D)`, optional
            Where points are added, in data coordinates.

        Returns
        -------
        bool
            False where all of that was so already.
        """
        position, features = self._snapshot()
        column, chosen = features.columns.get_loc("class"), np.array(indices, dtype=int)
        chosen = chosen[features["class"].iloc[chosen].astype(str).to_numpy() != class_name]
        features.iloc[chosen, column] = class_name
        features.iloc[chosen, features.columns.get_loc("source")] = "manual"
        features.iloc[chosen, features.columns.get_loc("probability")] = 1.0
        if added is not None and len(added):
            fresh = pd.DataFrame(
                {"class": class_name, "probability": 1.0, "source": "manual"},
                index=range(len(added)),
            )
            features = pd.concat([features.astype({"class": object}), fresh], ignore_index=True)
            position = np.concatenate([position, added])
            features["class"] = pd.Categorical(features["class"].astype(str), self.class_names)
            self.replace(position, features)
        else:
            self._write(features)
        return self._commit()

    def undo(self) -> bool:
        """Take back the last change; False where there is none."""
        return self._step(self._undo, self._redo, UNDONE)

    def redo(self) -> bool:
        """Do an undone change again; False where there is none."""
        return self._step(self._redo, self._undo, REDONE)

    def forget_redo(self) -> None:
        """Steps that were taken back can't be done again."""
        self._redo.clear()

    def reset(self) -> None:
        """Start anew after a new detection was put into the layer."""
        self._undo.clear()
        self._redo.clear()
        self._state = self._snapshot()
        if self.new_class not in self.class_names:
            self.new_class = self.class_names[3]
        self.choose_class(self.new_class)
        self.changed.emit()
        self.stepped.emit(FORGOTTEN)

    def remember(self, steps: Sequence[Callable[[], _State]]) -> None:
        """Take steps of another session as those that can be undone.

        Parameters
        ----------
        steps : sequence of callable
            What the layer held before each of them, the oldest first; asked when it is wanted.
        """
        self._undo = list(steps[-UNDO_STEPS:])
        self._redo.clear()
        self._state = self._snapshot()

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

    def _step(self, source: list[_Step], target: list[_Step], what: str) -> bool:
        if not source:
            return False
        wanted = source[-1]
        if callable(wanted):
            try:
                wanted = wanted()
            except DefectStrainError as error:  # its file went, or another one came
                source.clear()
                show_error(f"{self.layer.name}: can't be undone: {error}")
                return False
        source.pop()
        target.append(self._state)
        self._state = wanted
        position, features = self._state
        self.replace(position.copy(), features.copy())
        self.choose_class(self.new_class)
        self.changed.emit()
        self.stepped.emit(what)
        return True

    def _on_data(self, event: Any) -> None:
        if self._busy:
            return
        action = str(getattr(event.action, "value", event.action))
        if action == "adding":
            # Selecting a point has set the defaults to its features: ours count for a new one.
            self.choose_class(self.new_class)
        elif action == "added":
            self._settle(event.data_indices)
            self._commit()
        elif action in ("removed", "changed"):
            self._commit()

    def _on_features(self) -> None:
        # The features table of napari, or a script, changed classes in place.
        if self._busy or len(self.layer.data) != len(self._state[0]) or not self.check():
            return
        old = self._state[1]["class"].astype(str).to_numpy()
        if not np.array_equal(old, self.layer.features["class"].astype(str).to_numpy()):
            self._commit()

    def check(self) -> bool:
        """Take back classes that are none, and say so; False where there were such.

        A table or a script may have written anything, or nothing, into the features.
        """
        problem = _problem_of(self.layer.features, self.class_names)
        if not problem:
            return True
        self.replace(*(part.copy() for part in self._state))
        self.choose_class(self.new_class)
        show_error(f"{self.layer.name}: {problem}. The points are as they were before")
        return False

    def _settle(self, indices: Sequence[int]) -> None:
        """Put new points onto columns; where a column has a point, that one gets the class."""
        if self._snap is None or not self.check():
            return
        position, features = self._snapshot()
        new = {int(i) % len(position) for i in indices}
        drop: list[int] = []
        column = features.columns.get_loc("class")
        for row in sorted(new):
            place, reach = self._snap(position[row], _anywhere(self.new_class, self.class_names))
            others = np.array([i for i in range(row) if i not in drop], dtype=int)
            near = _nearest(place, position[others], reach)
            if near is None:
                position[row] = place
                continue
            drop.append(row)
            here, was = others[near], str(features["class"].iloc[others[near]])
            features.iloc[here, column] = self.new_class
            show_info(
                f"There is a point of {was} at this column already"
                + (f": it is {self.new_class} now" if was != self.new_class else "")
            )
        keep = np.delete(np.arange(len(position)), drop)
        self.replace(position[keep], features.iloc[keep].reset_index(drop=True))

    def _write(self, features: pd.DataFrame) -> None:
        self._busy = True
        try:
            # A script may have put plain texts in the place of the categories.
            classes = pd.Categorical(features["class"].astype(str), self.class_names)
            with drawn_once(self.layer):
                self.layer.features = features.assign(**{"class": classes})
                restyle(self.layer)
        finally:
            self._busy = False

    def _commit(self) -> bool:
        """Mark what differs from the last state as manual, and keep that state for undo.

        False where nothing differs.
        """
        if not self.check():
            return False
        position, features = self._snapshot()
        old_position, old_features = self._state
        fresh = _fresh(position, features, old_position, old_features)
        if not fresh.any() and len(position) == len(old_position):
            return False
        rows = np.flatnonzero(fresh)
        told = features.iloc[rows]
        if not ((told["source"] == "manual") & (told["probability"] == 1.0)).all():
            features.iloc[rows, features.columns.get_loc("source")] = "manual"
            features.iloc[rows, features.columns.get_loc("probability")] = 1.0
            self._write(features)
        self._undo.append(self._state)
        del self._undo[:-UNDO_STEPS]
        self._redo.clear()
        self._state = self._snapshot()
        self.choose_class(self.new_class)
        self.changed.emit()
        self.stepped.emit(DONE)
        return True


def _fresh(
    position: np.ndarray, features: pd.DataFrame, old_position: np.ndarray, old: pd.DataFrame
) -> np.ndarray:
    """Points of which the old state has no equal: added, moved or relabelled, `(N,)`."""
    classes = features["class"].astype(str).to_numpy()
    old_classes = old["class"].astype(str).to_numpy()
    differ, before = np.ones(len(position), bool), np.ones(len(old_position), bool)
    if len(position) == len(old_position):  # what stayed in its row needn't be looked for
        differ = (position != old_position).any(axis=1) | (classes != old_classes)
        before = differ
    known = set(zip(map(tuple, old_position[before]), old_classes[before], strict=True))
    result = np.zeros(len(position), dtype=bool)
    result[differ] = [
        (tuple(p), c) not in known for p, c in zip(position[differ], classes[differ], strict=True)
    ]
    return result


def column_near(
    viewer: ViewerModel, defects: Points, point: np.ndarray, adatom: bool = False
) -> tuple[np.ndarray, float]:
    """Where a point set by hand belongs, and how near another must be to be of the same column.

    Parameters
    ----------
    viewer : ViewerModel
    defects : Points
    point : array, `(D,)`
        In data coordinates.
    adatom : bool
        Whether it may lie between the columns.

    Returns
    -------
    (position, reach)
        Of the column meant, by `corrections.snapped`, and half the distance of neighbours [px];
        the point and 0 where the layer of all columns is gone.
    """
    sites_layer = layer_by_id(viewer, note(defects).get("sites"))
    if not isinstance(sites_layer, Points):
        return point, 0.0
    plane = None if len(point) == 2 else round(float(point[0]))
    columns = np.asarray(sites_layer.data, dtype=float)[on_plane(sites_layer, plane), -2:]
    image = layer_by_id(viewer, note(defects).get("image"))
    picture = None
    if isinstance(image, Image) and not image.rgb:
        data = image.data[0] if image.multiscale else image.data
        picture = data if plane is None else data[plane] if 0 <= plane < len(data) else None
    place = snapped(np.asarray(point[-2:], dtype=float), columns, picture, adatom)
    return np.array([*point[:-2], *place]), reach_px(columns)


def _nearest(place: np.ndarray, others: np.ndarray, reach: float) -> int | None:
    """The nearest of other points within reach in the same plane; None where there is none."""
    if len(others) == 0:
        return None
    away = np.linalg.norm(others[:, -2:] - place[-2:], axis=1)
    away[(np.rint(others[:, :-2]) != np.rint(place[:-2])).any(axis=1)] = np.inf
    return int(away.argmin()) if away.min() <= reach else None


def _anywhere(class_name: str, class_names: Sequence[str]) -> bool:
    """Whether columns of a class may lie on any site: other, and named classes on the metal's."""
    return class_name == class_names[OTHER - 1] or class_name.endswith(ON_METAL)


def _problem_of(features: pd.DataFrame, class_names: Sequence[str]) -> str:
    """What is wrong with the features of defects; empty where nothing is."""
    missing = [name for name in ("class", "probability", "source") if name not in features]
    if missing:
        return f"got features without {', '.join(missing)}, expected class, probability, source"
    classes = features["class"]
    unknown = classes[~classes.isin(list(class_names))]
    if len(unknown) == 0:
        return ""
    names = sorted({"no class" if pd.isna(c) else repr(str(c)) for c in unknown})
    return (
        f"got {', '.join(names)} for {len(unknown)} point{'s' * (len(unknown) != 1)}, "
        f"expected one of {', '.join(class_names)}"
    )


def editor_of(layer: Points) -> DefectEditor:
    """The editor of a defects layer, made on first use and shared by all widgets."""
    editor = _EDITORS.get(layer.unique_id)
    if editor is None:
        editor = _EDITORS[layer.unique_id] = DefectEditor(layer)
    return editor
