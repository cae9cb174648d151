"""Classes and choices of many detections at once: points, averages and the study go along."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Points

from ...averages.choice import leave_out, put_back
from ...averages.detections import points_of_columns
from ...averages.looks import Looks
from ...averages.relabel import find_windows
from ...precision.foreseen import foresee_spacing
from ...types import ClassStack, DefectStrainError, IntArray
from ..base import tr
from ..layers.averages import MEASUREMENT, isolated_runs
from ..layers.edit_history import history_of
from ..layers.editing import editor_of
from ..layers.sites import layer_id, note, on_plane
from .gathering import Place

AVERAGED, LEFT_OUT, NO_WINDOW = 1, -1, 0
"""What becomes of a detection in the averages."""


class GalleryEdits:
    """Relabels, leaves out and puts back, each in one step of the viewer's history.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.history = history_of(viewer)
        self.windows = self.history.windows

    def watch(self, places: Sequence[Place]) -> None:
        """Keep the order of edits of these layers, wherever they are made."""
        for place in places:
            self.history.watch(editor_of(place.defects))

    def relabel(
        self, places: Sequence[Place], looks: Looks, rows: Sequence[int], class_index: int
    ) -> str:
        """Give rows a class, as points and in the averages; returns what is to be said."""
        found = looks.detections
        chosen = np.asarray(rows, dtype=int)
        name = found.class_names[class_index]
        with self.history.together():
            for defects in {id(p.defects): p.defects for p in places}.values():
                here = [i for i, place in enumerate(places) if place.defects is defects]
                mine = chosen[np.isin(found.image_index[chosen], here)]
                if len(mine):
                    points, added = self._points(places, looks, here, mine)
                    editor_of(defects).assign(name, points, added)
            told = self._relabel_windows(places, looks, chosen, name)
        said = (
            tr("1 detection: {name} now") if len(chosen) == 1 else tr("{n} detections: {name} now")
        )
        return said.format(n=len(chosen), name=name) + (f"; {told}" if told else "")

    def _points(
        self, places: Sequence[Place], looks: Looks, here: Sequence[int], rows: IntArray
    ) -> tuple[list[int], np.ndarray]:
        """Points of one layer at some rows, and where points must be added."""
        found, points, added = looks.detections, [], []
        layer = places[here[0]].defects
        for i in here:
            mine = rows[found.image_index[rows] == i]
            own = np.flatnonzero(on_plane(layer, places[i].plane))
            place = found.position_px[mine]
            at = points_of_columns(place, np.asarray(layer.data)[own, -2:], looks.reach_px[i])
            points += own[at[at >= 0]].tolist()
            alone = place[at < 0]
            if places[i].plane is not None:
                alone = np.insert(alone, 0, places[i].plane, axis=1)
            added.append(alone)
        return points, np.concatenate(added)

    def points_at(
        self, places: Sequence[Place], looks: Looks, rows: Sequence[int]
    ) -> dict[int, tuple[Any, list[int]]]:
        """The points of the rows in each layer, by its id; layers without any, too."""
        chosen, result = np.asarray(rows, dtype=int), {}
        for place in places:
            here = [i for i, other in enumerate(places) if other.defects is place.defects]
            mine = chosen[np.isin(looks.detections.image_index[chosen], here)]
            points = self._points(places, looks, here, mine)[0] if len(mine) else []
            result[id(place.defects)] = place.defects, points
        return result

    def rows_of_points(self, places: Sequence[Place], looks: Looks, layer: Points) -> IntArray:
        """The rows whose points are selected in a layer."""
        chosen = sorted(layer.selected_data)
        found, rows = looks.detections, [np.zeros(0, dtype=int)]
        for i, place in enumerate(places):
            if place.defects is layer and chosen:
                own = np.array(chosen)[on_plane(layer, place.plane)[chosen]]
                mine = np.flatnonzero(found.image_index == i)
                at = points_of_columns(
                    np.asarray(layer.data)[own, -2:], found.position_px[mine], looks.reach_px[i]
                )
                rows.append(mine[at[at >= 0]])
        return np.concatenate(rows)

    def run_of(self, places: Sequence[Place]) -> str | None:
        """The newest averages that windows of these images are in."""
        ids = {layer_id(place.image) for place in places}
        for run, layers in reversed(isolated_runs(self.viewer).items()):
            if ids & {plane[0] for plane in note(layers[0]).get("planes", [])}:
                return run
        return None

    def windows_of(
        self, places: Sequence[Place], looks: Looks, rows: IntArray
    ) -> tuple[str | None, dict[str, IntArray]]:
        """The newest averages, and the window of each row in each of their classes, or -1."""
        run = self.run_of(places)
        if run is None:
            return None, {}
        averages = self.windows.averages(run)
        planes = note(next(iter(averages.values()))).get("planes", [])
        number = {(key, plane): i for i, (key, plane) in enumerate(planes)}
        there = [number.get((layer_id(p.image), p.plane), -1) for p in places]
        found = looks.detections
        image = np.array(there, dtype=int)[found.image_index[rows]]
        reach = looks.reach_px[found.image_index[rows]]
        stacks = self.windows.stacks(run)
        return run, find_windows(stacks, image, found.position_px[rows], reach)

    def states(self, places: Sequence[Place], looks: Looks) -> IntArray:
        """Of every row whether the average of its class counts it, leaves it out, or has it not.

        Returns
        -------
        array of int, `(N,)`
        """
        rows = np.arange(len(looks.detections))
        state = np.full(len(rows), NO_WINDOW)
        run, windows = self.windows_of(places, looks, rows)
        if run is None:
            return state
        names = np.array(looks.detections.class_names)[looks.detections.class_index]
        for name, stack in self.windows.stacks(run).items():
            index = windows[name]
            known = (index >= 0) & (names == name)
            counts = np.where(stack.included[index[known]], AVERAGED, LEFT_OUT)
            state[known] = counts
        return state

    def _relabel_windows(
        self, places: Sequence[Place], looks: Looks, rows: IntArray, name: str
    ) -> str:
        run, windows = self.windows_of(places, looks, rows)
        if run is None:
            return ""
        try:
            done = self.windows.relabel(run, windows, name)
        except DefectStrainError as mistake:
            return tr("the averages stay as they were: {why}").format(why=mistake)
        parts = [self._spacings(run, done.stacks)] if done.stacks else []
        if done.left_out:
            text = tr("{n} left out: average again for an average of {name}")
            parts.append(text.format(n=done.left_out, name=name))
        if done.without:
            text = tr("{n} without a window: average again to take them in")
            parts.append(text.format(n=done.without))
        return "; ".join(part for part in parts if part)

    def leave_out(self, places: Sequence[Place], looks: Looks, rows: Sequence[int]) -> str:
        """Leave the windows of some rows out of their averages; returns what is to be said."""
        return self._choose(places, looks, rows, leave_out, tr("left out"))

    def put_back(self, places: Sequence[Place], looks: Looks, rows: Sequence[int]) -> str:
        """Put the windows of some rows back; returns what is to be said."""
        return self._choose(places, looks, rows, put_back, tr("put back"))

    def _choose(
        self,
        places: Sequence[Place],
        looks: Looks,
        rows: Sequence[int],
        change: Callable[[ClassStack, Any], ClassStack],
        what: str,
    ) -> str:
        chosen = np.asarray(rows, dtype=int)
        run, windows = self.windows_of(places, looks, chosen)
        if run is None:
            return tr("There is no average of these images yet: average their classes first")
        classes = np.array(looks.detections.class_names)[looks.detections.class_index[chosen]]
        index = {}
        for name, stack in self.windows.stacks(run).items():
            which = windows[name]
            mine = (which >= 0) & (classes == name)
            if change is leave_out:  # a point relabelled on the canvas counts where it was
                mine |= (which >= 0) & stack.included[which]
            if mine.any():
                index[name] = which[mine].tolist()
        count = sum(map(len, index.values()))
        if not count:
            return tr("None of these has a window in the average of its class: average again")
        try:
            changed = self.windows.choose(run, index, change)
        except DefectStrainError as mistake:
            return str(mistake)
        if not changed:
            return tr("All of these are {name} already").format(name=what)
        stacks = self.windows.stacks(run)
        return f"{count} {what}; {self._spacings(run, {n: stacks[n] for n in index})}"

    def _spacings(self, run: str, stacks: Mapping[str, ClassStack]) -> str:
        """How many windows these averages have now, and their spacings by the last fits."""
        averages, parts = self.windows.averages(run), []
        for name, stack in stacks.items():
            text = f"{name} N = {stack.n}"
            measured = averages[name].metadata.get(MEASUREMENT)
            if measured is not None and measured.columns is not None:
                now = foresee_spacing(measured.columns, stack)
                if now is not None:
                    text += f", {now.spacing_pm:.2f} ± {now.sem_pm:.2f} pm"
            parts.append(text)
        return "; ".join(parts)
