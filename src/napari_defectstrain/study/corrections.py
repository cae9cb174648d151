"""Answers of the model, what hands made of them, and regions: files and lines of the journal.

A file of an answer or of regions is written first and then named in the journal with its hash, the
one before it kept in ``earlier``: whenever a process is killed, the last line of the journal names
a file that is whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..crystal.region_files import LABELS_SUFFIX, TABLE_SUFFIX, read_regions, write_regions
from ..crystal.regions import Domain, Regions
from ..io.files import atomic_path, read_sites, sites_table, write_json, write_table
from ..io.out_folder import file_sha256
from ..io.unfinished import json_object
from ..types import ClassStack, DefectStrainError, Sites
from .journal import ABOUT, ANSWER, COLUMNS, MANUAL, MODEL, REGIONS, WINDOWS, Edit, Journal
from .layout import EARLIER, REGIONS_FOLDER, SITES, STATE_FILE
from .replay import (
    Change,
    NumberedSites,
    carried_over,
    changes_between,
    combined,
    numbered,
    takes_back,
    with_changes,
)
from .windows import WindowChoice, choices_of, window_changes, without_images

SITES_SUFFIX = ".sites.csv"


@dataclass(frozen=True)
class Answer:
    """What an answer of the model, or a table that stands for one, came from.

    Parameters
    ----------
    by : str
        `MODEL` or `FILE`.
    weights_sha256 : str
        Of the network; empty where there was none.
    key : str
        Of the images and settings that it came from: the same key gives the same answer.
    overconfidence : tuple of float
        As `RunResult.overconfidence`.
    open_classes : tuple of mappings
        Records of `materials.OpenClass`.
    warnings : tuple of str
        What was said of this image, and of all together.
    """

    by: str = MODEL
    weights_sha256: str = ""
    key: str = ""
    overconfidence: tuple[float, ...] = ()
    open_classes: tuple[Mapping[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass
class _State:
    """What the journal says up to now; all by the name of the image."""

    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    changes: dict[str, list[Change]] = field(default_factory=dict)
    next_number: dict[str, int] = field(default_factory=dict)
    regions: dict[str, dict[str, Any]] = field(default_factory=dict)
    windows: list[Edit] = field(default_factory=list)

    def take(self, edit: Edit) -> None:
        """One more edit."""
        if edit.what == ANSWER:
            self.answers[edit.image] = {**edit.content, "by": edit.by, "when": edit.when}
            self.changes[edit.image] = list(edit.content.get("changes", ()))
            self.next_number[edit.image] = 0
        elif edit.what == COLUMNS:
            self.changes.setdefault(edit.image, []).extend(edit.content["changes"])
        elif edit.what == REGIONS:
            self.regions[edit.image] = {**edit.content, "by": edit.by, "when": edit.when}
        elif edit.what == WINDOWS:
            self.windows.append(edit)
        elif edit.what == ABOUT:  # an image that comes has no past, whatever it is called
            names = edit.content.get("added", {}).get("images", [])
            self.forget([*names, edit.image] if "removed" in edit.content else names)

    def forget(self, names: Sequence[str]) -> None:
        """Nothing is known any more of some images."""
        for name in names:
            for known in (self.answers, self.changes, self.next_number, self.regions):
                known.pop(name, None)
        self.windows = (
            [without_images(edit, names) for edit in self.windows] if names else (self.windows)
        )


class Corrections:
    """Columns, regions and windows of a study's folder.

    Parameters
    ----------
    folder : Path
    journal : Journal
    """

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._folder, self._journal = folder, journal
        self._state = _State()
        self._known: dict[str, NumberedSites] = {}
        up_to = self._read_state()
        # Without a state that can be read the whole history is. With one, a crash may have come
        # between it and the part that it stands for.
        for edit in journal.edits if up_to else journal.history():
            if edit.number > up_to:
                self._state.take(edit)

    # ------------------------------------------------------------------ columns

    def has_answer(self, name: str) -> bool:
        """Whether the columns of an image are known."""
        return name in self._state.answers

    def answer_of(self, name: str) -> Answer:
        """Where the columns of an image came from.

        Raises
        ------
        DefectStrainError
            If none are known.
        """
        said = self._said(name)
        return Answer(
            by=str(said["by"]),
            weights_sha256=str(said.get("weights_sha256", "")),
            key=str(said.get("key", "")),
            overconfidence=tuple(_or_nan(v) for v in said.get("overconfidence", ())),
            open_classes=tuple(said.get("open_classes", ())),
            warnings=tuple(str(v) for v in said.get("warnings", ())),
        )

    def answer(self, name: str) -> Sites:
        """The columns of an image as the model, or a table, gave them.

        Raises
        ------
        DefectStrainError
            If none are known, or their file isn't as it was written.
        """
        said = self._said(name)
        path = self._file_of(SITES, f"{name}{SITES_SUFFIX}", str(said["sha256"]))
        return read_sites(path, tuple(str(c) for c in said["class_names"]))

    def corrected(self, name: str) -> NumberedSites:
        """The columns of an image with all corrections, under their numbers."""
        if name not in self._known:
            changes, following = combined(self._state.changes.get(name, ()))
            first = numbered(self.answer(name))
            found = with_changes(first, changes)
            following = max(following, self._state.next_number.get(name, 0), found.next_number)
            self._known[name] = NumberedSites(found.sites, found.number, following)
        return self._known[name]

    def changed_columns(self, name: str) -> int:
        """How many columns differ from the answer: what was taken back doesn't."""
        if not combined(self._state.changes.get(name, ()))[0]:
            return 0
        # by place: a column that was removed and put back has a number of its own
        return len(changes_between(numbered(self.answer(name)), self.corrected(name).sites))

    def steps(self, names: Sequence[str]) -> list[int]:
        """Numbers of the edits of some images by hand that could be taken back, the oldest first.

        None from before an answer came, or anything else that no hand did; none that was taken
        back already.
        """
        found: list[Edit] = []
        for edit in self._journal.history():
            if edit.image not in names or edit.what not in (ANSWER, COLUMNS):
                continue
            if edit.what == ANSWER or edit.by != MANUAL:
                found.clear()
                continue
            # edits of several images go past each other
            last = next((one for one in reversed(found) if one.image == edit.image), None)
            if last and takes_back(edit.content["changes"], last.content["changes"]):
                found.remove(last)
            else:
                found.append(edit)
        return [edit.number for edit in found]

    def corrected_before(self, name: str, number: int) -> Sites:
        """The columns of an image as they were before an edit after its last answer."""
        changes: list[Change] = []
        for edit in self._journal.history():
            if edit.image == name and edit.number < number:
                if edit.what == ANSWER:
                    changes = list(edit.content.get("changes", ()))
                elif edit.what == COLUMNS:
                    changes.extend(edit.content["changes"])
        return with_changes(numbered(self.answer(name)), combined(changes)[0]).sites

    def set_answer(
        self, name: str, sites: Sites, about: Answer, pixel_size_pm: float | None, user: str = ""
    ) -> Edit | None:
        """Write an answer down; corrections of an earlier one are carried over by their places.

        None where the answer, and what it came from, are as they were.
        """
        path = self._folder / SITES / f"{name}{SITES_SUFFIX}"
        path.parent.mkdir(exist_ok=True)
        old = new = kept = None
        if self.has_answer(name):
            old, new = numbered(self.answer(name)), self.corrected(name)
        with atomic_path(path) as part:
            write_table(part, sites_table(sites, pixel_size_pm))
            sha256 = file_sha256(part)
            if old is not None and self._is_same(name, sha256, about):
                return None
            kept = self._keep(path)
        changes: list[Change] = []
        if old is not None and new is not None:
            written = read_sites(path, sites.class_names)  # rounded, as it will be read
            changes = carried_over(old, new, written)
        content: dict[str, Any] = {
            "sha256": sha256,
            "columns": len(sites),
            "class_names": list(sites.class_names),
            "weights_sha256": about.weights_sha256,
            "key": about.key,
            "overconfidence": [_finite(v) for v in about.overconfidence],
            "open_classes": [dict(one) for one in about.open_classes],
            "warnings": list(about.warnings),
        }
        if kept is not None:
            content["before"] = f"{EARLIER}/{kept.name}"
        if changes:
            content["changes"] = changes
        return self._append(ANSWER, content, about.by, name, user)

    def record(self, name: str, after: Sites, by: str = MANUAL, user: str = "") -> Edit | None:
        """Write down what changes the columns of an image into others; None where nothing does."""
        changes = changes_between(self.corrected(name), after)
        if not changes:
            return None
        return self._append(COLUMNS, {"changes": changes}, by, name, user)

    # ------------------------------------------------------------------ regions

    def has_regions(self, name: str) -> bool:
        """Whether the regions of an image are known."""
        return name in self._state.regions

    def regions_by(self, name: str) -> str:
        """Who made them."""
        return str(self._state.regions[name]["by"])

    def regions(self, name: str) -> Regions:
        """The regions of an image.

        Raises
        ------
        DefectStrainError
            If none are known, or their file isn't as it was written.
        """
        if name not in self._state.regions:
            raise DefectStrainError(f"{name}: got no regions, expected some; run the study first")
        said = self._state.regions[name]
        path = self._file_of(REGIONS_FOLDER, f"{name}{LABELS_SUFFIX}", str(said["sha256"]))
        domains = tuple(
            Domain(
                int(one["label"]),
                int(one["area_px"]),
                _or_nan(one["orientation_deg"]),
                int(one["sense"]),
            )
            for one in said["domains"]
        )
        return Regions(read_regions(path).labels, domains)

    def set_regions(
        self, name: str, regions: Regions, by: str, pixel_size_pm: float | None, user: str = ""
    ) -> Edit | None:
        """Write regions down; None where they are as they were."""
        if self.has_regions(name) and _same_regions(self.regions(name), regions):
            return None
        folder = self._folder / REGIONS_FOLDER
        folder.mkdir(exist_ok=True)
        kept = self._keep(folder / f"{name}{LABELS_SUFFIX}")
        write_regions(regions, lambda file: folder / file, name, pixel_size_pm)
        content: dict[str, Any] = {
            "sha256": file_sha256(folder / f"{name}{LABELS_SUFFIX}"),
            "domains": [
                {
                    "label": d.index,
                    "area_px": d.area_px,
                    "orientation_deg": d.orientation_deg
                    if np.isfinite(d.orientation_deg)
                    else None,
                    "sense": d.sense,
                }
                for d in regions.domains
            ],
        }
        if kept is not None:
            content["before"] = f"{EARLIER}/{kept.name}"
        return self._append(REGIONS, content, by, name, user)

    # ------------------------------------------------------------------ windows

    @property
    def window_choices(self) -> tuple[WindowChoice, ...]:
        """Windows left out and put back by hand."""
        return choices_of(self._state.windows)

    def record_windows(
        self, before: ClassStack, after: ClassStack, images: Sequence[str], user: str = ""
    ) -> Edit | None:
        """Write down which windows were left out or put back; None where none were."""
        content = window_changes(before, after, images)
        return None if content is None else self._append(WINDOWS, content, MANUAL, "", user)

    # ------------------------------------------------------------------ files

    def take_note(self, edit: Edit) -> None:
        """Images came or went: what is known of those that went isn't that of others."""
        self._state.take(edit)
        self._known = {n: known for n, known in self._known.items() if self.has_answer(n)}

    def put_away(self, name: str) -> None:
        """Move the files of an image that is no longer in the study to the earlier ones."""
        for folder, suffix in (
            (SITES, SITES_SUFFIX),
            (REGIONS_FOLDER, LABELS_SUFFIX),
            (REGIONS_FOLDER, TABLE_SUFFIX),
        ):
            path = self._folder / folder / f"{name}{suffix}"
            if self._keep(path) is not None:
                path.unlink()

    def compact(self) -> Path | None:
        """Write the state down and begin a new part of the journal; None if there was nothing."""
        if not self._journal.edits:
            return None
        state = self._state
        for name, changes in state.changes.items():
            following = self.corrected(name).next_number if self.has_answer(name) else 0
            state.changes[name], _ = combined(changes)
            state.next_number[name] = following
        write_json(
            self._folder / STATE_FILE,
            {
                "up_to": self._journal.last_number,
                "answers": state.answers,
                "changes": state.changes,
                "next_number": state.next_number,
                "regions": state.regions,
                "windows": [edit.to_values() for edit in state.windows],
            },
        )
        return self._journal.close_part()

    def _read_state(self) -> int:
        """Take what closed parts led to; the number of its last edit, 0 where it can't be read."""
        values = json_object(self._folder / STATE_FILE)
        try:
            state = _State(
                answers=dict(values["answers"]),
                changes={name: list(changes) for name, changes in values["changes"].items()},
                next_number={name: int(n) for name, n in values["next_number"].items()},
                regions=dict(values["regions"]),
                windows=[Edit.from_values(one) for one in values["windows"]],
            )
            up_to = int(values["up_to"])
        except (KeyError, TypeError, ValueError, AttributeError):
            return 0
        self._state = state
        return up_to

    def _append(
        self, what: str, content: Mapping[str, Any], by: str, image: str, user: str
    ) -> Edit:
        edit = self._journal.append(what, content, by, image, user)
        self._state.take(edit)
        if what == ANSWER:
            self._known.pop(image, None)
        elif what == COLUMNS and image in self._known:
            self._known[image] = with_changes(self._known[image], content["changes"])
        return edit

    def _is_same(self, name: str, sha256: str, about: Answer) -> bool:
        """Whether an answer is the one that is known."""
        return self._said(name)["sha256"] == sha256 and self.answer_of(name) == about

    def _said(self, name: str) -> dict[str, Any]:
        if name not in self._state.answers:
            raise DefectStrainError(
                f"{name}: got no columns, expected some; run the study, or detect them, first"
            )
        return self._state.answers[name]

    def _file_of(self, folder: str, file_name: str, sha256: str) -> Path:
        """The file that the journal means: the present one, or one that a crash left behind."""
        path = self._folder / folder / file_name
        if path.is_file() and file_sha256(path) == sha256:
            return path
        kept = self._folder / EARLIER / _earlier_name(path, sha256)
        if kept.is_file() and file_sha256(kept) == sha256:
            return kept
        if path.is_file():
            raise DefectStrainError(
                f"{path}: was changed outside of the study; put it back as it was, or open it as "
                "the columns or regions of its image, which keeps the change in the history"
            )
        raise DefectStrainError(f"{path}: is gone; restore it from a backup")

    def _keep(self, path: Path) -> Path | None:
        """A copy of a file that is going to be replaced, named by its hash."""
        if not path.is_file():
            return None
        folder = self._folder / EARLIER
        folder.mkdir(exist_ok=True)
        kept = folder / _earlier_name(path, file_sha256(path))
        if not kept.exists():
            with atomic_path(kept) as part:
                shutil.copy2(path, part)
        return kept


def _earlier_name(path: Path, sha256: str) -> str:
    """Name of the copy of a file that was replaced."""
    suffix = next(s for s in (SITES_SUFFIX, LABELS_SUFFIX, TABLE_SUFFIX) if path.name.endswith(s))
    return f"{path.name.removesuffix(suffix)}.{sha256[:12]}{suffix}"


def _finite(value: float) -> float | None:
    """As JSON has it."""
    return float(value) if np.isfinite(value) else None


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _same_regions(one: Regions, other: Regions) -> bool:
    return bool(
        one.labels.shape == other.labels.shape and np.array_equal(one.labels, other.labels)
    ) and [(d.index, d.area_px, d.sense) for d in one.domains] == [
        (d.index, d.area_px, d.sense) for d in other.domains
    ]
