"""The tag tree of a DM3 or DM4 file, walked within bounds before a reader is let near it.

A reader follows the sizes that a file declares. Where they are damaged it may wait for ever or ask
for any amount of memory; here every size is compared with what is left of the file first.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO

from .rasters import DamagedFile

SIMPLE_BYTES = {2: 2, 3: 4, 4: 2, 5: 4, 6: 4, 7: 8, 8: 1, 9: 1, 10: 1, 11: 8, 12: 8}
"""Bytes of DM's simple types."""
INTEGERS = {2: "h", 3: "i", 4: "H", 5: "I", 11: "q", 12: "Q"}
"""Those that counts and sizes are kept in, for `struct`."""
STRUCT, STRING, ARRAY = 15, 18, 20

PIXEL_BYTES = {1: 2, 2: 4, 3: 8, 5: 4, 6: 1, 7: 4, 8: 4, 9: 1, 10: 2, 11: 4, 12: 8, 13: 16, 14: 1}
PIXEL_BYTES |= {23: 4, 27: 8, 28: 16}
"""Bytes of a pixel by the type of an image; packed Fourier transforms (27, 28) count halves."""

MAX_DEPTH = 64
MAX_NAME = 4096
MAX_FIELDS = 1024
MAX_ELEMENTS = 2**22
"""Elements of all arrays beside the pixels themselves, which readers take one by one."""


