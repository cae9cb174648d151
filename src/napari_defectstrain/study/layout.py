"""What lies where in the folder of a study, and the schema of ``study.json``.

A folder of an older schema is migrated when it is opened for writing, the old ``study.json`` kept
beside the new one; one of a newer schema is refused, since what it says can't be known.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..io.files import read_settings, write_json
from ..types import DefectStrainError

SUFFIX = ".defectstrain"
"""What the name of a study's folder ends in."""

STUDY_FILE = "study.json"
WINDOW_FILE = "window.json"
JOURNAL_FILE = "edits.jsonl"
STATE_FILE = "edits.state.json"
LOCK_FILE = "lock.json"
IMAGES, SITES, REGIONS_FOLDER, RESULTS, EARLIER = (
    *("images", "sites", "regions", "results", "earlier"),
)
"""Folders: copies of images, answers of the model, regions, measurements; what was replaced."""

KIND = "napari-defectstrain study"
SCHEMA = 1
"""Of the folders that this version writes."""

Step = Callable[[dict[str, Any]], dict[str, Any]]
MIGRATIONS: Mapping[int, Step] = {}
"""From each older schema to the next one: what becomes of the content of ``study.json``."""


def study_path(path: str | Path) -> Path:
    """The folder that is meant: the path itself, or its ``study.json``, without asking the disk."""
    path = Path(path)
    return path.parent if path.name == STUDY_FILE else path


def named_folder(path: str | Path) -> Path:
    """The folder of the study that a path names with or without its suffix; else the path."""
    folder = study_path(path)
    if folder.name in ("", ".."):  # the folder one is in, or above: its name is asked of the disk
        return folder.resolve()
    with_suffix = folder.with_name(folder.name + SUFFIX)
    return with_suffix if not is_study(folder) and is_study(with_suffix) else folder


def is_study(path: str | Path) -> bool:
    """Whether a path is the folder of a study, or the ``study.json`` in it."""
    return (study_path(path) / STUDY_FILE).is_file()


def read_study_file(folder: Path) -> tuple[dict[str, Any], int]:
    """The content of ``study.json`` as this version has it, and the schema it had on the disk.

    Raises
    ------
    DefectStrainError
        If it is no study, damaged, of a newer schema, or of one that can't be migrated.
    """
    path = folder / STUDY_FILE
    if not folder.is_dir():
        what = "a file" if folder.exists() else "nothing"
        raise DefectStrainError(f"{folder}: got {what}, expected the folder of a study")
    if not path.is_file():
        raise DefectStrainError(
            f"{folder}: got a folder without {STUDY_FILE}, expected one of a study; make one with "
            "defectstrain run IMAGES --study FOLDER"
        )
    content = read_settings(path)
    found = content.get("schema")
    if content.get("kind") != KIND or type(found) is not int or found < 1:
        raise DefectStrainError(
            f"{path}: got kind {content.get('kind')!r} and schema {found!r}, expected {KIND!r} and "
            "a number from 1"
        )
    if found > SCHEMA:
        raise DefectStrainError(
            f"{folder}: got a study of schema {found}, written by napari-defectstrain "
            f"{content.get('version', 'of a later version')}; this version knows schemas up to "
            f"{SCHEMA}: update napari-defectstrain"
        )
    for number in range(found, SCHEMA):
        if number not in MIGRATIONS:
            raise DefectStrainError(f"{path}: got schema {number}, which can't be migrated")
        content = {**MIGRATIONS[number](content), "schema": number + 1}
    return content, found


def keep_old(folder: Path, schema: int) -> Path:
    """Keep ``study.json`` of an older schema as ``study.schema_<n>.json``; returns where."""
    kept = folder / f"study.schema_{schema}.json"
    if not kept.exists():
        shutil.copy2(folder / STUDY_FILE, kept)
    return kept


def write_study_file(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``study.json``; the old one stays until the new one is whole."""
    write_json(folder / STUDY_FILE, content)


def flat_settings(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Settings by their dotted names; lists for tuples.

    >>> flat_settings({"seed": 0, "detect": {"device": "cpu"}})
    {'seed': 0, 'detect.device': 'cpu'}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found.update(flat_settings(value, f"{above}{name}."))
        else:
            found[above + name] = list(value) if isinstance(value, tuple) else value
    return found


def nested_settings(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted names as objects of objects.

    >>> nested_settings({"seed": 0, "detect.device": "cpu"})
    {'seed': 0, 'detect': {'device': 'cpu'}}
    """
    found: dict[str, Any] = {}
    for name, value in flat.items():
        *above, last = name.split(".")
        here = found
        for part in above:
            here = here.setdefault(part, {})
        here[last] = value
    return found
