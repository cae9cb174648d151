"""Names of files: safe for every system where they come from elsewhere, wildcards, odd bytes."""

from __future__ import annotations

import glob
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..types import DefectStrainError

RESERVED = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³"}
)
"""Names of devices on Windows, whatever the suffix."""

TOTAL = "all"
"""What tables call all images together: no image's name."""

MAX_STEM_BYTES = 160
"""Longest stem: most systems take names of 255 bytes, and results add prefixes and suffixes."""

_FORBIDDEN = re.compile(r'[/\\:*?"<>|]')


def printable(text: str) -> str:
    r"""Text that can be written as UTF-8: bytes of a name that are none are taken as Latin-1.

    >>> printable("caf\udce9.tif")
    'café.tif'
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        pass
    else:
        return text  # nearly all of them; some are whole files
    return "".join(
        chr(ord(c) - 0xDC00)
        if 0xDC80 <= ord(c) <= 0xDCFF
        else "\N{REPLACEMENT CHARACTER}"
        if 0xD800 <= ord(c) <= 0xDFFF
        else c
        for c in text
    )


def safe_stem(name: str) -> str:
    r"""A name as the stem of a file that Windows, macOS and Linux can write.

    What they forbid becomes ``_``: ``/ \ : * ? " < > |``, control characters, dots and blanks at
    the end; names of devices get one in front, and that of `TOTAL`. Long names are cut.

    >>> safe_stem("HAADF 1/2"), safe_stem("con"), safe_stem("a."), safe_stem(""), safe_stem("all")
    ('HAADF 1_2', '_con', 'a_', '_', '_all')
    """
    text = unicodedata.normalize("NFC", printable(name)).replace("\N{REPLACEMENT CHARACTER}", "_")
    # Control and format characters too: a name written from right to left shows another suffix.
    text = "".join("_" if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in text)
    text = _FORBIDDEN.sub("_", text).lstrip()
    while len(text.encode()) > MAX_STEM_BYTES:
        text = text[:-1]
    kept = text.rstrip(". ")
    text = kept + "_" * (len(text) - len(kept))
    taken = text.split(".")[0].strip().casefold() in RESERVED or text.casefold() == TOTAL
    if taken or text.startswith("."):
        text = f"_{text}"
    return text or "_"


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names, with ``_2``, ``_3``, ... after those that came before.

    Names that differ in capitals only are alike: they are one file on Windows and macOS.

    >>> distinct_names(["a", "b", "A", "a_2"])
    ['a', 'b', 'A_2', 'a_2_2']
    """
    taken: set[str] = set()
    found: list[str] = []
    for name in names:
        new, count = name, 1
        while new.casefold() in taken:
            count += 1
            new = f"{name}_{count}"
        taken.add(new.casefold())
        found.append(new)
    return found


def output_stems(names: Sequence[str]) -> list[str]:
    """Stems for the outputs of things of these names: safe, and distinct."""
    return distinct_names([safe_stem(name) for name in names])


def as_paths(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """The files that one path or several name: a text alone is one path, not its characters.

    >>> [str(p) for p in as_paths("a.tif")], [str(p) for p in as_paths(["a.tif", Path("b.tif")])]
    (['a.tif'], ['a.tif', 'b.tif'])
    """
    return [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]


def in_one_order(paths: Sequence[Path]) -> list[Path]:
    """Files by their names, numbers by size, then by their folders: however they were given.

    >>> [str(p) for p in in_one_order([Path("b/x_10.tif"), Path("a/x_10.tif"), Path("c/x_9.tif")])]
    ['c/x_9.tif', 'a/x_10.tif', 'b/x_10.tif']
    """
    return sorted(paths, key=lambda p: (_by_number(p.name), _by_number(str(p.absolute()))))


def in_counted_order(paths: Sequence[Path]) -> list[Path]:
    """Files as they were given, but by their numbers where a shell sorted them by characters.

    >>> [str(p) for p in in_counted_order([Path("f_1.tif"), Path("f_10.tif"), Path("f_2.tif")])]
    ['f_1.tif', 'f_2.tif', 'f_10.tif']
    >>> [str(p) for p in in_counted_order([Path("f_2.tif"), Path("f_1.tif")])]  # by a hand
    ['f_2.tif', 'f_1.tif']
    """
    names = [str(path) for path in paths]
    by_shell = names == sorted(names) or names == sorted(names, key=str.casefold)
    return sorted(paths, key=lambda p: _by_number(str(p))) if by_shell else list(paths)


def _by_number(text: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in a text by size."""
    parts = re.split(r"(\d+)", text)
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]


def expand_wildcards(paths: Sequence[Path]) -> list[Path]:
    """The paths, with those that the shell left as ``*.tif`` replaced by the files they mean.

    A path that exists is taken as it is, whatever signs its name has.

    Raises
    ------
    DefectStrainError
        If no file matches.
    """
    found: list[Path] = []
    for path in paths:
        if not glob.has_magic(str(path)) or path.exists():
            found.append(path)
            continue
        matching = sorted(glob.glob(str(path), recursive=True))
        if not matching and not set("*?") & set(str(path)):
            found.append(path)  # brackets are as likely part of a name that isn't there
        elif not matching:
            raise DefectStrainError(f"{path}: got a pattern that no file matches")
        found += [Path(match) for match in matching]
    return found
