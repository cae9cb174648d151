"""The folder of a study and its ``study.json``: parameters, weights and images by reference."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from .. import __version__
from ..failures import Failures
from ..io.file_names import as_paths, output_stems
from ..io.files import atomic_path, write_tiff
from ..io.formats import companion_file
from ..io.own_metadata import checked_metadata
from ..io.writing import remove_left_over
from ..pipeline.loading import load_images
from ..pipeline.runs import RunConfig
from ..progress import subprogress
from ..types import (
    CalibratedImage,
    DefectStrainError,
    Progress,
    no_progress,
)
from . import layout
from .corrections import Corrections
from .images import (
    CHANGED,
    THERE,
    FileRecord,
    ImageRecord,
    check_readable,
    file_record,
    file_state,
    find_moved,
    is_same_file,
    records_of,
)
from .journal import ABOUT, MANUAL, Journal
from .locking import Holder, Lock, time_now

BUNDLED = "bundled"
"""Name of the weights of the package."""


def weights_name(config: RunConfig) -> str:
    """What the weights that settings ask for are called."""
    return Path(config.detect.weights).name if config.detect.weights else BUNDLED


@dataclass(frozen=True)
class WeightsRecord:
    """The network whose answers a study holds.

    Parameters
    ----------
    name : str
        Of its file, or ``bundled``.
    sha256 : str
        Of its content.
    """

    name: str
    sha256: str


class StudyFolder:
    """What ``study.json`` says: parameters, weights, images; and who may write.

    What changes it is on the disk when the call returns. `close` gives it back to others; as a
    context manager it does so by itself.

    Attributes
    ----------
    path : Path
        The folder.
    read_only : bool
        Another process writes into it, or it can't be written.
    holder : Holder or None
        Who that is.
    notes : list of str
        What the user should know of how it opened.
    """

    def __init__(self, path: Path, lock: Lock | None, holder: Holder | None) -> None:
        self.path = path
        self.holder = holder
        self.notes: list[str] = []
        self._lock = lock
        self._release = weakref.finalize(self, lock.release) if lock is not None else None
        self.reload()
        if lock is not None:
            remove_left_over(path)
            self._journal.prepare()
            if self._migrated_from is not None:
                kept = layout.keep_old(path, self._migrated_from)
                self.notes.append(
                    f"{path}: migrated from schema {self._migrated_from} to {layout.SCHEMA}; "
                    f"{kept.name} is what it was"
                )
                self._save()

    def reload(self) -> None:
        """Read the folder again, for instance what another process wrote meanwhile."""
        content, schema = layout.read_study_file(self.path)
        self._migrated_from = schema if schema < layout.SCHEMA else None
        where = str(self.path / layout.STUDY_FILE)
        self._created = str(content.get("created", ""))
        self._files = records_of(content.get("files", []), where)
        self._config = RunConfig.from_dict(content.get("parameters", {}), f"{where}: parameters.")
        self._kept = self._config
        weights = content.get("weights")
        self._weights = None if not weights else WeightsRecord(weights["name"], weights["sha256"])
        self._journal = Journal(self.path)
        self._corrections = Corrections(self.path, self._journal)
        self.notes += [note for note in self._journal.notes if note not in self.notes]

    # ------------------------------------------------------------------ what it is

    def __repr__(self) -> str:
        mode = "read-only" if self.read_only else "open"
        return f"<Study {self.name}: {len(self.images)} images, {mode}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the study back: others can write; here it can be read on."""
        if self._release is not None:
            self._release()
        self._lock = self._release = None

    @property
    def name(self) -> str:
        """Of the folder, without its suffix."""
        return self.path.name.removesuffix(layout.SUFFIX)

    @property
    def read_only(self) -> bool:
        """Whether changes are refused."""
        return self._lock is None

    @property
    def writer(self) -> Holder | None:
        """Who has it open for writing now; None where nobody has."""
        return Lock.held_by(self.path)

    @property
    def results(self) -> Path:
        """The folder of its measurements, laid out as that of a run."""
        return self.path / layout.RESULTS

    @property
    def config(self) -> RunConfig:
        """Its parameters."""
        return self._config

    def set_config(self, config: RunConfig) -> None:
        """Change the parameters.

        Raises
        ------
        DefectStrainError
            As `try_config`.
        """
        self.try_config(config)
        self.keep_config()

    def try_config(self, config: RunConfig) -> None:
        """Work with other parameters, forgotten with this object unless `keep_config` is called.

        What is found or measured with them keeps them.

        Raises
        ------
        DefectStrainError
            If frames were separate images and now would be summed, or the other way round, or
            would be summed otherwise: what was corrected by its place would lie elsewhere.
        """
        self.check_writable()
        was = self._kept
        if self._files and config.frames != was.frames:
            raise DefectStrainError(
                f"{self.path}: got frames = {config.frames}, expected {was.frames}, as "
                "its images were taken; make another study"
            )
        if self._files and config.frames and config.series != was.series:
            old, new = (layout.flat_settings(c.series.to_dict()) for c in (was, config))
            name = next(name for name in new if old.get(name) != new[name])
            raise DefectStrainError(
                f"{self.path}: got series.{name} = {new[name]}, expected {old.get(name)}, by which "
                "its frames were summed: corrections go by places, which others would move; make "
                "another study"
            )
        self._config = config

    def keep_config(self) -> None:
        """Write down the parameters that are worked with, if they are others than before."""
        if self._config == self._kept:
            return
        old, new = (layout.flat_settings(c.to_dict()) for c in (self._kept, self._config))
        changed = [name for name in new if old.get(name) != new[name]]
        self._kept = self._config
        self._save()
        self._note(
            "parameters",
            {
                "from": {name: old.get(name) for name in changed},
                "to": {name: new[name] for name in changed},
            },
        )

    @property
    def weights(self) -> WeightsRecord | None:
        """The network whose answers it holds; None before the first."""
        return self._weights

    def set_weights(self, weights: WeightsRecord) -> None:
        """Take answers of another network from now on: the user was asked."""
        self.check_writable()
        before = self._weights
        if weights == before:
            return
        self._weights = weights
        self._save()
        from_ = None if before is None else {"name": before.name, "sha256": before.sha256}
        self._note(
            "weights", {"from": from_, "to": {"name": weights.name, "sha256": weights.sha256}}
        )

    # ------------------------------------------------------------------ images

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """The files that its images come from."""
        return self._files

    @property
    def images(self) -> tuple[str, ...]:
        """Names of its images."""
        return tuple(image.name for file in self._files for image in file.images)

    def record_of(self, name: str) -> ImageRecord:
        """What is known of an image without reading it.

        Raises
        ------
        DefectStrainError
            If there is none of that name.
        """
        return self._find(name)[1]

    def add_images(
        self,
        paths: str | Path | Iterable[str | Path],
        copy: bool = False,
        failures: Failures | None = None,
        progress: Progress = no_progress,
    ) -> tuple[CalibratedImage, ...]:
        """Take images in, by reference or with a copy of their files.

        Files that are in the study already, by their hash, are passed over.

        Parameters
        ----------
        paths : iterable of path, or a path
        copy : bool
            Keep a copy of each file in the study.
        failures : Failures, optional
            Collects files that can't be read; else the first is raised.
        progress : Progress

        Returns
        -------
        tuple of CalibratedImage
            Those that are new, under their names in the study.

        Raises
        ------
        DefectStrainError
            If a file is no image, or the study is read-only.
        """
        self.check_writable()
        failures = failures or Failures(strict=True)
        wanted = as_paths(paths)
        known = {file.sha256 for file in self._files}
        added: list[CalibratedImage] = []
        for i, path in enumerate(wanted):
            part = subprogress(progress, i / len(wanted), (i + 1) / len(wanted))
            with failures.left_out(path.name):
                record = file_record(path, self.path)
                if record.sha256 in known:
                    self.notes.append(f"{path.name}: is in the study already")
                    continue
                found, notes = load_images([path], self.config.frames, part, self.config.series)
                self.notes += notes
                added += self._take_in(record, found, path if copy else None)
                known.add(record.sha256)
        return tuple(added)

    def add_pixels(self, image: CalibratedImage) -> CalibratedImage:
        """Take in an image that has no file of its own: its pixels become a TIFF in the study.

        Returns
        -------
        CalibratedImage
            As it will be read: float64 becomes float32.
        """
        self.check_writable()
        (name,) = self._new_names([image.name])
        path = self._copies() / f"{name}.tif"
        about = checked_metadata(image.metadata, image.name)
        write_tiff(path, image.data, image.pixel_size_pm, about)
        (found,), _ = load_images([path], self.config.frames)
        record = replace(file_record(path, self.path), copy=path.name)
        return self._take_in(record, [found], None)[0]

    def remove_image(self, name: str) -> None:
        """Take an image out; its answer and regions are kept among the earlier files."""
        self.check_writable()
        file, image = self._find(name)
        left = tuple(one for one in file.images if one.name != name)
        if len(file.images) > 1:
            raise DefectStrainError(
                f"{name}: got one of {len(file.images)} images of {file.file_name}, expected a "
                "file of its own; make another study without it"
            )
        self._files = tuple(f for f in self._files if f is not file or left)
        self._save()
        self._note("removed", {"file": file.to_dict()}, name)
        self._corrections.put_away(name)

    def load_images(
        self,
        names: Iterable[str] | None = None,
        failures: Failures | None = None,
        progress: Progress = no_progress,
    ) -> tuple[list[CalibratedImage], list[str]]:
        """Read images, each checked by its hash.

        Parameters
        ----------
        names : iterable of str, optional
            Those that are wanted; default all.
        failures : Failures, optional
            Collects images that are gone or were changed; else the first is raised.
        progress : Progress

        Returns
        -------
        images : list of CalibratedImage
            In the order of the study.
        notes : list of str

        Raises
        ------
        DefectStrainError
            If a file is gone, was changed, or can't be read.
        """
        failures = failures or Failures(strict=True)
        wanted = set(self.images if names is None else names)
        for name in wanted:
            self._find(name)
        files = [f for f in self._files if wanted & {image.name for image in f.images}]
        images: list[CalibratedImage] = []
        notes: list[str] = []
        for i, file in enumerate(files):
            part = subprogress(progress, i / len(files), (i + 1) / len(files))
            with failures.left_out(file.file_name):
                path = self.path_of(file)
                found, said = load_images([path], self.config.frames, part, self.config.series)
                if len(found) != len(file.images):
                    raise DefectStrainError(
                        f"{path}: got {len(found)} images, expected {len(file.images)}, as the "
                        "study has them; was it made by another version?"
                    )
                notes += said
                images += [
                    record.calibrated(image)
                    for image, record in zip(found, file.images, strict=True)
                    if record.name in wanted
                ]
        return images, notes

    def path_of(self, file: FileRecord) -> Path:
        """Where a file lies, its content checked.

        Raises
        ------
        DefectStrainError
            If it is gone or was changed; the message says what can be done.
        """
        state, path = file_state(file, self.path)
        if state == THERE:
            return path
        if state == CHANGED:
            check_readable(path)
            raise DefectStrainError(
                f"{path}: was changed since it was taken into the study {self.name}; put the old "
                "file back, or accept the new one (defectstrain status STUDY --accept-changed), "
                "whose columns will be looked for again"
            )
        moved = find_moved([file], [self.path.parent]).get(file)
        where = "look for it with defectstrain status STUDY --find FOLDER"
        if moved is not None:
            where = (
                f"the same file lies at {moved}: take that one with defectstrain status STUDY "
                f"--find {moved.parent}"
            )
        raise DefectStrainError(f"{path}: is gone, moved or renamed; {where}")

    def states(self, trust_times: bool = True) -> dict[FileRecord, tuple[str, Path]]:
        """What became of each file: there, changed or missing, and the path that is meant."""
        return {file: file_state(file, self.path, trust_times) for file in self._files}

    def find_missing(
        self, folders: str | Path | Iterable[str | Path] = ()
    ) -> dict[FileRecord, Path]:
        """Where the files that are gone lie now, by their hash; nothing is changed.

        Parameters
        ----------
        folders : iterable of path, or a path
            Looked through, and the one that the study lies in.
        """
        missing = [file for file, (state, _) in self.states().items() if state != THERE]
        return find_moved(missing, [*as_paths(folders), self.path.parent])

    def relocate(self, file: FileRecord, path: str | Path) -> None:
        """Say where a file lies now.

        Raises
        ------
        DefectStrainError
            If that one has other bytes.
        """
        self.check_writable()
        path = Path(path)
        if not is_same_file(file, path):
            raise DefectStrainError(
                f"{path}: got another content than that of {file.file_name}, expected the same "
                "file; add it as another image, or accept it as a changed one"
            )
        found = file_record(path, self.path)
        new = replace(file, path=found.path, absolute=found.absolute)
        self._replace_file(file, replace(new, modified_ns=found.modified_ns))
        self._note("moved", {"from": file.absolute, "to": found.absolute})

    def accept_changed(self, file: FileRecord) -> FileRecord:
        """Take a changed file as it is now; its images' columns are to be looked for again.

        Raises
        ------
        DefectStrainError
            If it isn't changed, or holds images of other shapes.
        """
        self.check_writable()
        state, path = file_state(file, self.path)
        if state != CHANGED:
            raise DefectStrainError(f"{path}: is {state}, expected a file that was changed")
        found, _ = load_images([path], self.config.frames, series=self.config.series)
        shapes = [image.data.shape for image in found]
        if shapes != [(image.height, image.width) for image in file.images]:
            raise DefectStrainError(
                f"{path}: got images of {shapes}, expected those of the study; remove the image "
                "and add it anew"
            )
        names = [image.name for image in file.images]
        records = [_image_record(n, image) for n, image in zip(names, found, strict=True)]
        new = replace(file_record(path, self.path, records), copy=file.copy)
        self._replace_file(file, new)
        self._note("changed", {"file": file.absolute, "from": file.sha256, "to": new.sha256})
        return new

    # ------------------------------------------------------------------ inside

    def check_writable(self) -> None:
        """See that it can be changed.

        Raises
        ------
        DefectStrainError
            If another process has it open, and which.
        """
        if self._lock is not None and self._lock.is_own:
            return
        if not self.path.is_dir():
            raise DefectStrainError(
                f"{self.path}: the study's folder is gone; put it back where it was, or open it "
                "where it is now, and repeat what you did last"
            )
        if self._lock is not None:  # forced by another machine
            self.close()
            self.holder = Lock.held_by(self.path)
        who = f"{self.holder} has it open" if self.holder is not None else "it isn't open for that"
        raise DefectStrainError(
            f"{self.path}: got a change of a study that is read-only: {who}; close it there, and "
            "open it here again"
        )

    def _find(self, name: str) -> tuple[FileRecord, ImageRecord]:
        for file in self._files:
            for image in file.images:
                if image.name == name:
                    return file, image
        known = ", ".join(self.images[:8]) or "none"
        raise DefectStrainError(f"{self.path}: got no image {name}, expected one of {known}")

    def _new_names(self, names: Sequence[str]) -> list[str]:
        """Names for images that come in: those that are there keep theirs."""
        taken = list(self.images)
        return output_stems([*taken, *names])[len(taken) :]

    def _take_in(
        self, record: FileRecord, found: Sequence[CalibratedImage], copied: Path | None
    ) -> list[CalibratedImage]:
        names = self._new_names([image.name for image in found])
        if copied is not None:
            target = self._copies() / f"{names[0]}{copied.suffix}"
            beside = companion_file(copied)
            if beside is not None:  # it names the image: both keep their names
                target = self._copies() / names[0] / copied.name
                target.parent.mkdir(exist_ok=True)
                with atomic_path(target.with_name(beside.name)) as part:
                    shutil.copy2(beside, part)
            with atomic_path(target) as part:
                shutil.copy2(copied, part)
            record = replace(record, copy=target.relative_to(self._copies()).as_posix())
        named = [replace(image, name=name) for image, name in zip(found, names, strict=True)]
        records = tuple(_image_record(image.name, image) for image in named)
        if not self._files:  # how frames are taken holds for all that follow
            self.keep_config()
        record = replace(record, images=records)
        self._files = (*self._files, record)
        self._save()
        self._note("added", {"file": record.absolute, "sha256": record.sha256, "images": names})
        return named

    def _copies(self) -> Path:
        folder = self.path / layout.IMAGES
        folder.mkdir(exist_ok=True)
        return folder

    def _replace_file(self, old: FileRecord, new: FileRecord) -> None:
        self._files = tuple(new if file == old else file for file in self._files)
        self._save()

    def _note(self, what: str, content: Mapping[str, Any], image: str = "") -> None:
        edit = self._journal.append(ABOUT, {what: content}, MANUAL, image)
        self._corrections.take_note(edit)

    def _save(self) -> None:
        content = {
            "kind": layout.KIND,
            "schema": layout.SCHEMA,
            "version": __version__,
            "created": self._created,
            "changed": time_now(),
            "weights": _values(self._weights),
            "parameters": self._kept.to_dict(),
            "files": [file.to_dict() for file in self._files],
        }
        layout.write_study_file(self.path, content)


def _values(weights: WeightsRecord | None) -> dict[str, str] | None:
    """As JSON has them."""
    return None if weights is None else dict(name=weights.name, sha256=weights.sha256)


def _image_record(name: str, image: CalibratedImage) -> ImageRecord:
    height, width = image.data.shape
    return ImageRecord(name, height, width, image.pixel_size_pm)
