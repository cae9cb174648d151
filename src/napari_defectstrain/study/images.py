"""Images of a study by reference: where their files lie, and whether they are as they were.

A file is known by the hash of its bytes: one of another hash is another image, one of the same hash
elsewhere is the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from ..config import Between, Config
from ..io.out_folder import file_sha256
from ..types import CalibratedImage, DefectStrainError
from .layout import IMAGES

THERE, CHANGED, MISSING = "there", "changed", "missing"
"""What may have become of a file."""

MAX_DEPTH = 3
"""How many folders deep a file that was moved is looked for."""


@dataclass(frozen=True)
class ImageRecord(Config):
    """One image of a file.

    Parameters
    ----------
    name : str
        In the study: distinct, and a stem that every system can write.
    height, width : int
        [px]
    pixel_size_pm : float or None
        That the file states [pm].
    given_pm : float or None
        Set since, which counts instead [pm].
    given_by : str
        How: ``given`` by hand, or ``lattice``.
    """

    name: str = ""
    height: Annotated[int, Between(0, 10**6)] = 0
    width: Annotated[int, Between(0, 10**6)] = 0
    pixel_size_pm: Annotated[float | None, Between(1e-3, 1e6)] = None
    given_pm: Annotated[float | None, Between(1e-3, 1e6)] = None
    given_by: str = ""

    @property
    def size_pm(self) -> float | None:
        """The pixel size that counts [pm]."""
        return self.pixel_size_pm if self.given_pm is None else self.given_pm

    def calibrated(self, image: CalibratedImage) -> CalibratedImage:
        """What was read of the file, under its name here, and with the pixel size that counts."""
        if self.given_pm is None:
            return replace(image, name=self.name)
        metadata = {**image.metadata, "calibration": self.given_by}
        return replace(image, name=self.name, pixel_size_pm=self.given_pm, metadata=metadata)


@dataclass(frozen=True)
class FileRecord(Config):
    """A file of images that a study refers to.

    Parameters
    ----------
    path : str
        From the study's folder, with ``/``; empty where there is no such way (another disk).
    absolute : str
        Where it lay when it was last seen.
    sha256 : str
        Of its bytes.
    size : int
        [bytes]
    modified_ns : int
        When it was last changed [ns since the epoch].
    copy : str
        Name of the copy in the study's folder ``images``, with the folder of its own where another
        file came along; empty without one.
    images : tuple of ImageRecord
        Those that the study holds, in the order of the file.
    """

    path: str = ""
    absolute: str = ""
    sha256: str = ""
    size: Annotated[int, Between(0, 10**15)] = 0
    modified_ns: Annotated[int, Between(-(2**63), 2**63 - 1)] = 0
    copy: str = ""
    images: tuple[ImageRecord, ...] = ()

    @property
    def file_name(self) -> str:
        """For people."""
        return Path(self.absolute).name


def file_record(path: Path, folder: Path, images: Sequence[ImageRecord] = ()) -> FileRecord:
    """What a study keeps of a file.

    Raises
    ------
    DefectStrainError
        If it can't be read.
    """
    try:
        found = path.stat()
        sha256 = file_sha256(path)
    except OSError as error:
        raise DefectStrainError(f"{path}: can't be read: {error.strerror}") from error
    return FileRecord(
        path=relative_path(path, folder),
        absolute=str(path.resolve()),
        sha256=sha256,
        size=found.st_size,
        modified_ns=found.st_mtime_ns,
        images=tuple(images),
    )


def relative_path(path: Path, folder: Path) -> str:
    """The way from a study's folder to a file, with ``/``; empty where there is none."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return ""


def places(record: FileRecord, folder: Path) -> list[Path]:
    """Where the file of a record may lie, the likeliest first."""
    found = [folder / IMAGES / record.copy] if record.copy else []
    found += [folder / record.path] if record.path else []
    return [*found, Path(record.absolute)]


def file_state(record: FileRecord, folder: Path, trust_times: bool = False) -> tuple[str, Path]:
    """`THERE`, `CHANGED` or `MISSING`, and the path that this is about.

    Parameters
    ----------
    record : FileRecord
    folder : Path
        Of the study.
    trust_times : bool
        Take a file of the same size and time as unchanged, without reading it.
    """
    changed: Path | None = None
    for path in places(record, folder):
        if not path.is_file():
            continue
        if is_same_file(record, path, trust_times):
            return THERE, path
        changed = changed or path
    return (MISSING, places(record, folder)[-1]) if changed is None else (CHANGED, changed)


def is_same_file(record: FileRecord, path: Path, trust_times: bool = False) -> bool:
    """Whether a file has the bytes of a record."""
    try:
        found = path.stat()
        if found.st_size != record.size:
            return False
        if trust_times and found.st_mtime_ns == record.modified_ns:
            return True
        return file_sha256(path) == record.sha256
    except OSError:
        return False


def check_readable(path: Path) -> None:
    """See that a file may be read: one that may not isn't changed.

    Raises
    ------
    DefectStrainError
        If it can't be read.
    """
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise DefectStrainError(f"{path}: can't be read: {error.strerror or error}") from error


def find_moved(records: Iterable[FileRecord], folders: Iterable[Path]) -> dict[FileRecord, Path]:
    """Where files went, by their hash, among all files of some folders.

    Parameters
    ----------
    records : iterable of FileRecord
        Those that are missed.
    folders : iterable of Path
        Looked through with the folders in them, `MAX_DEPTH` deep. Files of the same name come
        first; only those of the same size are read.
    """
    wanted = list(records)
    sizes = {record.size for record in wanted}
    by_size: dict[int, list[Path]] = {}
    for path in _files(folders):
        try:
            size = path.stat().st_size
        except OSError:
            continue
        if size in sizes:
            by_size.setdefault(size, []).append(path)
    found: dict[FileRecord, Path] = {}
    hashes: dict[Path, str] = {}
    for record in wanted:
        there = by_size.get(record.size, [])
        for path in sorted(there, key=lambda p: (p.name != record.file_name, str(p))):
            if path not in hashes:
                try:
                    hashes[path] = file_sha256(path)
                except OSError:
                    hashes[path] = ""
            if hashes[path] == record.sha256:
                found[record] = path
                break
    return found


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    """Files below some folders, each once."""
    seen: set[Path] = set()
    for folder in folders:
        for root, below, names in os.walk(folder):
            here = Path(root)
            if len(here.relative_to(folder).parts) >= MAX_DEPTH:
                below.clear()
            below.sort()
            for name in sorted(names):
                path = (here / name).resolve()
                if path not in seen:
                    seen.add(path)
                    yield path


def records_of(values: Any, where: str) -> tuple[FileRecord, ...]:
    """The records of ``study.json``.

    Raises
    ------
    DefectStrainError
        If they are none.
    """
    if not isinstance(values, list):
        raise DefectStrainError(f"{where}: got no list of files, expected one")
    return tuple(FileRecord.from_dict(v, f"{where}: files[{i}].") for i, v in enumerate(values))
