"""What stages found, kept under what it was made of, so that nothing is worked out twice.

A folder of files ``STAGE/KEY.npz``: KEY is the hash of all that a stage was given, with its version
and that of the package. An entry is whole or not there; one that is damaged is as if it weren't.
See docs/file-formats.md.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .. import __version__
from ..types import DefectStrainError, FloatArray
from .content import pixels_sha256
from .large_arrays import is_large, let_go, room
from .plain_values import from_plain, to_plain
from .writing import atomic_path, remove_left_over

STAGES = "stages"
"""Name of the folder beside results."""

PIXELS_FOLDER = "pixels"
"""Name of the folder in it that holds the images of a run."""

_TREE = "value.json"
_ABOUT = "about.json"
_FORMAT = 1
_BLOCK = 1 << 24
"""Bytes of a large array that are read at a time."""


class KeepingError(DefectStrainError):
    """A stage's result can't be kept: the disk is full, or the folder is gone."""


class StageStore:
    """Results of stages on a disk.

    Parameters
    ----------
    folder : path
        Made when the first result is kept.

    Attributes
    ----------
    damaged : list of Path
        Entries that couldn't be read, and are made again.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.damaged: list[Path] = []

    def path(self, stage: str, key: str) -> Path:
        """Where a result lies or would lie."""
        return self.folder / stage / f"{key}.npz"

    def get(self, stage: str, key: str) -> tuple[bool, Any]:
        """Whether a result is there and whole, and what it is."""
        path = self.path(stage, key)
        if not path.is_file():
            return False, None
        try:
            return True, _read(path, stage, key)
        except Exception:  # damage makes readers of zip files and arrays say almost anything
            self.damaged.append(path)
            return False, None

    def put(self, stage: str, key: str, value: Any) -> None:
        """Keep a result.

        Raises
        ------
        KeepingError
            If it can't be written; what was kept before stays.
        """
        tree, arrays = to_plain(value)
        about = {
            "format": _FORMAT,
            "software": "napari-defectstrain",
            "version": __version__,
            "stage": stage,
            "key": key,
        }
        texts = {_ABOUT: json.dumps(about), _TREE: json.dumps(tree, allow_nan=False)}
        members: dict[str, Any] = {
            name: np.frombuffer(text.encode(), np.uint8) for name, text in texts.items()
        }
        members |= arrays
        path = self.path(stage, key)
        self._write(path, lambda file: np.savez(file, **members))
        for array in arrays.values():
            let_go(array)

    def on_disk(self, data: FloatArray, sha256: str) -> FloatArray:
        """The pixels of an image, read from a file of the store as they are needed.

        Parameters
        ----------
        data : array, `(H, W)`
        sha256 : str
            Their `content.pixels_sha256`.

        Raises
        ------
        KeepingError
            If they can't be written.
        """
        path = self.folder / PIXELS_FOLDER / f"{sha256}.npy"
        found = _mapped(path)
        if found is None or found.dtype != data.dtype or pixels_sha256(found) != sha256:
            self._write(path, lambda file: np.save(file, data, allow_pickle=False))
            found = _mapped(path)
        return data if found is None else found

    def _write(self, path: Path, write: Callable[[BinaryIO], None]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                write(file)
        except OSError as error:
            why = error.strerror or error
            raise KeepingError(f"{path.parent}: can't be made: {why}") from error
        except DefectStrainError as error:
            raise KeepingError(f"{error}; what was kept before is whole") from error

    def entries(self, stage: str = "*") -> Iterator[Path]:
        """The files of a stage, or of all."""
        return self.folder.glob(f"{stage}/*.npz")

    def take_over(self, other: StageStore) -> int:
        """Copy what another store holds and this one doesn't; returns how many entries.

        Raises
        ------
        KeepingError
            If they can't be written.
        """
        count = 0
        for path in other.entries():
            own = self.folder / path.parent.name / path.name
            if own.exists():
                continue
            try:
                own.parent.mkdir(parents=True, exist_ok=True)
                with atomic_path(own) as temporary:
                    _copied(path, temporary)
            except (OSError, DefectStrainError) as error:
                raise KeepingError(f"{own}: can't be kept: {error}") from error
            count += 1
        return count

    def tidy(self) -> None:
        """Remove what killed writers left behind."""
        for folder in self.folder.glob("*"):
            if folder.is_dir():
                remove_left_over(folder)


def _copied(path: Path, to: Path) -> None:
    """A second name of a file where the disk has such a thing (entries never change), or a copy."""
    try:
        to.hardlink_to(path)
    except (OSError, NotImplementedError):
        shutil.copyfile(path, to)


def _mapped(path: Path) -> FloatArray | None:
    """An array of a file, read as it is needed; None where there is no whole one."""
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return None


def _read(path: Path, stage: str, key: str) -> Any:
    with np.load(path, allow_pickle=False) as file:
        about = _json(file, _ABOUT)
        if about.get("format") != _FORMAT or (about["stage"], about["key"]) != (stage, key):
            raise ValueError("it is another entry's")
        # reading a member whole compares its check sum
        arrays = {name: _member(file, name) for name in file.files if name not in (_ABOUT, _TREE)}
        return from_plain(_json(file, _TREE), arrays)


def _member(file: Any, name: str) -> Any:
    """An array of an entry: a large one is read to another place on the disk."""
    member = file.zip.getinfo(f"{name}.npy")
    if not is_large(member.file_size):
        return file[name]
    with file.zip.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = header(stream)
        if fortran or dtype.hasobject:
            return file[name]
        array = room(shape, dtype)
        flat = array.reshape(-1).view(np.uint8)
        for start in range(0, len(flat), _BLOCK):
            block = stream.read(_BLOCK)
            flat[start : start + len(block)] = np.frombuffer(block, np.uint8)
            let_go(array)
        if stream.read(1):  # which asks for the check sum, too
            raise ValueError("more than the array says")
        return array


def _json(file: Any, name: str) -> Any:
    return json.loads(file[name].tobytes().decode())
