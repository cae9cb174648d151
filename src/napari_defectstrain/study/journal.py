"""The journal of a study: every edit a line of JSON, written through to the disk, never changed.

A crash in the middle of a line leaves a torn one at the end: it is set aside when the journal is
opened for writing, and said. `Journal.close_part` moves the lines so far into a part of their own,
when the state that they lead to has been written down: the journal that is read at each start stays
short, and the history is the parts and the journal one after the other.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..interruptions import put_in_order
from ..io.file_names import printable
from ..types import DefectStrainError
from .layout import EARLIER, JOURNAL_FILE
from .locking import time_now, user_name

COLUMNS = "columns"
ANSWER = "answer"
REGIONS = "regions"
WINDOWS = "windows"
ABOUT = "study"
"""What an edit is about: columns by hand, a new answer of the model, regions, windows of a class,
and the study itself: images, settings, weights."""

MODEL = "model"
MANUAL = "manual"
FILE = "file"
"""Who made an edit."""

_KEYS = ("n", "what", "image", "by", "user", "when")
_PART = re.compile(r"edits\.(\d+)-(\d+)\.jsonl")


@dataclass(frozen=True)
class Edit:
    """One line of the journal.

    Parameters
    ----------
    number : int
        Counted from 1.
    what : str
        `COLUMNS`, `ANSWER`, `REGIONS`, `WINDOWS` or `ABOUT`.
    image : str
        Name of the image; empty where it is about none, or several.
    by : str
        `MODEL`, `MANUAL` or `FILE`.
    user : str
        Whose session it was.
    when : str
        ISO 8601, with the offset of local time.
    content : mapping
        JSON values: what was, and what is; see ``docs/file-formats.md``.
    """

    number: int
    what: str
    image: str
    by: str
    user: str
    when: str
    content: Mapping[str, Any] = field(default_factory=dict)

    def to_values(self) -> dict[str, Any]:
        """What the line holds."""
        known = (self.number, self.what, self.image, self.by, self.user, self.when)
        return {**dict(zip(_KEYS, known, strict=True)), **self.content}

    def to_line(self) -> bytes:
        """The line, with its end."""
        text = json.dumps(self.to_values(), ensure_ascii=False, allow_nan=False)
        return printable(text).encode() + b"\n"

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Edit:
        """From what a line holds.

        Raises
        ------
        KeyError
            If it lacks something.
        """
        rest = {key: value for key, value in values.items() if key not in _KEYS}
        what, image, by, user, when = (str(values[key]) for key in _KEYS[1:])
        return cls(int(values["n"]), what, image, by, user, when, rest)


class Journal:
    """The journal of a study's folder.

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    notes : list of str
        What the user should know: a torn line.

    Raises
    ------
    DefectStrainError
        If a line other than the last can't be read.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL_FILE
        self.earlier = folder / EARLIER
        self.notes: list[str] = []
        self.edits: list[Edit] = []
        """Those of the journal itself: since the last part was closed."""
        self._whole_bytes = 0
        self._torn = b""
        self._read()

    @property
    def last_number(self) -> int:
        """Of the last edit there is; 0 before the first."""
        if self.edits:
            return self.edits[-1].number
        return max((last for _, last, _ in self._parts()), default=0)

    def history(self) -> list[Edit]:
        """Every edit there ever was, also of parts that were closed."""
        found: dict[int, Edit] = {}
        for _, _, path in self._parts():
            edits, _, torn = _parsed(path)
            if torn:
                raise _damaged(path, len(edits) + 1)
            found.update((edit.number, edit) for edit in edits)
        found.update((edit.number, edit) for edit in self.edits)
        return [found[number] for number in sorted(found)]

    def prepare(self) -> None:
        """Make ready for writing: set a torn line aside, so that none is written onto it.

        Raises
        ------
        DefectStrainError
            If the journal can't be written.
        """
        if not self._torn:
            return
        try:
            self.earlier.mkdir(exist_ok=True)
            kept = self.earlier / f"torn_line_after_{self.last_number}.txt"
            kept.write_bytes(self._torn)
            with self.path.open("r+b") as file:
                file.truncate(self._whole_bytes)
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._torn = b""

    def append(
        self, what: str, content: Mapping[str, Any], by: str, image: str = "", user: str = ""
    ) -> Edit:
        """Add an edit; when this returns, it is on the disk.

        Raises
        ------
        DefectStrainError
            If it can't be written; the journal is as it was.
        """
        edit = Edit(self.last_number + 1, what, image, by, user or user_name(), time_now(), content)
        line = edit.to_line()
        is_new = not self.path.exists()
        try:
            # unbuffered: what failed must not be tried again when the file is closed
            with put_in_order(), self.path.open("ab", buffering=0) as file:
                try:
                    if file.write(line) != len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(file.fileno())
                except OSError:  # a full disk: half a line is taken back
                    with suppress(OSError):
                        os.truncate(self.path, self._whole_bytes)
                    raise
            if is_new:
                _folder_to_disk(self.path.parent)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._whole_bytes += len(line)
        self.edits.append(edit)
        return edit

    def close_part(self) -> Path | None:
        """Move all edits so far into a part of the history; None where there are none."""
        if not self.edits:
            return None
        self.earlier.mkdir(exist_ok=True)
        first, last = self.edits[0].number, self.edits[-1].number
        part = self.earlier / f"edits.{first}-{last}.jsonl"
        try:
            with put_in_order():
                self.path.replace(part)
                _folder_to_disk(self.path.parent)
        except OSError as error:
            raise _unwritable(part, error) from error
        self.edits, self._whole_bytes = [], 0
        return part

    def _parts(self) -> list[tuple[int, int, Path]]:
        found = []
        if self.earlier.is_dir():
            for path in self.earlier.iterdir():
                name = _PART.fullmatch(path.name)
                if name is not None:
                    found.append((int(name[1]), int(name[2]), path))
        return sorted(found)

    def _read(self) -> None:
        self.edits, self._whole_bytes, self._torn = _parsed(self.path)
        if self._torn:
            self.notes.append(
                f"{self.path}: the last edit was torn by a crash and is lost: "
                f"{len(self._torn)} bytes after edit {self.last_number}"
            )
        numbers = [edit.number for edit in self.edits]
        for before, number in zip(numbers, numbers[1:], strict=False):
            if number != before + 1:
                raise DefectStrainError(
                    f"{self.path}: got edit {number} after {before}, expected them one by one; "
                    "restore the file from a backup"
                )


