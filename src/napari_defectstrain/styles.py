"""One look for each class, in figures and in napari: colour and symbol by role, for any material.

Colours are those of Okabe and Ito (jfly.uni-koeln.de/color), which people with any of the common
colour blindnesses tell apart; every class has its own symbol too, so that grey prints work.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from .materials import whole_class


@dataclass(frozen=True)
class ClassStyle:
    """How one class is drawn.

    Parameters
    ----------
    colour : str
        Hexadecimal RGB.
    symbol : str
        Symbol of a napari Points layer.
    marker : str
        Marker of matplotlib, of the same shape.
    """

    colour: str
    symbol: str
    marker: str


FIGURE_WIDTHS_INCH = (3.3, 7.0)
"""Widths of figures in print: one column of a page, and both."""

_FIGURE_WIDTH: ContextVar[float | None] = ContextVar("figure_width", default=None)


@contextmanager
def figure_width(inch: float | None) -> Iterator[None]:
    """Draw all figures of a block in one width, their panels put one below another to fit.

    Parameters
    ----------
    inch : float or None
        One of `FIGURE_WIDTHS_INCH`; None leaves each figure its own.
    """
    token = _FIGURE_WIDTH.set(inch)
    try:
        yield
    finally:
        _FIGURE_WIDTH.reset(token)


def chosen_width_inch(own: float) -> float:
    """Width of a figure [inch]: what was chosen (`figure_width`), else its own."""
    chosen = _FIGURE_WIDTH.get()
    return own if chosen is None else chosen


def panels_across(panels: int, own: float) -> int:
    """How many panels stand beside one another, of those that do so in a figure's own width.

    >>> with figure_width(3.3):
    ...     panels_across(3, 7.0), panels_across(4, 7.0), panels_across(1, 3.3)
    (1, 2, 1)
    """
    return min(panels, max(1, round(panels * chosen_width_inch(own) / own)))


def with_error(value: float, error: float, spec: str = ".2f") -> str:
    """A value and its error for people; an error that can't be told is a question mark.

    >>> with_error(1.234, 0.056), with_error(1.234, float("nan"), "+.1f")
    ('1.23 ± 0.06', '+1.2 ± ?')
    """
    return f"{value:{spec}} {error_text(error, spec)}"


def error_text(error: float, spec: str = ".2f") -> str:
    """The error alone.

    >>> error_text(0.056), error_text(float("inf"))
    ('± 0.06', '± ?')
    """
    return f"± {error:{spec.lstrip('+')}}" if math.isfinite(error) else "± ?"


CLASS_STYLE: dict[str, ClassStyle] = {
    "metal": ClassStyle("#F0E442", "disc", "o"),
    "X2": ClassStyle("#999999", "cross", "+"),
    "XY": ClassStyle("#E69F00", "square", "s"),
    "Y2": ClassStyle("#CC79A7", "diamond", "D"),
    "V1": ClassStyle("#56B4E9", "ring", "o"),
    "V2": ClassStyle("#009E73", "triangle_up", "^"),
    "other": ClassStyle("#D55E00", "x", "x"),
}
"""Style of each role of `materials.ROLES`."""

PALETTES: dict[str, dict[str, str]] = {
    "Okabe and Ito": {role: style.colour for role, style in CLASS_STYLE.items()},
    "Tol, vibrant": {
        "metal": "#CCBB44",
        "X2": "#BBBBBB",
        "XY": "#EE7733",
        "Y2": "#EE3377",
        "V1": "#33BBEE",
        "V2": "#009988",
        "other": "#CC3311",
    },
    "light, on dark images": {
        "metal": "#FFFF99",
        "X2": "#DDDDDD",
        "XY": "#FFB000",
        "Y2": "#FF9ACF",
        "V1": "#8FD3FF",
        "V2": "#5CE6B8",
        "other": "#FF7F50",
    },
}
"""Colours of the roles by the name of a set; people with any of the common colour blindnesses tell
those of the first two apart (P. Tol, *Colour schemes*, SRON/EPS/TN/09-002), those of the third by
their symbols, too."""


LIGHTEST_GREY = 0.5
"""Luminance above that of most pixels of an image as napari shows it."""


def over_image(colour: str) -> str:
    """A colour for thin lines over a grey image: as light as they must be to stand out for all.

    Without the middle or the long cones pink and bluish green are greys, and drown in a grey image
    of their luminance. The colour is made brighter, and white is mixed in where that is not enough,
    until the luminance is `LIGHTEST_GREY`; colours that are lighter stay as they are.

    >>> over_image("#F0E442"), over_image("#009E73")
    ('#F0E442', '#00D59C')
    """
    value = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in value]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    if luminance >= LIGHTEST_GREY or luminance == 0.0:
        return colour
    brighter = min(LIGHTEST_GREY / luminance, 1.0 / max(linear))
    linear, luminance = [brighter * v for v in linear], brighter * luminance
    white = max(0.0, (LIGHTEST_GREY - luminance) / (1.0 - luminance))
    mixed = [v + white * (1.0 - v) for v in linear]
    shown = [12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055 for v in mixed]
    return "#" + "".join(f"{round(255 * v):02X}" for v in shown)


def use_palette(name: str, own: Mapping[str, str] | None = None) -> None:
    """Draw the classes in other colours from now on, in figures and in napari.

    Parameters
    ----------
    name : str
        One of `PALETTES`.
    own : mapping of role to str, optional
        Colours, hexadecimal RGB, that take the place of those of the set.

    Raises
    ------
    ValueError
        If there is no such set, role, or a colour is none.
    """
    if name not in PALETTES:
        raise ValueError(f"palette: got {name!r}, expected one of {', '.join(PALETTES)}")
    colours = {**PALETTES[name], **(own or {})}
    wrong = [c for c in colours.values() if not re.fullmatch("#[0-9A-Fa-f]{6}", c)]
    unknown = sorted(set(colours) - set(CLASS_STYLE))
    if wrong or unknown:
        raise ValueError(
            f"colours: got {', '.join([*wrong, *unknown])}, expected #RRGGBB for some of "
            f"{', '.join(CLASS_STYLE)}"
        )
    for role, colour in colours.items():
        CLASS_STYLE[role] = replace(CLASS_STYLE[role], colour=colour)


_NAMED_COLOURS = ("#0072B2", "#882255", "#117733", "#332288")
_NAMED_SYMBOLS = (
    ("star", "*"),
    ("triangle_down", "v"),
    ("clobber", "P"),
    ("hbar", "_"),
    ("vbar", "|"),
)


def named_style(k: int) -> ClassStyle:
    """Style of the k-th class that is named beside these: twenty look different.

    >>> len({(named_style(k).colour, named_style(k).symbol) for k in range(20)})
    20
    """
    symbol, marker = _NAMED_SYMBOLS[k % len(_NAMED_SYMBOLS)]
    return ClassStyle(_NAMED_COLOURS[k % len(_NAMED_COLOURS)], symbol, marker)


def class_styles(class_names: Sequence[str]) -> dict[str, ClassStyle]:
    """Style of every class of a material, named ones too.

    Parameters
    ----------
    class_names : sequence of str
        In the order of `Sites.class_names`.

    Examples
    --------
    >>> names = ["W", "2Se", "SeTe", "2Te", "SV", "DV", "other", "SSe"]
    >>> class_styles(names)["SSe"].symbol
    'star'
    """
    more = range(max(len(class_names) - len(CLASS_STYLE), 0))
    named = (named_style(k) for k in more)
    return _Styles(zip(class_names, (*CLASS_STYLE.values(), *named), strict=True))


class _Styles(dict[str, ClassStyle]):
    """Styles by class; a part of a class looks like the whole."""

    def __missing__(self, name: str) -> ClassStyle:
        whole = whole_class(name)
        if whole == name:
            raise KeyError(name)
        return self[whole]


DISPLACEMENT_SCALE: dict[str, float] = {"XY": 40.0, "Y2": 40.0, "V1": 10.0, "V2": 10.0}
"""How many times arrows are enlarged in napari at first, as in the paper's Fig. 4
(doi 10.1021/acs.nanolett.0c00269): substitutions move their neighbours less than vacancies do."""
