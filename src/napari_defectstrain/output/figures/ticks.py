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

from matplotlib.axes import Axes
from matplotlib.axis import Axis, Tick
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import NullLocator

_LISTS = ("majorTicks", "minorTicks")
"""Attributes of an axis that are made when they are first asked for."""
_ASKING = ("set_clip_path", "set_tick_params")
"""What asks for them although it concerns only those that are there: later ones are told, too."""
_COUNTING = ("get_major_ticks", "get_minor_ticks")
"""What makes the first tick where none is wanted."""
_PARTS = ("tick1line", "tick2line", "gridline", "label1", "label2")
"""What a tick is made of."""
_SIDES = ("left", "right", "top", "bottom")
"""Kinds of spines that have a place; that of a colour bar has none."""
_SETTLE = "_unstale_viewLim"
"""Method of axes that works out limits which what was plotted has changed."""


@contextmanager
def made_late() -> Iterator[None]:
    """Axes made within the block make their ticks when they are drawn, if they have any."""
    before = {name: Axis.__dict__.get(name) for name in (*_ASKING, *_COUNTING)}
    lazy = all(hasattr(Axis.__dict__.get(name), "__get__") for name in _LISTS)
    if not lazy or None in before.values() or not hasattr(Axis, "_get_tick"):
        yield
        return
    for name in _ASKING:
        setattr(Axis, name, _for_ticks_that_are_there(before[name]))
    for name in _COUNTING:
        setattr(Axis, name, _none_of_none(before[name]))
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
                ticks = _TicksOf(axis)
                vars(axis).update(_get_tick=ticks, _copy_tick_props=ticks.alike)

    return called


def _none_of_none(method: Any) -> Callable[..., Any]:
    """A method of axes that makes no tick where none is wanted."""

    @wraps(method)
    def called(axis: Axis, numticks: int | None = None) -> Any:
        return [] if numticks == 0 else method(axis, numticks)

    return called


class _TicksOf:
    """What makes the ticks of an axis: its first one, of which the others are copies.

    Making a tick asks for some fifty settings and takes ten times as long as copying one. Those
    that come late are clipped as they would have been. A copy of the first of those that are there
    has all that matplotlib would make it take over from that one.
    """

    def __init__(self, axis: Axis) -> None:
        self._axis = axis
        self._known: dict[bool, tuple[dict[str, Any], Tick]] = {}
        self._copy: tuple[Tick | None, Tick | None] = (None, None)

    def alike(self, source: Tick | None, copied: Tick | None) -> None:
        """Make a tick look as another does."""
        if source is None or (source, copied) != self._copy:
            kind: Any = type(self._axis)
            kind._copy_tick_props(self._axis, source, copied)

    def __call__(self, major: bool) -> Tick:
        axis: Any = self._axis
        there = vars(axis).get(_LISTS[0 if major else 1])
        if there and all(hasattr(there[0], part) for part in _PARTS):
            self._copy = there[0], _copied(there[0])
            return self._copy[1]
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
    ticks and where their labels are, and works both out each time; and it asks axes for limits that
    nobody changes meanwhile a hundred times.
    """
    remembered: list[tuple[Any, str]] = []

    def remember(whose: Any, axes: Axes, method: str) -> None:
        if hasattr(whose, method):
            setattr(whose, method, _remembering(axes, getattr(whose, method)))
            remembered.append((whose, method))

    for axes in figure.axes:
        for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
            for method in ("_update_ticks", "_get_ticklabel_bboxes"):
                remember(axis, axes, method)
            if not _is_aligned(axis, name):
                for method in ("_update_label_position", "get_tightbbox"):
                    remember(axis, axes, method)
        for spine in axes.spines.values():
            if spine.spine_type in _SIDES:
                remember(spine, axes, "get_window_extent")
        settle = getattr(axes, _SETTLE, None)
        if settle is not None:
            settle()
            setattr(axes, _SETTLE, _as_it_is)
            remembered.append((axes, _SETTLE))
    without = [axis for axes in figure.axes for axis in _without_minor_ticks(axes)]
    for axis in without:
        axis.minorTicks = []
    try:
        yield
    finally:
        for whose, method in remembered:
            delattr(whose, method)
        for axis in without:
            if axis.minorTicks == []:
                del axis.minorTicks


def _without_minor_ticks(axes: Axes) -> list[Any]:
    """Axes that have no minor ticks, for which one would be made to be asked for its size.

    None where matplotlib looks at the first one that isn't there.
    """
    asking = getattr(getattr(Axis, "_get_ticks_position", None), "__code__", None)
    if asking is None or NullLocator.__name__ not in asking.co_names:
        return []
    return [
        axis
        for axis in (axes.xaxis, axes.yaxis)
        if _LISTS[1] not in vars(axis) and isinstance(axis.get_minor_locator(), NullLocator)
    ]


def _as_it_is() -> None:
    """Nothing is to be done."""


def _is_aligned(axis: Axis, name: str) -> bool:
    """Whether the label of an axis stands where those of others are, too."""
    groups = getattr(axis.get_figure(), "_align_label_groups", None)
    return groups is None or name not in groups or len(groups[name].get_siblings(axis.axes)) > 1


def _remembering(axes: Axes, work_out: Callable[..., Any]) -> Callable[..., Any]:
    """What is worked out for axes, as long as their limits and their place in the figure stay."""
    known: dict[Any, Any] = {}
    where: list[Any] = [None]

    def answer(*args: Any, **kwargs: Any) -> Any:
        now = _limits_and_place(axes)
        if where[0] != now:
            known.clear()
            where[0] = now
        # lists of ticks are those that are remembered here: the same as long as nothing moves
        key = tuple(kwargs.items())
        if key not in known:
            known[key] = work_out(*args, **kwargs)
        return known[key]

    return answer


def _limits_and_place(axes: Axes) -> tuple[float, ...]:
    limits, place = axes.viewLim.get_points(), axes.bbox.get_points()
    return (*limits[0], *limits[1], *place[0], *place[1])
