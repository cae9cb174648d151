"""What is in a study, what was done, what is doubtful: for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..io.unfinished import json_object, read_mark
from ..types import DefectStrainError
from .images import MISSING, THERE
from .journal import COLUMNS, MANUAL, REGIONS, WINDOWS
from .layout import RESULTS, is_study, named_folder
from .opening import RUN_FILE, Study, open_study


@dataclass(frozen=True)
class StudyStatus:
    """State of a study.

    Parameters
    ----------
    name : str
    about : tuple of pairs of str
        What and how, for people: the study as a whole.
    images : DataFrame
        One row an image: image, file (there, changed or missing), size_px, pixel_size_pm, columns,
        found_by (model or file), edited (columns corrected by hand), regions (who made them),
        measured.
    warnings : tuple of str
    """

    name: str
    about: tuple[tuple[str, str], ...]
    images: pd.DataFrame
    warnings: tuple[str, ...]


def status_of(study: Study, trust_times: bool = True) -> StudyStatus:
    """State of a study.

    Parameters
    ----------
    study : Study
    trust_times : bool
        Take files of the same size and time as unchanged, without reading them.
    """
    manifest = json_object(study.results / RUN_FILE)
    measured = {str(image.get("name")) for image in manifest.get("images", [])}
    warnings = list(study.notes)
    rows = []
    for file, (state, path) in study.states(trust_times).items():
        if state != THERE:
            gone = "is gone, moved or renamed" if state == MISSING else "was changed"
            warnings.append(f"{path}: {gone}")
        for image in file.images:
            known = study.has_sites(image.name)
            warnings += _other_weights(study, image.name) if known else []
            rows.append(
                {
                    "image": image.name,
                    "file": state,
                    "size_px": f"{image.height} x {image.width}",
                    "pixel_size_pm": image.size_pm,
                    "columns": len(study.sites(image.name)) if known else None,
                    "found_by": study.answer_of(image.name).by if known else "",
                    "edited": study.edited_columns(image.name) if known else None,
                    "regions": study.regions_by(image.name)
                    if study.has_regions(image.name)
                    else "",
                    "measured": "yes" if image.name in measured else "no",
                }
            )
    names = [
        *("image", "file", "size_px", "pixel_size_pm", "columns", "found_by", "edited"),
        *("regions", "measured"),
    ]
    table = pd.DataFrame(rows, columns=names)
    for column in ("columns", "edited"):
        table[column] = table[column].astype("Int64")
    mark = read_mark(study.results, RUN_FILE)
    if mark is not None:
        doing = "still writes there" if mark.is_running else "was stopped there: run it again"
        warnings.append(f"{study.results}: {mark} {doing}")
    left_out = [f"left out: {one.get('reason')}" for one in manifest.get("failed", [])]
    warnings += [*left_out, *manifest.get("warnings", [])]
    return StudyStatus(study.name, _about(study), table, tuple(dict.fromkeys(warnings)))


def _other_weights(study: Study, name: str) -> list[str]:
    """That the columns of an image aren't those of the study's weights."""
    found, known = study.answer_of(name).weights_sha256, study.weights
    if not found or known is None or found == known.sha256:
        return []
    return [
        f"{name}: its columns were found by other weights ({found[:12]}) than the study's, "
        f"{known.name} ({known.sha256[:12]}): a run looks for them again with those"
    ]


def _about(study: Study) -> tuple[tuple[str, str], ...]:
    edits = study.history()
    by_hand = Counter(edit.what for edit in edits if edit.by == MANUAL)
    told = [f"{by_hand[what]} of {what}" for what in (COLUMNS, REGIONS, WINDOWS) if by_hand[what]]
    last = f", the last on {edits[-1].when}" if edits else ""
    weights = study.weights
    out = [c for c in study.windows if not c.included]
    back = [c for c in study.windows if c.included]
    return (
        ("study", str(study.path)),
        ("open", "here" if not study.read_only else str(study.writer or "by nobody")),
        ("material", study.config.material),
        ("images", str(len(study.images))),
        ("weights", "none yet" if weights is None else f"{weights.name} ({weights.sha256[:12]})"),
        ("by hand", (", ".join(told) or "nothing") + (last if told else "")),
        ("windows", f"{len(out)} left out, {len(back)} put back by hand"),
        ("results", _results(study)),
    )


def said_of_results(folder: Path) -> list[str]:
    """That results are older than the corrections of their study; empty where they aren't.

    Parameters
    ----------
    folder : Path
        Of a study, or of its results; of any other nothing is said.
    """
    folder = named_folder(folder)
    path = folder.parent if folder.name == RESULTS and is_study(folder.parent) else folder
    if not is_study(path):
        return []
    try:
        with open_study(path, read_only=True) as study:
            since = study.edits_since_measured()
    except DefectStrainError:  # what is wrong with the study is no matter of its results
        return []
    if not since:
        return []
    return [
        f"{path}: {since} edit{'s' * (since > 1)} since these results were written, which they "
        f"don't know of: run it again (defectstrain run --study {path})"
    ]


def _results(study: Study) -> str:
    since = study.edits_since_measured()
    if since is None:
        return "none yet"
    if not since:
        return f"up to date{'' if study.is_measured else ' (columns alone, nothing measured)'}"
    return f"{since} edit{'s' if since > 1 else ''} since: run the study again"


def status_text(found: StudyStatus) -> str:
    """A status as lines for a terminal, without its warnings."""
    width = max(len(what) for what, _ in found.about)
    lines = [f"{what:<{width}}  {how}" for what, how in found.about]
    if len(found.images):
        table = found.images.astype(object).where(found.images.notna(), "-").replace("", "-")
        lines += ["", table.to_string(index=False)]
    return "\n".join(lines)
