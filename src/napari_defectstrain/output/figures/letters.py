"""Texts of figures, which matplotlib lays out anew whenever it asks how large they are.

While a figure is laid out and drawn, it asks three to five times for each of its texts, and figures
share most of theirs: numbers at ticks, letters of panels. An eighth of the time of all figures went
there. Nothing that is drawn changes; where matplotlib works otherwise one day, it is left to do as
it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import wraps
from operator import attrgetter
from typing import Any

import matplotlib as mpl
from matplotlib.text import Text

_LAYOUT = "_get_layout"
"""Method of a text: its box, its lines and where they begin, all relative to its own place."""
_MOST = 4096
"""Layouts that are kept: more than all figures of a run have texts."""
_SAYS = attrgetter(
    *("_text", "_rotation_mode", "_horizontalalignment", "_verticalalignment"),
    *("_multialignment", "_linespacing", "_parse_math", "_usetex"),
)
_PREFIXES = ("font.", "text.", "mathtext.")
"""Settings of matplotlib that say which letters stand for a text."""

_known: dict[Hashable, dict[Hashable, Any]] = {}


@contextmanager
def laid_out_once() -> Iterator[None]:
    """Texts like those that were laid out before are not laid out anew within the block.

    For one thread at a time, under settings that stay.
    """
    before = Text.__dict__.get(_LAYOUT)
    if before is None or before.__code__.co_varnames[: before.__code__.co_argcount] != (
        "self",
        "renderer",
    ):
        yield
        return
    settings = tuple(
        (name, repr(mpl.rcParams[name])) for name in mpl.rcParams if name.startswith(_PREFIXES)
    )
    setattr(Text, _LAYOUT, _remembering(before, _known.setdefault(settings, {})))
    try:
        yield
    finally:
        setattr(Text, _LAYOUT, before)


def _remembering(work_out: Any, known: dict[Hashable, Any]) -> Callable[..., Any]:
    @wraps(work_out)
    def layout(text: Any, renderer: Any) -> Any:
        try:
            key = _all_that_counts(text, renderer)
        except (AttributeError, TypeError):
            return work_out(text, renderer)
        found = known.get(key)
        if found is None:
            found = work_out(text, renderer)
            if len(known) < _MOST and not text.get_wrap():  # else it depends on its place
                known[key] = found
        return found

    return layout


def _all_that_counts(text: Any, renderer: Any) -> Hashable:
    """Whatever decides on the layout of a text."""
    font = tuple(vars(text._fontproperties).values())
    dpi = text.get_figure(root=True).dpi
    key = (type(renderer), renderer.dpi, dpi, text.get_rotation(), font, *_SAYS(text))
    hash(key)
    return key
