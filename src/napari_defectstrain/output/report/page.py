"""A report as one HTML page that holds everything: no request leaves it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources

import jinja2
from markupsafe import Markup, escape

from ... import __version__
from .blocks import Block, Download, Picture, Report

DETECTIONS = "detections_"
"""What names of figures of single images begin with."""

_TEMPLATE = "page.html"
_DOI = re.compile(r"doi:(10\.\d{4,9}/[^\s,;]+)")
_TO_GLUE = re.compile(r" (?=(?:%|pm|nm|kV|mrad|e⁻/nm²)(?:\W|$))| (?=± )|(?<=±) ")
_NO_ANCHOR = re.compile(r"[^A-Za-z0-9_-]")


def report_html(report: Report) -> str:
    """The page.

    Every figure has its alternative text, every table its heads; what comes from files (names,
    notes) is escaped; a content security policy forbids all but what lies within.

    Parameters
    ----------
    report : Report

    Returns
    -------
    str
        HTML 5, UTF-8.
    """
    held: set[str] = set()

    def first(file: Download) -> bool:
        """Whether a file wasn't met before: the page holds it once."""
        met = file.name in held
        held.add(file.name)
        return not met

    return _template().render(
        report=report,
        generator=f"napari-defectstrain {__version__}",
        first=first,
        anchor=anchor,
        groups=groups,
        figure_of={picture.name: k for k, picture in enumerate(report.pictures, 1)},
        table_of={sheet.name: k for k, sheet in enumerate(report.sheets, 1)},
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["with_dois"] = with_dois
    environment.filters["glued"] = glued
    text = resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text)


def with_dois(text: str) -> Markup:
    """A text whose DOIs are links.

    >>> print(with_dois("A <b>, doi:10.1000/1"))
    A &lt;b&gt;, <a href="https://doi.org/10.1000/1">doi:10.1000/1</a>
    """
    parts, at = [], 0
    for found in _DOI.finditer(text):
        parts += [escape(text[at : found.start()])]
        parts += [
            Markup('<a href="https://doi.org/{}">{}</a>').format(found.group(1), found.group())
        ]
        at = found.end()
    return Markup("").join([*parts, escape(text[at:])])


def glued(text: str) -> str:
    """A text whose numbers keep their units and errors on their line.

    >>> glued("1.2 ± 0.1 % of 5 pm, or 7 nm").count(chr(0xA0))
    5
    """
    return _TO_GLUE.sub("\N{NO-BREAK SPACE}", text)


def anchor(name: str) -> str:
    """A name for links: no two files of a run share it.

    >>> anchor("a b.csv"), anchor("SV.1")
    ('a-20b-2ecsv', 'SV-2e1')
    """
    return _NO_ANCHOR.sub(lambda found: f"-{ord(found.group()):x}", name)


def groups(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Blocks one by one; detections of images after the first together, beside one another."""
    gallery: list[Block] = []
    shown = False
    for block in blocks:
        if isinstance(block, Picture) and block.name.startswith(DETECTIONS):
            if shown:
                gallery.append(block)
            else:
                yield [block]
            shown = True
            continue
        if gallery:
            yield gallery
            gallery = []
        yield [block]
    if gallery:
        yield gallery
