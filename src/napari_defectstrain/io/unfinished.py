"""The mark of a folder whose results are being written, or whose writer was stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..types import DefectStrainError
from .writing import is_alive

MARK_SUFFIX = ".unfinished.json"

open_marks: set[Path] = set()
"""Marks of this process that are being worked under."""


@dataclass(frozen=True)
class Unfinished:
    """What the mark of a folder says.

    Parameters
    ----------
    path : Path
        The mark.
    command, started : str
        Which command began to write, and when (ISO 8601).
    files : mapping of str to str or None
        What it wrote, with the hash of each; None for the last, which may not be whole.
    earlier : mapping of str to str or None
        What runs before it wrote, with the hashes as far as they are known.
    is_running : bool
        Whether it still writes.
    """

    path: Path
    command: str
    started: str
    files: Mapping[str, str | None]
    earlier: Mapping[str, str | None]
    is_running: bool

    def __str__(self) -> str:
        since = f" (started {self.started})" if self.started else ""
        return f"{self.command}{since}"


def mark_path(folder: Path, manifest: str) -> Path:
    """Where the mark of a manifest lies."""
    return folder / (Path(manifest).stem + MARK_SUFFIX)


def read_mark(folder: Path, manifest: str) -> Unfinished | None:
    """The mark of a command that writes into a folder or was stopped there; None without one."""
    path = mark_path(folder, manifest)
    if not path.exists():
        return None
    values = json_object(path)
    pid = values.get("pid")
    alive = False
    with suppress(OSError):  # gone meanwhile
        if isinstance(pid, int):
            alive = is_alive(str(values.get("host")), pid, path.stat().st_mtime) is True
    if pid == os.getpid():
        alive = path.absolute() in open_marks
    return Unfinished(
        path,
        str(values.get("command", "a command")),
        str(values.get("started", "")),
        hashes_of(values.get("files")),
        hashes_of(values.get("earlier")),
        alive,
    )


def check_whole(folder: Path, manifest: str, names: Iterable[str] | None = None) -> list[str]:
    """See that files of a folder belong together, before they are read as results.

    Parameters
    ----------
    folder : Path
    manifest : str
        Name of the manifest that a finished run leaves.
    names : iterable of str, optional
        Files that are wanted; all by default. Those that a stopped run wrote itself can be had.

    Returns
    -------
    list of str
        What the user should know.

    Raises
    ------
    DefectStrainError
        If a command was stopped there, and the files may be of an earlier run.
    """
    mark = read_mark(folder, manifest)
    if mark is None:
        return []
    there = [name for name in names if (folder / name).exists()] if names is not None else []
    doubtful = [name for name in there if mark.files.get(name) is None]
    if there and not doubtful:
        return [f"{folder}: {mark} didn't finish there; what is read of it is whole"]
    which = (
        f"{', '.join(doubtful)} may be of an earlier run" if doubtful else "files may be missing"
    )
    if mark.is_running:
        raise DefectStrainError(f"{folder}: {mark} still writes there: {which}; wait for it")
    raise DefectStrainError(
        f"{folder}: {mark} was stopped there: {which}; repeat it with --force, or remove "
        f"{mark.path.name} if you know better"
    )


def hashes_of(values: object) -> dict[str, str | None]:
    """Names and hashes from a file; none that would lead out of the folder."""
    if not isinstance(values, dict):
        return {}
    return {
        str(name): known
        for name, known in values.items()
        if _is_inside(str(name)) and (known is None or isinstance(known, str))
    }


def _is_inside(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return len(parts) <= 2 and not any(p in ("", ".", "..") or ":" in p for p in parts)


def json_object(path: Path) -> dict[str, Any]:
    """The object of a JSON file; empty where there is no readable one."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
