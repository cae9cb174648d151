"""A study measured: what is known of it is taken, what is missing is found, results are written.

Every measurement is made of what lies in the study, as it will be read again: whether its columns
were found just now or a year ago changes no digit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from ..crystal.regions import Regions
from ..failures import Failures
from ..io.files import write_table
from ..io.out_folder import check_out_dir, writing_into
from ..io.stage_store import STAGES, StageStore
from ..judge.identity import IDENTITY_PREFIX, Identity
from ..materials import OpenClass
from ..pipeline import chain as pipeline
from ..pipeline.fitness import identity_of_run
from ..pipeline.ranges import out_of_range, trained_for
from ..pipeline.runs import Meanwhile, RunResult
from ..pipeline.work import Work
from ..progress import subprogress
from ..study import corrections_table
from ..study.corrections import Answer
from ..study.journal import FILE, MODEL
from ..study.opening import Study
from ..study.weights import answer_key, check_weights_of
from ..theory.reference import Reference
from ..types import CalibratedImage, ClassStack, DefectStrainError, Progress, no_progress
from .results import EDITS_FILE, RUN_FILE, write_detections, write_run
from .whole_runs import measured_and_written


def run_study(
    study: Study,
    formats: Sequence[str] = ("png",),
    references: Mapping[str, Reference] | None = None,
    failures: Failures | None = None,
    new_weights: bool = False,
    detect_only: bool = False,
    progress: Progress = no_progress,
    work: Work | None = None,
) -> RunResult:
    """Measure a study with all its corrections, and write the results into it.

    Columns are looked for where none are known, or where images or settings changed that they
    depend on; corrections by hand are carried over to new answers by their places.

    Parameters
    ----------
    study : Study
        Open for writing.
    formats : sequence of str
        Of the figures.
    references : mapping of class to Reference, optional
        Structures to compare with, in the place of bundled ones.
    failures : Failures, optional
        Collects images that can't be used, which are left out; else the first is raised.
    new_weights : bool
        Take the weights that the settings ask for, even if the study holds answers of others.
    detect_only : bool
        Find and count the columns, measure nothing.
    progress : Progress
    work : Work, optional
        Who does the stages, and what is kept; default: this process, all in the study.

    Returns
    -------
    RunResult

    Raises
    ------
    DefectStrainError
        If there is no image, the study is read-only, its weights are others, or nothing can be
        measured.
    """
    if not study.images:
        raise DefectStrainError(f"{study.path}: got a study without images; add some first")
    study.check_writable()
    check_out_dir(study.results, force=True)
    failures = failures or Failures(strict=True)
    images, notes = study.load_images(failures=failures, progress=subprogress(progress, 0.0, 0.05))
    failures.check_any_left(images)
    part = subprogress(progress, 0.05, 0.5)
    work = work or Work(study_store(study))
    if new_weights or _is_missing(study, images):
        find_answers(study, images, failures, new_weights, part, work)
    found = _from_study(study, images, failures, subprogress(progress, 0.5, 0.6), work)
    if not detect_only:
        found = pipeline.measurable(found, failures, work)
    found = replace(found, warnings=tuple(dict.fromkeys((*notes, *found.warnings))))
    study.keep_config()
    with writing_into(study.results, "run", RUN_FILE) as folder:
        edits = corrections_table(study.history())
        if len(edits):
            write_table(folder.place(EDITS_FILE), edits)
        if detect_only:
            write_detections(found, folder, formats, work.workers)
            write_run(found, folder)
            study.note_measured([image.name for image in found.images], "columns")
            return replace(found, warnings=(*found.warnings, *folder.notes))

        def measure(part: Progress, meanwhile: Meanwhile | None) -> RunResult:
            return _measured(study, found, part, work, meanwhile)

        part = subprogress(progress, 0.6, 1.0)
        result = measured_and_written(found, measure, folder, formats, references, work, part)
        write_run(result, folder)
    study.note_measured([image.name for image in result.images])
    return replace(result, warnings=(*result.warnings, *folder.notes))


def study_store(study: Study) -> StageStore:
    """Where a study keeps what every stage finds."""
    return StageStore(study.path / STAGES)


def find_answers(
    study: Study,
    images: Sequence[CalibratedImage],
    failures: Failures,
    new_weights: bool = False,
    progress: Progress = no_progress,
    work: Work | None = None,
) -> None:
    """Look for the columns of all images of a study together, and keep them in it.

    Images whose columns came from a file keep these. Regions that a hand made are kept.

    Parameters
    ----------
    study : Study
    images : sequence of CalibratedImage
        Of the study.
    failures : Failures
    new_weights : bool
        See `run_study`.
    progress : Progress
    work : Work, optional

    Raises
    ------
    DefectStrainError
        If the weights are others than the study's, or no image can be used.
    """
    work = work or Work(study_store(study))
    weights = check_weights_of(study, new_weights)
    asked = [image for image in images if not _is_from_file(study, image.name)]
    key = answer_key(study.config, _hashes(study), weights.sha256)
    given = [_regions_by_hand(study, image.name) for image in asked]
    found = pipeline.detect(asked, study.config, None, progress, given, failures, work)
    names = [image.name for image in found.images]
    study.keep_config()
    study.set_weights(weights)  # not before there are answers of them
    for image, sites, regions in zip(found.images, found.sites, found.regions, strict=True):
        others = [f"{name}:" for name in names if name != image.name]
        about = Answer(
            by=MODEL,
            weights_sha256=weights.sha256,
            key=key,
            overconfidence=found.overconfidence,
            open_classes=tuple(asdict(one) for one in found.open_classes),
            warnings=tuple(w for w in found.warnings if not w.startswith(tuple(others))),
        )
        study.set_sites(image.name, sites, about)
        if _regions_by_hand(study, image.name) is None:
            study.set_regions(image.name, regions, by=MODEL)


def _is_missing(study: Study, images: Sequence[CalibratedImage]) -> bool:
    """Whether columns of any image must be looked for."""
    asked = [image.name for image in images if not _is_from_file(study, image.name)]
    if not asked:
        return False
    if study.weights is None:
        return True
    return not all(_is_answered(study, name, _key(study)) for name in asked)


def _key(study: Study) -> str:
    """What answers of the study's network must be made of now."""
    weights = study.weights
    return answer_key(study.config, _hashes(study), "" if weights is None else weights.sha256)


