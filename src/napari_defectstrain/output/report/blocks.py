"""What a report is put together from, whether it becomes a page or a document."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass, field
from typing import ClassVar

MET, DOUBT, NOT_MET, NOT_GIVEN = "met", "in doubt", "not met", "not given"
"""Verdicts of the reviewer's checklist."""
SIGNS = {MET: "✓", DOUBT: "!", NOT_MET: "✗", NOT_GIVEN: "?"}
"""A sign for each, so that nobody needs colours."""

_MOST_PLAIN_BYTES = 200_000
"""Larger files are compressed: the page stays fit for a letter."""


@dataclass(frozen=True)
class Download:
    """A file that lies within the report.

    Parameters
    ----------
    name : str
        That it is saved under.
    content : bytes
    mime : str
    """

    name: str
    content: bytes = field(repr=False)
    mime: str = "text/csv"

    @property
    def size_text(self) -> str:
        """Size of the file for people."""
        size = len(self.content)
        return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(size / 1e3, 0.1):.1f} kB"

    @property
    def href(self) -> str:
        """The file as a link that holds it."""
        return data_uri(self.content, self.mime)


def as_download(name: str, content: bytes, mime: str = "text/csv") -> Download:
    """A file, compressed (``.gz``) where it is large; the same content gives the same bytes."""
    if len(content) <= _MOST_PLAIN_BYTES or mime != "text/csv":
        return Download(name, content, mime)
    packed = gzip.compress(content, compresslevel=6, mtime=0)
    return Download(f"{name}.gz", packed, "application/gzip")


def data_uri(content: bytes, mime: str) -> str:
    """A data URI."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


@dataclass(frozen=True)
class Paragraph:
    """Text.

    Parameters
    ----------
    text : str
    """

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True)
class Listing:
    """Short texts, one below another.

    Parameters
    ----------
    items : tuple of str
    numbered : bool
        They are referred to by number, the first as 1.
    """

    kind: ClassVar[str] = "listing"
    items: tuple[str, ...]
    numbered: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table for people; its downloads hold the numbers in full.

    Parameters
    ----------
    name : str
        Tells it from others.
    caption : str
    head : tuple of str
    rows : tuple of tuple of str
        The first cell of each names the row.
    downloads : tuple of Download
    folded : bool
        Long, and of use to few: closed until it is wanted, and short in print.
    """

    kind: ClassVar[str] = "sheet"
    name: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    downloads: tuple[Download, ...] = ()
    folded: bool = False


@dataclass(frozen=True)
class Check:
    """A line of the reviewer's checklist.

    Parameters
    ----------
    subject, value, verdict, reason : str
        `verdict` is one of `SIGNS`.
    """

    subject: str
    value: str
    verdict: str
    reason: str

    @property
    def sign(self) -> str:
        """Of the verdict."""
        return SIGNS[self.verdict]


@dataclass(frozen=True)
class Checklist:
    """The reviewer's checklist.

    Parameters
    ----------
    checks : tuple of Check
    """

    kind: ClassVar[str] = "checklist"
    checks: tuple[Check, ...]

    def count(self, verdict: str) -> int:
        """How many have that verdict."""
        return sum(check.verdict == verdict for check in self.checks)


@dataclass(frozen=True)
class Picture:
    """A figure with its words and its data.

    Parameters
    ----------
    name : str
        File's stem.
    caption : str
        Below it.
    alt : str
        What it shows, for those who don't see it.
    content : bytes
    mime : str
    width_px, height_px : int
        That it is shown at.
    downloads : tuple of Download
        The data drawn.
    """

    kind: ClassVar[str] = "picture"
    name: str
    caption: str
    alt: str
    content: bytes = field(repr=False)
    mime: str
    width_px: int
    height_px: int
    downloads: tuple[Download, ...] = ()

    @property
    def src(self) -> str:
        """The picture as a data URI."""
        return data_uri(self.content, self.mime)


Block = Paragraph | Listing | Sheet | Checklist | Picture


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Parameters
    ----------
    name : str
        For links.
    title : str
    blocks : tuple of Block
    """

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """All of it.

    Parameters
    ----------
    title, subtitle : str
    sections : tuple of Section
    """

    title: str
    subtitle: str
    sections: tuple[Section, ...]

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Of all sections."""
        return tuple(block for section in self.sections for block in section.blocks)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """In their order: the first is Figure 1."""
        return tuple(block for block in self.blocks if isinstance(block, Picture))

    @property
    def sheets(self) -> tuple[Sheet, ...]:
        """In their order: the first is Table 1."""
        return tuple(block for block in self.blocks if isinstance(block, Sheet))