def _parsed(path: Path) -> tuple[list[Edit], int, bytes]:
    """Edits of a file, the bytes that whole lines take, and the torn rest."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], 0, b""
    except OSError as error:
        raise DefectStrainError(f"{path}: can't be read: {error.strerror}") from error
    edits: list[Edit] = []
    whole = 0
    lines = data.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            if not line.endswith(b"\n"):
                raise ValueError("no end")
            edits.append(Edit.from_values(json.loads(line)))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if any(rest.strip(b"\0\r\n ") for rest in lines[number:]):
                raise _damaged(path, number) from error
            break
        whole += len(line)
    return edits, whole, data[whole:]


def _damaged(path: Path, line: int) -> DefectStrainError:
    return DefectStrainError(
        f"{path}: line {line} is no edit, and others follow: the file is damaged; restore it from "
        "a backup, or remove that line if you know what it was"
    )


def _unwritable(path: Path, error: OSError) -> DefectStrainError:
    return DefectStrainError(
        f"{path}: the edit can't be saved: {error.strerror or error}; make room or check the disk, "
        "then repeat it"
    )


def _folder_to_disk(folder: Path) -> None:
    """The name of a new file, too; Windows has no such call, and does it by itself."""
    if os.name == "nt":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def edit_rows(edits: Iterable[Edit]) -> list[dict[str, Any]]:
    """A row for each changed thing of each edit, for tables: who, when, from what, to what."""
    rows: list[dict[str, Any]] = []
    for edit in edits:
        head = {
            "edit": edit.number,
            "when": edit.when,
            "user": edit.user,
            "by": edit.by,
            "what": edit.what,
            "image": edit.image,
        }
        changes = edit.content.get("changes")
        if edit.what != COLUMNS or not isinstance(changes, list):
            rows.append({**head, "column": None, "from": "", "to": _words(edit.content)})
            continue
        for change in changes:
            told = {"from": _words(change["from"]), "to": _words(change["to"])}
            rows.append({**head, "column": change["column"], **told})
    return rows


def _words(values: object) -> str:
    """JSON in one line; empty for nothing."""
    return "" if values is None else json.dumps(values, ensure_ascii=False)