def check_dm(path: Path) -> None:
    """Refuse a file whose tags promise more than it holds.

    Raises
    ------
    DamagedFile
        If a size is negative, absurd, or beyond the end of the file, or an image has more pixels
        than its data.
    OSError, struct.error
        If it can't be read, or ends within a tag.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        tree = _Walk(stream, size).tree()
    images = tree.get("ImageList")
    for image in images.values() if isinstance(images, dict) else ():
        data = image.get("ImageData") if isinstance(image, dict) else None
        if isinstance(data, dict):
            _check_image(data)


def _check_image(data: dict[str, Any]) -> None:
    sides = data.get("Dimensions")
    stored = data.get("Data")
    if not isinstance(sides, dict) or not isinstance(stored, tuple):
        raise DamagedFile("an image without dimensions or data")
    count, stored_bytes = stored
    pixel_bytes = PIXEL_BYTES.get(data.get("DataType", -1))
    if pixel_bytes is None:
        raise DamagedFile(f"an image of unknown type {data.get('DataType')}")
    lengths = [side for side in sides.values() if isinstance(side, int)]
    if len(lengths) != len(sides) or any(side < 1 for side in lengths):
        raise DamagedFile("an image of no size")
    half = 2 if data["DataType"] in (27, 28) else 1
    if math.prod(lengths) > count or count * pixel_bytes > half * stored_bytes:
        raise DamagedFile(f"an image of {' x '.join(map(str, lengths))} px in {stored_bytes} bytes")


class _Walk:
    """One pass over the tags; values are kept only where sizes depend on them."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream, self.size = stream, size
        self.elements = 0
        version = self._number(">i")
        if version not in (3, 4):
            raise DamagedFile(f"version {version} of the DM format, expected 3 or 4")
        self.version4 = version == 4
        self.long = ">q" if self.version4 else ">i"
        self._number(self.long)
        self.endian = "<" if self._number(">i") else ">"

    def tree(self) -> dict[str, Any]:
        """Groups as dicts, whole numbers as they are, arrays as (elements, bytes)."""
        self._skip(2)
        return self._tags(self._number(self.long), "root", 0)

    def _tags(self, count: int, group: str, depth: int) -> dict[str, Any]:
        if depth > MAX_DEPTH:
            raise DamagedFile(f"tags nested more than {MAX_DEPTH} deep")
        if not 0 <= count <= self.size - self.stream.tell():  # a tag takes more than a byte
            raise DamagedFile(f"{count} tags in the group {group!r}")
        found: dict[str, Any] = {}
        for i in range(count):
            kind, length = struct.unpack(">Bh", self.stream.read(3))
            if not 0 <= length <= MAX_NAME:
                raise DamagedFile(f"a tag's name of {length} bytes")
            name = self.stream.read(length).decode("latin-1").replace(".", "")
            if kind == 20:
                self._skip(10 if self.version4 else 2)
                within = self._number(self.long)
                # Unnamed groups are numbered by RosettaSciIO among themselves; here by tag.
                found[name or f"#{i}"] = self._tags(within, name or f"TagGroup{i}", depth + 1)
            elif kind == 21:
                pixels = group == "ImageData" and name == "Data"
                found[name or f"#{i}"] = self._data(pixels)
            else:
                raise DamagedFile(f"a tag of unknown kind {kind}")
        return found

    def _data(self, pixels: bool) -> Any:
        if self.version4:
            self._skip(8)
        if self.stream.read(4) != b"%%%%":
            raise DamagedFile("a tag without its delimiter")
        length, kind = self._number(self.long), self._number(self.long)
        if length == 1 and kind in SIMPLE_BYTES:
            raw = self.stream.read(SIMPLE_BYTES[kind])
            return struct.unpack(self.endian + INTEGERS[kind], raw)[0] if kind in INTEGERS else None
        if length == 2 and kind == STRING:
            return self._elements(self._number(self.long), 1, pixels, most=2**14)
        if length == 3 and kind == ARRAY:
            element, count = self._number(self.long), self._number(self.long)
            if element not in SIMPLE_BYTES:
                raise DamagedFile(f"an array of unknown type {element}")
            return self._elements(count, SIMPLE_BYTES[element], pixels)
        if length > 3 and kind == STRUCT:
            fields = self._fields()
            return self._elements(len(fields), 0, pixels, total=sum(fields))
        if length > 3 and kind == ARRAY:
            return self._compound_array(pixels)
        raise DamagedFile(f"a tag of unknown type ({length}, {kind})")

    def _compound_array(self, pixels: bool) -> tuple[int, int]:
        element = self._number(self.long)
        if element == STRUCT:
            fields = self._fields()
            count = self._number(self.long)
            return self._elements(count, sum(fields), pixels, parts=len(fields))
        if element == STRING:
            length = self._number(self.long)
            return self._elements(self._number(self.long), length, pixels, parts=length)
        if element == ARRAY:
            inner, length = self._number(self.long), self._number(self.long)
            count = self._number(self.long)
            if inner not in SIMPLE_BYTES or length < 0:
                raise DamagedFile(f"an array of arrays of unknown type {inner}")
            return self._elements(count, length * SIMPLE_BYTES[inner], pixels, parts=length)
        raise DamagedFile(f"an array of unknown type {element}")

    def _fields(self) -> list[int]:
        """Bytes of each field of a struct."""
        self._number(self.long)
        count = self._number(self.long)
        if not 0 <= count <= MAX_FIELDS:
            raise DamagedFile(f"a structure of {count} fields")
        sizes = []
        for _ in range(count):
            self._number(self.long)
            kind = self._number(self.long)
            if kind not in SIMPLE_BYTES:
                raise DamagedFile(f"a structure with a field of unknown type {kind}")
            sizes.append(SIMPLE_BYTES[kind])
        return sizes

    def _elements(
        self,
        count: int,
        each: int,
        pixels: bool,
        *,
        parts: int = 1,
        total: int | None = None,
        most: int = MAX_ELEMENTS,
    ) -> tuple[int, int]:
        """Skip the elements of an array; returns how many there are and their bytes."""
        length = count * each if total is None else total
        if count < 0 or each < 0 or length > self.size - self.stream.tell():
            raise DamagedFile(f"a tag of {length} bytes, beyond the end of the file")
        if not pixels:
            # counted even where an element has no bytes: a reader counts them too
            self.elements += count * max(parts, 1)
            if count > most or self.elements > MAX_ELEMENTS:
                raise DamagedFile(f"a tag of {count} elements")
        self._skip(length)
        return count, length

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self.stream.read(struct.calcsize(form)))[0])

    def _skip(self, length: int) -> None:
        self.stream.seek(length, 1)
