"""A folder of results: marked as unfinished from the first write to the last.

While a command writes, ``<manifest>.unfinished.json`` lies in the folder and the manifest of an
earlier run (``run.json``, ...) doesn't. A command that is stopped, even killed, leaves that mark:
who reads the folder knows that its files may belong to two runs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..interruptions import put_in_order
from ..types import DefectStrainError
from .files import write_json
from .unfinished import hashes_of, json_object, mark_path, open_marks, read_mark
from .writing import check_writable, host_id, is_left_over, remove_left_over

MANIFEST_KEYS = ("software", "version", "files", "sha256", "failed", "warnings")
"""What a manifest holds beside settings, where it serves as a settings file too."""

_UNKNOWN = ""
"""Hash of a file that a manifest lists without one."""


def check_out_dir(
    out_dir: Path,
    force: bool = False,
    manifest: str = "run.json",
    needed_bytes: int = 0,
) -> None:
    """See that results can go into a folder, before any work is done for them.

    Parameters
    ----------
    out_dir : Path
    force : bool
        It may hold something.
    manifest : str
        Of the command that is going to write.
    needed_bytes : int
        Space that must be free.

    Raises
    ------
    DefectStrainError
        If it is no folder, can't be written, has no space, holds anything and `force` isn't given,
        or another process writes results there.
    """
    if not out_dir.is_dir():
        if out_dir.exists() or out_dir.is_symlink():
            raise DefectStrainError(f"{out_dir}: got a file, expected a folder for the results")
        parent = next(p for p in out_dir.absolute().parents if p.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise DefectStrainError(f"{out_dir}: can't be created: {parent} can't be written")
        check_writable(out_dir, needed_bytes)
        return
    if not os.access(out_dir, os.R_OK | os.W_OK | os.X_OK):
        raise DefectStrainError(f"{out_dir}: the folder can't be written; choose another")
    mark = read_mark(out_dir, manifest)
    if mark is not None and mark.is_running:
        raise DefectStrainError(
            f"{out_dir}: {mark} still writes there; wait for it, or choose another folder"
        )
    if not force and any(not is_left_over(path) for path in out_dir.iterdir()):
        stopped = f" ({mark} was stopped there)" if mark is not None else ""
        raise DefectStrainError(
            f"{out_dir}: the folder isn't empty{stopped}; choose another, or overwrite the results "
            "in it with --force"
        )
    check_writable(out_dir, needed_bytes)


def check_inputs(out_dir: Path, names: Iterable[str], inputs: Iterable[Path | None]) -> None:
    """See that no result would replace what it is made from, also by way of a link.

    Parameters
    ----------
    out_dir : Path
    names : iterable of str
        Files that may be written, relative to `out_dir`.
    inputs : iterable of Path or None
        Files that are read; those that don't exist are passed over.

    Raises
    ------
    DefectStrainError
        If one of them would be replaced.
    """
    results: dict[tuple[int, int], str] = {}
    for name in names:
        identity = _identity(out_dir / name)
        if identity is not None:
            results[identity] = name
    for path in inputs:
        identity = None if path is None else _identity(path)
        if identity in results:
            raise DefectStrainError(
                f"{path}: is read, and would be replaced by the result {results[identity]}; choose "
                "another folder with --out"
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """What is the same for all links to a file; None where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # a name that can't be one
        return None
    return found.st_dev, found.st_ino


