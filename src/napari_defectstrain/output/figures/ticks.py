"""Ticks of axes, which matplotlib makes, moves and measures much oftener than a figure needs.

A figure of maps has twenty axes whose ticks nobody sees; making and measuring them took a third of
the time of all figures. Nothing that is drawn changes; where matplotlib works otherwise one day,
it is left to do as it likes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, Tick
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import NullLocator
from matplotlib.transforms import Bbox

_LISTS = ("majorTicks", "minorTicks")
"""Attributes of an axis that are made when they are first asked for."""
_ASKING = ("set_clip_path", "set_tick_params")
"""What asks for them although it concerns only those that are there: later ones are told, too."""
_PARTS = ("tick1line", "tick2line", "gridline", "label1", "label2")
"""What a tick is made of."""
_COUNTED = {"get_major_ticks": _LISTS[0], "get_minor_ticks": _LISTS[1]}
"""Methods that hand out so many ticks, and where they have them from."""
_SIDES = ("left", "right", "top", "bottom")
"""Kinds of spines that have a place; that of a colour bar has none."""
_SAME_PLACE = 6
"""Digits of a pixel: laid out twice, an axis lies elsewhere by what rounding makes of it."""


@contextmanager
def made_late() -> Iterator[None]:
    """Axes made within the block make their ticks when they are drawn, if they have any."""
    before = {name: Axis.__dict__.get(name) for name in (*_ASKING, *_COUNTED)}
    lazy = all(hasattr(Axis.__dict__.get(name), "__get__") for name in _LISTS)
    if not lazy or None in before.values() or not hasattr(Axis, "_get_tick"):
        yield
        return
    for name in _ASKING:
        setattr(Axis, name, _for_ticks_that_are_there(before[name]))
    for name, ticks in _COUNTED.items():
        setattr(Axis, name, _none_for_none(before[name], ticks))
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


def _none_for_none(method: Any, ticks: str) -> Callable[..., Any]:
    """A method of axes that makes no tick to hand out none: matplotlib makes one to copy it."""

    @wraps(method)
    def called(axis: Axis, numticks: int | None = None) -> Any:
        if numticks == 0 and ticks not in vars(axis):
            return []
        return method(axis, numticks)

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
    """Axes whose size and limits stay the same are measured, and place their labels, once.

    While it lays a figure out and draws it, matplotlib asks each axis some fifteen times for its
    ticks and where their labels are, colour bars once for each of their panels how much room they
    take, and all axes a hundred times whether data have come in; it works all of it out each time.
    """
    shadowed: list[tuple[Any, str, tuple[Any, ...]]] = []
    for axes in figure.axes:
        _settle_limits(axes, shadowed)
        for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
            of_axis = ["_update_ticks", "_get_ticklabel_bboxes"]
            if not _is_aligned(axis, name):
                of_axis.append("_update_label_position")
            for method in of_axis:
                if hasattr(axis, method):
                    _shadow(axis, method, _remembering(axis, getattr(axis, method)), shadowed)
            minor = _LISTS[1]  # spines ask how long they are
            if minor not in vars(axis) and isinstance(axis.get_minor_locator(), NullLocator):
                _shadow(axis, minor, [], shadowed)
            for method, ticks in _COUNTED.items():
                if hasattr(axis, method):
                    counted = _none_for_none(_of_one(getattr(axis, method)), ticks)
                    _shadow(axis, method, partial(counted, axis), shadowed)
        _shadow(axes, "get_tightbbox", _remembering_box(axes), shadowed)
    try:
        yield
    finally:
        for owner, name, before in reversed(shadowed):
            vars(owner).pop(name, None)
            if before:
                setattr(owner, name, before[0])


def _shadow(
    owner: Any, name: str, by: Any, shadowed: list[tuple[Any, str, tuple[Any, ...]]]
) -> None:
    """Have an object answer otherwise for a while; what answered for it alone is remembered."""
    own = vars(owner)
    shadowed.append((owner, name, (own[name],) if name in own else ()))
    setattr(owner, name, by)


def _of_one(bound: Any) -> Callable[..., Any]:
    """The method of one object as that of its class."""
    return lambda _owner, *given: bound(*given)


def _settle_limits(axes: Axes, shadowed: list[tuple[Any, str, tuple[Any, ...]]]) -> None:
    """Find limits for the data now, and ask no more whether that is to be done."""
    if hasattr(axes, "_unstale_viewLim"):
        axes._unstale_viewLim()
        _shadow(axes, "_unstale_viewLim", _nothing, shadowed)


def _nothing() -> None:
    """What is done where nothing is left to do."""


def _remembering_box(axes: Axes) -> Callable[..., Any]:
    """The room that axes take, as long as their limits and the place given to them stay.

    What stands around a picture without ticks (a title, the name of a row) moves along with it.
    """
    measure = axes.get_tightbbox
    known: dict[Any, Any] = {}
    is_picture = _is_picture(axes)

    def answer(renderer: Any = None, **asked: Any) -> Any:
        if asked.keys() - {"for_layout_only"}:
            return measure(renderer, **asked)
        place: Any = axes.get_position(original=True)
        parent: Any = axes.figure
        bounds = place.transformed(parent.transSubfigure).bounds
        rounded = tuple(round(float(value), _SAME_PLACE) for value in bounds)
        limits = (*axes.xaxis.get_view_interval(), *axes.yaxis.get_view_interval())
        now = (rounded, limits, tuple(asked.items()))
        same = known.get("now") == now
        if not same and not (is_picture and known.get("asked") == asked):
            box: Any = measure(renderer, **asked)
            known.update(now=now, asked=asked, box=box)
            if box is not None:
                known["around"] = np.subtract(box.extents, axes.bbox.extents)
            return box
        if axes.get_visible():  # measuring settles them within the place given to them
            locator: Any = axes.get_axes_locator()
            axes.apply_aspect(locator(axes, renderer) if locator else None)
        if not same and known["box"] is not None:
            known.update(
                now=now, box=Bbox.from_extents(*np.add(axes.bbox.extents, known["around"]))
            )
        return known["box"]

    return answer


def _is_picture(axes: Axes) -> bool:
    """Whether axes have no ticks, and nothing reaches beyond them but titles and names."""
    own: list[Any] = [axes.xaxis, axes.yaxis, axes.patch]
    ticked = any(axis.get_visible() and len(axis.get_majorticklocs()) for axis in own[:2])
    beyond = [a for a in axes.get_default_bbox_extra_artists() if a not in own]
    return axes.axison and not ticked and not beyond


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
