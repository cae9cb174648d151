"""A study that is open: columns, regions and windows with every correction, and the way in."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from .. import __version__
from ..crystal.regions import Regions
from ..failures import Failures
from ..io.files import write_json
from ..io.unfinished import json_object
from ..io.writing import is_left_over
from ..pipeline.runs import RunConfig
from ..types import ClassStack, DefectStrainError, Progress, Sites, no_progress
from . import layout
from .corrections import Answer
from .folder import StudyFolder, WeightsRecord, weights_name
from .journal import ABOUT, MANUAL, MODEL, Edit, edit_rows
from .locking import Lock, time_now
from .windows import WindowChoice, with_choices

RUN_FILE = "run.json"
"""What says that a folder of results is whole."""
SAME_SIZE = 1e-6
"""Pixel sizes are the same up to this share."""


class Study(StudyFolder):
    """A study that is open; made by `create_study` and `open_study`.

    What changes it is on the disk when the call returns. `close` gives it back to others; as a
    context manager it does so by itself.
    """

    # ------------------------------------------------------------------ columns, regions, windows

    def has_sites(self, name: str) -> bool:
        """Whether the columns of an image are known."""
        return self._corrections.has_answer(name)

    def model_sites(self, name: str) -> Sites:
        """The columns of an image as the model gave them."""
        return self._corrections.answer(self._find(name)[1].name)

    def sites(self, name: str) -> Sites:
        """The columns of an image with every correction.

        Raises
        ------
        DefectStrainError
            If there is no such image, or its columns aren't known.
        """
        return self._corrections.corrected(self._find(name)[1].name).sites

    def answer_of(self, name: str) -> Answer:
        """Where the columns of an image came from."""
        return self._corrections.answer_of(name)

    def set_sites(self, name: str, sites: Sites, about: Answer | None = None) -> Edit | None:
        """Take an answer of the model, or a table that stands for one.

        Corrections of an earlier answer are carried over by their places; that one is kept. None
        where it is known already. The weights of the first answer become those of the study.
        """
        self.check_writable()
        self.keep_config()
        pixel = self._find(name)[1].size_pm
        about = about or Answer()
        if self.weights is None and about.by == MODEL and about.weights_sha256:
            self.set_weights(WeightsRecord(weights_name(self.config), about.weights_sha256))
        return self._corrections.set_answer(name, sites, about, pixel)

    def record(self, name: str, sites: Sites, by: str = MANUAL, user: str = "") -> Edit | None:
        """Write a correction into the journal.

        Parameters
        ----------
        name : str
            Of the image.
        sites : Sites
            All of its columns as they are now; what differs from `sites` is the edit.
        by : str
            ``manual``, ``model`` or ``file``.
        user : str
            Default: who works here.

        Returns
        -------
        Edit or None
            None where nothing differs.
        """
        self.check_writable()
        self._find(name)
        return self._corrections.record(name, sites, by, user)

    def edited_columns(self, name: str) -> int:
        """How many columns of an image were corrected."""
        return self._corrections.changed_columns(name)

    def steps_back(self, names: Sequence[str]) -> list[int]:
        """Numbers of the edits of images that can be taken back, the oldest first.

        Those that hands made of columns since they were found last, without what was taken back.
        """
        return self._corrections.steps([self._find(name)[1].name for name in names])

    def sites_before(self, name: str, number: int) -> Sites:
        """The columns of an image as they were before an edit.

        Parameters
        ----------
        name : str
            Of the image.
        number : int
            Of an edit since its columns were found last, as `steps_back` gives it.
        """
        return self._corrections.corrected_before(self._find(name)[1].name, number)

    def set_pixel_size(self, name: str, size_pm: float, by: str = "given") -> None:
        """Let another pixel size count for an image than its file states; nothing where it does.

        Parameters
        ----------
        name : str
            Of the image.
        size_pm : float
            Side of a pixel [pm].
        by : str
            ``given`` by hand, or ``lattice``.
        """
        self.check_writable()
        file, image = self._find(name)
        if image.size_pm is not None and abs(size_pm / image.size_pm - 1) < SAME_SIZE:
            return
        stated = image.pixel_size_pm
        as_file = stated is not None and abs(size_pm / stated - 1) < SAME_SIZE
        given = replace(image, given_pm=None, given_by="") if as_file else None
        new = given or replace(image, given_pm=size_pm, given_by=by)
        images = tuple(new if one is image else one for one in file.images)
        self._replace_file(file, replace(file, images=images))
        self._note("pixel size", {"from": image.size_pm, "to": size_pm, "by": by}, name)

    def has_regions(self, name: str) -> bool:
        """Whether the regions of an image are known."""
        return self._corrections.has_regions(name)

    def regions(self, name: str) -> Regions:
        """The regions of an image."""
        return self._corrections.regions(name)

    def regions_by(self, name: str) -> str:
        """Who made the regions of an image: ``model``, ``manual`` or ``file``."""
        return self._corrections.regions_by(name)

    def set_regions(
        self, name: str, regions: Regions, by: str = MANUAL, user: str = ""
    ) -> Edit | None:
        """Take regions of an image; those before are kept. None where nothing differs."""
        self.check_writable()
        pixel = self._find(name)[1].size_pm
        return self._corrections.set_regions(name, regions, by, pixel, user)

    @property
    def windows(self) -> tuple[WindowChoice, ...]:
        """Windows that were left out of averages or put back by hand."""
        return self._corrections.window_choices

    def record_windows(
        self, before: ClassStack, after: ClassStack, images: Sequence[str], user: str = ""
    ) -> Edit | None:
        """Write down which windows of a class were left out or put back.

        Parameters
        ----------
        before, after : ClassStack
            The same windows.
        images : sequence of str
            Names, in the order of `ClassStack.image_index`.
        user : str
        """
        self.check_writable()
        return self._corrections.record_windows(before, after, images, user)

    def with_windows(
        self, stacks: Mapping[str, ClassStack], images: Sequence[str]
    ) -> tuple[dict[str, ClassStack], list[str]]:
        """The stacks with what was chosen by hand, and what is to be said."""
        return with_choices(stacks, self.windows, images)

    # ------------------------------------------------------------------ history, window

    def note_measured(self, images: Sequence[str], what: str = "all") -> None:
        """Write down that `results` are made of everything up to now; ``all``, or ``columns``."""
        self.check_writable()
        content = {"what": what, "images": list(images), "version": __version__}
        self._note("measured", content)

    def edits_since_measured(self) -> int | None:
        """Edits that the results don't know; None where there are no results."""
        if not (self.results / RUN_FILE).is_file():
            return None
        history = self.history()
        last = next((edit.number for edit in reversed(history) if _is_measured(edit)), 0)
        return sum(edit.number > last for edit in history)

    @property
    def is_measured(self) -> bool:
        """Whether classes were measured when the results were written, not only columns found."""
        last = next((edit for edit in reversed(self.history()) if _is_measured(edit)), None)
        return last is not None and last.content["measured"].get("what") == "all"

    def history(self, name: str | None = None) -> tuple[Edit, ...]:
        """Every edit, or those of an image, the oldest first."""
        edits = self._journal.history()
        return tuple(edit for edit in edits if name is None or edit.image == name)

    def history_table(self) -> pd.DataFrame:
        """One row for each thing that an edit changed: who, when, from what, to what."""
        names = ["edit", "when", "user", "by", "what", "image", "column", "from", "to"]
        return pd.DataFrame(edit_rows(self.history()), columns=names)

    def compact(self) -> Path | None:
        """Begin a new part of the journal; the history stays readable. None where it is empty."""
        self.check_writable()
        return self._corrections.compact()

    @property
    def window(self) -> dict[str, Any]:
        """What the viewer and its widgets look like: JSON that is theirs alone."""
        return json_object(self.path / layout.WINDOW_FILE)

    def set_window(self, **parts: Any) -> None:
        """Keep parts of what the viewer and its widgets look like, for instance ``viewer``.

        Parameters
        ----------
        **parts
            JSON values, each replacing the part of its name; None removes it.
        """
        self.check_writable()
        kept = {**self.window, **parts}
        content = {name: value for name, value in kept.items() if value is not None}
        write_json(self.path / layout.WINDOW_FILE, content)