class OutFolder:
    """A folder that results are being written into; see `writing_into`.

    Attributes
    ----------
    path : Path
    notes : list of str
        What was kept of the user's, and where.
    """

    def __init__(self, path: Path, command: str, manifest: str) -> None:
        self.path = path
        self.notes: list[str] = []
        self._command, self._manifest = command, manifest
        self._mark = mark_path(path, manifest)
        self._started = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
        mark = read_mark(path, manifest)
        if mark is not None and mark.is_running:
            raise DefectStrainError(f"{path}: {mark} still writes there; wait for it")
        self._earlier = _manifest_files(path / manifest)
        if mark is not None:
            # A file that was being written when its run was killed is whole, old or new.
            self._earlier |= {**mark.earlier, **mark.files}
        self._files: dict[str, str | None] = {}

    def begin(self) -> None:
        """Set the mark, and take away what would pretend that the folder is whole."""
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in (self.path, *(self.path / name for name in self._folders())):
            remove_left_over(folder)
        open_marks.add(self._mark.absolute())
        self._write_mark()
        (self.path / self._manifest).unlink(missing_ok=True)

    def place(self, name: str) -> Path:
        """Where to write a file; what the user made in its place is kept under another name."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._note_hash()
        if name not in self._files:
            self._keep(name)
            self._files[name] = None
        self._write_mark()
        return path

    @property
    def files(self) -> list[Path]:
        """What was written so far."""
        return [self.path / name for name in self._files]

    def finish(self, content: Mapping[str, Any], with_files: bool = True) -> Path:
        """Remove what the earlier run wrote and this one didn't; write the manifest; unmark.

        Parameters
        ----------
        content : mapping
            What the manifest says.
        with_files : bool
            Add the files, their hashes, and what was kept of the user's.

        Raises
        ------
        DefectStrainError
            If a file that was written is no longer there.
        """
        self._note_hash()
        gone = [name for name in self._files if not (self.path / name).exists()]
        if gone:
            raise DefectStrainError(
                f"{self.path}: {', '.join(gone[:3])}{' and more' * (len(gone) > 3)} went while the "
                f"run wrote, expected all {len(self._files)} files to be there; was the folder "
                "removed? Repeat the run"
            )
        for name, known in self._earlier.items():
            if name not in self._files:
                self._remove(name, known)
        path = self.path / self._manifest
        if with_files:
            warnings = [*content.get("warnings", ()), *self.notes]
            own = {"warnings": warnings, "files": list(self._files), "sha256": self._files}
            content = {**content, **own}
        write_json(path, content)
        self._mark.unlink(missing_ok=True)
        return path

    def close(self) -> None:
        """No longer written by this process; the mark stays unless `finish` was called."""
        open_marks.discard(self._mark.absolute())

    def _folders(self) -> set[str]:
        below = {Path(name).parent.as_posix() for name in self._earlier}
        return {name for name in below | {"figures"} if name != "."}

    def _write_mark(self) -> None:
        write_json(
            self._mark,
            {
                "software": "napari-defectstrain",
                "version": __version__,
                "unfinished": "the files of this folder may belong to two runs",
                "command": self._command,
                "started": self._started,
                "host": host_id(),
                "pid": os.getpid(),
                "files": self._files,
                "earlier": self._earlier,
            },
        )

    def _note_hash(self) -> None:
        for name, known in self._files.items():
            if known is None:
                with suppress(OSError):
                    self._files[name] = file_sha256(self.path / name)

    def _keep(self, name: str) -> None:
        """Move a file that no run of ours left like this out of the way."""
        path = self.path / name
        if not path.is_file() and not path.is_symlink():
            return
        if name in self._earlier and self._is_as_written(name, self._earlier[name]):
            return
        kept = _free_name(path)
        path.rename(kept)
        self.notes.append(f"{name} was not as a run had written it: kept as {kept.name}")

    def _remove(self, name: str, known: str | None) -> None:
        path = self.path / name
        if not path.is_file():
            return
        if known == _UNKNOWN:
            self.notes.append(f"{name} is left over from an earlier run, not part of this one")
        elif not self._is_as_written(name, known):
            self.notes.append(f"{name} was changed by hand: left, but not part of this run")
        else:
            path.unlink(missing_ok=True)

    def _is_as_written(self, name: str, known: str | None) -> bool:
        return known in (None, _UNKNOWN) or known == file_sha256(self.path / name)


def changed_by_hand(path: Path, manifest: str) -> list[str]:
    """Files of a folder that are no longer as a run wrote them, so that a hand must have."""
    known = _manifest_files(path / manifest)
    mark = read_mark(path, manifest)
    if mark is not None:
        known |= {**mark.earlier, **mark.files}
    return [
        name
        for name, written in known.items()
        if written not in (None, _UNKNOWN)
        and (path / name).is_file()
        and file_sha256(path / name) != written
    ]


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among what a manifest says, for those that hold both side by side."""
    return {name: value for name, value in values.items() if name not in MANIFEST_KEYS}


@contextmanager
def writing_into(path: Path, command: str, manifest: str) -> Iterator[OutFolder]:
    """Mark a folder as unfinished; the mark goes when `OutFolder.finish` is called, else it stays.

    Parameters
    ----------
    path : Path
        Created where it doesn't exist.
    command : str
        For the mark.
    manifest : str
        Name of the file that says what the others are; an earlier one is removed at once.
    """
    with put_in_order():
        folder = OutFolder(path, command, manifest)
        try:
            folder.begin()
            yield folder
        finally:
            folder.close()


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _free_name(path: Path) -> Path:
    """A name beside a file for what the user made: no reader takes it for a result."""
    number = 1
    while True:
        suffix = ".kept" if number == 1 else f".kept_{number}"
        free = path.with_name(f"{path.stem}{suffix}{path.suffix}")
        if not free.exists() and not free.is_symlink():
            return free
        number += 1


def _manifest_files(path: Path) -> dict[str, str | None]:
    """Files that an earlier manifest lists, and their hashes."""
    values = json_object(path)
    hashes = values.get("sha256")
    known = hashes if isinstance(hashes, dict) else {}
    names = values.get("files")
    if not isinstance(names, list):
        # The settings of a bundled sample: a pair of files for each image.
        images = values.get("images")
        stems = list(images) if isinstance(images, dict) else []
        names = [f"{stem}{suffix}" for stem in stems for suffix in (".tif", ".truth.csv")]
    return hashes_of({name: known.get(name) or _UNKNOWN for name in names if isinstance(name, str)})