def _is_answered(study: Study, name: str, key: str) -> bool:
    """Whether the columns of an image are known as settings and images are now."""
    return _is_from_file(study, name) or (
        study.has_sites(name) and study.answer_of(name).key == key
    )


def _hashes(study: Study) -> list[str]:
    """Of the files whose images are judged together."""
    return [
        file.sha256
        for file in study.files
        if not all(_is_from_file(study, image.name) for image in file.images)
    ]


def _is_from_file(study: Study, name: str) -> bool:
    return study.has_sites(name) and study.answer_of(name).by == FILE


def _regions_by_hand(study: Study, name: str) -> Regions | None:
    if not study.has_regions(name) or study.regions_by(name) == MODEL:
        return None
    return study.regions(name)


def _from_study(
    study: Study,
    images: Sequence[CalibratedImage],
    failures: Failures,
    progress: Progress,
    work: Work,
) -> RunResult:
    """Images, columns and regions as the study has them."""
    key = _key(study)  # an earlier answer is none where looking for another one failed
    left = [image for image in images if _is_answered(study, image.name, key)]
    failures.check_any_left(left)
    known = _identity(study, images, work)
    sites = [study.sites(image.name) for image in left]
    regions = [
        study.regions(image.name) if study.has_regions(image.name) else None for image in left
    ]
    found = pipeline.detect(left, study.config, sites, progress, regions, failures, work, known)
    kept = [image.name for image in found.images]
    by_hand = [name for name in kept if _regions_by_hand(study, name) is not None]
    found = replace(found, regions_given=tuple(by_hand))
    for name, divided in zip(kept, found.regions, strict=True):
        if not study.has_regions(name):
            study.set_regions(name, divided, by=MODEL)
    answers = [study.answer_of(name) for name in kept]
    by_model = [answer for answer in answers if answer.by == MODEL]
    said = [
        warning
        for answer in answers
        for warning in answer.warnings
        # doubts of then may be none any more: another image was there
        if not warning.startswith(IDENTITY_PREFIX) or warning in found.warnings
    ]
    warnings = dict.fromkeys((*said, *found.warnings))
    if not by_model or study.weights is None:
        return replace(found, warnings=tuple(warnings))
    try:
        beyond = out_of_range(found.images, trained_for(study.config.detect))
    except DefectStrainError:  # the weights of the study are no longer here, and aren't needed
        beyond = found.out_of_range
    return replace(
        found,
        weights_sha256=study.weights.sha256,
        overconfidence=_most(tuple(answer.overconfidence for answer in by_model)),
        open_classes=_open_classes(by_model),
        out_of_range=beyond,
        warnings=tuple(dict.fromkeys((*warnings, *map(str, beyond)))),
    )


def _identity(study: Study, images: Sequence[CalibratedImage], work: Work) -> Identity | None:
    """What a run of all images thinks of them now; of those whose columns a file gave, no refusal.

    An image that has gone since, or came, may turn what the others say together.
    """
    asked = [image for image in images if not _is_from_file(study, image.name)]
    if not asked:
        return None
    own = identity_of_run(asked, study.config, work)
    if len(asked) == len(images):
        return own
    together = identity_of_run(images, study.config.replace(force_material=True), work)
    told = {verdict.name: verdict for verdict in own.images}
    verdicts = tuple(told.get(verdict.name, verdict) for verdict in together.images)
    return replace(together, images=verdicts)


def _most(values: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """That of most images."""
    return Counter(values).most_common(1)[0][0]


def _open_classes(answers: Sequence[Answer]) -> tuple[OpenClass, ...]:
    """What the judge found beside the material's classes, each once."""
    found = {str(record): record for answer in answers for record in answer.open_classes}
    return tuple(OpenClass(**record) for record in found.values())


def _measured(
    study: Study,
    found: RunResult,
    progress: Progress,
    work: Work,
    meanwhile: Meanwhile | None = None,
) -> RunResult:
    """The second half of the run, with the windows that hands chose."""
    names = [image.name for image in found.images]
    notes: list[str] = []

    def choose(stacks: Mapping[str, ClassStack]) -> dict[str, ClassStack]:
        chosen, said = study.with_windows(stacks, names)
        notes.extend(said)
        return chosen

    result = pipeline.measure(found, progress, work, choose, meanwhile)
    return replace(result, warnings=(*result.warnings, *notes))
