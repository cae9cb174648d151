"""Ticks of axes, which matplotlib makes, moves and measures much oftener than a figure needs.

A figure of maps has twenty axes whose ticks nobody sees; making and measuring them took a third of
the time of all figures. Nothing that is drawn changes; where matplotlib works otherwise one day,
it is left to do as it likes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from matplotlib.axis import Axis, Tick
from matplotlib.figure import Figure
from matplotlib.text import Text

_LISTS = ("majorTicks", "minorTicks")
"""Attributes of an axis that are made when they are first asked for."""
_ASKING = ("set_clip_path", "set_tick_params")
"""What asks for them although it concerns only those that are there: later ones are told, too."""
_PARTS = ("tick1line", "tick2line", "gridline", "label1", "label2")
"""What a tick is made of."""
_SIDES = ("left", "right", "top", "bottom")
"""Kinds of spines that have a place; that of a colour bar has none."""
_SAME_PLACE = 6
"""Digits of a pixel: laid out twice, an axis lies elsewhere by what rounding makes of it."""


@contextmanager
def made_late() -> Iterator[None]:
    """Axes made within the block make their ticks when they are drawn, if they have any."""
    before = {name: Axis.__dict__.get(name) for name in _ASKING}
    lazy = all(hasattr(Axis.__dict__.get(name), "__get__") for name in _LISTS)
    if not lazy or None in before.values() or not hasattr(Axis, "_get_tick"):
        yield
        return
    for name, method in before.items():
        setattr(Axis, name, _for_ticks_that_are_there(method))
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(Axis, name, method)


def _for_ticks_that_are_there(method: Any) -> Callable[..., Any]:
    """A method of axes that makes no ticks."""

    @wraps(method)
    def called(axis: Axis, *args: Any, **kwargs: Any) -> Any:
        if any(name in vars(axis) for name in _LISTS):
            return method(axis, *args, **kwargs)
        for name in _LISTS:
            setattr(axis, name, [])
        try:
            return method(axis, *args, **kwargs)
        finally:
            for name in _LISTS:
                vars(axis).pop(name, None)  # gone already where it made them anew
            if "_get_tick" not in vars(axis):
                made = _TicksOf(axis)
                vars(axis)["_get_tick"] = made
                if hasattr(axis, "_copy_tick_props"):
                    vars(axis)["_copy_tick_props"] = made.copy_settings

    return called


class _TicksOf:
    """What makes the ticks of an axis: its first one, of which the others are copies.

    Making a tick asks for some fifty settings and takes ten times as long as copying one. Those
    that come late are clipped as they would have been.
    """

    def __init__(self, axis: Axis) -> None:
        self._axis = axis
        self._known: dict[bool, tuple[dict[str, Any], Tick]] = {}
        self._like: tuple[Tick, Tick] | None = None

    def __call__(self, major: bool) -> Tick:
        axis: Any = self._axis
        first = vars(axis).get(_LISTS[0] if major else _LISTS[1], [None])[:1]
        if first and isinstance(first[0], Tick) and all(hasattr(first[0], p) for p in _PARTS):
            tick = _copied(first[0])
            self._like = first[0], tick
            return tick
        return self._new(major)

    def copy_settings(self, source: Tick | None, tick: Tick | None) -> None:
        """What an axis does with a new tick: it is like its first one already, if copied from it.

        Copying them one by one takes ten times as long, as each marker is copied by its parts.
        """
        if self._like is not None and self._like[0] is source and self._like[1] is tick:
            return
        axis: Any = self._axis
        type(axis)._copy_tick_props(axis, source, tick)

    def _new(self, major: bool) -> Tick:
        axis: Any = self._axis
        settings = axis._major_tick_kw if major else axis._minor_tick_kw
        if major in self._known and _same(self._known[major][0], settings):
            return _copied(self._known[major][1])
        tick: Tick = type(axis)._get_tick(axis, major)
        tick.set_clip_path(axis.axes.patch)
        if all(hasattr(tick, part) for part in _PARTS):
            self._known[major] = dict(settings), _copied(tick)  # others may change the tick itself
        return tick


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether settings are equal, as far as that is easily told."""
    plain = (str, float, int, bool)
    return one.keys() == other.keys() and all(
        a is b or (isinstance(a, plain) and isinstance(b, plain) and a == b)
        for a, b in zip(one.values(), other.values(), strict=True)
    )


def _copied(tick: Tick) -> Tick:
    made = copy.copy(tick)
    for name in _PARTS:
        part = copy.copy(getattr(tick, name))
        if isinstance(part, Text):
            part.set_fontproperties(part.get_fontproperties().copy())
        setattr(made, name, part)
    return made


def settle_spines(figure: Figure) -> None:
    """Say where spines are, as drawing would, which then makes all ticks anew."""
    for axes in figure.axes:
        for spine in axes.spines.values():
            settle = getattr(spine, "_ensure_position_is_set", None)
            if settle is not None and spine.spine_type in _SIDES:
                settle()


@contextmanager
def placed_once(figure: Figure) -> Iterator[None]:
    """Axes whose size and limits stay the same don't place their ticks and labels anew.

    While it lays a figure out and draws it, matplotlib asks each axis some fifteen times for its
    ticks and where their labels are, and works both out each time.
    """
    remembered = []
    for axes in figure.axes:
        for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
            of_axis = ["_update_ticks", "_get_ticklabel_bboxes"]
            if not _is_aligned(axis, name):
                of_axis.append("_update_label_position")
            for method in of_axis:
                if hasattr(axis, method):
                    setattr(axis, method, _remembering(axis, getattr(axis, method)))
                    remembered.append((axis, method))
    try:
        yield
    finally:
        for axis, method in remembered:
            delattr(axis, method)


def _is_aligned(axis: Axis, name: str) -> bool:
    """Whether the label of an axis stands where those of others are, too."""
    groups = getattr(axis.get_figure(), "_align_label_groups", None)
    return groups is None or name not in groups or len(groups[name].get_siblings(axis.axes)) > 1


def _remembering(axis: Axis, work_out: Callable[..., Any]) -> Callable[..., Any]:
    """What is worked out for an axis, as long as its limits and its place in the figure stay."""
    known: list[Any] = [None, None]

    def answer(*args: Any) -> Any:
        place = (round(float(value), _SAME_PLACE) for value in axis.axes.bbox.bounds)
        now = (*axis.get_view_interval(), *place)
        if known[0] != now:
            known[:] = now, work_out(*args)
        return known[1]

    return answer