def _is_measured(edit: Edit) -> bool:
    """Whether it is the note of a measurement."""
    return edit.what == ABOUT and "measured" in edit.content


def create_study(
    path: str | Path,
    config: RunConfig | None = None,
    images: str | Path | Iterable[str | Path] = (),
    copy: bool = False,
    failures: Failures | None = None,
    progress: Progress = no_progress,
) -> Study:
    """Make a study, open for writing.

    Parameters
    ----------
    path : path
        Of its folder, which must not hold anything; ``.defectstrain`` is added where it lacks.
    config : RunConfig, optional
        Its parameters.
    images : iterable of path, or a path
        Taken in at once.
    copy : bool
        With copies of their files.
    failures : Failures, optional
        Collects files that can't be read; else the first is raised.
    progress : Progress

    Raises
    ------
    DefectStrainError
        If there is something at that place, or an image (with `failures`, every image) can't be
        read: then nothing is left there.
    """
    folder = layout.study_path(path)
    if folder.name in ("", ".."):
        folder = folder.resolve()
        if folder.suffix != layout.SUFFIX:
            raise DefectStrainError(
                f"{path}: got the folder {folder}, expected a name for the study's own folder"
            )
    if folder.suffix != layout.SUFFIX:
        folder = folder.with_name(folder.name + layout.SUFFIX)
    if layout.is_study(folder):
        raise DefectStrainError(f"{folder}: got a study that is there already; open it instead")
    if folder.exists() and (not folder.is_dir() or not _is_empty(folder)):
        raise DefectStrainError(f"{folder}: got something that is no study, expected nothing there")
    was_there = folder.exists()
    made = [path for path in folder.absolute().parents if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DefectStrainError(f"{folder}: can't be created: {error.strerror}") from error
    lock = Lock(folder)
    holder = lock.take()
    if holder is not None:
        raise DefectStrainError(f"{folder}: {holder} is making a study there")
    layout.write_study_file(
        folder,
        {
            "kind": layout.KIND,
            "schema": layout.SCHEMA,
            "version": __version__,
            "created": time_now(),
            "parameters": (config or RunConfig()).to_dict(),
            "files": [],
        },
    )
    study = Study(folder, lock, None)
    try:
        study.add_images(images, copy, failures, progress)
        if failures is not None and failures.found:
            failures.check_any_left(study.images)
    except BaseException:
        study.close()
        shutil.rmtree(folder, ignore_errors=True)  # it was empty: all that is in it is ours
        if was_there:
            folder.mkdir()
        with suppress(OSError):  # another process put something there
            for path in made:
                path.rmdir()
        raise
    return study


def open_study(path: str | Path, read_only: bool = False, take_over: bool = False) -> Study:
    """Open a study, for writing if nobody else does.

    Parameters
    ----------
    path : path
        Its folder, with or without ``.defectstrain``, or the ``study.json`` in it.
    read_only : bool
        Don't write, and don't keep others from writing.
    take_over : bool
        Write even if a process of another machine has it open: you know that it is gone.

    Returns
    -------
    Study
        Read-only where another process has it open; its `notes` say who.

    Raises
    ------
    DefectStrainError
        If there is no study, it is damaged, or of a later version.
    """
    folder = layout.named_folder(path)
    layout.read_study_file(folder)  # a later version's isn't even locked
    lock, holder, note = None, None, ""
    if not read_only:
        lock = Lock(folder)
        try:
            holder = lock.take(take_over)
            if holder is not None:
                note = f"{folder}: opened for reading only: {holder} has it open"
                if not holder.is_here:
                    note += f"; if that is gone for good, remove {lock.path.name} or take it over"
        except DefectStrainError as error:
            note = f"{folder}: opened for reading only: {error}"
        if note:
            lock = None
    try:
        study = Study(folder, lock, holder)
    except BaseException:
        if lock is not None:
            lock.release()
        raise
    if note:
        study.notes.insert(0, note)
    return study


def _is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but what a killed maker of a study left."""
    return all(p.name == layout.LOCK_FILE or is_left_over(p) for p in folder.iterdir())
