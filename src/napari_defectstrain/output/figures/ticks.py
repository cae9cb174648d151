"""Ticks of axes, which matplotlib makes, moves and measures much oftener than a figure needs.

A figure of maps has twenty axes whose ticks nobody sees; making and measuring them took a third of
the time of all figures. Nothing that is drawn changes; where matplotlib works otherwise one day,
it is left to do as it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

from matplotlib.axis import Axis, Tick
from matplotlib.figure import Figure

_LISTS = ("majorTicks", "minorTicks")
"""Attributes of an axis that are made when they are first asked for."""
_ASKING = ("set_clip_path", "set_tick_params")
"""What asks for them although it concerns only those that are there: later ones are told, too."""


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
            # those that come later are clipped as they would have been
            vars(axis)["_get_tick"] = partial(_clipped_tick, axis)

    return called


def _clipped_tick(axis: Axis, *args: Any, **kwargs: Any) -> Tick:
    tick: Tick = type(axis)._get_tick(axis, *args, **kwargs)  # type: ignore[attr-defined]
    tick.set_clip_path(axis.axes.patch)
    return tick


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
        now = (*axis.get_view_interval(), *axis.axes.bbox.bounds)
        if known[0] != now:
            known[:] = now, work_out(*args)
        return known[1]

    return answer
